//! Conversations with published Cores: that wait for people, that are kept, and that are erased.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Db, Place, SCAICORE, ask, events, eventually, on_both_databases, programs, service, told,
};
use serde_json::{Value, json};

use crate::published::{chatting, published, serve, text};

on_both_databases!(
    a_conversation_waits_for_a_person_and_goes_on,
    conversations_are_found_again_by_name_and_by_entity,
    strangers_hear_that_a_person_is_waited_for_and_no_more,
    what_was_said_is_kept_until_it_is_erased,
    what_was_said_goes_when_its_time_is_over,
    what_was_asked_survives_the_death_of_the_node,
    the_official_client_goes_on_with_a_conversation,
);

const CHAT: &str = "/v1/inference/chat";
const SOON: Duration = Duration::from_secs(20);
const MODEL: &str = "scaicore/default/asking";

/// A program that asks a person before it answers.
fn asking() -> Value {
    chatting(&json!([
        programs::checkpoint(&json!({"options": ["yes", "no"], "assignee": "role:tenant_admin",
            "present": {"prompt": "May ${message} be?"}})),
        {"kind": "rigid", "statements": [{"kind": "return", "value": "{response: `${message}: ${answer.decision}`}"}]}
    ]))
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn say(client: &Client, messages: &[Value], metadata: &Value) -> Value {
    let question = json!({"model": MODEL, "messages": messages, "metadata": metadata});
    client.post(CHAT).json(&question).answer(200).data()
}

fn waits(answer: &Value) -> String {
    assert_eq!(answer["choices"][0]["finish_reason"], "checkpoint", "{answer}");
    assert_eq!(answer["scaicore"]["status"], "waiting", "{answer}");
    answer["scaicore"]["checkpoints"][0]["id"].as_str().unwrap().to_owned()
}

fn executions(client: &Client, core: &str) -> usize {
    client.pages(&format!("{CORES}/{core}/executions"), "items").len()
}

fn a_conversation_waits_for_a_person_and_goes_on(place: &Place) {
    let (server, root) = serve(place);
    let core = published(&root, "Asking", &asking());
    let mut messages = vec![user("a refund")];
    let answer = say(&root, &messages, &json!({}));
    let checkpoint = waits(&answer);
    let about = &answer["scaicore"]["checkpoints"][0];
    assert_eq!(about["url"], format!("{SCAICORE}/checkpoints/{checkpoint}"));
    assert_eq!(
        (&about["prompt"], &about["assignee"]),
        (&json!("May a refund be?"), &json!("role:tenant_admin"))
    );
    let said = text(&answer);
    assert!(said.contains("May a refund be?") && said.contains(&checkpoint), "{said}");
    assert_eq!(root.get(about["url"].as_str().unwrap()).answer(200).data()["status"], "pending");

    // While nobody has decided, it says that it waits still: to the next message, and to the same one.
    messages.extend([assistant(&said), user("Well?")]);
    let still = say(&root, &messages, &json!({}));
    assert_eq!(waits(&still), checkpoint);
    assert_eq!(still["scaicore"]["execution_id"], answer["scaicore"]["execution_id"]);
    assert_eq!(waits(&say(&root, &[user("a refund")], &json!({}))), checkpoint);
    assert!(text(&still).contains("still waits"), "{still}");
    // Who brings along what they were told first is known, too, though it was told anew in other words.
    let first = [user("a refund"), assistant(&said), user("Hello?")];
    let known = say(&root, &first, &json!({}));
    assert_eq!(waits(&known), checkpoint);
    assert_eq!(known["scaicore"]["conversation_id"], answer["scaicore"]["conversation_id"]);
    assert_eq!(executions(&root, &core), 1);

    // Streamed, too.
    let stream = |messages: &[Value]| {
        let question = json!({"model": MODEL, "messages": messages, "stream": true});
        let (pieces, done) =
            events(&root.post("/oai/v1/chat/completions").json(&question).answer(200).text());
        assert!(done);
        pieces
    };
    messages.extend([assistant(&text(&still)), user("And now?")]);
    let pieces = stream(&messages);
    let last = pieces.iter().find(|piece| !piece["choices"][0]["finish_reason"].is_null()).unwrap();
    assert_eq!(
        (waits(last), &last["choices"][0]["finish_reason"]),
        (checkpoint.clone(), &json!("checkpoint"))
    );
    messages.extend([assistant(&told(&pieces)), user("And now?")]);

    // Decided, the next request gets the answer of the same execution; the one after that is a new question.
    root.resolve(&checkpoint, "yes");
    let pieces = stream(&messages);
    assert_eq!(told(&pieces), "a refund: yes");
    assert_eq!(executions(&root, &core), 1);
    messages.extend([assistant("a refund: yes"), user("a discount")]);
    let next = say(&root, &messages, &json!({}));
    let other = waits(&next);
    assert_ne!(other, checkpoint);
    assert_eq!(next["scaicore"]["conversation_id"], answer["scaicore"]["conversation_id"]);
    assert_eq!(executions(&root, &core), 2);
    // A conversation that begins as the first did is another one: its answer was given.
    let another = say(&root, &[user("a refund")], &json!({}));
    assert_ne!(waits(&another), checkpoint);
    assert_ne!(another["scaicore"]["conversation_id"], answer["scaicore"]["conversation_id"]);

    // What is cancelled is told as such.
    root.post(&format!("{SCAICORE}/checkpoints/{other}/cancel")).json(&json!({})).answer(200);
    messages.extend([assistant(&text(&next)), user("Well?")]);
    let question = json!({"model": MODEL, "messages": messages});
    let cancelled = root.post(CHAT).json(&question).refused(502, "BACKEND_ERROR");
    assert!(cancelled.text().contains("cancelled"), "{cancelled}");
    server.stop();
}

fn conversations_are_found_again_by_name_and_by_entity(place: &Place) {
    let (server, root) = serve(place);
    let core = published(&root, "Asking", &asking());
    // By a name of the caller's own, without what was said before.
    let named = json!({"conversation_id": "ticket 7"});
    let checkpoint = waits(&say(&root, &[user("a")], &named));
    assert_eq!(waits(&say(&root, &[user("well?")], &named)), checkpoint);
    // The same name is another conversation for somebody else.
    let (_, key) = root.user("other@example.org", &["tenant_user"]);
    let other = server.client(&key);
    assert_ne!(waits(&say(&other, &[user("well?")], &named)), checkpoint);
    root.resolve(&checkpoint, "no");
    let answer = say(&root, &[user("well?")], &named);
    assert_eq!(text(&answer), "a: no");
    assert_ne!(waits(&say(&root, &[user("a")], &named)), checkpoint);
    // By the id that was told.
    let id = answer["scaicore"]["conversation_id"].clone();
    let log = root.get(&format!("{SCAICORE}/conversations/{}", id.as_str().unwrap())).answer(200).data();
    assert_eq!((&log["key"], &log["turns"]), (&json!("ticket 7"), &json!(3)));
    let question = json!({"model": MODEL, "messages": [user("x")], "metadata": {"conversation_id": id}});
    other.post(CHAT).json(&question).refused(422, "VALIDATION_ERROR");
    root.post(CHAT).json(&question).answer(200);

    // By whom it is about.
    let about = json!({"entity_id": "ada"});
    let checkpoint = waits(&say(&root, &[user("b")], &about));
    assert_eq!(waits(&say(&root, &[user("well?")], &about)), checkpoint);
    assert_ne!(waits(&say(&root, &[user("well?")], &json!({"entity_id": "bob"}))), checkpoint);
    root.resolve(&checkpoint, "yes");
    assert_eq!(text(&say(&root, &[user("well?")], &about)), "b: yes");
    assert_ne!(waits(&say(&root, &[user("c")], &about)), checkpoint);

    // Several at once that begin the same conversation begin one.
    let before = executions(&root, &core);
    let found: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| waits(&say(&root, &[user("d")], &json!({"conversation_id": "at once"})))))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let conversations = root.pages(&format!("{CORES}/{core}/conversations"), "items");
    let at_once = conversations.iter().filter(|it| it["key"] == "at once").count();
    assert_eq!(at_once, 1, "{found:?}");
    assert!(executions(&root, &core) > before);
    server.stop();
}

fn strangers_hear_that_a_person_is_waited_for_and_no_more(place: &Place) {
    let (server, root) = serve(place);
    let admin = server.admin();
    let group = json!({"name": "All", "scope": "global"});
    let group = admin.post("/v1/model-groups").json(&group).answer(201).data();
    let core = root.run("Asking", &asking());
    root.post(&format!("{CORES}/{core}/publish")).json(&json!({"group_ids": [group["id"]]})).answer(200);
    admin.tenant("strangers");
    let there = admin.in_tenant("strangers");
    there.enable_model(MODEL);
    let answer = say(&there, &[user("a secret")], &json!({}));
    let checkpoint = waits(&answer);
    assert_eq!(
        answer["scaicore"]["checkpoints"][0],
        json!({"id": checkpoint, "url": format!("{SCAICORE}/checkpoints/{checkpoint}"), "expires_at": null})
    );
    assert!(!text(&answer).contains("May a secret be?"), "{answer}");
    there.get(&format!("{SCAICORE}/checkpoints/{checkpoint}")).refused(404, "CHECKPOINT_NOT_FOUND");
    root.resolve(&checkpoint, "yes");
    let messages = [user("a secret"), assistant(&text(&answer)), user("well?")];
    assert_eq!(text(&say(&there, &messages, &json!({}))), "a secret: yes");
    server.stop();
}

fn what_was_said_is_kept_until_it_is_erased(place: &Place) {
    let (server, root) = serve(place);
    let core = published(&root, "Asking", &asking());
    let messages = [user("the treasure map")];
    let answer = say(&root, &messages, &json!({"entity_id": "ada"}));
    let (checkpoint, said) = (waits(&answer), text(&answer));
    let id = answer["scaicore"]["conversation_id"].as_str().unwrap().to_owned();
    let execution = answer["scaicore"]["execution_id"].as_str().unwrap().to_owned();
    let path = format!("{SCAICORE}/conversations/{id}");
    // While an execution of it goes on it stays.
    root.delete(&path).refused(409, "CONFLICT");
    root.resolve(&checkpoint, "yes");
    say(&root, &[user("the treasure map"), assistant(&said), user("well?")], &json!({"entity_id": "ada"}));

    let listed = root.get(&format!("{CORES}/{core}/conversations?limit=1")).answer(200).data();
    let item = &listed["items"][0];
    assert_eq!((&item["id"], &item["turns"], &item["status"]), (&json!(id), &json!(2), &json!("answered")));
    assert_eq!(item["entity_id"], "ada");
    assert!(item["messages"].is_null());
    let log = root.get(&path).answer(200).data();
    let texts: Vec<(&str, &str)> = log["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap()))
        .collect();
    let expected = [
        ("user", "the treasure map"),
        ("assistant", said.as_str()),
        ("user", "well?"),
        ("assistant", "the treasure map: yes"),
    ];
    assert_eq!(texts, expected);
    assert_eq!((&log["execution_ids"], &log["omitted_turns"]), (&json!([execution]), &json!(0)));
    root.get(&format!("{CORES}/core_01J00000000000000000000000/conversations"))
        .refused(404, "CORE_NOT_FOUND");

    root.delete(&path).answer(204);
    root.get(&path).refused(404, "CONVERSATION_NOT_FOUND");
    root.delete(&path).refused(404, "CONVERSATION_NOT_FOUND");
    root.get(&format!("{SCAICORE}/executions/{execution}")).refused(404, "EXECUTION_NOT_FOUND");
    assert_eq!(root.pages(&format!("{CORES}/{core}/logs"), "logs"), Vec::<Value>::new());
    root.get(&format!("{SCAICORE}/checkpoints/{checkpoint}")).refused(404, "CHECKPOINT_NOT_FOUND");
    assert!(root.pages(&format!("{CORES}/{core}/conversations"), "items").is_empty());
    // That it was erased is recorded, what was in it is nowhere.
    let records = root.pages("/v1/audit/events", "items");
    let erased = records.iter().find(|record| record["action"] == "conversation.delete").unwrap();
    assert_eq!(erased["resource_id"], json!(id));
    assert!(!serde_json::to_string(&records).unwrap().contains("treasure"), "{records:?}");
    server.stop();
}

fn what_was_said_goes_when_its_time_is_over(place: &Place) {
    let (server, root) = serve(place);
    let plain = chatting(
        &json!([{"kind": "rigid", "statements": [{"kind": "return", "value": "{response: message}"}]}]),
    );
    let core = published(&root, "Asking", &plain);
    let (old, mixed) = (json!({"conversation_id": "old"}), json!({"conversation_id": "mixed"}));
    for about in [&old, &mixed] {
        assert_eq!(text(&say(&root, &[user("the treasure map")], about)), "the treasure map");
    }
    eventually("the turns have ended", SOON, || {
        let all = root.pages(&format!("{CORES}/{core}/conversations"), "items");
        all.iter().all(|talk| talk["status"] == "answered").then_some(())
    });
    let ages = match place.db() {
        Db::Sqlite => "UPDATE executions SET finished_at = finished_at - 172800000000",
        Db::Postgres => "UPDATE executions SET finished_at = finished_at - interval '2 days'",
    };
    place.run_sql(&format!("{ages} WHERE finished_at IS NOT NULL"));
    say(&root, &[user("the weather")], &mixed);
    server.stop();
    let server = place.launch().set("SCAIGRID_EXECUTION_RETENTION_DAYS", "1").start();
    let root = server.admin().in_tenant("default");
    let left = eventually("the old one is gone", Duration::from_secs(30), || {
        let left = root.pages(&format!("{CORES}/{core}/conversations"), "items");
        (left.len() == 1).then(|| left[0].clone())
    });
    assert_eq!(left["key"], "mixed");
    let path = format!("{SCAICORE}/conversations/{}", left["id"].as_str().unwrap());
    let log = root.get(&path).answer(200).data();
    let asked: Vec<&Value> =
        log["messages"].as_array().unwrap().iter().map(|said| &said["content"]).collect();
    assert_eq!(asked, ["the weather", "the weather"]);
    // It goes on.
    assert_eq!(text(&say(&root, &[user("and tomorrow")], &mixed)), "and tomorrow");
    server.stop();
}

fn what_was_asked_survives_the_death_of_the_node(place: &Place) {
    let (server, root) = serve(place);
    let slow = chatting(&json!([{"kind": "rigid", "statements": [
        {"kind": "emit", "event": "begun", "data": "message"},
        {"kind": "sleep", "duration": "4s"},
        {"kind": "return", "value": "{response: `${message}: done`}"}
    ]}]));
    let core = published(&root, "Asking", &slow);
    let question = json!({"model": MODEL, "messages": [user("work")]});
    // Asked, and killed while it is at it.
    root.post(CHAT).json(&question).abandon(Duration::from_secs(1));
    eventually("it is at work", SOON, || (executions(&root, &core) == 1).then_some(()));
    server.kill();
    let server = place.start();
    let root = server.admin().in_tenant("default");
    root.status_becomes(&core, "running");
    let answer = root.post(CHAT).json(&question).answer(200).data();
    assert_eq!(text(&answer), "work: done");
    assert_eq!(executions(&root, &core), 1);
    let id = answer["scaicore"]["conversation_id"].as_str().unwrap();
    let log = root.get(&format!("{SCAICORE}/conversations/{id}")).answer(200).data();
    assert_eq!((&log["turns"], &log["status"]), (&json!(1), &json!("answered")));
    server.stop();
}

fn the_official_client_goes_on_with_a_conversation(place: &Place) {
    let Some(python) = service("SCAIGRID_TEST_OPENAI_PYTHON", "official OpenAI client for Python") else {
        return;
    };
    let (server, root) = serve(place);
    published(&root, "Asking", &asking());
    let (_, key) = root.user("client@example.org", &["tenant_user"]);
    let (_, boss) = root.user("boss@example.org", &["tenant_admin"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conversation.py");
    let output = Command::new(python)
        .arg(script)
        .env("OPENAI_BASE_URL", format!("http://{}/oai/v1", server.address()))
        .env("OPENAI_API_KEY", key)
        .env("SCAIGRID_URL", format!("http://{}", server.address()))
        .env("SCAIGRID_KEY", boss)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("all is well"), "{told}");
    let usual = root.post(CHAT).json(&ask(MODEL, "x")).answer(200).data();
    waits(&usual);
    server.stop();
}
