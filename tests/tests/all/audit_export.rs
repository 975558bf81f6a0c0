//! The audit log as a file.

use std::os::unix::fs::PermissionsExt as _;

use scaigrid_tests::{Answer, Client, Db, Place, on_both_databases, run};
use serde_json::{Value, json};

on_both_databases!(
    a_file_holds_what_the_list_holds,
    a_long_file_comes_whole_or_not_at_all,
    a_file_is_written_by_command_too,
);

const EXPORT: &str = "/v1/audit/events/export";

fn log(client: &Client, query: &str) -> Vec<Value> {
    client.pages(&format!("/v1/audit/events{query}"), "items")
}

fn rows(csv: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut letters) = (false, csv.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {
                assert_eq!(letters.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            letter => cell.push(letter),
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "the last line ends");
    rows
}

fn a_file_holds_what_the_list_holds(place: &Place) {
    let server = place.start();
    let admin = server.admin().with("User-Agent", "=cmd|' /C calc'!A0");
    for number in 0..3 {
        admin.user(&format!("user-{number}@example.org"), &[]);
    }
    let file = |query: &str| -> Answer { admin.get(&format!("{EXPORT}{query}")).answer(200) };
    let json: Value = file("").json();
    assert_eq!(json.as_array().unwrap(), &log(&admin, ""), "the export is in it, for it was recorded before");
    assert_eq!(json[0]["action"], "audit.export");
    assert_eq!(json[0]["changes"]["format"], json!({"before": null, "after": "json"}));

    let answer = file("?format=ndjson&action=user.create");
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, log(&admin, "?action=user.create"));
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(log(&admin, "")[0]["changes"]["action"]["after"], "user.create", "what was asked is recorded");

    let answer = file("?format=csv&resource_type=user");
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    let name = answer.header("content-disposition").unwrap();
    assert!(name.starts_with("attachment; filename=\"audit-20") && name.ends_with(".csv\""), "{name}");
    let listed = log(&admin, "?resource_type=user");
    let rows = rows(&answer.text());
    assert_eq!(rows.len(), listed.len() + 1);
    for (row, record) in rows[1..].iter().zip(&listed) {
        assert_eq!(row.len(), 16);
        assert_eq!(
            (row[0].as_str(), row[4].as_str()),
            (record["id"].as_str().unwrap(), record["actor_email"].as_str().unwrap_or_default())
        );
        let changes: Value = serde_json::from_str(&row[11]).unwrap();
        assert_eq!(changes, record["changes"]);
        if record["user_agent"].is_string() {
            assert_eq!(row[14], "'=cmd|' /C calc'!A0", "no spreadsheet carries this out");
        }
    }
    // Who asks only for the headers takes nothing out.
    let before = log(&admin, "").len();
    for path in [EXPORT, "/v1/audit-log/export"] {
        let head = admin.request("HEAD", &format!("{path}?format=csv")).answer(200);
        assert_eq!(head.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
        assert!(head.header("content-disposition").unwrap().starts_with("attachment; filename=\"audit-20"));
        assert_eq!(admin.request("HEAD", &format!("{path}?format=xml")).exchange().status, 422);
    }
    assert_eq!(log(&admin, "").len(), before, "and nothing is recorded");
    // By its other name; and what is wrong is told before anything is sent or recorded.
    assert_eq!(admin.get("/v1/audit-log/export?format=ndjson&limit=1").answer(200).status, 200);
    let before = log(&admin, "").len();
    for (query, field) in [("?format=xml", "format"), ("?since=never", "since"), ("?action=dance", "action")]
    {
        let refusal = admin.get(&format!("{EXPORT}{query}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), [field]);
    }
    let (_, nobody) = admin.user("nobody@example.org", &["tenant_user"]);
    server.client(&nobody).get(EXPORT).refused(403, "AUTHZ_PERMISSION_DENIED");
    assert_eq!(log(&admin, "").len(), before + 2);
    // A span of time by either of its names.
    let all = log(&admin, "");
    let middle = all[3]["timestamp"].as_str().unwrap();
    assert_eq!(log(&admin, &format!("?start={middle}")), log(&admin, &format!("?since={middle}")));
    assert_eq!(log(&admin, &format!("?end={middle}")), log(&admin, &format!("?until={middle}")));
    assert_eq!(
        log(&admin, &format!("?start={middle}")).len() + log(&admin, &format!("?end={middle}")).len(),
        all.len()
    );
    // A tenant's admin takes out what is theirs.
    root_and_tenant(&admin, &server.admin());
    server.stop();
}

fn root_and_tenant(admin: &Client, root: &Client) {
    root.tenant("acme");
    let inside = root.in_tenant("acme");
    inside.user("boss@acme.example", &[]);
    let own: Value = inside.get(EXPORT).answer(200).json();
    let tenants: Vec<&Value> = own.as_array().unwrap().iter().map(|record| &record["tenant_id"]).collect();
    assert!(!tenants.is_empty() && tenants.iter().all(|tenant| *tenant == tenants[0]), "{tenants:?}");
    assert!(admin.get(EXPORT).answer(200).json().as_array().unwrap().len() > tenants.len());
}

/// Records that are older than all others, straight into the table.
fn insert_old(place: &Place, numbers: std::ops::Range<u32>, action: &str) {
    let (at, changes) = match place.db() {
        Db::Sqlite => ("1600000000000000", "jsonb('{}')"),
        Db::Postgres => ("to_timestamp(1600000000)", "'{}'::jsonb"),
    };
    let statements: Vec<String> = numbers
        .map(|number| {
            format!(
                "INSERT INTO audit_records (id, at, action, actor_type, resource_type, resource_id, status, changes) \
                 VALUES ('audit_01EJ00000000000000000{number:05}', {at}, '{action}', 'system', 'core', 'x', 'SUCCESS', \
                 {changes});"
            )
        })
        .collect();
    place.run_sql(&statements.concat());
}

fn a_long_file_comes_whole_or_not_at_all(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    insert_old(place, 100..1700, "core.update");
    for format in ["json", "ndjson", "csv"] {
        let text = admin.get(&format!("{EXPORT}?format={format}&action=core.update")).answer(200).text();
        assert_eq!(text.matches("audit_01EJ").count(), 1600, "{format}");
        let first = text.find("audit_01EJ0000000000000000001699").unwrap();
        assert!(first < text.find("audit_01EJ0000000000000000000100").unwrap(), "newest first");
    }
    // Far down there is one that cannot be read: what was sent until then must not look like the whole.
    insert_old(place, 99..100, "no action at all");
    for format in ["json", "ndjson", "csv"] {
        let broken = admin.get(&format!("{EXPORT}?format={format}")).send();
        assert!(broken.is_err(), "{format}: {broken:?}");
    }
    server.stop();
}

fn a_file_is_written_by_command_too(place: &Place) {
    let server = place.start();
    server.admin().tenant("acme");
    server.admin().in_tenant("acme").user("ada@acme.example", &[]);
    server.stop();
    let data = place.data();
    let variables =
        [("SCAIGRID_DATA_DIR", data.to_str().unwrap()), ("SCAIGRID_DATABASE_URL", place.database_url())];
    let command = |arguments: &[&str]| {
        let output = run(place.folder(), &[&["admin", "audit"], arguments].concat(), &variables);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let all: Vec<Value> = serde_json::from_str(&command(&["export"])).unwrap();
    assert_eq!(all[0]["action"], "audit.export");
    assert_eq!(all[0]["user_agent"], "scaigrid-server admin");
    let of_acme = ["export", "--tenant", "acme", "--format", "ndjson", "--action", "user.create"];
    let users = command(&of_acme);
    assert_eq!(users.lines().count(), 1, "{users}");
    command(&["export", "--format", "csv", "--output", "audit.csv"]);
    let path = place.folder().join("audit.csv");
    let file = std::fs::read_to_string(&path).unwrap();
    assert_eq!(rows(&file).len(), all.len() + 3, "a line of names, and two exports more");
    // A file is replaced whole or not at all, and its owner's alone.
    let folder = || std::fs::read_dir(place.folder()).unwrap().count();
    let before = folder();
    let refused = ["admin", "audit", "export", "--tenant", "nowhere", "--output", "audit.csv"];
    assert!(!run(place.folder(), &refused, &variables).status.success());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
    insert_old(place, 99..100, "no action at all");
    let broken = ["admin", "audit", "export", "--output", "audit.csv"];
    assert!(!run(place.folder(), &broken, &variables).status.success());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
    place.run_sql("DELETE FROM audit_records WHERE action = 'no action at all';");
    command(&[&of_acme[..], &["--output", "audit.csv"]].concat());
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder(), before, "nothing is left beside it");
    // What was recorded without a server waits for one.
    let report: Value = serde_json::from_str(&command(&["verify", "--json"])).unwrap();
    assert_eq!(report["valid"], true, "{report}");
    assert!(report["pending"].as_u64().unwrap() >= 3, "{report}");
}
