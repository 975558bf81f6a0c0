//! Failed executions that go on, and what becomes of the numbers of their effects.

use std::collections::BTreeMap;

use proptest::prelude::*;
use scaigrid_runtime::journal::{
    Base, BranchError, Entry, decode_chunk, encode_chunk, fork, replay, resume, retry, tell,
};
use scaigrid_runtime::{
    Effect, EffectId, EffectKind, End, ExecutionContext, Failure, Outcome, Program, Step,
};
use serde_json::{Value as Json, json};

use crate::generator::body;
use crate::world::{World, ask, completed, expired, flow, note, suitable, value};

fn calls(method: &str) -> Json {
    json!({ "kind": "rigid", "id": method, "statements": [
        { "kind": "plugin_call", "alias": "crm", "method": method, "args": { "n": "1" }, "result_binding": "got" }] })
}

/// Locks, calls, unlocks whatever comes, and ships.
fn shipping() -> Program {
    flow(&json!([
        { "kind": "try", "body": [calls("pack")], "finally": [calls("unlock")] },
        calls("ship"),
    ]))
}

/// The calls that have been asked for, with their numbers, in the order of the journal.
fn made(world: &World) -> Vec<(u32, String)> {
    let call = |entry: &Entry| match entry {
        Entry::Effect { effect: Effect { id, kind: EffectKind::PluginCall(request), .. }, .. } => {
            Some((id.0, request.method.to_string()))
        }
        _ => None,
    };
    world.journal.iter().filter_map(call).collect()
}

fn answer(world: &mut World, program: &Program) -> Step {
    let effect = world.open().remove(0);
    world.resolve(effect.id, suitable(&effect.kind, "yes"));
    world.run(program)
}

#[test]
fn no_number_of_what_does_not_count_is_given_to_another_call() {
    let program = shipping();
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let pack = world.pending()[0];
    world.fail(pack, "PLUGIN_ERROR");
    world.run(&program);
    assert!(matches!(answer(&mut world, &program), Step::Failed(_)), "unlocked, and failed");
    let cut = world.retry(&program).unwrap();
    assert_eq!((cut.again, cut.next), (vec![pack], 2));
    world.run(&program);
    for _ in 0..3 {
        answer(&mut world, &program);
    }
    let names = ["pack", "unlock", "pack", "unlock", "ship"].map(str::to_owned);
    let numbers = [0, 1, 2, 3, 4];
    assert_eq!(made(&world), numbers.into_iter().zip(names).collect::<Vec<_>>());
    assert_eq!(replay(&program, &world.journal).unwrap().encode(), world.machine.encode());
}

#[test]
fn a_call_that_may_have_been_carried_out_keeps_its_number() {
    for code in ["PLUGIN_TIMEOUT", "PLUGIN_UNREACHABLE", "PLUGIN_RESULT_INVALID"] {
        let program = shipping();
        let mut world = World::start(&program, &json!({}));
        world.run(&program);
        let pack = world.pending()[0];
        world.fail(pack, code);
        world.run(&program);
        answer(&mut world, &program);
        let cut = world.retry(&program).unwrap();
        assert_eq!((cut.again, cut.next), (vec![], 2), "{code}");
        // It is in doubt: recorded, without an outcome, and not asked for.
        assert_eq!(resume(&program, None, &world.journal).unwrap().unrecorded, []);
        assert_eq!((world.run(&program), world.pending()), (Step::Suspended, vec![pack]));
        for _ in 0..3 {
            answer(&mut world, &program);
        }
        assert_eq!(made(&world)[2..], [(2, "unlock".to_owned()), (3, "ship".to_owned())]);
    }
}

#[test]
fn what_comes_late_for_something_that_does_not_count_finds_nobody() {
    let call = json!({ "kind": "core_call", "id": "called", "target": "core://self", "flow_name": "main" });
    let program = flow(&json!([{ "kind": "parallel", "fail_fast": true, "branches": [
        { "name": "a", "body": [calls("pack")] }, { "name": "b", "body": [call] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let [pack, called] = world.pending()[..] else { panic!() };
    world.fail(pack, "PLUGIN_ERROR");
    assert!(matches!(world.run(&program), Step::Failed(_)));
    let cut = world.retry(&program).unwrap();
    assert_eq!(cut.again, [pack, called]);
    world.run(&program);
    let late = Outcome::Error(Failure::new("CALL_CANCELLED", "the called execution was cancelled"));
    assert!(world.machine.deliver(called, late).is_err());
    assert_eq!(world.pending(), [EffectId(2), EffectId(3)]);
}

#[test]
fn a_call_of_a_flow_that_failed_is_made_again() {
    let call = json!({ "kind": "core_call", "id": "called", "target": "core://self", "flow_name": "main" });
    let program = flow(&json!([call]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let first = world.pending()[0];
    let arose = Failure {
        block: Some("deep".into()),
        pointer: Some("/flows/7/body/0".into()),
        ..Failure::new("BROKEN", "it broke")
    };
    world.resolve(first, Outcome::Error(arose.told_to_caller("core_2", "exec_2")));
    assert!(matches!(world.run(&program), Step::Failed(_)));
    assert_eq!(world.retry(&program).unwrap().again, [first]);
    world.run(&program);
    let again = world.pending()[0];
    assert_ne!(again, first);
    world.resolve(again, Outcome::Value(5.into()));
    assert_eq!(completed(&world.run(&program)), json!(5));
}

#[test]
fn a_handle_means_the_same_call_after_a_retry() {
    let program = flow(&json!([
        { "kind": "core_call", "target": "core://self", "flow_name": "main", "is_async": true,
          "result_binding": "handle" },
        calls("pack"),
        { "kind": "await_responses", "of": "[handle]", "result_binding": "answers" },
        crate::world::gives("answers"),
    ]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    for _ in 0..2 {
        let pack = world.open_of("plugin_call").remove(0);
        world.fail(pack.id, "PLUGIN_ERROR");
        assert!(matches!(world.run(&program), Step::Failed(_)));
        world.retry(&program).unwrap();
        world.run(&program);
    }
    let pack = world.open_of("plugin_call").remove(0);
    world.resolve(pack.id, Outcome::Value(1.into()));
    world.run(&program);
    // Whoever goes on reads it from a store.
    world.machine = scaigrid_runtime::Machine::decode(&world.machine.encode()).unwrap();
    let called = world.open_of("core_call").remove(0);
    assert_eq!(called.id, EffectId(4));
    world.resolve(called.id, Outcome::Value("hello".into()));
    assert_eq!(completed(&world.run(&program)), json!(["hello"]));
    crate::world::replays(&program, &world);
}

/// Asks for approval of a payment, makes it, and fails.
fn paying(after: &str) -> Program {
    let pay = json!({ "kind": "plugin_call", "alias": "crm", "method": "pay", "args": { "amount": "1" } });
    flow(&json!([
        { "kind": "checkpoint", "id": "ok", "checkpoint_type": "approval", "present": { "prompt": "Pay?" },
          "options": ["approve", "reject"], "action": { "alias": "crm", "method": "pay", "args": { "amount": "1" } } },
        { "kind": "rigid", "id": "pays", "statements": [pay] },
        { "kind": "rigid", "id": "after", "statements": [{ "kind": "expression", "value": after }] },
    ]))
}

fn same(context: &ExecutionContext) -> ExecutionContext {
    context.clone()
}

#[test]
fn what_was_allowed_once_is_not_shared() {
    let program = paying("1");
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let branch = |world: &World, at: usize| fork(&program, None, &world.journal, at, None, same);
    // Before the answer somebody is asked anew.
    let asked = world.journal.len() - 1;
    assert!(branch(&world, asked).is_ok());
    world.decide(world.pending()[0], "approve");
    let answered = world.journal.len() - 1;
    let refused = BranchError::Allowed { answered: Some(answered) };
    assert_eq!(branch(&world, answered), Err(refused.clone()));
    assert!(refused.to_string().contains(&format!("before {answered},")), "{refused}");
    world.run(&program);
    let intended = world.journal.len() - 1;
    assert_eq!(branch(&world, intended), Err(refused));
    assert!(branch(&world, asked).is_ok());
    // Once it has been made, what it gave is shared.
    answer(&mut world, &program);
    assert!(branch(&world, intended + 1).is_ok());

    // What was refused allows nothing.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.decide(world.pending()[0], "reject");
    let answered = world.journal.len() - 1;
    assert!(matches!(world.run(&program), Step::Failed(_)));
    assert!(branch(&world, answered).is_ok());
}

#[test]
fn what_was_allowed_once_is_not_called_again() {
    let begun = || {
        let program = paying("1 / 0");
        let mut world = World::start(&program, &json!({}));
        world.run(&program);
        world.decide(world.pending()[0], "approve");
        world.run(&program);
        (program, world)
    };
    // Refused for good: it would be another call.
    let (program, mut world) = begun();
    world.fail(world.pending()[0], "PLUGIN_ERROR");
    world.run(&program);
    let refused = retry(&program, None, &world.journal).unwrap_err();
    assert_eq!(refused, BranchError::AllowedOnce { tool: "crm.pay".to_owned() });
    // In doubt: it is the same call, and only what its plugin declares lets it out again.
    let (program, mut world) = begun();
    let pay = world.pending()[0];
    world.fail(pay, "PLUGIN_TIMEOUT");
    world.run(&program);
    assert_eq!(world.retry(&program).unwrap().again, []);
    assert_eq!(world.pending(), [pay]);
    // It was made, and something else failed.
    let (program, mut world) = begun();
    assert!(matches!(answer(&mut world, &program), Step::Failed(_)));
    assert_eq!(world.retry(&program).unwrap().again, []);
}

#[test]
fn what_does_not_count_and_was_allowed_keeps_from_going_back() {
    let pay = json!({ "kind": "rigid", "statements": [
        { "kind": "plugin_call", "alias": "crm", "method": "pay", "args": { "amount": "1" } }] });
    let program = flow(&json!([
        { "kind": "checkpoint", "checkpoint_type": "approval", "present": { "prompt": "Pay?" }, "options": ["approve"],
          "action": { "alias": "crm", "method": "pay", "args": { "amount": "1" } } },
        { "kind": "try", "body": [calls("pack")], "finally": [pay] },
    ]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.decide(world.pending()[0], "approve");
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_ERROR");
    world.run(&program);
    assert!(matches!(answer(&mut world, &program), Step::Failed(_)), "paid, and failed");
    assert!(matches!(retry(&program, None, &world.journal), Err(BranchError::AllowedOnce { .. })));
}

#[test]
fn retries_of_journals_from_before_keep_their_numbers() {
    let program = shipping();
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let pack = world.pending()[0];
    world.fail(pack, "PLUGIN_ERROR");
    world.run(&program);
    answer(&mut world, &program);
    let old = Entry::Retried { from: 2, again: vec![pack], next: None };
    // As it was written: two fields.
    let bytes = encode_chunk(std::slice::from_ref(&old));
    assert_eq!(bytes[1..], [0x91, 0x81, 0xa1, b'r', 0x92, 0x02, 0x91, 0x00]);
    assert_eq!(decode_chunk(&bytes).unwrap(), std::slice::from_ref(&old));
    world.journal.push(old);
    let resumed = resume(&program, None, &world.journal).unwrap();
    assert_eq!(resumed.unrecorded, [pack]);
    assert_eq!(resumed.machine.next_effect(), EffectId(1));
}

/// Runs, and lets some of what is asked for fail.
fn run_badly(
    world: &mut World,
    program: &Program,
    bases: &mut Vec<Base>,
    luck: &mut impl Iterator<Item = bool>,
) {
    world.run(program);
    for _ in 0..300 {
        if world.machine.end().is_some() {
            return;
        }
        bases.push(Base { machine: world.machine.clone(), seq: world.journal.len() });
        let Some(effect) = world.open().first().cloned() else { return };
        let good = luck.next().unwrap_or(true);
        let outcome = match &effect.kind {
            kind if good => suitable(kind, "yes"),
            EffectKind::PluginCall(_) => Outcome::Error(Failure::new("PLUGIN_ERROR", "it failed")),
            EffectKind::Checkpoint(_) => expired(),
            EffectKind::Timer(_) => suitable(&effect.kind, "yes"),
            _ => Outcome::Error(Failure::new("OOPS", "it failed")),
        };
        world.resolve(effect.id, outcome);
        world.run(program);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However often an execution fails and goes on: a number is one effect's, and it matters not from where its journal is
    /// followed.
    #[test]
    fn going_on_gives_no_number_twice(body in body(), luck in prop::collection::vec(prop::bool::weighted(0.6), 0..12)) {
        let program = flow(&body);
        let mut world = World::start(&program, &json!({ "x": [4, 5] }));
        let (mut bases, mut luck) = (Vec::new(), luck.into_iter());
        for _ in 0..3 {
            run_badly(&mut world, &program, &mut bases, &mut luck);
            if !matches!(world.machine.end(), Some(End::Failed(_))) {
                break;
            }
            match world.retry(&program) {
                Ok(cut) => bases.retain(|base| base.seq as u64 <= cut.from),
                Err(BranchError::AllowedOnce { .. }) => break,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        run_badly(&mut world, &program, &mut bases, &mut std::iter::empty());
        let journal = decode_chunk(&encode_chunk(&world.journal)).unwrap();
        let mut known: BTreeMap<EffectId, Effect> = BTreeMap::new();
        for entry in &journal {
            if let Entry::Effect { effect, .. } = entry {
                let first = known.entry(effect.id).or_insert_with(|| effect.clone());
                prop_assert_eq!(first, effect, "a number was given twice");
            }
        }
        prop_assert_eq!(replay(&program, &journal).unwrap().encode(), world.machine.encode());
        let told = tell(&program, None, &journal, 0).unwrap();
        for base in &bases {
            let rest = &journal[base.seq..];
            let resumed = resume(&program, Some(base), rest).unwrap();
            prop_assert_eq!(resumed.machine.encode(), world.machine.encode());
            prop_assert_eq!(resumed.unrecorded, vec![]);
            // What it did before the base is not told, whichever entry would have told of it.
            let seen: Vec<_> = told.iter().filter(|told| told.seq >= base.seq).collect();
            let from_there = tell(&program, Some(base), rest, base.seq).unwrap();
            let from_there: Vec<_> = from_there.iter().collect();
            prop_assert!(seen.ends_with(&from_there), "{seen:?}\n{from_there:?}");
        }
    }
}

#[test]
fn from_a_machine_that_was_kept_everything_is_as_from_the_beginning() {
    let program = flow(&json!([note("one"), ask("first"), note("two"), ask("second"), calls("pack")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.decide(world.pending()[0], "yes");
    world.run(&program);
    let base = Base { machine: world.machine.clone(), seq: world.journal.len() };
    let renamed =
        |context: &ExecutionContext| ExecutionContext { execution_id: "exec_2".into(), ..context.clone() };
    // What was open by then is asked for anew.
    let forked = fork(&program, Some(&base), &[], base.seq - 1, None, renamed).unwrap();
    let copy = resume(&program, forked.base.as_ref(), &forked.entries).unwrap();
    assert_eq!(copy.unrecorded, world.pending());
    let names = copy.machine.variables(&program);
    let id = copy.machine.evaluate(&program, 0, &scaigrid_ir::expr::parse("execution.id").unwrap(), &[]);
    assert_eq!(id, Ok(scaigrid_runtime::machine::Asked::Value("exec_2".into())));
    assert_eq!(names, world.machine.variables(&program));
    let other = Some(value(&json!({ "x": 2 })));
    let refused = fork(&program, Some(&base), &[], base.seq - 1, other, renamed);
    assert_eq!(refused, Err(BranchError::InputGone));
    let refused = fork(&program, Some(&base), &[], base.seq - 2, None, renamed);
    assert_eq!(refused, Err(BranchError::Before { first: base.seq }));

    world.decide(world.pending()[0], "yes");
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_ERROR");
    world.run(&program);
    let rest = &world.journal[base.seq..];
    let whole = retry(&program, None, &world.journal);
    assert_eq!(retry(&program, Some(&base), rest), whole);
    let told = tell(&program, Some(&base), rest, 0).unwrap();
    assert!(told.iter().any(|told| told.seq == world.journal.len() - 1));
    // Behind the failure there is nothing to see of it.
    let late = Base { machine: base.machine.clone(), seq: world.journal.len() - 1 };
    let last = &world.journal[late.seq..];
    assert!(retry(&program, Some(&late), last).is_err());
}
