//! What is said of executions, and how it is read again.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::execution::Execution;
use scaigrid_cores::logs::{KeptEntry, Level, LogEntry, LogPlace, LogPosition, LogSource};
use scaigrid_ir::block::LogLevel;
use scaigrid_persistence::logs::{self, Chunk, LogFilter};
use scaigrid_runtime::machine::Traced;
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};
use serde_json::{Value, json};

use crate::plugins::Masked;
use crate::run::Run;
use crate::{Engine, Error};

/// The longest message, in characters.
const MESSAGE: usize = 4_000;
/// The most bytes of the fields of an entry.
const FIELDS: usize = 16 * 1024;
/// The most that the runtime says of one step of an execution.
const RUNTIME_AT_MOST: usize = 200;
/// Rows of a lane that are read at once.
const ROWS: i64 = 50;
/// How often rows are read for one page; past that a page may be short.
const ROUNDS: usize = 8;

/// What the runtime says.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) level: Level,
    pub(crate) block: Option<Arc<str>>,
    pub(crate) message: String,
    pub(crate) fields: Value,
}

/// An entry of the runtime.
pub(crate) fn said(flow: &Arc<str>, at: Instant, masked: &Masked, said: Said) -> LogEntry {
    let Said { level, block, message, fields } = said;
    entry(LogSource::Runtime, (Arc::clone(flow), block), at, masked, (level, &message, fields))
}

/// An entry of a program.
pub(crate) fn of_program(
    (flow, block): (&Arc<str>, &Arc<str>),
    at: Instant,
    masked: &Masked,
    (level, message, fields): (LogLevel, &str, &scaigrid_ir::Value),
) -> LogEntry {
    let level = match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    };
    let place = (Arc::clone(flow), Some(Arc::clone(block)));
    entry(LogSource::Program, place, at, masked, (level, message, fields.to_json()))
}

fn entry(
    source: LogSource,
    (flow, block): (Arc<str>, Option<Arc<str>>),
    at: Instant,
    masked: &Masked,
    (level, message, fields): (Level, &str, Value),
) -> LogEntry {
    let message = masked.text(message);
    let message = match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message,
    };
    let fields = match masked.value(fields) {
        fields if is_longer(&fields, FIELDS) => json!({ "truncated": true }),
        fields => fields,
    };
    LogEntry { at, level, source, flow: Some(flow), block, message, fields }
}

/// Whether a value is longer than so many bytes when it is written.
pub(super) fn is_longer(value: &Value, bytes: usize) -> bool {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, written: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(written.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(written.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // What holds a number or a text only is short, or measured at once.
    !value.is_null() && serde_json::to_writer(Count(bytes), value).is_err()
}

impl Run {
    /// Has the log tell something of the step under way.
    pub(crate) fn say(&mut self, masked: &Masked, at: Instant, what: Said) {
        let spoken =
            self.done.logs.iter().filter(|entry| entry.source == LogSource::Runtime).take(RUNTIME_AT_MOST);
        if spoken.count() < RUNTIME_AT_MOST {
            let entry = said(&self.execution.flow, at, masked, what);
            self.done.logs.push(entry);
        }
    }
}

impl Engine {
    /// Has the log tell which blocks failed, and which are tried again.
    pub(crate) async fn say_what_failed(&self, run: &mut Run) -> Result<(), Error> {
        let traces = run.machine.take_traces();
        if traces.is_empty() {
            return Ok(());
        }
        let masked = self.masked(run).await?;
        let now = self.0.clock.now();
        for traced in traces {
            let what = match traced {
                // A failure is told where it arose, not once more for each block around that.
                Traced::Failed { block, kind, failure } if failure.block.as_ref() == Some(&block) => Said {
                    level: Level::Warn,
                    message: format!("block {block} failed: {}: {}", failure.code, failure.message),
                    fields: json!({ "block_kind": kind, "code": &*failure.code }),
                    block: Some(block),
                },
                Traced::Retried { block, attempt, failure } => Said {
                    level: Level::Warn,
                    message: format!("block {block} is tried again after {}", failure.code),
                    fields: json!({ "attempt": attempt, "code": &*failure.code }),
                    block: Some(block),
                },
                _ => continue,
            };
            run.say(&masked, now, what);
        }
        Ok(())
    }
}

/// How an execution ended, for the log.
pub(crate) fn ended(execution: &Execution) -> Said {
    use scaigrid_cores::execution::ExecutionStatus as Status;
    let took = execution.finished_at.map(|at| (at.micros() - execution.started_at.micros()) / 1000);
    let mut fields = json!({ "duration_ms": took });
    let (level, message) = match execution.status {
        Status::Failed => {
            let error = execution.error.as_ref().map(scaigrid_ir::Value::to_json).unwrap_or_default();
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            fields["code"] = text("code").into();
            (Level::Error, format!("the execution failed: {}: {}", text("code"), text("message")))
        }
        Status::Cancelled => (Level::Warn, "the execution was cancelled".to_owned()),
        _ => (Level::Info, "the execution completed".to_owned()),
    };
    Said { level, block: None, message, fields }
}

/// Which entries are read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Of at least this level.
    pub level: Option<Level>,
    /// Of this execution.
    pub execution_id: Option<ExecutionId>,
    /// At or after this instant.
    pub since: Option<Instant>,
    /// Before this instant.
    pub until: Option<Instant>,
    /// Whose message or fields hold this text, in whatever case.
    pub q: Option<String>,
}

impl LogQuery {
    /// Whether an entry is wanted.
    pub fn fits(&self, kept: &KeptEntry) -> bool {
        let entry = &kept.entry;
        self.level.is_none_or(|level| entry.level >= level)
            && self.execution_id.is_none_or(|id| id == kept.execution_id)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && self.q.as_ref().is_none_or(|wanted| {
                let wanted = wanted.to_lowercase();
                entry.message.to_lowercase().contains(&wanted)
                    || (!entry.fields.is_null() && entry.fields.to_string().to_lowercase().contains(&wanted))
            })
    }
}

/// What has been read of a lane.
struct Lane {
    /// Entries that have not been looked at, the last first.
    unread: std::vec::IntoIter<KeptEntry>,
    next: Option<KeptEntry>,
    /// The number of the last entry that was looked at; what comes after it in a list has lower ones.
    before: LogPlace,
    /// Whether there may be rows beyond those that were read.
    more: bool,
}

impl Engine {
    /// Entries of a Core's log, newest first, before a position. Gives as many as fit and are wanted, and where the list goes
    /// on; it may go on after a page that is short, or empty.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn logs(
        &self,
        scope: TenantScope,
        core: CoreId,
        query: &LogQuery,
        from: Option<LogPosition>,
        limit: usize,
    ) -> Result<(Vec<KeptEntry>, Option<LogPosition>), Error> {
        let mut connection = self.0.database.read().await?;
        let filter = LogFilter {
            level: query.level,
            execution_id: query.execution_id,
            since: query.since,
            until: query.until,
        };
        let mut lanes = Vec::new();
        for head in logs::lanes(&mut connection, scope, core).await? {
            let number = match &from {
                // A lane that the first page did not know has entries that are newer than that page.
                Some(from) if from.of(head.lane) == 0 => continue,
                Some(from) => from.of(head.lane),
                None => head.number.saturating_add(1),
            };
            let before = LogPlace { lane: head.lane, number };
            lanes.push(Lane { unread: Vec::new().into_iter(), next: None, before, more: true });
        }
        let mut found = Vec::new();
        let mut rounds = 0;
        // Each lane is looked into at least once, so that every page leads further.
        let most = ROUNDS + lanes.len();
        'page: while found.len() < limit {
            for lane in &mut lanes {
                while lane.next.is_none() {
                    if let Some(entry) = lane.unread.next() {
                        lane.next = Some(entry);
                    } else if lane.more {
                        if rounds == most {
                            break 'page;
                        }
                        rounds += 1;
                        let chunks =
                            logs::before(&mut connection, scope, core, lane.before, &filter, ROWS).await?;
                        lane.more = i64::try_from(chunks.len()).is_ok_and(|count| count >= ROWS);
                        lane.unread = descending(chunks, lane.before.number).into_iter();
                    } else {
                        break;
                    }
                }
            }
            let newest = |lane: &&mut Lane| {
                lane.next.as_ref().map(|kept| (kept.entry.at, kept.place.lane, kept.place.number))
            };
            let Some(lane) = lanes.iter_mut().max_by_key(newest).filter(|lane| lane.next.is_some()) else {
                break;
            };
            let Some(kept) = lane.next.take() else { break };
            lane.before = kept.place;
            if query.fits(&kept) {
                found.push(kept);
            }
        }
        let goes_on = lanes.iter().any(|lane| lane.next.is_some() || lane.unread.len() > 0 || lane.more);
        let position = goes_on.then(|| LogPosition::new(lanes.iter().map(|lane| lane.before)));
        Ok((found, position))
    }
}

impl Engine {
    /// What is said of an execution, newest first, before an entry, which is named with the instant at which its row was
    /// written. Gives where the list goes on in the same way.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn execution_logs(
        &self,
        scope: TenantScope,
        id: ExecutionId,
        query: &LogQuery,
        from: Option<(Instant, LogPlace)>,
        limit: usize,
    ) -> Result<(Vec<KeptEntry>, Option<(Instant, LogPlace)>), Error> {
        let mut connection = self.0.database.read().await?;
        let mut found = Vec::new();
        let mut from = from;
        for _ in 0..ROUNDS {
            let until = from.map(|(at, _)| at);
            let chunks = logs::of_execution(&mut connection, scope, id, until, 4 * ROWS).await?;
            let is_last = i64::try_from(chunks.len()).is_ok_and(|count| count < 4 * ROWS);
            let mut moved = false;
            for chunk in chunks {
                let at = chunk.at;
                // Of one instant the rows come by lane and number, the greater first.
                let seen = from;
                let was_given = |place: LogPlace| {
                    seen.is_some_and(|(instant, seen)| {
                        instant == at
                            && (place.lane > seen.lane
                                || place.lane == seen.lane && place.number >= seen.number)
                    })
                };
                for kept in chunk.entries.into_iter().rev() {
                    if was_given(kept.place) {
                        continue;
                    }
                    if found.len() == limit {
                        return Ok((found, from));
                    }
                    from = Some((at, kept.place));
                    moved = true;
                    if query.fits(&kept) {
                        found.push(kept);
                    }
                }
            }
            if is_last {
                return Ok((found, None));
            }
            if !moved {
                break;
            }
        }
        Ok((found, from))
    }
}

fn descending(chunks: Vec<Chunk>, before: i64) -> Vec<KeptEntry> {
    let mut entries: Vec<KeptEntry> = chunks.into_iter().flat_map(|chunk| chunk.entries).collect();
    entries.retain(|kept| kept.place.number < before);
    entries.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.place.number));
    entries
}
