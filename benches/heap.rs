//! Heap bytes of a user with two credentials at one service in a `MemoryStore`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark stops where it fails")]

use service_specific_credentials::{CredentialManager, MemoryStore, ServiceName, UserName};

const USERS: u32 = 1_000_000;

fn main() {
    let service: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
    let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
    let heap = allocation_counter::measure(|| {
        for number in 0..USERS {
            let user: UserName = format!("user{number:06}").parse().unwrap();
            iam.register_user(&user).unwrap();
            for _ in 0..2 {
                drop(iam.create(&user, &service).unwrap());
            }
        }
    });
    let bytes = heap.bytes_current / i64::from(USERS);
    println!("heap per user with two credentials: {bytes} bytes (at most 700)");
}
