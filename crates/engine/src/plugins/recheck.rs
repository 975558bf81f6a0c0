//! Servers of the Model Context Protocol tell what they offer whenever they are asked, and may tell something else each
//! time. So a call begins by comparing their tools with those that were accepted, if that was not done in the last minute.

use std::time::Duration;

use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_cores::plugins::{Drift, Manifest};
use scaigrid_outbound::plugins::mcp::Session;
use scaigrid_outbound::plugins::{CallFault, Limits};
use scaigrid_persistence::{Written, audit, plugins, tenants};
use scaigrid_scope::{AuditId, TenantScope};
use serde_json::{Map, Value};

use super::known::{Known, Learnt};
use super::reading::usable;
use super::{CallError, Caller, Plugins, Ready};
use crate::Error;

/// How long it is believed that the tools are what they were.
const COMPARED: Duration = Duration::from_mins(1);

impl Plugins {
    /// Calls a tool, once it is certain that it is the one that was accepted.
    pub(super) async fn call_tool(
        &self,
        scope: TenantScope,
        caller: Caller<'_>,
        ready: &Ready,
        meta: Map<String, Value>,
        limits: Limits,
    ) -> Result<Result<Value, CallFault>, CallError> {
        let registration = ready.registration();
        let method = &registration.accepted.methods()[ready.method];
        let plugin = registration.plugin.as_str();
        let Learnt { greeting, compared_at } = ready.known.learnt();
        let url = registration.endpoint.url();
        let session = Session::begin(&ready.outbound, url, &ready.headers, limits, greeting).await;
        let session = match session {
            Ok(session) => session,
            Err(fault) => {
                // Perhaps it wants to be greeted in another way now.
                ready.known.learn(Learnt { greeting: None, compared_at });
                return Ok(Err(fault));
            }
        };
        let now = self.0.clock.now();
        let believed = compared_at.is_some_and(|at| now.since(at) < COMPARED);
        if !believed {
            let found = match session.manifest().await {
                Ok(found) => found,
                Err(fault) => return Ok(Err(fault)),
            };
            let found = usable(found).map_err(|fault| {
                CallError::before("PLUGIN_TOOL_CHANGED", format!("the plugin {plugin}: {fault}"))
            })?;
            let drift = Drift::between(&registration.accepted, &found);
            if !drift.is_empty() {
                tracing::warn!(plugin, %caller, ?drift, "a plugin offers something else than was accepted");
            }
            if let Err(error) = self.note(scope, &ready.known, found).await {
                tracing::warn!(plugin, %error, "what a plugin offers now could not be noted");
            }
            if drift.concerns(method.name.as_str()) {
                return Err(CallError::drifted(plugin, method.name.as_str()));
            }
        }
        let compared_at = if believed { compared_at } else { Some(now) };
        ready.known.learn(Learnt { greeting: Some(session.greeting()), compared_at });
        Ok(session.call(&method.name, ready.args.clone(), meta).await)
    }

    /// Notes what a plugin was found to offer, where that is news.
    async fn note(&self, scope: TenantScope, known: &Known, found: Manifest) -> Result<(), Error> {
        let now = self.0.clock.now();
        let before = &known.registration;
        let mut after = before.clone().after_reading(found, now);
        if after.says_the_same_as(before) {
            return Ok(());
        }
        after.updated_at = now;
        let changes = diff(&before.described(), &after.described(), &[]);
        let mut tx = self.0.database.begin().await?;
        match plugins::save(&mut tx, scope, &after, known.revision, &self.0.vault).await? {
            // Somebody else has noted it, or accepted it, or there is nothing to note any more.
            Written::Stale | Written::Missing => return Ok(()),
            Written::Done => {}
        }
        let tenant = tenants::reference(&mut tx, &self.0.system, scope.tenant_id()).await?;
        let place = (scope.tenant_id(), tenant.map(|tenant| tenant.partner_id));
        let stamp = (AuditId::from_ulid(self.0.ids.draw(now)), now);
        let id = before.plugin.to_string();
        let record = AuditRecord::by_the_system(stamp, place, AuditAction::PluginRefresh, id, changes);
        audit::add(&mut tx, &record.of_module("scaicore")).await?;
        tx.commit().await?;
        self.changed();
        Ok(())
    }
}
