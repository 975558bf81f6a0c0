//! The module's reference, endpoint by endpoint: all of it is there, and nothing of it is a stub.

use std::collections::BTreeMap;
use std::time::Duration;

use scaigrid_tests::{CORES, Place, SCAICORE, eventually, on_both_databases, programs, run};
use serde_json::{Value, json};

use crate::strangers::operations;

on_both_databases!(
    an_execution_tells_what_its_models_have_used,
    a_large_program_is_replaced_as_it_was_hosted
);

/// What the reference prints, below the module's path, and the status where it is done.
const PRINTED: [(&str, &str, u16); 49] = [
    ("POST", "/cores", 201),
    ("POST", "/cores/parse-bundle", 200),
    ("GET", "/cores", 200),
    ("GET", "/cores/{core_id}", 200),
    ("PUT", "/cores/{core_id}", 200),
    ("DELETE", "/cores/{core_id}", 204),
    ("POST", "/cores/{core_id}/start", 200),
    ("POST", "/cores/{core_id}/stop", 200),
    ("POST", "/cores/{core_id}/restart", 200),
    ("POST", "/cores/{core_id}/pause", 200),
    ("POST", "/cores/{core_id}/resume", 200),
    ("POST", "/cores/{core_id}/publish", 200),
    ("POST", "/cores/{core_id}/unpublish", 200),
    ("POST", "/cores/{core_id}/avatar", 200),
    ("GET", "/cores/{core_id}/avatar", 200),
    ("GET", "/checkpoints", 200),
    ("GET", "/checkpoints/all", 200),
    ("GET", "/checkpoints/{checkpoint_id}", 200),
    ("POST", "/checkpoints/{checkpoint_id}/resolve", 200),
    ("POST", "/checkpoints/{checkpoint_id}/cancel", 200),
    ("POST", "/checkpoints/{checkpoint_id}/reassign", 200),
    ("GET", "/checkpoints/{checkpoint_id}/history", 200),
    ("GET", "/cores/{core_id}/plugins", 200),
    ("POST", "/cores/{core_id}/plugins", 201),
    ("PUT", "/cores/{core_id}/plugins/{plugin_alias}", 200),
    ("DELETE", "/cores/{core_id}/plugins/{plugin_alias}", 204),
    ("GET", "/plugins/available", 200),
    ("GET", "/cores/{core_id}/logs", 200),
    ("GET", "/cores/{core_id}/logs/stream", 200),
    ("GET", "/cores/{core_id}/state", 200),
    ("POST", "/cores/{core_id}/debug/breakpoint", 201),
    ("POST", "/cores/{core_id}/debug/step", 200),
    ("POST", "/cores/{core_id}/debug/inspect", 200),
    ("POST", "/cores/{core_id}/events", 202),
    ("GET", "/cores/{core_id}/events/history", 200),
    ("POST", "/cores/{core_id}/triggers", 201),
    ("GET", "/cores/{core_id}/triggers", 200),
    ("DELETE", "/cores/{core_id}/triggers/{trigger_id}", 204),
    ("POST", "/cores/{core_id}/delegate", 200),
    ("GET", "/cores/{core_id}/delegation", 200),
    ("PUT", "/cores/{core_id}/delegation", 200),
    ("POST", "/cores/{core_id}/revoke-delegation", 200),
    ("GET", "/cores/{core_id}/api/spec", 200),
    ("GET", "/cores/{core_id}/api/invoke/{path}", 200),
    ("POST", "/cores/{core_id}/api/invoke/{path}", 200),
    ("PUT", "/cores/{core_id}/api/invoke/{path}", 200),
    ("PATCH", "/cores/{core_id}/api/invoke/{path}", 200),
    ("DELETE", "/cores/{core_id}/api/invoke/{path}", 200),
    ("GET", "/cores/{core_id}/conversations", 200),
];

#[test]
fn the_whole_reference_is_there_and_nothing_is_a_stub() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["openapi"], &[]);
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let all = operations(&document);
    let known: BTreeMap<(&str, &str), _> =
        all.iter().map(|one| ((one.method, one.path.as_str()), &one.statuses)).collect();
    for (method, below, status) in PRINTED {
        let path = format!("{SCAICORE}{below}");
        let statuses = known.get(&(method, path.as_str()));
        let statuses = statuses.unwrap_or_else(|| panic!("there is no {method} {path}"));
        assert!(statuses.contains(&status), "{method} {path}: {statuses:?}");
    }
    for operation in &all {
        assert!(!operation.statuses.contains(&501), "{} is a stub", operation.id);
    }
}

fn an_execution_tells_what_its_models_have_used(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let asks = |id: &str| {
        json!({"kind": "model_call", "id": id, "role": "primary", "prompt": "Tell me of the sea",
            "result_binding": format!("said_{id}")})
    };
    let end = programs::rigid("end", &json!([{"kind": "return", "value": "said_two"}]));
    let quiet = programs::rigid("end", &json!([{"kind": "return", "value": "1"}]));
    let mut program = programs::program(
        "Asking",
        &[
            programs::flow("ask", &json!([]), &json!([asks("one"), asks("two"), end])),
            programs::flow("quiet", &json!([]), &json!([quiet])),
        ],
    );
    program["models"] = json!([{"role": "primary", "provider": "scaigrid", "model": "echo"}]);
    let core = admin.run("Asking", &program);
    let asked = admin.invoke(&core, "ask", &json!({}));
    assert_eq!(asked["status"], "completed", "{asked}");
    let id = asked["id"].as_str().unwrap();
    let calls = eventually("both calls are recorded", Duration::from_secs(15), || {
        let calls = admin.usage();
        (calls.len() == 2).then_some(calls)
    });
    let sum = |field: &str| calls.iter().map(|call| call[field].as_u64().unwrap()).sum::<u64>();
    let (read, written) = (sum("tokens_in"), sum("tokens_out"));
    assert!(read > 0 && written > 0, "{calls:?}");
    let told = admin.execution(id)["usage"].clone();
    assert_eq!(
        told,
        json!({"input_tokens": read, "output_tokens": written, "total_tokens": read + written, "cost": "0"})
    );
    // What has asked nobody has used nothing.
    let silent = admin.invoke(&core, "quiet", &json!({}));
    let told = admin.execution(silent["id"].as_str().unwrap())["usage"].clone();
    assert_eq!(told, json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "cost": "0"}));
    let listed = admin.pages(&format!("{CORES}/{core}/executions"), "items");
    assert!(listed.iter().all(|one| one.get("usage").is_none()), "{listed:?}");
    server.stop();
}

/// As a form, since it is larger than a body of JSON may be.
fn a_large_program_is_replaced_as_it_was_hosted(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let large = |version: i64| {
        let mut program = programs::echo(version);
        program["padding"] = json!("x".repeat(1024 * 1024));
        program
    };
    let made = admin.post(CORES).form(&programs::bundle(&large(1)), &[("name", "Large")]).answer(201);
    let path = format!("{CORES}/{}", made.data()["id"].as_str().unwrap());
    admin.put(&path, &json!({"source": large(2)})).refused(413, "PAYLOAD_TOO_LARGE");
    let put = |file: &[u8], fields: &[(&str, &str)]| admin.request("PUT", &path).form(file, fields);
    let replaced = put(&programs::bundle(&large(2)), &[("name", "Larger"), ("metadata", "{\"a\": 1}")])
        .header("If-Match", made.header("etag").unwrap())
        .answer(200);
    let core = replaced.data();
    assert_eq!((&core["source_version"], &core["source"]), (&json!(2), &large(2)));
    assert_eq!((&core["name"], &core["slug"]), (&json!("Larger"), &json!("large")));
    assert_eq!(core["metadata"], json!({"a": 1}));
    assert!(core["diagnostics"].is_array(), "what the verifier says of it is told");
    // Under the same rules as JSON.
    put(&programs::bundle(&large(3)), &[])
        .header("If-Match", made.header("etag").unwrap())
        .refused(412, "PRECONDITION_FAILED");
    assert_eq!(put(b"SCIR", &[("slug", "x")]).refused(422, "VALIDATION_ERROR").fields(), ["slug"]);
    put(b"SCIX", &[]).refused(422, "VALIDATION_ERROR");
    let too_large = vec![b' '; 10 * 1024 * 1024 + 1];
    put(&too_large, &[]).refused(400, "FILE_TOO_LARGE");
    assert_eq!(admin.get(&path).answer(200).data()["source_version"], 2);
    server.stop();
}
