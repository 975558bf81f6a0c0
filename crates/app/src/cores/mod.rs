//! Cores: hosting programs. What can be done with one is told by the domain; here it is done, and written down.

mod avatar;
mod delegation;
mod exposure;
mod lifecycle;
mod plugins;
mod publication;
mod start;
mod triggers;
mod versions;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext, diff};
use scaigrid_cores::{Core, CoreChanges, CoreError, InvalidTransition, NewCore};
use scaigrid_engine::Engine;
use scaigrid_ir::{Diagnostic, bundle, load};
pub use scaigrid_persistence::cores::CoreFilter;
use scaigrid_persistence::{Error as DatabaseError, Revised, Written, cores, executions, partings, tenants};
use scaigrid_scope::{Authorized, CoreId, Principal, TenantScope, perm};
use serde_json::{Value, json};

pub use avatar::{GivenAvatar, ShownAvatar};
pub use delegation::{DelegationChanges, MyDelegation, NewDelegation};
pub use exposure::{Endpoint, Meant, PublicEndpoint, Receipt, Verified, WAIT};
pub use plugins::{Installed, InstalledChanges};
pub use triggers::{NewTrigger, RegisteredTrigger, RotatedHookSecret, ShownTrigger};

use crate::caches::CORE;
pub use crate::caches::WrittenCore;
use crate::{App, Cursor, Error, FieldError, Page, PageRequest, Resource};

/// The module that Cores are the affairs of.
pub(crate) const MODULE: &str = "scaicore";

/// A Core, the revision it stands at, and what the verifier says of its program.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownCore {
    /// The Core.
    pub core: Core,
    /// Goes up with every change.
    pub revision: i64,
    /// Findings about the program, where it was just given, or about what it calls, where it was just started.
    pub diagnostics: Vec<Diagnostic>,
}

/// Executions, events and entries of memory of a deleted Core that go in one transaction.
pub(crate) const REMOVED_AT_ONCE: i64 = 1000;

impl App {
    /// The program of a bundle, or of JSON text, as JSON.
    ///
    /// # Errors
    /// It is too large, or neither a bundle nor JSON.
    #[boxed]
    pub async fn unpack_bundle(
        &self,
        _by: &Authorized<perm::CoresManage>,
        bytes: Vec<u8>,
    ) -> Result<Value, Error> {
        // Up to 64 MB are unpacked; the thread that serves requests must not stand still for it.
        tokio::task::spawn_blocking(move || read_bundle(&bytes)).await.map_err(Error::internal)?
    }

    /// What is in a program and what is wrong with it, beside the program. Nothing is kept.
    ///
    /// # Errors
    /// None that is the caller's: a program that is wrong is summed up too.
    #[boxed]
    pub async fn sum_up(
        &self,
        _by: &Authorized<perm::CoresManage>,
        source: Value,
    ) -> Result<(Value, load::Summary), Error> {
        // A program of that size takes a while to verify, too.
        tokio::task::spawn_blocking(move || {
            let summary = load::summary(&source, Engine::findings(&source));
            (source, summary)
        })
        .await
        .map_err(Error::internal)
    }

    /// Hosts a program.
    ///
    /// # Errors
    /// As [`App::create_core_with_avatar`].
    #[boxed]
    pub async fn create_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        new: NewCore,
    ) -> Result<ShownCore, Error> {
        self.create_core_with_avatar(by, request, new, None).await
    }

    /// Hosts a program, with a picture or without; without one the Core has the picture that its program brings, if that is one.
    ///
    /// # Errors
    /// A field is not as it must be, the picture is none, the slug is taken, or the object store does not do its work.
    #[boxed]
    pub async fn create_core_with_avatar(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        new: NewCore,
        avatar: Option<GivenAvatar>,
    ) -> Result<ShownCore, Error> {
        let now = self.now();
        let id = CoreId::from_ulid(self.0.ids.draw(now));
        let scope = by.tenant_scope();
        let mut core = Core::create(id, scope.tenant_id(), by.user_id(), now, new)?;
        let picture = avatar::of_new(&core, avatar)?;
        let diagnostics = findings(&core).await?;
        if let Some((avatar, bytes)) = picture {
            self.put_avatar(scope, id, bytes).await?;
            core.avatar = Some(avatar);
        }
        let changes = diff(&json!({}), &described(&core), &[]);
        let record = self.core_record(by, request, AuditAction::CoreCreate, id, changes);
        let mut transaction = self.0.database.begin().await?;
        // Whoever adds a Core holds the tenant meanwhile, so that two do not both take the last place.
        let tenant =
            tenants::lock(&mut transaction, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        if let Some(limit) = tenant.limits.max_cores
            && cores::count(&mut transaction, scope).await? >= i64::from(limit)
        {
            return Err(Error::Capacity { what: "Cores".into(), limit: limit.into() });
        }
        if core.avatar.is_some() {
            self.keep_note_of_avatar(&mut transaction, scope, id).await?;
        }
        match cores::add(&mut transaction, scope, &core, &self.0.vault).await {
            Err(DatabaseError::Duplicate(_)) => {
                return Err(Error::slug_taken(&core.slug));
            }
            other => other?,
        }
        scaigrid_persistence::audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        Ok(ShownCore { core, revision: 1, diagnostics })
    }

    /// One Core.
    ///
    /// # Errors
    /// There is none of that id in the tenant.
    #[boxed]
    pub async fn core(&self, by: &Authorized<perm::CoresView>, id: CoreId) -> Result<ShownCore, Error> {
        let Revised { value: core, revision } = self.find_core(by.tenant_scope(), id).await?;
        Ok(ShownCore { core, revision, diagnostics: Vec::new() })
    }

    /// One Core as `write` writes it; as it was a second ago at most.
    ///
    /// # Errors
    /// There is none of that id in the tenant, or it cannot be written.
    pub async fn written_core(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
        write: impl FnOnce(ShownCore) -> Result<Vec<u8>, Error>,
    ) -> Result<WrittenCore, Error> {
        let (known, key) = (&self.0.caches.cores, (id, by.tenant_scope().tenant_id()));
        if let Some(written) = known.get(&key) {
            return Ok(written);
        }
        // Those that are long are not kept, so there is nothing to wait for.
        let look_up = known.look_up_beside(key);
        let shown = self.core(by, id).await?;
        let written = WrittenCore { revision: shown.revision, text: write(shown)?.into() };
        if written.text.len() <= CORE {
            look_up.keep(written.clone());
        }
        Ok(written)
    }

    pub(crate) async fn find_core(&self, scope: TenantScope, id: CoreId) -> Result<Revised<Core>, Error> {
        let mut connection = self.0.database.read().await?;
        let found = cores::lookup(&mut connection, scope, id, &self.0.vault).await?;
        found.ok_or(Error::NotFound(Resource::Core))
    }

    /// The tenant's Cores, newest first, without their programs.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn cores(
        &self,
        by: &Authorized<perm::CoresView>,
        filter: &CoreFilter,
        page: &PageRequest,
    ) -> Result<Page<Core>, Error> {
        let after = after(page)?;
        let mut connection = self.0.database.read().await?;
        let scope = by.tenant_scope();
        let rows = cores::list(&mut connection, scope, filter, after, page.rows(), &self.0.vault).await?;
        Ok(Page::of_rows(rows, page, |core| Cursor::new([core.id.to_string().into()])))
    }

    /// Whether there is such a Core: told before anything about the request.
    ///
    /// # Errors
    /// There is none.
    #[boxed]
    pub async fn require_core(&self, scope: TenantScope, id: CoreId) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let standing = cores::standing(&mut connection, scope, id).await?;
        standing.map(drop).ok_or(Error::NotFound(Resource::Core))
    }

    /// The same for the hot paths, from what was true at most a second ago: what they do next looks for itself.
    ///
    /// # Errors
    /// There is none.
    #[boxed]
    pub async fn require_known_core(&self, scope: TenantScope, id: CoreId) -> Result<(), Error> {
        Ok(self.0.engine.require_core(scope, id).await?)
    }

    /// Changes what the caller names of a Core and keeps the rest. A new program is a new version.
    ///
    /// # Errors
    /// There is no such Core, a field is not as it must be, it changed since `expected`, or it is alive and the program does not pass.
    #[boxed]
    pub async fn change_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        expected: Option<&[u64]>,
        changes: CoreChanges,
    ) -> Result<ShownCore, Error> {
        let found = self.find_core(by.tenant_scope(), id).await?;
        check_revision(found.revision, expected)?;
        let after = found.value.change(changes, self.now())?;
        self.save_changed(by, request, AuditAction::CoreUpdate, found, after).await
    }

    /// Writes a changed Core with its audit record, and the program where it is a new one.
    async fn save_changed(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        action: AuditAction,
        before: Revised<Core>,
        after: Core,
    ) -> Result<ShownCore, Error> {
        let new_program = after.source.version != before.value.source.version;
        let diagnostics = if new_program { findings(&after).await? } else { Vec::new() };
        if after.status.is_alive() {
            // It would go on saying that it runs, and nothing would.
            refuse_faults(&diagnostics)?;
        }
        if after == before.value {
            return Ok(ShownCore { core: after, revision: before.revision, diagnostics });
        }
        let changes = diff(&described(&before.value), &described(&after), &[]);
        let record = self.core_record(by, request, action, after.id, changes);
        let scope = by.tenant_scope();
        let declared = if new_program { lifecycle::declared(&after).await? } else { None };
        let mut transaction = self.0.database.begin().await?;
        let written = cores::save(&mut transaction, scope, &after, before.revision, &self.0.vault).await?;
        match written {
            Written::Done => {}
            Written::Missing => return Err(Error::NotFound(Resource::Core)),
            Written::Stale => return Err(Error::PreconditionFailed),
        }
        if new_program {
            cores::add_version(&mut transaction, scope, &after, by.user_id()).await?;
            self.arrange(&mut transaction, scope, &after, declared.as_ref()).await?;
        }
        scaigrid_persistence::audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        self.core_changed(after.id);
        Ok(ShownCore { core: after, revision: before.revision + 1, diagnostics })
    }

    /// Removes a Core and everything that belongs to it. What has not ended is lost with it, and only where that is asked for
    /// by `force`. Whoever waits for it in other Cores is told, and what it has called there is cancelled.
    ///
    /// # Errors
    /// There is no such Core, it changed since `expected`, or executions of it have not ended.
    #[boxed]
    pub async fn delete_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        expected: Option<&[u64]>,
        force: bool,
    ) -> Result<(), Error> {
        let found = self.find_core(by.tenant_scope(), id).await?;
        check_revision(found.revision, expected)?;
        found.value.status.apply(scaigrid_cores::Action::Delete)?;
        let changes = diff(&described(&found.value), &json!({}), &[]);
        let record = self.core_record(by, request, AuditAction::CoreDelete, id, changes);
        let mut transaction = self.0.database.begin().await?;
        // As it stands now: it may have been published a moment ago.
        let published = cores::hold_publication(&mut transaction, by.tenant_scope(), id).await?;
        if !force && executions::any_unfinished(&mut transaction, by.tenant_scope(), id).await? {
            transaction.rollback().await?;
            let message =
                "Executions of the Core have not ended and would be lost; force=true deletes them too";
            return Err(Error::Conflict(message.to_owned()));
        }
        if let Some(publication) = &published {
            publication::withdraw(&mut transaction, by.tenant_scope(), publication).await?;
        }
        let parting = Engine::parting();
        partings::tell_others(&mut transaction, by.tenant_scope(), id, REMOVED_AT_ONCE, &parting).await?;
        let deleted = cores::delete(&mut transaction, by.tenant_scope(), id, REMOVED_AT_ONCE).await?;
        let Some(all) = deleted else { return Err(Error::NotFound(Resource::Core)) };
        scaigrid_persistence::audit::add(&mut transaction, &record).await?;
        transaction.commit().await?;
        self.core_changed(id);
        if published.is_some() {
            self.catalog_changed();
        }
        if !all {
            self.remove_the_rest(by.tenant_scope(), id).await?;
        }
        if found.value.avatar.is_some() {
            self.drop_avatar(by.tenant_scope(), id).await;
        }
        Ok(())
    }

    pub(crate) fn core_record(
        &self,
        by: &Principal,
        request: &RequestContext,
        action: AuditAction,
        id: CoreId,
        changes: Changes,
    ) -> AuditRecord {
        let stamp = self.audit_stamp(self.now());
        AuditRecord::in_tenant(stamp, by, request, action, id.to_string(), changes).of_module(MODULE)
    }
}

/// The id that a page of a list in the order of ids begins after.
pub(crate) fn after<T: std::str::FromStr>(page: &PageRequest) -> Result<Option<T>, Error> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let id = cursor.text(0).and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Error::invalid("cursor", "is not a cursor of this list"))
}

fn check_revision(revision: i64, expected: Option<&[u64]>) -> Result<(), Error> {
    let stands = |expected: &[u64]| expected.iter().any(|wanted| i64::try_from(*wanted) == Ok(revision));
    if expected.is_none_or(stands) { Ok(()) } else { Err(Error::PreconditionFailed) }
}

/// What the audit sees of a Core: everything but its program, which has a version, and its secrets.
fn described(core: &Core) -> Value {
    json!({
        "name": core.name.as_str(),
        "slug": core.slug.as_str(),
        "status": core.status.as_str(),
        "runtime_mode": core.runtime_mode.as_str(),
        "concurrency_mode": core.concurrency.mode().as_str(),
        "entity_key_field": core.concurrency.entity_key_field().map(scaigrid_cores::EntityKeyField::as_str),
        "source_version": core.source.version,
        "plugins": *core.plugins,
        "environment": core.environment.shown(),
        "resource_limits": *core.resource_limits,
        "checkpoint_mode": core.checkpoint_mode.as_str(),
        "privilege_level": core.privilege_level.as_str(),
        "metadata": *core.metadata,
    })
}

fn read_bundle(bytes: &[u8]) -> Result<Value, Error> {
    bundle::decode(bytes).map_err(|error| {
        if error.is_too_large() {
            Error::FileTooLarge { limit: bundle::MAX_RECEIVED }
        } else {
            Error::invalid("file", error.to_string())
        }
    })
}

/// What the verifier says of a Core's program.
async fn findings(core: &Core) -> Result<Vec<Diagnostic>, Error> {
    if core.source.is_empty() {
        return Ok(Vec::new());
    }
    let program = std::sync::Arc::clone(&core.source.program);
    tokio::task::spawn_blocking(move || Engine::findings(&program)).await.map_err(Error::internal)
}

/// Refuses a program that does not pass.
fn refuse_faults(findings: &[Diagnostic]) -> Result<(), Error> {
    let faults = findings.iter().filter(|finding| finding.is_error());
    let faults: Vec<_> = faults.map(start::diagnostic_json).collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::InvalidSource(faults)) }
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Invalid { problems } => Self::Invalid(
                problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect(),
            ),
            CoreError::InvalidTransition(refusal) => refusal.into(),
        }
    }
}

impl From<InvalidTransition> for Error {
    fn from(refusal: InvalidTransition) -> Self {
        Self::InvalidTransition {
            from: refusal.from.as_str().into(),
            attempted: refusal.attempted.as_str().into(),
            legal: refusal.legal.iter().map(|action| action.as_str().into()).collect(),
        }
    }
}
