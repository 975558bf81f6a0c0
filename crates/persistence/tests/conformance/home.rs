//! A database for one test.

use std::sync::atomic::{AtomicU32, Ordering};

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use scaigrid_persistence::{Connection, Database, DatabaseUrl, Transaction};
use tempfile::TempDir;

const POSTGRES: &str = "SCAIGRID_TEST_POSTGRES_URL";
const REQUIRE_ALL: &str = "SCAIGRID_TEST_REQUIRE_ALL";

/// More than the tests run at once on one database, fewer than a server allows when all tests run.
const CONNECTIONS: usize = 4;

/// A database of a test's own, empty but for the tables.
pub(crate) struct Home {
    pub(crate) url: DatabaseUrl,
    pub(crate) database: Database,
    place: Place,
}

enum Place {
    Directory(TempDir),
    Schema { server: String, name: String },
}

impl Home {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("scaigrid.db"));
        let database = Database::open(&url, CONNECTIONS).await.unwrap();
        Self { url, database, place: Place::Directory(directory) }
    }

    /// None when there is no server to test on, which is said.
    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var(POSTGRES) else {
            assert!(std::env::var(REQUIRE_ALL).as_deref() != Ok("1"), "{POSTGRES} is not set");
            eprintln!("skipped: {test} on PostgreSQL, for {POSTGRES} is not set");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conformance_{}_{number}", std::process::id());
        let mut admin = AsyncPgConnection::establish(&server).await.unwrap();
        let make = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
        admin.batch_execute(&make).await.unwrap();
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = DatabaseUrl::Postgres(format!("{server}{separator}options=-csearch_path%3D{name}"));
        let database = Database::open(&url, CONNECTIONS).await.unwrap();
        Some(Self { url, database, place: Place::Schema { server, name } })
    }

    /// Removes the database. After a failed test it is left for whoever looks into it.
    pub(crate) async fn remove(self) {
        drop(self.database);
        match self.place {
            Place::Directory(directory) => directory.close().unwrap(),
            Place::Schema { server, name } => {
                let mut admin = AsyncPgConnection::establish(&server).await.unwrap();
                admin.batch_execute(&format!("DROP SCHEMA {name} CASCADE")).await.unwrap();
            }
        }
    }

    pub(crate) async fn read(&self) -> Connection {
        self.database.read().await.unwrap()
    }

    pub(crate) async fn begin(&self) -> Transaction {
        self.database.begin().await.unwrap()
    }
}
