//! The audit log.

mod export;
mod verify;

use scaigrid_http_macros::get;
use std::net::IpAddr;

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, audit};
use scaigrid_scope::{Instant, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Problems;
use crate::auth::AllowedAtLevel;
use crate::envelope::{Listed, PageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, Paging};

/// Which records a list shows, and which part of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Of this action, e.g. `core.start`.
    #[param(value_type = Option<kinds::AuditAction>)]
    action: Option<String>,
    /// By this actor.
    actor_id: Option<String>,
    /// On a resource of this type, e.g. `core`.
    resource_type: Option<String>,
    /// On this resource.
    resource_id: Option<String>,
    /// That ended so: `SUCCESS` or `FAILURE`.
    #[param(value_type = Option<kinds::AuditOutcome>)]
    status: Option<String>,
    /// From this address.
    #[param(value_type = Option<kinds::IpAddress>)]
    ip_address: Option<IpAddr>,
    /// In this module.
    module: Option<String>,
    /// At or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
    /// Another name of `since`.
    #[param(value_type = Option<String>, format = DateTime)]
    start: Option<Instant>,
    /// Another name of `until`.
    #[param(value_type = Option<String>, format = DateTime)]
    end: Option<Instant>,
}

/// The parameters of the page, for the document: this list allows longer pages than others.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document is made of it; the page itself is read by `Paging`")]
pub(crate) struct AuditPage {
    /// How many records at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = Option<kinds::Cursor>)]
    cursor: Option<String>,
}

/// A record of something that was done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "audit_01JZ8QZ5T0000000000000000A", "timestamp": "2026-04-22T14:30:01Z", "action": "user.role_updated",
    "actor_id": "usr_01JZ8QZ5T0000000000000000A", "actor_email": "ada@acme.example", "actor_type": "user",
    "tenant_id": "ten_01JZ8QZ5T0000000000000000A", "partner_id": "prt_01JZ8QZ5T0000000000000000A",
    "resource_type": "user", "resource_id": "usr_01JZ8QZ5T0000000000000000B", "status": "SUCCESS",
    "changes": {"roles": {"before": ["tenant_user"], "after": ["tenant_admin"]}},
    "request_id": "req_01JZ8QZ5T0000000000000000A", "ip_address": "192.0.2.7", "user_agent": "curl/8.5.0",
    "module": null
}))]
pub(crate) struct AuditRecord {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Instant,
    /// What was done: noun and verb.
    action: &'static str,
    #[schema(required = true)]
    actor_id: Option<String>,
    #[schema(required = true)]
    actor_email: Option<String>,
    /// `user`, `service`, `webhook` or `system`.
    actor_type: &'static str,
    /// The tenant that it was done in; `null` above the tenants.
    #[schema(required = true)]
    tenant_id: Option<String>,
    /// The partner that it was done under; `null` for the platform.
    #[schema(required = true)]
    partner_id: Option<String>,
    resource_type: &'static str,
    resource_id: String,
    /// `SUCCESS` or `FAILURE`.
    status: &'static str,
    /// The fields that are different, each `{"before": …, "after": …}`, secrets masked.
    #[schema(value_type = Object)]
    changes: Value,
    #[schema(required = true)]
    request_id: Option<String>,
    #[schema(required = true)]
    ip_address: Option<String>,
    #[schema(required = true)]
    user_agent: Option<String>,
    /// The module that it was done in; `null` for the platform's own affairs.
    #[schema(required = true)]
    module: Option<String>,
}

impl From<audit::AuditRecord> for AuditRecord {
    fn from(record: audit::AuditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            timestamp: record.at,
            action: record.action.as_str(),
            actor_id: record.actor.id,
            actor_email: record.actor.email,
            actor_type: record.actor.kind.as_str(),
            tenant_id: record.tenant_id.map(|id| id.to_string()),
            partner_id: record.partner_id.map(|id| id.to_string()),
            resource_type: record.action.resource_type(),
            resource_id: record.resource_id,
            status: record.outcome.as_str(),
            changes: record.changes.to_json(),
            request_id: record.request.request_id().map(str::to_owned),
            ip_address: record.request.ip_address().map(|address| address.to_string()),
            user_agent: record.request.user_agent().map(str::to_owned),
            module: record.module,
        }
    }
}

impl AuditQuery {
    fn read(self) -> Result<audit::AuditFilter, Error> {
        let mut problems = Problems::default();
        let action = problems.maybe("action", self.action.as_deref());
        let status = problems.maybe("status", self.status.as_deref());
        problems.check()?;
        Ok(audit::AuditFilter {
            action,
            actor_id: self.actor_id,
            resource_type: self.resource_type,
            resource_id: self.resource_id,
            status,
            ip_address: self.ip_address.map(|address| address.to_canonical()),
            module: self.module,
            since: self.since.max(self.start),
            until: [self.until, self.end].into_iter().flatten().min(),
        })
    }
}

async fn listed(
    caller: AllowedAtLevel<perm::AdminAccess>,
    filters: Filters<AuditQuery>,
    paging: Paging,
    app: &App,
) -> Result<Listed<AuditRecord>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("audit", &format!("{:?}", caller.level()), &Bounds::AUDIT)?;
    Ok(Listed::new(app.audit_records(&caller, &filter, &page).await?, &seal))
}

/// List audit records, newest first.
#[utoipa::path(
    tag = "audit",
    operation_id = "list_audit_events",
    params(AuditQuery, AuditPage),
    responses((status = 200, body = PageOf<AuditRecord>))
)]
#[get("/v1/audit/events")]
async fn list_audit_events(
    caller: AllowedAtLevel<perm::AdminAccess>,
    filters: Filters<AuditQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<AuditRecord>, Error> {
    listed(caller, filters, paging, &app).await
}

/// List audit records, newest first, by its other name.
#[utoipa::path(
    tag = "audit",
    operation_id = "list_audit_log",
    params(AuditQuery, AuditPage),
    responses((status = 200, body = PageOf<AuditRecord>))
)]
#[get("/v1/audit-log")]
async fn list_audit_log(
    caller: AllowedAtLevel<perm::AdminAccess>,
    filters: Filters<AuditQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<AuditRecord>, Error> {
    listed(caller, filters, paging, &app).await
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(export::export_audit_events)
        .service(export::export_audit_log)
        .service(verify::verify_audit_log)
        .service(list_audit_events)
        .service(list_audit_log);
}
