//! Whether the audit log is what was written.

use actix_web::web;
use scaigrid_app::{App, audit};
use scaigrid_http_macros::get;
use scaigrid_scope::{Instant, perm};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::AllowedAtLevel;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "valid": false, "records": 1204, "purged": 0, "pending": 2,
    "head": "5f0c4f9f3bb1a3d1a1b9a4ccf35a0de2c1f1b1a1d7c8a7f0a5a0d7c2e9b4f611",
    "sealed_through": "2026-04-22T14:30:01Z",
    "problems": [{
        "kind": "changed", "chain": "ten_01JZ8QZ5T0000000000000000A", "position": 17,
        "record_id": "audit_01JZ8QZ5T0000000000000000A",
        "message": "the record, or its place in the chain, is not what was sealed"
    }],
    "more_problems": 0
}))]
struct Verification {
    /// Whether nothing is wrong.
    valid: bool,
    /// How many records are as they were sealed.
    records: u64,
    /// How many were removed because their time was over.
    purged: u64,
    /// How many are written and not sealed yet.
    pending: u64,
    /// Where the chain ends, in hexadecimal; of several chains one value that stands for all their ends. `null` when
    /// nothing is sealed. Kept elsewhere, it shows later whether the log was put back to an earlier state.
    #[schema(required = true)]
    head: Option<String>,
    /// What was recorded before this instant is sealed.
    #[schema(value_type = String, format = DateTime)]
    sealed_through: Instant,
    /// What is wrong, at most a hundred of it.
    problems: Vec<Problem>,
    /// How many problems there are beyond those.
    more_problems: u64,
}

/// Something that is wrong with the log.
#[derive(Debug, Serialize, ToSchema)]
struct Problem {
    /// `changed`, `moved`, `missing`, `gap`, `cut`, `extra`, `head`, `unsealed` or `root`.
    kind: &'static str,
    /// The chain: a tenant, a partner or `platform`; `null` when it concerns all of them.
    #[schema(required = true)]
    chain: Option<String>,
    /// The place in the chain, from 1.
    #[schema(required = true)]
    position: Option<u64>,
    /// The record.
    #[schema(required = true)]
    record_id: Option<String>,
    /// The same in words.
    message: String,
}

impl From<audit::Finding> for Problem {
    fn from(finding: audit::Finding) -> Self {
        Self {
            kind: finding.fault.as_str(),
            chain: finding.chain.map(|chain| chain.to_string()),
            position: finding.position,
            record_id: finding.record_id,
            message: finding.message,
        }
    }
}

impl From<audit::AuditReport> for Verification {
    fn from(report: audit::AuditReport) -> Self {
        Self {
            valid: report.is_valid(),
            records: report.records,
            purged: report.purged,
            pending: report.pending,
            head: report.head.map(|head| head.to_string()),
            sealed_through: report.sealed_through,
            problems: report.problems.into_iter().map(Problem::from).collect(),
            more_problems: report.more_problems,
        }
    }
}

/// Check that the audit log is what was written.
#[utoipa::path(
    tag = "audit",
    operation_id = "verify_audit_log",
    responses((status = 200, body = DataOf<Verification>))
)]
#[get("/v1/audit/verify")]
pub(super) async fn verify_audit_log(
    caller: AllowedAtLevel<perm::AdminAccess>,
    app: web::Data<App>,
) -> Result<Reply<Verification>, Error> {
    Ok(Reply::ok(app.verify_audit(&caller, |_| ()).await?.into()))
}
