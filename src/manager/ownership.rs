//! Ownership: why a user does not have a credential.

use super::async_manager::AsyncCredentialManager;
use crate::{
    error::Error,
    names::{credential_id::CredentialId, user_name::UserName},
    record::key::Key,
    store::AsyncStore,
    user::UserId,
};

/// Why the record of a user does not contain a credential.
pub(super) enum Missing {
    /// The account has no such credential.
    NoSuchCredential,
    /// Another user has it.
    OfAnotherUser,
    /// Users or credentials changed between the two lookups, so that neither may ever have been
    /// true.
    Changed,
}

impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Classifies a credential that the record of `user`, which had the id `found`, did not
    /// contain.
    pub(super) async fn classify_missing(
        &self,
        user: &UserName,
        found: Option<UserId>,
        id: &CredentialId,
    ) -> Result<Missing, Error> {
        let key = Key::Credential { account: self.account, id };
        Ok(match self.shared.store.find(&key).await? {
            Some(owner) if Some(owner.id()) == found || owner.name() == user => Missing::Changed,
            Some(_) => Missing::OfAnotherUser,
            None => match self.record(user).await {
                Ok(record) if Some(record.id()) == found => Missing::NoSuchCredential,
                Ok(_) | Err(Error::NoSuchUser { .. }) => Missing::Changed,
                Err(error) => return Err(error),
            },
        })
    }
}
