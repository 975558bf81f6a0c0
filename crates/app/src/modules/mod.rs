//! Modules: which there are, whether they are at work for someone, and switching them on and off.
//!
//! What is said of a module at each level is stored; what follows from it is worked out here, by the domain's rule, and
//! kept in mind for a moment, since every call of a module's routes asks for it.

mod call;
mod config;
mod explain;
mod probe;
mod rules;
mod trace;
mod tunnels;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{Actor, AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_cores::{LastError, Status};
use scaigrid_modules::{
    CannotEnable, Effective, Enablement, Manifest, ModuleId, Reason, SettingLevel, Settings,
};
use scaigrid_persistence::module_settings::{self, ModuleSetting, Said};
use scaigrid_persistence::{Connection, Transaction, audit, holds, platform_facts, tenants};
use scaigrid_scope::{
    AuthorizedAtLevel, CoreId, Instant, Level, LevelScope, PartnerId, Principal, TenantScope, TenantStatus,
    perm,
};
use serde_json::{Value, json};

use crate::bootstrap::SET_UP_BY;
pub use crate::caches::{ModuleStates, States};
use crate::transaction::ended;
use crate::{App, Error, Resource};

pub use call::{Arrival, CallFailed, ModuleAnswer, ModuleRequest, RemoteSettings};
pub use config::{ConfigView, TriedConfig};
pub use explain::{Author, ExplainedValue, Explanation, LevelWord, SourcedValue};
pub(crate) use probe::ModuleHealth;
pub(crate) use rules::Rules;
pub use rules::{InvalidModules, Modules};
pub use scaigrid_outbound::{BodyError, Passing, Pieces, Received, Tunnel, TunnelWriter};
pub use tunnels::TunnelPlace;
pub(crate) use tunnels::Tunnels;

/// What a held Core's last error is called when its module is off.
const MODULE_DISABLED: &str = "MODULE_DISABLED";
/// What a held Core's last error is called when its tenant is suspended.
const TENANT_SUSPENDED: &str = "TENANT_SUSPENDED";

/// A module, and how it stands at the caller's level.
#[derive(Debug, Clone)]
pub struct ModuleView {
    /// What it declares of itself.
    pub manifest: Arc<Manifest>,
    /// Whether it is at work, and why.
    pub effective: Effective,
    /// What is wrong with it, and since when, if something is.
    pub last_error: Option<ModuleFailure>,
}

/// What is wrong with a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFailure {
    /// For people.
    pub message: String,
    /// When it was noticed.
    pub at: Instant,
}

/// How long is waited before a module that has failed is worth another try.
const ILL: Duration = Duration::from_secs(5);

/// What is said of each module, put together from the rows of all levels that bear on someone.
fn said(rows: Vec<ModuleSetting>) -> BTreeMap<ModuleId, Settings> {
    let mut said: BTreeMap<ModuleId, Settings> = BTreeMap::new();
    for row in rows {
        let settings = said.entry(row.module_id).or_default();
        match row.level {
            Level::Platform => settings.platform = Some(row.enablement),
            Level::Partner(_) => settings.partner = Some(row.enablement),
            Level::Tenant(_) => settings.tenant = Some(row.enablement),
        }
    }
    said
}

/// What is said at a level and above it.
async fn settings_at(
    c: &mut Connection,
    caller: &Principal,
    level: LevelScope,
) -> Result<Vec<ModuleSetting>, Error> {
    Ok(match level {
        LevelScope::Platform(scope) => module_settings::for_platform(c, scope).await?,
        LevelScope::Partner(scope) => module_settings::for_partner(c, scope).await?,
        LevelScope::Tenant(scope) => {
            module_settings::for_tenant(c, scope, caller.tenant().partner_id).await?
        }
    })
}

impl App {
    /// All modules, as they stand at the level that the caller acts at.
    #[boxed]
    pub async fn modules(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesUse>,
    ) -> Result<Vec<ModuleView>, Error> {
        Ok(self.views(&self.module_states(caller).await?))
    }

    /// The states of all modules at the level that the caller acts at, as they were a second ago at most.
    #[boxed]
    pub async fn module_states(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesUse>,
    ) -> Result<ModuleStates, Error> {
        self.known_states(caller, caller.level_scope()).await
    }

    /// All modules in these states.
    pub fn views(&self, states: &ModuleStates) -> Vec<ModuleView> {
        self.0.catalogue.iter().filter_map(|manifest| self.view(manifest, states)).collect()
    }

    /// One module.
    #[boxed]
    pub async fn module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesUse>,
        id: &str,
    ) -> Result<ModuleView, Error> {
        let manifest = self.manifest(id)?;
        let states = self.known_states(caller, caller.level_scope()).await?;
        self.view(&manifest, &states).ok_or(Error::NotFound(Resource::Module))
    }

    /// Switches a module on at the level that the caller acts at. A level above that has switched it off still counts more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ModuleNotInstalled`], [`Error::ModuleDependencyUnavailable`].
    #[boxed]
    pub async fn enable_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        id: &str,
    ) -> Result<ModuleView, Error> {
        self.switch_module(caller, request, id, Some(Enablement::Enabled)).await
    }

    /// Switches a module off at the level that the caller acts at, for everyone under it. What it keeps stays; Cores that
    /// run stand still until it is on again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn disable_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        id: &str,
    ) -> Result<ModuleView, Error> {
        self.switch_module(caller, request, id, Some(Enablement::Disabled)).await
    }

    /// Takes back what the level that the caller acts at says of a module; what other levels say counts alone then. Taking
    /// back nothing changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn reset_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        id: &str,
    ) -> Result<ModuleView, Error> {
        self.switch_module(caller, request, id, None).await
    }

    /// Whether a module's routes are open to a caller, in the tenant that they act in.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ModuleNotEnabled`], [`Error::ModuleFailed`], [`Error::ModuleDependencyUnavailable`].
    #[boxed]
    pub async fn check_module(&self, caller: &Principal, id: &str) -> Result<(), Error> {
        let states = self.known_states(caller, LevelScope::Tenant(caller.tenant_scope())).await?;
        // A dozen modules or so: looking is cheaper than making a key to look with.
        let found = states.effective.iter().find(|(module, _)| module.as_str() == id);
        let (_, effective) = found.ok_or(Error::NotFound(Resource::Module))?;
        if effective.is_active() {
            return Ok(());
        }
        Err(match &effective.reason {
            Reason::DependencyNotActive(dependency) => Error::ModuleDependencyUnavailable {
                module: id.to_owned(),
                dependency: dependency.to_string(),
                enabling: false,
            },
            Reason::Failed(_) => Error::ModuleFailed { module: id.to_owned(), retry_after: ILL },
            _ => Error::ModuleNotEnabled { module: id.to_owned() },
        })
    }

    fn manifest(&self, id: &str) -> Result<Arc<Manifest>, Error> {
        let missing = Error::NotFound(Resource::Module);
        let Ok(id) = ModuleId::parse(id) else { return Err(missing) };
        self.0.catalogue.get(&id).cloned().ok_or(missing)
    }

    fn view(&self, manifest: &Arc<Manifest>, states: &ModuleStates) -> Option<ModuleView> {
        let effective = states.effective.get(&manifest.module_id)?.clone();
        let last_error = match &effective.reason {
            Reason::Failed(failure) => {
                Some(ModuleFailure { message: failure.message.clone(), at: failure.at })
            }
            Reason::DependencyNotActive(dependency) => Some(ModuleFailure {
                message: format!("The module depends on {dependency}, which is not active"),
                at: states.since(dependency).unwrap_or(self.0.started),
            }),
            _ => None,
        };
        Some(ModuleView { manifest: Arc::clone(manifest), effective, last_error })
    }

    fn states_of(&self, rows: Vec<ModuleSetting>) -> ModuleStates {
        let changed: Vec<(ModuleId, SettingLevel, Instant)> = rows
            .iter()
            .map(|row| (row.module_id.clone(), config::setting_level(row.level), row.changed_at))
            .collect();
        let said = said(rows);
        let settings = |id: &ModuleId| said.get(id).copied().unwrap_or_default();
        let effective = self.0.catalogue.effective_states(settings, |id| self.0.health.of(id));
        let disabled_at = |id: &ModuleId, level: SettingLevel| {
            changed.iter().find(|(module, at, _)| module == id && *at == level).map(|(_, _, at)| *at)
        };
        let disabled = effective.iter().filter_map(|(id, state)| match state.reason {
            Reason::DisabledAt(level) => Some((id.clone(), disabled_at(id, level)?)),
            _ => None,
        });
        Arc::new(States { disabled: disabled.collect(), effective })
    }

    /// The states at a level as they are in mind, which they are for a second at most, or else as they are.
    async fn known_states(&self, caller: &Principal, level: LevelScope) -> Result<ModuleStates, Error> {
        let known = &self.0.caches.states;
        let key = ((), level.level());
        if let Some(states) = known.get(&key) {
            return Ok(states);
        }
        let look_up = known.look_up(key).await;
        if let Some(states) = look_up.kept() {
            return Ok(states);
        }
        let mut connection = self.0.database.read().await?;
        let states = self.states_at(&mut connection, caller, level).await?;
        look_up.keep(Arc::clone(&states));
        Ok(states)
    }

    /// The states at a level: what is said above it counts there too.
    async fn states_at(
        &self,
        c: &mut Connection,
        caller: &Principal,
        level: LevelScope,
    ) -> Result<ModuleStates, Error> {
        Ok(self.states_of(settings_at(c, caller, level).await?))
    }

    async fn switch_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        id: &str,
        wanted: Option<Enablement>,
    ) -> Result<ModuleView, Error> {
        let manifest = self.manifest(id)?;
        let mut tx = self.0.database.begin().await?;
        let switched = self.say(&mut tx, caller, request, &manifest, wanted).await;
        let (view, cores) = ended(tx, switched).await?;
        self.modules_changed();
        self.cores_moved(&cores);
        Ok(view)
    }

    async fn say(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        manifest: &Arc<Manifest>,
        wanted: Option<Enablement>,
    ) -> Result<(ModuleView, Vec<CoreId>), Error> {
        let (now, level, id) = (self.now(), caller.level_scope(), &manifest.module_id);
        let unseen = || Error::NotFound(Resource::Module);
        let states = self.states_at(tx, caller, level).await?;
        if wanted == Some(Enablement::Enabled) {
            match self.0.catalogue.can_enable(id, &states.effective).ok_or_else(unseen)? {
                Ok(()) => {}
                Err(CannotEnable::NotInstalled) => return Err(Error::ModuleNotInstalled),
                Err(CannotEnable::DependenciesNotActive { modules }) => {
                    let dependency = modules.first().map(ToString::to_string).unwrap_or_default();
                    return Err(Error::ModuleDependencyUnavailable {
                        module: id.to_string(),
                        dependency,
                        enabling: true,
                    });
                }
            }
        }
        // The word is held from here on: of several who say the same at once, the others find it said.
        let before = match wanted {
            Some(wanted) => {
                match module_settings::set(tx, level, id, wanted, Some(caller.user_id()), now).await? {
                    Said::Before => None,
                    Said::Instead(before) => Some(before),
                }
            }
            None => module_settings::clear(tx, level, id).await?.map(Some),
        };
        let Some(before) = before else {
            return Ok((self.view(manifest, &states).ok_or_else(unseen)?, Vec::new()));
        };
        let action = match wanted {
            Some(Enablement::Enabled) => AuditAction::ModuleEnable,
            Some(Enablement::Disabled) => AuditAction::ModuleDisable,
            None => AuditAction::ModuleReset,
        };
        let side = |said: Option<Enablement>| json!({"enablement": said.map(Enablement::as_str)});
        let changes = diff(&side(before), &side(wanted), &[]);
        let record =
            AuditRecord::at_level(self.audit_stamp(now), caller, request, action, id.to_string(), changes)
                .of_module(id.as_str());
        audit::add(tx, &record).await?;
        let cores = if *id == ModuleId::scaicore() {
            self.settle_cores(tx, level.level(), caller, request).await?
        } else {
            Vec::new()
        };
        let states = self.states_at(tx, caller, level).await?;
        Ok((self.view(manifest, &states).ok_or_else(unseen)?, cores))
    }

    /// Has the Cores under a level stand or run as their module and their tenant now say, and gives those that were moved;
    /// [`App::cores_moved`] tells of them once the transaction is committed.
    ///
    /// Only those run again that stood still for this: a Core that someone has paused stays paused. Each move has its
    /// record in its own tenant's log, by whoever caused it.
    pub(crate) async fn settle_cores(
        &self,
        tx: &mut Transaction,
        level: Level,
        caller: &Principal,
        request: &RequestContext,
    ) -> Result<Vec<CoreId>, Error> {
        let (now, system) = (self.now(), &self.0.system);
        let scope = match level {
            Level::Platform => LevelScope::Platform(system.platform()),
            Level::Partner(id) => LevelScope::Partner(system.partner(id)),
            Level::Tenant(id) => LevelScope::Tenant(system.tenant(id)),
        };
        let scaicore = ModuleId::scaicore();
        let mut moved = Vec::new();
        // One at a time, and none while a Core starts: of two who change what Cores stand by, the second must see what the
        // first did.
        platform_facts::lock(tx, SET_UP_BY).await?;
        for tenant in holds::tenants_with_cores(tx, scope).await? {
            let own = system.tenant(tenant.id);
            let record = |action, core: CoreId, from: Status, to: Status| {
                let side = |status: Status| -> Value { json!({"status": status.as_str()}) };
                let changes = diff(&side(from), &side(to), &[]);
                let place = (tenant.id, Some(tenant.partner_id));
                let stamp = self.audit_stamp(now);
                let record = AuditRecord::by_the_system(stamp, place, action, core.to_string(), changes);
                AuditRecord { actor: Actor::of(caller), request: request.clone(), ..record }
                    .of_module(scaicore.as_str())
            };
            if let Some((code, message)) = self.stands_by(tx, own, tenant.partner_id, tenant.status).await? {
                let why = LastError { code: code.into(), message: message.into(), at: now };
                for (core, before) in holds::hold(tx, own, &why).await? {
                    let record = record(AuditAction::CoreSuspend, core, before, Status::Suspended);
                    audit::add(tx, &record).await?;
                    self.0.engine.arrange(tx, own, (core, Status::Suspended), None).await?;
                    moved.push(core);
                }
            } else {
                for core in holds::release(tx, own, &[MODULE_DISABLED, TENANT_SUSPENDED], now).await? {
                    let record = record(AuditAction::CoreResume, core, Status::Suspended, Status::Running);
                    audit::add(tx, &record).await?;
                    self.0.engine.arrange(tx, own, (core, Status::Running), None).await?;
                    moved.push(core);
                }
            }
        }
        Ok(moved)
    }

    /// Why the Cores of a tenant have to stand still, as a code and a text; none where they may run.
    async fn stands_by(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        partner: PartnerId,
        status: TenantStatus,
    ) -> Result<Option<(&'static str, &'static str)>, Error> {
        if status == TenantStatus::Suspended {
            return Ok(Some((TENANT_SUSPENDED, "The tenant is suspended")));
        }
        let modules = self.states_of(module_settings::for_tenant(tx, scope, partner).await?);
        let on = modules.effective.get(&ModuleId::scaicore()).is_some_and(Effective::is_active);
        Ok((!on).then_some((MODULE_DISABLED, "The module scaicore is not enabled")))
    }

    /// To be asked in the transaction that has a Core run: what was believed when the request came in is looked at once more,
    /// and stays so until the transaction ends.
    ///
    /// # Errors
    /// [`Error::TenantSuspended`], [`Error::ModuleNotEnabled`].
    pub(crate) async fn may_run(&self, tx: &mut Transaction, scope: TenantScope) -> Result<(), Error> {
        platform_facts::share(tx, SET_UP_BY).await?;
        let tenant = tenants::reference(tx, &self.0.system, scope.tenant_id()).await?;
        let tenant = tenant.ok_or(Error::NotFound(Resource::Tenant))?;
        match self.stands_by(tx, scope, tenant.partner_id, tenant.status).await? {
            None => Ok(()),
            Some((TENANT_SUSPENDED, _)) => Err(Error::TenantSuspended),
            Some(_) => Err(Error::ModuleNotEnabled { module: ModuleId::scaicore().as_str().to_owned() }),
        }
    }

    /// After a commit that moved Cores: tells every node.
    pub(crate) fn cores_moved(&self, cores: &[CoreId]) {
        for core in cores {
            self.core_changed(*core);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_put_together_by_module_and_level() {
        let at = Instant::from_micros(1);
        let partner = "prt_01J00000000000000000000000".parse().unwrap();
        let row = |level, module: &str, enablement| ModuleSetting {
            level,
            module_id: module.parse().unwrap(),
            enablement,
            changed_by: None,
            changed_at: at,
        };
        let said = said(vec![
            row(Level::Platform, "a", Enablement::Enabled),
            row(Level::Partner(partner), "a", Enablement::Disabled),
            row(Level::Platform, "b", Enablement::Disabled),
        ]);
        let a = said[&"a".parse::<ModuleId>().unwrap()];
        assert_eq!(
            (a.platform, a.partner, a.tenant),
            (Some(Enablement::Enabled), Some(Enablement::Disabled), None)
        );
        assert_eq!(said[&"b".parse::<ModuleId>().unwrap()].platform, Some(Enablement::Disabled));
    }
}
