//! What the black-box tests stand on: servers that are started as an operator starts them, a client that speaks HTTP to
//! them, databases of their own for each test, and programs to host.
//!
//! Nothing in here knows the server from the inside; the tests see its command line, its files, its output and its HTTP
//! interface, and nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "whatever goes wrong here is a failed test"
)]

mod catalog;
mod child;
mod client;
mod collector;
mod database;
mod dice;
mod events;
mod exposition;
mod mailbox;
mod mcp;
mod model_server;
mod object_server;
mod place;
mod plugin;
pub mod programs;
mod provider;
mod proxy;
mod receiver;
mod replicated;
mod scaicore;
mod sealing;
mod server;
mod upstream;

pub use catalog::{ask, events, told};
pub use client::{Answer, Client, Request};
pub use collector::{Collector, Traced};
pub use database::{Db, service};
pub use dice::Dice;
pub use events::{Event, EventStream};
pub use exposition::Exposition;
pub use mailbox::Mailbox;
pub use mcp::McpServer;
pub use model_server::{ModelServer, Question, Told};
pub use object_server::{Harm, ObjectServer};
pub use place::Place;
pub use plugin::{Behaviour, Plugin, PluginCall};
pub use provider::Provider;
pub use proxy::Proxy;
pub use receiver::{Reaction, Received, Receiver};
pub use replicated::Replicated;
pub use scaicore::{CORES, SCAICORE};
pub use sealing::{seal_as_before, sha256_hex};
pub use server::{Launch, Server, run, server_binary, spawn};

pub use upstream::{Seen, Upstream};

use std::time::{Duration, Instant};

/// Runs a test in a place of its own on a kind of database. Where there is no such database the test says that it was
/// skipped; it fails instead where everything is required.
pub fn on(db: Db, test: impl FnOnce(&Place)) {
    if let Some(place) = Place::fresh(db) {
        test(&place);
        place.leave();
    }
}

/// Makes of functions of a [`Place`] one test per database each: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        $(
            mod $test {
                #[test]
                fn sqlite() {
                    $crate::on($crate::Db::Sqlite, super::$test);
                }
                #[test]
                fn postgres() {
                    $crate::on($crate::Db::Postgres, super::$test);
                }
            }
        )+
    };
}

/// Asks until there is an answer, for at most `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(15));
    }
}
