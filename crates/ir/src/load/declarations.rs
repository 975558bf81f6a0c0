//! What a module declares besides the blocks of its flows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use crate::core_uri;
use crate::diagnostic::codes;
use crate::graph::back_edges;
use crate::module::{
    Avatar, CatchUp, ConfigDecl, Constraints, Flow, Identity, Instance, InstanceMode, MemoryDecl, ModelDecl,
    Module, Overflow, Param, PluginDecl, Subscription, Trigger, TriggerKind,
};
use crate::types::Type;
use crate::value::Value;

use super::blocks::FlowReader;
use super::form::{Findings, Node, child, declared_type, is_name};
use super::keys;

type Types = BTreeMap<Arc<str>, Type>;

const SCHEMA_VERSIONS: &[&str] = &["0.1", "0.2"];
/// More parameters than any caller could give by hand.
const MAX_PARAMS: usize = 256;
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

pub(super) fn module(document: &Json, findings: &mut Findings) -> Option<Module> {
    let node = Node::new(document, String::new(), findings)?;
    node.only(&[keys::MODULE], findings);
    let schema_version = node.required_text("schema_version", findings);
    if node.get("schema_version").is_some_and(Json::is_string) && !SCHEMA_VERSIONS.contains(&&*schema_version)
    {
        let message = format!("schema version {schema_version:?} is not read; known are 0.1 and 0.2");
        findings.error(codes::SCHEMA_VERSION, &node.at("schema_version"), message);
    }
    let version = node.required_text("version", findings);
    if node.get("version").is_some_and(Json::is_string) && !is_semver(&version) {
        let message = format!("{version:?} is no semantic version, e.g. 1.0.0");
        findings.error(codes::INVALID_VALUE, &node.at("version"), message);
    }
    let name = node.required_text("name", findings);
    if name.len() > 200 || (name.trim().is_empty() && node.get("name").is_some_and(Json::is_string)) {
        findings.error(codes::INVALID_VALUE, &node.at("name"), "must be a name of 1 to 200 bytes");
    }
    let types = types(&node, findings);
    Some(Module {
        schema_version,
        name,
        version,
        description: node.text("description", findings),
        identity: identity(&node, findings),
        avatar: avatar(&node, findings),
        models: node
            .nodes("models", findings)
            .iter()
            .enumerate()
            .map(|(i, n)| model(n, i, findings))
            .collect(),
        plugins: node
            .nodes("plugins", findings)
            .iter()
            .map(|plugin| self::plugin(plugin, findings))
            .collect(),
        memory: memory(&node, &types, findings),
        reference: node
            .entries("reference", findings)
            .into_iter()
            .map(|(name, value, pointer)| (Arc::from(name), reference(value, &pointer, findings)))
            .collect(),
        config: config(&node, &types, findings),
        constraints: constraints(&node, findings),
        instance: instance(&node, findings),
        triggers: node.nodes("triggers", findings).iter().filter_map(|n| trigger(n, findings)).collect(),
        flows: flows(&node, &types, findings),
        subscriptions: node
            .nodes("subscriptions", findings)
            .iter()
            .map(|n| subscription(n, findings))
            .collect(),
        types,
    })
}

/// Semantic Versioning 2.0.0: three numbers, then perhaps a pre-release and build data.
fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let words = |part: &str| {
        part.split('.').all(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(words)
        && build.is_none_or(words)
}

fn types(node: &Node<'_>, findings: &mut Findings) -> Types {
    let mut types = Types::new();
    for (name, value, pointer) in node.entries("types", findings) {
        if !is_name(name) {
            let message = format!("{name:?} is no type name");
            findings.error(codes::EXPECTED_IDENTIFIER, &pointer, message);
        }
        types.insert(Arc::from(name), declared_type(value, &pointer, findings));
    }
    // Defaults are about to be held against these types, so they must end somewhere.
    let aliases = types.iter().map(|(name, ty)| (&**name, aliases(ty))).collect();
    for (name, _) in back_edges(&aliases) {
        let message =
            format!("the type {name} is defined by itself, without a list, a map or a field in between");
        findings.error(codes::ENDLESS_TYPE, &child(&node.at("types"), name), message);
    }
    types
}

/// The names that a type leads to without passing through a list, a map or a field.
fn aliases(ty: &Type) -> Vec<&str> {
    match ty {
        Type::Named(name) => vec![name],
        Type::Optional(inner) => aliases(inner),
        Type::Union(members) => members.iter().flat_map(aliases).collect(),
        _ => Vec::new(),
    }
}

/// A default as the declared type has it: texts become dates and amounts where the type says so.
fn default(node: &Node<'_>, ty: &Type, types: &Types, findings: &mut Findings) -> Option<Value> {
    let value = Value::from_json(node.map.get("default")?);
    if findings.unread("/types") || findings.unread(&node.at("type")) {
        // The types themselves are wrong; what they say of a default is not worth a finding.
        return Some(value);
    }
    match ty.admit(value, types) {
        Ok(value) => Some(value),
        Err(errors) => {
            for error in errors.iter().take(3) {
                let place = if error.path.is_empty() { String::new() } else { format!(" ({})", error.path) };
                let message = format!("the default must be {}, not {}{place}", error.expected, error.found);
                findings.error(codes::DEFAULT_TYPE, &node.at("default"), message);
            }
            None
        }
    }
}

fn identity(node: &Node<'_>, findings: &mut Findings) -> Option<Identity> {
    let node = Node::new(node.get("identity")?, node.at("identity"), findings)?;
    node.only(&[keys::IDENTITY], findings);
    Some(Identity {
        name: node.required_text("name", findings),
        persona: node.text("persona", findings),
        languages: node.texts("languages", findings),
    })
}

fn avatar(node: &Node<'_>, findings: &mut Findings) -> Option<Avatar> {
    let node = Node::new(node.get("avatar")?, node.at("avatar"), findings)?;
    node.only(&[keys::AVATAR], findings);
    Some(Avatar {
        content_type: node.required_text("content_type", findings),
        data_b64: node.required_text("data_b64", findings),
    })
}

fn model(node: &Node<'_>, index: usize, findings: &mut Findings) -> ModelDecl {
    node.only(&[keys::MODEL], findings);
    let primary = (index == 0).then(|| Arc::from("primary"));
    let role =
        node.text("role", findings).or(primary).unwrap_or_else(|| node.required_text("role", findings));
    let temperature = node.number("temperature", findings);
    if temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        findings.error(codes::INVALID_VALUE, &node.at("temperature"), "must be from 0 to 2");
    }
    let mut modalities = node.texts("modalities", findings);
    if node.get("modalities").is_none() {
        modalities = vec![Arc::from("text"), Arc::from("structured_output")];
    }
    let fallback = node.nodes("fallback", findings).into_iter().map(|fallback| {
        fallback.only(&[keys::FALLBACK], findings);
        let provider = fallback.text("provider", findings).unwrap_or_else(|| Arc::from("scaigrid"));
        (provider, fallback.required_text("model", findings))
    });
    let fallback = fallback.collect();
    ModelDecl {
        role,
        provider: node.text("provider", findings).unwrap_or_else(|| Arc::from("scaigrid")),
        model: node.required_text("model", findings),
        temperature,
        modalities,
        fallback,
        system_context: node.text("system_context", findings),
    }
}

fn plugin(node: &Node<'_>, findings: &mut Findings) -> PluginDecl {
    node.only(&[keys::PLUGIN], findings);
    let config = node.get("config").map_or_else(|| Value::Object(Arc::default()), Value::from_json);
    if !matches!(config, Value::Object(_)) {
        findings.error(codes::WRONG_SHAPE, &node.at("config"), "must be an object");
    }
    PluginDecl {
        alias: node.required_name("alias", findings),
        plugin: node.required_text("plugin", findings),
        config,
        required: node.flag("required", findings).unwrap_or(true),
    }
}

/// A named entry of a declaration: `{type, …}`.
fn entries<'d>(node: &Node<'d>, key: &str, findings: &mut Findings) -> Vec<(Arc<str>, Node<'d>)> {
    let mut found = Vec::new();
    for (name, value, pointer) in node.entries(key, findings) {
        if !is_name(name) {
            findings.error(codes::EXPECTED_IDENTIFIER, &pointer, format!("{name:?} is no name"));
            continue;
        }
        found.extend(Node::new(value, pointer, findings).map(|node| (Arc::from(name), node)));
    }
    found
}

fn required_type(node: &Node<'_>, findings: &mut Findings) -> Type {
    if node.get("type").is_none() {
        node.missing("type", findings);
    }
    node.ty("type", findings).unwrap_or(Type::Json)
}

fn memory(node: &Node<'_>, types: &Types, findings: &mut Findings) -> BTreeMap<Arc<str>, MemoryDecl> {
    let mut memory = BTreeMap::new();
    for (name, node) in entries(node, "memory", findings) {
        node.only(&[keys::MEMORY], findings);
        let ty = required_type(&node, findings);
        let default = default(&node, &ty, types, findings);
        memory.insert(name, MemoryDecl { ty, default });
    }
    memory
}

/// A reference is the value that stands there. What would name an object in a store is refused: there is none.
fn reference(value: &serde_json::Value, pointer: &str, findings: &mut Findings) -> Value {
    if value.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("$object")) {
        let message = "this version has no object store; the value itself must stand here";
        findings.error(codes::INVALID_VALUE, pointer, message);
    }
    Value::from_json(value)
}

fn config(node: &Node<'_>, types: &Types, findings: &mut Findings) -> BTreeMap<Arc<str>, ConfigDecl> {
    let mut config = BTreeMap::new();
    for (name, node) in entries(node, "config", findings) {
        node.only(&[keys::CONFIG], findings);
        let ty = required_type(&node, findings);
        let declared = ConfigDecl {
            default: default(&node, &ty, types, findings),
            ty,
            secret: node.flag("secret", findings).unwrap_or(false),
            runtime_configurable: node.flag("runtime_configurable", findings).unwrap_or(false),
            description: node.text("description", findings),
        };
        config.insert(name, declared);
    }
    config
}

fn constraints(node: &Node<'_>, findings: &mut Findings) -> Constraints {
    let Some(value) = node.get("constraints") else { return Constraints::default() };
    let Some(node) = Node::new(value, node.at("constraints"), findings) else {
        return Constraints::default();
    };
    node.only(&[keys::CONSTRAINTS], findings);
    Constraints {
        never: node.texts("never", findings),
        always: node.texts("always", findings),
        prefer: node.texts("prefer", findings),
    }
}

fn instance(node: &Node<'_>, findings: &mut Findings) -> Instance {
    let Some(value) = node.get("instance") else { return Instance::default() };
    let Some(node) = Node::new(value, node.at("instance"), findings) else { return Instance::default() };
    node.only(&[keys::INSTANCE], findings);
    let modes = [
        ("stateless", InstanceMode::Stateless),
        ("entity", InstanceMode::Entity),
        ("singleton", InstanceMode::Singleton),
    ];
    let overflows = [
        ("queue", Overflow::Queue),
        ("reject", Overflow::Reject),
        ("deactivate_lru", Overflow::DeactivateLru),
    ];
    // The original writes this one in milliseconds.
    let idle_timeout = match node.get("idle_timeout") {
        Some(Json::Number(number)) if number.as_u64().is_some_and(|ms| ms > 0) => {
            number.as_u64().map(Duration::from_millis)
        }
        _ => node.duration("idle_timeout", findings),
    };
    Instance {
        mode: node.word("mode", &modes, findings).unwrap_or_default(),
        key: node.name("key", findings),
        idle_timeout,
        max_concurrent: node.count("max_concurrent", findings),
        max_active_instances: node.count("max_active_instances", findings),
        overflow: node.word("overflow", &overflows, findings).unwrap_or_default(),
    }
}

fn trigger(node: &Node<'_>, findings: &mut Findings) -> Option<Trigger> {
    let kind = node.required_text("kind", findings);
    let name = node.required_text("name", findings);
    let target_flow = node.required_text("target_flow", findings);
    let Some(further) = keys::of(keys::TRIGGERS, &kind) else {
        if node.get("kind").is_some_and(Json::is_string) {
            let hint = findings.hint(&kind, keys::TRIGGERS.iter().map(|(name, _)| *name));
            let message =
                format!("there is no trigger kind {kind:?}, only api, webhook, schedule and event{hint}");
            findings.error(codes::UNKNOWN_KIND, &node.at("kind"), message);
        }
        return None;
    };
    node.only(&[keys::TRIGGER, further], findings);
    let kind = match &*kind {
        "api" => api_trigger(node, findings),
        "webhook" => TriggerKind::Webhook {
            secret: node.text("secret", findings),
            scheme: node
                .get("scheme")
                .filter(|scheme| !scheme.is_null())
                .map(|scheme| Arc::new(scheme.clone())),
        },
        "schedule" => {
            let cron = node.required_text("cron", findings);
            if node.get("cron").is_some() && cron.split_whitespace().count() != 5 {
                findings.error(
                    codes::INVALID_VALUE,
                    &node.at("cron"),
                    "must have five fields, e.g. 0 9 * * 1-5",
                );
            }
            let timezone = node.text("timezone", findings).unwrap_or_else(|| Arc::from("UTC"));
            let ways = [("skip", CatchUp::Skip), ("latest", CatchUp::Latest), ("all", CatchUp::All)];
            let catch_up = node.word("catch_up", &ways, findings).unwrap_or_default();
            TriggerKind::Schedule { cron, timezone, catch_up }
        }
        _ => TriggerKind::Event {
            event: node.required_text("event", findings),
            filter: node.expr("filter", findings),
        },
    };
    Some(Trigger { name, target_flow, kind, pointer: Arc::from(node.pointer.as_str()) })
}

fn api_trigger(node: &Node<'_>, findings: &mut Findings) -> TriggerKind {
    let method = node.text("method", findings).unwrap_or_else(|| Arc::from("POST")).to_ascii_uppercase();
    if !METHODS.contains(&method.as_str()) {
        let message = format!("{method:?} is not one of {}", METHODS.join(", "));
        findings.error(codes::INVALID_VALUE, &node.at("method"), message);
    }
    let path = node.required_text("path", findings);
    if node.get("path").is_some_and(Json::is_string) && !path.starts_with('/') {
        findings.error(codes::INVALID_VALUE, &node.at("path"), "must begin with /");
    }
    let public = node.flag("public", findings).unwrap_or(false);
    TriggerKind::Api { method: Arc::from(method), path, public }
}

fn subscription(node: &Node<'_>, findings: &mut Findings) -> Subscription {
    node.only(&[keys::SUBSCRIPTION], findings);
    let from = node.text("from", findings);
    match from.as_deref() {
        Some(from) if !from.starts_with(core_uri::SCHEME) => {
            findings.error(codes::INVALID_VALUE, &node.at("from"), core_uri::RULE);
        }
        // No error: such programs were accepted once, and run.
        Some(from) if !core_uri::is_well_formed(from) => {
            findings.warning(codes::HEARS_NOTHING, &node.at("from"), core_uri::RULE);
        }
        _ => {}
    }
    Subscription {
        event: node.required_text("event", findings),
        from,
        filter: node.expr("filter", findings),
        flow: node.required_text("flow", findings),
        pointer: Arc::from(node.pointer.as_str()),
    }
}

fn flows(node: &Node<'_>, types: &Types, findings: &mut Findings) -> Vec<Flow> {
    if node.get("flows").is_none() {
        node.missing("flows", findings);
    }
    node.nodes("flows", findings).iter().map(|node| flow(node, types, findings)).collect()
}

fn flow(node: &Node<'_>, types: &Types, findings: &mut Findings) -> Flow {
    node.only(&[keys::FLOW], findings);
    let mut params = Vec::new();
    let declared = node.nodes("params", findings);
    if declared.len() > MAX_PARAMS {
        let message = format!("a flow has at most {MAX_PARAMS} parameters");
        findings.error(codes::INVALID_VALUE, &node.at("params"), message);
    }
    for node in declared.into_iter().take(MAX_PARAMS) {
        node.only(&[keys::PARAM], findings);
        let name = node.required_name("name", findings);
        let ty = required_type(&node, findings);
        let default = default(&node, &ty, types, findings);
        params.push(Param { name, ty, default });
    }
    if node.get("body").is_none() {
        node.missing("body", findings);
    }
    Flow {
        name: node.required_name("name", findings),
        description: node.text("description", findings),
        params,
        returns: node.ty("returns", findings),
        body: FlowReader::new(node.get("body"), findings).body(node, "body", "b"),
        pointer: Arc::from(node.pointer.as_str()),
    }
}
