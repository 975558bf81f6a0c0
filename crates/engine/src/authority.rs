//! For whom an execution acts: asked of the database before each call that goes out, and never remembered, so that what is taken
//! back counts at once and on every node.
//!
//! An execution stays under the delegation that it was begun under. When that is over, its calls fail: it goes on neither for
//! its tenant nor for somebody else to whom the Core was lent meanwhile.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, FieldChange, diff};
use scaigrid_cores::{Core, CoreIdentity, Delegation, Lapse, LastError, Status};
use scaigrid_persistence::audit::AuditFilter;
use scaigrid_persistence::{Connection, Revised, audit, cores, delegations, grants, holds, tenants, users};
use scaigrid_runtime::Failure;
use scaigrid_scope::{
    AuditId, CoreId, DelegationId, LevelScope, Permission, Permissions, TenantScope, UserId, UserStatus,
};
use serde_json::json;

use crate::run::Run;
use crate::{Engine, Error};

/// The module that Cores are the affairs of.
const MODULE: &str = "scaicore";
/// Times that a Core was held that are looked through, newest first.
const HELD_AT_MOST: i64 = 50;

/// What a program is told when its Core may not act for the user.
pub(crate) fn lapsed(lapse: Lapse) -> Failure {
    Failure::new(lapse.as_str(), lapse.message())
}

fn not_covered(needed: Permission) -> Failure {
    let message = format!("the delegated user does not hold {needed}, or has not lent it to the Core");
    Failure::new("AUTHZ_PERMISSION_DENIED", message)
}

/// What a user may do in their tenant; none when they are gone or not active.
async fn held(
    c: &mut Connection,
    scope: TenantScope,
    user: UserId,
) -> Result<Option<Permissions>, scaigrid_persistence::Error> {
    let Some(user) = users::lookup(c, scope, user).await? else { return Ok(None) };
    if user.status != UserStatus::Active {
        return Ok(None);
    }
    let granted = grants::held(c, scope, user.id).await?;
    Ok(Some(user.roles.permissions().union(&granted)))
}

impl Engine {
    /// The delegation that an execution is begun under, which begins now. It is asked of the database: one that was begun for the
    /// tenant stays so, though its Core was lent to a user at another node a moment ago.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn begun_under(
        &self,
        scope: TenantScope,
        core: CoreId,
    ) -> Result<Option<DelegationId>, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(delegations::lookup(&mut connection, scope, core).await?.map(|delegation| delegation.id))
    }

    /// For whom an execution that was begun under a delegation may act now, with what scopes; none where it was begun under
    /// none, and acts for its tenant. `needed` is the permission without which the call may not go out.
    ///
    /// What the program is told instead stands in the inner result.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn authority(
        &self,
        scope: TenantScope,
        core: CoreId,
        begun_under: Option<DelegationId>,
        needed: Option<Permission>,
    ) -> Result<Result<Option<Delegation>, Failure>, Error> {
        let Some(id) = begun_under else { return Ok(Ok(None)) };
        let mut connection = self.0.database.read().await?;
        let found = delegations::lookup(&mut connection, scope, core).await?;
        let Some(delegation) = found.filter(|delegation| delegation.id == id) else {
            return Ok(Err(lapsed(Lapse::NotActive)));
        };
        let held = held(&mut connection, scope, delegation.user_id).await?;
        drop(connection);
        let narrowed = match delegation.narrowed(held.as_ref(), self.0.clock.now()) {
            Ok(narrowed) => narrowed,
            Err(lapse) => return Ok(Err(lapsed(lapse))),
        };
        match needed {
            Some(needed) if !narrowed.covers(needed) => Ok(Err(not_covered(needed))),
            _ => Ok(Ok(Some(narrowed))),
        }
    }

    /// What a delegation lets a Core do in this moment, or why nothing.
    pub(crate) async fn lent_now(
        &self,
        scope: TenantScope,
        delegation: &Delegation,
    ) -> Result<Result<Permissions, Lapse>, Error> {
        let mut connection = self.0.database.read().await?;
        let held = held(&mut connection, scope, delegation.user_id).await?;
        Ok(delegation.effective(held.as_ref(), self.0.clock.now()))
    }

    /// Whether a Core can act as its identity says.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn check_identity(&self, scope: TenantScope, core: &Core) -> Result<Result<(), Lapse>, Error> {
        let CoreIdentity::UserDelegated(delegation) = &core.identity else { return Ok(Ok(())) };
        Ok(self.lent_now(scope, delegation).await?.map(drop))
    }

    /// The user for whom a run acts, as far as was known a second ago; none where it acts for its tenant, or the user has
    /// taken back what they lent.
    pub(crate) async fn acts_for(&self, run: &Run) -> Result<Option<UserId>, Error> {
        let Some(id) = run.execution.delegation else { return Ok(None) };
        let hosted = self.hosted(run.scope, run.execution.core_id).await?;
        let delegation = hosted.core.identity.delegation();
        let delegation = delegation.filter(|delegation| delegation.id == id && !delegation.is_taken_back());
        Ok(delegation.map(|delegation| delegation.user_id))
    }

    /// Holds the Core of a run that has ended because its delegation is over. Where it cannot be held just now, it goes on: the
    /// next execution under that delegation ends in the same way.
    pub(crate) async fn hold_lapsed(&self, run: &Run, failure: &Failure) {
        let lapse = Lapse::ALL.iter().find(|lapse| lapse.as_str() == &*failure.code);
        let (Some(lapse), Some(_)) = (lapse, run.execution.delegation) else { return };
        if let Err(error) = self.hold_core(run, *lapse).await {
            let core = run.execution.core_id;
            tracing::warn!(%error, %core, "a Core whose delegation is over could not be held");
        }
    }

    /// Whether the Core of a run was held for a reason since the run was begun. Many may wait under a delegation that is taken back:
    /// whoever has let their Core go on after the first has seen it, and is not stopped by each of the others.
    async fn was_held(&self, run: &Run, lapse: Lapse) -> Result<bool, Error> {
        let filter = AuditFilter {
            action: Some(AuditAction::CoreSuspend),
            resource_id: Some(run.execution.core_id.to_string()),
            since: Some(run.execution.started_at),
            ..AuditFilter::default()
        };
        let mut connection = self.0.database.read().await?;
        let held = audit::list(&mut connection, LevelScope::Tenant(run.scope), &filter, None, HELD_AT_MOST);
        let held = held.await?;
        let for_that = |(field, change): (&str, &FieldChange)| {
            field == "reason" && change.after.as_str() == Some(lapse.as_str())
        };
        Ok(held.iter().any(|record| record.changes.iter().any(for_that)))
    }

    /// Whether the Core of a run whose delegation is not active is to be held. It is while that is the one which it has, of which
    /// the user has taken back what they lent: nobody has said yet for whom it is to act.
    async fn is_to_be_held(&self, run: &Run) -> Result<bool, Error> {
        let mut connection = self.0.database.read().await?;
        let found = cores::lookup(&mut connection, run.scope, run.execution.core_id, &self.0.vault).await?;
        drop(connection);
        let Some(Revised { value: core, .. }) = found else { return Ok(false) };
        if core.identity.delegation().map(|delegation| delegation.id) == run.execution.delegation {
            return Ok(true);
        }
        // What a node has begun that did not know yet what had changed was never under way when it did.
        Ok(run.execution.started_at < core.updated_at && !self.was_held(run, Lapse::NotActive).await?)
    }

    async fn hold_core(&self, run: &Run, lapse: Lapse) -> Result<(), Error> {
        let (scope, core, now) = (run.scope, run.execution.core_id, self.0.clock.now());
        // A program may fail with such a code of its own, or with that of a Core that it has called.
        if self.authority(scope, core, run.execution.delegation, None).await?.is_ok() {
            return Ok(());
        }
        if lapse == Lapse::NotActive && !self.is_to_be_held(run).await? {
            return Ok(());
        }
        let why = LastError { code: lapse.as_str().into(), message: lapse.message().into(), at: now };
        let mut tx = self.0.database.begin().await?;
        let Some(before) = holds::hold_core(&mut tx, scope, core, &why).await? else {
            return Ok(tx.rollback().await?);
        };
        self.arrange(&mut tx, scope, (core, Status::Suspended), None).await?;
        let tenant = tenants::reference(&mut tx, &self.0.system, scope.tenant_id()).await?;
        let place = (scope.tenant_id(), tenant.map(|tenant| tenant.partner_id));
        let changes = diff(
            &json!({"status": before.as_str()}),
            &json!({"status": Status::Suspended.as_str(), "reason": lapse.as_str()}),
            &[],
        );
        let stamp = (AuditId::from_ulid(self.0.ids.draw(now)), now);
        let record =
            AuditRecord::by_the_system(stamp, place, AuditAction::CoreSuspend, core.to_string(), changes);
        audit::add(&mut tx, &record.of_module(MODULE)).await?;
        tx.commit().await?;
        self.core_changed(core);
        Ok(())
    }
}
