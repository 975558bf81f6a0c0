//! The entries of a variable, in the order of their keys: what is durable, and over it what this execution has written.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec;

use scaigrid_ir::Value;
use scaigrid_persistence::Connection;
use scaigrid_persistence::memory::{self, EntryFilter};
use scaigrid_scope::TenantScope;

use super::form;
use super::{Done, Place};
use crate::Engine;
use crate::run::Run;

/// Rows that are read at once, at first and at most. Rows can be large, so the first few tell how many more to ask for.
const ROWS_AT_FIRST: usize = 64;
const ROWS_AT_MOST: usize = 512;

/// The entry that says that a map or an array was written as a whole. Its default, if it has one, does not count any
/// more; and of two executions that write it as a whole at the same time, the second sees that it was not the first.
/// No variable can have this name.
pub(super) fn mark(name: &str) -> (String, String) {
    (format!(".{name}"), String::new())
}

/// Whether anything was written to a map or an array.
pub(super) async fn is_touched(
    c: &mut Connection,
    scope: TenantScope,
    place: &Place,
    name: &str,
) -> Result<bool, scaigrid_persistence::Error> {
    let mark = mark(name);
    if memory::lookup(c, scope, place.variable(&mark.0), &mark.1).await?.is_some() {
        return Ok(true);
    }
    let first = EntryFilter::default();
    Ok(!memory::list(c, scope, place.variable(name), &first, 1).await?.is_empty())
}

/// An entry, and which version of it is durable: zero where it is this execution's own or a default.
pub(super) struct Seen {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) version: i64,
}

/// Entries, up to a bound.
pub(super) struct Gathered {
    pub(super) entries: Vec<Seen>,
    bytes: usize,
    most: Bound,
    /// Whether there were more.
    pub(super) cut: bool,
    /// Whether there were more because of their size.
    pub(super) too_large: bool,
}

/// How much is gathered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Gathered {
    fn new(most: Bound) -> Self {
        Self { entries: Vec::new(), bytes: 0, most, cut: false, too_large: false }
    }

    /// Takes an entry; false where there is no room for it.
    fn take(&mut self, seen: Seen) -> bool {
        if self.entries.len() >= self.most.entries {
            self.cut = true;
            return false;
        }
        let size = seen.key.len().saturating_add(seen.value.approximate_size());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.most.bytes && !self.entries.is_empty() {
            (self.cut, self.too_large) = (true, true);
            return false;
        }
        self.entries.push(seen);
        true
    }

    /// How many rows are asked for next.
    fn rows(&self, own: usize) -> usize {
        let wanted =
            self.most.entries.saturating_sub(self.entries.len()).saturating_add(own).saturating_add(1);
        let fitting = match self.entries.len() {
            0 => ROWS_AT_FIRST,
            count => {
                let each = (self.bytes / count).max(1);
                (self.most.bytes.saturating_sub(self.bytes) / each).clamp(1, ROWS_AT_MOST)
            }
        };
        wanted.min(fitting)
    }
}

/// What this execution has made of entries, in the order in which they are walked over.
struct Own {
    entries: Peekable<vec::IntoIter<(String, Option<Value>)>>,
    descending: bool,
}

impl Own {
    /// The next of its own that comes before a durable entry, or takes its place; all that is left where there is none.
    fn next_up_to(&mut self, key: Option<&str>) -> Option<(String, Option<Value>)> {
        let descending = self.descending;
        self.entries.next_if(|(own, _)| match key {
            None => true,
            Some(key) if descending => own.as_str() >= key,
            Some(key) => own.as_str() <= key,
        })
    }
}

impl Engine {
    /// What a map or an array holds while nothing was written to it; none where something was, or it has no default.
    pub(super) async fn untouched(
        &self,
        run: &Run,
        place: &Place,
        name: &str,
    ) -> Done<Option<BTreeMap<String, Value>>> {
        let initial = form::initial(run.program.module(), name);
        if initial.is_empty() {
            return Ok(None);
        }
        let mark = mark(name);
        match run.done.memory.get(&mark) {
            Some(Some(_)) => return Ok(None),
            // Deleted by this execution: as if nothing had ever been written.
            Some(None) => return Ok(Some(initial)),
            None => {}
        }
        let mut connection = self.0.database.read().await?;
        let touched = is_touched(&mut connection, run.scope, place, name).await?;
        Ok((!touched).then_some(initial))
    }

    /// The entries of a map or an array, up to a bound.
    pub(super) async fn gather(
        &self,
        run: &Run,
        place: &Place,
        name: &str,
        mut filter: EntryFilter,
        most: Bound,
    ) -> Done<Gathered> {
        let mut gathered = Gathered::new(most);
        if most.entries == 0 {
            return Ok(gathered);
        }
        let fits = |key: &str| filter.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()));
        let untouched = self.untouched(run, place, name).await?;
        let only_own = untouched.is_some();
        let mut own: Vec<(String, Option<Value>)> = if let Some(initial) = untouched {
            initial.into_iter().filter(|(key, _)| fits(key)).map(|(key, value)| (key, Some(value))).collect()
        } else {
            let own = run.done.memory.of(name).filter(|(key, _)| fits(key));
            own.map(|(key, value)| (key.to_owned(), value.cloned())).collect()
        };
        if filter.descending {
            own.reverse();
        }
        let count = own.len();
        let mut own = Own { entries: own.into_iter().peekable(), descending: filter.descending };
        let mut connection = if only_own { None } else { Some(self.0.database.read().await?) };
        loop {
            let (page, is_last) = match &mut connection {
                None => (Vec::new(), true),
                Some(connection) => {
                    let rows = gathered.rows(count);
                    let wanted = i64::try_from(rows).unwrap_or(i64::MAX);
                    let variable = place.variable(name);
                    let page = memory::list(connection, run.scope, variable, &filter, wanted).await?;
                    let is_last = page.len() < rows;
                    (page, is_last)
                }
            };
            filter.after = page.last().map(|entry| entry.key.clone());
            for stored in page {
                let mut replaced = false;
                while let Some((key, value)) = own.next_up_to(Some(&stored.key)) {
                    replaced |= key == stored.key;
                    if value.is_some_and(|value| !gathered.take(Seen { key, value, version: 0 })) {
                        return Ok(gathered);
                    }
                }
                let seen = Seen { key: stored.key, value: stored.value, version: stored.version };
                if !replaced && !gathered.take(seen) {
                    return Ok(gathered);
                }
            }
            if is_last {
                while let Some((key, value)) = own.next_up_to(None) {
                    if value.is_some_and(|value| !gathered.take(Seen { key, value, version: 0 })) {
                        break;
                    }
                }
                return Ok(gathered);
            }
        }
    }
}
