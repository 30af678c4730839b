//! The IAM Query API: a form in, XML out.
//!
//! The transport is the caller's. Requests and responses are those of the [`http`] crate. An
//! emulator is a route and a call of [`handle`] or [`handle_async`]:
//!
//! ```
//! use service_specific_credentials::{
//!     CredentialManager, MemoryStore,
//!     query::{self, Dialect, RequestId},
//! };
//!
//! let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
//! iam.register_user(&"anika".parse()?)?;
//!
//! let request = http::Request::get(
//!     "/?Action=CreateServiceSpecificCredential&Version=2010-05-08\
//!      &UserName=Anika&ServiceName=codecommit.amazonaws.com",
//! );
//! let id = RequestId::random();
//! let response = query::handle(&iam, &request.body("")?, None, Dialect::Documented, id);
//!
//! assert_eq!(response.status(), 200);
//! let xml = str::from_utf8(response.body().as_ref())?;
//! assert!(xml.contains("<ServiceUserName>anika+1-at-123456789012</ServiceUserName>"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is served
//!
//! The five operations on credentials (`CreateServiceSpecificCredential`,
//! `ListServiceSpecificCredentials`, `UpdateServiceSpecificCredential`,
//! `ResetServiceSpecificCredential`, `DeleteServiceSpecificCredential`), and eight on the users who
//! own them (`CreateUser`, `GetUser`, `UpdateUser`, `DeleteUser`, `ListUsers`, `TagUser`,
//! `UntagUser`, `ListUserTags`), with their documented parameters but one: `PermissionsBoundary` is
//! rejected. Every other action is rejected as unknown: a server with more actions parses the
//! [`Request`] first.
//!
//! User names have at most 64 characters in all actions. The service model permits 128 in those
//! that name an existing user, such as `GetUser`, but `CreateUser` and `UpdateUser` give no name of
//! more than 64. So a longer name is that of no user. It is rejected as invalid and not as missing
//! (our decision): one type, [`UserName`], has one bound.
//!
//! The parameters of a POST are in its body, which is `application/x-www-form-urlencoded`, those of
//! a GET in its query string; the path is ignored. Parameters that an action does not know are
//! ignored (*recorded*). Bytes that are not UTF-8 become U+FFFD (our decision). More than
//! [`MAX_BYTES`] are rejected.
//!
//! A parameter below the name of a list that the action takes is of a member, as
//! `Tags.member.1.Key` is, or the request is malformed (our decision). Numbers may be missing. An
//! empty `Tags` stands for an empty list, which is rejected. A violation within a list names the
//! member by its number in the request: `tags.1.member.key` (*reported*).
//!
//! Signatures and permissions are not checked. The caller of this module supplies the IAM user who
//! sent the request, and authorizes it.
//!
//! # Inside an existing endpoint
//!
//! An endpoint that has parsed a request, and has users and policies of its own, executes the
//! [`CREDENTIAL_ACTIONS`] in these steps; `examples/existing_iam` shows a whole one.
//!
//! 1. [`Request::from_pairs`] takes the parsed parameters.
//! 2. [`iam_action`](Request::iam_action), [`resource_arn`](Request::resource_arn) and
//!    [`condition_keys`](Request::condition_keys) are what its policies decide by.
//! 3. [`Request::execute`] executes the request, without parsing it again.
//!
//! Its users are registered with the manager when they are created, or before the first request
//! that names them ([`ensure_user`](CredentialManager::ensure_user)).
//!
//! # Errors and their order
//!
//! First the request must be readable, then its parameters valid ([`RequestError`] states the order
//! and reports all violations at once), then the manager executes it ([`Error`](crate::Error)). A
//! rejected request changes nothing. [`ErrorResponse`] maps each error to its status, code and
//! message.

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher as _, RandomState},
};

use uuid::Uuid;

use crate::{
    manager::{CredentialManager, async_manager::AsyncCredentialManager},
    names::user_name::UserName,
    store::{AsyncStore, Store, sync_adapter::poll_ready},
};

/// The types of the crate `http` that this module uses.
#[doc(no_inline)]
pub use ::http::{Request as HttpRequest, Response, StatusCode};
pub use authorization::{AGE_DAYS_KEY, CREDENTIAL_ACTIONS, SERVICE_NAME_KEY};
pub use body::ResponseBody;
pub use error_response::{Dialect, ErrorResponse};
pub use request::Request;
pub use request_error::RequestError;

mod action;
mod authorization;
mod body;
mod error_response;
mod form;
mod output;
mod request;
mod request_error;
mod tag_pages;
mod validator;
mod xml;

/// The maximum number of bytes of a body or a query string: 1 MiB (our decision).
pub const MAX_BYTES: usize = 1 << 20;

/// Parses and executes a request, and returns the response, an error response included.
///
/// `caller` is the IAM user that a request without a user name stands for, if the caller is one.
/// The body of the response may contain a secret: see [`ResponseBody`].
pub fn handle<S: Store, B: AsRef<[u8]>>(
    iam: &CredentialManager<S>,
    request: &HttpRequest<B>,
    caller: Option<&UserName>,
    dialect: Dialect,
    id: RequestId,
) -> Response<ResponseBody> {
    poll_ready(handle_async(&iam.0, request, caller, dialect, id))
}

/// [`handle`] with a manager of an async store.
///
/// For a future that is dropped, see [`AsyncCredentialManager`].
pub fn handle_async<S: AsyncStore, B: AsRef<[u8]>>(
    iam: &AsyncCredentialManager<S>,
    request: &HttpRequest<B>,
    caller: Option<&UserName>,
    dialect: Dialect,
    id: RequestId,
) -> impl Future<Output = Response<ResponseBody>> + Send {
    // Parsed before the future starts, so that it does not hold the body, which need not be `Sync`.
    let request = Request::read(request);
    async move {
        match request {
            Ok(request) => request.execute_async(iam, caller, dialect, id).await,
            Err(error) => ErrorResponse::from(error).response(id),
        }
    }
}

impl Request {
    /// Executes a request, and returns the response, an error response included.
    ///
    /// `caller` is the IAM user that a request without a user name stands for, if the caller is
    /// one: the same as for [`resource_arn`](Self::resource_arn). The body may contain a secret, as
    /// that of [`handle`] may.
    #[must_use = "the client waits for the response"]
    pub fn execute<S: Store>(
        &self,
        iam: &CredentialManager<S>,
        caller: Option<&UserName>,
        dialect: Dialect,
        id: RequestId,
    ) -> Response<ResponseBody> {
        poll_ready(self.execute_async(&iam.0, caller, dialect, id))
    }

    /// [`execute`](Self::execute) with a manager of an async store.
    ///
    /// For a future that is dropped, see [`AsyncCredentialManager`].
    pub async fn execute_async<S: AsyncStore>(
        &self,
        iam: &AsyncCredentialManager<S>,
        caller: Option<&UserName>,
        dialect: Dialect,
        id: RequestId,
    ) -> Response<ResponseBody> {
        match self.run(iam, caller).await {
            Ok(output) => output.response(self.action, id),
            Err(error) => ErrorResponse::of(self, &error, dialect).response(id),
        }
    }
}

/// The id of one request, in its response and in logs: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A random id. It is unique but not secret: it derives from the keys of the standard library's
    /// hash tables.
    #[must_use]
    pub fn random() -> Self {
        let half = || RandomState::new().hash_one(());
        let random = Uuid::from_u64_pair(half(), half()).into_bytes();
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    fn text(self) -> String {
        self.0.hyphenated().to_string()
    }

    /// An id that was drawn elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
