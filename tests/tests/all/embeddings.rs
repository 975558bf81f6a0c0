//! Vectors of texts: for people, in OpenAI's shapes, and for programs that search their memory by what it means.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Collector, ModelServer, Place, SCAICORE, Server, Told, ask, eventually, on_both_databases,
    programs,
};
use serde_json::{Value, json};

on_both_databases!(
    vectors_look_as_openais_do,
    vectors_are_paid_for,
    memory_is_searched_by_meaning,
    each_text_is_paid_for_once,
    without_vectors_words_are_compared,
    a_search_that_was_done_is_not_done_again,
    searches_that_wait_for_a_model_hold_up_nobody,
    a_search_is_given_up_by_whoever_cancels,
    who_looks_into_an_execution_pays_for_nothing,
    a_call_for_vectors_stands_in_the_trace,
);

const EMBED: &str = "/oai/v1/embeddings";

fn start(place: &Place, upstream: &ModelServer) -> Server {
    place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start()
}

/// A server whose model `meaning` makes vectors, by `upstream`.
fn settle(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = start(place, upstream);
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 5000}));
    embedding_model(&root, "meaning", &backend);
    (server, root)
}

fn embedding_model(root: &Client, slug: &str, backend: &str) {
    let body = json!({"slug": slug, "display_name": slug, "modality": "embedding", "global": true,
        "backends": [{"backend_id": backend}], "input_price_per_mtok": "100"});
    root.post("/v1/models").json(&body).answer(201);
    root.enable_model(slug);
}

fn components(entry: &Value) -> Vec<f64> {
    entry["embedding"].as_array().unwrap().iter().map(|component| component.as_f64().unwrap()).collect()
}

fn vectors_look_as_openais_do(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    upstream.means("cat", &[1.0, 0.0]);
    let answer =
        root.post(EMBED).json(&json!({"model": "meaning", "input": ["a cat", "a dog"], "user": "u"}));
    let answer = answer.answer(200).json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("meaning")));
    assert_eq!(answer["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}));
    let data = answer["data"].as_array().unwrap();
    assert_eq!((components(&data[0]), components(&data[1])), (vec![1.0, 0.0], vec![0.0, 1.0]));
    assert_eq!((&data[1]["index"], &data[1]["object"]), (&json!(1), &json!("embedding")));
    let asked = upstream.asked().pop().unwrap();
    assert_eq!(asked.path, "/v1/embeddings");
    let expected = json!({"model": "upstream", "input": ["a cat", "a dog"], "encoding_format": "float"});
    assert_eq!(asked.body, expected);
    // As the official clients want them.
    let body = json!({"model": "meaning", "input": "a cat", "encoding_format": "base64"});
    let answer = root.post(EMBED).json(&body).answer(200).json();
    assert_eq!(answer["data"][0]["embedding"], "AACAPwAAAAA=");
    // Without any server: texts that share words are near each other.
    let echo = root.backend("echo", &json!({}));
    embedding_model(&root, "offline", &echo);
    let texts = ["my order is late", "the order is very late", "giraffes eat leaves"];
    let body = json!({"model": "offline", "input": texts, "dimensions": 64});
    let answer = root.post(EMBED).json(&body).answer(200).json();
    let vectors: Vec<Vec<f64>> = answer["data"].as_array().unwrap().iter().map(components).collect();
    let near = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f64>();
    assert!(vectors.iter().all(|vector| vector.len() == 64));
    assert!(near(0, 1) > near(0, 2) + 0.3, "{} {}", near(0, 1), near(0, 2));
    assert_eq!(root.post(EMBED).json(&body).answer(200).json()["data"], answer["data"], "always the same");

    let error = |answer: scaigrid_tests::Answer| answer.json()["error"].clone();
    for (body, param) in [
        (json!({"model": "meaning"}), "input"),
        (json!({"input": "a"}), "model"),
        (json!({"model": "meaning", "input": [[1, 2]]}), "input"),
        (json!({"model": "meaning", "input": "a", "magic": 1}), "magic"),
    ] {
        let wrong = error(root.post(EMBED).json(&body).answer(400));
        assert_eq!(
            (&wrong["type"], &wrong["param"]),
            (&json!("invalid_request_error"), &json!(param)),
            "{wrong}"
        );
    }
    let missing = error(root.post(EMBED).json(&json!({"model": "none/such", "input": "a"})).answer(404));
    assert_eq!(missing["code"], "model_not_found");
    // Each for what it is.
    let wrong = error(root.post(EMBED).json(&json!({"model": "echo", "input": "a"})).answer(400));
    assert!(wrong["message"].as_str().unwrap().contains("gives no vectors"), "{wrong}");
    let wrong = error(root.post("/oai/v1/chat/completions").json(&ask("meaning", "a")).answer(400));
    assert!(wrong["message"].as_str().unwrap().contains("gives vectors"), "{wrong}");
    // What is no vector for each text is no answer.
    upstream.then([Told::Raw(json!({"data": [{"embedding": [1]}]}).to_string())]);
    root.post(EMBED).json(&json!({"model": "meaning", "input": ["a", "b"]})).answer(502);
    let slugs: Vec<Value> =
        root.pages("/v1/models?modality=embedding", "items").iter().map(|it| it["slug"].clone()).collect();
    assert_eq!(slugs, [json!("meaning"), json!("offline")]);
    server.stop();
}

fn vectors_are_paid_for(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = settle(place, &upstream);
    let tenant = root.tenant("acme");
    let inside = root.in_tenant(&tenant);
    inside.enable_model("meaning");
    let limits = json!({"limits": {"monthly_ai_tokens": 30}});
    root.put(&format!("/v1/admin/tenants/{tenant}"), &limits).answer(200);
    let embed = |input: &Value| inside.post(EMBED).json(&json!({"model": "meaning", "input": input}));
    embed(&json!(["one", "two", "three", "four"])).answer(200);
    let usage = inside.usage();
    assert_eq!((&usage[0]["tokens_in"], &usage[0]["tokens_out"]), (&json!(12), &json!(0)), "{usage:?}");
    assert_eq!((&usage[0]["cost"], &usage[0]["status"]), (&json!("0.0012"), &json!("completed")));
    // Twelve are spent; these are thought to be at least twenty more.
    embed(&json!("word ".repeat(20))).answer(429);
    assert_eq!(upstream.asked().len(), 1, "nothing is asked that nobody may pay for");
    embed(&json!("one")).answer(200);
    server.stop();
}

/// A Core that keeps cases and searches them by meaning.
fn searching(root: &Client, more: &[Value]) -> String {
    let search =
        json!({"kind": "memory", "op": "search", "target": "cases", "query": "n", "result_binding": "found"});
    let params = json!([{"name": "n", "type": "json", "default": null}]);
    let flow = |name: &str, statements: Value| {
        programs::flow(name, &params, &json!([{"kind": "rigid", "statements": statements}]))
    };
    let mut flows = vec![
        flow(
            "add",
            json!([{"kind": "memory", "op": "set", "target": "cases", "key": "n.key", "value": "n.text"}]),
        ),
        flow("search", json!([search, {"kind": "return", "value": "found.map(f => [f.key, f.similarity])"}])),
        flow(
            "both",
            json!([
                {"kind": "memory", "op": "set", "target": "cases", "key": "'own'", "value": "'a bill that grew'"},
                search,
                {"kind": "return", "value": "found.map(f => f.key)"},
            ]),
        ),
    ];
    flows.extend(more.iter().cloned());
    let mut program = programs::program("Searching", &flows);
    program["memory"] = json!({"cases": {"type": "map[string, string]"}});
    program["models"] = json!([
        {"role": "primary", "provider": "scaigrid", "model": "echo"},
        {"role": "meaning", "provider": "scaigrid", "model": "meaning", "modalities": ["embedding"]},
    ]);
    root.run("Searching", &program)
}

fn output(root: &Client, core: &str, flow: &str, n: &Value) -> Value {
    let done = root.invoke(core, flow, &json!({"n": n}));
    assert_eq!(done["status"], "completed", "{done:#}");
    done["output"].clone()
}

/// Money, transport and weather are three things.
fn meanings(upstream: &ModelServer) {
    upstream.means("refund", &[1.0, 0.0, 0.0, 0.0]);
    upstream.means("money", &[0.8, 0.6, 0.0, 0.0]);
    upstream.means("bill", &[0.6, 0.8, 0.0, 0.0]);
    upstream.means("lorry", &[0.0, 1.0, 0.0, 0.0]);
    upstream.means("rain", &[-1.0, 0.0, 0.0, 0.0]);
}

fn filled(root: &Client, core: &str) {
    for (key, text) in [
        ("k1", "give me my money back"),
        ("k2", "the lorry was late"),
        ("k3", "it will rain"),
        ("k4", "refund the lorry"),
        ("k5", "the bill is wrong"),
        ("k6", ""),
    ] {
        output(root, core, "add", &json!({"key": key, "text": text}));
    }
}

fn memory_is_searched_by_meaning(place: &Place) {
    let upstream = ModelServer::start();
    meanings(&upstream);
    let (server, root) = settle(place, &upstream);
    let core = searching(&root, &[]);
    filled(&root, &core);
    assert!(upstream.asked().is_empty(), "what is written waits for no model");
    // By words or by what is meant, whichever is nearer; what means something else, or the opposite, is not found.
    let found = output(&root, &core, "search", &json!("refund "));
    assert_eq!(found, json!([["k4", 1.0], ["k1", 0.8], ["k5", 0.6]]));
    // An execution finds what it has written itself, before anything of it is durable.
    let found = output(&root, &core, "both", &json!("refund "));
    assert_eq!(found, json!(["k4", "k1", "k5", "own"]));
    let usage = root.usage();
    assert!(
        usage.iter().all(|record| record["model"] == "meaning" && record["core_id"] == core),
        "{usage:?}"
    );
    assert!(usage.iter().all(|record| record["execution_id"].is_string()), "{usage:?}");
    server.stop();
}

fn each_text_is_paid_for_once(place: &Place) {
    let upstream = ModelServer::start();
    meanings(&upstream);
    let (server, root) = settle(place, &upstream);
    let core = searching(&root, &[]);
    filled(&root, &core);
    let first = output(&root, &core, "search", &json!("refund "));
    let asked = upstream.embedded();
    // Six entries, whose keys are text, too, and the query.
    assert_eq!(asked.len(), 7, "{asked:?}");
    assert!(asked.contains(&"k2\nthe lorry was late".to_owned()), "{asked:?}");
    assert_eq!(upstream.asked().len(), 1, "all at once");
    assert_eq!(output(&root, &core, "search", &json!("refund ")), first);
    assert_eq!(upstream.embedded().len(), 7);
    // The next node knows them as well; what is new is added.
    server.kill();
    let server = start(place, &upstream);
    let root = server.admin();
    assert_eq!(output(&root, &core, "search", &json!("refund ")), first);
    output(&root, &core, "add", &json!({"key": "k7", "text": "more money"}));
    let found = output(&root, &core, "search", &json!("refund "));
    assert_eq!(found[2], json!(["k7", 0.8]), "{found}");
    assert_eq!(upstream.embedded()[7..], ["k7\nmore money".to_owned()]);
    // A changed model is another space: its vectors say nothing about those of before.
    let change = json!({"description": "changed"});
    root.put("/v1/models/meaning", &change).answer(200);
    output(&root, &core, "search", &json!("refund "));
    assert_eq!(upstream.embedded().len(), 8 + 8);
    server.stop();
}

fn without_vectors_words_are_compared(place: &Place) {
    let upstream = ModelServer::start();
    meanings(&upstream);
    let (server, root) = settle(place, &upstream);
    let core = searching(&root, &[]);
    filled(&root, &core);
    let by_words = json!([["k4", 1.0]]);
    upstream.then([Told::Status(401, String::new(), "no".to_owned())]);
    assert_eq!(output(&root, &core, "search", &json!("refund ")), by_words);
    let metrics = server.anyone().get("/metrics").answer(200).text();
    assert!(metrics.contains("scaigrid_searches_by_words_alone_total 1"), "it is told");
    // It is asked again the next time.
    assert_eq!(output(&root, &core, "search", &json!("refund ")).as_array().unwrap().len(), 3);
    // A query without words means nothing.
    assert_eq!(output(&root, &core, "search", &json!("")), json!([]));
    // A model that the tenant does not see.
    let access = root.request("DELETE", "/v1/model-access/meaning").exchange();
    assert!(access.status < 300, "{access}");
    let found = output(&root, &core, "search", &json!("refund "));
    assert_eq!(found, by_words);
    server.stop();
}

fn a_search_that_was_done_is_not_done_again(place: &Place) {
    let upstream = ModelServer::start();
    meanings(&upstream);
    let (server, root) = settle(place, &upstream);
    let search = json!({"kind": "memory", "op": "search", "target": "cases", "query": "'refund '", "result_binding": "found"});
    let body = json!([
        {"kind": "rigid", "statements": [search]},
        {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "present": {"prompt": "Well?"},
         "options": ["yes"], "assignee": "role:tenant_admin"},
        {"kind": "rigid", "statements": [{"kind": "return", "value": "found.map(f => [f.key, f.similarity])"}]},
    ]);
    let core = searching(&root, &[programs::flow("waits", &json!([]), &body)]);
    filled(&root, &core);
    let (execution, checkpoint) = root.invoke_to_checkpoint(&core, "waits", &json!({}));
    server.kill();
    // Vectors would be others now; what was found stays what it was.
    let server = start(place, &upstream);
    let root = server.admin();
    root.put("/v1/models/meaning", &json!({"description": "changed"})).answer(200);
    let asked = upstream.asked().len();
    let done = root.resolve(&checkpoint, "yes");
    assert_eq!(done["execution"]["output"], json!([["k4", 1.0], ["k1", 0.8], ["k5", 0.6]]), "{done}");
    assert_eq!(upstream.asked().len(), asked);
    let history = root.get(&format!("{SCAICORE}/executions/{execution}/history")).answer(200).data();
    assert!(history.to_string().contains("\"k1\""), "the outcome is in the journal: {history}");
    server.stop();
}

/// A server whose model `meaning` may be silent for a minute.
fn patient(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = start(place, upstream);
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 60_000}));
    embedding_model(&root, "meaning", &backend);
    (server, root)
}

fn begin(client: &Client, core: &str, flow: &str, input: &Value) -> String {
    let body = json!({"flow": flow, "input": input});
    let begun = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    begun["execution_id"].as_str().unwrap().to_owned()
}

fn searches_that_wait_for_a_model_hold_up_nobody(place: &Place) {
    // More than run at a time.
    const SEARCHES: usize = 70;
    let upstream = ModelServer::start();
    let (server, root) = patient(place, &upstream);
    let core = searching(&root, &[]);
    let quick = root.run("Quick", &programs::echo(1));
    output(&root, &core, "add", &json!({"key": "k", "text": "the lorry was late"}));
    upstream.then((0..SEARCHES).map(|_| Told::Silence));
    // Begun together: the first is not to have given up its wait before the last has asked.
    let searches: Vec<String> = std::thread::scope(|scope| {
        let begun: Vec<_> = (0..SEARCHES)
            .map(|_| scope.spawn(|| begin(&root, &core, "search", &json!({"n": "refund "}))))
            .collect();
        begun.into_iter().map(|search| search.join().unwrap()).collect()
    });
    eventually("all ask the model", Duration::from_secs(14), || (upstream.open() == SEARCHES).then_some(()));
    let other = begin(&root, &quick, "echo", &json!({"value": 1}));
    root.execution_becomes(&other, "completed");
    assert!(upstream.open() > SEARCHES / 2, "they wait still: {}", upstream.open());
    for search in &searches {
        root.post(&format!("{SCAICORE}/executions/{search}/cancel")).json(&json!({})).exchange();
    }
    eventually("all have ended", Duration::from_mins(1), || root.all_ended(&core).then_some(()));
    server.stop();
}

fn a_search_is_given_up_by_whoever_cancels(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = patient(place, &upstream);
    let core = searching(&root, &[]);
    output(&root, &core, "add", &json!({"key": "k", "text": "the lorry was late"}));
    upstream.then([Told::Silence]);
    let search = begin(&root, &core, "search", &json!({"n": "refund "}));
    eventually("the model is asked", Duration::from_secs(14), || (upstream.open() == 1).then_some(()));
    root.post(&format!("{SCAICORE}/executions/{search}/cancel")).json(&json!({})).answer(202);
    root.execution_becomes(&search, "cancelled");
    eventually("the connection is closed", Duration::from_secs(10), || (upstream.open() == 0).then_some(()));
    let metrics = server.anyone().get("/metrics").answer(200).text();
    assert!(!metrics.contains("scaigrid_searches_by_words_alone_total"), "nobody waited until time was up");
    server.stop();
}

fn who_looks_into_an_execution_pays_for_nothing(place: &Place) {
    let upstream = ModelServer::start();
    meanings(&upstream);
    let (server, root) = settle(place, &upstream);
    let core = searching(
        &root,
        &[programs::flow(
            "waits",
            &json!([]),
            &json!([programs::checkpoint(&json!({"options": ["yes"], "assignee": "role:tenant_admin"}))]),
        )],
    );
    filled(&root, &core);
    let (execution, _) = root.invoke_to_checkpoint(&core, "waits", &json!({}));
    let look = |query: &str| {
        let expression = format!("memory.cases.search('{query}').map(f => f.key)");
        let body = json!({"execution_id": execution, "expression": expression});
        root.post(&format!("{CORES}/{core}/debug/inspect")).json(&body).answer(200).data()["value"].clone()
    };
    assert_eq!(look("refund "), json!(["k4"]), "by words");
    assert_eq!((upstream.asked().len(), root.usage().len()), (0, 0));
    // What was paid for already is made use of.
    output(&root, &core, "search", &json!("refund "));
    let asked = upstream.asked().len();
    assert_eq!(look("refund "), json!(["k4", "k1", "k5"]));
    assert_eq!(look("money "), json!(["k1"]), "a query that has no vector");
    assert_eq!(upstream.asked().len(), asked);
    server.stop();
}

fn a_call_for_vectors_stands_in_the_trace(place: &Place) {
    let (upstream, collector) = (ModelServer::start(), Collector::start());
    let launch = collector.told_by(place.launch());
    let server = launch.set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url()}));
    embedding_model(&root, "meaning", &backend);
    let core = searching(&root, &[]);
    output(&root, &core, "add", &json!({"key": "k", "text": "the lorry was late"}));
    output(&root, &core, "search", &json!("refund "));
    server.stop();
    let spans = collector.spans();
    let called: Vec<_> = spans.iter().filter(|span| span.name == "embeddings meaning").collect();
    let [call] = called[..] else { panic!("{spans:#?}") };
    assert_eq!(call.get("gen_ai.operation.name"), "embeddings");
    let above = spans.iter().find(|span| span.id == call.parent).unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!((above.name.as_str(), &above.trace), ("run search", &call.trace));
    assert_eq!(upstream.asked()[0].headers["traceparent"], call.traceparent());
}
