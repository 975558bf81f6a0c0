//! The audit log: read, taken out, sealed into chains, checked, and removed when its time is over.

mod export;
mod retention;
mod sealing;
mod verify;

use async_recursion::async_recursion as boxed;
use scaigrid_persistence::audit;
use scaigrid_scope::{Authorized, AuthorizedAtLevel, LevelScope, perm};

use crate::page::{Cursor, Page, PageRequest};
use crate::{App, Error};

pub use export::AuditExport;
pub use scaigrid_audit::chain::{Chain, Digest, Fault, Finding};
pub use scaigrid_audit::{Actor, ActorKind, AuditAction, AuditRecord, Changes, Outcome};
pub use scaigrid_persistence::audit::AuditFilter;
pub use verify::AuditReport;

impl App {
    /// The records that the caller sees, newest first: a tenant's admin those of the tenant, a partner's those of the
    /// partner and its tenants, a super admin all; each of them those of the tenant that they act in, when they name one.
    #[boxed]
    pub async fn audit_records(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRecord>, Error> {
        self.audit_page(caller.level_scope(), filter, page).await
    }

    /// The records of the tenant that the caller acts in, newest first.
    #[boxed]
    pub async fn tenant_audit_records(
        &self,
        caller: &Authorized<perm::AdminAccess>,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRecord>, Error> {
        self.audit_page(LevelScope::Tenant(caller.tenant_scope()), filter, page).await
    }

    async fn audit_page(
        &self,
        scope: LevelScope,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRecord>, Error> {
        let mut connection = self.0.database.read().await?;
        let rows = audit::list(&mut connection, scope, filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |record| Cursor::new([record.id.to_string().into()])))
    }
}
