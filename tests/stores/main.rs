//! The stores: the contract and its suite, the encoding of records and keys, and each store except
//! PostgreSQL and DynamoDB.

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
mod failing;
mod keys;
mod memory;
mod records;
mod redb;
mod suite;
