//! The example Cassandra gateway as a process, and clients that implement its protocol byte by
//! byte. `tests/cassandra` tests it with real drivers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;

mod hostile;
mod limits;
mod logins;
mod proxying;
mod recheck;
mod tls;
mod world;
