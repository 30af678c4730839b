//! Four users of two accounts, every operation on them, and what each operation may return and
//! change.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use service_specific_credentials::{
    AccountId, AuthenticationError, Credential, CredentialId, CredentialManager, Error, Identity,
    IssuedCredential, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Status, User, UserId,
    UserName,
    store::{
        self, Change, CommitOutcome, CopyError, CorruptIndex, Key, ScanRange, Store, StoreError,
        SyncAdapter, UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};

use crate::common::{ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, dawn, name};

pub(crate) const OTHER_ACCOUNT: &str = "210987654321";

/// The users, by account and name, with their services.
const USERS: [(&str, &str, &[&str]); 4] = [
    (ACCOUNT, "anika", &[CODECOMMIT, CODECOMMIT, BEDROCK]),
    (ACCOUNT, "bo", &[CODECOMMIT, CASSANDRA]),
    (ACCOUNT, "dora", &[]),
    (OTHER_ACCOUNT, "cleo", &[CODECOMMIT, BEDROCK]),
];

/// A store, and the changes committed to it.
pub(crate) struct Watched<S> {
    store: S,
    made: Mutex<Vec<Change>>,
}

impl<S: Store> Store for Watched<S> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.store.find(key)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let response = self.store.commit(change)?;
        if response == CommitOutcome::Applied {
            self.made.lock().unwrap().push(change.clone());
        }
        Ok(response)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.store.scan(range)
    }
}

impl<S> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

fn manager<S: Store>(account: &str, store: S, seed: u64) -> CredentialManager<S> {
    CredentialManager::builder(name(account), store)
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(seed))
        .build()
}

/// The users before any alteration.
pub(crate) struct People {
    users: BTreeMap<UserId, User>,
    issued: Vec<(AccountId, IssuedCredential)>,
}

impl People {
    /// Registers them.
    pub(crate) fn register(store: &impl Store) -> Self {
        let mut people = Self { users: BTreeMap::new(), issued: Vec::new() };
        for ((account, user, services), seed) in USERS.into_iter().zip(1..) {
            let iam = manager(account, store, seed);
            let user = iam.register_user(&name(user)).unwrap();
            for service in services {
                let issued = iam.create(user.name(), &name(service)).unwrap();
                people.issued.push((user.account(), issued));
            }
            people.users.insert(user.id(), user);
        }
        people
    }

    pub(crate) fn records(&self, store: &impl Store) -> Vec<Arc<UserRecord>> {
        let find = |user: &User| {
            store.find(&Key::User { account: user.account(), name: user.name() }).unwrap().unwrap()
        };
        let mut records: Vec<_> = self.users.values().map(find).collect();
        records.sort_by(|left, right| left.name().cmp(right.name()));
        records
    }

    fn of(&self, account: AccountId, user: &UserName) -> Vec<&IssuedCredential> {
        let own = |(home, issued): &&(AccountId, IssuedCredential)| {
            *home == account && issued.credential().user_name() == user
        };
        self.issued.iter().filter(own).map(|(_, issued)| issued).collect()
    }
}

/// The result of an operation.
enum Seen {
    Nothing,
    User(User),
    Users(Vec<User>),
    Credentials(Vec<Credential>),
    Identity(Identity),
}

/// A call of an operation.
type Call<'a, S> = Box<dyn Fn(&CredentialManager<&Watched<S>>) -> Result<Seen, Failure> + 'a>;

/// An operation on one user, or on all users of an account.
struct Operation<'a, S> {
    what: String,
    account: AccountId,
    user: Option<UserName>,
    /// The credential that it names.
    id: Option<CredentialId>,
    run: Call<'a, S>,
}

enum Failure {
    Operation(Error),
    Authentication(AuthenticationError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Operation(error)
    }
}

impl From<AuthenticationError> for Failure {
    fn from(error: AuthenticationError) -> Self {
        Self::Authentication(error)
    }
}

impl Failure {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Operation(Error::Store(error) | Error::OutcomeUnknown { source: error, .. })
            | Self::Authentication(AuthenticationError::Unavailable(error)) => Some(error),
            _ => None,
        }
    }
}

/// How often each operation detected a corrupt index.
pub(crate) type Found = BTreeMap<String, usize>;

/// Tries every operation on a store that was altered after the users were registered: reads first.
/// Returns how often each operation detected the corruption.
pub(crate) fn try_everything<S: Store>(people: &People, store: S) -> Found {
    let store = Watched { store, made: Mutex::default() };
    let mut found = Found::new();
    for operation in reading(people).into_iter().chain(writing(people)) {
        let account = operation.account.to_string();
        // Each manager draws the same bytes, so a new credential has the id of the previous one.
        let iam = manager(&account, &store, 99);
        store.made.lock().unwrap().clear();
        let result = (operation.run)(&iam);
        for change in store.made.lock().unwrap().iter() {
            check_change(&operation, change);
        }
        match result {
            Ok(seen) => check_seen(people, &operation, &seen),
            Err(failure) => {
                let error = failure.store_error().map(StoreError::get_ref);
                let corrupt = matches!(error, Some(error) if error.is::<CorruptIndex>());
                // The store itself detects a missing record.
                let message = error.map(ToString::to_string);
                assert!(
                    corrupt
                        || message.as_deref().is_none_or(|message| {
                            message == "the index refers to a record that does not exist"
                        }),
                    "{}: {message:?}",
                    operation.what
                );
                *found.entry(operation.what).or_default() += usize::from(corrupt);
            }
        }
    }
    found
}

/// An operation changes only the user that it names.
fn check_change<S>(operation: &Operation<'_, S>, change: &Change) {
    let record = change.previous().or(change.record().map(|after| &**after)).unwrap();
    let (account, user) = (record.account(), Some(record.name()));
    let named = (operation.account, operation.user.as_ref());
    assert_eq!((account, user), named, "{} changed another user", operation.what);
}

fn check_seen<S>(people: &People, operation: &Operation<'_, S>, seen: &Seen) {
    let Operation { what, account, user: asked, id: about, .. } = operation;
    let own = |user: &User| {
        assert_eq!(user.account(), *account, "{what}");
        let known = people.users.get(&user.id());
        assert!(known.is_none_or(|known| known.account() == *account), "{what}");
    };
    match seen {
        Seen::Nothing => {}
        Seen::User(user) => own(user),
        Seen::Users(users) => {
            users.iter().for_each(own);
            assert!(users.is_sorted_by(|left, right| left.name() < right.name()), "{what}");
        }
        Seen::Credentials(credentials) => {
            for credential in credentials {
                assert!(
                    credential.service_user_name().as_str().ends_with(&format!("-at-{account}")),
                    "{what}"
                );
                let user = asked.as_ref().unwrap_or(credential.user_name());
                assert_eq!(credential.user_name(), user, "{what}");
                let others = people.issued.iter().filter(|(_, it)| it.id() == credential.id());
                for (home, issued) in others {
                    assert_eq!((home, issued.credential().user_name()), (account, user), "{what}");
                }
            }
        }
        Seen::Identity(identity) => {
            assert_eq!(identity.account(), *account, "{what}");
            assert_eq!(Some(identity.user_name()), asked.as_ref(), "{what}");
            assert_eq!(Some(identity.credential_id()), about.as_ref(), "{what}");
            assert_eq!(people.users[&identity.user_id()].name(), identity.user_name(), "{what}");
        }
    }
}

macro_rules! operations {
    ($list:ident, $account:expr, $user:expr, $id:expr; $($what:expr => $run:expr;)+) => {
        $($list.push(Operation {
            what: $what.to_owned(),
            account: $account,
            user: $user,
            id: $id,
            run: Box::new($run),
        });)+
    };
}

/// Operations that change nothing.
fn reading<'a, S: Store>(people: &'a People) -> Vec<Operation<'a, S>> {
    type Iam<'i, S> = CredentialManager<&'i Watched<S>>;
    let mut all: Vec<Operation<'a, S>> = Vec::new();
    for account in [ACCOUNT, OTHER_ACCOUNT].map(name::<AccountId>) {
        let page = |iam: &Iam<'_, S>, mut request: ListRequest| {
            let mut items = Vec::new();
            loop {
                let page = iam.list_page(&request)?;
                items.extend(page.items);
                let Some(next) = page.next else { return Ok(Seen::Credentials(items)) };
                request = request.marker(next);
            }
        };
        operations! { all, account, None, None;
            "users" => |iam| {
                Ok(Seen::Users(iam.list_users_page(&ListUsersRequest::new())?.items))
            };
            "users by one" => |iam| {
                let (mut users, mut marker) = (Vec::new(), None);
                loop {
                    let one = MaxItems::new(1).unwrap();
                    let request = ListUsersRequest::new().marker(marker.clone()).max_items(one);
                    let page = iam.list_users_page(&request)?;
                    users.extend(page.items);
                    marker = page.next;
                    if marker.is_none() {
                        return Ok(Seen::Users(users));
                    }
                }
            };
            "list_page of all" => move |iam| page(iam, ListRequest::all_users());
            "list_page of all by one" => move |iam| {
                let request = ListRequest::all_users();
                page(iam, request.max_items(MaxItems::new(1).unwrap()))
            };
            "list_page at a service" => move |iam| {
                page(iam, ListRequest::all_users().service(name(CODECOMMIT)))
            };
            "list_page at another service" => move |iam| {
                page(iam, ListRequest::all_users().service(name(BEDROCK)))
            };
            "copy_users from" => move |iam| copied(copy(iam.store(), &MemoryStore::new(), account));
            "copy_users to" => move |iam| {
                // The same users: if they are found there, nothing is left to copy.
                let from = MemoryStore::new();
                People::register(&from);
                copied(copy(&from, iam.store(), account))
            };
        }
    }
    for user in people.users.values() {
        let (account, asked) = (user.account(), user.name());
        operations! { all, account, Some(asked.clone()), None;
            "user" => move |iam| Ok(Seen::User(iam.user(asked)?));
            "list" => move |iam| Ok(Seen::Credentials(iam.list(asked)?));
            "list_for_service" => move |iam| {
                Ok(Seen::Credentials(iam.list_for_service(asked, &name(CODECOMMIT))?))
            };
            "list_page of one" => move |iam| {
                let request = ListRequest::of(asked.clone());
                Ok(Seen::Credentials(iam.list_page(&request)?.items))
            };
            "ensure_user" => move |iam| Ok(Seen::User(iam.ensure_user(asked)?));
        }
        for issued in people.of(account, asked) {
            let (service, id) = (issued.credential().service(), issued.id());
            let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
            operations! { all, account, Some(asked.clone()), Some(id.clone());
                "authenticate" => move |iam| {
                    Ok(Seen::Identity(iam.authenticate(service, login, secret)?))
                };
                "authenticate for all accounts" => move |iam| {
                    Ok(Seen::Identity(iam.authenticator().authenticate(service, login, secret)?))
                };
                "authenticate_api_key" => move |iam| {
                    Ok(Seen::Identity(iam.authenticate_api_key(service, secret)?))
                };
                "authenticate_api_key for all accounts" => move |iam| {
                    Ok(Seen::Identity(iam.authenticator().authenticate_api_key(service, secret)?))
                };
            }
        }
    }
    all
}

/// Operations that change a user, in an order in which each can succeed.
fn writing<'a, S: Store>(people: &'a People) -> Vec<Operation<'a, S>> {
    let mut all: Vec<Operation<'a, S>> = Vec::new();
    let ids = || people.issued.iter().map(|(_, issued)| issued.id());
    for user in people.users.values() {
        let (account, asked) = (user.account(), user.name());
        // Credentials of other users too: an operation must not change those.
        for id in ids() {
            operations! { all, account, Some(asked.clone()), Some(id.clone());
                "reset" => move |iam| {
                    let issued = iam.reset(asked, id)?;
                    Ok(Seen::Credentials(vec![issued.credential().clone()]))
                };
                "set_status" => move |iam| {
                    iam.set_status(asked, id, Status::Inactive)?;
                    Ok(Seen::Nothing)
                };
            }
        }
        operations! { all, account, Some(asked.clone()), None;
            "register_user" => move |iam| Ok(Seen::User(iam.register_user(asked)?));
            "create" => move |iam| {
                let issued = iam.create(asked, &name(CASSANDRA))?;
                Ok(Seen::Credentials(vec![issued.credential().clone()]))
            };
            "remove_user" => move |iam| {
                iam.remove_user(asked)?;
                Ok(Seen::Nothing)
            };
            "rename_user" => move |iam| {
                // Renames back, so that the next operations find the user.
                iam.rename_user(asked, &name(&asked.as_str().to_uppercase()))?;
                Ok(Seen::User(iam.rename_user(asked, asked)?))
            };
        }
    }
    for user in people.users.values() {
        let (account, asked) = (user.account(), user.name());
        for id in ids() {
            operations! { all, account, Some(asked.clone()), Some(id.clone());
                "delete" => move |iam| {
                    iam.delete(asked, id)?;
                    Ok(Seen::Nothing)
                };
            }
        }
        operations! { all, account, Some(asked.clone()), None;
            "remove_user_with_credentials" => move |iam| {
                Ok(Seen::Credentials(iam.remove_user_with_credentials(asked)?))
            };
        }
    }
    all
}

/// Copies between stores whose futures are always ready.
pub(crate) fn copy(
    from: &impl Store,
    to: &impl Store,
    account: AccountId,
) -> Result<usize, CopyError> {
    let (from, to) = (SyncAdapter::new(from), SyncAdapter::new(to));
    let copying = pin!(store::copy_users(&from, &to, account));
    match copying.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(copied) => copied,
        Poll::Pending => panic!("the future of a sync store is always ready"),
    }
}

fn copied(result: Result<usize, CopyError>) -> Result<Seen, Failure> {
    match result {
        Ok(_) | Err(CopyError::Taken { .. }) => Ok(Seen::Nothing),
        Err(CopyError::Read(error) | CopyError::Write(error)) => Err(Error::Store(error).into()),
        Err(error) => panic!("{error:?}"),
    }
}
