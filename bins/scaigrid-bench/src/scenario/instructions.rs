//! How many instructions an operation of the hot paths takes, on SQLite with one client: a figure that does not depend on how busy the
//! machine is, and that is compared with the one that was written down for the last release.
//!
//! It is of the whole process, with what it does besides: what that comes to is counted while nobody asks, and taken off.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::callgrind::{self, Counter};
use super::effects;
use super::flows::{self, Program};
use super::host::Host;
use super::reads::{self, Reading};
use crate::load::Work;
use crate::options::{Engine, Instructions};
use crate::report::Counts;
use crate::scratch::{Databases, Place};

/// How often each is counted. What else the server does comes on top, so the least is what counts.
const ROUNDS: usize = 3;
/// Operations of a round; a quarter as many go before, and only warm up.
const READS: u64 = 1_000;
const LISTS: u64 = 200;
const FLOWS: u64 = 200;
/// Cores on a page.
const PAGE: usize = 50;
/// For how long it is counted what the server does while nobody asks.
const REST: Duration = Duration::from_secs(10);

/// Counts, and compares with what is written down, or writes down. An error if something takes more than it may.
pub(crate) async fn measure(options: &Instructions) -> anyhow::Result<()> {
    let server = &options.server;
    let server =
        server.canonicalize().with_context(|| format!("no server's program at {}", server.display()))?;
    let valgrind = callgrind::version().await?;
    let databases = Databases::new(&options.scratch, None)?;
    let place = databases.fresh(Engine::Sqlite).await?;
    eprintln!("the server starts on {valgrind} …");
    let (host, tool) = callgrind::start(&server, &place, callgrind::Mode::WhenTold).await?;
    let counted = Counting { host: &host, counter: tool, idle: 0.0 }.all(valgrind, &place).await;
    let counted = counted.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await?;
    if options.write {
        println!("{}written: {}", counted.table(None), options.file.display());
        return counted.write(&options.file);
    }
    let before = Counts::read(&options.file)?;
    print!("{}", counted.table(Some(&before)));
    let more = counted.more_than(&before);
    ensure!(
        more.is_empty(),
        "more instructions than written down in {}: {}",
        options.file.display(),
        more.join(", ")
    );
    Ok(())
}

/// A server whose instructions are counted.
struct Counting<'a> {
    host: &'a Host,
    counter: Counter,
    /// Instructions of a second in which nobody asks.
    idle: f64,
}

impl Counting<'_> {
    async fn all(mut self, valgrind: String, place: &Place) -> anyhow::Result<Counts> {
        let (host, mut counts) = (self.host, Counts::new(valgrind));
        let core = host.host("read", Program::Expense.document()).await?;
        for number in 1..PAGE {
            host.keep(&format!("listed {number}"), Program::Expense.document()).await?;
        }
        let flow = host.host("approval_flow", Program::Approval.document()).await?;
        let (stub, caller) = effects::prepare(host, place).await?;
        self.rest().await?;
        let readings = [
            ("module_list", "/v1/modules".to_owned(), READS),
            ("core_get", format!("/v1/modules/scaicore/cores/{core}"), READS),
            ("core_list", format!("/v1/modules/scaicore/cores?limit={PAGE}"), LISTS),
        ];
        for (name, path, operations) in readings {
            let reading = Reading { name: name.to_owned(), path, keys: Rc::from([host.target.key.clone()]) };
            let length = host.bytes_for(&host.target.key, &reading.path).await?.len();
            let clients = async || reads::clients(&host.target, &reading, &(length..=length), 1).await;
            counts.keep(name, self.least(name, operations, clients).await?);
        }
        let clients = async || flows::flows(host, Program::Approval, &flow, 1).await;
        counts.keep("approval_flow", self.least("approval_flow", FLOWS, clients).await?);
        let clients = async || effects::flows(host, &caller, 1).await;
        counts.keep("effects", self.least("effects", FLOWS, clients).await?);
        stub.stop().await?;
        Ok(counts)
    }

    /// Counts what the server does by itself.
    #[expect(clippy::cast_precision_loss, reason = "nothing has 2^53 instructions")]
    async fn rest(&mut self) -> anyhow::Result<()> {
        self.counter.begin().await?;
        let begun = Instant::now();
        tokio::time::sleep(REST).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.idle = self.counter.end().await? as f64 / seconds;
        Ok(())
    }

    /// The instructions of one operation.
    async fn least<W: Work>(
        &mut self,
        name: &str,
        operations: u64,
        clients: impl AsyncFn() -> anyhow::Result<Vec<W>>,
    ) -> anyhow::Result<u64> {
        let mut least = u64::MAX;
        for _ in 0..ROUNDS {
            callgrind::operate(self.host, "warm_up", operations / 4, clients().await?).await?;
            least = least.min(self.count(name, operations, clients().await?).await?);
        }
        Ok(least)
    }

    #[expect(clippy::cast_precision_loss, reason = "nothing has 2^53 instructions")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an operation has less than 2^53"
    )]
    async fn count<W: Work>(&mut self, name: &str, operations: u64, clients: Vec<W>) -> anyhow::Result<u64> {
        self.counter.begin().await?;
        let begun = Instant::now();
        callgrind::operate(self.host, name, operations, clients).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let all = self.counter.end().await? as f64;
        Ok(((all - self.idle * seconds).max(0.0) / operations as f64) as u64)
    }
}
