//! Types as JSON Schema (draft 2020-12), for tools and for models that answer in JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Type;

impl Type {
    /// The JSON that the type takes, as a schema. Named types stand under `$defs`.
    pub fn to_json_schema(&self, types: &BTreeMap<Arc<str>, Self>) -> Json {
        let mut schema = self.schema();
        let mut reached: BTreeSet<&Arc<str>> = BTreeSet::new();
        let mut open = self.named();
        let mut definitions = Map::new();
        while let Some(name) = open.pop() {
            if let Some(ty) = types.get(name)
                && reached.insert(name)
            {
                definitions.insert(name.as_ref().to_owned(), ty.schema());
                open.extend(ty.named());
            }
        }
        if let Json::Object(fields) = &mut schema {
            fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
            if !definitions.is_empty() {
                fields.insert("$defs".to_owned(), Json::Object(definitions));
            }
        }
        schema
    }

    fn schema(&self) -> Json {
        match self {
            Self::String => json!({"type": "string"}),
            Self::Int => json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
            Self::Float => json!({"type": "number"}),
            Self::Bool => json!({"type": "boolean"}),
            Self::Date => json!({"type": "string", "format": "date"}),
            Self::Datetime => json!({"type": "string", "format": "date-time"}),
            Self::Duration => json!({"type": "string", "pattern": "^-?([0-9]+(w|d|h|m|s|ms|us))+$"}),
            Self::Money => {
                json!({"type": ["string", "number"], "pattern": "^-?[0-9]*\\.?[0-9]+$"})
            }
            Self::Email => json!({"type": "string", "format": "email"}),
            Self::Url => json!({"type": "string", "format": "uri"}),
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::Json => json!({}),
            Self::Null => json!({"type": "null"}),
            Self::Array(element) => json!({"type": "array", "items": element.schema()}),
            Self::Map(entry) => json!({"type": "object", "additionalProperties": entry.schema()}),
            Self::Object(fields) => {
                let properties: Map<_, _> =
                    fields.iter().map(|(name, ty)| (name.as_ref().to_owned(), ty.schema())).collect();
                let required: Vec<_> = fields
                    .iter()
                    .filter(|(_, ty)| !ty.is_optional())
                    .map(|(name, _)| name.as_ref())
                    .collect();
                json!({"type": "object", "properties": properties, "required": required})
            }
            Self::Optional(inner) => json!({"anyOf": [inner.schema(), {"type": "null"}]}),
            Self::Union(members) => {
                json!({"anyOf": members.iter().map(Self::schema).collect::<Vec<_>>()})
            }
            Self::Enum(members) => {
                json!({"type": "string", "enum": members.iter().map(AsRef::as_ref).collect::<Vec<&str>>()})
            }
            Self::Named(name) => {
                let step = name.replace('~', "~0").replace('/', "~1");
                json!({"$ref": format!("#/$defs/{step}")})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_types_stand_once_under_defs() {
        let types: BTreeMap<Arc<str>, Type> = [
            ("Tree", "{value: int, children: array[Tree], kind?: Kind}"),
            ("Kind", "enum[leaf, branch]"),
            ("Unused", "int"),
        ]
        .into_iter()
        .map(|(name, text)| (Arc::from(name), Type::parse(text).unwrap()))
        .collect();
        let schema = Type::parse("array[Tree]").unwrap().to_json_schema(&types);
        assert_eq!(schema["items"], json!({"$ref": "#/$defs/Tree"}));
        assert_eq!(schema["$defs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Kind", "Tree"]);
        assert_eq!(schema["$defs"]["Tree"]["required"], json!(["children", "value"]));
        assert_eq!(schema["$defs"]["Kind"]["enum"], json!(["leaf", "branch"]));
    }
}
