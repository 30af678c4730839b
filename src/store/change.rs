//! A change of one record, and the outcome of committing it.

use std::sync::Arc;

use crate::record::{UserRecord, key::Key};

/// A change of one user's record: a registration, a replacement or a removal.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a store handles every change")]
pub enum Change {
    /// Registers a user.
    Register {
        /// The first record of the user, with a new id.
        record: Arc<UserRecord>,
    },
    /// Replaces the record of a user.
    Replace {
        /// The record to replace. The store must hold exactly this revision.
        previous: Arc<UserRecord>,
        /// The record that replaces it. The id is the same.
        record: Arc<UserRecord>,
    },
    /// Removes a user.
    Remove {
        /// The record to remove. The store must hold exactly this revision.
        previous: Arc<UserRecord>,
    },
}

impl Change {
    /// The record that is replaced or removed, `None` for a registration.
    #[must_use]
    pub fn previous(&self) -> Option<&UserRecord> {
        match self {
            Self::Register { .. } => None,
            Self::Replace { previous, .. } | Self::Remove { previous } => Some(previous),
        }
    }

    /// The record that the store holds after the change, `None` for a removal.
    #[must_use]
    pub const fn record(&self) -> Option<&Arc<UserRecord>> {
        match self {
            Self::Register { record } | Self::Replace { record, .. } => Some(record),
            Self::Remove { .. } => None,
        }
    }

    /// The keys that the previous record holds and the new one does not.
    pub fn released(&self) -> impl Iterator<Item = Key<'_>> {
        difference(self.previous(), self.record().map(|record| &**record))
    }

    /// The keys that the new record holds and the previous one does not. None of them is also
    /// released.
    pub fn claimed(&self) -> impl Iterator<Item = Key<'_>> {
        difference(self.record().map(|record| &**record), self.previous())
    }
}

fn difference<'a>(
    of: Option<&'a UserRecord>,
    without: Option<&'a UserRecord>,
) -> impl Iterator<Item = Key<'a>> {
    of.into_iter().flat_map(move |record| record.keys_without(without))
}

/// The outcome of committing a [`Change`].
///
/// If both apply, `Stale` takes precedence over `KeyTaken`: the keys that a stale change claims are
/// meaningless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a change that was not applied is retried or given up"]
#[expect(clippy::exhaustive_enums, reason = "a caller handles every outcome")]
pub enum CommitOutcome {
    /// The change was applied.
    Applied,
    /// The change was not applied: the store does not hold the revision that it requires.
    Stale,
    /// The change was not applied: another record holds a key that it claims. This is also the
    /// outcome of a registration if the name or the user id is taken, even by an identical record.
    KeyTaken,
}
