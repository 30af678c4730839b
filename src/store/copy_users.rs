//! Copying users from one store to another.

use std::{
    collections::HashSet,
    fmt,
    future::{Future, poll_fn},
    mem,
    num::NonZeroUsize,
    ops::Bound,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    thread, vec,
};

use crate::{
    names::{account_id::AccountId, user_name::UserName},
    record::{UserRecord, key::Listing},
    store::{
        AsyncStore, Store,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
        sync_adapter::{SyncAdapter, poll_ready},
        verified::Verified,
    },
    store_error::StoreError,
    user::UserId,
};

/// The number of users per read.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// How many users to copy at a time, by default.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// Copies the users of accounts from one store to another, with their ids, revisions and
/// credentials, whose secrets remain valid.
///
/// It is for moving to another store. Stop all writers of both stores until it has returned: a copy
/// may miss changes that are made while it runs. Repeat a copy that failed or was interrupted;
/// users that were copied already are left as they are. Do not repeat it once the second store is
/// in use: users that were removed there would be restored, with their passwords.
///
/// ```
/// use service_specific_credentials::{CredentialManager, MemoryStore, store::CopyUsers};
///
/// let from = MemoryStore::new();
/// let old = CredentialManager::new("123456789012".parse()?, from.clone());
/// let (anika, git) = ("anika".parse()?, "codecommit.amazonaws.com".parse()?);
/// old.register_user(&anika)?;
/// let issued = old.create(&anika, &git)?;
///
/// let to = MemoryStore::new();
/// let copy = CopyUsers::new(from.accounts())
///     .progress(|copied| println!("{} users of {}", copied.total(), copied.account()));
/// assert_eq!(copy.run(&from, &to)?, 1);
/// assert_eq!(copy.run(&from, &to)?, 0);
///
/// let new = CredentialManager::new("123456789012".parse()?, to);
/// new.authenticate(&git, issued.service_user_name().as_str(), issued.secret().expose())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is copied until it is run"]
pub struct CopyUsers<'a> {
    accounts: Vec<AccountId>,
    concurrency: NonZeroUsize,
    progress: Box<dyn Fn(&CopyProgress) + Send + Sync + 'a>,
}

impl<'a> CopyUsers<'a> {
    /// Copies the users of these accounts, one account after the other.
    ///
    /// The stores of this crate list their accounts: see
    /// [`MemoryStore::accounts`](super::MemoryStore::accounts).
    pub fn new(accounts: impl IntoIterator<Item = AccountId>) -> Self {
        let accounts = accounts.into_iter().collect();
        Self { accounts, concurrency: CONCURRENCY, progress: Box::new(|_| {}) }
    }

    /// Sets the number of users to copy at a time. Default: 16.
    pub const fn concurrency(mut self, users: NonZeroUsize) -> Self {
        self.concurrency = users;
        self
    }

    /// Calls `progress` after each user that was copied, or found to be copied already. Several
    /// threads may call it at once.
    pub fn progress(mut self, progress: impl Fn(&CopyProgress) + Send + Sync + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Copies between sync stores, in threads that end before this returns. Returns the number of
    /// users that were copied, without those that were there already.
    ///
    /// # Errors
    ///
    /// If one of the stores fails, or if the second store holds something else under a key of a
    /// user. Other users may have been copied.
    pub fn run(&self, from: &impl Store, to: &impl Store) -> Result<usize, CopyError> {
        poll_ready(self.copy(&SyncAdapter::new(from), &SyncAdapter::new(to), &Threads))
    }

    /// [`run`](Self::run) between async stores, in this task. If the future is dropped, some of the
    /// users were copied.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_async(
        &self,
        from: &impl AsyncStore,
        to: &impl AsyncStore,
    ) -> Result<usize, CopyError> {
        self.copy(from, to, &OneTask).await
    }

    async fn copy(
        &self,
        from: &impl AsyncStore,
        to: &impl AsyncStore,
        executor: &impl Executor,
    ) -> Result<usize, CopyError> {
        let (from, to) = (&Verified(from), &Verified(to));
        let mut copied = 0;
        for &account in &self.accounts {
            let progress = &Mutex::new(CopyProgress { account, copied: 0, present: 0 });
            let mut last: Option<UserName> = None;
            loop {
                let start = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let range = ScanRange::new(account, Listing::Users, start, PAGE);
                let page = from.scan(&range).await.map_err(CopyError::Read)?;
                let (Some(first), Some(end)) = (page.first(), page.last()) else { break };
                let present = &scan_ids(to, account, first.name()).await?;
                last = Some(end.name().clone());
                let workers = page.len().min(self.concurrency.get());
                let queue = &Mutex::new(page.into_iter());
                let worker = || -> Worker<'_> { Box::pin(self.work(queue, to, present, progress)) };
                let workers = (0..workers).map(|_| worker()).collect();
                executor.join(workers).await.into_iter().collect::<Result<(), _>>()?;
            }
            copied += lock(progress).copied;
        }
        Ok(copied)
    }

    /// Copies users from the queue until it is empty. After an error it is emptied.
    async fn work(
        &self,
        queue: &Queue,
        to: &Verified<&impl AsyncStore>,
        present: &HashSet<UserId>,
        progress: &Mutex<CopyProgress>,
    ) -> Result<(), CopyError> {
        loop {
            let Some(record) = lock(queue).next() else { return Ok(()) };
            let is_new = match copy_one(to, present, record).await {
                Ok(is_new) => is_new,
                Err(error) => {
                    lock(queue).by_ref().for_each(drop);
                    return Err(error);
                }
            };
            let snapshot = {
                let mut progress = lock(progress);
                if is_new {
                    progress.copied += 1;
                } else {
                    progress.present += 1;
                }
                *progress
            };
            (self.progress)(&snapshot);
        }
    }
}

/// The users of a page that no worker has taken yet.
type Queue = Mutex<vec::IntoIter<Arc<UserRecord>>>;

/// The ids of the users from `first` on, of as many as a page has.
async fn scan_ids(
    store: &Verified<&impl AsyncStore>,
    account: AccountId,
    first: &UserName,
) -> Result<HashSet<UserId>, CopyError> {
    let range = ScanRange::new(account, Listing::Users, Bound::Included(first), PAGE);
    let records = store.scan(&range).await.map_err(CopyError::Write)?;
    Ok(records.iter().map(|record| record.id()).collect())
}

/// Copies one user. Returns whether the store did not have it before.
async fn copy_one(
    to: &Verified<&impl AsyncStore>,
    present: &HashSet<UserId>,
    record: Arc<UserRecord>,
) -> Result<bool, CopyError> {
    if !present.contains(&record.id()) {
        let change = Change::Register { record: Arc::clone(&record) };
        if to.commit(&change).await.map_err(CopyError::Write)? == CommitOutcome::Applied {
            return Ok(true);
        }
    }
    let held = to.find(&record.user_key()).await.map_err(CopyError::Write)?;
    if held.is_some_and(|held| held.encode() == record.encode()) {
        Ok(false)
    } else {
        Err(CopyError::Taken { user: record.name().clone() })
    }
}

type Worker<'w> = Pin<Box<dyn Future<Output = Result<(), CopyError>> + Send + 'w>>;

/// Runs workers at the same time, to their ends.
trait Executor: Sync {
    fn join(
        &self,
        workers: Vec<Worker<'_>>,
    ) -> impl Future<Output = Vec<Result<(), CopyError>>> + Send;
}

/// For sync stores: a thread each.
struct Threads;

impl Executor for Threads {
    async fn join(&self, workers: Vec<Worker<'_>>) -> Vec<Result<(), CopyError>> {
        thread::scope(|scope| {
            let start = |worker| scope.spawn(|| poll_ready(worker));
            let threads: Vec<_> = workers.into_iter().map(start).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }
}

/// For async stores: polls all in the task of the caller.
struct OneTask;

impl Executor for OneTask {
    async fn join(&self, mut workers: Vec<Worker<'_>>) -> Vec<Result<(), CopyError>> {
        let mut results = Vec::new();
        poll_fn(move |context| {
            workers.retain_mut(|worker| match worker.as_mut().poll(context) {
                Poll::Ready(result) => {
                    results.push(result);
                    false
                }
                Poll::Pending => true,
            });
            if workers.is_empty() { Poll::Ready(mem::take(&mut results)) } else { Poll::Pending }
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for CopyUsers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyUsers")
            .field("accounts", &self.accounts)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// How far a [copy](CopyUsers) has got in one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    account: AccountId,
    copied: usize,
    present: usize,
}

impl CopyProgress {
    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The number of users of the account that were copied.
    #[must_use]
    pub const fn copied(&self) -> usize {
        self.copied
    }

    /// The number of users of the account that were there already.
    #[must_use]
    pub const fn present(&self) -> usize {
        self.present
    }

    /// The number of users of the account that are done.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.copied + self.present
    }
}

/// Copies the users of one account between async stores: a [`CopyUsers`] with the default options.
///
/// # Errors
///
/// As [`CopyUsers::run`].
pub async fn copy_users(
    from: &impl AsyncStore,
    to: &impl AsyncStore,
    account: AccountId,
) -> Result<usize, CopyError> {
    CopyUsers::new([account]).run_async(from, to).await
}

/// Users could not be [copied](CopyUsers).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The store to copy from failed.
    #[error("the store to copy from failed")]
    Read(#[source] StoreError),
    /// The store to copy to failed.
    #[error("the store to copy to failed")]
    Write(#[source] StoreError),
    /// The store to copy to has the user in another state, or another user there holds one of the
    /// user's keys: the name, or the id or the service user name of a credential.
    #[error("the store to copy to has a conflict on a key of the user {user}")]
    #[non_exhaustive]
    Taken {
        /// The user.
        user: UserName,
    },
}
