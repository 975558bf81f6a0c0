//! A chain, read from its beginning to its end, and what is wrong with it.

use scaigrid_scope::text_enum;

use super::{Chain, Digest, Entry, Head, link};

/// How many records that do not fit their place are kept, to see whether they belong at another.
const STRAYS: usize = 16;

text_enum! {
    /// What can be wrong.
    pub enum Fault {
        /// A record is not what was sealed.
        Changed => "changed",
        /// A record stands where another one was.
        Moved => "moved",
        /// A record that was sealed is not there.
        Missing => "missing",
        /// Links are not there.
        Gap => "gap",
        /// The chain ends before its head says.
        Cut => "cut",
        /// The chain goes on after its head.
        Extra => "extra",
        /// The head is not what was sealed, or not that of this chain.
        Head => "head",
        /// A record was never sealed and does not wait for it.
        Unsealed => "unsealed",
        /// The heads do not fit together: one was put back to what it was, or one was removed or added.
        Root => "root",
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// In which chain; none when it concerns all of them.
    pub chain: Option<Chain>,
    /// At which position, where that is known.
    pub position: Option<u64>,
    /// With which record, where that is known.
    pub record_id: Option<String>,
    /// The same in words.
    pub message: String,
}

/// What is wrong, up to a number of findings; the others are only counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The first ones.
    pub kept: Vec<Finding>,
    /// How many more there were.
    pub more: u64,
    limit: usize,
}

impl Findings {
    /// Nothing found yet; so many will be kept.
    pub const fn up_to(limit: usize) -> Self {
        Self { kept: Vec::new(), more: 0, limit }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.more == 0
    }

    /// Notes something.
    pub fn note(&mut self, finding: Finding) {
        if self.kept.len() < self.limit {
            self.kept.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// A link as it is stored, with the record that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its place, from 1.
    pub position: u64,
    /// The record.
    pub record_id: String,
    /// The link itself.
    pub digest: Digest,
    /// The record, encoded; none when it is not there. One that cannot be read is [`Entry::lost`].
    pub entry: Option<Entry>,
}

/// A record that does not fit its place.
struct Stray {
    position: u64,
    before: Digest,
    digest: Digest,
    entry: Entry,
}

/// The state of reading one chain.
pub struct Walk {
    chain: Chain,
    head: Head,
    position: u64,
    last: Digest,
    intact: u64,
    strays: Vec<Stray>,
}

impl Walk {
    /// Begins after what was removed because its time was over. The head is taken at its word here; whether it may be is
    /// asked of [`super::Keys::is_sealed`].
    pub const fn new(chain: Chain, head: Head) -> Self {
        Self { chain, head, position: head.cut, last: head.cut_last, intact: 0, strays: Vec::new() }
    }

    /// After which position to read on.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Where to stop: what is sealed later is not part of this walk.
    pub const fn end(&self) -> u64 {
        self.head.count
    }

    /// How many records were found as they were sealed.
    pub const fn intact(&self) -> u64 {
        self.intact
    }

    /// Takes note that the chain was cut further while it was read, when that is so.
    pub const fn was_cut(&mut self, now: &Head) {
        if now.cut >= self.head.count {
            (self.position, self.last) = (self.head.count, self.head.last);
        } else if now.cut > self.position {
            (self.position, self.last) = (now.cut, now.cut_last);
        }
    }

    /// Takes the next link, in the order of positions.
    pub fn take(&mut self, next: Link, findings: &mut Findings) {
        let Link { position, record_id, digest, entry } = next;
        if position <= self.position {
            return;
        }
        if position > self.position + 1 {
            let (from, to) = (self.position + 1, position - 1);
            self.note(
                findings,
                Fault::Gap,
                Some(from),
                None,
                format!("the links {from} to {to} are not there"),
            );
        }
        let unbroken = position == self.position + 1;
        match entry {
            None => {
                let message = "the record was sealed and is not there".to_owned();
                self.note(findings, Fault::Missing, Some(position), Some(record_id), message);
            }
            Some(entry) if entry == Entry::lost(&record_id) => {
                let message = "the record cannot be read".to_owned();
                self.note(findings, Fault::Changed, Some(position), Some(record_id), message);
            }
            // What came before is gone, so that nothing can be said of this link.
            Some(_) if !unbroken => {}
            Some(entry) if link(&self.chain, position, &self.last, &entry) == digest => self.intact += 1,
            Some(entry) => self.stray(findings, position, record_id, digest, entry),
        }
        (self.position, self.last) = (position, digest);
    }

    /// A record that does not fit: it was changed, or it belongs elsewhere.
    fn stray(
        &mut self,
        findings: &mut Findings,
        position: u64,
        record_id: String,
        digest: Digest,
        entry: Entry,
    ) {
        let elsewhere = self.strays.iter().find(|other| {
            link(&self.chain, other.position, &other.before, &entry) == other.digest
                || link(&self.chain, position, &self.last, &other.entry) == digest
        });
        if let Some(other) = elsewhere {
            let message = format!("the record was exchanged with the one at {}", other.position);
            self.note(findings, Fault::Moved, Some(position), Some(record_id), message);
        } else {
            let message = "the record, or its place in the chain, is not what was sealed".to_owned();
            self.note(findings, Fault::Changed, Some(position), Some(record_id), message);
        }
        if self.strays.len() < STRAYS {
            self.strays.push(Stray { position, before: self.last, digest, entry });
        }
    }

    /// Ends the walk, when there is nothing more to take.
    pub fn finish(&self, findings: &mut Findings) {
        if self.position < self.head.count {
            let (from, to) = (self.position + 1, self.head.count);
            let message = format!("the chain ends before {from}, and its head is at {to}");
            self.note(findings, Fault::Cut, Some(from), None, message);
        } else if self.last != self.head.last {
            let message = "the last link is not the one that the head names".to_owned();
            self.note(findings, Fault::Head, Some(self.position), None, message);
        }
    }

    fn note(
        &self,
        findings: &mut Findings,
        fault: Fault,
        position: Option<u64>,
        record_id: Option<String>,
        message: String,
    ) {
        findings.note(Finding { fault, chain: Some(self.chain), position, record_id, message });
    }
}

#[cfg(test)]
mod tests;
