//! Slots of instances: counted, never leaked, taken in order, by as many nodes as there are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_persistence::commit::{Change, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::instances::{self, Ready, Room, Taken};
use scaigrid_persistence::{executions, leases};
use scaigrid_scope::{ExecutionId, Instant, NodeId};

use crate::commit::{apply, core_id, execution, execution_id, hosted, stored};
use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant, tenant_id};

crate::on_both_databases! {
    an_instance_has_so_many_slots_and_no_more,
    slots_of_nodes_that_die_again_and_again_come_back,
    nodes_that_take_at_once_share_the_slots,
    active_instances_are_bounded,
    an_instance_rests_when_it_has_nothing_to_do,
}

async fn queue(home: &Home, number: u128, key: Option<&str>, slots: u32) {
    let queued = Execution {
        status: ExecutionStatus::Queued,
        instance_key: key.map(Into::into),
        slots: NonZeroU32::new(slots),
        ..execution(number)
    };
    let progress = Progress { snapshot: Snapshot::Drop, next_seq: 0, owner: None, epoch: 0 };
    let change = Change::Begin { execution: Box::new(queued), progress };
    assert_eq!(apply(home, vec![Unit::new(tenant_id(1), at(1), change)]).await, [Verdict::Done]);
}

async fn lease(home: &Home, node: NodeId, until: Instant) {
    let mut tx = home.begin().await;
    leases::register(&mut tx, node, at(0), until).await.unwrap();
    tx.commit().await.unwrap();
}

async fn take_with(home: &Home, node: NodeId, now: Instant, room: Option<Room>) -> Taken {
    let mut c = home.read().await;
    if instances::with_work(&mut c, &SYSTEM, now, 10).await.unwrap().is_empty() {
        return Taken::default();
    }
    let ready = instances::ready(&mut c, of_tenant(1), core_id(), now, 100).await.unwrap();
    drop(c);
    let mut tx = home.begin().await;
    let taken = instances::take(&mut tx, of_tenant(1), core_id(), ready, room, (node, now)).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

async fn take(home: &Home, node: NodeId, now: Instant) -> Vec<ExecutionId> {
    take_with(home, node, now, None).await.executions
}

async fn end(home: &Home, id: ExecutionId) {
    let found = executions::load(&mut home.read().await, of_tenant(1), id).await.unwrap().unwrap();
    let change = Change::Proceed {
        id,
        expected_epoch: found.epoch,
        expected_seq: found.next_seq,
        status: ExecutionStatus::Completed,
        output: None,
        error: None,
        finished_at: Some(at(9)),
        progress: Progress {
            snapshot: Snapshot::Drop,
            next_seq: found.next_seq,
            owner: None,
            epoch: found.epoch,
        },
    };
    assert_eq!(apply(home, vec![Unit::new(tenant_id(1), at(9), change)]).await, [Verdict::Done]);
}

async fn an_instance_has_so_many_slots_and_no_more(home: &Home) {
    hosted(home).await;
    lease(home, node_id(1), at(100)).await;
    for (number, key, slots) in [
        (1, Some("a"), 1),
        (2, Some("a"), 1),
        (3, Some("b"), 2),
        (4, Some("b"), 2),
        (5, Some("b"), 2),
        (6, None, 1),
        (7, None, 1),
    ] {
        queue(home, number, key, slots).await;
    }
    let mut taken = take(home, node_id(1), at(5)).await;
    taken.sort_unstable();
    assert_eq!(taken, [1, 3, 4, 6].map(execution_id));
    assert_eq!(take(home, node_id(1), at(5)).await, [], "all slots are held");
    // What runs without turns is not among them, nor do they get in its way.
    assert!(!leases::waiting(&mut home.read().await, &SYSTEM, node_id(2)).await.unwrap());
    for number in [3, 1] {
        end(home, execution_id(number)).await;
    }
    let mut taken = take(home, node_id(1), at(5)).await;
    taken.sort_unstable();
    assert_eq!(taken, [2, 5].map(execution_id));
    assert_eq!(stored(home, 2).await.unwrap().owner, Some(node_id(1)));
    // A node that leaves lets go of them.
    let mut tx = home.begin().await;
    leases::release(&mut tx, node_id(1)).await.unwrap();
    tx.commit().await.unwrap();
    lease(home, node_id(2), at(100)).await;
    let mut taken = take(home, node_id(2), at(6)).await;
    taken.sort_unstable();
    assert_eq!(taken, [2, 4, 5, 6].map(execution_id));
}

async fn slots_of_nodes_that_die_again_and_again_come_back(home: &Home) {
    hosted(home).await;
    for number in 1..=4 {
        queue(home, number, Some("k"), 2).await;
    }
    // Each node takes what it can, and is never heard of again.
    for death in 0..250_u32 {
        let (node, now) = (node_id(100 + u128::from(death)), at(i64::from(death) * 10));
        lease(home, node, at(i64::from(death) * 10 + 5)).await;
        assert_eq!(take(home, node, now).await, [1, 2].map(execution_id), "death {death}");
        assert_eq!(take(home, node, now).await, []);
    }
    let last = node_id(9_999);
    lease(home, last, at(1_000_000)).await;
    let now = at(100_000);
    for expected in [[1, 2], [3, 4]] {
        let taken = take(home, last, now).await;
        assert_eq!(taken, expected.map(execution_id));
        for id in taken {
            end(home, id).await;
        }
    }
    assert_eq!(stored(home, 1).await.unwrap().epoch, 251);
}

async fn nodes_that_take_at_once_share_the_slots(home: &Home) {
    hosted(home).await;
    let keys = ["a", "b", "c"];
    for number in 0..60_u128 {
        queue(home, number + 1, Some(keys[usize::try_from(number % 3).unwrap()]), 2).await;
    }
    for node in 1..=4 {
        lease(home, node_id(node), at(1_000)).await;
    }
    let mut order: BTreeMap<usize, Vec<u128>> = BTreeMap::new();
    let mut done = 0;
    while done < 60 {
        let (a, b, c, d) = tokio::join!(
            take(home, node_id(1), at(5)),
            take(home, node_id(2), at(5)),
            take(home, node_id(3), at(5)),
            take(home, node_id(4), at(5))
        );
        let mut taken: Vec<ExecutionId> = [a, b, c, d].concat();
        taken.sort_unstable();
        let mut once = taken.clone();
        once.dedup();
        assert_eq!(once, taken, "each by one");
        assert!(taken.len() <= 6 && !taken.is_empty(), "{} slots at once", taken.len());
        for id in taken {
            let number = id.ulid().0 - execution_id(0).ulid().0;
            let key = usize::try_from((number - 1) % 3).unwrap();
            order.entry(key).or_default().push(number);
            end(home, id).await;
            done += 1;
        }
    }
    for (_, numbers) in order {
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}

async fn active_instances_are_bounded(home: &Home) {
    hosted(home).await;
    lease(home, node_id(1), at(1_000)).await;
    for (number, key) in [(1, "a"), (2, "b"), (3, "c")] {
        queue(home, number, Some(key), 1).await;
    }
    let full = Room { max_active: 2, deactivate: false };
    let taken = take_with(home, node_id(1), at(5), Some(full)).await;
    assert_eq!(taken.activated, ["a", "b"]);
    assert_eq!(taken.executions, [1, 2].map(execution_id));
    assert_eq!(instances::count(&mut home.read().await, of_tenant(1), core_id()).await.unwrap(), 2);
    let demand =
        async |key| instances::demand(&mut home.read().await, of_tenant(1), core_id(), key).await.unwrap();
    assert_eq!((demand("a").await, demand("c").await, demand("d").await), ((true, 3), (true, 3), (false, 3)));
    // Nobody makes room who has something to do.
    let lru = Room { max_active: 2, deactivate: true };
    assert_eq!(take_with(home, node_id(1), at(5), Some(lru)).await, Taken::default());
    end(home, execution_id(1)).await;
    assert_eq!(take_with(home, node_id(1), at(5), Some(full)).await, Taken::default());
    let taken = take_with(home, node_id(1), at(5), Some(lru)).await;
    let expected = Taken {
        executions: vec![execution_id(3)],
        activated: vec!["c".into()],
        passivated: vec!["a".into()],
    };
    assert_eq!(taken, expected);
}

async fn an_instance_rests_when_it_has_nothing_to_do(home: &Home) {
    hosted(home).await;
    lease(home, node_id(1), at(1_000)).await;
    queue(home, 1, Some("a"), 1).await;
    assert_eq!(take_with(home, node_id(1), at(5), None).await.activated, ["a"]);
    let rest = async || {
        let mut tx = home.begin().await;
        let rests = instances::rest(&mut tx, of_tenant(1), core_id(), "a").await.unwrap();
        tx.commit().await.unwrap();
        rests
    };
    assert!(!rest().await, "it is at work");
    end(home, execution_id(1)).await;
    assert!(rest().await);
    assert!(!rest().await, "it rests");
    // What nobody waits for activates nothing.
    let mut tx = home.begin().await;
    let nobody = vec![Ready { key: "z".into() }];
    let taken =
        instances::take(&mut tx, of_tenant(1), core_id(), nobody, None, (node_id(1), at(6))).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(taken, Taken::default());
    assert_eq!(instances::count(&mut home.read().await, of_tenant(1), core_id()).await.unwrap(), 0);
}
