//! The keys of the secrets at rest.

use std::io::{IsTerminal as _, Write as _};

use scaigrid_app::secrets::{Progress, Store};
use scaigrid_scope::perm;
use serde_json::json;

use super::Desk;
use super::answer::{Answer, Columns};
use crate::settings::SecretsTask;

const COLUMNS: Columns = &[
    "renewed_data_keys",
    "resealed_cores",
    "resealed_module_configs",
    "resealed_webhooks",
    "resealed_answers",
    "resealed_signing_keys",
    "resealed_plugins",
    "resealed_backends",
    "resealed_settings",
    "removed_data_keys",
    "left_data_keys",
    "wrapped_data_keys",
    "master_key_changed",
    "new_signing_key",
];

impl Desk {
    pub(super) async fn secrets(&self, task: SecretsTask) -> anyhow::Result<Answer> {
        let SecretsTask::Rotate { data_keys, signing_keys } = task;
        let caller = self.at_level::<perm::AdminAccess>(None, None).await?;
        let watched = std::io::stderr().is_terminal();
        let progress = |progress| {
            if watched {
                tell(progress);
            }
        };
        let done = self.app.rotate_secrets(&caller, &self.request, data_keys, &progress).await;
        if watched {
            eprint!("\r\x1b[K");
        }
        let signing_key = match (&done, signing_keys) {
            (Ok(_), true) => Some(self.app.rotate_signing_keys(&caller, &self.request).await?),
            _ => None,
        };
        let done = done?;
        let mut item = json!({
            "renewed_data_keys": done.renewed,
            "resealed_cores": done.cores,
            "resealed_module_configs": done.module_configs,
            "resealed_webhooks": done.webhooks,
            "resealed_answers": done.answers,
            "resealed_signing_keys": done.signing_keys,
            "resealed_plugins": done.plugins,
            "resealed_backends": done.backends,
            "resealed_settings": done.settings,
            "removed_data_keys": done.removed,
            "left_data_keys": done.left,
            "wrapped_data_keys": done.wrapped,
            "master_key_changed": done.master_key_changed,
        });
        if let Some(key) = signing_key {
            item["new_signing_key"] = key.into();
        }
        let remark = "Everything stands under the first master key; the others can be taken off the list.";
        Ok(Answer::one(item, COLUMNS).with_remarks([remark.to_owned()]))
    }
}

/// One line that is written over and over.
fn tell(progress: Progress) {
    let text = match progress {
        Progress::Tenants(count) => format!("{count} tenants looked at"),
        Progress::Rows(store, count) => {
            let what = match store {
                Store::Environments => "Cores",
                Store::ModuleConfigs => "configurations of modules",
                Store::Webhooks => "webhooks",
                Store::Answers => "kept answers",
                Store::SigningKeys => "signing keys",
                Store::Plugins => "plugins",
                Store::Backends => "backends of models",
                Store::Triggers => "incoming webhooks",
                Store::Settings => "settings of workspaces",
            };
            format!("{count} {what} looked at")
        }
        Progress::Keys(count) => format!("{count} data keys wrapped"),
    };
    eprint!("\r\x1b[K{text}");
    // That nobody sees it is no reason to stop.
    let _ = std::io::stderr().flush();
}
