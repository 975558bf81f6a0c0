//! Who is who at the trusted issuers of tokens: an issuer's subjects and the users that they are, tenant by tenant.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, TenantScope, User, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::Result;
use crate::instant::Stamp;
use crate::schema::{external_identities, users};
use crate::users::UserRow;

/// An issuer's name for someone: `iss` and `sub`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// Its name for them.
    pub name: &'a str,
}

/// Someone whom an issuer has named before.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSubject {
    /// The user; also a suspended or deleted one.
    pub user: User,
    /// When the youngest token was issued whose word about roles was taken.
    pub heard_at: Instant,
    /// When the youngest token was issued whose word about groups was taken.
    pub groups_heard_at: Instant,
}

/// The user that an issuer's subject is in a tenant.
pub async fn find(
    c: &mut Connection,
    scope: TenantScope,
    subject: Subject<'_>,
) -> Result<Option<KnownSubject>> {
    let query = external_identities::table
        .inner_join(
            users::table.on(users::id
                .eq(external_identities::user_id)
                .and(users::tenant_id.eq(external_identities::tenant_id))),
        )
        .filter(external_identities::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(external_identities::issuer.eq(subject.issuer.to_owned()))
        .filter(external_identities::subject.eq(subject.name.to_owned()));
    let heard = (external_identities::heard_at, external_identities::groups_heard_at);
    let found: Option<(UserRow, (Stamp, Stamp))> =
        with!(c, c => query.select((UserRow::as_select(), heard)).get_result(c).await.optional())?;
    let known = |(user, (heard, groups)): (UserRow, (Stamp, Stamp))| {
        Ok(KnownSubject { user: user.try_into()?, heard_at: heard.into(), groups_heard_at: groups.into() })
    };
    found.map(known).transpose()
}

/// Makes a user of the tenant known by an issuer's name for them.
///
/// # Errors
/// [`Error::Duplicate`](crate::Error::Duplicate) when the name is taken; the transaction is of no use then.
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    subject: Subject<'_>,
    user: UserId,
    heard_at: Instant,
    now: Instant,
) -> Result<()> {
    let insert = diesel::insert_into(external_identities::table).values((
        external_identities::tenant_id.eq(scope.tenant_id().to_string()),
        external_identities::issuer.eq(subject.issuer.to_owned()),
        external_identities::subject.eq(subject.name.to_owned()),
        external_identities::user_id.eq(user.to_string()),
        external_identities::heard_at.eq(Stamp(heard_at)),
        external_identities::created_at.eq(Stamp(now)),
    ));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Notes in a column when the youngest word was issued, if it is younger than what stands there.
macro_rules! hear {
    ($column:ident, $tx:expr, $scope:expr, $subject:expr, $at:expr) => {{
        let update = diesel::update(external_identities::table)
            .filter(external_identities::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(external_identities::issuer.eq($subject.issuer.to_owned()))
            .filter(external_identities::subject.eq($subject.name.to_owned()))
            .filter(external_identities::$column.lt(Stamp($at)))
            .set(external_identities::$column.eq(Stamp($at)));
        Ok(with!($tx, c => update.execute(c).await)? > 0)
    }};
}

/// Takes an issuer's word about roles of an instant. False when a younger one has been taken already.
pub async fn hear(
    tx: &mut Transaction,
    scope: TenantScope,
    subject: Subject<'_>,
    at: Instant,
) -> Result<bool> {
    hear!(heard_at, tx, scope, subject, at)
}

/// Takes an issuer's word about groups of an instant. False when a younger one has been taken already.
pub async fn hear_groups(
    tx: &mut Transaction,
    scope: TenantScope,
    subject: Subject<'_>,
    at: Instant,
) -> Result<bool> {
    hear!(groups_heard_at, tx, scope, subject, at)
}
