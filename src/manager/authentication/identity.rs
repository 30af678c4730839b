use std::{fmt, sync::Arc};

use crate::{
    credential::{Credential, Status},
    names::{account_id::AccountId, credential_id::CredentialId, user_name::UserName},
    record::{UserRecord, stored_credential::StoredCredential},
    user::UserId,
};

/// The authenticated user, and the credential that authenticated it.
///
/// Shares the user's record with the store: creating and cloning it allocates nothing.
#[derive(Clone)]
pub struct Identity {
    record: Arc<UserRecord>,
    /// The index of the credential in the record.
    position: usize,
}

impl Identity {
    /// `position` is that of a credential of `record`.
    pub(super) const fn new(record: Arc<UserRecord>, position: usize) -> Self {
        Self { record, position }
    }

    /// The account of the user.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.record.account()
    }

    /// The id of the user. Authorize by this id: user names are reused, ids never.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.record.id()
    }

    /// The name of the user in its present spelling.
    #[must_use]
    pub fn user_name(&self) -> &UserName {
        self.record.name()
    }

    /// The id of the credential.
    #[must_use]
    pub fn credential_id(&self) -> &CredentialId {
        self.stored().id()
    }

    /// The credential.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.record.describe(self.stored(), Status::Active)
    }

    #[expect(clippy::indexing_slicing, reason = "the position is that of a credential")]
    pub(super) fn stored(&self) -> &StoredCredential {
        &self.record.credentials()[self.position]
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("account", &self.account())
            .field("user_id", &self.user_id())
            .field("credential", &self.credential())
            .finish()
    }
}
