use std::sync::Arc;

use super::{Decision, Operation, Target, existing};
use crate::{
    error::Error,
    names::{user_name::UserName, user_path::UserPath},
    record::UserRecord,
    store::{AsyncStore, verified::Verified},
    user::User,
};

/// Changes the name of a user, the path, or both.
pub(crate) struct Update<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) new_name: Option<&'a UserName>,
    pub(crate) path: Option<&'a UserPath>,
}

impl Operation for Update<'_> {
    type Output = User;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<User>, Error> {
        let previous = existing(found, self.user)?;
        Ok(match previous.update(self.new_name, self.path) {
            Some(record) => {
                let user = record.user();
                Decision::replace(previous, record, user)
            }
            None => Decision::Done(previous.user()),
        })
    }

    async fn key_taken<S: AsyncStore>(&mut self, _: &Verified<S>) -> Result<(), Error> {
        match self.new_name {
            Some(name) => Err(Error::UserExists { user: name.clone() }),
            None => Ok(()),
        }
    }
}
