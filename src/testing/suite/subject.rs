//! A store under test, and assertions about it.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    ops::Bound,
    panic::resume_unwind,
    sync::{Arc, Barrier},
    thread,
};

use super::drive::{Context, inside, wait};
use crate::{
    names::{account_id::AccountId, user_name::UserName},
    record::{
        Revision, UserRecord,
        key::{Key, Listing},
    },
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

/// The expected and the observed behaviour.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

pub(super) type Checked<T = ()> = Result<T, Fault>;

/// Fails unless `condition` holds.
pub(super) fn ensure(condition: bool, what: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(Fault(what())) }
}

/// A limit greater than any number of records in the suite.
pub(super) const ALL: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// The store under test. Every call blocks until its future is ready.
pub(super) struct Subject<'a, S> {
    store: &'a S,
    context: Option<&'a Context<'a>>,
    keys_per_change: Option<NonZeroUsize>,
}

impl<'a, S: AsyncStore> Subject<'a, S> {
    pub(super) const fn new(
        store: &'a S,
        context: Option<&'a Context<'a>>,
        keys_per_change: Option<NonZeroUsize>,
    ) -> Self {
        Self { store, context, keys_per_change }
    }

    /// The maximum number of keys that a change may release and claim, if there is one.
    pub(super) const fn keys_per_change(&self) -> Option<NonZeroUsize> {
        self.keys_per_change
    }

    pub(super) const fn store(&self) -> &S {
        self.store
    }

    pub(super) fn find(&self, key: &Key<'_>) -> Checked<Option<Arc<UserRecord>>> {
        let found = succeeds("find", wait(self.store.find(key))?)?;
        let holds = found.as_ref().is_none_or(|record| record.holds(key));
        ensure(holds, || {
            format!("{} found {}, which does not hold it", print(key), state(found.as_deref()))
        })?;
        Ok(found)
    }

    pub(super) fn commit(&self, change: &Change) -> Checked<CommitOutcome> {
        succeeds("commit", wait(self.store.commit(change))?)
    }

    pub(super) fn scan(
        &self,
        account: AccountId,
        listing: Listing<'_>,
        start: Bound<&UserName>,
        limit: NonZeroUsize,
    ) -> Checked<Vec<Arc<UserRecord>>> {
        let range = ScanRange::new(account, listing, start, limit);
        succeeds("scan", wait(self.store.scan(&range))?)
    }

    /// Commits `change` and expects this outcome.
    pub(super) fn expect_outcome(&self, change: &Change, expected: CommitOutcome) -> Checked {
        let seen = self.commit(change)?;
        ensure(seen == expected, || {
            format!("{} must have the outcome {expected:?} and had {seen:?}", describe(change))
        })
    }

    pub(super) fn applies<'c>(&self, changes: impl IntoIterator<Item = &'c Change>) -> Checked {
        changes
            .into_iter()
            .try_for_each(|change| self.expect_outcome(change, CommitOutcome::Applied))
    }

    /// Requires that `key` finds exactly `record`.
    pub(super) fn finds(&self, key: &Key<'_>, record: &UserRecord) -> Checked {
        let found = self.find(key)?;
        ensure(found.as_ref().is_some_and(|found| is_same(found, record)), || {
            let (expected, seen) = (state(Some(record)), state(found.as_deref()));
            format!("{} must find {expected} and found {seen}", print(key))
        })
    }

    /// Requires that every key of `record` finds it.
    pub(super) fn keeps(&self, record: &UserRecord) -> Checked {
        record.keys().try_for_each(|key| self.finds(&key, record))
    }

    pub(super) fn finds_nothing(&self, key: &Key<'_>) -> Checked {
        let found = self.find(key)?;
        ensure(found.is_none(), || {
            format!("{} must find nothing and found {}", print(key), state(found.as_deref()))
        })
    }

    /// Requires that a listing contains these records, in any order.
    pub(super) fn lists(
        &self,
        account: AccountId,
        listing: Listing<'_>,
        records: &[&UserRecord],
    ) -> Checked {
        let mut listed = self.scan(account, listing, Bound::Unbounded, ALL)?;
        listed.sort_by(|left, right| left.name().cmp(right.name()));
        let mut expected = records.to_vec();
        expected.sort_by(|left, right| left.name().cmp(right.name()));
        let same = listed.len() == expected.len()
            && listed.iter().zip(&expected).all(|(listed, expected)| is_same(listed, expected));
        ensure(same, || {
            let expected = states(expected.iter().copied());
            let seen = states(listed.iter().map(|record| &**record));
            format!("the listing of {listing:?} must hold {expected} and holds {seen}")
        })
    }

    /// The observable state under these keys and in the listings of `account`: users, holders, and
    /// holders at the services of the keys.
    pub(super) fn view(
        &self,
        account: AccountId,
        keys: &[Key<'_>],
    ) -> Checked<BTreeSet<(String, String)>> {
        let mut view = BTreeSet::new();
        for key in keys {
            view.insert((print(key), state(self.find(key)?.as_deref())));
        }
        let mut listings = vec![Listing::Users, Listing::Holders { service: None }];
        listings.extend(keys.iter().filter_map(|key| match *key {
            Key::Holder { service, .. } => Some(Listing::Holders { service }),
            _ => None,
        }));
        for listing in listings {
            let listed = self.scan(account, listing, Bound::Unbounded, ALL)?;
            let states = states(listed.iter().map(|record| &**record));
            view.insert((format!("the listing of {listing:?}"), states));
        }
        Ok(view)
    }

    /// Runs `act` on a number of threads that start at once, and returns the results.
    pub(super) fn race<T: Send>(
        &self,
        threads: usize,
        act: impl Fn(usize) -> Checked<T> + Sync,
    ) -> Checked<Vec<T>> {
        let begin = Barrier::new(threads);
        let work = |place| {
            begin.wait();
            inside(self.context, || act(place))
        };
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                (0..threads).map(|place| scope.spawn(move || work(place))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }
}

fn succeeds<T>(operation: &str, result: Result<T, StoreError>) -> Checked<T> {
    result.map_err(|error| Fault(format!("`{operation}` failed: {error}")))
}

fn is_same(left: &UserRecord, right: &UserRecord) -> bool {
    std::ptr::eq(left, right)
        || (left.revision() == right.revision() && left.encode() == right.encode())
}

/// A revision as `4 of 2f7c…`.
pub(super) fn revision(revision: Revision) -> String {
    let user: String = revision.user().to_string().chars().take(8).collect();
    format!("revision {} of {user}", revision.count())
}

pub(super) fn state(record: Option<&UserRecord>) -> String {
    record.map_or_else(
        || "nothing".to_owned(),
        |record| {
            let (name, count) = (record.name(), record.credential_count());
            format!("`{name}` ({}, {count} credentials)", revision(record.revision()))
        },
    )
}

pub(super) fn states<'a>(records: impl Iterator<Item = &'a UserRecord>) -> String {
    let states: Vec<_> = records.map(|record| state(Some(record))).collect();
    match states.len() {
        0 => "unknown".to_owned(),
        1..10 => states.join(", "),
        many => format!("{many} users"),
    }
}

fn describe(change: &Change) -> String {
    match (change.previous(), change.record()) {
        (None, Some(after)) => format!("registering {}", state(Some(after))),
        (before, None) => format!("removing {}", state(before)),
        (before, Some(after)) => {
            format!("changing {} into {}", state(before), state(Some(after)))
        }
    }
}

pub(super) fn print(key: &Key<'_>) -> String {
    match key {
        Key::User { name, .. } => format!("the user `{name}`"),
        Key::Credential { id, .. } => format!("the credential `{id}`"),
        Key::ServiceUser { service, name, .. } => {
            format!("the service user `{}` of `{service}`", name.escape_debug())
        }
        Key::Holder { service: None, user, .. } => format!("the member `{user}` of any service"),
        Key::Holder { service: Some(service), user, .. } => {
            format!("the member `{user}` of `{service}`")
        }
    }
}
