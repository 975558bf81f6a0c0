//! Cancellation: what still runs, and what does not.

use serde_json::json;

use crate::world::{World, ask, flow, note, replays, rigid, suitable};
use scaigrid_runtime::journal::replay;
use scaigrid_runtime::{Outcome, Status, Step};

#[test]
fn finally_bodies_run_and_outside_effects_in_them_are_refused() {
    let program = flow(&json!([
        { "kind": "try", "body": [
            { "kind": "try", "body": [ask("wait")], "catch": [{ "body": [note("not caught")] }],
              "finally": [note("inner"), ask("refused"), note("not reached")] }],
          "finally": [
            { "kind": "try", "body": [ask("also")], "catch": [{ "code": "CANCELLED", "body": [note("refused")] }] },
            note("outer")] },
        note("after")
    ]));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    let open = world.pending();
    world.cancel();
    assert_eq!(world.machine.take_abandoned(), open);
    assert_eq!(world.pending(), []);
    assert!(world.machine.deliver(open[0], Outcome::Value(1.into())).is_err());
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log inner", "log refused", "log outer"]);
    assert_eq!(world.machine.status(), Status::Cancelled);
    assert_eq!(replay(&program, &world.journal).unwrap().encode(), world.machine.encode());
    assert!(!world.machine.cancel("again"));
}

#[test]
fn a_finally_under_way_goes_on_but_what_it_waits_for_outside_fails() {
    let program = flow(&json!([{ "kind": "try", "body": rigid(&json!([{ "kind": "return", "value": "1" }])),
        "finally": [
            { "kind": "try", "body": [ask("wait")], "catch": [{ "as": "e", "body": [note("caught ${e.code}")] }] },
            note("done")] }]));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    world.cancel();
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log caught CANCELLED", "log done"]);
}

#[test]
fn iterations_side_by_side_all_leave() {
    let program = flow(&json!([{ "kind": "try", "body": [
        { "kind": "foreach", "items": "[1, 2, 3]", "var": "i", "max_concurrent": 2, "on_error": "collect", "body": [
            { "kind": "try", "body": [ask("wait")], "finally": [note("left ${i}")] }] }],
        "finally": [note("end")] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 2);
    world.cancel();
    assert_eq!(world.machine.take_abandoned().len(), 2);
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log left 1", "log left 2", "log end"]);
}

#[test]
fn an_open_inside_effect_outside_of_any_finally_is_given_up() {
    let program = flow(&json!([note("one"), note("two")]));
    let mut world = World::start(&program, &json!({}));
    let mut fuel = 10;
    let Step::Effects(effects) = world.machine.advance(&program, &mut fuel) else { panic!() };
    assert_eq!(world.machine.status(), Status::Answering(effects[0].id));
    assert_eq!(world.machine.advance(&program, &mut fuel), Step::Suspended, "nothing runs while it is open");
    world.cancel();
    assert!(world.machine.deliver(effects[0].id, Outcome::Value(1.into())).is_err());
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(replay(&program, &world.journal).unwrap().encode(), world.machine.encode());
}

/// Everything that a program can wait for, in everything that it can wait in, with a `finally` that wants as much.
fn everything() -> serde_json::Value {
    let call = json!({ "kind": "core_call", "target": "core://self", "flow_name": "main", "is_async": true,
        "result_binding": "h", "timeout": "9s" });
    let parts = json!([
        call,
        { "kind": "budget", "max_tokens": 900, "max_calls": 9, "max_duration": "1h", "body": [
            { "kind": "parallel", "timeout": "1m", "max_concurrent": 2, "branches": [
                { "name": "a", "body": [
                    { "kind": "guarded", "goal": "Go.", "output_type": { "n": "int" }, "validate": "output.n > random() * 4",
                      "retry": { "max": 1 }, "budget": { "max_duration": "5s" } }] },
                { "name": "b", "body": [{ "kind": "model_call", "prompt": "Hi" }] },
                { "name": "c", "body": [ask("c"), { "kind": "try", "body": [note("c")], "finally": [note("left c")] }] }] }],
          "on_exceeded": [note("exceeded")] },
        { "kind": "await_responses", "of": ["h", { "event": "e", "filter": "data.n > 1" }, { "timer": "5m" }], "timeout": "1h" },
        { "kind": "rigid", "timeout": "3s", "retry": { "max": 1, "backoff": { "jitter": true } }, "statements": [
            { "kind": "plugin_call", "alias": "crm", "method": "find" }, { "kind": "sleep", "duration": "1s" },
            { "kind": "wait_event", "name": "e" }] }]);
    json!([{ "kind": "try", "body": parts, "finally": [
        { "kind": "try", "body": parts, "catch": [{ "as": "e", "body": [note("in the end ${e.code}")] }] }, note("end")] }])
}

#[test]
fn a_cancellation_at_any_step_ends_with_nothing_new_outside() {
    let program = flow(&everything());
    for fails in [false, true] {
        let mut world = World::start(&program, &json!({}));
        let mut cancelled = 0;
        // Each round is one step, or one answer; the cancellation is tried at each.
        for round in 0..5_000 {
            let mut other = world.clone();
            let asked = other.machine.next_effect();
            other.cancel();
            assert_eq!(other.pending(), []);
            assert_eq!(other.run(&program), Step::Cancelled, "after {round} rounds");
            let outside = other.journal.iter().map(scaigrid_runtime::journal::Entry::to_json).any(|entry| {
                entry["effect"].as_u64().is_some_and(|id| id >= u64::from(asked.0))
                    && entry["type"] == "effect"
                    && !["log", "now", "uuid", "random", "memory", "emit"]
                        .contains(&entry["kind"].as_str().unwrap())
            });
            assert!(!outside, "after {round} rounds");
            replays(&program, &other);
            cancelled += 1;

            let mut fuel = 1;
            match world.machine.advance(&program, &mut fuel) {
                Step::Effects(effects) => effects.into_iter().for_each(|effect| world.see(effect)),
                Step::OutOfFuel => {}
                Step::Suspended => {
                    let open = world.open();
                    let effect = &open[round % open.len()];
                    if fails && round % 3 == 0 {
                        world.fail(effect.id, "OWN");
                    } else {
                        world.resolve(effect.id, suitable(&effect.kind, "yes"));
                    }
                }
                _ => break,
            }
        }
        assert!(world.machine.end().is_some() && cancelled > 50, "{cancelled}");
    }
}
