//! Environments: what is a secret in them is kept sealed.

use scaigrid_cores::{Core, EnvValue, Environment, SecretText};
use scaigrid_scope::{CoreId, TenantScope};
use serde_json::{Map, Value, json};

use crate::data_keys::{self, Opener};
use crate::database::Transaction;
use crate::error::{Error, Result};
use crate::sealing::Vault;

/// The place of a secret, to which its sealed text is bound; the Core by its id.
pub(crate) fn sealing_place(core: &str, name: &str) -> String {
    format!("cores/{core}/environment/{name}")
}

fn place(core: CoreId, name: &str) -> String {
    sealing_place(&core.to_string(), name)
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
pub(crate) fn sealed(stored: &Value) -> impl Iterator<Item = &str> {
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
