//! The record of one user, which every rule about credentials reads and changes.
//!
//! Each rule is a method of [`UserRecord`] in a file of its own: it takes its inputs (the policy,
//! the time, random bytes) and returns a new record. No rule performs I/O, reads a clock or draws a
//! random byte. Tests: beside each rule, `tests/rules/` and `tests/model/`.

use std::ops::Range;

use time::OffsetDateTime;

use self::{
    credentials::Credentials,
    details::Details,
    key::{Key, Listing},
    stored_credential::StoredCredential,
};
use crate::{
    credential::{Credential, Status},
    error::Error,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::ServiceUserName, user_name::UserName, user_path::UserPath,
    },
    tags::Tags,
    timestamp::Timestamp,
    user::{User, UserId},
};

pub(crate) mod codec;
mod credentials;
mod details;
pub(crate) mod issue;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod numbering;
pub(crate) mod status;
pub(crate) mod stored_credential;
pub(crate) mod tags;

/// The state of one user (id, name, path, tags, creation date, credentials): a small immutable
/// value that a [store](crate::store::Store) keeps as a whole.
///
/// A record contains the digests of its credentials' secrets and never a secret. Its size is
/// bounded by the policy: at most 10 credentials at each of at most 100 services, and 50 tags of
/// the user and of each credential.
#[derive(Clone, Debug)]
// In this order the fields that a lookup compares share cache lines with the reference count.
#[repr(C)]
pub struct UserRecord {
    account: AccountId,
    name: UserName,
    revision: Revision,
    created: Timestamp,
    /// In the order of creation, then of id.
    credentials: Credentials,
    details: Details,
}

/// One state of one user's record. No two states have the same revision, not even if a user is
/// removed and another one registered under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    user: UserId,
    count: u64,
}

impl Revision {
    /// The id of the user, which is new at each registration.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The number of changes since the registration.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl UserRecord {
    /// The account of the user.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The id of the user: the primary key of the record.
    #[must_use]
    pub const fn id(&self) -> UserId {
        self.revision.user
    }

    /// The revision.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The name of the user in its present spelling.
    #[must_use]
    pub const fn name(&self) -> &UserName {
        &self.name
    }

    /// The path of the user.
    #[must_use]
    pub fn path(&self) -> &UserPath {
        self.details.path()
    }

    /// The tags of the user.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        self.details.tags()
    }

    /// The date of the registration, in whole milliseconds.
    #[must_use]
    pub fn created(&self) -> OffsetDateTime {
        self.created.date()
    }

    /// The number of credentials.
    #[must_use]
    pub fn credential_count(&self) -> usize {
        self.credentials.len()
    }

    /// The keys of this record in the index of a store, each once.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.keys_of(0..self.credentials.len())
    }

    /// The keys of this record that `other` does not hold, each once.
    pub(crate) fn keys_without<'a>(
        &'a self,
        other: Option<&'a Self>,
    ) -> impl Iterator<Item = Key<'a>> {
        let keys = self.keys_of(self.differing(other));
        keys.filter(move |key| !other.is_some_and(|other| other.holds(key)))
    }

    /// The credentials whose keys `other` may not hold. A change usually leaves all credentials but
    /// one as they are, so those with the same keys at the start and at the end are left out.
    fn differing(&self, other: Option<&Self>) -> Range<usize> {
        let own = &*self.credentials;
        let others = match other {
            Some(other) if other.account == self.account && other.name == self.name => {
                &*other.credentials
            }
            _ => &[],
        };
        let same = |(one, other): &(&StoredCredential, &StoredCredential)| one.has_keys_of(other);
        let start = own.iter().zip(others).take_while(same).count();
        let (rest, other_rest) = (own.iter().skip(start).rev(), others.iter().skip(start).rev());
        start..own.len() - rest.zip(other_rest).take_while(same).count()
    }

    /// The keys of the user and of a range of the credentials.
    fn keys_of(&self, credentials: Range<usize>) -> impl Iterator<Item = Key<'_>> {
        let (account, user) = (self.account, &self.name);
        let (skip, take) = (credentials.start, credentials.len());
        let own = self.credentials.iter().enumerate().skip(skip).take(take);
        let own = own.flat_map(move |(index, credential)| {
            let StoredCredential { id, service, name, .. } = credential;
            let first = self.credentials.iter().take(index).all(|other| other.service != *service);
            [
                Some(Key::Credential { account, id }),
                Some(Key::ServiceUser { account, service, name: name.as_str() }),
                first.then_some(Key::Holder { account, service: Some(service), user }),
            ]
        });
        let holder = Key::Holder { account, service: None, user };
        [Some(Key::User { account, name: user }), (!self.credentials.is_empty()).then_some(holder)]
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
                Key::ServiceUser { service, name, .. } => self.position_of(service, name).is_some(),
                Key::Holder { service, user, .. } => self.name == *user && self.has_any_at(service),
            }
    }

    /// Whether the record is listed: whether it holds the key of its name in the listing.
    pub(crate) fn is_listed(&self, account: AccountId, listing: Listing<'_>) -> bool {
        self.account == account
            && match listing {
                Listing::Users => true,
                Listing::Holders { service } => self.has_any_at(service),
            }
    }

    /// The key of the user's name.
    pub(crate) const fn user_key(&self) -> Key<'_> {
        Key::User { account: self.account, name: &self.name }
    }

    pub(crate) fn user(&self) -> User {
        User {
            account: self.account,
            id: self.id(),
            name: self.name.clone(),
            path: self.path().clone(),
            tags: self.tags().clone(),
            created: self.created,
        }
    }

    /// The credentials in the order of creation, then of id.
    pub(crate) fn credentials(&self) -> &[StoredCredential] {
        &self.credentials
    }

    /// One of the record's credentials without its digest.
    pub(crate) fn describe(&self, stored: &StoredCredential, status: Status) -> Credential {
        Credential {
            id: stored.id.clone(),
            service: stored.service.clone(),
            user_name: self.name.clone(),
            name: ServiceUserName::from(&stored.name),
            kind: stored.kind,
            status,
            created: stored.created,
            expires: stored.expires(),
            secret_changed: stored.secret_changed(),
            tags: self.details.tags_of(&stored.id).clone(),
        }
    }

    /// All of the record's credentials without their digests.
    pub(crate) fn describe_all(&self, now: Timestamp) -> Vec<Credential> {
        let held = self.credentials.iter();
        held.map(|held| self.describe(held, held.status(|| now))).collect()
    }

    /// The position of the credential of this service and service user name.
    pub(crate) fn position_of(&self, service: &ServiceName, name: &str) -> Option<usize> {
        self.credentials.position_of(service, name)
    }

    pub(crate) fn find(&self, id: &CredentialId) -> Option<&StoredCredential> {
        self.credentials.iter().find(|credential| credential.id == *id)
    }

    pub(crate) fn get(&self, id: &CredentialId) -> Result<&StoredCredential, Error> {
        self.find(id).ok_or_else(|| Error::NoSuchCredential { id: id.clone() })
    }

    fn has_any_at(&self, service: Option<&ServiceName>) -> bool {
        self.credentials.iter().any(|held| service.is_none_or(|service| held.service == *service))
    }
}

impl UserRecord {
    /// The first record of a user.
    pub(crate) fn register(
        account: AccountId,
        user: UserId,
        name: UserName,
        created: Timestamp,
        path: UserPath,
        tags: Tags,
    ) -> Self {
        let revision = Revision { user, count: 0 };
        let details = Details::default().with_path(path).with_tags(tags);
        Self { account, revision, name, created, credentials: Credentials::default(), details }
    }

    /// Changes the name or its spelling, the path, or both. Credentials keep their service user
    /// names. `None` if both stay the same.
    pub(crate) fn update(&self, name: Option<&UserName>, path: Option<&UserPath>) -> Option<Self> {
        let (name, path) = (name.unwrap_or(&self.name), path.unwrap_or(self.path()));
        if name.as_str() == self.name.as_str() && path == self.path() {
            return None;
        }
        Some(Self {
            name: name.clone(),
            details: self.details.with_path(path.clone()),
            ..self.with_credentials(self.credentials.clone())
        })
    }

    /// The next revision without a change: a fence.
    pub(crate) fn touch(&self) -> Self {
        self.with_credentials(self.credentials.clone())
    }

    /// A user with credentials cannot be removed.
    pub(crate) fn check_removable(&self) -> Result<(), Error> {
        if self.credentials.is_empty() {
            return Ok(());
        }
        Err(Error::UserHasCredentials { user: self.name.clone() })
    }

    /// Deletes a credential, expired or not.
    pub(crate) fn delete(&self, id: &CredentialId) -> Result<Self, Error> {
        self.get(id)?;
        let kept = self.credentials.iter().filter(|held| held.id != *id);
        let details = self.details.with_tags_of(id, Tags::new());
        Ok(Self { details, ..self.with_credentials(kept.cloned().collect()) })
    }

    /// Inserts a credential at its position in the order.
    fn insert(&self, credential: StoredCredential) -> Self {
        let order = |held: &StoredCredential| held.order().cmp(&credential.order());
        let (Ok(position) | Err(position)) = self.credentials.binary_search_by(order);
        let (before, after) = self.credentials.split_at(position);
        let (before, after) = (before.iter().cloned(), after.iter().cloned());
        self.with_credentials(before.chain([credential]).chain(after).collect())
    }

    /// Replaces the credential of the same id.
    fn replace(&self, changed: &StoredCredential) -> Self {
        let replaced =
            |held| if StoredCredential::id(held) == changed.id() { changed } else { held };
        self.with_credentials(self.credentials.iter().map(replaced).cloned().collect())
    }

    /// The next revision, with these credentials.
    fn with_credentials(&self, credentials: Credentials) -> Self {
        let Revision { user, count } = self.revision;
        Self {
            account: self.account,
            revision: Revision { user, count: count + 1 },
            name: self.name.clone(),
            created: self.created,
            credentials,
            details: self.details.clone(),
        }
    }
}

// Path and tags cost a record without them no memory.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<UserRecord>() == 408);

#[cfg(test)]
mod tests {
    use std::{iter, sync::Arc};

    use time::{Duration, OffsetDateTime};

    use crate::{
        manager::CredentialManager,
        names::user_name::UserName,
        policy::Policy,
        record::key::Key,
        store::{Store, memory::MemoryStore},
        testing::FixedClock,
    };

    /// The keys of all other credentials are not compared.
    #[test]
    fn a_change_differs_in_one_credential() {
        let account = "123456789012".parse().unwrap();
        let policy = Policy::builder().credentials_per_service(4).build().unwrap();
        let clock = Arc::new(FixedClock::new(OffsetDateTime::UNIX_EPOCH));
        let iam = CredentialManager::builder(account, MemoryStore::new())
            .policy(policy)
            .clock(Arc::clone(&clock))
            .build();
        let (anika, codecommit): (UserName, _) =
            ("anika".parse().unwrap(), "codecommit.amazonaws.com".parse().unwrap());
        iam.register_user(&anika).unwrap();
        for _ in 0..4 {
            drop(iam.create(&anika, &codecommit).unwrap());
            clock.advance(Duration::DAY);
        }
        let key = Key::User { account, name: &anika };
        let before = iam.store().find(&key).unwrap().unwrap();

        assert_eq!(before.differing(None), 0..4);
        assert_eq!(before.differing(Some(&before)), 4..4);
        for (position, held) in before.credentials().iter().enumerate() {
            let after = before.delete(held.id()).unwrap();
            assert_eq!(before.differing(Some(&after)), position..position + 1);
            assert_eq!(after.differing(Some(&before)), position..position);
            assert!(after.keys_without(Some(&before)).eq(iter::empty()));
            let released: Vec<_> = before.keys_without(Some(&after)).collect();
            let name = held.name.as_str();
            assert_eq!(
                released,
                [
                    Key::Credential { account, id: held.id() },
                    Key::ServiceUser { account, service: &codecommit, name },
                ]
            );
        }
        // The last credential is created again, with another id and the same name.
        let last = before.credentials().last().unwrap();
        iam.delete(&anika, last.id()).unwrap();
        drop(iam.create(&anika, &codecommit).unwrap());
        let after = iam.store().find(&key).unwrap().unwrap();
        assert_eq!(after.credentials().last().unwrap().name.as_str(), last.name.as_str());
        assert_eq!(before.differing(Some(&after)), 3..4);
        let released: Vec<_> = before.keys_without(Some(&after)).collect();
        assert_eq!(released, [Key::Credential { account, id: last.id() }]);

        let renamed = before.update(Some(&"ben".parse().unwrap()), None).unwrap();
        assert_eq!(renamed.differing(Some(&before)), 0..4);
    }
}
