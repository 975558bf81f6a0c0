//! What users are given, and what keeps them from locking everybody out.

use std::sync::Arc;

use scaigrid_app::api_keys::NewApiKey;
use scaigrid_app::custom_roles::{CustomRoleEdits, NewCustomRole};
use scaigrid_app::groups::NewGroup;
use scaigrid_app::rights::RoleChanges;
use scaigrid_app::users::NewUser;
use scaigrid_app::{Error, Resource};
use scaigrid_scope::{
    CustomRole, Email, Name, Permission, PermissionKey, Permissions, Principal, Role, TenantLimits,
    UserChanges, UserKind, UserStatus,
};

use crate::house::{House, house, nobody};

async fn acme() -> House {
    let house = house().await;
    house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    house
}

fn set(keys: &[&str]) -> Permissions {
    keys.iter().map(|key| key.parse::<PermissionKey>().unwrap()).collect()
}

fn to(status: UserStatus) -> UserChanges {
    UserChanges { status: Some(status), ..UserChanges::default() }
}

fn only(role: Role) -> RoleChanges {
    RoleChanges { roles: Some([role].into_iter().collect()), custom_roles: None }
}

async fn make_role(
    house: &House,
    by: &Arc<Principal>,
    name: &str,
    keys: &[&str],
) -> Result<CustomRole, Error> {
    let name = Name::parse(name).unwrap();
    let new = NewCustomRole { name, slug: None, description: None, permissions: set(keys) };
    house.app.create_custom_role(&by.authorize().unwrap(), &nobody(), new).await
}

fn denied<T: std::fmt::Debug>(result: &Result<T, Error>, missing: &str) {
    let told = matches!(result, Err(Error::PermissionDenied { permission }) if permission == missing);
    assert!(told, "{missing}: {result:?}");
}

fn conflict<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Conflict(_))), "{result:?}");
}

fn out<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::TokenInvalid)), "{result:?}");
}

/// What a caller was let in with is looked at once more when they give or take: whoever has lost it in between cannot give
/// it back to themselves, nor to another.
#[tokio::test]
async fn what_was_lost_since_the_request_came_in_is_not_given() {
    let house = acme().await;
    let (ada, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let caller = house.caller(&key, None).await.unwrap();
    let (people, keys) = (caller.authorize().unwrap(), caller.authorize().unwrap());
    let by_root = house.caller(&house.root, Some("acme")).await.unwrap().authorize().unwrap();
    let app = &house.app;
    app.set_user_roles(&by_root, &nobody(), ada.id, None, only(Role::TenantViewer)).await.unwrap();

    denied(
        &app.set_user_roles(&people, &nobody(), ada.id, None, only(Role::TenantAdmin)).await,
        "users:manage",
    );
    let new = NewUser {
        email: Email::parse("eve@acme.example").unwrap(),
        display_name: None,
        kind: UserKind::Human,
        roles: [Role::TenantAdmin].into_iter().collect(),
        custom_roles: Vec::new(),
    };
    denied(&app.create_user(&people, &nobody(), new.clone()).await, "users:manage");
    denied(&make_role(&house, &caller, "Helpdesk", &["users:manage"]).await, "users:manage");
    let named =
        NewApiKey { name: Name::parse("k").unwrap(), expires_at: None, scopes: None, assigned_user_id: None };
    denied(&app.create_api_key(&keys, &nobody(), named).await, "api_keys:manage");
    app.update_user(&by_root, &nobody(), ada.id, None, to(UserStatus::Suspended)).await.unwrap();
    out(&app.create_user(&people, &nobody(), new).await);
}

/// Whoever made a key for somebody may have kept it.
#[tokio::test]
async fn who_comes_to_govern_loses_the_keys_that_others_made() {
    let house = acme().await;
    let (_, ada) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let bob = house.add_user("acme", "bob@acme.example", Role::TenantAdmin).await.unwrap();
    let ada = house.caller(&ada, None).await.unwrap();
    let root = house.caller(&house.root, Some("acme")).await.unwrap();
    let key = async |by: &Arc<Principal>| {
        let name = Name::parse("k").unwrap();
        let new = NewApiKey { name, expires_at: None, scopes: None, assigned_user_id: Some(bob.id) };
        let made = house.app.create_api_key(&by.authorize().unwrap(), &nobody(), new).await.unwrap();
        made.plaintext.reveal().to_owned()
    };
    let counts = async |key: &str| house.caller(key, None).await.is_ok();
    let give = async |role: Role| {
        let by = root.authorize().unwrap();
        house.app.set_user_roles(&by, &nobody(), bob.id, None, only(role)).await.unwrap();
    };
    let by_ada = key(&ada).await;
    let own = key(&house.caller(&by_ada, None).await.unwrap()).await;
    let by_root = key(&root).await;

    give(Role::TenantViewer).await;
    assert!(counts(&by_ada).await, "a lesser role takes nothing");
    give(Role::TenantAdmin).await;
    let left = (counts(&by_ada).await, counts(&own).await, counts(&by_root).await);
    assert_eq!(left, (false, true, true), "one's own stay, and those of whoever gave the role");
    let second = key(&ada).await;
    give(Role::PartnerAdmin).await;
    assert_eq!((counts(&second).await, counts(&own).await), (false, true), "an admin who reaches farther");
}

#[tokio::test]
async fn direct_grants_are_bounded() {
    let house = acme().await;
    let ada = house.add_user("default", "ada@example.org", Role::TenantUser).await.unwrap();
    let root = house.root().await;
    let token = root.authorize().unwrap();
    let keys = |count: usize| -> Vec<PermissionKey> {
        (0..count).map(|number| format!("scaibot:thing-{number}").parse().unwrap()).collect()
    };
    let app = &house.app;
    let full = keys(CustomRole::MAX_PERMISSIONS);
    let granted = app.set_user_grants(&token, &nobody(), ada.id, None, &full).await.unwrap();
    assert_eq!(granted.permissions.iter().count(), CustomRole::MAX_PERMISSIONS);
    let more = keys(CustomRole::MAX_PERMISSIONS + 1);
    let refused = app.set_user_grants(&token, &nobody(), ada.id, None, &more).await;
    assert!(
        matches!(&refused, Err(Error::Invalid(fields)) if fields[0].field == "permissions"),
        "{refused:?}"
    );
}

/// Two who take each other down at the same time have both been let in before either was done.
#[tokio::test]
async fn the_last_super_admin_stays() {
    let house = acme().await;
    let (second, key) = house.join("acme", "second@acme.example", Role::SuperAdmin).await;
    let (first, second_caller) = (house.root().await, house.caller(&key, Some("default")).await.unwrap());
    let in_acme = house.caller(&house.root, Some("acme")).await.unwrap();
    let mine = first.user_id();
    let (token, theirs) = (in_acme.authorize().unwrap(), second_caller.authorize().unwrap());

    house.app.update_user(&token, &nobody(), second.id, None, to(UserStatus::Suspended)).await.unwrap();
    let app = &house.app;
    out(&app.update_user(&theirs, &nobody(), mine, None, to(UserStatus::Suspended)).await);
    out(&app.delete_user(&theirs, &nobody(), mine, None).await);
    out(&app.set_user_roles(&theirs, &nobody(), mine, None, only(Role::TenantAdmin)).await);
    assert!(matches!(house.caller(&key, None).await, Err(Error::TokenInvalid)));

    // Nor does anyone do it to themselves.
    let own = first.authorize().unwrap();
    conflict(&app.update_user(&own, &nobody(), mine, None, to(UserStatus::Suspended)).await);
    conflict(&app.set_user_roles(&own, &nobody(), mine, None, only(Role::TenantAdmin)).await);
    house.app.update_user(&token, &nobody(), second.id, None, to(UserStatus::Active)).await.unwrap();
    app.set_user_roles(&theirs, &nobody(), mine, None, only(Role::TenantAdmin)).await.unwrap();
    assert!(house.caller(&key, None).await.is_ok());
}

#[tokio::test]
async fn nobody_takes_from_themselves_what_they_would_need_to_get_it_back() {
    let house = acme().await;
    let (ada, key) = house.join("acme", "ada@acme.example", Role::TenantUser).await;
    let root = house.caller(&house.root, Some("acme")).await.unwrap();
    let helpdesk = make_role(&house, &root, "Helpdesk", &["users:manage"]).await.unwrap();
    let given = RoleChanges { roles: None, custom_roles: Some(vec![helpdesk.id]) };
    let by_root = root.authorize().unwrap();
    house.app.set_user_roles(&by_root, &nobody(), ada.id, None, given).await.unwrap();
    let ada_caller = house.caller(&key, None).await.unwrap();
    let token = ada_caller.authorize().unwrap();

    let none = RoleChanges { roles: None, custom_roles: Some(Vec::new()) };
    conflict(&house.app.set_user_roles(&token, &nobody(), ada.id, None, none).await);
    let emptied = CustomRoleEdits { core: Some(Permissions::default()), ..CustomRoleEdits::default() };
    conflict(&house.app.update_custom_role(&token, &nobody(), helpdesk.id, None, emptied).await);
    conflict(&house.app.delete_custom_role(&token, &nobody(), helpdesk.id, None).await);
    assert!(house.caller(&key, None).await.unwrap().permissions().contains(Permission::UsersManage));

    // She hands on what she has, and nothing else.
    let bob = house.add_user("acme", "bob@acme.example", Role::TenantUser).await.unwrap();
    let more = CustomRoleEdits { modules: Some(set(&["scaicore:view"])), ..CustomRoleEdits::default() };
    denied(&house.app.update_custom_role(&token, &nobody(), helpdesk.id, None, more).await, "scaicore:view");
    let view: Vec<PermissionKey> = vec!["scaicore:view".parse().unwrap()];
    denied(&house.app.set_user_grants(&token, &nobody(), bob.id, None, &view).await, "scaicore:view");
    let up = only(Role::TenantAdmin);
    denied(&house.app.set_user_roles(&token, &nobody(), ada.id, None, up).await, "routing:view");
    let given = RoleChanges { roles: None, custom_roles: Some(vec![helpdesk.id]) };
    house.app.set_user_roles(&token, &nobody(), bob.id, None, given).await.unwrap();

    // Those who have more than she are not hers to change.
    house.app.set_user_grants(&by_root, &nobody(), bob.id, None, &view).await.unwrap();
    denied(&house.app.delete_user(&token, &nobody(), bob.id, None).await, "scaicore:view");
    let named = UserChanges { display_name: Some(None), ..to(UserStatus::Suspended) };
    denied(&house.app.update_user(&token, &nobody(), bob.id, None, named).await, "scaicore:view");
    denied(&house.app.set_user_grants(&token, &nobody(), bob.id, None, &[]).await, "scaicore:view");

    // Another who can undo it may take it from her.
    house.app.delete_custom_role(&by_root, &nobody(), helpdesk.id, None).await.unwrap();
    let after = house.caller(&key, None).await.unwrap();
    assert!(after.authorize::<scaigrid_scope::perm::UsersManage>().is_err());
    let actions = house.audit(&root).await;
    assert_eq!(actions[..3], ["user.role_updated", "user.role_updated", "custom_role.delete"]);
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_record() {
    let house = acme().await;
    let (ada, _) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let root = house.caller(&house.root, Some("acme")).await.unwrap();
    let token = root.authorize().unwrap();
    let role = make_role(&house, &root, "Looks on", &["scaicore:view", "models:list"]).await.unwrap();
    let new = NewGroup { name: Name::parse("Approvers").unwrap(), slug: None, members: vec![ada.id, ada.id] };
    let group = house.app.create_group(&token, &nobody(), new).await.unwrap();
    assert_eq!(group.members.len(), 1);
    let (app, before) = (&house.app, house.audit(&root).await);

    let again = app.set_membership(&token, &nobody(), group.group.id, None, (ada.id, true)).await.unwrap();
    assert_eq!(again, group);
    let same = CustomRoleEdits { core: Some(set(&["models:list"])), ..CustomRoleEdits::default() };
    assert_eq!(app.update_custom_role(&token, &nobody(), role.id, None, same).await.unwrap(), role);
    app.set_user_grants(&token, &nobody(), ada.id, None, &[]).await.unwrap();
    app.update_user(&token, &nobody(), ada.id, None, to(UserStatus::Active)).await.unwrap();
    app.set_user_roles(&token, &nobody(), ada.id, None, RoleChanges::default()).await.unwrap();
    assert_eq!(house.audit(&root).await, before);

    // Who is removed is in no group, and the group says that it has changed.
    app.delete_user(&token, &nobody(), ada.id, None).await.unwrap();
    let left = app.group(&token, group.group.id).await.unwrap();
    assert_eq!((left.members.len(), left.group.revision), (0, 2));
    let gone = app.set_membership(&token, &nobody(), group.group.id, None, (ada.id, true)).await;
    assert!(matches!(gone, Err(Error::NotFound(Resource::User))));
}
