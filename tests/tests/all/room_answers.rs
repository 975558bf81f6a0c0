//! Answers of AIs in rooms: who answers, what they are asked, how they answer, and that they answer once.

use std::collections::BTreeSet;
use std::time::Duration;

use scaigrid_tests::{Client, Db, ModelServer, Place, Server, Told, eventually, on, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    who_is_meant_answers,
    an_ai_is_asked_with_its_prompt_and_what_was_said,
    an_ai_that_is_disabled_is_silent,
    ais_do_not_answer_ais,
    a_streaming_answer_is_heard_while_it_is_made,
    a_conversational_answer_is_a_message_for_each_paragraph,
    an_ai_calls_its_tools,
    tools_are_called_between_pieces,
    a_spent_budget_is_told_in_the_room,
    what_may_pass_is_tried_again_and_what_does_not_is_told,
    an_answer_outlives_its_server,
    nothing_is_answered_in_a_room_that_is_archived,
    nothing_is_answered_to_somebody_who_is_gone,
    a_suspended_tenant_is_answered_when_it_is_back,
);

/// Longer than a dead node's lease lasts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for something that must not come to have come.
const QUIET: Duration = Duration::from_millis(1500);

fn start(place: &Place, upstream: &ModelServer) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start()
}

/// A server whose model `m` is answered for by this one.
fn settle(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = start(place, upstream);
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 60_000}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    root.enable_model("m");
    (server, root)
}

/// An AI of the model `m` with what else is said of it; its id.
fn ai(client: &Client, name: &str, more: &Value) -> String {
    let mut body = json!({"local_id": name, "model": "m", "display_name": name.to_uppercase()});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = client.post("/v1/admin/participants/model").json(&body).answer(201).data();
    made["id"].as_str().unwrap().to_owned()
}

fn conversational() -> Value {
    json!({"default_response_mode": "conversational"})
}

fn room(client: &Client, participants: &[&str]) -> String {
    let body = json!({"name": "Atelier", "participants": participants});
    let made = client.post("/v1/rooms").json(&body).answer(201).data();
    made["id"].as_str().unwrap().to_owned()
}

fn say(client: &Client, room: &str, text: &str) {
    client.post(&format!("/v1/rooms/{room}/messages")).json(&json!({"text": text})).answer(201);
}

/// What was said in a room, the oldest first.
fn messages(client: &Client, room: &str) -> Vec<Value> {
    let mut all = client.pages(&format!("/v1/rooms/{room}/messages"), "items");
    all.sort_by_key(|message| message["seq"].as_i64());
    all
}

/// What AIs have said there: who and what.
fn answers(client: &Client, room: &str) -> Vec<(String, String)> {
    let of_ais = |message: &Value| message["author"]["participant_type"] != "human";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = messages(client, room).into_iter().filter(of_ais);
    all.map(|message| (text(&message["author"]["local_id"]), text(&message["text"]))).collect()
}

/// Waits for so many messages of AIs.
fn answered(client: &Client, room: &str, count: usize) -> Vec<(String, String)> {
    eventually("the AIs have answered", PATIENCE, || {
        Some(answers(client, room)).filter(|found| found.len() >= count)
    })
}

/// What AIs have said once nothing more comes.
fn at_last(client: &Client, room: &str) -> Vec<(String, String)> {
    std::thread::sleep(QUIET);
    answers(client, room)
}

fn said(who: &str, what: &str) -> (String, String) {
    (who.to_owned(), what.to_owned())
}

fn own_tenant(client: &Client) -> String {
    client.get("/v1/me").answer(200).data()["tenant"]["id"].as_str().unwrap().to_owned()
}

fn who_is_meant_answers(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url()}));
    root.global_model("usual", &[json!({"backend_id": backend})]);
    root.enable_model("usual");
    ai(&root, "dan", &json!({"model": "usual"}));
    root.put("/v1/admin/ai-config", &json!({"default_model": "usual"})).answer(200);
    ai(&root, "eve", &json!({}));
    ai(&root, "max", &json!({}));
    // Nobody is there: the tenant's default answers, and is still no member.
    let empty = room(&root, &[]);
    say(&root, &empty, "hello");
    assert_eq!(answered(&root, &empty, 1), [said("dan", "well")]);
    // Somebody is mentioned: they, and nobody else.
    say(&root, &empty, "what do you say, @max?");
    assert_eq!(answered(&root, &empty, 2)[1], said("max", "well"));
    assert_eq!(at_last(&root, &empty).len(), 2);
    // Somebody answers everything, unless somebody else is mentioned.
    let full = room(&root, &["eve"]);
    say(&root, &full, "hello");
    assert_eq!(answered(&root, &full, 1), [said("eve", "well")]);
    say(&root, &full, "@max and @dan, and you?");
    let mut both = answered(&root, &full, 3).split_off(1);
    both.sort();
    assert_eq!(both, [said("dan", "well"), said("max", "well")]);
    assert_eq!(at_last(&root, &full).len(), 3);
    server.stop();
}

fn an_ai_is_asked_with_its_prompt_and_what_was_said(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({"system_prompt": "Mind the house rules.", "temperature": 0.3}));
    let room = room(&root, &["eve"]);
    upstream.then([Told::Text("Good day".to_owned()), Told::Text("Four".to_owned())]);
    say(&root, &room, "Hello");
    answered(&root, &room, 1);
    say(&root, &room, "Two and two?");
    answered(&root, &room, 2);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].body["temperature"], 0.3);
    let told = asked[1].body["messages"].as_array().unwrap().clone();
    let system = told[0]["content"].as_str().unwrap();
    assert_eq!(told[0]["role"], "system");
    assert!(system.starts_with("Mind the house rules.") && system.contains("EVE"), "{system}");
    assert!(system.contains("Atelier"), "{system}");
    let rest = json!([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"},
        {"role": "user", "content": "Two and two?"}]);
    assert_eq!(Value::from(&told[1..]), rest);
    // With a third one there it is said who speaks.
    ai(&root, "max", &json!({}));
    say(&root, &room, "@max hello");
    answered(&root, &room, 3);
    let told = upstream.asked()[2].body["messages"].as_array().unwrap().clone();
    assert!(
        told.iter().any(|message| message["content"] == "EVE: Four" && message["role"] == "user"),
        "{told:?}"
    );
    let last = told.last().unwrap()["content"].as_str().unwrap();
    assert!(last.ends_with(": @max hello"), "{last}");
    // What was used stands at the message, and is the user's who asked.
    let answer = messages(&root, &room).remove(1);
    assert_eq!(answer["model"], "m", "{answer}");
    let me = root.get("/v1/me").answer(200).data();
    assert!(root.usage().iter().all(|record| record["user_id"] == me["user"]["id"]), "{:?}", root.usage());
    server.stop();
}

fn an_ai_that_is_disabled_is_silent(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let eve = ai(&root, "eve", &json!({}));
    ai(&root, "max", &json!({}));
    let both = room(&root, &["eve", "max"]);
    root.put(&format!("/v1/admin/participants/{eve}"), &json!({"enabled": false})).answer(200);
    say(&root, &both, "@eve are you there?");
    assert!(at_last(&root, &both).is_empty());
    say(&root, &both, "anybody?");
    assert_eq!(answered(&root, &both, 1), [said("max", "well")]);
    assert_eq!(at_last(&root, &both).len(), 1);
    server.stop();
}

fn ais_do_not_answer_ais(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    ai(&root, "max", &json!({}));
    let both = room(&root, &["eve", "max"]);
    upstream.always(Told::Text("@eve @max what do you think?".to_owned()));
    say(&root, &both, "@eve?");
    answered(&root, &both, 1);
    assert_eq!(at_last(&root, &both).len(), 1);
    assert_eq!(upstream.asked().len(), 1);
    server.stop();
}

fn a_streaming_answer_is_heard_while_it_is_made(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let room = room(&root, &["eve"]);
    upstream.always(Told::Slowly("one two three four five".to_owned(), Duration::from_millis(200)));
    let mut stream = root.get(&format!("/v1/rooms/{room}/stream")).listen();
    say(&root, &room, "count");
    let (mut pieces, mut text) = (0, String::new());
    let message = loop {
        let event = stream.next(PATIENCE).unwrap();
        match event.event.as_deref() {
            Some("delta") => {
                assert_eq!(event.id, None, "{event:?}");
                pieces += 1;
                text.push_str(event.data["text"].as_str().unwrap());
            }
            Some("message") if event.data["author"]["participant_type"] == "human" => {}
            Some("message") => break event.data,
            _ => {}
        }
    };
    assert_eq!(text, "one two three four five");
    assert!(pieces > 1, "it came at once");
    assert_eq!(message["text"], "one two three four five");
    assert_eq!(at_last(&root, &room).len(), 1);
    server.stop();
}

fn a_conversational_answer_is_a_message_for_each_paragraph(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &conversational());
    let room = room(&root, &["eve"]);
    upstream.then([Told::Text("First.\n\nSecond,\nwith a line.\n\n\nThird.".to_owned())]);
    say(&root, &room, "tell me");
    let found = answered(&root, &room, 3);
    assert_eq!(found, [said("eve", "First."), said("eve", "Second,\nwith a line."), said("eve", "Third.")]);
    // Together at one moment, and more than eight are none.
    let many: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
    upstream.then([Told::Text(many.join("\n\n"))]);
    say(&root, &room, "more");
    let found = answered(&root, &room, 4);
    assert_eq!(found.len(), 3 + 8, "{found:?}");
    assert_eq!(found[10].1, "p7\n\np8\n\np9\n\np10\n\np11");
    server.stop();
}

/// An answer that asks for a tool.
fn calling(name: &str, arguments: &Value) -> Told {
    let function = json!({"name": name, "arguments": arguments.to_string()});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "upstream", "choices": [choice],
        "usage": usage});
    Told::Raw(body.to_string())
}

fn an_ai_calls_its_tools(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let mut more = conversational();
    more["plugins"] = json!(["scaiwave.calculator"]);
    ai(&root, "eve", &more);
    let room = room(&root, &["eve"]);
    upstream.then([
        calling("scaiwave_calculator_calculate", &json!({"expression": "6 * 7"})),
        Told::Text("It is forty-two.".to_owned()),
    ]);
    say(&root, &room, "six times seven?");
    assert_eq!(answered(&root, &room, 1), [said("eve", "It is forty-two.")]);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    let offered: Vec<&str> = asked[0].body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(offered, ["scaiwave_calculator_calculate"]);
    let told = asked[1].body["messages"].as_array().unwrap();
    let result = told.last().unwrap();
    assert_eq!((&result["role"], &result["tool_call_id"]), (&json!("tool"), &json!("call_1")));
    assert!(result["content"].as_str().unwrap().contains("42"), "{result}");
    assert_eq!(told[told.len() - 2]["tool_calls"][0]["id"], "call_1");
    // Both rounds are counted.
    let answer = messages(&root, &room).pop().unwrap();
    assert_eq!(answer["usage"]["input_tokens"], 20, "{answer}");
    // Without the plugin there is no such tool.
    root.post("/v1/admin/plugins/scaiwave.calculator/disable").answer(200);
    say(&root, &room, "one and one?");
    assert_eq!(answered(&root, &room, 2)[1], said("eve", "well"));
    assert!(upstream.asked()[2].body["tools"].is_null());
    server.stop();
}

fn tools_are_called_between_pieces(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let function =
        json!({"name": "scaiwave_calculator_calculate", "arguments": "{\"expression\": \"2 + 2\"}"});
    let call = json!({"id": "c", "type": "function", "function": function});
    let script = json!({"script": [{"tool_calls": [call]}, "there it is"], "chunk_chars": 4});
    let backend = root.backend("echo", &script);
    root.global_model("scripted", &[json!({"backend_id": backend})]);
    root.enable_model("scripted");
    ai(&root, "eve", &json!({"model": "scripted"}));
    let room = room(&root, &["eve"]);
    say(&root, &room, "well?");
    assert_eq!(answered(&root, &room, 1), [said("eve", "there it is")]);
    assert_eq!(root.usage().len(), 2, "two rounds");
    server.stop();
}

/// The message that tells why nothing was answered.
fn failure(client: &Client, room: &str) -> Value {
    eventually("the failure is told", PATIENCE, || {
        messages(client, room).into_iter().find(|message| message["kind"] == "failure")
    })
}

fn a_spent_budget_is_told_in_the_room(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let room = room(&root, &["eve"]);
    let tenant = own_tenant(&root);
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"monthly_ai_tokens": 1}}))
        .answer(200);
    // Other words of a second ago may still be believed.
    std::thread::sleep(Duration::from_millis(1100));
    say(&root, &room, "hello");
    let told = failure(&root, &room);
    assert_eq!(told["error"], "AI_BUDGET_EXCEEDED", "{told}");
    assert!(!told["text"].as_str().unwrap().is_empty());
    assert!(upstream.asked().is_empty(), "nothing was asked for");
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"monthly_ai_tokens": 100_000}}))
        .answer(200);
    std::thread::sleep(Duration::from_millis(1100));
    say(&root, &room, "and now?");
    eventually("it answers again", PATIENCE, || answers(&root, &room).pop().filter(|last| last.1 == "well"));
    // That nothing came of it is no part of what is said.
    let told = upstream.asked()[0].body["messages"].to_string();
    assert!(!told.contains("used up"), "{told}");
    server.stop();
}

fn what_may_pass_is_tried_again_and_what_does_not_is_told(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let room = room(&root, &["eve"]);
    let secret = "the password is swordfish";
    upstream.then([Told::Status(400, String::new(), secret.to_owned())]);
    say(&root, &room, "hello");
    let told = failure(&root, &room);
    assert_eq!(told["error"], "BACKEND_ERROR", "{told}");
    assert!(!told.to_string().contains("swordfish"), "{told}");
    assert_eq!(upstream.asked().len(), 1, "it does not pass");
    root.post("/v1/admin/models/m/disable").answer(200);
    say(&root, &room, "are you there?");
    assert_eq!(at_last(&root, &room).len(), 1, "its model is disabled: it is silent");
    root.enable_model("m");
    // The gateway tries by itself a few times; the answer is tried again after that.
    let away = || Told::Status(429, "Retry-After: 1\r\n".to_owned(), "slowly".to_owned());
    upstream.then((0..4).map(|_| away()));
    say(&root, &room, "and now?");
    eventually("it answers", PATIENCE, || answers(&root, &room).pop().filter(|last| last.1 == "well"));
    assert_eq!(upstream.asked().len(), 1 + 4 + 1);
    server.stop();
}

fn an_answer_outlives_its_server(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let room = room(&root, &["eve"]);
    upstream.then([Told::Silence, Told::Stall("some words that never end".to_owned(), 2)]);
    upstream.always(Told::Text("here I am".to_owned()));
    say(&root, &room, "hello?");
    eventually("the model is asked", PATIENCE, || (upstream.asked().len() == 1).then_some(()));
    // Killed while the model says nothing,
    server.kill();
    let server = start(place, &upstream);
    eventually("the model is asked again", PATIENCE, || (upstream.asked().len() == 2).then_some(()));
    // and asked to end in the middle of what it says.
    server.stop();
    let server = start(place, &upstream);
    let root = server.admin();
    assert_eq!(answered(&root, &room, 1), [said("eve", "here I am")]);
    assert_eq!(at_last(&root, &room).len(), 1, "once");
    assert_eq!(upstream.asked().len(), 3);
    // What was answered is answered for good.
    server.kill();
    let server = start(place, &upstream);
    assert_eq!(at_last(&server.admin(), &room).len(), 1);
    assert_eq!(upstream.asked().len(), 3);
    server.stop();
}

fn nothing_is_answered_in_a_room_that_is_archived(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let room = room(&root, &["eve"]);
    upstream.then([Told::Late("too late".to_owned(), QUIET)]);
    say(&root, &room, "hello?");
    eventually("the model is asked", PATIENCE, || (upstream.asked().len() == 1).then_some(()));
    root.put(&format!("/v1/rooms/{room}"), &json!({"status": "archived"})).answer(200);
    std::thread::sleep(QUIET);
    assert!(at_last(&root, &room).is_empty());
    root.put(&format!("/v1/rooms/{room}"), &json!({"status": "open"})).answer(200);
    assert!(at_last(&root, &room).is_empty(), "it is not owed any more");
    server.stop();
}

fn nothing_is_answered_to_somebody_who_is_gone(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    ai(&root, "eve", &json!({}));
    let (id, key) = root.user("ada@example.org", &["tenant_user"]);
    let ada = server.client(&key);
    let room = room(&ada, &["eve"]);
    upstream.then([Told::Silence]);
    say(&ada, &room, "hello?");
    eventually("the model is asked", PATIENCE, || (upstream.asked().len() == 1).then_some(()));
    root.delete(&format!("/v1/users/{id}")).answer(204);
    server.stop();
    let server = start(place, &upstream);
    std::thread::sleep(QUIET);
    assert_eq!(upstream.asked().len(), 1, "nothing is asked in their name");
    server.stop();
}

fn a_suspended_tenant_is_answered_when_it_is_back(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let tenant = root.tenant("acme");
    let (_, key) = root.in_tenant(&tenant).user("ada@acme.example", &["tenant_admin"]);
    let ada = server.client(&key);
    ada.enable_model("m");
    ai(&ada, "eve", &json!({}));
    let room = room(&ada, &["eve"]);
    upstream.then([Told::Silence]);
    say(&ada, &room, "hello?");
    eventually("the model is asked", PATIENCE, || (upstream.asked().len() == 1).then_some(()));
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"status": "suspended"})).answer(200);
    server.kill();
    let server = start(place, &upstream);
    let root = server.admin();
    std::thread::sleep(QUIET);
    assert_eq!(upstream.asked().len(), 1, "nothing is done for it");
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"status": "active"})).answer(200);
    let ada = server.client(&key);
    eventually("it is active", PATIENCE, || (ada.get("/v1/me").exchange().status == 200).then_some(()));
    assert_eq!(answered(&ada, &room, 1), [said("eve", "well")]);
    server.stop();
}

#[test]
fn two_nodes_answer_once() {
    on(Db::Postgres, |place| {
        let upstream = ModelServer::start();
        let (first, one) = settle(place, &upstream);
        let allow = upstream.address().to_string();
        let second = place.further_node("second").set("SCAIGRID_EGRESS_ALLOW", &allow).start();
        let two = second.admin();
        ai(&one, "eve", &json!({}));
        let rooms: Vec<String> = (0..4).map(|_| room(&one, &["eve"])).collect();
        upstream.always(Told::Late("well".to_owned(), Duration::from_millis(50)));
        for turn in 0..40 {
            let client = if turn % 2 == 0 { &one } else { &two };
            say(client, &rooms[turn % rooms.len()], &format!("message {turn}"));
        }
        for room in &rooms {
            answered(&two, room, 10);
        }
        std::thread::sleep(QUIET);
        assert_eq!(upstream.asked().len(), 40);
        for room in &rooms {
            let all = messages(&one, room);
            let given: BTreeSet<&str> =
                all.iter().filter_map(|message| message["answer_id"].as_str()).collect();
            assert_eq!((all.len(), given.len()), (20, 10));
        }
        first.stop();
        second.stop();
    });
}

#[test]
fn a_node_that_was_thought_dead_says_nothing_more() {
    on(Db::Postgres, |place| {
        let upstream = ModelServer::start();
        let (first, one) = settle(place, &upstream);
        ai(&one, "eve", &json!({}));
        let room = room(&one, &["eve"]);
        upstream.then([Told::Late("of the first".to_owned(), Duration::from_secs(3))]);
        upstream.always(Told::Text("of the second".to_owned()));
        say(&one, &room, "hello?");
        eventually("the model is asked", PATIENCE, || (upstream.asked().len() == 1).then_some(()));
        first.pause();
        let allow = upstream.address().to_string();
        let second = place.further_node("second").set("SCAIGRID_EGRESS_ALLOW", &allow).start();
        let two = second.admin();
        assert_eq!(answered(&two, &room, 1), [said("eve", "of the second")]);
        first.resume();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(at_last(&two, &room), [said("eve", "of the second")]);
        first.stop();
        second.stop();
    });
}
