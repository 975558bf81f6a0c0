//! Figures: how many there are of what in a tenant, how much lies in its store, and what its calls of models have used.
//!
//! What grows with use is kept by the database's triggers (migration `0025_figures`), so that whoever writes keeps it right in the
//! same transaction; what is few is counted here. On PostgreSQL writers only add rows, which [`fold`] draws together; on SQLite, where
//! one writes at a time, there is nothing to fold.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, SystemScope, TenantScope, UserStatus};

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::Result;
use crate::instant::{Moment, Stamp};

/// Models that [`usage`] tells of one by one.
pub const MODELS_AT_MOST: usize = 100;

const HOUR_MICROS: i64 = 3_600_000_000;

/// How many there are, by what they are called.
pub type Counts = BTreeMap<String, u64>;

/// What there is in a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rooms, by status.
    pub rooms: Counts,
    /// Participants, by kind.
    pub participants: Counts,
    /// Cores, by status.
    pub cores: Counts,
    /// Checkpoints, by status.
    pub checkpoints: Counts,
    /// Large values in the store, and pictures of Cores.
    pub objects: u64,
    /// The bytes of these.
    pub bytes: u64,
}

/// What calls have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How many calls there were, however they have ended.
    pub requests: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// What calls have used in a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of them.
    pub all: Used,
    /// Each model by the slug that it had, the one that was asked most often first, at most [`MODELS_AT_MOST`].
    pub by_model: Vec<(String, Used)>,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct UsedRow {
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = BigInt)]
    requests: i64,
    #[diesel(sql_type = BigInt)]
    input: i64,
    #[diesel(sql_type = BigInt)]
    output: i64,
    #[diesel(sql_type = BigInt)]
    all_requests: i64,
    #[diesel(sql_type = BigInt)]
    all_input: i64,
    #[diesel(sql_type = BigInt)]
    all_output: i64,
}

/// A sum is never below nothing, as long as nobody writes past the triggers.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

async fn counted(c: &mut Connection, scope: TenantScope, query: &str) -> Result<Vec<(String, u64)>> {
    let query = diesel::sql_query(query).bind::<Text, _>(scope.tenant_id().to_string());
    let found: Vec<Counted> = with!(c, c => query.load(c).await)?;
    Ok(found.into_iter().map(|row| (row.name, number(row.value))).collect())
}

/// What there is in a tenant now.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn read(c: &mut Connection, scope: TenantScope) -> Result<Figures> {
    let rooms = "SELECT status AS name, count(*) AS value FROM rooms WHERE tenant_id = $1 GROUP BY status";
    // Users who were deleted keep their rows, and are no participants any more.
    let participants = format!(
        "SELECT p.kind AS name, count(*) AS value FROM participants p LEFT JOIN users u ON u.id = p.user_id \
         WHERE p.tenant_id = $1 AND (u.status IS NULL OR u.status <> '{}') GROUP BY p.kind",
        UserStatus::Deleted
    );
    let tallies = "SELECT figure AS name, CAST(sum(value) AS BIGINT) AS value FROM tallies \
                   WHERE tenant_id = $1 GROUP BY figure";
    let mut figures = Figures {
        rooms: counted(c, scope, rooms).await?.into_iter().collect(),
        participants: counted(c, scope, &participants).await?.into_iter().collect(),
        ..Figures::default()
    };
    for (figure, value) in counted(c, scope, tallies).await? {
        match figure.split_once('.') {
            Some(("cores", status)) => {
                figures.cores.insert(status.to_owned(), value);
            }
            Some(("checkpoints", status)) => {
                figures.checkpoints.insert(status.to_owned(), value);
            }
            Some(("storage", "objects")) => figures.objects = value,
            Some(("storage", "bytes")) => figures.bytes = value,
            // Of a later version.
            _ => {}
        }
    }
    Ok(figures)
}

/// The whole hours within a period; of one that has none, its end twice.
fn whole_hours(since: Instant, until: Instant) -> (Instant, Instant) {
    let end = until.micros().div_euclid(HOUR_MICROS) * HOUR_MICROS;
    let past = since.micros().rem_euclid(HOUR_MICROS);
    let wait = if past == 0 { 0 } else { HOUR_MICROS - past };
    let begin = since.plus(Duration::from_micros(wait.unsigned_abs()));
    if begin.micros() < end { (begin, Instant::from_micros(end)) } else { (until, until) }
}

/// What a tenant's calls of models have used from an instant on and before another. What lies in the hours in which the two are is
/// read record by record.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn usage(c: &mut Connection, scope: TenantScope, since: Instant, until: Instant) -> Result<Usage> {
    // Parameters come first in the order of their numbers, which is what SQLite gives them.
    let query = format!(
        "SELECT model, requests, input, output, CAST(sum(requests) OVER () AS BIGINT) AS all_requests, \
         CAST(sum(input) OVER () AS BIGINT) AS all_input, CAST(sum(output) OVER () AS BIGINT) AS all_output \
         FROM (SELECT model, CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(input) AS BIGINT) AS input, \
           CAST(sum(output) AS BIGINT) AS output FROM (\
             SELECT model, requests, input_tokens AS input, output_tokens AS output FROM model_usage_hours \
             WHERE tenant_id = $1 AND hour >= $2 AND hour < $3 \
             UNION ALL SELECT model, 1, input_tokens, output_tokens FROM model_usage \
             WHERE tenant_id = $1 AND created_at >= $4 AND created_at < $2 \
             UNION ALL SELECT model, 1, input_tokens, output_tokens FROM model_usage \
             WHERE tenant_id = $1 AND created_at >= $3 AND created_at < $5) AS used \
           GROUP BY model) AS models \
         ORDER BY requests DESC, input + output DESC, model LIMIT {MODELS_AT_MOST}"
    );
    let (begin, end) = whole_hours(since, until);
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Moment, _>(Stamp(begin))
        .bind::<Moment, _>(Stamp(end))
        .bind::<Moment, _>(Stamp(since))
        .bind::<Moment, _>(Stamp(until));
    let found: Vec<UsedRow> = with!(c, c => query.load(c).await)?;
    let used = |requests, input, output| Used {
        requests: number(requests),
        input_tokens: number(input),
        output_tokens: number(output),
    };
    let all = match found.as_slice() {
        [row, ..] => used(row.all_requests, row.all_input, row.all_output),
        [] => Used::default(),
    };
    let by_model =
        found.into_iter().map(|row| (row.model, used(row.requests, row.input, row.output))).collect();
    Ok(Usage { all, by_model })
}

/// Draws together up to `most` rows of each kind that writers have added; how many there were of the more numerous kind. Whoever reads
/// meanwhile finds the same sums before and after, writers wait for nothing, and two that fold at once take different rows.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn fold(tx: &mut Transaction, _system: &SystemScope, most: i64) -> Result<usize> {
    const KINDS: [(&str, &str, &[&str]); 2] = [
        ("tallies", "tenant_id, figure", &["value"]),
        ("model_usage_hours", "tenant_id, hour, model", &["requests", "input_tokens", "output_tokens"]),
    ];
    let Engine::Postgres(c) = tx.engine()? else { return Ok(0) };
    let mut folded = 0;
    for (table, key, values) in KINDS {
        let query = diesel::sql_query(folding(table, key, values)).bind::<BigInt, _>(most);
        let found: Folded = query.get_result(c).await?;
        folded = folded.max(usize::try_from(found.number).unwrap_or(0));
    }
    Ok(folded)
}

#[derive(QueryableByName)]
struct Folded {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The sums are written in one order, so that of two that fold at once neither waits for the other for ever.
fn folding(table: &str, key: &str, values: &[&str]) -> String {
    let each =
        |told: &dyn Fn(&str) -> String| values.iter().map(|name| told(name)).collect::<Vec<_>>().join(", ");
    let names = each(&str::to_owned);
    let sums = each(&|name| format!("sum({name})::bigint"));
    let added = each(&|name| format!("{name} = {table}.{name} + excluded.{name}"));
    format!(
        "WITH picked AS MATERIALIZED (SELECT id FROM {table} WHERE id > 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED), \
         gone AS (DELETE FROM {table} WHERE id > 0 AND id IN (SELECT id FROM picked) RETURNING {key}, {names}), \
         drawn AS (INSERT INTO {table} ({key}, id, {names}) SELECT {key}, 0, {sums} FROM gone GROUP BY {key} ORDER BY {key} \
         ON CONFLICT ({key}, id) DO UPDATE SET {added}) \
         SELECT count(*) AS number FROM gone"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_its_whole_hours_and_what_lies_around_them() {
        let at = |text: &str| Instant::parse(text).unwrap();
        let hours = |since: &str, until: &str| whole_hours(at(since), at(until));
        let whole = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        assert_eq!(hours("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"), whole);
        assert_eq!(
            hours("2026-11-01T00:00:00.000001Z", "2026-11-01T02:59:59.999999Z"),
            (at("2026-11-01T01:00:00Z"), at("2026-11-01T02:00:00Z"))
        );
        for (since, until) in [
            ("2026-11-01T00:10:00Z", "2026-11-01T00:20:00Z"),
            ("2026-11-01T00:10:00Z", "2026-11-01T01:20:00Z"),
            ("2026-11-01T00:10:00Z", "2026-11-01T01:00:00Z"),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:20:00Z"),
        ] {
            assert_eq!(hours(since, until), (at(until), at(until)), "{since} {until}");
        }
    }
}
