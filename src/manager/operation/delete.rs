use std::sync::Arc;

use super::{Decision, Operation, existing};
use crate::{
    error::Error,
    names::{credential_id::CredentialId, service_name::ServiceName, user_name::UserName},
    record::UserRecord,
};

/// Deletes a credential. The result is its service, for the event.
pub(crate) struct Delete<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) id: &'a CredentialId,
}

impl Operation for Delete<'_> {
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
        let record = previous.delete(self.id)?;
        Ok(Decision::replace(previous, record, service))
    }
}
