//! Amazon's DynamoDB Local, started for tests.
//!
//! It is expected in `target/dynamodb-local`, where `tests/dynamodb/run` installs it, or at
//! `SSC_DYNAMODB_LOCAL`. Each server keeps its tables in memory and listens on a free port. A
//! guardian shell stops it when this process ends in any way.
//!
//! With `SSC_DYNAMODB_PORT`, the tests use a running server at this port instead. A server takes
//! seconds to start, and gets faster for minutes.
//!
//! Without it, or without Java, a test prints that it is skipped, and passes. With
//! `SSC_REQUIRE_DYNAMODB=1` it fails.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests may fail as a test does"
)]

#[allow(clippy::duplicate_mod, reason = "one test file uses both kinds of servers")]
mod runtime;

use std::{
    collections::HashMap,
    env,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::runtime::{Blocking, TIMEOUT, guard, runtime, until, wait};
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::AttributeValue,
};
use service_specific_credentials::store::{DynamoDbOptions, DynamoDbStore, UserRecord};
use sha2::{Digest as _, Sha256};

/// A server.
pub(crate) struct Server {
    port: u16,
    /// `None` if the server ran before. The guardian shell waits until its input closes.
    process: Option<(Mutex<Child>, ChildStdin)>,
}

/// The folder of DynamoDB Local. If it is `None`, the test is to be skipped.
fn installation() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dynamodb-local");
    let folder = env::var_os("SSC_DYNAMODB_LOCAL").map_or(installed, PathBuf::from);
    let java = Command::new("java").arg("-version").stderr(Stdio::null()).status();
    if folder.join("DynamoDBLocal.jar").exists() && java.is_ok_and(|status| status.success()) {
        return Some(folder);
    }
    let required = env::var_os("SSC_REQUIRE_DYNAMODB").is_some_and(|value| value != "0");
    assert!(!required, "there is no DynamoDB Local, and SSC_REQUIRE_DYNAMODB is set");
    // Bypasses the capture of the output of passing tests.
    let _ = io::stderr().write_all(b"SKIPPED: tests/dynamodb/run installs DynamoDB Local\n");
    None
}

impl Server {
    /// Starts a server.
    pub(crate) fn start() -> Option<Self> {
        if let Ok(port) = env::var("SSC_DYNAMODB_PORT") {
            return Some(Self { port: port.parse().unwrap(), process: None });
        }
        let folder = installation()?;
        // Another process may take the port first.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new("java")
                .arg("-Djava.library.path=./DynamoDBLocal_lib")
                .args(["-jar", "DynamoDBLocal.jar", "-inMemory", "-sharedDb", "-port"])
                .arg(port.to_string())
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let guarded = guard(child.id(), "kill -KILL \"$1\" 2>/dev/null", &[]);
            if listens(&mut child, port) {
                return Some(Self { port, process: Some((Mutex::new(child), guarded)) });
            }
        }
        panic!("there is no free port");
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A new table, created by the store.
    pub(crate) async fn table(&self) -> Table {
        let table = self.unused();
        table.store().create_table().await.unwrap();
        table
    }

    /// The name of a table that does not exist.
    pub(crate) fn unused(&self) -> Table {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("table-{}-{number}", std::process::id());
        Table { port: self.port, name }
    }
}

/// Waits until the server accepts connections. Returns `false` if it ends instead.
fn listens(child: &mut Child, port: u16) -> bool {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        assert!(start.elapsed() < TIMEOUT, "DynamoDB Local does not start");
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Does not run for a server in a static; the guardian stops that one.
impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.process {
            let child = child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The server that the tests of one file share. If it is `None`, the test is to be skipped.
pub(crate) fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

/// A client of the endpoint at a local port, with its own connections.
pub(crate) fn client(port: u16) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "hunter2", None, None, "test"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .http_client(http);
    Client::from_conf(config.build())
}

/// A table of a server.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) port: u16,
    pub(crate) name: String,
}

pub(crate) type Item = HashMap<String, AttributeValue>;

impl Table {
    /// The same table, through another port.
    pub(crate) fn behind(&self, port: u16) -> Self {
        Self { port, name: self.name.clone() }
    }

    pub(crate) fn client(&self) -> Client {
        client(self.port)
    }

    pub(crate) fn store(&self) -> DynamoDbStore {
        self.store_with(&DynamoDbOptions::new())
    }

    pub(crate) fn store_with(&self, options: &DynamoDbOptions) -> DynamoDbStore {
        DynamoDbStore::from_client_with(options, &self.client(), &self.name)
    }

    /// All items.
    pub(crate) async fn items(&self) -> Vec<Item> {
        let client = self.client();
        let scan = client.scan().table_name(&self.name).consistent_read(true).into_paginator();
        let items = scan.items().send().collect::<Result<Vec<_>, _>>();
        items.await.unwrap()
    }

    /// Checks that the key items are exactly those of the records, and that the other attributes of
    /// a record agree with it. Returns the records.
    pub(crate) async fn check(&self) -> Vec<UserRecord> {
        let bytes = |item: &Item, name: &str| match &item[name] {
            AttributeValue::B(bytes) => bytes.as_ref().to_vec(),
            other => panic!("{name}: {other:?}"),
        };
        let text = |item: &Item, name: &str| match &item[name] {
            AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let (mut records, mut keys, mut formats) = (Vec::new(), Vec::new(), 0);
        for item in self.items().await {
            let (partition, sort) = (bytes(&item, "pk"), bytes(&item, "sk"));
            match partition[0] {
                0 => {
                    assert_eq!((&*partition, &*sort), (&[0][..], &[0][..]));
                    assert_eq!(text(&item, "format"), "1");
                    formats += 1;
                }
                1 => {
                    let record = UserRecord::decode(&bytes(&item, "record")).unwrap();
                    assert_eq!((&partition[1..], &*sort), (&record.id().as_bytes()[..], &[0][..]));
                    assert_eq!(text(&item, "revision"), record.revision().count().to_string());
                    assert_eq!(bytes(&item, "change_id").len(), 16);
                    assert_eq!(text(&item, "account"), record.account().to_string());
                    assert_eq!(text(&item, "user_name"), record.name().as_str());
                    assert_eq!(text(&item, "credentials"), record.credential_count().to_string());
                    assert_eq!(item.len(), 8);
                    records.push(record);
                }
                2 => {
                    assert_eq!((&*sort, item.len()), (&[0][..], 3));
                    keys.push((partition[1..].to_vec(), bytes(&item, "user_id")));
                }
                3 => {
                    let (shard, listing) = partition[1..].split_last().unwrap();
                    assert_eq!((*shard, item.len()), (Sha256::digest(&sort)[0] % 8, 3));
                    keys.push(([listing, &sort].concat(), bytes(&item, "user_id")));
                }
                other => panic!("an item of kind {other}"),
            }
        }
        assert_eq!(formats, 1);
        let held = records.iter().flat_map(|record: &UserRecord| {
            record.keys().map(|key| (key.encode(), record.id().as_bytes().to_vec()))
        });
        let mut held: Vec<_> = held.collect();
        held.sort();
        keys.sort();
        assert_eq!(keys, held, "the keys of {}", self.name);
        records
    }
}
