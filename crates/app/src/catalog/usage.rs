//! What was used.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use scaigrid_catalog::usage::Usage;
use scaigrid_persistence::model_usage::{self, UsageFilter};
use scaigrid_scope::{Authorized, Principal, perm};

use crate::page::{Cursor, Page, PageRequest};
use crate::{App, Error};

/// Whether the caller sees what others have used.
fn sees_all(caller: &Arc<Principal>) -> bool {
    caller.authorize::<perm::AccountingViewTenant>().is_ok()
}

impl App {
    /// The records of calls in the tenant, newest first: all of them for those who hold `accounting:view_tenant`, their own
    /// for others.
    #[boxed]
    pub async fn model_usage(
        &self,
        caller: &Authorized<perm::AccountingViewOwn>,
        mut filter: UsageFilter,
        page: &PageRequest,
    ) -> Result<Page<Usage>, Error> {
        if !sees_all(caller.principal()) {
            if filter.user_id.is_some_and(|user| user != caller.user_id()) {
                return Err(Error::PermissionDenied { permission: "accounting:view_tenant".into() });
            }
            filter.user_id = Some(caller.user_id());
        }
        let mut connection = self.0.database.read().await?;
        let scope = caller.tenant_scope();
        let rows = model_usage::list(&mut connection, scope, &filter, page.after()?, page.rows()).await?;
        Ok(Page::of_rows(rows, page, |usage| Cursor::new([usage.id.to_string().into()])))
    }
}
