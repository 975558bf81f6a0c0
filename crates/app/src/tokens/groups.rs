//! The groups that tokens name: made where there are none of that slug, joined, and left again.
//!
//! The youngest token of an issuer decides about the memberships that the same issuer made. Those that were made here, or
//! by another issuer, are never taken away by it. A group that a token has made stays when nobody is in it any more:
//! programs may name it.

use std::collections::BTreeSet;

use scaigrid_audit::{Actor, AuditAction, AuditRecord, diff};
use scaigrid_persistence::external_identities;
use scaigrid_persistence::{Transaction, audit, groups};
use scaigrid_scope::token::{NamedGroup, NamedGroups, VerifiedToken};
use scaigrid_scope::{Group, GroupChanges, GroupId, Instant, TenantRef, TenantStatus, User, UserStatus};
use serde_json::Value;

use super::subject;
use crate::groups::{membership, state};
use crate::transaction::written;
use crate::{App, Error, Resource};

/// What is heard of a token's groups: nothing of somebody who is not let in.
pub(super) fn heard<'a>(
    verified: &'a VerifiedToken,
    user: &User,
    home: &TenantRef,
) -> Option<&'a NamedGroups> {
    let lets_in = user.status == UserStatus::Active && home.status != TenantStatus::Suspended;
    verified.groups().filter(|_| lets_in)
}

/// Whose memberships change, by what, and when.
struct Word<'a> {
    verified: &'a VerifiedToken,
    home: &'a TenantRef,
    user: &'a User,
    now: Instant,
}

impl App {
    /// Has a user's memberships follow a token, unless a younger one has been heard. The tenant is held. True when
    /// something has changed.
    pub(super) async fn follow_groups(
        &self,
        tx: &mut Transaction,
        verified: &VerifiedToken,
        home: &TenantRef,
        user: &User,
        now: Instant,
    ) -> Result<bool, Error> {
        let (claims, scope) = (&verified.claims, self.0.system.tenant(home.id));
        let Some(named) = heard(verified, user, home) else { return Ok(false) };
        if !external_identities::hear_groups(tx, scope, subject(claims), claims.issued_at).await? {
            return Ok(false);
        }
        if named.left_out() > 0 {
            let (issuer, subject, left_out) = (&*claims.issuer, &*claims.subject, named.left_out());
            tracing::warn!(
                issuer,
                subject,
                left_out,
                "groups of a token were left out: no names, or too many"
            );
        }
        let word = Word { verified, home, user, now };
        let (mut places, mut changed) = (Group::MAX_OF_USER, false);
        let held = groups::held(tx, scope, user.id).await?;
        for held in &held {
            let withdrawn =
                held.issuer.as_deref() == Some(&*claims.issuer) && !named.contains(&held.group.slug);
            if withdrawn {
                groups::remove_members(tx, scope, held.group.id, &[user.id]).await?;
                self.tell(tx, &word, &held.group, false).await?;
                changed = true;
            } else {
                places = places.saturating_sub(1);
            }
        }
        for named in named.iter().filter(|named| held.iter().all(|held| held.group.slug != named.slug)) {
            let joined = places > 0 && self.join(tx, &word, named).await?;
            if joined {
                places -= 1;
                changed = true;
            } else {
                let (issuer, group) = (&*claims.issuer, named.slug.as_str());
                tracing::warn!(issuer, user = %user.id, group, "a group of a token was not joined: too many");
            }
        }
        Ok(changed)
    }

    /// Puts the user into a group that is there, or is made. False where it is full.
    async fn join(&self, tx: &mut Transaction, word: &Word<'_>, named: &NamedGroup) -> Result<bool, Error> {
        let (scope, user, issuer) =
            (self.0.system.tenant(word.home.id), word.user.id, &*word.verified.claims.issuer);
        if let Some(group) = groups::find_by_slug(tx, scope, &named.slug).await? {
            let counts = groups::member_counts(tx, scope, &[group.id]).await?;
            let most = i64::try_from(Group::MAX_MEMBERS).unwrap_or(i64::MAX);
            if counts.get(&group.id).is_some_and(|count| *count >= most) {
                return Ok(false);
            }
            groups::add_member_of_issuer(tx, scope, group.id, user, issuer).await?;
            self.tell(tx, word, &group, true).await?;
            return Ok(true);
        }
        let group = Group {
            id: GroupId::from_ulid(self.0.ids.draw(word.now)),
            tenant_id: word.home.id,
            slug: named.slug.clone(),
            name: named.name.clone(),
            revision: 1,
            created_at: word.now,
            updated_at: word.now,
        };
        groups::add(tx, scope, &group).await?;
        groups::add_member_of_issuer(tx, scope, group.id, user, issuer).await?;
        let is = with_member(&group, word, true);
        self.record_word(tx, word, AuditAction::GroupCreate, group.id, (&Value::Null, &is)).await?;
        Ok(true)
    }

    /// Counts a change of a group's membership, and writes the record of it.
    async fn tell(
        &self,
        tx: &mut Transaction,
        word: &Word<'_>,
        group: &Group,
        joined: bool,
    ) -> Result<(), Error> {
        let (scope, changes) = (self.0.system.tenant(word.home.id), GroupChanges::default());
        written(groups::update(tx, scope, group.id, &changes, word.now).await?, Resource::Group)?;
        let (was, is) = (with_member(group, word, !joined), with_member(group, word, joined));
        self.record_word(tx, word, AuditAction::GroupUpdate, group.id, (&was, &is)).await
    }

    async fn record_word(
        &self,
        tx: &mut Transaction,
        word: &Word<'_>,
        action: AuditAction,
        id: GroupId,
        (was, is): (&Value, &Value),
    ) -> Result<(), Error> {
        let place = (word.home.id, Some(word.home.partner_id));
        let (stamp, changes) = (self.audit_stamp(word.now), diff(was, is, &[]));
        let record = AuditRecord::by_the_system(stamp, place, action, id.to_string(), changes);
        let record = AuditRecord { actor: Actor::user(word.user), ..record };
        Ok(audit::add(tx, &record).await?)
    }
}

/// A group as the audit log tells of it, with the user in it, by their issuer's word, or not.
fn with_member(group: &Group, word: &Word<'_>, member: bool) -> Value {
    let mut state = state(group);
    let users = if member { BTreeSet::from([word.user.id]) } else { BTreeSet::new() };
    membership(&mut state, &users);
    if member {
        state["issuer"] = (*word.verified.claims.issuer).into();
    }
    state
}
