//! Tenants: made by the partner that owns them, or by the platform, and suspended and limited by them.
//!
//! These routes are part of the workspace product's administration, so their pages and errors look as its clients
//! know them.
use scaigrid_http_macros::{get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, tenants};
use scaigrid_scope::{Features, Instant, Name, PartnerId, TenantChanges, TenantId, perm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::given::{Problems, given, nullable};
use crate::auth::AllowedAtLevel;
use crate::body::{AsObject, Body};
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// How far a tenant may grow. What is left out has no limit of its own.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Validate, ToSchema)]
struct TenantLimits {
    max_users: Option<u32>,
    max_cores: Option<u32>,
    /// How many participants its rooms may know, people included.
    max_participants: Option<u32>,
    max_rooms: Option<u32>,
    max_storage_bytes: Option<u64>,
    /// How many tokens its model calls may use in a calendar month.
    monthly_ai_tokens: Option<u64>,
    /// How many of its executions may be waiting to run.
    max_queued_executions: Option<u32>,
    /// For how many days executions that have ended, and what belongs to them, are kept.
    #[schema(minimum = 1, maximum = 36500)]
    #[validate(range(min = 1, max = 36_500, message = "must be from 1 to 36500"))]
    execution_retention_days: Option<u32>,
}

/// Which tenants a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TenantsQuery {
    /// Of this partner.
    #[param(value_type = Option<kinds::PartnerId>)]
    partner_id: Option<PartnerId>,
    /// In this status: `active` or `suspended`.
    #[param(value_type = Option<kinds::TenantStatus>)]
    status: Option<String>,
}

impl TenantsQuery {
    fn read(self) -> Result<tenants::TenantFilter, Error> {
        let mut problems = Problems::default();
        let status = problems.maybe("status", self.status.as_deref());
        problems.check()?;
        Ok(tenants::TenantFilter { partner_id: self.partner_id, status })
    }
}

/// A tenant as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"slug": "acme", "name": "Acme", "limits": {"max_users": 50}}))]
struct NewTenant {
    /// Unique on the whole platform: 1 to 63 of `a-z`, `0-9` and inner hyphens.
    #[schema(value_type = kinds::Slug)]
    slug: String,
    #[schema(value_type = kinds::Name)]
    name: String,
    /// The partner that will own it: for super admins. Left out, the caller's own, or the platform's.
    #[schema(value_type = Option<kinds::PartnerId>)]
    partner_id: Option<String>,
    /// Its identifier at the identity provider.
    #[schema(value_type = Option<kinds::Name>)]
    scaikey_tenant_id: Option<String>,
    #[validate(nested)]
    #[schema(value_type = Option<TenantLimits>)]
    limits: Option<AsObject<TenantLimits>>,
    /// Feature flags, e.g. `{"prompt_studio": {"enabled": true}}`, at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    features: Option<Map<String, Value>>,
}

/// What is to be changed of a tenant; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "suspended"}))]
struct TenantUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// `active` or `suspended`. A suspended tenant's calls are refused and its Cores stand still.
    #[schema(value_type = Option<kinds::TenantStatus>)]
    status: Option<String>,
    /// `null` for none from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Name>)]
    #[expect(clippy::option_option, reason = "left out, null and a value are three things")]
    scaikey_tenant_id: Option<Option<String>>,
    /// The new limits, all of them.
    #[validate(nested)]
    #[schema(value_type = Option<TenantLimits>)]
    limits: Option<AsObject<TenantLimits>>,
    /// The new feature flags, all of them.
    #[schema(value_type = Option<Object>)]
    features: Option<Map<String, Value>>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
struct Tenant {
    #[schema(example = "ten_01JZ8QZ5T0000000000000000A")]
    id: String,
    slug: String,
    name: String,
    partner_id: String,
    /// `active` or `suspended`: its own. A suspended partner suspends its tenants all the same.
    status: &'static str,
    #[schema(required = true)]
    scaikey_tenant_id: Option<String>,
    limits: TenantLimits,
    #[schema(value_type = Object)]
    features: Map<String, Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<AsObject<TenantLimits>> for scaigrid_scope::TenantLimits {
    fn from(limits: AsObject<TenantLimits>) -> Self {
        Self {
            max_users: limits.max_users,
            max_cores: limits.max_cores,
            max_participants: limits.max_participants,
            max_rooms: limits.max_rooms,
            max_storage_bytes: limits.max_storage_bytes,
            monthly_ai_tokens: limits.monthly_ai_tokens,
            max_queued_executions: limits.max_queued_executions,
            execution_retention_days: limits.execution_retention_days,
        }
    }
}

impl From<scaigrid_scope::TenantLimits> for TenantLimits {
    fn from(limits: scaigrid_scope::TenantLimits) -> Self {
        Self {
            max_users: limits.max_users,
            max_cores: limits.max_cores,
            max_participants: limits.max_participants,
            max_rooms: limits.max_rooms,
            max_storage_bytes: limits.max_storage_bytes,
            monthly_ai_tokens: limits.monthly_ai_tokens,
            max_queued_executions: limits.max_queued_executions,
            execution_retention_days: limits.execution_retention_days,
        }
    }
}

impl From<scaigrid_scope::Tenant> for Tenant {
    fn from(tenant: scaigrid_scope::Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            slug: tenant.slug.into_string(),
            name: tenant.name.into_string(),
            partner_id: tenant.partner_id.to_string(),
            status: tenant.status.as_str(),
            scaikey_tenant_id: tenant.scaikey_tenant_id.map(Name::into_string),
            limits: tenant.limits.into(),
            features: tenant.features.as_map().clone(),
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

fn features(problems: &mut Problems, flags: Option<Map<String, Value>>) -> Option<Features> {
    match Features::new(flags?) {
        Ok(features) => Some(features),
        Err(error) => {
            problems.note("features", error);
            None
        }
    }
}

impl NewTenant {
    fn read(self) -> Result<tenants::NewTenant, Error> {
        let mut problems = Problems::default();
        let slug = problems.read("slug", &self.slug);
        let name = problems.read("name", &self.name);
        let partner_id = problems.maybe("partner_id", self.partner_id.as_deref());
        let scaikey_tenant_id = problems.maybe("scaikey_tenant_id", self.scaikey_tenant_id.as_deref());
        let features = features(&mut problems, self.features).unwrap_or_default();
        problems.check()?;
        let (Some(slug), Some(name)) = (slug, name) else { return Err(problems.refusal()) };
        let limits = self.limits.map(Into::into).unwrap_or_default();
        Ok(tenants::NewTenant { slug, name, partner_id, scaikey_tenant_id, limits, features })
    }
}

impl TenantUpdate {
    fn read(self) -> Result<TenantChanges, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let status = problems.maybe("status", self.status.as_deref());
        let scaikey_tenant_id = nullable(&mut problems, "scaikey_tenant_id", self.scaikey_tenant_id.as_ref());
        let features = features(&mut problems, self.features);
        problems.check()?;
        Ok(TenantChanges { name, status, scaikey_tenant_id, limits: self.limits.map(Into::into), features })
    }
}

fn shown_tenant(tenant: scaigrid_scope::Tenant) -> Reply<Tenant> {
    let revision = tenant.revision.unsigned_abs();
    Reply::ok(Tenant::from(tenant)).with_etag(revision)
}

/// List the tenants under the caller, newest first.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "list_tenants",
    params(TenantsQuery, PageParams),
    responses((status = 200, body = WorkspacePageOf<Tenant>))
)]
#[get("/v1/admin/tenants")]
async fn list_tenants(
    caller: AllowedAtLevel<perm::AdminAccess>,
    filters: Filters<TenantsQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Tenant>, Error> {
    App::may_administer_tenants(&caller)?;
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("tenants", &format!("{:?}", caller.level()), &Bounds::LIST)?;
    Ok(Listed::workspace(app.tenants(&caller, &filter, &page).await?, &seal))
}

/// Add a tenant. For partners' admins, in their partner, and super admins, in any.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "create_tenant",
    request_body = NewTenant,
    responses((status = 201, body = DataOf<Tenant>))
)]
#[post("/v1/admin/tenants")]
async fn create_tenant(
    caller: AllowedAtLevel<perm::AdminAccess>,
    origin: Origin,
    body: Body<NewTenant>,
    app: web::Data<App>,
) -> Result<Reply<Tenant>, Error> {
    App::may_administer_tenants(&caller)?;
    let new = body.read().await?.read()?;
    let tenant = app.create_tenant(&caller, &origin.context(), new).await?;
    let revision = tenant.revision.unsigned_abs();
    let tenant = Tenant::from(tenant);
    Ok(Reply::created(format!("/v1/admin/tenants/{}", tenant.id), tenant).with_etag(revision))
}

/// Get a tenant under the caller.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "get_tenant",
    params(("tenant_id" = kinds::TenantId, Path, example = "ten_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Tenant>))
)]
#[get("/v1/admin/tenants/{tenant_id}")]
async fn get_tenant(
    caller: AllowedAtLevel<perm::AdminAccess>,
    id: PathId<TenantId>,
    app: web::Data<App>,
) -> Result<Reply<Tenant>, Error> {
    Ok(shown_tenant(app.tenant(&caller, id.0).await?))
}

/// Change a tenant under the caller. Its status counts at once.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "update_tenant",
    params(("tenant_id" = kinds::TenantId, Path, example = "ten_01JZ8QZ5T0000000000000000A")),
    request_body = TenantUpdate,
    responses((status = 200, body = DataOf<Tenant>))
)]
#[put("/v1/admin/tenants/{tenant_id}")]
async fn update_tenant(
    caller: AllowedAtLevel<perm::AdminAccess>,
    id: PathId<TenantId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<TenantUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Tenant>, Error> {
    // What is not there is told before what is wrong with the body.
    app.tenant(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    Ok(shown_tenant(
        app.update_tenant(&caller, &origin.context(), id.0, condition.revisions(), changes).await?,
    ))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_tenants).service(create_tenant).service(get_tenant).service(update_tenant);
}
