//! Groups: several users under one name, whom a checkpoint can ask together.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, RequestContext, diff};
use scaigrid_persistence::{self as persistence, Connection, Transaction, audit, groups, tenants, users};
use scaigrid_scope::{
    Authorized, Group, GroupChanges, GroupId, Name, Principal, Slug, TenantScope, UserId, perm,
};
use serde_json::{Map, Value, json};

use crate::custom_roles::slug_of;
use crate::page::{Cursor, Page, PageRequest};
use crate::transaction::{Expected, check_expected, ended, written};
use crate::{App, Error, FieldError, Resource};

/// A group as it is asked for.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its name for people.
    pub name: Name,
    /// Its name for programs; made of the name when left out.
    pub slug: Option<Slug>,
    /// Who is in it from the beginning.
    pub members: Vec<UserId>,
}

/// What is to be changed of a group; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct GroupEdits {
    /// The new name.
    pub name: Option<Name>,
    /// Who is in it from now on, all of them.
    pub members: Option<Vec<UserId>>,
}

/// A group and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peopled {
    /// The group.
    pub group: Group,
    /// Its members, by id.
    pub members: BTreeSet<UserId>,
}

/// A group and how many are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The group.
    pub group: Group,
    /// How many members it has.
    pub member_count: u64,
}

/// A group as the audit log tells of it.
pub(crate) fn state(group: &Group) -> Value {
    json!({"name": group.name.as_str(), "slug": group.slug.as_str()})
}

/// The members that were put in or taken out: who stayed is no news, and a thousand of them would hide it.
pub(crate) fn membership(state: &mut Value, users: &BTreeSet<UserId>) {
    let users: Map<String, Value> = users.iter().map(|user| (user.to_string(), true.into())).collect();
    state["members"] = Value::Object(users);
}

impl App {
    /// The groups of the tenant, newest first.
    #[boxed]
    pub async fn groups(
        &self,
        caller: &Authorized<perm::UsersManage>,
        page: &PageRequest,
    ) -> Result<Page<Counted>, Error> {
        let scope = caller.tenant_scope();
        let mut connection = self.0.database.read().await?;
        let rows = groups::list(&mut connection, scope, page.after()?, page.rows()).await?;
        let page = Page::of_rows(rows, page, |group| Cursor::new([group.id.to_string().into()]));
        let ids: Vec<GroupId> = page.items.iter().map(|group| group.id).collect();
        let counts: BTreeMap<GroupId, i64> = groups::member_counts(&mut connection, scope, &ids).await?;
        Ok(page.map(|group| {
            let member_count = counts.get(&group.id).map_or(0, |count| count.unsigned_abs());
            Counted { group, member_count }
        }))
    }

    /// A group of the tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[boxed]
    pub async fn group(&self, caller: &Authorized<perm::UsersManage>, id: GroupId) -> Result<Peopled, Error> {
        let mut connection = self.0.database.read().await?;
        peopled(&mut connection, caller.tenant_scope(), id).await
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`Error::Invalid`] for members who are not there or are in too many groups, and when the name suggests no slug;
    /// [`Error::SlugConflict`].
    #[boxed]
    pub async fn create_group(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewGroup,
    ) -> Result<Peopled, Error> {
        let mut tx = self.0.database.begin().await?;
        let group = self.add_group(&mut tx, caller, request, new).await;
        let group = ended(tx, group).await?;
        self.people_changed();
        Ok(group)
    }

    async fn add_group(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        new: NewGroup,
    ) -> Result<Peopled, Error> {
        let (now, scope) = (self.now(), caller.tenant_scope());
        hold_people(tx, scope).await?;
        let slug = slug_of(new.slug, &new.name)?;
        let taken = || Error::slug_taken(&slug);
        if groups::find_by_slug(tx, scope, &slug).await?.is_some() {
            return Err(taken());
        }
        let members = enlisted(tx, scope, &new.members, &BTreeSet::new()).await?;
        let group = Group {
            id: GroupId::from_ulid(self.0.ids.draw(now)),
            tenant_id: scope.tenant_id(),
            slug: slug.clone(),
            name: new.name,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        groups::add(tx, scope, &group).await.map_err(|error| match error {
            persistence::Error::Duplicate(_) => taken(),
            other => other.into(),
        })?;
        let list: Vec<UserId> = members.iter().copied().collect();
        groups::add_members(tx, scope, group.id, &list).await?;
        let mut is = state(&group);
        membership(&mut is, &members);
        let record = (AuditAction::GroupCreate, group.id);
        self.record_group(tx, caller, request, record, &Value::Null, &is).await?;
        Ok(Peopled { group, members })
    }

    /// Changes a group's name or its membership. Who is taken out is asked no more at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], and [`Error::Invalid`] for new members who are not there or are in
    /// too many groups.
    pub async fn update_group(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
        edits: GroupEdits,
    ) -> Result<Peopled, Error> {
        let mut tx = self.0.database.begin().await?;
        let group = self.change_group(&mut tx, caller, request, id, expected, edits).await;
        let group = ended(tx, group).await?;
        self.people_changed();
        Ok(group)
    }

    async fn change_group(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
        edits: GroupEdits,
    ) -> Result<Peopled, Error> {
        let scope = caller.tenant_scope();
        hold_people(tx, scope).await?;
        let before = peopled(tx, scope, id).await?;
        check_expected(expected, before.group.revision)?;
        let members = match edits.members {
            Some(wanted) => enlisted(tx, scope, &wanted, &before.members).await?,
            None => before.members.clone(),
        };
        self.regroup(tx, caller, request, before, edits.name, members).await
    }

    /// Puts a user into a group, or takes them out. What is so already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the group and for the user; [`Error::PreconditionFailed`]; [`Error::Conflict`] when the group is
    /// full or the user is in too many.
    pub async fn set_membership(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
        (user, member): (UserId, bool),
    ) -> Result<Peopled, Error> {
        let mut tx = self.0.database.begin().await?;
        let group = self.change_membership(&mut tx, caller, request, id, expected, (user, member)).await;
        let group = ended(tx, group).await?;
        self.people_changed();
        Ok(group)
    }

    async fn change_membership(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
        (user, member): (UserId, bool),
    ) -> Result<Peopled, Error> {
        let scope = caller.tenant_scope();
        hold_people(tx, scope).await?;
        let before = peopled(tx, scope, id).await?;
        if users::present(tx, scope, &[user]).await?.is_empty() {
            return Err(Error::NotFound(Resource::User));
        }
        check_expected(expected, before.group.revision)?;
        let mut members = before.members.clone();
        if member && members.insert(user) {
            if members.len() > Group::MAX_MEMBERS {
                return Err(Error::Conflict(format!("A group has at most {} members", Group::MAX_MEMBERS)));
            }
            if !in_too_many(tx, scope, &[user]).await?.is_empty() {
                return Err(Error::Conflict(format!("A user is in at most {} groups", Group::MAX_OF_USER)));
            }
        } else if !member {
            members.remove(&user);
        }
        self.regroup(tx, caller, request, before, None, members).await
    }

    /// Writes what has changed of a group, and the record of it, if anything has.
    async fn regroup(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        before: Peopled,
        name: Option<Name>,
        members: BTreeSet<UserId>,
    ) -> Result<Peopled, Error> {
        let (now, scope, id) = (self.now(), caller.tenant_scope(), before.group.id);
        let mut group = before.group.clone();
        group.name = name.clone().unwrap_or(group.name);
        let new: BTreeSet<UserId> = members.difference(&before.members).copied().collect();
        let gone: BTreeSet<UserId> = before.members.difference(&members).copied().collect();
        if group == before.group && new.is_empty() && gone.is_empty() {
            return Ok(before);
        }
        let listed = |users: &BTreeSet<UserId>| users.iter().copied().collect::<Vec<_>>();
        groups::add_members(tx, scope, id, &listed(&new)).await?;
        groups::remove_members(tx, scope, id, &listed(&gone)).await?;
        written(groups::update(tx, scope, id, &GroupChanges { name }, now).await?, Resource::Group)?;
        let (mut was, mut is) = (state(&before.group), state(&group));
        membership(&mut was, &gone);
        membership(&mut is, &new);
        self.record_group(tx, caller, request, (AuditAction::GroupUpdate, id), &was, &is).await?;
        (group.revision, group.updated_at) = (before.group.revision + 1, now);
        Ok(Peopled { group, members })
    }

    /// Removes a group. What asks it waits for those who run the tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_group(
        &self,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let mut tx = self.0.database.begin().await?;
        let removed = self.remove_group(&mut tx, caller, request, id, expected).await;
        ended(tx, removed).await?;
        self.people_changed();
        Ok(())
    }

    async fn remove_group(
        &self,
        tx: &mut Transaction,
        caller: &Authorized<perm::UsersManage>,
        request: &RequestContext,
        id: GroupId,
        expected: Expected<'_>,
    ) -> Result<(), Error> {
        let scope = caller.tenant_scope();
        hold_people(tx, scope).await?;
        let before = peopled(tx, scope, id).await?;
        check_expected(expected, before.group.revision)?;
        if !groups::remove(tx, scope, id).await? {
            return Err(Error::NotFound(Resource::Group));
        }
        let mut was = state(&before.group);
        membership(&mut was, &before.members);
        self.record_group(tx, caller, request, (AuditAction::GroupDelete, id), &was, &Value::Null).await
    }

    async fn record_group(
        &self,
        tx: &mut Transaction,
        caller: &Principal,
        request: &RequestContext,
        (action, id): (AuditAction, GroupId),
        was: &Value,
        is: &Value,
    ) -> Result<(), Error> {
        let stamp = self.audit_stamp(self.now());
        let changes = diff(was, is, &[]);
        let record = AuditRecord::in_tenant(stamp, caller, request, action, id.to_string(), changes);
        Ok(audit::add(tx, &record).await?)
    }
}

/// Holds the people of a tenant until the transaction ends: see [`crate::users::held`].
async fn hold_people(tx: &mut Transaction, scope: TenantScope) -> Result<(), Error> {
    tenants::lock(tx, scope).await?.map(drop).ok_or(Error::NotFound(Resource::Tenant))
}

async fn peopled(c: &mut Connection, scope: TenantScope, id: GroupId) -> Result<Peopled, Error> {
    let group = groups::lookup(c, scope, id).await?.ok_or(Error::NotFound(Resource::Group))?;
    let members = groups::members(c, scope, id).await?.into_iter().collect();
    Ok(Peopled { group, members })
}

/// Those of some users who are in as many groups as they may.
async fn in_too_many(
    c: &mut Connection,
    scope: TenantScope,
    users: &[UserId],
) -> Result<BTreeSet<UserId>, Error> {
    let most = i64::try_from(Group::MAX_OF_USER).unwrap_or(i64::MAX);
    let counts = groups::counts_of_users(c, scope, users).await?;
    Ok(counts.into_iter().filter(|(_, count)| *count >= most).map(|(user, _)| user).collect())
}

/// Who is to be in a group: all of the tenant, not deleted, and the new ones not in too many others.
async fn enlisted(
    c: &mut Connection,
    scope: TenantScope,
    wanted: &[UserId],
    present: &BTreeSet<UserId>,
) -> Result<BTreeSet<UserId>, Error> {
    let new: Vec<UserId> = wanted.iter().copied().filter(|user| !present.contains(user)).collect();
    let known = users::present(c, scope, &new).await?;
    let full = in_too_many(c, scope, &new).await?;
    let problems: Vec<FieldError> = wanted
        .iter()
        .enumerate()
        .filter_map(|(index, user)| {
            let message = if !present.contains(user) && !known.contains(user) {
                "is no user of the tenant".to_owned()
            } else if full.contains(user) {
                format!("is in {} groups already", Group::MAX_OF_USER)
            } else {
                return None;
            };
            Some(FieldError::new(format!("members[{index}]"), message))
        })
        .collect();
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let members: BTreeSet<UserId> = wanted.iter().copied().collect();
    if members.len() > Group::MAX_MEMBERS {
        return Err(Error::invalid("members", format!("must be at most {}", Group::MAX_MEMBERS)));
    }
    Ok(members)
}
