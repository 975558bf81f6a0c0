//! Plugins, times, events and answers to calls, waited for one by one and together.

use serde_json::json;

use crate::world::{World, completed, decided, failure, flow, gives, note, replays, result, rigid, value};
use scaigrid_ir::Value;
use scaigrid_runtime::{EffectKind, Machine, Outcome, Step, TimerRequest};
use std::time::Duration;

#[test]
fn a_plugin_call_carries_its_arguments_and_binds_its_result() {
    let program = flow(&json!([{ "kind": "rigid", "id": "r", "timeout": "20s", "statements": [
        { "kind": "plugin_call", "alias": "crm", "method": "find", "args": { "id": "x", "fixed": "'a'" },
          "result_binding": "found" },
        { "kind": "expression", "value": "found.name" }] }]));
    let mut world = World::start(&program, &json!({ "x": 7 }));
    assert_eq!(world.run(&program), Step::Suspended);
    let call = world.open_of("plugin_call").remove(0);
    let EffectKind::PluginCall(request) = &call.kind else { panic!("{call:?}") };
    assert_eq!((&*request.alias, &*request.method), ("crm", "find"));
    assert_eq!(request.args, value(&json!({ "id": 7, "fixed": "a" })));
    assert_eq!((request.timeout, request.approved_by), (Some(Duration::from_secs(20)), None));
    assert_eq!(&*call.pointer, "/flows/0/body/0/statements/0");
    let timer = world.open_of("timer").remove(0).id;
    world.resolve(call.id, Outcome::Value(value(&json!({ "name": "Kim" }))));
    assert_eq!(completed(&world.run(&program)), json!("Kim"));
    assert_eq!(world.machine.take_abandoned(), [timer], "the block's time is given up with it");
    replays(&program, &world);

    let bare = rigid(&json!([{ "kind": "plugin_call", "alias": "crm", "method": "find", "args": "x" }]));
    assert_eq!(&*failure(&bare, &json!({ "x": 7 })).code, "TYPE_MISMATCH");
    let program = flow(&json!([{ "kind": "try", "body": rigid(&json!([
        { "kind": "plugin_call", "alias": "crm", "method": "find" }])),
        "catch": [{ "code": "PLUGIN_TIMEOUT", "as": "e", "body": [gives("e.block")] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let EffectKind::PluginCall(request) = &world.open()[0].kind else { panic!() };
    assert_eq!(request.args, value(&json!({})));
    world.fail(world.pending()[0], "PLUGIN_TIMEOUT");
    assert_eq!(completed(&world.run(&program)), json!("r"));
}

#[test]
fn sleeps_are_spans_or_instants() {
    let sleep = |statement: serde_json::Value| {
        let program = flow(&rigid(&json!([statement])));
        let mut world = World::start(&program, &json!({ "x": 2 }));
        match world.run(&program) {
            Step::Suspended => {
                let EffectKind::Timer(request) = world.open()[0].kind else { panic!() };
                world.resolve(world.pending()[0], Outcome::Value(Value::Datetime(9_000_000)));
                assert_eq!(completed(&world.run(&program)), json!("1970-01-01T00:00:09Z"));
                Ok(request)
            }
            Step::Failed(failure) => Err(failure.code.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let after = |seconds| Ok(TimerRequest::After(Duration::from_secs(seconds)));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "1h30m" })), after(5400));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "x * 5s" })), after(10));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "'2m'" })), after(120));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "0s - 5s" })), after(0));
    let until = |micros| Ok(TimerRequest::Until(micros));
    assert_eq!(
        sleep(json!({ "kind": "sleep", "until": "'2026-01-01T00:00:00Z'" })),
        until(1_767_225_600_000_000)
    );
    assert_eq!(
        sleep(json!({ "kind": "sleep", "until": "date('2026-01-01')" })),
        until(1_767_225_600_000_000)
    );
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "x" })), Err("TYPE_MISMATCH".to_owned()));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "'soon'" })), Err("INVALID_VALUE".to_owned()));
    assert_eq!(sleep(json!({ "kind": "sleep", "duration": "99999w" })), Err("INVALID_VALUE".to_owned()));
}

#[test]
fn events_are_waited_for_with_a_filter_over_what_was_known_then() {
    let program = flow(&json!([{ "kind": "rigid", "statements": [
        { "kind": "let", "name": "least", "value": "x" },
        { "kind": "wait_event", "name": "paid.${x}", "timeout": "2h", "result_binding": "got",
          "filter": "event.starts_with('paid') && data.amount >= least && reference.rates.low == 9" },
        { "kind": "expression", "value": "got.data.amount" }] }]));
    let mut world = World::start(&program, &json!({ "x": 5 }));
    world.run(&program);
    let effect = world.open().remove(0);
    let EffectKind::WaitEvent(request) = &effect.kind else { panic!("{effect:?}") };
    assert_eq!((&*request.name, request.filtered), ("paid.5", true));
    assert_eq!(
        (&request.captured, request.timeout),
        (&value(&json!({ "least": 5 })), Some(Duration::from_hours(2)))
    );
    let passes = |data: serde_json::Value| {
        program.event_passes(&effect.pointer, &request.captured, &request.name, &value(&data))
    };
    assert!(passes(json!({ "amount": 5 })));
    assert!(!passes(json!({ "amount": 4 })));
    assert!(!passes(json!({ "amount": "many" })), "an error does not pass");
    assert!(!passes(json!(null)));
    assert!(
        program.event_passes("/elsewhere", &Value::Null, "e", &Value::Null),
        "no filter takes everything"
    );
    world.resolve(effect.id, Outcome::Value(value(&json!({ "event": "paid.5", "data": { "amount": 6 } }))));
    assert_eq!(completed(&world.run(&program)), json!(6));
}

fn call(name: &str, x: &str) -> serde_json::Value {
    json!({ "kind": "core_call", "target": "core://self", "flow_name": "main", "input_bindings": { "x": x },
        "is_async": true, "result_binding": name })
}

#[test]
fn asynchronous_calls_go_on_and_their_answers_are_joined_in_order() {
    let program = flow(&json!([call("a", "1"), call("b", "2"), note("on ${a.handle} ${b.flow_name}"),
        { "kind": "await_responses", "of": ["b", "a"], "result_binding": "all" }, gives("[all, a.target]")]));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.seen, ["log on 0 main"]);
    let open = world.pending();
    assert_eq!(open.len(), 2);
    world.resolve(open[0], Outcome::Value(1.into()));
    assert_eq!(world.run(&program), Step::Suspended);
    let bytes = world.machine.encode();
    world.machine = Machine::decode(&bytes).unwrap();
    assert!(world.machine.deliver(open[0], Outcome::Value(1.into())).is_err(), "it has its answer");
    world.fail(open[1], "CALL_CANCELLED");
    assert_eq!(
        completed(&world.run(&program)),
        json!([[{ "error": { "code": "CALL_CANCELLED", "message": "it failed" } }, 1], "core://self"])
    );
    assert_eq!(world.machine.take_abandoned(), []);
    replays(&program, &world);
}

#[test]
fn answers_that_came_before_they_are_awaited_are_kept_and_given_again() {
    let program = flow(&json!([call("a", "1"),
        { "kind": "rigid", "statements": [{ "kind": "sleep", "duration": "1s" }] },
        { "kind": "await_responses", "of": "[a]", "result_binding": "first" },
        { "kind": "await_responses", "of": ["a", "a"], "result_binding": "again" }, gives("[first, again]")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.open_of("core_call")[0].id, Outcome::Value(5.into()));
    assert_eq!(world.run(&program), Step::Suspended);
    world.resolve(world.pending()[0], Outcome::Value(Value::Datetime(0)));
    assert_eq!(completed(&world.run(&program)), json!([[5], [5, 5]]));
}

#[test]
fn the_first_answer_is_enough_and_what_else_was_waited_for_is_closed() {
    let program = flow(&json!([call("a", "1"),
        { "kind": "await_responses", "id": "w", "mode": "any", "result_binding": "got",
          "of": ["a", { "event": "paid", "filter": "data.n > x" }, { "timer": "5m" }] },
        gives("got")]));
    let mut world = World::start(&program, &json!({ "x": 3 }));
    world.run(&program);
    let open = world.open();
    let kinds: Vec<&str> = open.iter().map(|effect| effect.kind.name()).collect();
    assert_eq!(kinds, ["core_call", "wait_event", "timer"]);
    assert_eq!(&*open[1].pointer, "/flows/0/body/1/of/1");
    let EffectKind::WaitEvent(request) = &open[1].kind else { panic!() };
    assert!(program.event_passes(&open[1].pointer, &request.captured, "paid", &value(&json!({ "n": 4 }))));
    assert!(!program.event_passes(&open[1].pointer, &request.captured, "paid", &value(&json!({ "n": 3 }))));
    world.resolve(open[2].id, Outcome::Value(Value::Datetime(1_000_000)));
    assert_eq!(completed(&world.run(&program)), json!([null, null, "1970-01-01T00:00:01Z"]));
    let mut abandoned = world.machine.take_abandoned();
    abandoned.sort();
    assert_eq!(abandoned, [open[0].id, open[1].id], "the event with the wait, the call with the flow");
    replays(&program, &world);
}

#[test]
fn so_many_answers_of_several() {
    let program = flow(&json!([call("a", "1"), call("b", "2"), call("c", "3"),
        { "kind": "await_responses", "mode": "n", "n": 2, "of": "[a, b, c]", "result_binding": "got" },
        { "kind": "await_responses", "of": "[a, b, c]", "result_binding": "all" }, gives("[got, all]")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let open = world.pending();
    world.resolve(open[2], Outcome::Value(3.into()));
    assert_eq!(world.run(&program), Step::Suspended);
    world.resolve(open[0], Outcome::Value(1.into()));
    assert_eq!(world.run(&program), Step::Suspended, "the second wait lacks one");
    world.resolve(open[1], Outcome::Value(2.into()));
    assert_eq!(completed(&world.run(&program)), json!([[1, null, 3], [1, 2, 3]]));
}

#[test]
fn what_is_no_handle_cannot_be_awaited() {
    for (of, code) in [
        (json!(["x"]), "HANDLE_UNKNOWN"),
        (json!(["{handle: 3}"]), "HANDLE_UNKNOWN"),
        (json!("x"), "TYPE_MISMATCH"),
        (json!("[]"), "INVALID_VALUE"),
    ] {
        let body = json!([{ "kind": "await_responses", "of": of, "mode": "any" }]);
        assert_eq!(&*failure(&body, &json!({ "x": 1 })).code, code, "{of}");
    }
    assert_eq!(result(&json!([{ "kind": "await_responses", "of": [] }]), &json!({})), json!([]));
}

#[test]
fn a_wait_that_takes_too_long_is_left_and_calls_stay_open() {
    let program = flow(&json!([call("a", "1"),
        { "kind": "try", "body": [
            { "kind": "await_responses", "id": "w", "of": ["a", { "event": "e" }], "timeout": "1m" }],
          "catch": [{ "code": "TIMEOUT", "as": "e", "body": [note("late in ${e.block}")] }] },
        { "kind": "await_responses", "of": ["a"], "result_binding": "late" }, gives("late")]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let (call, timer, event) =
        (world.open_of("core_call")[0].id, world.open_of("timer")[0].id, world.open_of("wait_event")[0].id);
    world.resolve(timer, Outcome::Value(Value::Datetime(0)));
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.seen, ["log late in w"]);
    assert_eq!(world.machine.take_abandoned(), [event]);
    assert_eq!(world.pending(), [call]);
    world.resolve(call, Outcome::Value(decided("ok")));
    assert_eq!(completed(&world.run(&program))[0]["decision"], json!("ok"));
    replays(&program, &world);
}

#[test]
fn the_end_and_the_cancellation_give_up_open_calls() {
    let program = flow(&json!([call("a", "1"), note("done")]));
    let mut world = World::start(&program, &json!({}));
    assert!(matches!(world.run(&program), Step::Completed(_)));
    assert_eq!(world.machine.take_abandoned().len(), 1);

    let program = flow(&json!([call("a", "1"), { "kind": "try",
        "body": [{ "kind": "await_responses", "of": ["a", { "event": "e" }], "timeout": "1h" }],
        "finally": [{ "kind": "try", "body": [{ "kind": "await_responses", "of": ["a"], "timeout": "1m" }],
            "catch": [{ "code": "CANCELLED", "body": [note("refused")] }] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 3);
    world.cancel();
    assert_eq!(world.pending(), []);
    assert_eq!(world.machine.take_abandoned().len(), 3);
    assert_eq!(world.run(&program), Step::Cancelled);
    assert_eq!(world.seen, ["log refused"]);
    replays(&program, &world);
}

#[test]
fn debug_blocks_run_only_while_the_execution_is_debugged() {
    let body = json!([{ "kind": "debug", "result_binding": "seen", "statements": [
        { "kind": "log", "level": "debug", "message": "x is ${x}" }, { "kind": "expression", "value": "x" }] },
        gives("seen")]);
    let program = flow(&body);
    for (debug, seen) in [(false, json!(null)), (true, json!(4))] {
        let mut start = crate::world::begin("main", &json!({ "x": 4 }));
        start.debug = debug;
        let mut world = World::start_with(&program, start);
        assert_eq!(completed(&world.run(&program)), seen);
        assert_eq!(world.seen.len(), usize::from(debug));
        replays(&program, &world);
    }
}
