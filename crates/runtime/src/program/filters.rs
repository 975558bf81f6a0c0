//! The filters of waits for events: what they need to know when the wait begins, and what they say of an event.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::expr::{self, Expr, Scope};
use scaigrid_ir::{Type, Value};

use super::Program;

/// The names that an event gives.
const OF_EVENT: [&str; 2] = ["event", "data"];

impl Program {
    /// Whether an event passes the filter of the wait at this place of the document: the pointer and the captured
    /// variables are those of the effect. An event that the filter fails at does not pass; without a filter
    /// every event does.
    pub fn event_passes(&self, pointer: &str, captured: &Value, event: &str, data: &Value) -> bool {
        let Some(filter) = self.filters.get(pointer) else { return true };
        let scope = Seen { program: self, captured, event, data };
        matches!(expr::evaluate(filter, &scope, &[], self.limits()), Ok(Value::Bool(true)))
    }
}

/// What a filter sees.
struct Seen<'a> {
    program: &'a Program,
    captured: &'a Value,
    event: &'a str,
    data: &'a Value,
}

impl Scope for Seen<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "event" => Some(Value::String(self.event.into())),
            "data" => Some(self.data.clone()),
            _ => self.captured.get(name).cloned().or_else(|| match name {
                "reference" => Some(self.program.reference().clone()),
                "identity" => Some(self.program.identity().clone()),
                _ => None,
            }),
        }
    }

    fn types(&self) -> &BTreeMap<Arc<str>, Type> {
        &self.program.module().types
    }
}

/// The variables that a filter reads, as they stand where `scope` looks; what is bound nowhere is left out.
pub(crate) fn captured(program: &Program, filter: &Expr, scope: &dyn Scope) -> Value {
    let mut names = BTreeMap::new();
    for name in expr::free_names(filter) {
        if OF_EVENT.contains(&name) {
            continue;
        }
        let Some(value) = scope.lookup(name) else { continue };
        // What the program itself declares need not be carried along.
        let declared = match name {
            "reference" => value == *program.reference(),
            "identity" => value == *program.identity(),
            _ => false,
        };
        if !declared {
            names.insert(Arc::from(name), value);
        }
    }
    Value::object(names)
}
