//! The example gateway to Cassandra, as a program, and clients that speak its protocol byte by
//! byte. Real drivers log in in `tests/cassandra`.

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
