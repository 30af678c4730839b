//! Error responses: status, code and message of each error, in two dialects.

use http::{HeaderValue, Response, StatusCode, header::ALLOW};

use super::{
    Request, RequestError, RequestId,
    body::ResponseBody,
    xml::{self, root},
};
use crate::error::{Error, ErrorCode, not_supported};

/// The dialect of two errors. Messages are the same in both.
///
/// | error | documented | recorded |
/// |---|---|---|
/// | the service is not supported | 404 `NotSupportedService` | 404 `NoSuchEntity` |
/// | the credential is another user's | 404 `NoSuchEntity` | 400 `ValidationError` |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As the API documents them.
    #[default]
    Documented,
    /// As the real service returns them (*recorded*).
    Recorded,
}

/// An error response in the form of the API: of this crate's errors, or of the caller's own.
///
/// ```
/// use http::StatusCode;
/// use service_specific_credentials::query::{ErrorResponse, RequestId};
///
/// let id = RequestId::random();
/// let error = ErrorResponse::new(
///     StatusCode::FORBIDDEN,
///     "AccessDenied",
///     "Only administrators may create users",
/// );
/// let response = error.response(id);
/// assert_eq!(response.status(), 403);
/// assert_eq!(response.headers()["x-amzn-requestid"], id.to_string());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ErrorResponse {
    /// An error of the caller's own. The message may contain any characters.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The error of a manager in a dialect. The response contains nothing of what a store reports.
    #[must_use]
    pub fn from_error(error: &Error, dialect: Dialect) -> Self {
        if let Error::InvalidParameter(invalid) = error {
            return RequestError::Invalid(vec![*invalid]).into();
        }
        let code = match (error, dialect) {
            (Error::ServiceNotSupported { .. }, Dialect::Recorded) => ErrorCode::NoSuchEntity,
            (Error::CredentialOfAnotherUser { .. }, Dialect::Recorded) => {
                ErrorCode::ValidationError
            }
            _ => error.code(),
        };
        let status = StatusCode::from_u16(code.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, code.as_str(), message(error))
    }

    /// The error of a request: it quotes the service name in the spelling of the request.
    pub(super) fn of(request: &Request, error: &Error, dialect: Dialect) -> Self {
        let response = Self::from_error(error, dialect);
        match (error, request.service_as_sent()) {
            (Error::ServiceNotSupported { .. }, Some(sent)) => {
                Self { message: not_supported(sent), ..response }
            }
            _ => response,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The response. Characters that XML 1.0 cannot represent become U+FFFD.
    #[must_use]
    pub fn response(&self, id: RequestId) -> Response<ResponseBody> {
        let fault = if self.status.is_server_error() { "Receiver" } else { "Sender" };
        let body = xml::document(root!("ErrorResponse"), 512 + self.message.len(), |xml| {
            xml.element("Error", |xml| {
                xml.text("Type", fault)?;
                xml.text("Code", self.code)?;
                xml.text("Message", &self.message)
            })?;
            xml.text("RequestId", &id.text())
        });
        let mut response = xml::response(self.status, id, body);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

/// The message of the API, where [`Error`] prints a longer one for people.
fn message(error: &Error) -> String {
    match error {
        Error::MarkerMismatch => "Invalid Marker.".to_owned(),
        Error::CredentialExpired { id, .. } => {
            format!("service specific credential {id} has expired")
        }
        Error::LimitExceeded { limit, .. } => {
            format!("Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: {limit}")
        }
        Error::UserHasCredentials { .. } => {
            "Cannot delete entity, must remove referenced objects first.".to_owned()
        }
        Error::Contended { .. } => {
            "other changes to the user came first 64 times in a row".to_owned()
        }
        _ => error.to_string(),
    }
}

impl From<RequestError> for ErrorResponse {
    fn from(error: RequestError) -> Self {
        let (status, code) = match error {
            RequestError::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            RequestError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "MalformedInput"),
            RequestError::ContentType
            | RequestError::PercentEncoding
            | RequestError::RepeatedParameter
            | RequestError::NotANumber(_)
            | RequestError::NotABoolean(_)
            | RequestError::NotAList(_) => (StatusCode::BAD_REQUEST, "MalformedInput"),
            RequestError::MissingAction => (StatusCode::BAD_REQUEST, "MissingAction"),
            RequestError::UnknownAction { .. } => (StatusCode::BAD_REQUEST, "InvalidAction"),
            RequestError::NotSupported(_) | RequestError::EmptyList(_) | RequestError::Tags(_) => {
                (StatusCode::BAD_REQUEST, "InvalidInput")
            }
            RequestError::Invalid(_) => (StatusCode::BAD_REQUEST, "ValidationError"),
        };
        Self::new(status, code, error.to_string())
    }
}
