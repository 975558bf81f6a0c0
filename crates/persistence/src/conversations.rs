//! Conversations with published Cores: who said what, and which execution has answered.
//!
//! They are of the tenant of the Core. Look-ups for whoever chats are among those of one caller with one Core.

mod turn;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::conversation::{Caller, Conversation};
use scaigrid_scope::{ConversationId, CoreId, ExecutionId, TenantScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::retention::remove_executions;
use crate::schema::{conversation_turns as turns, conversations, core_events, timers};

pub use turn::{
    Told, Turn, asked_by, asked_of, begin_turn, end_turn, executions_of, last_turn, of_asking, owing, told,
    told_in_all, turn_by_answer, turn_by_question, turns,
};

const TABLE: &str = "conversations";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = conversations)]
#[diesel(treat_none_as_default_value = false)]
struct ConversationRow {
    id: String,
    tenant_id: String,
    core_id: String,
    caller_tenant_id: String,
    caller: String,
    key: Option<String>,
    entity_id: Option<String>,
    status: String,
    turns: i32,
    created_at: Stamp,
    updated_at: Stamp,
}

impl ConversationRow {
    fn of(conversation: &Conversation) -> Self {
        Self {
            id: conversation.id.to_string(),
            tenant_id: conversation.tenant_id.to_string(),
            core_id: conversation.core_id.to_string(),
            caller_tenant_id: conversation.caller_tenant.to_string(),
            caller: conversation.caller.text(),
            key: conversation.key.clone().map(text_storable),
            entity_id: conversation.entity_id.clone().map(text_storable),
            status: conversation.status.to_string(),
            turns: conversation.turns.cast_signed(),
            created_at: conversation.created_at.into(),
            updated_at: conversation.updated_at.into(),
        }
    }
}

fn caller(table: &'static str, id: &str, text: &str) -> Result<Caller> {
    Caller::from_text(text).ok_or_else(|| Error::inconsistent(table, "caller", id, "names nobody"))
}

impl TryFrom<ConversationRow> for Conversation {
    type Error = Error;
    fn try_from(row: ConversationRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            core_id: column(TABLE, "core_id", id, &row.core_id)?,
            caller_tenant: column(TABLE, "caller_tenant_id", id, &row.caller_tenant_id)?,
            caller: caller(TABLE, id, &row.caller)?,
            status: column(TABLE, "status", id, &row.status)?,
            turns: row.turns.cast_unsigned(),
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            key: row.key,
            entity_id: row.entity_id,
        })
    }
}

/// A conversation by its id.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    id: ConversationId,
) -> Result<Option<Conversation>> {
    let query = conversations::table
        .find(id.to_string())
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()));
    let row = with!(c, c => query.select(ConversationRow::as_select()).get_result(c).await.optional())?;
    row.map(Conversation::try_from).transpose()
}

/// The conversation that a caller names so.
#[boxed]
pub async fn find_by_key(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    caller: Caller,
    key: &str,
) -> Result<Option<Conversation>> {
    let query = conversations::table
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(conversations::core_id.eq(core.to_string()))
        .filter(conversations::caller.eq(caller.text()))
        .filter(conversations::key.eq(key));
    let row = with!(c, c => query.select(ConversationRow::as_select()).get_result(c).await.optional())?;
    row.map(Conversation::try_from).transpose()
}

/// The youngest conversation that a caller has about an entity.
#[boxed]
pub async fn find_by_entity(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    caller: Caller,
    entity: &str,
) -> Result<Option<ConversationId>> {
    let query = conversations::table
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(conversations::core_id.eq(core.to_string()))
        .filter(conversations::caller.eq(caller.text()))
        .filter(conversations::entity_id.eq(entity))
        .order(conversations::id.desc())
        .limit(1)
        .select(conversations::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    found.map(|id| column(TABLE, "id", &id, &id)).transpose()
}

/// Adds a conversation that has no turn.
///
/// # Errors
/// [`Error::Duplicate`] when the caller names another one so; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, conversation: &Conversation) -> Result<()> {
    debug_assert_eq!(conversation.tenant_id, scope.tenant_id(), "it is of the scope's tenant");
    let insert = diesel::insert_into(conversations::table).values(ConversationRow::of(conversation));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// The conversations with a Core, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    core: CoreId,
    after: Option<ConversationId>,
    rows: i64,
) -> Result<Vec<Conversation>> {
    macro_rules! query {
        () => {{
            let mut query = conversations::table
                .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(conversations::core_id.eq(core.to_string()))
                .order(conversations::id.desc())
                .limit(rows)
                .select(ConversationRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(conversations::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<ConversationRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Conversation::try_from).collect()
}

/// Holds a conversation until the transaction ends: no turn begins or ends before. False when there is none.
#[boxed]
pub async fn hold(tx: &mut Transaction, scope: TenantScope, id: ConversationId) -> Result<bool> {
    let update = diesel::update(conversations::table.find(id.to_string()))
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
        .set(conversations::turns.eq(conversations::turns));
    Ok(with!(tx, c => update.execute(c).await)? > 0)
}

/// Removes conversations that are held, and all that is kept of executions: what they were given and gave, what they did, what
/// they asked people and what they published.
#[boxed]
pub async fn erase(
    tx: &mut Transaction,
    scope: TenantScope,
    held: &[ConversationId],
    run: &[ExecutionId],
) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    let all: Vec<String> = run.iter().map(ToString::to_string).collect();
    for ids in all.chunks(500) {
        let rows = core_events::table
            .filter(core_events::tenant_id.eq(&tenant))
            .filter(core_events::execution_id.eq_any(ids.to_vec()));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
        // Sleeps and waits are kept under the execution that they belong to.
        let rows =
            timers::table.filter(timers::tenant_id.eq(&tenant)).filter(timers::owner.eq_any(ids.to_vec()));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
    }
    remove_executions(tx, scope, &all).await?;
    let all: Vec<String> = held.iter().map(ToString::to_string).collect();
    for ids in all.chunks(500) {
        let rows = turns::table
            .filter(turns::tenant_id.eq(&tenant))
            .filter(turns::conversation_id.eq_any(ids.to_vec()));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
        let rows = conversations::table
            .filter(conversations::tenant_id.eq(&tenant))
            .filter(conversations::id.eq_any(ids.to_vec()));
        with!(tx, c => diesel::delete(rows).execute(c).await)?;
    }
    Ok(())
}
