use std::sync::Arc;

use super::{Decision, Operation, Target, existing};
use crate::{
    error::Error,
    names::{credential_id::CredentialId, user_name::UserName},
    record::{UserRecord, tags::TagEdit},
    store::change::Change,
};

/// Changes the tags of a user, or of one of the user's credentials. The result is the record with
/// these tags.
pub(crate) struct EditTags<'a> {
    pub(crate) user: &'a UserName,
    /// `None` for the tags of the user.
    pub(crate) id: Option<&'a CredentialId>,
    pub(crate) edit: TagEdit<'a>,
}

impl Operation for EditTags<'_> {
    type Output = Arc<UserRecord>;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn credential(&self) -> Option<&CredentialId> {
        self.id
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        Ok(match previous.edit_tags(self.id, self.edit)? {
            Some(record) => {
                let record = Arc::new(record);
                let change = Change::Replace { previous, record: Arc::clone(&record) };
                Decision::Commit(change, record)
            }
            None => Decision::Done(previous),
        })
    }
}
