//! Participants: the people and the AIs of a tenant.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext, diff};
use scaigrid_catalog::{Modality, Model, ModelSlug};
use scaigrid_persistence::models::{ModelRef, SeenModel};
use scaigrid_persistence::{Connection, Transaction, audit, models, participants, tenants, users};
use scaigrid_scope::{Authorized, Name, ParticipantId, Principal, Tenant, TenantLimits, TenantScope, perm};
use scaigrid_workspace::{AiChanges, AiProfile, LocalId, Participant, ParticipantKind, Temperature, Who};
use serde_json::{Value, json};

use crate::catalog::seen;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, FieldError, Resource};

pub use scaigrid_persistence::participants::ParticipantFilter;

/// A participant as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedParticipant {
    /// The participant.
    pub participant: Participant,
    /// Its picture: of an AI that of its model, if that has one.
    pub avatar_url: Option<String>,
}

/// An AI as it is asked for.
#[derive(Debug, Clone)]
pub struct NewParticipant {
    /// The name by which it is mentioned.
    pub local_id: LocalId,
    /// What people call it.
    pub display_name: Name,
    /// The model that answers.
    pub model: ModelSlug,
    /// How it answers.
    pub profile: AiProfile,
}

/// A participant as the audit log tells of it.
pub(crate) fn state(participant: &Participant) -> Value {
    let mut state = json!({
        "local_id": participant.local_id.as_str(),
        "display_name": participant.display_name.as_str(),
        "participant_type": participant.kind.as_str(),
        "enabled": participant.enabled,
    });
    if let Who::Ai { model, profile, helper } = &participant.who {
        state["model"] = model.as_str().into();
        state["system_prompt"] = profile.system_prompt.as_str().into();
        state["default_response_mode"] = profile.response_mode.as_str().into();
        state["plugins"] = json!(profile.plugins);
        state["temperature"] = profile.temperature.map(Temperature::number).into();
        state["helper"] = helper.as_ref().map_or(Value::Null, |helper| {
            json!({
                "enabled": helper.enabled,
                "role_description": helper.role_description,
                "temperature": helper.temperature.map(Temperature::number),
                "daily_cap": helper.daily_token_cap,
                "planner_enabled": helper.planner_enabled,
                "dispatcher_only": helper.dispatcher_only,
            })
        });
    }
    state
}

/// Whether one more participant has a place in a tenant, which is held. People and AIs are counted together.
///
/// # Errors
/// [`Error::Capacity`].
pub(crate) async fn check_place(
    c: &mut Connection,
    scope: TenantScope,
    limits: &TenantLimits,
) -> Result<(), Error> {
    let Some(limit) = limits.max_participants else { return Ok(()) };
    let present = participants::count(c, scope, &ParticipantFilter::default()).await?;
    if present < i64::from(limit) {
        return Ok(());
    }
    Err(Error::Capacity { what: "participants".into(), limit: limit.into() })
}

fn taken(local_id: &LocalId) -> Error {
    Error::SlugConflict { field: "local_id", slug: local_id.to_string() }
}

/// What a model's own participant is called where nobody says it: by the last part of the model's slug.
fn suggested(model: &Model) -> Option<LocalId> {
    model.slug.as_str().rsplit('/').find_map(LocalId::suggested_by)
}

async fn held_tenant(tx: &mut Transaction, scope: TenantScope) -> Result<Tenant, Error> {
    // One at a time in a tenant: places are counted, and names are looked for before they are taken.
    tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))
}

/// Participants with their pictures.
pub(crate) async fn pictured(
    c: &mut Connection,
    found: Vec<Participant>,
) -> Result<Vec<ListedParticipant>, Error> {
    let slugs: BTreeSet<ModelSlug> = found.iter().filter_map(|one| model_of(one).cloned()).collect();
    let slugs: Vec<ModelSlug> = slugs.into_iter().collect();
    let avatars = models::avatars(c, &slugs).await?;
    let each = found.into_iter().map(|participant| {
        let avatar_url = model_of(&participant).and_then(|model| avatars.get(model).cloned());
        ListedParticipant { participant, avatar_url }
    });
    Ok(each.collect())
}

fn model_of(participant: &Participant) -> Option<&ModelSlug> {
    match &participant.who {
        Who::Ai { model, .. } => Some(model),
        Who::Human(_) => None,
    }
}

/// Users who are made participants at a time.
const NEWCOMERS: i64 = 500;

impl App {
    /// Makes those users participants who were made by servers that knew of none yet, during an upgrade.
    ///
    /// # Errors
    /// The database's. Whoever is one by then stays one.
    #[boxed]
    pub async fn welcome_newcomers(&self) -> Result<(), Error> {
        let found = {
            let mut connection = self.0.database.read().await?;
            participants::newcomers(&mut connection, &self.0.system, NEWCOMERS).await?
        };
        for (tenant, id) in found {
            let scope = self.0.system.tenant(tenant);
            let mut tx = self.0.database.begin().await?;
            let made = async {
                tenants::lock(&mut tx, scope).await?;
                if let Some(user) = users::lookup(&mut tx, scope, id).await? {
                    participants::add_user(&mut tx, scope, &user).await?;
                }
                Ok(())
            };
            let made = made.await;
            ended(tx, made).await?;
        }
        Ok(())
    }

    /// The participants of the caller's tenant, the oldest first.
    #[boxed]
    pub async fn participants(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        filter: &ParticipantFilter,
        page: &PageRequest,
    ) -> Result<Page<ListedParticipant>, Error> {
        let mut connection = self.0.database.read().await?;
        let (c, after) = (&mut connection, page.after()?);
        let rows = participants::list(c, caller.tenant_scope(), filter, after, page.rows()).await?;
        let page = Page::of_rows(rows, page, |row| Cursor::new([row.id.to_string().into()]));
        Ok(Page { items: pictured(c, page.items).await?, next: page.next })
    }

    /// A participant of the caller's tenant; also a user who was deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn participant(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        id: ParticipantId,
    ) -> Result<ListedParticipant, Error> {
        let mut connection = self.0.database.read().await?;
        let found = participants::lookup(&mut connection, caller.tenant_scope(), id).await?;
        only(pictured(&mut connection, found.into_iter().collect()).await?)
    }

    /// Adds an AI to the caller's tenant.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a model that the tenant may not use or that answers no chat, and for plugins that there are not;
    /// [`Error::SlugConflict`], [`Error::Capacity`].
    #[boxed]
    pub async fn create_participant(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        new: NewParticipant,
    ) -> Result<ListedParticipant, Error> {
        let NewParticipant { local_id, display_name, model, profile } = new;
        let (scope, which) = (caller.tenant_scope(), ModelRef::Slug(model));
        let mut tx = self.0.database.begin().await?;
        let made = async {
            let tenant = held_tenant(&mut tx, scope).await?;
            let found = seen(&mut tx, caller, scope.into(), &which).await.map_err(|error| match error {
                Error::NotFound(_) => Error::invalid("model", "is no model that the tenant may use"),
                other => other,
            })?;
            check_chat(&found).map_err(|reason| Error::invalid("model", reason))?;
            if participants::is_taken(&mut tx, scope, &local_id).await? {
                return Err(taken(&local_id));
            }
            let who = Who::Ai { model: found.model.slug, profile, helper: None };
            let ai = self.unborn(&tenant, local_id, display_name, who);
            self.add_participant(&mut tx, caller, request, &tenant, ai).await
        };
        let made = made.await;
        ended(tx, made).await
    }

    /// Sets up the AI that is a model's own: makes it, or changes it. The first one that was made of a model is its own. Also
    /// whether it was made.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a model that the tenant may not use; [`Error::Conflict`] for one that answers no chat;
    /// [`Error::PreconditionFailed`], [`Error::SlugConflict`], [`Error::Capacity`]; [`Error::Invalid`] for plugins that there
    /// are not, and without a name to mention it by, where the model's slug suggests none.
    pub async fn put_model_participant(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        which: &ModelRef,
        expected: Expected<'_>,
        changes: AiChanges,
    ) -> Result<(ListedParticipant, bool), Error> {
        let mut tx = self.0.database.begin().await?;
        let put = async {
            let scope = caller.tenant_scope();
            let tenant = held_tenant(&mut tx, scope).await?;
            let found = seen(&mut tx, caller, scope.into(), which).await?;
            if let Some(before) = participants::of_model(&mut tx, scope, &found.model.slug).await? {
                let after =
                    self.change_participant(&mut tx, caller, request, before.id, expected, &changes).await?;
                return Ok((after, false));
            }
            if expected.is_some() {
                return Err(Error::PreconditionFailed);
            }
            check_chat(&found).map_err(|reason| Error::Conflict(format!("The model {reason}")))?;
            let ai = self.own_of(&mut tx, &tenant, scope, &found.model, &changes).await?;
            Ok((self.add_participant(&mut tx, caller, request, &tenant, ai).await?, true))
        };
        let put = put.await;
        ended(tx, put).await
    }

    /// What a model's own participant begins as: with the names that it was given, or that follow from the model's.
    async fn own_of(
        &self,
        tx: &mut Transaction,
        tenant: &Tenant,
        scope: TenantScope,
        model: &Model,
        changes: &AiChanges,
    ) -> Result<Participant, Error> {
        let nameless = || Error::invalid("local_id", "is required: the slug of the model suggests none");
        let (local_id, given) = match &changes.local_id {
            Some(local_id) => (local_id.clone(), true),
            None => (suggested(model).ok_or_else(nameless)?, false),
        };
        let who = Who::Ai { model: model.slug.clone(), profile: AiProfile::default(), helper: None };
        let mut ai = self.unborn(tenant, local_id, model.display_name.clone(), who);
        if participants::is_taken(tx, scope, &ai.local_id).await? {
            if given {
                return Err(taken(&ai.local_id));
            }
            // The end of an id is drawn.
            let tail: String = ai.id.to_string().chars().rev().take(8).collect();
            ai.local_id = ai.local_id.told_apart(&tail).ok_or_else(nameless)?;
        }
        Ok(changes.applied_to(ai))
    }

    fn unborn(&self, tenant: &Tenant, local_id: LocalId, display_name: Name, who: Who) -> Participant {
        let now = self.now();
        Participant {
            id: ParticipantId::from_ulid(self.0.ids.draw(now)),
            tenant_id: tenant.id,
            kind: ParticipantKind::Model,
            local_id,
            display_name,
            who,
            enabled: true,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// Adds an AI whose name is free to a tenant that is held.
    async fn add_participant(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        tenant: &Tenant,
        ai: Participant,
    ) -> Result<ListedParticipant, Error> {
        let scope = caller.tenant_scope();
        check_place(tx, scope, &tenant.limits).await?;
        self.check_loadout(tx, scope, &ai).await?;
        participants::add(tx, scope, &ai).await?;
        let changes = diff(&Value::Null, &state(&ai), &[]);
        self.note_participant(tx, caller, request, (AuditAction::ParticipantCreate, ai.id), changes).await?;
        only(pictured(tx, vec![ai]).await?)
    }

    /// Changes an AI. What it does at this moment it does as it was.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a person; [`Error::PreconditionFailed`], [`Error::SlugConflict`];
    /// [`Error::Invalid`] for plugins that there are not.
    pub async fn update_participant(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        id: ParticipantId,
        expected: Expected<'_>,
        changes: &AiChanges,
    ) -> Result<ListedParticipant, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = async {
            held_tenant(&mut tx, caller.tenant_scope()).await?;
            self.change_participant(&mut tx, caller, request, id, expected, changes).await
        };
        let after = after.await;
        ended(tx, after).await
    }

    async fn change_participant(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        id: ParticipantId,
        expected: Expected<'_>,
        changes: &AiChanges,
    ) -> Result<ListedParticipant, Error> {
        let scope = caller.tenant_scope();
        let found = participants::lock(tx, scope, id).await?;
        let before = found.ok_or(Error::NotFound(Resource::Participant))?;
        if matches!(before.who, Who::Human(_)) {
            return Err(Error::Conflict("A person is changed as a user, under /v1/users".to_owned()));
        }
        check_expected(expected, before.revision)?;
        let after = changes.applied_to(before.clone());
        if after != before {
            if after.local_id != before.local_id && participants::is_taken(tx, scope, &after.local_id).await?
            {
                return Err(taken(&after.local_id));
            }
            if changes.plugins.is_some() {
                self.check_loadout(tx, scope, &after).await?;
            }
            participants::save(tx, scope, &after, self.now()).await?;
            let changes = diff(&state(&before), &state(&after), &[]);
            self.note_participant(tx, caller, request, (AuditAction::ParticipantUpdate, id), changes).await?;
        }
        let written = participants::lookup(tx, scope, id).await?;
        only(pictured(tx, written.into_iter().collect()).await?)
    }

    /// Whether the plugins that an AI names are there, each once.
    async fn check_loadout(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        ai: &Participant,
    ) -> Result<(), Error> {
        let Who::Ai { profile: AiProfile { plugins: Some(named), .. }, .. } = &ai.who else { return Ok(()) };
        if named.len() > AiProfile::MAX_PLUGINS {
            return Err(Error::invalid("plugins", format!("must be at most {}", AiProfile::MAX_PLUGINS)));
        }
        let unknown = self.unknown_plugins(tx, scope, named).await?;
        let mut known = BTreeSet::new();
        let mut problems = Vec::new();
        for (index, plugin) in named.iter().enumerate() {
            let problem = if unknown.contains(&index) {
                "is no plugin here"
            } else if known.insert(plugin) {
                continue;
            } else {
                "is listed twice"
            };
            problems.push(FieldError::new(format!("plugins[{index}]"), problem));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
    }

    /// Writes the record of a change of a participant.
    pub(crate) async fn note_participant(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        (action, id): (AuditAction, ParticipantId),
        changes: Changes,
    ) -> Result<(), Error> {
        let stamp = self.audit_stamp(self.now());
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        Ok(audit::add(tx, &record).await?)
    }
}

fn check_chat(found: &SeenModel) -> Result<(), &'static str> {
    if found.model.modality == Modality::Chat { Ok(()) } else { Err("must be a model for chat") }
}

fn only(found: Vec<ListedParticipant>) -> Result<ListedParticipant, Error> {
    found.into_iter().next().ok_or(Error::NotFound(Resource::Participant))
}
