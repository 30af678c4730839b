//! The contract of a store, and the stores of this crate.

use std::{fmt, future::Future, sync::Arc};

#[cfg(feature = "dynamodb")]
pub use self::dynamodb::{DynamoDbError, DynamoDbOptions, DynamoDbStore};
#[cfg(feature = "postgres")]
pub use self::postgres::{Isolation, PostgresError, PostgresOptions, PostgresStore};
/// The types of the crate `redb` that [`RedbStore`] uses.
#[cfg(feature = "redb")]
#[doc(no_inline)]
pub use ::redb::{DatabaseError, Error as RedbCrateError, StorageBackend};

#[cfg(feature = "redb")]
pub use self::redb::{AsyncRedbStore, OpenError, RedbError, RedbHealth, RedbOptions, RedbStore};
pub use self::{
    change::{Change, CommitOutcome},
    copy_users::{CopyError, CopyProgress, CopyUsers, copy_users},
    dyn_async_store::DynAsyncStore,
    memory::MemoryStore,
    scan_range::ScanRange,
    sync_adapter::SyncAdapter,
    verified::CorruptIndex,
};
pub use crate::{
    record::{
        Revision, UserRecord,
        codec::DecodeError,
        key::{Key, Listing},
    },
    store_error::StoreError,
};

pub(crate) mod change;
pub(crate) mod copy_users;
pub(crate) mod dyn_async_store;
#[cfg(feature = "dynamodb")]
pub(crate) mod dynamodb;
pub(crate) mod memory;
#[cfg(any(feature = "dynamodb", feature = "postgres"))]
mod pause;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redb")]
pub(crate) mod redb;
pub(crate) mod scan_range;
pub(crate) mod sync_adapter;
pub(crate) mod verified;

/// User records and a unique index of their [keys](UserRecord::keys).
///
/// A store knows no rule about credentials. It finds a record by a key, replaces a record if its
/// revision is the expected one, and scans a range of keys. Every guarantee of this crate under
/// concurrency depends on these obligations of an implementation:
///
/// - **Atomicity.** [`commit`](Self::commit) applies the whole change (the record, the released
///   keys, the claimed keys) or nothing. No reader sees a part of it, by whichever key it reads.
/// - **Compare and swap.** A change is applied only if the store holds exactly the revision of the
///   [previous record](Change::previous), and no other record holds a key that the change
///   [claims](Change::claimed). *Stale* takes precedence over *key taken*.
/// - **Unique ids.** A registration has no previous record. It claims all keys of its record and
///   the [id](UserRecord::id) of its user, the primary key of the whole store: if the store holds a
///   record of that id, in whichever account, the outcome is *key taken*. Otherwise a repeating
///   random source would overwrite a user.
/// - **A record that is read holds its key.** [`find`](Self::find) returns a record that holds the
///   key; every record of a [`scan`](Self::scan) holds a key in the range. Managers verify both and
///   fail with [`CorruptIndex`] otherwise.
/// - **At most once.** A change is applied once. A store that retries internally (after a deadlock,
///   for example) first makes sure that the change was not applied.
/// - **Reads observe every change applied before them**, by any thread and through any clone or
///   handle of the store. `Applied` is returned only when that holds.
/// - **Accounts are isolated.** Every key and every range begins with an account.
/// - **An error from `commit` means that the outcome is unknown**: the change was applied, or it
///   was not, but not a part of it. A change with an unknown outcome may be applied after the error
///   (or after its future was dropped), until a later change of the same record has returned. That
///   later change is a fence: after it the unknown change has been applied or never will be.
///
/// A store may document a limit of the keys that one change releases and claims, and reject a
/// larger change before it sends anything: `DynamoDbStore` has one, as DynamoDB limits its
/// transactions. The limit has to fit the largest record of the [policy](crate::Policy).
///
/// There are no default methods: each of the three needs the implementor's attention.
///
/// An [`AsyncStore`] is not a `Store`:
///
/// ```compile_fail,E0277
/// use service_specific_credentials::{CredentialManager, MemoryStore, store::SyncAdapter};
///
/// let store = SyncAdapter::new(MemoryStore::new());
/// let iam = CredentialManager::new("123456789012".parse().unwrap(), store);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Store`",
    label = "not a `Store`",
    note = "an `AsyncStore` belongs in an `AsyncCredentialManager` or an `AsyncAuthenticator`",
    note = "a store that is chosen at run time is a `Box<dyn Store>` or an `Arc<dyn Store>`"
)]
pub trait Store: fmt::Debug + Send + Sync {
    /// Finds the record that holds `key`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError>;

    /// Applies `change` if it meets its conditions.
    ///
    /// # Errors
    ///
    /// If the outcome is unknown.
    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError>;

    /// Returns the records that hold a key in `range`, each once, in its order: as many as its
    /// [limit](ScanRange::limit), fewer only if there are no more.
    ///
    /// A record that holds its key for the whole duration of the call is returned. A record that
    /// gains or loses its key during the call may be returned or not.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<S: Store + ?Sized> Store for $pointer {
            fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
                (**self).find(key)
            }

            fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
                (**self).commit(change)
            }

            fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
                (**self).scan(range)
            }
        }
    )+};
}

forward!(&S, Box<S>, Arc<S>);

/// A [`Store`] with asynchronous operations: the same three, with the same obligations and one
/// more:
///
/// - **Dropping a future is safe.** If the future of a `commit` is dropped before it is ready, its
///   outcome is unknown, as after an error. No other change is affected.
///
/// The trait depends on no runtime.
///
/// A [`Store`] is not an `AsyncStore`; a [`SyncAdapter`] is:
///
/// ```compile_fail,E0277
/// use service_specific_credentials::{AsyncCredentialManager, MemoryStore};
///
/// let iam = AsyncCredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `AsyncStore`",
    label = "not an `AsyncStore`",
    note = "`SyncAdapter::new(store)` makes a `Store` in memory an `AsyncStore`, and \
            `RedbStore::into_async` a `RedbStore`",
    note = "a store that is chosen at run time is a `DynAsyncStore`: `DynAsyncStore::new(store)`"
)]
pub trait AsyncStore: fmt::Debug + Send + Sync {
    /// See [`Store::find`].
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn find(
        &self,
        key: &Key<'_>,
    ) -> impl Future<Output = Result<Option<Arc<UserRecord>>, StoreError>> + Send;

    /// See [`Store::commit`].
    ///
    /// # Errors
    ///
    /// If the outcome is unknown.
    fn commit(
        &self,
        change: &Change,
    ) -> impl Future<Output = Result<CommitOutcome, StoreError>> + Send;

    /// See [`Store::scan`].
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn scan(
        &self,
        range: &ScanRange<'_>,
    ) -> impl Future<Output = Result<Vec<Arc<UserRecord>>, StoreError>> + Send;
}

macro_rules! forward_async {
    ($($pointer:ty),+) => {$(
        impl<S: AsyncStore + ?Sized> AsyncStore for $pointer {
            async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
                (**self).find(key).await
            }

            async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
                (**self).commit(change).await
            }

            async fn scan(
                &self,
                range: &ScanRange<'_>,
            ) -> Result<Vec<Arc<UserRecord>>, StoreError> {
                (**self).scan(range).await
            }
        }
    )+};
}

forward_async!(&S, Box<S>, Arc<S>);
