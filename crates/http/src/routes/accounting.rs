//! What calls of models have used.
use scaigrid_http_macros::get;

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::catalog::UsageFilter;
use scaigrid_catalog::usage;
use scaigrid_scope::{CoreId, Instant, UserId, perm};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Allowed;
use crate::envelope::{Listed, PageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};

/// The record of a call.
#[derive(Debug, Serialize, ToSchema)]
struct UsageRecord {
    #[schema(example = "usage_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    /// The slug that the model had.
    model: String,
    /// The backend that was asked last.
    #[schema(required = true)]
    backend_id: Option<String>,
    /// Who has asked.
    #[schema(required = true)]
    user_id: Option<String>,
    /// The Core that has asked.
    #[schema(required = true)]
    core_id: Option<String>,
    #[schema(required = true)]
    execution_id: Option<String>,
    /// Which step of the execution it is, as in its history.
    #[schema(required = true)]
    effect: Option<u32>,
    tokens_in: u64,
    tokens_out: u64,
    /// Whether the numbers are estimated from what was sent and received, since the backend has not told them.
    estimated: bool,
    #[schema(example = "0.007275")]
    cost: String,
    latency_ms: u64,
    /// `completed`, `failed`, `cancelled`, or `unknown`: its server died meanwhile, and it counts as if it had used all that it
    /// might.
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// Which records a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// Of this user.
    #[param(value_type = Option<kinds::UserId>)]
    user_id: Option<UserId>,
    /// Of this Core.
    #[param(value_type = Option<kinds::CoreId>)]
    core_id: Option<CoreId>,
    /// Of the model with this slug.
    model: Option<String>,
    /// From this instant on.
    #[param(value_type = Option<String>, format = DateTime)]
    start: Option<Instant>,
    /// Before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    end: Option<Instant>,
}

impl From<usage::Usage> for UsageRecord {
    fn from(usage: usage::Usage) -> Self {
        Self {
            id: usage.id.to_string(),
            tenant_id: usage.tenant_id.to_string(),
            model: usage.model.to_string(),
            backend_id: usage.backend_id.map(|id| id.to_string()),
            user_id: usage.user_id.map(|id| id.to_string()),
            core_id: usage.core_id.map(|id| id.to_string()),
            execution_id: usage.execution_id.map(|id| id.to_string()),
            effect: usage.effect,
            tokens_in: usage.input_tokens,
            tokens_out: usage.output_tokens,
            estimated: usage.estimated,
            cost: usage.cost.normalize().to_string(),
            latency_ms: u64::try_from(usage.latency.as_millis()).unwrap_or(u64::MAX),
            status: usage.status.as_str(),
            created_at: usage.at,
        }
    }
}

/// List the records of calls of models in the tenant, newest first: the caller's own, or with `accounting:view_tenant` all.
#[utoipa::path(
    tag = "accounting",
    operation_id = "list_model_usage",
    params(UsageQuery, PageParams),
    responses((status = 200, body = PageOf<UsageRecord>))
)]
#[get("/v1/accounting/usage")]
async fn list_model_usage(
    caller: Allowed<perm::AccountingViewOwn>,
    filters: Filters<UsageQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<UsageRecord>, Error> {
    let UsageQuery { user_id, core_id, model, start, end } = filters.read()?;
    let filter = UsageFilter { user_id, core_id, model, start, end };
    let (page, seal) = paging.read("model-usage", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.model_usage(&caller, filter, &page).await?, &seal))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_model_usage);
}
