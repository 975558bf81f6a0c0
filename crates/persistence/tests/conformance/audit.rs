//! The audit log: kept as it was written, shown by level and by every filter.

use std::net::IpAddr;

use scaigrid_audit::{Actor, ActorKind, AuditAction, AuditRecord, Outcome, RequestContext, diff};
use scaigrid_persistence::audit::{self, AuditFilter};
use scaigrid_scope::{AuditId, LevelScope};
use serde_json::json;
use ulid::Ulid;

use crate::home::Home;
use crate::values::{at, of_partner, of_tenant, partner_id, platform, tenant_id};

crate::on_both_databases! {
    a_record_is_kept_as_it_is,
    what_cannot_be_kept_is_replaced,
    a_level_sees_what_is_under_it_newest_first,
    every_filter_counts,
}

/// An id as it is drawn: of the time of its record.
fn id(number: u128) -> AuditId {
    let at = at(i64::try_from(number).unwrap());
    AuditId::from_ulid(Ulid::from_parts(at.unix_millis(), number))
}

/// A record of the tenant with this number, of the partner with the same.
fn record(number: u128, tenant: u128) -> AuditRecord {
    let seconds = i64::try_from(number).unwrap();
    let changes = diff(&json!({"name": "old"}), &json!({"name": "new"}), &[]);
    AuditRecord::by_the_system(
        (id(number), at(seconds)),
        (tenant_id(tenant), Some(partner_id(tenant))),
        AuditAction::CoreUpdate,
        format!("resource {number}"),
        changes,
    )
}

async fn add(home: &Home, records: &[AuditRecord]) {
    let mut tx = home.begin().await;
    for record in records {
        audit::add(&mut tx, record).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn shown(home: &Home, scope: LevelScope, filter: &AuditFilter) -> Vec<AuditRecord> {
    audit::list(&mut home.read().await, scope, filter, None, 100).await.unwrap()
}

async fn a_record_is_kept_as_it_is(home: &Home) {
    let address: IpAddr = "2001:db8::7".parse().unwrap();
    let full = AuditRecord {
        actor: Actor {
            kind: ActorKind::User,
            id: Some("usr_x".to_owned()),
            email: Some("ada@größe.example".to_owned()),
        },
        outcome: Outcome::Failure,
        changes: diff(
            &json!({"a": [1, {"b": null}], "password": "old", "ü": "🜁"}),
            &json!({"a": [2, {"b": 0.25}], "password": "new"}),
            &[],
        ),
        request: RequestContext::new(Some("req-12345678"), Some(address), Some("curl/8 \"quoted\"")),
        module: Some("scaicore".to_owned()),
        ..record(1, 1)
    };
    let bare = AuditRecord {
        tenant_id: None,
        partner_id: None,
        changes: diff(&json!({}), &json!({}), &[]),
        ..record(2, 1)
    };
    add(home, &[full.clone(), bare.clone()]).await;
    assert_eq!(shown(home, platform(), &AuditFilter::default()).await, [bare, full]);
}

async fn what_cannot_be_kept_is_replaced(home: &Home) {
    let odd = AuditRecord {
        resource_id: "a\0b".to_owned(),
        changes: diff(&json!({"a": "x\0"}), &json!({"a": ["\0y", u64::MAX]}), &[]),
        request: RequestContext::new(None, None, Some("\0")),
        ..record(1, 1)
    };
    add(home, &[odd]).await;
    let kept = shown(home, platform(), &AuditFilter::default()).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].resource_id, "a\u{fffd}b");
    assert_eq!(kept[0].request.user_agent(), Some("\u{fffd}"));
    let (_, change) = kept[0].changes.iter().next().unwrap();
    assert_eq!(change.before, json!("x\u{fffd}"));
    assert_eq!(change.after[0], json!("\u{fffd}y"));
    assert_eq!(change.after[1].as_f64(), Some(18_446_744_073_709_551_615.0));
}

async fn a_level_sees_what_is_under_it_newest_first(home: &Home) {
    let of_the_partner = AuditRecord { tenant_id: None, ..record(3, 1) };
    let of_the_platform = AuditRecord { tenant_id: None, partner_id: None, ..record(4, 1) };
    add(home, &[record(1, 1), record(2, 2), of_the_partner, of_the_platform, record(5, 1)]).await;
    let all = AuditFilter::default();
    for (scope, seen) in [
        (platform(), vec![5, 4, 3, 2, 1]),
        (LevelScope::Partner(of_partner(1)), vec![5, 3, 1]),
        (LevelScope::Partner(of_partner(2)), vec![2]),
        (LevelScope::Tenant(of_tenant(1)), vec![5, 1]),
        (LevelScope::Tenant(of_tenant(3)), vec![]),
    ] {
        let ids: Vec<_> = shown(home, scope, &all).await.iter().map(|record| record.id).collect();
        assert_eq!(ids, seen.into_iter().map(id).collect::<Vec<_>>());
    }
    let mut c = home.read().await;
    let page = audit::list(&mut c, platform(), &all, Some(id(4)), 2).await.unwrap();
    assert_eq!(page.iter().map(|record| record.id).collect::<Vec<_>>(), [id(3), id(2)]);
}

async fn every_filter_counts(home: &Home) {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let special = AuditRecord {
        action: AuditAction::TenantCreate,
        actor: Actor { kind: ActorKind::Service, id: Some("usr_special".to_owned()), email: None },
        outcome: Outcome::Failure,
        request: RequestContext::new(None, Some(address), None),
        module: Some("scaibot".to_owned()),
        ..record(2, 1)
    };
    add(home, &[record(1, 1), special, record(3, 1)]).await;
    let none = AuditFilter::default;
    for filter in [
        AuditFilter { action: Some(AuditAction::TenantCreate), ..none() },
        AuditFilter { actor_id: Some("usr_special".to_owned()), ..none() },
        AuditFilter { resource_type: Some("tenant".to_owned()), ..none() },
        AuditFilter { resource_id: Some("resource 2".to_owned()), ..none() },
        AuditFilter { status: Some(Outcome::Failure), ..none() },
        AuditFilter { ip_address: Some(address), ..none() },
        AuditFilter { module: Some("scaibot".to_owned()), ..none() },
        // From this instant on, and up to but without that one.
        AuditFilter { since: Some(at(2)), until: Some(at(3)), ..none() },
    ] {
        let ids: Vec<_> = shown(home, platform(), &filter).await.iter().map(|record| record.id).collect();
        assert_eq!(ids, [id(2)], "{filter:?}");
    }
    // The clock was put back, and ids went on from where they were.
    add(home, &[AuditRecord { id: id(5000), ..record(2, 1) }]).await;
    for filter in [
        AuditFilter { since: Some(at(2)), until: Some(at(3)), ..none() },
        AuditFilter { until: Some(at(3)), resource_id: Some("resource 2".to_owned()), ..none() },
    ] {
        let found = shown(home, platform(), &filter).await;
        assert_eq!(found.iter().map(|record| record.id).collect::<Vec<_>>(), [id(5000), id(2)]);
    }
}
