//! Custom roles, and who holds them.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CustomRole, CustomRoleChanges, CustomRoleId, Instant, Slug, TenantScope, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::grants::{decode, encode};
use crate::instant::Stamp;
use crate::schema::{custom_role_holders, custom_roles, users};
use crate::written::Written;

const TABLE: &str = "custom_roles";
const HOLDERS: &str = "custom_role_holders";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = custom_roles)]
#[diesel(treat_none_as_default_value = false)]
struct CustomRoleRow {
    id: String,
    tenant_id: String,
    slug: String,
    name: String,
    description: Option<String>,
    permissions: serde_json::Value,
    created_by: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, AsChangeset)]
#[diesel(table_name = custom_roles)]
#[expect(clippy::option_option, reason = "diesel's form: leave it, or set it to what may be null")]
struct CustomRoleUpdate {
    name: Option<String>,
    description: Option<Option<String>>,
    permissions: Option<serde_json::Value>,
    updated_at: Stamp,
}

impl TryFrom<CustomRoleRow> for CustomRole {
    type Error = Error;

    fn try_from(row: CustomRoleRow) -> Result<Self> {
        let id = row.id.as_str();
        let description = row.description.as_deref();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            name: column(TABLE, "name", id, &row.name)?,
            description: description.map(|text| column(TABLE, "description", id, text)).transpose()?,
            permissions: decode(TABLE, "permissions", id, &row.permissions)?,
            created_by: column(TABLE, "created_by", id, &row.created_by)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A custom role by its id.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: CustomRoleId) -> Result<Option<CustomRole>> {
    Ok(find_all(c, scope, &[id]).await?.pop())
}

/// Those of some ids that are custom roles of the tenant, by id.
#[boxed]
pub async fn find_all(
    c: &mut Connection,
    scope: TenantScope,
    ids: &[CustomRoleId],
) -> Result<Vec<CustomRole>> {
    let query = custom_roles::table
        .filter(custom_roles::id.eq_any(ids.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .filter(custom_roles::tenant_id.eq(scope.tenant_id().to_string()))
        .order(custom_roles::id);
    let rows: Vec<CustomRoleRow> = with!(c, c => query.select(CustomRoleRow::as_select()).load(c).await)?;
    rows.into_iter().map(CustomRole::try_from).collect()
}

/// A custom role by its slug.
#[boxed]
pub async fn find_by_slug(c: &mut Connection, scope: TenantScope, slug: &Slug) -> Result<Option<CustomRole>> {
    let query = custom_roles::table
        .filter(custom_roles::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(custom_roles::slug.eq(slug.to_string()));
    let row = with!(c, c => query.select(CustomRoleRow::as_select()).get_result(c).await.optional())?;
    row.map(CustomRole::try_from).transpose()
}

/// The custom roles of the tenant, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<CustomRoleId>,
    rows: i64,
) -> Result<Vec<CustomRole>> {
    macro_rules! query {
        () => {{
            let mut query = custom_roles::table
                .filter(custom_roles::tenant_id.eq(scope.tenant_id().to_string()))
                .order(custom_roles::id.desc())
                .limit(rows)
                .select(CustomRoleRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(custom_roles::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<CustomRoleRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(CustomRole::try_from).collect()
}

/// Adds a custom role to the scope's tenant.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, role: &CustomRole) -> Result<()> {
    let row = CustomRoleRow {
        id: role.id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        slug: role.slug.to_string(),
        name: role.name.to_string(),
        description: role.description.as_ref().map(ToString::to_string),
        permissions: encode(&role.permissions),
        created_by: role.created_by.to_string(),
        revision: role.revision,
        created_at: role.created_at.into(),
        updated_at: role.updated_at.into(),
    };
    let insert = diesel::insert_into(custom_roles::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Changes a custom role and counts the revision up.
#[boxed]
pub async fn update(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CustomRoleId,
    changes: &CustomRoleChanges,
    at: Instant,
) -> Result<Written> {
    let values = CustomRoleUpdate {
        name: changes.name.as_ref().map(ToString::to_string),
        description: changes.description.as_ref().map(|text| text.as_ref().map(ToString::to_string)),
        permissions: changes.permissions.as_ref().map(encode),
        updated_at: at.into(),
    };
    let update = diesel::update(custom_roles::table.find(id.to_string()))
        .filter(custom_roles::tenant_id.eq(scope.tenant_id().to_string()))
        .set((values, custom_roles::revision.eq(custom_roles::revision + 1)));
    let rows = with!(tx, c => update.execute(c).await)?;
    Ok(Written::of(rows, None, rows > 0))
}

/// The custom roles that each of some users holds, by id. Those who hold none are left out.
#[boxed]
pub async fn held_by(
    c: &mut Connection,
    scope: TenantScope,
    holders: &[UserId],
) -> Result<BTreeMap<UserId, Vec<CustomRoleId>>> {
    let ids: Vec<String> = holders.iter().map(ToString::to_string).collect();
    let query = custom_role_holders::table
        .filter(custom_role_holders::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(custom_role_holders::user_id.eq_any(ids))
        .order((custom_role_holders::user_id, custom_role_holders::role_id))
        .select((custom_role_holders::user_id, custom_role_holders::role_id));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let mut held: BTreeMap<UserId, Vec<CustomRoleId>> = BTreeMap::new();
    for (user, role) in found {
        let id = column(HOLDERS, "role_id", &role, &role)?;
        held.entry(column(HOLDERS, "user_id", &user, &user)?).or_default().push(id);
    }
    Ok(held)
}

/// Gives a user these custom roles and no others. The user and the roles are of the scope's tenant: that has been looked up
/// in this transaction.
#[boxed]
pub async fn set_held(
    tx: &mut Transaction,
    scope: TenantScope,
    user: UserId,
    roles: &[CustomRoleId],
) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    let delete = diesel::delete(custom_role_holders::table)
        .filter(custom_role_holders::tenant_id.eq(tenant.clone()))
        .filter(custom_role_holders::user_id.eq(user.to_string()));
    with!(tx, c => delete.execute(c).await)?;
    for role in roles {
        let insert = diesel::insert_into(custom_role_holders::table).values((
            custom_role_holders::tenant_id.eq(tenant.clone()),
            custom_role_holders::role_id.eq(role.to_string()),
            custom_role_holders::user_id.eq(user.to_string()),
        ));
        with!(tx, c => insert.execute(c).await)?;
    }
    Ok(())
}

/// Takes a custom role from all who hold it, and says from whom; each user counts a change.
#[boxed]
pub async fn take_from_all(
    tx: &mut Transaction,
    scope: TenantScope,
    id: CustomRoleId,
    at: Instant,
) -> Result<Vec<UserId>> {
    let tenant = scope.tenant_id().to_string();
    let holders = custom_role_holders::table
        .filter(custom_role_holders::role_id.eq(id.to_string()))
        .filter(custom_role_holders::tenant_id.eq(tenant.clone()))
        .select(custom_role_holders::user_id);
    let update = diesel::update(users::table)
        .filter(users::tenant_id.eq(tenant.clone()))
        .filter(users::id.eq_any(holders))
        .set((users::updated_at.eq(Stamp(at)), users::revision.eq(users::revision + 1)));
    with!(tx, c => update.execute(c).await)?;
    let delete = diesel::delete(custom_role_holders::table)
        .filter(custom_role_holders::role_id.eq(id.to_string()))
        .filter(custom_role_holders::tenant_id.eq(tenant))
        .returning(custom_role_holders::user_id);
    let mut taken: Vec<String> = with!(tx, c => delete.get_results(c).await)?;
    taken.sort();
    taken.iter().map(|user| column(HOLDERS, "user_id", user, user)).collect()
}

/// Who holds a custom role.
#[boxed]
pub async fn holders(tx: &mut Transaction, scope: TenantScope, id: CustomRoleId) -> Result<Vec<UserId>> {
    let query = custom_role_holders::table
        .filter(custom_role_holders::role_id.eq(id.to_string()))
        .filter(custom_role_holders::tenant_id.eq(scope.tenant_id().to_string()))
        .order(custom_role_holders::user_id)
        .select(custom_role_holders::user_id);
    let found: Vec<String> = with!(tx, c => query.load(c).await)?;
    found.iter().map(|user| column(HOLDERS, "user_id", user, user)).collect()
}

/// Removes a custom role that nobody holds any more. False when there is none.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: TenantScope, id: CustomRoleId) -> Result<bool> {
    let delete = diesel::delete(custom_roles::table.find(id.to_string()))
        .filter(custom_roles::tenant_id.eq(scope.tenant_id().to_string()));
    Ok(with!(tx, c => delete.execute(c).await)? > 0)
}
