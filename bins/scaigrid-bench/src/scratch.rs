//! Fresh databases and folders for one purpose each, and their removal.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use tempfile::TempDir;
use url::Url;

use crate::options::Engine;

/// Where databases are made.
pub(crate) struct Databases {
    folder: PathBuf,
    postgres: Option<Url>,
    made: RefCell<Vec<String>>,
    count: Cell<u32>,
}

/// A database and a folder that nobody has used before. The folder goes with the value.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    /// The database's URL.
    pub(crate) url: String,
    /// Which kind it is.
    pub(crate) engine: Engine,
}

impl Place {
    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection that reads `PostgreSQL`'s counters; none for `SQLite`.
    pub(crate) async fn counters(&self) -> anyhow::Result<Option<AsyncPgConnection>> {
        match self.engine {
            Engine::Sqlite => Ok(None),
            Engine::Postgres => Ok(Some(AsyncPgConnection::establish(&self.url).await?)),
        }
    }

    /// An `SQLite` database with the migrations' own tables, without a server.
    #[cfg(test)]
    pub(crate) fn migrated(&self) -> diesel::SqliteConnection {
        use diesel::connection::{Connection as _, SimpleConnection as _};

        let file = self.url.strip_prefix("sqlite://").unwrap();
        let mut connection = diesel::SqliteConnection::establish(file).unwrap();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
        let mut folders: Vec<_> =
            std::fs::read_dir(migrations).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        for folder in folders {
            connection.batch_execute(&std::fs::read_to_string(folder.join("up.sql")).unwrap()).unwrap();
        }
        connection
    }
}

impl Databases {
    /// Folders are made in `folder`, `PostgreSQL`'s databases where the URL says.
    pub(crate) fn new(folder: &Path, postgres: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // The error of a URL that cannot be read is told without the URL: it holds a password.
        let postgres = postgres.map(Url::parse).transpose().context("the URL of PostgreSQL")?;
        let folder = folder.canonicalize()?;
        Ok(Self { folder, postgres, made: RefCell::default(), count: Cell::new(0) })
    }

    /// Makes a database of this kind.
    pub(crate) async fn fresh(&self, engine: Engine) -> anyhow::Result<Place> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.folder)?;
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("scaigrid.db").display()),
            Engine::Postgres => {
                let mut url = self.postgres.clone().context("no PostgreSQL was named")?;
                self.count.set(self.count.get() + 1);
                let name = format!("scaigrid_bench_{}_{}", std::process::id(), self.count.get());
                self.made.borrow_mut().push(name.clone());
                self.administer(&format!("CREATE DATABASE {name}")).await?;
                url.set_path(&name);
                url.into()
            }
        };
        Ok(Place { folder, url, engine })
    }

    /// Drops the databases that were made, whoever still uses them.
    pub(crate) async fn drop_all(&self) {
        for name in self.made.take() {
            if let Err(error) = self.administer(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            {
                eprintln!("cannot drop the database {name}: {error:#}");
            }
        }
    }

    async fn administer(&self, statement: &str) -> anyhow::Result<()> {
        let url = self.postgres.as_ref().context("no PostgreSQL was named")?;
        let mut connection = AsyncPgConnection::establish(url.as_str()).await.context("PostgreSQL")?;
        connection.batch_execute(statement).await.context("PostgreSQL")
    }
}
