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
    "removed_data_keys",
    "left_data_keys",
    "wrapped_data_keys",
    "master_key_changed",
];

impl Desk {
    pub(super) async fn secrets(&self, task: SecretsTask) -> anyhow::Result<Answer> {
        let SecretsTask::Rotate { data_keys } = task;
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
        let done = done?;
        let item = json!({
            "renewed_data_keys": done.renewed,
            "resealed_cores": done.cores,
            "resealed_module_configs": done.module_configs,
            "resealed_webhooks": done.webhooks,
            "resealed_answers": done.answers,
            "removed_data_keys": done.removed,
            "left_data_keys": done.left,
            "wrapped_data_keys": done.wrapped,
            "master_key_changed": done.master_key_changed,
        });
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
            };
            format!("{count} {what} looked at")
        }
        Progress::Keys(count) => format!("{count} data keys wrapped"),
    };
    eprint!("\r\x1b[K{text}");
    // That nobody sees it is no reason to stop.
    let _ = std::io::stderr().flush();
}
