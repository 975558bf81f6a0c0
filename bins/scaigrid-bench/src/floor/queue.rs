//! Where requests wait for the commit that they share with others.

use anyhow::{Context as _, ensure};
use diesel::QueryResult;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait.
const QUEUE: usize = 4096;

/// The end at which requests arrive.
#[derive(Clone)]
pub(super) struct Queue<T>(mpsc::Sender<Waiting<T>>);

/// Something that waits for its commit, and who is told of it.
pub(super) struct Waiting<T> {
    /// What is to be committed.
    pub(super) what: T,
    done: oneshot::Sender<()>,
}

impl<T> Queue<T> {
    /// A queue, and the end at which somebody commits.
    pub(super) fn new() -> (Self, mpsc::Receiver<Waiting<T>>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self(queue), waiting)
    }

    /// Waits until it is durable.
    pub(super) async fn commit(&self, what: T) -> anyhow::Result<()> {
        let (done, told) = oneshot::channel();
        ensure!(self.0.send(Waiting { what, done }).await.is_ok(), "nobody commits any more");
        told.await.context("a commit failed")
    }
}

/// Takes what else waits behind the first.
pub(super) fn gather<T>(
    most: usize,
    first: Waiting<T>,
    waiting: &mut mpsc::Receiver<Waiting<T>>,
    batch: &mut Vec<Waiting<T>>,
) {
    batch.push(first);
    while batch.len() < most
        && let Ok(next) = waiting.try_recv()
    {
        batch.push(next);
    }
}

/// Tells those who wait; after a failure their channels close untold, and they answer 503.
pub(super) fn answer<T>(committed: QueryResult<()>, batch: &mut Vec<Waiting<T>>) {
    match committed {
        Ok(()) => {
            for Waiting { done, .. } in batch.drain(..) {
                // Whoever has gone away need not be told.
                let _ = done.send(());
            }
        }
        Err(error) => {
            eprintln!("a commit failed: {error}");
            batch.clear();
        }
    }
}
