//! Databases of a test's own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The kind of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Db {
    /// A file in the test's folder.
    Sqlite,
    /// A database of the server that `SCAIGRID_TEST_POSTGRES_URL` names.
    Postgres,
}

/// A database; dropping the value drops it.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) kind: Db,
    pub(crate) url: String,
    made: Option<Made>,
}

/// A database that was made for the test.
#[derive(Debug)]
struct Made {
    name: String,
    /// The URL of the server that it is on.
    server: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A service that the tests need, or none: then the reason is printed, and where everything is required that is a
/// failure.
pub fn service(variable: &str, name: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("SCAIGRID_TEST_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "{name} is required, and {variable} names none");
        println!("skipped: {variable} names no {name}");
    }
    url
}

impl Database {
    pub(crate) fn fresh(kind: Db, folder: &Path) -> Option<Self> {
        match kind {
            Db::Sqlite => {
                let url = format!("sqlite://{}", folder.join("scaigrid.db").display());
                Some(Self { kind, url, made: None })
            }
            Db::Postgres => {
                Some(Self::made_on(service("SCAIGRID_TEST_POSTGRES_URL", "PostgreSQL")?.as_str()))
            }
        }
    }

    /// A database of a PostgreSQL.
    pub(crate) fn made_on(server: &str) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scaigrid_test_{}_{count}", std::process::id());
        // Two that are made at once may disturb each other: both copy the same template.
        let made = (0..20).any(|_| match administer(server, &format!("CREATE DATABASE {name}")) {
            Ok(()) => true,
            Err(error) => {
                println!("{error}");
                std::thread::sleep(Duration::from_millis(100));
                false
            }
        });
        assert!(made, "no database could be made");
        let url = with_path(server, &name);
        Self { kind: Db::Postgres, url, made: Some(Made { name, server: server.to_owned() }) }
    }
}

impl Database {
    /// Runs statements as somebody who has got at the database.
    pub(crate) fn run(&self, statements: &str) {
        match self.kind {
            Db::Sqlite => {
                use diesel::Connection as _;
                use diesel::connection::SimpleConnection as _;

                let path = self.url.strip_prefix("sqlite://").unwrap();
                let mut connection = diesel::SqliteConnection::establish(path).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
                connection.batch_execute(statements).unwrap();
            }
            Db::Postgres => administer(&self.url, statements).unwrap(),
        }
    }

    /// Has the process of PostgreSQL that serves this very request killed, whereupon the server ends every session, of whatever
    /// database, and recovers from its log.
    pub(crate) fn crash(&self) {
        let error = administer(&self.url, "COPY (SELECT 1) TO PROGRAM 'kill -KILL $PPID'").unwrap_err();
        assert!(error.as_db_error().is_none(), "it was refused: {error:?}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(Made { name, server }) = &self.made else { return };
        if let Err(error) = administer(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")) {
            eprintln!("the database {name} stays: {error}");
        }
    }
}

/// The URL of another database of the same server.
fn with_path(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let authority_at = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority_at..].find('/').map_or(base.len(), |at| authority_at + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &base[..end])
}

/// Has a PostgreSQL carry statements out.
pub(crate) fn administer(url: &str, statement: &str) -> Result<(), tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let talking = tokio::spawn(connection);
        let done = client.batch_execute(statement).await;
        drop(client);
        let _ = talking.await;
        done
    })
}
