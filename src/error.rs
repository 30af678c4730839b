use std::fmt;

use crate::{
    constraint::InvalidParameter,
    credential::{InvalidStatus, Status},
    entropy::EntropyError,
    lifetime::{InvalidLifetime, Lifetime},
    names::{
        account_id::InvalidAccountId,
        credential_id::{CredentialId, InvalidCredentialId},
        path_prefix::InvalidPathPrefix,
        service_name::{InvalidServiceName, ServiceName},
        service_user_name::InvalidServiceUserName,
        user_name::{InvalidUserName, UserName},
        user_path::InvalidUserPath,
    },
    paging::{InvalidMarker, InvalidMaxItems},
    policy::{LifetimeTooLong, UnsupportedService},
    store_error::StoreError,
    tags::{InvalidTags, Tags, TooManyTags},
    user::InvalidUserId,
};

/// An operation failed.
///
/// - Most variants: the input is invalid, or conflicts with the state. Nothing was changed; the
///   same call fails again until the input or the state changes.
/// - [`Contended`](Self::Contended): nothing was changed; retry.
/// - [`Entropy`](Self::Entropy), [`Store`](Self::Store): a dependency failed; nothing was changed.
/// - [`OutcomeUnknown`](Self::OutcomeUnknown): the store failed during a change, which was applied
///   or was not. Check before retrying.
///
/// Messages that begin with a capital letter are those of the API (*recorded* or *reported*). No
/// message contains a secret, or anything that the store or the generator reported: that is the
/// [`source`](std::error::Error::source), for logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is invalid.
    #[error(transparent)]
    InvalidParameter(InvalidParameter),

    /// Tags are invalid.
    #[error(transparent)]
    InvalidTags(#[from] InvalidTags),

    /// A request of the Query API names a user and asks for all users.
    #[error("Cannot list credentials for all users if a username is given")]
    AllUsersWithUserName,

    /// A request of the Query API names no user, and its caller is not an IAM user.
    #[error("Must specify userName when calling with non-User credentials")]
    UserNameMissing,

    /// The account has no such user.
    #[error("The user with name {user} cannot be found.")]
    #[non_exhaustive]
    NoSuchUser {
        /// The name in the request.
        user: UserName,
    },

    /// The policy does not support the service, or not for credentials of this kind.
    #[error("{}", not_supported(service.as_str()))]
    #[non_exhaustive]
    ServiceNotSupported {
        /// The service in the request.
        service: ServiceName,
    },

    /// The marker belongs to another query, or is not a marker.
    #[error("Invalid Marker.")]
    MarkerMismatch,

    /// The account has no such credential.
    #[error("No such credential {id} exists")]
    #[non_exhaustive]
    NoSuchCredential {
        /// The id in the request.
        id: CredentialId,
    },

    /// The credential belongs to another user.
    #[error("User {user} does not have a service specific credential with id {id}")]
    #[non_exhaustive]
    CredentialOfAnotherUser {
        /// The user in the request.
        user: UserName,
        /// The id in the request.
        id: CredentialId,
    },

    /// The status follows from the expiration date and cannot be set.
    #[error("Operation does not support status {status}")]
    #[non_exhaustive]
    StatusNotSettable {
        /// The status in the request.
        status: Status,
    },

    /// The credential has expired. It can only be deleted.
    #[error("service specific credential {id} has expired")]
    #[non_exhaustive]
    CredentialExpired {
        /// The id in the request.
        id: CredentialId,
    },

    /// The user has as many credentials at the service as the policy allows.
    #[error("Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: {limit}")]
    #[non_exhaustive]
    LimitExceeded {
        /// The limit of the policy.
        limit: usize,
    },

    /// The requested lifetime is longer than the policy allows.
    #[error("the lifetime must not exceed {} days", .max.as_days())]
    #[non_exhaustive]
    LifetimeTooLong {
        /// The longest lifetime that the policy allows.
        max: Lifetime,
    },

    /// The user or the credential would have more than 50 tags.
    #[error("there can be at most {max} tags", max = Tags::MAX)]
    TooManyTags,

    /// A user of that name exists.
    #[error("User with name {user} already exists.")]
    #[non_exhaustive]
    UserExists {
        /// The name in the request.
        user: UserName,
    },

    /// The user still has credentials.
    #[error("Cannot delete entity, must remove referenced objects first.")]
    UserHasCredentials,

    /// The operation lost 64 attempts to other changes of the same user. Nothing was changed.
    #[error("other changes to the user came first 64 times in a row")]
    Contended,

    /// The generator of random bytes failed, or [repeats itself](crate::RepeatedEntropy). Nothing
    /// was changed.
    #[error("the entropy source failed")]
    Entropy(#[from] EntropyError),

    /// The store could not be read, or returned something other than what it was asked for
    /// ([`CorruptIndex`](crate::store::CorruptIndex)). Nothing was changed.
    #[error("the store failed")]
    Store(#[from] StoreError),

    /// The store failed during a change, which was applied or was not.
    ///
    /// After a create or a reset, create another credential and then delete the one that is named
    /// here, if it exists: its secret is lost. (At the limit, delete first.) The order matters,
    /// because an unknown change may still be applied until a later change of the same user has
    /// returned, which fences it. Repeat any other operation as it was; that the user then exists,
    /// or no longer exists, may be its own first success.
    #[error("the store failed, and the outcome is unknown")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// The credential that the operation creates or changes, if it is one.
        id: Option<CredentialId>,
        /// The error of the store.
        source: StoreError,
    },
}

impl Error {
    /// The error code of the API.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidParameter(_)
            | Self::InvalidTags(
                InvalidTags::Key(_) | InvalidTags::Value(_) | InvalidTags::TooMany(_),
            )
            | Self::UserNameMissing
            | Self::MarkerMismatch => ErrorCode::ValidationError,
            Self::AllUsersWithUserName
            | Self::InvalidTags(InvalidTags::Reserved | InvalidTags::Repeated)
            | Self::StatusNotSettable { .. }
            | Self::CredentialExpired { .. }
            | Self::LifetimeTooLong { .. } => ErrorCode::InvalidInput,
            Self::NoSuchUser { .. }
            | Self::NoSuchCredential { .. }
            | Self::CredentialOfAnotherUser { .. } => ErrorCode::NoSuchEntity,
            Self::ServiceNotSupported { .. } => ErrorCode::NotSupportedService,
            Self::LimitExceeded { .. } | Self::TooManyTags => ErrorCode::LimitExceeded,
            Self::UserExists { .. } => ErrorCode::EntityAlreadyExists,
            Self::UserHasCredentials => ErrorCode::DeleteConflict,
            Self::Contended => ErrorCode::ConcurrentModification,
            Self::Entropy(_) | Self::Store(_) | Self::OutcomeUnknown { .. } => {
                ErrorCode::ServiceFailure
            }
        }
    }
}

impl From<UnsupportedService> for Error {
    fn from(UnsupportedService(service): UnsupportedService) -> Self {
        Self::ServiceNotSupported { service }
    }
}

impl From<TooManyTags> for Error {
    fn from(TooManyTags: TooManyTags) -> Self {
        Self::TooManyTags
    }
}

impl From<LifetimeTooLong> for Error {
    fn from(LifetimeTooLong { max }: LifetimeTooLong) -> Self {
        Self::LifetimeTooLong { max }
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
    InvalidPathPrefix,
    InvalidServiceName,
    InvalidServiceUserName,
    InvalidStatus,
    InvalidUserId,
    InvalidUserName,
    InvalidUserPath,
);

/// The message for a service in the spelling of the request.
pub(crate) fn not_supported(service: &str) -> String {
    format!("No such service {service} is supported for Service Specific Credentials")
}

/// An error code of the API, as documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The operation lost its attempts to concurrent changes (our decision).
    ConcurrentModification,
    /// The entity is still referenced.
    DeleteConflict,
    /// An entity of that name exists.
    EntityAlreadyExists,
    /// The request contradicts itself or the state.
    InvalidInput,
    /// A limit is exceeded.
    LimitExceeded,
    /// The user or the credential does not exist.
    NoSuchEntity,
    /// The service does not support service-specific credentials.
    NotSupportedService,
    /// An internal failure.
    ServiceFailure,
    /// A parameter is invalid.
    ValidationError,
}

impl ErrorCode {
    /// The code as a response contains it.
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
