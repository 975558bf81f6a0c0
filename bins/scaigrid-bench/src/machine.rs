//! On what it was measured: without this a figure means nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use diesel::connection::Connection as _;
use diesel::sql_types::Text;
use diesel_async::AsyncConnection as _;
use serde::Serialize;

/// The machine and the versions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// Processors that the generator may use.
    pub(crate) processors: usize,
    /// What kind.
    pub(crate) processor: String,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// The kernel.
    pub(crate) kernel: String,
    /// The file system of the databases' folder.
    pub(crate) file_system: String,
    /// The server's program.
    pub(crate) server: String,
    /// The commit that is checked out where the generator runs, and whether anything differs from it; nothing outside a checkout.
    pub(crate) commit: String,
    /// The compiler there; what `cargo xtask bench` measures is built with it.
    pub(crate) rustc: String,
    /// The `SQLite` that both the server and the floor carry.
    pub(crate) sqlite: String,
    /// The `PostgreSQL`, where there is one.
    pub(crate) postgres: Option<String>,
    /// Its settings that decide about durability.
    pub(crate) postgres_settings: Vec<String>,
}

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) async fn look(server: &Path, scratch: &Path, postgres: Option<&str>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let (version, settings) = match postgres {
            Some(url) => match look_at_postgres(url).await {
                Ok((version, settings)) => (Some(version), settings),
                Err(_) => (None, Vec::new()),
            },
            None => (None, Vec::new()),
        };
        Self {
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_bytes: kilobytes * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/mounts"), scratch),
            server: output(Command::new(server).arg("--version")),
            commit: output(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"])),
            rustc: rustc(),
            sqlite: sqlite_version().unwrap_or_default(),
            postgres: version,
            postgres_settings: settings,
        }
    }
}

/// The compiler where the generator runs; nothing where there is none.
pub(crate) fn rustc() -> String {
    output(Command::new("rustc").arg("--version"))
}

/// What a program says; nothing where it is not there or fails.
fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn sqlite_version() -> Option<String> {
    let mut connection = diesel::SqliteConnection::establish(":memory:").ok()?;
    let query = diesel::sql_query("SELECT sqlite_version() AS line");
    let row: Line = diesel::RunQueryDsl::get_result(query, &mut connection).ok()?;
    Some(row.line)
}

async fn look_at_postgres(url: &str) -> anyhow::Result<(String, Vec<String>)> {
    let mut connection = diesel_async::AsyncPgConnection::establish(url).await?;
    let query = diesel::sql_query("SELECT current_setting('server_version') AS line");
    let version: Line = diesel_async::RunQueryDsl::get_result(query, &mut connection).await?;
    let query = diesel::sql_query(
        "SELECT name || '=' || setting AS line FROM pg_settings WHERE name IN \
         ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers') ORDER BY name",
    );
    let settings: Vec<Line> = diesel_async::RunQueryDsl::load(query, &mut connection).await?;
    Ok((version.line, settings.into_iter().map(|row| row.line).collect()))
}

/// The type of the file system that a folder is on: that of the longest mount point above it.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let entries = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = entries.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/no/such/folder")), "ext4");
        assert_eq!(file_system(mounts, Path::new("/tmp/no/such/folder")), "tmpfs");
    }

    #[test]
    fn the_embedded_database_tells_its_version() {
        assert!(sqlite_version().unwrap().starts_with("3."));
    }
}
