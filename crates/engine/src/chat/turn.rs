//! The end of a turn, as it is written down.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use scaigrid_cores::conversation::{Transcript, TurnStatus};
use scaigrid_persistence::conversations::{self, Told, Turn};
use scaigrid_persistence::{self as persistence, executions, model_usage};
use scaigrid_scope::{ExecutionId, TenantScope};

use super::{Ask, Begun, told_of};
use crate::Engine;

/// The pauses before what could not be written is written again.
const AGAIN: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(2)];
/// How many executions below one are looked at for what they have used.
const FAMILY_AT_MOST: usize = 500;

impl Engine {
    /// Writes down how a turn has ended, and what was used for it since it was last told. What cannot be written is lost to the log of the conversation, not to whoever has
    /// asked.
    pub(super) async fn end_turn(
        &self,
        ask: &Ask,
        begun: &Begun,
        status: TurnStatus,
        answer: Option<&str>,
        told: Told,
    ) {
        let now = self.0.clock.now();
        let said = answer.map(|text| Transcript::of(&ask.messages).and("assistant", text).fingerprint());
        let turn = Turn {
            conversation: begun.conversation,
            turn: begun.turn,
            core_id: ask.core,
            caller: ask.caller,
            execution_id: begun.execution,
            status,
            asked: Vec::new(),
            asked_print: String::new(),
            answer: answer.map(ToOwned::to_owned),
            answer_print: said,
            told: begun.before.and(told),
            created_at: now,
            ended_at: (status != TurnStatus::Running).then_some(now),
        };
        for pause in AGAIN.into_iter().map(Some).chain([None]) {
            let Err(error) = self.write_end(ask.scope, &turn).await else { return };
            tracing::warn!(%error, conversation = %turn.conversation, "the end of a turn cannot be written");
            match pause.filter(|_| error.is_passing()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return,
            }
        }
    }

    async fn write_end(&self, scope: TenantScope, turn: &Turn) -> Result<(), persistence::Error> {
        let mut tx = self.0.database.begin().await?;
        conversations::end_turn(&mut tx, scope, turn).await?;
        tx.commit().await
    }

    /// What an execution has used, with all that it has called or asked, beyond what turns have told of already.
    pub(super) async fn used(&self, scope: TenantScope, id: ExecutionId) -> Result<Told, persistence::Error> {
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let (mut family, mut next) = (BTreeSet::from([id]), VecDeque::from([id]));
        while let Some(member) = next.pop_front() {
            let called = executions::children(c, scope, member).await?.into_iter().map(|(id, ..)| id);
            let room = i64::try_from(FAMILY_AT_MOST).unwrap_or(i64::MAX);
            let asked = conversations::asked_of(c, scope, member, room).await?;
            for id in called.chain(asked) {
                if family.len() < FAMILY_AT_MOST && family.insert(id) {
                    next.push_back(id);
                }
            }
        }
        let family: Vec<ExecutionId> = family.into_iter().collect();
        let all = told_of(model_usage::of_executions(c, scope, &family).await?);
        Ok(all.beyond(conversations::told(c, scope, id).await?))
    }
}
