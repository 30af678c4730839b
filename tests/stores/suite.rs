//! The suite for stores: what passes it, and what it catches.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
    panic::catch_unwind,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    thread::{self, ThreadId},
};

use service_specific_credentials::{
    MemoryStore, UserId,
    store::{
        AsyncStore, Change,
        CommitOutcome::{self, Applied, KeyTaken, Stale},
        DynAsyncStore, Key, Listing, ScanRange, Store, StoreError, SyncAdapter, UserRecord,
    },
    testing::{
        Obligation::{self, *},
        Suite, Violation,
    },
};

/// How a [`Naive`] store is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    AnswersAppliedWhenStale,
    AnswersAppliedWhenTaken,
    AnswersStaleWhenTaken,
    AnswersStaleToRegistrations,
    AnswersKeyTakenFirst,
    AnswersStaleToHeldIds,
    AppliesTwice,
    CachesPerThread,
    CapsScans,
    CaresForCaseOfNames,
    ChecksKeysBeforehand,
    ChecksThenActs,
    ChecksUserNamesOnly,
    ChecksIdsOfItsAccountOnly,
    ChecksIdsOfUnchangedUsersOnly,
    ComparesCountOnly,
    ComparesUserIdOnly,
    CountsItsOwnKeysAsTaken,
    FoldsUnicode,
    ForgetsToRelease,
    ForgetsToReleaseOnRemoval,
    HasNoMembers,
    IgnoresCaseOfIds,
    IgnoresLimits,
    IgnoresSpelling,
    IncludesExcludedStarts,
    ExcludesIncludedStarts,
    LimitsBeforeItStarts,
    ListsMembersAnywhere,
    ListsRefusedRegistrations,
    LosesSecondClaim,
    KeepsClaimsOfRefusals,
    KeepsRecordsOfClaims,
    MixesAccounts,
    MixesAccountsInScans,
    MixesServices,
    MovesKeysOnly,
    OverwritesHeldIds,
    ReadsInTwoSteps,
    ReleasesLate,
    ReplacesRecordsOnly,
    ScansByBytes,
    ScansByHash,
    ScansById,
    ScansBackwards,
    StartsByBytes,
    TruncatesClaims,
}

use Fault as F;

/// The contract written down as simply as can be, and ways to break it.
#[derive(Debug)]
struct Naive {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<UserId, Arc<UserRecord>>,
    index: BTreeMap<Vec<u8>, UserId>,
    // What only a broken store keeps.
    cache: HashMap<(ThreadId, Vec<u8>), Option<Arc<UserRecord>>>,
    claimed: BTreeMap<Vec<u8>, Arc<UserRecord>>,
    refused: Vec<Arc<UserRecord>>,
}

impl Naive {
    fn new(fault: Fault) -> Self {
        Self { fault, state: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn bytes(&self, key: &Key<'_>) -> Vec<u8> {
        let other = "git.example".parse().unwrap();
        let key = match *key {
            Key::ServiceUser { account, name, .. } if self.is(F::MixesServices) => {
                Key::ServiceUser { account, service: &other, name }
            }
            key => key,
        };
        let mut bytes = key.encode();
        let name = match key {
            Key::User { name, .. } | Key::Holder { user: name, .. } => name.as_str(),
            Key::Credential { id, .. } => id.as_str(),
            Key::ServiceUser { name, .. } => name,
        };
        let is_id = matches!(key, Key::Credential { .. });
        let rename = |bytes: &mut Vec<u8>, other: &str| {
            bytes.truncate(bytes.len() - name.len());
            bytes.extend(other.bytes());
        };
        match self.fault {
            F::MixesAccounts => drop(bytes.drain(..8)),
            F::CaresForCaseOfNames => rename(&mut bytes, name),
            F::FoldsUnicode if !is_id => rename(&mut bytes, &name.to_lowercase()),
            F::IgnoresCaseOfIds if is_id => rename(&mut bytes, &name.to_lowercase()),
            _ => {}
        }
        bytes
    }

    fn is_stale(&self, state: &State, change: &Change) -> bool {
        let Some(before) = change.previous() else { return false };
        let held = match self.fault {
            F::ComparesCountOnly => {
                let key = Key::User { account: before.account(), name: before.name() };
                state.index.get(&key.encode()).and_then(|id| state.records.get(id))
            }
            _ => state.records.get(&before.id()),
        };
        !held.is_some_and(|held| match self.fault {
            F::AnswersAppliedWhenStale => true,
            F::AppliesTwice => {
                let made = change.record().is_some_and(|after| Arc::ptr_eq(held, after));
                made || held.revision() == before.revision()
            }
            F::ComparesCountOnly => held.revision().count() == before.revision().count(),
            F::ComparesUserIdOnly => held.id() == before.id(),
            _ => held.revision() == before.revision(),
        })
    }

    fn is_taken(&self, state: &State, change: &Change) -> bool {
        let own = change.previous().map(UserRecord::id);
        change.claimed().any(|key| {
            let checked = match self.fault {
                F::AnswersAppliedWhenTaken => false,
                F::ChecksUserNamesOnly => matches!(key, Key::User { .. }),
                _ => true,
            };
            let holder = state.index.get(&self.bytes(&key)).copied();
            checked && holder.is_some() && holder != own
        })
    }

    /// Whether a registration is of an id that is held.
    fn is_doubled(&self, state: &State, change: &Change) -> bool {
        let (None, Some(after)) = (change.previous(), change.record()) else { return false };
        state.records.get(&after.id()).is_some_and(|held| match self.fault {
            F::OverwritesHeldIds => false,
            F::ChecksIdsOfItsAccountOnly => held.account() == after.account(),
            F::ChecksIdsOfUnchangedUsersOnly => held.revision() == after.revision(),
            _ => true,
        })
    }

    fn is_own(&self, state: &State, change: &Change) -> bool {
        let own = change.previous().map(UserRecord::id);
        own.is_some()
            && change.claimed().any(|key| state.index.get(&self.bytes(&key)).copied() == own)
    }

    fn answer(&self, state: &State, change: &Change) -> CommitOutcome {
        if self.is(F::CountsItsOwnKeysAsTaken) && self.is_own(state, change) {
            return KeyTaken;
        }
        let is_doubled = self.is_doubled(state, change);
        if is_doubled && self.is(F::AnswersStaleToHeldIds) {
            return Stale;
        }
        match (self.is_stale(state, change), is_doubled || self.is_taken(state, change)) {
            (true, true) if self.is(F::AnswersKeyTakenFirst) => KeyTaken,
            (true, _) => Stale,
            (_, true) if self.is(F::AnswersStaleWhenTaken) => Stale,
            (_, true) if self.is(F::AnswersStaleToRegistrations) && change.previous().is_none() => {
                Stale
            }
            (_, true) => KeyTaken,
            (false, false) => Applied,
        }
    }

    fn claim(&self, state: &mut State, change: &Change) {
        let Some(after) = change.record() else { return };
        for (place, key) in change.claimed().enumerate() {
            let skipped = match self.fault {
                F::LosesSecondClaim => place == 1,
                F::TruncatesClaims => place >= 1000,
                F::ReplacesRecordsOnly => change.previous().is_some(),
                F::HasNoMembers => matches!(key, Key::Holder { .. }),
                _ => false,
            };
            if !skipped {
                state.index.insert(self.bytes(&key), after.id());
                state.claimed.insert(self.bytes(&key), Arc::clone(after));
            }
        }
    }

    fn replace(&self, state: &mut State, change: &Change) {
        match (change.previous(), change.record()) {
            (Some(before), None) => drop(state.records.remove(&before.id())),
            (Some(_), _) if self.is(F::MovesKeysOnly) => {}
            (Some(before), Some(after))
                if self.is(F::IgnoresSpelling)
                    && before.name() == after.name()
                    && before.name().as_str() != after.name().as_str() => {}
            (_, Some(after)) => drop(state.records.insert(after.id(), Arc::clone(after))),
            (None, None) => {}
        }
    }

    fn release(&self, state: &mut State, change: &Change) {
        let forgets = match self.fault {
            F::ForgetsToRelease => true,
            F::ForgetsToReleaseOnRemoval => change.record().is_none(),
            _ => false,
        };
        for key in change.released().filter(|_| !forgets) {
            let key = self.bytes(&key);
            // Somebody else may have it by now if it is done late.
            if state.index.get(&key).copied() == change.previous().map(UserRecord::id) {
                state.index.remove(&key);
            }
        }
    }

    /// All of a change but what it releases late.
    fn begin(&self, change: &Change) -> CommitOutcome {
        let mut state = self.state();
        let mut answer = self.answer(&state, change);
        if self.is(F::ChecksThenActs) || self.is(F::ChecksKeysBeforehand) {
            drop(state);
            pause();
            state = self.state();
        }
        if self.is(F::ChecksKeysBeforehand) && self.is_stale(&state, change) {
            answer = Stale;
        }
        if answer == Applied {
            self.replace(&mut state, change);
            self.claim(&mut state, change);
            if !self.is_late() {
                self.release(&mut state, change);
            }
        }
        if answer == KeyTaken && self.is(F::KeepsClaimsOfRefusals) {
            for (key, before) in change.claimed().zip(change.previous().into_iter().cycle()) {
                state.index.entry(self.bytes(&key)).or_insert(before.id());
            }
        }
        if answer == KeyTaken
            && self.is(F::ListsRefusedRegistrations)
            && change.previous().is_none()
        {
            state.refused.extend(change.record().cloned());
        }
        state.cache.retain(|(reader, _), _| *reader != thread::current().id());
        answer
    }

    fn is_late(&self) -> bool {
        self.is(F::ReleasesLate)
    }

    /// The rest, if that is done late.
    fn end(&self, change: &Change, answer: CommitOutcome) {
        if answer == Applied && self.is_late() {
            self.release(&mut self.state(), change);
        }
    }

    fn read(&self, key: &Key<'_>) -> Option<Arc<UserRecord>> {
        let bytes = self.bytes(key);
        let state = self.state();
        if self.is(F::KeepsRecordsOfClaims) && matches!(key, Key::Credential { .. }) {
            return state.index.get(&bytes).and_then(|_| state.claimed.get(&bytes).cloned());
        }
        let id = *state.index.get(&bytes)?;
        let state = if self.is(F::ReadsInTwoSteps) {
            drop(state);
            pause();
            self.state()
        } else {
            state
        };
        state.records.get(&id).cloned()
    }
}

/// Long enough for others to come in between.
fn pause() {
    for _ in 0..20 {
        thread::yield_now();
    }
}

impl Store for Naive {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        if !self.is(F::CachesPerThread) {
            return Ok(self.read(key));
        }
        let place = (thread::current().id(), self.bytes(key));
        if let Some(cached) = self.state().cache.get(&place) {
            return Ok(cached.clone());
        }
        let found = self.read(key);
        self.state().cache.insert(place, found.clone());
        Ok(found)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let answer = self.begin(change);
        if self.is_late() {
            pause();
        }
        self.end(change, answer);
        Ok(answer)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let anybody = "x".parse().unwrap();
        let key = match range.listing() {
            Listing::Holders { .. } if self.is(F::ListsMembersAnywhere) => {
                Key::Holder { account: range.account(), service: None, user: &anybody }
            }
            _ => range.key(&anybody),
        };
        let mut prefix = self.bytes(&key);
        prefix.pop();
        if self.is(F::MixesAccountsInScans) {
            prefix.drain(..8);
        }
        let holds = |key: &[u8]| match self.fault {
            F::MixesAccountsInScans => key.get(8..).is_some_and(|key| key.starts_with(&prefix)),
            _ => key.starts_with(&prefix),
        };
        let state = self.state();
        let mut found: Vec<_> = state
            .index
            .iter()
            .filter(|(key, _)| holds(key))
            .filter_map(|(_, id)| state.records.get(id).cloned())
            .collect();
        if range.listing() == Listing::Users {
            found.extend(state.refused.iter().cloned());
        }
        match self.fault {
            F::ScansByBytes => found.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str())),
            F::ScansByHash => found.sort_by_key(|record| {
                let mut hasher = DefaultHasher::new();
                record.name().hash(&mut hasher);
                hasher.finish()
            }),
            F::ScansById => found.sort_by_key(|record| record.id()),
            F::ScansBackwards => found.sort_by_key(|record| Reverse(record.name().clone())),
            _ => {}
        }
        let limit = match self.fault {
            F::IgnoresLimits => usize::MAX,
            F::CapsScans => range.limit().min(1000),
            _ => range.limit(),
        };
        if self.is(F::LimitsBeforeItStarts) {
            found.truncate(limit);
        }
        found.retain(|record| match (range.start(), self.fault) {
            (Bound::Included(start) | Bound::Excluded(start), F::IncludesExcludedStarts) => {
                record.name() >= start
            }
            (Bound::Included(start) | Bound::Excluded(start), F::ExcludesIncludedStarts) => {
                record.name() > start
            }
            (Bound::Included(start), F::StartsByBytes) => record.name().as_str() >= start.as_str(),
            (Bound::Included(start), _) => record.name() >= start,
            (Bound::Excluded(start), _) => record.name() > start,
            (Bound::Unbounded, _) => true,
        });
        found.truncate(limit);
        Ok(found)
    }
}

/// One that waits within a commit, and leaves half of it behind when it is dropped there.
#[derive(Debug)]
struct Waiting(Naive);

impl AsyncStore for Waiting {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        once().await;
        self.0.find(key)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        once().await;
        let answer = self.0.begin(change);
        once().await;
        self.0.end(change, answer);
        Ok(answer)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        once().await;
        self.0.scan(range)
    }
}

/// Waits until it is woken, by another thread, once.
async fn once() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        thread::spawn(move || waker.wake());
        Poll::Pending
    })
    .await;
}

/// What the suite finds first.
fn first<S: AsyncStore>(build: impl Fn() -> S) -> Option<Violation> {
    let suite = Suite::new();
    let mut checks =
        Obligation::ALL.iter().map(|&check| suite.check(check, async || (build(), ())));
    checks.find_map(Result::err)
}

macro_rules! catches {
    ($($name:ident: $fault:expr => $obligation:expr;)+) => {
        mod broken {
            use super::*;

            $(#[test]
            fn $name() {
                let violation = first(|| SyncAdapter::new(Naive::new($fault)));
                println!("{}", violation.as_ref().unwrap());
                assert_eq!(violation.unwrap().obligation(), $obligation);
            })+
        }
    };
}

catches! {
    loses_second_claim: F::LosesSecondClaim => ClaimedKeysFind;
    moves_keys_only: F::MovesKeysOnly => ClaimedKeysFind;
    replaces_records_only: F::ReplacesRecordsOnly => ClaimedKeysFind;
    has_no_members: F::HasNoMembers => ClaimedKeysFind;
    keeps_records_of_claims: F::KeepsRecordsOfClaims => KeptKeysFollow;
    forgets_to_release: F::ForgetsToRelease => ReleasedKeysFindNothing;
    forgets_to_release_on_removal: F::ForgetsToReleaseOnRemoval => ReleasedKeysAreFree;
    lists_members_anywhere: F::ListsMembersAnywhere => ListingsFollow;
    folds_unicode: F::FoldsUnicode => UnknownKeysFindNothing;
    cares_for_case_of_names: F::CaresForCaseOfNames => NamesIgnoreCase;
    ignores_case_of_ids: F::IgnoresCaseOfIds => IdsKeepCase;
    ignores_spelling: F::IgnoresSpelling => SpellingIsKept;
    mixes_accounts: F::MixesAccounts => AccountsAreIsolated;
    mixes_accounts_in_scans: F::MixesAccountsInScans => AccountsAreIsolated;
    mixes_services: F::MixesServices => ServicesAreIsolated;
    answers_applied_when_stale: F::AnswersAppliedWhenStale => StaleIsRejected;
    compares_user_id_only: F::ComparesUserIdOnly => StaleIsRejected;
    compares_count_only: F::ComparesCountOnly => RevisionsAreUnique;
    answers_applied_when_taken: F::AnswersAppliedWhenTaken => TakenKeysAreRejected;
    answers_stale_when_taken: F::AnswersStaleWhenTaken => TakenKeysAreRejected;
    checks_user_names_only: F::ChecksUserNamesOnly => TakenKeysAreRejected;
    answers_stale_to_registrations: F::AnswersStaleToRegistrations => TakenNamesAreRejected;
    overwrites_held_ids: F::OverwritesHeldIds => HeldIdsAreRejected;
    checks_ids_of_its_account_only: F::ChecksIdsOfItsAccountOnly => HeldIdsAreRejected;
    checks_ids_of_unchanged_users_only: F::ChecksIdsOfUnchangedUsersOnly => HeldIdsAreRejected;
    answers_stale_to_held_ids: F::AnswersStaleToHeldIds => TakenNamesAreRejected;
    answers_key_taken_first: F::AnswersKeyTakenFirst => StaleTakesPrecedence;
    applies_twice: F::AppliesTwice => AppliedOnce;
    counts_its_own_keys_as_taken: F::CountsItsOwnKeysAsTaken => StaleTakesPrecedence;
    keeps_claims_of_refusals: F::KeepsClaimsOfRefusals => RejectedChangesHaveNoEffect;
    lists_refused_registrations: F::ListsRefusedRegistrations => RejectedChangesHaveNoEffect;
    scans_by_hash: F::ScansByHash => ScansAreOrdered;
    scans_by_id: F::ScansById => ScansAreOrdered;
    scans_by_bytes: F::ScansByBytes => ScansAreOrdered;
    scans_backwards: F::ScansBackwards => ScansAreOrdered;
    includes_excluded_starts: F::IncludesExcludedStarts => ScansStart;
    excludes_included_starts: F::ExcludesIncludedStarts => ScansStart;
    starts_by_bytes: F::StartsByBytes => ScansStart;
    ignores_limits: F::IgnoresLimits => ScansAreLimited;
    limits_before_it_starts: F::LimitsBeforeItStarts => ScansAreLimited;
    caps_scans: F::CapsScans => ManyUsers;
    truncates_claims: F::TruncatesClaims => LargestRecord;
    caches_per_thread: F::CachesPerThread => ReadsSeeChanges;
    checks_then_acts: F::ChecksThenActs => OneChangeWins;
    checks_keys_beforehand: F::ChecksKeysBeforehand => OneClaimWins;
    reads_in_two_steps: F::ReadsInTwoSteps => ChangesAreAtomic;
    releases_late: F::ReleasesLate => ChangesAreAtomic;
}

#[test]
fn a_commit_that_is_dropped_half_way_is_caught() {
    let build = async || (Waiting(Naive::new(F::ReleasesLate)), ());
    let violation = Suite::new().check(DroppedCommitsAreAtomic, build).unwrap_err();
    assert_eq!(violation.obligation(), DroppedCommitsAreAtomic);
}

#[test]
fn a_naive_store_passes() {
    Suite::test_all(async || (SyncAdapter::new(Naive::new(F::None)), ()));
}

#[test]
fn a_store_that_waits_passes() {
    Suite::test_all(async || {
        once().await;
        (Waiting(Naive::new(F::None)), ())
    });
}

#[test]
fn a_memory_store_passes() {
    Suite::test_all(async || (SyncAdapter::new(MemoryStore::new()), ()));
}

#[test]
fn a_memory_store_passes_behind_pointers() {
    let store = || SyncAdapter::new(MemoryStore::new());
    Suite::test_all(async || (DynAsyncStore::new(store()), ()));
    Suite::test_all(async || (Arc::new(store()), ()));
    Suite::test_all(async || (Box::new(store()), ()));
    let erased: fn() -> Arc<dyn Store> = || Arc::new(MemoryStore::new());
    Suite::test_all(async || (SyncAdapter::new(erased()), ()));
}

#[test]
fn a_violation_says_what_was_expected_and_seen() {
    let build = async || (SyncAdapter::new(Naive::new(F::AnswersKeyTakenFirst)), ());
    let violation = Suite::new().check(StaleTakesPrecedence, build).unwrap_err();
    assert_eq!(violation.obligation().name(), "stale takes precedence over key taken");
    let expected = "must have the outcome Stale and had KeyTaken";
    assert!(violation.what().ends_with(expected), "{violation}");
    let panic = catch_unwind(|| Suite::test_all(build)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert_eq!(*text, violation.to_string());
    let start = "obligation violated: stale takes precedence over key taken: changing `b` ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn a_store_that_fails_is_caught() {
    #[derive(Debug)]
    struct Failing;
    impl Store for Failing {
        fn find(&self, _: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
            Ok(None)
        }

        fn commit(&self, _: &Change) -> Result<CommitOutcome, StoreError> {
            Err(StoreError::new("the disk is full"))
        }

        fn scan(&self, _: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
            Ok(Vec::new())
        }
    }
    for &obligation in Obligation::ALL {
        let violation =
            Suite::new().check(obligation, async || (SyncAdapter::new(Failing), ())).unwrap_err();
        assert!(violation.what().contains("failed: the disk is full"), "{violation}");
    }
}

#[test]
fn a_guard_outlives_its_store_and_every_thread_is_within_the_context() {
    #[derive(Debug)]
    struct Tenant(Arc<AtomicUsize>);
    impl Drop for Tenant {
        fn drop(&mut self) {
            assert_eq!(self.0.load(SeqCst), 1);
        }
    }
    #[derive(Debug)]
    struct House(SyncAdapter<MemoryStore>, #[expect(dead_code, reason = "dropped")] Tenant);
    impl AsyncStore for House {
        async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
            assert!(INSIDE.get());
            self.0.find(key).await
        }

        async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
            assert!(INSIDE.get());
            self.0.commit(change).await
        }

        async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
            self.0.scan(range).await
        }
    }
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    thread_local! {
        static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    Suite::new()
        .within(|work| {
            INSIDE.set(true);
            work();
            INSIDE.set(false);
        })
        .test(async || {
            assert!(INSIDE.get());
            let standing = Arc::new(AtomicUsize::new(1));
            let store = SyncAdapter::new(MemoryStore::new());
            (House(store, Tenant(Arc::clone(&standing))), Guard(standing))
        });
}

#[test]
fn obligations_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> =
        Obligation::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(names.len(), Obligation::ALL.len());
}
