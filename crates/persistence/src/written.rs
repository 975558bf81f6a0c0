//! What became of a change that was asked for, and revisions, by which changes find out about each other.

/// What became of a change to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It was made.
    Done,
    /// There is no such row in that scope.
    Missing,
    /// The row is there, but not in the revision that was expected: someone else changed it first.
    Stale,
}

/// A value as it stood in a revision; what an entity tag is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised<T> {
    /// The value.
    pub value: T,
    /// Counts the changes of its row, from 1.
    pub revision: i64,
}

impl Written {
    /// Tells a stale expectation from a missing row, after an update that touched `rows` rows. Without an
    /// expectation nothing can be stale.
    pub(crate) const fn of(rows: usize, expected: Option<i64>, exists: bool) -> Self {
        match (rows, expected) {
            (0, Some(_)) if exists => Self::Stale,
            (0, _) => Self::Missing,
            _ => Self::Done,
        }
    }
}

/// The revisions that an update accepts, from and to: the expected one, or any.
pub(crate) const fn accepted(expected: Option<i64>) -> (i64, i64) {
    match expected {
        Some(revision) => (revision, revision),
        None => (i64::MIN, i64::MAX),
    }
}
