//! Timers: written, moved, removed and fired with what they belong to.

use std::time::Duration;

use scaigrid_checkpoints::{Checkpoint, Expiry, ExpiryAction};
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_persistence::commit::{Change, Unit, Verdict};
use scaigrid_persistence::event_waits::{self, EventWait};
use scaigrid_persistence::timers::{self, Owner, Timer};
use scaigrid_persistence::{checkpoints, cores};
use scaigrid_scope::Instant;

use crate::commit::{apply, begin, checkpoint, core_id, decided, execution_id, hosted, proceed};
use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, tenant_id};

crate::on_both_databases! {
    a_timer_stands_until_its_owner_says_otherwise,
    a_timer_that_fails_lets_others_go_first,
    a_timer_is_fired_as_it_was_seen_or_not_at_all,
    of_those_who_take_a_timer_one_has_it,
    a_deadline_goes_with_its_checkpoint,
    a_refused_unit_sets_nothing,
    deleting_a_core_removes_its_timers,
}

fn sleep(effect: u32, seconds: i64) -> Timer {
    let owner = Owner::Sleep { execution: execution_id(1), effect };
    Timer { owner, core_id: core_id(), due_at: at(seconds) }
}

fn keep() -> Unit {
    Unit::new(tenant_id(1), at(3), Change::Keep { id: execution_id(1) })
}

/// All timers, the next first.
async fn all(home: &Home) -> Vec<Timer> {
    let found = timers::due(&mut home.read().await, &SYSTEM, Instant::MAX, 100).await.unwrap();
    found.into_iter().map(|(_, timer)| timer).collect()
}

async fn a_timer_stands_until_its_owner_says_otherwise(home: &Home) {
    hosted(home).await;
    let unit = Unit { timers: vec![sleep(1, 20), sleep(2, 10)], ..begin(1) };
    assert_eq!(apply(home, vec![unit]).await, [Verdict::Done]);
    assert_eq!(all(home).await, [sleep(2, 10), sleep(1, 20)]);
    let mut c = home.read().await;
    assert_eq!(timers::next(&mut c, &SYSTEM).await.unwrap(), Some(at(10)));
    assert_eq!(timers::due(&mut c, &SYSTEM, at(9), 9).await.unwrap(), []);
    assert_eq!(timers::due(&mut c, &SYSTEM, at(10), 9).await.unwrap(), [(tenant_id(1), sleep(2, 10))]);
    assert_eq!(timers::of_execution(&mut c, of_tenant(1), execution_id(1)).await.unwrap().len(), 2);
    assert_eq!(timers::of_execution(&mut c, of_tenant(2), execution_id(1)).await.unwrap().len(), 0);
    assert_eq!(timers::lookup(&mut c, of_tenant(2), &sleep(2, 0).owner).await.unwrap(), None);
    drop(c);
    // Set anew, removed, and both in one transaction: the last word counts.
    let moved = Unit { timers: vec![sleep(2, 30)], cleared: vec![sleep(1, 0).owner], ..keep() };
    let again = Unit { timers: vec![sleep(1, 40)], ..keep() };
    apply(home, vec![moved, again]).await;
    assert_eq!(all(home).await, [sleep(2, 30), sleep(1, 40)]);
}

async fn a_timer_that_fails_lets_others_go_first(home: &Home) {
    hosted(home).await;
    let unit = Unit { timers: vec![sleep(1, 10), sleep(2, 20)], ..begin(1) };
    apply(home, vec![unit]).await;
    let fail = async |seen: Timer| {
        let mut tx = home.begin().await;
        let until = |failures: u32| (failures >= 2).then(|| at(50 + i64::from(failures)));
        timers::hold_back(&mut tx, of_tenant(1), &seen, until).await.unwrap();
        tx.commit().await.unwrap();
    };
    let due = async |now: i64| -> Vec<Timer> {
        let found = timers::due(&mut home.read().await, &SYSTEM, at(now), 9).await.unwrap();
        found.into_iter().map(|(_, timer)| timer).collect()
    };
    fail(sleep(1, 10)).await;
    assert_eq!(due(30).await, [sleep(1, 10), sleep(2, 20)], "once is nothing yet");
    fail(sleep(1, 10)).await;
    assert_eq!(due(51).await, [sleep(2, 20)]);
    assert_eq!(timers::next(&mut home.read().await, &SYSTEM).await.unwrap(), Some(at(20)));
    assert_eq!(due(52).await, [sleep(1, 10), sleep(2, 20)], "its time comes again");
    // One that has moved since is another one, and one that is set anew has not failed yet.
    fail(sleep(2, 19)).await;
    fail(sleep(2, 19)).await;
    assert_eq!(due(30).await, [sleep(2, 20)]);
    apply(home, vec![Unit { timers: vec![sleep(1, 15)], ..keep() }]).await;
    assert_eq!(due(30).await, [sleep(1, 15), sleep(2, 20)]);
    fail(sleep(1, 15)).await;
    assert_eq!(due(30).await, [sleep(1, 15), sleep(2, 20)]);
}

async fn a_timer_is_fired_as_it_was_seen_or_not_at_all(home: &Home) {
    hosted(home).await;
    apply(home, vec![Unit { timers: vec![sleep(1, 10)], ..begin(1) }]).await;
    let fire = |seconds| Unit { fired: Some(sleep(1, seconds)), ..keep() };
    let verdicts = apply(home, vec![fire(11), fire(10), fire(10)]).await;
    assert_eq!(verdicts, [Verdict::TimerGone, Verdict::Done, Verdict::TimerGone]);
    assert_eq!(all(home).await, []);
}

async fn of_those_who_take_a_timer_one_has_it(home: &Home) {
    hosted(home).await;
    apply(home, vec![Unit { timers: vec![sleep(1, 10)], ..begin(1) }]).await;
    let take = async || {
        let mut tx = home.begin().await;
        let taken = timers::take(&mut tx, of_tenant(1), &sleep(1, 10)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        tx.commit().await.unwrap();
        taken
    };
    let (a, b, c) = tokio::join!(take(), take(), take());
    assert_eq!([a, b, c].iter().filter(|taken| **taken).count(), 1);
}

fn with_deadline(number: u128) -> Checkpoint {
    let mut checkpoint = checkpoint(number);
    checkpoint.question.expiry = Some(Expiry { at: at(10), action: ExpiryAction::Expire });
    checkpoint
}

async fn a_deadline_goes_with_its_checkpoint(home: &Home) {
    hosted(home).await;
    let opened = vec![(with_deadline(1), 1), (with_deadline(2), 2), (checkpoint(3), 3)];
    apply(home, vec![Unit { opened, ..begin(1) }]).await;
    assert_eq!(all(home).await.len(), 2, "one has no deadline");
    let decided = Checkpoint { question: with_deadline(1).question.clone(), ..decided(1) };
    apply(home, vec![Unit { decided: Some(decided), ..keep() }]).await;
    let owner = Owner::Checkpoint(checkpoint(2).id);
    assert_eq!(all(home).await, [Timer { owner, core_id: core_id(), due_at: at(10) }]);
    // It asks somebody else, and until then.
    let mut tx = home.begin().await;
    let mut stored = checkpoints::lock(&mut tx, of_tenant(1), checkpoint(2).id).await.unwrap().unwrap();
    stored.checkpoint.question.expiry = Some(Expiry { at: at(20), action: ExpiryAction::Expire });
    checkpoints::save_moved(&mut tx, of_tenant(1), &stored).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(all(home).await[0].due_at, at(20));
    apply(home, vec![Unit { abandoned: vec![checkpoint(2).id], ..keep() }]).await;
    assert_eq!(all(home).await, []);
}

async fn a_refused_unit_sets_nothing(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(1)]).await;
    let stale = Unit { timers: vec![sleep(1, 10)], ..proceed(1, (7, 2), ExecutionStatus::Suspended) };
    assert_eq!(apply(home, vec![stale]).await, [Verdict::Fenced]);
    assert_eq!(all(home).await, []);
}

async fn deleting_a_core_removes_its_timers(home: &Home) {
    hosted(home).await;
    let wait = EventWait {
        execution_id: execution_id(1),
        effect: 4,
        core_id: core_id(),
        name: "n\0me".into(),
        source_version: 1,
        pointer: "/flows/0".into(),
        captured: Some(scaigrid_ir::Value::Int(1)),
    };
    apply(home, vec![Unit { timers: vec![sleep(1, 10)], waits: vec![wait.clone()], ..begin(1) }]).await;
    let found = event_waits::list(&mut home.read().await, of_tenant(1), core_id(), "n\0me", 9).await.unwrap();
    assert_eq!(found, [EventWait { name: "n\u{fffd}me".into(), ..wait }]);
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(1), core_id(), 1000).await.unwrap(), Some(true));
    tx.commit().await.unwrap();
    assert_eq!(all(home).await, []);
    let left =
        event_waits::of_execution(&mut home.read().await, of_tenant(1), execution_id(1)).await.unwrap();
    assert!(left.is_empty());
}
