use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{
    record::{UserRecord, key::Key},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

/// A type-erased [`AsyncStore`], for programs that choose a store at run time.
///
/// Costs one allocation per operation. Clones share the store.
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
    /// Erases the type of `store`.
    pub fn new(store: impl AsyncStore + 'static) -> Self {
        Self(Arc::new(store))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`AsyncStore`] with boxed futures: dyn-compatible.
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
