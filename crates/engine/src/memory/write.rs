//! Writes: an entry, a new element, the whole variable.

use std::collections::BTreeSet;

use scaigrid_ir::Value;
use scaigrid_ir::block::MemoryOp;
use scaigrid_persistence::memory;
use scaigrid_runtime::{Failure, MemoryRequest};
use scaigrid_scope::Instant;

use super::bounds::{self, WHOLE_AT_MOST, exceeded};
use super::form::{Form, declaration, parts};
use super::read::key_of;
use super::walk::mark;
use super::{Done, Place, Trouble, fields};
use crate::Engine;
use crate::run::Run;

impl Engine {
    /// Does a write: `set`, `update` (whose value is the new one), `delete` or `add`.
    pub(super) async fn write(
        &self,
        run: &mut Run,
        place: &Place,
        request: &MemoryRequest,
        now: Instant,
    ) -> Done<()> {
        let name = &*request.target;
        let value = match request.op {
            MemoryOp::Delete => None,
            _ => Some(request.value.clone().unwrap_or_default()),
        };
        match (Form::of(run.program.module(), name), key_of(request)) {
            (Form::Array, _) if request.op == MemoryOp::Add => self.add(run, place, name, value, now).await,
            (_, _) if request.op == MemoryOp::Add => Err(no_elements(name).into()),
            (Form::Single, None) => write_single(run, place, name, value),
            (Form::Single, Some(key)) => {
                let whole = self.single(run, place, name, true).await?;
                let changed = admit(run, name, fields::set(name, whole, &key, value)?)?;
                write_single(run, place, name, Some(changed))
            }
            (Form::Map, Some(key)) => self.write_entry(run, place, name, key, value).await,
            (Form::Array, Some(_)) => {
                let message = format!("only maps and objects have keys, but memory.{name} is an array");
                Err(Failure::new("TYPE_MISMATCH", message).into())
            }
            (form, None) => self.write_whole(run, place, name, form, value, now).await,
        }
    }

    async fn add(
        &self,
        run: &mut Run,
        place: &Place,
        name: &str,
        value: Option<Value>,
        now: Instant,
    ) -> Done<()> {
        let value = value.unwrap_or_default();
        bounds::value(name, &value)?;
        self.take_room(run, place, name, 1).await?;
        self.keep_default(run, place, name).await?;
        // Keys of one node ascend, so elements stand in the order in which they were added.
        let key = self.0.ids.draw(now).to_string();
        run.done.memory.write(place, (name.to_owned(), key), Some(value));
        Ok(())
    }

    async fn write_entry(
        &self,
        run: &mut Run,
        place: &Place,
        name: &str,
        key: String,
        value: Option<Value>,
    ) -> Done<()> {
        let entry = (name.to_owned(), key);
        if let Some(value) = &value {
            bounds::value(name, value)?;
            if run.done.memory.get(&entry).is_none() {
                match self.take_room(run, place, name, 1).await {
                    Ok(()) => {}
                    // What is there already needs no room.
                    Err(Trouble::Program(full)) => {
                        let mut connection = self.0.database.read().await?;
                        let variable = place.variable(name);
                        if memory::lookup(&mut connection, run.scope, variable, &entry.1).await?.is_none() {
                            return Err(full.into());
                        }
                    }
                    Err(other) => return Err(other),
                }
            }
        }
        self.keep_default(run, place, name).await?;
        run.done.memory.write(place, entry, value);
        Ok(())
    }

    /// Before the first write to a part of a map or an array its default becomes its content.
    async fn keep_default(&self, run: &mut Run, place: &Place, name: &str) -> Done<()> {
        let Some(initial) = self.untouched(run, place, name).await? else { return Ok(()) };
        self.see_mark(run, place, name).await?;
        run.done.memory.write(place, mark(name), Some(Value::Bool(true)));
        for (key, value) in initial {
            run.done.memory.write(place, (name.to_owned(), key), Some(value));
        }
        Ok(())
    }

    /// Puts a value in the place of all that a map or an array holds; none takes it back to its default.
    async fn write_whole(
        &self,
        run: &mut Run,
        place: &Place,
        name: &str,
        form: Form,
        value: Option<Value>,
        now: Instant,
    ) -> Done<()> {
        let new = value.as_ref().map(parts).unwrap_or_default();
        if new.len() > WHOLE_AT_MOST {
            let message =
                format!("memory.{name} takes at most {WHOLE_AT_MOST} entries at once; write parts of it");
            return Err(exceeded(message).into());
        }
        for (key, value) in &new {
            bounds::key(name, key.as_deref().unwrap_or_default())?;
            bounds::value(name, value)?;
        }
        self.see_mark(run, place, name).await?;
        let untouched = self.untouched(run, place, name).await?.is_some();
        let present = if untouched { Vec::new() } else { self.whole(run, place, name, false).await? };
        let present: BTreeSet<String> = present.into_iter().map(|seen| seen.key).collect();
        self.take_room(run, place, name, new.len().saturating_sub(present.len())).await?;
        for key in present {
            run.done.memory.write(place, (name.to_owned(), key), None);
        }
        for (key, value) in new {
            let key = match (form, key) {
                (Form::Map, Some(key)) => key.replace('\0', "\u{fffd}"),
                // Fresh keys of one node ascend; those that the elements had may come from several.
                _ => self.0.ids.draw(now).to_string(),
            };
            run.done.memory.write(place, (name.to_owned(), key), Some(value));
        }
        run.done.memory.write(place, mark(name), value.map(|_| Value::Bool(true)));
        Ok(())
    }
}

fn write_single(run: &mut Run, place: &Place, name: &str, value: Option<Value>) -> Done<()> {
    if let Some(value) = &value {
        bounds::value(name, value)?;
    }
    run.done.memory.write(place, (name.to_owned(), String::new()), value);
    Ok(())
}

/// The value with a changed part, if it still has the declared type.
fn admit(run: &Run, name: &str, value: Value) -> Result<Value, Failure> {
    let module = run.program.module();
    let Some(declared) = declaration(module, name) else { return Ok(value) };
    declared.ty.admit(value, &module.types).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let message = format!("with that, memory.{name} does not fit its type: {}", errors.join("; "));
        Failure::new("TYPE_MISMATCH", message)
    })
}

fn no_elements(name: &str) -> Failure {
    Failure::new("TYPE_MISMATCH", format!("memory.{name} has no such elements"))
}
