//! All modules of a platform, so ordered that each comes after those it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::manifest::{Manifest, ModuleId};
use crate::state::{CannotEnable, Effective, Health, Settings, effective_state};

/// Manifests that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalogue {
    /// Two manifests have one id.
    #[error("there are two modules {0}")]
    Twice(ModuleId),
    /// A manifest depends on a module that does not exist.
    #[error("module {module} depends on {dependency}, which does not exist")]
    UnknownDependency {
        /// The module.
        module: ModuleId,
        /// What it depends on.
        dependency: ModuleId,
    },
    /// Modules depend on one another in a circle.
    #[error("module {0} depends on itself by way of others")]
    Circle(ModuleId),
}

/// All modules of a platform.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Each after those it depends on; otherwise by name.
    ordered: Vec<Arc<Manifest>>,
}

impl Catalogue {
    /// Puts manifests together.
    pub fn new(manifests: impl IntoIterator<Item = Manifest>) -> Result<Self, InvalidCatalogue> {
        let mut waiting = BTreeMap::new();
        for manifest in manifests {
            let id = manifest.module_id.clone();
            if waiting.insert(id.clone(), Arc::new(manifest)).is_some() {
                return Err(InvalidCatalogue::Twice(id));
            }
        }
        for manifest in waiting.values() {
            if let Some(dependency) = manifest.dependencies.iter().find(|id| !waiting.contains_key(id)) {
                let (module, dependency) = (manifest.module_id.clone(), dependency.clone());
                return Err(InvalidCatalogue::UnknownDependency { module, dependency });
            }
        }
        let mut ordered = Vec::with_capacity(waiting.len());
        let mut placed = BTreeSet::new();
        while let Some(first) = waiting.keys().next().cloned() {
            let ready = waiting
                .values()
                .find(|manifest| manifest.dependencies.iter().all(|dependency| placed.contains(dependency)));
            let Some(id) = ready.map(|manifest| manifest.module_id.clone()) else {
                return Err(InvalidCatalogue::Circle(first));
            };
            ordered.extend(waiting.remove(&id));
            placed.insert(id);
        }
        Ok(Self { ordered })
    }

    /// The manifest of a module.
    pub fn get(&self, id: &ModuleId) -> Option<&Arc<Manifest>> {
        self.ordered.iter().find(|manifest| manifest.module_id == *id)
    }

    /// All manifests, each after those it depends on.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.ordered.iter()
    }

    /// The states of all modules, by what is said about each and how each is.
    pub fn effective_states(
        &self,
        settings: impl Fn(&ModuleId) -> Settings,
        health: impl Fn(&ModuleId) -> Health,
    ) -> BTreeMap<ModuleId, Effective> {
        let mut states: BTreeMap<ModuleId, Effective> = BTreeMap::new();
        for manifest in &self.ordered {
            let id = &manifest.module_id;
            let inactive = first_inactive(manifest, &states).next();
            let state = effective_state(manifest, settings(id), &health(id), inactive);
            states.insert(id.clone(), state);
        }
        states
    }

    /// Whether a module can be enabled where the others are in these states. `None` if it does not exist.
    pub fn can_enable(
        &self,
        id: &ModuleId,
        states: &BTreeMap<ModuleId, Effective>,
    ) -> Option<Result<(), CannotEnable>> {
        let manifest = self.get(id)?;
        if !manifest.is_installed() {
            return Some(Err(CannotEnable::NotInstalled));
        }
        let modules: Vec<_> = first_inactive(manifest, states).cloned().collect();
        Some(if modules.is_empty() { Ok(()) } else { Err(CannotEnable::DependenciesNotActive { modules }) })
    }
}

/// The dependencies of a module that are not active, in the order of their declaration.
fn first_inactive<'a>(
    manifest: &'a Manifest,
    states: &BTreeMap<ModuleId, Effective>,
) -> impl Iterator<Item = &'a ModuleId> {
    manifest.dependencies.iter().filter(|id| !states.get(id).is_some_and(Effective::is_active))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use scaigrid_scope::Instant;
    use serde_json::json;

    use super::*;
    use crate::state::{Enablement, Failure, ModuleStatus, Reason, SettingLevel};

    fn module(id: &str, dependencies: &[&str]) -> Manifest {
        let endpoint = format!("https://{id}.example");
        let manifest = json!({
            "module_id": id, "display_name": id, "version": "1.0.0", "endpoint": endpoint,
            "dependencies": dependencies
        });
        serde_json::from_value(manifest).unwrap()
    }

    fn id(text: &str) -> ModuleId {
        text.parse().unwrap()
    }

    fn enabled(_: &ModuleId) -> Settings {
        Settings { tenant: Some(Enablement::Enabled), ..Settings::default() }
    }

    fn failure() -> Health {
        Health::Failed(Failure { message: "no answer".into(), at: Instant::from_micros(1) })
    }

    #[test]
    fn a_failure_reaches_all_that_depend_on_it() {
        let catalogue =
            Catalogue::new([module("a", &["b"]), module("b", &["c"]), module("c", &[]), module("d", &[])]);
        let catalogue = catalogue.unwrap();
        let health = |module: &ModuleId| if *module == id("c") { failure() } else { Health::Well };
        let states = catalogue.effective_states(enabled, health);
        assert_eq!(states[&id("b")].reason, Reason::DependencyNotActive(id("c")));
        assert_eq!(states[&id("a")].reason, Reason::DependencyNotActive(id("b")));
        assert!(states[&id("d")].is_active());
        let refused = CannotEnable::DependenciesNotActive { modules: vec![id("b")] };
        assert_eq!(catalogue.can_enable(&id("a"), &states), Some(Err(refused)));
        assert_eq!(catalogue.can_enable(&id("c"), &states), Some(Ok(())));
        assert_eq!(catalogue.can_enable(&id("e"), &states), None);
        assert!(catalogue.effective_states(enabled, |_| Health::Well).values().all(Effective::is_active));
    }

    #[test]
    fn manifests_must_go_together() {
        let error = |manifests: Vec<Manifest>| Catalogue::new(manifests).unwrap_err();
        assert_eq!(error(vec![module("a", &[]), module("a", &[])]), InvalidCatalogue::Twice(id("a")));
        let unknown = InvalidCatalogue::UnknownDependency { module: id("a"), dependency: id("x") };
        assert_eq!(error(vec![module("a", &["x"])]), unknown);
        let circle = vec![module("a", &["b"]), module("b", &["a"]), module("c", &[])];
        assert_eq!(error(circle), InvalidCatalogue::Circle(id("a")));
    }

    #[test]
    fn an_announced_module_is_available_and_cannot_be_enabled() {
        let announced = json!({"module_id": "a", "display_name": "A", "version": "1.0.0"});
        let catalogue = Catalogue::new([serde_json::from_value(announced).unwrap()]).unwrap();
        let states = catalogue.effective_states(enabled, |_| Health::Well);
        assert_eq!(states[&id("a")].status, ModuleStatus::Available);
        assert_eq!(catalogue.can_enable(&id("a"), &states), Some(Err(CannotEnable::NotInstalled)));
    }

    #[test]
    fn the_reason_names_the_level() {
        let core = Manifest::scaicore();
        let state = |settings| effective_state(&core, settings, &Health::Well, None);
        assert_eq!(state(Settings::default()).reason, Reason::EnabledByDefault);
        let partner = Settings {
            partner: Some(Enablement::Disabled),
            tenant: Some(Enablement::Enabled),
            ..Settings::default()
        };
        assert_eq!(state(partner).reason, Reason::DisabledAt(SettingLevel::Partner));
    }

    proptest! {
        #[test]
        fn the_most_restrictive_wins(
            said in prop::array::uniform3(prop::option::of(select(Enablement::ALL))),
            failed: bool, default_enabled: bool
        ) {
            let manifest = Manifest { default_enabled, ..module("a", &[]) };
            let settings = Settings { platform: said[0], partner: said[1], tenant: said[2] };
            let health = if failed { failure() } else { Health::Well };
            let status = effective_state(&manifest, settings, &health, None).status;
            let wanted = if failed {
                ModuleStatus::Error
            } else if said.contains(&Some(Enablement::Disabled)) {
                ModuleStatus::Disabled
            } else if default_enabled || said.contains(&Some(Enablement::Enabled)) {
                ModuleStatus::Active
            } else {
                ModuleStatus::Available
            };
            prop_assert_eq!(status, wanted);
        }
    }
}
