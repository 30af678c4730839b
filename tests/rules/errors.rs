//! Errors: their messages, their order, and that a failed operation changes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use service_specific_credentials::{
    AccountId, AuthenticationError, Constraint, CreateOptions, CredentialId, CredentialKind,
    CredentialManager, DenialReason, Entropy, EntropyError, Error, IssuedCredential, Lifetime,
    ListRequest, ListUsersRequest, Marker, MaxItems, MemoryStore, Policy, ServiceName, Status,
    Tags, UserName,
    store::{CommitOutcome, Store, StoreError},
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

use crate::common::{
    ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, HookAction, HookedStore, StoreCall, dawn, manager,
    name,
};

/// A manager and everything it issued.
///
/// `anika` has an active and an inactive credential at CodeCommit, an expired one at Cassandra and
/// an API key. `bo` has one credential, `carl` none. `anika` of another account has one.
struct World<S> {
    iam: CredentialManager<S>,
    active: IssuedCredential,
    inactive: IssuedCredential,
    expired: IssuedCredential,
    key: IssuedCredential,
    of_bo: IssuedCredential,
    of_another_account: IssuedCredential,
}

impl<S: Store> World<S> {
    fn new(store: S) -> Self {
        let (iam, clock) = manager(store, Policy::default());
        Self::populate(iam, &clock)
    }

    fn populate(iam: CredentialManager<S>, clock: &FixedClock) -> Self {
        let [anika, bo, carl] = ["anika", "bo", "carl"].map(name);
        for user in [&anika, &bo, &carl] {
            iam.register_user(user).unwrap();
        }
        let day = Lifetime::days(1).unwrap();
        let expired = iam
            .create_with_options(&anika, &name(CASSANDRA), &CreateOptions::new().lifetime(day))
            .unwrap();
        clock.advance(Duration::DAY);
        let create = |user: &UserName, service: &str| iam.create(user, &name(service)).unwrap();
        let inactive = create(&anika, CODECOMMIT);
        iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
        let other = iam.for_account(name("000000000001"));
        other.register_user(&anika).unwrap();
        Self {
            active: create(&anika, CODECOMMIT),
            inactive,
            expired,
            key: create(&anika, BEDROCK),
            of_bo: create(&bo, CODECOMMIT),
            of_another_account: other.create(&anika, &name(CODECOMMIT)).unwrap(),
            iam,
        }
    }

    /// The observable state of a store: users, credentials, and which secrets authenticate.
    fn dump(&self) -> String {
        let Self { active, inactive, expired, key, of_bo, of_another_account, .. } = self;
        let mut dump = Vec::new();
        for account in [ACCOUNT, "000000000001"] {
            let iam = self.iam.for_account(name(account));
            let users = iam
                .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                .unwrap();
            let all = ListRequest::all_users();
            dump.push(format!("{users:?} {:?}", iam.list_page(&all).unwrap()));
            for user in users.items {
                dump.push(format!("{:?}", iam.list(user.name()).unwrap()));
            }
            for issued in [active, inactive, expired, key, of_bo, of_another_account] {
                let (service, secret) = (issued.credential().service(), issued.secret().expose());
                dump.push(match issued.kind() {
                    CredentialKind::Password => {
                        format!(
                            "{:?}",
                            iam.authenticate(service, issued.service_user_name().as_str(), secret)
                        )
                    }
                    CredentialKind::ApiKey => {
                        format!("{:?}", iam.authenticate_api_key(service, secret))
                    }
                });
            }
        }
        dump.join("\n")
    }
}

/// Checks the error of an operation, and that it changed nothing.
macro_rules! rejected {
    ($world:expr, $result:expr, $variant:pat, $status:literal $code:literal, $message:expr) => {{
        let before = $world.dump();
        let error: Error = $result.map(drop).unwrap_err();
        assert!(matches!(error, $variant), "{error:?} is no {}", stringify!($variant));
        assert_eq!((error.code().http_status(), error.code().as_str()), ($status, $code));
        assert_eq!(error.code().to_string(), $code);
        assert_eq!(error.to_string(), $message);
        assert_eq!($world.dump(), before, "{error}");
    }};
}

const MISSING_ID: &str = "ACCA12345ABCDEXAMPLE";

fn git() -> ServiceName {
    name("git.example.com")
}

fn codecommit() -> ServiceName {
    name(CODECOMMIT)
}

fn users() -> [UserName; 3] {
    ["Anika", "bo", "nobody"].map(name)
}

#[test]
fn the_dump_shows_every_change() {
    let world = World::new(MemoryStore::new());
    let [anika, bo, nobody] = users();
    let mut last = world.dump();
    let mut check = |done: Result<(), Error>| {
        done.unwrap();
        let dump = world.dump();
        assert_ne!(std::mem::replace(&mut last, dump.clone()), dump);
    };
    check(world.iam.reset(&anika, world.active.id()).map(drop));
    check(world.iam.reset(&anika, world.key.id()).map(drop));
    check(world.iam.set_status(&bo, world.of_bo.id(), Status::Inactive));
    check(world.iam.delete(&anika, world.expired.id()));
    check(world.iam.register_user(&nobody).map(drop));
    check(world.iam.rename_user(&nobody, &name("Nobody")).map(drop));
    check(world.iam.remove_user(&nobody));
}

#[test]
fn every_operation_rejects_a_missing_user() {
    let world = World::new(MemoryStore::new());
    let (iam, [_, bo, nobody]) = (&world.iam, users());
    let (id, missing) = (world.active.id(), &name(MISSING_ID));
    let age = Lifetime::days(1).unwrap();
    let request = || ListRequest::of(nobody.clone());
    let results = [
        iam.create(&nobody, &codecommit()).map(drop),
        iam.create_with_options(&nobody, &codecommit(), &CreateOptions::new().lifetime(age))
            .map(drop),
        iam.reset(&nobody, id).map(drop),
        iam.set_status(&nobody, id, Status::Inactive),
        iam.delete(&nobody, id),
        iam.list(&nobody).map(drop),
        iam.list_for_service(&nobody, &codecommit()).map(drop),
        iam.list_page(&request()).map(drop),
        iam.user(&nobody).map(drop),
        iam.rename_user(&nobody, &name("somebody")).map(drop),
        iam.remove_user(&nobody),
        iam.remove_user_with_credentials(&nobody).map(drop),
        // The missing user is reported before any other error.
        iam.create(&nobody, &git()).map(drop),
        iam.list_for_service(&nobody, &git()).map(drop),
        iam.list_page(&request().service(git())).map(drop),
        iam.list_page(&request().marker(name::<Marker>("forged"))).map(drop),
        iam.reset(&nobody, missing).map(drop),
        iam.set_status(&nobody, missing, Status::Expired),
        iam.delete(&nobody, missing),
        iam.rename_user(&nobody, &bo).map(drop),
    ];
    for result in results {
        rejected!(world, result, Error::NoSuchUser { .. }, 404 "NoSuchEntity",
            "The user with name nobody cannot be found.");
    }
}

#[test]
fn an_unsupported_service_is_rejected() {
    let world = World::new(MemoryStore::new());
    let (iam, [anika, ..]) = (&world.iam, users());
    let one = ListRequest::of(anika.clone()).service(git());
    let all = ListRequest::all_users().service(git());
    for result in [
        iam.create(&anika, &git()).map(drop),
        iam.create_with_options(
            &anika,
            &git(),
            &CreateOptions::new().lifetime(Lifetime::days(1).unwrap()),
        )
        .map(drop),
        iam.list_for_service(&anika, &git()).map(drop),
        iam.list_page(&one).map(drop),
        iam.list_page(&all).map(drop),
        // The service is reported before the marker.
        iam.list_page(&one.clone().marker(name::<Marker>("forged"))).map(drop),
        iam.list_page(&all.clone().marker(name::<Marker>("forged"))).map(drop),
    ] {
        rejected!(world, result, Error::ServiceNotSupported { .. }, 404 "NotSupportedService",
            "No such service git.example.com is supported for Service Specific Credentials");
    }
}

#[test]
fn a_missing_credential_is_rejected() {
    let world = World::new(MemoryStore::new());
    let (iam, [anika, ..]) = (&world.iam, users());
    let lower = name(&world.active.id().as_str().to_ascii_lowercase());
    let elsewhere = world.of_another_account.id();
    for id in [&name::<CredentialId>(MISSING_ID), &lower, elsewhere] {
        for result in [
            iam.reset(&anika, id).map(drop),
            iam.set_status(&anika, id, Status::Active),
            iam.delete(&anika, id),
            // The credential is reported before the status.
            iam.set_status(&anika, id, Status::Expired),
        ] {
            rejected!(world, result, Error::NoSuchCredential { .. }, 404 "NoSuchEntity",
                format!("No such credential {id} exists"));
        }
    }
}

#[test]
fn a_credential_of_another_user_is_rejected() {
    let world = World::new(MemoryStore::new());
    let (iam, [_, bo, _]) = (&world.iam, users());
    for id in [world.active.id(), world.expired.id(), world.key.id()] {
        for result in [
            iam.reset(&bo, id).map(drop),
            iam.set_status(&bo, id, Status::Active),
            iam.delete(&bo, id),
            iam.set_status(&bo, id, Status::Expired),
        ] {
            rejected!(world, result, Error::CredentialOfAnotherUser { .. }, 404 "NoSuchEntity",
                format!("User bo does not have a service specific credential with id {id}"));
        }
    }
}

#[test]
fn a_third_credential_exceeds_the_limit() {
    let world = World::new(MemoryStore::new());
    let (iam, [anika, ..]) = (&world.iam, users());
    for _ in 0..2 {
        rejected!(world, iam.create(&anika, &codecommit()), Error::LimitExceeded { .. },
            409 "LimitExceeded",
            "user anika has reached the limit of 2 credentials at codecommit.amazonaws.com");
    }
    let _key = iam.create(&anika, &name(BEDROCK)).unwrap();
    rejected!(world, iam.create(&anika, &name(BEDROCK)), Error::LimitExceeded { limit: 2, .. },
        409 "LimitExceeded",
        "user anika has reached the limit of 2 credentials at bedrock.amazonaws.com");
}

#[test]
fn the_status_expired_cannot_be_set() {
    let world = World::new(MemoryStore::new());
    let (iam, [anika, ..]) = (&world.iam, users());
    // Reported even before the expiry of the credential.
    for issued in [&world.active, &world.inactive, &world.expired, &world.key] {
        rejected!(world, iam.set_status(&anika, issued.id(), Status::Expired),
            Error::StatusNotSettable { .. }, 400 "InvalidInput",
            "Operation does not support status Expired");
    }
}

#[test]
fn an_expired_credential_can_neither_be_set_nor_reset() {
    let world = World::new(MemoryStore::new());
    let (iam, [anika, ..], id) = (&world.iam, users(), world.expired.id());
    for result in [
        iam.set_status(&anika, id, Status::Active),
        iam.set_status(&anika, id, Status::Inactive),
        iam.reset(&anika, id).map(drop),
    ] {
        rejected!(world, result, Error::CredentialExpired { .. }, 400 "InvalidInput",
            format!("the credential {id} of user anika at cassandra.amazonaws.com has expired and \
                     can only be deleted"));
    }
    iam.delete(&anika, id).unwrap();
}

#[test]
fn the_error_of_a_marker_of_another_query_is_invalid_marker() {
    let world = World::new(MemoryStore::new());
    let [anika, bo, _] = users();
    let one = MaxItems::new(1).unwrap();
    let (of_anika, of_all) = (ListRequest::of(anika).max_items(one), ListRequest::all_users());
    let next =
        |request: &ListRequest| -> Marker { world.iam.list_page(request).unwrap().next.unwrap() };
    let marker = next(&of_anika);
    let users =
        world.iam.list_users_page(&ListUsersRequest::new().max_items(one)).unwrap().next.unwrap();
    let all = next(&of_all.clone().max_items(one));
    let damaged: Marker =
        name(&marker.as_str().replacen(marker.as_str().get(..2).unwrap(), "AA", 1));
    let age = Lifetime::days(1).unwrap();
    let other = world.iam.for_account(name("000000000001"));
    for result in [
        world.iam.list_page(&of_anika.clone().marker(name::<Marker>("forged"))),
        world.iam.list_page(&of_anika.clone().marker(name::<Marker>(" é "))),
        world.iam.list_page(&of_anika.clone().marker(damaged)),
        world.iam.list_page(&of_anika.clone().marker(users.clone())),
        world.iam.list_page(&of_anika.clone().marker(all.clone())),
        world.iam.list_page(&of_anika.clone().service(codecommit()).marker(marker.clone())),
        world.iam.list_page(&of_anika.clone().older_than(age).marker(marker.clone())),
        world.iam.list_page(&ListRequest::of(bo).marker(marker.clone())),
        world.iam.list_page(&of_all.clone().marker(marker.clone())),
        other.list_page(&of_anika.clone().marker(marker.clone())),
        other.list_page(&of_all.marker(all)),
    ] {
        rejected!(world, result, Error::MarkerMismatch, 400 "ValidationError",
            "the marker belongs to another listing, or is not a marker");
    }
    for result in [
        world.iam.list_users_page(&ListUsersRequest::new().marker(marker.clone()).max_items(one)),
        world.iam.list_users_page(
            &ListUsersRequest::new().marker(name::<Marker>("forged")).max_items(one),
        ),
        other.list_users_page(&ListUsersRequest::new().marker(users.clone()).max_items(one)),
    ] {
        rejected!(world, result, Error::MarkerMismatch, 400 "ValidationError",
            "the marker belongs to another listing, or is not a marker");
    }
    // The same query, with another spelling and page size.
    let again = ListRequest::of(name("ANIKA")).marker(marker);
    assert_eq!(world.iam.list_page(&again).unwrap().items.len(), 3);
}

#[test]
fn a_user_with_credentials_cannot_be_removed() {
    let world = World::new(MemoryStore::new());
    let [anika, bo, _] = users();
    for user in [&anika, &bo] {
        rejected!(world, world.iam.remove_user(user), Error::UserHasCredentials { .. },
            409 "DeleteConflict",
            format!("user {} still has credentials", user.as_str().to_ascii_lowercase()));
    }
}

#[test]
fn a_taken_name_is_rejected() {
    let world = World::new(MemoryStore::new());
    let [anika, bo, _] = users();
    for result in [
        world.iam.register_user(&anika),
        world.iam.rename_user(&bo, &anika),
        world.iam.rename_user(&name("carl"), &anika),
    ] {
        rejected!(world, result, Error::UserExists { .. }, 409 "EntityAlreadyExists",
            "User with name Anika already exists.");
    }
}

#[test]
fn an_invalid_value_is_a_validation_error_that_names_the_parameter() {
    fn error<T>(invalid: Result<T, impl Into<Error>>) -> Error {
        invalid.map(drop).map_err(Into::into).unwrap_err()
    }
    for (error, parameter, constraint, message) in [
        (
            error("".parse::<UserName>()),
            "userName",
            Constraint::MinLength(1),
            "user name must have length greater than or equal to 1",
        ),
        (
            error("a b".parse::<ServiceName>()),
            "serviceName",
            Constraint::Pattern("[a-zA-Z0-9.-]*"),
            "service name must satisfy regular expression pattern: [a-zA-Z0-9.-]*",
        ),
        (
            error("ACCA".parse::<CredentialId>()),
            "serviceSpecificCredentialId",
            Constraint::MinLength(20),
            "credential id must have length greater than or equal to 20",
        ),
        (
            error("Gone".parse::<Status>()),
            "status",
            Constraint::EnumValueSet,
            "status must satisfy enum value set",
        ),
        (
            error(Lifetime::days(36_601)),
            "credentialAgeDays",
            Constraint::MaxValue(36_600),
            "credential age in days must have value less than or equal to 36600",
        ),
        (
            error("\n".parse::<Marker>()),
            "marker",
            Constraint::Pattern(r"[\u0020-\u00FF]+"),
            r"marker must satisfy regular expression pattern: [\u0020-\u00FF]+",
        ),
        (
            error(MaxItems::new(0)),
            "maxItems",
            Constraint::MinValue(1),
            "number of items must have value greater than or equal to 1",
        ),
        (
            error("1".parse::<AccountId>()),
            "accountId",
            Constraint::MinLength(12),
            "account id must have length greater than or equal to 12",
        ),
    ] {
        assert_eq!((error.code().as_str(), error.code().http_status()), ("ValidationError", 400));
        assert_eq!(error.to_string(), message);
        let Error::InvalidParameter(invalid) = error else { unreachable!("{error:?}") };
        assert_eq!((invalid.name(), invalid.constraint()), (parameter, constraint));
    }
}

#[test]
fn all_denials_have_one_message_and_distinct_reasons() {
    let world = World::new(MemoryStore::new());
    let before = world.dump();
    let (iam, long) = (&world.iam, "a".repeat(513));
    let most = "a".repeat(512);
    let bytes = "é".repeat(257);
    let secret = |issued: &IssuedCredential| issued.secret().expose().to_owned();
    let (active, inactive, expired) =
        (secret(&world.active), secret(&world.inactive), secret(&world.expired));
    let (cut, more) = (active.get(1..).unwrap(), format!("{active}="));
    let known = world.active.service_user_name().as_str();
    let mut reasons = Vec::new();
    for (service, name_, presented, expected) in [
        (CODECOMMIT, &*long, &*active, DenialReason::TooLong),
        (CODECOMMIT, known, &long, DenialReason::TooLong),
        (CODECOMMIT, &bytes, &active, DenialReason::TooLong),
        ("git.example.com", known, &long, DenialReason::TooLong),
        (CODECOMMIT, known, &most, DenialReason::WrongSecret),
        (CODECOMMIT, &most, &most, DenialReason::UnknownName),
        ("git.example.com", known, &active, DenialReason::UnsupportedService),
        (BEDROCK, known, &active, DenialReason::UnsupportedService),
        (CODECOMMIT, "nobody", &active, DenialReason::UnknownName),
        (CODECOMMIT, "anika", &active, DenialReason::UnknownName),
        (CODECOMMIT, "", "", DenialReason::UnknownName),
        (CODECOMMIT, "é\0\n", "é\0\n", DenialReason::UnknownName),
        (CODECOMMIT, &format!("{known}\n"), &active, DenialReason::UnknownName),
        (CODECOMMIT, &format!(" {known}"), &active, DenialReason::UnknownName),
        (CODECOMMIT, "anika+1-at-000000000001", &active, DenialReason::UnknownName),
        (CODECOMMIT, known, "", DenialReason::WrongSecret),
        (CODECOMMIT, known, cut, DenialReason::WrongSecret),
        (CODECOMMIT, known, &more, DenialReason::WrongSecret),
        (CODECOMMIT, known, &inactive, DenialReason::WrongSecret),
        (CODECOMMIT, known, &secret(&world.of_bo), DenialReason::WrongSecret),
        (
            CODECOMMIT,
            world.inactive.service_user_name().as_str(),
            &inactive,
            DenialReason::Inactive,
        ),
        (
            CODECOMMIT,
            world.inactive.service_user_name().as_str(),
            &active,
            DenialReason::WrongSecret,
        ),
        (CASSANDRA, world.expired.service_user_name().as_str(), &expired, DenialReason::Expired),
        (CASSANDRA, world.expired.service_user_name().as_str(), &active, DenialReason::WrongSecret),
    ] {
        let response = iam.authenticate(&name(service), name_, presented).map(drop);
        reasons.push((response, expected));
    }
    for (service, presented, expected) in [
        (BEDROCK, &*long, DenialReason::TooLong),
        (BEDROCK, &most, DenialReason::UnknownName),
        ("git.example.com", "", DenialReason::UnsupportedService),
        (CODECOMMIT, world.key.secret().expose(), DenialReason::UnsupportedService),
        (BEDROCK, "ABSK", DenialReason::UnknownName),
        (BEDROCK, &format!("{}=", world.key.secret().expose()), DenialReason::UnknownName),
    ] {
        reasons.push((iam.authenticate_api_key(&name(service), presented).map(drop), expected));
    }
    for (response, expected) in reasons {
        let error = response.unwrap_err();
        let AuthenticationError::Denied(rejection) = &error else { unreachable!("{error}") };
        assert_eq!(rejection.reason(), expected);
        assert_eq!(error.to_string(), "the credential is not valid for this service");
        assert_eq!(rejection.to_string(), error.to_string());
        assert!(std::error::Error::source(&error).is_none());
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn a_reason_is_one_word() {
    let words = [
        DenialReason::TooLong,
        DenialReason::UnsupportedService,
        DenialReason::UnknownName,
        DenialReason::WrongSecret,
        DenialReason::Inactive,
        DenialReason::Expired,
    ]
    .map(|reason| reason.to_string());
    let expected =
        ["too-long", "unsupported-service", "unknown-name", "wrong-secret", "inactive", "expired"];
    assert_eq!(words, expected);
}

/// An operation that makes a change, and the credential that an unknown outcome names.
type Operation<S> = (&'static str, fn(&World<S>) -> Result<(), Error>, Named);

#[derive(Clone, Copy, PartialEq)]
enum Named {
    Nothing,
    New,
    Active,
}

fn tags() -> Tags {
    Tags::from_pairs([("team", "a")]).unwrap()
}

fn changes<S: Store>() -> [Operation<S>; 14] {
    [
        ("create", |it| it.iam.create(&name("bo"), &codecommit()).map(drop), Named::New),
        ("create key", |it| it.iam.create(&name("bo"), &name(BEDROCK)).map(drop), Named::New),
        ("reset", |it| it.iam.reset(&name("anika"), it.active.id()).map(drop), Named::Active),
        (
            "set_status",
            |it| it.iam.set_status(&name("anika"), it.active.id(), Status::Inactive),
            Named::Active,
        ),
        ("delete", |it| it.iam.delete(&name("anika"), it.active.id()), Named::Active),
        ("register", |it| it.iam.register_user(&name("dora")).map(drop), Named::Nothing),
        ("ensure", |it| it.iam.ensure_user(&name("dora")).map(drop), Named::Nothing),
        ("rename", |it| it.iam.rename_user(&name("bo"), &name("bob")).map(drop), Named::Nothing),
        ("remove", |it| it.iam.remove_user(&name("carl")), Named::Nothing),
        (
            "remove with credentials",
            |it| it.iam.remove_user_with_credentials(&name("anika")).map(drop),
            Named::Nothing,
        ),
        ("disable", |it| it.iam.disable(it.active.id()).map(drop), Named::Active),
        ("disable all", |it| it.iam.disable_all(&name("anika")).map(drop), Named::Nothing),
        ("tag user", |it| it.iam.tag_user(&name("anika"), &tags()).map(drop), Named::Nothing),
        (
            "tag credential",
            |it| it.iam.tag_credential(&name("anika"), it.active.id(), &tags()).map(drop),
            Named::Active,
        ),
    ]
}

/// Controls the behaviour of a store during a test.
struct Behaviour {
    find: HookAction,
    commit: HookAction,
    scan: HookAction,
    /// The number of commits before `commit` applies.
    commits: usize,
}

const NORMAL: Behaviour = Behaviour {
    find: HookAction::Proceed,
    commit: HookAction::Proceed,
    scan: HookAction::Proceed,
    commits: usize::MAX,
};

/// A world on a controlled store, and a function that controls the store and returns the number of
/// commits since.
fn controlled() -> (World<impl Store>, impl Fn(Behaviour) -> usize) {
    let state = Arc::new(std::sync::Mutex::new((NORMAL, 0_usize)));
    let orders = Arc::clone(&state);
    let store = HookedStore::new(move |asked: StoreCall<'_>| {
        let (orders, asked_for) = &mut *orders.lock().unwrap();
        match asked {
            StoreCall::Find => orders.find,
            StoreCall::Scan(_) => orders.scan,
            StoreCall::Commit(_) => {
                *asked_for += 1;
                if *asked_for > orders.commits { HookAction::Proceed } else { orders.commit }
            }
        }
    });
    let order = move |orders| std::mem::replace(&mut *state.lock().unwrap(), (orders, 0)).1;
    (World::new(store), order)
}

#[test]
fn a_failed_read_is_a_store_error_and_changes_nothing() {
    let (world, order) = controlled();
    let before = world.dump();
    for (what, operation, _) in changes() {
        order(Behaviour { find: HookAction::Fail, ..NORMAL });
        let error = operation(&world).unwrap_err();
        order(NORMAL);
        assert!(matches!(error, Error::Store(_)), "{what}: {error:?}");
        assert_eq!(world.dump(), before, "{what}");
    }
    let [anika, ..] = users();
    let all = ListRequest::all_users();
    let broken = || order(Behaviour { find: HookAction::Fail, scan: HookAction::Fail, ..NORMAL });
    broken();
    for error in [
        world.iam.list(&anika).map(drop).unwrap_err(),
        world.iam.list_for_service(&anika, &codecommit()).map(drop).unwrap_err(),
        world.iam.list_page(&ListRequest::of(anika.clone())).map(drop).unwrap_err(),
        world.iam.list_page(&all).map(drop).unwrap_err(),
        world.iam.user(&anika).map(drop).unwrap_err(),
        world
            .iam
            .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
            .map(drop)
            .unwrap_err(),
        world.iam.list_for_service(&anika, &git()).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Store(_)), "{error:?}");
        assert_eq!((error.code().as_str(), error.code().http_status()), ("ServiceFailure", 500));
        assert_eq!(error.to_string(), "the store failed", "not what the store says");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "the disk is on fire");
        assert!(source.downcast_ref::<StoreError>().is_some());
    }
    order(NORMAL);
    assert_eq!(world.dump(), before);
}

#[test]
fn a_failing_store_is_unavailable_not_a_denial() {
    let (world, order) = controlled();
    order(Behaviour { find: HookAction::Fail, ..NORMAL });
    let (known, authenticator) =
        (world.active.service_user_name().as_str(), world.iam.authenticator());
    let right = world.active.secret().expose();
    for response in [
        world.iam.authenticate(&codecommit(), known, right),
        world.iam.authenticate(&codecommit(), known, "wrong"),
        world.iam.authenticate(&codecommit(), "unknown-at-123456789012", "wrong"),
        world.iam.authenticate_api_key(&name(BEDROCK), world.key.secret().expose()),
        authenticator.authenticate(&codecommit(), known, right),
        authenticator.authenticate_api_key(&name(BEDROCK), world.key.secret().expose()),
    ] {
        let error = response.map(drop).unwrap_err();
        assert!(matches!(error, AuthenticationError::Unavailable(_)), "{error:?}");
        assert_eq!(error.to_string(), "the store failed");
    }
    // Text that cannot be a service user name is denied without the store.
    let rejected = world.iam.authenticate(&codecommit(), "unknown", "wrong").unwrap_err();
    assert!(matches!(rejected, AuthenticationError::Denied(_)), "{rejected:?}");
}

#[test]
fn a_failed_commit_is_an_unknown_outcome_that_names_the_credential() {
    for does in [HookAction::Fail, HookAction::FailAfterwards] {
        for (what, operation, named) in changes() {
            let (world, order) = controlled();
            let before = world.dump();
            order(Behaviour { commit: does, ..NORMAL });
            let error = operation(&world).unwrap_err();
            assert_eq!(order(NORMAL), 1, "{what} must not be retried");
            assert_eq!(error.code().http_status(), 500);
            assert_eq!(error.to_string(), "the store failed, and the outcome is unknown");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(source, "the disk is on fire");
            let Error::OutcomeUnknown { credential, .. } = error else { unreachable!("{error:?}") };
            let id = credential.map(|credential| credential.id().clone());
            assert_eq!(world.dump() == before, does == HookAction::Fail, "{what}");
            match named {
                Named::Nothing => assert_eq!(id, None, "{what}"),
                Named::Active => assert_eq!(id.as_ref(), Some(world.active.id()), "{what}"),
                Named::New => {
                    // Exactly that credential can be deleted, if it exists.
                    let deleted = world.iam.delete(&name("bo"), &id.unwrap());
                    match does {
                        HookAction::Fail => {
                            assert!(matches!(deleted, Err(Error::NoSuchCredential { .. })));
                        }
                        _ => deleted.unwrap(),
                    }
                    assert_eq!(world.dump(), before, "{what}");
                }
            }
        }
    }
}

#[test]
fn an_operation_fails_after_64_conflicting_commits() {
    for response in [CommitOutcome::Stale, CommitOutcome::KeyTaken] {
        for (what, operation, _) in changes() {
            // `KeyTaken` for a rename means that another user has the name, so it is not retried.
            if (what, response) == ("rename", CommitOutcome::KeyTaken) {
                continue;
            }
            let (world, order) = controlled();
            let before = world.dump();
            order(Behaviour { commit: HookAction::Return(response), ..NORMAL });
            let error = operation(&world).unwrap_err();
            assert_eq!(order(NORMAL), 64, "{what}");
            assert!(matches!(error, Error::Contended { .. }), "{what}: {error:?}");
            assert_eq!(error.code().as_str(), "ConcurrentModification");
            assert_eq!(error.code().http_status(), 409);
            assert_eq!(world.dump(), before, "{what}");

            order(Behaviour { commit: HookAction::Return(response), commits: 63, ..NORMAL });
            operation(&world).unwrap();
            assert_eq!(order(NORMAL), 64, "{what}");
            assert_ne!(world.dump(), before, "{what}");
        }
    }
}

#[test]
fn a_rename_to_a_name_taken_during_the_call_is_rejected() {
    let (world, order) = controlled();
    order(Behaviour { commit: HookAction::Return(CommitOutcome::KeyTaken), ..NORMAL });
    let renamed = world.iam.rename_user(&name("bo"), &name("bob"));
    assert_eq!(order(NORMAL), 1);
    rejected!(world, renamed, Error::UserExists { .. }, 409 "EntityAlreadyExists",
        "User with name bob already exists.");
}

/// Entropy that fails at one fill, counted down from the given number.
#[derive(Debug)]
struct FailsAtFill(SeededEntropy, AtomicUsize);

impl Entropy for FailsAtFill {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self.1.fetch_sub(1, SeqCst) {
            1 => Err(EntropyError::new("drained")),
            _ => self.0.fill(bytes),
        }
    }
}

#[test]
fn failing_entropy_is_an_error_and_changes_nothing() {
    let clock = Arc::new(FixedClock::new(dawn()));
    let entropy = Arc::new(FailsAtFill(SeededEntropy::new(7), AtomicUsize::new(usize::MAX)));
    let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
        .clock(Arc::clone(&clock))
        .entropy(Arc::clone(&entropy))
        .build();
    let world = World::populate(iam, &clock);
    // The next name of the new `bo` is another user's.
    world.iam.rename_user(&name("bo"), &name("former")).unwrap();
    world.iam.register_user(&name("bo")).unwrap();
    // An id and a password at once, also where a name is taken.
    for ((what, operation, _), fills) in changes().into_iter().zip([1, 1, 1, 0, 0, 1, 0, 0, 0, 0]) {
        let before = world.dump();
        for failing in 1..=fills {
            entropy.1.store(failing, SeqCst);
            let error = operation(&world).unwrap_err();
            assert!(matches!(error, Error::Entropy(_)), "{what} {failing}: {error:?}");
            assert_eq!(error.code().as_str(), "ServiceFailure");
            assert_eq!(error.to_string(), "the entropy source failed");
            assert_eq!(world.dump(), before, "{what} {failing}");
        }
        entropy.1.store(fills + 1, SeqCst);
        operation(&world).unwrap();
        assert_eq!(entropy.1.load(SeqCst), 1, "{what} draws more");
    }
}
