//! What Cores remember, looked at from outside.

use scaigrid_tests::programs::{flow, program, rigid};
use scaigrid_tests::{CORES, Client, Place, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    what_a_core_remembers_is_read_page_by_page,
    what_is_large_is_read_by_its_key_and_secrets_are_masked,
    each_instance_has_its_own_memory,
    nobody_else_sees_what_a_core_remembers,
);

/// A program that fills its memory: `fill` by numbers, `put` by what it is given.
fn remembering() -> Value {
    let params = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"name": name, "type": "json", "default": null})).collect()
    };
    let set = |target: &str, key: &str, value: &str| json!({"kind": "memory", "op": "set", "target": target, "key": key, "value": value});
    let mut remembering = program(
        "Remembering",
        &[
            flow(
                "fill",
                &json!([{"name": "count", "type": "int"}]),
                &json!([{"kind": "foreach", "id": "each", "items": "range(0, count)", "var": "i", "body": [
                    rigid("one", &json!([
                        set("by", "`k${100 + i}`", "i"),
                        {"kind": "memory", "op": "add", "target": "log", "value": "`t${i}`"},
                    ])),
                ]}]),
            ),
            flow(
                "put",
                &params(&["customer", "key", "value"]),
                &json!([rigid("puts", &json!([set("by", "key", "value")]))]),
            ),
        ],
    );
    remembering["memory"] = json!({
        "by": {"type": "map[string, json]"},
        "known": {"type": "array[int]", "default": [5, 6]},
        "log": {"type": "array[string]"},
        "state": {"type": "{step: int, note: string?}", "default": {"step": 3}},
        "total": {"type": "int", "default": 7},
    });
    remembering
}

fn items(client: &Client, core: &str, rest: &str) -> Vec<Value> {
    let data = client.get(&format!("{CORES}/{core}/memory{rest}")).answer(200).data();
    data["items"].as_array().unwrap().clone()
}

/// All pages of so many items, none of which is longer.
fn paged(client: &Client, core: &str, rest: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut more) = (Vec::new(), String::new());
    loop {
        let path = format!("{CORES}/{core}/memory{rest}?limit={limit}{more}");
        let page = client.get(&path).answer(200).json();
        let items = page["data"]["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        all.extend(items.iter().cloned());
        match page["pagination"]["next_cursor"].as_str() {
            Some(next) => more = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn what_a_core_remembers_is_read_page_by_page(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Remembering", &remembering());
    let shape =
        |variable: &Value| (variable["name"].clone(), variable["kind"].clone(), variable["entries"].clone());
    let fresh: Vec<_> = items(&admin, &core, "").iter().map(shape).collect();
    let expected = |by: u64, log: u64| {
        vec![
            (json!("by"), json!("map"), json!(by)),
            (json!("known"), json!("array"), json!(2)),
            (json!("log"), json!("array"), json!(log)),
            (json!("state"), json!("value"), Value::Null),
            (json!("total"), json!("value"), Value::Null),
        ]
    };
    assert_eq!(fresh, expected(0, 0));
    assert_eq!(items(&admin, &core, "/by"), Vec::<Value>::new());
    assert_eq!(admin.invoke(&core, "fill", &json!({"count": 25}))["status"], "completed");
    let filled = paged(&admin, &core, "", 2);
    assert_eq!(filled.iter().map(shape).collect::<Vec<_>>(), expected(25, 25));
    assert_eq!(filled[4]["type"], "int");
    assert!(filled.iter().all(|variable| variable["more"] == false), "{filled:?}");

    let by: Vec<Value> =
        (0..25).map(|i| json!({"key": format!("k{}", 100 + i), "index": null, "value": i})).collect();
    let log: Vec<Value> =
        (0..25).map(|i| json!({"key": null, "index": i, "value": format!("t{i}")})).collect();
    for limit in [7, 25, 100] {
        assert_eq!(paged(&admin, &core, "/by", limit), by);
        assert_eq!(paged(&admin, &core, "/log", limit), log);
    }
    // What was never written holds its default.
    let defaults =
        [json!({"key": null, "index": 0, "value": 5}), json!({"key": null, "index": 1, "value": 6})];
    assert_eq!(paged(&admin, &core, "/known", 1), defaults);
    assert_eq!(items(&admin, &core, "/total"), [json!({"key": null, "index": null, "value": 7})]);
    // One of them alone.
    for (rest, expected) in [
        ("/by?key=k103", vec![by[3].clone()]),
        ("/log?key=4", vec![log[4].clone()]),
        ("/known?key=1", vec![defaults[1].clone()]),
        ("/state?key=step", vec![json!({"key": "step", "index": null, "value": 3})]),
        ("/by?key=nothing", vec![]),
        ("/log?key=25", vec![]),
        ("/log?key=first", vec![]),
        ("/total?key=x", vec![]),
    ] {
        assert_eq!(items(&admin, &core, rest), expected, "{rest}");
    }
    // It is there however the Core stands.
    admin.act(&core, "stop");
    assert_eq!(paged(&admin, &core, "/by", 10), by);
    server.stop();
}

fn what_is_large_is_read_by_its_key_and_secrets_are_masked(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let hosted = json!({"name": "Remembering", "source": remembering(),
        "environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    let core = admin.post(CORES).json(&hosted).answer(201).data()["id"].as_str().unwrap().to_owned();
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    let put = |key: &str, value: &Value| {
        let done = admin.invoke(&core, "put", &json!({"key": key, "value": value}));
        assert_eq!(done["status"], "completed", "{done}");
    };
    let large = "x".repeat(100_000);
    put("large", &json!(large));
    put("hush-hush, a key", &json!({"said": "say hush-hush"}));
    put("plain", &json!(1));
    let entry = |key: &str, value: Value| json!({"key": key, "index": null, "value": value});
    let expected = [
        entry("***, a key", json!({"said": "say ***"})),
        entry("large", json!({"omitted": true, "bytes": 100_002})),
        entry("plain", json!(1)),
    ];
    // A secret in a key does not keep the list from going on, and is not in its cursor either.
    for limit in [1, 2, 100] {
        assert_eq!(paged(&admin, &core, "/by", limit), expected);
    }
    assert_eq!(items(&admin, &core, "/by?key=large"), [entry("large", json!(large))]);
    server.stop();
}

fn each_instance_has_its_own_memory(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut entities = remembering();
    entities["instance"] = json!({"mode": "entity", "key": "customer"});
    let core = admin.run("Entities", &entities);
    for customer in ["eve", "adam"] {
        let input = json!({"customer": customer, "key": "who", "value": customer});
        assert_eq!(admin.invoke(&core, "put", &input)["status"], "completed");
    }
    let who = |value: &str| [json!({"key": "who", "index": null, "value": value})];
    assert_eq!(items(&admin, &core, "/by?instance_key=eve"), who("eve"));
    assert_eq!(items(&admin, &core, "/by?instance_key=adam"), who("adam"));
    assert_eq!(items(&admin, &core, "?instance_key=eve")[0]["entries"], 1);
    // What belongs to no instance, and to one that never was.
    assert_eq!(items(&admin, &core, "/by"), Vec::<Value>::new());
    assert_eq!(items(&admin, &core, "?instance_key=nobody")[0]["entries"], 0);
    let long = "x".repeat(513);
    for path in
        [format!("?instance_key={long}"), format!("/by?instance_key={long}"), "/by?instance_key=".into()]
    {
        let refused = admin.get(&format!("{CORES}/{core}/memory{path}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["instance_key"]);
    }
    // A Core without instances has one memory, whoever is named.
    let one = admin.run("One", &remembering());
    admin.invoke(&one, "put", &json!({"key": "who", "value": "all"}));
    assert_eq!(items(&admin, &one, "/by?instance_key=eve"), who("all"));
    server.stop();
}

fn nobody_else_sees_what_a_core_remembers(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Remembering", &remembering());
    admin.invoke(&core, "fill", &json!({"count": 3}));
    let path = format!("{CORES}/{core}/memory");
    admin.get(&format!("{path}/nothing")).refused(404, "MEMORY_NOT_FOUND");
    // The mark of what was written as a whole is no variable.
    admin.get(&format!("{path}/.known")).refused(404, "MEMORY_NOT_FOUND");
    let stranger = admin.in_tenant(&admin.tenant("strangers"));
    for rest in ["", "/by", "/nothing"] {
        stranger.get(&format!("{path}{rest}")).refused(404, "CORE_NOT_FOUND");
    }
    let (_, key) = admin.user("nobody@example.org", &[]);
    server.client(&key).get(&path).refused(403, "AUTHZ_PERMISSION_DENIED");
    // A cursor is of one variable of one instance.
    let page = admin.get(&format!("{path}/by?limit=1")).answer(200).json();
    let cursor = page["pagination"]["next_cursor"].as_str().unwrap();
    for other in ["/log", "/by?instance_key=eve"] {
        let joint = if other.contains('?') { '&' } else { '?' };
        let refused =
            admin.get(&format!("{path}{other}{joint}cursor={cursor}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["cursor"]);
    }
    server.stop();
}
