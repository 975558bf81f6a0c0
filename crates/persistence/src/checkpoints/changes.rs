//! What has changed of a tenant's checkpoints, for whoever follows.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CheckpointId, Instant, TenantScope};

use super::{CheckpointRow, StoredCheckpoint, votes};
use crate::database::{Connection, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::checkpoints;

/// The checkpoints that were changed at or after an instant, and when, the longest ago first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn since(
    c: &mut Connection,
    scope: TenantScope,
    since: Instant,
    rows: i64,
) -> Result<Vec<(CheckpointId, Instant)>> {
    let query = checkpoints::table
        .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(checkpoints::updated_at.ge(Stamp(since)))
        .order((checkpoints::updated_at, checkpoints::id))
        .limit(rows)
        .select((checkpoints::id, checkpoints::updated_at));
    let found: Vec<(String, Stamp)> = with!(c, c => query.load(c).await)?;
    found.into_iter().map(|(id, at)| Ok((column("checkpoints", "id", &id, &id)?, at.into()))).collect()
}

/// Those of some checkpoints that are there, the longest unchanged first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn named(
    c: &mut Connection,
    scope: TenantScope,
    ids: &[CheckpointId],
) -> Result<Vec<StoredCheckpoint>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    macro_rules! query {
        () => {
            checkpoints::table
                .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(checkpoints::id.eq_any(ids))
                .order((checkpoints::updated_at, checkpoints::id))
                .select(CheckpointRow::as_select())
        };
    }
    let found: Vec<CheckpointRow> = with!(c, c => query!().load(c).await)?;
    votes::whole(c, scope, found).await
}
