//! All that the platform keeps, in one file, and back.
//!
//! The file is Zstandard around lines of JSON: a head that says what it is, for each lot of rows a line that names their
//! table and one with the rows, the objects, and an end that counts both, names objects that rows refer to and that were not there, and
//! seals everything before it with a SHA-256. It holds the database as it stood at one moment and can be put into a database of
//! either kind. What is sealed in the database is sealed in the file; the master keys are not in it, only
//! their fingerprints. The rest is in the clear: programs, inputs, outputs, people.

mod put_back;
mod whole;

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{audit, avatars, data_keys, dump, platform_facts};
use scaigrid_scope::{AuthorizedAtLevel, Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::partners::above;
use crate::retention::Stillness;
use crate::transaction::ended;
use crate::{App, Error};

use whole::Expected;

pub use put_back::restore;
pub use whole::Missing;

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
    /// Which objects the rows refer to that were not there: to be written when it was made, or anywhere once it was put back.
    pub missing: Missing,
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
    /// The object store is not the database's, or not that of the backup.
    #[error("{0}")]
    OtherStore(String),
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
    match error {
        scaigrid_storage::Error::Another(reason) => BackupError::OtherStore(reason.clone()),
        other => BackupError::Objects(other.to_string()),
    }
}

/// The last line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: BTreeMap<String, u64>,
    objects: u64,
    /// What the rows refer to and is not in the file, where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
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
    /// at the same time; [`BackupError::OtherStore`]; the file's; the database's.
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
        // What cannot be read at all, or is another database's, is told before anything is written.
        self.0.objects.list("", None, 1).await.map_err(|error| away(&error))?;
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
        let sealing = platform_facts::lookup(connection, crate::bootstrap::MASTER_KEY);
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
        let mut expected = Expected::of(snapshot.connection()?, system).await?;
        drop(snapshot);
        let objects = self.back_up_objects(still, &mut lines, &mut expected).await?;
        let missing = self.missing(expected).await?;
        let Lines { mut out, hash } = lines;
        let sha256 = HEXLOWER.encode(&hash.finalize());
        let end = End { rows, objects, missing: missing.any().then(|| missing.clone()), sha256 };
        let text = serde_json::to_string(&json!({"end": end})).map_err(Error::internal)?;
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.finish()?.flush()?;
        Ok(Carried { head, rows: end.rows, objects, missing, sha256: end.sha256 })
    }

    /// Writes all that is in the object store. It is read after the rows, so that what they refer to is there.
    async fn back_up_objects<W: Write>(
        &self,
        still: &mut Stillness,
        lines: &mut Lines<W>,
        expected: &mut Expected,
    ) -> Result<u64, BackupError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let listed =
                self.0.objects.list("", after.as_ref(), OBJECTS).await.map_err(|error| away(&error))?;
            let Some(last) = listed.last() else { return Ok(count) };
            after = Some(last.key.clone());
            for object in listed {
                still.lasts().await?;
                // What went in between, by other hands than retention's, is missed where it is referred to still.
                let Some(bytes) = self.0.objects.get(&object.key).await.map_err(|error| away(&error))? else {
                    continue;
                };
                lines.line(&json!({"object": object.key.as_str()}).to_string())?;
                lines.line(&STANDARD.encode(&bytes))?;
                expected.saw(&object.key);
                count += 1;
            }
        }
    }

    /// What was expected and not found.
    async fn missing(&self, expected: Expected) -> Result<Missing, Error> {
        let mut missing = Missing::default();
        for key in expected.left() {
            // A picture goes at once with its Core, which may have gone since the rows were read.
            if let Some(core) = whole::pictured(&key) {
                let mut connection = self.0.database.read().await?;
                if avatars::find(&mut connection, &self.0.system, core).await?.is_none() {
                    continue;
                }
            }
            missing.note(&key);
        }
        Ok(missing)
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
