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
}

impl UserRecord {
    /// Fails if one of the record's credentials has expired.
    pub(super) fn check_unexpired(
        &self,
        held: &StoredCredential,
        now: Timestamp,
    ) -> Result<(), Error> {
        match held.status(|| now) {
            Status::Expired => Err(Error::CredentialExpired {
                user: self.name.clone(),
                service: held.service.clone(),
                id: held.id.clone(),
            }),
            Status::Active | Status::Inactive => Ok(()),
        }
    }

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
        self.check_unexpired(&credential, now)?;
        let previous = std::mem::replace(&mut credential.active, active);
        Ok((previous != active).then(|| self.replace(&credential)))
    }
    /// Makes all active credentials inactive. Expired ones stay as they are.
    pub(crate) fn disable_all(&self, now: Timestamp) -> Self {
        let disabled = self.credentials.iter().cloned().map(|mut held| {
            held.active &= held.status(|| now) == Status::Expired;
            held
        });
        self.with_credentials(disabled.collect())
    }
}
