//! The rejection of a request, and the response to it.

use std::{error::Error, fmt};

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::InvalidAuthorization;
use crate::{manager::authentication::error::Denial, store_error::StoreError};

/// A request was not authenticated.
///
/// It converts into a response with status, headers and a line of plain text, for any body type
/// that converts from text, such as [`String`], `Vec<u8>`, or the bodies of `axum` and
/// `http-body-util`: `Response::from(rejection)`. In a function that returns `Result<_,
/// Response<B>>`, `?` converts it. A server with its own error format uses [`status`](Self::status)
/// and [`header`](Self::header).
///
/// Its `Display` output, like that of its [reason](Self::reason), contains no part of the request.
#[derive(Debug)]
pub struct Rejection {
    reason: RejectionReason,
    header: HeaderValue,
}

impl Rejection {
    pub(super) const fn challenged(reason: RejectionReason, challenge: HeaderValue) -> Self {
        Self { reason, header: challenge }
    }

    pub(super) const fn unavailable(error: StoreError) -> Self {
        // Seconds (our decision).
        let header = HeaderValue::from_static("1");
        Self { reason: RejectionReason::Unavailable(error), header }
    }

    /// Why the request was not authenticated, for logs.
    #[must_use]
    pub const fn reason(&self) -> &RejectionReason {
        &self.reason
    }

    /// Whether the request had no `Authorization` header. A server may treat it as anonymous.
    ///
    /// False for every header that is invalid or denied: a client that tries to authenticate must
    /// learn that it failed.
    #[must_use]
    pub const fn is_missing_credentials(&self) -> bool {
        matches!(self.reason, RejectionReason::MissingCredentials)
    }

    /// 401, or 503 if the store is unavailable.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.reason {
            RejectionReason::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The header that accompanies the status: `WWW-Authenticate` for a 401, `Retry-After` for a
    /// 503.
    #[must_use]
    pub const fn header(&self) -> (HeaderName, &HeaderValue) {
        let name = match self.reason {
            RejectionReason::Unavailable(_) => RETRY_AFTER,
            _ => WWW_AUTHENTICATE,
        };
        (name, &self.header)
    }

    /// The text for the client. It does not depend on what was wrong with the credentials.
    const fn message(&self) -> &'static str {
        match self.reason {
            RejectionReason::MissingCredentials => "this service needs a credential\n",
            RejectionReason::InvalidHeader(_) | RejectionReason::Denied(_) => {
                "the credential is not valid for this service\n"
            }
            RejectionReason::Unavailable(_) => {
                "the credential cannot be verified at the moment, try again later\n"
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl<B: From<&'static str>> From<Rejection> for Response<B> {
    fn from(rejection: Rejection) -> Self {
        let mut response = Self::new(rejection.message().into());
        *response.status_mut() = rejection.status();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        let (name, value) = rejection.header();
        response.headers_mut().insert(name, value.clone());
        response
    }
}

/// Why a request was not authenticated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionReason {
    /// The request has no `Authorization` header.
    #[error("the request has no Authorization header")]
    MissingCredentials,
    /// The `Authorization` header is invalid.
    #[error("the Authorization header is invalid")]
    InvalidHeader(#[source] InvalidAuthorization),
    /// The credential does not authenticate at the service. The [reason](Denial::reason) is for
    /// logs.
    #[error(transparent)]
    Denied(Denial),
    /// The store is unavailable: whether the credential is valid is unknown.
    #[error("the store failed")]
    Unavailable(#[source] StoreError),
}

impl RejectionReason {
    /// The reason in one word, for a field of a log line: `missing-credentials`, `unavailable`, or
    /// that of the [header](InvalidAuthorization::as_str) or of the
    /// [denial](crate::DenialReason::as_str).
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::MissingCredentials => "missing-credentials",
            Self::InvalidHeader(invalid) => invalid.as_str(),
            Self::Denied(denial) => denial.reason().as_str(),
            Self::Unavailable(_) => "unavailable",
        }
    }
}
