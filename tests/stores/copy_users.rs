//! Copying users from store to store.

use std::{
    future::Future as _,
    pin::pin,
    task::{Context, Poll, Waker},
};

use service_specific_credentials::{
    CredentialManager, MemoryStore,
    store::{self, CopyError, SyncAdapter},
};

use crate::common::{ACCOUNT, CODECOMMIT, name};

/// Copies the users of a store into another one that never waits.
fn copy(from: &MemoryStore, to: &MemoryStore) -> Result<usize, CopyError> {
    let (from, to) = (SyncAdapter::new(from), SyncAdapter::new(to));
    let copying = pin!(store::copy_users(&from, &to, name(ACCOUNT)));
    match copying.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(copied) => copied,
        Poll::Pending => panic!("a store that never waits has waited"),
    }
}

#[test]
fn a_copy_that_is_made_again_goes_on_and_overwrites_nothing() {
    let [old, new] = [MemoryStore::new(), MemoryStore::new()];
    let [here, there] = [&old, &new].map(|store| CredentialManager::new(name(ACCOUNT), store));
    for user in ["anika", "ben"] {
        here.register_user(&name(user)).unwrap();
    }
    assert_eq!(copy(&old, &new).unwrap(), 2);
    here.register_user(&name("carla")).unwrap();
    assert_eq!(copy(&old, &new).unwrap(), 1);

    // Under the name that is free now, the same user would be there twice.
    let renamed = there.rename_user(&name("anika"), &name("anna")).unwrap();
    let error = copy(&old, &new).unwrap_err();
    assert!(matches!(&error, CopyError::Taken { user, .. } if *user == name("anika")), "{error}");
    assert_eq!(there.user(&name("anna")).unwrap(), renamed);
    assert!(there.user(&name("anika")).is_err());

    // Changed once in both, and not to the same.
    there.rename_user(&name("anna"), &name("anika")).unwrap();
    for _ in 0..2 {
        let _ = here.create(&name("anika"), &name(CODECOMMIT)).unwrap();
    }
    assert!(copy(&old, &new).is_err());
    assert_eq!(there.list(&name("anika")).unwrap(), []);
}
