//! Conversations with published Cores: who said what, and which execution has answered.
//!
//! They are of the tenant of the Core. Look-ups for whoever chats are among those of one caller with one Core.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use scaigrid_cores::conversation::{Caller, Conversation, TurnStatus};
use scaigrid_scope::{ConversationId, CoreId, ExecutionId, Instant, TenantId, TenantScope};
use serde_json::Value;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::{
    checkpoint_links, checkpoint_votes, checkpoints, conversation_turns as turns, conversations, core_events,
    event_waits, execution_inbox, executions, journal, mails, timers,
};

const TABLE: &str = "conversations";
const TURNS: &str = "conversation_turns";

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

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = turns)]
#[diesel(treat_none_as_default_value = false)]
struct TurnRow {
    tenant_id: String,
    conversation_id: String,
    turn: i32,
    core_id: String,
    caller: String,
    execution_id: String,
    status: String,
    asked: Value,
    asked_print: String,
    answer: Option<String>,
    answer_print: Option<String>,
    input_tokens: i64,
    output_tokens: i64,
    cost: String,
    created_at: Stamp,
    ended_at: Option<Stamp>,
}

/// What was used for a turn, or for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What they cost.
    pub cost: Decimal,
}

impl Told {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// What is more than something that was told already.
    #[must_use]
    pub fn beyond(self, told: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(told.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(told.output_tokens),
            cost: self.cost.saturating_sub(told.cost).max(Decimal::ZERO),
        }
    }
}

/// One request of a conversation, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its number in the conversation, from 1.
    pub turn: u32,
    /// The Core.
    pub core_id: CoreId,
    /// Who asks.
    pub caller: Caller,
    /// The execution that answers.
    pub execution_id: ExecutionId,
    /// How far it has come.
    pub status: TurnStatus,
    /// The messages that were new.
    pub asked: Vec<Value>,
    /// The fingerprint of all that was said in the request.
    pub asked_print: String,
    /// What was answered, once it was.
    pub answer: Option<String>,
    /// The fingerprint of all that was said, the answer included.
    pub answer_print: Option<String>,
    /// What was used that no earlier turn of the execution has told of.
    pub told: Told,
    /// When it began.
    pub created_at: Instant,
    /// When it ended.
    pub ended_at: Option<Instant>,
}

fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

impl TurnRow {
    fn of(scope: TenantScope, turn: &Turn) -> Self {
        Self {
            tenant_id: scope.tenant_id().to_string(),
            conversation_id: turn.conversation.to_string(),
            turn: turn.turn.cast_signed(),
            core_id: turn.core_id.to_string(),
            caller: turn.caller.text(),
            execution_id: turn.execution_id.to_string(),
            status: turn.status.to_string(),
            asked: storable(Value::Array(turn.asked.clone())),
            asked_print: turn.asked_print.clone(),
            answer: turn.answer.clone().map(text_storable),
            answer_print: turn.answer_print.clone(),
            input_tokens: count(turn.told.input_tokens),
            output_tokens: count(turn.told.output_tokens),
            cost: turn.told.cost.normalize().to_string(),
            created_at: turn.created_at.into(),
            ended_at: turn.ended_at.map(Stamp),
        }
    }
}

impl TryFrom<TurnRow> for Turn {
    type Error = Error;

    fn try_from(row: TurnRow) -> Result<Self> {
        let id = row.conversation_id.as_str();
        Ok(Self {
            conversation: column(TURNS, "conversation_id", id, id)?,
            turn: row.turn.cast_unsigned(),
            core_id: column(TURNS, "core_id", id, &row.core_id)?,
            caller: caller(TURNS, id, &row.caller)?,
            execution_id: column(TURNS, "execution_id", id, &row.execution_id)?,
            status: column(TURNS, "status", id, &row.status)?,
            asked: match row.asked {
                Value::Array(messages) => messages,
                _ => return Err(Error::inconsistent(TURNS, "asked", id, "it is no array")),
            },
            told: Told {
                input_tokens: row.input_tokens.unsigned_abs(),
                output_tokens: row.output_tokens.unsigned_abs(),
                cost: column(TURNS, "cost", id, &row.cost)?,
            },
            asked_print: row.asked_print,
            answer: row.answer,
            answer_print: row.answer_print,
            created_at: row.created_at.into(),
            ended_at: row.ended_at.map(Instant::from),
        })
    }
}

/// A conversation by its id.
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

/// The last turn of a conversation.
pub async fn last_turn(c: &mut Connection, scope: TenantScope, id: ConversationId) -> Result<Option<Turn>> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::conversation_id.eq(id.to_string()))
        .order(turns::turn.desc())
        .limit(1);
    let row = with!(c, c => query.select(TurnRow::as_select()).get_result(c).await.optional())?;
    row.map(Turn::try_from).transpose()
}

/// The youngest turn of a caller after which all that was said has a fingerprint; where an entity is named, about it.
pub async fn turn_by_answer(
    c: &mut Connection,
    scope: TenantScope,
    (core, caller): (CoreId, Caller),
    entity: Option<&str>,
    print: &str,
) -> Result<Option<Turn>> {
    macro_rules! query {
        () => {{
            let mut query = turns::table
                .inner_join(conversations::table.on(conversations::id.eq(turns::conversation_id)))
                .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(turns::core_id.eq(core.to_string()))
                .filter(turns::caller.eq(caller.text()))
                .filter(turns::answer_print.eq(print))
                .order((turns::created_at.desc(), turns::conversation_id.desc(), turns::turn.desc()))
                .limit(1)
                .select(TurnRow::as_select())
                .into_boxed();
            if let Some(entity) = entity {
                query = query.filter(conversations::entity_id.eq(entity));
            }
            query
        }};
    }
    let row: Option<TurnRow> = with!(c, c => query!().get_result(c).await.optional())?;
    row.map(Turn::try_from).transpose()
}

/// The youngest turn of a caller, in conversations without a name and about the same entity or none, that asks what has a
/// fingerprint and is owed an answer.
pub async fn turn_by_question(
    c: &mut Connection,
    scope: TenantScope,
    (core, caller): (CoreId, Caller),
    entity: Option<&str>,
    print: &str,
) -> Result<Option<Turn>> {
    macro_rules! query {
        () => {{
            let query = turns::table
                .inner_join(conversations::table.on(conversations::id.eq(turns::conversation_id)))
                .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(turns::core_id.eq(core.to_string()))
                .filter(turns::caller.eq(caller.text()))
                .filter(turns::asked_print.eq(print))
                .filter(turns::status.eq_any([TurnStatus::Running.as_str(), TurnStatus::Waiting.as_str()]))
                .filter(conversations::key.is_null())
                .order((turns::created_at.desc(), turns::conversation_id.desc(), turns::turn.desc()))
                .limit(1)
                .select(TurnRow::as_select())
                .into_boxed();
            match entity {
                Some(entity) => query.filter(conversations::entity_id.eq(entity)),
                None => query.filter(conversations::entity_id.is_null()),
            }
        }};
    }
    let row: Option<TurnRow> = with!(c, c => query!().get_result(c).await.optional())?;
    row.map(Turn::try_from).transpose()
}

/// The caller whose turn an execution answers, where it answers one, and the tenant that they act in.
pub async fn asked_by(
    c: &mut Connection,
    scope: TenantScope,
    id: ExecutionId,
) -> Result<Option<(Caller, TenantId)>> {
    let query = turns::table
        .inner_join(conversations::table.on(conversations::id.eq(turns::conversation_id)))
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::execution_id.eq(id.to_string()))
        .limit(1)
        .select((turns::caller, conversations::caller_tenant_id));
    let found: Option<(String, String)> = with!(c, c => query.get_result(c).await.optional())?;
    let id = id.to_string();
    found
        .map(|(by, tenant)| Ok((caller(TURNS, &id, &by)?, column(TABLE, "caller_tenant_id", &id, &tenant)?)))
        .transpose()
}

/// The executions that answer to one which asks Cores as its models.
pub async fn asked_of(
    c: &mut Connection,
    scope: TenantScope,
    asking: ExecutionId,
    rows: i64,
) -> Result<Vec<ExecutionId>> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::caller.eq(Caller::Execution(asking).text()))
        .order(turns::execution_id)
        .limit(rows)
        .select(turns::execution_id)
        .distinct();
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column(TURNS, "execution_id", id, id)).collect()
}

/// The conversations in which an execution asks Cores as its models.
pub async fn of_asking(
    c: &mut Connection,
    scope: TenantScope,
    asking: ExecutionId,
    rows: i64,
) -> Result<Vec<ConversationId>> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::caller.eq(Caller::Execution(asking).text()))
        .order(turns::conversation_id)
        .limit(rows)
        .select(turns::conversation_id)
        .distinct();
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column(TURNS, "conversation_id", id, id)).collect()
}

/// What the turns of an execution have told of what it used.
pub async fn told(c: &mut Connection, scope: TenantScope, id: ExecutionId) -> Result<Told> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::execution_id.eq(id.to_string()))
        .select((turns::input_tokens, turns::output_tokens, turns::cost));
    let found: Vec<(i64, i64, String)> = with!(c, c => query.load(c).await)?;
    sum(&id.to_string(), found)
}

fn sum(id: &str, rows: Vec<(i64, i64, String)>) -> Result<Told> {
    rows.into_iter().try_fold(Told::default(), |sum, (input, output, cost)| {
        Ok(sum.and(Told {
            input_tokens: input.unsigned_abs(),
            output_tokens: output.unsigned_abs(),
            cost: column(TURNS, "cost", id, &cost)?,
        }))
    })
}

/// Adds a conversation that has no turn.
///
/// # Errors
/// [`Error::Duplicate`] when the caller names another one so; the transaction is of no use then.
pub async fn add(tx: &mut Transaction, scope: TenantScope, conversation: &Conversation) -> Result<()> {
    debug_assert_eq!(conversation.tenant_id, scope.tenant_id(), "it is of the scope's tenant");
    let insert = diesel::insert_into(conversations::table).values(ConversationRow::of(conversation));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Adds a turn to a conversation, under the next number; none when there is no such conversation any more.
pub async fn begin_turn(tx: &mut Transaction, scope: TenantScope, turn: &Turn) -> Result<Option<u32>> {
    let update = diesel::update(conversations::table.find(turn.conversation.to_string()))
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
        .set((
            conversations::turns.eq(conversations::turns + 1),
            conversations::status.eq(turn.status.as_str()),
            conversations::updated_at.eq(Stamp(turn.created_at)),
        ))
        .returning(conversations::turns);
    let number: Option<i32> = with!(tx, c => update.get_result(c).await.optional())?;
    let Some(number) = number else { return Ok(None) };
    let row = TurnRow { turn: number, ..TurnRow::of(scope, turn) };
    with!(tx, c => diesel::insert_into(turns::table).values(row).execute(c).await)?;
    Ok(Some(number.cast_unsigned()))
}

/// Ends a turn as it stands. Where it has been answered, the other turns that waited for the same execution are answered
/// with it. False when there is no such turn any more.
pub async fn end_turn(tx: &mut Transaction, scope: TenantScope, turn: &Turn) -> Result<bool> {
    let (tenant, id) = (scope.tenant_id().to_string(), turn.conversation.to_string());
    let ended = turn.ended_at.map(Stamp);
    // The conversation first, as whoever begins a turn does.
    let conversation = diesel::update(conversations::table.find(id.clone()))
        .filter(conversations::tenant_id.eq(tenant.clone()))
        .set((
            conversations::status.eq(turn.status.as_str()),
            conversations::updated_at.eq(ended.unwrap_or(Stamp(turn.created_at))),
        ));
    with!(tx, c => conversation.execute(c).await)?;
    let row = TurnRow::of(scope, turn);
    let update = diesel::update(turns::table.find((tenant.clone(), id, turn.turn.cast_signed()))).set((
        turns::status.eq(row.status),
        turns::answer.eq(row.answer),
        turns::answer_print.eq(row.answer_print),
        turns::input_tokens.eq(row.input_tokens),
        turns::output_tokens.eq(row.output_tokens),
        turns::cost.eq(row.cost),
        turns::ended_at.eq(row.ended_at),
    ));
    if with!(tx, c => update.execute(c).await)? == 0 {
        return Ok(false);
    }
    if !turn.status.is_open() {
        let others = diesel::update(turns::table)
            .filter(turns::tenant_id.eq(tenant))
            .filter(turns::execution_id.eq(turn.execution_id.to_string()))
            .filter(turns::status.eq(TurnStatus::Waiting.as_str()))
            .set(turns::status.eq(turn.status.as_str()));
        with!(tx, c => others.execute(c).await)?;
    }
    Ok(true)
}

/// The conversations with a Core, newest first, after the one that the last page ended with.
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

/// The last turns of a conversation, in their order.
pub async fn turns(
    c: &mut Connection,
    scope: TenantScope,
    id: ConversationId,
    rows: i64,
) -> Result<Vec<Turn>> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::conversation_id.eq(id.to_string()))
        .order(turns::turn.desc())
        .limit(rows);
    let mut found: Vec<TurnRow> = with!(c, c => query.select(TurnRow::as_select()).load(c).await)?;
    found.reverse();
    found.into_iter().map(Turn::try_from).collect()
}

/// What all turns of a conversation have told that was used.
pub async fn told_in_all(c: &mut Connection, scope: TenantScope, id: ConversationId) -> Result<Told> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::conversation_id.eq(id.to_string()))
        .select((turns::input_tokens, turns::output_tokens, turns::cost));
    let found: Vec<(i64, i64, String)> = with!(c, c => query.load(c).await)?;
    sum(&id.to_string(), found)
}

/// The executions that answer in a conversation.
pub async fn executions_of(
    c: &mut Connection,
    scope: TenantScope,
    id: ConversationId,
) -> Result<Vec<ExecutionId>> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::conversation_id.eq(id.to_string()))
        .order(turns::execution_id)
        .select(turns::execution_id)
        .distinct();
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|id| column(TURNS, "execution_id", id, id)).collect()
}

/// Holds a conversation until the transaction ends: no turn begins or ends before. False when there is none.
pub async fn hold(tx: &mut Transaction, scope: TenantScope, id: ConversationId) -> Result<bool> {
    let update = diesel::update(conversations::table.find(id.to_string()))
        .filter(conversations::tenant_id.eq(scope.tenant_id().to_string()))
        .set(conversations::turns.eq(conversations::turns));
    Ok(with!(tx, c => update.execute(c).await)? > 0)
}

/// Removes conversations that are held, and all that is kept of executions: what they were given and gave, what they did, what
/// they asked people and what they published.
pub async fn erase(
    tx: &mut Transaction,
    scope: TenantScope,
    held: &[ConversationId],
    run: &[ExecutionId],
) -> Result<()> {
    let tenant = scope.tenant_id().to_string();
    let all: Vec<String> = run.iter().map(ToString::to_string).collect();
    for ids in all.chunks(500) {
        macro_rules! remove {
            ($($table:ident . $column:ident),+) => {$(
                let rows = $table::table
                    .filter($table::tenant_id.eq(&tenant))
                    .filter($table::$column.eq_any(ids.to_vec()));
                with!(tx, c => diesel::delete(rows).execute(c).await)?;
            )+};
        }
        remove!(journal.execution_id, execution_inbox.execution_id, checkpoints.execution_id);
        remove!(checkpoint_votes.execution_id, checkpoint_links.execution_id, mails.execution_id);
        remove!(core_events.execution_id, event_waits.execution_id, executions.id);
        // Sleeps and waits are kept under the execution that they belong to.
        remove!(timers.owner);
    }
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
