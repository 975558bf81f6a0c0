//! What executions did: their journals, and the machines that are kept beside them.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::execution::Execution;
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::large::Object;
use crate::schema::{execution_snapshots, journal};

/// The chunks of a journal from an entry on, in order, as (number of the first entry, entries).
#[boxed]
pub async fn journal(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    from: i64,
    rows: i64,
) -> Result<Vec<(i64, Vec<u8>)>> {
    Ok(journal_within(c, scope, id, (from, i64::MAX), rows, usize::MAX).await?.unwrap_or_default())
}

/// The same of those that begin before another entry, where they have no more than so many bytes together; none where they have
/// more. What lies in the object store is not read then.
#[boxed]
pub async fn journal_within(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    (from, until): (i64, i64),
    rows: i64,
    most: usize,
) -> Result<Option<Vec<(i64, Vec<u8>)>>> {
    let query = journal::table
        .filter(journal::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(journal::execution_id.eq(id.to_string()))
        .filter(journal::seq.ge(from))
        .filter(journal::seq.lt(until))
        .order(journal::seq)
        .limit(rows)
        .select((journal::seq, journal::entries));
    let found: Vec<(i64, Vec<u8>)> = with!(c, c => query.load(c).await)?;
    let length = |bytes: &Vec<u8>| match Object::referred(bytes) {
        Some(object) => usize::try_from(object.length).unwrap_or(usize::MAX),
        None => bytes.len(),
    };
    if found.iter().map(|(_, bytes)| length(bytes)).fold(0, usize::saturating_add) > most {
        return Ok(None);
    }
    let mut chunks = Vec::with_capacity(found.len());
    for (seq, bytes) in found {
        chunks.push((seq, c.open(scope.tenant_id(), bytes).await?));
    }
    Ok(Some(chunks))
}

/// The last machine that is kept before an entry, as (number of the entry that comes after it, machine); none where all that is
/// kept of the journal begins with the execution.
#[boxed]
pub async fn kept_machine(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    at_most: i64,
) -> Result<Option<(i64, Vec<u8>)>> {
    let query = execution_snapshots::table
        .filter(execution_snapshots::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(execution_snapshots::execution_id.eq(id.to_string()))
        .filter(execution_snapshots::seq.le(at_most))
        .order(execution_snapshots::seq.desc())
        .select((execution_snapshots::seq, execution_snapshots::machine));
    Ok(with!(c, c => query.first(c).await.optional())?)
}

/// The number of the first entry that is kept of a journal; none where there is none.
#[boxed]
pub async fn journal_start(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Option<i64>> {
    let query = journal::table
        .filter(journal::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(journal::execution_id.eq(id.to_string()))
        .order(journal::seq)
        .select(journal::seq);
    Ok(with!(c, c => query.first(c).await.optional())?)
}

/// The number of the chunk that holds an entry.
#[boxed]
pub async fn chunk_of(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    seq: i64,
) -> Result<Option<i64>> {
    let query = journal::table
        .filter(journal::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(journal::execution_id.eq(id.to_string()))
        .filter(journal::seq.le(seq))
        .order(journal::seq.desc())
        .select(journal::seq);
    Ok(with!(c, c => query.first(c).await.optional())?)
}

/// Which rows of journals are listed.
#[derive(Debug, Clone, Default)]
pub struct JournalFilter {
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// Durable at or after this instant.
    pub since: Option<Instant>,
    /// Durable before this instant.
    pub until: Option<Instant>,
}

/// A row of a journal, without its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalRow {
    /// When it became durable.
    pub at: Instant,
    /// The execution.
    pub execution: ExecutionId,
    /// The number of its first entry.
    pub seq: i64,
}

/// The rows of the journals of a Core's executions, the last first, from a place on, which is included.
#[boxed]
pub async fn journal_rows(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    filter: &JournalFilter,
    from: Option<(Instant, ExecutionId, i64)>,
    rows: i64,
) -> Result<Vec<JournalRow>> {
    macro_rules! query {
        () => {{
            let mut query = journal::table
                .filter(journal::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(journal::core_id.eq(core.to_string()))
                .filter(journal::at.is_not_null())
                .order((journal::at.desc(), journal::execution_id.desc(), journal::seq.desc()))
                .limit(rows)
                .select((journal::at.assume_not_null(), journal::execution_id, journal::seq))
                .into_boxed();
            if let Some(id) = filter.execution_id {
                query = query.filter(journal::execution_id.eq(id.to_string()));
            }
            if let Some(since) = filter.since {
                query = query.filter(journal::at.ge(Stamp(since)));
            }
            if let Some(until) = filter.until {
                query = query.filter(journal::at.lt(Stamp(until)));
            }
            if let Some((at, execution, seq)) = from {
                let execution = execution.to_string();
                let in_order = journal::execution_id
                    .lt(execution.clone())
                    .or(journal::execution_id.eq(execution).and(journal::seq.le(seq)));
                query = query
                    .filter(journal::at.le(Stamp(at)))
                    .filter(journal::at.lt(Stamp(at)).or(in_order.nullable()));
            }
            query
        }};
    }
    let found: Vec<(Stamp, String, i64)> = with!(c, c => query!().load(c).await)?;
    found
        .into_iter()
        .map(|(at, id, seq)| {
            Ok(JournalRow { at: at.into(), execution: column("journal", "execution_id", &id, &id)?, seq })
        })
        .collect()
}

/// The number of the first entry behind a row of a journal; none where that is the last row.
#[boxed]
pub async fn row_end(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    seq: i64,
) -> Result<Option<i64>> {
    let query = journal::table
        .filter(journal::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(journal::execution_id.eq(id.to_string()))
        .filter(journal::seq.gt(seq))
        .order(journal::seq)
        .select(journal::seq);
    Ok(with!(c, c => query.first(c).await.optional())?)
}

/// Writes a row of entries beside what commits write.
pub(super) async fn write_row(
    tx: &mut Transaction,
    scope: TenantScope,
    execution: &Execution,
    (seq, entries): (i64, Vec<u8>),
    at: Instant,
) -> Result<()> {
    let row = (
        journal::tenant_id.eq(scope.tenant_id().to_string()),
        journal::execution_id.eq(execution.id.to_string()),
        journal::seq.eq(seq),
        journal::entries.eq(entries),
        journal::core_id.eq(Some(execution.core_id.to_string())),
        journal::at.eq(Some(Stamp(at))),
    );
    with!(tx, c => diesel::insert_into(journal::table).values(row).execute(c).await)?;
    Ok(())
}
