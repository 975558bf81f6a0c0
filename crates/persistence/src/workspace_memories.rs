//! What AIs are to remember of users.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{FactId, Instant, TenantScope, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Result, column};
use crate::instant::Stamp;
use crate::schema::workspace_memories;

const TABLE: &str = "workspace_memories";

/// Something to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its identifier.
    pub id: FactId,
    /// The words.
    pub body: String,
    /// When it was told.
    pub created_at: Instant,
}

/// A row as it is read: the id, the words and when they were told.
type FactRow = (String, String, Stamp);

fn read((id, body, created_at): FactRow) -> Result<Fact> {
    Ok(Fact { id: column(TABLE, "id", &id, &id)?, body, created_at: created_at.into() })
}

/// What is to be remembered of a user, the newest first, after the one that the last page ended with.
#[boxed]
pub async fn newest(
    c: &mut Connection,
    scope: TenantScope,
    user: UserId,
    after: Option<FactId>,
    rows: i64,
) -> Result<Vec<Fact>> {
    macro_rules! query {
        () => {{
            let mut query = workspace_memories::table
                .filter(workspace_memories::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(workspace_memories::user_id.eq(user.to_string()))
                .order(workspace_memories::id.desc())
                .limit(rows)
                .select((workspace_memories::id, workspace_memories::body, workspace_memories::created_at))
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(workspace_memories::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<FactRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(read).collect()
}

/// Adds something to remember of a user, whose row is locked.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, user: UserId, fact: &Fact) -> Result<()> {
    let insert = diesel::insert_into(workspace_memories::table).values((
        workspace_memories::tenant_id.eq(scope.tenant_id().to_string()),
        workspace_memories::user_id.eq(user.to_string()),
        workspace_memories::id.eq(fact.id.to_string()),
        workspace_memories::body.eq(fact.body.as_str()),
        workspace_memories::created_at.eq(Stamp(fact.created_at)),
    ));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Forgets one thing of a user. Whether there was such a thing.
#[boxed]
pub async fn forget(tx: &mut Transaction, scope: TenantScope, user: UserId, fact: FactId) -> Result<bool> {
    let key = (scope.tenant_id().to_string(), user.to_string(), fact.to_string());
    let delete = diesel::delete(workspace_memories::table.find(key));
    Ok(with!(tx, c => delete.execute(c).await)? > 0)
}

/// Forgets everything of a user. How much that was.
#[boxed]
pub async fn forget_all(tx: &mut Transaction, scope: TenantScope, user: UserId) -> Result<usize> {
    let delete = diesel::delete(workspace_memories::table)
        .filter(workspace_memories::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(workspace_memories::user_id.eq(user.to_string()));
    Ok(with!(tx, c => delete.execute(c).await)?)
}
