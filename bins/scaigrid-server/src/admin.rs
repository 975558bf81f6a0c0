//! Administration from the command line: the application's use cases, called by the owner of an API key.
//!
//! A task is carried out on the database itself, beside running servers or without one, and is allowed, refused and
//! recorded as it would be over HTTP. Nothing is decided here, and nothing is served: no node is registered, and what is
//! left to be done afterwards, as draining a Core that stops, is seen through by the servers.

mod answer;
mod apply;
mod audit;
mod backup;
mod people;
mod programs;
mod refusal;
mod secrets;
mod tenancy;
mod view;

use std::sync::Arc;

use anyhow::Context as _;
use scaigrid_app::{App, Cursor, Error, Page, PageRequest, RequestContext};
use scaigrid_scope::{Authorized, AuthorizedAtLevel, PermissionMarker, Principal};

use crate::clock::SystemClock;
use crate::compose;
use crate::files::{self, Unusable};
use crate::settings::{AdminTask, Secret, Settings};

use answer::Answer;

/// How the audit log calls this program.
const USER_AGENT: &str = "scaigrid-server admin";
/// How many items are read at once.
const PAGE: u32 = 200;

/// Does one task and prints what came of it. An error is one line.
pub(crate) async fn administer(
    settings: &Settings,
    key: Option<Secret>,
    json: bool,
    task: AdminTask,
) -> anyhow::Result<()> {
    Box::pin(carry_out(settings, key, json, task)).await.map_err(refusal::in_one_line)
}

async fn carry_out(
    settings: &Settings,
    key: Option<Secret>,
    json: bool,
    task: AdminTask,
) -> anyhow::Result<()> {
    if let AdminTask::Restore { file } = task {
        let answer = backup::restore(settings, &file).await?;
        answer.print(json).context("the answer cannot be written")?;
        return answer.outcome();
    }
    let app = compose::beside_servers(settings, Arc::new(SystemClock)).await?;
    let key = match key {
        Some(key) => key,
        None => kept_key(settings)?,
    };
    let request = RequestContext::new(None, None, Some(USER_AGENT));
    let desk = Desk { app, key, request, json };
    let answer = Box::pin(desk.perform(task)).await?;
    answer.print(json).context("the answer cannot be written")?;
    answer.outcome()
}

/// The first admin's key, as long as it lies where the first start has put it.
fn kept_key(settings: &Settings) -> Result<Secret, Unusable> {
    let path = files::admin_key(&settings.data_dir);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(error) => {
            Err(Unusable(format!("SCAIGRID_ADMIN_KEY: not given, and {}: {error}", path.display())))
        }
    }
}

/// Where one task is done: with what, and by whom.
struct Desk {
    app: App,
    key: Secret,
    request: RequestContext,
    json: bool,
}

impl Desk {
    async fn perform(&self, task: AdminTask) -> anyhow::Result<Answer> {
        match task {
            AdminTask::Partner(task) => self.partners(task).await,
            AdminTask::Tenant(task) => self.tenants(task).await,
            AdminTask::User { tenant, task } => self.users(tenant.as_deref(), task).await,
            AdminTask::Group { tenant, task } => self.groups(tenant.as_deref(), task).await,
            AdminTask::Role { tenant, task } => self.roles(tenant.as_deref(), task).await,
            AdminTask::Webhook { tenant, task } => self.webhooks(tenant.as_deref(), task).await,
            AdminTask::Key { tenant, task } => self.keys(tenant.as_deref(), task).await,
            AdminTask::Module { tenant, partner, task } => {
                self.modules(tenant.as_deref(), partner.as_deref(), task).await
            }
            AdminTask::Core { tenant, task } => self.cores(tenant.as_deref(), task).await,
            AdminTask::Audit { tenant, partner, task } => {
                self.audit(tenant.as_deref(), partner.as_deref(), task).await
            }
            AdminTask::Checkpoint { tenant, task } => {
                Box::pin(self.checkpoints(tenant.as_deref(), task)).await
            }
            AdminTask::Secrets(task) => self.secrets(task).await,
            AdminTask::Apply { files, dry_run } => Box::pin(self.apply(&files, dry_run)).await,
            AdminTask::Backup { output, allow_missing } => self.back_up(&output, allow_missing).await,
            // Nobody has a key to an empty database: it is dealt with before a key is asked for.
            AdminTask::Restore { .. } => anyhow::bail!("a restore takes no key"),
        }
    }

    /// The owner of the key, acting in the tenant that is named, else in their own.
    async fn in_tenant<P: PermissionMarker>(&self, tenant: Option<&str>) -> anyhow::Result<Authorized<P>> {
        Ok(self.at_place(tenant, None).await?.authorize().map_err(Error::from)?)
    }

    /// The owner of the key, acting at the level that is named, else at their own.
    async fn at_level<P: PermissionMarker>(
        &self,
        tenant: Option<&str>,
        partner: Option<&str>,
    ) -> anyhow::Result<AuthorizedAtLevel<P>> {
        Ok(self.at_place(tenant, partner).await?.authorize_at_level().map_err(Error::from)?)
    }

    async fn at_place(&self, tenant: Option<&str>, partner: Option<&str>) -> anyhow::Result<Arc<Principal>> {
        let found = self.app.authenticate(self.key.reveal(), tenant, partner).await;
        match tenant.or(partner) {
            Some(name) => found.map_err(refusal::naming(name)),
            None => Ok(found?),
        }
    }
}

/// Items of a list, and whether there are more of them.
struct Listed<T> {
    items: Vec<T>,
    more: bool,
}

/// Reads a list up to so many items.
async fn listed<T>(
    limit: u32,
    read: impl AsyncFn(PageRequest) -> Result<Page<T>, Error>,
) -> Result<Listed<T>, Error> {
    let mut items = Vec::new();
    let mut cursor: Option<Cursor> = None;
    let mut left = limit;
    while left > 0 {
        let asked = left.min(PAGE);
        let page = read(PageRequest { limit: asked, cursor }).await?;
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Listed { items, more: false });
        }
        left -= asked;
    }
    Ok(Listed { items, more: cursor.is_some() })
}

/// The first item of a list that is the wanted one.
async fn found<T>(
    wanted: impl Fn(&T) -> bool,
    read: impl AsyncFn(PageRequest) -> Result<Page<T>, Error>,
) -> Result<Option<T>, Error> {
    let mut cursor = None;
    loop {
        let page = read(PageRequest { limit: PAGE, cursor }).await?;
        if let Some(item) = page.items.into_iter().find(|item| wanted(item)) {
            return Ok(Some(item));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of the numbers below `end`, page by page.
    fn numbers(end: i64, request: &PageRequest) -> Page<i64> {
        let first = request.cursor.as_ref().and_then(|cursor| cursor.int(0)).map_or(0, |last| last + 1);
        let rows = (first..end).take(usize::try_from(request.rows()).unwrap()).collect();
        Page::of_rows(rows, request, |number: &i64| Cursor::new([(*number).into()]))
    }

    #[tokio::test]
    async fn a_list_is_read_up_to_its_limit_over_all_pages() {
        for (end, limit, read, more) in
            [(0, 10, 0, false), (450, 1000, 450, false), (450, 450, 450, false), (450, 449, 449, true)]
        {
            let listed = listed(limit, async |page| Ok(numbers(end, &page))).await.unwrap();
            assert_eq!((listed.items.len(), listed.more), (read, more), "{end} up to {limit}");
            assert!(listed.items.iter().copied().eq(0..i64::try_from(read).unwrap()));
        }
    }

    #[tokio::test]
    async fn an_item_is_found_on_any_page() {
        let search = async |wanted: i64| found(|n| *n == wanted, async |page| Ok(numbers(450, &page))).await;
        assert_eq!(search(0).await.unwrap(), Some(0));
        assert_eq!(search(449).await.unwrap(), Some(449));
        assert_eq!(search(450).await.unwrap(), None);
    }
}
