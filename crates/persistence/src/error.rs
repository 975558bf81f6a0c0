//! What can go wrong between the domain and a database.

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or gave up in the middle: the same call may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A uniqueness rule of the schema was broken; the name of the rule or of its columns.
    #[error("the database already holds such a row ({0})")]
    Duplicate(String),
    /// A stored row cannot be a value of the domain.
    #[error("row {id} of {table} has an impossible {column}: {reason}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row.
        id: String,
        /// What is impossible about it.
        reason: String,
    },
    /// The settings or the files do not allow a database here.
    #[error("{0}")]
    Setup(String),
    /// A large value cannot be read: what is wrong with the object store.
    #[error("a large value cannot be read from the object store: {0}")]
    Objects(String),
    /// A large value is not in the object store any more, or not as it was put there, although the store does its work.
    #[error("a large value is lost: {0}")]
    Lost(String),
    /// A fault of the program or of the schema.
    #[error(transparent)]
    Query(diesel::result::Error),
}

/// The result of a persistence function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
        match error {
            Diesel::DatabaseError(Kind::UniqueViolation, ref info) => {
                Self::Duplicate(info.constraint_name().unwrap_or_else(|| info.message()).to_owned())
            }
            Diesel::DatabaseError(
                Kind::ClosedConnection | Kind::UnableToSendCommand | Kind::SerializationFailure,
                ref info,
            ) => Self::Unavailable(info.message().to_owned()),
            Diesel::DatabaseError(_, ref info) if is_passing(info.message()) => {
                Self::Unavailable(info.message().to_owned())
            }
            Diesel::BrokenTransactionManager => Self::Unavailable("the connection was lost".into()),
            other => Self::Query(other),
        }
    }
}

/// Conditions that neither database reports with an error kind of its own, and that pass.
fn is_passing(message: &str) -> bool {
    const PASSING: [&str; 9] = [
        "database is locked",
        "database or disk is full",
        "disk I/O error",
        "connection closed",
        "terminating connection",
        "the database system is",
        "deadlock detected",
        "canceling statement due to lock timeout",
        "could not extend file",
    ];
    PASSING.iter().any(|known| message.contains(known))
}

impl Error {
    /// A database that a newer version of the program has had.
    pub(crate) fn newer(migration: &str) -> Self {
        Self::Setup(format!(
            "a newer version of the program has changed the database (migration {migration} is not known here); use that one, or a \
             backup from before"
        ))
    }

    /// An impossible row.
    pub(crate) fn inconsistent(
        table: &'static str,
        column: &'static str,
        id: impl std::fmt::Display,
        reason: impl std::fmt::Display,
    ) -> Self {
        Self::Inconsistent { table, column, id: id.to_string(), reason: reason.to_string() }
    }

    /// Whether the same call may succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Reads a column's text as a domain value.
pub(crate) fn column<T>(table: &'static str, name: &'static str, id: &str, text: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Error::inconsistent(table, name, id, error))
}
