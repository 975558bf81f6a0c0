//! Looking into an execution as it stands, or stood.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::debugging::Debugging;
use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_ir::expr::{Expr, MemoryRead};
use scaigrid_persistence::executions::Stored;
use scaigrid_runtime::journal::{self, Entry};
use scaigrid_runtime::machine::Asked;
use scaigrid_runtime::{EffectKind, Failure, Machine, MemoryRequest, Outcome, Program, Status};
use scaigrid_scope::{ExecutionId, TenantScope};
use serde_json::{Map, Value as Json, json};

use super::logs::is_longer;
use super::{Bound, Kept};
use crate::memory::{Looked, Place};
use crate::run::Run;
use crate::{Engine, Error};

/// The most bytes of what is shown of variables, of memory, and of a value, each.
const SHOWN: usize = 1024 * 1024;
/// Entries of each variable of memory that are shown.
const ENTRIES: usize = 100;
/// How often an expression may ask what memory holds.
const READS: usize = 100;

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// After which entry of the journal; none for how it stands.
    pub at: Option<i64>,
    /// An expression whose value is wanted.
    pub expression: Option<Expr>,
    /// Whether memory is shown.
    pub memory: bool,
}

/// An execution, looked into. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The execution.
    pub execution: Execution,
    /// The last entry of its journal that counted.
    pub at: i64,
    /// How it stood then: of the past, as far as its journal tells.
    pub status: ExecutionStatus,
    /// Where its strands stand, each with its blocks, the innermost first.
    pub frames: Vec<Json>,
    /// The flow's variables, parameters among them.
    pub variables: Json,
    /// What memory holds: now, or, of the past, as far as this execution had seen it by then, and that is kept.
    pub memory: Option<Json>,
    /// The value of the expression, or what kept it from having one.
    pub value: Option<Result<Json, Json>>,
}

impl Engine {
    /// Looks into an execution. Nothing changes by it.
    ///
    /// # Errors
    /// There is no such execution or entry, or the database.
    #[boxed]
    pub async fn inspect(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        inspection: Inspection,
    ) -> Result<Inspected, Error> {
        let stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
        if stored.next_seq == 0 {
            return Err(Error::NoJournal);
        }
        let last = stored.next_seq - 1;
        let at = inspection.at.unwrap_or(last);
        if !(0..=last).contains(&at) {
            return Err(journal::BranchError::NoEntry {
                entries: usize::try_from(last + 1).unwrap_or(usize::MAX),
            }
            .into());
        }
        let program = self.program(scope, stored.execution.core_id, stored.execution.source_version).await?;
        let hosted = self.hosted(scope, stored.execution.core_id).await?;
        let is_past = inspection.at.is_some_and(|at| at < last);
        let whole = inspection.memory && is_past;
        let (machine, entries) = self.machine_at(scope, &stored, &program, inspection.at, whole).await?;
        let masked = &hosted.inside.masked;
        let shown = |value: Json| {
            if is_longer(&value, SHOWN) { json!({ "truncated": true }) } else { masked.value(value) }
        };
        let strands = machine.strands(&program);
        let paused = stored.execution.debugging.as_ref().and_then(Debugging::pause).filter(|_| !is_past);
        let strand = paused
            .and_then(|pause| strands.iter().position(|strand| strand.id == pause.strand))
            .unwrap_or_default();
        let frames = strands.iter().map(|strand| masked.value(strand.to_json())).collect();
        let variables = shown(machine.variables(&program).to_json());
        let memory = match (inspection.memory, is_past) {
            (false, _) => None,
            (true, true) => Some(shown(seen(&entries))),
            (true, false) => Some(shown(self.memory_now(scope, &program, &stored.execution).await?)),
        };
        let execution = stored.execution.clone();
        let status = if is_past { stood(&machine, &entries) } else { execution.status };
        let value = match inspection.expression {
            None => None,
            Some(expression) => {
                let machine = (machine, strand);
                let value = self.evaluate(scope, stored, &program, machine, &expression, is_past).await?;
                Some(
                    value
                        .map(|value| shown(value.to_json()))
                        .map_err(|failure| masked.value(failure.to_json())),
                )
            }
        };
        Ok(Inspected { execution, at, status, frames, variables, memory, value })
    }

    /// The machine after an entry, gone on to where it stood still; or as it is stored. With the entries that led there: behind a
    /// machine that is kept, or, where `whole` and possible, from the beginning.
    async fn machine_at(
        &self,
        scope: TenantScope,
        stored: &Stored,
        program: &Arc<Program>,
        at: Option<i64>,
        whole: bool,
    ) -> Result<(Machine, Vec<Entry>), Error> {
        let id = stored.execution.id;
        let until = at.map_or(stored.next_seq, |at| at + 1);
        let is_past = until < stored.next_seq;
        let following = self.follow().await?;
        let nearest = async || {
            let snapshot = stored.snapshot.as_deref().filter(|_| !is_past);
            self.as_stored(scope, id, (snapshot, stored.snapshot_seq), until, Bound::SHOWN).await
        };
        let kept = if whole {
            match self.kept(scope, id, 0, until, Bound::SHOWN).await {
                Err(Error::JournalCut | Error::JournalTooLarge) => nearest().await?,
                kept => kept?,
            }
        } else {
            nearest().await?
        };
        let program = Arc::clone(program);
        let replay = move || {
            let Kept { base, entries } = kept;
            let machine = if is_past {
                journal::standing(&program, base.as_ref(), &entries)
            } else {
                journal::resume(&program, base.as_ref(), &entries).map(|replayed| replayed.machine)
            };
            Ok::<_, Error>((machine.map_err(|error| Error::replay(id, &error))?, entries))
        };
        following.run(replay).await?.0
    }

    /// What memory holds for an execution, as its program sees it and as much as can be shown.
    async fn memory_now(
        &self,
        scope: TenantScope,
        program: &Program,
        execution: &Execution,
    ) -> Result<Json, Error> {
        let mut connection = self.0.database.read().await?;
        let mut shown = Map::new();
        let place = &Place::of_instance(execution.core_id, execution.instance_key.as_deref());
        for name in program.module().memory.keys() {
            let looked = Looked { scope, module: program.module(), place, name };
            shown.insert(name.to_string(), looked.value(&mut connection, ENTRIES).await?.to_json());
        }
        Ok(Json::Object(shown))
    }

    /// The value of an expression where a strand of a machine stands.
    async fn evaluate(
        &self,
        scope: TenantScope,
        stored: Stored,
        program: &Arc<Program>,
        (machine, strand): (Machine, usize),
        expression: &Expr,
        is_past: bool,
    ) -> Result<Result<Value, Failure>, Error> {
        let now = self.0.clock.now();
        // Memory is read by whatever reads it for programs; what comes of the run is thrown away.
        let at = (stored.epoch, stored.next_seq);
        let mut run = Run::durable(scope, Arc::clone(program), machine, stored.execution, at);
        let mut answers = Vec::new();
        loop {
            let read = match run.machine.evaluate(program, strand, expression, &answers) {
                Ok(Asked::Value(value)) => return Ok(Ok(value)),
                Ok(Asked::Memory(read)) => read,
                Err(failure) => return Ok(Err(failure)),
            };
            if is_past {
                let message =
                    "what memory held in the past is only known as far as the execution had read it";
                return Ok(Err(Failure::new("NOT_RECORDED", message)));
            }
            if answers.len() >= READS {
                let message = format!("an expression may read memory {READS} times here");
                return Ok(Err(Failure::new("EVALUATION_LIMIT", message)));
            }
            if !program.module().memory.contains_key(&read.target) {
                let message = format!("memory.{} is not declared", read.target);
                return Ok(Err(Failure::new("UNKNOWN_NAME", message)));
            }
            let default = program.module().memory.get(&read.target).and_then(|decl| decl.default.clone());
            let scalar = read.key.is_none() && read.op == MemoryOp::Get;
            match self.recall(&mut run, &request(read), now).await? {
                Outcome::Value(value) if value.is_null() && scalar => {
                    answers.push(default.unwrap_or_default());
                }
                Outcome::Value(value) => answers.push(value),
                Outcome::Error(failure) => return Ok(Err(failure)),
            }
        }
    }
}

fn request(read: MemoryRead) -> MemoryRequest {
    let MemoryRead { op, target, key, prefix, query, min_similarity, limit, descending } = read;
    MemoryRequest {
        op,
        target,
        key,
        value: None,
        prefix,
        query,
        limit,
        descending,
        for_update: false,
        min_similarity,
    }
}

/// How an execution stood after entries of its journal. It ends with the entry that says so.
fn stood(machine: &Machine, entries: &[Entry]) -> ExecutionStatus {
    let has_ended = matches!(entries.last(), Some(Entry::Ended(_)));
    match machine.status() {
        Status::Completed if has_ended => ExecutionStatus::Completed,
        Status::Failed if has_ended => ExecutionStatus::Failed,
        Status::Cancelled if has_ended => ExecutionStatus::Cancelled,
        Status::Suspended { .. } => ExecutionStatus::Suspended,
        _ => ExecutionStatus::Running,
    }
}

/// What an execution had seen of memory: the last value of each entry that it had read or written.
fn seen(entries: &[Entry]) -> Json {
    let mut shown: Map<String, Json> = Map::new();
    for entry in entries {
        let Entry::Effect { effect, outcome: Some(Outcome::Value(outcome)) } = entry else { continue };
        let EffectKind::Memory(request) = &effect.kind else { continue };
        let value = match request.op {
            MemoryOp::Get => outcome.to_json(),
            MemoryOp::Set | MemoryOp::Update => request.value.as_ref().map_or(Json::Null, Value::to_json),
            MemoryOp::Delete => Json::Null,
            _ => continue,
        };
        match &request.key {
            None => drop(shown.insert(request.target.to_string(), value)),
            Some(key) => {
                let whole = shown.entry(request.target.to_string()).or_insert_with(|| json!({}));
                if let Json::Object(fields) = whole {
                    fields.insert(key.to_string(), value);
                }
            }
        }
    }
    Json::Object(shown)
}
