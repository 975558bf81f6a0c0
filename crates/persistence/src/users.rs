//! Users, human and service.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{
    Email, Instant, LevelScope, Role, Roles, SystemScope, TenantScope, User, UserChanges, UserId, UserKind,
    UserStatus,
};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::participants;
use crate::schema::{tenants, users};
use crate::written::{Written, accepted};

const TABLE: &str = "users";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct UserRow {
    id: String,
    tenant_id: String,
    email: String,
    display_name: Option<String>,
    kind: String,
    status: String,
    roles: serde_json::Value,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, AsChangeset)]
#[diesel(table_name = users)]
#[expect(clippy::option_option, reason = "diesel's form: leave it, or set it to what may be null")]
struct UserUpdate {
    display_name: Option<Option<String>>,
    status: Option<String>,
    roles: Option<serde_json::Value>,
    updated_at: Stamp,
}

/// Roles as the column holds them: an array of their texts.
fn encode_roles(roles: Roles) -> serde_json::Value {
    roles.iter().map(Role::as_str).collect()
}

fn decode_roles(id: &str, stored: &serde_json::Value) -> Result<Roles> {
    let impossible = |reason: String| Error::inconsistent(TABLE, "roles", id, reason);
    let roles = stored.as_array().ok_or_else(|| impossible("it is no array".into()))?;
    roles
        .iter()
        .map(|role| match role.as_str().map(str::parse::<Role>) {
            Some(Ok(role)) => Ok(role),
            _ => Err(impossible(format!("{role} is no role"))),
        })
        .collect()
}

impl UserRow {
    fn of(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            tenant_id: user.tenant_id.to_string(),
            email: user.email.to_string(),
            display_name: user.display_name.as_ref().map(ToString::to_string),
            kind: user.kind.to_string(),
            status: user.status.to_string(),
            roles: encode_roles(user.roles),
            revision: user.revision,
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}

impl TryFrom<UserRow> for User {
    type Error = Error;

    fn try_from(row: UserRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            email: column(TABLE, "email", id, &row.email)?,
            display_name: row
                .display_name
                .as_deref()
                .map(|name| column(TABLE, "display_name", id, name))
                .transpose()?,
            kind: column(TABLE, "kind", id, &row.kind)?,
            status: column(TABLE, "status", id, &row.status)?,
            roles: decode_roles(id, &row.roles)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// Which users a list shows. Deleted ones only when they are asked for by their status.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserFilter {
    /// In this status.
    pub status: Option<UserStatus>,
    /// Of this kind.
    pub kind: Option<UserKind>,
}

/// Narrows a boxed query to what a filter shows, so that lists and counts cannot disagree.
macro_rules! narrow {
    ($query:ident, $filter:expr) => {
        let filter: &UserFilter = $filter;
        match filter.status {
            Some(status) => $query = $query.filter(users::status.eq(status.as_str())),
            None => $query = $query.filter(users::status.ne(UserStatus::Deleted.as_str())),
        }
        if let Some(kind) = filter.kind {
            $query = $query.filter(users::kind.eq(kind.as_str()));
        }
    };
}

/// A user by their id; also a deleted one, whom audit records and checkpoints still name.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: UserId) -> Result<Option<User>> {
    let query = users::table.find(id.to_string()).filter(users::tenant_id.eq(scope.tenant_id().to_string()));
    let row = with!(c, c => query.select(UserRow::as_select()).get_result(c).await.optional())?;
    row.map(User::try_from).transpose()
}

/// A user by their address; never a deleted one.
#[boxed]
pub async fn find_by_email(c: &mut Connection, scope: TenantScope, email: &Email) -> Result<Option<User>> {
    let query = users::table
        .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(users::email.eq(email.to_string()))
        .filter(users::status.ne(UserStatus::Deleted.as_str()));
    let row = with!(c, c => query.select(UserRow::as_select()).get_result(c).await.optional())?;
    row.map(User::try_from).transpose()
}

/// The addresses of those of some users who are at a level or under it and were not deleted.
#[boxed]
pub async fn emails(
    c: &mut Connection,
    scope: LevelScope,
    ids: &[UserId],
) -> Result<BTreeMap<UserId, Email>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    macro_rules! query {
        () => {{
            let mut query = users::table
                .filter(users::id.eq_any(ids.iter().map(ToString::to_string)))
                .filter(users::status.ne(UserStatus::Deleted.as_str()))
                .select((users::id, users::email))
                .into_boxed();
            match scope {
                LevelScope::Platform(_) => {}
                LevelScope::Partner(scope) => {
                    let own = tenants::table.filter(tenants::partner_id.eq(scope.partner_id().to_string()));
                    query = query.filter(users::tenant_id.eq_any(own.select(tenants::id)));
                }
                LevelScope::Tenant(scope) => {
                    query = query.filter(users::tenant_id.eq(scope.tenant_id().to_string()));
                }
            }
            query
        }};
    }
    let rows: Vec<(String, String)> = with!(c, c => query!().load(c).await)?;
    rows.iter()
        .map(|(id, email)| Ok((column(TABLE, "id", id, id)?, column(TABLE, "email", id, email)?)))
        .collect()
}

/// The users that a filter shows, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &UserFilter,
    after: Option<UserId>,
    rows: i64,
) -> Result<Vec<User>> {
    macro_rules! query {
        () => {{
            let mut query = users::table
                .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
                .order(users::id.desc())
                .limit(rows)
                .select(UserRow::as_select())
                .into_boxed();
            narrow!(query, filter);
            if let Some(after) = after {
                query = query.filter(users::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<UserRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(User::try_from).collect()
}

/// How many users a filter shows.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, filter: &UserFilter) -> Result<i64> {
    macro_rules! query {
        () => {{
            let mut query = users::table
                .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
                .select(diesel::dsl::count_star())
                .into_boxed();
            narrow!(query, filter);
            query
        }};
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Those of some users who are of the tenant; also deleted ones.
#[boxed]
pub async fn named(c: &mut Connection, scope: TenantScope, ids: &[UserId]) -> Result<Vec<User>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let query = users::table
        .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(users::id.eq_any(ids.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .order(users::id);
    let found: Vec<UserRow> = with!(c, c => query.select(UserRow::as_select()).load(c).await)?;
    found.into_iter().map(User::try_from).collect()
}

/// Those of some users who are of the tenant and not deleted.
#[boxed]
pub async fn present(c: &mut Connection, scope: TenantScope, ids: &[UserId]) -> Result<BTreeSet<UserId>> {
    let query = users::table
        .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(users::id.eq_any(ids.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .filter(users::status.ne(UserStatus::Deleted.as_str()))
        .select(users::id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column(TABLE, "id", id, id)).collect()
}

/// Whether the platform has an active super admin beside a user. They may live in any tenant.
#[boxed]
pub async fn another_super_admin(c: &mut Connection, _: &SystemScope, than: UserId) -> Result<bool> {
    let holds = match c.engine()? {
        Engine::Postgres(_) => sql::<Bool>("users.roles @> '[\"super_admin\"]'"),
        Engine::Sqlite(_) => {
            sql::<Bool>("EXISTS (SELECT 1 FROM json_each(users.roles) WHERE value = 'super_admin')")
        }
    };
    // The oldest users are asked first: the first of all mostly is one, so this looks at few rows.
    let query = users::table
        .filter(users::id.ne(than.to_string()))
        .filter(users::status.eq(UserStatus::Active.as_str()))
        .filter(holds)
        .order(users::id)
        .limit(1)
        .select(users::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.is_some())
}

/// Adds a user to the scope's tenant, where they are a participant from now on.
///
/// # Errors
/// [`Error::Duplicate`] when the address is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, user: &User) -> Result<()> {
    let row = UserRow { tenant_id: scope.tenant_id().to_string(), ..UserRow::of(user) };
    let insert = diesel::insert_into(users::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    participants::add_user(tx, scope, user).await
}

/// A user, held until the transaction ends: no one else changes them before.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: TenantScope, id: UserId) -> Result<Option<User>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(users::table.find(id.to_string()))
        .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
        .set(users::revision.eq(users::revision));
    let row = with!(tx, c => update.returning(UserRow::as_returning()).get_result(c).await.optional())?;
    row.map(User::try_from).transpose()
}

/// Changes a user, if they are in the expected revision, and counts the revision up. A deleted user is
/// [`Written::Missing`]: nobody comes back.
#[boxed]
pub async fn update(
    tx: &mut Transaction,
    scope: TenantScope,
    id: UserId,
    expected: Option<i64>,
    changes: &UserChanges,
    at: Instant,
) -> Result<Written> {
    let values = UserUpdate {
        display_name: changes.display_name.as_ref().map(|name| name.as_ref().map(ToString::to_string)),
        status: changes.status.as_ref().map(ToString::to_string),
        roles: changes.roles.map(encode_roles),
        updated_at: at.into(),
    };
    let (from, to) = accepted(expected);
    let update = diesel::update(users::table.find(id.to_string()))
        .filter(users::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(users::status.ne(UserStatus::Deleted.as_str()))
        .filter(users::revision.between(from, to))
        .set((values, users::revision.eq(users::revision + 1)));
    let rows = with!(tx, c => update.execute(c).await)?;
    let exists =
        rows > 0 || lookup(tx, scope, id).await?.is_some_and(|user| user.status != UserStatus::Deleted);
    Ok(Written::of(rows, expected, exists))
}
