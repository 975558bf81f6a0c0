//! What a measurement costs: processor time, memory, bytes written.
//!
//! The figures come from `/proc` and, for `PostgreSQL`, from the position of its write-ahead log. `PostgreSQL`'s own
//! processor time is not told apart: it is what the machine used beyond the server and the generator.

use std::cell::RefCell;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

/// Reads the costs of a process, or of several, and of `PostgreSQL` where it is in use.
pub(crate) struct Probe {
    pids: Vec<u32>,
    postgres: Option<RefCell<AsyncPgConnection>>,
}

/// The state of all counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Processor seconds of the process, or of all of them, user and system.
    pub(crate) process: f64,
    /// Processor seconds of the generator.
    pub(crate) generator: f64,
    /// Processor seconds of everything on the machine.
    pub(crate) machine: f64,
    /// Processor seconds that the machine's host kept for itself.
    pub(crate) stolen: f64,
    /// Processor seconds that there were, used or not.
    pub(crate) available: f64,
    /// Bytes that the process gave to the disk.
    pub(crate) written: u64,
    /// Bytes of `PostgreSQL`'s write-ahead log.
    pub(crate) wal: Option<u64>,
    /// Resident memory of the process in bytes.
    pub(crate) resident: u64,
}

impl Sample {
    /// What was spent since then; the memory is the present one.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            process: self.process - before.process,
            generator: self.generator - before.generator,
            machine: self.machine - before.machine,
            stolen: self.stolen - before.stolen,
            available: self.available - before.available,
            written: self.written.saturating_sub(before.written),
            wal: self.wal.zip(before.wal).map(|(after, before)| after.saturating_sub(before)),
            resident: self.resident,
        }
    }

    /// What was spent in two stretches together; the memory is the greater.
    #[must_use]
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            process: self.process + other.process,
            generator: self.generator + other.generator,
            machine: self.machine + other.machine,
            stolen: self.stolen + other.stolen,
            available: self.available + other.available,
            written: self.written + other.written,
            wal: self.wal.zip(other.wal).map(|(one, other)| one + other),
            resident: self.resident.max(other.resident),
        }
    }

    /// Of what was spent: the share of the processors that the host kept, 0 to 1.
    pub(crate) fn stolen_share(&self) -> f64 {
        self.stolen / self.available.max(f64::EPSILON)
    }
}

#[derive(diesel::QueryableByName)]
struct Position {
    #[diesel(sql_type = BigInt)]
    position: i64,
}

impl Probe {
    /// Looks at this process, and at this `PostgreSQL`.
    pub(crate) fn new(pid: u32, postgres: Option<AsyncPgConnection>) -> Self {
        Self { pids: vec![pid], postgres: postgres.map(RefCell::new) }
    }

    /// Looks at another process, too.
    pub(crate) fn and(mut self, pid: u32) -> Self {
        self.pids.push(pid);
        self
    }

    /// The counters now.
    pub(crate) async fn sample(&self) -> anyhow::Result<Sample> {
        let ticks = ticks_per_second();
        let (machine, stolen, available) = machine(&read("/proc/stat")?, ticks).context("/proc/stat")?;
        let (mut process, mut written) = (0.0, 0);
        for pid in &self.pids {
            process += used(&read(&format!("/proc/{pid}/stat"))?, ticks).context("the process's times")?;
            written += line(&read(&format!("/proc/{pid}/io"))?, "write_bytes:").unwrap_or_default();
        }
        Ok(Sample {
            process,
            generator: used(&read("/proc/self/stat")?, ticks).context("the generator's times")?,
            machine,
            stolen,
            available,
            written,
            wal: match &self.postgres {
                Some(connection) => Some(log_position(connection).await?),
                None => None,
            },
            resident: self.resident()?,
        })
    }

    /// The files and connections that the process, or all of them, have open.
    pub(crate) fn descriptors(&self) -> anyhow::Result<u64> {
        let of = |pid: &u32| {
            let folder = format!("/proc/{pid}/fd");
            let open = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
            Ok(u64::try_from(open.count())?)
        };
        self.pids.iter().map(of).sum()
    }

    /// The resident memory of the process, or of all of them, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let of = |pid: &u32| {
            let status = read(&format!("/proc/{pid}/status"))?;
            Ok(line(&status, "VmRSS:").context("no resident memory")? * 1024)
        };
        self.pids.iter().map(of).sum()
    }
}

/// The share of the machine's processors that is in use, or kept by its host, while nothing is measured.
pub(crate) async fn busy(glance: Duration) -> anyhow::Result<f64> {
    let probe = Probe::new(std::process::id(), None);
    let before = probe.sample().await?;
    tokio::time::sleep(glance).await;
    let spent = probe.sample().await?.since(&before);
    Ok((spent.machine + spent.stolen) / spent.available.max(f64::EPSILON))
}

#[expect(clippy::await_holding_refcell_ref, reason = "one task samples, never twice at once")]
async fn log_position(connection: &RefCell<AsyncPgConnection>) -> anyhow::Result<u64> {
    let query = diesel::sql_query("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS position");
    let row: Position =
        query.get_result(&mut *connection.borrow_mut()).await.context("the log's position")?;
    Ok(u64::try_from(row.position)?)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[expect(clippy::cast_precision_loss, reason = "it is 100")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// User and system seconds out of `/proc/PID/stat` (`proc_pid_stat(5)`, fields 14 and 15).
fn used(stat: &str, ticks: f64) -> Option<f64> {
    // The second field is the name in parentheses, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / ticks)
}

/// Used, stolen and available seconds out of `/proc/stat`: user nice system idle iowait irq softirq steal.
fn machine(stat: &str, ticks: f64) -> Option<(f64, f64, f64)> {
    let fields: Vec<f64> =
        stat.lines().next()?.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    let at = |index: usize| fields.get(index).copied();
    let used = at(0)? + at(1)? + at(2)? + at(5)? + at(6)?;
    let available: f64 = fields.iter().take(8).sum();
    Some((used / ticks, at(7)? / ticks, available / ticks))
}

/// The number behind a name.
fn line(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(used(stat, 100.0), Some(3.0));
    }

    #[test]
    fn idle_time_is_not_used() {
        let (used, stolen, available) = machine("cpu  100 0 50 800 40 3 7 10 0 0\ncpu0 1", 100.0).unwrap();
        assert!((used - 1.6).abs() < 1e-9 && (stolen - 0.1).abs() < 1e-9 && (available - 10.1).abs() < 1e-9);
    }

    #[tokio::test]
    async fn this_process_can_be_looked_at() {
        let sample = Probe::new(std::process::id(), None).sample().await.unwrap();
        assert!(sample.resident > 100_000 && sample.available > 0.0 && sample.wal.is_none());
        // Twice the same process is twice as much.
        let probe = Probe::new(std::process::id(), None).and(std::process::id());
        assert!(probe.resident().unwrap() > sample.resident * 3 / 2);
        // What this process writes to and reads from, at least.
        assert!(probe.descriptors().unwrap() >= 6);
    }
}
