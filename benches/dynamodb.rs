//! A store in DynamoDB compared with the same requests sent directly by the SDK's client: the same
//! items, the same round trips. The contenders run in turns. The medians are printed.
//!
//! The server is DynamoDB Local, in memory, on the same cores as the benchmark. The duration of a
//! request says nothing about the managed service. The overhead of the store is the same there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

#[path = "../tests/common/dynamodb.rs"]
mod local;

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Arc, Mutex},
    time::Instant,
};

use aws_sdk_dynamodb::{
    Client,
    primitives::Blob,
    types::{AttributeValue, Get, KeysAndAttributes, Put, TransactGetItem, TransactWriteItem},
};
use futures_util::future::join_all;
use local::{Server, Table, wait};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialId, CredentialManager, ListUsersRequest, MaxItems,
    MemoryStore, ServiceName, UserName,
    store::{self, DynamoDbStore, Key, Store as _, SyncAdapter},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const ACCOUNT: &str = "123456789012";
const ROUNDS: usize = 15;
/// The number of operations per round.
const COUNT: usize = 160;
const CALLERS: [usize; 2] = [1, 16];
const SHARDS: u8 = 8;

type Item = HashMap<String, AttributeValue>;

fn user(number: usize) -> UserName {
    format!("user{number:06}").parse().unwrap()
}

fn service() -> ServiceName {
    "codecommit.amazonaws.com".parse().unwrap()
}

fn binary(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn primary(partition: Vec<u8>, sort: &[u8]) -> Item {
    Item::from([("pk".to_owned(), binary(partition)), ("sk".to_owned(), binary(sort))])
}

/// The primary key of a key's item, as the store's documentation describes it.
fn key_item(key: &Key<'_>) -> Item {
    let encoded = key.encode();
    // The part before the name: the account, the kind, and for a holder the service and a zero.
    let name = match key {
        Key::User { name, .. } | Key::Holder { user: name, .. } => name.as_str().len(),
        _ => return primary([&[2], &*encoded].concat(), &[0]),
    };
    let (listing, name) = encoded.split_at(encoded.len() - name);
    let shard = Sha256::digest(name)[0] % SHARDS;
    primary([&[3], listing, &[shard]].concat(), name)
}

/// A user for the direct requests: the items that creating a credential writes, from a store in
/// memory that does the same.
struct Rows {
    key: Item,
    record_key: Item,
    record: Item,
    claimed: Vec<Item>,
    revision: Mutex<u64>,
}

/// A user for the store, and the issued credential.
struct Owner {
    user: UserName,
    id: CredentialId,
    login: String,
    login_key: Item,
    user_key: Item,
    record_key: Item,
    password: String,
}

fn rows(iam: &CredentialManager<Arc<MemoryStore>>, number: usize) -> Rows {
    let (account, service, name) = (ACCOUNT.parse().unwrap(), service(), user(number));
    let issued = iam.create(&name, &service).unwrap();
    let key = Key::User { account, name: &name };
    let record = iam.store().find(&key).unwrap().unwrap();
    let id = record.id().as_bytes().to_vec();
    let claimed = [
        Key::Credential { account, id: issued.id() },
        Key::ServiceUser { account, service: &service, name: issued.service_user_name().as_str() },
        Key::Holder { account, service: None, user: &name },
        Key::Holder { account, service: Some(&service), user: &name },
    ];
    let claimed = claimed.iter().map(|key| {
        let mut item = key_item(key);
        item.insert("user_id".to_owned(), binary(id.clone()));
        item
    });
    let record_key = primary([&[1], &*id].concat(), &[0]);
    let mut item = record_key.clone();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    item.extend([
        ("record".to_owned(), binary(record.encode())),
        ("change_id".to_owned(), binary(Uuid::from_u128(7).as_bytes().to_vec())),
        ("account".to_owned(), text(ACCOUNT)),
        ("user_name".to_owned(), text(name.as_str())),
        ("credentials".to_owned(), AttributeValue::N("1".to_owned())),
    ]);
    Rows {
        key: key_item(&key),
        record_key,
        record: item,
        claimed: claimed.collect(),
        revision: Mutex::new(0),
    }
}

/// The requests without the store.
#[derive(Clone)]
struct Direct {
    client: Client,
    table: String,
}

impl Direct {
    async fn find(&self, key: &Item, record: &Item) {
        let key = self.client.get_item().table_name(&self.table).set_key(Some(key.clone()));
        black_box(key.consistent_read(true).send().await.unwrap().item.unwrap());
        let get = Get::builder().table_name(&self.table).set_key(Some(record.clone()));
        let get = TransactGetItem::builder().get(get.build().unwrap()).build();
        let record = self.client.transact_get_items().transact_items(get).send().await;
        black_box(record.unwrap().responses.unwrap());
    }

    async fn authenticate(&self, owner: &Owner) {
        self.find(&owner.login_key, &owner.record_key).await;
        black_box(Sha256::digest(&owner.password));
    }

    /// The next state of the record, and the revision that it requires.
    fn record(rows: &Rows) -> (Item, AttributeValue) {
        let mut revision = rows.revision.lock().unwrap();
        let before = AttributeValue::N(revision.to_string());
        *revision += 1;
        let mut item = rows.record.clone();
        item.insert("revision".to_owned(), AttributeValue::N(revision.to_string()));
        (item, before)
    }

    async fn create(&self, rows: &Rows) {
        self.find(&rows.key, &rows.record_key).await;
        let (record, before) = Self::record(rows);
        let put = |item: Item, condition: &str| {
            Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression(condition)
        };
        let record =
            put(record, "revision = :revision").expression_attribute_values(":revision", before);
        let claimed = rows.claimed.iter().map(|item| put(item.clone(), "attribute_not_exists(pk)"));
        let puts = std::iter::once(record)
            .chain(claimed)
            .map(|put| TransactWriteItem::builder().put(put.build().unwrap()).build());
        let write = self.client.transact_write_items().set_transact_items(Some(puts.collect()));
        black_box(write.send().await.unwrap());
    }

    async fn reset(&self, rows: &Rows) {
        self.find(&rows.key, &rows.record_key).await;
        let (record, before) = Self::record(rows);
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(record))
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", before);
        black_box(put.send().await.unwrap());
    }

    /// The first 101 users. The last one tells that there are more.
    async fn page(&self) {
        let shards = (0..SHARDS).map(async |shard| {
            let account: u64 = ACCOUNT.parse().unwrap();
            let partition = [&[3], &account.to_be_bytes()[..], &[1, shard]].concat();
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", binary(partition))
                .projection_expression("sk, user_id")
                .limit(29)
                .consistent_read(true);
            query.send().await.unwrap().items.unwrap()
        });
        let mut items: Vec<Item> = join_all(shards).await.into_iter().flatten().collect();
        let name = |item: &Item| item["sk"].as_b().unwrap().clone().into_inner();
        items.sort_by_key(name);
        items.truncate(101);
        let batches = items.chunks(100).map(async |items| {
            let keys = items.iter().map(|item| {
                let id = item["user_id"].as_b().unwrap().as_ref();
                primary([&[1], id].concat(), &[0])
            });
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(keys.collect()))
                .consistent_read(true)
                .build();
            let read = self.client.batch_get_item().request_items(&self.table, keys.unwrap());
            read.send().await.unwrap().responses.unwrap()
        });
        black_box(join_all(batches).await);
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
    callers: usize,
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
    let what = format!("{what}, {callers} at once");
    println!("{what:<32}{own:>12.0}{other:>12.0}{ratio:>8.2}  at least 0.9");
}

/// The store and the direct requests.
struct Contest {
    iam: AsyncCredentialManager<DynamoDbStore>,
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
                let login_key =
                    key_item(&Key::ServiceUser { account, service: &service, name: &login });
                let user_key = key_item(&Key::User { account, name: &user });
                let password = issued.secret().expose().to_owned();
                let id = issued.id().clone();
                let record_key = Item::new();
                owners.lock().unwrap().push(Arc::new(Owner {
                    user,
                    id,
                    login,
                    login_key,
                    user_key,
                    record_key,
                    password,
                }));
            }
        };
        let (mut ours, mut theirs) = (ours.chunks(COUNT), theirs.chunks(COUNT));
        for callers in CALLERS {
            compare(
                "create",
                callers,
                || rate(callers, ours.next().unwrap(), create),
                || {
                    rate(callers, theirs.next().unwrap(), |rows| {
                        let direct = self.direct.clone();
                        async move { direct.create(&rows).await }
                    })
                },
            );
        }
        let mut owners = std::mem::take(&mut *owners.lock().unwrap());
        for owner in &mut owners {
            let id = *wait(self.iam.user(&owner.user)).unwrap().id().as_bytes();
            let owner = Arc::get_mut(owner).unwrap();
            owner.record_key = primary([&[1], &id[..]].concat(), &[0]);
        }
        owners
    }

    fn authenticate(&self, picks: &[Arc<Owner>]) {
        for callers in CALLERS {
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
                callers,
                || rate(callers, picks, ours),
                || rate(callers, picks, direct),
            );
        }
    }

    fn list(&self, picks: &[Arc<Owner>]) {
        for callers in CALLERS {
            let ours = |owner: Arc<Owner>| {
                let iam = self.iam.clone();
                async move { drop(black_box(iam.list(&owner.user).await.unwrap())) }
            };
            let direct = |owner: Arc<Owner>| {
                let direct = self.direct.clone();
                async move { direct.find(&owner.user_key, &owner.record_key).await }
            };
            compare(
                "list",
                callers,
                || rate(callers, picks, ours),
                || rate(callers, picks, direct),
            );
        }
    }

    fn reset(&self, ours: &[Arc<Owner>], theirs: &[Arc<Rows>]) {
        for callers in CALLERS {
            let (mut ours, mut theirs) = (ours.chunks(COUNT), theirs.chunks(COUNT));
            let reset = |owner: Arc<Owner>| {
                let iam = self.iam.clone();
                async move {
                    let _ = black_box(iam.reset(&owner.user, &owner.id).await.unwrap());
                }
            };
            let direct = |rows: Arc<Rows>| {
                let direct = self.direct.clone();
                async move { direct.reset(&rows).await }
            };
            compare(
                "reset",
                callers,
                || rate(callers, ours.next().unwrap(), reset),
                || rate(callers, theirs.next().unwrap(), direct),
            );
        }
    }

    fn page(&self) {
        let pages = [(); COUNT / 4];
        for callers in CALLERS {
            let ours = |()| {
                let iam = self.iam.clone();
                async move {
                    let page = iam
                        .list_users_page(
                            &ListUsersRequest::new().max_items(MaxItems::new(100).unwrap()),
                        )
                        .await
                        .unwrap();
                    assert_eq!(page.items.len(), 100);
                }
            };
            let direct = |()| {
                let direct = self.direct.clone();
                async move { direct.page().await }
            };
            compare(
                "page of 100 users",
                callers,
                || rate(callers, &pages, ours),
                || rate(callers, &pages, direct),
            );
        }
    }
}

fn main() {
    let Some(server) = Server::start() else { return };
    let account = ACCOUNT.parse().unwrap();
    let table: Table = wait(server.table());
    let store = table.store();

    // Half of the users are for the direct requests.
    let each = ROUNDS * COUNT * CALLERS.len();
    let memory = Arc::new(MemoryStore::new());
    let model = CredentialManager::new(account, Arc::clone(&memory));
    for number in 0..2 * each {
        model.register_user(&user(number)).unwrap();
    }
    let from = SyncAdapter::new(Arc::clone(&memory));
    wait(store::copy_users(&from, &store, account)).unwrap();
    let mut ours: Vec<UserName> = (0..each).map(user).collect();
    let mut theirs: Vec<Arc<Rows>> =
        (each..2 * each).map(|number| Arc::new(rows(&model, number))).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for place in (1..each).rev() {
        ours.swap(place, rng.random_range(0..=place));
        theirs.swap(place, rng.random_range(0..=place));
    }

    println!("{:<32}{:>12}{:>12}{:>8}  target", "a second", "ours", "direct", "ratio");
    let direct = Direct { client: table.client(), table: table.name.clone() };
    let contest = Contest { iam: AsyncCredentialManager::new(account, store), direct };
    let owners = contest.create(&ours, &theirs);
    let picks: Vec<Arc<Owner>> =
        (0..COUNT).map(|_| Arc::clone(&owners[rng.random_range(0..each)])).collect();
    contest.authenticate(&picks);
    contest.list(&picks);
    contest.reset(&owners, &theirs);
    contest.page();
}
