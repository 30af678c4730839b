//! A connection pooler between the store and the server.

use std::time::Duration;

use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    store::{Isolation, PostgresError, PostgresOptions, PostgresStore, StoreError},
};
use tokio_postgres::Client;

use crate::{
    LEVELS, Place,
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Server, client, shared, wait},
    meets_its_obligations,
    pgbouncer::{Mode, PgBouncer},
    races::RACES,
};

const MODES: [Mode; 2] = [Mode::Session, Mode::Transaction];

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

/// A client of the pooler that is not the store.
async fn neighbour(pooler: &PgBouncer) -> Client {
    let port = pooler.port();
    client(&format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")).await
}

fn obligations(mode: Mode) {
    let Some(server) = shared() else { return };
    let Some(pooler) = PgBouncer::start(server, mode, "") else { return };
    let place = Place { server, pooler: Some(pooler.port()) };
    meets_its_obligations(&place, LEVELS[0]);
}

#[test]
fn it_meets_its_obligations_through_a_pooler_in_session_mode() {
    obligations(Mode::Session);
}

#[test]
fn it_meets_its_obligations_through_a_pooler_in_transaction_mode() {
    obligations(Mode::Transaction);
}

fn races(mode: Mode) {
    let Some(server) = shared() else { return };
    for race in RACES {
        // In session mode, one of its own: a connection is free again once its client is gone.
        let Some(pooler) = PgBouncer::start(server, mode, "") else { return };
        race(&Place { server, pooler: Some(pooler.port()) });
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

/// One connection to the server, which all clients get in turns.
fn shared_connection(server: &Server) -> Option<PgBouncer> {
    PgBouncer::start(server, Mode::Transaction, "default_pool_size = 1")
}

#[test]
fn settings_of_other_clients_do_not_reach_the_store_nor_its_own_others() {
    let Some(server) = shared() else { return };
    let Some(pooler) = shared_connection(server) else { return };
    wait(async {
        let (space, wrong) = (server.space().await, server.space().await);
        // The tables of another store, which a lost search path would lead to.
        let _other = wrong.store(&PostgresOptions::new()).await;
        let neighbour = neighbour(&pooler).await;
        let shown = async |setting: &str| -> String {
            neighbour.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
        };
        let backend = async |client: &Client| -> i32 {
            client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let behind = space.via(pooler.port());
        let options = PostgresOptions::new().isolation(Isolation::Serializable);
        let store = behind.store(&options).await;
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let before = backend(&neighbour).await;

        let search_path = format!("SET search_path = {}", wrong.name);
        neighbour.batch_execute(&search_path).await.unwrap();
        iam.register_user(&name("anika")).await.unwrap();
        let _ = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
        assert_eq!(shown("search_path").await, wrong.name);
        assert_eq!(space.check().await.len(), 1);
        assert!(wrong.check().await.is_empty());

        assert_eq!(shown("statement_timeout").await, "0");
        assert_eq!(shown("default_transaction_isolation").await, "read committed");
        assert_eq!(backend(&neighbour).await, before, "it is the connection of the store");
    });
}

#[test]
fn the_limit_of_time_reaches_the_server_in_each_mode() {
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

/// The role's own limit holds on each connection, whichever client it serves.
#[test]
fn the_limit_of_a_role_holds_in_each_mode() {
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
fn a_setting_that_a_pooler_drops_is_named() {
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
            // The search path alone is not sent.
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
                // The server itself takes it.
                let url = space.url() + &setting.replace('=', "%3D");
                PostgresStore::connect(&url).await.unwrap();
            }
        });
    }
}

/// Before 1.21, and with `max_prepared_statements = 0` since, a connection of the server does not
/// have the statements that were prepared on another one.
#[test]
fn a_pooler_that_loses_prepared_statements_is_told_apart() {
    let Some(server) = shared() else { return };
    let settings = "default_pool_size = 2\nmax_prepared_statements = 0\nserver_round_robin = 1";
    let Some(pooler) = PgBouncer::start(server, Mode::Transaction, settings) else { return };
    wait(async {
        // Two connections, which are used in turns from now on.
        let (one, two) = (neighbour(&pooler).await, neighbour(&pooler).await);
        one.batch_execute("BEGIN").await.unwrap();
        two.batch_execute("SELECT").await.unwrap();
        one.batch_execute("COMMIT").await.unwrap();
        let space = server.space().await;
        let _tables = space.store(&PostgresOptions::new()).await;
        let error = PostgresStore::connect(&space.via(pooler.port()).url()).await.unwrap_err();
        assert!(matches!(error, PostgresError::StatementsLost), "{error:?}");
        assert!(error.is_retryable());
    });
}
