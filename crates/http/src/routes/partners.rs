//! Partners: who owns tenants, how far they may grow, and whether their tenants may work.
//!
//! These routes are part of the workspace product's administration, so their pages and errors look as its clients
//! know them.
use scaigrid_http_macros::{get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, partners};
use scaigrid_scope::{Instant, PartnerChanges, PartnerId, PartnerStatus, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::given::{Problems, StatusQuery, given, nullable};
use crate::auth::AllowedAtLevel;
use crate::body::{AsObject, Body};
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, Reply, WorkspacePageOf};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// How far a partner may grow. What is left out has no limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Validate, ToSchema)]
struct PartnerLimits {
    /// How many tenants it may own, the suspended ones included.
    max_tenants: Option<u32>,
    /// How many users each of its tenants may have.
    max_users_per_tenant: Option<u32>,
}

/// A partner as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"slug": "north", "name": "North", "contact_email": "ops@north.example", "limits": {"max_tenants": 10}}))]
struct NewPartner {
    /// Unique: 1 to 63 of `a-z`, `0-9` and inner hyphens.
    #[schema(value_type = kinds::Slug)]
    slug: String,
    #[schema(value_type = kinds::Name)]
    name: String,
    /// Where its operator is reached.
    #[schema(value_type = Option<kinds::EmailAddress>)]
    contact_email: Option<String>,
    /// `active`, unless it shall begin `suspended`.
    #[schema(value_type = Option<kinds::TenantStatus>)]
    status: Option<String>,
    #[validate(nested)]
    #[schema(value_type = Option<PartnerLimits>)]
    limits: Option<AsObject<PartnerLimits>>,
}

/// What is to be changed of a partner; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "suspended"}))]
struct PartnerUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// `null` for none from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::EmailAddress>)]
    #[expect(clippy::option_option, reason = "left out, null and a value are three things")]
    contact_email: Option<Option<String>>,
    /// `active` or `suspended`; for super admins.
    #[schema(value_type = Option<kinds::TenantStatus>)]
    status: Option<String>,
    /// The new limits, all of them; for super admins.
    #[validate(nested)]
    #[schema(value_type = Option<PartnerLimits>)]
    limits: Option<AsObject<PartnerLimits>>,
}

/// A partner.
#[derive(Debug, Serialize, ToSchema)]
struct Partner {
    #[schema(example = "prt_01JZ8QZ5T0000000000000000A")]
    id: String,
    slug: String,
    name: String,
    #[schema(required = true)]
    contact_email: Option<String>,
    /// `active` or `suspended`.
    status: &'static str,
    limits: PartnerLimits,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<AsObject<PartnerLimits>> for scaigrid_scope::PartnerLimits {
    fn from(AsObject(PartnerLimits { max_tenants, max_users_per_tenant }): AsObject<PartnerLimits>) -> Self {
        Self { max_tenants, max_users_per_tenant }
    }
}

impl From<scaigrid_scope::Partner> for Partner {
    fn from(partner: scaigrid_scope::Partner) -> Self {
        let scaigrid_scope::PartnerLimits { max_tenants, max_users_per_tenant } = partner.limits;
        Self {
            id: partner.id.to_string(),
            slug: partner.slug.into_string(),
            name: partner.name.into_string(),
            contact_email: partner.contact_email.map(scaigrid_scope::Email::into_string),
            status: partner.status.as_str(),
            limits: PartnerLimits { max_tenants, max_users_per_tenant },
            created_at: partner.created_at,
            updated_at: partner.updated_at,
        }
    }
}

impl NewPartner {
    fn read(self) -> Result<partners::NewPartner, Error> {
        let mut problems = Problems::default();
        let slug = problems.read("slug", &self.slug);
        let name = problems.read("name", &self.name);
        let contact_email = problems.maybe("contact_email", self.contact_email.as_deref());
        let status = problems.maybe("status", self.status.as_deref()).unwrap_or(PartnerStatus::Active);
        problems.check()?;
        let (Some(slug), Some(name)) = (slug, name) else { return Err(problems.refusal()) };
        let limits = self.limits.map(Into::into).unwrap_or_default();
        Ok(partners::NewPartner { slug, name, contact_email, status, limits })
    }
}

impl PartnerUpdate {
    fn read(self) -> Result<PartnerChanges, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let contact_email = nullable(&mut problems, "contact_email", self.contact_email.as_ref());
        let status = problems.maybe("status", self.status.as_deref());
        problems.check()?;
        Ok(PartnerChanges { name, contact_email, status, limits: self.limits.map(Into::into) })
    }
}

fn shown_partner(partner: scaigrid_scope::Partner) -> Reply<Partner> {
    let revision = partner.revision.unsigned_abs();
    Reply::ok(Partner::from(partner)).with_etag(revision)
}

/// List the partners, newest first. A partner's admin sees their own.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "list_partners",
    params(StatusQuery, PageParams),
    responses((status = 200, body = WorkspacePageOf<Partner>))
)]
#[get("/v1/admin/partners")]
async fn list_partners(
    caller: AllowedAtLevel<perm::AdminAccess>,
    filters: Filters<StatusQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Partner>, Error> {
    let filter = partners::PartnerFilter { status: filters.read()?.read()? };
    let (page, seal) = paging.read("partners", &format!("{:?}", caller.level()), &Bounds::LIST)?;
    Ok(Listed::workspace(app.partners(&caller, &filter, &page).await?, &seal))
}

/// Add a partner. For super admins.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "create_partner",
    request_body = NewPartner,
    responses((status = 201, body = DataOf<Partner>))
)]
#[post("/v1/admin/partners")]
async fn create_partner(
    caller: AllowedAtLevel<perm::AdminAccess>,
    origin: Origin,
    body: Body<NewPartner>,
    app: web::Data<App>,
) -> Result<Reply<Partner>, Error> {
    App::may_create_partners(&caller)?;
    let new = body.read().await?.read()?;
    let partner = app.create_partner(&caller, &origin.context(), new).await?;
    let revision = partner.revision.unsigned_abs();
    let partner = Partner::from(partner);
    Ok(Reply::created(format!("/v1/admin/partners/{}", partner.id), partner).with_etag(revision))
}

/// Get a partner.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "get_partner",
    params(("partner_id" = kinds::PartnerId, Path, example = "prt_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Partner>))
)]
#[get("/v1/admin/partners/{partner_id}")]
async fn get_partner(
    caller: AllowedAtLevel<perm::AdminAccess>,
    id: PathId<PartnerId>,
    app: web::Data<App>,
) -> Result<Reply<Partner>, Error> {
    Ok(shown_partner(app.partner(&caller, id.0).await?))
}

/// Change a partner. Its status counts at once, for all its tenants.
#[utoipa::path(
    tag = "tenancy",
    operation_id = "update_partner",
    params(("partner_id" = kinds::PartnerId, Path, example = "prt_01JZ8QZ5T0000000000000000A")),
    request_body = PartnerUpdate,
    responses((status = 200, body = DataOf<Partner>))
)]
#[put("/v1/admin/partners/{partner_id}")]
async fn update_partner(
    caller: AllowedAtLevel<perm::AdminAccess>,
    id: PathId<PartnerId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<PartnerUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Partner>, Error> {
    // What is not there is told before what is wrong with the body.
    app.partner(&caller, id.0).await?;
    let changes = body.read().await?.read()?;
    Ok(shown_partner(
        app.update_partner(&caller, &origin.context(), id.0, condition.revisions(), changes).await?,
    ))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_partners).service(create_partner).service(get_partner).service(update_partner);
}
