use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hashbrown::HashTable;
use slab::Slab;

use crate::{
    names::{account_id::AccountId, service_name::ServiceName, user_name::UserName},
    user::UserId,
};
use crate::{
    record::{
        UserRecord,
        key::{Key, Listing},
    },
    store::{
        Store,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

/// Keeps everything in memory, for tests, emulators and services that may forget.
///
/// Finding a record is one look-up in a hash table that keeps no key twice. A change that claims and
/// releases no key, such as a reset, leaves that table alone. Listings read an ordered index; the
/// users who enter or leave one (by registering, or by a first or last credential) wait for each
/// other and for those who read a page. No code of a caller runs under a lock, locks are taken in
/// one order, and a thread that panics leaves the store usable.
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
// Locked in this order: the listings, parts of the index by their places, one part of the records.
// Whoever holds the lock of a part of the index (or of the listings) sees entries whose records
// hold the keys that they stand for, since a key is released and claimed under that lock alone. A
// record is replaced under the lock of its part, so that a reader sees all of a change or nothing
// of it, whichever key it reads.
pub struct MemoryStore {
    listings: RwLock<Listings>,
    index: Box<[Part<HashTable<Entry>>]>,
    records: Box<[Part<Slab<Arc<UserRecord>>>]>,
    hasher: RandomState,
}

/// The names of each listing in order.
type Listings = BTreeMap<(AccountId, OwnedListing), BTreeMap<UserName, Place>>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum OwnedListing {
    Users,
    Holders(Option<ServiceName>),
}

/// A part of the index or of the records, on cache lines of its own.
#[derive(Default)]
#[repr(align(64))]
struct Part<T>(RwLock<T>);

/// Enough that threads seldom meet.
const PARTS: usize = 128;

/// One key of a user, or the user's id. Which one is told by its hash and by asking the record.
struct Entry {
    hash: u64,
    place: Place,
}

/// Where the present record of a user is kept, from registration to removal: records are numbered
/// across the parts.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(usize);

impl Place {
    const fn new(part: usize, slot: usize) -> Self {
        Self(slot * PARTS + part)
    }

    const fn part(self) -> usize {
        self.0 % PARTS
    }

    const fn slot(self) -> usize {
        self.0 / PARTS
    }
}

/// What the index leads to a record from.
#[derive(Clone, Copy)]
enum Entrance<'a> {
    Key(Key<'a>),
    Id(UserId),
}

impl Entrance<'_> {
    fn is_of(&self, record: &UserRecord) -> bool {
        match self {
            Self::Key(key) => record.holds(key),
            Self::Id(id) => record.id() == *id,
        }
    }
}

/// What a change does to one entry of the index.
struct Touch<'a> {
    hash: u64,
    entrance: Entrance<'a>,
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
        !matches!(self, Self::Keep) && matches!(key, Key::User { .. } | Key::Holder { .. })
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listings: RwLock::default(),
            index: (0..PARTS).map(|_| Part::default()).collect(),
            records: (0..PARTS).map(|_| Part::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    #[expect(clippy::indexing_slicing, reason = "there are as many parts")]
    fn index(&self, hash: u64) -> &RwLock<HashTable<Entry>> {
        &self.index[part(hash)].0
    }

    #[expect(clippy::indexing_slicing, reason = "there are as many parts")]
    fn records(&self, part: usize) -> &RwLock<Slab<Arc<UserRecord>>> {
        &self.records[part % PARTS].0
    }

    fn get(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let hash = self.hash(key);
        let index = read(self.index(hash));
        entries(&index, hash).find_map(|entry| {
            let records = read(self.records(entry.place.part()));
            // Asked before it is shared: what it is asked for comes from memory all at once, where
            // the count of its owners would have it wait.
            records.get(entry.place.slot()).filter(|record| record.holds(key)).cloned()
        })
    }

    fn leads(&self, place: Place, entrance: &Entrance<'_>) -> bool {
        let records = read(self.records(place.part()));
        records.get(place.slot()).is_some_and(|record| entrance.is_of(record))
    }

    /// What `change` does to the index, in the order of its parts.
    fn touches<'a>(&self, change: &Change, effects: &[(Key<'a>, Effect)]) -> Vec<Touch<'a>> {
        let keys = effects
            .iter()
            .filter(|(key, _)| !matches!(key, Key::Holder { .. }))
            .map(|&(key, effect)| (self.hash(&key), Entrance::Key(key), effect));
        // An id is entered and left with its user, and looked at by registrations alone.
        let id = match (change.previous(), change.record()) {
            (None, Some(after)) => Some((after.id(), Effect::Claim)),
            (Some(before), None) => Some((before.id(), Effect::Release)),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let id = id.map(|(id, effect)| (self.hasher.hash_one(id), Entrance::Id(id), effect));
        let mut touches: Vec<_> = keys
            .chain(id)
            .map(|(hash, entrance, effect)| Touch { hash, entrance, effect })
            .collect();
        touches.sort_unstable_by_key(|touch| part(touch.hash));
        touches
    }
}

impl Store for MemoryStore {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        Ok(match *key {
            Key::User { .. } | Key::Credential { .. } | Key::ServiceUser { .. } => self.get(key),
            Key::Holder { account, user, .. } => {
                self.get(&Key::User { account, name: user }).filter(|record| record.holds(key))
            }
        })
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let effects = effects(change);
        let relists = effects.iter().any(|(key, effect)| effect.relists(key));
        let touches = self.touches(change, &effects);
        let mut listings = relists.then(|| write(&self.listings));
        let mut locked: Vec<(RwLockWriteGuard<'_, HashTable<Entry>>, &[Touch<'_>])> = touches
            .chunk_by(|left, right| part(left.hash) == part(right.hash))
            .filter_map(|touches| Some((write(self.index(touches.first()?.hash)), touches)))
            .collect();

        let mut present = None;
        let mut taken = false;
        for (index, touches) in &locked {
            for Touch { hash, entrance, effect } in *touches {
                let holder =
                    || entries(index, *hash).find(|entry| self.leads(entry.place, entrance));
                match (effect, entrance) {
                    (Effect::Claim, _) => taken |= holder().is_some(),
                    (_, Entrance::Key(Key::User { .. })) => {
                        present = holder().map(|entry| entry.place);
                    }
                    _ => {}
                }
            }
        }

        // A new record goes where a hash happens to put it.
        let fresh = touches.first().map_or(0, |touch| part(touch.hash));
        let mut records = write(self.records(present.map_or(fresh, Place::part)));
        let held = present.and_then(|place| records.get(place.slot()));
        if held.map(|record| record.revision()) != change.previous().map(UserRecord::revision) {
            return Ok(CommitOutcome::Stale);
        }
        if taken {
            return Ok(CommitOutcome::KeyTaken);
        }
        let place = match (present, change.record()) {
            (Some(place), Some(after)) => {
                if let Some(record) = records.get_mut(place.slot()) {
                    *record = Arc::clone(after);
                }
                place
            }
            (Some(place), None) => {
                records.try_remove(place.slot());
                place
            }
            (None, Some(after)) => Place::new(fresh, records.insert(Arc::clone(after))),
            (None, None) => return Ok(CommitOutcome::Applied),
        };
        for (index, touches) in &mut locked {
            for Touch { hash, effect, .. } in *touches {
                apply(index, *hash, *effect, place);
            }
        }
        if let Some(listings) = &mut listings {
            relist(listings, &effects, place);
        }
        Ok(CommitOutcome::Applied)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let owned = match range.listing() {
            Listing::Users => OwnedListing::Users,
            Listing::Holders { service } => OwnedListing::Holders(service.cloned()),
        };
        // Held to the end: nobody enters or leaves a listing while it is read.
        let listings = read(&self.listings);
        let names = listings.get(&(range.account(), owned)).into_iter();
        Ok(names
            .flat_map(|names| names.range((range.start(), Bound::Unbounded)))
            .take(range.limit())
            .filter_map(|(_, place)| read(self.records(place.part())).get(place.slot()).cloned())
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

/// The part of the index for a hash, by bits that the tables make little use of.
const fn part(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
}

fn entries(index: &HashTable<Entry>, hash: u64) -> impl Iterator<Item = &Entry> {
    index.iter_hash(hash).filter(move |entry| entry.hash == hash)
}

fn apply(index: &mut HashTable<Entry>, hash: u64, effect: Effect, place: Place) {
    match effect {
        Effect::Keep => {}
        Effect::Release => {
            let is_key = |entry: &Entry| entry.hash == hash && entry.place == place;
            if let Ok(entry) = index.find_entry(hash, is_key) {
                entry.remove();
            }
        }
        Effect::Claim => {
            index.insert_unique(hash, Entry { hash, place }, |entry| entry.hash);
        }
    }
}

/// What `change` does to the user's own key and to those that it releases and claims.
fn effects(change: &Change) -> Vec<(Key<'_>, Effect)> {
    let user = change.previous().map(UserRecord::user_key);
    let kept = user.filter(|key| change.record().is_some_and(|after| after.holds(key)));
    kept.map(|key| (key, Effect::Keep))
        .into_iter()
        .chain(change.released().map(|key| (key, Effect::Release)))
        .chain(change.claimed().map(|key| (key, Effect::Claim)))
        .collect()
}

fn relist(listings: &mut Listings, effects: &[(Key<'_>, Effect)], place: Place) {
    for (key, effect) in effects {
        let (listing, name) = match *key {
            Key::User { account, name } => ((account, OwnedListing::Users), name),
            Key::Holder { account, service, user } => {
                ((account, OwnedListing::Holders(service.cloned())), user)
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
                names.insert(name.clone(), place);
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
