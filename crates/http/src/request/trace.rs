//! Requests in traces, by OpenTelemetry's conventions for HTTP.

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, StatusCode};
use scaigrid_app::telemetry::{Kind, Span};
use scaigrid_scope::TraceContext;

use super::RequestId;
use crate::error::Error;
use crate::server::Edge;

/// The span of a request, under the one that the client names (`traceparent`, W3C Trace Context). What machines ask all the
/// time is not recorded.
pub(super) fn begin(request: &ServiceRequest) -> Result<Span, Error> {
    let edge = Edge::of(request.request())?;
    let path = request.path();
    if !edge.tracing.is_on() || path.starts_with("/health") || path == "/metrics" {
        return Ok(Span::none());
    }
    let mut all = request.headers().get_all("traceparent");
    // More than one names nothing.
    let given = all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok());
    let parent = given.and_then(|text| text.parse::<TraceContext>().ok());
    Ok(edge.tracing.span(Kind::Server, parent, || "request".into()))
}

/// Ends it: route templates and numbers, and nothing that was sent.
pub(super) fn end(
    span: &mut Span,
    (method, pattern): (&Method, Option<&str>),
    status: StatusCode,
    id: &RequestId,
) {
    let mut span = std::mem::take(span);
    let Some(live) = span.live() else { return };
    match pattern {
        Some(pattern) => {
            live.rename(format!("{method} {pattern}")).text("http.route", pattern);
        }
        None => drop(live.rename(method.to_string())),
    }
    live.set("http.request.method", method.to_string())
        .set("http.response.status_code", i64::from(status.as_u16()))
        .text("scaigrid.request.id", id.as_str());
    if status.is_server_error() {
        live.fail(status.as_str());
    }
}
