//! Laws of layered configuration.

use proptest::prelude::*;
use scaigrid_scope::Instant;
use serde_json::{Value, json};

use super::*;
use crate::state::SettingLevel;

/// Values with few names, so that they meet.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[a-c*]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_patch() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", any_json(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn origin(at: i64) -> Origin {
    Origin { at: Instant::from_micros(at), by: None }
}

fn schema() -> ConfigSchema {
    ConfigSchema::parse(json!({"properties": {
        "a": {"default": 7},
        "b": {"properties": {"a": {"writeOnly": true}, "c": {"default": "by default"}}},
        "c": {"items": {"writeOnly": true}}
    }}))
    .unwrap()
}

fn layer(patches: &[Value]) -> Option<Layer> {
    patches.iter().enumerate().try_fold(Layer::default(), |layer, (index, patch)| {
        layer.patched(&schema(), patch, &BTreeSet::new(), origin(i64::try_from(index).unwrap())).ok()
    })
}

fn secret_values(value: &Value) -> Vec<Value> {
    let secrets = schema().secrets_in(value);
    secrets.iter().filter_map(|place| value.pointer(place)).cloned().collect()
}

const SCHEMAS: usize = 6;

/// Schemas that a module's manifest might have one after the other.
fn schemas() -> [ConfigSchema; SCHEMAS] {
    let secret = json!({"writeOnly": true});
    let any = json!({"properties": {"a": secret, "b": secret}});
    [
        json!({}),
        json!({"properties": {"a": secret, "b": {"items": secret}, "c": {"items": any}}}),
        json!({"properties": {"a": any, "b": {"prefixItems": [secret]}, "c": secret}}),
        json!({"properties": {"a": {"properties": {"c": any}}, "b": any, "c": {"items": {"items": secret}}}}),
        json!({"properties": {"a": {"prefixItems": [any, {"items": any}]}}, "additionalProperties": any}),
        json!({"additionalProperties": secret}),
    ]
    .map(|schema| ConfigSchema::parse(schema).unwrap())
}

/// A change of a configuration: something new, or what is shown with its lists turned about.
#[derive(Debug, Clone)]
enum Change {
    New(Value),
    Back { turn: usize, drop: bool, with: Value },
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any_patch().prop_map(Change::New),
        (0..3_usize, any::<bool>(), any_patch()).prop_map(|(turn, drop, with)| Change::Back {
            turn,
            drop,
            with
        }),
    ]
}

impl Change {
    /// The patch: what the schema calls secret is marked, and nothing else says the same.
    fn patch(self, layer: &Layer, schema: &ConfigSchema) -> Value {
        let (mut patch, new) = match self {
            Self::New(new) => (json!({}), new),
            Self::Back { turn, drop, with } => {
                let mut shown = layer.shown(schema);
                turn_lists(&mut shown, turn, drop);
                (shown, with)
            }
        };
        let mut new = new;
        say(&mut new, "open");
        for place in schema.secrets_in(&new) {
            say(new.pointer_mut(&place).unwrap(), "hush");
        }
        merge_patch(&mut patch, &new);
        patch
    }
}

fn say(value: &mut Value, text: &str) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| say(value, text)),
        Value::Array(items) => items.iter_mut().for_each(|value| say(value, text)),
        Value::Null => {}
        other => *other = text.into(),
    }
}

fn turn_lists(value: &mut Value, turn: usize, drop: bool) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| turn_lists(value, turn, drop)),
        Value::Array(items) if !items.is_empty() => {
            let turn = turn % items.len();
            items.rotate_left(turn);
            if drop {
                items.pop();
            }
        }
        _ => {}
    }
}

fn has_stars(value: &Value) -> bool {
    value.to_string().contains("***")
}

#[test]
fn each_level_covers_those_above_it_and_says_so() {
    let schema = ConfigSchema::parse(json!({"properties": {
        "model": {"default": "m0"}, "top": {"default": 5},
        "smtp": {"properties": {"host": {}, "password": {"writeOnly": true}, "port": {"default": 25}}}
    }}))
    .unwrap();
    let of =
        |patch: Value, at| Layer::default().patched(&schema, &patch, &BTreeSet::new(), origin(at)).unwrap();
    let platform = of(json!({"model": "m1", "smtp": {"host": "up", "password": "hush-1"}}), 1);
    let partner = of(json!({"smtp": {"password": "hush-2"}}), 2);
    let tenant = of(json!({"model": "m3", "smtp": {"host": "down"}}), 3);
    let layers = [
        (SettingLevel::Platform, &platform),
        (SettingLevel::Partner, &partner),
        (SettingLevel::Tenant, &tenant),
    ];
    let levels = Levels { schema: &schema, layers: &layers };
    assert_eq!(
        levels.effective(),
        json!({"model": "m3", "top": 5, "smtp": {"host": "down", "password": "hush-2", "port": 25}})
    );
    assert_eq!(levels.shown()["smtp"], json!({"host": "down", "password": "***", "port": 25}));
    let told: Vec<String> = levels
        .explain()
        .iter()
        .map(|one| {
            let since = |given: &Given| given.origin.map_or(0, |origin| origin.at.micros());
            let losers: Vec<String> = one
                .losers
                .iter()
                .map(|given| format!("{}={}@{}", given.source, given.value, since(given)))
                .collect();
            format!(
                "{} {}={}@{} over [{}]",
                field_name(&one.pointer),
                one.winner.source,
                one.winner.value,
                since(&one.winner),
                losers.join(" ")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"model tenant="m3"@3 over [platform="m1"@1 default="m0"@0]"#,
            r#"smtp.host tenant="down"@3 over [platform="up"@1]"#,
            r#"smtp.password partner="***"@2 over [platform="***"@1]"#,
            "smtp.port default=25@0 over []",
            "top default=5@0 over []",
        ]
    );
}

#[test]
fn what_is_wrong_within_a_secret_is_told_of_the_whole() {
    let secrets = BTreeSet::from(["/a".to_owned()]);
    let inside = Finding::new("/a/hush", "is not a setting").outside(&secrets);
    assert_eq!(
        (inside.pointer.as_str(), inside.message.as_str()),
        ("/a", "is not as the module's schema says")
    );
    let at = Finding::new("/a", "must be string").outside(&secrets);
    assert_eq!(at.message, "must be string");
}

proptest! {
    #[test]
    fn a_patch_sent_twice_changes_nothing_the_second_time(first in any_patch(), second in any_patch()) {
        let Some(one) = layer(&[first]) else { return Ok(()) };
        let Ok(two) = one.patched(&schema(), &second, &BTreeSet::new(), origin(8)) else { return Ok(()) };
        let again = two.patched(&schema(), &second, &BTreeSet::new(), origin(9));
        // Stars in a list stand for what was there before; what they stand for may be gone by then.
        if !second.to_string().contains("***") {
            prop_assert_eq!(again.unwrap(), two);
        }
    }

    #[test]
    fn what_is_shown_can_be_written_back_and_changes_nothing(patches in prop::collection::vec(any_patch(), 1..3)) {
        let Some(layer) = layer(&patches) else { return Ok(()) };
        let shown = layer.shown(&schema());
        // Merge patches cannot write null, which lists may hold.
        if !shown.to_string().contains("null") {
            let again = layer.patched(&schema(), &shown, &BTreeSet::new(), origin(9)).unwrap();
            prop_assert_eq!(again, layer);
        }
    }

    #[test]
    fn every_value_has_an_origin_and_no_other_has(patches in prop::collection::vec(any_patch(), 1..4)) {
        let Some(layer) = layer(&patches) else { return Ok(()) };
        for place in layer.origins().keys() {
            prop_assert!(layer.values().pointer(place).is_some(), "{}", place);
        }
        let explained = Levels { schema: &schema(), layers: &[(SettingLevel::Tenant, &layer)] }.explain();
        for one in &explained {
            prop_assert_eq!(one.winner.origin.is_some(), one.winner.source == ConfigSource::Tenant);
        }
    }

    #[test]
    fn the_explanation_is_the_configuration_that_counts(
        platform in any_patch(), partner in any_patch(), tenant in any_patch()
    ) {
        let all: Option<Vec<Layer>> = [platform, partner, tenant].into_iter().map(|one| layer(&[one])).collect();
        let Some(all) = all else { return Ok(()) };
        let layers = [
            (SettingLevel::Platform, &all[0]),
            (SettingLevel::Partner, &all[1]),
            (SettingLevel::Tenant, &all[2]),
        ];
        let (schema, shown) = (schema(), Levels { schema: &schema(), layers: &layers }.shown());
        let levels = Levels { schema: &schema, layers: &layers };
        let mut rebuilt = json!({});
        for one in levels.explain() {
            prop_assert_eq!(shown.pointer(&one.pointer), Some(&one.winner.value));
            let mut patch = one.winner.value.clone();
            for name in one.pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
                patch = json!({name: patch});
            }
            merge_patch(&mut rebuilt, &patch);
        }
        // A default of null is the one value that a patch cannot write; this schema has none.
        prop_assert_eq!(rebuilt, shown);
    }

    #[test]
    fn the_order_in_which_levels_were_written_does_not_matter(first in any_patch(), second in any_patch()) {
        let (Some(upper), Some(lower)) = (layer(std::slice::from_ref(&first)), layer(std::slice::from_ref(&second)))
        else { return Ok(()) };
        let schema = schema();
        let effective = |upper: &Layer, lower: &Layer| {
            Levels { schema: &schema, layers: &[(SettingLevel::Platform, upper), (SettingLevel::Tenant, lower)] }
                .effective()
        };
        let before = effective(&upper, &lower);
        // Written over again in the other order, with other times.
        let lower = lower.patched(&schema, &second, &BTreeSet::new(), origin(20));
        let upper = upper.patched(&schema, &first, &BTreeSet::new(), origin(21));
        if let (Ok(upper), Ok(lower)) = (upper, lower) {
            prop_assert_eq!(effective(&upper, &lower), before);
        }
    }

    #[test]
    fn no_secret_is_shown_after_any_changes_of_it_and_of_the_schema(
        changes in prop::collection::vec((0..SCHEMAS, any_change()), 1..7)
    ) {
        let schemas = schemas();
        let mut layer = Layer::default();
        for (at, (schema, change)) in changes.into_iter().enumerate() {
            let patch = change.patch(&layer, &schemas[schema]);
            let origin = origin(i64::try_from(at).unwrap());
            let Ok(after) = layer.patched(&schemas[schema], &patch, &BTreeSet::new(), origin) else { continue };
            for schema in &schemas {
                let levels = Levels { schema, layers: &[(SettingLevel::Tenant, &after)] };
                let told = format!("{} {} {:?}", after.shown(schema), levels.shown(), levels.explain());
                prop_assert!(!told.contains("hush"), "{} by {}: {}", layer.shown(schema), patch, told);
            }
            prop_assert!(!has_stars(after.values()), "{} by {}", after.values(), patch);
            layer = after;
        }
    }

    #[test]
    fn no_secret_is_shown(upper in any_patch(), lower in any_patch()) {
        // Every secret text is marked, so that it cannot also be a value that may be seen.
        fn mark(schema: &ConfigSchema, mut value: Value) -> Value {
            for place in schema.secrets_in(&value) {
                if let Some(secret) = value.pointer_mut(&place) {
                    *secret = json!(format!("hush {place}"));
                }
            }
            value
        }
        let schema = schema();
        let (upper, lower) = (mark(&schema, upper), mark(&schema, lower));
        let (Some(upper), Some(lower)) = (layer(&[upper]), layer(&[lower])) else { return Ok(()) };
        let layers = [(SettingLevel::Platform, &upper), (SettingLevel::Tenant, &lower)];
        let levels = Levels { schema: &schema, layers: &layers };
        let told = format!("{} {} {} {:?} {:?}", levels.shown(), upper.shown(&schema), lower.shown(&schema), levels.explain(), upper);
        prop_assert!(!told.contains("hush"), "{}", told);
        prop_assert!(secret_values(upper.values()).iter().all(|secret| secret.to_string().contains("hush")));
    }
}
