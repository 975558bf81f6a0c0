//! Gauges of the whole installation, and the place of an execution in a trace.

use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_persistence::commit::{Change, Unit, Verdict};
use scaigrid_persistence::gauges::{self, COUNTED_AT_MOST, Gauges};
use scaigrid_persistence::timers::{Owner, Timer};
use scaigrid_persistence::{executions, leases};

use crate::commit::{apply, begin, checkpoint, core_id, decided, execution_id, hosted, proceed};
use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant};

crate::on_both_databases! {
    gauges_tell_what_waits_and_since_when,
    counting_ends,
    an_execution_keeps_its_place_in_a_trace,
}

async fn look(home: &Home, seconds: i64) -> Gauges {
    gauges::look(&mut home.read().await, &SYSTEM, at(seconds)).await.unwrap()
}

/// The unit of an execution that waits for a node.
fn queued(number: u128) -> Unit {
    let mut unit = begin(number);
    if let Change::Begin { execution, .. } = &mut unit.change {
        execution.status = ExecutionStatus::Queued;
        execution.started_at = at(i64::try_from(number).unwrap());
    }
    unit
}

async fn gauges_tell_what_waits_and_since_when(home: &Home) {
    assert_eq!(look(home, 0).await, Gauges::default());
    hosted(home).await;
    let owner = Owner::Sleep { execution: execution_id(1), effect: 7 };
    let timer = Timer { owner, core_id: core_id(), due_at: at(50) };
    let asks = Unit { opened: vec![(checkpoint(1), 1)], timers: vec![timer], ..begin(1) };
    let verdicts = apply(home, vec![asks, queued(3), queued(2)]).await;
    assert_eq!(verdicts, [Verdict::Done; 3]);
    let mut tx = home.begin().await;
    leases::register(&mut tx, node_id(1), at(1), at(60)).await.unwrap();
    tx.commit().await.unwrap();
    let found = look(home, 40).await;
    assert_eq!((found.queued, found.running, found.oldest_queued), (2, 0, Some(at(2))));
    assert_eq!((found.open_checkpoints, found.nodes), (1, 1));
    assert!(found.oldest_checkpoint.is_some() && found.first_lease == Some(at(60)));
    assert_eq!((found.timers_due, found.first_timer), (0, Some(at(50))));
    assert_eq!((look(home, 50).await.timers_due, look(home, 61).await.nodes), (1, 0));
    let mut c = home.read().await;
    let tenants = leases::queued_tenants(&mut c, &SYSTEM, None, 1).await.unwrap();
    let oldest = leases::queued(&mut c, SYSTEM.tenant(tenants[0]), core_id(), 1).await.unwrap();
    drop(c);
    let mut tx = home.begin().await;
    assert_eq!(leases::claim(&mut tx, &SYSTEM, node_id(1), at(41), &oldest).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    let found = look(home, 42).await;
    assert_eq!((found.queued, found.running, found.oldest_queued), (1, 1, Some(at(3))));
    // What waits for its turn within an instance waits, too; the oldest of all counts.
    let mut in_turn = queued(4);
    if let Change::Begin { execution, .. } = &mut in_turn.change {
        execution.slots = std::num::NonZeroU32::new(1);
    }
    assert_eq!(apply(home, vec![in_turn]).await, [Verdict::Done]);
    let found = look(home, 42).await;
    assert_eq!((found.queued, found.oldest_queued), (2, Some(at(3))));
    let mut tx = home.begin().await;
    let rest = leases::queued(&mut tx, SYSTEM.tenant(tenants[0]), core_id(), 9).await.unwrap();
    assert_eq!(leases::claim(&mut tx, &SYSTEM, node_id(1), at(42), &rest).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    let found = look(home, 42).await;
    assert_eq!((found.queued, found.running, found.oldest_queued), (1, 2, Some(at(4))));
    let answered = Unit { decided: Some(decided(1)), ..proceed(1, (1, 2), ExecutionStatus::Completed) };
    assert_eq!(apply(home, vec![answered]).await, [Verdict::Done]);
    let found = look(home, 43).await;
    assert_eq!((found.open_checkpoints, found.oldest_checkpoint), (0, None));
}

async fn counting_ends(home: &Home) {
    hosted(home).await;
    let most = u128::try_from(COUNTED_AT_MOST).unwrap();
    for first in (1..most + 20).step_by(1000) {
        let units = (first..(first + 1000).min(most + 20)).map(queued).collect();
        apply(home, units).await;
    }
    assert_eq!(look(home, 0).await.queued, COUNTED_AT_MOST);
}

async fn an_execution_keeps_its_place_in_a_trace(home: &Home) {
    hosted(home).await;
    let place = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 00f067aa0ba902b7".parse().ok();
    assert!(place.is_some());
    let mut unit = begin(1);
    if let Change::Begin { execution, .. } = &mut unit.change {
        execution.trace = place;
    }
    apply(home, vec![unit, begin(2)]).await;
    apply(home, vec![proceed(1, (1, 2), ExecutionStatus::Suspended)]).await;
    let mut c = home.read().await;
    let trace = |stored: Option<executions::Stored>| stored.unwrap().execution.trace;
    assert_eq!(trace(executions::load(&mut c, of_tenant(1), execution_id(1)).await.unwrap()), place);
    assert_eq!(trace(executions::load(&mut c, of_tenant(1), execution_id(2)).await.unwrap()), None);
}
