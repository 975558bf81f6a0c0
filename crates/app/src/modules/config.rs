//! Configuration: what each level has given, and what counts.
//!
//! A level changes its own values by merge patch; they are checked together with what the levels above give, as they
//! would count. Values of levels below are not looked at: they are checked when they are written.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_modules::config::{Finding, Layer, Levels, Origin, field_name};
use scaigrid_modules::{Manifest, SettingLevel};
use scaigrid_persistence::{Connection, Transaction, audit, module_configs, storable};
use scaigrid_scope::{AuthorizedAtLevel, Level, LevelScope, Principal, perm};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Rules;
use crate::transaction::{Expected, check_expected, ended};
use crate::{App, Error, FieldError, Resource};

/// A module's configuration as it stands at the caller's level. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigView {
    /// What the platform gives.
    pub global: Value,
    /// What the partner gives; empty at the platform's level.
    pub partner: Value,
    /// What the level gives that the caller acts at.
    pub scope: Value,
    /// What counts there.
    pub effective: Value,
    /// Changes whenever any of this does, also when the module's schema does, and is another one at every level.
    pub revision: u64,
}

/// What a change of configuration would do to what the caller's level gives. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct TriedConfig {
    /// What the level gives.
    pub before: Value,
    /// What it would give.
    pub after: Value,
    /// Whether they differ, be it only in a secret.
    pub changed: bool,
}

/// What the levels that bear on a caller have configured of a module, from above; the caller's own comes last.
pub(super) struct Bearing {
    pub(super) layers: Vec<Given>,
    /// Whose level it is, and under whom.
    place: String,
}

pub(super) struct Given {
    pub(super) level: SettingLevel,
    pub(super) layer: Layer,
    revision: Option<i64>,
}

impl Bearing {
    pub(super) fn refs(&self) -> Vec<(SettingLevel, &Layer)> {
        self.layers.iter().map(|given| (given.level, &given.layer)).collect()
    }

    fn revision(&self, rules: &Rules) -> u64 {
        tag(rules.mark, &self.place, self.layers.iter().map(|given| given.revision.unwrap_or(0)))
    }

    fn view(&self, manifest: &Manifest, rules: &Rules) -> ConfigView {
        let schema = &manifest.config_schema;
        let shown = |level| {
            let given = self.layers.iter().find(|given| given.level == level);
            given.map_or_else(|| Value::Object(Map::new()), |given| given.layer.shown(schema))
        };
        let own = self.layers.last().map_or(SettingLevel::Platform, |given| given.level);
        ConfigView {
            global: shown(SettingLevel::Platform),
            partner: shown(SettingLevel::Partner),
            scope: shown(own),
            effective: Levels { schema, layers: &self.refs() }.shown(),
            revision: self.revision(rules),
        }
    }
}

/// A revision of 63 bits, as those of the database have, from all that a configuration depends on. The same path shows
/// each level its own, so the level is a part of it.
fn tag(mark: u32, place: &str, revisions: impl Iterator<Item = i64>) -> u64 {
    let mut hash = Sha256::new().chain_update(mark.to_be_bytes());
    revisions.for_each(|revision| hash.update(revision.to_be_bytes()));
    let digest = hash.chain_update(place).finalize();
    digest.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte)) >> 1
}

/// A change that was found good.
struct Plan {
    bearing: Bearing,
    /// The caller's layer as it was; none when the change changes nothing.
    before: Option<Layer>,
}

impl App {
    /// Whether there is such a module, to be told before anything is said of what is asked of it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn require_module(&self, id: &str) -> Result<(), Error> {
        self.manifest(id).map(drop)
    }

    /// A module's configuration.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn module_config(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesUse>,
        id: &str,
    ) -> Result<ConfigView, Error> {
        let manifest = self.manifest(id)?;
        let mut connection = self.0.database.read().await?;
        let bearing = self.bearing(&mut connection, caller, caller.level_scope(), &manifest).await?;
        Ok(bearing.view(&manifest, self.rules(&manifest)?))
    }

    /// Changes what the level that the caller acts at gives, by a merge patch (RFC 7396). With `dry_run` nothing is kept:
    /// the answer is what would be.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Invalid`].
    pub async fn configure_module(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        id: &str,
        expected: Expected<'_>,
        patch: Value,
        dry_run: bool,
    ) -> Result<ConfigView, Error> {
        let manifest = self.manifest(id)?;
        // What the database would change is changed before it is compared with what is there.
        let patch = storable(patch);
        if dry_run {
            let mut connection = self.0.database.read().await?;
            let plan = self.plan(&mut connection, caller, &manifest, expected, &patch).await?;
            return Ok(plan.bearing.view(&manifest, self.rules(&manifest)?));
        }
        // Those who change the same on this node take turns, and need not try again because of each other.
        let turns = &self.0.config_turns;
        let _turn = turns.of(&(caller.level_scope().level(), &manifest.module_id)).lock().await;
        // Looked up before the transaction, which on SQLite is the only one there is. The write finds out whether it still
        // is so.
        let mut connection = self.0.database.read().await?;
        let mut plan = self.plan(&mut connection, caller, &manifest, expected, &patch).await?;
        drop(connection);
        if let Some(before) = plan.before.take() {
            let mut tx = self.0.database.begin().await?;
            let kept =
                self.keep_config(&mut tx, caller, request, &manifest, &mut plan.bearing, &before).await;
            if !ended(tx, kept).await? {
                return self.configure_alone(caller, request, &manifest, expected, &patch).await;
            }
        }
        Ok(plan.bearing.view(&manifest, self.rules(&manifest)?))
    }

    /// What a change of configuration would do, secrets masked, without keeping it.
    ///
    /// # Errors
    /// As [`App::configure_module`].
    #[boxed]
    pub async fn try_module_config(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        id: &str,
        patch: Value,
    ) -> Result<TriedConfig, Error> {
        let manifest = self.manifest(id)?;
        let schema = &manifest.config_schema;
        let mut connection = self.0.database.read().await?;
        let plan = self.plan(&mut connection, caller, &manifest, None, &storable(patch)).await?;
        let after = plan.bearing.layers.last().map_or(Value::Null, |own| own.layer.shown(schema));
        let changed = plan.before.is_some();
        let before = plan.before.map_or_else(|| after.clone(), |layer| layer.shown(schema));
        Ok(TriedConfig { before, after, changed })
    }

    /// After another node was faster: looks up what it wrote, checks the change against that and writes it, while nobody
    /// else can.
    async fn configure_alone(
        &self,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        manifest: &Arc<Manifest>,
        expected: Expected<'_>,
        patch: &Value,
    ) -> Result<ConfigView, Error> {
        let mut tx = self.0.database.begin().await?;
        let kept = async {
            module_configs::lock(&mut tx, caller.level_scope(), &manifest.module_id).await?;
            let mut plan = self.plan(&mut tx, caller, manifest, expected, patch).await?;
            if let Some(before) = plan.before.take()
                && !self.keep_config(&mut tx, caller, request, manifest, &mut plan.bearing, &before).await?
            {
                return Err(Error::internal("a locked configuration was changed by another"));
            }
            Ok(plan.bearing.view(manifest, self.rules(manifest)?))
        };
        let kept = kept.await;
        ended(tx, kept).await
    }

    /// Writes what the caller's level gives now, with the record of it; false when somebody else has changed it since it was
    /// looked up, and nothing is written then.
    async fn keep_config(
        &self,
        tx: &mut Transaction,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        request: &RequestContext,
        manifest: &Manifest,
        bearing: &mut Bearing,
        before: &Layer,
    ) -> Result<bool, Error> {
        let (schema, id, vault) = (&manifest.config_schema, &manifest.module_id, &self.0.vault);
        let own = bearing.layers.last_mut().ok_or_else(|| Error::internal("no level bears on the caller"))?;
        let (now, seen) = (self.now(), own.revision);
        let scope = caller.level_scope();
        if !module_configs::save(tx, scope, id, schema, &own.layer, seen, now, vault).await? {
            return Ok(false);
        }
        own.revision = Some(seen.unwrap_or(0) + 1);
        let secrets: Vec<String> =
            before.secrets(schema).into_iter().chain(own.layer.secrets(schema)).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let changes = diff(before.values(), own.layer.values(), &secrets);
        let (stamp, action) = (self.audit_stamp(now), AuditAction::ModuleConfigure);
        let record = AuditRecord::at_level(stamp, caller, request, action, id.to_string(), changes);
        audit::add(tx, &record.of_module(id.as_str())).await?;
        Ok(true)
    }

    async fn plan(
        &self,
        c: &mut Connection,
        caller: &AuthorizedAtLevel<perm::ModulesManage>,
        manifest: &Arc<Manifest>,
        expected: Expected<'_>,
        patch: &Value,
    ) -> Result<Plan, Error> {
        let (schema, rules) = (&manifest.config_schema, self.rules(manifest)?);
        let mut bearing = self.bearing(c, caller, caller.level_scope(), manifest).await?;
        check_expected(expected, bearing.revision(rules).cast_signed())?;
        let Some((own, above)) = bearing.layers.split_last_mut() else {
            return Err(Error::internal("no level bears on the caller"));
        };
        let inherited = above.iter().flat_map(|given| given.layer.secrets(schema)).collect();
        let origin = Origin { at: self.now(), by: Some(caller.user_id()) };
        let after = own
            .layer
            .patched(schema, patch, &inherited, origin)
            .map_err(|found| refused(found.into_iter()))?;
        let changed = after.values() != own.layer.values();
        let before = std::mem::replace(&mut own.layer, after);
        // Above the tenants, what is required may be left for those below to give.
        let may_be_missing = own.level != SettingLevel::Tenant;

        let layers = bearing.refs();
        let levels = Levels { schema, layers: &layers };
        let effective = levels.effective();
        let findings = rules.findings(&effective);
        let mut findings =
            findings.into_iter().filter(|finding| !(finding.missing && may_be_missing)).peekable();
        if findings.peek().is_some() {
            let secrets = levels.secrets(&effective);
            return Err(refused(findings.map(|finding| finding.outside(&secrets))));
        }
        Ok(Plan { before: changed.then_some(before), bearing })
    }

    /// What bears on a level, from above, with an empty layer for each that has given nothing.
    pub(super) async fn bearing(
        &self,
        c: &mut Connection,
        caller: &Principal,
        level: LevelScope,
        manifest: &Manifest,
    ) -> Result<Bearing, Error> {
        let (id, vault) = (&manifest.module_id, &self.0.vault);
        let (rows, levels): (_, &[SettingLevel]) = match level {
            LevelScope::Platform(scope) => {
                (module_configs::for_platform(c, scope, id, vault).await?, &SettingLevel::ALL[..1])
            }
            LevelScope::Partner(scope) => {
                (module_configs::for_partner(c, scope, id, vault).await?, &SettingLevel::ALL[..2])
            }
            LevelScope::Tenant(scope) => {
                let partner = caller.tenant().partner_id;
                (module_configs::for_tenant(c, scope, partner, id, vault).await?, SettingLevel::ALL)
            }
        };
        let empty = |level: &SettingLevel| Given { level: *level, layer: Layer::default(), revision: None };
        let mut layers: Vec<Given> = levels.iter().map(empty).collect();
        for row in rows {
            let level = setting_level(row.level);
            if let Some(given) = layers.iter_mut().find(|given| given.level == level) {
                (given.layer, given.revision) = (row.layer, Some(row.revision));
            }
        }
        let under = matches!(level, LevelScope::Tenant(_)).then(|| caller.tenant().partner_id);
        Ok(Bearing { layers, place: format!("{:?} {under:?}", level.level()) })
    }

    pub(super) fn rules(&self, manifest: &Manifest) -> Result<&Rules, Error> {
        self.0.catalogue.rules(&manifest.module_id).ok_or(Error::NotFound(Resource::Module))
    }
}

/// A level without what it is the level of.
pub(super) const fn setting_level(level: Level) -> SettingLevel {
    match level {
        Level::Platform => SettingLevel::Platform,
        Level::Partner(_) => SettingLevel::Partner,
        Level::Tenant(_) => SettingLevel::Tenant,
    }
}

fn refused(findings: impl Iterator<Item = Finding>) -> Error {
    let mut fields: Vec<FieldError> =
        findings.map(|finding| FieldError::new(field_name(&finding.pointer), finding.message)).collect();
    // Two findings within one secret are told as one.
    fields.dedup();
    Error::Invalid(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_one_of_the_database_and_tells_states_apart() {
        let tag = |mark, place, revisions: &[i64]| tag(mark, place, revisions.iter().copied());
        let tags = [
            tag(u32::MAX, "a", &[0, 0]),
            tag(u32::MAX, "a", &[0, 1]),
            tag(u32::MAX, "a", &[1, 0]),
            tag(0, "a", &[0, 1]),
            tag(0, "b", &[0, 1]),
            tag(0, "b", &[i64::MAX, 1]),
        ];
        assert!(tags.iter().all(|tag| i64::try_from(*tag).is_ok()));
        let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
        assert_eq!(distinct.len(), tags.len());
        assert!(check_expected(Some(&[tags[0]]), tags[0].cast_signed()).is_ok());
    }
}
