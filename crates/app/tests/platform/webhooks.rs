//! Webhooks over days: switched off when nothing gets through, forgotten when they are old.

use std::time::Duration;

use scaigrid_app::webhooks::{DeliveryFilter, DeliveryStatus, NewWebhook};
use scaigrid_app::{Error, PageRequest};
use scaigrid_scope::{Role, WebhookId};
use scaigrid_webhooks::{DisabledReason, Retries, Standing, Subscription, Subscriptions, WebhookStatus};

use crate::house::{FULL, House, house, nobody};

const DAY: i64 = 86_400;

/// A webhook for new users at a port of this machine that nobody listens on.
async fn hook(house: &House) -> WebhookId {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let new = NewWebhook {
        url: format!("http://{free}/").parse().unwrap(),
        events: Subscriptions::new(["scaikey.user.created".parse::<Subscription>().unwrap()]).unwrap(),
        secret: None,
        status: WebhookStatus::Active,
        max_retries: Retries::MAX,
    };
    let root = house.root().await;
    house.app.create_webhook(&root.authorize().unwrap(), &nobody(), new).await.unwrap().webhook.id
}

/// Lets the postman work on what is due.
async fn deliver(house: &House) {
    house.app.deliver_webhooks(tokio::time::sleep(Duration::from_millis(300))).await;
}

async fn count(house: &House, id: WebhookId, status: Option<DeliveryStatus>) -> usize {
    let root = house.root().await;
    let filter = DeliveryFilter { status, since: None };
    house.app.webhook_deliveries(&root.authorize().unwrap(), id, &filter, &FULL).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_for_five_days_is_switched_off() {
    let house = house().await;
    let id = hook(&house).await;
    let root = house.root().await;
    house.add_user("default", "ada@example.org", Role::TenantUser).await.unwrap();
    deliver(&house).await;
    house.pass(5 * DAY - 10);
    deliver(&house).await;
    let webhook = house.app.webhook(&root.authorize().unwrap(), id).await.unwrap();
    assert!(
        matches!(webhook.standing, Standing::Active { failing_since: Some(_) }),
        "{:?}",
        webhook.standing
    );
    house.pass(DAY);
    deliver(&house).await;
    let webhook = house.app.webhook(&root.authorize().unwrap(), id).await.unwrap();
    assert!(matches!(webhook.standing, Standing::Disabled { reason: DisabledReason::Failing, .. }));
    assert_eq!(webhook.revision, 2);
    assert_eq!(house.audit(&root).await[0], "webhook.disable");
    // It is told nothing more, and what it was to be told waits.
    house.add_user("default", "bob@example.org", Role::TenantUser).await.unwrap();
    assert_eq!(count(&house, id, None).await, 1);
    assert_eq!(count(&house, id, Some(DeliveryStatus::Pending)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_forgotten_after_thirty_days() {
    let house = house().await;
    let id = hook(&house).await;
    house.add_user("default", "ada@example.org", Role::TenantUser).await.unwrap();
    house.pass(29 * DAY);
    house.add_user("default", "bob@example.org", Role::TenantUser).await.unwrap();
    assert_eq!(house.app.purge_webhook_deliveries().await.unwrap(), 0);
    house.pass(2 * DAY);
    assert_eq!(house.app.purge_webhook_deliveries().await.unwrap(), 1);
    assert_eq!(count(&house, id, None).await, 1);
    let root = house.root().await;
    let by = root.authorize().unwrap();
    house.app.delete_webhook(&by, &nobody(), id, None).await.unwrap();
    assert_eq!(house.app.purge_webhook_deliveries().await.unwrap(), 2, "its delivery, and it");
    let page = PageRequest { limit: 9, cursor: None };
    let gone = house.app.webhook_deliveries(&by, id, &DeliveryFilter::default(), &page).await;
    assert!(matches!(gone, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_tenant_has_only_so_many_webhooks() {
    let house = house().await;
    for _ in 0..scaigrid_app::webhooks::WEBHOOKS_AT_MOST {
        hook(&house).await;
    }
    let root = house.root().await;
    let new = NewWebhook {
        url: "https://receiver.invalid/".parse().unwrap(),
        events: Subscriptions::new([Subscription::All]).unwrap(),
        secret: None,
        status: WebhookStatus::Active,
        max_retries: Retries::MAX,
    };
    let refused = house.app.create_webhook(&root.authorize().unwrap(), &nobody(), new).await;
    assert!(matches!(refused, Err(Error::Capacity { limit: 50, .. })), "{refused:?}");
}
