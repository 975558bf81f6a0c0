//! Groups of models, and which models are in them.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_catalog::{ModelGroup, ModelSlug};
use scaigrid_scope::{LevelScope, ModelGroupId, ModelId, Slug, SystemScope};

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::module_settings::{level_at, place};
use crate::schema::{model_group_members, model_groups, models};

const TABLE: &str = "model_groups";

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = model_groups)]
struct GroupRow {
    id: String,
    level: String,
    scope_id: String,
    slug: String,
    name: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

impl TryFrom<GroupRow> for ModelGroup {
    type Error = Error;

    fn try_from(row: GroupRow) -> Result<Self> {
        let id = row.id.as_str();
        Ok(Self {
            id: column(TABLE, "id", id, id)?,
            owner: level_at(TABLE, id, &row.level, &row.scope_id)?,
            slug: column(TABLE, "slug", id, &row.slug)?,
            name: column(TABLE, "name", id, &row.name)?,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A group of a level by its id.
#[boxed]
pub async fn lookup(c: &mut Connection, scope: LevelScope, id: ModelGroupId) -> Result<Option<ModelGroup>> {
    let (level, owner) = place(scope.level());
    let query = model_groups::table
        .find(id.to_string())
        .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner)));
    let row = with!(c, c => query.select(GroupRow::as_select()).get_result(c).await.optional())?;
    row.map(ModelGroup::try_from).transpose()
}

/// A group of whatever level by its id, for whoever may reach below or above where they act.
#[boxed]
pub async fn find(c: &mut Connection, _system: &SystemScope, id: ModelGroupId) -> Result<Option<ModelGroup>> {
    let query = model_groups::table.find(id.to_string());
    let row = with!(c, c => query.select(GroupRow::as_select()).get_result(c).await.optional())?;
    row.map(ModelGroup::try_from).transpose()
}

/// Whether a level has a group of a slug.
#[boxed]
pub async fn is_taken(c: &mut Connection, scope: LevelScope, slug: &Slug) -> Result<bool> {
    let (level, owner) = place(scope.level());
    let query = model_groups::table
        .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner)))
        .filter(model_groups::slug.eq(slug.to_string()))
        .select(model_groups::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.is_some())
}

/// The groups of a level, newest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: LevelScope,
    after: Option<ModelGroupId>,
    rows: i64,
) -> Result<Vec<ModelGroup>> {
    let (level, owner) = place(scope.level());
    macro_rules! query {
        () => {{
            let mut query = model_groups::table
                .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner.clone())))
                .order(model_groups::id.desc())
                .limit(rows)
                .select(GroupRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(model_groups::id.lt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<GroupRow> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(ModelGroup::try_from).collect()
}

/// The models in a group that the caller sees, by slug.
#[boxed]
pub async fn members(c: &mut Connection, id: ModelGroupId) -> Result<Vec<(ModelId, ModelSlug)>> {
    let query = model_group_members::table
        .inner_join(models::table.on(models::id.eq(model_group_members::model_id)))
        .filter(model_group_members::group_id.eq(id.to_string()))
        .order(models::slug)
        .select((models::id, models::slug));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let each = found
        .iter()
        .map(|(id, slug)| Ok((column("models", "id", id, id)?, column("models", "slug", id, slug)?)));
    each.collect()
}

/// Adds a group at a level, without models.
///
/// # Errors
/// [`Error::Duplicate`] when the slug is taken there; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: LevelScope, group: &ModelGroup) -> Result<()> {
    let (level, scope_id) = place(scope.level());
    let row = GroupRow {
        id: group.id.to_string(),
        level: level.to_owned(),
        scope_id,
        slug: group.slug.to_string(),
        name: group.name.to_string(),
        revision: group.revision,
        created_at: group.created_at.into(),
        updated_at: group.updated_at.into(),
    };
    let insert = diesel::insert_into(model_groups::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// As [`find`], held until the transaction ends.
#[boxed]
pub async fn hold(
    tx: &mut Transaction,
    _system: &SystemScope,
    id: ModelGroupId,
) -> Result<Option<ModelGroup>> {
    let update = diesel::update(model_groups::table.find(id.to_string()))
        .set(model_groups::revision.eq(model_groups::revision));
    let row = with!(tx, c => update.returning(GroupRow::as_returning()).get_result(c).await.optional())?;
    row.map(ModelGroup::try_from).transpose()
}

/// Writes that a group that is held was changed.
#[boxed]
pub async fn write(tx: &mut Transaction, _system: &SystemScope, group: &ModelGroup) -> Result<()> {
    let update = diesel::update(model_groups::table.find(group.id.to_string())).set((
        model_groups::revision.eq(group.revision),
        model_groups::updated_at.eq(Stamp(group.updated_at)),
    ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// A group of a level, held until the transaction ends.
#[boxed]
pub async fn lock(tx: &mut Transaction, scope: LevelScope, id: ModelGroupId) -> Result<Option<ModelGroup>> {
    let (level, owner) = place(scope.level());
    let update = diesel::update(model_groups::table.find(id.to_string()))
        .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner)))
        .set(model_groups::revision.eq(model_groups::revision));
    let row = with!(tx, c => update.returning(GroupRow::as_returning()).get_result(c).await.optional())?;
    row.map(ModelGroup::try_from).transpose()
}

/// Writes a group that is held: its name and revision.
#[boxed]
pub async fn save(tx: &mut Transaction, scope: LevelScope, group: &ModelGroup) -> Result<()> {
    let (level, owner) = place(scope.level());
    let update = diesel::update(model_groups::table.find(group.id.to_string()))
        .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner)))
        .set((
            model_groups::name.eq(group.name.to_string()),
            model_groups::revision.eq(group.revision),
            model_groups::updated_at.eq(Stamp(group.updated_at)),
        ));
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}

/// Puts a model into a group that is held; false when it is in it.
#[boxed]
pub async fn add_member(tx: &mut Transaction, id: ModelGroupId, model: ModelId) -> Result<bool> {
    let insert = diesel::insert_into(model_group_members::table)
        .values((
            model_group_members::group_id.eq(id.to_string()),
            model_group_members::model_id.eq(model.to_string()),
        ))
        .on_conflict_do_nothing();
    Ok(with!(tx, c => insert.execute(c).await)? > 0)
}

/// Takes a model out of a group that is held; false when it is not in it.
#[boxed]
pub async fn remove_member(tx: &mut Transaction, id: ModelGroupId, model: ModelId) -> Result<bool> {
    let delete = diesel::delete(model_group_members::table.find((id.to_string(), model.to_string())));
    Ok(with!(tx, c => delete.execute(c).await)? > 0)
}

/// Removes a group of a level; its models stay. False when there is none.
#[boxed]
pub async fn remove(tx: &mut Transaction, scope: LevelScope, id: ModelGroupId) -> Result<bool> {
    let (level, owner) = place(scope.level());
    let members =
        diesel::delete(model_group_members::table.filter(model_group_members::group_id.eq(id.to_string())));
    with!(tx, c => members.execute(c).await)?;
    let group = diesel::delete(model_groups::table.find(id.to_string()))
        .filter(model_groups::level.eq(level).and(model_groups::scope_id.eq(owner)));
    Ok(with!(tx, c => group.execute(c).await)? > 0)
}
