//! What checkpoints look like on the wire.

use scaigrid_app::checkpoints::{Approval, DecisionRecord, StoredCheckpoint};
use scaigrid_checkpoints::{Checkpoint, EventKind, HistoryEvent, State, Vote, Warning};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::wire::ExecutionView;

/// Whom a checkpoint asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AssigneeView {
    /// `user`, `group`, `role`, `delegated_user` or `unrouted`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The user, group or role.
    #[schema(required = true)]
    pub(super) value: Option<String>,
}

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResolutionView {
    /// What was decided.
    pub(super) decision: String,
    /// More for the program.
    #[schema(required = true)]
    pub(super) response_data: Option<Value>,
    /// A note.
    #[schema(required = true)]
    pub(super) comment: Option<String>,
}

/// What may keep a checkpoint from being decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckpointWarningView {
    /// `NOBODY_CAN_DECIDE`, `ESCALATION_REACHES_NOBODY` or `ASSIGNEE_UNREADABLE`.
    #[schema(example = "NOBODY_CAN_DECIDE")]
    code: String,
    /// What a person reads.
    message: String,
}

impl From<Warning> for CheckpointWarningView {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code.to_string(), message: warning.message }
    }
}

/// A checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckpointView {
    /// Its id.
    #[schema(example = "0197d17f-9740-0000-0000-00000000000a")]
    pub(super) id: String,
    /// The Core that asks.
    pub(super) core_id: String,
    /// Whose it is.
    pub(super) tenant_id: String,
    /// The execution that waits.
    pub(super) execution_id: String,
    /// The flow that it waits in.
    pub(super) flow_name: String,
    /// The block that it waits at.
    pub(super) block_id: String,
    /// The instance of an entity Core.
    #[schema(required = true)]
    pub(super) instance_key: Option<String>,
    /// The program's own word for what is asked.
    pub(super) checkpoint_type: String,
    /// The question.
    pub(super) prompt: String,
    /// The allowed decisions; any where empty.
    pub(super) options: Vec<String>,
    /// Who is asked, as it was written.
    #[schema(required = true)]
    pub(super) assignee_raw: Option<String>,
    /// What kind that is.
    pub(super) assignee_type: String,
    /// Who is asked, as it was understood.
    pub(super) assignee_resolved: AssigneeView,
    /// What one needs to know to answer.
    pub(super) context: Value,
    /// `pending`, `resolved`, `expired` or `cancelled`.
    pub(super) status: String,
    /// `low`, `normal`, `high` or `critical`.
    pub(super) priority: String,
    /// Until when it waits (RFC 3339, UTC).
    #[schema(required = true)]
    pub(super) expires_at: Option<String>,
    /// What happens then: `expire`, `escalate` or `resolve:<option>`.
    #[schema(required = true)]
    pub(super) expiry_action: Option<String>,
    /// Who is asked upon an escalation.
    #[schema(required = true)]
    pub(super) escalation_target: Option<String>,
    /// The decision.
    #[schema(required = true)]
    pub(super) resolution: Option<ResolutionView>,
    /// Who decided; none where time did.
    #[schema(required = true)]
    pub(super) resolved_by: Option<String>,
    /// When it ended (RFC 3339, UTC).
    #[schema(required = true)]
    pub(super) resolved_at: Option<String>,
    /// The JSON Schema (2020-12) that the data of an answer must fit.
    #[schema(required = true, value_type = Option<Object>)]
    pub(super) form: Option<Value>,
    /// How many different people must decide alike. One is enough to refuse.
    pub(super) required_approvals: u32,
    /// Those who have decided so far, where several must decide alike.
    pub(super) approvals: Vec<ApprovalView>,
    /// Whether somebody is kept from deciding because they started the execution.
    pub(super) exclude_requester: bool,
    /// Whether people may decide by a link, without logging in.
    pub(super) links: bool,
    /// Who has reserved it.
    #[schema(required = true)]
    pub(super) claimed_by: Option<String>,
    /// Since when (RFC 3339, UTC).
    #[schema(required = true)]
    pub(super) claimed_at: Option<String>,
    /// How often whoever is asked is reminded, in minutes.
    #[schema(required = true)]
    pub(super) reminder_interval_m: Option<u64>,
    /// How often they were.
    pub(super) reminder_count: u32,
    /// Whether somebody was told of it.
    pub(super) notification_sent: bool,
    /// When it was opened (RFC 3339, UTC).
    pub(super) created_at: String,
    /// When it last changed (RFC 3339, UTC).
    pub(super) updated_at: String,
    /// What may keep it from being decided, as the tenant's people and groups are now; only where one checkpoint is read or handed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warnings: Option<Vec<CheckpointWarningView>>,
    /// The execution as it stands after going on; only in the answer to a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) execution: Option<ExecutionView>,
}

impl From<StoredCheckpoint> for CheckpointView {
    fn from(stored: StoredCheckpoint) -> Self {
        let told = |event: &HistoryEvent| event.kind == EventKind::NotificationSent;
        let notification_sent = stored.between.iter().any(told);
        Self { notification_sent, ..Self::of(&stored.checkpoint) }
    }
}

impl CheckpointView {
    /// A checkpoint by itself.
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let expiry = checkpoint.expiry.as_ref();
        let target = expiry.and_then(|expiry| expiry.action.escalation_target());
        let (resolution, by, at) = match &checkpoint.state {
            State::Pending => (None, None, None),
            State::Resolved(resolution) => {
                let view = ResolutionView {
                    decision: resolution.decision.clone(),
                    response_data: resolution.response_data.as_deref().cloned(),
                    comment: resolution.comment.clone(),
                };
                (Some(view), resolution.by.user(), Some(resolution.at))
            }
            State::Expired { at } => (None, None, Some(*at)),
            State::Cancelled { by, at } => (None, by.user(), Some(*at)),
        };
        Self {
            id: checkpoint.id.to_string(),
            core_id: checkpoint.core_id.to_string(),
            tenant_id: checkpoint.tenant_id.to_string(),
            execution_id: checkpoint.execution_id.to_string(),
            flow_name: checkpoint.flow_name.clone(),
            block_id: checkpoint.block_id.clone(),
            instance_key: checkpoint.instance_key.clone(),
            checkpoint_type: checkpoint.checkpoint_type.clone(),
            prompt: checkpoint.prompt.clone(),
            options: checkpoint.options.clone(),
            assignee_raw: checkpoint.routing.raw.clone(),
            assignee_type: checkpoint.routing.assignee.kind().to_string(),
            assignee_resolved: AssigneeView {
                kind: checkpoint.routing.assignee.kind().to_string(),
                value: checkpoint.routing.assignee.value(),
            },
            context: (*checkpoint.context).clone(),
            status: checkpoint.status().to_string(),
            priority: checkpoint.priority.to_string(),
            expires_at: expiry.map(|expiry| expiry.at.to_string()),
            expiry_action: expiry.map(|expiry| expiry.action.text()),
            escalation_target: target.and_then(|routing| routing.raw.clone()),
            resolution,
            resolved_by: by.map(|user| user.to_string()),
            resolved_at: at.map(|at| at.to_string()),
            form: checkpoint.rules.form.as_deref().cloned(),
            required_approvals: checkpoint.rules.required_approvals.get(),
            approvals: checkpoint.votes.iter().map(ApprovalView::from).collect(),
            exclude_requester: !checkpoint.rules.excluded.is_empty(),
            links: checkpoint.rules.links,
            claimed_by: checkpoint.claim.map(|claim| claim.by.to_string()),
            claimed_at: checkpoint.claim.map(|claim| claim.at.to_string()),
            reminder_interval_m: checkpoint.rules.reminder.map(|interval| interval.as_secs() / 60),
            reminder_count: checkpoint.reminders,
            notification_sent: false,
            created_at: checkpoint.created_at.to_string(),
            updated_at: checkpoint.updated_at.to_string(),
            warnings: None,
            execution: None,
        }
    }

    /// The same with what may keep it from being decided.
    pub(super) fn with_warnings(self, warnings: Vec<Warning>) -> Self {
        Self { warnings: Some(warnings.into_iter().map(Into::into).collect()), ..self }
    }
}

/// Something that happened to a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckpointEventView {
    /// `created`, `notification_sent`, `reminded`, `claimed`, `released`, `reassigned`, `escalated`, `voted`, `resolved`, `expired` or
    /// `cancelled`.
    pub(super) event: String,
    /// When (RFC 3339, UTC).
    pub(super) timestamp: String,
    /// Who did it; none where the platform did.
    #[schema(required = true)]
    pub(super) actor: Option<String>,
    /// Particulars.
    #[schema(value_type = Object)]
    pub(super) details: Map<String, Value>,
}

impl From<HistoryEvent> for CheckpointEventView {
    fn from(event: HistoryEvent) -> Self {
        Self {
            event: event.kind.to_string(),
            timestamp: event.at.to_string(),
            actor: event.by.user().map(|user| user.to_string()),
            details: event.details,
        }
    }
}

/// What one person has decided.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalView {
    /// Who; none where the platform did, because time was up.
    #[schema(required = true)]
    user_id: Option<String>,
    /// What.
    decision: String,
    /// A note.
    #[schema(required = true)]
    comment: Option<String>,
    /// When (RFC 3339, UTC).
    at: String,
}

impl From<&Vote> for ApprovalView {
    fn from(vote: &Vote) -> Self {
        Self {
            user_id: Some(vote.by.to_string()),
            decision: vote.decision.clone(),
            comment: vote.comment.clone(),
            at: vote.at.to_string(),
        }
    }
}

impl From<Approval> for ApprovalView {
    fn from(approval: Approval) -> Self {
        Self {
            user_id: approval.by.map(|user| user.to_string()),
            decision: approval.decision,
            comment: approval.comment,
            at: approval.at.to_string(),
        }
    }
}

/// What was shown before the decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ContentView {
    /// The SHA-256 of `content` as canonical JSON (keys in bytewise order, no white space), in lower-case hexadecimal. None of
    /// checkpoints from before it was kept.
    #[schema(required = true)]
    sha256: Option<String>,
    /// Type, prompt, options, context and form.
    #[schema(value_type = Object)]
    content: Value,
}

/// The call that a decision authorised.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthorisedView {
    /// The plugin's alias.
    alias: String,
    /// The method.
    method: String,
    /// The SHA-256 of the call: of alias, method and arguments. Nothing else may run.
    sha256: String,
    /// Until when it may run (RFC 3339, UTC); none for as long as the execution goes on.
    #[schema(required = true)]
    expires_at: Option<String>,
}

/// All that there is to say of one decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionView {
    /// The checkpoint.
    checkpoint_id: String,
    /// The Core that asked.
    core_id: String,
    /// The execution that waited.
    execution_id: String,
    /// The flow.
    flow_name: String,
    /// The block.
    block_id: String,
    /// `pending`, `resolved`, `expired` or `cancelled`.
    status: String,
    /// What was shown.
    shown: ContentView,
    /// The decision, once there is one.
    #[schema(required = true)]
    decision: Option<String>,
    /// When it was made (RFC 3339, UTC).
    #[schema(required = true)]
    decided_at: Option<String>,
    /// How many different people had to decide alike.
    required_approvals: u32,
    /// Who decided what, in order; also those who decided otherwise.
    approvals: Vec<ApprovalView>,
    /// Who was kept from deciding because they had started the execution.
    excluded: Vec<String>,
    /// The call that the decision authorised.
    #[schema(required = true)]
    authorised: Option<AuthorisedView>,
}

impl From<DecisionRecord> for DecisionView {
    fn from(record: DecisionRecord) -> Self {
        let checkpoint = &record.checkpoint;
        let resolution = match &checkpoint.state {
            State::Resolved(resolution) => Some(resolution),
            _ => None,
        };
        let expires_at = record.authorised_until.map(|at| at.to_string());
        let authorised = record.authorised.map(|call| AuthorisedView {
            alias: call.alias,
            method: call.method,
            sha256: call.hash,
            expires_at,
        });
        Self {
            checkpoint_id: checkpoint.id.to_string(),
            core_id: checkpoint.core_id.to_string(),
            execution_id: checkpoint.execution_id.to_string(),
            flow_name: checkpoint.flow_name.clone(),
            block_id: checkpoint.block_id.clone(),
            status: checkpoint.status().to_string(),
            shown: ContentView { sha256: checkpoint.rules.shown.clone(), content: record.content },
            decision: resolution.map(|resolution| resolution.decision.clone()),
            decided_at: resolution.map(|resolution| resolution.at.to_string()),
            required_approvals: checkpoint.rules.required_approvals.get(),
            approvals: record.approvals.into_iter().map(Into::into).collect(),
            excluded: checkpoint.rules.excluded.iter().map(ToString::to_string).collect(),
            authorised,
        }
    }
}
