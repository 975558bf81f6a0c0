//! Slots of schedules: each is one execution, whatever happens.

use std::time::Duration;

use scaigrid_cores::Status;
use scaigrid_cores::execution::{Execution, Origin};
use scaigrid_ir::Value;
use serde_json::json;

use crate::home::{Home, at, core, echo, program};

crate::on_both_databases! {
    a_slot_is_one_execution_on_any_number_of_nodes,
    what_was_missed_is_caught_up_as_declared,
    a_core_that_does_not_run_has_no_timers,
    a_new_program_brings_its_own_schedules,
    a_clock_that_is_put_back_repeats_nothing,
    what_breaks_off_is_served_later_and_once,
}

fn every(cron: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut trigger = json!({"kind": "schedule", "name": "tick", "target_flow": "main", "cron": cron});
    for (name, value) in more.as_object().unwrap() {
        trigger[name] = value.clone();
    }
    program(&[echo("main")], &json!({"triggers": [trigger]}))
}

fn scheduled(execution: &Execution) -> String {
    let Some(Value::Datetime(micros)) = execution.input.get("scheduled_at") else { return "none".into() };
    scaigrid_scope::Instant::from_micros(*micros).to_string()
}

async fn slots(home: &Home, core: scaigrid_scope::CoreId) -> Vec<String> {
    home.executions(core).await.iter().map(scheduled).collect()
}

async fn a_slot_is_one_execution_on_any_number_of_nodes(home: &Home) {
    let nodes = [home.node().await, home.node().await, home.node().await];
    let id = home.host(&nodes[0], core("Tick", every("* * * * *", &json!({})))).await;
    assert_eq!(home.timers().await[0].due_at, at("2026-11-20T10:01:00Z"));
    for _ in 0..20 {
        // A second before nothing happens.
        home.pass(Duration::from_secs(29));
        nodes[0].fire_what_is_due().await.unwrap();
        home.pass(Duration::from_secs(31));
        let each = nodes.iter().flat_map(|node| [node.clone(), node.clone()]);
        let mut firing = tokio::task::JoinSet::new();
        for node in each {
            firing.spawn(async move { node.fire_what_is_due().await });
        }
        while let Some(fired) = firing.join_next().await {
            fired.unwrap().unwrap();
        }
    }
    let executions = home.executions(id).await;
    let served: Vec<String> = executions.iter().map(scheduled).collect();
    let wanted: Vec<String> = (1..=20).map(|minute| format!("2026-11-20T10:{minute:02}:00Z")).collect();
    assert_eq!(served, wanted);
    assert_eq!(executions[0].origin, Origin::Schedule("tick".into()));
    assert_eq!(
        executions[0].input.get("fired_at"),
        Some(&Value::Datetime(at("2026-11-20T10:01:30Z").micros()))
    );
}

async fn what_was_missed_is_caught_up_as_declared(home: &Home) {
    let node = home.node().await;
    let mut cores = Vec::new();
    for way in ["skip", "latest", "all"] {
        cores.push(home.host(&node, core(way, every("*/5 * * * *", &json!({"catch_up": way})))).await);
    }
    // All nodes were down for a while.
    home.set_clock("2026-11-20T10:22:00Z");
    node.fire_what_is_due().await.unwrap();
    assert_eq!(slots(home, cores[0]).await, [""; 0]);
    assert_eq!(slots(home, cores[1]).await, ["2026-11-20T10:20:00Z"]);
    let all =
        ["2026-11-20T10:05:00Z", "2026-11-20T10:10:00Z", "2026-11-20T10:15:00Z", "2026-11-20T10:20:00Z"];
    assert_eq!(slots(home, cores[2]).await, all);
    // They go on from there.
    home.set_clock("2026-11-20T10:25:00Z");
    node.fire_what_is_due().await.unwrap();
    for core in &cores {
        assert_eq!(slots(home, *core).await.last().unwrap(), "2026-11-20T10:25:00Z");
    }
    // Longer than anybody wants to catch up.
    home.set_clock("2026-11-27T10:25:30Z");
    node.fire_what_is_due().await.unwrap();
    assert_eq!(slots(home, cores[0]).await.len(), 2, "the slot of this minute is on time");
    assert_eq!(slots(home, cores[2]).await.len(), 4 + 1 + 1_000);
}

async fn a_core_that_does_not_run_has_no_timers(home: &Home) {
    let node = home.node().await;
    let id = home.host(&node, core("Tick", every("*/5 * * * *", &json!({"catch_up": "all"})))).await;
    for status in [Status::Stopping, Status::Stopped, Status::Paused, Status::Suspended, Status::Error] {
        home.turn(&node, id, status, None).await;
        assert_eq!(home.timers().await, []);
        home.pass(Duration::from_mins(7));
        node.fire_what_is_due().await.unwrap();
        home.turn(&node, id, Status::Running, None).await;
        let timers = home.timers().await;
        assert_eq!(timers.len(), 1);
        assert!(timers[0].due_at > home.now(), "what passed meanwhile is nobody's");
    }
    assert_eq!(slots(home, id).await, [""; 0]);
    home.pass(Duration::from_mins(5));
    node.fire_what_is_due().await.unwrap();
    assert_eq!(slots(home, id).await.len(), 1);
}

async fn a_new_program_brings_its_own_schedules(home: &Home) {
    let node = home.node().await;
    let id = home.host(&node, core("Tick", every("*/5 * * * *", &json!({})))).await;
    // The same times: a slot that is due is not lost.
    home.set_clock("2026-11-20T10:05:01Z");
    home.turn(&node, id, Status::Running, Some(&every("*/5 * * * *", &json!({"catch_up": "skip"})))).await;
    node.fire_what_is_due().await.unwrap();
    assert_eq!(slots(home, id).await, ["2026-11-20T10:05:00Z"]);
    // Other times.
    let berlin = every("0 9 * * *", &json!({"timezone": "Europe/Berlin"}));
    home.turn(&node, id, Status::Running, Some(&berlin)).await;
    let timers = home.timers().await;
    assert_eq!((timers.len(), timers[0].due_at), (1, at("2026-11-21T08:00:00Z")));
    // None at all.
    home.turn(&node, id, Status::Running, Some(&program(&[echo("main")], &json!({})))).await;
    assert_eq!(home.timers().await, []);
}

async fn a_clock_that_is_put_back_repeats_nothing(home: &Home) {
    let (node, late) = (home.node().await, home.node().await);
    let id = home.host(&node, core("Tick", every("* * * * *", &json!({})))).await;
    home.set_clock("2026-11-20T10:01:00Z");
    node.fire_what_is_due().await.unwrap();
    // A node whose clock is behind starts the Core anew.
    home.set_clock("2026-11-20T10:00:59Z");
    home.turn(&late, id, Status::Paused, None).await;
    home.turn(&late, id, Status::Running, None).await;
    assert_eq!(home.timers().await[0].due_at, at("2026-11-20T10:02:00Z"));
    home.set_clock("2026-11-20T10:01:01Z");
    late.fire_what_is_due().await.unwrap();
    assert_eq!(slots(home, id).await, ["2026-11-20T10:01:00Z"]);
}

async fn what_breaks_off_is_served_later_and_once(home: &Home) {
    let node = home.node().await;
    let id = home.host(&node, core("Tick", every("* * * * *", &json!({})))).await;
    for minute in 1..=30_u64 {
        home.pass(Duration::from_mins(1));
        // The process dies somewhere on the way, sooner or later each time.
        let patience = Duration::from_micros(150 * minute);
        let firing = node.clone();
        let _ = tokio::time::timeout(patience, async move { firing.fire_what_is_due().await }).await;
        node.fire_what_is_due().await.unwrap();
    }
    // What was broken off may be at it still.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let served = slots(home, id).await;
    let mut once = served.clone();
    once.dedup();
    assert_eq!(served, once);
    assert_eq!(served.len(), 30);
}
