//! Calling what a tenant has registered for one of its users, without a Core between them.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::Environment;
use scaigrid_cores::plugins::{EffectClass, PluginKind, PluginName, Standing};
use scaigrid_scope::{ParticipantId, RoomId, TenantScope, UserId};
use serde_json::{Map, Value};

use super::{CallError, Caller, Plugins, equip_with, limits, standing};

/// A method that can be called just now.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedMethod {
    /// What the plugin calls it.
    pub name: Box<str>,
    /// What it does.
    pub description: Box<str>,
    /// What a repetition costs.
    pub effect: EffectClass,
    /// What it takes: a JSON Schema of an object.
    pub parameters: Arc<Value>,
}

/// What a plugin of a tenant's registry offers to its users.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// How it is spoken to.
    pub kind: PluginKind,
    /// Its own version.
    pub version: Box<str>,
    /// The methods that are as they were accepted, in the plugin's order.
    pub methods: Vec<OfferedMethod>,
    /// Whether it can be called without the environment of a Core.
    pub callable: bool,
}

/// A call of a method of a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredCall<'c> {
    /// The plugin.
    pub plugin: &'c PluginName,
    /// The method.
    pub method: &'c str,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// The user for whom it is called.
    pub on_behalf_of: UserId,
    /// The AI that calls it for them.
    pub by: ParticipantId,
    /// The room, where it is called for what was said in one.
    pub room: Option<RoomId>,
    /// What is the same for every attempt of the same call, and for no other.
    pub key: &'c str,
}

impl Plugins {
    /// What a plugin offers, as it stood a second ago at most; none where the tenant has registered none of that name.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn offer(
        &self,
        scope: TenantScope,
        plugin: &PluginName,
    ) -> Result<Option<Offer>, scaigrid_persistence::Error> {
        let Some(known) = self.seen(scope, plugin).await? else { return Ok(None) };
        let registration = &known.registration;
        let accepted = &registration.accepted;
        let methods = accepted.methods().iter().filter(|method| {
            matches!(Standing::of(method.name.as_str(), accepted, &known.drift), Standing::Accepted(_))
        });
        let methods = methods.map(|method| OfferedMethod {
            name: method.name.as_str().into(),
            description: method.description.clone(),
            effect: method.effect,
            parameters: Arc::clone(&method.input_schema),
        });
        Ok(Some(Offer {
            kind: registration.kind,
            version: accepted.version().into(),
            methods: methods.collect(),
            callable: registration.credentials.as_ref().is_none_or(|credentials| !credentials.refers()),
        }))
    }

    /// Calls a method for a user, once, as it is called for Cores: it must be what was accepted, its arguments and its result
    /// are checked, and the plugin is told by a token who is calling. Credentials that need a Core's environment cannot be shown.
    ///
    /// # Errors
    /// Why there is no value.
    pub async fn call_registered(
        &self,
        scope: TenantScope,
        call: RegisteredCall<'_>,
    ) -> Result<Value, CallError> {
        let begun = self.0.clock.now();
        let called = self.call_for_user(scope, call).await;
        self.count(begun, &called);
        called
    }

    async fn call_for_user(&self, scope: TenantScope, call: RegisteredCall<'_>) -> Result<Value, CallError> {
        let RegisteredCall { plugin, method, arguments, on_behalf_of, by, room, key } = call;
        let known = self.known(scope, plugin).await?.ok_or_else(|| {
            CallError::before("PLUGIN_NOT_FOUND", format!("the plugin {plugin} is not registered"))
        })?;
        let method = standing(&known, method)?;
        let (none, caller) = (Environment::default(), Caller::User { id: on_behalf_of, by, room });
        let equipped = equip_with(known, method, Map::new(), &none, plugin.as_str())?;
        let ready = self.make_ready(scope, caller, plugin.as_str(), equipped, arguments, key).await?;
        self.send(scope, caller, &ready, limits(None), key).await
    }
}
