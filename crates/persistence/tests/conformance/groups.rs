//! Groups: of one tenant, by id and by slug, and who is in them.

use scaigrid_persistence::{Error, Written, groups, users};
use scaigrid_scope::{Group, GroupChanges, GroupId, Membership};

use crate::home::Home;
use crate::values::{at, name, of_tenant, settle_two, slug, tenant_id, ulid, user, user_id};

crate::on_both_databases! {
    a_group_is_kept_as_it_is,
    a_slug_is_one_groups_in_its_tenant,
    members_come_and_go,
    a_membership_tells_by_whose_word_it_is,
    a_user_leaves_all_groups_at_once,
    another_tenants_groups_are_not_there,
    groups_are_listed_newest_first,
}

fn group_id(number: u128) -> GroupId {
    GroupId::from_ulid(ulid(number))
}

fn group(number: u128, tenant: u128) -> Group {
    Group {
        id: group_id(number),
        tenant_id: tenant_id(tenant),
        slug: slug(&format!("group-{number}")),
        name: name(&format!("Group {number}")),
        revision: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

/// Groups of tenant 1 by number, each with these of its users.
async fn settle(home: &Home, groups: &[(u128, &[u128])]) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    for number in 3..=5 {
        users::add(&mut tx, of_tenant(1), &user(number, 1)).await.unwrap();
    }
    for (number, members) in groups {
        groups::add(&mut tx, of_tenant(1), &group(*number, 1)).await.unwrap();
        let members: Vec<_> = members.iter().map(|number| user_id(*number)).collect();
        groups::add_members(&mut tx, of_tenant(1), group_id(*number), &members).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn a_group_is_kept_as_it_is(home: &Home) {
    settle(home, &[]).await;
    let odd = Group { name: name("Ægir's 李"), revision: 7, updated_at: at(3), ..group(1, 1) };
    let mut tx = home.begin().await;
    groups::add(&mut tx, of_tenant(1), &odd).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(groups::lookup(&mut c, of_tenant(1), odd.id).await.unwrap().as_ref(), Some(&odd));
    let found = groups::find_by_slug(&mut c, of_tenant(1), &odd.slug).await.unwrap();
    assert_eq!(found.as_ref(), Some(&odd));
    drop(c);
    let mut tx = home.begin().await;
    let changes = GroupChanges { name: Some(name("Other")) };
    for (changes, revision) in [(changes, 8), (GroupChanges::default(), 9)] {
        let written = groups::update(&mut tx, of_tenant(1), odd.id, &changes, at(revision)).await.unwrap();
        assert_eq!(written, Written::Done);
        let now = groups::lookup(&mut tx, of_tenant(1), odd.id).await.unwrap();
        assert_eq!(
            now,
            Some(Group { name: name("Other"), revision, updated_at: at(revision), ..odd.clone() })
        );
    }
}

async fn a_slug_is_one_groups_in_its_tenant(home: &Home) {
    settle(home, &[(1, &[])]).await;
    let same = Group { slug: group(1, 1).slug, ..group(2, 1) };
    let mut tx = home.begin().await;
    let taken = groups::add(&mut tx, of_tenant(1), &same).await;
    assert!(matches!(taken, Err(Error::Duplicate(_))), "{taken:?}");
    drop(tx);
    let mut tx = home.begin().await;
    groups::add(&mut tx, of_tenant(2), &same).await.unwrap();
}

async fn members_come_and_go(home: &Home) {
    settle(home, &[(1, &[3, 1]), (2, &[]), (3, &[1])]).await;
    let mut tx = home.begin().await;
    // Who is in it already stays.
    groups::add_members(&mut tx, of_tenant(1), group_id(1), &[user_id(4), user_id(1)]).await.unwrap();
    let members = groups::members(&mut tx, of_tenant(1), group_id(1)).await.unwrap();
    assert_eq!(members, [user_id(1), user_id(3), user_id(4)]);
    let ids = [group_id(1), group_id(2), group_id(3)];
    let counts = groups::member_counts(&mut tx, of_tenant(1), &ids).await.unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(group_id(1), 3), (group_id(3), 1)]);
    let ids = [user_id(1), user_id(3), user_id(5)];
    let counts = groups::counts_of_users(&mut tx, of_tenant(1), &ids).await.unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(user_id(1), 2), (user_id(3), 1)]);
    groups::remove_members(&mut tx, of_tenant(1), group_id(1), &[user_id(3), user_id(5)]).await.unwrap();
    let members = groups::members(&mut tx, of_tenant(1), group_id(1)).await.unwrap();
    assert_eq!(members, [user_id(1), user_id(4)]);
    assert_eq!(groups::member_counts(&mut tx, of_tenant(1), &[]).await.unwrap().len(), 0);

    // A group goes with its memberships.
    assert!(groups::remove(&mut tx, of_tenant(1), group_id(1)).await.unwrap());
    assert!(!groups::remove(&mut tx, of_tenant(1), group_id(1)).await.unwrap());
    assert_eq!(groups::members(&mut tx, of_tenant(1), group_id(1)).await.unwrap(), []);
    let left = groups::of_user(&mut tx, of_tenant(1), user_id(1)).await.unwrap();
    assert_eq!(left, [Membership { id: group_id(3), slug: slug("group-3") }]);
    tx.commit().await.unwrap();
}

async fn a_membership_tells_by_whose_word_it_is(home: &Home) {
    settle(home, &[(1, &[1]), (2, &[]), (3, &[3])]).await;
    let mut tx = home.begin().await;
    for number in [1, 2] {
        // Who is in it already is so by the word that it was.
        groups::add_member_of_issuer(
            &mut tx,
            of_tenant(1),
            group_id(number),
            user_id(1),
            "https://id.example",
        )
        .await
        .unwrap();
    }
    groups::add_members(&mut tx, of_tenant(1), group_id(2), &[user_id(1)]).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let held: Vec<_> = groups::held(&mut c, of_tenant(1), user_id(1))
        .await
        .unwrap()
        .into_iter()
        .map(|held| (held.group.id, held.issuer))
        .collect();
    assert_eq!(held, [(group_id(1), None), (group_id(2), Some("https://id.example".to_owned()))]);
    assert_eq!(groups::held(&mut c, of_tenant(2), user_id(1)).await.unwrap(), []);
}

async fn a_user_leaves_all_groups_at_once(home: &Home) {
    settle(home, &[(1, &[1, 3]), (2, &[1]), (3, &[3])]).await;
    let mut tx = home.begin().await;
    let left = groups::remove_from_all(&mut tx, of_tenant(1), user_id(1), at(9)).await.unwrap();
    assert_eq!(left, [group_id(1), group_id(2)]);
    assert_eq!(groups::of_user(&mut tx, of_tenant(1), user_id(1)).await.unwrap(), []);
    assert_eq!(groups::members(&mut tx, of_tenant(1), group_id(1)).await.unwrap(), [user_id(3)]);
    let listed = groups::list(&mut tx, of_tenant(1), None, 10).await.unwrap();
    let revisions: Vec<_> = listed.iter().map(|group| (group.revision, group.updated_at)).collect();
    assert_eq!(revisions, [(1, at(0)), (2, at(9)), (2, at(9))], "what was left has changed");
    tx.commit().await.unwrap();
}

async fn another_tenants_groups_are_not_there(home: &Home) {
    settle(home, &[(1, &[1])]).await;
    let (stranger, id) = (of_tenant(2), group_id(1));
    let mut tx = home.begin().await;
    assert_eq!(groups::lookup(&mut tx, stranger, id).await.unwrap(), None);
    assert_eq!(groups::find_by_slug(&mut tx, stranger, &slug("group-1")).await.unwrap(), None);
    assert_eq!(groups::list(&mut tx, stranger, None, 10).await.unwrap(), []);
    assert_eq!(groups::members(&mut tx, stranger, id).await.unwrap(), []);
    assert_eq!(groups::of_user(&mut tx, stranger, user_id(1)).await.unwrap(), []);
    assert!(groups::member_counts(&mut tx, stranger, &[id]).await.unwrap().is_empty());
    assert!(groups::counts_of_users(&mut tx, stranger, &[user_id(1)]).await.unwrap().is_empty());
    let written = groups::update(&mut tx, stranger, id, &GroupChanges::default(), at(1)).await.unwrap();
    assert_eq!(written, Written::Missing);
    groups::remove_members(&mut tx, stranger, id, &[user_id(1)]).await.unwrap();
    assert_eq!(groups::remove_from_all(&mut tx, stranger, user_id(1), at(1)).await.unwrap(), []);
    assert!(!groups::remove(&mut tx, stranger, id).await.unwrap());
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(groups::lookup(&mut c, of_tenant(1), id).await.unwrap(), Some(group(1, 1)));
    assert_eq!(groups::members(&mut c, of_tenant(1), id).await.unwrap(), [user_id(1)]);
}

async fn groups_are_listed_newest_first(home: &Home) {
    settle(home, &[(1, &[]), (2, &[]), (3, &[])]).await;
    let mut c = home.read().await;
    let first = groups::list(&mut c, of_tenant(1), None, 2).await.unwrap();
    assert_eq!(first, [group(3, 1), group(2, 1)]);
    let rest = groups::list(&mut c, of_tenant(1), Some(group_id(2)), 2).await.unwrap();
    assert_eq!(rest, [group(1, 1)]);
}
