//! A platform in a few lines: it answers inside effects, keeps the journal, and holds what is open outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_runtime::journal::{self, BranchError, Cut, Entry};
use scaigrid_runtime::{
    Effect, EffectId, EffectKind, ExecutionContext, Failure, Machine, MemoryRequest, ModelAnswer, Outcome,
    Program, Start, Step, TimerRequest,
};
use serde_json::{Value as Json, json};

pub(crate) fn value(json: &Json) -> Value {
    Value::from_json(json)
}

pub(crate) fn program(document: &Json) -> Program {
    let loaded = scaigrid_ir::load::module(document);
    let module = loaded.module.unwrap_or_else(|| panic!("{document:#}\n{:?}", loaded.diagnostics));
    Program::new(module)
}

/// A program whose one flow `main` has this body.
pub(crate) fn flow(body: &Json) -> Program {
    program(&json!({
        "schema_version": "0.2", "name": "Test", "version": "1.0.0",
        "types": { "Line": { "label": "string", "amount": "int" } },
        "memory": {
            "counts": { "type": "map[string, int]" }, "turns": { "type": "array[string]" },
            "total": { "type": "int", "default": 7 }, "profile": { "type": "json" }
        },
        "config": { "limit": { "type": "int", "default": 10 }, "key": { "type": "string", "secret": true } },
        "models": [{ "role": "primary", "model": "echo", "temperature": 0.5, "system_context": "House rules." },
            { "role": "fast", "model": "small" }],
        "plugins": [{ "alias": "crm", "plugin": "acme.crm" }],
        "reference": { "rates": { "low": 9, "high": 21 } },
        "identity": { "name": "Ada", "persona": "calm", "languages": ["en"] },
        "flows": [{ "name": "main", "params": [{ "name": "x", "type": "json", "default": null }], "body": body }]
    }))
}

/// A body of one `rigid` block with these statements.
pub(crate) fn rigid(statements: &Json) -> Json {
    json!([{ "kind": "rigid", "id": "r", "statements": statements }])
}

pub(crate) fn begin(flow: &str, input: &Json) -> Start {
    Start {
        flow: flow.into(),
        input: value(input),
        config: value(&json!({})),
        context: ExecutionContext {
            execution_id: "exec_1".into(),
            core_id: "core_1".into(),
            trigger: value(&json!({ "kind": "api" })),
            started_at: 1_700_000_000_000_000,
        },
        env: value(&json!({ "REGION": "eu" })),
        debug: false,
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) journal: Vec<Entry>,
    pub(crate) memory: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Value>>,
    /// What the program did: `info text`, `event name`.
    pub(crate) seen: Vec<String>,
    clock: i64,
    ended: bool,
}

impl World {
    pub(crate) fn start(program: &Program, input: &Json) -> Self {
        Self::start_with(program, begin("main", input))
    }

    pub(crate) fn start_with(program: &Program, start: Start) -> Self {
        let machine = Machine::start(program, start.clone()).unwrap();
        let journal = vec![Entry::Started(Box::new(start))];
        Self { machine, journal, memory: BTreeMap::new(), seen: Vec::new(), clock: 0, ended: false }
    }

    /// Answers inside effects and records outside ones until the machine stands still.
    pub(crate) fn run(&mut self, program: &Program) -> Step {
        loop {
            let mut fuel = 1_000_000;
            match self.machine.advance(program, &mut fuel) {
                Step::Effects(effects) => effects.into_iter().for_each(|effect| self.see(effect)),
                Step::OutOfFuel => {}
                step => {
                    if let Some(end) = self.machine.end().filter(|_| !self.ended) {
                        self.journal.push(Entry::Ended(end.clone()));
                        self.ended = true;
                    }
                    return step;
                }
            }
        }
    }

    /// Takes note of an effect, and answers it where it is inside.
    pub(crate) fn see(&mut self, effect: Effect) {
        let id = effect.id;
        let outcome = self.answer(&effect.kind);
        self.journal.push(Entry::Effect { effect, outcome: outcome.clone() });
        if let Some(outcome) = outcome {
            self.machine.deliver(id, outcome).unwrap();
        }
    }

    pub(crate) fn answer(&mut self, kind: &EffectKind) -> Option<Outcome> {
        // What nobody saw must not matter: an effect that is given up at once is not always handed out.
        self.clock += i64::from(kind.is_inside());
        let value = match kind {
            EffectKind::Now => Value::Datetime(self.clock * 1_000_000),
            EffectKind::Uuid => Value::from(format!("00000000-0000-0000-0000-{:012}", self.clock)),
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            EffectKind::Random => Value::Float((self.clock * 37 % 100) as f64 / 100.0),
            EffectKind::Log { message, .. } => {
                self.seen.push(format!("log {message}"));
                Value::Null
            }
            EffectKind::Emit { event, data } => {
                self.seen.push(format!("event {event} {}", data.to_json()));
                Value::Null
            }
            EffectKind::Memory(request) => self.remember(request),
            EffectKind::Checkpoint(_)
            | EffectKind::CoreCall(_)
            | EffectKind::PluginCall(_)
            | EffectKind::ModelCall(_)
            | EffectKind::Timer(_)
            | EffectKind::WaitEvent(_) => return None,
        };
        Some(Outcome::Value(value))
    }

    fn remember(&mut self, request: &MemoryRequest) -> Value {
        let entries = self.memory.entry(Arc::clone(&request.target)).or_default();
        let key = request.key.clone().unwrap_or_else(|| "".into());
        let written = request.value.clone();
        match request.op {
            MemoryOp::Get => entries.get(&key).cloned().unwrap_or_default(),
            MemoryOp::Set | MemoryOp::Update => {
                entries.insert(key, written.unwrap());
                Value::Null
            }
            MemoryOp::Delete => {
                entries.remove(&key);
                Value::Null
            }
            MemoryOp::Add => {
                entries.insert(format!("{:06}", entries.len()).into(), written.unwrap());
                Value::Null
            }
            MemoryOp::Count => entries.len().into(),
            MemoryOp::List | MemoryOp::Search | MemoryOp::Last => {
                let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
                Value::array(entries.values().take(limit).cloned().collect())
            }
        }
    }

    pub(crate) fn pending(&self) -> Vec<EffectId> {
        self.machine.pending().into_iter().map(|effect| effect.id).collect()
    }

    /// What is open outside, in the order of its numbers.
    pub(crate) fn open(&self) -> Vec<Effect> {
        self.machine.pending().into_iter().cloned().collect()
    }

    /// The open effects of a kind.
    pub(crate) fn open_of(&self, kind: &str) -> Vec<Effect> {
        self.open().into_iter().filter(|effect| effect.kind.name() == kind).collect()
    }

    pub(crate) fn fail(&mut self, id: EffectId, code: &str) {
        self.resolve(id, Outcome::Error(Failure::new(code, "it failed")));
    }

    pub(crate) fn resolve(&mut self, id: EffectId, outcome: Outcome) {
        self.journal.push(Entry::Outcome { id, outcome: outcome.clone() });
        self.machine.deliver(id, outcome).unwrap();
    }

    pub(crate) fn decide(&mut self, id: EffectId, decision: &str) {
        self.resolve(id, Outcome::Value(decided(decision)));
    }

    /// Has a failed execution go on.
    pub(crate) fn retry(&mut self, program: &Program) -> Result<Cut, BranchError> {
        let cut = journal::retry(program, None, &self.journal)?;
        self.journal.push(cut.clone().into());
        self.machine = journal::replay(program, &self.journal)?;
        self.ended = false;
        Ok(cut)
    }

    pub(crate) fn cancel(&mut self) {
        let steps = self.machine.steps();
        if self.machine.cancel("enough") {
            self.journal.push(Entry::Cancel { reason: "enough".into(), steps });
        }
    }
}

pub(crate) fn decided(decision: &str) -> Value {
    value(&json!({
        "decision": decision, "response_data": null, "comment": "fine", "resolved_by": "user_1",
        "resolved_at": null
    }))
}

/// A model's answer with this text, for which so many tokens were read and written.
pub(crate) fn said(content: &str, tokens: u64) -> Outcome {
    let answer = ModelAnswer {
        content: content.into(),
        model: "echo".into(),
        finish_reason: "stop".into(),
        input_tokens: tokens / 2,
        output_tokens: tokens.div_ceil(2),
        cost: rust_decimal::Decimal::new(1, 2),
    };
    Outcome::Value(answer.to_value())
}

/// An answer that suits what is asked for.
pub(crate) fn suitable(kind: &EffectKind, decision: &str) -> Outcome {
    match kind {
        EffectKind::ModelCall(_) => said(r#"{"n": 4, "sure": true}"#, 40),
        EffectKind::Timer(TimerRequest::Until(at)) => Outcome::Value(Value::Datetime(*at)),
        EffectKind::Timer(TimerRequest::After(_)) => Outcome::Value(Value::Datetime(5_000_000)),
        EffectKind::WaitEvent(request) => {
            Outcome::Value(value(&json!({ "event": &*request.name, "data": { "n": 3 } })))
        }
        EffectKind::PluginCall(request) => Outcome::Value(request.args.clone()),
        _ => Outcome::Value(decided(decision)),
    }
}

pub(crate) fn expired() -> Outcome {
    Outcome::Error(Failure::new("CHECKPOINT_EXPIRED", "nobody answered"))
}

/// A block that logs a text.
pub(crate) fn note(text: &str) -> Json {
    json!({ "kind": "rigid", "statements": [{ "kind": "log", "level": "info", "message": text }] })
}

/// A block whose value is an expression's.
pub(crate) fn gives(value: &str) -> Json {
    json!({ "kind": "rigid", "statements": [{ "kind": "expression", "value": value }] })
}

/// A checkpoint with this id.
pub(crate) fn ask(id: &str) -> Json {
    json!({ "kind": "checkpoint", "id": id, "checkpoint_type": "approval", "present": { "prompt": "?" } })
}

/// That the journal leads to the machine as it stands.
pub(crate) fn replays(program: &Program, world: &World) {
    let replayed = scaigrid_runtime::journal::replay(program, &world.journal).unwrap();
    assert_eq!(replayed.encode(), world.machine.encode());
}

/// What a body that waits for nobody gives.
pub(crate) fn result(body: &Json, input: &Json) -> Json {
    let program = flow(body);
    match World::start(&program, input).run(&program) {
        Step::Completed(value) => value.to_json(),
        other => panic!("{other:?}"),
    }
}

/// What a body that waits for nobody fails with.
pub(crate) fn failure(body: &Json, input: &Json) -> Failure {
    let program = flow(body);
    match World::start(&program, input).run(&program) {
        Step::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn completed(step: &Step) -> Json {
    match step {
        Step::Completed(value) => value.to_json(),
        other => panic!("{other:?}"),
    }
}
