//! A short run of the fuzz targets: their seeds, mutations of them drawn from fixed numbers, and inputs that are deep or long
//! on purpose. `cargo xtask fuzz` runs them for as long as wanted, guided by what they reach.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a property that does not hold is a failed test; tests look at the clock and write where somebody asks"
)]

mod properties;

use properties::{ALL, Property, seeds, within_bound};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Mutations of each seed.
const MUTATIONS: u32 = 300;

fn target(name: &str) -> Property {
    ALL.iter().find(|(other, _)| *other == name).map(|(_, property)| *property).unwrap()
}

/// Some bytes changed, removed, repeated, or taken from elsewhere in the input.
fn mutate(input: &mut Vec<u8>, rng: &mut TestRng) {
    for _ in 0..=rng.next_u32() % 4 {
        let length = input.len().max(1);
        let at = rng.next_u32() as usize % length;
        let many = 1 + rng.next_u32() as usize % 16;
        match rng.next_u32() % 5 {
            0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (many % 8)),
            1 => input.truncate(at.max(1)),
            2 => drop(input.drain(at..(at + many).min(input.len()))),
            3 => {
                let piece: Vec<u8> = input.iter().skip(at).take(many).copied().collect();
                let to = rng.next_u32() as usize % (input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => input.insert(at.min(input.len()), rng.next_u32().to_le_bytes()[0]),
        }
    }
}

fn short_run(name: &str) {
    let property = target(name);
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    for seed in seeds(name) {
        within_bound(name, property, &seed);
        for _ in 0..MUTATIONS {
            let mut input = seed.clone();
            mutate(&mut input, &mut rng);
            within_bound(name, property, &input);
        }
    }
}

macro_rules! short_runs {
    ($($target:ident),+) => {$(
        #[test]
        fn $target() {
            short_run(stringify!($target));
        }
    )+};
}

short_runs!(bundle, expression, verifier, program, machine, journal);

#[test]
fn every_target_has_seeds_that_get_somewhere() {
    // The fuzzer's corpora begin with them.
    let folder = std::env::var_os("SCAIGRID_FUZZ_SEEDS").map(std::path::PathBuf::from);
    for (name, _) in ALL {
        let seeds = seeds(name);
        assert!(seeds.len() >= 2, "{name}");
        let Some(folder) = folder.as_ref().map(|folder| folder.join(name)) else { continue };
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
    for seed in seeds("machine") {
        assert!(scaigrid_runtime::Machine::decode(&seed).is_ok());
    }
    for seed in seeds("journal") {
        assert!(scaigrid_runtime::journal::decode_chunk(&seed).is_ok());
    }
}

/// Nested in every way that the grammars have, far deeper than any bound: refused, or taken, but on a stack of two
/// megabytes, as a thread of the server has.
#[test]
fn what_is_deep_does_not_end_the_stack() {
    let times = 30_000;
    let nested = |open: &str, inside: &str, close: &str| {
        format!("{}{inside}{}", open.repeat(times), close.repeat(times)).into_bytes()
    };
    let expressions = [
        nested("(", "1", ")"),
        nested("[", "1", "]"),
        nested("{a: ", "1", "}"),
        nested("-", "1", ""),
        nested("!", "true", ""),
        nested("x => ", "1", ""),
        nested("if a then b else ", "1", ""),
        nested("a.b(", "1", ")"),
        nested("`${", "1", "}`"),
        nested("1 + ", "1", ""),
        nested("1 ?? ", "1", ""),
        nested("a", "", ".b"),
        nested("a", "", "[0]"),
        nested("a", "", " |> f"),
        nested("array[", "int", "]"),
        nested("{a: ", "int", "}"),
        nested("int", "", "?"),
        nested("int | ", "int", ""),
    ];
    let documents = [
        nested("{\"a\":", "1", "}"),
        nested("{\"flows\":[", "1", "]}"),
        [b"SCIR".to_vec(), [0x81, 0xa1, b'a'].repeat(times)].concat(),
        [b"SCIR\x81\xa1a".to_vec(), vec![0x91; times]].concat(),
    ];
    let states: Vec<Vec<u8>> = [0x91, 0x81, 0xdc].map(|byte| [vec![2], vec![byte; times]].concat()).into();
    let run = move || {
        for input in &expressions {
            within_bound("expression", properties::expression_parser, input);
        }
        for input in &documents {
            within_bound("bundle", properties::bundle_decoder, input);
            within_bound("verifier", properties::verifier, input);
        }
        for input in &states {
            within_bound("machine", properties::machine_decoder, input);
            within_bound("journal", properties::journal_decoder, input);
        }
    };
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert!(small.join().is_ok());
}

/// A program that is long in every way within a small document does not take long.
#[test]
fn what_is_wide_does_not_take_long() {
    let statement = r#"{"kind":"let","name":"a","value":"1"}"#;
    let body = vec![statement; 1500].join(",");
    let document = format!(
        r#"{{"schema_version":"0.2","name":"Wide","version":"1.0.0","flows":[{{"name":"main","body":[{{"kind":"rigid","statements":[{body}]}}]}}]}}"#
    );
    within_bound("verifier", properties::verifier, document.as_bytes());
    within_bound("program", properties::program, document.as_bytes());
    let wide = format!("[{}]", vec!["1"; 20_000].join(","));
    within_bound("expression", properties::expression_parser, wide.as_bytes());
}
