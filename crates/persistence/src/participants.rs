//! Participants. A person's row stands beside their user's, whose name and status are the user's; an AI's is its own.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_catalog::ModelSlug;
use scaigrid_scope::{
    Instant, Name, ParticipantId, SystemScope, TenantId, TenantScope, User, UserId, UserStatus,
};
use scaigrid_workspace::{
    AiProfile, HelperConfig, LocalId, Participant, ParticipantKind, Prompt, ResponseMode, Temperature, Who,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::schema::{participants, users};

const TABLE: &str = "participants";
const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = participants)]
#[diesel(treat_none_as_default_value = false)]
#[diesel(treat_none_as_null = true)]
struct ParticipantRow {
    id: String,
    tenant_id: String,
    kind: String,
    local_id: String,
    user_id: Option<String>,
    display_name: Option<String>,
    model: Option<String>,
    profile: Value,
    helper: Option<Value>,
    state: String,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

/// What is read of the user beside a person's row.
type OfUser = (String, Option<String>, String);

/// An AI's profile as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptProfile {
    #[serde(skip_serializing_if = "String::is_empty")]
    system_prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins: Option<Vec<String>>,
    /// In hundredths.
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<i64>,
}

/// A helper's work as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptHelper {
    enabled: bool,
    role_description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_token_cap: Option<u64>,
    planner_enabled: bool,
    dispatcher_only: bool,
}

fn kept_profile(profile: &AiProfile) -> Value {
    let kept = KeptProfile {
        system_prompt: profile.system_prompt.as_str().to_owned(),
        response_mode: Some(profile.response_mode.as_str().to_owned()),
        plugins: profile.plugins.clone(),
        temperature: profile.temperature.map(|temperature| temperature.hundredths().into()),
    };
    serde_json::to_value(kept).unwrap_or_default()
}

fn kept_helper(helper: &HelperConfig) -> Value {
    let kept = KeptHelper {
        enabled: helper.enabled,
        role_description: helper.role_description.clone(),
        temperature: helper.temperature.map(|temperature| temperature.hundredths().into()),
        daily_token_cap: helper.daily_token_cap,
        planner_enabled: helper.planner_enabled,
        dispatcher_only: helper.dispatcher_only,
    };
    serde_json::to_value(kept).unwrap_or_default()
}

fn profile_of(id: &str, stored: Value) -> Result<AiProfile> {
    let bad = |reason: String| Error::inconsistent(TABLE, "profile", id, reason);
    let kept: KeptProfile = serde_json::from_value(stored).map_err(|error| bad(error.to_string()))?;
    let mode = kept.response_mode.as_deref().map(str::parse::<ResponseMode>).transpose();
    Ok(AiProfile {
        system_prompt: Prompt::parse(&kept.system_prompt).map_err(|error| bad(error.to_string()))?,
        response_mode: mode.map_err(|error| bad(error.to_string()))?.unwrap_or(ResponseMode::Streaming),
        plugins: kept.plugins,
        temperature: kept.temperature.and_then(Temperature::of_hundredths),
    })
}

fn helper_of(id: &str, stored: Value) -> Result<HelperConfig> {
    let bad = |reason: String| Error::inconsistent(TABLE, "helper", id, reason);
    let kept: KeptHelper = serde_json::from_value(stored).map_err(|error| bad(error.to_string()))?;
    Ok(HelperConfig {
        enabled: kept.enabled,
        role_description: kept.role_description,
        temperature: kept.temperature.and_then(Temperature::of_hundredths),
        daily_token_cap: kept.daily_token_cap,
        planner_enabled: kept.planner_enabled,
        dispatcher_only: kept.dispatcher_only,
    })
}

impl ParticipantRow {
    fn of(scope: TenantScope, participant: &Participant) -> Self {
        let (user_id, display_name, model, profile, helper) = match &participant.who {
            Who::Human(user) => {
                (Some(user.to_string()), None, None, Value::Object(serde_json::Map::new()), None)
            }
            Who::Ai { model, profile, helper } => (
                None,
                Some(participant.display_name.to_string()),
                Some(model.to_string()),
                kept_profile(profile),
                helper.as_ref().map(kept_helper),
            ),
        };
        Self {
            id: participant.id.to_string(),
            tenant_id: scope.tenant_id().to_string(),
            kind: participant.kind.to_string(),
            local_id: participant.local_id.to_string(),
            user_id,
            display_name,
            model,
            profile,
            helper,
            state: if participant.enabled { ENABLED } else { DISABLED }.to_owned(),
            revision: participant.revision,
            created_at: participant.created_at.into(),
            updated_at: participant.updated_at.into(),
        }
    }
}

fn read((row, user): (ParticipantRow, Option<OfUser>)) -> Result<Participant> {
    let id = row.id.as_str();
    let bad = |name, reason: &str| Error::inconsistent(TABLE, name, id, reason.to_owned());
    let (who, name, enabled) = match (&row.user_id, user, &row.model) {
        (Some(user_id), Some((email, name, status)), None) => {
            let called = name.unwrap_or(email);
            let active = status == UserStatus::Active.as_str();
            (Who::Human(column(TABLE, "user_id", id, user_id)?), called, active)
        }
        (None, _, Some(model)) => {
            let who = Who::Ai {
                model: column(TABLE, "model", id, model)?,
                profile: profile_of(id, row.profile)?,
                helper: row.helper.map(|stored| helper_of(id, stored)).transpose()?,
            };
            let name = row.display_name.ok_or_else(|| bad("display_name", "an AI has one"))?;
            (who, name, row.state == ENABLED)
        }
        _ => return Err(bad("user_id", "it is neither a person nor an AI")),
    };
    // An address can be longer than a name.
    let name: String = name.chars().take(Name::MAX_CHARS).collect();
    Ok(Participant {
        id: column(TABLE, "id", id, id)?,
        tenant_id: column(TABLE, "tenant_id", id, &row.tenant_id)?,
        kind: column(TABLE, "kind", id, &row.kind)?,
        local_id: column(TABLE, "local_id", id, &row.local_id)?,
        display_name: column(TABLE, "display_name", id, &name)?,
        who,
        enabled,
        revision: row.revision,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
    })
}

/// Which participants a list shows. Users who were deleted are in none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParticipantFilter {
    /// Of this kind.
    pub kind: Option<ParticipantKind>,
    /// AIs of this model.
    pub model: Option<ModelSlug>,
    /// Those that have been given work as a helper.
    pub helpers: bool,
}

/// What of the participants of a scope a filter shows.
macro_rules! shown {
    ($scope:expr, $filter:expr, $what:expr) => {{
        let filter: &ParticipantFilter = $filter;
        let user_status = users::status.nullable();
        let mut query = participants::table
            .left_join(users::table.on(users::id.nullable().eq(participants::user_id)))
            .filter(participants::tenant_id.eq($scope.tenant_id().to_string()))
            .filter(user_status.is_null().or(user_status.ne(UserStatus::Deleted.as_str())))
            .select($what)
            .into_boxed();
        if let Some(kind) = filter.kind {
            query = query.filter(participants::kind.eq(kind.as_str()));
        }
        if let Some(model) = &filter.model {
            query = query.filter(participants::model.eq(model.to_string()));
        }
        if filter.helpers {
            query = query.filter(participants::helper.is_not_null());
        }
        query
    }};
}

/// The columns of a participant, with what is needed of its user.
macro_rules! columns {
    () => {
        (ParticipantRow::as_select(), (users::email, users::display_name, users::status).nullable())
    };
}

/// A participant by its id; also a user who was deleted, whose messages remain.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    id: ParticipantId,
) -> Result<Option<Participant>> {
    Ok(several(c, scope, &[id]).await?.pop())
}

/// Those of some participants that there are, by id; also users who were deleted.
#[boxed]
pub async fn several(
    c: &mut Connection,
    scope: TenantScope,
    ids: &[ParticipantId],
) -> Result<Vec<Participant>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let query = participants::table
        .left_join(users::table.on(users::id.nullable().eq(participants::user_id)))
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(participants::id.eq_any(ids))
        .order(participants::id);
    let found: Vec<(ParticipantRow, Option<OfUser>)> = with!(c, c => query.select(columns!()).load(c).await)?;
    found.into_iter().map(read).collect()
}

/// The participant that a name to mention means; never a user who was deleted.
#[boxed]
pub async fn find_by_local_id(
    c: &mut Connection,
    scope: TenantScope,
    local_id: &LocalId,
) -> Result<Option<Participant>> {
    let filter = ParticipantFilter::default();
    macro_rules! query {
        () => {
            shown!(scope, &filter, columns!()).filter(participants::local_id.eq(local_id.as_str().to_owned()))
        };
    }
    let found: Option<(ParticipantRow, Option<OfUser>)> =
        with!(c, c => query!().get_result(c).await.optional())?;
    found.map(read).transpose()
}

/// Those participants that some names to mention mean, by id; never a user who was deleted.
#[boxed]
pub async fn named(c: &mut Connection, scope: TenantScope, names: &[LocalId]) -> Result<Vec<Participant>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let filter = ParticipantFilter::default();
    macro_rules! query {
        () => {
            shown!(scope, &filter, columns!())
                .filter(participants::local_id.eq_any(names.clone()))
                .order(participants::id)
        };
    }
    let found: Vec<(ParticipantRow, Option<OfUser>)> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(read).collect()
}

/// The participant that a user is; none before they were one.
#[boxed]
pub async fn find_by_user(
    c: &mut Connection,
    scope: TenantScope,
    user: UserId,
) -> Result<Option<Participant>> {
    let query = participants::table
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(participants::user_id.eq(user.to_string()))
        .select(participants::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    let Some(id) = found else { return Ok(None) };
    lookup(c, scope, column(TABLE, "id", &id, &id)?).await
}

/// The first participant of a model, which is the model's own.
#[boxed]
pub async fn of_model(
    c: &mut Connection,
    scope: TenantScope,
    model: &ModelSlug,
) -> Result<Option<Participant>> {
    let filter = ParticipantFilter { model: Some(model.clone()), ..ParticipantFilter::default() };
    Ok(list(c, scope, &filter, None, 1).await?.pop())
}

/// The first participant of each of some models, for those that have one.
#[boxed]
pub async fn of_models(
    c: &mut Connection,
    scope: TenantScope,
    models: &[ModelSlug],
) -> Result<BTreeMap<ModelSlug, Participant>> {
    let models: Vec<Option<String>> = models.iter().map(|model| Some(model.to_string())).collect();
    let query = participants::table
        .group_by(participants::model)
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(participants::model.eq_any(models))
        .select(min(participants::id));
    let first: Vec<Option<String>> = with!(c, c => query.load(c).await)?;
    let ids: Vec<ParticipantId> =
        first.iter().flatten().map(|id| column(TABLE, "id", id, id)).collect::<Result<_>>()?;
    let found = several(c, scope, &ids).await?;
    let each = found.into_iter().filter_map(|participant| match &participant.who {
        Who::Ai { model, .. } => Some((model.clone(), participant)),
        Who::Human(_) => None,
    });
    Ok(each.collect())
}

/// The participants that a filter shows, the oldest first, after the one that the last page ended with.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    filter: &ParticipantFilter,
    after: Option<ParticipantId>,
    rows: i64,
) -> Result<Vec<Participant>> {
    macro_rules! query {
        () => {{
            let mut query = shown!(scope, filter, columns!()).order(participants::id).limit(rows);
            if let Some(after) = after {
                query = query.filter(participants::id.gt(after.to_string()));
            }
            query
        }};
    }
    let found: Vec<(ParticipantRow, Option<OfUser>)> = with!(c, c => query!().load(c).await)?;
    found.into_iter().map(read).collect()
}

/// How many participants a filter shows.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope, filter: &ParticipantFilter) -> Result<i64> {
    macro_rules! query {
        () => {
            shown!(scope, filter, count_star())
        };
    }
    Ok(with!(c, c => query!().get_result(c).await)?)
}

/// Whether a name to mention is in use, also by somebody who was deleted.
#[boxed]
pub async fn is_taken(c: &mut Connection, scope: TenantScope, local_id: &LocalId) -> Result<bool> {
    let query = participants::table
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(participants::local_id.eq(local_id.as_str().to_owned()))
        .select(participants::id);
    let found: Option<String> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.is_some())
}

/// Adds a participant.
///
/// # Errors
/// [`Error::Duplicate`] when its name to mention is taken; the transaction is of no use then.
#[boxed]
pub async fn add(tx: &mut Transaction, scope: TenantScope, participant: &Participant) -> Result<()> {
    let insert = diesel::insert_into(participants::table).values(ParticipantRow::of(scope, participant));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Users who are no participants yet: those that a server of an earlier version has made meanwhile.
#[boxed]
pub async fn newcomers(c: &mut Connection, _: &SystemScope, rows: i64) -> Result<Vec<(TenantId, UserId)>> {
    let own = participants::table.filter(participants::user_id.eq(users::id.nullable()));
    let query = users::table
        .filter(users::status.ne(UserStatus::Deleted.as_str()))
        .filter(diesel::dsl::not(diesel::dsl::exists(own)))
        .order(users::id.desc())
        .limit(rows)
        .select((users::tenant_id, users::id));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let each = found
        .iter()
        .map(|(tenant, id)| Ok((column("users", "tenant_id", id, tenant)?, column("users", "id", id, id)?)));
    each.collect()
}

/// Makes a user a participant. Their id is the user's own ULID, their name to mention what their address suggests.
#[boxed]
pub async fn add_user(tx: &mut Transaction, scope: TenantScope, user: &User) -> Result<()> {
    let id = ParticipantId::from_ulid(user.id.ulid());
    let tail: String = user.id.to_string().chars().skip(14).collect();
    let suggested = LocalId::suggested_by(user.email.as_str());
    let local_id = match suggested {
        Some(short) if !is_taken(tx, scope, &short).await? => Some(short),
        Some(short) => short.told_apart(&tail.chars().skip(10).collect::<String>()),
        None => None,
    };
    let row = ParticipantRow {
        id: id.to_string(),
        tenant_id: scope.tenant_id().to_string(),
        kind: ParticipantKind::Human.to_string(),
        local_id: local_id.map_or_else(|| format!("user-{}", tail.to_lowercase()), |id| id.to_string()),
        user_id: Some(user.id.to_string()),
        display_name: None,
        model: None,
        profile: Value::Object(serde_json::Map::new()),
        helper: None,
        state: ENABLED.to_owned(),
        revision: 1,
        created_at: user.created_at.into(),
        updated_at: user.updated_at.into(),
    };
    let insert = diesel::insert_into(participants::table).values(row).on_conflict_do_nothing();
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// A participant, held until the transaction ends: no one else changes it before.
#[boxed]
pub async fn lock(
    tx: &mut Transaction,
    scope: TenantScope,
    id: ParticipantId,
) -> Result<Option<Participant>> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(participants::table.find(id.to_string()))
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .set(participants::revision.eq(participants::revision));
    if with!(tx, c => update.execute(c).await)? == 0 {
        return Ok(None);
    }
    lookup(tx, scope, id).await
}

/// Writes an AI that is held; its revision goes up by one.
///
/// # Errors
/// [`Error::Duplicate`] when its new name to mention is taken; the transaction is of no use then.
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: TenantScope,
    participant: &Participant,
    at: Instant,
) -> Result<()> {
    let mut row = ParticipantRow::of(scope, participant);
    row.revision = participant.revision.saturating_add(1);
    row.updated_at = at.into();
    let update = diesel::update(participants::table.find(participant.id.to_string()))
        .filter(participants::tenant_id.eq(scope.tenant_id().to_string()))
        .set(row);
    with!(tx, c => update.execute(c).await)?;
    Ok(())
}
