//! Going on from the past: a failed execution once more, or a new one that shares what was recorded.

use std::sync::Arc;

use scaigrid_audit::AuditRecord;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Standing};
use scaigrid_cores::logs::Level;
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{self, Change, Unit};
use scaigrid_persistence::cores;
use scaigrid_persistence::executions::{self, Stored};
use scaigrid_runtime::journal::{self, BranchError, Entry};
use scaigrid_runtime::{ExecutionContext, Program};
use scaigrid_scope::{ExecutionId, TenantScope, UserId};
use serde_json::json;

use super::{Said, said};
use crate::resume::ATTEMPTS;
use crate::{Engine, Error};

/// Entries that are written as one row.
const ENTRIES_OF_A_ROW: usize = 500;

/// Where an execution is to branch off.
#[derive(Debug, Clone, PartialEq)]
pub struct Forked {
    /// The last entry of its journal that the new one shares.
    pub at: i64,
    /// What the new one is given; where absent, the same.
    pub input: Option<Value>,
    /// Who branches it off.
    pub by: UserId,
}

impl Engine {
    /// Has a failed execution go on from where it failed. Exactly one of those who ask at the same time does it.
    ///
    /// # Errors
    /// There is no such execution, it has not failed, or the database.
    pub async fn retry(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        audit: AuditRecord,
    ) -> Result<Standing, Error> {
        for _ in 0..ATTEMPTS {
            let stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
            if stored.execution.status != ExecutionStatus::Failed {
                return Err(Error::NotFailed(stored.execution.status));
            }
            let (program, entries) = self.whole_journal(scope, &stored).await?;
            let cut = tokio::task::spawn_blocking(move || journal::retry(&program, &entries))
                .await
                .map_err(|_| Error::ShuttingDown)??;
            let entry = Entry::Retried { from: cut.from, again: cut.again };
            let now = self.0.clock.now();
            let hosted = self.hosted(scope, stored.execution.core_id).await?;
            let code =
                stored.execution.error.as_ref().and_then(|error| error.get("code")).map(Value::to_json);
            let what = Said {
                level: Level::Info,
                block: None,
                message: "the execution is tried again".to_owned(),
                fields: json!({ "from": cut.from, "code": code }),
            };
            let mut unit = Unit::new(scope.tenant_id(), now, Change::Keep { id });
            unit.core_id = Some(stored.execution.core_id);
            unit.lane = self.0.lane;
            unit.logs.push(said(&stored.execution.flow, now, &hosted.inside.masked, what));
            unit.audit.push(audit.clone());
            let mut transaction = self.0.database.begin().await?;
            let bytes = journal::encode_chunk(&[entry]);
            if !executions::revive(&mut transaction, scope, &stored, bytes, now).await? {
                continue;
            }
            commit::apply(&mut transaction, vec![unit]).await?;
            transaction.commit().await?;
            self.work_waits();
            return self.standing(scope, id).await;
        }
        Err(Error::Contended)
    }

    /// Starts an execution that shares what another one has recorded up to an entry. Nothing of that is done again; what had
    /// no outcome by then is asked for anew, under the new execution's name.
    ///
    /// # Errors
    /// There is no such execution or entry; the Core takes no work; with another input the program would not have come there.
    pub async fn fork(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        forked: Forked,
        audit: impl FnOnce(ExecutionId) -> AuditRecord,
    ) -> Result<Standing, Error> {
        let stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
        let hosted = self.accepting(scope, stored.execution.core_id).await?;
        let (program, entries) = self.whole_journal(scope, &stored).await?;
        let now = self.0.clock.now();
        let new = ExecutionId::from_ulid(self.0.ids.draw(now));
        let at = usize::try_from(forked.at).map_err(|_| BranchError::NoEntry { entries: entries.len() })?;
        let input = forked.input.clone();
        let shared = tokio::task::spawn_blocking(move || {
            journal::fork(&program, &entries, at, input, |context| ExecutionContext {
                execution_id: new.to_string().into(),
                ..context.clone()
            })
        });
        let shared = shared.await.map_err(|_| Error::ShuttingDown)??;
        // Whoever had asked for the other one has asked for what it shares.
        let mut requested_by = stored.execution.requested_by.clone();
        if !requested_by.contains(&forked.by) {
            requested_by.push(forked.by);
        }
        let execution = Execution {
            id: new,
            status: ExecutionStatus::Queued,
            origin: Origin::Fork { execution: id, at: forked.at },
            parent: None,
            depth: 0,
            input: forked.input.unwrap_or_else(|| stored.execution.input.clone()),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            requested_by,
            ..stored.execution
        };
        let chunks: Vec<(i64, Vec<u8>)> = (0..)
            .step_by(ENTRIES_OF_A_ROW)
            .zip(shared.chunks(ENTRIES_OF_A_ROW))
            .map(|(seq, entries)| (seq, journal::encode_chunk(entries)))
            .collect();
        let next_seq = i64::try_from(shared.len()).unwrap_or(i64::MAX);
        let what = Said {
            level: Level::Info,
            block: None,
            message: "the execution branches off from another one".to_owned(),
            fields: json!({ "execution_id": id, "at": forked.at }),
        };
        let mut unit = Unit::new(scope.tenant_id(), now, Change::Keep { id: new });
        unit.core_id = Some(execution.core_id);
        unit.lane = self.0.lane;
        unit.logs.push(said(&execution.flow, now, &hosted.inside.masked, what));
        unit.audit.push(audit(new));
        let mut transaction = self.0.database.begin().await?;
        // What was believed a moment ago is looked at once more, where it counts.
        let standing = cores::hold_standing(&mut transaction, scope, execution.core_id).await?;
        let (status, _) = standing.ok_or(Error::NoCore)?;
        if !status.can_accept_work() {
            return Err(Error::NotRunning(status));
        }
        executions::add_with_journal(&mut transaction, scope, &execution, next_seq, chunks).await?;
        commit::apply(&mut transaction, vec![unit]).await?;
        transaction.commit().await?;
        self.work_waits();
        Ok(Standing { execution, checkpoints: Vec::new() })
    }

    /// The whole journal of an execution, and its program.
    pub(super) async fn whole_journal(
        &self,
        scope: TenantScope,
        stored: &Stored,
    ) -> Result<(Arc<Program>, Vec<Entry>), Error> {
        let execution = &stored.execution;
        let program = self.program(scope, execution.core_id, execution.source_version).await?;
        if stored.next_seq == 0 {
            return Err(Error::NoJournal);
        }
        let entries = self.journal_of(scope, execution.id, 0, stored.next_seq).await?;
        Ok((program, entries))
    }
}
