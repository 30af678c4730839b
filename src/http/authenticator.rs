//! Authenticates requests to one service, over a sync or an async store.

use http::HeaderMap;

use super::{
    Credentials, DecodeBuffer, InvalidAuthorization, InvalidRealm, Rejection, RejectionReason,
    challenge::Challenge,
};
#[cfg(feature = "tracing")]
use crate::manager::trace;
use crate::{
    error::Error,
    manager::{
        CredentialManager,
        async_manager::AsyncCredentialManager,
        authentication::{error::AuthenticationError, identity::Identity},
        authenticator::{AsyncAuthenticator, Authenticator},
    },
    names::{account_id::AccountId, service_name::ServiceName},
    policy::Policy,
    store::{
        AsyncStore, Store,
        sync_adapter::{SyncAdapter, poll_ready},
    },
};

/// Authenticates HTTP requests to one service.
///
/// Cheap to clone; clones share the store. The [module](super) describes which requests are
/// authenticated, and how others are rejected.
#[derive(Debug)]
pub struct HttpAuthenticator<S>(AsyncHttpAuthenticator<SyncAdapter<S>>);

impl<S> HttpAuthenticator<S> {
    /// Authenticates the users of the manager's account at `service`.
    ///
    /// The realm of the challenge is the name of the service.
    ///
    /// # Errors
    ///
    /// [`ServiceNotSupported`](Error::ServiceNotSupported) if the policy does not support the
    /// service: every request would be denied.
    pub fn new(manager: &CredentialManager<S>, service: ServiceName) -> Result<Self, Error> {
        AsyncHttpAuthenticator::new(&manager.0, service).map(Self)
    }

    /// Authenticates the users of all accounts at `service`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn all_accounts(
        authenticator: &Authenticator<S>,
        service: ServiceName,
    ) -> Result<Self, Error> {
        AsyncHttpAuthenticator::all_accounts(&authenticator.0, service).map(Self)
    }

    /// Sets the realm of the challenge: what a browser shows when it asks for a password.
    ///
    /// # Errors
    ///
    /// If the realm contains a character other than printable ASCII.
    pub fn with_realm(self, realm: &str) -> Result<Self, InvalidRealm> {
        self.0.with_realm(realm).map(Self)
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> &ServiceName {
        self.0.service()
    }
}

impl<S: Store> HttpAuthenticator<S> {
    /// Authenticates a request by its headers. Allocates nothing if it succeeds.
    ///
    /// # Errors
    ///
    /// [`Rejection`], with the [reason](RejectionReason) for logs and the response for the client.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Rejection> {
        poll_ready(self.0.authenticate(headers))
    }
}

impl<S> Clone for HttpAuthenticator<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// [`HttpAuthenticator`] for async stores.
#[derive(Debug)]
pub struct AsyncHttpAuthenticator<S> {
    accounts: Accounts<S>,
    service: ServiceName,
    challenge: Challenge,
}

/// The accounts whose users are authenticated.
#[derive(Debug)]
enum Accounts<S> {
    One(AsyncCredentialManager<S>),
    All(AsyncAuthenticator<S>),
}

impl<S> Accounts<S> {
    fn policy(&self) -> &Policy {
        match self {
            Self::One(manager) => manager.policy(),
            Self::All(authenticator) => authenticator.policy(),
        }
    }

    /// `None` for all accounts.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "for events"))]
    const fn account(&self) -> Option<AccountId> {
        match self {
            Self::One(manager) => Some(manager.account()),
            Self::All(_) => None,
        }
    }
}

impl<S> AsyncHttpAuthenticator<S> {
    /// Authenticates the users of the manager's account at `service`.
    ///
    /// The realm of the challenge is the name of the service.
    ///
    /// # Errors
    ///
    /// As [`HttpAuthenticator::new`].
    pub fn new(manager: &AsyncCredentialManager<S>, service: ServiceName) -> Result<Self, Error> {
        Self::of(Accounts::One(manager.clone()), service)
    }

    /// Authenticates the users of all accounts at `service`.
    ///
    /// # Errors
    ///
    /// As [`HttpAuthenticator::new`].
    pub fn all_accounts(
        authenticator: &AsyncAuthenticator<S>,
        service: ServiceName,
    ) -> Result<Self, Error> {
        Self::of(Accounts::All(authenticator.clone()), service)
    }

    #[expect(clippy::expect_used, reason = "a service name is printable ASCII")]
    fn of(accounts: Accounts<S>, service: ServiceName) -> Result<Self, Error> {
        let (_, kind) = accounts.policy().supported(&service)?;
        let challenge = Challenge::new(kind, service.as_str()).expect("printable ASCII");
        Ok(Self { accounts, service, challenge })
    }

    /// Sets the realm of the challenge: what a browser shows when it asks for a password.
    ///
    /// # Errors
    ///
    /// As [`HttpAuthenticator::with_realm`].
    pub fn with_realm(self, realm: &str) -> Result<Self, InvalidRealm> {
        Ok(Self { challenge: self.challenge.of_realm(realm)?, ..self })
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> &ServiceName {
        &self.service
    }
}

impl<S: AsyncStore> AsyncHttpAuthenticator<S> {
    /// Authenticates a request by its headers. Allocates nothing if it succeeds.
    ///
    /// The future is [`Send`] and may be dropped at any point.
    ///
    /// # Errors
    ///
    /// As [`HttpAuthenticator::authenticate`].
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Rejection> {
        // Part of the future, which is pinned, so the buffer is not moved and leaves no copy
        // behind.
        let mut buffer = DecodeBuffer::new();
        let credentials = Credentials::parse(headers, &mut buffer);
        let had_token = matches!(
            credentials,
            Ok(Some(Credentials::Bearer { .. })) | Err(InvalidAuthorization::Token)
        );
        let reason = match credentials {
            Ok(Some(credentials)) => match self.verify(credentials).await {
                Ok(identity) => return Ok(identity),
                Err(AuthenticationError::Denied(denial)) => RejectionReason::Denied(denial),
                Err(AuthenticationError::Unavailable(error)) => {
                    return Err(Rejection::unavailable(error));
                }
            },
            Ok(None) => RejectionReason::MissingCredentials,
            Err(invalid) => {
                self.trace(invalid);
                RejectionReason::InvalidHeader(invalid)
            }
        };
        Err(Rejection::challenged(reason, self.challenge.header(had_token)))
    }

    async fn verify(&self, credentials: Credentials<'_>) -> Result<Identity, AuthenticationError> {
        let service = &self.service;
        match (&self.accounts, credentials) {
            (Accounts::One(manager), Credentials::Basic { name, password }) => {
                manager.authenticate(service, name, password).await
            }
            (Accounts::One(manager), Credentials::Bearer { token }) => {
                manager.authenticate_api_key(service, token).await
            }
            (Accounts::All(authenticator), Credentials::Basic { name, password }) => {
                authenticator.authenticate(service, name, password).await
            }
            (Accounts::All(authenticator), Credentials::Bearer { token }) => {
                authenticator.authenticate_api_key(service, token).await
            }
        }
    }

    /// Emits the event of a denial that the manager does not see. A request without credentials is
    /// not a denial: clients such as Git begin with one.
    #[cfg(feature = "tracing")]
    fn trace(&self, invalid: InvalidAuthorization) {
        trace::invalid_request(self.accounts.account(), &self.service, invalid.as_str());
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "nothing is emitted")]
    const fn trace(&self, _: InvalidAuthorization) {}
}

impl<S> Clone for AsyncHttpAuthenticator<S> {
    fn clone(&self) -> Self {
        let accounts = match &self.accounts {
            Accounts::One(manager) => Accounts::One(manager.clone()),
            Accounts::All(authenticator) => Accounts::All(authenticator.clone()),
        };
        Self { accounts, service: self.service.clone(), challenge: self.challenge.clone() }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::{secret::digest::tests::COMPUTED, store::memory::MemoryStore};

    #[test]
    fn only_a_valid_header_costs_a_digest_whether_its_name_is_known_or_not() {
        let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
        let anika = "anika".parse().unwrap();
        let service: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
        iam.register_user(&anika).unwrap();
        let issued = iam.create(&anika, &service).unwrap();
        let (name, password) = (issued.service_user_name().as_str(), issued.secret().expose());
        let authenticator = HttpAuthenticator::new(&iam, service).unwrap();

        let basic = |name: &str, password: &str| {
            format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
        };
        for (value, digests, reason) in [
            (None, 0, "missing-credentials"),
            (Some(String::new()), 0, "unsupported-scheme"),
            (Some("Basic !".to_owned()), 0, "invalid-base64"),
            (Some("Basic YQ==".to_owned()), 0, "missing-colon"),
            (Some("Bearer a".to_owned()), 0, "unsupported-service"),
            (Some(basic(name, &"a".repeat(513))), 0, "too-long"),
            (Some(basic("nobody", "wrong")), 1, "unknown-name"),
            (Some(basic(name, "wrong")), 1, "wrong-secret"),
            (Some(basic(name, password)), 1, "none"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            COMPUTED.set(0);
            let result = authenticator.authenticate(&headers);
            let told = result.as_ref().err().map_or("none", |error| error.reason().as_str());
            assert_eq!((COMPUTED.get(), told), (digests, reason));
        }
    }
}
