//! A store in a file compared with direct use of redb: the same bytes, the same tables, the same
//! two flushes per commit. From 1,000 users to 1,000,000.
//!
//! The files are in the folder `SSC_BENCH_FOLDER`, or in `target`; the cost of a flush depends on
//! its disk.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod contest;
mod measure;

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use contest::{Direct, Owner, account, service};
use measure::{Figures, Target, in_turns, median, sizes, time};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};
use service_specific_credentials::{
    CredentialManager,
    store::{Key, RedbOptions, RedbStore, UserRecord},
};
use tokio::runtime::Builder;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");

/// The database without the store. As the store does, it keeps the tables of the last commit open
/// for reading.
#[derive(Clone)]
struct Transactions {
    database: Arc<Database>,
    tables: Arc<RwLock<Tables>>,
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

struct Tables {
    records: Table,
    index: Table,
}

impl Tables {
    fn open(database: &Database) -> Self {
        let reading = database.begin_read().unwrap();
        Self {
            records: reading.open_table(RECORDS).unwrap(),
            index: reading.open_table(INDEX).unwrap(),
        }
    }
}

/// The rows of a user.
struct Rows {
    id: Vec<u8>,
    record: Vec<u8>,
    claimed: Vec<Vec<u8>>,
}

impl Transactions {
    fn new(database: Database) -> Self {
        let tables = Arc::new(RwLock::new(Tables::open(&database)));
        Self { database: Arc::new(database), tables }
    }

    fn commit(&self, rows: &Rows, claimed: &[Vec<u8>]) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_two_phase_commit(true);
        {
            let mut records = transaction.open_table(RECORDS).unwrap();
            let mut index = transaction.open_table(INDEX).unwrap();
            for key in claimed {
                index.insert(key.as_slice(), rows.id.as_slice()).unwrap();
            }
            records.insert(rows.id.as_slice(), rows.record.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        *self.tables.write().unwrap() = Tables::open(&self.database);
    }
}

impl Direct for Transactions {
    const READS: usize = 2_000;
    const CHANGES: usize = 20;
    const COMPARED: &'static [usize] = &[1];
    const TARGETS: [Target; 2] = [Target::AtMost(1.25), Target::AtMost(1.18)];

    type Place = Vec<u8>;
    type Rows = Rows;

    fn place(key: &Key<'_>, _: &UserRecord) -> Vec<u8> {
        key.encode()
    }

    fn rows(record: &UserRecord, claimed: &[Key<'_>]) -> Rows {
        Rows {
            id: record.id().as_bytes().to_vec(),
            record: record.encode(),
            claimed: claimed.iter().map(Key::encode).collect(),
        }
    }

    async fn find(&self, key: &Vec<u8>) {
        let tables = self.tables.read().unwrap();
        let id = tables.index.get(key.as_slice()).unwrap().unwrap();
        black_box(tables.records.get(id.value()).unwrap().unwrap().value());
    }

    async fn create(&self, key: &Vec<u8>, rows: &Rows) {
        self.find(key).await;
        self.commit(rows, &rows.claimed);
    }

    async fn reset(&self, key: &Vec<u8>, rows: &Rows) {
        self.find(key).await;
        self.commit(rows, &[]);
    }
}

/// Authenticates with and without another thread that creates and deletes.
fn authenticate_during_creates(
    figures: &mut Figures,
    iam: &CredentialManager<RedbStore>,
    owners: &[Arc<Owner<Transactions>>],
    users: usize,
) {
    const COUNT: usize = 20_000;
    let service = service();
    let authenticate = || {
        time(COUNT, || {
            for owner in owners.iter().cycle().take(COUNT) {
                iam.authenticate(&service, &owner.login, &owner.password).unwrap();
            }
        })
    };
    let (stop, go) = (AtomicBool::new(false), AtomicBool::new(false));
    let times = thread::scope(|scope| {
        let (service, stop, go) = (&service, &stop, &go);
        // It creates and deletes until told to stop.
        let creating = scope.spawn(move || {
            for owner in owners.iter().cycle() {
                while !go.load(Ordering::Acquire) && !stop.load(Ordering::Acquire) {
                    thread::park();
                }
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let issued = iam.create(&owner.user, service).unwrap();
                iam.delete(&owner.user, issued.id()).unwrap();
            }
        });
        let times = in_turns(
            || {
                go.store(true, Ordering::Release);
                creating.thread().unpark();
                let time = authenticate();
                go.store(false, Ordering::Release);
                time
            },
            authenticate,
        );
        stop.store(true, Ordering::Release);
        creating.thread().unpark();
        times
    });
    let operation = "authenticate during creates, and without";
    figures.compared(operation, (users, 1), Target::AtMost(1.67), &times);
}

/// The times to open and to check the file.
fn open(figures: &mut Figures, path: &Path, store: RedbStore, users: usize) {
    // The file as a crash leaves it.
    let crashed = path.with_extension("crashed");
    fs::copy(path, &crashed).unwrap();
    drop(store);
    let open = |options: RedbOptions, path: &Path| {
        let start = Instant::now();
        let store = options.open(path).unwrap();
        let opened = start.elapsed();
        drop(store);
        opened
    };
    let mut time = |what: &str, work: &dyn Fn() -> std::time::Duration| {
        let millis = median((0..5).map(|_| work().as_secs_f64() * 1e3));
        figures.value(&format!("{what}, {users} users"), millis, "ms", Target::None);
    };
    time("open", &|| open(RedbOptions::new(), path));
    time("open, checked", &|| open(RedbOptions::new().check_on_open(true), path));
    time("check_integrity", &|| {
        let start = Instant::now();
        assert!(RedbStore::check_integrity(path).unwrap());
        start.elapsed()
    });
    let again = path.with_extension("again");
    time("open after a crash", &|| {
        fs::copy(&crashed, &again).unwrap();
        open(RedbOptions::new(), &again)
    });
}

fn main() {
    let folder = std::env::var_os("SSC_BENCH_FOLDER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target")),
        PathBuf::from,
    );
    let folder = folder.join(format!("durable-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("store.redb");
    let store = RedbStore::create(&path).unwrap();
    let runtime = Builder::new_multi_thread().build().unwrap();
    let sizes = sizes(1_000_000);
    let users = sizes[sizes.len() - 1];

    let mut figures = Figures::default();
    // A copy of the file, because only one process can have a file open, once.
    let copies = AtomicUsize::new(0);
    let copy = || {
        let number = copies.fetch_add(1, Ordering::Relaxed);
        let copy = folder.join(format!("direct-{number}.redb"));
        store.backup(&copy).unwrap();
        let database = Database::create(&copy).unwrap();
        // Unlinked files are removed when they are closed.
        fs::remove_file(&copy).unwrap();
        Transactions::new(database)
    };
    let owners = contest::run(&runtime, &mut figures, &store.clone().into_async(), &sizes, copy);
    let creates = |callers| {
        let mut latencies = figures.latencies.iter();
        latencies.find(|found| found.operation == "create" && found.callers == callers)
    };
    if let (Some(one), Some(many)) = (creates(1), creates(64)) {
        let gain = many.per_second / one.per_second;
        let what = "creates of 64 callers, to those of one caller";
        figures.value(what, gain, "times", Target::AtLeast(8.0));
    }
    drop(runtime);

    let iam = CredentialManager::new(account(), store);
    authenticate_during_creates(&mut figures, &iam, &owners, users);
    let store = iam.store().clone();
    drop(iam);
    open(&mut figures, &path, store, users);
    fs::remove_dir_all(&folder).unwrap();
    figures.write("durable");
}
