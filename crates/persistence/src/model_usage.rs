//! What calls of models have used, what may still be spent, and what is held back for calls that go on.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use rust_decimal::Decimal;
use scaigrid_catalog::budget::Spent;
use scaigrid_catalog::usage::Usage;
use scaigrid_scope::{CoreId, ExecutionId, Instant, NodeId, TenantScope, UsageId, UserId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{model_budgets, model_reservations, model_usage, nodes};

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
}

fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

fn amount(table: &'static str, id: &str, text: &str) -> Result<Decimal> {
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

/// Writes the record of a call; false when it has been written before.
pub async fn add(tx: &mut Transaction, scope: TenantScope, usage: &Usage) -> Result<bool> {
    let row = UsageRow {
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
    };
    let insert = diesel::insert_into(model_usage::table).values(row).on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? > 0)
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
pub async fn spend(
    tx: &mut Transaction,
    scope: TenantScope,
    owner: BudgetOwner,
    month: &str,
    spent: Spent,
) -> Result<()> {
    let update = diesel::update(model_budgets::table.find((
        scope.tenant_id().to_string(),
        owner.text(),
        month.to_owned(),
    )))
    .set((
        model_budgets::tokens.eq(count(spent.tokens)),
        model_budgets::cost.eq(spent.cost.normalize().to_string()),
        model_budgets::calls.eq(model_budgets::calls + 1),
    ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// What is held back for a call that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The record that the call will have.
    pub id: UsageId,
    /// The Core that has asked.
    pub core_id: Option<CoreId>,
    /// The month that it counts for.
    pub month: String,
    /// The node that makes the call.
    pub node: NodeId,
    /// How much.
    pub held: Spent,
    /// Since when.
    pub at: Instant,
}

/// What is held back for a tenant's calls in a month, and what of it for a Core's. What nodes hold back whose lease has
/// ended is freed.
pub async fn held(
    tx: &mut Transaction,
    scope: TenantScope,
    core: Option<CoreId>,
    month: &str,
    own: NodeId,
    now: Instant,
) -> Result<(Spent, Spent)> {
    let tenant = scope.tenant_id().to_string();
    let mut alive: Vec<String> = {
        let query = nodes::table.filter(nodes::lease_until.ge(Stamp(now))).select(nodes::id);
        with!(tx, c => query.load(c).await)?
    };
    alive.push(own.to_string());
    let dead = model_reservations::table
        .filter(model_reservations::tenant_id.eq(tenant.clone()))
        .filter(model_reservations::node_id.ne_all(alive));
    with!(tx, c => diesel::delete(dead).execute(c).await)?;
    let query = model_reservations::table
        .filter(model_reservations::tenant_id.eq(tenant))
        .filter(model_reservations::month.eq(month.to_owned()))
        .select((
            model_reservations::id,
            model_reservations::core_id,
            model_reservations::tokens,
            model_reservations::cost,
        ));
    let found: Vec<(String, Option<String>, i64, String)> = with!(tx, c => query.load(c).await)?;
    let core = core.map(|core| core.to_string());
    let (mut of_tenant, mut of_core) = (Spent::default(), Spent::default());
    for (id, of, tokens, cost) in found {
        let held = Spent { tokens: tokens.unsigned_abs(), cost: amount("model_reservations", &id, &cost)? };
        of_tenant = of_tenant.and(held);
        if of.is_some() && of == core {
            of_core = of_core.and(held);
        }
    }
    Ok((of_tenant, of_core))
}

/// Holds something back. The budgets that it is of are held.
pub async fn reserve(tx: &mut Transaction, scope: TenantScope, reservation: &Reservation) -> Result<()> {
    let insert = diesel::insert_into(model_reservations::table).values((
        model_reservations::id.eq(reservation.id.to_string()),
        model_reservations::tenant_id.eq(scope.tenant_id().to_string()),
        model_reservations::core_id.eq(reservation.core_id.map(|id| id.to_string())),
        model_reservations::month.eq(reservation.month.clone()),
        model_reservations::node_id.eq(reservation.node.to_string()),
        model_reservations::tokens.eq(count(reservation.held.tokens)),
        model_reservations::cost.eq(reservation.held.cost.normalize().to_string()),
        model_reservations::created_at.eq(Stamp(reservation.at)),
    ));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Frees what was held back for a call.
pub async fn release(tx: &mut Transaction, scope: TenantScope, id: UsageId) -> Result<()> {
    let delete = diesel::delete(model_reservations::table.find(id.to_string()))
        .filter(model_reservations::tenant_id.eq(scope.tenant_id().to_string()));
    with!(tx, c => delete.execute(c).await)?;
    Ok(())
}
