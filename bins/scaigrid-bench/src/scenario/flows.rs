//! Flows with a human checkpoint, and their floors: two durable commits, which many share or (on
//! `PostgreSQL`) each has to itself, and the same two with as many rows as a flow leaves behind.

mod rows;

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::commits::{APART, Commits};
use super::host::{Host, connections};
use super::{Bench, Envelope};
use crate::client::{Connection, Target, put};
use crate::load::{Laps, Work, clients_for};
use crate::options::{Engine, Scenario};
use crate::scratch::Place;
use rows::Rows;

/// The checkpoint's answer. The server waits for what follows as long as a person would.
const DECISION: &[u8] = br#"{"decision":"approve","wait_ms":30000}"#;

/// A program that stops for a person once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Three inside steps, a checkpoint, an answer.
    Approval,
    /// The example `expense-approval`.
    Expense,
}

impl Program {
    /// Its document.
    pub(crate) const fn document(self) -> &'static str {
        match self {
            Self::Approval => include_str!("../../programs/approval.json"),
            Self::Expense => include_str!("../../../../examples/expense-approval.json"),
        }
    }

    const fn scenario(self) -> (Scenario, &'static str) {
        match self {
            Self::Approval => (Scenario::ApprovalFlow, "approval_flow"),
            Self::Expense => (Scenario::ExpenseApproval, "expense_approval"),
        }
    }

    /// Puts the body of an invocation into `body`; the total that the flow must answer.
    fn invocation(self, body: &mut Vec<u8>, serial: u64) -> i64 {
        body.clear();
        let variable = i64::try_from(serial % 1000).unwrap_or_default();
        match self {
            Self::Approval => {
                let total = 2000 + variable;
                put(
                    body,
                    format_args!(
                        r#"{{"flow":"submit","input":{{"requester":"erin","total":{total}}},"wait_ms":30000}}"#
                    ),
                );
                total
            }
            Self::Expense => {
                let hotel = 600 + variable;
                put(
                    body,
                    format_args!(
                        r#"{{"flow":"submit","input":{{"employee":"erin","lines":[{{"label":"train","amount":900}},{{"label":"hotel","amount":{hotel}}}]}},"wait_ms":30000}}"#
                    ),
                );
                900 + hotel
            }
        }
    }
}

#[derive(Deserialize)]
struct Invoked {
    status: String,
    #[serde(default)]
    checkpoints: Vec<Pointer>,
}

/// A checkpoint of an execution: its id, or more of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pointer {
    Id(String),
    Whole { id: String },
}

impl Pointer {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

#[derive(Deserialize)]
struct Resolved {
    execution: Execution,
}

#[derive(Deserialize)]
struct Execution {
    status: String,
    output: Option<Output>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Output {
    decision: String,
    total: i64,
}

/// A client that runs flows from the invocation to the end.
pub(crate) struct Flow {
    caller: Caller,
}

/// A client that leaves every flow at its checkpoint.
pub(crate) struct Suspend {
    caller: Caller,
}

struct Caller {
    program: Program,
    target: Target,
    connection: Connection,
    invoke: String,
    serial: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Caller {
    /// Invokes; the checkpoint that the flow stopped at, and the total that it must answer.
    async fn suspend(&mut self) -> anyhow::Result<(String, i64)> {
        self.serial = self.serial.wrapping_add(1);
        let total = self.program.invocation(&mut self.body, self.serial);
        self.target.post(&mut self.request, &self.invoke, &self.body);
        let answer = self.connection.exchange(&self.request).await?.expect(202).context("invoke")?;
        let Envelope { data } = answer.json::<Envelope<Invoked>>().context("invoke")?;
        let [checkpoint] = data.checkpoints.as_slice() else {
            bail!("invoke: expected one checkpoint: {}", answer.excerpt());
        };
        ensure!(data.status == "suspended", "invoke: expected a suspended execution: {}", answer.excerpt());
        Ok((checkpoint.id().to_owned(), total))
    }

    async fn complete(&mut self, checkpoint: &str, total: i64) -> anyhow::Result<()> {
        let path = format!("/v1/modules/scaicore/checkpoints/{checkpoint}/resolve");
        self.target.post(&mut self.request, &path, DECISION);
        let answer = self.connection.exchange(&self.request).await?.expect(200).context("resolve")?;
        let Envelope { data } = answer.json::<Envelope<Resolved>>().context("resolve")?;
        let expected = Output { decision: "approve".to_owned(), total };
        ensure!(
            data.execution.status == "completed" && data.execution.output.as_ref() == Some(&expected),
            "resolve: expected {expected:?}: {}",
            answer.excerpt()
        );
        Ok(())
    }
}

impl Work for Flow {
    const PHASES: &'static [&'static str] = &["start→suspended", "resolve→completed"];

    async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (checkpoint, total) = self.caller.suspend().await?;
        let suspended = Instant::now();
        laps.add(suspended - begun);
        self.caller.complete(&checkpoint, total).await?;
        laps.add(suspended.elapsed());
        Ok(())
    }
}

impl Work for Suspend {
    const PHASES: &'static [&'static str] = &[];

    async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
        self.caller.suspend().await.map(drop)
    }
}

/// A client of the floor: the same two bodies, each stored durably.
struct Commit {
    program: Program,
    target: Target,
    connection: Connection,
    serial: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

impl Commit {
    async fn store(&mut self) -> anyhow::Result<()> {
        self.connection.exchange(&self.request).await?.expect(200).map(drop)
    }
}

impl Work for Commit {
    const PHASES: &'static [&'static str] = &["first commit", "second commit"];

    async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()> {
        self.serial = self.serial.wrapping_add(1);
        self.program.invocation(&mut self.body, self.serial);
        let begun = Instant::now();
        self.target.post(&mut self.request, "/commit", &self.body);
        self.store().await?;
        let first = Instant::now();
        laps.add(first - begun);
        self.target.post(&mut self.request, "/commit", DECISION);
        self.store().await?;
        laps.add(first.elapsed());
        Ok(())
    }
}

/// So many clients that run flows of a Core to their end.
pub(crate) async fn flows(
    host: &Host,
    program: Program,
    core: &str,
    count: usize,
) -> anyhow::Result<Vec<Flow>> {
    Ok(callers(host, program, core, count).await?.into_iter().map(|caller| Flow { caller }).collect())
}

/// So many clients that leave flows of a Core suspended.
pub(crate) async fn suspensions(host: &Host, core: &str, count: usize) -> anyhow::Result<Vec<Suspend>> {
    let callers = callers(host, Program::Approval, core, count).await?;
    Ok(callers.into_iter().map(|caller| Suspend { caller }).collect())
}

async fn callers(host: &Host, program: Program, core: &str, count: usize) -> anyhow::Result<Vec<Caller>> {
    let connections = host.connections(count).await?;
    let callers = connections.into_iter().zip((0..).step_by(37)).map(|(connection, serial)| Caller {
        program,
        target: host.target.clone(),
        connection,
        invoke: format!("/v1/modules/scaicore/cores/{core}/invoke"),
        serial,
        body: Vec::new(),
        request: Vec::new(),
    });
    Ok(callers.collect())
}

/// So many clients of a floor.
async fn commits_of(program: Program, target: &Target, count: usize) -> anyhow::Result<Vec<Commit>> {
    let connections = connections(target, count).await?.into_iter().zip((0..).step_by(37));
    let clients = connections.map(|(connection, serial)| Commit {
        program,
        target: target.clone(),
        connection,
        serial,
        body: Vec::new(),
        request: Vec::new(),
    });
    Ok(clients.collect())
}

/// Measures a program and its floors at each number of clients, one right after the other.
pub(crate) async fn measure(
    bench: &Bench<'_>,
    engine: Engine,
    host: &Host,
    place: &Place,
    program: Program,
) -> anyhow::Result<()> {
    let (scenario, name) = program.scenario();
    if !bench.options.wants(scenario) {
        return Ok(());
    }
    let core = host.host(name, program.document()).await?;
    let probe = host.probe(place).await?;
    let key = &host.target.key;
    let shared = Commits::start(bench, engine, key, &[]).await?;
    let apart = match (engine, program) {
        (Engine::Postgres, Program::Approval) => Some(Commits::start(bench, engine, key, &APART).await?),
        (Engine::Sqlite, _) | (_, Program::Expense) => None,
    };
    let rows = match program {
        Program::Approval => Some(Rows::start(bench, engine).await?),
        Program::Expense => None,
    };
    let (mut most, mut copies) = (0.0_f64, 0);
    for &count in &bench.options.clients {
        let count = usize::from(count);
        let clients = flows(host, program, &core, count).await?;
        let load = bench.measure(name, Some(engine), clients, &probe).await?;
        most = most.max(load.per_second);
        let bare = async |kind: &str, commits: &Commits| {
            let clients = commits_of(program, &commits.target, count).await?;
            bench.measure(&format!("{kind}/{name}"), Some(engine), clients, &commits.probe).await
        };
        let floor = bare("floor_commit", &shared).await?;
        let mut further = Vec::new();
        if let Some(rows) = &rows {
            let clients = rows.clients(count).await?;
            let load = bench.measure(rows::NAME, Some(engine), clients, &rows.probe).await?;
            copies += load.operations;
            further.push(load);
        }
        if let Some(apart) = &apart {
            further.push(bare("floor_apart", apart).await?);
        }
        bench.keep_with(load, floor, further);
    }
    if let Some(rows) = rows {
        rows.stop(copies).await?;
    }
    for commits in [Some(shared), apart].into_iter().flatten() {
        commits.stop().await?;
    }
    if program == Program::Approval {
        // A server that does all it can has a queue that grows for as long as it is measured; half of that it can keep up with.
        let rate = bench.options.rate.map_or(most / 2.0, f64::from).max(1.0);
        let clients = flows(host, program, &core, clients_for(rate)).await?;
        let load = bench.measure_paced("approval_flow/open", engine, clients, rate, &probe).await?;
        bench.report.borrow_mut().loads.push(load);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_are_json_and_their_totals_right() {
        for program in [Program::Approval, Program::Expense] {
            let mut body = Vec::new();
            let total = program.invocation(&mut body, 1_234_567);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let input = &json["input"];
            let lines = input["lines"].as_array();
            let sum = lines.map(|lines| lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum());
            assert_eq!(sum.or(input["total"].as_i64()), Some(total));
            assert!(total > 1000, "below the limit nobody is asked");
        }
    }

    #[test]
    fn the_programs_are_sound() {
        for program in [Program::Approval, Program::Expense] {
            let document = serde_json::from_str(program.document()).unwrap();
            let (module, diagnostics) = scaigrid_ir::check(&document);
            assert!(module.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
        }
    }

    #[test]
    fn a_checkpoint_may_be_an_id_or_an_object() {
        let ids = |text| {
            let invoked: Invoked = serde_json::from_str(text).unwrap();
            invoked.checkpoints.iter().map(|checkpoint| checkpoint.id().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(r#"{"status":"suspended","checkpoints":["a"]}"#), ["a"]);
        assert_eq!(ids(r#"{"status":"suspended","checkpoints":[{"id":"b","status":"pending"}]}"#), ["b"]);
    }
}
