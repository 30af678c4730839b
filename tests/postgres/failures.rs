//! Each failure has its own error, which states whether to retry, and never contains the password.

use std::{error::Error as StdError, fmt::Write as _, time::Duration};

use deadpool_postgres::Pool;
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, Error, UserName,
    store::{
        AsyncStore as _, Isolation, Key, PostgresError, PostgresOptions, PostgresStore, StoreError,
    },
};
use tokio_postgres::NoTls;

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Space, TIMEOUT, shared, wait, wait_for},
    proxy::Proxy,
};

pub(crate) const PASSWORD: &str = "hunter2";

/// All texts of an error: `Display`, `Debug` and sources.
pub(crate) fn texts(error: &dyn StdError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, " {cause} {cause:?}");
        next = cause.source();
    }
    text
}

pub(crate) async fn connect_error(url: &str, options: &PostgresOptions) -> PostgresError {
    let error = PostgresStore::connect_with(options, url).await.unwrap_err();
    assert!(!texts(&error).contains(PASSWORD), "{error:?}");
    error
}

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

type Manager = AsyncCredentialManager<PostgresStore>;

/// A manager with one user, `anika`.
async fn manager(space: &Space, options: &PostgresOptions) -> Manager {
    let iam = AsyncCredentialManager::new(name(ACCOUNT), space.store(options).await);
    iam.ensure_user(&name("anika")).await.unwrap();
    iam
}

/// The error of a read.
async fn reading(iam: &Manager) -> StoreError {
    match iam.user(&name("anika")).await.unwrap_err() {
        Error::Store(error) => error,
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_dead_server_is_unreachable() {
    wait(async {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://user:{PASSWORD}@127.0.0.1:{port}/x");
        let error = connect_error(&url, &PostgresOptions::new()).await;
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
        assert!(error.is_retryable());

        // A server that accepts the connection and sends nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://user:{PASSWORD}@127.0.0.1:{port}/x?sslmode=disable");
        let options = PostgresOptions::new().connect_timeout(Duration::from_millis(200));
        let error = connect_error(&url, &options).await;
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
        // The timeout in the URL takes precedence.
        let options = PostgresOptions::new().connect_timeout(Duration::from_secs(600));
        let url = format!("{url}&connect_timeout=1");
        let error = tokio::time::timeout(TIMEOUT, connect_error(&url, &options)).await.unwrap();
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
    });
}

#[test]
fn each_failure_to_connect_has_its_own_error() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let client = space.client().await;
        client
            .batch_execute(
                "CREATE ROLE scram_user LOGIN PASSWORD 'hunter2'; CREATE ROLE poor LOGIN; \
                 CREATE ROLE crowd LOGIN CONNECTION LIMIT 0",
            )
            .await
            .unwrap();
        let port = space.port();
        let options = PostgresOptions::new();
        let url = |user: &str, rest: &str| format!("postgres://{user}@127.0.0.1:{port}/{rest}");

        for user in ["scram_user:wrong-hunter2", "scram_user"] {
            let error = connect_error(&url(user, "postgres?sslmode=disable"), &options).await;
            assert!(matches!(error, PostgresError::WrongCredentials), "{error:?}");
            assert!(!error.is_retryable());
        }
        let error =
            connect_error(&url("nobody:hunter2", "postgres?sslmode=disable"), &options).await;
        assert!(matches!(error, PostgresError::WrongCredentials), "{error:?}");
        let right = url("scram_user:hunter2", "postgres?sslmode=disable");
        let store = PostgresStore::connect(&right).await.unwrap();
        assert!(!format!("{store:?} {store:#?}").contains(PASSWORD));

        let error = connect_error(&url("postgres", "nowhere?sslmode=disable"), &options).await;
        assert!(matches!(error, PostgresError::NoDatabase), "{error:?}");
        assert!(!error.is_retryable());

        let error = connect_error(&url("crowd", "postgres?sslmode=disable"), &options).await;
        assert!(matches!(error, PostgresError::ServerFull), "{error:?}");
        assert!(error.is_retryable());

        // This server has no certificate.
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = url("scram_user:hunter2", &format!("postgres?sslmode={mode}"));
            let error = connect_error(&url, &options).await;
            assert!(matches!(error, PostgresError::Tls(_)), "{error:?}");
            assert!(!error.is_retryable());
        }
        PostgresStore::connect(&url("scram_user:hunter2", "postgres?sslmode=prefer"))
            .await
            .unwrap();

        let rich = manager(&space, &options).await;
        let grant = format!("GRANT USAGE ON SCHEMA {} TO poor", space.name);
        client.batch_execute(&grant).await.unwrap();
        let error = connect_error(&space.url_of("poor"), &options).await;
        assert!(matches!(error, PostgresError::Denied), "{error:?}");
        assert!(!error.is_retryable());
        drop(rich);
    });
}

#[test]
fn missing_tables_are_reported_as_a_missing_schema() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = PostgresStore::connect(&space.url()).await.unwrap();
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store.clone());
        let error = reading(&iam).await;
        assert!(matches!(cause(&error), PostgresError::SchemaMissing), "{error:?}");
        assert!(!cause(&error).is_retryable());
        assert_eq!(error.to_string(), "the tables are missing: run a migration");
        store.migrate().await.unwrap();
        iam.register_user(&name("anika")).await.unwrap();
    });
}

#[test]
fn a_failing_server_is_unavailable_not_a_denial() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let proxy = Proxy::start(space.port()).await;
        let behind = space.via(proxy.port());
        let iam = manager(&behind, &PostgresOptions::new()).await;
        proxy.close();
        proxy.cut_after(crate::proxy::Direction::ToServer, 0);
        let error = iam.authenticate(&name(CODECOMMIT), "anika+1-at-123456789012", "x").await;
        let Err(AuthenticationError::Unavailable(error)) = error else { panic!("{error:?}") };
        assert!(cause(&error).is_retryable(), "{error:?}");
    });
}

/// Blocks every change of users until the client's transaction ends.
async fn block(client: &tokio_postgres::Client) {
    client.batch_execute("BEGIN; SELECT * FROM credential_users FOR UPDATE").await.unwrap();
}

#[test]
fn a_full_pool_fails_and_recovers() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let options =
            PostgresOptions::new().max_connections(1).pool_wait(Duration::from_millis(50));
        let iam = manager(&space, &options).await;
        let shown = format!("{:?}", iam.store());
        assert!(shown.starts_with("PostgresStore { pool: Status { max_size: 1,"), "{shown}");
        let client = space.client().await;
        block(&client).await;
        let creating = tokio::spawn({
            let iam = iam.clone();
            async move { iam.create(&name("anika"), &name(CODECOMMIT)).await }
        });
        wait_for(&space, &client, 1).await;
        let error = reading(&iam).await;
        assert!(matches!(cause(&error), PostgresError::PoolFull), "{error:?}");
        assert!(cause(&error).is_retryable());
        client.batch_execute("COMMIT").await.unwrap();
        let _ = creating.await.unwrap().unwrap();
        iam.user(&name("anika")).await.unwrap();
    });
}

#[test]
fn a_timeout_or_a_dropped_future_closes_the_connection() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let proxy = Proxy::start(space.port()).await;
        let behind = space.via(proxy.port());
        let iam = manager(&behind, &PostgresOptions::new().max_connections(1)).await;
        assert_eq!(proxy.connections(), 1);
        let client = space.client().await;
        block(&client).await;
        let creating = tokio::spawn({
            let iam = iam.clone();
            async move { iam.create(&name("anika"), &name(CODECOMMIT)).await }
        });
        wait_for(&space, &client, 1).await;
        creating.abort();
        assert!(creating.await.unwrap_err().is_cancelled());
        // The lock is still held, and long after the response times out.
        iam.user(&name("anika")).await.unwrap();
        assert_eq!(proxy.connections(), 2);
        client.batch_execute("COMMIT").await.unwrap();
        space.check().await;
    });
}

/// While a table is locked, the server would keep all abandoned reads waiting.
#[test]
fn reads_have_a_timeout_after_a_statement_without_a_response() {
    let Some(server) = shared() else { return };
    wait(async {
        for dropped in [false, true] {
            let space = server.space().await;
            let proxy = Proxy::start(space.port()).await;
            let client = space.client().await;
            let timeout = if dropped { TIMEOUT } else { Duration::from_secs(4) };
            let options = PostgresOptions::new()
                .response_timeout(timeout)
                .statement_timeout(Duration::from_millis(100));
            let iam = manager(&space.via(proxy.port()), &options).await;
            client.batch_execute("BEGIN; LOCK TABLE credential_keys").await.unwrap();
            if dropped {
                let reading = tokio::spawn({
                    let iam = iam.clone();
                    async move { iam.user(&name("anika")).await }
                });
                wait_for(&space, &client, 1).await;
                reading.abort();
                assert!(reading.await.unwrap_err().is_cancelled());
            } else {
                let error = reading(&iam).await;
                assert!(matches!(cause(&error), PostgresError::NoResponse), "{error:?}");
            }
            // The lock is still held.
            for _ in 0..2 {
                let error = reading(&iam).await;
                assert!(matches!(cause(&error), PostgresError::TimedOut), "{error:?}");
            }
            client.batch_execute("COMMIT").await.unwrap();
            proxy.take_transactions();
            for expected in [2, 0] {
                iam.user(&name("anika")).await.unwrap();
                assert_eq!(proxy.take_transactions().len(), expected);
            }
        }
    });
}

#[test]
fn a_statement_that_timed_out_changed_nothing() {
    let Some(server) = shared() else { return };
    wait(async {
        for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
            let space = server.space().await;
            let options = PostgresOptions::new()
                .isolation(isolation)
                .statement_timeout(Duration::from_millis(100));
            let iam = manager(&space, &options).await;
            let client = space.client().await;
            block(&client).await;
            let error = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap_err();
            let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
            assert!(matches!(cause(&source), PostgresError::TimedOut), "{source:?}");
            assert!(cause(&source).is_retryable());
            client.batch_execute("COMMIT").await.unwrap();
            let _ = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
            assert_eq!(iam.list(&name("anika")).await.unwrap().len(), 1);
        }
    });
}

#[test]
fn an_unresponsive_server_leaves_the_outcome_unknown() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let proxy = Proxy::start(space.port()).await;
        let behind = space.via(proxy.port());
        let options =
            PostgresOptions::new().max_connections(1).response_timeout(Duration::from_millis(300));
        let iam = manager(&behind, &options).await;
        let issued = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
        let _ = iam.reset(&name("anika"), issued.id()).await.unwrap();

        let client = space.client().await;
        block(&client).await;
        let resetting = tokio::spawn({
            let (iam, id) = (iam.clone(), issued.id().clone());
            async move { iam.reset(&name("anika"), &id).await }
        });
        wait_for(&space, &client, 1).await;
        proxy.be_silent();
        let error = resetting.await.unwrap().unwrap_err();
        let Error::OutcomeUnknown { credential, source, .. } = error else { panic!("{error:?}") };
        assert_eq!(credential.unwrap().id(), issued.id());
        let PostgresError::Unknown(why) = cause(&source) else { panic!("{source:?}") };
        assert!(matches!(**why, PostgresError::NoResponse), "{why:?}");
        assert!(!cause(&source).is_retryable() && why.is_retryable());
        client.batch_execute("COMMIT").await.unwrap();
        space.check().await;
    });
}

#[test]
fn a_server_shutdown_during_a_change_leaves_the_outcome_unknown() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let iam = manager(&space, &PostgresOptions::new()).await;
        let client = space.client().await;
        block(&client).await;
        let creating = tokio::spawn({
            let iam = iam.clone();
            async move { iam.create(&name("anika"), &name(CODECOMMIT)).await }
        });
        wait_for(&space, &client, 1).await;
        // As a server that shuts down does with each of its sessions.
        let end = "SELECT pg_terminate_backend(waiting.pid) FROM pg_stat_activity AS waiting \
            WHERE pg_backend_pid() = ANY (pg_blocking_pids(waiting.pid))";
        client.query(end, &[]).await.unwrap();
        let error = creating.await.unwrap().unwrap_err();
        let Error::OutcomeUnknown { credential: Some(_), source, .. } = error else {
            panic!("{error:?}")
        };
        let PostgresError::Unknown(why) = cause(&source) else { panic!("{source:?}") };
        assert!(matches!(**why, PostgresError::ConnectionLost), "{why:?}");
        client.batch_execute("COMMIT").await.unwrap();
        assert!(iam.list(&name("anika")).await.unwrap().is_empty());
    });
}

#[test]
fn a_read_retries_after_a_lost_connection() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let url = format!("{}&application_name={}", space.url(), space.name);
        let store = PostgresStore::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let client = space.client().await;
        let anika: UserName = name("anika");
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        for _ in 0..20 {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name = $1";
            client.query(end, &[&space.name]).await.unwrap();
            assert!(store.find(&key).await.unwrap().is_none());
        }
    });
}

#[test]
fn a_read_retries_after_all_pooled_connections_were_lost() {
    const IDLE: usize = 4;
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let proxy = Proxy::start(space.port()).await;
        let behind = space.via(proxy.port());
        let iam = manager(&behind, &PostgresOptions::new().max_connections(IDLE)).await;
        // Each look-up needs its own connection, because none has a response yet.
        let client = space.client().await;
        client.batch_execute("BEGIN; LOCK TABLE credential_keys").await.unwrap();
        let readers: Vec<_> = (0..IDLE)
            .map(|_| {
                let iam = iam.clone();
                tokio::spawn(async move { iam.user(&name("anika")).await })
            })
            .collect();
        wait_for(&space, &client, IDLE.try_into().unwrap()).await;
        client.batch_execute("COMMIT").await.unwrap();
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        assert_eq!(proxy.connections(), IDLE);
        // A lost connection is noticed only when something is sent.
        proxy.cut_those_there();
        iam.user(&name("anika")).await.unwrap();
        assert_eq!(proxy.connections(), IDLE + 1);
    });
}

#[test]
fn a_read_only_server_is_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let _iam = manager(&space, &PostgresOptions::new()).await;
        let options = PostgresOptions::new();
        let url =
            space.url().replace("options=", "options=-cdefault_transaction_read_only%3Don%20");
        for says in ["", "&target_session_attrs=any", "&target_session_attrs=read-write"] {
            let error = connect_error(&format!("{url}{says}"), &options).await;
            assert!(matches!(error, PostgresError::ReadOnly), "{error:?}");
            assert!(error.is_retryable());
        }
        let error = connect_error(&format!("{url}&target_session_attrs=read-only"), &options).await;
        assert!(matches!(error, PostgresError::Url { .. }), "{error:?}");
    });
}

/// A pool of one connection, and the store that uses it.
async fn pooled(space: &Space) -> (Pool, Manager) {
    let manager = deadpool_postgres::Manager::new(space.url().parse().unwrap(), NoTls);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let iam = AsyncCredentialManager::new(name(ACCOUNT), PostgresStore::from_pool(pool.clone()));
    iam.user(&name("anika")).await.unwrap();
    (pool, iam)
}

#[test]
fn a_primary_that_becomes_a_standby_is_reported_as_read_only() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let iam = manager(&space, &PostgresOptions::new()).await;
        let (pool, standby) = pooled(&space).await;
        let turn = "SET default_transaction_read_only = on";
        pool.get().await.unwrap().batch_execute(turn).await.unwrap();
        let error = standby.create(&name("anika"), &name(CODECOMMIT)).await.unwrap_err();
        let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(cause(&source), PostgresError::ReadOnly), "{source:?}");
        assert!(cause(&source).is_retryable());
        assert!(iam.list(&name("anika")).await.unwrap().is_empty());
        // The next connection leads to the primary.
        let _ = standby.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
    });
}

#[test]
fn a_connection_that_lost_its_statements_is_closed() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let _iam = manager(&space, &PostgresOptions::new()).await;
        let (pool, iam) = pooled(&space).await;
        let forget = async |which: &str| {
            let forget = format!(
                "DO $$ DECLARE own text; BEGIN \
                 FOR own IN SELECT name FROM pg_prepared_statements WHERE {which} LOOP \
                 EXECUTE 'DEALLOCATE ' || quote_ident(own); END LOOP; END $$"
            );
            pool.get().await.unwrap().batch_execute(&forget).await.unwrap();
        };
        // A read is retried.
        let reads = "statement LIKE '%WHERE held.key = $1%'";
        forget(reads).await;
        iam.user(&name("anika")).await.unwrap();

        // A change was not applied, and can be repeated.
        let issued = iam.create(&name("anika"), &name(CODECOMMIT)).await.unwrap();
        let issued = iam.reset(&name("anika"), issued.id()).await.unwrap();
        forget(&format!("NOT {reads}")).await;
        let error = iam.reset(&name("anika"), issued.id()).await.unwrap_err();
        let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(cause(&source), PostgresError::StatementsLost), "{source:?}");
        assert!(cause(&source).is_retryable());
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        iam.authenticate(&name(CODECOMMIT), login, secret).await.unwrap();
        let _ = iam.reset(&name("anika"), issued.id()).await.unwrap();

        // The result has another type than when the statement was prepared.
        let client = space.client().await;
        client
            .batch_execute(
                "CREATE DOMAIN bytes AS bytea; \
                 ALTER TABLE credential_users ALTER record TYPE bytes",
            )
            .await
            .unwrap();
        iam.user(&name("anika")).await.unwrap();
        assert_eq!(iam.list(&name("anika")).await.unwrap().len(), 1);
    });
}

#[test]
fn damaged_rows_are_reported() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let iam = manager(&space, &PostgresOptions::new()).await;
        let client = space.client().await;
        client.batch_execute("UPDATE credential_users SET record = '\\x07'").await.unwrap();
        let error = reading(&iam).await;
        assert!(matches!(cause(&error), PostgresError::Record(_)), "{error:?}");
        client.batch_execute("DELETE FROM credential_users").await.unwrap();
        let error = reading(&iam).await;
        assert!(matches!(cause(&error), PostgresError::Index), "{error:?}");
        assert!(!cause(&error).is_retryable());
        client.batch_execute("ALTER TABLE credential_keys RENAME user_id TO who").await.unwrap();
        let fresh = PostgresStore::connect(&space.url()).await.unwrap();
        let error = reading(&AsyncCredentialManager::new(name(ACCOUNT), fresh)).await;
        let PostgresError::Server { code, .. } = cause(&error) else { panic!("{error:?}") };
        assert_eq!(code, "42703");
    });
}
