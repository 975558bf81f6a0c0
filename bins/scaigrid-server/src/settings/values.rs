//! The forms that single values have. Errors are rules; they repeat a value only where it cannot be a secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use scaigrid_oidc::IssuerSettings;
use scaigrid_persistence::sealing::Vault;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

use super::secret::Secret;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(format!("expected pretty or json, got {text:?}")),
        }
    }
}

/// An address and a port; an address that is left out is the loopback.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        format!("expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, got {text:?}")
    })
}

/// A folder.
pub(super) fn folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("expected the path of a folder".to_owned());
    }
    Ok(text.into())
}

/// `true` or `false`.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("expected true or false, got {text:?}"))
}

/// A `redis://` URL.
pub(super) fn redis_url(text: &str) -> Result<Secret, String> {
    let Some(rest) = text.strip_prefix("redis://") else {
        return Err("must begin with redis://".to_owned());
    };
    if rest.is_empty() || rest.starts_with(['/', '?']) {
        return Err("the URL names no host".to_owned());
    }
    check_hosts(rest)?;
    Ok(Secret::new(text))
}

/// Master keys, separated by commas or white space.
pub(super) fn master_keys(text: &str) -> Result<Secret, String> {
    Vault::parse(text).map_err(|error| error.to_string())?;
    Ok(Secret::new(text))
}

/// Issuers whose tokens are believed.
pub(super) fn issuers(text: &str) -> Result<Vec<IssuerSettings>, String> {
    IssuerSettings::parse_list(text).map_err(|error| error.to_string())
}

/// An API key as the platform makes them.
pub(super) fn api_key(text: &str) -> Result<Secret, String> {
    match text.strip_prefix("sgk_") {
        Some(rest)
            if rest.len() >= 32 && rest.len() <= 128 && rest.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Ok(Secret::new(text))
        }
        _ => Err("expected sgk_ and 32 to 128 letters and digits (A-Z a-z 0-9)".to_owned()),
    }
}

/// A number of days.
pub(super) fn days(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(days @ 1..=36500) => Ok(Duration::from_hours(days * 24)),
        _ => Err(format!("expected a number of days from 1 to 36500, got {text:?}")),
    }
}

/// A number of entries.
pub(super) fn entries(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(entries @ 1..=1_000_000_000) => Ok(entries),
        _ => Err(format!("expected a number from 1 to 1000000000, got {text:?}")),
    }
}

/// A number of entries of a journal.
pub(super) fn journal_entries(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(entries @ 1_000..=1_000_000_000) => Ok(entries),
        _ => Err(format!("expected a number from 1000 to 1000000000, got {text:?}")),
    }
}

/// A number of seconds, up to an hour.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("expected a number of seconds from 1 to 3600, got {text:?}")),
    }
}

/// An `https://` or `http://` URL of a server, perhaps with a path.
pub(super) fn public_url(text: &str) -> Result<Url, String> {
    let rule = || "expected an http or https URL without credentials, query and fragment".to_owned();
    let url = Url::parse(text).map_err(|_| rule())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(url) } else { Err(rule()) }
}

/// Directives of a log filter.
///
/// The filter's own parser takes a misspelt level for the name of a target, and then logs next to nothing; so a
/// directive that names no level must be one.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let rule = || {
        format!("expected a level (error, warn, info, debug, trace, off) or target=level pairs, got {text:?}")
    };
    let bare = |directive: &&str| !directive.contains(['=', '[', ']', '{', '}', '"']);
    let misspelt = text.split(',').filter(bare).any(|word| word.trim().parse::<LevelFilter>().is_err());
    if misspelt || EnvFilter::try_new(text).is_err() {
        return Err(rule());
    }
    Ok(text.to_owned())
}

/// Checks the part of a URL after `scheme://`: hosts with ports that are numbers. Clients take several hosts
/// (`a:5432,b:5432`), which general URL parsers refuse, and a socket's folder as a parameter instead of a host.
pub(super) fn check_hosts(rest: &str) -> Result<(), String> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, beyond) = rest.split_at(end);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if hosts.is_empty() {
        let elsewhere = beyond.contains("?host=") || beyond.contains("&host=");
        return if elsewhere { Ok(()) } else { Err("the URL names no host".to_owned()) };
    }
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, after)) => {
                (name, after.strip_prefix(':').or_else(|| after.is_empty().then_some("1")))
            }
            None => host.split_once(':').map_or((host, Some("1")), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("the URL names no host".to_owned());
        }
        if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err("the URL's port must be a number from 1 to 65535".to_owned());
        }
    }
    Ok(())
}
