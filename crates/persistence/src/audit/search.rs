//! Which records a list shows, as a search that walks indexes from their newest end and stops with the page, however many records
//! there are that it does not show.
//!
//! Of what has no index of its own the search is put together: a type of resources is some actions, each of which has its place in
//! an index, and the page is the newest of the newest of each. Ids carry the time, so the bounds of a time are bounds of ids, but for
//! a few seconds; records of which that is not true, since a clock was put back, are next to none and have an index of their own.

use std::time::Duration;

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Bool, HasSqlType, Text};
use scaigrid_audit::{AuditAction, Outcome};
use scaigrid_scope::{AuditId, Instant, LevelScope};
use ulid::Ulid;

use super::AuditFilter;
use crate::instant::{Moment, Stamp};

/// By how much the clock of a node may be put back while it runs, without records being missed by a list that ends at an
/// instant: an id is never of an earlier time than its record, but of a much later one after such a step.
const CLOCK_STEP: Duration = Duration::from_hours(24);

/// By how much ids are often of a later time than their records: ids of a node ascend, so one that is drawn some time after the clock was
/// read follows those that others have drawn meanwhile. Of such records a list passes over a few; all later ones are late.
const AHEAD: Duration = Duration::from_secs(5);

/// What is true of records whose ids are of a time by more than [`AHEAD`] after the one that they tell of, in the words of the index
/// `audit_records_late`: the first ten digits of a ULID are its time.
const LATE_POSTGRES: &str = "(strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 7, 1)) - 1) * 35184372088832::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 8, 1)) - 1) * 1099511627776::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 9, 1)) - 1) * 34359738368::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 10, 1)) - 1) * 1073741824::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 11, 1)) - 1) * 33554432::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 12, 1)) - 1) * 1048576::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 13, 1)) - 1) * 32768::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 14, 1)) - 1) * 1024::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 15, 1)) - 1) * 32::bigint + \
    (strpos('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 16, 1)) - 1) > \
    extract(epoch FROM at - timestamptz '1970-01-01 00:00:00+00') * 1000 + 5000";
const LATE_SQLITE: &str = "(instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 7, 1)) - 1) * 35184372088832 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 8, 1)) - 1) * 1099511627776 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 9, 1)) - 1) * 34359738368 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 10, 1)) - 1) * 1073741824 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 11, 1)) - 1) * 33554432 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 12, 1)) - 1) * 1048576 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 13, 1)) - 1) * 32768 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 14, 1)) - 1) * 1024 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 15, 1)) - 1) * 32 + \
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 16, 1)) - 1) > at / 1000 + 5000";

/// The first id of a record that can be of an instant.
fn first_id(at: Instant) -> String {
    AuditId::from_ulid(Ulid::from_parts(at.unix_millis(), 0)).to_string()
}

/// Something that is true of a record.
#[derive(Debug, Clone)]
enum Condition {
    /// In words that are those of an index, where they are not bound values.
    Said(&'static str),
    Text(&'static str, String),
    At(&'static str, Stamp),
}

/// A range of an index, which holds records in the order of their ids.
#[derive(Debug, Clone)]
struct Range {
    /// The index that SQLite is told to take; none for the primary key. PostgreSQL knows by itself.
    index: Option<&'static str>,
    conditions: Vec<Condition>,
}

/// The condition that a record is on a page.
#[derive(Debug, Clone)]
pub(super) struct Search {
    ranges: Vec<Range>,
    rows: i64,
    sqlite: bool,
}

impl Search {
    /// The search for the newest records that a filter shows a level, behind one; none where there can be no such records.
    pub(super) fn of(
        scope: LevelScope,
        filter: &AuditFilter,
        after: Option<AuditId>,
        (rows, sqlite): (i64, bool),
    ) -> Option<Self> {
        let actions = actions(filter);
        if actions.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let mut everywhere = of_level(scope);
        everywhere.extend(of_filter(filter));
        everywhere.extend(after.map(|after| Condition::Text("id < ", after.to_string())));
        if let Some(since) = filter.since {
            everywhere.push(Condition::Text("id >= ", first_id(since)));
            everywhere.push(Condition::At("at >= ", Stamp(since)));
        }
        everywhere.extend(filter.until.map(|until| Condition::At("at < ", Stamp(until))));
        let late = filter.until.map(|until| {
            let of_kind = Condition::Said(if sqlite { LATE_SQLITE } else { LATE_POSTGRES });
            let bounds = [
                Condition::Text("id >= ", behind(until)),
                Condition::Text("id < ", first_id(until.plus(CLOCK_STEP))),
            ];
            let conditions =
                everywhere.iter().cloned().chain(of_action(filter)).chain([of_kind]).chain(bounds);
            Range { index: Some("audit_records_late"), conditions: conditions.collect() }
        });
        everywhere.extend(filter.until.map(|until| Condition::Text("id < ", behind(until))));
        let (index, apart) = path(scope, filter, actions.as_deref());
        let mut ranges: Vec<Range> = if let Some(actions) = actions.filter(|_| apart) {
            let each = actions.into_iter().map(|action| {
                let action = Condition::Text("action = ", action.to_string());
                Range { index, conditions: everywhere.iter().cloned().chain([action]).collect() }
            });
            each.collect()
        } else {
            let conditions = everywhere.into_iter().chain(of_action(filter)).collect();
            vec![Range { index, conditions }]
        };
        ranges.extend(late);
        Some(Self { ranges, rows, sqlite })
    }
}

/// The first id behind those of records before an instant, but for late ones: instants are told more finely than the time of ids.
fn behind(until: Instant) -> String {
    first_id(until.plus(AHEAD).plus(Duration::from_millis(1)))
}

/// The actions that a filter shows; none where it shows all.
fn actions(filter: &AuditFilter) -> Option<Vec<AuditAction>> {
    let kind = filter.resource_type.as_deref();
    if filter.action.is_none() && kind.is_none() {
        return None;
    }
    let shown = |action: &&AuditAction| {
        filter.action.is_none_or(|one| one == **action)
            && kind.is_none_or(|kind| kind == action.resource_type())
    };
    Some(AuditAction::ALL.iter().filter(shown).copied().collect())
}

/// The index whose range holds the fewest others, and whether each action has a range of its own in it.
fn path(
    scope: LevelScope,
    filter: &AuditFilter,
    actions: Option<&[AuditAction]>,
) -> (Option<&'static str>, bool) {
    let by_actor = filter.actor_id.is_some();
    if filter.resource_id.is_some() {
        return (Some("audit_records_by_resource"), false);
    }
    match scope {
        LevelScope::Platform(_) | LevelScope::Partner(_) if by_actor => {
            (Some("audit_records_by_actor"), false)
        }
        LevelScope::Platform(_) => (None, false),
        LevelScope::Partner(_) => (Some("audit_records_by_partner"), false),
        LevelScope::Tenant(_) if filter.status == Some(Outcome::Failure) => {
            (Some("audit_records_failed"), false)
        }
        LevelScope::Tenant(_) if by_actor && actions.is_some() => (Some("audit_records_by_deed"), true),
        LevelScope::Tenant(_) if filter.ip_address.is_some() => (Some("audit_records_by_address"), false),
        LevelScope::Tenant(_) if by_actor => (Some("audit_records_by_actor"), false),
        LevelScope::Tenant(_) if actions.is_some() => (Some("audit_records_by_action"), true),
        LevelScope::Tenant(_) if filter.module.is_some() => (Some("audit_records_by_module"), false),
        LevelScope::Tenant(_) => (Some("audit_records_by_tenant"), false),
    }
}

fn of_level(scope: LevelScope) -> Vec<Condition> {
    match scope {
        LevelScope::Platform(_) => Vec::new(),
        LevelScope::Partner(scope) => vec![Condition::Text("partner_id = ", scope.partner_id().to_string())],
        LevelScope::Tenant(scope) => vec![Condition::Text("tenant_id = ", scope.tenant_id().to_string())],
    }
}

/// What a filter says of records, but for their actions and times.
fn of_filter(filter: &AuditFilter) -> impl Iterator<Item = Condition> {
    let said = |words: &'static str, value: Option<String>| value.map(|value| Condition::Text(words, value));
    let status = filter.status.map(|status| {
        Condition::Said(match status {
            Outcome::Success => "status = 'SUCCESS'",
            Outcome::Failure => "status = 'FAILURE'",
        })
    });
    [
        said("actor_id = ", filter.actor_id.clone()),
        said("resource_id = ", filter.resource_id.clone()),
        said("ip_address = ", filter.ip_address.map(|address| address.to_string())),
        said("module = ", filter.module.clone()),
        status,
    ]
    .into_iter()
    .flatten()
}

/// What a filter says of actions, where they have no ranges of their own.
fn of_action(filter: &AuditFilter) -> impl Iterator<Item = Condition> {
    let action = filter.action.map(|action| Condition::Text("action = ", action.to_string()));
    let kind = filter.resource_type.clone().map(|kind| Condition::Text("resource_type = ", kind));
    [action, kind].into_iter().flatten()
}

impl<DB> QueryFragment<DB> for Search
where
    DB: Backend + HasSqlType<Text> + HasSqlType<Moment>,
    str: ToSql<Text, DB>,
    Stamp: ToSql<Moment, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        // Planned anew each time, since a plan is good for whom there is much of or little.
        out.unsafe_to_cache_prepared();
        let newest = format!(" ORDER BY id DESC LIMIT {}", self.rows);
        out.push_sql("audit_records.id IN (SELECT id FROM (");
        for (number, range) in self.ranges.iter().enumerate() {
            out.push_sql(if number == 0 { "SELECT id FROM (" } else { " UNION ALL SELECT id FROM (" });
            out.push_sql("SELECT id FROM audit_records");
            if let Some(index) = range.index.filter(|_| self.sqlite) {
                out.push_sql(" INDEXED BY ");
                out.push_sql(index);
            }
            for (place, condition) in range.conditions.iter().enumerate() {
                out.push_sql(if place == 0 { " WHERE " } else { " AND " });
                match condition {
                    Condition::Said(words) => out.push_sql(words),
                    Condition::Text(words, value) => {
                        out.push_sql(words);
                        out.push_bind_param::<Text, str>(value)?;
                    }
                    Condition::At(words, at) => {
                        out.push_sql(words);
                        out.push_bind_param::<Moment, Stamp>(at)?;
                    }
                }
            }
            out.push_sql(&newest);
            out.push_sql(&format!(") AS n{number}"));
        }
        out.push_sql(") AS found");
        out.push_sql(&newest);
        out.push_sql(")");
        Ok(())
    }
}

/// What it says depends on what is asked for.
impl QueryId for Search {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Expression for Search {
    type SqlType = Bool;
}

impl<Source> AppearsOnTable<Source> for Search {}

impl<Source> SelectableExpression<Source> for Search {}

impl<GroupBy> ValidGrouping<GroupBy> for Search {
    type IsAggregate = is_aggregate::Never;
}
