//! Statements that are prepared once.
//!
//! Diesel never keeps what an `UPDATE` is prepared to, since a changeset may leave columns out. To prepare one on SQLite costs more
//! than to run it: the triggers of its table are compiled into it each time.

use diesel::QueryResult;
use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement of which there are a few texts at most; what each is prepared to is kept under its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stable<Q>(pub(crate) Q);

impl<Q> QueryId for Stable<Q> {
    type QueryId = ();

    // The text decides.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Stable<Q> {
    type SqlType = Q::SqlType;
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Stable<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<C, Q> RunQueryDsl<C> for Stable<Q> {}
