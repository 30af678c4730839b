use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;

use super::{Change, Commit, Key, Listing, Range, Store, StoreError, UserRecord};
use crate::{AccountId, ServiceName, UserName};

/// Keeps everything in memory, for tests, emulators and services that may forget.
///
/// Finding a record is one look-up in a hash table that keeps no key twice. A change that claims no
/// key, such as a reset, costs no more. Listings read an ordered index. No code of a caller runs
/// under a lock, locks are taken in one order, and a thread that panics leaves the store usable.
///
/// Several managers share a store through an [`Arc`]:
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
///
// # Locks
//
// The listings are locked first, then shards in the order of their places, then one slot. Whoever
// holds the lock of a shard (or of the listings) sees entries whose slots hold the keys they stand
// for, since a key is released and claimed under that lock alone. A record is replaced under the
// lock of its slot, so that a reader sees all of a change or nothing of it, whichever key it reads.
pub struct MemoryStore {
    listings: RwLock<Listings>,
    shards: Box<[Shard]>,
    hasher: RandomState,
}

/// The names of each listing in order.
type Listings = BTreeMap<(AccountId, OwnedListing), BTreeMap<UserName, Arc<Slot>>>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum OwnedListing {
    Users,
    Members(Option<ServiceName>),
}

/// A part of the hash table, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(RwLock<HashTable<Entry>>);

/// A power of two: enough that threads seldom meet.
const SHARDS: u64 = 128;

/// One key of a user. Which one is told by its hash and by asking the record.
struct Entry {
    hash: u64,
    slot: Arc<Slot>,
}

/// The present record of one user.
struct Slot(RwLock<Arc<UserRecord>>);

impl Slot {
    fn get(&self) -> Arc<UserRecord> {
        Arc::clone(&read(&self.0))
    }

    /// The record, if it holds `key`. It is asked before it is shared: what it is asked for comes
    /// from memory all at once, where counting the reference first would have it wait its turn.
    fn get_holder(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let record = read(&self.0);
        record.holds(key).then(|| Arc::clone(&record))
    }

    fn holds(&self, key: &Key<'_>) -> bool {
        read(&self.0).holds(key)
    }
}

/// What a change does to one key of the hash table.
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

impl Effect {
    /// Whether a listing changes by having this done to `key`.
    const fn relists(self, key: &Key<'_>) -> bool {
        !matches!(self, Self::Keep) && matches!(key, Key::User { .. } | Key::Member { .. })
    }
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

    #[expect(clippy::indexing_slicing, reason = "there are as many shards as places")]
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.shards[place(hash)].0
    }

    fn get(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let hash = self.hash(key);
        let table = read(self.shard(hash));
        entries(&table, hash).find_map(|entry| entry.slot.get_holder(key))
    }

    /// Those of the effects that are on the hash table, in the order of their shards.
    fn touches<'a>(&self, effects: &[(Key<'a>, Effect)]) -> Vec<Touch<'a>> {
        let mut touches: Vec<_> = effects
            .iter()
            .filter(|(key, _)| !matches!(key, Key::Member { .. }))
            .map(|&(key, effect)| Touch { hash: self.hash(&key), key, effect })
            .collect();
        touches.sort_unstable_by_key(|touch| place(touch.hash));
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
        let effects = effects(change);
        let relists = effects.iter().any(|(key, effect)| effect.relists(key));
        let mut listings = relists.then(|| write(&self.listings));
        let touches = self.touches(&effects);
        let mut locked: Vec<(RwLockWriteGuard<'_, HashTable<Entry>>, &[Touch<'_>])> = touches
            .chunk_by(|left, right| place(left.hash) == place(right.hash))
            .filter_map(|touches| Some((write(self.shard(touches.first()?.hash)), touches)))
            .collect();

        let mut present = None;
        let mut taken = false;
        for (table, touches) in &locked {
            for Touch { hash, key, effect } in *touches {
                let holder = || entries(table, *hash).find(|entry| entry.slot.holds(key));
                match (effect, key) {
                    (Effect::Claim, _) => taken |= holder().is_some(),
                    (_, Key::User { .. }) => present = holder().map(|it| Arc::clone(&it.slot)),
                    _ => {}
                }
            }
        }

        let slot = match (change.before(), change.after(), present) {
            (Some(_), _, Some(slot)) => slot,
            (Some(_), _, None) => return Ok(Commit::Stale),
            (None, Some(after), _) => Arc::new(Slot(RwLock::new(Arc::clone(after)))),
            (None, None, _) => return Ok(Commit::Applied),
        };
        let mut record = write(&slot.0);
        if change.before().is_some_and(|before| before.revision() != record.revision()) {
            return Ok(Commit::Stale);
        }
        if taken {
            return Ok(Commit::KeyTaken);
        }
        for (table, touches) in &mut locked {
            for Touch { hash, effect, .. } in *touches {
                apply(table, *hash, *effect, &slot);
            }
        }
        if let Some(listings) = &mut listings {
            relist(listings, &effects, &slot);
        }
        if let Some(after) = change.after() {
            *record = Arc::clone(after);
        }
        Ok(Commit::Applied)
    }

    fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let owned = match range.listing() {
            Listing::Users => OwnedListing::Users,
            Listing::Members { service } => OwnedListing::Members(service.cloned()),
        };
        // Held to the end: nobody enters or leaves a listing while it is read.
        let listings = read(&self.listings);
        let names = listings.get(&(range.account(), owned)).into_iter();
        Ok(names
            .flat_map(|names| names.range((range.start(), Bound::Unbounded)))
            .take(range.limit())
            .map(|(_, slot)| slot.get())
            .collect())
    }
}

// No code that can panic runs under these locks: what a poisoned one guards is whole.

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The shard of a hash, by bits that the tables make little use of.
const fn place(hash: u64) -> usize {
    (hash >> 32 & (SHARDS - 1)) as usize
}

fn entries(table: &HashTable<Entry>, hash: u64) -> impl Iterator<Item = &Entry> {
    table.iter_hash(hash).filter(move |entry| entry.hash == hash)
}

fn apply(table: &mut HashTable<Entry>, hash: u64, effect: Effect, slot: &Arc<Slot>) {
    match effect {
        Effect::Keep => {}
        Effect::Release => {
            let is_key = |entry: &Entry| entry.hash == hash && Arc::ptr_eq(&entry.slot, slot);
            if let Ok(entry) = table.find_entry(hash, is_key) {
                entry.remove();
            }
        }
        Effect::Claim => {
            let entry = Entry { hash, slot: Arc::clone(slot) };
            table.insert_unique(hash, entry, |entry| entry.hash);
        }
    }
}

/// What `change` does to the user's own key and to those that it releases and claims.
fn effects(change: &Change) -> Vec<(Key<'_>, Effect)> {
    let user = change.before().map(UserRecord::user_key);
    let kept = user.filter(|key| change.after().is_some_and(|after| after.holds(key)));
    kept.map(|key| (key, Effect::Keep))
        .into_iter()
        .chain(change.released().map(|key| (key, Effect::Release)))
        .chain(change.claimed().map(|key| (key, Effect::Claim)))
        .collect()
}

fn relist(listings: &mut Listings, effects: &[(Key<'_>, Effect)], slot: &Arc<Slot>) {
    for (key, effect) in effects {
        let (listing, name) = match *key {
            Key::User { account, name } => ((account, OwnedListing::Users), name),
            Key::Member { account, service, user } => {
                ((account, OwnedListing::Members(service.cloned())), user)
            }
            Key::Credential { .. } | Key::ServiceUser { .. } => continue,
        };
        match effect {
            Effect::Keep => {}
            Effect::Release => {
                if let Some(names) = listings.get_mut(&listing) {
                    names.remove(name);
                    if names.is_empty() {
                        listings.remove(&listing);
                    }
                }
            }
            Effect::Claim => {
                let names = listings.entry(listing).or_default();
                names.insert(name.clone(), Arc::clone(slot));
            }
        }
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
