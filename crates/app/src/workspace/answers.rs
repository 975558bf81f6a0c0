//! Answers of AIs in rooms: who owes one, and how it is given.

mod give;
mod keep;
mod question;

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::{ModelSlug, ModelStatus};
use scaigrid_persistence::models::{ModelRef, SeenModel};
use scaigrid_persistence::room_answers::{self, OwedAnswer};
use scaigrid_persistence::{Connection, Transaction, models, participants, rooms, tenants};
use scaigrid_scope::{AnswerId, ParticipantId, TenantScope, UserId};
use scaigrid_workspace::{Engagement, Member, Message, Participant, Who};

use super::ai_config;
use crate::{App, Error};

/// How many AIs answer a message at most.
const AT_ONCE: usize = 5;

/// The model of an AI, as its tenant sees it; none where it cannot be asked.
async fn model_of(
    c: &mut Connection,
    scope: TenantScope,
    slug: &ModelSlug,
) -> Result<Option<SeenModel>, Error> {
    let Some(tenant) = tenants::lookup(c, scope.into(), scope.tenant_id()).await? else { return Ok(None) };
    let which = ModelRef::Slug(slug.clone());
    let found = models::lookup(c, scope.into(), tenant.partner_id, &which).await?;
    Ok(found.filter(|seen| seen.enabled && seen.model.status == ModelStatus::Active))
}

/// Whether somebody is an AI that can answer: it takes part, and so does its model. Each model is looked for once.
async fn can_answer(
    c: &mut Connection,
    scope: TenantScope,
    who: &Participant,
    looked_for: &mut BTreeMap<ModelSlug, bool>,
) -> Result<bool, Error> {
    let Who::Ai { model, .. } = &who.who else { return Ok(false) };
    if !who.enabled {
        return Ok(false);
    }
    if let Some(is_there) = looked_for.get(model) {
        return Ok(*is_there);
    }
    let is_there = model_of(c, scope, model).await?.is_some();
    looked_for.insert(model.clone(), is_there);
    Ok(is_there)
}

/// The AI that answers where no other is there to: the tenant's default model's.
async fn by_default(c: &mut Connection, scope: TenantScope) -> Result<Option<Participant>, Error> {
    let Some(model) = ai_config::configured(c, scope).await?.default_model else { return Ok(None) };
    Ok(participants::of_model(c, scope, &model).await?)
}

/// Which AIs are to answer what was said: those that it mentions; else those that answer everything; else the tenant's default.
/// What cannot answer at present is silent, and nobody speaks in its place.
async fn called_upon(
    c: &mut Connection,
    scope: TenantScope,
    message: &Message,
    members: &[Member],
) -> Result<Vec<Participant>, Error> {
    let default = by_default(c, scope).await?;
    let is_default = |id: &ParticipantId| default.as_ref().is_some_and(|default| default.id == *id);
    let is_member = |id: &ParticipantId| members.iter().any(|member| member.participant_id == *id);
    let meant: Vec<ParticipantId> =
        message.mentions.iter().copied().filter(|id| is_member(id) || is_default(id)).collect();
    let mut mentioned = only_ais(participants::several(c, scope, &meant).await?);
    if !mentioned.is_empty() {
        mentioned.sort_by_key(|ai| meant.iter().position(|id| *id == ai.id));
        return Ok(mentioned);
    }
    let always = members.iter().filter(|member| member.engagement == Engagement::Always);
    let always: Vec<ParticipantId> = always.map(|member| member.participant_id).collect();
    let always = only_ais(participants::several(c, scope, &always).await?);
    Ok(if always.is_empty() { default.into_iter().collect() } else { always })
}

fn only_ais(mut found: Vec<Participant>) -> Vec<Participant> {
    found.retain(|participant| matches!(participant.who, Who::Ai { .. }));
    found
}

impl App {
    /// Writes down which AIs owe an answer to what a user has just said, in the transaction that says it: at most five. AIs never
    /// answer AIs.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub(crate) async fn owe_answers(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        user_id: UserId,
        message: &Message,
    ) -> Result<Vec<OwedAnswer>, Error> {
        let members = rooms::members(tx, scope, message.room_id).await?;
        let (mut owed, mut looked_for) = (Vec::new(), BTreeMap::new());
        for ai in called_upon(tx, scope, message, &members).await? {
            if owed.len() >= AT_ONCE {
                break;
            }
            if ai.id == message.author_id || !can_answer(tx, scope, &ai, &mut looked_for).await? {
                continue;
            }
            let answer = OwedAnswer {
                id: AnswerId::from_ulid(self.0.ids.draw(message.created_at)),
                tenant_id: scope.tenant_id(),
                room_id: message.room_id,
                asked_seq: message.seq,
                participant_id: ai.id,
                user_id,
                attempts: 0,
                created_at: message.created_at,
            };
            room_answers::owe(tx, scope, &answer).await?;
            owed.push(answer);
        }
        Ok(owed)
    }
}
