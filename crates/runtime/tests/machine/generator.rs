//! Random programs over every kind that the machine runs, and random courses of events for them.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Expressions over the names that every generated program has. `a` is an integer, `b` an array, `c` an object.
fn integer() -> impl Strategy<Value = Json> {
    prop::sample::select(vec![
        "1",
        "(a + 1) % 7",
        "b[0]",
        "b.length",
        "c.n",
        "memory.total",
        "memory.counts.get('k') ?? 0",
        "memory.counts.get(memory.total) ?? (if a > 2 then now().year else a)",
    ])
    .prop_map(Json::from)
}

fn array() -> impl Strategy<Value = Json> {
    prop::sample::select(vec!["[1, 2, 3]", "b", "x", "b.map(i => i)", "[a, c.n]", "[]", "[memory.total, a]"])
        .prop_map(Json::from)
}

fn object() -> impl Strategy<Value = Json> {
    prop::sample::select(vec!["{n: a}", "c", "{n: 1, at: now()}", "{n: b.length, id: uuid()}"])
        .prop_map(Json::from)
}

fn expression() -> impl Strategy<Value = Json> {
    let other = prop::sample::select(vec![
        "'text'",
        "null",
        "1.5",
        "date('2026-01-31')",
        "money('1.20')",
        "answer?.decision",
        "[uuid(), random()]",
        "x",
    ]);
    let failing = prop::sample::select(vec!["missing", "b[9]", "it", "c + 1", "1 / 0", "b.nonsense()"]);
    prop_oneof![
        6 => integer(), 4 => array(), 4 => object(), 4 => other.prop_map(Json::from), 1 => failing.prop_map(Json::from),
    ]
}

/// A binding that keeps the names' types, mostly.
fn binding() -> impl Strategy<Value = (Json, Json)> {
    prop_oneof![
        4 => integer().prop_map(|value| (json!("a"), value)),
        3 => array().prop_map(|value| (json!("b"), value)),
        3 => object().prop_map(|value| (json!("c"), value)),
        4 => expression().prop_map(|value| (json!("d"), value)),
        1 => (name(), expression()),
    ]
}

fn condition() -> impl Strategy<Value = Json> {
    prop::sample::select(vec![
        "true",
        "false",
        "a < 3",
        "a == 1",
        "random() < 0.5",
        "c.n > a",
        "a",
        "answer?.decision == 'yes'",
    ])
    .prop_map(Json::from)
}

fn name() -> impl Strategy<Value = Json> {
    prop::sample::select(vec!["a", "b", "c", "d", "answer"]).prop_map(Json::from)
}

fn memory() -> impl Strategy<Value = Json> {
    let key = prop::sample::select(vec!["'k'", "a", "memory.total"]);
    let op = prop::sample::select(vec![
        ("get", "total", false, None),
        ("set", "total", false, Some("a")),
        ("update", "total", false, Some("n => n + a")),
        ("update", "profile", false, Some("{n: a}")),
        ("set", "counts", true, Some("1")),
        ("get", "counts", true, None),
        ("delete", "counts", true, None),
        ("add", "turns", false, Some("'hi'")),
        ("list", "counts", false, None),
        ("last", "turns", false, None),
        ("update", "counts", true, Some("n => (n ?? 0) + now().year")),
    ]);
    (op, key, prop::option::of(Just(json!("d")))).prop_map(|((op, target, keyed, value), key, binding)| {
        let mut json = json!({ "kind": "memory", "op": op, "target": target });
        if keyed {
            json["key"] = key.into();
        }
        if let Some(value) = value {
            json["value"] = value.into();
        }
        if let Some(name) = binding {
            json["result_binding"] = name;
        }
        json
    })
}

fn statement() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        10 => binding().prop_map(|(name, value)| json!({ "kind": "let", "name": name, "value": value })),
        6 => (prop::sample::select(vec!["a", "b[0]", "c.n", "c.new", "d"]), integer())
            .prop_map(|(target, value)| json!({ "kind": "assign", "target": target, "value": value })),
        4 => expression().prop_map(|value| json!({ "kind": "expression", "value": value })),
        1 => expression().prop_map(|value| json!({ "kind": "return", "value": value })),
        1 => Just(json!({ "kind": "break" })),
        1 => Just(json!({ "kind": "continue" })),
        4 => expression().prop_map(|data| json!({ "kind": "emit", "event": "e.${a}", "data": data })),
        4 => Just(json!({ "kind": "log", "level": "info", "message": "a is ${a}" })),
        8 => memory(),
        1 => Just(json!({ "kind": "fail", "code": "OWN" })),
        3 => (expression(), prop::option::of(Just("d"))).prop_map(|(value, name)| json!({
            "kind": "plugin_call", "alias": "crm", "method": "find", "args": { "value": value, "n": "a" },
            "result_binding": name })),
        2 => prop::sample::select(vec!["5s", "a * 1s", "'1m'", "c"])
            .prop_map(|span| json!({ "kind": "sleep", "duration": span })),
        1 => Just(json!({ "kind": "sleep", "until": "now() + 1h" })),
        2 => (prop::option::of(condition()), prop::option::of(Just("1h"))).prop_map(|(filter, timeout)| json!({
            "kind": "wait_event", "name": "e.${a}", "filter": filter, "timeout": timeout, "result_binding": "d" })),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        (condition(), vec(inner.clone(), 0..3), vec(inner, 0..3))
            .prop_map(|(condition, then, other)| json!({ "kind": "if", "condition": condition, "then": then, "else": other }))
    })
}

fn block() -> impl Strategy<Value = Json> {
    let ask = json!({ "kind": "checkpoint", "checkpoint_type": "t", "present": { "prompt": "${a}?", "payload": "c" },
        "options": ["yes", "no"], "result_binding": "answer" });
    let call = json!({ "kind": "core_call", "target": "core://self", "flow_name": "main", "input_bindings": { "x": "a" },
        "result_binding": "d" });
    let leaf = prop_oneof![
        5 => vec(statement(), 0..5).prop_map(|statements| json!({ "kind": "rigid", "statements": statements })),
        2 => Just(ask.clone()),
        1 => Just(call.clone()),
        1 => Just({
            let mut call = call;
            call["is_async"] = json!(true);
            call["result_binding"] = json!("h");
            call
        }),
        2 => waiting(),
        1 => Just(json!({ "kind": "model_call", "prompt": "a is ${a}", "result_binding": "d",
            "params": { "max_tokens": "9" } })),
        1 => Just(json!({ "kind": "model_call", "role": "fast", "messages": "[{role: 'user', content: c}]",
            "output_type": { "n": "int" }, "result_binding": "c" })),
        3 => generation(),
        1 => vec(statement(), 0..3).prop_map(|statements| json!({ "kind": "debug", "statements": statements })),
        1 => Just(json!({ "kind": "checkpoint", "checkpoint_type": "t", "present": { "prompt": "call?" },
            "options": ["yes", "no"], "result_binding": "answer", "required_approvals": 2, "exclude_requester": true,
            "form": { "type": "object" },
            "action": { "alias": "crm", "method": "write", "args": { "n": "a" }, "decisions": ["yes"],
                "expires_in": "1h" } })),
        1 => Just(json!({ "kind": "rigid", "statements": [
            { "kind": "plugin_call", "alias": "crm", "method": "write", "args": { "n": "a" } }] })),
    ];
    let nested = leaf.prop_recursive(3, 20, 3, move |inner| {
        let body = || vec(inner.clone(), 0..3);
        let ask = ask.clone();
        prop_oneof![
            (condition(), 0..4_u32, body()).prop_map(|(condition, bound, body)| json!(
                { "kind": "while", "condition": condition, "max_iterations": bound + 4, "body": body })),
            (array(), 1..4_u32, prop::sample::select(vec!["fail", "collect", "skip"]), body()).prop_map(
                |(items, concurrent, on_error, body)| json!(
                    { "kind": "foreach", "items": items, "var": "it", "index_var": "at",
                      "max_concurrent": concurrent, "on_error": on_error, "body": body, "result_binding": "d" })
            ),
            (1..4_u32, body()).prop_map(|(concurrent, body)| json!(
                { "kind": "foreach", "items": "[1, 2, 3]", "var": "it", "max_concurrent": concurrent, "body": body,
                  "result_binding": "d" })),
            (body(), prop::option::of(body()), body()).prop_map(|(body, catch, finally)| {
                let mut json = json!({ "kind": "try", "body": body, "finally": finally });
                if let Some(catch) = catch {
                    json["catch"] = json!([{ "as": "d", "body": catch }]);
                }
                json
            }),
            (expression(), body(), body(), body()).prop_map(|(subject, int, bound, other)| json!(
                { "kind": "match", "subject": subject, "else": other, "arms": [
                    { "pattern": "int", "guard": "a < 5", "body": int },
                    { "pattern": { "n": { "kind": "bind", "name": "d" } }, "body": bound }] })),
            (body(), body(), body(), any::<bool>(), prop::option::of(1..3_u32)).prop_map(
                |(one, two, three, fail_fast, concurrent)| json!(
                    { "kind": "parallel", "fail_fast": fail_fast, "max_concurrent": concurrent, "result_binding": "c",
                      "branches": [{ "name": "n", "body": one }, { "name": "two", "body": two },
                          { "name": "three", "body": three }] })),
            (prop::sample::select(vec![("max_calls", json!(1)), ("max_tokens", json!(300)),
                ("max_cost", json!("0.02")), ("max_duration", json!("1m"))]), prop::option::of(body()), body())
                .prop_map(|((bound, most), exceeded, body)| {
                    let mut json = json!({ "kind": "budget", "body": body, "on_exceeded": exceeded });
                    json[bound] = most;
                    json
                }),
            body().prop_map(move |body| {
                let mut json = ask.clone();
                json["on_response"] = json!({ "yes": body });
                json
            }),
        ]
    });
    let retry = json!({ "max": 2, "on": [], "backoff": { "initial": "1s", "jitter": true } });
    let only = json!({ "max": 1, "on": ["OWN", "TIMEOUT"], "backoff": { "jitter": false } });
    let extras = (
        prop::option::weighted(0.2, condition()),
        prop::option::weighted(0.15, Just("30s")),
        prop::option::weighted(0.15, prop::sample::select(vec![retry, only])),
    );
    (nested, extras).prop_map(|(mut block, (when, timeout, retry))| {
        if let Some(when) = when {
            block["when"] = when;
        }
        if let Some(timeout) = timeout {
            block["timeout"] = timeout.into();
        }
        if let Some(retry) = retry {
            block["retry"] = retry;
        }
        block
    })
}

/// `await_responses` in its forms. `h` holds a handle, mostly.
fn waiting() -> impl Strategy<Value = Json> {
    let of = prop::sample::select(vec![
        json!(["h"]),
        json!("[h, h]"),
        json!(["h", { "timer": "5s" }]),
        json!([{ "event": "e.${a}", "filter": "data.n > a" }, { "timer": "a * 1s" }, "h"]),
        json!([{ "event": "x" }]),
        json!([]),
    ]);
    let mode = prop::sample::select(vec![json!("all"), json!("any"), json!(2)]);
    (of, mode).prop_map(|(of, mode)| json!(
        { "kind": "await_responses", "of": of, "mode": mode, "result_binding": "b" }))
}

/// `flexible` and `guarded` with everything that may be said of bad answers.
fn generation() -> impl Strategy<Value = Json> {
    let on_failure = prop::sample::select(vec![
        json!([]),
        json!([{ "kind": "parse_error", "actions": [{ "action": "retry", "max": 1, "with": "a is ${a}" },
            "flag_and_checkpoint"] }]),
        json!([{ "kind": "low_confidence", "when": "output.n > random() * 8", "actions": ["retry", "escalate"] }]),
        json!([{ "kind": "constraint_violation", "actions": ["retry"] }, { "kind": "refusal", "actions": ["escalate"] }]),
    ]);
    let guard = prop::option::of((condition(), prop::option::of(Just(json!([{ "kind": "rigid", "statements": [
        { "kind": "let", "name": "d", "value": "[output, violation]" }] }])))));
    let budget = prop::option::weighted(0.3, Just(json!({ "max_tokens": 200, "max_duration": "9s", "max_retries": 1 })));
    (on_failure, guard, budget, prop::sample::select(vec![json!({ "n": "int" }), json!("json"), json!("string")]))
        .prop_map(|(on_failure, guard, budget, ty)| {
            let mut json = json!({ "kind": "flexible", "goal": "Do ${a}.", "output_type": ty, "on_failure": on_failure,
                "input_bindings": { "n": "a" }, "context_bindings": "c", "budget": budget, "result_binding": "c",
                "examples": [{ "input": "one", "output": { "n": 1 } }] });
            if let Some((condition, instead)) = guard {
                json["kind"] = json!("guarded");
                json["guard"] = condition;
                json["validate"] = json!(["output.n != 5 || n > 2"]);
                if let Some(instead) = instead {
                    json["on_validation_failure"] = instead;
                }
            }
            json
        })
}

/// The body of a flow, which begins by binding the names that expressions use.
pub(crate) fn body() -> impl Strategy<Value = Json> {
    vec(block(), 1..6).prop_map(|blocks| {
        let mut body = vec![json!({ "kind": "rigid", "statements": [
            { "kind": "let", "name": "a", "value": "1" }, { "kind": "let", "name": "b", "value": "[1, 2, 3]" },
            { "kind": "let", "name": "c", "value": "{n: 2}" },
            { "kind": "let", "name": "d", "value": "0" }, { "kind": "let", "name": "answer", "value": "null" },
            { "kind": "let", "name": "h", "value": "null" }] })];
        body.extend(blocks);
        Json::Array(body)
    })
}

/// What the world does next.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Advance with this much fuel.
    Advance(u32),
    /// Answer one of the open effects, in one of several ways.
    Answer(usize, u8),
    /// Cancel.
    Cancel,
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    vec(
        prop_oneof![
            40 => prop_oneof![1..5_u32, Just(500_u32)].prop_map(Event::Advance),
            40 => (any::<usize>(), 0..10_u8).prop_map(|(which, how)| Event::Answer(which, how)),
            1 => Just(Event::Cancel),
        ],
        0..60,
    )
}
