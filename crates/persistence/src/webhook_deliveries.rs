//! Deliveries to webhooks: the letters of the outbox, who is posting them, and what became of them.
//!
//! A letter is claimed by one node at a time. Its `next_at` is then the instant from which on another may take it up;
//! the node's own end lets it go sooner. Whoever reports on it shows the number of the claim, so that a report of somebody
//! who was given up is not mistaken for the present one's.

use async_recursion::async_recursion as boxed;
use diesel::dsl::{exists, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{DeliveryId, Instant, NodeId, SystemScope, TenantId, TenantScope, WebhookId};
use scaigrid_webhooks::{
    Attempt, Delivery, DeliveryState, DeliveryStatus, Event, MAX_LOG, Next, delivery_id,
};
use serde::{Deserialize, Serialize};

use crate::database::{Bell, Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::{nodes, partners, tenants, webhook_deliveries, webhooks};

const TABLE: &str = "webhook_deliveries";

/// Those that are still to be posted, in the words of the partial indexes: a planner does not find them by parameters.
fn pending() -> SqlLiteral<Bool> {
    sql("webhook_deliveries.status = 'pending'")
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = webhook_deliveries)]
struct DeliveryRow {
    id: String,
    tenant_id: String,
    webhook_id: String,
    event_id: String,
    event_type: String,
    status: String,
    next_at: Option<Stamp>,
    attempts: i32,
    log: serde_json::Value,
    created_at: Stamp,
    finished_at: Option<Stamp>,
}

/// An attempt as the column holds it.
#[derive(Debug, Serialize, Deserialize)]
struct StoredAttempt {
    at: i64,
    duration_ms: u32,
    status_code: Option<u16>,
    error: Option<String>,
    response: Option<String>,
}

fn encode_attempt(attempt: &Attempt) -> serde_json::Value {
    let stored = StoredAttempt {
        at: attempt.at.micros(),
        duration_ms: attempt.duration_ms,
        status_code: attempt.status_code,
        error: attempt.error.clone().map(text_storable),
        response: attempt.response.clone().map(text_storable),
    };
    storable(serde_json::to_value(stored).unwrap_or_default())
}

fn decode_log(id: &str, stored: serde_json::Value) -> Result<Vec<Attempt>> {
    let stored: Vec<StoredAttempt> =
        serde_json::from_value(stored).map_err(|error| Error::inconsistent(TABLE, "log", id, error))?;
    Ok(stored
        .into_iter()
        .map(|attempt| Attempt {
            at: Instant::from_micros(attempt.at),
            duration_ms: attempt.duration_ms,
            status_code: attempt.status_code,
            error: attempt.error,
            response: attempt.response,
        })
        .collect())
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;

    fn try_from(row: DeliveryRow) -> Result<Self> {
        let id = row.id.as_str();
        let impossible = |column, reason: &str| Error::inconsistent(TABLE, column, id, reason);
        let status: DeliveryStatus = column(TABLE, "status", id, &row.status)?;
        let state = match (status, row.next_at, row.finished_at) {
            (DeliveryStatus::Pending, Some(next_at), _) => DeliveryState::Pending { next_at: next_at.into() },
            (DeliveryStatus::Pending, None, _) => return Err(impossible("next_at", "it is never tried")),
            (status, _, Some(at)) => {
                DeliveryState::Ended { success: status == DeliveryStatus::Success, at: at.into() }
            }
            (_, _, None) => return Err(impossible("finished_at", "it ended at no instant")),
        };
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            webhook_id: column(TABLE, "webhook_id", id, &row.webhook_id)?,
            event_id: column(TABLE, "event_id", id, &row.event_id)?,
            event_type: column(TABLE, "event_type", id, &row.event_type)?,
            state,
            attempts: u32::try_from(row.attempts)
                .map_err(|error| impossible("attempts", &error.to_string()))?,
            log: decode_log(id, row.log)?,
            created_at: row.created_at.into(),
        })
    }
}

/// Which deliveries a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    /// In this status.
    pub status: Option<DeliveryStatus>,
    /// Written at or after this instant.
    pub since: Option<Instant>,
}

/// The deliveries of a webhook that a filter shows, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    webhook: WebhookId,
    filter: &DeliveryFilter,
    after: Option<DeliveryId>,
    rows: i64,
) -> Result<Vec<Delivery>> {
    macro_rules! query {
        () => {{
            let mut query = webhook_deliveries::table
                .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(webhook_deliveries::webhook_id.eq(webhook.to_string()))
                .order(webhook_deliveries::id.desc())
                .limit(rows)
                .select(DeliveryRow::as_select())
                .into_boxed();
            if let Some(status) = filter.status {
                query = query.filter(webhook_deliveries::status.eq(status.as_str()));
            }
            if let Some(since) = filter.since {
                query = query.filter(webhook_deliveries::created_at.ge(Stamp(since)));
            }
            if let Some(after) = after {
                query = query.filter(webhook_deliveries::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<DeliveryRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Delivery::try_from).collect()
}

/// A delivery of a webhook.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    webhook: WebhookId,
    id: DeliveryId,
) -> Result<Option<Delivery>> {
    let query = webhook_deliveries::table
        .find(id.to_string())
        .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhook_deliveries::webhook_id.eq(webhook.to_string()));
    let row = with!(c, c => query.select(DeliveryRow::as_select()).get_result(c).await.optional())?;
    row.map(Delivery::try_from).transpose()
}

/// Has a delivery posted once more, from the beginning of the timetable. None when there is no such delivery.
#[boxed]
pub async fn again(
    tx: &mut Transaction,
    scope: TenantScope,
    webhook: WebhookId,
    id: DeliveryId,
    now: Instant,
) -> Result<Option<Delivery>> {
    let update = diesel::update(webhook_deliveries::table.find(id.to_string()))
        .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhook_deliveries::webhook_id.eq(webhook.to_string()))
        .set((
            webhook_deliveries::status.eq("pending"),
            webhook_deliveries::next_at.eq(Some(Stamp(now))),
            webhook_deliveries::claimed_by.eq(None::<String>),
            // Who is posting it just now reports on another claim than the one that will be made.
            webhook_deliveries::claims.eq(webhook_deliveries::claims + 1),
            webhook_deliveries::attempts.eq(0),
            webhook_deliveries::finished_at.eq(None::<Stamp>),
        ));
    let row = with!(tx, c => update.returning(DeliveryRow::as_returning()).get_result(c).await.optional())?;
    if row.is_some() {
        tx.note(Bell::Outbox);
    }
    row.map(Delivery::try_from).transpose()
}

/// A delivery that a node is posting.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The delivery.
    pub delivery: Delivery,
    /// What is posted.
    pub body: String,
    /// The number of the claim.
    pub claim: i64,
}

/// Writes a delivery that its writer posts itself, and that others take up should the writer not report on it.
#[boxed]
pub async fn add_claimed(
    tx: &mut Transaction,
    scope: TenantScope,
    webhook: WebhookId,
    (event, body): (&Event, String),
    node: NodeId,
    until: Instant,
) -> Result<Claimed> {
    let id = delivery_id(event.id, webhook);
    let row = (
        webhook_deliveries::id.eq(id.to_string()),
        webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()),
        webhook_deliveries::webhook_id.eq(webhook.to_string()),
        webhook_deliveries::event_id.eq(event.id.to_string()),
        webhook_deliveries::event_type.eq(event.event_type.as_str()),
        webhook_deliveries::body.eq(&body),
        webhook_deliveries::status.eq("pending"),
        webhook_deliveries::next_at.eq(Some(Stamp(until))),
        webhook_deliveries::claimed_by.eq(Some(node.to_string())),
        webhook_deliveries::claims.eq(1),
        webhook_deliveries::attempts.eq(1),
        webhook_deliveries::log.eq(serde_json::Value::Array(Vec::new())),
        webhook_deliveries::created_at.eq(Stamp(event.at)),
    );
    let insert = diesel::insert_into(webhook_deliveries::table).values(row);
    let row: DeliveryRow = with!(tx, c => insert.returning(DeliveryRow::as_returning()).get_result(c).await)?;
    Ok(Claimed { delivery: row.try_into()?, body, claim: 1 })
}

/// Who must not be given more to do just now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Busy {
    /// Webhooks that have enough under way.
    pub webhooks: Vec<WebhookId>,
    /// Tenants whose webhooks have enough under way together.
    pub tenants: Vec<TenantId>,
}

/// When the next delivery is due, if any is to come; a cheap look.
#[boxed]
pub async fn next_due(c: &mut Connection, _system: &SystemScope) -> Result<Option<Instant>> {
    let query = webhook_deliveries::table
        .filter(pending())
        .order(webhook_deliveries::next_at)
        .limit(1)
        .select(webhook_deliveries::next_at);
    let found: Option<Option<Stamp>> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.flatten().map(Instant::from))
}

/// The webhooks that something is due for, while they are active and so are their tenants: webhook by webhook, so that a
/// long queue of one does not hide the others, and from the one behind `behind` on round to it again, so that many of them
/// do not hide the rest.
#[boxed]
pub async fn due(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    busy: &Busy,
    behind: Option<WebhookId>,
    most: i64,
) -> Result<Vec<(TenantId, WebhookId)>> {
    let behind = behind.map(|id| id.to_string()).unwrap_or_default();
    let letter = webhook_deliveries::table
        .filter(pending())
        .filter(webhook_deliveries::webhook_id.eq(webhooks::id))
        .filter(webhook_deliveries::next_at.le(Some(Stamp(now))));
    let query = webhooks::table
        .inner_join(tenants::table.on(tenants::id.eq(webhooks::tenant_id)))
        .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
        .filter(webhooks::status.eq("active"))
        .filter(tenants::status.eq("active"))
        .filter(partners::status.eq("active"))
        .filter(webhooks::id.ne_all(busy.webhooks.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .filter(webhooks::tenant_id.ne_all(busy.tenants.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .filter(exists(letter))
        .order((webhooks::id.le(behind), webhooks::id))
        .limit(most)
        .select((webhooks::tenant_id, webhooks::id));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    found
        .into_iter()
        .map(|(tenant, id)| {
            Ok((column("webhooks", "tenant_id", &id, &tenant)?, column("webhooks", "id", &id, &id)?))
        })
        .collect()
}

/// Claims up to `most` deliveries of a webhook that are due, those that have waited longest first. Two nodes never get
/// the same one.
#[boxed]
pub async fn claim(
    tx: &mut Transaction,
    scope: TenantScope,
    webhook: WebhookId,
    node: NodeId,
    (now, until): (Instant, Instant),
    most: i64,
) -> Result<Vec<Claimed>> {
    macro_rules! letters {
        () => {
            webhook_deliveries::table
                .filter(pending())
                .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(webhook_deliveries::webhook_id.eq(webhook.to_string()))
                .filter(webhook_deliveries::next_at.le(Some(Stamp(now))))
                .order(webhook_deliveries::next_at)
                .limit(most)
                .select(webhook_deliveries::id)
        };
    }
    let ids: Vec<String> = match tx.engine()? {
        Engine::Postgres(c) => letters!().for_update().skip_locked().load(c).await?,
        Engine::Sqlite(c) => letters!().load(c).await?,
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let update = diesel::update(webhook_deliveries::table.filter(webhook_deliveries::id.eq_any(ids))).set((
        webhook_deliveries::next_at.eq(Some(Stamp(until))),
        webhook_deliveries::claimed_by.eq(Some(node.to_string())),
        webhook_deliveries::claims.eq(webhook_deliveries::claims + 1),
        webhook_deliveries::attempts.eq(webhook_deliveries::attempts + 1),
    ));
    let rows: Vec<(DeliveryRow, String, i64)> = with!(tx, c => update
        .returning((DeliveryRow::as_returning(), webhook_deliveries::body, webhook_deliveries::claims))
        .get_results(c)
        .await)?;
    rows.into_iter()
        .map(|(row, body, claim)| Ok(Claimed { delivery: row.try_into()?, body, claim }))
        .collect()
}

/// Writes down what became of an attempt. False when the claim no longer holds: somebody else has taken the delivery up,
/// or it is gone.
#[boxed]
pub async fn report(
    tx: &mut Transaction,
    scope: TenantScope,
    claimed: &Claimed,
    attempt: &Attempt,
    next: Next,
) -> Result<bool> {
    let mut log: Vec<serde_json::Value> = claimed.delivery.log.iter().map(encode_attempt).collect();
    log.push(encode_attempt(attempt));
    let surplus = log.len().saturating_sub(MAX_LOG);
    log.drain(..surplus);
    let ended = attempt.at.plus(std::time::Duration::from_millis(attempt.duration_ms.into()));
    let (status, next_at, finished_at) = match next {
        Next::Delivered => ("success", None, Some(Stamp(ended))),
        Next::GivenUp => ("failed", None, Some(Stamp(ended))),
        Next::Retry { at } => ("pending", Some(Stamp(at)), None),
    };
    let update = diesel::update(webhook_deliveries::table.find(claimed.delivery.id.to_string()))
        .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhook_deliveries::claims.eq(claimed.claim))
        .filter(webhook_deliveries::claimed_by.is_not_null())
        .filter(pending())
        .set((
            webhook_deliveries::status.eq(status),
            webhook_deliveries::next_at.eq(next_at),
            webhook_deliveries::claimed_by.eq(None::<String>),
            webhook_deliveries::log.eq(serde_json::Value::Array(log)),
            webhook_deliveries::finished_at.eq(finished_at),
        ));
    Ok(with!(tx, c => update.execute(c).await)? > 0)
}

/// Lets go of a delivery without an attempt, for its webhook is told nothing just now.
#[boxed]
pub async fn put_back(
    tx: &mut Transaction,
    scope: TenantScope,
    claimed: &Claimed,
    now: Instant,
) -> Result<()> {
    let update = diesel::update(webhook_deliveries::table.find(claimed.delivery.id.to_string()))
        .filter(webhook_deliveries::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhook_deliveries::claims.eq(claimed.claim))
        .filter(webhook_deliveries::claimed_by.is_not_null())
        .filter(pending())
        .set((
            webhook_deliveries::claimed_by.eq(None::<String>),
            webhook_deliveries::next_at.eq(Some(Stamp(now))),
            webhook_deliveries::attempts.eq(webhook_deliveries::attempts - 1),
        ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Lets go of what a node has claimed, so that others take it at once.
#[boxed]
pub async fn release(
    tx: &mut Transaction,
    _system: &SystemScope,
    node: NodeId,
    now: Instant,
) -> Result<usize> {
    let held = webhook_deliveries::table
        .filter(pending())
        .filter(webhook_deliveries::claimed_by.eq(Some(node.to_string())));
    let free =
        (webhook_deliveries::claimed_by.eq(None::<String>), webhook_deliveries::next_at.eq(Some(Stamp(now))));
    Ok(with!(tx, c => diesel::update(held).set(free).execute(c).await)?)
}

/// The nodes that have claimed something and whose lease has ended.
#[boxed]
pub async fn dead_claimants(c: &mut Connection, _system: &SystemScope, now: Instant) -> Result<Vec<NodeId>> {
    let alive = nodes::table
        .filter(nodes::id.nullable().eq(webhook_deliveries::claimed_by))
        .filter(nodes::lease_until.ge(Stamp(now)));
    let query = webhook_deliveries::table
        .filter(webhook_deliveries::claimed_by.is_not_null())
        .filter(diesel::dsl::not(exists(alive)))
        .select(webhook_deliveries::claimed_by)
        .distinct()
        .limit(100);
    let found: Vec<Option<String>> = with!(c, c => query.load(c).await)?;
    found.iter().flatten().map(|id| column(TABLE, "claimed_by", id, id)).collect()
}

/// Removes at most `most` deliveries that were written before an instant, whatever became of them.
#[boxed]
pub async fn purge(tx: &mut Transaction, _system: &SystemScope, before: Instant, most: i64) -> Result<usize> {
    // Ids ascend with time.
    let first = DeliveryId::from_ulid(ulid::Ulid::from_parts(before.unix_millis(), 0));
    let old = webhook_deliveries::table
        .filter(webhook_deliveries::id.lt(first.to_string()))
        .order(webhook_deliveries::id)
        .limit(most)
        .select(webhook_deliveries::id);
    let old: Vec<String> = with!(tx, c => old.load(c).await)?;
    if old.is_empty() {
        return Ok(0);
    }
    let remove = webhook_deliveries::table.filter(webhook_deliveries::id.eq_any(old));
    Ok(with!(tx, c => diesel::delete(remove).execute(c).await)?)
}
