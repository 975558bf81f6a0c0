//! Calls of plugins and models that executions have under way.
//!
//! A call goes out once its intent is durable, and its outcome is made durable together with whatever the execution does
//! next, up to the next call's intent: `n` calls one after the other cost `n + 1` commits. An execution with calls under way
//! runs in a task of its own, whoever asked for it, so that nobody who hangs up tears a call; it stays *running* and held by
//! this node, and listens for what else comes for it: answers of people, the wish to cancel.
//!
//! Giving a call up (a cancellation, a time-out, another branch's failure) drops its future, which closes its connection.

mod apart;
mod attend;
mod news;
mod ours;
mod perform;
mod recover;
mod redo;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use scaigrid_runtime::{Effect, EffectId, EffectKind, Outcome};
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::lease::Term;

pub(crate) use apart::{Caller, Driven, tell_caller};
pub(crate) use attend::{CALLING, calling};
pub(crate) use news::{Awaited, News};
pub(crate) use recover::{Meaning, meaning};

use crate::inside::Said;

/// How often in a row an execution is done again around its calls.
const REDONE_AT_MOST: u32 = 50;

/// The calls of one execution. Dropping them closes their connections.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Asked for; they begin once their intent is durable.
    wanted: Vec<Wanted>,
    /// Begun.
    under_way: JoinSet<Ended>,
    /// Which effect a task is for.
    effects: HashMap<Id, (EffectId, AbortHandle)>,
    /// What calls gave since the last commit.
    fresh: Vec<(EffectId, Outcome)>,
    /// How often in a row what was done had to be done again.
    redone: u32,
    /// Whether the Core was held, or the node on its way out, when a call was asked for. It is not in the journal, so it is
    /// asked for once more by whoever goes on with the execution.
    held_back: bool,
    /// The term of this node's lease in which the execution was last known to be its own.
    ours_in: Option<Term>,
    /// What those under way have to say, for the log.
    said: Arc<Mutex<Vec<Said>>>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With this.
    With(Outcome),
    /// Nobody knows what became of it.
    InDoubt,
    /// The engine met a fault of its own; it may have gone out.
    Broken,
    /// It was not made, for the execution is in other hands.
    NotOurs,
}

/// A call that is to begin.
#[derive(Debug)]
pub(crate) struct Wanted {
    effect: Effect,
    /// Whether it may have been made before, by a node that died.
    in_doubt: bool,
    /// Whether its intent is durable.
    durable: bool,
}

impl Calls {
    /// Has a call begin as soon as what was done is durable.
    pub(crate) fn want(&mut self, effect: Effect) {
        self.wanted.push(Wanted { effect, in_doubt: false, durable: false });
    }

    /// Has a call made again of which nobody knows whether it was made.
    fn want_again(&mut self, effect: Effect) {
        self.wanted.push(Wanted { effect, in_doubt: true, durable: true });
    }

    /// Leaves a call to whoever goes on with the execution when its Core may run again.
    pub(crate) fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// Whether one was left to others.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Whether there is any that has begun or is to begin, or that must be left to others.
    pub(crate) fn any(&self) -> bool {
        self.held_back || self.in_hand()
    }

    /// Whether there is any that has begun or is to begin.
    pub(crate) fn in_hand(&self) -> bool {
        !self.wanted.is_empty() || !self.under_way.is_empty()
    }

    /// Everything so far is durable, and was written in this term of the node's lease.
    pub(crate) fn are_durable(&mut self, term: Option<Term>) {
        self.ours_in = term;
        self.fresh.clear();
        self.redone = 0;
        self.wanted.iter_mut().for_each(|wanted| wanted.durable = true);
    }

    /// The term of this node's lease in which the execution was last known to be its own.
    pub(crate) fn ours_in(&self) -> Option<Term> {
        self.ours_in
    }

    /// Whether there is something that must not be lost when an execution is done again from what is durable, and
    /// whether that is worth another attempt.
    pub(crate) fn may_be_kept(&self) -> bool {
        let worth = !self.fresh.is_empty() || !self.under_way.is_empty();
        worth && self.redone < REDONE_AT_MOST
    }

    /// Whether a call is to begin or has begun, or has ended since the last commit.
    fn knows(&self, id: EffectId) -> bool {
        self.wanted.iter().any(|wanted| wanted.effect.id == id)
            || self.effects.values().any(|(effect, _)| *effect == id)
            || self.fresh.iter().any(|(effect, _)| *effect == id)
    }

    /// What calls had to say since this was last asked.
    fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives calls up that are not waited for any more.
    pub(crate) fn give_up(&mut self, effects: &[EffectId]) {
        self.wanted.retain(|wanted| !effects.contains(&wanted.effect.id));
        self.effects.retain(|_, (id, abort)| {
            let given_up = effects.contains(id);
            if given_up {
                abort.abort();
            }
            !given_up
        });
    }

    /// The next call that has ended. A call that was given up ends without a word. Waits for ever where there is none.
    async fn next(&mut self) -> (EffectId, Ended) {
        loop {
            let ended = self.under_way.join_next_with_id().await;
            match ended {
                Some(Ok((task, ended))) => {
                    if let Some((id, _)) = self.effects.remove(&task) {
                        return (id, ended);
                    }
                }
                Some(Err(error)) => {
                    let Some((id, _)) = self.effects.remove(&error.id()) else { continue };
                    if error.is_panic() {
                        tracing::error!(%error, effect = id.0, "a call made the engine panic");
                        return (id, Ended::Broken);
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Another call that has ended by now.
    fn next_ready(&mut self) -> Option<(EffectId, Ended)> {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            if let Ok((task, ended)) = ended
                && let Some((id, _)) = self.effects.remove(&task)
            {
                return Some((id, ended));
            }
        }
        None
    }
}

/// Whether an effect is a call that this room makes.
pub(crate) fn is_call(kind: &EffectKind) -> bool {
    matches!(kind, EffectKind::PluginCall(_) | EffectKind::ModelCall(_))
}
