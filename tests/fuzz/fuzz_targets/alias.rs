//! The secret of an API key, compared with the crate `base64`.

#![no_main]
#![allow(dead_code, reason = "each target has one of the entries")]

#[path = "../../untrusted_input/fuzz_entries/entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::alias::compare(bytes));
