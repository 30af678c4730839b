//! Builds one request from a change, and interprets its response.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{CancellationReason, Delete, Put, TransactWriteItem},
};

use super::{
    DynamoDbError,
    error::Failure,
    items::{
        ABSENT, AT_REVISION, ChangeId, OF_USER, PrimaryKey, State, key_item, record_item, revision,
        user_id,
    },
    requests::{Attempted, Requests, invalid},
};
use crate::{
    record::{UserRecord, key::Key},
    store::change::{Change, CommitOutcome},
    user::UserId,
};

/// The maximum number of items that a transaction writes.
pub(super) const MAX_ITEMS: usize = 100;

/// What DynamoDB did with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Applied,
    /// The condition on the record failed.
    RecordDiffers,
    /// Conditions on keys failed: on a claimed key, or only on released keys.
    KeysDiffer {
        claimed: bool,
    },
}

impl Requests {
    pub(super) async fn commit(&self, change: &Change) -> Result<CommitOutcome, DynamoDbError> {
        let id = ChangeId::random()?;
        match (change.previous(), change.record()) {
            (Some(before), Some(after)) if moves_no_key(change) => {
                self.replace(before, after, id).await
            }
            (before, Some(after)) => {
                let record = put_record(&self.table(), before, after, id)?;
                self.transact(change, record, after.id(), id).await
            }
            (Some(before), None) => {
                let record = delete_record(&self.table(), before)?;
                self.transact(change, record, before.id(), id).await
            }
            (None, None) => Ok(CommitOutcome::Applied),
        }
    }

    /// Commits a change that neither releases nor claims a key: one conditional put, at half the
    /// cost of a transaction.
    async fn replace(
        &self,
        before: &UserRecord,
        after: &UserRecord,
        id: ChangeId,
    ) -> Result<CommitOutcome, DynamoDbError> {
        let request = self
            .client
            .put_item()
            .table_name(self.table())
            .set_item(Some(record_item(after, id)))
            .condition_expression(AT_REVISION)
            .expression_attribute_values(":revision", revision(before));
        let put = self.attempt(|| async {
            match request.clone().send().await {
                Ok(_) => Ok(Verdict::Applied),
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(_)) => {
                        Ok(Verdict::RecordDiffers)
                    }
                    _ => Err(Failure::of(error)),
                },
            }
        });
        let Attempted { result, doubt } = put.await;
        let doubt = match (result, doubt) {
            (Ok(Verdict::Applied), _) => return Ok(CommitOutcome::Applied),
            (Ok(_), None) => return Ok(CommitOutcome::Stale),
            (Ok(_), Some(doubt)) => doubt,
            (Err(failure), doubt) => return Err(unsure(failure, doubt)),
        };
        // The record that the last attempt found may be the one that an earlier attempt wrote.
        let (from, to) = (before.revision().count(), after.revision().count());
        match self.state(after.id()).await {
            Ok(Some(state)) if state.change == id => Ok(CommitOutcome::Applied),
            // Another change was applied to the revision, and only one change of a revision can be.
            // At an earlier revision (of a restored table), the attempt in doubt may still be
            // executed.
            Ok(Some(state)) if from < state.revision && state.revision <= to => {
                Ok(CommitOutcome::Stale)
            }
            // Either change may have been applied, as others followed; or the record cannot be
            // read.
            _ => Err(DynamoDbError::Unknown(Box::new(doubt))),
        }
    }

    /// Commits a change of several items.
    async fn transact(
        &self,
        change: &Change,
        record: TransactWriteItem,
        user: UserId,
        id: ChangeId,
    ) -> Result<CommitOutcome, DynamoDbError> {
        let table = self.table();
        let mut items = vec![record];
        for key in change.claimed() {
            items.push(put_key(&table, &key, user)?);
        }
        let releases_from = items.len();
        for key in change.released() {
            items.push(delete_key(&table, &key, user)?);
        }
        if items.len() > MAX_ITEMS {
            return Err(DynamoDbError::TooManyItems { items: items.len() });
        }
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            // A repeated request with the token of an executed transaction gets the same response
            // and does nothing.
            .client_request_token(id.token());
        let written = self.attempt(|| async {
            match request.clone().send().await {
                Ok(_) => Ok(Verdict::Applied),
                Err(SdkError::ServiceError(response)) => match response.err() {
                    TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                        verdict(cancelled.cancellation_reasons(), releases_from)
                    }
                    _ => Err(Failure::of(SdkError::ServiceError(response))),
                },
                Err(error) => Err(Failure::of(error)),
            }
        });
        let Attempted { result, doubt } = written.await;
        match (result, change.previous()) {
            (Ok(Verdict::Applied), _) => Ok(CommitOutcome::Applied),
            (Err(failure), _) => Err(unsure(failure, doubt)),
            (Ok(Verdict::RecordDiffers), Some(_)) => Ok(CommitOutcome::Stale),
            (Ok(_), None) => settle(Ok(CommitOutcome::KeyTaken), doubt),
            // It is not documented whether DynamoDB evaluates the other conditions after one has
            // failed. So read whether the record had its revision; a revision never recurs.
            (Ok(Verdict::KeysDiffer { claimed }), Some(before)) => match self.state(user).await {
                Ok(Some(state)) if state.revision == before.revision().count() => {
                    let taken = Ok(CommitOutcome::KeyTaken);
                    settle(if claimed { taken } else { Err(DynamoDbError::Index) }, doubt)
                }
                Ok(_) => Ok(CommitOutcome::Stale),
                Err(error) => settle(Err(error), doubt),
            },
        }
    }

    async fn state(&self, user: UserId) -> Result<Option<State>, DynamoDbError> {
        let item = self.get(PrimaryKey::record(user)).await?;
        item.as_ref().map(State::of).transpose()
    }
}

fn moves_no_key(change: &Change) -> bool {
    change.claimed().next().is_none() && change.released().next().is_none()
}

/// The outcome of a change that found the record at its revision, and was not applied. An earlier
/// attempt may still be in flight and be applied later.
fn settle(
    outcome: Result<CommitOutcome, DynamoDbError>,
    doubt: Option<DynamoDbError>,
) -> Result<CommitOutcome, DynamoDbError> {
    doubt.map_or(outcome, |doubt| Err(DynamoDbError::Unknown(Box::new(doubt))))
}

/// The error of a failed change: an unknown outcome if an earlier attempt is in doubt.
fn unsure(last: Failure, doubt: Option<DynamoDbError>) -> DynamoDbError {
    match doubt {
        _ if last.perhaps_done => DynamoDbError::Unknown(Box::new(last.error)),
        Some(doubt) => DynamoDbError::Unknown(Box::new(doubt)),
        None => last.error,
    }
}

/// Interprets the reasons of a cancelled transaction: one per item, in the order of the items.
fn verdict(reasons: &[CancellationReason], releases_from: usize) -> Result<Verdict, Failure> {
    let is = |reason: &CancellationReason, code: &str| reason.code() == Some(code);
    let (record, keys) = reasons.split_first().ok_or_else(|| Failure::of_cancellation(reasons))?;
    if is(record, "ConditionalCheckFailed") {
        return Ok(Verdict::RecordDiffers);
    }
    let others = reasons.iter().filter(|reason| !is(reason, "None"));
    if !others.clone().all(|reason| is(reason, "ConditionalCheckFailed")) || others.count() == 0 {
        return Err(Failure::of_cancellation(reasons));
    }
    let claims = keys.iter().take(releases_from - 1);
    let claimed = claims.into_iter().any(|reason| is(reason, "ConditionalCheckFailed"));
    Ok(Verdict::KeysDiffer { claimed })
}

fn put_record(
    table: &str,
    before: Option<&UserRecord>,
    after: &UserRecord,
    id: ChangeId,
) -> Result<TransactWriteItem, DynamoDbError> {
    let put = Put::builder().table_name(table).set_item(Some(record_item(after, id)));
    let put = match before {
        None => put.condition_expression(ABSENT),
        Some(before) => put
            .condition_expression(AT_REVISION)
            .expression_attribute_values(":revision", revision(before)),
    };
    Ok(TransactWriteItem::builder().put(put.build().map_err(invalid)?).build())
}

fn delete_record(table: &str, before: &UserRecord) -> Result<TransactWriteItem, DynamoDbError> {
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(PrimaryKey::record(before.id()).into_item()))
        .condition_expression(AT_REVISION)
        .expression_attribute_values(":revision", revision(before));
    Ok(TransactWriteItem::builder().delete(delete.build().map_err(invalid)?).build())
}

fn put_key(table: &str, key: &Key<'_>, user: UserId) -> Result<TransactWriteItem, DynamoDbError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(key_item(key, user)))
        .condition_expression(ABSENT);
    Ok(TransactWriteItem::builder().put(put.build().map_err(invalid)?).build())
}

fn delete_key(
    table: &str,
    key: &Key<'_>,
    user: UserId,
) -> Result<TransactWriteItem, DynamoDbError> {
    let delete = Delete::builder()
        .table_name(table)
        .set_key(Some(PrimaryKey::key(key).into_item()))
        .condition_expression(OF_USER)
        .expression_attribute_values(":user_id", user_id(user));
    Ok(TransactWriteItem::builder().delete(delete.build().map_err(invalid)?).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_a_cancellation_tell_what_differs() {
        // Of the record, of two claimed keys and of a released one.
        for (codes, expected) in [
            (["ConditionalCheckFailed", "None", "None", "None"], Some(Verdict::RecordDiffers)),
            (
                ["ConditionalCheckFailed", "ConditionalCheckFailed", "None", "TransactionConflict"],
                Some(Verdict::RecordDiffers),
            ),
            (
                ["None", "ConditionalCheckFailed", "None", "None"],
                Some(Verdict::KeysDiffer { claimed: true }),
            ),
            (
                ["None", "None", "ConditionalCheckFailed", "ConditionalCheckFailed"],
                Some(Verdict::KeysDiffer { claimed: true }),
            ),
            (
                ["None", "None", "None", "ConditionalCheckFailed"],
                Some(Verdict::KeysDiffer { claimed: false }),
            ),
            (["None", "ConditionalCheckFailed", "None", "TransactionConflict"], None),
            (["None", "None", "None", "None"], None),
            (["TransactionConflict", "None", "None", "None"], None),
        ] {
            let reasons = codes.map(|code| CancellationReason::builder().code(code).build());
            let found = verdict(&reasons, 3).ok();
            assert_eq!(found, expected, "{codes:?}");
        }
        assert!(verdict(&[], 1).is_err());
    }
}
