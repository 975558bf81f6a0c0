//! What one level has configured of a module, and how a merge patch changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scaigrid_scope::{Instant, UserId};
use serde_json::{Map, Value};

use super::merge::{depth, merge_patch};
use super::pointer::{child, covering, parts, replace};
use super::schema::ConfigSchema;
use super::{Finding, MASK};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// When it was given.
    pub at: Instant,
    /// By whom; none for the process itself or its operator.
    pub by: Option<UserId>,
}

/// What one level has configured of a module, in the clear.
///
/// `Debug` shows no values.
#[derive(Clone, PartialEq)]
pub struct Layer {
    values: Value,
    secrets: BTreeSet<String>,
    origins: BTreeMap<String, Origin>,
}

impl Default for Layer {
    fn default() -> Self {
        Self { values: Value::Object(Map::new()), secrets: BTreeSet::new(), origins: BTreeMap::new() }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("fields", &self.origins.keys()).finish_non_exhaustive()
    }
}

impl Layer {
    /// The most bytes of what one level has configured, as JSON.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// How deep it may be.
    pub const MAX_DEPTH: usize = 16;
    /// How many values it may have.
    pub const MAX_VALUES: usize = 1000;

    /// A layer as it was kept: its values, which of them are kept as secrets, and where each comes from. `None` when the
    /// values are no object.
    pub fn kept(values: Value, secrets: BTreeSet<String>, origins: BTreeMap<String, Origin>) -> Option<Self> {
        values.is_object().then_some(Self { values, secrets, origins })
    }

    /// The values, secrets in the clear.
    pub const fn values(&self) -> &Value {
        &self.values
    }

    /// The places of the secret values: those that the schema names, and those that were kept as secrets under an
    /// earlier one.
    pub fn secrets(&self, schema: &ConfigSchema) -> BTreeSet<String> {
        let mut secrets = schema.secrets_in(&self.values);
        let kept = self.secrets.iter().filter(|place| self.values.pointer(place).is_some());
        secrets.extend(kept.cloned());
        secrets
    }

    /// Where each value comes from, by its place.
    pub const fn origins(&self) -> &BTreeMap<String, Origin> {
        &self.origins
    }

    /// The values as they may be shown.
    pub fn shown(&self, schema: &ConfigSchema) -> Value {
        let mut shown = self.values.clone();
        replace(&mut shown, &self.secrets(schema), &MASK.into());
        shown
    }

    /// The layer after a merge patch. Values that stay the same keep their origin.
    ///
    /// `"***"` in the place of a secret keeps the one that is there; where only a level above has one (`inherited`: the
    /// places of theirs), it changes nothing. In a list that holds for elements that are otherwise unchanged: a secret
    /// never moves to another element, but moves with its own.
    ///
    /// What was kept as a secret stays one until the patch gives a whole new value in its place, whatever the schema says
    /// by now.
    ///
    /// # Errors
    /// What is wrong, when the patch is no object, is too deep or large, or keeps a secret that is not there.
    pub fn patched(
        &self,
        schema: &ConfigSchema,
        patch: &Value,
        inherited: &BTreeSet<String>,
        origin: Origin,
    ) -> Result<Self, Vec<Finding>> {
        let whole = |message: String| vec![Finding::new("", message)];
        if !patch.is_object() {
            return Err(whole("must be a JSON object: a merge patch (RFC 7396)".to_owned()));
        }
        if depth(patch) > Self::MAX_DEPTH {
            return Err(whole(format!("must be at most {} levels deep", Self::MAX_DEPTH)));
        }
        let mut patch = patch.clone();
        let before = self.secrets(schema);
        let mut secrets = schema.secrets_in(&patch);
        secrets.extend(before.iter().chain(inherited).cloned());
        let shown = self.shown(schema);
        let mut restoring = Restoring {
            values: &self.values,
            shown: &shown,
            own: &before,
            secrets: &secrets,
            inherited,
            kept: BTreeSet::new(),
            found: Vec::new(),
        };
        restoring.restore(&mut patch, "");
        if !restoring.found.is_empty() {
            return Err(restoring.found);
        }
        let mut kept = restoring.kept;
        let mut values = self.values.clone();
        merge_patch(&mut values, &patch);
        if values.to_string().len() > Self::MAX_BYTES {
            return Err(whole(format!("would be larger than {} bytes", Self::MAX_BYTES)));
        }
        let still = |place: &&String| {
            !replaces(&patch, &self.values, place) || self.values.pointer(place) == values.pointer(place)
        };
        kept.extend(before.iter().filter(still).cloned());
        let after = Self { values, secrets: kept, origins: BTreeMap::new() };
        let all = after.secrets(schema);
        let old: BTreeMap<String, &Value> = leaves(&self.values, &before).collect();
        let origins: BTreeMap<String, Origin> = leaves(&after.values, &all)
            .map(|(place, value)| {
                let same = old.get(&place).is_some_and(|old| *old == value);
                let earlier = same.then(|| self.origins.get(&place)).flatten();
                (place, earlier.copied().unwrap_or(origin))
            })
            .collect();
        if origins.len() > Self::MAX_VALUES {
            return Err(whole(format!("would have more than {} values", Self::MAX_VALUES)));
        }
        Ok(Self { secrets: all, origins, ..after })
    }
}

/// Whether a patch puts a whole new value, or none, in a place. What is merged into an object there does not.
fn replaces(patch: &Value, values: &Value, place: &str) -> bool {
    let (mut change, mut was) = (patch, Some(values));
    for name in parts(place) {
        let (Value::Object(fields), Some(Value::Object(there))) = (change, was) else { return true };
        let Some(field) = fields.get(&name) else { return false };
        (change, was) = (field, there.get(&name));
    }
    !(change.is_object() && was.is_some_and(Value::is_object))
}

/// The values of a configuration that are told apart: what is no object with fields, and what is secret as a whole.
fn leaves<'a>(
    config: &'a Value,
    secrets: &BTreeSet<String>,
) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    fn walk<'a>(
        value: &'a Value,
        at: String,
        secrets: &BTreeSet<String>,
        found: &mut Vec<(String, &'a Value)>,
    ) {
        match value {
            Value::Object(fields) if !secrets.contains(&at) && (!fields.is_empty() || at.is_empty()) => {
                for (name, value) in fields {
                    walk(value, child(&at, name), secrets, found);
                }
            }
            _ => found.push((at, value)),
        }
    }
    let mut found = Vec::new();
    walk(config, String::new(), secrets, &mut found);
    found.into_iter()
}

/// Puts stored secrets where a patch says `"***"`.
struct Restoring<'a> {
    values: &'a Value,
    shown: &'a Value,
    /// The places of the stored secrets.
    own: &'a BTreeSet<String>,
    /// The places of all that is secret: stored, given by the patch, or by a level above.
    secrets: &'a BTreeSet<String>,
    inherited: &'a BTreeSet<String>,
    /// Where secrets were put.
    kept: BTreeSet<String>,
    found: Vec<Finding>,
}

impl Restoring<'_> {
    fn keeps(&self, given: &Value, at: &str) -> bool {
        given == MASK && covering(self.secrets, at).is_some()
    }

    fn restore(&mut self, given: &mut Value, at: &str) {
        match given {
            Value::Object(fields) => {
                let mut dropped = Vec::new();
                for (name, value) in fields.iter_mut() {
                    let at = child(at, name);
                    if !self.keeps(value, &at) {
                        self.restore(value, &at);
                    } else if let Some(stored) = self.values.pointer(&at) {
                        value.clone_from(stored);
                        self.kept.insert(at);
                    } else if self.inherited.contains(&at) {
                        dropped.push(name.clone());
                    } else {
                        self.found.push(Finding::new(&at, "there is no value that *** could keep"));
                    }
                }
                fields.retain(|name, _| !dropped.contains(name));
            }
            Value::Array(items) => self.restore_items(items, at),
            _ => {}
        }
    }

    fn restore_items(&mut self, items: &mut [Value], at: &str) {
        let stored = |all: &Value| all.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default();
        let (values, shown) = (stored(self.values), stored(self.shown));
        let below = format!("{at}/");
        let holds_secrets = self.secrets.iter().any(|place| place.starts_with(&below));
        for (index, item) in items.iter_mut().enumerate() {
            let at = child(at, &index.to_string());
            // Which element stars belong to is seen only when it is found: the schema may not say it of this place.
            if !(self.keeps_any(item, &at) || holds_secrets && has_mask(item)) {
                continue;
            }
            let is = |place: &usize| shown.get(*place) == Some(item);
            let found = Some(index).filter(is).or_else(|| (0..shown.len()).find(|place| is(place)));
            let Some((place, value)) = found.and_then(|place| Some((place, values.get(place)?))) else {
                self.found.push(Finding::new(
                    &at,
                    "*** keeps the secrets of an element that is otherwise unchanged; give them again",
                ));
                continue;
            };
            item.clone_from(value);
            let earlier = format!("{below}{place}");
            let moved = self.own.iter().filter_map(|place| place.strip_prefix(&earlier));
            let within = moved.filter(|rest| rest.is_empty() || rest.starts_with('/'));
            self.kept.extend(within.map(|rest| format!("{at}{rest}")));
        }
    }

    fn keeps_any(&self, given: &Value, at: &str) -> bool {
        self.keeps(given, at)
            || match given {
                Value::Object(fields) => {
                    fields.iter().any(|(name, value)| self.keeps_any(value, &child(at, name)))
                }
                Value::Array(items) => items
                    .iter()
                    .enumerate()
                    .any(|(index, item)| self.keeps_any(item, &child(at, &index.to_string()))),
                _ => false,
            }
    }
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(has_mask),
        Value::Array(items) => items.iter().any(has_mask),
        other => other == MASK,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ConfigSchema {
        ConfigSchema::parse(json!({"properties": {
            "key": {"writeOnly": true},
            "smtp": {"properties": {"password": {"writeOnly": true}}},
            "hooks": {"items": {"properties": {"token": {"writeOnly": true}}}}
        }}))
        .unwrap()
    }

    fn origin(at: i64) -> Origin {
        Origin { at: Instant::from_micros(at), by: None }
    }

    fn put(layer: &Layer, patch: &Value, at: i64) -> Result<Layer, Vec<Finding>> {
        layer.patched(&schema(), patch, &BTreeSet::from(["/key".to_owned()]), origin(at))
    }

    #[test]
    fn a_secret_is_shown_as_stars_and_stars_keep_it() {
        let first = json!({"key": "hush", "smtp": {"host": "h", "password": "hush-2"}});
        let one = put(&Layer::default(), &first, 1).unwrap();
        assert_eq!(one.shown(&schema()), json!({"key": "***", "smtp": {"host": "h", "password": "***"}}));
        assert!(!format!("{one:?}").contains("hush"));
        let two = put(&one, &json!({"key": "***", "smtp": {"host": "i", "password": "***"}}), 2).unwrap();
        assert_eq!(two.values(), &json!({"key": "hush", "smtp": {"host": "i", "password": "hush-2"}}));
        let origins: Vec<_> =
            two.origins().iter().map(|(place, from)| (place.as_str(), from.at.micros())).collect();
        assert_eq!(origins, [("/key", 1), ("/smtp/host", 2), ("/smtp/password", 1)]);
        assert_eq!(put(&two, &two.shown(&schema()), 3).unwrap(), two);
    }

    #[test]
    fn stars_for_nothing_are_refused_unless_a_level_above_has_it() {
        let patch = json!({"key": "***", "smtp": {"password": "***"}});
        let found = put(&Layer::default(), &patch, 1).unwrap_err();
        assert_eq!(found.iter().map(|one| one.pointer.as_str()).collect::<Vec<_>>(), ["/smtp/password"]);
        assert_eq!(put(&Layer::default(), &json!({"key": "***"}), 1).unwrap(), Layer::default());
    }

    #[test]
    fn a_secret_never_moves_to_another_element() {
        let hooks = json!({"hooks": [{"url": "a", "token": "hush-a"}, {"url": "b", "token": "hush-b"}]});
        let one = put(&Layer::default(), &hooks, 1).unwrap();
        let swapped = json!({"hooks": [{"url": "b", "token": "***"}, {"url": "a", "token": "***"}]});
        let two = put(&one, &swapped, 2).unwrap();
        assert_eq!(two.values()["hooks"][0], json!({"url": "b", "token": "hush-b"}));
        let moved = json!({"hooks": [{"url": "evil", "token": "***"}]});
        assert_eq!(put(&one, &moved, 2).unwrap_err()[0].pointer, "/hooks/0");
        let fresh = json!({"hooks": [{"url": "c", "token": "new"}, {"url": "a", "token": "***"}]});
        assert_eq!(put(&one, &fresh, 2).unwrap().values()["hooks"][1]["token"], "hush-a");
    }

    #[test]
    fn what_was_kept_as_a_secret_stays_one_when_the_schema_forgets_it() {
        let one = put(&Layer::default(), &json!({"key": "hush"}), 1).unwrap();
        let open = ConfigSchema::parse(json!({})).unwrap();
        assert_eq!(one.shown(&open), json!({"key": "***"}));
        let two = one.patched(&open, &json!({"a": 1, "key": "***"}), &BTreeSet::new(), origin(2)).unwrap();
        assert_eq!(
            (two.shown(&open), two.values()["key"].as_str()),
            (json!({"a": 1, "key": "***"}), Some("hush"))
        );
    }

    #[test]
    fn a_kept_object_stays_secret_when_something_is_merged_into_it() {
        let marked = ConfigSchema::parse(json!({"properties": {"smtp": {"writeOnly": true}}})).unwrap();
        let open = ConfigSchema::parse(json!({})).unwrap();
        let none = BTreeSet::new();
        let smtp = json!({"smtp": {"host": "hush", "password": "hush-2"}});
        let one = Layer::default().patched(&marked, &smtp, &none, origin(1)).unwrap();
        let two = one.patched(&open, &json!({"smtp": {"x": 1}}), &none, origin(2)).unwrap();
        assert_eq!(two.shown(&open), json!({"smtp": "***"}));
        assert_eq!(two.values()["smtp"], json!({"host": "hush", "password": "hush-2", "x": 1}));
        // Stars within it keep what is there, and stand for nothing else.
        let three = two.patched(&open, &json!({"smtp": {"x": 2, "host": "***"}}), &none, origin(3)).unwrap();
        assert_eq!(three.values()["smtp"]["host"], "hush");
        let found = three.patched(&open, &json!({"smtp": {"y": "***"}}), &none, origin(4)).unwrap_err();
        assert_eq!(found[0].pointer, "/smtp/y");
        // A whole new value is what it says that it is.
        for new in [json!("new"), json!(["new"])] {
            let given = three.patched(&open, &json!({"smtp": new}), &none, origin(4)).unwrap();
            assert_eq!(given.shown(&open), json!({"smtp": new}));
        }
    }

    #[test]
    fn kept_secrets_move_with_their_elements() {
        let open = ConfigSchema::parse(json!({})).unwrap();
        let none = BTreeSet::new();
        let hooks = json!({"hooks": [{"url": "a", "token": "hush-a"}, {"url": "b", "token": "hush-b"}]});
        let one = put(&Layer::default(), &hooks, 1).unwrap();
        let (a, b) = (json!({"url": "a", "token": "***"}), json!({"url": "b", "token": "***"}));
        let fresh = json!({"url": "c", "token": "new"});
        for list in [json!([b, a]), json!([b]), json!([fresh, a, b]), json!([a, b, a])] {
            let two = one.patched(&open, &json!({"hooks": list}), &none, origin(2)).unwrap();
            assert_eq!(two.shown(&open), json!({"hooks": list}));
            assert!(!two.values().to_string().contains("***"));
        }
        let strange = json!({"hooks": [fresh, a, {"url": "d", "token": "***"}]});
        assert_eq!(one.patched(&open, &strange, &none, origin(2)).unwrap_err()[0].pointer, "/hooks/2");
    }

    #[test]
    fn stars_for_what_a_level_above_kept_change_nothing() {
        let open = ConfigSchema::parse(json!({})).unwrap();
        let above = BTreeSet::from(["/key".to_owned(), "/hooks/0/token".to_owned()]);
        let patched = |patch: Value| Layer::default().patched(&open, &patch, &above, origin(1));
        assert_eq!(patched(json!({"key": "***"})).unwrap(), Layer::default());
        assert_eq!(patched(json!({"hooks": [{"token": "***"}]})).unwrap_err()[0].pointer, "/hooks/0");
        assert!(patched(json!({"note": "***"})).is_ok());
    }

    #[test]
    fn a_layer_is_bounded() {
        let mut deep = json!(1);
        for _ in 0..Layer::MAX_DEPTH {
            deep = json!({"a": deep});
        }
        assert!(put(&Layer::default(), &deep, 1).is_ok());
        let many: Map<String, Value> = (0..=Layer::MAX_VALUES).map(|n| (n.to_string(), json!(n))).collect();
        for bad in
            [json!({"a": deep}), json!([]), json!({"a": "x".repeat(Layer::MAX_BYTES)}), Value::Object(many)]
        {
            assert_eq!(put(&Layer::default(), &bad, 1).unwrap_err()[0].pointer, "");
        }
    }
}
