//! Executions that have ended, as copies of one that a server has run: all the rows that it has left behind.

use std::fmt::Write as _;

use crate::options::Engine;
use crate::scenario::filling;
use crate::scratch::Place;

/// Executions that are written in one transaction.
const BATCH: u32 = 20_000;
/// More rows of its Core's log than an execution has; each copy has as many numbers of its own.
const LOG_ROWS: u32 = 100;

/// A table, the column by which an execution's rows are found, and the columns that hold what only one row may have.
type TableOf = (&'static str, &'static str, &'static [(&'static str, Own)]);

/// What an execution has rows in.
const TABLES: [TableOf; 6] = [
    ("executions", "id", &[("id", Own::Execution)]),
    ("journal", "execution_id", &[("execution_id", Own::Execution)]),
    ("checkpoints", "execution_id", &[("id", Own::Checkpoint), ("execution_id", Own::Execution)]),
    ("core_memory", "key", &[("key", Own::Execution)]),
    ("core_events", "execution_id", &[("id", Own::Event), ("execution_id", Own::Execution)]),
    ("core_logs", "execution_id", &[("last", Own::LogRow), ("execution_id", Own::Execution)]),
];

/// What differs from copy to copy.
#[derive(Debug, Clone, Copy)]
enum Own {
    Execution,
    Checkpoint,
    Event,
    LogRow,
}

/// A table, and the columns that it has here.
#[derive(Debug)]
struct Copied {
    table: &'static str,
    found_by: &'static str,
    own: &'static [(&'static str, Own)],
    columns: Vec<String>,
}

/// How many copies there are, and of what.
#[derive(Debug)]
pub(super) struct Stock {
    template: String,
    executions: u32,
    tables: Vec<Copied>,
}

impl Stock {
    /// So many copies of an execution of a database.
    pub(super) async fn like(place: &Place, template: String, executions: u32) -> anyhow::Result<Self> {
        let mut tables = Vec::new();
        for (table, found_by, own) in TABLES {
            let columns = filling::columns(place, table).await?;
            tables.push(Copied { table, found_by, own, columns });
        }
        Ok(Self { template, executions, tables })
    }

    /// The statements that make all of them.
    pub(super) fn statements(&self, engine: Engine) -> impl Iterator<Item = String> {
        let batches = (0..self.executions).step_by(BATCH as usize);
        let batches = batches.map(move |from| {
            let to = self.executions.min(from.saturating_add(BATCH));
            let mut text = String::new();
            for copied in &self.tables {
                self.copy(&mut text, engine, copied, (from, to));
            }
            text
        });
        std::iter::once(self.set_aside()).chain(batches)
    }

    /// The template's rows, once for all: not every table has an index that finds them among a million others.
    fn set_aside(&self) -> String {
        let of = |copied: &Copied| {
            let Copied { table, found_by, .. } = copied;
            let template = &self.template;
            format!(
                "CREATE TEMPORARY TABLE one_of_{table} AS SELECT * FROM {table} WHERE {found_by} = '{template}';\n"
            )
        };
        self.tables.iter().map(of).collect::<Vec<_>>().concat()
    }

    fn copy(&self, text: &mut String, engine: Engine, copied: &Copied, (from, to): (u32, u32)) {
        let Copied { table, own, columns, .. } = copied;
        let of = |column: &String| {
            let own = own.iter().find(|(name, _)| name == column);
            own.map_or_else(|| format!("t.\"{column}\""), |&(_, own)| self.value(engine, own))
        };
        let names: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let values: Vec<_> = columns.iter().map(of).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to}) \
             INSERT INTO {table} ({}) SELECT {} FROM one_of_{table} t CROSS JOIN n;",
            names.join(", "),
            values.join(", ")
        );
    }

    /// What a column holds in the copy `n.i`.
    fn value(&self, engine: Engine, own: Own) -> String {
        // Ids are ULIDs: 26 digits of base 32, of which these are some. They are older than all that the server makes.
        let number = engine.padded("n.i", 16);
        match own {
            Own::Execution => format!("'exec_01J0000000' || {number}"),
            Own::Event => format!("'evt_01J0000000' || {number}"),
            Own::Checkpoint => format!("'01970000-0000-7000-8000-' || {}", engine.padded("n.i", 12)),
            // Before what the server counts, which begins at one.
            Own::LogRow => format!("t.last - CAST({LOG_ROWS} AS BIGINT) * ({} - n.i)", self.executions),
        }
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;
    use diesel::prelude::*;
    use diesel::sql_types::BigInt;

    use super::*;
    use crate::scratch::Databases;

    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }

    /// The migrations' own tables, filled.
    #[tokio::test]
    async fn every_copy_has_all_that_its_template_has() {
        let folder = tempfile::tempdir().unwrap();
        let place = Databases::new(folder.path(), None).unwrap().fresh(Engine::Sqlite).await.unwrap();
        let mut connection = place.migrated();
        connection
            .batch_execute(
                "INSERT INTO executions (id, tenant_id, core_id, flow, source_version, status, origin, depth, input, \
                 next_seq, snapshot_seq, epoch, started_at, finished_at) \
                 VALUES ('exec_x', 't', 'c', 'f', 1, 'completed', 'api', 0, x'00', 3, 0, 1, 1, 2); \
                 INSERT INTO journal (tenant_id, execution_id, seq, entries, core_id, at) \
                 VALUES ('t', 'exec_x', 1, x'00', 'c', 1), ('t', 'exec_x', 2, x'00', 'c', 2); \
                 INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, \
                 checkpoint_type, prompt, options, context, assignee_type, priority, status, expiry_action, history, \
                 created_at, updated_at) VALUES ('k', 't', 'c', 'exec_x', 1, 'f', 'b', 'approval', 'p', '[]', '{}', \
                 'unrouted', 'normal', 'resolved', 'expire', '[]', 1, 1); \
                 INSERT INTO core_memory (tenant_id, core_id, partition, name, key, value, version) \
                 VALUES ('t', 'c', '', 'requested', 'exec_x', x'00', 1); \
                 INSERT INTO core_events (id, tenant_id, core_id, execution_id, name, data, at) \
                 VALUES ('evt_x', 't', 'c', 'exec_x', 'n', x'00', 1); \
                 INSERT INTO core_logs (tenant_id, core_id, lane, last, entry_count, level, execution_id, at, entries) \
                 VALUES ('t', 'c', 0, 1, 1, 1, 'exec_x', 1, x'00'), ('t', 'c', 0, 2, 1, 1, 'exec_x', 2, x'00');",
            )
            .unwrap();
        let stock = Stock::like(&place, "exec_x".to_owned(), BATCH + 10).await.unwrap();
        filling::run(&place, stock.statements(Engine::Sqlite)).await.unwrap();
        let mut count = |of: &str| {
            let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {of}"));
            query.get_result::<Counted>(&mut connection).unwrap().count
        };
        let all = i64::from(BATCH) + 11;
        for (table, rows) in
            [("executions", 1), ("journal", 2), ("checkpoints", 1), ("core_events", 1), ("core_logs", 2)]
        {
            assert_eq!(count(table), all * rows, "{table}");
        }
        assert_eq!(count("core_memory m JOIN executions e ON m.key = e.id"), all);
        assert_eq!(count("journal WHERE execution_id NOT IN (SELECT id FROM executions)"), 0);
        assert_eq!(count("core_logs WHERE last >= 1"), 2);
        // A figure that the database keeps of what is written.
        assert_eq!(count(&format!("tallies WHERE figure = 'checkpoints.resolved' AND value = {all}")), 1);
    }
}
