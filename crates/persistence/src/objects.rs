//! The rows of objects: what is in the store, what refers to it, and what nothing refers to any more.
//!
//! A row is there before its object, so that nothing in the store is unknown; an object that nothing refers to is first marked, in a
//! transaction in which nobody else takes it, then removed, then forgotten. Content that comes again meanwhile gets another id, and so
//! another key: who is late removes nothing that is needed.

use async_recursion::async_recursion as boxed;
use data_encoding::HEXLOWER;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, Instant, SystemScope, TenantId, TenantScope};
use ulid::Ulid;

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::{Moment, Stamp};
use crate::large::{Hash, Object, hex};
use crate::schema::{core_memory, object_refs, objects};

/// References that are looked at in one transaction.
const REFERENCES: i64 = 500;

#[derive(QueryableByName)]
struct Reserved {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    state: String,
}

/// Takes the place of an object, which is nobody else's to remove for a while; the object, and whether it is there already.
#[boxed]
pub async fn reserve(
    tx: &mut Transaction,
    scope: TenantScope,
    (hash, length): (Hash, u64),
    id: Ulid,
    now: Instant,
) -> Result<(Object, bool)> {
    let query = "INSERT INTO objects (tenant_id, hash, id, bytes, state, touched_at) \
                 VALUES ($1, $2, $3, $4, 'reserved', $5) \
                 ON CONFLICT (tenant_id, hash) DO UPDATE SET touched_at = excluded.touched_at, \
                 id = CASE WHEN objects.state = 'doomed' THEN excluded.id ELSE objects.id END, \
                 state = CASE WHEN objects.state = 'doomed' THEN 'reserved' ELSE objects.state END \
                 RETURNING id, state";
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(hex(&hash))
        .bind::<Text, _>(id.to_string())
        .bind::<BigInt, _>(length.cast_signed())
        .bind::<Moment, _>(Stamp(now));
    let row: Reserved = with!(tx, c => query.get_result(c).await)?;
    let object = Object { id: column("objects", "id", &row.id, &row.id)?, hash, length };
    Ok((object, row.state == "stored"))
}

/// An object that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The object.
    pub object: Object,
}

type Row = (String, String, String, i64);

fn read((tenant, hash, id, bytes): Row) -> Result<(TenantId, Object)> {
    let bad = || Error::inconsistent("objects", "hash", &hash, "not 64 hexadecimal digits");
    let digits = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|bytes| Hash::try_from(bytes).ok());
    let object = Object {
        id: column("objects", "id", &hash, &id)?,
        hash: digits.ok_or_else(bad)?,
        length: bytes.cast_unsigned(),
    };
    Ok((column("objects", "tenant_id", &hash, &tenant)?, object))
}

/// Marks up to `most` objects that nothing refers to and that nobody has asked for since an instant.
#[boxed]
pub async fn doom(
    tx: &mut Transaction,
    _system: &SystemScope,
    untouched_since: Instant,
    most: i64,
) -> Result<usize> {
    const UNUSED: &str = "o.state <> 'doomed' AND o.touched_at < $1 AND NOT EXISTS (SELECT 1 FROM object_refs r \
                          WHERE r.tenant_id = o.tenant_id AND r.object_id = o.id)";
    let outer = UNUSED.replace("o.", "objects.");
    let query = format!(
        "UPDATE objects SET state = 'doomed' WHERE {outer} AND (tenant_id, hash) IN \
         (SELECT o.tenant_id, o.hash FROM objects o WHERE {UNUSED} LIMIT $2)"
    );
    let query = diesel::sql_query(query).bind::<Moment, _>(Stamp(untouched_since)).bind::<BigInt, _>(most);
    Ok(with!(tx, c => query.execute(c).await)?)
}

/// Objects that are marked and not removed yet.
#[boxed]
pub async fn marked(c: &mut Connection, _system: &SystemScope, most: i64) -> Result<Vec<Doomed>> {
    let query = objects::table
        .filter(objects::state.eq("doomed"))
        .order((objects::tenant_id, objects::hash))
        .limit(most)
        .select((objects::tenant_id, objects::hash, objects::id, objects::bytes));
    let rows: Vec<Row> = with!(c, c => query.load(c).await)?;
    rows.into_iter().map(|row| read(row).map(|(tenant_id, object)| Doomed { tenant_id, object })).collect()
}

/// Forgets objects that were removed from the store.
#[boxed]
pub async fn forget(tx: &mut Transaction, _system: &SystemScope, removed: &[Doomed]) -> Result<()> {
    for gone in removed {
        let row = objects::table
            .filter(objects::tenant_id.eq(gone.tenant_id.to_string()))
            .filter(objects::hash.eq(hex(&gone.object.hash)))
            // Content that came again has another id.
            .filter(objects::id.eq(gone.object.id.to_string()))
            .filter(objects::state.eq("doomed"));
        with!(tx, c => diesel::delete(row).execute(c).await)?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Referred {
    #[diesel(sql_type = Text)]
    tenant_id: String,
    #[diesel(sql_type = Text)]
    hash: String,
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// Up to `most` objects that something refers to, with the tenants that have them, in the order of tenants and content, behind one.
#[boxed]
pub async fn referred(
    c: &mut Connection,
    _system: &SystemScope,
    after: Option<(TenantId, Hash)>,
    most: i64,
) -> Result<Vec<(TenantId, Object)>> {
    let (tenant, hash) = after.map(|(tenant, hash)| (tenant.to_string(), hex(&hash))).unwrap_or_default();
    let query = diesel::sql_query(
        "SELECT o.tenant_id, o.hash, o.id, o.bytes FROM objects o WHERE (o.tenant_id, o.hash) > ($1, $2) \
         AND EXISTS (SELECT 1 FROM object_refs r WHERE r.tenant_id = o.tenant_id AND r.object_id = o.id) \
         ORDER BY o.tenant_id, o.hash LIMIT $3",
    );
    let query = query.bind::<Text, _>(tenant).bind::<Text, _>(hash).bind::<BigInt, _>(most);
    let found: Vec<Referred> = with!(c, c => query.load(c).await)?;
    found.into_iter().map(|row| read((row.tenant_id, row.hash, row.id, row.bytes))).collect()
}

/// How many objects a tenant has.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope) -> Result<i64> {
    let query = objects::table.filter(objects::tenant_id.eq(scope.tenant_id().to_string())).count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

#[derive(QueryableByName)]
struct Summed {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// How many bytes lie in the store for a tenant, or are about to: large values, and pictures of Cores.
///
/// Of what several write at once each sees its own and what was there before; who wants to be sure holds the tenant.
#[boxed]
pub async fn stored_bytes(c: &mut Connection, scope: TenantScope) -> Result<u64> {
    let query = diesel::sql_query(
        "SELECT CAST(coalesce(sum(value), 0) AS BIGINT) AS bytes FROM tallies \
         WHERE tenant_id = $1 AND figure = 'storage.bytes'",
    );
    let query = query.bind::<Text, _>(scope.tenant_id().to_string());
    let found: Summed = with!(c, c => query.get_result(c).await)?;
    Ok(u64::try_from(found.bytes).unwrap_or(0))
}

/// Removes up to so many references whose holders are gone, of each kind but memory; how many.
#[boxed]
pub async fn release(tx: &mut Transaction, _system: &SystemScope) -> Result<usize> {
    const HOLDERS: [(&str, &str); 4] = [
        ("execution", "SELECT 1 FROM executions h WHERE h.id = r.holder"),
        (
            "journal",
            "SELECT 1 FROM journal h WHERE h.tenant_id = r.tenant_id AND h.execution_id = r.holder \
             AND h.seq = CAST(r.place AS BIGINT)",
        ),
        (
            "inbox",
            "SELECT 1 FROM execution_inbox h WHERE h.tenant_id = r.tenant_id AND h.execution_id = r.holder \
             AND h.effect = CAST(r.place AS INTEGER)",
        ),
        ("event", "SELECT 1 FROM core_events h WHERE h.id = r.holder"),
    ];
    let mut all = 0;
    for (kind, holder) in HOLDERS {
        let query = format!(
            "DELETE FROM object_refs WHERE (tenant_id, object_id, kind, holder, place) IN \
             (SELECT r.tenant_id, r.object_id, r.kind, r.holder, r.place FROM object_refs r \
              WHERE r.kind = '{kind}' AND NOT EXISTS ({holder}) LIMIT {REFERENCES})"
        );
        let query = diesel::sql_query(query);
        all += with!(tx, c => query.execute(c).await)?;
    }
    Ok(all)
}

/// Where a reference of memory was seen.
pub type Seen = (String, String, String, String);

/// Looks at references of memory, in their order behind one, and removes those whose entries hold something else by now; how many,
/// and the last that was looked at where there are more.
#[boxed]
pub async fn release_memory(
    tx: &mut Transaction,
    _system: &SystemScope,
    after: Option<&Seen>,
) -> Result<(usize, Option<Seen>)> {
    let (tenant, object, holder, place) = after.cloned().unwrap_or_default();
    // Who writes an entry that refers to the same object locks the reference, and so does this before it looks at the entry: one
    // that is being written is left alone, and who comes later waits, and writes the reference anew.
    let locking = match tx.engine()? {
        Engine::Postgres(_) => "FOR UPDATE SKIP LOCKED",
        Engine::Sqlite(_) => "",
    };
    let query = diesel::sql_query(format!(
        "SELECT tenant_id, object_id, holder, place FROM object_refs WHERE kind = 'memory' \
         AND (tenant_id, object_id, holder, place) > ($1, $2, $3, $4) \
         ORDER BY tenant_id, object_id, holder, place LIMIT $5 {locking}"
    ));
    let query = query
        .bind::<Text, _>(tenant)
        .bind::<Text, _>(object)
        .bind::<Text, _>(holder)
        .bind::<Text, _>(place)
        .bind::<BigInt, _>(REFERENCES);
    let found: Vec<MemoryRef> = with!(tx, c => query.load(c).await)?;
    let last = found
        .last()
        .map(|one| (one.tenant_id.clone(), one.object_id.clone(), one.holder.clone(), one.place.clone()));
    let more = i64::try_from(found.len()).is_ok_and(|len| len == REFERENCES);
    let mut gone = 0;
    for one in found {
        let place: (String, String, String) = serde_json::from_str(&one.place)
            .map_err(|error| Error::inconsistent("object_refs", "place", &one.object_id, error))?;
        let entry = core_memory::table
            .find((&one.tenant_id, &one.holder, place.0, place.1, place.2))
            .select(core_memory::value);
        let value: Option<Vec<u8>> = with!(tx, c => entry.get_result(c).await.optional())?;
        let referred = value.as_deref().and_then(Object::referred).map(|object| object.id.to_string());
        if referred.as_ref() != Some(&one.object_id) {
            let row =
                object_refs::table.find((&one.tenant_id, &one.object_id, "memory", &one.holder, &one.place));
            gone += with!(tx, c => diesel::delete(row).execute(c).await)?;
        }
    }
    Ok((gone, last.filter(|_| more)))
}

#[derive(QueryableByName)]
struct MemoryRef {
    #[diesel(sql_type = Text)]
    tenant_id: String,
    #[diesel(sql_type = Text)]
    object_id: String,
    #[diesel(sql_type = Text)]
    holder: String,
    #[diesel(sql_type = Text)]
    place: String,
}

/// The place of an entry of memory, as references name it.
pub(crate) fn memory_place(_core: CoreId, partition: &str, name: &str, key: &str) -> String {
    serde_json::json!([partition, name, key]).to_string()
}
