//! Who the caller is.

use crate::openapi::ServiceConfig;
use actix_web::{get, web};
use scaigrid_app::{App, me};
use scaigrid_scope::{Credential, Level};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;

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

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_me).service(get_auth_me);
}
