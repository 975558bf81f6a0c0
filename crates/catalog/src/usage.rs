//! What was used: one record per call.

use std::time::Duration;

use rust_decimal::Decimal;
use scaigrid_scope::{
    BackendId, CoreId, ExecutionId, Instant, ModelId, TenantId, UsageId, UserId, text_enum,
};

use crate::slug::ModelSlug;

text_enum! {
    /// How a call ended.
    pub enum CallStatus {
        /// With an answer.
        Completed => "completed",
        /// Without.
        Failed => "failed",
        /// Whoever had asked went away before the end.
        Cancelled => "cancelled",
        /// Nobody knows: its node died meanwhile. It counts as if all was used that was held back for it.
        Unknown => "unknown",
    }
}

/// The record of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Its identifier.
    pub id: UsageId,
    /// In which tenant.
    pub tenant_id: TenantId,
    /// Of which model, by id.
    pub model_id: ModelId,
    /// And by the slug that it had.
    pub model: ModelSlug,
    /// Which backend was asked last, if any was.
    pub backend_id: Option<BackendId>,
    /// Who has asked; none for a Core that acts for its tenant.
    pub user_id: Option<UserId>,
    /// The Core that has asked.
    pub core_id: Option<CoreId>,
    /// Its execution.
    pub execution_id: Option<ExecutionId>,
    /// Which of the execution's effects the call is.
    pub effect: Option<u32>,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Whether the backend has not told how many these were, and they were estimated from what was sent and received.
    pub estimated: bool,
    /// What it cost, in the currency of the catalogue's prices.
    pub cost: Decimal,
    /// From the call to its end.
    pub latency: Duration,
    /// How it ended.
    pub status: CallStatus,
    /// When it began.
    pub at: Instant,
}

/// About how many tokens a text of so many bytes is. Four bytes are a token of English; what is not known is rounded up.
pub const fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_estimated_upwards() {
        assert_eq!((estimate(0), estimate(1), estimate(4), estimate(5)), (0, 1, 1, 2));
    }
}
