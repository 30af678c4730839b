//! The ordered listings of a `MemoryStore`.

use std::{collections::BTreeMap, ops::Bound};

use super::{Effect, Slot};
use crate::{
    names::{account_id::AccountId, service_name::ServiceName, user_name::UserName},
    record::key::{Key, Listing},
    store::scan_range::ScanRange,
};

/// The user names of each listing, in order.
#[derive(Default)]
pub(super) struct Listings(BTreeMap<(AccountId, OwnedListing), BTreeMap<UserName, Slot>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum OwnedListing {
    Users,
    Holders(Option<ServiceName>),
}

/// The effect of a change on an entry of a listing.
pub(super) struct ListingChange<'a> {
    account: AccountId,
    listing: Listing<'a>,
    name: &'a UserName,
    effect: Effect,
}

impl<'a> ListingChange<'a> {
    /// `None` if `key` is no entry of a listing.
    pub(super) const fn of(key: &Key<'a>, effect: Effect) -> Option<Self> {
        let (account, listing, name) = match *key {
            Key::User { account, name } => (account, Listing::Users, name),
            Key::Holder { account, service, user } => (account, Listing::Holders { service }, user),
            Key::Credential { .. } | Key::ServiceUser { .. } => return None,
        };
        Some(Self { account, listing, name, effect })
    }
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
    /// Updates the listings for changes of the record in `slot`.
    pub(super) fn apply(&mut self, changes: &[ListingChange<'_>], slot: Slot) {
        for ListingChange { account, listing, name, effect } in changes {
            let listing = (*account, (*listing).into());
            match effect {
                Effect::Keep => {}
                Effect::Release => {
                    if let Some(names) = self.0.get_mut(&listing) {
                        names.remove(*name);
                        if names.is_empty() {
                            self.0.remove(&listing);
                        }
                    }
                }
                Effect::Claim => {
                    self.0.entry(listing).or_default().insert((*name).clone(), slot);
                }
            }
        }
    }

    /// The accounts that have users, in order.
    pub(super) fn accounts(&self) -> Vec<AccountId> {
        let users = self.0.keys().filter(|(_, listing)| *listing == OwnedListing::Users);
        users.map(|(account, _)| *account).collect()
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
