//! What is removed while others write: nothing that they need.

use scaigrid_cores::execution::{Execution, ExecutionStatus, Parent};
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{self, Change, Unit, Verdict};
use scaigrid_persistence::partings::{self, Parting};
use scaigrid_persistence::{cores, executions, objects, retention};
use scaigrid_scope::CoreId;

use crate::commit::{apply, begin, core_id, execution, execution_id, hosted, proceed, stored};
use crate::home::Home;
use crate::limits::{Shelf, heavy, host, prepare, put_away};
use crate::values::{SYSTEM, at, of_tenant};

crate::on_both_databases! {
    what_goes_on_after_all_stays,
    what_is_written_again_stays,
    those_that_have_ended_hide_none_at_work,
    nothing_begins_in_a_core_that_is_gone,
    others_are_told_that_a_core_goes,
}

async fn what_goes_on_after_all_stays(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1), begin(2)]).await;
    let failed = |number| proceed(number, (1, 2), ExecutionStatus::Failed);
    apply(home, vec![failed(1), failed(2)]).await;
    let purge = async || {
        let mut tx = home.begin().await;
        let gone = retention::purge_executions(&mut tx, of_tenant(1), at(500), 100).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    let before = stored(home, 1).await.unwrap();
    let mut going_on = home.begin().await;
    assert!(executions::revive(&mut going_on, of_tenant(1), &before, (1, vec![4]), at(600)).await.unwrap());
    if home.database.is_shared() {
        // It is not waited for.
        let gone = tokio::time::timeout(std::time::Duration::from_secs(20), purge()).await;
        assert_eq!(gone.unwrap(), 1, "the other one");
    }
    going_on.commit().await.unwrap();
    assert_eq!(purge().await, usize::from(!home.database.is_shared()));
    let after = stored(home, 1).await.unwrap();
    assert_eq!(after.execution.status, ExecutionStatus::Queued);
    let entries = executions::journal(&mut home.read().await, of_tenant(1), execution_id(1), 0, 9).await;
    assert_eq!(entries.unwrap().len(), 3);
    assert!(stored(home, 2).await.is_none());
}

/// A unit that writes to memory, and nothing else that is large.
fn remembering(number: u128, value: Option<Value>) -> Unit {
    let mut memory = heavy(number).memory;
    if value.is_some() {
        memory[0].value = value;
    }
    Unit { memory, ..begin(number) }
}

async fn what_is_written_again_stays(home: &Home) {
    hosted(home).await;
    let shelf = Shelf::default();
    // Something large, which something small, or nothing, has taken the place of.
    for (number, removed) in [(1, false), (4, true)] {
        put_away(home, &shelf, remembering(number, None), 0).await;
        let mut instead = remembering(number + 1, Some(Value::Int(1)));
        if removed {
            instead.memory[0].value = None;
        }
        assert_eq!(apply(home, vec![instead]).await, [Verdict::Done]);
        // It comes back while what refers to it is looked through.
        let again = prepare(home, &shelf, remembering(number + 2, None), 10).await;
        let mut writing = home.begin().await;
        assert_eq!(commit::apply(&mut writing, vec![again]).await.unwrap(), [Verdict::Done]);
        let release = async || {
            let mut tx = home.begin().await;
            let (gone, _) = objects::release_memory(&mut tx, &SYSTEM, None).await.unwrap();
            objects::doom(&mut tx, &SYSTEM, at(1000), 100).await.unwrap();
            tx.commit().await.unwrap();
            gone
        };
        if home.database.is_shared() {
            assert_eq!(release().await, 0, "it is left alone");
        }
        writing.commit().await.unwrap();
        assert_eq!(release().await, 0, "the entry refers to it");
        let marked = objects::marked(&mut home.read().await, &SYSTEM, 100).await.unwrap();
        assert_eq!(marked, [], "and it stays");
    }
}

async fn those_that_have_ended_hide_none_at_work(home: &Home) {
    const ENDED: u128 = 10_001;
    hosted(home).await;
    let called = |number: u128, status: ExecutionStatus| {
        let parent = Some(Parent { execution: execution_id(1), effect: 7 });
        let mut unit = begin(number);
        if let Change::Begin { execution: begun, .. } = &mut unit.change {
            **begun = Execution { parent, status, ..execution(number) };
        }
        unit
    };
    apply(home, vec![begin(1)]).await;
    let numbers: Vec<u128> = (2..2 + ENDED).collect();
    for some in numbers.chunks(1000) {
        apply(home, some.iter().map(|number| called(*number, ExecutionStatus::Completed)).collect()).await;
    }
    let last = 2 + ENDED;
    apply(home, vec![called(last, ExecutionStatus::Suspended)]).await;
    let mut c = home.read().await;
    let at_work = executions::children_at_work(&mut c, of_tenant(1), execution_id(1)).await.unwrap();
    assert_eq!(at_work, [(execution_id(last), 7, ExecutionStatus::Suspended)]);
    assert_eq!(executions::children_at_work(&mut c, of_tenant(2), execution_id(1)).await.unwrap(), []);
}

async fn nothing_begins_in_a_core_that_is_gone(home: &Home) {
    hosted(home).await;
    let callee = host(home, 1, 10).await;
    apply(home, vec![begin(1)]).await;
    let beginning = |number: u128, called: bool| Execution {
        core_id: callee,
        status: ExecutionStatus::Queued,
        parent: called.then_some(Parent { execution: execution_id(1), effect: 7 }),
        ..execution(number)
    };
    let step = |seq: i64, started: Execution| Unit {
        started: vec![started],
        ..proceed(1, (seq - 1, seq), ExecutionStatus::Suspended)
    };
    assert_eq!(apply(home, vec![step(2, beginning(2, true))]).await, [Verdict::Done]);
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(1), callee, 100).await.unwrap(), Some(true));
    tx.commit().await.unwrap();
    // What called it finds out, and does it otherwise.
    assert_eq!(apply(home, vec![step(3, beginning(3, true))]).await, [Verdict::CoreGone]);
    assert_eq!(stored(home, 1).await.unwrap().next_seq, 3, "nothing of it is written");
    assert_eq!(apply(home, vec![step(3, beginning(4, false))]).await, [Verdict::Done]);
    let mut c = home.read().await;
    for number in 2..=4 {
        assert!(executions::lookup(&mut c, of_tenant(1), execution_id(number)).await.unwrap().is_none());
    }
}

/// An execution of a Core, that an effect of another one has called, or nobody.
async fn made(home: &Home, number: u128, core_id: CoreId, parent: Option<u128>, status: ExecutionStatus) {
    let parent = parent.map(|parent| Parent { execution: execution_id(parent), effect: 7 });
    let finished_at = status.is_final().then(|| at(2));
    let mut unit = begin(number);
    if let Change::Begin { execution: begun, .. } = &mut unit.change {
        **begun = Execution { core_id, parent, status, finished_at, ..execution(number) };
    }
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
}

/// What has come for an execution, and where it stands.
async fn told(home: &Home, number: u128) -> (Vec<(u32, Vec<u8>)>, ExecutionStatus) {
    let came = executions::inbox(&mut home.read().await, of_tenant(1), execution_id(number)).await.unwrap();
    (came, stored(home, number).await.unwrap().execution.status)
}

async fn others_are_told_that_a_core_goes(home: &Home) {
    const WAITS: ExecutionStatus = ExecutionStatus::Suspended;
    const GOES_ON: ExecutionStatus = ExecutionStatus::Queued;
    const ENDED: ExecutionStatus = ExecutionStatus::Completed;
    hosted(home).await;
    let (gone, other) = (core_id(), host(home, 1, 10).await);
    // What has called it, and what that waits for.
    for (caller, status) in [(1, WAITS), (2, GOES_ON), (3, ENDED)] {
        made(home, caller, other, None, status).await;
        made(home, 10 + caller, gone, Some(caller), WAITS).await;
    }
    made(home, 4, other, None, WAITS).await;
    made(home, 14, gone, Some(4), ENDED).await;
    // What it has called.
    made(home, 20, gone, None, WAITS).await;
    for (called, core, status) in [(21, other, WAITS), (22, other, ENDED), (23, gone, WAITS)] {
        made(home, called, core, Some(20), status).await;
    }
    let parting = Parting { to_callers: vec![1], to_called: (u32::MAX, vec![2]) };
    let mut tx = home.begin().await;
    // Once more is the same, and for another tenant nothing.
    for tenant in [2, 1, 1] {
        partings::tell_others(&mut tx, of_tenant(tenant), gone, 100, &parting).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(told(home, 1).await, (vec![(7, vec![1])], GOES_ON));
    assert_eq!(told(home, 2).await, (vec![(7, vec![1])], GOES_ON));
    assert_eq!(told(home, 3).await, (vec![], ENDED));
    assert_eq!(told(home, 4).await, (vec![], WAITS), "it has its answer");
    assert_eq!(told(home, 21).await, (vec![(u32::MAX, vec![2])], GOES_ON));
    assert_eq!(told(home, 22).await, (vec![], ENDED));
    assert_eq!(told(home, 23).await, (vec![], WAITS), "it goes with the Core");
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(1), gone, 100).await.unwrap(), Some(true));
    tx.commit().await.unwrap();
    assert!(stored(home, 20).await.is_none());
}
