//! The tables: their creation, their schema, and their owner.

use std::sync::Arc;

use deadpool_postgres::{Manager, Pool};
use service_specific_credentials::{
    AsyncCredentialManager, UserName,
    store::{PostgresError, PostgresOptions, PostgresStore},
};
use tokio::sync::Barrier;
use tokio_postgres::NoTls;

use crate::{
    LEVELS, Target,
    common::{ACCOUNT, name},
    database::{Space, client, shared, wait, wait_for},
};

const CALLERS: usize = 16;
const TABLES: [&str; 3] = ["credential_keys", "credential_schema", "credential_users"];

fn manager(store: PostgresStore) -> AsyncCredentialManager<PostgresStore> {
    AsyncCredentialManager::new(name(ACCOUNT), store)
}

#[test]
fn concurrent_migrations_succeed() {
    let Some(server) = shared() else { return };
    concurrent_migrations(&Target::direct(server));
}

pub(crate) fn concurrent_migrations(place: &Target<'_>) {
    wait(async {
        for _ in 0..10 {
            let space = place.space(LEVELS[0]).await;
            let mut stores = Vec::new();
            for _ in 0..CALLERS {
                let options = PostgresOptions::new().max_connections(1);
                let store = PostgresStore::connect_with(&options, &space.url()).await.unwrap();
                stores.push(store);
            }
            let barrier = Arc::new(Barrier::new(CALLERS));
            let migrations: Vec<_> = stores
                .iter()
                .map(|store| {
                    let (store, barrier) = (store.clone(), Arc::clone(&barrier));
                    tokio::spawn(async move {
                        barrier.wait().await;
                        store.migrate().await
                    })
                })
                .collect();
            for migration in migrations {
                migration.await.unwrap().unwrap();
            }
            let rows = space.client().await;
            let rows = rows.query("SELECT version FROM credential_schema", &[]).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [1]);
            manager(stores.swap_remove(3)).register_user(&name("anika")).await.unwrap();
            assert_eq!(space.check().await.len(), 1);
        }
    });
}

#[test]
fn an_interrupted_migration_is_completed() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = space.store(&PostgresOptions::new()).await;
        let client = space.client().await;
        client.batch_execute("DROP TABLE credential_keys").await.unwrap();
        client.batch_execute("DELETE FROM credential_schema").await.unwrap();
        store.migrate().await.unwrap();
        manager(store.clone()).register_user(&name("anika")).await.unwrap();
        // Repeating a migration deletes nothing.
        store.migrate().await.unwrap();
        assert_eq!(space.check().await.len(), 1);
    });
}

#[test]
fn the_schema_of_a_later_release_is_rejected_and_unchanged() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = space.store(&PostgresOptions::new()).await;
        let client = space.client().await;
        let later = "INSERT INTO credential_schema VALUES (2, now())";
        client.batch_execute(later).await.unwrap();
        client.batch_execute("DROP TABLE credential_keys").await.unwrap();
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(error, PostgresError::LaterSchema(2)), "{error:?}");
        assert!(!error.is_retryable());
        let error = PostgresStore::connect(&space.url()).await.unwrap_err();
        assert_eq!(error.to_string(), "the tables have version 2, which a later release created");
        let made = "SELECT to_regclass('credential_keys') IS NULL";
        assert!(client.query_one(made, &[]).await.unwrap().get::<_, bool>(0));
    });
}

/// Creates a role that may create tables in the schema, and returns its name.
async fn role(space: &Space, purpose: &str) -> String {
    let (schema, role) = (&space.name, format!("{purpose}_{}", space.name));
    let create =
        format!("CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}");
    space.client().await.batch_execute(&create).await.unwrap();
    role
}

/// The tables that exist.
async fn existing(space: &Space) -> Vec<String> {
    let existing = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::text::regnamespace \
        AND relkind IN ('r', 'v') ORDER BY relname";
    let rows = space.client().await.query(existing, &[&space.name]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn assert_foreign(error: &PostgresError, table: &str, owner: &str) {
    assert!(matches!(error, PostgresError::ForeignTable { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("the table `{table}` belongs to the role `{owner}`"));
    assert!(!error.is_retryable());
}

#[test]
fn a_table_of_another_role_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        for table in TABLES {
            for kind in ["TABLE {} (version bigint)", "VIEW {} AS SELECT 1::bigint AS version"] {
                let space = server.space().await;
                let mallory = role(&space, "mallory").await;
                let attacker = client(&space.url_of(&mallory)).await;
                let create = format!("CREATE {}", kind.replace("{}", table));
                attacker.batch_execute(&create).await.unwrap();
                attacker.batch_execute(&format!("GRANT ALL ON {table} TO PUBLIC")).await.unwrap();
                let git = role(&space, "git").await;
                // A superuser may use any table, but must not use this one either.
                for user in [&*git, "postgres"] {
                    let store = PostgresStore::connect(&space.url_of(user)).await.unwrap();
                    assert_foreign(&store.migrate().await.unwrap_err(), table, &mallory);
                    assert_eq!(existing(&space).await, [table]);
                }
            }
        }
    });
}

/// The first check does not see the uncommitted tables of another transaction.
#[test]
fn a_table_that_another_role_creates_during_a_migration_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let mallory = role(&space, "mallory").await;
        let attacker = client(&space.url_of(&mallory)).await;
        let create = "BEGIN; CREATE TABLE credential_keys (key bytea PRIMARY KEY, user_id uuid)";
        attacker.batch_execute(create).await.unwrap();
        let git = role(&space, "git").await;
        let store = PostgresStore::connect(&space.url_of(&git)).await.unwrap();
        let migrating = tokio::spawn(async move { store.migrate().await });
        wait_for(&space, &attacker, 1).await;
        attacker.batch_execute("COMMIT").await.unwrap();
        let error = migrating.await.unwrap().unwrap_err();
        assert_foreign(&error, "credential_keys", &mallory);
        let finished = "SELECT count(*) FROM credential_schema";
        let finished = space.client().await.query_one(finished, &[]).await.unwrap();
        assert_eq!(finished.get::<_, i64>(0), 0);
    });
}

/// A role that does not own the tables uses them, and leaves migrations to the owner.
#[test]
fn only_the_owner_of_the_tables_migrates() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let (owner, service) = (role(&space, "owner").await, role(&space, "service").await);
        let store = PostgresStore::connect(&space.url_of(&owner)).await.unwrap();
        store.migrate().await.unwrap();
        let grant = format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {service}",
            space.name
        );
        space.client().await.batch_execute(&grant).await.unwrap();
        let store = PostgresStore::connect(&space.url_of(&service)).await.unwrap();
        manager(store.clone()).register_user(&name("anika")).await.unwrap();
        assert_foreign(&store.migrate().await.unwrap_err(), "credential_keys", &owner);
        assert_eq!(space.check().await.len(), 1);
    });
}

#[test]
fn a_missing_schema_is_reported() {
    let Some(server) = shared() else { return };
    wait(async {
        for options in [PostgresOptions::new().schema("nowhere"), PostgresOptions::new()] {
            let url = server.url() + "&options=-csearch_path%3Dnowhere";
            let store = PostgresStore::connect_with(&options, &url).await.unwrap();
            let error = store.migrate().await.unwrap_err();
            assert!(matches!(error, PostgresError::NoSchema), "{error:?}");
            assert!(!error.is_retryable());
        }
    });
}

/// A type of the same name conflicts with a table as a concurrent migration does, each time.
#[test]
fn a_migration_that_always_conflicts_gives_up() {
    let Some(server) = shared() else { return };
    wait(async {
        let client = server.client().await;
        let conflict = "CREATE SCHEMA occupied; CREATE DOMAIN occupied.credential_users AS integer";
        client.batch_execute(conflict).await.unwrap();
        let options = PostgresOptions::new().schema("occupied");
        let store = PostgresStore::connect_with(&options, &server.url()).await.unwrap();
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(error, PostgresError::MigrationContended), "{error:?}");
        assert!(error.is_retryable());
        client.batch_execute("DROP DOMAIN occupied.credential_users").await.unwrap();
        store.migrate().await.unwrap();
    });
}

/// Any text is a valid name of a schema, in the options or in the URL, with the store's own pool or
/// another one.
#[test]
fn the_tables_are_in_the_configured_schema() {
    let Some(server) = shared() else { return };
    wait(async {
        let client = server.client().await;
        for (schema, quoted, encoded) in [
            ("plain", "plain", "Plain"),
            ("Own \"2\" é", "\"Own \"\"2\"\" é\"", "%22Own\\%20%22%222%22%22\\%20%C3%A9%22"),
        ] {
            client.batch_execute(&format!("CREATE SCHEMA {quoted}")).await.unwrap();
            let options = PostgresOptions::new().schema(schema);
            let store = PostgresStore::connect_with(&options, &server.url()).await.unwrap();
            store.migrate().await.unwrap();
            let anika: UserName = name("anika");
            manager(store).register_user(&anika).await.unwrap();
            let counted = format!("SELECT count(*) FROM {quoted}.credential_users");
            assert_eq!(client.query_one(&counted, &[]).await.unwrap().get::<_, i64>(0), 1);

            let pool = Manager::new(server.url().parse().unwrap(), NoTls);
            let pool = Pool::builder(pool).max_size(1).build().unwrap();
            let url = format!("{}&options=-csearch_path%3D{encoded}", server.url());
            for store in [
                PostgresStore::connect(&url).await.unwrap(),
                PostgresStore::connect_with(&options, &url).await.unwrap(),
                PostgresStore::from_pool_with(&options, pool).unwrap(),
            ] {
                assert_eq!(*manager(store).user(&anika).await.unwrap().name(), anika);
            }
        }
    });
}
