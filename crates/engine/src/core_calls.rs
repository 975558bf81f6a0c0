//! Calls of flows, of the Core's own or of another Core of the tenant, as executions of their own.

use std::sync::Arc;

use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Parent};
use scaigrid_cores::instances::Place;
use scaigrid_ir::core_uri;
use scaigrid_persistence::partings::Parting;
use scaigrid_persistence::{cores, tenants};
use scaigrid_runtime::{CoreCallRequest, Effect, Failure, Outcome};
use scaigrid_scope::{CoreId, ExecutionId, Instant, Permission, TenantScope};

use crate::drive::encode_outcome;
use crate::effects::DEPTH_AT_MOST;
use crate::instances::instances;
use crate::resume::CANCEL;
use crate::run::Run;
use crate::{Engine, Error};

impl Engine {
    /// What executions of other Cores are told when a Core is deleted: whoever waits for one of its executions, and whatever those
    /// have called.
    pub fn parting() -> Parting {
        let told = |code: &str, message: &str| encode_outcome(&Outcome::Error(Failure::new(code, message)));
        Parting {
            to_callers: told("CORE_NOT_FOUND", "the called Core was deleted"),
            to_called: (CANCEL, told("CANCELLED", "the calling Core was deleted")),
        }
    }

    /// The execution that a call starts, or what the program is told instead.
    pub(crate) async fn call(
        &self,
        run: &Run,
        effect: &Effect,
        request: &CoreCallRequest,
        now: Instant,
    ) -> Result<Result<Execution, Failure>, Error> {
        if run.execution.depth >= DEPTH_AT_MOST {
            let message = format!("{DEPTH_AT_MOST} events and calls led here; there may be no more");
            return Ok(Err(Failure::new("CALL_DEPTH_EXCEEDED", message)));
        }
        let Some(core) = self.called(run, &request.target).await? else {
            let message = format!("there is no {} in the tenant", request.target);
            return Ok(Err(Failure::new("CORE_NOT_FOUND", message)));
        };
        let own = core == run.execution.core_id;
        let hosted = self.hosted(run.scope, core).await?;
        if !own && !hosted.core.status.can_accept_work() {
            let message = format!("{} is {} and takes no work", request.target, hosted.core.status);
            return Ok(Err(Failure::new("CORE_NOT_RUNNING", message)));
        }
        // Another Core is outside: whoever acts for a user invokes it as they may.
        let needed = (!own).then_some(Permission::ScaicoreInvoke);
        let caller = run.execution.core_id;
        let authority = self.authority(run.scope, caller, run.execution.delegation, needed);
        if let Err(failure) = authority.await? {
            return Ok(Err(failure));
        }
        let newest = if own { run.execution.source_version } else { hosted.core.source.version };
        let version = request.version.unwrap_or(newest);
        let program = match self.program(run.scope, core, version).await {
            Ok(program) => program,
            Err(Error::NoCore) => {
                let message = format!("{} has no version {version}", request.target);
                return Ok(Err(Failure::new("VERSION_NOT_FOUND", message)));
            }
            Err(error) => return Err(error),
        };
        let instances = instances(&hosted, &program);
        // An entity that names no other calls itself.
        let key = run.execution.instance_key.as_deref().filter(|_| own);
        let itself = || instances.place(key, &request.input);
        let place = match instances.place(request.instance_key.as_deref(), &request.input) {
            Ok(Place { key: None, .. }) => itself(),
            Err(_) if key.is_some() => itself(),
            other => other,
        };
        let place = match place {
            Ok(place) => place,
            Err(problem) => {
                let message = format!("input.{} {problem}", problem.field());
                return Ok(Err(Failure::new("ENTITY_KEY_INVALID", message)));
            }
        };
        let delegation =
            if own { run.execution.delegation } else { self.begun_under(run.scope, core).await? };
        Ok(Ok(Execution {
            core_id: core,
            source_version: version,
            instance_key: place.key,
            slots: place.slots,
            id: ExecutionId::from_ulid(self.0.ids.draw(now)),
            flow: Arc::clone(&request.flow_name),
            status: ExecutionStatus::Queued,
            origin: Origin::Call,
            parent: Some(Parent { execution: run.execution.id, effect: effect.id.0 }),
            depth: run.execution.depth + 1,
            input: request.input.clone(),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.trace_under(run),
            delegation,
            ..run.execution.clone()
        }))
    }

    /// The Core that a target means. Another tenant's Cores are not there.
    async fn called(&self, run: &Run, target: &str) -> Result<Option<CoreId>, Error> {
        if target == core_uri::SELF {
            return Ok(Some(run.execution.core_id));
        }
        self.core_at(run.scope, target).await
    }

    /// The Core of the tenant that a `core://` address names.
    pub(crate) async fn core_at(&self, scope: TenantScope, address: &str) -> Result<Option<CoreId>, Error> {
        let Some(slug) = core_uri::slug(address) else { return Ok(None) };
        if core_uri::tenant(address).is_some()
            && !core_uri::lies_in(address, self.tenant_slug(scope).await?.as_deref())
        {
            return Ok(None);
        }
        let mut connection = self.0.database.read().await?;
        Ok(cores::find_by_slug(&mut connection, scope, slug).await?)
    }

    /// What the tenant is called in addresses.
    pub(crate) async fn tenant_slug(&self, scope: TenantScope) -> Result<Option<String>, Error> {
        let mut connection = self.0.database.read().await?;
        let own = tenants::reference(&mut connection, &self.0.system, scope.tenant_id()).await?;
        Ok(own.map(|own| own.slug.to_string()))
    }
}
