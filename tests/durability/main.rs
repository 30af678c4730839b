//! What a store in a file keeps: power losses, failing disks, killed processes.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod kill;
mod power_loss;
