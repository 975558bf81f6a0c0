//! Searches of the audit log: whatever is asked for together, a page is what a look at every record finds.

use std::net::IpAddr;

use scaigrid_audit::{Actor, ActorKind, AuditAction, AuditRecord, Changes, Outcome, RequestContext};
use scaigrid_persistence::audit::{self, AuditFilter};
use scaigrid_scope::{AuditId, Instant, LevelScope};
use ulid::Ulid;

use crate::home::Home;
use crate::values::{at, of_partner, of_tenant, partner_id, platform, tenant_id};

crate::on_both_databases! {
    a_page_is_what_a_look_at_everything_finds,
    records_of_a_clock_that_was_put_back_are_found,
}

const RECORDS: u32 = 240;
const ACTIONS: [AuditAction; 4] =
    [AuditAction::CoreUpdate, AuditAction::CoreStart, AuditAction::TenantUpdate, AuditAction::UserDelete];
const KINDS: [&str; 4] = ["core", "tenant", "user", "nothing"];
const MODULES: [&str; 2] = ["scaicore", "scaibot"];

/// Numbers that look drawn and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }

    /// One of several, or none.
    fn maybe<T: Clone>(&mut self, of: &[T], none: usize) -> Option<T> {
        let rolled = self.roll(of.len() + none);
        of.get(rolled).cloned()
    }
}

fn address(number: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(number).unwrap()])
}

fn record(dice: &mut Dice, number: u32) -> AuditRecord {
    // Several within a millisecond; one in eight is of a clock that was put back by up to three hours.
    let micros = i64::from(number) * 300;
    let at = Instant::from_micros(at(0).micros() + micros);
    let back = if dice.roll(8) == 0 { dice.roll(3 * 3600) } else { 0 };
    let drawn = at.plus(std::time::Duration::from_secs(back as u64));
    let id = AuditId::from_ulid(Ulid::from_parts(drawn.unix_millis(), u128::from(number)));
    let owner = 1 + dice.roll(2) as u128;
    let (tenant, partner) = match dice.roll(6) {
        0 => (None, None),
        1 => (None, Some(partner_id(owner))),
        _ => (Some(tenant_id(owner)), Some(partner_id(owner))),
    };
    let actor = match dice.roll(4) {
        0 => Actor::SYSTEM,
        other => Actor { kind: ActorKind::User, id: Some(format!("usr_{other}")), email: None },
    };
    AuditRecord {
        id,
        at,
        action: ACTIONS[dice.roll(ACTIONS.len())],
        actor,
        tenant_id: tenant,
        partner_id: partner,
        resource_id: format!("thing_{}", dice.roll(3)),
        outcome: if dice.roll(5) == 0 { Outcome::Failure } else { Outcome::Success },
        changes: Changes::default(),
        request: RequestContext::new(None, dice.maybe(&[address(1), address(2)], 1), None),
        module: dice.maybe(&MODULES, 1).map(str::to_owned),
    }
}

fn filter(dice: &mut Dice) -> AuditFilter {
    let mut bound = |from: i64, to: i64| {
        let half = usize::try_from(i64::from(RECORDS) * 150).unwrap();
        let micros = i64::try_from(dice.roll(half)).unwrap();
        (dice.roll(3) == 0).then(|| Instant::from_micros(at(0).micros() + from + micros * to))
    };
    let (since, until) = (bound(0, 1), bound(i64::from(RECORDS) * 150, 1));
    AuditFilter {
        action: dice.maybe(&ACTIONS, 6),
        actor_id: dice.maybe(&["usr_1", "usr_2", "usr_9"], 4).map(str::to_owned),
        resource_type: dice.maybe(&KINDS, 6).map(str::to_owned),
        resource_id: dice.maybe(&["thing_0", "thing_9"], 6).map(str::to_owned),
        status: dice.maybe(&[Outcome::Success, Outcome::Failure], 4),
        ip_address: dice.maybe(&[address(1), address(9)], 6),
        module: dice.maybe(&MODULES, 5).map(str::to_owned),
        since,
        until,
    }
}

fn fits(record: &AuditRecord, scope: LevelScope, filter: &AuditFilter) -> bool {
    fn is<T: PartialEq>(asked: Option<&T>, has: Option<&T>) -> bool {
        asked.is_none() || asked == has
    }
    let seen = match scope {
        LevelScope::Platform(_) => true,
        LevelScope::Partner(scope) => record.partner_id == Some(scope.partner_id()),
        LevelScope::Tenant(scope) => record.tenant_id == Some(scope.tenant_id()),
    };
    seen && is(filter.action.as_ref(), Some(&record.action))
        && is(filter.actor_id.as_ref(), record.actor.id.as_ref())
        && is(filter.resource_type.as_ref(), Some(&record.action.resource_type().to_owned()))
        && is(filter.resource_id.as_ref(), Some(&record.resource_id))
        && is(filter.status.as_ref(), Some(&record.outcome))
        && is(filter.ip_address.as_ref(), record.request.ip_address().as_ref())
        && is(filter.module.as_ref(), record.module.as_ref())
        && filter.since.is_none_or(|since| record.at >= since)
        && filter.until.is_none_or(|until| record.at < until)
}

async fn add(home: &Home, records: &[AuditRecord]) {
    let mut tx = home.begin().await;
    for record in records {
        audit::add(&mut tx, record).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn a_page_is_what_a_look_at_everything_finds(home: &Home) {
    let mut dice = Dice(7);
    let mut records: Vec<AuditRecord> = (0..RECORDS).map(|number| record(&mut dice, number)).collect();
    add(home, &records).await;
    records.sort_by_key(|record| std::cmp::Reverse(record.id));
    let scopes = [
        platform(),
        LevelScope::Partner(of_partner(1)),
        LevelScope::Tenant(of_tenant(1)),
        LevelScope::Tenant(of_tenant(2)),
        LevelScope::Tenant(of_tenant(3)),
    ];
    let mut c = home.read().await;
    let mut found = 0;
    for _ in 0..400 {
        let (scope, filter) = (scopes[dice.roll(scopes.len())], filter(&mut dice));
        let after = (dice.roll(2) == 0).then(|| records[dice.roll(records.len())].id);
        let rows = 1 + dice.roll(12);
        let page = audit::list(&mut c, scope, &filter, after, i64::try_from(rows).unwrap()).await.unwrap();
        let expected: Vec<AuditId> = records
            .iter()
            .filter(|record| after.is_none_or(|after| record.id < after) && fits(record, scope, &filter))
            .map(|record| record.id)
            .take(rows)
            .collect();
        let page: Vec<AuditId> = page.iter().map(|record| record.id).collect();
        assert_eq!(page, expected, "{filter:?} {after:?}");
        found += page.len();
    }
    assert!(found > 200, "{found}: hardly anything was asked for that there is");
}

async fn records_of_a_clock_that_was_put_back_are_found(home: &Home) {
    let of = |number: u128, seconds: i64, drawn: i64| AuditRecord {
        id: AuditId::from_ulid(Ulid::from_parts(at(drawn).unix_millis(), number)),
        ..AuditRecord::by_the_system(
            (AuditId::from_ulid(Ulid::from_parts(0, number)), at(seconds)),
            (tenant_id(1), Some(partner_id(1))),
            AuditAction::CoreUpdate,
            "core_x",
            Changes::default(),
        )
    };
    // The second and the third are of a time before the first, though their ids come after.
    // The last one is drawn a little after its time, behind what others have drawn meanwhile.
    let records =
        [of(1, 1000, 1000), of(2, 500, 1000), of(3, 501, 1001), of(4, 1100, 1100), of(5, 2000, 2003)];
    add(home, &records).await;
    let scope = LevelScope::Tenant(of_tenant(1));
    let mut c = home.read().await;
    let until = |seconds| AuditFilter { until: Some(at(seconds)), ..AuditFilter::default() };
    for (filter, expected) in [
        (until(600), vec![3, 2]),
        (until(501), vec![2]),
        (until(1001), vec![3, 2, 1]),
        (AuditFilter { since: Some(at(1000)), ..until(2000) }, vec![4, 1]),
        (AuditFilter { since: Some(at(1900)), ..until(2001) }, vec![5]),
        (AuditFilter { resource_type: Some("core".to_owned()), ..until(600) }, vec![3, 2]),
    ] {
        let page = audit::list(&mut c, scope, &filter, None, 10).await.unwrap();
        let expected: Vec<AuditId> =
            expected.into_iter().map(|number: usize| records[number - 1].id).collect();
        assert_eq!(page.iter().map(|record| record.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}
