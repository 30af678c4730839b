use std::sync::Arc;

use super::{Decision, Operation, existing};
use crate::{
    error::Error,
    names::user_name::UserName,
    record::UserRecord,
    store::{AsyncStore, verified::Verified},
    user::User,
};

/// Renames a user.
pub(crate) struct Rename<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) new_name: &'a UserName,
}

impl Operation for Rename<'_> {
    type Output = User;

    fn user(&self) -> &UserName {
        self.user
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<User>, Error> {
        let previous = existing(found, self.user)?;
        if previous.name().as_str() == self.new_name.as_str() {
            return Ok(Decision::Done(previous.user()));
        }
        let record = previous.rename(self.new_name.clone());
        let user = record.user();
        Ok(Decision::replace(previous, record, user))
    }

    async fn key_taken<S: AsyncStore>(&mut self, _: &Verified<S>) -> Result<(), Error> {
        Err(Error::UserExists { user: self.new_name.clone() })
    }
}
