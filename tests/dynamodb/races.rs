//! Guarantees under concurrency, with many clients.

use std::{num::NonZeroUsize, ops::Bound, sync::Arc};

use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    store::{AsyncStore as _, DynamoDbStore, Key, Listing, ScanRange, copy_users},
};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    local::{Table, shared, wait},
};

const CALLERS: usize = 16;

fn manager(store: DynamoDbStore) -> AsyncCredentialManager<DynamoDbStore> {
    AsyncCredentialManager::new(name(ACCOUNT), store)
}

/// A manager for each caller, with its own client and connections, like separate processes.
fn callers(table: &Table) -> Vec<AsyncCredentialManager<DynamoDbStore>> {
    (0..CALLERS).map(|_| manager(table.store())).collect()
}

#[test]
fn sixteen_clients_that_create_for_one_user_create_two() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let callers = callers(&table);
        for round in 0..10 {
            let user: UserName = name(&format!("user-{round}"));
            callers[0].register_user(&user).await.unwrap();
            let barrier = Arc::new(Barrier::new(CALLERS));
            let mut tasks = JoinSet::new();
            for iam in &callers {
                let (iam, user, barrier) = (iam.clone(), user.clone(), Arc::clone(&barrier));
                tasks.spawn(async move {
                    barrier.wait().await;
                    iam.create(&user, &name(CODECOMMIT)).await
                });
            }
            let mut created = Vec::new();
            for result in tasks.join_all().await {
                match result {
                    Ok(issued) => created.push(issued.id().clone()),
                    Err(Error::LimitExceeded { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            let mut listed: Vec<_> = callers[1].list(&user).await.unwrap();
            assert_eq!(listed.len(), 2);
            listed.retain(|credential| created.contains(credential.id()));
            assert_eq!((listed.len(), created.len()), (2, 2));
        }
        assert_eq!(table.check().await.len(), 10);
    });
}

/// Every client changes its own records, and a shared one.
#[test]
fn sixteen_writers_lose_no_change() {
    const ROUNDS: usize = 10;
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let callers = callers(&table);
        let shared: UserName = name("shared");
        callers[0].register_user(&shared).await.unwrap();
        let issued = callers[0].create(&shared, &name(CODECOMMIT)).await.unwrap();
        let mut tasks = JoinSet::new();
        for (number, iam) in callers.iter().enumerate() {
            let (iam, shared, id) = (iam.clone(), shared.clone(), issued.id().clone());
            tasks.spawn(async move {
                let (user, renamed) = (format!("user-{number}"), format!("renamed-{number}"));
                let (user, renamed): (UserName, UserName) = (name(&user), name(&renamed));
                iam.register_user(&user).await.unwrap();
                for _ in 0..ROUNDS {
                    let own = iam.create(&user, &name(CODECOMMIT)).await.unwrap();
                    iam.rename_user(&user, &renamed).await.unwrap();
                    let _ = iam.reset(&shared, &id).await.unwrap();
                    iam.delete(&renamed, own.id()).await.unwrap();
                    iam.rename_user(&renamed, &user).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let records = table.check().await;
        assert_eq!(records.len(), CALLERS + 1);
        for record in records {
            let changes = if *record.name() == shared { 1 + CALLERS * ROUNDS } else { 4 * ROUNDS };
            assert_eq!(record.revision().count(), changes as u64, "{}", record.name());
        }
    });
}

/// Two users exchange names.
#[test]
fn renames_that_cross_are_both_rejected() {
    const ROUNDS: usize = 20;
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let iam = manager(table.store());
        let (left, right): (UserName, UserName) = (name("left"), name("right"));
        iam.register_user(&left).await.unwrap();
        iam.register_user(&right).await.unwrap();
        for _ in 0..ROUNDS {
            let (one, two) =
                tokio::join!(iam.rename_user(&left, &right), iam.rename_user(&right, &left));
            assert!(matches!(one, Err(Error::UserExists { .. })), "{one:?}");
            assert!(matches!(two, Err(Error::UserExists { .. })), "{two:?}");
        }
        assert_eq!(table.check().await.len(), 2);
    });
}

#[test]
fn many_processes_create_the_table_at_once() {
    let Some(server) = shared() else { return };
    wait(async {
        for _ in 0..5 {
            let table = server.unused();
            let mut tasks = JoinSet::new();
            for _ in 0..CALLERS {
                let store = table.store();
                tasks.spawn(async move { store.create_table().await });
            }
            for created in tasks.join_all().await {
                created.unwrap();
            }
            manager(table.store()).register_user(&name("anika")).await.unwrap();
            assert_eq!(table.check().await.len(), 1);
        }
    });
}

/// A registration with a held user id does not change the user who holds it.
#[test]
fn a_registration_with_an_id_that_is_held_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let (table, second) = (server.table().await, server.table().await);
        let (store, copy) = (table.store(), second.store());
        let iam = manager(store.clone());
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        assert_eq!(copy_users(&store, &copy, name(ACCOUNT)).await.unwrap(), 1);
        iam.rename_user(&anika, &name("beate")).await.unwrap();
        let again = copy_users(&store, &copy, name(ACCOUNT)).await;
        assert_eq!(
            again.unwrap_err().to_string(),
            "the store to copy to has a conflict on a key of the user beate"
        );
        let records = second.check().await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].name(), &anika);
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        assert!(copy.find(&key).await.unwrap().is_some());
    });
}

#[test]
fn two_stores_on_one_table_are_one() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let other = table.store();
        let (one, two) = (manager(table.store()), manager(other.clone()));
        let anika: UserName = name("anika");
        one.register_user(&anika).await.unwrap();
        let issued = two.create(&anika, &name(CODECOMMIT)).await.unwrap();
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        let identity = one.authenticate(&name(CODECOMMIT), login, secret).await.unwrap();
        assert_eq!(identity.user_name(), &anika);
        one.delete(&anika, issued.id()).await.unwrap();
        assert!(two.authenticate(&name(CODECOMMIT), login, secret).await.is_err());
        let listing = Listing::Holders { service: None };
        let range = ScanRange::new(name(ACCOUNT), listing, Bound::Unbounded, NonZeroUsize::MIN);
        assert!(other.scan(&range).await.unwrap().is_empty());
        two.remove_user(&anika).await.unwrap();
        assert!(matches!(one.remove_user(&anika).await, Err(Error::NoSuchUser { .. })));
        assert!(table.check().await.is_empty());
    });
}
