//! The limit of credentials per user and service.

use super::UserRecord;
use crate::{error::Error, names::service_name::ServiceName, policy::Policy};

impl UserRecord {
    /// Fails if the user already has as many credentials at `service` as the policy allows.
    /// Inactive and expired credentials count (our decision).
    pub(super) fn check_limit(&self, service: &ServiceName, policy: &Policy) -> Result<(), Error> {
        let limit = policy.credentials_per_service();
        let held = self.credentials.iter().filter(|held| held.service == *service).count();
        if held >= limit { Err(Error::LimitExceeded { limit }) } else { Ok(()) }
    }
}
