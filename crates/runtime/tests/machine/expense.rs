//! The expense approval example, from its submission to its booking.

use serde_json::{Value as Json, json};

use crate::world::{World, begin, completed, decided, expired, program, value};
use scaigrid_runtime::journal::{decode_chunk, encode_chunk, replay};
use scaigrid_runtime::{EffectKind, Machine, Outcome, Program, Step};

fn document() -> Json {
    serde_json::from_str(include_str!("../../../../examples/expense-approval.json")).unwrap()
}

fn submitted(program: &Program, amount: i64) -> World {
    let input = json!({ "employee": "Kim", "lines": [
        { "label": "train", "amount": 40 }, { "label": "laptop", "amount": amount }] });
    World::start_with(program, begin("submit", &input))
}

#[test]
fn a_small_report_is_booked_at_once() {
    let program = program(&document());
    let mut world = submitted(&program, 60);
    assert_eq!(completed(&world.run(&program)), json!({ "decision": "approve", "total": 100 }));
    assert_eq!(
        world.seen,
        ["log report of Kim: 100", r#"event expense.booked {"employee":"Kim","total":100}"#]
    );
    let booked = &world.memory["booked"]["exec_1"];
    assert_eq!(booked.to_json(), json!({ "employee": "Kim", "total": 100 }));
}

#[test]
fn a_large_report_waits_for_a_person() {
    let program = program(&document());
    for (decision, booked) in [("approve", true), ("reject", false)] {
        let mut world = submitted(&program, 5000);
        assert_eq!(world.run(&program), Step::Suspended);
        let effect = world.machine.pending()[0].clone();
        let EffectKind::Checkpoint(request) = &effect.kind else { panic!("{effect:?}") };
        assert_eq!(&*request.prompt, "Approve 5040 for Kim?");
        assert_eq!(request.assignee.as_deref(), Some("role:tenant_admin"));

        // The process ends here; another one goes on from the bytes, or from the journal.
        let bytes = world.machine.encode();
        assert!(bytes.len() < 700, "{} bytes", bytes.len());
        let replayed = replay(&program, &decode_chunk(&encode_chunk(&world.journal)).unwrap()).unwrap();
        assert_eq!(replayed.encode(), bytes);
        world.machine = Machine::decode(&bytes).unwrap();

        world.decide(effect.id, decision);
        assert_eq!(completed(&world.run(&program)), json!({ "decision": decision, "total": 5040 }));
        assert_eq!(world.memory.contains_key("booked"), booked);
        let last = if booked {
            r#"event expense.booked {"employee":"Kim","total":5040}"#
        } else {
            "log rejected: fine"
        };
        assert_eq!(world.seen.last().map(String::as_str), Some(last));
        assert_eq!(replay(&program, &world.journal).unwrap().encode(), world.machine.encode());
    }
}

#[test]
fn an_expiry_fails_the_flow_unless_it_is_caught() {
    let program = program(&document());
    let mut world = submitted(&program, 5000);
    world.run(&program);
    world.resolve(world.pending()[0], expired());
    let step = world.run(&program);
    let Step::Failed(failure) = &step else { panic!("{step:?}") };
    assert_eq!((&*failure.code, failure.block.as_deref()), ("CHECKPOINT_EXPIRED", Some("approve")));

    let mut document = document();
    let body = document["flows"][0]["body"].as_array_mut().unwrap();
    let approve = body.remove(1);
    body.insert(1, json!({ "kind": "try", "body": [approve], "catch": [{ "code": "CHECKPOINT_EXPIRED", "body": [
        { "kind": "rigid", "statements": [
            { "kind": "let", "name": "answer", "value": "{decision: 'reject', comment: 'too late'}" }] }] }] }));
    let program = crate::world::program(&document);
    let mut world = submitted(&program, 5000);
    world.run(&program);
    world.resolve(world.pending()[0], expired());
    assert_eq!(completed(&world.run(&program)), json!({ "decision": "reject", "total": 5040 }));
    assert_eq!(world.seen.last().map(String::as_str), Some("log rejected: too late"));
}

#[test]
fn an_event_forwards_to_a_submission() {
    let program = program(&document());
    let data = json!({ "employee": "Kim", "lines": [] });
    let start = begin("on_submitted", &json!({ "event": "expense.submitted", "data": data }));
    let mut world = World::start_with(&program, start);
    world.run(&program);
    let effect = world.machine.pending()[0].clone();
    let EffectKind::CoreCall(request) = &effect.kind else { panic!("{effect:?}") };
    assert_eq!((&*request.target, &*request.flow_name), ("core://self", "submit"));
    assert_eq!(request.input, value(&data));
    world.resolve(effect.id, Outcome::Value(decided("approve")));
    assert_eq!(completed(&world.run(&program))["decision"], json!("approve"));
}

#[test]
fn the_history_says_what_happened() {
    let program = program(&document());
    let mut world = submitted(&program, 5000);
    world.run(&program);
    world.decide(world.pending()[0], "approve");
    world.run(&program);
    let names: Vec<String> = world
        .journal
        .iter()
        .map(|entry| {
            let json = entry.to_json();
            format!("{}:{}", json["type"].as_str().unwrap(), json["kind"].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        names,
        [
            "started:",
            "effect:log",
            "effect:checkpoint",
            "outcome:",
            "effect:memory",
            "effect:emit",
            "completed:"
        ]
    );
    let checkpoint = world.journal[2].to_json();
    assert_eq!(checkpoint["request"]["timeout_s"], json!(3600.0));
    assert_eq!(checkpoint["request"]["priority"], json!("high"));
}
