//! The store in PostgreSQL: its guarantees, its statements, and its errors.
//!
//! The tests start their own server. Without PostgreSQL they are skipped, unless
//! `SSC_REQUIRE_POSTGRES=1` is set.

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
#[path = "../common/cut_scene.rs"]
mod cut_scene;
mod cuts;
#[path = "../common/postgres.rs"]
mod database;
#[path = "../common/server.rs"]
mod emulator;
mod failover;
mod failures;
mod migrations;
mod pgbouncer;
mod poolers;
mod programs;
#[path = "../common/progress.rs"]
mod progress;
#[path = "../common/proxy.rs"]
mod proxy;
mod races;
mod reported;
mod statements;
mod urls;

use database::{Server, Space, runtime, shared};
use service_specific_credentials::{
    store::{Isolation, PostgresOptions},
    testing::Suite,
};

const LEVELS: [Isolation; 3] =
    [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

/// The target of connections: a server, or a pooler in front of it.
struct Target<'a> {
    server: &'a Server,
    pooler: Option<u16>,
}

impl<'a> Target<'a> {
    const fn direct(server: &'a Server) -> Self {
        Self { server, pooler: None }
    }

    /// An empty schema. Without a pooler, `level` is the default isolation level of its sessions.
    async fn space(&self, level: Isolation) -> Space {
        let space = self.server.space().await;
        match self.pooler {
            Some(port) => space.via(port),
            None => space.isolated(level),
        }
    }
}

/// Runs the suite on the store, with separate tables for each obligation.
fn run_suite(place: &Target<'_>, level: Isolation) {
    let within = |work: &mut dyn FnMut()| {
        let _entered = runtime().enter();
        work();
    };
    Suite::new().within(within).test(async || {
        let options = PostgresOptions::new().isolation(level);
        (place.space(level).await.store(&options).await, ())
    });
}

#[test]
fn the_suite_passes_under_read_committed() {
    let Some(server) = shared() else { return };
    run_suite(&Target::direct(server), LEVELS[0]);
}

#[test]
fn the_suite_passes_under_repeatable_read() {
    let Some(server) = shared() else { return };
    run_suite(&Target::direct(server), LEVELS[1]);
}

#[test]
fn the_suite_passes_under_serializable() {
    let Some(server) = shared() else { return };
    run_suite(&Target::direct(server), LEVELS[2]);
}
