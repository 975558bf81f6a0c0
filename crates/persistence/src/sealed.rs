//! Whatever is kept sealed, wherever that is: for sealing it anew under a younger key, and for telling which keys are
//! still needed. Every column that holds sealed texts is a [`Store`] here.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Binary, Bool, Nullable, Text};
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, Level, LevelScope, SystemScope};
use serde_json::{Map, Value};

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::module_settings::{level_at, place};
use crate::schema::{
    backends, core_triggers, cores, idempotency_keys, module_configs, plugins, signing_keys, webhooks,
    workspace_settings,
};
use crate::sealing::Vault;
use crate::{
    backends as backend_rows, cores as core_rows, idempotency, module_configs as config_rows,
    plugins as plugin_rows, signing_keys as signing_rows, triggers as trigger_rows, webhooks as webhook_rows,
    workspace_settings as setting_rows,
};

/// A kind of things with secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The environments of Cores.
    Environments,
    /// What levels have configured of modules.
    ModuleConfigs,
    /// The secrets of outgoing webhooks.
    Webhooks,
    /// Answers that are kept for idempotency keys.
    Answers,
    /// The private halves of the platform's signing keys.
    SigningKeys,
    /// The credentials of plugins.
    Plugins,
    /// How backends of models are reached.
    Backends,
    /// The secrets of triggers that are webhooks.
    Triggers,
    /// The secrets among what tenants have set of their workspace.
    Settings,
}

impl Store {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Environments,
        Self::ModuleConfigs,
        Self::Webhooks,
        Self::Answers,
        Self::SigningKeys,
        Self::Plugins,
        Self::Backends,
        Self::Triggers,
        Self::Settings,
    ];

    const fn is_kept_at(self, level: Level) -> bool {
        match self {
            Self::ModuleConfigs | Self::Backends => true,
            Self::SigningKeys => matches!(level, Level::Platform),
            _ => matches!(level, Level::Tenant(_)),
        }
    }

    const fn column(self) -> (&'static str, &'static str) {
        match self {
            Self::Environments => ("cores", "environment"),
            Self::ModuleConfigs => ("module_configs", "secrets"),
            Self::Webhooks => ("webhooks", "secret"),
            Self::Answers => ("idempotency_keys", "body"),
            Self::SigningKeys => ("signing_keys", "sealed"),
            Self::Plugins => ("plugins", "credentials"),
            Self::Backends => ("backends", "sealed_config"),
            Self::Triggers => ("core_triggers", "secret"),
            Self::Settings => ("workspace_settings", "sealed"),
        }
    }
}

/// The key of a row. Those of one part leave the others empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position([String; 3]);

impl Position {
    fn of_id(id: String) -> Self {
        Self([id, String::new(), String::new()])
    }
}

/// A row that may hold sealed texts, and what they are sealed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub level: Level,
    /// Which it is.
    pub position: Position,
    keys: BTreeSet<Option<String>>,
}

impl Found {
    fn new<'a>(level: Level, position: Position, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let key = |text: &str| data_keys::key_of(text).map(str::to_owned);
        Self { level, position, keys: texts.into_iter().map(key).collect() }
    }

    /// The data keys that its texts are sealed under.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().flatten().map(String::as_str)
    }

    /// Whether there is nothing to be done once a data key is the youngest: all texts are sealed under it, or there are
    /// none.
    pub fn is_under(&self, youngest: Option<&str>) -> bool {
        self.keys.iter().all(|key| key.is_some() && key.as_deref() == youngest)
    }
}

fn texts_of(secrets: &Value) -> impl Iterator<Item = &str> {
    secrets.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str)
}

/// That a row, whose key has three parts, comes after another: a comparison that both databases look up in an index.
macro_rules! after_three {
    ($columns:literal, $first:expr, $second:expr, $third:expr) => {
        sql::<Bool>(concat!("(", $columns, ") > ("))
            .bind::<Text, _>($first)
            .sql(", ")
            .bind::<Text, _>($second)
            .sql(", ")
            .bind::<Text, _>($third)
            .sql(")")
    };
}

/// What a sealed text begins with, as far as its key is concerned; the rest of an answer may be long.
const HEAD_OF_ANSWER: &str = "substr(body, 1, 64)";

/// Some of the rows of a store by their keys, after one; of one level, or of all. Rows without secrets too, where no index
/// tells them apart.
#[boxed]
pub async fn page(
    c: &mut Connection,
    _: &SystemScope,
    store: Store,
    of: Option<Level>,
    after: Option<&Position>,
    rows: i64,
) -> Result<Vec<Found>> {
    let tenant = match of {
        Some(level) if !store.is_kept_at(level) => return Ok(Vec::new()),
        Some(Level::Tenant(tenant)) => Some(tenant.to_string()),
        _ => None,
    };
    let tenant_level =
        |table, id: &str, tenant: &str| column(table, "tenant_id", id, tenant).map(Level::Tenant);
    let [first, second, third] = after.map(|after| after.0.clone()).unwrap_or_default();
    match store {
        Store::Environments => {
            let query = cores::table.filter(cores::id.gt(first)).order(cores::id).limit(rows);
            let columns = (cores::id, cores::tenant_id, cores::environment);
            let found: Vec<(String, String, Value)> = match tenant {
                Some(tenant) => {
                    let query = query.filter(cores::tenant_id.eq(tenant)).select(columns);
                    with!(c, c => query.load(c).await)?
                }
                None => with!(c, c => query.select(columns).load(c).await)?,
            };
            let each = found.into_iter().map(|(id, tenant, stored)| {
                let level = tenant_level("cores", &id, &tenant)?;
                Ok(Found::new(level, Position::of_id(id), core_rows::sealed(&stored)))
            });
            each.collect()
        }
        Store::ModuleConfigs => {
            let query = module_configs::table
                .filter(after_three!("level, scope_id, module_id", first, second, third))
                .order((module_configs::level, module_configs::scope_id, module_configs::module_id))
                .limit(rows);
            let columns = (
                module_configs::level,
                module_configs::scope_id,
                module_configs::module_id,
                module_configs::secrets,
            );
            let found: Vec<(String, String, String, Value)> = match of.map(place) {
                Some((level, scope)) => {
                    let of = module_configs::level.eq(level).and(module_configs::scope_id.eq(scope));
                    let query = query.filter(of).select(columns);
                    with!(c, c => query.load(c).await)?
                }
                None => with!(c, c => query.select(columns).load(c).await)?,
            };
            let each = found.into_iter().map(|(level, scope, module, secrets)| {
                let at = level_at("module_configs", &module, &level, &scope)?;
                Ok(Found::new(at, Position([level, scope, module]), texts_of(&secrets)))
            });
            each.collect()
        }
        Store::Webhooks => {
            let query = webhooks::table.filter(webhooks::id.gt(first)).order(webhooks::id).limit(rows);
            let columns = (webhooks::id, webhooks::tenant_id, webhooks::secret, webhooks::previous_secret);
            let found: Vec<(String, String, String, Option<String>)> = match tenant {
                Some(tenant) => {
                    let query = query.filter(webhooks::tenant_id.eq(tenant)).select(columns);
                    with!(c, c => query.load(c).await)?
                }
                None => with!(c, c => query.select(columns).load(c).await)?,
            };
            let each = found.into_iter().map(|(id, tenant, secret, previous)| {
                let level = tenant_level("webhooks", &id, &tenant)?;
                let texts = [Some(secret), previous].into_iter().flatten().filter(|text| !text.is_empty());
                let texts: Vec<String> = texts.collect();
                Ok(Found::new(level, Position::of_id(id), texts.iter().map(String::as_str)))
            });
            each.collect()
        }
        Store::Answers => {
            let query = idempotency_keys::table
                .filter(after_three!("tenant_id, endpoint, key", first, second, third))
                .order((idempotency_keys::tenant_id, idempotency_keys::endpoint, idempotency_keys::key))
                .limit(rows);
            let columns = (
                idempotency_keys::tenant_id,
                idempotency_keys::endpoint,
                idempotency_keys::key,
                sql::<Nullable<Binary>>(HEAD_OF_ANSWER),
            );
            let found: Vec<(String, String, String, Option<Vec<u8>>)> = match tenant {
                Some(tenant) => {
                    let query = query.filter(idempotency_keys::tenant_id.eq(tenant)).select(columns);
                    with!(c, c => query.load(c).await)?
                }
                None => with!(c, c => query.select(columns).load(c).await)?,
            };
            let each = found.into_iter().map(|(tenant, endpoint, key, head)| {
                let level = tenant_level("idempotency_keys", &key, &tenant)?;
                let head = head.map(|head| String::from_utf8_lossy(&head).into_owned());
                Ok(Found::new(level, Position([tenant, endpoint, key]), head.as_deref()))
            });
            each.collect()
        }
        Store::SigningKeys => signing_keys_after(c, first, rows).await,
        Store::Plugins => plugins_after(c, tenant, (first, second), rows).await,
        Store::Backends => backends_after(c, of, first, rows).await,
        Store::Triggers => triggers_after(c, tenant, first, rows).await,
        Store::Settings => settings_after(c, tenant, (first, second), rows).await,
    }
}

async fn plugins_after(
    c: &mut Connection,
    tenant: Option<String>,
    (first, second): (String, String),
    rows: i64,
) -> Result<Vec<Found>> {
    let query = plugins::table
        .filter(
            sql::<Bool>("(tenant_id, plugin) > (")
                .bind::<Text, _>(first)
                .sql(", ")
                .bind::<Text, _>(second)
                .sql(")"),
        )
        .order((plugins::tenant_id, plugins::plugin))
        .limit(rows);
    let columns = (plugins::tenant_id, plugins::plugin, plugins::credentials);
    let found: Vec<(String, String, Option<String>)> = match tenant {
        Some(tenant) => {
            let query = query.filter(plugins::tenant_id.eq(tenant)).select(columns);
            with!(c, c => query.load(c).await)?
        }
        None => with!(c, c => query.select(columns).load(c).await)?,
    };
    let each = found.into_iter().map(|(tenant, plugin, text)| {
        let level = column("plugins", "tenant_id", &plugin, &tenant).map(Level::Tenant)?;
        Ok(Found::new(level, Position([tenant, plugin, String::new()]), text.as_deref()))
    });
    each.collect()
}

async fn settings_after(
    c: &mut Connection,
    tenant: Option<String>,
    (first, second): (String, String),
    rows: i64,
) -> Result<Vec<Found>> {
    let query = workspace_settings::table
        .filter(
            sql::<Bool>("(tenant_id, name) > (")
                .bind::<Text, _>(first)
                .sql(", ")
                .bind::<Text, _>(second)
                .sql(")"),
        )
        .order((workspace_settings::tenant_id, workspace_settings::name))
        .limit(rows);
    let columns = (workspace_settings::tenant_id, workspace_settings::name, workspace_settings::sealed);
    let found: Vec<(String, String, Option<String>)> = match tenant {
        Some(tenant) => {
            let query = query.filter(workspace_settings::tenant_id.eq(tenant)).select(columns);
            with!(c, c => query.load(c).await)?
        }
        None => with!(c, c => query.select(columns).load(c).await)?,
    };
    let each = found.into_iter().map(|(tenant, name, text)| {
        let level = column("workspace_settings", "tenant_id", &name, &tenant).map(Level::Tenant)?;
        Ok(Found::new(level, Position([tenant, name, String::new()]), text.as_deref()))
    });
    each.collect()
}

async fn triggers_after(
    c: &mut Connection,
    tenant: Option<String>,
    first: String,
    rows: i64,
) -> Result<Vec<Found>> {
    let query = core_triggers::table
        .filter(core_triggers::id.gt(first))
        .filter(core_triggers::secret.is_not_null())
        .order(core_triggers::id)
        .limit(rows);
    let columns =
        (core_triggers::id, core_triggers::tenant_id, core_triggers::secret, core_triggers::previous_secret);
    let found: Vec<(String, String, Option<String>, Option<String>)> = match tenant {
        Some(tenant) => {
            let query = query.filter(core_triggers::tenant_id.eq(tenant)).select(columns);
            with!(c, c => query.load(c).await)?
        }
        None => with!(c, c => query.select(columns).load(c).await)?,
    };
    let each = found.into_iter().map(|(id, tenant, secret, previous)| {
        let level = column("core_triggers", "tenant_id", &id, &tenant).map(Level::Tenant)?;
        let texts: Vec<String> = [secret, previous].into_iter().flatten().collect();
        Ok(Found::new(level, Position::of_id(id), texts.iter().map(String::as_str)))
    });
    each.collect()
}

async fn backends_after(
    c: &mut Connection,
    of: Option<Level>,
    first: String,
    rows: i64,
) -> Result<Vec<Found>> {
    let query = backends::table.filter(backends::id.gt(first)).order(backends::id).limit(rows);
    let columns = (backends::id, backends::level, backends::scope_id, backends::sealed_config);
    let found: Vec<(String, String, String, String)> = match of.map(place) {
        Some((level, scope)) => {
            let query = query.filter(backends::level.eq(level).and(backends::scope_id.eq(scope)));
            let query = query.select(columns);
            with!(c, c => query.load(c).await)?
        }
        None => with!(c, c => query.select(columns).load(c).await)?,
    };
    let each = found.into_iter().map(|(id, level, scope, text)| {
        let at = level_at("backends", &id, &level, &scope)?;
        Ok(Found::new(at, Position::of_id(id), Some(text.as_str()).filter(|text| !text.is_empty())))
    });
    each.collect()
}

async fn signing_keys_after(c: &mut Connection, first: String, rows: i64) -> Result<Vec<Found>> {
    let query = signing_keys::table
        .filter(signing_keys::id.gt(first))
        .order(signing_keys::id)
        .limit(rows)
        .select((signing_keys::id, signing_keys::sealed));
    let found: Vec<(String, String)> = with!(c, c => query.load(c).await)?;
    let each =
        found.into_iter().map(|(id, text)| Found::new(Level::Platform, Position::of_id(id), [text.as_str()]));
    Ok(each.collect())
}

/// What a row holds, while it is held.
enum Kept {
    Environment(Value),
    Config(Value),
    Webhook(String, Option<String>),
    Answer(Vec<u8>),
    SigningKey(String),
    Plugin(String),
    Backend(String),
    Trigger(String, Option<String>),
    Setting(String),
}

/// The place that a sealed text is bound to, and the text.
type Bound = (String, String);

impl Kept {
    /// Reads a row of a level, and holds it until the transaction ends.
    async fn lock(
        tx: &mut Transaction,
        scope: LevelScope,
        store: Store,
        Position([first, second, third]): &Position,
    ) -> Result<Option<Self>> {
        let (level, owner) = place(scope.level());
        // Updates that change nothing take the row lock in both databases, by the same statement.
        Ok(match store {
            Store::Environments => {
                let held = diesel::update(cores::table.find(first))
                    .filter(cores::tenant_id.eq(owner))
                    .set(cores::revision.eq(cores::revision))
                    .returning(cores::environment);
                with!(tx, c => held.get_result(c).await.optional())?.map(Self::Environment)
            }
            Store::ModuleConfigs => {
                let held = diesel::update(module_configs::table.find((first, second, third)))
                    .filter(module_configs::level.eq(level).and(module_configs::scope_id.eq(owner)))
                    .set(module_configs::revision.eq(module_configs::revision))
                    .returning(module_configs::secrets);
                with!(tx, c => held.get_result(c).await.optional())?.map(Self::Config)
            }
            Store::Webhooks => {
                let held = diesel::update(webhooks::table.find(first))
                    .filter(webhooks::tenant_id.eq(owner))
                    .filter(webhooks::secret.ne(""))
                    .set(webhooks::revision.eq(webhooks::revision))
                    .returning((webhooks::secret, webhooks::previous_secret));
                let held: Option<(String, Option<String>)> =
                    with!(tx, c => held.get_result(c).await.optional())?;
                held.map(|(secret, previous)| Self::Webhook(secret, previous))
            }
            Store::Answers => {
                let held = diesel::update(idempotency_keys::table.find((first, second, third)))
                    .filter(idempotency_keys::tenant_id.eq(owner))
                    .filter(idempotency_keys::body.is_not_null())
                    .set(idempotency_keys::status.eq(idempotency_keys::status))
                    .returning(idempotency_keys::body);
                let held: Option<Option<Vec<u8>>> = with!(tx, c => held.get_result(c).await.optional())?;
                held.flatten().map(Self::Answer)
            }
            Store::Backends => {
                let held = diesel::update(backends::table.find(first))
                    .filter(backends::level.eq(level).and(backends::scope_id.eq(owner)))
                    .filter(backends::sealed_config.ne(""))
                    .set(backends::revision.eq(backends::revision))
                    .returning(backends::sealed_config);
                with!(tx, c => held.get_result(c).await.optional())?.map(Self::Backend)
            }
            Store::Triggers => {
                let held = diesel::update(core_triggers::table.find(first))
                    .filter(core_triggers::tenant_id.eq(owner))
                    .set(core_triggers::kind.eq(core_triggers::kind))
                    .returning((core_triggers::secret, core_triggers::previous_secret));
                let held: Option<(Option<String>, Option<String>)> =
                    with!(tx, c => held.get_result(c).await.optional())?;
                held.and_then(|(secret, previous)| Some(Self::Trigger(secret?, previous)))
            }
            Store::SigningKeys if scope.level() != Level::Platform => None,
            Store::SigningKeys => {
                let held = diesel::update(signing_keys::table.filter(signing_keys::id.eq(first)))
                    .set(signing_keys::generation.eq(signing_keys::generation))
                    .returning(signing_keys::sealed);
                with!(tx, c => held.get_result(c).await.optional())?.map(Self::SigningKey)
            }
            Store::Plugins => {
                let held = diesel::update(plugins::table.find((first, second)))
                    .filter(plugins::tenant_id.eq(owner))
                    .set(plugins::revision.eq(plugins::revision))
                    .returning(plugins::credentials);
                let held: Option<Option<String>> = with!(tx, c => held.get_result(c).await.optional())?;
                held.flatten().map(Self::Plugin)
            }
            Store::Settings => {
                let held = diesel::update(workspace_settings::table.find((first, second)))
                    .filter(workspace_settings::tenant_id.eq(owner))
                    .set(workspace_settings::updated_at.eq(workspace_settings::updated_at))
                    .returning(workspace_settings::sealed);
                let held: Option<Option<String>> = with!(tx, c => held.get_result(c).await.optional())?;
                held.flatten().map(Self::Setting)
            }
        })
    }

    /// The sealed texts, each with its place.
    fn texts(&self, Position([first, second, third]): &Position) -> Vec<Bound> {
        let texts = |value: &Value, place: &dyn Fn(&str) -> String, inner: Option<&str>| -> Vec<Bound> {
            let fields = value.as_object().into_iter().flatten();
            let sealed = fields.filter_map(|(name, value)| {
                let text = inner.map_or(Some(value), |inner| value.get(inner))?.as_str()?;
                Some((place(name), text.to_owned()))
            });
            sealed.collect()
        };
        match self {
            Self::Environment(stored) => {
                texts(stored, &|name| core_rows::sealing_place(first, name), Some("sealed"))
            }
            Self::Config(secrets) => {
                texts(secrets, &|pointer| config_rows::sealing_place(third, pointer), None)
            }
            Self::Webhook(secret, previous) => {
                let previous =
                    previous.iter().map(|text| (webhook_rows::previous_place(first), text.clone()));
                [(webhook_rows::sealing_place(first), secret.clone())].into_iter().chain(previous).collect()
            }
            Self::Trigger(secret, previous) => {
                let previous =
                    previous.iter().map(|text| (trigger_rows::previous_place(first), text.clone()));
                [(trigger_rows::sealing_place(first), secret.clone())].into_iter().chain(previous).collect()
            }
            Self::Answer(body) => {
                vec![(idempotency::sealing_place(second, third), String::from_utf8_lossy(body).into_owned())]
            }
            Self::SigningKey(text) => vec![(signing_rows::sealing_place(first), text.clone())],
            Self::Plugin(text) => vec![(plugin_rows::sealing_place(second), text.clone())],
            Self::Setting(text) => vec![(setting_rows::sealing_place(second), text.clone())],
            Self::Backend(text) => vec![(backend_rows::sealing_place(first), text.clone())],
        }
    }

    /// The same with other texts, in the order of [`Kept::texts`].
    fn with(self, texts: Vec<String>) -> Self {
        let mut texts = texts.into_iter();
        match self {
            Self::Environment(mut stored) => {
                for value in stored.as_object_mut().into_iter().flat_map(Map::values_mut) {
                    if let Some(text) = value.get_mut("sealed").filter(|text| text.is_string()) {
                        *text = texts.next().into();
                    }
                }
                Self::Environment(stored)
            }
            Self::Config(mut secrets) => {
                for text in secrets.as_object_mut().into_iter().flat_map(Map::values_mut) {
                    if text.is_string() {
                        *text = texts.next().into();
                    }
                }
                Self::Config(secrets)
            }
            Self::Webhook(secret, previous) => {
                let secret = texts.next().unwrap_or(secret);
                Self::Webhook(secret, previous.and_then(|_| texts.next()))
            }
            Self::Trigger(secret, previous) => {
                let secret = texts.next().unwrap_or(secret);
                Self::Trigger(secret, previous.and_then(|_| texts.next()))
            }
            Self::Answer(body) => Self::Answer(texts.next().map_or(body, String::into_bytes)),
            Self::SigningKey(text) => Self::SigningKey(texts.next().unwrap_or(text)),
            Self::Plugin(text) => Self::Plugin(texts.next().unwrap_or(text)),
            Self::Setting(text) => Self::Setting(texts.next().unwrap_or(text)),
            Self::Backend(text) => Self::Backend(texts.next().unwrap_or(text)),
        }
    }

    /// Writes a row that is held. For those who use it nothing is different, so its revision stays.
    async fn write(self, tx: &mut Transaction, Position([first, second, third]): &Position) -> Result<()> {
        match self {
            Self::Environment(stored) => {
                let set = diesel::update(cores::table.find(first)).set(cores::environment.eq(stored));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Config(secrets) => {
                let set = diesel::update(module_configs::table.find((first, second, third)))
                    .set(module_configs::secrets.eq(secrets));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Webhook(secret, previous) => {
                let set = diesel::update(webhooks::table.find(first))
                    .set((webhooks::secret.eq(secret), webhooks::previous_secret.eq(previous)));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Trigger(secret, previous) => {
                let set = diesel::update(core_triggers::table.find(first)).set((
                    core_triggers::secret.eq(Some(secret)),
                    core_triggers::previous_secret.eq(previous),
                ));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Answer(body) => {
                let set = diesel::update(idempotency_keys::table.find((first, second, third)))
                    .set(idempotency_keys::body.eq(Some(body)));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Backend(text) => {
                let set = diesel::update(backends::table.find(first)).set(backends::sealed_config.eq(text));
                with!(tx, c => set.execute(c).await)?
            }
            Self::SigningKey(text) => {
                let set = diesel::update(signing_keys::table.filter(signing_keys::id.eq(first)))
                    .set(signing_keys::sealed.eq(text));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Plugin(text) => {
                let set = diesel::update(plugins::table.find((first, second)))
                    .set(plugins::credentials.eq(Some(text)));
                with!(tx, c => set.execute(c).await)?
            }
            Self::Setting(text) => {
                let set = diesel::update(workspace_settings::table.find((first, second)))
                    .set(workspace_settings::sealed.eq(Some(text)));
                with!(tx, c => set.execute(c).await)?
            }
        };
        Ok(())
    }
}

/// Seals what a row of a level holds under the level's youngest key. False when there is nothing to do, or no such row any
/// more. The row is held meanwhile, so whoever changes it does so before or after, and seals under that key themselves.
///
/// # Errors
/// [`Error::Inconsistent`] when a text does not open.
#[boxed]
pub async fn reseal(
    tx: &mut Transaction,
    scope: LevelScope,
    store: Store,
    position: &Position,
    vault: &Vault,
    at: Instant,
) -> Result<bool> {
    let Some(kept) = Kept::lock(tx, scope, store, position).await? else { return Ok(false) };
    let texts = kept.texts(position);
    if texts.is_empty() {
        return Ok(false);
    }
    let sealer = data_keys::sealer(tx, scope, vault, at).await?;
    if texts.iter().all(|(_, text)| sealer.has_sealed(text)) {
        return Ok(false);
    }
    let opener = data_keys::opener(tx, scope, vault, texts.iter().map(|(_, text)| text.as_str())).await?;
    let anew = texts.iter().map(|(place, text)| {
        opener.open(place, text).and_then(|secret| sealer.seal(place, &secret)).map_err(|reason| {
            let (table, column) = store.column();
            Error::inconsistent(table, column, position.0.join(" ").trim_end(), reason)
        })
    });
    let anew = anew.collect::<Result<Vec<_>>>()?;
    kept.with(anew).write(tx, position).await?;
    Ok(true)
}
