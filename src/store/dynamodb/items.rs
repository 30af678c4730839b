//! The layout of the table: its items and their contents.
//!
//! The first byte of a partition key is the kind of the item, so the keys of two kinds are never
//! equal.
//!
//! | item | partition key `pk` | sort key `sk` | holds |
//! |---|---|---|---|
//! | format | `0` | `0` | the number of this layout |
//! | record | `1`, the user id | `0` | the record |
//! | look-up key | `2`, the [encoded](Key::encode) key | `0` | the user id |
//! | listing key | `3`, the listing, the shard | the name in lower case | the user id |
//!
//! `Key::User` and `Key::Holder` are listing keys, and are looked up by the same items.

use std::{collections::HashMap, ops::Bound, sync::Arc};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::DynamoDbError;
use crate::{
    names::account_id::AccountId,
    record::{
        UserRecord,
        key::{Key, Listing, listing_prefix},
    },
    store::scan_range::ScanRange,
    user::UserId,
};

/// The layout that this release writes.
pub(super) const FORMAT: u64 = 1;

/// The number of partitions of a listing of an account. It is a part of the layout: another number
/// is another format.
pub(super) const SHARDS: u8 = 8;

pub(super) const PARTITION: &str = "pk";
pub(super) const SORT: &str = "sk";
pub(super) const USER_ID: &str = "user_id";
const FORMAT_NUMBER: &str = "format";
const RECORD: &str = "record";
const REVISION: &str = "revision";
const CHANGE_ID: &str = "change_id";
pub(super) const ACCOUNT: &str = "account";
const USER_NAME: &str = "user_name";
const CREDENTIALS: &str = "credentials";

/// The condition that the item does not exist.
pub(super) const ABSENT: &str = "attribute_not_exists(pk)";
/// The condition that the record has the revision `:revision`.
pub(super) const AT_REVISION: &str = "revision = :revision";
/// The condition that the item is a record.
pub(super) const IS_RECORD: &str = "attribute_exists(account)";
/// The condition that the user holds the key.
pub(super) const OF_USER: &str = "user_id = :user_id";

pub(super) type Item = HashMap<String, AttributeValue>;

/// The sort key of items that are alone in their partition. DynamoDB does not permit an empty one.
const ALONE: &[u8] = &[0];

/// The primary key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PrimaryKey {
    partition: Vec<u8>,
    sort: Vec<u8>,
}

impl PrimaryKey {
    pub(super) fn format() -> Self {
        Self { partition: vec![0], sort: ALONE.to_vec() }
    }

    pub(super) fn record(user: UserId) -> Self {
        Self { partition: tagged(1, user.as_bytes()), sort: ALONE.to_vec() }
    }

    pub(super) fn key(key: &Key<'_>) -> Self {
        let encoded = key.encode();
        let listing = match *key {
            Key::User { .. } => Listing::Users,
            Key::Holder { service, .. } => Listing::Holders { service },
            Key::Credential { .. } | Key::ServiceUser { .. } => {
                return Self { partition: tagged(2, &encoded), sort: ALONE.to_vec() };
            }
        };
        let prefix = listing_prefix(key.account(), listing).len();
        let name = encoded.get(prefix..).unwrap_or_default();
        let partition = listing_partition(key.account(), listing, shard(name));
        Self { partition, sort: name.to_vec() }
    }

    /// The attributes of the primary key, as an item without other attributes.
    pub(super) fn into_item(self) -> Item {
        Item::from([
            (PARTITION.to_owned(), binary(self.partition)),
            (SORT.to_owned(), binary(self.sort)),
        ])
    }
}

fn tagged(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut partition = Vec::with_capacity(1 + rest.len());
    partition.push(kind);
    partition.extend(rest);
    partition
}

/// The partition key of one shard of a listing.
pub(super) fn listing_partition(account: AccountId, listing: Listing<'_>, shard: u8) -> Vec<u8> {
    let mut partition = tagged(3, &listing_prefix(account, listing));
    partition.push(shard);
    partition
}

/// The shard of a name in lower case. It is a hash, so that names close in order, such as those of
/// users registered in sequence, are written to different partitions.
fn shard(name: &[u8]) -> u8 {
    Sha256::digest(name).first().map_or(0, |first| first % SHARDS)
}

/// The start of a range within each shard.
pub(super) fn start(range: &ScanRange<'_>) -> Bound<Vec<u8>> {
    range.start().map(|name| PrimaryKey::key(&range.key(name)).sort)
}

/// Identifies one attempt to change a record: as the client request token of its transaction, and
/// as an attribute of the record that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChangeId(Uuid);

impl ChangeId {
    pub(super) fn random() -> Result<Self, DynamoDbError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| DynamoDbError::Client(format!("no random number: {error}")))?;
        Ok(Self(uuid::Builder::from_random_bytes(bytes).into_uuid()))
    }

    /// The id in 36 characters, the maximum length of a client request token.
    pub(super) fn token(self) -> String {
        self.0.hyphenated().to_string()
    }
}

/// Identifies a state of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) change: ChangeId,
}

impl State {
    pub(super) fn of(item: &Item) -> Result<Self, DynamoDbError> {
        let change = bytes(item, CHANGE_ID)?;
        let change = Uuid::from_slice(change).map_err(|_| DynamoDbError::Item(CHANGE_ID))?;
        Ok(Self { revision: number_of(item, REVISION)?, change: ChangeId(change) })
    }
}

pub(super) fn format_item() -> Item {
    let mut item = PrimaryKey::format().into_item();
    item.insert(FORMAT_NUMBER.to_owned(), number(FORMAT));
    item
}

pub(super) fn format(item: &Item) -> Result<u64, DynamoDbError> {
    number_of(item, FORMAT_NUMBER)
}

pub(super) fn record_item(record: &UserRecord, change: ChangeId) -> Item {
    let mut item = PrimaryKey::record(record.id()).into_item();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    item.extend(
        [
            (RECORD, binary(record.encode())),
            (REVISION, revision(record)),
            (CHANGE_ID, binary(change.0.as_bytes().to_vec())),
            (ACCOUNT, text(&record.account().to_string())),
            // For operators who look at the table.
            (USER_NAME, text(record.name().as_str())),
            (CREDENTIALS, number(record.credential_count() as u64)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item
}

/// The item of a key that the user of this id holds.
pub(super) fn key_item(key: &Key<'_>, user: UserId) -> Item {
    let mut item = PrimaryKey::key(key).into_item();
    item.insert(USER_ID.to_owned(), user_id(user));
    item
}

pub(super) fn record(item: &Item) -> Result<Arc<UserRecord>, DynamoDbError> {
    UserRecord::decode(bytes(item, RECORD)?).map(Arc::new).map_err(DynamoDbError::Record)
}

/// The account in the item of a record.
pub(super) fn account(item: &Item) -> Result<AccountId, DynamoDbError> {
    match item.get(ACCOUNT) {
        Some(AttributeValue::S(account)) => {
            account.parse().map_err(|_| DynamoDbError::Item(ACCOUNT))
        }
        _ => Err(DynamoDbError::Item(ACCOUNT)),
    }
}

/// The user who holds the key of this item.
pub(super) fn holder(item: &Item) -> Result<UserId, DynamoDbError> {
    let id = bytes(item, USER_ID)?.try_into().map_err(|_| DynamoDbError::Item(USER_ID))?;
    Ok(UserId::from_bytes(id))
}

/// The name, in lower case, in an item of a listing.
pub(super) fn listed_name(item: &Item) -> Result<Vec<u8>, DynamoDbError> {
    bytes(item, SORT).map(<[u8]>::to_vec)
}

pub(super) fn user_id(user: UserId) -> AttributeValue {
    binary(user.as_bytes().to_vec())
}

pub(super) fn revision(record: &UserRecord) -> AttributeValue {
    number(record.revision().count())
}

pub(super) fn binary(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn bytes<'a>(item: &'a Item, name: &'static str) -> Result<&'a [u8], DynamoDbError> {
    match item.get(name) {
        Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
        _ => Err(DynamoDbError::Item(name)),
    }
}

fn number_of(item: &Item, name: &'static str) -> Result<u64, DynamoDbError> {
    match item.get(name) {
        Some(AttributeValue::N(number)) => number.parse().map_err(|_| DynamoDbError::Item(name)),
        _ => Err(DynamoDbError::Item(name)),
    }
}
