//! Authentication from request headers, and the middleware example.

#[path = "../common/mod.rs"]
mod common;
mod headers;
mod middleware;
