//! The outbox of webhooks: what happened is written here in the transaction in which it happens, a letter for each
//! webhook that wants it. Posting comes afterwards, from [`crate::webhook_deliveries`].

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use scaigrid_scope::WebhookId;
use scaigrid_webhooks::{Event, delivery_id};

use crate::database::{Bell, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::{tenants, webhook_deliveries, webhooks};
use crate::webhooks::decode_events;

/// Who listens in a tenant: the tenant, its partner, the webhook, and what it wants.
pub(crate) type Listener = (String, String, String, serde_json::Value);

/// Who listens where events happened.
macro_rules! listening {
    ($events:expr) => {{
        let tenants: BTreeSet<String> = $events.iter().map(|event| event.tenant_id.to_string()).collect();
        webhooks::table
            .inner_join(tenants::table.on(tenants::id.eq(webhooks::tenant_id)))
            .filter(webhooks::tenant_id.eq_any(tenants))
            .filter(webhooks::status.eq("active"))
            .order(webhooks::id)
            .select((webhooks::tenant_id, tenants::partner_id, webhooks::id, webhooks::events))
    }};
}

/// Writes the letters that events give rise to. Where nobody listens that costs one look, and without events nothing.
pub(crate) async fn write(tx: &mut Transaction, events: &[Event]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let listening: Vec<Listener> = with!(tx, c => listening!(events).load(c).await)?;
    write_to(tx, events, listening).await
}

/// Who listens to events, on a connection that sends other statements at the same time.
pub(crate) async fn listeners(mut c: &AsyncPgConnection, events: &[Event]) -> Result<Vec<Listener>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    Ok(listening!(events).load(&mut c).await?)
}

/// Writes the letters that events give rise to, to whom they concern of those that listen.
pub(crate) async fn write_to(tx: &mut Transaction, events: &[Event], listening: Vec<Listener>) -> Result<()> {
    for (tenant, partner, id, wanted) in listening {
        let wanted = decode_events(&id, &wanted)?;
        let webhook: WebhookId = column("webhooks", "id", &id, &id)?;
        let partner = column("tenants", "partner_id", &tenant, &partner)?;
        for event in events {
            if event.tenant_id.to_string() != tenant || !wanted.want(event.event_type) {
                continue;
            }
            let row = (
                webhook_deliveries::id.eq(delivery_id(event.id, webhook).to_string()),
                webhook_deliveries::tenant_id.eq(&tenant),
                webhook_deliveries::webhook_id.eq(&id),
                webhook_deliveries::event_id.eq(event.id.to_string()),
                webhook_deliveries::event_type.eq(event.event_type.as_str()),
                webhook_deliveries::body.eq(event.body(partner)),
                webhook_deliveries::status.eq("pending"),
                webhook_deliveries::next_at.eq(Some(Stamp(event.at))),
                webhook_deliveries::claims.eq(0),
                webhook_deliveries::attempts.eq(0),
                webhook_deliveries::log.eq(serde_json::Value::Array(Vec::new())),
                webhook_deliveries::created_at.eq(Stamp(event.at)),
            );
            let insert = diesel::insert_into(webhook_deliveries::table).values(row);
            with!(tx, c => insert.execute(c).await)?;
            tx.note(Bell::Outbox);
        }
    }
    Ok(())
}
