//! Lending Cores the identity of users, and taking it back.
//!
//! Whoever arranges it lends nothing that they lack themselves, and nothing that the user lacks. The user sees what acts for
//! them and takes it back whenever they like, whatever they may do with the Core.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{Actor, AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_cores::delegation::{check_expiry, check_held, parse_scopes};
use scaigrid_cores::{Core, CoreIdentity, Delegation, FieldProblem, Lapse};
use scaigrid_persistence::delegations::{self, Lent};
use scaigrid_persistence::{Connection, Revised, Transaction, audit, cores, grants, users};
use scaigrid_scope::{
    Authorized, CoreId, DelegationId, Instant, Permissions, Principal, TenantScope, UserId, UserStatus, perm,
};
use serde_json::{Value, json};

use super::{MODULE, ShownCore, after};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Cursor, Error, FieldError, Page, PageRequest, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;

/// What is to be lent.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// Whose identity: the id of a user of the tenant.
    pub user_id: String,
    /// Within what: keys of permissions.
    pub scopes: Vec<String>,
    /// Until when; none for as long as nobody takes it back.
    pub expires_at: Option<Instant>,
}

/// What shall be different about a delegation; `None` keeps what is there.
#[derive(Debug, Clone, Default)]
pub struct DelegationChanges {
    /// Within what.
    pub scopes: Option<Vec<String>>,
    /// Until when; `Some(None)` takes the end away.
    pub expires_at: Option<Option<Instant>>,
}

/// What a user has lent, as they see it.
#[derive(Debug, Clone)]
pub struct MyDelegation {
    /// What was lent to which Core.
    pub lent: Lent,
    /// What the Core may do for the user in this moment; nothing once its time is over.
    pub effective: Permissions,
    /// Whether its time is over.
    pub is_over: bool,
}

fn refused(problems: Vec<FieldProblem>) -> Error {
    let each = problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message));
    Error::DelegationInvalid(each.collect())
}

/// What the audit sees of the identity of a Core.
fn told(identity: &CoreIdentity) -> Value {
    let lent = identity.delegation();
    let scopes = |lent: &Delegation| lent.scopes.iter().map(|key| key.to_string()).collect::<Vec<_>>();
    json!({
        "identity_mode": identity.mode().as_str(),
        "delegation_id": lent.map(|lent| lent.id),
        "delegated_user_id": lent.map(|lent| lent.user_id),
        "delegation_scopes": lent.map(scopes),
        "delegation_expires_at": lent.and_then(|lent| lent.expires_at),
        "delegation_granted_by": lent.map(|lent| lent.granted_by),
        "delegation_revoked_at": lent.and_then(|lent| lent.revoked_at),
    })
}

/// What a user may do in their tenant; none when they are gone or not active.
async fn held_by(c: &mut Connection, scope: TenantScope, user: UserId) -> Result<Option<Permissions>, Error> {
    let user = users::lookup(c, scope, user).await?.filter(|user| user.status == UserStatus::Active);
    let Some(user) = user else { return Ok(None) };
    let granted = grants::held(c, scope, user.id).await?;
    Ok(Some(user.roles.permissions().union(&granted)))
}

impl App {
    /// For whom a Core acts.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn delegation_of(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
    ) -> Result<Revised<CoreIdentity>, Error> {
        let Revised { value, revision } = self.find_core(by.tenant_scope(), id).await?;
        Ok(Revised { value: value.identity, revision })
    }

    /// Lends a Core the identity of a user. What it was lent before is taken back by that; the same once more changes nothing.
    ///
    /// # Errors
    /// There is no such Core; [`Error::DelegationInvalid`]; [`Error::Delegation`] where there is no such active user in the
    /// tenant; [`Error::PermissionDenied`] for a scope that the caller lacks.
    #[boxed]
    pub async fn delegate_core(
        &self,
        by: &Authorized<perm::CoresDelegate>,
        request: &RequestContext,
        id: CoreId,
        new: NewDelegation,
    ) -> Result<ShownCore, Error> {
        let now = self.now();
        let scopes = parse_scopes(&new.scopes).map_err(refused)?;
        check_expiry(new.expires_at, now).map_err(refused)?;
        if new.user_id.is_empty() {
            return Err(refused(vec![FieldProblem::new("user_id", "must name a user")]));
        }
        // What is no id names nobody.
        let user_id: UserId = new.user_id.parse().map_err(|_| Error::Delegation(Lapse::UserNotFound))?;
        let delegation = Delegation {
            id: DelegationId::from_ulid(self.0.ids.draw(now)),
            user_id,
            scopes,
            expires_at: new.expires_at,
            granted_by: by.user_id(),
            granted_at: now,
            revoked_at: None,
        };
        self.lend(by, request, AuditAction::CoreDelegate, id, None, |before| {
            // The same, by the same: it is the one that there is.
            let known = before.delegation().map(|known| (known.id, known.granted_at));
            let same = known.map(|(id, granted_at)| Delegation { id, granted_at, ..delegation.clone() });
            Ok(same.filter(|same| before.delegation() == Some(same)).unwrap_or_else(|| delegation.clone()))
        })
        .await
    }

    /// Changes what a Core may do for its user, or until when. It counts for executions that have begun, too.
    ///
    /// # Errors
    /// As [`App::delegate_core`]; [`Error::DelegationInvalid`] where the Core was lent nothing; [`Error::PreconditionFailed`].
    pub async fn change_delegation(
        &self,
        by: &Authorized<perm::CoresDelegate>,
        request: &RequestContext,
        id: CoreId,
        expected: Expected<'_>,
        changes: DelegationChanges,
    ) -> Result<ShownCore, Error> {
        let now = self.now();
        let scopes = changes.scopes.as_deref().map(parse_scopes).transpose().map_err(refused)?;
        check_expiry(changes.expires_at.flatten(), now).map_err(refused)?;
        self.lend(by, request, AuditAction::CoreDelegationUpdate, id, expected, |before| {
            let Some(known) = before.delegation() else {
                return Err(refused(vec![FieldProblem::new("core_id", "names a Core without a delegation")]));
            };
            if known.is_taken_back() {
                let problem = "names a Core whose user has taken back what they lent; lend it anew";
                return Err(refused(vec![FieldProblem::new("core_id", problem)]));
            }
            Ok(Delegation {
                scopes: scopes.clone().unwrap_or_else(|| known.scopes.clone()),
                expires_at: changes.expires_at.unwrap_or(known.expires_at),
                ..known.clone()
            })
        })
        .await
    }

    /// Takes a user's identity back from a Core, which acts for its tenant from then on. Executions that were begun under it do
    /// not: their next call fails.
    ///
    /// # Errors
    /// There is no such Core; [`Error::Delegation`] where it was lent nothing.
    #[boxed]
    pub async fn revoke_delegation(
        &self,
        by: &Authorized<perm::CoresDelegate>,
        request: &RequestContext,
        id: CoreId,
    ) -> Result<ShownCore, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.find_core(by.tenant_scope(), id).await?;
            if found.value.identity.delegation().is_none() {
                return Err(Error::Delegation(Lapse::NotActive));
            }
            let after = self.acting_as(&found.value, CoreIdentity::ServiceAccount);
            let changes = diff(&told(&found.value.identity), &told(&after.identity), &[]);
            let record = self.core_record(by, request, AuditAction::CoreDelegationRevoke, id, changes);
            if let Some(revision) = self.save_identity(by.tenant_scope(), &after, &found, &record).await? {
                return Ok(ShownCore { core: after, revision, diagnostics: Vec::new() });
            }
        }
        Err(Error::core_contended())
    }

    /// What acts for the caller, newest first. They live in one tenant, and nothing acts for them elsewhere.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn my_delegations(
        &self,
        caller: &Arc<Principal>,
        page: &PageRequest,
    ) -> Result<Page<MyDelegation>, Error> {
        let scope = self.0.system.tenant(caller.identity().home.id);
        let after: Option<DelegationId> = after(page)?;
        let (user, now) = (caller.user_id(), self.now());
        let mut connection = self.0.database.read().await?;
        let held = held_by(&mut connection, scope, user).await?;
        let rows = delegations::of_user(&mut connection, scope, user, after, page.rows()).await?;
        let shown = rows.into_iter().map(|lent| MyDelegation {
            effective: lent.delegation.effective(held.as_ref(), now).unwrap_or_default(),
            is_over: lent.delegation.is_over(now),
            lent,
        });
        Ok(Page::of_rows(shown.collect(), page, |one| {
            Cursor::new([one.lent.delegation.id.to_string().into()])
        }))
    }

    /// Takes back what the caller has lent. It needs no right to the Core, which acts for nobody from then on: whether it may do
    /// for its tenant what it did for the user is not theirs to say.
    ///
    /// # Errors
    /// They have lent nothing of that id.
    #[boxed]
    pub async fn revoke_my_delegation(
        &self,
        caller: &Arc<Principal>,
        request: &RequestContext,
        id: DelegationId,
    ) -> Result<(), Error> {
        let home = &caller.identity().home;
        let scope = self.0.system.tenant(home.id);
        let gone = || Error::NotFound(Resource::Delegation);
        for _ in 0..ATTEMPTS {
            let mut connection = self.0.database.read().await?;
            let core = delegations::core_of(&mut connection, scope, caller.user_id(), id).await?;
            drop(connection);
            let found = match self.find_core(scope, core.ok_or_else(gone)?).await {
                Err(Error::NotFound(_)) => return Err(gone()),
                other => other?,
            };
            let lent = found.value.identity.delegation();
            let lent = lent.filter(|lent| lent.id == id && !lent.is_taken_back()).ok_or_else(gone)?;
            let now = self.now();
            let after = self.acting_as(&found.value, CoreIdentity::UserDelegated(lent.taken_back(now)));
            let changes = diff(&told(&found.value.identity), &told(&after.identity), &[]);
            let (stamp, place) = (self.audit_stamp(now), (home.id, Some(home.partner_id)));
            let action = AuditAction::CoreDelegationRevoke;
            let record = AuditRecord::by_the_system(stamp, place, action, after.id.to_string(), changes);
            let record = AuditRecord { actor: Actor::of(caller), request: request.clone(), ..record };
            let record = record.of_module(MODULE);
            if self.save_identity(scope, &after, &found, &record).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::core_contended())
    }

    fn acting_as(&self, core: &Core, identity: CoreIdentity) -> Core {
        Core { identity, updated_at: self.now(), ..core.clone() }
    }

    /// Writes what a Core is lent, as it comes of what it was lent before.
    async fn lend(
        &self,
        by: &Authorized<perm::CoresDelegate>,
        request: &RequestContext,
        action: AuditAction,
        id: CoreId,
        expected: Expected<'_>,
        lent: impl Fn(&CoreIdentity) -> Result<Delegation, Error> + Send + Sync,
    ) -> Result<ShownCore, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.find_core(by.tenant_scope(), id).await?;
            check_expected(expected, found.revision)?;
            let delegation = lent(&found.value.identity)?;
            let mut tx = self.0.database.begin().await?;
            let written = self.lend_in(&mut tx, by, request, action, &found, delegation).await;
            match ended(tx, written).await {
                // Whoever named a revision is told; for all others it is tried again.
                Err(Error::PreconditionFailed) if expected.is_none() => {}
                Err(other) => return Err(other),
                Ok(shown) => {
                    if shown.revision != found.revision {
                        self.core_changed(id);
                    }
                    return Ok(shown);
                }
            }
        }
        Err(Error::core_contended())
    }

    async fn lend_in(
        &self,
        tx: &mut Transaction,
        by: &Authorized<perm::CoresDelegate>,
        request: &RequestContext,
        action: AuditAction,
        found: &Revised<Core>,
        delegation: Delegation,
    ) -> Result<ShownCore, Error> {
        let scope = by.tenant_scope();
        let held = held_by(tx, scope, delegation.user_id).await?;
        let held = held.ok_or(Error::Delegation(Lapse::UserNotFound))?;
        check_held(&delegation.scopes, &held).map_err(refused)?;
        // With the rights that they have now, and that these credentials are good for.
        self.anew(tx, by).await?.check_grant(&delegation.scopes)?;
        let identity = CoreIdentity::UserDelegated(delegation);
        if identity == found.value.identity {
            let (core, revision) = (found.value.clone(), found.revision);
            return Ok(ShownCore { core, revision, diagnostics: Vec::new() });
        }
        let core = self.acting_as(&found.value, identity);
        let changes = diff(&told(&found.value.identity), &told(&core.identity), &[]);
        let record = self.core_record(by, request, action, core.id, changes);
        written(cores::save(tx, scope, &core, found.revision, &self.0.vault).await?, Resource::Core)?;
        audit::add(tx, &record).await?;
        Ok(ShownCore { core, revision: found.revision + 1, diagnostics: Vec::new() })
    }

    /// Writes a Core with another identity; none when somebody else wrote in between.
    async fn save_identity(
        &self,
        scope: TenantScope,
        core: &Core,
        before: &Revised<Core>,
        record: &AuditRecord,
    ) -> Result<Option<i64>, Error> {
        let mut tx = self.0.database.begin().await?;
        let saved = async {
            let saved = cores::save(&mut tx, scope, core, before.revision, &self.0.vault).await?;
            written(saved, Resource::Core)?;
            Ok(audit::add(&mut tx, record).await?)
        };
        let saved = saved.await;
        match ended(tx, saved).await {
            Err(Error::PreconditionFailed) => Ok(None),
            Err(other) => Err(other),
            Ok(()) => {
                self.core_changed(core.id);
                Ok(Some(before.revision + 1))
            }
        }
    }
}
