//! The inbox as a stream, and links by which a person decides without logging in.

use std::time::Duration;

use scaigrid_tests::{Client, Event, EventStream, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    an_inbox_is_followed_without_a_gap,
    a_stream_tells_each_what_is_theirs,
    who_listens_is_told_when_the_node_ends,
    a_link_shows_and_decides_once,
    a_link_is_bound_to_its_person,
    a_link_outlives_a_change_of_the_master_key,
);

const PATIENCE: Duration = Duration::from_secs(20);

fn stream(client: &Client, last: Option<&str>) -> EventStream {
    let request = client.get(&format!("{SCAICORE}/checkpoints/stream"));
    match last {
        Some(id) => request.header("Last-Event-ID", id).listen(),
        None => request.listen(),
    }
}

/// What an event says: `open` or `closed`, and of which checkpoint.
fn said(event: &Event) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event.data["event"]), text(&event.data["checkpoint"]["id"]))
}

fn an_inbox_is_followed_without_a_gap(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Followed", &programs::asking(&json!({"assignee": "role:tenant_admin"})));
    let (_, first) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let (_, second) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    // It begins with what waits, oldest first.
    let mut following = stream(&admin, None);
    let begun: Vec<_> = following.take(2, PATIENCE).iter().map(said).collect();
    assert_eq!(begun, [("open".into(), first.clone()), ("open".into(), second.clone())]);
    let (_, third) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let told = following.take(1, PATIENCE);
    assert_eq!(said(&told[0]), ("open".into(), third.clone()));
    assert_eq!(told[0].data["checkpoint"]["prompt"], "Shall it be?");
    let heard = told[0].id.clone().unwrap();
    // What happens while nobody listens, and while the server is away, is told to whoever comes back.
    drop(following);
    admin.resolve(&first, "done");
    server.kill();
    let server = place.start();
    let admin = server.of(&admin);
    admin.status_becomes(&core, "running");
    let (_, fourth) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let mut again = stream(&admin, Some(&heard));
    let missed = again.take(2, PATIENCE);
    let expected = [("closed".to_owned(), first.clone()), ("open".to_owned(), fourth.clone())];
    assert_eq!(missed.iter().map(said).collect::<Vec<_>>(), expected);
    // From the middle the rest, and nothing twice.
    let middle = missed[0].id.clone().unwrap();
    let mut rest = stream(&admin, Some(&middle));
    assert_eq!(said(&rest.take(1, PATIENCE)[0]), ("open".into(), fourth.clone()));
    assert_eq!(rest.next(Duration::from_secs(3)), None, "nothing is told twice");
    drop(rest);
    admin.resolve(&second, "done");
    assert_eq!(said(&again.take(1, PATIENCE)[0]), ("closed".into(), second));
    let refused = admin.get(&format!("{SCAICORE}/checkpoints/stream")).header("Last-Event-ID", "x");
    assert_eq!(refused.refused(422, "VALIDATION_ERROR").fields(), ["Last-Event-ID"]);
    server.stop();
}

fn a_stream_tells_each_what_is_theirs(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (ada, ada_key) = admin.user("ada@example.org", &["tenant_viewer"]);
    let (bob, bob_key) = admin.user("bob@example.org", &["tenant_viewer"]);
    let (mut to_ada, mut to_bob) =
        (stream(&server.client(&ada_key), None), stream(&server.client(&bob_key), None));
    let core = admin.run("Theirs", &programs::asking(&json!({"assignee": format!("user:{ada}")})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(said(&to_ada.take(1, PATIENCE)[0]), ("open".into(), checkpoint.clone()));
    // Handed on: it is over for one, and begins for the other, who had heard nothing of it.
    let body = json!({"assignee": format!("user:{bob}")});
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/reassign")).json(&body).answer(200);
    assert_eq!(said(&to_ada.take(1, PATIENCE)[0]), ("closed".into(), checkpoint.clone()));
    assert_eq!(said(&to_bob.take(1, PATIENCE)[0]), ("open".into(), checkpoint.clone()));
    admin.resolve(&checkpoint, "done");
    assert_eq!(said(&to_bob.take(1, PATIENCE)[0]), ("closed".into(), checkpoint));
    // Who may not look any more is told so.
    admin.delete(&format!("/v1/users/{bob}")).answer(204);
    let end = to_bob.take(1, PATIENCE);
    assert_eq!((end[0].event.as_deref(), &end[0].data["reason"]), (Some("end"), &json!("forbidden")));
    server.stop();
}

fn who_listens_is_told_when_the_node_ends(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Followed", &programs::asking(&json!({"assignee": "role:tenant_admin"})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let mut following = stream(&admin, None);
    assert_eq!(said(&following.take(1, PATIENCE)[0]), ("open".into(), checkpoint));
    server.terminate();
    let end = following.take(1, PATIENCE);
    assert_eq!((end[0].event.as_deref(), &end[0].data["reason"]), (Some("end"), &json!("shutdown")));
    assert_eq!(following.next(PATIENCE), None, "nothing comes after it");
    assert!(server.ended().success(), "it does not wait for those who listen");
}

/// A Core that allows links, running.
fn linking(admin: &Client, more: &Value) -> String {
    let core = admin.host("Linked", &programs::asking(more));
    let links = json!({"metadata": {"checkpoints": {"links": true}}});
    admin.put(&format!("{SCAICORE}/cores/{core}"), &links).answer(200);
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    core
}

fn link(client: &Client, checkpoint: &str) -> String {
    let made = client.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/link")).answer(201).data();
    let url = made["url"].as_str().unwrap();
    assert!(made["expires_at"].is_string());
    url[url.find("/v1/").unwrap()..].to_owned()
}

fn a_link_shows_and_decides_once(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let anyone = server.anyone();
    let more = json!({"options": ["approve", "reject"], "present": {"prompt": "Pay <b>5</b>?"}});
    let core = linking(&admin, &more);
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = link(&admin, &checkpoint);
    // Looking, as mail readers do before anybody else, changes nothing.
    for _ in 0..3 {
        let shown = anyone.get(&path).answer(200).data();
        assert_eq!((&shown["checkpoint"]["id"], &shown["used"]), (&json!(checkpoint), &json!(false)));
    }
    let page = anyone.get(&path).header("Accept", "text/html,*/*;q=0.8").answer(200);
    let html = page.text();
    assert!(html.contains("Pay &lt;b&gt;5&lt;/b&gt;?") && !html.contains("<b>5</b>"), "{html}");
    assert!(html.contains("<form method=\"post\">") && html.contains("value=\"approve\""));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "pending");
    // What is refused decides nothing, and the link is good still.
    let refused = anyone.post(&path).json(&json!({"decision": "perhaps"})).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["decision"]);
    anyone.post(&path).body("text/plain", "approve").refused(415, "UNSUPPORTED_MEDIA_TYPE");
    // As a browser sends the form.
    let form = anyone.post(&path).header("Accept", "text/html");
    let thanks =
        form.body("application/x-www-form-urlencoded", "comment=a+b%26c&decision=approve").answer(200);
    assert!(thanks.text().contains("Thank you"), "{thanks}");
    let done = admin.execution_becomes(&execution, "completed");
    assert_eq!(
        (&done["output"]["decision"], &done["output"]["comment"]),
        (&json!("approve"), &json!("a b&c"))
    );
    let me = admin.get("/v1/me").answer(200).data();
    assert_eq!(admin.checkpoint(&checkpoint)["resolved_by"], me["user"]["id"]);
    // Once.
    anyone.post(&path).json(&json!({"decision": "reject"})).refused(409, "CONFLICT");
    assert_eq!(anyone.get(&path).answer(200).data()["used"], true);
    let records = admin.pages(&format!("/v1/audit/events?resource_id={checkpoint}"), "items");
    let actions: Vec<&Value> = records.iter().rev().map(|record| &record["action"]).collect();
    assert_eq!(actions, [&json!("checkpoint.link"), &json!("checkpoint.resolve")]);
    assert_eq!(records[0]["changes"]["by_link"]["after"], true);
    assert_eq!(records[0]["actor_id"], me["user"]["id"]);
    let token = path.split_once("token=").unwrap().1;
    assert!(!place.log().contains(token), "the token is not logged");
    // A Core that says nothing of links allows none.
    let plain = admin.run("Plain", &programs::asking(&json!({})));
    let (_, other) = admin.invoke_to_checkpoint(&plain, "ask", &json!({}));
    admin.post(&format!("{SCAICORE}/checkpoints/{other}/link")).refused(409, "CONFLICT");
    server.stop();
}

fn a_link_is_bound_to_its_person(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let anyone = server.anyone();
    let (ada, ada_key) = admin.user("ada@example.org", &["tenant_admin"]);
    let (_, bob_key) = admin.user("bob@example.org", &["tenant_admin"]);
    let (ada_client, bob) = (server.client(&ada_key), server.client(&bob_key));
    let more = json!({"required_approvals": 2, "exclude_requester": true, "assignee": "role:tenant_admin"});
    let core = linking(&admin, &more);
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    // Whoever asked for it gets none.
    admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/link")).refused(403, "AUTHZ_PERMISSION_DENIED");
    let (one, two) = (link(&ada_client, &checkpoint), link(&ada_client, &checkpoint));
    let decide = json!({"decision": "yes"});
    // One person has one link: a new one takes the place of the one before.
    anyone.post(&one).json(&decide).refused(404, "CHECKPOINT_LINK_NOT_FOUND");
    let voted = anyone.post(&two).json(&decide).answer(200).data();
    assert_eq!(voted["checkpoint"]["approvals"][0]["user_id"], json!(ada));
    assert_eq!(voted["checkpoint"]["status"], "pending");
    // They count once, and get no other.
    anyone.post(&two).json(&decide).refused(409, "CONFLICT");
    let again = ada_client.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/link"));
    again.refused(409, "CHECKPOINT_ALREADY_VOTED");
    // Nothing but the whole token is a link.
    let changed = if two.ends_with('A') { "B" } else { "A" };
    let broken = [
        format!("{}{changed}", &two[..two.len() - 1]),
        format!("{two}A"),
        two[..two.len() - 3].to_owned(),
        "/v1/checkpoint-link".to_owned(),
        "/v1/checkpoint-link?token=".to_owned(),
    ];
    for path in &broken {
        anyone.get(path).refused(404, "CHECKPOINT_LINK_NOT_FOUND");
        anyone.post(path).json(&decide).refused(404, "CHECKPOINT_LINK_NOT_FOUND");
    }
    // What the person may not do any more, their link may not.
    let bobs = link(&bob, &checkpoint);
    anyone.get(&bobs).answer(200);
    let people = admin.pages("/v1/users", "items");
    let bob_id = people.iter().find(|user| user["email"] == "bob@example.org").unwrap()["id"].clone();
    let bob_id = bob_id.as_str().unwrap();
    admin
        .put(
            &format!("/v1/users/{bob_id}/roles"),
            &json!({"roles": ["tenant_viewer"], "custom_role_ids": []}),
        )
        .answer(200);
    anyone.get(&bobs).refused(403, "AUTHZ_PERMISSION_DENIED");
    anyone.post(&bobs).json(&decide).refused(403, "AUTHZ_PERMISSION_DENIED");
    admin.delete(&format!("/v1/users/{bob_id}")).answer(204);
    anyone.get(&bobs).refused(404, "CHECKPOINT_LINK_NOT_FOUND");
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "pending");
    server.stop();
}

fn a_link_outlives_a_change_of_the_master_key(place: &Place) {
    const NEW: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let server = place.start();
    let admin = server.admin();
    let core = linking(&admin, &json!({}));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = link(&admin, &checkpoint);
    let old = std::fs::read_to_string(place.data().join("master.key")).unwrap().trim().to_owned();
    server.stop();
    let server = place.launch().set("SCAIGRID_MASTER_KEY", &format!("{NEW},{old}")).start();
    let (admin, anyone) = (server.of(&admin), server.anyone());
    assert_eq!(anyone.get(&path).answer(200).data()["checkpoint"]["id"], json!(checkpoint));
    // Another one is made under the new key, and is as good.
    let newer = link(&admin, &checkpoint);
    let done = anyone.post(&newer).json(&json!({"decision": "done"})).answer(200).data();
    assert_eq!(done["checkpoint"]["status"], "resolved");
    server.stop();
}
