//! Mistakes of form and of meaning are told in one round, and none of them twice in other words.

use serde_json::{Value as Json, json};

use crate::load::check;

/// The errors and warnings of a program with a flow of this body, as code and pointer. What it declares may be replaced.
fn found(more: &Json, body: &Json) -> Vec<(&'static str, String)> {
    let mut document = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0",
        "types": {"Line": {"amount": "int"}}, "memory": {"seen": {"type": "int"}},
        "config": {"limit": {"type": "int", "default": 5}}, "plugins": [{"alias": "crm", "plugin": "acme.crm"}],
        "models": [{"role": "primary", "model": "m"}], "reference": {"rates": {"a": 1}},
        "flows": [
            {"name": "main", "params": [{"name": "x", "type": "json"}, {"name": "line", "type": "Line"}], "body": body},
            {"name": "other", "params": [{"name": "a", "type": "int"}], "body": []}]});
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    let (module, found) = check(&document);
    assert!(module.is_none(), "the form is wrong, so there is no program: {found:?}");
    found.into_iter().map(|finding| (finding.code, finding.pointer.to_string())).collect()
}

fn of_body(body: &Json) -> Vec<(&'static str, String)> {
    let relative = |pointer: &str| pointer.strip_prefix("/flows/0/body/").unwrap_or(pointer).to_owned();
    found(&json!({}), body).iter().map(|(code, pointer)| (*code, relative(pointer))).collect()
}

fn only(found: &[(&'static str, String)], expected: &[(&'static str, &str)]) {
    let found: Vec<_> = found.iter().map(|(code, pointer)| (*code, pointer.as_str())).collect();
    assert_eq!(found, expected);
}

fn rigid(statements: &Json) -> Json {
    json!({"kind": "rigid", "statements": statements})
}

fn read(name: &str) -> Json {
    rigid(&json!([{"kind": "expression", "value": name}]))
}

#[test]
fn mistakes_of_form_do_not_hide_those_of_meaning() {
    let body = json!([
        {"kind": "jump"},
        read("nobody"),
        read("1 +"),
        rigid(&json!([{"kind": "log", "level": "loud", "message": "${nobody}"}])),
        {"kind": "core_call", "target": "core://self", "flow_name": "nowhere", "timeout": "soon"},
        rigid(&json!([{"kind": "break"}, {"kind": "let", "value": "memory.nothing"}])),
    ]);
    only(
        &of_body(&body),
        &[
            ("E153", "0/kind"),
            ("E200", "1/statements/0/value"),
            ("E102", "2/statements/0/value"),
            ("E152", "3/statements/0/level"),
            ("E200", "3/statements/0/message"),
            ("E202", "4/flow_name"),
            ("E152", "4/timeout"),
            ("E406", "5/statements/0"),
            ("E151", "5/statements/1"),
            ("E203", "5/statements/1/value"),
        ],
    );
    // A default is held against its type, whatever is wrong elsewhere.
    let config = json!({"config": {"limit": {"type": "int", "default": "many"}}, "version": "1"});
    only(&found(&config, &json!([])), &[("E304", "/config/limit/default"), ("E152", "/version")]);
}

#[test]
fn a_name_that_may_be_bound_in_what_cannot_be_read_is_not_missed() {
    for broken in [
        rigid(&json!([{"kind": "lett", "name": "a", "value": "1"}])),
        rigid(&json!([{"kind": "let", "nam": "a", "value": "1"}])),
        rigid(&json!({"kind": "let", "name": "a", "value": "1"})),
        json!({"kind": "rigit", "statements": [{"kind": "let", "name": "a", "value": "1"}]}),
        json!({"kind": "foreech", "items": "x", "var": "i", "body": [{"kind": "rigid", "result_binding": "a"}]}),
        json!({"kind": "checkpint", "result_binding": "a"}),
        json!({"statements": [], "result_binding": "a"}),
    ] {
        let found = of_body(&json!([broken, read("a")]));
        assert_eq!(found.iter().filter(|(code, _)| code.starts_with('E')).count(), 1, "{broken}: {found:?}");
        assert!(!found.iter().any(|(code, _)| *code == "E200"), "{broken}: {found:?}");
    }
    let arm = json!({"pattern": "{a: ", "guard": "a > 1", "body": [read("a"), read("nobody")]});
    let matched = json!([{"kind": "match", "subject": "x", "arms": [arm]}]);
    only(&of_body(&matched), &[("E200", "0/arms/0/body/1/statements/0/value"), ("E106", "0/arms/0/pattern")]);
    // Whether a way leads on is not known where a step of it is not.
    let left = json!([{"kind": "if", "condition": "x", "then": [{"kind": "let", "name": "b", "value": "1"}],
        "else": [{"kind": "retrun"}]}, {"kind": "expression", "value": "b"}]);
    only(&of_body(&json!([rigid(&left)])), &[("E153", "0/statements/0/else/0/kind")]);
}

#[test]
fn stand_ins_have_no_type_and_are_no_reason() {
    // A value that could not be read is not null.
    let value = json!([rigid(&json!([{"kind": "let", "name": "a", "value": "1 +"}])), read("a > 3 && a")]);
    only(&of_body(&value), &[("E102", "0/statements/0/value")]);
    let condition = json!([{"kind": "while", "condition": "x ==", "max_iterations": 3, "body": []}]);
    only(&of_body(&condition), &[("E102", "0/condition")]);
    // An operation that is not known needs no operand; the options are not all known.
    let memory = json!([rigid(&json!([{"kind": "memory", "op": "sett", "target": "seen"}]))]);
    only(&of_body(&memory), &[("E152", "0/statements/0/op")]);
    let checkpoint = json!([{"kind": "checkpoint", "checkpoint_type": "a", "present": {"prompt": "p"},
        "options": ["yes", 7], "on_response": {"no": []}}]);
    only(&of_body(&checkpoint), &[("E150", "0/options/1")]);
    // The end of a flow is not known.
    let flows = json!({"flows": [{"name": "main", "returns": "int", "body": [rigid(&json!([{"kind": "retrun", "value": "1"}]))]}]});
    only(&found(&flows, &json!([])), &[("E153", "/flows/0/body/0/statements/0/kind")]);
}

#[test]
fn what_is_declared_in_what_cannot_be_read_is_not_missed() {
    let call = |flow: &str| json!([{"kind": "core_call", "target": "core://self", "flow_name": flow, "input_bindings": {"a": "1"}}]);
    for (declared, body, place) in [
        (json!({"memory": {"n": 5}}), json!([read("memory.n")]), "/memory/n"),
        (json!({"memory": []}), json!([read("memory.n")]), "/memory"),
        (json!({"config": {"n": "int"}}), json!([read("config.n")]), "/config/n"),
        (json!({"types": "Line"}), json!([]), "/types"),
        (
            json!({"plugins": [{"plugin": "p"}]}),
            json!([rigid(&json!([{"kind": "plugin_call", "alias": "crm", "method": "m"}]))]),
            "/plugins/0",
        ),
        (
            json!({"models": [{"role": 5, "model": "m"}]}),
            json!([{"kind": "model_call", "role": "writer", "prompt": "p"}]),
            "/models/0/role",
        ),
    ] {
        let found = found(&declared, &body);
        assert!(found.len() == 1 && found[0].1 == place, "{declared}: {found:?}");
    }
    let flow = |more: Json| json!({"flows": [{"name": "main", "body": call("other")}, more]});
    for broken in [json!({"body": []}), json!({"name": "other", "params": [{"type": "int"}], "body": []})] {
        let found = found(&flow(broken.clone()), &json!([]));
        assert_eq!(found.len(), 1, "{broken}: {found:?}");
    }
    // What is declared elsewhere is.
    let found = found(&json!({"memory": {"n": 5}}), &json!([read("memory.m")]));
    only(&found, &[("E203", "/flows/0/body/0/statements/0/value"), ("E150", "/memory/n")]);
}
