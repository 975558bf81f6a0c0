//! Every setting there is: its name, default and meaning. Flags, variables, keys of the file and `--help` come from
//! this list.

/// A setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its key in `scaigrid.toml`; the variable follows from it.
    pub(super) key: &'static str,
    /// Its flag without the dashes before it: the key with hyphens.
    pub(super) flag: &'static str,
    /// The default as a value, where it is one.
    pub(super) default: Option<&'static str>,
    /// The default as `--help` shows it.
    pub(super) default_text: &'static str,
    /// One line for `--help`.
    pub(super) meaning: &'static str,
}

impl Setting {
    /// `bind` is `SCAIGRID_BIND`.
    pub(super) fn variable(&self) -> String {
        variable(self.key)
    }
}

/// What the names of all our variables begin with.
pub(super) const PREFIX: &str = "SCAIGRID_";

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

const fn plain(
    key: &'static str,
    flag: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, flag, default: Some(default), default_text: default, meaning }
}

const fn derived(
    key: &'static str,
    flag: &'static str,
    default_text: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { key, flag, default: None, default_text, meaning }
}

pub(super) const BIND: Setting =
    plain("bind", "bind", "127.0.0.1:8080", "Address to listen on; port 0 picks a free one and prints it");
pub(super) const METRICS_BIND: Setting = derived(
    "metrics_bind",
    "metrics-bind",
    "none: /metrics is on the address of the API",
    "Address on which /metrics alone is served, and then nowhere else",
);
pub(super) const DATA_DIR: Setting = plain(
    "data_dir",
    "data-dir",
    "./data",
    "Folder of the embedded database, of objects and of generated keys",
);
pub(super) const DATABASE_URL: Setting = derived(
    "database_url",
    "database-url",
    "sqlite://$DATA_DIR/scaigrid.db",
    "Database: sqlite://PATH or postgres://…",
);
pub(super) const OBJECT_STORE: Setting = derived(
    "object_store",
    "object-store",
    "file://$DATA_DIR/objects",
    "Where large values and files are kept: file://FOLDER or s3://BUCKET[/PREFIX]",
);
pub(super) const S3_ENDPOINT: Setting = derived(
    "s3_endpoint",
    "s3-endpoint",
    "that of AWS in the region",
    "Address of the S3 store: http://HOST:PORT or https://HOST[:PORT]",
);
pub(super) const S3_REGION: Setting =
    plain("s3_region", "s3-region", "us-east-1", "Region that requests to the S3 store are signed for");
pub(super) const S3_ACCESS_KEY_ID: Setting = derived(
    "s3_access_key_id",
    "s3-access-key-id",
    "the usual chain of AWS",
    "Access key of the S3 store; goes with its secret key",
);
pub(super) const S3_SECRET_ACCESS_KEY: Setting = derived(
    "s3_secret_access_key",
    "s3-secret-access-key",
    "the usual chain of AWS",
    "Secret key of the S3 store",
);
pub(super) const REDIS_URL: Setting = derived(
    "redis_url",
    "redis-url",
    "none: in-process",
    "Redis by which several nodes tell each other of changes and count rate limits together: redis://…",
);
pub(super) const MASTER_KEY: Setting = derived(
    "master_key",
    "master-key",
    "generated, $DATA_DIR/master.key",
    "Root of the encryption of secrets: 32 bytes in base64; several for rotation, the first seals",
);
pub(super) const BOOTSTRAP_KEY: Setting = derived(
    "bootstrap_key",
    "bootstrap-key",
    "generated",
    "API key of the first super admin: sgk_ and 32 to 128 of A-Z a-z 0-9",
);
pub(super) const MODULES_DIR: Setting = derived(
    "modules_dir",
    "modules-dir",
    "none",
    "Folder of further modules' manifests: <module_id>.json or .toml",
);
pub(super) const MODULE_PROBE_INTERVAL: Setting = plain(
    "module_probe_interval",
    "module-probe-interval",
    "5",
    "How often a remote module is asked how it is, in seconds: 1 to 3600",
);
pub(super) const MODULE_TIMEOUT: Setting = plain(
    "module_timeout",
    "module-timeout",
    "60",
    "How long a remote module may take to begin its answer, in seconds: 1 to 3600; five times that between two pieces",
);
pub(super) const PUBLIC_URL: Setting = derived(
    "public_url",
    "public-url",
    "none: tokens are signed as scaigrid",
    "Address at which people and modules find the platform: https://…",
);
pub(super) const SMTP_URL: Setting = derived(
    "smtp_url",
    "smtp-url",
    "none: no mail is sent",
    "Server that mail about checkpoints goes through: smtp://[USER:PASSWORD@]HOST[:PORT][?tls=required] or smtps://…",
);
pub(super) const SMTP_FROM: Setting = derived(
    "smtp_from",
    "smtp-from",
    "none; goes with smtp-url",
    "Sender of mail: ADDRESS or NAME <ADDRESS>",
);
pub(super) const OIDC_ISSUERS: Setting = derived(
    "oidc_issuers",
    "oidc-issuers",
    "none",
    "Issuers whose tokens are believed: URL audience=NAME [jwks=URL] [tenant=TENANT] [roles=ROLE,…] …; several with ;",
);
pub(super) const RATE_LIMITS: Setting = derived(
    "rate_limits",
    "rate-limits",
    "key=1200,user=2400,tenant=20000,partner=100000,address=1200",
    "Requests per minute, or off; levels that are left out keep their default",
);
pub(super) const EGRESS_ALLOW: Setting = derived(
    "egress_allow",
    "egress-allow",
    "none",
    "Targets that tenants may have called though they are not public: hosts, *.suffix, networks, each with :PORT or not",
);
pub(super) const EGRESS_ALLOW_PRIVATE: Setting = plain(
    "egress_allow_private",
    "egress-allow-private",
    "false",
    "Whether tenants may have loopback, link-local and private addresses called",
);
pub(super) const AUDIT_RETENTION_DAYS: Setting = derived(
    "audit_retention_days",
    "audit-retention-days",
    "for ever",
    "How many days audit records are kept: 1 to 36500",
);
pub(super) const MEMORY_ENTRIES: Setting = plain(
    "memory_entries",
    "memory-entries",
    "1000000",
    "How many entries a variable of a Core's memory has at most, in each instance: 1 to 1000000000",
);
pub(super) const MAX_QUEUED_EXECUTIONS: Setting = plain(
    "max_queued_executions",
    "max-queued-executions",
    "100000",
    "How many executions of a tenant may be waiting to run: 1 to 1000000000; a tenant's own limit may be lower",
);
pub(super) const EXECUTION_RETENTION_DAYS: Setting = derived(
    "execution_retention_days",
    "execution-retention-days",
    "for ever",
    "How many days executions that have ended are kept at most: 1 to 36500; a tenant's own limit may be lower",
);
pub(super) const JOURNAL_ENTRIES: Setting = plain(
    "journal_entries",
    "journal-entries",
    "50000",
    "How many of the last entries of its journal an execution keeps at least: 1000 to 1000000000",
);
pub(super) const LOG: Setting = plain("log", "log", "info", "What is logged: a level, or target=level pairs");
pub(super) const LOG_FORMAT: Setting =
    plain("log_format", "log-format", "pretty", "How it is logged: pretty or json");

/// The settings of this version.
pub(super) const SETTINGS: [&Setting; 29] = [
    &BIND,
    &METRICS_BIND,
    &DATA_DIR,
    &DATABASE_URL,
    &OBJECT_STORE,
    &S3_ENDPOINT,
    &S3_REGION,
    &S3_ACCESS_KEY_ID,
    &S3_SECRET_ACCESS_KEY,
    &REDIS_URL,
    &MASTER_KEY,
    &BOOTSTRAP_KEY,
    &MODULES_DIR,
    &MODULE_PROBE_INTERVAL,
    &MODULE_TIMEOUT,
    &PUBLIC_URL,
    &SMTP_URL,
    &SMTP_FROM,
    &OIDC_ISSUERS,
    &RATE_LIMITS,
    &EGRESS_ALLOW,
    &EGRESS_ALLOW_PRIVATE,
    &AUDIT_RETENTION_DAYS,
    &MEMORY_ENTRIES,
    &MAX_QUEUED_EXECUTIONS,
    &EXECUTION_RETENTION_DAYS,
    &JOURNAL_ENTRIES,
    &LOG,
    &LOG_FORMAT,
];

/// The key of the flag and the variable that name the file itself.
pub(super) const CONFIG: &str = "config";

/// The key of the variable that names the API key of administrative tasks.
pub(super) const ADMIN_KEY: &str = "admin_key";
