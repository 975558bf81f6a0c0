//! Backups, and what would take from them what they refer to.

use std::io::sink;
use std::sync::Mutex;
use std::time::Duration;

use scaigrid_app::Swept;
use scaigrid_persistence::{objects, retention};
use scaigrid_scope::{Clock as _, NodeId, SystemScope};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use ulid::Ulid;

use crate::house::{application, house, nobody};

/// A value that nothing refers to any more, and that could go.
async fn spare(house: &crate::house::House) {
    let scope = SystemScope::for_the_process().tenant(house.root().await.tenant().id);
    let mut tx = house.database.begin().await.unwrap();
    objects::reserve(&mut tx, scope, ([7; 32], 70_000), Ulid(7), house.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    house.pass(7200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_a_backup_is_written() {
    let house = house().await;
    spare(&house).await;
    let other = application(&house.database, &house.vault, &house.clock);
    let swept = Mutex::new(Vec::new());
    let by = house.root().await.authorize_at_level().unwrap();
    let look = |_| {
        let mut swept = swept.lock().unwrap();
        // By another node, and by this one.
        let sweeps = async { [other.sweep(None).await.unwrap(), house.app.sweep(None).await.unwrap()] };
        if swept.is_empty() {
            swept.extend(block_in_place(|| Handle::current().block_on(sweeps)));
        }
    };
    house.app.back_up(&by, &nobody(), sink(), &look).await.unwrap();
    assert_eq!(*swept.lock().unwrap(), [Swept::default(); 2]);
    // Afterwards at once.
    house.pass(1);
    assert_eq!(other.sweep(None).await.unwrap(), Swept { objects: 1, ..Swept::default() });
}

#[tokio::test]
async fn a_backup_waits_for_whoever_removes_things() {
    let house = house().await;
    let system = SystemScope::for_the_process();
    let now = house.clock.now();
    let mut tx = house.database.begin().await.unwrap();
    let who = (NodeId::from_ulid(Ulid(9)), now, now.plus(Duration::from_secs(5)));
    assert!(retention::take_duty(&mut tx, &system, "retention", who).await.unwrap());
    tx.commit().await.unwrap();
    let by = house.root().await.authorize_at_level().unwrap();
    let (app, request) = (house.app.clone(), nobody());
    let written = async { app.back_up(&by, &request, sink(), &|_| ()).await };
    tokio::pin!(written);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut written).await.is_err());
    house.pass(10);
    tokio::time::timeout(Duration::from_mins(1), written).await.unwrap().unwrap();
}
