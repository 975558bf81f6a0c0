//! The tools that an AI may call while it answers: those of its plugins, and the helpers of its tenant.
//!
//! What goes wrong with a call is told to the model, which can go on without. A plugin's state is looked at for every call.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use data_encoding::HEXLOWER;
use scaigrid_cores::plugins::{EffectClass, PluginName};
use scaigrid_engine::plugins::RegisteredCall;
use scaigrid_persistence::participants::{self, ParticipantFilter};
use scaigrid_scope::{AnswerId, RoomId, TenantScope, UserId};
use scaigrid_workspace::helper::MAX_DEPTH;
use scaigrid_workspace::plugin::{PluginManifest, PluginTool, ToolNames, shipped_as, shortened};
use scaigrid_workspace::{HelperConfig, Participant, Who};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::plugins::tools_of_offer;
use crate::{App, Error};

/// The most tools that are offered for one answer.
const TOOLS: usize = 128;
/// The most helpers of a tenant that are offered.
const HELPERS: i64 = 64;
/// How long a call of a plugin may take.
const WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of what a model is told of a call.
const RESULT: usize = 30 * 1024;

/// On whose behalf an AI answers, and where.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// The tenant.
    pub(crate) scope: TenantScope,
    /// The user who has asked.
    pub(crate) user_id: UserId,
    /// The AI.
    pub(crate) participant: Participant,
    /// The room, where it answers in one.
    pub(crate) room_id: Option<RoomId>,
    /// How many helpers stand between this one and whom the user has asked: 0 for the one that was asked.
    pub(crate) depth: u8,
    /// The answer that it owes to a room; none where nothing is kept of what it says.
    pub(crate) answer_id: Option<AnswerId>,
    /// Whether that answer has been begun before, by this node or another: what must not be done twice is not done then.
    pub(crate) again: bool,
}

/// A tool that an AI may call.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// What models call it by: at most 64 of `A-Z a-z 0-9 _ -`, and like no other of the same answer.
    pub(crate) name: String,
    /// What it is good for.
    pub(crate) description: String,
    /// What it takes: a JSON Schema of an object.
    pub(crate) parameters: Value,
    does: Does,
}

/// What a call of a tool is.
#[derive(Debug, Clone)]
enum Does {
    /// A tool of a plugin that runs inside the platform.
    BuiltIn { plugin: String, tool: String },
    /// A method of a plugin that the tenant has registered.
    Registered { plugin: PluginName, method: String, effect: EffectClass },
    /// One helper is asked.
    Ask(Box<Participant>),
    /// One of these helpers is asked, by its name.
    Dispatch(BTreeMap<String, Participant>),
}

/// The work of a participant as a helper, where it has any now.
const fn helps(participant: &Participant) -> Option<&HelperConfig> {
    match &participant.who {
        Who::Ai { helper: Some(helper), .. } if participant.enabled && helper.enabled => Some(helper),
        _ => None,
    }
}

fn query() -> Value {
    json!({"type": "string", "description": "What to ask, with everything that is needed to answer."})
}

fn asks(names: &mut ToolNames, helper: Participant, config: &HelperConfig) -> Tool {
    let about = if config.role_description.is_empty() {
        String::new()
    } else {
        format!(" {}", config.role_description)
    };
    Tool {
        name: names.name(&format!("ask_{}", helper.local_id)),
        description: format!("Ask {}, another AI.{about}", helper.display_name),
        parameters: json!({
            "type": "object", "properties": {"query": query()}, "required": ["query"],
            "additionalProperties": false,
        }),
        does: Does::Ask(Box::new(helper)),
    }
}

/// The general tool for those helpers that have none of their own.
fn dispatches(names: &mut ToolNames, helpers: Vec<(Participant, HelperConfig)>) -> Option<Tool> {
    if helpers.is_empty() {
        return None;
    }
    let mut lines = vec!["Ask another AI by its name:".to_owned()];
    lines.extend(helpers.iter().map(|(helper, config)| {
        format!("- {} ({}): {}", helper.local_id, helper.display_name, config.role_description)
    }));
    let known: BTreeMap<String, Participant> =
        helpers.into_iter().map(|(helper, _)| (helper.local_id.to_string(), helper)).collect();
    let all: Vec<&String> = known.keys().collect();
    Some(Tool {
        name: names.name("call_helper"),
        description: shortened(lines.join("\n"), 8 * 1024),
        parameters: json!({
            "type": "object", "properties": {"name": {"type": "string", "enum": all}, "query": query()},
            "required": ["name", "query"], "additionalProperties": false,
        }),
        does: Does::Dispatch(known),
    })
}

impl App {
    /// The tools that an AI is offered: those of the plugins that the tenant has enabled, that are installed, and that the AI may
    /// use; and the helpers of the tenant, as long as not too many stand behind one another.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub(crate) async fn tools_of(&self, asker: &Asker) -> Result<Vec<Tool>, Error> {
        let mut names = ToolNames::default();
        let mut tools = Vec::new();
        for plugin in self.plugins_of(asker).await? {
            tools.extend(self.tools_of_plugin(asker.scope, &plugin, &mut names).await?);
        }
        if asker.depth < MAX_DEPTH {
            tools.extend(self.helping(asker, &mut names).await?);
        }
        tools.truncate(TOOLS);
        Ok(tools)
    }

    /// The enabled plugins that an AI may use, by id.
    async fn plugins_of(&self, asker: &Asker) -> Result<Vec<String>, Error> {
        let Who::Ai { profile, .. } = &asker.participant.who else { return Ok(Vec::new()) };
        let enabled = self.enabled_plugins(asker.scope, profile.plugins.as_deref()).await?;
        Ok(enabled.into_iter().collect())
    }

    async fn tools_of_plugin(
        &self,
        scope: TenantScope,
        id: &str,
        names: &mut ToolNames,
    ) -> Result<Vec<Tool>, Error> {
        if let Some(manifest) = shipped_as(id).filter(|manifest| manifest.built_in) {
            let tool = |tool: &PluginTool| Tool {
                name: names.of_plugin(id, &tool.name),
                description: tool.description.clone(),
                parameters: tool.parameters.clone(),
                does: Does::BuiltIn { plugin: id.to_owned(), tool: tool.name.clone() },
            };
            return Ok(manifest.tools.iter().map(tool).collect());
        }
        let Ok(plugin) = id.parse::<PluginName>() else { return Ok(Vec::new()) };
        let offer = self.0.engine.plugins().offer(scope, &plugin).await?;
        let Some(offer) = offer.filter(|offer| offer.callable) else { return Ok(Vec::new()) };
        let tools = tools_of_offer(offer).into_iter();
        Ok(tools
            .map(|(tool, effect)| Tool {
                name: names.of_plugin(id, &tool.name),
                description: tool.description,
                parameters: tool.parameters,
                does: Does::Registered { plugin: plugin.clone(), method: tool.name, effect },
            })
            .collect())
    }

    /// The helpers that an AI may ask.
    async fn helping(&self, asker: &Asker, names: &mut ToolNames) -> Result<Vec<Tool>, Error> {
        let filter = ParticipantFilter { helpers: true, ..ParticipantFilter::default() };
        let mut connection = self.0.database.read().await?;
        let found = participants::list(&mut connection, asker.scope, &filter, None, HELPERS).await?;
        drop(connection);
        let (mut tools, mut by_name) = (Vec::new(), Vec::new());
        for helper in found.into_iter().filter(|helper| helper.id != asker.participant.id) {
            match helps(&helper).cloned() {
                Some(config) if config.dispatcher_only => by_name.push((helper, config)),
                Some(config) => tools.push(asks(names, helper, &config)),
                None => {}
            }
        }
        tools.extend(dispatches(names, by_name));
        Ok(tools)
    }

    /// Calls a tool. What the model is told of it, also of what went wrong.
    #[boxed]
    pub(crate) async fn call_tool(&self, asker: &Asker, tool: &Tool, arguments: Value) -> String {
        let Value::Object(arguments) = arguments else {
            return "error: the arguments are no JSON object".to_owned();
        };
        let told = match &tool.does {
            Does::Ask(helper) => self.ask_one(asker, helper, &arguments).await,
            Does::Dispatch(helpers) => {
                let name = arguments.get("name").and_then(Value::as_str).unwrap_or_default();
                match helpers.get(name) {
                    Some(helper) => self.ask_one(asker, helper, &arguments).await,
                    None => Err("there is no helper of that name".to_owned()),
                }
            }
            Does::BuiltIn { plugin, .. } => self.of_a_plugin(asker, plugin, &tool.does, arguments).await,
            Does::Registered { plugin, .. } => {
                self.of_a_plugin(asker, plugin.as_str(), &tool.does, arguments).await
            }
        };
        shortened(told.unwrap_or_else(|error| format!("error: {error}")), RESULT)
    }

    async fn ask_one(
        &self,
        asker: &Asker,
        helper: &Participant,
        arguments: &Map<String, Value>,
    ) -> Result<String, String> {
        let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
        if query.trim().is_empty() {
            return Err("the argument query must be a text".to_owned());
        }
        self.ask_helper(asker, helper, query).await.map_err(|error| match error {
            // What a backend says may come to stand in a room, where nobody is told of that.
            Error::BackendFailed { model, reason } => {
                tracing::info!(%model, %reason, helper = %helper.id, "a helper does not answer");
                format!("the model {model} has failed")
            }
            other => other.to_string(),
        })
    }

    /// Calls a tool of a plugin, if that is still enabled.
    async fn of_a_plugin(
        &self,
        asker: &Asker,
        id: &str,
        does: &Does,
        arguments: Map<String, Value>,
    ) -> Result<String, String> {
        match self.is_plugin_enabled(asker.scope, id).await {
            Ok(true) => {}
            Ok(false) => return Err(format!("the plugin {id} is not enabled any more")),
            Err(error) => {
                tracing::warn!(%error, plugin = id, "it could not be told whether a plugin is enabled");
                return Err("the platform could not make the call just now".to_owned());
            }
        }
        let called = async {
            match does {
                Does::BuiltIn { tool, .. } => self.call_built_in(asker, id, tool, &arguments).await,
                Does::Registered { plugin, method, effect } => {
                    self.call_method(asker, plugin, (method.as_str(), *effect), arguments).await
                }
                Does::Ask(_) | Does::Dispatch(_) => Err("there is no such tool".to_owned()),
            }
        };
        let late = || Err(format!("the plugin {id} gives no answer within {} seconds", WITHIN.as_secs()));
        tokio::time::timeout(WITHIN, called).await.unwrap_or_else(|_| late())
    }

    /// Calls a method of a registered plugin, once. An answer that was begun before may have called it then: what can be
    /// repeated is, what cannot is not.
    async fn call_method(
        &self,
        asker: &Asker,
        plugin: &PluginName,
        (method, effect): (&str, EffectClass),
        arguments: Map<String, Value>,
    ) -> Result<String, String> {
        let repeatable = matches!(effect, EffectClass::Idempotent | EffectClass::Keyed);
        if asker.again && !repeatable {
            return Err(format!("{method} may have been called already, and must not be called twice"));
        }
        let key = self.key_of(asker, plugin, method, &arguments);
        let call = RegisteredCall {
            plugin,
            method,
            arguments,
            on_behalf_of: asker.user_id,
            by: asker.participant.id,
            room: asker.room_id,
            key: &key,
        };
        let called = self.0.engine.plugins().call_registered(asker.scope, call).await;
        match called.map_err(|error| error.to_string())? {
            Value::String(text) => Ok(text),
            value => Ok(value.to_string()),
        }
    }

    /// What a call is known by: the same for the same call of the same answer, however often that is begun; like no other where
    /// nothing is owed.
    fn key_of(
        &self,
        asker: &Asker,
        plugin: &PluginName,
        method: &str,
        arguments: &Map<String, Value>,
    ) -> String {
        let Some(answer) = asker.answer_id else {
            return format!("call_{}:1", self.0.ids.draw(self.now()));
        };
        let said = json!([asker.participant.id.to_string(), plugin.as_str(), method, arguments]).to_string();
        let digest = Sha256::digest(said.as_bytes());
        format!("{answer}:{}", HEXLOWER.encode(digest.get(..8).unwrap_or_default()))
    }

    /// What plugins have an AI know before it answers, with its source, `plugin:<id>`.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub(crate) async fn plugin_contexts(&self, asker: &Asker) -> Result<Vec<(String, String)>, Error> {
        let mut contexts = Vec::new();
        let id = PluginManifest::MEMORY;
        if self.plugins_of(asker).await?.iter().any(|plugin| plugin == id)
            && let Some(text) = self.remembered(asker).await?
        {
            contexts.push((format!("plugin:{id}"), text));
        }
        Ok(contexts)
    }
}
