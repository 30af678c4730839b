//! The stores: the contract and its suite, the codec of records, keys, and each store of this crate
//! but PostgreSQL.

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
mod copy_users;
mod corrupt_index;
#[path = "../common/postgres.rs"]
mod database;
mod keys;
mod memory;
mod records;
mod redb;
mod suite;
