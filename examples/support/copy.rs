//! Copying users from store to store, with a progress bar on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use service_specific_credentials::{
    AccountId, AsyncCredentialManager, Error, ListUsersRequest, MaxItems,
    store::{CopyError, CopyUsers, DynAsyncStore},
};

use crate::explain::explain;

/// How many users were copied, and how many had been copied before.
pub(crate) struct Copied {
    pub(crate) copied: usize,
    pub(crate) present: u64,
}

pub(crate) async fn copy(
    from: &DynAsyncStore,
    to: &DynAsyncStore,
    accounts: &[AccountId],
) -> Result<Copied, String> {
    let counted = count(from, accounts).await.map_err(|error| explain(&error))?;
    // Shown on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(counted);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} users, {eta} left") {
        bar.set_style(style);
    }
    let result =
        CopyUsers::new(accounts.iter().copied()).progress(|_| bar.inc(1)).run_async(from, to).await;
    let done = bar.position();
    bar.finish_and_clear();
    match result {
        Ok(copied) => Ok(Copied { copied, present: done - copied as u64 }),
        Err(error @ CopyError::Taken { .. }) => Err(explain(&error)),
        Err(error) => Err(format!("{}: repeat the command to go on", explain(&error))),
    }
}

async fn count(from: &DynAsyncStore, accounts: &[AccountId]) -> Result<u64, Error> {
    let mut users = 0;
    for account in accounts {
        let iam = AsyncCredentialManager::new(*account, from.clone());
        let mut pager = iam.users(ListUsersRequest::new().max_items(MaxItems::new(1000)?));
        while let Some(page) = pager.next_page().await? {
            users += page.len() as u64;
        }
    }
    Ok(users)
}
