//! Calls of models: prompts, answers, and what is done about bad ones.

use serde_json::{Value as Json, json};

use crate::world::{World, begin, completed, flow, gives, program, replays, said, value};
use scaigrid_ir::Value;
use scaigrid_runtime::{
    CheckpointRequest, Effect, EffectKind, ModelAnswer, ModelCallRequest, Outcome, Program, Step,
};

fn request(world: &World) -> ModelCallRequest {
    let EffectKind::ModelCall(request) = world.open_of("model_call").remove(0).kind else { panic!() };
    *request
}

fn answer(world: &mut World, program: &Program, content: &str) -> Step {
    world.resolve(world.open_of("model_call")[0].id, said(content, 30));
    world.run(program)
}

fn code(step: &Step) -> &str {
    match step {
        Step::Failed(failure) => &failure.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_model_call_asks_once_and_gives_the_text() {
    let program = flow(&json!([{ "kind": "model_call", "prompt": "Say ${x}.", "timeout": "10s",
        "params": { "top_p": "0.5", "max_tokens": "40 + 2" } }]));
    let mut world = World::start(&program, &json!({ "x": "hi" }));
    world.run(&program);
    let asked = request(&world);
    assert_eq!(&*asked.role, "primary");
    assert_eq!(
        asked.messages,
        value(
            &json!([{ "role": "system", "content": "House rules." }, { "role": "user", "content": "Say hi." }])
        )
    );
    assert_eq!(asked.params, value(&json!({ "temperature": 0.5, "top_p": 0.5 })));
    assert_eq!((asked.schema, asked.max_output_tokens), (None, Some(42)));
    assert_eq!(asked.timeout.map(|span| span.as_secs()), Some(10));
    assert_eq!(completed(&answer(&mut world, &program, "hi there")), json!("hi there"));
    replays(&program, &world);

    let typed =
        flow(&json!([{ "kind": "model_call", "role": "fast", "messages": "[{role: 'user', content: x}]",
        "output_type": "array[int]" }]));
    for (content, expected) in
        [("```json\n[1, 2]\n```", Ok(json!([1, 2]))), ("[1.5]", Err(())), ("hm", Err(()))]
    {
        let mut world = World::start(&typed, &json!({ "x": "hi" }));
        world.run(&typed);
        let asked = request(&world);
        assert_eq!(asked.messages, value(&json!([{ "role": "user", "content": "hi" }])));
        assert_eq!(asked.schema.unwrap().to_json()["type"], json!("array"));
        let step = answer(&mut world, &typed, content);
        match expected {
            Ok(json) => assert_eq!(completed(&step), json),
            Err(()) => assert_eq!(code(&step), "OUTPUT_INVALID"),
        }
    }
    let shapeless = json!([{ "kind": "model_call", "messages": "[x]" }]);
    assert_eq!(
        &*crate::world::failure(&shapeless, &json!({ "x": { "role": "user" } })).code,
        "TYPE_MISMATCH"
    );
    let mut world = World::start(&typed, &json!({ "x": "hi" }));
    world.run(&typed);
    world.resolve(world.pending()[0], Outcome::Value(7.into()));
    assert_eq!(code(&world.run(&typed)), "MODEL_ERROR", "what is no answer is an error");
}

fn flexible(more: &Json) -> Program {
    let mut block = json!({ "kind": "flexible", "id": "f", "goal": "Classify ${x}.", "output_type": { "n": "int" },
        "input_bindings": { "given": "x" }, "guidance": "Be ${identity.persona}.",
        "constraints": { "never": ["guess"] } });
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    flow(&json!([block]))
}

fn asked(more: &Json) -> (Program, World) {
    let program = flexible(more);
    let mut world = World::start(&program, &json!({ "x": "mail" }));
    world.run(&program);
    (program, world)
}

#[test]
fn a_generation_asks_with_all_its_parts_and_checks_the_answer() {
    let (program, mut world) = asked(&json!({ "context_bindings": { "region": "env.REGION" },
        "examples": [{ "input": "a", "output": { "n": 1 } }] }));
    let asked = request(&world);
    let messages = asked.messages.to_json();
    assert_eq!(
        messages[0]["content"],
        json!("House rules.\n\nYou are Ada. calm\nSpeak en.\n\n# Rules\nNever: guess")
    );
    let user = messages[1]["content"].as_str().unwrap();
    for part in [
        "# Goal\nClassify mail.",
        "# Guidance\nBe calm.",
        "# Context\n{\"region\":\"eu\"}",
        "Input: \"a\"\nOutput: {\"n\":1}",
        "# Input\n{\"given\":\"mail\"}",
        "\"required\":[\"n\"]",
    ] {
        assert!(user.contains(part), "{part} in {user}");
    }
    assert_eq!(asked.schema.unwrap().to_json()["required"], json!(["n"]));
    assert_eq!(completed(&answer(&mut world, &program, "{\"n\": 4}")), json!({ "n": 4 }));
    replays(&program, &world);
}

#[test]
fn a_bad_answer_is_told_and_asked_for_again_within_bounds() {
    let (program, mut world) = asked(&json!({}));
    assert_eq!(answer(&mut world, &program, "no idea"), Step::Suspended);
    let messages = request(&world).messages.to_json();
    assert_eq!(messages.as_array().unwrap().len(), 4);
    assert_eq!(messages[2], json!({ "role": "assistant", "content": "no idea" }));
    assert!(messages[3]["content"].as_str().unwrap().contains("it is no JSON"), "{messages}");
    assert_eq!(answer(&mut world, &program, "{\"n\": \"x\"}"), Step::Suspended);
    let messages = request(&world).messages.to_json();
    assert_eq!(messages.as_array().unwrap().len(), 4, "only the last answer is told");
    assert!(messages[3]["content"].as_str().unwrap().contains("n: expected int"), "{messages}");
    let step = answer(&mut world, &program, "still not");
    assert_eq!(code(&step), "OUTPUT_INVALID");
    replays(&program, &world);

    let (program, mut world) = asked(&json!({ "budget": { "max_retries": 0 } }));
    assert_eq!(code(&answer(&mut world, &program, "no")), "OUTPUT_INVALID");
    let (program, mut world) = asked(&json!({}));
    answer(&mut world, &program, "no");
    assert_eq!(completed(&answer(&mut world, &program, "{\"n\": 1}")), json!({ "n": 1 }));
}

#[test]
fn handlers_retry_with_their_own_words_and_then_ask_a_person() {
    let more = json!({ "on_failure": [{ "kind": "parse_error", "actions": [
        { "action": "retry", "max": 1, "with": "Mind ${x}." },
        { "action": "flag_and_checkpoint", "assignee": "user:${x}", "priority": "high", "timeout": "1h" }] }] });
    let flagged = || {
        let (program, mut world) = asked(&more);
        answer(&mut world, &program, "bad");
        let told = request(&world).messages.to_json();
        assert!(
            told[3]["content"].as_str().unwrap().ends_with("Mind mail. Answer again, in full."),
            "{told}"
        );
        answer(&mut world, &program, "{\"n\": \"worse\"}");
        (program, world)
    };
    let decide = |decision: &str, data: Json| {
        let (program, mut world) = flagged();
        let mut answer = crate::world::decided(decision).to_json();
        answer["response_data"] = data;
        world.resolve(world.pending()[0], Outcome::Value(value(&answer)));
        let step = world.run(&program);
        replays(&program, &world);
        step
    };
    let (_, world) = flagged();
    let EffectKind::Checkpoint(request) = &world.open()[0].kind else { panic!() };
    let CheckpointRequest { checkpoint_type, options, assignee, payload, timeout, .. } = &**request;
    assert_eq!((&**checkpoint_type, assignee.as_deref()), ("flagged_output", Some("user:mail")));
    assert_eq!(options.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["accept", "mend", "reject"]);
    assert_eq!(payload.get("output").map(Value::to_json), Some(json!("{\"n\": \"worse\"}")));
    assert_eq!(timeout.map(|span| span.as_secs()), Some(3600));

    assert_eq!(completed(&decide("mend", json!({ "n": 8 }))), json!({ "n": 8 }));
    assert_eq!(code(&decide("mend", json!({ "n": "x" }))), "OUTPUT_INVALID");
    assert_eq!(code(&decide("accept", json!(null))), "OUTPUT_INVALID", "it is not of the type");
    assert_eq!(code(&decide("reject", json!(null))), "OUTPUT_INVALID");
}

#[test]
fn conditions_tell_what_the_platform_cannot_see() {
    let more = json!({ "on_failure": [
        { "kind": "low_confidence", "when": "output.n < 3 && given == 'mail'", "actions": ["escalate"] },
        { "kind": "hallucination", "when": "output.n > 100", "actions": ["retry"] }] });
    let (program, mut world) = asked(&more);
    assert_eq!(answer(&mut world, &program, "{\"n\": 1}"), Step::Suspended);
    let EffectKind::Checkpoint(request) = &world.open()[0].kind else { panic!() };
    assert_eq!((&*request.checkpoint_type, request.options.len()), ("escalation", 2));
    let mut decision = crate::world::decided("answer").to_json();
    decision["response_data"] = json!({ "n": 2 });
    world.resolve(world.pending()[0], Outcome::Value(value(&decision)));
    assert_eq!(completed(&world.run(&program)), json!({ "n": 2 }), "a person has the last word");

    let (program, mut world) = asked(&more);
    answer(&mut world, &program, "{\"n\": 500}");
    assert_eq!(code(&answer(&mut world, &program, "{\"n\": 500}")), "HALLUCINATION");

    let (program, mut world) = asked(&json!({}));
    let refusal = ModelAnswer {
        content: "I cannot.".into(),
        model: "echo".into(),
        finish_reason: "content_filter".into(),
        input_tokens: 1,
        output_tokens: 1,
        cost: rust_decimal::Decimal::ZERO,
    };
    world.resolve(world.pending()[0], Outcome::Value(refusal.to_value()));
    assert_eq!(code(&world.run(&program)), "MODEL_REFUSED");
}

#[test]
fn conditions_before_and_after_guard_a_generation() {
    let guarded = |instead: bool| {
        let mut more = json!({ "kind": "guarded", "guard": ["given != 'spam'"], "validate": "output.n > 0" });
        if instead {
            more["on_validation_failure"] = json!([gives("[output, violation]")]);
        }
        flexible(&more)
    };
    let program = guarded(false);
    let mut world = World::start(&program, &json!({ "x": "spam" }));
    assert_eq!(code(&world.run(&program)), "GuardViolationError", "the model is not even asked");
    let mut world = World::start(&program, &json!({ "x": "mail" }));
    world.run(&program);
    assert_eq!(code(&answer(&mut world, &program, "{\"n\": 0}")), "GuardViolationError");
    let mut world = World::start(&program, &json!({ "x": "mail" }));
    world.run(&program);
    assert_eq!(completed(&answer(&mut world, &program, "{\"n\": 1}")), json!({ "n": 1 }));

    let program = guarded(true);
    let mut world = World::start(&program, &json!({ "x": "spam" }));
    assert_eq!(completed(&world.run(&program)), json!([null, "the condition 1 of guard does not hold"]));
    let mut world = World::start(&program, &json!({ "x": "mail" }));
    world.run(&program);
    assert_eq!(
        completed(&answer(&mut world, &program, "{\"n\": 0}")),
        json!([{ "n": 0 }, "the condition 1 of validate does not hold"])
    );
    replays(&program, &world);
}

#[test]
fn a_violation_may_be_told_to_the_model_before_it_is_one() {
    let program = flexible(&json!({ "kind": "guarded", "validate": "output.n > 0",
        "on_failure": [{ "kind": "constraint_violation", "actions": [{ "action": "retry", "max": 1 }] }] }));
    let mut world = World::start(&program, &json!({ "x": "mail" }));
    world.run(&program);
    assert_eq!(answer(&mut world, &program, "{\"n\": 0}"), Step::Suspended);
    assert_eq!(code(&answer(&mut world, &program, "{\"n\": 0}")), "GuardViolationError");
}

#[test]
fn plain_text_needs_no_schema() {
    let (program, mut world) = asked(&json!({ "output_type": "string", "identity_ref": false,
        "constraints": { "inherit": false } }));
    let asked = request(&world);
    assert_eq!(asked.schema, None);
    let messages = asked.messages.to_json();
    assert_eq!(messages[0]["content"], json!("House rules."));
    assert!(!messages[1]["content"].as_str().unwrap().contains("# Output"));
    assert_eq!(completed(&answer(&mut world, &program, "Hello.")), json!("Hello."));
}

#[test]
fn the_triage_example_runs() {
    let document: Json =
        serde_json::from_str(include_str!("../../../../examples/support-triage.json")).unwrap();
    let (module, found) = scaigrid_ir::load::check(&document);
    assert!(module.is_some() && found.is_empty(), "{found:?}");
    let program = program(&document);
    for (plugin_works, greeting) in [(true, "Kim"), (false, "there")] {
        let mut world =
            World::start_with(&program, begin("chat", &json!({ "message": "My card was charged twice." })));
        assert_eq!(world.run(&program), Step::Suspended);
        assert_eq!(answer(&mut world, &program, r#"{"topic": "billing", "urgent": true}"#), Step::Suspended);
        let Effect { id, kind: EffectKind::PluginCall(request), .. } = world.open().remove(0) else {
            panic!()
        };
        assert_eq!(request.args, value(&json!({ "id": "anonymous" })));
        if plugin_works {
            world.resolve(id, Outcome::Value(value(&json!({ "name": "Kim" }))));
        } else {
            world.fail(id, "PLUGIN_UNREACHABLE");
        }
        let expected = format!("Hello {greeting}, this is about billing.");
        assert_eq!(completed(&world.run(&program)), json!({ "response": expected }));
        replays(&program, &world);
    }
}
