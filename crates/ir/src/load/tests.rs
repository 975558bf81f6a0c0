//! Loading: the example programs, every kind, and everything that can be wrong with the form.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::block::{AssignStep, BlockKind, OnTimeout, Pattern, StatementKind};
use crate::{Type, Value};

const EXPENSES: &str = include_str!("../../../../examples/expense-approval.json");
const TRIAGE: &str = include_str!("../../../../examples/support-triage.json");
/// Every kind of block and statement that the examples do not have, with every field.
const EVERYTHING: &str = include_str!("everything.json");

fn example(text: &str) -> Json {
    crate::bundle::decode(text.as_bytes()).unwrap()
}

/// A program of one flow with this body.
fn program(body: &Json) -> Json {
    json!({"schema_version": "0.2", "name": "P", "version": "1.0.0",
           "flows": [{"name": "main", "params": [{"name": "x", "type": "json"}], "body": body}]})
}

fn codes_of(document: &Json) -> Vec<(&'static str, String)> {
    module(document).diagnostics.iter().map(|finding| (finding.code, finding.pointer.to_string())).collect()
}

fn block(body: &Json) -> crate::block::Block {
    let loaded = module(&program(body));
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    loaded.module.unwrap().flows[0].body[0].clone()
}

#[test]
fn the_example_programs_load_without_findings() {
    for text in [EXPENSES, TRIAGE, EVERYTHING] {
        let loaded = module(&example(text));
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
        assert!(loaded.module.is_some());
    }
}

#[test]
fn an_example_has_what_it_says() {
    let module = module(&example(EXPENSES)).module.unwrap();
    assert_eq!(&*module.name, "ExpenseApproval");
    assert_eq!(module.config["limit"].default, Some(Value::Int(1000)));
    let flow = module.flow("submit").unwrap();
    assert_eq!(flow.params[1].ty, Type::Array(Box::new(Type::Named("Line".into()))));
    assert_eq!(&*flow.body[1].pointer, "/flows/0/body/1");
    assert_eq!(flow.body[1].timeout, Some(std::time::Duration::from_hours(1)));
    let BlockKind::Checkpoint(checkpoint) = &flow.body[1].kind else { panic!("no checkpoint") };
    assert_eq!(checkpoint.options.len(), 2);
    assert_eq!(checkpoint.priority, crate::block::Priority::High);
}

#[test]
fn schema_versions() {
    let mut document = program(&json!([]));
    document["schema_version"] = json!("0.1");
    assert!(module(&document).module.is_some());
    document["schema_version"] = json!("0.3");
    assert_eq!(codes_of(&document), [("E154", "/schema_version".to_owned())]);
    assert!(module(&document).module.is_none());
}

#[test]
fn unknown_keys_are_warnings() {
    let mut document = program(&json!([{"kind": "rigid", "statements": [], "a/b": 1}]));
    document["extra"] = json!({});
    let found = codes_of(&document);
    assert_eq!(found, [("W100", "/extra".to_owned()), ("W100", "/flows/0/body/0/a~1b".to_owned())]);
    assert!(module(&document).module.is_some());
}

#[test]
fn all_findings_come_together() {
    let document = program(&json!([
        {"kind": "rigid"},
        {"kind": "jump"},
        {"kind": "let", "name": "a", "value": "1"},
        7,
        {"kind": "while", "condition": "true", "body": []},
        {"kind": "rigid", "statements": [
            {"kind": "let", "name": "1a", "value": "1 +"},
            {"kind": "rigid"},
            {"kind": "flexible"},
            {"kind": "memory", "op": "put", "target": "m"},
            {"kind": "assign", "target": "1 + 2", "value": "1"},
            {"kind": "log", "level": "info", "message": "${"}
        ]},
        {"kind": "checkpoint", "checkpoint_type": "approval", "present": {"prompt": "p"}, "timeout": "soon",
         "on_timeout": "later", "priority": "utmost"},
        {"kind": "match", "subject": "x", "arms": [{"pattern": "{a: ", "body": []}]},
        {"kind": "core_call", "target": "http://x", "flow_name": "f"}
    ]));
    let found = codes_of(&document);
    let at = |code: &str, pointer: &str| {
        let pointer = format!("/flows/0/body/{pointer}");
        assert!(found.iter().any(|(c, p)| *c == code && *p == pointer), "{code} at {pointer} in {found:#?}");
    };
    at("E151", "0");
    at("E153", "1/kind");
    at("E153", "2/kind");
    at("E150", "3");
    at("E404", "4/max_iterations");
    at("E105", "5/statements/0/name");
    at("E102", "5/statements/0/value");
    at("E153", "5/statements/1/kind");
    at("E405", "5/statements/2/kind");
    at("E152", "5/statements/3/op");
    at("E152", "5/statements/4/target");
    at("E152", "6/timeout");
    at("E152", "6/on_timeout");
    at("E152", "6/priority");
    at("E106", "7/arms/0/pattern");
    at("E152", "8/target");
    assert!(module(&document).module.is_none());
}

#[test]
fn ids_come_from_the_place_and_stay_unique() {
    let document = program(&json!([
        {"kind": "rigid", "statements": []},
        {"kind": "try", "body": [{"kind": "rigid", "statements": []}],
         "catch": [{"body": [{"kind": "rigid", "statements": []}]}],
         "finally": [{"kind": "rigid", "id": "b0", "statements": []}]},
        {"kind": "foreach", "id": "each", "items": "x", "var": "i", "body": [{"kind": "rigid", "statements": []}]}
    ]));
    let module = module(&document).module.unwrap();
    let body = &module.flows[0].body;
    assert_eq!(&*body[0].id, "b0_");
    assert_eq!(&*body[1].id, "b1");
    let BlockKind::Try { body: tried, catch, .. } = &body[1].kind else { panic!("no try") };
    assert_eq!(&*tried[0].id, "b1.try0");
    assert_eq!(&*catch[0].body[0].id, "b1.catch0.0");
    let BlockKind::Foreach { body: looped, .. } = &body[2].kind else { panic!("no foreach") };
    assert_eq!(&*looped[0].id, "each.do0");
}

#[test]
fn patterns_are_read_in_both_forms() {
    let pattern = |pattern: Json| {
        let block =
            block(&json!([{"kind": "match", "subject": "x", "arms": [{"pattern": pattern, "body": []}]}]));
        let BlockKind::Match { arms, .. } = block.kind else { panic!("no match") };
        arms[0].pattern.clone()
    };
    let text = |text: &str| Pattern::Literal(Value::String(text.into()));
    assert_eq!(pattern(json!("_")), Pattern::Wildcard);
    assert_eq!(pattern(json!("'a b'")), text("a b"));
    assert_eq!(pattern(json!(":open")), text("open"));
    assert_eq!(pattern(json!("open")), text("open"));
    assert_eq!(pattern(json!("in-progress")), text("in-progress"));
    assert_eq!(pattern(json!("-5")), Pattern::Literal(Value::Int(-5)));
    assert_eq!(pattern(json!(5)), Pattern::Literal(Value::Int(5)));
    assert_eq!(pattern(json!(null)), Pattern::Literal(Value::Null));
    assert_eq!(pattern(json!("int")), Pattern::Type(Type::Int));
    assert_eq!(pattern(json!("Line")), Pattern::Type(Type::Named("Line".into())));
    assert_eq!(pattern(json!("array[string]")), Pattern::Type(Type::Array(Box::new(Type::String))));
    let either = Pattern::Any(vec![text("a"), text("b")]);
    assert_eq!(pattern(json!("'a' | :b")), either);
    assert_eq!(pattern(json!(["'a'", {"kind": "literal", "value": "b"}])), either);
    let object = Pattern::Object(vec![("n".into(), Pattern::Bind("n".into())), ("s".into(), either)]);
    assert_eq!(pattern(json!("{n, s: 'a' | 'b'}")), object);
    let tree = json!({"kind": "object", "fields": {"n": {"kind": "bind", "name": "n"}, "s": ["'a'", "'b'"]}});
    assert_eq!(pattern(tree), object);
}

#[test]
fn targets_of_assignments_are_places() {
    let block = block(&json!([{"kind": "rigid", "statements": [
        {"kind": "assign", "target": "order.lines[0].amount", "value": "1"}]}]));
    let BlockKind::Rigid { statements } = block.kind else { panic!("no rigid") };
    let StatementKind::Assign { target, .. } = &statements[0].kind else { panic!("no assign") };
    assert_eq!(&*target.name, "order");
    assert!(matches!(
        target.path.as_slice(),
        [AssignStep::Member(lines), AssignStep::Index(_), AssignStep::Member(amount)]
            if &**lines == "lines" && &**amount == "amount"
    ));
}

#[test]
fn what_happens_when_time_is_up() {
    let on_timeout = |value: Json| {
        let block = block(&json!([{"kind": "checkpoint", "checkpoint_type": "approval",
            "present": {"prompt": "p"}, "timeout": "PT1H", "on_timeout": value}]));
        let BlockKind::Checkpoint(checkpoint) = block.kind else { panic!("no checkpoint") };
        checkpoint.on_timeout.clone()
    };
    assert_eq!(on_timeout(json!("expire")), OnTimeout::Expire);
    assert_eq!(on_timeout(json!("escalate")), OnTimeout::Escalate);
    assert_eq!(on_timeout(json!("resolve:no")), OnTimeout::Resolve("no".into()));
    assert_eq!(on_timeout(json!({"resolve": "no"})), OnTimeout::Resolve("no".into()));
}

#[test]
fn calls_waits_and_bounds_have_their_form() {
    let code = |block: Json| {
        let found = codes_of(&program(&json!([block])));
        found
            .into_iter()
            .map(|(code, pointer)| (code, pointer.replace("/flows/0/body/0", "")))
            .collect::<Vec<_>>()
    };
    let only = |block: Json, expected: (&'static str, &str)| {
        assert_eq!(code(block.clone()), [(expected.0, expected.1.to_owned())], "{block}");
    };
    let statement = |statement: Json| json!({"kind": "rigid", "statements": [statement]});
    only(statement(json!({"kind": "plugin_call", "alias": "a"})), ("E151", "/statements/0"));
    only(statement(json!({"kind": "sleep"})), ("E151", "/statements/0"));
    only(
        statement(json!({"kind": "sleep", "duration": "1s", "until": "x"})),
        ("E152", "/statements/0/until"),
    );
    only(statement(json!({"kind": "wait_event", "filter": "true"})), ("E151", "/statements/0"));
    only(
        statement(json!({"kind": "wait_event", "name": "e", "timeout": "soon"})),
        ("E152", "/statements/0/timeout"),
    );
    only(json!({"kind": "debug"}), ("E151", ""));
    only(json!({"kind": "parallel"}), ("E151", ""));
    only(json!({"kind": "parallel", "branches": [{"name": "", "body": []}]}), ("E152", "/branches/0/name"));
    only(json!({"kind": "parallel", "branches": [{"name": "a"}]}), ("E151", "/branches/0"));
    only(json!({"kind": "await_responses"}), ("E151", ""));
    only(json!({"kind": "await_responses", "of": [], "mode": "some"}), ("E152", "/mode"));
    only(json!({"kind": "await_responses", "of": [], "mode": "n"}), ("E151", ""));
    only(json!({"kind": "await_responses", "of": [], "n": 1}), ("E152", "/n"));
    only(json!({"kind": "await_responses", "of": [], "mode": 0}), ("E152", "/mode"));
    only(json!({"kind": "await_responses", "of": [{"event": "e", "timer": "5s"}]}), ("W100", "/of/0/timer"));
    only(json!({"kind": "model_call"}), ("E151", ""));
    only(json!({"kind": "model_call", "prompt": "a", "messages": "x"}), ("E152", "/prompt"));
    only(json!({"kind": "budget", "max_tokens": 0, "body": []}), ("E152", "/max_tokens"));
    only(json!({"kind": "budget", "max_cost": "-1", "body": []}), ("E152", "/max_cost"));
    only(json!({"kind": "budget", "max_calls": 1}), ("E151", ""));
    let flexible = |more: Json| {
        let mut block = json!({"kind": "flexible", "goal": "g", "output_type": "json"});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        block
    };
    only(json!({"kind": "flexible", "goal": "g"}), ("E151", ""));
    only(flexible(json!({"identity_ref": "other"})), ("E152", "/identity_ref"));
    only(flexible(json!({"examples": [{"input": 1}]})), ("E151", "/examples/0"));
    only(flexible(json!({"budget": {"max_retries": 101}})), ("E152", "/budget/max_retries"));
    only(flexible(json!({"budget": {"max_calls": 1}})), ("W100", "/budget/max_calls"));
    only(flexible(json!({"guard": "true"})), ("W100", "/guard"));
    let handler = |handler: Json| flexible(json!({"on_failure": [handler]}));
    only(handler(json!({"kind": "odd", "actions": []})), ("E152", "/on_failure/0/kind"));
    only(handler(json!({"kind": "refusal"})), ("E151", "/on_failure/0"));
    only(handler(json!({"kind": "refusal", "actions": ["jump"]})), ("E152", "/on_failure/0/actions/0"));
    only(
        handler(json!({"kind": "refusal", "actions": [{"action": "jump"}]})),
        ("E152", "/on_failure/0/actions/0/action"),
    );
    only(handler(json!({"kind": "refusal", "actions": [{"max": 1}]})), ("E151", "/on_failure/0/actions/0"));
    only(
        handler(json!({"kind": "refusal", "actions": [{"action": "retry", "max": 101}]})),
        ("E152", "/on_failure/0/actions/0/max"),
    );
    let checkpoint = |more: Json| {
        let mut block = json!({"kind": "checkpoint", "checkpoint_type": "a", "present": {"prompt": "p"}});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        block
    };
    only(checkpoint(json!({"form": "text"})), ("E150", "/form"));
    only(checkpoint(json!({"required_approvals": 0})), ("E152", "/required_approvals"));
    only(checkpoint(json!({"action": {"alias": "a"}})), ("E151", "/action"));
    only(checkpoint(json!({"hitl_target": {"queue": "q"}})), ("E492", "/hitl_target"));
}

#[test]
fn ids_of_nested_bodies_come_from_the_place() {
    let module = module(&program(&json!([
        {"kind": "parallel", "branches": [{"name": "a", "body": [{"kind": "rigid", "statements": []}]}]},
        {"kind": "budget", "max_calls": 1, "body": [{"kind": "rigid", "statements": []}],
         "on_exceeded": [{"kind": "rigid", "statements": []}]},
        {"kind": "guarded", "goal": "g", "output_type": "json",
         "on_validation_failure": [{"kind": "rigid", "statements": []}]}
    ])));
    let module = module.module.unwrap();
    let inner = module.flows[0].body.iter().flat_map(|block| block.kind.bodies()).flatten();
    let ids: Vec<&str> = inner.map(|block| &*block.id).collect();
    assert_eq!(ids, ["b0.branch0.0", "b1.do0", "b1.exceeded0", "b2.invalid0"]);
}

#[test]
fn defaults_take_their_declared_type() {
    let mut document = program(&json!([]));
    document["config"] = json!({"since": {"type": "date", "default": "2026-01-31"}});
    let module_ = module(&document).module.unwrap();
    assert!(matches!(module_.config["since"].default, Some(Value::Date(_))));
    document["config"]["since"]["default"] = json!("someday");
    assert_eq!(codes_of(&document), [("E304", "/config/since/default".to_owned())]);
    document["types"] = json!({"A": "B", "B": "A?", "C": {"next": "C?"}});
    assert!(codes_of(&document).iter().any(|(code, _)| *code == "E305"));
}

#[test]
fn cores_are_named_by_their_slug_with_the_tenant_or_without() {
    let call = |target: &str| {
        codes_of(&program(&json!([{"kind": "core_call", "target": target, "flow_name": "book"}])))
    };
    let heard = |from: &str| {
        let mut document = program(&json!([]));
        document["subscriptions"] = json!([{"event": "booked", "from": from, "flow": "main"}]);
        codes_of(&document)
    };
    for target in ["core://self", "core://ledger", "core://acme/ledger", "core://acme/self"] {
        assert_eq!(call(target), [], "{target}");
        assert_eq!(heard(target), [], "{target}");
    }
    for target in
        ["core://", "core://acme/", "core:///ledger", "core://acme/ledger/book", "core://led ger", "ledger"]
    {
        assert_eq!(call(target), [("E152", "/flows/0/body/0/target".to_owned())], "{target}");
        // It was accepted once, and there are Cores with such programs.
        let code = if target.starts_with("core://") { "W491" } else { "E152" };
        assert_eq!(heard(target), [(code, "/subscriptions/0/from".to_owned())], "{target}");
    }
}

#[test]
fn findings_know_the_nearest_source_location() {
    let document = program(&json!([{"kind": "rigid", "source_location": {"node_id": "n1"}, "statements": [
        {"kind": "jump", "source_location": {"node_id": "n2"}}, {"kind": "let"}]}]));
    let found = module(&document).diagnostics;
    let location = |index: usize| found[index].source_location.clone().unwrap()["node_id"].clone();
    assert_eq!((location(0), location(1)), (json!("n2"), json!("n1")));
}

#[test]
fn findings_are_bounded_and_errors_stay() {
    let mut body = vec![json!({"kind": "rigid", "statements": [], "extra": 1}); 500];
    body.push(json!({"kind": "jump"}));
    let found = module(&program(&Json::from(body))).diagnostics;
    assert_eq!(found.len(), 200);
    assert!(found.iter().any(|finding| finding.code == "E153"));
}

#[test]
fn deep_documents_are_refused_without_recursion_trouble() {
    let mut value = json!(1);
    for _ in 0..500 {
        value = json!([value]);
    }
    assert_eq!(codes_of(&program(&value)), [("E155", String::new())]);
}

#[test]
fn long_names_do_not_multiply() {
    let long = "n".repeat(100_000);
    let body = vec![json!({"kind": "rigid", "statements": []}); 2000];
    let document = program(&json!([{"kind": "checkpoint", "id": long, "checkpoint_type": "a",
        "present": {"prompt": "p"}, "on_response": {long.clone(): body}}]));
    let found = module(&document).diagnostics;
    assert!(
        found.iter().all(|finding| finding.message.len() < 3000 && finding.pointer.len() < 200),
        "{found:?}"
    );
}

#[test]
fn a_summary_is_made_of_anything() {
    let summed = |document: &Json| summary(document, check(document).1);
    let summary_ = summed(&example(TRIAGE));
    assert_eq!(summary_.name.as_deref(), Some("SupportTriage"));
    assert_eq!((summary_.flows, summary_.models), (vec!["chat".to_owned()], vec!["echo".to_owned()]));
    assert_eq!(summary_.identity.persona.as_deref(), Some("Short, friendly, precise."));
    assert!(summary_.has_plugins && !summary_.has_triggers && summary_.avatar.is_none());
    let nothing = summed(&json!({"name": 5, "flows": "none", "identity": []}));
    assert_eq!(nothing.name, None);
    assert!(!nothing.diagnostics.is_empty());
}

/// A value that may stand anywhere: of every shape, and of words that mean something.
fn intruder() -> impl Strategy<Value = Json> {
    let word = prop::sample::select(vec![
        "rigid",
        "parallel",
        "guarded",
        "retry",
        "n",
        "match",
        "let",
        "if",
        "memory",
        "x",
        "1 +",
        "${",
        "a.b[0]",
        "core://self",
        "submit",
        "Line",
        "array[Line]",
        "_",
        "{a: b",
        "1h",
        "expire",
        "entity",
        "",
        "now()",
        "v => v",
    ]);
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        word.prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"kind": "rigid", "statements": [{"kind": "break"}]}])),
        Just(json!({"kind": "literal", "value": {"a": [1]}})),
    ]
}

/// The number of values in a document, itself included.
fn size(value: &Json) -> usize {
    1 + match value {
        Json::Array(list) => list.iter().map(size).sum(),
        Json::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

/// The n-th value of a document.
fn nth<'d>(value: &'d mut Json, n: &mut usize) -> Option<&'d mut Json> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Json::Array(list) => list.iter_mut().find_map(|item| nth(item, n)),
        Json::Object(map) => map.values_mut().find_map(|item| nth(item, n)),
        _ => None,
    }
}

proptest! {
    /// Whatever stands where, checking ends with a module or with errors that say why not.
    #[test]
    fn damaged_programs_are_refused_or_checked(
        text in prop::sample::select(vec![EXPENSES, TRIAGE, EVERYTHING]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), intruder()), 1..6),
    ) {
        let mut document = example(text);
        for (place, value) in changes {
            let mut n = place.index(size(&document));
            if let Some(node) = nth(&mut document, &mut n) {
                *node = value;
            }
        }
        let (module, found) = check(&document);
        let errors = found.iter().filter(|finding| finding.is_error()).count();
        prop_assert!(module.is_some() || errors > 0);
        for finding in &found {
            prop_assert!(codes::ALL.iter().any(|(code, _)| *code == finding.code), "{}", finding.code);
            let place = finding.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            prop_assert!(document.pointer(place).is_some(), "{} in {}", finding.pointer, document);
        }
    }
}

#[test]
fn objects_of_a_store_are_refused_by_name() {
    let found = |reference: Json| {
        let mut document = program(&json!([]));
        document["reference"] = json!({"rates": reference});
        codes_of(&document)
    };
    assert_eq!(found(json!({"$object": "rates.json"})), [("E152", "/reference/rates".to_owned())]);
    assert_eq!(found(json!({"$object": 1, "b": 2})), []);
}
