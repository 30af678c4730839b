//! A store compared with the same requests sent without it: the same bytes, the same round trips.
//! The contenders run in turns. The medians are printed.

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::Instant,
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AccountId, AsyncCredentialManager, CredentialId, CredentialManager, MemoryStore, ServiceName,
    UserName,
    store::{self, AsyncStore, Key, Store as _, SyncAdapter, UserRecord},
};
use sha2::{Digest as _, Sha256};

use crate::wait;

const CALLERS: [usize; 2] = [1, 16];

pub(crate) fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn service() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

fn user(number: usize) -> UserName {
    format!("user{number:06}").parse().unwrap()
}

/// The requests without the store.
pub(crate) trait Direct: Clone + Send + Sync + 'static {
    const ROUNDS: usize;
    /// The number of operations per round.
    const COUNT: usize;

    /// What a find sends.
    type Place: Send + Sync + 'static;
    /// What a change sends: the record of a user, and what creating the first credential claims.
    type Rows: Send + Sync + 'static;

    fn place(key: &Key<'_>, record: &UserRecord) -> Self::Place;
    fn rows(record: &UserRecord, claimed: &[Key<'_>]) -> Self::Rows;

    fn find(&self, place: &Self::Place) -> impl Future<Output = ()> + Send;
    fn create(&self, place: &Self::Place, rows: &Self::Rows) -> impl Future<Output = ()> + Send;
    fn reset(&self, place: &Self::Place, rows: &Self::Rows) -> impl Future<Output = ()> + Send;
}

/// A user for the direct requests. The record is that of a user who has one credential in a store
/// in memory.
struct Theirs<D: Direct> {
    by_name: D::Place,
    rows: D::Rows,
}

impl<D: Direct> Theirs<D> {
    fn new(model: &CredentialManager<Arc<MemoryStore>>, number: usize) -> Self {
        let (account, service, name) = (account(), service(), user(number));
        let issued = model.create(&name, &service).unwrap();
        let key = Key::User { account, name: &name };
        let record = model.store().find(&key).unwrap().unwrap();
        let login = issued.service_user_name().as_str();
        let claimed = [
            Key::Credential { account, id: issued.id() },
            Key::ServiceUser { account, service: &service, name: login },
            Key::Holder { account, service: None, user: &name },
            Key::Holder { account, service: Some(&service), user: &name },
        ];
        Self { by_name: D::place(&key, &record), rows: D::rows(&record, &claimed) }
    }
}

/// A user for the store, with a credential.
struct Owner<D: Direct> {
    user: UserName,
    id: CredentialId,
    login: String,
    password: String,
    by_name: D::Place,
    by_login: D::Place,
}

/// The rate per second of `work` on the picks, by this many concurrent tasks.
pub(crate) fn rate<T, F>(tasks: usize, picks: &[T], work: impl Fn(T) -> F) -> f64
where
    T: Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    wait(async {
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
    picks.len() as f64 / start.elapsed().as_secs_f64()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures both in turns with each number of callers, and prints the median of each and of the
/// ratios.
pub(crate) fn compare<D: Direct>(
    what: &str,
    mut ours: impl FnMut(usize) -> f64,
    mut direct: impl FnMut(usize) -> f64,
) {
    for callers in CALLERS {
        let mut figures: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
        for round in 0..D::ROUNDS {
            // The order alternates, so that neither always runs after the other.
            let (own, other) = if round % 2 == 0 {
                let own = ours(callers);
                (own, direct(callers))
            } else {
                let other = direct(callers);
                (ours(callers), other)
            };
            for (figures, figure) in figures.iter_mut().zip([own, other, own / other]) {
                figures.push(figure);
            }
        }
        let [own, other, ratio] = figures.each_mut().map(|figures| median(figures));
        let what = format!("{what}, {callers} at once");
        println!("{what:<32}{own:>12.0}{other:>12.0}{ratio:>8.2}  at least 0.9");
    }
}

/// Compares the operations on single users. The store is empty. `tidy` is called after many writes.
pub(crate) fn run<S, D>(store: &S, direct: &D, tidy: impl Fn())
where
    S: AsyncStore + Clone + 'static,
    D: Direct,
{
    // Half of the users are for the direct requests.
    let each = D::ROUNDS * D::COUNT * CALLERS.len();
    let memory = Arc::new(MemoryStore::new());
    let model = CredentialManager::new(account(), Arc::clone(&memory));
    for number in 0..2 * each {
        model.register_user(&user(number)).unwrap();
    }
    let from = SyncAdapter::new(Arc::clone(&memory));
    wait(store::copy_users(&from, store, account())).unwrap();
    tidy();
    let mut ours: Vec<UserName> = (0..each).map(user).collect();
    let mut theirs: Vec<Arc<Theirs<D>>> =
        (each..2 * each).map(|number| Arc::new(Theirs::new(&model, number))).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for place in (1..each).rev() {
        ours.swap(place, rng.random_range(0..=place));
        theirs.swap(place, rng.random_range(0..=place));
    }

    println!("{:<32}{:>12}{:>12}{:>8}  target", "a second", "ours", "direct", "ratio");
    let iam = AsyncCredentialManager::new(account(), store.clone());
    let contest = Contest { iam, direct: direct.clone() };
    let owners = contest.create(&ours, &theirs);
    tidy();
    let picks: Vec<_> =
        (0..D::COUNT).map(|_| Arc::clone(&owners[rng.random_range(0..each)])).collect();
    contest.authenticate(&picks);
    contest.list(&picks);
    contest.reset(&owners, &theirs);
}

struct Contest<S, D> {
    iam: AsyncCredentialManager<S>,
    direct: D,
}

impl<S: AsyncStore + Clone + 'static, D: Direct> Contest<S, D> {
    /// Creates for users without credentials. Returns the issued credentials.
    fn create(&self, ours: &[UserName], theirs: &[Arc<Theirs<D>>]) -> Vec<Arc<Owner<D>>> {
        let issued = Arc::new(Mutex::new(Vec::new()));
        let create = |user: UserName| {
            let (iam, issued) = (self.iam.clone(), Arc::clone(&issued));
            async move {
                let created = iam.create(&user, &service()).await.unwrap();
                issued.lock().unwrap().push((user, created));
            }
        };
        let direct = |theirs: Arc<Theirs<D>>| {
            let direct = self.direct.clone();
            async move { direct.create(&theirs.by_name, &theirs.rows).await }
        };
        let (mut ours, mut theirs) = (ours.chunks(D::COUNT), theirs.chunks(D::COUNT));
        compare::<D>(
            "create",
            |callers| rate(callers, ours.next().unwrap(), create),
            |callers| rate(callers, theirs.next().unwrap(), direct),
        );
        let issued = std::mem::take(&mut *issued.lock().unwrap());
        let owner = |(user, issued): (UserName, service_specific_credentials::IssuedCredential)| {
            let (account, service) = (account(), service());
            let login = issued.service_user_name().as_str().to_owned();
            let key = Key::User { account, name: &user };
            let record = wait(self.iam.store().find(&key)).unwrap().unwrap();
            let by_login = Key::ServiceUser { account, service: &service, name: &login };
            Arc::new(Owner {
                by_name: D::place(&key, &record),
                by_login: D::place(&by_login, &record),
                id: issued.id().clone(),
                password: issued.secret().expose().to_owned(),
                login,
                user,
            })
        };
        issued.into_iter().map(owner).collect()
    }

    fn authenticate(&self, picks: &[Arc<Owner<D>>]) {
        let ours = |owner: Arc<Owner<D>>| {
            let iam = self.iam.clone();
            async move {
                let (login, password) = (&owner.login, &owner.password);
                black_box(iam.authenticate(&service(), login, password).await.unwrap());
            }
        };
        let direct = |owner: Arc<Owner<D>>| {
            let direct = self.direct.clone();
            async move {
                direct.find(&owner.by_login).await;
                black_box(Sha256::digest(&owner.password));
            }
        };
        compare::<D>(
            "authenticate",
            |callers| rate(callers, picks, ours),
            |callers| rate(callers, picks, direct),
        );
    }

    fn list(&self, picks: &[Arc<Owner<D>>]) {
        let ours = |owner: Arc<Owner<D>>| {
            let iam = self.iam.clone();
            async move { drop(black_box(iam.list(&owner.user).await.unwrap())) }
        };
        let direct = |owner: Arc<Owner<D>>| {
            let direct = self.direct.clone();
            async move { direct.find(&owner.by_name).await }
        };
        compare::<D>(
            "list",
            |callers| rate(callers, picks, ours),
            |callers| rate(callers, picks, direct),
        );
    }

    fn reset(&self, ours: &[Arc<Owner<D>>], theirs: &[Arc<Theirs<D>>]) {
        let reset = |owner: Arc<Owner<D>>| {
            let iam = self.iam.clone();
            async move {
                let _ = black_box(iam.reset(&owner.user, &owner.id).await.unwrap());
            }
        };
        let direct = |theirs: Arc<Theirs<D>>| {
            let direct = self.direct.clone();
            async move { direct.reset(&theirs.by_name, &theirs.rows).await }
        };
        let (mut ours, mut theirs) = (ours.chunks(D::COUNT), theirs.chunks(D::COUNT));
        compare::<D>(
            "reset",
            |callers| rate(callers, ours.next().unwrap(), reset),
            |callers| rate(callers, theirs.next().unwrap(), direct),
        );
    }
}
