//! The requests and their retries.

use std::{ops::Bound, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    error::SdkError,
    operation::transact_get_items::TransactGetItemsError,
    types::{Get, KeysAndAttributes, TransactGetItem},
};
use tokio::time::Instant;

use super::{
    DynamoDbError, DynamoDbOptions,
    error::Failure,
    items::{ACCOUNT, IS_RECORD, Item, PrimaryKey, SORT, USER_ID, binary},
};
use crate::store::pause::pause;

/// How long a request is retried. DynamoDB remembers the token of a transaction for 10 minutes.
const WINDOW: Duration = Duration::from_secs(300);
/// The maximum number of items that one `BatchGetItem` reads.
pub(super) const BATCH: usize = 100;

/// A client, and the table of its requests.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) client: Client,
    pub(super) table: Arc<str>,
    attempts: u32,
}

/// The outcome of a request and its retries.
pub(super) struct Attempted<T> {
    /// The result of the last attempt.
    pub(super) result: Result<T, Failure>,
    /// The reason why an earlier attempt may have been executed, if there is one.
    pub(super) doubt: Option<DynamoDbError>,
}

/// A page of one shard of a listing, or of the table.
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// The start of the next page, if there may be one.
    pub(super) next: Option<Item>,
}

impl Requests {
    /// Uses the client's HTTP connections and credentials, but not its retries: a write must know
    /// whether an earlier attempt may have been executed.
    pub(super) fn new(options: &DynamoDbOptions, client: &Client, table: &str) -> Self {
        let config = client.config();
        let mut timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(options.attempt_timeout);
        if let Some(own) = config.timeout_config() {
            let attempt = own.operation_attempt_timeout().unwrap_or(options.attempt_timeout);
            timeouts = own.to_builder().operation_attempt_timeout(attempt);
        }
        let config = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        let client = Client::from_conf(config.build());
        Self { client, table: table.into(), attempts: options.attempts }
    }

    pub(super) fn table(&self) -> String {
        self.table.as_ref().to_owned()
    }

    /// Sends a request until it succeeds, fails permanently, or has used up its attempts.
    pub(super) async fn attempt<T, F>(&self, mut send: impl FnMut() -> F) -> Attempted<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut doubt = None;
        let (start, mut attempt) = (Instant::now(), 1);
        loop {
            let result = send().await;
            match result {
                Err(Failure { error, transient: true, perhaps_done })
                    if attempt < self.attempts && start.elapsed() < WINDOW =>
                {
                    if perhaps_done {
                        doubt = Some(error);
                    }
                }
                result => return Attempted { result, doubt },
            }
            pause(longest_pause(attempt)).await;
            attempt += 1;
        }
    }

    /// As [`attempt`](Self::attempt), for an idempotent request.
    pub(super) async fn repeat<T, F>(&self, send: impl FnMut() -> F) -> Result<T, DynamoDbError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.attempt(send).await.result.map_err(|failure| failure.error)
    }

    /// Reads an item, with every change that was reported as applied.
    pub(super) async fn get(&self, key: PrimaryKey) -> Result<Option<Item>, DynamoDbError> {
        let request = self
            .client
            .get_item()
            .table_name(self.table())
            .set_key(Some(key.into_item()))
            .consistent_read(true);
        let read = self.repeat(|| async { request.clone().send().await.map_err(Failure::of) });
        Ok(read.await?.item)
    }

    /// Reads an item while no transaction is changing it.
    ///
    /// `GetItem` shows the items of one transaction as they change, some earlier than others.
    /// `TransactGetItems` conflicts with the transaction instead, and is retried. So an item read
    /// like this is never older than another item of its transaction that was read before.
    pub(super) async fn get_settled(&self, key: PrimaryKey) -> Result<Option<Item>, DynamoDbError> {
        let get = Get::builder().table_name(self.table()).set_key(Some(key.into_item())).build();
        let get = get.map_err(invalid)?;
        let get = TransactGetItem::builder().get(get).build();
        let request = self.client.transact_get_items().transact_items(get);
        let read = self.repeat(|| async {
            request.clone().send().await.map_err(|error| match &error {
                SdkError::ServiceError(response) => match response.err() {
                    TransactGetItemsError::TransactionCanceledException(cancelled) => {
                        Failure::of_cancellation(cancelled.cancellation_reasons())
                    }
                    _ => Failure::of(error),
                },
                _ => Failure::of(error),
            })
        });
        let read = read.await?.responses.unwrap_or_default();
        Ok(read
            .into_iter()
            .next()
            .and_then(|response| response.item)
            .filter(|item| !item.is_empty()))
    }

    /// Reads a page of a partition, in the order of its sort keys.
    pub(super) async fn query(
        &self,
        partition: &[u8],
        start: &Bound<Vec<u8>>,
        next: Option<Item>,
        limit: usize,
    ) -> Result<Page, DynamoDbError> {
        let condition = match start {
            Bound::Unbounded => "pk = :pk",
            Bound::Included(_) => "pk = :pk AND sk >= :sk",
            Bound::Excluded(_) => "pk = :pk AND sk > :sk",
        };
        let mut request = self
            .client
            .query()
            .table_name(self.table())
            .key_condition_expression(condition)
            .expression_attribute_values(":pk", binary(partition.to_vec()))
            .projection_expression(format!("{SORT}, {USER_ID}"))
            .set_exclusive_start_key(next)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true);
        if let Bound::Included(start) | Bound::Excluded(start) = start {
            request = request.expression_attribute_values(":sk", binary(start.clone()));
        }
        let read = self.repeat(|| async { request.clone().send().await.map_err(Failure::of) });
        let read = read.await?;
        Ok(Page { items: read.items.unwrap_or_default(), next: read.last_evaluated_key })
    }

    /// Reads a page of the table: the accounts of its records, in any order.
    pub(super) async fn scan_accounts(&self, next: Option<Item>) -> Result<Page, DynamoDbError> {
        let request = self
            .client
            .scan()
            .table_name(self.table())
            .filter_expression(IS_RECORD)
            .projection_expression(ACCOUNT)
            .set_exclusive_start_key(next)
            .consistent_read(true);
        let read = self.repeat(|| async { request.clone().send().await.map_err(Failure::of) });
        let read = read.await?;
        Ok(Page { items: read.items.unwrap_or_default(), next: read.last_evaluated_key })
    }

    /// Reads up to [`BATCH`] items, each of them once, in any order. Missing items are omitted.
    pub(super) async fn batch_get(
        &self,
        keys: impl IntoIterator<Item = PrimaryKey>,
    ) -> Result<Vec<Item>, DynamoDbError> {
        let mut left: Vec<Item> = keys.into_iter().map(PrimaryKey::into_item).collect();
        let mut items = Vec::with_capacity(left.len());
        let mut fruitless = 0;
        while !left.is_empty() {
            let keys = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true);
            let keys = keys.build().map_err(invalid)?;
            let request = self.client.batch_get_item().request_items(self.table(), keys);
            let read = self.repeat(|| async { request.clone().send().await.map_err(Failure::of) });
            let read = read.await?;
            let found = read.responses.into_iter().flatten().flat_map(|(_, items)| items);
            let before = items.len();
            items.extend(found);
            // Items beyond the throughput limit, or beyond 16 MB, are returned as unprocessed.
            // Request them again.
            let unprocessed = read.unprocessed_keys.into_iter().flatten();
            left = unprocessed.flat_map(|(_, keys)| keys.keys).collect();
            if items.len() > before {
                fruitless = 0;
            } else if !left.is_empty() {
                fruitless += 1;
                if fruitless >= self.attempts {
                    return Err(DynamoDbError::Throttled { code: "UnprocessedKeys".to_owned() });
                }
                pause(longest_pause(fruitless)).await;
            }
        }
        Ok(items)
    }
}

/// An error of building a request: the SDK reports a missing part.
pub(super) fn invalid(error: impl std::error::Error) -> DynamoDbError {
    DynamoDbError::Client(error.to_string())
}

/// The longest pause after a failed attempt, in milliseconds: 20, 40, 80 … 1000.
pub(super) fn longest_pause(attempt: u32) -> u32 {
    20_u32.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(1000)
}

#[cfg(test)]
mod tests {
    use super::longest_pause;

    #[test]
    fn pauses_become_longer() {
        let pauses = [1, 2, 3, 6, 7, 100].map(longest_pause);
        assert_eq!(pauses, [20, 40, 80, 640, 1000, 1000]);
    }
}
