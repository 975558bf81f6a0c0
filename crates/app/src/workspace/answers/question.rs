//! What an AI is asked when it answers in a room.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::ModelSlug;
use scaigrid_persistence::{Connection, participants, rooms};
use scaigrid_scope::ParticipantId;
use scaigrid_workspace::compose::{Line, Parts, Speaker, budget, estimate, room_line};
use scaigrid_workspace::{Message, MessageKind, Participant, Room, Who};

use super::model_of;
use crate::workspace::tools::Asker;
use crate::{App, Error, Resource};

/// How many messages are read at once, and how many such pages at most.
const PAGE: i64 = 50;
const PAGES: usize = 10;

/// What a question is made of, and how much of it the model can read.
pub(in crate::workspace) struct Question {
    pub(in crate::workspace) parts: Parts,
    pub(in crate::workspace) budget: u64,
}

/// Who a message is from, as the AI that is asked hears it.
fn line(message: &Message, itself: ParticipantId, names: &BTreeMap<ParticipantId, String>) -> Line {
    let author = message.author_id;
    let speaker = if author == itself {
        Speaker::Itself
    } else {
        Speaker::Other(names.get(&author).cloned().unwrap_or_else(|| "somebody".to_owned()))
    };
    Line { speaker, text: message.text.to_string() }
}

/// What was said before a message, the oldest first: about as much as fits, and one page more.
async fn said_before(
    c: &mut Connection,
    asker: &Asker,
    room: &Room,
    mut before: i64,
    budget: u64,
) -> Result<Vec<Message>, Error> {
    let (mut found, mut tokens) = (Vec::new(), 0_u64);
    for _ in 0..PAGES {
        let page = rooms::messages(c, asker.scope, room.id, Some(before), PAGE).await?;
        let last = i64::try_from(page.len()).is_ok_and(|count| count < PAGE);
        let Some(first) = page.last().map(|message| message.seq) else { break };
        before = first;
        for message in page.into_iter().filter(|message| message.kind == MessageKind::Text) {
            tokens = tokens.saturating_add(estimate(message.text.as_str()));
            found.push(message);
        }
        if last || tokens > budget {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

fn names_of(found: &[Participant]) -> BTreeMap<ParticipantId, String> {
    found.iter().map(|participant| (participant.id, participant.display_name.to_string())).collect()
}

impl App {
    /// What an AI is asked when it answers something that was said in a room after all before the number `before`.
    ///
    /// # Errors
    /// [`Error::NotFound`] where its model cannot be asked.
    #[boxed]
    pub(in crate::workspace) async fn question(
        &self,
        asker: &Asker,
        room: &Room,
        before: i64,
        trigger: (ParticipantId, String),
    ) -> Result<Question, Error> {
        let Who::Ai { model, profile, .. } = &asker.participant.who else {
            return Err(Error::NotFound(Resource::Participant));
        };
        let budget = self.budget_of(asker, model).await?;
        let contexts = self.plugin_contexts(asker).await?;
        let itself = asker.participant.id;
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let history = said_before(c, asker, room, before, budget).await?;
        let members: Vec<ParticipantId> = rooms::members(c, asker.scope, room.id)
            .await?
            .iter()
            .map(|member| member.participant_id)
            .collect();
        let present = participants::several(c, asker.scope, &members).await?;
        let mut names = names_of(&present);
        let mut gone: Vec<ParticipantId> = history.iter().map(|message| message.author_id).collect();
        gone.push(trigger.0);
        gone.retain(|id| !names.contains_key(id));
        gone.sort_unstable();
        gone.dedup();
        names.extend(names_of(&participants::several(c, asker.scope, &gone).await?));
        drop(connection);
        let others: Vec<String> = present
            .iter()
            .filter(|one| one.id != itself && one.enabled)
            .map(|one| one.display_name.to_string())
            .collect();
        let (who, text) = trigger;
        let name = names.get(&who).cloned().unwrap_or_else(|| "somebody".to_owned());
        let parts = Parts {
            prompt: profile.system_prompt.as_str().to_owned(),
            contexts,
            room: room_line(room.name.as_str(), asker.participant.display_name.as_str(), &others),
            history: history.iter().map(|message| line(message, itself, &names)).collect(),
            trigger: Some(Line { speaker: Speaker::Other(name), text }),
            group: present.iter().filter(|one| one.id != itself).count() > 1,
        };
        Ok(Question { parts, budget })
    }

    async fn budget_of(&self, asker: &Asker, model: &ModelSlug) -> Result<u64, Error> {
        let mut connection = self.0.database.read().await?;
        let seen = model_of(&mut connection, asker.scope, model).await?;
        let model = seen.ok_or(Error::NotFound(Resource::Model))?.model;
        Ok(budget(model.context_window, model.max_output_tokens))
    }
}
