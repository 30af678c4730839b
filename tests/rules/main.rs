//! The rules about credentials and users, through the sync manager.

mod accounts;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
mod errors;
mod lifecycle;
mod listing;
mod names;
mod policy;
mod repeated_entropy;
