//! Cores and checkpoints of one tenant, as copies of ones that the server has made.
//!
//! Executions are not copied: no list reads them.

use crate::options::Engine;

/// Rows that are written in one transaction.
const BATCH: u32 = 20_000;
/// How many there are of everything that a filter chooses.
const CHOSEN: u32 = 100;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stock {
    /// Cores.
    pub(super) cores: u32,
    /// Checkpoints.
    pub(super) checkpoints: u32,
}

/// What the others are copies of, and who reads them.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// The Core's id.
    pub(super) core: String,
    /// The checkpoint's.
    pub(super) checkpoint: String,
    /// The caller's.
    pub(super) user: String,
}

/// The id of a Core by its number; that of the template comes after all of them.
pub(super) fn core(number: u32) -> String {
    // Ids are ULIDs: 26 digits of base 32, of which these are some.
    format!("core_01J0000000{number:016}")
}

/// The numbers of a batch, as `n (i)`.
fn numbers(from: u32, to: u32) -> String {
    format!("WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})")
}

fn batches(count: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..count).step_by(BATCH as usize).map(move |from| (from, count.min(from.saturating_add(BATCH))))
}

impl Stock {
    /// The statements that make all of them.
    pub(super) fn statements(self, engine: Engine, template: &Template) -> impl Iterator<Item = String> {
        let cores = batches(self.cores).map(move |batch| self.cores(engine, template, batch));
        cores.chain(batches(self.checkpoints).map(move |batch| self.checkpoints(engine, template, batch)))
    }

    /// Of a hundred the status is `error`, and another hundred are called otherwise than all others.
    fn cores(self, engine: Engine, template: &Template, (from, to): (u32, u32)) -> String {
        let (numbers, id) = (numbers(from, to), engine.padded("n.i", 16));
        let every = self.cores / CHOSEN;
        let template = &template.core;
        format!(
            "{numbers} INSERT INTO cores (id, tenant_id, slug, name, status, runtime_mode, concurrency_mode, \
             entity_key_field, source_version, plugins, environment, resource_limits, checkpoint_mode, privilege_level, \
             metadata, identity_mode, created_by, revision, created_at, updated_at) \
             SELECT 'core_01J0000000' || {id}, t.tenant_id, 'bench-' || n.i, \
             CASE WHEN n.i % {every} = 1 THEN 'Needle ' ELSE 'Listed ' END || n.i, \
             CASE WHEN n.i % {every} = 0 THEN 'error' ELSE 'stopped' END, t.runtime_mode, t.concurrency_mode, \
             t.entity_key_field, t.source_version, t.plugins, t.environment, t.resource_limits, t.checkpoint_mode, \
             t.privilege_level, t.metadata, t.identity_mode, t.created_by, t.revision, t.created_at, t.updated_at \
             FROM cores t, n WHERE t.id = '{template}';\n\
             {numbers} INSERT INTO core_versions (tenant_id, core_id, version, bundle, created_by, created_at) \
             SELECT t.tenant_id, 'core_01J0000000' || {id}, t.version, t.bundle, t.created_by, t.created_at \
             FROM core_versions t, n WHERE t.core_id = '{template}';\n"
        )
    }

    /// Two hundred ask the caller, half of these urgently; a hundred each have expired, are of another type, and are of the first
    /// Core. Of the others every second one asks somebody else, and the rest are resolved.
    fn checkpoints(self, engine: Engine, template: &Template, (from, to): (u32, u32)) -> String {
        let numbers = numbers(from, to);
        let (own, execution) = (engine.padded("k.i", 12), engine.padded("k.i", 16));
        let others = self.cores - 1;
        let (first, other) = (core(0), engine.padded(&format!("1 + k.i % {others}"), 16));
        let every = self.checkpoints / CHOSEN;
        let Template { checkpoint, user, .. } = template;
        let somebody = "somebody@bench.example";
        format!(
            "{numbers}, k (i, o, s) AS (SELECT i, i % {every}, CASE WHEN i % {every} < 2 THEN 'pending' \
             WHEN i % {every} = 2 THEN 'expired' WHEN i % {every} < 5 THEN 'resolved' WHEN i % 2 = 0 THEN 'pending' \
             ELSE 'resolved' END FROM n) \
             INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, instance_key, \
             checkpoint_type, prompt, options, context, assignee_raw, assignee_type, assignee_value, priority, status, \
             expiry_action, decision, resolved_by, resolved_at, history, created_at, updated_at, rules, revision) \
             SELECT '01970000-0000-7000-8000-' || {own}, t.tenant_id, \
             CASE WHEN k.o = 4 THEN '{first}' ELSE 'core_01J0000000' || {other} END, 'exec_01J0000000' || {execution}, \
             t.effect, t.flow_name, t.block_id, t.instance_key, \
             CASE WHEN k.o = 3 THEN 'rare' ELSE t.checkpoint_type END, t.prompt, t.options, t.context, \
             CASE WHEN k.o < 2 THEN 'user:{user}' ELSE 'user:{somebody}' END, 'user', \
             CASE WHEN k.o < 2 THEN '{user}' ELSE '{somebody}' END, \
             CASE WHEN k.o = 1 THEN 'critical' ELSE 'normal' END, k.s, 'expire', \
             CASE WHEN k.s = 'resolved' THEN 'approve' END, CASE WHEN k.s = 'resolved' THEN '{user}' END, \
             CASE WHEN k.s <> 'pending' THEN t.created_at END, t.history, t.created_at, t.updated_at, t.rules, t.revision \
             FROM checkpoints t, k WHERE t.id = '{checkpoint}';\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;
    use diesel::prelude::*;
    use diesel::sql_types::BigInt;

    use super::*;

    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }

    #[test]
    fn a_batch_ends_where_the_next_begins() {
        let all: Vec<_> = batches(2 * BATCH + 1).collect();
        assert_eq!(all, [(0, BATCH), (BATCH, 2 * BATCH), (2 * BATCH, 2 * BATCH + 1)]);
        assert_eq!(core(7).len(), "core_".len() + 26);
    }

    /// The migrations' own tables, filled.
    #[test]
    fn of_everything_chosen_there_is_a_hundred() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let mut folders: Vec<_> = std::fs::read_dir(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite"),
        )
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
        folders.sort();
        for folder in folders {
            connection.batch_execute(&std::fs::read_to_string(folder.join("up.sql")).unwrap()).unwrap();
        }
        connection
            .batch_execute(
                "INSERT INTO partners (id, slug, name, status, limits, revision, created_at, updated_at) \
                 VALUES ('p', 'p', 'p', 'active', '{}', 1, 1, 1); \
                 INSERT INTO tenants (id, partner_id, slug, name, status, limits, features, revision, created_at, \
                 updated_at) VALUES ('t', 'p', 't', 't', 'active', '{}', '{}', 1, 1, 1); \
                 INSERT INTO cores (id, tenant_id, slug, name, status, runtime_mode, concurrency_mode, source_version, \
                 plugins, environment, resource_limits, checkpoint_mode, privilege_level, metadata, identity_mode, \
                 created_by, revision, created_at, updated_at) VALUES ('core_x', 't', 'x', 'x', 'running', 'a', 'b', 1, \
                 '[]', '{}', '{}', 'auto', 'standard', '{}', 'service_account', 'usr_x', 1, 1, 1); \
                 INSERT INTO core_versions (tenant_id, core_id, version, bundle, created_by, created_at) \
                 VALUES ('t', 'core_x', 1, x'00', 'usr_x', 1); \
                 INSERT INTO checkpoints (id, tenant_id, core_id, execution_id, effect, flow_name, block_id, \
                 checkpoint_type, prompt, options, context, assignee_type, priority, status, expiry_action, history, \
                 created_at, updated_at) VALUES ('c', 't', 'core_x', 'exec_x', 1, 'f', 'b', 'approval', 'p', '[]', '{}', \
                 'unrouted', 'normal', 'pending', 'expire', '[]', 1, 1);",
            )
            .unwrap();
        let template = Template { core: "core_x".into(), checkpoint: "c".into(), user: "usr_x".to_owned() };
        let stock = Stock { cores: 1_000, checkpoints: 2_000 };
        for statement in stock.statements(Engine::Sqlite, &template) {
            connection.batch_execute(&statement).unwrap();
        }
        let mut count = |of: &str| {
            let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {of}"));
            query.get_result::<Counted>(&mut connection).unwrap().count
        };
        assert_eq!(count("cores"), 1_001);
        assert_eq!(count("core_versions"), 1_001);
        assert_eq!(count("cores WHERE status = 'error'"), 100);
        assert_eq!(count("cores WHERE name LIKE 'Needle %'"), 100);
        assert_eq!(count("checkpoints"), 2_001);
        assert_eq!(count("checkpoints WHERE status = 'expired' AND resolved_at IS NOT NULL"), 100);
        assert_eq!(count("checkpoints WHERE status = 'pending' AND assignee_value = 'usr_x'"), 200);
        assert_eq!(count("checkpoints WHERE status = 'pending' AND priority = 'critical'"), 100);
        assert_eq!(count("checkpoints WHERE checkpoint_type = 'rare'"), 100);
        assert_eq!(count(&format!("checkpoints WHERE core_id = '{}'", core(0))), 100);
        assert_eq!(count("checkpoints WHERE (status = 'resolved') <> (decision IS NOT NULL)"), 0);
        assert_eq!(count("checkpoints WHERE core_id NOT IN (SELECT id FROM cores)"), 0);
    }
}
