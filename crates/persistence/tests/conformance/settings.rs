//! Module settings and the facts of the platform.

use scaigrid_modules::{Enablement, ModuleId};
use scaigrid_persistence::module_settings::{self, ModuleSetting, Said};
use scaigrid_persistence::platform_facts;
use scaigrid_scope::{Level, LevelScope};

use crate::home::Home;
use crate::values::{SYSTEM, at, of_partner, of_tenant, partner_id, platform, tenant_id, user_id};

crate::on_both_databases! {
    a_tenant_is_told_all_that_bears_on_it_and_nothing_else,
    a_later_word_replaces_an_earlier_one,
    of_many_who_say_the_same_one_says_it,
    a_word_is_taken_back_once,
    a_fact_is_settled_once,
    of_many_who_settle_a_fact_one_wins,
}

fn module(id: &str) -> ModuleId {
    ModuleId::parse(id).unwrap()
}

async fn set(home: &Home, scope: LevelScope, id: &str, enablement: Enablement) {
    let mut tx = home.begin().await;
    module_settings::set(&mut tx, scope, &module(id), enablement, Some(user_id(1)), at(1)).await.unwrap();
    tx.commit().await.unwrap();
}

fn words(settings: &[ModuleSetting]) -> Vec<(Level, &str, Enablement)> {
    settings.iter().map(|one| (one.level, one.module_id.as_str(), one.enablement)).collect()
}

async fn a_tenant_is_told_all_that_bears_on_it_and_nothing_else(home: &Home) {
    let (partner, tenant) = (|n| LevelScope::Partner(of_partner(n)), |n| LevelScope::Tenant(of_tenant(n)));
    set(home, platform(), "scaibot", Enablement::Enabled).await;
    set(home, partner(1), "scaibot", Enablement::Disabled).await;
    set(home, partner(2), "scaibot", Enablement::Enabled).await;
    set(home, tenant(1), "scaibot", Enablement::Enabled).await;
    set(home, tenant(1), "scaicore", Enablement::Disabled).await;
    set(home, tenant(2), "scaicore", Enablement::Enabled).await;

    let (of_platform, of_first) = (Level::Platform, Level::Partner(partner_id(1)));
    let of_tenant_1 = Level::Tenant(tenant_id(1));
    let mut c = home.read().await;
    let told = module_settings::for_tenant(&mut c, of_tenant(1), partner_id(1)).await.unwrap();
    assert_eq!(
        words(&told),
        [
            (of_first, "scaibot", Enablement::Disabled),
            (of_platform, "scaibot", Enablement::Enabled),
            (of_tenant_1, "scaibot", Enablement::Enabled),
            (of_tenant_1, "scaicore", Enablement::Disabled),
        ]
    );
    assert!(told.iter().all(|one| one.changed_by == Some(user_id(1)) && one.changed_at == at(1)));
    let told = module_settings::for_partner(&mut c, of_partner(1)).await.unwrap();
    assert_eq!(
        words(&told),
        [(of_first, "scaibot", Enablement::Disabled), (of_platform, "scaibot", Enablement::Enabled)]
    );
    let told = module_settings::for_platform(&mut c, SYSTEM.platform()).await.unwrap();
    assert_eq!(words(&told), [(of_platform, "scaibot", Enablement::Enabled)]);
}

async fn a_later_word_replaces_an_earlier_one(home: &Home) {
    for scope in [platform(), LevelScope::Partner(of_partner(1)), LevelScope::Tenant(of_tenant(1))] {
        set(home, scope, "scaicore", Enablement::Disabled).await;
        let mut tx = home.begin().await;
        module_settings::set(&mut tx, scope, &module("scaicore"), Enablement::Enabled, None, at(2))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut c = home.read().await;
        let found = module_settings::lookup(&mut c, scope, &module("scaicore")).await.unwrap();
        let expected = ModuleSetting {
            level: scope.level(),
            module_id: module("scaicore"),
            enablement: Enablement::Enabled,
            changed_by: None,
            changed_at: at(2),
        };
        assert_eq!(found, Some(expected));
    }
}

async fn of_many_who_say_the_same_one_says_it(home: &Home) {
    for (round, enablement) in [Enablement::Enabled, Enablement::Disabled].into_iter().enumerate() {
        let mut saying = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let database = home.database.clone();
            saying.spawn(async move {
                let (mut tx, module) = (database.begin().await.unwrap(), module("scaicore"));
                let said = module_settings::set(&mut tx, platform(), &module, enablement, None, at(3));
                let said = said.await.unwrap();
                tx.commit().await.unwrap();
                said
            });
        }
        let before = (round > 0).then_some(Enablement::Enabled);
        let mut said = saying.join_all().await;
        said.retain(|said| *said != Said::Before);
        assert_eq!(said, [Said::Instead(before)]);
    }
}

async fn a_word_is_taken_back_once(home: &Home) {
    let (first, second) = (LevelScope::Tenant(of_tenant(1)), LevelScope::Tenant(of_tenant(2)));
    set(home, first, "scaicore", Enablement::Disabled).await;
    let mut tx = home.begin().await;
    for (scope, id, said) in [
        (second, "scaicore", None),
        (first, "scaibot", None),
        (first, "scaicore", Some(Enablement::Disabled)),
        (first, "scaicore", None),
    ] {
        assert_eq!(module_settings::clear(&mut tx, scope, &module(id)).await.unwrap(), said, "{id}");
    }
    assert_eq!(module_settings::lookup(&mut tx, first, &module("scaicore")).await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_fact_is_settled_once(home: &Home) {
    let mut tx = home.begin().await;
    assert_eq!(platform_facts::lookup(&mut tx, "key").await.unwrap(), None);
    assert_eq!(platform_facts::put_if_absent(&mut tx, "key", "fürst 🗝").await.unwrap(), "fürst 🗝");
    assert_eq!(platform_facts::put_if_absent(&mut tx, "key", "second").await.unwrap(), "fürst 🗝");
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(platform_facts::lookup(&mut c, "key").await.unwrap().as_deref(), Some("fürst 🗝"));
}

async fn of_many_who_settle_a_fact_one_wins(home: &Home) {
    let tries = (0..6).map(|number| {
        let database = home.database.clone();
        tokio::spawn(async move {
            let mut tx = database.begin().await.unwrap();
            let value =
                platform_facts::put_if_absent(&mut tx, "key", &format!("value {number}")).await.unwrap();
            tx.commit().await.unwrap();
            value
        })
    });
    let mut values = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        values.push(one.await.unwrap());
    }
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
    let kept = platform_facts::lookup(&mut home.read().await, "key").await.unwrap();
    assert_eq!(kept.as_ref(), values.first());
}
