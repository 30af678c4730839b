//! The stores: the contract and its suite, the codec of records, keys, and each store of this crate
//! but PostgreSQL.

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
