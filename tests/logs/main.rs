//! No log contains a secret: neither from this crate nor from any dependency, at every level, for
//! operations on every store, and with a PostgreSQL server that logs every statement.
//!
//! The name given to `authenticate` is untrusted, and may be a password, because users type
//! passwords into the wrong field. In the other operations, user names and credential ids are
//! looked up as given; a password that is passed there reaches the logs of a database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
#[path = "../common/hunt.rs"]
mod hunt;

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    AuthenticationError, CreateOptions, CredentialId, CredentialManager, Error, IssuedCredential,
    Lifetime, ListRequest, ListUsersRequest, MaxItems, MemoryStore, ServiceName, Status, UserName,
    store::{RedbStore, Store},
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

#[cfg(unix)]
use common::{ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, Folder, dawn, name};
use hunt::Hunt;

/// The output of all threads, for all tests of this file.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures everything that any crate logs, through `tracing` or `log`.
static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(|| Log)
        .with_ansi(false)
        .init();
});

fn log() -> String {
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

/// A manager of a store, with a seed that is unique to the test, so that its secrets are too.
fn manager<S: Store>(store: S, seed: u64) -> (CredentialManager<S>, Arc<FixedClock>) {
    LazyLock::force(&SUBSCRIBER);
    let clock = Arc::new(FixedClock::new(dawn()));
    let iam = CredentialManager::builder(name(ACCOUNT), store)
        .clock(Arc::clone(&clock))
        .entropy(SeededEntropy::new(seed))
        .build();
    (iam, clock)
}

fn services() -> [ServiceName; 4] {
    [CODECOMMIT, BEDROCK, CASSANDRA, "git.example.com"].map(name)
}

/// Uses secrets in every field: as a name, as a password, as an API key, and inside of it.
fn send_secrets<S: Store>(iam: &CredentialManager<S>, issued: &IssuedCredential) {
    let doors = iam.authenticator();
    let (alias, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
    let (cut, long) = (&secret[1..], secret.repeat(20));
    let unused = "nobody+1-at-123456789012";
    let around = [format!("{secret}{ACCOUNT}"), format!("{alias}{secret}"), format!("{secret}@")];
    let wrapped = |alias: &str, password: &str| {
        format!("ABSK{}", STANDARD.encode(format!("{alias}:{password}")))
    };
    let keys = [secret.to_owned(), cut.to_owned(), long.clone()].into_iter().chain([
        wrapped(secret, secret),
        wrapped(cut, ""),
        wrapped(alias, secret),
        wrapped(unused, secret),
    ]);
    let keys: Vec<String> = keys.collect();
    for service in &services() {
        for (name, password) in [
            (alias, secret),
            (alias, cut),
            (unused, secret),
            (secret, secret),
            (secret, alias),
            (secret, ""),
            (cut, secret),
            (&secret.to_lowercase(), secret),
            (&around[0], secret),
            (&around[1], secret),
            (&around[2], secret),
            (&long, alias),
        ] {
            let _ = iam.authenticate(service, name, password);
            let _ = doors.authenticate(service, name, password);
        }
        for key in &keys {
            let _ = iam.authenticate_api_key(service, key);
            let _ = doors.authenticate_api_key(service, key);
        }
    }
}

/// Calls every operation of a manager, and returns the secrets to search for.
fn call_every_operation<S: Store>(iam: &CredentialManager<S>, clock: &FixedClock) -> Hunt {
    let [anika, bo] = ["anika", "bo"].map(name::<UserName>);
    let [codecommit, bedrock, cassandra, git] = &services();
    let mut hunt = Hunt::default();
    iam.register_user(&anika).unwrap();
    iam.ensure_user(&bo).unwrap();
    iam.register_user(&bo).unwrap_err();
    let age = Lifetime::days(1).unwrap();
    let mut issued = vec![
        iam.create_with_options(&anika, codecommit, &CreateOptions::new().lifetime(age)).unwrap(),
        iam.create(&anika, codecommit).unwrap(),
        iam.create_with_options(&anika, bedrock, &CreateOptions::new().lifetime(age)).unwrap(),
        iam.create(&anika, bedrock).unwrap(),
        iam.create(&bo, cassandra).unwrap(),
    ];
    iam.create(&anika, codecommit).unwrap_err();
    iam.create(&anika, git).unwrap_err();
    for place in 0..4 {
        issued.push(iam.reset(&anika, issued[place].id()).unwrap());
    }
    for issued in &issued {
        hunt.add(issued.secret());
        send_secrets(iam, issued);
    }
    for (place, status) in [(1, Status::Inactive), (3, Status::Inactive), (3, Status::Active)] {
        iam.set_status(&anika, issued[place].id(), status).unwrap();
    }
    clock.advance(Duration::DAY);
    issued.iter().skip(5).for_each(|issued| send_secrets(iam, issued));
    let missing: CredentialId = name("ACCA12345ABCDEXAMPLE");
    iam.reset(&bo, issued[0].id()).unwrap_err();
    iam.reset(&anika, &missing).unwrap_err();
    iam.list(&anika).unwrap();
    iam.list_for_service(&anika, bedrock).unwrap();
    let request = ListRequest::all_users().max_items(MaxItems::new(1).unwrap());
    let page = iam.list_page(&request).unwrap();
    iam.list_page(&request.marker(page.next.unwrap())).unwrap();
    iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
    iam.user(&anika).unwrap();
    iam.rename_user(&anika, &bo).unwrap_err();
    iam.rename_user(&anika, &name("anna")).unwrap();
    iam.delete(&name("anna"), issued[0].id()).unwrap();
    iam.remove_user(&bo).unwrap_err();
    iam.remove_user_with_credentials(&bo).unwrap();
    hunt
}

/// What the logs contain of a looked-up service user name.
fn looked_up() -> Hunt {
    let mut hunt = Hunt::default();
    hunt.add_text(b"nobody+1-at-");
    hunt
}

/// Checks that events of these operations and reasons were logged, and that no line contains a
/// secret.
fn check(hunt: &Hunt) {
    let log = log();
    for operation in ["authenticate", "create", "reset", "rename_user", "list_page"] {
        assert!(log.contains(&format!("operation=\"{operation}\"")), "{operation}");
    }
    for reason in ["inactive", "expired", "wrong-secret", "unknown-name", "too-long"] {
        assert!(log.contains(&format!("reason=\"{reason}\"")), "{reason}");
    }
    let line = log.lines().find(|line| hunt.found_in(line));
    assert_eq!(line, None);
}

#[test]
fn no_secret_of_a_memory_store_is_logged() {
    let (iam, clock) = manager(MemoryStore::new(), 1);
    check(&call_every_operation(&iam, &clock));
}

#[test]
fn no_secret_of_a_file_is_logged() {
    let folder = Folder::new("logs");
    let (iam, clock) = manager(RedbStore::create(folder.file("store.redb")).unwrap(), 2);
    check(&call_every_operation(&iam, &clock));
}

#[cfg(unix)]
#[test]
fn no_secret_is_logged_by_the_database_client_or_server() {
    use service_specific_credentials::store::PostgresOptions;

    let Some(installation) = database::Installation::find() else { return };
    let settings = ["log_statement=all", "log_duration=on", "log_min_messages=debug1", "fsync=off"];
    let server = installation.server(&settings);
    let store = database::wait(async { server.space().await.store(&PostgresOptions::new()).await });
    let (iam, clock) = manager(database::Blocking(store), 3);
    let hunt = call_every_operation(&iam, &clock);
    let (client, logged) = (log(), server.log());
    // Both log the looked-up values, and the search finds them.
    let statements = |line: &&str| line.contains("tokio_postgres::query: executing statement");
    let executed: Vec<&str> = client.lines().filter(statements).collect();
    assert!(executed.iter().any(|line| looked_up().found_in(line)), "{executed:?}");
    assert!(logged.contains("parameters: $1 = '\\x") && looked_up().found_in(&logged));
    check(&hunt);
    assert_eq!(logged.lines().find(|line| hunt.found_in(line)), None);

    // The messages of a failure, too.
    server.crash();
    let (anika, codecommit): (UserName, ServiceName) = (name("anna"), name(CODECOMMIT));
    let error = iam.create(&anika, &codecommit).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    let login = "anika+1-at-123456789012";
    let error = iam.authenticate(&codecommit, login, "guess").unwrap_err();
    assert!(matches!(error, AuthenticationError::Unavailable(_)), "{error:?}");
    assert!(log().contains("outcome=\"unavailable\" cause="));
    check(&hunt);
}

#[test]
fn logs_of_every_crate_and_thread_are_searched() {
    let (iam, _) = manager(MemoryStore::new(), 4);
    iam.register_user(&name("anika")).unwrap();
    let issued = iam.create(&name("anika"), &name(CODECOMMIT)).unwrap();
    let mut hunt = Hunt::default();
    hunt.add(issued.secret());
    assert!(!hunt.found_in(&log()));
    let part = issued.secret().expose()[3..12].to_owned();
    std::thread::spawn(move || tracing::trace!(target: "another", leak = part)).join().unwrap();
    assert!(hunt.found_in(&log()));
}
