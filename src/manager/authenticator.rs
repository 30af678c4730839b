use std::sync::Arc;

use super::{Identity, Shared, authentication::Scope};
use crate::{
    clock::Clock,
    entropy::SystemEntropy,
    error::AuthenticationError,
    names::service_name::ServiceName,
    policy::Policy,
    store::{
        AsyncStore, Store,
        sync_adapter::{SyncAdapter, poll_ready},
        verified::Verified,
    },
};

/// Authenticates for all accounts of a store: the account is the one that the presented name ends
/// in. For a server that serves many accounts, and issues nothing.
///
/// ```
/// use std::sync::Arc;
/// use service_specific_credentials::{
///     Authenticator, CredentialManager, MemoryStore, Policy, SystemClock,
/// };
///
/// let store = Arc::new(MemoryStore::new());
/// let iam = CredentialManager::new("123456789012".parse()?, Arc::clone(&store));
/// let anika = "anika".parse()?;
/// let codecommit = "codecommit.amazonaws.com".parse()?;
/// iam.register_user(&anika)?;
/// let issued = iam.create(&anika, &codecommit)?;
///
/// let door = Authenticator::new(store, Policy::default(), SystemClock);
/// let who = door.authenticate(&codecommit, issued.name().as_str(), issued.secret().expose())?;
/// assert_eq!(who.account(), iam.account());
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
    /// Authenticates against `store`.
    pub fn new(store: S, policy: Policy, clock: impl Clock + 'static) -> Self {
        Self(AsyncAuthenticator::new(SyncAdapter::new(store), policy, clock))
    }

    /// Who presents this service user name and password. See
    /// [`CredentialManager::authenticate`](crate::CredentialManager::authenticate).
    ///
    /// # Errors
    ///
    /// [`Denied`](AuthenticationError::Denied) if they do not open the service,
    /// [`Unavailable`](AuthenticationError::Unavailable) if the store failed.
    pub fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate(service, name, password))
    }

    /// Who presents this API key. See
    /// [`CredentialManager::authenticate_api_key`](crate::CredentialManager::authenticate_api_key).
    ///
    /// # Errors
    ///
    /// [`Denied`](AuthenticationError::Denied) if it does not open the service,
    /// [`Unavailable`](AuthenticationError::Unavailable) if the store failed.
    pub fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate_api_key(service, secret))
    }
}

impl<S> Clone for Authenticator<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// [`Authenticator`] for stores that wait.
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
    /// Authenticates against `store`.
    pub fn new(store: S, policy: Policy, clock: impl Clock + 'static) -> Self {
        let (store, clock, entropy) = (Verified(store), Box::new(clock), Box::new(SystemEntropy));
        Self { shared: Arc::new(Shared { store, policy, clock, entropy }) }
    }

    /// Who presents this service user name and password.
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

    /// Who presents this API key.
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
}

impl<S> Clone for AsyncAuthenticator<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}
