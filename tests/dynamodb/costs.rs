//! Costs: the requests that are sent, their number, and their billed units.
//!
//! The units are computed as DynamoDB documents them, from the sizes of the items that pass through
//! a gateway. The units that DynamoDB Local reports for transactions differ from DynamoDB's.

use std::{num::NonZeroUsize, ops::Bound};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use service_specific_credentials::{
    AsyncCredentialManager, CredentialManager, Error, ListRequest, ListUsersRequest, MaxItems,
    MemoryStore, ServiceName, UserName,
    store::{AsyncStore as _, CopyUsers, Listing, ScanRange, SyncAdapter},
};
use tokio::task::JoinSet;

use crate::{
    common::{ACCOUNT, BEDROCK, CODECOMMIT, name},
    gateway::{Exchange, Gateway},
    local::{shared, wait},
};

/// The size of an item: the total size of its attribute names and values.
fn size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = value.as_str().unwrap();
    match &**kind {
        "B" => STANDARD.decode(text).unwrap().len(),
        "S" => text.len(),
        // One byte for every two digits, plus one.
        "N" => text.len().div_ceil(2) + 1,
        other => panic!("{other}"),
    }
}

/// The billed units of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Units {
    read: usize,
    written: usize,
}

/// The units of a strongly consistent read of an item: one per 4 KB, rounded up. A read of a
/// missing item takes one unit.
fn read_units(item: &Value) -> usize {
    size(item).div_ceil(4096).max(1)
}

/// The units of a write of an item: one per KB, rounded up.
fn write_units(item: &Value) -> usize {
    size(item).div_ceil(1024).max(1)
}

fn units(exchange: &Exchange) -> Units {
    let Exchange { operation, request, response } = exchange;
    match &**operation {
        "GetItem" => {
            assert_eq!(request["ConsistentRead"], true);
            Units { read: read_units(&response["Item"]), written: 0 }
        }
        "TransactGetItems" => {
            let items = response["Responses"].as_array().unwrap();
            assert_eq!(items.len(), 1);
            Units { read: 2 * read_units(&items[0]["Item"]), written: 0 }
        }
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().unwrap();
            assert!(tables.values().all(|table| table["ConsistentRead"] == true));
            let requested: usize =
                tables.values().map(|table| table["Keys"].as_array().unwrap().len()).sum();
            let found = response["Responses"].as_object().unwrap();
            let found: Vec<_> =
                found.values().flat_map(|items| items.as_array().unwrap()).collect();
            let read: usize = found.iter().map(|item| read_units(item)).sum();
            Units { read: read + requested - found.len(), written: 0 }
        }
        "Query" => {
            assert_eq!(request["ConsistentRead"], true);
            // The projection omits the partition key, but its size is billed.
            let partition = "pk".len() + value_size(&request["ExpressionAttributeValues"][":pk"]);
            let items = response["Items"].as_array().unwrap();
            let size: usize = items.iter().map(|item| partition + size(item)).sum();
            Units { read: size.div_ceil(4096).max(1), written: 0 }
        }
        "PutItem" => Units { read: 0, written: write_units(&request["Item"]) },
        "TransactWriteItems" => {
            let actions = request["TransactItems"].as_array().unwrap();
            let written = actions.iter().map(|action| match action.get("Put") {
                Some(put) => write_units(&put["Item"]),
                // The request does not contain the deleted item. These tests delete only items of
                // at most 1 KB.
                None => 1,
            });
            Units { read: 0, written: 2 * written.sum::<usize>() }
        }
        other => panic!("{other}"),
    }
}

/// A manager behind a gateway.
struct Observed {
    iam: AsyncCredentialManager<service_specific_credentials::store::DynamoDbStore>,
    gateway: Gateway,
}

impl Observed {
    /// Checks the requests since the last call, and their billed units.
    fn assert_cost(&self, case: &str, requests: &[&str], read: usize, written: usize) {
        let exchanges = self.gateway.take();
        let mut operations: Vec<&str> =
            exchanges.iter().map(|exchange| &*exchange.operation).collect();
        // Queries are sent concurrently.
        operations.dedup();
        assert_eq!(operations, requests, "{case}");
        let billed = exchanges.iter().map(units).fold(Units::default(), |sum, next| Units {
            read: sum.read + next.read,
            written: sum.written + next.written,
        });
        assert_eq!(billed, Units { read, written }, "{case}");
        if requests.starts_with(&LOOK_UP) {
            // The first request of a look-up returns a small item.
            assert!(size(&exchanges[0].response["Item"]) < 200, "{case}");
        }
    }
}

const LOOK_UP: [&str; 2] = ["GetItem", "TransactGetItems"];
const PUT: [&str; 3] = ["GetItem", "TransactGetItems", "PutItem"];
const TRANSACT: [&str; 3] = ["GetItem", "TransactGetItems", "TransactWriteItems"];

#[test]
fn requests_and_units_of_operations_match_the_documentation() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let gateway = Gateway::start(table.port).await;
        let store = table.behind(gateway.port()).store();
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let observed = Observed { iam, gateway };
        let Observed { iam, .. } = &observed;
        let (codecommit, bedrock): (ServiceName, ServiceName) = (name(CODECOMMIT), name(BEDROCK));
        let (anika, beate): (UserName, UserName) = (name("anika"), name("beate"));

        iam.register_user(&anika).await.unwrap();
        observed.assert_cost("register", &TRANSACT, 3, 4);
        iam.rename_user(&anika, &beate).await.unwrap();
        observed.assert_cost("rename without credentials", &TRANSACT, 3, 6);
        iam.rename_user(&beate, &anika).await.unwrap();
        observed.gateway.take();

        let first = iam.create(&anika, &codecommit).await.unwrap();
        observed.assert_cost("create the first credential", &TRANSACT, 3, 10);
        let other = iam.create(&anika, &bedrock).await.unwrap();
        observed.assert_cost("create the first credential of a service", &TRANSACT, 3, 8);
        let second = iam.create(&anika, &codecommit).await.unwrap();
        observed.assert_cost("create", &TRANSACT, 3, 6);

        let login = first.service_user_name().as_str();
        iam.authenticate(&codecommit, login, first.secret().expose()).await.unwrap();
        observed.assert_cost("authenticate", &LOOK_UP, 3, 0);
        iam.authenticate(&codecommit, login, "wrong").await.unwrap_err();
        observed.assert_cost("authenticate with a wrong password", &LOOK_UP, 3, 0);
        let unknown = "nobody+1-at-123456789012";
        iam.authenticate(&codecommit, unknown, "nothing").await.unwrap_err();
        observed.assert_cost("authenticate with an unknown name", &LOOK_UP, 3, 0);
        iam.user(&anika).await.unwrap();
        observed.assert_cost("look up", &LOOK_UP, 3, 0);
        iam.list(&anika).await.unwrap();
        observed.assert_cost("list", &LOOK_UP, 3, 0);
        let _ = iam.reset(&anika, first.id()).await.unwrap();
        observed.assert_cost("reset", &PUT, 3, 1);
        let inactive = service_specific_credentials::Status::Inactive;
        iam.set_status(&anika, first.id(), inactive).await.unwrap();
        observed.assert_cost("set the status", &PUT, 3, 1);
        iam.rename_user(&anika, &name("ANIKA")).await.unwrap();
        observed.assert_cost("rename to a name that differs in case", &PUT, 3, 1);
        iam.rename_user(&anika, &beate).await.unwrap();
        observed.assert_cost("rename with credentials of two services", &TRANSACT, 3, 18);
        iam.rename_user(&beate, &anika).await.unwrap();
        observed.gateway.take();

        iam.delete(&anika, second.id()).await.unwrap();
        observed.assert_cost("delete", &TRANSACT, 3, 6);
        iam.delete(&anika, other.id()).await.unwrap();
        observed.assert_cost("delete the last credential of a service", &TRANSACT, 3, 8);
        iam.delete(&anika, first.id()).await.unwrap();
        observed.assert_cost("delete the last credential", &TRANSACT, 3, 10);
        iam.remove_user(&anika).await.unwrap();
        observed.assert_cost("remove", &TRANSACT, 3, 4);
        let missing = iam.remove_user(&anika).await;
        assert!(matches!(missing, Err(Error::NoSuchUser { .. })));
        observed.assert_cost("remove a missing user", &LOOK_UP, 3, 0);
    });
}

#[test]
fn the_cost_of_a_page_does_not_depend_on_the_number_of_users() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let gateway = Gateway::start(table.port).await;
        let direct = AsyncCredentialManager::new(name(ACCOUNT), table.store());
        let register = async |numbers: std::ops::Range<usize>| {
            let mut callers = JoinSet::new();
            for number in numbers {
                let direct = direct.clone();
                callers.spawn(async move {
                    direct.register_user(&name(&format!("user-{number:04}"))).await.unwrap();
                });
            }
            callers.join_all().await;
        };
        let store = table.behind(gateway.port()).store();
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let observed = Observed { iam, gateway };
        let Observed { iam, .. } = &observed;
        let page = ["Query", "BatchGetItem"];

        let hundred = MaxItems::new(100).unwrap();
        iam.list_users_page(&ListUsersRequest::new().max_items(hundred)).await.unwrap();
        observed.assert_cost("an empty page", &["Query"], 8, 0);
        register(0..101).await;
        for more in [101..102, 102..300] {
            register(more).await;
            // One look-ahead record determines whether there is a next page.
            let users =
                iam.list_users_page(&ListUsersRequest::new().max_items(hundred)).await.unwrap();
            assert_eq!(users.items.len(), 100);
            let exchanges = observed.gateway.take();
            let count = |operation: &str| {
                exchanges.iter().filter(|sent| sent.operation == operation).count()
            };
            // The look-ahead is the 101st record, in a batch of its own.
            assert_eq!((count("Query"), count("BatchGetItem")), (8, 2));
            let read: usize = exchanges.iter().map(|exchange| units(exchange).read).sum();
            assert_eq!(read, 8 + 101);
        }
        let many = ListUsersRequest::new().max_items(MaxItems::new(299).unwrap());
        iam.list_users_page(&many).await.unwrap();
        // 300 users, including the look-ahead, take three batches.
        assert_eq!(observed.gateway.count("BatchGetItem"), 3);
        let _ = observed.gateway.take();
        let ninety_nine = MaxItems::new(99).unwrap();
        iam.list_users_page(&ListUsersRequest::new().max_items(ninety_nine)).await.unwrap();
        observed.assert_cost("a page of 99 users", &page, 8 + 100, 0);
        iam.store().accounts().await.unwrap();
        let listed = observed.gateway.take();
        assert_eq!((listed.len(), &*listed[0].operation), (1, "Scan"));
        assert_eq!(listed[0].request["ConsistentRead"], true);
        // No user has a credential.
        let all = ListRequest::all_users();
        assert!(iam.list_page(&all).await.unwrap().items.is_empty());
        observed.assert_cost("an empty page of credentials", &["Query"], 8, 0);
    });
}

/// Also lists the accounts of the table, whose scan takes several pages.
#[test]
fn pages_of_many_users_have_no_gap_and_no_duplicate() {
    let users = std::env::var("SSC_PAGE_USERS").map_or(10_000, |users| users.parse().unwrap());
    let Some(server) = shared() else { return };
    let memory = MemoryStore::new();
    let iam = CredentialManager::new(name(ACCOUNT), memory.clone());
    for number in 0..users {
        iam.register_user(&name(&format!("user-{number:06}"))).unwrap();
    }
    let others = (1..=20).map(|number| name(&format!("{number:012}")));
    for account in others {
        iam.for_account(account).register_user(&name("anika")).unwrap();
    }
    wait(async {
        let store = server.table().await.store();
        let accounts = memory.accounts();
        let copy = CopyUsers::new(accounts.clone()).concurrency(NonZeroUsize::new(32).unwrap());
        copy.run_async(&SyncAdapter::new(memory), &store).await.unwrap();
        assert_eq!(store.accounts().await.unwrap(), accounts);
        for size in [100, 1000] {
            let limit = NonZeroUsize::new(size).unwrap();
            let (mut next, mut last) = (0, None::<UserName>);
            loop {
                let start = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let range = ScanRange::new(name(ACCOUNT), Listing::Users, start, limit);
                let page = store.scan(&range).await.unwrap();
                for record in &page {
                    assert_eq!(record.name().as_str(), format!("user-{next:06}"));
                    next += 1;
                }
                last = page.last().map(|record| record.name().clone());
                if page.len() < size {
                    break;
                }
            }
            assert_eq!(next, users, "pages of {size}");
        }
    });
}
