//! The first rows of a query, whose number stands in the statement's text.
//!
//! SQLite looks at the value of a number that is bound there, and so plans the statement anew whenever it is bound. A page has a
//! hundred rows at most, so the texts are few.

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::{QueryResult, RunQueryDsl};

/// What [`page`] gives.
#[derive(Debug, Clone)]
pub(crate) struct Page<Q> {
    query: Q,
    rows: i64,
}

/// The first rows of a query that has no limit of its own.
pub(crate) fn page<Q: Query>(query: Q, rows: i64) -> Page<Q> {
    Page { query, rows }
}

impl<Q: Query> Query for Page<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> QueryId for Page<Q> {
    type QueryId = ();

    // The number is not in the type.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Page<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(" LIMIT ");
        out.push_sql(&self.rows.to_string());
        Ok(())
    }
}

impl<Conn, Q> RunQueryDsl<Conn> for Page<Q> {}
