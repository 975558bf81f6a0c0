//! Units on PostgreSQL: rows are locked and read with one query per table, and written with one statement per table. Every
//! answer costs a journey to the server, so what does not depend on an answer is sent without waiting for it.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::{try_join, try_join_all, try_join5};
use scaigrid_cores::Status as CoreStatus;
use scaigrid_scope::{CheckpointId, CoreId, DelegationId, ExecutionId, Instant, TenantId};

use super::columns::rounds;
use super::judge::{Facts, MemoryKey, NO_VERSION, Standing, Wanted, judge};
use super::rows::{Rows, execution_id};
use super::{Unit, Verdict};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::{checkpoints, core_memory, cores, delegations, execution_inbox, executions, timers};
use crate::timers::Owner;

pub(super) async fn apply(
    c: &mut AsyncPgConnection,
    opening: Option<&str>,
    mut units: Vec<Unit>,
) -> Result<Vec<Verdict>> {
    let mut facts = read(&*c, opening, &units).await?;
    let verdicts = judge(&mut units, &mut facts);
    let mut rows = Rows::default();
    for (unit, verdict) in units.into_iter().zip(&verdicts) {
        if matches!(verdict, Verdict::Done | Verdict::Awaited) {
            rows.add(unit)?;
        }
    }
    for (key, tenant) in facts.places {
        rows.clear_place(key, tenant);
    }
    write(&*c, rows).await?;
    Ok(verdicts)
}

/// Reads and locks what the units expect, always in the order Cores, executions, checkpoints, timers, memory, each by key: two
/// nodes that want the same rows wait for each other, but never both.
///
/// What need not wait for an answer is sent together, in this order, behind what begins the transaction: futures that are joined are
/// polled in their order, and each sends when it is first polled, or once what is before it has been prepared. An inbox is read
/// once its execution is known to be locked: whoever delivers locks it too, so nothing can come in between.
async fn read(c: &AsyncPgConnection, opening: Option<&str>, units: &[Unit]) -> Result<Facts> {
    let wanted = Wanted::of(units);
    // Delegations are changed with their Cores, which are locked first.
    let ((), cores, delegations, executions, (pending, timers)) = try_join5(
        open(c, opening),
        standing_of(c, &wanted.cores),
        delegations_of(c, &wanted.lent),
        standings(c, &wanted.executions),
        try_join(pending(c, &wanted.checkpoints), due(c, &wanted.timers)),
    )
    .await?;
    let inbox = inbox(c, units, &wanted.inboxes).await?;
    let mut facts = Facts { executions, pending, cores, delegations, inbox, timers, ..Facts::default() };
    // Guarded entries are few: each is the second half of an `update`.
    for key in wanted.memory {
        let tenant = tenant_of(units, key.0);
        let version = match version_of(c, &tenant, &key).await? {
            // There is no row to lock: a place is taken for it, which makes whoever wants the same wait, or has waited for them.
            None => {
                take_place(c, &tenant, &key).await?;
                let version = version_of(c, &tenant, &key).await?;
                if version == Some(NO_VERSION) {
                    facts.places.push((key.clone(), tenant));
                }
                version
            }
            version => version,
        };
        facts.memory.extend(version.map(|version| (key, version)));
    }
    Ok(facts)
}

/// Begins the transaction. Joined before all others it is sent before them: nothing that it would wait for comes first.
async fn open(mut c: &AsyncPgConnection, opening: Option<&str>) -> Result<()> {
    match opening {
        Some(opening) => Ok(c.batch_execute(opening).await?),
        None => Ok(()),
    }
}

/// The version of a memory entry, which is locked; none where there is no such entry.
async fn version_of(mut c: &AsyncPgConnection, tenant: &str, key: &MemoryKey) -> Result<Option<i64>> {
    let entry = core_memory::table
        .filter(core_memory::core_id.eq(key.0.to_string()))
        .filter(core_memory::tenant_id.eq(tenant))
        .filter(core_memory::partition.eq(&key.1))
        .filter(core_memory::name.eq(&key.2))
        .filter(core_memory::key.eq(&key.3));
    let version = entry.select(core_memory::version).for_update().get_result(&mut c).await;
    Ok(version.optional()?)
}

/// Writes an entry without a value, which nobody but this transaction ever sees: it is filled, or removed, before the
/// transaction ends.
async fn take_place(mut c: &AsyncPgConnection, tenant: &str, key: &MemoryKey) -> Result<()> {
    let place = (
        core_memory::tenant_id.eq(tenant),
        core_memory::core_id.eq(key.0.to_string()),
        core_memory::partition.eq(&key.1),
        core_memory::name.eq(&key.2),
        core_memory::key.eq(&key.3),
        core_memory::value.eq(Vec::<u8>::new()),
        core_memory::version.eq(NO_VERSION),
    );
    diesel::insert_into(core_memory::table).values(place).on_conflict_do_nothing().execute(&mut c).await?;
    Ok(())
}

async fn standings(
    mut c: &AsyncPgConnection,
    wanted: &[ExecutionId],
) -> Result<HashMap<ExecutionId, Standing>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, i64, i64, String)> = executions::table
        .filter(executions::id.eq_any(texts(wanted)))
        .order(executions::id)
        .select((executions::id, executions::epoch, executions::next_seq, executions::status))
        .for_update()
        .load(&mut c)
        .await?;
    let standing = |(id, epoch, next_seq, status): (String, i64, i64, String)| {
        let status = column("executions", "status", &id, &status)?;
        Ok((execution_id(&id)?, Standing { epoch, next_seq, status }))
    };
    rows.into_iter().map(standing).collect()
}

async fn pending(mut c: &AsyncPgConnection, wanted: &[CheckpointId]) -> Result<HashMap<CheckpointId, i64>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, i64)> = checkpoints::table
        .filter(checkpoints::id.eq_any(texts(wanted)))
        .filter(checkpoints::status.eq("pending"))
        .order(checkpoints::id)
        .select((checkpoints::id, checkpoints::revision))
        .for_update()
        .load(&mut c)
        .await?;
    rows.iter().map(|(id, revision)| Ok((column("checkpoints", "id", id, id)?, *revision))).collect()
}

/// When the timers are due that are to be carried out. Others of the same execution are locked with them, which harms nobody:
/// whoever touches them has locked the execution.
async fn due(
    mut c: &AsyncPgConnection,
    wanted: &[(TenantId, Owner)],
) -> Result<HashMap<(TenantId, Owner), Instant>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let tenants: Vec<String> = wanted.iter().map(|(tenant, _)| tenant.to_string()).collect();
    let owners: Vec<(&str, String, i32)> = wanted.iter().map(|(_, owner)| owner.columns()).collect();
    let kinds: Vec<&str> = owners.iter().map(|(kind, ..)| *kind).collect();
    let texts: Vec<&str> = owners.iter().map(|(_, text, _)| text.as_str()).collect();
    let rows: Vec<(String, String, String, i32, Stamp)> = timers::table
        .filter(timers::tenant_id.eq_any(tenants))
        .filter(timers::kind.eq_any(kinds))
        .filter(timers::owner.eq_any(texts))
        .order((timers::tenant_id, timers::kind, timers::owner, timers::effect))
        .select((timers::tenant_id, timers::kind, timers::owner, timers::effect, timers::due_at))
        .for_update()
        .load(&mut c)
        .await?;
    rows.into_iter()
        .map(|(tenant, kind, owner, effect, due_at)| {
            let tenant = column("timers", "tenant_id", &owner, &tenant)?;
            Ok(((tenant, Owner::of_columns(&kind, &owner, effect)?), due_at.into()))
        })
        .collect()
}

/// The Cores that are there.
async fn standing_of(mut c: &AsyncPgConnection, wanted: &[CoreId]) -> Result<HashMap<CoreId, CoreStatus>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String)> = cores::table
        .filter(cores::id.eq_any(texts(wanted)))
        .order(cores::id)
        .select((cores::id, cores::status))
        // Whoever stops or deletes the Core waits, and then finds what begins or goes on here.
        .for_share()
        .load(&mut c)
        .await?;
    rows.iter()
        .map(|(id, status)| Ok((column("cores", "id", id, id)?, column("cores", "status", id, status)?)))
        .collect()
}

/// Under which delegations Cores act.
async fn delegations_of(
    mut c: &AsyncPgConnection,
    wanted: &[(TenantId, CoreId)],
) -> Result<HashMap<CoreId, DelegationId>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let (tenants, of): (Vec<TenantId>, Vec<CoreId>) = wanted.iter().copied().unzip();
    // Ids are of one tenant each, so naming both apart finds no others.
    let rows: Vec<(String, String)> = delegations::table
        .filter(delegations::tenant_id.eq_any(texts(&tenants)))
        .filter(delegations::core_id.eq_any(texts(&of)))
        .select((delegations::core_id, delegations::id))
        .load(&mut c)
        .await?;
    rows.iter()
        .map(|(core, id)| {
            Ok((column("delegations", "core_id", core, core)?, column("delegations", "id", id, id)?))
        })
        .collect()
}

async fn inbox(
    mut c: &AsyncPgConnection,
    units: &[Unit],
    wanted: &[ExecutionId],
) -> Result<HashMap<ExecutionId, HashSet<u32>>> {
    let mut inbox: HashMap<ExecutionId, HashSet<u32>> = HashMap::new();
    if wanted.is_empty() {
        return Ok(inbox);
    }
    let tenants: Vec<String> = units.iter().map(|unit| unit.tenant_id.to_string()).collect();
    let rows: Vec<(String, i32)> = execution_inbox::table
        .filter(execution_inbox::tenant_id.eq_any(tenants))
        .filter(execution_inbox::execution_id.eq_any(texts(wanted)))
        .select((execution_inbox::execution_id, execution_inbox::effect))
        .load(&mut c)
        .await?;
    for (id, effect) in rows {
        inbox.entry(execution_id(&id)?).or_default().insert(effect.cast_unsigned());
    }
    Ok(inbox)
}

fn texts(ids: &[impl ToString]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// The tenant of the unit that writes to a Core's memory.
fn tenant_of(units: &[Unit], core: CoreId) -> String {
    units
        .iter()
        .find(|unit| unit.memory.iter().any(|write| write.core_id == core))
        .map(|unit| unit.tenant_id.to_string())
        .unwrap_or_default()
}

/// Writes in rounds. The statements of a round touch different rows, so it does not matter which comes first, and
/// they are sent without waiting for each other's answers.
async fn write(c: &AsyncPgConnection, rows: Rows) -> Result<()> {
    for round in rounds(rows) {
        try_join_all(round.into_iter().map(|statement| async move {
            let mut c = c;
            statement.execute(&mut c).await
        }))
        .await?;
    }
    Ok(())
}
