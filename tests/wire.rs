//! The Query protocol as a client sees it: bytes in; status, headers and bytes out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

#[path = "wire/world.rs"]
mod world;

#[path = "wire/golden.rs"]
mod golden;
#[path = "wire/order.rs"]
mod order;
#[path = "wire/shapes.rs"]
mod shapes;
