//! The logs of Cores. A row holds the entries of one step of one execution; it is written with the step, by
//! [`crate::commit`].
//!
//! Entries are numbered within their Core and a lane. A lane's row is locked from the giving out of numbers to the commit, so
//! that whoever sees a number sees all lower ones: a reader that remembers one number per lane skips nothing, whichever
//! nodes write, and in whatever order they commit. Nodes write to different lanes and so do not wait for each other.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::logs::{KeptEntry, Level, LogEntry, LogPlace, LogSource};
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};
use serde_json::Value;

use crate::database::{Connection, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::{core_log_lanes, core_logs};

const TABLE: &str = "core_logs";

/// How many lanes there are where several nodes write.
pub const LANES: u16 = 16;

/// How much later than its first entry a row may have been written.
const ROW_SPAN_MICROS: i64 = 60_000_000;

/// A row without its number.
#[derive(Debug)]
pub(crate) struct LogRow {
    pub(crate) tenant_id: String,
    pub(crate) core_id: String,
    pub(crate) lane: i32,
    pub(crate) entry_count: i32,
    pub(crate) level: i32,
    pub(crate) execution_id: String,
    pub(crate) at: Stamp,
    pub(crate) entries: Vec<u8>,
}

/// An entry as a row holds it: microseconds, level, whether the runtime says it, flow, block, message, fields as text.
type Encoded = (i64, u8, bool, Option<String>, Option<String>, String, Option<String>);

impl LogRow {
    pub(crate) fn of(
        (tenant, core): (&str, &str),
        execution: ExecutionId,
        lane: u16,
        at: Instant,
        entries: &[LogEntry],
    ) -> Result<Self> {
        let encoded: Vec<Encoded> = entries
            .iter()
            .map(|entry| {
                let text = |text: &std::sync::Arc<str>| text_storable(text.to_string());
                (
                    entry.at.micros(),
                    entry.level.rank(),
                    entry.source == LogSource::Runtime,
                    entry.flow.as_ref().map(text),
                    entry.block.as_ref().map(text),
                    text_storable(entry.message.clone()),
                    (!entry.fields.is_null()).then(|| storable(entry.fields.clone()).to_string()),
                )
            })
            .collect();
        let level = entries.iter().map(|entry| entry.level).max().unwrap_or(Level::Debug);
        let encoded = rmp_serde::to_vec(&encoded);
        Ok(Self {
            tenant_id: tenant.to_owned(),
            core_id: core.to_owned(),
            lane: i32::from(lane),
            entry_count: i32::try_from(entries.len()).unwrap_or(i32::MAX),
            level: i32::from(level.rank()),
            execution_id: execution.to_string(),
            at: Stamp(at),
            entries: encoded
                .map_err(|error| Error::Setup(format!("a log entry cannot be encoded: {error}")))?,
        })
    }
}

/// Entries that were written together.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// When they were written.
    pub at: Instant,
    /// In the order of their numbers.
    pub entries: Vec<KeptEntry>,
}

/// Which rows are read. A row has entries of one execution; of the others it may have some that fit and some that do not.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// Those that hold an entry of at least this level.
    pub level: Option<Level>,
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// Those that may hold an entry of this instant or later.
    pub since: Option<Instant>,
    /// Those that may hold an entry from before this instant.
    pub until: Option<Instant>,
}

type Row = (i32, i64, i32, String, Stamp, Vec<u8>);

fn chunk((lane, last, count, execution, at, bytes): Row) -> Result<Chunk> {
    let id = format!("{lane}-{last}");
    let execution_id = column(TABLE, "execution_id", &id, &execution)?;
    let lane = u16::try_from(lane).map_err(|error| Error::inconsistent(TABLE, "lane", &id, error))?;
    let encoded: Vec<Encoded> =
        rmp_serde::from_slice(&bytes).map_err(|error| Error::inconsistent(TABLE, "entries", &id, error))?;
    let first = last - i64::from(count) + 1;
    let entries = (first..).zip(encoded).map(|(number, entry)| {
        let (at, level, runtime, flow, block, message, fields) = entry;
        let fields = fields.map(|text| serde_json::from_str(&text)).transpose();
        Ok(KeptEntry {
            place: LogPlace { lane, number },
            execution_id,
            entry: LogEntry {
                at: Instant::from_micros(at),
                level: Level::of_rank(level),
                source: if runtime { LogSource::Runtime } else { LogSource::Program },
                flow: flow.map(Into::into),
                block: block.map(Into::into),
                message,
                fields: fields
                    .map_err(|error| Error::inconsistent(TABLE, "entries", &id, error))?
                    .unwrap_or(Value::Null),
            },
        })
    });
    Ok(Chunk { at: at.into(), entries: entries.collect::<Result<_>>()? })
}

/// The lanes of a Core's log, each with the last number that was given out.
#[boxed]
pub async fn lanes(c: &mut Connection, scope: TenantScope, core: CoreId) -> Result<Vec<LogPlace>> {
    let query = core_log_lanes::table
        .filter(core_log_lanes::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_log_lanes::core_id.eq(core.to_string()))
        .order(core_log_lanes::lane)
        .select((core_log_lanes::lane, core_log_lanes::last));
    let rows: Vec<(i32, i64)> = with!(c, c => query.load(c).await)?;
    rows.into_iter()
        .map(|(lane, number)| {
            let lane = u16::try_from(lane)
                .map_err(|error| Error::inconsistent("core_log_lanes", "lane", core.to_string(), error))?;
            Ok(LogPlace { lane, number })
        })
        .collect()
}

/// Rows of a lane that have entries after a number, in order.
#[boxed]
pub async fn after(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    place: LogPlace,
    rows: i64,
) -> Result<Vec<Chunk>> {
    let query = core_logs::table
        .filter(core_logs::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_logs::core_id.eq(core.to_string()))
        .filter(core_logs::lane.eq(i32::from(place.lane)))
        .filter(core_logs::last.gt(place.number))
        .order(core_logs::last)
        .limit(rows)
        .select((
            core_logs::lane,
            core_logs::last,
            core_logs::entry_count,
            core_logs::execution_id,
            core_logs::at,
            core_logs::entries,
        ));
    let rows: Vec<Row> = with!(c, c => query.load(c).await)?;
    rows.into_iter().map(chunk).collect()
}

/// Rows of a lane that have entries before a number, the last first.
#[boxed]
pub async fn before(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    place: LogPlace,
    filter: &LogFilter,
    rows: i64,
) -> Result<Vec<Chunk>> {
    macro_rules! lane {
        () => {{
            let mut query = core_logs::table
                .filter(core_logs::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_logs::core_id.eq(core.to_string()))
                .filter(core_logs::lane.eq(i32::from(place.lane)))
                .select((
                    core_logs::lane,
                    core_logs::last,
                    core_logs::entry_count,
                    core_logs::execution_id,
                    core_logs::at,
                    core_logs::entries,
                ))
                .into_boxed();
            if let Some(level) = filter.level {
                query = query.filter(core_logs::level.ge(i32::from(level.rank())));
            }
            if let Some(id) = filter.execution_id {
                query = query.filter(core_logs::execution_id.eq(id.to_string()));
            }
            if let Some(since) = filter.since {
                query = query.filter(core_logs::at.ge(Stamp(since)));
            }
            if let Some(until) = filter.until {
                let until = Instant::from_micros(until.micros().saturating_add(ROW_SPAN_MICROS));
                query = query.filter(core_logs::at.lt(Stamp(until)));
            }
            query
        }};
    }
    // The number may be one in the middle of a row.
    let middle: Vec<Row> = with!(c, c => lane!()
        .filter(core_logs::last.ge(place.number)).order(core_logs::last).limit(1).load(c).await)?;
    let whole: Vec<Row> = with!(c, c => lane!()
        .filter(core_logs::last.lt(place.number)).order(core_logs::last.desc()).limit(rows).load(c).await)?;
    middle.into_iter().chain(whole).map(chunk).collect()
}

/// Rows of an execution, the last first, before an instant.
#[boxed]
pub async fn of_execution(
    c: &mut Connection,
    scope: TenantScope,
    execution: ExecutionId,
    until: Option<Instant>,
    rows: i64,
) -> Result<Vec<Chunk>> {
    macro_rules! query {
        () => {{
            let mut query = core_logs::table
                .filter(core_logs::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(core_logs::execution_id.eq(execution.to_string()))
                .order((core_logs::at.desc(), core_logs::lane.desc(), core_logs::last.desc()))
                .limit(rows)
                .select((
                    core_logs::lane,
                    core_logs::last,
                    core_logs::entry_count,
                    core_logs::execution_id,
                    core_logs::at,
                    core_logs::entries,
                ))
                .into_boxed();
            if let Some(until) = until {
                query = query.filter(core_logs::at.le(Stamp(until)));
            }
            query
        }};
    }
    let rows: Vec<Row> = with!(c, c => query!().load(c).await)?;
    rows.into_iter().map(chunk).collect()
}
