//! Partners, tenants, users and their keys.

use scaigrid_app::api_keys::NewApiKey;
use scaigrid_app::partners::{NewPartner, PartnerFilter};
use scaigrid_app::rights::RoleChanges;
use scaigrid_app::tenants::{NewTenant, TenantFilter};
use scaigrid_app::users::{Account, NewUser, UserFilter};
use scaigrid_app::{Error, Page, PageRequest, Resource};
use scaigrid_scope::{
    ApiKey, Authorized, AuthorizedAtLevel, CustomRole, CustomRoleId, Features, Name, PartnerChanges,
    PartnerId, PartnerLimits, PartnerStatus, Slug, TenantChanges, TenantId, TenantLimits, TenantStatus,
    UserChanges, UserId, UserStatus, perm,
};
use serde_json::json;

use super::answer::Answer;
use super::{Desk, found, listed, refusal, view};
use crate::settings::{KeyTask, PartnerTask, TenantTask, UserTask};

impl Desk {
    pub(super) async fn partners(&self, task: PartnerTask) -> anyhow::Result<Answer> {
        let caller = self.at_level::<perm::AdminAccess>(None, None).await?;
        match task {
            PartnerTask::Create { slug, name, contact_email } => {
                let name = named(name, &slug)?;
                let (status, limits) = (PartnerStatus::Active, PartnerLimits::default());
                let new = NewPartner { slug, name, contact_email, status, limits };
                let partner = self.app.create_partner(&caller, &self.request, new).await?;
                Ok(Answer::one(view::partner(&partner), view::PARTNER))
            }
            PartnerTask::List { limit } => {
                let filter = PartnerFilter::default();
                let partners =
                    listed(limit, async |page| self.app.partners(&caller, &filter, &page).await).await?;
                Ok(Answer::list(partners, view::PARTNER, |partner| view::partner(&partner)))
            }
            PartnerTask::Show { name } => {
                let id = self.partner_id(&caller, &name).await?;
                let partner = self.app.partner(&caller, id).await.map_err(refusal::naming(&name))?;
                Ok(Answer::one(view::partner(&partner), view::PARTNER))
            }
            PartnerTask::Suspend { name } => {
                self.set_partner_status(&caller, &name, PartnerStatus::Suspended).await
            }
            PartnerTask::Resume { name } => {
                self.set_partner_status(&caller, &name, PartnerStatus::Active).await
            }
        }
    }

    async fn set_partner_status(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        partner: &str,
        status: PartnerStatus,
    ) -> anyhow::Result<Answer> {
        let id = self.partner_id(caller, partner).await?;
        let changes = PartnerChanges { status: Some(status), ..PartnerChanges::default() };
        let kept = self.app.update_partner(caller, &self.request, id, None, changes).await;
        let partner = kept.map_err(refusal::naming(partner))?;
        Ok(Answer::one(view::partner(&partner), view::PARTNER))
    }

    pub(super) async fn tenants(&self, task: TenantTask) -> anyhow::Result<Answer> {
        let caller = self.at_level::<perm::AdminAccess>(None, None).await?;
        match task {
            TenantTask::Create { slug, name, partner } => {
                let partner_id = match partner {
                    Some(partner) => Some(self.partner_id(&caller, &partner).await?),
                    None => None,
                };
                let new = NewTenant {
                    name: named(name, &slug)?,
                    slug,
                    partner_id,
                    scaikey_tenant_id: None,
                    limits: TenantLimits::default(),
                    features: Features::default(),
                };
                let tenant = self.app.create_tenant(&caller, &self.request, new).await?;
                Ok(Answer::one(view::tenant(&tenant), view::TENANT))
            }
            TenantTask::List { limit } => {
                let filter = TenantFilter::default();
                let tenants =
                    listed(limit, async |page| self.app.tenants(&caller, &filter, &page).await).await?;
                Ok(Answer::list(tenants, view::TENANT, |tenant| view::tenant(&tenant)))
            }
            TenantTask::Show { name } => {
                let id = self.tenant_id(&caller, &name).await?;
                let tenant = self.app.tenant(&caller, id).await.map_err(refusal::naming(&name))?;
                Ok(Answer::one(view::tenant(&tenant), view::TENANT))
            }
            TenantTask::Suspend { name } => self.set_status(&caller, &name, TenantStatus::Suspended).await,
            TenantTask::Resume { name } => self.set_status(&caller, &name, TenantStatus::Active).await,
        }
    }

    async fn set_status(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        tenant: &str,
        status: TenantStatus,
    ) -> anyhow::Result<Answer> {
        let id = self.tenant_id(caller, tenant).await?;
        let changes = TenantChanges { status: Some(status), ..TenantChanges::default() };
        let kept = self.app.update_tenant(caller, &self.request, id, None, changes).await;
        let tenant = kept.map_err(refusal::naming(tenant))?;
        Ok(Answer::one(view::tenant(&tenant), view::TENANT))
    }

    /// The partner of an id or a slug, among those that the caller sees.
    async fn partner_id(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        text: &str,
    ) -> anyhow::Result<PartnerId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let filter = PartnerFilter::default();
        let partner = found(
            |partner: &scaigrid_scope::Partner| partner.slug.as_str() == text,
            async |page| self.app.partners(caller, &filter, &page).await,
        );
        Ok(partner.await?.ok_or_else(|| refusal::missing(Resource::Partner, text))?.id)
    }

    /// The tenant of an id or a slug, among those that the caller sees.
    async fn tenant_id(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        text: &str,
    ) -> anyhow::Result<TenantId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let filter = TenantFilter::default();
        let tenant = found(
            |tenant: &scaigrid_scope::Tenant| tenant.slug.as_str() == text,
            async |page| self.app.tenants(caller, &filter, &page).await,
        );
        Ok(tenant.await?.ok_or_else(|| refusal::missing(Resource::Tenant, text))?.id)
    }

    pub(super) async fn users(&self, tenant: Option<&str>, task: UserTask) -> anyhow::Result<Answer> {
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        match task {
            UserTask::Create { email, display_name, roles, kind } => {
                let roles = roles.into_iter().collect();
                let custom_roles = Vec::new();
                let new = NewUser { email, display_name, kind, roles, custom_roles };
                let user = self.app.create_user(&caller, &self.request, new).await?;
                Ok(Answer::one(view::user(&user), view::USER))
            }
            UserTask::List { limit } => {
                let filter = UserFilter::default();
                let users = listed(limit, async |page| self.app.users(&caller, &filter, &page).await).await?;
                Ok(Answer::list(users, view::USER, |user| view::user(&user)))
            }
            UserTask::Show { user } => {
                let id = self.user_id(&caller, &user).await?;
                let found = self.app.user(caller.principal(), id).await;
                let user = found.map_err(refusal::naming(&user))?;
                Ok(Answer::one(view::user(&user), view::USER))
            }
            UserTask::Role { user, roles, custom_roles } => {
                let id = self.user_id(&caller, &user).await?;
                let mut held = Vec::new();
                for role in &custom_roles {
                    held.push(self.role_id(&caller, role).await?);
                }
                let changes = RoleChanges {
                    roles: (!roles.is_empty()).then(|| roles.into_iter().collect()),
                    custom_roles: (!held.is_empty()).then_some(held),
                };
                let user = self.app.set_user_roles(&caller, &self.request, id, None, changes).await?;
                Ok(Answer::one(view::user(&user), view::USER))
            }
            UserTask::Suspend { user } => self.set_user_status(&caller, &user, UserStatus::Suspended).await,
            UserTask::Resume { user } => self.set_user_status(&caller, &user, UserStatus::Active).await,
        }
    }

    async fn set_user_status(
        &self,
        caller: &Authorized<perm::UsersManage>,
        user: &str,
        status: UserStatus,
    ) -> anyhow::Result<Answer> {
        let id = self.user_id(caller, user).await?;
        let changes = UserChanges { status: Some(status), ..UserChanges::default() };
        let kept = self.app.update_user(caller, &self.request, id, None, changes).await;
        let user = kept.map_err(refusal::naming(user))?;
        Ok(Answer::one(view::user(&user), view::USER))
    }

    /// The user of an id or a mail address, in the tenant that the caller acts in.
    pub(super) async fn user_id(
        &self,
        caller: &Authorized<perm::UsersManage>,
        text: &str,
    ) -> anyhow::Result<UserId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let filter = UserFilter::default();
        let user = found(
            |account: &Account| account.user.email.as_str().eq_ignore_ascii_case(text),
            async |page| self.app.users(caller, &filter, &page).await,
        );
        Ok(user.await?.ok_or_else(|| refusal::missing(Resource::User, text))?.user.id)
    }

    /// The custom role of an id or a slug, in the tenant that the caller acts in.
    pub(super) async fn role_id(
        &self,
        caller: &Authorized<perm::UsersManage>,
        text: &str,
    ) -> anyhow::Result<CustomRoleId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let role = found(
            |role: &CustomRole| role.slug.as_str() == text,
            async |page| self.app.custom_roles(caller, &page).await,
        );
        Ok(role.await?.ok_or_else(|| refusal::missing(Resource::CustomRole, text))?.id)
    }

    pub(super) async fn keys(&self, tenant: Option<&str>, task: KeyTask) -> anyhow::Result<Answer> {
        let caller = self.in_tenant::<perm::ApiKeysManage>(tenant).await?;
        match task {
            KeyTask::Create { name, user, expires_at, scopes } => {
                let assigned_user_id = match user {
                    Some(user) => Some(self.key_holder(tenant, &user).await?),
                    None => None,
                };
                let scopes = (!scopes.is_empty()).then_some(scopes);
                let new = NewApiKey { name, expires_at, scopes, assigned_user_id };
                let created = self.app.create_api_key(&caller, &self.request, new).await?;
                // Not in the table: a key must be easy to copy whole.
                let key = created.plaintext.reveal().to_owned();
                let remarks = [String::new(), key, "Keep the key: it is shown this once.".to_owned()];
                Ok(Answer::one(view::created_key(&created), view::KEY).with_remarks(remarks))
            }
            KeyTask::List { user, limit } => {
                let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
                let user = match user {
                    Some(user) => Some(self.user_id(&caller, &user).await?),
                    None => None,
                };
                let read = async |page: PageRequest| -> Result<Page<ApiKey>, Error> {
                    self.app.tenant_api_keys(&caller, user, &page).await
                };
                let keys = listed(limit, read).await?;
                Ok(Answer::list(keys, view::KEYS, |key| view::key(&key)))
            }
            KeyTask::Revoke { id } => {
                let gone = self.app.revoke_api_key(&caller, &self.request, id).await;
                gone.map_err(refusal::naming(id))?;
                Ok(Answer::one(json!({"id": id.to_string(), "revoked": true}), &["id", "revoked"]))
            }
        }
    }
}

impl Desk {
    /// Whom a key is made for: an id is taken as it is, since looking for an address takes another permission.
    async fn key_holder(&self, tenant: Option<&str>, text: &str) -> anyhow::Result<UserId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let caller = self.in_tenant::<perm::UsersManage>(tenant).await?;
        self.user_id(&caller, text).await
    }
}

/// A name for people; the slug where none is given.
fn named(name: Option<Name>, slug: &Slug) -> anyhow::Result<Name> {
    match name {
        Some(name) => Ok(name),
        None => Ok(Name::parse(slug.as_str())?),
    }
}
