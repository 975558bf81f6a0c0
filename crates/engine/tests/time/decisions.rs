//! Decisions at the node that has asked, which still has the execution in memory: what happened elsewhere since counts all the same.

use std::time::Duration;

use scaigrid_audit::AuditRecord;
use scaigrid_checkpoints::{
    By, Change, Checkpoint, CheckpointError, CheckpointStatus, Claim, EventKind, HistoryEvent, Resolution,
    State,
};
use scaigrid_cores::Status;
use scaigrid_cores::execution::{ExecutionStatus, Standing};
use scaigrid_engine::{Decider, Engine, Error, Invocation};
use scaigrid_ir::Value;
use scaigrid_scope::{CheckpointId, CoreId, Instant, UserId};
use serde_json::json;

use crate::home::{Home, core, program, scope};

crate::on_both_databases! {
    whoever_is_asked_decides_and_the_flow_goes_on,
    a_claim_at_another_node_counts,
    a_decision_at_another_node_counts,
    a_core_that_was_paused_at_another_node_takes_no_step,
    one_of_two_decisions_counts,
}

/// A flow that asks twice, and returns both answers.
async fn host(home: &Home, node: &Engine) -> CoreId {
    let ask = |id: &str| json!({"kind": "checkpoint", "id": id, "checkpoint_type": "approval", "present": {"prompt": "Well?"}, "result_binding": id});
    let body = json!([ask("first"), ask("second"), {"kind": "rigid", "statements": [
        {"kind": "return", "value": "[first.decision, second.decision]"}]}]);
    let flow = json!({"name": "main", "params": [], "body": body});
    home.host(node, core("Asks", program(&[flow], &json!({})))).await
}

async fn begin(node: &Engine, core: CoreId) -> Standing {
    let wait = Some(Duration::from_secs(30));
    let input = Value::object(std::collections::BTreeMap::default());
    let call = Invocation { flow: None, input, instance_key: None, wait, by: None };
    let standing = node.invoke(scope(), core, call).await.unwrap();
    assert_eq!((standing.execution.status, standing.checkpoints.len()), (ExecutionStatus::Suspended, 1));
    standing
}

/// Somebody who says this, as long as nobody else has reserved the question.
struct Says(&'static str);

impl Decider for Says {
    fn decide(&self, mut checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        if checkpoint.status() != CheckpointStatus::Pending {
            return Err(CheckpointError::NotPending { status: checkpoint.status() });
        }
        if let Some(claim) = checkpoint.claim {
            return Err(CheckpointError::Claimed { by: claim.by });
        }
        checkpoint.state = State::Resolved(Resolution {
            decision: self.0.to_owned(),
            response_data: None,
            comment: None,
            by: By::System,
            at: now,
        });
        Ok(Change { checkpoint, event: happened(EventKind::Resolved, now) })
    }

    fn audit(&self, _: &Checkpoint, _: &Checkpoint, _: Instant) -> Option<AuditRecord> {
        None
    }
}

/// Somebody who reserves the question.
struct Claims;

impl Decider for Claims {
    fn decide(&self, mut checkpoint: Checkpoint, now: Instant) -> Result<Change, CheckpointError> {
        checkpoint.claim = Some(Claim { by: user(), at: now });
        Ok(Change { checkpoint, event: happened(EventKind::Claimed, now) })
    }

    fn audit(&self, _: &Checkpoint, _: &Checkpoint, _: Instant) -> Option<AuditRecord> {
        None
    }
}

fn user() -> UserId {
    UserId::from_ulid(7.into())
}

fn happened(kind: EventKind, at: Instant) -> HistoryEvent {
    HistoryEvent { kind, at, by: By::System, details: serde_json::Map::new() }
}

async fn says(node: &Engine, at: CheckpointId, what: &'static str) -> Result<Standing, Error> {
    let decided = node.decide(scope(), at, &Says(what), Some(Duration::from_secs(30))).await?;
    Ok(decided.standing)
}

/// What the flow returned.
fn returned(standing: &Standing) -> serde_json::Value {
    assert_eq!(standing.execution.status, ExecutionStatus::Completed);
    standing.execution.output.as_ref().unwrap().to_json()
}

async fn whoever_is_asked_decides_and_the_flow_goes_on(home: &Home) {
    let node = home.node().await;
    let core = host(home, &node).await;
    let asked = begin(&node, core).await;
    let asked = says(&node, asked.checkpoints[0], "yes").await.unwrap();
    assert_eq!((asked.execution.status, asked.checkpoints.len()), (ExecutionStatus::Suspended, 1));
    let ended = says(&node, asked.checkpoints[0], "no").await.unwrap();
    assert_eq!(returned(&ended), json!(["yes", "no"]));
    let stored = home.executions(core).await.pop().unwrap();
    assert_eq!(stored, ended.execution, "what was told is what is stored");
}

async fn a_claim_at_another_node_counts(home: &Home) {
    let (node, other) = (home.node().await, home.node().await);
    let core = host(home, &node).await;
    let at = begin(&node, core).await.checkpoints[0];
    other.decide(scope(), at, &Claims, None).await.unwrap();
    let refused = says(&node, at, "yes").await;
    assert!(
        matches!(refused, Err(Error::Checkpoint(CheckpointError::Claimed { by })) if by == user()),
        "{refused:?}"
    );
}

async fn a_decision_at_another_node_counts(home: &Home) {
    let (node, other) = (home.node().await, home.node().await);
    let core = host(home, &node).await;
    let first = begin(&node, core).await.checkpoints[0];
    let second = says(&other, first, "no").await.unwrap().checkpoints[0];
    let refused = says(&node, first, "yes").await;
    assert!(matches!(refused, Err(Error::Checkpoint(CheckpointError::NotPending { .. }))), "{refused:?}");
    let ended = says(&node, second, "yes").await.unwrap();
    assert_eq!(returned(&ended), json!(["no", "yes"]));
}

async fn a_core_that_was_paused_at_another_node_takes_no_step(home: &Home) {
    let (node, other) = (home.node().await, home.node().await);
    let core = host(home, &node).await;
    let asked = begin(&node, core).await;
    home.turn(&other, core, Status::Paused, None).await;
    let decided = node.decide(scope(), asked.checkpoints[0], &Says("yes"), None).await.unwrap();
    assert_eq!(decided.standing.execution.status, ExecutionStatus::Queued, "it has its answer, and waits");
    assert_eq!(home.inbox(asked.execution.id).await.len(), 1);
    assert_eq!(home.executions(core).await.len(), 1);
}

async fn one_of_two_decisions_counts(home: &Home) {
    let (node, other) = (home.node().await, home.node().await);
    let core = host(home, &node).await;
    for _ in 0..8 {
        let at = begin(&node, core).await.checkpoints[0];
        let said = tokio::join!(says(&node, at, "yes"), says(&node, at, "no"), says(&other, at, "perhaps"));
        let said = [said.0, said.1, said.2];
        let taken: Vec<_> = said.iter().filter_map(|said| said.as_ref().ok()).collect();
        assert_eq!(taken.len(), 1, "{said:?}");
        for refused in said.iter().filter_map(|said| said.as_ref().err()) {
            assert!(matches!(refused, Error::Checkpoint(CheckpointError::NotPending { .. })), "{refused:?}");
        }
        let ended = says(&node, taken[0].checkpoints[0], "yes").await.unwrap();
        let first = ["yes", "no", "perhaps"][said.iter().position(Result::is_ok).unwrap()];
        assert_eq!(returned(&ended), json!([first, "yes"]));
    }
}
