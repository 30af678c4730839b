//! Storage failures, and how the store recovers from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use redb::{StorageBackend, backends::InMemoryBackend};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialManager, Error, IssuedCredential, ListUsersRequest, MaxItems,
    UserName,
    store::{AsyncRedbStore, RedbError, RedbHealth, RedbOptions, RedbStore, StoreError},
};

use super::{
    ACCOUNT, CODECOMMIT, Folder, async_manager, create, executor, name, open, tasks::Gate,
};

type Iam = CredentialManager<RedbStore>;

/// Storage that can be full, or fail to read. Clones share it.
#[derive(Clone, Debug, Default)]
struct Limited(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    memory: InMemoryBackend,
    state: Mutex<State>,
    connections: AtomicUsize,
    reads_fail: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The blocks that were ever written: their space is allocated.
    blocks: BTreeSet<u64>,
    /// The number of free blocks.
    space: Option<usize>,
    /// The number of writing operations that still succeed.
    operations: Option<usize>,
}

impl Limited {
    fn open(&self, options: &RedbOptions) -> RedbStore {
        let storage = self.clone();
        let connect = move || {
            storage.0.connections.fetch_add(1, Ordering::Relaxed);
            Ok(storage.clone())
        };
        options.create_with_backend(connect).unwrap()
    }

    /// The number of times a store has connected to it.
    fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    fn fill_up(&self, space: Option<usize>, operations: Option<usize>) {
        let mut state = self.0.state.lock().unwrap();
        (state.space, state.operations) = (space, operations);
    }

    fn free(&self) {
        self.fill_up(None, None);
    }

    fn fail_reads(&self, fail: bool) {
        self.0.reads_fail.store(fail, Ordering::Relaxed);
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn allocate(&mut self, offset: u64, len: usize) -> io::Result<()> {
        for block in offset / 4096..=(offset + len.saturating_sub(1) as u64) / 4096 {
            if !self.blocks.contains(&block) {
                match &mut self.space {
                    Some(0) => return Err(io::ErrorKind::StorageFull.into()),
                    Some(left) => *left -= 1,
                    None => {}
                }
                self.blocks.insert(block);
            }
        }
        Ok(())
    }
}

impl StorageBackend for Limited {
    fn len(&self) -> io::Result<u64> {
        self.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.reads_fail.load(Ordering::Relaxed) {
            return Err(io::Error::other("a sector cannot be read"));
        }
        self.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        state.operate()?;
        drop(state.blocks.split_off(&len.div_ceil(4096)));
        self.0.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.state.lock().unwrap().operate()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        state.operate()?;
        state.allocate(offset, data.len())?;
        self.0.memory.write(offset, data)
    }
}

fn source(error: &Error) -> &RedbError {
    match error {
        Error::OutcomeUnknown { source, .. } | Error::Store(source) => cause(source),
        error => panic!("{error:?}"),
    }
}

fn cause(error: &StoreError) -> &RedbError {
    error.get_ref().downcast_ref().unwrap()
}

/// The users of one thread, and the credentials of those that have one.
#[derive(Default)]
struct Caller {
    number: usize,
    next: usize,
    users: BTreeMap<UserName, Option<IssuedCredential>>,
    /// The failed change.
    failed: Option<(Change, Error)>,
}

enum Change {
    Register(UserName),
    Create(UserName),
    Remove(UserName),
}

impl Caller {
    /// Makes a change. Returns whether storage still works.
    fn act(&mut self, iam: &Iam) -> bool {
        let without = self.users.iter().find(|(_, issued)| issued.is_none());
        let (change, result) = if let Some((user, _)) = without {
            let user = user.clone();
            let created = iam.create(&user, &name(CODECOMMIT));
            let created = created.map(|issued| self.users.insert(user.clone(), Some(issued)));
            (Change::Create(user), created.map(drop))
        } else if self.users.len() >= 12 {
            let user = self.users.keys().next().unwrap().clone();
            let removed = iam.remove_user_with_credentials(&user);
            let removed = removed.map(|_| self.users.remove(&user));
            (Change::Remove(user), removed.map(drop))
        } else {
            self.next += 1;
            let user: UserName = name(&format!("u{}-{:06}", self.number, self.next));
            let registered = iam.register_user(&user);
            let registered = registered.map(|_| self.users.insert(user.clone(), None));
            (Change::Register(user), registered.map(drop))
        };
        self.failed = result.err().map(|error| (change, error));
        self.failed.is_none()
    }

    /// Determines whether the failed change was applied. A change that failed with `Stopped` was
    /// not applied.
    fn resolve(&mut self, iam: &Iam) {
        let Some((change, error)) = self.failed.take() else { return };
        let unknown = match source(&error) {
            RedbError::Unknown(_) => true,
            RedbError::Stopped(_) => false,
            cause => panic!("{cause:?}"),
        };
        match change {
            Change::Register(user) => {
                if iam.user(&user).is_ok() {
                    assert!(unknown, "{error:?}");
                    self.users.insert(user, None);
                }
            }
            Change::Create(user) => {
                for credential in iam.list(&user).unwrap() {
                    assert!(unknown, "{error:?}");
                    iam.delete(&user, credential.id()).unwrap();
                }
            }
            Change::Remove(user) => {
                if matches!(iam.user(&user), Err(Error::NoSuchUser { .. })) {
                    assert!(unknown, "{error:?}");
                    self.users.remove(&user);
                }
            }
        }
    }

    /// Every acknowledged change is there.
    fn check(&self, iam: &Iam) {
        for (user, issued) in &self.users {
            let listed = iam.list(user).unwrap();
            let expected: Vec<_> =
                issued.iter().map(|issued| issued.credential().clone()).collect();
            assert_eq!(listed, expected, "{user}");
            if let Some(issued) = issued {
                let (login, password) =
                    (issued.service_user_name().as_str(), issued.secret().expose());
                let identity = iam.authenticate(&name(CODECOMMIT), login, password).unwrap();
                assert_eq!(identity.user_name(), user);
            }
        }
    }
}

fn check_all(iam: &Iam, callers: &[Caller]) {
    for caller in callers {
        caller.check(iam);
    }
    let users = iam
        .list_users_page(&ListUsersRequest::new().max_items(MaxItems::new(1000).unwrap()))
        .unwrap()
        .items;
    let expected = callers.iter().flat_map(|caller| caller.users.keys());
    assert_eq!(
        users.iter().map(service_specific_credentials::User::name).collect::<BTreeSet<_>>(),
        expected.collect()
    );
}

/// Fills the storage, fails, frees space and continues, several times, with the same store.
fn fill_and_free(rounds: usize, options: &RedbOptions, callers: usize) {
    let storage = Limited::default();
    let store = storage.open(options);
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let mut callers: Vec<_> =
        (0..callers).map(|number| Caller { number, ..Caller::default() }).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(rounds as u64);
    for round in 0..rounds {
        assert!(matches!(store.health(), RedbHealth::Ready));
        let connections = storage.connections();
        // An operation fails at some point, unless space runs out before.
        storage.fill_up(Some(rng.random_range(0..10)), Some(rng.random_range(0..200)));
        thread::scope(|scope| {
            for caller in &mut callers {
                scope.spawn(|| while caller.act(&iam) {});
            }
        });
        assert!(callers.iter().any(|caller| {
            let (_, error) = caller.failed.as_ref().unwrap();
            matches!(source(error), RedbError::Unknown(_))
        }));
        assert!(!matches!(store.health(), RedbHealth::Ready));
        if callers.len() > 1 {
            // The full store can be read, unless it cannot be reopened.
            for user in callers.iter().flat_map(|caller| caller.users.keys()) {
                match iam.list(user) {
                    Ok(listed) => assert!(listed.len() <= 1),
                    Err(error) => assert!(matches!(source(&error), RedbError::Stopped(_))),
                }
            }
        }
        storage.free();
        // The next call of any kind succeeds.
        let tasks = async_manager(&store);
        match round % 4 {
            0 => drop(
                iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                    .unwrap(),
            ),
            1 => {
                drop(
                    executor()
                        .block_on(tasks.list_users_page(
                            &ListUsersRequest::new().max_items(MaxItems::default()),
                        ))
                        .unwrap(),
                );
            }
            2 => drop(iam.ensure_user(&name("next")).unwrap()),
            _ => drop(executor().block_on(tasks.ensure_user(&name("next"))).unwrap()),
        }
        let _ = iam.remove_user(&name("next"));
        for caller in &mut callers {
            caller.resolve(&iam);
        }
        check_all(&iam, &callers);
        // A write succeeds.
        iam.register_user(&name("after")).unwrap();
        iam.remove_user(&name("after")).unwrap();
        if callers.len() == 1 {
            assert_eq!(storage.connections() - connections, 1);
        }
    }
    drop((iam, store));
    let iam = CredentialManager::new(name(ACCOUNT), storage.open(&RedbOptions::new()));
    check_all(&iam, &callers);
}

#[test]
fn no_acknowledged_change_is_lost_in_1000_rounds_of_a_full_disk() {
    fill_and_free(1000, &RedbOptions::new(), 1);
}

#[test]
fn many_callers_continue_after_a_full_disk() {
    fill_and_free(200, &RedbOptions::new().retry_interval(Duration::ZERO), 3);
}

#[test]
fn a_panic_during_a_batch_becomes_an_error() {
    let gate = Gate::default();
    let store = gate.open_store();
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    iam.register_user(&name("anika")).unwrap();
    for asynchronously in [true, false] {
        // The next flush panics.
        drop(gate.close());
        let ben = name("ben");
        let error = if asynchronously {
            executor().block_on(async_manager(&store).register_user(&ben)).unwrap_err()
        } else {
            iam.register_user(&ben).unwrap_err()
        };
        assert!(matches!(error, Error::OutcomeUnknown { id: None, .. }), "{error:?}");
        let RedbError::Unknown(first) = source(&error) else { panic!("{error:?}") };
        assert!(matches!(**first, RedbError::Panicked), "{error:?}");
        assert!(matches!(store.health(), RedbHealth::Closed(_)));
        iam.user(&name("anika")).unwrap();
        assert!(matches!(store.health(), RedbHealth::WriteFailed(_)));
        iam.register_user(&name("carla")).unwrap();
        iam.remove_user(&name("carla")).unwrap();
        assert!(matches!(store.health(), RedbHealth::Ready));
        let _ = iam.remove_user(&ben);
    }
}

/// A store without a cache, with so many users that finding one reads from storage.
fn uncached(storage: &Limited, interval: Duration) -> RedbStore {
    let store = storage.open(&RedbOptions::new().cache_bytes(0).retry_interval(interval));
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    for number in 0..500 {
        iam.ensure_user(&name(&format!("user{number}"))).unwrap();
    }
    store
}

#[test]
fn reads_recover_from_a_failure_too() {
    let storage = Limited::default();
    let store = uncached(&storage, Duration::ZERO);
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let tasks = async_manager(&store);
    let (user, other) = (name("user7"), name("user8"));
    for _ in 0..10 {
        storage.fail_reads(true);
        let error = iam.user(&user).unwrap_err();
        assert!(matches!(source(&error), RedbError::Stopped(_)), "{error:?}");
        assert!(matches!(store.health(), RedbHealth::Closed(_)));
        let error = executor().block_on(tasks.user(&user)).unwrap_err();
        assert!(matches!(source(&error), RedbError::Stopped(_)), "{error:?}");
        storage.fail_reads(false);
        assert_eq!(iam.user(&user).unwrap().name(), &user);
        assert!(matches!(store.health(), RedbHealth::Ready));
        assert_eq!(executor().block_on(tasks.user(&other)).unwrap().name(), &other);
    }
}

#[test]
fn concurrent_callers_share_one_attempt_to_reopen() {
    let storage = Limited::default();
    let store = uncached(&storage, Duration::ZERO);
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let user = name("user7");
    storage.fail_reads(true);
    iam.user(&user).unwrap_err();
    storage.fail_reads(false);
    let connections = storage.connections();
    let tasks: AsyncCredentialManager<AsyncRedbStore> = async_manager(&store);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| iam.user(&user).unwrap());
            scope.spawn(|| executor().block_on(tasks.user(&user)).unwrap());
        }
    });
    assert_eq!(storage.connections() - connections, 1);
}

#[test]
fn attempts_to_reopen_are_rate_limited() {
    let storage = Limited::default();
    let store = uncached(&storage, Duration::MAX);
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let connections = storage.connections();
    storage.fail_reads(true);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..50 {
                    let user = name(&format!("user{number}"));
                    iam.user(&user).unwrap_err();
                    iam.ensure_user(&user).unwrap_err();
                    executor().block_on(async_manager(&store).user(&user)).unwrap_err();
                }
            });
        }
    });
    assert_eq!(storage.connections() - connections, 2);
}

/// While a disk stays full, each failed write closes the store. So reads are served, and writes are
/// rejected without an attempt.
#[test]
fn reads_are_served_while_writes_fail() {
    let storage = Limited::default();
    let store = storage.open(&RedbOptions::new().retry_interval(Duration::MAX));
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let mut unknown = 0;
    for number in 0..100 {
        // There is space to reopen the store, but not to write to it.
        storage.free();
        assert_eq!(iam.user(&anika).unwrap().name(), &anika);
        storage.fill_up(Some(0), Some(1));
        let error = iam.register_user(&name(&format!("user{number}"))).unwrap_err();
        unknown += usize::from(matches!(source(&error), RedbError::Unknown(_)));
        match store.health() {
            RedbHealth::Closed(_) => assert!(number < 2, "{number}"),
            RedbHealth::WriteFailed(_) => assert!(number >= 2, "{number}"),
            health => panic!("{health:?}"),
        }
    }
    assert_eq!(unknown, 2);
}

/// The child of the next test, which runs with a limit on the size of files.
#[cfg(unix)]
#[test]
fn child_that_reaches_the_size_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let Some(folder) = env::var_os("SSC_LIMITED_FOLDER") else { return };
    let folder = std::path::PathBuf::from(folder);
    let (path, moved) = (folder.join("store.redb"), folder.join("moved.redb"));
    let iam = create(&path);
    let mut callers = vec![Caller::default()];
    let fill = |callers: &mut Vec<Caller>| {
        let mut limit = getrlimit(Resource::Fsize);
        limit.current = Some(fs::metadata(&path).unwrap().len());
        setrlimit(Resource::Fsize, limit).unwrap();
        let caller = &mut callers[0];
        for number in 0.. {
            assert!(number < 10_000, "the size limit is never reached");
            // The users of earlier rounds stay, so the file must grow.
            let user: UserName = name(&format!("fill{}-{number}", caller.next));
            match iam.register_user(&user) {
                Ok(_) => drop(caller.users.insert(user, None)),
                Err(error) => {
                    caller.failed = Some((Change::Register(user), error));
                    break;
                }
            }
        }
        caller.next += 1;
        limit.current = limit.maximum;
        setrlimit(Resource::Fsize, limit).unwrap();
    };
    for round in 0..20 {
        fill(&mut callers);
        assert!(matches!(iam.store().health(), RedbHealth::Closed(_)));
        callers[0].resolve(&iam);
        callers[0].check(&iam);
        assert!(matches!(iam.store().health(), RedbHealth::WriteFailed(_)));
        let user: UserName = name(&format!("after{round}"));
        iam.register_user(&user).unwrap();
        callers[0].users.insert(user, None);
        assert!(matches!(iam.store().health(), RedbHealth::Ready));
    }
    // The store reopens the same file, even if it was renamed.
    fill(&mut callers);
    fs::rename(&path, &moved).unwrap();
    create(&path).register_user(&name("other")).unwrap();
    callers[0].resolve(&iam);
    callers[0].check(&iam);
    drop(iam);
    callers[0].check(&open(&moved));
    assert!(RedbStore::check_integrity(&moved).unwrap());
    assert_eq!(
        open(&path)
            .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
            .unwrap()
            .items
            .len(),
        1
    );
    fs::write(folder.join("done"), "").unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_reached_its_size_limit_is_reopened() {
    let folder = Folder::new("limit");
    // The signal for a file that is too large is ignored, so a write returns an error.
    let child = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" --exact redb::recovery::child_that_reaches_the_size_limit",
        ])
        .arg(env::current_exe().unwrap())
        .env("SSC_LIMITED_FOLDER", &folder.0)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(folder.file("done").exists());
}
