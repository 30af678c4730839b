//! What every store has to do, as checks that any store can be put through.

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

mod answers;
mod drive;
mod index;
mod races;
mod scans;
mod subject;
mod world;

/// Puts a store through every [obligation](Obligation) of the [contract](crate::store::Store).
///
/// It takes a builder: an async closure that makes a fresh, empty store, and a guard that is
/// dropped after it, such as the owner of a temporary directory. Each obligation is tried on a
/// store of its own. A sync store goes in as [`Immediate`](crate::store::Immediate). This is a
/// whole test file:
///
/// ```
/// use service_specific_credentials::{MemoryStore, store::Immediate, testing::Suite};
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
///         let store = Immediate::new(MemoryStore::new());
///         (store, directory)
///     });
/// }
/// # the_store_meets_its_obligations();
/// ```
///
/// The suite names no runtime. It waits for one future at a time on each of its threads, and parks
/// the thread meanwhile. A store that needs the context of a runtime is given it on every thread
/// by [`within`](Self::within); the runtime must turn by itself:
///
/// ```
/// # use service_specific_credentials::{MemoryStore, store::Immediate, testing::Suite};
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// Suite::new()
///     .within(|work| {
///         let _entered = runtime.enter();
///         work();
///     })
///     .test(async || (Immediate::new(MemoryStore::new()), ()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The records, and the changes made of them, are the same in every run. What the threads of a race
/// make of them is not: a store that loses a race now and then may pass now and then. An operation
/// that is not woken for a minute counts as failed.
#[derive(Default)]
pub struct Suite<'a> {
    context: Option<Box<Context<'a>>>,
    keys_per_change: Option<NonZeroUsize>,
}

impl<'a> Suite<'a> {
    /// Puts the stores that `builder` makes through every obligation.
    ///
    /// # Panics
    ///
    /// At the first [violation](Violation), with its text.
    pub fn test_all<S: AsyncStore, G>(builder: impl AsyncFn() -> (S, G)) {
        Suite::new().test(builder);
    }

    /// A suite to say more about.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `context` called on each thread that uses a store, with the work to be done there. It
    /// must do it, once, before it returns.
    #[must_use]
    pub fn within(mut self, context: impl Fn(&mut dyn FnMut()) + Send + Sync + 'a) -> Self {
        self.context = Some(Box::new(context));
        self
    }

    /// The largest number of keys that one change may release and claim, for a store that documents
    /// such a limit: at least 23, so that 10 credentials at one service fit. By default, there is none.
    ///
    /// The largest record is then built, and taken apart, by several changes.
    #[must_use]
    pub const fn keys_per_change(mut self, keys: NonZeroUsize) -> Self {
        self.keys_per_change = Some(keys);
        self
    }

    /// Does as [`test_all`](Self::test_all).
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

    /// Tries one obligation on one fresh store.
    ///
    /// # Errors
    ///
    /// What was seen that must not be.
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

/// A store does not do what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("obligation violated: {obligation}: {what}")]
pub struct Violation {
    obligation: Obligation,
    what: String,
}

impl Violation {
    /// Which obligation it violates.
    #[must_use]
    pub const fn obligation(&self) -> Obligation {
        self.obligation
    }

    /// What was expected and what was seen.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

macro_rules! obligations {
    ($($(#[$doc:meta])+ $Obligation:ident, $name:literal, $check:path;)+) => {
        /// One of the things that every store must do.
        ///
        /// In the order in which a [`Suite`] tries them: what a later one builds on comes earlier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Obligation {
            $($(#[$doc])+ $Obligation,)+
        }

        impl Obligation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$Obligation,)+];

            /// Its name, as a violation states it.
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
    /// Once a change is made, each key that it claims finds the whole record.
    ClaimedKeysFind, "claimed keys find the record", index::claimed_keys_find;
    /// The keys that a change neither releases nor claims find the new record, not the old one.
    KeptKeysFollow, "kept keys follow the record", index::kept_keys_follow;
    /// Once a change is made, the keys that it releases find nothing.
    ReleasedKeysFindNothing, "released keys find nothing", index::released_keys_find_nothing;
    /// Another record may claim what one released: a name left by renaming, that of a deleted
    /// credential, all that a removed user held.
    ReleasedKeysAreFree, "released keys are free", index::released_keys_are_free;
    /// The listing of users holds every user, that of members those who hold a credential, at the
    /// one service or at any.
    ListingsFollow, "listings follow the records", scans::listings_follow;
    /// A change from any other revision than the one that the store holds is answered `Stale`, an
    /// earlier one, a later one, and that of a user whom the store does not hold.
    StaleIsRefused, "stale changes are refused", answers::stale_is_refused;
    /// A registration anew is another user: a change of the removed one is answered `Stale`, even
    /// if both have the same name and as many changes.
    RevisionsAreUnique, "revisions are never reused", answers::revisions_are_unique;
    /// A change that claims any key of another record is answered `KeyTaken`, whichever kind of
    /// key it is.
    TakenKeysAreRefused, "taken keys are refused", answers::taken_keys_are_refused;
    /// Registering a name that is taken is answered `KeyTaken`, in any case, and when it is the
    /// same registration again.
    TakenNamesAreRefused, "registering a taken name is key taken", answers::taken_names_are_refused;
    /// A change that is stale and also claims a taken key is answered `Stale`.
    StaleWins, "stale wins over key taken", answers::stale_wins;
    /// A change that was made is not made again.
    MadeOnce, "a change is made once", answers::made_once;
    /// A refused change leaves everything as it was, by every key and in every listing.
    RefusalsLeaveNothing, "a refused change leaves nothing", answers::refusals_leave_nothing;
    /// A key that no record holds finds nothing, whatever text a stranger presents: quotes,
    /// wildcards, other alphabets, letters that only Unicode takes for those of ASCII.
    StrangersFindNothing, "strangers find nothing", index::strangers_find_nothing;
    /// Names of users and service users mean the same in any case of ASCII letters, and are taken
    /// in any case.
    NamesIgnoreCase, "names ignore case", index::names_ignore_case;
    /// Ids of credentials are compared byte for byte: two may differ in case alone.
    IdsKeepCase, "ids keep case", index::ids_keep_case;
    /// A user whose name is spelled in another way holds the same keys, and is found and listed
    /// with the new spelling.
    SpellingIsKept, "spelling is kept", index::spelling_is_kept;
    /// Two accounts may hold the same names and ids. Nothing of one is found, listed, taken or
    /// changed in the other.
    AccountsAreApart, "accounts are apart", index::accounts_are_apart;
    /// Two services may hold the same service user name, each for another user, and neither finds
    /// or lists what is held at the other.
    ServicesAreApart, "services are apart", index::services_are_apart;
    /// A scan is in order of the users' names: byte by byte, capitals taken for small letters.
    ScansAreOrdered, "scans are in order of names", scans::scans_are_ordered;
    /// A scan begins at or after the name that it is given, in any case, whether somebody has that
    /// name or not.
    ScansStart, "scans begin where they are told", scans::scans_start;
    /// A scan returns as many records as are asked for, and fewer only if there are no more.
    ScansStop, "scans return as many as asked for", scans::scans_stop;
    /// Some thousands of users are found, and scanned in pages of any size.
    ManyUsers, "many users are kept", scans::many_users;
    /// The largest record (a name of 64 characters, 10 credentials at each of 100 services) is
    /// kept, found, changed and removed like any other.
    LargestRecord, "the largest record is kept", index::largest_record;
    /// A commit whose future is dropped is made wholly or not at all, and takes nothing from
    /// others.
    DroppedCommits, "a dropped commit is whole or nothing", races::dropped_commits;
    /// What one thread was told is `Applied`, every other sees, by every key and in listings.
    ReadsSeeChanges, "reads see every change made before them", races::reads_see_changes;
    /// Of several changes from one revision one is made, and no change is lost.
    OneChangeWins, "one change wins a revision", races::one_change_wins;
    /// Of several records that claim one key one gets it, and of several users that register one
    /// name, one.
    OneClaimWins, "one claim wins a key", races::one_claim_wins;
    /// Readers see all of a change or nothing of it, by whichever keys they read, and never one
    /// after the other in the wrong order.
    NoHalfChanges, "readers see no half of a change", races::no_half_changes;
    /// Names change hands among users, one after the other and by threads that cross, and none is
    /// lost or held twice.
    NamesChangeHands, "names change hands", races::names_change_hands;
}

impl fmt::Display for Obligation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
