//! A sync store as an async one, and the poll of its futures.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    record::{UserRecord, key::Key},
    store::{
        AsyncStore, Store,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

/// A [`Store`] as an [`AsyncStore`] whose futures are always ready.
///
/// For stores in memory and for tests. A store that performs I/O would block the executor.
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

    /// Unwraps the store.
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

/// Polls a future that is always ready: that of an operation over a [`SyncAdapter`].
#[expect(clippy::panic, reason = "a pending future here is a bug that must not spin")]
pub(crate) fn poll_ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future of a sync store is always ready"),
    }
}
