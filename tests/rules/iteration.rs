//! Iterators and pagers over listings.

use service_specific_credentials::{
    AsyncCredentialManager, Error, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Policy,
    store::SyncAdapter,
    testing::{FailingStore, Fault, When},
};

use crate::common::{ACCOUNT, CODECOMMIT, manager, name};

fn two() -> MaxItems {
    MaxItems::new(2).unwrap()
}

const USERS: [&str; 5] = ["anika", "bo", "carl", "dora", "eva"];

#[test]
fn an_iterator_returns_every_item_of_every_page() {
    let (iam, _) = manager(MemoryStore::new(), Policy::default());
    assert!(iam.users(ListUsersRequest::new()).next().is_none());
    assert!(iam.credentials(ListRequest::all_users()).next().is_none());
    for user in USERS {
        iam.register_user(&name(user)).unwrap();
        let _issued = iam.create(&name(user), &name(CODECOMMIT)).unwrap();
    }
    let users = iam.users(ListUsersRequest::new().max_items(two()));
    let users: Vec<_> = users.map(|user| user.unwrap().name().to_string()).collect();
    assert_eq!(users, USERS);
    let credentials = iam.credentials(ListRequest::all_users().max_items(two()));
    let credentials: Vec<_> =
        credentials.map(|credential| credential.unwrap().user_name().to_string()).collect();
    assert_eq!(credentials, USERS);
    let of_bo: Vec<_> = iam.credentials(ListRequest::of(name("bo"))).map(Result::unwrap).collect();
    assert_eq!(of_bo, iam.list(&name("bo")).unwrap());

    // From the page of a marker on.
    let first = ListUsersRequest::new().max_items(two());
    let marker = iam.list_users_page(&first).unwrap().next;
    assert_eq!(iam.users(first.marker(marker)).count(), 3);
}

#[test]
fn an_iterator_ends_after_an_error() {
    let store = FailingStore::new(MemoryStore::new());
    let (iam, _) = manager(store.clone(), Policy::default());
    for user in USERS {
        iam.register_user(&name(user)).unwrap();
    }
    let mut users = iam.users(ListUsersRequest::new().max_items(two()));
    assert!(users.by_ref().take(2).all(|user| user.is_ok()));
    store.fail(Fault::Read, When::Always);
    assert!(matches!(users.next(), Some(Err(Error::Store(_)))));
    store.recover();
    assert!(users.next().is_none(), "it ends");
    let missing = iam.credentials(ListRequest::of(name("nobody"))).next();
    assert!(matches!(missing, Some(Err(Error::NoSuchUser { .. }))));
}

#[test]
fn a_pager_returns_every_item_and_goes_on_after_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = FailingStore::new(SyncAdapter::new(MemoryStore::new()));
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store.clone());
        for user in USERS {
            iam.register_user(&name(user)).await.unwrap();
            let _issued = iam.create(&name(user), &name(CODECOMMIT)).await.unwrap();
        }
        let mut users = iam.users(ListUsersRequest::new().max_items(two()));
        let mut names = Vec::new();
        store.fail(Fault::Read, When::EveryNth(2.try_into().unwrap()));
        loop {
            match users.next().await {
                Ok(Some(user)) => names.push(user.name().to_string()),
                Ok(None) => break,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
        assert_eq!(names, USERS);
        assert!(store.injected() > 0);
        store.recover();

        let mut credentials = iam.credentials(ListRequest::all_users().max_items(two()));
        assert_eq!(credentials.next().await.unwrap().unwrap().user_name(), &name("anika"));
        let mut sizes = Vec::new();
        while let Some(page) = credentials.next_page().await.unwrap() {
            sizes.push(page.len());
        }
        assert_eq!(sizes, [1, 2, 1]);
        assert!(credentials.next().await.unwrap().is_none());
    });
}
