//! Metrics: what is exposed can be read strictly, and says exactly what happened.

#![expect(clippy::float_cmp, reason = "numbers of things are whole")]

use std::time::{Duration, Instant};

use scaigrid_tests::{
    CORES, Client, Db, Exposition, Place, Plugin, eventually, on, on_both_databases, programs,
};
use serde_json::json;

on_both_databases!(counters_say_exactly_what_happened, gauges_follow_what_waits);

fn read(client: &Client) -> Exposition {
    let answer = client.get("/metrics").answer(200);
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    Exposition::read(&answer.text())
}

fn counters_say_exactly_what_happened(place: &Place) {
    let server = place.launch().set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1").start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let plugin = Plugin::start();
    let entry = json!({"plugin": "acme/stub", "kind": "http", "endpoint": plugin.http(), "manifest": Plugin::manifest()});
    admin.post("/v1/modules/scaicore/plugins/registry").json(&entry).answer(201);
    let program = json!({
        "schema_version": "0.2", "name": "Caller", "version": "1.0.0",
        "plugins": [{"alias": "stub", "plugin": "acme/stub", "config": {}, "required": true}],
        "models": [{"role": "primary", "provider": "scaigrid", "model": "echo"}],
        "flows": [
            {"name": "go", "params": [], "body": [
                {"kind": "rigid", "statements": [{"kind": "plugin_call", "alias": "stub", "method": "keep",
                    "args": {"n": "1"}, "result_binding": "got"}]},
                {"kind": "model_call", "role": "primary", "prompt": "one two three", "result_binding": "said"},
            ]},
            {"name": "fails", "params": [], "body": [
                {"kind": "rigid", "statements": [{"kind": "fail", "code": "OWN", "message": "no"}]}]},
        ],
    });
    let caller = admin.run("Caller", &program);
    let asker = admin.run("Ask", &programs::expenses_with_ledger());
    let mut alone = programs::echo(1);
    alone["instance"] = json!({"mode": "singleton"});
    let alone = admin.run("Alone", &alone);
    let before = read(&anyone);
    for _ in 0..5 {
        assert_eq!(admin.invoke(&caller, "go", &json!({}))["status"], "completed");
    }
    for _ in 0..2 {
        assert_eq!(admin.invoke(&caller, "fails", &json!({}))["status"], "failed");
    }
    // Those that wait for their turn are accepted, too.
    for _ in 0..2 {
        assert_eq!(admin.invoke(&alone, "echo", &json!({"value": 1}))["status"], "completed");
    }
    let mut checkpoints = Vec::new();
    for _ in 0..3 {
        let input = json!({"employee": "Eve", "lines": [{"label": "x", "amount": 9000}]});
        checkpoints.push(admin.invoke_to_checkpoint(&asker, "submit", &input).1);
    }
    admin.resolve(&checkpoints[0], "approve");
    admin.get("/v1/nothing/of/the/kind").answer(404);
    let expected = [
        ("scaigrid_executions_started_total{trigger=\"invoke\"}", 12.0),
        ("scaigrid_executions_ended_total{status=\"completed\"}", 8.0),
        ("scaigrid_executions_ended_total{status=\"failed\"}", 2.0),
        ("scaigrid_executions_ended_total{status=\"cancelled\"}", 0.0),
        ("scaigrid_executions_suspended_total", 3.0),
        ("scaigrid_plugin_calls_total{result=\"answered\"}", 5.0),
        ("scaigrid_plugin_call_seconds_count", 5.0),
        ("scaigrid_model_calls_total{provider=\"echo\",status=\"completed\"}", 5.0),
        ("scaigrid_model_call_seconds_count{provider=\"echo\"}", 5.0),
        (
            "http_requests_total{method=\"POST\",route=\"/v1/modules/scaicore/cores/{core_id}/invoke\",status=\"2xx\"}",
            12.0,
        ),
        ("http_requests_total{method=\"GET\",route=\"unmatched\",status=\"4xx\"}", 1.0),
        (
            "http_request_duration_seconds_count{method=\"POST\",route=\"/v1/modules/scaicore/cores/{core_id}/invoke\"}",
            12.0,
        ),
    ];
    // Some are counted once what they count is written, so for a moment an answer is ahead of them.
    let mut after = read(&anyone);
    let until = Instant::now() + Duration::from_secs(10);
    while expected.iter().any(|(series, by)| after.value(series) - before.value(series) < *by)
        && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(20));
        after = read(&anyone);
    }
    let grew = |series: &str| after.value(series) - before.value(series);
    for (series, by) in expected {
        assert_eq!(grew(series), by, "{series}");
    }
    let tokens = |direction: &str| {
        grew(&format!("scaigrid_model_tokens_total{{direction=\"{direction}\",provider=\"echo\"}}"))
    };
    assert!(tokens("input") > 0.0 && tokens("output") > 0.0);
    let usage = admin.pages("/v1/accounting/usage", "items");
    let counted = |field: &str| usage.iter().map(|record| record[field].as_f64().unwrap()).sum::<f64>();
    assert_eq!((tokens("input"), tokens("output")), (counted("tokens_in"), counted("tokens_out")));
    assert!(grew("scaigrid_journal_entries_total") > 20.0);
    let groups = grew("scaigrid_commit_seconds_count");
    let units = grew("scaigrid_commit_units_total");
    assert!(groups > 0.0 && units >= groups, "{units} units in {groups} groups");
    assert_eq!(grew("scaigrid_commit_group_units_sum"), units);
    // Nothing that a tenant has named, and no ids, are among the labels.
    for series in after.series() {
        assert!(
            !["Caller", "core_0", "exec_", "ten_", "acme"].iter().any(|word| series.contains(word)),
            "{series}"
        );
    }
}

fn gauges_follow_what_waits(place: &Place) {
    let server = place.start();
    let (admin, anyone) = (server.admin(), server.anyone());
    let asker = admin.run("Ask", &programs::expenses_with_ledger());
    let input = json!({"employee": "Eve", "lines": [{"label": "x", "amount": 9000}]});
    let (_, checkpoint) = admin.invoke_to_checkpoint(&asker, "submit", &input);
    let becomes = |series: &str, wanted: &dyn Fn(f64) -> bool| {
        eventually(series, Duration::from_secs(30), || {
            let read = read(&anyone);
            (read.has(series) && wanted(read.value(series))).then_some(())
        });
    };
    becomes("scaigrid_checkpoints_open", &|open| open == 1.0);
    becomes("scaigrid_checkpoints_oldest_seconds", &|age| age > 0.0);
    becomes("scaigrid_nodes", &|nodes| nodes == 1.0);
    becomes("scaigrid_executions{status=\"queued\"}", &|queued| queued == 0.0);
    becomes("scaigrid_queue_oldest_seconds", &|age| age == 0.0);
    becomes("scaigrid_lease_renewed_timestamp_seconds", &|at| at > 1.6e9);
    becomes("scaigrid_database_connections{state=\"most\"}", &|most| most > 0.0);
    becomes("process_resident_memory_bytes", &|bytes| bytes > 1e6);
    becomes("process_open_fds", &|open| open > 3.0);
    admin.resolve(&checkpoint, "approve");
    becomes("scaigrid_checkpoints_open", &|open| open == 0.0);
    becomes("scaigrid_checkpoints_oldest_seconds", &|age| age == 0.0);
    // What a held Core is asked for waits.
    admin.act(&asker, "pause");
    let before = admin.get(&format!("{CORES}/{asker}/state")).answer(200).data();
    assert_eq!(before["status"], "paused");
}

#[test]
fn metrics_can_have_an_address_of_their_own() {
    on(Db::Sqlite, |place| {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let apart = format!("127.0.0.1:{port}");
        let server = place.launch().set("SCAIGRID_METRICS_BIND", &apart).start();
        server.anyone().get("/metrics").answer(404);
        let alone = Client::new(apart.parse().unwrap(), None);
        eventually("measured", Duration::from_secs(30), || read(&alone).has("scaigrid_nodes").then_some(()));
        alone.get("/health").answer(404);
        alone.get("/v1/me").answer(404);
        server.stop();
    });
}
