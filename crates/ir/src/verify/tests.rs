//! Each rule, by a program that breaks it and one that does not.

mod echoes;
mod outside;

use serde_json::{Value as Json, json};

use crate::load::check;

/// The findings of a program with these further declarations, as code and pointer.
fn findings(more: &Json) -> Vec<(&'static str, String)> {
    let mut document = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0",
        "types": {"Line": {"amount": "int", "note": "string?"}, "State": "enum[open, closed]"},
        "memory": {"seen": {"type": "map[string, int]"}, "log": {"type": "array[string]"}, "n": {"type": "int"}},
        "config": {"limit": {"type": "int", "default": 5}, "token": {"type": "string", "secret": true}},
        "models": [{"role": "primary", "model": "m"}], "plugins": [{"alias": "crm", "plugin": "acme.crm"}],
        "reference": {"rates": {"a": 1}}});
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    let (module, found) = check(&document);
    assert!(module.is_some(), "{found:?}");
    found.into_iter().map(|finding| (finding.code, finding.pointer.to_string())).collect()
}

/// The findings in the body of a flow with the parameters `x`, `line`, `lines` and `state`; pointers are
/// relative to the body.
fn body(body: &Json) -> Vec<(&'static str, String)> {
    let found = findings(&json!({"flows": [
        {"name": "main", "params": [
            {"name": "x", "type": "json"}, {"name": "line", "type": "Line"},
            {"name": "lines", "type": "array[Line]"}, {"name": "state", "type": "State"}], "body": body},
        {"name": "other", "params": [{"name": "a", "type": "int"}, {"name": "b", "type": "int?"}], "body": []}]}));
    let relative =
        |pointer: String| pointer.strip_prefix("/flows/0/body").map_or(pointer.clone(), str::to_owned);
    found.into_iter().map(|(code, pointer)| (code, relative(pointer))).collect()
}

/// The findings in one block of statements; pointers are relative to it.
fn statements(statements: &Json) -> Vec<(&'static str, String)> {
    let found = body(&json!([{"kind": "rigid", "statements": statements}]));
    let relative =
        |pointer: String| pointer.strip_prefix("/0/statements").map_or(pointer.clone(), str::to_owned);
    found.into_iter().map(|(code, pointer)| (code, relative(pointer))).collect()
}

/// The codes that an expression gets.
fn expression(text: &str) -> Vec<&'static str> {
    statements(&json!([{"kind": "expression", "value": text}])).into_iter().map(|(code, _)| code).collect()
}

fn only(found: &[(&'static str, String)], code: &str, pointer: &str) {
    assert_eq!(found, [(code, pointer.to_owned())].as_slice() as &[(&str, String)]);
}

fn rigid(statements: &Json) -> Json {
    json!({"kind": "rigid", "statements": statements})
}

fn set(name: &str) -> Json {
    rigid(&json!([{"kind": "let", "name": name, "value": "1"}]))
}

fn read(name: &str) -> Json {
    rigid(&json!([{"kind": "expression", "value": name}]))
}

#[test]
fn the_examples_are_clean() {
    for text in [
        include_str!("../../../../examples/expense-approval.json"),
        include_str!("../../../../examples/support-triage.json"),
        include_str!("../load/everything.json"),
    ] {
        let (module, found) = check(&serde_json::from_str(text).unwrap());
        assert!(module.is_some());
        assert_eq!(found, []);
    }
}

#[test]
fn names_must_be_bound_before() {
    assert_eq!(expression("nobody + 1"), ["E200"]);
    assert_eq!(expression("lines.map(l => l.amount + other)"), ["E200"]);
    assert_eq!(expression("lines.map((l, i) => l.amount + i)"), [""; 0]);
    only(&body(&json!([read("a"), set("a")])), "E200", "/0/statements/0/value");
    assert_eq!(body(&json!([set("a"), read("a")])), []);
    only(&statements(&json!([{"kind": "assign", "target": "z", "value": "1"}])), "E200", "/0/target");
}

#[test]
fn names_of_some_ways_only_are_warnings() {
    let one_way = json!([{"kind": "if", "condition": "x", "then": [{"kind": "let", "name": "a", "value": "1"}]},
        {"kind": "expression", "value": "a"}]);
    only(&statements(&one_way), "W200", "/1/value");
    let both = json!([{"kind": "if", "condition": "x", "then": [{"kind": "let", "name": "a", "value": "1"}],
        "else": [{"kind": "let", "name": "a", "value": "2"}]}, {"kind": "expression", "value": "a"}]);
    assert_eq!(statements(&both), []);
    let other_leaves = json!([{"kind": "if", "condition": "x", "then": [{"kind": "let", "name": "a", "value": "1"}],
        "else": [{"kind": "return"}]}, {"kind": "expression", "value": "a"}]);
    assert_eq!(statements(&other_leaves), []);

    let mut skipped = set("a");
    skipped["when"] = json!("x");
    skipped["result_binding"] = json!("r");
    only(&body(&json!([skipped, read("a"), read("r")])), "W200", "/1/statements/0/value");

    let looped =
        json!([{"kind": "foreach", "items": "lines", "var": "l", "body": [set("a"), read("l")]}, read("a")]);
    only(&body(&looped), "W200", "/1/statements/0/value");
    let after = json!([{"kind": "foreach", "items": "lines", "var": "l", "body": []}, read("l")]);
    only(&body(&after), "E200", "/1/statements/0/value");
    let earlier_round =
        json!([{"kind": "while", "condition": "x", "max_iterations": 3, "body": [read("a"), set("a")]}]);
    only(&body(&earlier_round), "W200", "/0/body/0/statements/0/value");

    let tried = |handler: Json| json!([{"kind": "try", "body": [set("a")], "catch": [{"body": [handler]}]}, read("a")]);
    assert_eq!(body(&tried(set("a"))), []);
    only(&body(&tried(set("b"))), "W200", "/1/statements/0/value");
    let finally = json!([{"kind": "try", "body": [set("a")], "finally": [set("f")]}, read("a"), read("f")]);
    assert_eq!(body(&finally), []);
    let matched = json!([{"kind": "match", "subject": "x", "arms": [
        {"pattern": "{n}", "guard": "n > 1", "body": [read("n")]}, {"pattern": "_", "body": [set("n")]}]}, read("n")]);
    assert_eq!(body(&matched), []);
}

#[test]
fn declared_things_must_be_declared() {
    assert_eq!(expression("config.limit + 1"), [""; 0]);
    assert_eq!(expression("config.nothing"), ["E204"]);
    assert_eq!(expression("config.token"), ["E413"]);
    assert_eq!(expression("json(config)"), ["E413"]);
    assert_eq!(expression("config['token']"), ["E413"]);
    assert_eq!(expression("reference.rates.a"), [""; 0]);
    assert_eq!(expression("reference.none"), ["E204"]);
    assert_eq!(expression("memory.seen['a']"), [""; 0]);
    assert_eq!(expression("memory.none"), ["E203"]);
    assert_eq!(expression("execution.id + identity.name + env.HOME"), [""; 0]);
    assert_eq!(expression("execution.pid"), ["E204"]);
    assert_eq!(expression("input.line.amount + line.amount"), [""; 0]);
    assert_eq!(expression("input.none"), ["E204"]);
}

#[test]
fn functions_methods_and_lambdas() {
    assert_eq!(expression("nothing(1)"), ["E207"]);
    assert_eq!(expression("now(1)"), ["E302"]);
    assert_eq!(expression("lines.frobnicate()"), ["E303"]);
    assert_eq!(expression("lines.sum(l => l.amount) |> to_string()"), [""; 0]);
    assert_eq!(expression("reference.rates.set('a', 2)"), ["E403"]);
    assert_eq!(expression("memory.seen.set('a', 2)"), ["E411"]);
    assert_eq!(expression("memory.seen.get('a') ?? 0"), [""; 0]);
    assert_eq!(expression("memory.n.last(2)"), ["E411"]);
    assert_eq!(expression("now()"), [""; 0]);
    let lambda = json!([{"kind": "let", "name": "f", "value": {"kind": "lambda", "params": ["a"],
        "body": {"kind": "name", "name": "a"}}}]);
    only(&statements(&lambda), "E407", "/0/value");
}

#[test]
fn types_where_they_are_known() {
    assert_eq!(expression("line.amount - 'a'"), ["E300"]);
    assert_eq!(expression("line.amount > 'a'"), ["E300"]);
    assert_eq!(expression("!line.amount"), ["E300"]);
    assert_eq!(expression("if lines then 1 else 2"), ["E300"]);
    assert_eq!(expression("line.prise"), ["W300"]);
    assert_eq!(expression("x.anything - x.other"), [""; 0]);
    only(&body(&json!([{"kind": "foreach", "items": "line", "var": "l", "body": []}])), "E300", "/0/items");
    let returns = |value: &str| {
        findings(&json!({"flows": [{"name": "f", "returns": "Line", "body": [
            rigid(&json!([{"kind": "return", "value": value}]))]}]}))
    };
    assert_eq!(returns("{amount: 1}"), []);
    only(&returns("{note: 'a'}"), "E300", "/flows/0/body/0/statements/0/value");
    only(&returns("{amount: 'a'}"), "E300", "/flows/0/body/0/statements/0/value");
    let nothing = findings(&json!({"flows": [{"name": "f", "returns": "Line", "body": []}]}));
    only(&nothing, "W402", "/flows/0/body");
}

#[test]
fn matches_over_countable_values_are_exhaustive() {
    let arms = |subject: &str, patterns: &[&str]| {
        let arms: Vec<_> = patterns.iter().map(|pattern| json!({"pattern": pattern, "body": []})).collect();
        body(&json!([{"kind": "match", "subject": subject, "arms": arms}]))
    };
    assert_eq!(arms("state", &["open", "closed"]), []);
    assert_eq!(arms("state", &[":open | :closed"]), []);
    only(&arms("state", &["open"]), "E401", "/0");
    only(&arms("x == 1", &["true"]), "E401", "/0");
    assert_eq!(arms("state", &["open", "_"]), []);
    only(&arms("state", &["_", "open"]), "W401", "/0/arms/1");
    only(&arms("x", &["Unknown"]), "E206", "/0/arms/0/pattern");
    only(&arms("x", &["{a} | {b}", "_"]), "E106", "/0/arms/0/pattern");
}

#[test]
fn what_never_runs_is_a_warning() {
    let found = statements(&json!([{"kind": "return"}, {"kind": "log", "level": "info", "message": "a"},
        {"kind": "log", "level": "info", "message": "b"}]));
    only(&found, "W400", "/1");
    let both = json!([
        rigid(&json!([{"kind": "if", "condition": "x", "then": [{"kind": "return"}],
        "else": [{"kind": "fail", "code": "NO"}]}])),
        set("a")
    ]);
    only(&body(&both), "W400", "/1");
    let handlers = json!([{"kind": "try", "body": [], "catch": [{"body": []}, {"code": "A", "body": []}]}]);
    only(&body(&handlers), "W401", "/0/catch/1");
}

#[test]
fn loops_are_left_from_inside_only() {
    only(&statements(&json!([{"kind": "break"}])), "E406", "/0");
    let inside = json!([{"kind": "foreach", "items": "lines", "var": "l",
        "body": [rigid(&json!([{"kind": "continue"}]))]}]);
    assert_eq!(body(&inside), []);
}

#[test]
fn memory_operations_fit_their_variables() {
    let memory = |statement: Json| {
        let mut statement = statement;
        statement["kind"] = json!("memory");
        statements(&json!([statement]))
    };
    assert_eq!(memory(json!({"op": "add", "target": "log", "value": "'a'"})), []);
    assert_eq!(memory(json!({"op": "set", "target": "seen", "key": "'a'", "value": "1"})), []);
    assert_eq!(memory(json!({"op": "update", "target": "n", "value": "v => (v ?? 0) + 1"})), []);
    only(&memory(json!({"op": "add", "target": "seen", "value": "1"})), "E411", "/0");
    only(&memory(json!({"op": "set", "target": "n", "key": "'a'", "value": "1"})), "E411", "/0/key");
    only(&memory(json!({"op": "set", "target": "n"})), "E411", "/0");
    only(&memory(json!({"op": "list", "target": "n"})), "E411", "/0");
    only(&memory(json!({"op": "search", "target": "log"})), "E411", "/0");
    assert_eq!(
        memory(
            json!({"op": "search", "target": "log", "query": "'a'", "limit": "3", "min_similarity": "0.5"})
        ),
        []
    );
    only(
        &memory(json!({"op": "search", "target": "log", "query": "'a'", "min_similarity": "'much'"})),
        "E300",
        "/0/min_similarity",
    );
    only(&memory(json!({"op": "list", "target": "log", "prefix": "'a'"})), "E411", "/0/prefix");
    only(&memory(json!({"op": "get", "target": "none"})), "E203", "/0/target");
    only(&memory(json!({"op": "add", "target": "log", "value": "1"})), "E300", "/0/value");
    only(&memory(json!({"op": "set", "target": "n", "value": "v => v"})), "E407", "/0/value");
}

#[test]
fn what_is_always_there_is_read_only() {
    for target in ["reference.rates", "config.limit", "memory.n", "input"] {
        only(&statements(&json!([{"kind": "assign", "target": target, "value": "1"}])), "E403", "/0/target");
    }
    only(&statements(&json!([{"kind": "let", "name": "config", "value": "1"}])), "E006", "/0/name");
}

#[test]
fn checkpoints_and_their_options() {
    let checkpoint = |more: Json| {
        let mut block = json!({"kind": "checkpoint", "checkpoint_type": "a", "present": {"prompt": "p"},
            "options": ["yes", "no"], "timeout": "1h", "result_binding": "answer"});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        body(&json!([block, read("answer.decision")]))
    };
    assert_eq!(
        checkpoint(json!({"on_timeout": "resolve:no", "on_response": {"yes": [read("answer.comment")]}})),
        []
    );
    only(&checkpoint(json!({"on_response": {"maybe": []}})), "E408", "/0/on_response/maybe");
    only(&checkpoint(json!({"options": ["yes", "yes"]})), "E408", "/0/options/1");
    only(&checkpoint(json!({"on_timeout": "resolve:maybe"})), "E409", "/0/on_timeout");
    only(&checkpoint(json!({"on_timeout": "escalate"})), "E409", "/0/on_timeout");
    only(&checkpoint(json!({"on_timeout": "resolve:no", "timeout": null})), "E409", "/0/on_timeout");
    assert_eq!(
        checkpoint(json!({"required_approvals": 2, "exclude_requester": true, "form": {"type": "object"}})),
        []
    );
    only(&checkpoint(json!({"hitl_target": {"queue": "q"}})), "E492", "/0/hitl_target");
    let action = |more: Json| {
        let mut action =
            json!({"alias": "crm", "method": "pay", "args": {"amount": "line.amount"}, "decisions": ["yes"]});
        for (key, value) in more.as_object().unwrap() {
            action[key] = value.clone();
        }
        checkpoint(json!({"action": action}))
    };
    assert_eq!(action(json!({"expires_in": "1h"})), []);
    only(&action(json!({"alias": "none"})), "E208", "/0/action/alias");
    only(&action(json!({"decisions": null})), "E416", "/0/action/decisions");
    only(&action(json!({"args": {"amount": "nobody"}})), "E200", "/0/action/args/amount");
}

#[test]
fn calls_of_own_flows() {
    let call = |more: Json| {
        let mut block = json!({"kind": "core_call", "target": "core://self", "flow_name": "other",
            "input_bindings": {"a": "1"}});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        body(&json!([block]))
    };
    assert_eq!(call(json!({})), []);
    only(&call(json!({"flow_name": "none"})), "E202", "/0/flow_name");
    only(&call(json!({"input_bindings": {}})), "E301", "/0");
    only(&call(json!({"input_bindings": {"a": "1", "z": "1"}})), "E301", "/0/input_bindings/z");
    only(&call(json!({"input_bindings": {"a": "'text'"}})), "E300", "/0/input_bindings/a");
    assert_eq!(call(json!({"target": "core://acme/ledger", "version": 2, "instance_key": "line.note"})), []);
    assert_eq!(call(json!({"target": "core://ledger"})), []);
    assert_eq!(call(json!({"is_async": true, "timeout": "1m", "retry": {"max": 2}})), []);
}

#[test]
fn circles_of_calls_need_a_person_in_between() {
    let call = |to: &str| json!({"kind": "core_call", "target": "core://self", "flow_name": to});
    let wait = json!({"kind": "checkpoint", "checkpoint_type": "a", "present": {"prompt": "p"}});
    let flows = |first: Json| {
        findings(&json!({"flows": [{"name": "a", "body": first}, {"name": "b", "body": [call("a")]}]}))
    };
    only(&flows(json!([call("b")])), "E410", "/flows/1/body/0/flow_name");
    only(&flows(json!([call("a")])), "E410", "/flows/0/body/0/flow_name");
    assert_eq!(flows(json!([wait.clone(), call("b")])), []);
    let mut perhaps = wait;
    perhaps["when"] = json!("execution.id == ''");
    only(&flows(json!([perhaps, call("b")])), "E410", "/flows/1/body/0/flow_name");
}

#[test]
fn declarations_of_a_module() {
    let flow = |name: &str| json!({"name": name, "body": []});
    only(&findings(&json!({"flows": [flow("a"), flow("a")]})), "E201", "/flows/1/name");
    let trigger = |more: Json| {
        let mut trigger = json!({"kind": "event", "name": "t", "target_flow": "a", "event": "e"});
        for (key, value) in more.as_object().unwrap() {
            trigger[key] = value.clone();
        }
        findings(&json!({"flows": [flow("a")], "triggers": [trigger]}))
    };
    assert_eq!(trigger(json!({"filter": "data.total > 5 && event != ''"})), []);
    only(&trigger(json!({"target_flow": "b"})), "E202", "/triggers/0/target_flow");
    only(&trigger(json!({"filter": "random() > 0.5"})), "E400", "/triggers/0/filter");
    only(&trigger(json!({"filter": "config.limit > 5"})), "E200", "/triggers/0/filter");
    let unknown =
        json!({"flows": [{"name": "a", "params": [{"name": "p", "type": "array[Nothing]"}], "body": []}]});
    only(&findings(&unknown), "E206", "/flows/0/params/0/type");
    let entity = json!({"flows": [flow("a")], "instance": {"mode": "entity", "key": "customer"}});
    assert_eq!(findings(&entity).iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["E402"]);
    let twice = json!([{"kind": "rigid", "id": "i", "statements": []}, {"kind": "rigid", "id": "i", "statements": []}]);
    only(&body(&twice), "E412", "/1/id");
}

#[test]
fn every_code_is_documented() {
    let page = include_str!("../../../../docs/ir.md");
    for (code, meaning) in crate::diagnostic::codes::ALL {
        assert!(page.contains(&format!("| {code} | {meaning} |")), "docs/ir.md lacks | {code} | {meaning} |");
    }
}

#[test]
fn many_names_and_branches_are_told_apart() {
    let branch = |n: usize| {
        let name = format!("v{n}");
        json!({"kind": "if", "condition": "x", "then": [{"kind": "let", "name": name, "value": "{a: x, b: x}"}]})
    };
    let mut steps: Vec<_> = (0..4000).map(branch).collect();
    steps.push(json!({"kind": "expression", "value": "v3999"}));
    steps.push(json!({"kind": "expression", "value": "v4000"}));
    assert_eq!(
        statements(&Json::from(steps)),
        [("E200", "/4001/value".to_owned()), ("W200", "/4000/value".to_owned())]
    );
}

#[test]
fn errors_come_before_warnings_and_each_by_place() {
    let document = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "extra": 1, "flows": [
        {"name": "main", "params": [{"name": "input", "type": "json"}], "body": [
            {"kind": "rigid", "more": 1, "statements": [{"kind": "expression", "value": "nobody"}]},
            {"kind": "rigid", "statements": [{"kind": "return"}]},
            {"kind": "rigid", "statements": [{"kind": "break"}]}]},
        {"name": "main", "body": []}]});
    let found: Vec<_> =
        check(&document).1.into_iter().map(|found| (found.code, found.pointer.to_string())).collect();
    let at = |code, pointer: &str| (code, pointer.to_owned());
    assert_eq!(
        found,
        [
            at("E200", "/flows/0/body/0/statements/0/value"),
            at("E406", "/flows/0/body/2/statements/0"),
            at("E201", "/flows/1/name"),
            at("W100", "/extra"),
            at("W100", "/flows/0/body/0/more"),
            at("W400", "/flows/0/body/2"),
            at("W201", "/flows/0/params/0/name"),
        ]
    );
}

#[test]
fn slips_are_answered_with_what_was_meant() {
    let document = |body: Json| {
        json!({"schema_version": "0.2", "name": "P", "version": "1.0.0",
            "types": {"Line": {"amount": "int"}}, "memory": {"seen": {"type": "int"}},
            "config": {"limit": {"type": "int"}}, "plugins": [{"alias": "crm", "plugin": "acme.crm"}],
            "models": [{"role": "writer", "model": "m"}],
            "flows": [{"name": "main", "params": [{"name": "line", "type": "Line"}], "body": body}]})
    };
    let statement = |statement: Json| json!([{"kind": "rigid", "statements": [statement]}]);
    let value = |text: &str| statement(json!({"kind": "expression", "value": text}));
    let checkpoint = |more: Json| {
        let mut block = json!({"kind": "checkpoint", "checkpoint_type": "a", "present": {"prompt": "p"},
            "options": ["approve", "reject"]});
        for (key, value) in more.as_object().unwrap() {
            block[key] = value.clone();
        }
        json!([block])
    };
    for (body, meant) in [
        (checkpoint(json!({"assigne": "role:tenant_admin"})), "assignee"),
        (checkpoint(json!({"priority": "hihg"})), "high"),
        (checkpoint(json!({"on_response": {"aprove": []}})), "approve"),
        (json!([{"kind": "chekpoint"}]), "checkpoint"),
        (statement(json!({"kind": "lets", "name": "a", "value": "1"})), "let"),
        (value("lin.amount"), "line"),
        (value("line.amuont"), "amount"),
        (value("input.lime"), "line"),
        (value("config.limits"), "limit"),
        (value("memory.sen"), "seen"),
        (value("lenght(line)"), "length"),
        (value("[1].frist()"), "first"),
        (value("execution.flwo"), "flow"),
        (statement(json!({"kind": "assign", "target": "lines", "value": "1"})), "line"),
        (statement(json!({"kind": "plugin_call", "alias": "cmr", "method": "find"})), "crm"),
        (json!([{"kind": "model_call", "role": "writter", "prompt": "Hi"}]), "writer"),
        (json!([{"kind": "model_call", "role": "writer", "prompt": "Hi", "output_type": "Lines"}]), "Line"),
        (json!([{"kind": "core_call", "target": "core://self", "flow_name": "mian"}]), "main"),
    ] {
        let found = check(&document(body.clone())).1;
        let hint = format!("did you mean {meant:?}?");
        assert!(found.iter().any(|finding| finding.message.contains(&hint)), "{body}: {found:?}");
    }
    for body in [value("total"), json!([{"kind": "jump"}]), checkpoint(json!({"colour": 1}))] {
        let found = check(&document(body)).1;
        assert!(found.iter().all(|finding| !finding.message.contains("did you mean")), "{found:?}");
    }
}
