//! Reading what a plugin offers, for those who register it.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use http::HeaderMap;
use scaigrid_cores::Environment;
use scaigrid_cores::FieldProblem;
use scaigrid_cores::plugins::{Credentials, Endpoint, Manifest, PluginKind};
use scaigrid_outbound::plugins::mcp::{Greeting, Session};
use scaigrid_outbound::plugins::{CallFault, Fault, Limits, openapi};

use super::known::unusable_schemas;
use super::{Plugins, show};

/// How much reading may cost.
const LIMITS: Limits = Limits { time: Duration::from_secs(20), body: 8 * 1024 * 1024 };

/// Why it cannot be told what a plugin offers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// It may not be called.
    #[error("{0}")]
    Denied(String),
    /// It does not answer, or not with what it should.
    #[error("{0}")]
    Unreachable(String),
}

impl From<CallFault> for ReadFault {
    fn from(CallFault { fault, .. }: CallFault) -> Self {
        match fault {
            Fault::Refused(refusal) => Self::Denied(refusal.to_string()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

impl Plugins {
    /// Reads what a plugin offers from its endpoint; nothing for one that does not tell it. Credentials that need the
    /// environment of a Core are not shown: there is none here.
    ///
    /// # Errors
    /// Why it cannot be told.
    #[boxed]
    pub async fn read(
        &self,
        kind: PluginKind,
        endpoint: &Endpoint,
        credentials: Option<&Credentials>,
    ) -> Result<Option<Manifest>, ReadFault> {
        let mut headers = HeaderMap::new();
        let known = credentials.filter(|credentials| !credentials.refers());
        if let Some(Ok(credentials)) = known.map(|credentials| credentials.resolve(&Environment::default())) {
            show(&mut headers, &credentials)
                .ok_or_else(|| ReadFault::Unreachable("its credentials cannot be a header".to_owned()))?;
        }
        let (client, url) = (&self.0.outbound, endpoint.url());
        let read = match kind {
            PluginKind::Http => return Ok(None),
            PluginKind::OpenApi => openapi::manifest(client, url, &headers, LIMITS).await?,
            PluginKind::Mcp => self.read_tools(url, &headers, None).await?.0,
        };
        usable(read).map(Some)
    }

    pub(super) async fn read_tools(
        &self,
        url: &url::Url,
        headers: &HeaderMap,
        greeting: Option<Greeting>,
    ) -> Result<(Manifest, Greeting), CallFault> {
        let session = Session::begin(&self.0.outbound, url, headers, LIMITS, greeting).await?;
        Ok((session.manifest().await?, session.greeting()))
    }

    /// What is wrong with the schemas of a manifest that somebody gives.
    ///
    /// # Errors
    /// Every schema that is none, by field.
    pub fn check_manifest(manifest: &Manifest, at: &str) -> Result<(), Vec<FieldProblem>> {
        let wrong = unusable_schemas(manifest.methods());
        let problems: Vec<FieldProblem> = wrong
            .into_iter()
            .map(|(position, (name, problem))| {
                FieldProblem::new(format!("{at}.methods[{position}].{name}"), problem)
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// What can be called of what was read: methods whose schemas are none are left out, with the reason.
pub(super) fn usable(read: Manifest) -> Result<Manifest, ReadFault> {
    let wrong = unusable_schemas(read.methods());
    if wrong.is_empty() {
        return Ok(read);
    }
    let told = wrong.iter().map(|(position, (name, problem))| {
        let text = format!("{}: its {name} {problem}", read.methods()[*position].name);
        text.chars().take(500).collect::<String>().into_boxed_str()
    });
    let left_out: Vec<Box<str>> = read.left_out().map(Box::from).chain(told).collect();
    let good = |(position, method): (usize, &scaigrid_cores::plugins::Method)| {
        (!wrong.contains_key(&position)).then(|| method.clone())
    };
    let methods = read.methods().iter().enumerate().filter_map(good).collect();
    let manifest = Manifest::of(read.version(), methods, "manifest").map_err(|_| {
        ReadFault::Unreachable("a method that others need has schemas that are none".to_owned())
    })?;
    Ok(manifest.with_hosts(read.hosts().map(Box::from).collect::<Vec<_>>()).with_left_out(left_out))
}
