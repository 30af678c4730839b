//! A memory store that returns wrong records.

use std::{collections::BTreeSet, fmt, ops::Bound, sync::Arc};

use service_specific_credentials::{
    CredentialManager, Error, ListRequest, ListUsersRequest, MaxItems, MemoryStore,
    store::{
        Change, CommitOutcome, CopyError, CorruptIndex, Key, Listing, ScanRange, Store, StoreError,
        UserRecord,
    },
};

use crate::{
    common::{ACCOUNT, BEDROCK, name},
    corrupt_index::world::{People, copy, try_everything},
};

type Records = Vec<Arc<UserRecord>>;

/// Replaces the results of look-ups and scans.
struct WrongResults<F, G> {
    store: MemoryStore,
    find: F,
    scan: G,
}

impl<F, G> Store for WrongResults<F, G>
where
    F: Fn(&Key<'_>) -> Option<Arc<UserRecord>> + Send + Sync,
    G: Fn(&ScanRange<'_>, Records) -> Records + Send + Sync,
{
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        match (self.find)(key) {
            Some(record) => Ok(Some(record)),
            None => self.store.find(key),
        }
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.store.commit(change)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Records, StoreError> {
        Ok((self.scan)(range, self.store.scan(range)?))
    }
}

impl<F, G> fmt::Debug for WrongResults<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrongResults").finish_non_exhaustive()
    }
}

fn kind(key: &Key<'_>) -> &'static str {
    match key {
        Key::User { .. } => "user",
        Key::Credential { .. } => "credential",
        Key::ServiceUser { .. } => "service user",
        Key::Holder { .. } => "holder",
    }
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    words.into_iter().collect()
}

/// Every key of a kind finds the same record, regardless of its holder.
#[test]
fn every_operation_detects_a_look_up_that_returns_another_record() {
    let of_user = [
        "copy_users to",
        "create",
        "delete",
        "ensure_user",
        "list",
        "list_for_service",
        "list_page of one",
        "register_user",
        "remove_user",
        "remove_user_with_credentials",
        "rename_user",
        "reset",
        "set_status",
        "user",
    ];
    // A new credential's keys are looked up if one of them is taken: here its id.
    let of_credential = ["create", "delete", "reset", "set_status"];
    let of_service_user = [
        "create",
        "authenticate",
        "authenticate for all accounts",
        "authenticate_api_key",
        "authenticate_api_key for all accounts",
    ];
    for (lied_about, expected) in
        [("user", &of_user[..]), ("credential", &of_credential), ("service user", &of_service_user)]
    {
        for place in 0..4 {
            let store = MemoryStore::new();
            let people = People::register(&store);
            let record = people.records(&store).swap_remove(place);
            let find = |key: &Key<'_>| (kind(key) == lied_about).then(|| Arc::clone(&record));
            let found = try_everything(
                &people,
                &WrongResults { store, find, scan: |_: &ScanRange<'_>, honest| honest },
            );
            let found = found.iter().filter(|(_, times)| **times > 0).map(|(what, _)| &**what);
            assert_eq!(set(found), set(expected.iter().copied()), "{lied_about} {}", record.name());
        }
    }
}

/// What a scan returns instead of the correct result, and the expected error.
type WrongScan = (
    &'static str,
    fn(&ScanRange<'_>, Records, &[Arc<UserRecord>]) -> Records,
    fn(&CorruptIndex) -> bool,
);

const WRONG_SCANS: [WrongScan; 9] = [
    (
        "a record of another account at the end",
        |_, honest, all| honest.into_iter().chain(all.get(2).cloned()).collect(),
        |error| matches!(error, CorruptIndex::WrongRecord { .. }),
    ),
    (
        "a record of another account instead of the first",
        |_, honest, all| {
            all.get(2).cloned().into_iter().chain(honest.into_iter().skip(1)).collect()
        },
        |error| matches!(error, CorruptIndex::WrongRecord { .. }),
    ),
    (
        "a user without credentials",
        |range, honest, all| match range.listing() {
            Listing::Users => all.to_vec(),
            Listing::Holders { .. } => honest.into_iter().chain(all.get(3).cloned()).collect(),
        },
        |error| matches!(error, CorruptIndex::WrongRecord { .. }),
    ),
    (
        "a user with credentials at other services only",
        |range, honest, all| match range.listing() {
            Listing::Holders { service: Some(_) } => {
                honest.into_iter().chain(all.get(1).cloned()).collect()
            }
            _ => all.to_vec(),
        },
        |error| matches!(error, CorruptIndex::WrongRecord { .. }),
    ),
    (
        "the reverse order",
        |range, mut honest, all| {
            if honest.len() < 2 {
                return doubled(range, honest, all);
            }
            honest.reverse();
            honest
        },
        |error| matches!(error, CorruptIndex::WrongOrder { .. }),
    ),
    ("the first record twice", doubled, |error| matches!(error, CorruptIndex::WrongOrder { .. })),
    (
        "the last record twice",
        |_, honest, _| {
            let last = honest.last().cloned();
            honest.into_iter().chain(last).collect()
        },
        |error| matches!(error, CorruptIndex::WrongOrder { .. }),
    ),
    (
        "more records than the limit",
        |range, honest, _| honest.iter().cycle().take(range.limit() + 1).cloned().collect(),
        |error| matches!(error, CorruptIndex::TooManyRecords),
    ),
    (
        "one record too many, in order",
        |range, honest, all| {
            let mut many: Records = honest.into_iter().chain(all.get(3).cloned()).collect();
            while many.len() <= range.limit() {
                many.extend(all.first().cloned());
            }
            many
        },
        |error| matches!(error, CorruptIndex::TooManyRecords),
    ),
];

fn doubled(_: &ScanRange<'_>, honest: Records, _: &[Arc<UserRecord>]) -> Records {
    let first = honest.first().cloned();
    first.into_iter().chain(honest).collect()
}

#[test]
fn a_scan_that_returns_wrong_records_is_detected() {
    for (what, lie, is_expected) in WRONG_SCANS {
        let store = MemoryStore::new();
        let people = People::register(&store);
        let all = people.records(&store);
        assert_eq!(
            all.iter().map(|record| record.name().as_str()).collect::<Vec<_>>(),
            ["anika", "bo", "cleo", "dora"]
        );
        let scan = |range: &ScanRange<'_>, honest| lie(range, honest, &all);
        let store = WrongResults { store, find: |_: &Key<'_>| None, scan };
        let found = try_everything(&people, &store);
        assert!(found.values().sum::<usize>() > 0, "{what}");

        let iam = CredentialManager::new(name(ACCOUNT), &store);
        let all_users = ListRequest::all_users().max_items(MaxItems::new(1000).unwrap());
        let at_service = all_users.clone().service(name(BEDROCK));
        let results = [
            iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::new(1000).unwrap()))
                .map(drop),
            iam.list_page(&all_users).map(drop),
            iam.list_page(&at_service).map(drop),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            let Error::Store(error) = error else { panic!("{what}: {error:?}") };
            let error = error.get_ref().downcast_ref::<CorruptIndex>().unwrap();
            assert!(is_expected(error), "{what}: {error}");
        }
    }
}

/// The second page starts after the first. Without the check, a store that restarts the listing
/// would never end it.
#[test]
fn a_scan_that_starts_too_early_is_detected() {
    let store = MemoryStore::new();
    let people = People::register(&store);
    let all = people.records(&store);
    let scan = |range: &ScanRange<'_>, honest: Records| match (range.start(), range.listing()) {
        (Bound::Unbounded, _) => honest,
        (_, Listing::Users) => all
            .iter()
            .filter(|record| record.account() == range.account())
            .take(range.limit())
            .cloned()
            .collect(),
        (_, Listing::Holders { .. }) => all.iter().take(range.limit().min(2)).cloned().collect(),
    };
    let store = WrongResults { store, find: |_: &Key<'_>| None, scan };
    let iam = CredentialManager::new(name(ACCOUNT), &store);
    let one = MaxItems::new(1).unwrap();
    let page = iam.list_users_page(&ListUsersRequest::new().max_items(one)).unwrap();
    let out_of_order = |error: Error| {
        let Error::Store(error) = error else { panic!("{error:?}") };
        let error = error.get_ref().downcast_ref::<CorruptIndex>().copied().unwrap();
        assert!(matches!(error, CorruptIndex::WrongOrder { .. }), "{error}");
    };
    out_of_order(
        iam.list_users_page(&ListUsersRequest::new().marker(page.next.clone()).max_items(one))
            .unwrap_err(),
    );
    let mut request = ListRequest::all_users().max_items(MaxItems::new(4).unwrap());
    let page = iam.list_page(&request).unwrap();
    request = request.marker(page.next.unwrap());
    out_of_order(iam.list_page(&request).unwrap_err());
    try_everything(&people, &store);
}

#[test]
fn copy_users_detects_a_corrupt_index_in_either_store() {
    let (lies, is_expected) = (WRONG_SCANS[0].1, WRONG_SCANS[0].2);
    let store = MemoryStore::new();
    let all = People::register(&store).records(&store);
    let scan = |range: &ScanRange<'_>, honest| lies(range, honest, &all);
    let lying = WrongResults { store, find: |_: &Key<'_>| None, scan };
    let honest = MemoryStore::new();
    let check = |error: &StoreError| is_expected(error.get_ref().downcast_ref().unwrap());
    match copy(&lying, &honest, name(ACCOUNT)) {
        Err(CopyError::Read(error)) if check(&error) => {}
        result => panic!("{result:?}"),
    }
    let users = CredentialManager::new(name(ACCOUNT), &honest)
        .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()));
    assert_eq!(users.unwrap().items, []);
    match copy(&honest, &lying, name(ACCOUNT)) {
        Err(CopyError::Write(error)) if check(&error) => {}
        result => panic!("{result:?}"),
    }
}
