//! One database behind one face: a pool of PostgreSQL connections, or one SQLite file.
//!
//! Functions of this crate take a [`Connection`] to read and a [`Transaction`] to write. A transaction that is
//! dropped without [`Transaction::commit`] leaves nothing behind, also when the future that held it is dropped.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use diesel::expression::SqlLiteral;
use diesel::sql_types::Bool;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use crate::error::{Error, Result};
use crate::large::Objects;
use crate::sqlite::SqliteConnection;
use crate::{postgres, sqlite};

/// How long a caller waits for a free connection before it is told that the database is not available.
const POOL_WAIT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file; it is made when it is not there.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

impl std::fmt::Debug for DatabaseUrl {
    /// Without the password of a PostgreSQL URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let place = url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place);
                write!(f, "postgres://…@{place}")
            }
        }
    }
}

/// A database with its pools. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Inner>, Arc<Bells>, Shelf);

/// Where large values are read, once that is known.
type Shelf = Arc<OnceLock<Arc<dyn Objects>>>;

/// What somebody in this process waits for to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    /// Audit records, which are to be sealed.
    Audit,
    /// Letters to webhooks, which are to be posted.
    Outbox,
    /// Answers that AIs owe to rooms.
    Answers,
}

type Bells = [Notify; 3];

enum Inner {
    Postgres(Pool<AsyncPgConnection>),
    Sqlite { readers: Pool<SqliteConnection>, writer: Arc<Mutex<Writer>>, path: PathBuf },
}

/// The one connection that writes to an SQLite file; empty after a transaction was abandoned on it.
#[derive(Default)]
pub(crate) struct Writer(Option<SqliteConnection>);

impl Database {
    /// Opens the pools and runs the migrations that are missing, under a lock that only one process holds at a time.
    ///
    /// # Errors
    /// [`Error::Setup`] when the file or server cannot be used, [`Error::Unavailable`] when it cannot be reached.
    #[boxed]
    pub async fn open(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        match url {
            DatabaseUrl::Postgres(url) => {
                postgres::migrate(url).await?;
                Self::of_postgres(url, connections)
            }
            DatabaseUrl::Sqlite(path) => {
                Self::of_sqlite(path, connections, sqlite::open_writer(path, sqlite::Missing::Run).await?)
            }
        }
    }

    /// Opens the pools of a database that has every table of this version, and changes nothing: for a visitor beside the
    /// servers, who must neither make a database of a mistyped name nor migrate one under an older server.
    ///
    /// # Errors
    /// As [`Database::open`], and [`Error::Setup`] when the database or some of its tables are missing.
    #[boxed]
    pub async fn open_existing(url: &DatabaseUrl, connections: usize) -> Result<Self> {
        match url {
            DatabaseUrl::Postgres(url) => {
                postgres::require_migrated(url).await?;
                Self::of_postgres(url, connections)
            }
            DatabaseUrl::Sqlite(path) => {
                // The file of a database that was opened once is never empty.
                if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
                    return Err(Error::Setup(format!("there is no database in {}", path.display())));
                }
                Self::of_sqlite(path, connections, sqlite::open_writer(path, sqlite::Missing::Refuse).await?)
            }
        }
    }

    fn of_postgres(url: &str, connections: usize) -> Result<Self> {
        let config = postgres::manager_config();
        let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new_with_config(url, config);
        let pool = Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Self(Arc::new(Inner::Postgres(pool)), Arc::default(), Shelf::default()))
    }

    fn of_sqlite(path: &Path, connections: usize, writer: SqliteConnection) -> Result<Self> {
        let config = sqlite::manager_config();
        let url = path.to_string_lossy();
        let manager = AsyncDieselConnectionManager::<SqliteConnection>::new_with_config(url, config);
        let readers = Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(Some(POOL_WAIT))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Setup(error.to_string()))?;
        let writer = Arc::new(Mutex::new(Writer(Some(writer))));
        let inner = Inner::Sqlite { readers, writer, path: path.to_owned() };
        Ok(Self(Arc::new(inner), Arc::default(), Shelf::default()))
    }

    /// Says where large values are read, for this and all copies of it; the first word counts.
    pub fn read_large_values_from(&self, objects: Arc<dyn Objects>) {
        // Whoever comes second names the same.
        let _ = self.2.set(objects);
    }

    /// Whether other processes may use the same database at the same time.
    pub fn is_shared(&self) -> bool {
        matches!(*self.0, Inner::Postgres(_))
    }

    /// `"postgresql"` or `"sqlite"`.
    pub fn kind(&self) -> &'static str {
        match *self.0 {
            Inner::Postgres(_) => "postgresql",
            Inner::Sqlite { .. } => "sqlite",
        }
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when none is free within ten seconds.
    #[boxed]
    pub async fn read(&self) -> Result<Connection> {
        let held = match &*self.0 {
            Inner::Postgres(pool) => Held::Postgres(Some(Box::new(pool.get().await.map_err(unavailable)?))),
            Inner::Sqlite { readers, .. } => {
                let object = Some(Box::new(readers.get().await.map_err(unavailable)?));
                Held::SqliteReader(Reader { object, asking: false })
            }
        };
        Ok(Connection(held, Arc::clone(&self.2)))
    }

    /// Begins a transaction to write in. On SQLite there is one at a time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot begin within ten seconds.
    #[boxed]
    pub async fn begin(&self) -> Result<Transaction> {
        let (mut transaction, begin) = self.transaction().await?;
        with!(transaction, c => c.batch_execute(begin).await)?;
        Ok(transaction)
    }

    /// A transaction whose statements all go by the keys of what they are for, however many there are. On PostgreSQL it begins with
    /// what is answered, which is to be sent before its first statement and need not be waited for: that is a journey less.
    ///
    /// PostgreSQL plans a statement over a list anew for each list: it believes that a short one is cheaper than any. For these
    /// there is one way to go about it, so it keeps the plan.
    ///
    /// # Errors
    /// Those of [`Database::begin`].
    pub(crate) async fn group(&self) -> Result<(Transaction, Option<&'static str>)> {
        if self.is_shared() {
            let (transaction, _) = self.transaction().await?;
            return Ok((transaction, Some("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan")));
        }
        Ok((self.begin().await?, None))
    }

    /// A transaction that has not begun yet, and the statement that begins it.
    async fn transaction(&self) -> Result<(Transaction, &'static str)> {
        let (connection, begin) = match &*self.0 {
            Inner::Postgres(pool) => {
                (Held::Postgres(Some(Box::new(pool.get().await.map_err(unavailable)?))), "BEGIN")
            }
            Inner::Sqlite { writer, path, .. } => {
                (Held::SqliteWriter(lock_writer(writer, path).await?), "BEGIN IMMEDIATE")
            }
        };
        let bells = Arc::clone(&self.1);
        let connection = Connection(connection, Arc::clone(&self.2));
        Ok((Transaction { connection, ended: false, bells, to_ring: [false; 3] }, begin))
    }

    /// Begins to read the database as it stands now, whatever is written meanwhile, for as long as the answer lives.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no connection is free within ten seconds.
    #[boxed]
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot(Some(self.read().await?));
        let connection = snapshot.connection()?;
        // On both it is the first read that fixes the moment.
        let begin = match connection.engine()? {
            // Whoever reads all of it writes it somewhere meanwhile, perhaps slowly; nothing is locked.
            Engine::Postgres(_) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 SET LOCAL idle_in_transaction_session_timeout = '10min'"
            }
            Engine::Sqlite(_) => "BEGIN",
        };
        let begin = format!("{begin}; SELECT count(*) FROM platform_facts");
        with!(connection, c => c.batch_execute(&begin).await)?;
        Ok(snapshot)
    }

    /// Waits until this process has committed something of a kind since that was last waited for.
    #[boxed]
    pub async fn written(&self, what: Bell) {
        self.1[what as usize].notified().await;
    }

    /// Has whoever waits for something to be written look for it.
    pub fn ring(&self, bell: Bell) {
        self.1[bell as usize].notify_one();
    }

    /// What the pool says of itself.
    pub(crate) fn pool_status(&self) -> deadpool::Status {
        match &*self.0 {
            Inner::Postgres(pool) => pool.status(),
            Inner::Sqlite { readers, .. } => readers.status(),
        }
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none.
    #[boxed]
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.read().await?;
        with!(connection, c => c.batch_execute("SELECT 1").await)?;
        Ok(())
    }
}

fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}

async fn lock_writer(writer: &Arc<Mutex<Writer>>, path: &Path) -> Result<OwnedMutexGuard<Writer>> {
    let mut guard = tokio::time::timeout(POOL_WAIT, Arc::clone(writer).lock_owned())
        .await
        .map_err(|_| Error::Unavailable("the database is busy writing".into()))?;
    if guard.0.is_none() {
        guard.0 = Some(sqlite::connect(path, sqlite::Access::Write).await?);
    }
    Ok(guard)
}

/// A connection to read with.
pub struct Connection(Held, Shelf);

enum Held {
    Postgres(Option<Box<Object<AsyncPgConnection>>>),
    SqliteReader(Reader),
    SqliteWriter(OwnedMutexGuard<Writer>),
}

/// A reader of SQLite. Dropped in the middle of a question, it does not go back to its pool: the question goes on, on a
/// thread of its own, and whoever got the connection next would meet it there.
struct Reader {
    object: Option<Box<Object<SqliteConnection>>>,
    asking: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.asking {
            drop(self.object.take().map(|object| Object::take(*object)));
        }
    }
}

/// What a query runs on.
pub(crate) enum Engine<'a> {
    Postgres(&'a mut AsyncPgConnection),
    Sqlite(&'a mut SqliteConnection),
}

/// Runs one body on whichever connection there is: the body is compiled for both.
macro_rules! with {
    ($connection:expr, $c:ident => $body:expr) => {{
        $connection.asks(true);
        let answered = match $connection.engine()? {
            $crate::database::Engine::Postgres($c) => $body,
            $crate::database::Engine::Sqlite($c) => $body,
        };
        $connection.asks(false);
        answered
    }};
}
pub(crate) use with;

/// Asks by a query itself. On SQLite [`with`] has the text of a query built each time, and every value of a row copied before it is read; here the
/// query goes to where blocking work is done: what it was prepared to is found by its type, and rows are read from the statement.
macro_rules! ask {
    ($connection:expr, $query:expr, $method:ident) => {{
        $connection.asks(true);
        let answered = match $connection.engine()? {
            $crate::database::Engine::Postgres(c) => diesel_async::RunQueryDsl::$method($query, c).await,
            $crate::database::Engine::Sqlite(c) => {
                let query = $query;
                c.spawn_blocking(move |c| diesel::RunQueryDsl::$method(query, c)).await
            }
        };
        $connection.asks(false);
        answered
    }};
}
pub(crate) use ask;

/// Asks for one row, if there is one, by what is asked at every turn; see [`ask`].
macro_rules! find {
    ($connection:expr, $query:expr) => {
        diesel::OptionalExtension::optional($crate::database::ask!($connection, $query, get_result))
    };
}
pub(crate) use find;

/// Asks for the rows of a list; see [`ask`].
macro_rules! rows {
    ($connection:expr, $query:expr) => {
        $crate::database::ask!($connection, $query, load)
    };
}
pub(crate) use rows;

/// The beginning of a condition whose value is bound behind it, for a query that is planned anew each time: what is rare is known
/// by its value alone, and a plan that is kept for whatever value there may be has a page of it looked for among all rows.
pub(crate) fn planned(condition: &str) -> SqlLiteral<Bool> {
    diesel::dsl::sql(condition)
}

impl Connection {
    /// Notes that a question begins, or has been answered.
    pub(crate) fn asks(&mut self, asks: bool) {
        if let Held::SqliteReader(reader) = &mut self.0 {
            reader.asking = asks;
        }
    }

    /// Where large values are read.
    pub(crate) fn objects(&self) -> Option<&Arc<dyn Objects>> {
        self.1.get()
    }

    pub(crate) fn engine(&mut self) -> Result<Engine<'_>> {
        let lost = || Error::Unavailable("the connection was lost".into());
        Ok(match &mut self.0 {
            Held::Postgres(object) => Engine::Postgres(object.as_mut().ok_or_else(lost)?.as_mut()),
            Held::SqliteReader(reader) => Engine::Sqlite(reader.object.as_mut().ok_or_else(lost)?),
            Held::SqliteWriter(guard) => Engine::Sqlite(guard.0.as_mut().ok_or_else(lost)?),
        })
    }
}

/// The database as it stood at one moment.
pub struct Snapshot(Option<Connection>);

impl Snapshot {
    /// What the snapshot is read with.
    ///
    /// # Errors
    /// Never, while it lives.
    pub fn connection(&mut self) -> Result<&mut Connection> {
        self.0.as_mut().ok_or_else(|| Error::Unavailable("the connection was lost".into()))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // Closing the connection ends the moment; back in the pool it would go on.
        match self.0.take() {
            Some(Connection(Held::Postgres(object), _)) => drop(object.map(|object| Object::take(*object))),
            Some(Connection(Held::SqliteReader(mut reader), _)) => reader.asking = true,
            Some(Connection(Held::SqliteWriter(_), _)) | None => {}
        }
    }
}

/// A transaction to read and write in.
pub struct Transaction {
    connection: Connection,
    ended: bool,
    bells: Arc<Bells>,
    /// Which of them are rung once this is durable.
    to_ring: [bool; 3],
}

impl Transaction {
    /// Makes everything that was written durable, and visible to others.
    ///
    /// # Errors
    /// The database's. Nothing was written then, unless the connection was lost while the database answered.
    #[boxed]
    pub async fn commit(self) -> Result<()> {
        let (bells, to_ring) = (Arc::clone(&self.bells), self.to_ring);
        self.end("COMMIT").await?;
        for (bell, _) in bells.iter().zip(to_ring).filter(|(_, ring)| *ring) {
            bell.notify_one();
        }
        Ok(())
    }

    /// Notes that something of a kind is among what is written.
    pub(crate) fn note(&mut self, what: Bell) {
        self.to_ring[what as usize] = true;
    }

    /// Takes everything back.
    ///
    /// # Errors
    /// The database's; nothing was written then either.
    #[boxed]
    pub async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &str) -> Result<()> {
        with!(self, c => c.batch_execute(statement).await)?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Closing the connection ends what was begun on it, wherever that stands.
        match &mut self.connection.0 {
            Held::Postgres(object) => drop(object.take().map(|object| Object::take(*object))),
            Held::SqliteWriter(guard) => guard.0 = None,
            Held::SqliteReader(_) => {}
        }
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
