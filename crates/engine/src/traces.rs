//! Executions in traces.
//!
//! An execution is one span, from when it was accepted to its end. Its place is drawn when it begins and stored with it, so
//! that whatever happens in it, on whichever node and however much later, stands under it; the span itself is told by
//! the node that ends it. A stretch of it, from being picked up to coming to a rest, is a span below, with a link to the
//! request that let it go on, which is a trace of its own. What stands in a span are names and numbers of the program and
//! the platform, never values that it computes.

use std::time::{Duration, SystemTime};

use metrics::counter;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_persistence::checkpoints::StoredCheckpoint;
use scaigrid_scope::{Instant, TracedSpan};
use scaigrid_telemetry::{Kind, Span, current};

use crate::drive::Committed;
use crate::run::{Done, Run};
use crate::{Engine, Error};

/// An instant of the platform's clock as spans have it.
fn time(instant: Instant) -> SystemTime {
    let micros = u64::try_from(instant.micros()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// What started an execution, without its name.
pub(crate) const fn kind(origin: &Origin) -> &'static str {
    match origin {
        Origin::Invoke => "invoke",
        Origin::Event(_) => "event",
        Origin::Schedule(_) => "schedule",
        Origin::Call => "core_call",
        Origin::Chat => "chat",
        Origin::Fork { .. } => "fork",
        Origin::Api(_) => "api",
        Origin::Webhook(_) => "webhook",
    }
}

/// Counts an execution that was accepted.
pub(crate) fn note_begun(kind: &'static str) {
    counter!("scaigrid_executions_started_total", "trigger" => kind).increment(1);
}

/// What a commit adds to the metrics, once it is durable.
pub(crate) struct Tally {
    begun: Vec<&'static str>,
    entries: u64,
}

impl Tally {
    pub(crate) fn of(run: &Run, done: &Done) -> Self {
        let own = run.stored_epoch.is_none().then_some(&run.execution);
        let begun = done.started.iter().chain(own).map(|begun| kind(&begun.origin)).collect();
        Self { begun, entries: u64::try_from(done.entries.len()).unwrap_or(u64::MAX) }
    }

    /// Counts it; `waits` where the execution has come to wait with it.
    pub(crate) fn count(self, waits: bool) {
        counter!("scaigrid_journal_entries_total").increment(self.entries);
        self.begun.into_iter().for_each(note_begun);
        if waits {
            counter!("scaigrid_executions_suspended_total").increment(1);
        }
    }
}

/// Ends the span of a stretch of an execution.
pub(crate) fn end_stretch(run: &mut Run, driven: &Result<Committed, Error>) {
    let mut span = std::mem::take(&mut run.span);
    let Some(live) = span.live() else { return };
    live.set("scaigrid.execution.status", run.execution.status.as_str());
    match driven {
        Ok(Committed::Yes | Committed::AndAwaited | Committed::Unfinished) => {}
        Ok(Committed::Again) => drop(live.fail("memory_changed")),
        Ok(Committed::Overtaken) => drop(live.fail("overtaken")),
        Ok(Committed::Refused) => drop(live.fail("core_not_running")),
        Err(_) => drop(live.fail("engine")),
    }
}

/// Counts what is done again.
pub(crate) fn note_again(what: &'static str) {
    counter!("scaigrid_retries_total", "kind" => what).increment(1);
}

impl Engine {
    /// The place of an execution that begins now, under the request that begins it.
    pub(crate) fn begun_trace(&self) -> Option<TracedSpan> {
        self.0.tracing.reserve(current())
    }

    /// The place of an execution that another one begins.
    pub(crate) fn trace_under(&self, run: &Run) -> Option<TracedSpan> {
        let own = || run.execution.trace.map(|trace| trace.context);
        let above = run.span.context().or_else(own)?;
        self.0.tracing.reserve(Some(above))
    }

    /// Begins the span of a stretch of an execution.
    pub(crate) fn begin_stretch(&self, run: &mut Run) {
        let Some(trace) = run.execution.trace else { return };
        let tracing = &self.0.tracing;
        run.span = tracing
            .span(Kind::Internal, Some(trace.context), || format!("run {}", run.execution.flow).into());
        let Some(live) = run.span.live() else { return };
        live.set("scaigrid.execution.id", run.execution.id.to_string())
            .set("scaigrid.node.id", self.0.node.to_string())
            .set("scaigrid.execution.epoch", run.epoch);
        // The request that began the execution stands above it.
        if let Some(request) = current().filter(|request| trace.parent != Some(request.span())) {
            live.link(request);
        }
    }

    /// Counts an execution that has ended, and tells of its span.
    pub(crate) fn note_end(&self, execution: &Execution) {
        counter!("scaigrid_executions_ended_total", "status" => execution.status.as_str()).increment(1);
        let name = || format!("execution {}", execution.flow).into();
        let mut span = self.0.tracing.reserved(execution.trace, Kind::Internal, name);
        let Some(live) = span.live() else { return };
        let ended = execution.finished_at.unwrap_or_else(|| self.0.clock.now());
        live.lasted(time(execution.started_at), time(ended))
            .set("scaigrid.execution.id", execution.id.to_string())
            .set("scaigrid.core.id", execution.core_id.to_string())
            .set("scaigrid.tenant.id", execution.tenant_id.to_string())
            .text("scaigrid.flow", &*execution.flow)
            .set("scaigrid.source.version", i64::from(execution.source_version))
            .text("scaigrid.trigger", execution.origin.to_string())
            .set("scaigrid.execution.status", execution.status.as_str());
        if execution.status == ExecutionStatus::Failed {
            let code = execution.error.as_ref().map(scaigrid_ir::Value::to_json);
            let code = code.as_ref().and_then(|error| error["code"].as_str());
            live.fail(code.unwrap_or("EXECUTION_FAILED"));
        }
    }

    /// Tells of the wait for a person, which is over.
    pub(crate) fn note_decided(&self, execution: Option<TracedSpan>, stored: &StoredCheckpoint) {
        let Some(execution) = execution else { return };
        let checkpoint = &stored.checkpoint;
        let name = || format!("checkpoint {}", checkpoint.block_id).into();
        let mut span: Span = self.0.tracing.span(Kind::Internal, Some(execution.context), name);
        let Some(live) = span.live() else { return };
        live.lasted(time(checkpoint.created_at), time(self.0.clock.now()))
            .set("scaigrid.checkpoint.id", checkpoint.id.to_string())
            .text("scaigrid.checkpoint.type", &*checkpoint.checkpoint_type)
            .text("scaigrid.block.id", &*checkpoint.block_id)
            .set("scaigrid.checkpoint.status", checkpoint.state.status().as_str());
        if let Some(request) = current() {
            live.link(request);
        }
    }
}
