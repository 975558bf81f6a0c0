//! Calls of models that go on, and what is held back for them: as the records that are left of them should their node die.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_catalog::budget::Spent;
use scaigrid_catalog::usage::{CallStatus, Usage};
use scaigrid_scope::{CoreId, Instant, NodeId, SystemScope, TenantScope, UsageId};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::model_usage::{amount, count};
use crate::schema::{model_reservations, nodes};

const TABLE: &str = "model_reservations";

/// Id, Core, tokens to read and to write, cost.
type Held = (String, Option<String>, i64, i64, String);

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = model_reservations)]
#[diesel(treat_none_as_default_value = false)]
struct ReservationRow {
    id: String,
    tenant_id: String,
    model_id: String,
    model: String,
    backend_id: Option<String>,
    user_id: Option<String>,
    core_id: Option<String>,
    execution_id: Option<String>,
    effect: Option<i32>,
    month: String,
    node_id: String,
    input_tokens: i64,
    output_tokens: i64,
    cost: String,
    created_at: Stamp,
}

/// A call that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The record that is left of it if nobody comes to know more: what is held back is what it may use at most.
    pub usage: Usage,
    /// The month that it counts for.
    pub month: String,
    /// The node that makes the call.
    pub node: NodeId,
}

impl TryFrom<ReservationRow> for Reservation {
    type Error = Error;

    fn try_from(row: ReservationRow) -> Result<Self> {
        let id = row.id.as_str();
        macro_rules! maybe {
            ($name:ident) => {
                row.$name.as_deref().map(|text| column(TABLE, stringify!($name), id, text)).transpose()?
            };
        }
        let usage = Usage {
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
            estimated: true,
            cost: amount(TABLE, id, &row.cost)?,
            latency: Duration::ZERO,
            status: CallStatus::Unknown,
            at: row.created_at.into(),
        };
        Ok(Self { usage, node: column(TABLE, "node_id", id, &row.node_id)?, month: row.month })
    }
}

/// Holds something back for a call. The budgets that it is of are held.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, reservation: &Reservation) -> Result<()> {
    let Reservation { usage, month, node } = reservation;
    let row = ReservationRow {
        id: usage.id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        model_id: usage.model_id.to_string(),
        model: usage.model.to_string(),
        backend_id: usage.backend_id.map(|id| id.to_string()),
        user_id: usage.user_id.map(|id| id.to_string()),
        core_id: usage.core_id.map(|id| id.to_string()),
        execution_id: usage.execution_id.map(|id| id.to_string()),
        effect: usage.effect.map(u32::cast_signed),
        month: month.clone(),
        node_id: node.to_string(),
        input_tokens: count(usage.input_tokens),
        output_tokens: count(usage.output_tokens),
        cost: usage.cost.normalize().to_string(),
        created_at: usage.at.into(),
    };
    with!(tx, c => diesel::insert_into(model_reservations::table).values(row).execute(c).await)?;
    Ok(())
}

/// What is held back for a tenant's calls in a month, and what of it for a Core's. What nodes hold back that have died
/// counts until it is settled.
#[boxed]
pub async fn held(
    tx: &mut Transaction,
    scope: TenantScope,
    core: Option<CoreId>,
    month: &str,
) -> Result<(Spent, Spent)> {
    let query = model_reservations::table
        .filter(model_reservations::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(model_reservations::month.eq(month.to_owned()))
        .select((
            model_reservations::id,
            model_reservations::core_id,
            model_reservations::input_tokens,
            model_reservations::output_tokens,
            model_reservations::cost,
        ));
    let found: Vec<Held> = with!(tx, c => query.load(c).await)?;
    let core = core.map(|core| core.to_string());
    let (mut of_tenant, mut of_core) = (Spent::default(), Spent::default());
    for (id, of, input, output, cost) in found {
        let tokens = input.unsigned_abs().saturating_add(output.unsigned_abs());
        let held = Spent { tokens, cost: amount(TABLE, &id, &cost)? };
        of_tenant = of_tenant.and(held);
        if of.is_some() && of == core {
            of_core = of_core.and(held);
        }
    }
    Ok((of_tenant, of_core))
}

/// Frees what was held back for a call; false where somebody has done so.
#[boxed]
pub async fn release(tx: &mut Transaction, scope: TenantScope, id: UsageId) -> Result<bool> {
    let delete = diesel::delete(model_reservations::table.find(id.to_string()))
        .filter(model_reservations::tenant_id.eq(scope.tenant_id().to_string()));
    Ok(with!(tx, c => delete.execute(c).await)? == 1)
}

/// Calls of nodes whose lease has ended, oldest first.
#[boxed]
pub async fn left_behind(
    c: &mut Connection,
    _system: &SystemScope,
    own: NodeId,
    now: Instant,
    rows: i64,
) -> Result<Vec<Reservation>> {
    let mut alive: Vec<String> = {
        let query = nodes::table.filter(nodes::lease_until.ge(Stamp(now))).select(nodes::id);
        with!(c, c => query.load(c).await)?
    };
    alive.push(own.to_string());
    macro_rules! query {
        () => {
            model_reservations::table
                .filter(model_reservations::node_id.ne_all(alive))
                .order(model_reservations::id)
                .limit(rows)
                .select(ReservationRow::as_select())
        };
    }
    let found: Vec<ReservationRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(Reservation::try_from).collect()
}
