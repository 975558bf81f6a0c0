//! Environments: what is a secret in them is kept sealed.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_cores::{Core, EnvValue, Environment, SecretText};
use scaigrid_scope::{CoreId, Instant, SystemScope, TenantId, TenantScope};
use serde_json::{Map, Value, json};

use super::TABLE;
use crate::data_keys::{self, Opener};
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result, column};
use crate::schema::cores;
use crate::sealing::Vault;

/// The place of a secret, to which its sealed text is bound.
fn place(core: CoreId, name: &str) -> String {
    format!("cores/{core}/environment/{name}")
}

pub(super) async fn seal(
    tx: &mut Transaction,
    scope: TenantScope,
    core: &Core,
    vault: &Vault,
) -> Result<Value> {
    let mut sealer = None;
    let mut stored = Map::new();
    for (name, value) in core.environment.iter() {
        let value = match value {
            EnvValue::Plain(value) => json!({"plain": value}),
            EnvValue::Secret(secret) => {
                let sealer = match &mut sealer {
                    Some(sealer) => sealer,
                    none => none.insert(data_keys::sealer(tx, scope, vault, core.updated_at).await?),
                };
                let text = sealer.seal(&place(core.id, name), secret.reveal());
                json!({"sealed": text.map_err(|error| Error::Setup(error.to_string()))?})
            }
        };
        stored.insert(name.to_owned(), value);
    }
    Ok(Value::Object(stored))
}

/// The sealed texts of a stored environment.
pub(super) fn sealed(stored: &Value) -> impl Iterator<Item = &str> {
    stored.as_object().into_iter().flat_map(Map::values).filter_map(|value| value.get("sealed")?.as_str())
}

pub(super) fn open(
    stored: &Value,
    core: CoreId,
    opener: &Opener<'_>,
) -> std::result::Result<Environment, String> {
    let fields = stored.as_object().ok_or("not an object")?;
    let values = fields.iter().map(|(name, value)| {
        let value = match (value.get("plain"), value.get("sealed").and_then(Value::as_str)) {
            (Some(plain), None) => EnvValue::Plain(plain.clone()),
            (None, Some(sealed)) => {
                let secret = opener.open(&place(core, name), sealed);
                EnvValue::Secret(SecretText::new(secret.map_err(|error| error.to_string())?))
            }
            _ => return Err(format!("{name} is neither plain nor sealed")),
        };
        Ok((name.clone(), value))
    });
    values.collect::<std::result::Result<Vec<_>, String>>().map(Environment::from_stored)
}

/// A Core's environment as it is stored, for sealing its secrets anew.
#[derive(Debug)]
pub struct SealedEnvironment {
    /// The Core.
    pub core: CoreId,
    /// Its tenant.
    pub tenant: TenantId,
    revision: i64,
    stored: Value,
}

impl SealedEnvironment {
    /// Whether there is anything to seal.
    pub fn has_secrets(&self) -> bool {
        sealed(&self.stored).next().is_some()
    }
}

/// The environments of the Cores of all tenants, by id, after one. Those without secrets too: what is in them, no index
/// tells.
pub async fn environments(
    c: &mut Connection,
    _: &SystemScope,
    after: Option<CoreId>,
    rows: i64,
) -> Result<Vec<SealedEnvironment>> {
    type Found = (String, String, i64, Value);
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    let query = cores::table.filter(cores::id.gt(after)).order(cores::id).limit(rows).select((
        cores::id,
        cores::tenant_id,
        cores::revision,
        cores::environment,
    ));
    let found: Vec<Found> = with!(c, c => query.load(c).await)?;
    let environment = |(id, tenant, revision, stored): Found| {
        let (core, tenant) = (column(TABLE, "id", &id, &id)?, column(TABLE, "tenant_id", &id, &tenant)?);
        Ok(SealedEnvironment { core, tenant, revision, stored })
    };
    found.into_iter().map(environment).collect()
}

/// Whether the secrets of an environment were sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealed {
    /// They were.
    Done,
    /// There are none, or all are sealed under the tenant's youngest key.
    Needless,
    /// The Core was changed meanwhile, and its secrets sealed with it, or it is gone.
    Changed,
}

/// Seals the secrets of an environment under the tenant's youngest key. For those who use the Core nothing is different, so
/// its revision stays.
///
/// # Errors
/// [`Error::Inconsistent`] when a secret does not open.
pub async fn reseal(
    tx: &mut Transaction,
    scope: TenantScope,
    environment: &SealedEnvironment,
    vault: &Vault,
    at: Instant,
) -> Result<Resealed> {
    if scope.tenant_id() != environment.tenant || !environment.has_secrets() {
        return Ok(Resealed::Needless);
    }
    let id = environment.core;
    let sealer = data_keys::sealer(tx, scope, vault, at).await?;
    if sealed(&environment.stored).all(|text| sealer.has_sealed(text)) {
        return Ok(Resealed::Needless);
    }
    let opener = data_keys::opener(tx, scope, vault, sealed(&environment.stored)).await?;
    let mut stored = environment.stored.clone();
    for (name, value) in stored.as_object_mut().into_iter().flatten() {
        let Some(text) = value.get("sealed").and_then(Value::as_str) else { continue };
        let anew =
            opener.open(&place(id, name), text).and_then(|secret| sealer.seal(&place(id, name), &secret));
        let anew = anew.map_err(|reason| Error::inconsistent(TABLE, "environment", id, reason))?;
        *value = json!({"sealed": anew});
    }
    let update = diesel::update(cores::table.find(id.to_string()))
        .filter(cores::tenant_id.eq(scope.tenant_id().to_string()))
        .filter(cores::revision.eq(environment.revision))
        .set(cores::environment.eq(stored));
    let rows = with!(tx, c => update.execute(c).await)?;
    Ok(if rows == 1 { Resealed::Done } else { Resealed::Changed })
}
