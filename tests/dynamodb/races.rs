//! Guarantees under concurrent changes of many clients.

use service_specific_credentials::{AsyncCredentialManager, Error, UserName, store::DynamoDbStore};
use tokio::task::JoinSet;

use crate::{
    cases::{
        CALLERS, a_repeated_copy_does_not_register_a_user_twice,
        changes_of_one_store_are_visible_to_another, creations_stop_at_the_limit, manager,
        one_of_two_users_with_an_id_is_registered,
    },
    common::{CODECOMMIT, name},
    local::{Table, shared, wait},
};

/// A manager for each caller, with its own client and connections, like separate processes.
fn callers(table: &Table) -> Vec<AsyncCredentialManager<DynamoDbStore>> {
    (0..CALLERS).map(|_| manager(table.store())).collect()
}

#[test]
fn concurrent_creations_for_one_user_stop_at_the_limit() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let callers = callers(&table);
        creations_stop_at_the_limit(&callers).await;
        assert_eq!(table.check().await.len(), 10);
    });
}

/// Each client changes a record of its own and a shared record.
#[test]
fn concurrent_writers_lose_no_update() {
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

/// Each of two users is renamed to the name of the other.
#[test]
fn crossing_renames_are_both_rejected() {
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
fn concurrent_calls_of_create_table_succeed() {
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

#[test]
fn a_registration_with_a_user_id_in_use_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let (table, second) = (server.table().await, server.table().await);
        a_repeated_copy_does_not_register_a_user_twice(table.store(), second.store()).await;
        assert_eq!(second.check().await.len(), 1);
        for race in [false, true] {
            let table = server.table().await;
            one_of_two_users_with_an_id_is_registered(table.store(), race).await;
            assert_eq!(table.check().await.len(), 1);
        }
    });
}

#[test]
fn changes_through_one_store_are_visible_through_another() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        changes_of_one_store_are_visible_to_another(table.store(), table.store()).await;
        assert!(table.check().await.is_empty());
    });
}
