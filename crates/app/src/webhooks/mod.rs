//! Outgoing webhooks: whom a tenant lets know of what happens in it. What they are told is written by
//! [`persistence`](scaigrid_persistence::audit::add) with the change itself, and posted by [`App::deliver_webhooks`].

mod deliveries;
mod dispatch;
mod post;
mod turns;

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_outbound::Refusal;
use scaigrid_persistence::webhooks::PreviousSecret;
use scaigrid_persistence::{Connection, Transaction, audit, data_keys, tenants, webhooks};
use scaigrid_scope::{Authorized, Instant, TenantScope, WebhookId, perm};
use scaigrid_webhooks::{
    Retries, Secret, Standing, Subscriptions, Webhook, WebhookChanges, WebhookStatus, WebhookUrl,
};
use serde_json::{Value, json};

use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, Resource};

pub(crate) use deliveries::Tests;
pub use deliveries::Tried;
pub use scaigrid_persistence::webhook_deliveries::DeliveryFilter;
pub use scaigrid_webhooks::{Attempt, Delivery, DeliveryState, DeliveryStatus, Subscription};

/// How many webhooks a tenant may have: each event may be told to all of them.
pub const WEBHOOKS_AT_MOST: u32 = 50;

/// A webhook as it is asked for.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where it is told.
    pub url: WebhookUrl,
    /// What it is told.
    pub events: Subscriptions,
    /// What its deliveries are signed with; drawn when left out.
    pub secret: Option<Secret>,
    /// Whether it is told anything.
    pub status: WebhookStatus,
    /// How often a delivery is tried again.
    pub max_retries: Retries,
}

/// A webhook that was just made: the only time that its secret is seen.
#[derive(Debug, Clone)]
pub struct CreatedWebhook {
    /// What is kept.
    pub webhook: Webhook,
    /// What its receiver verifies with.
    pub secret: Secret,
}

/// A webhook that was just given another secret: the only time that it is seen.
#[derive(Debug, Clone)]
pub struct RotatedSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// What its receiver verifies with from now on.
    pub secret: Secret,
    /// Until when the one before counts beside it.
    pub previous_until: Instant,
}

/// How long the secret before counts beside a new one.
const OVERLAP: Duration = Duration::from_hours(24);

/// A webhook as the audit log tells of it.
fn state(webhook: &Webhook) -> Value {
    let reason = match webhook.standing {
        Standing::Disabled { reason, .. } => Some(reason.as_str()),
        _ => None,
    };
    json!({
        "url": webhook.url.as_str(),
        "events": webhook.events.iter().map(|wish| wish.to_string()).collect::<Vec<_>>(),
        "status": webhook.standing.status().as_str(),
        "disabled_reason": reason,
        "max_retries": webhook.max_retries.get(),
    })
}

/// Where a webhook's secret is sealed for.
fn place(id: WebhookId) -> String {
    webhooks::sealing_place(&id.to_string())
}

fn previous_place(id: WebhookId) -> String {
    webhooks::previous_place(&id.to_string())
}

fn denied(refusal: Refusal, calling: bool) -> Error {
    Error::EgressDenied { field: "url".into(), reason: refusal.to_string(), calling }
}

impl App {
    /// The webhooks of the tenant, newest first.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn webhooks(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        page: &PageRequest,
    ) -> Result<Page<Webhook>, Error> {
        let mut connection = self.0.database.read().await?;
        let rows = webhooks::list(&mut connection, caller.tenant_scope(), page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |webhook| Cursor::new([webhook.id.to_string().into()])))
    }

    /// A webhook of the tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        id: WebhookId,
    ) -> Result<Webhook, Error> {
        let mut connection = self.0.database.read().await?;
        let found = webhooks::lookup(&mut connection, caller.tenant_scope(), id).await?;
        found.ok_or(Error::NotFound(Resource::Webhook))
    }

    /// Makes a webhook. It is told of what happens from now on.
    ///
    /// # Errors
    /// [`Error::EgressDenied`] when its URL may not be called, [`Error::Capacity`] when the tenant has enough of them.
    #[boxed]
    pub async fn create_webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        new: NewWebhook,
    ) -> Result<CreatedWebhook, Error> {
        // Names are looked up before the transaction, which must not wait for others.
        self.examine(&new.url).await?;
        let mut tx = self.0.database.begin().await?;
        let created = self.add_webhook(&mut tx, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.webhooks_changed();
        Ok(created)
    }

    /// Makes a webhook unless the tenant has one with this URL.
    ///
    /// # Errors
    /// As [`App::create_webhook`], and [`Error::Conflict`] when there is one.
    pub(crate) async fn create_webhook_once(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        new: NewWebhook,
    ) -> Result<CreatedWebhook, Error> {
        self.examine(&new.url).await?;
        let mut tx = self.0.database.begin().await?;
        let created = self.add_webhook_once(&mut tx, caller, request, new).await;
        let created = ended(tx, created).await?;
        self.webhooks_changed();
        Ok(created)
    }

    async fn add_webhook_once(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        new: NewWebhook,
    ) -> Result<CreatedWebhook, Error> {
        let scope = caller.tenant_scope();
        // Held before it is looked: of two who make the same, the second sees the first one's.
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let there = webhooks::list(tx, scope, None, i64::from(WEBHOOKS_AT_MOST)).await?;
        if there.iter().any(|webhook| webhook.url == new.url) {
            let message = "There is a webhook with this URL already".to_owned();
            return Err(Error::Taken { field: "url", message });
        }
        self.add_webhook(tx, caller, request, new).await
    }

    async fn examine(&self, url: &WebhookUrl) -> Result<(), Error> {
        let examined = self.0.outbound.guard().examine(url.url()).await;
        examined.map_err(|refusal| denied(refusal, false))
    }

    async fn add_webhook(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        new: NewWebhook,
    ) -> Result<CreatedWebhook, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        // Whoever adds a webhook holds the tenant meanwhile, so that two do not both take the last place.
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        if webhooks::count(tx, scope).await? >= i64::from(WEBHOOKS_AT_MOST) {
            return Err(Error::Capacity { what: "webhooks".into(), limit: WEBHOOKS_AT_MOST.into() });
        }
        let secret = new.secret.unwrap_or_else(|| Secret::of_bytes(&rand::random()));
        let webhook = Webhook {
            id: WebhookId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            url: new.url,
            events: new.events,
            standing: Standing::Inactive.set(new.status),
            max_retries: new.max_retries,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let sealed = self.seal(tx, scope, webhook.id, &secret).await?;
        webhooks::add(tx, scope, &webhook, &sealed).await?;
        let mut is = state(&webhook);
        is["secret"] = "set".into();
        let changes = diff(&Value::Null, &is, &[]);
        let (stamp, id) = (self.audit_stamp(now), webhook.id.to_string());
        let record = AuditRecord::in_tenant(stamp, caller, request, AuditAction::WebhookCreate, id, changes);
        audit::add(tx, &record).await?;
        Ok(CreatedWebhook { webhook, secret })
    }

    async fn seal(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        id: WebhookId,
        secret: &Secret,
    ) -> Result<String, Error> {
        let sealer = data_keys::sealer(tx, scope, &self.0.vault, self.now()).await?;
        sealer.seal(&place(id), secret.reveal()).map_err(Error::internal)
    }

    /// Changes a webhook. What waits to be told goes to the new URL, under the new secret.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::EgressDenied`] when its URL may not be called.
    pub async fn update_webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
        changes: (WebhookChanges, Option<Secret>),
    ) -> Result<Webhook, Error> {
        if let Some(url) = &changes.0.url {
            self.examine(url).await?;
        }
        let mut tx = self.0.database.begin().await?;
        let written = self.change_webhook(&mut tx, caller, request, id, expected, changes).await;
        let webhook = ended(tx, written).await?;
        self.webhooks_changed();
        Ok(webhook)
    }

    async fn change_webhook(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
        (changes, secret): (WebhookChanges, Option<Secret>),
    ) -> Result<Webhook, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = webhooks::lock(tx, scope, id).await?.ok_or(Error::NotFound(Resource::Webhook))?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone().changed(changes);
        let (mut was, mut is) = (state(&before), state(&after));
        let sealed = match secret {
            Some(secret) if self.open(tx, scope, id).await?.as_ref() != Some(&secret) => {
                // The audit shows that it changed, and neither of the two.
                (was["secret"], is["secret"]) = ("old".into(), "new".into());
                Some(self.seal(tx, scope, id, &secret).await?)
            }
            _ => None,
        };
        let changes = diff(&was, &is, &[]);
        if changes.is_empty() {
            return Ok(before);
        }
        (after.revision, after.updated_at) = (before.revision + 1, now);
        webhooks::save(tx, scope, &after, sealed.as_deref()).await?;
        let stamp = self.audit_stamp(now);
        let action = AuditAction::WebhookUpdate;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(after)
    }

    /// Gives a webhook another secret. For a day deliveries are signed by both, so that its receiver can change secrets without
    /// missing one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`]; [`Error::Conflict`] when it is the secret that the webhook has.
    pub async fn rotate_webhook_secret(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
        secret: Option<Secret>,
    ) -> Result<RotatedSecret, Error> {
        let mut tx = self.0.database.begin().await?;
        let rotated = self.exchange_secret(&mut tx, caller, request, id, expected, secret).await;
        let rotated = ended(tx, rotated).await?;
        self.webhooks_changed();
        Ok(rotated)
    }

    async fn exchange_secret(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
        secret: Option<Secret>,
    ) -> Result<RotatedSecret, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = webhooks::lock(tx, scope, id).await?.ok_or(Error::NotFound(Resource::Webhook))?;
        check_expected(expected, before.revision)?;
        let secret = secret.unwrap_or_else(|| Secret::of_bytes(&rand::random()));
        let webhook = Webhook { revision: before.revision + 1, updated_at: now, ..before };
        let previous_until = now.plus(OVERLAP);
        let text = self.seal(tx, scope, id, &secret).await?;
        match self.open(tx, scope, id).await? {
            Some(previous) if previous == secret => {
                let message = "The webhook has this secret already".to_owned();
                return Err(Error::Taken { field: "secret", message });
            }
            Some(previous) => {
                let sealer = data_keys::sealer(tx, scope, &self.0.vault, now).await?;
                let before = sealer.seal(&previous_place(id), previous.reveal()).map_err(Error::internal)?;
                let previous = PreviousSecret { sealed: before, until: previous_until };
                webhooks::rotate_secret(tx, scope, &webhook, &text, &previous).await?;
            }
            // What cannot be opened signs nothing in any case.
            None => webhooks::save(tx, scope, &webhook, Some(&text)).await?,
        }
        // The audit shows that it changed, and neither of the two.
        let changes = diff(&json!({"secret": "old"}), &json!({"secret": "new"}), &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::WebhookRotateSecret;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(RotatedSecret { webhook, secret, previous_until })
    }

    /// Whether a webhook's deliveries are signed with this secret.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn webhook_has_secret(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        id: WebhookId,
        secret: &Secret,
    ) -> Result<bool, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(self.open(&mut connection, caller.tenant_scope(), id).await?.as_ref() == Some(secret))
    }

    /// The secret of a webhook, if it can still be opened: one whose master key is lost can be replaced.
    async fn open(
        &self,
        tx: &mut Connection,
        scope: TenantScope,
        id: WebhookId,
    ) -> Result<Option<Secret>, Error> {
        let sealed = webhooks::secret(tx, scope, id).await?.ok_or(Error::NotFound(Resource::Webhook))?;
        let opener = data_keys::opener(tx, scope, &self.0.vault, [sealed.as_str()]).await?;
        Ok(opener.open(&place(id), &sealed).ok().and_then(|text| Secret::parse(&text).ok()))
    }

    /// Removes a webhook and what it was to be told.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_webhook(
        &self,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.remove_webhook(&mut tx, caller, request, id, expected).await;
        ended(tx, removed).await?;
        self.webhooks_changed();
        Ok(())
    }

    async fn remove_webhook(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::WebhooksManage>,
        request: &RequestContext,
        id: WebhookId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = webhooks::lock(tx, scope, id).await?.ok_or(Error::NotFound(Resource::Webhook))?;
        check_expected(expected, before.revision)?;
        webhooks::delete(tx, scope, id).await?;
        let changes = diff(&state(&before), &Value::Null, &[]);
        let stamp = self.audit_stamp(now);
        let action = AuditAction::WebhookDelete;
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record).await?;
        Ok(())
    }
}
