//! The floor of reads for which the database must be asked: a bare handler over diesel-async that reads the same rows of the server's own
//! database.

use std::ops::RangeInclusive;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::PAGE;
use crate::child::Child;
use crate::client::{Connection, Target};
use crate::probe::Probe;
use crate::scenario;
use crate::scratch::Place;

/// The floor, while a server runs on the same database.
pub(super) struct Selected {
    child: Child,
    /// Whom its clients ask.
    pub(super) target: Target,
    /// What it costs.
    pub(super) probe: Probe,
    /// How long its answers are.
    pub(super) length: RangeInclusive<usize>,
}

impl Selected {
    /// Starts it for a page of Cores that the server has answered so. An error if it tells of other Cores, or much more or less.
    pub(super) async fn start(place: &Place, page: &[u8]) -> anyhow::Result<Self> {
        let tenant = tenant(page)?;
        let limit = PAGE.to_string();
        let variables = vec![("SCAIGRID_BENCH_FLOOR_DATABASE", place.url.clone())];
        let arguments = ["floor-select", "--tenant", &tenant, "--limit", &limit];
        let child = scenario::bare(place.folder(), &arguments, variables, "floor_select.log").await?;
        let target = Target { address: child.address, key: String::new() };
        let mut request = Vec::new();
        target.get(&mut request, "/");
        let mut connection = Connection::open(target.address).await?;
        let answer = connection.exchange(&request).await?.expect(200).context("floor_select")?;
        ensure!(
            alike(answer.body.len(), page.len()),
            "floor_select answers with {} bytes, the server with {}: {}",
            answer.body.len(),
            page.len(),
            answer.excerpt()
        );
        ensure!(ids(answer.body)? == ids(page)?, "floor_select has other Cores: {}", answer.excerpt());
        let length = answer.body.len()..=answer.body.len();
        let probe = Probe::new(child.pid, place.counters().await?);
        Ok(Self { child, target, probe, length })
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.child.stop().await
    }
}

/// Whether an answer is as long as another one, give or take a quarter of that.
fn alike(own: usize, other: usize) -> bool {
    own.abs_diff(other).saturating_mul(4) <= other
}

/// Whose Cores a page has.
fn tenant(page: &[u8]) -> anyhow::Result<String> {
    let page: Value = serde_json::from_slice(page)?;
    let tenant = page["data"]["items"][0]["tenant_id"].as_str();
    tenant.map(str::to_owned).context("a page without a Core of a tenant")
}

/// Which Cores a page has.
fn ids(page: &[u8]) -> anyhow::Result<Vec<String>> {
    let page: Value = serde_json::from_slice(page)?;
    let items = page["data"]["items"].as_array().context("a page without items")?.iter();
    items.map(|core| core["id"].as_str().map(str::to_owned).context("a Core without an id")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_or_less_is_alike() {
        assert!(alike(100, 100) && alike(75, 100) && alike(125, 100));
        assert!(!alike(74, 100) && !alike(126, 100) && !alike(0, 1));
    }

    #[test]
    fn a_page_tells_whose_cores_it_has() {
        let page =
            br#"{"status":"ok","data":{"items":[{"id":"b","tenant_id":"t"},{"id":"a","tenant_id":"t"}]}}"#;
        assert_eq!(tenant(page).unwrap(), "t");
        assert_eq!(ids(page).unwrap(), ["b", "a"]);
        assert!(tenant(br#"{"data":{"items":[]}}"#).is_err());
    }
}
