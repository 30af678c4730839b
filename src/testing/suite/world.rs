//! The users of the suite and their changes.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::GeneratedName, user_name::UserName, user_path::UserPath,
    },
    policy::{Numbering, Policy, builder::PolicyBuilder},
    record::{
        UserRecord, issue::NewCredential, key::Key, stored_credential::StoredCredential,
        tags::TagEdit,
    },
    secret::random_bytes,
    store::change::Change,
    tags::Tags,
    testing::SeededEntropy,
    timestamp::Timestamp,
    user::UserId,
};

pub(super) const GIT: &str = "git.example";
/// Another service name with [`GIT`] as its prefix.
pub(super) const GIT_COM: &str = "git.example.com";
pub(super) const MAIL: &str = "mail.example.com";
pub(super) const SERVICES: [&str; 3] = [GIT, GIT_COM, MAIL];

/// The time of every event whose time does not matter.
const NOW: i64 = 1_478_022_442_382;

/// A change of a user.
type Step<'a> = dyn Fn(&Arc<UserRecord>) -> Change + 'a;

/// One account, and the generated data of its users: the same in every run, without repetition.
pub(super) struct World {
    pub(super) account: AccountId,
    users: AtomicU64,
    credentials: AtomicU64,
    entropy: SeededEntropy,
    policy: Policy,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of("123456789012", 1, SERVICES.map(service))
    }

    /// Another account, with other user ids and the same credential ids.
    pub(super) fn elsewhere() -> Self {
        Self::of("123456789013", 1_000_000, SERVICES.map(service))
    }

    /// An account with these services.
    pub(super) fn with(services: impl IntoIterator<Item = ServiceName>) -> Self {
        Self::of("123456789012", 1, services)
    }

    fn of(account: &str, users: u64, services: impl IntoIterator<Item = ServiceName>) -> Self {
        let empty = Policy::builder().without_services().credentials_per_service(10);
        let policy = services.into_iter().fold(empty, PolicyBuilder::password_service);
        Self {
            account: account.parse().unwrap(),
            users: users.into(),
            credentials: 0.into(),
            entropy: SeededEntropy::new(7),
            policy: policy.build().unwrap(),
        }
    }

    pub(super) fn register(&self, name: &str) -> Change {
        let place = u128::from(self.users.fetch_add(1, Relaxed));
        // Spread, so that the order of ids is unrelated to the order of registration.
        let id = place.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.register_id(UserId::from_bytes(id.to_be_bytes()), name)
    }

    /// Registers a user under a given id.
    pub(super) fn register_id(&self, id: UserId, name: &str) -> Change {
        Change::Register {
            record: Arc::new(UserRecord::register(
                self.account,
                id,
                user(name),
                now(),
                UserPath::ROOT,
                Tags::new(),
            )),
        }
    }

    /// Adds a credential under the first free name that is generated for the user.
    pub(super) fn create(&self, before: &Arc<UserRecord>, at: &str) -> Change {
        let (_, name) = before.free_name(&service(at), 0, Numbering::FromOne);
        self.issue(before, at, name, &self.id())
    }

    /// Adds a credential under a name that is generated for a user called `owner`.
    pub(super) fn create_as(&self, before: &Arc<UserRecord>, at: &str, owner: &str) -> Change {
        self.issue(before, at, self.name(owner), &self.id())
    }

    /// Adds a credential with a given id.
    pub(super) fn create_id(&self, before: &Arc<UserRecord>, at: &str, id: &str) -> Change {
        let (_, name) = before.free_name(&service(at), 0, Numbering::FromOne);
        self.issue(before, at, name, id)
    }

    fn issue(&self, before: &Arc<UserRecord>, at: &str, name: GeneratedName, id: &str) -> Change {
        replace(before, self.add(before, &service(at), name, &credential(id)))
    }

    fn add(
        &self,
        before: &UserRecord,
        at: &ServiceName,
        name: GeneratedName,
        id: &CredentialId,
    ) -> UserRecord {
        let random = random_bytes(&self.entropy, self.policy.password_bytes()).unwrap();
        let new = NewCredential {
            id,
            service: at,
            created: now(),
            lifetime: None,
            tags: &Tags::new(),
            random: &random,
        };
        before.create(&new, name, &self.policy).unwrap().0
    }

    /// Adds, in one change, a number of credentials at each of the services. Their names are
    /// generated from earlier names of the user.
    pub(super) fn fill(
        &self,
        before: &Arc<UserRecord>,
        services: &[ServiceName],
        each: usize,
    ) -> Change {
        let places = services.iter().flat_map(|at| iter::repeat_n(at, each));
        let add = |record: UserRecord, at| {
            let id = self.id();
            let owner: String = id.chars().rev().chain(iter::repeat('x')).take(64).collect();
            self.add(&record, at, self.name(&owner), &credential(&id))
        };
        replace(before, places.fold(UserRecord::clone(before), add))
    }

    /// Replaces the secret of the user's first credential.
    pub(super) fn reset(&self, before: &Arc<UserRecord>) -> Change {
        let random = random_bytes(&self.entropy, self.policy.password_bytes()).unwrap();
        let id = before.credentials().first().unwrap().id();
        let (record, _) = before.reset(id, &random, &self.policy, now()).unwrap();
        replace(before, record)
    }

    pub(super) fn name(&self, owner: &str) -> GeneratedName {
        GeneratedName::new(&user(owner), Some(1), self.account)
    }

    fn id(&self) -> String {
        format!("ACCA{:017}", self.credentials.fetch_add(1, Relaxed))
    }

    /// The life of one user, from registration to removal: every kind of change, with every kind of
    /// key released, kept and claimed.
    pub(super) fn life(&self) -> Vec<Change> {
        let steps: [&Step<'_>; 10] = [
            &|now| self.create(now, GIT),
            &describe,
            &|now| self.create_as(now, GIT_COM, "elsewhere"),
            &|now| self.reset(now),
            &|now| rename(now, "bela"),
            &|now| self.create(now, GIT),
            &delete,
            &delete,
            &|now| rename(now, "anika"),
            &remove,
        ];
        let first = self.register("anika");
        let mut now = Arc::clone(after(&first));
        let mut life = vec![first];
        for step in steps {
            let change = step(&now);
            now = change.record().map_or(now, Arc::clone);
            life.push(change);
        }
        life
    }
}

pub(super) fn rename(before: &Arc<UserRecord>, name: &str) -> Change {
    replace(before, before.update(Some(&user(name)), None).unwrap())
}

/// Changes, in one change, the user's path, and the tags of the user and of the first credential.
pub(super) fn describe(before: &Arc<UserRecord>) -> Change {
    let tags = Tags::from_pairs([("team", "é"), ("Empty", "")]).unwrap();
    let edit = TagEdit::Replace(&tags);
    let id = before.credentials().first().unwrap().id();
    let record = before.update(None, Some(&UserPath::from_static("/staff/"))).unwrap();
    let record = record.edit_tags(None, edit).ok().flatten().unwrap();
    replace(before, record.edit_tags(Some(id), edit).ok().flatten().unwrap())
}

/// Deletes the user's first credential.
pub(super) fn delete(before: &Arc<UserRecord>) -> Change {
    let id = before.credentials().first().unwrap().id();
    replace(before, before.delete(id).unwrap())
}

/// Deletes the user's last credential.
pub(super) fn delete_last(before: &Arc<UserRecord>) -> Change {
    let id = before.credentials().last().unwrap().id();
    replace(before, before.delete(id).unwrap())
}

/// Deletes, in one change, the user's credentials at some of the services.
pub(super) fn empty(before: &Arc<UserRecord>, services: &[ServiceName]) -> Change {
    let held = before.credentials().iter().filter(|held| services.contains(held.service()));
    let delete = |record: UserRecord, id| record.delete(id).unwrap();
    replace(before, held.map(StoredCredential::id).fold(UserRecord::clone(before), delete))
}

pub(super) fn remove(before: &Arc<UserRecord>) -> Change {
    Change::Remove { previous: Arc::clone(before) }
}

fn replace(before: &Arc<UserRecord>, after: UserRecord) -> Change {
    Change::Replace { previous: Arc::clone(before), record: Arc::new(after) }
}

/// The record after a change.
pub(super) fn after(change: &Change) -> &Arc<UserRecord> {
    change.record().expect("it is no removal")
}

/// The keys of the records before and after a change.
pub(super) fn keys(change: &Change) -> impl Iterator<Item = Key<'_>> {
    let after = change.record().map(|after| &**after);
    change.previous().into_iter().chain(after).flat_map(UserRecord::keys)
}

pub(super) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(super) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(super) fn credential(id: &str) -> CredentialId {
    id.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_milliseconds(NOW).unwrap()
}
