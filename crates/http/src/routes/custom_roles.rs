//! Custom roles of the tenant that the caller acts in.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::custom_roles::{self, CustomRoleEdits};
use scaigrid_scope::{CustomRoleId, Description, Instant, PermissionKey, Permissions, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::given::{Conflict, Problems, given, nullable};
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// A custom role as it is asked for. What it gives is told in one list, or split in the platform's permissions and the
/// modules'. Nobody puts in what they lack.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({
    "name": "Escalation handler",
    "description": "Sees Cores and answers what they ask.",
    "permissions": ["scaicore:view", "scaicore:checkpoint_resolve"]
}))]
struct NewCustomRole {
    /// Its name for people.
    #[schema(value_type = kinds::Name)]
    name: String,
    /// Its name for programs: 1 to 63 of `a-z`, `0-9` and inner hyphens, unique in the tenant. Made of the name when left
    /// out; it never changes.
    #[schema(value_type = Option<kinds::Slug>)]
    slug: Option<String>,
    /// What it is for, at most 1000 characters.
    #[schema(value_type = Option<kinds::Description>)]
    description: Option<String>,
    /// All that it gives. Not beside the two lists below.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::Permission>>, max_items = 200)]
    permissions: Option<Vec<String>>,
    /// The platform's permissions that it gives.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::PlatformPermission>>, max_items = 200)]
    core_permissions: Option<Vec<String>>,
    /// The modules' permissions that it gives.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::PermissionOfModule>>, max_items = 200)]
    module_permissions: Option<Vec<String>>,
}

/// What is to be changed of a custom role; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"permissions": ["scaicore:view"]}))]
struct CustomRoleUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// `null` for none from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Description>)]
    #[expect(clippy::option_option, reason = "left out, null and a value are three things")]
    description: Option<Option<String>>,
    /// All that it gives from now on. Not beside the two lists below.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::Permission>>, max_items = 200)]
    permissions: Option<Vec<String>>,
    /// The platform's permissions that it gives from now on.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::PlatformPermission>>, max_items = 200)]
    core_permissions: Option<Vec<String>>,
    /// The modules' permissions that it gives from now on.
    #[validate(length(max = 200))]
    #[schema(value_type = Option<Vec<kinds::PermissionOfModule>>, max_items = 200)]
    module_permissions: Option<Vec<String>>,
}

/// A custom role.
#[derive(Debug, Serialize, ToSchema)]
struct CustomRole {
    #[schema(example = "role_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    name: String,
    /// Its name for programs.
    slug: String,
    #[schema(required = true)]
    description: Option<String>,
    /// All that it gives.
    permissions: Vec<String>,
    /// The platform's permissions among them.
    core_permissions: Vec<String>,
    /// The modules' permissions among them.
    module_permissions: Vec<String>,
    /// Who made it.
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<scaigrid_scope::CustomRole> for CustomRole {
    fn from(role: scaigrid_scope::CustomRole) -> Self {
        let (core, module): (Vec<PermissionKey>, Vec<PermissionKey>) =
            role.permissions.iter().partition(PermissionKey::is_core);
        let texts = |keys: &[PermissionKey]| keys.iter().map(ToString::to_string).collect();
        Self {
            id: role.id.to_string(),
            tenant_id: role.tenant_id.to_string(),
            name: role.name.into_string(),
            slug: role.slug.into_string(),
            description: role.description.map(Description::into_string),
            permissions: role.permissions.iter().map(|key| key.to_string()).collect(),
            core_permissions: texts(&core),
            module_permissions: texts(&module),
            created_by: role.created_by.to_string(),
            created_at: role.created_at,
            updated_at: role.updated_at,
        }
    }
}

/// The lists of a body, in which what a role gives can be told.
struct Given {
    all: Option<Vec<String>>,
    core: Option<Vec<String>>,
    module: Option<Vec<String>>,
}

/// The platform's permissions and the modules' that a role is to give; `None` for what no list speaks of.
type Read = (Option<Permissions>, Option<Permissions>);

impl Given {
    fn read(self, problems: &mut Problems) -> Read {
        let Self { all, core, module } = self;
        if let Some(all) = all {
            if core.is_some() || module.is_some() {
                problems.note("permissions", "must not stand beside core_permissions or module_permissions");
            }
            let all = problems.each::<PermissionKey>("permissions", &all).unwrap_or_default();
            let (core, modules) = all.into_iter().collect::<Permissions>().split();
            return (Some(core), Some(modules));
        }
        let mut part = |field: &str, named: &[String], is_core: bool| {
            let keys = problems.each::<PermissionKey>(field, named).unwrap_or_default();
            for (index, _) in keys.iter().enumerate().filter(|(_, key)| key.is_core() != is_core) {
                let whose = if is_core { "a permission of the platform" } else { "a permission of a module" };
                problems.note(&format!("{field}[{index}]"), format!("must be {whose}"));
            }
            keys.into_iter().collect()
        };
        let core = core.map(|named| part("core_permissions", &named, true));
        (core, module.map(|named| part("module_permissions", &named, false)))
    }
}

impl NewCustomRole {
    fn read(self) -> Result<custom_roles::NewCustomRole, Error> {
        let mut problems = Problems::default();
        let name = problems.read("name", &self.name);
        let slug = problems.maybe("slug", self.slug.as_deref());
        let description = problems.maybe("description", self.description.as_deref());
        let given =
            Given { all: self.permissions, core: self.core_permissions, module: self.module_permissions };
        let (core, modules) = given.read(&mut problems);
        problems.check()?;
        let Some(name) = name else { return Err(problems.refusal()) };
        let permissions = core.unwrap_or_default().union(&modules.unwrap_or_default());
        Ok(custom_roles::NewCustomRole { name, slug, description, permissions })
    }
}

impl CustomRoleUpdate {
    fn read(self) -> Result<CustomRoleEdits, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let description = nullable(&mut problems, "description", self.description.as_ref());
        let given =
            Given { all: self.permissions, core: self.core_permissions, module: self.module_permissions };
        let (core, modules) = given.read(&mut problems);
        problems.check()?;
        Ok(CustomRoleEdits { name, description, core, modules })
    }
}

fn shown(role: scaigrid_scope::CustomRole) -> Reply<CustomRole> {
    let revision = role.revision.unsigned_abs();
    Reply::ok(CustomRole::from(role)).with_etag(revision)
}

/// List the custom roles of the tenant, newest first.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "list_custom_roles",
    params(PageParams),
    responses((status = 200, body = PageOf<CustomRole>))
)]
#[get("/v1/iam/custom-roles")]
async fn list_custom_roles(
    caller: Allowed<perm::UsersManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<CustomRole>, Error> {
    let (page, seal) = paging.read("custom roles", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.custom_roles(&caller, &page).await?, &seal))
}

/// Make a custom role.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "create_custom_role",
    request_body = NewCustomRole,
    responses((status = 201, body = DataOf<CustomRole>))
)]
#[post("/v1/iam/custom-roles")]
async fn create_custom_role(
    caller: Allowed<perm::UsersManage>,
    origin: Origin,
    body: Body<NewCustomRole>,
    app: web::Data<App>,
) -> Result<Reply<CustomRole>, Error> {
    let new = body.read().await?.read()?;
    let role = app.create_custom_role(&caller, &origin.context(), new).await?;
    let revision = role.revision.unsigned_abs();
    let role = CustomRole::from(role);
    Ok(Reply::created(format!("/v1/iam/custom-roles/{}", role.id), role).with_etag(revision))
}

/// Get a custom role.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "get_custom_role",
    params(("id" = kinds::CustomRoleId, Path, example = "role_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<CustomRole>))
)]
#[get("/v1/iam/custom-roles/{id}")]
async fn get_custom_role(
    caller: Allowed<perm::UsersManage>,
    id: PathId<CustomRoleId>,
    app: web::Data<App>,
) -> Result<Reply<CustomRole>, Error> {
    Ok(shown(app.custom_role(&caller, id.0).await?))
}

/// Change a custom role, for all who hold it at once.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "update_custom_role",
    params(("id" = kinds::CustomRoleId, Path, example = "role_01JZ8QZ5T0000000000000000A")),
    request_body = CustomRoleUpdate,
    responses((status = 200, body = DataOf<CustomRole>), (status = 409, response = Conflict))
)]
#[put("/v1/iam/custom-roles/{id}")]
async fn update_custom_role(
    caller: Allowed<perm::UsersManage>,
    id: PathId<CustomRoleId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<CustomRoleUpdate>,
    app: web::Data<App>,
) -> Result<Reply<CustomRole>, Error> {
    // What is not there is told before what is wrong with the body.
    app.custom_role(&caller, id.0).await?;
    let edits = body.read().await?.read()?;
    let expected = condition.revisions();
    Ok(shown(app.update_custom_role(&caller, &origin.context(), id.0, expected, edits).await?))
}

/// Remove a custom role, and take it from all who hold it, at once.
#[utoipa::path(
    tag = "custom roles",
    operation_id = "delete_custom_role",
    params(
        ("id" = kinds::CustomRoleId, Path, example = "role_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204), (status = 409, response = Conflict))
)]
#[delete("/v1/iam/custom-roles/{id}")]
async fn delete_custom_role(
    caller: Allowed<perm::UsersManage>,
    id: PathId<CustomRoleId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_custom_role(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_custom_roles)
        .service(create_custom_role)
        .service(get_custom_role)
        .service(update_custom_role)
        .service(delete_custom_role);
}
