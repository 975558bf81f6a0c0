//! What a backup holds, back into an empty database and its object store.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Database, Transaction, dump, platform_facts};
use scaigrid_scope::SystemScope;
use scaigrid_storage::{Key, ObjectStore};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::whole::{Expected, Missing};
use super::{BackupError, Carried, End, FORMAT, FORMAT_VERSION, Head, MAX_LINE, away};
use crate::own_store::{MARK, OBJECT_STORE, mark_key, read_mark};

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
/// [`BackupError::NotEmpty`], [`BackupError::Broken`], [`BackupError::OtherSchema`], [`BackupError::OtherMasterKey`],
/// [`BackupError::OtherStore`], the file's and the database's. Nothing was written then.
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
        Ok((mut carried, expected)) => {
            tx.commit().await?;
            for key in expected.left() {
                // The store may have had it before, as where that was copied.
                let there = match Key::new(&*key) {
                    Ok(key) => objects.exists(&key).await.unwrap_or(false),
                    Err(_) => false,
                };
                if !there {
                    carried.missing.note(&key);
                }
            }
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
) -> Result<(Carried, Expected), BackupError> {
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
    let (mut carried_objects, mut behind_rows) = (0, None);
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
                if behind_rows.is_none() {
                    behind_rows = Some(BehindRows::of(tx, objects, system).await?);
                }
                let key = Key::new(key).map_err(|error| BackupError::Broken(error.to_string()))?;
                let given = reader.next()?.ok_or_else(|| broken("its end is missing"))?;
                reader.hash.update(&text);
                reader.hash.update(&given);
                let bytes = STANDARD
                    .decode(given.trim_ascii_end())
                    .map_err(|_| broken("an object is not in base64"))?;
                carried_objects += 1;
                if key.as_str() != MARK {
                    // Until the rows are there nothing refers to it, and it can be put again.
                    objects.put(&key, bytes.into()).await.map_err(|error| away(&error))?;
                    if let Some(behind) = &mut behind_rows {
                        behind.expected.saw(&key);
                    }
                }
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
                let BehindRows { expected, store } = match behind_rows {
                    Some(behind) => behind,
                    None => BehindRows::of(tx, objects, system).await?,
                };
                if let Some(id) = store {
                    // Last: what was broken off must not have made the store that of a database that there is not.
                    let key = mark_key().map_err(|error| away(&error))?;
                    objects.put(&key, format!("{id}\n").into()).await.map_err(|error| away(&error))?;
                }
                let missing = Missing::default();
                return Ok((Carried { head, rows, objects: carried_objects, missing, sha256 }, expected));
            }
        }
    }
}

/// What is known once all rows are there, and before any object is.
struct BehindRows {
    /// What the rows refer to.
    expected: Expected,
    /// The id of the store that goes with them.
    store: Option<String>,
}

impl BehindRows {
    /// # Errors
    /// [`BackupError::OtherStore`] where the objects of others lie; the database's and the store's.
    async fn of(
        tx: &mut Transaction,
        objects: &dyn ObjectStore,
        system: &SystemScope,
    ) -> Result<Self, BackupError> {
        let store = platform_facts::lookup(tx, OBJECT_STORE).await?;
        let found = read_mark(objects).await.map_err(|error| away(&error))?;
        if let (Some(own), Some(found)) = (&store, found)
            && *own != found
        {
            return Err(BackupError::OtherStore(format!(
                "the object store belongs to another database: its object {MARK} says {found}, and the backup is of {own}; give it \
                 one of its own"
            )));
        }
        Ok(Self { expected: Expected::of(tx, system).await?, store })
    }
}
