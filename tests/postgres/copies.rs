//! Copies users from a file to a database, with all of their data.

use service_specific_credentials::{
    AsyncCredentialManager, CreateOptions, CredentialManager, Lifetime, MemoryStore, Status,
    UserName,
    store::{
        CopyError, PostgresOptions, PostgresStore, RedbStore, Store as _, SyncAdapter, copy_users,
    },
};

use crate::{
    cases::all_accounts_are_copied,
    common::{ACCOUNT, BEDROCK, CODECOMMIT, Folder, name},
    database::{shared, wait},
};

#[test]
fn users_copied_from_a_file_work_in_a_database() {
    const USERS: usize = 250;
    let Some(server) = shared() else { return };
    let folder = Folder::new("copies");
    let file = RedbStore::create(folder.file("store.redb")).unwrap();
    let old = CredentialManager::new(name(ACCOUNT), file.clone());
    let user = |number: usize| name::<UserName>(&format!("User-{number:03}"));
    let mut issued = Vec::new();
    for number in 0..USERS {
        old.register_user(&user(number)).unwrap();
        if number % 10 == 0 {
            issued.push(old.create(&user(number), &name(CODECOMMIT)).unwrap());
            let age = Lifetime::days(90).unwrap();
            let key = old
                .create_with_options(
                    &user(number),
                    &name(BEDROCK),
                    &CreateOptions::new().lifetime(age),
                )
                .unwrap();
            old.set_status(&user(number), key.id(), Status::Inactive).unwrap();
        }
    }
    let renewed = old.reset(&user(0), issued[0].id()).unwrap();
    old.for_account(name("210987654321")).register_user(&user(0)).unwrap();

    wait(async {
        let space = server.space().await;
        let database = space.store(&PostgresOptions::new()).await;
        let account = name(ACCOUNT);
        // As if an earlier call had stopped in the middle.
        let half = SyncAdapter::new(MemoryStore::new());
        copy_users(&file.clone().into_async(), &half, account).await.unwrap();
        let some = CredentialManager::new(account, half.get_ref());
        for number in 120..USERS {
            some.remove_user_with_credentials(&user(number)).unwrap();
        }
        assert_eq!(copy_users(&half, &database, account).await.unwrap(), 120);
        assert_eq!(
            copy_users(&file.clone().into_async(), &database, account).await.unwrap(),
            USERS - 120
        );
        assert_eq!(copy_users(&file.clone().into_async(), &database, account).await.unwrap(), 0);

        for record in space.check().await {
            let key =
                service_specific_credentials::store::Key::User { account, name: record.name() };
            let original = file.find(&key).unwrap().unwrap();
            assert_eq!(original.encode(), record.encode());
        }
        assert_eq!(
            space.check().await.len(),
            USERS,
            "users of the other account must not be copied"
        );
        let new = AsyncCredentialManager::new(account, database);
        let codecommit = name(CODECOMMIT);
        for issued in issued.iter().skip(1).chain([&renewed]) {
            let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
            let identity = new.authenticate(&codecommit, login, secret).await.unwrap();
            assert_eq!(identity.credential_id(), issued.id());
        }
        let (login, secret) = (issued[0].service_user_name().as_str(), issued[0].secret().expose());
        assert!(new.authenticate(&codecommit, login, secret).await.is_err());
        for number in 0..USERS {
            let listed = new.list(&user(number)).await.unwrap();
            assert_eq!(listed, old.list(&user(number)).unwrap());
        }
    });
}

#[test]
fn copying_a_user_whose_name_is_taken_fails() {
    let old = CredentialManager::new(name(ACCOUNT), MemoryStore::new());
    let new = CredentialManager::new(name(ACCOUNT), MemoryStore::new());
    for user in ["anika", "beate", "claus"] {
        old.register_user(&name(user)).unwrap();
    }
    new.register_user(&name("Beate")).unwrap();
    let (from, to) = (SyncAdapter::new(old.store()), SyncAdapter::new(new.store()));
    let error = wait(copy_users(&from, &to, name(ACCOUNT))).unwrap_err();
    assert!(matches!(&error, CopyError::Taken { user, .. } if user.as_str() == "beate"));
    assert!(new.user(&name("anika")).is_ok());
    assert!(new.user(&name("claus")).is_err());
}

#[test]
fn users_of_all_accounts_are_copied_to_another_database() {
    let Some(server) = shared() else { return };
    wait(async {
        let (space, second, options) =
            (server.space().await, server.space().await, PostgresOptions::new());
        let (from, to) = (space.store(&options).await, second.store(&options).await);
        all_accounts_are_copied(&from, &to, PostgresStore::accounts).await;
    });
}
