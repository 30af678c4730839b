//! Durability of a store in a file after a loss of power or a disk failure.
//!
//! The storage is a simulated disk of 512-byte sectors. A write is durable once a later flush has
//! returned. At a moment determined by a seed the power fails. Then each sector written since the
//! last flush has any of its contents since, and the file has any of its lengths since. In half of
//! the cases the power fails again during recovery.
//!
//! Other disks are full, fail once, or block a flush while the test examines the store.
//!
//! `SSC_POWER_LOSSES` sets the number of losses. A failing case prints its seed, which
//! `SSC_SEED` repeats. The seed determines everything except the interleaving of the callers.
//!
//! # Two-phase commit
//!
//! Lost power alone does not reveal whether the store commits in one phase or in two. After a
//! commit in one phase, redb verifies the checksums of all pages, and returns to the previous
//! commit if a page was not written. The contents that a simulation produces have equal 128-bit
//! checksums with negligible probability. An attacker who chooses the contents can find some,
//! because XXH3 is not a cryptographic hash. Such contents depend on the layout of redb's pages,
//! and a record consists of digests, random ids and text, so this test does not forge them.
//!
//! The order of the flushes does reveal it. In two phases, a change becomes visible by the write of
//! one sector, and everything else that it wrote was flushed before. So between the call and the
//! return of each acknowledged change, there has to be a flush of one sector.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    num::NonZeroUsize,
    ops::{AddAssign, Bound},
    panic::catch_unwind,
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, Credential, CredentialId, CredentialManager,
    CredentialManagerBuilder, Error, IssuedCredential, Resolution, ServiceName, Status,
    UnknownCredential, UserName,
    store::{
        AsyncRedbStore, AsyncStore, Change, CommitOutcome, Key, Listing, OpenError, RedbError,
        RedbHealth, RedbOptions, RedbStore, ScanRange, Store, StoreError, UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};

mod disk;

use self::disk::{Disk, Fault};
use crate::{
    common::{ACCOUNT, CASSANDRA, CODECOMMIT, dawn, name},
    progress::Run,
};

type Iam = CredentialManager<RedbStore>;
type AsyncIam = AsyncCredentialManager<AsyncRedbStore>;

fn open_store(disk: &Disk) -> Result<RedbStore, OpenError> {
    let disk = disk.clone();
    let options = RedbOptions::new().retry_interval(Duration::ZERO);
    options.create_with_backend(move || Ok(disk.clone()))
}

fn open(disk: &Disk) -> Result<Iam, OpenError> {
    Ok(builder(disk, open_store(disk)?).build())
}

/// Opening flushes, so the entropy is different each time.
fn builder<S>(disk: &Disk, store: S) -> CredentialManagerBuilder<S> {
    CredentialManager::builder(name(ACCOUNT), store)
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(disk.flushes()))
}

fn open_async(disk: &Disk) -> AsyncIam {
    let store = open_store(disk).unwrap();
    reserve_space(&builder(disk, store.clone()).build());
    builder(disk, store.into_async()).build_async()
}

/// Makes the file larger than the test needs, so that every commit has the same number of flushes.
fn reserve_space(iam: &Iam) {
    let users: Vec<UserName> = (0..64).map(|number| name(&format!("room{number}"))).collect();
    for user in &users {
        iam.register_user(user).unwrap();
        let _ = iam.create(user, &name(CODECOMMIT)).unwrap();
    }
    for user in &users {
        iam.remove_user_with_credentials(user).unwrap();
    }
}

/// How often a disk that flushes loses power and continues. One that ignores flushes does so once,
/// because redb can abort the process when it continues with a corrupted file.
const CYCLES: usize = 2;

/// A violation that is detected after recovery.
#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
enum Loss {
    /// The file cannot be opened.
    File(OpenError),
    Panic,
    /// The store cannot be read.
    Reading(String),
    /// A caller's acknowledged state is not there.
    Acknowledged(String),
    /// The index and the records do not agree.
    Index(String),
}

impl From<StoreError> for Loss {
    fn from(error: StoreError) -> Self {
        Self::Reading(format!("{error:?}"))
    }
}

/// The credentials of each user by name.
type Users = BTreeMap<String, BTreeMap<CredentialId, Held>>;

#[derive(Clone, Debug)]
struct Held {
    service: ServiceName,
    active: bool,
    /// `None` if the response with the password was lost.
    password: Option<String>,
}

/// A service user name and a password, as returned by `create` or `reset`.
#[derive(Debug)]
struct Issued {
    id: CredentialId,
    service: ServiceName,
    name: String,
    password: String,
}

/// A caller: changes its own users and a shared one, and records every result.
struct Caller {
    rng: ChaCha20Rng,
    names: [UserName; 2],
    issued: Vec<Issued>,
    /// The acknowledged state.
    users: Users,
    /// The acknowledged state plus the one change whose outcome is unknown.
    or: Option<Users>,
    counts: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    losses: u64,
    acknowledged: u64,
    /// Changes with an unknown outcome that were found to be applied.
    applied: u64,
    /// Changes with an unknown outcome that were found not to be applied.
    not_applied: u64,
}

impl Caller {
    fn new(seed: u64, number: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed ^ (number + 1) << 48),
            names: ["a", "b"].map(|own| name(&format!("{own}{number}"))),
            issued: Vec::new(),
            users: Users::new(),
            or: None,
            counts: Counts::default(),
        }
    }

    fn all(seed: u64) -> [Self; 3] {
        [0, 1, 2].map(|number| Self::new(seed, number))
    }

    /// Makes a change. Returns an error if storage failed.
    fn act(&mut self, iam: &Iam) -> Result<(), Error> {
        if self.rng.random_ratio(1, 6) {
            return self.act_on_shared(iam);
        }
        let first = self.rng.random_range(0..2);
        let (user, other) = (self.names[first].clone(), self.names[1 - first].clone());
        let service = name(if self.rng.random() { CODECOMMIT } else { CASSANDRA });
        let own = self.users.get(user.as_str());
        let count = own.map_or(0, BTreeMap::len);
        let place = self.rng.random_range(0..=count);
        let picked = own.and_then(|own| own.keys().nth(place)).cloned();
        let mut after = self.users.clone();
        let response = match (self.rng.random_range(0..20), picked) {
            _ if own.is_none() => {
                after.insert(user.to_string(), BTreeMap::new());
                iam.register_user(&user).map(drop)
            }
            // For an inactive credential, a reset could not be observed afterwards.
            (0..5, Some(id)) if own.is_some_and(|own| own[&id].active) => {
                let held = after.get_mut(user.as_str()).unwrap().get_mut(&id).unwrap();
                let response = iam.reset(&user, &id);
                held.password = response.as_ref().ok().map(|reset| reset.secret().expose().into());
                response.map(|reset| self.issued.push(Issued::of(&reset)))
            }
            (5..8, Some(id)) => {
                let held = after.get_mut(user.as_str()).unwrap().get_mut(&id).unwrap();
                held.active = !held.active;
                let status = if held.active { Status::Active } else { Status::Inactive };
                iam.set_status(&user, &id, status)
            }
            (8..12, Some(id)) => {
                after.get_mut(user.as_str()).unwrap().remove(&id);
                iam.delete(&user, &id)
            }
            (12..14, _) => {
                if !after.contains_key(other.as_str()) {
                    let own = after.remove(user.as_str()).unwrap();
                    after.insert(other.to_string(), own);
                }
                iam.rename_user(&user, &other).map(drop)
            }
            (14, _) => {
                after.remove(user.as_str());
                iam.remove_user_with_credentials(&user).map(drop)
            }
            (15, _) if count == 0 => {
                after.remove(user.as_str());
                iam.remove_user(&user)
            }
            _ => {
                let response = iam.create(&user, &service);
                let (id, password) = match &response {
                    Ok(issued) => (Some(issued.id()), Some(issued.secret().expose().to_owned())),
                    Err(Error::OutcomeUnknown { credential, .. }) => {
                        (credential.as_ref().map(UnknownCredential::id), None)
                    }
                    Err(_) => (None, None),
                };
                if let Some(id) = id {
                    let held = Held { service, active: true, password };
                    after.get_mut(user.as_str()).unwrap().insert(id.clone(), held);
                }
                response.map(|issued| self.issued.push(Issued::of(&issued)))
            }
        };
        match response {
            Ok(()) => {
                self.users = after;
                self.counts.acknowledged += 1;
            }
            Err(Error::LimitExceeded { .. } | Error::UserExists { .. }) => {}
            Err(error) => {
                self.or = is_unknown(&error).then_some(after);
                return Err(error);
            }
        }
        Ok(())
    }

    fn act_on_shared(&mut self, iam: &Iam) -> Result<(), Error> {
        let (shared, service) = (name("shared"), name(CODECOMMIT));
        iam.ensure_user(&shared)?;
        let listed = iam.list(&shared)?;
        let done = match listed.get(self.rng.random_range(0..3)) {
            None => iam.create(&shared, &service).map(drop),
            Some(listed) if self.rng.random() => iam.delete(&shared, listed.id()),
            Some(listed) => iam.reset(&shared, listed.id()).map(drop),
        };
        match done {
            Ok(()) => self.counts.acknowledged += 1,
            Err(Error::Store(_) | Error::OutcomeUnknown { .. }) => return done,
            Err(_) => {}
        }
        Ok(())
    }

    /// Every acknowledged change is there. The change with an unknown outcome is there or not, but
    /// not in part.
    fn check(&mut self, iam: &Iam) -> Result<(), Loss> {
        let acknowledged_state = self.differs(iam, &self.users);
        match (acknowledged_state, self.or.take()) {
            (Ok(()), or) => {
                self.counts.not_applied += u64::from(or.is_some());
                Ok(())
            }
            (Err(first), None) => Err(Loss::Acknowledged(first)),
            (Err(first), Some(or)) => {
                self.users = or;
                self.counts.applied += 1;
                self.differs(iam, &self.users)
                    .map_err(|second| Loss::Acknowledged(format!("{first}; or, {second}")))
            }
        }
    }

    fn differs(&self, iam: &Iam, users: &Users) -> Result<(), String> {
        for user in &self.names {
            let listed = match iam.list(user) {
                Ok(listed) => Some(listed),
                Err(Error::NoSuchUser { .. }) => None,
                Err(error) => return Err(format!("{error:?}")),
            };
            let listed = listed.map(|listed| {
                let state = |listed: &Credential| {
                    let active = listed.status() == Status::Active;
                    (listed.id().clone(), (listed.service().clone(), active))
                };
                listed.iter().map(state).collect::<BTreeMap<_, _>>()
            });
            let held = users.get(user.as_str()).map(|own| {
                let state = |(id, held): (&CredentialId, &Held)| {
                    (id.clone(), (held.service.clone(), held.active))
                };
                own.iter().map(state).collect()
            });
            if listed != held {
                return Err(format!("{user} has {listed:?}, not {held:?}"));
            }
        }
        for Issued { id, service, name, password } in &self.issued {
            let authenticates = users
                .values()
                .filter_map(|own| own.get(id))
                .any(|held| held.active && held.password.as_ref() == Some(password));
            let result = match iam.authenticate(service, name, password) {
                Ok(identity) => Some(identity.credential_id().clone()),
                Err(AuthenticationError::Denied(_)) => None,
                Err(error) => return Err(format!("{error:?}")),
            };
            if result.as_ref() != authenticates.then_some(id) {
                return Err(format!("{name}: expected {authenticates}, result {result:?}"));
            }
        }
        Ok(())
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, Self { losses, acknowledged, applied, not_applied }: Self) {
        self.losses += losses;
        self.acknowledged += acknowledged;
        self.applied += applied;
        self.not_applied += not_applied;
    }
}

impl Issued {
    fn of(issued: &IssuedCredential) -> Self {
        Self {
            id: issued.id().clone(),
            service: issued.credential().service().clone(),
            name: issued.service_user_name().to_string(),
            password: issued.secret().expose().to_owned(),
        }
    }
}

fn cause(error: &StoreError) -> &RedbError {
    error.get_ref().downcast_ref().unwrap()
}

/// Whether the outcome of a change is unknown. A change that failed with `Stopped` was not applied.
fn is_unknown(error: &Error) -> bool {
    match error {
        Error::OutcomeUnknown { source, .. } => match cause(source) {
            RedbError::Unknown(_) => true,
            RedbError::Stopped(_) => false,
            other => panic!("{other:?}"),
        },
        Error::Store(_) => false,
        other => panic!("{other:?}"),
    }
}

/// Every key of every record finds it, and listings contain exactly the users that belong there.
/// Returns the number of records.
fn check_index(iam: &Iam) -> Result<usize, Loss> {
    let (store, account) = (iam.store(), iam.account());
    let services = [CODECOMMIT, CASSANDRA].map(name::<ServiceName>);
    let scan = |listing| {
        let limit = NonZeroUsize::new(1000).unwrap();
        store.scan(&ScanRange::new(account, listing, Bound::Unbounded, limit))
    };
    let records = scan(Listing::Users)?;
    let mut ids = BTreeSet::new();
    for record in &records {
        let twice = !ids.insert(record.id());
        for key in record.keys() {
            let found = store.find(&key)?.map(|found| found.revision());
            if twice || found != Some(record.revision()) {
                return Err(Loss::Index(format!("{key:?} leads to {found:?}, not {record:?}")));
            }
        }
        for at in &services {
            let listed = iam.list_for_service(record.name(), at);
            let listed = listed.map_err(|error| Loss::Reading(format!("{error:?}")))?;
            if listed.len() > 2 {
                return Err(Loss::Acknowledged(format!("more than two at once: {listed:?}")));
            }
        }
    }
    for service in services.iter().map(Some).chain([None]) {
        let listed: Vec<_> =
            scan(Listing::Holders { service })?.iter().map(|record| record.id()).collect();
        let member = |record: &UserRecord| {
            record.holds(&Key::Holder { account, service, user: record.name() })
        };
        let members: Vec<_> =
            records.iter().filter(|record| member(record)).map(|record| record.id()).collect();
        if listed != members {
            return Err(Loss::Index(format!("{service:?} lists {listed:?}, not {members:?}")));
        }
    }
    Ok(records.len())
}

/// Checks everything that must hold in a recovered store.
fn check(iam: &Iam, callers: &mut [Caller]) -> Result<(), Loss> {
    let records = check_index(iam)?;
    callers.iter_mut().try_for_each(|caller| caller.check(iam))?;
    let own: usize = callers.iter().map(|caller| caller.users.len()).sum();
    if records.checked_sub(own).is_none_or(|shared| shared > 1) {
        return Err(Loss::Index(format!("{records} records, and {own} are accounted for")));
    }
    for Issued { id, service, name, .. } in callers.iter().flat_map(|caller| &caller.issued) {
        let (store, account) = (iam.store(), iam.account());
        let by_id = store.find(&Key::Credential { account, id })?.is_some();
        let stands = callers.iter().flat_map(|caller| caller.users.values());
        let mut stands = stands.flat_map(BTreeMap::keys);
        if by_id != stands.any(|held| held == id) {
            return Err(Loss::Index(format!("{id} is in the index: {by_id}")));
        }
        if let Some(found) = store.find(&Key::ServiceUser { account, service, name })?
            && !found.holds(&Key::ServiceUser { account, service, name })
        {
            return Err(Loss::Index(format!("{name} leads to {found:?}")));
        }
    }
    Ok(())
}

/// Runs the callers concurrently until each of them has received a storage error, or has worked for
/// a while after the failure. Returns the errors.
fn run_until_failure(disk: &Disk, iam: &Iam, callers: &mut [Caller]) -> Vec<Error> {
    let work = |caller: &mut Caller| {
        let mut after = 0;
        for _ in 0..10_000 {
            let (acknowledged, flushes) = (caller.counts.acknowledged, disk.flushes_of_one());
            if let Err(error) = caller.act(iam) {
                return Some(error);
            }
            assert!(
                caller.counts.acknowledged == acknowledged || disk.flushes_of_one() > flushes,
                "a change was not committed in two phases"
            );
            after += u32::from(disk.failed());
            if after == 10 {
                return None;
            }
        }
        panic!("storage never failed")
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            callers.iter_mut().map(|caller| scope.spawn(|| work(caller))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The store continues to work, and keeps new changes.
fn continue_after_failure(disk: &Disk, iam: Iam, callers: &mut [Caller]) -> Result<(), Loss> {
    for caller in &mut *callers {
        for _ in 0..4 {
            caller.act(&iam).map_err(|error| Loss::Reading(format!("{error:?}")))?;
        }
    }
    check(&iam, callers)?;
    drop(iam);
    check(&open(disk).map_err(Loss::File)?, callers)
}

/// Losses of power of one disk, which flushes (`honest`) or only reports flushes.
fn lose_power(seed: u64, honest: bool) -> Result<Counts, Loss> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let disk = Disk::new();
    let mut callers = Caller::all(seed);
    let mut counts = Counts::default();
    if !honest {
        drop(open(&disk));
        disk.ignore_flushes();
    }
    for _ in 0..if honest { CYCLES } else { 1 } {
        disk.fail(Fault::Power, rng.random_range(0..400));
        if let Ok(iam) = open(&disk) {
            run_until_failure(&disk, &iam, &mut callers);
        }
        disk.lose(&mut rng);
        counts.losses += 1;
        if rng.random() {
            disk.fail(Fault::Power, rng.random_range(0..40));
            drop(open(&disk));
            disk.lose(&mut rng);
            counts.losses += 1;
        }
        let iam = open(&disk).map_err(Loss::File)?;
        check(&iam, &mut callers)?;
        continue_after_failure(&disk, iam, &mut callers)?;
    }
    for caller in &callers {
        counts += caller.counts;
    }
    Ok(counts)
}

/// As [`lose_power`], for corrupted storage that makes the database panic.
fn attempt(seed: u64, honest: bool) -> Result<Counts, Loss> {
    catch_unwind(|| lose_power(seed, honest)).unwrap_or(Err(Loss::Panic))
}

#[test]
fn a_power_loss_loses_no_acknowledged_change() {
    let run = Run::start("power losses", "SSC_POWER_LOSSES", 300);
    let Counts { acknowledged, applied, not_applied, .. } = run.each_seed(|seed| {
        let counts = attempt(seed, true).unwrap_or_else(|loss| panic!("seed {seed}: {loss:?}"));
        run.advance(counts.losses);
        counts
    });
    run.finish(format_args!(
        "0 changes lost or torn; {acknowledged} acknowledged; in flight: {applied} applied, \
         {not_applied} not applied"
    ));
}

#[test]
fn a_disk_that_does_not_flush_is_detected() {
    let losses: Vec<_> = (0..60).filter_map(|seed| attempt(seed, false).err()).collect();
    let acknowledged = losses.iter().filter(|loss| matches!(loss, Loss::Acknowledged(_))).count();
    println!("{} of 60 runs lose data, {acknowledged} of them acknowledged changes", losses.len());
    assert!(acknowledged > 0, "{losses:?}");
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let mut unfinished = 0;
    for left in 1..30 {
        for seed in 0..20 {
            let disk = Disk::new();
            disk.fail(Fault::Power, left);
            unfinished += usize::from(open(&disk).is_err());
            disk.lose(&mut ChaCha20Rng::seed_from_u64(seed));
            let iam = open(&disk).unwrap_or_else(|error| panic!("{left}, seed {seed}: {error:?}"));
            assert_eq!(check_index(&iam).unwrap(), 0);
        }
    }
    assert!(unfinished >= 20 * 8, "{unfinished}");
}

/// Fails the disk after `left` operations while callers make changes. The store recovers by itself.
fn fail_storage(fault: Fault, left: u64) {
    let disk = Disk::new();
    let mut callers = Caller::all(left);
    let iam = open(&disk).unwrap();
    assert!(matches!(iam.store().health(), RedbHealth::Ready));
    disk.fail(fault, left);
    let errors = run_until_failure(&disk, &iam, &mut callers);
    assert!(disk.failed());
    assert!(
        errors.iter().any(is_unknown),
        "{fault:?} {left}: no caller got an unknown outcome: {errors:?}"
    );

    if fault == Fault::Full {
        let writing = iam.register_user(&name("anyone")).unwrap_err();
        assert!(!is_unknown(&writing) || matches!(writing, Error::OutcomeUnknown { .. }));
        assert!(!matches!(iam.store().health(), RedbHealth::Ready));
        disk.repair();
    }
    let recovered = check(&iam, &mut callers).and_then(|()| {
        let _ = iam.ensure_user(&name("shared")).unwrap();
        continue_after_failure(&disk, iam, &mut callers)
    });
    recovered.unwrap_or_else(|loss| panic!("{fault:?} {left}: {loss:?}"));
}

#[test]
fn a_full_disk_loses_no_acknowledged_change_and_the_store_continues() {
    (1..120).for_each(|left| fail_storage(Fault::Full, left));
}

#[test]
fn one_failed_write_loses_no_acknowledged_change_and_the_store_continues() {
    (1..120).for_each(|left| fail_storage(Fault::Once, left));
}

#[test]
fn a_failed_create_returns_the_id_of_the_credential_that_may_exist() {
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let mut left_one = [false; 2];
    for left in 1..30 {
        let disk = Disk::new();
        let iam = open(&disk).unwrap();
        iam.register_user(&anika).unwrap();
        disk.fail(Fault::Full, left);
        let created = iam.create(&anika, &codecommit);
        if !disk.failed() {
            assert!(created.is_ok());
            break;
        }
        let Err(Error::OutcomeUnknown { credential: Some(unknown), source, .. }) = created else {
            panic!("{left}: {created:?}")
        };
        assert!(matches!(cause(&source), RedbError::Unknown(_)), "{left}: {source:?}");
        disk.repair();
        let listed = iam.list(&anika).unwrap();
        left_one[listed.len()] = true;
        let resolution = iam.resolve(&unknown).unwrap();
        match resolution {
            Resolution::Deleted(credential) => assert_eq!(credential, listed[0], "{left}"),
            resolution => assert_eq!((resolution, listed.len()), (Resolution::Absent, 0), "{left}"),
        }
        assert_eq!(iam.list(&anika).unwrap(), []);
    }
    assert_eq!(left_one, [true; 2], "an early failure leaves no credential, a late one leaves it");
}

/// Polls a future once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The number of flushes for one change.
fn flushes_of_one(disk: &Disk, iam: &AsyncCredentialManager<impl AsyncStore>) -> u64 {
    let before = disk.flushes();
    wait(iam.register_user(&name("one"))).unwrap();
    disk.flushes() - before
}

#[test]
fn concurrent_callers_share_flushes_and_return_after_them() {
    let disk = Disk::new();
    let iam = open_async(&disk);
    let one = flushes_of_one(&disk, &iam);
    let users: Vec<UserName> = (0..64).map(|number| name(&format!("u{number}"))).collect();
    for user in &users {
        wait(iam.register_user(user)).unwrap();
    }
    let codecommit = name(CODECOMMIT);
    let (polled, polls) = mpsc::channel();
    let (returned, results) = mpsc::channel();
    let before = disk.flushes();
    disk.hold(0);
    thread::scope(|scope| {
        for user in &users {
            let (iam, codecommit) = (&iam, &codecommit);
            let (polled, returned) = (polled.clone(), returned.clone());
            scope.spawn(move || {
                let mut create = pin!(iam.create(user, codecommit));
                let early = poll(create.as_mut());
                polled.send(early.is_ready()).unwrap();
                if early.is_pending() {
                    returned.send(wait(create)).unwrap();
                }
            });
        }
        assert!(users.iter().all(|_| !polls.recv().unwrap()), "returned before the flush");
        disk.held();
        assert!(results.try_recv().is_err(), "returned before the flush");
        disk.release();
        assert!(users.iter().all(|_| results.recv().unwrap().is_ok()));
    });
    // The change of the first caller is one batch, and all later ones are the second. How often
    // a batch flushes depends on whether the file has to grow.
    let (shared, alone) = (disk.flushes() - before, one * users.len() as u64);
    assert!(shared * 8 <= alone, "{shared} flushes instead of {alone}");
}

/// Records the store's outcomes, because a manager retries after a rejection.
#[derive(Debug)]
struct Recorder {
    store: AsyncRedbStore,
    responses: Mutex<Vec<CommitOutcome>>,
}

impl AsyncStore for Recorder {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.store.find(key).await
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let response = self.store.commit(change).await?;
        self.responses.lock().unwrap().push(response);
        Ok(response)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.store.scan(range).await
    }
}

#[test]
fn a_rejection_waits_for_the_flush_of_the_change_that_caused_it() {
    let disk = Disk::new();
    let store = open_store(&disk).unwrap();
    reserve_space(&builder(&disk, store.clone()).build());
    let store = Recorder { store: store.into_async(), responses: Mutex::default() };
    let iam = builder(&disk, store).build_async();
    let one = flushes_of_one(&disk, &iam);
    let (first, anika) = (name("first"), name("anika"));
    disk.hold(0);
    let mut ahead = pin!(iam.register_user(&first));
    assert!(poll(ahead.as_mut()).is_pending());
    disk.held();
    // Both are in one batch: the second is rejected because of the first.
    let (mut made, mut rejected) =
        (pin!(iam.register_user(&anika)), pin!(iam.register_user(&anika)));
    assert!(poll(made.as_mut()).is_pending() && poll(rejected.as_mut()).is_pending());
    disk.hold(one);
    wait(ahead).unwrap();
    disk.held();
    assert!(poll(made.as_mut()).is_pending() && poll(rejected.as_mut()).is_pending());
    let responses = || iam.store().responses.lock().unwrap().clone();
    assert_eq!(responses(), [CommitOutcome::Applied; 2], "returned before the flush");
    disk.release();
    let rejected = wait(rejected).unwrap_err();
    assert!(matches!(rejected, Error::UserExists { .. }), "{rejected:?}");
    wait(made).unwrap();
    assert_eq!(responses()[2..], [CommitOutcome::KeyTaken, CommitOutcome::Applied]);
}

#[test]
fn a_failed_flush_fails_the_whole_batch_and_stops_the_queue() {
    let disk = Disk::new();
    let iam = open_async(&disk);
    let one = flushes_of_one(&disk, &iam);
    let users = ["u0", "u1", "u2", "u3"].map(name::<UserName>);
    disk.hold(0);
    let mut registrations: Vec<_> =
        users.iter().map(|user| Box::pin(iam.register_user(user))).collect();
    assert!(poll(registrations[0].as_mut()).is_pending());
    disk.held();
    assert!(registrations[1..3].iter_mut().all(|behind| poll(behind.as_mut()).is_pending()));
    disk.hold(one);
    wait(registrations[0].as_mut()).unwrap();
    disk.held();
    assert!(poll(registrations[3].as_mut()).is_pending());
    disk.fail(Fault::Full, 1);
    disk.release();
    let unknown = registrations.drain(1..).map(|future| is_unknown(&wait(future).unwrap_err()));
    assert_eq!(unknown.collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_read_does_not_wait_for_a_flush_and_sees_acknowledged_changes() {
    let disk = Disk::new();
    let iam = open(&disk).unwrap();
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    iam.register_user(&anika).unwrap();
    let first = iam.create(&anika, &codecommit).unwrap();
    disk.hold(0);
    thread::scope(|scope| {
        let creating = scope.spawn(|| iam.create(&anika, &codecommit).unwrap());
        disk.held();
        iam.authenticate(&codecommit, first.service_user_name().as_str(), first.secret().expose())
            .unwrap();
        assert_eq!(iam.list(&anika).unwrap(), [first.credential().clone()]);
        assert_eq!(check_index(&iam).unwrap(), 1);
        disk.release();
        let second = creating.join().unwrap();
        iam.authenticate(
            &codecommit,
            second.service_user_name().as_str(),
            second.secret().expose(),
        )
        .unwrap();
        assert_eq!(iam.list(&anika).unwrap().len(), 2);
    });
}

#[test]
fn a_dropped_future_does_not_affect_other_callers() {
    let disk = Disk::new();
    let iam = open_async(&disk);
    let [ahead, gone, never, after] = ["ahead", "gone", "never", "after"].map(name::<UserName>);
    disk.hold(0);
    let mut first = Box::pin(iam.register_user(&ahead));
    assert!(poll(first.as_mut()).is_pending());
    disk.held();
    let mut dropped = Box::pin(iam.register_user(&gone));
    assert!(poll(dropped.as_mut()).is_pending());
    drop(iam.register_user(&never));
    let mut last = Box::pin(iam.register_user(&after));
    assert!(poll(last.as_mut()).is_pending());
    drop((first, dropped));
    disk.release();
    wait(last).unwrap();
    let there = [&ahead, &gone, &never, &after].map(|user| wait(iam.user(user)).is_ok());
    assert_eq!(there, [true, true, false, true]);
}

#[test]
fn dropping_the_store_writes_submitted_changes() {
    let disk = Disk::new();
    let iam = open_async(&disk);
    let users = ["u0", "u1", "u2"].map(name::<UserName>);
    disk.hold(0);
    for user in &users {
        assert!(poll(pin!(iam.register_user(user))).is_pending());
    }
    let dropping = thread::spawn(move || drop(iam));
    disk.held();
    assert!(!dropping.is_finished());
    disk.release();
    dropping.join().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    disk.lose(&mut rng);
    let iam = open(&disk).unwrap();
    for user in &users {
        iam.user(user).unwrap();
    }
}
