//! Objects: pieces of data that are too large for the database, under keys, in a folder or in a bucket of S3.
//!
//! An object is written once, whole, and read whole: nothing that is kept here is larger than [`MAX_OBJECT`]. Putting, reading
//! and removing may all be done again; an object that is removed twice is simply gone. What an object means, and who may
//! see it, is decided by whoever names its key.

mod files;
mod key;
mod s3;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use files::Files;
pub use key::{InvalidKey, Key};
pub use s3::{S3, S3Settings};

/// The most bytes of an object.
pub const MAX_OBJECT: usize = 128 * 1024 * 1024;
/// The most objects that are listed at once.
pub const MAX_LISTED: usize = 1000;

/// Where objects are kept.
pub trait ObjectStore: Send + Sync + 'static {
    /// Keeps an object; one that is there under the key is replaced. Once this has returned it is durable.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Unavailable`], [`Error::Refused`].
    fn put<'a>(&'a self, key: &'a Key, bytes: Bytes) -> BoxFuture<'a, Result<()>>;

    /// An object; none where there is none.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Unavailable`], [`Error::Refused`].
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>>;

    /// Whether there is an object.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    fn exists<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool>>;

    /// Up to `most` objects (at most [`MAX_LISTED`]) whose keys begin with a prefix, in the order of their keys as bytes, behind
    /// a key.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>>;

    /// Whether objects can be kept at the moment, asked once and not for longer than a few seconds.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> BoxFuture<'_, Result<()>>;
}

/// An object as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
}

/// Where objects are to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// In a folder, which is made where it is missing.
    Files(PathBuf),
    /// In a bucket.
    S3(Box<S3Settings>),
}

impl StoreSettings {
    /// Opens the store. A bucket is asked for first: what is wrong with its name or with the credentials is told now. One that
    /// cannot be reached is opened all the same, and is not ready.
    ///
    /// # Errors
    /// [`Error::Refused`]: the operator must put something right.
    pub async fn open(&self) -> Result<Arc<dyn ObjectStore>> {
        match self {
            Self::Files(folder) => Ok(Arc::new(Files::open(folder.clone()).await?)),
            Self::S3(settings) => {
                let store = S3::new(settings)?;
                match store.check().await {
                    Err(error @ Error::Refused(_)) => return Err(error),
                    Err(error) => tracing::warn!(%error, "the object store is not there yet"),
                    Ok(()) => {}
                }
                Ok(Arc::new(store))
            }
        }
    }

    /// The store as it is, for a visitor beside the servers: nothing is made and nothing asked.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn visit(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(match self {
            Self::Files(folder) => Arc::new(Files::visit(folder.clone())),
            Self::S3(settings) => Arc::new(S3::new(settings)?),
        })
    }
}

impl fmt::Display for StoreSettings {
    /// Where the store is, without what opens it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(folder) => write!(f, "file://{}", folder.display()),
            Self::S3(settings) => {
                let S3Settings { bucket, prefix, endpoint, .. } = &**settings;
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "s3://{bucket}{slash}{prefix}")?;
                endpoint.iter().try_for_each(|endpoint| write!(f, " at {endpoint}"))
            }
        }
    }
}

/// What goes wrong with objects.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached, or does not do its work at the moment.
    #[error("the object store is not available: {0}")]
    Unavailable(String),
    /// The store does not want to: the place is not there, or not for us.
    #[error("the object store refuses: {0}")]
    Refused(String),
    /// The store is another one than it is taken for.
    #[error("{0}")]
    Another(String),
    /// The object has more than [`MAX_OBJECT`] bytes.
    #[error("the object is larger than {MAX_OBJECT} bytes")]
    TooLarge,
}

/// The result of what is done with objects.
pub type Result<T> = std::result::Result<T, Error>;
