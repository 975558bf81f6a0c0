//! Pages of lists of a tenant with many Cores and checkpoints, against the same pages of a tenant with few, one right after the
//! other.
//!
//! Both tenants are alike in what a page holds: of everything that a filter chooses there are as many among few as among many,
//! spread evenly from the oldest to the newest. So what differs is how much else there is to be passed over.

mod stock;

use std::rc::Rc;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::flows::Program;
use super::host::Host;
use super::reads::{self, Reading};
use super::{Bench, filling};
use crate::options::{Engine, Scenario};
use crate::report::{Load, LongList};
use crate::scratch::Place;
use stock::{Stock, Template};

/// Cores, and checkpoints, of the tenant that has few.
const FEW: u32 = 1_000;
/// Items on a page.
const PAGE: usize = 50;
/// Where the lists are.
const MODULE: &str = "/v1/modules/scaicore";

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Cores,
    Checkpoints,
}

/// The pages: what they are called, what they list, and how they are asked for. `CORES`, `ALL` and `INBOX` stand for cursors in
/// the middle of these lists, `ME` for the caller and `CORE` for a Core.
const PAGES: [(&str, Listed, &str); 15] = [
    ("cores", Listed::Cores, "/cores?"),
    ("cores, deep inside", Listed::Cores, "/cores?cursor=CORES&"),
    ("cores?status", Listed::Cores, "/cores?status=error&"),
    ("cores?q, most fit", Listed::Cores, "/cores?q=listed&"),
    ("cores?q, few fit", Listed::Cores, "/cores?q=needle&"),
    ("inbox", Listed::Checkpoints, "/checkpoints?"),
    ("inbox, deep inside", Listed::Checkpoints, "/checkpoints?cursor=INBOX&"),
    ("inbox?priority", Listed::Checkpoints, "/checkpoints?priority=critical&"),
    ("checkpoints", Listed::Checkpoints, "/checkpoints/all?"),
    ("checkpoints, deep inside", Listed::Checkpoints, "/checkpoints/all?cursor=ALL&"),
    ("checkpoints?status", Listed::Checkpoints, "/checkpoints/all?status=expired&"),
    ("checkpoints?status&assignee", Listed::Checkpoints, "/checkpoints/all?status=pending&assignee=user:ME&"),
    ("checkpoints?priority", Listed::Checkpoints, "/checkpoints/all?priority=critical&"),
    ("checkpoints?type", Listed::Checkpoints, "/checkpoints/all?type=rare&"),
    ("checkpoints?core_id", Listed::Checkpoints, "/checkpoints/all?core_id=CORE&"),
];

/// A server with a tenant whose lists are read.
struct Shelf {
    host: Host,
    place: Place,
    stock: Stock,
    /// What the words in the paths of pages stand for.
    words: Vec<(&'static str, String)>,
}

/// Measures, on two servers with a database each.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::LongLists) {
        return Ok(());
    }
    let few = Shelf::fill(bench, engine, Stock { cores: FEW, checkpoints: FEW }).await?;
    let stock = Stock { cores: bench.options.cores(), checkpoints: bench.options.checkpoints() };
    let many = Shelf::fill(bench, engine, stock).await?;
    for (name, listed, path) in PAGES {
        let short = few.read(bench, engine, (name, "few"), path).await?;
        let long = many.read(bench, engine, (name, "many"), path).await?;
        let row = LongList::of(engine, name, (few.stock.of(listed), &short), (many.stock.of(listed), &long));
        let mut report = bench.report.borrow_mut();
        report.loads.extend([short, long]);
        report.lists.push(row);
    }
    few.host.child.stop().await?;
    many.host.child.stop().await
}

impl Stock {
    fn of(self, listed: Listed) -> u32 {
        match listed {
            Listed::Cores => self.cores,
            Listed::Checkpoints => self.checkpoints,
        }
    }
}

impl Shelf {
    async fn fill(bench: &Bench<'_>, engine: Engine, stock: Stock) -> anyhow::Result<Self> {
        let place = bench.databases.fresh(engine).await?;
        let host = Host::start(&bench.server, &place).await?;
        let template = template(&host).await;
        let template = template.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
        host.child.stop().await?;
        let Stock { cores, checkpoints } = stock;
        eprintln!("a tenant of {cores} Cores and {checkpoints} checkpoints on {} …", engine.name());
        filling::run(&place, stock.statements(engine, &template)).await?;
        let host = Host::start(&bench.server, &place).await?;
        let words = vec![
            ("CORES", cursor(&host, &format!("/cores?status=error&limit={PAGE}")).await?),
            ("ALL", cursor(&host, &format!("/checkpoints/all?status=expired&limit={PAGE}")).await?),
            // Of what asks the caller there is twice as much as of the others.
            ("INBOX", cursor(&host, &format!("/checkpoints?limit={}", 2 * PAGE)).await?),
            ("ME", template.user),
            ("CORE", stock::core(0)),
        ];
        Ok(Self { host, place, stock, words })
    }

    /// Loads one page, with one client.
    async fn read(
        &self,
        bench: &Bench<'_>,
        engine: Engine,
        (name, of): (&str, &str),
        path: &str,
    ) -> anyhow::Result<Load> {
        let path = self.words.iter().fold(path.to_owned(), |path, (word, meaning)| {
            path.replace(&format!("={word}&"), &format!("={meaning}&"))
                .replace(&format!(":{word}&"), &format!(":{meaning}&"))
        });
        let path = format!("{MODULE}{path}limit={PAGE}");
        let key = &self.host.target.key;
        let body = self.host.bytes_for(key, &path).await?;
        let answer: Value = serde_json::from_slice(&body)?;
        let items = answer["data"]["items"].as_array().map(Vec::len);
        ensure!(items == Some(PAGE), "{path}: {items:?} items on a page, not {PAGE}");
        let reading = Reading { name: format!("{name} ({of})"), path, keys: Rc::from([key.clone()]) };
        let clients = reads::clients(&self.host.target, &reading, &(body.len()..=body.len()), 1).await?;
        let probe = self.host.probe(&self.place).await?;
        let load = bench.measure(&reading.name, Some(engine), clients, &probe).await;
        load.with_context(|| format!("the server's log:\n{}", self.host.child.tail()))
    }
}

/// Where a list goes on behind a page that ends in its middle.
async fn cursor(host: &Host, path: &str) -> anyhow::Result<String> {
    let path = format!("{MODULE}{path}");
    let answer: Value = serde_json::from_slice(&host.bytes_for(&host.target.key, &path).await?)?;
    let next = answer["pagination"]["next_cursor"].as_str();
    Ok(next.with_context(|| format!("{path} ends with its first page"))?.to_owned())
}

/// Has the server make one of each, which all others are like.
async fn template(host: &Host) -> anyhow::Result<Template> {
    let core = host.host("template", Program::Approval.document()).await?;
    let invocation =
        json!({"flow": "submit", "input": {"requester": "erin", "total": 2_001}, "wait_ms": 30_000});
    host.post(&format!("{MODULE}/cores/{core}/invoke"), &invocation).await?;
    let waiting = host.get(&format!("{MODULE}/checkpoints/all?status=pending")).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Template {
        checkpoint: text(&waiting["items"][0]["id"]).context("the flow has opened no checkpoint")?,
        core,
        user: text(&host.get("/v1/me").await?["user"]["id"]).context("who is calling?")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_name_of_its_own_and_room_for_a_limit() {
        for (number, (name, _, path)) in PAGES.iter().enumerate() {
            assert!(path.ends_with(['?', '&']), "{path}");
            assert!(PAGES[..number].iter().all(|(other, ..)| other != name), "{name}");
        }
    }
}
