//! Where a chain ends, and all chains together, under a key that is not in the database.
//!
//! A head's code is `HMAC-SHA256` (RFC 2104) over its chain and its facts. The root is the sum of one more such code per
//! head, as an integer modulo 2²⁵⁶, masked with a code over a nonce that is used once (a multiset hash as in Clarke et
//! al., *Incremental Multiset Hash Functions*, 2003): a change of one head changes the root without the others being
//! read, and who does not have the key learns nothing from one root, or from many, that would help with the next.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use scaigrid_scope::Instant;
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::encode::put_text;

/// Where a chain ends, and where what is left of it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many links the chain has had, those that were removed included: the position of the last.
    pub count: u64,
    /// The last link; [`Digest::ZERO`] of a chain without any.
    pub last: Digest,
    /// How many of the first links were removed because their time was over.
    pub cut: u64,
    /// The last of the removed links.
    pub cut_last: Digest,
    /// When the chain was last sealed or cut.
    pub at: Instant,
}

impl Head {
    /// The head of a chain without links.
    pub const EMPTY: Self =
        Self { count: 0, last: Digest::ZERO, cut: 0, cut_last: Digest::ZERO, at: Instant::from_micros(0) };

    fn bytes(&self, purpose: &[u8], chain: &str) -> Vec<u8> {
        let mut out = purpose.to_vec();
        out.push(0);
        put_text(&mut out, Some(chain));
        out.extend(self.count.to_be_bytes());
        out.extend(self.last.0);
        out.extend(self.cut.to_be_bytes());
        out.extend(self.cut_last.0);
        out.extend(self.at.micros().to_be_bytes());
        out
    }
}

/// A code over a head, and the key that it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The key's id.
    pub key_id: String,
    /// The code.
    pub code: Digest,
}

/// What covers all heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The key's id.
    pub key_id: String,
    /// Drawn anew for every root.
    pub nonce: Digest,
    /// How many chains there are.
    pub chains: u64,
    /// The masked sum.
    pub value: Digest,
}

/// The keys that heads and roots are sealed with, by the ids of the master keys that they come from. The first seals, all
/// verify.
#[derive(Clone)]
pub struct Keys(Vec<(String, [u8; 32])>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

impl Keys {
    /// Keys in order; `None` when there is none.
    pub fn new(keys: Vec<(String, [u8; 32])>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The id of the key that seals.
    pub fn sealing(&self) -> &str {
        self.0.first().map_or("", |(id, _)| id)
    }

    /// Whether a key is known.
    pub fn knows(&self, key_id: &str) -> bool {
        self.0.iter().any(|(id, _)| id == key_id)
    }

    fn code(&self, key_id: &str, bytes: &[u8]) -> Option<Digest> {
        let (_, key) = self.0.iter().find(|(id, _)| id == key_id)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(bytes);
        Some(Digest(mac.finalize().into_bytes().into()))
    }

    /// Seals a head with a key; `None` when the key is not known.
    pub fn seal(&self, key_id: &str, chain: &str, head: &Head) -> Option<Seal> {
        let code = self.code(key_id, &head.bytes(b"scaigrid.audit.head.1", chain))?;
        Some(Seal { key_id: key_id.to_owned(), code })
    }

    /// Whether a head is what was sealed.
    pub fn is_sealed(&self, chain: &str, head: &Head, seal: &Seal) -> bool {
        // Who asks may already read both sides: there is nothing to learn from how long a comparison takes.
        self.seal(&seal.key_id, chain, head).is_some_and(|own| own.code == seal.code)
    }

    /// What a head adds to a root.
    fn leaf(&self, key_id: &str, chain: &str, head: &Head) -> Option<Digest> {
        self.code(key_id, &head.bytes(b"scaigrid.audit.leaf.1", chain))
    }

    fn mask(&self, key_id: &str, nonce: &Digest, chains: u64) -> Option<Digest> {
        let mut bytes = b"scaigrid.audit.root.1\0".to_vec();
        bytes.extend(nonce.0);
        bytes.extend(chains.to_be_bytes());
        self.code(key_id, &bytes)
    }

    /// The root over all heads; `None` when the key is not known.
    pub fn root<'a>(
        &self,
        key_id: &str,
        nonce: Digest,
        heads: impl IntoIterator<Item = (&'a str, &'a Head)>,
    ) -> Option<Root> {
        let (mut sum, mut chains) = (Digest::ZERO, 0);
        for (chain, head) in heads {
            sum = add(&sum, &self.leaf(key_id, chain, head)?);
            chains += 1;
        }
        let value = add(&sum, &self.mask(key_id, &nonce, chains)?);
        Some(Root { key_id: key_id.to_owned(), nonce, chains, value })
    }

    /// Whether a root is that of these heads.
    pub fn is_root<'a>(&self, root: &Root, heads: impl IntoIterator<Item = (&'a str, &'a Head)>) -> bool {
        self.root(&root.key_id, root.nonce, heads).is_some_and(|own| own == *root)
    }

    /// The root after some heads have changed: for each chain its head before, if it had one, and after. A root that did not
    /// fit its heads before does not fit them afterwards.
    pub fn advance<'a>(
        &self,
        root: &Root,
        nonce: Digest,
        changes: impl IntoIterator<Item = (&'a str, Option<&'a Head>, &'a Head)>,
    ) -> Option<Root> {
        let key_id = root.key_id.as_str();
        let mut sum = subtract(&root.value, &self.mask(key_id, &root.nonce, root.chains)?);
        let mut chains = root.chains;
        for (chain, before, after) in changes {
            match before {
                Some(before) => sum = subtract(&sum, &self.leaf(key_id, chain, before)?),
                None => chains += 1,
            }
            sum = add(&sum, &self.leaf(key_id, chain, after)?);
        }
        let value = add(&sum, &self.mask(key_id, &nonce, chains)?);
        Some(Root { key_id: key_id.to_owned(), nonce, chains, value })
    }
}

/// One value that stands for the ends of several chains: of one its last link, of more the SHA-256 over the name (text),
/// the count (u64) and the last link of each, in the order given. `None` without chains.
pub fn combined<'a>(heads: impl IntoIterator<Item = (&'a str, &'a Head)>) -> Option<Digest> {
    let (mut hash, mut chains, mut last) = (Sha256::new(), 0, None);
    for (chain, head) in heads {
        let mut bytes = Vec::with_capacity(96);
        put_text(&mut bytes, Some(chain));
        bytes.extend(head.count.to_be_bytes());
        bytes.extend(head.last.0);
        hash.update(&bytes);
        chains += 1;
        last = Some(head.last);
    }
    if chains > 1 { Some(Digest(hash.finalize().into())) } else { last }
}

fn add(a: &Digest, b: &Digest) -> Digest {
    let (mut sum, mut carry) = ([0; 32], false);
    for index in (0..32).rev() {
        let (partial, first) = a.0[index].overflowing_add(b.0[index]);
        let (whole, second) = partial.overflowing_add(u8::from(carry));
        sum[index] = whole;
        carry = first || second;
    }
    Digest(sum)
}

fn subtract(a: &Digest, b: &Digest) -> Digest {
    let (mut difference, mut borrow) = ([0; 32], false);
    for index in (0..32).rev() {
        let (partial, first) = a.0[index].overflowing_sub(b.0[index]);
        let (whole, second) = partial.overflowing_sub(u8::from(borrow));
        difference[index] = whole;
        borrow = first || second;
    }
    Digest(difference)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(vec![("one".to_owned(), [1; 32]), ("two".to_owned(), [2; 32])]).unwrap()
    }

    fn head(count: u64) -> Head {
        Head { count, last: Digest([7; 32]), ..Head::EMPTY }
    }

    #[test]
    fn a_seal_holds_for_one_head_of_one_chain_under_one_key() {
        let (keys, head) = (keys(), head(3));
        let seal = keys.seal("one", "platform", &head).unwrap();
        assert!(keys.is_sealed("platform", &head, &seal));
        assert!(!keys.is_sealed("other", &head, &seal));
        assert!(!keys.is_sealed("platform", &head, &Seal { key_id: "two".to_owned(), ..seal.clone() }));
        assert!(!keys.is_sealed("platform", &head, &Seal { key_id: "three".to_owned(), ..seal.clone() }));
        for changed in [
            Head { count: 2, ..head },
            Head { last: Digest::ZERO, ..head },
            Head { cut: 1, ..head },
            Head { cut_last: Digest([1; 32]), ..head },
            Head { at: Instant::from_micros(1), ..head },
        ] {
            assert!(!keys.is_sealed("platform", &changed, &seal), "{changed:?}");
        }
        assert_eq!(keys.seal("three", "platform", &head), None);
        assert_eq!(format!("{keys:?}"), r#"["one", "two"]"#);
    }

    #[test]
    fn what_stands_for_several_chains_changes_with_each() {
        let (a, b) = (head(1), head(2));
        assert_eq!(combined([]), None);
        assert_eq!(combined([("a", &a)]), Some(a.last));
        let both = combined([("a", &a), ("b", &b)]);
        assert_ne!(both, combined([("a", &b), ("b", &a)]));
        assert_ne!(both, combined([("a", &a), ("c", &b)]));
    }

    proptest! {
        #[test]
        fn a_root_that_advances_is_the_root_of_what_is_there(
            steps in prop::collection::vec((0_usize..6, 1_u64..1000), 1..40), nonce: [u8; 32],
        ) {
            let keys = keys();
            let names = ["a", "b", "c", "d", "e", "f"];
            let mut heads: [Option<Head>; 6] = [None; 6];
            let mut root = keys.root("two", Digest(nonce), []).unwrap();
            for (number, (chain, count)) in steps.into_iter().enumerate() {
                let after = head(count);
                let nonce = Digest([u8::try_from(number).unwrap(); 32]);
                let earlier = root.clone();
                root = keys.advance(&root, nonce, [(names[chain], heads[chain].as_ref(), &after)]).unwrap();
                let changed = heads[chain] != Some(after);
                heads[chain] = Some(after);
                let present = || names.iter().copied().zip(&heads).filter_map(|(n, h)| Some((n, h.as_ref()?)));
                prop_assert!(keys.is_root(&root, present()));
                // Neither an earlier root nor fewer chains will do.
                prop_assert!(!changed || !keys.is_root(&earlier, present()));
                prop_assert!(!keys.is_root(&root, present().skip(1)));
            }
        }

        #[test]
        fn what_was_added_can_be_taken_away(a: [u8; 32], b: [u8; 32]) {
            prop_assert_eq!(subtract(&add(&Digest(a), &Digest(b)), &Digest(b)), Digest(a));
        }
    }
}
