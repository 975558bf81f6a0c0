//! Trying prompts out: what an AI of a room would be asked, and what it would answer. Nothing of it is kept, and nothing of it is
//! seen in the room.

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::{participants, rooms};
use scaigrid_scope::{Authorized, ParticipantId, RoomId, perm};
use scaigrid_workspace::compose::{Composed, ReasoningEffort, compose, paragraphs};
use scaigrid_workspace::{MessageText, Participant, Prompt, ResponseMode, Temperature, Who};
use serde_json::{Map, Value};

use super::ask::Manner;
use super::rooms::{caller_as_participant, seen};
use super::tools::Asker;
use crate::{App, Error};

/// What is tried out; what is left out is as the AI has it.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The AI, which is in the room.
    pub participant_id: ParticipantId,
    /// What it is told before all else.
    pub system_prompt: Option<Prompt>,
    /// How freely it answers.
    pub temperature: Option<Temperature>,
    /// From how much of what is likely it chooses: 0 to 1.
    pub top_p: Option<f64>,
    /// The most tokens of its answer.
    pub max_tokens: Option<u32>,
    /// How much it avoids what it has said often: -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// How much it avoids what it has said at all: -2 to 2.
    pub presence_penalty: Option<f64>,
    /// How long it thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// How it gives its answer.
    pub response_mode: Option<ResponseMode>,
    /// The plugins that it may use, by id.
    pub plugins: Option<Vec<String>>,
    /// What it answers, as if the caller said it now.
    pub trigger: MessageText,
}

/// What an AI has answered to a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The answer.
    pub text: String,
    /// The messages that it would be in the room: one, or as many as it has paragraphs.
    pub messages: Vec<String>,
    /// The slug of the model that has answered.
    pub model: String,
    /// The tokens that it has read.
    pub input_tokens: u64,
    /// The tokens that it has written.
    pub output_tokens: u64,
    /// The tokens that it was expected to read, about.
    pub estimated_tokens: u64,
}

impl Trial {
    /// The AI as it is tried out.
    fn applied_to(&self, mut participant: Participant) -> Participant {
        if let Who::Ai { profile, .. } = &mut participant.who {
            profile.system_prompt =
                self.system_prompt.clone().unwrap_or_else(|| std::mem::take(&mut profile.system_prompt));
            profile.temperature = self.temperature.or(profile.temperature);
            profile.response_mode = self.response_mode.unwrap_or(profile.response_mode);
            profile.plugins = self.plugins.clone().or_else(|| profile.plugins.take());
        }
        participant
    }

    /// The parameters of the model.
    fn params(&self, temperature: Option<Temperature>) -> Map<String, Value> {
        let given = [
            ("temperature", temperature.map(|temperature| temperature.number().into())),
            ("top_p", self.top_p.map(Value::from)),
            ("frequency_penalty", self.frequency_penalty.map(Value::from)),
            ("presence_penalty", self.presence_penalty.map(Value::from)),
            ("reasoning_effort", self.reasoning_effort.map(|effort| effort.as_str().into())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

impl App {
    /// What an AI of a room that the caller is in would be asked.
    ///
    /// # Errors
    /// [`Error::StudioDisabled`], [`Error::StudioForbidden`]; [`Error::NotFound`] for a room that the caller is not in, and for a
    /// model that cannot be asked; [`Error::StudioNoParticipant`]; [`Error::Invalid`] for what is longer than the model can read.
    #[boxed]
    pub async fn preview_prompt(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        room: RoomId,
        trial: &Trial,
    ) -> Result<Composed, Error> {
        Ok(self.try_out(caller, room, trial).await?.1)
    }

    /// Asks an AI of a room that the caller is in, once and without tools. What is used counts, nothing else remains of it.
    ///
    /// # Errors
    /// As [`App::preview_prompt`], and why the model does not answer.
    #[boxed]
    pub async fn run_prompt(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        room: RoomId,
        trial: &Trial,
    ) -> Result<Tried, Error> {
        let (asker, composed) = self.try_out(caller, room, trial).await?;
        let Who::Ai { profile, .. } = &asker.participant.who else { return Err(Error::StudioNoParticipant) };
        let manner = Manner {
            params: trial.params(profile.temperature),
            max_output_tokens: trial.max_tokens.map(u64::from),
            ..Manner::default()
        };
        let said = self.ask_ai(&asker, composed.to_openai(), manner).await?;
        let messages = match profile.response_mode {
            ResponseMode::Streaming => vec![said.text.clone()],
            ResponseMode::Conversational => paragraphs(&said.text),
        };
        Ok(Tried {
            text: said.text,
            messages,
            model: said.model.to_string(),
            input_tokens: said.input_tokens,
            output_tokens: said.output_tokens,
            estimated_tokens: composed.estimated_tokens,
        })
    }

    /// Who would be asked, and what.
    async fn try_out(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        room: RoomId,
        trial: &Trial,
    ) -> Result<(Asker, Composed), Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let (room, _) = seen(c, caller, room).await?;
        let member = rooms::member(c, scope, room.id, trial.participant_id).await?;
        let found = participants::lookup(c, scope, trial.participant_id).await?;
        drop(connection);
        self.check_studio(caller).await?;
        let is_ai = |found: &Participant| found.enabled && matches!(found.who, Who::Ai { .. });
        let found = found.filter(is_ai).filter(|_| member.is_some()).ok_or(Error::StudioNoParticipant)?;
        let asker = Asker {
            scope,
            user_id: caller.user_id(),
            participant: trial.applied_to(found),
            room_id: Some(room.id),
            depth: 0,
            answer_id: None,
            again: false,
        };
        let trigger = (caller_as_participant(caller), trial.trigger.to_string());
        let question = self.question(&asker, &room, i64::MAX, trigger).await?;
        let composed = compose(question.parts, question.budget);
        let composed = composed.map_err(|too_long| Error::invalid("trigger_text", too_long.to_string()))?;
        Ok((asker, composed))
    }
}
