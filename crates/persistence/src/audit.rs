//! The audit log: records are added in the transaction of the change that they tell of, and never changed.

use std::net::IpAddr;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_audit::{Actor, AuditAction, AuditRecord, Changes, Outcome, RequestContext};
use scaigrid_scope::{AuditId, Instant, LevelScope};
use scaigrid_webhooks::Event;
use serde_json::Value;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::outbox;
use crate::schema::audit_records;

const TABLE: &str = "audit_records";

/// A record as the table holds it.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_records)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct AuditRow {
    pub(crate) id: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) partner_id: Option<String>,
    pub(crate) at: Stamp,
    pub(crate) action: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_email: Option<String>,
    pub(crate) actor_type: String,
    pub(crate) resource_type: String,
    pub(crate) resource_id: String,
    pub(crate) status: String,
    pub(crate) changes: Value,
    pub(crate) request_id: Option<String>,
    pub(crate) ip_address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) module: Option<String>,
}

impl AuditRow {
    /// The row of a record.
    ///
    /// What a record quotes may be anything that came in, and no change must fail for its record: see [`storable`].
    #[expect(clippy::unnecessary_wraps, reason = "made like the rows of other tables, which can fail")]
    pub(crate) fn of(record: &AuditRecord) -> Result<Self> {
        let text = |text: &str| text_storable(text.to_owned());
        Ok(Self {
            id: record.id.to_string(),
            tenant_id: record.tenant_id.map(|id| id.to_string()),
            partner_id: record.partner_id.map(|id| id.to_string()),
            at: record.at.into(),
            action: record.action.to_string(),
            actor_id: record.actor.id.as_deref().map(text),
            actor_email: record.actor.email.as_deref().map(text),
            actor_type: record.actor.kind.to_string(),
            resource_type: record.action.resource_type().to_owned(),
            resource_id: text(&record.resource_id),
            status: record.outcome.to_string(),
            changes: storable(record.changes.to_json()),
            request_id: record.request.request_id().map(text),
            ip_address: record.request.ip_address().map(|address| address.to_string()),
            user_agent: record.request.user_agent().map(text),
            module: record.module.as_deref().map(text),
        })
    }
}

impl TryFrom<AuditRow> for AuditRecord {
    type Error = Error;

    fn try_from(row: AuditRow) -> Result<Self> {
        let id = row.id.as_str();
        let ip_address = row
            .ip_address
            .as_deref()
            .map(|address| column::<IpAddr>(TABLE, "ip_address", id, address))
            .transpose()?;
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            at: row.at.into(),
            action: column(TABLE, "action", id, &row.action)?,
            actor: Actor {
                kind: column(TABLE, "actor_type", id, &row.actor_type)?,
                id: row.actor_id,
                email: row.actor_email,
            },
            tenant_id: row
                .tenant_id
                .as_deref()
                .map(|tenant| column(TABLE, "tenant_id", id, tenant))
                .transpose()?,
            partner_id: row
                .partner_id
                .as_deref()
                .map(|partner| column(TABLE, "partner_id", id, partner))
                .transpose()?,
            outcome: column(TABLE, "status", id, &row.status)?,
            changes: Changes::from_json(&row.changes)
                .ok_or_else(|| Error::inconsistent(TABLE, "changes", id, "these are no changes"))?,
            request: RequestContext::new(row.request_id.as_deref(), ip_address, row.user_agent.as_deref()),
            resource_id: row.resource_id,
            module: row.module,
        })
    }
}

/// Which records a list shows.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this action.
    pub action: Option<AuditAction>,
    /// By this actor.
    pub actor_id: Option<String>,
    /// On a resource of this type.
    pub resource_type: Option<String>,
    /// On this resource.
    pub resource_id: Option<String>,
    /// That ended so.
    pub status: Option<Outcome>,
    /// From this address.
    pub ip_address: Option<IpAddr>,
    /// In this module.
    pub module: Option<String>,
    /// At or after this instant.
    pub since: Option<Instant>,
    /// Before this instant.
    pub until: Option<Instant>,
}

/// Adds a record, and what webhooks are told of it. Both become durable together with the change that they tell of.
pub async fn add(tx: &mut Transaction, record: &AuditRecord) -> Result<()> {
    let insert = diesel::insert_into(audit_records::table).values(AuditRow::of(record)?);
    with!(tx, c => insert.execute(c).await)?;
    outbox::write(tx, &Vec::from_iter(Event::of_record(record))).await
}

/// The records that a filter shows, newest first, after the one that the last page ended with.
///
/// A tenant sees its own, a partner its own and those of its tenants, the platform all.
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    filter: &AuditFilter,
    after: Option<AuditId>,
    rows: i64,
) -> Result<Vec<AuditRecord>> {
    macro_rules! query {
        () => {{
            let mut query = audit_records::table
                .order(audit_records::id.desc())
                .limit(rows)
                .select(AuditRow::as_select())
                .into_boxed();
            match scope {
                LevelScope::Platform(_) => {}
                LevelScope::Partner(scope) => {
                    query = query.filter(audit_records::partner_id.eq(scope.partner_id().to_string()));
                }
                LevelScope::Tenant(scope) => {
                    query = query.filter(audit_records::tenant_id.eq(scope.tenant_id().to_string()));
                }
            }
            if let Some(action) = filter.action {
                query = query.filter(audit_records::action.eq(action.as_str()));
            }
            if let Some(actor) = &filter.actor_id {
                query = query.filter(audit_records::actor_id.eq(actor.clone()));
            }
            if let Some(resource_type) = &filter.resource_type {
                query = query.filter(audit_records::resource_type.eq(resource_type.clone()));
            }
            if let Some(resource) = &filter.resource_id {
                query = query.filter(audit_records::resource_id.eq(resource.clone()));
            }
            if let Some(status) = filter.status {
                query = query.filter(audit_records::status.eq(status.as_str()));
            }
            if let Some(address) = filter.ip_address {
                query = query.filter(audit_records::ip_address.eq(address.to_string()));
            }
            if let Some(module) = &filter.module {
                query = query.filter(audit_records::module.eq(module.clone()));
            }
            if let Some(since) = filter.since {
                query = query.filter(audit_records::at.ge(Stamp(since)));
            }
            if let Some(until) = filter.until {
                query = query.filter(audit_records::at.lt(Stamp(until)));
            }
            if let Some(after) = after {
                query = query.filter(audit_records::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<AuditRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(AuditRecord::try_from).collect()
}
