//! The audit log.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Context as _;
use scaigrid_app::audit::{AuditFilter, AuditReport};
use scaigrid_http::export::{Format, Writer};
use scaigrid_scope::perm;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{Answer, Columns};
use crate::files::NewFile;
use crate::settings::AuditTask;

const REPORT: Columns = &["valid", "records", "purged", "pending", "sealed_through", "head"];

fn view(report: &AuditReport) -> Value {
    let problems = report.problems.iter().map(|problem| {
        json!({
            "kind": problem.fault.as_str(),
            "chain": problem.chain.map(|chain| chain.to_string()),
            "position": problem.position,
            "record_id": problem.record_id,
            "message": problem.message,
        })
    });
    json!({
        "valid": report.is_valid(),
        "records": report.records,
        "purged": report.purged,
        "pending": report.pending,
        "head": report.head.map(|head| head.to_string()),
        "sealed_through": report.sealed_through,
        "problems": problems.collect::<Vec<_>>(),
        "more_problems": report.more_problems,
    })
}

/// The problems, a line each.
fn remarks(report: &AuditReport) -> Vec<String> {
    let told = |text: Option<String>| text.map(|text| format!(" {text}")).unwrap_or_default();
    let mut lines: Vec<String> = report
        .problems
        .iter()
        .map(|problem| {
            let chain = told(problem.chain.map(|chain| chain.to_string()));
            let position = told(problem.position.map(|position| position.to_string()));
            let record = told(problem.record_id.clone());
            format!("{}:{chain}{position}{record}: {}", problem.fault, problem.message)
        })
        .collect();
    if report.more_problems > 0 {
        lines.push(format!("and {} more", report.more_problems));
    }
    lines
}

impl Desk {
    pub(super) async fn audit(
        &self,
        tenant: Option<&str>,
        partner: Option<&str>,
        task: AuditTask,
    ) -> anyhow::Result<Answer> {
        match task {
            AuditTask::Verify => self.verify(tenant, partner).await,
            AuditTask::Export { format, output, action, actor, resource, since, until } => {
                let filter = AuditFilter {
                    action,
                    actor_id: actor,
                    resource_id: resource,
                    since,
                    until,
                    ..AuditFilter::default()
                };
                if let Some(path) = output {
                    let mut file =
                        NewFile::beside(&path).with_context(|| format!("cannot write {}", path.display()))?;
                    self.write(tenant, partner, filter, format, &mut file).await?;
                    file.keep().with_context(|| format!("cannot write {}", path.display()))?;
                } else {
                    self.write(tenant, partner, filter, format, &mut io::stdout()).await?;
                }
                Ok(Answer::written())
            }
        }
    }

    async fn verify(&self, tenant: Option<&str>, partner: Option<&str>) -> anyhow::Result<Answer> {
        let caller = self.at_level::<perm::AdminAccess>(tenant, partner).await?;
        let seen = io::stderr().is_terminal();
        let progress = |read: u64| {
            if seen {
                eprint!("\r{read} records");
            }
        };
        let report = self.app.verify_audit(&caller, progress).await?;
        if seen {
            eprint!("\r");
        }
        let answer = Answer::one(view(&report), REPORT).with_remarks(remarks(&report));
        Ok(if report.is_valid() {
            answer
        } else {
            answer.of_failure("the audit log is not what was written")
        })
    }

    async fn write(
        &self,
        tenant: Option<&str>,
        partner: Option<&str>,
        filter: AuditFilter,
        format: Format,
        file: &mut impl Write,
    ) -> anyhow::Result<()> {
        let caller = self.at_level::<perm::AdminAccess>(tenant, partner).await?;
        let mut export = self.app.export_audit(&caller, &self.request, filter, format.as_str()).await?;
        let (mut writer, mut out) = (Writer::new(format), Vec::new());
        writer.begin(&mut out);
        while let Some(records) = export.next().await? {
            for record in records {
                writer.write(&mut out, record)?;
            }
            file.write_all(&out).context("the file cannot be written")?;
            out.clear();
        }
        writer.end(&mut out);
        file.write_all(&out).context("the file cannot be written")?;
        file.flush().context("the file cannot be written")
    }
}
