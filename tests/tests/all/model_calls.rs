//! Calls of models: answers whole and bit by bit, backends that fail, what is used, and what may be.

use std::time::{Duration, Instant};

use scaigrid_tests::{
    Client, ModelServer, Place, Server, Told, ask, events, eventually, on_both_databases, told,
};
use serde_json::{Value, json};

on_both_databases!(
    answers_come_whole_and_bit_by_bit,
    structured_answers_fit_their_schema,
    the_next_backend_is_asked_when_one_fails,
    a_backend_that_keeps_failing_is_left_alone,
    what_a_backend_says_of_a_call_is_told,
    a_stream_that_breaks_off_says_so,
    whoever_leaves_a_stream_ends_the_call,
    whoever_does_not_wait_for_an_answer_ends_the_call,
    hanging_up_harms_nobody_else,
    every_call_is_counted,
    a_tenants_budget_is_kept_by_all_together,
    what_a_dead_node_held_back_is_settled_once,
);

const CHAT: &str = "/v1/inference/chat";
const SOON: Duration = Duration::from_secs(10);

/// A server whose model `m` is answered for by these, in their order.
fn with_backends(place: &Place, servers: &[&ModelServer]) -> (Server, Client) {
    let allowed: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &allowed.join(",")).start();
    let root = server.admin();
    let backends: Vec<Value> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| {
            let config = json!({"base_url": server.base_url(), "timeout_ms": 1500});
            json!({"backend_id": root.backend("openai", &config), "priority": index})
        })
        .collect();
    root.global_model("m", &backends);
    root.enable_model("m");
    (server, root)
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

fn streamed(question: &Value) -> Value {
    let mut question = question.clone();
    question["stream"] = true.into();
    question
}

fn answers_come_whole_and_bit_by_bit(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    upstream.always(Told::Text("All is well here".to_owned()));
    let mut question = ask("m", "How is it?");
    question["temperature"] = json!(0.5);
    question["max_tokens"] = json!(50);
    question["metadata"] = json!({"own": 1});
    let answer = root.post(CHAT).json(&question).answer(200).data();
    assert_eq!(text(&answer), "All is well here");
    assert_eq!(
        answer["usage"],
        json!({"input_tokens": 10, "output_tokens": 4, "total_tokens": 14, "cost": "0.00006"})
    );
    let asked = upstream.asked().pop().unwrap().body;
    let expected =
        json!({"model": "upstream", "messages": question["messages"], "temperature": 0.5, "max_tokens": 50});
    assert_eq!(asked, expected);

    let answer = root.post(CHAT).json(&streamed(&question)).answer(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{answer}");
    let (pieces, done) = events(&answer.text());
    assert_eq!((told(&pieces).as_str(), done), ("All is well here", true));
    assert_eq!(pieces.last().unwrap()["usage"]["total_tokens"], 14);
    assert_eq!(upstream.asked().pop().unwrap().body["stream_options"], json!({"include_usage": true}));

    // Of echo, which needs nobody.
    let (pieces, done) =
        events(&root.post(CHAT).json(&streamed(&ask("echo", "Over the hills"))).answer(200).text());
    assert_eq!((told(&pieces).as_str(), done), ("Over the hills", true));
    assert!(pieces.len() > 3, "{pieces:?}");
    for (wrong, field) in [
        (json!({"model": "m", "messages": []}), "messages"),
        (json!({"model": "m", "messages": [{"role": "x", "content": "y"}]}), "messages[0].role"),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": "y"}], "temperature": 9}),
            "temperature",
        ),
        (json!({"model": "m", "messages": [{"role": "user", "content": "y"}], "x": 9}), "x"),
    ] {
        let refused = root.post(CHAT).json(&wrong).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{refused}");
    }
    root.post(CHAT).json(&ask("none/such", "x")).refused(404, "MODEL_NOT_FOUND");
    server.stop();
}

fn structured_answers_fit_their_schema(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let schema = json!({"type": "object", "required": ["name", "count"], "additionalProperties": false, "properties": {
        "name": {"type": "string", "maxLength": 5}, "count": {"type": "integer", "minimum": 3},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}}}});
    let mut question = ask("echo", "Hello there");
    question["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}});
    let answer = root.post(CHAT).json(&question).answer(200).data();
    let value: Value = serde_json::from_str(text(&answer)).unwrap();
    assert_eq!(value, json!({"name": "Hello", "count": 3, "tags": ["a"]}));
    let (pieces, _) = events(&root.post(CHAT).json(&streamed(&question)).answer(200).text());
    assert_eq!(serde_json::from_str::<Value>(&told(&pieces)).unwrap(), value);
    server.stop();
}

fn the_next_backend_is_asked_when_one_fails(place: &Place) {
    let (first, second) = (ModelServer::start(), ModelServer::start());
    let (server, root) = with_backends(place, &[&first, &second]);
    second.always(Told::Text("second".to_owned()));
    let call = || text(&root.post(CHAT).json(&ask("m", "x")).answer(200).data()).to_owned();
    let status = |status: u16, headers: &str| Told::Status(status, headers.to_owned(), "no".to_owned());
    assert_eq!(call(), "well");
    // What passes is tried again at the same place.
    first.then([status(500, ""), status(503, "")]);
    assert_eq!((call().as_str(), first.asked().len(), second.asked().len()), ("well", 4, 0));
    // As late as it asks for, if that is not too late.
    first.then([status(429, "Retry-After: 1\r\n")]);
    assert_eq!(call(), "well");
    let asked = first.asked();
    assert!(asked[5].at - asked[4].at >= Duration::from_millis(950), "{:?}", asked[5].at - asked[4].at);
    first.then([status(429, "Retry-After: 100\r\n")]);
    assert_eq!((call().as_str(), first.asked().len()), ("second", 7));
    // What does not pass is not.
    for told in [status(401, ""), status(404, ""), Told::Raw("{}".to_owned()), Told::Silence] {
        let before = first.asked().len();
        first.then([told.clone()]);
        assert_eq!((call().as_str(), first.asked().len()), ("second", before + 1), "{told:?}");
        assert_eq!(call(), "well");
    }
    // Before the first piece a stream goes on elsewhere, too.
    first.then([
        Told::Cut("never told".to_owned(), 0),
        Told::Cut("never told".to_owned(), 0),
        status(500, ""),
    ]);
    let (pieces, done) = events(&root.post(CHAT).json(&streamed(&ask("m", "x"))).answer(200).text());
    assert_eq!((told(&pieces).as_str(), done), ("second", true));
    server.stop();
}

fn a_backend_that_keeps_failing_is_left_alone(place: &Place) {
    let (first, second) = (ModelServer::start(), ModelServer::start());
    let (server, root) = with_backends(place, &[&first, &second]);
    first.always(Told::Status(500, String::new(), "no".to_owned()));
    for _ in 0..4 {
        root.post(CHAT).json(&ask("m", "x")).answer(200);
    }
    // Three attempts of the first call and two of the second; from then on none.
    assert_eq!((first.asked().len(), second.asked().len()), (5, 4));
    let model = root.get("/v1/models/m").answer(200).data();
    assert_eq!((&model["health_status"], &model["active_backend_count"]), (&json!("degraded"), &json!(1)));
    let backend = model["backends"][0]["backend_id"].as_str().unwrap();
    let health = root.get(&format!("/v1/backends/{backend}/health")).answer(200).data();
    assert_eq!(health["status"], "unavailable");
    // Nobody left to ask: at once, and with a word on when it makes sense.
    second.always(Told::Status(401, String::new(), "no".to_owned()));
    for _ in 0..5 {
        root.post(CHAT).json(&ask("m", "x")).refused(502, "BACKEND_ERROR");
    }
    let begun = Instant::now();
    let refused = root.post(CHAT).json(&ask("m", "x")).refused(503, "MODEL_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some() && begun.elapsed() < Duration::from_secs(2));
    // After its rest one call tries it, and all is well again.
    first.always(Told::Text("back".to_owned()));
    let answer = eventually("it is tried again", Duration::from_secs(20), || {
        let answer = root.post(CHAT).json(&ask("m", "x")).exchange();
        (answer.status == 200).then(|| answer.data())
    });
    assert_eq!(text(&answer), "back");
    let model = root.get("/v1/models/m").answer(200).data();
    assert!(model["active_backend_count"].as_u64().unwrap() >= 1, "{model}");
    server.stop();
}

fn what_a_backend_says_of_a_call_is_told(place: &Place) {
    let (first, second) = (ModelServer::start(), ModelServer::start());
    let (server, root) = with_backends(place, &[&first, &second]);
    first.then([Told::Status(400, String::new(), "the prompt is too long".to_owned())]);
    let refused = root.post(CHAT).json(&ask("m", "x")).refused(422, "VALIDATION_ERROR");
    assert!(refused.text().contains("the prompt is too long"), "{refused}");
    assert!(second.asked().is_empty(), "it would be wrong there, too");
    for server in [&first, &second] {
        server.always(Told::Status(429, "Retry-After: 60\r\n".to_owned(), "slowly".to_owned()));
    }
    let refused = root.post(CHAT).json(&ask("m", "x")).refused(429, "BACKEND_RATE_LIMITED");
    assert_eq!(refused.header("retry-after"), Some("60"));
    for server in [&first, &second] {
        server.always(Told::Silence);
    }
    root.post(CHAT).json(&ask("m", "x")).refused(504, "BACKEND_TIMEOUT");
    server.stop();
}

fn a_stream_that_breaks_off_says_so(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    upstream.then([Told::Cut("one two three".to_owned(), 2), Told::Stall("one two three".to_owned(), 1)]);
    for (told_so_far, code) in [("one two ", "BACKEND_ERROR"), ("one ", "BACKEND_TIMEOUT")] {
        let answer = root.post(CHAT).json(&streamed(&ask("m", "x"))).answer(200);
        let (pieces, done) = events(&answer.text());
        assert!(done && answer.text().contains("event: error\n"), "{answer}");
        assert_eq!(told(&pieces), told_so_far);
        assert_eq!(pieces.last().unwrap()["code"], code);
    }
    // What was told is counted, as far as it can be known.
    let usage = root.usage();
    assert_eq!((&usage[0]["status"], &usage[0]["estimated"]), (&json!("failed"), &json!(true)));
    assert!(usage[1]["tokens_out"].as_u64().unwrap() >= 2, "{usage:?}");
    server.stop();
}

fn whoever_leaves_a_stream_ends_the_call(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    let slowly = "word ".repeat(2000);
    upstream.then([Told::Slowly(slowly, Duration::from_millis(20))]);
    let short = json!({"base_url": upstream.base_url(), "timeout_ms": 60_000});
    let backend = root.get("/v1/models/m").answer(200).data()["backends"][0]["backend_id"].clone();
    let backend = backend.as_str().unwrap();
    root.put(&format!("/v1/backends/{backend}"), &json!({"connection_config": short})).answer(200);
    root.post(CHAT).json(&streamed(&ask("m", "x"))).abandon(Duration::from_millis(400));
    eventually("the connection to the model is closed", SOON, || (upstream.open() == 0).then_some(()));
    let usage = eventually("it is settled", SOON, || root.usage().pop());
    assert_eq!(usage["status"], "cancelled", "{usage}");
    let some = usage["tokens_out"].as_u64().unwrap();
    assert!((1..1000).contains(&some), "{usage}");
    server.stop();
}

fn whoever_does_not_wait_for_an_answer_ends_the_call(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    let backend = root.get("/v1/models/m").answer(200).data()["backends"][0]["backend_id"].clone();
    let patient = json!({"base_url": upstream.base_url(), "timeout_ms": 120_000});
    let backend = format!("/v1/backends/{}", backend.as_str().unwrap());
    root.put(&backend, &json!({"connection_config": patient})).answer(200);
    for (number, path) in [CHAT, "/oai/v1/chat/completions"].into_iter().enumerate() {
        upstream.then([Told::Silence]);
        root.post(path).json(&ask("m", "Are you there?")).abandon(Duration::from_millis(400));
        eventually("the model is asked", SOON, || (upstream.asked().len() == number + 1).then_some(()));
        eventually("the connection to the model is closed", SOON, || (upstream.open() == 0).then_some(()));
        let usage = eventually("it is settled", SOON, || {
            let usage = root.usage();
            (usage.len() == number + 1).then(|| usage[0].clone())
        });
        // The question was read, as far as anybody can know; nothing has come back.
        assert_eq!((&usage["status"], &usage["estimated"]), (&json!("cancelled"), &json!(true)), "{usage}");
        assert!(usage["tokens_in"].as_u64().unwrap() > 0 && usage["tokens_out"] == 0, "{usage}");
    }
    // Whoever has said that they will ask for the answer again is given it.
    let keyed = || root.post(CHAT).header("Idempotency-Key", "once-1").json(&ask("m", "Are you there?"));
    upstream.then([Told::Late("here I am".to_owned(), Duration::from_secs(2))]);
    keyed().abandon(Duration::from_millis(400));
    let answer = eventually("the answer is kept", SOON, || {
        let answer = keyed().exchange();
        (answer.status == 200).then(|| answer.data())
    });
    assert_eq!((text(&answer), upstream.asked().len()), ("here I am", 3));
    assert_eq!(root.usage()[0]["status"], "completed");
    server.stop();
}

fn hanging_up_harms_nobody_else(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    for number in 0..40_u64 {
        let moment = Duration::from_micros(150 * number);
        root.request("GET", "/v1/users").abandon(moment);
        root.request("GET", "/v1/audit/events/export?format=json").abandon(moment);
        root.post(CHAT).json(&ask("m", "x")).abandon(moment);
    }
    for _ in 0..20 {
        root.get("/v1/users").answer(200);
        root.get("/v1/audit/events/export?format=json").answer(200);
    }
    root.post(CHAT).json(&ask("m", "x")).answer(200);
    server.stop();
}

fn every_call_is_counted(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    let tenant = root.tenant("acme");
    let inside = root.in_tenant(&tenant);
    inside.enable_model("m");
    let (ada, ada_key) = inside.user("ada@acme.example", &["tenant_user"]);
    let (_, bob_key) = inside.user("bob@acme.example", &["tenant_user"]);
    let (ada_client, bob) = (server.client(&ada_key), server.client(&bob_key));
    upstream.then([Told::Text("one two".to_owned()), Told::Uncounted("four letters".to_owned())]);
    ada_client.post(CHAT).json(&ask("m", "x")).answer(200);
    ada_client.post(CHAT).json(&streamed(&ask("m", "x"))).answer(200);
    bob.post(CHAT).json(&ask("echo", "x")).answer(200);
    upstream.then([Told::Status(404, String::new(), "no".to_owned())]);
    bob.post(CHAT).json(&ask("m", "x")).refused(502, "BACKEND_ERROR");

    let mine = ada_client.usage();
    assert_eq!(mine.len(), 2, "{mine:?}");
    let (second, first) = (&mine[0], &mine[1]);
    assert_eq!((&first["tokens_in"], &first["tokens_out"]), (&json!(10), &json!(2)));
    assert_eq!(
        (&first["cost"], &first["estimated"], &first["model"]),
        (&json!("0.00004"), &json!(false), &json!("m"))
    );
    assert_eq!(
        (&first["user_id"], &first["status"], &first["tenant_id"]),
        (&json!(ada), &json!("completed"), &json!(tenant))
    );
    assert!(first["backend_id"].as_str().unwrap().starts_with("be_") && first["core_id"].is_null());
    assert_eq!((&second["tokens_out"], &second["estimated"]), (&json!(3), &json!(true)));
    let others = bob.usage();
    assert_eq!((&others[0]["status"], &others[0]["tokens_in"]), (&json!("failed"), &json!(0)));
    bob.get(&format!("/v1/accounting/usage?user_id={ada}")).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(inside.usage().len(), 4);
    assert_eq!(inside.pages(&format!("/v1/accounting/usage?user_id={ada}"), "items").len(), 2);
    assert_eq!(inside.pages("/v1/accounting/usage?model=echo", "items").len(), 1);
    assert_eq!(inside.pages("/v1/accounting/usage?start=2999-01-01T00:00:00Z", "items").len(), 0);
    // Another tenant has nothing of it.
    assert!(root.usage().is_empty());
    server.stop();
}

fn a_tenants_budget_is_kept_by_all_together(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    let tenant = root.tenant("acme");
    let inside = root.in_tenant(&tenant);
    inside.enable_model("m");
    let limit = |tokens: u64| {
        root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"monthly_ai_tokens": tokens}}))
            .answer(200);
        // Other words of a second ago may still be believed.
        std::thread::sleep(Duration::from_millis(1100));
    };
    limit(200);
    // Each reads ten tokens, thought to be more, and writes as many as it may: it is told how many that are.
    upstream.always(Told::Slowly(
        "one two three four five six seven eight nine ten".to_owned(),
        Duration::from_millis(20),
    ));
    let mut question = ask("m", &"x".repeat(40));
    question["max_tokens"] = json!(15);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask_once = |streams: bool| {
            let (inside, question) = (inside.clone(), question.clone());
            scope.spawn(move || {
                let question = if streams { streamed(&question) } else { question };
                inside.post(CHAT).json(&question).exchange().status
            })
        };
        let calls: Vec<_> = (0..16).map(|index| ask_once(index % 2 == 0)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let passed = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    let used: u64 = inside
        .usage()
        .iter()
        .map(|record| record["tokens_in"].as_u64().unwrap() + record["tokens_out"].as_u64().unwrap())
        .sum();
    assert!((1..16).contains(&passed) && used <= 200, "{passed} passed and used {used}");
    let bounds: Vec<u64> =
        upstream.asked().iter().map(|asked| asked.body["max_tokens"].as_u64().unwrap()).collect();
    assert!(bounds.iter().all(|bound| (1..=15).contains(bound)), "{bounds:?}");
    // Until there is nothing left, and nothing is held back any more.
    limit(used);
    let refused = inside.post(CHAT).json(&question).refused(429, "BUDGET_EXCEEDED");
    assert!(refused.header("retry-after").is_none(), "waiting a moment does not help");
    limit(used + 60);
    inside.post(CHAT).json(&question).answer(200);
    // Another tenant has its own.
    root.post(CHAT).json(&question).answer(200);
    server.stop();
}

fn what_a_dead_node_held_back_is_settled_once(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = with_backends(place, &[&upstream]);
    let tenant = root.tenant("acme");
    root.in_tenant(&tenant).enable_model("m");
    root.put(&format!("/v1/admin/tenants/{tenant}"), &json!({"limits": {"monthly_ai_tokens": 200}}))
        .answer(200);
    upstream.then([Told::Silence]);
    let mut question = ask("m", "x");
    question["max_tokens"] = json!(150);
    let waiting = {
        let (client, question) = (root.in_tenant(&tenant), question.clone());
        std::thread::spawn(move || client.post(CHAT).json(&question).send().is_ok())
    };
    eventually("the model is asked", SOON, || (upstream.open() > 0).then_some(()));
    server.kill();
    assert!(!waiting.join().unwrap());
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let again = server.admin().in_tenant(&tenant);
    // Nobody knows what it has used: once its lease has ended, it counts as all that it might have.
    let usage = eventually("it is settled", Duration::from_secs(20), || again.usage().pop());
    assert_eq!((&usage["status"], &usage["estimated"]), (&json!("unknown"), &json!(true)), "{usage}");
    assert_eq!((&usage["tokens_out"], &usage["model"]), (&json!(150), &json!("m")), "{usage}");
    let read = usage["tokens_in"].as_u64().unwrap();
    assert!((1..=20).contains(&read), "{usage}");
    // It is spent, and not held back besides: what is left is granted, and not a token more.
    again.post(CHAT).json(&question).answer(200);
    let bound = upstream.asked().last().unwrap().body["max_tokens"].as_u64().unwrap();
    assert_eq!(bound, 200 - (150 + read) - read, "{usage}");
    assert_eq!(again.usage().len(), 2);
    server.stop();
}
