//! What a Core remembers, shown to people: its variables, and what they hold, page by page. Secrets are masked, as in its logs.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::instances::Place as Instance;
use scaigrid_ir::{Value, load};
use scaigrid_persistence::memory::{self, Counted};
use scaigrid_runtime::Program;
use scaigrid_scope::{CoreId, TenantScope};
use serde_json::{Value as Json, json};

use super::form::{self, Form, declaration};
use super::walk::mark;
use super::{Looked, Place};
use crate::cores::HostedCore;
use crate::instances::instances;
use crate::plugins::Masked;
use crate::{Engine, Error};

/// What is longer, as JSON, is left out of pages.
const LARGE: usize = scaigrid_persistence::large::LARGE;

/// Whose memory is looked at.
#[derive(Debug, Clone)]
pub struct Remembering {
    /// The Core.
    pub core: CoreId,
    /// The instance; none for what belongs to no instance. A Core without instances has one memory, whoever is named.
    pub instance: Option<String>,
}

/// How a variable is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableKind {
    /// Entry by entry, by their keys.
    Map,
    /// Element by element.
    Array,
    /// As one value.
    Value,
}

impl VariableKind {
    /// The kind in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Array => "array",
            Self::Value => "value",
        }
    }
}

impl From<Form> for VariableKind {
    fn from(form: Form) -> Self {
        match form {
            Form::Map => Self::Map,
            Form::Array => Self::Array,
            Form::Single => Self::Value,
        }
    }
}

/// A variable of a Core's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownVariable {
    /// Its name.
    pub name: Arc<str>,
    /// How it is kept.
    pub kind: VariableKind,
    /// Its declared type, as programs write it.
    pub declared: String,
    /// How many entries or elements it has, as far as they are counted; none where it is kept as one value.
    pub entries: Option<u64>,
    /// Whether there are more than were counted.
    pub more: bool,
}

/// A value that a variable holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownEntry {
    /// The key of a map's entry, or of the field that was asked for.
    pub key: Option<String>,
    /// The place of an array's element, from 0.
    pub index: Option<u32>,
    /// The value.
    pub value: Json,
}

/// Where the entries of a variable go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPlace {
    /// How many were before.
    pub index: u32,
    /// The last key before; none where that cannot be told.
    pub key: Option<String>,
}

/// Which of a variable's values are wanted.
#[derive(Debug, Clone)]
pub enum WantedEntries {
    /// A page of them, at most so many.
    Page {
        /// Where it begins; none for the beginning.
        from: Option<EntryPlace>,
        /// How many at most.
        most: usize,
    },
    /// The entry of this key, the element at this place, or this field.
    Key(String),
}

/// Values of a variable, and where more of them are.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownEntries {
    /// The values.
    pub entries: Vec<ShownEntry>,
    /// Where the next page begins.
    pub next: Option<EntryPlace>,
}

impl Engine {
    /// The variables of a Core's memory by their names, behind one of these, and whether there are more.
    ///
    /// # Errors
    /// There is no such Core, or no instance can have that key.
    #[boxed]
    pub async fn variables(
        &self,
        scope: TenantScope,
        of: &Remembering,
        after: Option<&str>,
        most: usize,
    ) -> Result<(Vec<ShownVariable>, bool), Error> {
        let Some((_, program, place)) = self.remembering(scope, of).await? else {
            return Ok((Vec::new(), false));
        };
        let module = program.module();
        let behind = |name: &&Arc<str>| after.is_none_or(|after| ***name > *after);
        let mut names: Vec<&Arc<str>> =
            module.memory.keys().filter(behind).take(most.saturating_add(1)).collect();
        let more = names.len() > most;
        names.truncate(most);
        // Beside each name stands what says whether its default still counts.
        let looked: Vec<String> = names.iter().flat_map(|name| [name.to_string(), mark(name).0]).collect();
        let mut connection = self.0.database.read().await?;
        let counts =
            memory::counts(&mut connection, scope, (of.core, place.partition.as_str()), &looked).await?;
        let shown = names.into_iter().map(|name| {
            let form = Form::of(module, name);
            let counted = match counts.get(&**name) {
                Some(counted) => *counted,
                None if counts.contains_key(&mark(name).0) => Counted { entries: 0, more: false },
                None => Counted { entries: form::initial(module, name).len() as u64, more: false },
            };
            let many = form != Form::Single;
            let declared = declaration(module, name).map(|declared| declared.ty.to_string());
            ShownVariable {
                name: Arc::clone(name),
                kind: form.into(),
                declared: declared.unwrap_or_default(),
                entries: many.then_some(counted.entries),
                more: many && counted.more,
            }
        });
        Ok((shown.collect(), more))
    }

    /// What a variable of a Core's memory holds, as its program sees it; none where the program declares no such variable. Pages
    /// leave out what is large, and are short where there is much of it.
    ///
    /// # Errors
    /// There is no such Core, or no instance can have that key.
    #[boxed]
    pub async fn variable(
        &self,
        scope: TenantScope,
        of: &Remembering,
        name: &str,
        wanted: WantedEntries,
    ) -> Result<Option<ShownEntries>, Error> {
        let Some((hosted, program, place)) = self.remembering(scope, of).await? else { return Ok(None) };
        if declaration(program.module(), name).is_none() {
            return Ok(None);
        }
        let masked = &*hosted.inside.masked;
        let looked = Looked { scope, module: program.module(), place: &place, name };
        let form = looked.form();
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let (from, most) = match wanted {
            WantedEntries::Page { from, most } => (from, most),
            WantedEntries::Key(key) => {
                let found = looked.part(c, &key).await?;
                let shown = found.map(|value| ShownEntry {
                    index: if form == Form::Array { key.parse().ok() } else { None },
                    key: (form != Form::Array).then(|| masked.text(&key)),
                    value: masked.value(value.to_json()),
                });
                return Ok(Some(ShownEntries { entries: shown.into_iter().collect(), next: None }));
            }
        };
        if form == Form::Single {
            let value = masked.value(looked.single(c).await?.to_json());
            let entries = vec![ShownEntry { key: None, index: None, value }];
            return Ok(Some(ShownEntries { entries, next: None }));
        }
        let first = from.as_ref().map_or(0, |from| from.index);
        let after = match from {
            None => None,
            Some(EntryPlace { key: Some(key), .. }) => Some(key),
            Some(EntryPlace { key: None, index }) => {
                let Some(key) = looked.key_at(c, index.saturating_sub(1)).await? else {
                    // There are fewer by now.
                    return Ok(Some(ShownEntries { entries: Vec::new(), next: None }));
                };
                Some(key)
            }
        };
        let (found, more) = looked.entries(c, after, most).await?;
        let next = found.last().filter(|_| more).map(|(key, _)| EntryPlace {
            index: first.saturating_add(u32::try_from(found.len()).unwrap_or(u32::MAX)),
            key: is_told(key, masked).then(|| key.clone()),
        });
        let entries = (first..).zip(found).map(|(index, (key, value))| ShownEntry {
            key: (form == Form::Map).then(|| masked.text(&key)),
            index: (form == Form::Array).then_some(index),
            value: masked.value(omitted(&value)),
        });
        Ok(Some(ShownEntries { entries: entries.collect(), next }))
    }

    /// A Core with its program, and where the memory lies that is looked at; none where it has no program that could be read.
    async fn remembering(
        &self,
        scope: TenantScope,
        of: &Remembering,
    ) -> Result<Option<(Arc<HostedCore>, Arc<Program>, Place)>, Error> {
        let hosted = self.hosted(scope, of.core).await?;
        let source = &hosted.core.source;
        let program = match self.program(scope, of.core, source.version).await {
            // What it remembers is there although it could not run.
            Err(Error::BadProgram(_) | Error::NoCore) => {
                let document = Arc::clone(&source.program);
                let loading = tokio::task::spawn_blocking(move || load::module(&document).module);
                let loaded = loading.await.map_err(|_| Error::ShuttingDown)?;
                loaded.map(|module| Arc::new(Program::new(module)))
            }
            program => Some(program?),
        };
        let Some(program) = program else { return Ok(None) };
        let key = of.instance.as_deref();
        let instance = match instances(&hosted, &program).place(key, &Value::Null) {
            // What belongs to no instance.
            Err(_) if key.is_none() => Instance::default(),
            instance => instance.map_err(Error::EntityKey)?,
        };
        let place = Place::of_instance(of.core, instance.key.as_deref());
        Ok(Some((hosted, program, place)))
    }
}

/// Whether a key may stand where a list goes on: it holds nothing that is masked, and is not much longer there.
fn is_told(key: &str, masked: &Masked) -> bool {
    !key.contains(char::is_control) && masked.text(key) == key
}

/// A value in a page.
fn omitted(value: &Value) -> Json {
    let json = value.to_json();
    let bytes = json.to_string().len();
    if bytes > LARGE { json!({ "omitted": true, "bytes": bytes }) } else { json }
}
