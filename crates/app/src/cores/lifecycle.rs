//! Starting, stopping, holding and resuming Cores.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_cores::{Action, Core, FollowUp, Status, Transition};
use scaigrid_engine::Declared;
use scaigrid_persistence::{Revised, Transaction, Written, audit, cores, executions, tenants};
use scaigrid_scope::{Authorized, CoreId, Instant, TenantScope, perm};
use serde_json::json;

use super::start::{Checked, Starts};
use super::{MODULE, ShownCore};
use crate::{App, Error, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;

impl App {
    /// Does one of the things that can be asked of a Core's life: start, stop, restart, pause, resume.
    ///
    /// A start checks the program; what fails the check leaves the Core in `error`, and is told. A stop lets what
    /// is under way run on; with `force` it is cancelled. Waiting for a person is not under way.
    ///
    /// # Errors
    /// There is no such Core, the move is not legal, or the program does not pass.
    #[boxed]
    pub async fn move_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        action: Action,
        force: bool,
    ) -> Result<ShownCore, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.find_core(by.tenant_scope(), id).await?;
            let (moved, transition) = found.value.clone().apply(action, self.now())?;
            let Checked { core: moved, refusal, warnings } = match transition.follow_up {
                FollowUp::CheckAndStart => {
                    self.check_and_start(by.tenant_scope(), moved, Starts::Anew).await?
                }
                _ => Checked { core: moved, refusal: None, warnings: Vec::new() },
            };
            let Some(revision) = self.write_move(by, request, &found, &moved, action).await? else {
                continue;
            };
            self.core_changed(id);
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            let moved = Revised { value: moved, revision };
            let core = Box::pin(self.follow(by, request, moved, transition, force)).await?;
            return Ok(ShownCore { core: core.value, revision: core.revision, diagnostics: warnings });
        }
        Err(Error::core_contended())
    }

    /// Writes a Core after a move, with the record of it; none when somebody else wrote in between.
    async fn write_move(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        before: &Revised<Core>,
        moved: &Core,
        action: Action,
    ) -> Result<Option<i64>, Error> {
        if *moved == before.value {
            return Ok(Some(before.revision));
        }
        let audited = match action {
            Action::Start => AuditAction::CoreStart,
            Action::Stop => AuditAction::CoreStop,
            Action::Restart => AuditAction::CoreRestart,
            Action::Pause => AuditAction::CorePause,
            _ => AuditAction::CoreResume,
        };
        let status = |core: &Core| json!({"status": core.status.as_str(), "last_error": core.last_error.as_ref().map(|error| &error.message)});
        let changes = diff(&status(&before.value), &status(moved), &[]);
        let record = self.core_record(by, request, audited, moved.id, changes);
        let declared = declared(moved).await?;
        let mut transaction = self.0.database.begin().await?;
        let scope = by.tenant_scope();
        if moved.status == Status::Running {
            self.may_run(&mut transaction, scope).await?;
        }
        match cores::save(&mut transaction, scope, moved, before.revision, &self.0.vault).await? {
            Written::Done => {}
            Written::Missing => return Err(Error::NotFound(Resource::Core)),
            Written::Stale => return Ok(None),
        }
        self.arrange(&mut transaction, scope, moved, declared.as_ref()).await?;
        audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        Ok(Some(before.revision + 1))
    }

    /// Brings what the engine watches for a Core in line with how it is stored from now on.
    pub(super) async fn arrange(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        core: &Core,
        declared: Option<&Declared>,
    ) -> Result<(), Error> {
        Ok(self.0.engine.arrange(tx, scope, (core.id, core.status), declared).await?)
    }

    /// What has to be done once a move is stored.
    async fn follow(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        core: Revised<Core>,
        transition: Transition,
        force: bool,
    ) -> Result<Revised<Core>, Error> {
        if transition.follow_up != FollowUp::Drain {
            return Ok(core);
        }
        let scope = by.tenant_scope();
        let id = core.value.id;
        if force {
            self.cancel_active(by, request, id).await?;
        }
        self.finish_stop(scope, id).await?;
        self.find_core(scope, id).await
    }

    async fn cancel_active(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        core: CoreId,
    ) -> Result<(), Error> {
        let active = {
            let mut connection = self.0.database.read().await?;
            executions::active(&mut connection, by.tenant_scope(), core).await?
        };
        for id in active {
            let record = self.execution_record(by, request, AuditAction::ExecutionCancel, id);
            match self
                .0
                .engine
                .cancel(by.tenant_scope(), id, "its Core was stopped by force", Some(record))
                .await
            {
                Ok(_) | Err(scaigrid_engine::Error::Ended(_) | scaigrid_engine::Error::NoExecution) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends a stop when nothing of the Core is under way any more; says whether it did.
    pub(crate) async fn finish_stop(&self, scope: TenantScope, id: CoreId) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let found = match self.find_core(scope, id).await {
                Ok(found) => found,
                Err(Error::NotFound(_)) => return Ok(true),
                Err(error) => return Err(error),
            };
            if found.value.status != Status::Stopping {
                return Ok(true);
            }
            let mut transaction = self.0.database.begin().await?;
            if executions::count_active(&mut transaction, scope, id).await? > 0 {
                return Ok(false);
            }
            let (stopped, _) = found.value.clone().apply(Action::Stopped, self.now())?;
            let written =
                cores::save(&mut transaction, scope, &stopped, found.revision, &self.0.vault).await?;
            if written == Written::Done {
                let now = self.now();
                self.record_move(&mut transaction, AuditAction::CoreStop, &found.value, &stopped, now)
                    .await?;
                transaction.commit().await?;
                self.core_changed(id);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record of a move that the platform made by itself.
    async fn record_move(
        &self,
        tx: &mut Transaction,
        action: AuditAction,
        before: &Core,
        after: &Core,
        now: Instant,
    ) -> Result<(), Error> {
        let tenant = tenants::reference(tx, &self.0.system, after.tenant_id).await?;
        let place = (after.tenant_id, tenant.map(|tenant| tenant.partner_id));
        let side = |core: &Core| json!({"status": core.status.as_str()});
        let changes = diff(&side(before), &side(after), &[]);
        let id = after.id.to_string();
        let record = AuditRecord::by_the_system(self.audit_stamp(now), place, action, id, changes);
        Ok(audit::add(tx, &record.of_module(MODULE)).await?)
    }

    /// Sees Cores through that a process left in a passing state: a stop is ended when all is still, a start that nobody
    /// finished is made again.
    #[boxed]
    pub async fn see_cores_through(&self) -> Result<(), Error> {
        let passing = {
            let mut connection = self.0.database.read().await?;
            scaigrid_persistence::leases::cores_in_passing(&mut connection, &self.0.system).await?
        };
        for (tenant, id) in passing {
            let scope = self.0.system.tenant(tenant);
            if let Err(error) = self.see_core_through(scope, id).await {
                tracing::warn!(%error, core = %id, "a Core cannot be seen through");
            }
        }
        Ok(())
    }

    async fn see_core_through(&self, scope: TenantScope, id: CoreId) -> Result<(), Error> {
        let found = self.find_core(scope, id).await?;
        let core = match found.value.status {
            Status::Stopping => return self.finish_stop(scope, id).await.map(drop),
            Status::Crashed => found.value.clone().apply(Action::Recover, self.now())?.0,
            Status::Starting | Status::Restarting => found.value.clone(),
            _ => return Ok(()),
        };
        let core = self.check_and_start(scope, core, Starts::Again).await?.core;
        let declared = declared(&core).await?;
        let mut transaction = self.0.database.begin().await?;
        if core.status == Status::Running {
            match self.may_run(&mut transaction, scope).await {
                // It is looked at again.
                Err(Error::TenantSuspended | Error::ModuleNotEnabled { .. }) => return Ok(()),
                asked => asked?,
            }
        }
        let written = cores::save(&mut transaction, scope, &core, found.revision, &self.0.vault).await?;
        if written == Written::Done {
            let runs = core.status == Status::Running;
            let action = if runs { AuditAction::CoreStart } else { AuditAction::CoreFail };
            self.arrange(&mut transaction, scope, &core, declared.as_ref()).await?;
            self.record_move(&mut transaction, action, &found.value, &core, self.now()).await?;
            transaction.commit().await?;
            self.core_changed(id);
        }
        Ok(())
    }
}

/// What the program of a Core declares that runs, or will without anybody's start; none of another one.
pub(super) async fn declared(core: &Core) -> Result<Option<Declared>, Error> {
    if !matches!(core.status, Status::Running | Status::Suspended) {
        return Ok(None);
    }
    let program = std::sync::Arc::clone(&core.source.program);
    let read = tokio::task::spawn_blocking(move || Declared::of(&program)).await;
    read.map(Some).map_err(Error::internal)
}
