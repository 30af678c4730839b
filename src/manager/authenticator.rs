use std::sync::Arc;

use super::{
    authentication::{Scope, error::AuthenticationError, identity::Identity},
    shared::Shared,
};
use crate::{
    clock::Clock,
    entropy::SystemEntropy,
    names::service_name::ServiceName,
    policy::Policy,
    store::{
        AsyncStore, Store,
        sync_adapter::{SyncAdapter, poll_ready},
        verified::Verified,
    },
};

/// Authenticates for all accounts of a store, for a server that serves many accounts. The account
/// is the one that the service user name ends in.
///
/// ```
/// use service_specific_credentials::{
///     Authenticator, CredentialManager, MemoryStore, Policy, SystemClock,
/// };
///
/// let store = MemoryStore::new();
/// let iam = CredentialManager::new("123456789012".parse()?, store.clone());
/// let anika = "anika".parse()?;
/// let codecommit = "codecommit.amazonaws.com".parse()?;
/// iam.register_user(&anika)?;
/// let issued = iam.create(&anika, &codecommit)?;
/// let (name, password) = (issued.service_user_name().as_str(), issued.secret().expose());
///
/// let authenticator = Authenticator::new(store, Policy::default(), SystemClock);
/// let identity = authenticator.authenticate(&codecommit, name, password)?;
/// assert_eq!(identity.account(), iam.account());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Authenticator<S>(pub(crate) AsyncAuthenticator<SyncAdapter<S>>);

impl<S> Authenticator<S> {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.0.policy()
    }
}

impl<S: Store> Authenticator<S> {
    /// An authenticator over `store`.
    pub fn new(store: S, policy: Policy, clock: impl Clock + 'static) -> Self {
        Self(AsyncAuthenticator::new(SyncAdapter::new(store), policy, clock))
    }

    /// Authenticates a service user name and a password. See
    /// [`CredentialManager::authenticate`](crate::CredentialManager::authenticate).
    ///
    /// # Errors
    ///
    /// - [`Denied`](AuthenticationError::Denied)
    /// - [`Unavailable`](AuthenticationError::Unavailable) if the store failed
    pub fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate(service, name, password))
    }

    /// Authenticates the secret of an API key. See
    /// [`CredentialManager::authenticate_api_key`](crate::CredentialManager::authenticate_api_key).
    ///
    /// # Errors
    ///
    /// - [`Denied`](AuthenticationError::Denied)
    /// - [`Unavailable`](AuthenticationError::Unavailable) if the store failed
    pub fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate_api_key(service, secret))
    }

    /// Verifies that a credential that authenticated earlier still does.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::recheck`](crate::CredentialManager::recheck).
    pub fn recheck(&self, earlier: &Identity) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.recheck(earlier))
    }
}

impl<S> Clone for Authenticator<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// [`Authenticator`] over an async store.
#[derive(Debug)]
pub struct AsyncAuthenticator<S> {
    pub(super) shared: Arc<Shared<S>>,
}

impl<S> AsyncAuthenticator<S> {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }
}

impl<S: AsyncStore> AsyncAuthenticator<S> {
    /// An authenticator over `store`.
    pub fn new(store: S, policy: Policy, clock: impl Clock + 'static) -> Self {
        let (store, clock, entropy) = (Verified(store), Box::new(clock), Box::new(SystemEntropy));
        Self { shared: Arc::new(Shared { store, policy, clock, entropy }) }
    }

    /// Authenticates a service user name and a password.
    ///
    /// # Errors
    ///
    /// As [`Authenticator::authenticate`].
    pub async fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        self.shared.authenticate(Scope::AllAccounts, service, name, password).await
    }

    /// Authenticates the secret of an API key.
    ///
    /// # Errors
    ///
    /// As [`Authenticator::authenticate_api_key`].
    pub async fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        self.shared.authenticate_api_key(Scope::AllAccounts, service, secret).await
    }

    /// Verifies that a credential that authenticated earlier still does.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::recheck`](crate::CredentialManager::recheck).
    pub async fn recheck(&self, earlier: &Identity) -> Result<Identity, AuthenticationError> {
        self.shared.recheck(Scope::AllAccounts, earlier).await
    }
}

impl<S> Clone for AsyncAuthenticator<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}
