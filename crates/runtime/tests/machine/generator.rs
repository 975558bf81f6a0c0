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
        1 => Just(call),
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
            body().prop_map(move |body| {
                let mut json = ask.clone();
                json["on_response"] = json!({ "yes": body });
                json
            }),
        ]
    });
    (nested, prop::option::weighted(0.2, condition())).prop_map(|(mut block, when)| {
        if let Some(when) = when {
            block["when"] = when;
        }
        block
    })
}

/// The body of a flow, which begins by binding the names that expressions use.
pub(crate) fn body() -> impl Strategy<Value = Json> {
    vec(block(), 1..6).prop_map(|blocks| {
        let mut body = vec![json!({ "kind": "rigid", "statements": [
            { "kind": "let", "name": "a", "value": "1" }, { "kind": "let", "name": "b", "value": "[1, 2, 3]" },
            { "kind": "let", "name": "c", "value": "{n: 2}" },
            { "kind": "let", "name": "d", "value": "0" }, { "kind": "let", "name": "answer", "value": "null" }] })];
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
            40 => (any::<usize>(), 0..8_u8).prop_map(|(which, how)| Event::Answer(which, how)),
            1 => Just(Event::Cancel),
        ],
        0..60,
    )
}
