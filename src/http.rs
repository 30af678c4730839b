//! Authenticates HTTP requests by their headers: returns an identity, or a response that rejects
//! the request.
//!
//! [`HttpAuthenticator`], or [`AsyncHttpAuthenticator`] over an async store, authenticates requests
//! to one service. It reads the `Authorization` header and returns the identity, or a
//! [`Rejection`], which converts into a response of any server that uses the [`http`] crate:
//!
//! ```
//! use http::{HeaderMap, Response, header::AUTHORIZATION};
//! use service_specific_credentials::{CredentialManager, MemoryStore, http::HttpAuthenticator};
//!
//! let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
//! iam.register_user(&"anika".parse()?)?;
//! iam.create(&"anika".parse()?, &"codecommit.amazonaws.com".parse()?)?;
//! let authenticator = HttpAuthenticator::new(&iam, "codecommit.amazonaws.com".parse()?)?;
//!
//! let mut headers = HeaderMap::new();
//! // anika+1-at-123456789012:guess
//! headers.insert(AUTHORIZATION, "Basic YW5pa2ErMS1hdC0xMjM0NTY3ODkwMTI6Z3Vlc3M=".parse()?);
//! let rejection = authenticator.authenticate(&headers).unwrap_err();
//! assert_eq!(rejection.reason().as_str(), "wrong-secret"); // for the log
//!
//! let response: Response<String> = rejection.into(); // for the client
//! assert_eq!(response.status(), 401);
//! assert_eq!(
//!     response.headers()["www-authenticate"],
//!     r#"Basic realm="codecommit.amazonaws.com", charset="UTF-8""#,
//! );
//! assert_eq!(response.body(), "the credential is not valid for this service\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Requests
//!
//! | scheme | credential | specification |
//! |---|---|---|
//! | `Basic` | service user name and password | [RFC 7617] |
//! | `Bearer` | secret of an API key | [RFC 6750], section 2.1 |
//!
//! The name of the scheme is case-insensitive. A request with no `Authorization` header has no
//! credentials. A request is denied if it has two of these headers, another scheme, or a header
//! that does not follow its specification; [`InvalidAuthorization`] lists the cases. So is a
//! service user name, a password or a secret of more than 512 bytes.
//!
//! # Responses
//!
//! | reason | status | header |
//! |---|---|---|
//! | no credentials | 401 | `WWW-Authenticate` |
//! | invalid header | 401 | `WWW-Authenticate` |
//! | denied | 401 | `WWW-Authenticate` |
//! | the store is unavailable | 503 | `Retry-After` |
//!
//! The challenge is `Basic realm="…", charset="UTF-8"` for a service with passwords, and
//! `Bearer realm="…"` for a service with API keys, with `error="invalid_token"` if the request had
//! a token. An unavailable store never leads to a 401: on a 401, clients such as Git delete the
//! stored password. The body is one line of plain text, the same for an invalid header and for
//! every denial; the [reason](RejectionReason) is for logs.
//!
//! # Anonymous requests
//!
//! A request without credentials is rejected unless the server decides otherwise, as for a public
//! repository that everyone may read:
//!
//! ```
//! use http::{HeaderMap, Method};
//! use service_specific_credentials::{
//!     Identity, MemoryStore,
//!     http::{HttpAuthenticator, Rejection},
//! };
//!
//! fn identify(
//!     authenticator: &HttpAuthenticator<MemoryStore>,
//!     method: &Method,
//!     headers: &HeaderMap,
//! ) -> Result<Option<Identity>, Rejection> {
//!     match authenticator.authenticate(headers) {
//!         Ok(identity) => Ok(Some(identity)),
//!         Err(rejection) if method == Method::GET && rejection.is_missing_credentials() => {
//!             Ok(None)
//!         }
//!         Err(rejection) => Err(rejection),
//!     }
//! }
//! ```
//!
//! # Secrets
//!
//! The decoded header is kept in one buffer of fixed size, which is zeroized when it is dropped.
//! Nothing is allocated to authenticate a request. No `Debug` output, error or response contains
//! any part of the header. The header itself is in buffers of the HTTP server, which are not
//! zeroized; remove it from the request before handlers or logs see it.
//!
//! # Timing
//!
//! A request with no credentials or with an invalid header is rejected without a digest and without
//! a look-up. The time tells a client only what it sent. For everything else,
//! [`CredentialManager::authenticate`](crate::CredentialManager::authenticate) applies: an unknown
//! name costs the same digest and comparison as a wrong password.
//!
//! [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
//! [RFC 7617]: https://www.rfc-editor.org/rfc/rfc7617

mod authenticator;
mod challenge;
mod credentials;
mod rejection;

pub use authenticator::{AsyncHttpAuthenticator, HttpAuthenticator};
pub use challenge::InvalidRealm;
pub use credentials::{Credentials, DecodeBuffer, InvalidAuthorization};
pub use rejection::{Rejection, RejectionReason};
