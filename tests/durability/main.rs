//! The durability of a store in a file: power losses, failing disks, killed processes.

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
mod damage;
mod kill;
mod power_loss;
#[path = "../common/progress.rs"]
mod progress;
