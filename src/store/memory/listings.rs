//! The ordered listings of a `MemoryStore`.

use std::{collections::BTreeMap, ops::Bound};

use super::Slot;
use crate::{
    names::{account_id::AccountId, service_name::ServiceName, user_name::UserName},
    record::key::{Key, Listing},
    store::{change::Change, scan_range::ScanRange},
};

/// The user names of each listing, in order.
#[derive(Default)]
pub(super) struct Listings(BTreeMap<(AccountId, OwnedListing), BTreeMap<UserName, Slot>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum OwnedListing {
    Users,
    Holders(Option<ServiceName>),
}

impl From<Listing<'_>> for OwnedListing {
    fn from(listing: Listing<'_>) -> Self {
        match listing {
            Listing::Users => Self::Users,
            Listing::Holders { service } => Self::Holders(service.cloned()),
        }
    }
}

impl Listings {
    /// Whether `key` is an entry of a listing.
    pub(super) const fn contain(key: &Key<'_>) -> bool {
        listed(key).is_some()
    }

    /// Updates the listings for a change of the record in `slot`.
    pub(super) fn apply(&mut self, change: &Change, slot: Slot) {
        for (account, listing, name) in change.released().filter_map(|key| listed(&key)) {
            let listing = (account, listing.into());
            if let Some(names) = self.0.get_mut(&listing) {
                names.remove(name);
                if names.is_empty() {
                    self.0.remove(&listing);
                }
            }
        }
        for (account, listing, name) in change.claimed().filter_map(|key| listed(&key)) {
            self.0.entry((account, listing.into())).or_default().insert(name.clone(), slot);
        }
    }

    /// The slots of the records in `range`.
    pub(super) fn scan(&self, range: &ScanRange<'_>) -> impl Iterator<Item = Slot> {
        self.0
            .get(&(range.account(), range.listing().into()))
            .into_iter()
            .flat_map(|names| names.range((range.start(), Bound::Unbounded)))
            .take(range.limit())
            .map(|(_, slot)| *slot)
    }
}

/// The listing that `key` is an entry of, if it is one.
const fn listed<'a>(key: &Key<'a>) -> Option<(AccountId, Listing<'a>, &'a UserName)> {
    match *key {
        Key::User { account, name } => Some((account, Listing::Users, name)),
        Key::Holder { account, service, user } => {
            Some((account, Listing::Holders { service }, user))
        }
        Key::Credential { .. } | Key::ServiceUser { .. } => None,
    }
}
