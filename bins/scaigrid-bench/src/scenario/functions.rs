//! Which functions a server runs when it starts, while it rests and in what the hot paths do: the linker puts these beside each other
//! (`cargo xtask release`). Otherwise they stand all over the program, and the system keeps the 64 KiB around each of them in memory.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::callgrind::{self, Counter, Mode};
use super::effects;
use super::flows::{self, Program};
use super::host::Host;
use super::reads::{self, Reading};
use crate::options::{Engine, Functions};
use crate::scratch::{Databases, Place};

/// For how long a server is left alone after its start. What it does once in a while it does within that.
const REST: Duration = Duration::from_secs(12);
/// A server runs thousands of functions. Of one without symbols there are hardly any names.
const PLAUSIBLE: usize = 1_000;
/// How often each operation is done: what is run once is run.
const OPERATIONS: u64 = 20;
/// Clients at once, so that what only happens where several meet happens too.
const CLIENTS: usize = 4;

/// Runs a server on each database that there is, and writes the names down, one in a line: those of a start first, then those of the
/// hot paths, and last those of the first start of all.
pub(crate) async fn list(options: &Functions, databases: &Databases) -> anyhow::Result<()> {
    let server = &options.given.server;
    let server =
        server.canonicalize().with_context(|| format!("no server's program at {}", server.display()))?;
    let valgrind = callgrind::version().await?;
    let mut engines = vec![Engine::Sqlite];
    engines.extend(options.given.postgres.is_some().then_some(Engine::Postgres));
    let mut seen = Vec::new();
    for engine in engines {
        eprintln!("the server starts on {valgrind} and {} …", engine.name());
        let place = databases.fresh(engine).await?;
        seen.push(look(&server, &place).await?);
    }
    let names = grouped(seen);
    ensure!(names.len() >= PLAUSIBLE, "{} names of functions: is the program without symbols?", names.len());
    let text = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect::<String>();
    std::fs::write(&options.file, text)
        .with_context(|| format!("cannot write {}", options.file.display()))?;
    println!("{} functions written: {}", names.len(), options.file.display());
    Ok(())
}

/// The names of what was run on one database.
struct Seen {
    /// In a start on a database that is there, and at rest after it.
    start: Vec<String>,
    /// In the hot paths.
    work: Vec<String>,
    /// In a start on an empty database.
    first: Vec<String>,
}

async fn look(server: &Path, place: &Place) -> anyhow::Result<Seen> {
    let (host, mut counter) = callgrind::start(server, place, Mode::FromTheStart).await?;
    let first = counter.functions().await?;
    host.child.stop().await?;
    let (host, mut counter) = callgrind::start(server, place, Mode::FromTheStart).await?;
    tokio::time::sleep(REST).await;
    let start = counter.functions().await?;
    let work = work(&host, place, &mut counter).await;
    let work = work.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await?;
    Ok(Seen { start, work, first })
}

async fn work(host: &Host, place: &Place, counter: &mut Counter) -> anyhow::Result<Vec<String>> {
    let core = host.host("read", Program::Expense.document()).await?;
    let flow = host.host("approval_flow", Program::Approval.document()).await?;
    for (name, path) in [
        ("module_list", "/v1/modules".to_owned()),
        ("core_get", format!("/v1/modules/scaicore/cores/{core}")),
        ("core_list", "/v1/modules/scaicore/cores".to_owned()),
    ] {
        let length = host.bytes_for(&host.target.key, &path).await?.len();
        let reading = Reading { name: name.to_owned(), path, keys: Rc::from([host.target.key.clone()]) };
        let clients = reads::clients(&host.target, &reading, &(length..=length), CLIENTS).await?;
        callgrind::operate(host, name, OPERATIONS, clients).await?;
    }
    let clients = flows::flows(host, Program::Approval, &flow, CLIENTS).await?;
    callgrind::operate(host, "approval_flow", OPERATIONS, clients).await?;
    let (stub, caller) = effects::prepare(host, place).await?;
    let clients = effects::flows(host, &caller, CLIENTS).await?;
    callgrind::operate(host, "effects", OPERATIONS, clients).await?;
    stub.stop().await?;
    counter.functions().await
}

/// Each name once, in the group in which it comes first.
fn grouped(seen: Vec<Seen>) -> Vec<String> {
    let (mut start, mut rest, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for one in seen {
        start.extend(one.start);
        rest.extend(one.work);
        last.extend(one.first);
    }
    let mut known = HashSet::new();
    let all = start.into_iter().chain(rest).chain(last);
    all.filter(|name| known.insert(name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_start_runs_comes_first() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let seen = |start, work, first| Seen { start: names(start), work: names(work), first: names(first) };
        let names_of_all = grouped(vec![
            seen("main open", "read open", "main migrate"),
            seen("main connect", "read write", "migrate connect"),
        ]);
        assert_eq!(names_of_all, names("main open connect read write migrate"));
    }
}
