//! OpenAI's own shapes, and its official clients.

use std::path::Path;
use std::process::{Command, Stdio};

use scaigrid_tests::{
    Client, ModelServer, Place, Server, Told, ask, events, on_both_databases, service, told,
};
use serde_json::{Value, json};

on_both_databases!(answers_and_errors_look_as_openais_do, the_official_clients_work_unchanged);

const CHAT: &str = "/oai/v1/chat/completions";

fn server(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    let id = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 5000}));
    root.global_model("vendor/model", &[json!({"backend_id": id})]);
    root.enable_model("vendor/model");
    (server, root)
}

fn answers_and_errors_look_as_openais_do(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = server(place, &upstream);
    upstream.always(Told::Text("one two".to_owned()));
    let mut question = ask("vendor/model", "x");
    question["user"] = json!("somebody");
    question["top_logprobs"] = Value::Null;
    let answer = root.post(CHAT).json(&question).answer(200).json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("vendor/model")));
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-") && answer["created"].is_i64());
    assert_eq!(answer["choices"][0]["message"]["content"], "one two");
    assert_eq!(answer["usage"], json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}));
    assert!(upstream.asked().last().unwrap().body["user"].is_null(), "who asks is nobody else's business");

    question["stream"] = json!(true);
    let (pieces, done) = events(&root.post(CHAT).json(&question).answer(200).text());
    assert_eq!((told(&pieces).as_str(), done), ("one two", true));
    assert!(
        pieces.iter().all(|piece| piece["object"] == "chat.completion.chunk" && piece["usage"].is_null())
    );
    question["stream_options"] = json!({"include_usage": true});
    let (pieces, _) = events(&root.post(CHAT).json(&question).answer(200).text());
    let last = pieces.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(12)));
    upstream.then([Told::Cut("one two three".to_owned(), 1)]);
    let (pieces, done) = events(&root.post(CHAT).json(&question).answer(200).text());
    assert!(done && pieces.last().unwrap()["error"]["type"] == "server_error", "{pieces:?}");

    let models = root.get("/oai/v1/models").answer(200).json();
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((&models["object"], ids), (&json!("list"), vec!["echo", "vendor/model"]));
    let model = root.get("/oai/v1/models/vendor/model").answer(200).json();
    assert_eq!(
        (&model["id"], &model["object"], &model["owned_by"]),
        (&json!("vendor/model"), &json!("model"), &json!("platform"))
    );

    let error = |answer: scaigrid_tests::Answer| answer.json()["error"].clone();
    let wrong = error(server.client("x").get("/oai/v1/models").answer(401));
    assert_eq!(
        (&wrong["type"], &wrong["code"]),
        (&json!("invalid_request_error"), &json!("invalid_api_key"))
    );
    let unknown = server.client(&format!("sgk_{}", "x".repeat(40)));
    let wrong = error(unknown.post(CHAT).json(&question).answer(401));
    assert!(wrong["message"].as_str().unwrap().starts_with("Incorrect API key provided"), "{wrong}");
    assert_eq!(error(server.anyone().get("/oai/v1/models").answer(401))["code"], "invalid_api_key");
    let missing = error(root.post(CHAT).json(&ask("nothing", "x")).answer(404));
    assert_eq!((&missing["code"], &missing["param"]), (&json!("model_not_found"), &json!("model")));
    assert_eq!(error(root.get("/oai/v1/models/none/such").answer(404))["code"], "model_not_found");
    for (body, param) in [
        (json!({"model": "echo"}), "messages"),
        (json!({"messages": []}), "model"),
        (json!({"model": "echo", "messages": []}), "messages"),
        (
            json!({"model": "echo", "messages": [{"role": "user", "content": "x"}], "temperature": 7}),
            "temperature",
        ),
        (json!({"model": "echo", "messages": [{"role": "user", "content": "x"}], "magic": 7}), "magic"),
        (json!({"model": "echo", "messages": [{"role": "user", "content": [7]}]}), "messages[0].content"),
        (
            json!({"model": "echo", "messages": [{"role": "user", "content": "x"}], "verbosity": 7}),
            "verbosity",
        ),
    ] {
        let wrong = error(root.post(CHAT).json(&body).answer(400));
        assert_eq!(
            (&wrong["type"], &wrong["param"]),
            (&json!("invalid_request_error"), &json!(param)),
            "{wrong}"
        );
    }
    upstream.always(Told::Status(429, "Retry-After: 30\r\n".to_owned(), "slowly".to_owned()));
    let limited = root.post(CHAT).json(&ask("vendor/model", "x")).answer(429);
    assert_eq!(limited.header("retry-after"), Some("30"));
    assert_eq!(error(limited)["code"], "rate_limit_exceeded");
    let nowhere = root.get("/oai/v1/nothing").answer(404);
    assert_eq!(error(nowhere)["type"], "invalid_request_error");
    server.stop();
}

/// Runs a script of the official clients; what it prints is what went wrong.
fn run(command: &mut Command, script: &str, server: &Server, key: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let output = command
        .arg(script)
        .env("OPENAI_BASE_URL", format!("http://{}/oai/v1", server.address()))
        .env("OPENAI_API_KEY", key)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("all is well"), "{told}");
}

fn the_official_clients_work_unchanged(place: &Place) {
    let (python, node) = (
        service("SCAIGRID_TEST_OPENAI_PYTHON", "official OpenAI client for Python"),
        service("SCAIGRID_TEST_OPENAI_NODE", "official OpenAI client for Node"),
    );
    if python.is_none() && node.is_none() {
        return;
    }
    let upstream = ModelServer::start();
    let (server, root) = server(place, &upstream);
    upstream.always(Told::Text("one two three".to_owned()));
    let (_, key) = root.user("client@example.org", &["tenant_user"]);
    if let Some(python) = python {
        run(&mut Command::new(python), "client.py", &server, &key);
    }
    if let Some(folder) = node {
        run(Command::new("node").env("OPENAI_NODE", folder), "client.mjs", &server, &key);
    }
    server.stop();
}
