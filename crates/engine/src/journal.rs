//! What an execution did, as people read it.

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::{Connection, executions};
use scaigrid_runtime::journal;
use scaigrid_scope::{ExecutionId, TenantScope};
use serde_json::json;

use crate::{Engine, Error};

/// Chunks that are read at once.
const CHUNKS: i64 = 16;

/// An entry of an execution's journal.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// Its number.
    pub seq: i64,
    /// What it says.
    pub entry: serde_json::Value,
}

/// Entries of a journal in order.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// Whether there are more after them.
    pub more: bool,
    /// Whether the first one stands for what is not kept any more, up to its number.
    pub cut: bool,
}

impl Engine {
    /// Entries of an execution's journal, from a number on.
    ///
    /// # Errors
    /// There is no such execution, or the database.
    #[boxed]
    pub async fn history(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        from: i64,
        limit: usize,
    ) -> Result<HistoryPage, Error> {
        let mut connection = self.0.database.read().await?;
        executions::glance(&mut connection, scope, id).await?.ok_or(Error::NoExecution)?;
        entries(&mut connection, scope, id, from, limit).await
    }
}

/// The same of an execution that is known to be there.
pub(crate) async fn entries(
    connection: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
    from: i64,
    limit: usize,
) -> Result<HistoryPage, Error> {
    let mut next = executions::chunk_of(connection, scope, id, from).await?.unwrap_or(0);
    let (mut entries, mut cut) = (Vec::new(), false);
    loop {
        // A chunk may be one large entry: few are held at once.
        let chunks = executions::journal(connection, scope, id, next, CHUNKS).await?;
        let Some((last, _)) = chunks.last() else { break };
        next = last + 1;
        // What a long life has left behind is not kept, and that is said.
        if let Some(begins) = chunks.first().map(|(seq, _)| *seq).filter(|begins| *begins > from)
            && entries.is_empty()
        {
            cut = true;
            entries.push(HistoryEntry { seq: begins - 1, entry: json!({"type": "cut", "entries": begins}) });
        }
        for (seq, bytes) in chunks {
            let chunk = journal::decode_chunk(&bytes).map_err(|error| Error::state(id, &error))?;
            for (seq, entry) in (seq..).zip(chunk).filter(|(seq, _)| *seq >= from) {
                if entries.len() == limit {
                    return Ok(HistoryPage { entries, more: true, cut });
                }
                entries.push(HistoryEntry { seq, entry: entry.to_json() });
            }
        }
    }
    Ok(HistoryPage { entries, more: false, cut })
}
