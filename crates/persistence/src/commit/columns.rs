//! Rows as PostgreSQL statements: one per table and kind of change, its columns travelling as arrays (`UNNEST`), so that a
//! statement's text does not depend on how many rows there are and is prepared once per connection.

use std::collections::{BTreeMap, HashMap};

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text};

use super::judge::MemoryKey;
use super::rows::{
    Abandoned, Event, Inbox, Journal, Marked, Memory, Proceeded, Reference, Rows, Taken, Unwaited,
};
use crate::audit::AuditRow;
use crate::checkpoints::{CheckpointRow, VoteRow};
use crate::event_waits::WaitRow;
use crate::executions::ExecutionRow;
use crate::instant::{Moment, Stamp};
use crate::logs::LogRow;
use crate::timers::{Owner, Timer};
use scaigrid_scope::Instant;

/// The statements of all rows, in rounds: what is made, then what changes it, then what changes only what it finds as it
/// was, then timers, whose rows everybody locks last. Within a round no two touch the same row; where none does at all, which is
/// the rule, there is one round, in the same order.
pub(super) fn rounds(rows: Rows) -> Vec<Vec<Columns>> {
    let apart = rows.are_apart();
    let (mut made, mut changed, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    made.extend(begun(rows.begun));
    made.extend(journal(rows.journal));
    let [cut, forgotten] = cut(&rows.marks);
    made.extend(marked(rows.marks));
    made.extend(opened(rows.opened));
    made.extend(votes(rows.votes));
    made.extend(memory(rows.memory));
    made.extend(events(rows.events));
    made.extend(taken(rows.taken));
    made.extend(waits(rows.waits));
    let [referred, stored] = referred(rows.references);
    made.extend(referred);
    made.extend(audit(rows.audit));
    changed.extend(unwaited(rows.unwaited));
    changed.extend(proceeded(rows.proceeded));
    changed.extend(decided(rows.decided));
    changed.extend(delivered(rows.inbox));
    settled.extend(woken(rows.woken));
    changed.extend(cut);
    changed.extend(stored);
    settled.extend(forgotten);
    settled.extend(abandoned(rows.abandoned));
    let mut last: Vec<Columns> = timers(rows.timers).collect();
    // Behind everything else that is locked: whoever numbers entries in a lane makes others wait until the end.
    last.extend(logs(rows.logs));
    let rounds = vec![made, changed, settled, last];
    if apart { vec![rounds.into_iter().flatten().collect()] } else { rounds }
}

/// A statement over arrays of columns. Its text is one of a fixed few, so it is prepared once per connection.
pub(super) struct Columns {
    before: &'static str,
    after: &'static str,
    arrays: Vec<Column>,
}

enum Column {
    Text(Vec<String>),
    Name(Vec<&'static str>),
    TextOrNull(Vec<Option<String>>),
    Int(Vec<i32>),
    IntOrNull(Vec<Option<i32>>),
    Big(Vec<i64>),
    Bytes(Vec<Vec<u8>>),
    BytesOrNull(Vec<Option<Vec<u8>>>),
    Json(Vec<serde_json::Value>),
    JsonOrNull(Vec<Option<serde_json::Value>>),
    At(Vec<Stamp>),
    AtOrNull(Vec<Option<Stamp>>),
    Bool(Vec<bool>),
}

impl QueryId for Columns {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Columns {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.before);
        for (index, column) in self.arrays.iter().enumerate() {
            if index > 0 {
                out.push_sql(", ");
            }
            match column {
                Column::Text(values) => out.push_bind_param::<Array<Text>, _>(values),
                Column::Name(values) => out.push_bind_param::<Array<Text>, _>(values),
                Column::TextOrNull(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(values),
                Column::Int(values) => out.push_bind_param::<Array<Integer>, _>(values),
                Column::IntOrNull(values) => out.push_bind_param::<Array<Nullable<Integer>>, _>(values),
                Column::Big(values) => out.push_bind_param::<Array<BigInt>, _>(values),
                Column::Bytes(values) => out.push_bind_param::<Array<Binary>, _>(values),
                Column::BytesOrNull(values) => out.push_bind_param::<Array<Nullable<Binary>>, _>(values),
                Column::Json(values) => out.push_bind_param::<Array<Jsonb>, _>(values),
                Column::JsonOrNull(values) => out.push_bind_param::<Array<Nullable<Jsonb>>, _>(values),
                Column::At(values) => out.push_bind_param::<Array<Moment>, _>(values),
                Column::AtOrNull(values) => out.push_bind_param::<Array<Nullable<Moment>>, _>(values),
                Column::Bool(values) => out.push_bind_param::<Array<Bool>, _>(values),
            }?;
        }
        out.push_sql(self.after);
        Ok(())
    }
}

/// A statement over one array for each of some fields of every row; none where there is no row.
macro_rules! statement {
    ($rows:expr, $before:expr, $after:expr, $($kind:ident $field:ident),+ $(,)?) => {{
        let rows = $rows;
        (!rows.is_empty()).then(|| {
            $(let mut $field = Vec::with_capacity(rows.len());)+
            for row in rows {
                $($field.push(row.$field);)+
            }
            Columns { before: $before, after: $after, arrays: vec![$(Column::$kind($field)),+] }
        })
    }};
}

fn begun(rows: Vec<ExecutionRow>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO executions (id, tenant_id, core_id, flow, source_version, status, origin, instance_key, \
         parent_id, parent_effect, depth, input, output, error, snapshot, next_seq, snapshot_seq, owner, epoch, \
          started_at, finished_at, slots, debugging, trace, delegation_id, requested_by) SELECT * FROM UNNEST(",
        ")",
        Text id, Text tenant_id, Text core_id, Text flow, Int source_version, Text status, Text origin,
        TextOrNull instance_key, TextOrNull parent_id, IntOrNull parent_effect, Int depth, Bytes input,
        BytesOrNull output, BytesOrNull error, BytesOrNull snapshot, Big next_seq, Big snapshot_seq,
        TextOrNull owner, Big epoch, At started_at, AtOrNull finished_at, IntOrNull slots,
        TextOrNull debugging, TextOrNull trace, TextOrNull delegation_id, TextOrNull requested_by,
    )
}

fn proceeded(rows: Vec<Proceeded>) -> Option<Columns> {
    statement!(
        rows,
        "UPDATE executions e SET status = u.status, output = u.output, error = u.error, \
         finished_at = u.finished_at, snapshot = CASE WHEN u.keep THEN e.snapshot ELSE u.snapshot END, \
         snapshot_seq = CASE WHEN u.keep THEN e.snapshot_seq ELSE u.next_seq END, \
         next_seq = u.next_seq, owner = u.owner, epoch = u.epoch, debugging = u.debugging FROM UNNEST(",
        ") AS u (id, status, output, error, finished_at, keep, snapshot, next_seq, owner, epoch, debugging) \
         WHERE e.id = u.id",
        Text id, Name status, BytesOrNull output, BytesOrNull error, AtOrNull finished_at, Bool keep_snapshot,
        BytesOrNull snapshot, Big next_seq, TextOrNull owner, Big epoch, TextOrNull debugging,
    )
}

fn journal(rows: Vec<Journal>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO journal (tenant_id, execution_id, seq, entries, core_id, at) SELECT * FROM UNNEST(",
        ")",
        Text tenant_id, Text execution_id, Big seq, Bytes entries, TextOrNull core_id, AtOrNull at,
    )
}

fn marked(rows: Vec<Marked>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO execution_snapshots (tenant_id, execution_id, seq, machine) SELECT * FROM UNNEST(",
        ") ON CONFLICT DO NOTHING",
        Text tenant_id, Text execution_id, Big seq, Bytes machine,
    )
}

/// What comes before the oldest machine that is still needed: entries of the journal, and then older machines.
fn cut(rows: &[Marked]) -> [Option<Columns>; 2] {
    struct Cut {
        tenant_id: String,
        execution_id: String,
        keep_from: i64,
    }
    let cuts = || {
        let cut = |row: &Marked| Cut {
            tenant_id: row.tenant_id.clone(),
            execution_id: row.execution_id.clone(),
            keep_from: row.keep_from,
        };
        rows.iter().filter(|row| row.keep_from > 0).map(cut).collect::<Vec<_>>()
    };
    let entries = statement!(
        cuts(),
        "DELETE FROM journal j USING UNNEST(",
        ") AS u (tenant_id, execution_id, keep_from) WHERE j.tenant_id = u.tenant_id \
         AND j.execution_id = u.execution_id AND j.seq < (SELECT max(s.seq) FROM execution_snapshots s \
         WHERE s.tenant_id = u.tenant_id AND s.execution_id = u.execution_id AND s.seq <= u.keep_from)",
        Text tenant_id, Text execution_id, Big keep_from,
    );
    let machines = statement!(
        cuts(),
        "DELETE FROM execution_snapshots m USING UNNEST(",
        ") AS u (tenant_id, execution_id, keep_from) WHERE m.tenant_id = u.tenant_id \
         AND m.execution_id = u.execution_id AND m.seq < (SELECT max(s.seq) FROM execution_snapshots s \
         WHERE s.tenant_id = u.tenant_id AND s.execution_id = u.execution_id AND s.seq <= u.keep_from)",
        Text tenant_id, Text execution_id, Big keep_from,
    );
    [entries, machines]
}

/// What refers to objects, which are in the store by now.
fn referred(mut rows: Vec<Reference>) -> [Option<Columns>; 2] {
    rows.sort_unstable();
    rows.dedup();
    let stored = statement!(
        rows.clone(),
        // Locked in the order in which their places are taken, so that of two nodes with the same values each waits once.
        "UPDATE objects SET state = 'stored' WHERE (tenant_id, hash) IN (SELECT o.tenant_id, o.hash FROM objects o \
         JOIN (SELECT DISTINCT * FROM UNNEST(",
        ") AS u (tenant_id, hash, object_id)) r ON o.tenant_id = r.tenant_id AND o.hash = r.hash \
         AND o.id = r.object_id WHERE o.state <> 'stored' ORDER BY o.tenant_id, o.hash FOR UPDATE OF o)",
        Text tenant_id, Text hash, Text object_id,
    );
    let referred = statement!(
        rows,
        "INSERT INTO object_refs (tenant_id, object_id, kind, holder, place) SELECT * FROM UNNEST(",
        // A reference that is there already is locked all the same: nobody removes it before this is durable.
        ") ON CONFLICT (tenant_id, object_id, kind, holder, place) DO UPDATE SET kind = excluded.kind",
        Text tenant_id, Text object_id, Name kind, Text holder, Text place,
    );
    [referred, stored]
}

fn opened(rows: Vec<CheckpointRow>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, \
         instance_key, checkpoint_type, prompt, options, context, assignee_raw, assignee_type, assignee_value, \
         priority, status, expires_at, expiry_action, escalation_target, history, created_at, updated_at, rules, \
         standing, excluded, revision) SELECT * FROM UNNEST(",
        ")",
        Text id, Text tenant_id, Text core_id, Text execution_id, Int effect, Text flow_name, Text block_id,
        TextOrNull instance_key, Text checkpoint_type, Text prompt, Json options, Json context,
        TextOrNull assignee_raw, Text assignee_type, TextOrNull assignee_value, Text priority, Text status,
        AtOrNull expires_at, Text expiry_action, TextOrNull escalation_target, Json history, At created_at,
        At updated_at, JsonOrNull rules, JsonOrNull standing, TextOrNull excluded, Big revision,
    )
}

fn decided(rows: Vec<CheckpointRow>) -> Option<Columns> {
    statement!(
        rows,
        "UPDATE checkpoints c SET status = u.status, decision = u.decision, response_data = u.response_data, \
         comment = u.comment, resolved_by = u.resolved_by, resolved_at = u.resolved_at, \
         updated_at = u.updated_at FROM UNNEST(",
        ") AS u (id, status, decision, response_data, comment, resolved_by, resolved_at, updated_at) \
         WHERE c.id = u.id",
        Text id, Text status, TextOrNull decision, JsonOrNull response_data, TextOrNull comment,
        TextOrNull resolved_by, AtOrNull resolved_at, At updated_at,
    )
}

fn votes(rows: Vec<VoteRow>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO checkpoint_votes (tenant_id, checkpoint_id, user_id, core_id, execution_id, decision, \
         response_data, comment, at) SELECT * FROM UNNEST(",
        ")",
        Text tenant_id, Text checkpoint_id, Text user_id, Text core_id, Text execution_id, Text decision,
        JsonOrNull response_data, TextOrNull comment, At at,
    )
}

fn abandoned(rows: Vec<Abandoned>) -> Option<Columns> {
    statement!(
        rows,
        "UPDATE checkpoints c SET status = 'cancelled', resolved_at = u.at, updated_at = u.at FROM UNNEST(",
        ") AS u (id, at) WHERE c.id = u.id AND c.status = 'pending'",
        Text id, At at,
    )
}

fn events(rows: Vec<Event>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO core_events (id, tenant_id, core_id, execution_id, name, data, at, heard) SELECT * FROM UNNEST(",
        ")",
        Text id, Text tenant_id, Text core_id, TextOrNull execution_id, Text name, Bytes data, At at,
        TextOrNull heard,
    )
}

fn taken(rows: Vec<Taken>) -> Option<Columns> {
    statement!(
        rows,
        "DELETE FROM execution_inbox i USING UNNEST(",
        ") AS u (tenant_id, execution_id, effect) WHERE i.tenant_id = u.tenant_id \
         AND i.execution_id = u.execution_id AND i.effect = u.effect",
        Text tenant_id, Text execution_id, Int effect,
    )
}

fn delivered(rows: Vec<Inbox>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO execution_inbox (tenant_id, execution_id, effect, outcome) SELECT * FROM UNNEST(",
        ") ON CONFLICT DO NOTHING",
        Text tenant_id, Text execution_id, Int effect, Bytes outcome,
    )
}

fn woken(ids: Vec<String>) -> Option<Columns> {
    (!ids.is_empty()).then(|| Columns {
        before: "UPDATE executions SET status = 'queued' WHERE status = 'suspended' AND id = ANY(",
        after: ")",
        arrays: vec![Column::Text(ids)],
    })
}

fn audit(rows: Vec<AuditRow>) -> Option<Columns> {
    statement!(
        rows,
        "WITH added AS (INSERT INTO audit_records (id, tenant_id, partner_id, at, action, actor_id, actor_email, \
         actor_type, resource_type, resource_id, status, changes, request_id, ip_address, user_agent, module) \
         SELECT * FROM UNNEST(",
        ") RETURNING id, tenant_id, partner_id) INSERT INTO audit_unsealed (record_id, chain) \
         SELECT id, COALESCE(tenant_id, partner_id, 'platform') FROM added",
        Text id, TextOrNull tenant_id, TextOrNull partner_id, At at, Text action, TextOrNull actor_id,
        TextOrNull actor_email, Text actor_type, Text resource_type, Text resource_id, Text status, Json changes,
        TextOrNull request_id, TextOrNull ip_address, TextOrNull user_agent, TextOrNull module,
    )
}

fn waits(rows: Vec<WaitRow>) -> Option<Columns> {
    statement!(
        rows,
        "INSERT INTO event_waits (tenant_id, execution_id, effect, core_id, name, source_version, pointer, \
         captured) SELECT * FROM UNNEST(",
        ")",
        Text tenant_id, Text execution_id, Int effect, Text core_id, Text name, Int source_version, Text pointer,
        BytesOrNull captured,
    )
}

fn unwaited(rows: Vec<Unwaited>) -> Option<Columns> {
    statement!(
        rows,
        "DELETE FROM event_waits w USING UNNEST(",
        ") AS u (tenant_id, execution_id, effect) WHERE w.tenant_id = u.tenant_id \
         AND w.execution_id = u.execution_id AND w.effect = u.effect",
        Text tenant_id, Text execution_id, Int effect,
    )
}

/// The log: the lanes give out numbers, in the order of their keys, and the rows take them.
fn logs(rows: Vec<LogRow>) -> Option<Columns> {
    let mut left: HashMap<(String, String, i32), i64> = HashMap::new();
    let mut behind = Vec::with_capacity(rows.len());
    // How many entries come after each row's last one in its lane.
    for row in rows.iter().rev() {
        let place = (row.tenant_id.clone(), row.core_id.clone(), row.lane);
        let after = left.entry(place).or_insert(0);
        behind.push(*after);
        *after += i64::from(row.entry_count);
    }
    behind.reverse();
    let rows: Vec<Numbered> =
        rows.into_iter().zip(behind).map(|(row, behind)| Numbered::of(row, behind)).collect();
    statement!(
        rows,
        "WITH u AS (SELECT * FROM UNNEST(",
        ") AS u (tenant_id, core_id, lane, behind, entry_count, level, execution_id, at, entries)), \
         numbered AS (INSERT INTO core_log_lanes AS l (tenant_id, core_id, lane, last) \
         SELECT tenant_id, core_id, lane, SUM(entry_count)::BIGINT FROM u GROUP BY tenant_id, core_id, lane \
         ORDER BY tenant_id, core_id, lane \
         ON CONFLICT (tenant_id, core_id, lane) DO UPDATE SET last = l.last + EXCLUDED.last \
         RETURNING tenant_id, core_id, lane, last) \
         INSERT INTO core_logs (tenant_id, core_id, lane, last, entry_count, level, execution_id, at, entries) \
         SELECT u.tenant_id, u.core_id, u.lane, n.last - u.behind, u.entry_count, u.level, u.execution_id, u.at, \
         u.entries FROM u JOIN numbered n ON n.tenant_id = u.tenant_id AND n.core_id = u.core_id \
         AND n.lane = u.lane",
        Text tenant_id, Text core_id, Int lane, Big behind, Int entry_count, Int level, Text execution_id, At at,
        Bytes entries,
    )
}

/// A row of the log, and how many entries come after it in its lane.
struct Numbered {
    tenant_id: String,
    core_id: String,
    lane: i32,
    behind: i64,
    entry_count: i32,
    level: i32,
    execution_id: String,
    at: Stamp,
    entries: Vec<u8>,
}

impl Numbered {
    fn of(row: LogRow, behind: i64) -> Self {
        let LogRow { tenant_id, core_id, lane, entry_count, level, execution_id, at, entries } = row;
        Self { tenant_id, core_id, lane, behind, entry_count, level, execution_id, at, entries }
    }
}

/// A timer's columns.
struct Timed {
    tenant_id: String,
    kind: &'static str,
    owner: String,
    effect: i32,
    core_id: String,
    due_at: Stamp,
}

/// Timers that are set, and those that are removed, in the order of their keys.
fn timers(rows: BTreeMap<(String, Owner), Option<Timer>>) -> impl Iterator<Item = Columns> {
    let (mut set, mut cleared) = (Vec::new(), Vec::new());
    for ((tenant_id, place), timer) in rows {
        let (kind, owner, effect) = place.columns();
        let (target, core_id, due_at) = match timer {
            Some(timer) => (&mut set, timer.core_id.to_string(), Stamp(timer.due_at)),
            None => (&mut cleared, String::new(), Stamp(Instant::default())),
        };
        target.push(Timed { tenant_id, kind, owner, effect, core_id, due_at });
    }
    let set = statement!(
        set,
        "INSERT INTO timers (tenant_id, kind, owner, effect, core_id, due_at) SELECT * FROM UNNEST(",
        ") ON CONFLICT (tenant_id, kind, owner, effect) DO UPDATE \
         SET due_at = EXCLUDED.due_at, failures = 0, held_until = NULL",
        Text tenant_id, Name kind, Text owner, Int effect, Text core_id, At due_at,
    );
    let cleared = statement!(
        cleared,
        "DELETE FROM timers t USING UNNEST(",
        ") AS u (tenant_id, kind, owner, effect) WHERE t.tenant_id = u.tenant_id AND t.kind = u.kind \
         AND t.owner = u.owner AND t.effect = u.effect",
        Text tenant_id, Name kind, Text owner, Int effect,
    );
    set.into_iter().chain(cleared)
}

/// What is remembered and what is forgotten.
fn memory(rows: HashMap<MemoryKey, Memory>) -> impl Iterator<Item = Columns> {
    let mut places: [Vec<String>; 5] = Default::default();
    let (mut values, mut versions) = (Vec::new(), Vec::new());
    let mut removed: [Vec<String>; 5] = Default::default();
    // Rows are locked in key order, as everywhere.
    let mut entries: Vec<_> = rows.into_iter().collect();
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for ((core, partition, name, key), entry) in entries {
        let place = [entry.tenant_id, core.to_string(), partition, name, key];
        let target = if let Some(value) = entry.value {
            values.push(value);
            versions.push(entry.at.micros());
            &mut places
        } else {
            &mut removed
        };
        for (column, part) in target.iter_mut().zip(place) {
            column.push(part);
        }
    }
    let remembered = (!values.is_empty()).then(|| Columns {
        before: "INSERT INTO core_memory (tenant_id, core_id, partition, name, key, value, version) \
                 SELECT * FROM UNNEST(",
        after: ") ON CONFLICT (tenant_id, core_id, partition, name, key) DO UPDATE SET value = EXCLUDED.value, \
                version = GREATEST(core_memory.version + 1, EXCLUDED.version)",
        arrays: places
            .into_iter()
            .map(Column::Text)
            .chain([Column::Bytes(values), Column::Big(versions)])
            .collect(),
    });
    let forgotten = removed.iter().any(|column| !column.is_empty()).then(|| Columns {
        before: "DELETE FROM core_memory m USING UNNEST(",
        after: ") AS u (tenant_id, core_id, partition, name, key) WHERE m.tenant_id = u.tenant_id \
                AND m.core_id = u.core_id AND m.partition = u.partition AND m.name = u.name AND m.key = u.key",
        arrays: removed.into_iter().map(Column::Text).collect(),
    });
    remembered.into_iter().chain(forgotten)
}
