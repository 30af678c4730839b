//! The store that fails on demand.

use service_specific_credentials::{
    CredentialManager, Error, ListUsersRequest, MemoryStore,
    store::{Change, CommitOutcome, Key, Store as _, SyncAdapter},
    testing::{FailingStore, Fault, InjectedFault, Suite, When},
};

use crate::common::{ACCOUNT, name};

fn world() -> (FailingStore<MemoryStore>, CredentialManager<FailingStore<MemoryStore>>) {
    let store = FailingStore::new(MemoryStore::new());
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    (store, iam)
}

/// Whether each of nine reads fails.
fn reads(iam: &CredentialManager<FailingStore<MemoryStore>>) -> String {
    let read = |_| match iam.list_users_page(&ListUsersRequest::new()) {
        Ok(_) => '.',
        Err(Error::Store(error)) => {
            assert!(error.get_ref().is::<InjectedFault>());
            'F'
        }
        Err(error) => panic!("{error:?}"),
    };
    (0..9).map(read).collect()
}

#[test]
fn reads_fail_as_scheduled() {
    let (store, iam) = world();
    assert_eq!(reads(&iam), ".........");
    for (when, expected) in [
        (When::Once, "F........"),
        (When::EveryNth(1.try_into().unwrap()), "FFFFFFFFF"),
        (When::EveryNth(3.try_into().unwrap()), "..F..F..F"),
        (When::EveryNth(u64::MAX.try_into().unwrap()), "........."),
        (When::Always, "FFFFFFFFF"),
    ] {
        let before = store.injected();
        store.fail(Fault::Read, when);
        assert_eq!(reads(&iam), expected, "{when:?}");
        let failed = expected.matches('F').count() as u64;
        assert_eq!(store.injected() - before, failed);
    }
    store.recover();
    assert_eq!(reads(&iam), ".........");
    store.fail(Fault::CommitBefore, When::Always);
    store.fail(Fault::CommitAfter, When::Always);
    assert_eq!(reads(&iam), ".........", "commits fail, and reads do not");
}

#[test]
fn commits_fail_before_or_after_they_are_applied() {
    for (fault, is_applied) in [(Fault::CommitBefore, false), (Fault::CommitAfter, true)] {
        let (store, iam) = world();
        store.fail(fault, When::EveryNth(2.try_into().unwrap()));
        iam.register_user(&name("anika")).unwrap();
        let error = iam.register_user(&name("bo")).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        let inside = CredentialManager::new(name(ACCOUNT), store.get_ref());
        assert_eq!(inside.user(&name("bo")).is_ok(), is_applied);
        iam.register_user(&name("carl")).unwrap();
    }
}

#[test]
fn a_commit_that_applies_nothing_does_not_fail_afterwards() {
    let (store, iam) = world();
    iam.register_user(&name("anika")).unwrap();
    let key = Key::User { account: name(ACCOUNT), name: &name("anika") };
    let record = store.find(&key).unwrap().unwrap();
    store.fail(Fault::CommitAfter, When::Once);
    let outcome = store.commit(&Change::Register { record }).unwrap();
    assert_eq!(outcome, CommitOutcome::KeyTaken);
    assert_eq!(store.injected(), 0);
    iam.register_user(&name("bo")).unwrap_err();
    assert_eq!(store.injected(), 1);
}

#[test]
fn without_a_fault_it_is_a_store() {
    Suite::test_all(async || (FailingStore::new(SyncAdapter::new(MemoryStore::new())), ()));
    Suite::test_all(async || (SyncAdapter::new(FailingStore::new(MemoryStore::new())), ()));
}
