//! Checkpoints: who may decide, that exactly one does, and what time does when nobody does.

use std::time::{Duration, Instant};

use scaigrid_tests::{CORES, Client, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    of_many_resolvers_exactly_one_wins,
    only_what_is_offered_can_be_decided,
    an_answer_reaches_the_program_whole,
    a_branch_runs_for_the_decision_that_it_belongs_to,
    who_is_asked_may_act_and_others_may_look,
    a_checkpoint_can_be_handed_on,
    a_cancelled_checkpoint_ends_its_execution,
    a_routed_core_asks_somebody_or_ends,
    what_expires_can_be_caught,
    what_expires_and_is_not_caught_fails,
    what_expires_can_ask_somebody_else,
    what_expires_can_decide_itself,
    an_expiry_is_not_lost_with_the_server,
    two_that_wait_side_by_side_are_answered_in_any_order,
    lists_show_what_is_asked_for,
);

fn resolve_path(checkpoint: &str) -> String {
    format!("{SCAICORE}/checkpoints/{checkpoint}/resolve")
}

fn history(client: &Client, checkpoint: &str) -> Vec<String> {
    let data = client.get(&format!("{SCAICORE}/checkpoints/{checkpoint}/history")).answer(200).data();
    let items = data["items"].as_array().unwrap();
    items.iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect()
}

fn inbox(client: &Client) -> Vec<String> {
    let items = client.pages(&format!("{SCAICORE}/checkpoints"), "items");
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn of_many_resolvers_exactly_one_wins(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Race", &programs::asking(&json!({})));
    for round in 0..5 {
        let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
        let rivals: Vec<_> = (0..12)
            .map(|me| {
                let body =
                    json!({"decision": format!("rival {me}"), "wait_ms": if me % 2 == 0 { 5000 } else { 0 }});
                let request = admin.post(&resolve_path(&checkpoint)).json(&body);
                std::thread::spawn(move || (me, request.exchange()))
            })
            .collect();
        let mut winners = Vec::new();
        for rival in rivals {
            let (me, answer) = rival.join().unwrap();
            if answer.status == 200 {
                winners.push(me);
            } else {
                let said = (answer.status, answer.code());
                assert_eq!(said, (409, "CHECKPOINT_ALREADY_RESOLVED".to_owned()), "{answer}");
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let decision = json!(format!("rival {}", winners[0]));
        assert_eq!(admin.checkpoint(&checkpoint)["resolution"]["decision"], decision);
        assert_eq!(admin.execution_becomes(&execution, "completed")["output"]["decision"], decision);
        assert_eq!(history(&admin, &checkpoint), ["created", "resolved"]);
        let records = admin.pages(&format!("/v1/audit/events?resource_id={checkpoint}"), "items");
        assert_eq!(records.len(), 1, "one decision, one record: {records:?}");
        let body = json!({"decision": "late"});
        admin.post(&resolve_path(&checkpoint)).json(&body).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
        for (action, body) in [("cancel", json!({})), ("reassign", json!({"assignee": "role:tenant_user"}))] {
            let request = admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/{action}"));
            let request = if action == "cancel" { request } else { request.json(&body) };
            request.refused(409, "CHECKPOINT_ALREADY_RESOLVED");
        }
    }
    server.stop();
}

fn only_what_is_offered_can_be_decided(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Options", &programs::asking(&json!({"options": ["yes", "no"]})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = resolve_path(&checkpoint);
    for decision in ["maybe", "YES", "yes "] {
        let refusal = admin.post(&path).json(&json!({"decision": decision})).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), ["decision"]);
    }
    for body in [json!({}), json!({"decision": ""}), json!({"decision": 1}), json!({"decision": null})] {
        assert_eq!(admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR").fields(), ["decision"]);
    }
    let body = json!({"decision": "yes", "verdict": 1, "wait_ms": 1});
    assert_eq!(admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR").fields(), ["verdict"]);
    let body = json!({"decision": "yes", "wait_ms": 60_001});
    assert_eq!(admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR").fields(), ["wait_ms"]);
    assert_eq!(admin.checkpoint(&checkpoint)["status"], "pending", "a refused decision decides nothing");
    assert_eq!(admin.resolve(&checkpoint, "no")["execution"]["output"]["decision"], "no");
    server.stop();
}

fn an_answer_reaches_the_program_whole(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Whole", &programs::asking(&json!({})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let data = json!({"lines": [1, 2.5, null, {"ключ": "значение ✓"}], "big": i64::MAX});
    let body =
        json!({"decision": "как угодно", "response_data": data, "comment": "a\nb\"c", "wait_ms": 10_000});
    let resolved = admin.post(&resolve_path(&checkpoint)).json(&body).answer(200).data();
    let output = &resolved["execution"]["output"];
    assert_eq!(output["decision"], "как угодно");
    assert_eq!(output["response_data"], data);
    assert_eq!(output["comment"], "a\nb\"c");
    let me = admin.get("/v1/me").answer(200).data();
    assert_eq!(output["resolved_by"], me["user"]["id"]);
    assert_eq!(resolved["resolved_by"], me["user"]["id"]);
    assert_eq!(output["resolved_at"], resolved["resolved_at"]);
    server.stop();
}

fn a_branch_runs_for_the_decision_that_it_belongs_to(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let branch = |name: &str| json!([{"kind": "rigid", "statements": [{"kind": "emit", "event": name, "data": "answer.decision"}]}]);
    let more =
        json!({"options": ["yes", "no"], "on_response": {"yes": branch("was.yes"), "no": branch("was.no")}});
    let core = admin.run("Branches", &programs::asking(&more));
    for decision in ["no", "yes"] {
        let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
        assert_eq!(admin.resolve(&checkpoint, decision)["execution"]["output"]["decision"], decision);
    }
    let events = admin.pages(&format!("{CORES}/{core}/events/history"), "events");
    let names = events.iter().map(|event| event["type"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.starts_with("scaicore.runtime.")).collect();
    assert_eq!(names, ["was.yes", "was.no"]);
    server.stop();
}

fn who_is_asked_may_act_and_others_may_look(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (asked_id, asked_key) = admin.user("asked@example.org", &["tenant_admin"]);
    let (_, viewer_key) = admin.user("viewer@example.org", &["tenant_viewer"]);
    let (user_id, user_key) = admin.user("user@example.org", &["tenant_user"]);
    let (asked, viewer, user) =
        (server.client(&asked_key), server.client(&viewer_key), server.client(&user_key));
    for (assignee, kind, value) in [
        (format!("user:{asked_id}"), "user", asked_id.clone()),
        ("user:viewer@example.org".to_owned(), "user", "viewer@example.org".to_owned()),
        ("role:tenant_viewer".to_owned(), "role", "tenant_viewer".to_owned()),
        (format!("user:{user_id}"), "user", user_id.clone()),
    ] {
        let core = admin.run(&assignee, &programs::asking(&json!({"assignee": assignee})));
        let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
        let shown = admin.checkpoint(&checkpoint);
        assert_eq!(shown["assignee_raw"], json!(assignee));
        assert_eq!(shown["assignee_resolved"]["type"], kind, "{shown}");
        if !assignee.contains('@') {
            assert_eq!(shown["assignee_resolved"]["value"], json!(value), "{shown}");
        }

        // A viewer sees what is in the tenant and decides nothing, asked or not: the permission is missing.
        assert_eq!(viewer.checkpoint(&checkpoint)["id"], json!(checkpoint));
        let is_viewers = assignee.contains("viewer");
        assert_eq!(inbox(&viewer).contains(&checkpoint), is_viewers, "{assignee}");
        let body = json!({"decision": "ok"});
        viewer.post(&resolve_path(&checkpoint)).json(&body).refused(403, "AUTHZ_PERMISSION_DENIED");
        // A user of the tenant has nothing of the module by default.
        user.get(&format!("{SCAICORE}/checkpoints")).refused(403, "AUTHZ_PERMISSION_DENIED");
        viewer.get(&format!("{SCAICORE}/checkpoints/all")).refused(403, "AUTHZ_PERMISSION_DENIED");

        // Those who run the tenant may always act.
        let done = asked.resolve(&checkpoint, "ok");
        assert_eq!(done["resolved_by"], json!(asked_id));
        assert_eq!(admin.execution(&execution)["output"]["resolved_by"], json!(asked_id));
    }

    // Nobody in particular is asked: those who run the tenant find it.
    let core = admin.run("Nobody", &programs::asking(&json!({})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&checkpoint)["assignee_type"], "unrouted");
    assert!(inbox(&asked).contains(&checkpoint));
    assert!(!inbox(&viewer).contains(&checkpoint));

    // Another tenant's admin does not even learn that it is there.
    let tenant = admin.tenant("elsewhere");
    let (_, stranger_key) = admin.in_tenant(&tenant).user("boss@elsewhere.example", &["tenant_admin"]);
    let stranger = server.client(&stranger_key);
    stranger.get(&format!("{SCAICORE}/checkpoints/{checkpoint}")).refused(404, "CHECKPOINT_NOT_FOUND");
    let body = json!({"decision": "ok"});
    stranger.post(&resolve_path(&checkpoint)).json(&body).refused(404, "CHECKPOINT_NOT_FOUND");
    assert!(inbox(&stranger).is_empty());
    assert!(stranger.pages(&format!("{SCAICORE}/checkpoints/all"), "items").is_empty());
    server.stop();
}

fn a_checkpoint_can_be_handed_on(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (first, first_key) = admin.user("first@example.org", &["tenant_admin"]);
    let (second, _) = admin.user("second@example.org", &["tenant_viewer"]);
    let first_client = server.client(&first_key);
    let core = admin.run("Hand on", &programs::asking(&json!({"assignee": format!("user:{second}")})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert!(!inbox(&first_client).contains(&checkpoint));
    let path = format!("{SCAICORE}/checkpoints/{checkpoint}/reassign");
    let body = json!({"assignee": format!("user:{first}"), "comment": "on holiday"});
    let moved = admin.post(&path).json(&body).answer(200).data();
    assert_eq!(moved["assignee_resolved"], json!({"type": "user", "value": first}));
    assert!(inbox(&first_client).contains(&checkpoint));
    assert_eq!(history(&admin, &checkpoint), ["created", "reassigned"]);
    for assignee in ["user:", "role:emperor", ""] {
        let refusal = admin.post(&path).json(&json!({"assignee": assignee})).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), ["assignee"], "{assignee}");
    }
    let records = admin.pages(&format!("/v1/audit/events?resource_id={checkpoint}"), "items");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["action"], "checkpoint.reassign");
    first_client.resolve(&checkpoint, "done");
    assert_eq!(history(&admin, &checkpoint), ["created", "reassigned", "resolved"]);
    server.stop();
}

fn a_cancelled_checkpoint_ends_its_execution(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Cancel", &programs::asking(&json!({})));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let cancelled = admin.post(&format!("{SCAICORE}/checkpoints/{checkpoint}/cancel")).answer(200).data();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["resolution"], Value::Null);
    admin.execution_becomes(&execution, "cancelled");
    let body = json!({"decision": "late"});
    admin.post(&resolve_path(&checkpoint)).json(&body).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
    assert_eq!(history(&admin, &checkpoint), ["created", "cancelled"]);
    assert!(inbox(&admin).is_empty());
    server.stop();
}

/// How late an expiry may be told of: it is due to the second, and the machine may be busy.
const LATE: Duration = Duration::from_secs(4);

/// Starts a flow that waits for a person for one second, and sees that it does not end early.
fn wait_out(admin: &Client, core: &str, status: &str) -> (Value, Value) {
    let begun = Instant::now();
    let (execution, checkpoint) = admin.invoke_to_checkpoint(core, "ask", &json!({}));
    let ended = admin.execution_becomes(&execution, status);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "it ended early: {took:?}");
    assert!(took < Duration::from_secs(1) + LATE, "it ended late: {took:?}");
    (ended, admin.checkpoint(&checkpoint))
}

fn a_routed_core_asks_somebody_or_ends(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let tidy = json!([{"kind": "try", "id": "try", "body": [programs::checkpoint(&json!({}))],
        "catch": [{"body": [programs::rigid("caught", &json!([{"kind": "emit", "event": "wrongly.caught", "data": "1"}]))]}],
        "finally": [programs::rigid("tidy", &json!([{"kind": "emit", "event": "tidied.up", "data": "1"}]))]}]);
    let asks = programs::checkpoint(&json!({"id": "asks", "assignee": "role:tenant_admin"}));
    let source = programs::program(
        "Routed",
        &[
            programs::flow("nobody", &json!([]), &tidy),
            programs::flow("somebody", &json!([]), &json!([asks])),
        ],
    );
    let body = json!({"name": "Routed", "source": source, "checkpoint_mode": "routed"});
    let core = admin.post(CORES).json(&body).answer(201).data()["id"].as_str().unwrap().to_owned();
    admin.act(&core, "start");
    let ended = admin.invoke(&core, "nobody", &json!({}));
    assert_eq!((&ended["status"], &ended["checkpoints"]), (&json!("cancelled"), &json!([])), "{ended}");
    assert!(admin.pages(&format!("{SCAICORE}/checkpoints/all"), "items").is_empty());
    let events = admin.pages(&format!("{CORES}/{core}/events/history"), "events");
    let names = events.iter().map(|event| event["type"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.starts_with("scaicore.runtime.")).collect();
    assert_eq!(names, ["tidied.up"]);
    // Its journal can be followed.
    let execution = ended["id"].as_str().unwrap();
    let state = admin.get(&format!("{SCAICORE}/executions/{execution}/state")).answer(200).data();
    assert_eq!(state["status"], "cancelled", "{state}");
    // Whom it asks is asked.
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "somebody", &json!({}));
    admin.resolve(&checkpoint, "yes");
    admin.execution_becomes(&execution, "completed");
    server.stop();
}

fn what_expires_can_be_caught(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let body = json!([{"kind": "try",
        "body": [programs::checkpoint(&json!({"timeout": "1s"}))],
        "catch": [{"code": "CHECKPOINT_EXPIRED", "as": "error", "body": [
            {"kind": "rigid", "statements": [{"kind": "return", "value": "'nobody: ' + error.code"}]}]}]}]);
    let core = admin.run("Caught", &programs::program("Caught", &[programs::flow("ask", &json!([]), &body)]));
    let (execution, checkpoint) = wait_out(&admin, &core, "completed");
    assert_eq!(execution["output"], "nobody: CHECKPOINT_EXPIRED");
    assert_eq!(checkpoint["status"], "expired");
    assert_eq!(checkpoint["resolved_by"], Value::Null);
    let id = checkpoint["id"].as_str().unwrap();
    assert_eq!(history(&admin, id), ["created", "expired"]);
    // What the clock decides has its record where the tenant's partner finds it.
    let records =
        admin.pages(&format!("/v1/audit/events?action=checkpoint.expire&resource_id={id}"), "items");
    let me = admin.get("/v1/me").answer(200).data();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0]["tenant_id"], &records[0]["partner_id"]),
        (&me["tenant"]["id"], &me["partner"]["id"])
    );
    server.stop();
}

fn what_expires_and_is_not_caught_fails(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Expire", &programs::asking(&json!({"timeout": "1s", "on_timeout": "expire"})));
    let (execution, checkpoint) = wait_out(&admin, &core, "failed");
    assert_eq!(execution["error"]["code"], "CHECKPOINT_EXPIRED", "{execution}");
    assert_eq!(checkpoint["status"], "expired");
    let path = resolve_path(checkpoint["id"].as_str().unwrap());
    admin.post(&path).json(&json!({"decision": "late"})).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
    assert_eq!(admin.status(&core), "running", "one execution that fails is no failure of its Core");
    server.stop();
}

fn what_expires_can_ask_somebody_else(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let (second, second_key) = admin.user("second@example.org", &["tenant_admin"]);
    let (first, _) = admin.user("first@example.org", &["tenant_viewer"]);
    let more = json!({"timeout": "1s", "on_timeout": "escalate", "assignee": format!("user:{first}"),
        "escalation_target": format!("user:{second}")});
    let core = admin.run("Escalate", &programs::asking(&more));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let second_client = server.client(&second_key);
    assert!(!inbox(&second_client).contains(&checkpoint));
    scaigrid_tests::eventually("it is escalated", Duration::from_secs(6), || {
        inbox(&second_client).contains(&checkpoint).then_some(())
    });
    let shown = admin.checkpoint(&checkpoint);
    assert_eq!(shown["status"], "pending", "{shown}");
    assert_eq!(shown["assignee_resolved"]["value"], json!(second));
    assert_eq!(history(&admin, &checkpoint), ["created", "escalated"]);
    let told = scaigrid_tests::eventually("the log tells it", Duration::from_secs(6), || {
        let path = format!("{CORES}/{core}/logs?level=warn&execution_id={execution}");
        admin.pages(&path, "logs").first().cloned()
    });
    assert_eq!(told["message"], format!("a checkpoint's time was up, and it was escalated to user:{second}"));
    assert_eq!(admin.execution(&execution)["status"], "suspended");
    assert_eq!(second_client.resolve(&checkpoint, "at last")["execution"]["status"], "completed");
    server.stop();
}

fn what_expires_can_decide_itself(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let more = json!({"timeout": "1s", "on_timeout": "resolve:no", "options": ["yes", "no"]});
    let core = admin.run("Itself", &programs::asking(&more));
    let (execution, checkpoint) = wait_out(&admin, &core, "completed");
    assert_eq!(execution["output"]["decision"], "no");
    assert_eq!(execution["output"]["resolved_by"], Value::Null);
    assert_eq!(checkpoint["resolution"]["decision"], "no", "{checkpoint}");
    assert_eq!(checkpoint["resolved_by"], Value::Null);
    // Its record says what was shown, as that of a person's decision does.
    let id = checkpoint["id"].as_str().unwrap();
    let decision = admin.get(&format!("{SCAICORE}/checkpoints/{id}/decision")).answer(200).data();
    let records =
        admin.pages(&format!("/v1/audit/events?action=checkpoint.resolve&resource_id={id}"), "items");
    let changes = &records[0]["changes"];
    assert!(decision["shown"]["sha256"].is_string(), "{decision}");
    assert_eq!(changes["shown_sha256"]["after"], decision["shown"]["sha256"], "{changes}");
    assert_eq!(changes["decision"]["after"], "no");
    server.stop();
}

fn an_expiry_is_not_lost_with_the_server(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Itself", &programs::asking(&json!({"timeout": "1s"})));
    let (execution, _) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    server.kill();
    std::thread::sleep(Duration::from_millis(1100));
    let server = place.start();
    let admin = server.admin();
    let begun = Instant::now();
    let failed = admin.execution_becomes(&execution, "failed");
    assert_eq!(failed["error"]["code"], "CHECKPOINT_EXPIRED");
    assert!(begun.elapsed() < LATE, "{:?}", begun.elapsed());
    server.stop();
}

fn two_that_wait_side_by_side_are_answered_in_any_order(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let ask = programs::checkpoint(&json!({"present": {"prompt": "What of ${it}?", "payload": "it"}}));
    let body = json!([
        {"kind": "foreach", "items": "['a', 'b', 'c']", "var": "it", "max_concurrent": 2, "result_binding": "all",
         "body": [ask, {"kind": "rigid", "statements": [{"kind": "expression", "value": "it + ' ' + answer.decision"}]}]},
        {"kind": "rigid", "statements": [{"kind": "return", "value": "all"}]}
    ]);
    let core = admin.run("Two", &programs::program("Two", &[programs::flow("ask", &json!([]), &body)]));
    let execution = admin.invoke(&core, "ask", &json!({}));
    let id = execution["id"].as_str().unwrap();
    let of = |admin: &Client, item: &str| {
        let open = admin.execution(id)["checkpoints"].as_array().unwrap().clone();
        let mut open = open.iter().map(|id| admin.checkpoint(id.as_str().unwrap()));
        open.find(|shown| shown["context"] == item).map(|shown| shown["id"].as_str().unwrap().to_owned())
    };
    assert_eq!(execution["checkpoints"].as_array().unwrap().len(), 2, "{execution}");
    assert_eq!(of(&admin, "c"), None, "two at a time");
    let b = of(&admin, "b").unwrap();
    let still = admin.resolve(&b, "second");
    assert_eq!(still["execution"]["status"], "suspended");
    // The place that is free is taken by the third, and a power cut changes nothing.
    server.kill();
    let server = place.start();
    let admin = server.admin();
    let c = of(&admin, "c").unwrap();
    assert_eq!(admin.resolve(&c, "third")["execution"]["status"], "suspended");
    let a = of(&admin, "a").unwrap();
    let done = admin.resolve(&a, "first");
    assert_eq!(done["execution"]["status"], "completed", "{done}");
    assert_eq!(done["execution"]["output"], json!(["a first", "b second", "c third"]));
    server.stop();
}

fn lists_show_what_is_asked_for(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let urgent =
        json!({"priority": "critical", "checkpoint_type": "choice", "assignee": "role:tenant_viewer"});
    let urgent = admin.run("Urgent", &programs::asking(&urgent));
    let plain = admin.run("Plain", &programs::asking(&json!({"assignee": "role:tenant_admin"})));
    let (_, one) = admin.invoke_to_checkpoint(&urgent, "ask", &json!({}));
    let (_, two) = admin.invoke_to_checkpoint(&plain, "ask", &json!({}));
    let (_, three) = admin.invoke_to_checkpoint(&plain, "ask", &json!({}));
    admin.resolve(&two, "ok");
    let (one, two, three) = (one.as_str(), two.as_str(), three.as_str());
    let listed = |path: &str| -> Vec<String> {
        let items = admin.pages(&format!("{SCAICORE}/checkpoints{path}"), "items");
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("/all"), [three, two, one], "newest first");
    assert_eq!(listed("/all?status=resolved"), [two]);
    assert_eq!(listed("/all?status=pending"), [three, one]);
    assert_eq!(listed("/all?priority=critical"), [one]);
    assert_eq!(listed("/all?type=choice"), [one]);
    assert_eq!(listed("/all?assignee=role:tenant_viewer"), [one]);
    assert_eq!(listed(&format!("/all?core_id={plain}")), [three, two]);
    assert_eq!(listed("?priority=normal"), [three], "the inbox holds what is pending and the caller's");
    assert_eq!(listed(""), [three]);
    for (query, field) in [
        ("status=open", "status"),
        ("priority=huge", "priority"),
        ("assignee=role:emperor", "assignee"),
        ("limit=0", "limit"),
    ] {
        let refusal =
            admin.get(&format!("{SCAICORE}/checkpoints/all?{query}")).refused(422, "VALIDATION_ERROR");
        assert_eq!(refusal.fields(), [field]);
    }
    server.stop();
}
