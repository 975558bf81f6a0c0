//! The object store that belongs to a database, known by a mark in both.
//!
//! Large values lie in the store, and the database only refers to them: to a node with another store it would look as if they had
//! never been. So an object in the store, [`MARK`], holds an id, and the database holds the same one. The first server on a database
//! settles it; who finds another id in the store, or none, has another store before them and does not start. A store that cannot be
//! asked is neither read nor written until it could be.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use scaigrid_persistence::{Database, Transaction, platform_facts};
use scaigrid_storage::{Error, Key, Listed, ObjectStore, Result};
use tokio::sync::Mutex;

/// The object that says which store it lies in.
pub const MARK: &str = "scaigrid-store";
/// The fact that names the store of the database.
pub(crate) const OBJECT_STORE: &str = "object_store";
/// The length of an id.
const ID: usize = 26;
/// How long the store may take for one thing while it is found out whose it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what was asked in vain is not asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a store is asked that could not be asked at the start.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// An object store that does nothing until it has proven to be the database's.
pub struct OwnStore {
    store: Arc<dyn ObjectStore>,
    /// Where the store is, as operators are told.
    place: String,
    /// The id of a store that has none, where the database knows of none either; without one both are left as they are.
    candidate: Option<String>,
    proven: AtomicBool,
    unproven: Mutex<Unproven>,
}

/// What is needed until the store has proven to be the database's.
#[derive(Default)]
struct Unproven {
    /// The database, which reads from the store in turn: they would keep each other for ever.
    database: Option<Database>,
    /// When the store was last asked in vain, and why.
    in_vain: Option<(Instant, Error)>,
}

impl fmt::Debug for OwnStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStore")
            .field("place", &self.place)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

impl OwnStore {
    /// The store of a server. Where neither the store nor the database has an id, both get this one, a ULID.
    pub fn of_server(
        store: Arc<dyn ObjectStore>,
        database: Database,
        place: String,
        candidate: String,
    ) -> Self {
        let unproven = Unproven { database: Some(database), in_vain: None };
        Self {
            store,
            place,
            candidate: Some(candidate),
            proven: AtomicBool::new(false),
            unproven: Mutex::new(unproven),
        }
    }

    /// The store of a visitor beside the servers, who settles nothing.
    pub fn of_visitor(store: Arc<dyn ObjectStore>, database: Database, place: String) -> Self {
        Self { candidate: None, ..Self::of_server(store, database, place, String::new()) }
    }

    /// Finds out whether the store is the database's, unless that is known.
    ///
    /// # Errors
    /// [`Error::Another`] when it is not; whatever keeps that from being found out.
    pub async fn prove(&self) -> Result<()> {
        if self.proven.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut unproven = self.unproven.lock().await;
        // Whoever was here before may have found out.
        let Some(database) = unproven.database.clone() else { return Ok(()) };
        if let Some((at, error)) = &unproven.in_vain
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let answer = self.ask(&database).await;
        match &answer {
            Ok(()) => {
                *unproven = Unproven::default();
                self.proven.store(true, Ordering::Release);
            }
            Err(error) => unproven.in_vain = Some((Instant::now(), error.clone())),
        }
        answer
    }

    /// Asks a store that could not be asked at the start until it can be, and comes back only if it turns out to be another one.
    pub async fn turns_out_to_be_another(&self) -> Error {
        loop {
            match self.prove().await {
                Ok(()) => std::future::pending::<()>().await,
                Err(error @ Error::Another(_)) => return error,
                Err(error) => tracing::debug!(%error, "whose the object store is cannot be found out yet"),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    #[boxed]
    async fn ask(&self, database: &Database) -> Result<()> {
        let mut connection = database.read().await.map_err(unknown)?;
        let known = platform_facts::lookup(&mut connection, OBJECT_STORE).await.map_err(unknown)?;
        drop(connection);
        match (known, &self.candidate) {
            (Some(known), _) => self.compare(&known).await,
            (None, Some(candidate)) => self.settle(database, candidate).await,
            // Until a server has settled it there is nothing to compare.
            (None, None) => Ok(()),
        }
    }

    async fn compare(&self, known: &str) -> Result<()> {
        let found = match self.mark().await? {
            Some(mark) if mark == known => return Ok(()),
            Some(mark) => format!("its object {MARK} says {mark}"),
            None => format!("there is no object {MARK} in it"),
        };
        Err(Error::Another(format!(
            "{} is not the object store of this database, which has {known}: {found}; all nodes need the same folder \
             or bucket, and after a move it must hold all objects of the old one, {MARK} included",
            self.place
        )))
    }

    /// Makes the store the database's, unless another one is meanwhile.
    ///
    /// One that has an id already keeps it: whoever gave it died before the database knew of it, or the database is older than that.
    #[boxed]
    async fn settle(&self, database: &Database, candidate: &str) -> Result<()> {
        let mark = self.mark().await?;
        let id = mark.as_deref().unwrap_or(candidate);
        let mut tx = database.begin().await.map_err(unknown)?;
        let settled = self.settle_in(&mut tx, id, mark.is_some()).await;
        if settled.as_ref().is_ok_and(|known| known == id) {
            return tx.commit().await.map_err(unknown);
        }
        if let Err(lost) = tx.rollback().await {
            tracing::debug!(error = %lost, "a transaction could not be taken back and was dropped");
        }
        self.compare(&settled?).await
    }

    /// Writes down what the database's store is, and then says so in the store. Of several who do so at once the others wait for the
    /// first; where that one dies in between, the store has an id that the database does not know, and keeps it.
    async fn settle_in(&self, tx: &mut Transaction, id: &str, marked: bool) -> Result<String> {
        let known = platform_facts::put_if_absent(tx, OBJECT_STORE, id).await.map_err(unknown)?;
        if known == id && !marked {
            if self.mark().await?.is_some() {
                return Err(Error::Unavailable("somebody else has just given it an id".to_owned()));
            }
            let key = mark_key()?;
            in_time(self.store.put(&key, format!("{id}\n").into())).await?;
        }
        Ok(known)
    }

    /// The id of the store, if it has one.
    async fn mark(&self) -> Result<Option<String>> {
        read_mark(&*self.store).await
    }
}

/// The id of a store, if it has one.
///
/// # Errors
/// [`Error::Refused`] where the object that should hold it holds something else; the store's.
pub(crate) async fn read_mark(store: &dyn ObjectStore) -> Result<Option<String>> {
    let key = mark_key()?;
    let Some(bytes) = in_time(store.get(&key)).await? else { return Ok(None) };
    let text = str::from_utf8(&bytes).unwrap_or_default().trim();
    if text.len() == ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(Some(text.to_owned()));
    }
    Err(Error::Refused(format!("its object {MARK} does not hold the id of a store")))
}

/// The key of the object that names a store.
pub(crate) fn mark_key() -> Result<Key> {
    Key::new(MARK).map_err(|error| Error::Refused(error.to_string()))
}

async fn in_time<T>(asked: BoxFuture<'_, Result<T>>) -> Result<T> {
    let late = |_| Err(Error::Unavailable("it does not answer in time".to_owned()));
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(late)
}

fn unknown(error: impl Display) -> Error {
    Error::Unavailable(format!("whether it is the database's cannot be found out: {error}"))
}

impl ObjectStore for OwnStore {
    fn put<'a>(&'a self, key: &'a Key, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        async move {
            self.prove().await?;
            self.store.put(key, bytes).await
        }
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>>> {
        async move {
            self.prove().await?;
            self.store.get(key).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        async move {
            self.prove().await?;
            self.store.delete(key).await
        }
        .boxed()
    }

    fn exists<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool>> {
        async move {
            self.prove().await?;
            self.store.exists(key).await
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        async move {
            self.prove().await?;
            self.store.list(prefix, after, most).await
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.prove().await?;
            self.store.check().await
        }
        .boxed()
    }
}
