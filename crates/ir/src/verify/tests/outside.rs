//! The rules of what reaches outside: plugins, models, waits, branches and budgets.

use serde_json::{Value as Json, json};

use super::{body, findings, only, read, rigid, set, statements};

#[test]
fn what_is_called_outside_is_declared() {
    let call = |more: Json| {
        let mut call = json!({"kind": "plugin_call", "alias": "crm", "method": "find", "args": {"id": "line.amount"},
            "result_binding": "found"});
        for (key, value) in more.as_object().unwrap() {
            call[key] = value.clone();
        }
        statements(&json!([call, {"kind": "expression", "value": "found.name"}]))
    };
    assert_eq!(call(json!({})), []);
    only(&call(json!({"alias": "none"})), "E208", "/0/alias");
    only(&call(json!({"args": "line.amount"})), "E300", "/0/args");
    only(&call(json!({"args": {"id": "nobody"}})), "E200", "/0/args");
    let model = |more: Json| {
        let mut call = json!({"kind": "model_call", "prompt": "Hi ${x}", "result_binding": "said"});
        for (key, value) in more.as_object().unwrap() {
            call[key] = value.clone();
        }
        body(&json!([call, read("said")]))
    };
    assert_eq!(model(json!({"role": "primary", "output_type": "Line", "params": {"max_tokens": "5"}})), []);
    only(&model(json!({"role": "none"})), "E209", "/0/role");
    only(&model(json!({"output_type": "None"})), "E206", "/0/output_type");
    only(&model(json!({"prompt": null, "messages": "line.amount"})), "E300", "/0/messages");
    let no_model =
        json!({"models": [], "flows": [{"name": "a", "body": [{"kind": "model_call", "prompt": "Hi"}]}]});
    only(&findings(&no_model), "E209", "/flows/0/body/0");
}

#[test]
fn waits_for_times_and_events() {
    assert_eq!(
        statements(&json!([{"kind": "sleep", "duration": "30s"}, {"kind": "sleep", "until": "now() + 1h"}])),
        []
    );
    only(&statements(&json!([{"kind": "sleep", "duration": "line.amount"}])), "E300", "/0/duration");
    let wait = |filter: &str| {
        statements(&json!([{"kind": "wait_event", "name": "paid.${line.amount}", "filter": filter,
        "timeout": "1h", "result_binding": "got"}, {"kind": "expression", "value": "got.data.x"}]))
    };
    assert_eq!(wait("event != '' && data.amount > line.amount"), []);
    only(&wait("memory.n == data"), "E400", "/0/filter");
    only(&wait("now() == data"), "E400", "/0/filter");
    only(&wait("other == data"), "E200", "/0/filter");
    let outside = json!([{"kind": "expression", "value": "data"}]);
    only(&statements(&outside), "E200", "/0/value");
    let joined = |of: Json, mode: Json| {
        body(&json!([
        {"kind": "core_call", "target": "core://self", "flow_name": "other", "input_bindings": {"a": "1"}, "is_async": true,
         "result_binding": "h"},
        {"kind": "await_responses", "of": of, "mode": mode, "result_binding": "all"}, read("all")]))
    };
    assert_eq!(
        joined(
            json!(["h", {"event": "e", "filter": "data.a == line.amount"}, {"timer": "5m"}]),
            json!("any")
        ),
        []
    );
    assert_eq!(joined(json!("[h, h]"), json!("all")), []);
    only(&joined(json!("h"), json!("all")), "E300", "/1/of");
    only(&joined(json!(["line.amount"]), json!("all")), "E300", "/1/of/0");
    only(&joined(json!(["h"]), json!(2)), "E418", "/1/mode");
    only(&joined(json!([{"event": "e", "filter": "random() > 1"}]), json!("all")), "E400", "/1/of/0/filter");
}

#[test]
fn branches_read_the_flow_and_keep_what_they_bind() {
    let parallel = |one: Json, two: Json| {
        body(&json!([set("a"), {"kind": "parallel", "result_binding": "both",
            "branches": [{"name": "one", "body": [one]}, {"name": "two", "body": [two]}]}, read("both.one + both.two")]))
    };
    assert_eq!(parallel(read("a"), set("b")), []);
    only(&parallel(set("b"), read("b")), "E200", "/1/branches/1/body/0/statements/0/value");
    let assign = rigid(&json!([{"kind": "assign", "target": "a", "value": "2"}]));
    only(&parallel(assign, set("b")), "E403", "/1/branches/0/body/0/statements/0/target");
    let own = rigid(
        &json!([{"kind": "let", "name": "a", "value": "1"}, {"kind": "assign", "target": "a", "value": "2"}]),
    );
    assert_eq!(parallel(own, set("b")), []);
    let leave = rigid(&json!([{"kind": "break"}]));
    let looped = json!([{"kind": "while", "condition": "x", "max_iterations": 2, "body": [
        {"kind": "parallel", "branches": [{"name": "one", "body": [leave]}]}]}]);
    only(&body(&looped), "E406", "/0/body/0/branches/0/body/0/statements/0");
    let twice =
        json!([{"kind": "parallel", "branches": [{"name": "a", "body": []}, {"name": "a", "body": []}]}]);
    only(&body(&twice), "E201", "/0/branches/1/name");
}

#[test]
fn budgets_bound_something() {
    let budget = |more: Json| {
        let mut block = json!({"kind": "budget", "body": [set("a")]});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        body(&json!([block, read("a")]))
    };
    assert_eq!(budget(json!({"max_calls": 3, "max_cost": "0.50"})), []);
    only(&budget(json!({})), "E414", "/0");
    only(&budget(json!({"max_tokens": 5, "on_exceeded": []})), "W200", "/1/statements/0/value");
    assert_eq!(budget(json!({"max_tokens": 5, "on_exceeded": [set("a")]})), []);
}

#[test]
fn generations_and_what_is_done_about_bad_answers() {
    let generation = |more: Json| {
        let mut block = json!({"kind": "guarded", "goal": "Do ${x}.", "output_type": "Line",
            "input_bindings": {"given": "line"}, "result_binding": "made"});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        body(&json!([block, read("made.amount")]))
    };
    let on_failure =
        |handler: Json| generation(json!({"validate": "output.amount > 0", "on_failure": [handler]}));
    assert_eq!(
        generation(json!({"guard": "given.amount > 0", "validate": ["output.amount > given.amount"]})),
        []
    );
    only(&generation(json!({"guard": "output.amount > 0"})), "E200", "/0/guard");
    only(&generation(json!({"guard": "given.amount"})), "E300", "/0/guard");
    only(&generation(json!({"validate": ["true", "nobody"]})), "E200", "/0/validate/1");
    only(&generation(json!({"llm_role": "none"})), "E209", "/0/llm_role");
    only(
        &generation(json!({"examples": [{"input": 1, "output": {"amount": "many"}}]})),
        "E300",
        "/0/examples/0/output",
    );
    assert_eq!(generation(json!({"on_validation_failure": [read("output ?? violation")]})), []);
    assert_eq!(
        on_failure(
            json!({"kind": "parse_error", "actions": [{"action": "retry", "max": 2, "with": "${line.amount}"},
        {"action": "flag_and_checkpoint", "assignee": "role:boss"}]})
        ),
        []
    );
    assert_eq!(
        on_failure(json!({"kind": "low_confidence", "when": "output.amount < 1", "actions": ["escalate"]})),
        []
    );
    assert_eq!(on_failure(json!({"kind": "constraint_violation", "actions": ["retry"]})), []);
    only(&on_failure(json!({"kind": "hallucination", "actions": ["retry"]})), "E417", "/0/on_failure/0");
    only(
        &on_failure(json!({"kind": "refusal", "when": "true", "actions": ["retry"]})),
        "E417",
        "/0/on_failure/0/when",
    );
    only(&on_failure(json!({"kind": "refusal", "actions": []})), "E417", "/0/on_failure/0/actions");
    only(
        &on_failure(json!({"kind": "refusal", "actions": ["escalate", "retry"]})),
        "W401",
        "/0/on_failure/0/actions/1",
    );
    let own = json!({"on_failure": [{"kind": "constraint_violation", "actions": ["retry"]}]});
    only(&generation(own), "E417", "/0/on_failure/0");
}
