//! Copies users between kinds of stores and back, with all of their data.

use service_specific_credentials::{
    AsyncCredentialManager, CreateOptions, CredentialManager, IssuedCredential, Lifetime, Status,
    UserName,
    store::{
        AsyncStore, DynamoDbStore, Listing, PostgresOptions, RedbStore, ScanRange, copy_users,
    },
};
use std::{num::NonZeroUsize, ops::Bound};

use crate::{
    cases::all_accounts_are_copied,
    common::{ACCOUNT, BEDROCK, CODECOMMIT, Folder, name},
    local::{shared, wait},
    postgres,
};

const USERS: usize = 250;

fn user(number: usize) -> UserName {
    name(&format!("User-{number:03}"))
}

/// Registers users in a file. Creates two credentials for every tenth user, and returns the
/// passwords.
fn fill(file: &RedbStore) -> Vec<IssuedCredential> {
    let iam = CredentialManager::new(name(ACCOUNT), file.clone());
    let mut issued = Vec::new();
    for number in 0..USERS {
        iam.register_user(&user(number)).unwrap();
        if number % 10 == 0 {
            let first = iam.create(&user(number), &name(CODECOMMIT)).unwrap();
            issued.push(iam.reset(&user(number), first.id()).unwrap());
            let lifetime = Lifetime::days(90).unwrap();
            let key = iam
                .create_with_options(
                    &user(number),
                    &name(BEDROCK),
                    &CreateOptions::new().lifetime(lifetime),
                )
                .unwrap();
            iam.set_status(&user(number), key.id(), Status::Inactive).unwrap();
        }
    }
    iam.for_account(name("210987654321")).register_user(&user(0)).unwrap();
    issued
}

/// The encoded records of all users, sorted by name.
async fn records(store: &impl AsyncStore) -> Vec<Vec<u8>> {
    let limit = NonZeroUsize::new(10 * USERS).unwrap();
    let range = ScanRange::new(name(ACCOUNT), Listing::Users, Bound::Unbounded, limit);
    store.scan(&range).await.unwrap().iter().map(|record| record.encode()).collect()
}

/// Copies the users. Checks that the records are equal and that the passwords authenticate.
async fn copy_and_check(
    from: &impl AsyncStore,
    to: &(impl AsyncStore + Clone),
    issued: &[IssuedCredential],
) {
    let account = name(ACCOUNT);
    assert_eq!(copy_users(from, to, account).await.unwrap(), USERS);
    assert_eq!(copy_users(from, to, account).await.unwrap(), 0);
    let copied = records(to).await;
    assert!(copied.len() == USERS && copied == records(from).await);
    let iam = AsyncCredentialManager::new(account, to.clone());
    for issued in issued {
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        let identity = iam.authenticate(&name(CODECOMMIT), login, secret).await.unwrap();
        assert_eq!(identity.credential_id(), issued.id());
    }
}

#[test]
fn users_are_copied_from_a_file_to_a_table_and_back() {
    let Some(server) = shared() else { return };
    let folder = Folder::new("dynamodb-file");
    let file = RedbStore::create(folder.file("first.redb")).unwrap();
    let issued = fill(&file);
    wait(async {
        let table = server.table().await;
        copy_and_check(&file.into_async(), &table.store(), &issued).await;
        assert_eq!(table.check().await.len(), USERS, "only users of the given account are copied");
        let back = RedbStore::create(folder.file("second.redb")).unwrap();
        copy_and_check(&table.store(), &back.into_async(), &issued).await;
    });
}

#[test]
fn users_are_copied_from_a_database_to_a_table_and_back() {
    let (Some(server), Some(database)) = (shared(), postgres::shared()) else { return };
    let folder = Folder::new("dynamodb-database");
    let file = RedbStore::create(folder.file("first.redb")).unwrap();
    let issued = fill(&file);
    wait(async {
        let options = PostgresOptions::new();
        let first = database.space().await.store(&options).await;
        copy_and_check(&file.into_async(), &first, &issued).await;
        let table = server.table().await;
        copy_and_check(&first, &table.store(), &issued).await;
        assert_eq!(table.check().await.len(), USERS);
        let back = database.space().await.store(&options).await;
        copy_and_check(&table.store(), &back, &issued).await;
    });
}

#[test]
fn users_of_all_accounts_are_copied_to_another_table() {
    let Some(server) = shared() else { return };
    wait(async {
        let (table, second) = (server.table().await, server.table().await);
        let list = DynamoDbStore::accounts;
        all_accounts_are_copied(&table.store(), &second.store(), list).await;
    });
}
