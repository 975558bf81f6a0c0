//! Faults of all kinds, drawn from a seed and brought about one after the other under load; what came of it is held against a model.
//!
//! Here are a few of them, the same ones every time, so that what a change is told does not hang on chance. `cargo xtask chaos` draws
//! others, as many as are wanted, and those that need a PostgreSQL of their own, or patience. `SCAIGRID_CHAOS_SEED` repeats a run: with the
//! same means the same faults come in the same order. `SCAIGRID_CHAOS_KINDS` has only some kinds of them come.

mod cluster;
mod fault;
mod happen;
mod means;
mod report;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use scaigrid_tests::{Client, Db, Dice, Place, Replicated, eventually, on};

use crate::statistics;
use crate::storm::Storm;
use cluster::Cluster;
use fault::{Fault, drawn};
use means::Means;
use report::Report;

/// By what they are drawn where `SCAIGRID_CHAOS_SEED` does not say.
const SEED: u64 = 14;
/// How many faults there are where `SCAIGRID_CHAOS_FAULTS` does not say.
const FAULTS: usize = 5;
/// For what comes, when it comes: the machine may be busy.
const SOON: Duration = Duration::from_secs(45);

#[test]
fn one_node_on_sqlite() {
    on(Db::Sqlite, |place| chaos(place, 1, None));
}

#[test]
fn two_nodes_on_postgresql() {
    let Some(programs) = Replicated::programs() else {
        return on(Db::Postgres, |place| chaos(place, 2, None));
    };
    let database = Replicated::start(&programs);
    let place = Place::on_postgres(database.url());
    chaos(&place, 2, Some(&database));
    place.leave();
}

fn chaos(place: &Place, nodes: usize, replicated: Option<&Replicated>) {
    // What nodes say of faults is for the operator, and may be loud.
    place.allow_in_log("");
    let seed = std::env::var("SCAIGRID_CHAOS_SEED").ok().map_or(SEED, |text| text.parse().unwrap());
    let count = std::env::var("SCAIGRID_CHAOS_FAULTS").ok().map_or(FAULTS, |text| text.parse().unwrap());
    let mut dice = Dice::of(seed);
    let means = Means::of(place, replicated);
    let kinds = means.kinds();
    if kinds.is_empty() {
        println!("skipped: nothing that is wanted can go wrong here");
        return;
    }
    let faults = drawn(&mut dice, &kinds, nodes, count);
    let mut report = Report::new(place.db(), nodes, seed);
    let ended = catch_unwind(AssertUnwindSafe(|| go_through(place, nodes, &means, &faults, &mut report)));
    report.end(ended.as_ref().err());
    if let Err(violation) = ended {
        resume_unwind(violation);
    }
}

/// The load, the faults, and what must be true afterwards.
fn go_through(place: &Place, nodes: usize, means: &Means<'_>, faults: &[Fault], report: &mut Report) {
    let mut cluster = Cluster::start(place, nodes, means);
    let storm = Storm::rise_amid_failures(place, &cluster.nodes());
    for fault in faults {
        storm.goes_on(8);
        std::thread::sleep(fault.moment);
        println!("{fault}");
        fault.happen(&mut cluster, &storm);
        cluster.recovers(&storm);
        report.count(fault.kind);
    }
    storm.goes_on(8);
    report.executions = storm.calm();
    check(&cluster.admin());
    cluster.stop();
    assert!(!place.log().contains("panicked"), "a node panicked");
}

/// What is counted is what is there, and the audit log is what was written.
fn check(admin: &Client) {
    statistics::agree(admin);
    statistics::agree_on_usage(admin);
    let verified = eventually("all records are sealed", SOON, || {
        let verified = admin.get("/v1/audit/verify").answer(200).data();
        (verified["pending"] == 0).then_some(verified)
    });
    assert_eq!(verified["valid"], true, "{verified}");
}
