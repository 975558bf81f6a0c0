//! Instances of Cores, with engines that work.

use std::collections::BTreeMap;
use std::time::Duration;

use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_cores::{ConcurrencyMode, NewCore};
use scaigrid_engine::{Engine, Error, Invocation};
use scaigrid_ir::Value;
use scaigrid_persistence::events::{self, EventFilter};
use scaigrid_scope::CoreId;
use serde_json::json;
use tokio::sync::oneshot;

use crate::home::{Home, core, echo, program, scope};

crate::on_both_databases! {
    executions_of_an_entity_go_one_after_the_other,
    one_instance_makes_room_for_another,
    past_the_bound_callers_are_refused,
    past_the_bound_executions_wait,
    a_singleton_is_one_for_all,
    entities_are_named,
}

/// A node that works until it is dropped.
struct Working(Engine, #[expect(dead_code, reason = "dropping it ends the work")] oneshot::Sender<()>);

async fn work(home: &Home) -> Working {
    let engine = home.node().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = engine.clone();
    tokio::spawn(async move {
        running
            .run(async {
                let _ = stopped.await;
            })
            .await;
    });
    Working(engine, stop)
}

/// Counts its calls, by entity, and takes a while over it.
fn counting(more: &serde_json::Value) -> serde_json::Value {
    let flow = json!({"name": "count", "params": [{"name": "customer", "type": "string?"}], "body": [
        {"kind": "rigid", "statements": [
            {"kind": "memory", "op": "get", "target": "calls", "result_binding": "before"},
            {"kind": "let", "name": "i", "value": "0"}]},
        {"kind": "while", "condition": "i < 300", "max_iterations": 1000, "body": [
            {"kind": "rigid", "statements": [{"kind": "assign", "target": "i", "value": "i + 1"}]}]},
        {"kind": "rigid", "statements": [
            {"kind": "memory", "op": "set", "target": "calls", "value": "before + 1"},
            {"kind": "return", "value": "before + 1"}]}]});
    let mut program = program(&[flow], &json!({"memory": {"calls": {"type": "int", "default": 0}}}));
    for (name, value) in more.as_object().unwrap() {
        program[name] = value.clone();
    }
    program
}

fn entity(bounds: &serde_json::Value) -> serde_json::Value {
    let mut instance = json!({"mode": "entity", "key": "customer"});
    for (name, value) in bounds.as_object().unwrap() {
        instance[name] = value.clone();
    }
    counting(&json!({"instance": instance}))
}

fn call(customer: &str, wait: u64) -> Invocation {
    Invocation {
        flow: Some("count".into()),
        input: Value::from([("customer", Value::from(customer))]),
        instance_key: None,
        wait: Some(Duration::from_millis(wait)),
        by: None,
    }
}

async fn count(engine: &Engine, core: CoreId, customer: &str) -> Value {
    let standing = engine.invoke(scope(), core, call(customer, 20_000)).await.unwrap();
    assert_eq!(standing.execution.status, ExecutionStatus::Completed, "{:?}", standing.execution.error);
    standing.execution.output.unwrap()
}

/// What became of instances, oldest first.
async fn history(home: &Home, core: CoreId) -> Vec<String> {
    let mut connection = home.database.read().await.unwrap();
    let found =
        events::list(&mut connection, scope(), core, &EventFilter::default(), None, 100).await.unwrap();
    let told = |event: &events::CoreEvent| {
        let key = event.data.get("instance_key").map(ToString::to_string).unwrap_or_default();
        format!("{} {key} {}", event.name, event.data.get("reason").unwrap())
    };
    let mut told: Vec<String> = found.iter().map(told).collect();
    told.reverse();
    told
}

async fn executions_of_an_entity_go_one_after_the_other(home: &Home) {
    let one = work(home).await;
    // SQLite is one process's.
    let two = if home.database.is_shared() { Some(work(home).await) } else { None };
    let id = home.host(&one.0, core("Entity", entity(&json!({})))).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..60 {
        let node = if number % 2 == 0 { &one } else { two.as_ref().unwrap_or(&one) };
        let (engine, customer) = (node.0.clone(), format!("customer {}", number % 4));
        calls.spawn(async move { count(&engine, id, &customer).await });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
    // The counter is neither guarded nor atomic: two at once would have counted the same.
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for execution in home.executions(id).await {
        let key = execution.instance_key.unwrap().to_string();
        by_key.entry(key).or_default().push(execution.output.unwrap());
    }
    assert_eq!(by_key.len(), 4);
    for (key, mut outputs) in by_key {
        // Which of those that are sent at the same time is accepted first, nobody knows.
        outputs.sort_by_key(|output| if let Value::Int(count) = output { *count } else { 0 });
        let expected: Vec<Value> = (1..=15).map(Value::Int).collect();
        assert_eq!(outputs, expected, "{key}: one after the other");
    }
}

async fn one_instance_makes_room_for_another(home: &Home) {
    let node = work(home).await;
    let bounds = json!({"max_active_instances": 2, "overflow": "deactivate_lru"});
    let id = home.host(&node.0, core("Lru", entity(&bounds))).await;
    for customer in ["a", "b", "a", "c", "b"] {
        home.pass(Duration::from_millis(100));
        count(&node.0, id, customer).await;
    }
    let activated = |key: &str| format!("scaicore.activated {key} work");
    let passivated = |key: &str| format!("scaicore.passivated {key} overflow");
    let expected =
        [activated("a"), activated("b"), passivated("b"), activated("c"), passivated("a"), activated("b")];
    assert_eq!(history(home, id).await, expected, "the one idle longest goes");
    assert_eq!(count(&node.0, id, "a").await, Value::Int(3), "its memory stays");
}

async fn past_the_bound_callers_are_refused(home: &Home) {
    let node = work(home).await;
    let bounds = json!({"max_active_instances": 1, "overflow": "reject", "idle_timeout": "2s"});
    let id = home.host(&node.0, core("Reject", entity(&bounds))).await;
    count(&node.0, id, "a").await;
    let refused = node.0.invoke(scope(), id, call("b", 1_000)).await;
    assert!(matches!(refused, Err(Error::InstancesFull(_))), "{refused:?}");
    assert_eq!(count(&node.0, id, "a").await, Value::Int(2));
    home.pass(Duration::from_secs(2));
    node.0.fire_what_is_due().await.unwrap();
    assert_eq!(count(&node.0, id, "b").await, Value::Int(1));
    let told = history(home, id).await;
    assert_eq!(told[1], "scaicore.passivated a idle");
}

async fn past_the_bound_executions_wait(home: &Home) {
    let node = work(home).await;
    let bounds = json!({"max_active_instances": 1, "overflow": "queue", "idle_timeout": "2s"});
    let id = home.host(&node.0, core("Queue", entity(&bounds))).await;
    count(&node.0, id, "a").await;
    let waits = node.0.invoke(scope(), id, call("b", 300)).await.unwrap();
    assert_eq!(waits.execution.status, ExecutionStatus::Queued);
    home.pass(Duration::from_secs(2));
    node.0.fire_what_is_due().await.unwrap();
    for _ in 0..500 {
        let standing = node.0.standing(scope(), waits.execution.id).await.unwrap();
        if standing.execution.status == ExecutionStatus::Completed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("it still waits, though there is room");
}

async fn a_singleton_is_one_for_all(home: &Home) {
    let node = work(home).await;
    let new = NewCore { concurrency_mode: ConcurrencyMode::Singleton, ..core("One", counting(&json!({}))) };
    let id = home.host(&node.0, new).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (engine, customer) = (node.0.clone(), format!("{number}"));
        calls.spawn(async move { count(&engine, id, &customer).await });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
    let outputs: Vec<Value> =
        home.executions(id).await.into_iter().filter_map(|execution| execution.output).collect();
    assert_eq!(outputs, (1..=20).map(Value::Int).collect::<Vec<_>>());
}

async fn entities_are_named(home: &Home) {
    let node = work(home).await;
    let new = NewCore {
        concurrency_mode: ConcurrencyMode::Entity,
        entity_key_field: Some("customer".into()),
        ..core(
            "Named",
            program(&[echo("main")], &json!({"subscriptions": [{"event": "paid", "flow": "main"}]})),
        )
    };
    let id = home.host(&node.0, new).await;
    let unnamed = Invocation { input: Value::Null, flow: None, ..call("x", 1_000) };
    let refused = node.0.invoke(scope(), id, unnamed.clone()).await;
    assert!(
        matches!(&refused, Err(Error::EntityKey(problem)) if problem.field() == "customer"),
        "{refused:?}"
    );
    let named = Invocation { instance_key: Some("eve".into()), ..unnamed };
    let standing = node.0.invoke(scope(), id, named).await.unwrap();
    assert_eq!(standing.execution.instance_key.as_deref(), Some("eve"));
    let refused = node.0.send_event(scope(), id, "paid", Value::Null, None).await;
    assert!(matches!(refused, Err(Error::EntityKey(_))), "{refused:?}");
    let data = Value::from([("customer", Value::Int(7))]);
    let sent = node.0.send_event(scope(), id, "paid", data, None).await.unwrap();
    let started = node.0.standing(scope(), sent.executions[0]).await.unwrap();
    assert_eq!(started.execution.instance_key.as_deref(), Some("7"));
}
