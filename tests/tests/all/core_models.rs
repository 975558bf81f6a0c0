//! Models asked by programs: as streams, so that they can be given up in the middle; and billed once, whatever comes between.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, ModelServer, Place, SCAICORE, Server, Told, eventually, on_both_databases, programs,
};
use serde_json::{Value, json};

on_both_databases!(
    what_a_role_says_goes_out_once,
    a_programs_budget_counts_what_breaks_off,
    nobody_closes_a_backend_to_others_by_their_own_doing,
    cancelling_closes_the_connection_to_the_model,
    answers_are_repaired_and_failures_handled,
    an_answer_that_breaks_off_is_asked_for_again_and_counted,
    a_call_whose_server_dies_is_settled_and_made_again,
    nothing_is_billed_twice_whenever_the_server_dies,
);

const SOON: Duration = Duration::from_secs(20);

fn start(place: &Place, upstream: &ModelServer) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start()
}

/// A server whose model `m` is answered for by this one, which may be silent for a minute.
fn settle(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = start(place, upstream);
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 60_000}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    root.enable_model("m");
    (server, root)
}

fn program(body: &Value) -> Value {
    let mut program = programs::program("Asking", &[programs::flow("go", &json!([]), body)]);
    program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": "m"}]);
    program
}

fn call(id: &str) -> Value {
    json!({"kind": "model_call", "id": id, "role": "primary", "prompt": "Tell me", "result_binding": id})
}

fn returns(value: &str) -> Value {
    json!({"kind": "rigid", "statements": [{"kind": "return", "value": value}]})
}

fn begin(client: &Client, core: &str) -> String {
    let body = json!({"flow": "go", "input": {}});
    let begun = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    begun["execution_id"].as_str().unwrap().to_owned()
}

fn of_status<'a>(usage: &'a [Value], status: &str) -> Vec<&'a Value> {
    usage.iter().filter(|record| record["status"] == *status).collect()
}

fn what_a_role_says_goes_out_once(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let made = json!({"kind": "flexible", "id": "made", "goal": "Name it", "llm_role": "primary",
        "output_type": "string", "result_binding": "made"});
    let mut program = program(&json!([call("said"), made, returns("made")]));
    program["models"][0]["system_context"] = "Mind the house rules.".into();
    let core = root.run("asking", &program);
    assert_eq!(root.invoke(&core, "go", &json!({}))["status"], "completed");
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    let expected = json!([{"role": "system", "content": "Mind the house rules."},
        {"role": "user", "content": "Tell me"}]);
    assert_eq!(asked[0].body["messages"], expected);
    let generation = &asked[1].body["messages"];
    assert_eq!(generation.to_string().matches("Mind the house rules.").count(), 1, "{generation}");
    server.stop();
}

fn a_programs_budget_counts_what_breaks_off(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    // About a hundred and fifty tokens, and then the connection is gone.
    upstream.always(Told::Cut("word ".repeat(900), 120));
    let mut call = call("said");
    call["retry"] = json!({"max": 10, "backoff": {"initial": "10ms", "factor": 1}});
    let budget = json!({"kind": "budget", "id": "b", "max_tokens": 300, "body": [call],
        "on_exceeded": [returns("'over'")]});
    let core = root.run("asking", &program(&json!([budget, returns("'well'")])));
    let ended = root.invoke(&core, "go", &json!({}));
    assert_eq!(ended["output"], "over", "{ended}");
    let bounds: Vec<u64> =
        upstream.asked().iter().map(|question| question.body["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(bounds.len(), 2, "{bounds:?}");
    assert!(bounds[1] + 150 <= bounds[0], "the second may spend that much less: {bounds:?}");
    server.stop();
}

fn nobody_closes_a_backend_to_others_by_their_own_doing(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    // Less time than the backend says that it takes.
    upstream.always(Told::Late("all is well".to_owned(), Duration::from_millis(300)));
    let mut hasty = call("said");
    hasty["timeout"] = "5ms".into();
    let core = root.run("hasty", &program(&json!([hasty, returns("said")])));
    for _ in 0..8 {
        assert_eq!(root.invoke(&core, "go", &json!({}))["status"], "failed");
    }
    let answer = root.post("/v1/inference/chat").json(&scaigrid_tests::ask("m", "x")).answer(200).data();
    assert_eq!(answer["choices"][0]["message"]["content"], "all is well");
    // A key of their own that is none.
    let config = json!({"base_url": upstream.base_url(), "api_key": "${env.KEY}"});
    let backend = root.backend("openai", &config);
    root.global_model("keyed", &[json!({"backend_id": backend})]);
    root.enable_model("keyed");
    let mut program = program(&json!([call("said"), returns("said")]));
    program["models"][0]["model"] = "keyed".into();
    let keyed = |name: &str, key: &str| {
        let core = json!({"name": name, "source": program,
            "environment": {"KEY": {"type": "secret", "value": key}}});
        let core = root.post(CORES).json(&core).answer(201).data()["id"].as_str().unwrap().to_owned();
        root.act(&core, "start");
        root.status_becomes(&core, "running");
        core
    };
    let (wrong, right) = (keyed("wrong", "none"), keyed("right", "the-one"));
    upstream.then((0..6).map(|_| Told::Status(401, String::new(), "who are you?".to_owned())));
    for _ in 0..6 {
        let failed = root.invoke(&wrong, "go", &json!({}));
        assert_eq!(failed["error"]["code"], "MODEL_ERROR", "{failed}");
    }
    let ended = root.invoke(&right, "go", &json!({}));
    assert_eq!(ended["output"], "all is well", "{ended}");
    assert_eq!(upstream.asked().pop().unwrap().headers["authorization"], "Bearer the-one");
    server.stop();
}

fn cancelling_closes_the_connection_to_the_model(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    upstream.always(Told::Slowly("word ".repeat(3000), Duration::from_millis(20)));
    let core = root.run("asking", &program(&json!([call("first"), call("second"), returns("second")])));
    let execution = begin(&root, &core);
    eventually("the model is asked", SOON, || (upstream.open() == 1).then_some(()));
    // Some of the answer is to come.
    std::thread::sleep(Duration::from_millis(500));
    root.post(&format!("{SCAICORE}/executions/{execution}/cancel")).json(&json!({})).answer(202);
    root.execution_becomes(&execution, "cancelled");
    eventually("the connection is closed", SOON, || (upstream.open() == 0).then_some(()));
    let usage = eventually("it is settled", SOON, || root.usage().pop());
    assert_eq!((&usage["status"], &usage["estimated"]), (&json!("cancelled"), &json!(true)), "{usage}");
    let some = usage["tokens_out"].as_u64().unwrap();
    assert!((1..2500).contains(&some), "what was seen is counted: {usage}");
    assert_eq!(usage["execution_id"], execution, "{usage}");
    assert!(usage["effect"].is_u64() && usage["core_id"] == core, "{usage}");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!((upstream.asked().len(), root.usage().len()), (1, 1), "nothing follows");
    assert_eq!(upstream.asked()[0].body["stream"], true);
    server.stop();
}

fn answers_are_repaired_and_failures_handled(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let generates = |more: &Value| {
        let mut block = json!({"kind": "flexible", "id": "made", "goal": "Name it", "llm_role": "primary",
            "output_type": {"name": "string", "count": "int"}, "result_binding": "made"});
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([block, returns("made")])
    };
    let core = root.run("repairs", &program(&generates(&json!({"budget": {"max_retries": 2}}))));
    let good = r#"{"name": "the thing", "count": 3}"#;
    upstream.then([
        Told::Text("no JSON at all".to_owned()),
        Told::Text(r#"{"name": "a", "count": "many"}"#.to_owned()),
        Told::Text(good.to_owned()),
    ]);
    let ended = root.invoke(&core, "go", &json!({}));
    assert_eq!(ended["output"], json!({"name": "the thing", "count": 3}), "{ended}");
    let asked = upstream.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|question| question.body["stream"] == true));
    assert_eq!(asked[0].body["response_format"]["type"], "json_schema");
    let said = asked[2].body["messages"].to_string();
    assert!(said.contains("count"), "the model is told what was wrong: {said}");
    assert_eq!(root.usage().len(), 3, "each of them costs");
    // A server that knows no streams, and answers whole.
    let message =
        json!({"index": 0, "message": {"role": "assistant", "content": good}, "finish_reason": "stop"});
    let whole = json!({"choices": [message], "usage": {"prompt_tokens": 4, "completion_tokens": 9}});
    upstream.then([Told::Raw(whole.to_string())]);
    let ended = root.invoke(&core, "go", &json!({}));
    assert_eq!(ended["output"]["count"], 3, "{ended}");
    let usage = &root.usage()[0];
    assert_eq!((&usage["tokens_in"], &usage["tokens_out"]), (&json!(4), &json!(9)), "{usage}");
    // What cannot be repaired is an error that can be caught.
    upstream.always(Told::Text("never".to_owned()));
    let ended = root.invoke(&core, "go", &json!({}));
    assert_eq!(ended["status"], "failed", "{ended}");
    server.stop();
}

fn an_answer_that_breaks_off_is_asked_for_again_and_counted(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    upstream.then([
        Told::Cut("lost words that are paid for all the same".to_owned(), 8),
        Told::Text("all is well".to_owned()),
    ]);
    let core = root.run("asking", &program(&json!([call("said"), returns("said")])));
    let ended = root.invoke(&core, "go", &json!({}));
    assert_eq!(ended["output"], "all is well", "{ended}");
    assert_eq!(upstream.asked().len(), 2);
    let usage = root.usage();
    assert_eq!(
        (usage.len(), &usage[0]["status"], &usage[0]["estimated"]),
        (1, &json!("completed"), &json!(true))
    );
    // Three tokens of the second answer, and about ten of the first one.
    assert!(usage[0]["tokens_out"].as_u64().unwrap() > 8, "{usage:?}");
    server.stop();
}

fn a_call_whose_server_dies_is_settled_and_made_again(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    upstream.then([Told::Slowly("word ".repeat(3000), Duration::from_millis(20))]);
    upstream.always(Told::Text("all is well".to_owned()));
    let core = root.run("asking", &program(&json!([call("said"), returns("said")])));
    let execution = begin(&root, &core);
    eventually("the model is asked", SOON, || (upstream.open() == 1).then_some(()));
    server.kill();
    let server = start(place, &upstream);
    let root = server.admin();
    assert_eq!(root.execution_becomes(&execution, "completed")["output"], "all is well");
    let usage = eventually("both calls are settled", SOON, || {
        let usage = root.usage();
        (usage.len() >= 2).then_some(usage)
    });
    assert_eq!((usage.len(), upstream.asked().len()), (2, 2), "{usage:?}");
    // What is counted is counted once it is written, so for a moment the records know more than the metrics.
    eventually("both calls are counted", SOON, || {
        let metrics = server.anyone().get("/metrics").answer(200).text();
        let counted = |provider: &str, status: &str| {
            let line = |line: &&str| {
                line.starts_with("scaigrid_model_calls_total{")
                    && line.contains(&format!("provider=\"{provider}\""))
                    && line.contains(&format!("status=\"{status}\""))
            };
            metrics.lines().filter(line).count()
        };
        (counted("unknown", "unknown") == 1 && counted("openai", "completed") == 1).then_some(())
    });
    let (unknown, known) = (of_status(&usage, "unknown")[0], of_status(&usage, "completed")[0]);
    // Nobody knows what the first one cost: as much as it might have.
    assert_eq!(unknown["estimated"], true, "{unknown}");
    assert!(
        unknown["tokens_in"].as_u64().unwrap() > 0 && unknown["tokens_out"].as_u64().unwrap() > 100,
        "{unknown}"
    );
    assert_ne!(unknown["cost"], "0");
    assert_eq!((&known["tokens_out"], &known["estimated"]), (&json!(3), &json!(false)), "{known}");
    for field in ["execution_id", "effect", "core_id", "model"] {
        assert_eq!(unknown[field], known[field], "{field}");
    }
    server.stop();
}

fn nothing_is_billed_twice_whenever_the_server_dies(place: &Place) {
    let upstream = ModelServer::start();
    let (mut server, mut root) = settle(place, &upstream);
    upstream.always(Told::Text("all is well".to_owned()));
    // After the answer the program is busy for a while, in which its journal does not have it yet.
    let busy = json!({"kind": "rigid", "statements": [{"kind": "let", "name": "sum",
        "value": "range(0, 20000).map(n => n * n).filter(n => n % 3 == 1).length"}]});
    let body = json!([call("said"), busy, busy.clone(), returns("said")]);
    let core = root.run("asking", &program(&body));
    let mut recorded = 0;
    for round in 0..6_u64 {
        let before = upstream.asked().len();
        let known = root.usage().len();
        let execution = begin(&root, &core);
        // From the moment of the question to some time after the answer.
        eventually("the model is asked", SOON, || (upstream.asked().len() > before).then_some(()));
        if round > 0 {
            std::thread::sleep(Duration::from_millis(4 * round * round));
        }
        server.kill();
        server = start(place, &upstream);
        root = server.admin();
        assert_eq!(root.execution_becomes(&execution, "completed")["output"], "all is well");
        let asked = upstream.asked().len() - before;
        let usage = eventually("every question has its record", SOON, || {
            let usage = root.usage();
            (usage.len() - known >= asked).then_some(usage)
        });
        let of_this: Vec<Value> =
            usage.into_iter().filter(|record| record["execution_id"] == *execution).collect();
        assert_eq!(of_status(&of_this, "completed").len(), 1, "round {round}: {of_this:?}");
        assert_eq!(of_this.len(), asked, "round {round}: one record for each question: {of_this:?}");
        recorded += usize::from(asked == 1);
    }
    println!("{recorded} of 6 answers were durable before the server died");
    server.stop();
}
