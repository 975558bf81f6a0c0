//! The secrets of outgoing webhooks: changed while letters go out.

use scaigrid_tests::{Db, Place, Received, Receiver, on_both_databases};
use serde_json::json;

use crate::webhooks::{SOON, allowing, hook};

on_both_databases!(a_receiver_changes_secrets_without_missing_anything);

fn a_receiver_changes_secrets_without_missing_anything(place: &Place) {
    let receiver = Receiver::start();
    let server = allowing(place, &[&receiver]).start();
    let root = server.admin();
    let (id, first) = hook(&root, &receiver.url("/"), &["scaikey.*"]);
    let path = format!("/v1/webhooks/{id}/secret");
    let told = |count: usize| {
        root.post(&format!("/v1/webhooks/{id}/test")).answer(200);
        receiver.wait_for(count, SOON)[count - 1].clone()
    };
    // A letter with several signatures: each by itself is what a library makes of its secret.
    let signed_by = |letter: &Received, secrets: &[&str]| {
        let signatures: Vec<String> =
            letter.header("webhook-signature").split(' ').map(str::to_owned).collect();
        assert_eq!(signatures.len(), secrets.len(), "{signatures:?}");
        for (signature, secret) in signatures.iter().zip(secrets) {
            let mut alone = letter.clone();
            alone.headers.insert("webhook-signature".to_owned(), signature.clone());
            alone.verify(secret);
        }
    };
    let tag = root.get(&format!("/v1/webhooks/{id}")).answer(200).header("etag").unwrap().to_owned();
    let made = root.post(&path).json(&json!({})).header("If-Match", &tag).answer(200);
    let second = made.data()["secret"].as_str().unwrap().to_owned();
    assert!(second.starts_with("whsec_") && second != first);
    let until = made.data()["previous_until"].as_str().unwrap().to_owned();
    assert!(until.ends_with('Z'), "{until}");
    assert_ne!(made.header("etag").unwrap(), tag);
    root.post(&path).json(&json!({})).header("If-Match", &tag).refused(412, "PRECONDITION_FAILED");
    signed_by(&told(1), &[&second, &first]);
    // Sent again it is not done again.
    let own = json!({"secret": "a-secret-of-our-own"});
    for _ in 0..2 {
        let answer = root.post(&path).json(&own).header("Idempotency-Key", "once").answer(200);
        assert_eq!(answer.data()["secret"], "a-secret-of-our-own");
    }
    assert_eq!(root.post(&path).json(&own).refused(409, "CONFLICT").fields(), ["secret"]);
    root.post(&path).json(&json!({"secret": "short"})).refused(422, "VALIDATION_ERROR");
    root.post(&path).json(&json!({"secrets": "x"})).refused(422, "VALIDATION_ERROR");
    let viewer = server.client(&root.user("viewer@example.org", &["tenant_user"]).1);
    viewer.post(&path).json(&json!({})).refused(403, "AUTHZ_PERMISSION_DENIED");
    let elsewhere = root.in_tenant(&root.tenant("other"));
    elsewhere.post(&path).json(&json!({})).refused(404, "WEBHOOK_NOT_FOUND");
    let letters = receiver.wait_for(2, SOON).len();
    let letter = told(letters + 1);
    let last = letter.header("webhook-signature").split(' ').nth(1).unwrap().to_owned();
    let mut by_second = letter.clone();
    by_second.headers.insert("webhook-signature".to_owned(), last);
    by_second.verify(&second);

    let records = root.pages("/v1/audit/events?action=webhook.rotate_secret", "items");
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["changes"]["secret"], json!({"before": "***", "after": "***"}));
    // After its day, and when the secret is replaced at once, the one before counts no more.
    place.run_sql(match place.db() {
        Db::Sqlite => "UPDATE webhooks SET previous_until = 1",
        Db::Postgres => "UPDATE webhooks SET previous_until = 'epoch'",
    });
    assert_eq!(told(letters + 2).header("webhook-signature").split(' ').count(), 1);
    root.post(&path).json(&json!({"secret": second})).answer(200);
    assert_eq!(told(letters + 3).header("webhook-signature").split(' ').count(), 2);
    root.put(&format!("/v1/webhooks/{id}"), &json!({"secret": first})).answer(200);
    signed_by(&told(letters + 4), &[&first]);
    assert!(!place.log().contains(&second[6..]));
    server.stop();
}
