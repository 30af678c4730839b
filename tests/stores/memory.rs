//! The memory store and the contract of stores, with the changes and ranges that managers send.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Bound,
    sync::{Arc, Mutex},
};

use service_specific_credentials::{
    AccountId, CreateOptions, CredentialManager, Lifetime, ListRequest, ListUsersRequest, MaxItems,
    MemoryStore, ServiceName, Status, UserName,
    store::{
        Change,
        CommitOutcome::{self, Applied, KeyTaken, Stale},
        Key, Listing, Revision, ScanRange, Store, StoreError, UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};
use time::{Duration, OffsetDateTime};

const CODECOMMIT: &str = "codecommit.amazonaws.com";
const CASSANDRA: &str = "cassandra.amazonaws.com";

fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// A memory store that records every change.
#[derive(Debug, Default)]
struct Recorder {
    store: MemoryStore,
    changes: Mutex<Vec<Change>>,
}

impl Store for Recorder {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.store.find(key)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.changes.lock().unwrap().push(change.clone());
        self.store.commit(change)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.store.scan(range)
    }
}

type Iam<'a> = CredentialManager<&'a Recorder>;

/// A store in which these changes were applied.
fn after(changes: &[&Change]) -> MemoryStore {
    let store = MemoryStore::new();
    for change in changes {
        assert_eq!(store.commit(change).unwrap(), Applied, "{change:?}");
    }
    store
}

/// The changes of a manager after `changes`. Each call has a seed of its own.
fn fork(seed: u64, changes: &[&Change], act: impl FnOnce(&Iam<'_>)) -> Vec<Change> {
    let recorder = Recorder { store: after(changes), changes: Mutex::default() };
    act(&CredentialManager::builder(account(), &recorder)
        .clock(FixedClock::new(OffsetDateTime::UNIX_EPOCH))
        .entropy(SeededEntropy::new(seed))
        .build());
    recorder.changes.into_inner().unwrap()
}

fn only(changes: Vec<Change>) -> Change {
    let [change] = <[Change; 1]>::try_from(changes).unwrap();
    change
}

fn registered(seed: u64, name: &str) -> Change {
    only(fork(seed, &[], |iam| drop(iam.register_user(&user(name)).unwrap())))
}

fn renamed(seed: u64, changes: &[&Change], from: &str, to: &str) -> Change {
    only(fork(seed, changes, |iam| drop(iam.rename_user(&user(from), &user(to)).unwrap())))
}

fn created(seed: u64, changes: &[&Change], name: &str) -> Change {
    only(fork(seed, changes, |iam| {
        drop(iam.create(&user(name), &service(CODECOMMIT)).unwrap());
    }))
}

fn removed(seed: u64, changes: &[&Change], name: &str) -> Change {
    only(fork(seed, changes, |iam| {
        drop(iam.remove_user_with_credentials(&user(name)).unwrap());
    }))
}

/// The observable state under every key of these changes, and in the listings.
fn visible(store: &MemoryStore, changes: &[&Change]) -> (Vec<Option<Revision>>, String) {
    let records = |change| {
        let change: &Change = change;
        change.previous().into_iter().chain(change.record().map(|after| &**after))
    };
    let keys = changes.iter().copied().flat_map(records).flat_map(UserRecord::keys);
    let revisions = keys.map(|key| store.find(&key).unwrap().map(|found| found.revision()));
    let iam = CredentialManager::new(account(), store);
    let users =
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
    let all = iam.list_page(&ListRequest::all_users()).unwrap();
    (revisions.collect(), format!("{users:?} {all:?}"))
}

/// The life of one user, change by change.
fn life() -> Vec<Change> {
    fork(1, &[], |iam| {
        let (anika, codecommit) = (user("anika"), service(CODECOMMIT));
        iam.register_user(&anika).unwrap();
        let issued = iam.create(&anika, &codecommit).unwrap();
        let age = Lifetime::days(1).unwrap();
        drop(
            iam.create_with_options(
                &anika,
                &service(CASSANDRA),
                &CreateOptions::new().lifetime(age),
            )
            .unwrap(),
        );
        drop(iam.reset(&anika, issued.id()).unwrap());
        iam.set_status(&anika, issued.id(), Status::Inactive).unwrap();
        iam.rename_user(&anika, &user("ANIKA")).unwrap();
        iam.rename_user(&anika, &user("b")).unwrap();
        iam.delete(&user("b"), issued.id()).unwrap();
        iam.remove_user_with_credentials(&user("b")).unwrap();
    })
}

#[test]
fn a_repeated_change_is_stale() {
    let life = life();
    assert_eq!(life.len(), 9);
    let store = MemoryStore::new();
    for (step, change) in life.iter().enumerate() {
        assert_eq!(store.commit(change).unwrap(), Applied);
        for (earlier, change) in life[..=step].iter().enumerate().skip(1) {
            assert_eq!(store.commit(change).unwrap(), Stale, "{earlier} after {step}");
        }
    }
}

#[test]
fn a_change_of_any_other_revision_is_stale() {
    let life = life();
    for made in 0..life.len() {
        let store = after(&life[..made].iter().collect::<Vec<_>>());
        for (step, change) in life.iter().enumerate().skip(1).filter(|(step, _)| *step != made) {
            assert_eq!(store.commit(change).unwrap(), Stale, "{step} after {made}");
        }
    }
}

#[test]
fn a_change_releases_and_claims_the_difference_of_two_records() {
    for change in life() {
        let keys = |record: Option<&UserRecord>| {
            record.map_or(0, |record| {
                assert!(record.keys().all(|key| record.holds(&key)));
                record.keys().count()
            })
        };
        let (before, after) = (change.previous(), change.record().map(|after| &**after));
        assert!(change.released().all(|key| before.is_some_and(|before| before.holds(&key))));
        assert!(change.claimed().all(|key| after.is_some_and(|after| after.holds(&key))));
        let kept = keys(before) - change.released().count();
        assert_eq!(kept + change.claimed().count(), keys(after));
        assert!(change.released().all(|key| change.claimed().all(|claimed| claimed != key)));
    }
}

#[test]
fn registering_or_renaming_to_a_taken_name_returns_key_taken() {
    let (a, b) = (registered(1, "a"), registered(2, "b"));
    let store = after(&[&a, &b]);
    for (seed, name) in [(3, "a"), (4, "A"), (5, "b")] {
        assert_eq!(store.commit(&registered(seed, name)).unwrap(), KeyTaken, "{name}");
    }
    assert_eq!(store.commit(&renamed(6, &[&b], "b", "A")).unwrap(), KeyTaken);
    assert_eq!(store.commit(&renamed(7, &[&b], "b", "B")).unwrap(), Applied);
}

#[test]
fn a_stale_change_that_claims_a_taken_key_returns_stale() {
    let (a, b) = (registered(1, "a"), registered(2, "b"));
    let b_to_a = renamed(3, &[&b], "b", "a");
    let respelled = renamed(4, &[&b], "b", "B");
    let away = renamed(5, &[&b], "b", "t");
    let gone = removed(6, &[&b], "b");
    let another = registered(7, "b");

    assert_eq!(after(&[&b]).commit(&b_to_a).unwrap(), Applied);
    assert_eq!(after(&[&b, &a]).commit(&b_to_a).unwrap(), KeyTaken);
    assert_eq!(after(&[&a]).commit(&b_to_a).unwrap(), Stale);
    for made in [&respelled, &away, &gone] {
        assert_eq!(after(&[&b, &a, made]).commit(&b_to_a).unwrap(), Stale);
    }
    assert_eq!(after(&[&b, &a, &gone, &another]).commit(&b_to_a).unwrap(), Stale);
}

#[test]
fn released_keys_can_be_claimed_again() {
    let a = registered(1, "a");
    let first = created(2, &[&a], "a");
    let away = renamed(3, &[&a, &first], "a", "b");
    let gone = removed(4, &[&a, &first], "a");
    let again = registered(5, "A");
    let second = created(6, &[&again], "a");
    let name = |change: &Change| {
        let names = change.claimed().filter(|key| matches!(key, Key::ServiceUser { .. }));
        format!("{:?}", names.collect::<Vec<_>>()).to_ascii_lowercase()
    };
    assert_eq!(name(&first), name(&second));

    // The user's name is released, but not the name of the credential.
    let store = after(&[&a, &first, &away, &again]);
    assert_eq!(store.commit(&second).unwrap(), KeyTaken);
    let removed_later = removed(7, &[&a, &first, &away], "b");
    assert_eq!(store.commit(&removed_later).unwrap(), Applied);
    assert_eq!(store.commit(&second).unwrap(), Applied);

    let store = after(&[&a, &first, &gone, &again, &second]);
    let found = store.find(&Key::User { account: account(), name: &user("a") }).unwrap().unwrap();
    assert_eq!(Some(found.revision()), second.record().map(|record| record.revision()));
}

#[test]
fn a_rejected_change_has_no_effect() {
    let (a, b) = (registered(1, "a"), registered(2, "b"));
    let first = created(3, &[&a], "a");
    let away = renamed(4, &[&a, &first], "a", "x");
    let b_to_a = renamed(5, &[&b], "b", "a");
    let second = created(6, &[&b, &b_to_a], "a");
    let third = created(7, &[&b], "b");
    let third_to_x = renamed(8, &[&b, &third], "b", "x");

    for (made, rejected, response) in [
        // The name of the credential is taken. Its id and the holder key are free.
        (&[&a, &first, &away, &b, &b_to_a][..], &second, KeyTaken),
        // The name of the user is taken. The holder keys are free.
        (&[&a, &first, &away, &b, &third], &third_to_x, KeyTaken),
        (&[&a, &b, &third], &b_to_a, Stale),
        (&[&a, &first, &b], &second, Stale),
        (&[&a, &first], &third, Stale),
        (&[&a, &first], &registered(9, "A"), KeyTaken),
    ] {
        let store = after(made);
        let keys = [made, &[rejected]].concat();
        let before = visible(&store, &keys);
        assert_eq!(store.commit(rejected).unwrap(), response);
        assert_eq!(visible(&store, &keys), before);
    }
}

#[test]
fn a_record_is_found_by_exactly_the_keys_that_it_holds() {
    let life = life();
    let store = MemoryStore::new();
    let mut seen = HashSet::new();
    for change in &life {
        assert_eq!(store.commit(change).unwrap(), Applied);
        for key in change.released() {
            assert!(store.find(&key).unwrap().is_none(), "{key:?}");
        }
        for key in change.record().iter().flat_map(|after| after.keys()) {
            let found = store.find(&key).unwrap().unwrap();
            assert_eq!(Some(found.revision()), change.record().map(|after| after.revision()));
            seen.insert(std::mem::discriminant(&key));
        }
    }
    assert_eq!(seen.len(), 4, "every kind of key");
}

#[test]
fn names_are_found_in_any_case_and_ids_in_their_exact_case() {
    let store = MemoryStore::new();
    let iam = CredentialManager::new(account(), &store);
    iam.register_user(&user("Anika")).unwrap();
    let issued = iam.create(&user("anika"), &service(CODECOMMIT)).unwrap();
    let (account, at) = (account(), &service(CODECOMMIT));
    let lower = issued.id().as_str().to_ascii_lowercase().parse().unwrap();
    let held = |key: Key<'_>| store.find(&key).unwrap().is_some();

    assert!(held(Key::User { account, name: &user("ANIKA") }));
    assert!(held(Key::Holder { account, service: Some(at), user: &user("ANIKA") }));
    assert!(held(Key::Holder { account, service: None, user: &user("ANIKA") }));
    assert!(held(Key::ServiceUser { account, service: at, name: "ANIKA+1-AT-123456789012" }));
    assert!(held(Key::Credential { account, id: issued.id() }));

    let cassandra = &service(CASSANDRA);
    assert!(!held(Key::Credential { account, id: &lower }));
    assert!(!held(Key::Holder { account, service: Some(cassandra), user: &user("anika") }));
    assert!(!held(Key::ServiceUser {
        account,
        service: cassandra,
        name: issued.service_user_name().as_str()
    }));
    for unknown in ["", "anika", "é", "anika+2-at-123456789012", &"x".repeat(512)] {
        assert!(!held(Key::ServiceUser { account, service: at, name: unknown }));
    }
    iam.delete(&user("anika"), issued.id()).unwrap();
    assert!(!held(Key::Holder { account, service: None, user: &user("anika") }));
}

/// A store that verifies each scan against the records, and records the kinds of requests.
#[derive(Debug, Default)]
struct Checked {
    store: MemoryStore,
    names: Mutex<Vec<UserName>>,
    asked: Mutex<BTreeSet<(&'static str, &'static str)>>,
}

impl Store for Checked {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.store.find(key)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.store.commit(change)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let mut names = self.names.lock().unwrap().clone();
        names.sort_by_key(|name| name.as_str().to_ascii_lowercase());
        names.dedup();
        names.retain(|name| match range.start() {
            Bound::Included(start) => name >= start,
            Bound::Excluded(start) => name > start,
            Bound::Unbounded => true,
        });
        names.retain(|name| self.store.find(&range.key(name)).unwrap().is_some());
        names.truncate(range.limit());

        let found = self.store.scan(range)?;
        assert_eq!(found.iter().map(|record| record.name().clone()).collect::<Vec<_>>(), names);
        assert!(found.iter().all(|record| record.account() == range.account()));
        let listing = match range.listing() {
            Listing::Users => "users",
            Listing::Holders { service: None } => "holders",
            Listing::Holders { service: Some(_) } => "holders at a service",
        };
        let start = match range.start() {
            Bound::Included(_) => "included",
            Bound::Excluded(_) => "excluded",
            Bound::Unbounded => "unbounded",
        };
        self.asked.lock().unwrap().insert((listing, start));
        Ok(found)
    }
}

#[test]
fn scans_return_the_records_of_a_range_in_order() {
    let store = Checked::default();
    let clock = Arc::new(FixedClock::new(OffsetDateTime::UNIX_EPOCH + Duration::days(1000)));
    let iam = CredentialManager::builder(account(), &store)
        .clock(Arc::clone(&clock))
        .entropy(SeededEntropy::new(7))
        .build();
    let elsewhere = iam.for_account("000000000001".parse().unwrap());
    for (place, name) in
        ["b", "A", "a+1", "Z", "_", "0", "B-", "aa", "nobody", "y"].iter().enumerate()
    {
        let name = user(name);
        store.names.lock().unwrap().push(name.clone());
        iam.register_user(&name).unwrap();
        elsewhere.register_user(&name).unwrap();
        for at in [CODECOMMIT, CASSANDRA].into_iter().take(place % 3) {
            drop(iam.create(&name, &service(at)).unwrap());
        }
    }
    // Only one credential is old enough, so scans continue to the end of the listing.
    clock.advance(Duration::days(-10));
    drop(iam.create(&user("y"), &service(CODECOMMIT)).unwrap());
    clock.advance(Duration::days(10));
    iam.rename_user(&user("a"), &user("m")).unwrap();
    store.names.lock().unwrap().push(user("m"));
    iam.rename_user(&user("aa"), &user("AA")).unwrap();
    store.names.lock().unwrap().retain(|name| *name != user("aa"));
    store.names.lock().unwrap().push(user("AA"));

    let all = ListRequest::all_users();
    for size in 1..=12 {
        let size = MaxItems::new(size).unwrap();
        let at_one = all.clone().service(service(CODECOMMIT));
        let old = Lifetime::days(10).unwrap();
        for request in
            [all.clone(), at_one.clone(), all.clone().older_than(old), at_one.older_than(old)]
        {
            let mut next = Some(request.clone().max_items(size));
            for turned in 0.. {
                let Some(asked) = next else { break };
                assert!(turned < 100, "the listing does not end");
                let page = iam.list_page(&asked).unwrap();
                next = page.next.map(|marker| asked.marker(marker));
            }
        }
        let mut next = iam.list_users_page(&ListUsersRequest::new().max_items(size)).unwrap().next;
        while let Some(marker) = next {
            next = iam
                .list_users_page(&ListUsersRequest::new().marker(marker.clone()).max_items(size))
                .unwrap()
                .next;
        }
    }
    let holders = ["holders", "holders at a service"];
    let starts = ["included", "excluded", "unbounded"];
    let mut expected = BTreeSet::from([("users", "unbounded"), ("users", "excluded")]);
    expected.extend(holders.into_iter().flat_map(|listing| starts.map(|start| (listing, start))));
    assert_eq!(*store.asked.lock().unwrap(), expected);
}

#[test]
fn pointers_to_stores_are_stores() {
    fn works(store: impl Store) {
        let iam = CredentialManager::new(account(), store);
        let (anika, codecommit) = (user("anika"), service(CODECOMMIT));
        iam.ensure_user(&anika).unwrap();
        let issued = iam.create(&anika, &codecommit).unwrap();
        let (name, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        iam.authenticate(&codecommit, name, secret).unwrap();
        assert_eq!(iam.list_page(&ListRequest::all_users()).unwrap().items.len(), 1);
        iam.delete(&anika, issued.id()).unwrap();
    }
    let shared: Arc<dyn Store> = Arc::new(MemoryStore::new());
    works(MemoryStore::new());
    let borrowed = MemoryStore::new();
    works(&borrowed);
    works(&borrowed);
    works(Box::new(MemoryStore::new()));
    works(Box::new(MemoryStore::new()) as Box<dyn Store>);
    works(Arc::new(MemoryStore::new()));
    works(Arc::clone(&shared));
    works(&shared);
    works(&*shared);
    let iam = CredentialManager::new(account(), shared);
    assert_eq!(
        iam.user(&user("anika")).unwrap().name(),
        &user("anika"),
        "both managers share the store"
    );
}

/// A module with few imports, so that the list shows the paths of the crate.
mod types {
    use std::{fmt::Debug, sync::Arc};

    use service_specific_credentials::{self as credentials, store, testing};

    #[test]
    fn public_types_are_debug_send_and_sync() {
        const fn shared<T: Debug + Send + Sync + 'static>() {}
        macro_rules! shared {
            ($($Type:ty),+ $(,)?) => { $(const { shared::<$Type>() };)+ };
        }
        shared! {
            credentials::AccountId, credentials::Alphabet, credentials::Identity,
            credentials::AuthenticationError, credentials::Authenticator<credentials::MemoryStore>,
            credentials::Constraint, credentials::Credential, credentials::Lifetime,
            credentials::CredentialId, credentials::CredentialKind,
            credentials::CredentialManager<credentials::MemoryStore>,
            credentials::CredentialManager<Arc<dyn store::Store>>,
            credentials::CredentialManagerBuilder<credentials::MemoryStore>,
            credentials::EntropyError,
            credentials::Error, credentials::ErrorCode, credentials::InvalidAccountId,
            credentials::InvalidLifetime, credentials::InvalidCredentialId,
            credentials::InvalidMarker, credentials::InvalidMaxItems, credentials::InvalidParameter,
            credentials::InvalidPolicy, credentials::InvalidServiceName,
            credentials::InvalidServiceUserName, credentials::InvalidStatus,
            credentials::InvalidUserName, credentials::IssuedCredential, credentials::ListRequest,
            credentials::Marker, credentials::MaxItems,
            credentials::Numbering, credentials::Page<credentials::Credential>,
            credentials::Page<credentials::User>, credentials::Policy, credentials::PolicyBuilder,
            credentials::Denial, credentials::DenialReason,
            credentials::RngEntropy<rand::rngs::ChaCha20Rng>, credentials::Secret,
            credentials::ServiceName, credentials::ServiceUserName, credentials::Status,
            credentials::SystemClock, credentials::SystemEntropy, credentials::User,
            credentials::UserId, credentials::UserName,
            store::Change, store::CommitOutcome, store::Key<'static>, store::Listing<'static>,
            store::MemoryStore,
            store::ScanRange<'static>, store::Revision, store::StoreError, store::UserRecord,
            testing::FixedClock, testing::Obligation, testing::SeededEntropy,
            testing::Suite<'static>, testing::Violation,
            Box<dyn credentials::Clock>, Box<dyn credentials::Entropy>, Box<dyn store::Store>,
        }
    }
}
