//! A condition that a column is one of some texts, however many these are.
//!
//! `eq_any` of diesel writes a parameter for each of them on SQLite, so that nothing it was prepared to is kept. Here they are one
//! parameter on either database.

use diesel::expression::{AppearsOnTable, SelectableExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Bool, Text};
use diesel::sqlite::Sqlite;
use diesel::{Column, Expression, QueryResult};
use serde_json::json;

/// What [`among`] gives.
#[derive(Debug, Clone, QueryId, ValidGrouping)]
pub(crate) struct Among<C> {
    column: C,
    values: Vec<String>,
    /// The same as JSON.
    json: String,
}

/// That a column is one of these texts.
pub(crate) fn among<C>(column: C, values: impl IntoIterator<Item: Into<String>>) -> Among<C>
where
    C: Column<SqlType = Text>,
{
    let values: Vec<String> = values.into_iter().map(Into::into).collect();
    let json = json!(values).to_string();
    Among { column, values, json }
}

impl<C: Expression> Expression for Among<C> {
    type SqlType = Bool;
}

impl<C, QS> AppearsOnTable<QS> for Among<C>
where
    C: AppearsOnTable<QS>,
    Self: Expression,
{
}

impl<C, QS> SelectableExpression<QS> for Among<C>
where
    C: SelectableExpression<QS>,
    Self: AppearsOnTable<QS>,
{
}

impl<C: QueryFragment<Pg>> QueryFragment<Pg> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" = ANY(");
        out.push_bind_param::<Array<Text>, _>(&self.values)?;
        out.push_sql(")");
        Ok(())
    }
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (SELECT value FROM json_each(");
        out.push_bind_param::<Text, _>(&self.json)?;
        out.push_sql("))");
        Ok(())
    }
}
