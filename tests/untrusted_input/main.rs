//! Untrusted input: no panic, and linear time and memory.

mod allocations;
#[path = "../common/mod.rs"]
mod common;
mod complexity;
mod fuzz_entries;
