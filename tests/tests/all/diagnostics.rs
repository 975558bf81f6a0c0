//! What the author of a program is told when it is hosted.

use scaigrid_tests::{CORES, Client, Place, on_both_databases};
use serde_json::{Value, json};

on_both_databases!(
    errors_are_told_before_warnings,
    a_slip_is_answered_with_what_was_meant,
    mistakes_of_form_and_of_meaning_are_told_in_one_round,
);

/// The findings of a program with this flow, as code, pointer and message.
fn told(client: &Client, flow: &Value) -> Vec<(String, String, String)> {
    let program = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "flows": [flow]});
    let made = client.post(CORES).json(&json!({"name": "P", "source": program})).answer(201).data();
    client.delete(&format!("{CORES}/{}", made["id"].as_str().unwrap())).answer(204);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = made["diagnostics"].as_array().unwrap().iter();
    findings.map(|found| (text(found, "code"), text(found, "pointer"), text(found, "message"))).collect()
}

fn codes(found: &[(String, String, String)]) -> Vec<(&str, &str)> {
    found.iter().map(|(code, pointer, _)| (code.as_str(), pointer.as_str())).collect()
}

fn errors_are_told_before_warnings(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let found = told(
        &admin,
        &json!({"name": "main", "colour": 1, "body": [
            {"kind": "rigid", "extra": 1, "statements": [{"kind": "expression", "value": "nobody"}]},
            {"kind": "rigid", "statements": [{"kind": "return"}]},
            {"kind": "rigid", "statements": [{"kind": "break"}]}]}),
    );
    let expected = [
        ("E200", "/flows/0/body/0/statements/0/value"),
        ("E406", "/flows/0/body/2/statements/0"),
        ("W100", "/flows/0/body/0/extra"),
        ("W400", "/flows/0/body/2"),
        ("W100", "/flows/0/colour"),
    ];
    assert_eq!(codes(&found), expected);
    server.stop();
}

fn a_slip_is_answered_with_what_was_meant(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let found = told(
        &admin,
        &json!({"name": "main", "params": [{"name": "total", "type": "int"}], "body": [
            {"kind": "checkpoint", "checkpoint_type": "approval", "present": {"prompt": "${totl}?"},
             "assigne": "role:tenant_admin"},
            {"kind": "rigid", "statements": [{"kind": "return", "value": "colour"}]}]}),
    );
    let expected = [
        ("E200", "/flows/0/body/0/present/prompt"),
        ("E200", "/flows/0/body/1/statements/0/value"),
        ("W100", "/flows/0/body/0/assigne"),
    ];
    assert_eq!(codes(&found), expected);
    let hints = [Some("did you mean \"total\"?"), None, Some("did you mean \"assignee\"?")];
    for ((_, _, message), hint) in found.iter().zip(hints) {
        assert!(hint.map_or(!message.contains("did you mean"), |hint| message.contains(hint)), "{message}");
    }
    server.stop();
}

fn mistakes_of_form_and_of_meaning_are_told_in_one_round(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let flow = json!({"name": "main", "body": [
        {"kind": "chekpoint", "result_binding": "answer"},
        {"kind": "rigid", "timeout": "soon", "statements": [
            {"kind": "let", "name": "a", "value": "1 +"},
            {"kind": "return", "value": "[a > 3, answer.decision, nobody]"}]}]});
    let expected = [
        ("E153", "/flows/0/body/0/kind"),
        ("E102", "/flows/0/body/1/statements/0/value"),
        // Neither `answer`, which the checkpoint would have bound, nor `a`, which is no number yet.
        ("E200", "/flows/0/body/1/statements/1/value"),
        ("E152", "/flows/0/body/1/timeout"),
    ];
    let found = told(&admin, &flow);
    assert_eq!(codes(&found), expected);
    assert!(found[2].2.contains("nobody"), "{found:?}");
    // A start tells the same.
    let program = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "flows": [flow]});
    let core = admin.host("P", &program);
    let refusal = admin.post(&format!("{CORES}/{core}/start")).refused(422, "INVALID_SOURCE_IR").json();
    let details = refusal["error"]["details"].as_array().unwrap();
    let codes: Vec<&str> = details.iter().filter_map(|finding| finding["code"].as_str()).collect();
    assert_eq!(codes, expected.map(|(code, _)| code), "{refusal}");
    server.stop();
}
