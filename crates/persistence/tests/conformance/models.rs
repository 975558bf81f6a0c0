//! The catalogue of models: what is shown to whom, what lies sealed, and what may be spent.

use std::collections::BTreeSet;
use std::time::Duration;

use scaigrid_catalog::budget::Spent;
use scaigrid_catalog::usage::{CallStatus, Usage};
use scaigrid_catalog::visibility::{self, Shown, Viewer};
use scaigrid_catalog::{
    Backend, Capabilities, ConnectionConfig, Mapping, Modality, Model, ModelGroup, ModelSlug, ModelStatus,
    Parameters, Priority, ProviderType, Weight,
};
use scaigrid_persistence::model_reservations::{self, Reservation};
use scaigrid_persistence::model_usage::{self, BudgetOwner};
use scaigrid_persistence::models::{self, ModelFilter, ModelRef};
use scaigrid_persistence::sealed::{self, Store};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{backends, leases, model_groups, tenants, vectors};
use scaigrid_scope::{BackendId, CoreId, Level, LevelScope, ModelGroupId, ModelId, UsageId};
use serde_json::{Value, json};

use crate::home::Home;
use crate::values::{
    SYSTEM, at, name, node_id, of_partner, of_tenant, partner_id, platform, settle_two, slug, tenant,
    tenant_id, ulid,
};

crate::on_both_databases! {
    lists_show_what_the_domain_says,
    a_model_is_kept_as_it_is,
    a_backend_lies_sealed_at_its_level,
    what_is_held_back_counts_until_it_is_settled,
    vectors_are_kept_by_their_texts,
}

fn model(number: u128, owner: Level) -> Model {
    Model {
        id: ModelId::from_ulid(ulid(number)),
        owner,
        slug: ModelSlug::parse(&format!("m/{number:03}")).unwrap(),
        display_name: name("M"),
        description: None,
        modality: Modality::Chat,
        context_window: Some(u32::MAX),
        max_output_tokens: None,
        input_price: Some("0.000000001".parse().unwrap()),
        output_price: None,
        default_params: Parameters::default(),
        capabilities: Capabilities::default(),
        status: ModelStatus::Active,
        avatar_url: None,
        global: false,
        default_enabled: false,
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn scope_of(level: Level) -> LevelScope {
    match level {
        Level::Platform => platform(),
        Level::Partner(id) => LevelScope::Partner(SYSTEM.partner(id)),
        Level::Tenant(id) => SYSTEM.tenant(id).into(),
    }
}

/// A catalogue of every kind of models, and for each tenant and partner what the domain says that they see.
async fn lists_show_what_the_domain_says(home: &Home) {
    settle_two(home).await;
    let levels = [
        Level::Platform,
        Level::Partner(partner_id(1)),
        Level::Partner(partner_id(2)),
        Level::Tenant(tenant_id(1)),
        Level::Tenant(tenant_id(2)),
        Level::Tenant(tenant_id(3)),
    ];
    let mut tx = home.begin().await;
    tenants::add(&mut tx, of_partner(1), &tenant(3, 1)).await.unwrap();
    let mut groups = Vec::new();
    for (number, level) in (1..).zip(levels) {
        let group = ModelGroup {
            id: ModelGroupId::from_ulid(ulid(number)),
            owner: level,
            slug: slug("g"),
            name: name("G"),
            revision: 1,
            created_at: at(0),
            updated_at: at(0),
        };
        model_groups::add(&mut tx, scope_of(level), &group).await.unwrap();
        groups.push(group.id);
    }
    let mut all = Vec::new();
    for number in 0..72_usize {
        let owner = levels[number % 6];
        let global = number % 7 == 0;
        let model = Model { global, default_enabled: number % 5 == 0, ..model(number as u128, owner) };
        models::add(&mut tx, scope_of(owner), &model).await.unwrap();
        // In none, in one, or in two groups.
        let within: BTreeSet<usize> =
            [number / 6, number / 12 + 3].into_iter().take(number % 3).map(|group| group % 6).collect();
        for group in &within {
            assert!(model_groups::add_member(&mut tx, groups[*group], model.id).await.unwrap());
        }
        let mut said = [None; 4];
        for (tenant, word) in said.iter_mut().enumerate().skip(1) {
            *word = [Some(true), Some(false), None, None][(number + tenant) % 4];
            if let Some(word) = *word {
                models::say(&mut tx, of_tenant(tenant as u128), model.id, !word, at(1)).await.unwrap();
                models::say(&mut tx, of_tenant(tenant as u128), model.id, word, at(2)).await.unwrap();
            }
        }
        let within: Vec<Level> = within.into_iter().map(|group| levels[group]).collect();
        all.push((model, within, said));
    }
    tx.commit().await.unwrap();

    let mut c = home.read().await;
    let c = &mut c;
    let slugs = |seen: &[models::SeenModel]| -> Vec<String> {
        seen.iter().map(|seen| seen.model.slug.to_string()).collect()
    };
    for (tenant, partner) in [(1, 1), (2, 2), (3, 1)] {
        let viewer = Viewer { tenant: tenant_id(tenant), partner: partner_id(partner) };
        let scope: LevelScope = of_tenant(tenant).into();
        let shown = |(model, groups, said): &(Model, Vec<Level>, [Option<bool>; 4])| {
            let (owner, global, default_enabled) = (model.owner, model.global, model.default_enabled);
            let said = said[usize::try_from(tenant).unwrap()];
            let shown = Shown { owner, global, default_enabled, groups, said };
            (visibility::is_available(&shown, viewer), visibility::is_visible(&shown, viewer))
        };
        for (too, expected) in [(true, 0), (false, 1)] {
            let filter = ModelFilter { not_enabled_too: too, ..ModelFilter::default() };
            let found = models::list(c, scope, partner_id(partner), &filter, None, 1000).await.unwrap();
            let wanted: Vec<String> = all
                .iter()
                .filter(|one| if expected == 0 { shown(one).0 } else { shown(one).1 })
                .map(|(model, ..)| model.slug.to_string())
                .collect();
            assert!(wanted.len() > 5, "a catalogue that tells something");
            assert_eq!(slugs(&found), wanted, "tenant {tenant}");
            // Page by page it is the same.
            let after = found[2].model.slug.clone();
            let page = models::list(c, scope, partner_id(partner), &filter, Some(&after), 2).await.unwrap();
            assert_eq!(slugs(&page), wanted[3..5]);
        }
        for one in &all {
            let which = ModelRef::Slug(one.0.slug.clone());
            let found = models::lookup(c, scope, partner_id(partner), &which).await.unwrap();
            let (available, visible) = shown(one);
            assert_eq!((found.is_some(), found.is_some_and(|seen| seen.enabled)), (available, visible));
        }
    }
    for partner in [1, 2] {
        let scope = LevelScope::Partner(of_partner(partner));
        let found = models::list(c, scope, partner_id(1), &ModelFilter::default(), None, 1000).await.unwrap();
        let wanted = all.iter().filter(|(model, groups, _)| {
            let (owner, global, default_enabled) = (model.owner, model.global, model.default_enabled);
            let shown = Shown { owner, global, default_enabled, groups, said: None };
            visibility::is_available_to_partner(&shown, partner_id(partner))
        });
        assert_eq!(slugs(&found), wanted.map(|(model, ..)| model.slug.to_string()).collect::<Vec<_>>());
    }
    let found =
        models::list(c, platform(), partner_id(1), &ModelFilter::default(), None, 1000).await.unwrap();
    assert_eq!(found.len(), all.len());
}

fn backend(number: u128, owner: Level, config: Value) -> Backend {
    let Value::Object(config) = config else { panic!("an object") };
    let provider = if config.is_empty() { ProviderType::Echo } else { ProviderType::OpenAi };
    Backend {
        id: BackendId::from_ulid(ulid(number)),
        owner,
        name: name("B"),
        model: "gpt".parse().unwrap(),
        config: ConnectionConfig::read(provider, &config, None).unwrap(),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn a_model_is_kept_as_it_is(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    let own = Level::Tenant(tenant_id(1));
    let scope = scope_of(own);
    let mut tx = home.begin().await;
    let answering = backend(1, own, json!({}));
    backends::add(&mut tx, scope, &answering, &vault, at(0)).await.unwrap();
    let first = model(1, own);
    models::add(&mut tx, scope, &first).await.unwrap();
    let mapping = Mapping {
        backend_id: answering.id,
        priority: Priority::new(7).unwrap(),
        weight: Weight::new(9).unwrap(),
    };
    models::set_mappings(&mut tx, first.id, &[mapping]).await.unwrap();
    assert_eq!(models::lock(&mut tx, scope, first.id).await.unwrap(), Some(first.clone()));
    // Of another level nobody holds or changes it.
    assert_eq!(models::lock(&mut tx, platform(), first.id).await.unwrap(), None);
    let full = Model {
        description: Some("A\nB".parse().unwrap()),
        max_output_tokens: Some(1),
        input_price: None,
        output_price: Some("12.5".parse().unwrap()),
        default_params: Parameters::new(json!({"stop": ["x"]}).as_object().unwrap().clone()).unwrap(),
        capabilities: Capabilities::new(json!({"a": {"b": 1}}).as_object().unwrap().clone()).unwrap(),
        avatar_url: Some("/picture".to_owned()),
        status: ModelStatus::Deprecated,
        default_enabled: true,
        revision: 2,
        updated_at: at(5),
        ..first.clone()
    };
    models::save(&mut tx, platform(), &Model { revision: 9, ..full.clone() }).await.unwrap();
    models::save(&mut tx, scope, &full).await.unwrap();
    assert!(models::is_taken(&mut tx, &full.slug).await.unwrap());
    tx.commit().await.unwrap();

    let mut c = home.read().await;
    let route =
        models::route(&mut c, of_tenant(1), partner_id(1), &full.slug, &vault).await.unwrap().unwrap();
    assert_eq!((route.model, route.backends), (full.clone(), vec![(mapping, answering.clone())]));
    assert!(models::route(&mut c, of_tenant(2), partner_id(2), &full.slug, &vault).await.unwrap().is_none());
    drop(c);

    let mut tx = home.begin().await;
    assert_eq!(backends::remove(&mut tx, platform(), answering.id).await.unwrap(), None);
    assert_eq!(backends::remove(&mut tx, scope, answering.id).await.unwrap(), Some(1));
    models::say(&mut tx, of_tenant(1), full.id, false, at(6)).await.unwrap();
    assert!(!models::remove(&mut tx, scope, ModelId::from_ulid(ulid(99))).await.unwrap());
    assert!(models::remove(&mut tx, scope, full.id).await.unwrap());
    assert!(!models::is_taken(&mut tx, &full.slug).await.unwrap());
    tx.commit().await.unwrap();
}

async fn a_backend_lies_sealed_at_its_level(home: &Home) {
    settle_two(home).await;
    let vault = Vault::parse(&Vault::generate()).unwrap();
    let config = json!({"base_url": "https://a.example/v1", "api_key": "sk-hush"});
    let levels = [Level::Platform, Level::Partner(partner_id(1)), Level::Tenant(tenant_id(1))];
    let mut tx = home.begin().await;
    for (number, level) in (1..).zip(levels) {
        let full = backend(number, level, config.clone());
        backends::add(&mut tx, scope_of(level), &full, &vault, at(0)).await.unwrap();
        let plain = backend(number + 10, level, json!({}));
        backends::add(&mut tx, scope_of(level), &plain, &vault, at(0)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    for (number, level) in (1..).zip(levels) {
        for other in levels {
            let found = backends::lookup(&mut c, scope_of(other), BackendId::from_ulid(ulid(number)), &vault);
            let expected = (other == level).then(|| backend(number, level, config.clone()));
            assert_eq!(found.await.unwrap(), expected);
        }
        let listed = backends::list(&mut c, scope_of(level), None, 10, &vault).await.unwrap();
        assert_eq!(listed.len(), 2);
        // With another vault nothing opens.
        let strange = Vault::parse(&Vault::generate()).unwrap();
        let id = BackendId::from_ulid(ulid(number));
        assert!(backends::lookup(&mut c, scope_of(level), id, &strange).await.is_err());
    }
    let found = sealed::page(&mut c, &SYSTEM, Store::Backends, None, None, 100).await.unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(found.iter().filter(|found| found.keys().count() == 1).count(), 3);
    let found = sealed::page(&mut c, &SYSTEM, Store::Backends, Some(levels[2]), None, 100).await.unwrap();
    assert_eq!(found.len(), 2);
    drop(c);
    // A younger key seals anew.
    let mut tx = home.begin().await;
    let scope = scope_of(levels[2]);
    let renewed =
        scaigrid_persistence::data_keys::renew(&mut tx, scope, &vault, at(10), at(20)).await.unwrap();
    assert!(renewed);
    let mut done = 0;
    for found in &found {
        let position = &found.position;
        let sealed = sealed::reseal(&mut tx, scope, Store::Backends, position, &vault, at(21)).await.unwrap();
        done += usize::from(sealed);
    }
    assert_eq!(done, 1);
    let id = BackendId::from_ulid(ulid(3));
    let after = backends::lookup(&mut tx, scope, id, &vault).await.unwrap().unwrap();
    assert_eq!(after.config, backend(3, levels[2], config).config);
    tx.commit().await.unwrap();
}

fn spent(tokens: u64, cost: &str) -> Spent {
    Spent { tokens, cost: cost.parse().unwrap() }
}

fn usage(number: u128) -> Usage {
    Usage {
        id: UsageId::from_ulid(ulid(number)),
        tenant_id: tenant_id(1),
        model_id: ModelId::from_ulid(ulid(1)),
        model: ModelSlug::parse("a/b").unwrap(),
        backend_id: None,
        user_id: None,
        core_id: None,
        execution_id: None,
        effect: None,
        input_tokens: 3,
        output_tokens: u64::from(u32::MAX) * 100,
        estimated: true,
        cost: "0.000000000000003".parse().unwrap(),
        latency: Duration::ZERO,
        status: CallStatus::Cancelled,
        at: at(3),
    }
}

async fn what_is_held_back_counts_until_it_is_settled(home: &Home) {
    settle_two(home).await;
    let (month, core) = ("2026-11", CoreId::from_ulid(ulid(1)));
    let mut tx = home.begin().await;
    for (node, until) in [(1, 100), (2, 50)] {
        leases::register(&mut tx, node_id(node), at(0), at(until)).await.unwrap();
    }
    let held_back = |number: u128, node: u128, core_id: Option<CoreId>| Reservation {
        usage: Usage {
            input_tokens: 1,
            output_tokens: u64::try_from(number).unwrap() * 10 - 1,
            cost: "0.1".parse().unwrap(),
            estimated: true,
            status: CallStatus::Unknown,
            core_id,
            effect: core_id.map(|_| 7),
            ..usage(number)
        },
        month: month.to_owned(),
        node: node_id(node),
    };
    for (number, node, core_id) in [(1, 1, Some(core)), (2, 2, None), (3, 1, None)] {
        let reservation = held_back(number, node, core_id);
        model_reservations::add(&mut tx, of_tenant(1), &reservation).await.unwrap();
    }
    let held = model_reservations::held(&mut tx, of_tenant(1), Some(core), month).await.unwrap();
    assert_eq!(held, (spent(60, "0.3"), spent(10, "0.1")));
    let other = model_reservations::held(&mut tx, of_tenant(2), None, month).await.unwrap();
    assert_eq!(other, (Spent::default(), Spent::default()));
    // What a node holds back whose lease has ended counts until it is settled.
    for (own, now, expected) in [(1, 10, vec![]), (1, 60, vec![held_back(2, 2, None)]), (2, 60, vec![])] {
        let left =
            model_reservations::left_behind(&mut tx, &SYSTEM, node_id(own), at(now), 10).await.unwrap();
        assert_eq!(left, expected, "{own} {now}");
    }
    let left = model_reservations::left_behind(&mut tx, &SYSTEM, node_id(3), at(200), 10).await.unwrap();
    assert_eq!(left[0], held_back(1, 1, Some(core)), "it comes back as it was written");
    assert_eq!(left.len(), 3);
    for (tenant, released) in [(2, false), (1, true), (1, false)] {
        let id = UsageId::from_ulid(ulid(3));
        assert_eq!(
            model_reservations::release(&mut tx, of_tenant(tenant), id).await.unwrap(),
            released,
            "{tenant}"
        );
    }
    let held = model_reservations::held(&mut tx, of_tenant(1), None, month).await.unwrap();
    assert_eq!(held.0, spent(30, "0.2"));

    // Accounts go up, each for itself.
    for (owner, tokens) in [(BudgetOwner::Tenant, 5), (BudgetOwner::Core(core), 7), (BudgetOwner::Tenant, 6)]
    {
        let before = model_usage::lock(&mut tx, of_tenant(1), owner, month).await.unwrap();
        let after = before.and(spent(tokens, "0.000000000000001"));
        model_usage::spend(&mut tx, of_tenant(1), owner, month, after).await.unwrap();
    }
    let now = model_usage::lock(&mut tx, of_tenant(1), BudgetOwner::Tenant, month).await.unwrap();
    assert_eq!(now, spent(11, "0.000000000000002"));
    let next = model_usage::lock(&mut tx, of_tenant(1), BudgetOwner::Tenant, "2026-12").await.unwrap();
    assert_eq!(next, Spent::default());

    // A record is written once, whoever tries again.
    let usage = Usage {
        core_id: Some(core),
        effect: Some(u32::MAX),
        latency: Duration::from_micros(1_234_567),
        ..usage(1)
    };
    assert!(model_usage::add(&mut tx, of_tenant(1), &usage).await.unwrap());
    assert!(!model_usage::add(&mut tx, of_tenant(1), &usage).await.unwrap());
    // What is known takes the place of an estimate, and of nothing else.
    let known = Usage { cost: "9".parse().unwrap(), ..usage.clone() };
    assert_eq!(model_usage::replace_unknown(&mut tx, of_tenant(1), &known).await.unwrap(), None);
    let estimate = Usage { core_id: None, status: CallStatus::Unknown, ..self::usage(2) };
    let known =
        Usage { status: CallStatus::Completed, estimated: false, output_tokens: 5, ..estimate.clone() };
    assert!(model_usage::add(&mut tx, of_tenant(1), &estimate).await.unwrap());
    assert_eq!(model_usage::replace_unknown(&mut tx, of_tenant(2), &known).await.unwrap(), None);
    let replaced = model_usage::replace_unknown(&mut tx, of_tenant(1), &known).await.unwrap();
    assert_eq!(replaced, Some(estimate));
    assert_eq!(model_usage::replace_unknown(&mut tx, of_tenant(1), &known).await.unwrap(), None);
    let all = model_usage::UsageFilter::default();
    assert_eq!(model_usage::list(&mut tx, of_tenant(1), &all, None, 1).await.unwrap(), [known]);
    let before = model_usage::lock(&mut tx, of_tenant(1), BudgetOwner::Core(core), month).await.unwrap();
    let after = before.without(spent(3, "0"));
    model_usage::correct(&mut tx, of_tenant(1), BudgetOwner::Core(core), month, after).await.unwrap();
    assert_eq!(after.tokens + 3, before.tokens);
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let filter = model_usage::UsageFilter { core_id: Some(core), start: Some(at(3)), ..Default::default() };
    assert_eq!(model_usage::list(&mut c, of_tenant(1), &filter, None, 10).await.unwrap(), [usage]);
    assert!(model_usage::list(&mut c, of_tenant(2), &filter, None, 10).await.unwrap().is_empty());
    let before = model_usage::UsageFilter { end: Some(at(3)), ..Default::default() };
    assert!(model_usage::list(&mut c, of_tenant(1), &before, None, 10).await.unwrap().is_empty());
}

async fn vectors_are_kept_by_their_texts(home: &Home) {
    settle_two(home).await;
    let core = |number: u128| CoreId::from_ulid(ulid(number));
    let made = |hash: &str, vector: &[f32]| (hash.to_owned(), vector.to_vec());
    let mut tx = home.begin().await;
    let first = [made("a", &[1.0, -0.5]), made("b", &[f32::MIN_POSITIVE, 3.25])];
    vectors::add(&mut tx, of_tenant(1), core(1), "space", &first, at(1)).await.unwrap();
    let again = [made("b", &[9.0]), made("c", &[2.0, 2.0])];
    vectors::add(&mut tx, of_tenant(1), core(1), "space", &again, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    let all: Vec<String> = ["c", "a", "b", "d"].map(str::to_owned).to_vec();
    let mut c = home.read().await;
    let kept = vectors::find(&mut c, of_tenant(1), core(1), "space", &all).await.unwrap();
    let shown: Vec<_> =
        kept.iter().map(|one| (one.hash.as_str(), one.vector.as_slice(), one.used_at)).collect();
    let expected = [
        ("a", &[1.0, -0.5][..], at(1)),
        ("b", &[f32::MIN_POSITIVE, 3.25][..], at(1)),
        ("c", &[2.0, 2.0][..], at(2)),
    ];
    assert_eq!(shown, expected, "what is there stays");
    for (tenant, number, space) in [(2, 1, "space"), (1, 2, "space"), (1, 1, "other")] {
        let found = vectors::find(&mut c, of_tenant(tenant), core(number), space, &all).await.unwrap();
        assert!(found.is_empty(), "{tenant} {number} {space}");
    }
    drop(c);
    let mut tx = home.begin().await;
    vectors::note_use(&mut tx, of_tenant(2), core(1), "space", &all, at(60)).await.unwrap();
    vectors::note_use(&mut tx, of_tenant(1), core(1), "space", &all[..2], at(50)).await.unwrap();
    assert_eq!(vectors::forget(&mut tx, of_tenant(2), core(1), at(99)).await.unwrap(), 0);
    assert_eq!(vectors::forget(&mut tx, of_tenant(1), core(1), at(50)).await.unwrap(), 1);
    let left = vectors::find(&mut tx, of_tenant(1), core(1), "space", &all).await.unwrap();
    assert_eq!(left.iter().map(|one| one.hash.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    tx.commit().await.unwrap();
}
