//! What was to be reached, on two processors that server, generator and database share, and what was.
//!
//! A target that has no number of clients is judged by whichever number does worst.

use serde::Serialize;

use super::table::{Table, short};
use super::{Load, Paired, Report, Start};
use crate::options::Engine;
use crate::scenario::stored;

/// Bytes of a megabyte, as the tables count them.
const MEGABYTE: f64 = 1_048_576.0;
/// Executions whose memory the target for suspended ones speaks of.
const SUSPENDED: f64 = 100_000.0;
/// Executions that must be stored before it counts that flows cost no more with them.
const STORED: u32 = 1_000_000;

/// Something to be reached on a database.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// The database.
    pub(crate) database: Engine,
    /// What is measured.
    pub(crate) what: &'static str,
    /// What it must be.
    pub(crate) wanted: Bound,
    /// What both are in.
    pub(crate) unit: &'static str,
    /// What it is; nothing where this run has not measured it.
    pub(crate) measured: Option<Figure>,
    /// Whether it is what it must be.
    pub(crate) met: Option<bool>,
}

/// How much something must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Under(f64),
}

/// A figure that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// How much.
    pub(crate) value: f64,
    /// With how many clients, where the target leaves that open.
    pub(crate) clients: Option<usize>,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Under(bound) => value < bound,
        }
    }

    fn text(self, unit: &str) -> String {
        let (sign, bound) = match self {
            Self::AtLeast(bound) => ("≥", bound),
            Self::AtMost(bound) => ("≤", bound),
            Self::Under(bound) => ("<", bound),
        };
        format!("{sign} {bound}{unit}")
    }
}

impl Target {
    /// The columns of its table.
    const COLUMNS: [&str; 5] = ["database", "target", "wanted", "measured", "verdict"];

    /// Whether this run can tell.
    pub(super) fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    fn row(&self) -> Vec<String> {
        let measured = self.measured.map(|Figure { value, clients }| {
            let clients = clients.map(|count| format!(" (clients: {count})")).unwrap_or_default();
            format!("{}{}{clients}", short(value), self.unit)
        });
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        vec![
            self.database.name().to_owned(),
            self.what.to_owned(),
            self.wanted.text(self.unit),
            measured.unwrap_or_default(),
            verdict.to_owned(),
        ]
    }
}

/// The table of these.
pub(super) fn table<'a>(targets: impl Iterator<Item = &'a Target>) -> Table {
    Table::new("Targets", &Target::COLUMNS, targets.map(Target::row))
}

/// All targets, on both databases, with what a report says of them.
pub(super) fn of(report: &Report) -> Vec<Target> {
    [Engine::Sqlite, Engine::Postgres].into_iter().flat_map(|engine| Found { report, engine }.all()).collect()
}

/// What a report says of one database.
struct Found<'a> {
    report: &'a Report,
    engine: Engine,
}

impl Found<'_> {
    fn all(&self) -> Vec<Target> {
        [self.flows(), self.reads(), self.server(), self.further()].concat()
    }

    fn target(
        &self,
        what: &'static str,
        (wanted, unit): (Bound, &'static str),
        measured: Option<Figure>,
    ) -> Target {
        let met = measured.map(|figure| wanted.holds(figure.value));
        Target { database: self.engine, what, wanted, unit, measured, met }
    }

    /// Flows, and flows that call others.
    fn flows(&self) -> Vec<Target> {
        let [share, half] = [0.6, 0.5].map(|bound| (Bound::AtLeast(bound), ""));
        let twice = (Bound::AtMost(2.0), "x");
        let tail = |load: &Load| Some(load.latency_ms.get(1)?.p99);
        let part = |number: usize| move |load: &Load| load.floor.as_ref()?.p50.get(number).copied();
        let mut targets = vec![
            self.target("approval_flow, 64 clients: of the floor's flows", share, self.flow(64, of_floor)),
            self.target(
                "approval_flow, 64 clients: p99 start→suspended",
                (Bound::Under(40.0), " ms"),
                self.flow(64, tail),
            ),
            self.target(
                "approval_flow, 1 client: start→suspended, of the floor's",
                twice,
                self.flow(1, part(1)),
            ),
            self.target(
                "approval_flow, 1 client: resolve→completed, of the floor's",
                twice,
                self.flow(1, part(2)),
            ),
            self.target("effects: of the floor with eight commits", half, self.least("effects", of_floor)),
            self.target(
                "effects: of the floor with four commits",
                half,
                self.least("effects", of_further("floor_joined")),
            ),
        ];
        // What has one writer has no commits of one's own beside others.
        if self.engine == Engine::Postgres {
            targets.push(self.target(
                "approval_flow, 64 clients: of the flows with commits of their own",
                share,
                self.flow(64, of_further("floor_apart")),
            ));
            targets.push(self.target(
                "effects: of the floor with eight commits, each its own",
                half,
                self.least("effects", of_further("floor_apart")),
            ));
        }
        targets
    }

    /// What authorised reads must reach: those that are answered from caches, and a list for which the database is asked.
    fn reads(&self) -> Vec<Target> {
        let share = (Bound::AtLeast(0.6), "");
        vec![
            self.target("module_list: of actix-web's floor", share, self.least("module_list", of_floor)),
            self.target("module_get: of actix-web's floor", share, self.least("module_get", of_floor)),
            self.target("core_get: of actix-web's floor", share, self.least("core_get", of_floor)),
            self.target(
                "core_list: of a bare diesel-async handler",
                share,
                self.least("core_list", of_further("floor_select")),
            ),
        ]
    }

    /// What the server needs though nobody asks for anything.
    fn server(&self) -> Vec<Target> {
        let megabytes = |bound| (Bound::Under(bound), " MB");
        vec![
            self.target("idle memory", megabytes(40.0), self.idle()),
            self.target("ready on an existing database", (Bound::AtMost(150.0), " ms"), self.ready()),
            self.target("100,000 suspended executions: memory", megabytes(20.0), self.suspended()),
            self.target("100,000 sleeping executions: memory", megabytes(20.0), self.sleeping()),
        ]
    }

    /// What is measured in turns.
    fn further(&self) -> Vec<Target> {
        let (flat, little) = ((Bound::AtMost(1.5), "x"), (Bound::Under(3.0), " %"));
        let time = |paired: &Paired| 1.0 / paired.ratio.median.max(f64::EPSILON);
        let processor = |paired: &Paired| paired.processor_ratio.median;
        vec![
            self.target("a flow with 1,000,000 stored, of one with 1,000: time", flat, self.stored(time)),
            self.target(
                "a flow with 1,000,000 stored, of one with 1,000: processor",
                flat,
                self.stored(processor),
            ),
            self.target("traced: slower by", little, self.slower("approval_flow/traced")),
            self.target("debugged: slower by", little, self.slower("approval_flow/debugged")),
        ]
    }

    /// Loads of a scenario in which nothing failed.
    fn loads(&self, scenario: &str) -> impl Iterator<Item = &Load> {
        self.report.loads.iter().filter(move |load| {
            load.scenario == scenario && load.database == Some(self.engine) && load.errors == 0
        })
    }

    fn flow(&self, clients: usize, value: impl Fn(&Load) -> Option<f64>) -> Option<Figure> {
        let load = self.loads("approval_flow").find(|load| load.clients == clients)?;
        value(load).map(alone)
    }

    /// The least, at whichever number of clients that is.
    fn least(&self, scenario: &str, value: impl Fn(&Load) -> Option<f64>) -> Option<Figure> {
        let figures = self
            .loads(scenario)
            .filter_map(|load| Some(Figure { value: value(load)?, clients: Some(load.clients) }));
        figures.min_by(|one, other| one.value.total_cmp(&other.value))
    }

    fn idle(&self) -> Option<Figure> {
        let starts = self.report.starts.iter().filter(|start| start.database == self.engine);
        starts.map(|start| start.idle_resident_bytes).max().map(|bytes| alone(megabytes(bytes)))
    }

    fn ready(&self) -> Option<Figure> {
        let mut starts = self.report.starts.iter().filter(|start| start.database == self.engine);
        starts.find(|start| start.state == Start::EXISTING).and_then(Start::median).map(alone)
    }

    fn suspended(&self) -> Option<Figure> {
        let mut found = self.report.suspended.iter().filter(|row| row.database == self.engine);
        found.find_map(|row| {
            let growth = row.resident_after_bytes.saturating_sub(row.resident_before_bytes);
            growth_of(growth, row.executions)
        })
    }

    fn sleeping(&self) -> Option<Figure> {
        let mut found = self.report.sleeping.iter().filter(|row| row.database == self.engine);
        found.find_map(|row| {
            let [before, asleep, _] = row.resident_bytes;
            growth_of(asleep.saturating_sub(before), row.executions)
        })
    }

    /// A figure of pairs of runs in which nothing failed, at whichever number of clients it is greatest.
    fn greatest(&self, wanted: impl Fn(&Paired) -> bool, value: impl Fn(&Paired) -> f64) -> Option<Figure> {
        let paired = self.report.paired.iter();
        let found = paired.filter(|row| row.database == self.engine && row.errors() == 0 && wanted(row));
        let figures = found.map(|row| Figure { value: value(row), clients: Some(row.clients) });
        figures.max_by(|one, other| one.value.total_cmp(&other.value))
    }

    fn stored(&self, value: impl Fn(&Paired) -> f64) -> Option<Figure> {
        let enough = |row: &Paired| stored::count(&row.scenario).is_some_and(|count| count >= STORED);
        self.greatest(enough, value)
    }

    fn slower(&self, scenario: &str) -> Option<Figure> {
        self.greatest(|row| row.scenario == scenario, |row| (1.0 - row.ratio.median) * 100.0)
    }
}

/// The share of the floor's operations per second.
fn of_floor(load: &Load) -> Option<f64> {
    load.floor.as_ref().map(|floor| floor.per_second)
}

/// The same of a further floor.
fn of_further(kind: &str) -> impl Fn(&Load) -> Option<f64> {
    move |load| {
        let kind_of = |scenario: &str| scenario.split('/').next() == Some(kind);
        load.further_floors.iter().find(|floor| kind_of(&floor.scenario)).map(|floor| floor.per_second)
    }
}

fn alone(value: f64) -> Figure {
    Figure { value, clients: None }
}

#[expect(clippy::cast_precision_loss, reason = "memory is less than 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}

/// What memory grew by for as many executions as the target speaks of; nothing where there were fewer.
#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 executions")]
fn growth_of(bytes: u64, executions: u64) -> Option<Figure> {
    let executions = executions as f64;
    (executions >= SUSPENDED).then(|| alone(megabytes(bytes) * SUSPENDED / executions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::load::sample as load;

    fn verdict(report: &Report, what: &str) -> (Option<Figure>, Option<bool>) {
        let targets = of(report);
        let found = targets.iter().find(|target| target.database == Engine::Sqlite && target.what == what);
        let target = found.unwrap();
        assert_eq!(target.row().len(), Target::COLUMNS.len());
        (target.measured, target.met)
    }

    #[test]
    fn nothing_is_told_of_what_was_not_measured() {
        let targets = of(&Report::default());
        assert!(targets.iter().all(|target| target.measured.is_none() && target.met.is_none()));
        assert!(targets.iter().all(|target| target.row().last().unwrap() == "not measured"));
    }

    #[test]
    fn the_worst_number_of_clients_counts_and_a_failure_does_not() {
        let mut report = Report::default();
        for (clients, operations, errors) in [(1, 90, 0), (16, 50, 0), (64, 10, 1)] {
            let mut own = load(operations, 1.0);
            own.compare(&load(100, 1.0));
            (own.scenario, own.clients, own.errors) = ("core_get".to_owned(), clients, errors);
            report.loads.push(own);
        }
        let told = verdict(&report, "core_get: of actix-web's floor");
        assert_eq!(told, (Some(Figure { value: 0.5, clients: Some(16) }), Some(false)));
    }

    #[test]
    fn a_list_is_held_against_what_asks_the_database_too() {
        let mut own = load(60, 1.0);
        own.scenario = "core_list".to_owned();
        own.compare(&load(1_000, 1.0));
        let mut report = Report { loads: vec![own], ..Report::default() };
        let what = "core_list: of a bare diesel-async handler";
        assert_eq!(verdict(&report, what), (None, None));
        let mut floor = load(80, 1.0);
        floor.scenario = "floor_select/core_list".to_owned();
        report.loads[0].compare_further(&floor);
        assert_eq!(verdict(&report, what), (Some(Figure { value: 0.75, clients: Some(16) }), Some(true)));
    }

    #[test]
    fn a_target_for_a_number_of_clients_looks_at_no_other() {
        let mut own = load(70, 1.0);
        own.compare(&load(100, 1.0));
        let mut report = Report { loads: vec![own], ..Report::default() };
        let what = "approval_flow, 64 clients: of the floor's flows";
        assert_eq!(verdict(&report, what), (None, None));
        report.loads[0].clients = 64;
        assert_eq!(verdict(&report, what), (Some(alone(0.7)), Some(true)));
    }

    #[test]
    fn fewer_executions_tell_nothing_and_more_are_converted() {
        assert_eq!(growth_of(1 << 20, 99_999), None);
        assert_eq!(growth_of(4 << 20, 200_000), Some(alone(2.0)));
    }

    #[test]
    fn a_bound_may_be_reached_or_not() {
        assert!(Bound::AtMost(2.0).holds(2.0) && !Bound::Under(2.0).holds(2.0));
        assert!(Bound::AtLeast(0.6).holds(0.6) && !Bound::AtLeast(0.6).holds(0.59));
        assert_eq!(Bound::Under(40.0).text(" ms"), "< 40 ms");
    }
}
