//! The cost of listing users by a prefix of their paths: the scans and the records of each page.

use std::{
    ops::Bound,
    sync::{Arc, Mutex},
};

use service_specific_credentials::{
    AccountId, CredentialManager, ListUsersRequest, MaxItems, MemoryStore, RegisterOptions,
    UserName,
    store::{Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord},
};
use sha2::{Digest as _, Sha256};

/// Each of these users has the path `/rare/`, the others have `/common/`.
const RARE: usize = 15_000;

/// The users `u-000000`, `u-000001` and so on of one account. A record is made when it is read.
#[derive(Debug)]
struct Numbered {
    users: usize,
    rare: Vec<u8>,
    common: Vec<u8>,
    /// How many records each scan returned.
    scans: Mutex<Vec<usize>>,
}

fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn name(number: usize) -> UserName {
    format!("u-{number:06}").parse().unwrap()
}

impl Numbered {
    fn new(users: usize) -> Self {
        let encoded = |path: &str| {
            let store = Arc::new(MemoryStore::new());
            let iam = CredentialManager::new(account(), Arc::clone(&store));
            let options = RegisterOptions::new().path(path.parse().unwrap());
            iam.register_user_with_options(&name(0), &options).unwrap();
            let key = Key::User { account: account(), name: &name(0) };
            store.find(&key).unwrap().unwrap().encode()
        };
        let (rare, common) = (encoded("/rare/"), encoded("/common/"));
        Self { users, rare, common, scans: Mutex::default() }
    }

    fn record(&self, number: usize) -> Arc<UserRecord> {
        let mut bytes = if number % RARE == RARE - 1 { &self.rare } else { &self.common }.clone();
        let named = name(0);
        let start = bytes.windows(8).position(|it| it == named.as_str().as_bytes()).unwrap();
        bytes[start..start + 8].copy_from_slice(name(number).as_str().as_bytes());
        let checked = bytes.len() - 4;
        let checksum = Sha256::digest(&bytes[..checked]);
        bytes[checked..].copy_from_slice(&checksum[..4]);
        Arc::new(UserRecord::decode(&bytes).unwrap())
    }
}

impl Store for Numbered {
    fn find(&self, _: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        Ok(None)
    }

    fn commit(&self, _: &Change) -> Result<CommitOutcome, StoreError> {
        Ok(CommitOutcome::Stale)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let number = |name: &UserName| name.as_str()[2..].parse::<usize>().unwrap();
        let start = match range.start() {
            Bound::Unbounded => 0,
            Bound::Included(name) => number(name),
            Bound::Excluded(name) => number(name) + 1,
        };
        let numbers = (start..self.users).take(range.limit());
        let records: Vec<_> = numbers.map(|number| self.record(number)).collect();
        self.scans.lock().unwrap().push(records.len());
        Ok(records)
    }
}

/// The first pages of a listing: the names of each, its scans and the records that they returned.
fn pages(
    store: &Numbered,
    prefix: &str,
    size: u32,
    most: usize,
) -> Vec<(Vec<UserName>, usize, usize)> {
    let iam = CredentialManager::new(account(), store);
    let request = ListUsersRequest::new().max_items(MaxItems::new(size).unwrap());
    let mut request = request.path_prefix(prefix.parse().unwrap());
    let mut pages = Vec::new();
    loop {
        let page = iam.list_users_page(&request).unwrap();
        let names = page.items.iter().map(|user| user.name().clone()).collect();
        let scans = std::mem::take(&mut *store.scans.lock().unwrap());
        pages.push((names, scans.len(), scans.iter().sum()));
        match page.next {
            Some(next) if pages.len() < most => request = request.marker(next),
            _ => return pages,
        }
    }
}

#[test]
fn a_page_examines_ten_thousand_of_a_million_users() {
    let store = Numbered::new(1_000_000);
    for (prefix, size, found) in [("/nobody/", 1000, [0, 0, 0]), ("/rare/", 100, [0, 1, 1])] {
        let pages = pages(&store, prefix, size, 3);
        for ((names, scans, examined), found) in pages.iter().zip(found) {
            assert_eq!((names.len(), *examined), (found, ListUsersRequest::MAX_EXAMINED));
            assert!(*scans <= 14, "{scans}");
        }
        assert_eq!(pages.len(), 3);
    }
}

#[test]
fn all_pages_examine_each_user_once() {
    let store = Numbered::new(40_000);
    let pages = pages(&store, "/rare/", 100, usize::MAX);
    // The last page finds nothing left to examine.
    assert_eq!(pages.len(), 5);
    assert_eq!(pages.iter().map(|(_, _, examined)| examined).sum::<usize>(), store.users);
    let names: Vec<_> = pages.into_iter().flat_map(|(names, _, _)| names).collect();
    assert_eq!(names, [name(RARE - 1), name(2 * RARE - 1)]);
}

#[test]
fn a_page_that_is_full_ends_the_examination() {
    let store = Numbered::new(20_000);
    for size in [99, 100, 1000] {
        let pages = pages(&store, "/common/", size, usize::MAX);
        let (full, scans, examined) = &pages[0];
        assert_eq!((full.len(), *scans), (size as usize, 1));
        assert!(*examined <= 101.max(size as usize + 1), "{examined}");
        let names: Vec<_> = pages.into_iter().flat_map(|(names, _, _)| names).collect();
        assert_eq!(names.len(), 20_000 - 1, "{size}");
    }
    // A page that has an item of one looks ahead as far as a page examines.
    let few = pages(&Numbered::new(30_000), "/rare/", 1, usize::MAX);
    let found: Vec<_> = few.iter().map(|(names, _, _)| names.len()).collect();
    assert_eq!(found, [0, 1, 1, 0]);
}

#[test]
fn the_iterator_continues_after_an_empty_page() {
    let iam = CredentialManager::new(account(), Numbered::new(30_000));
    let request = ListUsersRequest::new().path_prefix("/rare/".parse().unwrap());
    let found: Vec<_> = iam.users(request).map(|user| user.unwrap().name().clone()).collect();
    assert_eq!(found, [name(RARE - 1), name(2 * RARE - 1)]);
}
