//! Vectors of texts that Cores have looked for, by what the texts are: a cache, which costs money to fill.
//!
//! A vector belongs to a Core and to a *space*, which names the model that made it: those of different spaces have nothing to
//! do with each other.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{CoreId, Instant, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::schema::core_vectors;

/// How many vectors are asked for at once.
const CHUNK: usize = 500;

/// A vector that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// What its text is known by.
    pub hash: String,
    /// The vector.
    pub vector: Vec<f32>,
    /// When it was last looked for, about.
    pub used_at: Instant,
}

fn written(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|component| component.to_le_bytes()).collect()
}

fn read(hash: &str, bytes: &[u8]) -> Result<Vec<f32>> {
    let damaged = || Error::Inconsistent {
        table: "core_vectors",
        column: "vector",
        id: hash.to_owned(),
        reason: "its length is not one of 32-bit numbers".to_owned(),
    };
    if !bytes.len().is_multiple_of(4) {
        return Err(damaged());
    }
    bytes
        .chunks_exact(4)
        .map(|four| Ok(f32::from_le_bytes(four.try_into().map_err(|_| damaged())?)))
        .collect()
}

/// The vectors of texts, as far as they are kept.
#[boxed]
pub async fn find(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    space: &str,
    hashes: &[String],
) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for some in hashes.chunks(CHUNK) {
        let query = core_vectors::table
            .filter(core_vectors::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(core_vectors::core_id.eq(core.to_string()))
            .filter(core_vectors::space.eq(space))
            .filter(core_vectors::hash.eq_any(some.to_vec()))
            .order(core_vectors::hash)
            .select((core_vectors::hash, core_vectors::vector, core_vectors::used_at));
        let rows: Vec<(String, Vec<u8>, Stamp)> = with!(c, c => query.load(c).await)?;
        for (hash, bytes, used_at) in rows {
            let vector = read(&hash, &bytes)?;
            found.push(Kept { hash, vector, used_at: used_at.into() });
        }
    }
    Ok(found)
}

/// Keeps vectors; those that are kept already stay.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    space: &str,
    made: &[(String, Vec<f32>)],
    now: Instant,
) -> Result<()> {
    for (hash, vector) in made {
        let row = (
            core_vectors::tenant_id.eq(scope.tenant_id().to_string()),
            core_vectors::core_id.eq(core.to_string()),
            core_vectors::space.eq(space),
            core_vectors::hash.eq(hash),
            core_vectors::vector.eq(written(vector)),
            core_vectors::used_at.eq(Stamp(now)),
        );
        let insert = diesel::insert_into(core_vectors::table).values(row).on_conflict_do_nothing();
        with!(tx, c => insert.execute(c).await)?;
    }
    Ok(())
}

/// Notes that vectors were looked for.
#[boxed]
pub async fn note_use(
    tx: &mut Transaction,
    scope: TenantScope,
    core: CoreId,
    space: &str,
    hashes: &[String],
    now: Instant,
) -> Result<()> {
    for some in hashes.chunks(CHUNK) {
        let rows = core_vectors::table
            .filter(core_vectors::tenant_id.eq(scope.tenant_id().to_string()))
            .filter(core_vectors::core_id.eq(core.to_string()))
            .filter(core_vectors::space.eq(space))
            .filter(core_vectors::hash.eq_any(some.to_vec()));
        let update = diesel::update(rows).set(core_vectors::used_at.eq(Stamp(now)));
        with!(tx, c => update.execute(c).await)?;
    }
    Ok(())
}

/// Removes a Core's vectors that nobody has looked for since an instant.
#[boxed]
pub async fn forget(tx: &mut Transaction, scope: TenantScope, core: CoreId, since: Instant) -> Result<usize> {
    let rows = core_vectors::table
        .filter(core_vectors::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_vectors::core_id.eq(core.to_string()))
        .filter(core_vectors::used_at.lt(Stamp(since)));
    Ok(with!(tx, c => diesel::delete(rows).execute(c).await)?)
}
