//! What follows from the levels' configurations: the values that count, and why each does.

use std::collections::BTreeSet;

use scaigrid_scope::text_enum;
use serde_json::{Map, Value};

use super::MASK;
use super::layer::{Layer, Origin};
use super::merge::merge_patch;
use super::pointer::{child, covering, replace};
use super::schema::ConfigSchema;
use crate::state::SettingLevel;

text_enum! {
    /// Where a value of a configuration was found, from below.
    pub enum ConfigSource {
        /// In the module's schema.
        Default => "default",
        /// At the platform's level.
        Platform => "platform",
        /// At a partner's.
        Partner => "partner",
        /// At a tenant's.
        Tenant => "tenant",
    }
}

impl From<SettingLevel> for ConfigSource {
    fn from(level: SettingLevel) -> Self {
        match level {
            SettingLevel::Platform => Self::Platform,
            SettingLevel::Partner => Self::Partner,
            SettingLevel::Tenant => Self::Tenant,
        }
    }
}

/// A value that some source gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Where it was found.
    pub source: ConfigSource,
    /// The value as it may be shown.
    pub value: Value,
    /// Since when it has been there, and by whom; none for defaults.
    pub origin: Option<Origin>,
}

/// Why a value of a configuration is what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Its place, as a JSON Pointer.
    pub pointer: String,
    /// Whether it is secret.
    pub secret: bool,
    /// What counts.
    pub winner: Given,
    /// What it hides, the nearest first.
    pub losers: Vec<Given>,
}

/// The configurations of the levels that bear on someone, from above.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// The module's schema.
    pub schema: &'a ConfigSchema,
    /// Each level once, from above: the nearest comes last.
    pub layers: &'a [(SettingLevel, &'a Layer)],
}

impl Levels<'_> {
    fn merged(&self) -> Value {
        let mut merged = Value::Object(Map::new());
        self.layers.iter().for_each(|(_, layer)| merge_patch(&mut merged, layer.values()));
        merged
    }

    /// The configuration that counts, secrets in the clear: the schema's defaults, and over them each level's values.
    pub fn effective(&self) -> Value {
        let merged = self.merged();
        let mut effective = self.schema.defaults_for(&merged);
        merge_patch(&mut effective, &merged);
        effective
    }

    /// The places of its secret values.
    pub fn secrets(&self, effective: &Value) -> BTreeSet<String> {
        let mut secrets = self.schema.secrets_in(effective);
        for (_, layer) in self.layers {
            secrets.extend(layer.secrets(self.schema));
        }
        secrets.retain(|place| effective.pointer(place).is_some());
        secrets
    }

    /// The configuration that counts, as it may be shown.
    pub fn shown(&self) -> Value {
        let mut shown = self.effective();
        let secrets = self.secrets(&shown);
        replace(&mut shown, &secrets, &MASK.into());
        shown
    }

    /// Every value of the configuration that counts, with where it comes from and what it hides.
    pub fn explain(&self) -> Vec<Explained> {
        let merged = self.merged();
        let defaults = self.schema.defaults_for(&merged);
        let effective = self.effective();
        let of_defaults = self.schema.secrets_in(&defaults);
        let own: Vec<BTreeSet<String>> =
            self.layers.iter().map(|(_, layer)| layer.secrets(self.schema)).collect();
        let from = ConfigSource::Default;
        let mut known = vec![Known { source: from, layer: None, value: &defaults, secrets: &of_defaults }];
        known.extend(self.layers.iter().zip(&own).map(|((level, layer), secrets)| Known {
            source: (*level).into(),
            layer: Some(*layer),
            value: layer.values(),
            secrets,
        }));
        known.reverse();
        let mut explained = Vec::new();
        explain(&known, "", &self.secrets(&effective), &mut explained);
        explained
    }
}

/// What one source says at the place that is being looked at.
#[derive(Clone, Copy)]
struct Known<'a> {
    source: ConfigSource,
    layer: Option<&'a Layer>,
    value: &'a Value,
    /// The places of the source's own secrets.
    secrets: &'a BTreeSet<String>,
}

impl Known<'_> {
    /// The value as it may be shown, at its place, where `secrets` are the secret places of what counts.
    fn shown(&self, at: &str, secrets: &BTreeSet<String>) -> Value {
        if secrets.contains(at) || covering(self.secrets, at).is_some() {
            return MASK.into();
        }
        let mut shown = self.value.clone();
        for places in [secrets, self.secrets] {
            let below = places.iter().filter_map(|place| place.strip_prefix(at)).map(str::to_owned).collect();
            replace(&mut shown, &below, &MASK.into());
        }
        shown
    }
}

/// `known` is the nearest first, and never empty.
fn explain(known: &[Known<'_>], at: &str, secrets: &BTreeSet<String>, found: &mut Vec<Explained>) {
    let secret = secrets.contains(at);
    // Below something that is no object, what lies under it is hidden as a whole; but defaults fill in whatever is left.
    let first_hidden = known.iter().position(|one| !one.value.is_object()).unwrap_or(known.len());
    let merging: Vec<Known<'_>> = known
        .iter()
        .enumerate()
        .filter(|(index, one)| *index < first_hidden || first_hidden > 0 && one.layer.is_none())
        .map(|(_, one)| *one)
        .collect();
    let names: BTreeSet<&String> =
        merging.iter().filter_map(|one| one.value.as_object()).flat_map(Map::keys).collect();
    if !secret && (!names.is_empty() || at.is_empty()) {
        for name in names {
            let place = child(at, name);
            let parts: Vec<Known<'_>> = merging
                .iter()
                .filter_map(|one| Some(Known { value: one.value.get(name)?, ..*one }))
                .collect();
            explain(&parts, &place, secrets, found);
        }
        return;
    }
    let mut given = known.iter().map(|one| Given {
        source: one.source,
        value: one.shown(at, secrets),
        origin: one.layer.and_then(|layer| origin_at(layer, at)),
    });
    if let Some(winner) = given.next() {
        found.push(Explained { pointer: at.to_owned(), secret, winner, losers: given.collect() });
    }
}

/// Where a value comes from: the newest of its parts, when it has parts of its own.
fn origin_at(layer: &Layer, at: &str) -> Option<Origin> {
    let below = format!("{at}/");
    let own = layer.origins().get(at);
    own.or_else(|| {
        let parts = layer.origins().iter().filter(|(place, _)| place.starts_with(&below));
        parts.map(|(_, origin)| origin).max_by_key(|origin| origin.at)
    })
    .or_else(|| {
        let places: BTreeSet<String> = layer.origins().keys().cloned().collect();
        covering(&places, at).and_then(|place| layer.origins().get(place))
    })
    .copied()
}
