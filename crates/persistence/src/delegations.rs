//! Users' identities that are lent to Cores. A delegation is written with its Core ([`cores::save`](crate::cores::save)), so that
//! both change under the same revision.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::Delegation;
use scaigrid_scope::{CoreId, DelegationId, Instant, Name, Slug, TenantScope, UserId};
use serde_json::Value;

use crate::database::{Connection, Transaction, find, with};
use crate::error::{Error, Result, column};
use crate::grants;
use crate::instant::Stamp;
use crate::schema::{cores, delegations};

const TABLE: &str = "delegations";

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = delegations)]
#[diesel(primary_key(tenant_id, core_id))]
#[diesel(treat_none_as_null = true)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct DelegationRow {
    tenant_id: String,
    core_id: String,
    id: String,
    user_id: String,
    scopes: Value,
    expires_at: Option<Stamp>,
    granted_by: String,
    granted_at: Stamp,
    revoked_at: Option<Stamp>,
}

impl DelegationRow {
    fn of(scope: TenantScope, core: CoreId, delegation: &Delegation) -> Self {
        Self {
            tenant_id: scope.tenant_id().to_string(),
            core_id: core.to_string(),
            id: delegation.id.to_string(),
            user_id: delegation.user_id.to_string(),
            scopes: grants::encode(&delegation.scopes),
            expires_at: delegation.expires_at.map(Stamp),
            granted_by: delegation.granted_by.to_string(),
            granted_at: delegation.granted_at.into(),
            revoked_at: delegation.revoked_at.map(Stamp),
        }
    }

    pub(crate) fn delegation(self) -> Result<Delegation> {
        let id = self.id.as_str();
        let granted_at: Instant = self.granted_at.into();
        Ok(Delegation {
            id: column(TABLE, "id", id, id)?,
            user_id: column(TABLE, "user_id", id, &self.user_id)?,
            scopes: grants::decode(TABLE, "scopes", id, &self.scopes)?,
            expires_at: self.expires_at.map(Into::into),
            granted_by: column(TABLE, "granted_by", id, &self.granted_by)?,
            granted_at,
            // A node of the version before knows no such column, and lends anew without touching it.
            revoked_at: self.revoked_at.map(Instant::from).filter(|at| *at >= granted_at),
        })
    }
}

/// The delegation of a Core, if it has one.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Option<Delegation>> {
    macro_rules! query {
        () => {
            delegations::table
                .find((scope.tenant_id().to_string(), core.to_string()))
                .select(DelegationRow::as_select())
        };
    }
    let row: Option<DelegationRow> = find!(c, query!())?;
    row.map(DelegationRow::delegation).transpose()
}

/// Gives a Core this delegation, or none.
pub(crate) async fn put(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    delegation: Option<&Delegation>,
) -> Result<()> {
    let Some(delegation) = delegation else {
        let gone = delegations::table.find((scope.tenant_id().to_string(), core.to_string()));
        with!(tx, c => diesel::delete(gone).execute(c).await)?;
        return Ok(());
    };
    let row = DelegationRow::of(scope, core, delegation);
    let insert = diesel::insert_into(delegations::table)
        .values(&row)
        .on_conflict((delegations::tenant_id, delegations::core_id))
        .do_update()
        .set(&row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Whether its user has not taken it back since it was granted.
macro_rules! is_lent {
    () => {
        delegations::revoked_at.is_null().or(delegations::revoked_at.lt(delegations::granted_at.nullable()))
    };
}

/// A delegation with the Core that has it, as its user sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lent {
    /// The delegation.
    pub delegation: Delegation,
    /// The Core.
    pub core_id: CoreId,
    /// What it is called.
    pub core_name: Name,
    /// Its slug.
    pub core_slug: Slug,
    /// Its status.
    pub core_status: scaigrid_cores::Status,
}

type LentRow = (DelegationRow, String, String, String);

fn lent((row, name, slug, status): LentRow) -> Result<Lent> {
    let core = row.core_id.clone();
    let bad = |column, reason: &dyn std::fmt::Display| Error::inconsistent("cores", column, &core, reason);
    Ok(Lent {
        core_id: column(TABLE, "core_id", &row.id, &core)?,
        core_name: Name::parse(&name).map_err(|error| bad("name", &error))?,
        core_slug: Slug::parse(&slug).map_err(|error| bad("slug", &error))?,
        core_status: column("cores", "status", &core, &status)?,
        delegation: row.delegation()?,
    })
}

/// What a user has lent and not taken back, newest first, after the one that the last page ended with.
#[boxed]
pub async fn of_user(
    c: &mut Connection,
    scope: TenantScope,
    user: UserId,
    after: Option<DelegationId>,
    rows: i64,
) -> Result<Vec<Lent>> {
    macro_rules! query {
        () => {{
            let mut query =
                delegations::table
                    .inner_join(cores::table.on(
                        cores::id.eq(delegations::core_id).and(cores::tenant_id.eq(delegations::tenant_id)),
                    ))
                    .filter(delegations::tenant_id.eq(scope.tenant_id().to_string()))
                    .filter(delegations::user_id.eq(user.to_string()))
                    .filter(is_lent!())
                    .order(delegations::id.desc())
                    .limit(rows)
                    .select((DelegationRow::as_select(), cores::name, cores::slug, cores::status))
                    .into_boxed();
            if let Some(after) = after {
                query = query.filter(delegations::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<LentRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(lent).collect()
}

/// The Core that has a delegation of a user who has not taken it back.
#[boxed]
pub async fn core_of(
    c: &mut Connection,
    scope: TenantScope,
    user: UserId,
    id: DelegationId,
) -> Result<Option<CoreId>> {
    let query = delegations::table
        .filter(delegations::id.eq(id.to_string()))
        .filter(delegations::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(delegations::user_id.eq(user.to_string()))
        .filter(is_lent!())
        .select(delegations::core_id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    found.map(|core| column(TABLE, "core_id", &id.to_string(), &core)).transpose()
}
