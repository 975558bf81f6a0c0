//! How long blocks may take, and how often they are tried.

use serde_json::{Value as Json, json};

use crate::world::{World, ask, completed, expired, flow, gives, note, replays, rigid};
use scaigrid_ir::Value;
use scaigrid_runtime::{EffectId, EffectKind, Outcome, Program, Step, TimerRequest};

fn timers(world: &World) -> Vec<EffectId> {
    world.open_of("timer").into_iter().map(|effect| effect.id).collect()
}

fn fire(world: &mut World, program: &Program, timer: EffectId) -> Step {
    world.resolve(timer, Outcome::Value(Value::Datetime(0)));
    world.run(program)
}

fn code(step: &Step) -> &str {
    match step {
        Step::Failed(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

/// A block that waits in a `try` that would catch everything, and says that it was left.
fn slow(timeout: &str) -> Json {
    json!({ "kind": "match", "id": "slow", "timeout": timeout, "subject": "1", "arms": [{ "pattern": 1, "body": [
        { "kind": "try", "body": [ask("wait")], "catch": [{ "body": [note("caught")] }], "finally": [note("left")] },
        note("not reached")] }] })
}

#[test]
fn a_block_that_takes_too_long_is_left_through_its_finally_bodies() {
    let program = flow(&json!([slow("5s"), note("after")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let open = world.open();
    let EffectKind::Timer(TimerRequest::After(span)) = open[0].kind else { panic!("{open:?}") };
    assert_eq!((span.as_secs(), &*open[0].block), (5, "slow"));
    let step = fire(&mut world, &program, open[0].id);
    let Step::Failed(failure) = &step else { panic!("{step:?}") };
    assert_eq!((&*failure.code, failure.block.as_deref()), ("TIMEOUT", Some("slow")));
    assert_eq!(
        (world.seen.as_slice(), world.machine.take_abandoned()),
        (&["log left".to_owned()][..], vec![open[1].id])
    );
    replays(&program, &world);

    let program = flow(&json!([{ "kind": "try", "body": [slow("5s")],
        "catch": [{ "code": "TIMEOUT", "body": [gives("'late'")] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let timer = timers(&world)[0];
    assert_eq!(completed(&fire(&mut world, &program, timer)), json!("late"));
}

#[test]
fn a_block_that_ends_in_time_gives_up_its_timer() {
    let program = flow(&json!([slow("5s")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let (timer, wait) = (timers(&world)[0], world.open_of("checkpoint")[0].id);
    world.decide(wait, "yes");
    // Both came; the answer was first.
    world.resolve(timer, Outcome::Value(Value::Datetime(0)));
    assert!(matches!(world.run(&program), Step::Completed(_)));
    assert_eq!(world.machine.take_abandoned(), []);
    assert_eq!(world.seen, ["log left", "log not reached"]);
    replays(&program, &world);
}

#[test]
fn where_two_times_are_up_the_outer_one_has_the_last_word() {
    let body = json!([{ "kind": "try", "id": "outer", "timeout": "9s", "body": [
        { "kind": "try", "body": [{ "kind": "try", "id": "inner", "timeout": "1s", "body": [
            { "kind": "try", "body": [ask("wait")], "finally": [ask("cleaning"), note("cleaned")] }], "catch": [] }],
          "catch": [{ "code": "TIMEOUT", "body": [note("inner is late")] }] }], "catch": [{ "body": [note("no")] }] }]);
    let program = flow(&body);
    // The inner time is up, then the outer one, while the finally body still waits.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let timers = timers(&world);
    assert_eq!(fire(&mut world, &program, timers[1]), Step::Suspended);
    assert_eq!(fire(&mut world, &program, timers[0]), Step::Suspended);
    assert_eq!(&*world.open()[0].block, "cleaning", "a finally body runs whole");
    world.decide(world.pending()[0], "yes");
    let step = world.run(&program);
    assert_eq!(code(&step), "TIMEOUT");
    assert!(matches!(&step, Step::Failed(failure) if failure.block.as_deref() == Some("outer")));
    assert_eq!(world.seen, ["log cleaned"]);
    replays(&program, &world);

    // The outer one first: the inner one has nothing more to say.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(fire(&mut world, &program, timers[0]), Step::Suspended);
    assert_eq!(fire(&mut world, &program, timers[1]), Step::Suspended);
    world.decide(world.pending()[0], "yes");
    assert!(
        matches!(&world.run(&program), Step::Failed(failure) if failure.block.as_deref() == Some("outer"))
    );

    // Only the inner one.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    fire(&mut world, &program, timers[1]);
    world.decide(world.open_of("checkpoint")[0].id, "yes");
    assert!(matches!(world.run(&program), Step::Completed(_)));
    assert_eq!(world.seen, ["log cleaned", "log inner is late"]);
}

#[test]
fn a_bound_reaches_iterations_and_branches() {
    let program = flow(&json!([{ "kind": "foreach", "items": "[1, 2, 3]", "var": "i", "max_concurrent": 3,
        "timeout": "1m", "on_error": "collect", "body": [{ "kind": "parallel", "branches": [
            { "name": "a", "body": [{ "kind": "try", "body": [ask("wait")], "finally": [note("left ${i}")] }] }] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 4);
    let timer = timers(&world)[0];
    assert_eq!(code(&fire(&mut world, &program, timer)), "TIMEOUT");
    assert_eq!(world.seen, ["log left 1", "log left 2", "log left 3"]);
    assert_eq!(world.machine.take_abandoned().len(), 3);
    replays(&program, &world);
}

#[test]
fn a_bound_in_a_finally_body_leaves_that_part_only() {
    let program = flow(&json!([{ "kind": "try", "body": rigid(&json!([{ "kind": "return", "value": "1" }])),
        "finally": [{ "kind": "try", "body": [slow("5s")], "catch": [{ "code": "TIMEOUT", "body": [note("late")] }] },
            note("on")] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let timer = timers(&world)[0];
    assert_eq!(completed(&fire(&mut world, &program, timer)), json!(1));
    assert_eq!(world.seen, ["log left", "log late", "log on"]);
}

#[test]
fn checkpoints_keep_their_own_time() {
    let mut wait = ask("wait");
    wait["timeout"] = json!("1h");
    let program = flow(&json!([wait]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(timers(&world), []);
    world.resolve(world.pending()[0], expired());
    assert_eq!(code(&world.run(&program)), "CHECKPOINT_EXPIRED");
}

fn plugin(retry: &Json, timeout: Option<&str>) -> Json {
    json!({ "kind": "rigid", "id": "call", "retry": retry, "timeout": timeout, "when": "x != 1", "statements": [
        { "kind": "log", "level": "info", "message": "trying" },
        { "kind": "plugin_call", "alias": "crm", "method": "find", "result_binding": "found" },
        { "kind": "expression", "value": "found.n" }] })
}

#[test]
fn a_block_is_tried_again_after_growing_waits_and_then_fails() {
    let retry = json!({ "max": 2, "on": ["PLUGIN_TIMEOUT"], "backoff": { "initial": "2s", "factor": 3, "jitter": false } });
    let program = flow(&json!([plugin(&retry, None)]));
    let mut world = World::start(&program, &json!({}));
    for wait in [Some(2), Some(6), None] {
        assert_eq!(world.run(&program), Step::Suspended);
        world.fail(world.pending()[0], "PLUGIN_TIMEOUT");
        let step = world.run(&program);
        let Some(wait) = wait else {
            assert_eq!(code(&step), "PLUGIN_TIMEOUT");
            break;
        };
        assert_eq!(step, Step::Suspended);
        let EffectKind::Timer(TimerRequest::After(span)) = world.open()[0].kind else { panic!() };
        assert_eq!(span.as_secs(), wait);
        let timer = timers(&world)[0];
        fire(&mut world, &program, timer);
    }
    assert_eq!(world.seen, ["log trying"; 3]);
    replays(&program, &world);

    // Another code is not worth another attempt; a good answer ends it.
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_ERROR");
    assert_eq!(code(&world.run(&program)), "PLUGIN_ERROR");
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_TIMEOUT");
    world.run(&program);
    let timer = timers(&world)[0];
    fire(&mut world, &program, timer);
    world.resolve(world.pending()[0], Outcome::Value(crate::world::value(&json!({ "n": 3 }))));
    assert_eq!(completed(&world.run(&program)), json!(3));
    // A block that is skipped is not tried.
    let mut world = World::start(&program, &json!({ "x": 1 }));
    assert_eq!(completed(&world.run(&program)), json!(null));
}

#[test]
fn chance_shortens_waits_and_is_recorded() {
    let retry = json!({ "max": 1, "backoff": { "initial": "100s" } });
    let program = flow(&json!([plugin(&retry, None)]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_ERROR");
    world.run(&program);
    let drawn = world.journal.iter().any(|entry| entry.to_json()["kind"] == "random");
    let EffectKind::Timer(TimerRequest::After(span)) = world.open()[0].kind else { panic!() };
    assert!(drawn && span.as_secs() < 100, "{span:?}");
    replays(&program, &world);
}

#[test]
fn a_bound_holds_for_one_attempt() {
    let retry = json!({ "max": 1, "on": ["TIMEOUT"], "backoff": { "initial": "1s", "jitter": false } });
    let program = flow(&json!([plugin(&retry, Some("30s"))]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let first = timers(&world)[0];
    fire(&mut world, &program, first);
    let wait = timers(&world);
    assert_eq!(wait.len(), 1, "nothing bounds the wait");
    fire(&mut world, &program, wait[0]);
    assert_eq!(world.open_of("plugin_call").len(), 1);
    let second = timers(&world)[0];
    assert!(second > first);
    assert_eq!(code(&fire(&mut world, &program, second)), "TIMEOUT");
    replays(&program, &world);
}

#[test]
fn a_cancellation_ends_waits_and_attempts() {
    let retry = json!({ "max": 5, "backoff": { "jitter": false } });
    let program = flow(&json!([{ "kind": "try", "body": [plugin(&retry, Some("30s"))], "finally": [
        plugin(&retry, Some("1s"))] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.open_of("plugin_call")[0].id, "PLUGIN_ERROR");
    world.run(&program);
    world.cancel();
    assert_eq!(world.pending(), []);
    // In the finally body the call is refused, without a time and without another attempt.
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log trying", "log trying"]);
    replays(&program, &world);
}
