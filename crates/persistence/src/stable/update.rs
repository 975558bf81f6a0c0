//! Updates that are prepared once.
//!
//! Diesel never keeps what an `UPDATE` is prepared to, since a changeset may leave columns out. To prepare one on SQLite costs more
//! than to run it: the triggers of its table are compiled into it each time. What is changed here is a column, or a tuple of
//! columns, each with its value, so that its type says what it will be as a text.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::expression::AppearsOnTable;
use diesel::query_builder::{AsChangeset, AstPass, QueryFragment, QueryId};
use diesel::sql_types::Bool;
use diesel::{Expression, QueryResult, QuerySource, RunQueryDsl, Table};

/// An `UPDATE` whose text follows from its type.
pub(crate) struct Update<T: QuerySource, C: AsChangeset, W> {
    table: T::FromClause,
    changes: C::Changeset,
    condition: W,
}

/// Changes the rows of a table for which a condition holds.
#[expect(clippy::needless_pass_by_value, reason = "a table is a name without a size")]
pub(crate) fn update<T, C, W>(table: T, changes: C, condition: W) -> Update<T, C, W>
where
    T: Table,
    C: AsChangeset<Target = T>,
    W: Expression<SqlType = Bool> + AppearsOnTable<T>,
{
    Update { table: table.from_clause(), changes: changes.as_changeset(), condition }
}

/// By what the statement is known: the table, what is changed and by what rows are chosen, without the values.
pub(crate) struct Text<T, C, W>(PhantomData<(T, C, W)>);

impl<T, C, W> QueryId for Update<T, C, W>
where
    T: QuerySource + 'static,
    C: AsChangeset + QueryId,
    W: QueryId,
{
    type QueryId = Text<T, C::QueryId, W::QueryId>;

    const HAS_STATIC_QUERY_ID: bool = C::HAS_STATIC_QUERY_ID && W::HAS_STATIC_QUERY_ID;
}

impl<DB, T, C, W> QueryFragment<DB> for Update<T, C, W>
where
    DB: Backend,
    T: QuerySource,
    T::FromClause: QueryFragment<DB>,
    C: AsChangeset,
    C::Changeset: QueryFragment<DB>,
    W: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE ");
        self.table.walk_ast(out.reborrow())?;
        out.push_sql(" SET ");
        self.changes.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.condition.walk_ast(out)
    }
}

impl<Conn, T: QuerySource, C: AsChangeset, W> RunQueryDsl<Conn> for Update<T, C, W> {}
