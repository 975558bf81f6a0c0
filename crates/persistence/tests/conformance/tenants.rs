//! Tenants: seen from above, by themselves, and by nobody else.

use scaigrid_persistence::tenants::{self, TenantFilter};
use scaigrid_persistence::{Error, Written, partners};
use scaigrid_scope::{
    Features, LevelScope, PartnerChanges, PartnerStatus, Tenant, TenantChanges, TenantLimits, TenantStatus,
};
use serde_json::{Value, json};

use crate::home::Home;
use crate::values::{
    SYSTEM, at, name, of_partner, of_tenant, partner, partner_id, platform, settle_two, slug, tenant,
    tenant_id,
};

crate::on_both_databases! {
    a_tenant_is_kept_as_it_is,
    what_cannot_be_kept_is_rounded,
    a_level_sees_what_is_under_it,
    a_slug_is_taken_once_whoever_owns_it,
    a_reference_counts_the_partners_status,
    a_change_needs_the_expected_revision,
    the_scope_says_whose_tenant_it_becomes,
    a_count_under_the_lock_stays_true,
}

fn features(json: Value) -> Features {
    match json {
        Value::Object(flags) => Features::new(flags).unwrap(),
        other => panic!("{other} is no object"),
    }
}

async fn add(home: &Home, tenant: &Tenant) -> Result<(), Error> {
    let mut tx = home.begin().await;
    tenants::add(&mut tx, SYSTEM.partner(tenant.partner_id), tenant).await?;
    tx.commit().await
}

async fn a_tenant_is_kept_as_it_is(home: &Home) {
    settle_two(home).await;
    let rich = Tenant {
        name: name("שלום 👩‍🚀 e\u{301} é \"quoted\" \\ %_"),
        status: TenantStatus::Suspended,
        scaikey_tenant_id: Some(name("sk-42")),
        limits: TenantLimits {
            max_users: Some(0),
            max_cores: Some(u32::MAX),
            max_participants: Some(1),
            max_rooms: Some(2),
            max_storage_bytes: Some(0),
            monthly_ai_tokens: Some(i64::MAX.unsigned_abs()),
            max_queued_executions: Some(0),
            execution_retention_days: Some(1),
        },
        features: features(json!({
            "prompt_studio": {"enabled": true},
            "auth": {"password_grant_enabled": false, "seit": "Übermorgen 🜁", "n": [1, -2, 0.5, null, {}, []]},
            "": "\u{1}\u{7f}\u{2028}",
        })),
        ..tenant(3, 1)
    };
    let wide = Tenant {
        features: features(json!({"a": "é".repeat((Features::MAX_BYTES - 8) / 2)})),
        ..tenant(4, 1)
    };
    for tenant in [&rich, &wide] {
        add(home, tenant).await.unwrap();
        let mut c = home.read().await;
        assert_eq!(tenants::lookup(&mut c, platform(), tenant.id).await.unwrap().as_ref(), Some(tenant));
        let found = tenants::find_by_slug(&mut c, platform(), &tenant.slug).await.unwrap();
        assert_eq!(found.as_ref(), Some(tenant));
    }
}

/// Integers beyond 63 bits cannot be kept everywhere; a tenant that has one must not become unreadable.
async fn what_cannot_be_kept_is_rounded(home: &Home) {
    settle_two(home).await;
    let huge = Tenant {
        limits: TenantLimits { max_storage_bytes: Some(u64::MAX), ..TenantLimits::default() },
        features: features(json!({"n": [u64::MAX, i64::MAX, i64::MIN]})),
        ..tenant(3, 1)
    };
    add(home, &huge).await.unwrap();
    let mut c = home.read().await;
    let kept = tenants::lookup(&mut c, platform(), huge.id).await.unwrap().unwrap();
    assert_eq!(kept.limits.max_storage_bytes, Some(i64::MAX.unsigned_abs()));
    let numbers = &kept.features.as_map()["n"];
    assert_eq!(numbers[0].as_f64(), Some(18_446_744_073_709_551_615.0));
    assert_eq!((numbers[1].as_i64(), numbers[2].as_i64()), (Some(i64::MAX), Some(i64::MIN)));
}

async fn a_level_sees_what_is_under_it(home: &Home) {
    settle_two(home).await;
    add(home, &Tenant { status: TenantStatus::Suspended, ..tenant(3, 1) }).await.unwrap();
    let own = LevelScope::Partner(of_partner(1));
    let itself = LevelScope::Tenant(of_tenant(1));
    let mut c = home.read().await;
    for (scope, seen) in [(platform(), vec![3, 2, 1]), (own, vec![3, 1]), (itself, vec![1])] {
        let all = TenantFilter::default();
        let listed = tenants::list(&mut c, scope, &all, None, 10).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|tenant| tenant.id).collect();
        assert_eq!(ids, seen.iter().map(|number| tenant_id(*number)).collect::<Vec<_>>());
        assert_eq!(tenants::count(&mut c, scope, &all).await.unwrap(), i64::try_from(seen.len()).unwrap());
        for number in 1..=4 {
            let found = tenants::lookup(&mut c, scope, tenant_id(number)).await.unwrap();
            assert_eq!(found.is_some(), seen.contains(&number), "{number}");
            let by_slug = tenants::find_by_slug(&mut c, scope, &tenant(number, 1).slug).await.unwrap();
            assert_eq!(by_slug, found);
        }
    }
    let suspended = TenantFilter { status: Some(TenantStatus::Suspended), partner_id: None };
    assert_eq!(tenants::count(&mut c, platform(), &suspended).await.unwrap(), 1);
    let of_second = TenantFilter { partner_id: Some(partner_id(2)), status: None };
    assert_eq!(tenants::count(&mut c, platform(), &of_second).await.unwrap(), 1);
    assert_eq!(tenants::count(&mut c, own, &of_second).await.unwrap(), 0);
    let page =
        tenants::list(&mut c, platform(), &TenantFilter::default(), Some(tenant_id(3)), 1).await.unwrap();
    assert_eq!(page.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), [tenant_id(2)]);
}

async fn a_slug_is_taken_once_whoever_owns_it(home: &Home) {
    settle_two(home).await;
    let again = Tenant { slug: tenant(1, 1).slug, ..tenant(3, 2) };
    assert!(matches!(add(home, &again).await, Err(Error::Duplicate(_))));
}

async fn a_reference_counts_the_partners_status(home: &Home) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    let suspend = PartnerChanges { status: Some(PartnerStatus::Suspended), ..PartnerChanges::default() };
    let done = partners::update(&mut tx, of_partner(2), None, &suspend, at(1)).await.unwrap();
    assert_eq!(done, Written::Done);
    tx.commit().await.unwrap();

    let mut c = home.read().await;
    for (number, status) in [(1, TenantStatus::Active), (2, TenantStatus::Suspended)] {
        let expected = tenant(number, number);
        let found = tenants::reference(&mut c, &SYSTEM, expected.id).await.unwrap().unwrap();
        assert_eq!((found.id, found.partner_id, found.status), (expected.id, expected.partner_id, status));
        let by_slug = tenants::reference_by_slug(&mut c, &SYSTEM, &expected.slug).await.unwrap();
        assert_eq!(by_slug, Some(found));
    }
    assert_eq!(tenants::reference(&mut c, &SYSTEM, tenant_id(3)).await.unwrap(), None);
    assert_eq!(tenants::reference_by_slug(&mut c, &SYSTEM, &slug("nobody")).await.unwrap(), None);
}

async fn a_change_needs_the_expected_revision(home: &Home) {
    settle_two(home).await;
    let scope = of_tenant(1);
    let all = TenantChanges {
        name: Some(name("Neu")),
        status: Some(TenantStatus::Suspended),
        scaikey_tenant_id: Some(Some(name("sk-1"))),
        limits: Some(TenantLimits { max_users: Some(7), ..TenantLimits::default() }),
        features: Some(features(json!({"a": {"enabled": true}}))),
    };
    let mut tx = home.begin().await;
    assert_eq!(tenants::update(&mut tx, scope, Some(0), &all, at(1)).await.unwrap(), Written::Stale);
    assert_eq!(tenants::update(&mut tx, of_tenant(9), Some(1), &all, at(1)).await.unwrap(), Written::Missing);
    assert_eq!(tenants::update(&mut tx, scope, Some(1), &all, at(1)).await.unwrap(), Written::Done);
    let nothing = TenantChanges::default();
    assert_eq!(tenants::update(&mut tx, scope, None, &nothing, at(2)).await.unwrap(), Written::Done);
    let unlink = TenantChanges { scaikey_tenant_id: Some(None), ..TenantChanges::default() };
    assert_eq!(tenants::update(&mut tx, scope, Some(2), &unlink, at(3)).await.unwrap(), Written::Stale);
    tx.commit().await.unwrap();
    let changed = Tenant {
        name: name("Neu"),
        status: TenantStatus::Suspended,
        scaikey_tenant_id: Some(name("sk-1")),
        limits: TenantLimits { max_users: Some(7), ..TenantLimits::default() },
        features: features(json!({"a": {"enabled": true}})),
        revision: 3,
        updated_at: at(2),
        ..tenant(1, 1)
    };
    let mut c = home.read().await;
    assert_eq!(tenants::lookup(&mut c, platform(), changed.id).await.unwrap(), Some(changed));
    let other = tenants::lookup(&mut c, platform(), tenant_id(2)).await.unwrap();
    assert_eq!(other, Some(tenant(2, 2)));
}

async fn the_scope_says_whose_tenant_it_becomes(home: &Home) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    tenants::add(&mut tx, of_partner(1), &tenant(3, 2)).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let found = tenants::lookup(&mut c, platform(), tenant_id(3)).await.unwrap().unwrap();
    assert_eq!(found.partner_id, partner(1).id);
}

/// Six at once want to be a partner's third tenant.
async fn a_count_under_the_lock_stays_true(home: &Home) {
    settle_two(home).await;
    add(home, &tenant(3, 1)).await.unwrap();
    let attempts = (10..16).map(|number| {
        let database = home.database.clone();
        tokio::spawn(async move {
            let mut tx = database.begin().await.unwrap();
            let partner = partners::lock(&mut tx, of_partner(1)).await.unwrap().unwrap();
            let own = LevelScope::Partner(of_partner(1));
            let count = tenants::count(&mut tx, own, &TenantFilter::default()).await.unwrap();
            let room = count < i64::from(partner.limits.max_tenants.unwrap());
            if room {
                tenants::add(&mut tx, of_partner(1), &tenant(number, 1)).await.unwrap();
            }
            tx.commit().await.unwrap();
            room
        })
    });
    let mut added = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        added += u32::from(attempt.await.unwrap());
    }
    assert_eq!(added, 1);
}
