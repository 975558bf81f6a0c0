//! Retention: the oldest records of a chain go, and its head keeps what the rest hangs on.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_audit::AuditAction;
use scaigrid_audit::chain::{Digest, Head, Keys, link};
use scaigrid_scope::{Instant, SystemScope};

use super::heads::{self, ChainScope, Patience, StoredHead, unknown_key};
use super::links::{self, Found};
use crate::database::{Transaction, with};
use crate::error::Result;
use crate::schema::{audit_records, audit_seals};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// There is nothing to remove.
    Nothing,
    /// The chain does not verify where records would go: they stay, for they show what was done.
    Refused,
    /// So many records, up to this position.
    Records {
        /// How many.
        removed: u64,
        /// The last position that went.
        through: u64,
    },
}

/// Removes up to `most` of the oldest records of a chain, all of them from before an instant and found as they were
/// sealed.
///
/// Records of earlier removals alone are not worth a removal, which would leave another one.
///
/// # Errors
/// The database's.
#[boxed]
pub async fn purge(
    tx: &mut Transaction,
    _: &SystemScope,
    chain: ChainScope,
    (keys, nonce): (&Keys, Digest),
    (now, before): (Instant, Instant),
    most: i64,
) -> Result<Purged> {
    let Some(root) = heads::hold_root(tx, keys, nonce, Patience::Wait).await? else {
        return Ok(Purged::Nothing);
    };
    let Some(stored) = heads::head(tx, chain).await? else { return Ok(Purged::Nothing) };
    let head = stored.head;
    if !keys.is_sealed(&stored.chain, &head, &stored.seal) {
        return Ok(Purged::Refused);
    }
    let pairs = links::pairs(tx, chain.chain(), head.cut, head.count, most).await?;
    let (mut cut, mut cut_last, mut worth_it) = (head.cut, head.cut_last, false);
    let mut ids = Vec::new();
    for pair in pairs {
        let Some(Found::Row(row)) = &pair.record else { return Ok(Purged::Refused) };
        let fits = pair.position == cut + 1
            && link(&chain.chain(), pair.position, &cut_last, &row.entry()) == pair.digest;
        if !fits {
            return Ok(Purged::Refused);
        }
        if row.at.0 >= before {
            break;
        }
        worth_it |= row.action != AuditAction::AuditPurge.as_str();
        (cut, cut_last) = (pair.position, pair.digest);
        ids.push(pair.record_id);
    }
    if !worth_it {
        return Ok(Purged::Nothing);
    }
    let removed = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let links = audit_seals::table
        .filter(audit_seals::chain.eq(stored.chain.clone()))
        .filter(audit_seals::position.le(cut.cast_signed()));
    with!(tx, c => diesel::delete(links).execute(c).await)?;
    let records = audit_records::table.filter(audit_records::id.eq_any(ids));
    with!(tx, c => diesel::delete(records).execute(c).await)?;
    let after = Head { cut, cut_last, at: now, ..head };
    let seal = keys.seal(&root.key_id, &stored.chain, &after);
    let seal = seal.ok_or_else(|| unknown_key(&root.key_id))?;
    let change = [(stored.chain.as_str(), Some(&head), &after)];
    let advanced = keys.advance(&root, nonce, change).ok_or_else(|| unknown_key(&root.key_id))?;
    heads::put_head(tx, &StoredHead { chain: stored.chain.clone(), head: after, seal }).await?;
    heads::put_root(tx, &advanced).await?;
    Ok(Purged::Records { removed, through: cut })
}
