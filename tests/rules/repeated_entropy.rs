//! Entropy that repeats itself: no record is damaged, no user is overwritten, and the error states
//! the cause.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use service_specific_credentials::{
    Credential, CredentialKind, CredentialManager, Entropy, EntropyError, Error, IssuedCredential,
    ListUsersRequest, MaxItems, MemoryStore, RepeatedEntropy, ServiceName, Status, User, UserName,
    store::{RedbStore, Store},
    testing::{FixedClock, SeededEntropy},
};

#[cfg(unix)]
use crate::common::{ACCOUNT, BEDROCK, CODECOMMIT, Folder, dawn, name};

type Iam = CredentialManager<Arc<dyn Store>>;

fn manager(store: &Arc<dyn Store>, entropy: impl Entropy + 'static) -> Iam {
    CredentialManager::builder(name(ACCOUNT), Arc::clone(store))
        .clock(FixedClock::new(dawn()))
        .entropy(entropy)
        .build()
}

/// The unit of repetition.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// The generator repeats a short sequence of bytes.
    Bytes,
    /// Each draw returns the result of an earlier one.
    Draws,
}

/// A generator with a short period.
#[derive(Debug)]
struct Repeating {
    unit: Unit,
    period: usize,
    place: AtomicUsize,
}

impl Entropy for Repeating {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let yielded = |place: usize| u8::try_from(place % self.period * 67 + 11).unwrap();
        match self.unit {
            Unit::Bytes => {
                bytes.fill_with(|| yielded(self.place.fetch_add(1, SeqCst)));
            }
            Unit::Draws => bytes.fill(yielded(self.place.fetch_add(1, SeqCst))),
        }
        Ok(())
    }
}

/// Users and their credentials, as listed.
type State = BTreeMap<UserName, (User, Vec<Credential>)>;

/// The observable state. Reading it is a part of the test.
fn state(iam: &Iam) -> State {
    let page =
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
    assert!(page.next.is_none());
    let listed = page.items.into_iter().map(|user| {
        let credentials = iam.list(user.name()).unwrap();
        assert_eq!(iam.user(user.name()).unwrap(), user);
        (user.name().clone(), (user, credentials))
    });
    listed.collect()
}

fn opens(iam: &Iam, issued: &IssuedCredential) -> bool {
    let (service, secret) = (issued.credential().service(), issued.secret().expose());
    let opened = match issued.kind() {
        CredentialKind::Password => {
            iam.authenticate(service, issued.service_user_name().as_str(), secret)
        }
        CredentialKind::ApiKey => iam.authenticate_api_key(service, secret),
    };
    opened.is_ok_and(|identity| identity.credential_id() == issued.id())
}

/// The history of a test so far.
struct Story {
    iam: Iam,
    /// The last secret of each credential.
    issued: Vec<IssuedCredential>,
    made: usize,
    failed: usize,
}

impl Story {
    /// Runs an operation on `user`. If it fails, the error names the repeating generator, and
    /// nothing has changed. Otherwise no other user has changed.
    fn does<T>(
        &mut self,
        user: &UserName,
        operation: impl FnOnce(&Iam) -> Result<T, Error>,
    ) -> Option<T> {
        let before = state(&self.iam);
        let result = operation(&self.iam);
        let (mut before, mut after) = (before, state(&self.iam));
        match result {
            Ok(output) => {
                self.made += 1;
                before.remove(user);
                after.remove(user);
                assert_eq!(after, before, "a change of {user} changed another user");
                Some(output)
            }
            Err(Error::Entropy(error)) => {
                assert!(error.get_ref().is::<RepeatedEntropy>(), "{error}");
                assert_eq!(error.to_string(), "the entropy source repeats itself");
                assert_eq!(after, before);
                self.failed += 1;
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn registers(&mut self, user: &UserName) {
        let existed = state(&self.iam).len();
        if let Some(registered) = self.does(user, |iam| iam.register_user(user)) {
            assert_eq!(registered.name(), user);
            let now = state(&self.iam);
            assert_eq!(now.len(), existed + 1);
            assert_eq!(now.values().filter(|(user, _)| user.id() == registered.id()).count(), 1);
        }
    }

    fn creates(&mut self, user: &UserName, service: &ServiceName) {
        if let Some(issued) = self.does(user, |iam| iam.create(user, service)) {
            let others = self.issued.iter().filter(|other| other.id() == issued.id());
            assert_eq!(others.count(), 0, "an id is used twice");
            self.issued.push(issued);
        }
        self.check_secrets();
    }

    fn resets(&mut self, place: usize) {
        let Some(old) = self.issued.get(place) else { return };
        let (user, id) = (old.credential().user_name().clone(), old.id().clone());
        if let Some(renewed) = self.does(&user, |iam| iam.reset(&user, &id)) {
            let old = std::mem::replace(&mut self.issued[place], renewed);
            assert!(!opens(&self.iam, &old), "the old secret still authenticates");
        }
        self.check_secrets();
    }

    fn check_secrets(&self) {
        assert!(self.issued.iter().all(|issued| opens(&self.iam, issued)));
    }
}

/// Runs every operation with a generator that repeats itself.
fn tell(store: &Arc<dyn Store>, unit: Unit, period: usize) {
    let iam = manager(store, Repeating { unit, period, place: AtomicUsize::new(0) });
    let mut history = Story { iam, issued: Vec::new(), made: 0, failed: 0 };
    let [codecommit, bedrock] = [CODECOMMIT, BEDROCK].map(name::<ServiceName>);
    let users: [UserName; 5] = ["anika", "bo", "carl", "dora", "eve"].map(name);
    for user in &users {
        history.registers(user);
    }
    assert!(history.made >= 1 && history.failed >= 1, "{} {}", history.made, history.failed);
    // Users who could not be registered are registered with another generator.
    let sound = manager(store, SeededEntropy::new(7));
    for user in &users {
        sound.ensure_user(user).unwrap();
    }

    let before = (history.made, history.failed);
    for user in &users {
        for service in [&codecommit, &codecommit, &bedrock] {
            history.creates(user, service);
        }
    }
    assert!(history.made > before.0 && history.failed > before.1);
    let before = (history.made, history.failed);
    for place in (0..history.issued.len()).cycle().take(3 * history.issued.len()) {
        history.resets(place);
    }
    assert_ne!((history.made, history.failed), before);

    // Operations that draw nothing still succeed.
    let failed = history.failed;
    let first = history.issued.remove(0);
    let (user, id) = (first.credential().user_name().clone(), first.id().clone());
    history.does(&user, |iam| iam.set_status(&user, &id, Status::Inactive)).unwrap();
    history.does(&user, |iam| iam.set_status(&user, &id, Status::Active)).unwrap();
    history.does(&user, |iam| iam.delete(&user, &id)).unwrap();
    history.does(&user, |iam| iam.ensure_user(&user)).unwrap();
    history.iam.rename_user(&user, &name("frida")).unwrap();
    history.iam.rename_user(&name("frida"), &user).unwrap();
    history.does(&user, |iam| iam.remove_user_with_credentials(&user)).unwrap();
    history.issued.retain(|issued| *issued.credential().user_name() != user);
    history.check_secrets();
    assert_eq!(history.failed, failed);
    history.registers(&user);
    history.creates(&users[4], &bedrock);
    sound.ensure_user(&user).unwrap();
    for user in &users {
        sound.remove_user_with_credentials(user).unwrap();
    }
    assert_eq!(state(&history.iam), State::new());
}

/// Each kind of generator.
fn generators() -> impl Iterator<Item = (Unit, usize)> {
    [Unit::Bytes, Unit::Draws]
        .into_iter()
        .flat_map(|unit| (1..=3).map(move |period| (unit, period)))
}

#[test]
fn repeated_entropy_damages_nothing_in_memory() {
    for (unit, period) in generators() {
        tell(&(Arc::new(MemoryStore::new()) as Arc<dyn Store>), unit, period);
    }
}

#[test]
fn repeated_entropy_damages_nothing_in_a_file() {
    for (unit, period) in generators() {
        let folder = Folder::new("entropy");
        let path = folder.file("store.redb");
        tell(&(Arc::new(RedbStore::create(&path).unwrap()) as Arc<dyn Store>), unit, period);
        assert!(RedbStore::check_integrity(&path).unwrap());
    }
}

#[cfg(unix)]
#[test]
fn repeated_entropy_damages_nothing_in_a_database() {
    use crate::database::{Blocking, shared, wait};
    use service_specific_credentials::store::PostgresOptions;

    let Some(server) = shared() else { return };
    for (unit, period) in generators() {
        let space = wait(server.space());
        let store = Blocking(wait(space.store(&PostgresOptions::new())));
        tell(&(Arc::new(store) as Arc<dyn Store>), unit, period);
        wait(space.check());
    }
}

/// Draws from a sound generator, and repeats parts of earlier draws on request.
#[derive(Debug)]
struct RepeatsDraws {
    sound: SeededEntropy,
    drawn: Mutex<Vec<Vec<u8>>>,
    /// What to repeat next, and how often.
    repeat: Mutex<(Value, usize)>,
}

/// A value of an earlier draw, by its index.
#[derive(Clone, Copy, Debug)]
enum Value {
    UserId(usize),
    /// The first 20 bytes of the draw of a new credential.
    CredentialId(usize),
    /// The last 32 bytes of the draw of a new credential, or of a new secret.
    Password(usize),
}

impl RepeatsDraws {
    fn new() -> Arc<Self> {
        let sound = SeededEntropy::new(7);
        let repeat = Mutex::new((Value::UserId(0), 0));
        Arc::new(Self { sound, drawn: Mutex::default(), repeat })
    }

    /// Makes the next draws repeat this value.
    fn repeat(&self, value: Value, times: usize) {
        *self.repeat.lock().unwrap() = (value, times);
    }

    fn draws(&self) -> usize {
        self.drawn.lock().unwrap().len()
    }
}

impl Entropy for RepeatsDraws {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut drawn = self.drawn.lock().unwrap();
        let mut repeat = self.repeat.lock().unwrap();
        self.sound.fill(bytes)?;
        if repeat.1 > 0 {
            repeat.1 -= 1;
            match repeat.0 {
                Value::UserId(draw) => bytes.copy_from_slice(&drawn[draw]),
                Value::CredentialId(draw) => bytes[..20].copy_from_slice(&drawn[draw][..20]),
                Value::Password(draw) => {
                    let start = bytes.len() - 32;
                    bytes[start..].copy_from_slice(drawn[draw].last_chunk::<32>().unwrap());
                }
            }
        }
        drawn.push(bytes.to_vec());
        Ok(())
    }
}

/// Each draw of an operation returns a value that is already in use, several times in a row.
#[test]
fn values_in_use_are_drawn_again_a_few_times() {
    let entropy = RepeatsDraws::new();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let iam = manager(&store, Arc::clone(&entropy));
    let (anika, bo, codecommit) = (name("anika"), name("bo"), name(CODECOMMIT));
    let user_id = entropy.draws();
    iam.register_user(&anika).unwrap();
    let own = entropy.draws();
    let issued = iam.create(&anika, &codecommit).unwrap();
    iam.register_user(&bo).unwrap();
    let of_bo = entropy.draws();
    drop(iam.create(&bo, &codecommit).unwrap());

    let fails = |result: Result<(), Error>| match result {
        Err(Error::Entropy(error)) => assert!(error.get_ref().is::<RepeatedEntropy>()),
        result => panic!("{result:?}"),
    };
    // The user's own ids and secrets, and another user's ids.
    for value in [Value::CredentialId(own), Value::Password(own), Value::CredentialId(of_bo)] {
        let create = || iam.create(&anika, &codecommit);
        for times in 0..=8 {
            let drawn = entropy.draws();
            entropy.repeat(value, times);
            let second = create().unwrap();
            assert_eq!(entropy.draws() - drawn, times + 1, "{value:?}");
            assert_eq!(iam.list(&anika).unwrap().len(), 2, "{value:?}");
            iam.delete(&anika, second.id()).unwrap();
        }
        let (before, drawn) = (state(&iam), entropy.draws());
        entropy.repeat(value, 9);
        fails(create().map(drop));
        assert_eq!(entropy.draws() - drawn, 9, "{value:?}");
        assert_eq!(state(&iam), before, "{value:?}");
    }

    let mut last = own;
    for times in 0..=8 {
        let drawn = entropy.draws();
        entropy.repeat(Value::Password(last), times);
        drop(iam.reset(&anika, issued.id()).unwrap());
        assert_eq!(entropy.draws() - drawn, times + 1);
        last = drawn + times;
    }
    let (before, drawn) = (state(&iam), entropy.draws());
    entropy.repeat(Value::Password(last), 9);
    fails(iam.reset(&anika, issued.id()).map(drop));
    assert_eq!(entropy.draws() - drawn, 9);
    assert_eq!(state(&iam), before);

    // A user id that is held is drawn again. The same id drawn twice in a row is never accepted.
    let (carl, dora) = (name("carl"), name("dora"));
    entropy.repeat(Value::UserId(user_id), 1);
    iam.register_user(&carl).unwrap();
    let (before, drawn) = (state(&iam), entropy.draws());
    entropy.repeat(Value::UserId(user_id), 2);
    fails(iam.register_user(&dora).map(drop));
    assert_eq!(entropy.draws() - drawn, 2);
    assert_eq!(state(&iam), before);
}
