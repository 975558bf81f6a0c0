//! What a flow asks of others, and the ways in which it waits.

use std::sync::Arc;
use std::time::Duration;

use crate::expr::{Expr, Template};

/// Another flow, as an execution of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreCall {
    /// `core://slug`, `core://tenant/slug`, or `core://self`.
    pub target: Arc<str>,
    /// The flow.
    pub flow_name: Arc<str>,
    /// Its input, by parameter.
    pub input_bindings: Vec<(Arc<str>, Expr)>,
    /// The instance, for entity Cores.
    pub instance_key: Option<Expr>,
    /// The target's version; its newest where absent.
    pub version: Option<u32>,
    /// Whether the flow goes on without waiting; the value is then a handle.
    pub is_async: bool,
}

/// A call of a plugin's method.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginCall {
    /// The plugin, by the alias that the module declares.
    pub alias: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// Its arguments: an object.
    pub args: Option<Expr>,
    /// The variable that takes the result.
    pub result_binding: Option<Arc<str>>,
}

/// A time to wait for.
#[derive(Debug, Clone, PartialEq)]
pub enum TimeSpan {
    /// So long: a duration.
    For(Expr),
    /// Until then: an instant or a date.
    Until(Expr),
}

/// A wait for an event of the Core.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitEvent {
    /// The event's name.
    pub name: Template,
    /// Waits on unless this is true of `event` and `data`; other names are read when the wait begins.
    pub filter: Option<Expr>,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// The variable that takes `{event, data}`.
    pub result_binding: Option<Arc<str>>,
}

/// Answers to calls, events and timers, joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Await {
    /// What is waited for.
    pub of: Awaited,
    /// How many of them.
    pub mode: AwaitMode,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Awaited {
    /// These, in order.
    Entries(Vec<AwaitEntry>),
    /// The handles of an array.
    Handles(Expr),
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum AwaitEntry {
    /// The answer to an asynchronous call, by its handle.
    Handle(Expr),
    /// An event.
    Event {
        /// Its name.
        name: Template,
        /// As in [`WaitEvent`].
        filter: Option<Expr>,
    },
    /// A span of time, or an instant.
    Timer(Expr),
}

/// How many answers are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AwaitMode {
    /// All of them.
    #[default]
    All,
    /// The first.
    Any,
    /// So many.
    Count(u32),
}
