//! What an execution has written to memory since the last commit.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

use scaigrid_ir::Value;
use scaigrid_persistence::commit::MemoryWrite;
use std::sync::Arc;

use super::Place;

/// A variable, and the key of an entry.
pub(super) type Entry = (String, String);

/// Steps for which an update that has begun keeps what was done from becoming durable. Its lambda may ask as many
/// questions; one that fails never comes to its end.
const STEPS_OF_AN_UPDATE: u32 = 1_000;

/// Writes that are not durable yet, and what was seen for them.
#[derive(Default)]
pub(crate) struct Pending {
    written: BTreeMap<Entry, Written>,
    /// Versions that the first halves of updates have seen.
    seen: BTreeMap<Entry, i64>,
    /// Where in the program updates have begun whose second half is to come.
    begun: BTreeSet<Arc<str>>,
    patience: u32,
    place: Option<Place>,
}

struct Written {
    value: Option<Value>,
    expected_version: Option<i64>,
}

impl Pending {
    /// As the commit takes them.
    pub(crate) fn into_writes(self) -> Vec<MemoryWrite> {
        let Some(place) = self.place else { return Vec::new() };
        self.written
            .into_iter()
            .map(|((name, key), written)| MemoryWrite {
                core_id: place.core_id,
                partition: place.partition.clone(),
                name,
                key,
                value: written.value,
                expected_version: written.expected_version,
            })
            .collect()
    }

    /// Whether a commit now would part the halves of an update: the version that the first has seen is only known here.
    pub(crate) fn must_not_be_parted(&mut self) -> bool {
        if self.begun.is_empty() || self.patience == 0 {
            return false;
        }
        self.patience -= 1;
        true
    }

    /// The first half of an update at this place in the program.
    pub(crate) fn begin_update(&mut self, pointer: &Arc<str>) {
        self.begun.insert(Arc::clone(pointer));
        self.patience = STEPS_OF_AN_UPDATE;
    }

    /// The second half.
    pub(crate) fn end_update(&mut self, pointer: &Arc<str>) {
        self.begun.remove(pointer);
    }

    /// Notes which version of an entry is to be changed; zero where there is none. The first that was seen counts.
    pub(super) fn see(&mut self, entry: Entry, version: i64) {
        self.seen.entry(entry).or_insert(version);
    }

    /// What this execution has made of an entry; none where it has not touched it, and null inside where it removed it.
    #[expect(clippy::option_option, reason = "untouched, removed and written are three things")]
    pub(super) fn get(&self, entry: &Entry) -> Option<Option<&Value>> {
        self.written.get(entry).map(|written| written.value.as_ref())
    }

    /// What it has made of the entries of a variable, in key order.
    pub(super) fn of<'p>(
        &'p self,
        name: &'p str,
    ) -> impl DoubleEndedIterator<Item = (&'p str, Option<&'p Value>)> {
        let from = (name.to_owned(), String::new());
        let ours = self.written.range(from..).take_while(move |((target, _), _)| target == name);
        let ours: Vec<_> = ours.map(|((_, key), written)| (key.as_str(), written.value.as_ref())).collect();
        ours.into_iter()
    }

    /// Writes or removes an entry.
    pub(super) fn write(&mut self, place: &Place, entry: Entry, value: Option<Value>) {
        if self.place.is_none() {
            self.place = Some(place.clone());
        }
        let expected_version = self.seen.get(&entry).copied();
        match self.written.entry(entry) {
            Slot::Occupied(mut slot) => slot.get_mut().value = value,
            Slot::Vacant(slot) => drop(slot.insert(Written { value, expected_version })),
        }
    }
}
