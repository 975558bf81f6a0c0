//! Partners, tenants, users and keys.

use scaigrid_app::partners::{NewPartner, PartnerFilter};
use scaigrid_app::rights::RoleChanges;
use scaigrid_app::users::{NewUser, UserFilter};
use scaigrid_app::{Error, Resource};
use scaigrid_scope::{
    Email, Name, PartnerChanges, PartnerLimits, PartnerStatus, Permission, Role, Slug, TenantChanges,
    TenantLimits, TenantStatus, UserKind,
};

use crate::house::{FULL, House, house, key, nobody};

fn built_in(roles: &[Role]) -> RoleChanges {
    RoleChanges { roles: Some(roles.iter().copied().collect()), custom_roles: None }
}

async fn acme() -> House {
    let house = house().await;
    house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    house
}

#[tokio::test]
async fn a_key_counts_until_it_is_taken_back_or_expires() {
    let house = acme().await;
    let (_, admin) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let ada = house.caller(&admin, None).await.unwrap();
    let token = ada.authorize().unwrap();

    let expires_at = Some(house.app.now().plus(std::time::Duration::from_mins(1)));
    let brief = scaigrid_app::api_keys::NewApiKey { expires_at, ..key("brief") };
    let brief = house.app.create_api_key(&token, &nobody(), brief).await.unwrap();
    assert!(house.caller(brief.plaintext.reveal(), None).await.is_ok());
    house.pass(60);
    let expired = house.caller(brief.plaintext.reveal(), None).await;
    assert!(matches!(expired, Err(Error::TokenExpired)), "{expired:?}");

    let made = house.app.create_api_key(&token, &nobody(), key("other")).await.unwrap();
    assert!(house.caller(made.plaintext.reveal(), None).await.is_ok());
    house.app.revoke_api_key(&token, &nobody(), made.key.id).await.unwrap();
    assert!(matches!(house.caller(made.plaintext.reveal(), None).await, Err(Error::TokenInvalid)));
    let again = house.app.revoke_api_key(&token, &nobody(), made.key.id).await;
    assert!(matches!(again, Err(Error::NotFound(Resource::ApiKey))));
    let kept = house.app.api_keys(&token, &FULL).await.unwrap().items;
    assert_eq!(kept.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["brief", "theirs"]);
}

#[tokio::test]
async fn nobody_gives_what_they_lack() {
    let house = acme().await;
    let (ada, admin) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let chief = house.add_user("acme", "chief@acme.example", Role::PartnerAdmin).await.unwrap();
    let caller = house.caller(&admin, None).await.unwrap();
    let roles = |role| built_in(&[role]);
    let token = caller.authorize().unwrap();

    let up = house.app.set_user_roles(&token, &nobody(), ada.id, None, roles(Role::SuperAdmin)).await;
    assert!(matches!(up, Err(Error::PermissionDenied { .. })));
    let down = house.app.set_user_roles(&token, &nobody(), chief.id, None, roles(Role::TenantViewer)).await;
    assert!(matches!(down, Err(Error::PermissionDenied { .. })));
    assert!(matches!(
        house.app.delete_user(&token, &nobody(), chief.id, None).await,
        Err(Error::PermissionDenied { .. })
    ));
    assert!(matches!(house.app.delete_user(&token, &nobody(), ada.id, None).await, Err(Error::Conflict(_))));

    // A key for someone above would lend their reach.
    let keys = caller.authorize().unwrap();
    let theirs = scaigrid_app::api_keys::NewApiKey { assigned_user_id: Some(chief.id), ..key("theirs") };
    let lent = house.app.create_api_key(&keys, &nobody(), theirs).await;
    assert!(matches!(lent, Err(Error::PermissionDenied { .. })));
    let wide = vec![Permission::ModelsManage.into(), Permission::ModelsList.into()];
    let wide = scaigrid_app::api_keys::NewApiKey { scopes: Some(wide), ..key("wide") };
    let Err(Error::Invalid(found)) = house.app.create_api_key(&keys, &nobody(), wide).await else {
        panic!("given")
    };
    assert_eq!(found.iter().map(|found| found.field.as_str()).collect::<Vec<_>>(), ["scopes[0]"]);

    // What is made with a limited key is limited alike.
    let narrow = vec![Permission::ApiKeysManage.into()];
    let narrow = scaigrid_app::api_keys::NewApiKey { scopes: Some(narrow), ..key("narrow") };
    let narrow = house.app.create_api_key(&keys, &nobody(), narrow).await.unwrap();
    let limited = house.caller(narrow.plaintext.reveal(), None).await.unwrap();
    assert!(limited.authorize::<scaigrid_scope::perm::UsersManage>().is_err());
    let child =
        house.app.create_api_key(&limited.authorize().unwrap(), &nobody(), key("child")).await.unwrap();
    assert_eq!(child.key.scopes, Some([Permission::ApiKeysManage].into_iter().collect()));
}

#[tokio::test]
async fn users_come_change_and_go() {
    let house = acme().await;
    let (bob, key) = house.join("acme", "bob@acme.example", Role::TenantUser).await;
    let root = house.caller(&house.root, Some("acme")).await.unwrap();
    let token = root.authorize().unwrap();
    let roles = built_in(&[Role::TenantAdmin]);
    let stale = house.app.set_user_roles(&token, &nobody(), bob.id, Some(&[7]), roles.clone()).await;
    assert!(matches!(stale, Err(Error::PreconditionFailed)));
    let changed =
        house.app.set_user_roles(&token, &nobody(), bob.id, Some(&[1]), roles.clone()).await.unwrap();
    assert_eq!(changed.user.revision, 2);
    assert!(house.caller(&key, None).await.unwrap().administers_tenant());

    // What changes nothing leaves no record.
    let before = house.audit(&root).await;
    assert_eq!(
        house.app.set_user_roles(&token, &nobody(), bob.id, None, roles).await.unwrap().user.revision,
        2
    );
    assert_eq!(house.audit(&root).await, before);
    assert_eq!(before, ["user.role_updated", "api_key.create", "user.create"]);

    let second = house.add_user("acme", "bob@acme.example", Role::TenantUser).await;
    assert!(matches!(second, Err(Error::Taken { field: "email", .. })));
    house.app.delete_user(&token, &nobody(), bob.id, None).await.unwrap();
    assert!(matches!(house.caller(&key, None).await, Err(Error::TokenInvalid)));
    assert!(matches!(house.app.user(&root, bob.id).await, Err(Error::NotFound(Resource::User))));
    assert!(house.app.users(&token, &UserFilter::default(), &FULL).await.unwrap().items.is_empty());
    house.add_user("acme", "bob@acme.example", Role::TenantUser).await.unwrap();
}

#[tokio::test]
async fn limits_hold() {
    let house = house().await;
    let root = house.root().await;
    house.add_tenant("small", TenantLimits { max_users: Some(1), ..TenantLimits::default() }).await.unwrap();
    house.add_user("small", "one@small.example", Role::TenantUser).await.unwrap();
    let full = house.add_user("small", "two@small.example", Role::TenantUser).await;
    assert!(matches!(full, Err(Error::Capacity { limit: 1, .. })));

    let token = root.authorize_at_level().unwrap();
    let internal = root.tenant().partner_id;
    let limits = PartnerLimits { max_tenants: Some(2), max_users_per_tenant: None };
    let changes = PartnerChanges { limits: Some(limits), ..PartnerChanges::default() };
    house.app.update_partner(&token, &nobody(), internal, None, changes).await.unwrap();
    let full = house.add_tenant("third", TenantLimits::default()).await;
    assert!(matches!(full, Err(Error::Capacity { limit: 2, .. })), "{full:?}");
}

#[tokio::test]
async fn a_partner_administers_its_own_and_no_other() {
    let house = house().await;
    let root = house.root().await;
    let token = root.authorize_at_level().unwrap();
    let new = |slug: &str| NewPartner {
        slug: Slug::parse(slug).unwrap(),
        name: Name::parse(slug).unwrap(),
        contact_email: None,
        status: PartnerStatus::Active,
        limits: PartnerLimits::default(),
    };
    let north = house.app.create_partner(&token, &nobody(), new("north")).await.unwrap();
    let second = house.app.create_partner(&token, &nobody(), new("north")).await;
    assert!(matches!(second, Err(Error::SlugConflict { .. })));

    let at_north = house.app.authenticate(&house.root, None, Some("north")).await.unwrap();
    let make = |slug: &str| scaigrid_app::tenants::NewTenant {
        slug: Slug::parse(slug).unwrap(),
        name: Name::parse(slug).unwrap(),
        partner_id: None,
        scaikey_tenant_id: None,
        limits: TenantLimits::default(),
        features: scaigrid_scope::Features::default(),
    };
    let tenant =
        house.app.create_tenant(&at_north.authorize_at_level().unwrap(), &nobody(), make("fjord")).await;
    assert_eq!(tenant.unwrap().partner_id, north.id);

    let (_, key) = house.join("fjord", "nora@north.example", Role::PartnerAdmin).await;
    let nora = house.caller(&key, None).await.unwrap();
    let hers = nora.authorize_at_level().unwrap();
    let seen = house.app.partners(&hers, &PartnerFilter::default(), &FULL).await.unwrap().items;
    assert_eq!(seen.iter().map(|partner| partner.id).collect::<Vec<_>>(), [north.id]);
    let elsewhere = house.app.partner(&hers, root.tenant().partner_id).await;
    assert!(matches!(elsewhere, Err(Error::NotFound(Resource::Partner))));
    assert!(matches!(house.caller(&key, Some("default")).await, Err(Error::NotFound(Resource::Tenant))));
    let foreign =
        scaigrid_app::tenants::NewTenant { partner_id: Some(root.tenant().partner_id), ..make("x") };
    let foreign = house.app.create_tenant(&hers, &nobody(), foreign).await;
    assert!(matches!(foreign, Err(Error::NotFound(Resource::Partner))));

    let reserved = PartnerChanges { status: Some(PartnerStatus::Suspended), ..PartnerChanges::default() };
    let own = house.app.update_partner(&hers, &nobody(), north.id, None, reserved.clone()).await;
    assert!(matches!(own, Err(Error::PermissionDenied { .. })));
    house.app.update_partner(&token, &nobody(), north.id, None, reserved).await.unwrap();
    assert!(matches!(house.caller(&key, None).await, Err(Error::TenantSuspended)));
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_at_once() {
    let house = acme().await;
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let root = house.root().await;
    let acme = house.caller(&key, None).await.unwrap().tenant().id;
    let token = root.authorize_at_level().unwrap();
    let to = |status| TenantChanges { status: Some(status), ..TenantChanges::default() };
    house.app.update_tenant(&token, &nobody(), acme, None, to(TenantStatus::Suspended)).await.unwrap();
    assert!(matches!(house.caller(&key, None).await, Err(Error::TenantSuspended)));
    house.app.update_tenant(&token, &nobody(), acme, None, to(TenantStatus::Active)).await.unwrap();
    assert!(house.caller(&key, None).await.is_ok());
}

#[tokio::test]
async fn a_stranger_sees_nothing_of_another_tenant() {
    let house = acme().await;
    house.add_tenant("beta", TenantLimits::default()).await.unwrap();
    let (ada, _) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let (_, key) = house.join("beta", "bea@beta.example", Role::TenantAdmin).await;
    let bea = house.caller(&key, None).await.unwrap();
    let token = bea.authorize().unwrap();
    assert!(matches!(house.app.user(&bea, ada.id).await, Err(Error::NotFound(Resource::User))));
    assert!(matches!(house.app.delete_user(&token, &nobody(), ada.id, None).await, Err(Error::NotFound(_))));
    assert_eq!(house.audit(&bea).await, ["api_key.create", "user.create"]);
    let king = NewUser {
        email: Email::parse("king@beta.example").unwrap(),
        display_name: None,
        kind: UserKind::Human,
        roles: [Role::SuperAdmin].into_iter().collect(),
        custom_roles: Vec::new(),
    };
    assert!(matches!(
        house.app.create_user(&token, &nobody(), king).await,
        Err(Error::PermissionDenied { .. })
    ));
}
