//! Runs commands on the real managers and on the model, and compares the results.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use service_specific_credentials::{
    AuthenticationError, Authenticator, CreateOptions, Credential, CredentialId, CredentialKind,
    CredentialManager, DenialReason, Error, Identity, IssuedCredential, Lifetime, ListRequest,
    ListUsersRequest, Marker, MaxItems, Page, Policy, RegisterOptions, Resolution, ServiceName,
    Status, Tags, UpdateOptions, User, UserId, UserName,
    store::Store,
    testing::{FailingStore, Fault, FixedClock, SeededEntropy, When},
};
use time::{Duration, OffsetDateTime};

use crate::reference::{
    ACCOUNTS, At, CODECOMMIT, Drawn, Model, ModelError, Position, Query, Seen, SeenUser, Tagging,
    fold, join_api_key, kind, milliseconds, split_api_key,
};

/// An id that no credential has.
const UNKNOWN: &str = "ACCA2345672345672345A";

/// One step. User and service names are spelled as the caller spells them.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Register(At, &'static str),
    /// Registers a user with a path.
    RegisterAt(At, &'static str, &'static str),
    Ensure(At, &'static str),
    User(At, &'static str),
    Users(At, u32),
    /// All pages of this size of the users with this prefix of their paths.
    UsersAt(At, &'static str, u32),
    Rename(At, &'static str, &'static str),
    /// A new name, a new path, or both.
    Update(At, &'static str, Option<&'static str>, Option<&'static str>),
    TagUser(At, &'static str, Tagging),
    TagCredential(At, &'static str, Pick, Tagging),
    Remove(At, &'static str),
    RemoveWithCredentials(At, &'static str),
    Create(At, &'static str, &'static str),
    CreateWith(At, &'static str, &'static str, u32),
    Reset(At, &'static str, Pick),
    SetStatus(At, &'static str, Pick, Status),
    Delete(At, &'static str, Pick),
    /// By the id alone.
    Disable(At, &'static str, Pick),
    DisableAll(At, &'static str),
    /// A create whose outcome is unknown, and is then resolved.
    CreateUnknown(At, &'static str, &'static str, Fault),
    /// A reset whose outcome is unknown, and is then resolved.
    ResetUnknown(At, &'static str, Pick, Fault),
    /// Operations of each kind on a store that cannot be read.
    Unreadable(At, &'static str, Pick),
    List(At, &'static str),
    ListForService(At, &'static str, &'static str),
    /// Reads all pages of this size.
    Pages(Query, u32),
    /// Reads one page of this size, and remembers its end.
    Page(Query, u32),
    /// Reads the next page of the remembered query.
    More(u32),
    /// Reads a page of this query with the remembered marker, which may belong to another query.
    WrongQueryMarker(Query),
    /// Authenticates with the name of one issued credential and the secret of another.
    Authenticate(At, &'static str, usize, usize),
    /// Authenticates with one issued secret, in some shape.
    AuthenticateKey(At, &'static str, usize, Shape),
    /// Moves the clock by milliseconds.
    Advance(i64),
}

/// Selects a credential.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    /// A credential of the user, by its index in the listing.
    Own(usize),
    /// Any issued credential.
    Issued(usize),
    Unknown,
}

/// A transformation of a secret before it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Whole,
    OtherPassword,
    UpperCaseAlias,
    Truncated,
    InnerPassword,
}

/// A secret that was issued once.
struct Issued {
    at: At,
    id: String,
    service: String,
    name: String,
    secret: String,
}

struct Bookmark {
    query: Query,
    after: Position,
    marker: Marker,
}

type Manager<S> = CredentialManager<FailingStore<S>>;

struct Machine<S> {
    managers: [Manager<S>; 2],
    door: Authenticator<FailingStore<S>>,
    clock: Arc<FixedClock>,
    model: Model,
    issued: Vec<Issued>,
    ids: BTreeSet<String>,
    bookmark: Option<Bookmark>,
}

/// When everything that is observable is compared with the model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    AfterEach,
    /// After the last command. A comparison takes many times as long as a command.
    AtTheEnd,
}

/// What happened while commands ran.
pub(crate) struct Ran {
    /// The generated service user names.
    pub(crate) names: Vec<String>,
    /// The number of injected faults.
    pub(crate) faults: u64,
}

/// Runs the commands on an empty store.
pub(crate) fn run<S: Store>(
    store: S,
    policy: Policy,
    commands: &[Command],
    compare: Compare,
) -> Ran {
    let start = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1_478_022_442_382);
    let clock = Arc::new(FixedClock::new(start));
    let model = Model::new(milliseconds(start), policy.numbering());
    let first = CredentialManager::builder(ACCOUNTS[0].parse().unwrap(), FailingStore::new(store))
        .policy(policy)
        .clock(Arc::clone(&clock))
        .entropy(SeededEntropy::new(7))
        .build();
    let second = first.for_account(ACCOUNTS[1].parse().unwrap());
    let door = first.authenticator();
    let (issued, ids) = (Vec::new(), BTreeSet::new());
    let mut machine =
        Machine { managers: [first, second], door, clock, model, issued, ids, bookmark: None };
    let mut names = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        names.extend(machine.apply(command));
        if compare == Compare::AfterEach || index + 1 == commands.len() {
            machine.compare();
        }
    }
    Ran { names, faults: machine.managers[0].store().injected() }
}

/// Account, user id, user name and credential of the authenticated user.
type Authenticated = (String, UserId, String, Seen);

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags::from_pairs(pairs.iter().copied()).unwrap()
}

fn service(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn max(size: u32) -> MaxItems {
    MaxItems::new(size).unwrap()
}

fn request(query: &Query, size: u32) -> ListRequest {
    let request =
        query.user.map_or_else(ListRequest::all_users, |user| ListRequest::of(name(user)));
    let mut request = request.max_items(max(size));
    if let Some(service) = query.service {
        request = request.service(self::service(service));
    }
    if let Some(days) = query.days {
        request = request.older_than(Lifetime::days(days).unwrap());
    }
    if let Some(days) = query.secret_days {
        request = request.secret_older_than(Lifetime::days(days).unwrap());
    }
    request
}

fn agree<R: Into<E>, E: Debug + PartialEq>(
    command: &Command,
    real: Result<R, Error>,
    expected: &Result<E, ModelError>,
) {
    assert_eq!(real.map(Into::into).map_err(ModelError::from), *expected, "{command:?}");
}

fn seen(credentials: Vec<Credential>) -> Vec<Seen> {
    credentials.into_iter().map(Seen::from).collect()
}

fn reason(result: Result<Identity, AuthenticationError>) -> Result<Authenticated, DenialReason> {
    match result {
        Ok(identity) => Ok((
            identity.account().to_string(),
            identity.user_id(),
            identity.user_name().to_string(),
            identity.credential().into(),
        )),
        Err(AuthenticationError::Denied(denial)) => Err(denial.reason()),
        Err(AuthenticationError::Unavailable(error)) => panic!("{error}"),
    }
}

impl<S: Store> Machine<S> {
    /// Returns the service user name if a credential was created.
    #[expect(clippy::too_many_lines, reason = "a command each")]
    fn apply(&mut self, command: &Command) -> Option<String> {
        match *command {
            Command::Register(at, user) => {
                let real = self.managers[at].register_user(&name(user));
                let drawn = real.as_ref().ok().map(User::id);
                let expected = self.model.register(at, user, "/", drawn);
                agree(command, real, &expected);
            }
            Command::RegisterAt(at, user, path) => {
                let options = RegisterOptions::new().path(path.parse().unwrap());
                let real = self.managers[at].register_user_with_options(&name(user), &options);
                let drawn = real.as_ref().ok().map(User::id);
                let expected = self.model.register(at, user, path, drawn);
                agree(command, real, &expected);
            }
            Command::Update(at, user, new, path) => {
                let mut changes = UpdateOptions::new();
                if let Some(new) = new {
                    changes = changes.name(name(new));
                }
                if let Some(path) = path {
                    changes = changes.path(path.parse().unwrap());
                }
                let real = self.managers[at].update_user(&name(user), &changes);
                let expected = self.model.update(at, user, new, path);
                agree(command, real, &expected);
            }
            Command::TagUser(at, user, tagging) => {
                let (manager, user_name) = (&self.managers[at], name(user));
                let real = match tagging {
                    Tagging::Set(pairs) => manager.set_user_tags(&user_name, &tags(pairs)),
                    Tagging::Add(pairs) => manager.tag_user(&user_name, &tags(pairs)),
                    Tagging::Remove(keys) => manager.untag_user(&user_name, keys),
                };
                let expected = self.model.tag_user(at, user, tagging);
                agree(command, real, &expected);
            }
            Command::TagCredential(at, user, pick, tagging) => {
                let id = &self.pick(at, user, pick);
                let (manager, user_name) = (&self.managers[at], &name(user));
                let real = match tagging {
                    Tagging::Set(pairs) => manager.set_credential_tags(user_name, id, &tags(pairs)),
                    Tagging::Add(pairs) => manager.tag_credential(user_name, id, &tags(pairs)),
                    Tagging::Remove(keys) => manager.untag_credential(user_name, id, keys),
                };
                let expected = self.model.tag_credential(at, user, id.as_str(), tagging);
                agree(command, real, &expected);
            }
            Command::Ensure(at, user) => {
                let real = self.managers[at].ensure_user(&name(user)).unwrap();
                let expected = match self.model.user(at, user) {
                    Ok(user) => Ok(user),
                    Err(_) => self.model.register(at, user, "/", Some(real.id())),
                };
                agree(command, Ok(real), &expected);
            }
            Command::Rename(at, user, new) => {
                let real = self.managers[at].rename_user(&name(user), &name(new));
                let expected = self.model.rename(at, user, new);
                agree(command, real, &expected);
            }
            Command::Remove(at, user) => {
                let real = self.managers[at].remove_user(&name(user));
                let expected = self.model.remove(at, user, false).map(drop);
                agree(command, real, &expected);
            }
            Command::RemoveWithCredentials(at, user) => {
                let real = self.managers[at].remove_user_with_credentials(&name(user));
                let expected = self.model.remove(at, user, true);
                agree(command, real.map(seen), &expected);
            }
            Command::Create(at, user, service) => {
                return self.create(command, at, user, service, None);
            }
            Command::CreateWith(at, user, service, days) => {
                return self.create(command, at, user, service, Some(days));
            }
            Command::Reset(at, user, pick) => {
                let id = self.pick(at, user, pick);
                let real = self.managers[at].reset(&name(user), &id);
                let drawn = real.as_ref().ok().map(|issued| self.remember(at, issued));
                let expected = self.model.reset(at, user, id.as_str(), drawn);
                agree(command, real.map(|issued| issued.into_parts().0), &expected);
            }
            Command::SetStatus(at, user, pick, status) => {
                let id = self.pick(at, user, pick);
                let real = self.managers[at].set_status(&name(user), &id, status);
                let expected = self.model.set_status(at, user, id.as_str(), status);
                agree(command, real, &expected);
            }
            Command::Delete(at, user, pick) => {
                let id = self.pick(at, user, pick);
                let real = self.managers[at].delete(&name(user), &id);
                let expected = self.model.delete(at, user, id.as_str());
                agree(command, real, &expected);
            }
            Command::Disable(at, user, pick) => {
                let id = self.pick(at, user, pick);
                let real = self.managers[at].disable(&id);
                let expected = self.model.disable(at, id.as_str());
                agree(command, real, &expected);
            }
            Command::DisableAll(at, user) => {
                let real = self.managers[at].disable_all(&name(user));
                let expected = self.model.disable_all(at, user);
                agree(command, real.map(seen), &expected);
            }
            Command::CreateUnknown(at, user, service, fault) => {
                let drawn = Drawn { id: String::new(), secret: String::new() };
                let expected = self.model.clone().create(at, user, service, None, Some(drawn));
                let create =
                    |iam: &CredentialManager<_>| iam.create(&name(user), &self::service(service));
                match (self.unknown(at, fault, create), expected) {
                    (Ok(Resolution::Absent), Ok(_)) => assert_eq!(fault, Fault::CommitBefore),
                    (Ok(Resolution::Deleted(credential)), Ok(expected)) => {
                        assert_eq!(fault, Fault::CommitAfter);
                        let id = credential.id().to_string();
                        assert_eq!(Seen::from(credential), Seen { id, ..expected });
                    }
                    (real, expected) => {
                        assert_eq!(real.map(drop).map_err(ModelError::from), expected.map(drop));
                    }
                }
            }
            Command::ResetUnknown(at, user, pick, fault) => {
                let id = self.pick(at, user, pick);
                let drawn = Drawn { id: String::new(), secret: String::new() };
                let expected = self.model.clone().reset(at, user, id.as_str(), Some(drawn));
                let reset = |iam: &CredentialManager<_>| iam.reset(&name(user), &id);
                match (self.unknown(at, fault, reset), expected) {
                    (Ok(Resolution::Exists(credential)), Ok(_)) => {
                        assert_eq!(fault, Fault::CommitBefore);
                        // It has the old secret, with the old date.
                        let all = self.model.listing(&Query { at, ..Query::default() }).unwrap();
                        assert!(all.contains(&Seen::from(credential)), "{command:?}");
                    }
                    (Ok(Resolution::Deleted(credential)), Ok(expected)) => {
                        assert_eq!(fault, Fault::CommitAfter);
                        assert_eq!(Seen::from(credential), expected);
                        self.model.delete(at, user, id.as_str()).unwrap();
                    }
                    (real, expected) => {
                        assert_eq!(real.map(drop).map_err(ModelError::from), expected.map(drop));
                    }
                }
            }
            Command::Unreadable(at, user, pick) => self.unreadable(at, &name(user), pick),
            Command::Advance(by) => {
                self.clock.advance(Duration::milliseconds(by));
                self.model.now += by;
            }
            _ => return self.read(command),
        }
        None
    }

    fn read(&mut self, command: &Command) -> Option<String> {
        match *command {
            Command::User(at, user) => {
                let real = self.managers[at].user(&name(user));
                let expected = self.model.user(at, user);
                agree(command, real, &expected);
            }
            Command::Users(at, size) => self.users(at, None, size),
            Command::UsersAt(at, prefix, size) => self.users(at, Some(prefix), size),
            Command::List(at, user) => {
                let real = self.managers[at].list(&name(user));
                let query = Query { at, user: Some(user), ..Query::default() };
                let expected = self.model.listing(&query);
                agree(command, real.map(seen), &expected);
            }
            Command::ListForService(at, user, service) => {
                let real = self.managers[at].list_for_service(&name(user), &self::service(service));
                let query =
                    Query { at, user: Some(user), service: Some(service), ..Query::default() };
                let expected = self.model.listing(&query);
                agree(command, real.map(seen), &expected);
            }
            Command::Pages(ref query, size) => {
                let mut turned = self.page(query, size, None);
                while let Some(Bookmark { after, marker, .. }) = turned {
                    turned = self.page(query, size, Some((after, marker)));
                }
            }
            Command::Page(ref query, size) => self.bookmark = self.page(query, size, None),
            Command::More(size) => {
                if let Some(Bookmark { query, after, marker }) = self.bookmark.take() {
                    self.bookmark = self.page(&query, size, Some((after, marker)));
                }
            }
            Command::WrongQueryMarker(ref query) => self.stray(command, query),
            Command::Authenticate(at, service, named, secret) => {
                let (named, secret) = (self.issued(named)?, self.issued(secret)?);
                let (named, secret) = (&named.name.to_ascii_uppercase(), &secret.secret);
                let real = self.managers[at].authenticate(&self::service(service), named, secret);
                let expected = self.model.authenticate(at, service, named, secret);
                assert_eq!(reason(real), response(expected, at), "{command:?}");
            }
            Command::AuthenticateKey(at, service, key, shape) => {
                let secret = shape.apply(self.issued(key)?);
                let service_name = self::service(service);
                let real = self.managers[at].authenticate_api_key(&service_name, &secret);
                let expected = self.model.authenticate_api_key(at, service, &secret);
                assert_eq!(reason(real), response(expected, at), "{command:?}");
            }
            _ => unreachable!("{command:?} changes something"),
        }
        None
    }

    /// Makes one commit fail, and resolves the unknown outcome. Returns the error of an operation
    /// that is rejected before it commits.
    fn unknown(
        &self,
        at: At,
        fault: Fault,
        operation: impl FnOnce(&Manager<S>) -> Result<IssuedCredential, Error>,
    ) -> Result<Resolution, Error> {
        let iam = &self.managers[at];
        iam.store().fail(fault, When::Once);
        let error = operation(iam).unwrap_err();
        iam.store().recover();
        match error {
            Error::OutcomeUnknown { credential, .. } => {
                Ok(iam.resolve(&credential.unwrap()).unwrap())
            }
            error => Err(error),
        }
    }

    /// Operations that read first fail with an error of the store, whatever their result would be.
    fn unreadable(&self, at: At, user: &UserName, pick: Pick) {
        let (iam, id) = (&self.managers[at], self.pick(at, user.as_str(), pick));
        let (service, login) = (&service(CODECOMMIT), format!("a+1-at-{}", ACCOUNTS[at]));
        iam.store().fail(Fault::Read, When::Always);
        let errors = [
            iam.user(user).map(drop),
            iam.list(user).map(drop),
            iam.list_page(&ListRequest::all_users()).map(drop),
            iam.credential(&id).map(drop),
            iam.create(user, service).map(drop),
            iam.reset(user, &id).map(drop),
            iam.delete(user, &id),
            iam.disable(&id).map(drop),
            iam.remove_user(user),
        ];
        let denial = iam.authenticate(service, &login, "password");
        iam.store().recover();
        for error in errors {
            assert!(matches!(error, Err(Error::Store(_))), "{error:?}");
        }
        assert!(matches!(denial, Err(AuthenticationError::Unavailable(_))), "{denial:?}");
    }

    fn create(
        &mut self,
        command: &Command,
        at: At,
        user: &str,
        service: &str,
        days: Option<u32>,
    ) -> Option<String> {
        let (manager, service_name) = (&self.managers[at], self::service(service));
        let real = match days.map(|days| Lifetime::days(days).unwrap()) {
            Some(age) => manager.create_with_options(
                &name(user),
                &service_name,
                &CreateOptions::new().lifetime(age),
            ),
            None => manager.create(&name(user), &service_name),
        };
        let drawn = real.as_ref().ok().map(|issued| self.remember(at, issued));
        if let Some(drawn) = &drawn {
            assert!(self.ids.insert(drawn.id.clone()), "an id is reused");
        }
        let given = real.as_ref().ok().map(|issued| issued.service_user_name().to_string());
        let expected = self.model.create(at, user, service, days, drawn);
        agree(command, real.map(|issued| issued.into_parts().0), &expected);
        given
    }

    /// Uses the remembered marker with a query that may be another one.
    fn stray(&mut self, command: &Command, query: &Query) {
        let Some(Bookmark { query: of, after, marker }) = self.bookmark.take() else { return };
        let key = |query: &Query| {
            let Query { at, user, service, days, secret_days } = query;
            (*at, user.map(fold), service.map(fold), *days, *secret_days)
        };
        if key(query) == key(&of) {
            self.page(query, 1, Some((after, marker)));
        } else {
            let real = self.managers[query.at].list_page(&request(query, 1).marker(marker));
            let expected =
                self.model.listing(query).and(Err::<Vec<Seen>, _>(ModelError::MarkerMismatch));
            agree(command, real.map(|page| seen(page.items)), &expected);
        }
    }

    /// Checks the drawn values and remembers them.
    fn remember(&mut self, at: At, issued: &IssuedCredential) -> Drawn {
        let id = issued.id().to_string();
        assert!(id.len() == 21 && id.starts_with("ACCA"), "{id}");
        let secret = issued.secret().expose().to_owned();
        let password = match issued.kind() {
            CredentialKind::Password => secret.clone(),
            CredentialKind::ApiKey => {
                let (alias, password) = split_api_key(&secret).unwrap();
                assert_eq!(alias, issued.service_user_name().as_str());
                assert_eq!(secret, join_api_key(&alias, &password));
                password
            }
        };
        let bytes = self.managers[at].policy().password_bytes();
        assert_eq!(password.len(), bytes.div_ceil(3) * 4);
        assert!(self.issued.iter().all(|other| other.secret != secret));
        self.issued.push(Issued {
            at,
            id: id.clone(),
            service: issued.credential().service().to_string(),
            name: issued.service_user_name().to_string(),
            secret: secret.clone(),
        });
        Drawn { id, secret }
    }

    fn issued(&self, index: usize) -> Option<&Issued> {
        self.issued.get(index.checked_rem(self.issued.len())?)
    }

    fn pick(&self, at: At, user: &str, pick: Pick) -> CredentialId {
        let id = match pick {
            Pick::Own(index) => {
                let all = self.model.listing(&Query { at, ..Query::default() });
                let mut own = all.unwrap();
                own.retain(|seen| fold(&seen.user_name) == fold(user));
                let index = index.checked_rem(own.len());
                index.map(|index| own.swap_remove(index).id)
            }
            Pick::Issued(index) => self.issued(index).map(|issued| issued.id.clone()),
            Pick::Unknown => None,
        };
        id.as_deref().unwrap_or(UNKNOWN).parse().unwrap()
    }

    /// Reads one page, after a position if there is one. Returns its end if there is more.
    fn page(
        &self,
        query: &Query,
        size: u32,
        after: Option<(Position, Marker)>,
    ) -> Option<Bookmark> {
        let (after, marker) = after.unzip();
        let mut request = request(query, size);
        if let Some(marker) = marker {
            request = request.marker(marker);
        }
        let real = self.managers[query.at].list_page(&request);
        let expected = self.model.listing(query).map(|mut all| {
            all.retain(|seen| after.as_ref().is_none_or(|after| seen.position() > *after));
            let more = all.len() > size as usize;
            all.truncate(size as usize);
            (all, more)
        });
        let (real, next) = match real {
            Ok(Page { items, next }) => (Ok((seen(items), next.is_some())), next),
            Err(error) => (Err(ModelError::from(error)), None),
        };
        assert_eq!(real, expected, "{query:?} {size} {after:?}");
        let last = expected.ok()?.0.pop()?.position();
        next.map(|marker| Bookmark { query: query.clone(), after: last, marker })
    }

    fn users(&self, at: At, prefix: Option<&str>, size: u32) {
        let users = self.model.users(at, prefix.unwrap_or_default());
        let mut pages = users.chunks(size as usize).peekable();
        let mut marker = None;
        loop {
            let mut request = ListUsersRequest::new().marker(marker.clone()).max_items(max(size));
            if let Some(prefix) = prefix {
                request = request.path_prefix(prefix.parse().unwrap());
            }
            let page = self.managers[at].list_users_page(&request).unwrap();
            let items: Vec<_> = page.items.into_iter().map(SeenUser::from).collect();
            assert_eq!(items, pages.next().unwrap_or_default());
            assert_eq!(page.next.is_some(), pages.peek().is_some());
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
    }

    /// Compares what is found by lookup and by iteration with the listing.
    fn compare_lookups(&self, at: At) {
        let (manager, query) = (&self.managers[at], Query { at, ..Query::default() });
        let request = ListRequest::all_users().max_items(max(2));
        let credentials: Vec<_> = manager.credentials(request).map(Result::unwrap).collect();
        for credential in &credentials {
            assert_eq!(manager.credential(credential.id()).unwrap(), *credential);
            let (service, name) = (credential.service(), credential.service_user_name());
            assert_eq!(manager.credential_by_name(service, name).unwrap(), *credential);
        }
        assert_eq!(seen(credentials), self.model.listing(&query).unwrap());
        let users = manager.users(ListUsersRequest::new().max_items(max(2)));
        let users: Vec<_> = users.map(|user| SeenUser::from(user.unwrap())).collect();
        assert_eq!(users, self.model.users(at, "/"));
    }

    /// Compares everything that is observable.
    fn compare(&self) {
        for (at, manager) in self.managers.iter().enumerate() {
            self.compare_lookups(at);
            self.users(at, None, 1000);
            self.page(&Query { at, ..Query::default() }, 1000, None);
            for Issued { at: of, service, name, secret, .. } in &self.issued {
                let service_name = self::service(service);
                let (expected, real, anywhere) = match kind(service).unwrap() {
                    CredentialKind::Password => (
                        self.model.authenticate(at, service, name, secret),
                        manager.authenticate(&service_name, name, secret),
                        self.door.authenticate(&service_name, name, secret),
                    ),
                    CredentialKind::ApiKey => (
                        self.model.authenticate_api_key(at, service, secret),
                        manager.authenticate_api_key(&service_name, secret),
                        self.door.authenticate_api_key(&service_name, secret),
                    ),
                };
                let expected = response(expected, at);
                if at == *of {
                    assert_eq!(reason(anywhere), expected, "{name} at {service}");
                }
                assert_eq!(reason(real), expected, "{name} at {service}");
            }
        }
    }
}

/// The result of the model in the form of the managers' result.
fn response(
    expected: Result<(SeenUser, Seen), DenialReason>,
    at: At,
) -> Result<Authenticated, DenialReason> {
    expected.map(|(user, seen)| (ACCOUNTS[at].to_owned(), user.id, user.name, seen))
}

impl Shape {
    fn apply(self, issued: &Issued) -> String {
        let secret = &issued.secret;
        let Some((alias, password)) = split_api_key(secret) else { return secret.clone() };
        match self {
            Self::Whole => secret.clone(),
            Self::OtherPassword => join_api_key(&alias, "password"),
            Self::UpperCaseAlias => join_api_key(&alias.to_ascii_uppercase(), &password),
            Self::Truncated => secret[..secret.len() - 4].to_owned(),
            Self::InnerPassword => password,
        }
    }
}
