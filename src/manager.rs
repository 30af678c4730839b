use std::{cell::LazyCell, sync::Arc};

use crate::{
    AccountId, AuthenticationError, Clock, Credential, CredentialAge, CredentialId, Entropy, Error,
    IssuedCredential, Policy, ServiceName, Status, SystemClock, SystemEntropy, User, UserName,
    store::{Commit, Key, Store, UserRecord},
    timestamp::Timestamp,
};

pub use authentication::{Authenticated, Authenticator};
pub use listing::{InvalidMarker, InvalidMaxItems, ListRequest, Marker, MaxItems, Page};

use authentication::Scope;
use listing::{CredentialPager, UserPager};
use operation::{Create, Decision, Delete, Operation, Register, Remove, Rename, Reset, SetStatus};
use trace::Subject;

mod authentication;
mod listing;
mod operation;
mod trace;

/// How often an operation is begun before it gives up to other writers (our decision).
const ATTEMPTS: usize = 64;

/// Issues, lists, disables, resets, deletes and authenticates the credentials of one account.
///
/// Cheap to clone; clones share one store. Every method may be called from many threads at once.
/// What a method returns was true at one moment between call and return. Concurrent changes are
/// never lost and never mixed: two credentials a user and service, each name and id once, whatever
/// happens at the same time.
///
/// ```
/// use service_specific_credentials::{
///     AccountId, CredentialAge, CredentialManager, ErrorCode, MemoryStore, ServiceName, Status,
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
/// iam.create_with(&anika, &codecommit, CredentialAge::days(90)?)?;
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
pub struct CredentialManager<S> {
    account: AccountId,
    shared: Arc<Shared<S>>,
}

/// What managers of one store share.
#[derive(Debug)]
struct Shared<S> {
    store: S,
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
        self.for_account(self.account)
    }
}

impl<S> CredentialManager<S> {
    /// Another manager of the same store, with the same policy, for another account.
    #[must_use]
    pub fn for_account(&self, account: AccountId) -> Self {
        Self { account, shared: Arc::clone(&self.shared) }
    }

    /// An authenticator for all accounts of the same store, with the same policy.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator<S> {
        Authenticator { shared: Arc::clone(&self.shared) }
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.shared.store
    }
}

impl<S: Store> CredentialManager<S> {
    /// Manages the credentials of `account` in `store`, by the default policy.
    pub fn new(account: AccountId, store: S) -> Self {
        Self::builder(account, store).build()
    }

    /// Manages the credentials of `account` in `store` by a policy, clock or entropy of one's own.
    pub fn builder(account: AccountId, store: S) -> CredentialManagerBuilder<S> {
        let shared = Shared {
            store,
            policy: Policy::default(),
            clock: Box::new(SystemClock),
            entropy: Box::new(SystemEntropy),
        };
        CredentialManagerBuilder { account, shared }
    }
}

/// Credentials.
impl<S: Store> CredentialManager<S> {
    /// Makes a credential for a user at a service. It never expires.
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
        self.issue(user, service, None)
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
        age: CredentialAge,
    ) -> Result<IssuedCredential, Error> {
        self.issue(user, service, Some(age))
    }

    fn issue(
        &self,
        user: &UserName,
        service: &ServiceName,
        age: Option<CredentialAge>,
    ) -> Result<IssuedCredential, Error> {
        let Shared { policy, entropy, .. } = &*self.shared;
        let create = Create::draw(user, service, age, policy, &**entropy, self.shared.now());
        let result = create.and_then(|create| self.run(create));
        let id = match &result {
            Ok(issued) => Some(issued.id()),
            Err(Error::OutcomeUnknown { id, .. }) => id.as_ref(),
            Err(_) => None,
        };
        let subject = Subject { service: Some(service), id, ..Subject::user(user) };
        self.trace("create", subject, &result);
        result
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
        let Shared { policy, entropy, .. } = &*self.shared;
        let reset = Reset::draw(user, id, policy, &**entropy, self.shared.now());
        let result = reset.and_then(|reset| self.run(reset));
        let service = result.as_ref().ok().map(|issued| issued.credential().service());
        self.trace("reset", Subject::credential(user, id, service), &result);
        result
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
        let result = self.run(SetStatus { user, id, status, now: self.shared.now() });
        self.trace("set_status", Subject::credential(user, id, result.as_ref().ok()), &result);
        result.map(drop)
    }

    /// Deletes a credential, expired or not.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or
    /// [`NoSuchCredential`](Error::NoSuchCredential) or
    /// [`CredentialOfAnotherUser`](Error::CredentialOfAnotherUser). Otherwise as [`Error`] says.
    pub fn delete(&self, user: &UserName, id: &CredentialId) -> Result<(), Error> {
        let result = self.run(Delete { user, id });
        self.trace("delete", Subject::credential(user, id, result.as_ref().ok()), &result);
        result.map(drop)
    }

    /// All credentials of a user, in order of creation, then of id. Empty if there are none.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn list(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        let result = self.credentials(user, None);
        self.trace("list", Subject::user(user), &result);
        result
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
        let result = self.credentials(user, Some(service));
        let subject = Subject { service: Some(service), ..Subject::user(user) };
        self.trace("list", subject, &result);
        result
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
        let result = self.page(request);
        let subject = Subject {
            user: request.subject(),
            service: request.service_filter(),
            ..Subject::default()
        };
        self.trace("list_page", subject, &result);
        result
    }

    fn page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        request.check_subject()?;
        let now = self.shared.now();
        let record = request.subject().map(|user| self.record(user)).transpose()?;
        self.check_filter(request.service_filter())?;
        let mut pager = CredentialPager::new(self.account, request, self.policy(), now)?;
        match record {
            Some(record) => pager.take_record(&record),
            None => {
                while let Some(range) = pager.next_range() {
                    let records = self.shared.store.scan(&range)?;
                    pager.take(&records);
                }
            }
        }
        Ok(pager.finish())
    }

    fn credentials(
        &self,
        user: &UserName,
        service: Option<&ServiceName>,
    ) -> Result<Vec<Credential>, Error> {
        let record = self.record(user)?;
        self.check_filter(service)?;
        let now = LazyCell::new(|| self.shared.now());
        let held = record.credentials().iter();
        let listed = held.filter(|held| service.is_none_or(|service| held.service() == service));
        Ok(listed.map(|held| record.describe(held, held.status(|| *now))).collect())
    }

    fn check_filter(&self, service: Option<&ServiceName>) -> Result<(), Error> {
        service.map_or(Ok(()), |service| self.shared.policy.supported(service).map(drop))
    }

    /// Who presents this service user name and password. Both are taken as they come from a
    /// stranger, and nothing is allocated.
    ///
    /// The digest of the password is computed and compared in constant time whether the name is
    /// known or not. Nothing more is claimed: names are not secret.
    ///
    /// # Errors
    ///
    /// [`Refused`](AuthenticationError::Refused) if they do not open the service: an unknown name,
    /// a wrong password, an inactive or expired credential, a service that the policy does not
    /// have, or more than 512 bytes. [`Unavailable`](AuthenticationError::Unavailable) if the store
    /// failed, which is no refusal.
    pub fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Authenticated, AuthenticationError> {
        self.shared.authenticate(Scope::Account(self.account), service, name, password)
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
    ) -> Result<Authenticated, AuthenticationError> {
        self.shared.authenticate_api_key(Scope::Account(self.account), service, secret)
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
        self.register("register_user", user, false)
    }

    /// Registers a user who is not registered yet: for services whose users live elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Error`] says.
    pub fn ensure_user(&self, user: &UserName) -> Result<User, Error> {
        self.register("ensure_user", user, true)
    }

    fn register(&self, name: &'static str, user: &UserName, ensure: bool) -> Result<User, Error> {
        let Shared { entropy, .. } = &*self.shared;
        let now = self.shared.now();
        let result = self.run(Register::new(user, self.account, &**entropy, now, ensure));
        self.trace(name, Subject::user(user), &result);
        result
    }

    /// A user by name.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn user(&self, user: &UserName) -> Result<User, Error> {
        let result = self.record(user).map(|record| record.user());
        self.trace("user", Subject::user(user), &result);
        result
    }

    /// A page of the users of the account, in order of their names.
    ///
    /// # Errors
    ///
    /// [`MarkerMismatch`](Error::MarkerMismatch) if the marker did not come with such a page.
    /// Otherwise as [`Error`] says.
    pub fn users(&self, marker: Option<&Marker>, max_items: MaxItems) -> Result<Page<User>, Error> {
        let result = UserPager::new(self.account, marker, max_items).and_then(|pager| {
            let records = self.shared.store.scan(&pager.range())?;
            Ok(pager.finish(&records))
        });
        self.trace("users", Subject::default(), &result);
        result
    }

    /// Gives a user another name, or the same in another spelling. The credentials stay, and keep
    /// their service user names.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or [`UserExists`](Error::UserExists) if
    /// another user has the new name. Otherwise as [`Error`] says.
    pub fn rename_user(&self, user: &UserName, name: &UserName) -> Result<User, Error> {
        let result = self.run(Rename { user, name });
        let subject = Subject { new_name: Some(name), ..Subject::user(user) };
        self.trace("rename_user", subject, &result);
        result
    }

    /// Removes a user who has no credentials.
    ///
    /// # Errors
    ///
    /// In this order: [`NoSuchUser`](Error::NoSuchUser), or
    /// [`UserHasCredentials`](Error::UserHasCredentials). Otherwise as [`Error`] says.
    pub fn remove_user(&self, user: &UserName) -> Result<(), Error> {
        let result = self.remove("remove_user", user, false);
        result.map(drop)
    }

    /// Removes a user together with all credentials, in one step, as for someone who leaves.
    /// Returns the credentials that are gone.
    ///
    /// # Errors
    ///
    /// [`NoSuchUser`](Error::NoSuchUser). Otherwise as [`Error`] says.
    pub fn remove_user_with_credentials(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        self.remove("remove_user_with_credentials", user, true)
    }

    fn remove(
        &self,
        name: &'static str,
        user: &UserName,
        with_credentials: bool,
    ) -> Result<Vec<Credential>, Error> {
        let result = self.run(Remove { user, with_credentials, now: self.shared.now() });
        self.trace(name, Subject::user(user), &result);
        result
    }
}

/// How operations are carried out.
impl<S: Store> CredentialManager<S> {
    fn run<O: Operation>(&self, mut operation: O) -> Result<O::Output, Error> {
        let store = &self.shared.store;
        for _ in 0..ATTEMPTS {
            let found = store.find(&Key::User { account: self.account, name: operation.user() })?;
            let (change, pending) = match operation.decide(found) {
                Ok(Decision::Commit(change, pending)) => (change, pending),
                Ok(Decision::Done(pending)) => return Ok(operation.finish(pending)),
                Err(Error::NoSuchCredential { id }) => {
                    return Err(self.whose(operation.user(), id)?);
                }
                Err(error) => return Err(error),
            };
            let commit = store.commit(&change).map_err(|source| Error::OutcomeUnknown {
                id: operation.credential().cloned(),
                source,
            })?;
            match commit {
                Commit::Applied => return Ok(operation.finish(pending)),
                Commit::Stale => {}
                Commit::KeyTaken => {
                    while let Some(key) = operation.contested()? {
                        if store.find(&key)?.is_none() {
                            operation.retry()?;
                            break;
                        }
                        operation.concede();
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// Why a user does not have a credential: there is none of that id, or it is another user's.
    fn whose(&self, user: &UserName, id: CredentialId) -> Result<Error, Error> {
        let key = Key::Credential { account: self.account, id: &id };
        Ok(match self.shared.store.find(&key)? {
            Some(record) if record.name() != user => {
                Error::CredentialOfAnotherUser { user: user.clone(), id }
            }
            _ => Error::NoSuchCredential { id },
        })
    }

    fn record(&self, user: &UserName) -> Result<Arc<UserRecord>, Error> {
        let found = self.shared.store.find(&Key::User { account: self.account, name: user })?;
        found.ok_or_else(|| Error::NoSuchUser { user: user.clone() })
    }

    fn trace<T>(&self, operation: &'static str, subject: Subject<'_>, result: &Result<T, Error>) {
        trace::operation(operation, self.account, subject, result);
    }
}

/// Makes a [`CredentialManager`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct CredentialManagerBuilder<S> {
    account: AccountId,
    shared: Shared<S>,
}

impl<S> CredentialManagerBuilder<S> {
    /// By this policy instead of the default one.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.shared.policy = policy;
        self
    }

    /// By this clock instead of the operating system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.shared.clock = Box::new(clock);
        self
    }

    /// From this generator instead of the operating system's. It must be a cryptographic one.
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.shared.entropy = Box::new(entropy);
        self
    }

    /// Builds the manager.
    #[must_use]
    pub fn build(self) -> CredentialManager<S> {
        CredentialManager { account: self.account, shared: Arc::new(self.shared) }
    }
}
