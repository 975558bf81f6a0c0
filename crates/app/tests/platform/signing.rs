//! The keys that sign who a call is made for: made once, changed without a gap.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use scaigrid_app::{App, Error};
use scaigrid_persistence::signing_keys;
use scaigrid_scope::{Instant, Role, SystemScope, TenantLimits};
use serde_json::{Value, json};

use crate::house::{application, house, nobody};

async fn published(app: &App) -> JwkSet {
    serde_json::from_value(app.key_set().await.unwrap()).unwrap()
}

async fn sign(app: &App) -> String {
    app.engine().caller_tokens().sign(&json!({"sub": "usr_1"}), None).await.unwrap()
}

fn kid(token: &str) -> String {
    decode_header(token).unwrap().kid.unwrap()
}

fn claims(keys: &JwkSet, token: &str) -> Option<Value> {
    let key = DecodingKey::from_jwk(keys.find(&kid(token))?).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    // The clock of these tests is not that of the library.
    validation.validate_exp = false;
    Some(decode::<Value>(token, &key, &validation).unwrap().claims)
}

#[tokio::test]
async fn a_key_is_known_before_it_signs_and_as_long_as_its_tokens_live() {
    let house = house().await;
    let other = application(&house.database, &house.vault, &house.clock);
    // Two nodes that need the first key at once have one.
    let (one, two) = tokio::join!(sign(&house.app), sign(&other));
    let first = kid(&one);
    assert_eq!(first, kid(&two));
    let keys = published(&other).await;
    assert_eq!(keys.keys.len(), 1);
    let told = claims(&keys, &one).unwrap();
    assert_eq!((&told["sub"], &told["iat"]), (&json!("usr_1"), &json!(1_800_000_000)));
    assert_eq!(told["exp"], 1_800_000_060);
    // It is not good for longer than what it is about, nor for longer than any.
    for (until, exp) in [(1_800_000_005_999_999, 1_800_000_005), (1_900_000_000_000_000, 1_800_000_060)] {
        let until = Instant::from_micros(until);
        let bound = house.app.engine().caller_tokens().sign(&json!({}), Some(until)).await.unwrap();
        assert_eq!(claims(&keys, &bound).unwrap()["exp"], exp);
    }

    house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let ada = house.caller(&key, None).await.unwrap();
    let refused = house.app.rotate_signing_keys(&ada.authorize_at_level().unwrap(), &nobody()).await;
    assert!(matches!(refused, Err(Error::PermissionDenied { .. })));

    house.pass(10);
    let root = house.root().await.authorize_at_level().unwrap();
    let second = house.app.rotate_signing_keys(&root, &nobody()).await.unwrap();
    assert_eq!(house.audit(&house.root().await).await[0], "secrets.rotate");
    assert!(published(&house.app).await.find(&second).is_some(), "at once where it was made");
    house.pass(2);
    assert_eq!(published(&other).await.keys.len(), 2, "soon elsewhere");
    assert_eq!(kid(&sign(&other).await), first);
    house.pass(60);
    let young = sign(&other).await;
    assert_eq!(kid(&young), second);
    let keys = published(&house.app).await;
    assert!(claims(&keys, &one).is_some() && claims(&keys, &young).is_some());
    house.pass(300);
    let keys = published(&house.app).await;
    assert!(claims(&keys, &one).is_none() && claims(&keys, &young).is_some());

    // What is of no use any more goes with the next change.
    house.app.rotate_signing_keys(&root, &nobody()).await.unwrap();
    let mut connection = house.database.read().await.unwrap();
    let kept = signing_keys::list(&mut connection, &SystemScope::for_the_process()).await.unwrap();
    assert_eq!(kept.iter().map(|key| key.generation).collect::<Vec<_>>(), [2, 3]);
}
