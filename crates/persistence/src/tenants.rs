//! Tenants.
//!
//! A [`LevelScope`] says which of them can be seen: the platform sees all, a partner its own, a tenant itself.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{
    Features, Instant, LevelScope, PartnerId, PartnerScope, PartnerStatus, Slug, SystemScope, Tenant,
    TenantChanges, TenantId, TenantLimits, TenantRef, TenantScope, TenantStatus,
};
use serde::{Deserialize, Serialize};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::storable;
use crate::schema::{partners, tenants};
use crate::written::{Written, accepted};

const TABLE: &str = "tenants";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = tenants)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct TenantRow {
    id: String,
    partner_id: String,
    slug: String,
    name: String,
    status: String,
    scaikey_tenant_id: Option<String>,
    limits: serde_json::Value,
    features: serde_json::Value,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, AsChangeset)]
#[diesel(table_name = tenants)]
#[expect(clippy::option_option, reason = "diesel's form: leave it, or set it to what may be null")]
struct TenantUpdate {
    name: Option<String>,
    status: Option<String>,
    scaikey_tenant_id: Option<Option<String>>,
    limits: Option<serde_json::Value>,
    features: Option<serde_json::Value>,
    updated_at: Stamp,
}

/// The limits as the column holds them.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_users: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_cores: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_participants: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_rooms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_storage_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monthly_ai_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_queued_executions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_retention_days: Option<u32>,
}

impl From<TenantLimits> for StoredLimits {
    fn from(limits: TenantLimits) -> Self {
        // What can be kept of an integer; a limit beyond that is as good as none.
        let kept = |limit: u64| limit.min(i64::MAX.unsigned_abs());
        Self {
            max_users: limits.max_users,
            max_cores: limits.max_cores,
            max_participants: limits.max_participants,
            max_rooms: limits.max_rooms,
            max_storage_bytes: limits.max_storage_bytes.map(kept),
            monthly_ai_tokens: limits.monthly_ai_tokens.map(kept),
            max_queued_executions: limits.max_queued_executions,
            execution_retention_days: limits.execution_retention_days,
        }
    }
}

impl From<StoredLimits> for TenantLimits {
    fn from(limits: StoredLimits) -> Self {
        Self {
            max_users: limits.max_users,
            max_cores: limits.max_cores,
            max_participants: limits.max_participants,
            max_rooms: limits.max_rooms,
            max_storage_bytes: limits.max_storage_bytes,
            monthly_ai_tokens: limits.monthly_ai_tokens,
            max_queued_executions: limits.max_queued_executions,
            execution_retention_days: limits.execution_retention_days,
        }
    }
}

fn encode_limits(limits: TenantLimits) -> Result<serde_json::Value> {
    serde_json::to_value(StoredLimits::from(limits))
        .map_err(|error| Error::Setup(format!("limits cannot be encoded: {error}")))
}

impl TenantRow {
    fn of(tenant: &Tenant) -> Result<Self> {
        Ok(Self {
            id: tenant.id.to_string(),
            partner_id: tenant.partner_id.to_string(),
            slug: tenant.slug.to_string(),
            name: tenant.name.to_string(),
            status: tenant.status.to_string(),
            scaikey_tenant_id: tenant.scaikey_tenant_id.as_ref().map(ToString::to_string),
            limits: encode_limits(tenant.limits)?,
            features: storable(tenant.features.as_map().clone().into()),
            revision: tenant.revision,
            created_at: tenant.created_at.into(),
            updated_at: tenant.updated_at.into(),
        })
    }
}

impl TryFrom<TenantRow> for Tenant {
    type Error = Error;

    fn try_from(row: TenantRow) -> Result<Self> {
        let id = row.id.as_str();
        let limits: StoredLimits = serde_json::from_value(row.limits)
            .map_err(|error| Error::inconsistent(TABLE, "limits", id, error))?;
        let serde_json::Value::Object(features) = row.features else {
            return Err(Error::inconsistent(TABLE, "features", id, "it is no object"));
        };
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            partner_id: column(TABLE, "partner_id", id, &row.partner_id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            name: column(TABLE, "name", id, &row.name)?,
            status: column(TABLE, "status", id, &row.status)?,
            scaikey_tenant_id: row
                .scaikey_tenant_id
                .as_deref()
                .map(|name| column(TABLE, "scaikey_tenant_id", id, name))
                .transpose()?,
            limits: limits.into(),
            features: Features::new(features)
                .map_err(|error| Error::inconsistent(TABLE, "features", id, error))?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// Which tenants a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct TenantFilter {
    /// Of this partner.
    pub partner_id: Option<PartnerId>,
    /// In this status of their own.
    pub status: Option<TenantStatus>,
}

/// Narrows a boxed query to what a scope sees and a filter shows, so that lists and counts cannot disagree.
macro_rules! narrow {
    ($query:ident, $scope:expr, $filter:expr) => {
        match $scope {
            LevelScope::Platform(_) => {}
            LevelScope::Partner(scope) => {
                $query = $query.filter(tenants::partner_id.eq(scope.partner_id().to_string()));
            }
            LevelScope::Tenant(scope) => {
                $query = $query.filter(tenants::id.eq(scope.tenant_id().to_string()));
            }
        }
        let filter: &TenantFilter = $filter;
        if let Some(partner) = filter.partner_id {
            $query = $query.filter(tenants::partner_id.eq(partner.to_string()));
        }
        if let Some(status) = filter.status {
            $query = $query.filter(tenants::status.eq(status.as_str()));
        }
    };
}

/// A tenant by its id, if the scope sees it.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: LevelScope, id: TenantId) -> Result<Option<Tenant>> {
    macro_rules! query {
        () => {{
            let mut query = tenants::table
                .filter(tenants::id.eq(id.to_string()))
                .select(TenantRow::as_select())
                .into_boxed();
            narrow!(query, scope, &TenantFilter::default());
            query
        }};
    }
    let row: Option<TenantRow> = with!(c, c => query!().get_result(c).await.optional())?;
    row.map(Tenant::try_from).transpose()
}

/// A tenant by its slug, if the scope sees it.
#[boxed]
pub async fn find_by_slug(c: &mut Connection, scope: LevelScope, slug: &Slug) -> Result<Option<Tenant>> {
    macro_rules! query {
        () => {{
            let mut query = tenants::table
                .filter(tenants::slug.eq(slug.to_string()))
                .select(TenantRow::as_select())
                .into_boxed();
            narrow!(query, scope, &TenantFilter::default());
            query
        }};
    }
    let row: Option<TenantRow> = with!(c, c => query!().get_result(c).await.optional())?;
    row.map(Tenant::try_from).transpose()
}

/// The tenant that a request names by its id, to find out whether the caller may act there.
#[boxed]
pub async fn reference(c: &mut Connection, _: &SystemScope, id: TenantId) -> Result<Option<TenantRef>> {
    let query = tenants::table
        .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
        .filter(tenants::id.eq(id.to_string()));
    let found: Option<(TenantRow, String)> = with!(c, c => query.select((TenantRow::as_select(), partners::status)).get_result(c).await.optional())?;
    found.map(as_reference).transpose()
}

/// The tenant that a request names by its slug, to find out whether the caller may act there.
#[boxed]
pub async fn reference_by_slug(
    c: &mut Connection,
    _: &SystemScope,
    slug: &Slug,
) -> Result<Option<TenantRef>> {
    let query = tenants::table
        .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
        .filter(tenants::slug.eq(slug.to_string()));
    let found: Option<(TenantRow, String)> = with!(c, c => query.select((TenantRow::as_select(), partners::status)).get_result(c).await.optional())?;
    found.map(as_reference).transpose()
}

/// The tenants that are said to be known by a name to the issuer of tokens. At most two are told: more than one means none.
#[boxed]
pub async fn references_by_name(c: &mut Connection, _: &SystemScope, name: &str) -> Result<Vec<TenantRef>> {
    let query = tenants::table
        .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
        .filter(tenants::scaikey_tenant_id.eq(name.to_owned()))
        .limit(2);
    let found: Vec<(TenantRow, String)> =
        with!(c, c => query.select((TenantRow::as_select(), partners::status)).load(c).await)?;
    found.into_iter().map(as_reference).collect()
}

fn as_reference((row, status): (TenantRow, String)) -> Result<TenantRef> {
    let status: PartnerStatus = column("partners", "status", &row.partner_id, &status)?;
    Ok(Tenant::try_from(row)?.reference(status))
}

/// The tenants that a scope sees and a filter shows, newest first, after the one that the last page
/// ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    filter: &TenantFilter,
    after: Option<TenantId>,
    rows: i64,
) -> Result<Vec<Tenant>> {
    macro_rules! query {
        () => {{
            let mut query = tenants::table
                .order(tenants::id.desc())
                .limit(rows)
                .select(TenantRow::as_select())
                .into_boxed();
            narrow!(query, scope, filter);
            if let Some(after) = after {
                query = query.filter(tenants::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<TenantRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Tenant::try_from).collect()
}

/// How many tenants a scope sees and a filter shows.
#[boxed]
pub async fn count(c: &mut Connection, scope: LevelScope, filter: &TenantFilter) -> Result<i64> {
    macro_rules! query {
        () => {{
            let mut query = tenants::table.select(diesel::dsl::count_star()).into_boxed();
            narrow!(query, scope, filter);
            query
        }};
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Adds a tenant of the scope's partner.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: PartnerScope, tenant: &Tenant) -> Result<()> {
    let row = TenantRow { partner_id: scope.partner_id().to_string(), ..TenantRow::of(tenant)? };
    let insert = diesel::insert_into(tenants::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A tenant, held until the transaction ends: no one else changes it, or takes this lock, before.
///
/// For limits: what is counted under the lock cannot grow behind the counter's back, as long as everyone who adds
/// takes the lock first.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: TenantScope) -> Result<Option<Tenant>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(tenants::table.find(scope.tenant_id().to_string()))
        .set(tenants::revision.eq(tenants::revision));
    let row = with!(tx, c => update.returning(TenantRow::as_returning()).get_result(c).await.optional())?;
    row.map(Tenant::try_from).transpose()
}

/// Changes a tenant, if it is in the expected revision, and counts the revision up.
#[boxed]
pub async fn update(
    tx: &mut Transaction,
    scope: TenantScope,
    expected: Option<i64>,
    changes: &TenantChanges,
    at: Instant,
) -> Result<Written> {
    let values = TenantUpdate {
        name: changes.name.as_ref().map(ToString::to_string),
        status: changes.status.as_ref().map(ToString::to_string),
        scaikey_tenant_id: changes
            .scaikey_tenant_id
            .as_ref()
            .map(|name| name.as_ref().map(ToString::to_string)),
        limits: changes.limits.map(encode_limits).transpose()?,
        features: changes.features.as_ref().map(|features| storable(features.as_map().clone().into())),
        updated_at: at.into(),
    };
    let (from, to) = accepted(expected);
    let update = diesel::update(tenants::table.find(scope.tenant_id().to_string()))
        .filter(tenants::revision.between(from, to))
        .set((values, tenants::revision.eq(tenants::revision + 1)));
    let rows = with!(tx, c => update.execute(c).await)?;
    let exists = rows > 0 || lookup(tx, LevelScope::Tenant(scope), scope.tenant_id()).await?.is_some();
    Ok(Written::of(rows, expected, exists))
}
