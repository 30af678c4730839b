//! What each operation decides, between looking a record up and committing the change: the steps
//! that the managers share. Nothing here waits.

use std::sync::Arc;

use crate::{
    credential::{Credential, IssuedCredential, Status},
    entropy::{Entropy, EntropyError, RepeatedEntropy},
    error::Error,
    lifetime::Lifetime,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::GeneratedName, user_name::UserName,
    },
    policy::Policy,
    record::{Draft, Issue, UserRecord, key::Key},
    secret::Secret,
    store::change::Change,
    timestamp::Timestamp,
    user::{User, UserId},
};

/// An operation on the record of one user.
///
/// A manager looks the record up, asks for a [decision](Self::decide), commits the change, and
/// starts over when somebody else came first.
pub(crate) trait Operation: Send + Sync {
    /// What is known once the change is decided, and true once it is made.
    type Output: Send;

    /// The user, as the caller names it.
    fn user(&self) -> &UserName;

    /// The credential that exists, or has changed, if the change was made.
    fn credential(&self) -> Option<&CredentialId> {
        None
    }

    /// What to do, given the user's record, if there is one.
    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error>;

    /// The change was not made: a key that it claims was taken. Begins to find out which.
    fn key_taken(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The next key to look up before the next attempt, if any.
    fn suspect(&self) -> Option<Key<'_>> {
        None
    }

    /// Whether another user holds the [suspect](Self::suspect).
    fn resolve(&mut self, _is_held: bool) -> Result<(), Error> {
        Ok(())
    }
}

pub(crate) enum Decision<T> {
    /// Make this change; then `T` is true.
    Commit(Change, T),
    /// `T` is true already.
    Done(T),
}

impl<T> Decision<T> {
    fn replace(before: Arc<UserRecord>, after: UserRecord, output: T) -> Self {
        Self::Commit(Change::Replace { previous: before, record: Arc::new(after) }, output)
    }
}

/// A credential that has just got a secret, and the secret if it is that of an API key. That of the
/// other kind is the password that the operation drew.
pub(crate) type Issued = (Credential, Option<Secret>);

fn existing(found: Option<Arc<UserRecord>>, user: &UserName) -> Result<Arc<UserRecord>, Error> {
    found.ok_or_else(|| Error::NoSuchUser { user: user.clone() })
}

/// How often an operation draws an id or a secret again that is already in use (our decision). For a
/// generator that works, once is more than will ever be needed.
const REDRAWS: u32 = 8;

/// What is left of the [`REDRAWS`] of an operation.
struct Redraws(u32);

impl Redraws {
    const ALL: Self = Self(REDRAWS);

    fn take(&mut self) -> Result<(), EntropyError> {
        self.0 = self.0.checked_sub(1).ok_or(RepeatedEntropy)?;
        Ok(())
    }
}

fn is_repeated(error: &Error) -> bool {
    matches!(error, Error::Entropy(error) if error.get_ref().is::<RepeatedEntropy>())
}

pub(crate) struct Create<'a> {
    user: &'a UserName,
    draft: Draft<'a>,
    policy: &'a Policy,
    entropy: &'a dyn Entropy,
    redraws: Redraws,
    /// Below this, others were just seen to hold the names.
    first: u32,
    candidate: Option<Candidate>,
    suspect: Suspect,
}

struct Candidate {
    record: Arc<UserRecord>,
    place: u32,
    name: GeneratedName,
}

/// Which of the keys that a new credential claims may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspect {
    /// The name, and the id if the name turns out to be free.
    Name,
    /// The name alone: a lower one was taken.
    NextName,
    Id,
    Nothing,
}

impl<'a> Create<'a> {
    pub(crate) fn draw(
        user: &'a UserName,
        service: &'a ServiceName,
        age: Option<Lifetime>,
        policy: &'a Policy,
        entropy: &'a dyn Entropy,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let id = CredentialId::generate(entropy)?;
        let password = Secret::password(entropy, policy)?;
        let draft = Draft { id, service, password, created: now, age };
        Ok(Self {
            user,
            draft,
            policy,
            entropy,
            redraws: Redraws::ALL,
            first: 0,
            candidate: None,
            suspect: Suspect::Nothing,
        })
    }

    /// Puts the secret to the credential, once that is made.
    pub(crate) fn issue(self, (credential, api_key): Issued) -> IssuedCredential {
        IssuedCredential { credential, secret: api_key.unwrap_or(self.draft.password) }
    }

    fn propose(&mut self, record: Arc<UserRecord>, first: u32) -> GeneratedName {
        let (place, name) = record.free_name(self.draft.service, first, self.policy.numbering());
        self.candidate = Some(Candidate { record, place, name: name.clone() });
        name
    }

    fn redraw(&mut self) -> Result<(), EntropyError> {
        self.redraws.take()?;
        self.draft.id = CredentialId::generate(self.entropy)?;
        self.draft.password = Secret::password(self.entropy, self.policy)?;
        Ok(())
    }
}

impl Operation for Create<'_> {
    type Output = Issued;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(&self.draft.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let before = existing(found, self.user)?;
        // What others hold is found out anew at each attempt.
        let first = std::mem::take(&mut self.first);
        let name = self.propose(Arc::clone(&before), first);
        let Issue { record, credential, api_key } = loop {
            match before.create(&self.draft, name.clone(), self.policy) {
                Err(error) if is_repeated(&error) => self.redraw()?,
                result => break result?,
            }
        };
        Ok(Decision::replace(before, record, (credential, api_key)))
    }

    fn key_taken(&mut self) -> Result<(), Error> {
        self.suspect = Suspect::Name;
        Ok(())
    }

    fn suspect(&self) -> Option<Key<'_>> {
        let Candidate { record, name, .. } = self.candidate.as_ref()?;
        let account = record.account();
        match self.suspect {
            Suspect::Name | Suspect::NextName => {
                let (service, name) = (self.draft.service, name.as_str());
                Some(Key::ServiceUser { account, service, name })
            }
            Suspect::Id => Some(Key::Credential { account, id: &self.draft.id }),
            Suspect::Nothing => None,
        }
    }

    fn resolve(&mut self, is_held: bool) -> Result<(), Error> {
        match (self.suspect, is_held) {
            (Suspect::Name | Suspect::NextName, true) => {
                if let Some(Candidate { record, place, .. }) = self.candidate.take() {
                    self.propose(record, place + 1);
                }
                self.suspect = Suspect::NextName;
            }
            (Suspect::Name | Suspect::NextName, false) => {
                self.first = self.candidate.as_ref().map_or(0, |candidate| candidate.place);
                self.suspect =
                    if self.suspect == Suspect::Name { Suspect::Id } else { Suspect::Nothing };
            }
            (Suspect::Id, _) => {
                // Otherwise the key that was taken is free again.
                if is_held {
                    self.redraw()?;
                }
                self.suspect = Suspect::Nothing;
            }
            (Suspect::Nothing, _) => {}
        }
        Ok(())
    }
}

pub(crate) struct Reset<'a> {
    user: &'a UserName,
    id: &'a CredentialId,
    password: Secret,
    policy: &'a Policy,
    entropy: &'a dyn Entropy,
    redraws: Redraws,
    now: Timestamp,
}

impl<'a> Reset<'a> {
    pub(crate) fn draw(
        user: &'a UserName,
        id: &'a CredentialId,
        policy: &'a Policy,
        entropy: &'a dyn Entropy,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let password = Secret::password(entropy, policy)?;
        Ok(Self { user, id, password, policy, entropy, redraws: Redraws::ALL, now })
    }

    /// Puts the secret to the credential, once it is changed.
    pub(crate) fn issue(self, (credential, api_key): Issued) -> IssuedCredential {
        IssuedCredential { credential, secret: api_key.unwrap_or(self.password) }
    }
}

impl Operation for Reset<'_> {
    type Output = Issued;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let before = existing(found, self.user)?;
        let Issue { record, credential, api_key } = loop {
            match before.reset(self.id, &self.password, self.policy, self.now) {
                Err(error) if is_repeated(&error) => {
                    self.redraws.take()?;
                    self.password = Secret::password(self.entropy, self.policy)?;
                }
                result => break result?,
            }
        };
        Ok(Decision::replace(before, record, (credential, api_key)))
    }
}

/// Answers with the service of the credential.
pub(crate) struct SetStatus<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) id: &'a CredentialId,
    pub(crate) status: Status,
    pub(crate) now: Timestamp,
}

impl Operation for SetStatus<'_> {
    type Output = ServiceName;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<ServiceName>, Error> {
        let before = existing(found, self.user)?;
        let service = before.get(self.id)?.service().clone();
        Ok(match before.set_status(self.id, self.status, self.now)? {
            Some(after) => Decision::replace(before, after, service),
            None => Decision::Done(service),
        })
    }
}

/// Answers with the service of the credential.
pub(crate) struct Delete<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) id: &'a CredentialId,
}

impl Operation for Delete<'_> {
    type Output = ServiceName;

    fn user(&self) -> &UserName {
        self.user
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(self.id)
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<ServiceName>, Error> {
        let before = existing(found, self.user)?;
        let service = before.get(self.id)?.service().clone();
        let after = before.delete(self.id)?;
        Ok(Decision::replace(before, after, service))
    }
}

pub(crate) struct Register<'a> {
    user: &'a UserName,
    account: AccountId,
    entropy: &'a dyn Entropy,
    now: Timestamp,
    /// Whether a user of that name who is there already will do.
    ensure: bool,
    /// The ids that were drawn. All but the last were not accepted.
    drawn: Vec<UserId>,
}

impl<'a> Register<'a> {
    pub(crate) const fn new(
        user: &'a UserName,
        account: AccountId,
        entropy: &'a dyn Entropy,
        now: Timestamp,
        ensure: bool,
    ) -> Self {
        Self { user, account, entropy, now, ensure, drawn: Vec::new() }
    }
}

impl Operation for Register<'_> {
    type Output = User;

    fn user(&self) -> &UserName {
        self.user
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<User>, Error> {
        match found {
            Some(record) if self.ensure => Ok(Decision::Done(record.user())),
            Some(_) => Err(Error::UserExists { user: self.user.clone() }),
            None => {
                // A name that is free and was taken at the last attempt, or an id that is held: no
                // key tells which. An id that is drawn twice does.
                let id = UserId::generate(self.entropy)?;
                if self.drawn.contains(&id) {
                    return Err(EntropyError::from(RepeatedEntropy).into());
                }
                self.drawn.push(id);
                let record = UserRecord::register(self.account, id, self.user.clone(), self.now);
                let user = record.user();
                Ok(Decision::Commit(Change::Register { record: Arc::new(record) }, user))
            }
        }
    }
}

pub(crate) struct Rename<'a> {
    pub(crate) user: &'a UserName,
    pub(crate) name: &'a UserName,
}

impl Operation for Rename<'_> {
    type Output = User;

    fn user(&self) -> &UserName {
        self.user
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<User>, Error> {
        let before = existing(found, self.user)?;
        if before.name().as_str() == self.name.as_str() {
            return Ok(Decision::Done(before.user()));
        }
        let after = before.rename(self.name.clone());
        let user = after.user();
        Ok(Decision::replace(before, after, user))
    }

    fn key_taken(&mut self) -> Result<(), Error> {
        Err(Error::UserExists { user: self.name.clone() })
    }
}

pub(crate) struct Remove<'a> {
    pub(crate) user: &'a UserName,
    /// Whether the user's credentials go too.
    pub(crate) with_credentials: bool,
    pub(crate) now: Timestamp,
}

impl Operation for Remove<'_> {
    type Output = Vec<Credential>;

    fn user(&self) -> &UserName {
        self.user
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let before = existing(found, self.user)?;
        if !self.with_credentials {
            before.check_removable()?;
        }
        let gone = before
            .credentials()
            .iter()
            .map(|held| before.describe(held, held.status(|| self.now)))
            .collect();
        Ok(Decision::Commit(Change::Remove { previous: before }, gone))
    }
}
