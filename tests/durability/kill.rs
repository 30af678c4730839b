//! Kills a process while it writes: every acknowledged change is there, and no change is there in
//! part.
//!
//! A child (this program) works on a store in a file from 8 threads. It prints what it is about to
//! do and what was acknowledged. It is killed after a number of acknowledgements, and its output is
//! compared with the contents of the file.
//!
//! `SSC_KILLS` sets the number of kills. Default: 10.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    ops::AddAssign,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AuthenticationError, Credential, CredentialManager, Error, ServiceName, UserName,
    store::RedbStore,
};

use crate::{
    common::{ACCOUNT, CASSANDRA, CODECOMMIT, Folder, name},
    progress::Run,
};

const THREADS: usize = 8;
/// The number of kills before a new file is started, because every secret that was invalidated in
/// the file is tried after each of them.
const KILLS_PER_FILE: usize = 10;

/// Each thread has its own user, so its changes happen in the order of its output.
fn user(thread: usize) -> UserName {
    name(&format!("user-{thread}"))
}

fn open(path: &Path) -> CredentialManager<RedbStore> {
    CredentialManager::new(name(ACCOUNT), RedbStore::create(path).unwrap())
}

/// The credentials of a user: none if the user is not registered.
fn list(iam: &CredentialManager<RedbStore>, user: &UserName) -> Vec<Credential> {
    match iam.list(user) {
        Err(Error::NoSuchUser { .. }) => Vec::new(),
        listed => listed.unwrap(),
    }
}

/// The child: runs until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os("SSC_KILL_FILE") else { return };
    let seed: u64 = std::env::var("SSC_KILL_SEED").unwrap().parse().unwrap();
    print_line("opening");
    let iam = open(path.as_ref());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let rng = ChaCha20Rng::seed_from_u64(seed * 100 + thread as u64);
            let iam = &iam;
            scope.spawn(move || work(iam, thread, rng));
        }
    });
}

/// Writes one whole line, bypassing the capture of test output.
fn print_line(line: &str) {
    io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

fn work(iam: &CredentialManager<RedbStore>, thread: usize, mut rng: ChaCha20Rng) -> ! {
    let user = user(thread);
    iam.ensure_user(&user).unwrap();
    let mut held = list(iam, &user);
    loop {
        let full = held.len() == 4;
        let pick = rng.random_range(0..6_usize);
        if held.len() < 2 || (pick == 0 && !full) {
            let of = |service| held.iter().filter(|held| *held.service() == name(service)).count();
            let service = if of(CODECOMMIT) < 2 { CODECOMMIT } else { CASSANDRA };
            print_line(&format!("begin {thread} create {service}"));
            let issued = iam.create(&user, &name(service)).unwrap();
            let (id, login, secret) =
                (issued.id(), issued.service_user_name(), issued.secret().expose());
            print_line(&format!("done {thread} create {id} {login} {secret}"));
            held.push(issued.credential().clone());
            continue;
        }
        let id = held[pick % held.len()].id().clone();
        if pick == 1 || (full && pick == 2) {
            print_line(&format!("begin {thread} delete {id}"));
            iam.delete(&user, &id).unwrap();
            print_line(&format!("done {thread} delete {id}"));
            held.retain(|held| *held.id() != id);
        } else {
            print_line(&format!("begin {thread} reset {id}"));
            let issued = iam.reset(&user, &id).unwrap();
            print_line(&format!("done {thread} reset {id} {}", issued.secret().expose()));
        }
    }
}

/// The known state of a credential.
struct Known {
    service: ServiceName,
    login: String,
    /// The expected secret, or `None` if it is unknown.
    secret: Option<String>,
}

/// The known state of the file.
#[derive(Default)]
struct Ledger {
    /// The credentials by thread and id.
    known: [BTreeMap<String, Known>; THREADS],
    /// The pending operation of every thread.
    begun: [Option<Begun>; THREADS],
    /// Service, name and secret of credentials that must never authenticate again.
    invalidated: Vec<(ServiceName, String, String)>,
}

enum Begun {
    Create(ServiceName),
    Reset(String),
    Delete(String),
}

impl Ledger {
    /// Processes one line of output. Returns whether it is an acknowledgement.
    fn process(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let (["begin" | "done", thread, rest @ ..], done) = (&words[..], words[0] == "done") else {
            return false;
        };
        let thread: usize = thread.parse().unwrap();
        let begun = if done { self.begun[thread].take() } else { None };
        let known = &mut self.known[thread];
        match (rest, begun) {
            (["create", service], None) => {
                self.begun[thread] = Some(Begun::Create(name(service)));
            }
            (["reset", id], None) => self.begun[thread] = Some(Begun::Reset((*id).to_owned())),
            (["delete", id], None) => self.begun[thread] = Some(Begun::Delete((*id).to_owned())),
            (["create", id, login, secret], Some(Begun::Create(service))) => {
                let (login, secret) = ((*login).to_owned(), Some((*secret).to_owned()));
                let created = Known { service, login, secret };
                assert!(known.insert((*id).to_owned(), created).is_none());
            }
            (["reset", id, secret], Some(Begun::Reset(begun))) if begun == *id => {
                let secret = Some((*secret).to_owned());
                self.invalidated.extend(known.get_mut(*id).unwrap().replace_secret(secret));
            }
            (["delete", id], Some(Begun::Delete(begun))) if begun == *id => {
                self.invalidated.extend(known.remove(*id).unwrap().replace_secret(None));
            }
            _ => panic!("{line}"),
        }
        done
    }

    /// Compares the known state with the file, and determines whether each pending operation was
    /// applied. Returns how many were applied, and how many were not.
    fn check(&mut self, iam: &CredentialManager<RedbStore>) -> [usize; 2] {
        let mut outcomes = [0, 0];
        for thread in 0..THREADS {
            let listed = list(iam, &user(thread));
            let known = &mut self.known[thread];
            let begun = self.begun[thread].take();
            let unsettled = begun.is_some();
            let mut made = false;
            match begun {
                Some(Begun::Create(service)) => {
                    let unknown =
                        listed.iter().find(|held| !known.contains_key(held.id().as_str()));
                    if let Some(held) = unknown {
                        assert_eq!(*held.service(), service);
                        let (login, id) =
                            (held.service_user_name().to_string(), held.id().to_string());
                        known.insert(id, Known { service, login, secret: None });
                        made = true;
                    }
                }
                Some(Begun::Reset(id)) => {
                    let reset = known.get_mut(&id).unwrap();
                    if reset.secret.is_some() && !reset.authenticates(iam) {
                        self.invalidated.extend(reset.replace_secret(None));
                        made = true;
                    }
                }
                Some(Begun::Delete(id)) if listed.iter().all(|held| held.id().as_str() != id) => {
                    self.invalidated.extend(known.remove(&id).unwrap().replace_secret(None));
                    made = true;
                }
                Some(Begun::Delete(_)) | None => {}
            }
            if unsettled {
                outcomes[usize::from(!made)] += 1;
            }
            // The listed credentials are exactly the known ones, and they authenticate.
            let mut ids: Vec<&str> = listed.iter().map(|held| held.id().as_str()).collect();
            ids.sort_unstable();
            assert_eq!(ids, known.keys().collect::<Vec<_>>());
            for held in &listed {
                let known = &known[held.id().as_str()];
                assert_eq!(
                    (held.service(), held.service_user_name().as_str()),
                    (&known.service, &*known.login)
                );
                assert!(known.secret.is_none() || known.authenticates(iam));
            }
        }
        for (service, login, secret) in &self.invalidated {
            assert!(!authenticates(iam, service, login, secret), "{login} authenticates again");
        }
        outcomes
    }
}

impl Known {
    /// Replaces the secret. Returns the old one, which must never authenticate again.
    fn replace_secret(&mut self, secret: Option<String>) -> Option<(ServiceName, String, String)> {
        let old = std::mem::replace(&mut self.secret, secret)?;
        Some((self.service.clone(), self.login.clone(), old))
    }

    fn authenticates(&self, iam: &CredentialManager<RedbStore>) -> bool {
        authenticates(iam, &self.service, &self.login, self.secret.as_deref().unwrap())
    }
}

fn authenticates(
    iam: &CredentialManager<RedbStore>,
    service: &ServiceName,
    login: &str,
    secret: &str,
) -> bool {
    match iam.authenticate(service, login, secret) {
        Ok(identity) => identity.credential().service_user_name().as_str() == login,
        Err(AuthenticationError::Denied(_)) => false,
        Err(AuthenticationError::Unavailable(error)) => panic!("{error}"),
    }
}

/// Runs the child until `last` changes are acknowledged, or, if that is 0, while it opens the file.
/// Processes its output, and returns the number of acknowledgements.
fn run_and_kill(path: &Path, seed: u64, last: usize, ledger: &mut Ledger) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_writes_until_it_is_killed", "--nocapture"])
        .env("SSC_KILL_FILE", path)
        .env("SSC_KILL_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut acknowledged, mut opening, mut line) = (0, false, String::new());
    while output.read_line(&mut line).unwrap() > 0 {
        // A truncated line was not acknowledged.
        if let Some(whole) = line.strip_suffix('\n') {
            opening |= whole == "opening";
            acknowledged += usize::from(ledger.process(whole));
        }
        line.clear();
        if opening && acknowledged == last {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(opening && acknowledged >= last, "the child stopped by itself");
    acknowledged
}

#[test]
fn a_process_killed_during_creation_leaves_a_file_that_opens_or_none() {
    let folder = Folder::new("kill-new");
    for round in 0..20 {
        let path = folder.file(&format!("{round}.redb"));
        let mut ledger = Ledger::default();
        run_and_kill(&path, round, 0, &mut ledger);
        ledger.check(&open(&path));
    }
    // A killed process may leave the new file under its temporary name, and no other file.
    for file in fs::read_dir(&folder.0).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert_eq!(Path::new(&name).extension().unwrap(), "redb", "{name}");
        assert!(name.starts_with(".new-store-") || name.len() <= "19.redb".len(), "{name}");
    }
}

#[derive(Default)]
struct Counts {
    acknowledged: usize,
    /// Pending operations that were found to be applied.
    applied: usize,
    not_applied: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, Self { acknowledged, applied, not_applied }: Self) {
        self.acknowledged += acknowledged;
        self.applied += applied;
        self.not_applied += not_applied;
    }
}

/// Kills processes that work on one file.
fn kill_processes(folder: &Folder, seed: u64, run: &Run) -> Counts {
    let path = folder.file(&format!("{seed}.redb"));
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (mut ledger, mut counts) = (Ledger::default(), Counts::default());
    for round in (0..KILLS_PER_FILE).take_while(|_| !run.is_done()) {
        // In every fifth round it is killed while it opens the file.
        let last = if round % 5 == 4 { 0 } else { rng.random_range(1..400) };
        let acknowledged = run_and_kill(&path, rng.random::<u32>().into(), last, &mut ledger);
        let iam = open(&path);
        let [applied, not_applied] = ledger.check(&iam);
        drop(iam);
        assert!(RedbStore::check_integrity(&path).unwrap());
        counts += Counts { acknowledged, applied, not_applied };
        run.advance(1);
    }
    fs::remove_file(path).unwrap();
    counts
}

#[test]
fn changes_of_a_killed_process_are_durable_and_atomic() {
    let run = Run::start("kills", "SSC_KILLS", 10);
    let folder = Folder::new("kill");
    let Counts { acknowledged, applied, not_applied } =
        run.each_seed(|seed| kill_processes(&folder, seed, &run));
    assert!(acknowledged > 0 && applied + not_applied > 0);
    run.finish(format_args!(
        "0 changes lost or torn; {acknowledged} acknowledged; in flight: {applied} applied, \
         {not_applied} not applied"
    ));
}
