//! From what is said to the execution that answers it.

use scaigrid_cores::conversation::{
    Behind, Caller, Conversation, Found, Request, TurnStatus, has_one, joins,
};
use scaigrid_cores::execution::{Execution, ExecutionStatus, Origin};
use scaigrid_cores::publication::{Chat, chat_flow};
use scaigrid_persistence::conversations::{self, Told, Turn};
use scaigrid_persistence::{self as persistence, executions};
use scaigrid_scope::{ConversationId, ExecutionId, TenantScope, UserId};

use std::sync::Arc;

use super::{Ask, Begun, refused};
use crate::cores::HostedCore;
use crate::effects::DEPTH_AT_MOST;
use crate::instances::instances;
use crate::invoke::begin;
use crate::models::CallError;
use crate::{Engine, Error};

/// How often a conversation is looked for anew because somebody else has just begun it.
const ATTEMPTS: u32 = 3;
/// How many executions may lie between one that is asked and the first that asked.
const CHAIN_AT_MOST: u16 = 4 * DEPTH_AT_MOST;

/// What a request was found to go on with.
struct Thread {
    conversation: Option<ConversationId>,
    turn: Option<(Found, Turn)>,
}

impl Engine {
    /// Finds out what a request goes on with, begins its turn, and an execution where none owes it an answer.
    pub(super) async fn begin_chat(&self, ask: &Ask) -> Result<Begun, CallError> {
        let request = Request::of(&ask.messages);
        for _ in 0..ATTEMPTS {
            let thread = self.thread(ask, &request).await?;
            if let Some((found, turn)) = &thread.turn {
                let behind = self.behind(ask.scope, turn.execution_id).await?;
                let joined = if is_program(ask.caller) {
                    has_one(turn.status, behind, ask.in_doubt)
                } else {
                    joins(*found, turn.status, behind)
                };
                if joined {
                    return self.join(ask, &request, *found, turn).await;
                }
            }
            if let Some(begun) = self.begin_anew(ask, &request, thread.conversation).await? {
                return Ok(begun);
            }
        }
        Err(refused(&ask.model, Error::Contended))
    }

    /// What a request goes on with: the conversation that it names, else the one in which the same was asked and is owed an
    /// answer, else the one that what was said before tells, by its last answer or by a question that is owed one, else, where
    /// nothing was said before, the youngest about the same entity.
    async fn thread(&self, ask: &Ask, request: &Request) -> Result<Thread, CallError> {
        let (scope, core, caller, entity) = (ask.scope, ask.core, ask.caller, ask.entity.as_deref());
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        if let Some(key) = &ask.key {
            let found = match key.parse::<ConversationId>() {
                Ok(id) => {
                    let found = conversations::lookup(c, scope, id).await?;
                    let own = found.filter(|it| it.core_id == core && it.caller == caller);
                    let none =
                        || CallError::rejected("metadata.conversation_id names no conversation of yours");
                    Some(own.ok_or_else(none)?)
                }
                Err(_) => conversations::find_by_key(c, scope, core, caller, key).await?,
            };
            let Some(conversation) = found else { return Ok(Thread { conversation: None, turn: None }) };
            let last = conversations::last_turn(c, scope, conversation.id).await?;
            let turn = last.map(|turn| {
                let repeated = turn.asked_print == request.whole || is_program(caller);
                (if repeated { Found::Repeated } else { Found::Before }, turn)
            });
            return Ok(Thread { conversation: Some(conversation.id), turn });
        }
        let found = conversations::turn_by_question(c, scope, (core, caller), entity, &request.whole).await?;
        if let Some(turn) = found {
            return Ok(Thread { conversation: Some(turn.conversation), turn: Some((Found::Repeated, turn)) });
        }
        let found = match (&request.head, &ask.entity) {
            (Some(head), _) => {
                let by_answer = conversations::turn_by_answer(c, scope, (core, caller), entity, head).await?;
                let question = || request.answered(&ask.messages);
                match by_answer.is_none().then(question).flatten() {
                    Some(question) => {
                        conversations::turn_by_question(c, scope, (core, caller), entity, &question).await?
                    }
                    None => by_answer,
                }
            }
            (None, Some(entity)) => {
                match conversations::find_by_entity(c, scope, core, caller, entity).await? {
                    Some(id) => conversations::last_turn(c, scope, id).await?,
                    None => None,
                }
            }
            (None, None) => None,
        };
        Ok(match found {
            // Without what was said before, only something that is waited for holds a conversation together.
            Some(turn) if request.head.is_none() && turn.status != TurnStatus::Waiting => {
                Thread { conversation: None, turn: None }
            }
            Some(turn) => Thread { conversation: Some(turn.conversation), turn: Some((Found::Before, turn)) },
            None => Thread { conversation: None, turn: None },
        })
    }

    /// What is known of the execution behind a turn.
    async fn behind(&self, scope: TenantScope, id: ExecutionId) -> Result<Behind, CallError> {
        match self.glance(scope, id).await {
            Ok(standing) if standing.execution.status == ExecutionStatus::Completed => Ok(Behind::Ended),
            Ok(standing) if standing.execution.status.is_final() => Ok(Behind::Failed),
            Ok(standing) if !standing.checkpoints.is_empty() => Ok(Behind::AtCheckpoint),
            Ok(_) => Ok(Behind::AtWork),
            Err(Error::NoExecution) => Ok(Behind::Nothing),
            Err(Error::Database(error)) => Err(error.into()),
            Err(error) => Err(CallError::rejected(error.to_string())),
        }
    }

    /// Has a request wait for an execution that owes an answer.
    async fn join(
        &self,
        ask: &Ask,
        request: &Request,
        found: Found,
        turn: &Turn,
    ) -> Result<Begun, CallError> {
        let waited = turn.status == TurnStatus::Waiting;
        let begun = Begun {
            conversation: turn.conversation,
            turn: turn.turn,
            execution: turn.execution_id,
            since: turn.ended_at.filter(|_| waited),
            waited,
            before: turn.told,
        };
        if found == Found::Repeated {
            return Ok(begun);
        }
        let fresh = new_turn(ask, request, turn.conversation, turn.execution_id, self.0.clock.now());
        let mut tx = self.0.database.begin().await?;
        let number = conversations::begin_turn(&mut tx, ask.scope, &fresh).await?;
        tx.commit().await?;
        // Somebody has just erased it.
        let number = number.ok_or_else(|| refused(&ask.model, Error::Contended))?;
        Ok(Begun { turn: number, before: Told::default(), ..begun })
    }

    /// Begins an execution for a request, in a conversation or in one of its own. None when somebody else has just begun
    /// the conversation.
    async fn begin_anew(
        &self,
        ask: &Ask,
        request: &Request,
        conversation: Option<ConversationId>,
    ) -> Result<Option<Begun>, CallError> {
        let no = |error| refused(&ask.model, error);
        let (scope, now) = (ask.scope, self.0.clock.now());
        let hosted = self.accepting(scope, ask.core).await.map_err(no)?;
        let version = hosted.core.source.version;
        let program = self.program(scope, ask.core, version).await.map_err(no)?;
        let flow = chat_flow(program.module()).ok_or_else(|| {
            let reason = "its program has no flow called chat, and several others".to_owned();
            CallError::Failed { model: ask.model.to_string(), reason, status: None }
        })?;
        let instances = instances(&hosted, &program);
        let chat =
            Chat { message: &request.message, messages: &ask.messages, entity_id: ask.entity.as_deref() };
        let (input, key) = (chat.input(flow, &instances), chat.instance_key(flow, &instances));
        let place =
            instances.place(key.as_deref(), &input).map_err(|problem| no(Error::EntityKey(problem)))?;
        let delegation = self.begun_under(scope, ask.core).await.map_err(no)?;
        let execution = Execution {
            id: ExecutionId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            core_id: ask.core,
            flow: Arc::clone(&flow.name),
            source_version: version,
            status: ExecutionStatus::Running,
            origin: Origin::Chat,
            instance_key: place.key,
            slots: place.slots,
            parent: None,
            depth: 0,
            input,
            output: None,
            error: None,
            started_at: now,
            finished_at: None,
            debugging: None,
            trace: self.begun_trace(),
            delegation,
            requested_by: self.requesters(ask).await?,
        };
        let execution = Execution { depth: self.depth(ask, &execution).await?, ..execution };
        // What does not fit is told before anything is written.
        drop(begin(scope, Arc::clone(&program), &hosted, execution.clone()).map_err(no)?);
        let Some(begun) = self.write_turn(ask, request, conversation, &execution).await? else {
            return Ok(None);
        };
        self.begin_execution(ask, &hosted, program, execution, &begun).await?;
        Ok(Some(begun))
    }

    async fn begin_execution(
        &self,
        ask: &Ask,
        hosted: &HostedCore,
        program: Arc<scaigrid_runtime::Program>,
        execution: Execution,
        begun: &Begun,
    ) -> Result<(), CallError> {
        let Err(error) = self.admit(ask.scope, program, hosted, execution, None).await else { return Ok(()) };
        // Where it is not known whether it was begun, whoever asks again finds out.
        if !matches!(error, Error::Database(_)) {
            self.end_turn(ask, begun, TurnStatus::Failed, None, Told::default()).await;
        }
        Err(refused(&ask.model, error))
    }

    async fn write_turn(
        &self,
        ask: &Ask,
        request: &Request,
        conversation: Option<ConversationId>,
        execution: &Execution,
    ) -> Result<Option<Begun>, CallError> {
        let now = execution.started_at;
        let mut tx = self.0.database.begin().await?;
        let id = if let Some(id) = conversation {
            id
        } else {
            let fresh = Conversation {
                id: ConversationId::from_ulid(self.0.ids.draw(now)),
                tenant_id: ask.scope.tenant_id(),
                core_id: ask.core,
                caller_tenant: ask.from.tenant_id(),
                caller: ask.caller,
                key: ask.key.clone(),
                entity_id: ask.entity.clone(),
                status: TurnStatus::Running,
                turns: 0,
                created_at: now,
                updated_at: now,
            };
            match conversations::add(&mut tx, ask.scope, &fresh).await {
                Ok(()) => fresh.id,
                // Somebody else has just begun it.
                Err(persistence::Error::Duplicate(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let turn = new_turn(ask, request, id, execution.id, now);
        let number = conversations::begin_turn(&mut tx, ask.scope, &turn).await?;
        tx.commit().await?;
        Ok(number.map(|turn| Begun {
            conversation: id,
            turn,
            execution: execution.id,
            since: None,
            waited: false,
            before: Told::default(),
        }))
    }

    /// Whose wish it is: the user's who chats, or theirs who asked for the execution that does.
    async fn requesters(&self, ask: &Ask) -> Result<Vec<UserId>, CallError> {
        let asking = match ask.caller {
            Caller::User(user) => return Ok(vec![user]),
            Caller::Execution(asking) => asking,
        };
        let mut connection = self.0.database.read().await?;
        let asking = executions::lookup(&mut connection, ask.from, asking).await?;
        Ok(asking.map(|asking| asking.requested_by).unwrap_or_default())
    }

    /// How deep the execution lies: one below that of the Core that asks, if one does.
    ///
    /// A Core that asks keeps its instance's slot while it waits; so one that asks for what needs the same slot would wait for
    /// itself.
    async fn depth(&self, ask: &Ask, asked: &Execution) -> Result<u16, CallError> {
        let Caller::Execution(asking) = ask.caller else { return Ok(0) };
        let too_deep = || CallError::TooDeep { model: ask.model.to_string() };
        let mut connection = self.0.database.read().await?;
        let (mut at, mut depth) = (Some((ask.from, asking)), None);
        for _ in 0..CHAIN_AT_MOST {
            let Some((scope, id)) = at else { break };
            let Some(above) = executions::glance(&mut connection, scope, id).await? else { break };
            let depth = *depth.get_or_insert(above.depth);
            if depth >= DEPTH_AT_MOST {
                return Err(too_deep());
            }
            let holds = above.status == ExecutionStatus::Running && above.slots.is_some();
            if holds && above.core_id == asked.core_id && above.instance_key == asked.instance_key {
                return Err(too_deep());
            }
            at =
                match above.parent {
                    Some(parent) => Some((scope, parent.execution)),
                    None => conversations::asked_by(&mut connection, scope, id).await?.and_then(
                        |(caller, tenant)| match caller {
                            Caller::Execution(id) => Some((self.0.system.tenant(tenant), id)),
                            Caller::User(_) => None,
                        },
                    ),
                };
        }
        Ok(depth.unwrap_or_default() + 1)
    }
}

/// Whether an execution asks a Core as its model.
pub(super) const fn is_program(caller: Caller) -> bool {
    matches!(caller, Caller::Execution(_))
}

fn new_turn(
    ask: &Ask,
    request: &Request,
    conversation: ConversationId,
    execution: ExecutionId,
    now: scaigrid_scope::Instant,
) -> Turn {
    let messages = if request.head.is_some() { &ask.messages[request.fresh..] } else { &ask.messages[..] };
    Turn {
        conversation,
        turn: 0,
        core_id: ask.core,
        caller: ask.caller,
        execution_id: execution,
        status: TurnStatus::Running,
        asked: messages.to_vec(),
        asked_print: request.whole.clone(),
        answer: None,
        answer_print: None,
        told: Told::default(),
        created_at: now,
        ended_at: None,
    }
}
