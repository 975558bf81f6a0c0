//! What is told: types of events, and events.

use scaigrid_audit::{AuditAction, AuditRecord};
use scaigrid_scope::{EventId, Instant, PartnerId, TenantId, text_enum};
use serde_json::{Value, json};

text_enum! {
    /// What has happened, as webhooks are told of it.
    pub enum EventType {
        /// A user was made.
        UserCreated => "scaikey.user.created",
        /// A user, their roles or grants were changed.
        UserUpdated => "scaikey.user.updated",
        /// A user was removed.
        UserDeleted => "scaikey.user.deleted",
        /// A group was made.
        GroupCreated => "scaikey.group.created",
        /// A group or its membership was changed.
        GroupUpdated => "scaikey.group.updated",
        /// A group was removed.
        GroupDeleted => "scaikey.group.deleted",
        /// The tenant was changed: its name, status, limits.
        TenantUpdated => "tenant.updated",
        /// An API key was made.
        ApiKeyCreated => "api_key.created",
        /// An API key was revoked.
        ApiKeyDeleted => "api_key.deleted",
        /// A module was enabled in the tenant.
        ModuleEnabled => "module.enabled",
        /// A module was disabled in the tenant.
        ModuleDisabled => "module.disabled",
        /// What the tenant said of a module was taken back.
        ModuleReset => "module.reset",
        /// A module was configured in the tenant.
        ModuleConfigured => "module.configured",
        /// A Core was made.
        CoreCreated => "scaicore.created",
        /// A Core was changed.
        CoreUpdated => "scaicore.updated",
        /// A Core was removed.
        CoreDeleted => "scaicore.deleted",
        /// A Core went back to an earlier program.
        CoreRolledBack => "scaicore.rolled_back",
        /// A Core was started.
        CoreStarted => "scaicore.started",
        /// A Core was stopped.
        CoreStopped => "scaicore.stopped",
        /// A Core was restarted.
        CoreRestarted => "scaicore.restarted",
        /// A Core was paused.
        CorePaused => "scaicore.paused",
        /// A Core was resumed.
        CoreResumed => "scaicore.resumed",
        /// The platform held a Core.
        CoreSuspended => "scaicore.suspended",
        /// A Core could not start or go on.
        CoreFailed => "scaicore.failed",
        /// An execution came to its end.
        ExecutionCompleted => "scaicore.execution_completed",
        /// An execution failed.
        ExecutionFailed => "scaicore.execution_failed",
        /// An execution was cancelled.
        ExecutionCancelled => "scaicore.execution_cancelled",
        /// An execution waits.
        ExecutionSuspended => "scaicore.execution_suspended",
        /// An instance of a Core has work.
        InstanceActivated => "scaicore.activated",
        /// An instance of a Core was idle, or made room for another.
        InstancePassivated => "scaicore.passivated",
        /// A checkpoint waits for a person.
        CheckpointPending => "scaicore.checkpoint_pending",
        /// A checkpoint was resolved.
        CheckpointResolved => "scaicore.checkpoint_resolved",
        /// A checkpoint was given up.
        CheckpointCancelled => "scaicore.checkpoint_cancelled",
        /// A checkpoint was given to someone else.
        CheckpointReassigned => "scaicore.checkpoint_reassigned",
        /// A checkpoint was reserved.
        CheckpointClaimed => "scaicore.checkpoint_claimed",
        /// A checkpoint that was reserved was let go.
        CheckpointReleased => "scaicore.checkpoint_released",
        /// One of several who must decide a checkpoint alike has decided.
        CheckpointVoted => "scaicore.checkpoint_voted",
        /// Whoever a checkpoint asks is to be told once more.
        CheckpointReminder => "scaicore.checkpoint_reminder",
        /// A checkpoint's time was up, and it asks someone else now.
        CheckpointEscalated => "scaicore.checkpoint_escalated",
        /// A checkpoint's time was up.
        CheckpointExpired => "scaicore.checkpoint_expired",
        /// Somebody tries the webhook out. Told to that one, whatever it wants.
        WebhookTest => "webhook.test",
    }
}

impl EventType {
    /// What an action of the audit is told as, if it is told. What became of executions is told where it happens, and
    /// webhooks are not told of themselves.
    pub const fn of_action(action: AuditAction) -> Option<Self> {
        use AuditAction as A;
        Some(match action {
            A::UserCreate => Self::UserCreated,
            A::UserUpdate | A::UserRoleUpdated => Self::UserUpdated,
            A::UserDelete => Self::UserDeleted,
            A::GroupCreate => Self::GroupCreated,
            A::GroupUpdate => Self::GroupUpdated,
            A::GroupDelete => Self::GroupDeleted,
            A::TenantUpdate => Self::TenantUpdated,
            A::ApiKeyCreate => Self::ApiKeyCreated,
            A::ApiKeyDelete => Self::ApiKeyDeleted,
            A::ModuleEnable => Self::ModuleEnabled,
            A::ModuleDisable => Self::ModuleDisabled,
            A::ModuleReset => Self::ModuleReset,
            A::ModuleConfigure => Self::ModuleConfigured,
            A::CoreCreate => Self::CoreCreated,
            A::CoreUpdate => Self::CoreUpdated,
            A::CoreDelete => Self::CoreDeleted,
            A::CoreRollback => Self::CoreRolledBack,
            A::CoreStart => Self::CoreStarted,
            A::CoreStop => Self::CoreStopped,
            A::CoreRestart => Self::CoreRestarted,
            A::CorePause => Self::CorePaused,
            A::CoreResume => Self::CoreResumed,
            A::CoreSuspend => Self::CoreSuspended,
            A::CoreFail => Self::CoreFailed,
            A::CheckpointResolve => Self::CheckpointResolved,
            A::CheckpointCancel => Self::CheckpointCancelled,
            A::CheckpointReassign => Self::CheckpointReassigned,
            A::CheckpointClaim => Self::CheckpointClaimed,
            A::CheckpointRelease => Self::CheckpointReleased,
            A::CheckpointVote => Self::CheckpointVoted,
            A::CheckpointRemind => Self::CheckpointReminder,
            A::CheckpointEscalate => Self::CheckpointEscalated,
            A::CheckpointExpire => Self::CheckpointExpired,
            _ => return None,
        })
    }
}

/// Something that has happened in a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What receivers know it by: the same however often it is told.
    pub id: EventId,
    /// What kind of thing.
    pub event_type: EventType,
    /// The tenant.
    pub tenant_id: TenantId,
    /// When.
    pub at: Instant,
    /// The module that it happened in, else `scaigrid`.
    pub source: String,
    /// What there is to tell.
    pub payload: Value,
}

impl Event {
    /// The most bytes of what is posted. The payload of a larger event is told without its `changes`.
    pub const MAX_BODY: usize = 256 * 1024;

    /// What a record of the audit tells webhooks. Its id is the record's, so it is the same event however often it is made.
    pub fn of_record(record: &AuditRecord) -> Option<Self> {
        let event_type = EventType::of_action(record.action)?;
        // A stop has two records: that it was asked for, and that all is still. The second is the news.
        let mut changes = record.changes.iter();
        let draining = changes.any(|(field, change)| field == "status" && change.after == "stopping");
        if event_type == EventType::CoreStopped && draining {
            return None;
        }
        let actor = &record.actor;
        Some(Self {
            id: EventId::from_ulid(record.id.ulid()),
            event_type,
            tenant_id: record.tenant_id?,
            at: record.at,
            source: record.module.clone().unwrap_or_else(|| "scaigrid".to_owned()),
            payload: json!({
                "resource_type": record.action.resource_type(),
                "resource_id": record.resource_id,
                "action": record.action.as_str(),
                "actor": {"type": actor.kind.as_str(), "id": actor.id, "email": actor.email},
                "changes": record.changes.to_json(),
            }),
        })
    }

    /// The JSON that is posted, given the tenant's partner.
    pub fn body(&self, partner: PartnerId) -> String {
        let whole = self.envelope(partner, &self.payload);
        if whole.len() <= Self::MAX_BODY {
            return whole;
        }
        let mut short = self.payload.clone();
        if let Some(fields) = short.as_object_mut() {
            fields.remove("changes");
            fields.insert("truncated".to_owned(), true.into());
        }
        self.envelope(partner, &short)
    }

    fn envelope(&self, partner: PartnerId, payload: &Value) -> String {
        json!({
            "event_id": self.id,
            "event_type": self.event_type.as_str(),
            "source": self.source,
            "tenant_id": self.tenant_id,
            "partner_id": partner,
            "timestamp": self.at,
            "payload": payload,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_audit::{Actor, Changes, Outcome, RequestContext, diff};
    use scaigrid_scope::AuditId;
    use ulid::Ulid;

    use super::*;

    const PARTNER: PartnerId = PartnerId::from_ulid(Ulid(2));

    fn record(action: AuditAction, changes: Changes) -> AuditRecord {
        AuditRecord {
            id: AuditId::from_ulid(Ulid(7)),
            at: Instant::from_micros(1_000_000),
            action,
            actor: Actor::SYSTEM,
            tenant_id: Some(TenantId::from_ulid(Ulid(1))),
            partner_id: None,
            resource_id: "core_1".to_owned(),
            outcome: Outcome::Success,
            changes,
            request: RequestContext::default(),
            module: Some("scaicore".to_owned()),
        }
    }

    #[test]
    fn a_record_is_told_as_an_event_of_the_same_number() {
        let changes = diff(&json!({"secret": "old"}), &json!({"secret": "new", "name": "a"}), &[]);
        let event = Event::of_record(&record(AuditAction::CoreUpdate, changes.clone())).unwrap();
        let told: Value = serde_json::from_str(&event.body(PARTNER)).unwrap();
        assert_eq!(
            told,
            json!({
                "event_id": "evt_00000000000000000000000007", "event_type": "scaicore.updated", "source": "scaicore",
                "tenant_id": "ten_00000000000000000000000001", "partner_id": "prt_00000000000000000000000002",
                "timestamp": "1970-01-01T00:00:01Z",
                "payload": {
                    "resource_type": "core", "resource_id": "core_1", "action": "core.update",
                    "actor": {"type": "system", "id": null, "email": null}, "changes": changes.to_json(),
                }
            })
        );
        assert!(!event.body(PARTNER).contains("old") && !event.body(PARTNER).contains("new"));
        assert_eq!(Event::of_record(&record(AuditAction::ExecutionCancel, Changes::default())), None);
        let moved = |from: &str, to: &str| diff(&json!({"status": from}), &json!({"status": to}), &[]);
        assert_eq!(Event::of_record(&record(AuditAction::CoreStop, moved("running", "stopping"))), None);
        assert!(Event::of_record(&record(AuditAction::CoreStop, moved("stopping", "stopped"))).is_some());
        let above = AuditRecord { tenant_id: None, ..record(AuditAction::ModuleEnable, Changes::default()) };
        assert_eq!(Event::of_record(&above), None, "no tenant has a webhook for it");
    }

    #[test]
    fn a_body_is_bounded() {
        let fields: serde_json::Map<String, Value> =
            (0..1000).map(|n| (format!("field{n}"), json!("x".repeat(5000)))).collect();
        let mut event = Event::of_record(&record(AuditAction::CoreUpdate, Changes::default())).unwrap();
        event.payload["changes"] = Value::Object(fields);
        let told: Value = serde_json::from_str(&event.body(PARTNER)).unwrap();
        assert_eq!(told["payload"]["truncated"], true);
        assert_eq!(told["payload"]["resource_id"], "core_1");
        assert!(event.body(PARTNER).len() <= Event::MAX_BODY);
    }
}
