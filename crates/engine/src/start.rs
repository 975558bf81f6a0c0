//! What a Core must find before it starts, beside its plugins: models that its tenant sees, and what whoever it acts for lets it do.
//!
//! That a model is there counts, not that it answers: a Core that is published is a model also while it stands still, and two that
//! ask each other can be started one after the other.

mod calls;

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::ModelSlug;
use scaigrid_cores::{Core, CoreIdentity, FieldProblem};
use scaigrid_ir::core_uri;
use scaigrid_ir::module::{ModelDecl, Module, PluginDecl};
use scaigrid_ir::types::TypeError;
use scaigrid_persistence::models::ModelRef;
use scaigrid_persistence::{Connection, cores, models, tenants};
use scaigrid_runtime::Program;
use scaigrid_scope::{Permission, Tenant, TenantScope};

use crate::cores::seen;
use crate::{Engine, Error};

pub use calls::OtherCall;

/// Models that are looked for at one start. Of a program that names more, the others are found out by its calls.
const LOOKED_FOR: usize = 500;

/// What a program needs of its surroundings.
#[derive(Debug, Clone, PartialEq)]
pub struct Wants {
    /// The plugins that it declares.
    pub plugins: Vec<PluginDecl>,
    /// The models that it declares, by role.
    pub models: Vec<ModelDecl>,
    /// Whether it asks any of them.
    pub asks_models: bool,
    /// What it calls in other Cores. It may be among them by its slug.
    pub calls: Vec<OtherCall>,
    /// The program.
    module: Arc<Module>,
}

impl Wants {
    pub(crate) fn of(program: &Program) -> Self {
        let module = program.shared_module();
        let others = program.core_calls().filter(|(_, call)| &*call.target != core_uri::SELF);
        Self {
            plugins: module.plugins.clone(),
            models: module.models.clone(),
            asks_models: program.asks_models(),
            calls: others
                .map(|(pointer, call)| OtherCall { pointer: pointer.to_owned(), call: call.clone() })
                .collect(),
            module: Arc::clone(module),
        }
    }

    /// The values of a Core's environment that are not what the program's configuration says.
    pub fn misfits(&self, core: &Core) -> Vec<FieldProblem> {
        let problem = |error: TypeError| {
            let message = format!("should be {}, but is {}", error.expected, error.found);
            FieldProblem::new(format!("environment.{}", error.path), message)
        };
        let Err(errors) = self.module.configured(seen(&core.environment)) else { return Vec::new() };
        errors.into_iter().map(problem).collect()
    }

    /// The permissions without which calls of the program can never go out.
    fn permissions(&self, core: &Core) -> Vec<Permission> {
        let own = Some(core.slug.as_str());
        let others = self.calls.iter().any(|one| core_uri::slug(&one.call.target) != own);
        let needed =
            [(self.asks_models, Permission::ModelsUse), (others, Permission::ScaicoreInvoke)].into_iter();
        needed.filter_map(|(needs, permission)| needs.then_some(permission)).collect()
    }
}

impl Engine {
    /// The roles of a program for which there is no model that the tenant sees and has enabled, the fallbacks included.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn lacking_models(
        &self,
        scope: TenantScope,
        declared: &[ModelDecl],
    ) -> Result<Vec<FieldProblem>, Error> {
        let mut lacking = Vec::new();
        if declared.is_empty() {
            return Ok(lacking);
        }
        let mut connection = self.0.database.read().await?;
        let tenant = tenants::lookup(&mut connection, scope.into(), scope.tenant_id()).await?;
        let Some(tenant) = tenant else { return Ok(lacking) };
        let mut left = LOOKED_FOR;
        for model in declared {
            let named = std::iter::once((&model.provider, &model.model));
            let named = named.chain(model.fallback.iter().map(|(provider, model)| (provider, model)));
            let (mut found, mut looked_for) = (false, Vec::new());
            for (provider, name) in named {
                let Some(rest) = left.checked_sub(1) else { return Ok(lacking) };
                left = rest;
                looked_for.push(&**name);
                if let Ok(slug) = ModelSlug::of_provider(provider, name)
                    && is_there(&mut connection, scope, &tenant, &slug).await?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                let message =
                    format!("names no model that the tenant sees and has enabled: {}", looked_for.join(", "));
                lacking.push(FieldProblem::new(format!("models.{}", model.role), message));
            }
        }
        Ok(lacking)
    }

    /// What a Core that acts for a user needs and may not do for them at present: its calls would all be refused. A Core that acts
    /// for its tenant lacks nothing.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn lacking_scopes(
        &self,
        scope: TenantScope,
        core: &Core,
        wants: &Wants,
    ) -> Result<Vec<FieldProblem>, Error> {
        let CoreIdentity::UserDelegated(delegation) = &core.identity else { return Ok(Vec::new()) };
        let needed = wants.permissions(core);
        if needed.is_empty() {
            return Ok(Vec::new());
        }
        // Why it may not act at all is told by another check.
        let Ok(lent) = self.lent_now(scope, delegation).await? else { return Ok(Vec::new()) };
        let lacking = needed.into_iter().filter(|permission| !lent.contains(*permission));
        let told = lacking.map(|permission| {
            let message = format!("lack {permission}, which the program needs, or the user does not hold it");
            FieldProblem::new("delegation_scopes", message)
        });
        Ok(told.collect())
    }
}

/// Whether a tenant sees a model and has enabled it. A Core of the tenant that is not published counts as one: it can be at any time,
/// and one that asks itself, or another one that asks it, must be able to run before.
async fn is_there(
    c: &mut Connection,
    scope: TenantScope,
    tenant: &Tenant,
    slug: &ModelSlug,
) -> Result<bool, Error> {
    let which = ModelRef::Slug(slug.clone());
    if let Some(seen) = models::lookup(c, scope.into(), tenant.partner_id, &which).await? {
        return Ok(seen.enabled);
    }
    let own = slug.as_str().rsplit_once('/').filter(|_| slug.is_of_core());
    match own {
        Some((before, core)) if before.ends_with(&format!("/{}", tenant.slug)) => {
            Ok(cores::find_by_slug(c, scope, core).await?.is_some())
        }
        _ => Ok(false),
    }
}
