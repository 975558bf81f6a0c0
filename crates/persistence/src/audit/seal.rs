//! Sealing: records that have been written are linked into their chains.
//!
//! Records come with their change, in any order and on any node; the queue `audit_unsealed` comes with them. Whoever
//! seals holds the root, so that there is one at a time, takes the oldest of the queue, and writes links, heads and root in
//! one transaction. It does not matter where a process dies or how late a record is committed: what is in the queue
//! is in no chain, and what is in a chain is not in the queue.
//!
//! What somebody has tampered with is sealed on all the same, for a change must not wait until that is settled; but a head or
//! root that did not fit before gets no code that does.

use std::collections::{BTreeMap, HashSet};

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Text};
use diesel_async::RunQueryDsl;
use scaigrid_audit::chain::{Chain, Digest, Entry, Head, Keys, Seal, link};
use scaigrid_scope::{Instant, SystemScope};

use super::heads::{self, ChainScope, Patience, StoredHead, unknown_key};
use super::links::{self, Found};
use crate::database::{Connection, Engine, Transaction, with};
use crate::error::Result;
use crate::schema::{audit_seals, audit_unsealed};

/// What came of an attempt to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// Somebody else is at it.
    ByAnother,
    /// So many records left the queue.
    Records(usize),
}

/// Whether there may be something to seal: a cheap look before the write that sealing is.
#[boxed]
pub async fn waits(c: &mut Connection, _: &SystemScope) -> Result<bool> {
    let query = audit_unsealed::table.select(audit_unsealed::record_id);
    let found: Option<String> = with!(c, c => query.first(c).await.optional())?;
    Ok(found.is_some())
}

/// A link to be written.
struct NewSeal {
    chain: String,
    position: i64,
    record_id: String,
    digest: Vec<u8>,
}

/// Links up to `most` of the records that wait into their chains, the oldest first.
///
/// # Errors
/// [`crate::Error::Setup`] when the chains stand under a key that is not known, or the database's.
#[boxed]
pub async fn seal(
    tx: &mut Transaction,
    system: &SystemScope,
    keys: &Keys,
    nonce: Digest,
    now: Instant,
    most: i64,
) -> Result<Sealed> {
    let Some(root) = heads::hold_root(tx, keys, nonce, Patience::Leave).await? else {
        return Ok(Sealed::ByAnother);
    };
    if !keys.knows(&root.key_id) {
        return Err(unknown_key(&root.key_id));
    }
    let waiting: Vec<(String, String)> = {
        let query = audit_unsealed::table
            .order(audit_unsealed::record_id)
            .limit(most)
            .select((audit_unsealed::record_id, audit_unsealed::chain));
        with!(tx, c => query.load(c).await)?
    };
    if waiting.is_empty() {
        return Ok(Sealed::Records(0));
    }
    let ids: Vec<String> = waiting.iter().map(|(id, _)| id.clone()).collect();
    let mut by_chain: BTreeMap<String, Vec<(String, Entry)>> = BTreeMap::new();
    let already = sealed_before(tx, &ids).await?;
    let found = links::records(tx, &ids).await?;
    for (id, queued_for) in waiting {
        if already.contains(&id) {
            tracing::error!(record = %id, "an audit record that is sealed already was put into the queue again");
            continue;
        }
        let (chain, entry) = match found.get(&id) {
            Some(Found::Row(row)) => (row.chain(), row.entry()),
            Some(Found::Unreadable) | None => {
                tracing::error!(record = %id, "an audit record is gone, or cannot be read, before it was sealed");
                (queued_for, Entry::lost(&id))
            }
        };
        by_chain.entry(chain).or_default().push((id, entry));
    }
    let mut seals = Vec::with_capacity(ids.len());
    let mut changes: Vec<(StoredHead, Option<Head>)> = Vec::new();
    for (name, entries) in by_chain {
        // A name that is none can only come from a queue that was tampered with: what it names is dropped, and told above.
        let Ok(chain) = name.parse::<Chain>() else { continue };
        let stored = heads::head(tx, ChainScope::of_system(system, chain)).await?;
        let (mut head, trusted) = end_of(tx, system, keys, chain, stored.as_ref()).await?;
        for (record_id, entry) in entries {
            let position = head.count + 1;
            let digest = link(&chain, position, &head.last, &entry);
            head = Head { count: position, last: digest, ..head };
            let digest = digest.0.to_vec();
            seals.push(NewSeal { chain: name.clone(), position: position.cast_signed(), record_id, digest });
        }
        head.at = now;
        let seal = if trusted { keys.seal(&root.key_id, &name, &head) } else { None };
        let seal = seal.unwrap_or_else(|| Seal { key_id: root.key_id.clone(), code: Digest::ZERO });
        changes.push((StoredHead { chain: name, head, seal }, stored.map(|stored| stored.head)));
    }
    let advanced = keys
        .advance(
            &root,
            nonce,
            changes.iter().map(|(after, before)| (after.chain.as_str(), before.as_ref(), &after.head)),
        )
        .ok_or_else(|| unknown_key(&root.key_id))?;
    let count = ids.len();
    write(tx, seals, ids).await?;
    for (after, _) in &changes {
        heads::put_head(tx, after).await?;
    }
    heads::put_root(tx, &advanced).await?;
    Ok(Sealed::Records(count))
}

/// Where a chain goes on, and whether its head was found as it was sealed. A head that was put back, or removed, does not
/// make the links that are there be written twice.
async fn end_of(
    tx: &mut Transaction,
    system: &SystemScope,
    keys: &Keys,
    chain: Chain,
    stored: Option<&StoredHead>,
) -> Result<(Head, bool)> {
    let last = links::last(tx, ChainScope::of_system(system, chain)).await?;
    let (head, sealed) = match stored {
        Some(stored) => (stored.head, keys.is_sealed(&stored.chain, &stored.head, &stored.seal)),
        None => (Head::EMPTY, true),
    };
    let (count, digest) = last.unwrap_or((head.cut, head.cut_last));
    if sealed && (count, digest) == (head.count, head.last) {
        return Ok((head, true));
    }
    tracing::error!(%chain, "the audit chain does not end where its head says; it will not verify any more");
    // Never below the head: a tail that was cut leaves a gap.
    let goes_on = if count > head.count { Head { count, last: digest, ..head } } else { head };
    Ok((goes_on, false))
}

async fn sealed_before(tx: &mut Transaction, ids: &[String]) -> Result<HashSet<String>> {
    let query =
        audit_seals::table.filter(audit_seals::record_id.eq_any(ids.to_vec())).select(audit_seals::record_id);
    let found: Vec<String> = with!(tx, c => query.load(c).await)?;
    Ok(found.into_iter().collect())
}

async fn write(tx: &mut Transaction, seals: Vec<NewSeal>, ids: Vec<String>) -> Result<()> {
    match tx.engine()? {
        Engine::Postgres(c) => {
            let (mut chains, mut positions) = (Vec::new(), Vec::new());
            let (mut records, mut digests) = (Vec::new(), Vec::new());
            for seal in seals {
                chains.push(seal.chain);
                positions.push(seal.position);
                records.push(seal.record_id);
                digests.push(seal.digest);
            }
            diesel::sql_query(
                "INSERT INTO audit_seals (chain, position, record_id, digest) SELECT * FROM UNNEST($1, $2, $3, $4)",
            )
            .bind::<Array<Text>, _>(chains)
            .bind::<Array<BigInt>, _>(positions)
            .bind::<Array<Text>, _>(records)
            .bind::<Array<Binary>, _>(digests)
            .execute(c)
            .await?;
            diesel::delete(audit_unsealed::table.filter(audit_unsealed::record_id.eq_any(ids)))
                .execute(c)
                .await?;
        }
        Engine::Sqlite(c) => {
            c.spawn_blocking(move |c| Ok(write_rows(c, &seals, &ids))).await??;
        }
    }
    Ok(())
}

/// Row by row with prepared statements, which is what SQLite is fastest at.
fn write_rows(c: &mut diesel::SqliteConnection, seals: &[NewSeal], ids: &[String]) -> QueryResult<()> {
    use diesel::RunQueryDsl as Sync;

    for seal in seals {
        let row = (
            audit_seals::chain.eq(&seal.chain),
            audit_seals::position.eq(seal.position),
            audit_seals::record_id.eq(&seal.record_id),
            audit_seals::digest.eq(&seal.digest),
        );
        Sync::execute(diesel::insert_into(audit_seals::table).values(row), c)?;
    }
    for id in ids {
        Sync::execute(diesel::delete(audit_unsealed::table.find(id)), c)?;
    }
    Ok(())
}
