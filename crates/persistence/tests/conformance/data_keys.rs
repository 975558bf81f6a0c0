//! Data keys: made once with the first secret, wrapped by master keys that change, and each tenant's own.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_persistence::data_keys::{self, OldKeys, Sealer};
use scaigrid_persistence::idempotency::{self, Answer, Begun, KeyedRequest};
use scaigrid_persistence::sealed::{self, Position, Store};
use scaigrid_persistence::sealing::{SealingError, Vault};
use scaigrid_scope::{Level, TenantScope};

use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant, settle_two, tenant_id};

crate::on_both_databases! {
    a_secret_opens_in_its_tenant_and_place_only,
    the_first_key_is_made_once,
    a_key_that_came_to_nothing_does_no_harm,
    texts_of_earlier_versions_open,
    keys_are_wrapped_anew_and_open_what_they_sealed,
    a_younger_key_seals_and_the_older_opens,
    a_younger_key_waits_for_those_who_seal_under_the_older,
    old_keys_are_told_and_removed,
    what_is_sealed_is_found_and_sealed_anew,
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

async fn renew(home: &Home, tenant: u128, vault: &Vault, before: i64) {
    let mut tx = home.begin().await;
    assert!(data_keys::renew(&mut tx, of_tenant(tenant), vault, at(before), at(before)).await.unwrap());
    tx.commit().await.unwrap();
}

async fn a_younger_key_waits_for_those_who_seal_under_the_older(home: &Home) {
    settle_two(home).await;
    let vault = Arc::new(vault());
    seal(home, of_tenant(1), &vault).await;
    let mut tx = home.begin().await;
    let text = data_keys::sealer(&mut tx, of_tenant(1), &vault, at(1)).await.unwrap();
    let text = text.seal(PLACE, "hush").unwrap();
    let (database, other) = (home.database.clone(), Arc::clone(&vault));
    let mut renewing = tokio::spawn(async move {
        let mut tx = database.begin().await.unwrap();
        assert!(data_keys::renew(&mut tx, of_tenant(1), &other, at(2), at(2)).await.unwrap());
        tx.commit().await.unwrap();
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut renewing).await;
    assert!(early.is_err(), "somebody is sealing under the youngest key still");
    tx.commit().await.unwrap();
    renewing.await.unwrap();
    let mut tx = home.begin().await;
    let sealer = data_keys::sealer(&mut tx, of_tenant(1), &vault, at(3)).await.unwrap();
    assert!(!sealer.has_sealed(&text));
    tx.commit().await.unwrap();
}

async fn old_keys_are_told_and_removed(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let first = seal(home, of_tenant(1), &vault).await;
    seal(home, of_tenant(2), &vault).await;
    let all_old = async || {
        let mut c = home.read().await;
        data_keys::old(&mut c, &SYSTEM, None, 10).await.unwrap()
    };
    assert_eq!(all_old().await, []);
    renew(home, 1, &vault, 2).await;
    let second = seal(home, of_tenant(1), &vault).await;
    renew(home, 1, &vault, 3).await;
    renew(home, 2, &vault, 3).await;
    let key = |text: &str| text.split('.').nth(1).unwrap().to_owned();
    let found = all_old().await;
    assert_eq!(found.len(), 2);
    let own = OldKeys { level: Level::Tenant(tenant_id(1)), ids: vec![key(&first), key(&second)] };
    assert_eq!(found[0], own);
    let mut c = home.read().await;
    let after = data_keys::old(&mut c, &SYSTEM, Some(found[0].level), 10).await.unwrap();
    assert_eq!(after, found[1..]);
    let youngest = data_keys::youngest_id(&mut c, of_tenant(1)).await.unwrap().unwrap();
    drop(c);
    let mut tx = home.begin().await;
    let ids = [own.ids.clone(), vec![youngest.clone()]].concat();
    assert_eq!(data_keys::remove(&mut tx, of_tenant(2), &ids).await.unwrap(), 0, "they are another's");
    assert_eq!(data_keys::remove(&mut tx, of_tenant(1), &ids).await.unwrap(), 2, "the youngest stays");
    tx.commit().await.unwrap();
    assert_eq!(all_old().await, found[1..]);
    let fresh = self::vault();
    assert!(matches!(open(home, of_tenant(1), &fresh, &first).await, Err(SealingError::UnknownDataKey(_))));
}

/// All rows of a store that hold something sealed, two at a time.
async fn all(home: &Home, store: Store, of: Option<Level>) -> Vec<sealed::Found> {
    let (mut found, mut after): (Vec<sealed::Found>, Option<Position>) = (Vec::new(), None);
    loop {
        let mut c = home.read().await;
        let page = sealed::page(&mut c, &SYSTEM, store, of, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { return found };
        after = Some(last.position.clone());
        found.extend(page);
    }
}

async fn what_is_sealed_is_found_and_sealed_anew(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let keyed = |key: &'static str| KeyedRequest {
        endpoint: "POST /v1/x",
        key,
        body_hash: [1; 32],
        node: node_id(1),
        begun_at: at(1),
    };
    for (tenant, key) in [(1, "a"), (1, "b"), (1, "open"), (2, "a")] {
        let mut tx = home.begin().await;
        let (scope, request) = (of_tenant(tenant), keyed(key));
        assert_eq!(idempotency::begin(&mut tx, scope, &request).await.unwrap(), Begun::Fresh);
        if key != "open" {
            let place = idempotency::sealing_place(request.endpoint, key);
            let sealer = data_keys::sealer(&mut tx, scope, &vault, at(1)).await.unwrap();
            let body = sealer.seal(&place, &format!("{tenant}{key}")).unwrap().into_bytes();
            let answer = Answer { status: 201, headers: Vec::new(), body };
            assert!(idempotency::finish(&mut tx, scope, &request, &answer).await.unwrap());
        }
        tx.commit().await.unwrap();
    }
    assert_eq!(all(home, Store::Answers, None).await.len(), 4);
    let one = Level::Tenant(tenant_id(1));
    let found = all(home, Store::Answers, Some(one)).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(all(home, Store::Answers, Some(Level::Platform)).await, []);
    let youngest = async || data_keys::youngest_id(&mut home.read().await, of_tenant(1)).await.unwrap();
    let old = youngest().await;
    assert!(found.iter().all(|found| found.is_under(old.as_deref())));
    renew(home, 1, &vault, 2).await;
    let young = youngest().await;
    let waiting =
        |found: &[sealed::Found]| found.iter().filter(|one| !one.is_under(young.as_deref())).count();
    assert_eq!(waiting(&found), 2, "what has no answer yet holds nothing");
    for (stranger, sealed_anew) in [(2, 0), (1, 2), (1, 0)] {
        let mut count = 0;
        for found in &found {
            let mut tx = home.begin().await;
            let (scope, at_) = (of_tenant(stranger).into(), at(3));
            let done = sealed::reseal(&mut tx, scope, Store::Answers, &found.position, &vault, at_).await;
            count += usize::from(done.unwrap());
            tx.commit().await.unwrap();
        }
        assert_eq!(count, sealed_anew, "{stranger}");
    }
    let after = all(home, Store::Answers, Some(one)).await;
    assert_eq!(waiting(&after), 0);
    assert!(after.iter().flat_map(sealed::Found::keys).all(|key| Some(key) == young.as_deref()));
    let mut tx = home.begin().await;
    let Begun::Answered(answer) =
        idempotency::begin(&mut tx, of_tenant(1), &KeyedRequest { begun_at: at(4), ..keyed("b") })
            .await
            .unwrap()
    else {
        panic!("it was answered")
    };
    let text = String::from_utf8(answer.body).unwrap();
    let opener = data_keys::opener(&mut tx, of_tenant(1), &vault, [text.as_str()]).await.unwrap();
    assert_eq!(opener.open(&idempotency::sealing_place("POST /v1/x", "b"), &text).unwrap(), "1b");
}

/// Whoever seals is known to the stores, so that a change of keys reaches what they seal. A file that is new here needs a
/// store, or a place in one.
#[test]
fn all_who_seal_are_known() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        files(&entry.unwrap().path().join("src"), &mut sources);
    }
    let mut sealing: Vec<String> = sources
        .iter()
        .filter(|path| std::fs::read_to_string(path).unwrap().contains("data_keys::sealer("))
        .map(|path| path.strip_prefix(crates).unwrap().to_string_lossy().into_owned())
        .collect();
    sealing.sort();
    let known = [
        "app/src/cores/triggers.rs",
        "app/src/idempotency.rs",
        "app/src/webhooks/mod.rs",
        "persistence/src/backends.rs",
        "persistence/src/cores/environment.rs",
        "persistence/src/module_configs.rs",
        "persistence/src/plugins.rs",
        "persistence/src/sealed.rs",
        "persistence/src/signing_keys.rs",
        "persistence/src/workspace_settings.rs",
    ];
    assert_eq!(sealing, known);
}
