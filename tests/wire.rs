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

#[path = "wire/echo.rs"]
mod echo;
#[path = "wire/golden.rs"]
mod golden;
#[path = "wire/lists.rs"]
mod lists;
#[path = "wire/order.rs"]
mod order;
#[path = "wire/parsed.rs"]
mod parsed;
#[path = "wire/reading.rs"]
mod reading;
#[path = "wire/shapes.rs"]
mod shapes;
#[path = "wire/state.rs"]
mod state;
