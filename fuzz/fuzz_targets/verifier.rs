#![no_main]

#[allow(dead_code, reason = "each target has one property")]
#[path = "../../crates/runtime/tests/fuzz/properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::verifier(bytes));
