use std::{num::NonZeroUsize, ops::Bound};

use crate::{
    names::{account_id::AccountId, user_name::UserName},
    record::key::{Key, Listing, listing_prefix},
};

/// The keys that a [scan](crate::store::Store::scan) reads: those of one account and one
/// [`Listing`], in the order of the user names.
#[derive(Clone, Copy, Debug)]
pub struct ScanRange<'a> {
    account: AccountId,
    listing: Listing<'a>,
    start: Bound<&'a UserName>,
    limit: NonZeroUsize,
}

impl<'a> ScanRange<'a> {
    /// The first `limit` records of a listing, starting at a name.
    #[must_use]
    pub const fn new(
        account: AccountId,
        listing: Listing<'a>,
        start: Bound<&'a UserName>,
        limit: NonZeroUsize,
    ) -> Self {
        Self { account, listing, start, limit }
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The listing.
    #[must_use]
    pub const fn listing(&self) -> Listing<'a> {
        self.listing
    }

    /// The name at or after which the range starts. A user of that name need not exist.
    #[must_use]
    pub const fn start(&self) -> Bound<&'a UserName> {
        self.start
    }

    /// The maximum number of records to return.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit.get()
    }

    /// The range as bounds of [encoded](Key::encode) keys, for a store of bytes.
    #[must_use]
    pub fn encode(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let first = listing_prefix(self.account, self.listing);
        // The last byte of the prefix is the kind of the keys, or terminates the service name.
        let mut end = first.clone();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let start = match self.start.map(|name| self.key(name).encode()) {
            Bound::Unbounded => Bound::Included(first),
            bound => bound,
        };
        (start, Bound::Excluded(end))
    }

    /// The key of a user of this name in the listing.
    #[must_use]
    pub const fn key(&self, name: &'a UserName) -> Key<'a> {
        let account = self.account;
        match self.listing {
            Listing::Users => Key::User { account, name },
            Listing::Holders { service } => Key::Holder { account, service, user: name },
        }
    }
}
