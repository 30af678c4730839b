//! Keys as bytes and in hash tables: equal bytes and hashes only for equal keys.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroUsize,
    ops::Bound,
    sync::Arc,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed, TestRunner},
};
use service_specific_credentials::{
    AccountId, CredentialId, CredentialManager, MemoryStore, Policy, ServiceName, UserName,
    store::{Key, Listing, ScanRange, Store, UserRecord},
    testing::SeededEntropy,
};

use crate::common::name;

/// A key with owned parts.
#[derive(Clone, Debug)]
enum Owned {
    User(AccountId, UserName),
    Credential(AccountId, CredentialId),
    ServiceUser(AccountId, ServiceName, String),
    Member(AccountId, Option<ServiceName>, UserName),
}

impl Owned {
    fn key(&self) -> Key<'_> {
        match self {
            Self::User(account, name) => Key::User { account: *account, name },
            Self::Credential(account, id) => Key::Credential { account: *account, id },
            Self::ServiceUser(account, service, name) => {
                Key::ServiceUser { account: *account, service, name }
            }
            Self::Member(account, service, user) => {
                Key::Holder { account: *account, service: service.as_ref(), user }
            }
        }
    }

    /// The parts that determine equality.
    fn meaning(&self) -> (AccountId, [String; 3]) {
        let folded = |name: &str| name.to_ascii_lowercase();
        let (account, kind, service, name) = match self {
            Self::User(account, name) => (account, "user", None, folded(name.as_str())),
            Self::Credential(account, id) => (account, "credential", None, id.to_string()),
            Self::ServiceUser(account, service, name) => {
                (account, "service user", Some(service), folded(name))
            }
            Self::Member(account, service, user) => {
                (account, "holder", service.as_ref(), folded(user.as_str()))
            }
        };
        (*account, [kind.to_owned(), format!("{service:?}"), name])
    }
}

fn accounts() -> impl Strategy<Value = AccountId> {
    select(vec!["000000000000", "000000000001", "000000000256", "000000065536", "999999999999"])
        .prop_map(name)
}

/// Services with common prefixes, and with characters that sort before letters.
fn services() -> impl Strategy<Value = ServiceName> {
    select(vec!["a", "ab", "aB", "b", "a-", "a.b", "-"]).prop_map(name)
}

fn users() -> impl Strategy<Value = UserName> {
    prop_oneof![
        4 => select(vec!["a", "A", "b", "ab", "aB", "_", "a_", "A+1", "a+1", "@"])
            .prop_map(str::to_owned),
        1 => r"[abAB+=,.@_-]{1,4}",
    ]
    .prop_map(|text| name(&text))
}

fn ids() -> impl Strategy<Value = CredentialId> {
    "[aA]{3}".prop_map(|end| name(&("ACCA_0123456789abc".to_owned() + &end)))
}

/// Untrusted service user names.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec![
            "", "a", "A", "b", "\0", "\0a", "a\0", "b\0a", "é", "É", "ſ", "\u{212a}", "k",
        ])
            .prop_map(str::to_owned),
        2 => "[abAB\0]{0,4}",
        1 => any::<String>(),
    ]
}

fn keys() -> impl Strategy<Value = Owned> {
    prop_oneof![
        2 => (accounts(), users()).prop_map(|(account, user)| Owned::User(account, user)),
        1 => (accounts(), ids()).prop_map(|(account, id)| Owned::Credential(account, id)),
        4 => (accounts(), services(), texts())
            .prop_map(|(account, service, text)| Owned::ServiceUser(account, service, text)),
        4 => (accounts(), proptest::option::of(services()), users())
            .prop_map(|(account, service, user)| Owned::Member(account, service, user)),
    ]
}

fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let config = Config {
        cases: 100,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    outcome.unwrap();
}

fn hash(key: &Key<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn equal_keys_have_equal_encodings_and_hashes() {
    run(&vec(keys(), 50), |keys| {
        for left in &keys {
            for right in &keys {
                let equal = left.meaning() == right.meaning();
                let (left, right) = (left.key(), right.key());
                assert_eq!(left == right, equal, "{left:?} {right:?}");
                assert_eq!(left.encode() == right.encode(), equal, "{left:?} {right:?}");
                assert!(!equal || hash(&left) == hash(&right), "{left:?} {right:?}");
            }
        }
    });
}

#[test]
fn service_and_name_are_separated_in_the_encoding() {
    let [a, ab] = ["a", "ab"].map(name::<ServiceName>);
    let account = name("123456789012");
    let key = |service, name| Key::ServiceUser { account, service, name };
    for (left, right) in [
        (key(&a, "b"), key(&ab, "")),
        (key(&a, "\0b"), key(&a, "b")),
        (key(&a, "b\0c"), key(&ab, "\0c")),
        (key(&a, "é"), key(&a, "É")),
        (key(&a, "k"), key(&a, "\u{212a}")),
    ] {
        assert!(left != right && left.encode() != right.encode(), "{left:?} {right:?}");
    }
}

#[test]
fn the_encoding_of_a_key_is_as_documented() {
    let account = name("123456789012");
    let (user, service): (UserName, ServiceName) = (name("Anika"), name("Git.example.com"));
    let id = name("ACCA12345ABCDEXAMPLE");
    for (key, expected) in [
        (Key::User { account, name: &user }, "\x01anika"),
        (Key::Credential { account, id: &id }, "\x02ACCA12345ABCDEXAMPLE"),
        (
            Key::ServiceUser { account, service: &service, name: "Anika+1\0É" },
            "\x03git.example.com\0anika+1\0É",
        ),
        (
            Key::Holder { account, service: Some(&service), user: &user },
            "\x04git.example.com\0anika",
        ),
        (Key::Holder { account, service: None, user: &user }, "\x04\0anika"),
    ] {
        let bytes = [&123_456_789_012_u64.to_be_bytes(), expected.as_bytes()].concat();
        assert_eq!(key.encode(), bytes, "{key:?}");
    }
}

#[test]
fn keys_of_accounts_do_not_interleave() {
    run(&vec(keys(), 50), |keys| {
        let mut keys: Vec<_> = keys.iter().map(Owned::key).collect();
        keys.sort_by_cached_key(Key::encode);
        assert!(keys.is_sorted_by_key(Key::account), "{keys:?}");
        for key in keys {
            let account: u64 = key.account().to_string().parse().unwrap();
            assert_eq!(key.encode()[..8], account.to_be_bytes());
        }
    });
}

#[test]
fn a_listing_is_one_range_of_keys_in_order_of_names() {
    let listings = prop_oneof![
        1 => Just(None),
        3 => proptest::option::of(services()).prop_map(Some),
    ];
    let names = (users(), users(), listings);
    run(&(accounts(), vec(keys(), 50), vec(names, 20)), |(account, others, names)| {
        for (left, right, service) in &names {
            let listing = service
                .as_ref()
                .map_or(Listing::Users, |service| Listing::Holders { service: service.as_ref() });
            let range = ScanRange::new(account, listing, Bound::Unbounded, NonZeroUsize::MAX);
            let key = |user| range.key(user).encode();
            assert_eq!(key(left).cmp(&key(right)), left.cmp(right), "{left} {right}");

            let is_listed = |key: &Key<'_>| match (*key, listing) {
                (Key::User { account: of, .. }, Listing::Users) => of == account,
                (Key::Holder { account: of, service, .. }, Listing::Holders { service: at }) => {
                    (of, service) == (account, at)
                }
                _ => false,
            };
            let (low, high) = (key(left.min(right)), key(left.max(right)));
            for other in others.iter().map(Owned::key) {
                let between = (&low..=&high).contains(&&other.encode());
                assert!(!between || is_listed(&other), "{other:?} {left} {right} {listing:?}");
            }
        }
    });
}

#[test]
fn holders_are_in_order_of_services() {
    run(
        &(accounts(), vec((proptest::option::of(services()), users()), 30)),
        |(account, mut of)| {
            let key = |(service, user): &(Option<ServiceName>, UserName)| {
                Key::Holder { account, service: service.as_ref(), user }.encode()
            };
            of.sort_by_cached_key(key);
            assert!(of.is_sorted(), "{of:?}");
        },
    );
}

#[test]
fn no_key_is_longer_than_documented() {
    let account = name("123456789012");
    let user: UserName = name(&"u".repeat(64));
    let service = &name(&"s".repeat(128));
    let id = &name(&"i".repeat(128));
    let text = "é".repeat(256);
    for (key, length) in [
        (Key::User { account, name: &user }, 73),
        (Key::Credential { account, id }, 137),
        (Key::ServiceUser { account, service, name: &text }, 650),
        (Key::Holder { account, service: Some(service), user: &user }, 202),
    ] {
        assert_eq!(key.encode().len(), length);
    }
}

/// Records of users with names of each other's credentials, in two accounts.
fn records() -> Vec<Arc<UserRecord>> {
    let policy = Policy::builder().without_services().password_service(name("a"));
    let policy = policy.password_service(name("ab")).build().unwrap();
    let first = CredentialManager::builder(name("000000000000"), MemoryStore::new())
        .policy(policy)
        .entropy(SeededEntropy::new(1))
        .build();
    let second = first.for_account(name("000000000001"));
    let [a, ab] = ["a", "ab"].map(name::<ServiceName>);
    let [user, renamed] = ["a", "B"].map(name::<UserName>);
    for iam in [&first, &second] {
        iam.register_user(&user).unwrap();
        iam.register_user(&name("a+1")).unwrap();
        drop(iam.create(&user, &a).unwrap());
        drop(iam.create(&user, &a).unwrap());
    }
    first.rename_user(&user, &renamed).unwrap();
    first.register_user(&name("A")).unwrap();
    drop(first.create(&user, &ab).unwrap());
    drop(first.create(&user, &a).unwrap());
    drop(first.create(&renamed, &ab).unwrap());
    [first, second]
        .iter()
        .flat_map(|iam| {
            let range =
                ScanRange::new(iam.account(), Listing::Users, Bound::Unbounded, NonZeroUsize::MAX);
            iam.store().scan(&range).unwrap()
        })
        .collect()
}

#[test]
fn a_record_holds_exactly_its_own_keys_once_each() {
    let records = records();
    assert_eq!(records.len(), 5);
    let own: Vec<HashSet<_>> = records.iter().map(|record| record.keys().collect()).collect();
    for (place, (record, own_keys)) in records.iter().zip(&own).enumerate() {
        assert_eq!(record.keys().count(), own_keys.len());
        for (other, keys) in own.iter().enumerate() {
            for key in keys {
                assert_eq!(record.holds(key), place == other, "{key:?}");
            }
        }
    }
    run(&vec(keys(), 50), |keys| {
        for key in keys.iter().map(Owned::key) {
            for (record, own) in records.iter().zip(&own) {
                assert_eq!(record.holds(&key), own.contains(&key), "{key:?}");
            }
        }
    });
}
