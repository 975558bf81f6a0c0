//! Group commit: the units of all executions that are ready at the same time share one transaction, and one flush to disk.
//!
//! There is no waiting for company: whatever has gathered while the last transaction was under way is the next one.

use metrics::{counter, histogram};
use scaigrid_persistence::commit::{self, Unit, Verdict};
use scaigrid_persistence::{Database, Error, Result};
use tokio::sync::{mpsc, oneshot};

/// The most units in one transaction.
const LARGEST_GROUP: usize = 256;
/// How many units may wait; whoever brings more waits too.
const QUEUE: usize = 1024;

struct Waiting {
    unit: Unit,
    answer: oneshot::Sender<Result<Verdict>>,
}

/// The door to the one task that commits.
pub(crate) struct Committer(mpsc::Sender<Waiting>);

impl Committer {
    /// Starts the task. It ends when the committer is dropped and all that was brought is done.
    pub(crate) fn start(database: Database) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(serve(database, receiver));
        Self(sender)
    }

    /// Brings a unit and waits until it is durable, or refused.
    ///
    /// # Errors
    /// The database's. A unit whose caller goes away is committed all the same.
    pub(crate) async fn commit(&self, unit: Unit) -> Result<Verdict> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::Unavailable("the committer has stopped".into());
        self.0.send(Waiting { unit, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn serve(database: Database, mut queue: mpsc::Receiver<Waiting>) {
    let mut group = Vec::with_capacity(LARGEST_GROUP);
    while queue.recv_many(&mut group, LARGEST_GROUP).await > 0 {
        let (units, answers): (Vec<Unit>, Vec<_>) =
            group.drain(..).map(|waiting| (waiting.unit, waiting.answer)).unzip();
        let results = commit_group(&database, units).await;
        for (answer, result) in answers.into_iter().zip(results) {
            // A caller that went away needs no answer.
            let _ = answer.send(result);
        }
    }
}

async fn commit_group(database: &Database, units: Vec<Unit>) -> Vec<Result<Verdict>> {
    let began = std::time::Instant::now();
    let count = units.len();
    // A single unit is not kept: there is nobody else it could have failed for.
    let kept = if count > 1 { units.clone() } else { Vec::new() };
    let outcome = commit_once(database, units).await;
    histogram!("scaigrid_commit_seconds").record(began.elapsed().as_secs_f64());
    histogram!("scaigrid_commit_group_units").record(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    counter!("scaigrid_commit_units_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
    match outcome {
        Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
        Err(error) if kept.is_empty() => vec![Err(error)],
        Err(error) if error.is_passing() => {
            tracing::warn!(%error, units = count, "a group was not committed");
            let reason = error.to_string();
            kept.iter().map(|_| Err(Error::Unavailable(reason.clone()))).collect()
        }
        Err(error) => {
            // One of them is at fault; the others shall not suffer for it.
            tracing::error!(%error, units = count, "a group was refused; its units are tried one by one");
            let mut results = Vec::with_capacity(kept.len());
            for unit in kept {
                let result = commit_once(database, vec![unit]).await;
                results.push(result.and_then(|verdicts| {
                    verdicts.first().copied().ok_or_else(|| Error::Setup("a unit got no verdict".into()))
                }));
            }
            results
        }
    }
}

async fn commit_once(database: &Database, units: Vec<Unit>) -> Result<Vec<Verdict>> {
    let (transaction, verdicts) = commit::begin(database, units).await?;
    transaction.commit().await?;
    Ok(verdicts)
}
