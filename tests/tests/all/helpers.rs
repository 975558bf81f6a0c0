//! AIs that others ask as a tool: what they are told to be, what they are asked, and how much of it on a day.

use scaigrid_tests::{Client, ModelServer, Place, Server, Told, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    an_ai_is_made_a_helper,
    a_helper_is_tried_out,
    helpers_are_asked_by_others_and_counted,
    a_helpers_day_is_bounded,
    a_room_shows_who_can_be_asked,
);

const HELPERS: &str = "/v1/admin/helpers";

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A server whose model `m` is this one.
fn with_model(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let allowed = upstream.address().to_string();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &allowed).start();
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url()}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    root.enable_model("m");
    (server, root)
}

/// A new AI; its path.
fn ai(client: &Client, local_id: &str, model: &str, prompt: &str) -> String {
    let body =
        json!({"local_id": local_id, "model": model, "display_name": local_id, "system_prompt": prompt});
    let made = client.post("/v1/admin/participants/model").json(&body).answer(201).data();
    format!("/v1/admin/participants/{}", text(&made["id"]))
}

/// A new helper; its path.
fn helper(client: &Client, local_id: &str, model: &str, more: &Value) -> String {
    let path = ai(client, local_id, model, "");
    let mut body = json!({"helper_enabled": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.put(&format!("{path}/helper"), &body).answer(200);
    path
}

fn invocations(client: &Client, path: &str) -> Vec<Value> {
    let page = client.get(&format!("{path}/helper/invocations?limit=100")).answer(200).json();
    assert_eq!(page["meta"]["has_more"], false);
    page["data"].as_array().unwrap().clone()
}

/// A model's wish to have a helper asked.
fn wishes(tool: &str, query: &str) -> Told {
    let arguments = json!({"query": query}).to_string();
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    let whole = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "upstream",
        "choices": [choice], "usage": usage});
    Told::Raw(whole.to_string())
}

fn says(text: &str) -> Told {
    Told::Text(text.to_owned())
}

/// What a model was told of its tools' calls, in the last question.
fn told_of_tools(upstream: &ModelServer) -> Vec<String> {
    let asked = upstream.asked();
    let messages = asked.last().unwrap().body["messages"].as_array().unwrap().clone();
    let of_tools = messages.iter().filter(|message| message["role"] == "tool");
    of_tools.map(|message| text(&message["content"]).to_owned()).collect()
}

fn an_ai_is_made_a_helper(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    let root = root.in_tenant(&tenant);
    let (_, key) = root.user("ada@acme.example", &["tenant_admin"]);
    let boss = server.client(&key);
    let path = ai(&boss, "lawyer", "echo", "You know the law.");
    let config = format!("{path}/helper");
    assert_eq!(boss.get(HELPERS).answer(200).json()["data"], json!([]));

    // Whether it is to be one has to be said at first.
    let cap = json!({"helper_daily_token_cap": 1000});
    let refused = boss.put(&config, &cap).refused(422, "SW_VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["helper_enabled"]);
    let full = json!({"helper_enabled": true, "helper_role_description": "Contracts.", "helper_temperature": 30,
        "helper_daily_token_cap": 100_000, "planner_enabled": true, "above_threshold_dispatcher_only": false});
    let made = boss.put(&config, &full).answer(200);
    let shown = made.data();
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{shown}");
    }
    assert_eq!(
        (&shown["local_id"], &shown["model"], &shown["enabled"]),
        (&json!("lawyer"), &json!("echo"), &json!(true))
    );
    let etag = made.header("etag").unwrap();
    assert_eq!(boss.get(&path).answer(200).header("etag"), Some(etag), "it is the participant's");

    // What is left out stays; null takes away.
    let none = json!({"helper_daily_token_cap": null, "helper_temperature": null});
    let shown = boss.put(&config, &none).header("If-Match", etag).answer(200).data();
    assert_eq!(
        (&shown["helper_daily_token_cap"], &shown["helper_temperature"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&shown["helper_enabled"], &shown["helper_role_description"]),
        (&json!(true), &json!("Contracts."))
    );
    boss.put(&config, &cap).header("If-Match", etag).refused(412, "SW_PRECONDITION_FAILED");
    boss.put(&config, &none).answer(200);
    let log = boss.pages("/v1/audit/events", "items");
    let updates: Vec<&Value> = log.iter().filter(|record| record["action"] == "participant.update").collect();
    assert_eq!(updates.len(), 2, "a change that changes nothing writes none: {updates:?}");
    assert!(updates.iter().all(|record| path.ends_with(text(&record["resource_id"]))), "{updates:?}");

    for (body, field) in [
        (json!({"helper_temperature": 201}), "helper_temperature"),
        (json!({"helper_temperature": -1}), "helper_temperature"),
        (json!({"helper_daily_token_cap": -1}), "helper_daily_token_cap"),
        (json!({"helper_role_description": "x".repeat(2001)}), "helper_role_description"),
        (json!({"helper_role_description": "\u{0}"}), "helper_role_description"),
        (json!({"temperature": 1}), "temperature"),
    ] {
        let refused = boss.put(&config, &body).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    // People are no helpers.
    let people = boss.get("/v1/admin/participants?participant_type=human").answer(200).json();
    let human = format!("/v1/admin/participants/{}", text(&people["data"][0]["id"]));
    boss.put(&format!("{human}/helper"), &full).refused(409, "SW_CONFLICT");

    // Of another tenant there is nothing to see.
    let other = server.admin().tenant("other");
    let other = server.admin().in_tenant(&other);
    for refused in [
        other.put(&config, &full),
        other.get(&format!("{config}/invocations")),
        other.post(&format!("{config}/playground")).json(&json!({"query": "x"})),
    ] {
        refused.refused(404, "SW_PARTICIPANT_NOT_FOUND");
    }
    assert_eq!(other.get(HELPERS).answer(200).json()["data"], json!([]));
    for n in 0..3 {
        helper(&boss, &format!("more-{n}"), "echo", &json!({"helper_enabled": false}));
    }
    let first = boss.get(&format!("{HELPERS}?limit=3")).answer(200).json();
    assert_eq!(first["data"].as_array().unwrap().len(), 3);
    let next = format!("{HELPERS}?limit=3&cursor={}", text(&first["meta"]["next_cursor"]));
    let rest = boss.get(&next).answer(200).json();
    assert_eq!((&rest["data"][0]["local_id"], &rest["meta"]["has_more"]), (&json!("more-2"), &json!(false)));
    server.stop();
}

fn a_helper_is_tried_out(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_model(place, &upstream);
    let path = ai(&root, "lawyer", "m", "You know the law.");
    let playground = format!("{path}/helper/playground");
    let query = json!({"query": "Is it binding?"});
    root.post(&playground).json(&query).refused(409, "SW_CONFLICT");
    let off = json!({"helper_enabled": false, "helper_role_description": "Contracts.", "helper_temperature": 30,
        "helper_daily_token_cap": 0});
    root.put(&format!("{path}/helper"), &off).answer(200);
    upstream.then([says("It is binding")]);
    let before = root.usage().len();
    let answer = root.post(&playground).json(&query).answer(200).data();
    assert_eq!((&answer["text"], &answer["model"]), (&json!("It is binding"), &json!("m")));
    assert_eq!(answer["usage"], json!({"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}));
    let asked = &upstream.asked()[0].body;
    let system = text(&asked["messages"][0]["content"]);
    assert!(system.starts_with("You know the law.\n\nYour role: Contracts."), "{system}");
    assert_eq!(asked["messages"][1], json!({"role": "user", "content": "Is it binding?"}));
    assert_eq!(asked["temperature"], json!(0.3));
    // Nothing is kept of it but what it has used.
    assert_eq!(invocations(&root, &path), [] as [Value; 0]);
    assert_eq!(root.usage().len(), before + 1);

    for body in [json!({"query": " "}), json!({"query": "x".repeat(16 * 1024 + 1)}), json!({})] {
        let refused = root.post(&playground).json(&body).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["query"]);
    }
    upstream.then([Told::Status(400, String::new(), "no".to_owned())]);
    let failed = root.post(&playground).json(&query).exchange();
    assert!(failed.status >= 400, "{failed}");
    server.stop();
}

fn helpers_are_asked_by_others_and_counted(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_model(place, &upstream);
    let lawyer = helper(&root, "lawyer", "m", &json!({"helper_role_description": "Contracts."}));
    let asker = helper(&root, "secretary", "m", &json!({}));
    let playground = format!("{asker}/helper/playground");
    let long = format!("Is it binding? {}", "é".repeat(600));
    upstream.then([wishes("ask_lawyer", &long), says("By law yes"), says("The lawyer says yes")]);
    let answer = root.post(&playground).json(&json!({"query": "Ask the lawyer."})).answer(200).data();
    assert_eq!(answer["text"], "The lawyer says yes");
    let asked = upstream.asked();
    assert_eq!(asked.len(), 3);
    let tools = asked[0].body["tools"].to_string();
    assert!(tools.contains("ask_lawyer") && tools.contains("Contracts."), "{tools}");
    assert!(text(&asked[1].body["messages"][0]["content"]).contains("Your role: Contracts."));
    assert_eq!(asked[1].body["messages"][1]["content"], json!(long));
    assert_eq!(told_of_tools(&upstream), ["By law yes"]);

    let rows = invocations(&root, &lawyer);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert!(text(&row["id"]).starts_with("hiv_") && asker.ends_with(text(&row["asked_by"])), "{row}");
    assert_eq!((&row["status"], &row["tokens"]), (&json!("completed"), &json!(13)), "{row}");
    assert_eq!(row["question"], json!(long.chars().take(500).collect::<String>()));
    assert!(row["finished_at"].is_string(), "{row}");
    assert_eq!(invocations(&root, &asker), [] as [Value; 0], "a trial is none");

    // What fails is told, and counts nothing.
    let failing = Told::Status(400, String::new(), "no".to_owned());
    upstream.then([wishes("ask_lawyer", "again"), failing, says("It did not work")]);
    let answer = root.post(&playground).json(&json!({"query": "Once more."})).answer(200).data();
    assert_eq!(answer["text"], "It did not work");
    assert_eq!(told_of_tools(&upstream), ["error: The request is not valid"], "not what its backend says");
    let rows = invocations(&root, &lawyer);
    assert_eq!((&rows[0]["status"], &rows[0]["tokens"]), (&json!("failed"), &json!(0)));
    assert_eq!(rows[0]["question"], "again");
    let page = root.get(&format!("{lawyer}/helper/invocations?limit=1")).answer(200).json();
    assert_eq!((&page["data"][0]["question"], &page["meta"]["has_more"]), (&json!("again"), &json!(true)));

    // One that is switched off is not offered.
    root.put(&format!("{lawyer}/helper"), &json!({"helper_enabled": false})).answer(200);
    upstream.then([says("Alone")]);
    root.post(&playground).json(&json!({"query": "And now?"})).answer(200);
    let asked = upstream.asked();
    let tools = asked.last().unwrap().body["tools"].to_string();
    assert!(!tools.contains("ask_lawyer"), "{tools}");
    server.stop();
}

fn a_helpers_day_is_bounded(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_model(place, &upstream);
    let lawyer = helper(&root, "lawyer", "m", &json!({"helper_daily_token_cap": 20}));
    let asker = helper(&root, "secretary", "m", &json!({}));
    let playground = format!("{asker}/helper/playground");
    let query = json!({"query": "Ask the lawyer."});
    // Each answer uses 13: the second begins below the cap, and the third does not.
    for _ in 0..2 {
        upstream.then([wishes("ask_lawyer", "x"), says("By law yes"), says("well")]);
        root.post(&playground).json(&query).answer(200);
        assert_eq!(told_of_tools(&upstream), ["By law yes"]);
    }
    let spent = || {
        let before = upstream.asked().len();
        upstream.then([wishes("ask_lawyer", "x"), says("never mind")]);
        root.post(&playground).json(&query).answer(200);
        assert_eq!(upstream.asked().len(), before + 2, "the helper was not asked");
        let told = told_of_tools(&upstream);
        assert!(told[0].contains("budget of the helper"), "{told:?}");
        assert_eq!(invocations(&root, &lawyer).len(), 2);
    };
    spent();
    root.put(&format!("{lawyer}/helper"), &json!({"helper_daily_token_cap": 27})).answer(200);
    upstream.then([wishes("ask_lawyer", "x"), says("By law yes"), says("well")]);
    root.post(&playground).json(&query).answer(200);
    assert_eq!(invocations(&root, &lawyer).len(), 3);
    root.put(&format!("{lawyer}/helper"), &json!({"helper_daily_token_cap": null})).answer(200);
    upstream.then([wishes("ask_lawyer", "x"), says("By law yes"), says("well")]);
    root.post(&playground).json(&query).answer(200);
    assert_eq!(invocations(&root, &lawyer).len(), 4);
    // What was used is known after a restart.
    server.stop();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    root.put(&format!("{lawyer}/helper"), &json!({"helper_daily_token_cap": 52})).answer(200);
    upstream.then([wishes("ask_lawyer", "x"), says("never mind")]);
    root.post(&playground).json(&query).answer(200);
    assert!(told_of_tools(&upstream)[0].contains("budget of the helper"));
    server.stop();
}

fn a_room_shows_who_can_be_asked(place: &Place) {
    let server = place.start();
    let tenant = server.admin().tenant("acme");
    let root = server.admin().in_tenant(&tenant);
    let (_, ada) = root.user("ada@acme.example", &["tenant_user"]);
    let (_, eve) = root.user("eve@acme.example", &["tenant_user"]);
    let (ada, eve) = (server.client(&ada), server.client(&eve));
    let lawyer = helper(&root, "lawyer", "echo", &json!({"helper_role_description": "Contracts."}));
    helper(&root, "idle", "echo", &json!({"helper_enabled": false}));
    ai(&root, "poet", "echo", "");
    let room = ada.post("/v1/rooms").json(&json!({"name": "Contracts"})).answer(201).data();
    let path = format!("/v1/rooms/{}/helpers", text(&room["id"]));
    let shown = ada.pages(&path, "items");
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(lawyer.ends_with(text(&shown[0]["id"])));
    assert_eq!(shown[0]["helper_role_description"], "Contracts.");
    eve.get(&path).refused(404, "ROOM_NOT_FOUND");
    ada.get("/v1/rooms/room_01JZ8QZ5T0000000000000000A/helpers").refused(404, "ROOM_NOT_FOUND");
    root.put(&lawyer, &json!({"enabled": false})).answer(200);
    assert_eq!(ada.pages(&path, "items"), [] as [Value; 0]);
    server.stop();
}
