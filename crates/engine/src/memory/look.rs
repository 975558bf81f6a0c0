//! A variable of memory as people look at it: what its program would read there, and no more of it than can be shown.

use std::collections::BTreeMap;

use scaigrid_ir::{Module, Value};
use scaigrid_persistence::Connection;
use scaigrid_persistence::memory::{self, EntryFilter};
use scaigrid_scope::TenantScope;

use super::Place;
use super::form::{self, Form, declaration};
use super::walk::is_touched;
use crate::Error;

/// Rows that are read at once; each may be large.
const ROWS: usize = 16;
/// Bytes of values after which no more are read at once.
const BYTES: usize = 8 * 1024 * 1024;

/// A variable of a program's memory, and where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Looked<'a> {
    pub(crate) scope: TenantScope,
    pub(crate) module: &'a Module,
    pub(crate) place: &'a Place,
    pub(crate) name: &'a str,
}

impl Looked<'_> {
    /// What the program sees; of a map or an array the first entries.
    pub(crate) async fn value(self, c: &mut Connection, most: usize) -> Result<Value, Error> {
        match self.form() {
            Form::Single => self.single(c).await,
            form => Ok(form.whole(self.entries(c, None, most).await?.0)),
        }
    }

    pub(super) fn form(self) -> Form {
        Form::of(self.module, self.name)
    }

    /// One entry of a map, one element of an array by its place from 0, one field of an object; none where there is none.
    pub(super) async fn part(self, c: &mut Connection, key: &str) -> Result<Option<Value>, Error> {
        let form = self.form();
        if form == Form::Single {
            return Ok(self.single(c).await?.get(key).cloned());
        }
        let key = match (form, key.parse()) {
            (Form::Array, Ok(place)) => self.key_at(c, place).await?,
            // What is no number is the place of nothing.
            (Form::Array, Err(_)) => None,
            _ => Some(key.to_owned()),
        };
        let Some(key) = key else { return Ok(None) };
        if let Some(mut initial) = self.untouched(c).await? {
            return Ok(initial.remove(&key));
        }
        let found = memory::lookup(c, self.scope, self.place.variable(self.name), &key).await?;
        Ok(found.map(|found| found.value))
    }

    /// The key of the entry at a place in key order, from 0.
    pub(super) async fn key_at(self, c: &mut Connection, place: u32) -> Result<Option<String>, Error> {
        if let Some(initial) = self.untouched(c).await? {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            return Ok(initial.into_keys().nth(place));
        }
        Ok(memory::key_at(c, self.scope, self.place.variable(self.name), place).await?)
    }

    /// What it holds of its default, while nothing was written to it.
    async fn untouched(self, c: &mut Connection) -> Result<Option<BTreeMap<String, Value>>, Error> {
        let initial = form::initial(self.module, self.name);
        let stands = !initial.is_empty() && !is_touched(c, self.scope, self.place, self.name).await?;
        Ok(stands.then_some(initial))
    }

    /// What a variable holds that is kept as one value.
    pub(super) async fn single(self, c: &mut Connection) -> Result<Value, Error> {
        let found = memory::lookup(c, self.scope, self.place.variable(self.name), "").await?;
        let default = || declaration(self.module, self.name).and_then(|declared| declared.default.clone());
        Ok(found.map(|found| found.value).or_else(default).unwrap_or_default())
    }

    /// Entries of a map or an array in the order of their keys, behind one of these; and whether there are more, as of what is
    /// large not all may be given that is wanted.
    pub(super) async fn entries(
        self,
        c: &mut Connection,
        mut after: Option<String>,
        most: usize,
    ) -> Result<(Vec<(String, Value)>, bool), Error> {
        if let Some(initial) = self.untouched(c).await? {
            let follows = |key: &String| after.as_ref().is_none_or(|after| key > after);
            let mut entries: Vec<(String, Value)> =
                initial.into_iter().filter(|(key, _)| follows(key)).collect();
            let more = entries.len() > most;
            entries.truncate(most);
            return Ok((entries, more));
        }
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        loop {
            // One more than is wanted tells whether there are more.
            let wanted = most.saturating_sub(entries.len()).saturating_add(1).min(ROWS);
            let filter = EntryFilter { after: after.take(), ..EntryFilter::default() };
            let rows = i64::try_from(wanted).unwrap_or(i64::MAX);
            let page = memory::list(c, self.scope, self.place.variable(self.name), &filter, rows).await?;
            let is_last = page.len() < wanted;
            for entry in page {
                if entries.len() >= most || bytes >= BYTES {
                    return Ok((entries, true));
                }
                bytes = bytes.saturating_add(entry.value.approximate_size());
                after = Some(entry.key.clone());
                entries.push((entry.key, entry.value));
            }
            if is_last {
                return Ok((entries, false));
            }
        }
    }
}
