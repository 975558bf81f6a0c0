//! `while` and `foreach`, one iteration after the other and side by side.

use serde_json::{Value as Json, json};

use crate::world::{World, completed, decided, failure, flow, result, rigid};
use scaigrid_runtime::journal::{Entry, resume};
use scaigrid_runtime::{Failure, Outcome, ReplayError, Step};

#[test]
fn while_runs_as_long_as_its_condition_holds_and_no_longer_than_its_bound() {
    let body = json!([
        { "kind": "rigid", "statements": [{ "kind": "let", "name": "n", "value": "0" }] },
        { "kind": "while", "condition": "n < x", "max_iterations": 5, "result_binding": "last", "body": [
            { "kind": "rigid", "statements": [
                { "kind": "assign", "target": "n", "value": "n + 1" },
                { "kind": "if", "condition": "n == 4", "then": [{ "kind": "break" }] },
                { "kind": "if", "condition": "n == 2", "then": [{ "kind": "continue" }] },
                { "kind": "expression", "value": "n * 10" }] }] },
        { "kind": "rigid", "statements": [{ "kind": "expression", "value": "[n, last]" }] }
    ]);
    assert_eq!(result(&body, &json!({ "x": 0 })), json!([0, null]));
    assert_eq!(result(&body, &json!({ "x": 1 })), json!([1, 10]));
    assert_eq!(result(&body, &json!({ "x": 2 })), json!([2, null]));
    assert_eq!(result(&body, &json!({ "x": 9 })), json!([4, 30]));
    let endless =
        json!([{ "kind": "while", "id": "w", "condition": "true", "max_iterations": 5, "body": [] }]);
    let failure = failure(&endless, &json!({}));
    assert_eq!((&*failure.code, failure.block.as_deref()), ("ITERATION_LIMIT", Some("w")));
}

fn each(on_error: &str, max_concurrent: u32, statements: &Json) -> Json {
    json!([
        { "kind": "foreach", "id": "each", "items": "x", "var": "it", "index_var": "i", "on_error": on_error,
          "max_concurrent": max_concurrent, "result_binding": "all", "body": rigid(statements) },
        { "kind": "rigid", "id": "end", "statements": [{ "kind": "expression", "value": "all" }] }
    ])
}

#[test]
fn foreach_gives_a_list_in_item_order_whether_or_not_side_by_side() {
    let statements = json!([
        { "kind": "let", "name": "twice", "value": "it * 2" },
        { "kind": "if", "condition": "it == 3", "then": [{ "kind": "continue" }] },
        { "kind": "log", "level": "info", "message": "at ${i}" },
        { "kind": "expression", "value": "[i, twice]" }
    ]);
    for concurrent in [1, 2, 16] {
        let body = each("fail", concurrent, &statements);
        assert_eq!(result(&body, &json!({ "x": [1, 2, 3, 4] })), json!([[0, 2], [1, 4], null, [3, 8]]));
        assert_eq!(result(&body, &json!({ "x": [] })), json!([]));
        assert_eq!(&*failure(&body, &json!({ "x": 4 })).code, "TYPE_MISMATCH");
    }
}

#[test]
fn errors_in_iterations_fail_are_collected_or_skipped() {
    let statements = json!([
        { "kind": "if", "condition": "it == 2", "then": [{ "kind": "fail", "code": "TWO", "message": "two" }] },
        { "kind": "expression", "value": "it" }
    ]);
    let input = json!({ "x": [1, 2, 3] });
    for concurrent in [1, 2] {
        assert_eq!(&*failure(&each("fail", concurrent, &statements), &input).code, "TWO");
        assert_eq!(
            result(&each("collect", concurrent, &statements), &input),
            json!([1, { "error": { "code": "TWO", "message": "two" } }, 3])
        );
        assert_eq!(result(&each("skip", concurrent, &statements), &input), json!([1, 3]));
    }
}

#[test]
fn break_and_return_leave_a_foreach() {
    let breaking = json!([
        { "kind": "if", "condition": "it == 3", "then": [{ "kind": "break" }] }, { "kind": "expression", "value": "it" }
    ]);
    let input = json!({ "x": [1, 2, 3, 4] });
    for concurrent in [1, 2] {
        assert_eq!(result(&each("fail", concurrent, &breaking), &input), json!([1, 2]));
    }
    let returning = json!([
        { "kind": "if", "condition": "it == 3", "then": [{ "kind": "return", "value": "i" }] }
    ]);
    for concurrent in [1, 2, 4] {
        assert_eq!(result(&each("fail", concurrent, &returning), &input), json!(2));
    }
}

#[test]
fn loop_variables_end_with_the_loop_and_nest() {
    let body = json!([
        { "kind": "foreach", "items": "[1, 2]", "var": "a", "result_binding": "rows", "body": [
            { "kind": "foreach", "items": "[10, 20]", "var": "b", "max_concurrent": 2, "body": rigid(&json!([
                { "kind": "expression", "value": "a + b" }])) }] },
        { "kind": "try", "body": rigid(&json!([{ "kind": "expression", "value": "a" }])), "catch": [
            { "code": "UNKNOWN_NAME", "body": rigid(&json!([{ "kind": "expression", "value": "rows" }])) }] }
    ]);
    assert_eq!(result(&body, &json!({})), json!([[11, 21], [12, 22]]));
}

fn asking(concurrent: u32) -> Json {
    json!([
        { "kind": "foreach", "id": "each", "items": "x", "var": "it", "max_concurrent": concurrent,
          "result_binding": "all", "body": [
            { "kind": "rigid", "statements": [{ "kind": "let", "name": "mine", "value": "it * 100" }] },
            { "kind": "try", "body": [
                { "kind": "checkpoint", "checkpoint_type": "choice", "present": { "prompt": "${it}?" },
                  "result_binding": "answer" }],
              "finally": rigid(&json!([{ "kind": "log", "level": "info", "message": "left ${it}" }])) },
            { "kind": "rigid", "statements": [
                { "kind": "if", "condition": "answer.decision == 'stop'", "then": [{ "kind": "break" }] },
                { "kind": "expression", "value": "[mine, answer.decision]" }] }] },
        { "kind": "rigid", "id": "end", "statements": [{ "kind": "expression", "value": "[all, mine]" }] }
    ])
}

#[test]
fn checkpoints_side_by_side_are_answered_in_any_order() {
    let program = flow(&asking(2));
    let mut world = World::start(&program, &json!({ "x": [1, 2, 3] }));
    assert_eq!(world.run(&program), Step::Suspended);
    let [first, second] = world.pending()[..] else { panic!("two at once") };
    world.decide(second, "b");
    assert_eq!(world.run(&program), Step::Suspended);
    let third = world.pending()[1];
    assert_eq!(world.pending(), [first, third]);
    // Both answers come before the machine looks: they take effect in the order in which they came.
    world.decide(third, "c");
    world.decide(first, "a");
    assert_eq!(world.pending(), []);
    assert_eq!(
        completed(&world.run(&program)),
        json!([[[100, "a"], [200, "b"], [300, "c"]], 100]),
        "each iteration kept its own binding, and the last to end bound last"
    );
    assert_eq!(world.seen, ["log left 2", "log left 3", "log left 1"]);
}

#[test]
fn an_effect_without_a_record_is_handed_out_again() {
    let program = flow(&asking(2));
    let mut world = World::start(&program, &json!({ "x": [1, 2, 3] }));
    world.run(&program);
    let [first, second] = world.pending()[..] else { panic!("two at once") };
    let lost = world.journal.iter().position(|entry| match entry {
        Entry::Effect { effect, .. } => effect.id == first,
        _ => false,
    });
    world.journal.remove(lost.unwrap());
    let replayed = resume(&program, None, &world.journal).unwrap();
    assert_eq!(replayed.unrecorded, [first]);
    world.machine = replayed.machine;
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.pending(), [first, second]);
    assert!(matches!(world.journal.last(), Some(Entry::Effect { effect, .. }) if effect.id == first));

    // A record of something else is a divergence.
    let mut other = world.journal.clone();
    if let Some(Entry::Effect { effect, .. }) = other.last_mut() {
        effect.block = "elsewhere".into();
    }
    assert!(matches!(resume(&program, None, &other), Err(ReplayError::Diverged { seq: 2, .. })));
    assert!(matches!(resume(&program, None, &other[1..]), Err(ReplayError::NoStart { seq: 0 })));
}

#[test]
fn an_error_or_a_break_interrupts_the_iterations_under_way() {
    let program = flow(&asking(3));
    let mut world = World::start(&program, &json!({ "x": [1, 2, 3] }));
    world.run(&program);
    let [first, second, third] = world.pending()[..] else { panic!("three at once") };
    world.resolve(second, Outcome::Error(Failure::new("LOST", "lost")));
    let step = world.run(&program);
    assert!(matches!(&step, Step::Failed(failure) if &*failure.code == "LOST"), "{step:?}");
    assert_eq!(world.machine.take_abandoned(), [first, third]);
    assert_eq!(world.seen, ["log left 2", "log left 1", "log left 3"]);
    assert!(world.machine.deliver(first, Outcome::Value(decided("late"))).is_err());

    let mut world = World::start(&program, &json!({ "x": [1, 2, 3] }));
    world.run(&program);
    world.decide(world.pending()[2], "c");
    world.run(&program);
    world.decide(world.pending()[1], "stop");
    assert_eq!(completed(&world.run(&program)), json!([[[300, "c"]], 200]));
    assert_eq!(world.machine.take_abandoned(), [first]);
}

#[test]
fn a_program_that_runs_or_holds_too_much_is_ended() {
    let endless = json!([{ "kind": "while", "condition": "true", "max_iterations": 100_000, "body": [
        { "kind": "while", "condition": "true", "max_iterations": 100_000, "body": [] }] }]);
    // The inner bound ends it long before the bound on steps; with a `try` around it, it goes on to that.
    assert_eq!(&*failure(&endless, &json!({})).code, "ITERATION_LIMIT");

    let hoarding = json!([
        { "kind": "rigid", "statements": [{ "kind": "let", "name": "s", "value": "'0123456789abcdef'" }] },
        { "kind": "try", "body": [
            { "kind": "while", "condition": "true", "max_iterations": 100_000, "body": rigid(&json!([
                { "kind": "assign", "target": "s", "value": "[s, s]" }])) }],
          "catch": [{ "body": rigid(&json!([{ "kind": "expression", "value": "'caught'" }])) }] }
    ]);
    let program = flow(&hoarding);
    let mut world = World::start(&program, &json!({}));
    let step = world.run(&program);
    match step {
        Step::Completed(value) => assert_eq!(value.to_json(), json!("caught")),
        Step::Failed(failure) => assert_eq!(&*failure.code, "STATE_TOO_LARGE"),
        other => panic!("{other:?}"),
    }
    assert!(world.machine.encode().len() < 40 * 1024 * 1024);

    let spread = json!([
        { "kind": "rigid", "statements": [{ "kind": "let", "name": "s", "value": "range(2000)" }] },
        { "kind": "foreach", "items": "range(1000)", "var": "i", "body": rigid(&json!([
            { "kind": "expression", "value": "s" }])) }
    ]);
    assert_eq!(&*failure(&spread, &json!({})).code, "STATE_TOO_LARGE");
}
