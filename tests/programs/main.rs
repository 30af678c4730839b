//! The example programs, as processes.

#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod credentials;
mod emulator;
mod existing_iam;
mod quickstart;
#[path = "../common/server.rs"]
mod server;
