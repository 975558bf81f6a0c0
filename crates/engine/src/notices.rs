//! Who is told of a checkpoint by mail: whoever it asks, each by a mail of their own, written once on whichever node is first.

use std::collections::BTreeSet;

use scaigrid_checkpoints::{Assignee, Checkpoint, EventKind, GroupRef, UserRef};
use scaigrid_persistence::checkpoints::StoredCheckpoint;
use scaigrid_persistence::timers::{self, Timer};
use scaigrid_persistence::users::UserFilter;
use scaigrid_persistence::{Connection, checkpoints, groups, mails, users};
use scaigrid_scope::{CheckpointId, Role, TenantScope, User, UserId, UserKind, UserStatus};

use crate::{Engine, Error};

/// The most people who are told of one checkpoint.
const PEOPLE_AT_MOST: usize = 100;
/// Users that are looked at for a role, at once and in all.
const PAGE: i64 = 200;
const PAGES: usize = 25;

impl Engine {
    /// From now on people are told of checkpoints by mail.
    pub fn tell_people(&self) {
        self.0.tells_people.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Writes the mails about a checkpoint, to whoever it asks now.
    pub(crate) async fn announce(
        &self,
        scope: TenantScope,
        timer: &Timer,
        id: CheckpointId,
    ) -> Result<(), Error> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        // Checkpoints are locked before timers by everybody.
        let stored = checkpoints::lock(&mut transaction, scope, id).await?;
        if !timers::take(&mut transaction, scope, timer).await? {
            return Ok(());
        }
        let waits = |stored: &StoredCheckpoint| {
            stored.checkpoint.status() == scaigrid_checkpoints::CheckpointStatus::Pending
        };
        if let Some(stored) = stored.filter(waits) {
            let told = |kind: &EventKind| {
                matches!(kind, EventKind::Reassigned | EventKind::Escalated | EventKind::Reminded)
            };
            let last = stored.between.iter().rev().map(|event| event.kind).find(told);
            let reason = last.unwrap_or(EventKind::Created);
            for user in people(&mut transaction, scope, &stored.checkpoint).await? {
                let mail = (self.0.ids.draw(now), user, reason.as_str());
                mails::add(&mut transaction, scope, &stored.checkpoint, mail, now).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// Whoever a checkpoint asks and who may decide it: people with an address, and no programs.
async fn people(
    c: &mut Connection,
    scope: TenantScope,
    checkpoint: &Checkpoint,
) -> Result<BTreeSet<UserId>, Error> {
    let mut found: Vec<User> = Vec::new();
    match &checkpoint.routing.assignee {
        Assignee::User(UserRef::Id(id)) | Assignee::DelegatedUser(id) => {
            found.extend(users::lookup(c, scope, *id).await?);
        }
        Assignee::User(UserRef::Email(email)) => found.extend(users::find_by_email(c, scope, email).await?),
        Assignee::Group(group) => {
            let group = match group {
                GroupRef::Id(id) => groups::lookup(c, scope, *id).await?,
                GroupRef::Slug(slug) => groups::find_by_slug(c, scope, slug).await?,
            };
            if let Some(group) = group {
                for member in groups::members(c, scope, group.id).await?.into_iter().take(PEOPLE_AT_MOST) {
                    found.extend(users::lookup(c, scope, member).await?);
                }
            }
        }
        Assignee::Role(role) => found = holders(c, scope, *role).await?,
        Assignee::Unrouted => found = holders(c, scope, Role::TenantAdmin).await?,
    }
    let rules = &checkpoint.rules;
    let asked = found.into_iter().filter(|user| {
        user.kind == UserKind::Human
            && user.status == UserStatus::Active
            && !rules.excluded.contains(&user.id)
            && checkpoint.votes.iter().all(|vote| vote.by != user.id)
    });
    Ok(asked.map(|user| user.id).take(PEOPLE_AT_MOST).collect())
}

/// The tenant's users with a role, as many as are told.
async fn holders(c: &mut Connection, scope: TenantScope, role: Role) -> Result<Vec<User>, Error> {
    let filter = UserFilter { status: Some(UserStatus::Active), kind: Some(UserKind::Human) };
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page = users::list(c, scope, &filter, after, PAGE).await?;
        after = page.last().map(|user| user.id);
        let full = i64::try_from(page.len()).is_ok_and(|count| count >= PAGE);
        found.extend(page.into_iter().filter(|user| user.roles.contains(role)));
        if !full || found.len() >= PEOPLE_AT_MOST {
            break;
        }
    }
    Ok(found)
}
