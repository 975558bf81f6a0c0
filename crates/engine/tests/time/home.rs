//! A database for one test, a clock, and engines on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use scaigrid_bus::Bus;
use scaigrid_cores::execution::Execution;
use scaigrid_cores::{Action, Core, NewCore, Status};
use scaigrid_engine::{Declared, Engine, Ids, Parts};
use scaigrid_outbound::{AllowList, Client, Guard};
use scaigrid_persistence::executions::{self, ExecutionFilter};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::timers::Timer;
use scaigrid_persistence::{Database, DatabaseUrl, cores, partners, tenants, timers, users};
use scaigrid_scope::{
    Clock, CoreId, Email, ExecutionId, Features, Instant, Name, Partner, PartnerId, PartnerLimits,
    PartnerStatus, Role, Slug, SystemScope, Tenant, TenantId, TenantLimits, TenantScope, TenantStatus, User,
    UserId, UserKind, UserStatus,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const POSTGRES: &str = "SCAIGRID_TEST_POSTGRES_URL";
const REQUIRE_ALL: &str = "SCAIGRID_TEST_REQUIRE_ALL";
const CONNECTIONS: usize = 6;
const SYSTEM: SystemScope = SystemScope::for_the_process();

/// A clock that is wound by hand.
pub(crate) struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Home {
    pub(crate) database: Database,
    pub(crate) ids: Arc<Ids>,
    clock: Arc<Hand>,
    vault: Arc<Vault>,
    bus: Bus,
    place: Place,
}

enum Place {
    Directory(TempDir),
    Schema { server: String, name: String },
}

impl Home {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("scaigrid.db"));
        Self::of(&url, Place::Directory(directory)).await
    }

    /// None when there is no server to test on, which is said.
    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var(POSTGRES) else {
            assert!(std::env::var(REQUIRE_ALL).as_deref() != Ok("1"), "{POSTGRES} is not set");
            eprintln!("skipped: {test} on PostgreSQL, for {POSTGRES} is not set");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("engine_{}_{number}", std::process::id());
        let mut admin = AsyncPgConnection::establish(&server).await.unwrap();
        let make = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
        admin.batch_execute(&make).await.unwrap();
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = DatabaseUrl::Postgres(format!("{server}{separator}options=-csearch_path%3D{name}"));
        Some(Self::of(&url, Place::Schema { server, name }).await)
    }

    async fn of(url: &DatabaseUrl, place: Place) -> Self {
        let database = Database::open(url, CONNECTIONS).await.unwrap();
        let home = Self {
            database,
            ids: Arc::new(Ids::new()),
            clock: Arc::new(Hand(AtomicI64::new(at("2026-11-20T10:00:30Z").micros()))),
            vault: Arc::new(Vault::parse(&Vault::generate()).unwrap()),
            bus: Bus::in_process(),
            place,
        };
        home.settle().await;
        home
    }

    /// Removes the database. After a failed test it is left for whoever looks into it.
    pub(crate) async fn remove(self) {
        drop(self.database);
        match self.place {
            Place::Directory(directory) => directory.close().unwrap(),
            Place::Schema { server, name } => {
                let mut admin = AsyncPgConnection::establish(&server).await.unwrap();
                // A node that was told to end may be looking for work a last time.
                let drop = format!("DROP SCHEMA {name} CASCADE");
                for _ in 0..50 {
                    if admin.batch_execute(&drop).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                unreachable!("{name} cannot be removed");
            }
        }
    }

    async fn settle(&self) {
        let (now, ulid) = (self.now(), self.ids.draw(self.now()));
        let (partner_id, tenant_id) = (PartnerId::from_ulid(ulid), TenantId::from_ulid(OURS.into()));
        let (slug, name) = (Slug::parse("acme").unwrap(), Name::parse("Acme").unwrap());
        let email = Email::parse("ada@acme.example").unwrap();
        let partner = Partner {
            id: partner_id,
            slug: slug.clone(),
            name: name.clone(),
            contact_email: None,
            status: PartnerStatus::Active,
            limits: PartnerLimits { max_tenants: None, max_users_per_tenant: None },
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let tenant = Tenant {
            id: tenant_id,
            partner_id,
            slug,
            name,
            status: TenantStatus::Active,
            scaikey_tenant_id: None,
            limits: TenantLimits::default(),
            features: Features::default(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let user = User {
            id: UserId::from_ulid(OURS.into()),
            tenant_id,
            email,
            display_name: None,
            kind: UserKind::Human,
            status: UserStatus::Active,
            roles: [Role::TenantUser].into_iter().collect(),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.database.begin().await.unwrap();
        partners::add(&mut tx, SYSTEM.platform(), &partner).await.unwrap();
        tenants::add(&mut tx, SYSTEM.partner(partner_id), &tenant).await.unwrap();
        users::add(&mut tx, scope(), &user).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn set_clock(&self, text: &str) {
        self.clock.0.store(at(text).micros(), Ordering::SeqCst);
    }

    pub(crate) fn pass(&self, duration: Duration) {
        self.clock.0.store(self.now().plus(duration).micros(), Ordering::SeqCst);
    }

    /// A node, at rest.
    pub(crate) async fn node(&self) -> Engine {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let nowhere = std::env::temp_dir().join(format!("scaigrid-engine-{}", std::process::id()));
        let engine = Engine::new(Parts {
            database: self.database.clone(),
            objects: Arc::new(scaigrid_storage::Files::visit(nowhere)),
            bus: self.bus.clone(),
            clock,
            ids: Arc::clone(&self.ids),
            vault: Arc::clone(&self.vault),
            system: SYSTEM,
            outbound: Client::new(Guard::new(AllowList::default())).unwrap(),
            issuer: "https://grid.example".to_owned(),
            memory_entries: 1_000,
            max_queued: 100_000,
            journal_entries: 50_000,
        });
        engine.register().await.unwrap();
        engine
    }

    /// A Core that runs.
    pub(crate) async fn host(&self, engine: &Engine, new: NewCore) -> CoreId {
        let id = CoreId::from_ulid(self.ids.draw(self.now()));
        let core =
            Core::create(id, scope().tenant_id(), UserId::from_ulid(OURS.into()), self.now(), new).unwrap();
        let (core, _) = core.apply(Action::Start, self.now()).unwrap();
        let (core, _) = core.apply(Action::Started, self.now()).unwrap();
        let mut tx = self.database.begin().await.unwrap();
        cores::add(&mut tx, scope(), &core, &self.vault).await.unwrap();
        let declared = Declared::of(&core.source.program);
        engine.arrange(&mut tx, scope(), (id, core.status), Some(&declared)).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Moves a Core to a status, and gives it another program where there is one.
    pub(crate) async fn turn(&self, engine: &Engine, id: CoreId, status: Status, program: Option<&Value>) {
        let mut tx = self.database.begin().await.unwrap();
        let mut found = cores::lookup(&mut tx, scope(), id, &self.vault).await.unwrap().unwrap();
        found.value.status = status;
        let saved = cores::save(&mut tx, scope(), &found.value, found.revision, &self.vault).await.unwrap();
        assert_eq!(saved, scaigrid_persistence::Written::Done);
        let declared = program.map(Declared::of);
        engine.arrange(&mut tx, scope(), (id, status), declared.as_ref()).await.unwrap();
        tx.commit().await.unwrap();
        engine.core_changed(id);
    }

    /// The executions of a Core, oldest first.
    pub(crate) async fn executions(&self, core: CoreId) -> Vec<Execution> {
        let filter = ExecutionFilter { core_id: Some(core), ..ExecutionFilter::default() };
        let mut connection = self.database.read().await.unwrap();
        let mut found = executions::list(&mut connection, scope(), &filter, None, 10_000).await.unwrap();
        found.reverse();
        found
    }

    /// What has come for an execution.
    pub(crate) async fn inbox(&self, id: ExecutionId) -> Vec<(u32, Vec<u8>)> {
        let mut connection = self.database.read().await.unwrap();
        executions::inbox(&mut connection, scope(), id).await.unwrap()
    }

    /// All timers, the next first.
    pub(crate) async fn timers(&self) -> Vec<Timer> {
        let mut connection = self.database.read().await.unwrap();
        let all = timers::due(&mut connection, &SYSTEM, Instant::MAX, 10_000).await.unwrap();
        all.into_iter().map(|(_, timer)| timer).collect()
    }
}

/// The number of all ids that a test does not draw.
const OURS: u128 = 1 << 100;

pub(crate) fn scope() -> TenantScope {
    SYSTEM.tenant(TenantId::from_ulid(OURS.into()))
}

pub(crate) fn at(text: &str) -> Instant {
    Instant::parse(text).unwrap()
}

/// A program of these flows, and whatever else it declares.
pub(crate) fn program(flows: &[Value], more: &Value) -> Value {
    let mut program = json!({"schema_version": "0.2", "name": "P", "version": "1.0.0", "flows": flows});
    for (name, value) in more.as_object().unwrap() {
        program[name] = value.clone();
    }
    program
}

/// A flow that returns all that it got.
pub(crate) fn echo(name: &str) -> Value {
    json!({"name": name, "params": [], "body": [
        {"kind": "rigid", "statements": [{"kind": "return", "value": "input"}]}]})
}

pub(crate) fn core(name: &str, program: Value) -> NewCore {
    NewCore { source: program, ..NewCore::named(name) }
}
