//! Cores as models: publishing them, chatting with them, and Cores that ask each other.

use std::time::{Duration, Instant};

use scaigrid_tests::{
    CORES, Client, Place, SCAICORE, Server, ask, events, eventually, on_both_databases, programs, told,
};
use serde_json::{Value, json};

on_both_databases!(
    a_core_is_put_into_the_catalogue_and_taken_out,
    a_core_is_shown_where_its_publisher_may_show_it,
    a_published_core_answers_whole_and_piece_by_piece,
    a_long_piece_is_told_as_well,
    entities_are_told_apart_by_who_is_named,
    cores_ask_each_other_and_not_in_circles,
    what_is_used_is_counted_once,
);

const CHAT: &str = "/v1/inference/chat";
const OAI: &str = "/oai/v1/chat/completions";
const SOON: Duration = Duration::from_secs(20);

/// A flow `chat` that returns what an expression says.
fn replying(expression: &str) -> Value {
    let body = json!([{"kind": "rigid", "statements": [{"kind": "return", "value": expression}]}]);
    chatting(&body)
}

/// A program whose flow `chat` does what the blocks say.
pub(crate) fn chatting(body: &Value) -> Value {
    let params = json!([{"name": "message", "type": "string"}, {"name": "messages", "type": "array[json]", "default": []},
        {"name": "entity_id", "type": "string?"}]);
    let mut program = programs::program("Chatting", &[programs::flow("chat", &params, body)]);
    program["identity"] = json!({"name": "Chatty", "persona": "Answers in short."});
    program
}

/// A program that asks a model and answers what that says, with something before it.
fn passing_on(model: &str, before: &str) -> Value {
    let mut program = chatting(&json!([
        {"kind": "model_call", "id": "asked", "role": "primary", "prompt": "${message}", "result_binding": "said"},
        {"kind": "rigid", "statements": [{"kind": "return", "value": format!("{{response: `{before}${{said}}`}}")}]}
    ]));
    program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": model}]);
    program
}

/// A Core that runs and is published; its id.
pub(crate) fn published(client: &Client, name: &str, program: &Value) -> String {
    let core = client.run(name, program);
    client.post(&format!("{CORES}/{core}/publish")).answer(200);
    core
}

pub(crate) fn text(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn slug_in_path(slug: &str) -> String {
    format!("/v1/models/{}", slug.replace('/', "%2F"))
}

fn a_core_is_put_into_the_catalogue_and_taken_out(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let inside = root.in_tenant("default");
    let core = inside.run("Helper", &replying("{response: message}"));
    let (publish, slug) = (format!("{CORES}/{core}/publish"), "scaicore/default/helper");
    let (unpublish, sync) = (format!("{CORES}/{core}/unpublish"), format!("{CORES}/{core}/sync"));
    inside.post(&unpublish).refused(422, "VALIDATION_ERROR");
    inside.post(&sync).refused(422, "VALIDATION_ERROR");
    inside.post(&publish).json(&json!({"groups": []})).refused(422, "VALIDATION_ERROR");
    let before = inside.get(&format!("{CORES}/{core}")).answer(200).data();
    assert_eq!((&before["published"], &before["metadata"]), (&json!(false), &json!({})));

    let after = inside.post(&publish).answer(200).data();
    assert_eq!((&after["published"], &after["status"]), (&json!(true), &json!("running")));
    let told = &after["metadata"];
    assert_eq!((&told["published"], &told["published_slug"]), (&json!(true), &json!(slug)));
    inside.post(&publish).refused(422, "VALIDATION_ERROR");
    let model = inside.get(&slug_in_path(slug)).answer(200).data();
    assert_eq!(model["id"], told["published_model_id"]);
    assert_eq!(
        (&model["display_name"], &model["description"]),
        (&json!("Helper"), &json!("Answers in short."))
    );
    assert_eq!(model["capabilities"], json!({"tool_use": true, "streaming": false}));
    let backend = told["published_backend_id"].as_str().unwrap();
    let backend = inside.get(&format!("/v1/backends/{backend}")).answer(200).data();
    assert_eq!(
        (&backend["provider_type"], &backend["connection_config"]),
        (&json!("scaicore"), &json!({"core_id": core}))
    );
    let listed = inside.get("/oai/v1/models").answer(200).json();
    assert!(listed["data"].as_array().unwrap().iter().any(|model| model["id"] == slug), "{listed}");

    // Nobody makes or changes such ones in another way.
    inside.put(&slug_in_path(slug), &json!({"display_name": "Mine"})).refused(409, "CONFLICT");
    inside.delete(&slug_in_path(slug)).refused(409, "CONFLICT");
    let backend = format!("/v1/backends/{}", backend["id"].as_str().unwrap());
    inside.put(&backend, &json!({"name": "Mine"})).refused(409, "CONFLICT");
    inside.delete(&backend).refused(409, "CONFLICT");
    let made = json!({"name": "B", "provider_type": "scaicore", "model": "m", "connection_config": {"core_id": core}});
    inside.post("/v1/backends").json(&made).refused(422, "VALIDATION_ERROR");

    // What is told of it is the platform's; what is written back is not kept.
    let mut metadata = told.clone();
    metadata["description"] = "Helps.".into();
    metadata["published_slug"] = "scaicore/default/other".into();
    let change = json!({"name": "Better helper", "metadata": metadata});
    let changed = inside.put(&format!("{CORES}/{core}"), &change).answer(200).data();
    assert_eq!(changed["metadata"]["published_slug"], slug);
    assert_eq!(inside.get(&slug_in_path(slug)).answer(200).data()["display_name"], "Helper");
    inside.post(&sync).answer(200);
    inside.post(&sync).answer(200);
    let model = inside.get(&slug_in_path(slug)).answer(200).data();
    assert_eq!((&model["display_name"], &model["description"]), (&json!("Better helper"), &json!("Helps.")));

    let gone = inside.post(&unpublish).answer(200).data();
    assert_eq!((&gone["published"], &gone["metadata"]), (&json!(false), &json!({"description": "Helps."})));
    inside.get(&slug_in_path(slug)).refused(404, "MODEL_NOT_FOUND");
    inside.get(&backend).refused(404, "BACKEND_NOT_FOUND");
    inside.post(CHAT).json(&ask(slug, "x")).refused(404, "MODEL_NOT_FOUND");
    inside.post(&unpublish).refused(422, "VALIDATION_ERROR");

    // Published once more, and deleted with everything.
    let again = inside.post(&publish).answer(200).data();
    let backend = format!("/v1/backends/{}", again["metadata"]["published_backend_id"].as_str().unwrap());
    assert_eq!(text(&inside.post(CHAT).json(&ask(slug, "Hi")).answer(200).data()), "Hi");
    inside.act(&core, "stop");
    inside.status_becomes(&core, "stopped");
    inside.post(CHAT).json(&ask(slug, "x")).refused(503, "MODEL_UNAVAILABLE");
    let refused = inside.post(OAI).json(&ask(slug, "x")).answer(503).json();
    assert_eq!(refused["error"]["type"], "server_error");
    inside.delete(&format!("{CORES}/{core}")).answer(204);
    inside.get(&slug_in_path(slug)).refused(404, "MODEL_NOT_FOUND");
    inside.get(&backend).refused(404, "BACKEND_NOT_FOUND");

    let told: Vec<String> = inside
        .pages("/v1/audit/events?resource_type=core", "items")
        .iter()
        .map(|record| record["action"].as_str().unwrap().to_owned())
        .filter(|action| ["core.publish", "core.sync", "core.unpublish"].contains(&action.as_str()))
        .collect();
    // Newest first; the second sync has changed nothing.
    assert_eq!(told, ["core.publish", "core.unpublish", "core.sync", "core.publish"]);
    server.stop();
}

fn a_core_is_shown_where_its_publisher_may_show_it(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let partner = json!({"slug": "p", "name": "P"});
    let partner = root.post("/v1/admin/partners").json(&partner).answer(201).data();
    for slug in ["one", "two"] {
        let tenant = json!({"slug": slug, "name": slug, "partner_id": partner["id"]});
        root.post("/v1/admin/tenants").json(&tenant).answer(201);
    }
    let group = |client: &Client, scope: &str| {
        let group = json!({"name": scope, "scope": scope});
        let made = client.post("/v1/model-groups").json(&group).answer(201).data();
        made["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (root.in_tenant("one"), root.in_tenant("two"));
    let of_partner = group(&root.with("X-Scaigrid-Partner", partner["id"].as_str().unwrap()), "partner");
    let (global, of_one, of_two) = (group(&root, "global"), group(&one, "tenant"), group(&two, "tenant"));
    let all =
        json!({"group_ids": [global, of_partner, of_one, of_two, "mg_qa", "mg_01J00000000000000000000000"]});
    let (_, admin) = one.user("admin@one.example", &["tenant_admin"]);
    let (_, boss) = one.user("boss@one.example", &["tenant_admin", "partner_admin"]);
    let (admin, boss) = (server.client(&admin), server.client(&boss).in_tenant("one"));
    let members = |client: &Client, id: &str| -> usize {
        let group = client.get(&format!("/v1/model-groups/{id}")).answer(200).data();
        group["models"].as_array().unwrap().len()
    };
    let at_partner = root.with("X-Scaigrid-Partner", partner["id"].as_str().unwrap());
    let shown = || {
        [
            members(&root, &global),
            members(&at_partner, &of_partner),
            members(&one, &of_one),
            members(&two, &of_two),
        ]
    };

    let core = admin.run("Helper", &replying("{response: message}"));
    let publish = |client: &Client| {
        client.post(&format!("{CORES}/{core}/publish")).json(&all).answer(200);
        let shown = shown();
        client.post(&format!("{CORES}/{core}/unpublish")).answer(200);
        shown
    };
    assert_eq!(publish(&admin), [0, 0, 1, 0], "a tenant's admin");
    assert_eq!(publish(&boss), [0, 1, 1, 1], "a partner's admin");
    assert_eq!(publish(&one), [1, 1, 1, 1], "a super admin");
    assert_eq!(shown(), [0; 4]);

    // Another tenant sees it by its own group, enables it, and chats with it; it runs where it lives.
    boss.post(&format!("{CORES}/{core}/publish")).json(&json!({"group_ids": [of_two]})).answer(200);
    let slug = "scaicore/one/helper";
    two.post(CHAT).json(&ask(slug, "Hi")).refused(404, "MODEL_NOT_FOUND");
    two.enable_model(slug);
    let answer = two.post(CHAT).json(&ask(slug, "Hi")).answer(200).data();
    assert_eq!(text(&answer), "Hi");
    let (execution, conversation) = (
        answer["scaicore"]["execution_id"].as_str().unwrap(),
        answer["scaicore"]["conversation_id"].as_str().unwrap(),
    );
    assert_eq!(admin.execution(execution)["trigger"], "chat");
    two.get(&format!("{SCAICORE}/executions/{execution}")).refused(404, "EXECUTION_NOT_FOUND");
    two.get(&format!("{SCAICORE}/conversations/{conversation}")).refused(404, "CONVERSATION_NOT_FOUND");
    two.delete(&format!("{SCAICORE}/conversations/{conversation}")).refused(404, "CONVERSATION_NOT_FOUND");
    let log = admin.get(&format!("{SCAICORE}/conversations/{conversation}")).answer(200).data();
    assert_ne!(log["caller_tenant_id"], log["core_id"]);
    assert_eq!(log["messages"][0]["content"], "Hi");
    root.in_tenant("default").post(CHAT).json(&ask(slug, "Hi")).refused(404, "MODEL_NOT_FOUND");
    server.stop();
}

fn a_published_core_answers_whole_and_piece_by_piece(place: &Place) {
    let server = place.start();
    let root = server.admin().in_tenant("default");
    published(&root, "Whole", &replying("{response: `${message} of ${messages.length}`, more: 1}"));
    let slow = chatting(&json!([{"kind": "rigid", "statements": [
        {"kind": "emit", "event": "token", "data": "'One, '"},
        {"kind": "sleep", "duration": "2s"},
        {"kind": "emit", "event": "token", "data": "{text: 'two, '}"},
        {"kind": "return", "value": "{response: 'One, two, three.'}"}
    ]}]));
    published(&root, "Slow", &slow);
    published(&root, "Bare", &replying("{a: [1, message]}"));
    published(
        &root,
        "Failing",
        &chatting(&json!([{"kind": "rigid", "statements": [
        {"kind": "fail", "code": "NO_LUCK", "message": "not today"}]}])),
    );
    let several = programs::program(
        "Several",
        &[programs::flow("a", &json!([]), &json!([])), programs::flow("b", &json!([]), &json!([]))],
    );
    published(&root, "Several", &several);

    let question = json!({"model": "scaicore/default/whole", "messages": [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "This"}]}]});
    let answer = root.post(CHAT).json(&question).answer(200).data();
    assert_eq!(
        (text(&answer).as_str(), &answer["choices"][0]["finish_reason"]),
        ("This of 2", &json!("stop"))
    );
    assert_eq!(
        (&answer["scaicore"]["status"], &answer["scaicore"]["checkpoints"]),
        (&json!("completed"), &json!([]))
    );
    let answer = root.post(OAI).json(&question).answer(200).json();
    assert_eq!((text(&answer).as_str(), &answer["object"]), ("This of 2", &json!("chat.completion")));
    assert_eq!(
        text(&root.post(CHAT).json(&ask("scaicore/default/bare", "x")).answer(200).data()),
        r#"{"a":[1,"x"]}"#
    );

    // Piece by piece, as the flow emits them: the first is there long before the last.
    assert_eq!(
        root.get(&slug_in_path("scaicore/default/slow")).answer(200).data()["capabilities"]["streaming"],
        true
    );
    for path in [CHAT, OAI] {
        let mut question = ask("scaicore/default/slow", "Count");
        question["stream"] = true.into();
        let answer = root.post(path).json(&question).answer(200);
        let (pieces, done) = events(&answer.text());
        assert_eq!((told(&pieces).as_str(), done), ("One, two, three.", true));
        let texts: Vec<&str> =
            pieces.iter().filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(texts, ["", "One, ", "two, ", "three."]);
        let last = pieces.iter().find(|piece| piece["choices"][0]["finish_reason"] == "stop").unwrap();
        assert_eq!(last["scaicore"]["status"], "completed");
    }
    // Whole, it is the answer and nothing else.
    assert_eq!(
        text(&root.post(CHAT).json(&ask("scaicore/default/slow", "Count")).answer(200).data()),
        "One, two, three."
    );

    let failed = root.post(CHAT).json(&ask("scaicore/default/failing", "x")).refused(502, "BACKEND_ERROR");
    assert!(failed.text().contains("NO_LUCK"), "{failed}");
    let mut streamed = ask("scaicore/default/failing", "x");
    streamed["stream"] = true.into();
    let broken = root.post(OAI).json(&streamed).answer(200).text();
    assert!(broken.contains("NO_LUCK") && broken.ends_with("data: [DONE]\n\n"), "{broken}");
    root.post(CHAT).json(&ask("scaicore/default/several", "x")).refused(502, "BACKEND_ERROR");

    // Who leaves a stream does not tear what goes on; who asks the same again gets what is owed.
    let mut question = ask("scaicore/default/slow", "Count for me");
    question["stream"] = true.into();
    let begun = Instant::now();
    root.post(CHAT).json(&question).abandon(Duration::from_millis(700));
    assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
    question["stream"] = false.into();
    assert_eq!(text(&root.post(CHAT).json(&question).answer(200).data()), "One, two, three.");
    let slow = root.get(&format!("{CORES}?q=slow")).answer(200).data()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(root.pages(&format!("{CORES}/{slow}/executions"), "items").len(), 4);
    server.stop();
}

fn a_long_piece_is_told_as_well(place: &Place) {
    let (server, root) = serve(place);
    let long = chatting(&json!([{"kind": "rigid", "statements": [
        {"kind": "emit", "event": "token", "data": "message"},
        {"kind": "return", "value": "{response: `${message}.`}"}
    ]}]));
    published(&root, "Long", &long);
    // Longer than what the database keeps itself.
    let said = "long ".repeat(20_000);
    let mut question = ask("scaicore/default/long", &said);
    question["stream"] = true.into();
    let (pieces, done) = events(&root.post(CHAT).json(&question).answer(200).text());
    assert!(done && told(&pieces) == format!("{said}."), "{} pieces", pieces.len());
    server.stop();
}

fn entities_are_told_apart_by_who_is_named(place: &Place) {
    let server = place.start();
    let root = server.admin().in_tenant("default");
    let mut program = chatting(&json!([{"kind": "rigid", "statements": [
        {"kind": "memory", "op": "add", "target": "said", "value": "message"},
        {"kind": "memory", "op": "list", "target": "said", "result_binding": "all"},
        {"kind": "return", "value": "{response: `${entity_id}: ${all.length}`}"}
    ]}]));
    program["memory"] = json!({"said": {"type": "array[string]"}});
    let new = json!({"name": "Entity", "source": program, "concurrency_mode": "entity", "entity_key_field": "entity_id"});
    let core = root.post(CORES).json(&new).answer(201).data()["id"].as_str().unwrap().to_owned();
    root.act(&core, "start");
    root.status_becomes(&core, "running");
    root.post(&format!("{CORES}/{core}/publish")).answer(200);
    let say = |path: &str, more: Value| {
        let mut question = ask("scaicore/default/entity", "Hello");
        for (name, value) in more.as_object().unwrap() {
            question[name] = value.clone();
        }
        root.post(path).json(&question).exchange()
    };
    let answer = |path: &str, more: Value| {
        let answer = say(path, more);
        assert_eq!(answer.status, 200, "{answer}");
        let json = answer.json();
        text(if path == CHAT { &json["data"] } else { &json })
    };
    assert_eq!(answer(CHAT, json!({"metadata": {"entity_id": "ada"}})), "ada: 1");
    assert_eq!(answer(OAI, json!({"user": "ada"})), "ada: 2");
    assert_eq!(answer(OAI, json!({"metadata": {"entity_id": "bob"}, "user": "ada"})), "bob: 1");
    let nobody = say(CHAT, json!({}));
    assert_eq!((nobody.status, nobody.code().as_str()), (422, "VALIDATION_ERROR"), "{nobody}");
    assert!(nobody.text().contains("entity_id"), "{nobody}");
    assert_eq!(say(OAI, json!({})).status, 400);
    let odd = say(CHAT, json!({"metadata": {"entity_id": {}}}));
    assert_eq!(odd.fields(), ["metadata.entity_id"]);
    server.stop();
}

fn cores_ask_each_other_and_not_in_circles(place: &Place) {
    let server = place.start();
    let root = server.admin().in_tenant("default");
    published(&root, "Third", &replying("{response: `third(${message})`}"));
    published(&root, "Second", &passing_on("scaicore/default/third", "second: "));
    let first = published(&root, "First", &passing_on("scaicore/default/second", "first: "));
    let answer = root.post(CHAT).json(&ask("scaicore/default/first", "Hi")).answer(200).data();
    assert_eq!(text(&answer), "first: second: third(Hi)");
    // Also as any other execution does.
    assert_eq!(
        root.invoke(&first, "chat", &json!({"message": "Ho"}))["output"]["response"],
        "first: second: third(Ho)"
    );

    // In a circle, many at once: each ends with an error that says so, and there is room for others afterwards.
    published(&root, "Ring", &passing_on("scaicore/default/ring", ""));
    let begun = Instant::now();
    let ends: Vec<String> = std::thread::scope(|scope| {
        let ask_ring = || root.post(CHAT).json(&ask("scaicore/default/ring", "round")).exchange();
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask_ring)).collect();
        asked
            .into_iter()
            .map(|asked| {
                let answer = asked.join().unwrap();
                assert_eq!((answer.status, answer.code().as_str()), (502, "BACKEND_ERROR"), "{answer}");
                answer.text()
            })
            .collect()
    });
    assert!(ends.iter().all(|end| end.contains("too many Cores ask each other")), "{ends:?}");
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    assert_eq!(
        text(&root.post(CHAT).json(&ask("scaicore/default/third", "x")).answer(200).data()),
        "third(x)"
    );

    // One that has a single instance would wait for itself: that is told at once.
    let mut alone = passing_on("scaicore/default/alone", "");
    alone["instance"] = json!({"mode": "singleton"});
    published(&root, "Alone", &alone);
    let begun = Instant::now();
    root.post(CHAT).json(&ask("scaicore/default/alone", "x")).refused(502, "BACKEND_ERROR");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Its slot is free again.
    root.post(CHAT).json(&ask("scaicore/default/alone", "y")).refused(502, "BACKEND_ERROR");
    server.stop();
}

/// The tokens that a tenant has spent this month, as its records tell.
fn tokens(client: &Client) -> u64 {
    let of = |record: &Value| record["tokens_in"].as_u64().unwrap() + record["tokens_out"].as_u64().unwrap();
    client.usage().iter().map(of).sum()
}

fn what_is_used_is_counted_once(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let partner = json!({"slug": "p", "name": "P"});
    let partner = root.post("/v1/admin/partners").json(&partner).answer(201).data();
    for slug in ["one", "two"] {
        let tenant = json!({"slug": slug, "name": slug, "partner_id": partner["id"]});
        root.post("/v1/admin/tenants").json(&tenant).answer(201);
    }
    let (one, two) = (root.in_tenant("one"), root.in_tenant("two"));
    let group = json!({"name": "All", "scope": "global"});
    let group = root.post("/v1/model-groups").json(&group).answer(201).data();
    published(&one, "Inner", &passing_on("echo", ""));
    let outer = one.run("Outer", &passing_on("scaicore/one/inner", "so: "));
    one.post(&format!("{CORES}/{outer}/publish")).json(&json!({"group_ids": [group["id"]]})).answer(200);
    let used = |answer: &Value| answer["usage"]["total_tokens"].as_u64().unwrap();
    let slug = "scaicore/one/outer";

    let answer = one.post(CHAT).json(&ask(slug, "one two three")).answer(200).data();
    assert_eq!(text(&answer), "so: one two three");
    let first = used(&answer);
    assert!(first > 0, "{answer}");
    // In the Core's own tenant the calls of models are counted, and the conversations are not once more.
    eventually("three calls are recorded", SOON, || (one.usage().len() == 3).then_some(()));
    assert_eq!(tokens(&one), first, "{:?}", one.usage());
    let log = answer["scaicore"]["conversation_id"].as_str().unwrap();
    let log = one.get(&format!("{SCAICORE}/conversations/{log}")).answer(200).data();
    assert_eq!(log["usage"]["total_tokens"].as_u64(), Some(first), "{log}");

    // Another tenant's account has what was used for it; so has that of the tenant whose Core has used it.
    two.enable_model(slug);
    let answer = two.post(CHAT).json(&ask(slug, "four five six seven")).answer(200).data();
    let second = used(&answer);
    eventually("the call is recorded", SOON, || (two.usage().len() == 1).then_some(()));
    assert_eq!((tokens(&two), tokens(&one)), (second, first + second));
    assert_eq!(two.usage()[0]["model"], slug);
    server.stop();
}

/// What the official clients do is in their own scripts; here it is what they ask.
pub(crate) fn serve(place: &Place) -> (Server, Client) {
    let server = place.start();
    let root = server.admin().in_tenant("default");
    (server, root)
}
