//! Operations on a credential whose user changes between two reads of the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use service_specific_credentials::{
    AccountId, CredentialId, CredentialManager, Error, MemoryStore, ServiceName, Status, UserName,
    store::{Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord},
};

/// A store whose first reads return what was committed earlier.
#[derive(Debug, Default)]
struct Stale {
    current: MemoryStore,
    earlier: Mutex<VecDeque<Option<Arc<UserRecord>>>>,
}

impl Store for Stale {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        let earlier = self.earlier.lock().unwrap().pop_front();
        earlier.map_or_else(|| self.current.find(key), Ok)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.current.commit(change)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.current.scan(range)
    }
}

struct World {
    iam: CredentialManager<Stale>,
    anika: UserName,
    /// The record of `anika` without a credential.
    before: Arc<UserRecord>,
}

impl World {
    fn new() -> Self {
        let account: AccountId = "123456789012".parse().unwrap();
        let iam = CredentialManager::new(account, Stale::default());
        let anika: UserName = "anika".parse().unwrap();
        iam.register_user(&anika).unwrap();
        let before = iam.store().find(&Key::User { account, name: &anika }).unwrap().unwrap();
        Self { iam, anika, before }
    }

    fn create(&self) -> CredentialId {
        let codecommit: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
        self.iam.create(&self.anika, &codecommit).unwrap().id().clone()
    }

    fn replace_user(&self) {
        self.iam.remove_user(&self.anika).unwrap();
        self.iam.register_user(&self.anika).unwrap();
    }

    /// Disables a credential of `anika`; these are the results of the first reads.
    fn disable(
        &self,
        id: &CredentialId,
        earlier: impl IntoIterator<Item = Option<Arc<UserRecord>>>,
    ) -> Result<(), Error> {
        *self.iam.store().earlier.lock().unwrap() = earlier.into_iter().collect();
        self.iam.set_status(&self.anika, id, Status::Inactive).map(drop)
    }
}

#[test]
fn a_credential_that_was_created_meanwhile_is_found() {
    let world = World::new();
    let id = world.create();
    world.disable(&id, [Some(Arc::clone(&world.before))]).unwrap();
}

#[test]
fn a_credential_of_a_user_who_was_replaced_meanwhile_is_found() {
    let world = World::new();
    world.replace_user();
    let id = world.create();
    world.disable(&id, [Some(Arc::clone(&world.before))]).unwrap();
    // It was created after the second read.
    world.disable(&id, [Some(Arc::clone(&world.before)), None]).unwrap();
}

#[test]
fn a_user_who_was_renamed_meanwhile_does_not_exist() {
    let world = World::new();
    let id = world.create();
    world.iam.rename_user(&world.anika, &"carla".parse().unwrap()).unwrap();
    let error = world.disable(&id, [Some(Arc::clone(&world.before))]).unwrap_err();
    assert!(matches!(error, Error::NoSuchUser { .. }), "{error}");
}

#[test]
fn a_credential_of_another_user_or_of_none_is_reported_so() {
    let world = World::new();
    let id = world.create();
    let ben: UserName = "ben".parse().unwrap();
    world.iam.register_user(&ben).unwrap();
    let error = world.iam.set_status(&ben, &id, Status::Inactive).unwrap_err();
    assert!(matches!(error, Error::CredentialOfAnotherUser { .. }), "{error}");
    world.iam.delete(&world.anika, &id).unwrap();
    let error = world.disable(&id, []).unwrap_err();
    assert!(matches!(error, Error::NoSuchCredential { .. }), "{error}");
}
