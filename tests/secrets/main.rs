//! No secret in any output, log or event.

#[path = "../common/mod.rs"]
mod common;
mod events;
#[path = "../common/hunt.rs"]
mod hunt;
mod output;
