//! Values to store.

use scaigrid_persistence::{partners, tenants, users};
use scaigrid_scope::{
    ApiKey, ApiKeyId, Email, Features, Instant, LevelScope, Name, NodeId, Partner, PartnerId, PartnerLimits,
    PartnerScope, PartnerStatus, PlaintextKey, Role, Slug, SystemScope, Tenant, TenantId, TenantLimits,
    TenantScope, TenantStatus, User, UserId, UserKind, UserStatus,
};
use ulid::Ulid;

use crate::home::Home;

pub(crate) const SYSTEM: SystemScope = SystemScope::for_the_process();

/// An instant, so many seconds into a day of 2026.
pub(crate) fn at(seconds: i64) -> Instant {
    Instant::from_micros(1_780_000_000_000_001 + seconds * 1_000_000)
}

pub(crate) fn ulid(number: u128) -> Ulid {
    Ulid((1 << 100) + number)
}

pub(crate) fn partner_id(number: u128) -> PartnerId {
    PartnerId::from_ulid(ulid(number))
}

pub(crate) fn tenant_id(number: u128) -> TenantId {
    TenantId::from_ulid(ulid(number))
}

pub(crate) fn user_id(number: u128) -> UserId {
    UserId::from_ulid(ulid(number))
}

pub(crate) fn node_id(number: u128) -> NodeId {
    NodeId::from_ulid(ulid(number))
}

pub(crate) fn platform() -> LevelScope {
    LevelScope::Platform(SYSTEM.platform())
}

pub(crate) fn of_partner(number: u128) -> PartnerScope {
    SYSTEM.partner(partner_id(number))
}

pub(crate) fn of_tenant(number: u128) -> TenantScope {
    SYSTEM.tenant(tenant_id(number))
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

pub(crate) fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

pub(crate) fn partner(number: u128) -> Partner {
    Partner {
        id: partner_id(number),
        slug: slug(&format!("partner-{number}")),
        name: name(&format!("Partner {number}")),
        contact_email: Some(email("desk@partner.example")),
        status: PartnerStatus::Active,
        limits: PartnerLimits { max_tenants: Some(3), max_users_per_tenant: None },
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(crate) fn tenant(number: u128, partner: u128) -> Tenant {
    Tenant {
        id: tenant_id(number),
        partner_id: partner_id(partner),
        slug: slug(&format!("tenant-{number}")),
        name: name(&format!("Tenant {number}")),
        status: TenantStatus::Active,
        scaikey_tenant_id: None,
        limits: TenantLimits::default(),
        features: Features::default(),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(crate) fn user(number: u128, tenant: u128) -> User {
    User {
        id: user_id(number),
        tenant_id: tenant_id(tenant),
        email: email(&format!("user-{number}@tenant.example")),
        display_name: None,
        kind: UserKind::Human,
        status: UserStatus::Active,
        roles: [Role::TenantUser].into_iter().collect(),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A key and its digest.
pub(crate) fn api_key(number: u8, user: u128, tenant: u128) -> (ApiKey, [u8; 32]) {
    let plaintext = PlaintextKey::generate(&[number; 32]);
    let key = ApiKey {
        id: ApiKeyId::from_ulid(ulid(number.into())),
        tenant_id: tenant_id(tenant),
        user_id: user_id(user),
        name: name(&format!("key {number}")),
        prefix: plaintext.prefix().to_owned(),
        scopes: None,
        expires_at: None,
        revoked_at: None,
        created_at: at(0),
        created_by: Some(user_id(user)),
    };
    (key, plaintext.hash())
}

/// Partners 1 and 2, each with one tenant of its number, each with one user of its number.
pub(crate) async fn settle_two(home: &Home) {
    let mut tx = home.begin().await;
    for number in [1, 2] {
        partners::add(&mut tx, SYSTEM.platform(), &partner(number)).await.unwrap();
        tenants::add(&mut tx, of_partner(number), &tenant(number, number)).await.unwrap();
        users::add(&mut tx, of_tenant(number), &user(number, number)).await.unwrap();
    }
    tx.commit().await.unwrap();
}
