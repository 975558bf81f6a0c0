//! Statistics of a tenant, and its audit log as the administration lists it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use scaigrid_tests::{CORES, Client, Db, Place, SCAICORE, ask, eventually, on_both_databases, programs, run};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::workspace_models::{PARTICIPANTS, listed};

on_both_databases!(
    figures_are_what_a_recount_finds,
    figures_are_those_of_what_was_put_back,
    many_at_once_are_counted_once_each,
    usage_is_told_by_period,
    the_log_of_the_tenant_is_searched,
);

const STATS: &str = "/v1/admin/stats";
const AUDIT: &str = "/v1/admin/audit";
const PATIENCE: Duration = Duration::from_mins(2);
/// What is longer lies in the object store.
const LARGE: usize = 200_000;

fn stats(client: &Client) -> Value {
    client.get(STATS).answer(200).data()
}

/// How many there are of each status, among what a list shows.
fn by_status(items: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// The figures of something, without what there is none of, which must add up.
fn told(figures: &Value, by: &str) -> BTreeMap<String, u64> {
    let by: &Map<String, Value> = figures[by].as_object().unwrap();
    let counts: BTreeMap<String, u64> =
        by.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect();
    assert_eq!(figures["total"], counts.values().sum::<u64>(), "{figures}");
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// Waits until the statistics say what the lists show.
pub(crate) fn agree(client: &Client) {
    let mut last = (Value::Null, BTreeMap::new(), BTreeMap::new());
    for _ in 0..200 {
        let figures = stats(client);
        let checkpoints = by_status(&client.pages(&format!("{SCAICORE}/checkpoints/all"), "items"));
        let cores = by_status(&client.pages(CORES, "items"));
        if told(&figures["checkpoints"], "by_status") == checkpoints
            && told(&figures["cores"], "by_status") == cores
        {
            return;
        }
        last = (figures, checkpoints, cores);
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the statistics say something else: {last:?}");
}

/// Waits until the statistics say of calls of models what their records do.
pub(crate) fn agree_on_usage(client: &Client) {
    // Whatever clocks have been set to, it was within these two days.
    let (now, day) = (OffsetDateTime::now_utc().replace_nanosecond(0).unwrap(), time::Duration::DAY);
    let [since, until] = [now - day, now + day].map(|instant| instant.format(&Rfc3339).unwrap());
    let mut last = (Value::Null, Value::Null);
    for _ in 0..200 {
        last = (used(client, &format!("since={since}&until={until}")), recount(&client.usage()));
        if last.0 == last.1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the statistics say something else of what models have used: {last:?}");
}

/// The sizes of the files below a folder.
fn files(folder: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(
            |path| {
                if path.is_dir() { files(&path) } else { vec![std::fs::metadata(&path).unwrap().len()] }
            },
        )
        .collect()
}

fn figures_are_what_a_recount_finds(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let tenant = root.tenant("acme");
    root.tenant("other");
    let (acme, other) = (root.in_tenant("acme"), root.in_tenant("other"));
    let empty = stats(&acme);
    for kind in ["human", "model", "agent", "helper", "bridge", "federated"] {
        assert_eq!(empty["participants"]["by_type"][kind], 0, "{empty}");
    }
    assert_eq!(empty["rooms"], json!({"total": 0, "open": 0, "archived": 0}));
    assert_eq!(empty["storage"], json!({"bytes": 0, "objects": 0, "limit_bytes": null}));
    assert_eq!((&empty["cores"]["total"], &empty["checkpoints"]["total"]), (&json!(0), &json!(0)));
    assert_eq!(empty["checkpoints"]["by_status"]["expired"], 0);
    assert_eq!(empty["ai_usage"]["requests"], 0);

    // Who may not administer is told nothing.
    let (_, user) = acme.user("ada@acme.example", &["tenant_user"]);
    let (_, admin) = acme.user("boss@acme.example", &["tenant_admin"]);
    server.client(&user).get(STATS).answer(403);
    server.client(&user).get(AUDIT).answer(403);
    let admin = server.client(&admin);
    assert_eq!(stats(&admin)["participants"]["by_type"]["human"], 2);

    // Who is deleted is no participant any more, here as in the list.
    let (gone, _) = acme.user("gone@acme.example", &["tenant_user"]);
    assert_eq!(stats(&admin)["participants"]["total"], 3);
    acme.delete(&format!("/v1/users/{gone}")).answer(204);
    assert_eq!(listed(&admin, PARTICIPANTS, 10).len(), 2);
    assert_eq!(stats(&admin)["participants"]["total"], 2);

    // Checkpoints that come to every end.
    let core = admin.run("Asking", &programs::asking(&json!({})));
    let brief = admin.run("Brief", &programs::asking(&json!({"timeout": "1s", "on_timeout": "expire"})));
    let (_, resolved) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    admin.resolve(&resolved, "yes");
    let (cancelled, _) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    admin.post(&format!("{SCAICORE}/executions/{cancelled}/cancel")).json(&json!({})).answer(200);
    admin.execution_becomes(&cancelled, "cancelled");
    admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let (expired, _) = admin.invoke_to_checkpoint(&brief, "ask", &json!({}));
    admin.execution_becomes(&expired, "failed");
    agree(&admin);
    let figures = stats(&admin);
    let expected = json!({"pending": 1, "resolved": 1, "expired": 1, "cancelled": 1});
    assert_eq!(figures["checkpoints"]["by_status"], expected, "{figures}");
    assert_eq!(figures["cores"]["by_status"]["running"], 2);
    agree(&other);
    assert_eq!(stats(&other)["checkpoints"]["total"], 0);

    // What lies in the store.
    let keeps = programs::program(
        "Keeps",
        &[programs::flow(
            "keep",
            &json!([{"name": "value", "type": "string"}]),
            &json!([{"kind": "rigid", "statements": [{"kind": "return", "value": "value"}]}]),
        )],
    );
    let keeper = admin.run("Keeps", &keeps);
    for letter in ["a", "b", "a"] {
        admin.invoke(&keeper, "keep", &json!({"value": letter.repeat(LARGE)}));
    }
    let folder = place.data().join("objects").join("tenants").join(&tenant);
    eventually("the store is told as it is", PATIENCE, || {
        let (figures, files) = (stats(&admin), files(&folder));
        assert!(!files.is_empty());
        let same = figures["storage"]["objects"] == files.len();
        (same && figures["storage"]["bytes"] == files.iter().sum::<u64>()).then_some(())
    });
    root.put(
        &format!("/v1/admin/tenants/{tenant}"),
        &json!({"limits": {"max_storage_bytes": 1_000_000_000}}),
    )
    .answer(200);
    assert_eq!(stats(&admin)["storage"]["limit_bytes"], 1_000_000_000);
    assert_eq!(stats(&other)["storage"]["objects"], 0);

    // A Core goes with its checkpoints.
    admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
    agree(&admin);
    assert_eq!(stats(&admin)["checkpoints"]["total"], 1);
    assert_eq!(stats(&admin)["checkpoints"]["by_status"]["expired"], 1);
    server.stop();
}

/// A backup does not hold figures: they come about anew.
fn figures_are_those_of_what_was_put_back(place: &Place) {
    let server = place.start();
    let root = server.admin();
    let core = root.run("Asking", &programs::asking(&json!({})));
    for decided in [true, true, false] {
        let (_, checkpoint) = root.invoke_to_checkpoint(&core, "ask", &json!({}));
        if decided {
            root.resolve(&checkpoint, "yes");
        }
    }
    root.invoke(&root.run("Echo", &programs::echo(1)), "echo", &json!({"value": "x".repeat(LARGE)}));
    root.post("/v1/inference/chat").json(&ask("echo", "How much?")).answer(200);
    eventually("the call is settled", PATIENCE, || (stats(&root)["ai_usage"]["requests"] == 1).then_some(()));
    let figures = stats(&root);
    assert!(figures["storage"]["bytes"].as_u64().unwrap() >= LARGE as u64, "{figures}");
    let file = place.folder().join("grid.backup");
    let data = place.data();
    let own =
        [("SCAIGRID_DATA_DIR", data.to_str().unwrap()), ("SCAIGRID_DATABASE_URL", place.database_url())];
    let made = run(place.folder(), &["admin", "backup", "--output", file.to_str().unwrap()], &own);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    server.stop();
    let other = if place.db() == Db::Sqlite { Db::Postgres } else { Db::Sqlite };
    let Some(elsewhere) = Place::fresh(other) else { return };
    let key = std::fs::read_to_string(data.join("master.key")).unwrap().trim().to_owned();
    let target = [
        ("SCAIGRID_DATA_DIR", "data"),
        ("SCAIGRID_DATABASE_URL", elsewhere.database_url()),
        ("SCAIGRID_MASTER_KEY", key.as_str()),
    ];
    let restored = run(elsewhere.folder(), &["admin", "restore", file.to_str().unwrap()], &target);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    std::fs::copy(data.join("admin.key"), elsewhere.data().join("admin.key")).unwrap();
    let server = elsewhere.launch().set("SCAIGRID_MASTER_KEY", &key).start();
    let again = stats(&server.admin());
    for part in ["checkpoints", "storage", "ai_usage", "participants", "rooms"] {
        assert_eq!(again[part], figures[part], "{part}");
    }
    agree(&server.admin());
    server.stop();
    elsewhere.leave();
}

fn many_at_once_are_counted_once_each(place: &Place) {
    const CALLERS: usize = 4;
    const ROUNDS: usize = 12;
    let server = place.start();
    let root = server.admin();
    for number in 0..CALLERS {
        root.tenant(&format!("tenant-{number}"));
    }
    std::thread::scope(|scope| {
        for number in 0..CALLERS {
            let client = root.in_tenant(&format!("tenant-{number}"));
            scope.spawn(move || {
                let core = client.run("Asking", &programs::asking(&json!({})));
                for round in 0..ROUNDS {
                    let (_, checkpoint) = client.invoke_to_checkpoint(&core, "ask", &json!({}));
                    if round % 3 > 0 {
                        client.resolve(&checkpoint, "yes");
                    }
                    let figures = &stats(&client)["checkpoints"];
                    assert_eq!(figures["total"], round as u64 + 1, "{figures}");
                }
            });
        }
    });
    let all = |client: &Client| -> Vec<Value> {
        (0..CALLERS)
            .map(|number| stats(&client.in_tenant(&format!("tenant-{number}")))["checkpoints"].clone())
            .collect()
    };
    let before = all(&root);
    let (pending, resolved) = (ROUNDS / 3, ROUNDS - ROUNDS / 3);
    for figures in &before {
        let by_status = json!({"pending": pending, "resolved": resolved, "expired": 0, "cancelled": 0});
        assert_eq!(*figures, json!({"total": ROUNDS, "by_status": by_status}));
    }
    server.stop();
    // A server that begins draws together what there is; the sums stay.
    let server = place.start();
    for _ in 0..20 {
        assert_eq!(all(&server.admin()), before);
        std::thread::sleep(Duration::from_millis(50));
    }
    agree(&server.admin().in_tenant("tenant-0"));
    server.stop();
}

/// What records of calls come to: how many, tokens read, tokens written.
fn recount(records: &[Value]) -> Value {
    let sum = |field: &str| records.iter().map(|record| record[field].as_u64().unwrap()).sum::<u64>();
    json!([records.len(), sum("tokens_in"), sum("tokens_out")])
}

fn used(client: &Client, query: &str) -> Value {
    let usage = client.get(&format!("{STATS}?{query}")).answer(200).data()["ai_usage"].clone();
    json!([usage["requests"], usage["input_tokens"], usage["output_tokens"]])
}

fn usage_is_told_by_period(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    let acme = root.in_tenant("acme");
    let backend = root.backend("echo", &json!({"script": "from the script"}));
    root.global_model("vendor/family/model-1", &[json!({"backend_id": backend})]);
    acme.enable_model("vendor/family/model-1");
    for number in 0..6 {
        let model = if number % 3 == 0 { "echo" } else { "vendor/family/model-1" };
        acme.post("/v1/inference/chat").json(&ask(model, &"word ".repeat(number + 1))).answer(200);
    }
    root.post("/v1/inference/chat").json(&ask("echo", "of another tenant")).answer(200);
    let records = eventually("all calls are settled", PATIENCE, || {
        let records = acme.usage();
        (records.len() == 6).then_some(records)
    });
    let usage = stats(&acme)["ai_usage"].clone();
    assert_eq!(json!([usage["requests"], usage["input_tokens"], usage["output_tokens"]]), recount(&records));
    let models: Vec<&str> =
        usage["by_model"].as_array().unwrap().iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["vendor/family/model-1", "echo"], "the most used first");
    for row in usage["by_model"].as_array().unwrap() {
        let own: Vec<Value> =
            records.iter().filter(|record| record["model"] == row["model"]).cloned().collect();
        assert_eq!(json!([row["requests"], row["input_tokens"], row["output_tokens"]]), recount(&own));
    }

    // Periods within an hour, by the instants of the records, of which the newest comes first.
    let at = |number: usize| records[number]["created_at"].as_str().unwrap();
    assert_eq!(used(&acme, &format!("since={}&until={}", at(5), at(0))), recount(&records[1..]));
    assert_eq!(used(&acme, &format!("since={}&until={}", at(3), at(1))), recount(&records[2..4]));

    // Of many days, whole hours and the rest alike; the records are moved, and what was counted goes with them.
    let moved: Vec<String> = records
        .iter()
        .zip([0, 1, 25, 26, 50, 9000])
        .map(|(record, hours)| {
            let back = match place.db() {
                Db::Sqlite => format!("created_at - {hours} * 3600000000"),
                Db::Postgres => format!("created_at - {hours} * interval '1 hour'"),
            };
            let id = record["id"].as_str().unwrap();
            format!("UPDATE model_usage SET created_at = {back} WHERE id = '{id}';")
        })
        .collect();
    place.run_sql(&moved.concat());
    let moved = acme.usage();
    assert_eq!(moved.len(), 6);
    let at = |number: usize| moved[number]["created_at"].as_str().unwrap();
    for (oldest, newest) in [(1, 0), (2, 0), (4, 0), (4, 1), (3, 1), (4, 3)] {
        let period = format!("since={}&until={}", at(oldest), at(newest));
        assert_eq!(used(&acme, &period), recount(&moved[newest + 1..=oldest]), "{period}");
    }
    let whole = "since=2020-01-01T00:00:00Z&until=2020-12-31T00:00:00Z";
    assert_eq!(used(&acme, whole), json!([0, 0, 0]));
    let said = acme.get(&format!("{STATS}?{whole}")).answer(200).data()["ai_usage"]["period"].clone();
    assert_eq!(said, json!({"since": "2020-01-01T00:00:00Z", "until": "2020-12-31T00:00:00Z"}));
    for (query, field) in [
        ("since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z", "since"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
        ("since=2020-01-01T00:00:00Z&until=2021-02-05T00:00:00.001Z", "until"),
        ("until=2020-01-01T00:00:00Z", "since"),
        ("since=yesterday", "since"),
    ] {
        let refused = acme.get(&format!("{STATS}?{query}")).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{query}: {refused}");
    }
    server.stop();
}

/// All pages of the administration's list.
fn log(client: &Client, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{AUDIT}?limit={limit}{query}{cursor}")).answer(200).json();
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        all.extend(items.iter().cloned());
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!((&page["meta"]["has_more"], items.len()), (&json!(true), limit), "{page}");
                cursor = format!("&cursor={next}");
            }
            None => return all,
        }
    }
}

fn the_log_of_the_tenant_is_searched(place: &Place) {
    let server = place.start();
    let root = server.admin();
    root.tenant("acme");
    root.tenant("other");
    let acme = root.in_tenant("acme");
    let (boss, key) = acme.user("boss@acme.example", &["tenant_admin"]);
    root.in_tenant("other").user("else@other.example", &["tenant_user"]);
    let admin = server.client(&key);
    let core = admin.run("Echo", &programs::echo(1));
    admin.act(&core, "stop");
    admin.status_becomes(&core, "stopped");
    let second = admin.host("Second", &programs::echo(1));
    admin.put(&format!("{CORES}/{second}"), &json!({"name": "Two"})).answer(200);
    admin.user("ada@acme.example", &["tenant_user"]);

    let all = log(&admin, "", 1000);
    assert_eq!(log(&admin, "", 3), all, "page by page");
    let ids: Vec<&str> = all.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    assert_eq!(admin.get(AUDIT).answer(200).json()["data"].as_array().unwrap().len(), all.len().min(100));
    for record in &all {
        let noun = record["action"].as_str().unwrap().split('.').next().unwrap();
        assert_eq!(record["resource_type"], noun, "{record}");
        assert!(record["tenant_id"] == all[0]["tenant_id"] && record["changes"].is_object(), "{record}");
    }
    let events = admin.get("/v1/audit/events?limit=1000").answer(200).data();
    assert_eq!(events["items"], json!(all), "the same records as the platform's list");

    let middle = all[all.len() / 2]["timestamp"].as_str().unwrap();
    let first = all[all.len() - 1]["timestamp"].as_str().unwrap();
    let fits = |record: &Value, filters: &[(&str, &str)]| {
        filters.iter().all(|(name, value)| match *name {
            "since" => instant(record) >= parsed(value),
            "until" => instant(record) < parsed(value),
            name => record[name] == *value,
        })
    };
    for filters in [
        &[("action", "core.create")][..],
        &[("action", "user.create")],
        &[("actor_id", &boss)],
        &[("actor_id", "usr_nobody")],
        &[("resource_type", "core")],
        &[("resource_type", "user")],
        &[("resource_type", "nothing")],
        &[("resource_id", &second)],
        &[("resource_type", "core"), ("actor_id", &boss)],
        &[("action", "core.create"), ("actor_id", &boss)],
        &[("action", "core.create"), ("resource_type", "user")],
        &[("resource_id", &second), ("action", "core.update")],
        &[("since", middle)],
        &[("until", middle)],
        &[("since", first), ("until", middle), ("resource_type", "user")],
    ] {
        let query: Vec<String> = filters.iter().map(|(name, value)| format!("&{name}={value}")).collect();
        let query = query.concat();
        let expected: Vec<Value> = all.iter().filter(|record| fits(record, filters)).cloned().collect();
        assert_eq!(log(&admin, &query, 1000), expected, "{query}");
        assert_eq!(log(&admin, &query, 2), expected, "{query}, page by page");
    }
    assert!(!log(&admin, "&action=core.create", 10).is_empty());
    for (query, field) in [
        ("action=nothing", "action"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("since=x", "since"),
        ("cursor=x", "cursor"),
    ] {
        let refused = admin.get(&format!("{AUDIT}?{query}")).refused(422, "SW_VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field], "{query}");
    }
    server.stop();
}

/// An instant as something that can be compared: its seconds, and the digits behind the point.
fn parsed(text: &str) -> String {
    let text = text.trim_end_matches('Z');
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}.{part:0<9}")
}

fn instant(record: &Value) -> String {
    parsed(record["timestamp"].as_str().unwrap())
}
