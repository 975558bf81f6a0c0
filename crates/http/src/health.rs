//! Health, readiness and metrics: the routes that machines ask.
//!
//! They are public and not in the envelope, as orchestrators and Prometheus expect them.

use scaigrid_http_macros::get;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::openapi::ServiceConfig;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::BoxFuture;
use scaigrid_app::Resource;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::server::Edge;

/// How one of the things that the server stands on does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It works.
    Ok,
    /// It is away, and the server works without it, with less.
    Degraded,
    /// It is away, and the server cannot work without it.
    Failing,
}

/// Tells whether the server can do its work now.
pub trait Readiness: Send + Sync + 'static {
    /// The things that the server stands on, by name, e.g. `database`. Must answer within a second or two.
    fn checks(&self) -> BoxFuture<'_, Vec<(&'static str, Condition)>>;
}

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// What the server stands on, by name.
    checks: BTreeMap<&'static str, Condition>,
}

/// The process is alive.
#[utoipa::path(tag = "operations", operation_id = "health", security(()), responses((status = 200, body = Health)))]
#[get("/health")]
async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// The server can do its work.
#[utoipa::path(
    tag = "operations",
    operation_id = "health_ready",
    security(()),
    responses(
        (status = 200, body = Ready),
        (status = 503, body = Ready, description = "A thing that the server cannot work without is away"),
    )
)]
#[get("/health/ready")]
async fn ready(request: HttpRequest) -> Result<HttpResponse, Error> {
    let checks: BTreeMap<_, _> = Edge::of(&request)?.readiness.checks().await.into_iter().collect();
    let failing = checks.values().any(|condition| *condition == Condition::Failing);
    let status = if failing { "not_ready" } else { "ready" };
    let mut response = if failing { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    Ok(response.insert_header((header::CACHE_CONTROL, "no-store")).json(Ready { status, checks }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(
    tag = "operations",
    operation_id = "metrics",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
#[get("/metrics")]
async fn metrics(request: HttpRequest) -> Result<HttpResponse, Error> {
    let edge = Edge::of(&request)?;
    let render = edge.metrics.as_ref().ok_or_else(|| Error::not_found(Resource::Route))?;
    Ok(exposition(render))
}

fn exposition(render: &RenderMetrics) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(render())
}

/// `GET /metrics` alone, for an address of its own that only the scraper reaches.
pub fn metrics_alone(config: &mut web::ServiceConfig, render: RenderMetrics) {
    config.route(
        "/metrics",
        web::get().to(move || {
            let answer = exposition(&render);
            async move { answer }
        }),
    );
}

pub(crate) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(health).service(ready).service(metrics);
}
