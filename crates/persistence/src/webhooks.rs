//! Outgoing webhooks. Their secrets come and go sealed.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, SystemScope, TenantId, TenantScope, WebhookId};
use scaigrid_webhooks::{Retries, Standing, Subscription, Subscriptions, Webhook};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{webhook_deliveries, webhooks};

const TABLE: &str = "webhooks";

/// What stands where a status stands, of a webhook that waits for its deliveries to be removed.
const DELETED: &str = "deleted";

/// What a webhook's secret is sealed for; the webhook by its id.
pub fn sealing_place(id: &str) -> String {
    format!("webhooks/{id}/secret")
}

/// What the secret that a webhook had before is sealed for.
pub fn previous_place(id: &str) -> String {
    format!("webhooks/{id}/previous_secret")
}

/// A row without its secret, which only deliveries need.
#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = webhooks)]
#[diesel(treat_none_as_default_value = false)]
#[diesel(treat_none_as_null = true)]
pub(crate) struct WebhookRow {
    id: String,
    tenant_id: String,
    url: String,
    events: serde_json::Value,
    status: String,
    disabled_reason: Option<String>,
    disabled_at: Option<Stamp>,
    failing_since: Option<Stamp>,
    max_retries: i32,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

/// Wishes as the column holds them: an array of their texts.
fn encode_events(events: &Subscriptions) -> serde_json::Value {
    events.iter().map(|wish| wish.to_string()).collect()
}

pub(crate) fn decode_events(id: &str, stored: &serde_json::Value) -> Result<Subscriptions> {
    let impossible = |reason: String| Error::inconsistent(TABLE, "events", id, reason);
    let wishes = stored.as_array().ok_or_else(|| impossible("it is no array".into()))?;
    let wishes = wishes.iter().map(|wish| match wish.as_str().map(str::parse::<Subscription>) {
        Some(Ok(wish)) => Ok(wish),
        _ => Err(impossible(format!("{wish} is no type of events"))),
    });
    let wishes = wishes.collect::<Result<Vec<_>>>()?;
    Subscriptions::new(wishes).ok_or_else(|| impossible("none, or too many".into()))
}

impl WebhookRow {
    fn of(webhook: &Webhook) -> Self {
        let (status, reason, disabled_at, failing_since) = match webhook.standing {
            Standing::Active { failing_since } => ("active", None, None, failing_since),
            Standing::Inactive => ("inactive", None, None, None),
            Standing::Disabled { reason, at } => ("inactive", Some(reason), Some(at), None),
        };
        Self {
            id: webhook.id.to_string(),
            tenant_id: webhook.tenant_id.to_string(),
            url: webhook.url.to_string(),
            events: encode_events(&webhook.events),
            status: status.to_owned(),
            disabled_reason: reason.map(|reason| reason.to_string()),
            disabled_at: disabled_at.map(Stamp),
            failing_since: failing_since.map(Stamp),
            max_retries: webhook.max_retries.get().into(),
            revision: webhook.revision,
            created_at: webhook.created_at.into(),
            updated_at: webhook.updated_at.into(),
        }
    }
}

impl TryFrom<WebhookRow> for Webhook {
    type Error = Error;

    fn try_from(row: WebhookRow) -> Result<Self> {
        let id = row.id.as_str();
        let impossible = |column, reason: &str| Error::inconsistent(TABLE, column, id, reason);
        let standing = match (row.status.as_str(), &row.disabled_reason, row.disabled_at) {
            ("active", ..) => Standing::Active { failing_since: row.failing_since.map(Instant::from) },
            ("inactive", None, _) => Standing::Inactive,
            ("inactive", Some(reason), Some(at)) => {
                Standing::Disabled { reason: column(TABLE, "disabled_reason", id, reason)?, at: at.into() }
            }
            ("inactive", Some(_), None) => {
                return Err(impossible("disabled_at", "a reason without an instant"));
            }
            _ => return Err(impossible("status", "there is no such status")),
        };
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            url: column(TABLE, "url", id, &row.url)?,
            events: decode_events(id, &row.events)?,
            standing,
            max_retries: Retries::new(row.max_retries.into())
                .map_err(|_| impossible("max_retries", "the timetable is shorter"))?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A webhook by its id.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: WebhookId) -> Result<Option<Webhook>> {
    let query = webhooks::table
        .find(id.to_string())
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED));
    let row = with!(c, c => query.select(WebhookRow::as_select()).get_result(c).await.optional())?;
    row.map(Webhook::try_from).transpose()
}

/// The sealed secret of a webhook.
#[boxed]
pub async fn secret(c: &mut Connection, scope: TenantScope, id: WebhookId) -> Result<Option<String>> {
    let query = webhooks::table
        .find(id.to_string())
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .select(webhooks::secret);
    Ok(with!(c, c => query.get_result(c).await.optional())?)
}

/// The sealed secret of a webhook, and the one that it had before.
#[boxed]
pub async fn secrets(
    c: &mut Connection,
    scope: TenantScope,
    id: WebhookId,
) -> Result<Option<(String, Option<PreviousSecret>)>> {
    let query = webhooks::table
        .find(id.to_string())
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .select((webhooks::secret, webhooks::previous_secret, webhooks::previous_until));
    let found: Option<(String, Option<String>, Option<Stamp>)> =
        with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.map(|(sealed, previous, until)| {
        (sealed, previous.zip(until).map(|(sealed, Stamp(until))| PreviousSecret { sealed, until }))
    }))
}

/// The webhooks of the tenant, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<WebhookId>,
    rows: i64,
) -> Result<Vec<Webhook>> {
    macro_rules! query {
        () => {{
            let mut query = webhooks::table
                .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(webhooks::status.ne(DELETED))
                .order(webhooks::id.desc())
                .limit(rows)
                .select(WebhookRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(webhooks::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<WebhookRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Webhook::try_from).collect()
}

/// How many webhooks the tenant has.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope) -> Result<i64> {
    let query = webhooks::table
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .select(diesel::dsl::count_star());
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// What the active webhooks of a tenant want, for whoever has to know whether anybody listens.
#[boxed]
pub async fn listening(c: &mut Connection, scope: TenantScope) -> Result<Vec<Subscriptions>> {
    let query = webhooks::table
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.eq("active"))
        .select((webhooks::id, webhooks::events));
    let found: Vec<(String, serde_json::Value)> = with!(c, c => query.load(c).await)?;
    found.iter().map(|(id, events)| decode_events(id, events)).collect()
}

/// Adds a webhook with its sealed secret.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, webhook: &Webhook, sealed: &str) -> Result<()> {
    let row = WebhookRow { tenant_id: scope.tenant_id().to_string(), ..WebhookRow::of(webhook) };
    let insert = diesel::insert_into(webhooks::table).values((row, webhooks::secret.eq(sealed)));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A webhook, held until the transaction ends: no one else changes it before.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: TenantScope, id: WebhookId) -> Result<Option<Webhook>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(webhooks::table.find(id.to_string()))
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .set(webhooks::revision.eq(webhooks::revision));
    let row = with!(tx, c => update.returning(WebhookRow::as_returning()).get_result(c).await.optional())?;
    row.map(Webhook::try_from).transpose()
}

/// Writes a webhook that is held, and a new secret if there is one, beside which no other counts; its revision included.
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: TenantScope,
    webhook: &Webhook,
    sealed: Option<&str>,
) -> Result<()> {
    let row = WebhookRow { tenant_id: scope.tenant_id().to_string(), ..WebhookRow::of(webhook) };
    macro_rules! target {
        () => {
            diesel::update(webhooks::table.find(webhook.id.to_string()))
                .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(webhooks::status.ne(DELETED))
        };
    }
    if let Some(sealed) = sealed {
        let none = (webhooks::previous_secret.eq(None::<String>), webhooks::previous_until.eq(None::<Stamp>));
        let set = target!().set((webhooks::secret.eq(sealed), none));
        with!(tx, c => set.execute(c).await)?;
    }
    let set = target!().set(row);
    with!(tx, c => set.execute(c).await)?;
    Ok(())
}

/// The secret that a webhook had before, sealed, while deliveries are signed by it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Sealed for [`previous_place`].
    pub sealed: String,
    /// Until when it counts.
    pub until: Instant,
}

/// Gives a webhook that is held another secret, and keeps the one before for a while. Whichever was kept so far goes.
#[boxed]
pub async fn rotate_secret(
    tx: &mut Transaction,
    scope: TenantScope,
    webhook: &Webhook,
    sealed: &str,
    previous: &PreviousSecret,
) -> Result<()> {
    save(tx, scope, webhook, Some(sealed)).await?;
    let set = diesel::update(webhooks::table.find(webhook.id.to_string()))
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .set((
            webhooks::previous_secret.eq(Some(previous.sealed.clone())),
            webhooks::previous_until.eq(Some(Stamp(previous.until))),
        ));
    with!(tx, c => set.execute(c).await)?;
    Ok(())
}

/// Removes secrets that do not count any more. How many.
#[boxed]
pub async fn forget_secrets(tx: &mut Transaction, _system: &SystemScope, now: Instant) -> Result<usize> {
    let set = diesel::update(webhooks::table)
        .filter(webhooks::previous_until.le(Stamp(now)))
        .set((webhooks::previous_secret.eq(None::<String>), webhooks::previous_until.eq(None::<Stamp>)));
    Ok(with!(tx, c => set.execute(c).await)?)
}

/// Removes a webhook, its secret at once. Nobody sees its deliveries from now on; [`sweep`] removes them.
/// False when there is none.
#[boxed]
pub async fn delete(tx: &mut Transaction, scope: TenantScope, id: WebhookId) -> Result<bool> {
    let update = diesel::update(webhooks::table.find(id.to_string()))
        .filter(webhooks::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(webhooks::status.ne(DELETED))
        .set((
            webhooks::status.eq(DELETED),
            webhooks::secret.eq(""),
            webhooks::previous_secret.eq(None::<String>),
            webhooks::previous_until.eq(None::<Stamp>),
            webhooks::url.eq(""),
        ));
    Ok(with!(tx, c => update.execute(c).await)? > 0)
}

/// Removes at most `most` deliveries of a deleted webhook, and the webhook itself with the last of them. How many rows went;
/// zero when there is nothing to remove.
#[boxed]
pub async fn sweep(tx: &mut Transaction, _system: &SystemScope, most: i64) -> Result<usize> {
    let deleted = webhooks::table
        .filter(diesel::dsl::sql::<diesel::sql_types::Bool>("webhooks.status = 'deleted'"))
        .order(webhooks::id)
        .limit(1)
        .select((webhooks::tenant_id, webhooks::id));
    let deleted: Option<(String, String)> = with!(tx, c => deleted.get_result(c).await.optional())?;
    let Some((tenant, id)) = deleted else { return Ok(0) };
    let letters = webhook_deliveries::table
        .filter(webhook_deliveries::tenant_id.eq(&tenant))
        .filter(webhook_deliveries::webhook_id.eq(&id))
        .order(webhook_deliveries::id)
        .limit(most)
        .select(webhook_deliveries::id);
    let letters: Vec<String> = with!(tx, c => letters.load(c).await)?;
    let all = i64::try_from(letters.len()).is_ok_and(|count| count < most);
    let remove = webhook_deliveries::table.filter(webhook_deliveries::id.eq_any(&letters));
    let mut gone = with!(tx, c => diesel::delete(remove).execute(c).await)?;
    if all {
        gone += with!(tx, c => diesel::delete(webhooks::table.find(&id)).execute(c).await)?;
    }
    Ok(gone)
}

/// Where a delivery goes, with all that its fate depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Addressee {
    /// The webhook.
    pub webhook: Webhook,
    /// Its sealed secret.
    pub sealed: String,
    /// The secret that it had before, which may count still.
    pub previous: Option<PreviousSecret>,
    /// The tenant that it is sealed for.
    pub tenant_id: TenantId,
}

/// The webhook that deliveries go to, while it is active.
#[boxed]
pub async fn addressee(c: &mut Connection, scope: TenantScope, id: WebhookId) -> Result<Option<Addressee>> {
    let Some(webhook) = lookup(c, scope, id).await? else { return Ok(None) };
    if !matches!(webhook.standing, Standing::Active { .. }) {
        return Ok(None);
    }
    let Some((sealed, previous)) = secrets(c, scope, id).await? else { return Ok(None) };
    Ok(Some(Addressee { webhook, sealed, previous, tenant_id: scope.tenant_id() }))
}
