//! Mail about checkpoints: to whoever is asked, each once, tried again when it is not taken, with a link where the Core allows that.

use std::collections::BTreeSet;
use std::time::Duration;

use scaigrid_tests::{Client, Launch, Mailbox, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(whoever_is_asked_is_told_by_mail, what_is_not_taken_is_sent_again);

const PATIENCE: Duration = Duration::from_secs(30);

fn mailing<'a>(place: &'a Place, mailbox: &Mailbox) -> Launch<'a> {
    let launch = place.launch().set("SCAIGRID_SMTP_URL", &mailbox.url);
    launch
        .set("SCAIGRID_SMTP_FROM", "Grid <grid@example.org>")
        .set("SCAIGRID_PUBLIC_URL", "https://grid.example")
}

fn linking(admin: &Client, more: &Value) -> String {
    let core = admin.host("Mailing", &programs::asking(more));
    let links = json!({"metadata": {"checkpoints": {"links": true}}});
    admin.put(&format!("{SCAICORE}/cores/{core}"), &links).answer(200);
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    core
}

fn whoever_is_asked_is_told_by_mail(place: &Place) {
    let Some(mailbox) = Mailbox::start() else { return };
    let server = mailing(place, &mailbox).start();
    let admin = server.admin();
    let reviewer = |name: &str| {
        let (id, _) = admin.user(&format!("{name}@example.org"), &["tenant_user"]);
        let grants = json!({"permissions": ["scaicore:view", "scaicore:checkpoint_resolve"]});
        admin.put(&format!("/v1/users/{id}/module-permissions"), &grants).answer(200);
        id
    };
    let (ada, bob) = (reviewer("ada"), reviewer("bob"));
    let group = json!({"name": "Reviewers", "members": [ada, bob]});
    admin.post("/v1/groups").json(&group).answer(201);
    let more = json!({"assignee": "group:reviewers", "options": ["yes", "no"], "required_approvals": 2,
        "present": {"prompt": "Pay 5 €?\nBcc: eve@example.org"}});
    let core = linking(&admin, &more);
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let mails = [mailbox.next(PATIENCE).unwrap(), mailbox.next(PATIENCE).unwrap()];
    let to: BTreeSet<&str> = mails.iter().map(|mail| mail["to"][0].as_str().unwrap()).collect();
    assert_eq!(to, BTreeSet::from(["ada@example.org", "bob@example.org"]));
    for mail in &mails {
        assert_eq!((&mail["from"], &mail["subject"]), (&json!("grid@example.org"), &json!("Pay 5 €?")));
        assert_eq!(mail["to"].as_array().unwrap().len(), 1, "nothing that a program says is a header");
        assert!(mail["text"].as_str().unwrap().contains("To decide: yes, no"), "{mail}");
    }
    assert_eq!(mailbox.next(Duration::from_secs(3)), None, "each is told once");
    // The link in each decides for its reader.
    let anyone = server.anyone();
    let link = |mail: &Value| {
        let text = mail["text"].as_str().unwrap();
        let line =
            text.lines().find(|line| line.starts_with("https://grid.example/v1/checkpoint-link?token="));
        line.unwrap().trim_start_matches("https://grid.example").to_owned()
    };
    let of_ada = mails.iter().find(|mail| mail["to"][0] == "ada@example.org").unwrap();
    let voted = anyone.post(&link(of_ada)).json(&json!({"decision": "yes"})).answer(200).data();
    assert_eq!(voted["checkpoint"]["approvals"][0]["user_id"], json!(ada));
    assert_eq!(voted["checkpoint"]["notification_sent"], true);
    // Handed on: whoever is asked now is told, and is not whoever has decided.
    let body = json!({"assignee": format!("user:{bob}")});
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/reassign")).json(&body).answer(200);
    let again = mailbox.next(PATIENCE).unwrap();
    assert_eq!(again["to"][0], "bob@example.org");
    let done = anyone.post(&link(&again)).json(&json!({"decision": "yes"})).answer(200).data();
    assert_eq!(
        (&done["checkpoint"]["status"], &done["checkpoint"]["resolved_by"]),
        (&json!("resolved"), &json!(bob))
    );
    server.stop();
}

fn what_is_not_taken_is_sent_again(place: &Place) {
    let Some(mut mailbox) = Mailbox::start() else { return };
    let server = mailing(place, &mailbox).start();
    let admin = server.admin();
    let core = admin.run("Later", &programs::asking(&json!({"assignee": "role:tenant_admin"})));
    admin.user("boss@example.org", &["tenant_admin"]);
    mailbox.answer("451 4.3.0 later");
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let first = mailbox.next(PATIENCE).unwrap();
    assert_eq!(first["answer"], "451 4.3.0 later");
    let second = mailbox.next(PATIENCE).unwrap();
    assert_eq!(
        (&second["id"], &second["to"]),
        (&first["id"], &first["to"]),
        "the same mail, as its receiver can tell"
    );
    assert!(!first["text"].as_str().unwrap().contains("token="), "the Core allows no links");
    let told = scaigrid_tests::eventually("it is noted", PATIENCE, || {
        let history = admin.get(&format!("{SCAICORE}/checkpoints/{checkpoint}/history")).answer(200).data();
        let events = history["items"].as_array().unwrap().clone();
        events.iter().any(|event| event["event"] == "notification_sent").then_some(events.len())
    });
    assert_eq!(told, 2);
    // What is refused for good is not tried again; what asks nobody any more is not sent.
    mailbox.answer("550 5.1.1 nobody here");
    admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(mailbox.next(PATIENCE).unwrap()["answer"], "550 5.1.1 nobody here");
    assert_eq!(mailbox.next(Duration::from_secs(8)), None);
    server.stop();
}
