//! The audit log, taken out of the platform.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Outcome, RequestContext, diff};
use scaigrid_persistence::audit::{self, AuditFilter};
use scaigrid_scope::{AuditId, AuthorizedAtLevel, Level, LevelScope, perm};
use serde_json::{Value, json};

use crate::transaction::ended;
use crate::{App, Error};

/// Records that are read at once.
const PAGE: i64 = 500;

/// An export under way: the records of a list, page by page, for as long as somebody takes them.
#[derive(Debug)]
pub struct AuditExport {
    app: App,
    scope: LevelScope,
    filter: AuditFilter,
    after: Option<AuditId>,
    ended: bool,
}

impl AuditExport {
    /// The next records, newest first; none when there are no more.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn next(&mut self) -> Result<Option<Vec<AuditRecord>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut connection = self.app.0.database.read().await?;
        let page = audit::list(&mut connection, self.scope, &self.filter, self.after, PAGE).await?;
        drop(connection);
        self.after = page.last().map(|record| record.id);
        self.ended = i64::try_from(page.len()).is_ok_and(|read| read < PAGE);
        Ok((!page.is_empty()).then_some(page))
    }
}

fn asked(filter: &AuditFilter, format: &str) -> Value {
    let AuditFilter {
        action,
        actor_id,
        resource_type,
        resource_id,
        status,
        ip_address,
        module,
        since,
        until,
    } = filter;
    json!({
        "format": format,
        "action": action.map(AuditAction::as_str),
        "actor_id": actor_id,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "status": status.map(Outcome::as_str),
        "ip_address": ip_address,
        "module": module,
        "since": since,
        "until": until,
    })
}

impl App {
    /// Begins to take out the records that the caller sees. That they did is recorded before the first of them is read.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn export_audit(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        request: &RequestContext,
        filter: AuditFilter,
        format: &str,
    ) -> Result<AuditExport, Error> {
        let level = match caller.level() {
            Level::Platform => "platform".to_owned(),
            Level::Partner(partner) => partner.to_string(),
            Level::Tenant(tenant) => tenant.to_string(),
        };
        let changes = diff(&Value::Null, &asked(&filter, format), &[]);
        let stamp = self.audit_stamp(self.now());
        let record = AuditRecord::at_level(stamp, caller, request, AuditAction::AuditExport, level, changes);
        let mut tx = self.0.database.begin().await?;
        let added = audit::add(&mut tx, &record).await;
        ended(tx, added.map_err(Error::from)).await?;
        let scope = caller.level_scope();
        Ok(AuditExport { app: self.clone(), scope, filter, after: None, ended: false })
    }
}
