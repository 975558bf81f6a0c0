//! First and later starts.

use std::sync::Arc;

use scaigrid_app::bootstrap::BootstrapError;
use scaigrid_persistence::sealing::Vault;
use scaigrid_scope::{Level, PlaintextKey, Role};

use crate::house::{application, house};

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let house = house().await;
    let root = house.root().await;
    assert!(root.roles().contains(Role::SuperAdmin));
    assert_eq!((root.level(), root.tenant().slug.as_str()), (Level::Platform, "default"));
    let before = house.audit(&root).await;
    let made = [
        "model.create",
        "backend.create",
        "api_key.create",
        "user.create",
        "tenant.create",
        "partner.create",
    ];
    assert_eq!(before, made);

    let other = application(&house.database, &house.vault, &house.clock);
    let chosen = PlaintextKey::generate(&[1; 32]);
    assert!(other.bootstrap(Some(chosen.clone()), |_| Ok(())).await.unwrap().is_none());
    assert!(house.caller(chosen.reveal(), None).await.is_err());
    assert_eq!(house.audit(&root).await, before);
}

#[tokio::test]
async fn a_node_with_another_master_key_does_not_start() {
    let house = house().await;
    let (own, other) = (house.vault.key_ids().next().unwrap().to_owned(), Vault::generate());
    let vault = Arc::new(Vault::parse(&other).unwrap());
    let refused = application(&house.database, &vault, &house.clock).bootstrap(None, |_| Ok(())).await;
    assert!(matches!(refused, Err(BootstrapError::OtherMasterKey { stored, .. }) if stored == own));
}

#[tokio::test]
async fn of_two_nodes_that_start_at_once_one_sets_up() {
    let dir = tempfile::tempdir().unwrap();
    let url = scaigrid_persistence::DatabaseUrl::Sqlite(dir.path().join("grid.db"));
    let database = scaigrid_persistence::Database::open(&url, 4).await.unwrap();
    let seed = house().await;
    let apps: Vec<_> = (0..4).map(|_| application(&database, &seed.vault, &seed.clock)).collect();
    let starts = apps.iter().map(|app| {
        let app = app.clone();
        tokio::spawn(async move { app.bootstrap(None, |_| Ok(())).await.unwrap() })
    });
    let mut keys = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        keys.extend(start.await.unwrap());
    }
    assert_eq!(keys.len(), 1);
    assert!(apps[0].authenticate(keys[0].reveal(), None, None).await.is_ok());
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_sets_nothing_up() {
    let seed = house().await;
    let dir = tempfile::tempdir().unwrap();
    let url = scaigrid_persistence::DatabaseUrl::Sqlite(dir.path().join("grid.db"));
    let database = scaigrid_persistence::Database::open(&url, 4).await.unwrap();
    let app = application(&database, &seed.vault, &seed.clock);
    let refused = app.bootstrap(None, |_| Err(std::io::Error::other("the disk is full"))).await;
    assert!(matches!(refused, Err(BootstrapError::NotKept(_))));
    let key = app.bootstrap(None, |_| Ok(())).await.unwrap().unwrap();
    assert!(app.authenticate(key.reveal(), None, None).await.is_ok());
}
