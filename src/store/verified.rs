//! Verifies what a store returns before it is used.

use std::{ops::Bound, sync::Arc};

use crate::{
    names::{account_id::AccountId, service_name::ServiceName},
    user::UserId,
};
use crate::{
    record::{UserRecord, key::Key},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

/// A store, as managers read it. Each method verifies that what the store returns matches the
/// request. The index of a store may be damaged or altered, and it determines the user whose
/// credentials are changed, and the identity that is authenticated.
#[derive(Debug)]
pub(crate) struct Verified<S>(pub(crate) S);

impl<S: AsyncStore> Verified<S> {
    /// See [`Store::find`](super::Store::find).
    pub(crate) async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        match self.0.find(key).await? {
            Some(record) if !record.holds(key) => Err(CorruptIndex::wrong_record(&record)),
            found => Ok(found),
        }
    }

    /// Finds the record that holds the credential of this service user name, and the position of
    /// the credential in the record. The record is searched once.
    pub(crate) async fn find_named(
        &self,
        account: AccountId,
        service: &ServiceName,
        name: &str,
    ) -> Result<Option<(Arc<UserRecord>, usize)>, StoreError> {
        let Some(record) = self.0.find(&Key::ServiceUser { account, service, name }).await? else {
            return Ok(None);
        };
        match record.position_of(service, name) {
            Some(position) if record.account() == account => Ok(Some((record, position))),
            _ => Err(CorruptIndex::wrong_record(&record)),
        }
    }

    /// See [`Store::commit`](super::Store::commit).
    pub(crate) async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.commit(change).await
    }

    /// See [`Store::scan`](super::Store::scan).
    pub(crate) async fn scan(
        &self,
        range: &ScanRange<'_>,
    ) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let records = self.0.scan(range).await?;
        if records.len() > range.limit() {
            return Err(StoreError::new(CorruptIndex::TooManyRecords));
        }
        let mut after = range.start();
        for record in &records {
            if !record.is_listed(range.account(), range.listing()) {
                return Err(CorruptIndex::wrong_record(record));
            }
            let follows = match after {
                Bound::Unbounded => true,
                Bound::Included(name) => record.name() >= name,
                Bound::Excluded(name) => record.name() > name,
            };
            if !follows {
                return Err(StoreError::new(CorruptIndex::WrongOrder { user: record.id() }));
            }
            after = Bound::Excluded(record.name());
        }
        Ok(records)
    }
}

/// A store returned records that do not match the request: its index is damaged or altered, or the
/// store violates its [contract](super::Store).
///
/// Managers, authenticators and [`copy_users`](super::copy_users) verify each record that they
/// read. They report this error inside a [`StoreError`] (use [`get_ref`](StoreError::get_ref) and
/// `downcast_ref`) and discard what was read: no other user's data is returned or changed. The
/// operation fails in the same way until the store is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptIndex {
    /// A look-up returned a record that does not hold the key, or a scan returned a record that
    /// does not belong to the account or to the listing.
    #[error(
        "the index of the store is corrupt: it leads to the record of user {user}, which does not \
         hold the key"
    )]
    #[non_exhaustive]
    WrongRecord {
        /// The user whose record was returned.
        user: UserId,
    },
    /// A scan returned a record before the start of its range, twice, or not in the order of names.
    #[error(
        "the index of the store is corrupt: a scan returned the record of user {user} out of order"
    )]
    #[non_exhaustive]
    WrongOrder {
        /// The user whose record was returned.
        user: UserId,
    },
    /// A scan returned more records than its limit.
    #[error("the index of the store is corrupt: a scan returned more records than its limit")]
    TooManyRecords,
}

impl CorruptIndex {
    fn wrong_record(record: &UserRecord) -> StoreError {
        StoreError::new(Self::WrongRecord { user: record.id() })
    }
}
