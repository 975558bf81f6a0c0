//! The house, from the bottom up.

use std::sync::Arc;

use anyhow::Context as _;
use scaigrid_app::{App, Parts as AppParts, built_in_modules};
use scaigrid_bus::Bus;
use scaigrid_engine::{Engine, Ids, Parts as EngineParts};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Database, DatabaseUrl, Error as DatabaseError};
use scaigrid_scope::{Clock, PlaintextKey, SystemScope};

use crate::files::{self, FolderLock, Unusable};
use crate::settings::Settings;

/// Connections to PostgreSQL, or readers of an SQLite file.
const CONNECTIONS: usize = 16;

/// Everything below the edge.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<dyn Clock>,
    _lock: Option<FolderLock>,
}

/// Opens the database and runs the migrations that are missing.
pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let (database, _lock) = open(settings).await?;
    println!("the {} database is up to date", database.kind());
    Ok(())
}

async fn open(settings: &Settings) -> anyhow::Result<(Database, Option<FolderLock>)> {
    files::make_folder(&settings.data_dir)?;
    let lock = match &settings.database {
        DatabaseUrl::Sqlite(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(&settings.data_dir);
            files::make_folder(folder)?;
            Some(files::lock_folder(folder)?)
        }
        DatabaseUrl::Postgres(_) => None,
    };
    let database = Database::open(&settings.database, CONNECTIONS).await.map_err(|error| match error {
        DatabaseError::Setup(reason) | DatabaseError::Unavailable(reason) => {
            anyhow::Error::new(Unusable(format!("SCAIGRID_DATABASE_URL: {reason}")))
        }
        other => other.into(),
    })?;
    Ok((database, lock))
}

/// Puts everything below the edge together, sets an empty database up, and registers the node.
pub(crate) async fn house(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<House> {
    let (database, lock) = open(settings).await?;
    let vault = Arc::new(files::vault(settings)?);
    let bus = match &settings.redis_url {
        None => Bus::in_process(),
        Some(url) => Bus::over_redis(url.reveal())
            .map_err(|error| Unusable(format!("SCAIGRID_REDIS_URL: {error}")))?,
    };
    let ids = Arc::new(Ids::new());
    let system = SystemScope::for_the_process();
    let engine = Engine::new(EngineParts {
        database: database.clone(),
        bus: bus.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        vault: Arc::clone(&vault),
        system: system.clone(),
    });
    let app = App::new(AppParts {
        database,
        bus,
        clock: Arc::clone(&clock),
        ids,
        engine: engine.clone(),
        vault: Arc::clone(&vault),
        catalogue: built_in_modules()?,
        system,
    });
    engine.register().await.context("the node cannot be registered")?;
    bootstrap(settings, &app).await?;
    Ok(House { app, vault, clock, _lock: lock })
}

async fn bootstrap(settings: &Settings, app: &App) -> anyhow::Result<()> {
    let given = settings.bootstrap_key.as_ref().map(|key| PlaintextKey::parse(key.reveal()));
    let given = given.transpose().map_err(|error| Unusable(format!("SCAIGRID_BOOTSTRAP_KEY: {error}")))?;
    let made = app.bootstrap(given).await.map_err(|error| match error {
        error @ scaigrid_app::bootstrap::BootstrapError::OtherMasterKey { .. } => {
            anyhow::Error::new(Unusable(format!("SCAIGRID_MASTER_KEY: {error}")))
        }
        other => other.into(),
    })?;
    if let Some(key) = made {
        let path = files::keep_admin_key(&settings.data_dir, key.reveal())
            .context("the first admin's key cannot be written")?;
        println!("the first admin's API key is in {}", path.display());
    }
    Ok(())
}
