//! The chains of the audit log: everything that is written is sealed exactly once, whoever seals and however late it is
//! committed; and what is tampered with afterwards does not verify.

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use scaigrid_audit::chain::{Chain, Digest, Fault, Findings, Keys, Walk};
use scaigrid_audit::{AuditAction, AuditRecord, Changes, diff};
use scaigrid_persistence::audit::heads::{self, ChainScope};
use scaigrid_persistence::audit::links::{self, RecordsOf};
use scaigrid_persistence::audit::purge::{self, Purged};
use scaigrid_persistence::audit::seal::{self, Sealed};
use scaigrid_persistence::audit::{self, AuditFilter};
use scaigrid_persistence::{DatabaseUrl, partners, tenants};
use scaigrid_scope::{AuditId, LevelScope};
use serde_json::json;

use crate::home::Home;
use crate::values::{
    SYSTEM, at, of_partner, of_tenant, partner, partner_id, platform, tenant, tenant_id, ulid,
};

crate::on_both_databases! {
    records_are_sealed_once_and_in_their_own_chain,
    a_record_that_is_committed_late_is_sealed_late,
    two_who_seal_at_once_do_not_disturb_each_other,
    whatever_is_done_to_the_tables_is_found,
    what_was_tampered_with_is_sealed_on_and_stays_broken,
    the_oldest_records_go_and_the_rest_verifies,
    a_chain_that_was_tampered_with_loses_nothing,
    another_master_key_takes_over,
    a_level_lists_its_own_chains,
}

fn keys() -> Keys {
    Keys::new(vec![("old".to_owned(), [1; 32])]).unwrap()
}

fn nonce(number: u8) -> Digest {
    Digest([number; 32])
}

fn id(number: u128) -> AuditId {
    AuditId::from_ulid(ulid(number))
}

fn record(number: u128, tenant: u128) -> AuditRecord {
    let changes = diff(&json!({"n": number, "f": 0.5}), &json!({"ü": [number], "f": 1e300}), &[]);
    AuditRecord::by_the_system(
        (id(number), at(i64::try_from(number).unwrap())),
        (tenant_id(tenant), Some(partner_id(tenant))),
        AuditAction::CoreUpdate,
        format!("resource {number}"),
        changes,
    )
}

async fn add(home: &Home, records: &[AuditRecord]) {
    let mut tx = home.begin().await;
    for record in records {
        audit::add(&mut tx, record).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn seal_some(home: &Home, most: i64) -> Sealed {
    let mut tx = home.begin().await;
    let nonce = Digest(rand::random());
    let sealed = seal::seal(&mut tx, &SYSTEM, &keys(), nonce, at(1000), most).await.unwrap();
    tx.commit().await.unwrap();
    sealed
}

fn chain(tenant: u128) -> ChainScope {
    ChainScope::of_system(&SYSTEM, Chain::Tenant(tenant_id(tenant)))
}

/// Everything that is wrong with a tenant's chain, as the application would find it.
async fn faults(home: &Home, tenant: u128) -> Vec<(Fault, Option<u64>)> {
    let (scope, keys) = (chain(tenant), keys());
    let mut c = home.read().await;
    let mut findings = Findings::up_to(100);
    let (root, all) = heads::snapshot(&mut c, &SYSTEM).await.unwrap();
    let mut faults = Vec::new();
    let fits = root
        .is_some_and(|root| keys.is_root(&root, all.iter().map(|head| (head.chain.as_str(), &head.head))));
    let reached = links::last(&mut c, scope).await.unwrap().map_or(0, |(position, _)| position);
    match heads::head(&mut c, scope).await.unwrap() {
        None => {
            if reached > 0 {
                faults.push((Fault::Head, None));
            }
        }
        Some(stored) => {
            if !keys.is_sealed(&stored.chain, &stored.head, &stored.seal) {
                faults.push((Fault::Head, None));
            }
            let mut walk = Walk::new(scope.chain(), stored.head);
            loop {
                let page = links::list(&mut c, scope, walk.position(), walk.end(), 3).await.unwrap();
                if page.is_empty() {
                    break;
                }
                for link in page {
                    walk.take(link, &mut findings);
                }
            }
            walk.finish(&mut findings);
            if reached > stored.head.count {
                faults.push((Fault::Extra, None));
            }
        }
    }
    let strays = links::strays(&mut c, RecordsOf::Chain(scope), None, 1000).await.unwrap();
    faults.extend(strays.records.iter().map(|_| (Fault::Unsealed, None)));
    if !fits {
        faults.push((Fault::Root, None));
    }
    faults.extend(findings.kept.into_iter().map(|finding| (finding.fault, finding.position)));
    faults
}

async fn run(home: &Home, statements: &str) {
    match &home.url {
        DatabaseUrl::Sqlite(path) => {
            use diesel::Connection as _;
            use diesel::connection::SimpleConnection as _;

            let mut connection = diesel::SqliteConnection::establish(&path.to_string_lossy()).unwrap();
            connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
            connection.batch_execute(statements).unwrap();
        }
        DatabaseUrl::Postgres(url) => {
            let mut connection = AsyncPgConnection::establish(url).await.unwrap();
            connection.batch_execute(statements).await.unwrap();
        }
    }
}

async fn records_are_sealed_once_and_in_their_own_chain(home: &Home) {
    assert_eq!(seal_some(home, 10).await, Sealed::Records(0));
    let of_the_platform = AuditRecord { tenant_id: None, partner_id: None, ..record(4, 1) };
    let of_the_partner = AuditRecord { tenant_id: None, ..record(5, 1) };
    add(home, &[record(1, 1), record(2, 2), record(3, 1), of_the_platform, of_the_partner]).await;
    assert!(seal::waits(&mut home.read().await, &SYSTEM).await.unwrap());
    let (waiting, first) = links::waiting(&mut home.read().await, chain(1)).await.unwrap();
    assert_eq!((waiting, first), (2, Some(at(1))));
    // In parts, for nobody says that all fit in one.
    for (most, sealed) in [(2, 2), (2, 2), (2, 1), (2, 0)] {
        assert_eq!(seal_some(home, most).await, Sealed::Records(sealed));
        assert_eq!(faults(home, 1).await, []);
    }
    assert!(!seal::waits(&mut home.read().await, &SYSTEM).await.unwrap());
    let counts = heads::snapshot(&mut home.read().await, &SYSTEM).await.unwrap().1;
    let counts: Vec<_> = counts.iter().map(|stored| (stored.chain.as_str(), stored.head.count)).collect();
    let (one, two) = (tenant_id(1).to_string(), tenant_id(2).to_string());
    let partner = partner_id(1).to_string();
    assert_eq!(counts, [("platform", 1), (partner.as_str(), 1), (one.as_str(), 2), (two.as_str(), 1)]);
    let sealed = links::list(&mut home.read().await, chain(1), 0, 10, 10).await.unwrap();
    let ids: Vec<_> = sealed.iter().map(|link| (link.position, link.record_id.clone())).collect();
    assert_eq!(ids, [(1, id(1).to_string()), (2, id(3).to_string())]);
}

async fn a_record_that_is_committed_late_is_sealed_late(home: &Home) {
    if !home.database.is_shared() {
        // On SQLite nothing is committed while something else is being written.
        add(home, &[record(2, 1)]).await;
        seal_some(home, 10).await;
        add(home, &[record(1, 1)]).await;
        seal_some(home, 10).await;
        assert_eq!(faults(home, 1).await, []);
        return;
    }
    let mut slow = home.begin().await;
    audit::add(&mut slow, &record(1, 1)).await.unwrap();
    add(home, &[record(2, 1)]).await;
    assert_eq!(seal_some(home, 10).await, Sealed::Records(1), "the sealer does not wait for who is writing");
    slow.commit().await.unwrap();
    assert_eq!(seal_some(home, 10).await, Sealed::Records(1));
    let sealed = links::list(&mut home.read().await, chain(1), 0, 10, 10).await.unwrap();
    let ids: Vec<_> = sealed.iter().map(|link| link.record_id.clone()).collect();
    assert_eq!(ids, [id(2).to_string(), id(1).to_string()]);
    assert_eq!(faults(home, 1).await, []);
}

async fn two_who_seal_at_once_do_not_disturb_each_other(home: &Home) {
    if home.database.is_shared() {
        // Who finds the other at it leaves at once.
        add(home, &[record(1, 1)]).await;
        assert_eq!(seal_some(home, 1).await, Sealed::Records(1));
        add(home, &[record(2, 1), record(3, 1)]).await;
        let mut first = home.begin().await;
        let sealed = seal::seal(&mut first, &SYSTEM, &keys(), nonce(1), at(9), 1).await.unwrap();
        assert_eq!(sealed, Sealed::Records(1));
        assert_eq!(seal_some(home, 10).await, Sealed::ByAnother);
        // Who dies at it has done nothing.
        drop(first);
        assert_eq!(faults(home, 1).await, []);
    }
    let writers = (0..3_u128).map(|writer| async move {
        for number in 0..40 {
            add(home, &[record(100 + writer * 100 + number, 1 + number % 3)]).await;
        }
    });
    let sealers = (0..2).map(|_| async move {
        for _ in 0..60 {
            seal_some(home, 7).await;
        }
    });
    futures_util::future::join(
        futures_util::future::join_all(writers),
        futures_util::future::join_all(sealers),
    )
    .await;
    while seal_some(home, 50).await != Sealed::Records(0) {}
    for tenant in 1..=3 {
        assert_eq!(faults(home, tenant).await, []);
    }
    let all = heads::snapshot(&mut home.read().await, &SYSTEM).await.unwrap().1;
    let total: u64 = all.iter().map(|stored| stored.head.count).sum();
    assert_eq!(total, 120 + if home.database.is_shared() { 3 } else { 0 });
}

async fn whatever_is_done_to_the_tables_is_found(home: &Home) {
    let records: Vec<AuditRecord> = (1..=6).map(|number| record(number, 1)).collect();
    add(home, &records).await;
    add(home, &[record(7, 2)]).await;
    seal_some(home, 3).await;
    run(home, "CREATE TABLE old_heads AS SELECT * FROM audit_chains").await;
    seal_some(home, 100).await;
    run(
        home,
        "CREATE TABLE r AS SELECT * FROM audit_records; CREATE TABLE s AS SELECT * FROM audit_seals; \
         CREATE TABLE c AS SELECT * FROM audit_chains; CREATE TABLE o AS SELECT * FROM audit_root;",
    )
    .await;
    let restore = "DELETE FROM audit_records; INSERT INTO audit_records SELECT * FROM r; \
                   DELETE FROM audit_seals; INSERT INTO audit_seals SELECT * FROM s; \
                   DELETE FROM audit_chains; INSERT INTO audit_chains SELECT * FROM c; \
                   DELETE FROM audit_root; INSERT INTO audit_root SELECT * FROM o; DELETE FROM audit_unsealed;";
    let shared = home.database.is_shared();
    for (statements, expected) in with_records(shared).into_iter().chain(with_chains()) {
        assert_eq!(faults(home, 1).await, []);
        run(home, &statements).await;
        assert_eq!(faults(home, 1).await, expected, "{statements}");
        run(home, restore).await;
    }
}

/// What is done, and what is then found in the chain of tenant 1, which has the records 1 to 6.
type Case = (String, Vec<(Fault, Option<u64>)>);

fn with_records(shared: bool) -> Vec<Case> {
    let json = if shared { "'{}'::jsonb" } else { "jsonb('{}')" };
    let (third, fifth) = (id(3), id(5));
    let mut cases: Vec<Case> = Vec::new();
    let changed = |set: &str| {
        (format!("UPDATE audit_records SET {set} WHERE id = '{third}'"), vec![(Fault::Changed, Some(3))])
    };
    for column in [
        "partner_id",
        "action",
        "actor_id",
        "actor_email",
        "actor_type",
        "resource_type",
        "resource_id",
        "status",
        "request_id",
        "ip_address",
        "user_agent",
        "module",
    ] {
        cases.push(changed(&format!("{column} = 'x'")));
    }
    let at = if shared { "at = at + interval '1 microsecond'" } else { "at = at + 1" };
    cases.push(changed(at));
    cases.push(changed(&format!("changes = {json}")));
    if !shared {
        // PostgreSQL keeps no JSON that cannot be read.
        cases.push(changed("changes = X'ff'"));
    }
    // Into another tenant: the link stays behind.
    cases.push(changed(&format!("tenant_id = '{}'", tenant_id(2))));
    cases.push((format!("DELETE FROM audit_records WHERE id = '{third}'"), vec![(Fault::Missing, Some(3))]));
    cases.push((
        format!("DELETE FROM audit_records WHERE id = '{third}'; DELETE FROM audit_seals WHERE record_id = '{third}'"),
        vec![(Fault::Gap, Some(3))],
    ));
    cases.push((
        format!("DELETE FROM audit_seals WHERE record_id = '{third}'"),
        vec![(Fault::Unsealed, None), (Fault::Gap, Some(3))],
    ));
    cases.push((
        format!(
            "UPDATE audit_records SET id = 'a' WHERE id = '{third}'; UPDATE audit_records SET id = '{third}' \
             WHERE id = '{fifth}'; UPDATE audit_records SET id = '{fifth}' WHERE id = 'a'"
        ),
        vec![(Fault::Changed, Some(3)), (Fault::Changed, Some(5))],
    ));
    cases.push((
        format!(
            "UPDATE audit_seals SET record_id = 'a' WHERE record_id = '{third}'; UPDATE audit_seals SET \
             record_id = '{third}' WHERE record_id = '{fifth}'; UPDATE audit_seals SET record_id = '{fifth}' \
             WHERE record_id = 'a'"
        ),
        vec![(Fault::Changed, Some(3)), (Fault::Moved, Some(5))],
    ));
    cases
}

fn with_chains() -> Vec<Case> {
    let (third, fifth, tenant) = (id(3), id(5), tenant_id(1));
    let mut cases: Vec<Case> = Vec::new();
    let cut = format!(
        "DELETE FROM audit_records WHERE id >= '{fifth}' AND tenant_id = '{tenant}'; \
         DELETE FROM audit_seals WHERE position >= 5 AND chain = '{tenant}'"
    );
    cases.push((cut, vec![(Fault::Cut, Some(5))]));
    let cut_to_3 = format!(
        "DELETE FROM audit_records WHERE id > '{third}' AND tenant_id = '{tenant}'; \
         DELETE FROM audit_seals WHERE position > 3 AND chain = '{tenant}'"
    );
    cases.push((
        format!("{cut_to_3}; UPDATE audit_chains SET links = 3 WHERE chain = '{tenant}'"),
        vec![(Fault::Head, None), (Fault::Root, None), (Fault::Head, Some(3))],
    ));
    // The head that was true when there were three.
    cases.push((
        format!(
            "{cut_to_3}; DELETE FROM audit_chains WHERE chain = '{tenant}'; \
             INSERT INTO audit_chains SELECT * FROM old_heads WHERE chain = '{tenant}'"
        ),
        vec![(Fault::Root, None)],
    ));
    cases.push((
        format!("DELETE FROM audit_chains WHERE chain = '{tenant}'"),
        vec![(Fault::Head, None), (Fault::Root, None)],
    ));
    // All of a tenant, or all of another one.
    for gone in [tenant, tenant_id(2)] {
        cases.push((
            format!(
                "DELETE FROM audit_chains WHERE chain = '{gone}'; DELETE FROM audit_seals WHERE chain = '{gone}'; \
                 DELETE FROM audit_records WHERE tenant_id = '{gone}'"
            ),
            vec![(Fault::Root, None)],
        ));
    }
    cases.push(("DELETE FROM audit_root".to_owned(), vec![(Fault::Root, None)]));
    cases.push((
        format!(
            "UPDATE audit_chains SET cut = 2 WHERE chain = '{tenant}'; DELETE FROM audit_seals WHERE position <= 2; \
             DELETE FROM audit_records WHERE id < '{third}'"
        ),
        vec![(Fault::Head, None), (Fault::Root, None), (Fault::Changed, Some(3))],
    ));
    cases
}

async fn what_was_tampered_with_is_sealed_on_and_stays_broken(home: &Home) {
    let tenant = tenant_id(1);
    let fresh = async |home: &Home, base: u128| {
        run(
            home,
            "DELETE FROM audit_records; DELETE FROM audit_seals; DELETE FROM audit_chains; DELETE FROM audit_root; \
             DELETE FROM audit_unsealed",
        )
        .await;
        for number in 1..=3 {
            add(home, &[record(base + number, 1)]).await;
            seal_some(home, 10).await;
        }
        assert_eq!(faults(home, 1).await, []);
    };
    for (number, statements) in [
        format!("UPDATE audit_chains SET links = 2 WHERE chain = '{tenant}'"),
        format!("DELETE FROM audit_chains WHERE chain = '{tenant}'"),
        "DELETE FROM audit_seals WHERE position = 3".to_owned(),
        "DELETE FROM audit_root".to_owned(),
        // Its tail and its head.
        format!(
            "DELETE FROM audit_seals WHERE position = 3; DELETE FROM audit_chains WHERE chain = '{tenant}'"
        ),
        // A record that is sealed already waits again; one that waits is gone.
        "DELETE FROM audit_chains; INSERT INTO audit_unsealed SELECT record_id, chain FROM audit_seals"
            .to_owned(),
        format!("DELETE FROM audit_root; INSERT INTO audit_unsealed VALUES ('audit_none', '{tenant}')"),
    ]
    .into_iter()
    .enumerate()
    {
        let base = u128::try_from(number).unwrap() * 10;
        fresh(home, base).await;
        run(home, &statements).await;
        assert_ne!(faults(home, 1).await, [], "{statements}");
        add(home, &[record(base + 8, 1)]).await;
        while seal_some(home, 10).await != Sealed::Records(0) {}
        assert!(!seal::waits(&mut home.read().await, &SYSTEM).await.unwrap(), "{statements}");
        assert_ne!(faults(home, 1).await, [], "{statements}");
    }
}

async fn purge_some(home: &Home, tenant: u128, before: i64, most: i64) -> Purged {
    let mut tx = home.begin().await;
    let times = (at(2000), at(before));
    let nonce = Digest(rand::random());
    let purged = purge::purge(&mut tx, &SYSTEM, chain(tenant), (&keys(), nonce), times, most).await.unwrap();
    tx.commit().await.unwrap();
    purged
}

async fn the_oldest_records_go_and_the_rest_verifies(home: &Home) {
    let records: Vec<AuditRecord> = (1..=9).map(|number| record(number, 1)).collect();
    add(home, &records).await;
    add(home, &[record(10, 2)]).await;
    assert_eq!(purge_some(home, 1, 100, 10).await, Purged::Nothing, "what is not sealed stays");
    seal_some(home, 100).await;
    assert_eq!(links::oldest(&mut home.read().await, chain(1)).await.unwrap(), Some(at(1)));
    assert_eq!(purge_some(home, 1, 1, 10).await, Purged::Nothing);
    assert_eq!(purge_some(home, 1, 6, 3).await, Purged::Records { removed: 3, through: 3 });
    assert_eq!(faults(home, 1).await, []);
    assert_eq!(purge_some(home, 1, 6, 3).await, Purged::Records { removed: 2, through: 5 });
    assert_eq!(purge_some(home, 1, 6, 3).await, Purged::Nothing);
    assert_eq!(faults(home, 1).await, []);
    let scope = LevelScope::Tenant(of_tenant(1));
    let left = audit::list(&mut home.read().await, scope, &AuditFilter::default(), None, 100).await.unwrap();
    assert_eq!(left.len(), 4);
    // It goes on where it was, also when nothing is left of it.
    assert_eq!(purge_some(home, 1, 100, 100).await, Purged::Records { removed: 4, through: 9 });
    assert_eq!(faults(home, 1).await, []);
    let purged =
        AuditRecord { action: AuditAction::AuditPurge, changes: Changes::default(), ..record(20, 1) };
    add(home, &[purged]).await;
    seal_some(home, 10).await;
    assert_eq!(faults(home, 1).await, []);
    assert_eq!(purge_some(home, 1, 100, 100).await, Purged::Nothing, "its own records are not worth it");
    let head = heads::head(&mut home.read().await, chain(1)).await.unwrap().unwrap().head;
    assert_eq!((head.cut, head.count), (9, 10));
}

async fn a_chain_that_was_tampered_with_loses_nothing(home: &Home) {
    let records: Vec<AuditRecord> = (1..=4).map(|number| record(number, 1)).collect();
    add(home, &records).await;
    seal_some(home, 100).await;
    run(home, &format!("UPDATE audit_records SET actor_id = 'x' WHERE id = '{}'", id(2))).await;
    assert_eq!(purge_some(home, 1, 100, 100).await, Purged::Refused);
    assert_eq!(faults(home, 1).await, [(Fault::Changed, Some(2))]);
}

async fn another_master_key_takes_over(home: &Home) {
    add(home, &[record(1, 1), record(2, 2)]).await;
    seal_some(home, 100).await;
    let both = Keys::new(vec![("new".to_owned(), [2; 32]), ("old".to_owned(), [1; 32])]).unwrap();
    let new = Keys::new(vec![("new".to_owned(), [2; 32])]).unwrap();
    let rekey = async |keys: &Keys| {
        let mut tx = home.begin().await;
        let done = heads::rekey(&mut tx, &SYSTEM, keys, nonce(9)).await;
        tx.commit().await.unwrap();
        done
    };
    let fits = async |keys: &Keys| {
        let (root, all) = heads::snapshot(&mut home.read().await, &SYSTEM).await.unwrap();
        all.iter().all(|stored| keys.is_sealed(&stored.chain, &stored.head, &stored.seal))
            && keys.is_root(&root.unwrap(), all.iter().map(|head| (head.chain.as_str(), &head.head)))
    };
    assert!(rekey(&new).await.is_err(), "who lacks the old key cannot vouch for what is there");
    assert!(rekey(&both).await.unwrap());
    assert!(!rekey(&both).await.unwrap());
    assert!(fits(&new).await && !fits(&keys()).await);
    // What did not fit is not made to fit.
    run(home, &format!("UPDATE audit_chains SET links = 7 WHERE chain = '{}'", tenant_id(1))).await;
    let back = Keys::new(vec![("old".to_owned(), [1; 32]), ("new".to_owned(), [2; 32])]).unwrap();
    assert!(rekey(&back).await.unwrap());
    assert!(!fits(&back).await);
    let stored = heads::head(&mut home.read().await, chain(1)).await.unwrap().unwrap();
    assert!(!back.is_sealed(&stored.chain, &stored.head, &stored.seal));
}

async fn a_level_lists_its_own_chains(home: &Home) {
    let mut tx = home.begin().await;
    for number in [1, 2] {
        partners::add(&mut tx, SYSTEM.platform(), &partner(number)).await.unwrap();
        tenants::add(&mut tx, of_partner(1), &tenant(number, 1)).await.unwrap();
    }
    tx.commit().await.unwrap();
    add(home, &[record(1, 9)]).await;
    seal_some(home, 10).await;
    let listed = async |scope: LevelScope| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = heads::list(&mut home.read().await, scope, after, 2).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = Some(*last);
            all.extend(page.iter().map(|scope| scope.chain()));
        }
    };
    let (of_p, of_t) = (|n| Chain::Partner(partner_id(n)), |n| Chain::Tenant(tenant_id(n)));
    assert_eq!(listed(LevelScope::Tenant(of_tenant(1))).await, [of_t(1)]);
    assert_eq!(listed(LevelScope::Partner(of_partner(1))).await, [of_p(1), of_t(1), of_t(2)]);
    assert_eq!(listed(LevelScope::Partner(of_partner(2))).await, [of_p(2)]);
    assert_eq!(listed(platform()).await, [Chain::Platform, of_p(1), of_p(2), of_t(1), of_t(2), of_t(9)]);
}
