//! The example programs, as processes.

#[path = "../common/mod.rs"]
mod common;
mod credentials;
mod emulator;
mod quickstart;
