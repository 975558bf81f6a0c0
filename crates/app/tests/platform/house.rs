//! An application on a file of its own, with a clock that is wound by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use scaigrid_app::tenants::NewTenant;
use scaigrid_app::users::NewUser;
use scaigrid_app::{
    App, Error, PageRequest, Parts, RequestContext, api_keys::NewApiKey, audit::AuditFilter, built_in_modules,
};
use scaigrid_bus::Bus;
use scaigrid_engine::{Engine, Ids};
use scaigrid_outbound::{Client, Guard};
use scaigrid_persistence::sealing::Vault;
use scaigrid_persistence::{Database, DatabaseUrl};
use scaigrid_scope::{
    Clock, Email, Features, Instant, Name, Principal, Role, Slug, SystemScope, Tenant, TenantLimits, User,
    UserKind,
};
use tempfile::TempDir;

pub(crate) struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) database: Database,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) root: String,
    _dir: TempDir,
}

pub(crate) const FULL: PageRequest = PageRequest { limit: 100, cursor: None };

pub(crate) fn nobody() -> RequestContext {
    RequestContext::default()
}

pub(crate) fn application(database: &Database, vault: &Arc<Vault>, clock: &Arc<Hand>) -> App {
    let bus = Bus::in_process();
    let ids = Arc::new(Ids::new());
    let clock: Arc<dyn Clock> = clock.clone();
    let system = SystemScope::for_the_process();
    let outbound = Client::new(Guard::new("127.0.0.1".parse().unwrap())).unwrap();
    let nowhere = std::env::temp_dir().join(format!("scaigrid-objects-{}", std::process::id()));
    let objects: Arc<dyn scaigrid_storage::ObjectStore> = Arc::new(scaigrid_storage::Files::visit(nowhere));
    let engine = Engine::new(scaigrid_engine::Parts {
        database: database.clone(),
        objects: Arc::clone(&objects),
        bus: bus.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        vault: vault.clone(),
        outbound: outbound.clone(),
        system: system.clone(),
        issuer: "scaigrid".to_owned(),
        memory_entries: 1_000_000,
        max_queued: 100_000,
        journal_entries: 50_000,
    });
    App::new(Parts {
        database: database.clone(),
        objects,
        bus,
        clock,
        ids,
        engine,
        vault: vault.clone(),
        catalogue: built_in_modules().unwrap(),
        tokens: None,
        outbound,
        remote: scaigrid_app::modules::RemoteSettings::default(),
        system,
    })
}

/// An application after its first start.
pub(crate) async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&DatabaseUrl::Sqlite(dir.path().join("grid.db")), 4).await.unwrap();
    let vault = Arc::new(Vault::parse(&Vault::generate()).unwrap());
    let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000_000_000)));
    let app = application(&database, &vault, &clock);
    let root = app.bootstrap(None, |_| Ok(())).await.unwrap().unwrap().reveal().to_owned();
    House { app, database, vault, clock, root, _dir: dir }
}

impl House {
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(crate) async fn caller(&self, key: &str, tenant: Option<&str>) -> Result<Arc<Principal>, Error> {
        self.app.authenticate(key, tenant, None).await
    }

    pub(crate) async fn root(&self) -> Arc<Principal> {
        self.caller(&self.root, None).await.unwrap()
    }

    pub(crate) async fn add_tenant(&self, slug: &str, limits: TenantLimits) -> Result<Tenant, Error> {
        let new = NewTenant {
            slug: Slug::parse(slug).unwrap(),
            name: Name::parse(slug).unwrap(),
            partner_id: None,
            scaikey_tenant_id: None,
            limits,
            features: Features::default(),
        };
        self.app.create_tenant(&self.root().await.authorize_at_level().unwrap(), &nobody(), new).await
    }

    /// Adds a user, by the super admin, in a tenant.
    pub(crate) async fn add_user(&self, tenant: &str, email: &str, role: Role) -> Result<User, Error> {
        let by = self.caller(&self.root, Some(tenant)).await?;
        let new = NewUser {
            email: Email::parse(email).unwrap(),
            display_name: None,
            kind: UserKind::Human,
            roles: [role].into_iter().collect(),
            custom_roles: Vec::new(),
        };
        let made = self.app.create_user(&by.authorize().unwrap(), &nobody(), new).await;
        made.map(|account| account.user)
    }

    /// A user with a key.
    pub(crate) async fn join(&self, tenant: &str, email: &str, role: Role) -> (User, String) {
        let user = self.add_user(tenant, email, role).await.unwrap();
        let by = self.caller(&self.root, Some(tenant)).await.unwrap();
        let new = NewApiKey { assigned_user_id: Some(user.id), ..key("theirs") };
        let made = self.app.create_api_key(&by.authorize().unwrap(), &nobody(), new).await.unwrap();
        (user, made.plaintext.reveal().to_owned())
    }

    /// The actions of the audit log, newest first, as someone sees it.
    pub(crate) async fn audit(&self, by: &Arc<Principal>) -> Vec<&'static str> {
        let token = by.authorize_at_level().unwrap();
        let page = self.app.audit_records(&token, &AuditFilter::default(), &FULL).await.unwrap();
        page.items.iter().map(|record| record.action.as_str()).collect()
    }
}

pub(crate) fn key(name: &str) -> NewApiKey {
    NewApiKey { name: Name::parse(name).unwrap(), expires_at: None, scopes: None, assigned_user_id: None }
}
