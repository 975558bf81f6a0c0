//! Checkpoints in the hands of several people: reserved, decided alike by as many as it takes, with data that fits a form, many at once; and what is on record afterwards.

use std::collections::BTreeSet;

use scaigrid_tests::{Client, Db, Place, SCAICORE, Server, on_both_databases, programs};
use serde_json::{Value, json};

on_both_databases!(
    what_is_claimed_is_one_persons,
    several_people_must_decide_alike,
    of_many_votes_at_once_exactly_as_many_count_as_it_takes,
    an_answer_fits_the_form,
    many_are_dealt_with_at_once,
    a_decision_is_on_record,
    what_no_answer_can_fulfil_does_not_start,
);

pub(crate) fn at(checkpoint: &str, what: &str) -> String {
    format!("{SCAICORE}/checkpoints/{checkpoint}/{what}")
}

pub(crate) fn decide(client: &Client, checkpoint: &str, decision: &str) -> scaigrid_tests::Answer {
    client.post(&at(checkpoint, "resolve")).json(&json!({"decision": decision, "wait_ms": 20_000})).exchange()
}

pub(crate) fn history(client: &Client, checkpoint: &str) -> Vec<String> {
    let data = client.get(&at(checkpoint, "history")).answer(200).data();
    let items = data["items"].as_array().unwrap();
    items.iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect()
}

fn actions(client: &Client, checkpoint: &str) -> Vec<String> {
    let records = client.pages(&format!("/v1/audit/events?resource_id={checkpoint}"), "items");
    records.iter().rev().map(|record| record["action"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn inbox(client: &Client) -> Vec<String> {
    let items = client.pages(&format!("{SCAICORE}/checkpoints"), "items");
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// People who run the tenant: their ids, and clients of theirs.
pub(crate) fn people<const N: usize>(server: &Server, admin: &Client) -> [(String, Client); N] {
    std::array::from_fn(|number| {
        let (id, key) = admin.user(&format!("person{number}@example.org"), &["tenant_admin"]);
        (id, server.client(&key))
    })
}

fn what_is_claimed_is_one_persons(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(ada, ada_client), (_, bob)] = people(&server, &admin);
    // Somebody who may decide, and does not run the tenant.
    let (eve, eve_key) = admin.user("eve@example.org", &["tenant_user"]);
    let grants = json!({"permissions": ["scaicore:view", "scaicore:checkpoint_resolve"]});
    admin.put(&format!("/v1/users/{eve}/module-permissions"), &grants).answer(200);
    let eve = server.client(&eve_key);
    let core = admin.run("Claimed", &programs::asking(&json!({"assignee": "role:tenant_user"})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let claimed = ada_client.post(&at(&checkpoint, "claim")).answer(200).data();
    assert_eq!((&claimed["claimed_by"], &claimed["status"]), (&json!(ada), &json!("pending")));
    assert!(claimed["claimed_at"].is_string());
    // Once more changes nothing, and is no second record.
    ada_client.post(&at(&checkpoint, "claim")).answer(200);
    for other in [&bob, &eve] {
        other.post(&at(&checkpoint, "claim")).refused(409, "CHECKPOINT_CLAIMED");
        other.post(&at(&checkpoint, "cancel")).refused(409, "CHECKPOINT_CLAIMED");
        let body = json!({"decision": "mine"});
        other.post(&at(&checkpoint, "resolve")).json(&body).refused(409, "CHECKPOINT_CLAIMED");
        let body = json!({"assignee": "role:tenant_admin"});
        other.post(&at(&checkpoint, "reassign")).json(&body).refused(409, "CHECKPOINT_CLAIMED");
    }
    // Those who run the tenant let go for others, nobody else does.
    eve.post(&at(&checkpoint, "release")).refused(409, "CHECKPOINT_CLAIMED");
    let free = bob.post(&at(&checkpoint, "release")).answer(200).data();
    assert_eq!(free["claimed_by"], Value::Null);
    bob.post(&at(&checkpoint, "release")).answer(200);
    eve.post(&at(&checkpoint, "claim")).answer(200);
    assert_eq!(decide(&eve, &checkpoint, "done").status, 200);
    assert_eq!(history(&admin, &checkpoint), ["created", "claimed", "released", "claimed", "resolved"]);
    let expected = ["checkpoint.claim", "checkpoint.release", "checkpoint.claim", "checkpoint.resolve"];
    assert_eq!(actions(&admin, &checkpoint), expected);
    let shown = admin.checkpoint(&checkpoint);
    assert_eq!(shown["claimed_by"], Value::Null, "who has decided does not look after it any more");
    for what in ["claim", "release"] {
        bob.post(&at(&checkpoint, what)).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
    }
    // Who is handed something is free to take it or not.
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    ada_client.post(&at(&checkpoint, "claim")).answer(200);
    let body = json!({"assignee": "role:tenant_admin"});
    ada_client.post(&at(&checkpoint, "reassign")).json(&body).answer(200);
    assert_eq!(decide(&bob, &checkpoint, "done").status, 200);
    server.stop();
}

fn several_people_must_decide_alike(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(ada, ada_client), (bob, bob_client), (_, eve)] = people(&server, &admin);
    let more =
        json!({"options": ["approve", "reject"], "required_approvals": 2, "assignee": "role:tenant_admin"});
    let core = admin.run("Four eyes", &programs::asking(&more));
    let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&checkpoint)["required_approvals"], 2);
    let first = decide(&ada_client, &checkpoint, "approve");
    assert_eq!(first.status, 200, "{first}");
    let first = first.data();
    assert_eq!((&first["status"], &first["resolution"]), (&json!("pending"), &Value::Null));
    assert_eq!(first["execution"]["status"], "suspended");
    assert_eq!(first["approvals"][0]["user_id"], json!(ada));
    // One person counts once, and is not asked again.
    let again = json!({"decision": "approve"});
    ada_client.post(&at(&checkpoint, "resolve")).json(&again).refused(409, "CHECKPOINT_ALREADY_VOTED");
    let other = json!({"decision": "reject"});
    ada_client.post(&at(&checkpoint, "resolve")).json(&other).refused(409, "CHECKPOINT_ALREADY_VOTED");
    // Nor do they keep the others from it.
    ada_client.post(&at(&checkpoint, "claim")).refused(409, "CHECKPOINT_ALREADY_VOTED");
    assert!(!inbox(&ada_client).contains(&checkpoint) && inbox(&bob_client).contains(&checkpoint));
    // A vote is not lost with the server.
    server.kill();
    let server = place.start();
    let [admin, bob_client, eve] = [&admin, &bob_client, &eve].map(|client| server.of(client));
    let last = decide(&bob_client, &checkpoint, "approve").data();
    assert_eq!(last["status"], "resolved", "{last}");
    assert_eq!((&last["resolved_by"], &last["execution"]["status"]), (&json!(bob), &json!("completed")));
    assert_eq!(admin.execution(&execution)["output"]["decision"], "approve");
    let voters: Vec<&Value> =
        last["approvals"].as_array().unwrap().iter().map(|one| &one["user_id"]).collect();
    assert_eq!(voters, [&json!(ada), &json!(bob)]);
    let late = json!({"decision": "approve"});
    eve.post(&at(&checkpoint, "resolve")).json(&late).refused(409, "CHECKPOINT_ALREADY_RESOLVED");
    assert_eq!(history(&admin, &checkpoint), ["created", "voted", "resolved"]);
    assert_eq!(actions(&admin, &checkpoint), ["checkpoint.vote", "checkpoint.resolve"]);
    // One refusal is enough.
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let refused = decide(&eve, &checkpoint, "reject").data();
    assert_eq!(
        (&refused["status"], &refused["resolution"]["decision"]),
        (&json!("resolved"), &json!("reject"))
    );
    server.stop();
}

fn of_many_votes_at_once_exactly_as_many_count_as_it_takes(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    // On PostgreSQL on two nodes.
    let second = (place.db() == Db::Postgres).then(|| place.further_node("second").start());
    let people: [(String, Client); 6] = people(&server, &admin);
    let more = json!({"required_approvals": 3, "assignee": "role:tenant_admin"});
    let core = admin.run("Crowd", &programs::asking(&more));
    for round in 0..3 {
        let (execution, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
        let votes: Vec<_> = (0..12)
            .map(|number| {
                let (_, client) = &people[number % 6];
                // Everybody votes twice at the same time.
                let elsewhere = second.as_ref().filter(|_| number >= 6).map(|second| second.of(client));
                let client = elsewhere.unwrap_or_else(|| client.clone());
                let request = client
                    .post(&at(&checkpoint, "resolve"))
                    .json(&json!({"decision": "yes", "wait_ms": 5_000}));
                std::thread::spawn(move || request.exchange())
            })
            .collect();
        let mut taken = 0;
        for vote in votes {
            let answer = vote.join().unwrap();
            match answer.status {
                200 => taken += 1,
                409 => assert!(
                    ["CHECKPOINT_ALREADY_VOTED", "CHECKPOINT_ALREADY_RESOLVED"]
                        .contains(&answer.code().as_str()),
                    "{answer}"
                ),
                _ => panic!("{answer}"),
            }
        }
        assert_eq!(taken, 3, "round {round}");
        let shown = admin.checkpoint(&checkpoint);
        let deciders: BTreeSet<&str> = shown["approvals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["user_id"].as_str().unwrap())
            .collect();
        assert_eq!((deciders.len(), &shown["status"]), (3, &json!("resolved")), "{shown}");
        admin.execution_becomes(&execution, "completed");
        assert_eq!(history(&admin, &checkpoint), ["created", "voted", "voted", "resolved"]);
        assert_eq!(
            actions(&admin, &checkpoint),
            ["checkpoint.vote", "checkpoint.vote", "checkpoint.resolve"]
        );
    }
    if let Some(second) = second {
        second.stop();
    }
    server.stop();
}

fn an_answer_fits_the_form(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let form = json!({
        "type": "object", "required": ["reason"], "additionalProperties": false,
        "properties": {
            "reason": {"type": "string", "minLength": 3},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 10}}}}
        }
    });
    let core = admin.run("Form", &programs::asking(&json!({"options": ["approve"], "form": form})));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    assert_eq!(admin.checkpoint(&checkpoint)["form"], form);
    for (data, fields) in [
        (Value::Null, vec!["response_data"]),
        (json!([]), vec!["response_data"]),
        (json!({}), vec!["response_data.reason"]),
        (json!({"reason": "no"}), vec!["response_data.reason"]),
        (
            json!({"reason": "because", "lines": [{"amount": 1}, {"amount": 11}]}),
            vec!["response_data.lines[1].amount"],
        ),
        (json!({"reason": 1, "more": 2}), vec!["response_data.more", "response_data.reason"]),
    ] {
        let mut body = json!({"decision": "approve"});
        if !data.is_null() {
            body["response_data"] = data.clone();
        }
        let refused = admin.post(&at(&checkpoint, "resolve")).json(&body).refused(422, "VALIDATION_ERROR");
        let mut named = refused.fields();
        named.sort();
        assert_eq!(named, fields, "{data}");
    }
    let data = json!({"reason": "because", "lines": [{"amount": 10}]});
    let body = json!({"decision": "approve", "response_data": data, "wait_ms": 20_000});
    let done = admin.post(&at(&checkpoint, "resolve")).json(&body).answer(200).data();
    assert_eq!(done["execution"]["output"]["response_data"], data);
    // Of several answers each has to fit.
    let several = json!({"options": ["approve"], "form": form, "required_approvals": 2});
    let core = admin.run("Forms", &programs::asking(&several));
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let wrong = json!({"decision": "approve", "response_data": {}});
    let refused = admin.post(&at(&checkpoint, "resolve")).json(&wrong).refused(422, "VALIDATION_ERROR");
    assert_eq!(refused.fields(), ["response_data.reason"]);
    let right = json!({"decision": "approve", "response_data": data});
    let voted = admin.post(&at(&checkpoint, "resolve")).json(&right).answer(200).data();
    assert_eq!((&voted["status"], voted["approvals"].as_array().unwrap().len()), (&json!("pending"), 1));
    server.stop();
}

fn many_are_dealt_with_at_once(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(_, ada)] = people(&server, &admin);
    let core = admin.run("Many", &programs::asking(&json!({"options": ["yes", "no"]})));
    let made: Vec<(String, String)> =
        (0..4).map(|_| admin.invoke_to_checkpoint(&core, "ask", &json!({}))).collect();
    let ids: Vec<&str> = made.iter().map(|(_, checkpoint)| checkpoint.as_str()).collect();
    let path = format!("{SCAICORE}/checkpoints/bulk");
    let results = |client: &Client, body: &Value| {
        let data = client.post(&path).json(body).answer(200).data();
        data["results"].as_array().unwrap().clone()
    };
    // The second is somebody else's, the third is over, the last is nobody's.
    ada.post(&at(ids[1], "claim")).answer(200);
    admin.resolve(ids[2], "no");
    let nobody = "01900000-0000-0000-0000-000000000000";
    let body =
        json!({"ids": [ids[0], ids[1], ids[2], ids[3], nobody], "action": "resolve", "decision": "yes"});
    let told = results(&admin, &body);
    let codes: Vec<&Value> = told.iter().map(|one| &one["code"]).collect();
    assert_eq!(
        codes,
        [
            &Value::Null,
            &json!("CHECKPOINT_CLAIMED"),
            &json!("CHECKPOINT_ALREADY_RESOLVED"),
            &Value::Null,
            &json!("CHECKPOINT_NOT_FOUND")
        ]
    );
    let statuses: Vec<&str> = told.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["resolved", "error", "error", "resolved", "error"]);
    assert!(told.iter().zip(body["ids"].as_array().unwrap()).all(|(one, id)| one["id"] == *id));
    for index in [0, 3] {
        assert_eq!(admin.execution_becomes(&made[index].0, "completed")["output"]["decision"], "yes");
    }
    // What is no option of one is refused for it.
    let told = results(&ada, &json!({"ids": [ids[1]], "action": "resolve", "decision": "maybe"}));
    assert_eq!(told[0]["code"], "VALIDATION_ERROR", "{told:?}");
    let told = results(&ada, &json!({"ids": [ids[1]], "action": "release"}));
    assert_eq!((&told[0]["status"], &told[0]["code"]), (&json!("pending"), &Value::Null));
    let told = results(
        &admin,
        &json!({"ids": [ids[1]], "action": "reassign", "assignee": "role:tenant_admin", "comment": "x"}),
    );
    assert_eq!(told[0]["status"], "pending");
    let told = results(&admin, &json!({"ids": [ids[1]], "action": "cancel"}));
    assert_eq!(told[0]["status"], "cancelled");
    admin.execution_becomes(&made[1].0, "cancelled");
    // Another tenant's are not there.
    let other = admin.in_tenant(&admin.tenant("other"));
    assert_eq!(
        results(&other, &json!({"ids": [ids[0]], "action": "claim"}))[0]["code"],
        "CHECKPOINT_NOT_FOUND"
    );
    let many: Vec<String> = (0..101).map(|number| format!("01900000-0000-0000-0000-{number:012}")).collect();
    for (body, field) in [
        (json!({"ids": [], "action": "cancel"}), "ids"),
        (json!({"ids": many, "action": "cancel"}), "ids"),
        (json!({"ids": [ids[0], ids[0]], "action": "cancel"}), "ids[1]"),
        (json!({"ids": ["x"], "action": "cancel"}), "ids[0]"),
        (json!({"ids": [ids[0]], "action": "delete"}), "action"),
        (json!({"ids": [ids[0]], "action": "resolve"}), "decision"),
        (json!({"ids": [ids[0]], "action": "reassign"}), "assignee"),
        (json!({"ids": [ids[0]], "action": "cancel", "decision": "yes"}), "decision"),
        (json!({"ids": [ids[0]], "action": "cancel", "why": 1}), "why"),
    ] {
        let refused = admin.post(&path).json(&body).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), [field]);
    }
    server.stop();
}

fn a_decision_is_on_record(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let [(ada, ada_client), (bob, bob_client)] = people(&server, &admin);
    let more = json!({
        "options": ["approve", "reject"], "required_approvals": 2, "assignee": "role:tenant_admin",
        "present": {"prompt": "Pay 5?", "payload": "{to: 'Kim'}"},
        "action": {"alias": "bank", "method": "pay", "args": {"amount": "5"}, "expires_in": "1h"},
    });
    let mut program = programs::asking(&more);
    program["plugins"] = json!([{"alias": "bank", "plugin": "acme/bank", "config": {}, "required": false}]);
    let core = admin.run("Record", &program);
    let (_, checkpoint) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let path = at(&checkpoint, "decision");
    let before = admin.get(&path).answer(200).data();
    assert_eq!(
        (&before["status"], &before["decision"], &before["authorised"]),
        (&json!("pending"), &Value::Null, &Value::Null)
    );
    let content = &before["shown"]["content"];
    assert_eq!((&content["prompt"], &content["context"]["to"]), (&json!("Pay 5?"), &json!("Kim")));
    let call = content["context"]["action"]["hash"].clone();
    // What was shown is what the hash says: canonical JSON, whose keys are in order here.
    let hash = before["shown"]["sha256"].as_str().unwrap();
    assert_eq!(hash, scaigrid_tests::sha256_hex(content.to_string().as_bytes()));
    ada_client
        .post(&at(&checkpoint, "resolve"))
        .json(&json!({"decision": "approve", "comment": "fine"}))
        .answer(200);
    decide(&bob_client, &checkpoint, "approve");
    let record = admin.get(&path).answer(200).data();
    assert_eq!(record["shown"], before["shown"], "nothing of it changes");
    assert_eq!((&record["status"], &record["decision"]), (&json!("resolved"), &json!("approve")));
    let approvals = record["approvals"].as_array().unwrap();
    let by: Vec<&Value> = approvals.iter().map(|one| &one["user_id"]).collect();
    assert_eq!((by, &approvals[0]["comment"]), (vec![&json!(ada), &json!(bob)], &json!("fine")));
    let authorised = &record["authorised"];
    assert_eq!(
        (&authorised["alias"], &authorised["method"], &authorised["sha256"]),
        (&json!("bank"), &json!("pay"), &call)
    );
    assert!(authorised["expires_at"].as_str().unwrap() > record["decided_at"].as_str().unwrap());
    // The same stands in the audit, where it is chained.
    let records =
        admin.pages(&format!("/v1/audit/events?resource_id={checkpoint}&action=checkpoint.resolve"), "items");
    let changes = &records[0]["changes"];
    assert_eq!(changes["shown_sha256"]["after"], hash, "{changes}");
    assert_eq!(changes["authorised_sha256"]["after"], call);
    // A refusal authorises nothing.
    let (_, refused) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    decide(&ada_client, &refused, "reject");
    let record = admin.get(&at(&refused, "decision")).answer(200).data();
    assert_eq!((&record["decision"], &record["authorised"]), (&json!("reject"), &Value::Null));
    let other = admin.in_tenant(&admin.tenant("other"));
    other.get(&path).refused(404, "CHECKPOINT_NOT_FOUND");
    server.stop();
}

fn what_no_answer_can_fulfil_does_not_start(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    for (number, field, value) in [
        (1, "form", json!({"type": "strin"})),
        (2, "form", json!({"$ref": "https://forms.example/schema.json"})),
        (3, "required_approvals", json!(101)),
    ] {
        let core = admin.host(&format!("impossible-{number}"), &programs::asking(&json!({field: value})));
        let refused = admin.post(&format!("{SCAICORE}/cores/{core}/start")).refused(422, "INVALID_SOURCE_IR");
        assert!(refused.text().contains(&format!("/flows/0/body/0/{field}")), "{refused}");
    }
    server.stop();
}
