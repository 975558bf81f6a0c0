//! What only SQLite does: files, pragmas, one process at a time, migrations on a thread of their own.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::{ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;

use crate::aside::Aside;
use crate::error::{Error, Result};
use crate::json;
use crate::migrations::unknown;

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// SQLite's connection, its work done on threads that may block.
pub(crate) type SqliteConnection = SyncConnectionWrapper<diesel::SqliteConnection, Aside>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Access {
    /// `synchronous = FULL`: a commit that was answered survives a power cut, not only a crash.
    const fn pragmas(self) -> &'static str {
        match self {
            Self::Write => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; \
                 PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864"
            }
            Self::Read => {
                "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; \
                 PRAGMA cache_size = -4096"
            }
        }
    }
}

/// Readers are plain connections; they are never in a transaction between two uses.
pub(crate) fn manager_config() -> ManagerConfig<SqliteConnection> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(|path| {
        let path = path.to_owned();
        async move {
            connect(Path::new(&path), Access::Read)
                .await
                .map_err(|e| ConnectionError::BadConnection(e.to_string()))
        }
        .boxed()
    });
    config
}

/// Opens the file.
pub(crate) async fn connect(path: &Path, access: Access) -> Result<SqliteConnection> {
    blocking(path, move |path| open(&path, access)).await.map(SqliteConnection::new)
}

/// What becomes of migrations that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Run,
    Refuse,
}

/// Opens the file for writing, makes it where it is missing, and runs the missing migrations, or refuses. They run in
/// transactions that begin by taking the write lock.
pub(crate) async fn open_writer(path: &Path, missing: Missing) -> Result<SqliteConnection> {
    blocking(path, move |path| {
        if missing == Missing::Run {
            make(&path);
        }
        let mut connection = open(&path, Access::Write)?;
        let bad = |reason: String| ConnectionError::BadConnection(reason);
        if let Some(version) =
            unknown(&mut connection, &MIGRATIONS).map_err(|error| bad(error.to_string()))?
        {
            return Err(bad(Error::newer(&version).to_string()));
        }
        match missing {
            Missing::Run => connection
                .exclusive_transaction(|c| c.run_pending_migrations(MIGRATIONS).map(drop).map_err(Failed))
                .map_err(|Failed(error)| bad(format!("the migrations failed: {error}")))?,
            Missing::Refuse => {
                let pending = connection.has_pending_migration(MIGRATIONS);
                if pending.map_err(|error| bad(error.to_string()))? {
                    return Err(bad("it lacks migrations of this version".into()));
                }
            }
        }
        Ok(connection)
    })
    .await
    .map(SqliteConnection::new)
}

/// Makes the file for its owner alone: what Cores were given and computed is in it in the clear. SQLite gives the files beside it the
/// same mode. What keeps it from being made is told where it is opened.
fn make(path: &Path) {
    drop(OpenOptions::new().create_new(true).write(true).mode(0o600).open(path));
}

/// A migration's failure, on its way through a transaction.
struct Failed(Box<dyn std::error::Error + Send + Sync>);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

fn open(path: &Path, access: Access) -> ConnectionResult<diesel::SqliteConnection> {
    let mut connection = diesel::SqliteConnection::establish(&path.to_string_lossy())?;
    connection
        .batch_execute(access.pragmas())
        .and_then(|()| json::register(&mut connection))
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(std::path::PathBuf) -> ConnectionResult<T> + Send + 'static,
) -> Result<T> {
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || work(owned))
        .await
        .map_err(|error| Error::Unavailable(error.to_string()))?
        .map_err(|error| Error::Setup(format!("cannot use {}: {error}", path.display())))
}
