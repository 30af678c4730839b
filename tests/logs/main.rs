//! Nothing that is logged holds a secret: by this crate and by every other, at every level, in
//! operations on every store, and by a PostgreSQL server that logs every statement.
//!
//! What is presented to `authenticate` as a name is untrusted text, and among it are passwords:
//! people type them into the wrong field. Names of users and ids of credentials, in the other
//! operations, are looked up as they are given; a password that somebody types there reaches the
//! logs of a database.

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

/// What all threads have logged, the tests of this file together.
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

/// Everything that any crate logs, through `tracing` or through `log`.
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

/// A manager of a store, and a number of which each test has its own: its secrets are its alone.
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

/// Presents secrets wherever one can: as a name, as a password, as an API key, and in it.
fn present<S: Store>(iam: &CredentialManager<S>, issued: &IssuedCredential) {
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

/// Does everything that a manager can do, and returns the secrets to look for.
fn live<S: Store>(iam: &CredentialManager<S>, clock: &FixedClock) -> Hunt {
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
        present(iam, issued);
    }
    for (place, status) in [(1, Status::Inactive), (3, Status::Inactive), (3, Status::Active)] {
        iam.set_status(&anika, issued[place].id(), status).unwrap();
    }
    clock.advance(Duration::DAY);
    issued.iter().skip(5).for_each(|issued| present(iam, issued));
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

/// What can be found of a service user name that was looked up.
fn looked_up() -> Hunt {
    let mut hunt = Hunt::default();
    hunt.add_text(b"nobody+1-at-");
    hunt
}

/// Names of the file's operations, of which each has an event.
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
fn nothing_is_logged_of_a_secret_in_memory() {
    let (iam, clock) = manager(MemoryStore::new(), 1);
    check(&live(&iam, &clock));
}

#[test]
fn nothing_is_logged_of_a_secret_in_a_file() {
    let folder = Folder::new("logs");
    let (iam, clock) = manager(RedbStore::create(folder.file("store.redb")).unwrap(), 2);
    check(&live(&iam, &clock));
}

#[cfg(unix)]
#[test]
fn nothing_is_logged_of_a_secret_by_the_client_or_the_server_of_a_database() {
    use service_specific_credentials::store::PostgresOptions;

    let Some(installation) = database::Installation::find() else { return };
    let settings = ["log_statement=all", "log_duration=on", "log_min_messages=debug1", "fsync=off"];
    let server = installation.server(&settings);
    let store = database::wait(async { server.space().await.store(&PostgresOptions::new()).await });
    let (iam, clock) = manager(database::Blocking(store), 3);
    let hunt = live(&iam, &clock);
    let (client, logged) = (log(), server.log());
    // Both log what is looked up, and it can be found there.
    let statements = |line: &&str| line.contains("tokio_postgres::query: executing statement");
    let executed: Vec<&str> = client.lines().filter(statements).collect();
    assert!(executed.iter().any(|line| looked_up().found_in(line)), "{executed:?}");
    assert!(logged.contains("parameters: $1 = '\\x") && looked_up().found_in(&logged));
    check(&hunt);
    assert_eq!(logged.lines().find(|line| hunt.found_in(line)), None);

    // And what it says when it fails.
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
fn what_is_logged_by_any_crate_on_any_thread_is_searched() {
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
