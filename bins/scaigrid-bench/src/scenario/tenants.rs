//! A platform of many tenants: reads by one of them and by all, and changes of a module's configuration.

use std::rc::Rc;

use anyhow::{Context as _, ensure};

use super::host::Host;
use super::reads::{self, Reading};
use super::{Bench, crowd, writes};
use crate::options::{Engine, Scenario};

/// Measures what was asked for on one server with all the tenants.
pub(crate) async fn measure(bench: &Bench<'_>, engine: Engine) -> anyhow::Result<()> {
    let (reads, writes) = (Scenario::ManyTenants, Scenario::ConfigPut);
    if !bench.options.wants(reads) && !bench.options.wants(writes) {
        return Ok(());
    }
    let tenants = bench.options.tenants();
    let place = bench.databases.fresh(engine).await?;
    let host = Host::start(&bench.server, &place).await?;
    let modules = host.modules().await?;
    host.child.stop().await?;
    eprintln!("{tenants} tenants × {} modules on {} …", modules.len(), engine.name());
    let keys = crowd::fill(&place, tenants, &modules).await?;
    ensure!(modules.iter().any(|module| module == writes::MODULE), "there is no module {}", writes::MODULE);
    let host = Host::start(&bench.server, &place).await?;
    let measured = async {
        let one: Rc<[String]> = keys.iter().take(1).cloned().collect();
        let all: Rc<[String]> = keys.into();
        if bench.options.wants(reads) {
            for (name, path) in [("module_list", "/v1/modules"), ("module_get", "/v1/modules/scaicore")] {
                for (callers, keys) in [("one", &one), ("all", &all)] {
                    let name = format!("{name}/{callers}_of_{tenants}");
                    let reading = Reading { name, path: path.to_owned(), keys: Rc::clone(keys) };
                    reads::one(bench, engine, &host, &place, &reading).await?;
                }
            }
        }
        if bench.options.wants(writes) {
            writes::measure(bench, engine, &host, &place, &one, "config_put/one_tenant").await?;
            writes::measure(bench, engine, &host, &place, &all, "config_put/many_tenants").await?;
        }
        anyhow::Ok(())
    };
    measured.await.with_context(|| format!("the server's log:\n{}", host.child.tail()))?;
    host.child.stop().await
}
