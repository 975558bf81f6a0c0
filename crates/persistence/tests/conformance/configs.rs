//! What levels have configured of modules.

use std::collections::BTreeSet;

use scaigrid_modules::ModuleId;
use scaigrid_modules::config::{ConfigSchema, Layer, Origin};
use scaigrid_persistence::module_configs::{self, ModuleConfig};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::users;
use scaigrid_scope::{Level, LevelScope};
use serde_json::{Value, json};

use crate::home::Home;
use crate::values::{
    SYSTEM, at, of_partner, of_tenant, partner_id, platform, settle_two, tenant_id, user_id,
};

crate::on_both_databases! {
    a_configuration_comes_back_as_it_was,
    a_tenant_is_told_what_bears_on_it_and_nothing_else,
    whoever_has_not_seen_the_latest_writes_nothing,
    of_many_who_begin_one_is_first,
    a_secret_opens_for_its_level_only,
    addresses_are_told_of_those_under_the_level,
}

fn scaibot() -> ModuleId {
    ModuleId::parse("scaibot").unwrap()
}

fn schema() -> ConfigSchema {
    ConfigSchema::parse(json!({"properties": {
        "key": {"writeOnly": true}, "list": {"items": {"properties": {"token": {"writeOnly": true}}}}
    }}))
    .unwrap()
}

fn layer(patch: &Value) -> Layer {
    let origin = Origin { at: at(1), by: Some(user_id(1)) };
    Layer::default().patched(&schema(), patch, &BTreeSet::new(), origin).unwrap()
}

fn vault() -> Vault {
    Vault::parse(&Vault::generate()).unwrap()
}

async fn save(home: &Home, scope: LevelScope, layer: &Layer, seen: Option<i64>, vault: &Vault) -> bool {
    let mut tx = home.begin().await;
    let saved = module_configs::save(&mut tx, scope, &scaibot(), &schema(), layer, seen, at(2), vault).await;
    tx.commit().await.unwrap();
    saved.unwrap()
}

async fn of_platform(home: &Home, vault: &Vault) -> Vec<ModuleConfig> {
    let mut c = home.read().await;
    module_configs::for_platform(&mut c, SYSTEM.platform(), &scaibot(), vault).await.unwrap()
}

async fn a_configuration_comes_back_as_it_was(home: &Home) {
    let vault = vault();
    let given = layer(&json!({
        "key": {"hush": [1, null]}, "list": [{"token": "hush", "n": 1.5}, {"n": "ü\u{1}"}], "deep": {"a": {}, "b": []}
    }));
    assert!(save(home, platform(), &given, None, &vault).await);
    let kept = of_platform(home, &vault).await;
    assert_eq!(kept, [ModuleConfig { level: Level::Platform, layer: given.clone(), revision: 1 }]);
    assert_eq!(kept[0].layer.secrets(&ConfigSchema::nothing()).len(), 2, "what is sealed stays secret");
    let after =
        given.patched(&schema(), &json!({"key": null}), &BTreeSet::new(), Origin { at: at(3), by: None });
    assert!(save(home, platform(), &after.clone().unwrap(), Some(1), &vault).await);
    let kept = of_platform(home, &vault).await;
    assert_eq!((kept[0].layer.clone(), kept[0].revision), (after.unwrap(), 2));
}

async fn a_tenant_is_told_what_bears_on_it_and_nothing_else(home: &Home) {
    let vault = vault();
    let (partner, tenant) = (|n| LevelScope::Partner(of_partner(n)), |n| LevelScope::Tenant(of_tenant(n)));
    for (number, scope) in [platform(), partner(1), partner(2), tenant(1), tenant(2)].into_iter().enumerate()
    {
        assert!(save(home, scope, &layer(&json!({"n": number, "key": "hush"})), None, &vault).await);
    }
    let mut c = home.read().await;
    let told = |rows: Vec<ModuleConfig>| {
        let mut told: Vec<_> = rows.iter().map(|row| row.layer.values()["n"].as_i64().unwrap()).collect();
        told.sort_unstable();
        told
    };
    let rows =
        module_configs::for_tenant(&mut c, of_tenant(1), partner_id(1), &scaibot(), &vault).await.unwrap();
    assert!(rows.iter().any(|row| row.level == Level::Tenant(tenant_id(1))));
    assert_eq!(told(rows), [0, 1, 3]);
    assert_eq!(
        told(module_configs::for_partner(&mut c, of_partner(2), &scaibot(), &vault).await.unwrap()),
        [0, 2]
    );
    let other = ModuleId::parse("scaimind").unwrap();
    assert!(
        module_configs::for_platform(&mut c, SYSTEM.platform(), &other, &vault).await.unwrap().is_empty()
    );
}

async fn whoever_has_not_seen_the_latest_writes_nothing(home: &Home) {
    let vault = vault();
    let (one, two) = (layer(&json!({"a": 1})), layer(&json!({"a": 2})));
    assert!(!save(home, platform(), &one, Some(1), &vault).await, "there is nothing yet");
    assert!(save(home, platform(), &one, None, &vault).await);
    assert!(!save(home, platform(), &two, None, &vault).await, "there is something by now");
    assert!(!save(home, platform(), &two, Some(2), &vault).await);
    assert_eq!(of_platform(home, &vault).await[0].layer, one);
    assert!(save(home, platform(), &two, Some(1), &vault).await);
    assert!(!save(home, platform(), &one, Some(1), &vault).await);
    assert_eq!(of_platform(home, &vault).await[0].layer, two);
}

async fn of_many_who_begin_one_is_first(home: &Home) {
    let text = Vault::generate();
    let tries = (0..6).map(|number| {
        let (database, vault) = (home.database.clone(), Vault::parse(&text).unwrap());
        tokio::spawn(async move {
            let mut tx = database.begin().await.unwrap();
            let given = layer(&json!({"n": number}));
            let (module, schema) = (scaibot(), schema());
            let saved =
                module_configs::save(&mut tx, platform(), &module, &schema, &given, None, at(1), &vault);
            let saved = saved.await.unwrap();
            tx.commit().await.unwrap();
            saved
        })
    });
    let mut winners = 0;
    for one in tries.collect::<Vec<_>>() {
        winners += usize::from(one.await.unwrap());
    }
    assert_eq!(winners, 1);
}

async fn a_secret_opens_for_its_level_only(home: &Home) {
    let (vault, other) = (vault(), vault());
    assert!(save(home, platform(), &layer(&json!({"key": "hush"})), None, &vault).await);
    let mut c = home.read().await;
    let read = module_configs::for_platform(&mut c, SYSTEM.platform(), &scaibot(), &other).await;
    let error = read.unwrap_err().to_string();
    assert!(error.contains("module_configs") && !error.contains("hush"), "{error}");
}

async fn addresses_are_told_of_those_under_the_level(home: &Home) {
    settle_two(home).await;
    let mut c = home.read().await;
    let ids = [user_id(1), user_id(2), user_id(3)];
    let mut told = async |scope| {
        let emails = users::emails(&mut c, scope, &ids).await.unwrap();
        emails.keys().copied().collect::<BTreeSet<_>>()
    };
    assert_eq!(told(platform()).await, BTreeSet::from([user_id(1), user_id(2)]));
    assert_eq!(told(LevelScope::Tenant(of_tenant(1))).await, BTreeSet::from([user_id(1)]));
    assert_eq!(told(LevelScope::Partner(of_partner(9))).await, BTreeSet::new());
    assert_eq!(told(LevelScope::Partner(of_partner(2))).await, BTreeSet::from([user_id(2)]));
}
