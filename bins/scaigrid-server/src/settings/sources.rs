//! Flags over variables over the file: where each setting's text comes from.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use super::Surroundings;
use super::catalog::{self, SETTINGS, Setting};
use super::refusal::Refusal;

/// The file that is read when it is there and no other was named.
const FILE: &str = "scaigrid.toml";

/// How many letters a name may be away from the one that was meant.
const NEAR: usize = 3;

/// A setting's text and where it stands.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: String,
}

/// The texts of all settings that were given.
#[derive(Debug)]
pub(super) struct Sources {
    given: BTreeMap<&'static str, Given>,
}

/// The flags that were given, by the key of their setting.
pub(super) type Flags = BTreeMap<&'static str, String>;

impl Sources {
    /// Puts the sources over each other. Refuses unknown keys of the file.
    pub(super) fn gather(mut flags: Flags, surroundings: &Surroundings<'_>) -> Result<Self, Refusal> {
        let named = match flags.remove(catalog::CONFIG) {
            Some(path) => Some((path, "--config".to_owned())),
            None => variable(catalog::CONFIG, surroundings)?.map(|given| (given.text, given.origin)),
        };
        let (name, table) = file(named, surroundings)?;
        let mut given = BTreeMap::new();
        for (key, value) in table {
            let origin = format!("{key} in {name}");
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                let known = SETTINGS.iter().map(|setting| setting.key.to_owned());
                return Err(Refusal::new(origin, no_such_setting(&key, known)));
            };
            let Value::String(text) = value else {
                return Err(Refusal::new(origin, "expected a string"));
            };
            given.insert(setting.key, Given { text, origin });
        }
        for setting in SETTINGS {
            if let Some(text) = flags.remove(setting.key) {
                given.insert(setting.key, Given { text, origin: format!("--{}", setting.flag) });
            } else if let Some(found) = variable(setting.key, surroundings)? {
                given.insert(setting.key, found);
            }
        }
        Ok(Self { given })
    }

    /// The value of a setting that was given.
    pub(super) fn optional<T>(
        &self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        let Some(given) = self.given.get(setting.key) else { return Ok(None) };
        parse(&given.text).map(Some).map_err(|rule| Refusal::new(&given.origin, rule))
    }

    /// The value of a setting, else its default.
    pub(super) fn required<T>(
        &self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Refusal> {
        match self.optional(setting, &parse)? {
            Some(value) => Ok(value),
            None => parse(setting.default.unwrap_or_default())
                .map_err(|rule| Refusal::new(setting.variable(), rule)),
        }
    }
}

/// What is said of a name that is no setting's: with the one that is nearest to it, if one is near.
fn no_such_setting(name: &str, known: impl Iterator<Item = String>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(name, &known), known));
    match near.min() {
        Some((distance, known)) if distance <= NEAR => {
            format!("there is no such setting; did you mean {known}?")
        }
        _ => "there is no such setting".to_owned(),
    }
}

/// The variables that look like settings and are none. They are not refused: others may have set them, for other programs.
pub(super) fn unknown_variables(surroundings: &Surroundings<'_>) -> Vec<String> {
    let settings = SETTINGS.iter().map(|setting| setting.variable());
    let more = [catalog::CONFIG, catalog::ADMIN_KEY].map(catalog::variable);
    let known: Vec<String> = settings.chain(more).collect();
    let is_unknown = |name: &String| name.starts_with(catalog::PREFIX) && !known.contains(name);
    let mut unknown: Vec<String> = (surroundings.names)()
        .iter()
        .filter_map(|name| name.to_str().map(str::to_owned))
        .filter(is_unknown)
        .collect();
    unknown.sort();
    unknown
        .into_iter()
        .map(|name| format!("{name}: {}", no_such_setting(&name, known.iter().cloned())))
        .collect()
}

/// A variable; an empty one counts as unset, since that is how compose files write it.
pub(super) fn variable(key: &str, surroundings: &Surroundings<'_>) -> Result<Option<Given>, Refusal> {
    let origin = catalog::variable(key);
    let Some(value) = (surroundings.variable)(&origin).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(text) => Ok(Some(Given { text, origin })),
        Err(_) => Err(Refusal::new(origin, "the value is not UTF-8")),
    }
}

/// The file's name and what it says: the file that was named, which must be there, or the usual one if it is.
fn file(
    named: Option<(String, String)>,
    surroundings: &Surroundings<'_>,
) -> Result<(String, Table), Refusal> {
    let (name, origin) = match named {
        Some((name, origin)) => (name, Some(origin)),
        None => (FILE.to_owned(), None),
    };
    let text = match ((surroundings.file)(Path::new(&name)), origin) {
        (Ok(text), _) => text,
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => return Ok((name, Table::new())),
        (Err(error), origin) => {
            let origin = origin.unwrap_or_else(|| name.clone());
            return Err(Refusal::new(origin, format!("cannot read {name}: {error}")));
        }
    };
    match text.parse::<Table>() {
        Ok(table) => Ok((name, table)),
        Err(error) => {
            // The message alone: the whole error quotes the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Err(Refusal::new(format!("{name} line {line}"), error.message().to_owned()))
        }
    }
}
