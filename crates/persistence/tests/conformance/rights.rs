//! Custom roles, direct grants, and the last super admin.

use scaigrid_persistence::{Error, Written, api_keys, custom_roles, grants, groups, platform_facts, users};
use scaigrid_scope::{
    CustomRole, CustomRoleChanges, CustomRoleId, Description, Group, GroupId, PermissionKey, Permissions,
    Role, Roles, UserChanges, UserId, UserStatus,
};

use crate::home::Home;
use crate::values::{SYSTEM, api_key, at, name, of_tenant, settle_two, slug, tenant_id, ulid, user, user_id};

crate::on_both_databases! {
    a_custom_role_is_kept_as_it_is,
    what_is_held_is_all_that_was_given,
    a_key_tells_what_its_holder_was_given,
    a_role_is_taken_from_all_who_hold_it,
    another_tenants_rights_are_not_there,
    the_last_super_admin_is_found,
}

fn role_id(number: u128) -> CustomRoleId {
    CustomRoleId::from_ulid(ulid(number))
}

fn set(keys: &[&str]) -> Permissions {
    keys.iter().map(|key| key.parse::<PermissionKey>().unwrap()).collect()
}

fn role(number: u128, keys: &[&str]) -> CustomRole {
    CustomRole {
        id: role_id(number),
        tenant_id: tenant_id(1),
        slug: slug(&format!("role-{number}")),
        name: name(&format!("Role {number}")),
        description: None,
        permissions: set(keys),
        created_by: user_id(1),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn settle(home: &Home, roles: &[CustomRole]) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    users::add(&mut tx, of_tenant(1), &user(3, 1)).await.unwrap();
    for role in roles {
        custom_roles::add(&mut tx, of_tenant(1), role).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn a_custom_role_is_kept_as_it_is(home: &Home) {
    let described = CustomRole {
        description: Some(Description::parse("Looks after\nescalations.").unwrap()),
        ..role(1, &["users:manage", "scaibot:bots:read", "scaispeak:voice.read"])
    };
    let empty = role(2, &[]);
    settle(home, &[described.clone(), empty.clone()]).await;
    let mut tx = home.begin().await;
    for role in [&described, &empty] {
        assert_eq!(custom_roles::lookup(&mut tx, of_tenant(1), role.id).await.unwrap().as_ref(), Some(role));
        let found = custom_roles::find_by_slug(&mut tx, of_tenant(1), &role.slug).await.unwrap();
        assert_eq!(found.as_ref(), Some(role));
    }
    assert_eq!(
        custom_roles::list(&mut tx, of_tenant(1), None, 1).await.unwrap(),
        std::slice::from_ref(&empty)
    );
    let rest = custom_roles::list(&mut tx, of_tenant(1), Some(empty.id), 9).await.unwrap();
    assert_eq!(rest, std::slice::from_ref(&described));
    let both = custom_roles::find_all(&mut tx, of_tenant(1), &[role_id(2), role_id(9), role_id(1)]).await;
    assert_eq!(both.unwrap(), [described.clone(), empty]);
    let changes = CustomRoleChanges {
        name: Some(name("New")),
        description: Some(None),
        permissions: Some(set(&["scaicore:view"])),
    };
    let written = custom_roles::update(&mut tx, of_tenant(1), role_id(1), &changes, at(4)).await.unwrap();
    assert_eq!(written, Written::Done);
    let after = CustomRole {
        name: name("New"),
        description: None,
        permissions: set(&["scaicore:view"]),
        revision: 2,
        updated_at: at(4),
        ..described
    };
    assert_eq!(custom_roles::lookup(&mut tx, of_tenant(1), role_id(1)).await.unwrap(), Some(after));
    let taken = CustomRole { slug: slug("role-2"), ..role(3, &[]) };
    let taken = custom_roles::add(&mut tx, of_tenant(1), &taken).await;
    assert!(matches!(taken, Err(Error::Duplicate(_))), "{taken:?}");
}

async fn what_is_held_is_all_that_was_given(home: &Home) {
    settle(home, &[role(1, &["models:manage"]), role(2, &["scaicore:view", "scaibot:bots:read"])]).await;
    let (scope, one) = (of_tenant(1), user_id(1));
    let mut tx = home.begin().await;
    assert!(grants::held(&mut tx, scope, one).await.unwrap().is_empty());
    grants::put(&mut tx, scope, one, &set(&["scaicore:manage"])).await.unwrap();
    grants::put(&mut tx, scope, one, &set(&["scaicore:invoke", "scaibot:bots:read"])).await.unwrap();
    custom_roles::set_held(&mut tx, scope, one, &[role_id(1)]).await.unwrap();
    custom_roles::set_held(&mut tx, scope, one, &[role_id(2), role_id(1)]).await.unwrap();
    custom_roles::set_held(&mut tx, scope, user_id(3), &[role_id(2)]).await.unwrap();
    let direct = grants::lookup(&mut tx, scope, one).await.unwrap();
    assert_eq!(direct, set(&["scaicore:invoke", "scaibot:bots:read"]));
    let held = grants::held(&mut tx, scope, one).await.unwrap();
    assert_eq!(held, set(&["models:manage", "scaicore:view", "scaibot:bots:read", "scaicore:invoke"]));
    let by_user = custom_roles::held_by(&mut tx, scope, &[user_id(3), one, user_id(9)]).await.unwrap();
    let expected = [(one, vec![role_id(1), role_id(2)]), (user_id(3), vec![role_id(2)])];
    assert_eq!(by_user.into_iter().collect::<Vec<_>>(), expected);
    grants::put(&mut tx, scope, one, &Permissions::default()).await.unwrap();
    custom_roles::set_held(&mut tx, scope, one, &[]).await.unwrap();
    assert!(grants::held(&mut tx, scope, one).await.unwrap().is_empty());
    assert_eq!(
        grants::held(&mut tx, scope, user_id(3)).await.unwrap(),
        role(2, &["scaicore:view", "scaibot:bots:read"]).permissions
    );
    tx.commit().await.unwrap();
}

async fn a_key_tells_what_its_holder_was_given(home: &Home) {
    settle(home, &[role(1, &["models:manage"])]).await;
    let scope = of_tenant(1);
    let (key, hash) = api_key(1, 1, 1);
    let group = Group {
        id: GroupId::from_ulid(ulid(1)),
        tenant_id: tenant_id(1),
        slug: slug("approvers"),
        name: name("Approvers"),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    };
    let mut tx = home.begin().await;
    api_keys::add(&mut tx, scope, &key, &hash).await.unwrap();
    grants::put(&mut tx, scope, user_id(1), &set(&["scaicore:view"])).await.unwrap();
    custom_roles::set_held(&mut tx, scope, user_id(1), &[role_id(1)]).await.unwrap();
    groups::add(&mut tx, scope, &group).await.unwrap();
    groups::add_members(&mut tx, scope, group.id, &[user_id(1)]).await.unwrap();
    tx.commit().await.unwrap();
    let found = api_keys::find_by_hash(&mut home.read().await, &SYSTEM, &hash).await.unwrap().unwrap();
    let identity = found.into_identity();
    assert_eq!(identity.grants, set(&["models:manage", "scaicore:view"]));
    assert_eq!(identity.groups.iter().map(|group| group.slug.as_str()).collect::<Vec<_>>(), ["approvers"]);
}

async fn a_role_is_taken_from_all_who_hold_it(home: &Home) {
    settle(home, &[role(1, &["models:manage"]), role(2, &[])]).await;
    let scope = of_tenant(1);
    let mut tx = home.begin().await;
    custom_roles::set_held(&mut tx, scope, user_id(1), &[role_id(1), role_id(2)]).await.unwrap();
    custom_roles::set_held(&mut tx, scope, user_id(3), &[role_id(1)]).await.unwrap();
    let taken = custom_roles::take_from_all(&mut tx, scope, role_id(1), at(5)).await.unwrap();
    assert_eq!(taken, [user_id(1), user_id(3)]);
    assert!(custom_roles::remove(&mut tx, scope, role_id(1)).await.unwrap());
    assert!(!custom_roles::remove(&mut tx, scope, role_id(1)).await.unwrap());
    let held = custom_roles::held_by(&mut tx, scope, &[user_id(1), user_id(3)]).await.unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(user_id(1), vec![role_id(2)])]);
    for number in [1, 3] {
        let user = users::lookup(&mut tx, scope, user_id(number)).await.unwrap().unwrap();
        assert_eq!((user.revision, user.updated_at), (2, at(5)), "what a user has was changed");
    }
    tx.commit().await.unwrap();
}

async fn another_tenants_rights_are_not_there(home: &Home) {
    settle(home, &[role(1, &["models:manage"])]).await;
    let (own, stranger, one) = (of_tenant(1), of_tenant(2), user_id(1));
    let mut tx = home.begin().await;
    grants::put(&mut tx, own, one, &set(&["scaicore:view"])).await.unwrap();
    custom_roles::set_held(&mut tx, own, one, &[role_id(1)]).await.unwrap();
    assert_eq!(custom_roles::lookup(&mut tx, stranger, role_id(1)).await.unwrap(), None);
    assert_eq!(custom_roles::find_by_slug(&mut tx, stranger, &slug("role-1")).await.unwrap(), None);
    assert_eq!(custom_roles::list(&mut tx, stranger, None, 9).await.unwrap(), []);
    assert!(custom_roles::held_by(&mut tx, stranger, &[one]).await.unwrap().is_empty());
    assert!(grants::held(&mut tx, stranger, one).await.unwrap().is_empty());
    assert!(grants::lookup(&mut tx, stranger, one).await.unwrap().is_empty());
    let nothing = CustomRoleChanges::default();
    let written = custom_roles::update(&mut tx, stranger, role_id(1), &nothing, at(1)).await.unwrap();
    assert_eq!(written, Written::Missing);
    assert_eq!(custom_roles::take_from_all(&mut tx, stranger, role_id(1), at(1)).await.unwrap(), []);
    assert!(!custom_roles::remove(&mut tx, stranger, role_id(1)).await.unwrap());
    custom_roles::set_held(&mut tx, stranger, one, &[]).await.unwrap();
    grants::put(&mut tx, stranger, one, &Permissions::default()).await.unwrap();
    assert_eq!(grants::held(&mut tx, own, one).await.unwrap(), set(&["models:manage", "scaicore:view"]));
    let ids: Vec<UserId> = [1, 2, 3, 9].map(user_id).to_vec();
    let present = users::present(&mut tx, own, &ids).await.unwrap();
    assert_eq!(present.into_iter().collect::<Vec<_>>(), [one, user_id(3)]);
    tx.commit().await.unwrap();
}

async fn the_last_super_admin_is_found(home: &Home) {
    settle(home, &[]).await;
    let mut tx = home.begin().await;
    let another = async |tx: &mut scaigrid_persistence::Transaction, than| {
        users::another_super_admin(tx, &SYSTEM, user_id(than)).await.unwrap()
    };
    let roles = |roles: &[Role]| UserChanges {
        roles: Some(roles.iter().copied().collect::<Roles>()),
        ..UserChanges::default()
    };
    assert!(!another(&mut tx, 1).await);
    let change =
        async |tx: &mut scaigrid_persistence::Transaction, number: u128, tenant, changes: UserChanges| {
            let written = users::update(tx, of_tenant(tenant), user_id(number), None, &changes, at(1)).await;
            assert_eq!(written.unwrap(), Written::Done);
        };
    change(&mut tx, 1, 1, roles(&[Role::TenantViewer, Role::SuperAdmin])).await;
    assert!(!another(&mut tx, 1).await && another(&mut tx, 2).await);
    // Wherever they live.
    change(&mut tx, 2, 2, roles(&[Role::SuperAdmin])).await;
    assert!(another(&mut tx, 1).await && another(&mut tx, 2).await);
    let suspended = UserChanges { status: Some(UserStatus::Suspended), ..UserChanges::default() };
    change(&mut tx, 2, 2, suspended).await;
    assert!(!another(&mut tx, 1).await, "one who is suspended is no help");
    assert!(!platform_facts::lock(&mut tx, "nothing").await.unwrap());
    platform_facts::put_if_absent(&mut tx, "something", "x").await.unwrap();
    assert!(platform_facts::lock(&mut tx, "something").await.unwrap());
    tx.commit().await.unwrap();
}
