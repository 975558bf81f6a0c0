//! The turns of conversations: what was asked, which execution answers it, and what that has used.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use scaigrid_cores::conversation::{Caller, TurnStatus};
use scaigrid_scope::{ConversationId, CoreId, ExecutionId, Instant, TenantId, TenantScope};
use serde_json::Value;

use super::{TABLE, caller};
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::{conversation_turns as turns, conversations};

const TURNS: &str = "conversation_turns";

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

/// The last turn of a conversation.
#[boxed]
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
#[boxed]
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
#[boxed]
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
#[boxed]
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
#[boxed]
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

/// The executions that owe an answer to one which asks Cores as its models: to the calls that are named so, or to any.
#[boxed]
pub async fn owing(
    c: &mut Connection,
    scope: TenantScope,
    asking: ExecutionId,
    keys: Option<&[String]>,
    rows: i64,
) -> Result<Vec<ExecutionId>> {
    macro_rules! query {
        () => {{
            let mut query = turns::table
                .inner_join(conversations::table.on(conversations::id.eq(turns::conversation_id)))
                .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(turns::caller.eq(Caller::Execution(asking).text()))
                .filter(turns::status.eq_any([TurnStatus::Running.as_str(), TurnStatus::Waiting.as_str()]))
                .order(turns::execution_id)
                .limit(rows)
                .select(turns::execution_id)
                .distinct()
                .into_boxed();
            if let Some(keys) = keys {
                query = query.filter(conversations::key.eq_any(keys.to_vec()));
            }
            query
        }};
    }
    let found: Vec<String> = with!(c, c => query!().load(c).await)?;
    found.iter().map(|id| column(TURNS, "execution_id", id, id)).collect()
}

/// The conversations in which an execution asks Cores as its models.
#[boxed]
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
#[boxed]
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

/// Adds a turn to a conversation, under the next number; none when there is no such conversation any more.
#[boxed]
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
#[boxed]
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

/// The last turns of a conversation, in their order.
#[boxed]
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
#[boxed]
pub async fn told_in_all(c: &mut Connection, scope: TenantScope, id: ConversationId) -> Result<Told> {
    let query = turns::table
        .filter(turns::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(turns::conversation_id.eq(id.to_string()))
        .select((turns::input_tokens, turns::output_tokens, turns::cost));
    let found: Vec<(i64, i64, String)> = with!(c, c => query.load(c).await)?;
    sum(&id.to_string(), found)
}

/// The executions that answer in a conversation.
#[boxed]
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
