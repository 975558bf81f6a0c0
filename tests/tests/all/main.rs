//! The product as its operators and clients meet it: a binary, its files, its HTTP interface.
//!
//! Every test has servers and databases of its own. Those on PostgreSQL use the server that
//! `SCAIGRID_TEST_POSTGRES_URL` names; without one they say that they were skipped, and with
//! `SCAIGRID_TEST_REQUIRE_ALL=1` they fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the configured exceptions reach tests, not what tests share"
)]
#![expect(clippy::similar_names, reason = "the root and a room are what they are called everywhere")]

mod approvals;
mod asked_cores;
mod audit;
mod audit_chain;
mod audit_export;
mod avatars;
mod backup;
mod calls;
mod capacity;
mod chaos;
mod checkpoints;
mod conformance;
mod conversations;
mod core_models;
mod core_search;
mod crash;
mod deciders;
mod delegation;
mod desired;
mod diagnostics;
mod disturbed;
mod edge;
mod embeddings;
mod error_codes;
mod helpers;
mod identity;
mod inbox;
mod inside;
mod lifecycle;
mod limits;
mod mail;
mod matrix;
mod mcp;
mod memory;
mod metrics;
mod model_calls;
mod model_catalog;
mod module_config;
mod modules;
mod nodes;
mod openai;
mod people;
mod plugins;
mod prepare;
mod process;
mod prompt_trials;
mod published;
mod readme;
mod reference;
mod reminders;
mod remote;
mod remote_life;
mod requesters;
mod room_answers;
mod room_messages;
mod rooms;
mod running;
mod secrets;
mod start_checks;
mod statistics;
mod stores;
mod storm;
mod story;
mod strangers;
mod suspension;
mod time;
mod tokens;
mod traces;
mod triggers;
mod webhook_room;
mod webhook_secrets;
mod webhooks;
mod workspace_models;
mod workspace_participants;
mod workspace_plugins;
mod workspace_settings;
