//! Units on SQLite: one visit to the blocking thread does all of it, row by row with prepared statements, which is what
//! SQLite is fastest at. Nothing is locked: there is one writer.

use std::collections::btree_map::{BTreeMap, Entry};

use diesel::SqliteConnection as Sync;
use diesel::prelude::*;
use scaigrid_scope::CoreId;

use super::judge::{Facts, MemoryKey, Standing, Wanted, judge, next_version};
use super::rows::{Marked, Memory, Proceeded, Reference, Rows};
use super::{Unit, Verdict};
use crate::checkpoints::CheckpointRow;
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::logs::LogRow;
use crate::schema::{
    audit_records, audit_unsealed, checkpoint_votes, checkpoints, core_events, core_log_lanes, core_logs,
    core_memory, cores, delegations, event_waits, execution_inbox, execution_snapshots, executions, journal,
    object_refs, objects, timers,
};
use crate::sqlite::SqliteConnection;
use crate::stable::update;
use crate::timers::{Owner, Timer};

pub(super) async fn apply(c: &mut SqliteConnection, units: Vec<Unit>) -> Result<Vec<Verdict>> {
    c.spawn_blocking(move |c| Ok(apply_now(c, units))).await?
}

fn apply_now(c: &mut Sync, mut units: Vec<Unit>) -> Result<Vec<Verdict>> {
    let mut facts = read(c, &units)?;
    let verdicts = judge(&mut units, &mut facts);
    let mut rows = Rows::default();
    for (unit, verdict) in units.into_iter().zip(&verdicts) {
        if matches!(verdict, Verdict::Done | Verdict::Awaited) {
            rows.add(unit)?;
        }
    }
    write(c, rows)?;
    Ok(verdicts)
}

fn read(c: &mut Sync, units: &[Unit]) -> Result<Facts> {
    let wanted = Wanted::of(units);
    let mut facts = Facts::default();
    for id in wanted.executions {
        let row: Option<(i64, i64, String)> = executions::table
            .find(id.to_string())
            .select((executions::epoch, executions::next_seq, executions::status))
            .get_result(c)
            .optional()?;
        if let Some((epoch, next_seq, status)) = row {
            let status = column("executions", "status", &id.to_string(), &status)?;
            facts.executions.insert(id, Standing { epoch, next_seq, status });
        }
    }
    for id in wanted.checkpoints {
        let row: Option<(String, i64)> = checkpoints::table
            .find(id.to_string())
            .select((checkpoints::status, checkpoints::revision))
            .get_result(c)
            .optional()?;
        if let Some((_, revision)) = row.filter(|(status, _)| status == "pending") {
            facts.pending.insert(id, revision);
        }
    }
    for (tenant, owner) in wanted.timers {
        let (kind, text, effect) = owner.columns();
        let due_at: Option<Stamp> = timers::table
            .find((tenant.to_string(), kind, text, effect))
            .select(timers::due_at)
            .get_result(c)
            .optional()?;
        facts.timers.extend(due_at.map(|due_at| ((tenant, owner), due_at.into())));
    }
    for key in wanted.memory {
        let tenant = tenant_of(units, key.0);
        let version: Option<i64> = core_memory::table
            .find((tenant, key.0.to_string(), &key.1, &key.2, &key.3))
            .select(core_memory::version)
            .get_result(c)
            .optional()?;
        facts.memory.extend(version.map(|version| (key, version)));
    }
    for id in wanted.cores {
        let status: Option<String> =
            cores::table.find(id.to_string()).select(cores::status).get_result(c).optional()?;
        if let Some(status) = status {
            facts.cores.insert(id, column("cores", "status", &id.to_string(), &status)?);
        }
    }
    for (tenant, core) in wanted.lent {
        let id: Option<String> = delegations::table
            .find((tenant.to_string(), core.to_string()))
            .select(delegations::id)
            .get_result(c)
            .optional()?;
        if let Some(id) = id {
            facts.delegations.insert(core, column("delegations", "id", &id, &id)?);
        }
    }
    for unit in units {
        let Some(id) = unit.change.execution_id() else { continue };
        if wanted.inboxes.binary_search(&id).is_err() {
            continue;
        }
        let effects: Vec<i32> = execution_inbox::table
            .filter(execution_inbox::tenant_id.eq(unit.tenant_id.to_string()))
            .filter(execution_inbox::execution_id.eq(id.to_string()))
            .select(execution_inbox::effect)
            .load(c)?;
        facts.inbox.entry(id).or_default().extend(effects.into_iter().map(i32::cast_unsigned));
    }
    Ok(facts)
}

/// The tenant of the unit that writes to a Core's memory.
fn tenant_of(units: &[Unit], core: CoreId) -> String {
    units
        .iter()
        .find(|unit| unit.memory.iter().any(|write| write.core_id == core))
        .map(|unit| unit.tenant_id.to_string())
        .unwrap_or_default()
}

fn write(c: &mut Sync, rows: Rows) -> Result<()> {
    for row in &rows.begun {
        diesel::insert_into(executions::table).values(row).execute(c)?;
    }
    for row in rows.proceeded {
        proceed(c, row)?;
    }
    for row in rows.journal {
        diesel::insert_into(journal::table)
            .values((
                journal::tenant_id.eq(row.tenant_id),
                journal::execution_id.eq(row.execution_id),
                journal::seq.eq(row.seq),
                journal::entries.eq(row.entries),
                journal::core_id.eq(row.core_id),
                journal::at.eq(row.at),
            ))
            .execute(c)?;
    }
    for row in rows.marks {
        mark(c, &row)?;
    }
    for row in &rows.opened {
        diesel::insert_into(checkpoints::table).values(row).execute(c)?;
    }
    for row in rows.decided {
        decide(c, row)?;
    }
    for row in &rows.votes {
        diesel::insert_into(checkpoint_votes::table).values(row).execute(c)?;
    }
    for row in rows.abandoned {
        let pending = checkpoints::id.eq(row.id).and(checkpoints::status.eq("pending"));
        let cancelled = (
            checkpoints::status.eq("cancelled"),
            checkpoints::resolved_at.eq(Some(row.at)),
            checkpoints::updated_at.eq(row.at),
        );
        update(checkpoints::table, cancelled, pending).execute(c)?;
    }
    for (key, entry) in rows.memory {
        remember(c, key, entry)?;
    }
    for row in rows.events {
        diesel::insert_into(core_events::table)
            .values((
                core_events::id.eq(row.id),
                core_events::tenant_id.eq(row.tenant_id),
                core_events::core_id.eq(row.core_id),
                core_events::execution_id.eq(row.execution_id),
                core_events::name.eq(row.name),
                core_events::data.eq(row.data),
                core_events::at.eq(row.at),
                core_events::heard.eq(row.heard),
            ))
            .execute(c)?;
    }
    for row in rows.taken {
        let place = (row.tenant_id, row.execution_id, row.effect);
        diesel::delete(execution_inbox::table.find(place)).execute(c)?;
    }
    for row in rows.inbox {
        diesel::insert_or_ignore_into(execution_inbox::table)
            .values((
                execution_inbox::tenant_id.eq(row.tenant_id),
                execution_inbox::execution_id.eq(row.execution_id),
                execution_inbox::effect.eq(row.effect),
                execution_inbox::outcome.eq(row.outcome),
            ))
            .execute(c)?;
    }
    for id in rows.woken {
        let asleep = executions::id.eq(id).and(executions::status.eq("suspended"));
        update(executions::table, executions::status.eq("queued"), asleep).execute(c)?;
    }
    for row in &rows.waits {
        diesel::insert_into(event_waits::table).values(row).execute(c)?;
    }
    for row in rows.unwaited {
        let place = (row.tenant_id, row.execution_id, row.effect);
        diesel::delete(event_waits::table.find(place)).execute(c)?;
    }
    for ((tenant, owner), timer) in rows.timers {
        time(c, tenant, &owner, timer)?;
    }
    log(c, rows.logs)?;
    for row in rows.references {
        refer(c, row)?;
    }
    for row in &rows.audit {
        diesel::insert_into(audit_records::table).values(row).execute(c)?;
        diesel::insert_into(audit_unsealed::table).values(row.unsealed()).execute(c)?;
    }
    Ok(())
}

/// Writes rows with the next numbers of their lanes: nobody else writes meanwhile.
fn log(c: &mut Sync, rows: Vec<LogRow>) -> Result<()> {
    let mut lanes = BTreeMap::new();
    for row in rows {
        let place = (row.tenant_id.clone(), row.core_id.clone(), row.lane);
        let lane = match lanes.entry(place) {
            Entry::Occupied(lane) => lane.into_mut(),
            Entry::Vacant(lane) => {
                let known = core_log_lanes::table.find(lane.key().clone()).select(core_log_lanes::last);
                let known: Option<i64> = known.get_result(c).optional()?;
                lane.insert(Lane { is_new: known.is_none(), last: known.unwrap_or(0) })
            }
        };
        lane.last += i64::from(row.entry_count);
        diesel::insert_into(core_logs::table)
            .values((
                core_logs::tenant_id.eq(row.tenant_id),
                core_logs::core_id.eq(row.core_id),
                core_logs::lane.eq(row.lane),
                core_logs::last.eq(lane.last),
                core_logs::entry_count.eq(row.entry_count),
                core_logs::level.eq(row.level),
                core_logs::execution_id.eq(row.execution_id),
                core_logs::at.eq(row.at),
                core_logs::entries.eq(row.entries),
            ))
            .execute(c)?;
    }
    for ((tenant, core, number), lane) in lanes {
        let last = core_log_lanes::last.eq(lane.last);
        let place = (
            core_log_lanes::tenant_id.eq(tenant),
            core_log_lanes::core_id.eq(core),
            core_log_lanes::lane.eq(number),
        );
        if lane.is_new {
            diesel::insert_into(core_log_lanes::table).values((place, last)).execute(c)?;
        } else {
            update(core_log_lanes::table, last, place.0.and(place.1).and(place.2)).execute(c)?;
        }
    }
    Ok(())
}

/// Where the log of a Core has come to.
struct Lane {
    is_new: bool,
    last: i64,
}

fn proceed(c: &mut Sync, row: Proceeded) -> Result<()> {
    let standing = (
        executions::status.eq(row.status),
        executions::output.eq(row.output),
        executions::error.eq(row.error),
        executions::finished_at.eq(row.finished_at),
        executions::next_seq.eq(row.next_seq),
        executions::owner.eq(row.owner),
        executions::epoch.eq(row.epoch),
        executions::debugging.eq(row.debugging),
    );
    let target = executions::id.eq(row.id);
    let changed = if row.keep_snapshot {
        update(executions::table, standing, target).execute(c)?
    } else {
        let state = (executions::snapshot.eq(row.snapshot), executions::snapshot_seq.eq(row.next_seq));
        update(executions::table, (standing, state), target).execute(c)?
    };
    if changed == 1 { Ok(()) } else { Err(Error::Query(diesel::result::Error::NotFound)) }
}

fn refer(c: &mut Sync, row: Reference) -> Result<()> {
    let object = objects::tenant_id
        .eq(row.tenant_id.clone())
        .and(objects::hash.eq(row.hash))
        .and(objects::id.eq(row.object_id.clone()));
    update(objects::table, objects::state.eq("stored"), object).execute(c)?;
    diesel::insert_or_ignore_into(object_refs::table)
        .values((
            object_refs::tenant_id.eq(row.tenant_id),
            object_refs::object_id.eq(row.object_id),
            object_refs::kind.eq(row.kind),
            object_refs::holder.eq(row.holder),
            object_refs::place.eq(row.place),
        ))
        .execute(c)?;
    Ok(())
}

fn mark(c: &mut Sync, row: &Marked) -> Result<()> {
    diesel::insert_or_ignore_into(execution_snapshots::table)
        .values((
            execution_snapshots::tenant_id.eq(&row.tenant_id),
            execution_snapshots::execution_id.eq(&row.execution_id),
            execution_snapshots::seq.eq(row.seq),
            execution_snapshots::machine.eq(&row.machine),
        ))
        .execute(c)?;
    let machines = || {
        execution_snapshots::table
            .filter(execution_snapshots::tenant_id.eq(&row.tenant_id))
            .filter(execution_snapshots::execution_id.eq(&row.execution_id))
    };
    let oldest: Option<i64> = machines()
        .filter(execution_snapshots::seq.le(row.keep_from))
        .order(execution_snapshots::seq.desc())
        .select(execution_snapshots::seq)
        .first(c)
        .optional()?;
    let Some(oldest) = oldest else { return Ok(()) };
    let entries = journal::table
        .filter(journal::tenant_id.eq(&row.tenant_id))
        .filter(journal::execution_id.eq(&row.execution_id))
        .filter(journal::seq.lt(oldest));
    diesel::delete(entries).execute(c)?;
    diesel::delete(machines().filter(execution_snapshots::seq.lt(oldest))).execute(c)?;
    Ok(())
}

fn time(c: &mut Sync, tenant: String, owner: &Owner, timer: Option<Timer>) -> Result<()> {
    let (kind, text, effect) = owner.columns();
    let Some(timer) = timer else {
        diesel::delete(timers::table.find((tenant, kind, text, effect))).execute(c)?;
        return Ok(());
    };
    diesel::replace_into(timers::table)
        .values((
            timers::tenant_id.eq(tenant),
            timers::kind.eq(kind),
            timers::owner.eq(text),
            timers::effect.eq(effect),
            timers::core_id.eq(timer.core_id.to_string()),
            timers::due_at.eq(Stamp(timer.due_at)),
        ))
        .execute(c)?;
    Ok(())
}

fn decide(c: &mut Sync, row: CheckpointRow) -> Result<()> {
    let decision = (
        checkpoints::status.eq(row.status),
        checkpoints::decision.eq(row.decision),
        checkpoints::response_data.eq(row.response_data),
        checkpoints::comment.eq(row.comment),
        checkpoints::resolved_by.eq(row.resolved_by),
        checkpoints::resolved_at.eq(row.resolved_at),
        checkpoints::updated_at.eq(row.updated_at),
    );
    update(checkpoints::table, decision, checkpoints::id.eq(row.id)).execute(c)?;
    Ok(())
}

fn remember(c: &mut Sync, (core, partition, name, key): MemoryKey, entry: Memory) -> Result<()> {
    let place = (entry.tenant_id, core.to_string(), partition, name, key);
    let Some(value) = entry.value else {
        diesel::delete(core_memory::table.find(place)).execute(c)?;
        return Ok(());
    };
    let present: Option<i64> =
        core_memory::table.find(place.clone()).select(core_memory::version).get_result(c).optional()?;
    let version = core_memory::version.eq(next_version(present.unwrap_or(0), entry.at));
    if present.is_some() {
        let entry = core_memory::tenant_id
            .eq(place.0)
            .and(core_memory::core_id.eq(place.1))
            .and(core_memory::partition.eq(place.2))
            .and(core_memory::name.eq(place.3))
            .and(core_memory::key.eq(place.4));
        update(core_memory::table, (core_memory::value.eq(value), version), entry).execute(c)?;
    } else {
        diesel::insert_into(core_memory::table)
            .values((
                core_memory::tenant_id.eq(place.0),
                core_memory::core_id.eq(place.1),
                core_memory::partition.eq(place.2),
                core_memory::name.eq(place.3),
                core_memory::key.eq(place.4),
                core_memory::value.eq(value),
                version,
            ))
            .execute(c)?;
    }
    Ok(())
}
