use std::fmt;

use self::unknown_credential::UnknownCredential;
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
        service_user_name::{InvalidServiceUserName, ServiceUserName},
        user_name::{InvalidUserName, UserName},
        user_path::InvalidUserPath,
    },
    paging::{InvalidMarker, InvalidMaxItems},
    policy::{LifetimeTooLong, UnsupportedService},
    store_error::StoreError,
    tags::{InvalidTags, Tags, TooManyTags},
    user::InvalidUserId,
};

pub(crate) mod unknown_credential;

/// An operation failed.
///
/// - Most variants: the input is invalid, or conflicts with the state. Nothing was changed; the
///   same call fails again until the input or the state changes.
/// - [`Contended`](Self::Contended): nothing was changed; retry.
/// - [`Entropy`](Self::Entropy), [`Store`](Self::Store): a dependency failed; nothing was changed.
/// - [`OutcomeUnknown`](Self::OutcomeUnknown): the store failed during a change, which was applied
///   or was not. [`resolve`](crate::CredentialManager::resolve) finds out.
///
/// [`kind`](Self::kind) has fewer cases, for callers that branch; [`code`](Self::code) is the AWS
/// error code. `Display` is for people: it names the user, the service and the credential.
/// Messages that begin with a capital letter are those of the AWS API (*recorded* or *reported*);
/// where that names too little, `Display` has our own words, and
/// `query::ErrorResponse` the message of the API. No message contains a secret,
/// or anything that the store or the generator reported: that is the
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
    #[error("the marker belongs to another listing, or is not a marker")]
    MarkerMismatch,

    /// The account has no such credential.
    #[error("No such credential {id} exists")]
    #[non_exhaustive]
    NoSuchCredential {
        /// The id in the request.
        id: CredentialId,
    },

    /// The account has no credential of that service user name at the service.
    #[error("no credential at {service} has the service user name {name}")]
    #[non_exhaustive]
    NoSuchServiceUser {
        /// The service.
        service: ServiceName,
        /// The service user name.
        name: ServiceUserName,
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
    #[error("the credential {id} of user {user} at {service} has expired and can only be deleted")]
    #[non_exhaustive]
    CredentialExpired {
        /// The user.
        user: UserName,
        /// The service of the credential.
        service: ServiceName,
        /// The id in the request.
        id: CredentialId,
    },

    /// The user has as many credentials at the service as the policy allows.
    #[error("user {user} has reached the limit of {limit} credentials at {service}")]
    #[non_exhaustive]
    LimitExceeded {
        /// The user.
        user: UserName,
        /// The service.
        service: ServiceName,
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
    #[error("user {user} still has credentials")]
    #[non_exhaustive]
    UserHasCredentials {
        /// The user.
        user: UserName,
    },

    /// The operation lost 64 attempts to other changes of the same user. Nothing was changed.
    #[error("other changes of user {user} came first 64 times in a row")]
    #[non_exhaustive]
    Contended {
        /// The user.
        user: UserName,
    },

    /// The generator of random bytes failed, or [repeats itself](crate::RepeatedEntropy). Nothing
    /// was changed.
    #[error("the entropy source failed")]
    Entropy(#[from] EntropyError),

    /// The store could not be read, or returned records that do not match the request
    /// ([`CorruptIndex`](crate::store::CorruptIndex)). Nothing was changed.
    #[error("the store failed")]
    Store(#[from] StoreError),

    /// The store failed during a change, which was applied or was not.
    ///
    /// If it is a change of a credential, [`resolve`](crate::CredentialManager::resolve) tells
    /// whether the credential exists, and deletes it if its secret was lost. Repeat a change of a
    /// user as it was; that the user then exists, or no longer exists, may be its own first
    /// success.
    #[error("the store failed, and the outcome is unknown")]
    #[non_exhaustive]
    OutcomeUnknown {
        /// The credential that the operation creates or changes, if it is one.
        credential: Option<UnknownCredential>,
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
            | Self::NoSuchServiceUser { .. }
            | Self::CredentialOfAnotherUser { .. } => ErrorCode::NoSuchEntity,
            Self::ServiceNotSupported { .. } => ErrorCode::NotSupportedService,
            Self::LimitExceeded { .. } | Self::TooManyTags => ErrorCode::LimitExceeded,
            Self::UserExists { .. } => ErrorCode::EntityAlreadyExists,
            Self::UserHasCredentials { .. } => ErrorCode::DeleteConflict,
            Self::Contended { .. } => ErrorCode::ConcurrentModification,
            Self::Entropy(_) | Self::Store(_) | Self::OutcomeUnknown { .. } => {
                ErrorCode::ServiceFailure
            }
        }
    }

    /// The kind of the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidParameter(_)
            | Self::AllUsersWithUserName
            | Self::UserNameMissing
            | Self::InvalidTags(_)
            | Self::LifetimeTooLong { .. }
            | Self::MarkerMismatch
            | Self::StatusNotSettable { .. } => ErrorKind::InvalidInput,
            Self::NoSuchUser { .. }
            | Self::ServiceNotSupported { .. }
            | Self::NoSuchCredential { .. }
            | Self::NoSuchServiceUser { .. }
            | Self::CredentialOfAnotherUser { .. } => ErrorKind::NotFound,
            Self::CredentialExpired { .. }
            | Self::UserExists { .. }
            | Self::UserHasCredentials { .. } => ErrorKind::Conflict,
            Self::LimitExceeded { .. } | Self::TooManyTags => ErrorKind::Limit,
            Self::Contended { .. } => ErrorKind::Contended,
            Self::Entropy(_) | Self::Store(_) => ErrorKind::Unavailable,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
        }
    }

    /// Whether nothing was changed and the same call may succeed later, without a change of its
    /// input or of the state: the operation was [contended](ErrorKind::Contended), or a dependency
    /// is [unavailable](ErrorKind::Unavailable). An
    /// [unknown outcome](ErrorKind::OutcomeUnknown) is resolved first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Contended | ErrorKind::Unavailable)
    }
}

/// The kind of an [`Error`]: what a caller can do about it.
///
/// ```
/// use service_specific_credentials::{CredentialManager, ErrorKind, MemoryStore};
///
/// let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
/// let error = iam.list(&"anika".parse()?).unwrap_err();
/// let status = match error.kind() {
///     ErrorKind::InvalidInput => 400,
///     ErrorKind::NotFound => 404,
///     ErrorKind::Conflict | ErrorKind::Limit | ErrorKind::Contended => 409,
///     _ => 503,
/// };
/// assert_eq!((status, error.is_retryable()), (404, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is invalid, whatever the state.
    InvalidInput,
    /// The user, the credential or the service does not exist.
    NotFound,
    /// The input conflicts with the state: a user of that name exists, for example.
    Conflict,
    /// The user has as many credentials as the policy allows, or there would be too many tags.
    Limit,
    /// The operation lost its attempts to other changes. Nothing was changed; retry.
    Contended,
    /// The store or the generator of random bytes failed. Nothing was changed; retry later.
    Unavailable,
    /// The store failed during a change, which was applied or was not.
    OutcomeUnknown,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifetime::Lifetime;

    /// The number of variants.
    const VARIANTS: usize = 21;

    /// The position of a variant. Adding a variant breaks this match: add a row to the table too.
    fn position(error: &Error) -> usize {
        match error {
            Error::InvalidParameter(_) => 0,
            Error::AllUsersWithUserName => 1,
            Error::UserNameMissing => 2,
            Error::NoSuchUser { .. } => 3,
            Error::ServiceNotSupported { .. } => 4,
            Error::MarkerMismatch => 5,
            Error::NoSuchCredential { .. } => 6,
            Error::CredentialOfAnotherUser { .. } => 7,
            Error::StatusNotSettable { .. } => 8,
            Error::CredentialExpired { .. } => 9,
            Error::LimitExceeded { .. } => 10,
            Error::UserExists { .. } => 11,
            Error::UserHasCredentials { .. } => 12,
            Error::Contended { .. } => 13,
            Error::Entropy(_) => 14,
            Error::Store(_) => 15,
            Error::OutcomeUnknown { .. } => 16,
            Error::NoSuchServiceUser { .. } => 17,
            Error::InvalidTags(_) => 18,
            Error::LifetimeTooLong { .. } => 19,
            Error::TooManyTags => 20,
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_variant_has_a_kind_a_code_and_a_message_for_people() {
        let user = || "anika".parse::<UserName>().unwrap();
        let service = || "git.example.com".parse::<ServiceName>().unwrap();
        let id = || "ACCA12345ABCDEXAMPLE".parse::<CredentialId>().unwrap();
        let source = || StoreError::new("10.0.0.7 is down");
        let table = [
            (
                Lifetime::days(0).unwrap_err().into(),
                ErrorKind::InvalidInput,
                "ValidationError",
                false,
                "credential age in days must have value greater than or equal to 1",
            ),
            (
                Error::AllUsersWithUserName,
                ErrorKind::InvalidInput,
                "InvalidInput",
                false,
                "Cannot list credentials for all users if a username is given",
            ),
            (
                Error::UserNameMissing,
                ErrorKind::InvalidInput,
                "ValidationError",
                false,
                "Must specify userName when calling with non-User credentials",
            ),
            (
                Error::NoSuchUser { user: user() },
                ErrorKind::NotFound,
                "NoSuchEntity",
                false,
                "The user with name anika cannot be found.",
            ),
            (
                Error::ServiceNotSupported { service: service() },
                ErrorKind::NotFound,
                "NotSupportedService",
                false,
                "No such service git.example.com is supported for Service Specific Credentials",
            ),
            (
                Error::MarkerMismatch,
                ErrorKind::InvalidInput,
                "ValidationError",
                false,
                "the marker belongs to another listing, or is not a marker",
            ),
            (
                Error::NoSuchCredential { id: id() },
                ErrorKind::NotFound,
                "NoSuchEntity",
                false,
                "No such credential ACCA12345ABCDEXAMPLE exists",
            ),
            (
                Error::CredentialOfAnotherUser { user: user(), id: id() },
                ErrorKind::NotFound,
                "NoSuchEntity",
                false,
                "User anika does not have a service specific credential with id \
                 ACCA12345ABCDEXAMPLE",
            ),
            (
                Error::StatusNotSettable { status: Status::Expired },
                ErrorKind::InvalidInput,
                "InvalidInput",
                false,
                "Operation does not support status Expired",
            ),
            (
                Error::CredentialExpired { user: user(), service: service(), id: id() },
                ErrorKind::Conflict,
                "InvalidInput",
                false,
                "the credential ACCA12345ABCDEXAMPLE of user anika at git.example.com has expired \
                 and can only be deleted",
            ),
            (
                Error::LimitExceeded { user: user(), service: service(), limit: 2 },
                ErrorKind::Limit,
                "LimitExceeded",
                false,
                "user anika has reached the limit of 2 credentials at git.example.com",
            ),
            (
                Error::UserExists { user: user() },
                ErrorKind::Conflict,
                "EntityAlreadyExists",
                false,
                "User with name anika already exists.",
            ),
            (
                Error::UserHasCredentials { user: user() },
                ErrorKind::Conflict,
                "DeleteConflict",
                false,
                "user anika still has credentials",
            ),
            (
                Error::Contended { user: user() },
                ErrorKind::Contended,
                "ConcurrentModification",
                true,
                "other changes of user anika came first 64 times in a row",
            ),
            (
                EntropyError::new("the device is gone").into(),
                ErrorKind::Unavailable,
                "ServiceFailure",
                true,
                "the entropy source failed",
            ),
            (source().into(), ErrorKind::Unavailable, "ServiceFailure", true, "the store failed"),
            (
                Error::OutcomeUnknown { credential: None, source: source() },
                ErrorKind::OutcomeUnknown,
                "ServiceFailure",
                false,
                "the store failed, and the outcome is unknown",
            ),
            (
                Error::NoSuchServiceUser {
                    service: service(),
                    name: "anika+1-at-123456789012".parse().unwrap(),
                },
                ErrorKind::NotFound,
                "NoSuchEntity",
                false,
                "no credential at git.example.com has the service user name \
                 anika+1-at-123456789012",
            ),
            (
                Tags::from_pairs([("aws:team", "")]).unwrap_err().into(),
                ErrorKind::InvalidInput,
                "InvalidInput",
                false,
                "tag keys must not begin with `aws:`",
            ),
            (
                Error::LifetimeTooLong { max: Lifetime::days(30).unwrap() },
                ErrorKind::InvalidInput,
                "InvalidInput",
                false,
                "the lifetime must not exceed 30 days",
            ),
            (
                Error::TooManyTags,
                ErrorKind::Limit,
                "LimitExceeded",
                false,
                "there can be at most 50 tags",
            ),
        ];
        for (position_in_table, (error, kind, code, is_retryable, message)) in
            table.iter().enumerate()
        {
            assert_eq!(position(error), position_in_table, "each variant once: {error:?}");
            assert_eq!(error.kind(), *kind, "{error:?}");
            assert_eq!(error.code().as_str(), *code, "{error:?}");
            assert_eq!(error.is_retryable(), *is_retryable, "{error:?}");
            assert_eq!(error.to_string(), *message);
            assert!(!error.to_string().contains("10.0.0.7"), "what the store reports is for logs");
        }
        assert_eq!(table.len(), VARIANTS);
    }
}
