//! What helpers were asked, and what they have used on a day.
//!
//! A day's sum is kept beside the questions, so that asking costs the same however many came before: an estimate is added
//! with the question, and made right when it ends.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, InvocationId, ParticipantId, SystemScope, TenantScope};
use scaigrid_workspace::helper::{Invocation, InvocationStatus, day_of};
use ulid::Ulid;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{helper_days, helper_invocations};

const TABLE: &str = "helper_invocations";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = helper_invocations)]
#[diesel(treat_none_as_default_value = false)]
struct InvocationRow {
    id: String,
    tenant_id: String,
    participant_id: String,
    asked_by: String,
    user_id: String,
    question: String,
    status: String,
    tokens: i64,
    created_at: Stamp,
    finished_at: Option<Stamp>,
}

impl InvocationRow {
    fn of(scope: TenantScope, invocation: &Invocation) -> Self {
        Self {
            id: invocation.id.to_string(),
            tenant_id: scope.tenant_id().to_string(),
            participant_id: invocation.helper.to_string(),
            asked_by: invocation.asked_by.to_string(),
            user_id: invocation.user_id.to_string(),
            question: invocation.question.clone(),
            status: invocation.status.to_string(),
            tokens: count(invocation.tokens),
            created_at: invocation.created_at.into(),
            finished_at: invocation.finished_at.map(Stamp),
        }
    }
}

impl TryFrom<InvocationRow> for Invocation {
    type Error = Error;

    fn try_from(row: InvocationRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            helper: column(TABLE, "participant_id", id, &row.participant_id)?,
            asked_by: column(TABLE, "asked_by", id, &row.asked_by)?,
            user_id: column(TABLE, "user_id", id, &row.user_id)?,
            status: column(TABLE, "status", id, &row.status)?,
            tokens: row.tokens.unsigned_abs(),
            created_at: row.created_at.into(),
            finished_at: row.finished_at.map(Into::into),
            question: row.question,
        })
    }
}

/// Tokens as a column holds them.
fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// How many tokens a helper has used on the day of an instant, held until the transaction ends: nobody asks it meanwhile.
#[boxed]
pub async fn lock_day(
    tx: &mut Transaction,
    scope: TenantScope,
    helper: ParticipantId,
    at: Instant,
) -> Result<u64> {
    let key = (scope.tenant_id().to_string(), helper.to_string(), day_of(at));
    let insert = diesel::insert_into(helper_days::table)
        .values((
            helper_days::tenant_id.eq(key.0.clone()),
            helper_days::participant_id.eq(key.1.clone()),
            helper_days::day.eq(key.2.clone()),
            helper_days::tokens.eq(0_i64),
        ))
        .on_conflict_do_nothing();
    with!(tx, c => insert.execute(c).await)?;
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let held = diesel::update(helper_days::table.find(key))
        .set(helper_days::tokens.eq(helper_days::tokens))
        .returning(helper_days::tokens);
    let tokens: i64 = with!(tx, c => held.get_result(c).await)?;
    Ok(tokens.unsigned_abs())
}

/// Adds tokens to what was used on the day of an instant, or takes them off.
async fn count_in(
    tx: &mut Transaction,
    scope: TenantScope,
    helper: ParticipantId,
    at: Instant,
    tokens: i64,
) -> Result<()> {
    let key = (scope.tenant_id().to_string(), helper.to_string(), day_of(at));
    let update = diesel::update(helper_days::table.find(key))
        .set(helper_days::tokens.eq(helper_days::tokens + tokens));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Writes a question that a helper begins to answer, whose day is held; its estimate counts from now on.
#[boxed]
pub async fn begin(tx: &mut Transaction, scope: TenantScope, invocation: &Invocation) -> Result<()> {
    let insert = diesel::insert_into(helper_invocations::table).values(InvocationRow::of(scope, invocation));
    with!(tx, c => insert.execute(c).await)?;
    count_in(tx, scope, invocation.helper, invocation.created_at, count(invocation.tokens)).await
}

/// Writes how a question ended that was begun with an estimate, in whose place comes what was used. One that has ended stays.
#[boxed]
pub async fn end(
    tx: &mut Transaction,
    scope: TenantScope,
    begun: &Invocation,
    status: InvocationStatus,
    tokens: u64,
    at: Instant,
) -> Result<()> {
    let update = diesel::update(helper_invocations::table.find(begun.id.to_string()))
        .filter(helper_invocations::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(helper_invocations::status.eq(InvocationStatus::Running.as_str()))
        .set((
            helper_invocations::status.eq(status.as_str()),
            helper_invocations::tokens.eq(count(tokens)),
            helper_invocations::finished_at.eq(Some(Stamp(at))),
        ));
    if with!(tx, c => update.execute(c).await)? == 0 {
        return Ok(());
    }
    let more = count(tokens).saturating_sub(count(begun.tokens));
    count_in(tx, scope, begun.helper, begun.created_at, more).await
}

/// What a helper was asked, newest first, after the question that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    helper: ParticipantId,
    after: Option<InvocationId>,
    rows: i64,
) -> Result<Vec<Invocation>> {
    macro_rules! query {
        () => {{
            let mut query = helper_invocations::table
                .filter(helper_invocations::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(helper_invocations::participant_id.eq(helper.to_string()))
                .order(helper_invocations::id.desc())
                .limit(rows)
                .select(InvocationRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(helper_invocations::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<InvocationRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Invocation::try_from).collect()
}

/// Deletes up to `most` questions, and as many days, from before an instant; how many questions.
#[boxed]
pub async fn purge(tx: &mut Transaction, _system: &SystemScope, before: Instant, most: i64) -> Result<usize> {
    let days = "DELETE FROM helper_days WHERE (tenant_id, participant_id, day) IN \
                (SELECT tenant_id, participant_id, day FROM helper_days WHERE day < $1 ORDER BY day LIMIT $2)";
    let days = diesel::sql_query(days).bind::<Text, _>(day_of(before)).bind::<BigInt, _>(most);
    with!(tx, c => days.execute(c).await)?;
    // The order of ids is the order of time.
    let first = InvocationId::from_ulid(Ulid::from_parts(before.unix_millis(), 0)).to_string();
    let questions = "DELETE FROM helper_invocations WHERE id IN \
                     (SELECT id FROM helper_invocations WHERE id < $1 ORDER BY id LIMIT $2)";
    let questions = diesel::sql_query(questions).bind::<Text, _>(first).bind::<BigInt, _>(most);
    Ok(with!(tx, c => questions.execute(c).await)?)
}
