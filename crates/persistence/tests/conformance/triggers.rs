//! What was registered to start flows, and messages that came in.

use scaigrid_cores::triggers::{Kind, Listens, Trigger};
use scaigrid_persistence::sealed::{self, Store};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Error, Written, cores, data_keys, hook_messages, triggers};
use scaigrid_scope::{Name, TriggerId};
use serde_json::{Value, json};

use crate::commit::{core_id, execution_id, hosted};
use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, ulid, user_id};

crate::on_both_databases! {
    triggers_are_kept_with_their_core,
    a_secret_lies_sealed_and_its_predecessor_beside_it,
    a_message_is_noted_once,
    a_core_is_touched_only_as_it_was_seen,
}

fn vault() -> Vault {
    Vault::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

fn trigger(number: u128, name: &str, kind: Kind, config: &Value) -> Trigger {
    Trigger {
        id: TriggerId::from_ulid(ulid(number)),
        name: Name::parse(name).unwrap(),
        flow: "main".to_owned(),
        listens: Listens::parse(kind, config.as_object().unwrap()).unwrap(),
        created_by: user_id(1),
        created_at: at(1),
    }
}

fn each() -> [Trigger; 4] {
    [
        trigger(1, "a", Kind::Api, &json!({"path": "/a/{b}", "public": true})),
        trigger(2, "b", Kind::Webhook, &json!({"scheme": "github"})),
        trigger(
            3,
            "c",
            Kind::Schedule,
            &json!({"cron": "0 8 * * 1", "timezone": "Europe/Berlin", "catch_up": "all"}),
        ),
        trigger(4, "d", Kind::Event, &json!({"event": "x.*", "filter": "data.n > 1"})),
    ]
}

async fn triggers_are_kept_with_their_core(home: &Home) {
    let core = hosted(home).await;
    let (scope, id) = (of_tenant(1), core_id());
    let mut tx = home.begin().await;
    for trigger in each() {
        triggers::add(&mut tx, scope, id, &trigger, None).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = home.begin().await;
    let same = trigger(5, "a", Kind::Event, &json!({"event": "x"}));
    let twice = triggers::add(&mut tx, scope, id, &same, None).await;
    assert!(matches!(twice, Err(Error::Duplicate(_))), "{twice:?}");
    drop(tx);

    let mut c = home.read().await;
    assert_eq!(triggers::list(&mut c, scope, id).await.unwrap(), each());
    assert_eq!(triggers::list(&mut c, of_tenant(2), id).await.unwrap(), []);
    let found = cores::lookup(&mut c, scope, id, &vault()).await.unwrap().unwrap().value;
    assert_eq!((found.triggers.as_slice(), &found.name), (&each()[..], &core.name));
    let filter = cores::CoreFilter::default();
    let listed = cores::list(&mut c, scope, &filter, None, 10, &vault()).await.unwrap();
    assert_eq!(listed[0].triggers.len(), 4);
    assert_eq!(cores::tenant_of(&mut c, &SYSTEM, id).await.unwrap(), Some(core.tenant_id));
    drop(c);

    let mut tx = home.begin().await;
    let first = TriggerId::from_ulid(ulid(1));
    assert!(!triggers::remove(&mut tx, of_tenant(2), id, first).await.unwrap());
    assert!(triggers::remove(&mut tx, scope, id, first).await.unwrap());
    assert!(!triggers::remove(&mut tx, scope, id, first).await.unwrap());
    // The others go with their Core, and messages with them.
    let place = (id, TriggerId::from_ulid(ulid(2)), "m");
    hook_messages::note(&mut tx, scope, place, None, at(1)).await.unwrap();
    assert_eq!(cores::delete(&mut tx, scope, id, 100).await.unwrap(), Some(true));
    assert_eq!(triggers::list(&mut tx, scope, id).await.unwrap(), []);
    assert_eq!(hook_messages::first(&mut tx, scope, place).await.unwrap(), None);
    assert_eq!(cores::tenant_of(&mut tx, &SYSTEM, id).await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_secret_lies_sealed_and_its_predecessor_beside_it(home: &Home) {
    hosted(home).await;
    let (scope, id, vault) = (of_tenant(1), core_id(), vault());
    let hook = trigger(2, "b", Kind::Webhook, &json!({}));
    let (place, before) =
        (triggers::sealing_place(&hook.id.to_string()), triggers::previous_place(&hook.id.to_string()));
    let mut tx = home.begin().await;
    let sealer = data_keys::sealer(&mut tx, scope, &vault, at(1)).await.unwrap();
    let first = sealer.seal(&place, "first secret").unwrap();
    triggers::add(&mut tx, scope, id, &hook, Some(&first)).await.unwrap();
    assert_eq!(triggers::secrets(&mut tx, scope, id, hook.id).await.unwrap(), Some((first, None)));
    let (second, old) =
        (sealer.seal(&place, "second secret").unwrap(), sealer.seal(&before, "first secret").unwrap());
    triggers::rotate_secret(&mut tx, scope, (id, hook.id), &second, Some((&old, at(9)))).await.unwrap();
    assert_eq!(triggers::secrets(&mut tx, of_tenant(2), id, hook.id).await.unwrap(), None);
    tx.commit().await.unwrap();

    // A younger key seals both anew.
    let mut tx = home.begin().await;
    assert!(data_keys::renew(&mut tx, scope, &vault, at(10), at(20)).await.unwrap());
    let found = sealed::page(&mut tx, &SYSTEM, Store::Triggers, None, None, 10).await.unwrap();
    assert_eq!((found.len(), found[0].keys().count()), (1, 1));
    let position = &found[0].position;
    assert!(sealed::reseal(&mut tx, scope.into(), Store::Triggers, position, &vault, at(21)).await.unwrap());
    assert!(!sealed::reseal(&mut tx, scope.into(), Store::Triggers, position, &vault, at(21)).await.unwrap());
    let (now, previous) = triggers::secrets(&mut tx, scope, id, hook.id).await.unwrap().unwrap();
    let previous = previous.unwrap();
    assert_ne!(now, second);
    let opener =
        data_keys::opener(&mut tx, scope, &vault, [now.as_str(), previous.sealed.as_str()]).await.unwrap();
    assert_eq!(opener.open(&place, &now).unwrap(), "second secret");
    assert_eq!(
        (opener.open(&before, &previous.sealed).unwrap().as_str(), previous.until),
        ("first secret", at(9))
    );
    tx.commit().await.unwrap();
}

async fn a_message_is_noted_once(home: &Home) {
    hosted(home).await;
    let (scope, trigger) = (of_tenant(1), TriggerId::from_ulid(ulid(2)));
    let place = (core_id(), trigger, "hash");
    let mut tx = home.begin().await;
    assert_eq!(hook_messages::first(&mut tx, scope, place).await.unwrap(), None);
    assert!(hook_messages::note(&mut tx, scope, place, Some(execution_id(1)), at(5)).await.unwrap());
    assert!(!hook_messages::note(&mut tx, scope, place, Some(execution_id(2)), at(6)).await.unwrap());
    let other = (core_id(), TriggerId::from_ulid(ulid(3)), "hash");
    assert!(hook_messages::note(&mut tx, scope, other, None, at(7)).await.unwrap());
    assert_eq!(hook_messages::first(&mut tx, scope, place).await.unwrap(), Some(Some(execution_id(1))));
    assert_eq!(hook_messages::first(&mut tx, scope, other).await.unwrap(), Some(None));
    assert_eq!(hook_messages::first(&mut tx, of_tenant(2), place).await.unwrap(), None);
    assert_eq!(hook_messages::purge(&mut tx, &SYSTEM, at(7), 10).await.unwrap(), 1);
    assert_eq!(hook_messages::first(&mut tx, scope, place).await.unwrap(), None);
    assert_eq!(hook_messages::purge(&mut tx, &SYSTEM, at(8), 0).await.unwrap(), 0);
    assert_eq!(hook_messages::purge(&mut tx, &SYSTEM, at(8), 10).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

async fn a_core_is_touched_only_as_it_was_seen(home: &Home) {
    let core = hosted(home).await;
    let scope = of_tenant(1);
    let mut tx = home.begin().await;
    assert_eq!(cores::touch(&mut tx, scope, core.id, 7, at(3)).await.unwrap(), Written::Stale);
    assert_eq!(cores::touch(&mut tx, of_tenant(2), core.id, 1, at(3)).await.unwrap(), Written::Missing);
    assert_eq!(cores::touch(&mut tx, scope, core.id, 1, at(3)).await.unwrap(), Written::Done);
    let found = cores::lookup(&mut tx, scope, core.id, &vault()).await.unwrap().unwrap();
    assert_eq!((found.revision, found.value.updated_at), (2, at(3)));
    tx.commit().await.unwrap();
}
