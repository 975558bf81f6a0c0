//! The audit log over the years: what is too old goes, and keys change.

use std::sync::Arc;
use std::time::Duration;

use scaigrid_app::App;
use scaigrid_app::audit::{AuditFilter, AuditReport, Fault};
use scaigrid_persistence::sealing::Vault;
use scaigrid_scope::{Principal, Role};

use crate::house::{FULL, House, application, house, nobody};

const DAY: i64 = 24 * 3600;
const MONTH: Duration = Duration::from_hours(30 * 24);

async fn seal(app: &App) {
    while app.seal_audit().await.unwrap() > 0 {}
}

async fn verified(app: &App, by: &Arc<Principal>) -> AuditReport {
    app.verify_audit(&by.authorize_at_level().unwrap(), |_| ()).await.unwrap()
}

async fn add_user(house: &House, number: u32) {
    house.add_user("default", &format!("user-{number}@example.org"), Role::TenantUser).await.unwrap();
}

#[tokio::test]
async fn records_are_kept_for_their_time_and_no_longer() {
    let house = house().await;
    let root = house.root().await;
    for number in 0..40 {
        add_user(&house, number).await;
        house.pass(DAY);
    }
    assert_eq!(house.app.purge_audit(MONTH).await.unwrap(), 0, "nothing goes that was not sealed");
    seal(&house.app).await;
    // The six of the first start and those of the first ten days: what is 30 days old to the second stays.
    assert_eq!(house.app.purge_audit(MONTH).await.unwrap(), 16);
    assert_eq!(house.app.purge_audit(MONTH).await.unwrap(), 0, "and then a day's worth gathers again");
    let shown = house.audit(&root).await;
    assert_eq!(shown.len(), 32);
    assert_eq!(shown[0], "audit.purge");
    let token = root.authorize_at_level().unwrap();
    let newest = house.app.audit_records(&token, &AuditFilter::default(), &FULL).await.unwrap();
    let record = &newest.items[0];
    assert_eq!(record.tenant_id, Some(root.tenant().id));
    assert_eq!(
        record.partner_id,
        Some(root.tenant().partner_id),
        "a tenant's record is its partner's to see"
    );
    seal(&house.app).await;
    let report = verified(&house.app, &root).await;
    assert!(report.is_valid(), "{report:?}");
    assert_eq!((report.records, report.purged, report.pending), (32, 16, 0));
    house.pass(DAY);
    assert_eq!(house.app.purge_audit(MONTH).await.unwrap(), 0, "what is due by less than a day can wait");
    house.pass(DAY);
    assert!(house.app.purge_audit(MONTH).await.unwrap() > 0);
    // After years of silence what is left is the record of the last removal, and there it ends.
    house.pass(1000 * DAY);
    seal(&house.app).await;
    assert!(house.app.purge_audit(MONTH).await.unwrap() > 0);
    for _ in 0..3 {
        house.pass(100 * DAY);
        seal(&house.app).await;
        assert_eq!(house.app.purge_audit(MONTH).await.unwrap(), 0);
        // One in the tenant's chain, one in the platform's.
        assert_eq!(house.audit(&root).await, ["audit.purge", "audit.purge"]);
    }
    assert!(verified(&house.app, &root).await.is_valid());
}

#[tokio::test]
async fn a_new_master_key_vouches_for_what_the_old_one_did() {
    let (old, new) = (Vault::generate(), Vault::generate());
    let seed = house().await;
    let with = |keys: &str| {
        let vault = Arc::new(Vault::parse(keys).unwrap());
        application(&seed.database, &vault, &seed.clock)
    };
    let root = seed.root().await;
    // What is there is not sealed yet, so that the first to seal is the old key.
    let before = with(&old);
    seal(&before).await;
    assert!(verified(&before, &root).await.is_valid());
    let both = with(&format!("{new},{old}"));
    assert!(verified(&both, &root).await.is_valid());
    let lacking = verified(&with(&new), &root).await;
    let faults: Vec<Fault> = lacking.problems.iter().map(|problem| problem.fault).collect();
    assert_eq!(faults, [Fault::Root, Fault::Head, Fault::Head]);
    // The next start of a node takes the chains over.
    let working = both.clone();
    let taking_over = tokio::spawn(async move { working.keep_audit_sealed().await });
    add_user(&seed, 1).await;
    for _ in 0..500 {
        if verified(&both, &root).await.pending == 0 && verified(&with(&new), &root).await.is_valid() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    taking_over.abort();
    let report = verified(&with(&new), &root).await;
    assert!(report.is_valid(), "{report:?}");
    assert_eq!(report.records, 7);
    assert!(!verified(&before, &root).await.is_valid());
}

#[tokio::test]
async fn an_export_is_recorded_before_it_is_read() {
    let house = house().await;
    let caller = house.root().await.authorize_at_level().unwrap();
    let mut export =
        house.app.export_audit(&caller, &nobody(), AuditFilter::default(), "json").await.unwrap();
    add_user(&house, 1).await;
    let page = export.next().await.unwrap().unwrap();
    let actions: Vec<_> = page.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(actions[..2], ["user.create", "audit.export"]);
    assert!(export.next().await.unwrap().is_none());
}
