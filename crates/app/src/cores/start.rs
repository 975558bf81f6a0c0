//! What is looked at before a Core starts.
//!
//! Whoever has a Core started is told what it lacks. One that ran, and is only to run again because its node is gone, is not held
//! back by what can be missing for a moment: a model that was disabled meanwhile, or a permission that was taken back, fails the calls
//! that need it, and the rest goes on.

use scaigrid_cores::{Action, Core, FieldProblem, LastError, Outcome, Status};
use scaigrid_engine::{Engine, Refusal, Wants};
use scaigrid_ir::Diagnostic;
use scaigrid_ir::module::PluginDecl;
use scaigrid_scope::TenantScope;

use crate::{App, Error, FieldError};

/// Why a Core starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starts {
    /// Somebody wants it to.
    Anew,
    /// It ran, or was about to, when its node was gone.
    Again,
}

/// A Core after what is looked at before it starts.
pub(super) struct Checked {
    /// It runs, or is in error.
    pub(super) core: Core,
    /// What keeps it from running.
    pub(super) refusal: Option<Error>,
    /// What may fail later, though it runs.
    pub(super) warnings: Vec<Diagnostic>,
}

/// What keeps a Core from starting: the code, what a person reads, and what the caller is told.
type Obstacle = (&'static str, String, Error);

/// Problems that a person reads of at most.
const TOLD: usize = 20;

fn told(problems: &[FieldProblem]) -> String {
    let each = problems.iter().take(TOLD).map(|problem| format!("{} {}", problem.field, problem.message));
    each.collect::<Vec<_>>().join("; ")
}

fn fields(problems: Vec<FieldProblem>) -> Vec<FieldError> {
    problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect()
}

impl App {
    /// Checks a Core that is starting: it runs then, or is in error, with what keeps it from running.
    pub(super) async fn check_and_start(
        &self,
        scope: TenantScope,
        core: Core,
        starts: Starts,
    ) -> Result<Checked, Error> {
        let program = std::sync::Arc::clone(&core.source.program);
        let checked =
            tokio::task::spawn_blocking(move || Engine::check(&program)).await.map_err(Error::internal)?;
        let mut warnings = Vec::new();
        let obstacle = match checked {
            Ok(wants) => {
                let obstacle = self.obstacle(scope, &core, &wants, starts).await?;
                if obstacle.is_none() {
                    warnings = self.unanswered_calls(scope, &core, &wants, starts).await?;
                }
                obstacle
            }
            Err(Refusal(findings)) => {
                let first = findings.first().map(ToString::to_string).unwrap_or_default();
                let empty = core.source.is_empty();
                let message = if empty { "the Core has no program".to_owned() } else { first };
                let findings = findings.iter().map(diagnostic_json).collect();
                Some(("INVALID_SOURCE_IR", message, Error::InvalidSource(findings)))
            }
        };
        let now = self.now();
        let Some((name, message, refusal)) = obstacle else {
            let (core, _) = core.apply(Action::Started, now)?;
            return Ok(Checked { core, refusal: None, warnings });
        };
        let (core, transition) = core.fail(LastError { code: name.into(), message, at: now })?;
        debug_assert_eq!(transition.to, Outcome::Status(Status::Error));
        Ok(Checked { core, refusal: Some(refusal), warnings })
    }

    /// The calls of a program to which no Core of the tenant would answer now. One that runs again tells it to the server's log only.
    async fn unanswered_calls(
        &self,
        scope: TenantScope,
        core: &Core,
        wants: &Wants,
        starts: Starts,
    ) -> Result<Vec<Diagnostic>, Error> {
        let found = self.0.engine.missing_calls(scope, wants).await?;
        if starts == Starts::Anew {
            return Ok(found);
        }
        for finding in found.iter().take(TOLD) {
            tracing::warn!(core = %core.id, %finding, "a Core runs again with a call that would not be answered");
        }
        Ok(Vec::new())
    }

    /// What keeps a Core from starting whose program passes.
    async fn obstacle(
        &self,
        scope: TenantScope,
        core: &Core,
        wants: &Wants,
        starts: Starts,
    ) -> Result<Option<Obstacle>, Error> {
        if let Err(lapse) = self.0.engine.check_identity(scope, core).await? {
            return Ok(Some((lapse.as_str(), lapse.message().to_owned(), Error::Delegation(lapse))));
        }
        if let Some(lacking) = self.required_plugins(scope, core, &wants.plugins).await? {
            return Ok(Some(lacking));
        }
        let found = self.callable(scope, core, wants).await?;
        if let (Some((code, message, _)), Starts::Again) = (&found, starts) {
            tracing::warn!(core = %core.id, code, message, "a Core runs again whose calls will fail");
            return Ok(None);
        }
        Ok(found)
    }

    /// Whether the program gets the configuration that it declares, and whether what it calls can be called: by whoever the Core acts
    /// for, and because it is there.
    async fn callable(
        &self,
        scope: TenantScope,
        core: &Core,
        wants: &Wants,
    ) -> Result<Option<Obstacle>, Error> {
        let misfits = wants.misfits(core);
        if !misfits.is_empty() {
            return Ok(Some(("VALIDATION_ERROR", told(&misfits), Error::Invalid(fields(misfits)))));
        }
        let lacking = self.0.engine.lacking_scopes(scope, core, wants).await?;
        if !lacking.is_empty() {
            let message = told(&lacking);
            return Ok(Some((
                "DELEGATION_VALIDATION_ERROR",
                message,
                Error::DelegationInvalid(fields(lacking)),
            )));
        }
        let lacking = self.0.engine.lacking_models(scope, &wants.models).await?;
        if lacking.is_empty() {
            return Ok(None);
        }
        Ok(Some(("MODEL_NOT_FOUND", told(&lacking), Error::ModelsMissing(fields(lacking)))))
    }

    /// Whether what a program requires of plugins is there.
    async fn required_plugins(
        &self,
        scope: TenantScope,
        core: &Core,
        declared: &[PluginDecl],
    ) -> Result<Option<Obstacle>, Error> {
        let lacking = self.0.engine.plugins().lacking(scope, core, declared).await?;
        Ok(if !lacking.plugins.is_empty() {
            let message = told(&lacking.plugins);
            Some(("PLUGIN_NOT_FOUND", message, Error::PluginsMissing(fields(lacking.plugins))))
        } else if !lacking.environment.is_empty() {
            let message = told(&lacking.environment);
            Some(("VALIDATION_ERROR", message, Error::Invalid(fields(lacking.environment))))
        } else {
            None
        })
    }
}

/// A finding, as it is told.
pub(super) fn diagnostic_json(finding: &Diagnostic) -> serde_json::Value {
    serde_json::to_value(finding).unwrap_or_default()
}
