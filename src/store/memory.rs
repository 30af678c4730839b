use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use hashbrown::HashTable;

use super::{Change, Commit, Key, Listing, Range, Store, StoreError, UserRecord};
use crate::{AccountId, ServiceName, UserName};

/// Keeps everything in memory, for tests, emulators and services that may forget.
///
/// Finding a record is one look-up in a hash table, whose entries are the records themselves: no
/// key is kept twice. A commit takes the locks of the few shards that it touches, in one order, so
/// that it never deadlocks, and holds them all until it is done, so that nobody sees half of it. No
/// code of a caller runs under a lock.
///
/// Clones of the store's owner share it through an [`Arc`]:
///
/// ```
/// use std::sync::Arc;
/// use service_specific_credentials::{CredentialManager, MemoryStore};
///
/// let store = Arc::new(MemoryStore::new());
/// let production = CredentialManager::new("123456789012".parse()?, Arc::clone(&store));
/// let staging = CredentialManager::new("210987654321".parse()?, store);
/// # Ok::<(), service_specific_credentials::InvalidAccountId>(())
/// ```
pub struct MemoryStore {
    /// The names of the users in each listing. Locked before any shard.
    listings: RwLock<Listings>,
    shards: Box<[Shard]>,
    hasher: RandomState,
}

/// A power of two: enough that threads seldom meet.
const SHARDS: u64 = 128;

/// A part of the index, on cache lines of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<Entry>>);

/// One key of a record. Which one is told by its hash and by asking the record.
struct Entry {
    hash: u64,
    record: Arc<UserRecord>,
}

/// One key that a change touches.
struct Touch<'a> {
    hash: u64,
    key: Key<'a>,
    effect: Effect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Keep,
    Release,
    Claim,
}

type Listings = BTreeMap<(AccountId, OwnedListing), BTreeSet<UserName>>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum OwnedListing {
    Users,
    Members(Option<ServiceName>),
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listings: RwLock::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    fn get(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let hash = self.hash(key);
        // No code that can panic runs under a lock, so that a poisoned one holds nothing torn.
        let table = self.shard(hash).0.read().unwrap_or_else(PoisonError::into_inner);
        find(&table, hash, key).map(|entry| Arc::clone(&entry.record))
    }

    #[expect(clippy::indexing_slicing, reason = "the index is below the number of shards")]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[shard_index(hash)]
    }

    /// The keys that `change` touches and the hash tables hold, those of one shard in a row.
    fn touches<'a>(&self, change: &'a Change) -> Vec<Touch<'a>> {
        let kept = change.kept().map(|key| (key, Effect::Keep));
        let released = change.released().map(|key| (key, Effect::Release));
        let claimed = change.claimed().map(|key| (key, Effect::Claim));
        let mut touches: Vec<_> = kept
            .chain(released)
            .chain(claimed)
            .filter(|(key, _)| !matches!(key, Key::Member { .. }))
            .map(|(key, effect)| Touch { hash: self.hash(&key), key, effect })
            .collect();
        touches.sort_unstable_by_key(|touch| shard_index(touch.hash));
        touches
    }
}

impl Store for MemoryStore {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        Ok(match *key {
            Key::User { .. } | Key::Credential { .. } | Key::ServiceUser { .. } => self.get(key),
            Key::Member { account, user, .. } => {
                self.get(&Key::User { account, name: user }).filter(|record| record.holds(key))
            }
        })
    }

    fn commit(&self, change: &Change) -> Result<Commit, StoreError> {
        let touches = self.touches(change);
        let relisted = change.released().chain(change.claimed()).any(|key| listing(&key).is_some());
        let listings =
            relisted.then(|| self.listings.write().unwrap_or_else(PoisonError::into_inner));
        let mut locked: Vec<(RwLockWriteGuard<'_, HashTable<Entry>>, &[Touch<'_>])> = touches
            .chunk_by(|left, right| shard_index(left.hash) == shard_index(right.hash))
            .filter_map(|touches| {
                let shard = self.shard(touches.first()?.hash);
                Some((shard.0.write().unwrap_or_else(PoisonError::into_inner), touches))
            })
            .collect();

        let mut taken = false;
        for (table, touches) in &locked {
            for Touch { hash, key, effect } in *touches {
                let held = find(table, *hash, key);
                match effect {
                    Effect::Claim => taken |= held.is_some(),
                    Effect::Keep | Effect::Release => {
                        let revision = held.map(|entry| entry.record.revision());
                        if revision != change.before().map(UserRecord::revision) {
                            return Ok(Commit::Stale);
                        }
                    }
                }
            }
        }
        if taken {
            return Ok(Commit::KeyTaken);
        }

        for (table, touches) in &mut locked {
            for Touch { hash, key, effect } in *touches {
                apply(table, *hash, key, *effect, change.after());
            }
        }
        if let Some(mut listings) = listings {
            relist(&mut listings, change);
        }
        Ok(Commit::Applied)
    }

    fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let owned = match range.listing() {
            Listing::Users => OwnedListing::Users,
            Listing::Members { service } => OwnedListing::Members(service.cloned()),
        };
        // Held to the end: nobody enters or leaves a listing while it is read.
        let listings = self.listings.read().unwrap_or_else(PoisonError::into_inner);
        let names = listings.get(&(range.account(), owned)).into_iter();
        Ok(names
            .flat_map(|names| names.range((range.start(), Bound::Unbounded)))
            .take(range.limit())
            .filter_map(|name| self.get(&Key::User { account: range.account(), name }))
            .collect())
    }
}

/// Bits of the hash that the tables make little use of.
const fn shard_index(hash: u64) -> usize {
    (hash >> 32 & (SHARDS - 1)) as usize
}

fn find<'a>(table: &'a HashTable<Entry>, hash: u64, key: &Key<'_>) -> Option<&'a Entry> {
    table.find(hash, |entry| entry.hash == hash && entry.record.holds(key))
}

fn apply(
    table: &mut HashTable<Entry>,
    hash: u64,
    key: &Key<'_>,
    effect: Effect,
    after: Option<&Arc<UserRecord>>,
) {
    let is_key = |entry: &Entry| entry.hash == hash && entry.record.holds(key);
    match (effect, after) {
        (Effect::Claim, Some(after)) => {
            let entry = Entry { hash, record: Arc::clone(after) };
            table.insert_unique(hash, entry, |entry| entry.hash);
        }
        (Effect::Keep, Some(after)) => {
            if let Some(entry) = table.find_mut(hash, is_key) {
                entry.record = Arc::clone(after);
            }
        }
        _ => {
            if let Ok(entry) = table.find_entry(hash, is_key) {
                entry.remove();
            }
        }
    }
}

/// The listing that `key` is of, and the user's name in it.
fn listing<'a>(key: &Key<'a>) -> Option<((AccountId, OwnedListing), &'a UserName)> {
    match *key {
        Key::User { account, name } => Some(((account, OwnedListing::Users), name)),
        Key::Member { account, service, user } => {
            Some(((account, OwnedListing::Members(service.cloned())), user))
        }
        Key::Credential { .. } | Key::ServiceUser { .. } => None,
    }
}

fn relist(listings: &mut Listings, change: &Change) {
    for (listing, name) in change.released().filter_map(|key| listing(&key)) {
        if let Some(names) = listings.get_mut(&listing) {
            names.remove(name);
            if names.is_empty() {
                listings.remove(&listing);
            }
        }
    }
    for (listing, name) in change.claimed().filter_map(|key| listing(&key)) {
        listings.entry(listing).or_default().insert(name.clone());
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
