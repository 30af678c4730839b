//! Every handle that a server clones can be cloned, whatever its store can do, and shared by
//! threads.

use service_specific_credentials::{
    AsyncAuthenticator, AsyncCredentialManager, Authenticator, CredentialManager, MemoryStore,
    UserName,
    http::{AsyncHttpAuthenticator, HttpAuthenticator},
    store::{AsyncRedbStore, DynAsyncStore, PostgresStore, RedbStore, SyncAdapter},
    testing::FailingStore,
};

use crate::common::{ACCOUNT, name};

fn is_handle<T: Clone + Send + Sync + 'static>() {}

/// A store that cannot be cloned.
struct NotClone(#[expect(dead_code, reason = "makes the type what a store may be")] Box<[u8]>);

#[test]
fn handles_are_clone() {
    is_handle::<CredentialManager<NotClone>>();
    is_handle::<AsyncCredentialManager<NotClone>>();
    is_handle::<Authenticator<NotClone>>();
    is_handle::<AsyncAuthenticator<NotClone>>();
    is_handle::<HttpAuthenticator<NotClone>>();
    is_handle::<AsyncHttpAuthenticator<NotClone>>();
    is_handle::<MemoryStore>();
    is_handle::<RedbStore>();
    is_handle::<AsyncRedbStore>();
    is_handle::<PostgresStore>();
    is_handle::<DynAsyncStore>();
    is_handle::<SyncAdapter<MemoryStore>>();
    is_handle::<FailingStore<MemoryStore>>();
}

#[test]
fn a_clone_of_a_memory_store_has_the_same_data() {
    let store = MemoryStore::new();
    let [one, other] = [store.clone(), store].map(|it| CredentialManager::new(name(ACCOUNT), it));
    let anika: UserName = name("anika");
    let user = one.register_user(&anika).unwrap();
    assert_eq!(other.user(&anika).unwrap(), user);
    assert_eq!(other.clone().user(&anika).unwrap(), user);
}
