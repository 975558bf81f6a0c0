//! The heads of the chains, and the root over them.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_audit::chain::{Chain, Digest, Head, Keys, Root, Seal};
use scaigrid_scope::{LevelScope, SystemScope};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::schema::{audit_chains, audit_root, tenants};

/// The one row of `audit_root`.
const ROOT: i32 = 1;

/// The right to read a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainScope(Chain);

impl ChainScope {
    /// The chain.
    pub const fn chain(self) -> Chain {
        self.0
    }

    /// The right of the process itself.
    pub const fn of_system(_: &SystemScope, chain: Chain) -> Self {
        Self(chain)
    }
}

/// A head as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// What the chain is called; of a row that was tampered with, anything.
    pub chain: String,
    /// Its end.
    pub head: Head,
    /// The code over it.
    pub seal: Seal,
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = audit_chains)]
pub(super) struct HeadRow {
    chain: String,
    links: i64,
    last: Vec<u8>,
    cut: i64,
    cut_last: Vec<u8>,
    changed_at: Stamp,
    key_id: String,
    code: Vec<u8>,
}

/// A number that is never negative unless somebody tampered with it; then no seal fits either.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// 32 bytes, unless somebody tampered with them; then no seal fits either.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_slice(bytes).unwrap_or_default()
}

impl From<HeadRow> for StoredHead {
    fn from(row: HeadRow) -> Self {
        Self {
            chain: row.chain,
            head: Head {
                count: count(row.links),
                last: digest(&row.last),
                cut: count(row.cut),
                cut_last: digest(&row.cut_last),
                at: row.changed_at.into(),
            },
            seal: Seal { key_id: row.key_id, code: digest(&row.code) },
        }
    }
}

impl From<&StoredHead> for HeadRow {
    fn from(stored: &StoredHead) -> Self {
        let StoredHead { chain, head, seal } = stored;
        Self {
            chain: chain.clone(),
            links: head.count.cast_signed(),
            last: head.last.0.to_vec(),
            cut: head.cut.cast_signed(),
            cut_last: head.cut_last.0.to_vec(),
            changed_at: head.at.into(),
            key_id: seal.key_id.clone(),
            code: seal.code.0.to_vec(),
        }
    }
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = audit_root)]
struct RootRow {
    id: i32,
    key_id: String,
    nonce: Vec<u8>,
    chains: i64,
    value: Vec<u8>,
}

impl From<RootRow> for Root {
    fn from(row: RootRow) -> Self {
        let (nonce, value) = (digest(&row.nonce), digest(&row.value));
        Self { key_id: row.key_id, nonce, chains: count(row.chains), value }
    }
}

impl From<&Root> for RootRow {
    fn from(root: &Root) -> Self {
        Self {
            id: ROOT,
            key_id: root.key_id.clone(),
            nonce: root.nonce.0.to_vec(),
            chains: root.chains.cast_signed(),
            value: root.value.0.to_vec(),
        }
    }
}

/// The head of a chain.
#[boxed]
pub async fn head(c: &mut Connection, chain: ChainScope) -> Result<Option<StoredHead>> {
    let found = audit_chains::table.find(chain.0.to_string());
    let row: Option<HeadRow> =
        with!(c, c => found.select(HeadRow::as_select()).get_result(c).await.optional())?;
    Ok(row.map(StoredHead::from))
}

/// The root and all heads as they are at one instant, in the order of the chains' names.
///
/// All of them are needed at once to be compared, so this takes memory for each: about 250 bytes.
#[boxed]
pub async fn snapshot(c: &mut Connection, _: &SystemScope) -> Result<(Option<Root>, Vec<StoredHead>)> {
    // One statement sees one state, on either database.
    let both = audit_chains::table
        .left_join(audit_root::table.on(audit_root::id.eq(ROOT)))
        .order(audit_chains::chain);
    let rows: Vec<(Option<RootRow>, HeadRow)> = with!(c, c => {
        both.select((Option::<RootRow>::as_select(), HeadRow::as_select())).load(c).await
    })?;
    let root = match rows.as_slice().first() {
        Some((root, _)) => root.clone().map(Root::from),
        None => self::root(c).await?,
    };
    Ok((root, rows.into_iter().map(|(_, head)| head.into()).collect()))
}

async fn root(c: &mut Connection) -> Result<Option<Root>> {
    let found = audit_root::table.find(ROOT);
    let row: Option<RootRow> =
        with!(c, c => found.select(RootRow::as_select()).get_result(c).await.optional())?;
    Ok(row.map(Root::from))
}

/// How the root is taken hold of when somebody else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// They are waited for.
    Wait,
    /// They are left to it.
    Leave,
}

/// Takes hold of the root until the end of the transaction: there is one at a time who seals or cuts.
pub(super) async fn hold_root(
    tx: &mut Transaction,
    keys: &Keys,
    nonce: Digest,
    patience: Patience,
) -> Result<Option<Root>> {
    macro_rules! query {
        () => {
            audit_root::table.find(ROOT).select(RootRow::as_select())
        };
    }
    for _ in 0..2 {
        let found: Option<RootRow> = match (tx.engine()?, patience) {
            (Engine::Postgres(c), Patience::Wait) => query!().for_update().get_result(c).await.optional()?,
            (Engine::Postgres(c), Patience::Leave) => {
                query!().for_update().skip_locked().get_result(c).await.optional()?
            }
            (Engine::Sqlite(c), _) => query!().get_result(c).await.optional()?,
        };
        if let Some(row) = found {
            return Ok(Some(row.into()));
        }
        if root(tx).await?.is_some() {
            return Ok(None);
        }
        begin_root(tx, keys, nonce).await?;
    }
    Ok(None)
}

/// Makes the root where there is none. It is a true one only where there are no chains yet: a root that was removed does
/// not come back to life.
async fn begin_root(tx: &mut Transaction, keys: &Keys, nonce: Digest) -> Result<()> {
    let some = audit_chains::table.select(audit_chains::chain);
    let chain: Option<String> = with!(tx, c => some.first(c).await.optional())?;
    let true_one = keys.root(keys.sealing(), nonce, []);
    let root = if let (None, Some(root)) = (chain, true_one) {
        tracing::info!("the audit chains begin");
        root
    } else {
        tracing::error!("the root of the audit chains is not there; they will not verify any more");
        Root { key_id: keys.sealing().to_owned(), nonce, chains: 0, value: nonce }
    };
    let insert = diesel::insert_into(audit_root::table).values(RootRow::from(&root));
    with!(tx, c => insert.on_conflict_do_nothing().execute(c).await)?;
    Ok(())
}

/// Writes the root.
pub(super) async fn put_root(tx: &mut Transaction, root: &Root) -> Result<()> {
    let update = diesel::update(audit_root::table.find(ROOT)).set(RootRow::from(root));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Writes a head.
pub(super) async fn put_head(tx: &mut Transaction, stored: &StoredHead) -> Result<()> {
    let row = HeadRow::from(stored);
    let upsert = diesel::insert_into(audit_chains::table)
        .values(row.clone())
        .on_conflict(audit_chains::chain)
        .do_update()
        .set(row);
    with!(tx, c => upsert.execute(c).await)?;
    Ok(())
}

/// The chains that a level sees, in the order of their names, after one of them: a tenant's own; a partner's own and those
/// of its tenants; all. Those that have no head are among them.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    after: Option<ChainScope>,
    rows: i64,
) -> Result<Vec<ChainScope>> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        chain: String,
    }
    const ALL: &str = "SELECT chain FROM (SELECT chain FROM audit_chains UNION SELECT id FROM tenants \
                       UNION SELECT id FROM partners UNION SELECT 'platform') AS named \
                       WHERE chain > ";
    let after = after.map(|chain| chain.0.to_string());
    let names: Vec<String> = match scope {
        LevelScope::Tenant(tenant) if after.is_none() => {
            return Ok(vec![ChainScope(Chain::Tenant(tenant.tenant_id()))]);
        }
        LevelScope::Tenant(_) => return Ok(Vec::new()),
        LevelScope::Partner(partner) => {
            let own = Chain::Partner(partner.partner_id());
            if after.is_none() {
                return Ok(vec![ChainScope(own)]);
            }
            // A tenant's name is after any partner's.
            let query = tenants::table
                .filter(tenants::partner_id.eq(partner.partner_id().to_string()))
                .filter(tenants::id.gt(after.unwrap_or_default()))
                .order(tenants::id)
                .limit(rows)
                .select(tenants::id);
            with!(c, c => query.load(c).await)?
        }
        LevelScope::Platform(_) => {
            let after = after.unwrap_or_default();
            let named: Vec<Named> = match c.engine()? {
                Engine::Postgres(c) => {
                    let query = diesel::sql_query(format!("{ALL} $1 ORDER BY chain LIMIT $2"));
                    query.bind::<Text, _>(after).bind::<BigInt, _>(rows).load(c).await?
                }
                Engine::Sqlite(c) => {
                    let query = diesel::sql_query(format!("{ALL} ? ORDER BY chain LIMIT ?"));
                    query.bind::<Text, _>(after).bind::<BigInt, _>(rows).load(c).await?
                }
            };
            named.into_iter().map(|named| named.chain).collect()
        }
    };
    // What is no name was written by somebody else: the root tells of it.
    Ok(names.iter().filter_map(|name| name.parse().ok().map(ChainScope)).collect())
}

/// Seals all heads and the root anew under the first of the keys, where the root stands under another one that is known.
/// What did not fit before does not fit afterwards. Says whether anything was done.
///
/// # Errors
/// [`Error::Setup`] when the root stands under a key that is not known.
#[boxed]
pub async fn rekey(tx: &mut Transaction, _: &SystemScope, keys: &Keys, nonce: Digest) -> Result<bool> {
    let Some(root) = hold_root(tx, keys, nonce, Patience::Wait).await? else { return Ok(false) };
    if root.key_id == keys.sealing() {
        return Ok(false);
    }
    if !keys.knows(&root.key_id) {
        return Err(unknown_key(&root.key_id));
    }
    let all = audit_chains::table.order(audit_chains::chain);
    let rows: Vec<HeadRow> = with!(tx, c => all.select(HeadRow::as_select()).load(c).await)?;
    let heads: Vec<StoredHead> = rows.into_iter().map(StoredHead::from).collect();
    let pairs = || heads.iter().map(|stored| (stored.chain.as_str(), &stored.head));
    let fits = keys.is_root(&root, pairs());
    for stored in &heads {
        if let Some(seal) = keys.seal(keys.sealing(), &stored.chain, &stored.head)
            && keys.is_sealed(&stored.chain, &stored.head, &stored.seal)
        {
            put_head(tx, &StoredHead { seal, ..stored.clone() }).await?;
        }
    }
    let anew = keys.root(keys.sealing(), nonce, pairs()).ok_or_else(|| unknown_key(keys.sealing()))?;
    put_root(tx, &if fits { anew } else { Root { value: nonce, ..anew } }).await?;
    Ok(true)
}

pub(super) fn unknown_key(key_id: &str) -> Error {
    Error::Setup(format!(
        "the audit chains are sealed under the key {key_id}, which this process does not have"
    ))
}
