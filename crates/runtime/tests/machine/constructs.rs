//! Each construct of the language, as far as it is not a loop or memory.

use serde_json::json;

use crate::world::{
    World, begin, completed, decided, expired, failure, flow, gives, program, replays, result, rigid, value,
};
use scaigrid_runtime::journal::{Entry, decode_chunk, encode_chunk};
use scaigrid_runtime::{EffectId, EffectKind, Expense, Failure, Machine, Outcome, Status, Step};

#[test]
fn statements_bind_assign_branch_and_return() {
    let body = rigid(&json!([
        { "kind": "let", "name": "a", "value": "{n: 1, list: [1, 2]}" },
        { "kind": "assign", "target": "a.n", "value": "a.n + x" },
        { "kind": "assign", "target": "a.list[1]", "value": "a.n * 10" },
        { "kind": "assign", "target": "x", "value": "x + 1" },
        { "kind": "if", "condition": "a.n > 5",
          "then": [{ "kind": "return", "value": "['big', a, x, input.x]" }],
          "else": [{ "kind": "expression", "value": "['small', a, x, input.x]" }] }
    ]));
    assert_eq!(result(&body, &json!({ "x": 9 })), json!(["big", { "n": 10, "list": [1, 100] }, 10, 9]));
    assert_eq!(result(&body, &json!({ "x": 1 })), json!(["small", { "n": 2, "list": [1, 20] }, 2, 1]));
}

#[test]
fn what_is_always_in_scope() {
    let body = rigid(&json!([{ "kind": "expression", "value":
        "[config.limit, config.key ?? 'hidden', reference.rates.high, identity.name, execution.id, execution.flow, \
         execution.trigger.kind, env.REGION, input.x]" }]));
    let program = flow(&body);
    let mut start = begin("main", &json!({ "x": 3 }));
    start.config = value(&json!({ "key": "s3cret" }));
    let step = World::start_with(&program, start).run(&program);
    assert_eq!(completed(&step), json!([10, "hidden", 21, "Ada", "exec_1", "main", "api", "eu", 3]));
}

#[test]
fn a_block_is_skipped_unless_its_condition_is_true() {
    let body = json!([
        { "kind": "rigid", "when": "x", "result_binding": "y", "statements": [
            { "kind": "expression", "value": "'ran'" }] },
        { "kind": "rigid", "statements": [{ "kind": "expression", "value": "[y]" }] }
    ]);
    assert_eq!(result(&body, &json!({ "x": true })), json!(["ran"]));
    for skipped in [json!(false), json!(null), json!(1)] {
        assert_eq!(result(&body, &json!({ "x": skipped })), json!([null]));
    }
}

#[test]
fn match_takes_the_first_arm_that_fits_and_its_guard() {
    let body = json!([{ "kind": "match", "subject": "x", "arms": [
        { "pattern": 1, "body": rigid(&json!([{ "kind": "expression", "value": "'one'" }])) },
        { "pattern": { "kind": "bind", "name": "n" }, "guard": "type_of(n) == 'int' && n > 10",
          "body": rigid(&json!([{ "kind": "expression", "value": "n + 1" }])) },
        { "pattern": { "status": "'open'" }, "body": rigid(&json!([{ "kind": "expression", "value": "'open'" }])) },
        { "pattern": "string", "body": rigid(&json!([{ "kind": "expression", "value": "'text'" }])) }
    ] }]);
    assert_eq!(result(&body, &json!({ "x": 1 })), json!("one"));
    assert_eq!(result(&body, &json!({ "x": 11 })), json!(12));
    assert_eq!(result(&body, &json!({ "x": { "status": "open", "more": 1 } })), json!("open"));
    assert_eq!(result(&body, &json!({ "x": "hello" })), json!("text"));
    assert_eq!(&*failure(&body, &json!({ "x": 5 })).code, "NO_MATCH");

    let mut with_else = body.clone();
    with_else[0]["else"] = rigid(&json!([{ "kind": "expression", "value": "'else'" }]));
    assert_eq!(result(&with_else, &json!({ "x": 5 })), json!("else"));
}

#[test]
fn failures_say_where_and_can_be_caught_by_code() {
    let failing = rigid(&json!([{ "kind": "fail", "code": "NO_${x}", "message": "no ${x} here" }]));
    let uncaught = failure(&failing, &json!({ "x": "CAKE" }));
    assert_eq!((&*uncaught.code, &*uncaught.message), ("NO_CAKE", "no CAKE here"));
    assert_eq!(uncaught.block.as_deref(), Some("r"));
    assert_eq!(uncaught.pointer.as_deref(), Some("/flows/0/body/0/statements/0"));

    let body = json!([{ "kind": "try", "body": failing, "catch": [
        { "code": "NO_TEA", "body": rigid(&json!([{ "kind": "expression", "value": "'tea'" }])) },
        { "code": "NO_CAKE", "as": "problem",
          "body": [{ "kind": "rigid", "id": "h", "statements": [{ "kind": "expression", "value": "problem" }] }] }
    ] }]);
    assert_eq!(result(&body, &json!({ "x": "TEA" })), json!("tea"));
    assert_eq!(
        result(&body, &json!({ "x": "CAKE" })),
        json!({ "code": "NO_CAKE", "message": "no CAKE here", "block": "r" })
    );
    assert_eq!(&*failure(&body, &json!({ "x": "MILK" })).code, "NO_MILK");
    let computed = rigid(&json!([{ "kind": "let", "name": "y", "value": "1 / 0" }]));
    assert_eq!(&*failure(&computed, &json!({})).code, "DIVISION_BY_ZERO");
}

#[test]
fn finally_runs_however_the_body_is_left() {
    let body = json!([
        { "kind": "while", "condition": "true", "max_iterations": 3, "body": [
            { "kind": "try",
              "body": rigid(&json!([
                { "kind": "if", "condition": "x == 'break'", "then": [{ "kind": "break" }] },
                { "kind": "if", "condition": "x == 'return'", "then": [{ "kind": "return", "value": "'returned'" }] },
                { "kind": "if", "condition": "x == 'fail'", "then": [{ "kind": "fail", "code": "OOPS" }] },
                { "kind": "break" }
              ])),
              "catch": [{ "code": "OTHER", "body": [] }],
              "finally": [{ "kind": "rigid", "id": "f", "statements": [
                { "kind": "log", "level": "info", "message": "left ${x}" }] }] }
        ] },
        { "kind": "rigid", "id": "after", "statements": [{ "kind": "expression", "value": "'after'" }] }
    ]);
    let program = flow(&body);
    for (how, expected) in [("break", Some("after")), ("return", Some("returned")), ("fail", None)] {
        let mut world = World::start(&program, &json!({ "x": how }));
        let step = world.run(&program);
        match expected {
            Some(text) => assert_eq!(completed(&step), json!(text)),
            None => assert!(matches!(&step, Step::Failed(failure) if &*failure.code == "OOPS"), "{step:?}"),
        }
        assert_eq!(world.seen, [format!("log left {how}")]);
    }
}

#[test]
fn a_finally_that_fails_has_the_last_word() {
    let body = json!([{ "kind": "try",
        "body": rigid(&json!([{ "kind": "return", "value": "1" }])),
        "finally": [{ "kind": "rigid", "id": "f", "statements": [{ "kind": "fail", "code": "LATE" }] }] }]);
    assert_eq!(&*failure(&body, &json!({})).code, "LATE");
}

#[test]
fn a_checkpoint_waits_and_its_response_body_runs_before_the_flow_goes_on() {
    let body = json!([
        { "kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "label": "Ask ${x}",
          "present": { "prompt": "May I, ${x}?", "payload": "{who: x}" }, "options": ["yes", "no"],
          "assignee": "user:${x}", "priority": "critical", "timeout": "2h", "on_timeout": "escalate",
          "escalation_target": "role:boss", "result_binding": "answer",
          "on_response": { "yes": rigid(&json!([
            { "kind": "log", "level": "info", "message": "said ${answer.decision}" }])) } },
        { "kind": "rigid", "id": "end", "statements": [{ "kind": "expression", "value": "answer.comment" }] }
    ]);
    let program = flow(&body);
    let mut world = World::start(&program, &json!({ "x": "Bo" }));
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.machine.status(), Status::Suspended { pending: 1 });
    let effect = world.machine.pending()[0].clone();
    let EffectKind::Checkpoint(request) = &effect.kind else { panic!("{effect:?}") };
    assert_eq!((&*request.prompt, request.assignee.as_deref()), ("May I, Bo?", Some("user:Bo")));
    assert_eq!(
        (request.label.as_deref(), request.escalation_target.as_deref()),
        (Some("Ask Bo"), Some("role:boss"))
    );
    assert_eq!(request.timeout, Some(std::time::Duration::from_hours(2)));
    assert_eq!(request.payload, value(&json!({ "who": "Bo" })));
    assert_eq!(&*effect.block, "ask");

    world.decide(effect.id, "yes");
    assert!(
        world.machine.deliver(effect.id, Outcome::Value(decided("no"))).is_err(),
        "a second answer loses"
    );
    assert_eq!(completed(&world.run(&program)), json!("fine"));
    assert_eq!(world.seen, ["log said yes"]);
}

#[test]
fn an_expired_checkpoint_is_an_error_that_can_be_caught() {
    let ask = json!({ "kind": "checkpoint", "id": "ask", "checkpoint_type": "approval",
        "present": { "prompt": "Well?" } });
    let program = flow(&json!([{ "kind": "try", "body": [ask], "catch": [
        { "code": "CHECKPOINT_EXPIRED", "as": "e",
          "body": rigid(&json!([{ "kind": "expression", "value": "e.block" }])) }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.pending()[0], expired());
    assert_eq!(completed(&world.run(&program)), json!("ask"));
}

#[test]
fn a_core_call_gives_its_value() {
    let program =
        flow(&json!([{ "kind": "core_call", "id": "c", "target": "core://self", "flow_name": "main",
        "input_bindings": { "x": "x + 1" } }]));
    let mut world = World::start(&program, &json!({ "x": 1 }));
    assert_eq!(world.run(&program), Step::Suspended);
    let effect = world.machine.pending()[0].clone();
    let EffectKind::CoreCall(request) = &effect.kind else { panic!("{effect:?}") };
    assert_eq!(request.input, value(&json!({ "x": 2 })));
    world.resolve(effect.id, Outcome::Value(value(&json!([1]))));
    assert_eq!(completed(&world.run(&program)), json!([1]));
}

#[test]
fn a_call_that_fails_fails_where_it_stands_and_names_its_cause() {
    let call = json!({ "kind": "core_call", "id": "c", "target": "core://self", "flow_name": "main" });
    let arose = Failure {
        block: Some("deep".into()),
        pointer: Some("/flows/7/body/0".into()),
        spent: Some(Box::new(Expense { tokens: 1, cost: 2.into() })),
        ..Failure::new("BROKEN", "x".repeat(2000))
    };
    // It is passed on through many executions, and not all of them are kept.
    let mut told = arose.told_to_caller("core_0", "exec_0");
    for execution in 1..9 {
        let here = Failure { block: Some("c".into()), pointer: Some("/flows/0/body/0".into()), ..told };
        told = here.told_to_caller(&format!("core_{execution}"), &format!("exec_{execution}"));
    }
    assert_eq!((&told.block, &told.pointer, &told.spent), (&None, &None, &None));

    let program = flow(&json!([call]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.pending()[0], Outcome::Error(told.clone()));
    let Step::Failed(failure) = world.run(&program) else { panic!() };
    assert_eq!((&*failure.code, failure.block.as_deref()), ("BROKEN", Some("c")));
    assert_eq!(failure.pointer.as_deref(), Some("/flows/0/body/0"));
    let shown = failure.to_json();
    let cause = &shown["cause"];
    assert_eq!((&cause["core_id"], &cause["execution_id"]), (&json!("core_8"), &json!("exec_8")));
    assert_eq!((&cause["code"], &cause["block"]), (&json!("BROKEN"), &json!("c")));
    assert_eq!(cause["message"].as_str().unwrap().len(), 1000);
    let depth = std::iter::successors(Some(cause), |cause| cause.get("cause")).count();
    assert_eq!(depth, 4);
    // Written and read again it is the same, whatever else is there.
    for spent in [None, arose.spent.clone()] {
        let outcome = Outcome::Error(Failure { spent, ..told.clone() });
        let entries = [Entry::Outcome { id: EffectId(0), outcome }];
        assert_eq!(decode_chunk(&encode_chunk(&entries)).unwrap(), entries);
    }
    replays(&program, &world);

    // A program is told what it always was.
    let caught = json!([{ "kind": "try", "body": [call],
        "catch": [{ "code": "BROKEN", "as": "error", "body": [gives("error")] }] }]);
    let program = flow(&caught);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.pending()[0], Outcome::Error(Failure { message: "no".into(), ..told }));
    assert_eq!(completed(&world.run(&program)), json!({ "code": "BROKEN", "message": "no", "block": "c" }));
}

#[test]
fn recorded_values_are_asked_for_once_each() {
    let program = flow(&rigid(&json!([
        { "kind": "let", "name": "ids", "value": "[uuid(), uuid()]" },
        { "kind": "expression", "value": "ids[0] != ids[1] && random() < 1 && (now() == now()) == false" }
    ])));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(completed(&world.run(&program)), json!(true));
    let kinds = world.journal.iter().filter_map(|entry| match entry {
        scaigrid_runtime::journal::Entry::Effect { effect, .. } => Some(effect.kind.name()),
        _ => None,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["uuid", "uuid", "random", "now", "now"]);
}

#[test]
fn input_is_checked_converted_and_completed() {
    let program = program(&json!({
        "schema_version": "0.2", "name": "Test", "version": "1.0.0",
        "types": { "Line": { "label": "string", "amount": "int" } },
        "flows": [{ "name": "main", "returns": "int", "params": [
            { "name": "lines", "type": "array[Line]" }, { "name": "due", "type": "date" },
            { "name": "note", "type": "string?" }, { "name": "count", "type": "int", "default": 3 }
        ], "body": rigid(&json!([{ "kind": "expression", "value": "if note == null then count else note" }])) }]
    }));
    let good = json!({ "lines": [{ "label": "a", "amount": 1 }], "due": "2026-01-31" });
    let mut world = World::start(&program, &good);
    assert_eq!(completed(&world.run(&program)), json!(3));

    let mut noted = good.clone();
    noted["note"] = json!("text");
    let step = World::start(&program, &noted).run(&program);
    assert!(matches!(&step, Step::Failed(failure) if &*failure.code == "OUTPUT_INVALID"), "{step:?}");

    let bad = json!({ "lines": [{ "label": "a", "amount": "many" }], "count": 3 });
    let refused = Machine::start(&program, begin("main", &bad)).unwrap_err();
    assert_eq!(&*refused.code, "INPUT_INVALID");
    let mut paths: Vec<&str> = refused.details.iter().map(|detail| detail.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["due", "lines[0].amount"]);
    assert_eq!(&*Machine::start(&program, begin("main", &json!([]))).unwrap_err().code, "INPUT_INVALID");
    assert_eq!(&*Machine::start(&program, begin("nowhere", &good)).unwrap_err().code, "FLOW_NOT_FOUND");
}

#[test]
fn fuel_stops_a_machine_and_more_of_it_lets_it_go_on() {
    let program = flow(&rigid(&json!([
        { "kind": "let", "name": "a", "value": "1" },
        { "kind": "let", "name": "b", "value": "a + 1" },
        { "kind": "expression", "value": "a + b" }
    ])));
    let mut machine = Machine::start(&program, begin("main", &json!({}))).unwrap();
    let mut calls = 0;
    let step = loop {
        let mut fuel = 1;
        calls += 1;
        match machine.advance(&program, &mut fuel) {
            Step::OutOfFuel => assert_eq!(fuel, 0),
            step => break step,
        }
    };
    assert_eq!(completed(&step), json!(3));
    assert!(calls > 3, "{calls}");
    assert_eq!(machine.variables(&program).to_json(), json!({ "x": null, "a": 1, "b": 2 }));
}

#[test]
fn a_state_of_another_program_fails_and_does_not_panic() {
    let big = flow(&json!([
        { "kind": "rigid", "statements": [{ "kind": "if", "condition": "true", "then": [
            { "kind": "log", "level": "info", "message": "x" }] }] }
    ]));
    let small = program(&json!({ "schema_version": "0.2", "name": "T", "version": "1.0.0",
        "flows": [{ "name": "main", "body": [] }] }));
    let mut machine = Machine::start(&big, begin("main", &json!({}))).unwrap();
    let mut fuel = 100;
    let Step::Effects(effects) = machine.advance(&big, &mut fuel) else { panic!() };
    machine.deliver(effects[0].id, Outcome::Value(value(&json!(null)))).unwrap();
    let step = machine.advance(&small, &mut fuel);
    assert!(matches!(&step, Step::Failed(Failure { code, .. }) if &**code == "STATE_MISMATCH"), "{step:?}");
}

#[test]
fn the_deepest_value_that_a_program_can_make_is_one_that_can_be_stored() {
    let program = flow(&json!([
        { "kind": "rigid", "statements": [{ "kind": "let", "name": "s", "value": "0" }] },
        { "kind": "try", "body": [
            { "kind": "while", "condition": "true", "max_iterations": 1000, "body": rigid(&json!([
                { "kind": "assign", "target": "s", "value": "[s]" }])) }],
          "catch": [{ "code": "EVALUATION_LIMIT", "body": [] }] },
        { "kind": "try", "body": [
            { "kind": "foreach", "items": "s", "var": "it", "result_binding": "again", "body": rigid(&json!([
                { "kind": "expression", "value": "s" }])) }],
          "catch": [{ "code": "EVALUATION_LIMIT", "body": rigid(&json!([
            { "kind": "emit", "event": "deep", "data": "s" }])) }] },
        { "kind": "checkpoint", "checkpoint_type": "t", "present": { "prompt": "?", "payload": "s" } }
    ]));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.seen.len(), 1, "a list of it would be too deep");
    let bytes = world.machine.encode();
    assert_eq!(Machine::decode(&bytes).unwrap().encode(), bytes);
    let journal = scaigrid_runtime::journal::encode_chunk(&world.journal);
    assert_eq!(scaigrid_runtime::journal::decode_chunk(&journal).unwrap(), world.journal);

    let mut nested = json!(1);
    for _ in 0..scaigrid_ir::value::MAX_DEPTH {
        nested = json!([nested]);
    }
    let mut start = begin("main", &json!({}));
    start.context.trigger = value(&nested);
    assert_eq!(&*Machine::start(&program, start).unwrap_err().code, "INPUT_INVALID");
}

#[test]
fn nesting_in_foreign_bytes_is_followed_only_so_far() {
    for byte in [0x91_u8, 0x81, 0xdd] {
        let mut bytes = vec![byte; 1_000_000];
        bytes[0] = 1;
        assert!(Machine::decode(&bytes).is_err());
        assert!(scaigrid_runtime::journal::decode_chunk(&bytes).is_err());
    }
}
