use std::{error::Error as StdError, io};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::CancellationReason,
};

use crate::{causes::Causes, record::codec::DecodeError};

/// The error of a [`DynamoDbStore`](super::DynamoDbStore).
///
/// A [`StoreError`](crate::store::StoreError) of the store contains it: use
/// [`get_ref`](crate::store::StoreError::get_ref) and `downcast_ref`. It never contains a secret.
/// It may contain the table, the endpoint, and the identity that AWS reports.
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
    /// The credentials are missing, have expired, or are unknown to AWS.
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
    /// The table was set up by a later release.
    #[error("the table has format {0}, which this release does not know")]
    LaterFormat(u64),
    /// The table does not fit the store's [layout](super::DynamoDbStore#layout-of-the-table).
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
        /// The number of items that the change writes: its record, and each key that it releases or
        /// claims.
        items: usize,
    },
    /// A record in the table cannot be decoded.
    #[error("a record in the table cannot be decoded")]
    Record(#[source] DecodeError),
    /// An item of the table lacks an attribute, or the attribute has another type.
    #[error("the attribute {0} of an item is missing or invalid")]
    Item(&'static str),
    /// A key of the record is missing from the table, or belongs to another record.
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

/// The failure of a request, and how to proceed after it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: DynamoDbError,
    /// Whether the next attempt may succeed.
    pub(super) transient: bool,
    /// Whether the request may have been executed, or may be executed later.
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
            // The SDK classifies some lost connections as other transient errors.
            SdkError::DispatchFailure(failure)
                if failure.is_io() || failure.as_other().is_some() =>
            {
                if is_refused(&error) {
                    Self::postponed(DynamoDbError::Unreachable(error.into()))
                } else {
                    Self::lost(DynamoDbError::ConnectionLost(error.into()))
                }
            }
            // The response was truncated, or did not come from DynamoDB.
            SdkError::ResponseError(_) => Self::lost(DynamoDbError::ConnectionLost(error.into())),
            SdkError::DispatchFailure(failure) => {
                let perhaps_done = !failure.is_user();
                let error = DynamoDbError::Client(Causes(&error).to_string());
                Self { error, transient: false, perhaps_done }
            }
            _ => Self::rejected(DynamoDbError::Client(Causes(&error).to_string())),
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
            // An earlier attempt with the same token is still in flight.
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
        // A transient reason takes precedence, so the request is retried.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: &Failure) -> (String, bool, bool) {
        (format!("{:?}", failure.error), failure.transient, failure.perhaps_done)
    }

    #[test]
    fn a_response_tells_whether_to_retry_and_whether_the_request_may_have_been_executed() {
        let (never, later, lost) = ((false, false), (true, false), (true, true));
        for (status, code, expected, (transient, perhaps_done)) in [
            (400, "ProvisionedThroughputExceededException", "Throttled", later),
            (400, "RequestLimitExceeded", "Throttled", later),
            (400, "ThrottlingException", "Throttled", later),
            (503, "Throttling", "Throttled", later),
            (400, "TransactionConflictException", "Contended", later),
            (400, "ReplicatedWriteConflictException", "Contended", later),
            (400, "TransactionInProgressException", "Contended", lost),
            (500, "InternalServerError", "Unavailable", lost),
            (599, "", "Unavailable", lost),
            (400, "", "Unavailable", lost),
            (400, "ResourceNotFoundException", "TableMissing", never),
            (400, "AccessDeniedException", "Denied", never),
            (400, "ExpiredTokenException", "Credentials", never),
            (400, "IncompleteSignatureException", "Credentials", never),
            (400, "InvalidSignatureException", "Credentials", never),
            (400, "MissingAuthenticationTokenException", "Credentials", never),
            (400, "UnrecognizedClientException", "Credentials", never),
            (400, "ValidationException", "Service", never),
            (499, "ValidationException", "Service", never),
        ] {
            let failure = Failure::of_response(status, code, "message");
            let (error, retried, executed) = shown(&failure);
            assert!(error.starts_with(expected), "{status} {code}: {error}");
            assert_eq!((retried, executed), (transient, perhaps_done), "{status} {code}");
            // A change that may have been made is not repeated by the caller.
            assert_eq!(failure.error.is_retryable(), transient, "{status} {code}");
        }
    }

    #[test]
    fn a_request_without_a_response_tells_whether_it_may_have_been_executed() {
        use aws_config::retry::ErrorKind;
        use aws_sdk_dynamodb::error::ConnectorError;

        type Lost = SdkError<aws_sdk_dynamodb::Error, HttpResponse>;
        let cause = |kind: io::ErrorKind| Box::new(io::Error::from(kind));
        let reset = || cause(io::ErrorKind::ConnectionReset);
        let refused = || cause(io::ErrorKind::ConnectionRefused);
        let (never, later, lost) = ((false, false), (true, false), (true, true));
        let dispatch: [(ConnectorError, _, _); 7] = [
            (ConnectorError::timeout(reset()), "TimedOut", lost),
            (ConnectorError::io(reset()), "ConnectionLost", lost),
            (ConnectorError::io(refused()), "Unreachable", later),
            (
                ConnectorError::other(reset(), Some(ErrorKind::TransientError)),
                "ConnectionLost",
                lost,
            ),
            (
                ConnectorError::other(refused(), Some(ErrorKind::TransientError)),
                "Unreachable",
                later,
            ),
            (ConnectorError::other(reset(), None), "Client", (false, true)),
            // The request could not be sent.
            (ConnectorError::user(reset()), "Client", never),
        ];
        let dispatch = dispatch
            .into_iter()
            .map(|(error, expected, then)| (Lost::dispatch_failure(error), expected, then));
        let others: [(Lost, _, _); 2] = [
            (Lost::timeout_error(reset()), "TimedOut", lost),
            (Lost::construction_failure(reset()), "Client", never),
        ];
        for (error, expected, then) in dispatch.chain(others) {
            let shown_error = format!("{error:?}");
            let (error, transient, perhaps_done) = shown(&Failure::of(error));
            assert!(error.starts_with(expected), "{shown_error}: {error}");
            assert_eq!((transient, perhaps_done), then, "{shown_error}");
        }
    }

    #[test]
    fn of_the_reasons_of_a_cancellation_a_transient_one_takes_precedence() {
        let reasons = |codes: &[&str]| -> Vec<_> {
            let reason = |code: &&str| CancellationReason::builder().code(*code).build();
            codes.iter().map(reason).collect()
        };
        for (codes, expected, transient) in [
            (&[][..], "Contended", true),
            (&["None", "None"], "Contended", true),
            (&["None", "TransactionConflict"], "Contended", true),
            (&["ValidationError", "TransactionConflict"], "Contended", true),
            (&["ValidationError", "ThrottlingError"], "Throttled", true),
            (&["None", "ProvisionedThroughputExceeded"], "Throttled", true),
            (&["None", "ValidationError"], "Service { code: \"ValidationError\"", false),
            (&["ItemCollectionSizeLimitExceeded"], "Service", false),
        ] {
            let (error, retried, executed) = shown(&Failure::of_cancellation(&reasons(codes)));
            assert!(error.starts_with(expected), "{codes:?}: {error}");
            assert_eq!((retried, executed), (transient, false), "{codes:?}");
        }
    }

    #[test]
    fn a_refused_connection_is_found_among_the_causes() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(is_refused(&refused));
        assert!(is_refused(&DynamoDbError::Unreachable(refused.into())));
        assert!(!is_refused(&io::Error::from(io::ErrorKind::ConnectionReset)));
        assert!(!is_refused(&DynamoDbError::TimedOut));
    }
}
