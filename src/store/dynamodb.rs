use std::{collections::BTreeSet, fmt, sync::Arc};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

pub use self::{error::DynamoDbError, options::DynamoDbOptions};
use self::{
    items::{PrimaryKey, holder},
    requests::Requests,
};
use crate::{
    names::account_id::AccountId,
    record::{UserRecord, key::Key},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

mod commit;
mod error;
mod items;
mod options;
mod requests;
mod scan;
mod table;

/// Stores all users in a table of Amazon DynamoDB, which any number of processes and machines
/// share.
///
/// Any process may write, and no database server needs to be operated. A change is one request: a
/// transaction (`TransactWriteItems`), or, if it neither releases nor claims a key, one conditional
/// `PutItem`. Every read is strongly consistent.
///
/// The tests run against DynamoDB Local, which Amazon distributes for tests. **The managed service
/// was not available for testing.** The limits, isolation and prices on this page are taken from
/// Amazon's documentation.
///
/// The store needs a Tokio runtime. Clones share the client and its connections.
///
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use service_specific_credentials::{AsyncCredentialManager, store::DynamoDbStore};
///
/// let store = DynamoDbStore::connect("credentials").await?;
/// store.check_table().await?;
/// let iam = AsyncCredentialManager::new("123456789012".parse()?, store);
/// # Ok(())
/// # }
/// ```
///
/// # Layout of the table
///
/// Both keys of the table are binary: `pk` for partitioning, `sk` for sorting.
///
/// | item | `pk` | `sk` | other attributes |
/// |---|---|---|---|
/// | record of a user | byte 1, user id | byte 0 | see below |
/// | look-up key | byte 2, [encoded](Key::encode) key | byte 0 | `user_id` |
/// | listing key | byte 3, encoded key without the name, shard | name in lower case | `user_id` |
/// | format of the table | byte 0 | byte 0 | `format`: 1 |
///
/// [`Key::Credential`] and [`Key::ServiceUser`] are look-up keys. [`Key::User`] and [`Key::Holder`]
/// are listing keys, and are looked up by the same items.
///
/// *One item per record*, with the [encoded](UserRecord::encode) record in `record`, and its
/// `revision`. A change is conditional on the revision. `change_id` is random, and tells a repeated
/// attempt whether an earlier one was applied. [`accounts`](DynamoDbStore::accounts) reads
/// `account`. `user_name` and `credentials` (how many) are for operators, and are not read.
/// *One item per key*, written on the condition that it does not exist. It contains only the user
/// id, so that it stays small and does not change while the key is held. A secondary index cannot
/// replace these items: it is updated later than the table, and cannot enforce uniqueness.
/// *Listings in eight shards.* DynamoDB writes at most 1,000 units a second to one partition. An
/// ordered listing in one partition would limit an account to 500 registrations a second. So each
/// listing of an account is divided among eight partitions by the first byte of the SHA-256 of the
/// name, modulo 8. A scan reads them concurrently and merges them.
///
/// # Consistency
///
/// Once [`commit`](AsyncStore::commit) has returned *applied*, every read shows the change.
/// DynamoDB's `GetItem` may show the items of a transaction *in flight* one after the other. So
/// [`find`](AsyncStore::find) reads the record, and confirms that a key is missing, by
/// `TransactGetItems`, which conflicts with a transaction in flight and is then retried. Finds by
/// different keys never show a part of a change. (Only a key that is being claimed takes a third
/// read.)
///
/// A [`scan`](AsyncStore::scan) cannot do so: `Query` has no transactional form. While a change of
/// several items is in flight, and has not been reported as applied, a scan may miss a user who
/// gains a key by it, or return the user's record from before the change, even after a find has
/// shown the change.
///
/// # Failures
///
/// A [`StoreError`] contains a [`DynamoDbError`]. Conflicts with other transactions, rate limits,
/// statuses of 500 and higher, lost connections and timeouts are
/// [retried](DynamoDbOptions::attempts) after random pauses. A retried transaction has the same
/// client request token, and DynamoDB executes it once. The retries of the SDK are turned off,
/// because the store must know whether an earlier attempt may have been executed.
///
/// The outcome is [unknown](DynamoDbError::Unknown) if
///
/// - the last attempt failed, and the response to it or to an earlier one was lost, late, or had a
///   status of 500 or higher;
/// - the response to an earlier attempt was lost like this, and the last one found a claimed key
///   taken;
/// - the response to an earlier attempt of a `PutItem` was lost like this, and further changes to
///   the record have been applied since.
///
/// A change with an unknown outcome has been applied, or never will be, once a later change of the
/// same record has been applied.
///
/// # Limits
///
/// A transaction writes at most 100 items: the record, and each key that is released or claimed. A
/// larger change is rejected before anything is sent ([`DynamoDbError::TooManyItems`]). Removing a
/// user together with all credentials releases the most: `2 + S * (2 * C + 1)` keys, for `S`
/// services with `C` credentials each. Up to 19 services of two credentials each fit; the default
/// [policy](crate::Policy) has 6. An item has at most 400 KB: a record of well over 1,000
/// credentials without tags. The 50 longest [tags](crate::Tags) have 19 KB in ASCII, and 77 KB if
/// each character has four bytes: those of a user and of 12 credentials fit in ASCII, and otherwise
/// those of a user and of 4 credentials. DynamoDB rejects a larger item, and nothing is changed
/// ([`DynamoDbError::Service`]).
///
/// One partition of DynamoDB serves 3,000 read units and 1,000 write units a second. One user can
/// be authenticated about 1,500 times a second, and changed by 500 transactions or 1,000 puts.
///
/// # Cost
///
/// In read units (RU, of 4 KB) and write units (WU, of 1 KB), as on-demand tables are billed, for
/// users with up to six credentials, whose records have less than 1 KB. Tests count these units.
///
/// | operation of the manager | requests | RU | WU |
/// |---|---|---|---|
/// | authenticate, look up or list one user | `GetItem`, `TransactGetItems` | 1 + 2 | |
/// | the same for a name that does not exist | `GetItem`, `TransactGetItems` | 1 + 2 | |
/// | register a user | look-up, transaction of 2 items | 3 | 4 |
/// | create or delete a credential | look-up, transaction of 3 to 5 items | 3 | 6 to 10 |
/// | reset a credential, set its status | look-up, `PutItem` | 3 | 1 |
/// | rename a user | look-up, transaction of 3, or `5 + 2 * S` items | 3 | 6, or `10 + 4 * S` |
/// | remove a user without credentials | look-up, transaction of 2 items | 3 | 4 |
/// | a page of 100 users | 8 `Query`, 2 `BatchGetItem` | 8 + 101 | |
/// | list the accounts | `Scan` per MB of the table | 1 per 4 KB of the table | |
///
/// Creating a credential writes 3 items, 4 if it is the user's first one at its service, and 5 if
/// it is the user's first one. Deleting the last one writes as many. `S` is the number of services
/// at which a user has credentials. A page reads one more record, which tells whether there is a
/// next page.
///
/// The first request of a look-up returns an item of a few bytes. A stale change costs as much as
/// an applied one. A change whose keys are taken costs one RU more.
///
/// # Credentials, region and endpoint
///
/// [`connect`](Self::connect) takes them from the standard AWS environment: environment variables
/// (`AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_DYNAMODB` and so on), the shared configuration
/// files, the roles of containers and instances. For anything else, pass a client to
/// [`from_client`](Self::from_client).
///
/// # Permissions
///
/// The minimal permissions of the store. `check_table` needs `dynamodb:DescribeTable` as well, and
/// `create_table` also `dynamodb:CreateTable`. [`accounts`](Self::accounts) needs `dynamodb:Scan`.
///
/// ```json
/// {
///   "Version": "2012-10-17",
///   "Statement": [
///     {
///       "Effect": "Allow",
///       "Action": [
///         "dynamodb:BatchGetItem",
///         "dynamodb:DeleteItem",
///         "dynamodb:GetItem",
///         "dynamodb:PutItem",
///         "dynamodb:Query"
///       ],
///       "Resource": "arn:aws:dynamodb:eu-central-1:123456789012:table/credentials"
///     }
///   ]
/// }
/// ```
///
/// # Rust version
///
/// The other features build with the crate's `rust-version`. The AWS SDK raises its minimum several
/// times a year. This feature builds with Rust 1.90 and the versions of the SDK that Cargo resolves
/// for it; the newest SDK needs a later Rust.
#[derive(Clone)]
pub struct DynamoDbStore(Requests);

impl DynamoDbStore {
    /// Uses a table with the default [options](DynamoDbOptions), and with credentials, region and
    /// endpoint from the environment. No request is sent to DynamoDB yet.
    ///
    /// # Errors
    ///
    /// [`DynamoDbError::NoRegion`].
    pub async fn connect(table: &str) -> Result<Self, DynamoDbError> {
        Self::connect_with(&DynamoDbOptions::default(), table).await
    }

    /// As [`connect`](Self::connect), with other options.
    ///
    /// # Errors
    ///
    /// [`DynamoDbError::NoRegion`].
    pub async fn connect_with(
        options: &DynamoDbOptions,
        table: &str,
    ) -> Result<Self, DynamoDbError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let environment =
            aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
        if environment.region().is_none() {
            return Err(DynamoDbError::NoRegion);
        }
        Ok(Self::from_client_with(options, &Client::new(&environment), table))
    }

    /// Uses a table with the default [options](DynamoDbOptions), through an existing client.
    /// `table` is a name, or an ARN for a table of another account.
    #[must_use]
    pub fn from_client(client: &Client, table: &str) -> Self {
        Self::from_client_with(&DynamoDbOptions::default(), client, table)
    }

    /// As [`from_client`](Self::from_client), with other options.
    #[must_use]
    pub fn from_client_with(options: &DynamoDbOptions, client: &Client, table: &str) -> Self {
        Self(Requests::new(options, client, table))
    }

    /// Creates the table unless it exists, and sets it up: billed by request, and protected against
    /// deletion. Waits until it is active. A table that was created by other means, with the keys
    /// of the [layout](#layout-of-the-table), is set up as well. Any number of processes may call
    /// this at once.
    ///
    /// Point-in-time recovery is left to the operator: it is billed by size.
    ///
    /// # Errors
    ///
    /// As [`check_table`](Self::check_table), and what DynamoDB reports.
    pub async fn create_table(&self) -> Result<(), DynamoDbError> {
        self.0.create_table().await
    }

    /// Checks that the table exists, is active, has the expected keys and a format that this
    /// release knows, and permits transactions.
    ///
    /// # Errors
    ///
    /// [`DynamoDbError::TableMissing`], [`NotActive`](DynamoDbError::NotActive),
    /// [`WrongTable`](DynamoDbError::WrongTable), [`FormatMissing`](DynamoDbError::FormatMissing),
    /// [`LaterFormat`](DynamoDbError::LaterFormat), or what DynamoDB reports.
    pub async fn check_table(&self) -> Result<(), DynamoDbError> {
        self.0.check_table().await
    }

    /// The accounts that have users, in order: for [`CopyUsers`](super::CopyUsers). Includes the
    /// account of each user who exists during the whole call.
    ///
    /// Reads the whole table, and needs the permission `dynamodb:Scan`. A table of 1 GB costs
    /// about 250,000 read units. No index lists the accounts: it would make every registration
    /// more expensive.
    ///
    /// # Errors
    ///
    /// As [`find`](AsyncStore::find).
    pub async fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        self.0.accounts().await.map_err(StoreError::new)
    }
}

impl Requests {
    /// Reads the key, then the record. If the record does not hold the key, the key was released in
    /// the meantime, so there was a moment between the two reads at which no record held it.
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, DynamoDbError> {
        let place = PrimaryKey::key(key);
        let held = match self.get(place.clone()).await? {
            Some(held) => Some(held),
            None => self.get_settled(place).await?,
        };
        let Some(held) = held else { return Ok(None) };
        let record = self.get_settled(PrimaryKey::record(holder(&held)?)).await?;
        let record = record.as_ref().map(items::record).transpose()?;
        Ok(record.filter(|record| record.holds(key)))
    }

    /// Reads the account of each record. Unlike a listing key, a record keeps its primary key when
    /// its user is renamed, so the scan misses none.
    async fn accounts(&self) -> Result<Vec<AccountId>, DynamoDbError> {
        let (mut accounts, mut next) = (BTreeSet::new(), None);
        loop {
            let page = self.scan_accounts(next).await?;
            for item in &page.items {
                accounts.insert(items::account(item)?);
            }
            if page.next.is_none() {
                return Ok(accounts.into_iter().collect());
            }
            next = page.next;
        }
    }
}

impl AsyncStore for DynamoDbStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.find(key).await.map_err(StoreError::new)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.commit(change).await.map_err(StoreError::new)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.scan(range).await.map_err(StoreError::new)
    }
}

impl fmt::Debug for DynamoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore").field("table", &self.0.table).finish_non_exhaustive()
    }
}
