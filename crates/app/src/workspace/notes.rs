//! The processing of notes: how a tenant has it done, and the doing.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::{Modality, ModelSlug};
use scaigrid_engine::{Asking, ModelCall, Thread, Used};
use scaigrid_persistence::models::ModelRef;
use scaigrid_persistence::workspace_settings::{self as settings, SettingName};
use scaigrid_persistence::{Connection, Transaction, audit, models, tenants};
use scaigrid_scope::{Authorized, Principal, TenantScope, perm};
use scaigrid_workspace::note::{NoteAnswer, Question};
use serde_json::{Map, json};

use super::ai_config::configured;
use super::{check_fingerprint, fingerprint};
use crate::transaction::{Expected, ended};
use crate::{App, Error, Resource};

pub use scaigrid_workspace::note::{Language, Note, NoteChanges, NoteProcessing, Template};

/// The most tokens of what is said of a note.
const MAX_ANSWER: u64 = 4_096;

/// A note that a caller wants to have processed.
#[derive(Debug, Clone)]
pub struct AskedNote {
    /// What it says.
    pub text: String,
    /// What it is called, if it is.
    pub title: Option<String>,
    /// The language that the answer is wanted in, instead of the tenant's.
    pub language: Option<Language>,
}

/// A note that was processed.
#[derive(Debug, Clone)]
pub struct ProcessedNote {
    /// What was said of it.
    pub answer: NoteAnswer,
    /// By which model.
    pub model: ModelSlug,
    /// What was used.
    pub used: Used,
}

/// How a tenant's notes are processed.
async fn processing_of(c: &mut Connection, scope: TenantScope) -> Result<NoteProcessing, Error> {
    let kept = settings::read(c, scope, SettingName::NoteProcessing).await?;
    Ok(kept.map(|kept| NoteProcessing::of_document(&kept.document)).unwrap_or_default())
}

/// Whether settings can be as they are to be: their model answers chats and is enabled in the tenant, and once they are
/// switched on there is something to ask for, and somebody to ask. A model that was disabled since is no hindrance to
/// switching them off.
async fn check(
    tx: &mut Transaction,
    caller: &Principal,
    changes: &NoteChanges,
    after: &NoteProcessing,
) -> Result<(), Error> {
    if after.enabled && !after.asks() {
        let rule = "needs one of organise, summarise, extract_todos and suggest_tags";
        return Err(Error::invalid("enabled", rule));
    }
    let scope = caller.tenant_scope();
    let Some(slug) = &after.model else {
        if after.enabled && configured(tx, scope).await?.default_model.is_none() {
            return Err(Error::invalid("model", "is needed: the tenant has no default model"));
        }
        return Ok(());
    };
    if !after.enabled && changes.model.is_none() {
        return Ok(());
    }
    let which = ModelRef::Slug(slug.clone());
    match models::lookup(tx, scope.into(), caller.tenant().partner_id, &which).await? {
        None => Err(Error::invalid("model", "is no model that the tenant may use")),
        Some(found) if !found.enabled => Err(Error::invalid("model", "must be enabled in the tenant")),
        Some(found) if found.model.modality != Modality::Chat => {
            Err(Error::invalid("model", "must be a model for chat"))
        }
        Some(_) => Ok(()),
    }
}

impl App {
    /// How the tenant's notes are processed, and what tells this state of it from others.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn note_processing(
        &self,
        caller: &Authorized<perm::AdminAccess>,
    ) -> Result<(NoteProcessing, u64), Error> {
        let mut connection = self.0.database.read().await?;
        let found = processing_of(&mut connection, caller.tenant_scope()).await?;
        let mark = fingerprint(&found.document());
        Ok((found, mark))
    }

    /// Changes how the tenant's notes are processed.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`]; [`Error::Invalid`] for a model that is not enabled or answers no chats, and for what is
    /// switched on with nothing to ask for or nobody to ask.
    pub async fn update_note_processing(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: NoteChanges,
    ) -> Result<(NoteProcessing, u64), Error> {
        let mut tx = self.0.database.begin().await?;
        let after = self.change_note_processing(&mut tx, caller, request, expected, changes).await;
        ended(tx, after).await
    }

    async fn change_note_processing(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        expected: Expected<'_>,
        changes: NoteChanges,
    ) -> Result<(NoteProcessing, u64), Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let before = processing_of(tx, scope).await?;
        let mark = fingerprint(&before.document());
        check_fingerprint(expected, mark)?;
        let after = changes.clone().applied_to(before.clone());
        check(tx, caller, &changes, &after).await?;
        if after == before {
            return Ok((before, mark));
        }
        let (name, document) = (SettingName::NoteProcessing, after.document());
        let (changes, mark) = (diff(&before.document(), &document, &[]), fingerprint(&document));
        settings::write(tx, scope, name, document, None, &self.0.vault, now).await?;
        let (stamp, id) = (self.audit_stamp(now), scope.tenant_id().to_string());
        let action = AuditAction::NoteProcessingUpdate;
        audit::add(tx, &AuditRecord::in_tenant(stamp, caller, request, action, id, changes)).await?;
        Ok((after, mark))
    }

    /// Has a note processed as the tenant has set it. Nothing is kept of it.
    ///
    /// # Errors
    /// [`Error::NotesDisabled`]; [`Error::Conflict`] where no model is set and the tenant has no default any more; and those of
    /// a call of a model, [`Error::BackendFailed`] also for an answer that cannot be read.
    #[boxed]
    pub async fn process_note(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        note: AskedNote,
    ) -> Result<ProcessedNote, Error> {
        let scope = caller.tenant_scope();
        let (settings, model) = {
            let mut connection = self.0.database.read().await?;
            let settings = processing_of(&mut connection, scope).await?;
            if !settings.enabled {
                return Err(Error::NotesDisabled);
            }
            let model = match &settings.model {
                Some(model) => Some(model.clone()),
                None => configured(&mut connection, scope).await?.default_model,
            };
            (settings, model)
        };
        let no_model = || Error::Conflict("The tenant has neither a model for notes nor a default".into());
        let question = settings.question(Note {
            text: &note.text,
            title: note.title.as_deref(),
            language: note.language.as_ref(),
        });
        let user_id = self.asking_user(scope, caller.user_id()).await?;
        let call = call_of(model.ok_or_else(no_model)?, question, Asking { user_id, ..Asking::default() });
        let answered = self.0.engine.models().chat(scope, call).await?;
        let (model, used) = (answered.model.clone(), answered.used);
        let said = answered.into_answer().content;
        let answer = settings
            .answer(&said)
            .map_err(|error| Error::BackendFailed { model: model.to_string(), reason: error.to_string() })?;
        Ok(ProcessedNote { answer, model, used })
    }
}

fn call_of(model: ModelSlug, question: Question, asking: Asking) -> ModelCall {
    let format = json!({
        "type": "json_schema",
        "json_schema": {"name": "note", "strict": true, "schema": question.schema},
    });
    let mut params = Map::new();
    params.insert("response_format".to_owned(), format);
    ModelCall {
        models: vec![model],
        messages: question.messages,
        params,
        max_output_tokens: Some(MAX_ANSWER),
        max_cost: None,
        timeout: None,
        asking,
        thread: Thread::default(),
    }
}
