//! Paged listings: every item once, in order, and markers that are valid for their own query only.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex},
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use service_specific_credentials::{
    Credential, CredentialId, CredentialManager, Error, Lifetime, ListRequest, ListUsersRequest,
    Marker, MaxItems, MemoryStore, RegisterOptions, ServiceName, UserName,
    testing::{FixedClock, SeededEntropy},
};
use time::{Duration, OffsetDateTime};

use crate::common::{HookAction, HookedStore, StoreCall};

type Iam = CredentialManager<MemoryStore>;

const CODECOMMIT: &str = "codecommit.amazonaws.com";
const CASSANDRA: &str = "cassandra.amazonaws.com";
const UNSUPPORTED: &str = "ec2.amazonaws.com";
const DAY: Duration = Duration::days(1);

fn empty() -> (Iam, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::new(OffsetDateTime::UNIX_EPOCH + 1000 * DAY));
    let iam = CredentialManager::builder("123456789012".parse().unwrap(), MemoryStore::new())
        .clock(Arc::clone(&clock))
        .entropy(SeededEntropy::new(7))
        .build();
    (iam, clock)
}

/// Eight users, out of order, with none, one, two or three credentials: 12 in all, 8 of them at
/// CodeCommit. Some have the same creation date, and some were created after the clock was set
/// back.
fn populated() -> (Iam, Arc<FixedClock>) {
    let (iam, clock) = empty();
    let population: [(&str, &[&str]); 8] = [
        ("b", &[CODECOMMIT, CODECOMMIT]),
        ("B-", &[CASSANDRA]),
        ("a+1", &[CODECOMMIT]),
        ("_", &[CODECOMMIT, CASSANDRA]),
        ("A", &[CODECOMMIT, CASSANDRA, CODECOMMIT]),
        ("nobody", &[]),
        ("Z", &[CODECOMMIT]),
        ("0", &[CODECOMMIT, CASSANDRA]),
    ];
    for (step, (name, services)) in population.into_iter().enumerate() {
        iam.register_user(&user(name)).unwrap();
        for at in services {
            drop(iam.create(&user(name), &service(at)).unwrap());
        }
        clock.advance(if step % 3 == 2 { -2 * DAY } else { DAY });
    }
    (iam, clock)
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn marker(text: &str) -> Marker {
    text.parse().unwrap()
}

fn max(items: usize) -> MaxItems {
    MaxItems::new(u32::try_from(items).unwrap()).unwrap()
}

fn all() -> ListRequest {
    ListRequest::all_users()
}

fn of(name: &str) -> ListRequest {
    ListRequest::of(user(name))
}

fn days(days: u32) -> Lifetime {
    Lifetime::days(days).unwrap()
}

/// All pages of the listing, with these sizes in turn.
fn pages(iam: &Iam, request: &ListRequest, sizes: &[usize]) -> Vec<Vec<Credential>> {
    let mut pages = Vec::new();
    let mut request = request.clone();
    for &size in sizes.iter().cycle() {
        let page = iam.list_page(&request.clone().max_items(max(size))).unwrap();
        assert!(page.items.len() == size || page.next.is_none(), "only the last page may be short");
        assert!(!page.items.is_empty() || pages.is_empty(), "only a single page may be empty");
        pages.push(page.items);
        assert!(pages.len() < 100, "the listing does not end");
        let Some(next) = page.next else { break };
        assert!((1..=320).contains(&next.as_str().chars().count()));
        request = request.marker(next);
    }
    pages
}

fn is_mismatch<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::MarkerMismatch))
}

#[test]
fn pages_of_every_size_contain_the_whole_listing_in_order() {
    let (iam, _) = populated();
    let position = |held: &Credential| {
        (held.user_name().as_str().to_ascii_lowercase(), held.created(), held.id().clone())
    };
    for (request, total) in [
        (all(), 12),
        (all().service(service(CODECOMMIT)), 8),
        (all().service(service(CASSANDRA)), 4),
        (all().service(service("bedrock.amazonaws.com")), 0),
        (all().older_than(days(1)), 11),
        (all().older_than(days(2)), 5),
        (all().older_than(days(2)).service(service(CASSANDRA)), 1),
        (all().secret_older_than(days(1)), 11),
        (all().secret_older_than(days(2)).older_than(days(1)), 5),
        (of("a"), 3),
        (of("A").service(service("CodeCommit.AmazonAWS.com")), 2),
        (of("nobody"), 0),
    ] {
        let whole = iam.list_page(&request.clone().max_items(max(1000))).unwrap();
        assert_eq!((whole.items.len(), whole.next), (total, None), "{request:?}");
        assert!(whole.items.is_sorted_by_key(position), "{request:?}");
        for size in 1..=total + 1 {
            let pages = pages(&iam, &request, &[size]);
            assert_eq!(pages.len(), total.div_ceil(size).max(1), "{size} a page: {request:?}");
            assert_eq!(pages.concat(), whole.items, "{size} a page: {request:?}");
        }
    }
}

#[test]
fn the_page_size_may_change_between_pages() {
    let (iam, _) = populated();
    let whole = iam.list_page(&all()).unwrap().items;
    for sizes in [[1, 2, 3], [3, 1, 5], [7, 1, 1000], [2, 1000, 1]] {
        assert_eq!(pages(&iam, &all(), &sizes).concat(), whole, "{sizes:?}");
    }
}

#[test]
fn pages_of_users_of_every_size_are_in_order_of_folded_names() {
    let (iam, _) = populated();
    let sorted = ["0", "_", "A", "a+1", "b", "B-", "nobody", "Z"].map(user);
    assert!(sorted.is_sorted());
    for size in 1..=9 {
        let mut names = Vec::new();
        let mut marker = None;
        loop {
            let page = iam
                .list_users_page(
                    &ListUsersRequest::new().marker(marker.clone()).max_items(max(size)),
                )
                .unwrap();
            assert!(page.items.len() == size || page.next.is_none());
            assert!(!page.items.is_empty());
            names.extend(page.items.iter().map(|user| user.name().clone()));
            assert_eq!(page.next.is_some(), names.len() < 8);
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(names.iter().map(UserName::as_str).collect::<String>(), "0_Aa+1bB-nobodyZ");
    }
    let (iam, _) = empty();
    let page = iam.list_users_page(&ListUsersRequest::new().max_items(max(1))).unwrap();
    assert_eq!((page.items, page.next), (vec![], None));
}

#[test]
fn rotation_by_reset_empties_the_list_of_old_secrets() {
    let (iam, _) = populated();
    let (created, secrets) = (all().older_than(days(2)), all().secret_older_than(days(2)));
    let due = iam.list_page(&created).unwrap().items;
    assert_eq!(iam.list_page(&secrets).unwrap().items, due);
    for (count, credential) in due.iter().enumerate() {
        assert_eq!(iam.list_page(&secrets).unwrap().items, due[count..]);
        drop(iam.reset(credential.user_name(), credential.id()).unwrap());
    }
    assert_eq!(iam.list_page(&secrets).unwrap().items, []);
    let ids = |credentials: &[Credential]| {
        credentials.iter().map(|credential| credential.id().clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&iam.list_page(&created).unwrap().items), ids(&due));
}

#[test]
fn users_are_listed_by_the_prefix_of_their_paths() {
    let (iam, _) = empty();
    // More users than a scan fetches are left out.
    for number in 0..250 {
        let path = ["/", "/a/", "/a/b/", "/ab/", "/b/"][number % 5];
        let options = RegisterOptions::new().path(path.parse().unwrap());
        iam.register_user_with_options(&user(&format!("u{number:03}")), &options).unwrap();
    }
    let last = RegisterOptions::new().path("/last/".parse().unwrap());
    iam.register_user_with_options(&user("v"), &last).unwrap();
    let pages = |prefix: &str, size: usize| {
        let request = ListUsersRequest::new().max_items(max(size));
        let mut request = request.path_prefix(prefix.parse().unwrap());
        let mut pages = Vec::new();
        loop {
            let page = iam.list_users_page(&request).unwrap();
            assert!(page.items.iter().all(|user| user.path().as_str().starts_with(prefix)));
            assert!(page.items.len() == size || page.next.is_none());
            pages.push(page.items.len());
            let Some(next) = page.next else { break pages };
            request = request.marker(next);
        }
    };
    assert_eq!(pages("/", 1000), [251]);
    assert_eq!(pages("/a", 1000), [150]);
    assert_eq!(pages("/a/", 40), [40, 40, 20]);
    assert_eq!(pages("/a/b/", 50), [50]);
    assert_eq!(pages("/A/", 50), [0]);
    assert_eq!(pages("/last/", 1), [1]);

    // A marker belongs to its prefix.
    let request = |prefix: Option<&str>| {
        let request = ListUsersRequest::new().max_items(max(1));
        match prefix {
            Some(prefix) => request.path_prefix(prefix.parse().unwrap()),
            None => request,
        }
    };
    let prefixes = [None, Some("/"), Some("/a"), Some("/a/")];
    for of in prefixes {
        let next = iam.list_users_page(&request(of)).unwrap().next.unwrap();
        for with in prefixes {
            let page = iam.list_users_page(&request(with).marker(next.clone()));
            assert_eq!(is_mismatch(&page), of != with, "{of:?} {with:?}");
        }
    }
}

#[test]
fn a_marker_of_another_query_is_rejected() {
    let (iam, _) = populated();
    let elsewhere = iam.for_account("123456789013".parse().unwrap());
    for name in ["a", "b"] {
        elsewhere.register_user(&user(name)).unwrap();
    }
    let codecommit = || service(CODECOMMIT);
    let queries = [
        all(),
        all().service(codecommit()),
        all().service(service(CASSANDRA)),
        all().older_than(days(1)),
        all().older_than(days(2)),
        all().secret_older_than(days(1)),
        all().secret_older_than(days(2)),
        all().older_than(days(2)).secret_older_than(days(1)),
        all().older_than(days(1)).secret_older_than(days(2)),
        all().older_than(days(1)).service(codecommit()),
        of("a"),
        of("b"),
        of("a").service(codecommit()),
        of("a").older_than(days(1)),
        of("a").secret_older_than(days(1)),
    ];
    let of_users =
        iam.list_users_page(&ListUsersRequest::new().max_items(max(1))).unwrap().next.unwrap();
    for query in &queries {
        let next = iam.list_page(&query.clone().max_items(max(1))).unwrap().next.unwrap();
        assert!(is_mismatch(
            &iam.list_users_page(&ListUsersRequest::new().marker(next.clone()).max_items(max(1)))
        ));
        assert!(is_mismatch(&elsewhere.list_page(&query.clone().marker(next.clone()))));
        assert!(is_mismatch(&iam.list_page(&query.clone().marker(of_users.clone()))));
        for other in &queries {
            let result = iam.list_page(&other.clone().marker(next.clone()));
            assert_eq!(is_mismatch(&result), query != other, "{query:?} {other:?}");
        }
    }
    assert!(is_mismatch(
        &elsewhere
            .list_users_page(&ListUsersRequest::new().marker(of_users.clone()).max_items(max(1)))
    ));
    iam.list_users_page(&ListUsersRequest::new().marker(of_users.clone()).max_items(max(1000)))
        .unwrap();
}

#[test]
fn a_marker_is_valid_for_another_spelling_of_its_query() {
    let (iam, _) = populated();
    let asked = of("a").service(service(CODECOMMIT)).max_items(max(1));
    let first = iam.list_page(&asked).unwrap();
    let respelled = of("A").service(service("CODECOMMIT.amazonaws.com"));
    let explicit = respelled.marker(first.next);
    let second = iam.list_page(&explicit).unwrap();
    assert_eq!((second.items.len(), second.next), (1, None));
    assert_ne!(first.items, second.items);

    let first = iam.list_page(&of("a").max_items(max(1))).unwrap();
    iam.rename_user(&user("a"), &user("a")).unwrap();
    let second = iam.list_page(&of("a").marker(first.next.unwrap())).unwrap();
    assert_eq!(second.items.len(), 2, "respelling the user keeps the marker valid");
}

#[test]
fn a_damaged_marker_is_rejected() {
    let (iam, _) = populated();
    let whole = iam.list_page(&all().max_items(max(1))).unwrap().next.unwrap();
    let of_users =
        iam.list_users_page(&ListUsersRequest::new().max_items(max(1))).unwrap().next.unwrap();
    let rejected =
        |text: &str| {
            assert!(is_mismatch(&iam.list_page(&all().marker(marker(text)))), "{text}");
            assert!(
                is_mismatch(&iam.list_users_page(
                    &ListUsersRequest::new().marker(marker(text)).max_items(max(1))
                )),
                "{text}"
            );
        };
    for whole in [whole.as_str(), of_users.as_str()] {
        for place in 0..whole.len() {
            let (before, after) = (&whole[..place], &whole[place + 1..]);
            for other in (' '..='\u{ff}').filter(|other| !whole[place..].starts_with(*other)) {
                rejected(&format!("{before}{other}{after}"));
            }
            rejected(&format!("{before}{after}"));
            if place > 0 {
                rejected(before);
                rejected(&whole[place..]);
            }
        }
        for more in ["A", "=", "==", " ", "\u{ff}"] {
            rejected(&format!("{whole}{more}"));
            rejected(&format!("{more}{whole}"));
        }
        rejected(&format!("{whole}{whole}"));
    }
    for foreign in ["0", "AQ", "100", "ACCA12345ABCDEXAMPLE", "eyJhIjoxfQ==", "é", &"x".repeat(320)]
    {
        rejected(foreign);
    }
}

#[test]
fn markers_of_the_longest_names_have_at_most_320_characters() {
    let (iam, clock) = empty();
    clock.set(OffsetDateTime::UNIX_EPOCH + Duration::days(365 * 8000));
    let longest = "W".repeat(64);
    for name in [&longest, &"X".repeat(64)] {
        iam.register_user(&user(name)).unwrap();
        for _ in 0..2 {
            drop(iam.create(&user(name), &service(CODECOMMIT)).unwrap());
        }
    }
    for request in [all(), of(&longest)] {
        let total = pages(&iam, &request.service(service(CODECOMMIT)), &[1]).len();
        assert!(total >= 2);
    }
    let next =
        iam.list_users_page(&ListUsersRequest::new().max_items(max(1))).unwrap().next.unwrap();
    assert!(next.as_str().len() <= 320);
    assert!(
        iam.list_users_page(&ListUsersRequest::new().marker(next.clone()).max_items(max(1)))
            .unwrap()
            .next
            .is_none()
    );
}

#[test]
fn a_minimum_age_is_reached_at_the_exact_millisecond() {
    let (iam, clock) = empty();
    let (anika, old) = (user("anika"), all().older_than(days(90)));
    iam.register_user(&anika).unwrap();
    drop(iam.create(&anika, &service(CODECOMMIT)).unwrap());
    let listed = || {
        let one = of("anika").older_than(days(90));
        let count = iam.list_page(&one).unwrap().items.len();
        assert_eq!(iam.list_page(&old).unwrap().items.len(), count);
        count
    };
    assert_eq!(listed(), 0);
    clock.advance(90 * DAY - Duration::MILLISECOND);
    assert_eq!(listed(), 0);
    clock.advance(Duration::MILLISECOND);
    assert_eq!(listed(), 1);
    clock.advance(-Duration::MILLISECOND);
    assert_eq!(listed(), 0);
}

#[test]
fn users_without_listed_credentials_leave_no_gap() {
    let (iam, clock) = empty();
    for number in 0..40 {
        let name = user(&format!("u{number:02}"));
        iam.register_user(&name).unwrap();
        // Every tenth user has the one old credential, among new ones.
        if number % 10 == 7 {
            clock.advance(-10 * DAY);
        }
        drop(iam.create(&name, &service(CODECOMMIT)).unwrap());
        if number % 10 == 7 {
            clock.advance(10 * DAY);
        }
    }
    for size in 1..=5 {
        let pages = pages(&iam, &all().older_than(days(10)), &[size]);
        let names: Vec<_> =
            pages.concat().iter().map(|held| held.user_name().to_string()).collect();
        assert_eq!(names, ["u07", "u17", "u27", "u37"]);
        assert_eq!(pages.len(), 4_usize.div_ceil(size));
    }
}

#[test]
fn the_parameters_of_a_listing_are_checked_in_order() {
    let (iam, _) = populated();
    let stray = marker("stray");
    let (known, unknown) = (of("a"), of("x"));
    let unsupported = || service(UNSUPPORTED);

    let nobody = unknown.service(unsupported()).marker(stray.clone());
    assert!(matches!(iam.list_page(&nobody), Err(Error::NoSuchUser { .. })));
    for request in [known.clone(), all()] {
        let request = request.service(unsupported()).marker(stray.clone());
        assert!(matches!(iam.list_page(&request), Err(Error::ServiceNotSupported { .. })));
    }
    assert!(is_mismatch(&iam.list_page(&known.marker(stray))));
}

/// A change between two pages.
#[derive(Clone, Debug)]
enum Between {
    Create(usize),
    /// Deletes a credential by its index in the whole listing.
    Delete(usize),
    /// Deletes the last credential of the last page.
    DeleteLast,
    /// Removes the user of the last credential of the last page.
    RemoveLast,
    Register(usize),
    StepBack,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => (0..8_usize).prop_map(Between::Create),
        3 => (0..20_usize).prop_map(Between::Delete),
        2 => Just(Between::DeleteLast),
        1 => Just(Between::RemoveLast),
        1 => (0..8_usize).prop_map(Between::Register),
        1 => Just(Between::StepBack),
    ]
}

fn config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        (config.cases, config.rng_seed) = (200, RngSeed::Fixed(7));
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pages_neither_repeat_nor_skip_items_that_exist_throughout(
        one_user: bool,
        filtered: bool,
        turns in prop::collection::vec((1..4_usize, prop::collection::vec(between(), 0..4)), 30),
    ) {
        let names = ["0", "A", "a+1", "a-", "b", "nobody", "new", "Z"];
        let (iam, clock) = populated();
        let mut request = if one_user { of("a") } else { all() };
        if filtered {
            request = request.service(service(CODECOMMIT));
        }
        let ids = |request: &ListRequest| {
            let page = iam.list_page(&request.clone().max_items(max(1000)));
            let items = page.map(|page| page.items).unwrap_or_default();
            items.iter().map(|held| held.id().clone()).collect::<BTreeSet<CredentialId>>()
        };
        let mut standing = ids(&request);
        let mut listed = BTreeSet::new();
        let mut next = request.clone();
        for (size, changes) in turns.iter().cycle() {
            let Ok(page) = iam.list_page(&next.clone().max_items(max(*size))) else {
                prop_assert!(one_user && iam.user(&user("a")).is_err());
                return Ok(());
            };
            for held in &page.items {
                prop_assert!(listed.insert(held.id().clone()), "repeated {held:?}");
            }
            let Some(marker) = page.next else { break };
            next = request.clone().marker(marker);
            let last = page.items.last().unwrap();
            // After all turns nothing changes any more, so the listing ends.
            let changes = if listed.len() > 60 { &[][..] } else { changes };
            for change in changes {
                clock.advance(Duration::MILLISECOND);
                match *change {
                    Between::Create(name) => {
                        let at = if name % 2 == 0 { CODECOMMIT } else { CASSANDRA };
                        drop(iam.create(&user(names[name]), &service(at)));
                    }
                    Between::Register(name) => drop(iam.register_user(&user(names[name]))),
                    Between::Delete(place) => {
                        let items = iam.list_page(&all()).unwrap().items;
                        if let Some(place) = place.checked_rem(items.len()) {
                            iam.delete(items[place].user_name(), items[place].id()).unwrap();
                        }
                    }
                    Between::DeleteLast => drop(iam.delete(last.user_name(), last.id())),
                    Between::RemoveLast => {
                        drop(iam.remove_user_with_credentials(last.user_name()));
                    }
                    Between::StepBack => clock.advance(-DAY),
                }
                let present = ids(&request);
                standing.retain(|id| present.contains(id));
            }
        }
        prop_assert!(standing.is_subset(&listed), "skipped {:?}", standing.difference(&listed));
    }

    #[test]
    fn random_text_is_not_a_valid_marker(text in "[\\u{20}-\\u{ff}]{1,320}|[A-Za-z0-9_-]{1,320}") {
        let (iam, _) = empty();
        iam.register_user(&user("a")).unwrap();
        for request in [all(), of("a")] {
            prop_assert!(is_mismatch(&iam.list_page(&request.marker(marker(&text)))));
        }
        let users = ListUsersRequest::new().marker(marker(&text)).max_items(max(1));
        prop_assert!(is_mismatch(&iam.list_users_page(&users)));
    }
}

#[test]
fn a_page_fetches_about_as_many_users_as_it_needs() {
    let limits = Mutex::new(Vec::new());
    let store = HookedStore::new(|call: StoreCall<'_>| {
        if let StoreCall::Scan(range) = call {
            limits.lock().unwrap().push(range.limit());
        }
        HookAction::Proceed
    });
    let iam = CredentialManager::new("123456789012".parse().unwrap(), &store);
    for number in 0..300 {
        let user = format!("user{number}").parse().unwrap();
        iam.register_user(&user).unwrap();
        drop(iam.create(&user, &CODECOMMIT.parse().unwrap()).unwrap());
    }
    let limits = || mem::take(&mut *limits.lock().unwrap());

    // First as if each user had two credentials, with the user at whom the last page ended, and a
    // look-ahead.
    for (size, expected) in
        [(1, &[3][..]), (10, &[7, 102]), (250, &[127, 125]), (299, &[152, 149]), (1000, &[502])]
    {
        let request = ListRequest::all_users().max_items(MaxItems::new(size).unwrap());
        assert_eq!(iam.list_page(&request).unwrap().items.len(), size.min(300) as usize);
        assert_eq!(limits(), expected, "{size} credentials");
    }
    for (size, prefix, expected) in [
        (10, None, &[11][..]),
        (1000, None, &[1001]),
        (10, Some("/none/"), &[100, 100, 200]),
        (99, Some("/none/"), &[100, 100, 200]),
        (100, Some("/none/"), &[101, 101, 202]),
        (150, Some("/none/"), &[151, 151]),
    ] {
        let mut request = ListUsersRequest::new().max_items(MaxItems::new(size).unwrap());
        if let Some(prefix) = prefix {
            request = request.path_prefix(prefix.parse().unwrap());
        }
        iam.list_users_page(&request).unwrap();
        assert_eq!(limits(), expected, "{size} users, {prefix:?}");
    }
}
