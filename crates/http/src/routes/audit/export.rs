//! The audit log as a file, sent while it is read.

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use futures_util::stream::{empty, try_unfold};
use scaigrid_app::audit::AuditExport;
use scaigrid_app::{self as app, App};
use scaigrid_http_macros::get;
use scaigrid_scope::perm;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{AuditQuery, AuditRecord, Problems};
use crate::auth::AllowedAtLevel;
use crate::error::Error;
use crate::export::{Format, Writer};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::request::{HeadersOnly, Origin};

/// How the file is written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct FormatQuery {
    /// `json` (one array, and what is taken when this is left out), `ndjson` (a record per line) or `csv` (RFC 4180).
    #[param(value_type = Option<kinds::ExportFormat>)]
    format: Option<String>,
}

impl FormatQuery {
    fn read(&self) -> Result<Format, Error> {
        let mut problems = Problems::default();
        let format = problems.maybe("format", self.format.as_deref());
        problems.check()?;
        Ok(format.unwrap_or(Format::Json))
    }
}

/// A file on its way.
struct Sending {
    export: AuditExport,
    writer: Writer,
    begun: bool,
    ended: bool,
}

impl Sending {
    /// The next piece, read when the one before has been taken. An error breaks the transfer off, so that nobody takes a part
    /// for the whole.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, app::Error> {
        if self.ended {
            return Ok(None);
        }
        let mut out = Vec::new();
        if !self.begun {
            self.writer.begin(&mut out);
            self.begun = true;
        }
        if let Some(records) = self.export.next().await? {
            for record in records {
                self.writer.write(&mut out, record)?;
            }
        } else {
            self.writer.end(&mut out);
            self.ended = true;
        }
        Ok(Some((out.into(), self)))
    }
}

async fn exported(
    caller: AllowedAtLevel<perm::AdminAccess>,
    origin: Origin,
    filters: Filters<AuditQuery>,
    format: Filters<FormatQuery>,
    headers_only: HeadersOnly,
    app: &App,
) -> Result<HttpResponse, Error> {
    let filter = filters.read()?.read()?;
    let format = format.read()?.read()?;
    if headers_only.0 {
        // Nothing is read and nothing goes out, so there is nothing to record.
        return Ok(file(format, app).streaming(empty::<Result<Bytes, app::Error>>()));
    }
    let export = app.export_audit(&caller, &origin.context(), filter, format.as_str()).await?;
    let sending = Sending { export, writer: Writer::new(format), begun: false, ended: false };
    let pieces = try_unfold(sending, async |sending| {
        sending
            .next()
            .await
            .inspect_err(|error| tracing::warn!(%error, "an export of the audit log broke off"))
    });
    Ok(file(format, app).streaming(Box::pin(pieces)))
}

/// The answer that a file goes out with.
fn file(format: Format, app: &App) -> HttpResponseBuilder {
    let name = format!("audit-{}.{format}", app.now().to_string().replace([':', '.'], "-"));
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(format.media_type())
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    answer
}

/// Take audit records out as a file, newest first. That this was done is recorded.
#[utoipa::path(
    tag = "audit",
    operation_id = "export_audit_events",
    params(AuditQuery, FormatQuery),
    responses((status = 200, description = "The file", content(
        (Vec<AuditRecord> = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    )))
)]
#[get("/v1/audit/events/export")]
pub(super) async fn export_audit_events(
    caller: AllowedAtLevel<perm::AdminAccess>,
    origin: Origin,
    filters: Filters<AuditQuery>,
    format: Filters<FormatQuery>,
    headers_only: HeadersOnly,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    exported(caller, origin, filters, format, headers_only, &app).await
}

/// Take audit records out as a file, by its other name.
#[utoipa::path(
    tag = "audit",
    operation_id = "export_audit_log",
    params(AuditQuery, FormatQuery),
    responses((status = 200, description = "The file", content(
        (Vec<AuditRecord> = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    )))
)]
#[get("/v1/audit-log/export")]
pub(super) async fn export_audit_log(
    caller: AllowedAtLevel<perm::AdminAccess>,
    origin: Origin,
    filters: Filters<AuditQuery>,
    format: Filters<FormatQuery>,
    headers_only: HeadersOnly,
    app: web::Data<App>,
) -> Result<HttpResponse, Error> {
    exported(caller, origin, filters, format, headers_only, &app).await
}
