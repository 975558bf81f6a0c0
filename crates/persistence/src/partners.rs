//! Partners.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{
    Instant, Partner, PartnerChanges, PartnerId, PartnerLimits, PartnerScope, PartnerStatus, PlatformScope,
    Slug,
};
use serde::{Deserialize, Serialize};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::partners;
use crate::written::{Written, accepted};

const TABLE: &str = "partners";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = partners)]
#[diesel(treat_none_as_default_value = false)]
struct PartnerRow {
    id: String,
    slug: String,
    name: String,
    contact_email: Option<String>,
    status: String,
    limits: serde_json::Value,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, AsChangeset)]
#[diesel(table_name = partners)]
#[expect(clippy::option_option, reason = "diesel's form: leave it, or set it to what may be null")]
struct PartnerUpdate {
    name: Option<String>,
    contact_email: Option<Option<String>>,
    status: Option<String>,
    limits: Option<serde_json::Value>,
    updated_at: Stamp,
}

/// The limits as the column holds them.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tenants: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_users_per_tenant: Option<u32>,
}

fn encode_limits(limits: PartnerLimits) -> Result<serde_json::Value> {
    let PartnerLimits { max_tenants, max_users_per_tenant } = limits;
    serde_json::to_value(StoredLimits { max_tenants, max_users_per_tenant })
        .map_err(|error| Error::Setup(format!("limits cannot be encoded: {error}")))
}

impl PartnerRow {
    fn of(partner: &Partner) -> Result<Self> {
        Ok(Self {
            id: partner.id.to_string(),
            slug: partner.slug.to_string(),
            name: partner.name.to_string(),
            contact_email: partner.contact_email.as_ref().map(ToString::to_string),
            status: partner.status.to_string(),
            limits: encode_limits(partner.limits)?,
            revision: partner.revision,
            created_at: partner.created_at.into(),
            updated_at: partner.updated_at.into(),
        })
    }
}

impl TryFrom<PartnerRow> for Partner {
    type Error = Error;

    fn try_from(row: PartnerRow) -> Result<Self> {
        let id = row.id.as_str();
        let limits: StoredLimits = serde_json::from_value(row.limits)
            .map_err(|error| Error::inconsistent(TABLE, "limits", id, error))?;
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            name: column(TABLE, "name", id, &row.name)?,
            contact_email: row
                .contact_email
                .as_deref()
                .map(|email| column(TABLE, "contact_email", id, email))
                .transpose()?,
            status: column(TABLE, "status", id, &row.status)?,
            limits: PartnerLimits {
                max_tenants: limits.max_tenants,
                max_users_per_tenant: limits.max_users_per_tenant,
            },
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// Which partners a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartnerFilter {
    /// In this status.
    pub status: Option<PartnerStatus>,
}

/// A partner.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: PartnerScope) -> Result<Option<Partner>> {
    let query = partners::table.find(scope.partner_id().to_string());
    let row = with!(c, c => query.select(PartnerRow::as_select()).get_result(c).await.optional())?;
    row.map(Partner::try_from).transpose()
}

/// A partner by its slug.
#[boxed]
pub async fn find_by_slug(c: &mut Connection, _: PlatformScope, slug: &Slug) -> Result<Option<Partner>> {
    let query = partners::table.filter(partners::slug.eq(slug.to_string()));
    let row = with!(c, c => query.select(PartnerRow::as_select()).get_result(c).await.optional())?;
    row.map(Partner::try_from).transpose()
}

/// The partners that a filter shows, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    _: PlatformScope,
    filter: &PartnerFilter,
    after: Option<PartnerId>,
    rows: i64,
) -> Result<Vec<Partner>> {
    macro_rules! query {
        () => {{
            let mut query = partners::table
                .order(partners::id.desc())
                .limit(rows)
                .select(PartnerRow::as_select())
                .into_boxed();
            if let Some(status) = filter.status {
                query = query.filter(partners::status.eq(status.as_str()));
            }
            if let Some(after) = after {
                query = query.filter(partners::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<PartnerRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Partner::try_from).collect()
}

/// How many partners a filter shows.
#[boxed]
pub async fn count(c: &mut Connection, _: PlatformScope, filter: &PartnerFilter) -> Result<i64> {
    macro_rules! query {
        () => {{
            let mut query = partners::table.select(diesel::dsl::count_star()).into_boxed();
            if let Some(status) = filter.status {
                query = query.filter(partners::status.eq(status.as_str()));
            }
            query
        }};
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Adds a partner.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, _: PlatformScope, partner: &Partner) -> Result<()> {
    let insert = diesel::insert_into(partners::table).values(PartnerRow::of(partner)?);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A partner, held until the transaction ends: no one else changes it, or takes this lock, before.
///
/// For limits: what is counted under the lock cannot grow behind the counter's back, as long as everyone who adds
/// takes the lock first.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: PartnerScope) -> Result<Option<Partner>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(partners::table.find(scope.partner_id().to_string()))
        .set(partners::revision.eq(partners::revision));
    let row = with!(tx, c => update.returning(PartnerRow::as_returning()).get_result(c).await.optional())?;
    row.map(Partner::try_from).transpose()
}

/// Changes a partner, if it is in the expected revision, and counts the revision up.
#[boxed]
pub async fn update(
    tx: &mut Transaction,
    scope: PartnerScope,
    expected: Option<i64>,
    changes: &PartnerChanges,
    at: Instant,
) -> Result<Written> {
    let id = scope.partner_id().to_string();
    let values = PartnerUpdate {
        name: changes.name.as_ref().map(ToString::to_string),
        contact_email: changes.contact_email.as_ref().map(|email| email.as_ref().map(ToString::to_string)),
        status: changes.status.as_ref().map(ToString::to_string),
        limits: changes.limits.map(encode_limits).transpose()?,
        updated_at: at.into(),
    };
    let (from, to) = accepted(expected);
    let update = diesel::update(partners::table.find(id.clone()))
        .filter(partners::revision.between(from, to))
        .set((values, partners::revision.eq(partners::revision + 1)));
    let rows = with!(tx, c => update.execute(c).await)?;
    let exists = rows > 0 || lookup(tx, scope).await?.is_some();
    Ok(Written::of(rows, expected, exists))
}
