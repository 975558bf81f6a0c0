//! Going on from the past: a failed execution once more, or a new one that shares what was recorded.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::AuditRecord;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Standing};
use scaigrid_cores::logs::Level;
use scaigrid_ir::Value;
use scaigrid_persistence::commit::{self, Change, Mark, Progress, Snapshot, Unit, Verdict};
use scaigrid_persistence::cores;
use scaigrid_persistence::executions::{self, Stored};
use scaigrid_runtime::journal::{self, BranchError, Cut};
use scaigrid_runtime::{ExecutionContext, Program};
use scaigrid_scope::{ExecutionId, TenantScope, UserId};
use serde_json::json;

use super::{Bound, Said, said};
use crate::drive::chunks;
use crate::resume::ATTEMPTS;
use crate::traces::{kind, note_begun};
use crate::{Engine, Error};

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
    /// Has a failed execution go on from where it failed. Exactly one of those who ask at the same time does it, and has asked
    /// for what it does from then on, as whoever began it.
    ///
    /// # Errors
    /// There is no such execution, it has not failed, what led to its failure is not kept any more, as many executions wait to
    /// run as may, or the database.
    #[boxed]
    pub async fn retry(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        by: UserId,
        audit: AuditRecord,
    ) -> Result<Standing, Error> {
        let mut counted = false;
        for _ in 0..ATTEMPTS {
            let mut stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
            if stored.execution.status != ExecutionStatus::Failed {
                return Err(Error::NotFailed(stored.execution.status));
            }
            let hosted = self.hosted(scope, stored.execution.core_id).await?;
            let cut = self.cut(scope, &stored).await?;
            if !counted {
                self.may_queue(scope, &hosted).await?;
                counted = true;
            }
            let now = self.0.clock.now();
            let from = i64::try_from(cut.from).unwrap_or(i64::MAX);
            let code =
                stored.execution.error.as_ref().and_then(|error| error.get("code")).map(Value::to_json);
            let what = Said {
                level: Level::Info,
                block: None,
                message: "the execution is tried again".to_owned(),
                fields: json!({ "from": from, "code": code }),
            };
            let mut unit = Unit::new(scope.tenant_id(), now, Change::Keep { id });
            unit.core_id = Some(stored.execution.core_id);
            unit.lane = self.0.lane;
            unit.logs.push(said(&stored.execution.flow, now, &hosted.inside.masked, what));
            unit.audit.push(audit.clone());
            if !stored.execution.requested_by.contains(&by) {
                stored.execution.requested_by.push(by);
            }
            let mut transaction = self.0.database.begin().await?;
            // First the Core, as everywhere: one in which nothing goes on may be deleted.
            let of = stored.execution.core_id;
            if cores::hold_standing(&mut transaction, scope, of).await?.is_none() {
                return Err(Error::NoExecution);
            }
            let entry = (from, journal::encode_chunk(&[cut.into()]));
            if !executions::revive(&mut transaction, scope, &stored, entry, now).await? {
                continue;
            }
            commit::apply(&mut transaction, vec![unit]).await?;
            transaction.commit().await?;
            // It ends once more, and that is counted.
            note_begun("retry");
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
        let mut stored = self.load(scope, id).await?.ok_or(Error::NoExecution)?;
        let hosted = self.accepting(scope, stored.execution.core_id).await?;
        let now = self.0.clock.now();
        let new = ExecutionId::from_ulid(self.0.ids.draw(now));
        let shared = self.shared(scope, &stored, &forked, new).await?;
        // Whoever had asked for the other one has asked for what it shares.
        let mut requested_by = stored.execution.requested_by.clone();
        if !requested_by.contains(&forked.by) {
            requested_by.push(forked.by);
        }
        if forked.input.is_none() {
            // A large one is not there until it is opened.
            let mut connection = self.0.database.read().await?;
            executions::open_input(&mut connection, scope, &mut stored).await?;
        }
        let execution = Execution {
            id: new,
            status: ExecutionStatus::Queued,
            origin: Origin::Fork { execution: id, at: forked.at },
            parent: None,
            depth: 0,
            input: forked.input.unwrap_or(stored.execution.input),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.begun_trace(),
            requested_by,
            ..stored.execution
        };
        let first = shared.base.as_ref().map_or(0, |base| i64::try_from(base.seq).unwrap_or(i64::MAX));
        let next_seq = first.saturating_add(i64::try_from(shared.entries.len()).unwrap_or(i64::MAX));
        let what = Said {
            level: Level::Info,
            block: None,
            message: "the execution branches off from another one".to_owned(),
            fields: json!({ "execution_id": id, "at": forked.at }),
        };
        let progress = Progress { snapshot: Snapshot::Drop, next_seq, owner: None, epoch: 0 };
        let change = Change::Begin { execution: Box::new(execution.clone()), progress };
        let mut unit = Unit::new(scope.tenant_id(), now, change);
        unit.journal = chunks(first, &shared.entries);
        // It has no state of its own yet: whoever takes it begins there.
        unit.mark = shared.base.map(|base| Mark { seq: first, machine: base.machine.encode(), keep_from: 0 });
        unit.core_id = Some(execution.core_id);
        unit.logs.push(said(&execution.flow, now, &hosted.inside.masked, what));
        unit.audit.push(audit(new));
        self.may_queue(scope, &hosted).await?;
        match self.commit_and_tell(unit, None).await? {
            Verdict::Done | Verdict::Awaited => {}
            _ => return Err(Error::NotRunning(self.status_now(scope, execution.core_id).await?)),
        }
        note_begun(kind(&execution.origin));
        self.work_waits();
        Ok(Standing { execution, checkpoints: Vec::new() })
    }

    /// What a new execution shares with another one.
    async fn shared(
        &self,
        scope: TenantScope,
        stored: &Stored,
        forked: &Forked,
        new: ExecutionId,
    ) -> Result<journal::Forked, Error> {
        let program = self.program_of(scope, stored).await?;
        let id = stored.execution.id;
        let at = Some(forked.at).filter(|at| (0..stored.next_seq).contains(at));
        let entries = usize::try_from(stored.next_seq).unwrap_or(usize::MAX);
        let at = at.ok_or(BranchError::NoEntry { entries })?;
        let following = self.follow().await?;
        // Where everything is there, the new one has all of it.
        let kept = match self.kept(scope, id, 0, at + 1, Bound::SHOWN).await {
            Err(Error::JournalCut | Error::JournalTooLarge) => {
                self.kept(scope, id, at + 1, at + 1, Bound::SHOWN).await?
            }
            kept => kept?,
        };
        let input = forked.input.clone();
        let share = move || {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            journal::fork(&program, kept.base.as_ref(), &kept.entries, at, input, |context| {
                ExecutionContext { execution_id: new.to_string().into(), ..context.clone() }
            })
        };
        Ok(following.run(share).await?.0?)
    }

    /// Where a failed execution goes on. Its journal is followed from the last machine that is kept, or from one before, where the
    /// failure arose before that.
    async fn cut(&self, scope: TenantScope, stored: &Stored) -> Result<Cut, Error> {
        let program = self.program_of(scope, stored).await?;
        let mut following = self.follow().await?;
        let mut at_most = stored.next_seq;
        loop {
            let id = stored.execution.id;
            let kept = self.kept(scope, id, at_most, stored.next_seq, Bound::SHOWN).await?;
            let program = Arc::clone(&program);
            let retry = move || journal::retry(&program, kept.base.as_ref(), &kept.entries);
            let (cut, back) = following.run(retry).await?;
            match cut {
                Err(BranchError::Before { first }) if first > 0 => {
                    at_most = i64::try_from(first - 1).unwrap_or(i64::MAX);
                }
                cut => return Ok(cut?),
            }
            following = back;
        }
    }

    /// The program of an execution that has begun.
    async fn program_of(&self, scope: TenantScope, stored: &Stored) -> Result<Arc<Program>, Error> {
        if stored.next_seq == 0 {
            return Err(Error::NoJournal);
        }
        self.program(scope, stored.execution.core_id, stored.execution.source_version).await
    }
}
