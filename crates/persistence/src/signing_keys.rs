//! The keys that the platform signs with, for those whom it calls: the public half in the clear, the private one sealed
//! under the platform's data key. All nodes have the same ones.
//!
//! Generations count up from one, and no two nodes make the same: of several that try, one does, and the others take what
//! is there. What is signed with which key, and how long one is published, is not decided here.

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, LevelScope, SystemScope};
use zeroize::Zeroizing;

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::schema::signing_keys;
use crate::sealing::Vault;

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = signing_keys)]
struct KeyRow {
    generation: i32,
    id: String,
    public_key: Vec<u8>,
    sealed: String,
    created_at: Stamp,
}

/// A key, with its private half sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The how-manieth it is.
    pub generation: i32,
    /// Its name, as in `kid` (RFC 7517 section 4.5).
    pub id: String,
    /// Its public half.
    pub public_key: Vec<u8>,
    /// When it was made.
    pub created_at: Instant,
    sealed: String,
}

/// Where a private half is sealed for.
pub(crate) fn sealing_place(id: &str) -> String {
    format!("signing_keys/{id}")
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::Setup(error.to_string())
}

/// All keys, the oldest first.
#[boxed]
pub async fn list(c: &mut Connection, _: &SystemScope) -> Result<Vec<SigningKey>> {
    let query = signing_keys::table.order(signing_keys::generation);
    let rows: Vec<KeyRow> = with!(c, c => query.select(KeyRow::as_select()).load(c).await)?;
    let key = |row: KeyRow| SigningKey {
        generation: row.generation,
        id: row.id,
        public_key: row.public_key,
        created_at: row.created_at.into(),
        sealed: row.sealed,
    };
    Ok(rows.into_iter().map(key).collect())
}

/// Adds a key, unless there is one of this generation. Says whether it did.
///
/// # Errors
/// [`Error::Setup`] when the platform's data key is wrapped by a master key that this process does not have.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    system: &SystemScope,
    vault: &Vault,
    key: (i32, &str),
    halves: (&[u8], &[u8]),
    at: Instant,
) -> Result<bool> {
    let ((generation, id), (public, private)) = (key, halves);
    let platform = LevelScope::Platform(system.platform());
    let sealer = data_keys::sealer(tx, platform, vault, at).await?;
    let private = Zeroizing::new(STANDARD.encode(private));
    let row = KeyRow {
        generation,
        id: id.to_owned(),
        public_key: public.to_vec(),
        sealed: sealer.seal(&sealing_place(id), &private).map_err(unusable)?,
        created_at: at.into(),
    };
    let insert = diesel::insert_into(signing_keys::table).values(row).on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? == 1)
}

/// The private half of a key.
///
/// # Errors
/// [`Error::Setup`] when it was sealed under a key that this process does not have.
#[boxed]
pub async fn open(
    c: &mut Connection,
    system: &SystemScope,
    vault: &Vault,
    key: &SigningKey,
) -> Result<Zeroizing<Vec<u8>>> {
    let platform = LevelScope::Platform(system.platform());
    let opener = data_keys::opener(c, platform, vault, [key.sealed.as_str()]).await?;
    let text = Zeroizing::new(opener.open(&sealing_place(&key.id), &key.sealed).map_err(unusable)?);
    STANDARD.decode(text.as_bytes()).map(Zeroizing::new).map_err(unusable)
}

/// Removes the keys of earlier generations.
#[boxed]
pub async fn remove_before(tx: &mut Transaction, _: &SystemScope, generation: i32) -> Result<usize> {
    let delete = diesel::delete(signing_keys::table.filter(signing_keys::generation.lt(generation)));
    Ok(with!(tx, c => delete.execute(c).await)?)
}
