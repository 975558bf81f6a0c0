//! Reads: the whole variable, an entry, an element, a list, a count.

use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_persistence::memory::{self, EntryFilter};
use scaigrid_runtime::{Failure, MemoryRequest};

use super::bounds::{LIST_AT_MOST, READ_AT_MOST, WHOLE_AT_MOST, exceeded};
use super::fields;
use super::form::{Form, declaration};
use super::walk::{Bound, Seen, mark};
use super::{Done, Place};
use crate::Engine;
use crate::run::Run;

/// A key as both databases keep it: PostgreSQL has no U+0000 in texts.
pub(super) fn key_of(request: &MemoryRequest) -> Option<String> {
    request.key.as_ref().map(|key| key.replace('\0', "\u{fffd}"))
}

impl Engine {
    pub(super) async fn get(&self, run: &mut Run, place: &Place, request: &MemoryRequest) -> Done {
        let name = &*request.target;
        match (Form::of(run.program.module(), name), key_of(request)) {
            (Form::Single, None) => self.single(run, place, name, request.for_update).await,
            (Form::Single, Some(key)) => {
                let whole = self.single(run, place, name, request.for_update).await?;
                Ok(fields::get(name, &whole, &key)?)
            }
            (Form::Map, Some(key)) => self.entry(run, place, name, key, request.for_update).await,
            (Form::Array, Some(index)) => self.element(run, place, name, &index).await,
            (form, None) => {
                let entries = self.whole(run, place, name, request.for_update).await?;
                Ok(form.whole(entries.into_iter().map(|seen| (seen.key, seen.value)).collect()))
            }
        }
    }

    /// A variable that is kept as one value.
    pub(super) async fn single(&self, run: &mut Run, place: &Place, name: &str, for_update: bool) -> Done {
        let declared = declaration(run.program.module(), name);
        let default = declared.and_then(|declared| declared.default.clone()).unwrap_or_default();
        self.stored(run, place, (name.to_owned(), String::new()), for_update, default).await
    }

    async fn entry(&self, run: &mut Run, place: &Place, name: &str, key: String, for_update: bool) -> Done {
        let initial = self.untouched(run, place, name).await?;
        let default = initial.and_then(|mut initial| initial.remove(&key)).unwrap_or_default();
        self.stored(run, place, (name.to_owned(), key), for_update, default).await
    }

    async fn stored(
        &self,
        run: &mut Run,
        place: &Place,
        entry: (String, String),
        for_update: bool,
        default: Value,
    ) -> Done {
        match run.done.memory.get(&entry) {
            Some(Some(value)) => return Ok(value.clone()),
            Some(None) => return Ok(default),
            None => {}
        }
        let mut connection = self.0.database.read().await?;
        let found = memory::lookup(&mut connection, run.scope, place.variable(&entry.0), &entry.1).await?;
        if for_update {
            run.done.memory.see(entry, found.as_ref().map_or(0, |found| found.version));
        }
        Ok(found.map_or(default, |found| found.value))
    }

    /// All entries of a map or an array.
    pub(super) async fn whole(
        &self,
        run: &mut Run,
        place: &Place,
        name: &str,
        for_update: bool,
    ) -> Done<Vec<Seen>> {
        if for_update {
            self.see_mark(run, place, name).await?;
        }
        let most = Bound { entries: WHOLE_AT_MOST, bytes: READ_AT_MOST };
        let gathered = self.gather(run, place, name, EntryFilter::default(), most).await?;
        if gathered.too_large {
            let message =
                format!("memory.{name} takes more than {READ_AT_MOST} bytes as a whole; read parts of it");
            return Err(exceeded(message).into());
        }
        if gathered.cut {
            let message = format!(
                "memory.{name} has more than {WHOLE_AT_MOST} entries; read it with get, list, search or last"
            );
            return Err(exceeded(message).into());
        }
        if for_update {
            for seen in &gathered.entries {
                let entry = (name.to_owned(), seen.key.clone());
                if run.done.memory.get(&entry).is_none() {
                    run.done.memory.see(entry, seen.version);
                }
            }
        }
        Ok(gathered.entries)
    }

    /// Notes which whole write of a map or an array was the last.
    pub(super) async fn see_mark(&self, run: &mut Run, place: &Place, name: &str) -> Done<()> {
        let mark = mark(name);
        if run.done.memory.get(&mark).is_none() {
            let mut connection = self.0.database.read().await?;
            let found = memory::lookup(&mut connection, run.scope, place.variable(&mark.0), &mark.1).await?;
            run.done.memory.see(mark, found.map_or(0, |found| found.version));
        }
        Ok(())
    }

    /// An element of an array, by its place; from the end where that is negative. Null where there is none.
    async fn element(&self, run: &Run, place: &Place, name: &str, index: &str) -> Done {
        let Ok(index) = index.parse::<i64>() else {
            let message = format!("an index of memory.{name} is an int, not {index:?}");
            return Err(Failure::new("TYPE_MISMATCH", message).into());
        };
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        let wanted = if index < 0 { distance } else { distance.saturating_add(1) };
        if wanted > WHOLE_AT_MOST {
            let message = format!("an index of memory.{name} leads at most {WHOLE_AT_MOST} elements far");
            return Err(exceeded(message).into());
        }
        let filter = EntryFilter { descending: index < 0, ..EntryFilter::default() };
        let most = Bound { entries: wanted, bytes: usize::MAX };
        let mut entries = self.gather(run, place, name, filter, most).await?.entries;
        let found = (entries.len() == wanted).then(|| entries.pop()).flatten();
        Ok(found.map(|seen| seen.value).unwrap_or_default())
    }

    /// Some entries in key order: `{key, value}` of a map, the elements of an array.
    pub(super) async fn list(&self, run: &mut Run, place: &Place, request: &MemoryRequest) -> Done {
        let name = &*request.target;
        let limit = usize::try_from(request.limit.unwrap_or(LIST_AT_MOST)).unwrap_or(usize::MAX);
        let filter = EntryFilter {
            prefix: request.prefix.as_deref().map(str::to_owned),
            descending: request.descending || request.op == MemoryOp::Last,
            after: None,
        };
        let form = Form::of(run.program.module(), name);
        let (mut entries, keyed) = if form == Form::Single {
            let whole = self.single(run, place, name, false).await?;
            fields::list(name, &whole, &filter, limit)?
        } else {
            let most = Bound { entries: limit, bytes: READ_AT_MOST };
            let gathered = self.gather(run, place, name, filter, most).await?;
            if gathered.too_large {
                let message = format!(
                    "so many entries of memory.{name} take more than {READ_AT_MOST} bytes; ask for fewer"
                );
                return Err(exceeded(message).into());
            }
            let entries = gathered.entries.into_iter().map(|seen| (seen.key, seen.value)).collect::<Vec<_>>();
            (entries, form == Form::Map)
        };
        if request.op == MemoryOp::Last {
            entries.reverse();
        }
        let shown = entries.into_iter().map(|(key, value)| {
            if keyed { Value::from([("key", Value::String(key.into())), ("value", value)]) } else { value }
        });
        Ok(Value::Array(Arc::new(shown.collect())))
    }

    /// How many entries there are; the length of a variable that is kept as one value.
    pub(super) async fn count(&self, run: &mut Run, place: &Place, request: &MemoryRequest) -> Done {
        let name = &*request.target;
        if Form::of(run.program.module(), name) == Form::Single {
            let whole = self.single(run, place, name, false).await?;
            return Ok(fields::length(name, &whole)?);
        }
        self.entries_in_all(run, place, name).await.map(Value::from)
    }

    pub(super) async fn entries_in_all(&self, run: &Run, place: &Place, name: &str) -> Done<usize> {
        if let Some(initial) = self.untouched(run, place, name).await? {
            return Ok(initial.len());
        }
        let mut connection = self.0.database.read().await?;
        let stored = memory::count(&mut connection, run.scope, place.variable(name)).await?;
        let own: Vec<(&str, bool)> =
            run.done.memory.of(name).map(|(key, value)| (key, value.is_some())).collect();
        let keys: Vec<&str> = own.iter().map(|(key, _)| *key).collect();
        let replaced = memory::count_of(&mut connection, run.scope, place.variable(name), &keys).await?;
        let there = own.iter().filter(|(_, there)| *there).count();
        let others = usize::try_from(stored.saturating_sub(replaced)).unwrap_or(usize::MAX);
        Ok(others.saturating_add(there))
    }
}
