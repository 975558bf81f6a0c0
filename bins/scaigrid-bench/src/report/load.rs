//! The loads: what clients did, how long it took, what it cost, and how it compares with its floor.

use serde::Serialize;

use super::table::{megabytes, millis, short};
use crate::load::{Outcome, Times};
use crate::options::Engine;

/// One scenario at one number of clients.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    /// What the clients did.
    pub(crate) scenario: String,
    /// The database under it; none where there is no database.
    pub(crate) database: Option<Engine>,
    /// Clients, each waiting for each answer.
    pub(crate) clients: usize,
    /// Operations that were due in a second, whether or not those before had ended; nothing where clients ask as soon as they can.
    /// Times are from the instant that an operation was due at.
    pub(crate) due_per_second: Option<f64>,
    /// Seconds that counted.
    pub(crate) seconds: f64,
    /// Seconds that did not, since the machine's host kept too much of its processors for itself.
    pub(crate) seconds_left_out: f64,
    /// Operations that ended well in that time.
    pub(crate) operations: u64,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// What the first failure said.
    pub(crate) first_error: Option<String>,
    /// Operations per second.
    pub(crate) per_second: f64,
    /// What an operation consists of, where it is of many like parts.
    pub(crate) parts: Option<Parts>,
    /// How much an operation takes in, where that is what counts.
    pub(crate) intake: Option<Intake>,
    /// How long they took, in milliseconds.
    pub(crate) latency_ms: Vec<Times>,
    /// Processor time per operation, in microseconds.
    pub(crate) processor_us: ProcessorTime,
    /// The share of the machine's processors that was in use, 0 to 1.
    pub(crate) machine_busy: f64,
    /// The share that the machine's host kept for itself, 0 to 1.
    pub(crate) machine_stolen: f64,
    /// Bytes that the measured process gave to the disk, per operation.
    pub(crate) written_bytes: f64,
    /// Bytes of `PostgreSQL`'s write-ahead log per operation.
    pub(crate) wal_bytes: Option<f64>,
    /// Resident memory at the end, in bytes.
    pub(crate) resident_bytes: u64,
    /// How this compares with its floor, which is a load of its own in the list.
    pub(crate) floor: Option<Comparison>,
    /// How it compares with further floors, where there are some.
    pub(crate) further_floors: Vec<Comparison>,
}

/// The like parts of operations.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Parts {
    /// What they are.
    pub(crate) name: &'static str,
    /// How many of them an operation has.
    pub(crate) per_operation: u32,
    /// How many there were per second.
    pub(crate) per_second: f64,
}

/// What operations take in.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Intake {
    /// Megabytes (of a million bytes) of an operation.
    pub(crate) megabytes: f64,
    /// Megabytes per second.
    pub(crate) per_second: f64,
}

/// Whose processor time an operation takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProcessorTime {
    /// The measured process.
    pub(crate) process: f64,
    /// The generator.
    pub(crate) generator: f64,
    /// Everything on the machine, these two and the database included.
    pub(crate) machine: f64,
}

/// A load as a ratio to its floor.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// The floor's name in the list.
    pub(crate) scenario: String,
    /// Operations per second, as a share of the floor's: more is better, 1 is the floor.
    pub(crate) per_second: f64,
    /// The median times of the whole and of its parts, as multiples of the floor's: less is better.
    pub(crate) p50: Vec<f64>,
}

impl Load {
    /// The columns of its table.
    pub(super) const COLUMNS: [&str; 14] = [
        "database",
        "scenario",
        "clients",
        "ops/s",
        "of floor",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "cpu us/op",
        "all us/op",
        "written/op",
        "wal/op",
        "rss MB",
        "stolen",
    ];

    /// What a load came to.
    pub(crate) fn of(scenario: &str, database: Option<Engine>, clients: usize, outcome: Outcome) -> Self {
        let Outcome { seconds, seconds_left_out, operations, errors, first_error, times, spent } = outcome;
        #[expect(clippy::cast_precision_loss, reason = "no run reaches 2^53 operations or bytes")]
        let (count, written, wal) =
            (operations.max(1) as f64, spent.written as f64, spent.wal.map(|wal| wal as f64));
        let micros = |seconds: f64| seconds * 1e6 / count;
        Self {
            scenario: scenario.to_owned(),
            database,
            clients,
            due_per_second: None,
            seconds,
            seconds_left_out,
            operations,
            errors,
            first_error,
            per_second: if operations == 0 { 0.0 } else { count / seconds },
            parts: None,
            intake: None,
            latency_ms: times,
            processor_us: ProcessorTime {
                process: micros(spent.process),
                generator: micros(spent.generator),
                machine: micros(spent.machine),
            },
            machine_busy: spent.machine / spent.available.max(f64::EPSILON),
            machine_stolen: spent.stolen_share(),
            written_bytes: written / count,
            wal_bytes: wal.map(|wal| wal / count),
            resident_bytes: spent.resident,
            floor: None,
            further_floors: Vec::new(),
        }
    }

    /// Says what its operations consist of.
    pub(crate) fn consists_of(&mut self, name: &'static str, per_operation: u32) {
        let per_second = self.per_second * f64::from(per_operation);
        self.parts = Some(Parts { name, per_operation, per_second });
    }

    /// Says how many bytes its operations take in, each of them.
    #[expect(clippy::cast_precision_loss, reason = "what is sent has less than 2^53 bytes")]
    pub(crate) fn takes_in(&mut self, bytes: usize) {
        let megabytes = bytes as f64 / 1e6;
        self.intake = Some(Intake { megabytes, per_second: self.per_second * megabytes });
    }

    /// Sets it in relation to its floor.
    pub(crate) fn compare(&mut self, floor: &Self) {
        self.floor = Some(self.compared_with(floor));
    }

    /// Sets it in relation to a further floor, which does it in another way.
    pub(crate) fn compare_further(&mut self, floor: &Self) {
        self.further_floors.push(self.compared_with(floor));
    }

    pub(super) fn compared_with(&self, floor: &Self) -> Comparison {
        let ratio = |own: f64, other: f64| if other > 0.0 { own / other } else { 0.0 };
        let pairs = self.latency_ms.iter().zip(&floor.latency_ms);
        Comparison {
            scenario: floor.scenario.clone(),
            per_second: ratio(self.per_second, floor.per_second),
            p50: pairs.map(|(own, other)| ratio(own.p50, other.p50)).collect(),
        }
    }

    /// Its rows in the table: the whole, its parts, and what else is to be said.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let database = self.database.map_or("-", Engine::name).to_owned();
        let mut rows = Vec::new();
        for (number, times) in self.latency_ms.iter().enumerate() {
            let mut row = if number == 0 {
                vec![
                    database.clone(),
                    self.scenario.clone(),
                    self.clients.to_string(),
                    short(self.per_second),
                ]
            } else {
                vec![String::new(), format!("  {}", times.phase), String::new(), String::new()]
            };
            let floor = self.floor.as_ref();
            row.push(match (floor, number) {
                (Some(floor), 0) => format!("{:.2}", floor.per_second),
                (Some(floor), _) => {
                    floor.p50.get(number).map(|ratio| format!("{ratio:.1}x")).unwrap_or_default()
                }
                (None, _) => String::new(),
            });
            row.extend([times.p50, times.p99, times.p999].map(millis));
            if number == 0 {
                row.extend([
                    short(self.processor_us.process),
                    short(self.processor_us.machine),
                    short(self.written_bytes),
                    self.wal_bytes.map(short).unwrap_or_default(),
                    megabytes(self.resident_bytes),
                    format!("{:.0} %", self.machine_stolen * 100.0),
                ]);
            }
            rows.push(row);
        }
        if let Some(due) = self.due_per_second {
            rows.push(vec![String::new(), "  due/s".to_owned(), String::new(), short(due)]);
        }
        if let Some(Parts { name, per_operation, per_second }) = &self.parts {
            rows.push(vec![
                String::new(),
                format!("  {per_operation} {name} each"),
                String::new(),
                short(*per_second),
            ]);
        }
        if let Some(Intake { megabytes, per_second }) = &self.intake {
            rows.push(vec![
                String::new(),
                format!("  MB/s, of {megabytes:.2} MB each"),
                String::new(),
                short(*per_second),
            ]);
        }
        for floor in &self.further_floors {
            let ratio = format!("{:.2}", floor.per_second);
            rows.push(vec![
                String::new(),
                format!("  of {}", floor.scenario),
                String::new(),
                String::new(),
                ratio,
            ]);
        }
        if let Some(error) = &self.first_error {
            rows.push(vec![String::new(), format!("  {} FAILED, the first: {error}", self.errors)]);
        }
        rows
    }
}

/// A load of so many operations within two seconds, for tests.
#[cfg(test)]
pub(super) fn sample(operations: u64, p50: f64) -> Load {
    use crate::probe::Sample;

    let times = ["all", "first"].map(|phase| Times { phase, p50, p99: 2.0, p999: 3.0, mean: 1.0, max: 4.0 });
    let spent = Sample { process: 1.0, machine: 3.0, available: 4.0, written: 4096, ..Sample::default() };
    let outcome = Outcome {
        seconds: 2.0,
        seconds_left_out: 0.0,
        operations,
        errors: 0,
        first_error: None,
        times: times.to_vec(),
        spent,
    };
    Load::of("approval_flow", Some(Engine::Sqlite), 16, outcome)
}

#[cfg(test)]
mod tests {
    use super::sample as load;
    use super::*;
    use crate::report::table::Table;

    #[test]
    fn costs_are_told_per_operation() {
        let load = load(100, 1.0);
        let near = |own: f64, other: f64| (own - other).abs() < 1e-6;
        assert!(near(load.per_second, 50.0) && near(load.processor_us.process, 10_000.0));
        assert!(near(load.machine_busy, 0.75) && near(load.written_bytes, 40.96));
    }

    #[test]
    fn a_floor_is_compared_part_by_part() {
        let mut own = load(50, 3.0);
        own.compare(&load(100, 1.5));
        let floor = own.floor.clone().unwrap();
        assert!((floor.per_second - 0.5).abs() < 1e-9);
        assert_eq!(floor.p50.len(), 2);
        assert!(floor.p50.iter().all(|ratio| (ratio - 2.0).abs() < 1e-9));
    }

    #[test]
    fn parts_are_told_per_second() {
        let mut own = load(100, 1.0);
        own.consists_of("calls", 3);
        let rows = own.rows();
        assert_eq!(rows.last().unwrap().join("|"), "|  3 calls each||150");
    }

    #[test]
    fn intake_is_told_in_megabytes_per_second() {
        let mut own = load(100, 1.0);
        own.takes_in(200_000);
        let rows = own.rows();
        assert_eq!(rows.last().unwrap().join("|"), "|  MB/s, of 0.20 MB each||10.0");
    }

    #[test]
    fn columns_are_aligned_and_errors_do_not_widen_them() {
        let mut own = load(50, 3.0);
        own.first_error = Some("x".repeat(300));
        let text = Table::new("Loads", &Load::COLUMNS, own.rows()).aligned();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let end = |line: &str, word: &str| line.find(word).unwrap() + word.len();
        assert_eq!(end(lines[0], "p50 ms"), end(lines[1], "3.00"));
        assert_eq!(end(lines[1], "3.00"), end(lines[2], "3.00"));
    }
}
