//! What became of a call of which nobody knows: methods that are queryable have another one that tells.

use async_recursion::async_recursion as boxed;
use scaigrid_cores::Core;
use scaigrid_cores::plugins::EffectClass;
use scaigrid_ir::Value;
use scaigrid_ir::module::PluginDecl;
use scaigrid_runtime::Failure;
use scaigrid_runtime::effect::PluginCallRequest;
use scaigrid_scope::TenantScope;
use serde_json::{Map, Value as Json};

use super::{CallError, Caller, Plugins, arguments, failure, limits, standing};

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// It was carried out, and gave this.
    Done(Value),
    /// It was tried, and failed for good.
    Failed(Failure),
    /// It is under way; it can be asked again.
    Pending,
    /// The plugin has never heard of it: it can be made.
    Unknown,
}

impl Plugins {
    /// Asks the query method of a queryable method what became of a call, by the key with which that was made.
    ///
    /// The query method is given what it takes of `idempotency_key`, `method`, `args`, and the arguments of the call by
    /// their own names. It answers `{"status": "done", "result": …}`, `{"status": "failed", "error": {"message"}}`,
    /// `{"status": "pending"}` or `{"status": "unknown"}`; a service may also answer 404 for what it does not know.
    ///
    /// # Errors
    /// Why there is no answer. [`CallError::sent`] is of the question.
    #[boxed]
    pub async fn query(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
        call: &PluginCallRequest,
        key: &str,
    ) -> Result<Asked, CallError> {
        let (known, _) = self.find(scope, core, declared, &call.alias).await?;
        let position = standing(&known, &call.method)?;
        let method = &known.registration.accepted.methods()[position];
        let Some(query) = method.query_method.as_ref().filter(|_| method.effect == EffectClass::Queryable)
        else {
            let message = format!("the method {} has no query method", method.name);
            return Err(CallError::before("PLUGIN_NOT_FOUND", message));
        };
        let asks = standing(&known, query.as_str())?;
        let schema = &known.registration.accepted.methods()[asks].input_schema;
        let args = question(schema, &arguments(call)?, method.name.as_str(), key);
        let own_key = format!("{key}:query");
        let ready =
            self.prepare(scope, core, declared, (&call.alias, query.as_str()), args, &own_key).await?;
        let answer = match self.send(scope, Caller::Core(core), &ready, limits(call.timeout), &own_key).await
        {
            // Its own word only: what it passes on of somebody else's says nothing of the call.
            Err(error) if error.status == Some(404) => return Ok(Asked::Unknown),
            answer => answer?,
        };
        match answer.get("status").and_then(Json::as_str) {
            Some("done") => {
                let result = answer.get("result").cloned().unwrap_or_default();
                known.check_output(position, &result).map_err(|error| error.masked(&ready.masked))?;
                Ok(Asked::Done(Value::from_json(&result)))
            }
            Some("failed") => {
                let text = answer.pointer("/error/message").and_then(Json::as_str);
                let text: String = text.unwrap_or("no more is said").chars().take(500).collect();
                Ok(Asked::Failed(failure("PLUGIN_ERROR", format!("the plugin {}: {text}", call.alias))))
            }
            Some("pending") => Ok(Asked::Pending),
            Some("unknown") => Ok(Asked::Unknown),
            _ => {
                let message =
                    format!("{query} of the plugin {} does not tell what became of the call", call.alias);
                Err(CallError::invalid_result(message))
            }
        }
    }
}

/// What a query method is given of what it takes.
fn question(schema: &Json, args: &Map<String, Json>, method: &str, key: &str) -> Map<String, Json> {
    let mut all = args.clone();
    all.insert("idempotency_key".to_owned(), key.into());
    all.insert("method".to_owned(), method.into());
    all.insert("args".to_owned(), Json::Object(args.clone()));
    match schema.get("properties").and_then(Json::as_object) {
        Some(named) => all.into_iter().filter(|(name, _)| named.contains_key(name)).collect(),
        None => all,
    }
}
