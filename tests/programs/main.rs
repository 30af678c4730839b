//! The example programs, as processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod copy;
mod credentials;
mod emulator;
mod emulator_for_tests;
mod existing_iam;
mod messages;
mod own_service;
mod quickstart;
#[path = "../common/server.rs"]
mod server;
