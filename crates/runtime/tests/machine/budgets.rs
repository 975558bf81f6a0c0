//! Budgets: nothing is asked for that they do not cover.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::world::{World, completed, flow, gives, note, replays, said, value};
use scaigrid_ir::Value;
use scaigrid_runtime::{
    EffectKind, Expense, Failure, Machine, ModelAnswer, ModelCallRequest, Outcome, Program, Step,
};

fn requests(world: &World) -> Vec<ModelCallRequest> {
    let open = world.open_of("model_call").into_iter();
    open.map(|effect| match effect.kind {
        EffectKind::ModelCall(request) => *request,
        other => panic!("{other:?}"),
    })
    .collect()
}

fn model(prompt: &str) -> Json {
    json!({ "kind": "model_call", "role": "fast", "prompt": prompt })
}

/// So many calls side by side, each caught by its iteration.
fn many(count: u32, call: &Json) -> Json {
    json!({ "kind": "foreach", "items": (1..=count).collect::<Vec<_>>(), "var": "i", "max_concurrent": count,
        "on_error": "collect", "body": [call] })
}

fn budget(bounds: &Json, body: &Json, on_exceeded: Option<Json>) -> Program {
    let mut block = json!({ "kind": "budget", "id": "b", "body": body });
    for (key, value) in bounds.as_object().unwrap() {
        block[key] = value.clone();
    }
    if let Some(body) = on_exceeded {
        block["on_exceeded"] = body;
    }
    flow(&json!([block]))
}

fn code(step: &Step) -> &str {
    match step {
        Step::Failed(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

/// An answer that cost so many cents.
fn cost(cents: i64) -> Outcome {
    let Outcome::Value(answer) = said("done", 20) else { panic!() };
    let answer =
        ModelAnswer { cost: rust_decimal::Decimal::new(cents, 2), ..ModelAnswer::of_value(&answer).unwrap() };
    Outcome::Value(answer.to_value())
}

#[test]
fn a_budget_for_three_of_fifty_concurrent_calls() {
    for call in [
        model("hi"),
        json!({ "kind": "rigid", "statements": [{ "kind": "plugin_call", "alias": "crm", "method": "find" }] }),
    ] {
        let program = budget(&json!({ "max_calls": 3 }), &json!([many(50, &call)]), None);
        let mut world = World::start(&program, &json!({}));
        assert_eq!(world.run(&program), Step::Suspended);
        let open = world.pending();
        assert_eq!(open.len(), 3);
        for id in open {
            world.resolve(id, said("done", 10));
            world.run(&program);
        }
        let Some(scaigrid_runtime::End::Completed(all)) = world.machine.end() else { panic!() };
        let all = all.to_json();
        let refused = all.as_array().unwrap().iter().filter(|one| one["error"]["code"] == "BUDGET_EXCEEDED");
        assert_eq!(refused.count(), 47);
        replays(&program, &world);
    }
}

#[test]
fn a_call_carries_what_is_left_of_the_tokens() {
    let program =
        budget(&json!({ "max_tokens": 200 }), &json!([model("hi"), model("hi"), model("hi")]), None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let first = requests(&world)[0].max_output_tokens.unwrap();
    assert!(first < 200 && first > 150, "{first}");
    world.resolve(world.pending()[0], said("done", 60));
    world.run(&program);
    assert_eq!(requests(&world)[0].max_output_tokens, Some(first - 60));
    world.resolve(world.pending()[0], said("done", 139));
    assert_eq!(code(&world.run(&program)), "BUDGET_EXCEEDED", "one token is too few to ask with");
    replays(&program, &world);
}

#[test]
fn calls_that_need_what_others_hold_wait_their_turn() {
    let program = budget(&json!({ "max_tokens": 400 }), &json!([many(3, &model("hi"))]), None);
    let mut world = World::start(&program, &json!({}));
    assert_eq!(world.run(&program), Step::Suspended);
    assert_eq!(world.pending().len(), 1, "the first holds everything");
    for tokens in [100, 100] {
        world.machine = Machine::decode(&world.machine.encode()).unwrap();
        world.resolve(world.pending()[0], said("done", tokens));
        assert_eq!(world.run(&program), Step::Suspended);
        assert_eq!(world.pending().len(), 1);
    }
    world.resolve(world.pending()[0], said("done", 10));
    assert_eq!(completed(&world.run(&program)), json!(["done", "done", "done"]));
    replays(&program, &world);

    // With a bound of their own they run side by side as far as there is room.
    let mut bounded = model("hi");
    bounded["params"] = json!({ "max_tokens": 100 });
    let program = budget(&json!({ "max_tokens": 400 }), &json!([many(9, &bounded)]), None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.pending().len(), 3);
}

#[test]
fn money_is_held_and_settled() {
    let program = budget(&json!({ "max_cost": "0.10" }), &json!([many(3, &model("hi"))]), None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let most = |world: &World| requests(world)[0].max_cost.as_ref().map(Value::to_json);
    assert_eq!(most(&world), Some(json!("0.10")));
    world.resolve(world.pending()[0], cost(4));
    world.run(&program);
    assert_eq!(most(&world), Some(json!("0.06")));
    world.resolve(world.pending()[0], cost(6));
    let all = completed(&world.run(&program));
    assert_eq!((&all[1], &all[2]["error"]["code"]), (&json!("done"), &json!("BUDGET_EXCEEDED")));
    replays(&program, &world);
}

#[test]
fn budgets_within_budgets_all_hold() {
    let inner = json!({ "kind": "budget", "max_calls": 2, "body": [model("a"), model("b"), model("c")],
        "on_exceeded": [note("inner"), model("d")] });
    let program = budget(
        &json!({ "max_calls": 3, "max_tokens": 100_000 }),
        &json!([inner, model("e")]),
        Some(json!([note("outer"), gives("'over'")])),
    );
    let mut world = World::start(&program, &json!({}));
    for _ in 0..3 {
        assert_eq!(world.run(&program), Step::Suspended);
        assert!(
            requests(&world)[0].max_output_tokens.is_some(),
            "the outer one bounds the inner one's calls"
        );
        world.resolve(world.pending()[0], said("done", 10));
    }
    assert_eq!(completed(&world.run(&program)), json!("over"));
    assert_eq!(world.seen, ["log inner", "log outer"]);
    replays(&program, &world);
}

#[test]
fn an_inner_budget_does_not_answer_for_the_outer_one() {
    let inner = json!({ "kind": "budget", "max_calls": 5, "body": [model("a"), model("b")], "on_exceeded": [note("inner")] });
    let program = budget(&json!({ "max_calls": 1 }), &json!([inner]), Some(json!([note("outer")])));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.pending()[0], said("done", 10));
    world.run(&program);
    assert_eq!(world.seen, ["log outer"]);
}

#[test]
fn time_is_a_budget_too() {
    let wait = json!({ "kind": "try", "body": [crate::world::ask("wait")], "catch": [{ "body": [note("caught")] }],
        "finally": [note("left")] });
    let program = budget(&json!({ "max_duration": "1m" }), &json!([wait]), Some(json!([gives("'late'")])));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.resolve(world.open_of("timer")[0].id, Outcome::Value(Value::Datetime(0)));
    assert_eq!(completed(&world.run(&program)), json!("late"));
    assert_eq!(world.seen, ["log left"]);
    let bare = budget(&json!({ "max_duration": "1m" }), &json!([crate::world::ask("wait")]), None);
    let mut world = World::start(&bare, &json!({}));
    world.run(&bare);
    world.resolve(world.open_of("timer")[0].id, Outcome::Value(Value::Datetime(0)));
    assert_eq!(code(&world.run(&bare)), "BUDGET_EXCEEDED");
    replays(&bare, &world);
}

#[test]
fn a_failed_call_has_spent_nothing_and_one_given_up_all_that_it_held() {
    let mut bounded = model("hi");
    bounded["params"] = json!({ "max_tokens": 100 });
    let body = json!([
        { "kind": "try", "body": [bounded], "catch": [{ "code": "MODEL_ERROR", "body": [] }] },
        { "kind": "try", "body": [{ "kind": "parallel", "timeout": "1m", "branches": [{ "name": "a", "body": [bounded] }] }],
          "catch": [{ "code": "TIMEOUT", "body": [] }] },
        model("hi")]);
    let program = budget(&json!({ "max_tokens": 300 }), &body, None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.pending()[0], "MODEL_ERROR");
    world.run(&program);
    let timer = world.open_of("timer")[0].id;
    world.resolve(timer, Outcome::Value(Value::Datetime(0)));
    assert_eq!(world.run(&program), Step::Suspended);
    let left = requests(&world)[0].max_output_tokens.unwrap();
    assert!(left < 200 && left > 140, "the call that was given up is counted: {left}");
    replays(&program, &world);
}

#[test]
fn a_failed_call_has_spent_what_its_failure_says() {
    let tried = json!({ "kind": "try", "body": [model("hi")], "catch": [{ "body": [] }] });
    let bounds = json!({ "max_tokens": 1000, "max_cost": "0.10" });
    let program = budget(&bounds, &json!([tried, model("hi")]), None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let before = requests(&world)[0].max_output_tokens.unwrap();
    let spent = Expense { tokens: 300, cost: rust_decimal::Decimal::new(4, 2) };
    let failure = Failure { spent: Some(Box::new(spent)), ..Failure::new("MODEL_ERROR", "it broke off") };
    let call = world.pending()[0];
    assert!(world.machine.is_budgeted(&program, call));
    world.resolve(call, Outcome::Error(failure));
    world.machine = Machine::decode(&world.machine.encode()).unwrap();
    world.run(&program);
    let request = requests(&world).remove(0);
    assert_eq!(request.max_output_tokens, Some(before - 300));
    assert_eq!(request.max_cost, Some(Value::Money(rust_decimal::Decimal::new(6, 2))));
    replays(&program, &world);
    // Where only calls are counted, none need keep to what another has left.
    let program = budget(&json!({ "max_calls": 2 }), &json!([model("hi")]), None);
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert!(!world.machine.is_budgeted(&program, world.pending()[0]));
}

#[test]
fn an_answer_that_came_before_its_call_was_given_up_is_what_it_cost() {
    let body = json!([
        { "kind": "parallel", "fail_fast": true, "branches": [
            { "name": "a", "body": [{ "kind": "rigid", "statements": [{ "kind": "sleep", "duration": "1s" },
                { "kind": "fail", "code": "OWN" }] }] },
            { "name": "b", "body": [model("hi")] }] }]);
    let program = flow(&json!([{ "kind": "budget", "max_tokens": 1000, "body": [
        { "kind": "try", "body": body, "catch": [{ "body": [] }] }, model("hi")] }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    let (timer, call) = (world.open_of("timer")[0].id, world.open_of("model_call")[0].id);
    world.resolve(timer, Outcome::Value(Value::Datetime(0)));
    world.resolve(call, said("done", 100));
    world.run(&program);
    let left = requests(&world)[0].max_output_tokens.unwrap();
    assert!(left > 860 && left < 900, "{left}");
    assert_eq!(world.machine.take_abandoned(), []);
    replays(&program, &world);
}

#[test]
fn a_generation_has_a_budget_of_its_own() {
    let program = flow(&json!([{ "kind": "flexible", "goal": "Do.", "output_type": { "n": "int" },
        "budget": { "max_tokens": 500, "max_cost": 1, "max_duration": "10s", "max_retries": 9 } }]));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    assert_eq!(world.open_of("timer").len(), 1);
    let asked = requests(&world).remove(0);
    assert!(asked.max_output_tokens.is_some() && asked.max_cost == Some(Value::Money(1.into())), "{asked:?}");
    world.resolve(world.open_of("model_call")[0].id, said("not it", 450));
    assert_eq!(code(&world.run(&program)), "BUDGET_EXCEEDED", "asking again would cost too much");
    assert_eq!(world.machine.take_abandoned().len(), 1);
    replays(&program, &world);
    let refusal = value(&json!({}));
    assert!(ModelAnswer::of_value(&refusal).is_none());
}

#[test]
fn a_refusal_by_whoever_makes_the_calls_is_the_budgets_own() {
    let program =
        budget(&json!({ "max_cost": "0.01" }), &json!([model("hi")]), Some(json!([gives("'too dear'")])));
    let mut world = World::start(&program, &json!({}));
    world.run(&program);
    world.fail(world.pending()[0], "BUDGET_EXCEEDED");
    assert_eq!(completed(&world.run(&program)), json!("too dear"));
}

proptest! {
    /// However calls overlap and whatever they spend of what they were given, a budget is never overdrawn, and every
    /// call is answered or refused.
    #[test]
    fn no_course_of_events_overdraws_a_budget(
        most in 60..600_u64,
        cents in 1..40_i64,
        calls in 1..12_u32,
        own in prop::collection::vec(prop::option::of(1..200_u64), 1..10),
        answers in prop::collection::vec((any::<prop::sample::Index>(), 0.0..1.0_f64, 0..10_u8), 40),
    ) {
        let count = u32::try_from(own.len()).unwrap();
        let call = json!({ "kind": "model_call", "role": "fast", "prompt": "hi", "params": { "max_tokens": "own[i - 1]" } });
        let bounds = json!({ "max_tokens": most, "max_calls": calls, "max_cost": format!("0.{cents:02}") });
        let mut block = json!({ "kind": "budget", "id": "b", "body": [many(count, &call)] });
        for (key, value) in bounds.as_object().unwrap() {
            block[key] = value.clone();
        }
        let program = flow(&json!([
            { "kind": "rigid", "statements": [{ "kind": "let", "name": "own", "value": "x" }] }, block]));
        let mut world = World::start(&program, &json!({ "x": own }));
        let (mut tokens, mut cost, mut done) = (0, rust_decimal::Decimal::ZERO, 0);
        let amount = |request: &ModelCallRequest| match request.max_cost {
            Some(Value::Money(most)) => most,
            _ => panic!("the call is bounded"),
        };
        for (which, part, how) in answers {
            let step = world.run(&program);
            let open = world.open();
            let requests = requests(&world);
            let may: u64 = requests.iter().map(|request| request.max_output_tokens.unwrap()).sum();
            prop_assert!(tokens + may <= most, "{tokens} + {may} of {most}");
            let may_cost: rust_decimal::Decimal = requests.iter().map(amount).sum();
            prop_assert!(cost + may_cost <= rust_decimal::Decimal::new(cents, 2));
            prop_assert!(done + requests.len() <= calls as usize);
            if step != Step::Suspended {
                break;
            }
            let index = which.index(open.len());
            done += 1;
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                reason = "small numbers")]
            let spent = (requests[index].max_output_tokens.unwrap() as f64 * part) as u64;
            let paid = if how < 5 { amount(&requests[index]) } else { rust_decimal::Decimal::ZERO };
            if how == 0 {
                world.fail(open[index].id, "MODEL_ERROR");
                continue;
            }
            (tokens, cost) = (tokens + spent, cost + paid);
            if how == 1 {
                // It broke off in the middle.
                let spent = Some(Box::new(Expense { tokens: spent, cost: paid }));
                let failure = Failure { spent, ..Failure::new("MODEL_ERROR", "it broke off") };
                world.resolve(open[index].id, Outcome::Error(failure));
                continue;
            }
            let answer = ModelAnswer {
                content: "done".into(), model: "m".into(), finish_reason: "stop".into(),
                input_tokens: 0, output_tokens: spent, cost: paid,
            };
            world.resolve(open[index].id, Outcome::Value(answer.to_value()));
        }
        prop_assert!(matches!(world.run(&program), Step::Completed(_)));
        replays(&program, &world);
    }
}
