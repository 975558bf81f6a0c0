//! Nodes, each with wires of its own to the services, a clock of its own, and a store of large values that all share.

use std::path::PathBuf;

use scaigrid_tests::{Client, Db, ObjectServer, Place, Proxy, Replicated, Server, eventually};

use super::SOON;
use super::means::Means;
use crate::storm::Storm;

/// The wires of a node, with the URLs through them.
struct Wires {
    database: Option<(Proxy, String)>,
    redis: Option<(Proxy, String)>,
}

/// The nodes of a run.
pub(super) struct Cluster<'a> {
    place: &'a Place,
    means: &'a Means<'a>,
    wires: Vec<Wires>,
    servers: Vec<Server>,
    /// Where large values are, if not in a folder.
    bucket: Option<ObjectServer>,
}

impl<'a> Cluster<'a> {
    /// Starts so many nodes.
    pub(super) fn start(place: &'a Place, nodes: usize, means: &'a Means<'a>) -> Self {
        let wires = || Wires {
            database: (place.db() == Db::Postgres).then(|| Proxy::on_the_way_to(place.database_url())),
            redis: means.redis.as_deref().map(Proxy::on_the_way_to),
        };
        let wires = (0..nodes).map(|_| wires()).collect();
        let files = place.folder().join("s3");
        let bucket = means.object_server.as_deref().map(|program| ObjectServer::start(program, &files));
        let mut cluster = Self { place, means, wires, servers: Vec::new(), bucket };
        std::fs::create_dir(place.folder().join("kept")).unwrap();
        cluster.point_objects_to("kept");
        for node in 0..nodes {
            cluster.set_clock(node, "+0");
            let server = cluster.launch(node);
            cluster.servers.push(server);
        }
        cluster
    }

    fn launch(&self, node: usize) -> Server {
        let launch =
            if node == 0 { self.place.launch() } else { self.place.further_node(&format!("node-{node}")) };
        let mut launch = launch
            .set("SCAIGRID_EGRESS_ALLOW", "127.0.0.1")
            // A log of every request would itself fill a disk.
            .set("SCAIGRID_LOG", "warn");
        let objects = match &self.bucket {
            Some(bucket) => bucket.settings().to_vec(),
            None => vec![("SCAIGRID_OBJECT_STORE", format!("file://{}", self.objects().display()))],
        };
        launch = objects.iter().fold(launch, |launch, (name, value)| launch.set(name, value));
        let Wires { database, redis } = &self.wires[node];
        if let Some((_, url)) = database {
            launch = launch.set("SCAIGRID_DATABASE_URL", url);
        }
        if let Some((_, url)) = redis {
            launch = launch.set("SCAIGRID_REDIS_URL", url);
        }
        if let Some(library) = &self.means.fake_time {
            launch = launch
                .set("LD_PRELOAD", &library.to_string_lossy())
                .set("FAKETIME_TIMESTAMP_FILE", &self.clock(node).to_string_lossy())
                .set("FAKETIME_CACHE_DURATION", "1")
                .set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if self.means.limits_files() { launch.with_limits().start() } else { launch.start() }
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Place {
        self.place
    }

    /// All nodes.
    pub(super) fn nodes(&self) -> Vec<&Server> {
        self.servers.iter().collect()
    }

    /// A node.
    pub(super) fn server(&self, node: usize) -> &Server {
        &self.servers[node]
    }

    /// The first admin, as a client of a node.
    pub(super) fn admin(&self) -> Client {
        self.servers[0].admin()
    }

    /// Has the other nodes bear the load, where there are others, and waits until they do.
    pub(super) fn others_go_on(&self, node: usize, storm: &Storm) {
        let others: Vec<&Server> = self
            .servers
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != node)
            .map(|(_, server)| server)
            .collect();
        if !others.is_empty() {
            storm.ask(&others);
            storm.goes_on(5);
        }
    }

    /// Has a node end in some way while others, where there are others, bear the load; and starts it again.
    pub(super) fn replace(&mut self, node: usize, storm: &Storm, end: impl FnOnce(Server)) {
        let old = self.servers.remove(node);
        if !self.servers.is_empty() {
            storm.ask(&self.nodes());
        }
        end(old);
        let new = self.launch(node);
        self.servers.insert(node, new);
        storm.ask(&self.nodes());
    }

    /// The database, which has a replica.
    pub(super) fn replicated(&self) -> &Replicated {
        self.means.replicated.unwrap()
    }

    /// The wire between a node and the database.
    pub(super) fn to_database(&self, node: usize) -> &Proxy {
        &self.wires[node].database.as_ref().unwrap().0
    }

    /// The wire between a node and Redis.
    pub(super) fn to_redis(&self, node: usize) -> &Proxy {
        &self.wires[node].redis.as_ref().unwrap().0
    }

    /// Where large values are, with somebody in between.
    pub(super) fn bucket(&self) -> &ObjectServer {
        self.bucket.as_ref().unwrap()
    }

    /// Waits until a node's readiness says this of that.
    pub(super) fn becomes(&self, node: usize, what: &str, condition: &str) {
        eventually(&format!("{what} is {condition}"), SOON, || {
            let ready = self.servers[node].anyone().get("/health/ready").send().ok()?;
            // Whoever asked while it stood still gets 408, without a body.
            (ready.status != 408 && ready.json()["checks"][what] == condition).then_some(())
        });
    }

    /// Waits until every node is well and bears its part of the load, and nothing is left that has failed.
    pub(super) fn recovers(&self, storm: &Storm) {
        for node in 0..self.servers.len() {
            for what in ["database", "object_store", "bus"] {
                self.becomes(node, what, "ok");
            }
        }
        storm.ask(&self.nodes());
        storm.goes_on(10);
        storm.mends();
    }

    /// Where the nodes look for large values: a name for the folder in which they are.
    fn objects(&self) -> PathBuf {
        self.place.folder().join("objects")
    }

    /// Has the nodes look for large values elsewhere; at `objects` itself nobody gets any further.
    pub(super) fn point_objects_to(&self, target: &str) {
        let name = self.place.folder().join("new-objects");
        std::os::unix::fs::symlink(target, &name).unwrap();
        std::fs::rename(name, self.objects()).unwrap();
    }

    fn clock(&self, node: usize) -> PathBuf {
        self.place.folder().join(format!("clock-{node}"))
    }

    /// Sets a node's clock, where it has one of its own.
    pub(super) fn set_clock(&self, node: usize, offset: &str) {
        std::fs::write(self.clock(node), offset).unwrap();
    }

    /// Ends all nodes well.
    pub(super) fn stop(self) {
        self.servers.into_iter().for_each(Server::stop);
    }
}
