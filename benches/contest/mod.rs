//! A store compared with the same requests sent without it: the same bytes, the same round trips.
//! Then the latencies of the store, for several callers at once.

use std::{
    hint::black_box,
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use service_specific_credentials::{
    AccountId, AsyncCredentialManager, CredentialId, CredentialManager, IssuedCredential,
    MemoryStore, ServiceName, UserName,
    store::{AsyncStore, CopyUsers, Key, Store as _, SyncAdapter, UserRecord},
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use crate::measure::{CALLERS, Figures, Target, duration, rounds, shuffled};

/// The number of users that authenticate.
const OWNERS: usize = 20_000;
/// The number of users for which credentials are created while latencies are measured.
const STOCK: usize = 200_000;

pub(crate) fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

/// The service of each user's first credential.
pub(crate) fn service() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

/// The service of the credentials that are created while it is measured.
fn second_service() -> ServiceName {
    "cassandra.amazonaws.com".parse().unwrap()
}

fn user(number: usize) -> UserName {
    format!("user{number:07}").parse().unwrap()
}

/// The requests without the store.
pub(crate) trait Direct: Clone + Send + Sync + 'static {
    /// The number of reads per round.
    const READS: usize;
    /// The number of changes per round.
    const CHANGES: usize;
    /// The numbers of callers that both are compared with, at the largest number of users.
    const COMPARED: &'static [usize] = &[1, 16];
    /// The bounds of the ratios of reads and changes.
    const TARGETS: [Target; 2] = [Target::AtMost(1.11); 2];

    /// What a find sends.
    type Place: Send + Sync + 'static;
    /// What a change sends: the record of a user, and what creating its last credential claims.
    type Rows: Send + Sync + 'static;

    fn place(key: &Key<'_>, record: &UserRecord) -> Self::Place;
    fn rows(record: &UserRecord, claimed: &[Key<'_>]) -> Self::Rows;

    fn find(&self, place: &Self::Place) -> impl Future<Output = ()> + Send;
    fn create(&self, place: &Self::Place, rows: &Self::Rows) -> impl Future<Output = ()> + Send;
    fn reset(&self, place: &Self::Place, rows: &Self::Rows) -> impl Future<Output = ()> + Send;
}

/// A user for the direct changes.
struct Theirs<D: Direct> {
    by_name: D::Place,
    rows: D::Rows,
}

impl<D: Direct> Theirs<D> {
    /// The record is that of the user after a second credential was created in `model`.
    fn new(model: &CredentialManager<Arc<MemoryStore>>, name: &UserName) -> Self {
        let (account, service) = (account(), second_service());
        let issued = model.create(name, &service).unwrap();
        let key = Key::User { account, name };
        let record = model.store().find(&key).unwrap().unwrap();
        let login = issued.service_user_name().as_str();
        let claimed = [
            Key::Credential { account, id: issued.id() },
            Key::ServiceUser { account, service: &service, name: login },
            Key::Holder { account, service: Some(&service), user: name },
        ];
        Self { by_name: D::place(&key, &record), rows: D::rows(&record, &claimed) }
    }
}

/// A user with a credential.
pub(crate) struct Owner<D: Direct> {
    pub(crate) user: UserName,
    id: CredentialId,
    pub(crate) login: String,
    pub(crate) password: String,
    by_name: D::Place,
    by_login: D::Place,
}

impl<D: Direct> Owner<D> {
    fn new(model: &CredentialManager<Arc<MemoryStore>>, issued: IssuedCredential) -> Self {
        let (account, service) = (account(), service());
        let (credential, secret) = issued.into_parts();
        let user = credential.user_name().clone();
        let login = credential.service_user_name().as_str().to_owned();
        let key = Key::User { account, name: &user };
        let record = model.store().find(&key).unwrap().unwrap();
        let by_login = Key::ServiceUser { account, service: &service, name: &login };
        Self {
            by_name: D::place(&key, &record),
            by_login: D::place(&by_login, &record),
            id: credential.id().clone(),
            password: secret.expose().to_owned(),
            login,
            user,
        }
    }
}

/// The nanoseconds per operation of `work` on the picks, by this many concurrent tasks.
pub(crate) fn time<T, F>(runtime: &Runtime, tasks: usize, picks: &[T], work: impl Fn(T) -> F) -> f64
where
    T: Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = picks
            .chunks(picks.len().div_ceil(tasks))
            .map(|picks| {
                let futures: Vec<F> = picks.iter().cloned().map(&work).collect();
                tokio::spawn(async move {
                    for future in futures {
                        future.await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    start.elapsed().as_nanos() as f64 / picks.len() as f64
}

/// The latencies of `work`, by this many concurrent tasks that take the next pick each.
fn latencies<T, F>(
    runtime: &Runtime,
    tasks: usize,
    picks: &Arc<Mutex<impl Iterator<Item = T> + Send + 'static>>,
    work: impl Fn(T) -> F + Clone + Send + 'static,
) -> (Vec<Duration>, Duration)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    let end = start + duration();
    let durations = runtime.block_on(async {
        let task = |_| {
            let (picks, work) = (Arc::clone(picks), work.clone());
            tokio::spawn(async move {
                let mut durations = Vec::new();
                while Instant::now() < end {
                    let Some(pick) = picks.lock().unwrap().next() else { break };
                    let start = Instant::now();
                    work(pick).await;
                    durations.push(start.elapsed());
                    // What never waits would keep the thread from the other tasks.
                    tokio::task::yield_now().await;
                }
                durations
            })
        };
        let tasks: Vec<_> = (0..tasks).map(task).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.append(&mut task.await.unwrap());
        }
        all
    });
    (durations, start.elapsed())
}

/// Fills the empty store to each of `sizes` in turn, and compares the operations on single users
/// there. `prepare` is called after many writes, and returns the direct requests. Returns the users
/// that authenticate.
pub(crate) fn run<S, D>(
    runtime: &Runtime,
    figures: &mut Figures,
    store: &S,
    sizes: &[usize],
    prepare: impl Fn() -> D,
) -> Vec<Arc<Owner<D>>>
where
    S: AsyncStore + Clone + 'static,
    D: Direct,
{
    let mut users = 0;
    let mut last = Vec::new();
    for (place, &size) in sizes.iter().enumerate() {
        println!("# {size} users");
        let largest = place + 1 == sizes.len();
        let callers = if largest { D::COMPARED } else { &[1] };
        let stage = Stage::fill(runtime, store, users..size, callers.len());
        let iam = AsyncCredentialManager::new(account(), store.clone());
        let mut contest =
            Contest { runtime, figures, iam, direct: prepare(), users: size, callers };
        contest.create(&stage);
        contest.direct = prepare();
        contest.authenticate(&stage.owners);
        contest.list(&stage.owners);
        contest.reset(&stage);
        if largest {
            let unused = stage.ours[stage.theirs.len()..].to_vec();
            contest.latencies(unused, stage.owners.clone());
        }
        (users, last) = (size, stage.owners);
    }
    last
}

/// The users that were added last.
struct Stage<D: Direct> {
    /// The users that authenticate.
    owners: Vec<Arc<Owner<D>>>,
    /// The users whose passwords are reset.
    reset: Vec<Arc<Owner<D>>>,
    /// The users without a second credential.
    ours: Vec<UserName>,
    theirs: Vec<Arc<Theirs<D>>>,
    /// The number of changes per round.
    per_round: usize,
}

impl<D: Direct> Stage<D> {
    /// Adds users with a credential each to the store.
    fn fill<S>(runtime: &Runtime, store: &S, numbers: Range<usize>, comparisons: usize) -> Self
    where
        S: AsyncStore,
    {
        let memory = Arc::new(MemoryStore::new());
        let model = CredentialManager::new(account(), Arc::clone(&memory));
        let order = shuffled(numbers.len());
        let names: Vec<UserName> =
            order.into_iter().map(|place| user(numbers.start + place)).collect();
        // A third of the users at most is for the direct changes, which disagree with the model.
        let rounds = rounds() * comparisons;
        let per_round = D::CHANGES.min(names.len() / 3 / rounds).max(1);
        let changed = rounds * per_round;
        let (theirs, ours) = names.split_at(changed);
        for name in theirs {
            model.register_user(name).unwrap();
            drop(model.create(name, &service()).unwrap());
        }
        let mut reset = Vec::new();
        for name in ours {
            model.register_user(name).unwrap();
            let issued = model.create(name, &service()).unwrap();
            if reset.len() < changed + OWNERS {
                reset.push(Arc::new(Owner::new(&model, issued)));
            }
        }
        let owners = reset.split_off(changed);
        let copy = CopyUsers::new([account()]).concurrency(NonZeroUsize::new(256).unwrap());
        runtime.block_on(copy.run_async(&SyncAdapter::new(memory), store)).unwrap();
        Self {
            owners,
            reset,
            ours: ours[..ours.len().min(changed + STOCK)].to_vec(),
            theirs: theirs.iter().map(|name| Arc::new(Theirs::new(&model, name))).collect(),
            per_round,
        }
    }
}

struct Contest<'a, S, D> {
    runtime: &'a Runtime,
    figures: &'a mut Figures,
    iam: AsyncCredentialManager<S>,
    direct: D,
    users: usize,
    /// The numbers of callers.
    callers: &'static [usize],
}

impl<S: AsyncStore + Clone + 'static, D: Direct> Contest<'_, S, D> {
    /// Compares both with each number of callers. Each round takes the next `count` picks.
    fn compare<T, U, F, G>(
        &mut self,
        operation: &str,
        target: Target,
        count: usize,
        (ours, own_work): (&[T], impl Fn(T) -> F),
        (theirs, their_work): (&[U], impl Fn(U) -> G),
    ) where
        T: Clone + Send + 'static,
        U: Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        let (mut ours, mut theirs) = (ours.chunks(count).cycle(), theirs.chunks(count).cycle());
        for &callers in self.callers {
            self.figures.compare(
                operation,
                (self.users, callers),
                target,
                || time(self.runtime, callers, ours.next().unwrap(), &own_work),
                || time(self.runtime, callers, theirs.next().unwrap(), &their_work),
            );
        }
    }

    /// Creates a second credential for users of both.
    fn create(&mut self, stage: &Stage<D>) {
        let [_, target] = D::TARGETS;
        let iam = self.iam.clone();
        let ours = |user: UserName| create(iam.clone(), user);
        let direct = self.direct.clone();
        let theirs = |theirs: Arc<Theirs<D>>| {
            let direct = direct.clone();
            async move { direct.create(&theirs.by_name, &theirs.rows).await }
        };
        let changed = stage.theirs.len();
        let (ours, theirs) = ((&stage.ours[..changed], ours), (&*stage.theirs, theirs));
        self.compare("create", target, stage.per_round, ours, theirs);
    }

    fn authenticate(&mut self, owners: &[Arc<Owner<D>>]) {
        let [target, _] = D::TARGETS;
        let iam = self.iam.clone();
        let ours = |owner| authenticate(iam.clone(), owner);
        let direct = self.direct.clone();
        let theirs = |owner: Arc<Owner<D>>| {
            let direct = direct.clone();
            async move {
                direct.find(&owner.by_login).await;
                black_box(Sha256::digest(&owner.password));
            }
        };
        self.compare("authenticate", target, D::READS, (owners, ours), (owners, theirs));
    }

    fn list(&mut self, owners: &[Arc<Owner<D>>]) {
        let [target, _] = D::TARGETS;
        let iam = self.iam.clone();
        let ours = |owner: Arc<Owner<D>>| {
            let iam = iam.clone();
            async move { drop(black_box(iam.list(&owner.user).await.unwrap())) }
        };
        let direct = self.direct.clone();
        let theirs = |owner: Arc<Owner<D>>| {
            let direct = direct.clone();
            async move { direct.find(&owner.by_name).await }
        };
        self.compare("list one user", target, D::READS, (owners, ours), (owners, theirs));
    }

    fn reset(&mut self, stage: &Stage<D>) {
        let [_, target] = D::TARGETS;
        let iam = self.iam.clone();
        let ours = |owner: Arc<Owner<D>>| {
            let iam = iam.clone();
            async move { drop(black_box(iam.reset(&owner.user, &owner.id).await.unwrap())) }
        };
        let direct = self.direct.clone();
        let theirs = |theirs: Arc<Theirs<D>>| {
            let direct = direct.clone();
            async move { direct.reset(&theirs.by_name, &theirs.rows).await }
        };
        let (ours, theirs) = ((&*stage.reset, ours), (&*stage.theirs, theirs));
        self.compare("reset", target, stage.per_round, ours, theirs);
    }

    /// Creates for users without a second credential until the time is over, or none is left.
    fn latencies(&mut self, users: Vec<UserName>, owners: Vec<Arc<Owner<D>>>) {
        let users = Arc::new(Mutex::new(users.into_iter()));
        let owners = Arc::new(Mutex::new(owners.into_iter().cycle()));
        for callers in CALLERS {
            let iam = self.iam.clone();
            let work = move |user| create(iam.clone(), user);
            let (durations, elapsed) = latencies(self.runtime, callers, &users, work);
            if !durations.is_empty() {
                self.figures.latency("create", callers, durations, elapsed);
            }
        }
        for callers in CALLERS {
            let iam = self.iam.clone();
            let work = move |owner| authenticate(iam.clone(), owner);
            let (durations, elapsed) = latencies(self.runtime, callers, &owners, work);
            self.figures.latency("authenticate", callers, durations, elapsed);
        }
    }
}

async fn create<S: AsyncStore>(iam: AsyncCredentialManager<S>, user: UserName) {
    drop(black_box(iam.create(&user, &second_service()).await.unwrap()));
}

async fn authenticate<S: AsyncStore, D: Direct>(
    iam: AsyncCredentialManager<S>,
    owner: Arc<Owner<D>>,
) {
    let (login, password) = (&owner.login, &owner.password);
    black_box(iam.authenticate(&service(), login, password).await.unwrap());
}
