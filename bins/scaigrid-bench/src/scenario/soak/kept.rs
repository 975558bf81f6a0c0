//! How large what a server keeps is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use diesel::connection::Connection as _;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

use crate::options::Engine;
use crate::report::Kept;
use crate::scratch::Place;

const JOURNAL: &str = "SELECT count(*) AS number FROM journal";
const DATABASE: &str = "SELECT pg_database_size(current_database()) AS number";

#[derive(diesel::QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl Counted {
    fn number(&self) -> u64 {
        u64::try_from(self.number).unwrap_or_default()
    }
}

/// Looks at a place where a server runs. Counting takes a while, and nobody waits for it meanwhile.
pub(super) async fn look(place: &Place) -> anyhow::Result<Kept> {
    let objects = place.folder().join("objects");
    let object_bytes = tokio::task::spawn_blocking(move || size_of(&objects)).await??;
    let (database_bytes, journal_rows) = match place.engine {
        Engine::Sqlite => {
            let file = place.url.trim_start_matches("sqlite://").to_owned();
            tokio::task::spawn_blocking(move || sqlite(&file)).await??
        }
        Engine::Postgres => postgres(place).await?,
    };
    Ok(Kept { database_bytes, object_bytes, journal_rows })
}

/// The database and its log, and the rows.
fn sqlite(file: &str) -> anyhow::Result<(u64, u64)> {
    let parts = ["", "-wal"].map(|end| PathBuf::from(format!("{file}{end}")));
    let bytes = parts.iter().filter_map(|part| part.metadata().ok()).map(|part| part.len()).sum();
    let mut connection = SqliteConnection::establish(file).context("cannot open the database")?;
    let rows: Counted = diesel::RunQueryDsl::get_result(diesel::sql_query(JOURNAL), &mut connection)?;
    Ok((bytes, rows.number()))
}

async fn postgres(place: &Place) -> anyhow::Result<(u64, u64)> {
    let mut connection = place.counters().await?.context("no PostgreSQL")?;
    let bytes: Counted =
        diesel_async::RunQueryDsl::get_result(diesel::sql_query(DATABASE), &mut connection).await?;
    let rows: Counted =
        diesel_async::RunQueryDsl::get_result(diesel::sql_query(JOURNAL), &mut connection).await?;
    Ok((bytes.number(), rows.number()))
}

/// The bytes of all files in a folder, which may not be there, and which may change meanwhile.
fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let Ok(entries) = folder.read_dir() else { return Ok(0) };
    let mut bytes = 0;
    for entry in entries {
        let path = entry?.path();
        // What has just gone has no size.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        bytes += if metadata.is_dir() { size_of(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_a_folder_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("one"), "12345").unwrap();
        std::fs::write(folder.path().join("inner/other"), "123").unwrap();
        assert_eq!(size_of(folder.path()).unwrap(), 8);
        assert_eq!(size_of(&folder.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn the_rows_of_journals_are_counted() {
        use diesel::connection::SimpleConnection as _;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("scaigrid.db").display().to_string();
        let mut connection = SqliteConnection::establish(&file).unwrap();
        connection.batch_execute("CREATE TABLE journal (seq); INSERT INTO journal VALUES (1), (2);").unwrap();
        let (bytes, rows) = sqlite(&file).unwrap();
        assert!(bytes > 0);
        assert_eq!(rows, 2);
    }
}
