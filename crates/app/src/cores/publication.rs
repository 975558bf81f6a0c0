//! Publishing Cores: a Core in the catalogue, as a model that one chats with.
//!
//! The model, what answers for it, and the groups that show it are made, changed and removed here alone, each time in one
//! transaction with the Core's own row.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, Changes, RequestContext, diff};
use scaigrid_catalog::{
    Backend, Capabilities, ConnectionConfig, Mapping, Modality, Model, ModelGroup, ModelSlug, ModelStatus,
    Parameters, Priority, UpstreamName, Weight,
};
use scaigrid_cores::Core;
use scaigrid_cores::publication::{GroupPlace, Publication, may_show};
use scaigrid_persistence::{
    self as persistence, Revised, Transaction, Written, audit, backends, cores, model_groups, models, tenants,
};
use scaigrid_scope::{
    Authorized, BackendId, CoreId, Description, Level, ModelGroupId, ModelId, TenantScope, perm,
};
use serde_json::{Value, json};

use super::ShownCore;
use crate::transaction::ended;
use crate::{App, Error, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;

/// What the catalogue says of a published Core.
struct Said {
    display_name: scaigrid_scope::Name,
    description: Option<Description>,
    capabilities: Capabilities,
    avatar_url: Option<String>,
}

impl Said {
    fn of(core: &Core) -> Self {
        let text: Option<String> = core.about().map(|text| {
            let kept = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
            kept.take(Description::MAX_CHARS).collect()
        });
        let capabilities = json!({"tool_use": true, "streaming": core.emits_tokens()});
        let capabilities = match capabilities {
            Value::Object(fields) => Capabilities::new(fields).unwrap_or_default(),
            _ => Capabilities::default(),
        };
        Self {
            display_name: core.name.clone(),
            description: text.and_then(|text| Description::parse(&text).ok()),
            capabilities,
            avatar_url: core.avatar_url(),
        }
    }

    fn on(&self, model: &mut Model) {
        model.display_name.clone_from(&self.display_name);
        model.description.clone_from(&self.description);
        model.capabilities.clone_from(&self.capabilities);
        model.avatar_url.clone_from(&self.avatar_url);
    }
}

fn told(model: &Model) -> Value {
    json!({
        "display_name": model.display_name.as_str(),
        "description": model.description.as_ref().map(Description::as_str),
        "capabilities": model.capabilities.as_map(),
        "avatar_url": model.avatar_url,
    })
}

fn not_published() -> Error {
    Error::invalid("core_id", "names a Core that is not published")
}

/// Takes what a Core is in the catalogue out of it.
pub(super) async fn withdraw(
    tx: &mut Transaction,
    scope: TenantScope,
    publication: &Publication,
) -> Result<(), Error> {
    let level = scope.into();
    // The model first, as whoever changes one holds it before its backends.
    if models::lock(tx, level, publication.model_id).await?.is_some() {
        models::set_mappings(tx, publication.model_id, &[]).await?;
        models::remove(tx, level, publication.model_id).await?;
    }
    backends::remove(tx, level, publication.backend_id).await?;
    Ok(())
}

impl App {
    /// Puts a Core into the catalogue, as a model of its tenant; and into those of some groups of models that there are and
    /// that the caller may show it in. The others are left out without a word.
    ///
    /// # Errors
    /// There is no such Core, it is published, or a group is full.
    #[boxed]
    pub async fn publish_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        group_ids: &[String],
    ) -> Result<ShownCore, Error> {
        for _ in 0..ATTEMPTS {
            let found = self.find_core(by.tenant_scope(), id).await?;
            if found.value.publication.is_some() {
                return Err(Error::invalid("core_id", "names a Core that is published; use sync"));
            }
            let mut tx = self.0.database.begin().await?;
            let published = self.publish_in(&mut tx, by, request, found, group_ids).await;
            if let Some(shown) = self.written(ended(tx, published).await, id)? {
                return Ok(shown);
            }
        }
        Err(Error::core_contended())
    }

    /// What became of a change that somebody else may have come before.
    fn written(&self, result: Result<ShownCore, Error>, id: CoreId) -> Result<Option<ShownCore>, Error> {
        match result {
            Ok(shown) => {
                self.core_changed(id);
                self.catalog_changed();
                Ok(Some(shown))
            }
            Err(Error::PreconditionFailed) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn publish_in(
        &self,
        tx: &mut Transaction,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        found: Revised<Core>,
        group_ids: &[String],
    ) -> Result<ShownCore, Error> {
        let (now, scope) = (self.now(), by.tenant_scope());
        let mut core = found.value;
        let slug = ModelSlug::of_core(&by.tenant().slug, &core.slug);
        let (model_id, backend_id) =
            (ModelId::from_ulid(self.0.ids.draw(now)), BackendId::from_ulid(self.0.ids.draw(now)));
        core.publication = Some(Publication { model_id, backend_id, slug: slug.to_string() });
        core.updated_at = now;
        self.save_published(tx, scope, &core, found.revision).await?;
        let owner = Level::Tenant(scope.tenant_id());
        let upstream: Result<UpstreamName, _> = core.slug.as_str().parse();
        let backend = Backend {
            id: backend_id,
            owner,
            name: core.name.clone(),
            model: upstream.map_err(|reason| Error::internal(std::io::Error::other(reason)))?,
            config: ConnectionConfig::ScaiCore(core.id),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        backends::add(tx, scope.into(), &backend, &self.0.vault, now).await?;
        let mut model = Model {
            id: model_id,
            owner,
            slug: slug.clone(),
            display_name: core.name.clone(),
            description: None,
            modality: Modality::Chat,
            context_window: None,
            max_output_tokens: None,
            input_price: None,
            output_price: None,
            default_params: Parameters::default(),
            capabilities: Capabilities::default(),
            avatar_url: None,
            status: ModelStatus::Active,
            global: false,
            default_enabled: false,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        Said::of(&core).on(&mut model);
        models::add(tx, scope.into(), &model).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => Error::slug_taken(&slug),
            other => other.into(),
        })?;
        let mapping = Mapping { backend_id, priority: Priority::default(), weight: Weight::default() };
        models::set_mappings(tx, model_id, &[mapping]).await?;
        let groups = self.show_in_groups(tx, by, model_id, group_ids).await?;
        let changes = diff(
            &json!({}),
            &json!({"published": slug.as_str(), "model_id": model_id, "backend_id": backend_id, "groups": groups,
                "model": told(&model)}),
            &[],
        );
        self.publication_record(tx, by, request, AuditAction::CorePublish, core.id, changes).await?;
        Ok(ShownCore { core, revision: found.revision + 1, diagnostics: Vec::new() })
    }

    /// Puts a model into those of some groups that the caller may show it in: which those are.
    async fn show_in_groups(
        &self,
        tx: &mut Transaction,
        by: &Authorized<perm::CoresManage>,
        model: ModelId,
        group_ids: &[String],
    ) -> Result<Vec<ModelGroupId>, Error> {
        // What a key is not good for, its holder does not do with it: only an unlimited one reaches beyond the tenant.
        let confined = by.identity().credential.scopes().is_some();
        let own = if confined { Level::Tenant(by.tenant().id) } else { by.identity().own_level() };
        let mut ids: Vec<ModelGroupId> = group_ids.iter().filter_map(|text| text.parse().ok()).collect();
        // Each once, and in one order for all who hold several.
        ids.sort_unstable();
        ids.dedup();
        let mut shown = Vec::new();
        for id in ids {
            let Some(group) = model_groups::find(tx, &self.0.system, id).await? else { continue };
            let partner = match group.owner {
                Level::Tenant(tenant) => tenants::reference(tx, &self.0.system, tenant).await?,
                Level::Platform | Level::Partner(_) => None,
            };
            let partner = partner.map(|tenant| tenant.partner_id);
            // Who acts in a tenant shows its Cores in the tenant's own groups, wherever they live.
            let at_home = group.owner == Level::Tenant(by.tenant().id);
            if !(at_home || may_show(own, GroupPlace { level: group.owner, partner })) {
                continue;
            }
            let Some(mut group) = model_groups::hold(tx, &self.0.system, id).await? else { continue };
            if model_groups::members(tx, id).await?.len() >= ModelGroup::MAX_MODELS {
                let message = format!("A group holds at most {} models", ModelGroup::MAX_MODELS);
                return Err(Error::Conflict(message));
            }
            model_groups::add_member(tx, id, model).await?;
            (group.revision, group.updated_at) = (group.revision + 1, self.now());
            model_groups::write(tx, &self.0.system, &group).await?;
            shown.push(id);
        }
        Ok(shown)
    }

    /// Takes a Core out of the catalogue: the model, what answers for it, and its places in groups.
    ///
    /// # Errors
    /// There is no such Core, or it is not published.
    #[boxed]
    pub async fn unpublish_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
    ) -> Result<ShownCore, Error> {
        for _ in 0..ATTEMPTS {
            let Revised { value: mut core, revision } = self.find_core(by.tenant_scope(), id).await?;
            let publication = core.publication.take().ok_or_else(not_published)?;
            core.updated_at = self.now();
            let mut tx = self.0.database.begin().await?;
            let gone = async {
                self.save_published(&mut tx, by.tenant_scope(), &core, revision).await?;
                withdraw(&mut tx, by.tenant_scope(), &publication).await?;
                let changes = diff(&json!({"published": publication.slug}), &json!({}), &[]);
                let action = AuditAction::CoreUnpublish;
                self.publication_record(&mut tx, by, request, action, id, changes).await?;
                Ok(ShownCore { core, revision: revision + 1, diagnostics: Vec::new() })
            };
            let gone = gone.await;
            if let Some(shown) = self.written(ended(tx, gone).await, id)? {
                return Ok(shown);
            }
        }
        Err(Error::core_contended())
    }

    /// Brings what the catalogue says of a published Core up to date.
    ///
    /// # Errors
    /// There is no such Core, or it is not published.
    #[boxed]
    pub async fn sync_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
    ) -> Result<ShownCore, Error> {
        let Revised { value: core, revision } = self.find_core(by.tenant_scope(), id).await?;
        let publication = core.publication.clone().ok_or_else(not_published)?;
        let (said, scope) = (Said::of(&core), by.tenant_scope());
        let mut tx = self.0.database.begin().await?;
        let synced = async {
            let held = models::lock(&mut tx, scope.into(), publication.model_id).await?;
            // Somebody has unpublished it in this moment.
            let before = held.ok_or_else(not_published)?;
            let mut after = before.clone();
            said.on(&mut after);
            if after == before {
                return Ok(());
            }
            (after.revision, after.updated_at) = (before.revision + 1, self.now());
            models::save(&mut tx, scope.into(), &after).await?;
            let changes = diff(&told(&before), &told(&after), &[]);
            self.publication_record(&mut tx, by, request, AuditAction::CoreSync, id, changes).await
        };
        let synced = synced.await;
        ended(tx, synced).await?;
        self.catalog_changed();
        Ok(ShownCore { core, revision, diagnostics: Vec::new() })
    }

    async fn save_published(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        core: &Core,
        revision: i64,
    ) -> Result<(), Error> {
        match cores::save(tx, scope, core, revision, &self.0.vault).await? {
            Written::Done => Ok(()),
            Written::Missing => Err(Error::NotFound(Resource::Core)),
            Written::Stale => Err(Error::PreconditionFailed),
        }
    }

    async fn publication_record(
        &self,
        tx: &mut Transaction,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        action: AuditAction,
        id: CoreId,
        changes: Changes,
    ) -> Result<(), Error> {
        let record = self.core_record(by, request, action, id, changes);
        Ok(audit::add(tx, &record).await?)
    }
}
