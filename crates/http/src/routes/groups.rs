//! Groups of the tenant that the caller acts in.
use scaigrid_http_macros::{delete, get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::{App, groups};
use scaigrid_scope::{GroupId, Instant, UserId, perm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::given::{Conflict, Problems};
use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Listed, NoContent, PageOf, Reply};
use crate::error::Error;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// A group as it is asked for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "Approvers", "slug": "approvers", "members": ["usr_01JZ8QZ5T0000000000000000A"]}))]
struct NewGroup {
    /// Its name for people.
    #[schema(value_type = kinds::Name)]
    name: String,
    /// Its name for programs, as in `group:approvers`: 1 to 63 of `a-z`, `0-9` and inner hyphens, unique in the tenant.
    /// Made of the name when left out; it never changes.
    #[schema(value_type = Option<kinds::Slug>)]
    slug: Option<String>,
    /// The users who are in it, by id.
    #[validate(length(max = 1000))]
    #[schema(value_type = Option<Vec<kinds::UserId>>, max_items = 1000)]
    members: Option<Vec<String>>,
}

/// What is to be changed of a group; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "Approvers", "members": []}))]
struct GroupUpdate {
    #[schema(value_type = Option<kinds::Name>)]
    name: Option<String>,
    /// The users who are in it from now on, all of them.
    #[validate(length(max = 1000))]
    #[schema(value_type = Option<Vec<kinds::UserId>>, max_items = 1000)]
    members: Option<Vec<String>>,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    #[schema(example = "grp_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    name: String,
    /// Its name for programs.
    slug: String,
    /// The users who are in it, by id; at most 1000.
    members: Vec<String>,
    /// How many they are.
    member_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// A group in a list, without its members.
#[derive(Debug, Serialize, ToSchema)]
struct ListedGroup {
    #[schema(example = "grp_01JZ8QZ5T0000000000000000A")]
    id: String,
    tenant_id: String,
    name: String,
    /// Its name for programs.
    slug: String,
    /// How many users are in it.
    member_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

impl From<groups::Peopled> for Group {
    fn from(groups::Peopled { group, members }: groups::Peopled) -> Self {
        Self {
            id: group.id.to_string(),
            tenant_id: group.tenant_id.to_string(),
            name: group.name.into_string(),
            slug: group.slug.into_string(),
            member_count: members.len().try_into().unwrap_or(u64::MAX),
            members: members.iter().map(ToString::to_string).collect(),
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

impl From<groups::Counted> for ListedGroup {
    fn from(groups::Counted { group, member_count }: groups::Counted) -> Self {
        Self {
            id: group.id.to_string(),
            tenant_id: group.tenant_id.to_string(),
            name: group.name.into_string(),
            slug: group.slug.into_string(),
            member_count,
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

impl NewGroup {
    fn read(self) -> Result<groups::NewGroup, Error> {
        let mut problems = Problems::default();
        let name = problems.read("name", &self.name);
        let slug = problems.maybe("slug", self.slug.as_deref());
        let members = self.members.and_then(|members| problems.each("members", &members));
        problems.check()?;
        let Some(name) = name else { return Err(problems.refusal()) };
        Ok(groups::NewGroup { name, slug, members: members.unwrap_or_default() })
    }
}

impl GroupUpdate {
    fn read(self) -> Result<groups::GroupEdits, Error> {
        let mut problems = Problems::default();
        let name = problems.maybe("name", self.name.as_deref());
        let members = self.members.and_then(|members| problems.each("members", &members));
        problems.check()?;
        Ok(groups::GroupEdits { name, members })
    }
}

fn shown(peopled: groups::Peopled) -> Reply<Group> {
    let revision = peopled.group.revision.unsigned_abs();
    Reply::ok(Group::from(peopled)).with_etag(revision)
}

/// List the groups of the tenant, newest first.
#[utoipa::path(
    tag = "groups",
    operation_id = "list_groups",
    params(PageParams),
    responses((status = 200, body = PageOf<ListedGroup>))
)]
#[get("/v1/groups")]
async fn list_groups(
    caller: Allowed<perm::UsersManage>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<ListedGroup>, Error> {
    let (page, seal) = paging.read("groups", &caller.tenant().id.to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.groups(&caller, &page).await?, &seal))
}

/// Make a group.
#[utoipa::path(
    tag = "groups",
    operation_id = "create_group",
    request_body = NewGroup,
    responses((status = 201, body = DataOf<Group>))
)]
#[post("/v1/groups")]
async fn create_group(
    caller: Allowed<perm::UsersManage>,
    origin: Origin,
    body: Body<NewGroup>,
    app: web::Data<App>,
) -> Result<Reply<Group>, Error> {
    let new = body.read().await?.read()?;
    let made = app.create_group(&caller, &origin.context(), new).await?;
    let revision = made.group.revision.unsigned_abs();
    let group = Group::from(made);
    Ok(Reply::created(format!("/v1/groups/{}", group.id), group).with_etag(revision))
}

/// Get a group and who is in it.
#[utoipa::path(
    tag = "groups",
    operation_id = "get_group",
    params(("id" = kinds::GroupId, Path, example = "grp_01JZ8QZ5T0000000000000000A")),
    responses((status = 200, body = DataOf<Group>))
)]
#[get("/v1/groups/{id}")]
async fn get_group(
    caller: Allowed<perm::UsersManage>,
    id: PathId<GroupId>,
    app: web::Data<App>,
) -> Result<Reply<Group>, Error> {
    Ok(shown(app.group(&caller, id.0).await?))
}

/// Change a group's name, or who is in it, all at once.
#[utoipa::path(
    tag = "groups",
    operation_id = "update_group",
    params(("id" = kinds::GroupId, Path, example = "grp_01JZ8QZ5T0000000000000000A")),
    request_body = GroupUpdate,
    responses((status = 200, body = DataOf<Group>))
)]
#[put("/v1/groups/{id}")]
async fn update_group(
    caller: Allowed<perm::UsersManage>,
    id: PathId<GroupId>,
    condition: IfMatch,
    origin: Origin,
    body: Body<GroupUpdate>,
    app: web::Data<App>,
) -> Result<Reply<Group>, Error> {
    // What is not there is told before what is wrong with the body.
    app.group(&caller, id.0).await?;
    let edits = body.read().await?.read()?;
    Ok(shown(app.update_group(&caller, &origin.context(), id.0, condition.revisions(), edits).await?))
}

/// Remove a group. Its members stay users; what asks it waits for those who run the tenant.
#[utoipa::path(
    tag = "groups",
    operation_id = "delete_group",
    params(
        ("id" = kinds::GroupId, Path, example = "grp_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/groups/{id}")]
async fn delete_group(
    caller: Allowed<perm::UsersManage>,
    id: PathId<GroupId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.delete_group(&caller, &origin.context(), id.0, condition.revisions()).await?;
    Ok(NoContent)
}

/// Put a user into a group. Who is in it stays.
#[utoipa::path(
    tag = "groups",
    operation_id = "add_group_member",
    params(
        ("id" = kinds::GroupId, Path, example = "grp_01JZ8QZ5T0000000000000000A"),
        ("user_id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A"),
    ),
    responses((status = 200, body = DataOf<Group>), (status = 409, response = Conflict))
)]
#[put("/v1/groups/{id}/members/{user_id}")]
async fn add_group_member(
    caller: Allowed<perm::UsersManage>,
    id: PathId<GroupId>,
    user: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<Reply<Group>, Error> {
    Ok(shown(
        app.set_membership(&caller, &origin.context(), id.0, condition.revisions(), (user.0, true)).await?,
    ))
}

/// Take a user out of a group. They are asked no more at once.
#[utoipa::path(
    tag = "groups",
    operation_id = "remove_group_member",
    params(
        ("id" = kinds::GroupId, Path, example = "grp_01JZ8QZ5T0000000000000000A"),
        ("user_id" = kinds::UserId, Path, example = "usr_01JZ8QZ5T0000000000000000A"),
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204))
)]
#[delete("/v1/groups/{id}/members/{user_id}")]
async fn remove_group_member(
    caller: Allowed<perm::UsersManage>,
    id: PathId<GroupId>,
    user: PathId<UserId>,
    condition: IfMatch,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.set_membership(&caller, &origin.context(), id.0, condition.revisions(), (user.0, false)).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_groups)
        .service(create_group)
        .service(get_group)
        .service(update_group)
        .service(delete_group)
        .service(add_group_member)
        .service(remove_group_member);
}
