//! A tenant's groups, custom roles and webhooks.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use scaigrid_app::Resource;
use scaigrid_app::custom_roles::{CustomRoleEdits, NewCustomRole};
use scaigrid_app::groups::{Counted, NewGroup};
use scaigrid_app::webhooks::NewWebhook;
use scaigrid_scope::{Authorized, GroupId, perm};
use scaigrid_webhooks::{Retries, Secret, Subscriptions, WebhookChanges, WebhookStatus};
use serde_json::{Value, json};

use super::answer::{Answer, Columns};
use super::{Desk, found, listed, refusal, view};
use crate::files::Unusable;
use crate::settings::{GroupTask, RoleTask, WebhookTask};

/// The most bytes of a file with a secret.
const MAX_SECRET_FILE: u64 = 64 * 1024;
const DELETED: Columns = &["id", "deleted"];

fn deleted(id: &impl ToString) -> Answer {
    Answer::one(json!({"id": id.to_string(), "deleted": true}), DELETED)
}

/// A secret out of a file, or out of standard input, where the name is `-`. The line break at its end is not part of it.
pub(super) fn secret_of(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_SECRET_FILE).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_SECRET_FILE).read_to_string(&mut text))
    };
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Desk {
    /// The group of an id or a slug, in the tenant that the caller acts in.
    async fn group_id(&self, caller: &Authorized<perm::UsersManage>, text: &str) -> anyhow::Result<GroupId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let group = found(
            |counted: &Counted| counted.group.slug.as_str() == text,
            async |page| self.app.groups(caller, &page).await,
        );
        Ok(group.await?.ok_or_else(|| refusal::missing(Resource::Group, text))?.group.id)
    }

    pub(super) async fn groups(&self, tenant: Option<&str>, task: GroupTask) -> anyhow::Result<Answer> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let (group, user, member) = match task {
            GroupTask::Create { name, slug, members } => {
                let mut ids = Vec::new();
                for member in &members {
                    ids.push(self.user_id(&caller, member).await?);
                }
                let new = NewGroup { name, slug, members: ids };
                let group = self.app.create_group(&caller, &self.request, new).await?;
                return Ok(Answer::one(view::peopled_group(&group), view::MEMBERS));
            }
            GroupTask::List { limit } => {
                let groups = listed(limit, async |page| self.app.groups(&caller, &page).await).await?;
                return Ok(Answer::list(groups, view::GROUP, |counted| view::counted_group(&counted)));
            }
            GroupTask::Show { group } => {
                let id = self.group_id(&caller, &group).await?;
                let group = self.app.group(&caller, id).await.map_err(refusal::naming(&group))?;
                return Ok(Answer::one(view::peopled_group(&group), view::MEMBERS));
            }
            GroupTask::Delete { group } => {
                let id = self.group_id(&caller, &group).await?;
                let gone = self.app.delete_group(&caller, &self.request, id, None).await;
                gone.map_err(refusal::naming(&group))?;
                return Ok(deleted(&id));
            }
            GroupTask::Add { group, user } => (group, user, true),
            GroupTask::Remove { group, user } => (group, user, false),
        };
        let id = self.group_id(&caller, &group).await?;
        let user = self.user_id(&caller, &user).await?;
        let group = self.app.set_membership(&caller, &self.request, id, None, (user, member)).await?;
        Ok(Answer::one(view::peopled_group(&group), view::MEMBERS))
    }

    pub(super) async fn roles(&self, tenant: Option<&str>, task: RoleTask) -> anyhow::Result<Answer> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        let role = match task {
            RoleTask::Create { name, slug, description, permissions } => {
                let permissions = permissions.into_iter().collect();
                let new = NewCustomRole { name, slug, description, permissions };
                self.app.create_custom_role(&caller, &self.request, new).await?
            }
            RoleTask::List { limit } => {
                let roles = listed(limit, async |page| self.app.custom_roles(&caller, &page).await).await?;
                return Ok(Answer::list(roles, view::ROLE, |role| view::custom_role(&role)));
            }
            RoleTask::Show { role } => {
                let id = self.role_id(&caller, &role).await?;
                self.app.custom_role(&caller, id).await.map_err(refusal::naming(&role))?
            }
            RoleTask::Change { role, permissions } => {
                let id = self.role_id(&caller, &role).await?;
                let wanted: scaigrid_scope::Permissions = permissions.into_iter().collect();
                let (core, modules) = wanted.split();
                let edits = CustomRoleEdits {
                    core: Some(core),
                    modules: Some(modules),
                    ..CustomRoleEdits::default()
                };
                let kept = self.app.update_custom_role(&caller, &self.request, id, None, edits).await;
                kept.map_err(refusal::naming(&role))?
            }
            RoleTask::Delete { role } => {
                let id = self.role_id(&caller, &role).await?;
                let gone = self.app.delete_custom_role(&caller, &self.request, id, None).await;
                gone.map_err(refusal::naming(&role))?;
                return Ok(deleted(&id));
            }
        };
        Ok(Answer::one(view::custom_role(&role), view::ROLE))
    }

    pub(super) async fn webhooks(&self, tenant: Option<&str>, task: WebhookTask) -> anyhow::Result<Answer> {
        let caller = self.in_tenant::<perm::WebhooksManage>(tenant).await?;
        let webhook = match task {
            WebhookTask::Create { url, events, secret_file } => {
                let events = Subscriptions::new(events)
                    .ok_or_else(|| Unusable("command line: --event: names too many events".to_owned()))?;
                let secret = match secret_file {
                    Some(path) => {
                        let secret = Secret::parse(&secret_of(&path)?);
                        Some(secret.map_err(|rule| Unusable(format!("{}: {rule}", path.display())))?)
                    }
                    None => None,
                };
                let given = secret.is_some();
                let new = NewWebhook {
                    url,
                    events,
                    secret,
                    status: WebhookStatus::Active,
                    max_retries: Retries::default(),
                };
                let created = self.app.create_webhook(&caller, &self.request, new).await?;
                let mut item = view::webhook(&created.webhook);
                item["secret"] = if given { Value::Null } else { created.secret.reveal().into() };
                let remarks = if given {
                    Vec::new()
                } else {
                    let secret = created.secret.reveal().to_owned();
                    vec![String::new(), secret, "Keep the secret: it is shown this once.".to_owned()]
                };
                return Ok(Answer::one(item, view::WEBHOOK).with_remarks(remarks));
            }
            WebhookTask::List { limit } => {
                let webhooks = listed(limit, async |page| self.app.webhooks(&caller, &page).await).await?;
                return Ok(Answer::list(webhooks, view::WEBHOOK, |webhook| view::webhook(&webhook)));
            }
            WebhookTask::Show { id } => self.app.webhook(&caller, id).await.map_err(refusal::naming(id))?,
            WebhookTask::Status { id, status } => {
                let changes = WebhookChanges { status: Some(status), ..WebhookChanges::default() };
                let kept = self.app.update_webhook(&caller, &self.request, id, None, (changes, None)).await;
                kept.map_err(refusal::naming(id))?
            }
            WebhookTask::Delete { id } => {
                let gone = self.app.delete_webhook(&caller, &self.request, id, None).await;
                gone.map_err(refusal::naming(id))?;
                return Ok(deleted(&id));
            }
        };
        Ok(Answer::one(view::webhook(&webhook), view::WEBHOOK))
    }
}
