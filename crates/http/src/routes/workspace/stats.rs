//! Statistics of the tenant.

use scaigrid_http_macros::get;
use std::collections::BTreeMap;

use crate::openapi::ServiceConfig;
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::stats::{Counted, Statistics};
use scaigrid_scope::{Instant, perm};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Allowed;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::filters::Filters;

/// The period that the usage is told of.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PeriodQuery {
    /// From this time on. Left out, from the beginning of the present calendar month (UTC).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this time, at most 400 days later. Left out, before the end of the present calendar month.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// Rooms.
#[derive(Debug, Serialize, ToSchema)]
struct RoomFigures {
    total: u64,
    open: u64,
    archived: u64,
}

/// Participants, people included.
#[derive(Debug, Serialize, ToSchema)]
struct ParticipantFigures {
    total: u64,
    /// By `participant_type`.
    by_type: BTreeMap<String, u64>,
}

/// How many there are by status.
#[derive(Debug, Serialize, ToSchema)]
struct StatusFigures {
    total: u64,
    by_status: BTreeMap<String, u64>,
}

/// A period: from one time on, and before another.
#[derive(Debug, Serialize, ToSchema)]
struct UsagePeriod {
    #[schema(value_type = String, format = DateTime)]
    since: Instant,
    #[schema(value_type = String, format = DateTime)]
    until: Instant,
}

/// What calls of a model have used.
#[derive(Debug, Serialize, ToSchema)]
struct ModelFigures {
    /// The slug that the model had.
    model: String,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// What calls of models have used in a period.
#[derive(Debug, Serialize, ToSchema)]
struct UsageFigures {
    period: UsagePeriod,
    /// How many calls there were, however they have ended.
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// At most 100, the most used first.
    by_model: Vec<ModelFigures>,
}

/// What lies in the store: large values, and pictures of Cores.
#[derive(Debug, Serialize, ToSchema)]
struct StorageFigures {
    bytes: u64,
    objects: u64,
    /// How many bytes there may be; `null` where there is no limit.
    #[schema(required = true)]
    limit_bytes: Option<u64>,
}

/// Figures of the tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "rooms": {"total": 3, "open": 2, "archived": 1},
    "participants": {"total": 9, "by_type": {"human": 7, "model": 2, "agent": 0, "helper": 0, "bridge": 0, "federated": 0}},
    "ai_usage": {
        "period": {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"},
        "requests": 120, "input_tokens": 48000, "output_tokens": 9000,
        "by_model": [{"model": "openai/gpt-4o", "requests": 120, "input_tokens": 48000, "output_tokens": 9000}]
    },
    "storage": {"bytes": 24576, "objects": 4, "limit_bytes": null},
    "cores": {"total": 2, "by_status": {"running": 2}},
    "checkpoints": {"total": 41, "by_status": {"pending": 1, "resolved": 40, "expired": 0, "cancelled": 0}}
}))]
struct Stats {
    rooms: RoomFigures,
    participants: ParticipantFigures,
    ai_usage: UsageFigures,
    storage: StorageFigures,
    cores: StatusFigures,
    checkpoints: StatusFigures,
}

impl From<Counted> for StatusFigures {
    fn from(counted: Counted) -> Self {
        Self { total: counted.total, by_status: counted.by }
    }
}

impl From<Statistics> for Stats {
    fn from(statistics: Statistics) -> Self {
        let Statistics {
            rooms,
            participants,
            cores,
            checkpoints,
            objects,
            bytes,
            limit_bytes,
            period,
            usage,
        } = statistics;
        let of = |status: &str| rooms.by.get(status).copied().unwrap_or_default();
        let by_model = usage.by_model.into_iter().map(|(model, used)| ModelFigures {
            model,
            requests: used.requests,
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
        });
        Self {
            rooms: RoomFigures { total: rooms.total, open: of("open"), archived: of("archived") },
            participants: ParticipantFigures { total: participants.total, by_type: participants.by },
            ai_usage: UsageFigures {
                period: UsagePeriod { since: period.since, until: period.until },
                requests: usage.all.requests,
                input_tokens: usage.all.input_tokens,
                output_tokens: usage.all.output_tokens,
                by_model: by_model.collect(),
            },
            storage: StorageFigures { bytes, objects, limit_bytes },
            cores: cores.into(),
            checkpoints: checkpoints.into(),
        }
    }
}

/// Get the figures of the tenant: what there is now, and what calls of models have used in a period.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_workspace_stats",
    params(PeriodQuery),
    responses((status = 200, body = DataOf<Stats>))
)]
#[get("/v1/admin/stats")]
async fn get_workspace_stats(
    caller: Allowed<perm::AdminAccess>,
    period: Filters<PeriodQuery>,
    app: web::Data<App>,
) -> Result<Reply<Stats>, Error> {
    let PeriodQuery { since, until } = period.read()?;
    Ok(Reply::ok(app.statistics(&caller, since, until).await?.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_workspace_stats);
}
