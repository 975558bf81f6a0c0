//! Audit records and records of calls of models, of one tenant.

use time::{Duration, OffsetDateTime};

use crate::options::Engine;

/// Rows that are written in one transaction.
const BATCH: u32 = 20_000;
/// Over how many days the audit records are spread.
const DAYS: i64 = 200;
/// Over how many days the calls are.
const USED_DAYS: i64 = 400;
/// How many records there are of everything rare.
const RARE: u32 = 200;
/// Calls for each so many audit records.
const PER_CALL: u32 = 10;

/// How many there are, and whose.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    /// Audit records.
    pub(super) records: u32,
    /// A user of the tenant.
    pub(super) user: String,
    /// When the last is of.
    pub(super) until: OffsetDateTime,
}

/// The numbers of a batch, as `n (i)`.
fn numbers(from: u32, to: u32) -> String {
    format!("WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})")
}

fn batches(count: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..count).step_by(BATCH as usize).map(move |from| (from, count.min(from.saturating_add(BATCH))))
}

/// The time of a ULID, of milliseconds since 1970: ten digits of base 32.
fn time_digits(millis: &str) -> String {
    let digit = |place: u8| {
        let bits = 5 * (9 - place);
        format!(
            "substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 1 + CAST(({millis} >> {bits}) & 31 AS INTEGER), 1)"
        )
    };
    (0..10).map(digit).collect::<Vec<_>>().join(" || ")
}

impl Stock {
    /// The statements that make all of them.
    pub(super) fn statements(&self, engine: Engine) -> impl Iterator<Item = String> {
        let (one, other) = (self.clone(), self.clone());
        let records = batches(self.records).map(move |batch| one.audit(engine, batch));
        records.chain(batches(self.records / PER_CALL).map(move |batch| other.usage(engine, batch)))
    }

    /// An instant in the middle of the log.
    pub(super) fn middle(&self) -> OffsetDateTime {
        (self.until - Duration::days(DAYS / 2)).replace_nanosecond(0).unwrap_or(self.until)
    }

    /// The first of so many in so many days, and how far they are from each other, in milliseconds.
    fn spread(&self, days: i64, count: u32) -> (i64, i64) {
        let whole = Duration::days(days).whole_milliseconds();
        let until = self.until.unix_timestamp_nanos() / 1_000_000;
        let millis = |number: i128| i64::try_from(number).unwrap_or_default();
        (millis(until - whole), millis(whole) / i64::from(count.max(1)))
    }

    /// Half of what is done to Cores is done by one, and half by another, who does what the first does two hundred times. Another
    /// two hundred records differ from these in everything.
    fn audit(&self, engine: Engine, (from, to): (u32, u32)) -> String {
        let (first, step) = self.spread(DAYS, self.records);
        let every = (self.records / RARE / 2 * 2).max(2);
        let numbers = numbers(from, to);
        let (digits, number) = (time_digits("k.ms"), engine.padded("k.i", 16));
        let (at, changes) = match engine {
            Engine::Sqlite => ("k.ms * 1000", "jsonb('{\"name\":{\"before\":\"a\",\"after\":\"b\"}}')"),
            Engine::Postgres => (
                "timestamptz 'epoch' + k.ms * interval '1 millisecond'",
                "'{\"name\":{\"before\":\"a\",\"after\":\"b\"}}'::jsonb",
            ),
        };
        let user = &self.user;
        format!(
            "{numbers}, k (i, o, ms) AS (SELECT i, i % {every}, CAST({first} AS BIGINT) + CAST(i AS BIGINT) * {step} FROM n) \
             INSERT INTO audit_records (id, tenant_id, partner_id, at, action, actor_id, actor_email, actor_type, \
             resource_type, resource_id, status, changes, request_id, ip_address, user_agent, module) \
             SELECT 'audit_' || {digits} || {number}, t.id, t.partner_id, {at}, \
             CASE WHEN k.o = 0 THEN 'tenant.update' WHEN k.o = 1 OR k.i % 2 = 0 THEN 'core.update' ELSE 'core.start' END, \
             CASE WHEN k.o = 0 THEN 'usr_rare' WHEN k.i % 2 = 0 THEN 'usr_even' ELSE 'usr_odd' END, \
             'somebody@bench.example', 'user', CASE WHEN k.o = 0 THEN 'tenant' ELSE 'core' END, \
             CASE WHEN k.o = 0 THEN 'ten_rare' ELSE 'core_' || (k.i % 1000) END, \
             CASE WHEN k.o = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, {changes}, 'req_bench', \
             CASE WHEN k.o = 0 THEN '192.0.2.77' ELSE '192.0.2.1' END, 'bench', \
             CASE WHEN k.o = 0 THEN 'scaibot' ELSE 'scaicore' END \
             FROM tenants t, users u, k WHERE u.id = '{user}' AND t.id = u.tenant_id;\n"
        )
    }

    /// Ten models, asked in turns.
    fn usage(&self, engine: Engine, (from, to): (u32, u32)) -> String {
        let (first, step) = self.spread(USED_DAYS, self.records / PER_CALL);
        let numbers = numbers(from, to);
        let (digits, number) = (time_digits("k.ms"), engine.padded("k.i", 16));
        let at = match engine {
            Engine::Sqlite => "k.ms * 1000",
            Engine::Postgres => "timestamptz 'epoch' + k.ms * interval '1 millisecond'",
        };
        let user = &self.user;
        format!(
            "{numbers}, k (i, ms) AS (SELECT i, CAST({first} AS BIGINT) + CAST(i AS BIGINT) * {step} FROM n) \
             INSERT INTO model_usage (id, tenant_id, model_id, model, user_id, input_tokens, output_tokens, counted, cost, \
             latency_us, status, created_at) \
             SELECT 'usage_' || {digits} || {number}, u.tenant_id, 'model_01J00000000000000000000000', \
             'bench/model-' || (k.i % 10), u.id, 100 + k.i % 400, 20 + k.i % 80, 'reported', '0.001', 250000, 'completed', {at} \
             FROM users u, k WHERE u.id = '{user}';\n"
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

    /// The migrations' own tables, filled.
    #[test]
    fn of_everything_rare_there_is_two_hundred() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
        let mut folders: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
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
                 INSERT INTO users (id, tenant_id, email, kind, status, roles, revision, created_at, updated_at) \
                 VALUES ('usr_x', 't', 'x@x.example', 'human', 'active', '[]', 1, 1, 1);",
            )
            .unwrap();
        let stock = Stock {
            records: 20_000,
            user: "usr_x".to_owned(),
            until: OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap(),
        };
        for statement in stock.statements(Engine::Sqlite) {
            connection.batch_execute(&statement).unwrap();
        }
        let mut count = |of: &str| {
            let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {of}"));
            query.get_result::<Counted>(&mut connection).unwrap().count
        };
        assert_eq!(count("audit_records WHERE tenant_id = 't' AND partner_id = 'p'"), 20_000);
        for rare in [
            "action = 'tenant.update' AND resource_type = 'tenant'",
            "actor_id = 'usr_rare'",
            "resource_id = 'ten_rare'",
            "status = 'FAILURE'",
            "ip_address = '192.0.2.77'",
            "module = 'scaibot'",
            "actor_id = 'usr_odd' AND action = 'core.update'",
        ] {
            assert_eq!(count(&format!("audit_records WHERE {rare}")), 200, "{rare}");
        }
        assert_eq!(count("audit_records WHERE length(id) <> 32"), 0);
        // Ids are in the order of time, and none is of a later time than its record.
        let before = "(SELECT at, lag(at) OVER (ORDER BY id) AS before FROM audit_records) AS records";
        assert_eq!(count(&format!("{before} WHERE at <= before")), 0);
        let middle = stock.middle().unix_timestamp() * 1_000_000;
        let day = 86_400_000_000_i64;
        assert_eq!(count(&format!("audit_records WHERE at >= {middle} AND at < {}", middle + day)), 100);
        assert_eq!(count("model_usage"), 2_000);
        assert_eq!(count("(SELECT 1 FROM model_usage_hours GROUP BY model) AS models"), 10);
    }

    #[test]
    fn the_time_of_an_id_is_spelled_as_a_ulid_spells_it() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        for (millis, digits) in [(0_i64, "0000000000"), (31, "000000000Z"), (1_469_922_850_259, "01ARZ3NDEK")]
        {
            let query = format!("SELECT {} = '{digits}' AS count", time_digits(&millis.to_string()));
            let same = diesel::sql_query(query).get_result::<Counted>(&mut connection).unwrap();
            assert_eq!(same.count, 1, "{millis}");
        }
    }
}
