//! Being looked at changes nothing; what a journal tells, a machine can be branched from and told along.

use std::sync::Arc;

use proptest::prelude::*;
use scaigrid_ir::expr;
use scaigrid_runtime::journal::{BranchError, Entry, fork, replay, resume, retry, standing, tell};
use scaigrid_runtime::machine::{Asked, Traced};
use scaigrid_runtime::{EffectId, ExecutionContext, Machine, Program, Step};
use serde_json::json;

use crate::generator::body;
use crate::world::{World, ask, flow, gives, note, rigid, suitable};

/// Runs to the end, answering whatever is asked; `stopping` stands still before every block.
fn through(program: &Program, stopping: bool) -> World {
    let mut start = crate::world::begin("main", &json!({ "x": [4, 5] }));
    start.debug = true;
    let mut world = World::start_with(program, start);
    for _ in 0..400 {
        let mut passed = None;
        loop {
            let mut fuel = 1_000_000;
            let step = if stopping {
                let mut stop = |stand: &scaigrid_runtime::machine::Stand<'_>| {
                    let stops = passed.is_none_or(|steps| stand.steps > steps);
                    if stops {
                        passed = Some(stand.steps);
                    }
                    stops
                };
                world.machine.advance_until(program, &mut fuel, &mut stop)
            } else {
                Some(world.machine.advance(program, &mut fuel))
            };
            match step {
                None => {
                    // Standing still survives being stored.
                    world.machine = Machine::decode(&world.machine.encode()).unwrap();
                }
                Some(Step::Effects(effects)) => effects.into_iter().for_each(|effect| world.see(effect)),
                Some(Step::OutOfFuel) => {}
                Some(_) => break,
            }
        }
        let Some(effect) = world.open().first().cloned() else { break };
        world.resolve(effect.id, suitable(&effect.kind, "yes"));
    }
    if let Some(end) = world.machine.end() {
        world.journal.push(Entry::Ended(end.clone()));
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whoever stops before every block sees the same execution in the end.
    #[test]
    fn stopping_changes_nothing(body in body()) {
        let program = flow(&body);
        let (plain, stopped) = (through(&program, false), through(&program, true));
        // What is given up in the same breath has no record in the one journal, and may have one in the other.
        prop_assert_eq!(plain.machine.encode(), stopped.machine.encode());
    }

    /// From each entry a new execution comes to the same end, when the same is answered.
    #[test]
    fn a_fork_comes_to_the_same_end(body in body(), at in 0_usize..1000) {
        let program = flow(&body);
        let world = through(&program, false);
        let at = at % world.journal.len();
        let same = |context: &ExecutionContext| context.clone();
        let shared = match fork(&program, None, &world.journal, at, None, same) {
            Ok(shared) => shared.entries,
            Err(BranchError::InUpdate | BranchError::Allowed { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let forked = resume(&program, None, &shared).unwrap();
        let mut other = world.clone();
        (other.machine, other.journal) = (forked.machine, shared);
        let mut asked = 0;
        for _ in 0..400 {
            loop {
                let mut fuel = 1_000_000;
                match other.machine.advance(&program, &mut fuel) {
                    Step::Effects(effects) => for effect in effects {
                        asked += 1;
                        // What was recorded is answered as it was; the rest of the world has moved on.
                        let recorded = world.journal.iter().find_map(|entry| match entry {
                            Entry::Effect { effect: known, outcome } if known.id == effect.id => outcome.clone(),
                            _ => None,
                        });
                        other.journal.push(Entry::Effect { effect: effect.clone(), outcome: recorded.clone() });
                        if let Some(outcome) = recorded {
                            other.machine.deliver(effect.id, outcome).unwrap();
                        }
                    },
                    Step::OutOfFuel => {}
                    _ => break,
                }
            }
            let Some(effect) = other.open().first().cloned() else { break };
            other.resolve(effect.id, suitable(&effect.kind, "yes"));
        }
        prop_assert_eq!(other.machine.end(), world.machine.end());
        prop_assert!(asked <= world.journal.len(), "nothing is asked for twice");
    }

    /// What is told of blocks does not depend on where one begins to listen.
    #[test]
    fn what_is_told_is_the_same_from_everywhere(body in body(), from in 0_usize..1000) {
        let program = flow(&body);
        let world = through(&program, false);
        let from = from % world.journal.len();
        let whole = tell(&program, None, &world.journal, 0).unwrap();
        let rest = tell(&program, None, &world.journal, from).unwrap();
        let expected: Vec<_> = whole.into_iter().filter(|told| told.seq >= from).collect();
        prop_assert_eq!(rest, expected);
    }
}

fn named(told: &[scaigrid_runtime::journal::Told]) -> Vec<String> {
    let name = |traced: &Traced| match traced {
        Traced::Entered { block, .. } => format!("+{block}"),
        Traced::Exited { block, .. } => format!("-{block}"),
        Traced::Failed { block, failure, .. } => format!("!{block} {}", failure.code),
        Traced::Retried { block, attempt, .. } => format!("~{block} {attempt}"),
    };
    told.iter().map(|told| name(&told.traced)).collect()
}

fn call() -> serde_json::Value {
    json!({ "kind": "rigid", "id": "calls", "statements": [
        { "kind": "plugin_call", "alias": "crm", "method": "find", "args": { "n": "1" }, "result_binding": "got" },
        { "kind": "return", "value": "got" }] })
}

#[test]
fn a_failed_call_is_asked_for_once_more() {
    let program = flow(&json!([note("before"), call()]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let id = world.pending()[0];
    world.fail(id, "PLUGIN_ERROR");
    assert!(matches!(world.run(&program), Step::Failed(_)));
    let length = world.journal.len();
    let cut = retry(&program, None, &world.journal).unwrap();
    assert_eq!((cut.from, cut.again.clone()), (length as u64 - 2, vec![id]));
    // Under its old number the plugin would say what it has said.
    let id = EffectId(cut.next);
    world.journal.push(cut.into());
    world.machine = replay(&program, &world.journal).unwrap();
    let mut fuel = 1000;
    let Step::Effects(asked) = world.machine.advance(&program, &mut fuel) else {
        panic!("it asks for the call")
    };
    assert_eq!(asked.iter().map(|effect| effect.id).collect::<Vec<_>>(), [id]);
    for effect in asked {
        world.see(effect);
    }
    let effect = world.open().remove(0);
    world.resolve(id, suitable(&effect.kind, "yes"));
    assert!(matches!(world.run(&program), Step::Completed(_)));
    world.journal.push(Entry::Ended(world.machine.end().unwrap().clone()));
    world.journal.dedup();
    assert_eq!(replay(&program, &world.journal).unwrap().end(), world.machine.end());
    assert_eq!(world.seen, ["log before"], "what came before is not done again");
    // Both attempts are told of.
    let told = named(&tell(&program, None, &world.journal, 0).unwrap());
    assert_eq!(told.iter().filter(|name| *name == "!calls PLUGIN_ERROR").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|name| *name == "-calls").count(), 1, "{told:?}");
    assert_eq!(retry(&program, None, &world.journal), Err(BranchError::NotFailed));
}

#[test]
fn what_was_read_before_a_failure_is_read_again_and_what_was_written_stays() {
    let program = flow(&rigid(&json!([
        { "kind": "memory", "op": "set", "target": "total", "value": "1" },
        { "kind": "let", "name": "read", "value": "memory.profile" },
        { "kind": "let", "name": "when", "value": "now()" },
        { "kind": "expression", "value": "10 / (read ?? 0)" },
    ])));
    let mut world = World::start(&program, &json!({}));
    assert!(matches!(world.run(&program), Step::Failed(_)));
    let cut = retry(&program, None, &world.journal).unwrap();
    let first = &world.journal[usize::try_from(cut.from).unwrap()];
    let Entry::Effect { effect, .. } = first else { panic!("{first:?}") };
    assert_eq!((effect.id, cut.again), (EffectId(1), vec![EffectId(1)]), "the write stays, both reads go");
}

#[test]
fn a_stand_is_where_it_says_it_is() {
    let program = flow(&json!([
        { "kind": "foreach", "id": "loop", "items": "[1, 2, 3]", "var": "item", "index_var": "i", "body": [
            { "kind": "rigid", "id": "inner", "statements": [{ "kind": "expression", "value": "item" }] }] },
        ask("asks"), gives("1"),
    ]));
    let mut world = World::start(&program, &json!({}));
    let (condition, mut fuel) = (expr::parse("item == 2").unwrap(), 1000);
    let stopped = world.machine.advance_until(&program, &mut fuel, &mut |stand| {
        assert_eq!(&**stand.flow, "main");
        &**stand.block == "inner" && stand.holds(&condition)
    });
    assert_eq!(stopped, None);
    let strands = world.machine.strands(&program);
    let blocks: Vec<&Arc<str>> = strands[0].frames.iter().map(|frame| &frame.block).collect();
    assert_eq!(blocks.iter().map(|block| &***block).collect::<Vec<_>>(), ["inner", "loop"]);
    assert_eq!(strands[0].locals.to_json(), json!({ "item": 2, "i": 1 }));
    let value = world.machine.evaluate(&program, 0, &expr::parse("item * 10").unwrap(), &[]).unwrap();
    assert_eq!(value, Asked::Value(scaigrid_ir::Value::Int(20)));
    let asks = world.machine.evaluate(&program, 0, &expr::parse("memory.total").unwrap(), &[]).unwrap();
    assert!(matches!(asks, Asked::Memory(read) if &*read.target == "total"));
    let refused = world.machine.evaluate(&program, 0, &expr::parse("now()").unwrap(), &[]).unwrap_err();
    assert_eq!(&*refused.code, "NOT_RECORDED");
    // It goes on as if nothing had been.
    world.run(&program);
    let seen = standing(&program, None, &world.journal).unwrap();
    assert_eq!(seen.encode(), world.machine.encode());
}
