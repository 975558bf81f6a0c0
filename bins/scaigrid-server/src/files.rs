//! The files that a server keeps beside its database: the master key, the first admin's key, and which process it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use scaigrid_persistence::sealing::Vault;

use crate::settings::{Secret, Settings};

/// Something that the operator must put right before the server can start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);

/// The right to use a data folder; ends with the process.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "held, not read")] File);

/// Makes the data folder where it is missing, for its owner alone: everything that Cores were given and computed is in it.
pub(crate) fn make_folder(setting: &str, folder: &Path) -> Result<(), Unusable> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(setting, folder, &error))
}

/// Keeps a second process from using the embedded database of a folder.
pub(crate) fn lock_folder(setting: &str, folder: &Path) -> Result<FolderLock, Unusable> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(|error| unusable(setting, &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Unusable(format!("{setting}: {} is used by another server", folder.display())))
        }
        Err(fs::TryLockError::Error(error)) => Err(unusable(setting, &path, &error)),
    }
}

/// A master key that was made for a start and is not written down yet: a start that is refused leaves none behind, which could
/// not open anything.
pub(crate) struct NewMasterKey {
    text: Secret,
    path: PathBuf,
}

impl NewMasterKey {
    /// Writes it down for the starts to come.
    pub(crate) fn keep(&self) -> io::Result<()> {
        write_secret(&self.path, self.text.reveal())
    }
}

/// The master keys: those of the settings, else the one in the data folder, else a new one.
pub(crate) fn vault(settings: &Settings) -> Result<(Vault, Option<NewMasterKey>), Unusable> {
    if let Some(vault) = existing_vault(settings)? {
        return Ok((vault, None));
    }
    let path = master_key(&settings.data_dir);
    let text = Secret::new(Vault::generate());
    let vault =
        Vault::parse(text.reveal()).map_err(|error| Unusable(format!("{}: {error}", path.display())))?;
    Ok((vault, Some(NewMasterKey { text, path })))
}

/// The master keys, where there are any: those of the settings, else the one in the data folder.
pub(crate) fn existing_vault(settings: &Settings) -> Result<Option<Vault>, Unusable> {
    if let Some(keys) = &settings.master_key {
        let vault = Vault::parse(keys.reveal());
        return vault.map(Some).map_err(|error| Unusable(format!("SCAIGRID_MASTER_KEY: {error}")));
    }
    let path = master_key(&settings.data_dir);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let vault = Vault::parse(&text);
            vault.map(Some).map_err(|error| Unusable(format!("{}: {error}", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable("SCAIGRID_DATA_DIR", &path, &error)),
    }
}

/// Where the master key is kept that no setting gives.
pub(crate) fn master_key(folder: &Path) -> PathBuf {
    folder.join("master.key")
}

/// Keeps the first admin's key, for the operator alone.
pub(crate) fn keep_admin_key(folder: &Path, key: &str) -> io::Result<()> {
    write_secret(&admin_key(folder), key)
}

/// Where the first admin's key is kept.
pub(crate) fn admin_key(folder: &Path) -> PathBuf {
    folder.join("admin.key")
}

/// Tells which process serves from a data folder, for whoever is to signal that one and no other of the machine. Dropped, it
/// goes; what a process that was killed has left there is overwritten.
#[derive(Debug)]
pub(crate) struct ProcessFile(PathBuf);

impl ProcessFile {
    /// Writes this process's number.
    pub(crate) fn write(folder: &Path) -> io::Result<Self> {
        let path = folder.join("server.pid");
        let mut file = NewFile::beside(&path)?;
        writeln!(file, "{}", std::process::id())?;
        file.keep()?;
        Ok(Self(path))
    }
}

impl Drop for ProcessFile {
    fn drop(&mut self) {
        // Two nodes of a PostgreSQL database may have one folder: the file is the one's that was started last.
        let ours = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == ours)
            && let Err(error) = fs::remove_file(&self.0)
        {
            tracing::warn!(%error, path = %self.0.display(), "the file of the process number is left behind");
        }
    }
}

/// Writes a file that only its owner can read. It appears whole or not at all: a crash in between must not leave half a
/// key behind.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

/// A file that takes the place of another once it is whole, for its owner alone. Dropped before, it leaves everything as it
/// was.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// Where it is written, until it is whole.
    unfinished: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// A file that nothing was written to, beside the one that it is to replace. What is no regular file, such as a pipe,
    /// is written to as it is.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let path = match fs::canonicalize(path) {
            // A link goes on to lead where it led.
            Ok(there) if fs::metadata(&there)?.is_file() => there,
            Ok(other) => {
                let file = OpenOptions::new().write(true).open(&other)?;
                return Ok(Self { file, unfinished: None, path: other });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        // Of two who write at once each has its own.
        let unfinished = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        Ok(Self { file, unfinished: Some(unfinished), path })
    }

    /// Puts it where it belongs.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        if let Some(unfinished) = &self.unfinished {
            self.file.sync_all()?;
            fs::rename(unfinished, &self.path)?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished
            && let Err(error) = fs::remove_file(unfinished)
        {
            tracing::warn!(%error, path = %unfinished.display(), "an unfinished file is left behind");
        }
    }
}

fn unusable(setting: &str, path: &Path, error: &io::Error) -> Unusable {
    Unusable(format!("{setting}: cannot use {}: {error}", path.display()))
}
