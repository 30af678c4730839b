//! A store that fails on demand.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// A store that fails on demand, around any [`Store`] or [`AsyncStore`]: for tests of what a
/// service does while its store is unavailable, and of its recovery.
///
/// Clones share the faults.
///
/// ```
/// use service_specific_credentials::{
///     AuthenticationError, CredentialManager, Error, ErrorKind, MemoryStore, Resolution,
///     testing::{FailingStore, Fault, When},
/// };
///
/// let store = FailingStore::new(MemoryStore::new());
/// let iam = CredentialManager::new("123456789012".parse()?, store.clone());
/// let (anika, git) = ("anika".parse()?, "codecommit.amazonaws.com".parse()?);
/// iam.register_user(&anika)?;
/// let issued = iam.create(&anika, &git)?;
///
/// // The function under test.
/// let login = |password: &str| {
///     match iam.authenticate(&git, issued.service_user_name().as_str(), password) {
///         Ok(_) => 200,
///         Err(AuthenticationError::Unavailable(_)) => 503,
///         Err(_) => 401,
///     }
/// };
/// let password = issued.secret().expose();
/// store.fail(Fault::Read, When::Always);
/// assert_eq!(login(password), 503);
/// store.recover();
/// assert_eq!(login(password), 200);
///
/// // A change that is applied, and whose acknowledgement is lost.
/// store.fail(Fault::CommitAfter, When::Once);
/// let error = iam.create(&anika, &git).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
/// let Error::OutcomeUnknown { credential: Some(unknown), .. } = error else { unreachable!() };
/// assert!(matches!(iam.resolve(&unknown)?, Resolution::Deleted(_)));
/// assert_eq!(iam.list(&anika)?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FailingStore<S> {
    store: S,
    faults: Arc<Mutex<Faults>>,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a store reads and commits, and nothing else")]
pub enum Fault {
    /// `find` and `scan` fail.
    Read,
    /// `commit` fails, and the change is not applied.
    CommitBefore,
    /// `commit` fails after the change was applied. A commit that applies nothing is not affected.
    CommitAfter,
}

/// When it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum When {
    /// At the next call, and not afterwards.
    Once,
    /// At every call, until the store [recovers](FailingStore::recover).
    Always,
    /// At every n-th call from now on: with 1 at each, with 3 at the third, the sixth, and so on.
    EveryNth(NonZeroU64),
}

/// The error of a fault: the cause in the [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store fails on demand")]
#[non_exhaustive]
pub struct InjectedFault;

#[derive(Debug, Default)]
struct Faults {
    read: Schedule,
    commit_before: Schedule,
    commit_after: Schedule,
    injected: u64,
}

#[derive(Debug, Default)]
struct Schedule {
    when: Option<When>,
    /// Calls since `when` was set.
    calls: u64,
}

impl Schedule {
    fn is_due(&mut self) -> bool {
        self.calls += 1;
        match self.when {
            None => false,
            Some(When::Once) => {
                self.when = None;
                true
            }
            Some(When::Always) => true,
            Some(When::EveryNth(n)) => self.calls.is_multiple_of(n.get()),
        }
    }
}

impl<S> FailingStore<S> {
    /// Wraps `store`. Nothing fails yet.
    pub fn new(store: S) -> Self {
        Self { store, faults: Arc::default() }
    }

    /// Makes the store fail from now on, in this clone and all others, in addition to its other
    /// faults.
    pub fn fail(&self, fault: Fault, when: When) {
        *self.faults().schedule(fault) = Schedule { when: Some(when), calls: 0 };
    }

    /// Ends all faults.
    pub fn recover(&self) {
        let mut faults = self.faults();
        let injected = faults.injected;
        *faults = Faults { injected, ..Faults::default() };
    }

    /// The number of calls that have failed.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults().injected
    }

    /// The store inside, which does not fail.
    pub const fn get_ref(&self) -> &S {
        &self.store
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if the fault is due.
    fn check(&self, fault: Fault) -> Result<(), StoreError> {
        let mut faults = self.faults();
        if !faults.schedule(fault).is_due() {
            return Ok(());
        }
        faults.injected += 1;
        Err(StoreError::new(InjectedFault))
    }

    fn check_after(&self, outcome: CommitOutcome) -> Result<CommitOutcome, StoreError> {
        if outcome == CommitOutcome::Applied {
            self.check(Fault::CommitAfter)?;
        }
        Ok(outcome)
    }
}

impl Faults {
    const fn schedule(&mut self, fault: Fault) -> &mut Schedule {
        match fault {
            Fault::Read => &mut self.read,
            Fault::CommitBefore => &mut self.commit_before,
            Fault::CommitAfter => &mut self.commit_after,
        }
    }
}

impl<S: Store> Store for FailingStore<S> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.check(Fault::Read)?;
        self.store.find(key)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.check(Fault::CommitBefore)?;
        self.check_after(self.store.commit(change)?)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.check(Fault::Read)?;
        self.store.scan(range)
    }
}

impl<S: AsyncStore> AsyncStore for FailingStore<S> {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.check(Fault::Read)?;
        self.store.find(key).await
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.check(Fault::CommitBefore)?;
        self.check_after(self.store.commit(change).await?)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.check(Fault::Read)?;
        self.store.scan(range).await
    }
}
