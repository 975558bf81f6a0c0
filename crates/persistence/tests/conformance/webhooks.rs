//! Webhooks and their outbox: letters are written with the change, claimed once, reported on by whoever holds them.

use std::time::Duration;

use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_persistence::webhook_deliveries::{self, Busy, Claimed, DeliveryFilter};
use scaigrid_persistence::{audit, leases, tenants, webhooks};
use scaigrid_scope::{AuditId, DeliveryId, Instant, TenantChanges, TenantStatus, WebhookId};
use scaigrid_webhooks::{
    Attempt, DeliveryState, DeliveryStatus, DisabledReason, MAX_LOG, Next, Retries, Standing, Subscriptions,
    Webhook, WebhookChanges, WebhookStatus,
};
use serde_json::{Value, json};

use crate::home::Home;
use crate::values::{SYSTEM, at, node_id, of_tenant, partner_id, settle_two, tenant_id, ulid};

crate::on_both_databases! {
    a_webhook_is_kept_as_it_is,
    another_tenants_webhooks_are_not_there,
    letters_are_written_with_the_change_and_only_for_who_wants_them,
    a_letter_is_claimed_once,
    only_the_present_claim_reports,
    the_busy_and_the_suspended_are_passed_over,
    what_the_dead_held_is_free_again,
    old_letters_and_those_of_the_deleted_go_in_steps,
}

const FULL: DeliveryFilter = DeliveryFilter { status: None, since: None };

fn id(number: u128) -> WebhookId {
    WebhookId::from_ulid(ulid(number))
}

fn wishes(texts: &[&str]) -> Subscriptions {
    Subscriptions::new(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

fn webhook(number: u128, tenant: u128) -> Webhook {
    Webhook {
        id: id(number),
        tenant_id: tenant_id(tenant),
        url: "https://example.org/hook?a=b".parse().unwrap(),
        events: wishes(&["scaicore.*"]),
        standing: Standing::Active { failing_since: None },
        max_retries: Retries::MAX,
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn keep(home: &Home, webhook: &Webhook) {
    let mut tx = home.begin().await;
    let scope = SYSTEM.tenant(webhook.tenant_id);
    webhooks::add(&mut tx, scope, webhook, "sealed").await.unwrap();
    tx.commit().await.unwrap();
}

fn record(number: u128, tenant: u128, action: AuditAction) -> AuditRecord {
    // Of the time that its id tells.
    let time = at(i64::try_from(number).unwrap());
    let id = AuditId::from_ulid(ulid::Ulid::from_parts(time.unix_millis(), number));
    let changes = diff(&json!({"name": "old"}), &json!({"name": "new"}), &[]);
    let place = (tenant_id(tenant), Some(partner_id(tenant)));
    AuditRecord::by_the_system((id, time), place, action, format!("core_{number}"), changes)
}

/// Something that webhook-wanting tenants are told.
async fn happen(home: &Home, numbers: impl IntoIterator<Item = u128>, tenant: u128) {
    let mut tx = home.begin().await;
    for number in numbers {
        audit::add(&mut tx, &record(number, tenant, AuditAction::CoreUpdate)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn claim(home: &Home, node: u128, number: u128, now: Instant, most: i64) -> Vec<Claimed> {
    let mut tx = home.begin().await;
    let times = (now, now.plus(Duration::from_secs(30)));
    let scope = of_tenant(1);
    let claimed =
        webhook_deliveries::claim(&mut tx, scope, id(number), node_id(node), times, most).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

fn attempt(at: Instant, code: u16) -> Attempt {
    Attempt { at, duration_ms: 7, status_code: Some(code), error: None, response: Some("a\0b".to_owned()) }
}

async fn report(home: &Home, claimed: &Claimed, code: u16, next: Next) -> bool {
    let mut tx = home.begin().await;
    let reported = webhook_deliveries::report(&mut tx, of_tenant(1), claimed, &attempt(at(50), code), next)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    reported
}

async fn a_webhook_is_kept_as_it_is(home: &Home) {
    settle_two(home).await;
    let standings = [
        Standing::Active { failing_since: Some(at(3)) },
        Standing::Inactive,
        Standing::Disabled { reason: DisabledReason::Failing, at: at(9) },
    ];
    for (number, standing) in (1..).zip(standings) {
        let full =
            Webhook { standing, events: wishes(&["*", "module.*", "scaicore.failed"]), ..webhook(number, 1) };
        keep(home, &full).await;
        let mut tx = home.begin().await;
        assert_eq!(webhooks::lock(&mut tx, of_tenant(1), id(number)).await.unwrap(), Some(full.clone()));
        let changes = WebhookChanges {
            url: Some("https://other.example/".parse().unwrap()),
            status: Some(WebhookStatus::Active),
            max_retries: Some(Retries::new(0).unwrap()),
            ..WebhookChanges::default()
        };
        let after = Webhook { revision: 2, updated_at: at(20), ..full.changed(changes) };
        webhooks::save(&mut tx, of_tenant(1), &after, Some("sealed anew")).await.unwrap();
        tx.commit().await.unwrap();
        let mut c = home.read().await;
        assert_eq!(webhooks::lookup(&mut c, of_tenant(1), id(number)).await.unwrap(), Some(after));
        assert_eq!(
            webhooks::secret(&mut c, of_tenant(1), id(number)).await.unwrap().as_deref(),
            Some("sealed anew")
        );
    }
    let mut c = home.read().await;
    let listed = webhooks::list(&mut c, of_tenant(1), None, 2).await.unwrap();
    assert_eq!(listed.iter().map(|hook| hook.id).collect::<Vec<_>>(), [id(3), id(2)]);
    let rest = webhooks::list(&mut c, of_tenant(1), Some(id(2)), 2).await.unwrap();
    assert_eq!(rest.iter().map(|hook| hook.id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(webhooks::count(&mut c, of_tenant(1)).await.unwrap(), 3);
    assert_eq!(webhooks::listening(&mut c, of_tenant(1)).await.unwrap().len(), 3);
}

async fn another_tenants_webhooks_are_not_there(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    happen(home, [5], 1).await;
    let stranger = of_tenant(2);
    let mut tx = home.begin().await;
    let letter = webhook_deliveries::list(&mut tx, of_tenant(1), id(1), &FULL, None, 9).await.unwrap()[0].id;
    assert_eq!(webhooks::lookup(&mut tx, stranger, id(1)).await.unwrap(), None);
    assert_eq!(webhooks::lock(&mut tx, stranger, id(1)).await.unwrap(), None);
    assert_eq!(webhooks::secret(&mut tx, stranger, id(1)).await.unwrap(), None);
    assert_eq!(webhooks::addressee(&mut tx, stranger, id(1)).await.unwrap(), None);
    assert!(webhooks::list(&mut tx, stranger, None, 9).await.unwrap().is_empty());
    assert!(webhooks::listening(&mut tx, stranger).await.unwrap().is_empty());
    assert!(!webhooks::delete(&mut tx, stranger, id(1)).await.unwrap());
    assert!(webhook_deliveries::list(&mut tx, stranger, id(1), &FULL, None, 9).await.unwrap().is_empty());
    assert_eq!(webhook_deliveries::lookup(&mut tx, stranger, id(1), letter).await.unwrap(), None);
    assert_eq!(webhook_deliveries::again(&mut tx, stranger, id(1), letter, at(9)).await.unwrap(), None);
    let times = (at(100), at(200));
    let claimed = webhook_deliveries::claim(&mut tx, stranger, id(1), node_id(1), times, 9).await.unwrap();
    assert!(claimed.is_empty());
    assert!(webhook_deliveries::lookup(&mut tx, of_tenant(1), id(2), letter).await.unwrap().is_none());
}

async fn letters_are_written_with_the_change_and_only_for_who_wants_them(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    keep(home, &Webhook { events: wishes(&["module.*"]), ..webhook(2, 1) }).await;
    keep(home, &Webhook { standing: Standing::Inactive, ..webhook(3, 1) }).await;
    keep(home, &webhook(4, 2)).await;
    keep(home, &Webhook { events: wishes(&["*"]), ..webhook(5, 1) }).await;
    happen(home, [10], 1).await;
    // What is taken back is told to nobody.
    let mut tx = home.begin().await;
    audit::add(&mut tx, &record(11, 1, AuditAction::CoreUpdate)).await.unwrap();
    tx.rollback().await.unwrap();
    // What no event belongs to neither.
    let mut tx = home.begin().await;
    audit::add(&mut tx, &record(12, 1, AuditAction::WebhookUpdate)).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    for (number, tenant, count) in [(1, 1, 1), (2, 1, 0), (3, 1, 0), (4, 2, 0), (5, 1, 1)] {
        let found =
            webhook_deliveries::list(&mut c, of_tenant(tenant), id(number), &FULL, None, 9).await.unwrap();
        assert_eq!(found.len(), count, "{number}");
    }
    let told = webhook_deliveries::list(&mut c, of_tenant(1), id(1), &FULL, None, 9).await.unwrap().remove(0);
    assert_eq!((told.state, told.attempts), (DeliveryState::Pending { next_at: at(10) }, 0));
    assert_eq!(told.event_id.ulid(), record(10, 1, AuditAction::CoreUpdate).id.ulid());
    assert_eq!(webhook_deliveries::next_due(&mut c, &SYSTEM).await.unwrap(), Some(at(10)));
    drop(c);
    let claimed = claim(home, 1, 1, at(10), 9).await.remove(0);
    let body: Value = serde_json::from_str(&claimed.body).unwrap();
    assert_eq!(body["partner_id"], json!(partner_id(1)));
    assert_eq!(body["payload"]["resource_id"], "core_10");
    let since = DeliveryFilter { since: Some(at(11)), status: None };
    let pending = DeliveryFilter { status: Some(DeliveryStatus::Pending), since: Some(at(10)) };
    let mut c = home.read().await;
    assert!(webhook_deliveries::list(&mut c, of_tenant(1), id(1), &since, None, 9).await.unwrap().is_empty());
    assert_eq!(
        webhook_deliveries::list(&mut c, of_tenant(1), id(1), &pending, None, 9).await.unwrap().len(),
        1
    );
}

async fn a_letter_is_claimed_once(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    happen(home, 1..=20, 1).await;
    assert!(claim(home, 1, 1, at(0), 9).await.is_empty(), "nothing is due yet");
    let both = tokio::join!(claim(home, 1, 1, at(30), 6), claim(home, 2, 1, at(30), 6));
    let mut ids: Vec<DeliveryId> = both.0.iter().chain(&both.1).map(|claimed| claimed.delivery.id).collect();
    assert!(ids.len() >= 6, "{}", ids.len());
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "two nodes hold the same letter");
    assert!(both.0.iter().all(|claimed| (claimed.claim, claimed.delivery.attempts) == (1, 1)));
    // The rest, and nothing twice, until the claims have run out.
    let rest = claim(home, 3, 1, at(30), 100).await;
    assert_eq!(rest.len() + all, 20);
    assert!(claim(home, 3, 1, at(59), 100).await.is_empty());
    let again = claim(home, 3, 1, at(60), 100).await;
    assert_eq!(again.len(), 20);
    assert!(again.iter().all(|claimed| (claimed.claim, claimed.delivery.attempts) == (2, 2)));
}

async fn only_the_present_claim_reports(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    happen(home, [1], 1).await;
    let late = claim(home, 1, 1, at(10), 9).await.remove(0);
    let present = claim(home, 2, 1, at(40), 9).await.remove(0);
    assert!(!report(home, &late, 200, Next::Delivered).await, "another has taken it up");
    assert!(report(home, &present, 500, Next::Retry { at: at(60) }).await);
    assert!(!report(home, &present, 200, Next::Delivered).await, "that was reported");
    let mut c = home.read().await;
    let kept =
        webhook_deliveries::lookup(&mut c, of_tenant(1), id(1), late.delivery.id).await.unwrap().unwrap();
    assert_eq!(kept.state, DeliveryState::Pending { next_at: at(60) });
    let said = Attempt { response: Some("a\u{fffd}b".to_owned()), ..attempt(at(50), 500) };
    assert_eq!(kept.log, [said]);
    drop(c);
    // Once more from the beginning, while somebody is at it.
    let third = claim(home, 1, 1, at(60), 9).await.remove(0);
    let mut tx = home.begin().await;
    let asked =
        webhook_deliveries::again(&mut tx, of_tenant(1), id(1), third.delivery.id, at(61)).await.unwrap();
    assert_eq!(asked.unwrap().attempts, 0);
    tx.commit().await.unwrap();
    assert!(!report(home, &third, 200, Next::Delivered).await);
    // The log is bounded.
    for round in 0..25 {
        let claimed = claim(home, 1, 1, at(70 + round), 9).await.remove(0);
        assert!(report(home, &claimed, 500, Next::Retry { at: at(70 + round) }).await);
    }
    let last = claim(home, 1, 1, at(200), 9).await.remove(0);
    assert!(report(home, &last, 204, Next::Delivered).await);
    let mut c = home.read().await;
    let kept =
        webhook_deliveries::lookup(&mut c, of_tenant(1), id(1), last.delivery.id).await.unwrap().unwrap();
    assert_eq!(kept.log.len(), MAX_LOG);
    assert_eq!(kept.state.status(), DeliveryStatus::Success);
    assert_eq!(webhook_deliveries::next_due(&mut c, &SYSTEM).await.unwrap(), None);
}

async fn the_busy_and_the_suspended_are_passed_over(home: &Home) {
    settle_two(home).await;
    for (number, tenant) in [(1, 1), (2, 1), (3, 2)] {
        keep(home, &webhook(number, tenant)).await;
    }
    happen(home, [5], 1).await;
    happen(home, [6], 2).await;
    let due = async |now, busy: &Busy| {
        let mut c = home.read().await;
        let due = webhook_deliveries::due(&mut c, &SYSTEM, now, busy, None, 9).await.unwrap();
        due.into_iter().map(|(_, webhook)| webhook).collect::<Vec<_>>()
    };
    let nobody = Busy::default();
    assert!(due(at(4), &nobody).await.is_empty());
    assert_eq!(due(at(5), &nobody).await, [id(1), id(2)]);
    assert_eq!(due(at(6), &nobody).await, [id(1), id(2), id(3)]);
    // Two at a time, round and round.
    let mut c = home.read().await;
    for (behind, expected) in [(None, [1, 2]), (Some(id(2)), [3, 1]), (Some(id(1)), [2, 3])] {
        let due = webhook_deliveries::due(&mut c, &SYSTEM, at(6), &nobody, behind, 2).await.unwrap();
        assert_eq!(due.into_iter().map(|(_, webhook)| webhook).collect::<Vec<_>>(), expected.map(id));
    }
    drop(c);
    let busy = Busy { webhooks: vec![id(1)], tenants: vec![tenant_id(2)] };
    assert_eq!(due(at(6), &busy).await, [id(2)]);
    let mut tx = home.begin().await;
    let suspended = TenantChanges { status: Some(TenantStatus::Suspended), ..TenantChanges::default() };
    assert_eq!(
        tenants::update(&mut tx, of_tenant(1), None, &suspended, at(9)).await.unwrap(),
        scaigrid_persistence::Written::Done
    );
    tx.commit().await.unwrap();
    assert_eq!(due(at(9), &nobody).await, [id(3)]);
    // One whose webhook is switched off in between is put back.
    let mut tx = home.begin().await;
    let times = (at(9), at(40));
    let scope = of_tenant(2);
    let claimed =
        webhook_deliveries::claim(&mut tx, scope, id(3), node_id(1), times, 9).await.unwrap().remove(0);
    webhook_deliveries::put_back(&mut tx, scope, &claimed, at(10)).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let kept = webhook_deliveries::lookup(&mut c, scope, id(3), claimed.delivery.id).await.unwrap().unwrap();
    assert_eq!((kept.attempts, kept.state), (0, DeliveryState::Pending { next_at: at(10) }));
}

async fn what_the_dead_held_is_free_again(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    happen(home, 1..=4, 1).await;
    let mut tx = home.begin().await;
    leases::register(&mut tx, node_id(1), at(0), at(100)).await.unwrap();
    leases::register(&mut tx, node_id(2), at(0), at(20)).await.unwrap();
    tx.commit().await.unwrap();
    for node in 1..=3 {
        assert_eq!(claim(home, node, 1, at(10), 1).await.len(), 1);
    }
    let dead = async |now| {
        let mut c = home.read().await;
        let mut dead = webhook_deliveries::dead_claimants(&mut c, &SYSTEM, now).await.unwrap();
        dead.sort_unstable();
        dead
    };
    assert_eq!(dead(at(10)).await, [node_id(3)]);
    assert_eq!(dead(at(21)).await, [node_id(2), node_id(3)]);
    let mut tx = home.begin().await;
    assert_eq!(webhook_deliveries::release(&mut tx, &SYSTEM, node_id(2), at(21)).await.unwrap(), 1);
    assert_eq!(webhook_deliveries::release(&mut tx, &SYSTEM, node_id(3), at(21)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(dead(at(21)).await.is_empty());
    assert_eq!(claim(home, 1, 1, at(21), 9).await.len(), 3, "theirs, and the one that nobody had");
}

async fn old_letters_and_those_of_the_deleted_go_in_steps(home: &Home) {
    settle_two(home).await;
    keep(home, &webhook(1, 1)).await;
    keep(home, &webhook(2, 1)).await;
    happen(home, 1..=10, 1).await;
    let mut tx = home.begin().await;
    // Each event has a letter to each of the two.
    assert_eq!(webhook_deliveries::purge(&mut tx, &SYSTEM, at(4), 4).await.unwrap(), 4);
    assert_eq!(webhook_deliveries::purge(&mut tx, &SYSTEM, at(4), 4).await.unwrap(), 2);
    assert_eq!(webhook_deliveries::purge(&mut tx, &SYSTEM, at(4), 4).await.unwrap(), 0);
    assert_eq!(webhooks::sweep(&mut tx, &SYSTEM, 5).await.unwrap(), 0);
    assert!(webhooks::delete(&mut tx, of_tenant(1), id(1)).await.unwrap());
    assert!(!webhooks::delete(&mut tx, of_tenant(1), id(1)).await.unwrap());
    assert_eq!(webhooks::lookup(&mut tx, of_tenant(1), id(1)).await.unwrap(), None);
    assert_eq!(webhooks::secret(&mut tx, of_tenant(1), id(1)).await.unwrap(), None);
    assert_eq!(webhooks::count(&mut tx, of_tenant(1)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    happen(home, [20], 1).await;
    let mut tx = home.begin().await;
    assert_eq!(
        webhook_deliveries::due(&mut tx, &SYSTEM, at(30), &Busy::default(), None, 9).await.unwrap().len(),
        1
    );
    let mut gone = Vec::new();
    loop {
        match webhooks::sweep(&mut tx, &SYSTEM, 5).await.unwrap() {
            0 => break,
            rows => gone.push(rows),
        }
    }
    assert_eq!(gone, [5, 3], "seven letters, and the webhook with the last of them");
    let kept = webhook_deliveries::list(&mut tx, of_tenant(1), id(2), &FULL, None, 99).await.unwrap();
    assert_eq!(kept.len(), 8, "what is not old or deleted stays");
}
