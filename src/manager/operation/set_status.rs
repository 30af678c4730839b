use std::sync::Arc;

use super::{Decision, Operation, existing};
use crate::{
    credential::Status,
    error::Error,
    names::{credential_id::CredentialId, service_name::ServiceName, user_name::UserName},
    record::UserRecord,
    timestamp::Timestamp,
};

/// Sets the status of a credential. The result is its service, for the event.
pub(crate) struct SetStatus<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) id: &'a CredentialId,
    pub(crate) status: Status,
    pub(crate) now: Timestamp,
}

impl Operation for SetStatus<'_> {
    type Output = ServiceName;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<ServiceName>, Error> {
        let previous = existing(found, self.user)?;
        let service = previous.get(self.id)?.service().clone();
        Ok(match previous.set_status(self.id, self.status, self.now)? {
            Some(record) => Decision::replace(previous, record, service),
            None => Decision::Done(service),
        })
    }
}
