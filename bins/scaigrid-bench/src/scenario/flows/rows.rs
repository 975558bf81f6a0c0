//! The floor of a flow with a checkpoint that writes as much: a bare program that makes the same two commits with copies of the rows that a
//! flow of the server has left behind, in a database that a server has made.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{DECISION, Program};
use crate::child::Child;
use crate::client::{Connection, Target};
use crate::floor::rows::{DIGITS, Statements};
use crate::load::{Laps, Work};
use crate::options::Engine;
use crate::probe::Probe;
use crate::scenario::host::{Host, connections};
use crate::scenario::{Bench, filling, stored};
use crate::scratch::Place;

/// What the floor is called in the report.
pub(super) const NAME: &str = "floor_rows/approval_flow";
/// Copies that `PostgreSQL` has when the floor begins, and how many of them have ended: a plan that is made where a table is as good as
/// empty reads all of it, and is kept.
const BEFORE: (u64, u64) = (8_192, 4_096);
/// More rows of its Core's log than a flow has; each copy has as many numbers of its own.
const LOG_ROWS: u8 = 100;

/// Whose id a table's rows are found by.
#[derive(Debug, Clone, Copy)]
enum Of {
    Execution,
    Checkpoint,
}

/// A table that a flow adds rows to.
struct Added {
    table: &'static str,
    /// How its rows are found.
    by: (&'static str, Of),
    /// What only one row may have, or whose row it is.
    ids: &'static [&'static str],
    /// What tells apart rows of one flow, where the second commit adds some too.
    each: Option<&'static str>,
}

/// What a flow has rows in.
const ADDED: [Added; 8] = {
    use Of::{Checkpoint, Execution};
    const fn added(
        table: &'static str,
        by: (&'static str, Of),
        ids: &'static [&'static str],
        each: Option<&'static str>,
    ) -> Added {
        Added { table, by, ids, each }
    }
    let of_execution = ("execution_id", Execution);
    [
        added("executions", ("id", Execution), &["id"], None),
        added("journal", of_execution, &["execution_id"], Some("seq")),
        added("checkpoints", of_execution, &["id", "execution_id"], None),
        added("core_memory", ("key", Execution), &["key"], None),
        added("core_events", of_execution, &["id", "execution_id"], Some("id")),
        added("timers", ("owner", Checkpoint), &["owner"], None),
        added("core_logs", of_execution, &["execution_id"], Some("last")),
        added("audit_records", ("resource_id", Checkpoint), &["id", "resource_id"], Some("id")),
    ]
};

/// What the second commit changes in rows of the first.
const CHANGED: [(&str, &[&str]); 2] = [
    (
        "executions",
        &[
            "status",
            "output",
            "error",
            "finished_at",
            "next_seq",
            "owner",
            "epoch",
            "debugging",
            "snapshot",
            "snapshot_seq",
        ],
    ),
    (
        "checkpoints",
        &["status", "decision", "response_data", "comment", "resolved_by", "resolved_at", "updated_at"],
    ),
];

/// A flow whose rows are copied.
struct Template {
    execution: String,
    checkpoint: String,
}

impl Template {
    fn id(&self, of: Of) -> &str {
        match of {
            Of::Execution => &self.execution,
            Of::Checkpoint => &self.checkpoint,
        }
    }

    /// Statements that set aside what the first commit has left, to be run before the second.
    fn first(&self) -> String {
        ADDED.iter().map(|added| self.set_aside(added, "first", "")).collect::<Vec<_>>().concat()
    }

    /// Statements that set aside what the second has added, and what it has changed.
    fn second(&self) -> String {
        let added = ADDED.iter().filter_map(|added| {
            let (table, each) = (added.table, added.each?);
            let new = format!(" AND {each} NOT IN (SELECT {each} FROM bench_first_{table})");
            Some(self.set_aside(added, "second", &new))
        });
        let changed = ADDED.iter().filter(|added| CHANGED.iter().any(|(table, _)| *table == added.table));
        added.chain(changed.map(|changed| self.set_aside(changed, "second", ""))).collect::<Vec<_>>().concat()
    }

    fn set_aside(&self, added: &Added, half: &str, and: &str) -> String {
        let (table, (column, of)) = (added.table, added.by);
        let id = self.id(of);
        format!("CREATE TABLE bench_{half}_{table} AS SELECT * FROM {table} WHERE {column} = '{id}'{and};\n")
    }
}

/// An id's column in the copy of the number `n.suffix`: the same but for its end.
fn copied(column: &str) -> String {
    format!("substr(t.\"{column}\", 1, length(t.\"{column}\") - {DIGITS}) || n.suffix")
}

/// Adds copies of what has been set aside of a table.
fn add(added: &Added, half: &str, columns: &[String]) -> String {
    let table = added.table;
    let value = |column: &String| {
        if added.ids.contains(&column.as_str()) {
            copied(column)
        } else if table == "core_logs" && column == "last" {
            format!("t.\"last\" + CAST(n.suffix AS BIGINT) * {LOG_ROWS}")
        } else {
            format!("t.\"{column}\"")
        }
    };
    let names: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let values: Vec<_> = columns.iter().map(value).collect();
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM bench_{half}_{table} t CROSS JOIN n",
        names.join(", "),
        values.join(", ")
    )
}

/// Changes the copies' rows to what the second commit has made of the template's.
fn change(table: &str, columns: &[&str]) -> String {
    let names: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let names = names.join(", ");
    let id = copied("id");
    format!(
        "UPDATE {table} SET ({names}) = (SELECT {names} FROM bench_second_{table}) \
         WHERE id IN (SELECT {id} FROM bench_second_{table} t CROSS JOIN n)"
    )
}

/// Removes the timers of each copy's checkpoint.
fn clear() -> String {
    format!(
        "DELETE FROM timers WHERE (tenant_id, kind, owner, effect) IN \
         (SELECT t.tenant_id, t.kind, {}, t.effect FROM bench_first_timers t CROSS JOIN n)",
        copied("owner")
    )
}

/// Has the log's lane go on, as whoever gives out its numbers does.
fn go_on(half: &str) -> String {
    let of = |column: &str| format!("{column} = (SELECT min({column}) FROM bench_{half}_core_logs)");
    format!(
        "UPDATE core_log_lanes SET last = last + (SELECT count(*) FROM n) WHERE {} AND {} AND {}",
        of("tenant_id"),
        of("core_id"),
        of("lane")
    )
}

/// Notes records that are in no chain yet.
fn unsealed(half: &str) -> String {
    format!(
        "INSERT INTO audit_unsealed (record_id, chain) SELECT {}, t.tenant_id FROM bench_{half}_audit_records t CROSS JOIN n",
        copied("id")
    )
}

/// The statements of the commits whose rows have been set aside in a database.
async fn statements(place: &Place) -> anyhow::Result<Statements> {
    let mut statements = Statements::default();
    for (half, of_half) in [("first", &mut statements.first), ("second", &mut statements.second)] {
        for added in ADDED.iter().filter(|added| half == "first" || added.each.is_some()) {
            let table = added.table;
            if filling::count(place, &format!("bench_{half}_{table}")).await? == 0 {
                continue;
            }
            of_half.push(add(added, half, &filling::columns(place, table).await?));
            match table {
                "core_logs" => of_half.push(go_on(half)),
                "audit_records" => of_half.push(unsealed(half)),
                _ => {}
            }
        }
    }
    for (table, columns) in CHANGED {
        let found = filling::count(place, &format!("bench_second_{table}")).await?;
        ensure!(found == 1, "a flow has left {found} rows in {table}");
        statements.second.push(change(table, columns));
    }
    if filling::count(place, "bench_first_timers").await? > 0 {
        statements.second.push(clear());
    }
    Ok(statements)
}

/// What makes the copies that are there before.
fn fill(statements: &Statements) -> String {
    let (begun, ended) = BEFORE;
    let of = |bodies: &[String], last: u64| {
        let suffix = Engine::Postgres.padded("i", DIGITS);
        let n = format!("WITH n (suffix) AS (SELECT {suffix} FROM generate_series(1, {last}) AS g (i))");
        bodies.iter().map(|body| format!("{n} {body};\n")).collect::<Vec<_>>().concat()
    };
    of(&statements.first, begun) + of(&statements.second, ended).as_str()
}

/// The floor, on a database of its own.
pub(super) struct Rows {
    child: Child,
    /// What it costs.
    pub(super) probe: Probe,
    target: Target,
    place: Place,
    /// Flows that had ended when it began.
    ended: u64,
}

impl Rows {
    /// Has a server make the database and run one flow, and starts the floor on it when the server has ended. A flow's rows are set aside
    /// while nobody uses the database, so the server ends between its two halves too.
    pub(super) async fn start(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<Self> {
        let place = bench.databases.fresh(engine).await?;
        let host = Host::start(&bench.server, &place).await?;
        let core = host.host("approval_flow", Program::Approval.document()).await?;
        let begun = stored::suspend(&host, &core).await;
        let (execution, checkpoint) =
            begun.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
        host.child.stop().await?;
        let template = Template { execution, checkpoint };
        filling::run(&place, std::iter::once(template.first())).await?;
        let host = Host::start(&bench.server, &place).await?;
        let ended = stored::complete(&host, &template.checkpoint).await;
        ended.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
        // As many bytes of a request as the server gets.
        let key = host.target.key.clone();
        host.child.stop().await?;
        filling::run(&place, std::iter::once(template.second())).await?;
        let mut statements = statements(&place).await?;
        let mut ended = 1;
        if engine == Engine::Postgres {
            filling::run(&place, std::iter::once(fill(&statements))).await?;
            statements.copies = BEFORE.0;
            ended += BEFORE.1;
        }
        let file = place.folder().join("statements.json");
        std::fs::write(&file, serde_json::to_vec(&statements)?)?;
        let variables = vec![("SCAIGRID_BENCH_FLOOR_DATABASE", place.url.clone())];
        let file = file.display().to_string();
        let child =
            crate::scenario::floor(place.folder(), &["floor-rows", "--statements", &file], variables).await?;
        let target = Target { address: child.address, key };
        let probe = Probe::new(child.pid, place.counters().await?);
        Ok(Self { child, probe, target, place, ended })
    }

    /// As many clients as that.
    pub(super) async fn clients(&self, count: usize) -> anyhow::Result<Vec<Copying>> {
        let clients = connections(&self.target, count).await?.into_iter().zip((0..).step_by(37));
        let clients = clients.map(|(connection, serial)| Copying {
            target: self.target.clone(),
            connection,
            serial,
            body: Vec::new(),
            request: Vec::new(),
        });
        Ok(clients.collect())
    }

    /// Ends it, and sees whether it has written what it was asked for.
    pub(super) async fn stop(self, operations: u64) -> anyhow::Result<()> {
        self.child.stop().await?;
        let completed = filling::count(&self.place, "executions WHERE status = 'completed'").await?;
        let resolved = filling::count(&self.place, "checkpoints WHERE status = 'resolved'").await?;
        ensure!(
            completed == resolved && u64::try_from(completed)? >= self.ended + operations,
            "{operations} copies of a flow were asked for, {completed} executions have ended and {resolved} checkpoints"
        );
        Ok(())
    }
}

/// A client of the floor: the two bodies of a flow, each for one of its commits.
pub(super) struct Copying {
    target: Target,
    connection: Connection,
    serial: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

#[derive(Deserialize)]
struct Begun {
    flow: u64,
}

impl Work for Copying {
    const PHASES: &'static [&'static str] = &["first commit", "second commit"];

    async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()> {
        self.serial = self.serial.wrapping_add(1);
        Program::Approval.invocation(&mut self.body, self.serial);
        let begun = Instant::now();
        self.target.post(&mut self.request, "/first", &self.body);
        let Begun { flow } = self.connection.exchange(&self.request).await?.expect(200)?.json()?;
        let first = Instant::now();
        laps.add(first - begun);
        self.target.post(&mut self.request, &format!("/second/{flow}"), DECISION);
        self.connection.exchange(&self.request).await?.expect(200)?;
        laps.add(first.elapsed());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::floor::rows::Writer;
    use crate::scratch::Databases;

    /// What the server would have written, in the migrations' own tables.
    const FIRST: &str = "INSERT INTO executions (id, tenant_id, core_id, flow, source_version, status, origin, depth, \
        input, next_seq, snapshot_seq, epoch, started_at) \
        VALUES ('exec_01JZ8QZ5T0000000000000000A', 't', 'c', 'f', 1, 'suspended', 'api', 0, x'00', 2, 0, 1, 1); \
        INSERT INTO journal (tenant_id, execution_id, seq, entries, core_id, at) \
        VALUES ('t', 'exec_01JZ8QZ5T0000000000000000A', 1, x'00', 'c', 1); \
        INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, checkpoint_type, \
        prompt, options, context, assignee_type, priority, status, expiry_action, history, created_at, updated_at) \
        VALUES ('01970000-0000-7000-8000-00000000000a', 't', 'c', 'exec_01JZ8QZ5T0000000000000000A', 1, 'f', 'b', \
        'approval', 'p', '[]', '{}', 'unrouted', 'normal', 'pending', 'expire', '[]', 1, 1); \
        INSERT INTO timers (tenant_id, kind, owner, effect, core_id, due_at) \
        VALUES ('t', 'checkpoint', '01970000-0000-7000-8000-00000000000a', 0, 'c', 9); \
        INSERT INTO core_log_lanes (tenant_id, core_id, lane, last) VALUES ('t', 'c', 0, 1); \
        INSERT INTO core_logs (tenant_id, core_id, lane, last, entry_count, level, execution_id, at, entries) \
        VALUES ('t', 'c', 0, 1, 1, 1, 'exec_01JZ8QZ5T0000000000000000A', 1, x'00');";
    const SECOND: &str = "UPDATE executions SET status = 'completed', next_seq = 3, finished_at = 2; \
        INSERT INTO journal (tenant_id, execution_id, seq, entries, core_id, at) \
        VALUES ('t', 'exec_01JZ8QZ5T0000000000000000A', 2, x'01', 'c', 2); \
        UPDATE checkpoints SET status = 'resolved', decision = 'approve', resolved_at = 2, updated_at = 2; \
        DELETE FROM timers; \
        INSERT INTO audit_records (id, tenant_id, at, action, actor_type, resource_type, resource_id, status, changes) \
        VALUES ('aud_01JZ8QZ5T0000000000000000A', 't', 2, 'checkpoint.resolve', 'user', 'checkpoint', \
        '01970000-0000-7000-8000-00000000000a', 'SUCCESS', jsonb('{}'));";

    #[test]
    fn what_is_there_before_has_numbers_of_its_own() {
        let statements = Statements { first: vec!["A".to_owned()], second: vec!["B".to_owned()], copies: 0 };
        let text = fill(&statements);
        assert!(text.starts_with("WITH n (suffix) AS (SELECT lpad((i)::text, 12, '0') FROM"), "{text}");
        assert!(text.contains("generate_series(1, 8192) AS g (i)) A;\n"), "{text}");
        assert!(text.ends_with("generate_series(1, 4096) AS g (i)) B;\n"), "{text}");
    }

    #[tokio::test]
    async fn a_copy_has_all_that_a_flow_leaves_behind() {
        let folder = tempfile::tempdir().unwrap();
        let place = Databases::new(folder.path(), None).unwrap().fresh(Engine::Sqlite).await.unwrap();
        let mut connection = place.migrated();
        let template = Template {
            execution: "exec_01JZ8QZ5T0000000000000000A".to_owned(),
            checkpoint: "01970000-0000-7000-8000-00000000000a".to_owned(),
        };
        connection.batch_execute(FIRST).unwrap();
        filling::run(&place, std::iter::once(template.first())).await.unwrap();
        connection.batch_execute(SECOND).unwrap();
        filling::run(&place, std::iter::once(template.second())).await.unwrap();
        let statements = statements(&place).await.unwrap();
        assert_eq!((statements.first.len(), statements.second.len()), (6, 6), "{statements:?}");
        let file = place.url.strip_prefix("sqlite://").unwrap();
        let mut writer = Writer::open(file, &statements).unwrap();
        let count = async |of: &str| filling::count(&place, of).await.unwrap();
        writer.copy(&[1, 2], &[]).unwrap();
        assert_eq!(count("executions WHERE status = 'suspended'").await, 2);
        assert_eq!(count("timers t JOIN checkpoints c ON c.id = t.owner").await, 2);
        assert_eq!(count("core_logs WHERE last IN (1, 101, 201)").await, 3);
        assert_eq!(count("core_log_lanes WHERE last = 3").await, 1);
        writer.copy(&[3], &[2, 1]).unwrap();
        assert_eq!(count("executions WHERE status = 'completed' AND next_seq = 3").await, 3);
        assert_eq!(count("checkpoints WHERE status = 'resolved' AND decision = 'approve'").await, 3);
        assert_eq!(count("journal j JOIN executions e ON e.id = j.execution_id").await, 7);
        assert_eq!(count("audit_records r JOIN checkpoints c ON c.id = r.resource_id").await, 3);
        assert_eq!(count("audit_unsealed u JOIN audit_records r ON r.id = u.record_id").await, 2);
        assert_eq!(count("timers").await, 1);
        // What a trigger keeps.
        assert_eq!(count("tallies WHERE figure = 'checkpoints.resolved' AND value = 3").await, 1);
    }
}
