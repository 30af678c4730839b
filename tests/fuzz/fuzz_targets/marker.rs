//! A marker, and the listings that continue from it.

#![no_main]
#![allow(dead_code, reason = "each target has one of the entries")]

#[path = "../../untrusted_input/fuzz_entries/entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::marker(bytes));
