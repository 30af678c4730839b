//! Damaged files: nothing panics, and an integrity check detects all damage.
//!
//! Each block of a store's file is damaged in turn: filled with zeros, with one bit flipped, or
//! with the file truncated there. Then every operation is called, in child processes, because redb
//! ends the process in rare cases: by a panic during unwinding, or by a stack overflow.
//!
//! `SSC_DAMAGE_BITS` sets how many bits of each block are flipped, one at a time. A seed determines
//! the positions of the bits, so each run tries the same damage.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    num::NonZeroUsize,
    ops::Bound,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AuthenticationError, CredentialManager, ServiceName, UserName,
    store::{Key, Listing, RedbOptions, RedbStore, ScanRange, Store as _},
    testing::{FixedClock, SeededEntropy},
};

use crate::common::{ACCOUNT, CASSANDRA, CODECOMMIT, Folder, dawn, name};

const USERS: usize = 30;
const BLOCK: usize = 4096;

type Iam = CredentialManager<RedbStore>;

fn manager(store: RedbStore) -> Iam {
    CredentialManager::new(name(ACCOUNT), store)
}

fn user(number: usize) -> UserName {
    name(&format!("user{number:02}"))
}

/// A damage to the file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Zeroed(usize),
    Truncated(usize),
    Flipped { byte: usize, bit: u8 },
}

impl Damage {
    /// All damages to try on a file of this length. More bits of the first block are flipped,
    /// because it contains the positions of everything else.
    fn all(len: usize, bits: usize) -> Vec<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(len as u64);
        let mut all = Vec::new();
        for at in (0..len).step_by(BLOCK) {
            all.extend([Self::Zeroed(at), Self::Truncated(at)]);
            let first = at == 0;
            for _ in 0..bits * if first { 16 } else { 1 } {
                let byte = at + rng.random_range(0..if first { 400 } else { BLOCK });
                all.push(Self::Flipped { byte, bit: rng.random_range(0..8) });
            }
        }
        all
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Zeroed(at) => bytes[at..at + BLOCK].fill(0),
            Self::Truncated(at) => bytes.truncate(at),
            Self::Flipped { byte, bit } => bytes[byte] ^= 1 << bit,
        }
    }
}

/// Writes a store that was closed, a copy of it as a crash leaves it, and its passwords.
fn write_stores(folder: &Path) {
    let path = folder.join("closed.redb");
    // The same bytes in each run.
    let iam = CredentialManager::builder(name(ACCOUNT), RedbStore::create(&path).unwrap())
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(1))
        .build();
    let mut passwords = String::new();
    for number in 0..USERS {
        let user = user(number);
        iam.register_user(&user).unwrap();
        for service in [CODECOMMIT, CASSANDRA] {
            let first = iam.create(&user, &name(service)).unwrap();
            let second = iam.create(&user, &name(service)).unwrap();
            iam.delete(&user, first.id()).unwrap();
            let reset = iam.reset(&user, second.id()).unwrap();
            let (name, password) = (reset.service_user_name(), reset.secret().expose());
            passwords.extend([service, " ", name.as_str(), " ", password, "\n"]);
        }
    }
    fs::copy(&path, folder.join("crashed.redb")).unwrap();
    drop(iam);
    fs::write(folder.join("passwords"), passwords).unwrap();
}

/// The result of every kind of read, as text, or the error.
fn read_all(iam: &Iam, passwords: &str) -> Vec<Result<String, String>> {
    let (store, account) = (iam.store(), iam.account());
    let services = [CODECOMMIT, CASSANDRA].map(name::<ServiceName>);
    let mut read = Vec::new();
    for line in passwords.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        read.push(match iam.authenticate(&name(words[0]), words[1], words[2]) {
            Ok(identity) => Ok(format!("{} {}", identity.user_name(), identity.credential_id())),
            Err(AuthenticationError::Denied(_)) => Ok("denied".to_owned()),
            Err(AuthenticationError::Unavailable(error)) => Err(error.to_string()),
        });
    }
    for number in 0..USERS {
        let user = user(number);
        let listed = iam.list(&user);
        read.push(listed.map(|list| format!("{list:?}")).map_err(|error| error.to_string()));
        let found = store.find(&Key::User { account, name: &user });
        if let Ok(Some(found)) = &found {
            for key in found.keys() {
                let by_key = store.find(&key).map_err(|error| error.to_string());
                read.push(by_key.map(|record| {
                    record.map_or_else(String::new, |record| format!("{:?}", record.encode()))
                }));
            }
        }
        let found = found.map_err(|error| error.to_string());
        read.push(found.map(|record| {
            record.map_or_else(String::new, |record| format!("{:?}", record.encode()))
        }));
    }
    let members = services.iter().map(Some).chain([None]);
    let listings = members.map(|service| Listing::Holders { service }).chain([Listing::Users]);
    for listing in listings {
        for limit in [1, USERS, 1000] {
            let limit = NonZeroUsize::new(limit).unwrap();
            let scanned = store.scan(&ScanRange::new(account, listing, Bound::Unbounded, limit));
            read.push(scanned.map_err(|error| error.to_string()).map(|records| {
                format!("{:?}", records.iter().map(|record| record.encode()).collect::<Vec<_>>())
            }));
        }
    }
    read
}

/// Makes every kind of change.
fn write_all(iam: &Iam) {
    let codecommit = name(CODECOMMIT);
    let _ = iam.register_user(&name("new"));
    for number in 0..USERS {
        let user = user(number);
        if let Ok(listed) = iam.list(&user) {
            for credential in listed {
                let _ = iam.reset(&user, credential.id());
            }
        }
        let _ = iam.create(&user, &codecommit);
        if number % 2 == 0 {
            let _ = iam.remove_user_with_credentials(&user);
        }
    }
}

/// The outcome of examining a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    /// The check accepts the file, and all reads return the original data.
    Harmless,
    /// The check detects damage.
    Found,
    /// The check, or the one on opening, accepts the file, and a read fails or returns other data.
    Accepted,
    /// A panic reached the caller.
    Panicked,
}

/// Calls every operation on files with the same damage.
fn examine(folder: &Path, original: &[u8], damage: Damage, expected: &Expected) -> Finding {
    let path = folder.join("damaged.redb");
    let copy = folder.join("copy.redb");
    let mut damaged = original.to_vec();
    damage.apply(&mut damaged);
    let mut panicked = false;
    let mut call = |work: &mut dyn FnMut()| {
        let _ = fs::remove_file(&copy);
        fs::write(&path, &damaged).unwrap();
        panicked |= panic::catch_unwind(AssertUnwindSafe(work)).is_err();
    };
    let mut accepted = false;
    call(&mut || accepted = matches!(RedbStore::check_integrity(&path), Ok(true)));
    let mut differs = false;
    assert!(fs::read(&path).unwrap() == damaged, "the check changed the file");
    call(&mut || {
        if let Ok(store) = RedbStore::open(&path) {
            let iam = manager(store);
            let same = read_all(&iam, &expected.passwords) == expected.read;
            differs |= accepted && !same;
            let _ = iam.store().backup(&copy);
        }
    });
    call(&mut || {
        if let Ok(store) = RedbStore::open(&path) {
            write_all(&manager(store));
        }
    });
    call(&mut || {
        let _ = RedbStore::compact(&path);
    });
    call(&mut || {
        if let Ok(store) = RedbOptions::new().check_on_open(true).create(&path) {
            let iam = manager(store);
            differs |= read_all(&iam, &expected.passwords) != expected.read;
            write_all(&iam);
        }
    });
    match (panicked, differs, accepted) {
        (true, _, _) => Finding::Panicked,
        (false, true, _) => Finding::Accepted,
        (false, false, true) => Finding::Harmless,
        (false, false, false) => Finding::Found,
    }
}

struct Expected {
    passwords: String,
    read: Vec<Result<String, String>>,
}

/// The time limit of one file.
const LIMIT: Duration = Duration::from_secs(120);

/// The child: tries the damages of the given numbers on the given file. It prints each number
/// before it tries the damage, and the finding afterwards.
#[test]
fn child_that_examines_damaged_files() {
    let Ok(task) = env::var("SSC_DAMAGE_CHILD") else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let folder = PathBuf::from(env::var_os("SSC_DAMAGE_FOLDER").unwrap());
    let [first, step] = [1, 2].map(|word| words[word].parse::<usize>().unwrap());
    let file = words[0];
    let original = fs::read(folder.join(file)).unwrap();
    let passwords = fs::read_to_string(folder.join("passwords")).unwrap();
    let own = Folder::new(&format!("damage-{}", std::process::id()));
    let path = own.file("whole.redb");
    fs::write(&path, &original).unwrap();
    assert!(RedbStore::check_integrity(&path).unwrap());
    let read = read_all(&manager(RedbStore::open(&path).unwrap()), &passwords);
    assert!(read.iter().all(Result::is_ok) && !read.contains(&Ok("denied".to_owned())));
    let expected = Expected { passwords, read };
    // Thousands of panics are expected and caught.
    panic::set_hook(Box::new(|_| ()));
    let (done, waits) = mpsc::channel::<()>();
    thread::spawn(move || {
        while waits.recv_timeout(LIMIT).is_ok() {}
        std::process::exit(3);
    });
    let mut out = std::io::stdout();
    for number in (first..).step_by(step) {
        let Some(&damage) = Damage::all(original.len(), bits()).get(number) else { break };
        writeln!(out, "\ntries {number}").unwrap();
        let finding = examine(&own.0, &original, damage, &expected);
        writeln!(out, "finds {finding:?}").unwrap();
        done.send(()).unwrap();
    }
    writeln!(out, "ends").unwrap();
    out.flush().unwrap();
    drop(own);
    std::process::exit(0);
}

fn bits() -> usize {
    env::var("SSC_DAMAGE_BITS").map_or(1, |bits| bits.parse().unwrap())
}

/// Runs children until all damages were tried. Returns the findings by number, `None` if the child
/// ended.
fn run_children(folder: &Path, file: &str, first: usize, step: usize) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    let mut next = first;
    loop {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "damage::child_that_examines_damaged_files", "--nocapture"])
            .env("SSC_DAMAGE_CHILD", format!("{file} {next} {step}"))
            .env("SSC_DAMAGE_FOLDER", folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut tried = None;
        let mut ended = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("tries ") {
                tried = Some(number.parse::<usize>().unwrap());
            } else if let Some(finding) = line.strip_prefix("finds ") {
                findings.push((tried.take().unwrap(), finding.to_owned()));
            }
            ended |= line == "ends";
        }
        let status = child.wait().unwrap();
        if ended {
            return findings;
        }
        let number =
            tried.unwrap_or_else(|| panic!("the child ended before its first attempt: {status}"));
        findings.push((number, format!("{status}")));
        next = number + step;
    }
}

fn examine_file(file: &str) {
    const CHILDREN: usize = 2;
    let folder = Folder::new(&format!("damage-{file}"));
    write_stores(&folder.0);
    let len = fs::read(folder.file(file)).unwrap().len();
    let all = Damage::all(len, bits());
    let findings: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CHILDREN)
            .map(|first| {
                let folder = &folder.0;
                scope.spawn(move || run_children(folder, file, first, CHILDREN))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(findings.len(), all.len());
    let mut counts = BTreeMap::<&str, usize>::new();
    for (number, finding) in &findings {
        *counts.entry(finding).or_default() += 1;
        if !matches!(&**finding, "Harmless" | "Found") {
            println!("{finding}: {:?}", all[*number]);
        }
    }
    println!("{file}, {len} bytes: {counts:?}");
    assert_eq!(counts.get("Panicked"), None);
    assert_eq!(counts.get("Accepted"), None);
}

#[test]
fn damage_of_a_closed_file_never_panics_and_is_detected() {
    examine_file("closed.redb");
}

#[test]
fn damage_of_a_crashed_file_never_panics_and_is_detected() {
    examine_file("crashed.redb");
}
