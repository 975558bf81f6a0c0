//! A transaction of units, as others see it and as its units see each other.

use scaigrid_checkpoints::State;
use scaigrid_cores::Action;
use scaigrid_cores::execution::ExecutionStatus;
use scaigrid_persistence::commit::{self, Delivery, Verdict};
use scaigrid_persistence::{Written, checkpoints, cores};

use crate::commit::{apply, begin, checkpoint, execution_id, hosted, proceed, stored, vault};
use crate::home::Home;
use crate::values::{at, of_tenant};

crate::on_both_databases! {
    what_is_not_committed_is_not_there,
    steps_of_one_transaction_follow_each_other,
    whoever_stops_a_core_finds_what_began_before,
}

async fn what_is_not_committed_is_not_there(home: &Home) {
    hosted(home).await;
    // Of connections that have prepared none of it yet, and of some that have.
    for _ in 0..3 {
        let (left, verdicts) = commit::begin(&home.database, vec![begin(1)]).await.unwrap();
        assert_eq!(verdicts, [Verdict::Done]);
        drop(left);
        let (back, _) = commit::begin(&home.database, vec![begin(1)]).await.unwrap();
        back.rollback().await.unwrap();
        assert!(stored(home, 1).await.is_none());
    }
    assert_eq!(apply(home, vec![begin(1)]).await, [Verdict::Done]);
}

async fn steps_of_one_transaction_follow_each_other(home: &Home) {
    hosted(home).await;
    apply(home, vec![begin(9)]).await;
    let mut asks = begin(1);
    asks.opened = vec![(checkpoint(1), 0)];
    let mut ends = proceed(1, (1, 2), ExecutionStatus::Completed);
    ends.abandoned = vec![checkpoint(1).id];
    ends.delivered = vec![Delivery { to: execution_id(9), effect: 3, outcome: vec![1] }];
    let follows = proceed(9, (1, 2), ExecutionStatus::Completed);
    assert_eq!(apply(home, vec![asks, ends, follows]).await, [Verdict::Done; 3]);
    for number in [1, 9] {
        assert_eq!(stored(home, number).await.unwrap().execution.status, ExecutionStatus::Completed);
    }
    let mut c = home.read().await;
    let left = checkpoints::lookup(&mut c, of_tenant(1), checkpoint(1).id).await.unwrap().unwrap();
    assert!(matches!(left.checkpoint.state, State::Cancelled { .. }), "{left:?}");
}

async fn whoever_stops_a_core_finds_what_began_before(home: &Home) {
    let core = hosted(home).await;
    // Whichever connection comes next has prepared what it will ask, so that all of it could go out before the transaction begins.
    for number in 10..30 {
        apply(home, vec![begin(number)]).await;
    }
    let began = async {
        let (tx, verdicts) = commit::begin(&home.database, vec![begin(1)]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        tx.commit().await.unwrap();
        verdicts
    };
    let stopped = async {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        let (stopping, _) = core.apply(Action::Stop, at(3)).unwrap();
        let mut tx = home.begin().await;
        let written = cores::save(&mut tx, of_tenant(1), &stopping, 1, &vault()).await.unwrap();
        tx.commit().await.unwrap();
        (written, stored(home, 1).await.is_some())
    };
    assert_eq!(tokio::join!(began, stopped), (vec![Verdict::Done], (Written::Done, true)));
    assert_eq!(apply(home, vec![begin(2)]).await, [Verdict::CoreNotRunning]);
}
