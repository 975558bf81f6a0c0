//! What an operator decides: the command and the settings of one start of the server.
//!
//! A setting comes from a flag, else from a `SCAIGRID_*` variable, else from `scaigrid.toml`, else from its default.
//! Everything is parsed here, before anything opens or listens, so that the rest of the server holds typed values; a
//! bad setting is one line that names where it came from and the rule that it breaks. This module makes no folders,
//! opens no connections and generates no keys.

mod admin;
mod catalog;
mod command;
mod database;
mod objects;
mod refusal;
mod secret;
mod sources;
mod values;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use scaigrid_app::modules::RemoteSettings;
use scaigrid_http::limits::RateLimits;
use scaigrid_oidc::IssuerSettings;
use scaigrid_outbound::AllowList;
use scaigrid_outbound::mail::Mailer;
use scaigrid_persistence::DatabaseUrl;
use scaigrid_storage::StoreSettings;
use scaigrid_telemetry::Config as TraceConfig;

pub use self::admin::{
    AdminTask, AuditTask, CheckpointTask, CoreTask, GroupTask, KeyTask, ModuleTask, PartnerTask, RoleTask,
    SecretsTask, TenantTask, UserTask, WebhookTask,
};
pub use self::command::Command;
pub use self::refusal::Refusal;
pub use self::secret::Secret;
pub use self::values::LogFormat;

use self::sources::Sources;

/// The settings of a server. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address to listen on; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Where the metrics alone are served; none serves them with everything else.
    pub metrics_bind: Option<SocketAddr>,
    /// Where the embedded database and generated keys are.
    pub data_dir: PathBuf,
    /// The database.
    pub database: DatabaseUrl,
    /// Where objects are kept.
    pub objects: StoreSettings,
    /// The Redis that several nodes share, a `redis://` URL; none keeps events and limits in the process.
    pub redis_url: Option<Secret>,
    /// The keys that secrets at rest stand under, as `Vault::parse` reads them; none means that one is generated.
    pub master_key: Option<Secret>,
    /// The API key of the first super admin, well-formed; none means that one is generated.
    pub bootstrap_key: Option<Secret>,
    /// Where further modules' manifests are.
    pub modules_dir: Option<PathBuf>,
    /// How often remote modules are asked how they are.
    pub module_probe_interval: Duration,
    /// How remote modules are called.
    pub remote: RemoteSettings,
    /// The server that mail goes through and its sender, as `Mailer::new` takes them; none sends no mail.
    pub mail: Option<(Secret, String)>,
    /// The issuers whose tokens are believed.
    pub oidc_issuers: Vec<IssuerSettings>,
    /// Requests per minute; none switches the limits off.
    pub rate_limits: Option<RateLimits>,
    /// Where tenants may have calls go although it is not public.
    pub egress_allow: AllowList,
    /// How long audit records are kept; none keeps them for ever.
    pub audit_retention: Option<Duration>,
    /// The most entries that a variable of a Core's memory has, in each instance.
    pub memory_entries: u64,
    /// How many executions of a tenant may be waiting to run.
    pub max_queued_executions: u64,
    /// How long executions that have ended are kept at most; none keeps them for ever.
    pub execution_retention: Option<Duration>,
    /// How many of the last entries of its journal an execution keeps at least.
    pub journal_entries: u64,
    /// What is logged: directives that `tracing_subscriber::EnvFilter` takes.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// How traces are recorded; none switches them off. From the variables of OpenTelemetry's specification.
    pub traces: Option<TraceConfig>,
}

/// One start of the program: what it shall do, and with what settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// With what.
    pub settings: Settings,
    /// What looks like a setting and is none, a line each: to be said once there is a log.
    pub warnings: Vec<String>,
}

/// Why the program ends before it has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or the version was asked for; this is the text.
    Help(String),
    /// The command line or a setting is wrong.
    Refused(Refusal),
}

impl Stop {
    /// Prints it where it belongs and gives the exit code: 0 for help, 2 for a refusal.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Help(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Self::Refused(refusal) => {
                eprintln!("{refusal}");
                ExitCode::from(2)
            }
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the settings are read from, apart from the command line.
pub struct Surroundings<'a> {
    /// The value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The names of all variables.
    pub names: &'a dyn Fn() -> Vec<OsString>,
    /// The text of a file; relative paths start at the working folder.
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            variable: &|name| std::env::var_os(name),
            names: &|| std::env::vars_os().map(|(name, _)| name).collect(),
            file: &|path| std::fs::read_to_string(path),
        }
    }
}

/// Reads the command line (the program's name first), the variables and the file.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Invocation, Stop> {
    let (mut command, flags) = command::parse(arguments)?;
    if let Command::Admin { key, .. } = &mut command {
        *key = admin::key(key.take(), surroundings)?;
    }
    let sources = Sources::gather(flags, surroundings)?;
    let mut settings = Settings::read(&sources)?;
    settings.traces = TraceConfig::of(&|name| (surroundings.variable)(name)?.into_string().ok())
        .map_err(|error| Refusal::new(error.variable(), error.rule().to_owned()))?;
    Ok(Invocation { command, settings, warnings: sources::unknown_variables(surroundings) })
}

impl Settings {
    fn read(sources: &Sources) -> Result<Self, Refusal> {
        let data_dir = sources.required(&catalog::DATA_DIR, values::folder)?;
        let database = match sources.optional(&catalog::DATABASE_URL, database::parse)? {
            Some(url) => url,
            None => DatabaseUrl::Sqlite(data_dir.join("scaigrid.db")),
        };
        let objects = objects::read(sources, &data_dir)?;
        Ok(Self {
            objects,
            bind: sources.required(&catalog::BIND, values::address)?,
            metrics_bind: sources.optional(&catalog::METRICS_BIND, values::address)?,
            data_dir,
            database,
            redis_url: sources.optional(&catalog::REDIS_URL, values::redis_url)?,
            master_key: sources.optional(&catalog::MASTER_KEY, values::master_keys)?,
            bootstrap_key: sources.optional(&catalog::BOOTSTRAP_KEY, values::api_key)?,
            modules_dir: sources.optional(&catalog::MODULES_DIR, values::folder)?,
            module_probe_interval: sources.required(&catalog::MODULE_PROBE_INTERVAL, values::seconds)?,
            remote: RemoteSettings {
                patience: sources.required(&catalog::MODULE_TIMEOUT, values::seconds)?,
                public_url: sources.optional(&catalog::PUBLIC_URL, values::public_url)?,
            },
            mail: mail(sources)?,
            oidc_issuers: sources.optional(&catalog::OIDC_ISSUERS, values::issuers)?.unwrap_or_default(),
            rate_limits: match sources.optional(&catalog::RATE_LIMITS, |text| {
                RateLimits::parse(text).map_err(|error| error.to_string())
            })? {
                Some(limits) => limits,
                None => Some(RateLimits::default()),
            },
            egress_allow: sources
                .optional(&catalog::EGRESS_ALLOW, |text| {
                    text.parse::<AllowList>().map_err(|error| error.to_string())
                })?
                .unwrap_or_default()
                .and_own_networks(sources.required(&catalog::EGRESS_ALLOW_PRIVATE, values::yes_or_no)?),
            audit_retention: sources.optional(&catalog::AUDIT_RETENTION_DAYS, values::days)?,
            memory_entries: sources.required(&catalog::MEMORY_ENTRIES, values::entries)?,
            max_queued_executions: sources.required(&catalog::MAX_QUEUED_EXECUTIONS, values::entries)?,
            execution_retention: sources.optional(&catalog::EXECUTION_RETENTION_DAYS, values::days)?,
            journal_entries: sources.required(&catalog::JOURNAL_ENTRIES, values::journal_entries)?,
            log: sources.required(&catalog::LOG, values::log_filter)?,
            traces: None,
            log_format: sources.required(&catalog::LOG_FORMAT, LogFormat::parse)?,
        })
    }
}

/// Mail, where both of what it takes are given.
fn mail(sources: &Sources) -> Result<Option<(Secret, String)>, Refusal> {
    let from = sources.optional(&catalog::SMTP_FROM, |text| {
        Mailer::new("smtp://localhost", text).map(|_| text.to_owned())
    })?;
    let url = sources.optional(&catalog::SMTP_URL, |text| {
        if from.is_none() {
            return Err("SCAIGRID_SMTP_FROM must be given too".to_owned());
        }
        Mailer::new(text, "scaigrid@localhost.localdomain").map(|_| Secret::new(text))
    })?;
    Ok(url.zip(from))
}

#[cfg(test)]
mod tests;
