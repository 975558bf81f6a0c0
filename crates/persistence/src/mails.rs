//! Mails to people about checkpoints: written in the transaction that gives rise to them, sent afterwards, tried again until they are
//! taken or hopeless. What they say is put together when they are sent, for it may hold what is not kept.

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
use crate::schema::mails;

const TABLE: &str = "mails";

/// A mail that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: Ulid,
    /// What it is about.
    pub checkpoint: CheckpointId,
    /// Whom it is for.
    pub user: UserId,
    /// Why it is sent: the kind of the event.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Writes a mail about a checkpoint to a user.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    checkpoint: &Checkpoint,
    (id, user, reason): (Ulid, UserId, &str),
    now: Instant,
) -> Result<()> {
    let row = (
        mails::id.eq(id.to_string()),
        mails::tenant_id.eq(scope.tenant_id().to_string()),
        mails::checkpoint_id.eq(checkpoint.id.to_string()),
        mails::core_id.eq(checkpoint.core_id.to_string()),
        mails::execution_id.eq(checkpoint.execution_id.to_string()),
        mails::user_id.eq(user.to_string()),
        mails::reason.eq(reason.to_owned()),
        mails::status.eq("pending"),
        mails::attempts.eq(0),
        mails::next_at.eq(Stamp(now)),
        mails::created_at.eq(Stamp(now)),
    );
    with!(tx, c => diesel::insert_into(mails::table).values(row).execute(c).await)?;
    Ok(())
}

/// The mails whose time has come, the longest overdue first.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn due(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    rows: i64,
) -> Result<Vec<(TenantId, Pending)>> {
    type Row = (String, String, String, String, String, i32);
    let query = mails::table
        // In the words of the partial index: a planner does not find it by a parameter.
        .filter(sql::<Bool>("mails.status = 'pending'"))
        .filter(mails::next_at.le(Stamp(now)))
        .order(mails::next_at)
        .limit(rows)
        .select((
            mails::id,
            mails::tenant_id,
            mails::checkpoint_id,
            mails::user_id,
            mails::reason,
            mails::attempts,
        ));
    let found: Vec<Row> = with!(c, c => query.load(c).await)?;
    let read = |(id, tenant, checkpoint, user, reason, attempts): Row| {
        let mail = Pending {
            id: column(TABLE, "id", &id, &id)?,
            checkpoint: column(TABLE, "checkpoint_id", &id, &checkpoint)?,
            user: column(TABLE, "user_id", &id, &user)?,
            reason,
            attempts: attempts.cast_unsigned(),
        };
        Ok((column(TABLE, "tenant_id", &id, &tenant)?, mail))
    };
    found.into_iter().map(read).collect()
}

/// Takes a mail up, until an instant: of several nodes that have seen it one has it, and whoever comes after that instant finds
/// that it was not sent. False where somebody else was faster.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn claim(tx: &mut Transaction, scope: TenantScope, mail: &Pending, until: Instant) -> Result<bool> {
    let row = mails::table
        .filter(mails::id.eq(mail.id.to_string()))
        .filter(mails::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(mails::status.eq("pending"))
        .filter(mails::attempts.eq(mail.attempts.cast_signed()));
    let update = diesel::update(row)
        .set((mails::attempts.eq(mail.attempts.cast_signed() + 1), mails::next_at.eq(Stamp(until))));
    Ok(with!(tx, c => update.execute(c).await)? == 1)
}

/// What became of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Sent,
    /// It was not, and is tried again.
    Again {
        /// When.
        at: Instant,
        /// Why.
        reason: String,
    },
    /// It is not tried any more.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Writes down what became of a mail.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn settle(tx: &mut Transaction, scope: TenantScope, id: Ulid, outcome: &Outcome) -> Result<()> {
    let row = mails::table
        .filter(mails::id.eq(id.to_string()))
        .filter(mails::tenant_id.eq(scope.tenant_id().to_string()));
    let (status, at, reason) = match outcome {
        Outcome::Sent => ("sent", None, None),
        Outcome::Again { at, reason } => ("pending", Some(*at), Some(reason.clone())),
        Outcome::Failed { reason } => ("failed", None, Some(reason.clone())),
    };
    let said = (mails::status.eq(status), mails::last_error.eq(reason));
    match at {
        Some(at) => {
            let update = diesel::update(row).set((said, mails::next_at.eq(Stamp(at))));
            with!(tx, c => update.execute(c).await)?;
        }
        None => {
            with!(tx, c => diesel::update(row).set(said).execute(c).await)?;
        }
    }
    Ok(())
}
