//! Starting a flow from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_recursion::async_recursion as boxed;
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin, Standing};
use scaigrid_ir::Value;
use scaigrid_ir::module::{Module, TriggerKind};
use scaigrid_persistence::commit::Believed;
use scaigrid_runtime::journal::Entry;
use scaigrid_runtime::{ExecutionContext, Failure, Machine, Program, Start};
use scaigrid_scope::{CoreId, ExecutionId, TenantScope, UserId};

use crate::calls::Driven;
use crate::cores::HostedCore;
use crate::drive::Committed;
use crate::instances::instances;
use crate::resume::ATTEMPTS;
use crate::run::{Done, Run};
use crate::{Engine, Error};

/// What is asked of a Core.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// The flow; where absent, the one that the Core plainly offers.
    pub flow: Option<String>,
    /// Its parameters, as an object.
    pub input: Value,
    /// The instance.
    pub instance_key: Option<String>,
    /// How long to wait for the end, or for the first wait, of the execution.
    pub wait: Option<Duration>,
    /// The user who asks; none where nobody in particular does.
    pub by: Option<UserId>,
}

impl Engine {
    /// Starts a flow. With a wait the execution runs at once, and becomes durable when it first waits, or has ended; without
    /// one it is accepted, durably, and runs afterwards.
    ///
    /// # Errors
    /// The Core takes no work; there is no such flow; the input does not fit; the database.
    #[boxed]
    pub async fn invoke(
        &self,
        scope: TenantScope,
        core: CoreId,
        invocation: Invocation,
    ) -> Result<Standing, Error> {
        self.invoke_as(scope, core, self.execution_id(), invocation).await
    }

    /// An id for an execution that is yet to begin.
    pub fn execution_id(&self) -> ExecutionId {
        ExecutionId::from_ulid(self.0.ids.draw(self.0.clock.now()))
    }

    /// [`Engine::invoke`] under an id that the caller has drawn ([`Engine::execution_id`]) and may listen to already.
    ///
    /// # Errors
    /// As [`Engine::invoke`].
    #[boxed]
    pub async fn invoke_as(
        &self,
        scope: TenantScope,
        core: CoreId,
        id: ExecutionId,
        invocation: Invocation,
    ) -> Result<Standing, Error> {
        self.invoke_from(scope, core, id, Origin::Invoke, invocation).await
    }

    /// [`Engine::invoke_as`], of something else that starts flows.
    pub(crate) async fn invoke_from(
        &self,
        scope: TenantScope,
        core: CoreId,
        id: ExecutionId,
        origin: Origin,
        invocation: Invocation,
    ) -> Result<Standing, Error> {
        let hosted = self.accepting(scope, core).await?;
        let program = self.program(scope, core, hosted.core.source.version).await?;
        let flow = flow(&program, invocation.flow)?;
        let now = self.0.clock.now();
        let instances = instances(&hosted, &program);
        let place = instances.place(invocation.instance_key.as_deref(), &invocation.input);
        let place = place.map_err(Error::EntityKey)?;
        // One that runs at once finds out when it is written down whether that is still so. Nothing goes out before, but texts whose
        // meaning is looked for.
        let written_first = program.module().embedding().is_none();
        let delegation = if invocation.wait.is_some() && place.slots.is_none() && written_first {
            hosted.core.identity.delegation().map(|delegation| delegation.id)
        } else {
            self.begun_under(scope, core).await?
        };
        let execution = Execution {
            id,
            tenant_id: scope.tenant_id(),
            core_id: core,
            flow,
            source_version: hosted.core.source.version,
            status: ExecutionStatus::Running,
            origin,
            instance_key: place.key,
            slots: place.slots,
            parent: None,
            depth: 0,
            input: invocation.input,
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.begun_trace(),
            delegation,
            requested_by: invocation.by.into_iter().collect(),
        };
        self.admit(scope, program, &hosted, execution, invocation.wait).await
    }

    /// Lets an execution in that has been thought out: at once, or when it is its turn.
    pub(crate) async fn admit(
        &self,
        scope: TenantScope,
        program: Arc<Program>,
        hosted: &HostedCore,
        execution: Execution,
        wait: Option<Duration>,
    ) -> Result<Standing, Error> {
        if execution.slots.is_some() {
            return self.enqueue(scope, program, hosted, execution, wait).await;
        }
        match wait {
            None => self.accept(scope, program, hosted, execution).await,
            Some(wait) => {
                let until = Instant::now() + wait;
                match self.run_at_once(scope, program, hosted, execution, until).await? {
                    Driven::Rested(run, committed) => self.settle_run(*run, committed, until).await,
                    Driven::GoesOn(execution) => {
                        Ok(Standing { execution: *execution, checkpoints: Vec::new() })
                    }
                }
            }
        }
    }

    async fn accept(
        &self,
        scope: TenantScope,
        program: Arc<Program>,
        hosted: &HostedCore,
        execution: Execution,
    ) -> Result<Standing, Error> {
        let Some(place) = self.0.background.at_once() else {
            // What waits is in the database, where it waits its turn among all tenants and any node can take it.
            drop(begin(scope, program, hosted, execution.clone())?);
            self.may_queue(scope, hosted).await?;
            let execution = self.queue(scope, hosted, execution).await?;
            return Ok(Standing { execution, checkpoints: Vec::new() });
        };
        let mut run = begin(scope, program, hosted, execution)?;
        match self.commit(&mut run, ExecutionStatus::Running).await? {
            Committed::Yes | Committed::AndAwaited => {}
            _ => return Err(Error::NotRunning(self.status_now(scope, hosted.core.id).await?)),
        }
        let standing = Standing { execution: run.execution.clone(), checkpoints: Vec::new() };
        self.go_on_in_background(run, place);
        Ok(standing)
    }

    async fn run_at_once(
        &self,
        scope: TenantScope,
        program: Arc<Program>,
        hosted: &HostedCore,
        mut execution: Execution,
        until: Instant,
    ) -> Result<Driven, Error> {
        let mut turn = None;
        for attempt in 0..ATTEMPTS {
            self.take_turn(&mut turn, attempt, execution.core_id).await;
            if attempt > 0 {
                execution.delegation = self.begun_under(scope, execution.core_id).await?;
            }
            let mut run = begin(scope, Arc::clone(&program), hosted, execution.clone())?;
            run.done.believed = Believed::LentSo;
            let (mut run, committed) = match self.drive_for(run, until).await? {
                Driven::Rested(run, committed) => (run, committed),
                goes_on @ Driven::GoesOn(_) => return Ok(goes_on),
            };
            match committed {
                Committed::Yes | Committed::AndAwaited | Committed::Unfinished => {
                    return Ok(Driven::Rested(run, committed));
                }
                // It had become durable on the way: it goes on from there, in other hands.
                Committed::Again | Committed::Overtaken if run.stored_epoch.is_some() => {
                    run.execution.status = ExecutionStatus::Running;
                    return Ok(Driven::Rested(run, committed));
                }
                Committed::Again | Committed::Overtaken => {}
                Committed::Refused => {
                    return Err(Error::NotRunning(self.status_now(scope, hosted.core.id).await?));
                }
            }
        }
        Err(Error::Contended)
    }
}

/// The flow that is meant.
fn flow(program: &Program, named: Option<String>) -> Result<Arc<str>, Error> {
    let module = program.module();
    match named {
        Some(name) => module.flow(&name).map(|flow| Arc::clone(&flow.name)).ok_or_else(|| {
            Error::Start(Failure::new("FLOW_NOT_FOUND", format!("the program has no flow {name}")))
        }),
        None => offered(program).ok_or_else(|| {
            let offered: Vec<&str> = module.flows.iter().map(|flow| &*flow.name).collect();
            let message = format!("the program has several flows; name one of {}", offered.join(", "));
            Error::Start(Failure::new("FLOW_NOT_FOUND", message))
        }),
    }
}

/// The flow that a Core plainly offers: its only one, or the only one that an API trigger names.
fn offered(program: &Program) -> Option<Arc<str>> {
    let module = program.module();
    if let [only] = module.flows.as_slice() {
        return Some(Arc::clone(&only.name));
    }
    let mut offered = module
        .triggers
        .iter()
        .filter(|trigger| matches!(trigger.kind, TriggerKind::Api { .. }))
        .map(|trigger| &trigger.target_flow);
    let first = offered.next()?;
    offered.all(|other| other == first).then(|| Arc::clone(first))
}

/// An execution at its beginning, in memory only.
pub(crate) fn begin(
    scope: TenantScope,
    program: Arc<Program>,
    hosted: &HostedCore,
    execution: Execution,
) -> Result<Run, Error> {
    let start = start(&program, hosted, &execution)?;
    let machine = Machine::start(&program, start.clone()).map_err(Error::Start)?;
    let done = Done { entries: vec![Entry::Started(Box::new(start))], ..Done::default() };
    let run = Run::durable(scope, program, machine, execution, (1, 0));
    Ok(Run { stored_epoch: None, done, ..run })
}

/// What an execution begins with. A parameter of the program's configuration takes its value from the Core's environment,
/// where that has one of its name.
fn start(program: &Program, hosted: &HostedCore, execution: &Execution) -> Result<Start, Error> {
    Ok(Start {
        flow: Arc::clone(&execution.flow),
        input: execution.input.clone(),
        config: configured(program.module(), &hosted.env)?,
        context: ExecutionContext {
            execution_id: execution.id.to_string().into(),
            core_id: execution.core_id.to_string().into(),
            trigger: Value::String(execution.origin.to_string().into()),
            started_at: execution.started_at.micros(),
        },
        env: hosted.env.clone(),
        debug: !hosted.inside.stops.is_empty(),
    })
}

fn configured(module: &Module, environment: &Value) -> Result<Value, Error> {
    match environment {
        Value::Object(set) if !module.config.is_empty() => {
            module.configured((**set).clone()).map_err(|_| Error::Misconfigured)
        }
        _ => Ok(environment.clone()),
    }
}
