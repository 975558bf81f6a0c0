//! Looking after remote modules: each is asked now and then how it is, and what it says counts on this node, which knows
//! best what it can reach itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use http::Request;
use http::header::USER_AGENT;
use metrics::gauge;
use scaigrid_modules::{Health, ModuleId, ModuleKind, Watch, below};
use scaigrid_outbound::{Limits, SendError};
use tokio::task::JoinSet;
use url::Url;

use crate::App;

/// What an answer may cost: nobody reads what a module says of itself.
const LIMITS: Limits = Limits { time: Duration::from_secs(3), body: 0 };
/// What the platform calls itself.
const AGENT: &str = concat!("scaigrid/", env!("CARGO_PKG_VERSION"), " (health)");

/// How the remote modules are, as this node has seen them.
#[derive(Default)]
pub(crate) struct ModuleHealth(Mutex<BTreeMap<ModuleId, Watch>>);

impl ModuleHealth {
    /// How a module was when it was last looked at.
    pub(crate) fn of(&self, id: &ModuleId) -> Health {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(id).map_or(Health::Well, |watch| watch.health().clone())
    }

    /// How many modules have failed.
    pub(crate) fn failing(&self) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().filter(|watch| *watch.health() != Health::Well).count()
    }
}

impl App {
    /// Looks after all remote modules, for as long as the process lives.
    #[boxed]
    pub async fn probe_modules(&self, every: Duration) {
        let mut probing = JoinSet::new();
        for manifest in self.0.catalogue.iter() {
            let ModuleKind::Remote { endpoint, health_path } = &manifest.kind else { continue };
            let path = health_path.strip_prefix('/').unwrap_or(health_path);
            // The manifest's own rule is the stricter one.
            let Ok(Ok(url)) = below(endpoint, path, None).map(|url| Url::parse(&url)) else {
                tracing::error!(module = %manifest.module_id, "the health path cannot be asked");
                continue;
            };
            let (app, id) = (self.clone(), manifest.module_id.clone());
            probing.spawn(async move { app.probe(&id, &url, every).await });
        }
        while probing.join_next().await.is_some() {}
    }

    async fn probe(&self, id: &ModuleId, url: &Url, every: Duration) {
        // Nodes that start together do not ask together.
        tokio::time::sleep(every.mul_f64(rand::random_range(0.0..0.5))).await;
        loop {
            let found = self.look_at(url).await;
            self.seen(id, found.as_ref().copied().map_err(String::as_str));
            tokio::time::sleep(every.mul_f64(rand::random_range(0.9..1.1))).await;
        }
    }

    /// Asks once. What is wrong is told without addresses, since every tenant may read it.
    async fn look_at(&self, url: &Url) -> Result<(), String> {
        let request = Request::get("/").header(USER_AGENT, AGENT).body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        match self.0.outbound.send(url, request, LIMITS).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("Its health check was answered with {}", answer.status.as_u16())),
            Err(SendError::TimedOut) => Err("Its health check was not answered in time".to_owned()),
            Err(SendError::Refused(refusal)) => Err(format!("It may not be called: {refusal}")),
            Err(error @ (SendError::Failed(_) | SendError::Body(_))) => {
                tracing::debug!(%error, "a module cannot be reached");
                Err("It cannot be reached".to_owned())
            }
        }
    }

    fn seen(&self, id: &ModuleId, found: Result<(), &str>) {
        let changed = {
            let mut seen = self.0.health.0.lock().unwrap_or_else(PoisonError::into_inner);
            let watch = seen.entry(id.clone()).or_default();
            let changed = watch.see(found, self.now());
            gauge!("scaigrid_module_up", "module" => id.to_string())
                .set(i32::from(*watch.health() == Health::Well));
            changed
        };
        if !changed {
            return;
        }
        // Other nodes see for themselves.
        self.0.caches.states.forget_all();
        match found {
            Ok(()) => tracing::info!(module = %id, "the module is well again"),
            Err(reason) => tracing::warn!(module = %id, reason, "the module has failed"),
        }
    }
}
