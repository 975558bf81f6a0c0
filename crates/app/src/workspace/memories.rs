//! What AIs are to remember of users: kept and told by a plugin, and open to those of whom it is.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{Transaction, audit, users, workspace_memories};
use scaigrid_scope::{Authorized, FactId, UserStatus, perm};
use scaigrid_workspace::plugin::FactText;
use serde_json::json;

use super::built_in::Told;
use super::tools::Asker;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::ended;
use crate::{App, Error, Resource};

pub use scaigrid_persistence::workspace_memories::Fact;

/// How many facts are told at once.
const RECALLED: usize = 50;
/// How many facts an AI knows before it answers.
const INJECTED: i64 = 20;

fn told(facts: &[Fact]) -> String {
    let line = |fact: &Fact| format!("- {} ({})", fact.body, fact.id);
    facts.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl App {
    /// Keeps a fact of the user who has asked, once.
    pub(super) async fn remember(&self, asker: &Asker, fact: FactText) -> Result<Told, Error> {
        let mut tx = self.0.database.begin().await?;
        let added = self.add_fact(&mut tx, asker, fact.into_text()).await;
        ended(tx, added).await
    }

    async fn add_fact(&self, tx: &mut Transaction, asker: &Asker, body: String) -> Result<Told, Error> {
        let (scope, user) = (asker.scope, asker.user_id);
        // One at a time of a user, so that two do not both take the last place.
        let there = users::lock(tx, scope, user).await?;
        if there.is_none_or(|user| user.status == UserStatus::Deleted) {
            return Ok(Err("the person is not there any more".to_owned()));
        }
        let there = workspace_memories::newest(tx, scope, user, None, FactText::AT_MOST).await?;
        if let Some(same) = there.iter().find(|fact| fact.body == body) {
            return Ok(Ok(format!("That is remembered already ({}).", same.id)));
        }
        if i64::try_from(there.len()).unwrap_or(i64::MAX) >= FactText::AT_MOST {
            let most = FactText::AT_MOST;
            return Ok(Err(format!("at most {most} facts are remembered of a person; forget some first")));
        }
        let now = self.now();
        let fact = Fact { id: FactId::from_ulid(self.0.ids.draw(now)), body, created_at: now };
        workspace_memories::add(tx, scope, user, &fact).await?;
        Ok(Ok(format!("Remembered ({}).", fact.id)))
    }

    /// What is remembered of the user who asks, as far as it has these words in it.
    pub(super) async fn recall(&self, asker: &Asker, question: &str) -> Result<String, Error> {
        let (scope, user) = (asker.scope, asker.user_id);
        let c = &mut self.0.database.read().await?;
        let mut facts = workspace_memories::newest(c, scope, user, None, FactText::AT_MOST).await?;
        facts.retain(|fact| FactText::answers(&fact.body, question));
        facts.truncate(RECALLED);
        Ok(if facts.is_empty() { "Nothing of that kind is remembered.".to_owned() } else { told(&facts) })
    }

    /// Forgets a fact of the user who asks.
    pub(super) async fn forget_fact(&self, asker: &Asker, id: FactId) -> Result<Told, Error> {
        let mut tx = self.0.database.begin().await?;
        let gone = workspace_memories::forget(&mut tx, asker.scope, asker.user_id, id).await;
        let gone = ended(tx, gone.map_err(Error::from)).await?;
        Ok(if gone { Ok("Forgotten.".to_owned()) } else { Err("there is no such fact".to_owned()) })
    }

    /// What AIs are to remember of the caller, the newest first.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn memories(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        page: &PageRequest,
    ) -> Result<Page<Fact>, Error> {
        let (scope, user) = (caller.tenant_scope(), caller.user_id());
        let c = &mut self.0.database.read().await?;
        let rows = workspace_memories::newest(c, scope, user, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |fact| Cursor::new([fact.id.to_string().into()])))
    }

    /// Forgets something that AIs are to remember of the caller.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn forget_memory(
        &self,
        caller: &Authorized<perm::ModelsUse>,
        request: &RequestContext,
        id: FactId,
    ) -> Result<(), Error> {
        let (scope, user) = (caller.tenant_scope(), caller.user_id());
        let mut tx = self.0.database.begin().await?;
        let forgotten = async {
            if !workspace_memories::forget(&mut tx, scope, user, id).await? {
                return Err(Error::NotFound(Resource::Memory));
            }
            // Whose it was, and nothing of what it said.
            let changes = diff(&json!({"user_id": user.to_string()}), &json!({}), &[]);
            let (stamp, action) = (self.audit_stamp(self.now()), AuditAction::WorkspaceMemoryDelete);
            let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
            audit::add(&mut tx, &record).await?;
            Ok(())
        };
        let forgotten = forgotten.await;
        ended(tx, forgotten).await
    }

    /// What an AI is told of what is remembered of the user who asks: the newest.
    #[boxed]
    pub(super) async fn remembered(&self, asker: &Asker) -> Result<Option<String>, Error> {
        let (scope, user) = (asker.scope, asker.user_id);
        let c = &mut self.0.database.read().await?;
        let facts = workspace_memories::newest(c, scope, user, None, INJECTED).await?;
        Ok((!facts.is_empty()).then(|| {
            format!(
                "What you were told earlier of the person who is asking, the newest first:\n{}",
                told(&facts)
            )
        }))
    }
}
