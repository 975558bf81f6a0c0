//! Users of the tenant that the caller acts in.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::rights::{DirectGrants, RoleChanges};
use scaigrid_app::{App, users};
use scaigrid_scope::{Instant, Role, UserChanges, UserId, UserKind, UserStatus, perm};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::given::{Conflict, Problems, given, nullable};
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
    #[schema(value_type = kinds::EmailAddress)]
    email: String,
    /// Their name.
    #[schema(value_type = Option<kinds::Name>)]
    display_name: Option<String>,
    /// Their built-in roles: none that reaches farther than the caller's own.
    #[validate(length(max = 20))]
    #[schema(value_type = Vec<kinds::Role>, max_items = 20)]
    roles: Vec<String>,
    /// Their custom roles: none that gives what the caller lacks.
    #[validate(length(max = 20))]
    #[schema(value_type = Option<Vec<kinds::CustomRoleId>>, max_items = 20)]
    custom_role_ids: Option<Vec<String>>,
    /// `human`, unless it is a program: `service`.
    #[schema(value_type = Option<kinds::UserKind>)]
    kind: Option<String>,
}

/// What is to be changed of a user; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"status": "suspended"}))]
struct UserUpdate {
    /// `null` for none from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Name>)]
    #[expect(clippy::option_option, reason = "left out, null and a value are three things")]
    display_name: Option<Option<String>>,
    /// `active` or `suspended`. A suspended user's keys are refused until they are active again.
    #[schema(value_type = Option<kinds::UserStanding>)]
    status: Option<String>,
}

/// The roles that a user has from now on; a list that is left out stays as it is.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"roles": ["tenant_user"], "custom_role_ids": []}))]
struct UserRoles {
    /// The built-in ones, all of them; what is not named is taken away.
    #[validate(length(max = 20))]
    #[schema(value_type = Option<Vec<kinds::Role>>, max_items = 20)]
    roles: Option<Vec<String>>,
    /// The custom ones, all of them.
    #[validate(length(max = 20))]
    #[schema(value_type = Option<Vec<kinds::CustomRoleId>>, max_items = 20)]
    custom_role_ids: Option<Vec<String>>,
}

/// What a user is granted directly, beside their roles.
#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"permissions": ["scaicore:view", "scaicore:checkpoint_resolve"]}))]
struct ModulePermissions {
    /// Permissions of modules, all of them; what is not named is taken away.
    #[validate(length(max = 200))]
    #[schema(value_type = Vec<kinds::PermissionOfModule>, max_items = 200)]
    permissions: Vec<String>,
}

/// Which users a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// In this status: `active`, `suspended` or `deleted`. Left out, all that are not deleted.
    #[param(value_type = Option<kinds::UserStatus>)]
    status: Option<String>,
    /// Of this kind: `human` or `service`.
    #[param(value_type = Option<kinds::UserKind>)]
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
    /// The custom roles.
    custom_role_ids: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<users::Account> for User {
    fn from(users::Account { user, custom_roles }: users::Account) -> Self {
        Self {
            custom_role_ids: custom_roles.iter().map(ToString::to_string).collect(),
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
        let custom_roles = self.custom_role_ids.and_then(|ids| problems.each("custom_role_ids", &ids));
        let kind = problems.maybe("kind", self.kind.as_deref());
        problems.check()?;
        let (Some(email), Some(roles)) = (email, roles) else { return Err(problems.refusal()) };
        let (roles, kind) = (roles.into_iter().collect(), kind.unwrap_or(UserKind::Human));
        let custom_roles = custom_roles.unwrap_or_default();
        Ok(users::NewUser { email, display_name, kind, roles, custom_roles })
    }
}

impl UserUpdate {
    fn read(self) -> Result<UserChanges, Error> {
        let mut problems = Problems::default();
        let display_name = nullable(&mut problems, "display_name", self.display_name.as_ref());
        let status = problems.maybe("status", self.status.as_deref());
        if status == Some(UserStatus::Deleted) {
            problems.note("status", "expected one of active, suspended; DELETE removes a user");
        }
        problems.check()?;
        Ok(UserChanges { display_name, status, roles: None })
    }
}

impl UserRoles {
    fn read(self) -> Result<RoleChanges, Error> {
        let mut problems = Problems::default();
        let roles = self.roles.and_then(|roles| problems.each::<Role>("roles", &roles));
        let custom_roles = self.custom_role_ids.and_then(|ids| problems.each("custom_role_ids", &ids));
        problems.check()?;
        Ok(RoleChanges { roles: roles.map(|roles| roles.into_iter().collect()), custom_roles })
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

fn shown(account: users::Account) -> Reply<User> {
    let revision = account.user.revision.unsigned_abs();
    Reply::ok(User::from(account)).with_etag(revision)
}

fn shown_grants(grants: &DirectGrants) -> Reply<ModulePermissions> {
    let permissions = grants.permissions.iter().map(|key| key.to_string()).collect();
    Reply::ok(ModulePermissions { permissions }).with_etag(grants.revision.unsigned_abs())
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
    let revision = user.user.revision.unsigned_abs();
    let user = User::from(user);
    Ok(Reply::created(format!("/v1/users/{}", user.id), user).with_etag(revision))
}

/// Get a user of the tenant, or oneself.
#[utoipa::path(
    tag = "users",
    operation_id = "get_user",
    params(("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<User>))
)]
#[get("/v1/users/{id}")]
async fn get_user(caller: Caller, id: PathId<UserId>, app: web::Data<App>) -> Result<Reply<User>, Error> {
    Ok(shown(app.user(&caller, id.0).await?))
}

/// Change a user's name or status. The status counts at once: a suspended user's keys are refused.
#[utoipa::path(
    tag = "users",
    operation_id = "update_user",
    params(("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    request_body = UserUpdate,
    responses((status = 200, body = DataOf<User>), (status = 409, response = Conflict))
)]
#[put("/v1/users/{id}")]
async fn update_user(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<UserUpdate>,
    app: web::Data<App>,
) -> Result<Reply<User>, Error> {
    // What is not there is told before what is wrong with the body.
    app.user(caller.principal(), id.0).await?;
    let changes = body.read().await?.read()?;
    let user = app.update_user(&caller, &origin.context(), id.0, condition.revisions(), changes).await?;
    Ok(shown(user))
}

/// Remove a user. They and their keys count no more at once.
#[utoipa::path(
    tag = "users",
    operation_id = "delete_user",
    params(
        ("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/users/{id}")]
async fn delete_user(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_user(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

/// Give a user other roles, built-in and custom, all at once.
#[utoipa::path(
    tag = "users",
    operation_id = "set_user_roles",
    params(("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
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
    let changes = body.read().await?.read()?;
    let user = app.set_user_roles(&caller, &origin.context(), id.0, condition.revisions(), changes).await?;
    Ok(shown(user))
}

/// Get what a user is granted directly, beside their roles.
#[utoipa::path(
    tag = "users",
    operation_id = "get_user_module_permissions",
    params(("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<ModulePermissions>))
)]
#[get("/v1/users/{id}/module-permissions")]
async fn get_user_module_permissions(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    app: web::Data<App>,
) -> Result<Reply<ModulePermissions>, Error> {
    Ok(shown_grants(&app.user_grants(&caller, id.0).await?))
}

/// Grant a user permissions of modules directly, and no others. Nobody grants what they lack.
#[utoipa::path(
    tag = "users",
    operation_id = "set_user_module_permissions",
    params(("id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A")),
    request_body = ModulePermissions,
    responses((status = 200, body = DataOf<ModulePermissions>))
)]
#[put("/v1/users/{id}/module-permissions")]
async fn set_user_module_permissions(
    caller: Allowed<perm::UsersManage>,
    id: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<ModulePermissions>,
    app: web::Data<App>,
) -> Result<Reply<ModulePermissions>, Error> {
    app.user(caller.principal(), id.0).await?;
    let mut problems = Problems::default();
    let Some(permissions) = problems.each("permissions", &body.read().await?.permissions) else {
        return Err(problems.refusal());
    };
    let expected = condition.revisions();
    let granted = app.set_user_grants(&caller, &origin.context(), id.0, expected, &permissions).await?;
    Ok(shown_grants(&granted))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_users)
        .service(create_user)
        .service(get_user)
        .service(update_user)
        .service(delete_user)
        .service(set_user_roles)
        .service(get_user_module_permissions)
        .service(set_user_module_permissions);
}
