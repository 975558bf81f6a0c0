//! What people have said of checkpoints that several must decide alike: each once, whatever happens at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_checkpoints::{Checkpoint, Vote};
use scaigrid_scope::TenantScope;
use serde_json::Value;

use super::{CheckpointRow, StoredCheckpoint};
use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::checkpoint_votes;

const TABLE: &str = "checkpoint_votes";

#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = checkpoint_votes)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct VoteRow {
    pub(crate) tenant_id: String,
    pub(crate) checkpoint_id: String,
    pub(crate) user_id: String,
    pub(crate) core_id: String,
    pub(crate) execution_id: String,
    pub(crate) decision: String,
    pub(crate) response_data: Option<Value>,
    pub(crate) comment: Option<String>,
    pub(crate) at: Stamp,
}

impl VoteRow {
    pub(crate) fn of(checkpoint: &Checkpoint, vote: &Vote) -> Self {
        Self {
            tenant_id: checkpoint.tenant_id.to_string(),
            checkpoint_id: checkpoint.id.to_string(),
            user_id: vote.by.to_string(),
            core_id: checkpoint.core_id.to_string(),
            execution_id: checkpoint.execution_id.to_string(),
            decision: text_storable(vote.decision.clone()),
            response_data: vote.response_data.as_deref().cloned().map(storable),
            comment: vote.comment.clone().map(text_storable),
            at: vote.at.into(),
        }
    }
}

impl TryFrom<VoteRow> for Vote {
    type Error = crate::Error;

    fn try_from(row: VoteRow) -> Result<Self> {
        Ok(Self {
            by: column(TABLE, "user_id", &row.checkpoint_id, &row.user_id)?,
            decision: row.decision,
            response_data: row.response_data.map(Arc::new),
            comment: row.comment,
            at: row.at.into(),
        })
    }
}

/// Keeps a vote that does not decide; one that does goes with what it decides, in [`crate::commit`]. Lock the checkpoint before.
#[boxed]
pub async fn add(tx: &mut Transaction, checkpoint: &Checkpoint, vote: &Vote) -> Result<()> {
    let insert = diesel::insert_into(checkpoint_votes::table).values(VoteRow::of(checkpoint, vote));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Checkpoints of rows, with what people have said of those that take several.
pub(super) async fn whole(
    c: &mut Connection,
    scope: TenantScope,
    rows: Vec<CheckpointRow>,
) -> Result<Vec<StoredCheckpoint>> {
    let mut found: Vec<StoredCheckpoint> =
        rows.into_iter().map(StoredCheckpoint::try_from).collect::<Result<_>>()?;
    let several = found.iter().filter(|stored| stored.checkpoint.rules.takes_several());
    let ids: Vec<String> = several.map(|stored| stored.checkpoint.id.to_string()).collect();
    if ids.is_empty() {
        return Ok(found);
    }
    macro_rules! query {
        () => {
            checkpoint_votes::table
                .filter(checkpoint_votes::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(checkpoint_votes::checkpoint_id.eq_any(ids))
                .order((checkpoint_votes::at, checkpoint_votes::user_id))
                .select(VoteRow::as_select())
        };
    }
    let rows: Vec<VoteRow> = with!(c, c => query!().load(c).await)?;
    let mut votes: HashMap<String, Vec<Vote>> = HashMap::new();
    for row in rows {
        votes.entry(row.checkpoint_id.clone()).or_default().push(row.try_into()?);
    }
    for stored in &mut found {
        stored.checkpoint.votes = votes.remove(&stored.checkpoint.id.to_string()).unwrap_or_default();
    }
    Ok(found)
}
