//! What tenants have set of their workspace.

use scaigrid_persistence::sealed::{self, Store};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::workspace_settings::{self, SettingName};
use scaigrid_persistence::{Connection, data_keys};
use scaigrid_scope::{Level, LevelScope};
use serde_json::{Value, json};

use crate::home::Home;
use crate::values::{SYSTEM, at, settle_two, tenant_id};

crate::on_both_databases! {
    a_setting_is_kept_with_its_secret,
    secrets_are_found_and_sealed_anew,
}

async fn set(home: &Home, vault: &Vault, tenant: u128, name: SettingName, secret: Option<&str>, second: i64) {
    let (mut tx, scope) = (home.begin().await, SYSTEM.tenant(tenant_id(tenant)));
    let document = json!({"of": tenant, "texts": ["ä", null], "at": second});
    workspace_settings::write(&mut tx, scope, name, document, secret, vault, at(second)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn found(
    c: &mut Connection,
    vault: &Vault,
    tenant: u128,
    name: SettingName,
) -> (Value, Option<String>) {
    let scope = SYSTEM.tenant(tenant_id(tenant));
    let setting = workspace_settings::read(c, scope, name).await.unwrap().unwrap();
    let secret = setting.secret(c, scope, vault).await.unwrap();
    (setting.document, secret)
}

async fn a_setting_is_kept_with_its_secret(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    set(home, &vault, 1, SettingName::AiConfig, Some("hush"), 1).await;
    set(home, &vault, 1, SettingName::PromptStudio, None, 2).await;
    let mut c = home.read().await;
    let (document, secret) = found(&mut c, &vault, 1, SettingName::AiConfig).await;
    assert_eq!(
        (document, secret.as_deref()),
        (json!({"of": 1, "texts": ["ä", null], "at": 1}), Some("hush"))
    );
    assert_eq!(found(&mut c, &vault, 1, SettingName::PromptStudio).await.1, None);
    let (own, other) = (SYSTEM.tenant(tenant_id(1)), SYSTEM.tenant(tenant_id(2)));
    assert_eq!(workspace_settings::read(&mut c, own, SettingName::NoteProcessing).await.unwrap(), None);
    assert_eq!(workspace_settings::read(&mut c, other, SettingName::AiConfig).await.unwrap(), None);
    drop(c);
    // What is written again is all that there is.
    set(home, &vault, 1, SettingName::AiConfig, None, 3).await;
    let mut c = home.read().await;
    let (document, secret) = found(&mut c, &vault, 1, SettingName::AiConfig).await;
    assert_eq!((&document["at"], secret), (&json!(3), None));
    let setting = workspace_settings::read(&mut c, own, SettingName::AiConfig).await.unwrap().unwrap();
    assert_eq!(setting.updated_at, at(3));
}

async fn secrets_are_found_and_sealed_anew(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    let level = Level::Tenant(tenant_id(1));
    set(home, &vault, 1, SettingName::AiConfig, Some("hush"), 1).await;
    set(home, &vault, 1, SettingName::PromptStudio, None, 1).await;
    set(home, &vault, 2, SettingName::AiConfig, Some("theirs"), 1).await;
    let mut c = home.read().await;
    let all = sealed::page(&mut c, &SYSTEM, Store::Settings, None, None, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    let rest =
        sealed::page(&mut c, &SYSTEM, Store::Settings, None, Some(&all[0].position), 10).await.unwrap();
    assert_eq!(rest, all[1..]);
    let ours = sealed::page(&mut c, &SYSTEM, Store::Settings, Some(level), None, 10).await.unwrap();
    assert_eq!((ours.len(), ours[0].keys().count(), ours[1].keys().count()), (2, 1, 0));
    drop(c);
    let before = ours[0].keys().next().unwrap().to_owned();
    let scope: LevelScope = SYSTEM.tenant(tenant_id(1)).into();
    let mut tx = home.begin().await;
    assert!(data_keys::renew(&mut tx, scope, &vault, at(50), at(60)).await.unwrap());
    for (row, done) in [(&ours[0], true), (&ours[0], false), (&ours[1], false)] {
        let sealed = sealed::reseal(&mut tx, scope, Store::Settings, &row.position, &vault, at(60)).await;
        assert_eq!(sealed.unwrap(), done);
    }
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let after = sealed::page(&mut c, &SYSTEM, Store::Settings, Some(level), None, 10).await.unwrap();
    assert_ne!(after[0].keys().next().unwrap(), before);
    assert_eq!(found(&mut c, &vault, 1, SettingName::AiConfig).await.1.as_deref(), Some("hush"));
}
