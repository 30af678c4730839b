//! The credentials in a record, without uninitialized memory.

use std::{
    array,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    ops::Deref,
};

use hashbrown::HashTable;

use super::stored_credential::StoredCredential;
use crate::{
    credential::CredentialKind,
    names::{
        credential_id::CredentialId, hash_caseless, service_name::ServiceName,
        service_user_name::GeneratedName,
    },
    secret::digest::Digest,
    timestamp::{PackedTimestamp, Timestamp},
};

/// The credentials of one user: inline up to two, the default limit at one service, and otherwise
/// in heap allocations of their exact size.
///
/// Unused inline slots are initialized. A vector that leaves its spare capacity uninitialized
/// (`SmallVec`, for example) carries stale bytes of the stack into the record when it is moved, and
/// with them remains of a secret.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    inline: [StoredCredential; 2],
    inline_length: usize,
    /// All of the credentials, if they do not fit inline.
    many: Option<Box<Many>>,
}

/// More credentials than fit inline, with an index by name: a user may have a thousand, and
/// authentication looks for one of them.
#[derive(Clone, Debug)]
struct Many {
    all: Box<[StoredCredential]>,
    positions: HashTable<usize>,
    hasher: RandomState,
}

impl Many {
    #[expect(clippy::indexing_slicing, reason = "the positions are those of the credentials")]
    fn new(all: Box<[StoredCredential]>) -> Self {
        let hasher = RandomState::new();
        let hash = |held: &StoredCredential| hash_name(&hasher, &held.service, held.name.as_str());
        let mut positions = HashTable::with_capacity(all.len());
        for (position, held) in all.iter().enumerate() {
            positions.insert_unique(hash(held), position, |&moved| hash(&all[moved]));
        }
        Self { all, positions, hasher }
    }

    #[expect(clippy::indexing_slicing, reason = "the positions are those of the credentials")]
    fn position_of(&self, service: &ServiceName, name: &str) -> Option<usize> {
        let hash = hash_name(&self.hasher, service, name);
        let found = self.positions.find(hash, |&held| self.all[held].is_named(service, name));
        found.copied()
    }
}

/// The hash of a service and a service user name, which compare without ASCII case.
fn hash_name(hasher: &RandomState, service: &ServiceName, name: &str) -> u64 {
    let mut state = hasher.build_hasher();
    service.hash(&mut state);
    hash_caseless(name, &mut state);
    state.finish()
}

/// The content of an unused slot.
fn unused() -> StoredCredential {
    StoredCredential {
        service: ServiceName::EMPTY,
        expires: Timestamp::NEVER,
        digest: Digest::DUMMY,
        name: GeneratedName::empty(),
        id: CredentialId::EMPTY,
        created: Timestamp::NEVER,
        active: false,
        kind: CredentialKind::Password,
        secret_changed: PackedTimestamp::ZERO,
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { inline: array::from_fn(|_| unused()), inline_length: 0, many: None }
    }
}

impl Credentials {
    /// The position of the credential of this service and service user name. Takes constant
    /// time.
    pub(super) fn position_of(&self, service: &ServiceName, name: &str) -> Option<usize> {
        match &self.many {
            None => self.iter().position(|held| held.is_named(service, name)),
            Some(many) => many.position_of(service, name),
        }
    }
}

impl FromIterator<StoredCredential> for Credentials {
    fn from_iter<I: IntoIterator<Item = StoredCredential>>(credentials: I) -> Self {
        let mut all = Self::default();
        let mut rest = credentials.into_iter().fuse().peekable();
        for (slot, credential) in all.inline.iter_mut().zip(&mut rest) {
            *slot = credential;
            all.inline_length += 1;
        }
        if rest.peek().is_none() {
            return all;
        }
        let many = Many::new(all.inline.into_iter().chain(rest).collect());
        Self { many: Some(Box::new(many)), ..Self::default() }
    }
}

impl Deref for Credentials {
    type Target = [StoredCredential];

    fn deref(&self) -> &[StoredCredential] {
        match &self.many {
            None => self.inline.get(..self.inline_length).unwrap_or_default(),
            Some(many) => &many.all,
        }
    }
}

// Nothing of a record but its tail pointer is spent on details, and nothing on padding.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<StoredCredential>() == 160);
    assert!(size_of::<Credentials>() == 2 * 160 + 16);
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `count` credentials, ten of them at each service.
    fn credentials(count: u32) -> Credentials {
        let credential = |number: u32| StoredCredential {
            service: format!("service-{}.example.com", number / 10).parse().unwrap(),
            name: GeneratedName::new(
                &"Anika".parse().unwrap(),
                Some(number % 10 + 1),
                "123456789012".parse().unwrap(),
            ),
            ..unused()
        };
        (0..count).map(credential).collect()
    }

    #[test]
    fn a_name_is_found_as_by_a_search_of_all() {
        let all = credentials(1000);
        for count in [0, 1, 2, 3, 11, 1000] {
            let credentials = credentials(count);
            for held in all.iter().step_by(7).chain(all.iter().take(12)) {
                for name in [held.name.as_str().to_owned(), held.name.as_str().to_uppercase()] {
                    assert_eq!(
                        credentials.position_of(&held.service, &name),
                        credentials.iter().position(|it| it.is_named(&held.service, &name)),
                        "{count} {name}"
                    );
                }
            }
            let service = "service-0.example.com".parse().unwrap();
            assert_eq!(credentials.position_of(&service, "anika-at-123456789012"), None);
        }
        let hasher = RandomState::new();
        let distinct: BTreeSet<u64> =
            all.iter().map(|held| hash_name(&hasher, &held.service, held.name.as_str())).collect();
        assert_eq!(distinct.len(), all.len());
    }
}
