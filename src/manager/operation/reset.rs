use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Decision, Operation, Redraws, existing, is_repeated};
use crate::{
    credential::IssuedCredential,
    entropy::EntropyError,
    error::Error,
    manager::shared::Shared,
    names::{credential_id::CredentialId, user_name::UserName},
    record::UserRecord,
    secret::random_bytes,
    timestamp::Timestamp,
};

/// Gives a credential a new secret.
pub(crate) struct Reset<'a, S> {
    user: &'a UserName,
    id: &'a CredentialId,
    shared: &'a Shared<S>,
    now: Timestamp,
    random: Zeroizing<Vec<u8>>,
    redraws: Redraws,
}

impl<'a, S> Reset<'a, S> {
    pub(crate) fn draw(
        shared: &'a Shared<S>,
        user: &'a UserName,
        id: &'a CredentialId,
    ) -> Result<Self, EntropyError> {
        let now = shared.now();
        let random = random_bytes(&*shared.entropy, shared.policy.password_bytes())?;
        Ok(Self { user, id, shared, now, random, redraws: Redraws::ALL })
    }
}

impl<S: Send + Sync> Operation for Reset<'_, S> {
    type Output = IssuedCredential;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        let Shared { entropy, policy, .. } = self.shared;
        let (record, issued) = loop {
            match previous.reset(self.id, &self.random, policy, self.now) {
                Err(error) if is_repeated(&error) => {
                    self.redraws.take()?;
                    self.random = random_bytes(&**entropy, policy.password_bytes())?;
                }
                result => break result?,
            }
        };
        Ok(Decision::replace(previous, record, issued))
    }
}
