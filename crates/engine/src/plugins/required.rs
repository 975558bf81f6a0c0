//! What a Core cannot start without.

use async_recursion::async_recursion as boxed;
use scaigrid_cores::plugins::{MissingVariable, resolve, resolve_value};
use scaigrid_cores::{Core, FieldProblem};
use scaigrid_ir::module::PluginDecl;
use scaigrid_persistence::plugins;
use scaigrid_scope::TenantScope;
use serde_json::Value;

use super::Plugins;
use crate::Error;

/// What keeps a Core from starting, as far as its plugins are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lacking {
    /// Required plugins that are not there, by their aliases.
    pub plugins: Vec<FieldProblem>,
    /// Values of the environment that required plugins need.
    pub environment: Vec<FieldProblem>,
}

impl Plugins {
    /// What a Core lacks of what its program requires.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn lacking(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
    ) -> Result<Lacking, Error> {
        let mut lacking = Lacking::default();
        for declaration in declared.iter().filter(|declaration| declaration.required) {
            let alias = &*declaration.alias;
            let field = format!("plugins.{alias}");
            let resolution = match resolve(alias, &core.plugins, declared) {
                Ok(resolution) => resolution,
                Err(why) => {
                    lacking.plugins.push(FieldProblem::new(field, why.to_string()));
                    continue;
                }
            };
            // Not from what was seen a moment ago: it may have been registered just now, for this start.
            let mut connection = self.0.database.read().await?;
            let found = plugins::lookup(&mut connection, scope, &resolution.plugin, &self.0.vault).await?;
            drop(connection);
            let Some(found) = found else {
                let message = format!("{} is not registered", resolution.plugin);
                lacking.plugins.push(FieldProblem::new(field, message));
                continue;
            };
            let config = Value::Object(resolution.config);
            let config = resolve_value(&config, &core.environment, &mut Vec::new()).map(drop);
            let credentials = found.value.credentials.as_ref();
            let credentials =
                credentials.map_or(Ok(()), |credentials| credentials.resolve(&core.environment).map(drop));
            for MissingVariable { name } in [config, credentials].into_iter().filter_map(Result::err) {
                let message = format!("is needed by the plugin {alias}");
                let problem = FieldProblem::new(format!("environment.{name}"), message);
                if !lacking.environment.contains(&problem) {
                    lacking.environment.push(problem);
                }
            }
        }
        Ok(lacking)
    }
}
