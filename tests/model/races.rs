//! Invariants during and after concurrent operations of many threads on one store.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    sync::{
        Arc, Barrier, Mutex, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AuthenticationError, Clock, CreateOptions, Credential, CredentialId, CredentialKind,
    CredentialManager, CredentialManagerBuilder, Entropy, EntropyError, Error, Identity,
    IssuedCredential, Lifetime, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Policy,
    ServiceName, Status, SystemEntropy, UserName,
    store::{Key, Store as _},
    testing::{FixedClock, SeededEntropy},
};
use time::OffsetDateTime;

type Iam = CredentialManager<Arc<MemoryStore>>;

const CODECOMMIT: &str = "codecommit.amazonaws.com";
const BEDROCK: &str = "bedrock.amazonaws.com";

fn iam() -> Iam {
    let clock = FixedClock::new(OffsetDateTime::UNIX_EPOCH);
    let entropy = SeededEntropy::new(7);
    builder().clock(clock).entropy(entropy).build()
}

fn builder() -> CredentialManagerBuilder<Arc<MemoryStore>> {
    CredentialManager::builder("123456789012".parse().unwrap(), Arc::new(MemoryStore::new()))
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// Fails instead of hanging if `work` does not end.
fn with_timeout(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(Duration::from_secs(120)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => worker.join().unwrap(),
    }
}

fn is_denied(result: &Result<Identity, AuthenticationError>) -> bool {
    match result {
        Ok(_) => false,
        Err(AuthenticationError::Denied(_)) => true,
        Err(AuthenticationError::Unavailable(error)) => panic!("{error}"),
    }
}

#[test]
fn of_16_concurrent_creations_two_succeed() {
    with_timeout(|| {
        const ROUNDS: usize = 1000;
        const THREADS: usize = 16;
        let (iam, codecommit) = (iam(), service(CODECOMMIT));
        let users: Vec<_> = (0..ROUNDS).map(|round| user(&format!("u{round}"))).collect();
        for user in &users {
            iam.register_user(user).unwrap();
        }
        let barrier = Barrier::new(THREADS);
        let created: Vec<Vec<Result<IssuedCredential, Error>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let create = |user| {
                            barrier.wait();
                            iam.create(user, &codecommit)
                        };
                        users.iter().map(create).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut ids = BTreeSet::new();
        let mut columns: Vec<_> = created.into_iter().map(Vec::into_iter).collect();
        for user in &users {
            let mut names = BTreeSet::new();
            for result in columns.iter_mut().map(|column| column.next().unwrap()) {
                match result {
                    Ok(issued) => {
                        assert!(names.insert(issued.service_user_name().as_str().to_owned()));
                        assert!(ids.insert(issued.id().clone()));
                    }
                    Err(Error::LimitExceeded { limit: 2, .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            let expected = [1, 2].map(|number| format!("{user}+{number}-at-123456789012"));
            assert_eq!(names, BTreeSet::from(expected));
            assert_eq!(iam.list(user).unwrap().len(), 2);
        }
        assert_eq!(ids.len(), 2 * ROUNDS);
    });
}

/// An issued secret, and its known state.
#[derive(Clone)]
struct Issued {
    id: CredentialId,
    service: ServiceName,
    kind: CredentialKind,
    name: String,
    secret: Arc<str>,
    /// The time when the operation that issued it returned.
    returned: u64,
    /// Whether a later reset or deletion has returned.
    is_invalid: bool,
}

/// The knowledge of all callers.
#[derive(Default)]
struct Ledger {
    time: u64,
    issued: Vec<Issued>,
    /// Service and name of the credentials whose deletion has not begun, and the time of their
    /// creation.
    existing: BTreeMap<CredentialId, (ServiceName, String, u64)>,
    /// The number of users being removed with their credentials, and the time of its last change.
    removals: (usize, u64),
}

impl Issued {
    fn of(issued: &IssuedCredential, returned: u64) -> Self {
        Self {
            id: issued.id().clone(),
            service: issued.credential().service().clone(),
            kind: issued.kind(),
            name: issued.service_user_name().as_str().to_ascii_lowercase(),
            secret: issued.secret().expose().into(),
            returned,
            is_invalid: false,
        }
    }

    fn present(&self, iam: &Iam) -> Result<Identity, AuthenticationError> {
        match self.kind {
            CredentialKind::Password => iam.authenticate(&self.service, &self.name, &self.secret),
            CredentialKind::ApiKey => iam.authenticate_api_key(&self.service, &self.secret),
        }
    }

    fn check_identity(&self, identity: &Identity) {
        let credential = identity.credential();
        assert_eq!(*credential.id(), self.id);
        assert_eq!(*credential.service(), self.service);
        assert!(credential.service_user_name().as_str().eq_ignore_ascii_case(&self.name));
        assert_eq!(credential.status(), Status::Active);
        assert_eq!(credential.user_name(), identity.user_name());
    }
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// When a creation returns, no other credential with the same name existed throughout the call.
    fn created(&mut self, issued: &IssuedCredential, began: u64) {
        let returned = self.tick();
        let issued = Issued::of(issued, returned);
        for (id, (service, name, since)) in &self.existing {
            let same = *service == issued.service && *name == issued.name;
            assert!(!same || *since > began, "{id} and {} are both {name}", issued.id);
        }
        if self.removals.0 == 0 && self.removals.1 < began {
            let existing = (issued.service.clone(), issued.name.clone(), returned);
            assert!(self.existing.insert(issued.id.clone(), existing).is_none());
        }
        self.issued.push(issued);
    }

    /// When a reset returns, every secret issued before it began is invalid.
    fn reset(&mut self, issued: &IssuedCredential, began: u64) {
        let returned = self.tick();
        for old in self.issued.iter_mut().filter(|old| old.id == *issued.id()) {
            old.is_invalid |= old.returned < began;
        }
        self.issued.push(Issued::of(issued, returned));
    }

    /// It is unknown which credentials a removal of a user deletes.
    fn removals(&mut self) {
        self.existing.clear();
        self.removals = (self.removals.0 + 1, self.tick());
    }

    fn left(&mut self) {
        self.removals = (self.removals.0 - 1, self.tick());
    }

    fn deleted(&mut self, id: &CredentialId) {
        for old in self.issued.iter_mut().filter(|old| old.id == *id) {
            old.is_invalid = true;
        }
    }
}

struct Stage {
    iam: Iam,
    ledger: Mutex<Ledger>,
    done: AtomicBool,
}

const USERS: [&str; 4] = ["a", "A+1", "b", "t"];

impl Stage {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// The id of a recently issued credential.
    fn pick(&self, rng: &mut impl rand::Rng) -> Option<CredentialId> {
        let ledger = self.ledger();
        let recent = ledger.issued.len().min(24);
        let back = (rng.next_u32() as usize).checked_rem(recent)?;
        Some(ledger.issued[ledger.issued.len() - 1 - back].id.clone())
    }

    fn act(&self, rng: &mut ChaCha20Rng) -> Result<(), Error> {
        let (name, other) =
            (user(USERS[rng.random_range(0..4)]), user(USERS[rng.random_range(0..4)]));
        let at = service(if rng.random_ratio(2, 3) { CODECOMMIT } else { BEDROCK });
        let began = self.ledger().tick();
        match rng.random_range(0..100) {
            0..35 => {
                let issued = self.iam.create(&name, &at)?;
                self.ledger().created(&issued, began);
            }
            35..50 => {
                let Some(id) = self.pick(rng) else { return Ok(()) };
                let issued = self.iam.reset(&name, &id)?;
                self.ledger().reset(&issued, began);
            }
            50..60 => {
                let Some(id) = self.pick(rng) else { return Ok(()) };
                let status = if rng.random() { Status::Active } else { Status::Inactive };
                self.iam.set_status(&name, &id, status)?;
            }
            60..75 => {
                let Some(id) = self.pick(rng) else { return Ok(()) };
                self.ledger().existing.remove(&id);
                self.iam.delete(&name, &id)?;
                self.ledger().deleted(&id);
            }
            75..82 => drop(self.iam.rename_user(&name, &other)?),
            82..88 => {
                let temporary = user("aside");
                drop(self.iam.rename_user(&name, &temporary)?);
                let swapped = self.iam.rename_user(&other, &name);
                let back =
                    self.iam.rename_user(&temporary, if swapped.is_ok() { &other } else { &name });
                // Another thread may have taken the name. No user may keep the temporary name.
                if back.is_err() {
                    drop(self.iam.remove_user(&temporary));
                }
            }
            88..90 => self.iam.remove_user(&name)?,
            90..92 => {
                self.ledger().removals();
                let gone = self.iam.remove_user_with_credentials(&name);
                self.ledger().left();
                gone?.iter().for_each(|gone| self.ledger().deleted(gone.id()));
            }
            92..96 => drop(self.iam.ensure_user(&name)?),
            _ => drop(self.iam.register_user(&name)?),
        }
        Ok(())
    }

    fn observe(&self, rng: &mut ChaCha20Rng) {
        for name in USERS.map(user) {
            let Ok(listed) = self.iam.list(&name) else { continue };
            for at in [CODECOMMIT, BEDROCK].map(service) {
                let at_one = listed.iter().filter(|credential| *credential.service() == at);
                let names: Vec<_> = at_one.map(Credential::service_user_name).collect();
                assert!(names.len() <= 2 && (names.len() < 2 || names[0] != names[1]), "{names:?}");
            }
        }
        let page = self.iam.list_page(&ListRequest::all_users()).unwrap();
        assert!(page.items.iter().all(|listed| listed.kind() == self.kind(listed.service())));
        for _ in 0..20 {
            let issued = {
                let ledger = self.ledger();
                let Some(index) = (rng.next_u32() as usize).checked_rem(ledger.issued.len()) else {
                    return;
                };
                ledger.issued[index].clone()
            };
            match issued.present(&self.iam) {
                Ok(_) if issued.is_invalid => {
                    panic!("{} authenticates after its reset or deletion", issued.name)
                }
                Ok(identity) => issued.check_identity(&identity),
                rejected @ Err(_) => assert!(is_denied(&rejected)),
            }
        }
    }

    fn kind(&self, service: &ServiceName) -> CredentialKind {
        self.iam.policy().kind(service).unwrap()
    }

    /// Index and records agree, and exactly one issued secret authenticates each credential.
    fn check_rest(&self) {
        let (iam, store, account) = (&self.iam, self.iam.store(), self.iam.account());
        let ledger = self.ledger();
        let mut existing = BTreeSet::new();
        let mut names = BTreeSet::new();
        for person in iam
            .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
            .unwrap()
            .items
        {
            for listed in iam.list(person.name()).unwrap() {
                iam.set_status(person.name(), listed.id(), Status::Active).unwrap();
                assert!(existing.insert(listed.id().clone()));
                let name = listed.service_user_name().as_str();
                assert!(names.insert((listed.service().clone(), name.to_ascii_lowercase())));
                for key in [
                    Key::User { account, name: listed.user_name() },
                    Key::Credential { account, id: listed.id() },
                    Key::ServiceUser { account, service: listed.service(), name },
                    Key::Holder { account, service: Some(listed.service()), user: person.name() },
                ] {
                    assert_eq!(store.find(&key).unwrap().unwrap().id(), person.id(), "{key:?}");
                }
            }
        }
        let mut authenticated = BTreeSet::new();
        for issued in &ledger.issued {
            let key = Key::Credential { account, id: &issued.id };
            assert_eq!(store.find(&key).unwrap().is_some(), existing.contains(&issued.id));
            if let Ok(identity) = issued.present(iam) {
                issued.check_identity(&identity);
                assert!(!issued.is_invalid && existing.contains(&issued.id));
                assert!(authenticated.insert(issued.id.clone()), "{} has two secrets", issued.id);
            }
        }
        assert_eq!(authenticated, existing, "each credential must have exactly one issued secret");
        assert!(ledger.existing.keys().all(|id| existing.contains(id)));
    }
}

#[test]
fn random_changes_by_many_threads_keep_the_store_consistent() {
    with_timeout(|| {
        const WRITERS: u64 = 8;
        const WRITES: u64 = 1200;
        let policy = Policy::recorded();
        let iam = builder().policy(policy).entropy(SeededEntropy::new(7)).build();
        let stage = Stage { iam, ledger: Mutex::default(), done: false.into() };
        let rejected = thread::scope(|scope| {
            let stage = &stage;
            let observers: Vec<_> = (0..2)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut rng = ChaCha20Rng::seed_from_u64(1000 + seed);
                        while !stage.done.load(SeqCst) {
                            stage.observe(&mut rng);
                        }
                    })
                })
                .collect();
            let writers: Vec<_> = (0..WRITERS)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut rng = ChaCha20Rng::seed_from_u64(seed);
                        let mut rejected = 0;
                        for _ in 0..WRITES {
                            match stage.act(&mut rng) {
                                Ok(()) => {}
                                Err(
                                    Error::Contended { .. }
                                    | Error::Store(_)
                                    | Error::Entropy(_)
                                    | Error::OutcomeUnknown { .. }
                                    | Error::InvalidParameter(_),
                                ) => panic!("unexpected error"),
                                Err(_) => rejected += 1,
                            }
                        }
                        rejected
                    })
                })
                .collect();
            let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            stage.done.store(true, SeqCst);
            for observer in observers {
                observer.join().unwrap();
            }
            results.into_iter().map(Result::unwrap).sum::<u64>()
        });
        stage.check_rest();
        let issued = stage.ledger().issued.len();
        assert!(
            issued > 100 && rejected < WRITERS * WRITES,
            "only {issued} issued, {rejected} rejected"
        );
    });
}

#[test]
fn a_reset_invalidates_the_old_secret_at_once() {
    with_timeout(|| {
        const RESETS: usize = 1500;
        let (iam, anika, codecommit) = (iam(), user("anika"), service(CODECOMMIT));
        iam.register_user(&anika).unwrap();
        let first = iam.create(&anika, &codecommit).unwrap();
        let name = first.service_user_name().as_str();
        let passwords = RwLock::new(vec![first.secret().expose().to_owned()]);
        let (begun, returned) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for reset in 1..=RESETS {
                    begun.store(reset, SeqCst);
                    let issued = iam.reset(&anika, first.id()).unwrap();
                    passwords.write().unwrap().push(issued.secret().expose().to_owned());
                    returned.store(reset, SeqCst);
                }
            });
            for back in 0..4 {
                let (iam, codecommit, passwords) = (&iam, &codecommit, &passwords);
                let (begun, returned) = (&begun, &returned);
                scope.spawn(move || {
                    loop {
                        let present = returned.load(SeqCst);
                        let Some(index) = present.checked_sub(back) else { continue };
                        let password = passwords.read().unwrap()[index].clone();
                        let result = iam.authenticate(codecommit, name, &password);
                        if back > 0 {
                            assert!(
                                is_denied(&result),
                                "password {index} authenticates after reset {present}"
                            );
                        } else if begun.load(SeqCst) == present {
                            assert!(result.is_ok(), "the password of reset {present} is denied");
                        }
                        if present == RESETS {
                            break;
                        }
                    }
                });
            }
        });
    });
}

/// A clock and a generator that panic on request, without a message.
#[derive(Debug, Default)]
struct Fragile {
    broken: AtomicBool,
}

impl Fragile {
    fn check(&self) {
        if self.broken.load(SeqCst) {
            resume_unwind(Box::new("broken"));
        }
    }
}

impl Clock for Fragile {
    fn now(&self) -> OffsetDateTime {
        self.check();
        OffsetDateTime::UNIX_EPOCH
    }
}

impl Entropy for Fragile {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        self.check();
        SeededEntropy::new(DRAWN.fetch_add(1, SeqCst)).fill(bytes)
    }
}

#[test]
fn a_panic_in_a_clock_or_a_generator_leaves_the_store_usable() {
    let (clock, entropy) = (Arc::new(Fragile::default()), Arc::new(Fragile::default()));
    let iam = builder().clock(Arc::clone(&clock)).entropy(Arc::clone(&entropy)).build();
    let (anika, codecommit) = (user("anika"), service(CODECOMMIT));
    iam.register_user(&anika).unwrap();
    // The time is read where something expires.
    let age = Lifetime::days(1).unwrap();
    let issued =
        iam.create_with_options(&anika, &codecommit, &CreateOptions::new().lifetime(age)).unwrap();
    let (id, name) = (issued.id(), issued.service_user_name().as_str());
    let password = issued.secret().expose();

    let needs_clock: [&(dyn Fn() + Sync); 9] = [
        &|| drop(iam.register_user(&user("b"))),
        &|| drop(iam.create(&anika, &codecommit)),
        &|| drop(iam.reset(&anika, id)),
        &|| drop(iam.set_status(&anika, id, Status::Inactive)),
        &|| drop(iam.list(&anika)),
        &|| drop(iam.list_page(&ListRequest::all_users())),
        &|| drop(iam.remove_user(&anika)),
        &|| drop(iam.remove_user_with_credentials(&anika)),
        &|| drop(iam.authenticate(&codecommit, name, password)),
    ];
    for (fragile, operations) in [(&clock, &needs_clock[..]), (&entropy, &needs_clock[..3])] {
        for operation in operations {
            fragile.broken.store(true, SeqCst);
            thread::scope(|scope| scope.spawn(operation).join().unwrap_err());
            fragile.broken.store(false, SeqCst);
            assert_eq!(iam.list(&anika).unwrap(), [issued.credential().clone()]);
            iam.authenticate(&codecommit, name, password).unwrap();
        }
    }
    let second = iam.create(&anika, &codecommit).unwrap();
    let renewed = iam.reset(&anika, id).unwrap();
    assert!(is_denied(&iam.authenticate(&codecommit, name, password)));
    iam.authenticate(&codecommit, name, renewed.secret().expose()).unwrap();
    iam.delete(&anika, second.id()).unwrap();
    assert_eq!(iam.remove_user_with_credentials(&anika).unwrap().len(), 1);
    assert_eq!(
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items,
        []
    );
}

/// A clock and a generator that call the manager which is calling them.
#[derive(Debug, Default)]
struct Reentrant {
    iam: OnceLock<Iam>,
    inside: AtomicBool,
    times: AtomicU64,
}

impl Reentrant {
    fn call_manager(&self) {
        let Some(iam) = self.iam.get() else { return };
        if self.inside.swap(true, SeqCst) {
            return;
        }
        let times = self.times.fetch_add(1, SeqCst);
        let other = user(&format!("other{times}"));
        let codecommit = service(CODECOMMIT);
        iam.register_user(&other).unwrap();
        let issued = iam.create(&other, &codecommit).unwrap();
        let (name, password) = (issued.service_user_name().as_str(), issued.secret().expose());
        iam.authenticate(&codecommit, name, password).unwrap();
        iam.authenticator().authenticate(&codecommit, name, password).unwrap();
        drop(iam.reset(&other, issued.id()).unwrap());
        assert_eq!(iam.list(&other).unwrap().len(), 1);
        iam.list_page(&ListRequest::all_users()).unwrap();
        let renamed = user(&format!("Another{times}"));
        iam.rename_user(&other, &renamed).unwrap();
        iam.delete(&renamed, issued.id()).unwrap();
        iam.remove_user(&renamed).unwrap();
        self.inside.store(false, SeqCst);
    }
}

impl Clock for Reentrant {
    fn now(&self) -> OffsetDateTime {
        self.call_manager();
        OffsetDateTime::UNIX_EPOCH
    }
}

impl Entropy for Reentrant {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.call_manager();
        SystemEntropy.fill(bytes)
    }
}

#[test]
fn no_lock_is_held_while_a_clock_or_a_generator_runs() {
    with_timeout(|| {
        let meddler = Arc::new(Reentrant::default());
        let iam = builder().clock(Arc::clone(&meddler)).entropy(Arc::clone(&meddler)).build();
        let (anika, codecommit) = (user("anika"), service(CODECOMMIT));
        meddler.iam.set(iam.clone()).unwrap();
        let mut before = 0;
        let mut asked = |what| {
            let times = meddler.times.load(SeqCst);
            assert!(times > before, "{what} called neither clock nor generator");
            before = times;
        };

        iam.register_user(&anika).unwrap();
        asked("register");
        // The time is read where something expires.
        let age = Lifetime::days(1).unwrap();
        let first = iam
            .create_with_options(&anika, &codecommit, &CreateOptions::new().lifetime(age))
            .unwrap();
        asked("create");
        let (name, password) = (first.service_user_name().as_str(), first.secret().expose());
        iam.authenticate(&codecommit, name, password).unwrap();
        asked("authenticate");
        iam.authenticator().authenticate(&codecommit, name, password).unwrap();
        asked("authenticate for all accounts");
        iam.set_status(&anika, first.id(), Status::Inactive).unwrap();
        asked("set status");
        drop(iam.reset(&anika, first.id()).unwrap());
        asked("reset");
        iam.list(&anika).unwrap();
        asked("list");
        iam.list_page(&ListRequest::all_users()).unwrap();
        asked("list page");

        // If a name is taken, the next one is tried.
        iam.rename_user(&anika, &user("b")).unwrap();
        iam.register_user(&anika).unwrap();
        drop(
            iam.create_with_options(&anika, &codecommit, &CreateOptions::new().lifetime(age))
                .unwrap(),
        );
        asked("create another name");
        iam.remove_user_with_credentials(&anika).unwrap();
        asked("remove");
    });
}

#[test]
fn crossing_renames_never_deadlock() {
    with_timeout(|| {
        let (iam, codecommit) = (iam(), service(CODECOMMIT));
        let [a, b, t] = ["a", "b", "t"].map(user);
        for name in [&a, &b] {
            iam.register_user(name).unwrap();
            drop(iam.create(name, &codecommit).unwrap());
        }
        let renames = [(&a, &b), (&b, &a), (&a, &t), (&t, &a), (&b, &t), (&t, &b)];
        let barrier = Barrier::new(renames.len() + 2);
        thread::scope(|scope| {
            for (from, to) in renames {
                let (iam, barrier) = (&iam, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..1500 {
                        match iam.rename_user(from, to) {
                            Ok(_) | Err(Error::NoSuchUser { .. } | Error::UserExists { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                });
            }
            for names in [[&a, &b, &t], [&t, &b, &a]] {
                let (iam, barrier, codecommit) = (&iam, &barrier, &codecommit);
                scope.spawn(move || {
                    barrier.wait();
                    for name in names.into_iter().cycle().take(900) {
                        match iam.create(name, codecommit) {
                            Ok(issued) => {
                                // The user may have another name by now.
                                for name in names {
                                    drop(iam.delete(name, issued.id()));
                                }
                            }
                            Err(Error::NoSuchUser { .. } | Error::LimitExceeded { .. }) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                        let page = iam.list_page(&ListRequest::all_users()).unwrap();
                        assert!(page.items.len() <= 4, "{page:?}");
                    }
                });
            }
        });
        let users =
            iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
        assert_eq!(users.items.len(), 2, "a user is missing or doubled");
    });
}
