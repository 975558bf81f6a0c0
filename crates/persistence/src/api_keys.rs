//! API keys, found by the digest of what a caller presents.

use async_recursion::async_recursion as boxed;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{
    ApiKey, ApiKeyId, Credential, Identity, Instant, Membership, PartnerStatus, Permissions, SystemScope,
    Tenant, TenantScope, User, UserId,
};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{api_keys, custom_role_holders, group_members, partners, tenants, user_grants, users};
use crate::tenants::TenantRow;
use crate::users::UserRow;
use crate::{grants, groups};

const TABLE: &str = "api_keys";
/// How many users are named in one statement.
const USERS_AT_ONCE: usize = 500;

/// A row without its digest, which nobody needs to see.
#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
#[diesel(treat_none_as_default_value = false)]
struct ApiKeyRow {
    id: String,
    tenant_id: String,
    user_id: String,
    name: String,
    prefix: String,
    scopes: serde_json::Value,
    expires_at: Option<Stamp>,
    revoked_at: Option<Stamp>,
    created_at: Stamp,
    created_by: Option<String>,
}

/// Scopes as the column holds them: an array of permission keys, or `null` for a key that is not limited.
fn encode_scopes(scopes: Option<&Permissions>) -> serde_json::Value {
    scopes.map_or(serde_json::Value::Null, grants::encode)
}

fn decode_scopes(id: &str, stored: &serde_json::Value) -> Result<Option<Permissions>> {
    if stored.is_null() { Ok(None) } else { grants::decode(TABLE, "scopes", id, stored).map(Some) }
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = Error;

    fn try_from(row: ApiKeyRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            user_id: column(TABLE, "user_id", id, &row.user_id)?,
            name: column(TABLE, "name", id, &row.name)?,
            scopes: decode_scopes(id, &row.scopes)?,
            prefix: row.prefix,
            expires_at: row.expires_at.map(Instant::from),
            revoked_at: row.revoked_at.map(Instant::from),
            created_at: row.created_at.into(),
            created_by: row
                .created_by
                .as_deref()
                .map(|by| column(TABLE, "created_by", id, by))
                .transpose()?,
        })
    }
}

/// Whom a key stands for, with all that says whether it still does. Nothing of that has been judged.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticatedKey {
    /// The key: whether it was taken back or has expired.
    pub key: ApiKey,
    /// Its holder: whether they may call.
    pub user: User,
    /// The tenant that the holder lives in.
    pub tenant: Tenant,
    /// The status of that tenant's partner.
    pub partner_status: PartnerStatus,
    /// The groups that the holder is in.
    pub groups: Vec<Membership>,
    /// What the holder's custom roles and direct grants give them.
    pub grants: Permissions,
}

impl AuthenticatedKey {
    /// The caller. The key must have been found valid, see [`ApiKey::is_valid_at`].
    pub fn into_identity(self) -> Identity {
        Identity {
            user_id: self.user.id,
            display_name: self.user.shown_name(),
            kind: self.user.kind,
            status: self.user.status,
            home: self.tenant.reference(self.partner_status),
            roles: self.user.roles,
            groups: self.groups,
            grants: self.grants,
            credential: Credential::ApiKey { id: self.key.id, scopes: self.key.scopes },
            email: self.user.email,
        }
    }
}

/// The key with a digest, with its holder and what they hold, their tenant and its partner; also when it was taken back.
#[boxed]
pub async fn find_by_hash(
    c: &mut Connection,
    system: &SystemScope,
    hash: &[u8; 32],
) -> Result<Option<AuthenticatedKey>> {
    type Found = (ApiKeyRow, UserRow, TenantRow, String, bool, bool);
    // Most people are in no group and were given nothing: to know that costs less than to ask for all of it.
    let in_groups = exists(
        group_members::table
            .filter(group_members::tenant_id.eq(users::tenant_id))
            .filter(group_members::user_id.eq(users::id)),
    );
    let granted = exists(
        user_grants::table
            .filter(user_grants::tenant_id.eq(users::tenant_id))
            .filter(user_grants::user_id.eq(users::id)),
    );
    let holds_roles = exists(
        custom_role_holders::table
            .filter(custom_role_holders::tenant_id.eq(users::tenant_id))
            .filter(custom_role_holders::user_id.eq(users::id)),
    );
    let query = api_keys::table
        .inner_join(
            users::table.on(users::id.eq(api_keys::user_id).and(users::tenant_id.eq(api_keys::tenant_id))),
        )
        .inner_join(tenants::table.on(tenants::id.eq(api_keys::tenant_id)))
        .inner_join(partners::table.on(partners::id.eq(tenants::partner_id)))
        .filter(api_keys::hash.eq(hash.to_vec()));
    let given = granted.or(holds_roles);
    let found: Option<Found> = with!(c, c => query.select((ApiKeyRow::as_select(), UserRow::as_select(), TenantRow::as_select(), partners::status, in_groups, given)).get_result(c).await.optional())?;
    let Some((key, user, tenant, partner_status, in_groups, given)) = found else { return Ok(None) };
    let tenant = Tenant::try_from(tenant)?;
    let user = User::try_from(user)?;
    let scope = system.tenant(tenant.id);
    let groups = if in_groups { groups::of_user(c, scope, user.id).await? } else { Vec::new() };
    let grants = if given { grants::held(c, scope, user.id).await? } else { Permissions::default() };
    Ok(Some(AuthenticatedKey {
        key: key.try_into()?,
        user,
        groups,
        grants,
        partner_status: column("partners", "status", &tenant.partner_id.to_string(), &partner_status)?,
        tenant,
    }))
}

/// Which keys a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiKeyFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Also those that were taken back.
    pub revoked_too: bool,
}

/// Narrows a boxed query to what a filter shows, so that lists and counts cannot disagree.
macro_rules! narrow {
    ($query:ident, $filter:expr) => {
        let filter: &ApiKeyFilter = $filter;
        if let Some(user) = filter.user_id {
            $query = $query.filter(api_keys::user_id.eq(user.to_string()));
        }
        if !filter.revoked_too {
            $query = $query.filter(api_keys::revoked_at.is_null());
        }
    };
}

/// A key by its id; also when it was taken back.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let query =
        api_keys::table.find(id.to_string()).filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()));
    let row = with!(c, c => query.select(ApiKeyRow::as_select()).get_result(c).await.optional())?;
    row.map(ApiKey::try_from).transpose()
}

/// The keys that a filter shows, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &ApiKeyFilter,
    after: Option<ApiKeyId>,
    rows: i64,
) -> Result<Vec<ApiKey>> {
    macro_rules! query {
        () => {{
            let mut query = api_keys::table
                .filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()))
                .order(api_keys::id.desc())
                .limit(rows)
                .select(ApiKeyRow::as_select())
                .into_boxed();
            narrow!(query, filter);
            if let Some(after) = after {
                query = query.filter(api_keys::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<ApiKeyRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(ApiKey::try_from).collect()
}

/// How many keys a filter shows.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, filter: &ApiKeyFilter) -> Result<i64> {
    macro_rules! query {
        () => {{
            let mut query = api_keys::table
                .filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()))
                .select(diesel::dsl::count_star())
                .into_boxed();
            narrow!(query, filter);
            query
        }};
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Adds a key under the digest by which it is found.
///
/// # Errors
/// [`Error::Duplicate`] when there is a key with this digest; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
    let row = ApiKeyRow {
        id: key.id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        user_id: key.user_id.to_string(),
        name: key.name.to_string(),
        prefix: key.prefix.clone(),
        scopes: encode_scopes(key.scopes.as_ref()),
        expires_at: key.expires_at.map(Stamp),
        revoked_at: key.revoked_at.map(Stamp),
        created_at: key.created_at.into(),
        created_by: key.created_by.map(|by| by.to_string()),
    };
    let insert = diesel::insert_into(api_keys::table).values((row, api_keys::hash.eq(hash.to_vec())));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Takes back the keys of users that neither they themselves nor one of those who are named have made, and says which.
#[boxed]
pub async fn revoke_made_by_others(
    tx: &mut Transaction,
    scope: TenantScope,
    users: &[UserId],
    but_by: Option<UserId>,
    at: Instant,
) -> Result<Vec<ApiKeyId>> {
    let mut revoked = Vec::new();
    for some in users.chunks(USERS_AT_ONCE) {
        let holders: Vec<String> = some.iter().map(ToString::to_string).collect();
        let update = diesel::update(api_keys::table)
            .filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(api_keys::user_id.eq_any(holders))
            .filter(api_keys::revoked_at.is_null())
            .filter(
                api_keys::created_by.is_null().or(api_keys::created_by
                    .ne(api_keys::user_id.nullable())
                    .and(api_keys::created_by.ne(but_by.map(|user| user.to_string()).unwrap_or_default()))),
            )
            .set(api_keys::revoked_at.eq(Stamp(at)))
            .returning(api_keys::id);
        let ids: Vec<String> = with!(tx, c => update.get_results(c).await)?;
        for id in ids {
            revoked.push(column(TABLE, "id", &id, &id)?);
        }
    }
    Ok(revoked)
}

/// Takes a key back. False when there is none that is not taken back already.
#[boxed]
pub async fn revoke(tx: &mut Transaction, scope: TenantScope, id: ApiKeyId, at: Instant) -> Result<bool> {
    let update = diesel::update(api_keys::table.find(id.to_string()))
        .filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(api_keys::revoked_at.is_null())
        .set(api_keys::revoked_at.eq(Stamp(at)));
    let rows = with!(tx, c => update.execute(c).await)?;
    Ok(rows > 0)
}

/// Takes back all keys of a user, and says which, so that caches can forget them.
#[boxed]
pub async fn revoke_all_of(
    tx: &mut Transaction,
    scope: TenantScope,
    user: UserId,
    at: Instant,
) -> Result<Vec<ApiKeyId>> {
    let update = diesel::update(api_keys::table)
        .filter(api_keys::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(api_keys::user_id.eq(user.to_string()))
        .filter(api_keys::revoked_at.is_null())
        .set(api_keys::revoked_at.eq(Stamp(at)))
        .returning(api_keys::id);
    let ids: Vec<String> = with!(tx, c => update.get_results(c).await)?;
    ids.iter().map(|id| column(TABLE, "id", id, id)).collect()
}
