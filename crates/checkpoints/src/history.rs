//! What is remembered of a checkpoint: one event for every change.

use scaigrid_scope::{Instant, text_enum};
use serde_json::{Map, Value, json};

use crate::assignee::Routing;
use crate::checkpoint::{By, Checkpoint, Resolution, State};
use crate::rules::Vote;

text_enum! {
    /// What happened to a checkpoint.
    pub enum EventKind {
        /// It was opened.
        Created => "created",
        /// Someone was told of it.
        NotificationSent => "notification_sent",
        /// Someone else is asked, because someone said so.
        Reassigned => "reassigned",
        /// Someone else is asked, because time was up.
        Escalated => "escalated",
        /// Whoever is asked was told once more.
        Reminded => "reminded",
        /// Somebody looks after it, and nobody else may.
        Claimed => "claimed",
        /// They let go.
        Released => "released",
        /// One of several who must decide alike has decided.
        Voted => "voted",
        /// A decision was made.
        Resolved => "resolved",
        /// Time was up.
        Expired => "expired",
        /// It was given up.
        Cancelled => "cancelled",
    }
}

/// An entry of a checkpoint's history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEvent {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Instant,
    /// Who did it.
    pub by: By,
    /// Particulars of the kind: `assignee`, `from`, `to`, `decision`, `comment`, `needed`, `count`.
    pub details: Map<String, Value>,
}

impl HistoryEvent {
    pub(crate) fn created(routing: &Routing, at: Instant) -> Self {
        let details = [("assignee".to_owned(), json!(routing.assignee.to_string()))];
        Self { kind: EventKind::Created, at, by: By::System, details: details.into_iter().collect() }
    }

    /// A checkpoint's whole history: its opening, what happened in between, and its end, if it has ended.
    pub fn whole(checkpoint: &Checkpoint, between: Vec<Self>) -> Vec<Self> {
        let mut created = Self::created(&checkpoint.routing, checkpoint.created_at);
        // Who was asked first is what the first move led away from.
        if let Some(first) = between.iter().find_map(|event| event.details.get("from")) {
            created.details.insert("assignee".to_owned(), first.clone());
        }
        let end = match &checkpoint.state {
            State::Pending => None,
            State::Resolved(resolution) => Some(Self::resolved(resolution)),
            State::Expired { at } => Some(Self::ended(EventKind::Expired, By::System, *at)),
            State::Cancelled { by, at } => Some(Self::ended(EventKind::Cancelled, *by, *at)),
        };
        std::iter::once(created).chain(between).chain(end).collect()
    }

    /// Someone was told of the checkpoint.
    pub fn notification_sent(to: &Routing, at: Instant) -> Self {
        let details = [("assignee".to_owned(), json!(to.assignee.to_string()))];
        Self { kind: EventKind::NotificationSent, at, by: By::System, details: details.into_iter().collect() }
    }

    pub(crate) fn moved(
        kind: EventKind,
        (from, to): (&Routing, &Routing),
        comment: Option<&str>,
        (by, at): (By, Instant),
    ) -> Self {
        let mut details = Map::new();
        details.insert("from".to_owned(), json!(from.assignee.to_string()));
        details.insert("to".to_owned(), json!(to.assignee.to_string()));
        if let Some(comment) = comment {
            details.insert("comment".to_owned(), json!(comment));
        }
        Self { kind, at, by, details }
    }

    pub(crate) fn claimed(kind: EventKind, (by, at): (By, Instant)) -> Self {
        Self { kind, at, by, details: Map::new() }
    }

    pub(crate) fn reminded(to: &Routing, count: u32, at: Instant) -> Self {
        let mut details = Map::new();
        details.insert("assignee".to_owned(), json!(to.assignee.to_string()));
        details.insert("count".to_owned(), json!(count));
        Self { kind: EventKind::Reminded, at, by: By::System, details }
    }

    pub(crate) fn voted(vote: &Vote, needed: u32) -> Self {
        let mut details = Map::new();
        details.insert("decision".to_owned(), json!(vote.decision));
        details.insert("needed".to_owned(), json!(needed));
        if let Some(comment) = &vote.comment {
            details.insert("comment".to_owned(), json!(comment));
        }
        Self { kind: EventKind::Voted, at: vote.at, by: By::User(vote.by), details }
    }

    pub(crate) fn resolved(resolution: &Resolution) -> Self {
        let mut details = Map::new();
        details.insert("decision".to_owned(), json!(resolution.decision));
        if let Some(comment) = &resolution.comment {
            details.insert("comment".to_owned(), json!(comment));
        }
        Self { kind: EventKind::Resolved, at: resolution.at, by: resolution.by, details }
    }

    pub(crate) fn ended(kind: EventKind, by: By, at: Instant) -> Self {
        Self { kind, at, by, details: Map::new() }
    }
}

/// A checkpoint after a change, and what is to be remembered of the change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The checkpoint as it is now. A write must find it still pending, unless it has just been opened.
    pub checkpoint: Checkpoint,
    /// The entry for its history.
    pub event: HistoryEvent,
}

impl Change {
    /// Whether the change has ended the wait, so that the execution must be told of it.
    pub const fn ends_the_wait(&self) -> bool {
        !matches!(self.checkpoint.state, State::Pending)
    }

    /// Whether someone is asked who was not asked before, and has to be notified.
    pub const fn asks_someone_new(&self) -> bool {
        matches!(self.event.kind, EventKind::Created | EventKind::Reassigned | EventKind::Escalated)
    }
}
