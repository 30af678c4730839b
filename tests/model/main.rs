//! Operations against a plain model of the rules: random sequences and concurrent histories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
mod history;
mod interleavings;
mod linearizability;
#[cfg(all(unix, feature = "dynamodb"))]
#[path = "../common/dynamodb.rs"]
mod local;
mod machine;
#[path = "../common/progress.rs"]
mod progress;
mod races;
mod random_operations;
mod reference;
mod turns;
