//! The plugins that tenants have registered. Their credentials are kept sealed.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::plugins::{Credentials, Manifest, PluginName, Registration};
use scaigrid_scope::TenantScope;
use serde_json::Value;

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::instant::Stamp;
use crate::json::storable;
use crate::schema::plugins;
use crate::sealing::Vault;
use crate::{Revised, Written};

const TABLE: &str = "plugins";

/// What the credentials of a plugin are sealed for; the plugin by its name.
pub fn sealing_place(plugin: &str) -> String {
    format!("plugins/{plugin}/credentials")
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = plugins)]
#[diesel(treat_none_as_default_value = false)]
#[diesel(treat_none_as_null = true)]
struct PluginRow {
    tenant_id: String,
    plugin: String,
    kind: String,
    endpoint: String,
    credentials: Option<String>,
    manifest: Value,
    found: Option<Value>,
    read_at: Option<Stamp>,
    revision: i64,
    created_at: Stamp,
    updated_at: Stamp,
}

impl PluginRow {
    /// The row of a registration, its credentials sealed.
    async fn of(
        tx: &mut Transaction,
        scope: TenantScope,
        registration: &Registration,
        revision: i64,
        vault: &Vault,
    ) -> Result<Self> {
        let plugin = registration.plugin.as_str();
        let credentials = match &registration.credentials {
            None => None,
            Some(credentials) => {
                let sealer = data_keys::sealer(tx, scope, vault, registration.updated_at).await?;
                let text = sealer.seal(&sealing_place(plugin), &credentials.reveal());
                Some(text.map_err(|error| Error::Setup(error.to_string()))?)
            }
        };
        Ok(Self {
            tenant_id: scope.tenant_id().to_string(),
            plugin: plugin.to_owned(),
            kind: registration.kind.as_str().to_owned(),
            endpoint: registration.endpoint.to_string(),
            credentials,
            manifest: storable(registration.accepted.to_json()),
            found: registration.found.as_ref().map(|found| storable(found.to_json())),
            read_at: registration.read_at.map(Stamp),
            revision,
            created_at: registration.created_at.into(),
            updated_at: registration.updated_at.into(),
        })
    }

    fn open(self, opener: &data_keys::Opener<'_>) -> Result<Revised<Registration>> {
        let id = format!("{} {}", self.tenant_id, self.plugin);
        let bad = |column, reason: String| Error::inconsistent(TABLE, column, &id, reason);
        let manifest = |name, stored: Value| {
            Manifest::from_stored(stored).map_err(|problems| {
                let first = problems.into_iter().next();
                bad(
                    name,
                    first.map_or_else(String::new, |first| format!("{} {}", first.field, first.message)),
                )
            })
        };
        let credentials = self.credentials.as_deref().map(|sealed| {
            let text = opener.open(&sealing_place(&self.plugin), sealed);
            let text = text.map_err(|error| bad("credentials", error.to_string()))?;
            Credentials::from_stored(&text).ok_or_else(|| bad("credentials", "they are none".to_owned()))
        });
        let registration = Registration {
            tenant_id: column(TABLE, "tenant_id", &id, &self.tenant_id)?,
            plugin: column(TABLE, "plugin", &id, &self.plugin)?,
            kind: column(TABLE, "kind", &id, &self.kind)?,
            endpoint: column(TABLE, "endpoint", &id, &self.endpoint)?,
            credentials: credentials.transpose()?,
            accepted: manifest("manifest", self.manifest)?,
            found: self.found.map(|found| manifest("found", found)).transpose()?,
            read_at: self.read_at.map(Into::into),
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
        };
        Ok(Revised { value: registration, revision: self.revision })
    }
}

async fn opened(
    c: &mut Connection,
    scope: TenantScope,
    rows: Vec<PluginRow>,
    vault: &Vault,
) -> Result<Vec<Revised<Registration>>> {
    let sealed: Vec<&str> = rows.iter().filter_map(|row| row.credentials.as_deref()).collect();
    let opener = data_keys::opener(c, scope, vault, sealed).await?;
    rows.into_iter().map(|row| row.open(&opener)).collect()
}

/// A plugin by its name.
#[boxed]
pub async fn lookup(
    c: &mut Connection,
    scope: TenantScope,
    plugin: &PluginName,
    vault: &Vault,
) -> Result<Option<Revised<Registration>>> {
    let query = plugins::table.find((scope.tenant_id().to_string(), plugin.as_str()));
    let row = with!(c, c => query.select(PluginRow::as_select()).get_result(c).await.optional())?;
    Ok(opened(c, scope, row.into_iter().collect(), vault).await?.pop())
}

/// The revision at which a plugin stands, and when it was registered, which together tell it from every other one.
#[boxed]
pub async fn mark(c: &mut Connection, scope: TenantScope, plugin: &PluginName) -> Result<Option<(i64, i64)>> {
    let query = plugins::table
        .find((scope.tenant_id().to_string(), plugin.as_str()))
        .select((plugins::revision, plugins::created_at));
    let found: Option<(i64, Stamp)> = with!(c, c => query.get_result(c).await.optional())?;
    Ok(found.map(|(revision, created_at)| (revision, scaigrid_scope::Instant::from(created_at).micros())))
}

/// The tenant's plugins by name, after one.
#[boxed]
pub async fn list(
    c: &mut Connection,
    scope: TenantScope,
    after: Option<&PluginName>,
    rows: i64,
    vault: &Vault,
) -> Result<Vec<Revised<Registration>>> {
    macro_rules! query {
        () => {{
            let mut query = plugins::table
                .filter(plugins::tenant_id.eq(scope.tenant_id().to_string()))
                .order(plugins::plugin)
                .limit(rows)
                .select(PluginRow::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(plugins::plugin.gt(after.as_str()));
            }
            query
        }};
    }
    let found: Vec<PluginRow> = with!(c, c => query!().load(c).await)?;
    opened(c, scope, found, vault).await
}

/// The names of the tenant's plugins, at most so many.
#[boxed]
pub async fn names(c: &mut Connection, scope: TenantScope, rows: i64) -> Result<Vec<PluginName>> {
    let query = plugins::table
        .filter(plugins::tenant_id.eq(scope.tenant_id().to_string()))
        .order(plugins::plugin)
        .limit(rows)
        .select(plugins::plugin);
    let found: Vec<String> = with!(c, c => query.load(c).await)?;
    found.iter().map(|name| column(TABLE, "plugin", name, name)).collect()
}

/// How many plugins the tenant has.
#[boxed]
pub async fn count(c: &mut Connection, scope: TenantScope) -> Result<i64> {
    let query = plugins::table
        .filter(plugins::tenant_id.eq(scope.tenant_id().to_string()))
        .select(diesel::dsl::count_star());
    Ok(with!(c, c => query.get_result(c).await)?)
}

/// Adds a plugin at revision 1. [`Error::Duplicate`] when there is one of that name.
#[boxed]
pub async fn add(
    tx: &mut Transaction,
    scope: TenantScope,
    registration: &Registration,
    vault: &Vault,
) -> Result<()> {
    let row = PluginRow::of(tx, scope, registration, 1, vault).await?;
    let insert = diesel::insert_into(plugins::table).values(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Writes a plugin that stands at a revision; its revision goes up by one.
#[boxed]
pub async fn save(
    tx: &mut Transaction,
    scope: TenantScope,
    registration: &Registration,
    revision: i64,
    vault: &Vault,
) -> Result<Written> {
    let row = PluginRow::of(tx, scope, registration, revision + 1, vault).await?;
    let key = (scope.tenant_id().to_string(), registration.plugin.as_str());
    let update = diesel::update(plugins::table.find(key)).filter(plugins::revision.eq(revision)).set(row);
    if with!(tx, c => update.execute(c).await)? == 1 {
        return Ok(Written::Done);
    }
    let there = mark(tx, scope, &registration.plugin).await?;
    Ok(if there.is_some() { Written::Stale } else { Written::Missing })
}

/// Removes a plugin that stands at a revision.
#[boxed]
pub async fn delete(
    tx: &mut Transaction,
    scope: TenantScope,
    plugin: &PluginName,
    revision: i64,
) -> Result<Written> {
    let key = (scope.tenant_id().to_string(), plugin.as_str());
    let delete = diesel::delete(plugins::table.find(key)).filter(plugins::revision.eq(revision));
    if with!(tx, c => delete.execute(c).await)? == 1 {
        return Ok(Written::Done);
    }
    let there = mark(tx, scope, plugin).await?;
    Ok(if there.is_some() { Written::Stale } else { Written::Missing })
}
