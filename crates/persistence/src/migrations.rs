//! What the migrations of both databases have in common.

use diesel::backend::Backend;
use diesel::migration::{Migration as _, MigrationSource, Result};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

/// The latest migration that a database has and this version of the program does not know.
pub(crate) fn unknown<DB: Backend>(
    database: &mut impl MigrationHarness<DB>,
    known: &EmbeddedMigrations,
) -> Result<Option<String>> {
    let known = MigrationSource::<DB>::migrations(known)?;
    let known: Vec<_> = known.iter().map(|migration| migration.name().version().as_owned()).collect();
    let applied = database.applied_migrations()?;
    Ok(applied
        .into_iter()
        .filter(|version| !known.contains(version))
        .max()
        .map(|version| version.to_string()))
}
