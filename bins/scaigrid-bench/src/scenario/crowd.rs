//! Many tenants, each with an admin, a key, and settings and a configuration of every module: written into the database
//! directly, since by the API it would take longer than what is measured with them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::filling;
use crate::options::Engine;
use crate::scratch::Place;

/// Tenants that are written in one transaction.
const BATCH: u32 = 500;
/// When all of it was made, in microseconds since 1970.
const MADE_AT: i64 = 1_750_000_000_000_000;

/// Fills a database that a server has set up and does not use at the moment; the tenants' keys. Each tenant has switched
/// every module on, but one that it has switched off, and given each a configuration.
pub(super) async fn fill(place: &Place, tenants: u32, modules: &[String]) -> anyhow::Result<Vec<String>> {
    let batches = (0..tenants).step_by(BATCH as usize).map(|from| {
        let mut text = String::new();
        for number in from..tenants.min(from + BATCH) {
            tenant(&mut text, place.engine, number, modules);
        }
        text
    });
    filling::run(place, batches).await?;
    Ok((0..tenants).map(key).collect())
}

/// The key of a tenant's admin.
fn key(number: u32) -> String {
    format!("sgk_bench{number:035}")
}

/// The statements that make one tenant.
fn tenant(text: &mut String, engine: Engine, number: u32, modules: &[String]) {
    // Ids are ULIDs: 26 digits of base 32, of which these are some.
    let id = |prefix: &str| format!("{prefix}_01J0000000{number:016}");
    let (tenant, user, api_key) = (id("ten"), id("usr"), id("apikey"));
    let (at, empty) = (engine.instant(MADE_AT), engine.json("{}"));
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = text.write_fmt(line);
    };
    put(format_args!(
        "INSERT INTO tenants (id, partner_id, slug, name, status, limits, features, revision, created_at, updated_at) \
         VALUES ('{tenant}', (SELECT min(id) FROM partners), 'bench-{number}', 'Bench {number}', 'active', {empty}, \
         {empty}, 1, {at}, {at});\n"
    ));
    put(format_args!(
        "INSERT INTO users (id, tenant_id, email, kind, status, roles, revision, created_at, updated_at) VALUES \
         ('{user}', '{tenant}', 'admin@bench-{number}.example', 'human', 'active', {}, 1, {at}, {at});\n",
        engine.json(r#"["tenant_admin"]"#)
    ));
    let key = key(number);
    put(format_args!(
        "INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, hash, scopes, created_at) VALUES \
         ('{api_key}', '{tenant}', '{user}', 'bench', '{}', {}, {}, {at});\n",
        &key[..12],
        engine.bytes(&Sha256::digest(key.as_bytes())),
        engine.json("null")
    ));
    let off = number as usize % modules.len().max(1);
    for (place, module) in modules.iter().enumerate() {
        let enablement = if place == off { "disabled" } else { "enabled" };
        put(format_args!(
            "INSERT INTO module_settings (level, scope_id, module_id, enablement, changed_by, changed_at) VALUES \
             ('tenant', '{tenant}', '{module}', '{enablement}', '{user}', {at});\n"
        ));
        put(format_args!(
            "INSERT INTO module_configs (level, scope_id, module_id, config, secrets, origins, revision, changed_at) \
             VALUES ('tenant', '{tenant}', '{module}', {empty}, {empty}, {empty}, 1, {at});\n"
        ));
    }
}

impl Engine {
    /// A JSON value as the database keeps it.
    fn json(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("jsonb('{text}')"),
            Self::Postgres => format!("'{text}'::jsonb"),
        }
    }

    /// An instant, given in microseconds since 1970.
    fn instant(self, micros: i64) -> String {
        match self {
            Self::Sqlite => micros.to_string(),
            Self::Postgres => format!("to_timestamp({})", micros / 1_000_000),
        }
    }

    fn bytes(self, bytes: &[u8]) -> String {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        match self {
            Self::Sqlite => format!("x'{hex}'"),
            Self::Postgres => format!("'\\x{hex}'::bytea"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_have_the_form_that_the_server_wants() {
        assert_eq!(key(9_999).len(), "sgk_".len() + 40);
        let mut text = String::new();
        tenant(&mut text, Engine::Sqlite, 9_999, &["scaibot".to_owned(), "scailink".to_owned()]);
        assert!(text.contains("'ten_01J00000000000000000009999'"), "{text}");
        assert_eq!(text.matches("'disabled'").count(), 1);
        assert_eq!(text.lines().count(), 7);
    }
}
