//! Checkpoints that nobody whom they ask can decide: told to whoever reads them, and in the log.

use std::time::Duration;

use scaigrid_tests::{CORES, Client, Place, eventually, on_both_databases, programs};
use serde_json::{Value, json};

use crate::approvals::at;

on_both_databases!(
    a_checkpoint_says_that_nobody_can_decide_it,
    an_escalation_that_reaches_nobody_is_told_before_and_after,
    whoever_is_excluded_cannot_decide_alone,
);

const PATIENCE: Duration = Duration::from_secs(10);

/// The codes of what a checkpoint warns of.
fn warned(checkpoint: &Value) -> Vec<&str> {
    let warnings = checkpoint["warnings"].as_array().unwrap_or_else(|| panic!("no warnings: {checkpoint}"));
    warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// What the log of a Core warns of at a checkpoint, once that is as much as is expected.
fn logged(client: &Client, core: &str, checkpoint: &str, expected: &[&str]) {
    eventually(&format!("the log tells {expected:?}"), PATIENCE, || {
        let entries = client.pages(&format!("{CORES}/{core}/logs?level=warn"), "logs");
        let of_it = entries.iter().rev().filter(|entry| entry["fields"]["checkpoint_id"] == checkpoint);
        let codes: Vec<&str> = of_it.filter_map(|entry| entry["fields"]["code"].as_str()).collect();
        (codes == expected).then_some(())
    });
}

/// Has a checkpoint opened that asks as told; its Core and its id.
fn asking(client: &Client, more: &Value) -> (String, String) {
    let core = client.run("Asking", &programs::asking(more));
    let (_, checkpoint) = client.invoke_to_checkpoint(&core, "ask", &json!({}));
    (core, checkpoint)
}

fn may_resolve(admin: &Client, user: &str) {
    let grants = json!({"permissions": ["scaicore:view", "scaicore:checkpoint_resolve"]});
    admin.put(&format!("/v1/users/{user}/module-permissions"), &grants).answer(200);
}

fn a_checkpoint_says_that_nobody_can_decide_it(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (eve, _) = admin.user("eve@example.org", &["tenant_user"]);
    let nobody = ["NOBODY_CAN_DECIDE"];
    let cases: [(&str, &[&str]); 8] = [
        ("user:ghost@example.org", &nobody),
        ("group:nowhere", &nobody),
        ("role:tenant_viewer", &nobody),
        // There, but without the permission.
        ("user:eve@example.org", &nobody),
        ("role:tenant_user", &nobody),
        ("role:king", &["ASSIGNEE_UNREADABLE"]),
        // Whoever runs the tenant is always there.
        ("role:tenant_admin", &[]),
        ("nobody in particular", &[]),
    ];
    for (assignee, expected) in cases {
        let (core, checkpoint) = asking(&admin, &json!({"assignee": assignee}));
        let shown = admin.checkpoint(&checkpoint);
        assert_eq!(warned(&shown), expected, "{assignee}: {shown}");
        logged(&admin, &core, &checkpoint, expected);
        let told = shown["warnings"].to_string();
        assert!(expected.is_empty() || told.contains(assignee), "{assignee}: {told}");
        // Who runs the tenant decides it all the same, and then there is nothing to be warned of.
        admin.resolve(&checkpoint, "done");
        assert_eq!(warned(&admin.checkpoint(&checkpoint)), [""; 0]);
        admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
    }

    // What is missing can come, and be taken away again.
    let (_, checkpoint) = asking(&admin, &json!({"assignee": "role:tenant_user"}));
    may_resolve(&admin, &eve);
    assert_eq!(warned(&admin.checkpoint(&checkpoint)), [""; 0]);
    let listed = admin.pages("/v1/modules/scaicore/checkpoints/all?status=pending", "items");
    assert!(listed.iter().all(|one| one.get("warnings").is_none()), "{listed:?}");
    let moved =
        admin.post(&at(&checkpoint, "reassign")).json(&json!({"assignee": "group:nowhere"})).answer(200);
    assert_eq!(warned(&moved.data()), nobody);
    let moved = admin
        .post(&at(&checkpoint, "reassign"))
        .json(&json!({"assignee": format!("user:{eve}")}))
        .answer(200);
    assert_eq!(warned(&moved.data()), [""; 0]);
    server.stop();
}

fn an_escalation_that_reaches_nobody_is_told_before_and_after(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let more = json!({"assignee": "role:tenant_admin", "timeout": "1s", "on_timeout": "escalate",
        "escalation_target": "group:nowhere"});
    let (core, checkpoint) = asking(&admin, &more);
    logged(&admin, &core, &checkpoint, &["ESCALATION_REACHES_NOBODY", "NOBODY_CAN_DECIDE"]);
    assert_eq!(warned(&admin.checkpoint(&checkpoint)), ["NOBODY_CAN_DECIDE"]);
    server.stop();
}

fn whoever_is_excluded_cannot_decide_alone(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, ada_key) = admin.user("ada@example.org", &["tenant_admin"]);
    let more = json!({"assignee": format!("user:{ada}"), "exclude_requester": true});
    let core = admin.run("Excluded", &programs::asking(&more));
    let (_, of_admin) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(warned(&admin.checkpoint(&of_admin)), [""; 0]);
    let (_, own) = server.client(&ada_key).invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(warned(&admin.checkpoint(&own)), ["NOBODY_CAN_DECIDE"]);
    logged(&admin, &core, &own, &["NOBODY_CAN_DECIDE"]);
    server.stop();
}
