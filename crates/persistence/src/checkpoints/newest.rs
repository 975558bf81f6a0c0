//! What waits for somebody who is many: themselves, their groups, their roles.
//!
//! No index has what asks one of several in the order of time. So of each of them the newest are taken, as many as there may be on
//! a page, and the newest of all these are the page: however many there are of what asks others, or of what asks them.

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Bool, HasSqlType, Text};
use scaigrid_checkpoints::CheckpointStatus;
use scaigrid_scope::{CheckpointId, TenantScope};

use super::CheckpointFilter;

/// The most that somebody can be to be asked for in this way: a database puts only so many questions together.
const MOST: usize = 200;

/// The condition that a checkpoint of the table `checkpoints` is one of the newest that wait for one of the assignees of a filter,
/// and fits that filter.
#[derive(Debug, Clone)]
pub(super) struct Newest {
    tenant: String,
    /// By kind and value.
    assignees: Vec<(String, Option<String>)>,
    core: Option<String>,
    priority: Option<String>,
    checkpoint_type: Option<String>,
    /// A pattern of who is excluded, and whose votes.
    open_to: Option<(String, String)>,
    after: Option<String>,
    rows: i64,
}

impl Newest {
    /// The condition of a filter that asks for what waits for somebody.
    pub(super) fn of(
        scope: TenantScope,
        filter: &CheckpointFilter,
        after: Option<CheckpointId>,
        rows: i64,
    ) -> Option<Self> {
        let asked = filter.assignees.as_ref()?;
        if filter.status != Some(CheckpointStatus::Pending) || asked.is_empty() || asked.len() > MOST {
            return None;
        }
        let assignees = asked.iter().map(|assignee| (assignee.kind().to_string(), assignee.value()));
        Some(Self {
            tenant: scope.tenant_id().to_string(),
            assignees: assignees.collect(),
            core: filter.core_id.map(|core| core.to_string()),
            priority: filter.priority.map(|priority| priority.to_string()),
            checkpoint_type: filter.checkpoint_type.clone(),
            open_to: filter.open_to.map(|user| (super::excluding(user), user.to_string())),
            after: after.map(|id| id.to_string()),
            rows,
        })
    }

    fn of_one<'b, DB>(
        &'b self,
        kind: &'b str,
        value: Option<&'b str>,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<Text>,
        str: ToSql<Text, DB>,
    {
        let given = [
            (" AND c.core_id = ", self.core.as_deref()),
            (" AND c.priority = ", self.priority.as_deref()),
            (" AND c.checkpoint_type = ", self.checkpoint_type.as_deref()),
            (" AND c.id < ", self.after.as_deref()),
        ];
        // In the words of the partial index: a planner does not find it by a parameter.
        out.push_sql("SELECT c.id AS id FROM checkpoints c WHERE c.status = 'pending' AND c.tenant_id = ");
        out.push_bind_param::<Text, str>(&self.tenant)?;
        out.push_sql(" AND c.assignee_type = ");
        out.push_bind_param::<Text, str>(kind)?;
        match value {
            Some(value) => {
                out.push_sql(" AND c.assignee_value = ");
                out.push_bind_param::<Text, str>(value)?;
            }
            None => out.push_sql(" AND c.assignee_value IS NULL"),
        }
        for (words, value) in given.into_iter().filter_map(|(words, value)| Some((words, value?))) {
            out.push_sql(words);
            out.push_bind_param::<Text, str>(value)?;
        }
        if let Some((pattern, user)) = &self.open_to {
            out.push_sql(" AND (c.excluded IS NULL OR c.excluded NOT LIKE ");
            out.push_bind_param::<Text, str>(pattern)?;
            out.push_sql(
                ") AND NOT EXISTS (SELECT 1 FROM checkpoint_votes v WHERE v.tenant_id = c.tenant_id \
                 AND v.checkpoint_id = c.id AND v.user_id = ",
            );
            out.push_bind_param::<Text, str>(user)?;
            out.push_sql(")");
        }
        out.push_sql(&format!(" ORDER BY c.id DESC LIMIT {}", self.rows));
        Ok(())
    }
}

impl<DB> QueryFragment<DB> for Newest
where
    DB: Backend + HasSqlType<Text>,
    str: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        // Planned anew each time, since a plan is good for whom there is much of or little.
        out.unsafe_to_cache_prepared();
        out.push_sql("checkpoints.id IN (");
        for (number, (kind, value)) in self.assignees.iter().enumerate() {
            out.push_sql(if number == 0 { "SELECT id FROM (" } else { " UNION ALL SELECT id FROM (" });
            self.of_one(kind, value.as_deref(), &mut out)?;
            out.push_sql(&format!(") n{number}"));
        }
        out.push_sql(")");
        Ok(())
    }
}

/// What it says depends on how many there are.
impl QueryId for Newest {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Expression for Newest {
    type SqlType = Bool;
}

impl<Source> AppearsOnTable<Source> for Newest {}

impl<Source> SelectableExpression<Source> for Newest {}

impl<GroupBy> ValidGrouping<GroupBy> for Newest {
    type IsAggregate = is_aggregate::Never;
}
