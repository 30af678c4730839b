//! How operations are carried out against a store that may wait.

use std::{cell::LazyCell, sync::Arc};

use super::{
    Identity, ListRequest, Marker, MaxItems, Page, Shared,
    authentication::Scope,
    authenticator::AsyncAuthenticator,
    builder::CredentialManagerBuilder,
    listing::{CredentialPager, UserPager},
    operation::{Create, Decision, Delete, Operation, Register, Remove, Rename, Reset, SetStatus},
    trace::{self, Subject},
};
use crate::{
    credential::{Credential, IssuedCredential, Status},
    error::{AuthenticationError, Error},
    lifetime::Lifetime,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        user_name::UserName,
    },
    policy::Policy,
    record::{UserRecord, key::Key},
    store::{AsyncStore, change::CommitOutcome},
    user::{User, UserId},
};

/// How often an operation is begun before it gives up to other writers (our decision).
const ATTEMPTS: usize = 64;

/// [`CredentialManager`](crate::CredentialManager) for stores that wait.
///
/// The methods are the same, and so are the rules. Runs on any runtime: it starts no task and no
/// timer. Every future is [`Send`].
///
/// # Dropping a future
///
/// A future may be dropped at any point. Until it commits, nothing has happened. Once it commits,
/// the change is made wholly or not at all, and since nobody is told which, this is the same as
/// [`Error::OutcomeUnknown`]: a credential that was being created may be there, with a secret that
/// nobody has. It may even appear a little later, until a later change of the same user is answered.
/// Make that change, such as creating another, then [list](Self::list) the user's credentials and
/// delete the one that nobody was handed; what was being reset is reset again, and other operations are
/// repeated as they were.
///
/// ```
/// use service_specific_credentials::{AsyncCredentialManager, MemoryStore, store::SyncAdapter};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = SyncAdapter::new(MemoryStore::new());
/// let iam = AsyncCredentialManager::new("123456789012".parse()?, store);
/// let anika = "anika".parse()?;
/// let codecommit = "codecommit.amazonaws.com".parse()?;
/// iam.register_user(&anika).await?;
///
/// let issued = iam.create(&anika, &codecommit).await?;
/// let (name, password) = (issued.name().as_str(), issued.secret().expose());
/// iam.authenticate(&codecommit, name, password).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncCredentialManager<S> {
    pub(super) account: AccountId,
    pub(super) shared: Arc<Shared<S>>,
}

impl<S> Clone for AsyncCredentialManager<S> {
    fn clone(&self) -> Self {
        self.for_account(self.account)
    }
}

impl<S> AsyncCredentialManager<S> {
    /// Another manager of the same store, with the same policy, for another account.
    #[must_use]
    pub fn for_account(&self, account: AccountId) -> Self {
        Self { account, shared: Arc::clone(&self.shared) }
    }

    /// An authenticator for all accounts of the same store, with the same policy.
    #[must_use]
    pub fn authenticator(&self) -> AsyncAuthenticator<S> {
        AsyncAuthenticator { shared: Arc::clone(&self.shared) }
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
        &self.shared.store.0
    }

    /// Manages the credentials of `account` in `store` by a policy, clock or entropy of one's own.
    pub fn builder(account: AccountId, store: S) -> CredentialManagerBuilder<S> {
        CredentialManagerBuilder::new(account, store)
    }
}

impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Manages the credentials of `account` in `store`, by the default policy.
    pub fn new(account: AccountId, store: S) -> Self {
        Self::builder(account, store).build_async()
    }
}

/// Credentials.
impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Makes a credential for a user at a service. It never expires.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::create`](crate::CredentialManager::create).
    pub async fn create(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<IssuedCredential, Error> {
        self.issue(user, service, None).await
    }

    /// Makes a credential that expires: its expiration date is its creation date and `age`.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::create_with`](crate::CredentialManager::create_with).
    pub async fn create_with(
        &self,
        user: &UserName,
        service: &ServiceName,
        age: Lifetime,
    ) -> Result<IssuedCredential, Error> {
        self.issue(user, service, Some(age)).await
    }

    async fn issue(
        &self,
        user: &UserName,
        service: &ServiceName,
        age: Option<Lifetime>,
    ) -> Result<IssuedCredential, Error> {
        let Shared { policy, entropy, .. } = &*self.shared;
        let create = Create::draw(user, service, age, policy, &**entropy, self.shared.now());
        let result = match create {
            Ok(mut create) => self.run(&mut create).await.map(|issued| create.issue(issued)),
            Err(error) => Err(error),
        };
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
    /// As [`CredentialManager::reset`](crate::CredentialManager::reset).
    pub async fn reset(
        &self,
        user: &UserName,
        id: &CredentialId,
    ) -> Result<IssuedCredential, Error> {
        let Shared { policy, entropy, .. } = &*self.shared;
        let reset = Reset::draw(user, id, policy, &**entropy, self.shared.now());
        let result = match reset {
            Ok(mut reset) => self.run(&mut reset).await.map(|issued| reset.issue(issued)),
            Err(error) => Err(error),
        };
        let service = result.as_ref().ok().map(|issued| issued.credential().service());
        self.trace("reset", Subject::credential(user, id, service), &result);
        result
    }

    /// Makes a credential active or inactive. The status it has already succeeds.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::set_status`](crate::CredentialManager::set_status).
    pub async fn set_status(
        &self,
        user: &UserName,
        id: &CredentialId,
        status: Status,
    ) -> Result<(), Error> {
        let result = self.run(&mut SetStatus { user, id, status, now: self.shared.now() }).await;
        self.trace("set_status", Subject::credential(user, id, result.as_ref().ok()), &result);
        result.map(drop)
    }

    /// Deletes a credential, expired or not.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::delete`](crate::CredentialManager::delete).
    pub async fn delete(&self, user: &UserName, id: &CredentialId) -> Result<(), Error> {
        let result = self.run(&mut Delete { user, id }).await;
        self.trace("delete", Subject::credential(user, id, result.as_ref().ok()), &result);
        result.map(drop)
    }

    /// All credentials of a user, in order of creation, then of id. Empty if there are none.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::list`](crate::CredentialManager::list).
    pub async fn list(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        let result = self.credentials(user, None).await;
        self.trace("list", Subject::user(user), &result);
        result
    }

    /// The credentials of a user at one service, in the same order.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::list_for_service`](crate::CredentialManager::list_for_service).
    pub async fn list_for_service(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<Vec<Credential>, Error> {
        let result = self.credentials(user, Some(service)).await;
        let subject = Subject { service: Some(service), ..Subject::user(user) };
        self.trace("list", subject, &result);
        result
    }

    /// A page of credentials, of one user or of all.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::list_page`](crate::CredentialManager::list_page).
    pub async fn list_page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        let result = self.page(request).await;
        let subject = Subject {
            user: request.subject(),
            service: request.service_filter(),
            ..Subject::default()
        };
        self.trace("list_page", subject, &result);
        result
    }

    async fn page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        request.check_subject()?;
        let now = self.shared.now();
        let record = match request.subject() {
            Some(user) => Some(self.record(user).await?),
            None => None,
        };
        self.check_filter(request.service_filter())?;
        let mut pager = CredentialPager::new(self.account, request, self.policy(), now)?;
        match record {
            Some(record) => pager.take_record(&record),
            None => {
                while let Some(range) = pager.next_range() {
                    let records = self.shared.store.scan(&range).await?;
                    pager.take(&records);
                }
            }
        }
        Ok(pager.finish())
    }

    async fn credentials(
        &self,
        user: &UserName,
        service: Option<&ServiceName>,
    ) -> Result<Vec<Credential>, Error> {
        let record = self.record(user).await?;
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
    /// # Errors
    ///
    /// As [`CredentialManager::authenticate`](crate::CredentialManager::authenticate).
    pub async fn authenticate(
        &self,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        self.shared.authenticate(Scope::Account(self.account), service, name, password).await
    }

    /// Who presents this API key secret: a bearer token, which authenticates alone and whole.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::authenticate_api_key`](crate::CredentialManager::authenticate_api_key).
    pub async fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        self.shared.authenticate_api_key(Scope::Account(self.account), service, secret).await
    }
}

/// Users.
impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Registers a user. Users are registered before anything else.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::register_user`](crate::CredentialManager::register_user).
    pub async fn register_user(&self, user: &UserName) -> Result<User, Error> {
        self.register("register_user", user, false).await
    }

    /// Registers a user who is not registered yet: for services whose users live elsewhere.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::ensure_user`](crate::CredentialManager::ensure_user).
    pub async fn ensure_user(&self, user: &UserName) -> Result<User, Error> {
        self.register("ensure_user", user, true).await
    }

    async fn register(
        &self,
        name: &'static str,
        user: &UserName,
        ensure: bool,
    ) -> Result<User, Error> {
        let Shared { entropy, .. } = &*self.shared;
        let now = self.shared.now();
        let result =
            self.run(&mut Register::new(user, self.account, &**entropy, now, ensure)).await;
        self.trace(name, Subject::user(user), &result);
        result
    }

    /// A user by name.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::user`](crate::CredentialManager::user).
    pub async fn user(&self, user: &UserName) -> Result<User, Error> {
        let result = self.record(user).await.map(|record| record.user());
        self.trace("user", Subject::user(user), &result);
        result
    }

    /// A page of the users of the account, in order of their names.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::users`](crate::CredentialManager::users).
    pub async fn users(
        &self,
        marker: Option<&Marker>,
        max_items: MaxItems,
    ) -> Result<Page<User>, Error> {
        let result = self.user_page(marker, max_items).await;
        self.trace("users", Subject::default(), &result);
        result
    }

    async fn user_page(
        &self,
        marker: Option<&Marker>,
        max_items: MaxItems,
    ) -> Result<Page<User>, Error> {
        let pager = UserPager::new(self.account, marker, max_items)?;
        let records = self.shared.store.scan(&pager.range()).await?;
        Ok(pager.finish(&records))
    }

    /// Gives a user another name, or the same in another spelling. The credentials stay, and keep
    /// their service user names.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::rename_user`](crate::CredentialManager::rename_user).
    pub async fn rename_user(&self, user: &UserName, name: &UserName) -> Result<User, Error> {
        let result = self.run(&mut Rename { user, name }).await;
        let subject = Subject { new_name: Some(name), ..Subject::user(user) };
        self.trace("rename_user", subject, &result);
        result
    }

    /// Removes a user who has no credentials.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::remove_user`](crate::CredentialManager::remove_user).
    pub async fn remove_user(&self, user: &UserName) -> Result<(), Error> {
        self.remove("remove_user", user, false).await.map(drop)
    }

    /// Removes a user together with all credentials, in one step, as for someone who leaves.
    /// Returns the credentials that are gone.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::remove_user_with_credentials`](crate::CredentialManager::remove_user_with_credentials).
    pub async fn remove_user_with_credentials(
        &self,
        user: &UserName,
    ) -> Result<Vec<Credential>, Error> {
        self.remove("remove_user_with_credentials", user, true).await
    }

    async fn remove(
        &self,
        name: &'static str,
        user: &UserName,
        with_credentials: bool,
    ) -> Result<Vec<Credential>, Error> {
        let result = self.run(&mut Remove { user, with_credentials, now: self.shared.now() }).await;
        self.trace(name, Subject::user(user), &result);
        result
    }
}

/// How operations are carried out.
impl<S: AsyncStore> AsyncCredentialManager<S> {
    async fn run<O: Operation>(&self, operation: &mut O) -> Result<O::Output, Error> {
        let store = &self.shared.store;
        for _ in 0..ATTEMPTS {
            let user = Key::User { account: self.account, name: operation.user() };
            let found = store.find(&user).await?;
            let id = found.as_ref().map(|record| record.id());
            let (change, output) = match operation.decide(found) {
                Ok(Decision::Commit(change, output)) => (change, output),
                Ok(Decision::Done(output)) => return Ok(output),
                Err(error @ Error::NoSuchCredential { .. }) => {
                    match self.whose(operation.user(), id, error).await? {
                        Some(error) => return Err(error),
                        None => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            let commit = store.commit(&change).await.map_err(|source| Error::OutcomeUnknown {
                id: operation.credential().cloned(),
                source,
            })?;
            match commit {
                CommitOutcome::Applied => return Ok(output),
                CommitOutcome::Stale => {}
                CommitOutcome::KeyTaken => {
                    operation.key_taken()?;
                    while let Some(key) = operation.suspect() {
                        let is_held = store.find(&key).await?.is_some();
                        operation.resolve(is_held)?;
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// Tells a credential that is another user's from one that there is not. `None` if users or
    /// credentials changed meanwhile so that neither need ever have been true.
    async fn whose(
        &self,
        user: &UserName,
        asked: Option<UserId>,
        error: Error,
    ) -> Result<Option<Error>, Error> {
        let Error::NoSuchCredential { id } = error else { return Ok(Some(error)) };
        let key = Key::Credential { account: self.account, id: &id };
        Ok(match self.shared.store.find(&key).await? {
            None => {
                let present = match self.record(user).await {
                    Ok(record) => Some(record.id()),
                    Err(Error::NoSuchUser { .. }) => None,
                    Err(error) => return Err(error),
                };
                (present.is_some() && present == asked).then_some(Error::NoSuchCredential { id })
            }
            Some(owner) if Some(owner.id()) == asked || owner.name() == user => None,
            Some(_) => Some(Error::CredentialOfAnotherUser { user: user.clone(), id }),
        })
    }

    async fn record(&self, user: &UserName) -> Result<Arc<UserRecord>, Error> {
        let key = Key::User { account: self.account, name: user };
        let found = self.shared.store.find(&key).await?;
        found.ok_or_else(|| Error::NoSuchUser { user: user.clone() })
    }

    fn trace<T>(&self, operation: &'static str, subject: Subject<'_>, result: &Result<T, Error>) {
        trace::operation(operation, self.account, subject, result);
    }
}
