//! The registry of plugins.

use scaigrid_cores::plugins::{Credentials, Manifest, PluginKind, PluginName, Registration};
use scaigrid_persistence::sealed::{self, Store};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Error, Written, plugins};
use scaigrid_scope::{Level, LevelScope};
use serde_json::json;

use crate::home::Home;
use crate::values::{SYSTEM, at, settle_two, tenant_id};

crate::on_both_databases! {
    a_plugin_is_kept_as_it_is,
    a_change_knows_what_it_changes,
    plugins_are_listed_by_name_and_by_tenant,
    credentials_are_found_and_sealed_anew,
}

fn vault() -> Vault {
    Vault::parse(&Vault::generate()).unwrap()
}

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

fn manifest(text: &str) -> Manifest {
    let method =
        json!({"name": "a", "description": text, "effect": "keyed", "input_schema": {"n": [1, 2.5, null]}});
    Manifest::parse(json!({"version": "1", "methods": [method], "hosts": ["a.example"]}), "manifest").unwrap()
}

fn registration(plugin: &str, tenant: u128) -> Registration {
    let secret = json!({"type": "basic", "username": "me", "password": "hush ${env.X}"});
    Registration {
        tenant_id: tenant_id(tenant),
        plugin: name(plugin),
        kind: PluginKind::Mcp,
        endpoint: "https://a.example/mcp?x=1".parse().unwrap(),
        credentials: Some(Credentials::parse(secret, "credentials", None).unwrap()),
        accepted: manifest("was"),
        found: Some(manifest("is")),
        read_at: Some(at(5)),
        created_at: at(1),
        updated_at: at(2),
    }
}

async fn keep(home: &Home, vault: &Vault, registration: &Registration) {
    let mut tx = home.begin().await;
    plugins::add(&mut tx, SYSTEM.tenant(registration.tenant_id), registration, vault).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_plugin_is_kept_as_it_is(home: &Home) {
    settle_two(home).await;
    let (vault, scope) = (vault(), SYSTEM.tenant(tenant_id(1)));
    let whole = registration("acme/crm@2", 1);
    let bare = Registration { credentials: None, found: None, read_at: None, ..registration("bare", 1) };
    for registration in [&whole, &bare] {
        keep(home, &vault, registration).await;
        let mut c = home.read().await;
        let found = plugins::lookup(&mut c, scope, &registration.plugin, &vault).await.unwrap().unwrap();
        assert_eq!((&found.value, found.revision), (registration, 1));
        let mark = plugins::mark(&mut c, scope, &registration.plugin).await.unwrap();
        assert_eq!(mark, Some((1, registration.created_at.micros())));
    }
    let mut tx = home.begin().await;
    let twice = plugins::add(&mut tx, scope, &bare, &vault).await;
    assert!(matches!(twice, Err(Error::Duplicate(_))), "{twice:?}");
}

async fn a_change_knows_what_it_changes(home: &Home) {
    settle_two(home).await;
    let (vault, scope) = (vault(), SYSTEM.tenant(tenant_id(1)));
    let before = registration("crm", 1);
    keep(home, &vault, &before).await;
    let after = Registration { updated_at: at(9), ..before.clone().accepting() };
    let mut tx = home.begin().await;
    assert_eq!(plugins::save(&mut tx, scope, &after, 1, &vault).await.unwrap(), Written::Done);
    assert_eq!(plugins::save(&mut tx, scope, &after, 1, &vault).await.unwrap(), Written::Stale);
    let other = SYSTEM.tenant(tenant_id(2));
    assert_eq!(plugins::delete(&mut tx, other, &before.plugin, 2).await.unwrap(), Written::Missing);
    let gone = Registration { plugin: name("gone"), ..after.clone() };
    assert_eq!(plugins::save(&mut tx, scope, &gone, 1, &vault).await.unwrap(), Written::Missing);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let found = plugins::lookup(&mut c, scope, &before.plugin, &vault).await.unwrap().unwrap();
    assert_eq!((found.value, found.revision), (after, 2));
    drop(c);
    let mut tx = home.begin().await;
    assert_eq!(plugins::delete(&mut tx, scope, &before.plugin, 1).await.unwrap(), Written::Stale);
    assert_eq!(plugins::delete(&mut tx, scope, &before.plugin, 2).await.unwrap(), Written::Done);
    assert_eq!(plugins::delete(&mut tx, scope, &before.plugin, 2).await.unwrap(), Written::Missing);
    tx.commit().await.unwrap();
}

async fn plugins_are_listed_by_name_and_by_tenant(home: &Home) {
    settle_two(home).await;
    let (vault, scope) = (vault(), SYSTEM.tenant(tenant_id(1)));
    for (plugin, tenant) in [("c", 1), ("a", 1), ("b", 2), ("B", 1)] {
        keep(home, &vault, &registration(plugin, tenant)).await;
    }
    let mut c = home.read().await;
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = plugins::list(&mut c, scope, after.as_ref(), 2, &vault).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.value.plugin.clone());
        listed.extend(page.iter().map(|found| found.value.plugin.to_string()));
    }
    listed.sort_unstable();
    assert_eq!(listed, ["B", "a", "c"]);
    assert_eq!(plugins::count(&mut c, scope).await.unwrap(), 3);
    let theirs = plugins::lookup(&mut c, scope, &name("b"), &vault).await.unwrap();
    assert!(theirs.is_none());
}

async fn credentials_are_found_and_sealed_anew(home: &Home) {
    settle_two(home).await;
    let vault = vault();
    let level = Level::Tenant(tenant_id(1));
    keep(home, &vault, &registration("a", 1)).await;
    keep(home, &vault, &Registration { credentials: None, ..registration("b", 1) }).await;
    keep(home, &vault, &registration("c", 2)).await;
    let mut c = home.read().await;
    let all = sealed::page(&mut c, &SYSTEM, Store::Plugins, None, None, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    let rest = sealed::page(&mut c, &SYSTEM, Store::Plugins, None, Some(&all[0].position), 10).await.unwrap();
    assert_eq!(rest, all[1..]);
    let ours = sealed::page(&mut c, &SYSTEM, Store::Plugins, Some(level), None, 10).await.unwrap();
    assert_eq!((ours.len(), ours[0].keys().count(), ours[1].keys().count()), (2, 1, 0));
    drop(c);
    let before = ours[0].keys().next().unwrap().to_owned();
    let scope: LevelScope = SYSTEM.tenant(tenant_id(1)).into();
    let mut tx = home.begin().await;
    let renewed =
        scaigrid_persistence::data_keys::renew(&mut tx, scope, &vault, at(50), at(60)).await.unwrap();
    assert!(renewed);
    let done =
        sealed::reseal(&mut tx, scope, Store::Plugins, &ours[0].position, &vault, at(60)).await.unwrap();
    assert!(done);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let after = sealed::page(&mut c, &SYSTEM, Store::Plugins, Some(level), None, 10).await.unwrap();
    assert_ne!(after[0].keys().next().unwrap(), before);
    let found =
        plugins::lookup(&mut c, SYSTEM.tenant(tenant_id(1)), &name("a"), &vault).await.unwrap().unwrap();
    assert_eq!((found.value, found.revision), (registration("a", 1), 1));
}
