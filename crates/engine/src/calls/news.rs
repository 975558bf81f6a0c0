//! How executions with calls under way learn that something else has come for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use scaigrid_scope::ExecutionId;
use tokio::sync::Notify;

/// The executions of this node that listen.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Arc<Mutex<HashMap<ExecutionId, Arc<Notify>>>>);

impl Awaited {
    /// Begins to listen for an execution. What comes before one waits is not lost.
    pub(crate) fn listen(&self, id: ExecutionId) -> News {
        let bell = Arc::new(Notify::new());
        let mut listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listening.insert(id, Arc::clone(&bell));
        drop(listening);
        News { id, bell, listening: Arc::clone(&self.0) }
    }

    /// Tells an execution to look into its inbox, where it listens.
    pub(crate) fn tell(&self, id: ExecutionId) {
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = listening.get(&id) {
            bell.notify_one();
        }
    }

    /// Tells all, for something may have been missed.
    pub(crate) fn tell_all(&self) {
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listening.values().for_each(|bell| bell.notify_one());
    }
}

/// An execution's ear. It stops listening when it is dropped.
#[derive(Debug)]
pub(crate) struct News {
    id: ExecutionId,
    bell: Arc<Notify>,
    listening: Arc<Mutex<HashMap<ExecutionId, Arc<Notify>>>>,
}

impl News {
    /// Waits until something may have come.
    pub(crate) async fn come(&self) {
        self.bell.notified().await;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        // The execution may have come back to this node and listen anew.
        if listening.get(&self.id).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            listening.remove(&self.id);
        }
    }
}
