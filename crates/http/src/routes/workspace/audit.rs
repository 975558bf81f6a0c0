//! The audit log of the tenant, as the workspace's administration lists it.
use scaigrid_http_macros::get;

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::audit::AuditFilter;
use scaigrid_scope::{Instant, perm};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Allowed;
use crate::envelope::{Listed, WorkspacePageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, Paging};
use crate::routes::audit::{AuditPage, AuditRecord};
use crate::routes::given::Problems;

/// Which records the list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WorkspaceAuditQuery {
    /// Of this action, e.g. `participant.create`.
    #[param(value_type = Option<kinds::AuditAction>)]
    action: Option<String>,
    /// By this actor.
    actor_id: Option<String>,
    /// On a resource of this type, e.g. `participant`.
    resource_type: Option<String>,
    /// On this resource.
    resource_id: Option<String>,
    /// At or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Instant>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

impl WorkspaceAuditQuery {
    fn read(self) -> Result<AuditFilter, Error> {
        let mut problems = Problems::default();
        let action = problems.maybe("action", self.action.as_deref());
        problems.check()?;
        Ok(AuditFilter {
            action,
            actor_id: self.actor_id,
            resource_type: self.resource_type,
            resource_id: self.resource_id,
            since: self.since,
            until: self.until,
            ..AuditFilter::default()
        })
    }
}

/// List the audit records of the tenant, newest first.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_workspace_audit",
    params(WorkspaceAuditQuery, AuditPage),
    responses((status = 200, body = WorkspacePageOf<AuditRecord>))
)]
#[get("/v1/admin/audit")]
async fn list_workspace_audit(
    caller: Allowed<perm::AdminAccess>,
    filters: Filters<WorkspaceAuditQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<AuditRecord>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("workspace-audit", &caller.tenant().id.to_string(), &Bounds::AUDIT)?;
    Ok(Listed::workspace(app.tenant_audit_records(&caller, &filter, &page).await?, &seal))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_workspace_audit);
}
