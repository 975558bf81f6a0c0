//! Accounts of calls, written once they are over: by the node that made the call, or, when that has died, by another.
//!
//! A call whose node has died may have used all that was held back for it, or nothing. It is settled as if it had used all,
//! as `unknown`. Should its node live after all, and settle it too, what that knows takes the estimate's place.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_catalog::budget::Spent;
use scaigrid_catalog::usage::Usage;
use scaigrid_persistence::commit::Delivery;
use scaigrid_persistence::model_reservations::{self, Reservation};
use scaigrid_persistence::model_usage::{self, BudgetOwner};
use scaigrid_persistence::{self as persistence, executions};
use scaigrid_scope::{SystemScope, TenantScope};
use tokio::task::JoinHandle;

use super::Models;

/// The first pauses before an account is settled again that could not be.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];
/// The pause after those, for as long as it takes: what is held back for a call counts until it is settled.
const LONGEST: Duration = Duration::from_mins(1);
/// Accounts that are kept in memory until they can be written. Those that find no room are settled as unknown when the node
/// is gone, like all that it has not settled.
pub(super) const UNWRITTEN_AT_MOST: usize = 10_000;
/// How often it is looked for calls of nodes that have died.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Calls of the dead that are settled in one go.
const AT_ONCE: i64 = 100;

/// What is written at the end of a call.
pub(super) struct Account {
    pub(super) scope: TenantScope,
    pub(super) usage: Usage,
    pub(super) month: String,
    pub(super) reserved: bool,
    /// What was answered, for the execution that waits for it.
    pub(super) answer: Option<Delivery>,
}

fn pauses() -> impl Iterator<Item = Duration> {
    AGAIN.into_iter().chain(std::iter::repeat(LONGEST))
}

fn spent(usage: &Usage) -> Spent {
    Spent { tokens: usage.input_tokens.saturating_add(usage.output_tokens), cost: usage.cost }
}

impl Models {
    /// Writes what a call has used, and frees what was held back for it.
    ///
    /// What is held back is touched first, as by everybody who settles the same call.
    async fn settle(&self, account: &Account) -> Result<(), persistence::Error> {
        let Account { scope, usage, month, reserved, answer } = account;
        let scope = *scope;
        let mut tx = self.0.database.begin().await?;
        if *reserved {
            model_reservations::release(&mut tx, scope, usage.id).await?;
        }
        // Whoever cannot know whether the last attempt was durable finds out here.
        let estimate = if model_usage::add(&mut tx, scope, usage).await? {
            Some(None)
        } else {
            model_usage::replace_unknown(&mut tx, scope, usage).await?.map(Some)
        };
        if let Some(estimate) = estimate {
            let owners = [Some(BudgetOwner::Tenant), usage.core_id.map(BudgetOwner::Core)];
            for owner in owners.into_iter().flatten() {
                let before = model_usage::lock(&mut tx, scope, owner, month).await?;
                match &estimate {
                    None => {
                        let after = before.and(spent(usage));
                        model_usage::spend(&mut tx, scope, owner, month, after).await?;
                    }
                    Some(estimate) => {
                        let after = before.without(spent(estimate)).and(spent(usage));
                        model_usage::correct(&mut tx, scope, owner, month, after).await?;
                    }
                }
            }
        }
        if let Some(Delivery { to, effect, outcome }) = answer {
            executions::leave_outcome(&mut tx, scope, *to, *effect, outcome).await?;
        }
        tx.commit().await
    }

    /// Settles an account by a task of its own. The task ends its first part, for which is waited, with the first attempt.
    pub(super) fn settle_apart(&self, account: Account) -> JoinHandle<()> {
        let models = self.clone();
        self.0.runtime.spawn(async move {
            let Err(error) = models.settle(&account).await else { return };
            let Ok(room) = Arc::clone(&models.0.unwritten).try_acquire_owned() else {
                tracing::error!(
                    %error,
                    usage = %account.usage.id,
                    input_tokens = account.usage.input_tokens,
                    output_tokens = account.usage.output_tokens,
                    "what a model call used could not be written, and too much waits to be"
                );
                return;
            };
            tracing::warn!(%error, usage = %account.usage.id, "what a model call used could not be written and is tried again");
            let behind = models.clone();
            models.0.runtime.spawn(async move {
                for pause in pauses() {
                    tokio::time::sleep(pause).await;
                    let Err(error) = behind.settle(&account).await else { break };
                    if pause >= LONGEST {
                        tracing::warn!(%error, usage = %account.usage.id, "what a model call used still cannot be written");
                    }
                }
                drop(room);
            });
        })
    }

    /// Settles, until it is dropped, the calls of nodes whose lease has ended.
    pub(crate) async fn settle_for_the_dead(&self, system: SystemScope) {
        loop {
            if let Err(error) = self.settle_left_behind(&system).await {
                tracing::warn!(%error, "what nodes have left behind that died cannot be settled just now");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn settle_left_behind(&self, system: &SystemScope) -> Result<(), persistence::Error> {
        loop {
            let now = self.0.clock.now();
            let mut connection = self.0.database.read().await?;
            let left = model_reservations::left_behind(&mut connection, system, self.0.node, now, AT_ONCE);
            let left = left.await?;
            drop(connection);
            if left.is_empty() {
                return Ok(());
            }
            for Reservation { usage, month, node } in left {
                let scope = system.tenant(usage.tenant_id);
                let mut tx = self.0.database.begin().await?;
                // Another node may have been faster, or the dead one lives.
                if !model_reservations::release(&mut tx, scope, usage.id).await? {
                    tx.rollback().await?;
                    continue;
                }
                if model_usage::add(&mut tx, scope, &usage).await? {
                    let owners = [Some(BudgetOwner::Tenant), usage.core_id.map(BudgetOwner::Core)];
                    for owner in owners.into_iter().flatten() {
                        let before = model_usage::lock(&mut tx, scope, owner, &month).await?;
                        let after = before.and(spent(&usage));
                        model_usage::spend(&mut tx, scope, owner, &month, after).await?;
                    }
                }
                tx.commit().await?;
                // Which backend was asked has died with the node.
                let status = usage.status.as_str();
                metrics::counter!("scaigrid_model_calls_total", "provider" => "unknown", "status" => status)
                    .increment(1);
                tracing::warn!(usage = %usage.id, %node, "a call of a node that died is settled as if all was used that it held back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_written_however_long_the_database_is_away() {
        assert!(pauses().zip(pauses().skip(1)).take(10).all(|(one, next)| one <= next));
        // Until a month has passed, and every minute of it.
        assert!(pauses().skip(AGAIN.len()).take(30 * 24 * 60).all(|pause| pause == LONGEST));
    }
}
