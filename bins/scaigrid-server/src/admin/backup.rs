//! Backup and restore: the file, and who may write it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use scaigrid_app::backup::{self, BackupError, Carried, Missing};
use scaigrid_scope::perm;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{Answer, Columns};
use crate::clock::SystemClock;
use crate::compose;
use crate::files::Unusable;
use crate::settings::Settings;

const COLUMNS: Columns = &["file", "created_at", "database", "total_rows", "bytes"];
const RESTORED: Columns = &["file", "created_at", "database", "total_rows", "audit_valid"];

fn view(path: &Path, carried: &Carried) -> Value {
    json!({
        "file": path.to_string_lossy(),
        "version": carried.head.version,
        "created_at": carried.head.created_at,
        "database": carried.head.database,
        "schema": carried.head.schema.last(),
        "master_keys": carried.head.master_keys,
        "rows": carried.rows,
        "total_rows": carried.rows.values().sum::<u64>(),
        "objects": carried.objects,
        "missing_objects": {"count": carried.missing.count, "first": carried.missing.first},
        "sha256": carried.sha256,
    })
}

/// What is missing, where anything is.
fn incomplete(missing: &Missing) -> Option<String> {
    let named = missing.first.join(", ");
    let more = if missing.count > missing.first.len() as u64 { ", …" } else { "" };
    let what = format!("{} objects that the database refers to are missing: {named}{more}", missing.count);
    missing.any().then_some(what)
}

/// Tells how far it is, where somebody looks on.
fn progress() -> impl Fn(u64) + Sync {
    let seen = std::io::stderr().is_terminal();
    move |rows| {
        if seen {
            eprint!("\r{rows} rows");
        }
    }
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// What must be put right first, as against what went wrong.
fn refused(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::App(error) => error.into(),
        BackupError::NotEmpty { .. } => Unusable(format!("SCAIGRID_DATABASE_URL: {error}")).into(),
        BackupError::OtherMasterKey { .. } => Unusable(format!("SCAIGRID_MASTER_KEY: {error}")).into(),
        BackupError::OtherStore(_) => Unusable(format!("SCAIGRID_OBJECT_STORE: {error}")).into(),
        other => other.into(),
    }
}

/// The file's name while it is not whole. It goes in any case: what became whole has another name by then.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // That it stays behind harms nobody: its name says what it is.
        let _ = fs::remove_file(&self.0);
    }
}

impl Desk {
    pub(super) async fn back_up(&self, output: &Path, allow_missing: bool) -> anyhow::Result<Answer> {
        let caller = self.at_level::<perm::AdminAccess>(None, None).await?;
        let cannot = || format!("{} cannot be written", output.display());
        if output.exists() {
            return Err(Unusable(format!("--output: {} is there already", output.display())).into());
        }
        // It has its name only once it is whole, and nobody but its owner may read it.
        let mut name = output.as_os_str().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let unfinished = Unfinished(name.into());
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished.0);
        let mut file = BufWriter::new(file.with_context(cannot)?);
        let carried = self.app.back_up(&caller, &self.request, &mut file, &progress()).await;
        end_progress();
        let carried = carried.map_err(refused)?;
        file.flush().with_context(cannot)?;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        // Not over a file that has come to be there meanwhile.
        fs::hard_link(&unfinished.0, output).with_context(cannot)?;
        if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
        }
        let mut item = view(output, &carried);
        item["bytes"] = file.metadata().with_context(cannot)?.len().into();
        let remark = "The master key is not in it: keep that too, elsewhere.".to_owned();
        let incomplete = incomplete(&carried.missing);
        let answer = Answer::one(item, COLUMNS);
        Ok(match incomplete {
            Some(what) if !allow_missing => answer
                .with_remarks([remark])
                .of_failure(format!("the backup is written, but not whole: {what} (see --allow-missing)")),
            incomplete => answer.with_remarks(incomplete.into_iter().chain([remark])),
        })
    }
}

/// Puts a backup back into an empty database, and checks the audit log that came with it.
pub(super) async fn restore(settings: &Settings, path: &Path) -> anyhow::Result<Answer> {
    let file = File::open(path).map_err(|error| Unusable(format!("{}: {error}", path.display())))?;
    let ground = compose::ground(settings).await?;
    let restored = {
        let into = (&ground.database, &*ground.objects);
        backup::restore(into, &ground.vault, BufReader::new(file), &progress()).await
    };
    end_progress();
    let carried = restored.map_err(refused)?;
    let app = ground.application(settings, Arc::new(SystemClock))?;
    let report = app.verify_all_audit().await?;
    let mut item = view(path, &carried);
    item["audit_valid"] = report.is_valid().into();
    item["audit_records"] = report.records.into();
    let answer = Answer::one(item, RESTORED);
    let audit = "the audit log in it is not what was written: see audit verify".to_owned();
    let audit = (!report.is_valid()).then_some(audit);
    let wrong: Vec<String> = incomplete(&carried.missing).into_iter().chain(audit).collect();
    Ok(if wrong.is_empty() {
        answer
    } else {
        answer.of_failure(format!("everything that is in it was put back, but {}", wrong.join("; and ")))
    })
}
