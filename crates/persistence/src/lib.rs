//! The database: everything that is kept, on PostgreSQL or on SQLite, by one code path.
//!
//! Functions are grouped by what they keep, with one small grammar of verbs: `lookup`, `find_by_…`, `list`,
//! `count`, `add`, then verbs of the domain. Those that touch a tenant's data take a
//! [`TenantScope`](scaigrid_scope::TenantScope) first, which only an authenticated principal or the process itself can make.
//! A row that a key finds is read with `get_result`, not `first`: the limit of the latter is a bound value, and SQLite plans
//! a statement anew whenever one that it has looked at changes hands.
//! Nothing here decides anything: the domain is asked before, and writes carry the state that they expect.

pub mod api_keys;
mod aside;
pub mod audit;
pub mod avatars;
pub mod backends;
pub mod breakpoints;
pub mod checkpoints;
pub mod commit;
pub mod conversations;
pub mod cores;
pub mod custom_roles;
pub mod data_keys;
mod database;
pub mod delegations;
pub mod dump;
mod error;
pub mod event_waits;
pub mod events;
pub mod executions;
pub mod external_identities;
pub mod gauges;
pub mod grants;
pub mod groups;
pub mod helper_invocations;
pub mod holds;
pub mod hook_messages;
pub mod idempotency;
pub mod instances;
mod instant;
mod json;
pub mod large;
pub mod leases;
pub mod logs;
pub mod mails;
pub mod memory;
mod migrations;
pub mod model_groups;
pub mod model_reservations;
pub mod model_usage;
pub mod models;
pub mod module_configs;
pub mod module_settings;
pub mod objects;
mod outbox;
pub mod participants;
pub mod partings;
pub mod partners;
pub mod planner;
pub mod platform_facts;
pub mod plugins;
mod postgres;
pub mod retention;
pub mod room_answers;
pub mod rooms;
pub mod schedules;
mod schema;
pub mod sealed;
pub mod sealing;
pub mod signing_keys;
mod sqlite;
mod stable;
pub mod subscriptions;
pub mod tallies;
pub mod tenants;
pub mod timers;
pub mod triggers;
pub mod users;
pub mod vectors;
pub mod webhook_deliveries;
pub mod webhooks;
pub mod workspace_memories;
pub mod workspace_plugins;
pub mod workspace_settings;
mod written;

pub use database::{Bell, Connection, Database, DatabaseUrl, Snapshot, Transaction};
pub use error::{Error, Result};
pub use json::storable;
pub use large::Objects;
pub use written::{Revised, Written};
