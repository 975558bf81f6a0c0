//! The links of the chains, with the records that they name.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_audit::chain::{Chain, Digest, Entry, Link};
use scaigrid_scope::{Instant, LevelScope};

use super::AuditRow;
use super::heads::{ChainScope, digest};
use crate::database::{Connection, with};
use crate::error::Result;
use crate::instant::Stamp;
use crate::schema::{audit_records, audit_seals, audit_unsealed};

/// A record as it is found.
pub(super) enum Found {
    /// It is there.
    Row(Box<AuditRow>),
    /// It is there and cannot be read.
    Unreadable,
}

impl Found {
    pub(super) fn entry(&self, id: &str) -> Entry {
        match self {
            Self::Row(row) => row.entry(),
            Self::Unreadable => Entry::lost(id),
        }
    }
}

/// Reads records by their ids. One that cannot be read does not keep the others from being read.
pub(super) async fn records(c: &mut Connection, ids: &[String]) -> Result<HashMap<String, Found>> {
    let named = audit_records::table.filter(audit_records::id.eq_any(ids.to_vec()));
    let rows: QueryResult<Vec<AuditRow>> = with!(c, c => named.select(AuditRow::as_select()).load(c).await);
    match rows {
        Ok(rows) => Ok(rows.into_iter().map(|row| (row.id.clone(), Found::Row(Box::new(row)))).collect()),
        Err(diesel::result::Error::DeserializationError(_)) => {
            let mut found = HashMap::new();
            for id in ids {
                let one = audit_records::table.find(id.clone());
                let row: QueryResult<Option<AuditRow>> =
                    with!(c, c => one.select(AuditRow::as_select()).get_result(c).await.optional());
                match row {
                    Ok(Some(row)) => drop(found.insert(id.clone(), Found::Row(Box::new(row)))),
                    Ok(None) => {}
                    Err(diesel::result::Error::DeserializationError(_)) => {
                        found.insert(id.clone(), Found::Unreadable);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(found)
        }
        Err(error) => Err(error.into()),
    }
}

/// A link and its record.
pub(super) struct Pair {
    pub(super) position: u64,
    pub(super) record_id: String,
    pub(super) digest: Digest,
    pub(super) record: Option<Found>,
}

impl From<Pair> for Link {
    fn from(pair: Pair) -> Self {
        let entry = pair.record.as_ref().map(|record| record.entry(&pair.record_id));
        Self { position: pair.position, record_id: pair.record_id, digest: pair.digest, entry }
    }
}

pub(super) async fn pairs(
    c: &mut Connection,
    chain: Chain,
    after: u64,
    through: u64,
    rows: i64,
) -> Result<Vec<Pair>> {
    let bound = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
    let query = audit_seals::table
        .filter(audit_seals::chain.eq(chain.to_string()))
        .filter(audit_seals::position.gt(bound(after)))
        .filter(audit_seals::position.le(bound(through)))
        .order(audit_seals::position)
        .limit(rows)
        .select((audit_seals::position, audit_seals::record_id, audit_seals::digest));
    let seals: Vec<(i64, String, Vec<u8>)> = with!(c, c => query.load(c).await)?;
    let ids: Vec<String> = seals.iter().map(|(_, id, _)| id.clone()).collect();
    let mut found = records(c, &ids).await?;
    let pair = |(position, record_id, bytes): (i64, String, Vec<u8>)| Pair {
        position: position.unsigned_abs(),
        record: found.remove(&record_id),
        digest: digest(&bytes),
        record_id,
    };
    Ok(seals.into_iter().map(pair).collect())
}

/// The links of a chain after one position and up to another, in order, each with its record as it is now.
///
/// Links and records are read one after the other: what retention removes in between is missed. Ask for the head again
/// before believing that a record is not there.
#[boxed]
pub async fn list(
    c: &mut Connection,
    chain: ChainScope,
    after: u64,
    through: u64,
    rows: i64,
) -> Result<Vec<Link>> {
    let pairs = pairs(c, chain.chain(), after, through, rows).await?;
    Ok(pairs.into_iter().map(Link::from).collect())
}

/// The last link of a chain: its position, and the link.
#[boxed]
pub async fn last(c: &mut Connection, chain: ChainScope) -> Result<Option<(u64, Digest)>> {
    let query = audit_seals::table
        .filter(audit_seals::chain.eq(chain.chain().to_string()))
        .order(audit_seals::position.desc())
        .select((audit_seals::position, audit_seals::digest));
    let row: Option<(i64, Vec<u8>)> = with!(c, c => query.first(c).await.optional())?;
    Ok(row.map(|(position, bytes)| (position.unsigned_abs(), digest(&bytes))))
}

/// How many records of a chain wait to be sealed, and of when the first of them is.
#[boxed]
pub async fn waiting(c: &mut Connection, chain: ChainScope) -> Result<(u64, Option<Instant>)> {
    let of_chain = audit_unsealed::table.filter(audit_unsealed::chain.eq(chain.chain().to_string()));
    let count: i64 = with!(c, c => of_chain.count().get_result(c).await)?;
    if count == 0 {
        return Ok((0, None));
    }
    let of_chain = audit_unsealed::table
        .inner_join(audit_records::table.on(audit_records::id.eq(audit_unsealed::record_id)))
        .filter(audit_unsealed::chain.eq(chain.chain().to_string()))
        .order(audit_unsealed::record_id)
        .select(audit_records::at);
    let first: Option<Stamp> = with!(c, c => of_chain.first(c).await.optional())?;
    Ok((count.unsigned_abs(), first.map(Instant::from)))
}

/// Of when the oldest record is that is left of a chain, where it can be read.
#[boxed]
pub async fn oldest(c: &mut Connection, chain: ChainScope) -> Result<Option<Instant>> {
    let query = audit_seals::table
        .filter(audit_seals::chain.eq(chain.chain().to_string()))
        .order(audit_seals::position)
        .select(audit_seals::record_id);
    let first: Option<String> = with!(c, c => query.first(c).await.optional())?;
    let Some(first) = first else { return Ok(None) };
    match records(c, std::slice::from_ref(&first)).await?.remove(&first) {
        Some(Found::Row(row)) => Ok(Some(row.at.into())),
        Some(Found::Unreadable) | None => Ok(None),
    }
}

/// A part of the records, and those of them that are in no chain and do not wait to be.
#[derive(Debug, Default)]
pub struct Strays {
    /// The last record of the part; none when there are no more.
    pub last: Option<String>,
    /// Those that do not belong.
    pub records: Vec<String>,
}

/// Looks at a part of the records of a level, or of one chain, by ascending id, for those that nobody has sealed.
#[boxed]
pub async fn strays(c: &mut Connection, of: RecordsOf, after: Option<&str>, rows: i64) -> Result<Strays> {
    let ids: Vec<String> = {
        macro_rules! part {
            () => {{
                let mut part = audit_records::table
                    .order(audit_records::id)
                    .limit(rows)
                    .select(audit_records::id)
                    .into_boxed();
                match of {
                    RecordsOf::Everyone(_) => {}
                    RecordsOf::Chain(scope) => match scope.chain() {
                        Chain::Platform => {
                            part = part
                                .filter(audit_records::tenant_id.is_null())
                                .filter(audit_records::partner_id.is_null());
                        }
                        Chain::Partner(partner) => {
                            part = part
                                .filter(audit_records::tenant_id.is_null())
                                .filter(audit_records::partner_id.eq(partner.to_string()));
                        }
                        Chain::Tenant(tenant) => {
                            part = part.filter(audit_records::tenant_id.eq(tenant.to_string()));
                        }
                    },
                }
                if let Some(after) = after {
                    part = part.filter(audit_records::id.gt(after.to_owned()));
                }
                part
            }};
        }
        with!(c, c => part!().load(c).await)?
    };
    let Some(last) = ids.last().cloned() else { return Ok(Strays::default()) };
    // One statement, for a record goes from the queue to its chain in between.
    let sealed = audit_seals::table.filter(audit_seals::record_id.eq(audit_records::id));
    let waits = audit_unsealed::table.filter(audit_unsealed::record_id.eq(audit_records::id));
    let query = audit_records::table
        .filter(audit_records::id.eq_any(ids))
        .filter(not(exists(sealed)))
        .filter(not(exists(waits)))
        .order(audit_records::id)
        .select(audit_records::id);
    let records = with!(c, c => query.load(c).await)?;
    Ok(Strays { last: Some(last), records })
}

/// Whose records are looked at.
#[derive(Debug, Clone, Copy)]
pub enum RecordsOf {
    /// All there are; only for who may see them.
    Everyone(scaigrid_scope::PlatformScope),
    /// Those of one chain.
    Chain(ChainScope),
}

impl RecordsOf {
    /// What a level looks at as a whole; none where it goes chain by chain.
    pub const fn level(scope: LevelScope) -> Option<Self> {
        match scope {
            LevelScope::Platform(scope) => Some(Self::Everyone(scope)),
            LevelScope::Partner(_) | LevelScope::Tenant(_) => None,
        }
    }
}
