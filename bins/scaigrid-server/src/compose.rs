//! The house, from the bottom up.

use std::sync::Arc;

use anyhow::Context as _;
use scaigrid_app::bootstrap::BootstrapError;
use scaigrid_app::own_store::OwnStore;
use scaigrid_app::tokens::TokenVerifier;
use scaigrid_app::{App, Parts as AppParts};
use scaigrid_bus::Bus;
use scaigrid_engine::{AgreedClock, Engine, Ids, Parts as EngineParts};
use scaigrid_oidc::Issuers;
use scaigrid_outbound::{Client, Guard};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Database, DatabaseUrl, Error as DatabaseError};
use scaigrid_scope::{Clock, PlaintextKey, SystemScope};
use scaigrid_storage::{Error as StoreError, ObjectStore};
use scaigrid_telemetry::{Config as TraceConfig, Tracing};

use crate::files::{self, FolderLock, NewMasterKey, Unusable};
use crate::manifests;
use crate::settings::Settings;

/// Connections to PostgreSQL, or readers of an SQLite file.
const CONNECTIONS: usize = 16;

/// Everything below the edge.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<OwnStore>,
    _lock: Option<FolderLock>,
}

/// Opens the database and runs the migrations that are missing.
pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let (database, _lock) = open(settings).await?;
    println!("the {} database is up to date", database.kind());
    Ok(())
}

async fn open(settings: &Settings) -> anyhow::Result<(Database, Option<FolderLock>)> {
    const DATA_DIR: &str = "SCAIGRID_DATA_DIR";
    files::make_folder(DATA_DIR, &settings.data_dir)?;
    let lock = match &settings.database {
        DatabaseUrl::Sqlite(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(&settings.data_dir);
            // Whoever gave the folder's name is told by the setting that it stands in.
            let setting = if folder == settings.data_dir { DATA_DIR } else { "SCAIGRID_DATABASE_URL" };
            files::make_folder(setting, folder)?;
            Some(files::lock_folder(setting, folder)?)
        }
        DatabaseUrl::Postgres(_) => None,
    };
    Ok((Database::open(&settings.database, CONNECTIONS).await.map_err(|error| unusable(error, ""))?, lock))
}

fn unusable(error: DatabaseError, advice: &str) -> anyhow::Error {
    match error {
        DatabaseError::Setup(reason) | DatabaseError::Unavailable(reason) => {
            Unusable(format!("SCAIGRID_DATABASE_URL: {reason}{advice}")).into()
        }
        other => other.into(),
    }
}

/// What the operator must put right about the object store.
pub(crate) fn unusable_store(error: &StoreError) -> anyhow::Error {
    Unusable(format!("SCAIGRID_OBJECT_STORE: {error}")).into()
}

/// Puts everything below the edge together, sets an empty database up, and registers the node.
pub(crate) async fn house(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<House> {
    let (database, lock) = open(settings).await?;
    let clock: Arc<dyn Clock> = Arc::new(AgreedClock::new(clock));
    let (vault, new_key) = files::vault(settings)?;
    let vault = Arc::new(vault);
    let tokens = issuers(settings)?;
    let objects = settings.objects.open().await.map_err(|error| unusable_store(&error))?;
    let id = Ids::new().draw(clock.now()).to_string();
    let store = Arc::new(OwnStore::of_server(objects, database.clone(), settings.objects.to_string(), id));
    let objects: Arc<dyn ObjectStore> = store.clone();
    let traces = settings.traces.clone();
    let app =
        application(settings, Arc::clone(&clock), database, objects, Arc::clone(&vault), tokens, traces)?;
    app.engine().register().await.context("the node cannot be registered")?;
    bootstrap(settings, &app, new_key.as_ref()).await?;
    // After the master key: who has another one must not settle which store is the database's.
    prove(&store).await?;
    Ok(House { app, vault, clock, store, _lock: lock })
}

/// Has the object store prove to be the database's. One that cannot be asked now is asked later, and not used until then.
async fn prove(store: &OwnStore) -> anyhow::Result<()> {
    match store.prove().await {
        Err(error @ (StoreError::Another(_) | StoreError::Refused(_))) => Err(unusable_store(&error)),
        Err(error) => {
            tracing::warn!(%error, "whether the object store is the database's is not known yet");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Puts the application together on a database that a server has set up, for a task beside servers or without one:
/// nothing is made, locked or registered, and no loop runs.
pub(crate) async fn beside_servers(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<App> {
    const ADVICE: &str = "; start the server on it once";
    let database = Database::open_existing(&settings.database, CONNECTIONS).await;
    let database = database.map_err(|error| unusable(error, ADVICE))?;
    let Some(vault) = files::existing_vault(settings)? else {
        let path = files::master_key(&settings.data_dir);
        let reason = format!("SCAIGRID_MASTER_KEY: not given, and {} is not there", path.display());
        return Err(Unusable(reason).into());
    };
    // Whoever administers shows an API key.
    let clock = Arc::new(AgreedClock::new(clock));
    let objects = settings.objects.visit().map_err(|error| unusable_store(&error))?;
    let objects = Arc::new(OwnStore::of_visitor(objects, database.clone(), settings.objects.to_string()));
    let app = application(settings, clock, database, objects, Arc::new(vault), None, None)?;
    app.engine().agree_on_time().await?;
    if !app.is_set_up().await? {
        return Err(Unusable(format!(
            "SCAIGRID_DATABASE_URL: the database has tables, but nobody in them{ADVICE}"
        ))
        .into());
    }
    // What is set up already is only compared with the master key.
    bootstrap(settings, &app, None).await?;
    Ok(app)
}

/// A database with its tables and perhaps nothing in them, and the keys to what will be put there. No server can start on
/// an embedded one meanwhile.
pub(crate) struct Ground {
    pub(crate) database: Database,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) vault: Arc<Vault>,
    _lock: Option<FolderLock>,
}

impl Ground {
    /// The application on it, at rest.
    pub(crate) fn application(&self, settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<App> {
        let objects = Arc::clone(&self.objects);
        application(settings, clock, self.database.clone(), objects, Arc::clone(&self.vault), None, None)
    }
}

/// Opens a database that something is to be put back into, and makes its tables where they are missing.
pub(crate) async fn ground(settings: &Settings) -> anyhow::Result<Ground> {
    let Some(vault) = files::existing_vault(settings)? else {
        let path = files::master_key(&settings.data_dir);
        return Err(Unusable(format!(
            "SCAIGRID_MASTER_KEY: not given, and {} is not there; a backup is opened with the key that it was made under",
            path.display()
        ))
        .into());
    };
    let (database, lock) = open(settings).await?;
    let objects = settings.objects.open().await.map_err(|error| unusable_store(&error))?;
    Ok(Ground { database, objects, vault: Arc::new(vault), _lock: lock })
}

/// The issuers whose tokens are believed, if there are any.
fn issuers(settings: &Settings) -> anyhow::Result<Option<Arc<dyn TokenVerifier>>> {
    if settings.oidc_issuers.is_empty() {
        return Ok(None);
    }
    let issuers = Issuers::trust(settings.oidc_issuers.clone());
    let issuers = issuers.map_err(|error| Unusable(format!("SCAIGRID_OIDC_ISSUERS: {error}")))?;
    Ok(Some(Arc::new(issuers)))
}

/// The application and its engine, at rest.
fn application(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    database: Database,
    objects: Arc<dyn ObjectStore>,
    vault: Arc<Vault>,
    tokens: Option<Arc<dyn TokenVerifier>>,
    traces: Option<TraceConfig>,
) -> anyhow::Result<App> {
    let bus = match &settings.redis_url {
        None => Bus::in_process(),
        Some(url) => {
            Bus::over_redis(url.reveal()).map_err(|error| Unusable(format!("SCAIGRID_REDIS_URL: {error}")))?
        }
    };
    let ids = Arc::new(Ids::new());
    let tracing = match traces {
        None => Tracing::off(),
        Some(config) => {
            let instance = ids.draw(clock.now()).to_string();
            let started = Tracing::start(config, env!("CARGO_PKG_VERSION"), &instance);
            started.map_err(|error| Unusable(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}")))?
        }
    };
    let system = SystemScope::for_the_process();
    let outbound = Client::new(Guard::new(settings.egress_allow.clone()))?;
    let engine = Engine::new(EngineParts {
        database: database.clone(),
        objects: Arc::clone(&objects),
        bus: bus.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        vault: Arc::clone(&vault),
        outbound: outbound.clone(),
        system: system.clone(),
        issuer: settings.remote.issuer().to_owned(),
        memory_entries: settings.memory_entries,
        max_queued: settings.max_queued_executions,
        journal_entries: settings.journal_entries,
        tracing,
    });
    let catalogue = manifests::modules(settings.modules_dir.as_deref())?;
    let remote = settings.remote.clone();
    let parts = AppParts {
        database,
        objects,
        bus,
        clock,
        ids,
        engine,
        vault,
        catalogue,
        tokens,
        outbound,
        remote,
        system,
    };
    Ok(App::new(parts))
}

/// Sets an empty database up, and writes the keys down that were made for it: before it is durable that they are needed, and not
/// before everything else was found good.
async fn bootstrap(settings: &Settings, app: &App, new_key: Option<&NewMasterKey>) -> anyhow::Result<()> {
    let given = settings.bootstrap_key.as_ref().map(|key| PlaintextKey::parse(key.reveal()));
    let given = given.transpose().map_err(|error| Unusable(format!("SCAIGRID_BOOTSTRAP_KEY: {error}")))?;
    let keep = |key: &PlaintextKey| {
        files::keep_admin_key(&settings.data_dir, key.reveal())?;
        new_key.map_or(Ok(()), NewMasterKey::keep)
    };
    let made = app.bootstrap(given, keep).await.map_err(|error| match error {
        error @ BootstrapError::OtherMasterKey { .. } => {
            anyhow::Error::new(Unusable(format!("SCAIGRID_MASTER_KEY: {error}")))
        }
        error @ BootstrapError::NotKept(_) => {
            anyhow::Error::new(Unusable(format!("SCAIGRID_DATA_DIR: {error}")))
        }
        other => other.into(),
    })?;
    if made.is_none()
        && let Some(key) = new_key
    {
        // Somebody else has set the database up, under no key until now.
        key.keep().map_err(|error| Unusable(format!("SCAIGRID_DATA_DIR: {error}")))?;
    }
    if made.is_some() {
        println!("the first admin's API key is in {}", files::admin_key(&settings.data_dir).display());
    }
    Ok(())
}
