//! No secret in any output, log or event.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
mod events;
#[path = "../common/hunt.rs"]
mod hunt;
mod logs;
mod output;
