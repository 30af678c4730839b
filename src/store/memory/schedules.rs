//! The locks of the store, under many schedules of its threads.
//!
//! Threads change a few users, all under the same names. At each lock a seeded scheduler picks the
//! thread that proceeds. It reports a deadlock. In the end, the index has exactly the keys of the
//! records. `SSC_SCHEDULES` sets the number of schedules, and `SSC_SEED` their seed.
#![cfg(all(test, shuttle))]

use std::{env, num::NonZeroUsize, ops::Bound};

use shuttle::{
    Config, Runner,
    rand::{Rng as _, thread_rng},
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};

use super::*;
use crate::{
    manager::CredentialManager,
    names::{service_name::ServiceName, user_name::UserName},
    record::key::Listing,
};

const THREADS: usize = 3;
const OPERATIONS: usize = 3;
const ACCOUNT: AccountId = AccountId::from_static("123456789012");

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |number| number.parse().unwrap())
}

fn name() -> UserName {
    ["a", "A", "b"][thread_rng().gen_range(0..3)].parse().unwrap()
}

/// Errors are as good as successes here: other tests check which of them occurs.
fn operate(iam: &CredentialManager<MemoryStore>) {
    let service: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
    match thread_rng().gen_range(0..7) {
        0 => drop(iam.register_user(&name())),
        1 => drop(iam.create(&name(), &service)),
        2 => drop(iam.rename_user(&name(), &name())),
        3 => drop(iam.remove_user_with_credentials(&name())),
        4 => {
            if let Ok([.., last]) = iam.list(&name()).as_deref() {
                let _ = iam.delete(last.user_name(), last.id());
            }
        }
        5 => drop(iam.disable_all(&name())),
        _ => scan_is_sorted(iam.store()),
    }
}

fn scan(store: &MemoryStore, listing: Listing<'_>) -> Vec<Arc<UserRecord>> {
    let range = ScanRange::new(ACCOUNT, listing, Bound::Unbounded, NonZeroUsize::MAX);
    store.scan(&range).unwrap()
}

fn scan_is_sorted(store: &MemoryStore) {
    let records = scan(store, Listing::Users);
    let names: Vec<_> =
        records.iter().map(|record| record.name().as_str().to_lowercase()).collect();
    assert!(names.is_sorted_by(|left, right| left < right), "{names:?}");
}

/// The index has the keys of the records and their ids, and nothing else. The listings have the
/// users, and those with credentials.
fn assert_consistent(store: &MemoryStore) {
    let records = scan(store, Listing::Users);
    let mut entries = 0;
    for record in &records {
        for key in record.keys() {
            let found = store.find(&key).unwrap();
            assert!(found.is_some_and(|found| Arc::ptr_eq(&found, record)), "{key:?}");
            entries += usize::from(!matches!(key, Key::Holder { .. }));
        }
        entries += 1;
    }
    let shards = &*store.0;
    assert_eq!(shards.index.iter().map(|shard| read(&shard.0).len()).sum::<usize>(), entries);
    assert_eq!(
        shards.records.iter().map(|shard| read(&shard.0).len()).sum::<usize>(),
        records.len()
    );
    let holders = scan(store, Listing::Holders { service: None });
    let expected = records.iter().filter(|record| !record.credentials().is_empty());
    assert!(holders.iter().map(Arc::as_ptr).eq(expected.map(Arc::as_ptr)));
}

fn race() {
    let store = MemoryStore::new();
    let iam = CredentialManager::new(ACCOUNT, store.clone());
    iam.register_user(&name()).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let iam = iam.clone();
            thread::spawn(move || (0..OPERATIONS).for_each(|_| operate(&iam)))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_consistent(&store);
}

#[test]
fn changes_are_complete_under_every_schedule() {
    let schedules = usize::try_from(number("SSC_SCHEDULES", 2_000)).unwrap();
    let seed = number("SSC_SEED", 7);
    Runner::new(RandomScheduler::new_from_seed(seed, schedules), Config::new()).run(race);
    // Up to three changes of a thread at any point, which finds rare orders more often.
    Runner::new(PctScheduler::new_from_seed(seed, 3, schedules), Config::new()).run(race);
}
