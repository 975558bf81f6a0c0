//! Whether anybody can decide what a checkpoint asks: told in the log when it opens, and to whoever reads it.
//!
//! Nothing waits for the answer. A checkpoint opens as fast as before, and is looked at afterwards by a task of its own; whom it asks
//! is believed to be there for a while once somebody was found.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use moka::sync::Cache;
use scaigrid_checkpoints::{
    Access, Assignee, Checkpoint, CheckpointStatus, GroupRef, Routing, Unreachable, UserRef, Warning,
};
use scaigrid_cores::logs::{Level, LogEntry};
use scaigrid_persistence::commit::{Change, Unit};
use scaigrid_persistence::users::UserFilter;
use scaigrid_persistence::{Connection, grants, groups, tenants, users};
use scaigrid_scope::{
    Credential, Identity, Membership, Place, Role, TenantId, TenantScope, TenantStatus, User, UserStatus,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::inside::{Said, said};
use crate::{Engine, Error};

/// How long it is believed that somebody can decide, once somebody was found.
const BELIEVED: Duration = Duration::from_mins(1);
/// How much of that is kept in mind.
const KEPT: u64 = 50_000;
/// How many steps with checkpoints are looked at at once. Of more at a time the log does not tell; whoever reads them is told.
const AT_ONCE: usize = 4;
/// People of a group or a role who are looked at. Where there are more, somebody is believed to be among them.
const LOOKED_AT: usize = 100;
/// Users among whom the holders of a role are looked for, at once and in all.
const PAGE: i64 = 200;
const PAGES: usize = 5;
/// Who vouches for people in a question that they do not ask themselves.
const ISSUER: &str = "scaigrid:deciders";

/// What is known of who can decide.
pub(crate) struct Deciders {
    /// By tenant, and by whom a checkpoint asks and excludes.
    found: Cache<(TenantId, String), ()>,
    looking: Arc<Semaphore>,
}

impl Deciders {
    pub(crate) fn new() -> Self {
        let found = Cache::builder().max_capacity(KEPT).time_to_live(BELIEVED).build();
        Self { found, looking: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether nothing is known of somebody whom a checkpoint asks, or will ask.
    pub(crate) fn wonders(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.asked().any(|(_, routing)| {
            !routing.asks_those_above() && !self.found.contains_key(&key(checkpoint, routing))
        })
    }
}

fn key(checkpoint: &Checkpoint, routing: &Routing) -> (TenantId, String) {
    let mut whom = routing.assignee.to_string();
    for user in &checkpoint.rules.excluded {
        whom.push(' ');
        whom.push_str(&user.to_string());
    }
    (checkpoint.tenant_id, whom)
}

/// Whom an assignee means.
enum Meant {
    Nobody(Unreachable),
    /// These, as members of a group where it is one.
    These {
        users: Vec<User>,
        group: Option<Membership>,
        /// Whether there are no others.
        all: bool,
    },
}

impl Engine {
    /// What whoever looks after a checkpoint should know of those whom it asks, as they are now. Nothing is to be said of one that
    /// nobody waits at any more.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn warnings(&self, scope: TenantScope, checkpoint: &Checkpoint) -> Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        if checkpoint.status() != CheckpointStatus::Pending {
            return Ok(warnings);
        }
        for (turn, routing) in checkpoint.asked() {
            if let Some(why) = self.unreachable(scope, checkpoint, routing).await? {
                warnings.push(Warning::of(turn, routing, why));
            }
        }
        Ok(warnings)
    }

    /// Why nobody of those whom an assignee means can decide; none where somebody can, or it is not known.
    async fn unreachable(
        &self,
        scope: TenantScope,
        checkpoint: &Checkpoint,
        routing: &Routing,
    ) -> Result<Option<Unreachable>, Error> {
        if routing.asks_those_above() {
            return Ok(None);
        }
        if let Some(error) = routing.unreadable() {
            return Ok(Some(Unreachable::Unreadable(error)));
        }
        let mut connection = self.0.database.read().await?;
        let c = &mut connection;
        // In a suspended tenant nobody decides anything, whomever it asks.
        let home = tenants::reference(c, &self.0.system, scope.tenant_id()).await?;
        let Some(home) = home.filter(|home| home.status != TenantStatus::Suspended) else { return Ok(None) };
        let (users, group, all) = match meant(c, scope, &routing.assignee).await? {
            Meant::Nobody(why) => return Ok(Some(why)),
            Meant::These { users, group, all } => (users, group, all),
        };
        let ids: Vec<_> = users.iter().map(|user| user.id).collect();
        let mut held = grants::held_by(c, scope, &ids).await?;
        drop(connection);
        let somebody = users.into_iter().any(|user| {
            let identity = Identity {
                user_id: user.id,
                display_name: user.shown_name(),
                kind: user.kind,
                status: user.status,
                home: home.clone(),
                roles: user.roles,
                groups: group.clone().into_iter().collect(),
                grants: held.remove(&user.id).unwrap_or_default(),
                credential: Credential::Token { issuer: ISSUER.into(), actor: None, scopes: None },
                email: user.email,
            };
            let principal = identity.act(Place::Own);
            principal.is_ok_and(|principal| {
                checkpoint.access_if_asking(&principal, &routing.assignee) == Access::Act
            })
        });
        Ok((all && !somebody).then_some(Unreachable::Powerless))
    }

    /// Looks, by a task of its own, whether anybody can decide checkpoints that have just come to ask somebody, and has the log tell
    /// where nobody can.
    pub(crate) fn look_for_deciders(&self, checkpoints: Vec<Checkpoint>) {
        if checkpoints.is_empty() {
            return;
        }
        let Ok(place) = Arc::clone(&self.0.deciders.looking).try_acquire_owned() else { return };
        let engine = self.clone();
        self.0.runtime.spawn(async move {
            for checkpoint in checkpoints {
                if let Err(error) = engine.warn_of(&checkpoint).await {
                    let checkpoint = checkpoint.id;
                    tracing::warn!(%error, %checkpoint, "it cannot be found out whether anybody can decide a checkpoint");
                }
            }
            drop(place);
        });
    }

    async fn warn_of(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let scope = self.0.system.tenant(checkpoint.tenant_id);
        let warnings = self.warnings(scope, checkpoint).await?;
        if warnings.is_empty() {
            for (_, routing) in checkpoint.asked().filter(|(_, routing)| !routing.asks_those_above()) {
                self.0.deciders.found.insert(key(checkpoint, routing), ());
            }
            return Ok(());
        }
        let hosted = self.hosted(scope, checkpoint.core_id).await?;
        let now = self.0.clock.now();
        let flow: Arc<str> = checkpoint.flow_name.as_str().into();
        let entry = |warning: Warning| -> LogEntry {
            let what = Said {
                level: Level::Warn,
                block: Some(checkpoint.block_id.as_str().into()),
                message: warning.message,
                fields: json!({ "checkpoint_id": checkpoint.id, "code": warning.code.as_str() }),
            };
            said(&flow, now, &hosted.inside.masked, what)
        };
        let mut unit = Unit::new(checkpoint.tenant_id, now, Change::Keep { id: checkpoint.execution_id });
        unit.core_id = Some(checkpoint.core_id);
        unit.logs = warnings.into_iter().map(entry).collect();
        self.commit_and_tell(unit, None).await.map(drop)
    }
}

async fn meant(c: &mut Connection, scope: TenantScope, assignee: &Assignee) -> Result<Meant, Error> {
    let one = |found: Option<User>| match found {
        Some(user) => Meant::These { users: vec![user], group: None, all: true },
        None => Meant::Nobody(Unreachable::Missing),
    };
    let (users, group, all) = match assignee {
        Assignee::User(UserRef::Id(id)) | Assignee::DelegatedUser(id) => {
            return Ok(one(users::lookup(c, scope, *id).await?));
        }
        Assignee::User(UserRef::Email(email)) => {
            return Ok(one(users::find_by_email(c, scope, email).await?));
        }
        Assignee::Group(group) => {
            let group = match group {
                GroupRef::Id(id) => groups::lookup(c, scope, *id).await?,
                GroupRef::Slug(slug) => groups::find_by_slug(c, scope, slug).await?,
            };
            let Some(group) = group else { return Ok(Meant::Nobody(Unreachable::Missing)) };
            let mut members = groups::members(c, scope, group.id).await?;
            let all = members.len() <= LOOKED_AT;
            members.truncate(LOOKED_AT);
            let users = users::named(c, scope, &members).await?;
            (users, Some(Membership { id: group.id, slug: group.slug }), all)
        }
        Assignee::Role(role) => {
            let (users, all) = holders(c, scope, *role).await?;
            (users, None, all)
        }
        Assignee::Unrouted => (Vec::new(), None, false),
    };
    if users.is_empty() && all {
        return Ok(Meant::Nobody(Unreachable::Empty));
    }
    Ok(Meant::These { users, group, all })
}

/// Active users of a tenant with a role, and whether these are all.
async fn holders(c: &mut Connection, scope: TenantScope, role: Role) -> Result<(Vec<User>, bool), Error> {
    let filter = UserFilter { status: Some(UserStatus::Active), kind: None };
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page = users::list(c, scope, &filter, after, PAGE).await?;
        after = page.last().map(|user| user.id);
        let last = i64::try_from(page.len()).is_ok_and(|count| count < PAGE);
        found.extend(page.into_iter().filter(|user| user.roles.contains(role)));
        if found.len() > LOOKED_AT {
            found.truncate(LOOKED_AT);
            return Ok((found, false));
        }
        if last {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}
