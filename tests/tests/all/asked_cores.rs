//! Published Cores that programs ask as their models: what that takes of budgets, and what becomes of it when the program is
//! tried again, cancelled, or out of patience.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, ModelServer, Place, SCAICORE, Server, Told, ask, eventually, on_both_databases, programs,
};
use serde_json::{Value, json};

use crate::published::{chatting, published, text};

on_both_databases!(
    a_published_core_takes_nothing_from_what_its_own_calls_may_spend,
    what_failed_is_asked_anew_when_the_program_is_tried_again,
    what_a_program_waits_for_no_longer_is_cancelled,
    what_a_dead_server_was_asked_goes_on,
    a_core_of_another_tenant_is_cancelled_too,
    a_full_queue_is_told_to_whoever_chats,
);

const CHAT: &str = "/v1/inference/chat";
const SOON: Duration = Duration::from_secs(20);

fn start(place: &Place, upstream: &ModelServer) -> (Server, Client) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", &upstream.address().to_string()).start();
    let root = server.admin();
    let backend = root.backend("openai", &json!({"base_url": upstream.base_url(), "timeout_ms": 60_000}));
    root.global_model("m", &[json!({"backend_id": backend})]);
    (server, root)
}

/// A program that asks a model what it is asked itself.
fn passing_on(model: &str, more: &Value) -> Value {
    let mut call = json!({"kind": "model_call", "id": "asked", "role": "primary", "prompt": "${message}",
        "result_binding": "said"});
    call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut program =
        chatting(&json!([call, programs::rigid("end", &json!([{"kind": "return", "value": "said"}]))]));
    program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": model}]);
    program
}

/// A program that answers once somebody has decided.
fn deciding() -> Value {
    let ask = programs::checkpoint(&json!({"options": ["yes"], "assignee": "role:tenant_admin"}));
    let end = programs::rigid("end", &json!([{"kind": "return", "value": "{response: answer.decision}"}]));
    chatting(&json!([ask, end]))
}

fn begin(client: &Client, core: &str) -> String {
    let body = json!({"flow": "chat", "input": {"message": "Well?"}});
    let begun = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    begun["execution_id"].as_str().unwrap().to_owned()
}

/// The newest execution of a Core, once it waits for a person.
fn waiting(client: &Client, core: &str) -> String {
    eventually("it waits for a person", SOON, || {
        let executions = client.pages(&format!("{CORES}/{core}/executions?status=suspended"), "items");
        executions.first().map(|execution| execution["id"].as_str().unwrap().to_owned())
    })
}

fn cancel(client: &Client, execution: &str) {
    client.post(&format!("{SCAICORE}/executions/{execution}/cancel")).json(&json!({})).answer(202);
    client.execution_becomes(execution, "cancelled");
}

fn a_published_core_takes_nothing_from_what_its_own_calls_may_spend(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = start(place, &upstream);
    upstream.always(Told::Late("all is well".to_owned(), Duration::from_millis(300)));
    let tenant = root.tenant("acme");
    let acme = root.in_tenant("acme");
    acme.enable_model("m");
    // Less than an answer is thought to have that nothing bounds, and enough for many that are bounded.
    let limits = json!({"limits": {"monthly_ai_tokens": 2000}});
    root.put(&format!("/v1/admin/tenants/{tenant}"), &limits).answer(200);
    published(&acme, "Inner", &passing_on("m", &json!({"params": {"max_tokens": "50"}})));
    std::thread::scope(|scope| {
        let chat = |n: usize| {
            let answer =
                acme.post(CHAT).json(&ask("scaicore/acme/inner", &format!("How is {n}?"))).exchange();
            assert_eq!(answer.status, 200, "{answer}");
            assert_eq!(text(&answer.data()), "all is well");
        };
        for n in 0..5 {
            scope.spawn(move || chat(n));
        }
    });
    server.stop();
}

fn what_failed_is_asked_anew_when_the_program_is_tried_again(place: &Place) {
    let upstream = ModelServer::start();
    let (server, root) = start(place, &upstream);
    root.enable_model("m");
    let inner = published(&root, "Inner", &passing_on("m", &json!({})));
    let outer = root.run("Outer", &passing_on("scaicore/default/inner", &json!({})));
    upstream.then([Told::Status(400, String::new(), "no luck".to_owned())]);
    let failed = root.invoke(&outer, "chat", &json!({"message": "Well?"}));
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("MODEL_ERROR")));
    let id = failed["id"].as_str().unwrap();
    let answer = root.post(&format!("{SCAICORE}/executions/{id}/retry")).exchange();
    assert!(answer.status < 300, "{answer}");
    assert_eq!(root.execution_becomes(id, "completed")["output"], "well");
    let executions = root.pages(&format!("{CORES}/{inner}/executions"), "items");
    let status: Vec<&Value> = executions.iter().map(|execution| &execution["status"]).collect();
    assert_eq!(status, ["completed", "failed"]);
    server.stop();
}

fn what_a_program_waits_for_no_longer_is_cancelled(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let inner = published(&root, "Inner", &deciding());
    let patient = root.run("Patient", &passing_on("scaicore/default/inner", &json!({})));
    let outer = begin(&root, &patient);
    let asked = waiting(&root, &inner);
    cancel(&root, &outer);
    root.execution_becomes(&asked, "cancelled");
    // Who says how long they wait.
    let hasty = passing_on("scaicore/default/inner", &json!({"timeout": "1s"}));
    let hasty = root.run("Hasty", &hasty);
    let failed = root.invoke(&hasty, "chat", &json!({"message": "Well?"}));
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["error"]["code"].as_str().unwrap().ends_with("TIMEOUT"), "{failed}");
    eventually("all that was asked has ended", SOON, || root.all_ended(&inner).then_some(()));
    let pending = root.pages(&format!("{SCAICORE}/checkpoints/all?core_id={inner}&status=pending"), "items");
    assert!(pending.is_empty(), "nobody is asked any more: {pending:?}");
    server.stop();
}

fn what_a_dead_server_was_asked_goes_on(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let inner = published(&root, "Inner", &deciding());
    let outer = root.run("Outer", &passing_on("scaicore/default/inner", &json!({})));
    let outer = begin(&root, &outer);
    let asked = waiting(&root, &inner);
    server.kill();
    let server = place.start();
    let root = server.admin();
    let pending = root.pages(&format!("{SCAICORE}/checkpoints/all?core_id={inner}&status=pending"), "items");
    root.resolve(pending[0]["id"].as_str().unwrap(), "yes");
    root.execution_becomes(&asked, "completed");
    assert_eq!(root.execution_becomes(&outer, "completed")["output"], "yes");
    assert_eq!(root.pages(&format!("{CORES}/{inner}/executions"), "items").len(), 1);
    server.stop();
}

fn a_core_of_another_tenant_is_cancelled_too(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("one");
    root.tenant("two");
    let (one, two) = (root.in_tenant("one"), root.in_tenant("two"));
    let group = json!({"name": "All", "scope": "global"});
    let group = root.post("/v1/model-groups").json(&group).answer(201).data();
    let inner = one.run("Inner", &deciding());
    one.post(&format!("{CORES}/{inner}/publish")).json(&json!({"group_ids": [group["id"]]})).answer(200);
    two.enable_model("scaicore/one/inner");
    let outer = two.run("Outer", &passing_on("scaicore/one/inner", &json!({})));
    let outer = begin(&two, &outer);
    let asked = waiting(&one, &inner);
    cancel(&two, &outer);
    one.execution_becomes(&asked, "cancelled");
    server.stop();
}

fn a_full_queue_is_told_to_whoever_chats(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let mut program =
        chatting(&json!([programs::rigid("end", &json!([{"kind": "return", "value": "message"}]))]));
    program["instance"] = json!({"mode": "singleton"});
    let inner = published(&root, "Inner", &program);
    let outer = root.run("Outer", &passing_on("scaicore/default/inner", &json!({})));
    let question = ask("scaicore/default/inner", "Hello");
    assert_eq!(text(&root.post(CHAT).json(&question).answer(200).data()), "Hello");
    let limits = json!({"resource_limits": {"max_queued_executions": 0}});
    root.put(&format!("{CORES}/{inner}"), &limits).answer(200);
    let refused = eventually("the limit counts", SOON, || {
        let answer = root.post(CHAT).json(&question).exchange();
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")), "{refused}");
    let failed = root.invoke(&outer, "chat", &json!({"message": "Hello"}));
    assert_eq!(failed["error"]["code"], "MODEL_UNAVAILABLE", "{failed}");
    server.stop();
}
