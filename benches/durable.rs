//! A store in a file compared with direct use of redb: the same bytes, the same tables, the same
//! two flushes per commit. The contenders run in turns. The medians are printed.
//!
//! The files are in the folder `SSC_BENCH_FOLDER`, or in `target`; the cost of a flush depends on
//! its disk. `SSC_BENCH_USERS` sets the number of users in the store that is opened and
//! authenticates. Default: 100,000.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};
use service_specific_credentials::{
    CredentialManager, MemoryStore, ServiceName, UserName,
    store::{Key, RedbOptions, RedbStore, Store as _},
};
use sha2::{Digest as _, Sha256};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const ROUNDS: usize = 9;
const ACCOUNT: &str = "123456789012";

fn user(number: usize) -> UserName {
    format!("user{number:06}").parse().unwrap()
}

fn service() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

/// A user with a credential, its service user name and its password.
struct Owner {
    user: UserName,
    login: String,
    password: String,
}

/// Registers users, each with a credential, on many threads.
fn populate(iam: &CredentialManager<RedbStore>, users: usize) -> Vec<Owner> {
    let numbers: Vec<usize> = (0..users).collect();
    let service = service();
    thread::scope(|scope| {
        let threads: Vec<_> = numbers
            .chunks(users.div_ceil(256))
            .map(|numbers| {
                let service = &service;
                scope.spawn(move || {
                    let owner = |&number: &usize| {
                        let user = user(number);
                        iam.register_user(&user).unwrap();
                        let issued = iam.create(&user, service).unwrap();
                        let login = issued.service_user_name().as_str().to_owned();
                        Owner { user, login, password: issued.secret().expose().to_owned() }
                    };
                    numbers.iter().map(owner).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn login_key(login: &str) -> Vec<u8> {
    let account = ACCOUNT.parse().unwrap();
    Key::ServiceUser { account, service: &service(), name: login }.encode()
}

/// The rate per second of `work`, which repeats an operation `count` times.
fn rate(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    count as f64 / start.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures all contenders in turns, and returns the median of each.
fn in_turns<const N: usize>(mut contenders: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut figures: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
            figures.push(contender());
        }
    }
    figures.map(median)
}

fn row(what: &str, ours: f64, direct: f64, target: &str) {
    println!("{what:<44}{ours:>12.0}{direct:>12.0}{:>8.2}  {target}", ours / direct);
}

/// The rows that creating a credential writes: the record and four keys.
struct Rows {
    id: Vec<u8>,
    record: Vec<u8>,
    keys: Vec<Vec<u8>>,
}

/// The rows that creating a credential writes, from a store in memory that does the same.
fn rows(users: std::ops::Range<usize>) -> Vec<Rows> {
    let store = Arc::new(MemoryStore::new());
    let account = ACCOUNT.parse().unwrap();
    let iam = CredentialManager::new(account, Arc::clone(&store));
    let service = service();
    users
        .map(|number| {
            let user = user(number);
            iam.register_user(&user).unwrap();
            let issued = iam.create(&user, &service).unwrap();
            let record = store.find(&Key::User { account, name: &user }).unwrap().unwrap();
            let keys = [
                Key::Credential { account, id: issued.id() },
                Key::ServiceUser {
                    account,
                    service: &service,
                    name: issued.service_user_name().as_str(),
                },
                Key::Holder { account, service: None, user: &user },
                Key::Holder { account, service: Some(&service), user: &user },
            ];
            Rows {
                id: record.id().as_bytes().to_vec(),
                record: record.encode(),
                keys: keys.iter().map(Key::encode).collect(),
            }
        })
        .collect()
}

fn commit_directly(database: &Database, rows: &Rows) {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    {
        let mut records = transaction.open_table(RECORDS).unwrap();
        let mut index = transaction.open_table(INDEX).unwrap();
        for key in &rows.keys {
            index.insert(key.as_slice(), rows.id.as_slice()).unwrap();
        }
        records.insert(rows.id.as_slice(), rows.record.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Creates for registered users without credentials: one caller, direct commits, 64 callers.
fn create(folder: &Path) {
    const ONE: usize = 100;
    const MANY: usize = 64 * 30;
    let iam = CredentialManager::new(
        ACCOUNT.parse().unwrap(),
        RedbStore::create(folder.join("create.redb")).unwrap(),
    );
    let total = ROUNDS * (ONE + MANY);
    let users: Vec<UserName> = (0..total).map(user).collect();
    thread::scope(|scope| {
        for users in users.chunks(total.div_ceil(256)) {
            let iam = &iam;
            scope.spawn(move || {
                for user in users {
                    iam.register_user(user).unwrap();
                }
            });
        }
    });
    // The direct file has as many users and as many keys.
    let direct = Database::create(folder.join("direct.redb")).unwrap();
    let rows = rows(0..total);
    let mut transaction = direct.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    {
        let mut records = transaction.open_table(RECORDS).unwrap();
        let mut index = transaction.open_table(INDEX).unwrap();
        for (user, rows) in users.iter().zip(&rows) {
            let key = Key::User { account: ACCOUNT.parse().unwrap(), name: user }.encode();
            index.insert(key.as_slice(), rows.id.as_slice()).unwrap();
            records.insert(rows.id.as_slice(), &[0; 60][..]).unwrap();
        }
    }
    transaction.commit().unwrap();

    let service = service();
    // Spread over all users.
    let mut order: Vec<usize> = (0..total).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for place in (1..total).rev() {
        order.swap(place, rng.random_range(0..=place));
    }
    let (ones, many) = order.split_at(ROUNDS * ONE);
    let (mut ours, mut theirs, mut all) = (ones.chunks(ONE), ones.chunks(ONE), many.chunks(MANY));
    let [one, direct, callers] = in_turns([
        &mut || {
            let picks = ours.next().unwrap();
            rate(ONE, || {
                for &pick in picks {
                    black_box(&iam.create(&users[pick], &service).unwrap());
                }
            })
        },
        &mut || {
            let picks = theirs.next().unwrap();
            rate(ONE, || picks.iter().for_each(|&pick| commit_directly(&direct, &rows[pick])))
        },
        &mut || {
            // All 64 work from start to end: each takes the next of all users.
            let (picks, next) = (all.next().unwrap(), AtomicUsize::new(0));
            let ready = Barrier::new(64 + 1);
            thread::scope(|scope| {
                let callers: Vec<_> = (0..64)
                    .map(|_| {
                        scope.spawn(|| {
                            ready.wait();
                            while let Some(&pick) = picks.get(next.fetch_add(1, Ordering::Relaxed))
                            {
                                black_box(&iam.create(&users[pick], &service).unwrap());
                            }
                        })
                    })
                    .collect();
                ready.wait();
                rate(MANY, || callers.into_iter().for_each(|caller| caller.join().unwrap()))
            })
        },
    ]);
    row("create, one caller / direct commits", one, direct, "at least 0.85");
    row("create, 64 callers / one caller", callers, one, "at least 5");
}

/// The reads of an authentication, directly with redb.
fn look_up(
    index: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    records: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    password: &str,
) {
    let id = index.get(key).unwrap().unwrap();
    let record = records.get(id.value()).unwrap().unwrap();
    black_box((record.value(), Sha256::digest(password)));
}

fn authenticate(path: &Path, iam: CredentialManager<RedbStore>, owners: &[Owner]) {
    const COUNT: usize = 20_000;
    let service = service();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let picks: Vec<(&Owner, Vec<u8>)> = std::iter::repeat_with(|| {
        let owner = &owners[rng.random_range(0..owners.len())];
        (owner, login_key(&owner.login))
    })
    .take(COUNT)
    .collect();
    let ours = || {
        rate(COUNT, || {
            for (owner, _) in &picks {
                iam.authenticate(&service, &owner.login, &owner.password).unwrap();
            }
        })
    };

    // The same file for both: a copy, because only one process can have a file open.
    let copy = path.with_extension("copy");
    iam.store().backup(&copy).unwrap();
    let database = Database::create(&copy).unwrap();
    let reading = database.begin_read().unwrap();
    let (index, records) =
        (reading.open_table(INDEX).unwrap(), reading.open_table(RECORDS).unwrap());
    let [found, plain, kept] = in_turns([
        &mut || ours(),
        &mut || {
            rate(COUNT, || {
                for (owner, key) in &picks {
                    let reading = database.begin_read().unwrap();
                    let index = reading.open_table(INDEX).unwrap();
                    let records = reading.open_table(RECORDS).unwrap();
                    look_up(&index, &records, key, &owner.password);
                }
            })
        },
        &mut || {
            rate(COUNT, || {
                for (owner, key) in &picks {
                    look_up(&index, &records, key, &owner.password);
                }
            })
        },
    ]);
    row("authenticate / direct, tables opened", found, plain, "at least 0.6");
    row("authenticate / direct, tables kept open", found, kept, "");
    drop((index, records, reading));

    let (stop, go) = (AtomicBool::new(false), AtomicBool::new(false));
    let [with, without] = thread::scope(|scope| {
        let (iam, service, stop, go) = (&iam, &service, &stop, &go);
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
        let measured = in_turns([
            &mut || {
                go.store(true, Ordering::Release);
                creating.thread().unpark();
                let rate = ours();
                go.store(false, Ordering::Release);
                rate
            },
            &mut || ours(),
        ]);
        stop.store(true, Ordering::Release);
        creating.thread().unpark();
        measured
    });
    row("authenticate while creates run / without", with, without, "at least 0.6");

    let users = owners.len();
    // The file as a crash leaves it.
    let crashed = path.with_extension("crashed");
    fs::copy(path, &crashed).unwrap();
    drop(iam);
    let open = |options: RedbOptions, path: &Path| {
        let store = options.open(path).unwrap();
        let opened = Instant::now();
        drop(store);
        opened
    };
    let now = Instant::now;
    time("open", users, || (now(), open(RedbOptions::new(), path)));
    time("open, checked", users, || (now(), open(RedbOptions::new().check_on_open(true), path)));
    time("check_integrity", users, || {
        let start = now();
        assert!(RedbStore::check_integrity(path).unwrap());
        (start, now())
    });
    let again = path.with_extension("again");
    time("open after a crash", users, || {
        fs::copy(&crashed, &again).unwrap();
        (now(), open(RedbOptions::new(), &again))
    });
}

/// Prints the median time between two instants.
fn time(what: &str, users: usize, mut work: impl FnMut() -> (Instant, Instant)) {
    let times = std::iter::repeat_with(|| {
        let (start, end) = work();
        (end - start).as_secs_f64() * 1e3
    });
    let median = median(times.take(ROUNDS).collect());
    println!("{:<44}{median:>9.1} ms", format!("{what}, {users} users"));
}

fn main() {
    let folder = std::env::var_os("SSC_BENCH_FOLDER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target")),
        PathBuf::from,
    );
    let folder = folder.join(format!("durable-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    println!("{:<44}{:>12}{:>12}{:>8}  target", "a second", "ours", "floor", "ratio");
    create(&folder);
    let path = folder.join("store.redb");
    let iam = CredentialManager::new(ACCOUNT.parse().unwrap(), RedbStore::create(&path).unwrap());
    let users = std::env::var("SSC_BENCH_USERS").map_or(100_000, |users| users.parse().unwrap());
    let owners = populate(&iam, users);
    authenticate(&path, iam, &owners);
    fs::remove_dir_all(&folder).unwrap();
}
