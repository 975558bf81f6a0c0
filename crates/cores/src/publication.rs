//! Publication: a Core in the catalogue, as a model that one chats with.
//!
//! What the model is called and said to do comes from the Core; who may show it to whom is [`may_show`]; what a
//! conversation means to the program, and the program's answer to the conversation, are [`Chat`] and [`reply`].

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::Value;
use scaigrid_ir::module::{Flow, Module};
use scaigrid_scope::{BackendId, Level, ModelId, PartnerId};
use serde_json::{Map, Value as Json};

use crate::core::Core;
use crate::instances::Instances;

/// The name of the events that a flow emits for each piece of its answer, as far as it has it.
pub const TOKEN_EVENT: &str = "token";
/// The flow that a published Core answers with, where it has one of that name.
pub const CHAT_FLOW: &str = "chat";
/// The field of a flow's output that is its answer.
pub const RESPONSE: &str = "response";
/// The fields of a Core's metadata that tell of its publication. They are the platform's: what is written there is not kept.
pub const METADATA: [&str; 4] = ["published", "published_model_id", "published_backend_id", "published_slug"];

/// What a published Core is in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The model.
    pub model_id: ModelId,
    /// What answers for it.
    pub backend_id: BackendId,
    /// What callers name it by: `scaicore/{tenant}/{core}`.
    pub slug: String,
}

/// Where a group of models is: its level, and whose the tenant is where that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPlace {
    /// The group's level.
    pub level: Level,
    /// The partner that the group's tenant belongs to; of a tenant's group only.
    pub partner: Option<PartnerId>,
}

/// Whether somebody may show a Core to those who see a group of models: super admins in any group, a partner's admins in
/// the partner's and those of its tenants, everybody else in their own tenant's.
pub fn may_show(own: Level, group: GroupPlace) -> bool {
    match (own, group.level) {
        (Level::Platform, _) => true,
        (_, Level::Platform) | (Level::Tenant(_), Level::Partner(_)) => false,
        (Level::Partner(own), Level::Partner(other)) => own == other,
        (Level::Partner(own), Level::Tenant(_)) => group.partner == Some(own),
        (Level::Tenant(own), Level::Tenant(other)) => own == other,
    }
}

impl Core {
    /// What people read of it: the description in its metadata, else its persona.
    pub fn about(&self) -> Option<&str> {
        let described = self.metadata.get("description").and_then(Json::as_str);
        let persona = || self.source.program.pointer("/identity/persona").and_then(Json::as_str);
        described.or_else(persona).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Whether its program says its answers piece by piece.
    pub fn emits_tokens(&self) -> bool {
        self.source.program.get("flows").is_some_and(emits_tokens)
    }

    /// Its metadata as people see them: what is kept, and what tells of its publication.
    pub fn shown_metadata(&self) -> Map<String, Json> {
        let mut shown = (*self.metadata).clone();
        if let Some(publication) = &self.publication {
            let told: [Json; 4] = [
                true.into(),
                publication.model_id.to_string().into(),
                publication.backend_id.to_string().into(),
                publication.slug.clone().into(),
            ];
            shown.extend(METADATA.map(str::to_owned).into_iter().zip(told));
        }
        shown
    }
}

fn emits_tokens(part: &Json) -> bool {
    match part {
        Json::Array(items) => items.iter().any(emits_tokens),
        Json::Object(fields) => {
            let is = |name: &str, text: &str| fields.get(name).is_some_and(|value| value == text);
            is("kind", "emit") && is("event", TOKEN_EVENT) || fields.values().any(emits_tokens)
        }
        _ => false,
    }
}

/// The flow that answers in conversations: the one called `chat`; else the only one that takes a message; else the only one.
pub fn chat_flow(module: &Module) -> Option<&Flow> {
    if let Some(flow) = module.flow(CHAT_FLOW) {
        return Some(flow);
    }
    let takes = |flow: &&Flow| flow.params.iter().any(|param| matches!(&*param.name, "message" | "messages"));
    let mut taking = module.flows.iter().filter(takes);
    match (taking.next(), taking.next(), module.flows.as_slice()) {
        (Some(flow), None, _) | (None, _, [flow]) => Some(flow),
        _ => None,
    }
}

/// What somebody says to a Core.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The last thing that the user said.
    pub message: &'a str,
    /// The conversation so far, that message included, as it came.
    pub messages: &'a [Json],
    /// Whom it is about, where somebody is named.
    pub entity_id: Option<&'a str>,
}

impl Chat<'_> {
    /// What a flow is given: of `message`, `messages` and `entity_id` what it declares, and the entity once more under the
    /// name that the Core's instances are told apart by.
    pub fn input(&self, flow: &Flow, instances: &Instances) -> Value {
        let key_field = match instances {
            Instances::Entity { key_field, .. } => Some(&**key_field),
            Instances::Stateless | Instances::Singleton(_) => None,
        };
        let entity = || self.entity_id.map(|id| Value::String(id.into()));
        let fields = flow.params.iter().filter_map(|param| {
            let value = match &*param.name {
                "message" => Value::String(self.message.into()),
                "messages" => Value::from_json(&Json::Array(self.messages.to_vec())),
                "entity_id" => entity()?,
                name if Some(name) == key_field => entity()?,
                _ => return None,
            };
            Some((Arc::clone(&param.name), value))
        });
        Value::Object(Arc::new(fields.collect::<BTreeMap<_, _>>()))
    }

    /// The instance that is meant: the entity that is named, else the one that the flow takes where none is.
    pub fn instance_key(&self, flow: &Flow, instances: &Instances) -> Option<Arc<str>> {
        if let Some(named) = self.entity_id {
            return Some(named.into());
        }
        let Instances::Entity { key_field, .. } = instances else { return None };
        let param = flow.params.iter().find(|param| param.name == *key_field)?;
        match &param.default {
            Some(Value::String(text)) => Some(Arc::clone(text)),
            _ => None,
        }
    }
}

/// What a flow's output says: the field `response` where it has one, else all of it; as JSON where it is no text.
pub fn reply(output: &Value) -> String {
    let said = match output {
        Value::Object(fields) => fields.get(RESPONSE).unwrap_or(output),
        other => other,
    };
    match said {
        Value::Null => String::new(),
        Value::String(text) => text.to_string(),
        other => match other.to_json() {
            // Dates, amounts of money and the like are texts in JSON.
            Json::String(text) => text,
            json => json.to_string(),
        },
    }
}

/// What is left to be told of an answer of which pieces were told: the rest, where the pieces are its beginning; else all of
/// it, in a paragraph of its own.
pub fn rest_of(told: &str, whole: &str) -> String {
    match whole.strip_prefix(told) {
        Some(rest) => rest.to_owned(),
        None if whole.trim().is_empty() || whole.trim() == told.trim() => String::new(),
        None => format!("\n\n{whole}"),
    }
}

/// What an event adds to the answer: its data where that is a text, or the text in it.
pub fn token(data: &Value) -> Option<Arc<str>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(Arc::clone(text)),
        _ => None,
    };
    match data {
        Value::Object(fields) => {
            ["text", "content", "token"].iter().find_map(|name| text(fields.get(*name)?))
        }
        other => text(other),
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_ir::load;
    use scaigrid_scope::{CoreId, Instant, TenantId, UserId};
    use serde_json::json;

    use super::*;
    use crate::change::NewCore;
    use crate::modes::Concurrency;

    fn ulid(number: u8) -> String {
        format!("01J000000000000000000000{number:02}")
    }

    fn partner(number: u8) -> PartnerId {
        format!("prt_{}", ulid(number)).parse().unwrap()
    }

    fn tenant(number: u8) -> TenantId {
        format!("ten_{}", ulid(number)).parse().unwrap()
    }

    fn core(source: Json, metadata: &Json) -> Core {
        let id: CoreId = format!("core_{}", ulid(1)).parse().unwrap();
        let by: UserId = format!("usr_{}", ulid(1)).parse().unwrap();
        let metadata = metadata.as_object().unwrap().clone();
        let new = NewCore { source, metadata, ..NewCore::named("A") };
        Core::create(id, tenant(1), by, Instant::from_micros(0), new).unwrap()
    }

    fn module(flows: &[(&str, Json)]) -> Module {
        let flows: Vec<Json> = flows
            .iter()
            .map(|(name, params)| {
                json!({"name": name, "params": params, "body": [{"kind": "rigid", "statements": [
                {"kind": "return", "value": "null"}]}]})
            })
            .collect();
        let document = json!({"schema_version": "0.2", "name": "M", "version": "1.0.0", "flows": flows});
        Module::clone(&load::module(&document).module.unwrap())
    }

    #[test]
    fn nobody_shows_a_core_beyond_their_own_reach() {
        let global = GroupPlace { level: Level::Platform, partner: None };
        let of_partner = |n| GroupPlace { level: Level::Partner(partner(n)), partner: None };
        let of_tenant = |n, p| GroupPlace { level: Level::Tenant(tenant(n)), partner: Some(partner(p)) };
        let all = [global, of_partner(1), of_partner(2), of_tenant(1, 1), of_tenant(2, 1), of_tenant(3, 2)];
        let shown = |own| all.map(|group| may_show(own, group));
        assert_eq!(shown(Level::Platform), [true; 6]);
        assert_eq!(shown(Level::Partner(partner(1))), [false, true, false, true, true, false]);
        assert_eq!(shown(Level::Tenant(tenant(1))), [false, false, false, true, false, false]);
    }

    #[test]
    fn a_core_is_described_by_its_metadata_else_by_its_persona() {
        let source = json!({"identity": {"name": "T", "persona": "Short."}});
        assert_eq!(core(source.clone(), &json!({"description": "Does."})).about(), Some("Does."));
        assert_eq!(core(source.clone(), &json!({"description": " "})).about(), None);
        assert_eq!(core(source, &json!({})).about(), Some("Short."));
        assert_eq!(core(json!({}), &json!({})).about(), None);
    }

    #[test]
    fn what_is_said_of_a_publication_is_the_platforms() {
        let written = json!({"published": true, "published_slug": "x", "own": 1});
        let mut core = core(json!({}), &written);
        assert_eq!(Json::Object(core.shown_metadata()), json!({"own": 1}));
        core.publication = Some(Publication {
            model_id: format!("mdl_{}", ulid(1)).parse().unwrap(),
            backend_id: format!("be_{}", ulid(1)).parse().unwrap(),
            slug: "scaicore/t/a".to_owned(),
        });
        let shown = core.shown_metadata();
        assert_eq!((&shown["published"], &shown["published_slug"]), (&json!(true), &json!("scaicore/t/a")));
        // Read, changed, and written back: nothing of it is kept.
        let changes = crate::CoreChanges { metadata: Some(shown), ..crate::CoreChanges::default() };
        let after = core.change(changes, Instant::from_micros(1)).unwrap();
        assert_eq!(after, core);
    }

    #[test]
    fn a_program_emits_tokens_wherever_it_does() {
        let flow = |statement: Json| {
            json!({"flows": [{"body": [{"kind": "while", "body": [{"kind": "rigid", "statements": [
                {"kind": "if", "then": [statement]}]}]}]}]})
        };
        assert!(core(flow(json!({"kind": "emit", "event": "token"})), &json!({})).emits_tokens());
        assert!(!core(flow(json!({"kind": "emit", "event": "done"})), &json!({})).emits_tokens());
        assert!(!core(json!({}), &json!({})).emits_tokens());
    }

    #[test]
    fn the_flow_that_chats_is_found() {
        let (message, other) = (json!([{"name": "message", "type": "string"}]), json!([]));
        let found = |flows: &[(&str, Json)]| chat_flow(&module(flows)).map(|flow| flow.name.to_string());
        assert_eq!(found(&[("a", other.clone())]).as_deref(), Some("a"));
        assert_eq!(found(&[("a", other.clone()), ("b", message.clone())]).as_deref(), Some("b"));
        assert_eq!(found(&[("a", message.clone()), ("b", message.clone())]), None);
        assert_eq!(found(&[("a", other.clone()), ("b", other.clone())]), None);
        assert_eq!(found(&[("chat", other), ("b", message)]).as_deref(), Some("chat"));
    }

    #[test]
    fn a_flow_is_given_what_it_declares() {
        let params = json!([{"name": "message", "type": "string"}, {"name": "messages", "type": "array[json]"},
            {"name": "customer", "type": "string", "default": "nobody"}, {"name": "more", "type": "int", "default": 1}]);
        let module = module(&[("chat", params)]);
        let flow = chat_flow(&module).unwrap();
        let key_field = crate::EntityKeyField::parse("customer").unwrap();
        let instances = Instances::of(&Concurrency::Entity { key_field }, &module.instance);
        let messages = [json!({"role": "user", "content": "Hello"})];
        let chat = Chat { message: "Hello", messages: &messages, entity_id: Some("ada") };
        assert_eq!(
            chat.input(flow, &instances).to_json(),
            json!({"message": "Hello", "messages": messages, "customer": "ada"})
        );
        assert_eq!(chat.instance_key(flow, &instances).as_deref(), Some("ada"));
        let nobody = Chat { entity_id: None, ..chat };
        assert_eq!(
            nobody.input(flow, &Instances::Stateless).to_json(),
            json!({"message": "Hello", "messages": messages})
        );
        assert_eq!(nobody.instance_key(flow, &instances).as_deref(), Some("nobody"));
        assert_eq!(nobody.instance_key(flow, &Instances::Stateless), None);
    }

    #[test]
    fn nothing_of_an_answer_is_told_twice_or_lost() {
        assert_eq!(rest_of("", "All is well."), "All is well.");
        assert_eq!(rest_of("All is", "All is well."), " well.");
        assert_eq!(rest_of("All is well. ", "All is well."), "");
        assert_eq!(rest_of("Looking it up …", "All is well."), "\n\nAll is well.");
        assert_eq!(rest_of("All is well.", ""), "");
    }

    #[test]
    fn an_answer_is_a_text() {
        let said = |value: Json| reply(&Value::from_json(&value));
        assert_eq!(said(json!({"response": "Hello", "more": 1})), "Hello");
        assert_eq!(said(json!({"response": {"a": 1}})), r#"{"a":1}"#);
        assert_eq!(said(json!("Hello")), "Hello");
        assert_eq!(said(json!({"a": 1})), r#"{"a":1}"#);
        assert_eq!(said(json!(null)), "");
        let piece = |value: Json| token(&Value::from_json(&value)).map(|text| text.to_string());
        assert_eq!(piece(json!("a")).as_deref(), Some("a"));
        assert_eq!(piece(json!({"text": "b"})).as_deref(), Some("b"));
        assert_eq!(piece(json!({"n": 1})), None);
    }
}
