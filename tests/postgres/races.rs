//! Guarantees under concurrency, over many connections.

use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    store::{Key, PostgresOptions, PostgresStore},
};

use crate::{
    LEVELS, Target,
    cases::{
        CALLERS, a_repeated_copy_does_not_register_a_user_twice,
        changes_of_one_store_are_visible_to_another, creations_stop_at_the_limit, manager,
        one_of_two_users_with_an_id_is_registered,
    },
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Space, shared, wait, wait_for},
    migrations::concurrent_migrations,
};

/// The races that also run through a connection pooler.
pub(crate) const RACES: [fn(&Target<'_>); 5] =
    [creates_for_one_user, crossing_renames, cancelled_rename, concurrent_migrations, stale_change];

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
            creations_stop_at_the_limit(&callers).await;
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
                    Err(Error::Contended { .. }) => assert!(made, "{level:?}"),
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

#[test]
fn changes_of_one_pool_are_visible_to_another() {
    let Some(server) = shared() else { return };
    wait(async {
        let (space, options) = (server.space().await, PostgresOptions::new());
        let (store, other) = (space.store(&options).await, space.store(&options).await);
        changes_of_one_store_are_visible_to_another(store, other).await;
        assert!(space.check().await.is_empty());
    });
}

#[test]
fn a_registration_with_an_id_that_is_held_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let (space, second, options) =
            (server.space().await, server.space().await, PostgresOptions::new());
        let (store, copy) = (space.store(&options).await, second.store(&options).await);
        a_repeated_copy_does_not_register_a_user_twice(store, copy).await;
        assert_eq!(second.check().await.len(), 1);
        for level in LEVELS {
            for race in [false, true] {
                let space = server.space().await.isolated(level);
                let store = space.store(&PostgresOptions::new().isolation(level)).await;
                one_of_two_users_with_an_id_is_registered(store, race).await;
                assert_eq!(space.check().await.len(), 1);
            }
        }
    });
}
