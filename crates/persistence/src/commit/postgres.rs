//! Units on PostgreSQL: rows are locked and read with one query per table, and written with one statement per
//! table whose columns travel as arrays (`UNNEST`), so that a statement's text does not depend on how many there are.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::judge::{Facts, Standing, Wanted, judge};
use super::rows::{Abandoned, Rows, execution_id};
use super::{Unit, Verdict};
use crate::error::{Result, column};
use crate::instant::{Moment, Stamp};
use crate::schema::{checkpoints, core_memory, cores, execution_inbox, executions};

pub(super) async fn apply(c: &mut AsyncPgConnection, mut units: Vec<Unit>) -> Result<Vec<Verdict>> {
    let mut facts = read(c, &units).await?;
    let verdicts = judge(&mut units, &mut facts);
    let mut rows = Rows::default();
    for (unit, verdict) in units.into_iter().zip(&verdicts) {
        if matches!(verdict, Verdict::Done | Verdict::Awaited) {
            rows.add(unit)?;
        }
    }
    write(c, rows).await?;
    Ok(verdicts)
}

/// Reads and locks what the units expect, always in the order executions, checkpoints, memory, each by key: two
/// nodes that want the same rows wait for each other, but never both.
async fn read(c: &mut AsyncPgConnection, units: &[Unit]) -> Result<Facts> {
    let wanted = Wanted::of(units);
    let mut facts = Facts::default();
    if !wanted.executions.is_empty() {
        let ids: Vec<String> = wanted.executions.iter().map(ToString::to_string).collect();
        let rows: Vec<(String, i64, i64, String)> = executions::table
            .filter(executions::id.eq_any(ids))
            .order(executions::id)
            .select((executions::id, executions::epoch, executions::next_seq, executions::status))
            .for_update()
            .load(c)
            .await?;
        for (id, epoch, next_seq, status) in rows {
            let status = column("executions", "status", &id, &status)?;
            facts.executions.insert(execution_id(&id)?, Standing { epoch, next_seq, status });
        }
    }
    if !wanted.checkpoints.is_empty() {
        let ids: Vec<String> = wanted.checkpoints.iter().map(ToString::to_string).collect();
        let rows: Vec<String> = checkpoints::table
            .filter(checkpoints::id.eq_any(ids))
            .filter(checkpoints::status.eq("pending"))
            .order(checkpoints::id)
            .select(checkpoints::id)
            .for_update()
            .load(c)
            .await?;
        for id in rows {
            facts.pending.insert(column("checkpoints", "id", &id, &id)?);
        }
    }
    // Guarded entries are few: each is the second half of an `update`.
    for key in wanted.memory {
        let version: Option<i64> = core_memory::table
            .filter(core_memory::core_id.eq(key.0.to_string()))
            .filter(core_memory::tenant_id.eq(tenant_of(units, key.0)))
            .filter(core_memory::partition.eq(&key.1))
            .filter(core_memory::name.eq(&key.2))
            .filter(core_memory::key.eq(&key.3))
            .select(core_memory::version)
            .for_update()
            .get_result(c)
            .await
            .optional()?;
        facts.memory.extend(version.map(|version| (key, version)));
    }
    if !wanted.cores.is_empty() {
        let ids: Vec<String> = wanted.cores.iter().map(ToString::to_string).collect();
        let rows: Vec<String> = cores::table
            .filter(cores::id.eq_any(ids))
            .filter(cores::status.eq("running"))
            .select(cores::id)
            .load(c)
            .await?;
        for id in rows {
            facts.accepting.insert(column("cores", "id", &id, &id)?);
        }
    }
    if !wanted.inboxes.is_empty() {
        let tenants: Vec<String> = units.iter().map(|unit| unit.tenant_id.to_string()).collect();
        let ids: Vec<String> = wanted.inboxes.iter().map(ToString::to_string).collect();
        let rows: Vec<(String, i32)> = execution_inbox::table
            .filter(execution_inbox::tenant_id.eq_any(tenants))
            .filter(execution_inbox::execution_id.eq_any(ids))
            .select((execution_inbox::execution_id, execution_inbox::effect))
            .load(c)
            .await?;
        for (id, effect) in rows {
            facts.inbox.entry(execution_id(&id)?).or_default().insert(effect.cast_unsigned());
        }
    }
    Ok(facts)
}

/// The tenant of the unit that writes to a Core's memory.
fn tenant_of(units: &[Unit], core: scaigrid_scope::CoreId) -> String {
    units
        .iter()
        .find(|unit| unit.memory.iter().any(|write| write.core_id == core))
        .map(|unit| unit.tenant_id.to_string())
        .unwrap_or_default()
}

async fn write(c: &mut AsyncPgConnection, rows: Rows) -> Result<()> {
    for statement in statements(rows) {
        statement.execute(c).await?;
    }
    Ok(())
}

/// A statement over arrays of columns. Its text is one of a fixed few, so it is prepared once per connection.
struct Columns {
    before: &'static str,
    after: &'static str,
    arrays: Vec<Column>,
}

enum Column {
    Text(Vec<String>),
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

/// Makes one array of one field of every row.
macro_rules! columns {
    ($rows:expr, $($kind:ident $field:ident),+ $(,)?) => {{
        $(let mut $field = Vec::with_capacity($rows.len());)+
        for row in $rows {
            $($field.push(row.$field);)+
        }
        vec![$(Column::$kind($field)),+]
    }};
}

fn statements(rows: Rows) -> Vec<Columns> {
    let mut statements = Vec::new();
    let mut add = |before, after, arrays| statements.push(Columns { before, after, arrays });
    execution_statements(rows.begun, rows.proceeded, rows.journal, &mut add);
    checkpoint_statements(rows.opened, rows.decided, rows.abandoned, &mut add);
    memory_statements(rows.memory, &mut add);
    if !rows.events.is_empty() {
        let columns = columns!(
            rows.events, Text id, Text tenant_id, Text core_id, TextOrNull execution_id, Text name, Bytes data,
            At at,
        );
        add(
            "INSERT INTO core_events (id, tenant_id, core_id, execution_id, name, data, at) SELECT * FROM UNNEST(",
            ")",
            columns,
        );
    }
    if !rows.taken.is_empty() {
        let (mut tenants, mut ids, mut effects) = (Vec::new(), Vec::new(), Vec::new());
        for (tenant, id, effect) in rows.taken {
            tenants.push(tenant);
            ids.push(id);
            effects.push(effect);
        }
        add(
            "DELETE FROM execution_inbox i USING UNNEST(",
            ") AS u (tenant_id, execution_id, effect) WHERE i.tenant_id = u.tenant_id \
             AND i.execution_id = u.execution_id AND i.effect = u.effect",
            vec![Column::Text(tenants), Column::Text(ids), Column::Int(effects)],
        );
    }
    if !rows.inbox.is_empty() {
        let columns = columns!(rows.inbox, Text tenant_id, Text execution_id, Int effect, Bytes outcome);
        add(
            "INSERT INTO execution_inbox (tenant_id, execution_id, effect, outcome) SELECT * FROM UNNEST(",
            ") ON CONFLICT DO NOTHING",
            columns,
        );
    }
    if !rows.woken.is_empty() {
        add(
            "UPDATE executions SET status = 'queued' WHERE status = 'suspended' AND id = ANY(",
            ")",
            vec![Column::Text(rows.woken)],
        );
    }
    if !rows.audit.is_empty() {
        let columns = columns!(
            rows.audit, Text id, TextOrNull tenant_id, TextOrNull partner_id, At at, Text action,
            TextOrNull actor_id, TextOrNull actor_email, Text actor_type, Text resource_type, Text resource_id,
            Text status, Json changes, TextOrNull request_id, TextOrNull ip_address, TextOrNull user_agent,
            TextOrNull module,
        );
        add(
            "WITH added AS (INSERT INTO audit_records (id, tenant_id, partner_id, at, action, actor_id, actor_email, \
             actor_type, resource_type, resource_id, status, changes, request_id, ip_address, user_agent, module) \
             SELECT * FROM UNNEST(",
            ") RETURNING id, tenant_id, partner_id) INSERT INTO audit_unsealed (record_id, chain) \
             SELECT id, COALESCE(tenant_id, partner_id, 'platform') FROM added",
            columns,
        );
    }
    statements
}

struct ProceededColumns {
    id: String,
    status: String,
    output: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    finished_at: Option<Stamp>,
    keep: bool,
    snapshot: Option<Vec<u8>>,
    next_seq: i64,
    owner: Option<String>,
    epoch: i64,
}

fn execution_statements(
    begun: Vec<crate::executions::ExecutionRow>,
    proceeded: Vec<super::rows::Proceeded>,
    journal: Vec<super::rows::Journal>,
    add: &mut impl FnMut(&'static str, &'static str, Vec<Column>),
) {
    if !begun.is_empty() {
        let columns = columns!(
            begun, Text id, Text tenant_id, Text core_id, Text flow, Int source_version, Text status,
            Text origin, TextOrNull instance_key, TextOrNull parent_id, IntOrNull parent_effect, Int depth,
            Bytes input, BytesOrNull output, BytesOrNull error, BytesOrNull snapshot, Big next_seq,
            Big snapshot_seq, TextOrNull owner, Big epoch, At started_at, AtOrNull finished_at,
        );
        add(
            "INSERT INTO executions (id, tenant_id, core_id, flow, source_version, status, origin, \
             instance_key, parent_id, parent_effect, depth, input, output, error, snapshot, next_seq, \
             snapshot_seq, owner, epoch, started_at, finished_at) SELECT * FROM UNNEST(",
            ")",
            columns,
        );
    }
    if !proceeded.is_empty() {
        let proceeded = proceeded.into_iter().map(|row| ProceededColumns {
            status: row.status.to_owned(),
            id: row.id,
            output: row.output,
            error: row.error,
            finished_at: row.finished_at,
            keep: row.keep_snapshot,
            snapshot: row.snapshot,
            next_seq: row.next_seq,
            owner: row.owner,
            epoch: row.epoch,
        });
        let columns = columns!(
            proceeded, Text id, Text status, BytesOrNull output, BytesOrNull error, AtOrNull finished_at,
            Bool keep, BytesOrNull snapshot, Big next_seq, TextOrNull owner, Big epoch,
        );
        add(
            "UPDATE executions e SET status = u.status, output = u.output, error = u.error, \
             finished_at = u.finished_at, snapshot = CASE WHEN u.keep THEN e.snapshot ELSE u.snapshot END, \
             snapshot_seq = CASE WHEN u.keep THEN e.snapshot_seq ELSE u.next_seq END, \
             next_seq = u.next_seq, owner = u.owner, epoch = u.epoch FROM UNNEST(",
            ") AS u (id, status, output, error, finished_at, keep, snapshot, next_seq, owner, epoch) \
             WHERE e.id = u.id",
            columns,
        );
    }
    if !journal.is_empty() {
        let columns = columns!(journal, Text tenant_id, Text execution_id, Big seq, Bytes entries);
        add(
            "INSERT INTO journal (tenant_id, execution_id, seq, entries) SELECT * FROM UNNEST(",
            ")",
            columns,
        );
    }
}

fn checkpoint_statements(
    opened: Vec<crate::checkpoints::CheckpointRow>,
    decided: Vec<crate::checkpoints::CheckpointRow>,
    abandoned: Vec<Abandoned>,
    add: &mut impl FnMut(&'static str, &'static str, Vec<Column>),
) {
    if !opened.is_empty() {
        let columns = columns!(
            opened, Text id, Text tenant_id, Text core_id, Text execution_id, Int effect, Text flow_name,
            Text block_id, TextOrNull instance_key, Text checkpoint_type, Text prompt, Json options,
            Json context, TextOrNull assignee_raw, Text assignee_type, TextOrNull assignee_value, Text priority,
            Text status, AtOrNull expires_at, Text expiry_action, TextOrNull escalation_target, Json history,
            At created_at, At updated_at,
        );
        add(
            "INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, \
             instance_key, checkpoint_type, prompt, options, context, assignee_raw, assignee_type, \
             assignee_value, priority, status, expires_at, expiry_action, escalation_target, history, \
             created_at, updated_at) \
             SELECT * FROM UNNEST(",
            ")",
            columns,
        );
    }
    if !decided.is_empty() {
        let columns = columns!(
            decided, Text id, Text status, TextOrNull decision, JsonOrNull response_data, TextOrNull comment,
            TextOrNull resolved_by, AtOrNull resolved_at, At updated_at,
        );
        add(
            "UPDATE checkpoints c SET status = u.status, decision = u.decision, response_data = u.response_data, \
             comment = u.comment, resolved_by = u.resolved_by, resolved_at = u.resolved_at, \
             updated_at = u.updated_at FROM UNNEST(",
            ") AS u (id, status, decision, response_data, comment, resolved_by, resolved_at, updated_at) WHERE c.id = u.id",
            columns,
        );
    }
    if !abandoned.is_empty() {
        add(
            "UPDATE checkpoints c SET status = 'cancelled', resolved_at = u.at, updated_at = u.at FROM UNNEST(",
            ") AS u (id, at) WHERE c.id = u.id AND c.status = 'pending'",
            columns!(abandoned, Text id, At at),
        );
    }
}

fn memory_statements(
    memory: std::collections::HashMap<super::judge::MemoryKey, super::rows::Memory>,
    add: &mut impl FnMut(&'static str, &'static str, Vec<Column>),
) {
    let mut places: [Vec<String>; 5] = Default::default();
    let (mut values, mut versions) = (Vec::new(), Vec::new());
    let mut removed: [Vec<String>; 5] = Default::default();
    // Rows are locked in key order, as everywhere.
    let mut entries: Vec<_> = memory.into_iter().collect();
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
    if !values.is_empty() {
        let mut columns: Vec<Column> = places.into_iter().map(Column::Text).collect();
        columns.extend([Column::Bytes(values), Column::Big(versions)]);
        add(
            "INSERT INTO core_memory (tenant_id, core_id, partition, name, key, value, version) \
             SELECT * FROM UNNEST(",
            ") ON CONFLICT (tenant_id, core_id, partition, name, key) DO UPDATE SET value = EXCLUDED.value, \
             version = GREATEST(core_memory.version + 1, EXCLUDED.version)",
            columns,
        );
    }
    if removed.iter().any(|column| !column.is_empty()) {
        add(
            "DELETE FROM core_memory m USING UNNEST(",
            ") AS u (tenant_id, core_id, partition, name, key) WHERE m.tenant_id = u.tenant_id \
             AND m.core_id = u.core_id AND m.partition = u.partition AND m.name = u.name AND m.key = u.key",
            removed.into_iter().map(Column::Text).collect(),
        );
    }
}
