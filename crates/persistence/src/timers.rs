//! What is to happen at an instant: executions that sleep, waits and checkpoints with an end, schedules, instances.
//!
//! A timer is written together with what it belongs to, by [`crate::commit`] or in a transaction of its own, and removed
//! in the transaction that does what it says. Whoever fires one names the instant that they have seen: of several nodes
//! that see the same timer one finds it so, and the others find it gone, or moved.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CheckpointId, CoreId, ExecutionId, Instant, SystemScope, TenantId, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::schema::timers;

const TABLE: &str = "timers";

/// What a timer belongs to. There is one at most for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// An effect of an execution that asks for a time.
    Sleep {
        /// The execution.
        execution: ExecutionId,
        /// The number of the effect.
        effect: u32,
    },
    /// An effect of an execution that waits for an event, and not for ever.
    EventWait {
        /// The execution.
        execution: ExecutionId,
        /// The number of the effect.
        effect: u32,
    },
    /// A checkpoint with a deadline.
    Checkpoint(CheckpointId),
    /// Somebody who is asked at a checkpoint is told once more.
    Reminder(CheckpointId),
    /// Whoever is asked at a checkpoint is told by mail.
    Notice(CheckpointId),
    /// A schedule of a Core.
    Schedule {
        /// The Core.
        core: CoreId,
        /// The trigger.
        name: String,
    },
    /// An instance of a Core, which is idle from then on.
    Instance {
        /// The Core.
        core: CoreId,
        /// Its key.
        key: String,
    },
}

const SLEEP: &str = "sleep";
const EVENT_WAIT: &str = "event_wait";
const CHECKPOINT: &str = "checkpoint";
const REMINDER: &str = "reminder";
const NOTICE: &str = "notice";
const SCHEDULE: &str = "schedule";
const INSTANCE: &str = "instance";
/// What this version can fire. Others are left to a newer one beside it.
const KINDS: [&str; 7] = [SLEEP, EVENT_WAIT, CHECKPOINT, REMINDER, NOTICE, SCHEDULE, INSTANCE];

impl Owner {
    /// The columns that name it: kind, owner, effect.
    pub(crate) fn columns(&self) -> (&'static str, String, i32) {
        let of_core = |core: &CoreId, name: &str| format!("{core}/{}", text_storable(name.to_owned()));
        match self {
            Self::Sleep { execution, effect } => (SLEEP, execution.to_string(), effect.cast_signed()),
            Self::EventWait { execution, effect } => {
                (EVENT_WAIT, execution.to_string(), effect.cast_signed())
            }
            Self::Checkpoint(id) => (CHECKPOINT, id.to_string(), 0),
            Self::Reminder(id) => (REMINDER, id.to_string(), 0),
            Self::Notice(id) => (NOTICE, id.to_string(), 0),
            Self::Schedule { core, name } => (SCHEDULE, of_core(core, name), 0),
            Self::Instance { core, key } => (INSTANCE, of_core(core, key), 0),
        }
    }

    pub(crate) fn of_columns(kind: &str, owner: &str, effect: i32) -> Result<Self> {
        let effect = effect.cast_unsigned();
        let execution = || column(TABLE, "owner", owner, owner);
        let of_core = || {
            let (core, name) = owner
                .split_once('/')
                .ok_or_else(|| Error::inconsistent(TABLE, "owner", owner, "names no Core"))?;
            Ok::<_, Error>((column(TABLE, "owner", owner, core)?, name.to_owned()))
        };
        Ok(match kind {
            SLEEP => Self::Sleep { execution: execution()?, effect },
            EVENT_WAIT => Self::EventWait { execution: execution()?, effect },
            CHECKPOINT => Self::Checkpoint(column(TABLE, "owner", owner, owner)?),
            REMINDER => Self::Reminder(column(TABLE, "owner", owner, owner)?),
            NOTICE => Self::Notice(column(TABLE, "owner", owner, owner)?),
            SCHEDULE => {
                let (core, name) = of_core()?;
                Self::Schedule { core, name }
            }
            INSTANCE => {
                let (core, key) = of_core()?;
                Self::Instance { core, key }
            }
            other => {
                return Err(Error::inconsistent(TABLE, "kind", owner, format!("there is no kind {other}")));
            }
        })
    }
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// What it belongs to.
    pub owner: Owner,
    /// The Core that this is of.
    pub core_id: CoreId,
    /// When its time has come.
    pub due_at: Instant,
}

macro_rules! place {
    ($scope:expr, $owner:expr) => {{
        let (kind, owner, effect) = $owner.columns();
        timers::table
            .filter(timers::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(timers::kind.eq(kind))
            .filter(timers::owner.eq(owner))
            .filter(timers::effect.eq(effect))
    }};
}

/// The timers whose time has come, the longest overdue first; without those that are held back.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn due(
    c: &mut Connection,
    _system: &SystemScope,
    now: Instant,
    rows: i64,
) -> Result<Vec<(TenantId, Timer)>> {
    let query = timers::table
        .filter(timers::due_at.le(Stamp(now)))
        .filter(timers::held_until.is_null().or(timers::held_until.le(Stamp(now))))
        .filter(timers::kind.eq_any(KINDS))
        .order(timers::due_at)
        .limit(rows)
        .select((
            timers::tenant_id,
            timers::kind,
            timers::owner,
            timers::effect,
            timers::core_id,
            timers::due_at,
        ));
    let found: Vec<(String, String, String, i32, String, Stamp)> = with!(c, c => query.load(c).await)?;
    found
        .into_iter()
        .map(|(tenant, kind, owner, effect, core, due_at)| {
            let timer = Timer {
                core_id: column(TABLE, "core_id", &owner, &core)?,
                due_at: due_at.into(),
                owner: Owner::of_columns(&kind, &owner, effect)?,
            };
            Ok((column(TABLE, "tenant_id", &owner, &tenant)?, timer))
        })
        .collect()
}

/// When the next timer's time comes, of those that are not held back.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn next(c: &mut Connection, _system: &SystemScope) -> Result<Option<Instant>> {
    let query = timers::table
        .filter(timers::kind.eq_any(KINDS))
        .filter(timers::held_until.is_null())
        .order(timers::due_at)
        .select(timers::due_at);
    let found: Option<Stamp> = with!(c, c => query.first(c).await.optional())?;
    Ok(found.map(Instant::from))
}

/// When a timer's time comes.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: TenantScope, owner: &Owner) -> Result<Option<Instant>> {
    let query = place!(scope, owner).select(timers::due_at);
    let found: Option<Stamp> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.map(Instant::from))
}

/// The timers of an execution's effects.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn of_execution(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Vec<Owner>> {
    let query = timers::table
        .filter(timers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(timers::kind.eq_any([SLEEP, EVENT_WAIT]))
        .filter(timers::owner.eq(id.to_string()))
        .limit(10_000)
        .select((timers::kind, timers::owner, timers::effect));
    let found: Vec<(String, String, i32)> = with!(c, c => query.load(c).await)?;
    found.iter().map(|(kind, owner, effect)| Owner::of_columns(kind, owner, *effect)).collect()
}

/// How many timers are set for a Core.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, core: scaigrid_scope::CoreId) -> Result<i64> {
    let query = timers::table
        .filter(timers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(timers::core_id.eq(core.to_string()))
        .count();
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Sets a timer, or sets it anew.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn set(tx: &mut Transaction, scope: TenantScope, timer: &Timer) -> Result<()> {
    let (kind, owner, effect) = timer.owner.columns();
    let due_at = timers::due_at.eq(Stamp(timer.due_at));
    let anew = (due_at, timers::failures.eq(0), timers::held_until.eq(None::<Stamp>));
    let row = (
        timers::tenant_id.eq(scope.tenant_id().to_string()),
        timers::kind.eq(kind),
        timers::owner.eq(owner),
        timers::effect.eq(effect),
        timers::core_id.eq(timer.core_id.to_string()),
        due_at,
    );
    let key = (timers::tenant_id, timers::kind, timers::owner, timers::effect);
    let insert = diesel::insert_into(timers::table).values(row).on_conflict(key).do_update().set(anew);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Removes a timer, if there is one.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn clear(tx: &mut Transaction, scope: TenantScope, owner: &Owner) -> Result<()> {
    let rows = place!(scope, owner);
    with!(tx, c => diesel::delete(rows).execute(c).await)?;
    Ok(())
}

/// Takes a timer that still stands as it was seen: it is gone then, and others who have seen it wait until this
/// transaction ends, and find it gone. False where somebody else was faster, or moved it.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn take(tx: &mut Transaction, scope: TenantScope, timer: &Timer) -> Result<bool> {
    let rows = place!(scope, timer.owner).filter(timers::due_at.eq(Stamp(timer.due_at)));
    Ok(with!(tx, c => diesel::delete(rows).execute(c).await)? == 1)
}

/// Counts that a timer, which still stands as it was seen, could not be fired, and has it let others go first until the instant
/// that follows from how often that was so.
///
/// # Errors
/// The database's.
pub async fn hold_back(
    tx: &mut Transaction,
    scope: TenantScope,
    timer: &Timer,
    until: impl FnOnce(u32) -> Option<Instant> + Send,
) -> Result<()> {
    let seen = || place!(scope, timer.owner).filter(timers::due_at.eq(Stamp(timer.due_at)));
    let count = diesel::update(seen()).set(timers::failures.eq(timers::failures + 1));
    let failures: Option<i32> =
        with!(tx, c => count.returning(timers::failures).get_result(c).await.optional())?;
    let Some(until) = failures.and_then(|failures| until(failures.unsigned_abs())) else { return Ok(()) };
    let hold = diesel::update(seen()).set(timers::held_until.eq(Stamp(until)));
    with!(tx, c => hold.execute(c).await)?;
    Ok(())
}

/// Removes the timers of a Core's schedules.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn clear_schedules(tx: &mut Transaction, scope: TenantScope, core: CoreId) -> Result<()> {
    let rows = timers::table
        .filter(timers::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(timers::core_id.eq(core.to_string()))
        .filter(timers::kind.eq(SCHEDULE));
    with!(tx, c => diesel::delete(rows).execute(c).await)?;
    Ok(())
}
