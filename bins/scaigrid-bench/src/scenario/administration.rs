//! The audit log and the figures of a tenant that has very much of both, as those who administer it read them.
//!
//! Of everything that is searched for as something rare there are two hundred records, spread evenly from the oldest to the newest.
//! Pages deep inside begin in the middle of the log. On PostgreSQL it is also told how many entries of which indexes a page costs.

mod stock;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::host::Host;
use super::reads::{self, Reading};
use super::{Bench, filling};
use crate::client::Target;
use crate::load::Extent;
use crate::options::{Engine, Scenario};
use crate::report::{Load, Walk};
use crate::scratch::Place;
use stock::Stock;

/// Records on a page.
const PAGE: usize = 50;
/// How long a reading may take.
const LIMIT: Duration = Duration::from_mins(5);
/// After how long PostgreSQL's sessions have told what they counted, though they do nothing.
const COUNTED: Duration = Duration::from_secs(11);

/// What is read. `MIDDLE` and `EVENTS` stand for cursors in the middle of the lists `/v1/admin/audit` and `/v1/audit/events`,
/// `DAY` for one day there, `YEAR` for the longest period that there is of figures, and `ODD` for one with broken hours.
const PAGES: [(&str, &str); 31] = [
    ("stats", "/v1/admin/stats"),
    ("stats, 400 days", "/v1/admin/stats?YEAR"),
    ("stats, broken hours", "/v1/admin/stats?ODD"),
    ("audit", "/v1/admin/audit?"),
    ("audit, deep inside", "/v1/admin/audit?cursor=MIDDLE&"),
    ("action, rare", "/v1/admin/audit?action=tenant.update&"),
    ("action, rare, deep inside", "/v1/admin/audit?action=tenant.update&cursor=MIDDLE&"),
    ("action, frequent", "/v1/admin/audit?action=core.start&"),
    ("action, frequent, deep inside", "/v1/admin/audit?action=core.start&cursor=MIDDLE&"),
    ("actor, rare", "/v1/admin/audit?actor_id=usr_rare&"),
    ("actor, rare, deep inside", "/v1/admin/audit?actor_id=usr_rare&cursor=MIDDLE&"),
    ("actor, frequent", "/v1/admin/audit?actor_id=usr_odd&"),
    ("actor, frequent, deep inside", "/v1/admin/audit?actor_id=usr_odd&cursor=MIDDLE&"),
    ("type, rare", "/v1/admin/audit?resource_type=tenant&"),
    ("type, rare, deep inside", "/v1/admin/audit?resource_type=tenant&cursor=MIDDLE&"),
    ("type, frequent", "/v1/admin/audit?resource_type=core&"),
    ("type, frequent, deep inside", "/v1/admin/audit?resource_type=core&cursor=MIDDLE&"),
    ("resource", "/v1/admin/audit?resource_id=ten_rare&"),
    ("resource, deep inside", "/v1/admin/audit?resource_id=ten_rare&cursor=MIDDLE&"),
    ("a day", "/v1/admin/audit?DAY&"),
    ("a day, type", "/v1/admin/audit?DAY&resource_type=core&"),
    ("a day, actor", "/v1/admin/audit?DAY&actor_id=usr_odd&"),
    ("actor and action", "/v1/admin/audit?actor_id=usr_odd&action=core.update&"),
    ("actor and action, deep inside", "/v1/admin/audit?actor_id=usr_odd&action=core.update&cursor=MIDDLE&"),
    ("actor and type", "/v1/admin/audit?actor_id=usr_rare&resource_type=tenant&"),
    ("status, rare", "/v1/audit/events?status=FAILURE&"),
    ("status, rare, deep inside", "/v1/audit/events?status=FAILURE&cursor=EVENTS&"),
    ("address, rare", "/v1/audit/events?ip_address=192.0.2.77&"),
    ("address, rare, deep inside", "/v1/audit/events?ip_address=192.0.2.77&cursor=EVENTS&"),
    ("module, rare", "/v1/audit/events?module=scaibot&"),
    ("module, rare, deep inside", "/v1/audit/events?module=scaibot&cursor=EVENTS&"),
];

/// A server with a tenant whose log is long.
struct Archive {
    host: Host,
    place: Place,
    /// The key of the tenant's admin.
    key: String,
    /// What the words in the paths stand for.
    words: Vec<(&'static str, String)>,
}

/// Measures, on a server with a database of its own.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Administration) {
        return Ok(());
    }
    let records = bench.options.records(engine);
    let archive = Archive::fill(bench, engine, records).await?;
    let mut before = archive.entries().await?;
    for (name, path) in PAGES {
        let load = archive.read(bench, engine, name, path).await?;
        let after = archive.entries().await?;
        let walk = Walk::of(engine, name, records, &load, (&before, &after));
        let mut report = bench.report.borrow_mut();
        report.loads.push(load);
        report.walks.push(walk);
        before = after;
    }
    archive.host.child.stop().await
}

impl Archive {
    async fn fill(bench: &Bench<'_>, engine: Engine, records: u32) -> anyhow::Result<Self> {
        let place = bench.databases.fresh(engine).await?;
        let host = Host::start(&bench.server, &place).await?;
        let email = json!({"email": "keeper@bench.example", "roles": ["tenant_admin"]});
        let user = text(&host.post("/v1/users", &email).await?["id"])?;
        let key = json!({"name": "bench", "assigned_user_id": user});
        let key = text(&host.post("/v1/api-keys", &key).await?["key"])?;
        host.child.stop().await?;
        let stock = Stock { records, user, until: OffsetDateTime::now_utc() };
        eprintln!("a tenant with {records} audit records on {} …", engine.name());
        filling::run(&place, stock.statements(engine)).await?;
        let host = Host::start(&bench.server, &place).await?;
        // Figures that were filled are drawn together once.
        tokio::time::sleep(COUNTED).await;
        let middle = stock.middle();
        let period = |since, until| -> anyhow::Result<String> {
            Ok(format!("since={}&until={}", told(since)?, told(until)?))
        };
        let odd = time::Duration::minutes(17);
        let mut archive = Self { host, place, key, words: Vec::new() };
        archive.words = vec![
            ("DAY", period(middle, middle + time::Duration::days(1))?),
            ("YEAR", period(stock.until - time::Duration::days(400), stock.until)?),
            ("ODD", period(middle + odd, middle + time::Duration::days(30) + 2 * odd)?),
            // Last, since in a cursor there can be any word.
            ("MIDDLE", archive.cursor("/v1/admin/audit", "meta").await?),
            ("EVENTS", archive.cursor("/v1/audit/events", "pagination").await?),
        ];
        Ok(archive)
    }

    /// Where a list goes on behind a page that ends in its middle.
    async fn cursor(&self, list: &str, place: &str) -> anyhow::Result<String> {
        let path = format!("{list}?resource_id=ten_rare&limit=100");
        let answer: Value = serde_json::from_slice(&self.host.bytes_for(&self.key, &path).await?)?;
        text(&answer[place]["next_cursor"]).with_context(|| format!("{path} ends with its first page"))
    }

    /// Reads one page again and again, with one client.
    async fn read(&self, bench: &Bench<'_>, engine: Engine, name: &str, path: &str) -> anyhow::Result<Load> {
        let mut path =
            self.words.iter().fold(path.to_owned(), |path, (word, meaning)| path.replace(word, meaning));
        if path.ends_with(['?', '&']) {
            path = format!("{path}limit={PAGE}");
        }
        let body = self.host.bytes_for(&self.key, &path).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let items = answer["data"].as_array().or_else(|| answer["data"]["items"].as_array()).map(Vec::len);
        ensure!(
            path.contains("/stats") || items == Some(PAGE),
            "{path}: {items:?} items on a page, not {PAGE}"
        );
        let reading = Reading { name: name.to_owned(), path, keys: Rc::from([self.key.clone()]) };
        let target = Target { key: self.key.clone(), ..self.host.target.clone() };
        let clients = reads::clients(&target, &reading, &(body.len()..=body.len()), 1).await?;
        let probe = self.host.probe(&self.place).await?;
        let operations = if bench.options.quick { 100 } else { 2_000 };
        let extent = Extent::Count { operations, limit: LIMIT };
        let load = bench.load(name, Some(engine), clients, extent, &probe).await;
        load.with_context(|| format!("the server's log:\n{}", self.host.child.tail()))
    }

    /// How many entries of each index of the log, and of the figures, have been read so far; of SQLite that is not known.
    async fn entries(&self) -> anyhow::Result<BTreeMap<String, i64>> {
        #[derive(QueryableByName)]
        struct Entries {
            #[diesel(sql_type = Text)]
            name: String,
            #[diesel(sql_type = BigInt)]
            entries: i64,
        }
        const QUERY: &str = "SELECT indexrelname::text AS name, idx_tup_read AS entries FROM pg_stat_user_indexes \
                             WHERE relname IN ('audit_records', 'tallies', 'model_usage_hours', 'model_usage')";
        let Some(mut connection) = self.place.counters().await? else { return Ok(BTreeMap::new()) };
        tokio::time::sleep(COUNTED).await;
        let found: Vec<Entries> = diesel::sql_query(QUERY).load(&mut connection).await?;
        Ok(found.into_iter().map(|row| (row.name, row.entries)).collect())
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

/// An instant as it stands in a query.
fn told(at: OffsetDateTime) -> anyhow::Result<String> {
    Ok(at.format(&Rfc3339)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_name_of_its_own() {
        for (number, (name, path)) in PAGES.iter().enumerate() {
            assert!(path.starts_with("/v1/"), "{path}");
            assert!(PAGES[..number].iter().all(|(other, _)| other != name), "{name}");
        }
    }

    #[test]
    fn instants_are_told_without_an_offset_that_a_query_would_break() {
        assert_eq!(told(OffsetDateTime::UNIX_EPOCH).unwrap(), "1970-01-01T00:00:00Z");
    }
}
