//! The store in memory: a sharded index and sharded records.
//!
//! Tests: `tests/stores/`, and `tests/schedules/run` for the locks.

#[cfg(not(all(test, shuttle)))]
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash},
    sync::{Arc, PoisonError},
};

use hashbrown::HashTable;
#[cfg(all(test, shuttle))]
use shuttle::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use slab::Slab;

use self::listings::{ListingChange, Listings};
use crate::{
    names::account_id::AccountId,
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
mod schedules;

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
/// Keys are claimed and released under the lock of their index shard, so under that lock every
/// entry refers to a record that holds its key. A record is replaced under the lock of its shard,
/// so a reader sees all of a change or none of it, by every key.
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

/// The number of shards: high enough that threads rarely contend for one.
const SHARDS: usize = 128;

/// An entry of the index. It stores the hash of its key; the key itself is compared in the record.
struct Entry {
    hash: KeyHash,
    slot: Slot,
}

/// The hash of a key. With 32 bits an entry has 8 bytes instead of 16, and two keys of a shard
/// still rarely share one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyHash(u32);

impl KeyHash {
    /// The shard of the key, from the upper bits. The tables of a shard use the lower ones.
    const fn shard(self) -> usize {
        (self.0 >> (u32::BITS - SHARDS.ilog2())) as usize
    }

    /// The hash for a hash table, which needs 64 bits: the product with an odd constant near
    /// 2^64 divided by the golden ratio.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The position of a user's record, from registration to removal. Slots are numbered across shards.
/// Their number fits 32 bits: so many records would occupy two terabytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

impl Slot {
    /// `None` if the shard is full.
    fn new(shard: usize, index: usize) -> Option<Self> {
        u32::try_from(index * SHARDS + shard).ok().map(Self)
    }

    const fn shard(self) -> usize {
        self.0 as usize % SHARDS
    }

    const fn index(self) -> usize {
        self.0 as usize / SHARDS
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
    hash: KeyHash,
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

impl MemoryStore {
    /// The accounts that have users, in order.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountId> {
        read(&self.0.listings).accounts()
    }
}

impl Shards {
    #[expect(clippy::indexing_slicing, reason = "a key has one of the shards")]
    fn index(&self, hash: KeyHash) -> &RwLock<HashTable<Entry>> {
        &self.index[hash.shard()].0
    }

    fn hash(&self, key: impl Hash) -> KeyHash {
        KeyHash((self.hasher.hash_one(key) >> 32) as u32)
    }

    #[expect(clippy::indexing_slicing, reason = "a key and a slot have one of the shards")]
    fn records(&self, shard: usize) -> &RwLock<Slab<Arc<UserRecord>>> {
        &self.records[shard].0
    }

    fn get(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let hash = self.hash(key);
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

    /// The effects of `change` on the index, in the order of the shards: on the claimed keys, the
    /// released keys, the user's id, and the user's name, which determines the slot. Also its
    /// effects on the listings.
    fn key_changes<'a>(&self, change: &'a Change) -> (Vec<KeyChange<'a>>, Vec<ListingChange<'a>>) {
        let key_change =
            |key, effect| KeyChange { hash: self.hash(key), key: IndexKey::Key(key), effect };
        let id_change =
            |id: UserId, effect| KeyChange { hash: self.hash(id), key: IndexKey::Id(id), effect };
        let released = change.released().map(|key| (key, Effect::Release));
        let claimed = change.claimed().map(|key| (key, Effect::Claim));
        let (mut changes, mut listing_changes) = (Vec::new(), Vec::new());
        for (key, effect) in released.chain(claimed) {
            listing_changes.extend(ListingChange::of(&key, effect));
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
        changes.sort_unstable_by_key(|change| change.hash.shard());
        (changes, listing_changes)
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
        let (key_changes, listing_changes) = shards.key_changes(change);
        let mut listings = (!listing_changes.is_empty()).then(|| write(&shards.listings));
        let mut locked: Vec<(RwLockWriteGuard<'_, HashTable<Entry>>, &[KeyChange<'_>])> =
            key_changes
                .chunk_by(|left, right| left.hash.shard() == right.hash.shard())
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
        let new_shard = key_changes.first().map_or(0, |change| change.hash.shard());
        let mut records = write(shards.records(present.map_or(new_shard, Slot::shard)));
        let held = present.and_then(|slot| records.get_mut(slot.index()));
        let slot = match (change, present, held) {
            (Change::Register { record }, None, _) => {
                if taken {
                    return Ok(CommitOutcome::KeyTaken);
                }
                let slot = Slot::new(new_shard, records.vacant_key())
                    .ok_or_else(|| StoreError::new("the store is full"))?;
                records.insert(Arc::clone(record));
                slot
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
            listings.apply(&listing_changes, slot);
        }
        Ok(CommitOutcome::Applied)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        // Locked until the end, so that no user enters or leaves a listing during the scan.
        let listings = read(&self.0.listings);
        let record = |slot: Slot| read(self.0.records(slot.shard())).get(slot.index()).cloned();
        Ok(listings.scan(range).filter_map(record).collect())
    }
}

// No code that can panic runs under these locks, so the data behind a poisoned lock is consistent.

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn entries(index: &HashTable<Entry>, hash: KeyHash) -> impl Iterator<Item = &Entry> {
    index.iter_hash(hash.spread()).filter(move |entry| entry.hash == hash)
}

fn apply(index: &mut HashTable<Entry>, hash: KeyHash, effect: Effect, slot: Slot) {
    match effect {
        Effect::Keep => {}
        Effect::Release => {
            let is_released = |entry: &Entry| entry.hash == hash && entry.slot == slot;
            if let Ok(entry) = index.find_entry(hash.spread(), is_released) {
                entry.remove();
            }
        }
        Effect::Claim => {
            index.insert_unique(hash.spread(), Entry { hash, slot }, |entry| entry.hash.spread());
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::{manager::CredentialManager, names::user_name::UserName};

    #[test]
    fn a_key_is_released_alone() {
        let hashes: Vec<KeyHash> = (0..200).map(KeyHash).collect();
        let slots = [Slot(0), Slot(1)];
        let mut index = HashTable::new();
        let mut held: Vec<_> = slots
            .into_iter()
            .flat_map(|slot| hashes.iter().map(move |&hash| (hash, slot)))
            .collect();
        for &(hash, slot) in &held {
            apply(&mut index, hash, Effect::Claim, slot);
        }
        while let Some((hash, slot)) = held.pop() {
            apply(&mut index, hash, Effect::Release, slot);
            assert_eq!(index.len(), held.len());
            for &(hash, slot) in &held {
                assert!(entries(&index, hash).any(|entry| entry.slot == slot));
            }
        }
    }

    #[test]
    fn users_whose_names_have_the_same_hash_are_told_apart() {
        let account = AccountId::from_static("123456789012");
        let store = MemoryStore::new();
        let iam = CredentialManager::new(account, &store);
        let mut seen = HashMap::new();
        let mut pairs = 0;
        for number in 0..400_000 {
            let name: UserName = format!("user{number}").parse().unwrap();
            let hash = store.0.hash(Key::User { account, name: &name });
            let Some(first) = seen.insert(hash.0, number) else { continue };
            let first: UserName = format!("user{first}").parse().unwrap();
            pairs += 1;
            iam.register_user(&first).unwrap();
            assert!(iam.user(&name).is_err());
            iam.register_user(&name).unwrap();
            for name in [&first, &name] {
                assert_eq!(iam.user(name).unwrap().name(), name);
            }
            iam.remove_user(&first).unwrap();
            assert!(iam.user(&first).is_err());
            assert_eq!(iam.user(&name).unwrap().name(), &name);
        }
        assert!(pairs > 0, "among 400,000 hashes of 32 bits, 19 pairs are expected");
    }

    /// A hash table takes the position from the lower bits, and seven bits for comparison from the
    /// upper ones.
    #[test]
    fn hashes_spread_over_all_bits() {
        let spread: Vec<u64> = (0..1_000).map(|hash| KeyHash(hash).spread()).collect();
        for bit in 0..u64::BITS {
            let set = spread.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((400..=600).contains(&set), "{set} of 1,000 hashes have bit {bit}");
        }
        let store = MemoryStore::new();
        let shards: HashSet<usize> =
            (0..2_000).map(|number: u32| store.0.hash(number).shard()).collect();
        assert!(shards.len() > SHARDS / 2, "{} shards are used", shards.len());
    }
}
