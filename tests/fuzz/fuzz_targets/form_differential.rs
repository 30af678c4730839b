//! A form, compared with the crate `form_urlencoded`.

#![no_main]
#![allow(dead_code, reason = "each target has one of the entries")]

#[path = "../../untrusted_input/fuzz_entries/entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::form_differential::compare(bytes));
