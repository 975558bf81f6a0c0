//! All that the platform keeps, in one file, and back.
//!
//! The file is Zstandard around lines of JSON: a head that says what it is, for each lot of rows a line that names their
//! table and one with the rows, and an end that counts the
//! rows and seals everything before it with a SHA-256. It holds the database as it stood at one moment and can be put into
//! a database of either kind. What is sealed in the database is sealed in the file; the master keys are not in it, only
//! their fingerprints. The rest is in the clear: programs, inputs, outputs, people.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Database, Transaction, audit, data_keys, dump};
use scaigrid_scope::{AuthorizedAtLevel, Instant, SystemScope, perm};
use scaigrid_storage::{Key, ObjectStore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::partners::above;
use crate::retention::Stillness;
use crate::transaction::ended;
use crate::{App, Error};

/// What the file says that it is.
const FORMAT: &str = "scaigrid-backup";
/// The form of the file.
const FORMAT_VERSION: u32 = 1;
/// About so many bytes of rows are read at once.
const BATCH_BYTES: usize = 1 << 20;
/// At most so many rows are read at once.
const BATCH_ROWS: usize = 2000;
/// Objects that are listed at once.
const OBJECTS: usize = 500;
/// The longest line that is believed: a row may hold a program or the state of an execution.
const MAX_LINE: u64 = 1 << 30;
/// How hard the file is pressed.
const LEVEL: i32 = 6;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Always `scaigrid-backup`.
    pub format: String,
    /// The form of the file.
    pub format_version: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// When it was begun; what it holds is what stood in the database then.
    pub created_at: Instant,
    /// The kind of database that it was taken from.
    pub database: String,
    /// The migrations that database had.
    pub schema: Vec<String>,
    /// The fingerprints of the master keys that what is sealed stands under.
    pub master_keys: Vec<String>,
    /// The columns of each table, in the order in which rows have them.
    pub tables: BTreeMap<String, Vec<String>>,
}

/// What was carried, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// What it is.
    pub head: Head,
    /// How many rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// How many objects.
    pub objects: u64,
    /// The SHA-256 of the lines before the last, in hexadecimal.
    pub sha256: String,
}

/// Why a file could not be written or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be written or read.
    #[error("the file cannot be used: {0}")]
    File(#[from] io::Error),
    /// The file is not a backup, or not a whole one.
    #[error("this is no whole backup: {0}")]
    Broken(String),
    /// It is of another version of the program.
    #[error(
        "the backup has the tables of version {theirs} ({there}), and this program those of {ours}; {advice}"
    )]
    OtherSchema {
        /// The version that wrote it.
        theirs: String,
        /// Its last migration.
        there: String,
        /// This program's last migration.
        ours: String,
        /// What to do.
        advice: &'static str,
    },
    /// It stands under a master key that is not configured.
    #[error("the backup stands under the master key {key}, which is not among the configured ones ({own})")]
    OtherMasterKey {
        /// The fingerprint of the missing one.
        key: String,
        /// Those of the configured ones.
        own: String,
    },
    /// There is something in the database.
    #[error("the database is not empty: there are rows in {table}")]
    NotEmpty {
        /// Where.
        table: &'static str,
    },
    /// Objects cannot be read or put back.
    #[error("{0}")]
    Objects(String),
    /// What the use cases say.
    #[error(transparent)]
    App(#[from] Error),
}

impl From<scaigrid_persistence::Error> for BackupError {
    fn from(error: scaigrid_persistence::Error) -> Self {
        Self::App(error.into())
    }
}

fn away(error: &scaigrid_storage::Error) -> BackupError {
    BackupError::Objects(error.to_string())
}

/// The last line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: BTreeMap<String, u64>,
    objects: u64,
    sha256: String,
}

/// The lines of a file, pressed and counted into its seal.
struct Lines<W: Write> {
    out: zstd::stream::write::Encoder<'static, W>,
    hash: Sha256,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        for part in [text.as_bytes(), b"\n"] {
            self.hash.update(part);
            self.out.write_all(part)?;
        }
        Ok(())
    }
}

impl App {
    /// Writes all that the platform keeps, as it stands now, beside whatever goes on. `progress` hears how many rows have
    /// been written.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for all but super admins at their own level; [`Error::Conflict`] where what is over is deleted
    /// at the same time; the file's; the database's.
    pub async fn back_up<W: Write>(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        file: W,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Carried, BackupError> {
        if caller.platform().is_none() {
            return Err(above("platform").into());
        }
        self.record_backup(caller, request).await?;
        // What the rows refer to is not removed before it is written, too.
        let mut still = Stillness::begin(self).await?;
        let carried = self.write_all(&mut still, file, progress).await;
        still.end().await;
        carried
    }

    async fn write_all<W: Write>(
        &self,
        still: &mut Stillness,
        file: W,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Carried, BackupError> {
        let system = &self.0.system;
        let tables = dump::tables();
        let mut snapshot = self.0.database.snapshot().await?;
        let connection = snapshot.connection()?;
        let mut master_keys = data_keys::master_keys(connection, system).await?;
        let sealing = scaigrid_persistence::platform_facts::lookup(connection, crate::bootstrap::MASTER_KEY);
        master_keys.extend(sealing.await?);
        master_keys.sort_unstable();
        master_keys.dedup();
        let columns = tables
            .iter()
            .map(|table| (table.name().to_owned(), table.columns().map(str::to_owned).collect::<Vec<_>>()));
        let head = Head {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: self.now(),
            database: self.0.database.kind().to_owned(),
            schema: dump::migrations(connection).await?,
            master_keys,
            tables: columns.collect(),
        };
        let mut out = zstd::stream::write::Encoder::new(file, LEVEL)?;
        out.include_checksum(true)?;
        let mut lines = Lines { out, hash: Sha256::new() };
        lines.line(&serde_json::to_string(&head).map_err(Error::internal)?)?;
        let (mut rows, mut written) = (BTreeMap::new(), 0_u64);
        for table in &tables {
            let (mut after, mut most, mut count) = (None::<String>, 16, 0_u64);
            loop {
                still.lasts().await?;
                let page = dump::read(&mut snapshot, system, table, after.as_deref(), most).await?;
                let bytes: usize = page.rows.iter().map(String::len).sum();
                let read = page.rows.len() as u64;
                if read > 0 {
                    let row_texts = page.rows.join(",");
                    lines.line(&json!({"table": table.name()}).to_string())?;
                    lines.line(&format!("[{row_texts}]"))?;
                }
                count += read;
                written += read;
                progress(written);
                // As many as are about so large as those that were just read.
                most = match bytes {
                    0..BATCH_BYTES => (most * 2).min(BATCH_ROWS),
                    _ => (most / 2).max(1),
                };
                after = page.after;
                if after.is_none() {
                    break;
                }
            }
            rows.insert(table.name().to_owned(), count);
        }
        let objects = self.back_up_objects(still, &mut lines).await?;
        let Lines { mut out, hash } = lines;
        let end = End { rows, objects, sha256: HEXLOWER.encode(&hash.finalize()) };
        let text = serde_json::to_string(&json!({"end": end})).map_err(Error::internal)?;
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.finish()?.flush()?;
        Ok(Carried { head, rows: end.rows, objects, sha256: end.sha256 })
    }

    /// Writes all that is in the object store. It is read after the rows, so that what they refer to is there.
    async fn back_up_objects<W: Write>(
        &self,
        still: &mut Stillness,
        lines: &mut Lines<W>,
    ) -> Result<u64, BackupError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let listed =
                self.0.objects.list("", after.as_ref(), OBJECTS).await.map_err(|error| away(&error))?;
            let Some(last) = listed.last() else { return Ok(count) };
            after = Some(last.key.clone());
            for object in listed {
                still.lasts().await?;
                // What went in between, by other hands than retention's, is referred to by nothing.
                let Some(bytes) = self.0.objects.get(&object.key).await.map_err(|error| away(&error))? else {
                    continue;
                };
                lines.line(&json!({"object": object.key.as_str()}).to_string())?;
                lines.line(&STANDARD.encode(&bytes))?;
                count += 1;
            }
        }
    }

    /// Before it is begun: what was begun was seen, whether it came to its end or not.
    async fn record_backup(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
    ) -> Result<(), Error> {
        let changes = diff(&Value::Null, &json!({"database": self.0.database.kind()}), &[]);
        let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::BackupCreate);
        let record = AuditRecord::at_level(stamp, caller, request, action, "platform".to_owned(), changes);
        let mut tx = self.0.database.begin().await?;
        let added = audit::add(&mut tx, &record).await;
        ended(tx, added.map_err(Error::from)).await
    }
}

/// The lines of a file that is put back.
struct Reader<R: Read> {
    lines: BufReader<zstd::stream::read::Decoder<'static, BufReader<R>>>,
    hash: Sha256,
}

impl<R: Read> Reader<R> {
    /// The next line, with its break; none behind the last.
    fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut line = Vec::new();
        (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(BackupError::Broken("it ends in the middle of a line".to_owned()));
        }
        Ok(Some(line))
    }
}

/// A line behind the head that says what comes: rows of a table on the next line, or the end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Line {
    Table(String),
    Object(String),
    End(End),
}

/// Fills an empty database, whose tables are there, with what a backup holds: all of it, or nothing.
///
/// # Errors
/// [`BackupError::NotEmpty`], [`BackupError::Broken`], [`BackupError::OtherSchema`], [`BackupError::OtherMasterKey`], the
/// file's and the database's. Nothing was written then.
pub async fn restore<R: Read>(
    (database, objects): (&Database, &dyn ObjectStore),
    vault: &Vault,
    file: R,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Carried, BackupError> {
    let system = SystemScope::for_the_process();
    let decoder = zstd::stream::read::Decoder::new(file)?;
    let mut reader = Reader { lines: BufReader::new(decoder), hash: Sha256::new() };
    let mut tx = database.begin().await?;
    let restored = put_back((&mut tx, objects), &system, vault, &mut reader, progress).await;
    match restored {
        Ok(carried) => {
            tx.commit().await?;
            Ok(carried)
        }
        Err(error) => {
            // Dropping it would do, but costs the connection.
            if let Err(lost) = tx.rollback().await {
                tracing::debug!(error = %lost, "a transaction could not be taken back and was dropped");
            }
            Err(error)
        }
    }
}

/// Whether a file is of this version and can be opened here.
async fn check(
    tx: &mut Transaction,
    system: &SystemScope,
    vault: &Vault,
    head: &Head,
) -> Result<(), BackupError> {
    if head.format != FORMAT || head.format_version != FORMAT_VERSION {
        let told = format!("it is {} {}", head.format, head.format_version);
        return Err(BackupError::Broken(format!("{told}, expected {FORMAT} {FORMAT_VERSION}")));
    }
    let own = dump::migrations(tx).await?;
    if own != head.schema {
        let last = |schema: &[String]| schema.last().cloned().unwrap_or_default();
        let advice = if head.schema.len() < own.len() {
            "restore it with that version, and start this one on it afterwards"
        } else {
            "restore it with that version"
        };
        return Err(BackupError::OtherSchema {
            theirs: head.version.clone(),
            there: last(&head.schema),
            ours: last(&own),
            advice,
        });
    }
    if let Some(key) = head.master_keys.iter().find(|key| vault.key_ids().all(|own| own != key.as_str())) {
        let own = vault.key_ids().collect::<Vec<_>>().join(", ");
        return Err(BackupError::OtherMasterKey { key: key.clone(), own });
    }
    if let Some(table) = dump::occupied(tx, system).await? {
        return Err(BackupError::NotEmpty { table });
    }
    Ok(())
}

async fn put_back<R: Read>(
    (tx, objects): (&mut Transaction, &dyn ObjectStore),
    system: &SystemScope,
    vault: &Vault,
    reader: &mut Reader<R>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Carried, BackupError> {
    let broken = |reason: &str| BackupError::Broken(reason.to_owned());
    let first = reader.next()?.ok_or_else(|| broken("it is empty"))?;
    let head: Head =
        serde_json::from_slice(&first).map_err(|error| BackupError::Broken(error.to_string()))?;
    reader.hash.update(&first);
    check(tx, system, vault, &head).await?;
    let tables = dump::tables();
    for table in &tables {
        if !head.tables.get(table.name()).is_some_and(|columns| columns.iter().eq(table.columns())) {
            return Err(broken("its tables have other columns"));
        }
    }
    let (mut rows, mut read): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
    let mut carried_objects = 0;
    rows.extend(tables.iter().map(|table| (table.name().to_owned(), 0)));
    loop {
        let text = reader.next()?.ok_or_else(|| broken("its end is missing"))?;
        let line: Line =
            serde_json::from_slice(&text).map_err(|error| BackupError::Broken(error.to_string()))?;
        match line {
            Line::Table(name) => {
                let table = tables.iter().find(|table| table.name() == name);
                let table = table.ok_or_else(|| broken("it has rows of a table that there is not"))?;
                let given = reader.next()?.ok_or_else(|| broken("its end is missing"))?;
                reader.hash.update(&text);
                reader.hash.update(&given);
                let given = String::from_utf8(given).map_err(|_| broken("it is not UTF-8"))?;
                let written = dump::write(tx, system, table, given.trim_end()).await? as u64;
                *rows.entry(name).or_default() += written;
                read += written;
                progress(read);
            }
            Line::Object(key) => {
                let key = Key::new(key).map_err(|error| BackupError::Broken(error.to_string()))?;
                let given = reader.next()?.ok_or_else(|| broken("its end is missing"))?;
                reader.hash.update(&text);
                reader.hash.update(&given);
                let bytes = STANDARD
                    .decode(given.trim_ascii_end())
                    .map_err(|_| broken("an object is not in base64"))?;
                // Until the rows are there nothing refers to it, and it can be put again.
                objects.put(&key, bytes.into()).await.map_err(|error| away(&error))?;
                carried_objects += 1;
            }
            Line::End(end) => {
                let sha256 = HEXLOWER.encode(&reader.hash.clone().finalize());
                if end.sha256 != sha256 {
                    return Err(broken("its SHA-256 is another"));
                }
                if end.rows != rows {
                    return Err(broken("it has fewer or more rows than it says"));
                }
                if reader.next()?.is_some() {
                    return Err(broken("something follows its end"));
                }
                if end.objects != carried_objects {
                    return Err(broken("it has fewer or more objects than it says"));
                }
                return Ok(Carried { head, rows, objects: carried_objects, sha256 });
            }
        }
    }
}
