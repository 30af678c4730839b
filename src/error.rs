use std::fmt;

use crate::{
    constraint::InvalidParameter,
    credential::{InvalidStatus, Status},
    entropy::EntropyError,
    lifetime::InvalidLifetime,
    manager::{list_request::InvalidMaxItems, marker::InvalidMarker},
    names::{
        account_id::InvalidAccountId,
        credential_id::{CredentialId, InvalidCredentialId},
        service_name::{InvalidServiceName, ServiceName},
        service_user_name::InvalidServiceUserName,
        user_name::{InvalidUserName, UserName},
    },
    store_error::StoreError,
    user::InvalidUserId,
};

/// Why an operation was refused, or could not be done.
///
/// Four kinds can be told apart. *The input is wrong*: most variants; nothing was changed, and the
/// same call fails again until the input or the state is another. *Nobody is to blame*:
/// [`Contended`](Self::Contended); nothing was changed, try again. *Something outside failed*:
/// [`Entropy`](Self::Entropy), [`Store`](Self::Store); nothing was changed.
/// *Something outside failed at the worst moment*: [`OutcomeUnknown`](Self::OutcomeUnknown); look
/// before trying again.
///
/// Messages that begin with a capital are the interface's own, as the real service was recorded or
/// is reported to word them. No message holds a secret, or anything of what the store or the generator
/// reported: that is the [`source`](std::error::Error::source), for logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value has the wrong shape.
    #[error(transparent)]
    InvalidParameter(InvalidParameter),

    /// All users were asked for together with one of them.
    #[error("Cannot list credentials for all users if a username is given")]
    AllUsersWithUserName,

    /// Neither a user nor all users were asked for.
    #[error("Must specify userName when calling with non-User credentials")]
    UserNameMissing,

    /// There is no such user in the account.
    #[error("The user with name {user} cannot be found.")]
    #[non_exhaustive]
    NoSuchUser {
        /// The name that was asked for.
        user: UserName,
    },

    /// The policy does not name the service, or for credentials of the other kind.
    #[error("{}", not_supported(service.as_str()))]
    #[non_exhaustive]
    ServiceNotSupported {
        /// The service that was asked for.
        service: ServiceName,
    },

    /// The marker belongs to another query, or was never one.
    #[error("Invalid Marker.")]
    MarkerMismatch,

    /// There is no such credential in the account.
    #[error("No such credential {id} exists")]
    #[non_exhaustive]
    NoSuchCredential {
        /// The id that was asked for.
        id: CredentialId,
    },

    /// The credential is another user's.
    #[error("User {user} does not have a service specific credential with id {id}")]
    #[non_exhaustive]
    CredentialOfAnotherUser {
        /// The user that was asked for.
        user: UserName,
        /// The id that was asked for.
        id: CredentialId,
    },

    /// The status follows from the expiration date, and cannot be set.
    #[error("Operation does not support status {status}")]
    #[non_exhaustive]
    StatusNotSettable {
        /// The status that was asked for.
        status: Status,
    },

    /// The credential has expired. It can be deleted, nothing else.
    #[error("service specific credential {id} has expired")]
    #[non_exhaustive]
    CredentialExpired {
        /// The id that was asked for.
        id: CredentialId,
    },

    /// The user has as many credentials at the service as the policy allows.
    #[error("Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: {limit}")]
    #[non_exhaustive]
    LimitExceeded {
        /// How many the policy allows.
        limit: usize,
    },

    /// A user of that name is registered already.
    #[error("User with name {user} already exists.")]
    #[non_exhaustive]
    UserExists {
        /// The name that was asked for.
        user: UserName,
    },

    /// The user still has credentials.
    #[error("Cannot delete entity, must remove referenced objects first.")]
    UserHasCredentials,

    /// Other changes to the same user won 64 times in a row. Nothing was changed.
    #[error("other changes to the user came first 64 times in a row")]
    Contended,

    /// The generator of random bytes failed, or [repeats itself](crate::RepeatedEntropy). Nothing was
    /// changed.
    #[error("the entropy source failed")]
    Entropy(#[from] EntropyError),

    /// The store could not be read, or returned something other than what it was asked for
    /// ([`CorruptIndex`](crate::store::CorruptIndex)). Nothing was changed.
    #[error("the store failed")]
    Store(#[from] StoreError),

    /// The store failed while it was changing something: the change was made, wholly, or it was
    /// not.
    ///
    /// After a create or a reset that ended so, create another credential and then delete the one that
    /// is named here, if it is there: its secret is lost either way. (If there is no room for another,
    /// delete first.) In this order, since a change that is still under way in the store is settled once
    /// a later one of the same user is answered: a deletion that finds nothing changes nothing, and the
    /// credential could still appear. Everything else can be done again as it was; that the user then
    /// exists already, or no longer, may be its own first success.
    #[error("the store failed, and the outcome is unknown")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// The credential that was being created or changed, if it was one.
        id: Option<CredentialId>,
        /// What the store says.
        source: StoreError,
    },
}

impl Error {
    /// The code that the interface has for this error.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidParameter(_) | Self::UserNameMissing | Self::MarkerMismatch => {
                ErrorCode::ValidationError
            }
            Self::AllUsersWithUserName
            | Self::StatusNotSettable { .. }
            | Self::CredentialExpired { .. } => ErrorCode::InvalidInput,
            Self::NoSuchUser { .. }
            | Self::NoSuchCredential { .. }
            | Self::CredentialOfAnotherUser { .. } => ErrorCode::NoSuchEntity,
            Self::ServiceNotSupported { .. } => ErrorCode::NotSupportedService,
            Self::LimitExceeded { .. } => ErrorCode::LimitExceeded,
            Self::UserExists { .. } => ErrorCode::EntityAlreadyExists,
            Self::UserHasCredentials => ErrorCode::DeleteConflict,
            Self::Contended => ErrorCode::ConcurrentModification,
            Self::Entropy(_) | Self::Store(_) | Self::OutcomeUnknown { .. } => {
                ErrorCode::ServiceFailure
            }
        }
    }
}

macro_rules! from_invalid {
    ($($Invalid:ident),+ $(,)?) => {$(
        impl From<$Invalid> for Error {
            fn from(invalid: $Invalid) -> Self {
                Self::InvalidParameter(invalid.into())
            }
        }
    )+};
}

from_invalid!(
    InvalidAccountId,
    InvalidCredentialId,
    InvalidLifetime,
    InvalidMarker,
    InvalidMaxItems,
    InvalidServiceName,
    InvalidServiceUserName,
    InvalidStatus,
    InvalidUserId,
    InvalidUserName,
);

/// Of a service in the spelling that it was asked for in.
pub(crate) fn not_supported(service: &str) -> String {
    format!("No such service {service} is supported for Service Specific Credentials")
}

/// An error code of the interface, as its documentation spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Other writers came first, again and again (our decision).
    ConcurrentModification,
    /// The entity is still referred to.
    DeleteConflict,
    /// There is one of that name already.
    EntityAlreadyExists,
    /// The request contradicts itself or the state of things.
    InvalidInput,
    /// There can be no more of these.
    LimitExceeded,
    /// There is no such user or credential.
    NoSuchEntity,
    /// The service takes no service-specific credentials.
    NotSupportedService,
    /// Something failed that the caller has no part in.
    ServiceFailure,
    /// A value has the wrong shape.
    ValidationError,
}

impl ErrorCode {
    /// The code, as it stands in a response.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentModification => "ConcurrentModification",
            Self::DeleteConflict => "DeleteConflict",
            Self::EntityAlreadyExists => "EntityAlreadyExists",
            Self::InvalidInput => "InvalidInput",
            Self::LimitExceeded => "LimitExceeded",
            Self::NoSuchEntity => "NoSuchEntity",
            Self::NotSupportedService => "NotSupportedService",
            Self::ServiceFailure => "ServiceFailure",
            Self::ValidationError => "ValidationError",
        }
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidInput | Self::ValidationError => 400,
            Self::NoSuchEntity | Self::NotSupportedService => 404,
            Self::ConcurrentModification
            | Self::DeleteConflict
            | Self::EntityAlreadyExists
            | Self::LimitExceeded => 409,
            Self::ServiceFailure => 500,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
