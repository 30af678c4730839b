//! A store in DynamoDB compared with the same requests sent directly by the SDK's client.
//!
//! The server is DynamoDB Local, in memory, on the same cores as the benchmark. The duration of a
//! request says nothing about the managed service. The overhead of the store is the same there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod contest;
#[path = "../tests/common/dynamodb.rs"]
mod local;
mod measure;

use std::{collections::HashMap, hint::black_box, sync::Mutex};

use aws_sdk_dynamodb::{
    Client,
    primitives::Blob,
    types::{AttributeValue, Get, KeysAndAttributes, Put, TransactGetItem, TransactWriteItem},
};
use contest::{Direct, account, time};
use futures_util::future::join_all;
use local::{Server, runtime, wait};
use measure::{Figures, Target, at_most};
use service_specific_credentials::{
    AsyncCredentialManager, ListUsersRequest, MaxItems,
    store::{Key, UserRecord},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const SHARDS: u8 = 8;

type Item = HashMap<String, AttributeValue>;

fn binary(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn primary(partition: Vec<u8>, sort: &[u8]) -> Item {
    Item::from([("pk".to_owned(), binary(partition)), ("sk".to_owned(), binary(sort))])
}

fn record_key(user: &[u8]) -> Item {
    primary([&[1], user].concat(), &[0])
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

/// The keys of the items that a find reads: the look-up key and the record.
struct Place {
    key: Item,
    record: Item,
}

/// The items of a user.
struct Rows {
    record: Item,
    claimed: Vec<Item>,
    revision: Mutex<u64>,
}

/// The requests without the store.
#[derive(Clone)]
struct Requests {
    client: Client,
    table: String,
}

impl Direct for Requests {
    const READS: usize = 160;
    const CHANGES: usize = 160;

    type Place = Place;
    type Rows = Rows;

    fn place(key: &Key<'_>, record: &UserRecord) -> Place {
        Place { key: key_item(key), record: record_key(record.id().as_bytes()) }
    }

    fn rows(record: &UserRecord, claimed: &[Key<'_>]) -> Rows {
        let id = *record.id().as_bytes();
        let claimed = claimed.iter().map(|key| {
            let mut item = key_item(key);
            item.insert("user_id".to_owned(), binary(id));
            item
        });
        let mut item = record_key(&id);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        item.extend([
            ("record".to_owned(), binary(record.encode())),
            ("change_id".to_owned(), binary(*Uuid::from_u128(7).as_bytes())),
            ("account".to_owned(), text(&record.account().to_string())),
            ("user_name".to_owned(), text(record.name().as_str())),
            ("credentials".to_owned(), AttributeValue::N("1".to_owned())),
        ]);
        Rows {
            record: item,
            claimed: claimed.collect(),
            revision: Mutex::new(record.revision().count() - 1),
        }
    }

    async fn find(&self, place: &Place) {
        let key = self.client.get_item().table_name(&self.table).set_key(Some(place.key.clone()));
        black_box(key.consistent_read(true).send().await.unwrap().item.unwrap());
        let get = Get::builder().table_name(&self.table).set_key(Some(place.record.clone()));
        let get = TransactGetItem::builder().get(get.build().unwrap()).build();
        let record = self.client.transact_get_items().transact_items(get).send().await;
        black_box(record.unwrap().responses.unwrap());
    }

    async fn create(&self, place: &Place, rows: &Rows) {
        self.find(place).await;
        let (record, before) = rows.next();
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

    async fn reset(&self, place: &Place, rows: &Rows) {
        self.find(place).await;
        let (record, before) = rows.next();
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(record))
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", before);
        black_box(put.send().await.unwrap());
    }
}

impl Rows {
    /// The next state of the record, and the revision that it requires.
    fn next(&self) -> (Item, AttributeValue) {
        let mut revision = self.revision.lock().unwrap();
        let before = AttributeValue::N(revision.to_string());
        *revision += 1;
        let mut item = self.record.clone();
        item.insert("revision".to_owned(), AttributeValue::N(revision.to_string()));
        (item, before)
    }
}

impl Requests {
    /// The first 101 users. The last one tells that there are more.
    async fn page(&self) {
        let shards = (0..SHARDS).map(async |shard| {
            let account: u64 = account().to_string().parse().unwrap();
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
            let keys =
                items.iter().map(|item| record_key(item["user_id"].as_b().unwrap().as_ref()));
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

fn main() {
    let Some(server) = Server::start() else { return };
    let table = wait(server.table());
    let store = table.store();
    let direct = Requests { client: table.client(), table: table.name.clone() };
    let users = at_most(30_000);
    let mut figures = Figures::default();
    contest::run(runtime(), &mut figures, &store, &[users], || direct.clone());

    let iam = AsyncCredentialManager::new(account(), store);
    let pages = [(); 40];
    let request = ListUsersRequest::new().max_items(MaxItems::new(100).unwrap());
    let ours = |()| {
        let (iam, request) = (iam.clone(), request.clone());
        async move { assert_eq!(iam.list_users_page(&request).await.unwrap().items.len(), 100) }
    };
    let theirs = |()| {
        let direct = direct.clone();
        async move { direct.page().await }
    };
    for &callers in Requests::COMPARED {
        figures.compare(
            "a page of 100 users",
            (users, callers),
            Target::AtMost(1.11),
            || time(runtime(), callers, &pages, ours),
            || time(runtime(), callers, &pages, theirs),
        );
    }
    figures.write("dynamodb");
}
