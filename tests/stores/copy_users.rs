//! Copies users from one store to another.

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
