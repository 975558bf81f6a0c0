//! How near entries are to a query in what they mean, where the program declares a model that makes vectors.
//!
//! Vectors are made when they are first looked for, not when something is written: a write neither waits for a model nor
//! fails with it. They are kept by their texts, so that each text is paid for once, and belong to the Core. Where the model
//! cannot be asked, or has not answered in time, words alone are compared.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use scaigrid_catalog::ModelSlug;
use scaigrid_ir::{Value, search};
use scaigrid_persistence::{executions, vectors};
use scaigrid_runtime::Failure;
use scaigrid_scope::{CoreId, DelegationId, ExecutionId, Permission, TenantScope};
use scaigrid_telemetry::under;

use crate::lease::Term;
use crate::models::{Asking, CallError, EmbedCall};
use crate::resume::CANCEL;
use crate::run::Run;
use crate::{Engine, Error};

/// How long a search waits for vectors. Nothing else of its execution is done meanwhile.
const WITHIN: Duration = Duration::from_secs(15);
/// Without news, it is looked this often whether the execution is to be cancelled.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Texts that are new to the model, and are sent to it, in one search. Of more the first search makes a beginning.
const NEW_AT_MOST: usize = 1_024;
/// Texts that are sent to the model at once, and bytes of them.
const AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 128 * 1024;
/// Bytes of a text that the model gets to see.
const TEXT_AT_MOST: usize = 8 * 1024;
/// Vectors that were not looked for so long are forgotten.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);
/// When a vector was last looked for is noted this often at most.
const NOTED_EVERY: Duration = Duration::from_hours(24);

/// Why there are no vectors.
enum Lack {
    Model(CallError),
    Platform(Error),
    /// The tenant does not see the model.
    NoModel,
    /// The execution is to be cancelled, or in other hands.
    Unwanted,
    /// The execution may not ask it for the user that it acts for.
    Authority(Failure),
}

impl From<CallError> for Lack {
    fn from(error: CallError) -> Self {
        Self::Model(error)
    }
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        Self::Platform(error)
    }
}

impl From<scaigrid_persistence::Error> for Lack {
    fn from(error: scaigrid_persistence::Error) -> Self {
        Self::Platform(error.into())
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Platform(error) => error.fmt(f),
            Self::NoModel => f.write_str("there is no such model"),
            Self::Unwanted => f.write_str("nobody waits for them"),
            Self::Authority(failure) => failure.fmt(f),
        }
    }
}

/// A text as the model gets to see it, and what it is kept by.
struct Text {
    text: String,
    hash: String,
}

impl Text {
    /// None of a text that says nothing.
    fn of(mut text: String) -> Option<Self> {
        if text.trim().is_empty() {
            return None;
        }
        let end = (0..=TEXT_AT_MOST.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        let hash = Value::from(text.as_str()).sha256();
        Some(Self { text, hash })
    }
}

/// Whether vectors are made that are not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Making {
    /// They are, and paid for.
    New,
    /// They are not: nothing is to change by looking.
    KeptOnly,
}

/// The execution that looks for vectors.
#[derive(Clone, Copy)]
struct Seeker {
    scope: TenantScope,
    core: CoreId,
    execution: ExecutionId,
    /// What it began under, where it acts for a user.
    delegation: Option<DelegationId>,
    /// The epoch in which it is this node's, and the term of the node's lease in which it was last known to be; none where
    /// nothing says so yet.
    held: Option<(i64, Option<Term>)>,
}

impl Seeker {
    fn of(run: &Run) -> Self {
        Self {
            scope: run.scope,
            core: run.execution.core_id,
            execution: run.execution.id,
            delegation: run.execution.delegation,
            held: run.is_durable().then(|| (run.epoch, run.calls.ours_in())),
        }
    }
}

/// What is known of a query and of texts.
struct Known<'t> {
    space: String,
    vectors: HashMap<String, Vec<f32>>,
    /// Those that have no vector yet, the query first.
    new: Vec<&'t Text>,
}

impl Engine {
    /// How near each entry is to a query, from -1 to 1, as far as that is known; nothing where the program declares no model
    /// for it, or that cannot be asked just now.
    pub(super) async fn closeness(
        &self,
        run: &mut Run,
        making: Making,
        query: &str,
        entries: &[(String, Value)],
        keyed: bool,
    ) -> Vec<Option<f64>> {
        let program = Arc::clone(&run.program);
        let Some(declared) = program.module().embedding() else { return Vec::new() };
        let Some(query) = Text::of(query.to_owned()) else { return Vec::new() };
        let texts: Vec<Option<Text>> = entries
            .iter()
            .map(|(key, value)| Text::of(search::text(keyed.then_some(key.as_str()), value)))
            .collect();
        let lack = match ModelSlug::of_provider(&declared.provider, &declared.model) {
            Err(_) => Lack::NoModel,
            Ok(model) => match self.vectors(run, making, &model, &query, &texts).await {
                Ok(vectors) => {
                    let Some(asked) = vectors.get(&query.hash) else { return Vec::new() };
                    let near = |text: &Text| search::cosine(asked, vectors.get(&text.hash)?);
                    return texts.iter().map(|text| text.as_ref().and_then(near)).collect();
                }
                Err(lack) => lack,
            },
        };
        if matches!(lack, Lack::Unwanted) {
            tracing::debug!(execution_id = %run.execution.id, "a search was given up");
        } else if making == Making::New {
            metrics::counter!("scaigrid_searches_by_words_alone_total").increment(1);
            tracing::warn!(
                core_id = %run.execution.core_id,
                execution_id = %run.execution.id,
                model = &*declared.model,
                reason = %lack,
                "a search has compared words alone: there are no vectors"
            );
        }
        Vec::new()
    }

    /// The vectors of a query and of texts, by their hashes: those that are kept, and those that are made now.
    async fn vectors(
        &self,
        run: &mut Run,
        making: Making,
        model: &ModelSlug,
        query: &Text,
        texts: &[Option<Text>],
    ) -> Result<HashMap<String, Vec<f32>>, Lack> {
        let seeker = Seeker::of(run);
        let known = self.known(seeker, making, model, query, texts).await?;
        // After the wish to cancel nothing outside is asked.
        let asks = making == Making::New && run.machine.cancel_reason().is_none();
        if known.new.is_empty() || !asks {
            return Ok(known.vectors);
        }
        let making = under(run.span.context(), self.make(seeker, model, known));
        self.meanwhile(run, model, making).await
    }

    /// Waits for vectors to be made, which takes as long as a model does: others run in the meantime. Whoever wants the
    /// execution to be cancelled ends the wait.
    async fn meanwhile<T>(
        &self,
        run: &mut Run,
        model: &ModelSlug,
        making: impl Future<Output = Result<T, Lack>>,
    ) -> Result<T, Lack> {
        let (scope, id) = (run.scope, run.execution.id);
        if run.news.is_none() {
            run.news = Some(self.0.awaited.listen(id));
        }
        let aside = self.step_aside(run);
        let mut making = std::pin::pin!(tokio::time::timeout(WITHIN, making));
        let mut rung = false;
        let made = loop {
            if self.is_to_be_cancelled(scope, id).await {
                run.done.is_awaited = true;
                break Err(Lack::Unwanted);
            }
            let news = async {
                match &run.news {
                    Some(news) => news.come().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                made = &mut making => {
                    let late = |_| Err(CallError::Timeout { model: model.to_string() }.into());
                    break made.unwrap_or_else(late);
                }
                () = news => rung = true,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        };
        if rung {
            // What has come is for whoever waits next: here nothing was taken.
            self.0.awaited.tell(id);
        }
        self.step_back(run, aside).await;
        made
    }

    /// Whether the wish to cancel an execution has come. Where that cannot be told just now, it is heard later.
    async fn is_to_be_cancelled(&self, scope: TenantScope, id: ExecutionId) -> bool {
        let Ok(mut connection) = self.0.database.read().await else { return false };
        let arrived = executions::inbox(&mut connection, scope, id).await;
        arrived.is_ok_and(|arrived| arrived.iter().any(|(effect, _)| *effect == CANCEL))
    }

    /// What is kept of a query and of texts, and what is not.
    async fn known<'t>(
        &self,
        seeker: Seeker,
        making: Making,
        model: &ModelSlug,
        query: &'t Text,
        texts: &'t [Option<Text>],
    ) -> Result<Known<'t>, Lack> {
        let Seeker { scope, core, .. } = seeker;
        let Some(space) = self.0.models.space(scope, model).await? else { return Err(Lack::NoModel) };
        // The query first, then what is newest.
        let mut seen = HashSet::new();
        let all = std::iter::once(query).chain(texts.iter().rev().flatten());
        let wanted: Vec<&Text> = all.filter(|text| seen.insert(text.hash.as_str())).collect();
        let hashes: Vec<String> = wanted.iter().map(|text| text.hash.clone()).collect();
        let now = self.0.clock.now();
        let mut connection = self.0.database.read().await?;
        let kept = vectors::find(&mut connection, scope, core, &space, &hashes).await?;
        drop(connection);
        let noted = now.micros() - i64::try_from(NOTED_EVERY.as_micros()).unwrap_or(i64::MAX);
        let stale: Vec<String> =
            kept.iter().filter(|kept| kept.used_at.micros() < noted).map(|kept| kept.hash.clone()).collect();
        let vectors: HashMap<String, Vec<f32>> =
            kept.into_iter().map(|kept| (kept.hash, kept.vector)).collect();
        if !stale.is_empty() && making == Making::New {
            let mut tx = self.0.database.begin().await?;
            vectors::note_use(&mut tx, scope, core, &space, &stale, now).await?;
            tx.commit().await?;
        }
        let new = wanted.into_iter().filter(|text| !vectors.contains_key(&text.hash)).collect();
        Ok(Known { space, vectors, new })
    }

    /// Has the vectors made that are not there yet, as far as the bounds go.
    async fn make(
        &self,
        seeker: Seeker,
        model: &ModelSlug,
        known: Known<'_>,
    ) -> Result<HashMap<String, Vec<f32>>, Lack> {
        let Seeker { scope, core, execution, delegation, held } = seeker;
        let Known { space, mut vectors, new } = known;
        if new.len() > NEW_AT_MOST {
            tracing::warn!(
                core_id = %core,
                execution_id = %execution,
                new = new.len(),
                "a search has had vectors made of some texts only: too many are new"
            );
        }
        let mut rest = new.get(..new.len().min(NEW_AT_MOST)).unwrap_or_default();
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(batch(rest));
            rest = others;
            if let Some((epoch, term)) = held
                && self.still_ours(scope, execution, epoch, term).await?.is_none()
            {
                // It is in other hands, which have them made themselves.
                return Err(Lack::Unwanted);
            }
            let needed = Some(Permission::ModelsUse);
            let authority = self.authority(scope, core, delegation, needed).await?;
            let user_id = authority.map_err(Lack::Authority)?.map(|delegation| delegation.user_id);
            let call = EmbedCall {
                model: model.clone(),
                texts: batch.iter().map(|text| text.text.clone()).collect(),
                dimensions: None,
                asking: Asking {
                    user_id,
                    core: Some(self.hosted(scope, core).await?),
                    execution_id: Some(execution),
                    ..Asking::default()
                },
            };
            let made = self.0.models.embed(scope, call).await?;
            let made: Vec<(String, Vec<f32>)> =
                batch.iter().map(|text| text.hash.clone()).zip(made.vectors).collect();
            let now = self.0.clock.now();
            let mut tx = self.0.database.begin().await?;
            vectors::add(&mut tx, scope, core, &space, &made, now).await?;
            let long_ago = now.micros() - i64::try_from(KEPT_FOR.as_micros()).unwrap_or(i64::MAX);
            vectors::forget(&mut tx, scope, core, scaigrid_scope::Instant::from_micros(long_ago)).await?;
            tx.commit().await?;
            vectors.extend(made);
        }
        Ok(vectors)
    }
}

/// How many of some texts are sent together: one at least.
fn batch(texts: &[&Text]) -> usize {
    let mut bytes = 0;
    let fits = texts.iter().take(AT_ONCE).take_while(|text| {
        bytes += text.text.len();
        bytes <= BYTES_AT_ONCE
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_batches_bounded() {
        assert!(Text::of(" \n".to_owned()).is_none());
        let long = Text::of("ü".repeat(TEXT_AT_MOST)).unwrap();
        assert_eq!(long.text.len(), TEXT_AT_MOST);
        let short = Text::of("a".to_owned()).unwrap();
        assert_ne!(short.hash, long.hash);
        assert_eq!(batch(&[&short; 1000]), AT_ONCE);
        assert_eq!(batch(&[&long; 1000]), BYTES_AT_ONCE / TEXT_AT_MOST);
        assert_eq!(batch(&[&long]), 1);
    }
}
