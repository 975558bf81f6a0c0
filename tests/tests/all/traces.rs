//! Traces: what a collector is told of a request, of the execution that it begins, and of what the execution does, on
//! whichever node.

use std::time::Duration;

use scaigrid_tests::{
    CORES, Client, Collector, Db, Place, Plugin, Reaction, SCAICORE, Server, Traced, eventually, on,
    on_both_databases,
};
use serde_json::{Value, json};

on_both_databases!(
    a_trace_goes_on_after_a_restart,
    what_is_not_sampled_is_not_told_but_passed_on,
    a_collector_that_is_away_holds_nobody_up,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ABOVE: &str = "b7ad6b7169203331";
const OTHER: &str = "1bf7651916cd43dd8448eb211c80319d";
const SECRET: &str = "hush-hush-4711";

fn start(place: &Place, collector: &Collector) -> Server {
    collector.told_by(place.launch()).set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start()
}

/// A flow that calls a plugin, asks a model, asks a person, and calls the plugin again.
fn program() -> Value {
    let call = |id: &str, binding: &str| {
        json!({"kind": "rigid", "id": id, "statements": [
            {"kind": "plugin_call", "alias": "stub", "method": "keep", "args": {"n": format!("'{SECRET}'")},
                "result_binding": binding}]})
    };
    json!({
        "schema_version": "0.2", "name": "Traced", "version": "1.0.0",
        "models": [{"role": "primary", "provider": "scaigrid", "model": "echo"}],
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "flows": [{"name": "go", "params": [], "body": [
            call("first", "one"),
            {"kind": "model_call", "id": "think", "role": "primary", "prompt": format!("What of {SECRET}?"),
                "result_binding": "said"},
            {"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval",
                "present": {"prompt": "Shall it be?"}, "options": ["yes", "no"], "result_binding": "answer"},
            call("second", "two"),
            {"kind": "rigid", "id": "end", "statements": [{"kind": "return", "value": "answer.decision"}]},
        ]}],
    })
}

fn settle(admin: &Client) -> (Plugin, String) {
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post("/v1/modules/scaicore/plugins/registry").json(&entry).answer(201);
    let core = admin.run("Traced", &program());
    (plugin, core)
}

fn invoke(client: &Client, core: &str, traceparent: &str) -> (String, String) {
    let body = json!({"flow": "go", "input": {}, "wait_ms": 30_000});
    let path = format!("{CORES}/{core}/invoke");
    let execution = client.post(&path).header("traceparent", traceparent).json(&body).answer(202).data();
    let checkpoint = execution["checkpoints"][0].as_str().unwrap_or_else(|| panic!("{execution}")).to_owned();
    (execution["id"].as_str().unwrap().to_owned(), checkpoint)
}

fn resolve(client: &Client, checkpoint: &str, traceparent: &str) {
    let body = json!({"decision": "yes", "wait_ms": 30_000});
    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/resolve");
    let decided = client.post(&path).header("traceparent", traceparent).json(&body).answer(200).data();
    assert_eq!(decided["execution"]["status"], "completed", "{decided}");
}

fn named<'a>(spans: &'a [Traced], name: &str) -> Vec<&'a Traced> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// That the spans are those of one run of the flow, which went on under another request.
fn check(spans: &[Traced], plugin: &Plugin, nodes: usize) {
    let of_trace: Vec<Traced> = spans.iter().filter(|span| span.trace == TRACE).cloned().collect();
    let [request] = named(&of_trace, "POST /v1/modules/scaicore/cores/{core_id}/invoke")[..] else {
        panic!("{of_trace:#?}")
    };
    assert_eq!((request.parent.as_str(), request.kind), (ABOVE, 2));
    assert_eq!(request.get("http.response.status_code"), "202");
    let [execution] = named(&of_trace, "execution go")[..] else { panic!("{of_trace:#?}") };
    assert_eq!(execution.parent, request.id);
    assert_eq!(execution.get("scaigrid.execution.status"), "completed");
    let runs = named(&of_trace, "run go");
    assert_eq!(runs.len(), 2, "{of_trace:#?}");
    assert!(runs.iter().all(|run| run.parent == execution.id));
    let first = runs.iter().find(|run| run.links.is_empty()).unwrap();
    let second = runs.iter().find(|run| !run.links.is_empty()).unwrap();
    assert_eq!(first.get("scaigrid.execution.status"), "suspended");
    assert_eq!(second.get("scaigrid.execution.status"), "completed");
    let [resolving] = named(spans, "POST /v1/modules/scaicore/checkpoints/{checkpoint_id}/resolve")[..]
    else {
        panic!("{spans:#?}")
    };
    assert_eq!((resolving.trace.as_str(), resolving.parent.as_str()), (OTHER, ABOVE));
    let by = (resolving.trace.clone(), resolving.id.clone());
    assert_eq!(second.links, std::slice::from_ref(&by));
    let [asked] = named(&of_trace, "checkpoint ask")[..] else { panic!("{of_trace:#?}") };
    assert_eq!(asked.parent, execution.id);
    assert_eq!(asked.links, [by]);
    assert_eq!(asked.get("scaigrid.checkpoint.status"), "resolved");
    let [chat] = named(&of_trace, "chat echo")[..] else { panic!("{of_trace:#?}") };
    assert_eq!((&chat.parent, chat.kind), (&first.id, 3));
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "scaigrid.echo"),
        ("gen_ai.request.model", "echo"),
        ("gen_ai.response.finish_reasons", "stop"),
    ] {
        assert_eq!(chat.get(key), value);
    }
    assert!(chat.get("gen_ai.usage.input_tokens").parse::<u64>().unwrap() > 0);
    assert!(chat.get("gen_ai.usage.output_tokens").parse::<u64>().unwrap() > 0);
    let tools = named(&of_trace, "execute_tool stub.keep");
    let calls = plugin.calls();
    assert_eq!((tools.len(), calls.len()), (2, 2));
    for (block, run) in [("first", first), ("second", second)] {
        let tool = tools.iter().find(|tool| tool.get("scaigrid.block.id") == block).unwrap();
        assert_eq!((&tool.parent, tool.kind), (&run.id, 3));
        let heard = calls.iter().find(|call| call.key() == tool.get("gen_ai.tool.call.id")).unwrap();
        assert_eq!(heard.headers["traceparent"], tool.traceparent());
    }
    let instances: std::collections::BTreeSet<&str> =
        of_trace.iter().map(|span| span.instance.as_str()).collect();
    assert_eq!(instances.len(), nodes, "{instances:?}");
    assert!(of_trace.iter().all(|span| !span.failed));
    assert_eq!(of_trace.len(), 8, "{of_trace:#?}");
    let told = format!("{spans:?}");
    assert!(!told.contains(SECRET) && !told.contains("Shall it be"), "no values stand in spans");
}

fn complete(spans: &[Traced]) -> Option<Vec<Traced>> {
    let there = |name: &str| spans.iter().any(|span| span.name.contains(name));
    (there("execution go") && there("/resolve") && there("/invoke")).then(|| spans.to_vec())
}

#[test]
fn a_trace_goes_on_on_another_node() {
    on(Db::Postgres, |place| {
        let collector = Collector::start();
        let first = start(place, &collector);
        let second = collector.told_by(place.further_node("second"));
        let second = second.set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
        let (plugin, core) = settle(&first.admin());
        let (_, checkpoint) = invoke(&first.admin(), &core, &format!("00-{TRACE}-{ABOVE}-01"));
        resolve(&second.admin(), &checkpoint, &format!("00-{OTHER}-{ABOVE}-01"));
        let spans = collector.wait_for("the spans of both nodes", complete);
        check(&spans, &plugin, 2);
        first.stop();
        second.stop();
    });
}

fn a_trace_goes_on_after_a_restart(place: &Place) {
    let collector = Collector::start();
    let server = start(place, &collector);
    let (plugin, core) = settle(&server.admin());
    let (_, checkpoint) = invoke(&server.admin(), &core, &format!("00-{TRACE}-{ABOVE}-01"));
    collector.wait_for("the request's span", |spans| {
        spans.iter().any(|span| span.name.ends_with("/invoke")).then_some(())
    });
    server.kill();
    let server = start(place, &collector);
    resolve(&server.admin(), &checkpoint, &format!("00-{OTHER}-{ABOVE}-01"));
    // Whoever ends well has told everything.
    server.stop();
    let told = complete(&collector.spans()).unwrap_or_else(|| panic!("{:#?}", collector.spans()));
    check(&told, &plugin, 2);
}

fn what_is_not_sampled_is_not_told_but_passed_on(place: &Place) {
    let collector = Collector::start();
    let server = start(place, &collector);
    let (plugin, core) = settle(&server.admin());
    let (_, checkpoint) = invoke(&server.admin(), &core, &format!("00-{TRACE}-{ABOVE}-00"));
    resolve(&server.admin(), &checkpoint, &format!("00-{OTHER}-{ABOVE}-00"));
    server.stop();
    let told = collector.spans();
    assert!(!told.is_empty(), "requests without a context are told");
    assert!(told.iter().all(|span| span.trace != TRACE && span.trace != OTHER), "{told:#?}");
    for call in plugin.calls() {
        let context = &call.headers["traceparent"];
        assert!(context.starts_with(&format!("00-{TRACE}-")) && context.ends_with("-00"), "{context}");
    }
}

fn a_collector_that_is_away_holds_nobody_up(place: &Place) {
    let collector = Collector::start();
    collector.receiver().always(Reaction::Silence(Duration::from_mins(1)));
    place.allow_in_log("spans could not be sent");
    let launch = collector.told_by(place.launch()).set("OTEL_BSP_MAX_QUEUE_SIZE", "4");
    let server = launch.set("OTEL_EXPORTER_OTLP_TIMEOUT", "1000").start();
    let admin = server.admin();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        admin.get("/v1/me").answer(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    eventually("the trouble is said", Duration::from_secs(30), || {
        server.log().contains("spans could not be sent").then_some(())
    });
    server.stop();
}

#[test]
fn a_variable_that_cannot_be_obeyed_stops_the_start() {
    on(Db::Sqlite, |place| {
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318"), ("OTEL_TRACES_SAMPLER", "sometimes")];
        let output = scaigrid_tests::run(place.folder(), &["serve"], &variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("OTEL_TRACES_SAMPLER: ") && said.lines().count() == 1, "{said}");
    });
}
