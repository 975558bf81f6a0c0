//! Modules switched on and off, and what becomes of the Cores; idempotency keys.

use scaigrid_app::Error;
use scaigrid_app::idempotency::{Answer, Begun, Claim};
use scaigrid_cores::{Action, NewCore, Status};
use scaigrid_persistence::Written;
use scaigrid_scope::{CoreId, Role, TenantChanges, TenantLimits, TenantScope, TenantStatus};

use crate::house::{House, house, nobody};

/// A Core that is taken for running.
async fn running_core(house: &House, key: &str) -> (TenantScope, CoreId) {
    let by = house.caller(key, None).await.unwrap();
    let made =
        house.app.create_core(&by.authorize().unwrap(), &nobody(), NewCore::named("Ledger")).await.unwrap();
    let (scope, mut core) = (by.tenant_scope(), made.core);
    core.status = Status::Running;
    let mut tx = house.database.begin().await.unwrap();
    let saved =
        scaigrid_persistence::cores::save(&mut tx, scope, &core, made.revision, &house.vault).await.unwrap();
    assert_eq!(saved, Written::Done);
    tx.commit().await.unwrap();
    (scope, core.id)
}

async fn status(house: &House, (scope, id): (TenantScope, CoreId)) -> (Status, Option<String>) {
    let mut connection = house.database.read().await.unwrap();
    let core =
        scaigrid_persistence::cores::lookup(&mut connection, scope, id, &house.vault).await.unwrap().unwrap();
    (core.value.status, core.value.last_error.map(|error| error.code))
}

#[tokio::test]
async fn a_module_that_is_off_closes_its_routes_and_holds_its_cores() {
    let house = house().await;
    house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let ada = house.caller(&key, None).await.unwrap();
    let core = running_core(&house, &key).await;
    house.app.check_module(&ada, "scaicore").await.unwrap();
    assert!(matches!(house.app.check_module(&ada, "nothing").await, Err(Error::NotFound(_))));
    let unknown = house.app.check_module(&ada, "scaibot").await;
    assert!(matches!(unknown, Err(Error::ModuleNotEnabled { .. })));

    let token = ada.authorize_at_level().unwrap();
    let off = house.app.disable_module(&token, &nobody(), "scaicore").await.unwrap();
    assert_eq!(off.effective.status.as_str(), "disabled");
    assert!(matches!(house.app.check_module(&ada, "scaicore").await, Err(Error::ModuleNotEnabled { .. })));
    assert_eq!(status(&house, core).await, (Status::Suspended, Some("MODULE_DISABLED".into())));
    let log = house.audit(&ada).await;
    assert_eq!(log[..2], ["core.suspend", "module.disable"]);
    house.app.disable_module(&token, &nobody(), "scaicore").await.unwrap();
    assert_eq!(house.audit(&ada).await, log);

    // The platform says no as well: then the tenant's yes changes nothing.
    let root = house.root().await;
    let above = root.authorize_at_level().unwrap();
    house.app.disable_module(&above, &nobody(), "scaicore").await.unwrap();
    let on = house.app.enable_module(&token, &nobody(), "scaicore").await.unwrap();
    assert_eq!(on.effective.status.as_str(), "disabled");
    assert_eq!(status(&house, core).await.0, Status::Suspended);
    house.app.enable_module(&above, &nobody(), "scaicore").await.unwrap();
    assert_eq!(status(&house, core).await, (Status::Running, None));
    house.app.check_module(&ada, "scaicore").await.unwrap();
    assert!(matches!(house.app.enable_module(&token, &nobody(), "nothing").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_core_runs_again_when_nothing_stands_in_its_way_any_more() {
    let house = house().await;
    let acme = house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let core = running_core(&house, &key).await;
    let root = house.root().await;
    let (people, modules) = (root.authorize_at_level().unwrap(), root.authorize_at_level().unwrap());
    let to = |status| TenantChanges { status: Some(status), ..TenantChanges::default() };

    house.app.disable_module(&modules, &nobody(), "scaicore").await.unwrap();
    house.app.update_tenant(&people, &nobody(), acme.id, None, to(TenantStatus::Suspended)).await.unwrap();
    house.app.enable_module(&modules, &nobody(), "scaicore").await.unwrap();
    assert_eq!(status(&house, core).await.0, Status::Suspended);
    house.app.update_tenant(&people, &nobody(), acme.id, None, to(TenantStatus::Active)).await.unwrap();
    assert_eq!(status(&house, core).await, (Status::Running, None));
}

/// A request may have been let in a moment before the door was closed.
#[tokio::test]
async fn a_core_does_not_start_behind_the_back_of_whoever_closes_the_door() {
    let house = house().await;
    let acme = house.add_tenant("acme", TenantLimits::default()).await.unwrap();
    let (_, key) = house.join("acme", "ada@acme.example", Role::TenantAdmin).await;
    let (scope, core) = running_core(&house, &key).await;
    let by = house.caller(&key, None).await.unwrap().authorize().unwrap();
    house.app.move_core(&by, &nobody(), core, Action::Pause, false).await.unwrap();
    let root = house.root().await;
    let (people, modules) = (root.authorize_at_level().unwrap(), root.authorize_at_level().unwrap());
    let to = |status| TenantChanges { status: Some(status), ..TenantChanges::default() };
    let resume = async || house.app.move_core(&by, &nobody(), core, Action::Resume, false).await;

    house.app.disable_module(&modules, &nobody(), "scaicore").await.unwrap();
    assert!(matches!(resume().await, Err(Error::ModuleNotEnabled { .. })));
    house.app.enable_module(&modules, &nobody(), "scaicore").await.unwrap();
    house.app.update_tenant(&people, &nobody(), acme.id, None, to(TenantStatus::Suspended)).await.unwrap();
    assert!(matches!(resume().await, Err(Error::TenantSuspended)));
    assert_eq!(status(&house, (scope, core)).await.0, Status::Paused);
    house.app.update_tenant(&people, &nobody(), acme.id, None, to(TenantStatus::Active)).await.unwrap();
    assert_eq!(resume().await.unwrap().core.status, Status::Running);
}

#[tokio::test]
async fn an_idempotency_key_is_claimed_once() {
    let house = house().await;
    let tenant = house.root().await.tenant().id;
    let claim = Claim {
        tenant,
        endpoint: "POST /v1/users",
        key: "k1",
        fingerprint: [1; 32],
        begun_at: house.app.now(),
    };
    // The node has a lease, as it has while the engine runs: a claim of a dead node is free.
    let mut tx = house.database.begin().await.unwrap();
    let until = house.app.now().plus(std::time::Duration::from_secs(30));
    let node = house.app.engine().node();
    scaigrid_persistence::leases::register(&mut tx, node, house.app.now(), until).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(house.app.begin_idempotent(&claim).await.unwrap(), Begun::Fresh);
    assert_eq!(house.app.begin_idempotent(&claim).await.unwrap(), Begun::InUse);
    let other = Claim { fingerprint: [2; 32], ..claim };
    assert_eq!(house.app.begin_idempotent(&other).await.unwrap(), Begun::OtherBody);
    let answer = Answer { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
    house.app.finish_idempotent(&claim, &answer).await.unwrap();
    assert_eq!(house.app.begin_idempotent(&claim).await.unwrap(), Begun::Answered(answer));
    house.pass(24 * 60 * 60 + 1);
    assert_eq!(house.app.purge_idempotency_keys().await.unwrap(), 1);
    let claim = Claim { begun_at: house.app.now(), ..claim };
    assert_eq!(house.app.begin_idempotent(&claim).await.unwrap(), Begun::Fresh);
}
