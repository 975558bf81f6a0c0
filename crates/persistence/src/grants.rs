//! What users are permitted beside their built-in roles: directly, and by custom roles.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{PermissionKey, Permissions, TenantScope, UserId};
use serde_json::Value;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::schema::{custom_role_holders, custom_roles, user_grants};

const TABLE: &str = "user_grants";

/// Permissions as columns hold them: an array of their keys.
pub(crate) fn encode(permissions: &Permissions) -> Value {
    permissions.iter().map(|key| key.to_string()).collect()
}

pub(crate) fn decode(
    table: &'static str,
    column: &'static str,
    id: &str,
    stored: &Value,
) -> Result<Permissions> {
    let impossible = |reason: String| Error::inconsistent(table, column, id, reason);
    let keys = stored.as_array().ok_or_else(|| impossible("it is no array".into()))?;
    let keys = keys.iter().map(|key| match key.as_str().map(str::parse::<PermissionKey>) {
        Some(Ok(key)) => Ok(key),
        _ => Err(impossible(format!("{key} is no permission"))),
    });
    keys.collect()
}

/// What a user was granted directly.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, user: UserId) -> Result<Permissions> {
    let query = user_grants::table
        .find((scope.tenant_id().to_string(), user.to_string()))
        .select(user_grants::permissions);
    let stored: Option<Value> = with!(c, c => query.get_result(c).await.optional())?;
    stored.map_or_else(
        || Ok(Permissions::default()),
        |stored| decode(TABLE, "permissions", &user.to_string(), &stored),
    )
}

/// All that a user is permitted beside their built-in roles: by direct grants and by custom roles, in one query.
#[boxed]
pub async fn held(c: &mut Connection, scope: TenantScope, user: UserId) -> Result<Permissions> {
    let (tenant, user) = (scope.tenant_id().to_string(), user.to_string());
    let granted = user_grants::table.find((tenant.clone(), user.clone())).select(user_grants::permissions);
    let by_roles = custom_role_holders::table
        .inner_join(custom_roles::table.on(custom_roles::id.eq(custom_role_holders::role_id)))
        .filter(custom_role_holders::tenant_id.eq(tenant))
        .filter(custom_role_holders::user_id.eq(user.clone()))
        .select(custom_roles::permissions);
    let query = granted.union_all(by_roles);
    let stored: Vec<Value> = with!(c, c => query.load(c).await)?;
    let each = stored.iter().map(|stored| decode(TABLE, "permissions", &user, stored));
    each.into_iter().try_fold(Permissions::default(), |all, one| Ok(all.union(&one?)))
}

/// The same of several users. Those who are permitted nothing are left out.
#[boxed]
pub async fn held_by(
    c: &mut Connection,
    scope: TenantScope,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Permissions>> {
    let mut held = BTreeMap::<UserId, Permissions>::new();
    if users.is_empty() {
        return Ok(held);
    }
    let tenant = scope.tenant_id().to_string();
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    let granted = user_grants::table
        .filter(user_grants::tenant_id.eq(tenant.clone()))
        .filter(user_grants::user_id.eq_any(ids.clone()))
        .select((user_grants::user_id, user_grants::permissions));
    let mut stored: Vec<(String, Value)> = with!(c, c => granted.load(c).await)?;
    let by_roles = custom_role_holders::table
        .inner_join(custom_roles::table.on(custom_roles::id.eq(custom_role_holders::role_id)))
        .filter(custom_role_holders::tenant_id.eq(tenant))
        .filter(custom_role_holders::user_id.eq_any(ids))
        .select((custom_role_holders::user_id, custom_roles::permissions));
    let further: Vec<(String, Value)> = with!(c, c => by_roles.load(c).await)?;
    stored.extend(further);
    for (user, permissions) in &stored {
        let id: UserId = column(TABLE, "user_id", user, user)?;
        let all = held.entry(id).or_default();
        *all = all.union(&decode(TABLE, "permissions", user, permissions)?);
    }
    Ok(held)
}

/// Grants a user these permissions and no others.
#[boxed]
pub async fn put(
    tx: &mut Transaction,
    scope: TenantScope,
    user: UserId,
    permissions: &Permissions,
) -> Result<()> {
    let (tenant, user) = (scope.tenant_id().to_string(), user.to_string());
    if permissions.is_empty() {
        let delete = diesel::delete(user_grants::table.find((tenant, user)));
        with!(tx, c => delete.execute(c).await)?;
        return Ok(());
    }
    let newer = user_grants::permissions.eq(encode(permissions));
    let insert = diesel::insert_into(user_grants::table)
        .values((user_grants::tenant_id.eq(tenant), user_grants::user_id.eq(user), newer.clone()))
        .on_conflict((user_grants::tenant_id, user_grants::user_id))
        .do_update()
        .set(newer);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}
