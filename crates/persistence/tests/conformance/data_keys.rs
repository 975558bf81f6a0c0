//! Data keys: made once with the first secret, wrapped by master keys that change, and each tenant's own.

use std::sync::Arc;

use scaigrid_persistence::data_keys::{self, Sealer};
use scaigrid_persistence::sealing::{SealingError, Vault};
use scaigrid_scope::TenantScope;

use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, settle_two};

crate::on_both_databases! {
    a_secret_opens_in_its_tenant_and_place_only,
    the_first_key_is_made_once,
    a_key_that_came_to_nothing_does_no_harm,
    texts_of_earlier_versions_open,
    keys_are_wrapped_anew_and_open_what_they_sealed,
    a_younger_key_seals_and_the_older_opens,
}

const PLACE: &str = "cores/core_1/environment/KEY";

fn vault() -> Vault {
    Vault::parse(&Vault::generate()).unwrap()
}

async fn seal(home: &Home, scope: TenantScope, vault: &Vault) -> String {
    let mut tx = home.begin().await;
    let sealed = data_keys::sealer(&mut tx, scope, vault, at(1)).await.unwrap().seal(PLACE, "hush").unwrap();
    tx.commit().await.unwrap();
    sealed
}

async fn open(home: &Home, scope: TenantScope, vault: &Vault, text: &str) -> Result<String, SealingError> {
    let mut c = home.read().await;
    data_keys::opener(&mut c, scope, vault, [text]).await.unwrap().open(PLACE, text)
}

async fn a_secret_opens_in_its_tenant_and_place_only(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let sealed = seal(home, of_tenant(1), &vault).await;
    assert!(sealed.starts_with("2.") && !sealed.contains("hush"));
    assert_ne!(seal(home, of_tenant(1), &vault).await, sealed, "a nonce is used once");
    assert_eq!(open(home, of_tenant(1), &vault, &sealed).await.unwrap(), "hush");
    let mut c = home.read().await;
    let opener = data_keys::opener(&mut c, of_tenant(1), &vault, [sealed.as_str()]).await.unwrap();
    assert_eq!(opener.open("elsewhere", &sealed), Err(SealingError::Broken));
    drop(c);
    let foreign = open(home, of_tenant(2), &vault, &sealed).await;
    assert!(matches!(foreign, Err(SealingError::UnknownDataKey(_))), "{foreign:?}");
    for broken in ["2", "2.", "2.x", "2.x.y", "3.x.y", &sealed[..sealed.len() - 4], &format!("{sealed}?")] {
        assert!(open(home, of_tenant(1), &vault, broken).await.is_err(), "{broken}");
    }
}

async fn the_first_key_is_made_once(home: &Home) {
    settle_two(home).await;
    let vault = Arc::new(vault());
    let mut sealing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (database, vault) = (home.database.clone(), Arc::clone(&vault));
        sealing.spawn(async move {
            let mut tx = database.begin().await.unwrap();
            let sealer = data_keys::sealer(&mut tx, of_tenant(1), &vault, at(1)).await.unwrap();
            let text = sealer.seal(PLACE, "hush").unwrap();
            tx.commit().await.unwrap();
            text
        });
    }
    let texts = sealing.join_all().await;
    let key = |text: &str| text.split('.').nth(1).unwrap().to_owned();
    assert!(texts.iter().all(|text| key(text) == key(&texts[0])), "{texts:?}");
    // As another process sees it, which remembers nothing: there is a key for every text.
    for text in &texts {
        assert_eq!(open(home, of_tenant(1), &vault, text).await.unwrap(), "hush");
    }
}

async fn a_key_that_came_to_nothing_does_no_harm(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let mut tx = home.begin().await;
    let lost =
        data_keys::sealer(&mut tx, of_tenant(1), &vault, at(1)).await.unwrap().seal(PLACE, "lost").unwrap();
    let opener = data_keys::opener(&mut tx, of_tenant(1), &vault, [lost.as_str()]).await.unwrap();
    assert_eq!(opener.open(PLACE, &lost).unwrap(), "lost");
    drop(opener);
    tx.rollback().await.unwrap();
    let sealed = seal(home, of_tenant(1), &vault).await;
    assert_ne!(sealed.split('.').nth(1), lost.split('.').nth(1));
    assert_eq!(open(home, of_tenant(1), &vault, &sealed).await.unwrap(), "hush");
}

async fn texts_of_earlier_versions_open(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
    let derived = "1.72cd6e8422c407fb.70IJS-NPnX0EehLBnd4SLP4y91ej6GC_Pi8VBuXA-u2ao4eKZdxN4DUDpg";
    assert_eq!(open(home, of_tenant(1), &vault, derived).await.unwrap(), "old");
    assert_eq!(open(home, of_tenant(2), &vault, derived).await, Err(SealingError::Broken));
}

async fn keys_are_wrapped_anew_and_open_what_they_sealed(home: &Home) {
    settle_two(home).await;
    let (old, new) = (Vault::generate(), Vault::generate());
    let [old_only, new_only, both] =
        [&old, &new, &format!("{new},{old}")].map(|keys| Vault::parse(keys).unwrap());
    let sealed = [seal(home, of_tenant(1), &old_only).await, seal(home, of_tenant(2), &old_only).await];
    let refused = open(home, of_tenant(1), &new_only, &sealed[0]).await;
    assert!(matches!(refused, Err(SealingError::UnknownKey(_))), "{refused:?}");
    let mut c = home.read().await;
    assert_eq!(data_keys::count_to_wrap(&mut c, &SYSTEM, &both).await.unwrap(), 2);
    drop(c);
    // One by one, and taken back once in between.
    let mut tx = home.begin().await;
    assert_eq!(data_keys::wrap_some(&mut tx, &SYSTEM, &both, 1).await.unwrap(), 1);
    tx.rollback().await.unwrap();
    for left in [1, 0] {
        let mut tx = home.begin().await;
        assert_eq!(data_keys::wrap_some(&mut tx, &SYSTEM, &both, 1).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut c = home.read().await;
        assert_eq!(data_keys::count_to_wrap(&mut c, &SYSTEM, &both).await.unwrap(), left);
        drop(c);
        // Whatever is wrapped by which: whoever has both keys and remembers nothing opens all.
        for (scope, sealed) in [of_tenant(1), of_tenant(2)].into_iter().zip(&sealed) {
            let fresh = Vault::parse(&format!("{new},{old}")).unwrap();
            assert_eq!(open(home, scope, &fresh, sealed).await.unwrap(), "hush");
        }
    }
    let mut tx = home.begin().await;
    assert_eq!(data_keys::wrap_some(&mut tx, &SYSTEM, &both, 10).await.unwrap(), 0);
    let masters = data_keys::master_keys(&mut tx, &SYSTEM).await.unwrap();
    assert!(masters.iter().map(String::as_str).eq(new_only.key_ids()));
    tx.commit().await.unwrap();
    assert_eq!(open(home, of_tenant(1), &new_only, &sealed[0]).await.unwrap(), "hush");
}

async fn a_younger_key_seals_and_the_older_opens(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let old = seal(home, of_tenant(1), &vault).await;
    let mut tx = home.begin().await;
    let renew = async |tx: &mut _, tenant, before| {
        data_keys::renew(tx, of_tenant(tenant), &vault, at(before), at(before)).await.unwrap()
    };
    assert!(!renew(&mut tx, 1, 1).await, "it was made at that very instant");
    assert!(renew(&mut tx, 1, 2).await);
    assert!(!renew(&mut tx, 1, 2).await, "the same run does it once");
    assert!(!renew(&mut tx, 2, 2).await, "without a key there is nothing to renew");
    tx.commit().await.unwrap();
    let young = seal(home, of_tenant(1), &vault).await;
    let mut tx = home.begin().await;
    let sealer: Sealer = data_keys::sealer(&mut tx, of_tenant(1), &vault, at(3)).await.unwrap();
    assert!(sealer.has_sealed(&young) && !sealer.has_sealed(&old));
    tx.commit().await.unwrap();
    for text in [&old, &young] {
        assert_eq!(open(home, of_tenant(1), &vault, text).await.unwrap(), "hush");
    }
}
