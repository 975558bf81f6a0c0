//! Who is who at an issuer: found with their user, in their tenant only, and the youngest word about them counts.

use scaigrid_persistence::external_identities::{self, Subject};
use scaigrid_persistence::{Error, Written, tenants, users};
use scaigrid_scope::{Instant, Tenant, UserChanges, UserStatus};

use crate::home::Home;
use crate::values::{SYSTEM, at, name, of_partner, of_tenant, settle_two, tenant, tenant_id, user, user_id};

crate::on_both_databases! {
    a_subject_is_found_with_their_user,
    a_subject_is_one_user_of_a_tenant,
    only_a_younger_word_is_taken,
    a_tenant_is_meant_by_its_issuers_name,
}

const ADA: Subject<'static> = Subject { issuer: "https://id.example", name: "ada" };

async fn add(home: &Home, tenant: u128) {
    let mut tx = home.begin().await;
    external_identities::add(&mut tx, of_tenant(tenant), ADA, user_id(tenant), at(10), at(11)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_subject_is_found_with_their_user(home: &Home) {
    settle_two(home).await;
    add(home, 1).await;
    let mut c = home.read().await;
    let found = external_identities::find(&mut c, of_tenant(1), ADA).await.unwrap().unwrap();
    assert_eq!((found.user, found.heard_at), (user(1, 1), at(10)));
    let other = Subject { issuer: "https://id.example/", ..ADA };
    assert_eq!(external_identities::find(&mut c, of_tenant(1), other).await.unwrap(), None);
    assert_eq!(external_identities::find(&mut c, of_tenant(2), ADA).await.unwrap(), None);
    drop(c);
    // Also when they are removed: nobody comes back under another id.
    let mut tx = home.begin().await;
    let deleted = UserChanges { status: Some(UserStatus::Deleted), ..UserChanges::default() };
    let written = users::update(&mut tx, of_tenant(1), user_id(1), None, &deleted, at(12)).await.unwrap();
    assert_eq!(written, Written::Done);
    tx.commit().await.unwrap();
    let found = external_identities::find(&mut home.read().await, of_tenant(1), ADA).await.unwrap().unwrap();
    assert_eq!(found.user.status, UserStatus::Deleted);
}

async fn a_subject_is_one_user_of_a_tenant(home: &Home) {
    settle_two(home).await;
    add(home, 1).await;
    // The same name in another tenant is somebody else.
    add(home, 2).await;
    let mut tx = home.begin().await;
    let again = external_identities::add(&mut tx, of_tenant(1), ADA, user_id(1), at(0), at(0)).await;
    assert!(matches!(again, Err(Error::Duplicate(_))));
}

async fn only_a_younger_word_is_taken(home: &Home) {
    settle_two(home).await;
    add(home, 1).await;
    let mut tx = home.begin().await;
    for (instant, taken) in
        [(at(9), false), (at(10), false), (at(20), true), (at(15), false), (at(20), false)]
    {
        let heard = external_identities::hear(&mut tx, of_tenant(1), ADA, instant).await.unwrap();
        assert_eq!(heard, taken, "{instant:?}");
    }
    assert!(!external_identities::hear(&mut tx, of_tenant(2), ADA, Instant::MAX).await.unwrap());
    let found = external_identities::find(&mut tx, of_tenant(1), ADA).await.unwrap().unwrap();
    assert_eq!(found.heard_at, at(20));
    // What was heard of groups is another matter.
    assert!(found.groups_heard_at < at(0));
    for (instant, taken) in [(at(5), true), (at(5), false), (at(4), false), (at(6), true)] {
        let heard = external_identities::hear_groups(&mut tx, of_tenant(1), ADA, instant).await.unwrap();
        assert_eq!(heard, taken, "{instant:?}");
    }
    assert!(!external_identities::hear_groups(&mut tx, of_tenant(2), ADA, Instant::MAX).await.unwrap());
    let found = external_identities::find(&mut tx, of_tenant(1), ADA).await.unwrap().unwrap();
    assert_eq!((found.heard_at, found.groups_heard_at), (at(20), at(6)));
    tx.commit().await.unwrap();
}

async fn a_tenant_is_meant_by_its_issuers_name(home: &Home) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    let known = Tenant { scaikey_tenant_id: Some(name("tnt_3")), ..tenant(3, 1) };
    let both = [4, 5].map(|id| Tenant { scaikey_tenant_id: Some(name("tnt_4")), ..tenant(id, 1) });
    for tenant in [&known, &both[0], &both[1]] {
        tenants::add(&mut tx, of_partner(1), tenant).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    let mut meant = async |name: &str| -> Vec<_> {
        let found = tenants::references_by_name(&mut c, &SYSTEM, name).await.unwrap();
        found.into_iter().map(|tenant| tenant.id).collect()
    };
    assert_eq!(meant("tenant-2").await, [], "a slug is no such name");
    assert_eq!(meant("tnt_3").await, [tenant_id(3)]);
    assert_eq!(meant("tnt_4").await.len(), 2, "a name that two have is told of both");
    assert_eq!(meant("").await, []);
}
