//! The rules about credentials and users, through the sync manager.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod accounts;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
mod disable;
mod errors;
mod handles;
mod iteration;
mod lifecycle;
mod listing;
mod names;
mod path_prefix;
mod policy;
mod repeated_entropy;
mod resolve;
mod stale_reads;
mod users;
