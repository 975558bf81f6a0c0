//! Pictures of Cores.
//!
//! The bytes lie in the object store under one key for each Core, and what they are stands with the Core. A note that there may
//! be an object is durable before it is put, and is kept until the Core is gone: whatever comes between, the sweep finds it.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use scaigrid_audit::{AuditAction, RequestContext, diff};
use scaigrid_cores::{Avatar, AvatarProblem, AvatarType, Core};
use scaigrid_persistence::{Transaction, avatars, cores, objects, tenants};
use scaigrid_scope::{Authorized, CoreId, TenantScope, perm};
use scaigrid_storage::Key;
use serde_json::{Value, json};

use super::ShownCore;
use crate::transaction::{ended, written};
use crate::{App, Error, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;
/// Objects that are removed at once.
const AT_ONCE: i64 = 100;

/// What is to be a picture.
#[derive(Debug, Clone)]
pub struct GivenAvatar {
    /// Its bytes.
    pub bytes: Bytes,
    /// The media type that it is said to have.
    pub content_type: Option<String>,
}

/// A picture, as anybody gets it.
#[derive(Debug, Clone)]
pub struct ShownAvatar {
    /// Its format, as its bytes say.
    pub media_type: AvatarType,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub hash: Box<str>,
    /// Its bytes.
    pub bytes: Bytes,
}

impl GivenAvatar {
    /// A picture that is written in base64 (RFC 4648, section 4), in the field `avatar_b64`.
    ///
    /// # Errors
    /// It is no base64.
    pub fn in_base64(text: &str, content_type: Option<String>) -> Result<Self, Error> {
        let bytes = STANDARD.decode(text.trim());
        let bytes = bytes.map_err(|error| Error::invalid("avatar_b64", format!("is no base64: {error}")))?;
        Ok(Self { bytes: bytes.into(), content_type })
    }

    fn judged(self) -> Result<(Avatar, Bytes), Error> {
        let avatar = Avatar::of(&self.bytes, self.content_type.as_deref())?;
        Ok((avatar, self.bytes))
    }
}

impl From<AvatarProblem> for Error {
    fn from(problem: AvatarProblem) -> Self {
        match problem {
            AvatarProblem::TooLarge => Self::FileTooLarge { limit: Avatar::MAX_BYTES },
            other => Self::InvalidFileType { reason: other.to_string() },
        }
    }
}

/// The picture of a new Core: the one that was given, or else the one that its program brings. Any program is kept, so one whose
/// picture is none has none.
pub(super) fn of_new(core: &Core, given: Option<GivenAvatar>) -> Result<Option<(Avatar, Bytes)>, Error> {
    if let Some(given) = given {
        return given.judged().map(Some);
    }
    let embedded = &core.source.program["avatar"];
    let (Some(content_type), Some(text)) = (embedded["content_type"].as_str(), embedded["data_b64"].as_str())
    else {
        return Ok(None);
    };
    let given = GivenAvatar::in_base64(text, Some(content_type.to_owned()));
    Ok(given.and_then(GivenAvatar::judged).ok())
}

fn key(scope: TenantScope, core: CoreId) -> Result<Key, Error> {
    Key::new(Avatar::key(scope.tenant_id(), core)).map_err(Error::internal)
}

fn away(error: &scaigrid_storage::Error) -> Error {
    tracing::warn!(%error, "a picture cannot be kept or read");
    Error::Storage
}

impl App {
    /// Gives a Core a picture, or another one.
    ///
    /// # Errors
    /// There is no such Core, the file is no picture or too large, or the object store does not do its work.
    #[boxed]
    pub async fn set_avatar(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        given: GivenAvatar,
    ) -> Result<ShownCore, Error> {
        let scope = by.tenant_scope();
        let (mut avatar, bytes) = given.judged()?;
        self.require_core(scope, id).await?;
        self.put_avatar(scope, id, bytes).await?;
        for _ in 0..ATTEMPTS {
            let found = match self.find_core(scope, id).await {
                Err(Error::NotFound(what)) => {
                    // It was deleted while the picture was on its way.
                    self.drop_avatar(scope, id).await;
                    return Err(Error::NotFound(what));
                }
                other => other?,
            };
            if found.value.avatar.as_ref() == Some(&avatar) {
                // Of several that are put at once one stays in the store, and that is the Core's, whoever wrote its row last.
                let kept = self.kept_avatar(scope, id, avatar.clone()).await?;
                if kept != avatar {
                    avatar = kept;
                    continue;
                }
                let (core, revision) = (found.value, found.revision);
                return Ok(ShownCore { core, revision, diagnostics: Vec::new() });
            }
            let told = |avatar: Option<&Avatar>| -> Value {
                let told = avatar.map(
                    |avatar| json!({"content_type": avatar.media_type.as_str(), "sha256": &*avatar.hash}),
                );
                json!({ "avatar": told })
            };
            let mut core = found.value.clone();
            core.avatar = Some(avatar.clone());
            core.updated_at = self.now();
            let changes = diff(&told(found.value.avatar.as_ref()), &told(core.avatar.as_ref()), &[]);
            let record = self.core_record(by, request, AuditAction::CoreUpdate, id, changes);
            let mut tx = self.0.database.begin().await?;
            let saved = async {
                let saved = cores::save(&mut tx, scope, &core, found.revision, &self.0.vault).await?;
                written(saved, Resource::Core)?;
                Ok(scaigrid_persistence::audit::add(&mut tx, &record).await?)
            };
            let saved = saved.await;
            match ended(tx, saved).await {
                // Somebody else changed it in between, or deleted it.
                Err(Error::PreconditionFailed | Error::NotFound(_)) => {}
                other => {
                    other?;
                    self.core_changed(id);
                }
            }
        }
        Err(Error::core_contended())
    }

    /// The picture of a Core, for anybody.
    ///
    /// # Errors
    /// There is no such Core, it has no picture, or the object store does not do its work.
    #[boxed]
    pub async fn avatar(&self, id: CoreId) -> Result<ShownAvatar, Error> {
        let none = || Error::NotFound(Resource::Avatar);
        let mut connection = self.0.database.read().await?;
        let found = avatars::find(&mut connection, &self.0.system, id).await?;
        drop(connection);
        let (tenant, known) = found.ok_or_else(none)?;
        let key = key(self.0.system.tenant(tenant), id)?;
        let bytes = self.0.objects.get(&key).await.map_err(|error| away(&error))?;
        let bytes = bytes.ok_or_else(|| {
            tracing::error!(core = %id, "a picture is missing from the object store");
            Error::Lost
        })?;
        // What lies there counts: one that was put a moment ago may not stand with its Core yet.
        let judged = Avatar::of(&bytes, None).unwrap_or(known);
        Ok(ShownAvatar { media_type: judged.media_type, hash: judged.hash, bytes })
    }

    /// What lies in the store as a Core's picture; `known` where there is none.
    async fn kept_avatar(&self, scope: TenantScope, core: CoreId, known: Avatar) -> Result<Avatar, Error> {
        let kept = self.0.objects.get(&key(scope, core)?).await.map_err(|error| away(&error))?;
        let Some(bytes) = kept else { return Ok(known) };
        Ok(Avatar::of(&bytes, None).unwrap_or(known))
    }

    /// Puts a picture into the store, once it is noted that there may be one.
    ///
    /// # Errors
    /// [`Error::Capacity`] when the tenant has no room for it, and the store's.
    pub(super) async fn put_avatar(
        &self,
        scope: TenantScope,
        core: CoreId,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let key = key(scope, core)?;
        let mut tx = self.0.database.begin().await?;
        let noted = self.note_avatar(&mut tx, scope, core, bytes.len() as u64).await;
        ended(tx, noted).await?;
        self.0.objects.put(&key, bytes).await.map_err(|error| away(&error))
    }

    /// Notes that there may be a picture of so many bytes, if the tenant has room for it.
    async fn note_avatar(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        core: CoreId,
        bytes: u64,
    ) -> Result<(), Error> {
        // Whoever takes room holds the tenant meanwhile, so that two do not both take the last of it.
        let tenant = tenants::lock(tx, scope).await?.ok_or(Error::NotFound(Resource::Tenant))?;
        let before = objects::stored_bytes(tx, scope).await?;
        avatars::touch(tx, scope, core, bytes, self.now()).await?;
        let after = objects::stored_bytes(tx, scope).await?;
        match tenant.limits.max_storage_bytes {
            Some(limit) if after > limit && after > before => {
                Err(Error::Capacity { what: "bytes".into(), limit })
            }
            _ => Ok(()),
        }
    }

    /// Has the note of a new Core's picture stand for as long as the Core does. It can only be missing where making the Core took
    /// so long that the sweep came between, and the picture with it.
    pub(super) async fn keep_note_of_avatar(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        core: CoreId,
    ) -> Result<(), Error> {
        if avatars::is_noted(tx, scope, core).await? {
            return Ok(());
        }
        Err(Error::Unavailable { retry_after: Duration::from_secs(1) })
    }

    /// Removes the picture of a Core that is gone. What cannot be removed now is found by the sweep.
    pub(super) async fn drop_avatar(&self, scope: TenantScope, core: CoreId) {
        let Ok(key) = key(scope, core) else { return };
        if let Err(error) = self.0.objects.delete(&key).await {
            tracing::warn!(%error, %core, "the picture of a Core that is gone stays for now");
            return;
        }
        if let Err(error) = self.note_no_avatar(scope, core).await {
            tracing::warn!(%error, %core, "the picture of a Core that is gone counts for now");
        }
    }

    async fn note_no_avatar(&self, scope: TenantScope, core: CoreId) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        avatars::emptied(&mut tx, scope, core).await?;
        Ok(tx.commit().await?)
    }

    /// Removes pictures of Cores that are gone, once nobody can be on the way to putting another one; how many keys.
    pub(crate) async fn sweep_avatars(&self, unclaimed: Duration) -> Result<u64, Error> {
        let system = &self.0.system;
        let before = self.now().minus(unclaimed);
        let mut all = 0;
        loop {
            let mut connection = self.0.database.read().await?;
            let orphans = avatars::orphans(&mut connection, system, before, AT_ONCE).await?;
            drop(connection);
            if orphans.is_empty() {
                return Ok(all);
            }
            for (tenant, core) in &orphans {
                let key = key(system.tenant(*tenant), *core)?;
                if let Err(error) = self.0.objects.delete(&key).await {
                    tracing::warn!(%error, "pictures of Cores that are gone stay for now");
                    return Ok(all);
                }
            }
            let mut tx = self.0.database.begin().await?;
            avatars::forget(&mut tx, system, &orphans, before).await?;
            tx.commit().await?;
            all += orphans.len() as u64;
        }
    }
}
