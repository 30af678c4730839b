//! A naive implementation of the documented API: vectors, linear searches, secrets in plain text.
//! It shares no code with the crate except the types of the compared results.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    Credential, CredentialKind, DenialReason, Error, Numbering, Status, Tags, User, UserId,
};
use time::OffsetDateTime;

/// One of the [`ACCOUNTS`].
pub(crate) type At = usize;

pub(crate) const ACCOUNTS: [&str; 2] = ["123456789012", "000000000001"];
pub(crate) const CODECOMMIT: &str = "codecommit.amazonaws.com";
pub(crate) const CASSANDRA: &str = "cassandra.amazonaws.com";
/// A service with API keys, in an unusual spelling: service names are case-insensitive.
pub(crate) const BEDROCK: &str = "Bedrock.AmazonAWS.com";
pub(crate) const UNSUPPORTED: &str = "ec2.amazonaws.com";

const DAY: i64 = 86_400_000;
const LIMIT: usize = 2;

#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) now: i64,
    numbering: Numbering,
    users: Vec<ModelUser>,
}

#[derive(Clone)]
struct ModelUser {
    at: At,
    id: UserId,
    name: String,
    path: String,
    tags: ModelTags,
    created: i64,
    credentials: Vec<ModelCredential>,
}

#[derive(Clone)]
struct ModelCredential {
    id: String,
    service: String,
    name: String,
    active: bool,
    created: i64,
    expires: Option<i64>,
    secret: String,
    secret_changed: i64,
    tags: ModelTags,
}

/// Spellings and values by folded key.
pub(crate) type ModelTags = BTreeMap<String, (String, String)>;

pub(crate) fn model_tags(tags: &Tags) -> ModelTags {
    let tag = |(key, value): (&str, &str)| (fold(key), (key.to_owned(), value.to_owned()));
    tags.iter().map(tag).collect()
}

/// What is done to the tags of a user or of a credential.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tagging {
    Set(&'static [(&'static str, &'static str)]),
    Add(&'static [(&'static str, &'static str)]),
    Remove(&'static [&'static str]),
}

impl Tagging {
    fn apply(self, tags: &mut ModelTags) {
        match self {
            Self::Set(pairs) => {
                tags.clear();
                Self::Add(pairs).apply(tags);
            }
            Self::Add(pairs) => {
                for (key, value) in pairs {
                    tags.insert(fold(key), ((*key).to_owned(), (*value).to_owned()));
                }
            }
            Self::Remove(keys) => keys.iter().for_each(|key| drop(tags.remove(&fold(key)))),
        }
    }
}

/// The observable state of a user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenUser {
    at: At,
    pub(crate) id: UserId,
    pub(crate) name: String,
    path: String,
    tags: ModelTags,
    created: i64,
}

/// The observable state of a credential.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) user_name: String,
    pub(crate) name: String,
    pub(crate) kind: CredentialKind,
    pub(crate) status: Status,
    pub(crate) created: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) secret_changed: i64,
    pub(crate) tags: ModelTags,
}

/// The random values of a new credential.
#[derive(Clone)]
pub(crate) struct Drawn {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A position in a listing: folded user name, creation date, id.
pub(crate) type Position = (String, i64, String);

/// A query for credentials. By default, for all of the first account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) at: At,
    /// `None` for all users.
    pub(crate) user: Option<&'static str>,
    pub(crate) service: Option<&'static str>,
    pub(crate) days: Option<u32>,
    pub(crate) secret_days: Option<u32>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum ModelError {
    NoSuchUser(String),
    UserExists(String),
    UserHasCredentials,
    ServiceNotSupported(String),
    NoSuchCredential(String),
    CredentialOfAnotherUser(String, String),
    StatusNotSettable(Status),
    CredentialExpired(String),
    LimitExceeded(usize),
    MarkerMismatch,
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchUser { user, .. } => Self::NoSuchUser(user.into()),
            Error::UserExists { user, .. } => Self::UserExists(user.into()),
            Error::UserHasCredentials { .. } => Self::UserHasCredentials,
            Error::ServiceNotSupported { service, .. } => Self::ServiceNotSupported(service.into()),
            Error::NoSuchCredential { id, .. } => Self::NoSuchCredential(id.into()),
            Error::CredentialOfAnotherUser { user, id, .. } => {
                Self::CredentialOfAnotherUser(user.into(), id.into())
            }
            Error::StatusNotSettable { status, .. } => Self::StatusNotSettable(status),
            Error::CredentialExpired { id, .. } => Self::CredentialExpired(id.into()),
            Error::LimitExceeded { limit, .. } => Self::LimitExceeded(limit),
            Error::MarkerMismatch => Self::MarkerMismatch,
            other => panic!("unexpected error: {other:?}"),
        }
    }
}

pub(crate) fn milliseconds(date: OffsetDateTime) -> i64 {
    let nanoseconds = date.unix_timestamp_nanos();
    assert_eq!(nanoseconds % 1_000_000, 0, "dates are whole milliseconds");
    i64::try_from(nanoseconds / 1_000_000).unwrap()
}

impl From<User> for SeenUser {
    fn from(user: User) -> Self {
        let account = user.account().to_string();
        Self {
            at: ACCOUNTS.iter().position(|known| *known == account).unwrap(),
            id: user.id(),
            name: user.name().to_string(),
            path: user.path().to_string(),
            tags: model_tags(user.tags()),
            created: milliseconds(user.created()),
        }
    }
}

impl From<Credential> for Seen {
    fn from(credential: Credential) -> Self {
        Self {
            id: credential.id().to_string(),
            service: credential.service().to_string(),
            user_name: credential.user_name().to_string(),
            name: credential.service_user_name().to_string(),
            kind: credential.kind(),
            status: credential.status(),
            created: milliseconds(credential.created()),
            expires: credential.expires().map(milliseconds),
            secret_changed: milliseconds(credential.secret_changed()),
            tags: model_tags(credential.tags()),
        }
    }
}

impl Seen {
    pub(crate) fn position(&self) -> Position {
        (fold(&self.user_name), self.created, self.id.clone())
    }
}

impl ModelUser {
    fn seen(&self) -> SeenUser {
        SeenUser {
            at: self.at,
            id: self.id,
            name: self.name.clone(),
            path: self.path.clone(),
            tags: self.tags.clone(),
            created: self.created,
        }
    }

    fn describe(&self, credential: &ModelCredential, now: i64) -> Seen {
        Seen {
            id: credential.id.clone(),
            service: credential.service.clone(),
            user_name: self.name.clone(),
            name: credential.name.clone(),
            kind: kind(&credential.service).unwrap(),
            status: credential.status(now),
            created: credential.created,
            expires: credential.expires,
            secret_changed: credential.secret_changed,
            tags: credential.tags.clone(),
        }
    }
}

impl ModelCredential {
    fn status(&self, now: i64) -> Status {
        if self.expires.is_some_and(|expires| now >= expires) {
            Status::Expired
        } else if self.active {
            Status::Active
        } else {
            Status::Inactive
        }
    }
}

pub(crate) fn fold(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn same(left: &str, right: &str) -> bool {
    fold(left) == fold(right)
}

pub(crate) fn kind(service: &str) -> Option<CredentialKind> {
    if same(service, CODECOMMIT) || same(service, CASSANDRA) {
        Some(CredentialKind::Password)
    } else if same(service, BEDROCK) {
        Some(CredentialKind::ApiKey)
    } else {
        None
    }
}

/// Splits an API key secret of Bedrock into its two parts.
pub(crate) fn split_api_key(secret: &str) -> Option<(String, String)> {
    let inner = STANDARD.decode(secret.strip_prefix("ABSK")?).ok()?;
    let inner = String::from_utf8(inner).ok()?;
    inner.split_once(':').map(|(alias, password)| (alias.to_owned(), password.to_owned()))
}

/// Builds an API key secret of Bedrock.
pub(crate) fn join_api_key(alias: &str, password: &str) -> String {
    format!("ABSK{}", STANDARD.encode(format!("{alias}:{password}")))
}

impl Model {
    pub(crate) fn new(now: i64, numbering: Numbering) -> Self {
        Self { now, numbering, users: Vec::new() }
    }

    fn find(&self, at: At, name: &str) -> Result<usize, ModelError> {
        let place = self.users.iter().position(|user| user.at == at && same(&user.name, name));
        place.ok_or_else(|| ModelError::NoSuchUser(name.to_owned()))
    }

    fn support(service: &str) -> Result<(), ModelError> {
        kind(service).map(drop).ok_or_else(|| ModelError::ServiceNotSupported(fold(service)))
    }

    /// Users with this prefix of their paths, in order of their names.
    pub(crate) fn users(&self, at: At, prefix: &str) -> Vec<SeenUser> {
        let users = self.users.iter().filter(|user| user.at == at);
        let users = users.filter(|user| user.path.starts_with(prefix));
        let mut users: Vec<_> = users.map(ModelUser::seen).collect();
        users.sort_by_key(|user| fold(&user.name));
        users
    }

    pub(crate) fn user(&self, at: At, name: &str) -> Result<SeenUser, ModelError> {
        Ok(self.users[self.find(at, name)?].seen())
    }

    pub(crate) fn register(
        &mut self,
        at: At,
        name: &str,
        path: &str,
        drawn: Option<UserId>,
    ) -> Result<SeenUser, ModelError> {
        if self.find(at, name).is_ok() {
            return Err(ModelError::UserExists(name.to_owned()));
        }
        let id = drawn.expect("the call failed, but the model registers the user");
        assert!(self.users.iter().all(|user| user.id != id), "an id is reused");
        let (name, path, tags) = (name.to_owned(), path.to_owned(), ModelTags::new());
        let credentials = Vec::new();
        self.users.push(ModelUser { at, id, name, path, tags, created: self.now, credentials });
        Ok(self.users[self.users.len() - 1].seen())
    }

    pub(crate) fn rename(&mut self, at: At, name: &str, new: &str) -> Result<SeenUser, ModelError> {
        self.update(at, name, Some(new), None)
    }

    pub(crate) fn update(
        &mut self,
        at: At,
        name: &str,
        new: Option<&str>,
        path: Option<&str>,
    ) -> Result<SeenUser, ModelError> {
        let place = self.find(at, name)?;
        let new = new.unwrap_or(&self.users[place].name).to_owned();
        if self.find(at, &new).is_ok_and(|other| other != place) {
            return Err(ModelError::UserExists(new));
        }
        let user = &mut self.users[place];
        user.name = new;
        if let Some(path) = path {
            path.clone_into(&mut user.path);
        }
        Ok(user.seen())
    }

    pub(crate) fn tag_user(
        &mut self,
        at: At,
        name: &str,
        tagging: Tagging,
    ) -> Result<SeenUser, ModelError> {
        let place = self.find(at, name)?;
        tagging.apply(&mut self.users[place].tags);
        Ok(self.users[place].seen())
    }

    pub(crate) fn tag_credential(
        &mut self,
        at: At,
        name: &str,
        id: &str,
        tagging: Tagging,
    ) -> Result<Seen, ModelError> {
        let (user, credential) = self.find_own(at, name, id)?;
        tagging.apply(&mut self.users[user].credentials[credential].tags);
        let user = &self.users[user];
        Ok(user.describe(&user.credentials[credential], self.now))
    }

    pub(crate) fn remove(
        &mut self,
        at: At,
        name: &str,
        with: bool,
    ) -> Result<Vec<Seen>, ModelError> {
        let place = self.find(at, name)?;
        let user = &self.users[place];
        if !with && !user.credentials.is_empty() {
            return Err(ModelError::UserHasCredentials);
        }
        let gone = user.credentials.iter().map(|held| user.describe(held, self.now));
        let mut gone: Vec<_> = gone.collect();
        gone.sort_by_key(Seen::position);
        self.users.remove(place);
        Ok(gone)
    }

    /// Whether any credential of the account has this name at the service.
    pub(crate) fn has_name(&self, at: At, service: &str, name: &str) -> bool {
        let users = self.users.iter().filter(|user| user.at == at);
        let mut held = users.flat_map(|user| &user.credentials);
        held.any(|held| same(&held.service, service) && same(&held.name, name))
    }

    /// The lowest free name.
    fn lowest(&self, at: At, user: &str, free: impl Fn(&Self, &str) -> bool) -> String {
        let account = ACCOUNTS[at];
        let number = |place| match (self.numbering, place) {
            (Numbering::BareFirst, 0) => format!("{user}-at-{account}"),
            (Numbering::BareFirst, place) => format!("{user}+{place}-at-{account}"),
            (Numbering::FromOne, place) => format!("{user}+{}-at-{account}", place + 1),
        };
        (0..1000).map(number).find(|name| free(self, name)).unwrap()
    }

    pub(crate) fn create(
        &mut self,
        at: At,
        name: &str,
        service: &str,
        days: Option<u32>,
        drawn: Option<Drawn>,
    ) -> Result<Seen, ModelError> {
        let free = |model: &Self, name: &str| !model.has_name(at, service, name);
        self.create_where(at, name, service, days, drawn, free)
    }

    /// As [`create`](Self::create), with a custom definition of free names.
    pub(crate) fn create_where(
        &mut self,
        at: At,
        name: &str,
        service: &str,
        days: Option<u32>,
        drawn: Option<Drawn>,
        free: impl Fn(&Self, &str) -> bool,
    ) -> Result<Seen, ModelError> {
        let place = self.find(at, name)?;
        Self::support(service)?;
        let held = self.users[place].credentials.iter();
        if held.filter(|held| same(&held.service, service)).count() == LIMIT {
            return Err(ModelError::LimitExceeded(LIMIT));
        }
        let drawn = drawn.expect("the call failed, but the model creates the credential");
        let credential = ModelCredential {
            id: drawn.id,
            service: fold(service),
            name: self.lowest(at, &self.users[place].name, free),
            active: true,
            created: self.now,
            expires: days.map(|days| self.now + i64::from(days) * DAY),
            secret: drawn.secret,
            secret_changed: self.now,
            tags: ModelTags::new(),
        };
        let user = &mut self.users[place];
        let seen = user.describe(&credential, self.now);
        user.credentials.push(credential);
        Ok(seen)
    }

    /// The indexes of a user and of its credential.
    fn find_own(&self, at: At, name: &str, id: &str) -> Result<(usize, usize), ModelError> {
        let user = self.find(at, name)?;
        let has = |user: &ModelUser| user.credentials.iter().position(|held| held.id == id);
        match has(&self.users[user]) {
            Some(credential) => Ok((user, credential)),
            None if self.users.iter().any(|other| other.at == at && has(other).is_some()) => {
                Err(ModelError::CredentialOfAnotherUser(name.to_owned(), id.to_owned()))
            }
            None => Err(ModelError::NoSuchCredential(id.to_owned())),
        }
    }

    pub(crate) fn reset(
        &mut self,
        at: At,
        name: &str,
        id: &str,
        drawn: Option<Drawn>,
    ) -> Result<Seen, ModelError> {
        let (user, credential) = self.find_own(at, name, id)?;
        let held = &mut self.users[user].credentials[credential];
        if held.status(self.now) == Status::Expired {
            return Err(ModelError::CredentialExpired(id.to_owned()));
        }
        held.secret = drawn.expect("the call failed, but the model resets the credential").secret;
        held.secret_changed = held.secret_changed.max(self.now);
        let user = &self.users[user];
        Ok(user.describe(&user.credentials[credential], self.now))
    }

    pub(crate) fn set_status(
        &mut self,
        at: At,
        name: &str,
        id: &str,
        status: Status,
    ) -> Result<(), ModelError> {
        let (user, credential) = self.find_own(at, name, id)?;
        let held = &mut self.users[user].credentials[credential];
        if status == Status::Expired {
            return Err(ModelError::StatusNotSettable(status));
        }
        if held.status(self.now) == Status::Expired {
            return Err(ModelError::CredentialExpired(id.to_owned()));
        }
        held.active = status == Status::Active;
        Ok(())
    }

    /// A credential by id, of any user.
    pub(crate) fn credential(&self, at: At, id: &str) -> Result<Seen, ModelError> {
        let all = self.listing(&Query { at, ..Query::default() })?;
        let found = all.into_iter().find(|seen| seen.id == id);
        found.ok_or_else(|| ModelError::NoSuchCredential(id.to_owned()))
    }

    pub(crate) fn disable(&mut self, at: At, id: &str) -> Result<Seen, ModelError> {
        let user = self.credential(at, id)?.user_name;
        self.set_status(at, &user, id, Status::Inactive)?;
        self.credential(at, id)
    }

    pub(crate) fn disable_all(&mut self, at: At, name: &str) -> Result<Vec<Seen>, ModelError> {
        let query = Query { at, ..Query::default() };
        let user = self.users[self.find(at, name)?].name.clone();
        let mut active = self.listing(&query)?;
        active.retain(|seen| seen.user_name == user && seen.status == Status::Active);
        active.iter().map(|seen| self.disable(at, &seen.id)).collect()
    }

    pub(crate) fn delete(&mut self, at: At, name: &str, id: &str) -> Result<(), ModelError> {
        let (user, credential) = self.find_own(at, name, id)?;
        self.users[user].credentials.remove(credential);
        Ok(())
    }

    /// The whole listing, in order.
    pub(crate) fn listing(&self, query: &Query) -> Result<Vec<Seen>, ModelError> {
        if let Some(name) = query.user {
            self.find(query.at, name)?;
        }
        query.service.map_or(Ok(()), Self::support)?;
        let mut listed = Vec::new();
        for user in self.users.iter().filter(|user| user.at == query.at) {
            for held in &user.credentials {
                let older = |date, days: Option<u32>| {
                    days.is_none_or(|days| self.now - date >= i64::from(days) * DAY)
                };
                if query.user.is_none_or(|name| same(name, &user.name))
                    && query.service.is_none_or(|service| same(service, &held.service))
                    && older(held.created, query.days)
                    && older(held.secret_changed, query.secret_days)
                {
                    listed.push(user.describe(held, self.now));
                }
            }
        }
        listed.sort_by_key(Seen::position);
        Ok(listed)
    }

    pub(crate) fn authenticate(
        &self,
        at: At,
        service: &str,
        name: &str,
        password: &str,
    ) -> Result<(SeenUser, Seen), DenialReason> {
        if kind(service) != Some(CredentialKind::Password) {
            return Err(DenialReason::UnsupportedService);
        }
        self.verify(at, service, name, password)
    }

    pub(crate) fn authenticate_api_key(
        &self,
        at: At,
        service: &str,
        secret: &str,
    ) -> Result<(SeenUser, Seen), DenialReason> {
        if kind(service) != Some(CredentialKind::ApiKey) {
            return Err(DenialReason::UnsupportedService);
        }
        let (alias, _) = split_api_key(secret).ok_or(DenialReason::UnknownName)?;
        self.verify(at, service, &alias, secret)
    }

    fn verify(
        &self,
        at: At,
        service: &str,
        name: &str,
        secret: &str,
    ) -> Result<(SeenUser, Seen), DenialReason> {
        for user in self.users.iter().filter(|user| user.at == at) {
            for held in &user.credentials {
                if same(&held.service, service) && same(&held.name, name) {
                    return match held.status(self.now) {
                        _ if held.secret != secret => Err(DenialReason::WrongSecret),
                        Status::Active => Ok((user.seen(), user.describe(held, self.now))),
                        Status::Inactive => Err(DenialReason::Inactive),
                        Status::Expired => Err(DenialReason::Expired),
                    };
                }
            }
        }
        Err(DenialReason::UnknownName)
    }
}
