//! Idempotency keys: taken once, answered alike, free again when their time or their node is over.

use std::time::Duration;

use scaigrid_persistence::idempotency::{self, Answer, Begun, KEPT, KeyedRequest};
use scaigrid_persistence::{Database, leases};
use scaigrid_scope::{Instant, TenantScope};

use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant};

crate::on_both_databases! {
    a_request_is_answered_as_before,
    a_key_stands_for_one_body_at_one_endpoint_of_one_tenant,
    of_many_at_once_one_takes_the_key,
    an_abandoned_key_is_free,
    a_key_is_free_when_the_lease_of_its_node_has_ended,
    of_many_who_inherit_a_key_one_takes_it,
    an_answer_is_kept_for_a_day,
    expired_keys_are_purged_oldest_first,
    a_request_that_lost_its_key_settles_nothing,
}

fn request(node: u128) -> KeyedRequest<'static> {
    KeyedRequest {
        endpoint: "POST /v1/users",
        key: "schlüssel-🔑",
        body_hash: [7; 32],
        node: node_id(node),
        begun_at: at(1),
    }
}

fn request_at(node: u128, seconds: i64) -> KeyedRequest<'static> {
    KeyedRequest { begun_at: at(seconds), ..request(node) }
}

fn answer() -> Answer {
    Answer {
        status: 201,
        headers: vec![
            ("location".to_owned(), "/v1/users/ü".to_owned()),
            ("etag".to_owned(), "\"1\"".to_owned()),
        ],
        body: vec![0, 159, 146, 150],
    }
}

/// The lease of node 1 ends at 100, that of node 2 at 1000.
async fn register(home: &Home) {
    let mut tx = home.begin().await;
    leases::register(&mut tx, node_id(1), at(0), at(100)).await.unwrap();
    leases::register(&mut tx, node_id(2), at(0), at(1000)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn begin(database: &Database, scope: TenantScope, request: &KeyedRequest<'_>, now: Instant) -> Begun {
    let mut tx = database.begin().await.unwrap();
    let request = KeyedRequest { begun_at: now, ..*request };
    let begun = idempotency::begin(&mut tx, scope, &request).await.unwrap();
    tx.commit().await.unwrap();
    begun
}

async fn finish(home: &Home, request: &KeyedRequest<'_>) -> bool {
    let mut tx = home.begin().await;
    let finished = idempotency::finish(&mut tx, of_tenant(1), request, &answer()).await.unwrap();
    tx.commit().await.unwrap();
    finished
}

async fn a_request_is_answered_as_before(home: &Home) {
    register(home).await;
    let (scope, first) = (of_tenant(1), request(1));
    assert_eq!(begin(&home.database, scope, &first, at(1)).await, Begun::Fresh);
    assert_eq!(begin(&home.database, scope, &first, at(2)).await, Begun::InUse);
    assert_eq!(begin(&home.database, scope, &request(2), at(2)).await, Begun::InUse);
    assert!(!finish(home, &request(2)).await, "another node answered");
    assert!(finish(home, &first).await);
    assert!(!finish(home, &first).await, "it was answered twice");
    for node in [1, 2] {
        assert_eq!(
            begin(&home.database, scope, &request(node), at(500)).await,
            Begun::Answered(answer()),
            "an answer outlives its node"
        );
    }
}

async fn a_key_stands_for_one_body_at_one_endpoint_of_one_tenant(home: &Home) {
    register(home).await;
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(1)).await, Begun::Fresh);
    let other_body = KeyedRequest { body_hash: [8; 32], ..request(1) };
    assert_eq!(begin(&home.database, of_tenant(1), &other_body, at(2)).await, Begun::OtherBody);
    assert!(finish(home, &request(1)).await);
    assert_eq!(begin(&home.database, of_tenant(1), &other_body, at(3)).await, Begun::OtherBody);
    let elsewhere = KeyedRequest { endpoint: "POST /v1/groups", ..other_body };
    assert_eq!(begin(&home.database, of_tenant(1), &elsewhere, at(3)).await, Begun::Fresh);
    assert_eq!(begin(&home.database, of_tenant(2), &other_body, at(3)).await, Begun::Fresh);
}

async fn all_at_once(home: &Home, node: u128, now: Instant) -> Vec<Begun> {
    let tries = (0..8).map(|_| {
        let database = home.database.clone();
        tokio::spawn(async move { begin(&database, of_tenant(1), &request(node), now).await })
    });
    let mut begun = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        begun.push(one.await.unwrap());
    }
    begun
}

fn one_of_eight(begun: &[Begun]) {
    assert_eq!(begun.iter().filter(|one| **one == Begun::Fresh).count(), 1, "{begun:?}");
    assert_eq!(begun.iter().filter(|one| **one == Begun::InUse).count(), 7, "{begun:?}");
}

async fn of_many_at_once_one_takes_the_key(home: &Home) {
    register(home).await;
    one_of_eight(&all_at_once(home, 1, at(1)).await);
}

async fn an_abandoned_key_is_free(home: &Home) {
    register(home).await;
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(1)).await, Begun::Fresh);
    let mut tx = home.begin().await;
    // Neither another node nor another tenant can give it back.
    idempotency::abandon(&mut tx, of_tenant(1), &request(2)).await.unwrap();
    idempotency::abandon(&mut tx, of_tenant(2), &request(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), at(2)).await, Begun::InUse);
    let mut tx = home.begin().await;
    idempotency::abandon(&mut tx, of_tenant(1), &request(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), at(3)).await, Begun::Fresh);

    // What was answered cannot be given back any more.
    assert!(finish(home, &request_at(2, 3)).await);
    let mut tx = home.begin().await;
    idempotency::abandon(&mut tx, of_tenant(1), &request_at(2, 3)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(4)).await, Begun::Answered(answer()));
}

async fn a_key_is_free_when_the_lease_of_its_node_has_ended(home: &Home) {
    register(home).await;
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(1)).await, Begun::Fresh);
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), at(100)).await, Begun::InUse);
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), at(101)).await, Begun::Fresh);
    assert!(!finish(home, &request(1)).await, "the dead node answered");
    let mut tx = home.begin().await;
    leases::release(&mut tx, node_id(2)).await.unwrap();
    tx.commit().await.unwrap();
    // A node that has gone has no lease at all. The next request may be about something else.
    let other_body = KeyedRequest { body_hash: [8; 32], ..request(1) };
    assert_eq!(begin(&home.database, of_tenant(1), &other_body, at(102)).await, Begun::Fresh);
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(50)).await, Begun::OtherBody);
}

async fn a_request_that_lost_its_key_settles_nothing(home: &Home) {
    register(home).await;
    let (first, second) = (request_at(1, 1), request_at(1, 101));
    assert_eq!(begin(&home.database, of_tenant(1), &first, at(1)).await, Begun::Fresh);
    // The node could not renew its lease in time, and lives.
    assert_eq!(begin(&home.database, of_tenant(1), &second, at(101)).await, Begun::Fresh);
    assert!(!finish(home, &first).await);
    let mut tx = home.begin().await;
    idempotency::abandon(&mut tx, of_tenant(1), &first).await.unwrap();
    tx.commit().await.unwrap();
    assert!(finish(home, &second).await, "the second one holds the key");
}

async fn of_many_who_inherit_a_key_one_takes_it(home: &Home) {
    register(home).await;
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(1)).await, Begun::Fresh);
    one_of_eight(&all_at_once(home, 2, at(101)).await);
}

async fn an_answer_is_kept_for_a_day(home: &Home) {
    register(home).await;
    assert_eq!(begin(&home.database, of_tenant(1), &request(1), at(1)).await, Begun::Fresh);
    assert!(finish(home, &request(1)).await);
    let end = at(1).plus(KEPT);
    let just_before = Instant::from_micros(end.micros() - 1);
    assert_eq!(
        begin(&home.database, of_tenant(1), &request(2), just_before).await,
        Begun::Answered(answer())
    );
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), end).await, Begun::Fresh);
    let mut tx = home.begin().await;
    leases::renew(&mut tx, node_id(2), end.plus(KEPT)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(begin(&home.database, of_tenant(1), &request(2), end).await, Begun::InUse);
}

async fn expired_keys_are_purged_oldest_first(home: &Home) {
    register(home).await;
    let keys = ["a", "b", "c", "d"];
    for (second, key) in (1..).zip(keys) {
        let request = KeyedRequest { key, ..request_at(1, second) };
        assert_eq!(begin(&home.database, of_tenant(1), &request, at(second)).await, Begun::Fresh);
        assert!(finish(home, &request).await);
    }
    let now = at(3).plus(KEPT);
    let mut tx = home.begin().await;
    let day = Duration::from_hours(24);
    assert_eq!(idempotency::purge_expired(&mut tx, &SYSTEM, at(0).plus(day), 10).await.unwrap(), 0);
    assert_eq!(idempotency::purge_expired(&mut tx, &SYSTEM, now, 2).await.unwrap(), 2);
    assert_eq!(idempotency::purge_expired(&mut tx, &SYSTEM, now, 2).await.unwrap(), 1);
    assert_eq!(idempotency::purge_expired(&mut tx, &SYSTEM, now, 2).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let last = KeyedRequest { key: "d", ..request(1) };
    assert_eq!(begin(&home.database, of_tenant(1), &last, now).await, Begun::Answered(answer()));
}
