use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord};

/// A [`Store`] that may wait: the same three operations, the same obligations.
///
/// One thing is added:
///
/// - **Dropping a future is safe.** A `commit` whose future is dropped before it is ready was made
///   wholly or not at all, and takes nothing from anybody else's.
///
/// Nothing here names a runtime.
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
    /// If the store cannot tell whether the change was made.
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

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<S: AsyncStore + ?Sized> AsyncStore for $pointer {
            async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
                (**self).find(key).await
            }

            async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
                (**self).commit(change).await
            }

            async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
                (**self).scan(range).await
            }
        }
    )+};
}

forward!(&S, Box<S>, Arc<S>);

/// A store that never waits, as an [`AsyncStore`]: its futures are ready at once.
///
/// For stores in memory, and in tests. One that touches a disk would block the executor.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncAdapter<S>(S);

impl<S> SyncAdapter<S> {
    /// Wraps `store`.
    pub const fn new(store: S) -> Self {
        Self(store)
    }

    /// The store.
    pub const fn get_ref(&self) -> &S {
        &self.0
    }

    /// Takes the store out.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: Store> AsyncStore for SyncAdapter<S> {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.find(key)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.commit(change)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.scan(range)
    }
}

/// Any [`AsyncStore`], its type forgotten: for programs that choose a store when they start.
///
/// Costs one allocation an operation. Clones share the store.
///
/// ```
/// use service_specific_credentials::{AsyncCredentialManager, MemoryStore};
/// use service_specific_credentials::store::{DynAsyncStore, SyncAdapter};
///
/// let store = DynAsyncStore::new(SyncAdapter::new(MemoryStore::new()));
/// let iam: AsyncCredentialManager<DynAsyncStore> =
///     AsyncCredentialManager::new("123456789012".parse()?, store);
/// # Ok::<(), service_specific_credentials::InvalidAccountId>(())
/// ```
#[derive(Clone, Debug)]
pub struct DynAsyncStore(Arc<dyn Erased>);

impl DynAsyncStore {
    /// Forgets the type of `store`.
    pub fn new(store: impl AsyncStore + 'static) -> Self {
        Self(Arc::new(store))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`AsyncStore`], with futures of one type.
trait Erased: fmt::Debug + Send + Sync {
    fn find<'a>(&'a self, key: &'a Key<'_>) -> BoxFuture<'a, Option<Arc<UserRecord>>>;
    fn commit<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, CommitOutcome>;
    fn scan<'a>(&'a self, range: &'a ScanRange<'_>) -> BoxFuture<'a, Vec<Arc<UserRecord>>>;
}

impl<S: AsyncStore> Erased for S {
    fn find<'a>(&'a self, key: &'a Key<'_>) -> BoxFuture<'a, Option<Arc<UserRecord>>> {
        Box::pin(AsyncStore::find(self, key))
    }

    fn commit<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, CommitOutcome> {
        Box::pin(AsyncStore::commit(self, change))
    }

    fn scan<'a>(&'a self, range: &'a ScanRange<'_>) -> BoxFuture<'a, Vec<Arc<UserRecord>>> {
        Box::pin(AsyncStore::scan(self, range))
    }
}

impl AsyncStore for DynAsyncStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.find(key).await
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.commit(change).await
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.scan(range).await
    }
}
