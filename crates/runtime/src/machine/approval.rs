//! Plugin calls that run only with a person's approval.

use scaigrid_ir::Value;
use scaigrid_ir::block::Checkpoint;
use scaigrid_ir::value::text;

use super::script::{Halt, Script};
use super::state::{Grant, State};
use crate::effect::{CheckpointRequest, EffectId, EffectKind, PluginCallRequest, action_hash};
use crate::failure::Failure;

/// Takes note of what a person's answer allows.
pub(super) fn grant(
    state: &mut State,
    id: EffectId,
    checkpoint: &Checkpoint,
    request: &CheckpointRequest,
    answer: &Value,
) {
    let (Some(action), Some(asked)) = (&checkpoint.action, &request.action) else { return };
    let decision = answer.get("decision").and_then(Value::as_text);
    if !decision.is_some_and(|decision| action.decisions.contains(decision)) {
        return;
    }
    let until = action.expires_in.map(|span| {
        let granted = match answer.get("resolved_at") {
            Some(Value::Datetime(at)) => Some(*at),
            Some(Value::String(written)) => text::parse_datetime(written),
            _ => None,
        };
        // Of a grant without an instant nobody can say that it still holds.
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        granted.map_or(i64::MIN, |at| at.saturating_add(span))
    });
    state.grants.push(Grant {
        checkpoint: id,
        alias: asked.alias.clone(),
        method: asked.method.clone(),
        hash: asked.hash.clone(),
        until,
        used: false,
    });
}

/// Finds the grant that allows a call, where the flow says that it needs one.
pub(super) fn approve(script: &mut Script<'_>, request: &mut PluginCallRequest) -> Result<(), Halt> {
    if !script.program.needs_approval(script.state.flow, &request.alias, &request.method) {
        return Ok(());
    }
    let state = script.state;
    let of_tool = || {
        let grants = state.grants.iter();
        grants.filter(|grant| grant.alias == request.alias && grant.method == request.method)
    };
    if of_tool().next().is_none() {
        let message = format!("{}.{} runs only once a person has allowed it", request.alias, request.method);
        return Err(Failure::new("APPROVAL_REQUIRED", message).into());
    }
    let hash = action_hash(&request.alias, &request.method, &request.args);
    let fitting: Vec<&Grant> = of_tool().filter(|grant| grant.hash == hash).collect();
    if fitting.is_empty() {
        let message = format!("{}.{} was allowed with other arguments", request.alias, request.method);
        return Err(Failure::new("APPROVAL_MISMATCH", message).into());
    }
    let unused: Vec<&Grant> = fitting.into_iter().filter(|grant| !grant.used).collect();
    if unused.is_empty() {
        let message = format!("the approval of {}.{} has been used", request.alias, request.method);
        return Err(Failure::new("APPROVAL_USED", message).into());
    }
    // The time is asked only where it matters, and recorded.
    let now = if unused.iter().all(|grant| grant.until.is_some()) {
        script.effect(|| EffectKind::Now)?.as_datetime()
    } else {
        None
    };
    let holds = |grant: &&&Grant| match (grant.until, now) {
        (None, _) => true,
        (Some(until), Some(now)) => now <= until,
        (Some(_), None) => false,
    };
    let Some(found) = unused.iter().find(holds) else {
        let message = format!("the approval of {}.{} has expired", request.alias, request.method);
        return Err(Failure::new("APPROVAL_EXPIRED", message).into());
    };
    request.approved_by = Some(found.checkpoint);
    request.approved_until = found.until;
    Ok(())
}

/// The call is asked for: its approval is used up.
pub(super) fn use_up(state: &mut State, checkpoint: EffectId) {
    if let Some(grant) = state.grants.iter_mut().find(|grant| grant.checkpoint == checkpoint) {
        grant.used = true;
    }
}

/// The checkpoint whose answer may still let a call out: nobody has made it, or nobody knows yet what came of it.
pub(super) fn outstanding(state: &State) -> Option<EffectId> {
    let unused = state.grants.iter().find(|grant| !grant.used).map(|grant| grant.checkpoint);
    let asked = || {
        state.pending().find_map(|effect| match &effect.kind {
            EffectKind::PluginCall(request) => request.approved_by,
            _ => None,
        })
    };
    // What has been answered and has not taken effect yet.
    let answered = || {
        state.inbox.iter().map(|(id, _)| *id).find(|id| {
            let kind = state.asked(*id).map(|effect| &effect.kind);
            matches!(kind, Some(EffectKind::Checkpoint(request)) if request.action.is_some())
        })
    };
    unused.or_else(asked).or_else(answered)
}
