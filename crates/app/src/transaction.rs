//! How use cases end their transactions, and what they say of writes that found something else than expected.

use scaigrid_persistence::{Transaction, Written};

use crate::error::{Error, Resource};

/// Ends a transaction as the work in it ended: what was done becomes durable, what failed leaves nothing behind.
///
/// Dropping the transaction would do for failures too, but costs the connection.
pub(crate) async fn ended<T>(tx: Transaction, result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Ok(value) => {
            tx.commit().await?;
            Ok(value)
        }
        Err(error) => {
            if let Err(lost) = tx.rollback().await {
                tracing::debug!(error = %lost, "a transaction could not be taken back and was dropped");
            }
            Err(error)
        }
    }
}

/// What became of a write, as the caller is told.
pub(crate) const fn written(written: Written, resource: Resource) -> Result<(), Error> {
    match written {
        Written::Done => Ok(()),
        Written::Missing => Err(Error::NotFound(resource)),
        Written::Stale => Err(Error::PreconditionFailed),
    }
}

/// The revisions that a caller accepts when they change something; `None` for any. An empty list accepts nothing.
pub type Expected<'a> = Option<&'a [u64]>;

/// Whether a revision is among the expected ones.
pub(crate) fn check_expected(expected: Expected<'_>, revision: i64) -> Result<(), Error> {
    let met = expected.is_none_or(|revisions| revisions.contains(&revision.unsigned_abs()));
    if met { Ok(()) } else { Err(Error::PreconditionFailed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_met_by_the_revisions_that_it_lists() {
        assert!(check_expected(None, 3).is_ok());
        assert!(check_expected(Some(&[2, 3]), 3).is_ok());
        assert!(check_expected(Some(&[2]), 3).is_err());
        assert!(check_expected(Some(&[]), 3).is_err());
    }
}
