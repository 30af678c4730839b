use crate::{
    clock::Clock,
    credential::{Credential, IssuedCredential, Status},
    entropy::Entropy,
    error::{AuthenticationError, Error},
    lifetime::Lifetime,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        user_name::UserName,
    },
    policy::Policy,
    store::{
        Store,
        sync_adapter::{SyncAdapter, poll_ready},
        verified::Verified,
    },
    timestamp::Timestamp,
    user::User,
};

pub use asynchronous::AsyncCredentialManager;
pub use authentication::Identity;
pub use authenticator::{AsyncAuthenticator, Authenticator};
pub use builder::CredentialManagerBuilder;
pub use listing::{InvalidMaxItems, ListRequest, MaxItems, Page};
pub use marker::{InvalidMarker, Marker};

mod asynchronous;
mod authentication;
mod authenticator;
mod builder;
mod listing;
mod marker;
mod operation;
mod trace;

/// Issues, lists, disables, resets, deletes and authenticates the credentials of one account.
///
/// Cheap to clone; clones share one store. Every method may be called from many threads at once.
/// What is said of one user was true at one moment between call and return; of listings,
/// [`list_page`](Self::list_page) says what they promise. Concurrent changes are never lost and never
/// mixed: two credentials per user and service, each name and id once, whatever happens at the same
/// time. With the feature `tracing`, every call emits an [event](crate::events).
///
/// ```
/// use service_specific_credentials::{
///     AccountId, Lifetime, CredentialManager, ErrorCode, MemoryStore, ServiceName, Status,
///     UserName,
/// };
///
/// let account: AccountId = "123456789012".parse()?;
/// let iam = CredentialManager::new(account, MemoryStore::new());
///
/// let anika: UserName = "anika".parse()?;
/// let codecommit: ServiceName = "codecommit.amazonaws.com".parse()?;
/// iam.register_user(&anika)?;
///
/// let issued = iam.create(&anika, &codecommit)?;
/// assert_eq!(issued.name().as_str(), "anika+1-at-123456789012");
/// let password = issued.secret().expose(); // the only time
///
/// iam.create_with(&anika, &codecommit, Lifetime::days(90)?)?;
/// assert_eq!(iam.create(&anika, &codecommit).unwrap_err().code(), ErrorCode::LimitExceeded);
///
/// let who = iam.authenticate(&codecommit, "anika+1-at-123456789012", password)?;
/// assert_eq!(who.credential().id(), issued.id());
///
/// iam.set_status(&anika, issued.id(), Status::Inactive)?;
/// assert!(iam.authenticate(&codecommit, issued.name().as_str(), password).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CredentialManager<S>(pub(crate) AsyncCredentialManager<SyncAdapter<S>>);

/// What managers of one store share.
#[derive(Debug)]
struct Shared<S> {
    store: Verified<S>,
    policy: Policy,
    clock: Box<dyn Clock>,
    entropy: Box<dyn Entropy>,
}

impl<S> Shared<S> {
    fn now(&self) -> Timestamp {
        Timestamp::new(self.clock.now())
    }
}

impl<S> Clone for CredentialManager<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> CredentialManager<S> {
    /// Another manager of the same store, with the same policy, for another account.
    #[must_use]
    pub fn for_account(&self, account: AccountId) -> Self {
        Self(self.0.for_account(account))
    }

    /// An authenticator for all accounts of the same store, with the same policy.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator<S> {
        Authenticator(self.0.authenticator())
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.0.account()
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.0.policy()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        self.0.store().get_ref()
    }

    /// Manages the credentials of `account` in `store` by a policy, clock or entropy of one's own.
    pub fn builder(account: AccountId, store: S) -> CredentialManagerBuilder<S> {
        CredentialManagerBuilder::new(account, store)
    }
}

impl<S: Store> CredentialManager<S> {
    /// Manages the credentials of `account` in `store`, by the default policy.
    pub fn new(account: AccountId, store: S) -> Self {
        Self::builder(account, store).build()
    }
}

/// Credentials.
impl<S: Store> CredentialManager<S> {
    /// Makes a credential for a user at a service. It never expires.
    ///
    /// It gets the lowest number whose name is free. Each lower name that another user holds costs
    /// one more look-up.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser),
    /// [`ServiceNotSupported`](Error::ServiceNotSupported), or
    /// [`LimitExceeded`](Error::LimitExceeded) if the user has as many credentials at the service
    /// as the policy allows, inactive and expired ones included. Otherwise as [`Error`] says.
    pub fn create(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.create(user, service))
    }

    /// Makes a credential that expires: its expiration date is its creation date and `age`.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with(
        &self,
        user: &UserName,
        service: &ServiceName,
        age: Lifetime,
    ) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.create_with(user, service, age))
    }

    /// Gives a credential a new secret. From the moment this returns, the old one never
    /// authenticates again. Id, name, status and dates stay: an inactive credential stays inactive.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser),
    /// [`NoSuchCredential`](Error::NoSuchCredential) or
    /// [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser),
    /// [`ServiceNotSupported`](Error::ServiceNotSupported) if the policy no longer has its
    /// service, or [`CredentialExpired`](Error::CredentialExpired). Otherwise as [`Error`] says.
    pub fn reset(&self, user: &UserName, id: &CredentialId) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.reset(user, id))
    }

    /// Makes a credential active or inactive. The status it has already succeeds.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser),
    /// [`NoSuchCredential`](Error::NoSuchCredential) or
    /// [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser),
    /// [`StatusNotSettable`](Error::StatusNotSettable) for [`Status::Expired`], or
    /// [`CredentialExpired`](Error::CredentialExpired). Otherwise as [`Error`] says.
    pub fn set_status(
        &self,
        user: &UserName,
        id: &CredentialId,
        status: Status,
    ) -> Result<(), Error> {
        poll_ready(self.0.set_status(user, id, status))
    }

    /// Deletes a credential, expired or not.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or
    /// [`NoSuchCredential`](Error::NoSuchCredential) or
    /// [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser). Otherwise as [`Error`] says.
    pub fn delete(&self, user: &UserName, id: &CredentialId) -> Result<(), Error> {
        poll_ready(self.0.delete(user, id))
    }

    /// All credentials of a user, in order of creation, then of id. Empty if there are none.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn list(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.list(user))
    }

    /// The credentials of a user at one service, in the same order.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser),
    /// [`ServiceNotSupported`](Error::ServiceNotSupported). Otherwise as [`Error`] says.
    pub fn list_for_service(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.list_for_service(user, service))
    }

    /// A page of credentials, of one user or of all.
    ///
    /// Pages neither repeat nor skip a credential that stood through the whole listing, whatever is
    /// created or deleted between them. (Those of a user who is renamed meanwhile may be missed or
    /// repeated in a listing of all users.)
    ///
    /// ```
    /// # use service_specific_credentials::{CredentialManager, MemoryStore, ListRequest};
    /// # let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// let mut request = ListRequest::new().all_users(true);
    /// loop {
    ///     let page = iam.list_page(&request)?;
    ///     for credential in page.items {
    ///         println!("{credential:?}");
    ///     }
    ///     let Some(marker) = page.next else { break };
    ///     request = request.marker(marker);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// In this order: [`AllUsersWithUserName`](Error::AllUsersWithUserName) or
    /// [`UserNameMissing`](Error::UserNameMissing), [`NoSuchUser`](Error::NoSuchUser),
    /// [`ServiceNotSupported`](Error::ServiceNotSupported), or
    /// [`MarkerMismatch`](Error::MarkerMismatch). Otherwise as [`Error`] says.
    pub fn list_page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        poll_ready(self.0.list_page(request))
    }

    /// Who presents this service user name and password. Both are taken as they come from a
    /// stranger, and nothing is allocated.
    ///
    /// The digest of the password is computed and compared in constant time whether the name is
    /// known or not. Nothing more is claimed: names are not secret. Text that does not end in `-at-`
    /// and the account is no service user name and is not looked up: people type passwords where a
    /// name belongs, and what is looked up may reach the logs of a database.
    ///
    /// # Errors
    ///
    /// [`Denied`](AuthenticationError::Denied) if they do not open the service: an unknown name,
    /// a wrong password, an inactive or expired credential, a service that the policy does not
    /// have, or more than 512 bytes. [`Unavailable`](AuthenticationError::Unavailable) if the store
    /// failed, which is no refusal.
    pub fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate(service, name, password))
    }

    /// Who presents this API key secret: a bearer token, which authenticates alone and whole.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    pub fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate_api_key(service, secret))
    }
}

/// Users.
impl<S: Store> CredentialManager<S> {
    /// Registers a user. Users are registered before anything else.
    ///
    /// # Errors
    ///
    /// [`UserExists`](Error::UserExists). Otherwise as [`Error`] says.
    pub fn register_user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.register_user(user))
    }

    /// Registers a user who is not registered yet: for services whose users live elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Error`] says.
    pub fn ensure_user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.ensure_user(user))
    }

    /// A user by name.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.user(user))
    }

    /// A page of the users of the account, in order of their names.
    ///
    /// # Errors
    ///
    /// [`MarkerMismatch`](Error::MarkerMismatch) if the marker did not come with such a page.
    /// Otherwise as [`Error`] says.
    pub fn users(&self, marker: Option<&Marker>, max_items: MaxItems) -> Result<Page<User>, Error> {
        poll_ready(self.0.users(marker, max_items))
    }

    /// Gives a user another name, or the same in another spelling. The credentials stay, and keep
    /// their service user names.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or [`UserExists`](Error::UserExists) if
    /// another user has the new name. Otherwise as [`Error`] says.
    pub fn rename_user(&self, user: &UserName, name: &UserName) -> Result<User, Error> {
        poll_ready(self.0.rename_user(user, name))
    }

    /// Removes a user who has no credentials.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or
    /// [`UserHasCredentials`](Error::UserHasCredentials). Otherwise as [`Error`] says.
    pub fn remove_user(&self, user: &UserName) -> Result<(), Error> {
        poll_ready(self.0.remove_user(user))
    }

    /// Removes a user together with all credentials, in one step, as for someone who leaves.
    /// Returns the credentials that are gone.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn remove_user_with_credentials(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.remove_user_with_credentials(user))
    }
}
