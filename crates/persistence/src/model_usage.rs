//! What calls of models have used, and what has been spent of budgets. What calls that go on hold back is in
//! [`crate::model_reservations`].

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use scaigrid_catalog::budget::Spent;
use scaigrid_catalog::usage::{CallStatus, Usage};
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope, UsageId, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{model_budgets, model_usage};

const TABLE: &str = "model_usage";
const REPORTED: &str = "reported";
const ESTIMATED: &str = "estimated";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = model_usage)]
#[diesel(treat_none_as_default_value = false)]
struct UsageRow {
    id: String,
    tenant_id: String,
    model_id: String,
    model: String,
    backend_id: Option<String>,
    user_id: Option<String>,
    core_id: Option<String>,
    execution_id: Option<String>,
    input_tokens: i64,
    output_tokens: i64,
    counted: String,
    cost: String,
    latency_us: i64,
    status: String,
    created_at: Stamp,
    effect: Option<i32>,
}

pub(crate) fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

pub(crate) fn amount(table: &'static str, id: &str, text: &str) -> Result<Decimal> {
    column(table, "cost", id, text)
}

impl TryFrom<UsageRow> for Usage {
    type Error = Error;

    fn try_from(row: UsageRow) -> Result<Self> {
        let id = row.id.as_str();
        macro_rules! maybe {
            ($name:ident) => {
                row.$name.as_deref().map(|text| column(TABLE, stringify!($name), id, text)).transpose()?
            };
        }
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            model_id: column(TABLE, "model_id", id, &row.model_id)?,
            model: column(TABLE, "model", id, &row.model)?,
            backend_id: maybe!(backend_id),
            user_id: maybe!(user_id),
            core_id: maybe!(core_id),
            execution_id: maybe!(execution_id),
            effect: row.effect.map(i32::cast_unsigned),
            input_tokens: row.input_tokens.unsigned_abs(),
            output_tokens: row.output_tokens.unsigned_abs(),
            estimated: row.counted == ESTIMATED,
            cost: amount(TABLE, id, &row.cost)?,
            latency: Duration::from_micros(row.latency_us.unsigned_abs()),
            status: column(TABLE, "status", id, &row.status)?,
            at: row.created_at.into(),
        })
    }
}

impl UsageRow {
    fn of(scope: TenantScope, usage: &Usage) -> Self {
        Self {
            id: usage.id.to_string(),
            tenant_id: scope.tenant_id().to_string(),
            model_id: usage.model_id.to_string(),
            model: usage.model.to_string(),
            backend_id: usage.backend_id.map(|id| id.to_string()),
            user_id: usage.user_id.map(|id| id.to_string()),
            core_id: usage.core_id.map(|id| id.to_string()),
            execution_id: usage.execution_id.map(|id| id.to_string()),
            input_tokens: count(usage.input_tokens),
            output_tokens: count(usage.output_tokens),
            counted: if usage.estimated { ESTIMATED } else { REPORTED }.to_owned(),
            cost: usage.cost.normalize().to_string(),
            latency_us: i64::try_from(usage.latency.as_micros()).unwrap_or(i64::MAX),
            status: usage.status.to_string(),
            created_at: usage.at.into(),
            effect: usage.effect.map(u32::cast_signed),
        }
    }
}

/// Writes the record of a call; false when it has been written before.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, usage: &Usage) -> Result<bool> {
    let insert =
        diesel::insert_into(model_usage::table).values(UsageRow::of(scope, usage)).on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? > 0)
}

/// Writes what is known of a call in the place of an estimate that was made when its node was thought dead. Gives that
/// estimate; none where there is none, and nothing is written.
#[boxed]
pub async fn replace_unknown(
    tx: &mut Transaction,
    scope: TenantScope,
    usage: &Usage,
) -> Result<Option<Usage>> {
    macro_rules! unknown {
        () => {
            model_usage::table
                .filter(model_usage::id.eq(usage.id.to_string()))
                .filter(model_usage::tenant_id.eq(scope.tenant_id().to_string()))
                .filter(model_usage::status.eq(CallStatus::Unknown.as_str()))
        };
    }
    let found: Option<UsageRow> =
        with!(tx, c => unknown!().select(UsageRow::as_select()).get_result(c).await.optional())?;
    let Some(estimate) = found else { return Ok(None) };
    let row = UsageRow::of(scope, usage);
    let update = diesel::update(unknown!()).set((
        model_usage::backend_id.eq(row.backend_id),
        model_usage::input_tokens.eq(row.input_tokens),
        model_usage::output_tokens.eq(row.output_tokens),
        model_usage::counted.eq(row.counted),
        model_usage::cost.eq(row.cost),
        model_usage::latency_us.eq(row.latency_us),
        model_usage::status.eq(row.status),
    ));
    let replaced = with!(tx, c => update.execute(c).await)? == 1;
    replaced.then(|| Usage::try_from(estimate)).transpose()
}

/// Which records a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Of this Core.
    pub core_id: Option<CoreId>,
    /// Of this model, by its slug.
    pub model: Option<String>,
    /// From this instant on.
    pub start: Option<Instant>,
    /// Before this instant.
    pub end: Option<Instant>,
}

/// The records of a tenant's calls, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &UsageFilter,
    after: Option<UsageId>,
    rows: i64,
) -> Result<Vec<Usage>> {
    macro_rules! query {
        () => {{
            let mut query = model_usage::table
                .filter(model_usage::tenant_id.eq(scope.tenant_id().to_string()))
                .order(model_usage::id.desc())
                .limit(rows)
                .select(UsageRow::as_select())
                .into_boxed();
            if let Some(user) = filter.user_id {
                query = query.filter(model_usage::user_id.eq(user.to_string()));
            }
            if let Some(core) = filter.core_id {
                query = query.filter(model_usage::core_id.eq(core.to_string()));
            }
            if let Some(model) = &filter.model {
                query = query.filter(model_usage::model.eq(model.clone()));
            }
            if let Some(start) = filter.start {
                query = query.filter(model_usage::created_at.ge(Stamp(start)));
            }
            if let Some(end) = filter.end {
                query = query.filter(model_usage::created_at.lt(Stamp(end)));
            }
            if let Some(after) = after {
                query = query.filter(model_usage::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<UsageRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Usage::try_from).collect()
}

/// What calls of some executions have used: tokens read, tokens written, and what they cost.
#[boxed]
pub async fn of_executions(
    c: &mut Connection,
    scope: TenantScope,
    ids: &[ExecutionId],
) -> Result<(u64, u64, Decimal)> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let query = model_usage::table
        .filter(model_usage::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(model_usage::execution_id.eq_any(ids))
        .select((model_usage::id, model_usage::input_tokens, model_usage::output_tokens, model_usage::cost));
    let found: Vec<(String, i64, i64, String)> = with!(c, c => query.load(c).await)?;
    found.into_iter().try_fold((0_u64, 0_u64, Decimal::ZERO), |(input, output, sum), row| {
        let cost = amount(TABLE, &row.0, &row.3)?;
        Ok((
            input.saturating_add(row.1.unsigned_abs()),
            output.saturating_add(row.2.unsigned_abs()),
            sum.saturating_add(cost),
        ))
    })
}

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetOwner {
    /// The tenant's own.
    Tenant,
    /// A Core's.
    Core(CoreId),
}

impl BudgetOwner {
    fn text(self) -> String {
        match self {
            Self::Tenant => "tenant".to_owned(),
            Self::Core(id) => id.to_string(),
        }
    }
}

/// What has been spent of a budget in a month, held until the transaction ends: nobody reserves or settles before. Whoever
/// holds several takes the tenant's first.
#[boxed]
pub async fn lock(
    tx: &mut Transaction,
    scope: TenantScope,
    owner: BudgetOwner,
    month: &str,
) -> Result<Spent> {
    let key = (scope.tenant_id().to_string(), owner.text(), month.to_owned());
    let insert = diesel::insert_into(model_budgets::table)
        .values((
            model_budgets::tenant_id.eq(key.0.clone()),
            model_budgets::owner.eq(key.1.clone()),
            model_budgets::month.eq(key.2.clone()),
            model_budgets::tokens.eq(0_i64),
            model_budgets::cost.eq("0"),
            model_budgets::calls.eq(0_i64),
        ))
        .on_conflict_do_nothing();
    with!(tx, c => insert.execute(c).await)?;
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let held = diesel::update(model_budgets::table.find(key))
        .set(model_budgets::calls.eq(model_budgets::calls))
        .returning((model_budgets::tokens, model_budgets::cost));
    let (tokens, cost): (i64, String) = with!(tx, c => held.get_result(c).await)?;
    Ok(Spent { tokens: tokens.unsigned_abs(), cost: amount("model_budgets", month, &cost)? })
}

/// Writes what has been spent of a budget that is held, with one call more.
#[boxed]
pub async fn spend(
    tx: &mut Transaction,
    scope: TenantScope,
    owner: BudgetOwner,
    month: &str,
    spent: Spent,
) -> Result<()> {
    write_spent(tx, scope, owner, month, spent, 1).await
}

/// Writes what has been spent of a budget that is held, as it is known by now of the same calls.
#[boxed]
pub async fn correct(
    tx: &mut Transaction,
    scope: TenantScope,
    owner: BudgetOwner,
    month: &str,
    spent: Spent,
) -> Result<()> {
    write_spent(tx, scope, owner, month, spent, 0).await
}

async fn write_spent(
    tx: &mut Transaction,
    scope: TenantScope,
    owner: BudgetOwner,
    month: &str,
    spent: Spent,
    more_calls: i64,
) -> Result<()> {
    let update = diesel::update(model_budgets::table.find((
        scope.tenant_id().to_string(),
        owner.text(),
        month.to_owned(),
    )))
    .set((
        model_budgets::tokens.eq(count(spent.tokens)),
        model_budgets::cost.eq(spent.cost.normalize().to_string()),
        model_budgets::calls.eq(model_budgets::calls + more_calls),
    ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}
