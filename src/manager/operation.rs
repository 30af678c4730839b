//! The operations that change the record of one user. [`retry`](super::retry) runs them.

use std::{future::Future, sync::Arc};

use crate::{
    entropy::{EntropyError, RepeatedEntropy},
    error::Error,
    names::{account_id::AccountId, credential_id::CredentialId, user_name::UserName},
    record::{UserRecord, key::Key},
    secret::digest::Digest,
    store::{AsyncStore, change::Change, verified::Verified},
};

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod disable;
pub(crate) mod edit_tags;
pub(crate) mod fence;
pub(crate) mod register;
pub(crate) mod remove;
pub(crate) mod reset;
pub(crate) mod set_status;
pub(crate) mod update;

/// An operation on the record of one user.
pub(super) trait Operation: Send + Sync {
    /// The result of the operation once its change is applied.
    type Output: Send;

    /// What the record is found by.
    fn target(&self) -> Target<'_>;

    /// The credential that is created or changed, for [`Error::OutcomeUnknown`].
    fn credential(&self) -> Option<&CredentialId> {
        None
    }

    /// The digest of the secret in `output`, which is lost if the outcome is unknown.
    fn issued(_output: &Self::Output) -> Option<Digest> {
        None
    }

    /// Decides on a change of the user's record, or fails by one of the rules.
    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error>;

    /// Prepares the next attempt after a conflict on a unique key: another record holds a key that
    /// the change claims.
    fn key_taken<S: AsyncStore>(
        &mut self,
        _store: &Verified<S>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// What an operation finds a record by.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    User(&'a UserName),
    /// One of the credentials in the record.
    Credential(&'a CredentialId),
}

impl<'a> Target<'a> {
    pub(super) const fn key(self, account: AccountId) -> Key<'a> {
        match self {
            Self::User(name) => Key::User { account, name },
            Self::Credential(id) => Key::Credential { account, id },
        }
    }
}

/// What an operation decides about a record.
pub(super) enum Decision<T> {
    /// Commit this change. Once it is applied, the result is `T`.
    Commit(Change, T),
    /// No change is needed.
    Done(T),
}

impl<T> Decision<T> {
    fn replace(previous: Arc<UserRecord>, record: UserRecord, output: T) -> Self {
        Self::Commit(Change::Replace { previous, record: Arc::new(record) }, output)
    }
}

fn existing(found: Option<Arc<UserRecord>>, user: &UserName) -> Result<Arc<UserRecord>, Error> {
    found.ok_or_else(|| Error::NoSuchUser { user: user.clone() })
}

/// How often an operation draws an id or a secret again that is already in use (our decision). With
/// a working generator this never happens.
const REDRAWS: u32 = 8;

/// The remaining [`REDRAWS`] of an operation.
struct Redraws(u32);

impl Redraws {
    const ALL: Self = Self(REDRAWS);

    fn take(&mut self) -> Result<(), EntropyError> {
        self.0 = self.0.checked_sub(1).ok_or(RepeatedEntropy)?;
        Ok(())
    }
}

/// Whether a rule failed because the drawn id or secret is already in use.
fn is_repeated(error: &Error) -> bool {
    matches!(error, Error::Entropy(error) if error.get_ref().is::<RepeatedEntropy>())
}
