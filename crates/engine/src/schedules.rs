//! What a program declares about times and other Cores' events: brought in line with its Core's life, and carried out.
//!
//! A slot is one point in time of a schedule. It is served by whoever takes the schedule's timer, in the transaction in
//! which the execution begins, the slot is noted and the next timer is set: once, on any number of nodes.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_cores::Status;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_cores::instances::Place;
use scaigrid_cores::triggers::schedule::Schedule;
use scaigrid_cores::triggers::{self, Listens, Source, Trigger};
use scaigrid_ir::core_uri;
use scaigrid_ir::module::{Module, TriggerKind};
use scaigrid_ir::{Diagnostic, Value, diagnostic::codes, load};
use scaigrid_persistence as persistence;
use scaigrid_persistence::schedules::{self, StoredSchedule};
use scaigrid_persistence::timers::{self, Owner, Timer};
use scaigrid_persistence::{Transaction, cores, delegations, executions, subscriptions, tenants};
use scaigrid_scope::{CoreId, ExecutionId, Instant, TenantScope};

use crate::traces::{kind, note_begun};
use crate::{Engine, Error};

/// The most characters of a name that is looked up by.
const NAME_AT_MOST: usize = 200;

/// What a program declares that its Core must be ready for while it runs.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    schedules: Vec<StoredSchedule>,
    /// Events of other Cores: where they come from, and their names.
    subscriptions: Vec<(Arc<str>, Arc<str>)>,
    /// The module itself, for what was registered beside it.
    module: Option<Arc<Module>>,
}

impl Declared {
    /// What a program declares. One that cannot be read declares nothing.
    pub fn of(program: &serde_json::Value) -> Self {
        load::module(program).module.map(Self::of_module).unwrap_or_default()
    }

    fn of_module(module: Arc<Module>) -> Self {
        let schedules = module.triggers.iter().filter_map(|trigger| match &trigger.kind {
            TriggerKind::Schedule { cron, timezone, catch_up } => Some(StoredSchedule {
                name: trigger.name.to_string(),
                flow: trigger.target_flow.to_string(),
                cron: cron.to_string(),
                timezone: timezone.to_string(),
                catch_up: *catch_up,
                last_slot: None,
            }),
            _ => None,
        });
        let short = |name: &str| name.chars().count() <= NAME_AT_MOST;
        let subscriptions = module.subscriptions.iter().filter_map(|subscription| {
            let from = subscription.from.as_ref()?;
            let heard = core_uri::slug(from).is_some_and(short) && short(&subscription.event);
            heard.then(|| (Arc::clone(from), Arc::clone(&subscription.event)))
        });
        let (schedules, subscriptions) = (schedules.collect(), subscriptions.collect());
        Self { schedules, subscriptions, module: Some(module) }
    }

    /// The schedules: those of the program, and those that were registered and are at work beside it.
    fn all_schedules(&self, core: CoreId, registered: &[Trigger]) -> Vec<StoredSchedule> {
        let Some(module) = &self.module else { return self.schedules.clone() };
        let beside = triggers::entries(core, module, registered).into_iter().filter_map(|entry| {
            let Source::Registered { .. } = entry.source else { return None };
            let (name, flow) = (entry.name.to_string(), entry.flow.to_string());
            match entry.listens {
                Ok(Listens::Schedule { cron, timezone, catch_up }) => {
                    Some(StoredSchedule { name, flow, cron, timezone, catch_up, last_slot: None })
                }
                _ => None,
            }
        });
        let mut all: Vec<StoredSchedule> = self.schedules.iter().cloned().chain(beside).collect();
        // As they are stored.
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// What is wrong with the schedules that a program declares.
pub(crate) fn check(module: &Module) -> Vec<Diagnostic> {
    let wrong = module.triggers.iter().filter_map(|trigger| {
        let TriggerKind::Schedule { cron, timezone, catch_up } = &trigger.kind else { return None };
        let (field, error) = Schedule::parse(cron, timezone, *catch_up).err()?;
        Some(Diagnostic::error(
            codes::INVALID_VALUE,
            format!("{}/{field}", trigger.pointer),
            error.to_string(),
        ))
    });
    wrong.collect()
}

impl Engine {
    /// Brings a Core's timers and subscriptions in line with the status that it has from now on, in the transaction that
    /// gives it that status or another program. Without `declared`, what it declared last still holds.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn arrange(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        (core, status): (CoreId, Status),
        declared: Option<&Declared>,
    ) -> Result<(), Error> {
        let runs = status == Status::Running;
        if !runs && declared.is_none() {
            return Ok(timers::clear_schedules(tx, scope, core).await?);
        }
        let before = schedules::list(tx, scope, core).await?;
        let same_name = |wanted: &StoredSchedule| before.iter().find(|stored| stored.name == wanted.name);
        let wanted: Vec<StoredSchedule> = match declared {
            None => before.clone(),
            Some(declared) => {
                let kept = |wanted: &StoredSchedule| StoredSchedule {
                    last_slot: same_name(wanted).and_then(|stored| stored.last_slot),
                    ..wanted.clone()
                };
                let registered = persistence::triggers::list(tx, scope, core).await?;
                declared.all_schedules(core, &registered).iter().map(kept).collect()
            }
        };
        if let Some(declared) = declared {
            if wanted != before {
                schedules::replace(tx, scope, core, &wanted).await?;
            }
            let heard = self.within_the_tenant(tx, scope, &declared.subscriptions).await?;
            subscriptions::replace(tx, scope, core, &heard).await?;
        }
        // What it declares is known when it runs again.
        if !runs {
            return Ok(timers::clear_schedules(tx, scope, core).await?);
        }
        for gone in before.iter().filter(|stored| wanted.iter().all(|wanted| wanted.name != stored.name)) {
            timers::clear(tx, scope, &Owner::Schedule { core, name: gone.name.clone() }).await?;
        }
        for wanted in &wanted {
            let owner = Owner::Schedule { core, name: wanted.name.clone() };
            let unchanged = same_name(wanted)
                .is_some_and(|stored| (&stored.cron, &stored.timezone) == (&wanted.cron, &wanted.timezone));
            // A slot that is due, and not served yet, is not lost by a change of something else.
            if unchanged && timers::lookup(tx, scope, &owner).await?.is_some() {
                continue;
            }
            let now = self.0.clock.now();
            let after = wanted.last_slot.map_or(now, |slot| slot.max(now));
            match parse(wanted).and_then(|schedule| schedule.next_after(after)) {
                Some(due_at) => timers::set(tx, scope, &Timer { owner, core_id: core, due_at }).await?,
                None => timers::clear(tx, scope, &owner).await?,
            }
        }
        self.0.timers.notify_one();
        Ok(())
    }

    /// The subscriptions that name a Core of the tenant itself, by slug and event.
    async fn within_the_tenant(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        subscriptions: &[(Arc<str>, Arc<str>)],
    ) -> Result<Vec<(String, String)>, Error> {
        if subscriptions.is_empty() {
            return Ok(Vec::new());
        }
        let tenant = tenants::reference(tx, &self.0.system, scope.tenant_id()).await?;
        let own = tenant.as_ref().map(|tenant| tenant.slug.as_str());
        let heard = subscriptions
            .iter()
            .filter(|(from, _)| core_uri::lies_in(from, own))
            .filter_map(|(from, event)| Some((core_uri::slug(from)?.to_owned(), event.to_string())));
        Ok(heard.collect())
    }

    /// Serves the slots of a schedule that are due.
    pub(crate) async fn serve(
        &self,
        scope: TenantScope,
        timer: &Timer,
        (core, name): (CoreId, &str),
    ) -> Result<(), Error> {
        let stored = {
            let mut connection = self.0.database.read().await?;
            schedules::lookup(&mut connection, scope, core, name).await?
        };
        let now = self.0.clock.now();
        let Some((schedule, stored)) = stored.and_then(|stored| Some((parse(&stored)?, stored))) else {
            return self.drop_timer(scope, timer).await;
        };
        let place = self.place_of_all(scope, core).await?;
        let slots = schedule.slots((timer.due_at, now), stored.last_slot);
        let next = schedule.next_after(now);
        let mut transaction = self.0.database.begin().await?;
        // First the Core, as everywhere.
        let standing = cores::hold_standing(&mut transaction, scope, core).await?;
        if !timers::take(&mut transaction, scope, timer).await? {
            return Ok(transaction.rollback().await?);
        }
        let Some((Status::Running, version)) = standing else { return Ok(transaction.commit().await?) };
        if schedules::lookup(&mut transaction, scope, core, name).await?.as_ref() != Some(&stored) {
            // It was given another program in between: what is due then is looked at anew.
            transaction.rollback().await?;
            return Err(Error::Contended);
        }
        let lent = delegations::lookup(&mut transaction, scope, core).await?;
        let lent = lent.map(|delegation| delegation.id);
        let due: Vec<Execution> = slots
            .due
            .iter()
            .map(|slot| Execution {
                delegation: lent,
                ..self.of_slot((scope, core, version), &place, &stored, (*slot, now))
            })
            .collect();
        executions::add(&mut transaction, scope, &due).await?;
        if let Some(last) = slots.due.last() {
            schedules::served(&mut transaction, scope, core, name, *last).await?;
        }
        if let Some(due_at) = next {
            let timer = Timer { due_at, ..timer.clone() };
            timers::set(&mut transaction, scope, &timer).await?;
        }
        transaction.commit().await?;
        for begun in &due {
            note_begun(kind(&begun.origin));
        }
        if slots.left_out > 0 {
            let (left_out, served) = (slots.left_out, due.len());
            tracing::warn!(%core, schedule = name, left_out, served, "points in time were missed");
        }
        if !due.is_empty() {
            self.work_waits();
        }
        Ok(())
    }

    fn of_slot(
        &self,
        (scope, core_id, source_version): (TenantScope, CoreId, u32),
        place: &Place,
        stored: &StoredSchedule,
        (slot, now): (Instant, Instant),
    ) -> Execution {
        let instants =
            [("scheduled_at", Value::Datetime(slot.micros())), ("fired_at", Value::Datetime(now.micros()))];
        Execution {
            id: ExecutionId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            core_id,
            flow: stored.flow.as_str().into(),
            source_version,
            status: ExecutionStatus::Queued,
            origin: Origin::Schedule(stored.name.as_str().into()),
            instance_key: place.key.clone(),
            slots: place.slots,
            parent: None,
            depth: 0,
            input: Value::from(instants),
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.0.tracing.reserve(None),
            delegation: None,
            requested_by: Vec::new(),
        }
    }
}

/// A stored schedule; none where this version cannot read it any more.
fn parse(stored: &StoredSchedule) -> Option<Schedule> {
    match Schedule::parse(&stored.cron, &stored.timezone, stored.catch_up) {
        Ok(schedule) => Some(schedule),
        Err((field, error)) => {
            tracing::error!(schedule = stored.name, "{field} {error}");
            None
        }
    }
}
