//! The keys that secrets are sealed under: drawn at random, one owner's each, kept wrapped by a master key. An owner is a
//! tenant, or a partner or the platform for what is configured at their own level.
//!
//! An owner gets its first key with its first secret, in the same transaction. The youngest key seals, all open, and a
//! sealed text names its key. So a master key is changed by wrapping the keys anew, without touching what they sealed.
//! What has been unwrapped is remembered in memory by the key's own name, which is never used twice: a key that was drawn
//! in a transaction that came to nothing is remembered in vain, and does no harm.
//!
//! Whoever seals holds the choice of the key until their transaction ends, together with others; whoever makes a younger
//! key holds it alone. So nothing new lies under a key that is not the youngest, and once nothing old does, it can go.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, Level, LevelScope, SystemScope};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::postgres;
use crate::schema::data_keys;
use crate::sealing::{DataKey, SealingError, Vault, open_under, seal_under};

const TABLE: &str = "data_keys";
/// The form of a text that is sealed under a data key: `2.<key>.<nonce and ciphertext>`.
const VERSION: &str = "2";

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = data_keys)]
struct KeyRow {
    owner: String,
    generation: i32,
    id: String,
    master_key: String,
    wrapped: Vec<u8>,
    created_at: Stamp,
}

impl KeyRow {
    fn drawn(owner: String, generation: i32, vault: &Vault, at: Instant) -> Result<Self> {
        let id = format!("{:016x}", rand::random::<u64>());
        let key = DataKey::new(rand::random());
        let (master_key, wrapped) = vault.wrap(&bound(&owner, &id), &key).map_err(unusable)?;
        Ok(Self { owner, generation, id, master_key, wrapped, created_at: at.into() })
    }

    fn unwrap(&self, vault: &Vault) -> Result<Arc<DataKey>, SealingError> {
        vault.remember(&self.owner, &self.id, || {
            vault.unwrap(&self.master_key, &bound(&self.owner, &self.id), &self.wrapped)
        })
    }
}

/// What an owner is called in the table, and in what its keys are bound to.
fn owner(level: Level) -> String {
    match level {
        Level::Platform => "platform".to_owned(),
        Level::Partner(id) => id.to_string(),
        Level::Tenant(id) => id.to_string(),
    }
}

/// Reads what [`owner`] wrote.
fn level(owner: &str) -> Result<Level> {
    if owner == "platform" {
        return Ok(Level::Platform);
    }
    let partner = owner.parse().map(Level::Partner);
    partner.or_else(|_| column(TABLE, "owner", owner, owner).map(Level::Tenant))
}

/// What a wrapped key is bound to.
fn bound(owner: &str, id: &str) -> String {
    format!("{owner}\n{id}")
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::Setup(error.to_string())
}

/// Seals secrets of one owner.
pub struct Sealer {
    owner: String,
    id: String,
    key: Arc<DataKey>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("owner", &self.owner).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals a secret for one place, e.g. `cores/core_…/environment/API_KEY`.
    ///
    /// # Errors
    /// [`SealingError::Broken`] when the secret is longer than the cipher can take (256 GiB).
    pub fn seal(&self, place: &str, secret: &str) -> Result<String, SealingError> {
        let bound = format!("{}\n{place}\n{}", self.owner, self.id);
        let sealed = seal_under(&self.key, &bound, secret.as_bytes())?;
        Ok(format!("{VERSION}.{}.{}", self.id, URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Whether this sealer's key has sealed a text.
    pub fn has_sealed(&self, text: &str) -> bool {
        named(text).is_some_and(|(id, _)| id == self.id)
    }
}

/// The name of the data key that a text is sealed under; none for texts that name a master key.
pub(crate) fn key_of(text: &str) -> Option<&str> {
    named(text).map(|(id, _)| id)
}

/// The key that a text is sealed under, and the rest of the text; none for texts that name a master key.
fn named(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')
}

/// What seals the secrets of a level: its youngest key, or one that is made now and is there once the transaction is.
///
/// # Errors
/// [`Error::Setup`] when the key is wrapped by a master key that this process does not have.
pub async fn sealer(
    tx: &mut Transaction,
    scope: impl Into<LevelScope>,
    vault: &Vault,
    at: Instant,
) -> Result<Sealer> {
    let owner = owner(scope.into().level());
    hold(tx, &owner, false).await?;
    let row = if let Some(row) = youngest(tx, &owner).await? {
        row
    } else {
        // Of several that make the first one at once, one does; the others wait for it and take what is there.
        insert(tx, &KeyRow::drawn(owner.clone(), 1, vault, at)?).await?;
        let made = youngest(tx, &owner).await?;
        made.ok_or_else(|| Error::inconsistent(TABLE, "generation", &owner, "the first key is not there"))?
    };
    let key = row.unwrap(vault).map_err(unusable)?;
    Ok(Sealer { owner, id: row.id, key })
}

/// Opens sealed secrets of one owner.
pub struct Opener<'v> {
    vault: &'v Vault,
    level: Level,
    keys: Vec<(String, Result<Arc<DataKey>, SealingError>)>,
}

impl std::fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("level", &self.level).finish_non_exhaustive()
    }
}

/// What opens some sealed texts of a level: the keys that they name are looked up where they are not remembered.
pub async fn opener<'v>(
    c: &mut Connection,
    scope: impl Into<LevelScope>,
    vault: &'v Vault,
    texts: impl IntoIterator<Item = &str>,
) -> Result<Opener<'v>> {
    opener_at(c, scope.into().level(), vault, texts).await
}

/// As [`opener`], of a level that bears on the caller's own: what is configured above counts below.
pub(crate) async fn opener_at<'v>(
    c: &mut Connection,
    level: Level,
    vault: &'v Vault,
    texts: impl IntoIterator<Item = &str>,
) -> Result<Opener<'v>> {
    let owner = owner(level);
    let mut opener = Opener { vault, level, keys: Vec::new() };
    let mut missing: Vec<String> = Vec::new();
    for (id, _) in texts.into_iter().filter_map(named) {
        if opener.keys.iter().any(|(known, _)| known == id) || missing.iter().any(|known| known == id) {
            continue;
        }
        match vault.remembered(&owner, id) {
            Some(key) => opener.keys.push((id.to_owned(), Ok(key))),
            None => missing.push(id.to_owned()),
        }
    }
    if !missing.is_empty() {
        let query = data_keys::table.filter(data_keys::owner.eq(owner)).filter(data_keys::id.eq_any(missing));
        let rows: Vec<KeyRow> = with!(c, c => query.select(KeyRow::as_select()).load(c).await)?;
        for row in rows {
            let key = row.unwrap(vault);
            opener.keys.push((row.id, key));
        }
    }
    Ok(opener)
}

impl Opener<'_> {
    /// Opens what was sealed for the same owner and place: under a data key, or under the key that was derived from a
    /// master key before there were any.
    ///
    /// # Errors
    /// When the key is missing or the text is not what was sealed.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, SealingError> {
        let Some((id, body)) = named(sealed) else {
            let Level::Tenant(tenant) = self.level else { return Err(SealingError::Broken) };
            return self.vault.open(tenant, place, sealed);
        };
        let found = self.keys.iter().find(|(known, _)| known == id);
        let (_, key) = found.ok_or_else(|| SealingError::UnknownDataKey(id.to_owned()))?;
        let key = key.as_ref().map_err(Clone::clone)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealingError::Broken)?;
        let secret = open_under(key, &format!("{}\n{place}\n{id}", owner(self.level)), &body)?;
        String::from_utf8(secret).map_err(|_| SealingError::Broken)
    }
}

async fn youngest(c: &mut Connection, owner: &str) -> Result<Option<KeyRow>> {
    let query = data_keys::table
        .filter(data_keys::owner.eq(owner.to_owned()))
        .order(data_keys::generation.desc())
        .limit(1);
    Ok(with!(c, c => query.select(KeyRow::as_select()).get_result(c).await.optional())?)
}

async fn insert(tx: &mut Transaction, row: &KeyRow) -> Result<bool> {
    let insert = diesel::insert_into(data_keys::table).values(row.clone()).on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? == 1)
}

/// Holds the choice of an owner's key until the transaction ends. On SQLite transactions come one after the other anyway.
async fn hold(tx: &mut Transaction, owner: &str, alone: bool) -> Result<()> {
    match tx.engine()? {
        Engine::Postgres(c) => postgres::hold_sealing(c, owner, alone).await,
        Engine::Sqlite(_) => Ok(()),
    }
}

/// The name of the key that seals at a level, if there is one yet.
pub async fn youngest_id(c: &mut Connection, scope: impl Into<LevelScope>) -> Result<Option<String>> {
    Ok(youngest(c, &owner(scope.into().level())).await?.map(|row| row.id))
}

/// Keys that do not seal any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldKeys {
    /// Whose they are.
    pub level: Level,
    /// Their names.
    pub ids: Vec<String>,
}

/// Of some owners that have more than one key all but the youngest; by owner, after one.
#[boxed]
pub async fn old(
    c: &mut Connection,
    _: &SystemScope,
    after: Option<Level>,
    rows: i64,
) -> Result<Vec<OldKeys>> {
    let owners = data_keys::table
        .group_by(data_keys::owner)
        .filter(data_keys::owner.gt(after.map(owner).unwrap_or_default()))
        .having(diesel::dsl::count_star().gt(1))
        .order(data_keys::owner)
        .limit(rows)
        .select(data_keys::owner);
    let owners: Vec<String> = with!(c, c => owners.load(c).await)?;
    let keys = data_keys::table
        .filter(data_keys::owner.eq_any(owners))
        .order((data_keys::owner, data_keys::generation))
        .select((data_keys::owner, data_keys::id));
    let keys: Vec<(String, String)> = with!(c, c => keys.load(c).await)?;
    let mut found: Vec<OldKeys> = Vec::new();
    for (owner, id) in keys {
        let level = level(&owner)?;
        match found.last_mut() {
            Some(last) if last.level == level => last.ids.push(id),
            _ => found.push(OldKeys { level, ids: vec![id] }),
        }
    }
    for old in &mut found {
        old.ids.pop();
    }
    Ok(found)
}

/// Removes keys of an owner under which nothing lies any more: that has been looked up after they were the youngest. The
/// youngest is never removed. How many were.
pub async fn remove(tx: &mut Transaction, scope: impl Into<LevelScope>, ids: &[String]) -> Result<usize> {
    let owner = owner(scope.into().level());
    let Some(youngest) = youngest(tx, &owner).await? else { return Ok(0) };
    let delete = diesel::delete(data_keys::table)
        .filter(data_keys::owner.eq(owner))
        .filter(data_keys::id.eq_any(ids.to_vec()))
        .filter(data_keys::generation.lt(youngest.generation));
    Ok(with!(tx, c => delete.execute(c).await)?)
}

/// Gives an owner a younger key, if its youngest was made before an instant. False when there is nothing to do: no key
/// at all, or a young one.
///
/// Whoever is sealing under the youngest so far is waited for. Once the transaction is there, nothing is sealed under an
/// older one ever again.
pub async fn renew(
    tx: &mut Transaction,
    scope: impl Into<LevelScope>,
    vault: &Vault,
    before: Instant,
    at: Instant,
) -> Result<bool> {
    let owner = owner(scope.into().level());
    hold(tx, &owner, true).await?;
    let Some(row) = youngest(tx, &owner).await? else { return Ok(false) };
    if Instant::from(row.created_at) >= before {
        return Ok(false);
    }
    insert(tx, &KeyRow::drawn(owner, row.generation + 1, vault, at)?).await
}

/// The master keys that data keys are wrapped by.
#[boxed]
pub async fn master_keys(c: &mut Connection, _: &SystemScope) -> Result<Vec<String>> {
    let query = data_keys::table.select(data_keys::master_key).distinct();
    Ok(with!(c, c => query.load(c).await)?)
}

/// How many data keys are wrapped by another master key than the first of a vault.
#[boxed]
pub async fn count_to_wrap(c: &mut Connection, _: &SystemScope, vault: &Vault) -> Result<i64> {
    let first = vault.key_ids().next().unwrap_or_default().to_owned();
    let query = data_keys::table.filter(data_keys::master_key.ne(first)).count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Wraps some of the data keys that are wrapped by another master key by the first of a vault, and says how many. What they
/// have sealed stays as it is.
///
/// # Errors
/// [`Error::Setup`] when one is wrapped by a master key that the vault does not have.
#[boxed]
pub async fn wrap_some(tx: &mut Transaction, _: &SystemScope, vault: &Vault, rows: i64) -> Result<usize> {
    let first = vault.key_ids().next().unwrap_or_default().to_owned();
    let query = data_keys::table
        .filter(data_keys::master_key.ne(first))
        .order((data_keys::owner, data_keys::generation))
        .limit(rows);
    let found: Vec<KeyRow> = with!(tx, c => query.select(KeyRow::as_select()).load(c).await)?;
    for row in &found {
        let bound = bound(&row.owner, &row.id);
        let key = vault.unwrap(&row.master_key, &bound, &row.wrapped).map_err(unusable)?;
        let (master_key, wrapped) = vault.wrap(&bound, &key).map_err(unusable)?;
        // Two that do this at once do the same; the later one finds another master key and leaves it.
        let update = diesel::update(data_keys::table.find((row.owner.clone(), row.generation)))
            .filter(data_keys::master_key.eq(row.master_key.clone()))
            .set((data_keys::master_key.eq(master_key), data_keys::wrapped.eq(wrapped)));
        with!(tx, c => update.execute(c).await)?;
    }
    Ok(found.len())
}
