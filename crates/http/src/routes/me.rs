//! Who the caller is.
use scaigrid_http_macros::{delete, get};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::cores::MyDelegation;
use scaigrid_app::{App, me};
use scaigrid_scope::{Credential, DelegationId, Instant, Level, Permissions};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// The caller, where they act, and what they may do there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "user": {"id": "usr_01JZ8QZ5T0000000000000000A", "email": "ada@acme.example", "display_name": "Ada", "kind": "human"},
    "tenant": {"id": "ten_01JZ8QZ5T0000000000000000A", "slug": "acme", "name": "Acme"},
    "partner": {"id": "prt_01JZ8QZ5T0000000000000000A", "slug": "internal", "name": "Internal"},
    "level": "tenant",
    "roles": ["tenant_viewer"],
    "custom_roles": [{"id": "role_01JZ8QZ5T0000000000000000A", "slug": "reviewer", "name": "Reviewer"}],
    "groups": ["grp_01JZ8QZ5T0000000000000000A"],
    "permissions": ["models:list", "accounting:view_own", "scaicore:view"],
    "credential": {"kind": "api_key"}
}))]
struct Me {
    user: MyUser,
    /// The tenant that the caller acts in.
    tenant: Place,
    /// The partner of that tenant.
    partner: Place,
    /// The level that the caller acts at: `platform`, `partner` or `tenant`.
    level: &'static str,
    /// The built-in roles that count in the tenant.
    roles: Vec<&'static str>,
    /// The custom roles of the tenant that the caller holds.
    custom_roles: Vec<Place>,
    /// The groups of the tenant that the caller is in, by id.
    groups: Vec<String>,
    /// All that the caller may do in the tenant, with these credentials.
    permissions: Vec<String>,
    credential: Presented,
}

/// What the caller presented.
#[derive(Debug, Serialize, ToSchema)]
struct Presented {
    /// `api_key` or `token`.
    kind: &'static str,
    /// The issuer of a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// Who acts for the user, if it is not they themselves: the `act` of a token (RFC 8693).
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
}

impl From<&Credential> for Presented {
    fn from(credential: &Credential) -> Self {
        match credential {
            Credential::ApiKey { .. } => Self { kind: "api_key", issuer: None, actor: None },
            Credential::Token { issuer, actor, .. } => Self {
                kind: "token",
                issuer: Some(issuer.to_string()),
                actor: actor.as_ref().map(ToString::to_string),
            },
        }
    }
}

/// The account that the credentials stand for.
#[derive(Debug, Serialize, ToSchema)]
struct MyUser {
    id: String,
    email: String,
    display_name: String,
    /// `human` or `service`.
    kind: &'static str,
}

/// A tenant, a partner or a custom role by its names.
#[derive(Debug, Serialize, ToSchema)]
struct Place {
    id: String,
    slug: String,
    name: String,
}

impl<T: ToString> From<me::Named<T>> for Place {
    fn from(named: me::Named<T>) -> Self {
        Self { id: named.id.to_string(), slug: named.slug.into_string(), name: named.name.into_string() }
    }
}

impl From<me::Me> for Me {
    fn from(me: me::Me) -> Self {
        let principal = &me.principal;
        let identity = principal.identity();
        Self {
            user: MyUser {
                id: principal.user_id().to_string(),
                email: principal.email().to_string(),
                display_name: identity.display_name.to_string(),
                kind: identity.kind.as_str(),
            },
            level: match principal.level() {
                Level::Platform => "platform",
                Level::Partner(_) => "partner",
                Level::Tenant(_) => "tenant",
            },
            roles: principal.roles().iter().map(scaigrid_scope::Role::as_str).collect(),
            custom_roles: me.custom_roles.into_iter().map(Into::into).collect(),
            groups: principal.groups().iter().map(|group| group.id.to_string()).collect(),
            permissions: principal.permissions().iter().map(|key| key.to_string()).collect(),
            credential: (&identity.credential).into(),
            tenant: me.tenant.into(),
            partner: me.partner.into(),
        }
    }
}

/// Who am I.
#[utoipa::path(tag = "identity", operation_id = "get_me", responses((status = 200, body = DataOf<Me>)))]
#[get("/v1/me")]
async fn get_me(caller: Caller, app: web::Data<App>) -> Result<Reply<Me>, Error> {
    Ok(Reply::ok(app.me(&caller).await?.into()))
}

/// Who am I, by its other name.
#[utoipa::path(tag = "identity", operation_id = "get_auth_me", responses((status = 200, body = DataOf<Me>)))]
#[get("/v1/auth/me")]
async fn get_auth_me(caller: Caller, app: web::Data<App>) -> Result<Reply<Me>, Error> {
    Ok(Reply::ok(app.me(&caller).await?.into()))
}

/// Something that acts for the caller.
#[derive(Debug, Serialize, ToSchema)]
struct DelegationOfMine {
    /// Which delegation.
    #[schema(example = "dlg_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// The Core that acts.
    core_id: String,
    /// What it is called.
    core_name: String,
    /// Its slug.
    core_slug: String,
    /// Its status.
    core_status: &'static str,
    /// `active`, or `expired`.
    status: &'static str,
    /// Within what it was lent.
    scopes: Vec<String>,
    /// What of that the caller holds, so that the Core may do it in this moment.
    effective_scopes: Vec<String>,
    /// From when on it counts no more.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    expires_at: Option<Instant>,
    /// Who arranged it.
    granted_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    granted_at: Instant,
}

impl From<MyDelegation> for DelegationOfMine {
    fn from(MyDelegation { lent, effective, is_over }: MyDelegation) -> Self {
        let texts = |scopes: &Permissions| scopes.iter().map(|key| key.to_string()).collect();
        Self {
            id: lent.delegation.id.to_string(),
            core_id: lent.core_id.to_string(),
            core_name: lent.core_name.into_string(),
            core_slug: lent.core_slug.into_string(),
            core_status: lent.core_status.as_str(),
            status: if is_over { "expired" } else { "active" },
            scopes: texts(&lent.delegation.scopes),
            effective_scopes: texts(&effective),
            expires_at: lent.delegation.expires_at,
            granted_by: lent.delegation.granted_by.to_string(),
            granted_at: lent.delegation.granted_at,
        }
    }
}

/// What acts for me
///
/// The Cores that were lent the caller's identity, newest first.
#[utoipa::path(
    tag = "identity",
    operation_id = "list_my_delegations",
    params(PageParams),
    responses((status = 200, description = "A page of delegations", body = PageOf<DelegationOfMine>))
)]
#[get("/v1/me/delegations")]
async fn list_my_delegations(
    caller: Caller,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<DelegationOfMine>, Error> {
    let (page, seal) = paging.read("my_delegations", &caller.user_id().to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.my_delegations(&caller, &page).await?, &seal))
}

/// Take my identity back from a Core
///
/// It needs no right to the Core, which acts for nobody from then on: its calls fail with `DELEGATION_NOT_ACTIVE`, and it is
/// suspended, until somebody with `scaicore:delegate` lends it an identity anew or gives it its tenant's.
#[utoipa::path(
    tag = "identity",
    operation_id = "revoke_my_delegation",
    params(("delegation_id" = kinds::DelegationId, Path, description = "The delegation")),
    responses((status = 204, description = "It is taken back"))
)]
#[delete("/v1/me/delegations/{delegation_id}")]
async fn revoke_my_delegation(
    caller: Caller,
    id: PathId<DelegationId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.revoke_my_delegation(&caller, &origin.context(), id.0).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_me).service(get_auth_me).service(list_my_delegations).service(revoke_my_delegation);
}
