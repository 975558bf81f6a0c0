//! Whether this node can do its work now.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_scope::{Authorized, Instant, NodeId, perm};

use crate::App;

/// How long the database, and the object store, may take to give a sign of life.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How the things do that a node stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the database answers. Nothing goes without it.
    pub database: bool,
    /// Whether objects can be kept. What is large cannot be read or written without it.
    pub objects: bool,
    /// Whether other nodes can be heard. Without that everything goes, a second later.
    pub bus: bool,
    /// How many modules there are.
    pub modules: usize,
    /// How many of them do not answer their probes.
    pub failing_modules: usize,
}

/// The same for those who look after the node.
#[derive(Debug, Clone, Copy)]
pub struct Detailed {
    /// How it stands.
    pub standing: Standing,
    /// The node that answered.
    pub node: NodeId,
    /// Which database it uses: `sqlite` or `postgresql`.
    pub database_kind: &'static str,
    /// Whether other nodes can use the same database.
    pub shared: bool,
    /// The time of the node.
    pub now: Instant,
}

impl App {
    /// How the things do that this node stands on. Answers within two seconds.
    #[boxed]
    pub async fn standing(&self) -> Standing {
        let ping = tokio::time::timeout(PATIENCE, self.0.database.ping());
        let check = tokio::time::timeout(PATIENCE, self.0.objects.check());
        let (ping, check) = futures_util::join!(ping, check);
        Standing {
            database: matches!(ping, Ok(Ok(()))),
            objects: matches!(check, Ok(Ok(()))),
            bus: self.0.bus.is_connected(),
            modules: self.0.catalogue.iter().count(),
            failing_modules: self.0.health.failing(),
        }
    }

    /// As [`App::standing`], with what only administrators are told.
    #[boxed]
    pub async fn detailed_standing(&self, _: &Authorized<perm::AdminAccess>) -> Detailed {
        let database = &self.0.database;
        Detailed {
            standing: self.standing().await,
            node: self.0.engine.node(),
            database_kind: database.kind(),
            shared: database.is_shared(),
            now: self.now(),
        }
    }
}
