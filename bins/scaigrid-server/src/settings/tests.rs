use std::collections::BTreeMap;

use super::*;

/// What a start answers for arguments, variables and files.
fn start(arguments: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Invocation, Stop> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let surroundings = Surroundings {
        variable: &|name| variables.get(name).map(OsString::from),
        names: &|| variables.keys().map(OsString::from).collect(),
        file: &|path| {
            let text = path.to_str().and_then(|path| files.get(path));
            text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        },
    };
    load(["scaigrid-server"].iter().chain(arguments).map(OsString::from), &surroundings)
}

fn settings(arguments: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Settings {
    start(arguments, variables, files).unwrap().settings
}

fn refusal(arguments: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    match start(arguments, variables, files) {
        Err(Stop::Refused(refusal)) => {
            let line = refusal.to_string();
            assert!(!line.contains('\n'), "{line:?}");
            line
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_bare_start_serves_on_the_defaults() {
    let invocation = start(&[], &[], &[]).unwrap();
    assert_eq!(invocation.command, Command::Serve);
    assert_eq!(
        invocation.settings,
        Settings {
            bind: "127.0.0.1:8080".parse().unwrap(),
            data_dir: "./data".into(),
            database: DatabaseUrl::Sqlite("./data/scaigrid.db".into()),
            objects: StoreSettings::Files("./data/objects".into()),
            redis_url: None,
            master_key: None,
            bootstrap_key: None,
            modules_dir: None,
            module_probe_interval: Duration::from_secs(5),
            remote: RemoteSettings::default(),
            mail: None,
            oidc_issuers: Vec::new(),
            rate_limits: Some(RateLimits::default()),
            egress_allow: AllowList::default(),
            audit_retention: None,
            memory_entries: 1_000_000,
            metrics_bind: None,
            traces: None,
            max_queued_executions: 100_000,
            execution_retention: None,
            journal_entries: 50_000,
            log: "info".to_owned(),
            log_format: LogFormat::Pretty,
        }
    );
    assert_eq!(RateLimits::parse(catalog::RATE_LIMITS.default_text), Ok(Some(RateLimits::default())));
}

#[test]
fn what_may_be_called_is_an_operators_word() {
    let given = settings(
        &["serve", "--egress-allow-private", "true"],
        &[("SCAIGRID_EGRESS_ALLOW", "model.lan:8000, 10.1.0.0/16 *.corp.example")],
        &[],
    );
    let expected: AllowList = "model.lan:8000 10.1.0.0/16 *.corp.example".parse().unwrap();
    assert_eq!(given.egress_allow, expected.and_own_networks(true));
    for (name, value) in
        [("SCAIGRID_EGRESS_ALLOW", "http://model.lan"), ("SCAIGRID_EGRESS_ALLOW_PRIVATE", "maybe")]
    {
        let Err(Stop::Refused(refusal)) = start(&[], &[(name, value)], &[]) else { panic!("{value}") };
        assert!(refusal.to_string().starts_with(name), "{refusal}");
    }
}

#[test]
fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
    let file = [("scaigrid.toml", "bind = '127.0.0.1:1'\nlog = 'warn'\ndata_dir = '/file'")];
    let variables = [("SCAIGRID_BIND", "127.0.0.1:2"), ("SCAIGRID_LOG", "debug")];
    let all = settings(&["serve", "--bind", "127.0.0.1:3"], &variables, &file);
    assert_eq!((all.bind.port(), all.log.as_str()), (3, "debug"));
    assert_eq!(all.database, DatabaseUrl::Sqlite("/file/scaigrid.db".into()));
    assert_eq!(settings(&["--bind", "127.0.0.1:3", "migrate"], &variables, &file).bind.port(), 3);
    assert_eq!(settings(&[], &variables, &file).bind.port(), 2);
    assert_eq!(settings(&[], &[("SCAIGRID_BIND", "")], &file).bind.port(), 1);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let files = [("scaigrid.toml", "log = 'warn'"), ("/etc/grid.toml", "log = 'error'")];
    assert_eq!(settings(&["--config", "/etc/grid.toml"], &[], &files).log, "error");
    assert_eq!(settings(&[], &[("SCAIGRID_CONFIG", "/etc/grid.toml")], &files).log, "error");
    assert!(refusal(&["--config", "gone"], &[], &files).starts_with("--config: cannot read gone: "));
    assert!(
        refusal(&[], &[("SCAIGRID_CONFIG", "gone")], &files).starts_with("SCAIGRID_CONFIG: cannot read gone")
    );
}

#[test]
fn variables_that_are_no_settings_are_named() {
    let warnings = |variables: &[(&str, &str)]| start(&[], variables, &[]).unwrap().warnings;
    let key = format!("sgk_{}", "a".repeat(32));
    let known = [("SCAIGRID_BIND", "127.0.0.1:1"), ("SCAIGRID_ADMIN_KEY", key.as_str()), ("PATH", "x")];
    assert_eq!(warnings(&known), [""; 0]);
    let unknown = [("SCAIGRID_RATE_LIMIT", "hush"), ("SCAIGRID_COLOUR", "hush"), ("SCAIGRIDS", "x")];
    assert_eq!(
        warnings(&unknown),
        [
            "SCAIGRID_COLOUR: there is no such setting",
            "SCAIGRID_RATE_LIMIT: there is no such setting; did you mean SCAIGRID_RATE_LIMITS?",
        ]
    );
}

#[test]
fn a_file_says_nothing_unknown() {
    let file = |text| refusal(&[], &[], &[("scaigrid.toml", text)]);
    assert_eq!(file("bnid = 'x'"), "bnid in scaigrid.toml: there is no such setting; did you mean bind?");
    assert_eq!(file("colour = 'x'"), "colour in scaigrid.toml: there is no such setting");
    assert_eq!(file("config = 'x'"), "config in scaigrid.toml: there is no such setting");
    assert_eq!(file("bind = 8080"), "bind in scaigrid.toml: expected a string");
    assert!(file("log = 'info'\nbootstrap_key = sgk_secret").starts_with("scaigrid.toml line 2: "));
    assert!(!file("log = 'info'\nbootstrap_key = sgk_secret").contains("sgk_secret"));
}

#[test]
fn a_bad_value_is_named_with_its_origin_and_its_rule() {
    for (variable, value, rule) in [
        ("SCAIGRID_BIND", "8080", "expected an IP address and a port"),
        ("SCAIGRID_BIND", "a\nb", "expected an IP address and a port"),
        ("SCAIGRID_DATABASE_URL", "mysql://h/db", "must begin with sqlite:// or postgres://"),
        ("SCAIGRID_DATABASE_URL", "sqlite://", "path of a file"),
        ("SCAIGRID_DATABASE_URL", "sqlite://x.db?mode=ro", "no parameters"),
        ("SCAIGRID_DATABASE_URL", "postgres://", "names no host"),
        ("SCAIGRID_DATABASE_URL", "postgres://u:p@h:port/db", "port must be a number"),
        ("SCAIGRID_DATABASE_URL", "postgres://h:70000/db", "port must be a number"),
        ("SCAIGRID_REDIS_URL", "http://h", "must begin with redis://"),
        ("SCAIGRID_REDIS_URL", "redis:///0", "names no host"),
        ("SCAIGRID_MASTER_KEY", "c2hvcnQ=", "32 bytes in base64"),
        ("SCAIGRID_MASTER_KEY", ",", "at least one"),
        ("SCAIGRID_BOOTSTRAP_KEY", "sgk_short", "expected sgk_"),
        ("SCAIGRID_OIDC_ISSUERS", "https://id.example", "needs audience=NAME"),
        ("SCAIGRID_OIDC_ISSUERS", "http://id.example audience=a", "expected an https URL"),
        (
            "SCAIGRID_OIDC_ISSUERS",
            "https://id.example audience=a roles=king",
            "roles= must be some of super_admin",
        ),
        ("SCAIGRID_SMTP_URL", "smtp://h", "SCAIGRID_SMTP_FROM must be given too"),
        ("SCAIGRID_SMTP_FROM", "nobody", "the sender is no address"),
        ("SCAIGRID_RATE_LIMITS", "60", "expected `off`, or `key="),
        ("SCAIGRID_RATE_LIMITS", "key=0", "with whole numbers from 1, not `key=0`"),
        ("SCAIGRID_RATE_LIMITS", "key=1,key=2", "not `key=2`"),
        ("SCAIGRID_RATE_LIMITS", "keys=1", "not `keys=1`"),
        ("SCAIGRID_LOG", "inof", "expected a level"),
        ("SCAIGRID_LOG", "scaigrid=loud", "expected a level"),
        ("SCAIGRID_LOG_FORMAT", "xml", "expected pretty or json"),
    ] {
        let line = refusal(&[], &[(variable, value)], &[]);
        assert!(line.starts_with(&format!("{variable}: ")) && line.contains(rule), "{value}: {line}");
    }
    assert!(refusal(&["--bind", ""], &[], &[]).starts_with("--bind: "));
    assert_eq!(
        refusal(&["--bnid"], &[], &[]),
        "command line: unexpected argument '--bnid' found; did you mean --bind? (see --help)"
    );
    assert_eq!(refusal(&["dance"], &[], &[]), "command line: unrecognized subcommand 'dance' (see --help)");
}

#[test]
fn a_command_that_is_nearly_one_is_told_which() {
    for (arguments, meant) in [
        (&["srve"][..], "serve"),
        (&["admin", "tenat", "list"], "tenant"),
        (&["admin", "core", "strat", "c"], "start"),
        (&["admin", "tenant", "list", "--jsn"], "--json"),
    ] {
        let line = refusal(arguments, &[], &[]);
        assert!(line.ends_with(&format!("; did you mean {meant}? (see --help)")), "{line}");
    }
}

#[test]
fn every_form_of_a_good_value_is_taken() {
    let with = |name: &str, value: &str| settings(&[], &[(name, value)], &[]);
    assert_eq!(with("SCAIGRID_BIND", ":0").bind, "127.0.0.1:0".parse().unwrap());
    assert_eq!(with("SCAIGRID_BIND", "[::]:80").bind, "[::]:80".parse().unwrap());
    assert_eq!(
        with("SCAIGRID_DATABASE_URL", "sqlite:///var/lib/grid.db").database,
        DatabaseUrl::Sqlite("/var/lib/grid.db".into())
    );
    for url in [
        "postgres://h/db",
        "postgresql://u:p%40@h:5432/db?sslmode=require",
        "postgres://a:1,b:2/db",
        "postgres://[::1]:5432/db",
        "postgres:///db?host=/run/postgresql",
    ] {
        let found = with("SCAIGRID_DATABASE_URL", url).database;
        assert_eq!(found, DatabaseUrl::Postgres(url.to_owned()), "{url}");
    }
    assert_eq!(with("SCAIGRID_MODULES_DIR", "/etc/modules").modules_dir, Some("/etc/modules".into()));
    assert_eq!(with("SCAIGRID_MODULE_PROBE_INTERVAL", "3600").module_probe_interval, Duration::from_hours(1));
    let apart = with("SCAIGRID_METRICS_BIND", ":9090").metrics_bind;
    assert_eq!(apart, Some(([127, 0, 0, 1], 9090).into()));
    assert!(with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318").traces.is_some());
    assert_eq!(with("SCAIGRID_MEMORY_ENTRIES", "50").memory_entries, 50);
    assert_eq!(with("SCAIGRID_MODULE_TIMEOUT", "1").remote.patience, Duration::from_secs(1));
    let public = with("SCAIGRID_PUBLIC_URL", "https://grid.example/api").remote.public_url;
    assert_eq!(public.unwrap().as_str(), "https://grid.example/api");
    for (name, value) in [
        ("SCAIGRID_MEMORY_ENTRIES", "0"),
        ("SCAIGRID_MODULE_PROBE_INTERVAL", "0"),
        ("SCAIGRID_MODULE_TIMEOUT", "3601"),
        ("SCAIGRID_PUBLIC_URL", "grid.example"),
        ("SCAIGRID_PUBLIC_URL", "https://u:p@grid.example"),
        ("SCAIGRID_PUBLIC_URL", "https://grid.example/?a"),
    ] {
        assert!(refusal(&[], &[(name, value)], &[]).starts_with(name), "{value}");
    }
    let issuers = "https://id.example/a audience=grid; https://id.example/b audience=grid tenant=acme";
    let issuers = with("SCAIGRID_OIDC_ISSUERS", issuers).oidc_issuers;
    assert_eq!((issuers.len(), issuers[1].trust.tenant.as_deref()), (2, Some("acme")));
    assert_eq!(with("SCAIGRID_RATE_LIMITS", "off").rate_limits, None);
    let limits = with("SCAIGRID_RATE_LIMITS", "user=7, tenant=8").rate_limits.unwrap();
    assert_eq!((limits.key, limits.user, limits.tenant), (1200, 7, 8));
    assert_eq!(with("SCAIGRID_LOG", "warn,scaigrid_http=debug").log, "warn,scaigrid_http=debug");
    assert_eq!(with("SCAIGRID_LOG_FORMAT", "json").log_format, LogFormat::Json);
}

#[test]
fn no_secret_is_printed() {
    let key = format!("sgk_{}", "a1".repeat(16));
    let master = format!("{}=", "Z".repeat(42) + "Y");
    let masters = format!("{master},{master}");
    let variables = [
        ("SCAIGRID_MASTER_KEY", masters.as_str()),
        ("SCAIGRID_BOOTSTRAP_KEY", key.as_str()),
        ("SCAIGRID_DATABASE_URL", "postgres://u:hush@h/db"),
        ("SCAIGRID_REDIS_URL", "redis://:hush@h:6379/0"),
        ("SCAIGRID_SMTP_URL", "smtp://u:hush@h"),
        ("SCAIGRID_SMTP_FROM", "grid@example.org"),
    ];
    let all = settings(&[], &variables, &[]);
    assert_eq!(all.master_key.as_ref().map(Secret::reveal), Some(masters.as_str()));
    assert_eq!(all.bootstrap_key.as_ref().map(Secret::reveal), Some(key.as_str()));
    let text = format!("{all:?}");
    assert!(!text.contains("hush") && !text.contains(&master) && !text.contains(&key), "{text}");
    for (name, value) in [
        ("SCAIGRID_DATABASE_URL", "mysql://u:hush@h"),
        ("SCAIGRID_BOOTSTRAP_KEY", "hush"),
        ("SCAIGRID_MASTER_KEY", "hush"),
    ] {
        assert!(!refusal(&[], &[(name, value)], &[]).contains("hush"));
    }
}

#[test]
fn help_and_the_operations_book_name_every_setting() {
    let Err(Stop::Help(help)) = start(&["--help"], &[], &[]) else { panic!("no help") };
    let book = include_str!("../../../../docs/operations.md");
    for setting in catalog::SETTINGS {
        let variable = setting.variable();
        assert_eq!(setting.flag, setting.key.replace('_', "-"));
        assert!(help.contains(&format!("--{}", setting.flag)) && help.contains(&variable), "{help}");
        assert!(book.contains(&format!("| `{variable}` | `--{}` |", setting.flag)), "{variable}");
    }
    assert!(
        matches!(start(&["--version"], &[], &[]), Err(Stop::Help(text)) if text.starts_with("scaigrid-server "))
    );
}

/// What an admin task is understood as.
fn admin(arguments: &[&str], variables: &[(&str, &str)]) -> (AdminTask, Option<Secret>, bool) {
    let arguments: Vec<&str> = ["admin"].iter().chain(arguments).copied().collect();
    match start(&arguments, variables, &[]).unwrap().command {
        Command::Admin { key, json, task } => (task, key, json),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_module_is_configured_by_a_patch() {
    let (task, ..) = admin(&["module", "config", "scaibot", "--patch", "{}", "--dry-run"], &[]);
    let config =
        ModuleTask::Config { module: "scaibot".to_owned(), patch: Some("{}".to_owned()), dry_run: true };
    assert!(matches!(task, AdminTask::Module { task, .. } if task == config));
}

#[test]
fn an_admin_task_takes_settings_too() {
    let arguments = ["admin", "tenant", "create", "acme", "--data-dir", "/d", "--json"];
    let invocation = start(&arguments, &[], &[]).unwrap();
    assert_eq!(invocation.settings.data_dir, PathBuf::from("/d"));
    let task = TenantTask::Create { slug: "acme".parse().unwrap(), name: None, partner: None };
    let command = Command::Admin { key: None, json: true, task: AdminTask::Tenant(task) };
    assert_eq!(invocation.command, command);
}

#[test]
fn the_tenant_of_an_admin_task_stands_anywhere_behind_its_kind() {
    let acme = Some("acme".to_owned());
    let expected = AdminTask::User { tenant: acme, task: UserTask::List { limit: 1000 } };
    assert_eq!(admin(&["user", "--tenant", "acme", "list"], &[]).0, expected);
    assert_eq!(admin(&["user", "list", "--tenant", "acme"], &[]).0, expected);
    let line = refusal(&["admin", "module", "list", "--tenant", "a", "--partner", "b"], &[], &[]);
    assert!(line.contains("cannot be used with"), "{line}");
}

#[test]
fn an_admin_task_is_read_before_anything_is_opened() {
    for (arguments, rule) in [
        (&["tenant", "create", "Acme"][..], "must consist of a-z"),
        (&["user", "create", "nobody"], "must be an e-mail address"),
        (&["user", "create", "a@b.c", "--role", "king"], "expected one of super_admin"),
        (&["user", "role", "usr_01JZ8QZ5T0000000000000000A"], "required"),
        (&["key", "create", "k", "--expires-at", "tomorrow"], "expected an RFC 3339 timestamp"),
        (&["webhook", "show", "1"], "invalid value"),
        (&["checkpoint", "resolve", "1", "yes"], "invalid value"),
    ] {
        let arguments: Vec<&str> = ["admin"].iter().chain(arguments).copied().collect();
        let line = refusal(&arguments, &[], &[]);
        assert!(line.starts_with("command line: ") && line.contains(rule), "{line}");
    }
}

#[test]
fn the_key_of_an_admin_task_comes_from_its_flag_else_from_its_variable() {
    let (one, two) = (format!("sgk_{}", "a1".repeat(16)), format!("sgk_{}", "b2".repeat(16)));
    let variables = [("SCAIGRID_ADMIN_KEY", two.as_str())];
    let key = |arguments: &[&str], variables: &[(&str, &str)]| admin(arguments, variables).1;
    assert_eq!(key(&["tenant", "list", "--key", &one], &variables), Some(Secret::new(one.as_str())));
    assert_eq!(key(&["tenant", "list"], &variables), Some(Secret::new(two.as_str())));
    assert_eq!(key(&["tenant", "list"], &[("SCAIGRID_ADMIN_KEY", "")]), None);
    let line = refusal(&["admin", "tenant", "list", "--key", "hush"], &variables, &[]);
    assert!(line.starts_with("--key: expected sgk_") && !line.contains("hush"), "{line}");
    let line = refusal(&["admin", "tenant", "list"], &[("SCAIGRID_ADMIN_KEY", "hush")], &[]);
    assert!(line.starts_with("SCAIGRID_ADMIN_KEY: expected sgk_") && !line.contains("hush"), "{line}");
    assert!(!format!("{:?}", admin(&["tenant", "list", "--key", &one], &[])).contains(&one));
}

#[test]
fn audit_records_are_kept_for_a_number_of_days() {
    let kept = settings(&["--audit-retention-days", "30"], &[], &[]).audit_retention;
    assert_eq!(kept, Some(Duration::from_hours(720)));
    for bad in ["0", "-1", "36501", "a year"] {
        let line = refusal(&[], &[("SCAIGRID_AUDIT_RETENTION_DAYS", bad)], &[]);
        assert!(line.starts_with("SCAIGRID_AUDIT_RETENTION_DAYS: expected a number of days"), "{line}");
    }
}
