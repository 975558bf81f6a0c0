//! Conversations with published Cores, for those who run the Cores: reading them, and erasing them.

use std::collections::{BTreeSet, VecDeque};

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
pub use scaigrid_cores::conversation::{Caller, Conversation, TurnStatus};
pub use scaigrid_persistence::conversations::{Told, Turn};
use scaigrid_persistence::{Transaction, audit, conversations, executions};
use scaigrid_scope::{Authorized, ConversationId, CoreId, ExecutionId, TenantScope, perm};
use serde_json::json;

use crate::cores::{MODULE, after};
use crate::transaction::ended;
use crate::{App, Cursor, Error, Page, PageRequest, Resource};

/// How many turns of a conversation are shown: the last ones.
pub const TURNS_AT_MOST: i64 = 500;
/// How many executions one conversation is erased with.
const EXECUTIONS_AT_MOST: usize = 10_000;
/// How many conversations one of them can have had with other Cores.
const ASKED_AT_MOST: i64 = 10_000;

/// A conversation with what was said in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// Its turns, the last five hundred.
    pub turns: Vec<Turn>,
    /// What was used in all of it.
    pub told: Told,
}

impl App {
    /// The conversations with a Core, newest first.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn conversations(
        &self,
        by: &Authorized<perm::CoresView>,
        core: CoreId,
        page: &PageRequest,
    ) -> Result<Page<Conversation>, Error> {
        self.require_core(by.tenant_scope(), core).await?;
        let after = after(page)?;
        let mut connection = self.0.database.read().await?;
        let rows = conversations::list(&mut connection, by.tenant_scope(), core, after, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |conversation| Cursor::new([conversation.id.to_string().into()])))
    }

    /// One conversation.
    ///
    /// # Errors
    /// There is none of that id in the tenant.
    #[boxed]
    pub async fn conversation(
        &self,
        by: &Authorized<perm::CoresView>,
        id: ConversationId,
    ) -> Result<ShownConversation, Error> {
        let scope = by.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        let found = conversations::lookup(c, scope, id).await?;
        let conversation = found.ok_or(Error::NotFound(Resource::Conversation))?;
        let turns = conversations::turns(c, scope, id, TURNS_AT_MOST).await?;
        let told = conversations::told_in_all(c, scope, id).await?;
        Ok(ShownConversation { conversation, turns, told })
    }

    /// Erases a conversation: what was said, and all that is kept of the executions that have answered, and of those that they
    /// have called. What a program has put into its memory is the program's.
    ///
    /// # Errors
    /// There is none of that id in the tenant; [`Error::Conflict`] while an execution of it goes on.
    #[boxed]
    pub async fn erase_conversation(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: ConversationId,
    ) -> Result<(), Error> {
        let scope = by.tenant_scope();
        let mut tx = self.0.database.begin().await?;
        let erased = async {
            let none = || Error::NotFound(Resource::Conversation);
            // Held first: no turn begins from now on.
            if !conversations::hold(&mut tx, scope, id).await? {
                return Err(none());
            }
            let conversation = conversations::lookup(&mut tx, scope, id).await?.ok_or_else(none)?;
            let (held, run) = family(&mut tx, scope, id).await?;
            conversations::erase(&mut tx, scope, &held, &run).await?;
            // That there was one, and when, but nothing of what was said.
            let was = json!({"core_id": conversation.core_id, "turns": conversation.turns, "executions": run.len(),
                "created_at": conversation.created_at});
            let changes = diff(&was, &json!({}), &[]);
            let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::ConversationDelete);
            let record = AuditRecord::in_tenant(stamp, by, request, action, id.to_string(), changes);
            audit::add(&mut tx, &record.of_module(MODULE)).await?;
            Ok(())
        };
        let erased = erased.await;
        ended(tx, erased).await
    }
}

/// A conversation with those that its executions have had with other Cores, all held, and their executions, with those that
/// they have called. All have ended.
async fn family(
    tx: &mut Transaction,
    scope: TenantScope,
    id: ConversationId,
) -> Result<(Vec<ConversationId>, Vec<ExecutionId>), Error> {
    let mut held = BTreeSet::from([id]);
    let mut next: VecDeque<ExecutionId> = conversations::executions_of(tx, scope, id).await?.into();
    let mut known: BTreeSet<ExecutionId> = next.iter().copied().collect();
    while let Some(member) = next.pop_front() {
        if known.len() > EXECUTIONS_AT_MOST {
            let message = format!("More than {EXECUTIONS_AT_MOST} executions belong to it");
            return Err(Error::Conflict(message));
        }
        let Some(execution) = executions::glance(tx, scope, member).await? else { continue };
        if !execution.status.is_final() {
            let status = execution.status;
            return Err(Error::Conflict(format!(
                "The execution {member} of it is {status}; cancel it first"
            )));
        }
        let called = executions::children(tx, scope, member).await?.into_iter().map(|(id, ..)| id);
        let mut found: Vec<ExecutionId> = called.collect();
        for asked in conversations::of_asking(tx, scope, member, ASKED_AT_MOST).await? {
            if held.insert(asked) && conversations::hold(tx, scope, asked).await? {
                found.extend(conversations::executions_of(tx, scope, asked).await?);
            }
        }
        next.extend(found.into_iter().filter(|id| known.insert(*id)));
    }
    Ok((held.into_iter().collect(), known.into_iter().collect()))
}
