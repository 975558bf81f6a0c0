//! A checkpoint as its row holds it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use scaigrid_checkpoints::{
    AllowedCall, Assignee, AssigneeKind, By, Checkpoint, CheckpointStatus, Claim, EventKind, Expiry,
    ExpiryAction, HistoryEvent, NewCheckpoint, Priority, Resolution, Routing, Rules, State,
};
use scaigrid_scope::{Instant, UserId};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result, column};
use crate::executions::{users_of, users_text};
use crate::instant::Stamp;
use crate::json::{storable, text_storable};
use crate::schema::checkpoints;

const TABLE: &str = "checkpoints";

/// A row of the table. `history` holds what happened between the beginning and the end, which the other columns tell.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = checkpoints)]
#[diesel(treat_none_as_default_value = false)]
pub(crate) struct CheckpointRow {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) core_id: String,
    pub(crate) execution_id: String,
    pub(crate) effect: i32,
    pub(crate) flow_name: String,
    pub(crate) block_id: String,
    pub(crate) instance_key: Option<String>,
    pub(crate) checkpoint_type: String,
    pub(crate) prompt: String,
    pub(crate) options: Value,
    pub(crate) context: Value,
    pub(crate) assignee_raw: Option<String>,
    pub(crate) assignee_type: String,
    pub(crate) assignee_value: Option<String>,
    pub(crate) priority: String,
    pub(crate) status: String,
    pub(crate) expires_at: Option<Stamp>,
    pub(crate) expiry_action: String,
    pub(crate) escalation_target: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) response_data: Option<Value>,
    pub(crate) comment: Option<String>,
    pub(crate) resolved_by: Option<String>,
    pub(crate) resolved_at: Option<Stamp>,
    pub(crate) history: Value,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
    pub(crate) rules: Option<Value>,
    pub(crate) standing: Option<Value>,
    pub(crate) excluded: Option<String>,
    pub(crate) revision: i64,
}

/// A checkpoint with what the table holds beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The number of the effect, in its execution, that it answers.
    pub effect: u32,
    /// What happened between its opening and its end: notifications, reassignments, escalations, claims, votes.
    pub between: Vec<HistoryEvent>,
}

impl CheckpointRow {
    pub(crate) fn of(checkpoint: &Checkpoint, effect: u32) -> Self {
        let question = &checkpoint.question;
        let expiry = question.expiry.as_ref();
        let target = expiry.and_then(|expiry| expiry.action.escalation_target());
        let (decision, response_data, comment, by, at) = match &checkpoint.state {
            State::Pending => (None, None, None, None, None),
            State::Resolved(resolution) => (
                Some(text(&resolution.decision)),
                resolution.response_data.as_deref().cloned().map(storable),
                resolution.comment.as_deref().map(text),
                resolution.by.user(),
                Some(resolution.at),
            ),
            State::Expired { at } => (None, None, None, None, Some(*at)),
            State::Cancelled { by, at } => (None, None, None, by.user(), Some(*at)),
        };
        Self {
            id: question.id.to_string(),
            tenant_id: question.tenant_id.to_string(),
            core_id: question.core_id.to_string(),
            execution_id: question.execution_id.to_string(),
            effect: effect.cast_signed(),
            flow_name: text(&question.flow_name),
            block_id: text(&question.block_id),
            instance_key: question.instance_key.as_deref().map(text),
            checkpoint_type: text(&question.checkpoint_type),
            prompt: text(&question.prompt),
            options: storable(json!(question.options)),
            context: storable((*question.context).clone()),
            assignee_raw: question.routing.raw.as_deref().map(text),
            assignee_type: question.routing.assignee.kind().to_string(),
            assignee_value: question.routing.assignee.value().map(text_storable),
            priority: question.priority.to_string(),
            status: checkpoint.status().to_string(),
            expires_at: expiry.map(|expiry| Stamp(expiry.at)),
            expiry_action: expiry
                .map_or_else(|| "expire".to_owned(), |expiry| text_storable(expiry.action.text())),
            escalation_target: target.map(|routing| text(routing.raw.as_deref().unwrap_or_default())),
            decision,
            response_data,
            comment,
            resolved_by: by.map(|user: UserId| user.to_string()),
            resolved_at: at.map(Stamp),
            history: json!([]),
            created_at: checkpoint.created_at.into(),
            updated_at: checkpoint.updated_at.into(),
            rules: Some(rules_json(&question.rules, target)),
            standing: standing_json(checkpoint),
            excluded: users_text(&question.rules.excluded),
            revision: checkpoint.revision,
        }
    }
}

fn text(text: &str) -> String {
    text_storable(text.to_owned())
}

impl TryFrom<CheckpointRow> for StoredCheckpoint {
    type Error = Error;

    fn try_from(row: CheckpointRow) -> Result<Self> {
        let id = row.id.as_str();
        let bad = |name, reason: &'static str| Error::inconsistent(TABLE, name, id, reason);
        let kind: AssigneeKind = column(TABLE, "assignee_type", id, &row.assignee_type)?;
        let assignee = Assignee::from_stored(kind, row.assignee_value.as_deref())
            .ok_or_else(|| bad("assignee_value", "does not fit the type"))?;
        let target = target_of(&row)?;
        let expiry = row
            .expires_at
            .map(|at| {
                let action = ExpiryAction::from_stored(&row.expiry_action, target)
                    .ok_or_else(|| bad("expiry_action", "does not fit the escalation target"))?;
                Ok::<_, Error>(Expiry { at: at.into(), action })
            })
            .transpose()?;
        let by = row
            .resolved_by
            .as_deref()
            .map(|user| column::<UserId>(TABLE, "resolved_by", id, user))
            .transpose()?;
        let at = row.resolved_at.map(Instant::from);
        let ended = || at.ok_or_else(|| bad("resolved_at", "is missing"));
        let state = match column(TABLE, "status", id, &row.status)? {
            CheckpointStatus::Pending => State::Pending,
            CheckpointStatus::Resolved => State::Resolved(Resolution {
                decision: row.decision.clone().ok_or_else(|| bad("decision", "is missing"))?,
                response_data: row.response_data.clone().map(Arc::new),
                comment: row.comment.clone(),
                by: By::from(by),
                at: ended()?,
            }),
            CheckpointStatus::Expired => State::Expired { at: ended()? },
            CheckpointStatus::Cancelled => State::Cancelled { by: By::from(by), at: ended()? },
        };
        let question = NewCheckpoint {
            id: column(TABLE, "id", id, id)?,
            tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
            core_id: column(TABLE, "core_id", id, &row.core_id)?,
            execution_id: column(TABLE, "execution_id", id, &row.execution_id)?,
            flow_name: row.flow_name.clone(),
            block_id: row.block_id.clone(),
            instance_key: row.instance_key.clone(),
            checkpoint_type: row.checkpoint_type.clone(),
            prompt: row.prompt.clone(),
            options: serde_json::from_value(row.options.clone())
                .map_err(|error| Error::inconsistent(TABLE, "options", id, error))?,
            routing: Routing { raw: row.assignee_raw.clone(), assignee },
            context: Arc::new(row.context.clone()),
            priority: column::<Priority>(TABLE, "priority", id, &row.priority)?,
            expiry,
            rules: rules_of(&row)?,
        };
        let (claim, reminders) = standing_of(&row)?;
        let between = history(id, &row.history)?;
        let checkpoint = Checkpoint {
            question,
            state,
            claim,
            votes: Vec::new(),
            reminders,
            revision: row.revision,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        };
        Ok(Self { checkpoint, effect: row.effect.cast_unsigned(), between })
    }
}

/// Whom an escalation asks.
fn target_of(row: &CheckpointRow) -> Result<Option<Routing>> {
    let Some(raw) = row.escalation_target.as_deref() else { return Ok(None) };
    let kept = row.rules.as_ref().and_then(|rules| rules.get("escalates_to"));
    // Those from before it was kept asked for nobody whom the text does not name.
    let Some(kept) = kept else { return Ok(Some(Routing::of_program(Some(raw), None))) };
    let bad = || Error::inconsistent(TABLE, "rules", &row.id, "an escalation asks nobody that can be");
    let kind: AssigneeKind = column(TABLE, "rules", &row.id, kept["type"].as_str().ok_or_else(bad)?)?;
    let assignee = Assignee::from_stored(kind, kept["value"].as_str()).ok_or_else(bad)?;
    Ok(Some(Routing { raw: (!raw.is_empty()).then(|| raw.to_owned()), assignee }))
}

fn history(id: &str, stored: &Value) -> Result<Vec<HistoryEvent>> {
    let bad = |reason: &str| Error::inconsistent(TABLE, "history", id, reason);
    let entries = stored.as_array().ok_or_else(|| bad("not an array"))?;
    entries
        .iter()
        .map(|entry| {
            let kind = entry["kind"].as_str().ok_or_else(|| bad("an entry without kind"))?;
            let by =
                entry["by"].as_str().map(|user| column::<UserId>(TABLE, "history", id, user)).transpose()?;
            Ok(HistoryEvent {
                kind: column::<EventKind>(TABLE, "history", id, kind)?,
                at: Instant::from_micros(entry["at"].as_i64().ok_or_else(|| bad("an entry without time"))?),
                by: By::from(by),
                details: entry["details"].as_object().cloned().unwrap_or_default(),
            })
        })
        .collect()
}

pub(crate) fn history_json(events: &[HistoryEvent]) -> Value {
    events
        .iter()
        .map(|event| {
            let by = event.by.user().map(|user| user.to_string());
            let details = storable(Value::Object(event.details.clone()));
            json!({"kind": event.kind.as_str(), "at": event.at.micros(), "by": by, "details": details})
        })
        .collect()
}

/// What holds for as long as the checkpoint is there; also whom an escalation asks, which was found out when it was opened: the text
/// alone does not tell, where it means the user who had lent their identity then.
fn rules_json(rules: &Rules, target: Option<&Routing>) -> Value {
    let mut fields = Map::new();
    if let Some(assignee) = target.map(|target| &target.assignee) {
        let value = assignee.value().map(text_storable);
        fields.insert("escalates_to".to_owned(), json!({"type": assignee.kind().as_str(), "value": value}));
    }
    if let Some(form) = &rules.form {
        fields.insert("form".to_owned(), storable((**form).clone()));
    }
    fields.insert("approvals".to_owned(), json!(rules.required_approvals.get()));
    if let Some(call) = &rules.allows {
        let decisions: Vec<String> = call.decisions.iter().map(|decision| text(decision)).collect();
        let expires_us = call.expires_in.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        let call = json!({"alias": text(&call.alias), "method": text(&call.method), "hash": call.hash,
            "decisions": decisions, "expires_us": expires_us});
        fields.insert("allows".to_owned(), storable(call));
    }
    if let Some(interval) = rules.reminder {
        fields.insert("reminder_s".to_owned(), json!(interval.as_secs()));
    }
    if rules.links {
        fields.insert("links".to_owned(), json!(true));
    }
    if rules.notify {
        fields.insert("notify".to_owned(), json!(true));
    }
    if let Some(shown) = &rules.shown {
        fields.insert("shown".to_owned(), json!(shown));
    }
    Value::Object(fields)
}

fn rules_of(row: &CheckpointRow) -> Result<Rules> {
    let excluded = users_of(TABLE, "excluded", &row.id, row.excluded.as_deref())?;
    // Those from before there were rules have none.
    let Some(stored) = &row.rules else { return Ok(Rules { excluded, ..Rules::default() }) };
    let bad = |reason: &str| Error::inconsistent(TABLE, "rules", &row.id, reason);
    let approvals = stored["approvals"].as_u64().and_then(|count| u32::try_from(count).ok());
    let required_approvals =
        approvals.and_then(NonZeroU32::new).ok_or_else(|| bad("the number of approvals is none"))?;
    let allows = match &stored["allows"] {
        Value::Null => None,
        call => {
            let field = |name: &str| {
                call[name].as_str().map(str::to_owned).ok_or_else(|| bad("a call without its parts"))
            };
            let decisions = call["decisions"].as_array().ok_or_else(|| bad("a call without decisions"))?;
            Some(AllowedCall {
                alias: field("alias")?,
                method: field("method")?,
                hash: field("hash")?,
                decisions: decisions.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                expires_in: call["expires_us"].as_u64().map(Duration::from_micros),
            })
        }
    };
    Ok(Rules {
        form: stored.get("form").cloned().map(Arc::new),
        required_approvals,
        excluded,
        allows,
        reminder: stored["reminder_s"].as_u64().filter(|seconds| *seconds > 0).map(Duration::from_secs),
        links: stored["links"] == true,
        notify: stored["notify"] == true,
        shown: stored["shown"].as_str().map(str::to_owned),
    })
}

/// How far it has come while it waits; null where nothing has happened to it.
pub(crate) fn standing_json(checkpoint: &Checkpoint) -> Option<Value> {
    let claim = checkpoint.claim;
    (claim.is_some() || checkpoint.reminders > 0).then(|| {
        json!({
            "claimed_by": claim.map(|claim| claim.by.to_string()),
            "claimed_at": claim.map(|claim| claim.at.micros()),
            "reminders": checkpoint.reminders,
        })
    })
}

fn standing_of(row: &CheckpointRow) -> Result<(Option<Claim>, u32)> {
    let Some(stored) = &row.standing else { return Ok((None, 0)) };
    let claim = match (stored["claimed_by"].as_str(), stored["claimed_at"].as_i64()) {
        (Some(by), Some(at)) => {
            Some(Claim { by: column(TABLE, "standing", &row.id, by)?, at: Instant::from_micros(at) })
        }
        _ => None,
    };
    // Whoever has decided, or given it up, does not look after it any more.
    let claim = claim.filter(|_| row.status == CheckpointStatus::Pending.as_str());
    let reminders = stored["reminders"].as_u64().and_then(|count| u32::try_from(count).ok());
    Ok((claim, reminders.unwrap_or_default()))
}
