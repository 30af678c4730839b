//! A store whose index leads to the wrong record, by damage or by design: no operation returns or
//! changes what is another user's, and the error says what is wrong.
//!
//! Each kind of key is altered in the tables of a file and of a database, and a memory store lies
//! about each. Every operation is then tried.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;
#[cfg(unix)]
#[path = "common/postgres.rs"]
mod database;
#[path = "corrupt_index/lies.rs"]
mod lies;
#[path = "corrupt_index/tables.rs"]
mod tables;
#[path = "corrupt_index/world.rs"]
mod world;
