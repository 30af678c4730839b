//! The managers of an account's credentials and users, and the authenticators.
//!
//! [`CredentialManager`] is the sync front. Its steps are written once, for async stores, in
//! `manager/async_manager.rs`; `manager/retry.rs` has the loop that every change goes through, and
//! `manager/operation/` what each operation decides. Tests: `tests/rules/`, `tests/model/`.

use self::{
    async_manager::AsyncCredentialManager,
    authentication::{error::AuthenticationError, identity::Identity},
    authenticator::Authenticator,
    builder::CredentialManagerBuilder,
    create_options::CreateOptions,
    list_request::{ListRequest, ListUsersRequest},
    pager::Items,
    resolve::Resolution,
    user_options::{RegisterOptions, UpdateOptions},
};
use crate::{
    credential::{Credential, IssuedCredential, Status},
    error::{Error, unknown_credential::UnknownCredential},
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::ServiceUserName, user_name::UserName,
    },
    paging::Page,
    policy::Policy,
    store::{
        Store,
        sync_adapter::{SyncAdapter, poll_ready},
    },
    tags::Tags,
    user::User,
};

pub(crate) mod async_manager;
pub(crate) mod authentication;
pub(crate) mod authenticator;
pub(crate) mod builder;
pub(crate) mod create_options;
pub(crate) mod list_request;
mod listing;
mod marker;
mod operation;
mod ownership;
pub(crate) mod pager;
pub(crate) mod resolve;
mod retry;
mod shared;
pub(crate) mod trace;
pub(crate) mod user_options;

/// Issues, lists, disables, resets, deletes and authenticates the credentials of one account.
///
/// Cheap to clone; clones share one store. Every method may be called by many threads at once.
/// Operations on one user are linearizable; [`list_page`](Self::list_page) states what listings
/// guarantee. The limit of credentials per user and service and the uniqueness of names and ids
/// hold under any concurrency. With the feature `tracing`, every call emits an
/// [event](crate::guides::events).
///
/// ```
/// use service_specific_credentials::{
///     AccountId, CreateOptions, CredentialManager, ErrorCode, Lifetime, MemoryStore,
///     ServiceName, Status, UserName,
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
/// assert_eq!(issued.service_user_name().as_str(), "anika+1-at-123456789012");
/// let password = issued.secret().expose(); // the only time it is available
///
/// let options = CreateOptions::new().lifetime(Lifetime::days(90)?);
/// let _second = iam.create_with_options(&anika, &codecommit, &options)?;
/// assert_eq!(iam.create(&anika, &codecommit).unwrap_err().code(), ErrorCode::LimitExceeded);
///
/// let identity = iam.authenticate(&codecommit, "anika+1-at-123456789012", password)?;
/// assert_eq!(identity.credential().id(), issued.id());
///
/// iam.set_status(&anika, issued.id(), Status::Inactive)?;
/// assert!(iam.authenticate(&codecommit, issued.service_user_name().as_str(), password).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CredentialManager<S>(pub(crate) AsyncCredentialManager<SyncAdapter<S>>);

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

    /// A builder of a manager with its own policy, clock or random source.
    pub fn builder(account: AccountId, store: S) -> CredentialManagerBuilder<S> {
        CredentialManagerBuilder::new(account, store)
    }
}

impl<S: Store> CredentialManager<S> {
    /// A manager of `account` in `store` with the default policy.
    pub fn new(account: AccountId, store: S) -> Self {
        Self::builder(account, store).build()
    }
}

/// Credentials.
impl<S: Store> CredentialManager<S> {
    /// Creates a credential for a user at a service.
    ///
    /// Its service user name has the lowest number that is free. Each lower number whose name
    /// another user holds costs one more lookup.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`ServiceNotSupported`](Error::ServiceNotSupported)
    /// - [`LifetimeTooLong`](Error::LifetimeTooLong)
    /// - [`LimitExceeded`](Error::LimitExceeded) if the user has as many credentials at the service
    ///   as the policy allows, inactive and expired ones included
    /// - those of every operation, see [`Error`]
    pub fn create(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.create(user, service))
    }

    /// Creates a credential with options, such as a lifetime.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with_options(
        &self,
        user: &UserName,
        service: &ServiceName,
        options: &CreateOptions,
    ) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.create_with_options(user, service, options))
    }

    /// Gives a credential a new secret. Once this has returned, the old one never authenticates
    /// again. Id, name, status, tags, creation and expiration date stay: an inactive credential
    /// stays inactive. The [date of the secret](Credential::secret_changed) is the time of the
    /// call.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`NoSuchCredential`](Error::NoSuchCredential) or
    ///   [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser)
    /// - [`ServiceNotSupported`](Error::ServiceNotSupported) if the policy no longer supports its
    ///   service
    /// - [`CredentialExpired`](Error::CredentialExpired)
    /// - those of every operation, see [`Error`]
    pub fn reset(&self, user: &UserName, id: &CredentialId) -> Result<IssuedCredential, Error> {
        poll_ready(self.0.reset(user, id))
    }

    /// Makes a credential active or inactive. Setting its present status succeeds.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`NoSuchCredential`](Error::NoSuchCredential) or
    ///   [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser)
    /// - [`StatusNotSettable`](Error::StatusNotSettable) for [`Status::Expired`]
    /// - [`CredentialExpired`](Error::CredentialExpired)
    /// - those of every operation, see [`Error`]
    pub fn set_status(
        &self,
        user: &UserName,
        id: &CredentialId,
        status: Status,
    ) -> Result<(), Error> {
        poll_ready(self.0.set_status(user, id, status))
    }

    /// Replaces the tags of a credential, expired or not.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn set_credential_tags(
        &self,
        user: &UserName,
        id: &CredentialId,
        tags: &Tags,
    ) -> Result<Credential, Error> {
        poll_ready(self.0.set_credential_tags(user, id, tags))
    }

    /// Adds tags to a credential, expired or not. The value of a key that it has is replaced, and
    /// so is the spelling of the key.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete), and:
    /// - [`TooManyTags`](Error::TooManyTags) if it would have more than 50
    pub fn tag_credential(
        &self,
        user: &UserName,
        id: &CredentialId,
        tags: &Tags,
    ) -> Result<Credential, Error> {
        poll_ready(self.0.tag_credential(user, id, tags))
    }

    /// Removes the tags of these keys from a credential, expired or not. Keys that it does not have
    /// are ignored.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete).
    pub fn untag_credential(
        &self,
        user: &UserName,
        id: &CredentialId,
        keys: &[&str],
    ) -> Result<Credential, Error> {
        poll_ready(self.0.untag_credential(user, id, keys))
    }

    /// Deletes a credential, expired or not.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`NoSuchCredential`](Error::NoSuchCredential) or
    ///   [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser)
    /// - those of every operation, see [`Error`]
    pub fn delete(&self, user: &UserName, id: &CredentialId) -> Result<(), Error> {
        poll_ready(self.0.delete(user, id))
    }

    /// Makes the credential of this id inactive, whichever user of the account has it: for an id
    /// that has leaked. Returns the credential, whose
    /// [`user_name`](Credential::user_name) is the user to inform. Disabling an inactive
    /// credential succeeds.
    ///
    /// ```
    /// use service_specific_credentials::{CredentialManager, MemoryStore};
    ///
    /// let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// let (anika, git) = ("anika".parse()?, "codecommit.amazonaws.com".parse()?);
    /// iam.register_user(&anika)?;
    /// let issued = iam.create(&anika, &git)?;
    ///
    /// let found_in_a_log = issued.id().as_str(); // ACCA…
    /// let disabled = iam.disable(&found_in_a_log.parse()?)?;
    /// assert_eq!(disabled.user_name(), &anika);
    ///
    /// // The same by service user name.
    /// let leaked = issued.service_user_name();
    /// iam.disable(iam.credential_by_name(&git, leaked)?.id())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchCredential`](Error::NoSuchCredential)
    /// - [`CredentialExpired`](Error::CredentialExpired)
    /// - those of every operation, see [`Error`]
    pub fn disable(&self, id: &CredentialId) -> Result<Credential, Error> {
        poll_ready(self.0.disable(id))
    }

    /// Makes all active credentials of a user inactive, atomically. Returns those that were active.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn disable_all(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.disable_all(user))
    }

    /// Resolves an [unknown outcome](Error::OutcomeUnknown) of a change of a credential: tells
    /// whether the credential exists, and deletes it if its secret was lost.
    ///
    /// The call first fences the unknown change: it makes a change of the same user, after which
    /// the unknown one has been applied or never will be. A secret was lost if a create or a reset
    /// was applied whose result did not reach the caller. Afterwards repeat the operation, if its
    /// result is still wanted.
    ///
    /// ```
    /// use service_specific_credentials::{
    ///     CredentialManager, CredentialId, Error, IssuedCredential, Resolution, ServiceName,
    ///     UserName, store::Store,
    /// };
    ///
    /// fn create<S: Store>(
    ///     iam: &CredentialManager<S>,
    ///     user: &UserName,
    ///     service: &ServiceName,
    /// ) -> Result<IssuedCredential, Error> {
    ///     match iam.create(user, service) {
    ///         Err(Error::OutcomeUnknown { credential: Some(unknown), .. }) => {
    ///             let resolution = iam.resolve(&unknown)?;
    ///             assert!(!matches!(resolution, Resolution::Exists(_)));
    ///             iam.create(user, service)
    ///         }
    ///         result => result,
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`NoSuchCredential`](Error::NoSuchCredential) if the unknown change was made in another
    ///   account
    /// - those of every operation, see [`Error`]. If the outcome of this call is itself unknown,
    ///   the error contains what to resolve, as before: repeat the call
    pub fn resolve(&self, unknown: &UnknownCredential) -> Result<Resolution, Error> {
        poll_ready(self.0.resolve(unknown))
    }

    /// Fences the changes of a user whose outcome is unknown and whose error is lost, for example
    /// because the process ended: once this has returned, they have been applied or never will be.
    /// Returns the user's credentials after that.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn fence(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.fence(user))
    }

    /// A credential by id, whichever user of the account has it.
    ///
    /// # Errors
    ///
    /// - [`NoSuchCredential`](Error::NoSuchCredential)
    /// - those of every operation, see [`Error`]
    pub fn credential(&self, id: &CredentialId) -> Result<Credential, Error> {
        poll_ready(self.0.credential(id))
    }

    /// A credential by its service and its service user name or alias, whichever user of the
    /// account has it. The policy need not support the service.
    ///
    /// # Errors
    ///
    /// - [`NoSuchServiceUser`](Error::NoSuchServiceUser)
    /// - those of every operation, see [`Error`]
    pub fn credential_by_name(
        &self,
        service: &ServiceName,
        name: &ServiceUserName,
    ) -> Result<Credential, Error> {
        poll_ready(self.0.credential_by_name(service, name))
    }

    /// The credentials of a user, in the order of creation, then of id. Empty if there are none.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn list(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.list(user))
    }

    /// The credentials of a user at one service, in the same order.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`ServiceNotSupported`](Error::ServiceNotSupported)
    /// - those of every operation, see [`Error`]
    pub fn list_for_service(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.list_for_service(user, service))
    }

    /// A page of credentials, of one user or of all.
    ///
    /// Pages neither repeat nor skip a credential that exists during the whole listing, although
    /// others are created or deleted. In a listing of all users, the credentials of a user who is
    /// renamed during the listing may be missed or repeated.
    ///
    /// [`credentials`](Self::credentials) iterates over all pages.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`ServiceNotSupported`](Error::ServiceNotSupported)
    /// - [`MarkerMismatch`](Error::MarkerMismatch)
    /// - those of every operation, see [`Error`]
    pub fn list_page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        poll_ready(self.0.list_page(request))
    }

    /// Iterates over credentials, of one user or of all, from the page of `request` to the last.
    ///
    /// ```
    /// # use service_specific_credentials::{CredentialManager, MemoryStore};
    /// use service_specific_credentials::ListRequest;
    ///
    /// # let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// for credential in iam.credentials(ListRequest::all_users()) {
    ///     let credential = credential?;
    ///     println!("{} of {}", credential.id(), credential.user_name());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`list_page`](Self::list_page), as an item, after which the iterator ends.
    pub fn credentials(&self, request: ListRequest) -> Items<S, ListRequest> {
        Items::new(self, request)
    }

    /// Authenticates a service user name and a password. Both are untrusted input. Allocates
    /// nothing.
    ///
    /// An unknown name costs the same digest and the same constant-time comparison as a wrong
    /// password. No more is claimed: names are not secret. Text that does not end in `-at-` and the
    /// account is no service user name and is not looked up: people type passwords where a name
    /// belongs, and a lookup may reach the logs of a database.
    ///
    /// # Errors
    ///
    /// - [`Denied`](AuthenticationError::Denied): an unknown name, a wrong password, an inactive or
    ///   expired credential, an unsupported service, or more than 512 bytes
    /// - [`Unavailable`](AuthenticationError::Unavailable): the store failed. This is not a denial
    pub fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.authenticate(service, name, password))
    }

    /// Authenticates the secret of an API key: a bearer token. Its alias and its inner password as
    /// a pair do not authenticate.
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

    /// Verifies that a credential that authenticated earlier still does, for a server whose
    /// connections last and that does not retain passwords.
    ///
    /// It does if it exists, is active, and has the same secret as then. A renamed user is returned
    /// with the new name.
    ///
    /// ```
    /// use service_specific_credentials::{CredentialManager, MemoryStore};
    ///
    /// let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// let anika = "anika".parse()?;
    /// let cassandra = "cassandra.amazonaws.com".parse()?;
    /// iam.register_user(&anika)?;
    /// let issued = iam.create(&anika, &cassandra)?;
    ///
    /// let name = issued.service_user_name().as_str();
    /// let connected = iam.authenticate(&cassandra, name, issued.secret().expose())?;
    /// let connected = iam.recheck(&connected)?;
    /// iam.reset(&anika, issued.id())?;
    /// assert!(iam.recheck(&connected).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Denied`](AuthenticationError::Denied): the credential no longer authenticates. The
    ///   [reason](crate::DenialReason) is `UnknownName` if it was deleted or is of another account,
    ///   `WrongSecret` if it was reset, `Inactive`, `Expired`, or `UnsupportedService`
    /// - [`Unavailable`](AuthenticationError::Unavailable): the store failed. This is not a denial
    pub fn recheck(&self, earlier: &Identity) -> Result<Identity, AuthenticationError> {
        poll_ready(self.0.recheck(earlier))
    }
}

/// Users.
impl<S: Store> CredentialManager<S> {
    /// Registers a user. Every other operation needs a registered user.
    ///
    /// # Errors
    ///
    /// - [`UserExists`](Error::UserExists)
    /// - those of every operation, see [`Error`]
    pub fn register_user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.register_user(user))
    }

    /// Registers a user, or returns the user that exists: for users that are managed elsewhere.
    ///
    /// # Errors
    ///
    /// Those of every operation, see [`Error`].
    pub fn ensure_user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.ensure_user(user))
    }

    /// Registers a user with options, such as a path and tags.
    ///
    /// ```
    /// use service_specific_credentials::{CredentialManager, MemoryStore, RegisterOptions, Tags};
    ///
    /// let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// let options = RegisterOptions::new()
    ///     .path("/staff/".parse()?)
    ///     .tags(Tags::from_pairs([("employee", "4711")])?);
    /// let anika = iam.register_user_with_options(&"anika".parse()?, &options)?;
    /// assert_eq!(anika.path().as_str(), "/staff/");
    /// assert_eq!(anika.tags().get("employee"), Some("4711"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`register_user`](Self::register_user).
    pub fn register_user_with_options(
        &self,
        user: &UserName,
        options: &RegisterOptions,
    ) -> Result<User, Error> {
        poll_ready(self.0.register_user_with_options(user, options))
    }

    /// Registers a user with options, or returns the user that exists, unchanged.
    ///
    /// # Errors
    ///
    /// As [`ensure_user`](Self::ensure_user).
    pub fn ensure_user_with_options(
        &self,
        user: &UserName,
        options: &RegisterOptions,
    ) -> Result<User, Error> {
        poll_ready(self.0.ensure_user_with_options(user, options))
    }

    /// A user by name.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn user(&self, user: &UserName) -> Result<User, Error> {
        poll_ready(self.0.user(user))
    }

    /// A page of users of the account, in the order of their names.
    ///
    /// With a [path prefix](ListUsersRequest::path_prefix), a page may have fewer items than
    /// requested, or none, before the listing is complete.
    ///
    /// # Errors
    ///
    /// - [`MarkerMismatch`](Error::MarkerMismatch) if the marker is of another listing
    /// - those of every operation, see [`Error`]
    pub fn list_users_page(&self, request: &ListUsersRequest) -> Result<Page<User>, Error> {
        poll_ready(self.0.list_users_page(request))
    }

    /// Iterates over the users of the account, from the page of `request` to the last.
    ///
    /// # Errors
    ///
    /// Those of [`list_users_page`](Self::list_users_page), as an item, after which the iterator
    /// ends.
    pub fn users(&self, request: ListUsersRequest) -> Items<S, ListUsersRequest> {
        Items::new(self, request)
    }

    /// Renames a user, or changes the spelling of the name. Credentials keep their service user
    /// names.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`UserExists`](Error::UserExists) if another user has the new name
    /// - those of every operation, see [`Error`]
    pub fn rename_user(&self, user: &UserName, new_name: &UserName) -> Result<User, Error> {
        poll_ready(self.0.rename_user(user, new_name))
    }

    /// Changes the name of a user, the path, or both, atomically. Credentials keep their service
    /// user names, and the user the id.
    ///
    /// ```
    /// # use service_specific_credentials::{CredentialManager, MemoryStore};
    /// use service_specific_credentials::UpdateOptions;
    ///
    /// # let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
    /// # iam.register_user(&"anika".parse()?)?;
    /// let changes = UpdateOptions::new().name("anne".parse()?).path("/staff/".parse()?);
    /// let anne = iam.update_user(&"anika".parse()?, &changes)?;
    /// assert_eq!((anne.name().as_str(), anne.path().as_str()), ("anne", "/staff/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rename_user`](Self::rename_user).
    pub fn update_user(&self, user: &UserName, changes: &UpdateOptions) -> Result<User, Error> {
        poll_ready(self.0.update_user(user, changes))
    }

    /// Replaces the tags of a user.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn set_user_tags(&self, user: &UserName, tags: &Tags) -> Result<User, Error> {
        poll_ready(self.0.set_user_tags(user, tags))
    }

    /// Adds tags to a user. The value of a key that the user has is replaced, and so is the
    /// spelling of the key.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`TooManyTags`](Error::TooManyTags) if the user would have more than 50
    /// - those of every operation, see [`Error`]
    pub fn tag_user(&self, user: &UserName, tags: &Tags) -> Result<User, Error> {
        poll_ready(self.0.tag_user(user, tags))
    }

    /// Removes the tags of these keys from a user. Keys that the user does not have are ignored.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn untag_user(&self, user: &UserName, keys: &[&str]) -> Result<User, Error> {
        poll_ready(self.0.untag_user(user, keys))
    }

    /// Removes a user without credentials.
    ///
    /// # Errors
    ///
    /// In this order:
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - [`UserHasCredentials`](Error::UserHasCredentials)
    /// - those of every operation, see [`Error`]
    pub fn remove_user(&self, user: &UserName) -> Result<(), Error> {
        poll_ready(self.0.remove_user(user))
    }

    /// Removes a user together with all credentials, atomically. Returns the removed credentials.
    ///
    /// # Errors
    ///
    /// - [`NoSuchUser`](Error::NoSuchUser)
    /// - those of every operation, see [`Error`]
    pub fn remove_user_with_credentials(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        poll_ready(self.0.remove_user_with_credentials(user))
    }
}
