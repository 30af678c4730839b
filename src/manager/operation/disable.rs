use std::sync::Arc;

use super::{Decision, Operation, Target, existing};
use crate::{
    credential::{Credential, Status},
    error::Error,
    names::{credential_id::CredentialId, user_name::UserName},
    record::UserRecord,
    timestamp::Timestamp,
};

/// Makes a credential inactive, whichever user has it.
pub(crate) struct Disable<'a> {
    pub(crate) id: &'a CredentialId,
    pub(crate) now: Timestamp,
}

impl Operation for Disable<'_> {
    type Output = Credential;

    fn target(&self) -> Target<'_> {
        Target::Credential(self.id)
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Credential>, Error> {
        let missing = || Error::NoSuchCredential { id: self.id.clone() };
        let previous = found.ok_or_else(missing)?;
        let credential = previous.describe(previous.get(self.id)?, Status::Inactive);
        Ok(match previous.set_status(self.id, Status::Inactive, self.now)? {
            Some(record) => Decision::replace(previous, record, credential),
            None => Decision::Done(credential),
        })
    }
}

/// Makes all credentials of a user inactive. The result is those that were active.
pub(crate) struct DisableAll<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) now: Timestamp,
}

impl Operation for DisableAll<'_> {
    type Output = Vec<Credential>;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        let is_active = |credential: &Credential| credential.status() == Status::Active;
        let mut disabled = previous.describe_all(self.now);
        disabled.retain(is_active);
        for credential in &mut disabled {
            credential.status = Status::Inactive;
        }
        if disabled.is_empty() {
            return Ok(Decision::Done(disabled));
        }
        let record = previous.disable_all(self.now);
        Ok(Decision::replace(previous, record, disabled))
    }
}
