//! The store in memory: a sharded index and sharded records.
//!
//! Tests: `tests/stores/`.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;
use slab::Slab;

use self::listings::Listings;
use crate::{
    record::{UserRecord, key::Key},
    store::{
        Store,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
    user::UserId,
};

mod listings;

/// A store in memory, for tests, emulators and services that may lose their state.
///
/// Finding a record is one lookup in a hash table that stores no key twice. A change that claims
/// and releases no key, such as a reset, leaves that table alone. Listings read an ordered index,
/// which registrations, removals and the first and last credential of a user lock. No lock is held
/// while code of a caller runs, locks are taken in one order, and a thread that panics leaves the
/// store usable.
///
/// Clones share the store:
///
/// ```
/// use service_specific_credentials::{CredentialManager, MemoryStore};
///
/// let store = MemoryStore::new();
/// let production = CredentialManager::new("123456789012".parse()?, store.clone());
/// let staging = CredentialManager::new("210987654321".parse()?, store);
/// # Ok::<(), service_specific_credentials::InvalidAccountId>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shards>);

/// # Locks
///
/// The order is: the listings, shards of the index in ascending order, one shard of the records.
/// Keys are claimed and released under the lock of their shard of the index; so under that lock
/// every entry leads to a record that holds its key. A record is replaced under the lock of its
/// shard, so that a reader sees all of a change or nothing of it, whichever key it reads.
struct Shards {
    listings: RwLock<Listings>,
    index: Box<[Shard<HashTable<Entry>>]>,
    records: Box<[Shard<Slab<Arc<UserRecord>>>]>,
    hasher: RandomState,
}

/// A shard of the index or of the records. The alignment avoids false sharing of cache lines.
#[derive(Default)]
#[repr(align(64))]
struct Shard<T>(RwLock<T>);

/// The number of shards: threads seldom contend for one of so many.
const SHARDS: usize = 128;

/// An entry of the index. It stores the hash of its key; the key itself is compared in the record.
struct Entry {
    hash: u64,
    slot: Slot,
}

/// The position of a user's record, from registration to removal. Slots are numbered across shards.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(usize);

impl Slot {
    const fn new(shard: usize, index: usize) -> Self {
        Self(index * SHARDS + shard)
    }

    const fn shard(self) -> usize {
        self.0 % SHARDS
    }

    const fn index(self) -> usize {
        self.0 / SHARDS
    }
}

/// A unique key of the index: a key of a record, or the id of its user.
#[derive(Clone, Copy)]
enum IndexKey<'a> {
    Key(Key<'a>),
    Id(UserId),
}

impl IndexKey<'_> {
    fn is_held_by(&self, record: &UserRecord) -> bool {
        match self {
            Self::Key(key) => record.holds(key),
            Self::Id(id) => record.id() == *id,
        }
    }
}

/// The effect of a change on one key of the index.
struct KeyChange<'a> {
    hash: u64,
    key: IndexKey<'a>,
    effect: Effect,
}

#[derive(Clone, Copy)]
enum Effect {
    Keep,
    Release,
    Claim,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shards {
            listings: RwLock::default(),
            index: (0..SHARDS).map(|_| Shard::default()).collect(),
            records: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
        }))
    }
}

impl Shards {
    #[expect(clippy::indexing_slicing, reason = "the remainder is less than the number of shards")]
    fn index(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.index[shard(hash)].0
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is less than the number of shards")]
    fn records(&self, shard: usize) -> &RwLock<Slab<Arc<UserRecord>>> {
        &self.records[shard % SHARDS].0
    }

    fn get(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let hash = self.hasher.hash_one(key);
        let index = read(self.index(hash));
        entries(&index, hash).find_map(|entry| {
            let records = read(self.records(entry.slot.shard()));
            // The key is compared before the reference count changes: the comparison then loads the
            // record's first cache lines at once instead of waiting for the count.
            records.get(entry.slot.index()).filter(|record| record.holds(key)).cloned()
        })
    }

    fn holds(&self, slot: Slot, key: &IndexKey<'_>) -> bool {
        let records = read(self.records(slot.shard()));
        records.get(slot.index()).is_some_and(|record| key.is_held_by(record))
    }

    /// The effects of `change` on the index, in the order of the shards: on the keys that it claims
    /// and releases, on the user's id, and the user's name, which tells the slot. Also whether it
    /// adds a user to a listing or removes one.
    fn key_changes<'a>(&self, change: &'a Change) -> (Vec<KeyChange<'a>>, bool) {
        let key_change = |key, effect| KeyChange {
            hash: self.hasher.hash_one(key),
            key: IndexKey::Key(key),
            effect,
        };
        let id_change = |id: UserId, effect| KeyChange {
            hash: self.hasher.hash_one(id),
            key: IndexKey::Id(id),
            effect,
        };
        let released = change.released().map(|key| (key, Effect::Release));
        let claimed = change.claimed().map(|key| (key, Effect::Claim));
        let (mut changes, mut changes_listings) = (Vec::new(), false);
        for (key, effect) in released.chain(claimed) {
            changes_listings |= Listings::contain(&key);
            if !matches!(key, Key::Holder { .. }) {
                changes.push(key_change(key, effect));
            }
        }
        match change {
            Change::Register { record } => changes.push(id_change(record.id(), Effect::Claim)),
            Change::Replace { previous, record } => {
                let name = previous.user_key();
                if record.holds(&name) {
                    changes.push(key_change(name, Effect::Keep));
                }
            }
            Change::Remove { previous } => {
                changes.push(id_change(previous.id(), Effect::Release));
            }
        }
        changes.sort_unstable_by_key(|change| shard(change.hash));
        (changes, changes_listings)
    }
}

impl Store for MemoryStore {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        Ok(match *key {
            Key::User { .. } | Key::Credential { .. } | Key::ServiceUser { .. } => self.0.get(key),
            Key::Holder { account, user, .. } => {
                let user = Key::User { account, name: user };
                self.0.get(&user).filter(|record| record.holds(key))
            }
        })
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let shards = &*self.0;
        let (key_changes, changes_listings) = shards.key_changes(change);
        let mut listings = changes_listings.then(|| write(&shards.listings));
        let mut locked: Vec<(RwLockWriteGuard<'_, HashTable<Entry>>, &[KeyChange<'_>])> =
            key_changes
                .chunk_by(|left, right| shard(left.hash) == shard(right.hash))
                .filter_map(|changes| Some((write(shards.index(changes.first()?.hash)), changes)))
                .collect();

        let mut present = None;
        let mut taken = false;
        for (index, changes) in &locked {
            for KeyChange { hash, key, effect } in *changes {
                let holder = || entries(index, *hash).find(|entry| shards.holds(entry.slot, key));
                match (effect, key) {
                    (Effect::Claim, _) => taken |= holder().is_some(),
                    (_, IndexKey::Key(Key::User { .. })) => {
                        present = holder().map(|entry| entry.slot);
                    }
                    _ => {}
                }
            }
        }

        // A new record goes to the shard of one of its hashes.
        let new_shard = key_changes.first().map_or(0, |change| shard(change.hash));
        let mut records = write(shards.records(present.map_or(new_shard, Slot::shard)));
        let held = present.and_then(|slot| records.get_mut(slot.index()));
        let slot = match (change, present, held) {
            (Change::Register { record }, None, _) => {
                if taken {
                    return Ok(CommitOutcome::KeyTaken);
                }
                Slot::new(new_shard, records.insert(Arc::clone(record)))
            }
            (Change::Replace { previous, record }, Some(slot), Some(held))
                if held.revision() == previous.revision() =>
            {
                if taken {
                    return Ok(CommitOutcome::KeyTaken);
                }
                *held = Arc::clone(record);
                slot
            }
            (Change::Remove { previous }, Some(slot), Some(held))
                if held.revision() == previous.revision() =>
            {
                records.try_remove(slot.index());
                slot
            }
            _ => return Ok(CommitOutcome::Stale),
        };
        for (index, changes) in &mut locked {
            for KeyChange { hash, effect, .. } in *changes {
                apply(index, *hash, *effect, slot);
            }
        }
        if let Some(listings) = &mut listings {
            listings.apply(change, slot);
        }
        Ok(CommitOutcome::Applied)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        // Locked to the end, so that no user enters or leaves a listing while it is read.
        let listings = read(&self.0.listings);
        let record = |slot: Slot| read(self.0.records(slot.shard())).get(slot.index()).cloned();
        Ok(listings.scan(range).filter_map(record).collect())
    }
}

// No code that can panic runs under these locks: the data behind a poisoned lock is consistent.

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The shard of a hash, by bits that the hash tables hardly use.
const fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn entries(index: &HashTable<Entry>, hash: u64) -> impl Iterator<Item = &Entry> {
    index.iter_hash(hash).filter(move |entry| entry.hash == hash)
}

fn apply(index: &mut HashTable<Entry>, hash: u64, effect: Effect, slot: Slot) {
    match effect {
        Effect::Keep => {}
        Effect::Release => {
            let is_released = |entry: &Entry| entry.hash == hash && entry.slot == slot;
            if let Ok(entry) = index.find_entry(hash, is_released) {
                entry.remove();
            }
        }
        Effect::Claim => {
            index.insert_unique(hash, Entry { hash, slot }, |entry| entry.hash);
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
