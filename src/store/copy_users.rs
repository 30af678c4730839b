use std::{collections::HashSet, num::NonZeroUsize, ops::Bound, sync::Arc};

use crate::{
    names::{account_id::AccountId, user_name::UserName},
    user::UserId,
};
use crate::{
    record::{UserRecord, key::Listing},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
        verified::Verified,
    },
    store_error::StoreError,
};

/// How many users to read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// Copies all users of an account from one store to another, in pages of 100: with their ids,
/// revisions and credentials, whose secrets go on opening what they opened. Returns how many were
/// copied. Those whom an earlier call has copied already are left as they are.
///
/// It is for moving from one store to another. What is changed in the first store meanwhile may be
/// missed, so stop all writers of both until it is done. A call that failed is made again, and
/// goes on where that one was. Once the second store is in use, do not call it again: users who
/// were removed there would be back, with the passwords that they had. It keeps the ids of the
/// second store's users in memory.
///
/// ```
/// use service_specific_credentials::{CredentialManager, MemoryStore};
/// use service_specific_credentials::store::{self, SyncAdapter};
/// # fn wait<T>(future: impl Future<Output = T>) -> T {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
/// # }
///
/// let old = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
/// let codecommit = "codecommit.amazonaws.com".parse()?;
/// old.register_user(&"anika".parse()?)?;
/// let issued = old.create(&"anika".parse()?, &codecommit)?;
///
/// let new = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
/// let (from, to) = (SyncAdapter::new(old.store()), SyncAdapter::new(new.store()));
/// assert_eq!(wait(store::copy_users(&from, &to, "123456789012".parse()?))?, 1);
/// new.authenticate(&codecommit, issued.service_user_name().as_str(), issued.secret().expose())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If one of the stores fails, or another user of the second one holds a key of one who is to be
/// copied. Those who come before in the order of names were copied.
pub async fn copy_users(
    from: &impl AsyncStore,
    to: &impl AsyncStore,
    account: AccountId,
) -> Result<usize, CopyError> {
    let (from, to) = (&Verified(from), &Verified(to));
    let mut there = HashSet::<UserId>::new();
    let mut last = None;
    while let Some(page) = page(to, account, &mut last).await.map_err(CopyError::Write)? {
        there.extend(page.iter().map(|record| record.id()));
    }
    let (mut copied, mut last) = (0, None);
    while let Some(page) = page(from, account, &mut last).await.map_err(CopyError::Read)? {
        for record in page {
            if there.contains(&record.id()) {
                if !holds(to, &record).await? {
                    return Err(CopyError::Taken { user: record.name().clone() });
                }
                continue;
            }
            let entered = Change::Register { record: Arc::clone(&record) };
            match to.commit(&entered).await.map_err(CopyError::Write)? {
                CommitOutcome::Applied => copied += 1,
                CommitOutcome::Stale | CommitOutcome::KeyTaken => {
                    return Err(CopyError::Taken { user: record.name().clone() });
                }
            }
        }
    }
    Ok(copied)
}

/// The users whose names come after the last one of the page before, if there are any.
async fn page(
    store: &Verified<&impl AsyncStore>,
    account: AccountId,
    last: &mut Option<UserName>,
) -> Result<Option<Vec<Arc<UserRecord>>>, StoreError> {
    let start = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let page = store.scan(&ScanRange::new(account, Listing::Users, start, PAGE)).await?;
    *last = page.last().map(|record| record.name().clone());
    Ok(last.is_some().then_some(page))
}

/// Whether the store holds this very record.
async fn holds(store: &Verified<&impl AsyncStore>, record: &UserRecord) -> Result<bool, CopyError> {
    let held = store.find(&record.user_key()).await.map_err(CopyError::Write)?;
    Ok(held.is_some_and(|held| held.encode() == record.encode()))
}

/// Users could not be [copied](copy_users).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The store to copy from failed.
    #[error("the store to copy from failed")]
    Read(#[source] StoreError),
    /// The store to copy to failed.
    #[error("the store to copy to failed")]
    Write(#[source] StoreError),
    /// The store to copy to has the user in another state, or another user who holds one of the
    /// user's keys: the name, or the id or the service user name of a credential.
    #[error("the store to copy to holds something else under a key of the user {user}")]
    #[non_exhaustive]
    Taken {
        /// The user.
        user: UserName,
    },
}
