//! How faults are brought about, and end again.

use std::time::Duration;

use scaigrid_tests::{Behaviour, CORES, Harm, Proxy, Server, Told, eventually};
use serde_json::json;

use super::SOON;
use super::cluster::Cluster;
use super::fault::{Fault, Kind};
use crate::storm::Storm;

/// Longer than a lease lasts, and than it takes others to look.
const PAST_LEASE: Duration = Duration::from_secs(7);
/// Longer than a node waits for a plugin, however often it asks again.
const HANGING: Duration = Duration::from_mins(3);
/// The beginning of an answer that comes to no end.
const LOST: &str = "words that are lost on the way";
/// What a full disk still takes of each file: the server's log, and not the database's.
const LEFT_OVER: u64 = 1024 * 1024;
/// Of so many flows some have something large to keep, as one in sixteen has.
const SOME_LARGE: usize = 32;
/// Ends the sessions of everybody else in this database, of whom there must be some.
const END_SESSIONS: &str = "DO $$ BEGIN \
     IF (SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend') = 0 \
     THEN RAISE EXCEPTION 'there was no session'; END IF; END $$";

impl Fault {
    /// Has it happen, and ends it.
    pub(super) fn happen(&self, cluster: &mut Cluster<'_>, storm: &Storm) {
        match self.kind {
            Kind::NodeKilled => cluster.replace(self.node, storm, Server::kill),
            Kind::NodeTerminated => {
                cluster.server(self.node).terminate();
                cluster.replace(self.node, storm, |node| {
                    let status = node.ended();
                    assert!(status.success(), "{status}");
                });
            }
            Kind::NodePaused => self.node_pauses(cluster, storm),
            Kind::DatabaseCut => self.database_fails(cluster, storm, Proxy::cut),
            Kind::DatabaseStalled => self.database_fails(cluster, storm, Proxy::stall),
            Kind::DatabaseMuted => self.database_fails(cluster, storm, Proxy::mute),
            Kind::DatabaseHalfClosed => {
                self.again_and_again(storm, || cluster.to_database(self.node).half_close());
            }
            Kind::SessionsEnded => self.again_and_again(storm, || cluster.place().run_sql(END_SESSIONS)),
            Kind::DatabaseCrashed => cluster.place().crash_postgres(),
            Kind::DatabaseLost => cluster.replicated().fail_over(),
            Kind::RedisCut => self.redis_fails(cluster, storm),
            Kind::PluginLate => {
                self.plugin_fails(storm, &Behaviour::Late(Duration::from_secs(2) + 3 * self.moment));
            }
            Kind::PluginCut => self.plugin_fails(storm, &Behaviour::Cut),
            Kind::PluginHalf => self.plugin_fails(storm, &Behaviour::Half),
            Kind::PluginGarbage => self.plugin_fails(storm, &Behaviour::Garbage),
            Kind::PluginHung => plugin_hangs(storm),
            Kind::ModelHung => self.model_hangs(storm),
            Kind::ModelCut => self.model_fails(storm, &Told::Gone),
            Kind::ModelHalf => self.model_fails(storm, &Told::Cut(LOST.to_owned(), 3)),
            Kind::ModelGarbage => self.model_fails(storm, &Told::Raw("what?".to_owned())),
            Kind::ModelFailing => {
                self.model_fails(storm, &Told::Status(500, String::new(), "not today".to_owned()));
            }
            Kind::ObjectsAway => self.objects_go(cluster, storm),
            Kind::ObjectsFailing => self.objects_fail(cluster, storm, Harm::Failing),
            Kind::ObjectsHalf => self.objects_fail(cluster, storm, Harm::Half),
            Kind::ObjectsSlow => self.objects_are_slow(cluster, storm),
            Kind::DiskFull => self.disk_is_full(cluster, storm),
            Kind::ClockStepped => self.clock_steps(cluster, storm),
        }
    }

    fn again_and_again(&self, storm: &Storm, fail: impl Fn()) {
        for _ in 0..self.times {
            fail();
            storm.goes_on(2);
        }
    }

    fn node_pauses(&self, cluster: &Cluster<'_>, storm: &Storm) {
        let node = cluster.server(self.node);
        node.pause();
        std::thread::sleep(PAST_LEASE + self.moment);
        cluster.others_go_on(self.node, storm);
        node.resume();
    }

    fn database_fails(&self, cluster: &Cluster<'_>, storm: &Storm, fail: fn(&Proxy)) {
        let wire = cluster.to_database(self.node);
        fail(wire);
        cluster.becomes(self.node, "database", "failing");
        cluster.others_go_on(self.node, storm);
        std::thread::sleep(4 * self.moment);
        wire.mend();
    }

    fn redis_fails(&self, cluster: &Cluster<'_>, storm: &Storm) {
        let wire = cluster.to_redis(self.node);
        wire.cut();
        cluster.becomes(self.node, "bus", "degraded");
        storm.goes_on(5);
        wire.mend();
    }

    fn plugin_fails(&self, storm: &Storm, behaviour: &Behaviour) {
        storm.plugin_fails(vec![behaviour.clone(); self.times]);
    }

    fn model_fails(&self, storm: &Storm, told: &Told) {
        storm.model_fails(vec![told.clone(); self.times]);
    }

    /// Half of the questions are not answered at all, the others not to the end; those who asked leave.
    fn model_hangs(&self, storm: &Storm) {
        let waited = storm.model().hung_up();
        let hang = [Told::Silence, Told::Stall(LOST.to_owned(), 3)];
        storm.model_fails(hang.into_iter().cycle().take(self.times).collect());
        eventually("nobody waits any more", SOON, || {
            (storm.model().hung_up() >= waited + self.times).then_some(())
        });
    }

    fn objects_go(&self, cluster: &Cluster<'_>, storm: &Storm) {
        cluster.point_objects_to("objects");
        cluster.becomes(self.node, "object_store", "failing");
        storm.goes_on(SOME_LARGE);
        cluster.point_objects_to("kept");
    }

    fn objects_fail(&self, cluster: &Cluster<'_>, storm: &Storm, harm: Harm) {
        let bucket = cluster.bucket();
        bucket.harm(harm);
        cluster.becomes(self.node, "object_store", "failing");
        storm.goes_on(SOME_LARGE);
        bucket.harm(Harm::None);
    }

    /// Four pauses at once are less than a node waits for an answer: all goes on, later.
    fn objects_are_slow(&self, cluster: &Cluster<'_>, storm: &Storm) {
        let bucket = cluster.bucket();
        let before = bucket.harmed();
        bucket.harm(Harm::Slow(Duration::from_millis(250) + self.moment));
        storm.goes_on(SOME_LARGE);
        eventually("answers are slow", SOON, || (bucket.harmed() >= before + self.times).then_some(()));
        bucket.harm(Harm::None);
    }

    fn disk_is_full(&self, cluster: &Cluster<'_>, storm: &Storm) {
        let (node, core) = (cluster.server(self.node), format!("{CORES}/{}", storm.core()));
        let logged = u64::try_from(node.log().len()).unwrap();
        node.limit_files(Some(logged + LEFT_OVER));
        let mut number = 0;
        eventually("nothing can be written", SOON, || {
            number += 1;
            let written = node.admin().put(&core, &json!({"name": format!("Work {number}")})).exchange();
            assert!(matches!(written.status, 200 | 503), "{written}");
            (written.status == 503).then_some(())
        });
        std::thread::sleep(self.moment);
        node.limit_files(None);
    }

    /// A store of S3 refuses a node whose clock is so wrong; what it had to keep is tried again.
    fn clock_steps(&self, cluster: &Cluster<'_>, storm: &Storm) {
        // What the node itself takes the hour for.
        let hour = || {
            let answer = cluster.server(self.node).anyone().get("/health").answer(200);
            answer.header("date").unwrap()[..19].to_owned()
        };
        for offset in ["+2h", "-2h"] {
            let before = hour();
            cluster.set_clock(self.node, offset);
            eventually("the clock is set", SOON, || (hour() != before).then_some(()));
            storm.goes_on(10);
        }
        cluster.set_clock(self.node, "+0");
    }
}

/// Two calls are never answered; those who made them leave in the end.
fn plugin_hangs(storm: &Storm) {
    let waited = storm.plugin().hung_up();
    storm.plugin_fails(vec![Behaviour::Hang; 2]);
    eventually("nobody waits any more", HANGING, || (storm.plugin().hung_up() >= waited + 2).then_some(()));
}
