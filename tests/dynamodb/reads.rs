//! Reads during changes. DynamoDB Local applies a transaction at once, so the gateway simulates the
//! responses of the managed service while a transaction is in progress.

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
    gateway::{Action, Gateway, Response},
    local::{shared, until, wait},
};

const CONFLICT: Action = Action::Respond(Response::cancelled(&["TransactionConflict"]));

/// An empty response: the item has not been written yet.
const ABSENT: Action = Action::Rewrite(|read| *read = json!({}));

/// A store behind a gateway, and a manager with a direct connection.
async fn setup() -> Option<(DynamoDbStore, Gateway, AsyncCredentialManager<DynamoDbStore>)> {
    let table = shared()?.table().await;
    let gateway = Gateway::start(table.port).await;
    let store = table.behind(gateway.port()).store();
    Some((store, gateway, AsyncCredentialManager::new(name(ACCOUNT), table.store())))
}

/// The record has been written, but the key has not.
#[test]
fn find_retries_while_the_key_is_being_written() {
    wait(async {
        let Some((store, gateway, iam)) = setup().await else { return };
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        let (mut gets, mut transactions) = (0, 0);
        gateway.decide(move |operation, _| {
            let count = if operation == "GetItem" { &mut gets } else { &mut transactions };
            *count += 1;
            match (operation, *count) {
                ("GetItem", 1) => ABSENT,
                ("TransactGetItems", 1 | 2) => CONFLICT,
                _ => Action::Forward,
            }
        });
        assert!(store.find(&key).await.unwrap().is_some());
        let get = "TransactGetItems";
        assert_eq!(gateway.operations(), ["GetItem", get, get, get, get]);
    });
}

/// The key has been written, and the record is being written.
#[test]
fn find_retries_while_the_record_is_being_written() {
    wait(async {
        let Some((store, gateway, iam)) = setup().await else { return };
        let anika: UserName = name("anika");
        iam.register_user(&anika).await.unwrap();
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        gateway.inject("TransactGetItems", [CONFLICT; 3]);
        assert!(store.find(&key).await.unwrap().is_some());
        assert_eq!(gateway.count("TransactGetItems"), 4);
    });
}

#[test]
fn find_returns_none_if_the_key_is_released_between_its_two_reads() {
    wait(async {
        let Some((store, gateway, iam)) = setup().await else { return };
        let (anika, beate): (UserName, UserName) = (name("anika"), name("beate"));
        let key = Key::User { account: name(ACCOUNT), name: &anika };
        for removes in [false, true] {
            iam.register_user(&anika).await.unwrap();
            gateway.take();
            gateway.inject("TransactGetItems", [Action::Hold(&Action::Forward)]);
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

#[test]
fn a_user_renamed_between_the_reads_of_two_shards_is_listed_once() {
    wait(async {
        let Some((store, gateway, iam)) = setup().await else { return };
        let others = ["bea", "cleo", "dora", "eva", "fay", "gil"];
        for user in others {
            iam.register_user(&name(user)).await.unwrap();
        }
        // Renames the user from the first name in order to the last, and back.
        for (from, to) in [("anika", "zoe"), ("zoe", "anika")] {
            assert_ne!(shard(from), shard(to));
            if from == "anika" {
                iam.register_user(&name(from)).await.unwrap();
            }
            gateway.take();
            gateway.decide(move |operation, request| {
                let reads_new_shard = |request: &Value| {
                    let partition = &request["ExpressionAttributeValues"][":pk"]["B"];
                    let partition = STANDARD.decode(partition.as_str().unwrap()).unwrap();
                    partition.last() == Some(&shard(to))
                };
                match operation {
                    "Query" if reads_new_shard(request) => Action::Hold(&Action::Forward),
                    _ => Action::Forward,
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
