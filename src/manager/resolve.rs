//! Resolving a change of a credential whose outcome is unknown.

use std::sync::Arc;

use super::{async_manager::AsyncCredentialManager, retry::ATTEMPTS};
use crate::{
    credential::Credential,
    error::{Error, unknown_credential::UnknownCredential},
    record::{UserRecord, key::Key},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
    },
};

/// What became of a credential whose change had an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it tells whether the credential exists"]
#[expect(clippy::exhaustive_enums, reason = "a caller handles every case")]
pub enum Resolution {
    /// The credential exists in this state. No secret was lost: a reset was not applied, and the
    /// secret before it is still valid, or a later reset has replaced the lost one.
    Exists(Credential),
    /// The credential does not exist, and the unknown change will not create it.
    Absent,
    /// The change was applied, its secret was lost, and the credential was deleted.
    /// This was its last state.
    Deleted(Credential),
}

impl<S: AsyncStore> AsyncCredentialManager<S> {
    pub(super) async fn settle(&self, unknown: &UnknownCredential) -> Result<Resolution, Error> {
        if unknown.account() != self.account {
            return Err(Error::NoSuchCredential { id: unknown.id().clone() });
        }
        for _ in 0..ATTEMPTS {
            let Some(previous) = self.record_of(unknown).await? else {
                return Ok(Resolution::Absent);
            };
            // Either change is a fence: the unknown one requires an earlier revision.
            let (record, resolution) = match previous.find(unknown.id()) {
                None => (previous.touch(), Resolution::Absent),
                Some(held) => {
                    let credential = previous.describe(held, held.status(|| self.shared.now()));
                    if unknown.has_lost(held.digest()) {
                        (previous.delete(unknown.id())?, Resolution::Deleted(credential))
                    } else {
                        (previous.touch(), Resolution::Exists(credential))
                    }
                }
            };
            let change = Change::Replace { previous, record: Arc::new(record) };
            match self.shared.store.commit(&change).await {
                Ok(CommitOutcome::Applied) => return Ok(resolution),
                Ok(CommitOutcome::Stale | CommitOutcome::KeyTaken) => {}
                Err(source) => {
                    let credential = Some(unknown.clone());
                    return Err(Error::OutcomeUnknown { credential, source });
                }
            }
        }
        Err(Error::Contended { user: unknown.user_name().clone() })
    }

    /// The record that the unknown change is one of, by whatever name the user has now.
    ///
    /// If the user no longer has the name of then, the record has changed since, and the unknown
    /// change has been applied or never will be. It may have been applied between the first two
    /// lookups, so the credential is looked up once more.
    async fn record_of(
        &self,
        unknown: &UnknownCredential,
    ) -> Result<Option<Arc<UserRecord>>, Error> {
        let credential = Key::Credential { account: self.account, id: unknown.id() };
        let user = Key::User { account: self.account, name: unknown.user_name() };
        for key in [credential, user, credential] {
            let found = self.shared.store.find(&key).await?;
            let found = found.filter(|record| record.id() == unknown.user_id());
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
