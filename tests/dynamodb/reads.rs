//! Reads while changes are in flight. DynamoDB Local applies a transaction at once, so the gateway
//! simulates what the managed service may show of a transaction in flight.

use std::{num::NonZeroUsize, ops::Bound};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use service_specific_credentials::{
    AsyncCredentialManager, UserName,
    store::{AsyncStore as _, DynamoDbStore, Key, Listing, ScanRange},
};
use sha2::{Digest as _, Sha256};

use crate::{
    common::{ACCOUNT, name},
    gateway::{Fate, Gateway, Response},
    local::{shared, until, wait},
};

const CONFLICT: Fate = Fate::Responded(Response::cancelled(&["TransactionConflict"]));

/// The item has not been written yet.
const ABSENT: Fate = Fate::Rewritten(|read| *read = json!({}));

/// A store behind a gateway, and a manager with a direct connection.
async fn scene() -> Option<(DynamoDbStore, Gateway, AsyncCredentialManager<DynamoDbStore>)> {
    let table = shared()?.table().await;
    let gateway = Gateway::start(table.port).await;
    let store = table.behind(gateway.port()).store();
    Some((store, gateway, AsyncCredentialManager::new(name(ACCOUNT), table.store())))
}

/// The record is written, but not yet the key: a find retries.
#[test]
fn a_key_that_is_being_claimed_is_found() {
    wait(async {
        let Some((store, gateway, iam)) = scene().await else { return };
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        let (mut gets, mut settled) = (0, 0);
        gateway.decide(move |operation, _| {
            let count = if operation == "GetItem" { &mut gets } else { &mut settled };
            *count += 1;
            match (operation, *count) {
                ("GetItem", 1) => ABSENT,
                ("TransactGetItems", 1 | 2) => CONFLICT,
                _ => Fate::Forwarded,
            }
        });
        assert!(store.find(&key).await.unwrap().is_some());
        let settled = "TransactGetItems";
        assert_eq!(gateway.operations(), ["GetItem", settled, settled, settled, settled]);
    });
}

/// The key is written, and the record is being written: a find retries.
#[test]
fn a_record_that_is_being_written_is_waited_for() {
    wait(async {
        let Some((store, gateway, iam)) = scene().await else { return };
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        gateway.befall("TransactGetItems", [CONFLICT; 3]);
        assert!(store.find(&key).await.unwrap().is_some());
        assert_eq!(gateway.count("TransactGetItems"), 4);
    });
}

/// The record releases the key between the two reads of a find.
#[test]
fn a_key_that_was_released_meanwhile_is_not_found() {
    wait(async {
        let Some((store, gateway, iam)) = scene().await else { return };
        let (anika, beate): (UserName, UserName) = (name("anika"), name("beate"));
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        for removes in [false, true] {
            iam.register_user(&anika).await.unwrap();
            gateway.take();
            gateway.befall("TransactGetItems", [Fate::Held(&Fate::Forwarded)]);
            let (found, ()) = tokio::join!(store.find(&key), async {
                let sent = async || gateway.count("TransactGetItems") == 1;
                until("the record to be read", sent).await;
                if removes {
                    iam.remove_user(&anika).await.unwrap();
                } else {
                    iam.rename_user(&anika, &beate).await.unwrap();
                }
                gateway.release();
            });
            assert!(found.unwrap().is_none());
            assert_eq!(gateway.operations(), ["GetItem", "TransactGetItems"]);
        }
    });
}

fn shard(name: &str) -> u8 {
    Sha256::digest(name)[0] % 8
}

/// A user is renamed between the reads of two shards.
#[test]
fn a_user_who_is_renamed_between_two_shards_is_listed_once() {
    wait(async {
        let Some((store, gateway, iam)) = scene().await else { return };
        let others = ["bea", "cleo", "dora", "eva", "fay", "gil"];
        for user in others {
            iam.register_user(&name(user)).await.unwrap();
        }
        // From the lowest name to the highest, and back.
        for (from, to) in [("anika", "zoe"), ("zoe", "anika")] {
            assert_ne!(shard(from), shard(to));
            if from == "anika" {
                iam.register_user(&name(from)).await.unwrap();
            }
            gateway.take();
            gateway.decide(move |operation, request| {
                let late = |request: &Value| {
                    let partition = &request["ExpressionAttributeValues"][":pk"]["B"];
                    let partition = STANDARD.decode(partition.as_str().unwrap()).unwrap();
                    partition.last() == Some(&shard(to))
                };
                match operation {
                    "Query" if late(request) => Fate::Held(&Fate::Forwarded),
                    _ => Fate::Forwarded,
                }
            });
            let range = ScanRange::new(
                name(ACCOUNT),
                Listing::Users,
                Bound::Unbounded,
                NonZeroUsize::new(100).unwrap(),
            );
            let (listed, ()) = tokio::join!(store.scan(&range), async {
                let read = async || gateway.count("Query") == 8 && gateway.responses("Query") == 7;
                until("the other shards to be read", read).await;
                iam.rename_user(&name(from), &name(to)).await.unwrap();
                gateway.release();
            });
            let listed = listed.unwrap();
            let listed: Vec<&str> = listed.iter().map(|record| record.name().as_str()).collect();
            let mut expected = others.to_vec();
            expected.push(to);
            expected.sort_unstable();
            assert_eq!(listed, expected);
        }
    });
}
