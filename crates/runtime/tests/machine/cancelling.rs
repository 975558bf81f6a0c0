//! Cancellation: what still runs, and what does not.

use serde_json::{Value as Json, json};

use crate::world::{World, flow, rigid};
use scaigrid_runtime::journal::replay;
use scaigrid_runtime::{Outcome, Status, Step};

fn ask(id: &str) -> Json {
    json!({ "kind": "checkpoint", "id": id, "checkpoint_type": "approval", "present": { "prompt": "?" } })
}

fn note(text: &str) -> Json {
    json!({ "kind": "rigid", "statements": [{ "kind": "log", "level": "info", "message": text }] })
}

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
