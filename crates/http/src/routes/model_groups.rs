//! Groups of models, at the caller's level: what shows models to tenants.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::catalog::{GroupEdits, ModelGroupView, NewModelGroup};
use scaigrid_scope::{Instant, ModelGroupId, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::given::{Conflict, Problems};
use crate::auth::AllowedAtLevel;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::{PathId, PathModel};
use crate::request::Origin;

/// A group as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(as = NewModelGroup, example = json!({"name": "For everybody", "scope": "global", "models": ["openai/gpt-4o"]}))]
struct NewGroup {
    #[schema(value_type = kinds::Name)]
    name: String,
    /// 1 to 63 of `a-z`, `0-9` and inner hyphens, unique at the level; made of the name when left out.
    #[schema(value_type = Option<kinds::Slug>)]
    slug: Option<String>,
    /// Which tenants see its models: `global` at the platform's level, `partner` at a partner's, `tenant` in a tenant.
    #[schema(value_type = kinds::GroupScope)]
    scope: String,
    /// The slugs of its models.
    #[serde(default)]
    #[validate(length(max = 500))]
    #[schema(value_type = Vec<kinds::ModelSlug>, max_items = 500)]
    models: Vec<String>,
}

/// What is to be changed of a group; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(as = ModelGroupUpdate, example = json!({"models": ["openai/gpt-4o"]}))]
struct GroupUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// The slugs of its models, all of them.
    #[validate(length(max = 500))]
    #[schema(value_type = Option<Vec<kinds::ModelSlug>>, max_items = 500)]
    models: Option<Vec<String>>,
}

/// A group of models.
#[derive(Debug, Serialize, ToSchema)]
struct ModelGroup {
    #[schema(example = "mg_01JZ8QZ5T0000000000000000A")]
    id: String,
    slug: String,
    name: String,
    /// `global`, `partner` or `tenant`.
    scope: &'static str,
    /// The slugs of its models.
    models: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<ModelGroupView> for ModelGroup {
    fn from(ModelGroupView { group, models }: ModelGroupView) -> Self {
        Self {
            id: group.id.to_string(),
            scope: group.scope().as_str(),
            slug: group.slug.into_string(),
            name: group.name.into_string(),
            models: models.iter().map(ToString::to_string).collect(),
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

impl NewGroup {
    fn read(self) -> Result<NewModelGroup, Error> {
        let mut problems = Problems::default();
        let name = problems.read("name", &self.name);
        let slug = problems.maybe("slug", self.slug.as_deref());
        let scope = problems.read("scope", &self.scope);
        let models = problems.each("models", &self.models);
        problems.check()?;
        let (Some(name), Some(scope), Some(models)) = (name, scope, models) else {
            return Err(problems.refusal());
        };
        Ok(NewModelGroup { name, slug, scope, models })
    }
}

impl GroupUpdate {
    fn read(self) -> Result<GroupEdits, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let models = self.models.as_ref().and_then(|models| problems.each("models", models));
        problems.check()?;
        Ok(GroupEdits { name, models })
    }
}

fn shown(group: ModelGroupView) -> Reply<ModelGroup> {
    let revision = group.group.revision.unsigned_abs();
    Reply::ok(ModelGroup::from(group)).with_etag(revision)
}

/// List the groups of models of the caller's level, newest first.
#[utoipa::path(
    tag = "models",
    operation_id = "list_model_groups",
    params(PageParams),
    responses((status = 200, body = PageOf<ModelGroup>))
)]
#[get("/v1/model-groups")]
async fn list_model_groups(
    caller: AllowedAtLevel<perm::ModelsManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<ModelGroup>, Error> {
    let (page, seal) = paging.read("model-groups", &format!("{:?}", caller.level()), &Bounds::LIST)?;
    Ok(Listed::new(app.model_groups(&caller, &page).await?, &seal))
}

/// Make a group of models at the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "create_model_group",
    request_body = NewGroup,
    responses((status = 201, body = DataOf<ModelGroup>))
)]
#[post("/v1/model-groups")]
async fn create_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    origin: Origin,
    body: Body<NewGroup>,
    app: web::Data<App>,
) -> Result<Reply<ModelGroup>, Error> {
    let new = body.read().await?.read()?;
    let made = app.create_model_group(&caller, &origin.context(), new).await?;
    let revision = made.group.revision.unsigned_abs();
    let group = ModelGroup::from(made);
    Ok(Reply::created(format!("/v1/model-groups/{}", group.id), group).with_etag(revision))
}

/// Get a group of models of the caller's level.
#[utoipa::path(
    tag = "models",
    operation_id = "get_model_group",
    params(("model_group_id" = kinds::ModelGroupId, Path, example = "mg_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<ModelGroup>))
)]
#[get("/v1/model-groups/{model_group_id}")]
async fn get_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<ModelGroupId>,
    app: web::Data<App>,
) -> Result<Reply<ModelGroup>, Error> {
    Ok(shown(app.model_group(&caller, id.0).await?))
}

/// Change a group's name, or its models, all at once.
#[utoipa::path(
    tag = "models",
    operation_id = "update_model_group",
    params(("model_group_id" = kinds::ModelGroupId, Path, example = "mg_01JZ8QZ5T0000000000000000A")),
    request_body = GroupUpdate,
    responses((status = 200, body = DataOf<ModelGroup>))
)]
#[put("/v1/model-groups/{model_group_id}")]
async fn update_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<ModelGroupId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<GroupUpdate>,
    app: web::Data<App>,
) -> Result<Reply<ModelGroup>, Error> {
    // What is not there is told before what is wrong with the body.
    app.model_group(&caller, id.0).await?;
    let edits = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.update_model_group(&caller, &request, id.0, expected, edits).await?))
}

/// Remove a group of models. The models stay.
#[utoipa::path(
    tag = "models",
    operation_id = "delete_model_group",
    params(
        ("model_group_id" = kinds::ModelGroupId, Path, example = "mg_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/model-groups/{model_group_id}")]
async fn delete_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<ModelGroupId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_model_group(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

/// Put a model into a group. One that is in it stays.
#[utoipa::path(
    tag = "models",
    operation_id = "add_to_model_group",
    params(
        ("model_group_id" = kinds::ModelGroupId, Path, example = "mg_01JZ8QZ5T0000000000000000A"),
        ("slug" = String, Path, example = "openai/gpt-4o"),
    ),
    responses((status = 200, body = DataOf<ModelGroup>), (status = 409, response = Conflict))
)]
#[put("/v1/model-groups/{model_group_id}/models/{slug}")]
async fn add_to_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<ModelGroupId>,
    which: PathModel,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<ModelGroup>, Error> {
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.set_in_model_group(&caller, &request, id.0, expected, (&which.0, true)).await?))
}

/// Take a model out of a group.
#[utoipa::path(
    tag = "models",
    operation_id = "remove_from_model_group",
    params(
        ("model_group_id" = kinds::ModelGroupId, Path, example = "mg_01JZ8QZ5T0000000000000000A"),
        ("slug" = String, Path, example = "openai/gpt-4o"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/model-groups/{model_group_id}/models/{slug}")]
async fn remove_from_model_group(
    caller: AllowedAtLevel<perm::ModelsManage>,
    id: PathId<ModelGroupId>,
    which: PathModel,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    let (request, expected) = (origin.context(), condition.revisions());
    app.set_in_model_group(&caller, &request, id.0, expected, (&which.0, false)).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_model_groups)
        .service(create_model_group)
        .service(get_model_group)
        .service(update_model_group)
        .service(delete_model_group)
        .service(add_to_model_group)
        .service(remove_from_model_group);
}
