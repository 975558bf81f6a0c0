//! Why a call gave no value.

use std::time::Duration;

use scaigrid_outbound::plugins::{CallFault, Fault};
use scaigrid_runtime::Failure;

use super::failure;
use super::mask::Masked;

/// Why a call gave no value.
#[derive(Debug, Clone, PartialEq)]
pub struct CallError {
    /// What the program sees: `PLUGIN_ERROR` (with the status in its message), `PLUGIN_TIMEOUT`, `PLUGIN_UNREACHABLE`,
    /// `PLUGIN_RESULT_INVALID`, `PLUGIN_TOOL_CHANGED`, `PLUGIN_NOT_FOUND`, `EGRESS_DENIED`.
    pub failure: Failure,
    /// Whether the request may have reached the plugin. If not, it can be made again whatever a repetition costs.
    pub sent: bool,
    /// How long the plugin wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the same call might succeed later: what broke on the way, was too slow, or was said to pass (429, 5xx).
    pub retryable: bool,
    /// The status of HTTP with which the plugin answered that it did not do it.
    pub status: Option<u16>,
}

impl CallError {
    /// Nothing went out, and nothing will for as long as nobody changes anything.
    pub(super) fn before(code: &'static str, message: String) -> Self {
        let failure = failure(code, message);
        Self { failure, sent: false, retry_after: None, retryable: false, status: None }
    }

    /// The method is not what was accepted.
    pub(super) fn drifted(plugin: &str, method: &str) -> Self {
        let message = format!(
            "the method {method} of the plugin {plugin} is not what was accepted; an admin must accept it"
        );
        Self::before("PLUGIN_TOOL_CHANGED", message)
    }

    /// The platform could not do its part: nothing went out.
    pub(super) fn inside(error: &dyn std::error::Error) -> Self {
        tracing::warn!(%error, "a plugin could not be called");
        let failure = failure("PLUGIN_UNREACHABLE", "the platform could not make the call just now");
        let retry_after = Some(Duration::from_secs(1));
        Self { failure, sent: false, retry_after, retryable: true, status: None }
    }

    /// What came back is not what the method gives. The call has been carried out.
    pub(super) fn invalid_result(message: String) -> Self {
        let failure = failure("PLUGIN_RESULT_INVALID", message);
        Self { failure, sent: true, retry_after: None, retryable: false, status: None }
    }

    pub(super) fn of(CallFault { fault, sent }: CallFault, plugin: &str) -> Self {
        let (code, retryable, retry_after) = match &fault {
            Fault::Refused(_) => ("EGRESS_DENIED", false, None),
            Fault::TimedOut => ("PLUGIN_TIMEOUT", true, None),
            Fault::Unreachable(_) => ("PLUGIN_UNREACHABLE", true, None),
            Fault::Nonsense(_) => ("PLUGIN_RESULT_INVALID", false, None),
            Fault::Told { status, retry_after, .. } => {
                let passes =
                    status.is_some_and(|status| matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504));
                ("PLUGIN_ERROR", passes, *retry_after)
            }
        };
        let status = match &fault {
            Fault::Told { status, .. } => *status,
            _ => None,
        };
        let message = match &fault {
            Fault::Refused(refusal) => format!("the plugin {plugin} may not be called: {refusal}"),
            fault => format!("the plugin {plugin}: {fault}"),
        };
        Self { failure: failure(code, message), sent, retry_after, retryable, status }
    }

    /// The same without secrets.
    pub(super) fn masked(mut self, masked: &Masked) -> Self {
        self.failure.message = masked.text(&self.failure.message).into();
        for detail in &mut self.failure.details {
            detail.found = masked.text(&detail.found);
        }
        self
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_the_plugin_answered_with_and_not_what_it_says() {
        let told = |status, message: &str| {
            let fault = Fault::Told { status, message: message.to_owned(), retry_after: None };
            CallError::of(CallFault { fault, sent: true }, "acme/stub")
        };
        let of_another = told(Some(502), "upstream said HTTP 404");
        assert_eq!((of_another.status, of_another.retryable), (Some(502), true));
        assert_eq!(told(Some(404), "gone").status, Some(404));
        assert_eq!(told(None, "HTTP 404").status, None);
    }
}
