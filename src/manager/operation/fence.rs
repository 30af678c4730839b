use std::sync::Arc;

use super::{Decision, Operation, Target, existing};
use crate::{
    credential::Credential, error::Error, names::user_name::UserName, record::UserRecord,
    timestamp::Timestamp,
};

/// Increments the revision of a record and changes nothing else. The result is the credentials.
pub(crate) struct Fence<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) now: Timestamp,
}

impl Operation for Fence<'_> {
    type Output = Vec<Credential>;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        let record = previous.touch();
        let credentials = record.describe_all(self.now);
        Ok(Decision::replace(previous, record, credentials))
    }
}
