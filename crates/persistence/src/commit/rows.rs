//! Units taken apart into the rows of each table, ready to be written with one statement per table.

use std::collections::{BTreeMap, HashMap, HashSet};

use scaigrid_checkpoints::{By, Checkpoint, State, Vote};
use scaigrid_cores::debugging::Debugging;
use scaigrid_scope::{ExecutionId, Instant, TenantId};

use super::judge::{MemoryKey, memory_key};
use super::{Change, JournalChunk, Snapshot, Unit};
use crate::audit::AuditRow;
use crate::checkpoints::{CheckpointRow, VoteRow, deadline, notice, reminder};
use crate::error::Result;
use crate::event_waits::WaitRow;
use crate::executions::ExecutionRow;
use crate::executions::encode;
use crate::instant::Stamp;
use crate::json::text_storable;
use crate::large::{Hash, LARGE, Object, hash, hex};
use crate::logs::LogRow;
use crate::objects::memory_place;
use crate::timers::{Owner, Timer};

/// The rows of all units that passed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) begun: Vec<ExecutionRow>,
    pub(super) proceeded: Vec<Proceeded>,
    pub(super) journal: Vec<Journal>,
    pub(super) marks: Vec<Marked>,
    pub(super) opened: Vec<CheckpointRow>,
    pub(super) decided: Vec<CheckpointRow>,
    pub(super) votes: Vec<VoteRow>,
    pub(super) abandoned: Vec<Abandoned>,
    pub(super) memory: HashMap<MemoryKey, Memory>,
    pub(super) events: Vec<Event>,
    pub(super) inbox: Vec<Inbox>,
    /// Executions whose waiting may be over.
    pub(super) woken: Vec<String>,
    pub(super) taken: Vec<Taken>,
    /// What becomes of timers, by tenant and owner: the last word of all units.
    pub(super) timers: BTreeMap<(String, Owner), Option<Timer>>,
    pub(super) waits: Vec<WaitRow>,
    pub(super) unwaited: Vec<Unwaited>,
    pub(super) audit: Vec<AuditRow>,
    pub(super) logs: Vec<LogRow>,
    pub(super) references: Vec<Reference>,
}

/// A row that refers to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) tenant_id: String,
    pub(super) hash: String,
    pub(super) object_id: String,
    pub(super) kind: &'static str,
    pub(super) holder: String,
    pub(super) place: String,
}

/// Writes references in the place of values that lie in objects.
struct PutAway<'a> {
    tenant_id: &'a str,
    objects: &'a HashMap<Hash, Object>,
    references: &'a mut Vec<Reference>,
}

impl PutAway<'_> {
    fn column(&mut self, bytes: Vec<u8>, place: impl FnOnce() -> (&'static str, String, String)) -> Vec<u8> {
        if self.objects.is_empty() || bytes.len() <= LARGE {
            return bytes;
        }
        let Some(object) = self.objects.get(&hash(&bytes)) else { return bytes };
        let (kind, holder, place) = place();
        self.references.push(Reference {
            tenant_id: self.tenant_id.to_owned(),
            hash: hex(&object.hash),
            object_id: object.id.to_string(),
            kind,
            holder,
            place,
        });
        object.reference()
    }

    fn row(&mut self, row: &mut ExecutionRow) {
        let id = row.id.clone();
        let place = || ("execution", id.clone(), String::new());
        row.input = self.column(std::mem::take(&mut row.input), place);
        row.output = row.output.take().map(|output| self.column(output, place));
        row.error = row.error.take().map(|error| self.column(error, place));
    }
}

#[derive(Debug)]
pub(super) struct Proceeded {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) output: Option<Vec<u8>>,
    pub(super) error: Option<Vec<u8>>,
    pub(super) finished_at: Option<Stamp>,
    pub(super) keep_snapshot: bool,
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) next_seq: i64,
    pub(super) owner: Option<String>,
    pub(super) epoch: i64,
    pub(super) debugging: Option<String>,
}

#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) id: String,
    pub(super) at: Stamp,
}

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) tenant_id: String,
    pub(super) execution_id: String,
    pub(super) seq: i64,
    pub(super) entries: Vec<u8>,
    pub(super) core_id: Option<String>,
    pub(super) at: Option<Stamp>,
}

/// A machine that is kept beside the journal.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) tenant_id: String,
    pub(super) execution_id: String,
    pub(super) seq: i64,
    pub(super) machine: Vec<u8>,
    pub(super) keep_from: i64,
}

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) tenant_id: String,
    /// None removes the entry.
    pub(super) value: Option<Vec<u8>>,
    /// When the last of these writes was made.
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) tenant_id: String,
    pub(super) core_id: String,
    pub(super) execution_id: Option<String>,
    pub(super) name: String,
    pub(super) data: Vec<u8>,
    pub(super) at: Stamp,
    pub(super) heard: Option<String>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) tenant_id: String,
    pub(super) execution_id: String,
    pub(super) effect: i32,
    pub(super) outcome: Vec<u8>,
}

/// An effect that waits for no event any more.
#[derive(Debug)]
pub(super) struct Unwaited {
    pub(super) tenant_id: String,
    pub(super) execution_id: String,
    pub(super) effect: i32,
}

/// What was taken out of an inbox.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) tenant_id: String,
    pub(super) execution_id: String,
    pub(super) effect: i32,
}

impl Rows {
    /// Takes a unit that passed apart.
    pub(super) fn add(&mut self, unit: Unit) -> Result<()> {
        let tenant = unit.tenant_id.to_string();
        let own = unit.change.execution_id();
        let id = own.map(|id| id.to_string()).unwrap_or_default();
        let core = unit.core_id.map(|core| core.to_string());
        if let (Some(core), Some(own), false) = (&core, own, unit.logs.is_empty()) {
            self.logs.push(LogRow::of((&tenant, core), own, unit.lane, unit.at, &unit.logs)?);
        }
        for chunk in unit.journal {
            let row = Journal {
                tenant_id: tenant.clone(),
                execution_id: id.clone(),
                seq: chunk.seq,
                entries: Vec::new(),
                at: core.is_some().then_some(Stamp(unit.at)),
                core_id: core.clone(),
            };
            self.add_chunk(row, chunk, &unit.objects);
        }
        self.change(unit.tenant_id, unit.change, unit.debugging.as_ref(), &unit.objects)?;
        if let Some(mark) = unit.mark {
            self.marks.push(Marked {
                tenant_id: tenant.clone(),
                execution_id: id.clone(),
                seq: mark.seq,
                machine: mark.machine,
                keep_from: mark.keep_from,
            });
        }
        self.open(&tenant, &unit.opened);
        if let Some(checkpoint) = &unit.decided {
            self.decide(&tenant, checkpoint);
        }
        let at = Stamp(unit.at);
        for owner in [Owner::Checkpoint, Owner::Reminder, Owner::Notice] {
            self.clear_timers(&tenant, unit.abandoned.iter().copied().map(owner));
        }
        self.clear_timers(&tenant, unit.fired.map(|timer| timer.owner));
        self.clear_timers(&tenant, unit.cleared);
        self.set_timers(&tenant, unit.timers);
        for wait in &unit.waits {
            self.waits.push(WaitRow::of(tenant.clone(), wait)?);
        }
        self.unwaited.extend(unit.unwaited.iter().map(|(id, effect)| Unwaited {
            tenant_id: tenant.clone(),
            execution_id: id.to_string(),
            effect: effect.cast_signed(),
        }));
        self.abandoned.extend(unit.abandoned.iter().map(|id| Abandoned { id: id.to_string(), at }));
        for write in unit.memory {
            let value = write.value.as_ref().map(encode).transpose()?;
            let value = value.map(|value| {
                let (core, partition, name, key) = memory_key(&write);
                let place = || ("memory", core.to_string(), memory_place(core, &partition, &name, &key));
                self.put_away(&tenant, &unit.objects).column(value, place)
            });
            self.memory.insert(memory_key(&write), Memory { tenant_id: tenant.clone(), value, at: unit.at });
        }
        for event in unit.events {
            let place = || ("event", event.id.to_string(), String::new());
            let data = self.put_away(&tenant, &unit.objects).column(encode(&event.data)?, place);
            self.events.push(Event {
                id: event.id.to_string(),
                tenant_id: tenant.clone(),
                core_id: event.core_id.to_string(),
                execution_id: event.execution_id.map(|id| id.to_string()),
                name: text_storable(event.name),
                data,
                at: event.at.into(),
                heard: event.heard.map(|heard| text_storable(heard.to_string())),
            });
        }
        for execution in &unit.started {
            let mut row = ExecutionRow::of(execution)?;
            self.put_away(&tenant, &unit.objects).row(&mut row);
            self.begun.push(row);
        }
        for effect in unit.taken {
            self.taken.push(Taken {
                tenant_id: tenant.clone(),
                execution_id: id.clone(),
                effect: effect.cast_signed(),
            });
        }
        for delivery in unit.delivered {
            self.woken.push(delivery.to.to_string());
            let place = || ("inbox", delivery.to.to_string(), delivery.effect.cast_signed().to_string());
            let outcome = self.put_away(&tenant, &unit.objects).column(delivery.outcome, place);
            self.inbox.push(Inbox {
                tenant_id: tenant.clone(),
                execution_id: delivery.to.to_string(),
                effect: delivery.effect.cast_signed(),
                outcome,
            });
        }
        for record in &unit.audit {
            self.audit.push(AuditRow::of(record)?);
        }
        Ok(())
    }

    /// Whether each row is touched by one kind of change alone, and none reads what another writes, so that it does not matter
    /// which comes first. Timers and the log have an order of their own.
    pub(super) fn are_apart(&self) -> bool {
        let begun = || self.begun.iter().map(|row| &row.id);
        let proceeded = || self.proceeded.iter().map(|row| &row.id);
        let woken = || self.woken.iter();
        let opened = self.opened.iter().map(|row| &row.id);
        let decided = || self.decided.iter().map(|row| &row.id);
        let abandoned = || self.abandoned.iter().map(|row| &row.id);
        let waits = self.waits.iter().map(|row| &row.execution_id);
        let unwaited = self.unwaited.iter().map(|row| &row.execution_id);
        let taken = self.taken.iter().map(|row| &row.execution_id);
        let delivered = self.inbox.iter().map(|row| &row.execution_id);
        self.marks.is_empty()
            && self.references.is_empty()
            && are_disjoint(begun(), proceeded().chain(woken()))
            && are_disjoint(proceeded(), woken())
            && are_disjoint(opened, decided().chain(abandoned()))
            && are_disjoint(decided(), abandoned())
            && are_disjoint(waits, unwaited)
            && are_disjoint(taken, delivered)
    }

    /// Takes new checkpoints, with what is to happen while they wait.
    fn open(&mut self, tenant: &str, opened: &[(Checkpoint, u32)]) {
        for (checkpoint, effect) in opened {
            self.opened.push(CheckpointRow::of(checkpoint, *effect));
            self.set_timers(tenant, deadline(checkpoint));
            self.set_timers(tenant, reminder(checkpoint, checkpoint.created_at));
            self.set_timers(tenant, notice(checkpoint, checkpoint.created_at));
        }
    }

    /// Takes a decision, with which nothing happens any more that was to happen while the checkpoint waited.
    fn decide(&mut self, tenant: &str, checkpoint: &Checkpoint) {
        self.decided.push(CheckpointRow::of(checkpoint, 0));
        self.clear_timers(tenant, deadline(checkpoint).map(|timer| timer.owner));
        self.clear_timers(tenant, checkpoint.rules.reminder.map(|_| Owner::Reminder(checkpoint.id)));
        self.clear_timers(tenant, checkpoint.rules.notify.then_some(Owner::Notice(checkpoint.id)));
        self.votes.extend(last_vote(checkpoint).map(|vote| VoteRow::of(checkpoint, vote)));
    }

    fn add_chunk(&mut self, mut row: Journal, chunk: JournalChunk, objects: &HashMap<Hash, Object>) {
        let place = || ("journal", row.execution_id.clone(), chunk.seq.to_string());
        row.entries = if chunk.alone {
            self.put_away(&row.tenant_id, objects).column(chunk.entries, place)
        } else {
            chunk.entries
        };
        self.journal.push(row);
    }

    fn set_timers(&mut self, tenant: &str, timers: impl IntoIterator<Item = Timer>) {
        let set = timers.into_iter().map(|timer| ((tenant.to_owned(), timer.owner.clone()), Some(timer)));
        self.timers.extend(set);
    }

    fn clear_timers(&mut self, tenant: &str, owners: impl IntoIterator<Item = Owner>) {
        self.timers.extend(owners.into_iter().map(|owner| ((tenant.to_owned(), owner), None)));
    }

    /// Removes the place that was kept for an entry, unless a unit has filled it.
    pub(super) fn clear_place(&mut self, key: MemoryKey, tenant_id: String) {
        // An entry that is removed has no time.
        let at = Instant::from_micros(0);
        self.memory.entry(key).or_insert(Memory { tenant_id, value: None, at });
    }

    fn put_away<'a>(&'a mut self, tenant_id: &'a str, objects: &'a HashMap<Hash, Object>) -> PutAway<'a> {
        PutAway { tenant_id, objects, references: &mut self.references }
    }

    fn change(
        &mut self,
        tenant: TenantId,
        change: Change,
        debugging: Option<&Debugging>,
        objects: &HashMap<Hash, Object>,
    ) -> Result<()> {
        match change {
            Change::Accept { .. } | Change::Keep { .. } => {}
            Change::Begin { execution, progress } => {
                debug_assert_eq!(execution.tenant_id, tenant, "a unit writes for one tenant");
                let mut row = ExecutionRow::of(&execution)?;
                self.put_away(&tenant.to_string(), objects).row(&mut row);
                row.next_seq = progress.next_seq;
                row.owner = progress.owner.map(|node| node.to_string());
                row.epoch = progress.epoch;
                if let Snapshot::Store(bytes) = progress.snapshot {
                    row.snapshot = Some(bytes);
                    row.snapshot_seq = progress.next_seq;
                }
                self.begun.push(row);
            }
            Change::Proceed { id, status, output, error, finished_at, progress, .. } => {
                let (keep_snapshot, snapshot) = match progress.snapshot {
                    Snapshot::Keep => (true, None),
                    Snapshot::Store(bytes) => (false, Some(bytes)),
                    Snapshot::Drop => (false, None),
                };
                let (output, error) =
                    (output.as_ref().map(encode).transpose()?, error.as_ref().map(encode).transpose()?);
                let tenant = tenant.to_string();
                let mut put_away = self.put_away(&tenant, objects);
                let place = || ("execution", id.to_string(), String::new());
                let output = output.map(|output| put_away.column(output, place));
                let error = error.map(|error| put_away.column(error, place));
                self.proceed(Proceeded {
                    id: id.to_string(),
                    status: status.as_str(),
                    output,
                    error,
                    finished_at: finished_at.map(Stamp),
                    keep_snapshot,
                    snapshot,
                    next_seq: progress.next_seq,
                    owner: progress.owner.map(|node| node.to_string()),
                    epoch: progress.epoch,
                    debugging: debugging.map(ToString::to_string),
                });
            }
        }
        Ok(())
    }

    /// Adds an update; one of the same execution that came before is replaced, for a statement touches a row once.
    fn proceed(&mut self, mut next: Proceeded) {
        if let Some(earlier) = self.proceeded.iter_mut().find(|earlier| earlier.id == next.id) {
            if next.keep_snapshot && !earlier.keep_snapshot {
                next.keep_snapshot = false;
                next.snapshot = earlier.snapshot.take();
            }
            *earlier = next;
        } else {
            self.proceeded.push(next);
        }
    }
}

fn are_disjoint<'a>(
    some: impl Iterator<Item = &'a String>,
    mut others: impl Iterator<Item = &'a String>,
) -> bool {
    let some: HashSet<&String> = some.collect();
    some.is_empty() || !others.any(|id| some.contains(id))
}

/// The vote that has decided, where several had to decide alike.
fn last_vote(checkpoint: &Checkpoint) -> Option<&Vote> {
    let State::Resolved(resolution) = &checkpoint.state else { return None };
    let vote = checkpoint.votes.last().filter(|_| checkpoint.rules.takes_several());
    vote.filter(|vote| resolution.by == By::User(vote.by) && resolution.at == vote.at)
}

/// Reads an execution's id from a column.
pub(super) fn execution_id(text: &str) -> Result<ExecutionId> {
    crate::error::column("executions", "id", text, text)
}

#[cfg(test)]
mod tests;
