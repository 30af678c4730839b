use std::sync::Arc;

use super::{Decision, Operation, existing};
use crate::{
    credential::Credential, error::Error, names::user_name::UserName, record::UserRecord,
    store::change::Change, timestamp::Timestamp,
};

/// Removes a user. The result is the credentials that were removed with it.
pub(crate) struct Remove<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) with_credentials: bool,
    pub(crate) now: Timestamp,
}

impl Operation for Remove<'_> {
    type Output = Vec<Credential>;

    fn user(&self) -> &UserName {
        self.user
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        if !self.with_credentials {
            previous.check_removable()?;
        }
        let removed = previous
            .credentials()
            .iter()
            .map(|held| previous.describe(held, held.status(|| self.now)))
            .collect();
        Ok(Decision::Commit(Change::Remove { previous }, removed))
    }
}
