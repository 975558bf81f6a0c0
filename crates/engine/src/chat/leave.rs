//! Leaving: what programs have asked published Cores, and wait for no longer, ends.

use std::collections::BTreeSet;
use std::time::Duration;

use scaigrid_catalog::ModelSlug;
use scaigrid_persistence::commit::{Change, Unit};
use scaigrid_persistence::conversations;
use scaigrid_runtime::{EffectId, Program};
use scaigrid_scope::{ExecutionId, TenantScope};

use crate::drive::cancellations;
use crate::models::CallError;
use crate::{Engine, Error};

/// The pauses before an execution is told again that could not be told to end.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(5), Duration::from_secs(30)];
/// How many executions are told of one that waits no longer.
const ASKED_AT_MOST: i64 = 1_000;

impl Engine {
    /// The executions of published Cores that an execution has asked and that owe it an answer: to some of its calls, or to
    /// any, where none are named.
    ///
    /// They are looked for where the program's models lead now, and in the execution's own tenant.
    pub(crate) async fn asked_by(
        &self,
        scope: TenantScope,
        program: &Program,
        id: ExecutionId,
        calls: Option<&[EffectId]>,
    ) -> Result<Vec<(TenantScope, ExecutionId)>, Error> {
        let models = &program.module().models;
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let mut tenants = BTreeSet::from([scope.tenant_id()]);
        for model in models {
            let first = std::iter::once((&model.provider, &model.model));
            let named = first.chain(model.fallback.iter().map(|(provider, model)| (provider, model)));
            for (provider, model) in named {
                let Ok(slug) = ModelSlug::of_provider(provider, model) else { continue };
                match self.0.models.tenants_behind(scope, &slug).await {
                    Ok(behind) => tenants.extend(behind),
                    Err(CallError::Database(error)) => return Err(error.into()),
                    Err(_) => {}
                }
            }
        }
        let keys: Option<Vec<String>> =
            calls.map(|calls| calls.iter().map(|effect| super::key_of(id, *effect)).collect());
        let mut connection = self.0.database.read().await?;
        let mut asked = Vec::new();
        for tenant in tenants {
            let of = self.0.system.tenant(tenant);
            let found = conversations::owing(&mut connection, of, id, keys.as_deref(), ASKED_AT_MOST).await?;
            asked.extend(found.into_iter().map(|execution| (of, execution)));
        }
        Ok(asked)
    }

    /// Tells executions, by a task of its own, that nobody waits for them any more.
    pub(crate) fn leave(&self, asked: Vec<(TenantScope, ExecutionId)>) {
        if asked.is_empty() {
            return;
        }
        let engine = self.clone();
        self.0.runtime.spawn(async move {
            for (scope, id) in asked {
                engine.leave_one(scope, id).await;
            }
            engine.work_waits();
        });
    }

    async fn leave_one(&self, scope: TenantScope, id: ExecutionId) {
        for pause in AGAIN.into_iter().map(Some).chain([None]) {
            let mut unit = Unit::new(scope.tenant_id(), self.0.clock.now(), Change::Keep { id });
            unit.delivered = cancellations(&[id]);
            // What has ended meanwhile needs not be told.
            let Err(error) = self.commit_and_tell(unit, None).await else { return };
            tracing::warn!(%error, execution = %id, "an execution cannot be told that nobody waits for it");
            match pause.filter(|_| error.is_passing()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return,
            }
        }
    }
}
