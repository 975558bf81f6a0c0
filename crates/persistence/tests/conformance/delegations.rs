//! Users' identities that are lent to Cores, and pictures of Cores.

use std::time::Duration;

use scaigrid_cores::execution::{Execution, ExecutionStatus};
use scaigrid_cores::{Avatar, AvatarType, Core, CoreIdentity, Delegation, LastError, Status};
use scaigrid_persistence::commit;
use scaigrid_persistence::dump::{self, Table};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Written, avatars, cores, delegations, executions, holds};
use scaigrid_scope::{DelegationId, Instant, PermissionKey, Permissions};

use crate::commit::{apply, begin, core_id, execution, execution_id, hosted};
use crate::home::Home;
use crate::values::{SYSTEM, at, of_tenant, tenant_id, ulid, user_id};

crate::on_both_databases! {
    a_delegation_is_kept_with_its_core,
    a_user_finds_what_they_have_lent,
    an_execution_keeps_the_delegation_that_it_began_under,
    an_execution_begins_as_its_core_is_lent_in_that_moment,
    one_core_is_held_once,
    what_may_be_in_the_store_is_forgotten_last,
}

/// A table that tells of Cores is either emptied with them, or known to stay.
#[test]
fn what_belongs_to_cores_goes_with_them() {
    const GO: [&str; 23] = [
        "checkpoint_links",
        "checkpoint_votes",
        "checkpoints",
        "conversation_turns",
        "conversations",
        "core_breakpoints",
        "core_events",
        "core_instances",
        "core_log_lanes",
        "core_logs",
        "core_memory",
        "core_schedules",
        "core_subscriptions",
        "core_triggers",
        "core_vectors",
        "core_versions",
        "delegations",
        "event_waits",
        "executions",
        "hook_messages",
        "journal",
        "mails",
        "timers",
    ];
    // Notes of what is yet to be removed, and what was spent.
    const STAY: [&str; 3] = ["avatar_objects", "model_usage", "removed_cores"];
    let tables = dump::tables();
    let of_cores = tables.iter().filter(|table| table.columns().any(|column| column == "core_id"));
    let mut found: Vec<&str> = of_cores.map(Table::name).collect();
    let mut known: Vec<&str> = GO.iter().chain(&STAY).copied().collect();
    found.sort_unstable();
    known.sort_unstable();
    assert_eq!(found, known, "does cores::delete remove it?");
}

fn vault() -> Vault {
    Vault::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

fn delegation(number: u128, user: u128) -> Delegation {
    let scopes: Permissions = ["models:use", "scaibot:bots:read"]
        .map(|key| key.parse::<PermissionKey>().unwrap())
        .into_iter()
        .collect();
    Delegation {
        id: DelegationId::from_ulid(ulid(number)),
        user_id: user_id(user),
        scopes,
        expires_at: Some(at(9)),
        granted_by: user_id(1),
        granted_at: at(2),
        revoked_at: None,
    }
}

/// Has a Core act so, from the revision that it has.
async fn save(home: &Home, core: &Core, identity: CoreIdentity, revision: i64) -> Core {
    let core = Core { identity, ..core.clone() };
    let mut tx = home.begin().await;
    let written = cores::save(&mut tx, of_tenant(1), &core, revision, &vault()).await.unwrap();
    assert_eq!(written, Written::Done);
    tx.commit().await.unwrap();
    core
}

async fn look(home: &Home) -> Core {
    let mut c = home.read().await;
    cores::lookup(&mut c, of_tenant(1), core_id(), &vault()).await.unwrap().unwrap().value
}

async fn a_delegation_is_kept_with_its_core(home: &Home) {
    let core = hosted(home).await;
    assert_eq!(look(home).await.identity, CoreIdentity::ServiceAccount);
    let lent = save(home, &core, CoreIdentity::UserDelegated(delegation(1, 1)), 1).await;
    assert_eq!(look(home).await, lent);
    let listed = {
        let mut c = home.read().await;
        cores::list(&mut c, of_tenant(1), &cores::CoreFilter::default(), None, 10, &vault()).await.unwrap()
    };
    assert_eq!(listed[0].identity, lent.identity);
    // Another one takes its place; one that has no end is kept as one.
    let endless = Delegation { expires_at: None, ..delegation(2, 2) };
    let lent = save(home, &core, CoreIdentity::UserDelegated(endless.clone()), 2).await;
    assert_eq!(look(home).await, lent);
    {
        let mut c = home.read().await;
        assert_eq!(delegations::lookup(&mut c, of_tenant(1), core_id()).await.unwrap(), Some(endless));
        assert_eq!(delegations::lookup(&mut c, of_tenant(2), core_id()).await.unwrap(), None);
    }
    // Whoever comes too late writes neither the Core nor what it is lent.
    let mut tx = home.begin().await;
    let late = Core { identity: CoreIdentity::ServiceAccount, ..core.clone() };
    let written = cores::save(&mut tx, of_tenant(1), &late, 2, &vault()).await.unwrap();
    assert_eq!(written, Written::Stale);
    tx.commit().await.unwrap();
    assert_eq!(look(home).await, lent);
    save(home, &core, CoreIdentity::ServiceAccount, 3).await;
    assert_eq!(look(home).await.identity, CoreIdentity::ServiceAccount);

    save(home, &core, CoreIdentity::UserDelegated(delegation(3, 1)), 4).await;
    let mut tx = home.begin().await;
    assert_eq!(cores::delete(&mut tx, of_tenant(1), core_id(), 100).await.unwrap(), Some(true));
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(delegations::lookup(&mut c, of_tenant(1), core_id()).await.unwrap(), None);
}

async fn a_user_finds_what_they_have_lent(home: &Home) {
    let core = hosted(home).await;
    save(home, &core, CoreIdentity::UserDelegated(delegation(7, 1)), 1).await;
    let mut c = home.read().await;
    let mine = delegations::of_user(&mut c, of_tenant(1), user_id(1), None, 10).await.unwrap();
    assert_eq!(mine.len(), 1);
    assert_eq!((&mine[0].delegation, mine[0].core_id), (&delegation(7, 1), core_id()));
    assert_eq!((mine[0].core_slug.as_str(), mine[0].core_status), (core.slug.as_str(), Status::Running));
    let id = delegation(7, 1).id;
    assert!(delegations::of_user(&mut c, of_tenant(1), user_id(1), Some(id), 10).await.unwrap().is_empty());
    assert_eq!(delegations::core_of(&mut c, of_tenant(1), user_id(1), id).await.unwrap(), Some(core_id()));
    // Nobody else does.
    assert!(delegations::of_user(&mut c, of_tenant(1), user_id(2), None, 10).await.unwrap().is_empty());
    assert!(delegations::of_user(&mut c, of_tenant(2), user_id(1), None, 10).await.unwrap().is_empty());
    assert_eq!(delegations::core_of(&mut c, of_tenant(1), user_id(2), id).await.unwrap(), None);
    drop(c);
    // What they have taken back is still what the Core has, and theirs no more.
    let over = Delegation { revoked_at: Some(at(5)), ..delegation(7, 1) };
    let lent = save(home, &core, CoreIdentity::UserDelegated(over), 2).await;
    assert_eq!(look(home).await, lent);
    let mut c = home.read().await;
    assert!(delegations::of_user(&mut c, of_tenant(1), user_id(1), None, 10).await.unwrap().is_empty());
    assert_eq!(delegations::core_of(&mut c, of_tenant(1), user_id(1), id).await.unwrap(), None);
    assert_eq!(delegations::core_of(&mut c, of_tenant(2), user_id(1), id).await.unwrap(), None);
    drop(c);
    // A node of the version before lends anew and leaves the column as it is: what was taken back before is not that.
    let anew = Delegation { revoked_at: Some(at(1)), ..delegation(8, 1) };
    save(home, &core, CoreIdentity::UserDelegated(anew), 3).await;
    assert_eq!(look(home).await.identity, CoreIdentity::UserDelegated(delegation(8, 1)));
    let mut c = home.read().await;
    let mine = delegations::of_user(&mut c, of_tenant(1), user_id(1), None, 10).await.unwrap();
    assert_eq!(mine[0].delegation, delegation(8, 1));
}

async fn an_execution_keeps_the_delegation_that_it_began_under(home: &Home) {
    hosted(home).await;
    let id = Some(delegation(5, 1).id);
    let mut unit = begin(1);
    if let commit::Change::Begin { execution, .. } = &mut unit.change {
        execution.delegation = id;
    }
    let mut tx = home.begin().await;
    let verdicts = commit::apply(&mut tx, vec![unit, begin(2)]).await.unwrap();
    assert_eq!(verdicts, [commit::Verdict::Done, commit::Verdict::Done]);
    let queued = Execution { status: ExecutionStatus::Queued, delegation: id, ..execution(3) };
    executions::add(&mut tx, of_tenant(1), &[queued]).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    for (number, expected) in [(1, id), (2, None), (3, id)] {
        let found = executions::lookup(&mut c, of_tenant(1), execution_id(number)).await.unwrap().unwrap();
        assert_eq!(found.delegation, expected, "{number}");
    }
    assert!(executions::any_unfinished(&mut c, of_tenant(1), core_id()).await.unwrap());
    assert!(!executions::any_unfinished(&mut c, of_tenant(2), core_id()).await.unwrap());
}

async fn an_execution_begins_as_its_core_is_lent_in_that_moment(home: &Home) {
    let core = hosted(home).await;
    let (mine, former) = (Some(delegation(5, 1).id), Some(delegation(4, 1).id));
    let begins = async |number, delegation| {
        let mut unit = commit::Unit { believed: commit::Believed::LentSo, ..begin(number) };
        if let commit::Change::Begin { execution, .. } = &mut unit.change {
            execution.delegation = delegation;
        }
        apply(home, vec![unit]).await[0]
    };
    assert_eq!(begins(1, None).await, commit::Verdict::Done);
    assert_eq!(begins(2, mine).await, commit::Verdict::LentAnew, "it is lent by nobody");
    save(home, &core, CoreIdentity::UserDelegated(delegation(5, 1)), 1).await;
    assert_eq!(begins(3, None).await, commit::Verdict::LentAnew);
    assert_eq!(begins(4, former).await, commit::Verdict::LentAnew);
    assert_eq!(begins(5, mine).await, commit::Verdict::Done);
    let mut c = home.read().await;
    for (number, begun) in [(1, true), (2, false), (3, false), (4, false), (5, true)] {
        let found = executions::lookup(&mut c, of_tenant(1), execution_id(number)).await.unwrap();
        assert_eq!(found.is_some(), begun, "{number}");
    }
}

async fn one_core_is_held_once(home: &Home) {
    hosted(home).await;
    let why = LastError { code: "DELEGATION_EXPIRED".into(), message: "over".into(), at: at(5) };
    let mut tx = home.begin().await;
    assert_eq!(holds::hold_core(&mut tx, of_tenant(2), core_id(), &why).await.unwrap(), None);
    let held = holds::hold_core(&mut tx, of_tenant(1), core_id(), &why).await.unwrap();
    assert_eq!(held, Some(Status::Running));
    assert_eq!(holds::hold_core(&mut tx, of_tenant(1), core_id(), &why).await.unwrap(), None);
    tx.commit().await.unwrap();
    let core = look(home).await;
    assert_eq!((core.status, core.last_error), (Status::Suspended, Some(why)));
    // What holds it is its own affair: that a module is enabled does not let it go.
    let mut tx = home.begin().await;
    assert!(holds::release(&mut tx, of_tenant(1), &["MODULE_DISABLED"], at(6)).await.unwrap().is_empty());
    tx.rollback().await.unwrap();
}

async fn what_may_be_in_the_store_is_forgotten_last(home: &Home) {
    let core = hosted(home).await;
    let avatar = Avatar { media_type: AvatarType::Svg, hash: "ab".repeat(32).into() };
    let late = |seconds: u64| -> Instant { at(1).plus(Duration::from_secs(seconds)) };
    {
        let mut c = home.read().await;
        assert_eq!(avatars::find(&mut c, &SYSTEM, core_id()).await.unwrap(), None);
        assert!(!avatars::is_noted(&mut c, of_tenant(1), core_id()).await.unwrap());
    }
    let mut tx = home.begin().await;
    avatars::touch(&mut tx, of_tenant(1), core_id(), 10, at(1)).await.unwrap();
    avatars::touch(&mut tx, of_tenant(1), core_id(), 10, late(10)).await.unwrap();
    let pictured = Core { avatar: Some(avatar.clone()), ..core.clone() };
    let _written = cores::save(&mut tx, of_tenant(1), &pictured, 1, &vault()).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    assert_eq!(avatars::find(&mut c, &SYSTEM, core_id()).await.unwrap(), Some((tenant_id(1), avatar)));
    // Its Core is there.
    assert!(avatars::orphans(&mut c, &SYSTEM, late(100), 10).await.unwrap().is_empty());
    drop(c);
    let mut tx = home.begin().await;
    cores::delete(&mut tx, of_tenant(1), core_id(), 100).await.unwrap();
    tx.commit().await.unwrap();
    let mut c = home.read().await;
    // Somebody may be on the way to putting it.
    assert!(avatars::orphans(&mut c, &SYSTEM, late(10), 10).await.unwrap().is_empty());
    let gone = avatars::orphans(&mut c, &SYSTEM, late(11), 10).await.unwrap();
    assert_eq!(gone, [(tenant_id(1), core_id())]);
    drop(c);
    let mut tx = home.begin().await;
    avatars::forget(&mut tx, &SYSTEM, &gone, late(10)).await.unwrap();
    assert!(avatars::is_noted(&mut tx, of_tenant(1), core_id()).await.unwrap(), "it was touched meanwhile");
    avatars::forget(&mut tx, &SYSTEM, &gone, late(11)).await.unwrap();
    assert!(!avatars::is_noted(&mut tx, of_tenant(1), core_id()).await.unwrap());
    tx.commit().await.unwrap();
}
