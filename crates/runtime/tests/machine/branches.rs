//! `parallel`, and checkpoints that wait side by side.

use serde_json::json;

use crate::world::{World, ask, completed, expired, flow, gives, note, replays, result, rigid};
use scaigrid_runtime::{Machine, Outcome, Step};

#[test]
fn branches_run_beside_each_other_and_give_a_map() {
    let body = json!([
        { "kind": "rigid", "statements": [{ "kind": "let", "name": "base", "value": "10" }] },
        { "kind": "parallel", "result_binding": "all", "branches": [
            { "name": "one", "body": rigid(&json!([{ "kind": "let", "name": "own", "value": "base + 1" },
                { "kind": "expression", "value": "own" }])) },
            { "name": "two", "body": rigid(&json!([{ "kind": "fail", "code": "OOPS", "message": "no" }])) },
            { "name": "three", "body": [] }] },
        gives("[all, all.one + base]")]);
    assert_eq!(
        result(&body, &json!({})),
        json!([{ "one": 11, "two": { "error": { "code": "OOPS", "message": "no" } }, "three": null }, 21])
    );
    assert_eq!(result(&json!([{ "kind": "parallel", "branches": [] }]), &json!({})), json!({}));
}

#[test]
fn branches_read_the_flow_and_bind_only_for_themselves() {
    let after = |statement: serde_json::Value| {
        let body = json!([
            { "kind": "rigid", "statements": [{ "kind": "let", "name": "base", "value": "1" }] },
            { "kind": "parallel", "fail_fast": true, "branches": [{ "name": "one", "body": rigid(&json!([statement])) }] },
            gives("base")]);
        let program = flow(&body);
        match World::start(&program, &json!({ "x": 1 })).run(&program) {
            Step::Completed(value) => value.to_json(),
            Step::Failed(failure) => json!(&*failure.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(after(json!({ "kind": "let", "name": "base", "value": "2" })), json!(1));
    assert_eq!(after(json!({ "kind": "assign", "target": "base", "value": "2" })), json!("READ_ONLY"));
    assert_eq!(after(json!({ "kind": "assign", "target": "x", "value": "2" })), json!("READ_ONLY"));
    assert_eq!(after(json!({ "kind": "break" })), json!("OUTSIDE_LOOP"));
    assert_eq!(after(json!({ "kind": "return", "value": "7" })), json!(7), "a return ends the flow");
}

#[test]
fn only_so_many_branches_run_at_once() {
    let branch = |name: &str| json!({ "name": name, "body": [ask(name)] });
    let program = flow(&json!([{ "kind": "parallel", "max_concurrent": 2,
        "branches": [branch("a"), branch("b"), branch("c")] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 2);
    world.decide(world.pending()[1], "b");
    world.run(&program);
    let open: Vec<_> = world.open().iter().map(|effect| effect.block.to_string()).collect();
    assert_eq!(open, ["a", "c"]);
    world.decide(world.pending()[1], "c");
    world.run(&program);
    world.decide(world.pending()[0], "a");
    let all = completed(&world.run(&program));
    assert_eq!([&all["a"]["decision"], &all["b"]["decision"], &all["c"]["decision"]], ["a", "b", "c"]);
    replays(&program, &world);
}

#[test]
fn the_first_error_ends_the_others_where_the_program_says_so() {
    let program = |fail_fast: bool| {
        flow(&json!([{ "kind": "parallel", "fail_fast": fail_fast, "branches": [
            { "name": "a", "body": [{ "kind": "try", "body": [ask("a")], "finally": [note("left a")] }] },
            { "name": "b", "body": [ask("b")] }] }]))
    };
    let fast = program(true);
    let mut world = World::start(&fast, &json!({}));
    world.run(&fast);
    let open = world.pending();
    world.resolve(open[1], expired());
    assert!(matches!(&world.run(&fast), Step::Failed(failure) if &*failure.code == "CHECKPOINT_EXPIRED"));
    assert_eq!(
        (world.seen.as_slice(), world.machine.take_abandoned()),
        (&["log left a".to_owned()][..], vec![open[0]])
    );
    replays(&fast, &world);

    let slow = program(false);
    let mut world = World::start(&slow, &json!({}));
    world.run(&slow);
    let open = world.pending();
    world.resolve(open[1], expired());
    assert_eq!(world.run(&slow), Step::Suspended);
    world.decide(open[0], "fine");
    let all = completed(&world.run(&slow));
    assert_eq!(
        (&all["a"]["decision"], &all["b"]["error"]["code"]),
        (&json!("fine"), &json!("CHECKPOINT_EXPIRED"))
    );
}

#[test]
fn checkpoints_side_by_side_are_answered_in_reverse() {
    let branches: Vec<_> =
        (0..5).map(|n| json!({ "name": format!("b{n}"), "body": [ask(&format!("c{n}"))] })).collect();
    let program = flow(&json!([{ "kind": "parallel", "branches": branches }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    for effect in world.open().into_iter().rev() {
        world.machine = Machine::decode(&world.machine.encode()).unwrap();
        world.decide(effect.id, &effect.block);
        world.run(&program);
    }
    let Some(scaigrid_runtime::End::Completed(all)) = world.machine.end() else { panic!() };
    let all = all.to_json();
    for n in 0..5 {
        assert_eq!(all[format!("b{n}")]["decision"], json!(format!("c{n}")));
    }
    replays(&program, &world);
}

#[test]
fn a_checkpoint_in_a_branch_in_a_loop_in_a_try_with_finally() {
    let program = flow(&json!([{ "kind": "try", "body": [
        { "kind": "foreach", "items": "[1, 2]", "var": "i", "max_concurrent": 2, "result_binding": "all", "body": [
            { "kind": "parallel", "branches": [
                { "name": "asked", "body": [{ "kind": "try", "body": [ask("wait")], "finally": [note("left ${i}")] }] },
                { "name": "plain", "body": [gives("i")] }] }] },
        gives("all")],
        "finally": [note("end"), ask("last")] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 2);
    for id in world.pending().into_iter().rev() {
        world.decide(id, "yes");
        world.run(&program);
    }
    assert_eq!(world.seen, ["log left 2", "log left 1", "log end"]);
    world.decide(world.pending()[0], "yes");
    let all = completed(&world.run(&program));
    assert_eq!((&all[0]["plain"], &all[1]["asked"]["decision"]), (&json!(1), &json!("yes")));
    replays(&program, &world);

    // The same, cancelled while all wait.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.cancel();
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log left 1", "log left 2", "log end"]);
    replays(&program, &world);
}

#[test]
fn a_return_in_a_branch_ends_the_flow_and_gives_up_the_others() {
    let program = flow(&json!([{ "kind": "parallel", "branches": [
        { "name": "a", "body": [ask("a"), { "kind": "rigid", "statements": [{ "kind": "return", "value": "'done'" }] }] },
        { "name": "b", "body": [ask("b")] }] }, note("not reached")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let open = world.pending();
    world.resolve(open[0], Outcome::Value(1.into()));
    assert_eq!(completed(&world.run(&program)), json!("done"));
    assert_eq!((world.machine.take_abandoned(), world.seen.len()), (vec![open[1]], 0));
    replays(&program, &world);
}
