//! What Cores remember, for those who see their executions. Writing it is the programs' own.

use async_recursion::async_recursion as boxed;
use scaigrid_engine::{EntryPlace, Error as EngineError, WantedEntries};
pub use scaigrid_engine::{Remembering, ShownEntry, ShownVariable};
use scaigrid_scope::{Authorized, perm};

use crate::{App, Cursor, CursorPart, Error, Page, PageRequest, Resource};

impl App {
    /// The variables of a Core's memory, by their names.
    ///
    /// # Errors
    /// There is no such Core, or no instance can have that key.
    #[boxed]
    pub async fn core_memory(
        &self,
        by: &Authorized<perm::CoresView>,
        of: &Remembering,
        page: &PageRequest,
    ) -> Result<Page<ShownVariable>, Error> {
        self.require_core(by.tenant_scope(), of.core).await?;
        let after = match &page.cursor {
            None => None,
            Some(cursor) => Some(cursor.text(0).ok_or_else(foreign_cursor)?),
        };
        let most = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let found = self.0.engine.variables(by.tenant_scope(), of, after, most).await;
        let (items, more) = found.map_err(refused)?;
        let next = items.last().filter(|_| more).map(|last| Cursor::new([(&*last.name).into()]));
        Ok(Page { items, next })
    }

    /// What a variable of a Core's memory holds, in pages; or the one value that a key names.
    ///
    /// # Errors
    /// There is no such Core or variable, or no instance can have that key.
    #[boxed]
    pub async fn core_memory_entries(
        &self,
        by: &Authorized<perm::CoresView>,
        of: &Remembering,
        name: &str,
        key: Option<String>,
        page: &PageRequest,
    ) -> Result<Page<ShownEntry>, Error> {
        self.require_core(by.tenant_scope(), of.core).await?;
        let wanted = match key {
            Some(key) => WantedEntries::Key(key),
            None => WantedEntries::Page {
                from: place(page)?,
                most: usize::try_from(page.limit).unwrap_or(usize::MAX),
            },
        };
        let found = self.0.engine.variable(by.tenant_scope(), of, name, wanted).await.map_err(refused)?;
        let found = found.ok_or(Error::NotFound(Resource::Memory))?;
        let next = found.next.map(|next| {
            let key = next.key.map(CursorPart::Text);
            Cursor::new([CursorPart::Int(i64::from(next.index))].into_iter().chain(key))
        });
        Ok(Page { items: found.entries, next })
    }
}

/// Where a page begins.
fn place(page: &PageRequest) -> Result<Option<EntryPlace>, Error> {
    let Some(cursor) = &page.cursor else { return Ok(None) };
    let index = cursor.int(0).and_then(|index| u32::try_from(index).ok()).ok_or_else(foreign_cursor)?;
    Ok(Some(EntryPlace { index, key: cursor.text(1).map(str::to_owned) }))
}

fn foreign_cursor() -> Error {
    Error::invalid("cursor", "must be the next_cursor of an earlier page of this list")
}

/// The instance is named by a parameter here, not by an input.
fn refused(error: EngineError) -> Error {
    match error {
        EngineError::EntityKey(_) => Error::invalid("instance_key", "must be 1 to 512 characters long"),
        other => other.into(),
    }
}
