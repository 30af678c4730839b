//! The Query protocol from the client's view: bytes in; status, headers and bytes out.

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

mod world;

mod echo;
mod facts;
mod golden;
mod lists;
mod order;
mod parsed;
mod reading;
mod shapes;
mod state;
mod users;
