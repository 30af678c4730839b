use crate::{
    names::{account_id::AccountId, credential_id::CredentialId, user_name::UserName},
    secret::digest::Digest,
    user::UserId,
};

/// A credential whose creation, reset, change or deletion has an
/// [unknown outcome](crate::Error::OutcomeUnknown): the input of
/// [`resolve`](crate::CredentialManager::resolve).
#[derive(Clone, Debug)]
pub struct UnknownCredential(Box<Change>);

#[derive(Clone, Debug)]
struct Change {
    account: AccountId,
    user_id: UserId,
    user_name: UserName,
    id: CredentialId,
    issued: Option<Digest>,
}

impl UnknownCredential {
    /// `issued` is the digest of the secret that was lost with the outcome.
    pub(crate) fn new(
        account: AccountId,
        user_id: UserId,
        user_name: UserName,
        id: CredentialId,
        issued: Option<Digest>,
    ) -> Self {
        Self(Box::new(Change { account, user_id, user_name, id, issued }))
    }

    /// The id of the credential. If it was being created, it may not exist.
    #[must_use]
    pub fn id(&self) -> &CredentialId {
        &self.0.id
    }

    /// The name that the user had when the change was made.
    #[must_use]
    pub fn user_name(&self) -> &UserName {
        &self.0.user_name
    }

    pub(crate) fn account(&self) -> AccountId {
        self.0.account
    }

    pub(crate) fn user_id(&self) -> UserId {
        self.0.user_id
    }

    /// Whether the secret of this digest was lost with the outcome.
    pub(crate) fn has_lost(&self, digest: &Digest) -> bool {
        self.0.issued.is_some_and(|issued| issued.matches(digest))
    }
}
