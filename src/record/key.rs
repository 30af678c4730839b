use std::hash::{Hash, Hasher};

use crate::{AccountId, CredentialId, ServiceName, UserName, name::hash_caseless};

/// A key of a store's index: what a record can be found by, and at most one record holds.
///
/// Two keys are equal if they mean the same: names without regard to ASCII case, ids byte for
/// byte. Every key begins with its account, so that nothing of one account is ever found by the
/// key of another.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// A user by name.
    User {
        /// The account.
        account: AccountId,
        /// The user's name.
        name: &'a UserName,
    },
    /// The user who holds the credential of this id.
    Credential {
        /// The account.
        account: AccountId,
        /// The id of the credential.
        id: &'a CredentialId,
    },
    /// The user who holds the credential of this service and service user name (or alias).
    ServiceUser {
        /// The account.
        account: AccountId,
        /// The service.
        service: &'a ServiceName,
        /// The service user name, or what a stranger presents as one: any text of at most 512
        /// bytes.
        name: &'a str,
    },
    /// A user who holds a credential at this service, or, for `None`, at any. For listings, which
    /// read a range of these.
    Member {
        /// The account.
        account: AccountId,
        /// The service.
        service: Option<&'a ServiceName>,
        /// The user's name.
        user: &'a UserName,
    },
}

impl Key<'_> {
    /// The account that the key is of.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        match *self {
            Self::User { account, .. }
            | Self::Credential { account, .. }
            | Self::ServiceUser { account, .. }
            | Self::Member { account, .. } => account,
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.account() == other.account()
            && match (*self, *other) {
                (Self::User { name, .. }, Self::User { name: other, .. }) => name == other,
                (Self::Credential { id, .. }, Self::Credential { id: other, .. }) => id == other,
                (
                    Self::ServiceUser { service, name, .. },
                    Self::ServiceUser { service: other_service, name: other, .. },
                ) => service == other_service && name.eq_ignore_ascii_case(other),
                (
                    Self::Member { service, user, .. },
                    Self::Member { service: other_service, user: other, .. },
                ) => service == other_service && user == other,
                _ => false,
            }
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        self.account().hash(state);
        match *self {
            Self::User { name, .. } => name.hash(state),
            Self::Credential { id, .. } => id.hash(state),
            Self::ServiceUser { service, name, .. } => {
                service.hash(state);
                hash_caseless(name, state);
            }
            Self::Member { service, user, .. } => {
                service.hash(state);
                user.hash(state);
            }
        }
    }
}
