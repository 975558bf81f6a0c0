//! What must hold whatever bytes come: the properties that the fuzz targets look at, one function each. Beyond a panic, each
//! is a fault: an encoding that does not lead back, a program that the verifier takes and the machine stumbles over, a
//! small input that takes long or much memory (the fuzzer bounds both, and [`BOUND`] does here).

use std::sync::Arc;
use std::time::{Duration, Instant};

use scaigrid_ir::expr::{self, Limits, Scope};
use scaigrid_ir::{Diagnostic, Type, Value, bundle, check};
use scaigrid_runtime::journal::{self, Entry};
use scaigrid_runtime::{
    EffectKind, ExecutionContext, Failure, Machine, Outcome, Program, Start, Step, TimerRequest,
};

/// A property of any bytes.
pub(crate) type Property = fn(&[u8]);

/// The properties, by the names of their targets.
pub(crate) const ALL: [(&str, Property); 6] = [
    ("bundle", bundle_decoder),
    ("expression", expression_parser),
    ("verifier", verifier),
    ("program", program),
    ("machine", machine_decoder),
    ("journal", journal_decoder),
];

/// How long one input of 64 KiB may take, without optimisation and on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// The examples, the seeds of every corpus.
const EXAMPLES: [&str; 2] = [
    include_str!("../../../../examples/expense-approval.json"),
    include_str!("../../../../examples/support-triage.json"),
];

/// Runs a property and holds it to its time.
pub(crate) fn within_bound(name: &str, property: Property, input: &[u8]) {
    let begun = Instant::now();
    property(input);
    let took = begun.elapsed();
    assert!(took < BOUND, "{name}: {} bytes took {took:?}", input.len());
}

/// A document that was read is written canonically, and read again as the same; what was canonical stays as it is.
pub(crate) fn bundle_decoder(bytes: &[u8]) {
    let Ok(document) = bundle::decode(bytes) else { return };
    for written in [bundle::encode(&document), bundle::encode_compressed(&document)] {
        match bundle::decode(&written) {
            Ok(again) => assert!(again == document, "a document is read as another one"),
            // What was barely within the bounds in one form may be beyond them in another.
            Err(error) => assert!(error.is_too_large(), "{error}"),
        }
    }
    if let Ok(again) = bundle::decode(&bundle::encode(&document)) {
        assert_eq!(bundle::encode(&again), bundle::encode(&document));
    }
}

/// An expression that was parsed has a tree that reads as the same expression; evaluating it ends.
pub(crate) fn expression_parser(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Type::parse(text);
    let _ = expr::parse_template(text);
    let Ok(parsed) = expr::parse(text) else { return };
    let tree = expr::to_json(&parsed);
    match expr::from_json(&tree) {
        // Numbers that are none cannot be compared.
        Ok(again) => assert!(expr::to_json(&again) == tree, "{text:?} reads as another expression"),
        Err(error) => panic!("{text:?} has a tree that is none: {error}"),
    }
    let _ = expr::evaluate(&parsed, &Nothing, &[], &Limits::default());
}

/// Loading and verifying any JSON ends, with findings or without, and twice the same.
pub(crate) fn verifier(bytes: &[u8]) {
    let Ok(document) = bundle::decode(bytes) else { return };
    let (module, findings) = check(&document);
    let (again, same) = check(&document);
    assert!(module.is_some() == again.is_some() && findings == same, "a verdict is not twice the same");
}

/// A program that the verifier takes runs to an end, or to a wait, in each of its flows; its state and its journal
/// lead to the same machine at every point where it waits.
pub(crate) fn program(bytes: &[u8]) {
    let Ok(document) = bundle::decode(bytes) else { return };
    let (module, findings) = check(&document);
    let Some(module) = module.filter(|_| !findings.iter().any(Diagnostic::is_error)) else {
        return;
    };
    let flows: Vec<Arc<str>> = module.flows.iter().map(|flow| Arc::clone(&flow.name)).take(4).collect();
    let program = Program::new(module);
    for flow in flows {
        run(&program, flow);
    }
}

/// A machine that was read is written as bytes that read as the same, and goes on without a panic in a program of the
/// examples, which need not be its own.
pub(crate) fn machine_decoder(bytes: &[u8]) {
    let Ok(machine) = Machine::decode(bytes) else { return };
    let written = machine.encode();
    match Machine::decode(&written) {
        Ok(again) => assert!(again.encode() == written, "a state is read as another one"),
        Err(error) => panic!("a state that was written cannot be read: {error}"),
    }
    for program in programs() {
        go_on(&program, machine.clone(), 50);
    }
}

/// Entries that were read are written as bytes that read as the same; replaying them in a program of the examples ends.
pub(crate) fn journal_decoder(bytes: &[u8]) {
    let Ok(entries) = journal::decode_chunk(bytes) else { return };
    let written = journal::encode_chunk(&entries);
    match journal::decode_chunk(&written) {
        Ok(again) => assert!(journal::encode_chunk(&again) == written, "a journal is read as another one"),
        Err(error) => panic!("a journal that was written cannot be read: {error}"),
    }
    for entry in &entries {
        let _ = entry.to_json();
    }
    for program in programs() {
        if let Ok(machine) = journal::replay(&program, &entries) {
            go_on(&program, machine, 10);
        }
    }
}

/// Inputs that every corpus begins with, by the name of the target.
pub(crate) fn seeds(name: &str) -> Vec<Vec<u8>> {
    let documents = || EXAMPLES.iter().map(|text| bundle::decode(text.as_bytes()).unwrap_or_default());
    match name {
        "bundle" => {
            let forms = |document| [bundle::encode(&document), bundle::encode_compressed(&document)];
            documents().flat_map(forms).chain(EXAMPLES.iter().map(|text| text.as_bytes().to_vec())).collect()
        }
        "expression" => EXPRESSIONS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "machine" => histories().into_iter().map(|(machine, _)| machine).collect(),
        "journal" => histories().into_iter().map(|(_, journal)| journal).collect(),
        _ => EXAMPLES.iter().map(|text| text.as_bytes().to_vec()).collect(),
    }
}

const EXPRESSIONS: [&str; 12] = [
    "lines.sum(l => l.amount)",
    "if total > config.limit then answer.decision else 'approve'",
    "{a: 1, b: [1.5, 'x', null], c: `t ${1 + 2}`} |> json",
    "a?.b?[0] ?? c.d && !e || f in g",
    "-1 - -2 * (3 % 4) / 5.0 <= 6",
    "date('2026-01-31').plus(duration('P1M')).year",
    "xs.filter(x => x > 1).map(x => {n: x}).sort()[0].n",
    "money('1.20') + money('3.40')",
    "'äöü'.upper().split('').join(\"-\")",
    "enum[a, b] | array[string]?",
    "reports of ${employee}: ${total}",
    "((((((((((((1))))))))))))",
];

/// The names of nothing.
struct Nothing;

impl Scope for Nothing {
    fn lookup(&self, _: &str) -> Option<Value> {
        None
    }

    fn types(&self) -> &std::collections::BTreeMap<Arc<str>, Type> {
        static NONE: std::collections::BTreeMap<Arc<str>, Type> = std::collections::BTreeMap::new();
        &NONE
    }
}

thread_local! {
    static PROGRAMS: Vec<Arc<Program>> = EXAMPLES
        .iter()
        .filter_map(|text| check(&bundle::decode(text.as_bytes()).ok()?).0)
        .map(|module| Arc::new(Program::new(module)))
        .collect();
}

fn programs() -> Vec<Arc<Program>> {
    PROGRAMS.with(Clone::clone)
}

fn nothing() -> Value {
    Value::Object(Arc::default())
}

fn start(program: &Program, flow: Arc<str>) -> Start {
    let params = program.module().flow(&flow).map(|flow| flow.params.as_slice()).unwrap_or_default();
    let input = params.iter().map(|param| (Arc::clone(&param.name), sample(&param.ty))).collect();
    Start {
        flow,
        input: Value::Object(Arc::new(input)),
        config: nothing(),
        context: ExecutionContext {
            execution_id: "exec_1".into(),
            core_id: "core_1".into(),
            trigger: Value::Null,
            started_at: 1_700_000_000_000_000,
        },
        env: nothing(),
        debug: true,
    }
}

/// Some value that a parameter may take.
fn sample(of: &Type) -> Value {
    match of {
        Type::Int => Value::Int(3),
        Type::Float => Value::Float(1.5),
        Type::Bool => Value::Bool(true),
        Type::Array(inner) => Value::array(vec![sample(inner)]),
        Type::Json => nothing(),
        _ => Value::String("2026-01-31".into()),
    }
}

/// The state and the journal of each flow of the examples, where it first waits.
fn histories() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for program in programs() {
        let flows: Vec<Arc<str>> = program.module().flows.iter().map(|flow| Arc::clone(&flow.name)).collect();
        for flow in flows {
            let begun = start(&program, flow);
            let Ok(mut machine) = Machine::start(&program, begun.clone()) else { continue };
            let mut entries = vec![Entry::Started(Box::new(begun))];
            advance(&program, &mut machine, &mut entries);
            all.push((machine.encode(), journal::encode_chunk(&entries)));
        }
    }
    all
}

/// Runs until nothing can be done without an answer from outside.
fn advance(program: &Program, machine: &mut Machine, entries: &mut Vec<Entry>) -> Option<Step> {
    for _ in 0..2_000 {
        match machine.advance(program, &mut 1_000) {
            Step::Effects(effects) => {
                for effect in effects {
                    let outcome = effect.kind.is_inside().then(|| answer(&effect.kind));
                    let id = effect.id;
                    entries.push(Entry::Effect { effect, outcome: outcome.clone() });
                    if let Some(outcome) = outcome
                        && machine.deliver(id, outcome).is_err()
                    {
                        return None;
                    }
                }
            }
            Step::OutOfFuel => {}
            step => return Some(step),
        }
    }
    None
}

fn answer(kind: &EffectKind) -> Outcome {
    Outcome::Value(match kind {
        EffectKind::Now => Value::Datetime(1_700_000_000_000_000),
        EffectKind::Uuid => Value::String("018b0000-0000-7000-8000-000000000000".into()),
        EffectKind::Random => Value::Float(0.25),
        EffectKind::Timer(TimerRequest::Until(at)) => Value::Datetime(*at),
        EffectKind::Timer(TimerRequest::After(_)) => Value::Datetime(5_000_000),
        EffectKind::Checkpoint(request) => {
            let decision = request.options.first().cloned().unwrap_or_else(|| "yes".into());
            Value::Object(Arc::new([(Arc::from("decision"), Value::String(decision))].into_iter().collect()))
        }
        _ => Value::Null,
    })
}

/// Runs a flow with answers to everything, each third an error; compares the machine with what its bytes and its journal
/// make of it.
fn run(program: &Program, flow: Arc<str>) {
    let begun = start(program, flow);
    let Ok(mut machine) = Machine::start(program, begun.clone()) else { return };
    let mut entries = vec![Entry::Started(Box::new(begun))];
    for turn in 0..20 {
        let stands = advance(program, &mut machine, &mut entries);
        let bytes = machine.encode();
        match Machine::decode(&bytes) {
            Ok(again) => assert!(again.encode() == bytes, "a state is read as another one"),
            Err(error) => panic!("a state that was written cannot be read: {error}"),
        }
        if stands != Some(Step::Suspended) {
            break;
        }
        if entries.len() < 200 {
            match journal::replay(program, &entries) {
                Ok(replayed) => assert!(replayed.encode() == bytes, "a journal leads elsewhere"),
                Err(error) => panic!("a journal leads nowhere: {error}"),
            }
        }
        let Some((id, kind)) = machine.pending().first().map(|effect| (effect.id, effect.kind.clone()))
        else {
            panic!("a machine waits for nothing");
        };
        let outcome =
            if turn % 3 == 2 { Outcome::Error(Failure::new("OWN", "it failed")) } else { answer(&kind) };
        entries.push(Entry::Outcome { id, outcome: outcome.clone() });
        assert!(machine.deliver(id, outcome).is_ok(), "a machine does not take what it waits for");
    }
}

/// Lets a machine of unknown origin go on: whatever it does, it does not panic.
fn go_on(program: &Program, mut machine: Machine, turns: u32) {
    let mut entries = Vec::new();
    for _ in 0..turns {
        advance(program, &mut machine, &mut entries);
        let Some((id, kind)) = machine.pending().first().map(|effect| (effect.id, effect.kind.clone()))
        else {
            return;
        };
        if machine.deliver(id, answer(&kind)).is_err() {
            return;
        }
    }
}
