//! What an approval is bound to beside the tool's name and the arguments: where the call goes, and what goes with it.

use scaigrid_cores::Core;
use scaigrid_cores::plugins::Pin;
use scaigrid_ir::module::PluginDecl;
use scaigrid_outbound::Gate;
use scaigrid_scope::TenantScope;
use serde_json::{Value as Json, json};

use super::{CallError, Equipped, Plugins};

/// What a call fails with that would go elsewhere, or say something else, than a person has allowed.
pub(crate) const APPROVAL_MISMATCH: &str = "APPROVAL_MISMATCH";

/// Where a call goes, as people may see it, and what that is known by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// The plugin, its endpoint, what was accepted of the method, and the configuration, without secrets.
    pub(crate) shown: Json,
    /// The pin of what is shown.
    pub(crate) pin: String,
}

/// What must hold in the moment in which a call goes out.
#[derive(Default)]
pub(crate) struct Leave {
    /// Whether this node may still make it.
    pub(crate) gate: Gate,
    /// The pin of the target that a person allowed, where the call needs an approval.
    pub(crate) target: Option<String>,
}

impl Equipped {
    /// Where a call goes that is made with this.
    pub(super) fn target(&self) -> Target {
        let registration = &self.known.registration;
        let shown = json!({
            "plugin": registration.plugin.as_str(),
            "kind": registration.kind.as_str(),
            "endpoint": registration.endpoint.url().as_str(),
            "definition": registration.accepted.methods()[self.method].pin().to_string(),
            "config": self.config,
        });
        let shown = self.masked.value(shown);
        Target { pin: Pin::of(&shown).to_string(), shown }
    }

    /// Whether a call goes where a person allowed it to go.
    pub(super) fn check_target(&self, allowed: Option<&str>, alias: &str) -> Result<(), CallError> {
        let stands = allowed.is_none_or(|allowed| allowed == self.target().pin);
        let moved = || {
            let message = format!(
                "{alias} was allowed as it stood then; its endpoint, definition or configuration has changed"
            );
            CallError::before(APPROVAL_MISMATCH, message)
        };
        if stands { Ok(()) } else { Err(moved()) }
    }
}

impl Plugins {
    /// Where a call would go now.
    ///
    /// # Errors
    /// The plugin or the method is not there, or is not configured; or that cannot be told just now.
    pub(crate) async fn target(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        called: (&str, &str),
    ) -> Result<Target, CallError> {
        Ok(self.equip(scope, core, declared, called).await?.target())
    }
}
