//! The bus between processes: one Redis channel, one connection that listens and a pool of one that speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_redis::redis::{AsyncCommands, Client};
use deadpool_redis::{Config, Pool, Runtime};
use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::Signal;

/// Where the nodes of one installation meet. The database behind them is one, so the name need not tell them apart
/// unless a Redis is shared, and then its URL names another database.
const CHANNEL: &str = "scaigrid:signals";

/// Signals that wait to be sent; what does not fit is dropped, for signals are hints.
const OUTBOX: usize = 4096;

/// The first and the longest pause between two attempts to reach Redis.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("not a Redis URL: {0}")]
pub struct RedisError(pub(crate) String);

/// The other nodes.
#[derive(Debug)]
pub(crate) struct Remote {
    outbox: mpsc::Sender<String>,
    connected: Arc<AtomicBool>,
    tasks: [JoinHandle<()>; 2],
}

impl Remote {
    pub(crate) fn start(url: &str, local: broadcast::Sender<Signal>) -> Result<Self, RedisError> {
        let invalid = |error: &dyn std::fmt::Display| RedisError(error.to_string());
        let client = Client::open(url).map_err(|error| invalid(&error))?;
        let pool =
            Config::from_url(url).create_pool(Some(Runtime::Tokio1)).map_err(|error| invalid(&error))?;
        // A node hears itself on Redis too; its name lets it know.
        let name = format!("{:016x}", rand::random::<u64>());
        let connected = Arc::new(AtomicBool::new(false));
        let (outbox, to_send) = mpsc::channel(OUTBOX);
        let tasks = [
            tokio::spawn(hear(client, name.clone(), local, Arc::clone(&connected))),
            tokio::spawn(speak(pool, name, to_send)),
        ];
        Ok(Self { outbox, connected, tasks })
    }

    pub(crate) fn publish(&self, signal: &Signal) {
        if self.outbox.try_send(signal.to_string()).is_err() {
            tracing::debug!(%signal, "the outbox of the bus is full; the signal is dropped");
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn hear(client: Client, name: String, local: broadcast::Sender<Signal>, connected: Arc<AtomicBool>) {
    let mut pause = PAUSES.0;
    loop {
        match client.get_async_pubsub().await {
            Ok(mut subscription) => match subscription.subscribe(CHANNEL).await {
                Ok(()) => {
                    connected.store(true, Ordering::Relaxed);
                    tracing::info!("the bus is connected");
                    pause = PAUSES.0;
                    // What was said while nobody listened is lost: everything may have changed.
                    for signal in [Signal::PeopleChanged, Signal::ModulesChanged, Signal::WorkWaits] {
                        let _ = local.send(signal);
                    }
                    let mut messages = subscription.on_message();
                    while let Some(message) = messages.next().await {
                        if let Some(signal) = read(message.get_payload::<String>().ok().as_deref(), &name) {
                            let _ = local.send(signal);
                        }
                    }
                    tracing::warn!(
                        "the bus lost its connection; changes reach other nodes within a second all the same"
                    );
                }
                Err(error) => tracing::warn!(%error, "the bus cannot subscribe"),
            },
            Err(error) => tracing::debug!(%error, "the bus cannot connect"),
        }
        connected.store(false, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn read(payload: Option<&str>, own_name: &str) -> Option<Signal> {
    let (name, signal) = payload?.split_once('|')?;
    // A signal of a newer version means nothing here, and breaks nothing.
    if name == own_name { None } else { signal.parse().ok() }
}

async fn speak(pool: Pool, name: String, mut to_send: mpsc::Receiver<String>) {
    while let Some(signal) = to_send.recv().await {
        let sent = async {
            let mut connection = pool.get().await.map_err(|error| error.to_string())?;
            let message = format!("{name}|{signal}");
            connection.publish::<_, _, ()>(CHANNEL, message).await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(PAUSES.1, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a signal was not sent"),
            Err(_) => tracing::debug!("a signal was not sent in time"),
        }
    }
}
