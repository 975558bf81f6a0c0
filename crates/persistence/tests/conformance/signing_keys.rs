//! Signing keys: one of each generation, whoever makes it, and sealed.

use std::sync::Arc;

use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::signing_keys;

use crate::home::Home;
use crate::values::{SYSTEM, at, settle_two};

crate::on_both_databases! {
    a_key_opens_with_its_master_key_only,
    two_that_make_a_generation_end_with_one,
    old_ones_are_removed,
}

async fn add(home: &Home, vault: &Vault, generation: i32, id: &str) -> bool {
    let mut tx = home.begin().await;
    let halves = (&b"public"[..], id.as_bytes());
    let added = signing_keys::add(&mut tx, &SYSTEM, vault, (generation, id), halves, at(7)).await.unwrap();
    tx.commit().await.unwrap();
    added
}

async fn a_key_opens_with_its_master_key_only(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    assert!(add(home, &vault, 1, "one").await);
    let mut c = home.read().await;
    let keys = signing_keys::list(&mut c, &SYSTEM).await.unwrap();
    assert_eq!((keys.len(), keys[0].id.as_str(), keys[0].created_at), (1, "one", at(7)));
    assert_eq!(keys[0].public_key, b"public");
    let private = signing_keys::open(&mut c, &SYSTEM, &vault, &keys[0]).await.unwrap();
    assert_eq!(&private[..], b"one");
    let other = Vault::parse(&Vault::generate()).unwrap();
    assert!(signing_keys::open(&mut c, &SYSTEM, &other, &keys[0]).await.is_err());
}

async fn two_that_make_a_generation_end_with_one(home: &Home) {
    settle_two(home).await;
    let vault = Arc::new(Vault::parse(&Vault::generate()).unwrap());
    let (one, two) = tokio::join!(add(home, &vault, 1, "one"), add(home, &vault, 1, "two"));
    assert!(one != two, "{one} {two}");
    let mut c = home.read().await;
    let keys = signing_keys::list(&mut c, &SYSTEM).await.unwrap();
    assert_eq!(keys.len(), 1);
    let private = signing_keys::open(&mut c, &SYSTEM, &vault, &keys[0]).await.unwrap();
    assert_eq!(&private[..], keys[0].id.as_bytes());
}

async fn old_ones_are_removed(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    for (generation, id) in [(1, "one"), (2, "two"), (3, "three")] {
        assert!(add(home, &vault, generation, id).await);
    }
    let mut tx = home.begin().await;
    assert_eq!(signing_keys::remove_before(&mut tx, &SYSTEM, 3).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let left = signing_keys::list(&mut c, &SYSTEM).await.unwrap();
    assert_eq!(left.iter().map(|key| key.generation).collect::<Vec<_>>(), [3]);
}
