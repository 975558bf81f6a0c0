//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Measures a release server of scaigrid and the floors under it.
#[derive(Debug, Parser)]
#[command(name = "scaigrid-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Line {
    /// What is done instead.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What is measured.
    #[command(flatten)]
    pub(crate) measure: Measure,
}

/// What does not measure speed. The bare programs that the generator compares with it starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count the instructions of hot paths, and compare them with those that are written down
    Instructions(Instructions),
    /// Write down which functions a start and the hot paths run, for the linker to put them beside each other
    Functions(Functions),
    /// Serve the bytes of a file, and nothing else
    FloorHttp(FloorHttp),
    /// Store the body of every request durably, and nothing else
    FloorCommit(FloorCommit),
    /// Write copies of the rows of a flow for every two requests, and nothing else
    FloorRows(FloorRows),
    /// Read a page of a tenant's Cores for every request, and nothing else
    FloorSelect(FloorSelect),
    /// Answer every call of a plugin with its arguments, and do nothing else
    Stub,
}

/// What `instructions` takes.
#[derive(Debug, Args)]
pub(crate) struct Instructions {
    /// Where they are written down
    #[arg(long, default_value = "bins/scaigrid-bench/instructions.json")]
    pub(crate) file: PathBuf,
    /// Write them down, instead of comparing them
    #[arg(long)]
    pub(crate) write: bool,
    /// Folder for the database while they are counted
    #[arg(long, default_value = "target")]
    pub(crate) scratch: PathBuf,
    /// The server's program
    #[arg(long, env = "SCAIGRID_TEST_SERVER", default_value = "target/release/scaigrid-server")]
    pub(crate) server: PathBuf,
}

/// What `functions` takes.
#[derive(Debug, Args)]
pub(crate) struct Functions {
    /// Where their names are written, one in a line
    #[arg(long, default_value = "target/release/functions.txt")]
    pub(crate) file: PathBuf,
    /// What runs, and on what.
    #[command(flatten)]
    pub(crate) given: Given,
}

/// What `floor-http` takes.
#[derive(Debug, Args)]
pub(crate) struct FloorHttp {
    /// The answer's body
    #[arg(long)]
    pub(crate) body: PathBuf,
}

/// What `floor-commit` takes.
#[derive(Debug, Args)]
pub(crate) struct FloorCommit {
    /// Where to store: `sqlite://PATH` or `postgres://…`
    #[arg(long, env = "SCAIGRID_BENCH_FLOOR_DATABASE", hide_env_values = true)]
    pub(crate) database: String,
    /// Connections that commit on `PostgreSQL`; each takes all requests that wait at the time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) committers: u16,
    /// Rows that every request's body is stored in
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) rows: u16,
    /// A commit for each request, instead of one for all that wait
    #[arg(long)]
    pub(crate) apart: bool,
    /// Calls of the stub that a flow makes, each between two commits
    #[arg(long, default_value_t = 0, requires = "stub")]
    pub(crate) calls: u32,
    /// One commit between two calls, of what the one gave and the other asks; none of them at once
    #[arg(long, conflicts_with = "at_once")]
    pub(crate) joined: bool,
    /// How many of them at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) at_once: u16,
    /// Where the stub listens
    #[arg(long)]
    pub(crate) stub: Option<SocketAddr>,
}

/// What `floor-rows` takes.
#[derive(Debug, Args)]
pub(crate) struct FloorRows {
    /// A database that a server has made: `sqlite://PATH` or `postgres://…`
    #[arg(long, env = "SCAIGRID_BENCH_FLOOR_DATABASE", hide_env_values = true)]
    pub(crate) database: String,
    /// The statements of either commit of a flow, as JSON
    #[arg(long)]
    pub(crate) statements: PathBuf,
}

/// What `floor-select` takes.
#[derive(Debug, Args)]
pub(crate) struct FloorSelect {
    /// A server's database: `sqlite://PATH` or `postgres://…`
    #[arg(long, env = "SCAIGRID_BENCH_FLOOR_DATABASE", hide_env_values = true)]
    pub(crate) database: String,
    /// The tenant
    #[arg(long)]
    pub(crate) tenant: String,
    /// Cores of a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Connections that read
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: u16,
}

/// A group of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Time from spawn to ready, and idle memory.
    Startup,
    /// Invoke, three journaled inside steps, checkpoint, resolve, completed.
    ApprovalFlow,
    /// The same with the example program `expense-approval`.
    ExpenseApproval,
    /// One Core by its id.
    CoreGet,
    /// A page of fifty Cores.
    CoreList,
    /// The list of modules.
    ModuleList,
    /// One module by its id.
    ModuleGet,
    /// The same two where many tenants have settings and configurations of their own.
    ManyTenants,
    /// A change of a module's configuration, with its audit record.
    ConfigPut,
    /// Memory with many suspended executions.
    SuspendedMemory,
    /// Many executions that sleep, and some that wake at every moment.
    Suspended,
    /// Flows on two nodes against one.
    TwoNodes,
    /// How soon others go on with what a killed node had.
    Takeover,
    /// An event, and the flow that it starts.
    EventStart,
    /// Three calls of a plugin, one after the other.
    Effects,
    /// A call of a plugin for each of many items.
    FanOut,
    /// The flow with a checkpoint, with traces and without.
    Traced,
    /// The same with a breakpoint that never holds and without.
    Debugged,
    /// The flow with a checkpoint where very many executions are stored, against where few are.
    Stored,
    /// Many readers of the log of one Core.
    LogReaders,
    /// Lists of a tenant that has many Cores and checkpoints, against one that has few.
    LongLists,
    /// The audit log and the figures of a tenant that has very much of both.
    Administration,
    /// Bundles that are taken apart.
    ParseBundle,
    /// Expressions, in the generator's own process.
    Expressions,
    /// A mixed load for an hour; only where it is asked for by name.
    Soak,
}

/// A database that the server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// The embedded one.
    Sqlite,
    /// The one that `SCAIGRID_TEST_POSTGRES_URL` names.
    Postgres,
}

impl Engine {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What is measured, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Scenario>,
    /// Only these databases
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) databases: Vec<Engine>,
    /// Numbers of clients, each of which waits for its answer before it asks again
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64],
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) clients: Vec<u16>,
    /// Seconds per measurement, after the warm-up [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: Option<u16>,
    /// Flows that are due in a second in the open loop [default: half of what the closed loop has reached; 50 in `soak`]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: Option<u32>,
    /// Minutes of the mixed load of `soak` [default: 60]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_080))]
    minutes: Option<u16>,
    /// Runs of each of two that are measured in turns [default: 5]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pairs: Option<u16>,
    /// Suspended executions whose memory is measured [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    suspended: Option<u32>,
    /// Sleeping executions that wake in a second [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    waking: Option<u32>,
    /// Executions that a node has when it is killed [default: 200]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    taken: Option<u32>,
    /// Rounds of the program whose expressions are counted [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: Option<u32>,
    /// Items of a flow that fans out [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    items: Option<u32>,
    /// Tenants with settings and configurations of their own [default: 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tenants: Option<u32>,
    /// Executions that are stored where there are many [default: 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    stored: Option<u32>,
    /// Readers of one log [default: 2000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    readers: Option<u32>,
    /// Cores of the tenant whose lists are long [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    cores: Option<u32>,
    /// Checkpoints of that tenant [default: 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    checkpoints: Option<u32>,
    /// Audit records of the tenant whose log is long [default: 10000000 on `PostgreSQL`, 1000000 on `SQLite`]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20_000..=100_000_000))]
    records: Option<u32>,
    /// Short measurements, to see whether everything works; their figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the figures are written as JSON
    #[arg(long, default_value = "target/bench.json")]
    pub(crate) json: PathBuf,
    /// Where they are written as Markdown, with the targets that they meet or miss
    #[arg(long, default_value = "target/bench.md")]
    pub(crate) markdown: PathBuf,
    /// What runs, and on what.
    #[command(flatten)]
    pub(crate) given: Given,
}

/// The server that is run, and where its databases are made.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// Folder for databases while they are measured; it should be on the disk that one wants to know about
    #[arg(long, default_value = "target")]
    pub(crate) scratch: PathBuf,
    /// The server's program
    #[arg(long, env = "SCAIGRID_TEST_SERVER", default_value = "target/release/scaigrid-server")]
    pub(crate) server: PathBuf,
    /// A `PostgreSQL` where databases may be created and dropped
    #[arg(long, env = "SCAIGRID_TEST_POSTGRES_URL", hide_env_values = true)]
    pub(crate) postgres: Option<String>,
}

impl Measure {
    /// How long one measurement takes.
    pub(crate) fn window(&self) -> Duration {
        let default = if self.quick { 2 } else { 8 };
        Duration::from_secs(self.seconds.unwrap_or(default).into())
    }

    /// How long clients run before what they do counts.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.window() / 4).clamp(Duration::from_millis(500), Duration::from_secs(3))
    }

    /// For how many minutes a mixed load goes on.
    pub(crate) fn minutes(&self) -> u16 {
        self.minutes.unwrap_or(if self.quick { 8 } else { 60 })
    }

    /// How long such a minute is.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 60 })
    }

    /// How often each of two runs that are measured in turns.
    pub(crate) fn pairs(&self) -> u16 {
        self.pairs.unwrap_or(if self.quick { 2 } else { 5 })
    }

    /// How many executions are suspended at once.
    pub(crate) fn suspended(&self) -> u32 {
        self.suspended.unwrap_or(if self.quick { 2_000 } else { 100_000 })
    }

    /// How many sleeping executions wake in a second.
    pub(crate) fn waking(&self) -> u32 {
        self.waking.unwrap_or(if self.quick { 200 } else { 1_000 })
    }

    /// How many executions a node has when it is killed.
    pub(crate) fn taken(&self) -> u32 {
        self.taken.unwrap_or(if self.quick { 20 } else { 200 })
    }

    /// How often a node is killed.
    pub(crate) fn kills(&self) -> u32 {
        if self.quick { 1 } else { 5 }
    }

    /// How many rounds a program goes that computes.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 5_000 } else { 100_000 })
    }

    /// How many items a flow fans out over.
    pub(crate) fn items(&self) -> u32 {
        self.items.unwrap_or(if self.quick { 200 } else { 1_000 })
    }

    /// How many tenants there are where many are asked for.
    pub(crate) fn tenants(&self) -> u32 {
        self.tenants.unwrap_or(if self.quick { 500 } else { 10_000 })
    }

    /// How many executions are stored where there are many.
    pub(crate) fn stored(&self) -> u32 {
        self.stored.unwrap_or(if self.quick { 20_000 } else { 1_000_000 })
    }

    /// How many flows are run to see what they cost there.
    pub(crate) fn stored_flows(&self) -> u64 {
        if self.quick { 200 } else { 2_000 }
    }

    /// How many read one log.
    pub(crate) fn readers(&self) -> u32 {
        self.readers.unwrap_or(if self.quick { 100 } else { 2_000 })
    }

    /// How many Cores there are where lists are long.
    pub(crate) fn cores(&self) -> u32 {
        self.cores.unwrap_or(if self.quick { 5_000 } else { 100_000 })
    }

    /// How many checkpoints there are where lists are long.
    pub(crate) fn checkpoints(&self) -> u32 {
        self.checkpoints.unwrap_or(if self.quick { 20_000 } else { 1_000_000 })
    }

    /// How many audit records there are where the log is long.
    pub(crate) fn records(&self, engine: Engine) -> u32 {
        let default = match engine {
            Engine::Sqlite => 1_000_000,
            Engine::Postgres => 10_000_000,
        };
        self.records.unwrap_or(if self.quick { 20_000 } else { default })
    }

    /// How often a start is repeated.
    pub(crate) fn starts(&self) -> u32 {
        if self.quick { 2 } else { 5 }
    }

    /// How long a server is left alone before its idle memory is read.
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 5 })
    }

    /// Whether anything was asked for that a server does.
    pub(crate) fn wants_server(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|&scenario| scenario != Scenario::Expressions)
    }

    /// Whether a scenario was asked for.
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.only.contains(&scenario) || (self.only.is_empty() && scenario != Scenario::Soak)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let line = Line::try_parse_from(["bench", "--only", "core_get,startup", "--clients", "2,4"]).unwrap();
        assert_eq!(line.measure.only, [Scenario::CoreGet, Scenario::Startup]);
        assert_eq!(line.measure.clients, [2, 4]);
        assert!(!line.measure.wants(Scenario::ModuleList));
        assert!(line.measure.wants_server());
        assert!(Line::try_parse_from(["bench", "--clients", "0"]).is_err());
    }

    #[test]
    fn an_hour_must_be_asked_for() {
        let wants = |line: &[&str]| Line::try_parse_from(line).unwrap().measure.wants(Scenario::Soak);
        assert!(!wants(&["bench"]) && wants(&["bench", "--only", "soak", "--minutes", "2"]));
    }

    #[test]
    fn expressions_need_no_server() {
        let line = Line::try_parse_from(["bench", "--only", "expressions"]).unwrap();
        assert!(!line.measure.wants_server());
        assert!(Line::try_parse_from(["bench"]).unwrap().measure.wants_server());
    }
}
