//! The laws of the chain: what was appended verifies, and whatever is done to it afterwards is found.

use proptest::prelude::*;
use scaigrid_scope::TenantId;
use serde_json::{Value, json};
use ulid::Ulid;

use super::*;
use crate::chain::{Keys, RecordFields, Root, Seal};

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    texts: Vec<Option<String>>,
    at: i64,
    changes: Value,
}

/// The texts that may be absent, by their place in [`Stored::texts`].
const NULLABLE: [usize; 8] = [1, 2, 4, 5, 10, 11, 12, 13];
const TEXTS: usize = 14;

impl Stored {
    fn entry(&self) -> Entry {
        let maybe = |index: usize| self.texts[index].as_deref();
        let text = |index: usize| maybe(index).unwrap_or_default();
        Entry::of(&RecordFields {
            id: text(0),
            tenant_id: maybe(1),
            partner_id: maybe(2),
            at: self.at,
            action: text(3),
            actor_id: maybe(4),
            actor_email: maybe(5),
            actor_type: text(6),
            resource_type: text(7),
            resource_id: text(8),
            status: text(9),
            changes: &self.changes,
            request_id: maybe(10),
            ip_address: maybe(11),
            user_agent: maybe(12),
            module: maybe(13),
        })
    }
}

fn chain() -> Chain {
    Chain::Tenant(TenantId::from_ulid(Ulid(7)))
}

fn keys() -> Keys {
    Keys::new(vec![("key".to_owned(), [5; 32])]).unwrap()
}

/// A chain as a database keeps it.
#[derive(Debug, Clone)]
struct Kept {
    records: Vec<Stored>,
    digests: Vec<Digest>,
    head: Head,
    seal: Seal,
    root: Root,
    /// The states of head, seal and root after each record.
    past: Vec<(Head, Seal, Root)>,
}

fn kept(records: Vec<Stored>) -> Kept {
    let (keys, name) = (keys(), chain().to_string());
    let (mut head, mut present) = (Head::EMPTY, None);
    let mut root = keys.root("key", Digest::ZERO, []).unwrap();
    let (mut digests, mut past) = (Vec::new(), Vec::new());
    for (position, record) in (1_u64..).zip(&records) {
        let last = link(&chain(), position, &head.last, &record.entry());
        let next = Head { count: position, last, ..head };
        let nonce = Digest([u8::try_from(position).unwrap(); 32]);
        root = keys.advance(&root, nonce, [(name.as_str(), present.as_ref(), &next)]).unwrap();
        (head, present) = (next, Some(next));
        digests.push(last);
        past.push((head, keys.seal("key", &name, &head).unwrap(), root.clone()));
    }
    let seal = keys.seal("key", &name, &head).unwrap();
    Kept { records, digests, head, seal, root, past }
}

impl Kept {
    fn links(&self) -> Vec<Link> {
        let pairs = (1_u64..).zip(self.records.iter().zip(&self.digests));
        pairs
            .map(|(position, (record, digest))| Link {
                position,
                record_id: record.texts[0].clone().unwrap(),
                digest: *digest,
                entry: Some(record.entry()),
            })
            .collect()
    }

    fn verify(&self, links: Vec<Link>) -> Findings {
        let (keys, name) = (keys(), chain().to_string());
        let mut findings = Findings::up_to(100);
        let mut walk = Walk::new(chain(), self.head);
        for link in links {
            walk.take(link, &mut findings);
        }
        walk.finish(&mut findings);
        let note =
            |fault| Finding { fault, chain: None, position: None, record_id: None, message: String::new() };
        if !keys.is_sealed(&name, &self.head, &self.seal) {
            findings.note(note(Fault::Head));
        }
        if !keys.is_root(&self.root, [(name.as_str(), &self.head)]) {
            findings.note(note(Fault::Root));
        }
        findings
    }
}

fn any_text() -> impl Strategy<Value = String> {
    "[a-zé\u{0}=,\"]{0,6}"
}

fn any_changes() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_record() -> impl Strategy<Value = Stored> {
    let texts = prop::collection::vec(prop::option::weighted(0.8, any_text()), TEXTS);
    (texts, any::<i64>(), any_changes()).prop_map(|(mut texts, at, changes)| {
        for (index, text) in texts.iter_mut().enumerate() {
            if !NULLABLE.contains(&index) {
                text.get_or_insert_with(String::new);
            }
        }
        Stored { texts, at, changes }
    })
}

fn any_chain() -> impl Strategy<Value = Kept> {
    prop::collection::vec(any_record(), 2..12).prop_map(|mut records| {
        for (number, record) in records.iter_mut().enumerate() {
            record.texts[0] = Some(format!("audit_{number}"));
        }
        kept(records)
    })
}

proptest! {
    #[test]
    fn what_was_appended_verifies(kept in any_chain()) {
        let links = kept.links();
        let mut walk = Walk::new(chain(), kept.head);
        let mut findings = Findings::up_to(9);
        for link in links.clone() {
            walk.take(link, &mut findings);
        }
        prop_assert_eq!(walk.intact(), u64::try_from(links.len()).unwrap());
        prop_assert!(kept.verify(links).is_empty());
    }

    #[test]
    fn a_changed_field_is_found_and_its_record_named(
        kept in any_chain(), at: prop::sample::Index, field in 0..TEXTS + 2, other in any_record(),
    ) {
        let at = at.index(kept.records.len());
        let mut changed = kept.clone();
        let record = &mut changed.records[at];
        match field {
            TEXTS => record.at = other.at,
            field if field > TEXTS => record.changes = other.changes,
            0 => record.texts[0] = Some("audit_other".to_owned()),
            field => record.texts[field] = other.texts[field].clone(),
        }
        prop_assume!(changed.records[at] != kept.records[at]);
        let findings = changed.verify(changed.links());
        prop_assert_eq!(findings.kept.len(), 1);
        prop_assert_eq!(findings.kept[0].fault, Fault::Changed);
        prop_assert_eq!(findings.kept[0].position, Some(u64::try_from(at).unwrap() + 1));
        prop_assert_eq!(&findings.kept[0].record_id, &changed.records[at].texts[0]);
    }

    #[test]
    fn a_removed_record_or_link_is_found(kept in any_chain(), at: prop::sample::Index) {
        let at = at.index(kept.records.len());
        let mut links = kept.links();
        links[at].entry = None;
        let findings = kept.verify(links.clone());
        prop_assert_eq!(findings.kept.len(), 1);
        prop_assert_eq!(findings.kept[0].fault, Fault::Missing);
        prop_assert_eq!(&findings.kept[0].record_id, &kept.records[at].texts[0]);
        links.remove(at);
        let fault = if at == links.len() { Fault::Cut } else { Fault::Gap };
        prop_assert_eq!(kept.verify(links).kept[0].fault, fault);
    }

    #[test]
    fn exchanged_records_are_found(kept in any_chain(), a: prop::sample::Index, b: prop::sample::Index) {
        let (a, b) = (a.index(kept.records.len()), b.index(kept.records.len()));
        prop_assume!(a < b);
        let mut changed = kept.clone();
        changed.records.swap(a, b);
        let findings = changed.verify(changed.links());
        prop_assert_eq!(findings.kept.len(), 2);
        prop_assert_eq!(findings.kept[1].fault, Fault::Moved);
        prop_assert_eq!(findings.kept[1].position, Some(u64::try_from(b).unwrap() + 1));
    }

    #[test]
    fn a_tail_cannot_be_cut_with_or_without_its_head(kept in any_chain(), at: prop::sample::Index) {
        let left = at.index(kept.records.len() - 1) + 1;
        let links = || kept.links().into_iter().take(left).collect::<Vec<_>>();
        prop_assert_eq!(kept.verify(links()).kept[0].fault, Fault::Cut);
        // With a head that says so, but without the key.
        let mut cut = kept.clone();
        cut.head = Head { count: u64::try_from(left).unwrap(), last: kept.digests[left - 1], ..kept.head };
        prop_assert_eq!(cut.verify(links()).kept[0].fault, Fault::Head);
        // With a head that was true once: the root knows.
        (cut.head, cut.seal, _) = kept.past[left - 1].clone();
        let found = cut.verify(links());
        prop_assert_eq!(found.kept.iter().map(|found| found.fault).collect::<Vec<_>>(), [Fault::Root]);
    }

    #[test]
    fn a_chain_that_was_written_anew_has_another_end(
        kept in any_chain(), at: prop::sample::Index, other in any_record(),
    ) {
        let at = at.index(kept.records.len());
        let mut anew = kept.records.clone();
        anew[at].changes = json!({"forged": other.changes});
        let forged = Kept { head: kept.head, seal: kept.seal.clone(), root: kept.root.clone(), ..self::kept(anew) };
        prop_assert_eq!(forged.verify(forged.links()).kept[0].fault, Fault::Head);
    }

    #[test]
    fn what_is_left_of_a_chain_verifies(kept in any_chain(), at: prop::sample::Index) {
        let cut = at.index(kept.records.len()) + 1;
        let name = chain().to_string();
        let mut rest = kept.clone();
        rest.head = Head { cut: u64::try_from(cut).unwrap(), cut_last: kept.digests[cut - 1], ..kept.head };
        rest.seal = keys().seal("key", &name, &rest.head).unwrap();
        rest.root = keys().root("key", Digest([9; 32]), [(name.as_str(), &rest.head)]).unwrap();
        prop_assert!(rest.verify(kept.links().into_iter().skip(cut).collect()).is_empty());
        // One more is gone, which nobody signed for.
        if cut < kept.records.len() {
            prop_assert!(!rest.verify(kept.links().into_iter().skip(cut + 1).collect()).is_empty());
        }
    }
}

#[test]
fn a_chain_that_is_cut_meanwhile_is_read_on_from_there() {
    let records = (0..6).map(|number| Stored {
        texts: (0..TEXTS).map(|field| Some(format!("{number}.{field}"))).collect(),
        at: number,
        changes: json!({}),
    });
    let kept = kept(records.collect());
    let mut findings = Findings::up_to(9);
    let mut walk = Walk::new(chain(), kept.head);
    let mut links = kept.links().into_iter();
    walk.take(links.next().unwrap(), &mut findings);
    walk.was_cut(&Head { cut: 4, cut_last: kept.digests[3], ..kept.head });
    for link in links.skip(3) {
        walk.take(link, &mut findings);
    }
    walk.finish(&mut findings);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(walk.intact(), 3);
    // It grew, and all that was there when the reading began is gone.
    let mut walk = Walk::new(chain(), kept.head);
    walk.was_cut(&Head { count: 9, last: Digest([1; 32]), cut: 8, cut_last: Digest([2; 32]), ..kept.head });
    walk.finish(&mut findings);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let mut findings = Findings::up_to(1);
    for _ in 0..3 {
        let message = String::new();
        let fault = Fault::Root;
        findings.note(Finding { fault, chain: None, position: None, record_id: None, message });
    }
    assert_eq!((findings.kept.len(), findings.more), (1, 2));
}

#[test]
fn the_vectors_hold() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let record = &vector["record"];
        let maybe = |name: &str| record[name].as_str();
        let text = |name: &str| maybe(name).unwrap();
        let entry = Entry::of(&RecordFields {
            id: text("id"),
            tenant_id: maybe("tenant_id"),
            partner_id: maybe("partner_id"),
            at: record["at"].as_i64().unwrap(),
            action: text("action"),
            actor_id: maybe("actor_id"),
            actor_email: maybe("actor_email"),
            actor_type: text("actor_type"),
            resource_type: text("resource_type"),
            resource_id: text("resource_id"),
            status: text("status"),
            changes: &record["changes"],
            request_id: maybe("request_id"),
            ip_address: maybe("ip_address"),
            user_agent: maybe("user_agent"),
            module: maybe("module"),
        });
        let hex = entry.as_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(hex, vector["entry"].as_str().unwrap(), "{}", vector["note"]);
        let before: Vec<u8> = (0..32)
            .map(|index| {
                u8::from_str_radix(&vector["before"].as_str().unwrap()[2 * index..2 * index + 2], 16).unwrap()
            })
            .collect();
        let chain = vector["chain"].as_str().unwrap().parse().unwrap();
        let position = vector["position"].as_u64().unwrap();
        let link = link(&chain, position, &Digest::from_slice(&before).unwrap(), &entry);
        assert_eq!(link.to_string(), vector["link"].as_str().unwrap(), "{}", vector["note"]);
    }
}
