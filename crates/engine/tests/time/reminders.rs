//! Reminders: on time, each once on however many nodes, until nobody waits any more.

use std::time::Duration;

use scaigrid_audit::AuditRecord;
use scaigrid_checkpoints::{Change, Checkpoint, CheckpointError, CheckpointStatus, EventKind, Routing};
use scaigrid_cores::NewCore;
use scaigrid_engine::{Decider, Engine, Invocation};
use scaigrid_ir::Value;
use scaigrid_persistence::checkpoints::{self, StoredCheckpoint};
use scaigrid_persistence::timers::Owner;
use scaigrid_scope::{CheckpointId, CoreId, Instant};
use serde_json::json;

use crate::home::{Home, core, program, scope};

crate::on_both_databases! {
    whoever_is_asked_is_reminded_once_each_time,
    a_reminder_ends_with_the_wait,
    a_core_says_how_often_where_its_program_does_not,
}

const MINUTE: Duration = Duration::from_mins(1);

fn asking(more: &serde_json::Value) -> NewCore {
    let mut ask = json!({"kind": "checkpoint", "id": "ask", "checkpoint_type": "approval", "present": {"prompt": "Well?"}});
    for (name, value) in more.as_object().unwrap() {
        ask[name] = value.clone();
    }
    core("Asks", program(&[json!({"name": "main", "params": [], "body": [ask]})], &json!({})))
}

async fn asked(node: &Engine, core: CoreId) -> CheckpointId {
    let wait = Some(Duration::from_secs(30));
    let input = Value::object(std::collections::BTreeMap::default());
    let call = Invocation { flow: None, input, instance_key: None, wait, by: None };
    let standing = node.invoke(scope(), core, call).await.unwrap();
    assert_eq!(standing.checkpoints.len(), 1);
    standing.checkpoints[0]
}

async fn stored(home: &Home, id: CheckpointId) -> StoredCheckpoint {
    let mut connection = home.database.read().await.unwrap();
    checkpoints::lookup(&mut connection, scope(), id).await.unwrap().unwrap()
}

async fn due(home: &Home, id: CheckpointId) -> Option<Instant> {
    let timers = home.timers().await;
    timers.into_iter().find(|timer| timer.owner == Owner::Reminder(id)).map(|timer| timer.due_at)
}

fn reminders(stored: &StoredCheckpoint) -> usize {
    stored.between.iter().filter(|event| event.kind == EventKind::Reminded).count()
}

/// Somebody, or something, that may do as it likes.
struct Does<F>(F);

impl<F: Fn(Checkpoint, Instant) -> Result<Change, CheckpointError> + Send + Sync> Decider for Does<F> {
    fn decide(&self, checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        (self.0)(checkpoint, now)
    }

    fn audit(&self, _: &Checkpoint, _: &Checkpoint, _: Instant) -> Option<AuditRecord> {
        None
    }
}

async fn whoever_is_asked_is_reminded_once_each_time(home: &Home) {
    let (node, other) = (home.node().await, home.node().await);
    let id = home.host(&node, asking(&json!({"reminder_interval_m": 5}))).await;
    let checkpoint = asked(&node, id).await;
    let opened = stored(home, checkpoint).await.checkpoint.created_at;
    assert_eq!(due(home, checkpoint).await, Some(opened.plus(5 * MINUTE)));
    home.pass(4 * MINUTE + Duration::from_millis(59_999));
    node.fire_what_is_due().await.unwrap();
    assert_eq!(reminders(&stored(home, checkpoint).await), 0, "not early");
    for round in 1..=3_u32 {
        home.pass(if round == 1 { Duration::from_millis(1) } else { 5 * MINUTE });
        let (here, there) = tokio::join!(node.fire_what_is_due(), other.fire_what_is_due());
        here.unwrap();
        there.unwrap();
        let told = stored(home, checkpoint).await;
        assert_eq!((told.checkpoint.reminders, reminders(&told)), (round, round as usize));
        assert_eq!(due(home, checkpoint).await, Some(home.now().plus(5 * MINUTE)));
    }
    // However long nobody looked, one reminder is enough.
    home.pass(60 * MINUTE);
    node.fire_what_is_due().await.unwrap();
    other.fire_what_is_due().await.unwrap();
    assert_eq!(stored(home, checkpoint).await.checkpoint.reminders, 4);
    // Whoever is asked instead is given as long.
    home.pass(MINUTE);
    let to = Routing::of_program(Some("user:eve@acme.example"), None);
    let moves = Does(|mut checkpoint: Checkpoint, now: Instant| {
        checkpoint.question.expiry = Some(scaigrid_checkpoints::Expiry {
            at: now,
            action: scaigrid_checkpoints::ExpiryAction::Escalate { to: to.clone() },
        });
        checkpoint.expire(now)
    });
    node.decide(scope(), checkpoint, &moves, None).await.unwrap();
    assert_eq!(due(home, checkpoint).await, Some(home.now().plus(5 * MINUTE)));
}

async fn a_reminder_ends_with_the_wait(home: &Home) {
    let node = home.node().await;
    let more = json!({"reminder_interval_m": 1, "timeout": "90s"});
    let id = home.host(&node, asking(&more)).await;
    let (first, second) = (asked(&node, id).await, asked(&node, id).await);
    let gives_up = Does(|checkpoint: Checkpoint, now| checkpoint.withdraw(now));
    node.decide(scope(), first, &gives_up, None).await.unwrap();
    assert_eq!(due(home, first).await, None, "nobody waits for it");
    home.pass(MINUTE);
    node.fire_what_is_due().await.unwrap();
    assert_eq!(reminders(&stored(home, second).await), 1);
    // What expires is not reminded of any more.
    home.pass(2 * MINUTE);
    while !home.timers().await.is_empty() {
        node.fire_what_is_due().await.unwrap();
    }
    let ended = stored(home, second).await;
    assert_eq!((ended.checkpoint.status(), reminders(&ended)), (CheckpointStatus::Expired, 1));
}

async fn a_core_says_how_often_where_its_program_does_not(home: &Home) {
    let node = home.node().await;
    let metadata = json!({"checkpoints": {"reminder_interval_m": 7}});
    let metadata = metadata.as_object().unwrap().clone();
    let id = home.host(&node, NewCore { metadata, ..asking(&json!({})) }).await;
    let checkpoint = asked(&node, id).await;
    assert_eq!(due(home, checkpoint).await, Some(home.now().plus(7 * MINUTE)));
}
