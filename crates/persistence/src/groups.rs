//! Groups of users, and who is in them.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Group, GroupChanges, GroupId, Instant, Membership, Slug, TenantScope, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{group_members, user_groups};
use crate::written::Written;

const TABLE: &str = "user_groups";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = user_groups)]
struct GroupRow {
    id: String,
    tenant_id: String,
    slug: String,
    name: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Debug, AsChangeset)]
#[diesel(table_name = user_groups)]
struct GroupUpdate {
    name: Option<String>,
    updated_at: Stamp,
}

impl TryFrom<GroupRow> for Group {
    type Error = Error;

    fn try_from(row: GroupRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            name: column(TABLE, "name", id, &row.name)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A group by its id.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: GroupId) -> Result<Option<Group>> {
    let query = user_groups::table
        .find(id.to_string())
        .filter(user_groups::tenant_id.eq(scope.tenant_id().to_string()));
    let row = with!(c, c => query.select(GroupRow::as_select()).get_result(c).await.optional())?;
    row.map(Group::try_from).transpose()
}

/// A group by its slug.
#[boxed]
pub async fn find_by_slug(c: &mut Connection, scope: TenantScope, slug: &Slug) -> Result<Option<Group>> {
    let query = user_groups::table
        .filter(user_groups::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(user_groups::slug.eq(slug.to_string()));
    let row = with!(c, c => query.select(GroupRow::as_select()).get_result(c).await.optional())?;
    row.map(Group::try_from).transpose()
}

/// The groups of the tenant, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<GroupId>,
    rows: i64,
) -> Result<Vec<Group>> {
    macro_rules! query {
        () => {{
            let mut query = user_groups::table
                .filter(user_groups::tenant_id.eq(scope.tenant_id().to_string()))
                .order(user_groups::id.desc())
                .limit(rows)
                .select(GroupRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(user_groups::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<GroupRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Group::try_from).collect()
}

/// Who is in a group, by id.
#[boxed]
pub async fn members(c: &mut Connection, scope: TenantScope, id: GroupId) -> Result<Vec<UserId>> {
    let query = group_members::table
        .filter(group_members::group_id.eq(id.to_string()))
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .order(group_members::user_id)
        .select(group_members::user_id);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|user| column("group_members", "user_id", &id.to_string(), user)).collect()
}

/// How many are in each of some groups. Those without members are left out.
#[boxed]
pub async fn member_counts(
    c: &mut Connection,
    scope: TenantScope,
    ids: &[GroupId],
) -> Result<BTreeMap<GroupId, i64>> {
    let query = group_members::table
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::group_id.eq_any(ids.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .group_by(group_members::group_id)
        .select((group_members::group_id, count_star()));
    let found: Vec<(String, i64)> = with!(c, c => query.load(c).await)?;
    found.iter().map(|(id, count)| Ok((column("group_members", "group_id", id, id)?, *count))).collect()
}

/// How many groups each of some users is in. Those who are in none are left out.
#[boxed]
pub async fn counts_of_users(
    c: &mut Connection,
    scope: TenantScope,
    users: &[UserId],
) -> Result<BTreeMap<UserId, i64>> {
    let query = group_members::table
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::user_id.eq_any(users.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .group_by(group_members::user_id)
        .select((group_members::user_id, count_star()));
    let found: Vec<(String, i64)> = with!(c, c => query.load(c).await)?;
    found.iter().map(|(id, count)| Ok((column("group_members", "user_id", id, id)?, *count))).collect()
}

/// The groups that a user is in, by id.
#[boxed]
pub async fn of_user(c: &mut Connection, scope: TenantScope, user: UserId) -> Result<Vec<Membership>> {
    let query = group_members::table
        .inner_join(user_groups::table.on(user_groups::id.eq(group_members::group_id)))
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::user_id.eq(user.to_string()))
        .order(group_members::group_id)
        .select((user_groups::id, user_groups::slug));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let each = found.iter().map(|(id, slug)| {
        Ok(Membership { id: column(TABLE, "id", id, id)?, slug: column(TABLE, "slug", id, slug)? })
    });
    each.collect()
}

/// A membership of a user, and by whose word it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The group.
    pub group: Group,
    /// The issuer of tokens that made the membership; none where it was made here.
    pub issuer: Option<String>,
}

/// The groups that a user is in, by id, with whose word it is by.
#[boxed]
pub async fn held(c: &mut Connection, scope: TenantScope, user: UserId) -> Result<Vec<Held>> {
    let query = group_members::table
        .inner_join(user_groups::table.on(user_groups::id.eq(group_members::group_id)))
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::user_id.eq(user.to_string()))
        .order(group_members::group_id);
    let found: Vec<(GroupRow, Option<String>)> =
        with!(c, c => query.select((GroupRow::as_select(), group_members::issuer)).load(c).await)?;
    found.into_iter().map(|(row, issuer)| Ok(Held { group: row.try_into()?, issuer })).collect()
}

/// Adds a group to the scope's tenant, without members.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, group: &Group) -> Result<()> {
    let row = GroupRow {
        id: group.id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        slug: group.slug.to_string(),
        name: group.name.to_string(),
        revision: group.revision,
        created_at: group.created_at.into(),
        updated_at: group.updated_at.into(),
    };
    let insert = diesel::insert_into(user_groups::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Changes a group, or says that its membership has changed, and counts the revision up.
#[boxed]
pub async fn update(
    tx: &mut Transaction,
    scope: TenantScope,
    id: GroupId,
    changes: &GroupChanges,
    at: Instant,
) -> Result<Written> {
    let values = GroupUpdate { name: changes.name.as_ref().map(ToString::to_string), updated_at: at.into() };
    let update = diesel::update(user_groups::table.find(id.to_string()))
        .filter(user_groups::tenant_id.eq(scope.tenant_id().to_string()))
        .set((values, user_groups::revision.eq(user_groups::revision + 1)));
    let rows = with!(tx, c => update.execute(c).await)?;
    Ok(Written::of(rows, None, rows > 0))
}

/// Puts users into a group; who is in it already stays. The group and the users are of the scope's tenant: that has been
/// looked up in this transaction.
#[boxed]
pub async fn add_members(
    tx: &mut Transaction,
    scope: TenantScope,
    id: GroupId,
    users: &[UserId],
) -> Result<()> {
    // Row by row: a batch would need an arm per database, and memberships change rarely.
    for user in users {
        let insert = diesel::insert_into(group_members::table)
            .values((
                group_members::tenant_id.eq(scope.tenant_id().to_string()),
                group_members::group_id.eq(id.to_string()),
                group_members::user_id.eq(user.to_string()),
            ))
            .on_conflict_do_nothing();
        with!(tx, c => insert.execute(c).await)?;
    }
    Ok(())
}

/// Puts a user into a group by the word of an issuer of tokens; who is in it already stays, by the word that it was. The
/// group and the user are of the scope's tenant: that has been looked up in this transaction.
#[boxed]
pub async fn add_member_of_issuer(
    tx: &mut Transaction,
    scope: TenantScope,
    id: GroupId,
    user: UserId,
    issuer: &str,
) -> Result<()> {
    let insert = diesel::insert_into(group_members::table)
        .values((
            group_members::tenant_id.eq(scope.tenant_id().to_string()),
            group_members::group_id.eq(id.to_string()),
            group_members::user_id.eq(user.to_string()),
            group_members::issuer.eq(issuer.to_owned()),
        ))
        .on_conflict_do_nothing();
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Takes users out of a group.
#[boxed]
pub async fn remove_members(
    tx: &mut Transaction,
    scope: TenantScope,
    id: GroupId,
    users: &[UserId],
) -> Result<()> {
    let delete = diesel::delete(group_members::table)
        .filter(group_members::group_id.eq(id.to_string()))
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::user_id.eq_any(users.iter().map(ToString::to_string).collect::<Vec<_>>()));
    with!(tx, c => delete.execute(c).await)?;
    Ok(())
}

/// Takes a user out of all groups, and says which; each counts a change.
#[boxed]
pub async fn remove_from_all(
    tx: &mut Transaction,
    scope: TenantScope,
    user: UserId,
    at: Instant,
) -> Result<Vec<GroupId>> {
    let delete = diesel::delete(group_members::table)
        .filter(group_members::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(group_members::user_id.eq(user.to_string()))
        .returning(group_members::group_id);
    let mut left: Vec<String> = with!(tx, c => delete.get_results(c).await)?;
    left.sort();
    let update = diesel::update(user_groups::table)
        .filter(user_groups::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(user_groups::id.eq_any(left.clone()))
        .set((user_groups::updated_at.eq(Stamp(at)), user_groups::revision.eq(user_groups::revision + 1)));
    with!(tx, c => update.execute(c).await)?;
    left.iter().map(|id| column(TABLE, "id", id, id)).collect()
}

/// Removes a group and all memberships of it. False when there is none.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: TenantScope, id: GroupId) -> Result<bool> {
    let tenant = scope.tenant_id().to_string();
    let members = diesel::delete(group_members::table)
        .filter(group_members::group_id.eq(id.to_string()))
        .filter(group_members::tenant_id.eq(tenant.clone()));
    with!(tx, c => members.execute(c).await)?;
    let group =
        diesel::delete(user_groups::table.find(id.to_string())).filter(user_groups::tenant_id.eq(tenant));
    Ok(with!(tx, c => group.execute(c).await)? > 0)
}
