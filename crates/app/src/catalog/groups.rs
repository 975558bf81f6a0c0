//! Groups of models: what shows them to tenants.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::{GroupScope, ModelGroup, ModelSlug};
use scaigrid_persistence::models::ModelRef;
use scaigrid_persistence::{self as persistence, Connection, Transaction, audit, model_groups};
use scaigrid_scope::{AuthorizedAtLevel, ModelGroupId, ModelId, Name, Slug, perm};
use serde_json::{Value, json};

use super::models::seen;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, FieldError, Resource};

/// A group as it is asked for.
#[derive(Debug, Clone)]
pub struct NewModelGroup {
    /// What people call it.
    pub name: Name,
    /// Its slug; made of the name when left out.
    pub slug: Option<Slug>,
    /// Which tenants it shows its models to.
    pub scope: GroupScope,
    /// The models.
    pub models: Vec<ModelSlug>,
}

/// What is to be changed of a group; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct GroupEdits {
    /// What people call it.
    pub name: Option<Name>,
    /// The models, all of them.
    pub models: Option<Vec<ModelSlug>>,
}

/// A group and its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelGroupView {
    /// The group.
    pub group: ModelGroup,
    /// The slugs of its models, in their order.
    pub models: Vec<ModelSlug>,
}

fn state(group: &ModelGroup, models: &BTreeMap<ModelSlug, ModelId>) -> Value {
    json!({
        "slug": group.slug.as_str(),
        "name": group.name.as_str(),
        "scope": group.scope().as_str(),
        "models": models.keys().map(ModelSlug::as_str).collect::<Vec<_>>(),
    })
}

type Caller = AuthorizedAtLevel<perm::ModelsManage>;
type Members = BTreeMap<ModelSlug, ModelId>;

async fn members(c: &mut Connection, id: ModelGroupId) -> Result<Members, Error> {
    let members = model_groups::members(c, id).await?;
    Ok(members.into_iter().map(|(id, slug)| (slug, id)).collect())
}

fn view(group: ModelGroup, members: &Members) -> ModelGroupView {
    ModelGroupView { group, models: members.keys().cloned().collect() }
}

/// The models that a group is to have. Those that are in it stay; others must be seen by the caller.
async fn wanted(
    tx: &mut Transaction,
    caller: &Caller,
    slugs: &[ModelSlug],
    present: &Members,
) -> Result<Members, Error> {
    let (mut found, mut problems) = (Members::new(), Vec::new());
    for (index, slug) in slugs.iter().enumerate() {
        let id = match present.get(slug) {
            Some(id) => Some(*id),
            None => match seen(tx, caller, caller.level_scope(), &ModelRef::Slug(slug.clone())).await {
                Ok(seen) => Some(seen.model.id),
                Err(Error::NotFound(_)) => None,
                Err(other) => return Err(other),
            },
        };
        match id {
            Some(id) => drop(found.insert(slug.clone(), id)),
            None => problems.push(FieldError::new(format!("models[{index}]"), "is no model here")),
        }
    }
    if found.len() > ModelGroup::MAX_MODELS {
        problems.push(FieldError::new("models", format!("must be at most {}", ModelGroup::MAX_MODELS)));
    }
    if problems.is_empty() { Ok(found) } else { Err(Error::Invalid(problems)) }
}

impl App {
    /// The groups of the caller's level, newest first.
    #[boxed]
    pub async fn model_groups(
        &self,
        caller: &Caller,
        page: &PageRequest,
    ) -> Result<Page<ModelGroupView>, Error> {
        let mut connection = self.0.database.read().await?;
        let level = caller.level_scope();
        let rows = model_groups::list(&mut connection, level, page.after()?, page.rows()).await?;
        let page = Page::of_rows(rows, page, |group| Cursor::new([group.id.to_string().into()]));
        let mut items = Vec::with_capacity(page.items.len());
        for group in page.items {
            let models = members(&mut connection, group.id).await?;
            items.push(view(group, &models));
        }
        Ok(Page { items, next: page.next })
    }

    /// A group of the caller's level.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn model_group(&self, caller: &Caller, id: ModelGroupId) -> Result<ModelGroupView, Error> {
        let mut connection = self.0.database.read().await?;
        let found = model_groups::lookup(&mut connection, caller.level_scope(), id).await?;
        let group = found.ok_or(Error::NotFound(Resource::ModelGroup))?;
        let models = members(&mut connection, id).await?;
        Ok(view(group, &models))
    }

    /// Makes a group at the caller's level.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a scope that groups of this level do not have, and for models that there are not;
    /// [`Error::SlugConflict`].
    #[boxed]
    pub async fn create_model_group(
        &self,
        caller: &Caller,
        request: &RequestContext,
        new: NewModelGroup,
    ) -> Result<ModelGroupView, Error> {
        let mut tx = self.0.database.begin().await?;
        let made = self.add_model_group(&mut tx, caller, request, new).await;
        let made = ended(tx, made).await?;
        self.catalog_changed();
        Ok(made)
    }

    async fn add_model_group(
        &self,
        tx: &mut Transaction,
        caller: &Caller,
        request: &RequestContext,
        new: NewModelGroup,
    ) -> Result<ModelGroupView, Error> {
        let (now, level) = (self.now(), caller.level_scope());
        let scope = GroupScope::of_level(caller.level());
        if new.scope != scope {
            return Err(Error::invalid("scope", format!("must be {scope} at this level")));
        }
        let slug = new.slug.or_else(|| Slug::from_name(new.name.as_str()));
        let slug = slug.ok_or_else(|| Error::invalid("slug", "cannot be made of this name; give one"))?;
        let taken = || Error::slug_taken(&slug);
        if model_groups::is_taken(tx, level, &slug).await? {
            return Err(taken());
        }
        let models = wanted(tx, caller, &new.models, &Members::new()).await?;
        let group = ModelGroup {
            id: ModelGroupId::from_ulid(self.0.ids.draw(now)),
            owner: caller.level(),
            slug: slug.clone(),
            name: new.name,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        model_groups::add(tx, level, &group).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => taken(),
            other => other.into(),
        })?;
        for id in models.values() {
            model_groups::add_member(tx, group.id, *id).await?;
        }
        let changes = diff(&Value::Null, &state(&group, &models), &[]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ModelGroupCreate);
        let id = group.id.to_string();
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
        Ok(view(group, &models))
    }

    /// Changes a group of the caller's level: its name, or its models, all at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Invalid`] for models that there are not.
    pub async fn update_model_group(
        &self,
        caller: &Caller,
        request: &RequestContext,
        id: ModelGroupId,
        expected: Expected<'_>,
        edits: GroupEdits,
    ) -> Result<ModelGroupView, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = async {
            let (before, present) = self.held_group(&mut tx, caller, id, expected).await?;
            let models = match &edits.models {
                Some(slugs) => wanted(&mut tx, caller, slugs, &present).await?,
                None => present.clone(),
            };
            let name = edits.name.clone().unwrap_or_else(|| before.name.clone());
            self.write_group(&mut tx, caller, request, (before, &present), (name, models)).await
        };
        let after = after.await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    /// Puts a model into a group of the caller's level, or takes it out. One that is in it, or not in it, already changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Conflict`] when the group is full.
    pub async fn set_in_model_group(
        &self,
        caller: &Caller,
        request: &RequestContext,
        id: ModelGroupId,
        expected: Expected<'_>,
        (which, within): (&ModelRef, bool),
    ) -> Result<ModelGroupView, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = async {
            let (before, present) = self.held_group(&mut tx, caller, id, expected).await?;
            let mut models = present.clone();
            if within {
                let model = seen(&mut tx, caller, caller.level_scope(), which).await?.model;
                models.insert(model.slug, model.id);
                if models.len() > ModelGroup::MAX_MODELS {
                    let message = format!("A group holds at most {} models", ModelGroup::MAX_MODELS);
                    return Err(Error::Conflict(message));
                }
            } else {
                let named = |slug: &ModelSlug, id: &ModelId| match which {
                    ModelRef::Id(wanted) => wanted == id,
                    ModelRef::Slug(wanted) => wanted == slug,
                };
                models.retain(|slug, id| !named(slug, id));
                if models.len() == present.len() {
                    return Err(Error::NotFound(Resource::Model));
                }
            }
            let name = before.name.clone();
            self.write_group(&mut tx, caller, request, (before, &present), (name, models)).await
        };
        let after = after.await;
        let after = ended(tx, after).await?;
        self.catalog_changed();
        Ok(after)
    }

    async fn held_group(
        &self,
        tx: &mut Transaction,
        caller: &Caller,
        id: ModelGroupId,
        expected: Expected<'_>,
    ) -> Result<(ModelGroup, Members), Error> {
        let found = model_groups::lock(tx, caller.level_scope(), id).await?;
        let group = found.ok_or(Error::NotFound(Resource::ModelGroup))?;
        check_expected(expected, group.revision)?;
        let present = members(tx, id).await?;
        Ok((group, present))
    }

    async fn write_group(
        &self,
        tx: &mut Transaction,
        caller: &Caller,
        request: &RequestContext,
        (before, present): (ModelGroup, &Members),
        (name, models): (Name, Members),
    ) -> Result<ModelGroupView, Error> {
        if name == before.name && models == *present {
            return Ok(view(before, present));
        }
        let now = self.now();
        let after = ModelGroup { name, revision: before.revision + 1, updated_at: now, ..before.clone() };
        for id in models.values().filter(|id| !present.values().any(|known| known == *id)) {
            model_groups::add_member(tx, after.id, *id).await?;
        }
        for id in present.values().filter(|id| !models.values().any(|wanted| wanted == *id)) {
            model_groups::remove_member(tx, after.id, *id).await?;
        }
        model_groups::save(tx, caller.level_scope(), &after).await?;
        let changes = diff(&state(&before, present), &state(&after, &models), &[]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ModelGroupUpdate);
        let id = after.id.to_string();
        audit::add(tx, &AuditRecord::at_level(stamp, caller, request, action, id, changes)).await?;
        Ok(view(after, &models))
    }

    /// Removes a group of the caller's level. Its models stay, and are shown by others only.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_model_group(
        &self,
        caller: &Caller,
        request: &RequestContext,
        id: ModelGroupId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let gone = async {
            let (before, present) = self.held_group(&mut tx, caller, id, expected).await?;
            model_groups::remove(&mut tx, caller.level_scope(), id).await?;
            let changes = diff(&state(&before, &present), &Value::Null, &[]);
            let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::ModelGroupDelete);
            let record = AuditRecord::at_level(stamp, caller, request, action, id.to_string(), changes);
            audit::add(&mut tx, &record).await?;
            Ok(())
        };
        let gone = gone.await;
        ended(tx, gone).await?;
        self.catalog_changed();
        Ok(())
    }
}
