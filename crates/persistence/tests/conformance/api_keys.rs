//! API keys: found by digest with all that authentication asks for, and taken back for good.

use scaigrid_persistence::api_keys::{self, ApiKeyFilter};
use scaigrid_persistence::{Error, Written, partners, users};
use scaigrid_scope::{
    ApiKey, Credential, Instant, PartnerChanges, PartnerStatus, PermissionKey, Permissions, Place,
    TenantStatus, UserChanges, UserStatus,
};

use crate::home::Home;
use crate::values::{SYSTEM, api_key, at, of_partner, of_tenant, settle_two, tenant, user, user_id};

crate::on_both_databases! {
    a_key_is_found_with_all_that_authentication_asks_for,
    scopes_are_kept_and_none_is_not_no_scope,
    what_has_changed_since_is_seen,
    a_key_is_taken_back_once,
    all_keys_of_a_user_are_taken_back,
    another_tenants_keys_are_not_there,
    a_digest_is_taken_once,
}

async fn add(home: &Home, number: u8, user: u128) -> ApiKey {
    let (key, hash) = api_key(number, user, user);
    let mut tx = home.begin().await;
    api_keys::add(&mut tx, of_tenant(user), &key, &hash).await.unwrap();
    tx.commit().await.unwrap();
    key
}

async fn a_key_is_found_with_all_that_authentication_asks_for(home: &Home) {
    settle_two(home).await;
    let key = add(home, 1, 1).await;
    add(home, 2, 2).await;
    let mut c = home.read().await;
    let found = api_keys::find_by_hash(&mut c, &SYSTEM, &api_key(1, 1, 1).1).await.unwrap().unwrap();
    assert_eq!((&found.key, &found.user, &found.tenant), (&key, &user(1, 1), &tenant(1, 1)));
    assert_eq!(found.partner_status, PartnerStatus::Active);
    assert_eq!(api_keys::find_by_hash(&mut c, &SYSTEM, &[0; 32]).await.unwrap(), None);

    let principal = found.into_identity().act(Place::Own).unwrap();
    assert_eq!(principal.user_id(), user_id(1));
    assert_eq!(principal.tenant_scope(), of_tenant(1));
    assert_eq!(principal.identity().credential, Credential::ApiKey { id: key.id, scopes: None });
}

async fn scopes_are_kept_and_none_is_not_no_scope(home: &Home) {
    settle_two(home).await;
    let listed: Permissions = ["scaicore:view", "scaibot:bots:read"]
        .map(|key| key.parse::<PermissionKey>().unwrap())
        .into_iter()
        .collect();
    let scopes = [None, Some(Permissions::default()), Some(listed)];
    for (number, scopes) in (1..).zip(scopes) {
        let (key, hash) = api_key(number, 1, 1);
        // Both ends of time, as expiry.
        let expires_at = Some(if number == 1 { Instant::MAX } else { Instant::MIN });
        let key = ApiKey { scopes, expires_at, ..key };
        let mut tx = home.begin().await;
        api_keys::add(&mut tx, of_tenant(1), &key, &hash).await.unwrap();
        tx.commit().await.unwrap();
        let mut c = home.read().await;
        assert_eq!(api_keys::lookup(&mut c, of_tenant(1), key.id).await.unwrap().as_ref(), Some(&key));
        let found = api_keys::find_by_hash(&mut c, &SYSTEM, &hash).await.unwrap().unwrap();
        assert_eq!(found.key, key);
    }
}

async fn what_has_changed_since_is_seen(home: &Home) {
    settle_two(home).await;
    add(home, 1, 1).await;
    let mut tx = home.begin().await;
    let suspended = UserChanges { status: Some(UserStatus::Suspended), ..UserChanges::default() };
    let written = users::update(&mut tx, of_tenant(1), user_id(1), None, &suspended, at(1)).await.unwrap();
    assert_eq!(written, Written::Done);
    let halted = PartnerChanges { status: Some(PartnerStatus::Suspended), ..PartnerChanges::default() };
    assert_eq!(partners::update(&mut tx, of_partner(1), None, &halted, at(1)).await.unwrap(), Written::Done);
    assert!(api_keys::revoke(&mut tx, of_tenant(1), api_key(1, 1, 1).0.id, at(2)).await.unwrap());
    tx.commit().await.unwrap();

    let mut c = home.read().await;
    let found = api_keys::find_by_hash(&mut c, &SYSTEM, &api_key(1, 1, 1).1).await.unwrap().unwrap();
    assert_eq!(found.key.revoked_at, Some(at(2)));
    assert_eq!(found.user.status, UserStatus::Suspended);
    assert_eq!(found.partner_status, PartnerStatus::Suspended);
    assert_eq!(found.into_identity().home.status, TenantStatus::Suspended);
}

async fn a_key_is_taken_back_once(home: &Home) {
    settle_two(home).await;
    let key = add(home, 1, 1).await;
    let mut tx = home.begin().await;
    assert!(api_keys::revoke(&mut tx, of_tenant(1), key.id, at(1)).await.unwrap());
    assert!(!api_keys::revoke(&mut tx, of_tenant(1), key.id, at(2)).await.unwrap());
    tx.commit().await.unwrap();
    let kept = api_keys::lookup(&mut home.read().await, of_tenant(1), key.id).await.unwrap().unwrap();
    assert_eq!(kept.revoked_at, Some(at(1)));
}

async fn all_keys_of_a_user_are_taken_back(home: &Home) {
    settle_two(home).await;
    let mut tx = home.begin().await;
    users::add(&mut tx, of_tenant(1), &user(3, 1)).await.unwrap();
    for (number, holder) in [(1, 1), (2, 1), (3, 1), (4, 3)] {
        let (key, hash) = api_key(number, holder, 1);
        api_keys::add(&mut tx, of_tenant(1), &key, &hash).await.unwrap();
    }
    let id = |number| api_key(number, 1, 1).0.id;
    assert!(api_keys::revoke(&mut tx, of_tenant(1), id(2), at(1)).await.unwrap());
    let mut taken = api_keys::revoke_all_of(&mut tx, of_tenant(1), user_id(1), at(2)).await.unwrap();
    taken.sort();
    assert_eq!(taken, [id(1), id(3)]);
    tx.commit().await.unwrap();

    let mut c = home.read().await;
    let own = ApiKeyFilter { user_id: Some(user_id(1)), revoked_too: false };
    assert_eq!(api_keys::list(&mut c, of_tenant(1), &own, None, 10).await.unwrap(), []);
    let history = ApiKeyFilter { revoked_too: true, ..own };
    let listed = api_keys::list(&mut c, of_tenant(1), &history, Some(id(3)), 10).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(api_keys::count(&mut c, of_tenant(1), &history).await.unwrap(), 3);
    assert_eq!(api_keys::count(&mut c, of_tenant(1), &ApiKeyFilter::default()).await.unwrap(), 1);
}

async fn another_tenants_keys_are_not_there(home: &Home) {
    settle_two(home).await;
    let key = add(home, 1, 1).await;
    let stranger = of_tenant(2);
    let mut tx = home.begin().await;
    assert_eq!(api_keys::lookup(&mut tx, stranger, key.id).await.unwrap(), None);
    assert!(!api_keys::revoke(&mut tx, stranger, key.id, at(1)).await.unwrap());
    assert_eq!(api_keys::revoke_all_of(&mut tx, stranger, key.user_id, at(1)).await.unwrap(), []);
    let all = ApiKeyFilter { user_id: None, revoked_too: true };
    assert_eq!(api_keys::list(&mut tx, stranger, &all, None, 10).await.unwrap(), []);
    assert_eq!(api_keys::count(&mut tx, stranger, &all).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let kept = api_keys::lookup(&mut home.read().await, of_tenant(1), key.id).await.unwrap();
    assert_eq!(kept, Some(key));
}

async fn a_digest_is_taken_once(home: &Home) {
    settle_two(home).await;
    add(home, 1, 1).await;
    let mut tx = home.begin().await;
    let (key, _) = api_key(2, 2, 2);
    let again = api_keys::add(&mut tx, of_tenant(2), &key, &api_key(1, 1, 1).1).await;
    assert!(matches!(again, Err(Error::Duplicate(_))));
}
