//! Status and expiry of a credential.

use super::{UserRecord, stored_credential::StoredCredential};
use crate::{
    credential::Status, error::Error, names::credential_id::CredentialId, timestamp::Timestamp,
};

impl StoredCredential {
    /// The status at `now`: from its expiration date on a credential is expired, whatever its
    /// stored status. The clock is read only if there is an expiration date.
    pub(crate) fn status(&self, now: impl FnOnce() -> Timestamp) -> Status {
        match self.expires() {
            Some(expires) if expires <= now() => Status::Expired,
            _ if self.active => Status::Active,
            _ => Status::Inactive,
        }
    }

    pub(super) fn check_unexpired(&self, now: Timestamp) -> Result<(), Error> {
        match self.status(|| now) {
            Status::Expired => Err(Error::CredentialExpired { id: self.id.clone() }),
            Status::Active | Status::Inactive => Ok(()),
        }
    }
}

impl UserRecord {
    /// Sets the status of a credential. `None` if it already has that status.
    pub(crate) fn set_status(
        &self,
        id: &CredentialId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let mut credential = self.get(id)?.clone();
        let active = match status {
            Status::Active => true,
            Status::Inactive => false,
            Status::Expired => return Err(Error::StatusNotSettable { status }),
        };
        credential.check_unexpired(now)?;
        let previous = std::mem::replace(&mut credential.active, active);
        Ok((previous != active).then(|| self.replace(&credential)))
    }
}
