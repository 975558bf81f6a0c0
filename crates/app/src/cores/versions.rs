//! The versions of a Core's program.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, RequestContext};
use scaigrid_cores::{CoreChanges, SourceVersion};
use scaigrid_persistence::cores;
use scaigrid_scope::{Authorized, CoreId, perm};

use super::ShownCore;
use crate::{App, Cursor, Error, Page, PageRequest, Resource};

impl App {
    /// The versions of a Core's program, newest first, without the programs.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn core_versions(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
        page: &PageRequest,
    ) -> Result<Page<SourceVersion>, Error> {
        self.require_core(by.tenant_scope(), id).await?;
        let below = match &page.cursor {
            None => None,
            Some(cursor) => {
                let version = cursor.int(0).and_then(|version| u32::try_from(version).ok());
                Some(version.ok_or_else(|| Error::invalid("cursor", "is not a cursor of this list"))?)
            }
        };
        let mut connection = self.0.database.read().await?;
        let rows = cores::list_versions(&mut connection, by.tenant_scope(), id, below, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |version| Cursor::new([i64::from(version.source.version).into()])))
    }

    /// One version, with the program.
    ///
    /// # Errors
    /// There is no such Core, or it has no such version.
    #[boxed]
    pub async fn core_version(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
        version: u32,
    ) -> Result<SourceVersion, Error> {
        self.require_core(by.tenant_scope(), id).await?;
        let mut connection = self.0.database.read().await?;
        let found = cores::lookup_version(&mut connection, by.tenant_scope(), id, version).await?;
        found.filter(|_| version > 0).ok_or(Error::NotFound(Resource::CoreVersion))
    }

    /// Makes an old version's program the present one. That is a new version: history is not rewritten.
    ///
    /// # Errors
    /// There is no such Core, or it has no such version.
    #[boxed]
    pub async fn roll_back_core(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        version: u32,
    ) -> Result<ShownCore, Error> {
        let found = self.find_core(by.tenant_scope(), id).await?;
        let old = {
            let mut connection = self.0.database.read().await?;
            cores::lookup_version(&mut connection, by.tenant_scope(), id, version).await?
        };
        let old = old.filter(|_| version > 0).ok_or(Error::NotFound(Resource::CoreVersion))?;
        let source = Some((*old.source.program).clone());
        let changed = found.value.change(CoreChanges { source, ..CoreChanges::default() }, self.now())?;
        self.save_changed(by, request, AuditAction::CoreRollback, found, changed).await
    }
}
