//! Untrusted input: no panic, and linear time and memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod allocations;
#[path = "../common/mod.rs"]
mod common;
mod complexity;
mod fuzz_entries;
