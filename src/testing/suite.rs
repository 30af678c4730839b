//! The conformance suite: the obligations of a store as checks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite of tests: it fails by panicking, and writes its own names"
)]

use std::{fmt, num::NonZeroUsize};

use self::{
    drive::{Context, inside, wait},
    subject::{Fault, Subject},
};
use crate::store::AsyncStore;

mod drive;
mod index;
mod outcomes;
mod races;
mod scans;
mod subject;
mod world;

/// Checks every [obligation](Obligation) of the [contract](crate::store::Store) on a store.
///
/// It takes a builder: an async closure that returns a fresh, empty store, and a guard that is
/// dropped after the store, such as the owner of a temporary directory. Each obligation is checked
/// on a store of its own. Wrap a sync store in [`SyncAdapter`](crate::store::SyncAdapter). This is
/// a complete test file:
///
/// ```
/// use service_specific_credentials::{MemoryStore, store::SyncAdapter, testing::Suite};
///
/// # struct Directory;
/// # impl Directory {
/// #     fn new() -> Self { Self }
/// # }
/// # /*
/// #[test]
/// # */
/// fn the_store_meets_its_obligations() {
///     Suite::test_all(async || {
///         let directory = Directory::new();
///         let store = SyncAdapter::new(MemoryStore::new());
///         (store, directory)
///     });
/// }
/// # the_store_meets_its_obligations();
/// ```
///
/// The suite depends on no runtime. Each of its threads waits for one future at a time, and is
/// parked meanwhile. If the store needs the context of a runtime, [`within`](Self::within) enters
/// it on every thread. The runtime must make progress on threads of its own:
///
/// ```
/// # use service_specific_credentials::{MemoryStore, store::SyncAdapter, testing::Suite};
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// Suite::new()
///     .within(|work| {
///         let _entered = runtime.enter();
///         work();
///     })
///     .test(async || (SyncAdapter::new(MemoryStore::new()), ()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The records and changes are the same in every run, but the interleaving of threads in a race is
/// not: a store that rarely loses a race may sometimes pass. An operation that is pending without
/// being woken for a minute fails.
#[derive(Default)]
pub struct Suite<'a> {
    context: Option<Box<Context<'a>>>,
    keys_per_change: Option<NonZeroUsize>,
}

impl<'a> Suite<'a> {
    /// Checks every obligation on the stores that `builder` returns.
    ///
    /// # Panics
    ///
    /// At the first [violation](Violation), with its text.
    pub fn test_all<S: AsyncStore, G>(builder: impl AsyncFn() -> (S, G)) {
        Suite::new().test(builder);
    }

    /// A suite with the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a function that is called on each thread that uses a store, with the work to do there.
    /// It must call the work exactly once before it returns.
    #[must_use]
    pub fn within(mut self, context: impl Fn(&mut dyn FnMut()) + Send + Sync + 'a) -> Self {
        self.context = Some(Box::new(context));
        self
    }

    /// Sets the largest number of keys that one change may release and claim, for a store that
    /// documents such a limit: at least 23, so that 10 credentials at one service fit. Default: no
    /// limit.
    ///
    /// With a limit, several changes build the largest record and take it apart.
    #[must_use]
    pub const fn keys_per_change(mut self, keys: NonZeroUsize) -> Self {
        self.keys_per_change = Some(keys);
        self
    }

    /// Checks every obligation, as [`test_all`](Self::test_all) does.
    ///
    /// # Panics
    ///
    /// At the first [violation](Violation), with its text.
    pub fn test<S: AsyncStore, G>(&self, builder: impl AsyncFn() -> (S, G)) {
        for &obligation in Obligation::ALL {
            if let Err(violation) = self.check(obligation, &builder) {
                panic!("{violation}");
            }
        }
    }

    /// Checks one obligation on one fresh store.
    ///
    /// # Errors
    ///
    /// The violation that was observed.
    pub fn check<S: AsyncStore, G>(
        &self,
        obligation: Obligation,
        builder: impl AsyncFn() -> (S, G),
    ) -> Result<(), Violation> {
        let context = self.context.as_deref();
        inside(context, || {
            let (store, _guard) = wait(builder())?;
            // Bound last, so that it is dropped before its guard.
            let store = store;
            obligation.try_on(&Subject::new(&store, context, self.keys_per_change))
        })
        .map_err(|Fault(what)| Violation { obligation, what })
    }
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").finish_non_exhaustive()
    }
}

/// A store violated an obligation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("obligation violated: {obligation}: {what}")]
pub struct Violation {
    obligation: Obligation,
    what: String,
}

impl Violation {
    /// The violated obligation.
    #[must_use]
    pub const fn obligation(&self) -> Obligation {
        self.obligation
    }

    /// The expected and the observed behaviour.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

macro_rules! obligations {
    ($($(#[$doc:meta])+ $Obligation:ident, $name:literal, $check:path;)+) => {
        /// An obligation of every store.
        ///
        /// In the order in which a [`Suite`] checks them: a later one builds on earlier ones.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Obligation {
            $($(#[$doc])+ $Obligation,)+
        }

        impl Obligation {
            /// All obligations.
            pub const ALL: &'static [Self] = &[$(Self::$Obligation,)+];

            /// The name of the obligation, as a violation prints it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Obligation => $name,)+
                }
            }

            fn try_on<S: AsyncStore>(self, subject: &Subject<'_, S>) -> Result<(), Fault> {
                match self {
                    $(Self::$Obligation => $check(subject),)+
                }
            }
        }
    };
}

obligations! {
    /// After a change is applied, each key that it claims finds the whole record.
    ClaimedKeysFind, "claimed keys find the record", index::claimed_keys_find;
    /// The keys that a change neither releases nor claims find the new record.
    KeptKeysFollow, "kept keys follow the record", index::kept_keys_follow;
    /// After a change is applied, the keys that it releases find nothing.
    ReleasedKeysFindNothing, "released keys find nothing", index::released_keys_find_nothing;
    /// Another record may claim a released key: a name that a user was renamed from, the name of a
    /// deleted credential, all keys of a removed user.
    ReleasedKeysAreFree, "released keys are free", index::released_keys_are_free;
    /// The listing of users contains every user. The listing of holders contains the users with a
    /// credential, at one service or at any service.
    ListingsFollow, "listings follow the records", scans::listings_follow;
    /// The outcome of a change whose previous record is not the stored revision is `Stale`: an
    /// earlier revision, a later one, or a user who is not in the store.
    StaleIsRejected, "stale changes are rejected", outcomes::stale_is_rejected;
    /// Registering a name again registers a new user: the outcome of a change of the removed user
    /// is `Stale`, even if both have the same name and the same number of changes.
    RevisionsAreUnique, "revisions are never reused", outcomes::revisions_are_unique;
    /// The outcome of a change that claims any key of another record is `KeyTaken`, for every kind
    /// of key.
    TakenKeysAreRejected, "taken keys are rejected", outcomes::taken_keys_are_rejected;
    /// The outcome of registering a taken name is `KeyTaken`, in upper and lower case, and also for
    /// the same registration again.
    TakenNamesAreRejected, "registering a taken name is key taken",
        outcomes::taken_names_are_rejected;
    /// The outcome of a change that is stale and also claims a taken key is `Stale`.
    StaleTakesPrecedence, "stale takes precedence over key taken", outcomes::stale_takes_precedence;
    /// A change that was applied is not applied again.
    AppliedOnce, "a change is applied once", outcomes::applied_once;
    /// A rejected change has no effect on any key or listing.
    RejectedChangesHaveNoEffect, "rejected changes have no effect",
        outcomes::rejected_changes_have_no_effect;
    /// A key that no record holds finds nothing, for any untrusted text: quotes, wildcards, other
    /// alphabets, letters that only Unicode case folding maps to ASCII.
    UnknownKeysFindNothing, "unknown keys find nothing", index::unknown_keys_find_nothing;
    /// User names and service user names are compared without regard to ASCII case.
    NamesIgnoreCase, "names ignore case", index::names_ignore_case;
    /// Credential ids are compared byte for byte: two ids may differ in case only.
    IdsKeepCase, "ids keep case", index::ids_keep_case;
    /// A user whose name is respelled holds the same keys, and is found and listed with the new
    /// spelling.
    SpellingIsKept, "spelling is kept", index::spelling_is_kept;
    /// Two accounts may hold the same names and ids. No look-up, listing, conflict or change of one
    /// account involves a record of the other.
    AccountsAreIsolated, "accounts are isolated", index::accounts_are_isolated;
    /// The outcome of registering a user under an id that is held is `KeyTaken`, whatever the
    /// names, the account and the number of changes of the holder. The holder is unchanged.
    HeldIdsAreRejected, "registering a held user id is key taken", outcomes::held_ids_are_rejected;
    /// At two services, two users may hold the same service user name. Each service finds and lists
    /// its own holder only.
    ServicesAreIsolated, "services are isolated", index::services_are_isolated;
    /// A scan is in the order of the user names: by bytes, with upper case folded to lower case.
    ScansAreOrdered, "scans are in order of names", scans::scans_are_ordered;
    /// A scan starts at or after a given name, regardless of its case and of whether a user has it.
    ScansStart, "scans start at their name", scans::scans_start;
    /// A scan returns as many records as its limit, and fewer only if there are no more.
    ScansAreLimited, "scans return as many records as requested", scans::scans_are_limited;
    /// Thousands of users are found, and scanned in pages of any size.
    ManyUsers, "many users are kept", scans::many_users;
    /// The largest record (a name of 64 characters, 10 credentials at each of 100 services) is
    /// stored, found, changed and removed like any other.
    LargestRecord, "the largest record is kept", index::largest_record;
    /// A commit whose future is dropped is atomic, and affects no other.
    DroppedCommitsAreAtomic, "dropped commits are atomic", races::dropped_commits_are_atomic;
    /// Once a thread has received `Applied`, every other thread observes the change, by every key
    /// and in listings.
    ReadsSeeChanges, "reads observe every change applied before them", races::reads_see_changes;
    /// Of several changes of one revision exactly one is applied, and no change is lost.
    OneChangeWins, "one change of a revision is applied", races::one_change_wins;
    /// Of several records that claim one key exactly one gets it. The same holds for several
    /// registrations of one name.
    OneClaimWins, "one claim of a key is applied", races::one_claim_wins;
    /// Readers observe all of a change or none of it, by every key, and never two states in the
    /// wrong order.
    ChangesAreAtomic, "changes are atomic to readers", races::changes_are_atomic;
    /// Names move between users, one after the other and by threads in opposite directions. No name
    /// is lost or held twice.
    NamesMoveBetweenUsers, "names move between users", races::names_move_between_users;
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
