//! The first start on an empty database: a partner, a tenant, and someone who may do everything.
//!
//! What is done once is settled by a fact in the database, so that of several nodes which start at the same time one does
//! it. The fingerprint of the master key is settled with it: a node that has another key would write what the others
//! cannot read.

use std::io;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, diff};
use scaigrid_persistence::{
    self as persistence, Transaction, api_keys, audit, data_keys, partners, platform_facts, tenants, users,
};
use scaigrid_scope::{
    ApiKey, ApiKeyId, Email, Features, InvalidName, Name, Partner, PartnerId, PartnerLimits, PartnerStatus,
    PlaintextKey, Role, Roles, Slug, Tenant, TenantId, TenantLimits, TenantStatus, User, UserId, UserKind,
    UserStatus,
};
use serde_json::Value;

use crate::App;

/// The slug of the partner that the first start makes.
pub const FIRST_PARTNER: &str = "internal";
/// The slug of the tenant that the first start makes.
pub const FIRST_TENANT: &str = "default";
/// The address of the user that the first start makes.
pub const FIRST_USER: &str = "admin@scaigrid.local";

/// The fact that names the node which made the first partner, tenant and user.
pub(crate) const SET_UP_BY: &str = "set_up_by";
/// The fact that names the master key under which secrets were first sealed.
pub(crate) const MASTER_KEY: &str = "master_key";

/// Why a node cannot start on this database.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database.
    #[error(transparent)]
    Database(#[from] persistence::Error),
    /// The master key is not the one that the secrets in the database are sealed under.
    #[error(
        "this database was set up with the master key {stored}, but this node has {own}; give it that key too"
    )]
    OtherMasterKey {
        /// The fingerprint that the database names.
        stored: String,
        /// The fingerprints of this node's keys.
        own: String,
    },
    /// The first keys could not be kept for the operator.
    #[error("the first keys cannot be written: {0}")]
    NotKept(#[from] io::Error),
    /// A name that this program itself gives is none.
    #[error("a built-in name is not valid: {0}")]
    Name(#[from] InvalidName),
}

impl App {
    /// Sets the platform up if nobody has, and gives the first super admin's key in that case. On a database that is set up
    /// already this only compares the master key.
    ///
    /// `given` is the key that the operator has chosen; without one, one is made. `keep` writes it down for the
    /// operator, and whatever else was made for this start, before anything is durable: a process that dies in between leaves a file with a key that opens nothing,
    /// which the next start replaces, and never a platform that nobody has the key to.
    ///
    /// # Errors
    /// [`BootstrapError::OtherMasterKey`], [`BootstrapError::NotKept`], or the database's.
    pub async fn bootstrap(
        &self,
        given: Option<PlaintextKey>,
        keep: impl FnOnce(&PlaintextKey) -> io::Result<()>,
    ) -> Result<Option<PlaintextKey>, BootstrapError> {
        let mut connection = self.0.database.read().await?;
        let stored = platform_facts::lookup(&mut connection, MASTER_KEY).await?;
        let set_up = platform_facts::lookup(&mut connection, SET_UP_BY).await?.is_some();
        // Also those that a node has used which has the keys in another order.
        for wrapping in data_keys::master_keys(&mut connection, &self.0.system).await? {
            self.check_master_key(&wrapping)?;
        }
        drop(connection);
        if let Some(stored) = stored {
            self.check_master_key(&stored)?;
            if set_up {
                self.make_echo().await?;
                return Ok(None);
            }
        }

        let key = given.unwrap_or_else(|| PlaintextKey::generate(&rand::random()));
        let mut tx = self.0.database.begin().await?;
        let sealing = self.0.vault.key_ids().next().unwrap_or_default();
        let stored = platform_facts::put_if_absent(&mut tx, MASTER_KEY, sealing).await?;
        self.check_master_key(&stored)?;
        let node = self.0.engine.node().to_string();
        let first = platform_facts::put_if_absent(&mut tx, SET_UP_BY, &node).await? == node;
        if first {
            self.add_first(&mut tx, &key).await?;
            keep(&key)?;
        }
        tx.commit().await?;
        self.people_changed();
        self.make_echo().await?;
        Ok(first.then_some(key))
    }

    /// Whether a first start has been.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn is_set_up(&self) -> Result<bool, BootstrapError> {
        let mut connection = self.0.database.read().await?;
        Ok(platform_facts::lookup(&mut connection, SET_UP_BY).await?.is_some())
    }

    fn check_master_key(&self, stored: &str) -> Result<(), BootstrapError> {
        if self.0.vault.key_ids().any(|own| own == stored) {
            return Ok(());
        }
        let own = self.0.vault.key_ids().collect::<Vec<_>>().join(", ");
        Err(BootstrapError::OtherMasterKey { stored: stored.to_owned(), own })
    }

    async fn add_first(&self, tx: &mut Transaction, key: &PlaintextKey) -> Result<(), BootstrapError> {
        let (now, ids, system) = (self.now(), &self.0.ids, &self.0.system);
        let partner = Partner {
            id: PartnerId::from_ulid(ids.draw(now)),
            slug: Slug::parse(FIRST_PARTNER)?,
            name: Name::parse("Internal")?,
            contact_email: None,
            status: PartnerStatus::Active,
            limits: PartnerLimits::default(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let tenant = Tenant {
            id: TenantId::from_ulid(ids.draw(now)),
            partner_id: partner.id,
            slug: Slug::parse(FIRST_TENANT)?,
            name: Name::parse("Default")?,
            status: TenantStatus::Active,
            scaikey_tenant_id: None,
            limits: TenantLimits::default(),
            features: Features::default(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let user = User {
            id: UserId::from_ulid(ids.draw(now)),
            tenant_id: tenant.id,
            email: Email::parse(FIRST_USER)?,
            display_name: Some(Name::parse("Administrator")?),
            kind: UserKind::Human,
            status: UserStatus::Active,
            roles: Roles::NONE.with(Role::SuperAdmin),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let api_key = ApiKey {
            id: ApiKeyId::from_ulid(ids.draw(now)),
            tenant_id: tenant.id,
            user_id: user.id,
            name: Name::parse("first start")?,
            prefix: key.prefix().to_owned(),
            scopes: None,
            expires_at: None,
            revoked_at: None,
            created_at: now,
            created_by: Some(user.id),
        };
        let scope = system.tenant(tenant.id);
        partners::add(tx, system.platform(), &partner).await?;
        tenants::add(tx, system.partner(partner.id), &tenant).await?;
        users::add(tx, scope, &user).await?;
        api_keys::add(tx, scope, &api_key, &key.hash()).await?;

        let made = [
            (AuditAction::PartnerCreate, partner.id.to_string(), crate::partners::state(&partner)),
            (AuditAction::TenantCreate, tenant.id.to_string(), crate::tenants::state(&tenant)),
            (AuditAction::UserCreate, user.id.to_string(), crate::users::state(&user)),
            (AuditAction::ApiKeyCreate, api_key.id.to_string(), crate::api_keys::state(&api_key)),
        ];
        for (action, id, state) in made {
            let changes = diff(&Value::Null, &state, &[]);
            let place = (tenant.id, Some(partner.id));
            let record = AuditRecord::by_the_system(self.audit_stamp(now), place, action, id, changes);
            audit::add(tx, &record).await?;
        }
        Ok(())
    }
}
