//! Tests of the example Git server with the real `git` and real proxies.

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
#[path = "../../examples/support/throttle.rs"]
mod throttle;
mod world;

mod admin;
mod bodies;
mod clients;
mod lifecycle;
mod limits;
mod logins;
mod proxies;
mod repositories;
mod rotation;
mod soak;
mod throttling;
