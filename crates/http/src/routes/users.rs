//! Users of the tenant that the caller acts in.

use actix_web::{delete, get, post, put, web};
use scaigrid_app::{App, users};
use scaigrid_scope::{Instant, Role, UserId, UserKind, perm};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use super::Problems;
use super::given::Conflict;
use crate::auth::{Allowed, Caller};
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::filters::Filters;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// A user as they are asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"email": "ada@acme.example", "display_name": "Ada", "roles": ["tenant_user"]}))]
struct NewUser {
    /// Their address, unique in the tenant.
    email: String,
    /// Their name.
    display_name: Option<String>,
    /// Their built-in roles: none that reaches farther than the caller's own.
    #[validate(length(max = 20))]
    roles: Vec<String>,
    /// `human`, unless it is a program: `service`.
    kind: Option<String>,
}

/// The built-in roles that a user has from now on.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"roles": ["tenant_admin"]}))]
struct UserRoles {
    /// All of them; what is not named is taken away.
    #[validate(length(max = 20))]
    roles: Vec<String>,
}

/// Which users a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// In this status: `active`, `suspended` or `deleted`. Left out, all that are not deleted.
    status: Option<String>,
    /// Of this kind: `human` or `service`.
    kind: Option<String>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    #[schema(example = "usr_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    email: String,
    #[schema(required = true)]
    display_name: Option<String>,
    /// `human` or `service`.
    kind: &'static str,
    /// `active`, `suspended` or `deleted`.
    status: &'static str,
    /// The built-in roles.
    roles: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<scaigrid_scope::User> for User {
    fn from(user: scaigrid_scope::User) -> Self {
        Self {
            id: user.id.to_string(),
            tenant_id: user.tenant_id.to_string(),
            email: user.email.into_string(),
            display_name: user.display_name.map(scaigrid_scope::Name::into_string),
            kind: user.kind.as_str(),
            status: user.status.as_str(),
            roles: user.roles.iter().map(Role::as_str).collect(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

impl NewUser {
    fn read(self) -> Result<users::NewUser, Error> {
        let mut problems = Problems::default();
        let email = problems.read("email", &self.email);
        let display_name = problems.maybe("display_name", self.display_name.as_deref());
        let roles = problems.each::<Role>("roles", &self.roles);
        let kind = problems.maybe("kind", self.kind.as_deref());
        problems.check()?;
        let (Some(email), Some(roles)) = (email, roles) else { return Err(problems.refusal()) };
        let (roles, kind) = (roles.into_iter().collect(), kind.unwrap_or(UserKind::Human));
        Ok(users::NewUser { email, display_name, kind, roles })
    }
}

impl UserQuery {
    fn read(&self) -> Result<users::UserFilter, Error> {
        let mut problems = Problems::default();
        let status = problems.maybe("status", self.status.as_deref());
        let kind = problems.maybe("kind", self.kind.as_deref());
        problems.check()?;
        Ok(users::UserFilter { status, kind })
    }
}

fn shown(user: scaigrid_scope::User) -> Reply<User> {
    let revision = user.revision.unsigned_abs();
    Reply::ok(User::from(user)).with_etag(revision)
}

/// List the users of the tenant, newest first.
#[utoipa::path(
    tag = "users",
    operation_id = "list_users",
    params(UserQuery, PageParams),
    responses((status = 200, body = PageOf<User>))
)]
#[get("/v1/users")]
async fn list_users(
    caller: Allowed<perm::UsersManage>,
    filters: Filters<UserQuery>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<User>, Error> {
    let filter = filters.read()?.read()?;
    let (page, seal) = paging.read("users", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.users(&caller, &filter, &page).await?, &seal))
}

/// Add a user to the tenant.
#[utoipa::path(
    tag = "users",
    operation_id = "create_user",
    request_body = NewUser,
    responses((status = 201, body = DataOf<User>))
)]
#[post("/v1/users")]
async fn create_user(
    caller: Allowed<perm::UsersManage>,
    origin: Origin,
    body: Body<NewUser>,
    app: web::Data<App>,
) -> Result<Reply<User>, Error> {
    let new = body.read().await?.read()?;
    let user = app.create_user(&caller, &origin.context(), new).await?;
    let revision = user.revision.unsigned_abs();
    let user = User::from(user);
    Ok(Reply::created(format!("/v1/users/{}", user.id), user).with_etag(revision))
}

/// Get a user of the tenant, or oneself.
#[utoipa::path(
    tag = "users",
    operation_id = "get_user",
    params(("id" = String, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<User>))
)]
#[get("/v1/users/{id}")]
async fn get_user(caller: Caller, id: PathId<UserId>, app: web::Data<App>) -> Result<Reply<User>, Error> {
    Ok(shown(app.user(&caller, id.0).await?))
}

/// Remove a user. They and their keys count no more at once.
#[utoipa::path(
    tag = "users",
    operation_id = "delete_user",
    params(("id" = String, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/users/{id}")]
async fn delete_user(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_user(&caller, &origin.context(), id.0).await?;
    Ok(NoContent)
}

/// Give a user other built-in roles, all at once.
#[utoipa::path(
    tag = "users",
    operation_id = "set_user_roles",
    params(("id" = String, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    request_body = UserRoles,
    responses((status = 200, body = DataOf<User>), (status = 409, response = Conflict))
)]
#[put("/v1/users/{id}/roles")]
async fn set_user_roles(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<UserRoles>,
    app: web::Data<App>,
) -> Result<Reply<User>, Error> {
    // What is not there is told before what is wrong with the body.
    app.user(caller.principal(), id.0).await?;
    let mut problems = Problems::default();
    let Some(roles) = problems.each::<Role>("roles", &body.read().await?.roles) else {
        return Err(problems.refusal());
    };
    let roles = roles.into_iter().collect();
    let user = app.set_user_roles(&caller, &origin.context(), id.0, condition.revisions(), roles).await?;
    Ok(shown(user))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_users)
        .service(create_user)
        .service(get_user)
        .service(delete_user)
        .service(set_user_roles);
}
