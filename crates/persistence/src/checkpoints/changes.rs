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

/// That a checkpoint was changed, and as much of it as tells whom that can concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub id: CheckpointId,
    /// When it last was.
    pub at: Instant,
    /// Whom it asks: `kind:value`, or the kind alone.
    pub asks: String,
    /// Whether anything was changed of it while it waited: it may have asked others before.
    pub moved: bool,
}

/// The checkpoints that were changed at or after an instant, the longest ago first; of those at that very instant the ones behind
/// another, if there is one, in the order of ids.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn since(
    c: &mut Connection,
    scope: TenantScope,
    (since, behind): (Instant, Option<CheckpointId>),
    rows: i64,
) -> Result<Vec<Changed>> {
    type Row = (String, Stamp, String, Option<String>, i64);
    // No id comes before the empty text.
    let behind = behind.map(|id| id.to_string()).unwrap_or_default();
    let query = checkpoints::table
        .filter(checkpoints::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(checkpoints::updated_at.ge(Stamp(since)))
        .filter(checkpoints::updated_at.gt(Stamp(since)).or(checkpoints::id.gt(behind)))
        .order((checkpoints::updated_at, checkpoints::id))
        .limit(rows)
        .select((
            checkpoints::id,
            checkpoints::updated_at,
            checkpoints::assignee_type,
            checkpoints::assignee_value,
            checkpoints::revision,
        ));
    let found: Vec<Row> = with!(c, c => query.load(c).await)?;
    let read = |(id, at, kind, value, revision): Row| {
        let asks = value.map_or_else(|| kind.clone(), |value| format!("{kind}:{value}"));
        let id = column("checkpoints", "id", &id, &id)?;
        Ok(Changed { id, at: at.into(), asks, moved: revision > 0 })
    };
    found.into_iter().map(read).collect()
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
