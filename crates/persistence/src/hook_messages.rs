//! Messages that came in through webhooks, for as long as they may come again. Their ids are somebody else's, and are kept as
//! hashes.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, ExecutionId, Instant, SystemScope, TenantScope, TriggerId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::hook_messages;

/// Notes that a message has come, and what it begins; false where it was noted before, which then stays as it is.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn note(
    tx: &mut Transaction,
    scope: TenantScope,
    (core, trigger, message): (CoreId, TriggerId, &str),
    execution: Option<ExecutionId>,
    at: Instant,
) -> Result<bool> {
    let row = (
        hook_messages::tenant_id.eq(scope.tenant_id().to_string()),
        hook_messages::core_id.eq(core.to_string()),
        hook_messages::trigger_id.eq(trigger.to_string()),
        hook_messages::message.eq(message.to_owned()),
        hook_messages::execution_id.eq(execution.map(|id| id.to_string())),
        hook_messages::at.eq(Stamp(at)),
    );
    let insert = diesel::insert_into(hook_messages::table).values(row).on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? == 1)
}

/// What a message began that has come before; none of one that has not.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn first(
    c: &mut Connection,
    scope: TenantScope,
    (core, trigger, message): (CoreId, TriggerId, &str),
) -> Result<Option<Option<ExecutionId>>> {
    let query = hook_messages::table
        .find((scope.tenant_id().to_string(), core.to_string(), trigger.to_string(), message.to_owned()))
        .select(hook_messages::execution_id);
    let found: Option<Option<String>> = with!(c, c => query.get_result(c).await.optional())?;
    let read = |id: String| column("hook_messages", "execution_id", message, &id);
    found.map(|execution| execution.map(read).transpose()).transpose()
}

/// Deletes up to `most` of them from before an instant; how many.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn purge(tx: &mut Transaction, _system: &SystemScope, before: Instant, most: i64) -> Result<usize> {
    let query = "DELETE FROM hook_messages WHERE (tenant_id, core_id, trigger_id, message) IN \
                 (SELECT tenant_id, core_id, trigger_id, message FROM hook_messages WHERE at < $1 ORDER BY at LIMIT $2)";
    let query = diesel::sql_query(query).bind::<Moment, _>(Stamp(before)).bind::<BigInt, _>(most);
    Ok(with!(tx, c => query.execute(c).await)?)
}
