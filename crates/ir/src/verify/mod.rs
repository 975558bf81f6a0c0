//! The rules that a well-formed module must also obey.
//!
//! Each rule has a code ([`crate::diagnostic::codes`]) and errs on the side of silence: what is only known at
//! run time is checked there. A module without errors here never meets an undeclared flow, plugin, model role, type or
//! memory variable, and never leaves a loop that is not there.
//!
//! Values from outside (`now()`, `uuid()`, `random()`, memory) are recorded when a flow asks for them, so they
//! are allowed there, in `rigid` too; E400 is for the places where nothing records them.

mod calls;
mod condition;
mod doubts;
mod expressions;
mod flow;
mod known;
mod memory;
mod models;
mod patterns;
mod scope;
mod statements;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, codes};
use crate::load::form::{Findings, child};
use crate::module::{Flow, InstanceMode, Module, TriggerKind};
use crate::types::Type;

use condition::Asked;
use scope::Scope;

pub use condition::condition;
pub(crate) use doubts::Doubts;

/// Checks a module against the rules: findings, errors first and each by place, at most 200.
pub fn module(module: &Module) -> Vec<Diagnostic> {
    beside(module, Doubts::default())
}

/// The same of a module whose document has mistakes of form, without what may only be an echo of them.
pub(crate) fn beside(module: &Module, doubts: Doubts<'_>) -> Vec<Diagnostic> {
    let mut verifier = Verifier { doubts, ..Verifier::of(module) };
    verifier.declarations();
    for flow in &module.flows {
        verifier.flow(flow);
    }
    // A checkpoint that could not be read may be what ends a circle.
    if verifier.doubts.is_empty() {
        verifier.endless_calls();
    }
    crate::load::finish(verifier.findings.into_list(), None)
}

/// A module under inspection, and where in it the inspection stands.
struct Verifier<'m> {
    module: &'m Module,
    /// What is not known of it, for its document could not be read there.
    doubts: Doubts<'m>,
    findings: Findings,
    /// Where the author wrote the present block.
    location: Option<&'m serde_json::Value>,
    scope: Scope,
    flow: Option<&'m Flow>,
    flows: BTreeMap<&'m str, &'m Flow>,
    /// Whether the configuration has secret parameters.
    holds_secrets: bool,
    /// How many loops are around the present statement.
    loops: usize,
    /// The parameters of the lambdas around the present expression.
    lambdas: Vec<Vec<Arc<str>>>,
    /// The only names in scope, where an expression is evaluated outside of any flow.
    closed: Option<&'static [&'static str]>,
    /// Whether nothing records what the present expression asks for, though it sees the flow's names.
    unrecorded: bool,
    /// Where the scope's log stood when the present branch of a `parallel` began.
    branch: Option<usize>,
    /// A condition from outside that is judged on the way.
    asked: Option<Asked<'m>>,
}

impl<'m> Verifier<'m> {
    fn of(module: &'m Module) -> Self {
        Self {
            module,
            doubts: Doubts::default(),
            findings: Findings::default(),
            location: None,
            scope: Scope::default(),
            flow: None,
            flows: module.flows.iter().map(|flow| (&*flow.name, flow)).collect(),
            holds_secrets: module.config.values().any(|declared| declared.secret),
            loops: 0,
            lambdas: Vec::new(),
            closed: None,
            unrecorded: false,
            branch: None,
            asked: None,
        }
    }
}

impl Verifier<'_> {
    fn report(&mut self, mut finding: Diagnostic) {
        if self.doubts.silence(finding.code, &finding.pointer) {
            return;
        }
        finding.source_location = self.location.filter(|place| crate::load::is_small(place)).cloned();
        self.findings.push(finding);
    }

    fn error(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.report(Diagnostic::error(code, pointer, message));
    }

    fn warning(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.report(Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, pointer, message) });
    }

    fn declarations(&mut self) {
        let module = self.module;
        for (name, ty) in &module.types {
            self.types(ty, &child("/types", name));
        }
        for (name, declared) in &module.memory {
            self.types(&declared.ty, &child(&child("/memory", name), "type"));
        }
        for (name, declared) in &module.config {
            self.types(&declared.ty, &child(&child("/config", name), "type"));
        }
        let names = |what, list: &str, key, items: Vec<&Arc<str>>| {
            let items = items.into_iter().enumerate();
            (
                what,
                items.map(|(i, name)| (Arc::clone(name), format!("/{list}/{i}/{key}"))).collect::<Vec<_>>(),
            )
        };
        let lists = [
            names("flows", "flows", "name", module.flows.iter().map(|flow| &flow.name).collect()),
            names("plugins", "plugins", "alias", module.plugins.iter().map(|plugin| &plugin.alias).collect()),
            names("models", "models", "role", module.models.iter().map(|model| &model.role).collect()),
            names(
                "triggers",
                "triggers",
                "name",
                module.triggers.iter().map(|trigger| &trigger.name).collect(),
            ),
        ];
        for (what, list) in lists {
            // Where one is left out, those behind it have other numbers.
            let key = if what == "plugins" {
                "alias"
            } else if what == "models" {
                "role"
            } else {
                "name"
            };
            if !self.doubts.may_list(&format!("/{what}"), key) {
                self.distinct(what, list);
            }
        }
        self.instance();
        self.starts();
    }

    /// Reports the names that stand more than once.
    fn distinct(&mut self, what: &str, names: Vec<(Arc<str>, String)>) {
        let mut seen = BTreeSet::new();
        for (name, pointer) in names {
            if !seen.insert(Arc::clone(&name)) {
                self.error(codes::DUPLICATE_NAME, &pointer, format!("two {what} have the name {name:?}"));
            }
        }
    }

    /// Reports named types that are not declared.
    fn types(&mut self, ty: &Type, pointer: &str) {
        let module = self.module;
        for name in ty.named() {
            if !module.types.contains_key(name) && !self.doubts.may_declare("/types", name) {
                let hint = self.findings.hint(name, module.types.keys().map(AsRef::as_ref));
                self.error(codes::UNKNOWN_TYPE, pointer, format!("the type {name:?} is not declared{hint}"));
            }
        }
    }

    fn instance(&mut self) {
        let instance = &self.module.instance;
        if instance.mode != InstanceMode::Entity {
            return;
        }
        let Some(key) = &instance.key else {
            self.error(
                codes::ENTITY_KEY,
                "/instance",
                "an entity needs a key, a parameter that names the instance",
            );
            return;
        };
        let used = self.module.flows.iter().flat_map(|flow| &flow.params).any(|param| param.name == *key);
        if !used && !self.doubts.in_parameters() {
            let message = format!("no flow has a parameter {key:?}, so no call can name an instance");
            self.error(codes::ENTITY_KEY, "/instance/key", message);
        }
    }

    /// What starts flows from outside.
    fn starts(&mut self) {
        let module = self.module;
        for trigger in &module.triggers {
            self.target(&trigger.target_flow, &child(&trigger.pointer, "target_flow"));
            match &trigger.kind {
                TriggerKind::Event { filter: Some(filter), .. } => {
                    self.filter(filter, &child(&trigger.pointer, "filter"));
                }
                // A secret in a program could be read by whoever may see it.
                TriggerKind::Webhook { secret, .. }
                    if !secret.as_ref().is_some_and(|secret| secret.starts_with("${env.")) =>
                {
                    let message =
                        "no message can be verified without a secret of the environment: \"${env.NAME}\"";
                    self.warning(codes::TRIGGER_NOT_FIRED, &child(&trigger.pointer, "secret"), message);
                }
                TriggerKind::Api { .. }
                | TriggerKind::Webhook { .. }
                | TriggerKind::Schedule { .. }
                | TriggerKind::Event { .. } => {}
            }
        }
        for subscription in &module.subscriptions {
            self.target(&subscription.flow, &child(&subscription.pointer, "flow"));
            if let Some(filter) = &subscription.filter {
                self.filter(filter, &child(&subscription.pointer, "filter"));
            }
        }
    }

    fn target(&mut self, flow: &str, pointer: &str) {
        if !self.flows.contains_key(flow) && !self.doubts.may_list("/flows", "name") {
            let hint = self.findings.hint(flow, self.flows.keys().copied());
            self.error(codes::UNKNOWN_FLOW, pointer, format!("the flow {flow:?} is not declared{hint}"));
        }
    }

    /// A filter is evaluated before there is an execution: nothing but the event is in scope, and nothing that
    /// would have to be recorded may be asked for.
    fn filter(&mut self, filter: &crate::expr::Expr, pointer: &str) {
        self.closed = Some(&["event", "data"]);
        self.condition(filter, pointer);
        self.closed = None;
    }
}
