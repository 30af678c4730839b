use std::{error::Error as StdError, io};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::CancellationReason,
};

use crate::record::codec::DecodeError;

/// Why a [`DynamoDbStore`](super::DynamoDbStore) failed.
///
/// A [`StoreError`](crate::store::StoreError) of the store holds one of these: see
/// [`get_ref`](crate::store::StoreError::get_ref) and `downcast_ref`. It never contains a secret;
/// it may name the table, the endpoint, and the identity that AWS reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DynamoDbError {
    /// The environment names no region, in `AWS_REGION` or in the profile.
    #[error("no region is configured")]
    NoRegion,
    /// The endpoint cannot be reached: the connection was not established. Try again.
    #[error("the endpoint cannot be reached")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection was lost before the response arrived. Try again.
    #[error("the connection was lost")]
    ConnectionLost(#[source] Box<dyn StdError + Send + Sync>),
    /// No response arrived in [time](super::DynamoDbOptions::attempt_timeout). Try again.
    #[error("no response arrived in time")]
    TimedOut,
    /// DynamoDB failed with an internal error, or the response is not one of DynamoDB. Try again.
    #[error("DynamoDB failed with status {status}")]
    #[non_exhaustive]
    Unavailable {
        /// The status of the response: 500 or higher, or any status of a response without an error
        /// code.
        status: u16,
    },
    /// DynamoDB limited the rate of requests. Try again.
    #[error("DynamoDB limits the rate of requests: {code}")]
    #[non_exhaustive]
    Throttled {
        /// The error code.
        code: String,
    },
    /// Each attempt conflicted with a transaction on the same items. Try again.
    #[error("each attempt conflicted with another transaction")]
    Contended,
    /// The credentials are missing, have expired, or are not known to AWS.
    #[error("AWS rejects the credentials: {code}")]
    #[non_exhaustive]
    Credentials {
        /// The error code.
        code: String,
    },
    /// The credentials lack a permission: see the [policy](super::DynamoDbStore#permissions).
    #[error("the credentials lack a permission: {message}")]
    #[non_exhaustive]
    Denied {
        /// What AWS reports: the identity, the action and the table.
        message: String,
    },
    /// There is no such table in the region.
    #[error("the table does not exist")]
    TableMissing,
    /// The table exists, and was not set up by
    /// [`create_table`](super::DynamoDbStore::create_table).
    #[error("the table has not been set up: its format is missing")]
    FormatMissing,
    /// A later release set the table up.
    #[error("the table has format {0}, which this release does not know")]
    LaterFormat(u64),
    /// The table cannot hold what the store keeps.
    #[error("the table cannot be used: {0}")]
    WrongTable(&'static str),
    /// The table is not active: it is being created, deleted or restored. Try again.
    #[error("the table is not active: its status is {0}")]
    NotActive(String),
    /// The change is larger than a transaction. Nothing was sent, and nothing was changed.
    ///
    /// All credentials of a user can be removed in one change if the [policy](crate::Policy) keeps
    /// `3 + S * (2 * C + 1)` within 100, for `S` services and `C` credentials per service.
    #[error(
        "the change writes {items} items, and a transaction at most {max}: limit the policy's \
         services (S) and credentials per service (C) so that 3 + S * (2 * C + 1) is at most \
         {max}, or delete credentials one by one",
        max = super::commit::MAX_ITEMS
    )]
    #[non_exhaustive]
    TooManyItems {
        /// How many items the change writes: its record, and each key that it releases or claims.
        items: usize,
    },
    /// A record in the table cannot be decoded.
    #[error("a record in the table cannot be decoded")]
    Record(#[source] DecodeError),
    /// An item of the table lacks an attribute, or has another type of it.
    #[error("the attribute {0} of an item is missing or not valid")]
    Item(&'static str),
    /// A key of the record is missing from the table, or is another record's.
    #[error("the table lacks a key of the record")]
    Index,
    /// It is not known whether the change was applied. Read before trying again.
    #[error("it is not known whether the change was applied")]
    Unknown(#[source] Box<Self>),
    /// DynamoDB reports another error.
    #[error("DynamoDB reports {code}: {message}")]
    #[non_exhaustive]
    Service {
        /// The error code.
        code: String,
        /// The message.
        message: String,
    },
    /// The SDK failed before it sent a request.
    #[error("the AWS SDK failed: {0}")]
    Client(String),
}

impl DynamoDbError {
    /// Whether the same call may succeed later without any change to the program, the table or the
    /// permissions. `false` if the outcome is [not known](Self::Unknown): a change that was applied
    /// must not be made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::ConnectionLost(_)
            | Self::TimedOut
            | Self::Unavailable { .. }
            | Self::Throttled { .. }
            | Self::Contended
            | Self::NotActive(_) => true,
            Self::NoRegion
            | Self::Credentials { .. }
            | Self::Denied { .. }
            | Self::TableMissing
            | Self::FormatMissing
            | Self::LaterFormat(_)
            | Self::WrongTable(_)
            | Self::TooManyItems { .. }
            | Self::Record(_)
            | Self::Item(_)
            | Self::Index
            | Self::Unknown(_)
            | Self::Service { .. }
            | Self::Client(_) => false,
        }
    }
}

/// A request failed: what may be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: DynamoDbError,
    /// Whether the next attempt may succeed.
    pub(super) transient: bool,
    /// Whether the request may have been carried out, or still may be.
    pub(super) perhaps_done: bool,
}

impl Failure {
    fn rejected(error: DynamoDbError) -> Self {
        Self { error, transient: false, perhaps_done: false }
    }

    fn postponed(error: DynamoDbError) -> Self {
        Self { error, transient: true, perhaps_done: false }
    }

    fn lost(error: DynamoDbError) -> Self {
        Self { error, transient: true, perhaps_done: true }
    }

    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(response) => Self::of_response(
                response.raw().status().as_u16(),
                response.err().code().unwrap_or_default(),
                response.err().message().unwrap_or_default(),
            ),
            SdkError::TimeoutError(_) => Self::lost(DynamoDbError::TimedOut),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::lost(DynamoDbError::TimedOut)
            }
            // The SDK takes some lost connections for other errors that may pass.
            SdkError::DispatchFailure(failure)
                if failure.is_io() || failure.as_other().is_some() =>
            {
                if is_refused(&error) {
                    Self::postponed(DynamoDbError::Unreachable(error.into()))
                } else {
                    Self::lost(DynamoDbError::ConnectionLost(error.into()))
                }
            }
            // The response was cut off, or is none of DynamoDB's.
            SdkError::ResponseError(_) => Self::lost(DynamoDbError::ConnectionLost(error.into())),
            SdkError::DispatchFailure(failure) => {
                let perhaps_done = !failure.is_user();
                let error = DynamoDbError::Client(text(&error));
                Self { error, transient: false, perhaps_done }
            }
            _ => Self::rejected(DynamoDbError::Client(text(&error))),
        }
    }

    fn of_response(status: u16, code: &str, message: &str) -> Self {
        let owned = str::to_owned;
        match code {
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling" => Self::postponed(DynamoDbError::Throttled { code: owned(code) }),
            "TransactionConflictException" | "ReplicatedWriteConflictException" => {
                Self::postponed(DynamoDbError::Contended)
            }
            // An earlier attempt with the same token is still under way.
            "TransactionInProgressException" => Self::lost(DynamoDbError::Contended),
            // Every error of DynamoDB has a code. Without one, the response is another server's, or
            // was cut off.
            _ if status >= 500 || code.is_empty() => {
                Self::lost(DynamoDbError::Unavailable { status })
            }
            "ResourceNotFoundException" => Self::rejected(DynamoDbError::TableMissing),
            "AccessDeniedException" => {
                Self::rejected(DynamoDbError::Denied { message: owned(message) })
            }
            "ExpiredTokenException"
            | "IncompleteSignatureException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "UnrecognizedClientException" => {
                Self::rejected(DynamoDbError::Credentials { code: owned(code) })
            }
            _ => Self::rejected(DynamoDbError::Service {
                code: owned(code),
                message: owned(message),
            }),
        }
    }

    /// A transaction was cancelled, though none of its conditions failed.
    pub(super) fn of_cancellation(reasons: &[CancellationReason]) -> Self {
        let mut failed = reasons.iter().filter_map(|reason| {
            let code = reason.code().filter(|code| *code != "None")?;
            Some((code, reason.message().unwrap_or_default()))
        });
        let throttled =
            |code: &str| matches!(code, "ProvisionedThroughputExceeded" | "ThrottlingError");
        // What may pass is tried again, whatever else is wrong.
        let found =
            failed.clone().find(|(code, _)| *code == "TransactionConflict" || throttled(code));
        match found.or_else(|| failed.next()) {
            None | Some(("TransactionConflict", _)) => Self::postponed(DynamoDbError::Contended),
            Some((code, _)) if throttled(code) => {
                Self::postponed(DynamoDbError::Throttled { code: code.to_owned() })
            }
            Some((code, message)) => Self::rejected(DynamoDbError::Service {
                code: code.to_owned(),
                message: message.to_owned(),
            }),
        }
    }
}

/// The message of an error, and those of its sources.
fn text(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Whether the connection was refused: nothing was sent.
fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        next = error.source();
    }
    false
}
