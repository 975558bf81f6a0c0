//! What a flow waits for: plugins and their approval, events, times, answers to calls.

use std::sync::Arc;

use crate::block::{Action, Await, AwaitEntry, AwaitMode, Awaited, Checkpoint};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::types::Type;

use super::{Verifier, child};

impl Verifier<'_> {
    /// Reports a plugin that is not declared.
    pub(super) fn plugin(&mut self, alias: &str, pointer: &str) {
        let plugins = &self.module.plugins;
        let known = plugins.iter().any(|plugin| &*plugin.alias == alias);
        if !known && !self.doubts.may_list("/plugins", "alias") {
            let hint = self.findings.hint(alias, plugins.iter().map(|plugin| &*plugin.alias));
            self.error(codes::UNKNOWN_PLUGIN, pointer, format!("the plugin {alias:?} is not declared{hint}"));
        }
    }

    /// The call that a checkpoint's answer allows.
    pub(super) fn action(&mut self, action: &Action, checkpoint: &Checkpoint, pointer: &str) {
        self.plugin(&action.alias, &child(pointer, "alias"));
        for (name, value) in &action.args {
            self.expr(value, &child(&child(pointer, "args"), name));
        }
        for decision in &action.decisions {
            if !checkpoint.options.contains(decision) {
                let message = format!("{decision:?} would allow the call, but is not one of the options");
                self.error(codes::APPROVAL, &child(pointer, "decisions"), message);
            }
        }
    }

    /// A span or an instant: also as text.
    pub(super) fn time(&mut self, expr: &Expr, wanted: &Type, pointer: &str) {
        let ty = self.expr(expr, pointer);
        self.wants(ty.as_ref(), wanted, pointer, "the time");
    }

    /// A filter is evaluated whenever an event comes, long after what the flow knew was noted: it sees `event`,
    /// `data` and the flow's names, and nothing that would have to be recorded.
    pub(super) fn event_filter(&mut self, filter: &Expr, pointer: &str) {
        let mark = self.scope.mark();
        for name in ["event", "data"] {
            self.scope.bind(&Arc::from(name), None);
        }
        let outer = std::mem::replace(&mut self.unrecorded, true);
        self.condition(filter, pointer);
        self.unrecorded = outer;
        let live = self.scope.live;
        self.scope.undo(mark);
        self.scope.live = live;
    }

    pub(super) fn await_responses(&mut self, wait: &Await, pointer: &str) {
        let of = child(pointer, "of");
        let entries = match &wait.of {
            Awaited::Handles(handles) => {
                let ty = self.expr(handles, &of);
                let wanted = Type::Array(Box::new(Type::Json));
                self.wants(ty.as_ref(), &wanted, &of, "what is waited for");
                return;
            }
            Awaited::Entries(entries) => entries,
        };
        for (index, entry) in entries.iter().enumerate() {
            let place = format!("{of}/{index}");
            match entry {
                AwaitEntry::Handle(handle) => {
                    let ty = self.expr(handle, &place);
                    let wanted = Type::Map(Box::new(Type::Json));
                    self.wants(ty.as_ref(), &wanted, &place, "the handle");
                }
                AwaitEntry::Event { name, filter } => {
                    self.template(name, &child(&place, "event"));
                    if let Some(filter) = filter {
                        self.event_filter(filter, &child(&place, "filter"));
                    }
                }
                AwaitEntry::Timer(time) => self.time(time, &Type::Duration, &child(&place, "timer")),
            }
        }
        let (least, field) = match wait.mode {
            AwaitMode::All => (0, "of"),
            AwaitMode::Any => (1, "of"),
            AwaitMode::Count(count) => (usize::try_from(count).unwrap_or(usize::MAX), "mode"),
        };
        if entries.len() < least {
            let message = format!("{} entries can never give {least} answers", entries.len());
            self.error(codes::AWAIT, &child(pointer, field), message);
        }
    }
}

/// What a wait for an event gives.
pub(super) fn event() -> Type {
    let fields = [("event", Type::String), ("data", Type::Json)];
    Type::Object(fields.into_iter().map(|(name, ty)| (Arc::from(name), ty)).collect())
}
