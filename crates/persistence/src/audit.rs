//! The audit log: records are added in the transaction of the change that they tell of, and never changed. What links them
//! into chains afterwards stands in tables of its own.

pub mod heads;
pub mod links;
pub mod purge;
pub mod seal;
mod search;

use std::net::IpAddr;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::TryFutureExt as _;
use futures_util::future::try_join;
use scaigrid_audit::chain::{Chain, Entry, RecordFields};
use scaigrid_audit::{Actor, AuditAction, AuditRecord, Changes, Outcome, RequestContext};
use scaigrid_scope::{AuditId, Instant, LevelScope};
use scaigrid_webhooks::Event;
use serde_json::Value;

use crate::database::{Bell, Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::outbox;
use crate::schema::{audit_records, audit_unsealed};

use search::Search;

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

/// A record's place in the queue of those that are in no chain yet.
#[derive(Debug, Insertable)]
#[diesel(table_name = audit_unsealed)]
pub(crate) struct UnsealedRow {
    record_id: String,
    chain: String,
}

impl AuditRow {
    /// What the record's chain is called.
    pub(crate) fn chain(&self) -> String {
        let owner = self.tenant_id.as_ref().or(self.partner_id.as_ref());
        owner.map_or_else(|| Chain::PLATFORM.to_owned(), Clone::clone)
    }

    /// Its place in the queue.
    pub(crate) fn unsealed(&self) -> UnsealedRow {
        UnsealedRow { record_id: self.id.clone(), chain: self.chain() }
    }

    /// The record as it goes into its chain.
    pub(crate) fn entry(&self) -> Entry {
        Entry::of(&RecordFields {
            id: &self.id,
            tenant_id: self.tenant_id.as_deref(),
            partner_id: self.partner_id.as_deref(),
            at: self.at.0.micros(),
            action: &self.action,
            actor_id: self.actor_id.as_deref(),
            actor_email: self.actor_email.as_deref(),
            actor_type: &self.actor_type,
            resource_type: &self.resource_type,
            resource_id: &self.resource_id,
            status: &self.status,
            changes: &self.changes,
            request_id: self.request_id.as_deref(),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
            module: self.module.as_deref(),
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
#[boxed]
pub async fn add(tx: &mut Transaction, record: &AuditRecord) -> Result<()> {
    let row = AuditRow::of(record)?;
    let waits = diesel::insert_into(audit_unsealed::table).values(row.unsealed());
    let insert = diesel::insert_into(audit_records::table).values(row);
    let events = Vec::from_iter(Event::of_record(record));
    let listening = match tx.engine()? {
        // None of these needs another's answer: they make one journey.
        Engine::Postgres(c) => {
            let (mut inserting, mut queueing) = (&*c, &*c);
            let written = try_join(insert.execute(&mut inserting), waits.execute(&mut queueing));
            let (_, listening) =
                try_join(written.map_err(Error::from), outbox::listeners(&*c, &events)).await?;
            listening
        }
        Engine::Sqlite(c) => {
            insert.execute(c).await?;
            waits.execute(c).await?;
            tx.note(Bell::Audit);
            return outbox::write(tx, &events).await;
        }
    };
    tx.note(Bell::Audit);
    outbox::write_to(tx, &events, listening).await
}

/// The records that a filter shows, newest first, after the one that the last page ended with.
///
/// A tenant sees its own, a partner its own and those of its tenants, the platform all.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    filter: &AuditFilter,
    after: Option<AuditId>,
    rows: i64,
) -> Result<Vec<AuditRecord>> {
    let sqlite = matches!(c.engine()?, Engine::Sqlite(_));
    let Some(search) = Search::of(scope, filter, after, (rows, sqlite)) else { return Ok(Vec::new()) };
    macro_rules! query {
        () => {
            audit_records::table
                .filter(search)
                .order(audit_records::id.desc())
                .limit(rows)
                .select(AuditRow::as_select())
        };
    }
    let found: Vec<AuditRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(AuditRecord::try_from).collect()
}
