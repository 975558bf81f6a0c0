//! What AIs are to remember of the caller.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::memories::Fact;
use scaigrid_http_macros::{delete, get};
use scaigrid_scope::{FactId, Instant, perm};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Allowed;
use crate::envelope::{Listed, NoContent, PageOf};
use crate::error::Error;
use crate::openapi::{ServiceConfig, kinds};
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::PathId;
use crate::request::Origin;

/// Something that AIs are to remember of a user.
#[derive(Debug, Serialize, ToSchema)]
struct Memory {
    #[schema(example = "fact_01JZ8QZ5T0000000000000000A")]
    id: String,
    /// In the words of the AI that was told.
    #[schema(example = "Likes green tea.")]
    text: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

impl From<Fact> for Memory {
    fn from(fact: Fact) -> Self {
        Self { id: fact.id.to_string(), text: fact.body, created_at: fact.created_at }
    }
}

/// List what AIs are to remember of the caller, the newest first.
#[utoipa::path(
    tag = "workspace",
    operation_id = "list_memories",
    params(PageParams),
    responses((status = 200, body = PageOf<Memory>))
)]
#[get("/v1/memories")]
async fn list_memories(
    caller: Allowed<perm::ModelsUse>,
    paging: Paging,
    app: web::Data<App>,
) -> Result<Listed<Memory>, Error> {
    let (page, seal) = paging.read("memories", &caller.user_id().to_string(), &Bounds::LIST)?;
    Ok(Listed::new(app.memories(&caller, &page).await?, &seal))
}

/// Forget something that AIs are to remember of the caller.
#[utoipa::path(
    tag = "workspace",
    operation_id = "delete_memory",
    params(("memory_id" = kinds::MemoryId, Path, example = "fact_01JZ8QZ5T0000000000000000A")),
    responses((status = 204))
)]
#[delete("/v1/memories/{memory_id}")]
async fn delete_memory(
    caller: Allowed<perm::ModelsUse>,
    id: PathId<FactId>,
    origin: Origin,
    app: web::Data<App>,
) -> Result<NoContent, Error> {
    app.forget_memory(&caller, &origin.context(), id.0).await?;
    Ok(NoContent)
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_memories).service(delete_memory);
}
