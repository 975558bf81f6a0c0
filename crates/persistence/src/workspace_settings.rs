//! What tenants have set of their AI, their prompt studio and the processing of their notes: a document each, and of some a
//! secret, which is kept sealed.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use scaigrid_scope::{Instant, TenantScope};
use serde_json::Value;

use crate::data_keys;
use crate::database::{Connection, Transaction, with};
use crate::error::{Error, Result};
use crate::instant::Stamp;
use crate::json::storable;
use crate::schema::workspace_settings;
use crate::sealing::Vault;

const TABLE: &str = "workspace_settings";

/// What the secret of a setting is sealed for; the setting by its name.
pub fn sealing_place(name: &str) -> String {
    format!("workspace_settings/{name}/secret")
}

scaigrid_scope::text_enum! {
    /// Which of a tenant's settings it is.
    pub enum SettingName {
        /// Of its AI as a whole.
        AiConfig => "ai_config",
        /// Of its prompt studio: who may use it.
        PromptStudio => "prompt_studio",
        /// Of the processing of its notes.
        NoteProcessing => "note_processing",
    }
}

#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = workspace_settings)]
#[diesel(treat_none_as_default_value = false)]
#[diesel(treat_none_as_null = true)]
struct SettingRow {
    tenant_id: String,
    name: String,
    document: Value,
    sealed: Option<String>,
    updated_at: Stamp,
}

/// A setting as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// What is set, as whoever wrote it has put it.
    pub document: Value,
    /// When it was last written.
    pub updated_at: Instant,
    name: SettingName,
    sealed: Option<String>,
}

impl Setting {
    /// The secret that was written with it.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] when it does not open.
    #[boxed]
    pub async fn secret(
        &self,
        c: &mut Connection,
        scope: TenantScope,
        vault: &Vault,
    ) -> Result<Option<String>> {
        let Some(sealed) = &self.sealed else { return Ok(None) };
        let opener = data_keys::opener(c, scope, vault, [sealed.as_str()]).await?;
        let text = opener.open(&sealing_place(self.name.as_str()), sealed);
        let id = format!("{} {}", scope.tenant_id(), self.name);
        text.map(Some).map_err(|error| Error::inconsistent(TABLE, "sealed", &id, error))
    }
}

/// A setting of a tenant; none where nothing was set.
#[boxed]
pub async fn read(c: &mut Connection, scope: TenantScope, name: SettingName) -> Result<Option<Setting>> {
    let query = workspace_settings::table.find((scope.tenant_id().to_string(), name.as_str()));
    let row: Option<SettingRow> =
        with!(c, c => query.select(SettingRow::as_select()).get_result(c).await.optional())?;
    Ok(row.map(|row| Setting {
        document: row.document,
        updated_at: row.updated_at.into(),
        name,
        sealed: row.sealed,
    }))
}

/// Writes a setting, all of it: what was there before is gone, the secret included. Whoever does that holds the tenant's row.
#[boxed]
pub async fn write(
    tx: &mut Transaction,
    scope: TenantScope,
    name: SettingName,
    document: Value,
    secret: Option<&str>,
    vault: &Vault,
    at: Instant,
) -> Result<()> {
    let sealed = match secret {
        None => None,
        Some(secret) => {
            let sealer = data_keys::sealer(tx, scope, vault, at).await?;
            let text = sealer.seal(&sealing_place(name.as_str()), secret);
            Some(text.map_err(|error| Error::Setup(error.to_string()))?)
        }
    };
    let row = SettingRow {
        tenant_id: scope.tenant_id().to_string(),
        name: name.to_string(),
        document: storable(document),
        sealed,
        updated_at: at.into(),
    };
    let insert = diesel::insert_into(workspace_settings::table)
        .values(row.clone())
        .on_conflict((workspace_settings::tenant_id, workspace_settings::name))
        .do_update()
        .set(row);
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}
