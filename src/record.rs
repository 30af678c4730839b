use smallvec::SmallVec;
use time::OffsetDateTime;

use crate::{
    credential::{Credential, CredentialKind, Status},
    entropy::{EntropyError, RepeatedEntropy},
    error::Error,
    lifetime::Lifetime,
    names::{
        account_id::AccountId,
        credential_id::CredentialId,
        service_name::ServiceName,
        service_user_name::{GeneratedName, ServiceUserName},
        user_name::UserName,
    },
    policy::{Numbering, Policy},
    record::key::Listing,
    secret::{Digest, Secret},
    timestamp::Timestamp,
    user::{User, UserId},
};

use self::key::Key;

pub(crate) mod codec;
pub(crate) mod key;

/// Everything about one user: a small, immutable value that a [store](crate::store::Store) keeps
/// whole.
///
/// Every rule about credentials is a method of this type, private to the crate, that takes what it
/// needs (the policy, the time, a fresh secret) and gives back another record. None of them waits,
/// reads a clock or draws a random byte.
///
/// A record holds the digests of its credentials' secrets and never a secret. Its size is bounded
/// by the policy: at most 10 credentials at each of at most 100 services.
#[derive(Clone, Debug)]
// In this order, so that what finding a user asks for lies beside the count of the owners.
#[repr(C)]
pub struct UserRecord {
    account: AccountId,
    name: UserName,
    revision: Revision,
    created: Timestamp,
    /// In order of creation, then of id.
    credentials: Credentials,
}

/// Inside of the record up to the two that a user has at one service.
type Credentials = SmallVec<[StoredCredential; 2]>;

/// Names one state of one user's record. No two states ever have the same revision, not even when
/// a user is removed and another registered under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    user: UserId,
    count: u64,
}

impl Revision {
    /// The registration that the record is of.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// How many changes the record has seen since.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

/// A credential as a record keeps it.
#[derive(Clone, Debug)]
// In this order, so that what authenticating asks for is close together.
#[repr(C)]
pub(crate) struct StoredCredential {
    service: ServiceName,
    expires: Option<Timestamp>,
    active: bool,
    kind: CredentialKind,
    digest: Digest,
    name: GeneratedName,
    id: CredentialId,
    created: Timestamp,
}

impl StoredCredential {
    pub(crate) const fn id(&self) -> &CredentialId {
        &self.id
    }

    pub(crate) const fn service(&self) -> &ServiceName {
        &self.service
    }

    pub(crate) const fn kind(&self) -> CredentialKind {
        self.kind
    }

    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) const fn created(&self) -> Timestamp {
        self.created
    }

    /// From the instant of its expiration on it is expired, whatever was stored. The time is asked
    /// for only if there is such an instant.
    pub(crate) fn status(&self, now: impl FnOnce() -> Timestamp) -> Status {
        match self.expires {
            Some(expires) if expires <= now() => Status::Expired,
            _ if self.active => Status::Active,
            _ => Status::Inactive,
        }
    }

    /// Its place among the credentials of its user.
    pub(crate) const fn position(&self) -> (Timestamp, &CredentialId) {
        (self.created, &self.id)
    }

    fn check_unexpired(&self, now: Timestamp) -> Result<(), Error> {
        match self.status(|| now) {
            Status::Expired => Err(Error::CredentialExpired { id: self.id.clone() }),
            Status::Active | Status::Inactive => Ok(()),
        }
    }

    /// Keeps the digest of the secret that is made from `password`. Returns the secret if it is
    /// another than that: that of an API key.
    fn give_secret(&mut self, password: &Secret, policy: &Policy) -> Result<Option<Secret>, Error> {
        let api_key = policy
            .api_key_prefix(&self.service)
            .map(|prefix| Secret::api_key(prefix, self.name.as_str(), password))
            .transpose()?;
        self.digest = api_key.as_ref().unwrap_or(password).digest();
        Ok(api_key)
    }

    fn is_named(&self, service: &ServiceName, name: &str) -> bool {
        self.name.as_str().eq_ignore_ascii_case(name) && self.service == *service
    }
}

/// What is drawn and decided for a new credential before the record of its user is looked up.
pub(crate) struct Draft<'a> {
    pub(crate) id: CredentialId,
    pub(crate) service: &'a ServiceName,
    pub(crate) password: Secret,
    pub(crate) created: Timestamp,
    pub(crate) age: Option<Lifetime>,
}

/// A record with a credential that has just got a secret.
pub(crate) struct Issue {
    pub(crate) record: UserRecord,
    pub(crate) credential: Credential,
    /// The secret of an API key. That of the other kind is the password that was given.
    pub(crate) api_key: Option<Secret>,
}

impl UserRecord {
    /// The account that the user belongs to.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The identifier of this registration: the record's primary key.
    #[must_use]
    pub const fn id(&self) -> UserId {
        self.revision.user
    }

    /// Which state of the record this is.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The user's name, as it is spelled now.
    #[must_use]
    pub const fn name(&self) -> &UserName {
        &self.name
    }

    /// When the user was registered.
    #[must_use]
    pub fn created(&self) -> OffsetDateTime {
        self.created.date()
    }

    /// How many credentials the user has.
    #[must_use]
    pub fn credential_count(&self) -> usize {
        self.credentials.len()
    }

    /// The keys that a store's index holds for this record, each once.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        let (account, user) = (self.account, &self.name);
        let own = self.credentials.iter().enumerate().flat_map(move |(index, credential)| {
            let StoredCredential { id, service, name, .. } = credential;
            let first = self.credentials.iter().take(index).all(|other| other.service != *service);
            [
                Some(Key::Credential { account, id }),
                Some(Key::ServiceUser { account, service, name: name.as_str() }),
                first.then_some(Key::Holder { account, service: Some(service), user }),
            ]
        });
        let member = Key::Holder { account, service: None, user };
        [Some(Key::User { account, name: user }), (!self.credentials.is_empty()).then_some(member)]
            .into_iter()
            .chain(own)
            .flatten()
    }

    /// Whether `key` is one of the record's [`keys`](Self::keys).
    #[must_use]
    pub fn holds(&self, key: &Key<'_>) -> bool {
        self.account == key.account()
            && match *key {
                Key::User { name, .. } => self.name == *name,
                Key::Credential { id, .. } => self.find(id).is_some(),
                Key::ServiceUser { service, name, .. } => self.place_named(service, name).is_some(),
                Key::Holder { service, user, .. } => self.name == *user && self.has_any_at(service),
            }
    }

    /// Whether the record holds a key of a listing: the one that its name makes.
    pub(crate) fn is_listed(&self, account: AccountId, listing: Listing<'_>) -> bool {
        self.account == account
            && match listing {
                Listing::Users => true,
                Listing::Holders { service } => self.has_any_at(service),
            }
    }

    /// The key that a user is found by, whatever else it holds.
    pub(crate) const fn user_key(&self) -> Key<'_> {
        Key::User { account: self.account, name: &self.name }
    }

    pub(crate) fn user(&self) -> User {
        User {
            account: self.account,
            id: self.id(),
            name: self.name.clone(),
            created: self.created,
        }
    }

    /// The credentials in order of creation, then of id.
    pub(crate) fn credentials(&self) -> &[StoredCredential] {
        &self.credentials
    }

    /// What is to be known of one of the record's credentials.
    pub(crate) fn describe(&self, stored: &StoredCredential, status: Status) -> Credential {
        Credential {
            id: stored.id.clone(),
            service: stored.service.clone(),
            user_name: self.name.clone(),
            name: ServiceUserName::from(&stored.name),
            kind: stored.kind,
            status,
            created: stored.created,
            expires: stored.expires,
        }
    }

    /// Where the credential of this service and service user name stands.
    pub(crate) fn place_named(&self, service: &ServiceName, name: &str) -> Option<usize> {
        self.credentials.iter().position(|credential| credential.is_named(service, name))
    }

    pub(crate) fn find(&self, id: &CredentialId) -> Option<&StoredCredential> {
        self.credentials.iter().find(|credential| credential.id == *id)
    }

    fn has_digest(&self, digest: &Digest) -> bool {
        self.credentials.iter().any(|held| held.digest.matches(digest))
    }

    fn has_any_at(&self, service: Option<&ServiceName>) -> bool {
        self.credentials.iter().any(|held| service.is_none_or(|service| held.service == *service))
    }
}

/// The rules.
impl UserRecord {
    /// A user who has just been registered.
    pub(crate) fn register(
        account: AccountId,
        user: UserId,
        name: UserName,
        created: Timestamp,
    ) -> Self {
        let revision = Revision { user, count: 0 };
        Self { account, revision, name, created, credentials: Credentials::new() }
    }

    /// The user under another name, or another spelling of the same. Its credentials keep theirs.
    pub(crate) fn rename(&self, name: UserName) -> Self {
        Self { name, ..self.with(self.credentials.clone()) }
    }

    /// Whether the user can be removed: one with credentials cannot.
    pub(crate) fn check_removable(&self) -> Result<(), Error> {
        if self.credentials.is_empty() { Ok(()) } else { Err(Error::UserHasCredentials) }
    }

    /// The lowest place in the order of names, from `first` on, whose name none of the user's own
    /// credentials at the service has, and that name. Another user's may.
    pub(crate) fn free_name(
        &self,
        service: &ServiceName,
        first: u32,
        numbering: Numbering,
    ) -> (u32, GeneratedName) {
        let mut place = first;
        loop {
            let number = match numbering {
                Numbering::FromOne => Some(place + 1),
                Numbering::BareFirst => (place > 0).then_some(place),
            };
            let name = GeneratedName::new(&self.name, number, self.account);
            if self.place_named(service, name.as_str()).is_none() {
                return (place, name);
            }
            place += 1;
        }
    }

    /// Adds the drafted credential under `name`, which none of the user's own credentials at the
    /// service has.
    ///
    /// Fails with [`RepeatedEntropy`] if the record already holds the drafted id or secret.
    pub(crate) fn create(
        &self,
        draft: &Draft<'_>,
        name: GeneratedName,
        policy: &Policy,
    ) -> Result<Issue, Error> {
        let (service, kind) = policy.supported(draft.service)?;
        let limit = policy.credentials_per_service();
        if self.credentials.iter().filter(|held| held.service == *service).count() >= limit {
            return Err(Error::LimitExceeded { limit });
        }
        debug_assert!(self.place_named(service, name.as_str()).is_none(), "the name is free");
        let mut credential = StoredCredential {
            id: draft.id.clone(),
            service: service.clone(),
            name,
            kind,
            active: true,
            created: draft.created,
            expires: draft.age.map(|age| draft.created.plus_days(age.as_days())),
            digest: Digest::DUMMY,
        };
        let api_key = credential.give_secret(&draft.password, policy)?;
        if self.find(&credential.id).is_some() || self.has_digest(&credential.digest) {
            return Err(EntropyError::from(RepeatedEntropy).into());
        }
        let described = self.describe(&credential, Status::Active);
        let place =
            self.credentials.partition_point(|held| held.position() < credential.position());
        let mut credentials = Credentials::with_capacity(self.credentials.len() + 1);
        credentials.extend(self.credentials.iter().cloned());
        credentials.insert(place, credential);
        Ok(Issue { record: self.with(credentials), credential: described, api_key })
    }

    /// Gives the credential a new secret, and changes nothing else of it.
    ///
    /// Fails with [`RepeatedEntropy`] if the record already holds that secret.
    pub(crate) fn reset(
        &self,
        id: &CredentialId,
        password: &Secret,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Issue, Error> {
        let mut credential = self.get(id)?.clone();
        let (service, kind) = policy.supported(&credential.service)?;
        if kind != credential.kind {
            return Err(Error::ServiceNotSupported { service: service.clone() });
        }
        credential.check_unexpired(now)?;
        let api_key = credential.give_secret(password, policy)?;
        if self.has_digest(&credential.digest) {
            return Err(EntropyError::from(RepeatedEntropy).into());
        }
        let described = self.describe(&credential, credential.status(|| now));
        Ok(Issue { record: self.replace(&credential), credential: described, api_key })
    }

    /// Sets the status of the credential. `None` if it has that status already.
    pub(crate) fn set_status(
        &self,
        id: &CredentialId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let mut credential = self.get(id)?.clone();
        let active = match status {
            Status::Active => true,
            Status::Inactive => false,
            Status::Expired => return Err(Error::StatusNotSettable { status }),
        };
        credential.check_unexpired(now)?;
        let present = std::mem::replace(&mut credential.active, active);
        Ok((present != active).then(|| self.replace(&credential)))
    }

    /// Takes the credential away, expired or not.
    pub(crate) fn delete(&self, id: &CredentialId) -> Result<Self, Error> {
        self.get(id)?;
        Ok(self.with(self.credentials.iter().filter(|held| held.id != *id).cloned().collect()))
    }

    pub(crate) fn get(&self, id: &CredentialId) -> Result<&StoredCredential, Error> {
        self.find(id).ok_or_else(|| Error::NoSuchCredential { id: id.clone() })
    }

    fn replace(&self, changed: &StoredCredential) -> Self {
        let place = |held| if StoredCredential::id(held) == changed.id() { changed } else { held };
        self.with(self.credentials.iter().map(place).cloned().collect())
    }

    /// The next state of the record.
    fn with(&self, credentials: Credentials) -> Self {
        let Revision { user, count } = self.revision;
        Self {
            account: self.account,
            revision: Revision { user, count: count + 1 },
            name: self.name.clone(),
            created: self.created,
            credentials,
        }
    }
}
