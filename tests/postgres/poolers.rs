//! A connection pooler between the store and the server.

use std::time::Duration;

use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    store::{Isolation, PostgresError, PostgresOptions, PostgresStore, StoreError},
};
use tokio_postgres::Client;

use crate::{
    LEVELS, Target,
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Server, client, shared, wait},
    pgbouncer::{Mode, PgBouncer},
    races::RACES,
    run_suite,
};

const MODES: [Mode; 2] = [Mode::Session, Mode::Transaction];

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

/// A client of the pooler that is not the store.
async fn other_client(pooler: &PgBouncer) -> Client {
    let port = pooler.port();
    client(&format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")).await
}

fn obligations(mode: Mode) {
    let Some(server) = shared() else { return };
    let Some(pooler) = PgBouncer::start(server, mode, "") else { return };
    let place = Target { server, pooler: Some(pooler.port()) };
    run_suite(&place, LEVELS[0]);
}

#[test]
fn the_suite_passes_through_a_pooler_in_session_mode() {
    obligations(Mode::Session);
}

#[test]
fn the_suite_passes_through_a_pooler_in_transaction_mode() {
    obligations(Mode::Transaction);
}

fn races(mode: Mode) {
    let Some(server) = shared() else { return };
    for race in RACES {
        // Start one per race: in session mode, a connection is free again only when its client has
        // left.
        let Some(pooler) = PgBouncer::start(server, mode, "") else { return };
        race(&Target { server, pooler: Some(pooler.port()) });
    }
}

#[test]
fn races_through_a_pooler_in_session_mode() {
    races(Mode::Session);
}

#[test]
fn races_through_a_pooler_in_transaction_mode() {
    races(Mode::Transaction);
}

/// A pooler with one connection to the server, which all clients share.
fn shared_connection(server: &Server) -> Option<PgBouncer> {
    PgBouncer::start(server, Mode::Transaction, "default_pool_size = 1")
}

#[test]
fn settings_do_not_leak_between_clients_of_a_pooler() {
    let Some(server) = shared() else { return };
    let Some(pooler) = shared_connection(server) else { return };
    wait(async {
        let (space, wrong) = (server.space().await, server.space().await);
        // The tables of another store, which a lost search path would lead to.
        let _other = wrong.store(&PostgresOptions::new()).await;
        let other_client = other_client(&pooler).await;
        let shown = async |setting: &str| -> String {
            other_client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
        };
        let backend = async |client: &Client| -> i32 {
            client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let behind = space.via(pooler.port());
        let options = PostgresOptions::new().isolation(Isolation::Serializable);
        let store = behind.store(&options).await;
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let before = backend(&other_client).await;

        let search_path = format!("SET search_path = {}", wrong.name);
        other_client.batch_execute(&search_path).await.unwrap();
        iam.register_user(&name("anika")).await.unwrap();
        let _ = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
        assert_eq!(shown("search_path").await, wrong.name);
        assert_eq!(space.check().await.len(), 1);
        assert!(wrong.check().await.is_empty());

        assert_eq!(shown("statement_timeout").await, "0");
        assert_eq!(shown("default_transaction_isolation").await, "read committed");
        assert_eq!(
            backend(&other_client).await,
            before,
            "the client must get the connection that the store used"
        );
    });
}

#[test]
fn the_statement_timeout_applies_in_each_mode() {
    let Some(server) = shared() else { return };
    for mode in MODES {
        let Some(pooler) = PgBouncer::start(server, mode, "") else { continue };
        wait(async {
            let space = server.space().await.via(pooler.port());
            let options = PostgresOptions::new().statement_timeout(Duration::from_millis(100));
            let iam = AsyncCredentialManager::new(name(ACCOUNT), space.store(&options).await);
            let anika: UserName = name("anika");
            iam.register_user(&anika).await.unwrap();
            let holder = space.client().await;
            let block = "BEGIN; SELECT * FROM credential_users FOR UPDATE";
            holder.batch_execute(block).await.unwrap();
            let error = iam.create(&anika, &name(CODECOMMIT)).await.unwrap_err();
            let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
            assert!(matches!(cause(&source), PostgresError::TimedOut), "{source:?}");
            holder.batch_execute("COMMIT").await.unwrap();
            assert!(iam.list(&anika).await.unwrap().is_empty());
        });
    }
}

/// The role's own limit applies on each connection, for every client.
#[test]
fn the_timeout_of_a_role_applies_in_each_mode() {
    let Some(server) = shared() else { return };
    for (mode, role) in MODES.into_iter().zip(["limited_one", "limited_two"]) {
        let Some(pooler) = PgBouncer::start(server, mode, "") else { continue };
        wait(async {
            let space = server.space().await;
            let options = PostgresOptions::new().statement_timeout(None);
            let owner = AsyncCredentialManager::new(name(ACCOUNT), space.store(&options).await);
            let anika: UserName = name("anika");
            owner.register_user(&anika).await.unwrap();
            let holder = space.client().await;
            let schema = &space.name;
            let grant = format!(
                "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET statement_timeout = '100ms'; \
                 GRANT USAGE ON SCHEMA {schema} TO {role}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
            );
            holder.batch_execute(&grant).await.unwrap();
            let url = space.via(pooler.port()).url_of(role);
            let store = PostgresStore::connect_with(&options, &url).await.unwrap();
            let iam = AsyncCredentialManager::new(name(ACCOUNT), store);

            let block = "BEGIN; SELECT * FROM credential_users FOR UPDATE";
            holder.batch_execute(block).await.unwrap();
            let error = iam.create(&anika, &name(CODECOMMIT)).await.unwrap_err();
            let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
            assert!(matches!(cause(&source), PostgresError::TimedOut), "{source:?}");
            holder.batch_execute("LOCK TABLE credential_keys").await.unwrap();
            let Error::Store(error) = iam.user(&anika).await.unwrap_err() else { panic!() };
            assert!(matches!(cause(&error), PostgresError::TimedOut), "{error:?}");
            holder.batch_execute("COMMIT").await.unwrap();
            let _ = iam.create(&anika, &name(CODECOMMIT)).await.unwrap();
        });
    }
}

#[test]
fn a_setting_dropped_by_a_pooler_is_reported() {
    let Some(server) = shared() else { return };
    let drops = "ignore_startup_parameters = options";
    for mode in MODES {
        let Some(strict) = PgBouncer::start(server, mode, "") else { continue };
        let Some(lax) = PgBouncer::start(server, mode, drops) else { continue };
        wait(async {
            let space = server.space().await;
            let with = |pooler: &PgBouncer, settings: &str| {
                space.via(pooler.port()).url() + &settings.replace('=', "%3D")
            };
            // Only the search path is not sent.
            for pooler in [&strict, &lax] {
                let store = PostgresStore::connect(&with(pooler, "")).await.unwrap();
                store.migrate().await.unwrap();
            }
            space.check().await;
            for (name, setting) in [
                ("work_mem", "%20-cwork_mem=8MB"),
                ("work_mem", "%20--Work-Mem=8MB"),
                ("own.tenant", "%20-c%20own.tenant=7"),
            ] {
                let error = PostgresStore::connect(&with(&lax, setting)).await.unwrap_err();
                let PostgresError::SettingLost { name: lost, .. } = &error else {
                    panic!("{error:?}")
                };
                assert_eq!(lost, name);
                assert!(!error.is_retryable());
                assert_eq!(
                    error.to_string(),
                    format!(
                        "the connection lacks the setting `{name}` of the URL: a pooler dropped it"
                    )
                );
                let error = PostgresStore::connect(&with(&strict, setting)).await.unwrap_err();
                assert!(matches!(error, PostgresError::Server { .. }), "{error:?}");
                // The server itself accepts it.
                let url = space.url() + &setting.replace('=', "%3D");
                PostgresStore::connect(&url).await.unwrap();
            }
        });
    }
}

/// Before 1.21, and later with `max_prepared_statements = 0`, a server connection lacks the
/// statements that were prepared on another one.
#[test]
fn lost_prepared_statements_behind_a_pooler_cost_retries_and_no_change() {
    let Some(server) = shared() else { return };
    // More connections than all attempts use, one after the other: none of them has a statement of
    // an earlier attempt, which has the same name and would be executed.
    let count = 20;
    let settings = format!("default_pool_size = {count}\nmax_prepared_statements = 0");
    let Some(pooler) = PgBouncer::start(server, Mode::Transaction, &settings) else { return };
    wait(async {
        let mut clients = Vec::new();
        for _ in 0..count {
            let client = other_client(&pooler).await;
            client.batch_execute("BEGIN").await.unwrap();
            clients.push(client);
        }
        for client in &clients {
            client.batch_execute("COMMIT").await.unwrap();
        }
        let space = server.space().await;
        let _tables = space.store(&PostgresOptions::new()).await;
        let store = PostgresStore::connect(&space.via(pooler.port()).url()).await.unwrap();
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        // A read is retried in a transaction, which has one connection, and on a new connection.
        for number in 0..10 {
            let user: UserName = name(&format!("user-{number}"));
            iam.register_user(&user).await.unwrap();
            iam.user(&user).await.unwrap();
        }
        // With several callers, a change may meet a connection on which another caller prepared its
        // statement. It fails, has changed nothing, and may be tried again.
        let callers = (0..16).map(|caller| {
            let iam = iam.clone();
            tokio::spawn(async move {
                for number in 0..10 {
                    let user: UserName = name(&format!("user-{caller}-{number}"));
                    let mut attempts = 0..1000;
                    while let Err(error) = iam.register_user(&user).await {
                        assert!(attempts.next().is_some(), "{error:?}");
                        let (Error::Store(error) | Error::OutcomeUnknown { source: error, .. }) =
                            error
                        else {
                            panic!("{error:?}")
                        };
                        assert!(
                            matches!(cause(&error), PostgresError::StatementsLost),
                            "{error:?}"
                        );
                        assert!(cause(&error).is_retryable());
                    }
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        assert_eq!(space.check().await.len(), 10 + 160);
    });
}
