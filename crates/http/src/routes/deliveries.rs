//! What became of what webhooks were told.
use scaigrid_http_macros::{get, post};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, webhooks};
use scaigrid_scope::{DeliveryId, Instant, WebhookId, perm};
use scaigrid_webhooks::DeliveryState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problems;
use crate::auth::Allowed;
use crate::envelope::{DataOf, Listed, PageOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// Which deliveries a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// In this status: `pending`, `success` or `failed`.
    #[param(value_type = Option<kinds::DeliveryStatus>)]
    status: Option<String>,
    /// Of events at or after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
}

/// One attempt to deliver.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryAttempt {
    #[schema(value_type = String, format = DateTime)]
    timestamp: Instant,
    /// What the receiver answered.
    #[schema(required = true)]
    status_code: Option<u16>,
    duration_ms: u32,
    /// What went wrong, if something did.
    #[schema(required = true)]
    error: Option<String>,
    /// The beginning of what the receiver answered.
    #[schema(required = true)]
    response: Option<String>,
}

/// The delivery of one event to a webhook.
#[derive(Debug, Serialize, ToSchema)]
struct Delivery {
    #[schema(example = "del_01JZ8QZ5T0000000000000000A")]
    id: String,
    webhook_id: String,
    /// What `webhook-id` says, in every attempt.
    #[schema(example = "evt_01JZ8QZ5T0000000000000000A")]
    event_id: String,
    #[schema(example = "scaicore.checkpoint_pending")]
    event_type: &'static str,
    /// `pending`, `success` or `failed`.
    status: &'static str,
    /// How many attempts were begun since it was last asked for.
    attempts: u32,
    /// When it is tried next, while it is pending.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_attempt_at: Option<Instant>,
    /// What the receiver answered last.
    #[schema(required = true)]
    status_code: Option<u16>,
    /// How long the last attempt took.
    #[schema(required = true)]
    duration_ms: Option<u32>,
    /// What went wrong with the last attempt.
    #[schema(required = true)]
    error: Option<String>,
    /// The last attempts, oldest first, at most 20.
    log: Vec<DeliveryAttempt>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    finished_at: Option<Instant>,
}

impl From<scaigrid_webhooks::Delivery> for Delivery {
    fn from(delivery: scaigrid_webhooks::Delivery) -> Self {
        let (next_attempt_at, finished_at) = match delivery.state {
            DeliveryState::Pending { next_at } => (Some(next_at), None),
            DeliveryState::Ended { at, .. } => (None, Some(at)),
        };
        let last = delivery.log.last();
        Self {
            id: delivery.id.to_string(),
            webhook_id: delivery.webhook_id.to_string(),
            event_id: delivery.event_id.to_string(),
            event_type: delivery.event_type.as_str(),
            status: delivery.state.status().as_str(),
            attempts: delivery.attempts,
            next_attempt_at,
            status_code: last.and_then(|attempt| attempt.status_code),
            duration_ms: last.map(|attempt| attempt.duration_ms),
            error: last.and_then(|attempt| attempt.error.clone()),
            log: delivery
                .log
                .into_iter()
                .map(|attempt| DeliveryAttempt {
                    timestamp: attempt.at,
                    status_code: attempt.status_code,
                    duration_ms: attempt.duration_ms,
                    error: attempt.error,
                    response: attempt.response,
                })
                .collect(),
            created_at: delivery.created_at,
            finished_at,
        }
    }
}

/// List the deliveries of a webhook, newest first. They are kept for 30 days.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "list_webhook_deliveries",
    params(("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A"), DeliveryQuery, PageParams),
    responses((status = 200, body = PageOf<Delivery>))
)]
#[get("/v1/webhooks/{webhook_id}/deliveries")]
async fn list_webhook_deliveries(
    caller: Allowed<perm::WebhooksManage>,
    id: PathId<WebhookId>,
    filters: Filters<DeliveryQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Delivery>, Error> {
    app.webhook(&caller, id.0).await?;
    let query = filters.read()?;
    let mut problems = Problems::default();
    let status = problems.maybe("status", query.status.as_deref());
    problems.check()?;
    let filter = webhooks::DeliveryFilter { status, since: query.since };
    let (page, seal) = paging.read("webhook deliveries", &id.0.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.webhook_deliveries(&caller, id.0, &filter, &page).await?, &seal))
}

/// Deliver an event once more, under the same `webhook-id`, and go on by the timetable should that fail.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "redeliver_webhook_delivery",
    params(
        ("webhook_id" = kinds::WebhookId, Path, example = "whk_01JZ8QZ5T0000000000000000A"),
        ("delivery_id" = kinds::DeliveryId, Path, example = "del_01JZ8QZ5T0000000000000000A")
    ),
    responses((status = 202, body = DataOf<Delivery>))
)]
#[post("/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver")]
async fn redeliver_webhook_delivery(
    caller: Allowed<perm::WebhooksManage>,
    webhook: PathId<WebhookId>,
    delivery: PathId<DeliveryId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<Delivery>, Error> {
    let asked = app.redeliver(&caller, &origin.context(), webhook.0, delivery.0).await?;
    Ok(Reply::accepted(asked.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_webhook_deliveries).service(redeliver_webhook_delivery);
}
