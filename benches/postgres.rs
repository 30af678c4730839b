//! A store in PostgreSQL compared with its own statements, sent directly over the same pool: the
//! same bytes, the same round trips. The contenders run in turns. The medians are printed.
//!
//! The benchmark starts its own server, in memory if the system supports it, on the same cores.
//! Nothing is flushed, so that the overhead of the store is visible.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

#[path = "../tests/common/postgres.rs"]
mod database;

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
    time::Instant,
};

use database::{Installation, wait};
use deadpool_postgres::{Manager, Pool};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialId, CredentialManager, MemoryStore, ServiceName, UserName,
    store::{self, Key, PostgresStore, Store as _, SyncAdapter},
};
use sha2::{Digest as _, Sha256};
use tokio_postgres::NoTls;
use uuid::Uuid;

const FIND: &str = include_str!("../src/store/postgres/sql/find.sql");
const REPLACE: &str = include_str!("../src/store/postgres/sql/replace.sql");
const CLAIM: &str = include_str!("../src/store/postgres/sql/replace_and_claim.sql");

const ACCOUNT: &str = "123456789012";
const ROUNDS: usize = 25;
/// The number of operations per round.
const COUNT: usize = 300;
const CONNECTIONS: [usize; 2] = [1, 16];

fn user(number: usize) -> UserName {
    format!("user{number:06}").parse().unwrap()
}

fn service() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

/// A user for the direct statements: the rows that creating a credential writes, from a store in
/// memory that does the same.
struct Rows {
    id: Uuid,
    name: UserName,
    key: Vec<u8>,
    record: Vec<u8>,
    claimed: Vec<Vec<u8>>,
    revision: Mutex<i64>,
}

/// A user for the store, and the issued credential.
struct Owner {
    user: UserName,
    id: CredentialId,
    login: String,
    key: Vec<u8>,
    password: String,
}

fn rows(iam: &CredentialManager<Arc<MemoryStore>>, number: usize) -> Rows {
    let (account, service, name) = (ACCOUNT.parse().unwrap(), service(), user(number));
    let issued = iam.create(&name, &service).unwrap();
    let key = Key::User { account, name: &name };
    let record = iam.store().find(&key).unwrap().unwrap();
    let claimed = [
        Key::Credential { account, id: issued.id() },
        Key::ServiceUser { account, service: &service, name: issued.service_user_name().as_str() },
        Key::Holder { account, service: None, user: &name },
        Key::Holder { account, service: Some(&service), user: &name },
    ];
    Rows {
        id: Uuid::from_bytes(*record.id().as_bytes()),
        key: key.encode(),
        record: record.encode(),
        claimed: claimed.iter().map(Key::encode).collect(),
        revision: Mutex::new(0),
        name,
    }
}

/// The statements without the store.
#[derive(Clone)]
struct Direct(Pool);

impl Direct {
    async fn find(&self, key: &[u8]) -> Vec<u8> {
        let client = self.0.get().await.unwrap();
        let find = client.prepare_cached(FIND).await.unwrap();
        client.query(&find, &[&key]).await.unwrap()[0].get(0)
    }

    async fn authenticate(&self, owner: &Owner) {
        black_box((self.find(&owner.key).await, Sha256::digest(&owner.password)));
    }

    async fn list(&self, owner: &Owner) {
        let account = ACCOUNT.parse().unwrap();
        black_box(self.find(&Key::User { account, name: &owner.user }.encode()).await);
    }

    async fn replace(&self, rows: &Rows, statement: &str) {
        black_box(self.find(&rows.key).await);
        let client = self.0.get().await.unwrap();
        let replace = client.prepare_cached(statement).await.unwrap();
        let from = *rows.revision.lock().unwrap();
        let (to, name) = (from + 1, rows.name.as_str());
        let replaced = if statement == CLAIM {
            client
                .query(&replace, &[&rows.id, &from, &name, &to, &1, &rows.record, &rows.claimed])
                .await
        } else {
            client.query(&replace, &[&rows.id, &from, &name, &to, &1, &rows.record]).await
        };
        assert_eq!(replaced.unwrap().len(), 1);
        *rows.revision.lock().unwrap() = to;
    }
}

/// The rate per second of `work` on the picks, by this many concurrent tasks.
fn rate<T, F>(tasks: usize, picks: &[T], work: impl Fn(T) -> F) -> f64
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

/// Measures both in turns, and prints the median of each and of the ratios.
fn compare(
    what: &str,
    connections: usize,
    mut ours: impl FnMut() -> f64,
    mut direct: impl FnMut() -> f64,
) {
    let mut figures: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
    for round in 0..ROUNDS {
        // The order alternates, so that neither always runs after the other.
        let (own, other) = if round % 2 == 0 {
            let own = ours();
            (own, direct())
        } else {
            let other = direct();
            (ours(), other)
        };
        for (figures, figure) in figures.iter_mut().zip([own, other, own / other]) {
            figures.push(figure);
        }
    }
    let [own, other, ratio] = figures.each_mut().map(|figures| median(figures));
    let what = format!("{what}, {connections} at once");
    println!("{what:<32}{own:>12.0}{other:>12.0}{ratio:>8.2}  at least 0.9");
}

/// The store and the direct statements.
struct Contest {
    iam: AsyncCredentialManager<PostgresStore>,
    direct: Direct,
}

impl Contest {
    /// Creates for users without credentials. Returns the issued credentials.
    fn create(&self, ours: &[UserName], theirs: &[Arc<Rows>]) -> Vec<Arc<Owner>> {
        let owners: Arc<Mutex<Vec<Arc<Owner>>>> = Arc::default();
        let create = |user: UserName| {
            let (iam, owners) = (self.iam.clone(), Arc::clone(&owners));
            async move {
                let (account, service) = (ACCOUNT.parse().unwrap(), service());
                let issued = iam.create(&user, &service).await.unwrap();
                let login = issued.service_user_name().as_str().to_owned();
                let key = Key::ServiceUser { account, service: &service, name: &login }.encode();
                let password = issued.secret().expose().to_owned();
                let owner = Owner { user, id: issued.id().clone(), login, key, password };
                owners.lock().unwrap().push(Arc::new(owner));
            }
        };
        let (mut ours, mut theirs) = (ours.chunks(COUNT), theirs.chunks(COUNT));
        for connections in CONNECTIONS {
            compare(
                "create",
                connections,
                || rate(connections, ours.next().unwrap(), create),
                || {
                    rate(connections, theirs.next().unwrap(), |rows| {
                        let direct = self.direct.clone();
                        async move { direct.replace(&rows, CLAIM).await }
                    })
                },
            );
        }
        std::mem::take(&mut *owners.lock().unwrap())
    }

    fn authenticate(&self, picks: &[Arc<Owner>]) {
        for connections in CONNECTIONS {
            let ours = |owner: Arc<Owner>| {
                let iam = self.iam.clone();
                async move {
                    let (login, password) = (&owner.login, &owner.password);
                    black_box(iam.authenticate(&service(), login, password).await.unwrap());
                }
            };
            let direct = |owner: Arc<Owner>| {
                let direct = self.direct.clone();
                async move { direct.authenticate(&owner).await }
            };
            compare(
                "authenticate",
                connections,
                || rate(connections, picks, ours),
                || rate(connections, picks, direct),
            );
        }
    }

    fn list(&self, picks: &[Arc<Owner>]) {
        for connections in CONNECTIONS {
            let ours = |owner: Arc<Owner>| {
                let iam = self.iam.clone();
                async move { drop(black_box(iam.list(&owner.user).await.unwrap())) }
            };
            let direct = |owner: Arc<Owner>| {
                let direct = self.direct.clone();
                async move { direct.list(&owner).await }
            };
            compare(
                "list",
                connections,
                || rate(connections, picks, ours),
                || rate(connections, picks, direct),
            );
        }
    }

    fn reset(&self, ours: &[Arc<Owner>], theirs: &[Arc<Rows>]) {
        for connections in CONNECTIONS {
            let (mut ours, mut theirs) = (ours.chunks(COUNT), theirs.chunks(COUNT));
            let reset = |owner: Arc<Owner>| {
                let iam = self.iam.clone();
                async move {
                    let _ = black_box(iam.reset(&owner.user, &owner.id).await.unwrap());
                }
            };
            let direct = |rows: Arc<Rows>| {
                let direct = self.direct.clone();
                async move { direct.replace(&rows, REPLACE).await }
            };
            compare(
                "reset",
                connections,
                || rate(connections, ours.next().unwrap(), reset),
                || rate(connections, theirs.next().unwrap(), direct),
            );
        }
    }
}

fn main() {
    let Some(installation) = Installation::find() else { return };
    let server = installation.server(&["fsync=off", "autovacuum=off"]);
    let config = server.url().parse().unwrap();
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(16).build().unwrap();
    let account = ACCOUNT.parse().unwrap();
    let store = PostgresStore::from_pool(pool.clone());

    // Everybody is registered; half of them are for the statements alone.
    let each = ROUNDS * COUNT * CONNECTIONS.len();
    let memory = Arc::new(MemoryStore::new());
    let model = CredentialManager::new(account, Arc::clone(&memory));
    for number in 0..2 * each {
        model.register_user(&user(number)).unwrap();
    }
    let tidy =
        || wait(async { server.client().await.batch_execute("VACUUM ANALYZE").await.unwrap() });
    wait(async {
        store.migrate().await.unwrap();
        let from = SyncAdapter::new(Arc::clone(&memory));
        store::copy_users(&from, &store, account).await.unwrap();
    });
    tidy();
    let mut ours: Vec<UserName> = (0..each).map(user).collect();
    let mut theirs: Vec<Arc<Rows>> =
        (each..2 * each).map(|number| Arc::new(rows(&model, number))).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for place in (1..each).rev() {
        ours.swap(place, rng.random_range(0..=place));
        theirs.swap(place, rng.random_range(0..=place));
    }

    println!("{:<32}{:>12}{:>12}{:>8}  target", "a second", "ours", "direct", "ratio");
    let contest =
        Contest { iam: AsyncCredentialManager::new(account, store), direct: Direct(pool) };
    let owners = contest.create(&ours, &theirs);
    tidy();
    let picks: Vec<Arc<Owner>> =
        (0..2 * COUNT).map(|_| Arc::clone(&owners[rng.random_range(0..each)])).collect();
    contest.authenticate(&picks);
    contest.list(&picks);
    contest.reset(&owners, &theirs);
}
