//! Prompts tried out in rooms: who may, what is shown, and that nothing remains.

use scaigrid_tests::{Client, ModelServer, Place, Server, Told, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    a_preview_shows_what_would_be_asked,
    a_run_asks_once_and_leaves_nothing_behind,
    the_studio_is_open_to_whom_it_is_opened,
);

fn settle(place: &Place, upstream: &ModelServer, model: &Value) -> (Server, Client) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url()}));
    let mut made = json!({"slug": "m", "display_name": "M", "modality": "chat", "global": true,
        "backends": [{"backend_id": backend}]});
    made.as_object_mut().unwrap().extend(model.as_object().unwrap().clone());
    root.post("/v1/models").json(&made).answer(201);
    root.enable_model("m");
    (server, root)
}

fn ai(client: &Client, name: &str, prompt: &str) -> String {
    let body = json!({"local_id": name, "model": "m", "display_name": name, "system_prompt": prompt,
        "default_response_mode": "conversational"});
    let made = client.post("/v1/admin/participants/model").json(&body).answer(201).data();
    made["id"].as_str().unwrap().to_owned()
}

fn room(client: &Client, participants: &[&str]) -> String {
    let body = json!({"name": "Atelier", "participants": participants});
    client.post("/v1/rooms").json(&body).answer(201).data()["id"].as_str().unwrap().to_owned()
}

fn open_studio(client: &Client) {
    client.put("/v1/admin/prompt-studio", &json!({"enabled": true})).answer(200);
}

fn at(room: &str, what: &str) -> String {
    format!("/v1/rooms/{room}/prompt-studio/{what}")
}

fn sources(parts: &Value) -> Vec<&str> {
    parts.as_array().unwrap().iter().map(|part| part["source"].as_str().unwrap()).collect()
}

fn messages(client: &Client, room: &str) -> usize {
    client.pages(&format!("/v1/rooms/{room}/messages"), "items").len()
}

fn a_preview_shows_what_would_be_asked(place: &Place) {
    let upstream = ModelServer::start();
    let limits = json!({"context_window": 400, "max_output_tokens": 100});
    let (server, root) = settle(place, &upstream, &limits);
    open_studio(&root);
    let eve = ai(&root, "eve", "Mind the house rules.");
    let room = room(&root, &[]);
    for n in 0..6 {
        let text = format!("{n} {}", "word ".repeat(50));
        root.post(&format!("/v1/rooms/{room}/messages")).json(&json!({"text": text})).answer(201);
    }
    root.put(&format!("/v1/rooms/{room}/participants/{eve}"), &json!({})).answer(200);
    let body = json!({"participant_id": eve, "trigger_text": "And now?"});
    let shown = root.post(&at(&room, "preview")).json(&body).answer(200).data();
    assert_eq!(shown["budget"], 300, "{shown}");
    let kept = sources(&shown["messages"]);
    assert_eq!((kept[0], kept[1], *kept.last().unwrap()), ("system:participant", "system:room", "trigger"));
    assert_eq!(shown["messages"][0]["content"], "Mind the house rules.");
    assert_eq!(shown["messages"][0]["priority"], 100);
    assert_eq!(shown["messages"][0]["role"], "system");
    // The oldest are left out, and no more than must be.
    let trimmed = shown["would_be_trimmed"].as_array().unwrap();
    let left = kept.iter().filter(|source| **source == "history").count();
    assert_eq!(left + trimmed.len(), 6, "{shown}");
    assert!(left > 0 && !trimmed.is_empty(), "{shown}");
    assert!(trimmed[0]["content"].as_str().unwrap().starts_with("0 "), "{shown}");
    let sum: u64 = shown["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| u64::try_from(part["content"].as_str().unwrap().len().div_ceil(4)).unwrap() + 4)
        .sum();
    assert_eq!(shown["estimated_tokens"], sum);
    assert!(sum <= 300);
    // What is tried out stands in the place of the AI's own.
    let mut other = body.clone();
    other["system_prompt_override"] = "Answer in rhymes.".into();
    let shown = root.post(&at(&room, "preview")).json(&other).answer(200).data();
    assert_eq!(shown["messages"][0]["content"], "Answer in rhymes.");
    // What is no plugin here is left out, also what no database takes.
    other["plugins_enabled"] = json!(["scaiwave.nothing", "a\u{0}b", ""]);
    assert_eq!(root.post(&at(&room, "preview")).json(&other).answer(200).data(), shown);
    other["system_prompt_override"] = "word ".repeat(300).into();
    let refused = root.post(&at(&room, "preview")).json(&other).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["trigger_text"]);
    assert!(upstream.asked().is_empty());
    server.stop();
}

fn a_run_asks_once_and_leaves_nothing_behind(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream, &json!({}));
    open_studio(&root);
    let eve = ai(&root, "eve", "Mind the house rules.");
    let room = room(&root, &["eve"]);
    upstream.then([Told::Text("One.\n\nTwo.".to_owned())]);
    let body = json!({"participant_id": eve, "trigger_text": "And now?", "system_prompt_override": "Rhyme.",
        "temperature": 0.25, "top_p": 0.5, "max_tokens": 77, "frequency_penalty": 1, "presence_penalty": -1,
        "reasoning_effort": "low"});
    let ran = root.post(&at(&room, "run")).json(&body).answer(200).data();
    assert_eq!((&ran["text"], &ran["model"]), (&json!("One.\n\nTwo."), &json!("m")), "{ran}");
    assert_eq!(ran["messages"], json!(["One.", "Two."]));
    assert_eq!(ran["usage"]["input_tokens"], 10);
    let asked = upstream.asked();
    assert_eq!(asked.len(), 1);
    let question = &asked[0].body;
    assert!(question["messages"][0]["content"].as_str().unwrap().starts_with("Rhyme."), "{question}");
    assert_eq!(question["temperature"], 0.25);
    assert_eq!(question["max_tokens"], 77);
    assert_eq!((&question["frequency_penalty"], &question["presence_penalty"]), (&json!(1.0), &json!(-1.0)));
    assert_eq!(question["reasoning_effort"], "low");
    assert!(question["tools"].is_null(), "{question}");
    assert_eq!(messages(&root, &room), 0);
    let shown = root.get("/v1/admin/participants?participant_type=model").answer(200).json();
    let kept = shown["data"].as_array().unwrap().iter().find(|one| one["id"] == eve.as_str()).unwrap();
    assert_eq!(kept["system_prompt"], "Mind the house rules.");
    assert_eq!(root.usage().len(), 1, "it counts");
    for (field, bad) in [
        ("temperature", json!(2.5)),
        ("top_p", json!(1.5)),
        ("max_tokens", json!(0)),
        ("frequency_penalty", json!(-3)),
        ("reasoning_effort", json!("much")),
        ("response_mode", json!("loud")),
        ("trigger_text", json!(" ")),
        ("participant_id", json!("eve")),
    ] {
        let mut wrong = body.clone();
        wrong[field] = bad;
        let refused = root.post(&at(&room, "run")).json(&wrong).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    assert_eq!(upstream.asked().len(), 1);
    server.stop();
}

fn the_studio_is_open_to_whom_it_is_opened(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream, &json!({}));
    let eve = ai(&root, "eve", "");
    let max = ai(&root, "max", "");
    let room = room(&root, &["eve"]);
    let me = root.get("/v1/me").answer(200).data()["user"]["id"].as_str().unwrap().to_owned();
    let (_, key) = root.user("ada@example.org", &["tenant_user"]);
    let ada = server.client(&key);
    let body = json!({"participant_id": eve, "trigger_text": "And now?"});
    let refused = |client: &Client, status: u16, code: &str| {
        for what in ["preview", "run"] {
            client.post(&at(&room, what)).json(&body).refused(status, code);
        }
    };
    root.put("/v1/admin/prompt-studio", &json!({"enabled": false})).answer(200);
    refused(&root, 403, "STUDIO_DISABLED");
    // Whoever is not in the room is told nothing of it.
    refused(&ada, 404, "ROOM_NOT_FOUND");
    root.put("/v1/admin/prompt-studio", &json!({"enabled": true, "allowed_users": [me]})).answer(200);
    let ada_id = ada.get("/v1/me").answer(200).data()["user"]["id"].as_str().unwrap().replace("usr_", "par_");
    root.put(&format!("/v1/rooms/{room}/participants/{ada_id}"), &json!({})).answer(200);
    refused(&ada, 403, "STUDIO_FORBIDDEN");
    root.post(&at(&room, "preview")).json(&body).answer(200);
    // People, AIs that are elsewhere, and those that are disabled are not tried out.
    for other in [&ada_id, &max] {
        let body = json!({"participant_id": other, "trigger_text": "And now?"});
        root.post(&at(&room, "run")).json(&body).refused(409, "STUDIO_NO_PARTICIPANT");
    }
    root.put(&format!("/v1/admin/participants/{eve}"), &json!({"enabled": false})).answer(200);
    refused(&root, 409, "STUDIO_NO_PARTICIPANT");
    assert!(upstream.asked().is_empty());
    server.stop();
}
