//! Tagging a user or a credential.

use super::{UserRecord, details::Details};
use crate::{error::Error, names::credential_id::CredentialId, tags::Tags};

/// A change of the tags of a user or of a credential.
#[derive(Clone, Copy)]
pub(crate) enum TagEdit<'a> {
    /// These tags instead of the present ones.
    Replace(&'a Tags),
    /// These tags in addition to the present ones. The later value of a key takes precedence.
    Add(&'a Tags),
    /// The present tags without those of these keys.
    Remove(&'a [&'a str]),
}

impl UserRecord {
    /// Changes the tags of the user, or of one of the credentials. `None` if they stay the same.
    pub(crate) fn edit_tags(
        &self,
        id: Option<&CredentialId>,
        edit: TagEdit<'_>,
    ) -> Result<Option<Self>, Error> {
        let present = match id {
            None => self.tags(),
            Some(id) => self.details.tags_of(self.get(id)?.id()),
        };
        let tags = match edit {
            TagEdit::Replace(tags) => tags.clone(),
            TagEdit::Add(tags) => present.and(tags)?,
            TagEdit::Remove(keys) => present.without(keys),
        };
        if tags == *present {
            return Ok(None);
        }
        let details = match id {
            None => self.details.with_tags(tags),
            Some(id) => self.details.with_tags_of(id, tags),
        };
        Ok(Some(self.with_details(details)))
    }

    fn with_details(&self, details: Details) -> Self {
        Self { details, ..self.with_credentials(self.credentials.clone()) }
    }
}
