//! Search: the entries whose words, or meaning, fit a query, ranked by [`scaigrid_ir::search`].

use scaigrid_ir::Value;
use scaigrid_ir::search::Search;
use scaigrid_persistence::memory::EntryFilter;
use scaigrid_runtime::MemoryRequest;

use super::bounds::{LIST_AT_MOST, SEARCH_AT_MOST, SEARCH_BYTES_AT_MOST};
use super::form::Form;
use super::meaning::Making;
use super::walk::Bound;
use super::{Done, Place, fields};
use crate::Engine;
use crate::run::Run;

impl Engine {
    /// `{key, value, similarity}` of what fits, the best first; the key of an element is its place.
    pub(super) async fn search(
        &self,
        run: &mut Run,
        place: &Place,
        request: &MemoryRequest,
        making: Making,
    ) -> Done {
        let name = &*request.target;
        let limit = usize::try_from(request.limit.unwrap_or(LIST_AT_MOST)).unwrap_or(usize::MAX);
        let form = Form::of(run.program.module(), name);
        let (entries, keyed, before) = if form == Form::Single {
            let whole = self.single(run, place, name, false).await?;
            let (entries, keyed) = fields::parts(name, &whole)?;
            (entries, keyed, 0)
        } else {
            self.searched(run, place, name, form).await?
        };
        let mut search = Search::new(request.query.as_deref().unwrap_or_default());
        for (key, value) in &entries {
            search.add_value(keyed.then_some(key), value);
        }
        let query = request.query.as_deref().unwrap_or_default();
        let near = self.closeness(run, making, query, &entries, keyed).await;
        let near = |place: usize| near.get(place).copied().flatten();
        let found = search.finish_with(near, limit, request.min_similarity.unwrap_or(0.0));
        let shown = found.into_iter().filter_map(|found| {
            let (key, value) = entries.get(found.place)?;
            let key = if keyed { Value::from(key.as_str()) } else { Value::from(before + found.place) };
            Some(Value::from([
                ("key", key),
                ("value", value.clone()),
                ("similarity", Value::Float(found.similarity)),
            ]))
        });
        Ok(Value::array(shown.collect()))
    }

    /// The entries that a search looks at, whether they have keys, and how many elements come before them. Of an array
    /// that is too long these are the newest; of a map those with the least keys.
    async fn searched(
        &self,
        run: &Run,
        place: &Place,
        name: &str,
        form: Form,
    ) -> Done<(Vec<(String, Value)>, bool, usize)> {
        let is_array = form == Form::Array;
        let filter = EntryFilter { descending: is_array, ..EntryFilter::default() };
        let most = Bound { entries: SEARCH_AT_MOST, bytes: SEARCH_BYTES_AT_MOST };
        let mut gathered = self.gather(run, place, name, filter, most).await?;
        let mut before = 0;
        if gathered.cut {
            tracing::warn!(
                core_id = %run.execution.core_id,
                execution_id = %run.execution.id,
                variable = name,
                entries = gathered.entries.len(),
                "a search has not looked at all entries of a variable: there are too many"
            );
            if is_array {
                let in_all = self.entries_in_all(run, place, name).await?;
                before = in_all.saturating_sub(gathered.entries.len());
            }
        }
        if is_array {
            gathered.entries.reverse();
        }
        let entries = gathered.entries.into_iter().map(|seen| (seen.key, seen.value)).collect();
        Ok((entries, !is_array, before))
    }
}
