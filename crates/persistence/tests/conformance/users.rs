//! Users: of one tenant, with an address that is theirs there until they are deleted.

use scaigrid_persistence::users::{self, UserFilter};
use scaigrid_persistence::{Error, Written, dump, participants};
use scaigrid_scope::{Email, Role, Roles, User, UserChanges, UserKind, UserStatus};

use crate::home::Home;
use crate::values::{SYSTEM, at, email, name, of_tenant, settle_two, tenant_id, user, user_id};

crate::on_both_databases! {
    a_user_is_kept_as_they_are,
    another_tenants_users_are_not_there,
    an_address_is_free_again_once_its_user_is_deleted,
    addresses_are_told_apart_to_the_byte,
    users_are_listed_newest_first_without_the_deleted,
    a_change_needs_the_expected_revision,
    who_was_made_before_there_were_participants_is_found,
}

async fn add(home: &Home, user: &User) -> Result<(), Error> {
    let mut tx = home.begin().await;
    users::add(&mut tx, of_tenant(1), user).await?;
    tx.commit().await
}

async fn change(home: &Home, number: u128, changes: &UserChanges) -> Written {
    let mut tx = home.begin().await;
    let written = users::update(&mut tx, of_tenant(1), user_id(number), None, changes, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    written
}

fn deleted() -> UserChanges {
    UserChanges { status: Some(UserStatus::Deleted), ..UserChanges::default() }
}

async fn a_user_is_kept_as_they_are(home: &Home) {
    settle_two(home).await;
    let label = "d".repeat(60);
    let long = format!("{}@{label}.{label}.{label}.exa", "l".repeat(64));
    assert!(long.len() <= Email::MAX_CHARS);
    let full = User {
        email: email(&long),
        display_name: Some(name("Ægir Ðórsson 李")),
        kind: UserKind::Service,
        status: UserStatus::Suspended,
        roles: Role::ALL.iter().copied().collect(),
        ..user(3, 1)
    };
    let bare = User { roles: Roles::NONE, ..user(4, 1) };
    for user in [&full, &bare] {
        add(home, user).await.unwrap();
        let mut c = home.read().await;
        assert_eq!(users::lookup(&mut c, of_tenant(1), user.id).await.unwrap().as_ref(), Some(user));
        let found = users::find_by_email(&mut c, of_tenant(1), &user.email).await.unwrap();
        assert_eq!(found.as_ref(), Some(user));
    }
}

async fn another_tenants_users_are_not_there(home: &Home) {
    settle_two(home).await;
    let stranger = of_tenant(2);
    let mut tx = home.begin().await;
    assert_eq!(users::lookup(&mut tx, stranger, user_id(1)).await.unwrap(), None);
    assert_eq!(users::lock(&mut tx, stranger, user_id(1)).await.unwrap(), None);
    assert_eq!(users::find_by_email(&mut tx, stranger, &user(1, 1).email).await.unwrap(), None);
    let all = UserFilter::default();
    assert_eq!(users::list(&mut tx, stranger, &all, None, 10).await.unwrap(), [user(2, 2)]);
    assert_eq!(users::count(&mut tx, stranger, &all).await.unwrap(), 1);
    for expected in [None, Some(1)] {
        let written =
            users::update(&mut tx, stranger, user_id(1), expected, &deleted(), at(1)).await.unwrap();
        assert_eq!(written, Written::Missing);
    }
    // A user becomes one of the scope's tenant, whatever they say of themselves.
    users::add(&mut tx, stranger, &user(3, 1)).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(users::lookup(&mut c, of_tenant(1), user_id(1)).await.unwrap(), Some(user(1, 1)));
    let third = users::lookup(&mut c, stranger, user_id(3)).await.unwrap().unwrap();
    assert_eq!(third.tenant_id, tenant_id(2));
}

async fn an_address_is_free_again_once_its_user_is_deleted(home: &Home) {
    settle_two(home).await;
    let next = User { email: user(1, 1).email, ..user(3, 1) };
    assert!(matches!(add(home, &next).await, Err(Error::Duplicate(_))));
    assert_eq!(change(home, 1, &deleted()).await, Written::Done);
    add(home, &next).await.unwrap();

    let mut c = home.read().await;
    let found = users::find_by_email(&mut c, of_tenant(1), &next.email).await.unwrap();
    assert_eq!(found, Some(next));
    let gone = users::lookup(&mut c, of_tenant(1), user_id(1)).await.unwrap().unwrap();
    assert_eq!(gone.status, UserStatus::Deleted);
    drop(c);
    let revive = UserChanges { status: Some(UserStatus::Active), ..UserChanges::default() };
    assert_eq!(change(home, 1, &revive).await, Written::Missing);
}

async fn addresses_are_told_apart_to_the_byte(home: &Home) {
    settle_two(home).await;
    let addresses =
        ["ada@x", "Ada@x", "a\u{301}da@x", "\u{e1}da@x", "ada@\u{df}", "ada@ss", "a_a@x", "a%a@x"];
    for (number, address) in (10..).zip(addresses) {
        add(home, &User { email: email(address), ..user(number, 1) }).await.unwrap();
    }
    let mut c = home.read().await;
    for (number, address) in (10..).zip(addresses) {
        let found = users::find_by_email(&mut c, of_tenant(1), &email(address)).await.unwrap();
        assert_eq!(found.map(|user| user.id), Some(user_id(number)), "{address}");
    }
}

async fn users_are_listed_newest_first_without_the_deleted(home: &Home) {
    settle_two(home).await;
    for number in 3..=6 {
        let kind = if number == 5 { UserKind::Service } else { UserKind::Human };
        add(home, &User { kind, ..user(number, 1) }).await.unwrap();
    }
    assert_eq!(change(home, 4, &deleted()).await, Written::Done);
    let humans = UserFilter { kind: Some(UserKind::Human), status: None };
    let gone = UserFilter { kind: None, status: Some(UserStatus::Deleted) };
    let mut c = home.read().await;
    for (filter, shown) in
        [(UserFilter::default(), vec![6, 5, 3, 1]), (humans, vec![6, 3, 1]), (gone, vec![4])]
    {
        let listed = users::list(&mut c, of_tenant(1), &filter, None, 10).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|user| user.id).collect();
        assert_eq!(ids, shown.iter().map(|number| user_id(*number)).collect::<Vec<_>>());
        let count = users::count(&mut c, of_tenant(1), &filter).await.unwrap();
        assert_eq!(count, i64::try_from(shown.len()).unwrap());
    }
    let page = users::list(&mut c, of_tenant(1), &humans, Some(user_id(6)), 1).await.unwrap();
    assert_eq!(page.iter().map(|user| user.id).collect::<Vec<_>>(), [user_id(3)]);
}

async fn a_change_needs_the_expected_revision(home: &Home) {
    settle_two(home).await;
    let (scope, id) = (of_tenant(1), user_id(1));
    let all = UserChanges {
        display_name: Some(Some(name("Ada"))),
        status: Some(UserStatus::Suspended),
        roles: Some([Role::TenantAdmin, Role::TenantViewer].into_iter().collect()),
    };
    let mut tx = home.begin().await;
    assert_eq!(users::lock(&mut tx, scope, id).await.unwrap(), Some(user(1, 1)));
    assert_eq!(users::update(&mut tx, scope, id, Some(9), &all, at(1)).await.unwrap(), Written::Stale);
    assert_eq!(users::update(&mut tx, scope, id, Some(1), &all, at(1)).await.unwrap(), Written::Done);
    assert_eq!(users::update(&mut tx, scope, id, Some(1), &all, at(2)).await.unwrap(), Written::Stale);
    let nameless = UserChanges { display_name: Some(None), ..UserChanges::default() };
    assert_eq!(users::update(&mut tx, scope, id, Some(2), &nameless, at(3)).await.unwrap(), Written::Done);
    tx.commit().await.unwrap();
    let changed = User {
        status: UserStatus::Suspended,
        roles: [Role::TenantAdmin, Role::TenantViewer].into_iter().collect(),
        revision: 3,
        updated_at: at(3),
        ..user(1, 1)
    };
    assert_eq!(users::lookup(&mut home.read().await, scope, id).await.unwrap(), Some(changed));
}

async fn who_was_made_before_there_were_participants_is_found(home: &Home) {
    settle_two(home).await;
    add(home, &user(3, 1)).await.unwrap();
    // As an earlier version writes it: the row alone.
    let older = user(4, 1);
    let row = serde_json::json!([[
        older.id,
        older.tenant_id,
        older.email.as_str(),
        null,
        "human",
        "active",
        "[]",
        1,
        0,
        0
    ]]);
    let table = dump::tables().into_iter().find(|table| table.name() == "users").unwrap();
    let mut tx = home.begin().await;
    assert_eq!(dump::write(&mut tx, &SYSTEM, &table, &row.to_string()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let found = participants::newcomers(&mut home.read().await, &SYSTEM, 10).await.unwrap();
    assert!(found.contains(&(older.tenant_id, older.id)), "{found:?}");
    assert!(!found.contains(&(tenant_id(1), user_id(3))), "{found:?}");
    for _ in 0..2 {
        let mut tx = home.begin().await;
        participants::add_user(&mut tx, of_tenant(1), &older).await.unwrap();
        tx.commit().await.unwrap();
    }
    let own = participants::find_by_user(&mut home.read().await, of_tenant(1), older.id).await.unwrap();
    assert_eq!(own.unwrap().local_id.as_str(), "user-4");
    let found = participants::newcomers(&mut home.read().await, &SYSTEM, 10).await.unwrap();
    assert!(!found.contains(&(older.tenant_id, older.id)), "{found:?}");
}
