//! What models say in executions of this node, piece by piece, while they say it.
//!
//! Nothing here is kept, and nobody is waited for: a piece that nobody listens to costs a look at a counter, and a listener
//! who is too slow is told that something is missing ([`Said::Missed`]). What was said in full is in the execution's journal;
//! an execution that goes on at another node is heard there only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::ModelSlug;
use scaigrid_runtime::EffectId;
use scaigrid_scope::ExecutionId;
use tokio::sync::broadcast;

/// How many pieces wait for a listener before the oldest are dropped.
const KEPT: usize = 1_024;

/// Something that is heard of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A model begins to answer a call. What was heard of an earlier attempt of the same call counts no more.
    Began {
        /// The call.
        effect: EffectId,
        /// The role that the program declares for the model.
        role: Arc<str>,
        /// The model that answers.
        model: ModelSlug,
    },
    /// What is new of the text of its first choice.
    Text {
        /// The call.
        effect: EffectId,
        /// The piece; never empty.
        text: Arc<str>,
    },
    /// The answer is whole.
    Ended {
        /// The call.
        effect: EffectId,
    },
    /// The listener was too slow: some of what was said is missing here.
    Missed,
}

/// The executions of this node that are listened to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Voices(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    listeners: AtomicUsize,
    heard: Mutex<HashMap<ExecutionId, broadcast::Sender<Said>>>,
}

impl Voices {
    /// Begins to listen to an execution, which need not have begun.
    pub(crate) fn listen(&self, id: ExecutionId) -> Hearing {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let pieces = heard.entry(id).or_insert_with(|| broadcast::channel(KEPT).0).subscribe();
        self.0.listeners.fetch_add(1, Ordering::SeqCst);
        drop(heard);
        Hearing { id, pieces: Some(pieces), voices: self.clone() }
    }

    /// Tells whoever listens to an execution.
    pub(crate) fn say(&self, id: ExecutionId, said: impl FnOnce() -> Said) {
        if self.0.listeners.load(Ordering::SeqCst) == 0 {
            return;
        }
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pieces) = heard.get(&id) {
            // An error is a listener who has just gone.
            let _ = pieces.send(said());
        }
    }
}

/// Somebody who listens to an execution. Dropped, they listen no more.
#[derive(Debug)]
pub struct Hearing {
    id: ExecutionId,
    pieces: Option<broadcast::Receiver<Said>>,
    voices: Voices,
}

impl Hearing {
    /// The next piece. Waits for ever where nothing is said any more: the end of the execution is learned elsewhere.
    ///
    /// Dropping the future loses nothing.
    #[boxed]
    pub async fn next(&mut self) -> Said {
        match &mut self.pieces {
            Some(pieces) => match pieces.recv().await {
                Ok(said) => said,
                Err(broadcast::error::RecvError::Lagged(_)) => Said::Missed,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// The next piece, where it was said already.
    pub fn ready(&mut self) -> Option<Said> {
        match self.pieces.as_mut()?.try_recv() {
            Ok(said) => Some(said),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Said::Missed),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut heard = self.voices.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        self.pieces = None;
        if heard.get(&self.id).is_some_and(|pieces| pieces.receiver_count() == 0) {
            heard.remove(&self.id);
        }
        self.voices.0.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::Instant;

    use super::*;

    fn id(number: i64) -> ExecutionId {
        ExecutionId::from_ulid(crate::Ids::new().draw(Instant::from_micros(number * 1_000_000)))
    }

    fn text(text: &str) -> Said {
        Said::Text { effect: EffectId(1), text: text.into() }
    }

    #[tokio::test]
    async fn who_listens_hears_their_execution_and_no_other() {
        let (voices, one, other) = (Voices::default(), id(1), id(2));
        voices.say(one, || panic!("nobody listens"));
        let (mut first, mut second) = (voices.listen(one), voices.listen(one));
        voices.say(other, || panic!("nobody listens to that one"));
        voices.say(one, || text("a"));
        voices.say(one, || text("b"));
        assert_eq!((first.next().await, first.next().await), (text("a"), text("b")));
        drop(first);
        assert_eq!(
            (second.ready(), second.ready(), second.ready()),
            (Some(text("a")), Some(text("b")), None)
        );
        drop(second);
        assert!(voices.0.heard.lock().unwrap().is_empty());
        voices.say(one, || panic!("nobody listens any more"));
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_so() {
        let (voices, one) = (Voices::default(), id(1));
        let mut slow = voices.listen(one);
        for number in 0..=KEPT {
            voices.say(one, || text(&number.to_string()));
        }
        assert_eq!((slow.next().await, slow.next().await), (Said::Missed, text("1")));
    }
}
