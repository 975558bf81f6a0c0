//! What became of what webhooks were told: looking, trying out, asking once more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext};
use scaigrid_persistence::webhook_deliveries::{self, Claimed, DeliveryFilter};
use scaigrid_persistence::webhooks::{self, Addressee};
use scaigrid_persistence::{Transaction, audit};
use scaigrid_scope::{Authorized, DeliveryId, EventId, TenantId, WebhookId, perm};
use scaigrid_webhooks::{Attempt, Delivery, Event, EventType, Next, Standing, Verdict, Webhook};
use serde_json::json;

use super::denied;
use super::post::LIMITS;
use super::turns::{AT_ONCE, PER_WEBHOOK, one_less};
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::ended;
use crate::{App, Error, Resource};

/// How long a delivery is in one node's hands before another may take it up.
pub(super) const CLAIM: Duration = Duration::from_secs(30);

/// The tests under way on this node. They are posted at once and do not wait for a place like deliveries do, so they have
/// room of their own: as much of it for a tenant as one webhook has for its deliveries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tests(Arc<Mutex<HashMap<TenantId, usize>>>);

/// A place for a test, until it is dropped.
struct TestPlace {
    tests: Tests,
    tenant: TenantId,
}

impl Tests {
    fn counts(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        // Counting does not panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, tenant: TenantId) -> Result<TestPlace, Error> {
        let mut counts = self.counts();
        let own = counts.get(&tenant).copied().unwrap_or_default();
        if own >= PER_WEBHOOK || counts.values().sum::<usize>() >= AT_ONCE {
            return Err(Error::RateLimited { retry_after: LIMITS.time });
        }
        counts.insert(tenant, own + 1);
        Ok(TestPlace { tests: self.clone(), tenant })
    }
}

impl Drop for TestPlace {
    fn drop(&mut self) {
        one_less(&mut self.tests.counts(), &self.tenant);
    }
}

/// What came of trying a webhook out.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The attempt.
    pub attempt: Attempt,
}

impl App {
    /// The deliveries of a webhook that a filter shows, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such webhook.
    #[boxed]
    pub async fn webhook_deliveries(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        id: WebhookId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>, Error> {
        let webhook = self.webhook(caller, id).await?;
        let mut connection = self.0.database.read().await?;
        let (scope, after) = (caller.tenant_scope(), page.after()?);
        let rows =
            webhook_deliveries::list(&mut connection, scope, webhook.id, filter, after, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |delivery| Cursor::new([delivery.id.to_string().into()])))
    }

    /// Posts a test to a webhook, once and at once, whatever it wants and whether it is active.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::EgressDenied`] when its URL may not be called any more; [`Error::RateLimited`] while the
    /// tenant has as many tests under way as it may.
    #[boxed]
    pub async fn test_webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
    ) -> Result<Tried, Error> {
        let place = self.0.webhook_tests.begin(caller.tenant_scope().tenant_id())?;
        let mut tx = self.0.database.begin().await?;
        let written = self.write_test(&mut tx, caller, request, id).await;
        let (to, claimed) = ended(tx, written).await?;
        let (app, scope, delivery_id) = (self.clone(), caller.tenant_scope(), claimed.delivery.id);
        // A caller who hangs up leaves no letter half posted, and no room that is not there.
        let posting = tokio::spawn(async move {
            let _place = place;
            let posted = app.post(&to, &claimed).await;
            let next = match posted.attempt.verdict() {
                Verdict::Delivered => Next::Delivered,
                Verdict::Failed | Verdict::Gone => Next::GivenUp,
            };
            let mut tx = app.0.database.begin().await?;
            let reported = webhook_deliveries::report(&mut tx, scope, &claimed, &posted.attempt, next).await;
            ended(tx, reported.map_err(Error::from)).await?;
            Ok::<_, Error>(posted)
        });
        let posted = posting.await.map_err(Error::internal)??;
        match posted.refused {
            Some(refusal) => Err(denied(refusal, true)),
            None => Ok(Tried { delivery_id, attempt: posted.attempt }),
        }
    }

    async fn write_test(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
    ) -> Result<(Addressee, Claimed), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let missing = || Error::NotFound(Resource::Webhook);
        let webhook: Webhook = webhooks::lookup(tx, scope, id).await?.ok_or_else(missing)?;
        let (sealed, previous) = webhooks::secrets(tx, scope, id).await?.ok_or_else(missing)?;
        let event = Event {
            id: EventId::from_ulid(self.0.ids.draw(now)),
            event_type: EventType::WebhookTest,
            tenant_id: scope.tenant_id(),
            at: now,
            source: "scaigrid".to_owned(),
            payload: json!({"webhook_id": id}),
        };
        let body = event.body(caller.tenant().partner_id);
        let (node, until) = (self.0.engine.node(), now.plus(CLAIM));
        let claimed = webhook_deliveries::add_claimed(tx, scope, id, (&event, body), node, until).await?;
        self.record_of(tx, caller, request, AuditAction::WebhookTest, id).await?;
        Ok((Addressee { webhook, sealed, previous, tenant_id: scope.tenant_id() }, claimed))
    }

    async fn record_of(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        action: AuditAction,
        id: WebhookId,
    ) -> Result<(), Error> {
        let stamp = self.audit_stamp(self.now());
        let changes = Changes::default();
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        Ok(audit::add(tx, &record).await?)
    }

    /// Has a delivery posted once more, under the same id, and tried again by the timetable should that fail.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] while the webhook is inactive.
    #[boxed]
    pub async fn redeliver(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        webhook: WebhookId,
        id: DeliveryId,
    ) -> Result<Delivery, Error> {
        let mut tx = self.0.database.begin().await?;
        let asked = self.ask_again(&mut tx, caller, request, webhook, id).await;
        ended(tx, asked).await
    }

    async fn ask_again(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Delivery, Error> {
        let scope = caller.tenant_scope();
        let webhook = webhooks::lookup(tx, scope, id).await?.ok_or(Error::NotFound(Resource::Webhook))?;
        let missing = || Error::NotFound(Resource::Delivery);
        webhook_deliveries::lookup(tx, scope, id, delivery).await?.ok_or_else(missing)?;
        if !matches!(webhook.standing, Standing::Active { .. }) {
            return Err(Error::Conflict("The webhook is inactive".to_owned()));
        }
        let asked = webhook_deliveries::again(tx, scope, id, delivery, self.now()).await?;
        let asked = asked.ok_or_else(missing)?;
        self.record_of(tx, caller, request, AuditAction::WebhookRedeliver, id).await?;
        Ok(asked)
    }
}
