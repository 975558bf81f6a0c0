//! Whether an execution is this node's still, asked before each of its calls goes out.

use std::time::Duration;

use scaigrid_persistence::leases;
use scaigrid_scope::{ExecutionId, TenantScope};

use crate::lease::Term;
use crate::{Engine, Error};

impl Engine {
    /// The term of this node's lease in which an execution is its own; none when it is in other hands.
    ///
    /// Has the lease held without a break since the execution was last known to be this node's, nobody is asked. Else the lease is
    /// renewed, and the database says what others have taken on meanwhile.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn still_ours(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        epoch: i64,
        known: Option<Term>,
    ) -> Result<Option<Term>, Error> {
        let lease = &self.0.lease;
        loop {
            if lease.has_ended() {
                return Ok(None);
            }
            let Some(term) = lease.term() else {
                self.renew().await?;
                continue;
            };
            if known == Some(term) {
                return Ok(known);
            }
            // Who looked for dead nodes just before this one came back may be about to take the execution.
            let unsettled = lease.unsettled();
            if unsettled > Duration::ZERO {
                tokio::time::sleep(unsettled).await;
                continue;
            }
            let mut connection = self.0.database.read().await?;
            if !leases::holds(&mut connection, scope, self.node(), id, epoch).await? {
                return Ok(None);
            }
            if lease.holds_since(Some(term)) {
                return Ok(Some(term));
            }
        }
    }
}
