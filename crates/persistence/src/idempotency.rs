//! Idempotency keys: what a tenant's earlier requests to an endpoint were answered.
//!
//! A request takes its key with [`begin`], in a transaction of its own, before it does anything; [`finish`] keeps its
//! answer, [`abandon`] gives the key back. A key whose request died with its node is free again once the lease of that
//! node has ended.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, NodeId, SystemScope, TenantScope};

use crate::database::{Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::schema::{idempotency_keys as keys, nodes};

const TABLE: &str = "idempotency_keys";

/// How long an answer is kept, counted from the beginning of its request.
pub const KEPT: Duration = Duration::from_hours(24);

/// How often [`begin`] looks again when a key changes hands while it looks.
const ATTEMPTS: u32 = 4;

/// What a kept answer is sealed for.
pub fn sealing_place(endpoint: &str, key: &str) -> String {
    format!("idempotency/{endpoint}/{key}")
}

/// A request that carries an idempotency key.
#[derive(Debug, Clone, Copy)]
pub struct KeyedRequest<'a> {
    /// The method and the path that it is for: the same key may be used at another endpoint.
    pub endpoint: &'a str,
    /// The key.
    pub key: &'a str,
    /// The digest of its body.
    pub body_hash: [u8; 32],
    /// The node that answers it.
    pub node: NodeId,
    /// When it came: of the requests that one node took for a key, each has its own.
    pub begun_at: Instant,
}

/// The answer that a request was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are part of the answer, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a key says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The key is free, and is now held by this request.
    Fresh,
    /// A request with the same body was answered so.
    Answered(Answer),
    /// A request with the same body is still being worked on.
    InUse,
    /// The key was used for another body.
    OtherBody,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = keys)]
struct KeyRow {
    body_hash: Vec<u8>,
    node_id: String,
    status: Option<i32>,
    headers: Option<serde_json::Value>,
    body: Option<Vec<u8>>,
    created_at: Stamp,
    expires_at: Stamp,
}

impl KeyRow {
    /// What a key that is not free says.
    fn judge(self, request: &KeyedRequest<'_>) -> Result<Begun> {
        if self.body_hash != request.body_hash {
            return Ok(Begun::OtherBody);
        }
        let Some(status) = self.status else { return Ok(Begun::InUse) };
        let impossible = |column, reason: String| Error::inconsistent(TABLE, column, request.key, reason);
        let headers = self.headers.unwrap_or_default();
        Ok(Begun::Answered(Answer {
            status: u16::try_from(status).map_err(|error| impossible("status", error.to_string()))?,
            headers: serde_json::from_value(headers)
                .map_err(|error| impossible("headers", error.to_string()))?,
            body: self.body.unwrap_or_default(),
        }))
    }
}

/// Takes a key for a request, or says why it cannot be taken. Of several requests at once, one takes it.
///
/// The transaction must be committed for the key to be held, and before the request is worked on.
pub async fn begin(tx: &mut Transaction, scope: TenantScope, request: &KeyedRequest<'_>) -> Result<Begun> {
    let now = request.begun_at;
    let tenant = scope.tenant_id().to_string();
    let node = request.node.to_string();
    for _ in 0..ATTEMPTS {
        let insert = diesel::insert_into(keys::table)
            .values((
                keys::tenant_id.eq(tenant.clone()),
                keys::endpoint.eq(request.endpoint.to_owned()),
                keys::key.eq(request.key.to_owned()),
                keys::body_hash.eq(request.body_hash.to_vec()),
                keys::node_id.eq(node.clone()),
                keys::created_at.eq(Stamp(now)),
                keys::expires_at.eq(Stamp(now.plus(KEPT))),
            ))
            .on_conflict_do_nothing();
        if with!(tx, c => insert.execute(c).await)? == 1 {
            return Ok(Begun::Fresh);
        }

        let query = keys::table
            .left_join(nodes::table.on(nodes::id.eq(keys::node_id)))
            .filter(keys::tenant_id.eq(tenant.clone()))
            .filter(keys::endpoint.eq(request.endpoint.to_owned()))
            .filter(keys::key.eq(request.key.to_owned()));
        let found: Option<(KeyRow, Option<Stamp>)> = with!(tx, c => query.select((KeyRow::as_select(), nodes::lease_until.nullable())).get_result(c).await.optional())?;
        let Some((row, lease)) = found else {
            // It was given back in between.
            continue;
        };
        let expired = Instant::from(row.expires_at) <= now;
        let died = row.status.is_none() && lease.is_none_or(|lease| Instant::from(lease) < now);
        if !expired && !died {
            return row.judge(request);
        }

        // Whoever else saw the same free key fails to find it in this state.
        let take = diesel::update(keys::table)
            .filter(keys::tenant_id.eq(tenant.clone()))
            .filter(keys::endpoint.eq(request.endpoint.to_owned()))
            .filter(keys::key.eq(request.key.to_owned()))
            .filter(keys::node_id.eq(row.node_id))
            .filter(keys::created_at.eq(row.created_at))
            .filter(keys::status.is_null().or(keys::expires_at.le(Stamp(now))))
            .set((
                keys::body_hash.eq(request.body_hash.to_vec()),
                keys::node_id.eq(node.clone()),
                keys::status.eq(None::<i32>),
                keys::headers.eq(None::<serde_json::Value>),
                keys::body.eq(None::<Vec<u8>>),
                keys::created_at.eq(Stamp(now)),
                keys::expires_at.eq(Stamp(now.plus(KEPT))),
            ));
        if with!(tx, c => take.execute(c).await)? == 1 {
            return Ok(Begun::Fresh);
        }
    }
    Ok(Begun::InUse)
}

/// Keeps the answer of the request that holds a key. False when the key is no longer held by that request.
///
/// Called in the transaction of the change itself, the change and the memory of it become durable together.
pub async fn finish(
    tx: &mut Transaction,
    scope: TenantScope,
    request: &KeyedRequest<'_>,
    answer: &Answer,
) -> Result<bool> {
    let headers = serde_json::to_value(&answer.headers)
        .map_err(|error| Error::Setup(format!("headers cannot be encoded: {error}")))?;
    let update = diesel::update(keys::table)
        .filter(keys::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(keys::endpoint.eq(request.endpoint.to_owned()))
        .filter(keys::key.eq(request.key.to_owned()))
        .filter(keys::node_id.eq(request.node.to_string()))
        .filter(keys::created_at.eq(Stamp(request.begun_at)))
        .filter(keys::status.is_null())
        .set((
            keys::status.eq(Some(i32::from(answer.status))),
            keys::headers.eq(Some(headers)),
            keys::body.eq(Some(answer.body.clone())),
        ));
    let rows = with!(tx, c => update.execute(c).await)?;
    Ok(rows > 0)
}

/// Gives back a key whose request came to nothing, so that the client may try again.
pub async fn abandon(tx: &mut Transaction, scope: TenantScope, request: &KeyedRequest<'_>) -> Result<()> {
    let delete = diesel::delete(keys::table)
        .filter(keys::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(keys::endpoint.eq(request.endpoint.to_owned()))
        .filter(keys::key.eq(request.key.to_owned()))
        .filter(keys::node_id.eq(request.node.to_string()))
        .filter(keys::created_at.eq(Stamp(request.begun_at)))
        .filter(keys::status.is_null());
    with!(tx, c => delete.execute(c).await)?;
    Ok(())
}

/// Removes about `rows` keys that have expired, the oldest first, and says how many.
#[boxed]
pub async fn purge_expired(tx: &mut Transaction, _: &SystemScope, now: Instant, rows: i64) -> Result<usize> {
    // The table's key has three columns, so the bound is put on the expiry: up to the one of the last row that may go.
    let last = keys::table
        .filter(keys::expires_at.le(Stamp(now)))
        .order(keys::expires_at)
        .offset(rows.saturating_sub(1).max(0))
        .select(keys::expires_at);
    let until: Option<Stamp> = with!(tx, c => last.first(c).await.optional())?;
    let delete = diesel::delete(keys::table).filter(keys::expires_at.le(until.unwrap_or(Stamp(now))));
    Ok(with!(tx, c => delete.execute(c).await)?)
}
