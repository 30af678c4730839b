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

/// The number of users per read.
const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

/// Copies all users of an account from one store to another, in pages of 100: with their ids,
/// revisions and credentials. The copied credentials authenticate in the new store. Returns the
/// number of copied users. A user whom an earlier call has copied is skipped.
///
/// Use it to migrate to another store. Stop all writers of both stores first: changes in the first
/// store during the copy may be missed. After a failure, call it again; it skips what was copied.
/// Do not call it once the second store is in use: a user who was removed there would be registered
/// again, with the old passwords. It keeps the ids of the second store's users in memory.
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
/// If one of the stores fails, or if another user of the second store holds a key of a user to
/// copy. The users before that one, in the order of names, were copied.
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

/// Reads the users whose names come after the last one of the previous page.
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

/// Whether the store contains exactly this record.
async fn holds(store: &Verified<&impl AsyncStore>, record: &UserRecord) -> Result<bool, CopyError> {
    let held = store.find(&record.user_key()).await.map_err(CopyError::Write)?;
    Ok(held.is_some_and(|held| held.encode() == record.encode()))
}

/// [`copy_users`] failed.
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
