//! Where a test's servers live: a folder, a database, and what the servers wrote to their logs.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Db;
use crate::database::{self, Database};
use crate::server::{Launch, Server};

/// A folder and a database that outlive the servers that are started in it one after the other.
#[derive(Debug)]
pub struct Place {
    // Before the folder, in which SQLite's file is.
    database: Database,
    folder: TempDir,
    logs: RefCell<Vec<PathBuf>>,
    allowed: RefCell<Vec<String>>,
}

impl Place {
    /// A place that nobody has used; none where there is no such database.
    pub fn fresh(db: Db) -> Option<Self> {
        Self::with(|data| Database::fresh(db, data))
    }

    /// A place that nobody has used, with a database of this PostgreSQL.
    pub fn on_postgres(server: &str) -> Self {
        Self::with(|_| Some(Database::made_on(server))).unwrap()
    }

    fn with(database: impl FnOnce(&Path) -> Option<Database>) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("scaigrid-test-").tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let database = database(&data)?;
        Some(Self { database, folder, logs: RefCell::default(), allowed: RefCell::default() })
    }

    /// The URL of a Redis that the tests may use, or none, which is printed.
    pub fn redis() -> Option<String> {
        database::service("SCAIGRID_TEST_REDIS_URL", "Redis")
    }

    /// The kind of the database.
    pub fn db(&self) -> Db {
        self.database.kind
    }

    /// The database's URL.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// Runs SQL statements on the database, past the server.
    pub fn run_sql(&self, statements: &str) {
        self.database.run(statements);
    }

    /// Has the whole PostgreSQL crash and recover. Only for where nobody else uses it.
    pub fn crash_postgres(&self) {
        self.database.crash();
    }

    /// The test's folder; the servers' own is `data` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The servers' folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The first admin's key, once a server has been started.
    pub fn admin_key(&self) -> String {
        std::fs::read_to_string(self.data().join("admin.key")).unwrap().trim().to_owned()
    }

    /// How a server is started here, for more to be said.
    pub fn launch(&self) -> Launch<'_> {
        Launch::of(self)
    }

    /// A server, ready.
    pub fn start(&self) -> Server {
        self.launch().start()
    }

    /// How a further node is started: it has the same database, object store and master key, and a folder of its own. The first
    /// one must have been started once.
    pub fn further_node(&self, name: &str) -> Launch<'_> {
        let master = std::fs::read_to_string(self.data().join("master.key")).unwrap();
        let folder = self.folder.path().join(name);
        self.launch()
            .set("SCAIGRID_DATA_DIR", &folder.to_string_lossy())
            .set("SCAIGRID_MASTER_KEY", master.trim())
            .set("SCAIGRID_OBJECT_STORE", &format!("file://{}", self.data().join("objects").display()))
    }

    /// Lets the servers' logs hold this text on lines that speak of errors.
    pub fn allow_in_log(&self, text: &str) {
        self.allowed.borrow_mut().push(text.to_owned());
    }

    /// A file for a server's log.
    pub(crate) fn new_log(&self) -> PathBuf {
        let mut logs = self.logs.borrow_mut();
        let path = self.folder.path().join(format!("server-{}.log", logs.len()));
        logs.push(path.clone());
        path
    }

    /// What the servers wrote to their logs.
    pub fn log(&self) -> String {
        self.logs.borrow().iter().map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect()
    }

    /// The end of a test that went well: no server may have logged an error.
    pub fn leave(self) {
        let log = self.log();
        let allowed = self.allowed.borrow();
        let errors: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("ERROR") || line.contains("panicked"))
            .filter(|line| !allowed.iter().any(|text| line.contains(text.as_str())))
            .collect();
        assert!(errors.is_empty(), "the server logged errors:\n{}", errors.join("\n"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let shown: Vec<&str> = log.lines().filter(|line| !line.contains("\"INFO\"")).collect();
            let from = shown.len().saturating_sub(40);
            eprintln!("the servers' logs, without what is only information:\n{}", shown[from..].join("\n"));
        }
    }
}
