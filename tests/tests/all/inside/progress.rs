//! An execution is followed as it goes on: what it does and how it stands, without a gap and without a repetition.

use scaigrid_tests::programs::{checkpoint, flow, program, rigid};
use scaigrid_tests::{CORES, Client, Db, Event, EventStream, Place, SCAICORE, on_both_databases, programs};
use serde_json::{Value, json};

use super::{PATIENCE, talking};

on_both_databases!(
    it_is_told_through_a_checkpoint_to_its_end,
    who_comes_again_hears_the_rest,
    what_failed_and_is_tried_again_goes_on,
    it_says_how_it_was_ended,
    what_a_called_flow_waits_at_is_told,
    what_is_gone_of_a_long_life_is_said,
    it_is_for_those_who_may_see_it,
    a_farewell_is_said_and_nothing_lost,
);

fn path(execution: &str) -> String {
    format!("{SCAICORE}/executions/{execution}/stream")
}

fn stream(client: &Client, execution: &str, last: Option<&str>) -> EventStream {
    let request = client.get(&path(execution));
    match last {
        Some(id) => request.header("Last-Event-ID", id).listen(),
        None => request.listen(),
    }
}

/// Events up to one, which is among them.
fn told(stream: &mut EventStream, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let next = stream.next(PATIENCE);
        let next = next.unwrap_or_else(|| panic!("{} events came: {:?}", all.len(), all.last()));
        let is_last = is_last(&next);
        all.push(next);
        if is_last {
            return all;
        }
    }
}

fn is_end(event: &Event) -> bool {
    event.event.as_deref() == Some("end")
}

fn is_suspended(event: &Event) -> bool {
    event.data["event"] == "status" && event.data["status"] == "suspended"
}

/// Everything up to the end, behind which nothing comes; the end's reason.
fn to_the_end(stream: &mut EventStream) -> (Vec<Event>, String) {
    let mut all = told(stream, is_end);
    let end = all.pop().unwrap();
    assert_eq!((&end.id, stream.next(PATIENCE)), (&None, None), "nothing comes after the end");
    (all, end.data["reason"].as_str().unwrap().to_owned())
}

/// The entries of the journal among events.
fn entries(events: &[Event]) -> Vec<Value> {
    let entries = events.iter().filter(|event| event.data["event"] == "entry");
    entries.map(|event| event.data["entry"].clone()).collect()
}

fn statuses(events: &[Event]) -> Vec<&str> {
    let told = events.iter().filter(|event| event.data["event"] == "status");
    told.map(|event| event.data["status"].as_str().unwrap()).collect()
}

fn id_of(event: &Event) -> &str {
    event.id.as_deref().unwrap()
}

fn history(client: &Client, execution: &str) -> Vec<Value> {
    client.pages(&format!("{SCAICORE}/executions/{execution}/history"), "items")
}

/// Starts a flow and waits for nothing.
fn start(client: &Client, core: &str, flow: &str, input: &Value) -> String {
    let body = json!({"flow": flow, "input": input});
    let started = client.post(&format!("{CORES}/{core}/invoke")).json(&body).answer(202).data();
    started["id"].as_str().unwrap().to_owned()
}

/// What is told of how an execution stands is what the execution shows.
fn assert_stands(status: &Event, execution: &Value) {
    for field in ["status", "checkpoints", "paused", "output", "error", "finished_at"] {
        assert_eq!(status.data[field], execution[field], "{field} of {status:?}");
    }
}

/// A flow `ask` that says something, waits at a checkpoint, and says something else.
fn asking_in_between() -> Value {
    let say = |id: &str| rigid(id, &json!([{"kind": "log", "message": format!("{id} it")}]));
    let end = rigid("end", &json!([{"kind": "return", "value": "answer.decision"}]));
    let body = json!([say("before"), checkpoint(&json!({})), say("after"), end]);
    program("Asking in between", &[flow("ask", &json!([]), &body)])
}

fn it_is_told_through_a_checkpoint_to_its_end(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Asks", &asking_in_between());
    let id = start(&admin, &core, "ask", &json!({}));
    let mut following = stream(&admin, &id, None);
    let mut all = told(&mut following, is_suspended);
    // All that has led there comes before it.
    assert_eq!(entries(&all), history(&admin, &id));
    assert_stands(all.last().unwrap(), &admin.execution(&id));
    let waits_at = all.last().unwrap().data["checkpoints"][0].as_str().unwrap().to_owned();
    admin.resolve(&waits_at, "yes");
    let (rest, reason) = to_the_end(&mut following);
    assert_eq!(reason, "completed");
    all.extend(rest);
    assert_eq!(entries(&all), history(&admin, &id), "each entry once and in order");
    assert_eq!(statuses(&all).last(), Some(&"completed"));
    let last = all.last().unwrap();
    assert_stands(last, &admin.execution(&id));
    assert_eq!(last.data["output"], "yes");
    // The id of an entry begins with its number.
    for event in all.iter().filter(|event| event.data["event"] == "entry") {
        let seq = id_of(event).split('.').next().unwrap();
        assert_eq!(event.data["entry"]["seq"].to_string(), seq);
    }
    server.stop();
}

fn who_comes_again_hears_the_rest(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    // On PostgreSQL at another node.
    let second = (place.db() == Db::Postgres).then(|| place.further_node("second").start());
    let there = second.as_ref().map_or_else(|| admin.clone(), |second| second.of(&admin));

    // One that has ended is told whole, to everybody in the same words; secrets of its Core are seen nowhere.
    let secret = json!({"name": "Talk", "source": talking(),
        "environment": {"TOKEN": {"type": "secret", "value": "hush-hush"}}});
    let core = admin.post(CORES).json(&secret).answer(201).data()["id"].as_str().unwrap().to_owned();
    admin.act(&core, "start");
    admin.status_becomes(&core, "running");
    let done = admin.invoke(&core, "talk", &json!({"times": 150, "who": "hush-hush"}));
    let id = done["id"].as_str().unwrap();
    let mut following = stream(&admin, id, None);
    let begun = following.next_id(PATIENCE).unwrap();
    let (all, reason) = to_the_end(&mut following);
    assert_eq!((reason.as_str(), statuses(&all)), ("completed", vec!["completed"]));
    let seqs = |entries: &[Value]| entries.iter().map(|entry| entry["seq"].clone()).collect::<Vec<_>>();
    assert_eq!(seqs(&entries(&all)), seqs(&history(&admin, id)), "several pieces of it");
    assert!(all.iter().all(|event| !event.data.to_string().contains("hush-hush")));
    assert_eq!(all[0].data["entry"]["input"]["who"], "***");
    let again = |client: &Client, last: &str| to_the_end(&mut stream(client, id, Some(last)));
    for client in [&admin, &there] {
        for at in [0, 1, 199, 200, all.len() - 2] {
            let (rest, reason) = again(client, id_of(&all[at]));
            assert_eq!(reason, "completed");
            assert!(rest == all[at + 1..], "behind {at}: {:?}", rest.first());
        }
        // Cut off before the first event; behind the last one; behind an entry, by its number.
        assert!(again(client, &begun).0 == all);
        assert_eq!(again(client, id_of(all.last().unwrap())), (Vec::new(), "completed".to_owned()));
        assert!(again(client, "7").0 == all[8..]);
    }

    // One that waits is not told once more that it does, and is told to its end wherever it goes on.
    let core = admin.run("Asks", &asking_in_between());
    let id = start(&admin, &core, "ask", &json!({}));
    let heard = told(&mut stream(&admin, &id, None), is_suspended);
    let last = heard.last().unwrap();
    let mut again = stream(&there, &id, Some(id_of(last)));
    assert_eq!(again.next_id(PATIENCE).as_deref(), last.id.as_deref(), "it begins where one was");
    let anew = told(&mut stream(&there, &id, None), is_suspended);
    assert_eq!(anew.last(), heard.last());
    admin.resolve(last.data["checkpoints"][0].as_str().unwrap(), "yes");
    let (rest, reason) = to_the_end(&mut again);
    assert_eq!(reason, "completed");
    assert!(!rest.iter().any(|event| event.data == last.data), "nothing is told twice");
    let heard = [entries(&heard), entries(&rest)].concat();
    assert_eq!(heard, history(&admin, &id));
    assert_stands(rest.last().unwrap(), &admin.execution(&id));
    if let Some(second) = second {
        second.stop();
    }
    server.stop();
}

/// A flow `pass` that fails unless `open` has run before.
fn shut() -> Value {
    let pass = json!([rigid(
        "pass",
        &json!([
            {"kind": "memory", "op": "get", "target": "open", "result_binding": "open"},
            {"kind": "if", "condition": "open != true", "then": [
                {"kind": "fail", "code": "SHUT", "message": "it is shut"}]},
            {"kind": "return", "value": "'passed'"}
        ])
    )]);
    let open = json!([rigid(
        "open",
        &json!([
            {"kind": "memory", "op": "set", "target": "open", "value": "true"},
            {"kind": "return", "value": "true"}
        ])
    )]);
    let mut program = program("Shut", &[flow("pass", &json!([]), &pass), flow("open", &json!([]), &open)]);
    program["memory"] = json!({"open": {"type": "bool", "default": false}});
    program
}

fn what_failed_and_is_tried_again_goes_on(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Shut", &shut());
    let id = start(&admin, &core, "pass", &json!({}));
    let (mut all, reason) = to_the_end(&mut stream(&admin, &id, None));
    assert_eq!((reason.as_str(), &all.last().unwrap().data["error"]["code"]), ("failed", &json!("SHUT")));
    assert_stands(all.last().unwrap(), &admin.execution(&id));
    // It fails once more, and then it does not: its ids go on.
    for ends in ["failed", "completed"] {
        if ends == "completed" {
            admin.invoke(&core, "open", &json!({}));
        }
        admin.post(&format!("{SCAICORE}/executions/{id}/retry")).answer(202);
        admin.execution_becomes(&id, ends);
        let last = id_of(all.last().unwrap()).to_owned();
        let (rest, reason) = to_the_end(&mut stream(&admin, &id, Some(&last)));
        assert_eq!((reason.as_str(), &entries(&rest)[0]["type"]), (ends, &json!("retried")));
        assert_stands(rest.last().unwrap(), &admin.execution(&id));
        all.extend(rest);
    }
    assert_eq!(entries(&all), history(&admin, &id), "each entry once and in order");
    assert_eq!(all.last().unwrap().data["output"], "passed");
    server.stop();
}

fn it_says_how_it_was_ended(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Asks", &asking_in_between());
    let id = start(&admin, &core, "ask", &json!({}));
    let mut following = stream(&admin, &id, None);
    told(&mut following, is_suspended);
    admin.post(&format!("{SCAICORE}/executions/{id}/cancel")).exchange();
    let (rest, reason) = to_the_end(&mut following);
    assert_eq!((reason.as_str(), statuses(&rest).last()), ("cancelled", Some(&"cancelled")));
    assert_stands(rest.last().unwrap(), &admin.execution(&id));
    // Gone with its Core.
    let id = start(&admin, &core, "ask", &json!({}));
    let mut following = stream(&admin, &id, None);
    told(&mut following, is_suspended);
    admin.delete(&format!("{CORES}/{core}?force=true")).answer(204);
    let (rest, reason) = to_the_end(&mut following);
    assert_eq!((rest, reason.as_str()), (Vec::new(), "deleted"));
    server.stop();
}

fn what_a_called_flow_waits_at_is_told(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let mut program = asking_in_between();
    let call = json!([{"kind": "core_call", "id": "call", "target": "core://self", "flow_name": "ask",
        "result_binding": "got"}, rigid("end", &json!([{"kind": "return", "value": "got"}]))]);
    program["flows"].as_array_mut().unwrap().push(flow("caller", &json!([]), &call));
    let core = admin.run("Calls", &program);
    let id = start(&admin, &core, "caller", &json!({}));
    let mut following = stream(&admin, &id, None);
    let waits = |event: &Event| is_suspended(event) && event.data["checkpoints"][0].is_string();
    let heard = told(&mut following, waits);
    let waiting = heard.last().unwrap();
    assert_stands(waiting, &admin.execution(&id));
    let below = admin.checkpoint(waiting.data["checkpoints"][0].as_str().unwrap());
    assert_ne!(below["execution_id"], id);
    admin.resolve(below["id"].as_str().unwrap(), "yes");
    let (rest, reason) = to_the_end(&mut following);
    assert_eq!((reason.as_str(), &rest.last().unwrap().data["output"]), ("completed", &json!("yes")));
    assert_eq!([entries(&heard), entries(&rest)].concat(), history(&admin, &id));
    server.stop();
}

fn what_is_gone_of_a_long_life_is_said(place: &Place) {
    const ROUNDS: i64 = 9_000;
    let server = place.launch().set("SCAIGRID_JOURNAL_ENTRIES", "1000").start();
    let admin = server.admin();
    let core = admin.run("Long", &programs::spinning());
    let id = start(&admin, &core, "spin", &json!({"rounds": ROUNDS}));
    admin.execution_becomes(&id, "completed");
    let kept = history(&admin, &id);
    assert_eq!(kept[0]["type"], "cut", "{}", kept[0]);
    let gone = kept[0]["seq"].as_i64().unwrap();
    // Whoever does not read holds up nobody else, and misses nothing.
    let mut slow = stream(&admin, &id, None);
    let (all, reason) = to_the_end(&mut stream(&admin, &id, None));
    assert_eq!(
        (reason.as_str(), &all[0].data),
        ("completed", &json!({"event": "gap", "from": 0, "to": gone}))
    );
    assert!(entries(&all) == kept[1..], "{} entries came of {}", entries(&all).len(), kept.len() - 1);
    assert!(to_the_end(&mut slow).0 == all);
    // Within what is gone, at its end, and behind it.
    let after = |last: i64| to_the_end(&mut stream(&admin, &id, Some(&last.to_string()))).0;
    let rest = after(10);
    assert_eq!(rest[0].data, json!({"event": "gap", "from": 11, "to": gone}));
    assert!(rest[1..] == all[1..]);
    assert!(after(gone) == all[1..]);
    assert!(after(gone + 5) == all[6..]);
    server.stop();
}

fn it_is_for_those_who_may_see_it(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Asks", &asking_in_between());
    let (id, _) = admin.invoke_to_checkpoint(&core, "ask", &json!({}));
    let other = admin.in_tenant(&admin.tenant("other"));
    for last in [None, Some("x"), Some("1")] {
        let request = other.get(&path(&id));
        let request = match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        };
        request.refused(404, "EXECUTION_NOT_FOUND");
    }
    // What names no event of it: no id at all, and one that it has not come to.
    let entries = history(&admin, &id).len().to_string();
    for last in ["x", "-2", "1.x", entries.as_str(), "9223372036854775807"] {
        let refused = admin.get(&path(&id)).header("Last-Event-ID", last).refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["Last-Event-ID"], "{last}");
    }
    // Who may not look any more is told so.
    let (user, key) = admin.user("ada@example.org", &["tenant_viewer"]);
    let mut theirs = stream(&server.client(&key), &id, None);
    told(&mut theirs, is_suspended);
    admin.delete(&format!("/v1/users/{user}")).answer(204);
    assert_eq!(to_the_end(&mut theirs), (Vec::new(), "forbidden".to_owned()));
    server.stop();
}

fn a_farewell_is_said_and_nothing_lost(place: &Place) {
    let server = place.start();
    let admin = server.admin();
    let core = admin.run("Asks", &asking_in_between());
    let id = start(&admin, &core, "ask", &json!({}));
    let mut following = stream(&admin, &id, None);
    let heard = told(&mut following, is_suspended);
    server.terminate();
    assert_eq!(to_the_end(&mut following), (Vec::new(), "shutdown".to_owned()));
    assert!(server.ended().success());
    let server = place.start();
    let admin = server.of(&admin);
    admin.status_becomes(&core, "running");
    let last = heard.last().unwrap();
    let mut again = stream(&admin, &id, Some(id_of(last)));
    admin.resolve(last.data["checkpoints"][0].as_str().unwrap(), "yes");
    let (rest, reason) = to_the_end(&mut again);
    assert_eq!(reason, "completed");
    assert_eq!([entries(&heard), entries(&rest)].concat(), history(&admin, &id));
    server.stop();
}
