//! How the program's own enumerations are named in encodings and in histories.
//!
//! The codes in stored states are single letters and never change meaning; the names are those of the language.

use std::sync::Arc;

use scaigrid_ir::block::{LogLevel, MemoryOp, OnTimeout, Priority};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(remote = "LogLevel")]
pub(super) enum LogLevelCode {
    #[serde(rename = "d")]
    Debug,
    #[serde(rename = "i")]
    Info,
    #[serde(rename = "w")]
    Warn,
    #[serde(rename = "e")]
    Error,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MemoryOp")]
pub(super) enum MemoryOpCode {
    #[serde(rename = "g")]
    Get,
    #[serde(rename = "s")]
    Set,
    #[serde(rename = "u")]
    Update,
    #[serde(rename = "d")]
    Delete,
    #[serde(rename = "a")]
    Add,
    #[serde(rename = "l")]
    List,
    #[serde(rename = "q")]
    Search,
    #[serde(rename = "t")]
    Last,
    #[serde(rename = "n")]
    Count,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Priority")]
pub(super) enum PriorityCode {
    #[serde(rename = "l")]
    Low,
    #[serde(rename = "n")]
    Normal,
    #[serde(rename = "h")]
    High,
    #[serde(rename = "c")]
    Critical,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnTimeout")]
pub(super) enum OnTimeoutCode {
    #[serde(rename = "x")]
    Expire,
    #[serde(rename = "e")]
    Escalate,
    #[serde(rename = "r")]
    Resolve(Arc<str>),
}

/// The level's name in the language.
pub fn log_level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// The operation's name in the language.
pub fn memory_op_name(op: MemoryOp) -> &'static str {
    match op {
        MemoryOp::Get => "get",
        MemoryOp::Set => "set",
        MemoryOp::Update => "update",
        MemoryOp::Delete => "delete",
        MemoryOp::Add => "add",
        MemoryOp::List => "list",
        MemoryOp::Search => "search",
        MemoryOp::Last => "last",
        MemoryOp::Count => "length",
    }
}

/// The priority's name in the language.
pub fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

/// What the language calls the way in which a checkpoint's time ends: `expire`, `escalate`, `resolve`.
pub fn on_timeout_name(on_timeout: &OnTimeout) -> &'static str {
    match on_timeout {
        OnTimeout::Expire => "expire",
        OnTimeout::Escalate => "escalate",
        OnTimeout::Resolve(_) => "resolve",
    }
}
