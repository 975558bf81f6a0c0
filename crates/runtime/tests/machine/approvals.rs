//! Plugin calls that run only with a person's approval of exactly their arguments.

use serde_json::{Value as Json, json};

use crate::world::{World, completed, flow, replays, value};
use scaigrid_ir::Value;
use scaigrid_runtime::effect::action_hash;
use scaigrid_runtime::{EffectKind, Machine, Outcome, Program, Step};

/// Asks for approval of a payment, then pays `paid`, and once more where `x` says so.
fn payment(asked: &str, paid: &str) -> Program {
    let pay = |args: &str| json!({ "kind": "plugin_call", "alias": "crm", "method": "pay", "args": { "amount": args } });
    flow(&json!([
        { "kind": "checkpoint", "id": "ok", "checkpoint_type": "approval", "present": { "prompt": "Pay?" },
          "options": ["approve", "reject"], "required_approvals": 2, "exclude_requester": true,
          "form": { "type": "object", "required": ["reason"] },
          "action": { "alias": "crm", "method": "pay", "args": { "amount": asked }, "expires_in": "1h" } },
        { "kind": "try", "body": [{ "kind": "rigid", "statements": [
            { "kind": "if", "condition": "x == 'twice'", "then": [pay(paid)] }, pay(paid)] }],
          "catch": [{ "as": "e", "body": [crate::world::gives("e.code")] }] }]))
}

/// An answer given at this second.
fn answer(decision: &str, second: i64) -> Outcome {
    let mut answer = crate::world::decided(decision).as_object().unwrap().clone();
    answer.insert("resolved_at".into(), Value::Datetime(second * 1_000_000));
    Outcome::Value(Value::object(answer))
}

/// What becomes of the payment: the call's approval, or the error.
fn outcome(program: &Program, x: &str, decision: &str, second: i64) -> Json {
    let mut world = World::start(program, &json!({ "x": x }));
    world.run(program);
    world.resolve(world.pending()[0], answer(decision, second));
    loop {
        match world.run(program) {
            Step::Completed(value) => {
                replays(program, &world);
                return value.to_json();
            }
            Step::Suspended => {
                // Whoever goes on is another process.
                world.machine = Machine::decode(&world.machine.encode()).unwrap();
                let call = world.open().remove(0);
                let EffectKind::PluginCall(request) = &call.kind else { panic!("{call:?}") };
                assert_eq!(request.approved_by.map(|checkpoint| checkpoint.0), Some(0));
                world.resolve(call.id, Outcome::Value("paid".into()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_person_sees_what_is_allowed() {
    let program = payment("x", "x");
    let mut world = World::start(&program, &json!({ "x": 5 }));
    world.run(&program);
    let EffectKind::Checkpoint(request) = &world.open()[0].kind else { panic!() };
    let action = request.action.as_ref().unwrap();
    assert_eq!((&*action.alias, &*action.method), ("crm", "pay"));
    assert_eq!(action.args, value(&json!({ "amount": 5 })));
    assert_eq!(action.hash, action_hash(&"crm".into(), &"pay".into(), &action.args));
    assert_eq!((request.required_approvals, request.exclude_requester), (Some(2), true));
    assert_eq!(
        request.form.as_ref().map(Value::to_json),
        Some(json!({ "type": "object", "required": ["reason"] }))
    );
    let history = world.journal[1].to_json();
    assert_eq!(history["request"]["action"]["hash"], json!(&*action.hash));
}

#[test]
fn a_call_runs_with_a_fitting_grant_and_once() {
    assert_eq!(outcome(&payment("5", "5"), "once", "approve", 0), json!("paid"));
    assert_eq!(outcome(&payment("5", "2 + 3"), "once", "approve", 0), json!("paid"));
    assert_eq!(outcome(&payment("5", "5"), "twice", "approve", 0), json!("APPROVAL_USED"));
}

#[test]
fn without_a_fitting_grant_nothing_is_called() {
    assert_eq!(outcome(&payment("5", "5"), "once", "reject", 0), json!("APPROVAL_REQUIRED"));
    assert_eq!(outcome(&payment("5", "6"), "once", "approve", 0), json!("APPROVAL_MISMATCH"));
    assert_eq!(outcome(&payment("5", "5.0"), "once", "approve", 0), json!("APPROVAL_MISMATCH"));
    // The world's clock stands at a few seconds.
    assert_eq!(outcome(&payment("5", "5"), "once", "approve", -3590), json!("paid"));
    assert_eq!(outcome(&payment("5", "5"), "once", "approve", -3610), json!("APPROVAL_EXPIRED"));
}

#[test]
fn a_grant_is_used_up_when_the_call_is_asked_for_not_when_it_succeeds() {
    let program = flow(&json!([
        { "kind": "checkpoint", "checkpoint_type": "approval", "present": { "prompt": "Pay?" }, "options": ["approve"],
          "action": { "alias": "crm", "method": "pay", "args": {} } },
        { "kind": "rigid", "retry": { "max": 1, "backoff": { "jitter": false } }, "statements": [
            { "kind": "plugin_call", "alias": "crm", "method": "pay" }] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.decide(world.pending()[0], "approve");
    world.run(&program);
    world.fail(world.pending()[0], "PLUGIN_TIMEOUT");
    world.run(&program);
    world.resolve(world.pending()[0], Outcome::Value(Value::Datetime(0)));
    let step = world.run(&program);
    assert!(matches!(&step, Step::Failed(failure) if &*failure.code == "APPROVAL_USED"), "{step:?}");
}

#[test]
fn other_tools_need_no_approval() {
    let program = flow(&json!([
        { "kind": "rigid", "statements": [{ "kind": "plugin_call", "alias": "crm", "method": "find" }] },
        { "kind": "checkpoint", "checkpoint_type": "approval", "present": { "prompt": "Pay?" }, "options": ["approve"],
          "action": { "alias": "crm", "method": "pay" } }]));
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    let EffectKind::PluginCall(request) = &world.open()[0].kind else { panic!() };
    assert_eq!(request.approved_by, None);
    world.resolve(world.pending()[0], Outcome::Value(1.into()));
    world.run(&program);
    world.decide(world.pending()[0], "approve");
    completed(&world.run(&program));
}
