//! Guarantees under concurrency, over many connections.

use std::{num::NonZeroUsize, ops::Bound, sync::Arc};

use service_specific_credentials::{
    AsyncCredentialManager, CredentialManager, Error, MemoryStore, UserName,
    store::{
        AsyncStore as _, Change, CommitOutcome, Key, Listing, PostgresOptions, PostgresStore,
        ScanRange, Store as _,
    },
    testing::SeededEntropy,
};
use tokio::sync::Barrier;

use crate::{
    LEVELS, Target,
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Space, shared, wait, wait_for},
    migrations::concurrent_migrations,
};

const CALLERS: usize = 16;

/// The races that also run through a connection pooler.
pub(crate) const RACES: [fn(&Target<'_>); 5] =
    [creates_for_one_user, crossing_renames, cancelled_rename, concurrent_migrations, stale_change];

fn manager(store: PostgresStore) -> AsyncCredentialManager<PostgresStore> {
    AsyncCredentialManager::new(name(ACCOUNT), store)
}

/// A manager for each caller, with its own pool, like separate processes.
async fn callers(
    space: &Space,
    options: &PostgresOptions,
) -> Vec<AsyncCredentialManager<PostgresStore>> {
    let options = options.clone().max_connections(1);
    let mut managers = Vec::new();
    for _ in 0..CALLERS {
        managers.push(manager(space.store(&options).await));
    }
    managers
}

#[test]
fn concurrent_creations_for_one_user_stop_at_the_limit() {
    let Some(server) = shared() else { return };
    creates_for_one_user(&Target::direct(server));
}

fn creates_for_one_user(place: &Target<'_>) {
    wait(async {
        for level in LEVELS {
            let space = place.space(level).await;
            let callers = callers(&space, &PostgresOptions::new().isolation(level)).await;
            for round in 0..10 {
                let user: UserName = name(&format!("user-{round}"));
                callers[0].register_user(&user).await.unwrap();
                let barrier = Arc::new(Barrier::new(CALLERS));
                let tasks: Vec<_> = callers
                    .iter()
                    .map(|iam| {
                        let (iam, user) = (iam.clone(), user.clone());
                        let barrier = Arc::clone(&barrier);
                        tokio::spawn(async move {
                            barrier.wait().await;
                            iam.create(&user, &name(CODECOMMIT)).await
                        })
                    })
                    .collect();
                let mut made = Vec::new();
                for task in tasks {
                    match task.await.unwrap() {
                        Ok(issued) => made.push(issued.id().clone()),
                        Err(Error::LimitExceeded { .. }) => {}
                        Err(error) => panic!("{level:?}: {error:?}"),
                    }
                }
                let mut listed: Vec<_> = callers[1].list(&user).await.unwrap();
                assert_eq!(listed.len(), 2, "{level:?}");
                listed.retain(|credential| made.contains(credential.id()));
                assert_eq!((listed.len(), made.len()), (2, 2), "{level:?}");
            }
            assert_eq!(space.check().await.len(), 10);
        }
    });
}

/// Two users exchange names. Each change locks its own record and key, and may wait for the other.
#[test]
fn crossing_renames_both_return() {
    let Some(server) = shared() else { return };
    crossing_renames(&Target::direct(server));
}

fn crossing_renames(place: &Target<'_>) {
    const ROUNDS: usize = 20;
    wait(async {
        for level in LEVELS {
            let space = place.space(level).await;
            let options = PostgresOptions::new().isolation(level);
            let iam = manager(space.store(&options).await);
            let (left, right): (UserName, UserName) = (name("left"), name("right"));
            iam.register_user(&left).await.unwrap();
            iam.register_user(&right).await.unwrap();
            let gate = space.client().await;
            for _ in 0..ROUNDS {
                // Both wait for this lock, and continue at the same time.
                let close = "BEGIN; SELECT * FROM credential_users FOR UPDATE";
                gate.batch_execute(close).await.unwrap();
                let rename = |from: &UserName, to: &UserName| {
                    let (iam, from, to) = (iam.clone(), from.clone(), to.clone());
                    tokio::spawn(async move { iam.rename_user(&from, &to).await })
                };
                let renames = [rename(&left, &right), rename(&right, &left)];
                wait_for(&space, &gate, 2).await;
                gate.batch_execute("COMMIT").await.unwrap();
                for rename in renames {
                    assert!(matches!(rename.await.unwrap(), Err(Error::UserExists { .. })));
                }
            }
            assert_eq!(space.check().await.len(), 2);
        }
    });
}

/// A rename waits for a name that another transaction is about to release. That transaction waits
/// for the record of the rename. The server aborts the rename, because it checks for deadlocks
/// first.
#[test]
fn a_change_aborted_by_a_deadlock_is_retried() {
    let Some(server) = shared() else { return };
    cancelled_rename(&Target::direct(server));
}

fn cancelled_rename(place: &Target<'_>) {
    wait(async {
        for level in LEVELS {
            let space = place.space(level).await;
            let iam = manager(space.store(&PostgresOptions::new().isolation(level)).await);
            let (left, right): (UserName, UserName) = (name("left"), name("right"));
            iam.register_user(&left).await.unwrap();
            let client = space.client().await;
            let key = Key::User { account: name(ACCOUNT), name: &right }.encode();
            for freed in [false, true] {
                client.batch_execute("SET deadlock_timeout = '30s'; BEGIN").await.unwrap();
                let hold = "INSERT INTO credential_keys VALUES ($1, gen_random_uuid())";
                client.execute(hold, &[&key]).await.unwrap();
                let renaming = tokio::spawn({
                    let (iam, left, right) = (iam.clone(), left.clone(), right.clone());
                    async move { iam.rename_user(&left, &right).await }
                });
                wait_for(&space, &client, 1).await;
                client.batch_execute("SELECT * FROM credential_users FOR UPDATE").await.unwrap();
                // The lock is acquired only if the rename was aborted and retried.
                wait_for(&space, &client, 1).await;
                client.batch_execute(if freed { "ROLLBACK" } else { "COMMIT" }).await.unwrap();
                match renaming.await.unwrap() {
                    Err(Error::UserExists { .. }) => assert!(!freed, "{level:?}"),
                    Ok(user) => assert!(freed && *user.name() == right, "{level:?}"),
                    Err(error) => panic!("{level:?}: {error:?}"),
                }
                let release = "DELETE FROM credential_keys WHERE key = $1 AND $2";
                client.execute(release, &[&key, &!freed]).await.unwrap();
            }
            assert_eq!(space.check().await.len(), 1);
        }
    });
}

/// A change that starts before another one commits, and continues after it.
#[test]
fn a_change_that_waited_for_another_change_is_stale() {
    let Some(server) = shared() else { return };
    stale_change(&Target::direct(server));
}

fn stale_change(place: &Target<'_>) {
    wait(async {
        for level in LEVELS {
            let space = place.space(level).await;
            let iam = manager(space.store(&PostgresOptions::new().isolation(level)).await);
            let user: UserName = name("anika");
            iam.register_user(&user).await.unwrap();
            let issued = iam.create(&user, &name(CODECOMMIT)).await.unwrap();
            let client = space.client().await;
            for made in [true, false] {
                client.batch_execute("BEGIN").await.unwrap();
                // As if the record had been changed, by a change that is then committed or rolled
                // back.
                let change = "UPDATE credential_users SET revision = revision + 1";
                client.batch_execute(change).await.unwrap();
                let reset = tokio::spawn({
                    let (iam, user, id) = (iam.clone(), user.clone(), issued.id().clone());
                    async move { iam.reset(&user, &id).await }
                });
                wait_for(&space, &client, 1).await;
                client.batch_execute(if made { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
                // From now on the record and its column differ, so the change is stale after every
                // look-up.
                match reset.await.unwrap() {
                    Err(Error::Contended) => assert!(made, "{level:?}"),
                    Ok(_) => assert!(!made, "{level:?}"),
                    Err(error) => panic!("{level:?}: {error:?}"),
                }
                if made {
                    let back = "UPDATE credential_users SET revision = revision - 1";
                    client.batch_execute(back).await.unwrap();
                }
            }
            space.check().await;
        }
    });
}

/// Two stores on one database share their state.
#[test]
fn changes_of_one_store_are_visible_to_another() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = space.store(&PostgresOptions::new()).await;
        let other = space.store(&PostgresOptions::new()).await;
        let (one, two) = (manager(store), manager(other.clone()));
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
        let removed = two.remove_user(&anika).await;
        removed.unwrap();
        assert!(matches!(one.remove_user(&anika).await, Err(Error::NoSuchUser { .. })));
        assert!(space.check().await.is_empty());
    });
}

/// A registration whose user id is held does not change the user that holds it.
#[test]
fn a_repeated_registration_does_not_register_the_user_under_another_name() {
    let Some(server) = shared() else { return };
    wait(async {
        let (space, second) = (server.space().await, server.space().await);
        let store = space.store(&PostgresOptions::new()).await;
        let copy = second.store(&PostgresOptions::new()).await;
        let iam = manager(store.clone());
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        let copied = service_specific_credentials::store::copy_users(&store, &copy, name(ACCOUNT));
        assert_eq!(copied.await.unwrap(), 1);
        iam.rename_user(&anika, &name("beate")).await.unwrap();
        let again = service_specific_credentials::store::copy_users(&store, &copy, name(ACCOUNT));
        assert_eq!(
            again.await.unwrap_err().to_string(),
            "the store to copy to has a conflict on a key of the user beate"
        );
        let records = second.check().await;
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].name(), &anika);
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        assert!(copy.find(&key).await.unwrap().is_some());
    });
}

/// The registration of a user whose id comes from this entropy.
fn registration(user: &UserName, entropy: SeededEntropy) -> Change {
    let (account, store) = (name(ACCOUNT), MemoryStore::new());
    let manager = CredentialManager::builder(account, store.clone()).entropy(entropy).build();
    manager.register_user(user).unwrap();
    let record = store.find(&Key::User { account, name: user }).unwrap().unwrap();
    Change::Register { record }
}

#[test]
fn a_registration_with_a_held_id_returns_key_taken() {
    let Some(server) = shared() else { return };
    wait(async {
        let anika = registration(&name("anika"), SeededEntropy::new(7));
        let bo = registration(&name("bo"), SeededEntropy::new(7));
        assert_eq!(anika.record().unwrap().id(), bo.record().unwrap().id());
        for level in LEVELS {
            let space = server.space().await.isolated(level);
            let store = space.store(&PostgresOptions::new().isolation(level)).await;
            assert_eq!(store.commit(&anika).await.unwrap(), CommitOutcome::Applied);
            assert_eq!(store.commit(&bo).await.unwrap(), CommitOutcome::KeyTaken);
            let records = space.check().await;
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].encode(), anika.record().unwrap().encode());

            // The same id at the same time: one of the two waits for the other.
            let space = server.space().await.isolated(level);
            let store = space.store(&PostgresOptions::new().isolation(level)).await;
            let (one, two) = tokio::join!(store.commit(&anika), store.commit(&bo));
            let mut outcomes = [one.unwrap(), two.unwrap()];
            outcomes.sort_by_key(|outcome| *outcome != CommitOutcome::Applied);
            assert_eq!(outcomes, [CommitOutcome::Applied, CommitOutcome::KeyTaken]);
            assert_eq!(space.check().await.len(), 1);
        }
    });
}
