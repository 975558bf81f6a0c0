//! What nodes tell each other: that something changed and caches must forget it, that there is work to take.
//!
//! The bus carries hints, never facts. Losing a message costs latency: whoever waits for one also looks by itself, at
//! intervals, and caches forget by themselves after a second. One process alone needs no Redis; several share one.

mod recent;
mod redis;
mod signal;
mod windows;

use std::sync::Arc;

use tokio::sync::broadcast;

pub use recent::{LookUp, Recent};
pub use redis::RedisError;
pub use signal::{Signal, UnknownSignal};
pub use windows::{Away, Counted, SharedWindows, WindowCount};

/// How many signals a slow listener may lag behind before it is told that it missed some.
const BACKLOG: usize = 1024;

/// The bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    local: broadcast::Sender<Signal>,
    remote: Option<Arc<redis::Remote>>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A signal.
    Signal(Signal),
    /// Signals were lost: anything may have changed.
    Missed,
    /// The process is ending.
    Closed,
}

/// A listener on the bus.
#[derive(Debug)]
pub struct Listener(broadcast::Receiver<Signal>);

impl Bus {
    /// A bus for one process.
    pub fn in_process() -> Self {
        Self { local: broadcast::Sender::new(BACKLOG), remote: None }
    }

    /// A bus over Redis publish/subscribe. Redis need not be there: it is looked for until it is.
    ///
    /// # Errors
    /// When the URL is not one of Redis.
    pub fn over_redis(url: &str) -> Result<Self, RedisError> {
        let local = broadcast::Sender::new(BACKLOG);
        let remote = redis::Remote::start(url, local.clone())?;
        Ok(Self { local, remote: Some(Arc::new(remote)) })
    }

    /// Tells every listener of every node, this one first. Never waits.
    pub fn publish(&self, signal: Signal) {
        if let Some(remote) = &self.remote {
            remote.publish(&signal);
        }
        // Nobody listening is nobody to tell.
        let _ = self.local.send(signal);
    }

    /// Begins to listen.
    pub fn listen(&self) -> Listener {
        Listener(self.local.subscribe())
    }

    /// Whether other nodes can be heard at present. A bus of one process always can.
    pub fn is_connected(&self) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.is_connected())
    }
}

impl Listener {
    /// Waits for what comes next.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(signal) => Heard::Signal(signal),
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Missed,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_hears_what_is_published_after_it_began() {
        let bus = Bus::in_process();
        bus.publish(Signal::WorkWaits);
        let mut listener = bus.listen();
        bus.publish(Signal::ModulesChanged);
        assert_eq!(listener.next().await, Heard::Signal(Signal::ModulesChanged));
        for _ in 0..=BACKLOG {
            bus.publish(Signal::WorkWaits);
        }
        assert_eq!(listener.next().await, Heard::Missed);
    }
}
