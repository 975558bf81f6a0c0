//! The list of a tenant's Cores, and how those are found whose name or slug contains a text.
//!
//! A list goes from its newest end, and a page of it must not cost more the more Cores there are. `core_grams`, which triggers
//! keep, has the Cores that contain a text of one to three characters, for each such text in the order of their ids. Of what is
//! looked for, the text that is rarest from where the page begins is walked along, and each Core on the way is looked at whether it
//! contains the whole. How rare a text is tells how far back its hundredth holder lies.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use scaigrid_cores::{Core, Status};
use scaigrid_scope::{CoreId, Name, TenantScope};
use serde_json::{Map, Value, json};
use ulid::Ulid;

use super::{CoreRow, sealed};
use crate::data_keys;
use crate::database::{Connection, Engine, planned, rows, with};
use crate::delegations::DelegationRow;
use crate::error::Result;
use crate::schema::{core_grams, core_triggers, cores, delegations as lent};
use crate::sealing::Vault;
use crate::{stable, triggers};

/// Characters of the longest texts that Cores are found by.
const LONGEST: usize = 3;
/// Texts of what is looked for that are compared with each other; of more, some are left aside.
const COMPARED: usize = 16;
/// The holder of a text by which its rarity is judged, from where a page begins.
const HUNDREDTH: i64 = 99;
/// Cores that are looked at in one statement, at most.
const AT_ONCE: i64 = 4_000;

/// A Core, what is lent to it, and whether triggers are registered for it.
type Row = (CoreRow, Option<DelegationRow>, bool);

/// Which Cores a list shows.
#[derive(Debug, Clone, Default)]
pub struct CoreFilter {
    /// In this status.
    pub status: Option<Status>,
    /// Whose name or slug contains this text, upper and lower case alike (ASCII).
    pub q: Option<String>,
}

/// The Cores that a filter shows, newest first, after the one that the last page ended with. Their programs are left out:
/// each stands there as an empty object.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &CoreFilter,
    after: Option<CoreId>,
    rows: i64,
    vault: &Vault,
) -> Result<Vec<Core>> {
    let found = match filter.q.as_deref().filter(|q| !q.is_empty()) {
        Some(q) => search(c, scope, filter, q, after, rows).await?,
        None => page(c, scope, filter, None, after, rows).await?,
    };
    let empty = Arc::new(Value::Object(Map::new()));
    let texts = found.iter().flat_map(|(row, ..)| sealed(&row.environment));
    let opener = data_keys::opener(c, scope, vault, texts).await?;
    let triggered = found.iter().filter(|(.., triggered)| *triggered);
    let ids: Vec<&str> = triggered.map(|(row, ..)| row.id.as_str()).collect();
    let mut registered = triggers::of_cores(c, scope, &ids).await?;
    let each = found.into_iter().map(|(row, lent, _)| {
        let triggers = Arc::new(registered.remove(&row.id).unwrap_or_default());
        Ok(Core { triggers, ..row.core(Arc::clone(&empty), lent, &opener)? })
    });
    each.collect()
}

/// The rows that a filter shows; where some are named, among these.
#[boxed]
async fn page(
    c: &mut Connection,
    scope: TenantScope,
    filter: &CoreFilter,
    among: Option<Vec<String>>,
    after: Option<CoreId>,
    most: i64,
) -> Result<Vec<Row>> {
    // Small letters are those of ASCII, whatever the database takes for its locale.
    let folded = match c.engine()? {
        Engine::Postgres(_) => "lower(cores.name COLLATE \"C\")",
        Engine::Sqlite(_) => "lower(cores.name)",
    };
    macro_rules! query {
        () => {{
            let registered = core_triggers::table
                .filter(core_triggers::tenant_id.eq(cores::tenant_id))
                .filter(core_triggers::core_id.eq(cores::id));
            let mut query = cores::table
                .left_join(
                    lent::table.on(lent::tenant_id.eq(cores::tenant_id).and(lent::core_id.eq(cores::id))),
                )
                .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
                .order(cores::id.desc())
                .select((CoreRow::as_select(), Option::<DelegationRow>::as_select(), exists(registered)))
                .into_boxed();
            if let Some(status) = filter.status {
                let status = planned("cores.status = ").bind::<Text, _>(status.as_str());
                query = query.filter(status);
            }
            if let Some(q) = &filter.q {
                let pattern = format!("%{}%", like(&q.to_ascii_lowercase()));
                let by_name = diesel::dsl::sql::<Text>(folded).like(pattern.clone()).escape('\\');
                query = query.filter(by_name.or(cores::slug.like(pattern).escape('\\')));
            }
            if let Some(among) = among.clone() {
                query = query.filter(stable::among(cores::id, among));
            }
            if let Some(after) = after {
                query = query.filter(cores::id.lt(after.to_string()));
            }
            stable::page(query, most)
        }};
    }
    Ok(rows!(c, query!())?)
}

/// Escapes what `LIKE` would take for a pattern.
fn like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// The rows that a filter shows which looks for a text.
async fn search(
    c: &mut Connection,
    scope: TenantScope,
    filter: &CoreFilter,
    q: &str,
    after: Option<CoreId>,
    rows: i64,
) -> Result<Vec<Row>> {
    // No name is as long, and none holds U+0000.
    if q.chars().count() > Name::MAX_CHARS || q.contains('\0') {
        return Ok(Vec::new());
    }
    // Ids are compared as texts; none is greater than this one.
    let begin = after.unwrap_or_else(|| CoreId::from_ulid(Ulid(u128::MAX))).to_string();
    let Some(gram) = rarest(c, scope, filter.status, &grams(q), &begin).await? else {
        return page(c, scope, filter, None, after, rows).await;
    };
    let (mut found, mut before, mut most) = (Vec::new(), begin, rows.clamp(1, AT_ONCE));
    loop {
        let holders = holders(c, scope, &gram, &before, most).await?;
        let Some(last) = holders.last() else { return Ok(found) };
        before.clone_from(last);
        let all = count(holders.len()) < most;
        let lacking = rows - count(found.len());
        found.extend(page(c, scope, filter, Some(holders), None, lacking).await?);
        if all || count(found.len()) >= rows {
            return Ok(found);
        }
        most = (most * 4).min(AT_ONCE);
    }
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The texts that whatever contains `q` is kept under: all of the length that is possible, or a selection.
fn grams(q: &str) -> Vec<String> {
    let chars: Vec<char> = q.to_ascii_lowercase().chars().collect();
    let size = chars.len().clamp(1, LONGEST);
    let all: BTreeSet<String> = chars.windows(size).map(|some| some.iter().collect()).collect();
    let every = all.len().div_ceil(COMPARED).max(1);
    all.into_iter().step_by(every).collect()
}

#[derive(QueryableByName)]
struct Rarest {
    #[diesel(sql_type = Text)]
    gram: String,
}

/// Which of some texts fewest Cores hold, from a Core on back; none where still fewer are in the status that is asked for.
async fn rarest(
    c: &mut Connection,
    scope: TenantScope,
    status: Option<Status>,
    grams: &[String],
    before: &str,
) -> Result<Option<String>> {
    // SQLite numbers what begins with a dollar sign by where it stands.
    let (n, each) = match c.engine()? {
        Engine::Postgres(_) => ('$', "jsonb_array_elements_text($2::jsonb) AS g (gram)"),
        Engine::Sqlite(_) => ('?', "(SELECT value AS gram FROM json_each(?2)) AS g"),
    };
    let query = format!(
        "SELECT l.gram AS gram FROM (\
         SELECT g.gram AS gram, (SELECT p.core_id FROM core_grams p WHERE p.tenant_id = {n}1 AND p.gram = g.gram \
         AND p.core_id < {n}3 ORDER BY p.core_id DESC LIMIT 1 OFFSET {HUNDREDTH}) AS far FROM {each} \
         UNION ALL \
         SELECT '' AS gram, (SELECT o.id FROM cores o WHERE o.tenant_id = {n}1 AND o.status = {n}4 AND o.id < {n}3 \
         ORDER BY o.id DESC LIMIT 1 OFFSET {HUNDREDTH}) AS far WHERE {n}4 <> ''\
         ) AS l ORDER BY l.far NULLS FIRST LIMIT 1"
    );
    let query = diesel::sql_query(query)
        .bind::<Text, _>(scope.tenant_id().to_string())
        .bind::<Text, _>(json!(grams).to_string())
        .bind::<Text, _>(before.to_owned())
        .bind::<Text, _>(status.map_or("", Status::as_str));
    let found: Option<Rarest> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.map(|rarest| rarest.gram).filter(|gram| !gram.is_empty()))
}

/// The Cores that hold a text, from one on back.
async fn holders(
    c: &mut Connection,
    scope: TenantScope,
    gram: &str,
    before: &str,
    most: i64,
) -> Result<Vec<String>> {
    let query = core_grams::table
        .filter(core_grams::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(core_grams::gram.eq(gram))
        .filter(core_grams::core_id.lt(before))
        .order(core_grams::core_id.desc())
        .limit(most)
        .select(core_grams::core_id);
    Ok(with!(c, c => query.load(c).await)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_taken_apart() {
        assert_eq!(grams("A"), ["a"]);
        assert_eq!(grams("Äb"), ["Äb"]);
        assert_eq!(grams("CoRe"), ["cor", "ore"]);
        assert_eq!(grams("aaaa"), ["aaa"]);
        let many = grams(&('a'..='z').chain('0'..='9').collect::<String>());
        assert!((COMPARED / 2..=COMPARED).contains(&many.len()), "{many:?}");
    }

    #[test]
    fn what_like_reads_otherwise_is_escaped() {
        assert_eq!(like("50%_\\"), "50\\%\\_\\\\");
    }
}
