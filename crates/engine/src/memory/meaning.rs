//! How near entries are to a query in what they mean, where the program declares a model that makes vectors.
//!
//! Vectors are made when they are first looked for, not when something is written: a write neither waits for a model nor
//! fails with it. They are kept by their texts, so that each text is paid for once, and belong to the Core. Where the model
//! cannot be asked, or has not answered in time, words alone are compared.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use scaigrid_catalog::ModelSlug;
use scaigrid_ir::{Value, search};
use scaigrid_persistence::vectors;
use scaigrid_runtime::Failure;
use scaigrid_scope::Permission;

use crate::drive::Run;
use crate::models::{Asking, CallError, EmbedCall};
use crate::{Engine, Error};

/// How long a search waits for vectors. Nothing else of its execution is done meanwhile.
const WITHIN: Duration = Duration::from_secs(15);
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

impl Engine {
    /// How near each entry is to a query, from -1 to 1, as far as that is known; nothing where the program declares no model
    /// for it, or that cannot be asked just now.
    pub(super) async fn closeness(
        &self,
        run: &Run,
        query: &str,
        entries: &[(String, Value)],
        keyed: bool,
    ) -> Vec<Option<f64>> {
        let Some(declared) = run.program.module().embedding() else { return Vec::new() };
        let Some(query) = Text::of(query.to_owned()) else { return Vec::new() };
        let texts: Vec<Option<Text>> = entries
            .iter()
            .map(|(key, value)| Text::of(search::text(keyed.then_some(key.as_str()), value)))
            .collect();
        let lack = match ModelSlug::of_provider(&declared.provider, &declared.model) {
            Err(_) => Lack::NoModel,
            Ok(model) => {
                let vectors = self.vectors(run, &model, &query, &texts);
                match tokio::time::timeout(WITHIN, vectors).await {
                    Ok(Ok(vectors)) => {
                        let Some(asked) = vectors.get(&query.hash) else { return Vec::new() };
                        let near = |text: &Text| search::cosine(asked, vectors.get(&text.hash)?);
                        return texts.iter().map(|text| text.as_ref().and_then(near)).collect();
                    }
                    Ok(Err(lack)) => lack,
                    Err(_) => Lack::Model(CallError::Timeout { model: model.to_string() }),
                }
            }
        };
        metrics::counter!("scaigrid_searches_by_words_alone_total").increment(1);
        tracing::warn!(
            core_id = %run.execution.core_id,
            execution_id = %run.execution.id,
            model = &*declared.model,
            reason = %lack,
            "a search has compared words alone: there are no vectors"
        );
        Vec::new()
    }

    /// The vectors of a query and of texts, by their hashes: those that are kept, and those that are made now.
    async fn vectors(
        &self,
        run: &Run,
        model: &ModelSlug,
        query: &Text,
        texts: &[Option<Text>],
    ) -> Result<HashMap<String, Vec<f32>>, Lack> {
        let (scope, core) = (run.scope, run.execution.core_id);
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
        let mut known: HashMap<String, Vec<f32>> =
            kept.into_iter().map(|kept| (kept.hash, kept.vector)).collect();
        if !stale.is_empty() {
            let mut tx = self.0.database.begin().await?;
            vectors::note_use(&mut tx, scope, core, &space, &stale, now).await?;
            tx.commit().await?;
        }
        let new: Vec<&Text> = wanted.into_iter().filter(|text| !known.contains_key(&text.hash)).collect();
        if new.len() > NEW_AT_MOST {
            tracing::warn!(
                core_id = %core,
                execution_id = %run.execution.id,
                new = new.len(),
                "a search has had vectors made of some texts only: too many are new"
            );
        }
        let user_id = if new.is_empty() {
            None
        } else {
            let needed = Some(Permission::ModelsUse);
            let authority = self.authority(scope, core, run.execution.delegation, needed).await?;
            authority.map_err(Lack::Authority)?.map(|delegation| delegation.user_id)
        };
        let mut rest = new.get(..new.len().min(NEW_AT_MOST)).unwrap_or_default();
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(batch(rest));
            rest = others;
            let call = EmbedCall {
                model: model.clone(),
                texts: batch.iter().map(|text| text.text.clone()).collect(),
                dimensions: None,
                asking: Asking {
                    user_id,
                    core: Some(self.hosted(scope, core).await?),
                    execution_id: Some(run.execution.id),
                    ..Asking::default()
                },
            };
            let made = self.0.models.embed(scope, call).await?;
            let made: Vec<(String, Vec<f32>)> =
                batch.iter().map(|text| text.hash.clone()).zip(made.vectors).collect();
            let mut tx = self.0.database.begin().await?;
            vectors::add(&mut tx, scope, core, &space, &made, now).await?;
            let long_ago = now.micros() - i64::try_from(KEPT_FOR.as_micros()).unwrap_or(i64::MAX);
            vectors::forget(&mut tx, scope, core, scaigrid_scope::Instant::from_micros(long_ago)).await?;
            tx.commit().await?;
            known.extend(made);
        }
        Ok(known)
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
