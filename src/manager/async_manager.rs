//! The manager over an async store. The sync manager is made of it.

use std::{cell::LazyCell, sync::Arc};

use super::{
    authentication::{Scope, error::AuthenticationError, identity::Identity},
    authenticator::AsyncAuthenticator,
    builder::CredentialManagerBuilder,
    create_options::CreateOptions,
    list_request::{ListRequest, ListUsersRequest},
    listing::{CredentialPager, UserPager},
    operation::{
        create::Create,
        delete::Delete,
        disable::{Disable, DisableAll},
        edit_tags::EditTags,
        fence::Fence,
        register::{IfExists, Register},
        remove::Remove,
        reset::Reset,
        set_status::SetStatus,
        update::Update,
    },
    pager::Pager,
    resolve::Resolution,
    shared::Shared,
    trace::{self, Subject},
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
    record::{UserRecord, key::Key, tags::TagEdit},
    store::AsyncStore,
    tags::Tags,
    user::User,
};

/// [`CredentialManager`](crate::CredentialManager) over an async store.
///
/// It has the same methods and follows the same rules. It runs on any runtime: it spawns no task
/// and starts no timer. Every future is [`Send`].
///
/// # Dropping a future
///
/// A future may be dropped at any point. Before its commit nothing has changed. If it is dropped
/// during the commit, the outcome is unknown, and so is the error that would name it: a credential
/// that was being created may exist, with a secret that is lost. [`fence`](Self::fence) returns the
/// user's credentials once that is settled. A server whose clients disconnect runs changes in
/// tasks of their own, which are not dropped.
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
/// let (name, password) = (issued.service_user_name().as_str(), issued.secret().expose());
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

    /// A builder of a manager with its own policy, clock or random source.
    pub fn builder(account: AccountId, store: S) -> CredentialManagerBuilder<S> {
        CredentialManagerBuilder::new(account, store)
    }
}

impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// A manager of `account` in `store` with the default policy.
    pub fn new(account: AccountId, store: S) -> Self {
        Self::builder(account, store).build_async()
    }
}

/// Credentials.
impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Creates a credential for a user at a service.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::create`](crate::CredentialManager::create).
    pub async fn create(
        &self,
        user: &UserName,
        service: &ServiceName,
    ) -> Result<IssuedCredential, Error> {
        self.create_with_options(user, service, &CreateOptions::new()).await
    }

    /// Creates a credential with options.
    ///
    /// # Errors
    ///
    /// As
    /// [`CredentialManager::create_with_options`](crate::CredentialManager::create_with_options).
    pub async fn create_with_options(
        &self,
        user: &UserName,
        service: &ServiceName,
        options: &CreateOptions,
    ) -> Result<IssuedCredential, Error> {
        let result = match Create::draw(&self.shared, user, service, options) {
            Ok(mut create) => self.run(&mut create).await,
            Err(error) => Err(error.into()),
        };
        let id = match &result {
            Ok(issued) => Some(issued.id()),
            Err(Error::OutcomeUnknown { credential, .. }) => {
                credential.as_ref().map(UnknownCredential::id)
            }
            Err(_) => None,
        };
        let subject = Subject { service: Some(service), id, ..Subject::user(user) };
        self.trace("create", subject, &result);
        result
    }

    /// Gives a credential a new secret. Once this has returned, the old one never authenticates
    /// again. Id, name, status, tags, creation and expiration date stay.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::reset`](crate::CredentialManager::reset).
    pub async fn reset(
        &self,
        user: &UserName,
        id: &CredentialId,
    ) -> Result<IssuedCredential, Error> {
        let result = match Reset::draw(&self.shared, user, id) {
            Ok(mut reset) => self.run(&mut reset).await,
            Err(error) => Err(error.into()),
        };
        let service = result.as_ref().ok().map(|issued| issued.credential().service());
        self.trace("reset", Subject::credential(user, id, service), &result);
        result
    }

    /// Makes a credential active or inactive. Setting its present status succeeds.
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

    /// Replaces the tags of a credential, expired or not.
    ///
    /// # Errors
    ///
    /// As
    /// [`CredentialManager::set_credential_tags`](crate::CredentialManager::set_credential_tags).
    pub async fn set_credential_tags(
        &self,
        user: &UserName,
        id: &CredentialId,
        tags: &Tags,
    ) -> Result<Credential, Error> {
        self.edit_credential_tags("set_credential_tags", user, id, TagEdit::Replace(tags)).await
    }

    /// Adds tags to a credential, expired or not.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::tag_credential`](crate::CredentialManager::tag_credential).
    pub async fn tag_credential(
        &self,
        user: &UserName,
        id: &CredentialId,
        tags: &Tags,
    ) -> Result<Credential, Error> {
        self.edit_credential_tags("tag_credential", user, id, TagEdit::Add(tags)).await
    }

    /// Removes the tags of these keys from a credential, expired or not.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::untag_credential`](crate::CredentialManager::untag_credential).
    pub async fn untag_credential(
        &self,
        user: &UserName,
        id: &CredentialId,
        keys: &[&str],
    ) -> Result<Credential, Error> {
        self.edit_credential_tags("untag_credential", user, id, TagEdit::Remove(keys)).await
    }

    async fn edit_credential_tags(
        &self,
        name: &'static str,
        user: &UserName,
        id: &CredentialId,
        edit: TagEdit<'_>,
    ) -> Result<Credential, Error> {
        let now = self.shared.now();
        let result = self.run(&mut EditTags { user, id: Some(id), edit }).await;
        let result = result.and_then(|record| {
            let held = record.get(id)?;
            Ok(record.describe(held, held.status(|| now)))
        });
        let service = result.as_ref().ok().map(Credential::service);
        self.trace(name, Subject::credential(user, id, service), &result);
        result
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

    /// Makes the credential of this id inactive, whichever user of the account has it: for an id
    /// that has leaked.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::disable`](crate::CredentialManager::disable).
    pub async fn disable(&self, id: &CredentialId) -> Result<Credential, Error> {
        let result = self.run(&mut Disable { id, now: self.shared.now() }).await;
        self.trace("disable", Subject::found(id, &result), &result);
        result
    }

    /// Makes all active credentials of a user inactive, atomically. Returns those that were active.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::disable_all`](crate::CredentialManager::disable_all).
    pub async fn disable_all(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        let result = self.run(&mut DisableAll { user, now: self.shared.now() }).await;
        self.trace("disable_all", Subject::user(user), &result);
        result
    }

    /// Resolves an [unknown outcome](Error::OutcomeUnknown) of a change of a credential: tells
    /// whether the credential exists, and deletes it if its secret was lost.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::resolve`](crate::CredentialManager::resolve).
    pub async fn resolve(&self, unknown: &UnknownCredential) -> Result<Resolution, Error> {
        let result = self.settle(unknown).await;
        let service = match &result {
            Ok(Resolution::Exists(credential) | Resolution::Deleted(credential)) => {
                Some(credential.service())
            }
            Ok(Resolution::Absent) | Err(_) => None,
        };
        let subject = Subject::credential(unknown.user_name(), unknown.id(), service);
        self.trace("resolve", subject, &result);
        result
    }

    /// Fences the changes of a user whose outcome is unknown and whose error is lost, for example
    /// because a future was dropped: once this has returned, they have been applied or never will
    /// be. Returns the user's credentials after that.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::fence`](crate::CredentialManager::fence).
    pub async fn fence(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        let result = self.run(&mut Fence { user, now: self.shared.now() }).await;
        self.trace("fence", Subject::user(user), &result);
        result
    }

    /// A credential by id, whichever user of the account has it.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::credential`](crate::CredentialManager::credential).
    pub async fn credential(&self, id: &CredentialId) -> Result<Credential, Error> {
        let result = self.find_credential(id).await;
        self.trace("credential", Subject::found(id, &result), &result);
        result
    }

    async fn find_credential(&self, id: &CredentialId) -> Result<Credential, Error> {
        let key = Key::Credential { account: self.account, id };
        let missing = || Error::NoSuchCredential { id: id.clone() };
        let record = self.shared.store.find(&key).await?.ok_or_else(missing)?;
        let held = record.get(id)?;
        Ok(record.describe(held, held.status(|| self.shared.now())))
    }

    /// A credential by its service and its service user name or alias, whichever user of the
    /// account has it.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::credential_by_name`](crate::CredentialManager::credential_by_name).
    pub async fn credential_by_name(
        &self,
        service: &ServiceName,
        name: &ServiceUserName,
    ) -> Result<Credential, Error> {
        let result = self.find_named(service, name).await;
        let subject = match &result {
            Ok(credential) => Subject::found(credential.id(), &result),
            Err(_) => Subject { service: Some(service), ..Subject::default() },
        };
        self.trace("credential_by_name", subject, &result);
        result
    }

    async fn find_named(
        &self,
        service: &ServiceName,
        name: &ServiceUserName,
    ) -> Result<Credential, Error> {
        let found = self.shared.store.find_named(self.account, service, name.as_str()).await?;
        let found = found.as_ref().and_then(|(record, position)| {
            let held = record.credentials().get(*position)?;
            Some(record.describe(held, held.status(|| self.shared.now())))
        });
        found.ok_or_else(|| Error::NoSuchServiceUser {
            service: service.clone(),
            name: name.clone(),
        })
    }

    /// The credentials of a user, in the order of creation, then of id.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::list`](crate::CredentialManager::list).
    pub async fn list(&self, user: &UserName) -> Result<Vec<Credential>, Error> {
        let result = self.credentials_of(user, None).await;
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
        let result = self.credentials_of(user, Some(service)).await;
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
            user: request.user(),
            service: request.service_filter(),
            ..Subject::default()
        };
        self.trace("list_page", subject, &result);
        result
    }

    /// Pages through credentials, of one user or of all, from the page of `request` to the last.
    pub fn credentials(&self, request: ListRequest) -> Pager<S, ListRequest> {
        Pager::new(self.clone(), request)
    }

    async fn page(&self, request: &ListRequest) -> Result<Page<Credential>, Error> {
        let now = self.shared.now();
        let record = match request.user() {
            Some(user) => Some(self.record(user).await?),
            None => None,
        };
        self.check_filter(request.service_filter())?;
        let mut pager = CredentialPager::new(self.account, request, self.policy(), now)?;
        match record {
            Some(record) => pager.add_record(&record),
            None => {
                while let Some(range) = pager.next_range() {
                    let records = self.shared.store.scan(&range).await?;
                    pager.add(&records);
                }
            }
        }
        Ok(pager.finish())
    }

    async fn credentials_of(
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
        if let Some(service) = service {
            self.shared.policy.supported(service)?;
        }
        Ok(())
    }

    /// Authenticates a service user name and a password. Both are untrusted input. Allocates
    /// nothing.
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

    /// Authenticates the secret of an API key: a bearer token.
    ///
    /// # Errors
    ///
    /// As
    /// [`CredentialManager::authenticate_api_key`](crate::CredentialManager::authenticate_api_key).
    pub async fn authenticate_api_key(
        &self,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        self.shared.authenticate_api_key(Scope::Account(self.account), service, secret).await
    }

    /// Verifies that a credential that authenticated earlier still does.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::recheck`](crate::CredentialManager::recheck).
    pub async fn recheck(&self, earlier: &Identity) -> Result<Identity, AuthenticationError> {
        self.shared.recheck(Scope::Account(self.account), earlier).await
    }
}

/// Users.
impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Registers a user.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::register_user`](crate::CredentialManager::register_user).
    pub async fn register_user(&self, user: &UserName) -> Result<User, Error> {
        self.register("register_user", user, IfExists::Fail, &RegisterOptions::new()).await
    }

    /// Registers a user, or returns the user that exists: for users that are managed elsewhere.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::ensure_user`](crate::CredentialManager::ensure_user).
    pub async fn ensure_user(&self, user: &UserName) -> Result<User, Error> {
        self.register("ensure_user", user, IfExists::Return, &RegisterOptions::new()).await
    }

    /// Registers a user with options, such as a path and tags.
    ///
    /// # Errors
    ///
    /// As the [sync method](crate::CredentialManager::register_user_with_options).
    pub async fn register_user_with_options(
        &self,
        user: &UserName,
        options: &RegisterOptions,
    ) -> Result<User, Error> {
        self.register("register_user", user, IfExists::Fail, options).await
    }

    /// Registers a user with options, or returns the user that exists, unchanged.
    ///
    /// # Errors
    ///
    /// As the [sync method](crate::CredentialManager::ensure_user_with_options).
    pub async fn ensure_user_with_options(
        &self,
        user: &UserName,
        options: &RegisterOptions,
    ) -> Result<User, Error> {
        self.register("ensure_user", user, IfExists::Return, options).await
    }

    async fn register(
        &self,
        name: &'static str,
        user: &UserName,
        if_exists: IfExists,
        options: &RegisterOptions,
    ) -> Result<User, Error> {
        let Shared { entropy, .. } = &*self.shared;
        let (account, now) = (self.account, self.shared.now());
        let mut register = Register::new(user, account, &**entropy, now, if_exists, options);
        let result = self.run(&mut register).await;
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

    /// A page of users of the account, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::list_users_page`](crate::CredentialManager::list_users_page).
    pub async fn list_users_page(&self, request: &ListUsersRequest) -> Result<Page<User>, Error> {
        let result = self.users_page(request).await;
        self.trace("list_users_page", Subject::default(), &result);
        result
    }

    /// Pages through the users of the account, from the page of `request` to the last.
    pub fn users(&self, request: ListUsersRequest) -> Pager<S, ListUsersRequest> {
        Pager::new(self.clone(), request)
    }

    async fn users_page(&self, request: &ListUsersRequest) -> Result<Page<User>, Error> {
        let mut pager = UserPager::new(self.account, request)?;
        while let Some(range) = pager.next_range() {
            let records = self.shared.store.scan(&range).await?;
            pager.add(&records);
        }
        Ok(pager.finish())
    }

    /// Renames a user, or changes the spelling of the name. Credentials keep their service user
    /// names.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::rename_user`](crate::CredentialManager::rename_user).
    pub async fn rename_user(&self, user: &UserName, new_name: &UserName) -> Result<User, Error> {
        let result = self.run(&mut Update { user, new_name: Some(new_name), path: None }).await;
        let subject = Subject { new_name: Some(new_name), ..Subject::user(user) };
        self.trace("rename_user", subject, &result);
        result
    }

    /// Changes the name of a user, the path, or both, atomically.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::update_user`](crate::CredentialManager::update_user).
    pub async fn update_user(
        &self,
        user: &UserName,
        changes: &UpdateOptions,
    ) -> Result<User, Error> {
        let UpdateOptions { name, path } = changes;
        let (new_name, path) = (name.as_ref(), path.as_ref());
        let result = self.run(&mut Update { user, new_name, path }).await;
        self.trace("update_user", Subject { new_name, ..Subject::user(user) }, &result);
        result
    }

    /// Replaces the tags of a user.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::set_user_tags`](crate::CredentialManager::set_user_tags).
    pub async fn set_user_tags(&self, user: &UserName, tags: &Tags) -> Result<User, Error> {
        self.edit_user_tags("set_user_tags", user, TagEdit::Replace(tags)).await
    }

    /// Adds tags to a user.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::tag_user`](crate::CredentialManager::tag_user).
    pub async fn tag_user(&self, user: &UserName, tags: &Tags) -> Result<User, Error> {
        self.edit_user_tags("tag_user", user, TagEdit::Add(tags)).await
    }

    /// Removes the tags of these keys from a user.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::untag_user`](crate::CredentialManager::untag_user).
    pub async fn untag_user(&self, user: &UserName, keys: &[&str]) -> Result<User, Error> {
        self.edit_user_tags("untag_user", user, TagEdit::Remove(keys)).await
    }

    async fn edit_user_tags(
        &self,
        name: &'static str,
        user: &UserName,
        edit: TagEdit<'_>,
    ) -> Result<User, Error> {
        let result = self.run(&mut EditTags { user, id: None, edit }).await;
        let result = result.map(|record| record.user());
        self.trace(name, Subject::user(user), &result);
        result
    }

    /// Removes a user without credentials.
    ///
    /// # Errors
    ///
    /// As [`CredentialManager::remove_user`](crate::CredentialManager::remove_user).
    pub async fn remove_user(&self, user: &UserName) -> Result<(), Error> {
        self.remove("remove_user", user, false).await.map(drop)
    }

    /// Removes a user together with all credentials, atomically. Returns the removed credentials.
    ///
    /// # Errors
    ///
    /// As the [sync method](crate::CredentialManager::remove_user_with_credentials).
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

impl<S: AsyncStore> AsyncCredentialManager<S> {
    pub(super) async fn record(&self, user: &UserName) -> Result<Arc<UserRecord>, Error> {
        let key = Key::User { account: self.account, name: user };
        let found = self.shared.store.find(&key).await?;
        found.ok_or_else(|| Error::NoSuchUser { user: user.clone() })
    }

    fn trace<T>(&self, operation: &'static str, subject: Subject<'_>, result: &Result<T, Error>) {
        trace::operation(operation, self.account, subject, result);
    }
}
