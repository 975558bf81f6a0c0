//! What Cores remember: the variables of their memory, and what these hold. Only programs write them.

use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::memory::{Remembering, ShownEntry, ShownVariable};
use scaigrid_http_macros::get;
use scaigrid_scope::{CoreId, perm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::Error;
use crate::auth::Allowed;
use crate::envelope::{Listed, PageOf};
use crate::filters::Filters;
use crate::openapi::kinds;
use crate::paging::{Bounds, PageParams, Paging};
use crate::path::{Path, PathId};

/// The most characters of a key, and of an instance's.
const KEY_AT_MOST: usize = 512;

/// Whose memory is listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MemoryQuery {
    /// The instance, for entity Cores; left out for what belongs to no instance. A Core without instances has one memory, whoever is
    /// named.
    #[param(min_length = 1, max_length = 512)]
    instance_key: Option<String>,
}

/// Whose memory is read, and what of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesQuery {
    /// The instance, for entity Cores; left out for what belongs to no instance. A Core without instances has one memory, whoever is
    /// named.
    #[param(min_length = 1, max_length = 512)]
    instance_key: Option<String>,
    /// Only this entry of a map, the element of an array at this place (from 0), or this field of an object; and that whole, however
    /// large it is.
    #[param(min_length = 1, max_length = 512)]
    key: Option<String>,
}

fn checked(field: &str, text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text) if text.is_empty() || text.chars().count() > KEY_AT_MOST => {
            Err(Error::invalid(field, format!("must be 1 to {KEY_AT_MOST} characters long")))
        }
        text => Ok(text),
    }
}

/// A variable of a Core's memory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VariableView {
    /// Its name.
    #[schema(example = "seen")]
    name: String,
    /// How it is kept: `map` (entry by entry), `array` (element by element) or `value` (as one).
    kind: &'static str,
    /// Its declared type.
    #[serde(rename = "type")]
    #[schema(example = "map[string, int]")]
    declared: String,
    /// How many entries or elements it has, at most 10,000; null where it is kept as one value.
    #[schema(required = true)]
    entries: Option<u64>,
    /// Whether it has more entries than were counted.
    more: bool,
}

impl From<ShownVariable> for VariableView {
    fn from(variable: ShownVariable) -> Self {
        Self {
            name: variable.name.to_string(),
            kind: variable.kind.as_str(),
            declared: variable.declared,
            entries: variable.entries,
            more: variable.more,
        }
    }
}

/// A value in a Core's memory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RememberedView {
    /// The key of a map's entry, or the name of the field that was asked for; null for anything else.
    #[schema(required = true)]
    key: Option<String>,
    /// The place of an array's element, from 0; null for anything else.
    #[schema(required = true)]
    index: Option<u32>,
    /// The value. In pages of entries and elements what is longer than 64 KiB is `{"omitted": true, "bytes": N}`; asked for by its
    /// `key` it is there.
    value: Value,
}

impl From<ShownEntry> for RememberedView {
    fn from(entry: ShownEntry) -> Self {
        Self { key: entry.key, index: entry.index, value: entry.value }
    }
}

/// List what a Core remembers
///
/// The variables of its program's memory by their names, each with how it is kept and how much is in it.
#[utoipa::path(
    tag = "cores",
    operation_id = "list_core_memory",
    params(("core_id" = kinds::CoreId, Path, description = "The Core"), MemoryQuery, PageParams),
    responses((status = 200, description = "A page of variables", body = PageOf<VariableView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/memory")]
pub(super) async fn list(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    paging: Paging,
    filters: Filters<MemoryQuery>,
    app: web::Data<App>,
) -> Result<Listed<VariableView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let (page, seal) = paging.read("core_memory", &id.0.to_string(), &Bounds::LIST)?;
    let instance = checked("instance_key", filters.read()?.instance_key)?;
    let of = Remembering { core: id.0, instance };
    Ok(Listed::new(app.core_memory(&caller, &of, &page).await?, &seal))
}

/// Get what a variable of a Core's memory holds
///
/// As its program sees it, defaults included: one item for what is kept as one value, else the entries of a map in the order of
/// their keys, or the elements of an array in their order. Values of the Core's secrets are `***`. A page may be short where its
/// values are large, and still have a `next_cursor`.
#[utoipa::path(
    tag = "cores",
    operation_id = "get_core_memory",
    params(
        ("core_id" = kinds::CoreId, Path, description = "The Core"),
        ("target" = kinds::Name, Path, description = "The variable's name"),
        EntriesQuery,
        PageParams,
    ),
    responses((status = 200, description = "A page of what it holds", body = PageOf<RememberedView>))
)]
#[get("/v1/modules/scaicore/cores/{core_id}/memory/{target}")]
pub(super) async fn get(
    caller: Allowed<perm::CoresView>,
    id: PathId<CoreId>,
    path: Path<(String, String)>,
    paging: Paging,
    filters: Filters<EntriesQuery>,
    app: web::Data<App>,
) -> Result<Listed<RememberedView>, Error> {
    app.require_core(caller.tenant_scope(), id.0).await?;
    let EntriesQuery { instance_key, key } = filters.read()?;
    let instance = checked("instance_key", instance_key)?;
    let key = checked("key", key)?;
    let target = path.into_inner().1;
    let of = format!("{} {target} {}", id.0, instance.as_deref().unwrap_or_default());
    let (page, seal) = paging.read("core_memory_entries", &of, &Bounds::LIST)?;
    let of = Remembering { core: id.0, instance };
    Ok(Listed::new(app.core_memory_entries(&caller, &of, &target, key, &page).await?, &seal))
}
