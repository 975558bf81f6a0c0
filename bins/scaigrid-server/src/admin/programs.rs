//! Modules, Cores and checkpoints.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use scaigrid_app::Resource;
use scaigrid_app::checkpoints::CheckpointFilter;
use scaigrid_app::cores::CoreFilter;
use scaigrid_checkpoints::Decision;
use scaigrid_cores::{Action, Core, NewCore};
use scaigrid_ir::bundle;
use scaigrid_modules::ModuleId;
use scaigrid_scope::{Authorized, CoreId, Name, PermissionMarker, perm};
use serde_json::json;

use super::answer::Answer;
use super::{Desk, Listed, found, listed, refusal, view};
use crate::files::Unusable;
use crate::settings::{CheckpointTask, CoreTask, ModuleTask};

impl Desk {
    pub(super) async fn modules(
        &self,
        tenant: Option<&str>,
        partner: Option<&str>,
        task: ModuleTask,
    ) -> anyhow::Result<Answer> {
        let switched = match task {
            ModuleTask::List => {
                let caller = self.at_level::<perm::ModulesUse>(tenant, partner).await?;
                let listed = Listed { items: self.app.modules(&caller).await?, more: false };
                return Ok(Answer::list(listed, view::MODULE, |module| view::module(&module)));
            }
            ModuleTask::Show { module } => {
                let caller = self.at_level::<perm::ModulesUse>(tenant, partner).await?;
                self.app.module(&caller, &module).await.map_err(refusal::naming(&module))?
            }
            ModuleTask::Enable { module } => {
                let caller = self.at_level::<perm::ModulesManage>(tenant, partner).await?;
                self.app
                    .enable_module(&caller, &self.request, &module)
                    .await
                    .map_err(refusal::naming(&module))?
            }
            ModuleTask::Disable { module } => {
                let caller = self.at_level::<perm::ModulesManage>(tenant, partner).await?;
                self.app
                    .disable_module(&caller, &self.request, &module)
                    .await
                    .map_err(refusal::naming(&module))?
            }
            ModuleTask::Reset { module } => {
                let caller = self.at_level::<perm::ModulesManage>(tenant, partner).await?;
                self.app
                    .reset_module(&caller, &self.request, &module)
                    .await
                    .map_err(refusal::naming(&module))?
            }
            ModuleTask::Config { module, patch: None, .. } => {
                let caller = self.at_level::<perm::ModulesUse>(tenant, partner).await?;
                let kept = self.app.module_config(&caller, &module).await;
                return Ok(Answer::document(view::config(&kept.map_err(refusal::naming(&module))?)));
            }
            ModuleTask::Config { module, patch: Some(patch), dry_run } => {
                let caller = self.at_level::<perm::ModulesManage>(tenant, partner).await?;
                let patch = match patch.strip_prefix('@') {
                    Some(file) => {
                        fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?
                    }
                    None if patch == "-" => {
                        io::read_to_string(io::stdin()).context("the patch cannot be read")?
                    }
                    None => patch,
                };
                let patch = serde_json::from_str(&patch)
                    .map_err(|error| Unusable(format!("--patch: is not JSON: {error}")))?;
                let app = &self.app;
                let kept = app.configure_module(&caller, &self.request, &module, None, patch, dry_run).await;
                return Ok(Answer::document(view::config(&kept.map_err(refusal::naming(&module))?)));
            }
            ModuleTask::Explain { module } => {
                let caller = self.at_level::<perm::ModulesUse>(tenant, partner).await?;
                let explained = self.app.explain_module(&caller, &module).await;
                let explained = explained.map_err(refusal::naming(&module))?;
                let listed = Listed { items: explained.config, more: false };
                return Ok(Answer::list(listed, view::SETTING, |one| view::setting(&one)));
            }
        };
        Ok(Answer::one(view::module(&switched), view::MODULE))
    }

    /// The owner of the key, in a tenant for which the module of the Cores is on.
    async fn in_module<P: PermissionMarker>(&self, tenant: Option<&str>) -> anyhow::Result<Authorized<P>> {
        let caller = self.in_tenant::<P>(tenant).await?;
        self.app.check_module(&caller, ModuleId::scaicore().as_str()).await?;
        Ok(caller)
    }

    pub(super) async fn cores(&self, tenant: Option<&str>, task: CoreTask) -> anyhow::Result<Answer> {
        let (id, action, force) = match task {
            CoreTask::List { status, limit } => {
                let caller = self.in_module::<perm::CoresView>(tenant).await?;
                let filter = CoreFilter { status, q: None };
                let cores = listed(limit, async |page| self.app.cores(&caller, &filter, &page).await).await?;
                return Ok(Answer::list(cores, view::CORE, |core| view::core(&core)));
            }
            CoreTask::Import { file, name, runtime_mode, concurrency_mode, entity_key_field } => {
                let settings = |name: String| NewCore {
                    runtime_mode,
                    concurrency_mode,
                    entity_key_field,
                    ..NewCore::named(name)
                };
                return self.import(tenant, &file, name, settings).await;
            }
            CoreTask::Export { id, output } => return self.export(tenant, &id, output.as_deref()).await,
            CoreTask::Start { id } => (id, Action::Start, false),
            CoreTask::Stop { id, force } => (id, Action::Stop, force),
        };
        let caller = self.in_module::<perm::CoresManage>(tenant).await?;
        let core = self.core_id(tenant, &id).await?;
        let moved = self.app.move_core(&caller, &self.request, core, action, force).await;
        let moved = moved.map_err(refusal::naming(&id))?;
        Ok(Answer::one(view::core(&moved.core), view::CORE))
    }

    /// The Core of an id or a slug, in a tenant.
    async fn core_id(&self, tenant: Option<&str>, text: &str) -> anyhow::Result<CoreId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let caller = self.in_tenant::<perm::CoresView>(tenant).await?;
        let filter = CoreFilter { status: None, q: Some(text.to_owned()) };
        let core = found(
            |core: &Core| core.slug.as_str() == text,
            async |page| self.app.cores(&caller, &filter, &page).await,
        );
        Ok(core.await?.ok_or_else(|| refusal::missing(Resource::Core, text))?.id)
    }

    async fn import(
        &self,
        tenant: Option<&str>,
        file: &Path,
        name: Option<Name>,
        settings: impl FnOnce(String) -> NewCore,
    ) -> anyhow::Result<Answer> {
        let caller = self.in_module::<perm::CoresManage>(tenant).await?;
        let bytes = read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let source = self.app.unpack_bundle(&caller, bytes).await?;
        let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = || source["name"].as_str().map(str::to_owned);
        let name = name.map(Name::into_string).or_else(named).unwrap_or_else(stem);
        let new = NewCore { source, ..settings(name) };
        let hosted = self.app.create_core(&caller, &self.request, new).await?;
        let item = view::imported(&hosted.core, &hosted.diagnostics);
        let findings = item["diagnostics"].as_array().map(|all| all.iter().map(refusal::finding).collect());
        let findings: Vec<String> = findings.unwrap_or_default();
        Ok(Answer::one(item, view::CORE).with_remarks(findings))
    }

    async fn export(&self, tenant: Option<&str>, id: &str, output: Option<&Path>) -> anyhow::Result<Answer> {
        let caller = self.in_module::<perm::CoresView>(tenant).await?;
        let core_id = self.core_id(tenant, id).await?;
        let core = self.app.core(&caller, core_id).await.map_err(refusal::naming(id))?.core;
        anyhow::ensure!(!core.source.is_empty(), "The Core has no program");
        let program = &core.source.program;
        let Some(output) = output else {
            if self.json {
                return Ok(Answer::one((**program).clone(), &[]));
            }
            let mut out = io::stdout().lock();
            if out.is_terminal() {
                let reason = "a bundle is not text: name a file with --output, or take --json";
                return Err(Unusable(format!("command line: {reason}")).into());
            }
            out.write_all(&bundle::encode_compressed(program))?;
            out.flush()?;
            return Ok(Answer::written());
        };
        let bytes = bundle::encode_compressed(program);
        fs::write(output, &bytes).with_context(|| format!("{} cannot be written", output.display()))?;
        let written = json!({
            "id": core_id.to_string(),
            "source_version": core.source.version,
            "file": output.to_string_lossy(),
            "bytes": bytes.len(),
        });
        Ok(Answer::one(written, &["id", "source_version", "file", "bytes"]))
    }

    pub(super) async fn checkpoints(
        &self,
        tenant: Option<&str>,
        task: CheckpointTask,
    ) -> anyhow::Result<Answer> {
        match task {
            CheckpointTask::List { status, mine, limit } => {
                let caller = self.in_module::<perm::CoresView>(tenant).await?;
                let filter = CheckpointFilter { status: Some(status), ..CheckpointFilter::default() };
                let read = async |page| {
                    if mine {
                        self.app.inbox(&caller, filter.clone(), &page).await
                    } else {
                        self.app.all_checkpoints(&caller, filter.clone(), &page).await
                    }
                };
                let checkpoints = listed(limit, read).await?;
                Ok(Answer::list(checkpoints, view::CHECKPOINT, |stored| view::checkpoint(&stored)))
            }
            CheckpointTask::Resolve { id, decision, data, comment } => {
                let caller = self.in_module::<perm::CheckpointsResolve>(tenant).await?;
                let decision = Decision { decision, response_data: data, comment };
                let resolving = self.app.resolve_checkpoint(&caller, &self.request, id, decision, None);
                let decided = Box::pin(resolving).await.map_err(refusal::naming(id))?;
                Ok(Answer::one(view::decided(&decided), view::DECIDED))
            }
        }
    }
}

/// A file, up to a byte more than a bundle may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bundle::MAX_RECEIVED).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
