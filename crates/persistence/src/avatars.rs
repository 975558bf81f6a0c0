//! Pictures of Cores: whose there are, and under which keys there may be objects that nobody knows of.
//!
//! That there may be an object is written down before it is put, and forgotten only when the Core is gone and nobody can be on
//! the way to putting one any more: nothing in the store is unknown. What a picture is stands with its Core.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_cores::Avatar;
use scaigrid_scope::{CoreId, Instant, SystemScope, TenantId, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::{avatar_objects, cores};

const TABLE: &str = "avatar_objects";

/// Notes that an object of so many bytes is about to be put under the key of a Core.
#[boxed]
pub async fn touch(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    bytes: u64,
    now: Instant,
) -> Result<()> {
    let insert = diesel::insert_into(avatar_objects::table)
        .values((
            avatar_objects::tenant_id.eq(scope.tenant_id().to_string()),
            avatar_objects::core_id.eq(core.to_string()),
            avatar_objects::touched_at.eq(Stamp(now)),
            avatar_objects::bytes.eq(bytes.cast_signed()),
        ))
        .on_conflict((avatar_objects::tenant_id, avatar_objects::core_id))
        .do_update()
        .set((avatar_objects::touched_at.eq(Stamp(now)), avatar_objects::bytes.eq(bytes.cast_signed())));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Notes that the object under the key of a Core was removed and takes no room. That there may be another one, since somebody is on
/// the way to putting it, stays noted.
#[boxed]
pub async fn emptied(tx: &mut Transaction, scope: TenantScope, core: CoreId) -> Result<()> {
    let row = avatar_objects::table.find((scope.tenant_id().to_string(), core.to_string()));
    let update = diesel::update(row).set(avatar_objects::bytes.eq(0_i64));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Whether it is still noted that there may be an object under the key of a Core.
#[boxed]
pub async fn is_noted(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<bool> {
    let query = avatar_objects::table
        .find((scope.tenant_id().to_string(), core.to_string()))
        .select(avatar_objects::core_id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.is_some())
}

/// The picture of a Core, and whose Core that is; none where it has none. For everybody: pictures are public.
#[boxed]
pub async fn find(
    c: &mut Connection,
    _system: &SystemScope,
    core: CoreId,
) -> Result<Option<(TenantId, Avatar)>> {
    type Row = (String, Option<String>, Option<String>);
    let query = cores::table.find(core.to_string()).select((
        cores::tenant_id,
        cores::avatar_type,
        cores::avatar_hash,
    ));
    let row: Option<Row> = with!(c, c => query.get_result(c).await.optional())?;
    let Some((tenant, Some(media_type), Some(hash))) = row else { return Ok(None) };
    let id = core.to_string();
    let avatar = Avatar { media_type: column("cores", "avatar_type", &id, &media_type)?, hash: hash.into() };
    Ok(Some((column("cores", "tenant_id", &id, &tenant)?, avatar)))
}

/// Up to `most` Cores that have a picture, and whose they are, in the order of their ids, behind one.
#[boxed]
pub async fn pictured(
    c: &mut Connection,
    _system: &SystemScope,
    after: Option<CoreId>,
    most: i64,
) -> Result<Vec<(TenantId, CoreId)>> {
    let query = cores::table
        .filter(cores::avatar_hash.is_not_null())
        .filter(cores::id.gt(after.map(|core| core.to_string()).unwrap_or_default()))
        .order(cores::id)
        .limit(most)
        .select((cores::tenant_id, cores::id));
    let rows: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    rows.into_iter()
        .map(|(tenant, core)| {
            Ok((column("cores", "tenant_id", &core, &tenant)?, column("cores", "id", &core, &core)?))
        })
        .collect()
}

#[derive(QueryableByName)]
struct Orphan {
    #[diesel(sql_type = Text)]
    tenant_id: String,
    #[diesel(sql_type = Text)]
    core_id: String,
}

/// Keys of Cores that are gone, and under which nobody has wanted to put anything since an instant.
#[boxed]
pub async fn orphans(
    c: &mut Connection,
    _system: &SystemScope,
    untouched_since: Instant,
    most: i64,
) -> Result<Vec<(TenantId, CoreId)>> {
    let query = diesel::sql_query(
        "SELECT a.tenant_id, a.core_id FROM avatar_objects a WHERE a.touched_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM cores c WHERE c.id = a.core_id) ORDER BY a.tenant_id, a.core_id LIMIT $2",
    );
    let query = query.bind::<Moment, _>(Stamp(untouched_since)).bind::<BigInt, _>(most);
    let found: Vec<Orphan> = with!(c, c => query.load(c).await)?;
    let read = |row: Orphan| {
        Ok((
            column(TABLE, "tenant_id", &row.core_id, &row.tenant_id)?,
            column(TABLE, "core_id", &row.core_id, &row.core_id)?,
        ))
    };
    found.into_iter().map(read).collect()
}

/// Forgets keys whose objects were removed.
#[boxed]
pub async fn forget(
    tx: &mut Transaction,
    _system: &SystemScope,
    removed: &[(TenantId, CoreId)],
    untouched_since: Instant,
) -> Result<()> {
    for (tenant, core) in removed {
        let row = avatar_objects::table
            .find((tenant.to_string(), core.to_string()))
            .filter(avatar_objects::touched_at.lt(Stamp(untouched_since)));
        with!(tx, c => diesel::delete(row).execute(c).await)?;
    }
    Ok(())
}
