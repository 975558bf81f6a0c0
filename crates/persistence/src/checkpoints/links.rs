//! Links by which one person decides one checkpoint, once. Of a link's token only the hash is kept.

use async_recursion::async_recursion as boxed;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use scaigrid_checkpoints::Checkpoint;
use scaigrid_scope::{CheckpointId, Instant, SystemScope, TenantId, TenantScope, UserId};
use ulid::Ulid;

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::checkpoint_links;

const TABLE: &str = "checkpoint_links";

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: Ulid,
    /// The SHA-256 of its token, in lower-case hexadecimal.
    pub hash: String,
    /// What it decides.
    pub checkpoint: CheckpointId,
    /// Who decides by it.
    pub user: UserId,
    /// When it was made.
    pub created_at: Instant,
    /// From when on it is of no use.
    pub expires_at: Instant,
    /// When somebody decided by it.
    pub used_at: Option<Instant>,
}

/// Keeps a link to a checkpoint.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    checkpoint: &Checkpoint,
    link: &Link,
) -> Result<()> {
    let row = (
        checkpoint_links::id.eq(link.id.to_string()),
        checkpoint_links::tenant_id.eq(scope.tenant_id().to_string()),
        checkpoint_links::hash.eq(link.hash.clone()),
        checkpoint_links::checkpoint_id.eq(checkpoint.id.to_string()),
        checkpoint_links::user_id.eq(link.user.to_string()),
        checkpoint_links::core_id.eq(checkpoint.core_id.to_string()),
        checkpoint_links::execution_id.eq(checkpoint.execution_id.to_string()),
        checkpoint_links::created_at.eq(Stamp(link.created_at)),
        checkpoint_links::expires_at.eq(Stamp(link.expires_at)),
        checkpoint_links::used_at.eq(link.used_at.map(Stamp)),
    );
    with!(tx, c => diesel::insert_into(checkpoint_links::table).values(row).execute(c).await)?;
    Ok(())
}

/// Takes away the links that a person has made to a checkpoint and not used; not the one that a mail told them.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn remove_unused(
    tx: &mut Transaction,
    scope: TenantScope,
    checkpoint: &Checkpoint,
    user: UserId,
) -> Result<()> {
    let unused = checkpoint_links::table
        .filter(checkpoint_links::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(checkpoint_links::execution_id.eq(checkpoint.execution_id.to_string()))
        .filter(checkpoint_links::checkpoint_id.eq(checkpoint.id.to_string()))
        .filter(checkpoint_links::user_id.eq(user.to_string()))
        .filter(checkpoint_links::used_at.is_null())
        .filter(sql::<Bool>("NOT EXISTS (SELECT 1 FROM mails WHERE mails.id = checkpoint_links.id)"));
    with!(tx, c => diesel::delete(unused).execute(c).await)?;
    Ok(())
}

type Row = (String, String, String, String, String, Stamp, Stamp, Option<Stamp>);

macro_rules! columns {
    () => {
        (
            checkpoint_links::id,
            checkpoint_links::tenant_id,
            checkpoint_links::hash,
            checkpoint_links::checkpoint_id,
            checkpoint_links::user_id,
            checkpoint_links::created_at,
            checkpoint_links::expires_at,
            checkpoint_links::used_at,
        )
    };
}

fn read(
    (id, tenant, hash, checkpoint, user, created_at, expires_at, used_at): Row,
) -> Result<(TenantId, Link)> {
    let link = Link {
        id: column(TABLE, "id", &id, &id)?,
        hash,
        checkpoint: column(TABLE, "checkpoint_id", &id, &checkpoint)?,
        user: column(TABLE, "user_id", &id, &user)?,
        created_at: created_at.into(),
        expires_at: expires_at.into(),
        used_at: used_at.map(Instant::from),
    };
    Ok((column(TABLE, "tenant_id", &id, &tenant)?, link))
}

/// A link by its id.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, id: Ulid) -> Result<Option<Link>> {
    let query = checkpoint_links::table
        .filter(checkpoint_links::id.eq(id.to_string()))
        .filter(checkpoint_links::tenant_id.eq(scope.tenant_id().to_string()))
        .select(columns!());
    let row: Option<Row> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(row.map(read).transpose()?.map(|(_, link)| link))
}

/// The link with a hash, and whose tenant's it is: whoever shows its token is not known otherwise.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn find_by_hash(
    c: &mut Connection,
    _system: &SystemScope,
    hash: &str,
) -> Result<Option<(TenantId, Link)>> {
    let query = checkpoint_links::table.filter(checkpoint_links::hash.eq(hash.to_owned())).select(columns!());
    let row: Option<Row> = with!(c, c => query.get_result(c).await.optional())?;
    row.map(read).transpose()
}

/// Notes that somebody has decided by a link; false where that was noted before.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn mark_used(tx: &mut Transaction, scope: TenantScope, id: Ulid, at: Instant) -> Result<bool> {
    let link = checkpoint_links::table
        .filter(checkpoint_links::id.eq(id.to_string()))
        .filter(checkpoint_links::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(checkpoint_links::used_at.is_null());
    let update = diesel::update(link).set(checkpoint_links::used_at.eq(Some(Stamp(at))));
    Ok(with!(tx, c => update.execute(c).await)? == 1)
}

/// Keeps a link under another token: the one that it had is of no use any more.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn renew(tx: &mut Transaction, scope: TenantScope, id: Ulid, hash: &str) -> Result<()> {
    let link = checkpoint_links::table
        .filter(checkpoint_links::id.eq(id.to_string()))
        .filter(checkpoint_links::tenant_id.eq(scope.tenant_id().to_string()));
    let update = diesel::update(link).set(checkpoint_links::hash.eq(hash.to_owned()));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}
