//! Heap bytes of a user with two credentials at one service in a `MemoryStore`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod measure;

use measure::{Figures, Target, at_most};
use service_specific_credentials::{CredentialManager, MemoryStore, ServiceName, UserName};

fn main() {
    let users = at_most(1_000_000);
    let service: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
    let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
    let heap = allocation_counter::measure(|| {
        for number in 0..users {
            let user: UserName = format!("user{number:06}").parse().unwrap();
            iam.register_user(&user).unwrap();
            for _ in 0..2 {
                drop(iam.create(&user, &service).unwrap());
            }
        }
    });
    let bytes = heap.bytes_current as f64 / users as f64;
    let mut figures = Figures::default();
    let what = "heap per user with two credentials";
    figures.value(what, bytes.round(), "bytes", Target::AtMost(700.0));
    figures.write("heap");
}
