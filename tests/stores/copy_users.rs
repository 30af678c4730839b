//! Copies users from one store to another.

use std::{
    collections::BTreeMap,
    future::Future as _,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use service_specific_credentials::{
    AccountId, CredentialManager, ListUsersRequest, MemoryStore, UserName,
    store::{self, CopyError, CopyProgress, CopyUsers, RedbStore, Store, SyncAdapter},
    testing::{FailingStore, Fault, When},
};

use crate::common::{ACCOUNT, CODECOMMIT, Folder, name};

/// Copies between stores whose futures are always ready.
fn copy(from: &MemoryStore, to: &MemoryStore) -> Result<usize, CopyError> {
    let (from, to) = (SyncAdapter::new(from), SyncAdapter::new(to));
    let copying = pin!(store::copy_users(&from, &to, name(ACCOUNT)));
    match copying.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(copied) => copied,
        Poll::Pending => panic!("the future of a sync store is always ready"),
    }
}

#[test]
fn a_repeated_copy_continues_and_overwrites_nothing() {
    let [old, new] = [MemoryStore::new(), MemoryStore::new()];
    let [here, there] = [&old, &new].map(|store| CredentialManager::new(name(ACCOUNT), store));
    for user in ["anika", "ben"] {
        here.register_user(&name(user)).unwrap();
    }
    assert_eq!(copy(&old, &new).unwrap(), 2);
    here.register_user(&name("carla")).unwrap();
    assert_eq!(copy(&old, &new).unwrap(), 1);

    // The same user is registered there under another name: the free name must not be used.
    let renamed = there.rename_user(&name("anika"), &name("anna")).unwrap();
    let error = copy(&old, &new).unwrap_err();
    assert!(matches!(&error, CopyError::Taken { user, .. } if *user == name("anika")), "{error}");
    assert_eq!(there.user(&name("anna")).unwrap(), renamed);
    assert!(there.user(&name("anika")).is_err());

    // Both stores have the same number of changes, but different names.
    there.rename_user(&name("anna"), &name("anika")).unwrap();
    for _ in 0..2 {
        let _ = here.create(&name("anika"), &name(CODECOMMIT)).unwrap();
    }
    assert!(copy(&old, &new).is_err());
    assert_eq!(there.list(&name("anika")).unwrap(), []);
}

const ACCOUNTS: [&str; 3] = ["000000000000", ACCOUNT, "999999999999"];
const USERS: usize = 250;

fn user(number: usize) -> UserName {
    name(&format!("User-{number:03}"))
}

/// A store with users in three accounts, each of whom has a credential.
fn populate(store: &impl Store) {
    for account in ACCOUNTS {
        let iam = CredentialManager::new(name(account), store);
        for number in 0..USERS {
            iam.register_user(&user(number)).unwrap();
            let _issued = iam.create(&user(number), &name(CODECOMMIT)).unwrap();
        }
    }
}

/// All that a listing shows of the three accounts.
fn dump(store: &impl Store) -> Vec<String> {
    let of = |account| {
        let iam = CredentialManager::new(name(account), store);
        let users: Vec<_> = iam.users(ListUsersRequest::default()).map(Result::unwrap).collect();
        let all = service_specific_credentials::ListRequest::all_users();
        let credentials: Vec<_> = iam.credentials(all).map(Result::unwrap).collect();
        format!("{users:?} {credentials:?}")
    };
    ACCOUNTS.map(of).to_vec()
}

#[test]
fn all_accounts_are_copied_and_progress_is_reported() {
    let from = MemoryStore::new();
    assert_eq!(from.accounts(), []);
    populate(&from);
    let accounts = ACCOUNTS.map(name::<AccountId>);
    assert_eq!(from.accounts(), accounts);

    let folder = Folder::new("copy-users");
    let file = RedbStore::create(folder.file("store.redb")).unwrap();
    assert_eq!(file.accounts().unwrap(), []);
    for concurrency in [1, 16, 1000] {
        let to = MemoryStore::new();
        let seen = Mutex::new(BTreeMap::<AccountId, Vec<CopyProgress>>::new());
        let copy = CopyUsers::new(from.accounts())
            .concurrency(concurrency.try_into().unwrap())
            .progress(|progress| {
                seen.lock().unwrap().entry(progress.account()).or_default().push(*progress);
            });
        assert_eq!(copy.run(&from, &to).unwrap(), 3 * USERS);
        assert_eq!(dump(&to), dump(&from));
        for progress in seen.lock().unwrap().values() {
            let mut totals: Vec<_> = progress.iter().map(CopyProgress::total).collect();
            totals.sort_unstable();
            assert_eq!(totals, (1..=USERS).collect::<Vec<_>>());
            assert!(progress.iter().all(|it| (it.copied(), it.present()) == (it.total(), 0)));
        }
        seen.lock().unwrap().clear();
        assert_eq!(copy.run(&from, &to).unwrap(), 0);
        for progress in seen.lock().unwrap().values() {
            assert_eq!(progress.iter().map(CopyProgress::total).max(), Some(USERS));
            assert!(progress.iter().all(|it| (it.copied(), it.present()) == (0, it.total())));
        }
        assert_eq!(seen.lock().unwrap().len(), ACCOUNTS.len());
    }
    assert_eq!(CopyUsers::new(from.accounts()).run(&from, &file).unwrap(), 3 * USERS);
    assert_eq!(file.accounts().unwrap(), accounts);
    assert_eq!(dump(&file), dump(&from));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (file, back) = (file.into_async(), SyncAdapter::new(MemoryStore::new()));
        let accounts = file.accounts().await.unwrap();
        let copy = CopyUsers::new(accounts);
        assert_eq!(copy.run_async(&file, &back).await.unwrap(), 3 * USERS);
        assert_eq!(dump(back.get_ref()), dump(&from));
    });
}

#[test]
fn an_interrupted_copy_is_repeated() {
    let (from, to) = (FailingStore::new(MemoryStore::new()), FailingStore::new(MemoryStore::new()));
    populate(from.get_ref());
    let copy = CopyUsers::new(ACCOUNTS.map(name));
    for (store, fault) in [
        (&from, Fault::Read),
        (&to, Fault::Read),
        (&to, Fault::CommitBefore),
        (&to, Fault::CommitAfter),
    ] {
        // At most 150 calls apart, so that each attempt gets ahead.
        let every = if fault == Fault::Read { 3 } else { 150 };
        store.fail(fault, When::EveryNth(every.try_into().unwrap()));
        let error = copy.run(&from, &to).unwrap_err();
        match error {
            CopyError::Read(_) => assert!(std::ptr::eq(store, &raw const from)),
            CopyError::Write(_) => assert!(std::ptr::eq(store, &raw const to)),
            error => panic!("{error}"),
        }
        store.recover();
    }
    copy.run(&from, &to).unwrap();
    assert_eq!(dump(to.get_ref()), dump(from.get_ref()));
}
