//! The codec against arbitrary documents, damaged bundles and hostile bytes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200_i64..200).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(6, 96, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(".{0,12}", inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,8}", tree, 0..8)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn bundle(body: &[u8]) -> Vec<u8> {
    with_header(0, body)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(document in documents()) {
        let bytes = encode(&document);
        prop_assert_eq!(decode(&bytes), Ok(document.clone()));
        prop_assert_eq!(decode(&encode_compressed(&document)), Ok(document.clone()));
        let short = [MAGIC.as_slice(), &bytes[HEADER..]].concat();
        prop_assert_eq!(decode(&short), Ok(document.clone()));
        let text = serde_json::to_vec(&document).unwrap();
        prop_assert_eq!(decode(&text), Ok(document));
    }

    #[test]
    fn a_canonical_bundle_is_written_again(document in documents()) {
        let bytes = encode(&document);
        prop_assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
        let _ = decode(&[MAGIC.as_slice(), &bytes].concat());
        let _ = decode(&bundle(&bytes));
        let _ = decode(&with_header(FLAG_ZSTD, &bytes));
    }

    #[test]
    fn a_damaged_body_is_noticed(document in documents(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = encode(&document);
        let at = HEADER + at.index(bytes.len() - HEADER);
        bytes[at] ^= 1_u8 << bit;
        let noticed = matches!(decode(&bytes), Err(BundleError::Checksum { .. }));
        prop_assert!(noticed);
        // With the checksum made to fit, whatever comes out is a document or an error, never a panic.
        let _ = decode(&bundle(&bytes[HEADER..]));
    }

    #[test]
    fn every_truncation_is_an_error(document in documents()) {
        for bytes in [encode(&document), encode_compressed(&document)] {
            let short = [MAGIC.as_slice(), &bytes[HEADER..]].concat();
            for end in 0..bytes.len() {
                prop_assert!(decode(&bytes[..end]).is_err());
            }
            if bytes[5] == 0 {
                for end in 0..short.len() {
                    prop_assert!(decode(&short[..end]).is_err());
                }
            }
        }
    }
}

fn body_error(body: &[u8]) -> String {
    decode(&bundle(body)).unwrap_err().to_string()
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(
        body_error(b"\x81\xa1a\x92\x01\xc4\x00"),
        r#"malformed body at byte 6 (at "/a/1"): binary values are not part of a document"#
    );
    assert!(body_error(b"\x81\x01\x02").contains("a key must be a text"));
    assert!(body_error(b"\x82\xa1a\x01\xa1a\x02").contains("stands twice"));
    assert!(body_error(b"\x81\xa1a\xd4\x00\x00").contains("extension"));
    assert!(body_error(b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0").contains("NaN"));
    assert!(body_error(b"\x81\xa1a\xca\x7f\x80\0\0").contains("infinities"));
    assert!(body_error(b"\x81\xa1a\xa1\xff").contains("UTF-8"));
    assert!(body_error(b"\x80\xc0").contains("bytes behind the document"));
    assert!(body_error(b"\x01").contains("is a map"));
    assert!(body_error(b"\xc1").contains("0xc1"));
    assert_eq!(decode(b""), Err(BundleError::Unrecognised));
    assert_eq!(decode(b"[1]"), Err(BundleError::Unrecognised));
    assert!(matches!(decode(b"{\"a\":1,\n\"a\":2}"), Err(BundleError::Json { line: 2, .. })));
    assert!(matches!(decode(b"{\"a\":1} x"), Err(BundleError::Json { .. })));
    assert!(matches!(decode(b"{\"a\":1e999}"), Err(BundleError::Json { .. })));
}

#[test]
fn the_header_is_checked() {
    let good = encode(&json!({}));
    assert_eq!(good.len(), 17);
    for (at, value, offset) in [(4, 2, 4), (5, 2, 5), (5, 0xff, 5), (6, 1, 6), (7, 1, 6), (8, 9, 8)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, BundleError::Header { offset: found, .. } if found == offset), "{error}");
    }
    let behind = [with_header(FLAG_ZSTD, &encode_compressed(&json!({}))[HEADER..]).as_slice(), b"x"].concat();
    assert!(matches!(decode(&behind), Err(BundleError::Header { offset: 8, .. })));
    let frames = [&encode_compressed(&json!({}))[HEADER..], b"x"].concat();
    assert!(matches!(decode(&with_header(FLAG_ZSTD, &frames)), Err(BundleError::Body { .. })));
}

#[test]
fn the_canonical_form_is_the_shortest() {
    let bytes = encode(&json!({"b": -1, "a": [0, 127, 128, -33, 65536], "c": 1.0}));
    assert_eq!(
        &bytes[HEADER..],
        b"\x83\xa1a\x95\x00\x7f\xcc\x80\xd0\xdf\xce\x00\x01\x00\x00\xa1b\xff\xa1c\xcb\x3f\xf0\0\0\0\0\0\0"
    );
}

#[test]
fn nesting_is_bounded_alike_in_both_encodings() {
    for (levels, accepted) in [(MAX_DEPTH - 2, true), (MAX_DEPTH - 1, false), (5000, false)] {
        let text = format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let body = [b"\x81\xa1a".as_slice(), &vec![0x91; levels], b"\x01"].concat();
        assert_eq!(decode(text.as_bytes()).is_ok(), accepted, "{levels} levels of text");
        assert_eq!(decode(&bundle(&body)).is_ok(), accepted, "{levels} levels of a body");
        if !accepted {
            assert!(decode(&bundle(&body)).unwrap_err().is_too_large());
        }
    }
}

#[test]
fn declared_lengths_are_not_believed() {
    for body in [
        b"\x81\xa1a\xdb\xff\xff\xff\xff".as_slice(),
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x81\xa1a\xdf\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ] {
        assert!(body_error(body).contains("ends in the middle"));
    }
}

#[test]
fn growth_is_bounded() {
    let too_large = |bytes: &[u8]| decode(bytes).unwrap_err().is_too_large();
    assert!(too_large(&vec![b' '; MAX_RECEIVED + 1]));
    // Nine million one-byte values would take thirty times their size.
    let nils = [b"\x81\xa1a\xdd\x00\x89\x54\x40".as_slice(), &vec![0xc0; 9_000_000]].concat();
    assert!(too_large(&bundle(&nils)));
    let maps = [b"\x81\xa1a\xdd\x00\x01\x00\x00".as_slice(), &b"\x81\xa0\xc0".repeat(65_536)].concat();
    assert!(too_large(&bundle(&maps)));
    let text = format!("{{\"a\":[{}0]}}", "0,".repeat(4_000_000));
    assert!(too_large(text.as_bytes()));
    // A few kilobytes that unpack to 100 MB.
    let long = [b"\x81\xa1a\xdb\x06\x00\x00\x00".as_slice(), &vec![b'x'; 0x600_0000]].concat();
    let bomb = with_header(FLAG_ZSTD, &zstd::bulk::compress(&long, 3).unwrap());
    assert!(bomb.len() < 100_000);
    assert!(too_large(&bomb));
}

#[test]
fn ordinary_programs_are_far_from_the_bounds() {
    let block = json!({"kind": "rigid", "id": "b", "statements": [
        {"kind": "let", "name": "x", "value": "1"}, {"kind": "return", "value": "x"}]});
    let document = json!({"flows": vec![block; 5_000]});
    assert_eq!(decode(&encode(&document)), Ok(document.clone()));
    assert_eq!(decode(&serde_json::to_vec(&document).unwrap()), Ok(document));
}
