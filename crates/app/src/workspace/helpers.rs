//! Helpers: AIs that others ask as a tool, one question at a time.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_catalog::ModelSlug;
use scaigrid_persistence::participants::{self, ParticipantFilter};
use scaigrid_persistence::{Connection, Transaction, audit, helper_invocations as invocations, rooms};
use scaigrid_scope::{Authorized, InvocationId, ParticipantId, RoomId, TenantScope, perm};
use scaigrid_workspace::AiProfile;
use scaigrid_workspace::helper::{
    Invocation, InvocationStatus, MAX_DEPTH, MAX_QUERY, briefing, estimate, excerpt,
};
use serde_json::{Map, Value, json};

use super::ask::{Manner, Said};
use super::participants::state;
use super::tools::Asker;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, Resource};

pub use scaigrid_workspace::{HelperConfig, Participant, Temperature, Who, helper};

/// What is to be changed of an AI's work as a helper; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelperEdits {
    /// Whether it can be asked. Needed where the AI is no helper yet.
    pub enabled: Option<bool>,
    /// What it is good for.
    pub role_description: Option<String>,
    /// How freely it answers then, or as it always does.
    pub temperature: Option<Option<Temperature>>,
    /// How many tokens it may use on a day, or as many as it likes.
    pub daily_token_cap: Option<Option<u64>>,
    /// Whether it may be asked by plans.
    pub planner_enabled: Option<bool>,
    /// Whether it is offered by the general tool alone.
    pub dispatcher_only: Option<bool>,
}

/// What an AI has answered on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The text.
    pub text: String,
    /// The model that has answered.
    pub model: ModelSlug,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

impl HelperEdits {
    fn applied_to(self, before: Option<&HelperConfig>) -> Result<HelperConfig, Error> {
        let enabled = self.enabled.or_else(|| before.map(|before| before.enabled));
        let needed = || Error::invalid("helper_enabled", "is needed: the participant is no helper yet");
        let mut after = before.cloned().unwrap_or_default();
        after.enabled = enabled.ok_or_else(needed)?;
        after.role_description = self.role_description.unwrap_or(after.role_description);
        after.temperature = self.temperature.unwrap_or(after.temperature);
        after.daily_token_cap = self.daily_token_cap.unwrap_or(after.daily_token_cap);
        after.planner_enabled = self.planner_enabled.unwrap_or(after.planner_enabled);
        after.dispatcher_only = self.dispatcher_only.unwrap_or(after.dispatcher_only);
        Ok(after)
    }
}

/// A helper as it is asked: what it is told, and its work.
fn work_of(helper: &Participant) -> Option<(&AiProfile, &HelperConfig)> {
    match &helper.who {
        Who::Ai { profile, helper: Some(config), .. } => Some((profile, config)),
        Who::Ai { .. } | Who::Human(_) => None,
    }
}

/// Whether a participant can be asked as a helper.
fn is_ready(helper: &Participant) -> bool {
    helper.enabled && work_of(helper).is_some_and(|(_, config)| config.enabled)
}

/// What a helper is asked, and how.
fn question(profile: &AiProfile, config: &HelperConfig, query: &str) -> (Vec<Value>, Map<String, Value>) {
    let system = briefing(profile.system_prompt.as_str(), config);
    let messages =
        vec![json!({"role": "system", "content": system}), json!({"role": "user", "content": query})];
    let mut params = Map::new();
    if let Some(temperature) = config.temperature.or(profile.temperature) {
        params.insert("temperature".to_owned(), temperature.number().into());
    }
    (messages, params)
}

fn check_query(query: &str) -> Result<(), Error> {
    let rule = || format!("must be a text of at most {MAX_QUERY} bytes, and not empty");
    let good = !query.trim().is_empty() && query.len() <= MAX_QUERY;
    if good { Ok(()) } else { Err(Error::invalid("query", rule())) }
}

async fn known(c: &mut Connection, scope: TenantScope, id: ParticipantId) -> Result<Participant, Error> {
    let found = participants::lookup(c, scope, id).await?;
    found.ok_or(Error::NotFound(Resource::Participant))
}

impl App {
    /// Has an AI work as a helper, or changes how it does.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::PreconditionFailed`]; [`Error::Conflict`] for a person; [`Error::Invalid`] where it is not
    /// said whether one that is no helper yet is to be one.
    pub async fn configure_helper(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        id: ParticipantId,
        expected: Expected<'_>,
        edits: HelperEdits,
    ) -> Result<Participant, Error> {
        let mut tx = self.0.database.begin().await?;
        let after = self.change_helper(&mut tx, caller, request, id, expected, edits).await;
        ended(tx, after).await
    }

    async fn change_helper(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::AdminAccess>,
        request: &RequestContext,
        id: ParticipantId,
        expected: Expected<'_>,
        edits: HelperEdits,
    ) -> Result<Participant, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        let before = participants::lock(tx, scope, id).await?;
        let before = before.ok_or(Error::NotFound(Resource::Participant))?;
        check_expected(expected, before.revision)?;
        let mut after = before.clone();
        let Who::Ai { helper, .. } = &mut after.who else {
            return Err(Error::Conflict("People are no helpers".into()));
        };
        let config = edits.applied_to(helper.as_ref())?;
        *helper = Some(config);
        if after == before {
            return Ok(before);
        }
        participants::save(tx, scope, &after, now).await?;
        (after.revision, after.updated_at) = (before.revision.saturating_add(1), now);
        let changes = diff(&state(&before), &state(&after), &[]);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ParticipantUpdate);
        audit::add(tx, &AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes))
            .await?;
        Ok(after)
    }

    /// The tenant's helpers, enabled or not, the oldest participant first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list.
    #[boxed]
    pub async fn helpers(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        page: &PageRequest,
    ) -> Result<Page<Participant>, Error> {
        self.helpers_of(caller.tenant_scope(), page).await
    }

    async fn helpers_of(&self, scope: TenantScope, page: &PageRequest) -> Result<Page<Participant>, Error> {
        let filter = ParticipantFilter { helpers: true, ..ParticipantFilter::default() };
        let mut connection = self.0.database.read().await?;
        let rows = participants::list(&mut connection, scope, &filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |helper| Cursor::new([helper.id.to_string().into()])))
    }

    /// The helpers that can be asked in a room of the caller's. A page can have fewer than are asked for, and another after it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a room that the caller is not in; [`Error::Invalid`] for a cursor of another list.
    #[boxed]
    pub async fn room_helpers(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        room: RoomId,
        page: &PageRequest,
    ) -> Result<Page<Participant>, Error> {
        let scope = caller.tenant_scope();
        {
            let mut connection = self.0.database.read().await?;
            let c = &mut connection;
            let own = participants::find_by_user(c, scope, caller.user_id()).await?;
            let member = match own {
                Some(own) => rooms::member(c, scope, room, own.id).await?,
                None => None,
            };
            member.ok_or(Error::NotFound(Resource::Room))?;
        }
        let mut page = self.helpers_of(scope, page).await?;
        page.items.retain(is_ready);
        Ok(page)
    }

    /// What a participant was asked as a helper, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a cursor of another list.
    #[boxed]
    pub async fn helper_invocations(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        id: ParticipantId,
        page: &PageRequest,
    ) -> Result<Page<Invocation>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        known(&mut connection, scope, id).await?;
        let rows = invocations::list(&mut connection, scope, id, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |row| Cursor::new([row.id.to_string().into()])))
    }

    /// Whether a participant of the tenant can be tried out, to be told before anything is said of what it is asked.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there; [`Error::Conflict`] for one that is no helper.
    #[boxed]
    pub async fn require_helper(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        id: ParticipantId,
    ) -> Result<Participant, Error> {
        let mut connection = self.0.database.read().await?;
        let found = known(&mut connection, caller.tenant_scope(), id).await?;
        let no_helper = || Error::Conflict("The participant is no helper".into());
        work_of(&found).ok_or_else(no_helper)?;
        Ok(found)
    }

    /// Asks a helper on trial, also one that is not enabled. Nothing is kept of it, and its own daily cap does not count; the
    /// tenant's budget does.
    ///
    /// # Errors
    /// As [`App::require_helper`]; [`Error::Invalid`] for a query that is empty or too long; and those of a call of a model.
    #[boxed]
    pub async fn try_helper(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        id: ParticipantId,
        query: &str,
    ) -> Result<Tried, Error> {
        let helper = self.require_helper(caller, id).await?;
        check_query(query)?;
        let (scope, user_id) = (caller.tenant_scope(), caller.user_id());
        let asker = Asker {
            scope,
            user_id,
            participant: helper,
            room_id: None,
            depth: 1,
            answer_id: None,
            again: false,
        };
        let said = self.ask_as_helper(&asker, query).await?;
        let Said { text, model, input_tokens, output_tokens } = said;
        Ok(Tried { text, model, input_tokens, output_tokens })
    }

    /// Asks a participant in its work as a helper.
    async fn ask_as_helper(&self, helper: &Asker, query: &str) -> Result<Said, Error> {
        let missing = || Error::NotFound(Resource::Participant);
        let (profile, config) = work_of(&helper.participant).ok_or_else(missing)?;
        let (messages, params) = question(profile, config, query);
        let manner = Manner { params, tools: true, ..Manner::default() };
        self.ask_ai(helper, messages, manner).await
    }

    /// Asks a helper on behalf of an AI; what it has answered. Its invocation is written before it is asked, with an estimate of
    /// what it will use, which counts until the truth is known, and for good should this node die meanwhile.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that cannot be asked; [`Error::Conflict`] where too many helpers stand in a row already;
    /// [`Error::Invalid`] for a query that is empty or too long; [`Error::BudgetExceeded`] past its daily cap; and those of a
    /// call of a model.
    #[boxed]
    pub(crate) async fn ask_helper(
        &self,
        asker: &Asker,
        helper: &Participant,
        query: &str,
    ) -> Result<String, Error> {
        if asker.depth >= MAX_DEPTH {
            return Err(Error::Conflict("Too many helpers ask each other".into()));
        }
        if !is_ready(helper) {
            return Err(Error::NotFound(Resource::Participant));
        }
        check_query(query)?;
        let begun = self.begin_invocation(asker, helper, query).await?;
        let as_helper =
            Asker { participant: helper.clone(), depth: asker.depth.saturating_add(1), ..asker.clone() };
        let said = self.ask_as_helper(&as_helper, query).await;
        let (status, tokens) = match &said {
            Ok(said) => (InvocationStatus::Completed, said.input_tokens.saturating_add(said.output_tokens)),
            Err(_) => (InvocationStatus::Failed, 0),
        };
        // The answer is there; that it cannot be counted now only leaves the estimate.
        if let Err(error) = self.end_invocation(asker.scope, &begun, status, tokens).await {
            tracing::warn!(error = %error, helper = %helper.id, "what a helper has used could not be written");
        }
        Ok(said?.text)
    }

    async fn begin_invocation(
        &self,
        asker: &Asker,
        helper: &Participant,
        query: &str,
    ) -> Result<Invocation, Error> {
        let missing = || Error::NotFound(Resource::Participant);
        let (profile, config) = work_of(helper).ok_or_else(missing)?;
        let prompt = briefing(profile.system_prompt.as_str(), config);
        let now = self.now();
        let begun = Invocation {
            id: InvocationId::from_ulid(self.0.ids.draw(now)),
            helper: helper.id,
            asked_by: asker.participant.id,
            user_id: asker.user_id,
            question: excerpt(query),
            status: InvocationStatus::Running,
            tokens: estimate(&[query, &prompt]),
            created_at: now,
            finished_at: None,
        };
        let mut tx = self.0.database.begin().await?;
        let written = async {
            let used = invocations::lock_day(&mut tx, asker.scope, helper.id, now).await?;
            if !config.has_tokens_left(used) {
                return Err(Error::BudgetExceeded { of: "the helper" });
            }
            Ok(invocations::begin(&mut tx, asker.scope, &begun).await?)
        };
        let written = written.await;
        ended(tx, written).await?;
        Ok(begun)
    }

    async fn end_invocation(
        &self,
        scope: TenantScope,
        begun: &Invocation,
        status: InvocationStatus,
        tokens: u64,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.0.database.begin().await?;
        let written = invocations::end(&mut tx, scope, begun, status, tokens, now).await;
        ended(tx, written.map_err(Error::from)).await
    }
}
