//! Transactions: all or nothing, also when nobody is left to end them.

use std::time::Duration;

use scaigrid_persistence::partners::{self, PartnerFilter};
use scaigrid_persistence::{Database, Error};
use tokio::sync::oneshot;

use crate::home::Home;
use crate::values::{SYSTEM, partner};

crate::on_both_databases! {
    a_dropped_transaction_writes_nothing,
    a_transaction_taken_back_writes_nothing,
    a_transaction_of_an_aborted_task_writes_nothing,
    a_failed_statement_leaves_the_database_usable,
    nothing_is_seen_before_the_commit,
    opening_again_changes_nothing,
    several_may_open_it_at_once,
}

async fn count(database: &Database) -> i64 {
    let mut c = database.read().await.unwrap();
    partners::count(&mut c, SYSTEM.platform(), &PartnerFilter::default()).await.unwrap()
}

async fn a_dropped_transaction_writes_nothing(home: &Home) {
    // More often than there are connections: none may be lost.
    for number in 1..=10 {
        let mut tx = home.begin().await;
        partners::add(&mut tx, SYSTEM.platform(), &partner(number)).await.unwrap();
        drop(tx);
    }
    assert_eq!(count(&home.database).await, 0);
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&home.database).await, 1);
}

async fn a_transaction_taken_back_writes_nothing(home: &Home) {
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count(&home.database).await, 0);
}

async fn a_transaction_of_an_aborted_task_writes_nothing(home: &Home) {
    let database = home.database.clone();
    let (written, told) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut tx = database.begin().await.unwrap();
        partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
        written.send(()).unwrap();
        tokio::time::sleep(Duration::from_mins(10)).await;
        tx.commit().await.unwrap();
    });
    told.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(count(&home.database).await, 0);
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&home.database).await, 1);
}

async fn a_failed_statement_leaves_the_database_usable(home: &Home) {
    for _ in 0..10 {
        let mut tx = home.begin().await;
        partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
        let again = partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await;
        assert!(matches!(again, Err(Error::Duplicate(_))));
        drop(tx);
    }
    assert_eq!(count(&home.database).await, 0);
}

async fn nothing_is_seen_before_the_commit(home: &Home) {
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
    assert_eq!(partners::count(&mut tx, SYSTEM.platform(), &PartnerFilter::default()).await.unwrap(), 1);
    assert_eq!(count(&home.database).await, 0);
    tx.commit().await.unwrap();
    assert_eq!(count(&home.database).await, 1);
}

async fn opening_again_changes_nothing(home: &Home) {
    let mut tx = home.begin().await;
    partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
    tx.commit().await.unwrap();
    let again = Database::open(&home.url, 1).await.unwrap();
    assert_eq!(count(&again).await, 1);
    again.ping().await.unwrap();
}

async fn several_may_open_it_at_once(home: &Home) {
    let (one, two, three) = tokio::join!(
        Database::open(&home.url, 1),
        Database::open(&home.url, 1),
        Database::open(&home.url, 1)
    );
    for database in [one, two, three] {
        assert_eq!(count(&database.unwrap()).await, 0);
    }
}

/// Requests are served on threads that end before the rest of the process; what they opened serves others after them.
#[test]
fn a_file_is_read_and_written_after_the_thread_that_opened_it_has_ended() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let home = first.block_on(async {
        let home = Home::sqlite().await;
        home.begin().await.commit().await.unwrap();
        assert_eq!(count(&home.database).await, 0);
        home
    });
    drop(first);
    runtime().block_on(async {
        let mut tx = home.begin().await;
        partners::add(&mut tx, SYSTEM.platform(), &partner(1)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&home.database).await, 1);
        home.remove().await;
    });
}
