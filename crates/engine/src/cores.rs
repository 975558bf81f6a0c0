//! Cores as the engine needs them: status, program ready to run, configuration. Kept in memory for a moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use moka::sync::Cache;
use scaigrid_bus::Recent;
use scaigrid_checkpoints::Rules;
use scaigrid_cores::{Core, EnvValue, Environment, Status};
use scaigrid_ir::block::Checkpoint;
use scaigrid_ir::diagnostic::{codes, in_order};
use scaigrid_ir::{Diagnostic, Value, load};
use scaigrid_persistence::subscriptions::{self, Subscription};
use scaigrid_persistence::{breakpoints, cores};
use scaigrid_runtime::Program;
use scaigrid_scope::{CoreId, TenantId, TenantScope};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::inside::Inside;
use crate::start::Wants;
use crate::{Engine, Error, forms, schedules};

/// How many Cores, and how many programs, are kept in memory.
const CORES: u64 = 10_000;
const PROGRAMS: u64 = 2_000;

/// A Core, ready to run.
#[derive(Debug, Clone)]
pub struct HostedCore {
    /// The Core, its present source with it.
    pub core: Arc<Core>,
    /// What the program sees as `env`: the values that are not secret.
    pub env: Value,
    /// What the inside view knows of it.
    pub inside: Inside,
}

/// Why a program is not run.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(pub Vec<Diagnostic>);

pub(crate) struct Hosted {
    /// What is kept for one tenant is not found by another, nor do they wait for each other.
    cores: Recent<CoreId, TenantId, Arc<HostedCore>>,
    /// Whose a Core is, which never changes.
    tenants: Cache<CoreId, TenantId>,
    programs: Cache<(CoreId, u32), Arc<Program>>,
    turns: Cache<CoreId, Arc<Mutex<()>>>,
    /// Whether a Core's programs up to a version can wait for events.
    pub(crate) may_wait: Cache<(CoreId, u32), bool>,
    /// Who of a tenant's Cores listens to others.
    subscribers: Recent<(), TenantId, Arc<[Subscription]>>,
}

/// The turn of an execution among those of its Core that keep getting into each other's way.
pub(crate) type Turn = Option<OwnedMutexGuard<()>>;

/// Attempts that an execution makes beside the others before it waits for its turn.
const SIDE_BY_SIDE: u32 = 2;
/// The longest wait for a turn; past it one tries without.
const TURN: Duration = Duration::from_secs(5);

impl Hosted {
    pub(crate) fn new() -> Self {
        Self {
            cores: Recent::new(CORES),
            tenants: Cache::new(CORES),
            programs: Cache::builder().max_capacity(PROGRAMS).time_to_idle(Duration::from_mins(10)).build(),
            turns: Cache::builder().max_capacity(CORES).time_to_idle(Duration::from_mins(10)).build(),
            may_wait: Cache::builder().max_capacity(CORES).time_to_idle(Duration::from_mins(10)).build(),
            subscribers: Recent::new(CORES),
        }
    }

    /// Forgets what may have changed.
    pub(crate) fn forget(&self, core: CoreId) {
        self.cores.forget(&core);
        self.subscribers.forget_all();
    }

    /// Forgets everything that may change; programs of a version never do.
    pub(crate) fn forget_all(&self) {
        self.cores.forget_all();
        self.subscribers.forget_all();
    }
}

/// Loads and verifies a program; warnings do not stand in its way.
pub(crate) fn ready(document: &serde_json::Value) -> Result<Program, Refusal> {
    let (program, mut findings) = examined(document);
    program.ok_or_else(|| {
        findings.retain(Diagnostic::is_error);
        Refusal(findings)
    })
}

/// A program, if it can run, and all that there is to say of it.
fn examined(document: &serde_json::Value) -> (Option<Program>, Vec<Diagnostic>) {
    let passes = |findings: &[Diagnostic]| !findings.iter().any(Diagnostic::is_error);
    let (module, mut findings) = load::check(document);
    let Some(module) = module else { return (None, findings) };
    findings.extend(schedules::check(&module));
    let mut program = None;
    if passes(&findings) {
        let made = Program::new(module);
        findings.extend(made.checkpoints().flat_map(impossible));
        program = Some(made).filter(|_| passes(&findings));
    }
    in_order(&mut findings);
    (program, findings)
}

/// What a checkpoint asks for that no answer could ever fulfil.
fn impossible((pointer, checkpoint): (&str, &Checkpoint)) -> Vec<Diagnostic> {
    let form = checkpoint.form.as_ref().and_then(|form| forms::validator(&form.to_json()).err());
    let many = checkpoint.required_approvals.filter(|count| *count > Rules::MAX_APPROVALS);
    let many = many.map(|_| format!("must be an integer from 1 to {}", Rules::MAX_APPROVALS));
    let found = [("form", form), ("required_approvals", many)].into_iter();
    let found = found.filter_map(|(field, problem)| problem.map(|problem| (field, problem)));
    let told = found.map(|(field, problem)| {
        Diagnostic::error(codes::INVALID_VALUE, format!("{pointer}/{field}"), problem)
    });
    told.collect()
}

impl Engine {
    /// Executions run side by side and hope that nobody changes what they change. One that has hoped in vain waits here, so
    /// that on one node those that count on the same counter go one after the other, and each gets through. Nodes among
    /// each other draw lots by pausing.
    pub(crate) async fn take_turn(&self, turn: &mut Turn, attempt: u32, core: CoreId) {
        if attempt < SIDE_BY_SIDE {
            return;
        }
        if turn.is_none() {
            let queue = self.0.hosted.turns.get_with(core, || Arc::new(Mutex::new(())));
            *turn = tokio::time::timeout(TURN, queue.lock_owned()).await.ok();
        }
        if attempt > SIDE_BY_SIDE {
            let most = 5 * u64::from(attempt);
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..most))).await;
        }
    }

    /// All that a start would say of a program by itself, warnings included.
    pub fn findings(document: &serde_json::Value) -> Vec<Diagnostic> {
        examined(document).1
    }

    /// Checks a program as a start does, and says what it needs of its surroundings.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn check(document: &serde_json::Value) -> Result<Wants, Refusal> {
        ready(document).map(|program| Wants::of(&program))
    }

    /// Tells every node that a Core changed, this one first.
    pub fn core_changed(&self, core: CoreId) {
        self.0.hosted.forget(core);
        self.0.bus.publish(scaigrid_bus::Signal::CoreChanged(core));
        // What was held may go on now.
        self.0.work.notify_one();
    }

    /// A Core of the tenant, as it stood at most a second ago.
    pub(crate) async fn hosted(&self, scope: TenantScope, id: CoreId) -> Result<Arc<HostedCore>, Error> {
        let key = (id, scope.tenant_id());
        if let Some(hosted) = self.0.hosted.cores.get(&key) {
            return Ok(hosted);
        }
        // In a box: it is seldom needed, and stands in many futures.
        Box::pin(self.look_up(scope, id)).await
    }

    async fn look_up(&self, scope: TenantScope, id: CoreId) -> Result<Arc<HostedCore>, Error> {
        let look_up = self.0.hosted.cores.look_up((id, scope.tenant_id())).await;
        if let Some(hosted) = look_up.kept() {
            return Ok(hosted);
        }
        let mut connection = self.0.database.read().await?;
        let found = cores::lookup(&mut connection, scope, id, &self.0.vault).await?;
        let core = found.ok_or(Error::NoCore)?.value;
        let inside = Inside::of(&core, breakpoints::list(&mut connection, scope, id).await?);
        let env = Value::Object(Arc::new(seen(&core.environment)));
        let hosted = Arc::new(HostedCore { core: Arc::new(core), env, inside });
        look_up.keep(Arc::clone(&hosted));
        Ok(hosted)
    }

    /// The right to work for the tenant of a Core, for what comes in without credentials; none where there is no such Core.
    pub(crate) async fn scope_of(&self, id: CoreId) -> Result<Option<TenantScope>, Error> {
        let tenants = &self.0.hosted.tenants;
        if let Some(tenant) = tenants.get(&id) {
            return Ok(Some(self.0.system.tenant(tenant)));
        }
        let mut connection = self.0.database.read().await?;
        let Some(tenant) = cores::tenant_of(&mut connection, &self.0.system, id).await? else {
            return Ok(None);
        };
        tenants.insert(id, tenant);
        Ok(Some(self.0.system.tenant(tenant)))
    }

    /// Whether there is such a Core, as far as was known a second ago.
    ///
    /// # Errors
    /// There is none in the tenant.
    #[boxed]
    pub async fn require_core(&self, scope: TenantScope, id: CoreId) -> Result<(), Error> {
        self.hosted(scope, id).await.map(drop)
    }

    /// A Core that takes work.
    pub(crate) async fn accepting(&self, scope: TenantScope, id: CoreId) -> Result<Arc<HostedCore>, Error> {
        let hosted = self.hosted(scope, id).await?;
        match hosted.core.status {
            status if status.can_accept_work() => Ok(hosted),
            status => Err(Error::NotRunning(status)),
        }
    }

    /// The Cores that listen to an event of another one, as far as was known a second ago; whether they run is not looked at.
    pub(crate) async fn subscribers(
        &self,
        scope: TenantScope,
        emitter: &HostedCore,
        event: &str,
    ) -> Result<Vec<CoreId>, Error> {
        let known = self.subscriptions(scope).await?;
        let hears = |one: &&Subscription| {
            one.core_id != emitter.core.id
                && one.from_slug == emitter.core.slug.as_str()
                && one.event == event
        };
        let mut cores: Vec<CoreId> = known.iter().filter(hears).map(|one| one.core_id).collect();
        cores.dedup();
        Ok(cores)
    }

    /// Which of a tenant's Cores listen to which events of others, as far as was known a second ago.
    async fn subscriptions(&self, scope: TenantScope) -> Result<Arc<[Subscription]>, Error> {
        let (known, key) = (&self.0.hosted.subscribers, ((), scope.tenant_id()));
        if let Some(subscriptions) = known.get(&key) {
            return Ok(subscriptions);
        }
        let look_up = known.look_up(key).await;
        if let Some(subscriptions) = look_up.kept() {
            return Ok(subscriptions);
        }
        let mut connection = self.0.database.read().await?;
        let found: Arc<[Subscription]> = subscriptions::list(&mut connection, scope).await?.into();
        look_up.keep(Arc::clone(&found));
        Ok(found)
    }

    /// The status of a Core just now.
    pub(crate) async fn status_now(&self, scope: TenantScope, id: CoreId) -> Result<Status, Error> {
        let mut connection = self.0.database.read().await?;
        cores::standing(&mut connection, scope, id).await?.map(|(status, _)| status).ok_or(Error::NoCore)
    }

    /// A version of a Core's program, ready to run.
    pub(crate) async fn program(
        &self,
        scope: TenantScope,
        core: CoreId,
        version: u32,
    ) -> Result<Arc<Program>, Error> {
        if let Some(program) = self.0.hosted.programs.get(&(core, version)) {
            return Ok(program);
        }
        let mut connection = self.0.database.read().await?;
        let found =
            cores::lookup_version(&mut connection, scope, core, version).await?.ok_or(Error::NoCore)?;
        drop(connection);
        let document = Arc::clone(&found.source.program);
        // A large program takes a while to check; the thread that serves requests must not stand still for it.
        let program = tokio::task::spawn_blocking(move || ready(&document))
            .await
            .map_err(|_| Error::ShuttingDown)?
            .map_err(|Refusal(findings)| Error::BadProgram(findings))?;
        let program = Arc::new(program);
        self.0.hosted.programs.insert((core, version), Arc::clone(&program));
        Ok(program)
    }
}

/// What a program sees of an environment: the values that are not secret.
pub(crate) fn seen(environment: &Environment) -> BTreeMap<Arc<str>, Value> {
    let plain = environment.iter().filter_map(|(name, value)| match value {
        EnvValue::Plain(value) => Some((Arc::from(name), Value::from_json(value))),
        EnvValue::Secret(_) => None,
    });
    plain.collect()
}
