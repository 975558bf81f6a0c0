//! Objects in a folder, a file each.
//!
//! A file is written beside its place, flushed to the disk, and then renamed: it is there whole or not at all. Nodes that
//! share the folder over a file system of the network see each other's objects.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::{Error, Key, Listed, MAX_LISTED, MAX_OBJECT, ObjectStore, Result};

/// Where files are until they are whole. No key begins with a dot.
const UNFINISHED: &str = ".unfinished";
/// After so long nobody writes an unfinished file any more.
const ABANDONED: Duration = Duration::from_hours(24);

/// Objects in a folder.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// The store in a folder, which is made where it is missing, for its owner alone.
    ///
    /// # Errors
    /// [`Error::Refused`] when the folder cannot be made or used.
    pub async fn open(folder: PathBuf) -> Result<Self> {
        let store = Self { folder };
        let opened = store.clone();
        blocking(move || {
            let prepared = opened.prepare();
            prepared
                .map_err(|error| Error::Refused(format!("cannot use {}: {error}", opened.folder.display())))
        })
        .await?;
        Ok(store)
    }

    /// The store in a folder as it is; nothing is made before something is put.
    pub fn visit(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn prepare(&self) -> io::Result<()> {
        make_folder(&self.folder.join(UNFINISHED))?;
        self.probe()?;
        for entry in fs::read_dir(self.folder.join(UNFINISHED))? {
            let entry = entry?;
            let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
            if age.is_ok_and(|age| age > ABANDONED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether a file can be written.
    fn probe(&self) -> io::Result<()> {
        let path = self.unfinished();
        let written = open_new(&path).and_then(|mut file| file.write_all(b"?"));
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join(UNFINISHED).join(format!("{:032x}", rand::random::<u128>()))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.as_str())
    }

    fn put_now(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        let (place, unfinished) = (self.path(key), self.unfinished());
        let folder = place.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        make_folder(&self.folder.join(UNFINISHED))?;
        let written = open_new(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &place)
        });
        if let Err(error) = written {
            // What cannot be removed is found at the next start.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        // The name is durable with the folders that lead to it.
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&self.folder)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn get_now(&self, key: &Key) -> Result<Option<Bytes>> {
        let read = || {
            let file = File::open(self.path(key))?;
            if !file.metadata()?.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let mut bytes = Vec::new();
            file.take(MAX_OBJECT as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() > MAX_OBJECT => Err(Error::TooLarge),
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if is_absent(&error) => self.is_there().map(|()| None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Whether what is not in the folder is missing, rather than the folder itself, whose disk may be away.
    fn is_there(&self) -> Result<()> {
        match fs::metadata(&self.folder) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(Error::Unavailable("its folder is no folder".to_owned())),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn list_now(&self, prefix: &str, after: Option<&Key>, most: usize) -> io::Result<Vec<Listed>> {
        // What stands before the last slash is a folder; the rest is the beginning of a name.
        let below = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut found = Vec::new();
        if below.is_empty() || Key::new(below).is_ok() {
            let walk = Walk { prefix, after: after.map_or("", Key::as_str), most: most.min(MAX_LISTED) };
            walk.folder(&self.folder.join(below), below, &mut found)?;
        }
        Ok(found)
    }
}

/// A walk through folders in the order of keys.
struct Walk<'a> {
    prefix: &'a str,
    after: &'a str,
    most: usize,
}

impl Walk<'_> {
    fn folder(&self, folder: &Path, name: &str, found: &mut Vec<Listed>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names: Vec<(String, bool)> = Vec::new();
        for entry in entries {
            let entry = entry?;
            let is_folder = entry.file_type()?.is_dir();
            if let Ok(part) = entry.file_name().into_string().map_err(|_: OsString| ())
                && Key::new(part.as_str()).is_ok()
            {
                let whole = if name.is_empty() { part } else { format!("{name}/{part}") };
                // A folder stands where the keys in it stand.
                names.push((if is_folder { whole + "/" } else { whole }, is_folder));
            }
        }
        names.sort_unstable();
        for (key, is_folder) in names {
            if found.len() >= self.most {
                break;
            }
            let wanted = key.starts_with(self.prefix) || (is_folder && self.prefix.starts_with(&key));
            if !wanted || (!is_folder && *key <= *self.after) {
                continue;
            }
            if is_folder {
                // All that is in it may lie behind.
                if *self.after < *key || self.after.starts_with(&key) {
                    self.folder(&folder.join(last(&key)), key.trim_end_matches('/'), found)?;
                }
            } else if let Ok(metadata) = fs::metadata(folder.join(last(&key)))
                && let Ok(key) = Key::new(key)
            {
                found.push(Listed { key, size: metadata.len() });
            }
        }
        Ok(())
    }
}

/// The last part of a name.
fn last(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    name.rsplit_once('/').map_or(name, |(_, part)| part)
}

impl ObjectStore for Files {
    fn put<'a>(&'a self, key: &'a Key, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        let (store, key) = (self.clone(), key.clone());
        blocking(move || {
            if bytes.len() > MAX_OBJECT {
                return Err(Error::TooLarge);
            }
            store.put_now(&key, &bytes).map_err(|error| unavailable(&error))
        })
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let (store, key) = (self.clone(), key.clone());
        blocking(move || store.get_now(&key)).boxed()
    }

    fn delete<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        let path = self.path(key);
        blocking(move || match fs::remove_file(path) {
            Err(error) if !is_absent(&error) => Err(unavailable(&error)),
            _ => Ok(()),
        })
        .boxed()
    }

    fn exists<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool>> {
        let (store, path) = (self.clone(), self.path(key));
        blocking(move || match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if is_absent(&error) => store.is_there().map(|()| false),
            Err(error) => Err(unavailable(&error)),
        })
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>>> {
        let (store, prefix, after) = (self.clone(), prefix.to_owned(), after.cloned());
        let list = move || store.list_now(&prefix, after.as_ref(), most).map_err(|error| unavailable(&error));
        blocking(list).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<()>> {
        let store = self.clone();
        blocking(move || store.probe().map_err(|error| unavailable(&error))).boxed()
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}

/// Whether there is nothing: neither the file nor a folder on the way to it.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn unavailable(error: &io::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// Does what may block on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Unavailable(error.to_string()))?
}
