//! Timers of executions: fired once, by whoever is first, and for nobody who has ended.

use std::time::Duration;

use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_engine::Engine;
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{self, Change, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::event_waits::EventWait;
use scaigrid_persistence::timers::{Owner, Timer};
use scaigrid_scope::{CoreId, ExecutionId};
use serde_json::json;

use crate::events::listening;
use crate::home::{Home, core, echo, program, scope};

crate::on_both_databases! {
    a_sleeper_is_woken_once_by_one_of_many,
    who_has_ended_is_not_woken,
    many_timers_are_fired_together,
    what_is_waited_for_too_long_times_out,
}

/// An execution that waits, with what goes with it.
pub(crate) async fn waiting(
    home: &Home,
    core_id: CoreId,
    with: impl FnOnce(ExecutionId, &mut Unit),
) -> ExecutionId {
    let id = ExecutionId::from_ulid(home.ids.draw(home.now()));
    let execution = Execution {
        id,
        tenant_id: scope().tenant_id(),
        core_id,
        flow: "main".into(),
        source_version: 1,
        status: ExecutionStatus::Suspended,
        origin: Origin::Invoke,
        instance_key: None,
        slots: None,
        parent: None,
        depth: 0,
        input: Value::Null,
        output: None,
        error: None,
        started_at: home.now(),
        finished_at: None,
        debugging: None,
        trace: None,
        delegation: None,
        requested_by: Vec::new(),
    };
    let progress = Progress { snapshot: Snapshot::Store(vec![0]), next_seq: 1, owner: None, epoch: 1 };
    let change = Change::Begin { execution: Box::new(execution), progress };
    let mut unit = Unit::new(scope().tenant_id(), home.now(), change);
    with(id, &mut unit);
    assert_eq!(apply(home, unit).await, Verdict::Done);
    id
}

async fn apply(home: &Home, unit: Unit) -> Verdict {
    let mut tx = home.database.begin().await.unwrap();
    let verdicts = commit::apply(&mut tx, vec![unit]).await.unwrap();
    tx.commit().await.unwrap();
    verdicts[0]
}

async fn sleeping(home: &Home, core_id: CoreId, seconds: u64) -> ExecutionId {
    let due_at = home.now().plus(Duration::from_secs(seconds));
    waiting(home, core_id, |execution, unit| {
        unit.timers.push(Timer { owner: Owner::Sleep { execution, effect: 3 }, core_id, due_at });
    })
    .await
}

async fn hosted(home: &Home) -> (Engine, CoreId) {
    let node = home.node().await;
    let id = home.host(&node, core("Sleep", program(&[echo("main"), listening()], &json!({})))).await;
    (node, id)
}

async fn a_sleeper_is_woken_once_by_one_of_many(home: &Home) {
    let (node, core_id) = hosted(home).await;
    let other = home.node().await;
    let id = sleeping(home, core_id, 60).await;
    home.pass(Duration::from_millis(59_999));
    assert_eq!(node.fire_what_is_due().await.unwrap(), Duration::from_millis(1), "to the millisecond");
    assert!(home.inbox(id).await.is_empty());
    home.pass(Duration::from_millis(1));
    let (one, two) = tokio::join!(node.fire_what_is_due(), other.fire_what_is_due());
    one.unwrap();
    two.unwrap();
    assert_eq!(home.timers().await, []);
    let inbox = home.inbox(id).await;
    assert_eq!((inbox.len(), inbox[0].0), (1, 3));
    assert_eq!(home.executions(core_id).await[0].status, ExecutionStatus::Queued);
}

async fn who_has_ended_is_not_woken(home: &Home) {
    let (node, core_id) = hosted(home).await;
    let id = sleeping(home, core_id, 1).await;
    let change = Change::Proceed {
        id,
        expected_epoch: 1,
        expected_seq: 1,
        status: ExecutionStatus::Completed,
        output: None,
        error: None,
        finished_at: Some(home.now()),
        progress: Progress { snapshot: Snapshot::Drop, next_seq: 1, owner: None, epoch: 2 },
    };
    assert_eq!(apply(home, Unit::new(scope().tenant_id(), home.now(), change)).await, Verdict::Done);
    home.pass(Duration::from_secs(2));
    node.fire_what_is_due().await.unwrap();
    assert_eq!(home.timers().await, [], "nothing is left of it");
    assert!(home.inbox(id).await.is_empty());
    assert_eq!(home.executions(core_id).await[0].status, ExecutionStatus::Completed);
}

async fn many_timers_are_fired_together(home: &Home) {
    let (node, core_id) = hosted(home).await;
    let mut sleepers = Vec::new();
    for number in 0..300 {
        sleepers.push(sleeping(home, core_id, number % 7).await);
    }
    home.pass(Duration::from_secs(7));
    // As many looks as one look's bound makes necessary.
    while !home.timers().await.is_empty() {
        node.fire_what_is_due().await.unwrap();
    }
    for id in sleepers {
        assert_eq!(home.inbox(id).await.len(), 1);
    }
}

async fn what_is_waited_for_too_long_times_out(home: &Home) {
    let (node, core_id) = hosted(home).await;
    let due_at = home.now().plus(Duration::from_secs(5));
    let id = waiting(home, core_id, |execution_id, unit| {
        unit.waits.push(EventWait {
            execution_id,
            effect: 2,
            core_id,
            name: "paid".into(),
            source_version: 1,
            pointer: String::new(),
            captured: None,
        });
        let owner = Owner::EventWait { execution: execution_id, effect: 2 };
        unit.timers.push(Timer { owner, core_id, due_at });
    })
    .await;
    home.pass(Duration::from_secs(5));
    node.fire_what_is_due().await.unwrap();
    let inbox = home.inbox(id).await;
    assert!(String::from_utf8_lossy(&inbox[0].1).contains("WAIT_TIMEOUT"));
    // What comes too late finds nobody.
    node.send_event(scope(), core_id, "paid", Value::Null, None).await.unwrap();
    assert_eq!(home.inbox(id).await, inbox);
}
