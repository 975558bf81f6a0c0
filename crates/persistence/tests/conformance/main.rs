//! What both databases must do alike, tried on each.
//!
//! Every test runs on SQLite, in a file of its own, and on PostgreSQL, in a schema of its own of the server that
//! `SCAIGRID_TEST_POSTGRES_URL` names. Without the variable the second half says that it was skipped; with
//! `SCAIGRID_TEST_REQUIRE_ALL=1` it fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, whose helpers the configured exceptions do not reach"
)]

mod api_keys;
mod audit;
mod audit_chain;
mod audit_search;
mod catalogue;
mod checkpoints;
mod commit;
mod configs;
mod conversations;
mod data_keys;
mod delegations;
mod dump;
mod external_identities;
mod gauges;
mod group_commits;
mod groups;
mod home;
mod idempotency;
mod instances;
mod limits;
mod logs;
mod models;
mod partners;
mod planner;
mod plugins;
mod removal;
mod rights;
mod settings;
mod signing_keys;
mod tallies;
mod tenants;
mod timers;
mod transactions;
mod triggers;
mod users;
mod values;
mod webhooks;
mod workspace_settings;

/// Makes of each of a file's tests, all functions of a [`home::Home`], one test per database.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let home = $crate::home::Home::sqlite().await;
                    super::$test(&home).await;
                    home.remove().await;
                }
            )+
        }
        mod on_postgresql {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let test = concat!(module_path!(), "::", stringify!($test));
                    let Some(home) = $crate::home::Home::postgres(test).await else { return };
                    super::$test(&home).await;
                    home.remove().await;
                }
            )+
        }
    };
}
pub(crate) use on_both_databases;
