//! What happened at run time, told from the journal: nothing of it is stored.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::execution::Execution;
use scaigrid_persistence::executions::{self, JournalFilter, JournalRow};
use scaigrid_runtime::journal::{self, Base, Entry, Told};
use scaigrid_runtime::machine::Traced;
use scaigrid_runtime::{End, Failure};
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};
use serde_json::{Value as Json, json};

use super::logs::is_longer;
use super::{Bound, Kept};
use crate::{Engine, Error};

/// What the types of such events begin with.
pub(super) const PREFIX: &str = "scaicore.runtime.";
/// Rows of the journal that are looked at for one page; past that a page may be short.
const ROWS: i64 = 60;
/// How much of a journal blocks are told along, from the machine that is kept before them; where that is more, only beginning and end
/// are told.
const TOLD: Bound = Bound { entries: 50_000, ..Bound::SHOWN };
/// The most bytes of a value that is told.
const VALUE: usize = 4096;

/// Where an event stands in the history of its Core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimePlace {
    /// When it became durable, in microseconds.
    pub at: i64,
    /// The execution.
    pub execution: ExecutionId,
    /// The row of its journal.
    pub seq: i64,
    /// Its number among the events of the row.
    pub number: u32,
}

impl fmt::Display for RuntimePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.at, self.execution, self.seq, self.number)
    }
}

impl FromStr for RuntimePlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(());
        let place = Self {
            at: part()?.parse().map_err(|_| ())?,
            execution: part()?.parse().map_err(|_| ())?,
            seq: part()?.parse().map_err(|_| ())?,
            number: part()?.parse().map_err(|_| ())?,
        };
        if parts.next().is_some() { Err(()) } else { Ok(place) }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeEvent {
    /// Where it stands.
    pub place: RuntimePlace,
    /// When it became durable.
    pub at: Instant,
    /// Its type: `scaicore.runtime.…`.
    pub kind: String,
    /// Its particulars; secrets are masked.
    pub payload: Json,
}

/// Events, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimePage {
    /// The events.
    pub events: Vec<RuntimeEvent>,
    /// How far the journal was looked through; none where that was to its end.
    pub looked: Option<RuntimePlace>,
}

impl Engine {
    /// What happened in the executions of a Core, newest first, before a place.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn runtime_events(
        &self,
        scope: TenantScope,
        core: CoreId,
        filter: &JournalFilter,
        kind: Option<&str>,
        before: Option<RuntimePlace>,
        limit: usize,
    ) -> Result<RuntimePage, Error> {
        let mut connection = self.0.database.read().await?;
        let from = before.map(|place| (Instant::from_micros(place.at), place.execution, place.seq));
        let rows = executions::journal_rows(&mut connection, scope, core, filter, from, ROWS).await?;
        drop(connection);
        let is_whole = i64::try_from(rows.len()).is_ok_and(|count| count < ROWS);
        let mut told = self.tell(scope, &rows).await?;
        let mut page = RuntimePage { events: Vec::new(), looked: None };
        for row in &rows {
            let events = told.remove(&(row.execution, row.seq)).unwrap_or_default();
            for (number, (name, payload)) in (0_u32..).zip(events).collect::<Vec<_>>().into_iter().rev() {
                let place =
                    RuntimePlace { at: row.at.micros(), execution: row.execution, seq: row.seq, number };
                let kind_of = format!("{PREFIX}{name}");
                if before.is_some_and(|before| place >= before) || kind.is_some_and(|kind| kind != kind_of) {
                    continue;
                }
                if page.events.len() == limit {
                    page.looked = page.events.last().map(|event| event.place);
                    return Ok(page);
                }
                page.events.push(RuntimeEvent { place, at: row.at, kind: kind_of, payload });
            }
        }
        if !is_whole {
            page.looked = rows.last().map(|row| RuntimePlace {
                at: row.at.micros(),
                execution: row.execution,
                seq: row.seq,
                number: 0,
            });
        }
        Ok(page)
    }

    /// The events of rows of journals, in order.
    async fn tell(
        &self,
        scope: TenantScope,
        rows: &[JournalRow],
    ) -> Result<BTreeMap<(ExecutionId, i64), Vec<(&'static str, Json)>>, Error> {
        let mut wanted: BTreeMap<ExecutionId, Vec<i64>> = BTreeMap::new();
        for row in rows {
            wanted.entry(row.execution).or_default().push(row.seq);
        }
        let mut events = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(events);
        }
        let mut following = self.follow().await?;
        for (id, mut seqs) in wanted {
            seqs.sort_unstable();
            let Some(stored) = self.load(scope, id).await? else { continue };
            let (Some(first), Some(last)) = (seqs.first().copied(), seqs.last().copied()) else { continue };
            let hosted = self.hosted(scope, stored.execution.core_id).await?;
            let mut connection = self.0.database.read().await?;
            let end = executions::row_end(&mut connection, scope, id, last).await?.unwrap_or(stored.next_seq);
            drop(connection);
            let program =
                self.program(scope, stored.execution.core_id, stored.execution.source_version).await?;
            let from = usize::try_from(first).unwrap_or(usize::MAX);
            let kept = self.leading_to(scope, id, (first, last), end).await;
            let (kept, with_blocks) = match kept {
                Ok(found) => found,
                // What is gone of a journal cannot be told of.
                Err(error @ (Error::JournalCut | Error::Journal { .. })) => {
                    tracing::warn!(%error, execution = %id, "a journal cannot be told of");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let tell = move || {
                let blocks = if with_blocks {
                    journal::tell(&program, kept.base.as_ref(), &kept.entries, from)
                } else {
                    Ok(Vec::new())
                };
                (kept, blocks)
            };
            let ((kept, blocks), back) = following.run(tell).await?;
            following = back;
            let blocks = blocks.unwrap_or_else(|error| {
                tracing::warn!(%error, execution = %id, "a journal cannot be told along");
                Vec::new()
            });
            let row_of = |seq: i64| seqs.iter().rev().find(|start| **start <= seq).copied();
            for (seq, name, payload) in
                all(&stored.execution, (kept.first, kept.entries.as_slice()), blocks, from)
            {
                if let Some(row) = row_of(seq) {
                    let event = (name, hosted.inside.masked.value(payload));
                    events.entry((id, row)).or_insert_with(Vec::new).push(event);
                }
            }
        }
        Ok(events)
    }

    /// The journal that leads through rows, from the first to the last, which ends before the entry `end`; and whether blocks can be
    /// told along it. Where nothing leads there any more, or it is too much, it is the rows alone, or the last one.
    async fn leading_to(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        (first, last): (i64, i64),
        end: i64,
    ) -> Result<(Rows, bool), Error> {
        let whole = |kept: Kept| (Rows { first: kept.first(), base: kept.base, entries: kept.entries }, true);
        let (mut at_most, mut nearest) = (first - 1, None);
        loop {
            match self.kept(scope, id, at_most, end, TOLD).await {
                Ok(kept) => {
                    let Some(base) = &kept.base else { return Ok(whole(kept)) };
                    // A machine that was kept is ahead of what its entries tell of, until they tell of a step.
                    let seq = i64::try_from(base.seq).unwrap_or(i64::MAX);
                    let before = usize::try_from(first - seq).unwrap_or_default();
                    let tells = |entry: &Entry| matches!(entry, Entry::Effect { .. } | Entry::Ended(_));
                    if kept.entries.iter().take(before).any(tells) {
                        return Ok(whole(kept));
                    }
                    at_most = seq - 1;
                    nearest = Some(kept);
                }
                Err(Error::JournalCut | Error::JournalTooLarge) if nearest.is_some() => {
                    // Some of what led up to it is not told.
                    return nearest.map(whole).ok_or(Error::JournalCut);
                }
                Err(Error::JournalCut) if at_most < first => at_most = first,
                Err(Error::JournalCut | Error::JournalTooLarge) => break,
                Err(error) => return Err(error),
            }
        }
        let alone = |from: i64, entries: Vec<Entry>| {
            (Rows { first: usize::try_from(from).unwrap_or(usize::MAX), base: None, entries }, false)
        };
        match self.read_journal(scope, id, (first, end), Bound::SHOWN.bytes).await {
            // How it ended stands in the last one.
            Err(Error::JournalTooLarge) => {
                Ok(alone(last, self.read_journal(scope, id, (last, end), usize::MAX).await?))
            }
            entries => Ok(alone(first, entries?)),
        }
    }
}

/// Entries of a journal.
struct Rows {
    /// The number of the first one.
    first: usize,
    base: Option<Base>,
    entries: Vec<Entry>,
}

/// The events of a journal from an entry on, in order, each with its entry.
fn all(
    execution: &Execution,
    (first, entries): (usize, &[Entry]),
    blocks: Vec<Told>,
    from: usize,
) -> Vec<(i64, &'static str, Json)> {
    let mut blocks = blocks.into_iter().peekable();
    let mut events = Vec::new();
    for (seq, entry) in (first..).zip(entries).skip_while(|(seq, _)| *seq < from) {
        let number = i64::try_from(seq).unwrap_or(i64::MAX);
        let mut tell = |name: &'static str, mut payload: Json| {
            payload["execution_id"] = execution.id.to_string().into();
            payload["flow"] = (*execution.flow).into();
            if payload.get("node_id").is_none() {
                payload["node_id"] = Json::Null;
            }
            events.push((number, name, payload));
        };
        if let Entry::Started(start) = entry {
            tell(
                "invocation.started",
                json!({
                    "input": bounded(start.input.to_json()),
                    "instance_key": execution.instance_key.as_deref(),
                }),
            );
        }
        while let Some(told) = blocks.next_if(|told| told.seq <= seq) {
            if let Some((name, payload)) = of_block(told.traced) {
                tell(name, payload);
            }
        }
        let took = execution.finished_at.map(|at| (at.micros() - execution.started_at.micros()) / 1000);
        match entry {
            Entry::Ended(End::Completed(output)) => tell(
                "invocation.completed",
                json!({
                    "output": bounded(output.to_json()),
                    "duration_ms": took,
                    "instance_key": execution.instance_key.as_deref(),
                }),
            ),
            Entry::Ended(End::Failed(failure)) => {
                tell("invocation.failed", json!({ "error": failure.to_json(), "duration_ms": took }));
            }
            Entry::Ended(End::Cancelled) => {
                let failure = Failure::new("CANCELLED", "the execution was cancelled");
                tell("invocation.failed", json!({ "error": failure.to_json(), "duration_ms": took }));
            }
            _ => {}
        }
    }
    events
}

fn of_block(traced: Traced) -> Option<(&'static str, Json)> {
    Some(match traced {
        Traced::Entered { block, kind } => {
            ("block.entered", json!({ "node_id": &*block, "block_kind": kind }))
        }
        Traced::Exited { block, binding, value } => {
            let mut payload = json!({ "node_id": &*block, "result_binding": binding.as_deref() });
            if binding.is_some()
                && let Some(value) = value.map(|value| value.to_json())
            {
                if is_longer(&value, VALUE) {
                    payload["result_binding_truncated"] = true.into();
                } else {
                    payload["result_binding_value"] = value;
                }
            }
            ("block.exited", payload)
        }
        Traced::Failed { block, kind, failure } => {
            ("block.failed", json!({ "node_id": &*block, "block_kind": kind, "error": failure.to_json() }))
        }
        Traced::Retried { .. } => return None,
    })
}

/// A value that is told, unless it is long.
fn bounded(value: Json) -> Json {
    if is_longer(&value, 16 * VALUE) { json!({ "truncated": true }) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        let execution = "exec_00000000000000000000000001".parse().unwrap();
        let place = RuntimePlace { at: -5, execution, seq: 7, number: 3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for nonsense in ["", "1.2.3.4", "1.exec_00000000000000000000000001.1.1.1"] {
            assert!(nonsense.parse::<RuntimePlace>().is_err());
        }
    }
}
