//! The store in Amazon DynamoDB: its contract, its requests, and its errors.
//!
//! `tests/dynamodb/run` installs DynamoDB Local, which the tests start. The managed service is not
//! tested.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../common/cases.rs"]
mod cases;
#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod costs;
#[path = "../common/cut_scene.rs"]
mod cut_scene;
mod cuts;
#[path = "../common/server.rs"]
mod emulator;
mod failures;
mod gateway;
#[path = "../common/dynamodb.rs"]
mod local;
#[path = "../common/postgres.rs"]
mod postgres;
mod programs;
#[path = "../common/proxy.rs"]
mod proxy;
mod races;
mod reads;

use std::num::NonZeroUsize;

use local::{runtime, shared};
use service_specific_credentials::testing::Suite;

/// Checks each obligation on a new table.
#[test]
fn the_store_meets_its_obligations() {
    let Some(server) = shared() else { return };
    let within = |work: &mut dyn FnMut()| {
        let _entered = runtime().enter();
        work();
    };
    // A transaction has 100 items, of which one is the record.
    let keys = NonZeroUsize::new(99).unwrap();
    let suite = Suite::new().within(within).keys_per_change(keys);
    suite.test(async || (server.table().await.store(), ()));
}
