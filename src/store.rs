//! Where users and their credentials are kept.

use std::{error::Error as StdError, fmt, num::NonZeroUsize, ops::Bound, sync::Arc};

use crate::{AccountId, ServiceName, UserName};

use crate::record::listing_prefix;
pub use crate::record::{DecodeError, Key, Revision, UserRecord};
pub use asynchronous::{AnyStore, AsyncStore, Immediate};
pub use copy::{CopyError, copy_users};
#[cfg(feature = "dynamodb")]
pub use dynamodb::{DynamoDbError, DynamoDbOptions, DynamoDbStore};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{Isolation, PostgresError, PostgresOptions, PostgresStore};
#[cfg(feature = "redb")]
pub use redb::{AsyncRedbStore, OpenError, RedbError, RedbOptions, RedbStore};

mod asynchronous;
mod copy;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redb")]
mod redb;

/// Keeps user records, and a unique index over their [keys](UserRecord::keys).
///
/// A store knows no rule about credentials. It finds records, replaces one by another if nobody
/// else did so first, and reads ranges. All that this crate promises under concurrency rests on
/// these obligations of an implementation:
///
/// - **At most once.** A [`Change`] is committed once. A store that repeats its own work (after a
///   deadlock, say) makes sure that it was not done before.
/// - **Atomicity.** [`commit`](Self::commit) makes the whole change (the record, the keys released,
///   the keys claimed) or none of it. No reader ever sees a part, by whichever key it reads.
/// - **Compare and swap.** A change is made only if the store holds exactly the revision that it
///   starts [from](Change::before), and no other record holds a key that it
///   [claims](Change::claimed). A registration starts from nothing and only claims; the user's id is
///   new, which a store need not check.
/// - **Reads see every change made before them**, by any thread and through any clone or handle of
///   the store. `Applied` is answered only when that is so.
/// - **Accounts are apart**, since every key and every range begins with an account.
/// - **An error from `commit` means that the outcome is unknown**: the change was made, wholly, or
///   was not. A store that knows it was not made may say so by an error all the same; the caller
///   assumes the worst. It may still be made after the error (or, where the answer is a future, after
///   that was dropped), until a later change of the same record is answered.
///
/// There are no default methods: each of the three is for the implementor to think about.
pub trait Store: fmt::Debug + Send + Sync {
    /// The record that holds `key` now, if one does.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError>;

    /// Makes `change`, if it can be made.
    ///
    /// # Errors
    ///
    /// If the store cannot tell whether the change was made.
    fn commit(&self, change: &Change) -> Result<Commit, StoreError>;

    /// The records that hold a key in `range`, in its order, as many as it
    /// [permits](Range::limit). Fewer only if there are no more.
    ///
    /// A record that holds its key from before the call until after it is returned. One that
    /// meanwhile gains or loses its key may be returned or not.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<S: Store + ?Sized> Store for $pointer {
            fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
                (**self).find(key)
            }

            fn commit(&self, change: &Change) -> Result<Commit, StoreError> {
                (**self).commit(change)
            }

            fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
                (**self).scan(range)
            }
        }
    )+};
}

forward!(&S, Box<S>, Arc<S>);

/// What became of a [`Change`].
///
/// Where both hold, `Stale` wins over `KeyTaken`: what a stale change claims says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a change that was not applied is made again or given up"]
#[expect(clippy::exhaustive_enums, reason = "a caller handles every answer")]
pub enum Commit {
    /// It was made.
    Applied,
    /// It was not made: the store does not hold the revision that it starts from.
    Stale,
    /// It was not made: a key that it claims is held already. Registering a name that is taken is
    /// answered so, be it by an earlier registration of the very same record.
    KeyTaken,
}

/// One record in place of another.
#[derive(Clone, Debug)]
pub struct Change {
    before: Option<Arc<UserRecord>>,
    after: Option<Arc<UserRecord>>,
}

impl Change {
    pub(crate) fn registration(after: UserRecord) -> Self {
        Self { before: None, after: Some(Arc::new(after)) }
    }

    pub(crate) fn replacement(before: Arc<UserRecord>, after: UserRecord) -> Self {
        Self { before: Some(before), after: Some(Arc::new(after)) }
    }

    pub(crate) const fn removal(before: Arc<UserRecord>) -> Self {
        Self { before: Some(before), after: None }
    }

    /// The record that is replaced or removed: the store must hold this very revision. `None`
    /// registers a user.
    #[must_use]
    pub fn before(&self) -> Option<&UserRecord> {
        self.before.as_deref()
    }

    /// The record that takes its place. `None` removes the user.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<UserRecord>> {
        self.after.as_ref()
    }

    /// The keys that `before` holds and `after` does not.
    pub fn released(&self) -> impl Iterator<Item = Key<'_>> {
        difference(self.before(), self.after.as_deref())
    }

    /// The keys that `after` holds and `before` does not. None of them is also released.
    pub fn claimed(&self) -> impl Iterator<Item = Key<'_>> {
        difference(self.after.as_deref(), self.before())
    }
}

fn difference<'a>(
    of: Option<&'a UserRecord>,
    without: Option<&'a UserRecord>,
) -> impl Iterator<Item = Key<'a>> {
    let keys = of.into_iter().flat_map(UserRecord::keys);
    keys.filter(move |key| !without.is_some_and(|without| without.holds(key)))
}

/// Which keys a [scan](Store::scan) reads: those of one account and one [listing](Listing), in order
/// of the users' names.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    account: AccountId,
    listing: Listing<'a>,
    start: Bound<&'a UserName>,
    limit: NonZeroUsize,
}

impl<'a> Range<'a> {
    /// At most `limit` records of a listing, from a name on.
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

    /// Whose keys, and of which kind.
    #[must_use]
    pub const fn listing(&self) -> Listing<'a> {
        self.listing
    }

    /// The name that the range begins at or after. There need not be a user of that name.
    #[must_use]
    pub const fn start(&self) -> Bound<&'a UserName> {
        self.start
    }

    /// How many records to return at most.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit.get()
    }

    /// The range as bounds of [encoded](Key::encode) keys, for a store that keeps bytes.
    #[must_use]
    pub fn encode(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let first = listing_prefix(self.account, self.listing);
        // The last byte of the prefix says of which kind the keys are, or ends the service.
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
            Listing::Members { service } => Key::Member { account, service, user: name },
        }
    }
}

/// What a [`Range`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a store handles every listing")]
pub enum Listing<'a> {
    /// Every user: [`Key::User`].
    Users,
    /// The users who hold a credential: [`Key::Member`].
    Members {
        /// At this service, or, for `None`, at any.
        service: Option<&'a ServiceName>,
    },
}

/// A store failed.
///
/// It prints as what it was made from. That is for logs: it may name hosts and files, and is no
/// part of the message of an [`Error`](crate::Error).
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn StdError + Send + Sync>);

impl StoreError {
    /// The store failed, and why: an error, or a text.
    ///
    /// ```
    /// use service_specific_credentials::store::StoreError;
    ///
    /// let error = StoreError::new("the disk is full");
    /// assert_eq!(error.to_string(), "the disk is full");
    /// ```
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// What the error was made from.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}
