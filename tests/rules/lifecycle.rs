//! The life cycle of credentials and users without errors, rule by rule.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    AccountId, AuthenticationError, Authenticator, Clock, CreateOptions, Credential, CredentialId,
    CredentialKind, CredentialManager, DenialReason, Error, ErrorCode, Identity, IssuedCredential,
    Lifetime, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Numbering, Policy, ServiceName,
    Status, UserName,
    testing::{FixedClock, SeededEntropy},
};
use time::{Duration, OffsetDateTime};

use crate::common::{ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, dawn, manager, name};

type Manager = CredentialManager<MemoryStore>;

const MILLISECOND: Duration = Duration::milliseconds(1);

/// A manager with `policy`, its clock, and a user.
fn anika(policy: Policy) -> (Manager, Arc<FixedClock>, UserName) {
    let (iam, clock) = manager(MemoryStore::new(), policy);
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    (iam, clock, anika)
}

fn codecommit() -> ServiceName {
    name(CODECOMMIT)
}

fn bedrock() -> ServiceName {
    name(BEDROCK)
}

fn create(iam: &Manager, user: &str) -> IssuedCredential {
    iam.create(&name(user), &codecommit()).unwrap()
}

/// The part of the user's next service user name before `-at-`.
fn next_name(iam: &Manager, user: &str) -> String {
    let issued = create(iam, user);
    issued.service_user_name().as_str().strip_suffix("-at-123456789012").unwrap().to_owned()
}

/// The id of the credential that the secret authenticates, or the reason of the denial.
fn open(iam: &Manager, issued: &IssuedCredential) -> Result<CredentialId, DenialReason> {
    let (service, secret) = (issued.credential().service(), issued.secret().expose());
    let response = match issued.kind() {
        CredentialKind::Password => {
            iam.authenticate(service, issued.service_user_name().as_str(), secret)
        }
        CredentialKind::ApiKey => iam.authenticate_api_key(service, secret),
    };
    response.map(|identity| identity.credential().id().clone()).map_err(rejection)
}

fn rejection(error: AuthenticationError) -> DenialReason {
    match error {
        AuthenticationError::Denied(rejection) => rejection.reason(),
        AuthenticationError::Unavailable(error) => unreachable!("{error}"),
    }
}

fn opens(iam: &Manager, issued: &IssuedCredential) -> bool {
    open(iam, issued).is_ok_and(|id| id == *issued.id())
}

fn days(days: u32) -> Lifetime {
    Lifetime::days(days).unwrap()
}

fn ids(credentials: &[Credential]) -> Vec<&CredentialId> {
    credentials.iter().map(Credential::id).collect()
}

#[test]
fn the_documented_sample_is_reproduced() {
    let (iam, _, _) = anika(Policy::default());
    let issued = iam.create(&name("Anika"), &name("CodeCommit.amazonaws.com")).unwrap();
    let credential = issued.credential();
    assert_eq!(credential.service_user_name().as_str(), "anika+1-at-123456789012");
    assert_eq!(credential.user_name().as_str(), "anika");
    assert_eq!(credential.service().as_str(), "codecommit.amazonaws.com");
    assert_eq!(credential.status(), Status::Active);
    assert_eq!(credential.kind(), CredentialKind::Password);
    assert_eq!(credential.created(), dawn());
    assert_eq!(credential.expires(), None);
    let password = issued.secret().expose();
    assert!(password.len() == 44 && password.ends_with('='));
    assert_eq!(STANDARD.decode(password).unwrap().len(), 32);
    assert!(credential.id().as_str().len() == 21 && credential.id().as_str().starts_with("ACCA"));

    let identity = iam.authenticate(&codecommit(), "anika+1-at-123456789012", password).unwrap();
    assert_eq!(identity.credential(), *credential);
    assert_eq!(identity.account().to_string(), ACCOUNT);
    assert_eq!(identity.user_name().as_str(), "anika");
    assert_eq!(identity.user_id(), iam.user(&name("anika")).unwrap().id());
}

#[test]
fn recorded_passwords_have_60_characters() {
    let (iam, _, _) = anika(Policy::recorded());
    let issued = create(&iam, "anika");
    assert_eq!(issued.secret().expose().len(), 60);
    assert_eq!(issued.service_user_name().as_str(), "anika-at-123456789012");
}

#[test]
fn service_user_names_are_case_insensitive_and_passwords_case_sensitive() {
    let (iam, _, _) = anika(Policy::default());
    let issued = create(&iam, "anika");
    let password = issued.secret().expose();
    let open = |name: &str, password: &str| {
        iam.authenticate(&codecommit(), name, password).map(drop).map_err(rejection)
    };
    assert_eq!(open("ANIKA+1-AT-123456789012", password), Ok(()));
    let loud = password.to_ascii_uppercase();
    assert_eq!(open("anika+1-at-123456789012", &loud), Err(DenialReason::WrongSecret));
}

#[test]
fn the_lowest_free_number_is_taken() {
    let policy = |numbering| {
        Policy::builder().numbering(numbering).credentials_per_service(3).build().unwrap()
    };
    for (numbering, [first, second, third]) in [
        (Numbering::FromOne, ["anika+1", "anika+2", "anika+3"]),
        (Numbering::BareFirst, ["anika", "anika+1", "anika+2"]),
    ] {
        let (iam, _, anika) = anika(policy(numbering));
        for expected in [first, second, third] {
            assert_eq!(next_name(&iam, "anika"), expected);
        }
        let delete = |number: &str| {
            let listed = iam.list(&anika).unwrap();
            let named = |held: &&Credential| {
                held.service_user_name().as_str().starts_with(&format!("{number}-"))
            };
            iam.delete(&anika, listed.iter().find(named).unwrap().id()).unwrap();
        };
        for gone in [second, first, third] {
            delete(gone);
            assert_eq!(next_name(&iam, "anika"), gone);
        }
        for gone in [first, second, third] {
            delete(gone);
        }
        assert_eq!(next_name(&iam, "anika"), first);
    }
}

#[test]
fn names_are_numbered_anew_for_each_service() {
    let (iam, _, anika) = anika(Policy::default());
    for service in [CODECOMMIT, CASSANDRA, BEDROCK] {
        let names = [(); 2]
            .map(|()| iam.create(&anika, &name(service)).unwrap().service_user_name().to_string());
        assert_eq!(names, ["anika+1-at-123456789012", "anika+2-at-123456789012"]);
    }
    assert_eq!(iam.list(&anika).unwrap().len(), 6);
}

#[test]
fn a_password_authenticates_at_one_service_only() {
    let (iam, _, anika) = anika(Policy::default());
    let issued = create(&iam, "anika");
    let other = iam.create(&anika, &name(CASSANDRA)).unwrap();
    assert_eq!(issued.service_user_name(), other.service_user_name());
    let password = issued.secret().expose();
    let rejected =
        iam.authenticate(&name(CASSANDRA), issued.service_user_name().as_str(), password);
    assert_eq!(rejection(rejected.unwrap_err()), DenialReason::WrongSecret);
    iam.delete(&anika, other.id()).unwrap();
    let rejected =
        iam.authenticate(&name(CASSANDRA), issued.service_user_name().as_str(), password);
    assert_eq!(rejection(rejected.unwrap_err()), DenialReason::UnknownName);
}

#[test]
fn a_renamed_user_keeps_its_service_user_names_and_a_new_user_gets_the_next() {
    for (policy, [old, next, own]) in
        [(Policy::default(), ["a+1", "a+2", "b+1"]), (Policy::recorded(), ["a", "a+1", "b"])]
    {
        let (iam, _) = manager(MemoryStore::new(), policy);
        let a = iam.register_user(&name("a")).unwrap();
        let issued = create(&iam, "a");
        assert_eq!(issued.service_user_name().as_str(), format!("{old}-at-123456789012"));
        let b = iam.rename_user(&name("a"), &name("b")).unwrap();
        assert_eq!((b.id(), b.created()), (a.id(), a.created()));
        assert_eq!(iam.user(&name("a")).unwrap_err().code(), ErrorCode::NoSuchEntity);

        let [listed] = &iam.list(&name("b")).unwrap()[..] else { unreachable!() };
        assert_eq!(
            (listed.service_user_name(), listed.id()),
            (issued.service_user_name(), issued.id())
        );
        assert_eq!(listed.user_name().as_str(), "b");
        assert!(opens(&iam, &issued));

        let other = iam.register_user(&name("a")).unwrap();
        assert_ne!(other.id(), a.id());
        assert_eq!(next_name(&iam, "a"), next);
        assert_eq!(next_name(&iam, "b"), own);
        let identity = iam.authenticate(
            &codecommit(),
            issued.service_user_name().as_str(),
            issued.secret().expose(),
        );
        assert_eq!(identity.unwrap().user_id(), a.id());

        iam.delete(&name("b"), issued.id()).unwrap();
        assert_eq!(next_name(&iam, "a"), old, "free again");
    }
}

#[test]
fn a_taken_name_is_skipped_regardless_of_its_user_and_spelling() {
    let (iam, _) = manager(MemoryStore::new(), Policy::recorded());
    for user in ["a", "a+1", "Anika"] {
        iam.register_user(&name(user)).unwrap();
    }
    // `a+1`'s first name and `a`'s second name are the same text.
    let names = ["a", "a", "a+1"].map(|user| next_name(&iam, user));
    assert_eq!(names, ["a", "a+1", "a+1+1"]);

    assert_eq!(next_name(&iam, "anika"), "Anika");
    iam.rename_user(&name("anika"), &name("b")).unwrap();
    iam.register_user(&name("anika")).unwrap();
    assert_eq!(next_name(&iam, "ANIKA"), "anika+1");
    assert_eq!(next_name(&iam, "anika"), "anika+2");
}

#[test]
fn the_second_user_with_the_same_text_gets_the_next_number() {
    let (iam, _) = manager(MemoryStore::new(), Policy::recorded());
    for user in ["a", "a+1"] {
        iam.register_user(&name(user)).unwrap();
    }
    let names = ["a+1", "a+1", "a", "a"].map(|user| next_name(&iam, user));
    assert_eq!(names, ["a+1", "a+1+1", "a", "a+2"]);
}

#[test]
fn several_names_of_other_users_are_skipped() {
    let (iam, _) = manager(MemoryStore::new(), Policy::default());
    for former in 0..3 {
        iam.register_user(&name("a")).unwrap();
        let names = [(); 2].map(|()| next_name(&iam, "a"));
        assert_eq!(names, [1, 2].map(|number| format!("a+{}", 2 * former + number)));
        iam.rename_user(&name("a"), &name(&format!("former{former}"))).unwrap();
    }
}

#[test]
fn a_user_can_be_respelled() {
    let (iam, _, anika) = anika(Policy::default());
    let issued = create(&iam, "anika");
    let before = iam.user(&anika).unwrap();
    let after = iam.rename_user(&anika, &name("ANIKA")).unwrap();
    assert_eq!((after.id(), after.name().as_str()), (before.id(), "ANIKA"));
    let again = iam.rename_user(&anika, &name("ANIKA")).unwrap();
    assert_eq!(again.name().as_str(), "ANIKA");
    let listed = iam.list(&anika).unwrap();
    assert_eq!(listed.first().unwrap().user_name().as_str(), "ANIKA");
    assert_eq!(listed.first().unwrap().service_user_name().as_str(), "anika+1-at-123456789012");
    assert!(opens(&iam, &issued));
    assert_eq!(next_name(&iam, "anika"), "ANIKA+2");
    let users =
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items;
    assert_eq!(users, [iam.user(&anika).unwrap()]);
}

#[test]
fn a_credential_expires_at_the_exact_millisecond() {
    for age in [1, 90, 36_600] {
        let (iam, clock, anika) = anika(Policy::default());
        let password = iam
            .create_with_options(&anika, &codecommit(), &CreateOptions::new().lifetime(days(age)))
            .unwrap();
        let key = iam
            .create_with_options(&anika, &bedrock(), &CreateOptions::new().lifetime(days(age)))
            .unwrap();
        let instant = dawn() + Duration::seconds(86_400) * age;
        for issued in [&password, &key] {
            assert_eq!(issued.credential().expires(), Some(instant));
        }
        let read = || iam.list(&anika).unwrap().iter().map(Credential::status).collect::<Vec<_>>();

        clock.set(instant - MILLISECOND);
        assert_eq!(read(), [Status::Active; 2]);
        assert!(opens(&iam, &password) && opens(&iam, &key));
        let identity = iam.authenticate_api_key(&bedrock(), key.secret().expose()).unwrap();
        for later in [Duration::ZERO, MILLISECOND, Duration::days(100)] {
            clock.set(instant + later);
            assert_eq!(read(), [Status::Expired; 2]);
            for issued in [&password, &key] {
                assert_eq!(open(&iam, issued), Err(DenialReason::Expired));
            }
        }
        assert_eq!(
            identity.credential().status(),
            Status::Active,
            "an identity keeps the status from its authentication"
        );
    }
}

#[test]
fn dates_are_truncated_to_milliseconds_before_anything_is_computed() {
    #[derive(Debug)]
    struct Fine;
    impl Clock for Fine {
        fn now(&self) -> OffsetDateTime {
            dawn() + Duration::nanoseconds(999_999)
        }
    }
    let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
        .clock(Fine)
        .entropy(SeededEntropy::new(7))
        .build();
    assert_eq!(iam.register_user(&name("anika")).unwrap().created(), dawn());
    let issued = iam
        .create_with_options(&name("anika"), &codecommit(), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    assert_eq!(issued.credential().created(), dawn());
    assert_eq!(issued.credential().expires(), Some(dawn() + Duration::DAY));
}

#[test]
fn expired_and_inactive_credentials_count_towards_the_limit() {
    let (iam, clock, anika) = anika(Policy::default());
    let expiring = iam
        .create_with_options(&anika, &codecommit(), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    let inactive = create(&iam, "anika");
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    clock.advance(Duration::days(2));
    let third = || iam.create(&anika, &codecommit()).map(drop).map_err(|error| error.code());
    assert_eq!(third(), Err(ErrorCode::LimitExceeded));
    iam.delete(&anika, expiring.id()).unwrap();
    assert_eq!(third(), Ok(()));
    assert_eq!(third(), Err(ErrorCode::LimitExceeded));
    iam.delete(&anika, inactive.id()).unwrap();
    assert_eq!(third(), Ok(()));
}

#[test]
fn an_inactive_credential_that_expires_reads_expired() {
    let (iam, clock, anika) = anika(Policy::default());
    let issued = iam
        .create_with_options(&anika, &codecommit(), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    iam.set_status(&anika, issued.id(), Status::Inactive).unwrap();
    clock.advance(Duration::DAY);
    assert_eq!(iam.list(&anika).unwrap().first().unwrap().status(), Status::Expired);
    assert_eq!(open(&iam, &issued), Err(DenialReason::Expired));
}

#[test]
fn a_clock_that_steps_back_is_tolerated() {
    let (iam, clock, anika) = anika(Policy::default());
    let issued = iam
        .create_with_options(&anika, &codecommit(), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    clock.advance(Duration::DAY);
    assert_eq!(open(&iam, &issued), Err(DenialReason::Expired));
    clock.advance(-Duration::days(2));
    assert!(opens(&iam, &issued), "expiry depends on the clock at the call");
    let earlier = create(&iam, "anika");
    assert_eq!(ids(&iam.list(&anika).unwrap()), [earlier.id(), issued.id()]);
    let renewed = iam.reset(&anika, issued.id()).unwrap();
    assert_eq!(renewed.credential(), issued.credential());
}

#[test]
fn credentials_are_listed_by_creation_then_by_id() {
    let policy = Policy::builder().credentials_per_service(10).build().unwrap();
    let (iam, clock, anika) = anika(policy);
    let mut made = Vec::new();
    for step in [0, 0, 0, 5, 5, -1] {
        clock.set(dawn() + MILLISECOND * step);
        for service in [codecommit(), bedrock()] {
            made.push(iam.create(&anika, &service).unwrap().into_parts().0);
        }
    }
    made.sort_by_key(|credential| (credential.created(), credential.id().clone()));
    assert_eq!(iam.list(&anika).unwrap(), made);
    let request = ListRequest::of(anika.clone());
    assert_eq!(iam.list_page(&request).unwrap().items, made);
    made.retain(|credential| *credential.service() == bedrock());
    assert_eq!(iam.list_for_service(&anika, &bedrock()).unwrap(), made);
    assert_eq!(iam.list_page(&request.service(bedrock())).unwrap().items, made);
}

#[test]
fn a_user_without_credentials_has_an_empty_list() {
    let (iam, _, anika) = anika(Policy::default());
    assert_eq!(iam.list(&anika).unwrap(), []);
    assert_eq!(iam.list_for_service(&anika, &codecommit()).unwrap(), []);
    for request in [ListRequest::of(anika), ListRequest::all_users()] {
        let page = iam.list_page(&request).unwrap();
        assert_eq!((page.items, page.next), (vec![], None));
    }
}

#[test]
fn all_users_are_listed_by_folded_name() {
    let (iam, _) = manager(MemoryStore::new(), Policy::default());
    for user in ["b", "_x", "C", "a", "B+1"] {
        iam.register_user(&name(user)).unwrap();
        let _issued = create(&iam, user);
    }
    let page = iam.list_page(&ListRequest::all_users()).unwrap();
    let users: Vec<_> = page.items.iter().map(|held| held.user_name().as_str()).collect();
    assert_eq!(users, ["_x", "a", "b", "B+1", "C"]);
    let users =
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items;
    let users: Vec<_> = users.iter().map(|user| user.name().as_str()).collect();
    assert_eq!(users, ["_x", "a", "b", "B+1", "C"]);
}

/// Everything but the date of the secret.
fn without_date(credential: &Credential) -> serde_json::Value {
    let mut value = serde_json::to_value(credential).unwrap();
    value.as_object_mut().unwrap().remove("secret_changed").unwrap();
    value
}

#[test]
fn the_date_of_a_secret_is_that_of_the_last_reset_and_never_an_earlier_one() {
    let (iam, clock, anika) = anika(Policy::default());
    let issued = create(&iam, "anika");
    let created = issued.credential().created();
    assert_eq!(issued.credential().secret_changed(), created);
    let reset = |by: Duration| {
        clock.advance(by);
        let renewed = iam.reset(&anika, issued.id()).unwrap();
        assert_eq!(iam.list(&anika).unwrap(), [renewed.credential().clone()]);
        assert_eq!(renewed.credential().created(), created);
        renewed.credential().secret_changed() - created
    };
    assert_eq!(reset(Duration::HOUR), Duration::HOUR);
    assert_eq!(reset(Duration::HOUR), 2 * Duration::HOUR);
    // The clock steps back, to before the creation.
    assert_eq!(reset(-3 * Duration::HOUR), 2 * Duration::HOUR);
    assert_eq!(reset(4 * Duration::HOUR), 3 * Duration::HOUR);
}

#[test]
fn a_reset_changes_the_secret_and_its_date_and_nothing_else() {
    let (iam, clock, anika) = anika(Policy::default());
    for service in [codecommit(), bedrock()] {
        for status in [Status::Active, Status::Inactive] {
            let issued = iam
                .create_with_options(&anika, &service, &CreateOptions::new().lifetime(days(30)))
                .unwrap();
            iam.set_status(&anika, issued.id(), status).unwrap();
            let before = iam.list(&anika).unwrap();
            clock.advance(Duration::HOUR);
            let renewed = iam.reset(&anika, issued.id()).unwrap();
            let after = iam.list(&anika).unwrap();
            assert!(after.contains(renewed.credential()));
            for (before, after) in before.iter().zip(&after) {
                let was_reset = after.id() == issued.id();
                let later = if was_reset { Duration::HOUR } else { Duration::ZERO };
                assert_eq!(after.secret_changed(), before.secret_changed() + later, "{status}");
                assert_eq!(without_date(after), without_date(before), "{status}");
            }
            assert_eq!(renewed.credential().status(), status);
            assert_ne!(renewed.secret().expose(), issued.secret().expose());
            assert_eq!(open(&iam, &issued), Err(DenialReason::WrongSecret));
            iam.set_status(&anika, issued.id(), Status::Active).unwrap();
            assert_eq!(open(&iam, &issued), Err(DenialReason::WrongSecret));
            assert!(opens(&iam, &renewed));
        }
    }
}

#[test]
fn an_inactive_credential_does_not_authenticate() {
    let (iam, _, anika) = anika(Policy::default());
    for issued in [create(&iam, "anika"), iam.create(&anika, &bedrock()).unwrap()] {
        let other = iam.create(&anika, issued.credential().service()).unwrap();
        for (status, expected) in [
            (Status::Active, Ok(issued.id().clone())),
            (Status::Inactive, Err(DenialReason::Inactive)),
            (Status::Inactive, Err(DenialReason::Inactive)),
            (Status::Active, Ok(issued.id().clone())),
            (Status::Active, Ok(issued.id().clone())),
        ] {
            iam.set_status(&name("ANIKA"), issued.id(), status).unwrap();
            assert_eq!(open(&iam, &issued), expected);
            assert!(opens(&iam, &other));
        }
    }
}

#[test]
fn a_deleted_credential_no_longer_exists() {
    let (iam, _, anika) = anika(Policy::default());
    let [gone, other] = [(); 2].map(|()| create(&iam, "anika"));
    iam.delete(&anika, gone.id()).unwrap();
    assert_eq!(open(&iam, &gone), Err(DenialReason::UnknownName));
    assert_eq!(ids(&iam.list(&anika).unwrap()), [other.id()]);
    let successor = create(&iam, "anika");
    assert_eq!(successor.service_user_name(), gone.service_user_name());
    assert_ne!(successor.id(), gone.id());
    assert_eq!(open(&iam, &gone), Err(DenialReason::WrongSecret));
}

#[test]
fn an_api_key_is_a_prefix_and_the_encoded_alias_and_password() {
    let (iam, _, anika) = anika(Policy::default());
    for (service, prefix) in [
        (BEDROCK, "ABSK"),
        ("logs.amazonaws.com", "ACWL"),
        ("cloudwatch.amazonaws.com", "APIAACWM"),
        ("aws-external-anthropic.amazonaws.com", "AEAA"),
    ] {
        let key = iam.create(&anika, &name(service)).unwrap();
        assert_eq!(key.kind(), CredentialKind::ApiKey);
        let encoded = key.secret().expose().strip_prefix(prefix).unwrap();
        let inner = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        let (alias, password) = inner.split_once(':').unwrap();
        assert_eq!((alias, password.len()), ("anika+1-at-123456789012", 44));
        assert_eq!(alias, key.service_user_name().as_str());
        let identity = iam.authenticate_api_key(&name(service), key.secret().expose()).unwrap();
        assert_eq!(identity.credential(), *key.credential());
    }
}

#[test]
fn an_api_key_authenticates_by_its_whole_secret_only() {
    let (iam, _, anika) = anika(Policy::default());
    let key = iam.create(&anika, &bedrock()).unwrap();
    let secret = key.secret().expose();
    let encoded = secret.strip_prefix("ABSK").unwrap();
    let inner = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    let (alias, password) = inner.split_once(':').unwrap();
    for presented in [password, secret, encoded, &inner] {
        let rejected = iam.authenticate(&bedrock(), alias, presented).unwrap_err();
        assert_eq!(rejection(rejected), DenialReason::UnsupportedService);
    }
    let wrapped = |inner: &str| format!("ABSK{}", STANDARD.encode(inner));
    let loud = wrapped(&inner.replacen("anika", "ANIKA", 1));
    let twice = format!("ABSK{secret}");
    let padded = format!("{secret} ");
    let unpadded = secret.trim_end_matches('=');
    for (presented, expected) in [
        (encoded, DenialReason::UnknownName),
        (password, DenialReason::UnknownName),
        (&inner, DenialReason::UnknownName),
        ("", DenialReason::UnknownName),
        ("ABSK", DenialReason::UnknownName),
        (&twice, DenialReason::UnknownName),
        (&wrapped(&format!("anika+2-at-{ACCOUNT}:{password}")), DenialReason::UnknownName),
        (&wrapped(&format!("{alias}:")), DenialReason::WrongSecret),
        (&wrapped(&format!("{alias}:{password}x")), DenialReason::WrongSecret),
        (&loud, DenialReason::WrongSecret),
        (&padded, DenialReason::UnknownName),
        (unpadded, DenialReason::UnknownName),
    ] {
        let rejected = iam.authenticate_api_key(&bedrock(), presented).unwrap_err();
        assert_eq!(rejection(rejected), expected, "{presented}");
    }
    let rejected = iam.authenticate_api_key(&name("logs.amazonaws.com"), secret).unwrap_err();
    assert_eq!(rejection(rejected), DenialReason::UnknownName, "another prefix");
}

#[test]
fn a_password_wrapped_as_an_api_key_is_denied() {
    let (iam, _, _) = anika(Policy::default());
    let issued = create(&iam, "anika");
    let inner =
        STANDARD.encode(format!("{}:{}", issued.service_user_name(), issued.secret().expose()));
    let rejections = [codecommit(), bedrock()].map(|service| {
        rejection(iam.authenticate_api_key(&service, &format!("ABSK{inner}")).unwrap_err())
    });
    assert_eq!(rejections, [DenialReason::UnsupportedService, DenialReason::UnknownName]);
}

#[test]
fn the_longest_names_and_secrets_of_a_policy_work() {
    let policy = Policy::builder()
        .api_key_service(bedrock(), "P".repeat(32))
        .password_bytes(96)
        .build()
        .unwrap();
    let (iam, _) = manager(MemoryStore::new(), policy);
    let longest: UserName = name(&"x".repeat(UserName::MAX_LENGTH));
    iam.register_user(&longest).unwrap();
    for (service, length) in [(codecommit(), 128), (bedrock(), 32 + 284)] {
        for issued in [(); 2].map(|()| iam.create(&longest, &service).unwrap()) {
            assert_eq!(issued.service_user_name().as_str().len(), 82);
            assert_eq!(issued.secret().expose().len(), length);
            assert!(opens(&iam, &issued));
        }
    }
}

#[test]
fn a_user_is_registered_once_and_keeps_the_spelling() {
    let (iam, clock) = manager(MemoryStore::new(), Policy::default());
    let anika = iam.register_user(&name("Anika")).unwrap();
    assert_eq!((anika.name().as_str(), anika.created()), ("Anika", dawn()));
    assert_eq!(anika.account(), iam.account());
    clock.advance(Duration::DAY);
    assert_eq!(iam.user(&name("aNIKA")).unwrap(), anika);
    assert_eq!(
        iam.register_user(&name("anika")).unwrap_err().code(),
        ErrorCode::EntityAlreadyExists
    );
    assert_eq!(iam.user(&name("anika")).unwrap(), anika);
}

#[test]
fn ensure_user_registers_a_missing_user_and_changes_no_existing_one() {
    let (iam, clock) = manager(MemoryStore::new(), Policy::default());
    let anika = iam.ensure_user(&name("Anika")).unwrap();
    let issued = create(&iam, "anika");
    clock.advance(Duration::DAY);
    let ensured = iam.ensure_user(&name("ANIKA")).unwrap();
    assert_eq!((&ensured, ensured.name().as_str()), (&anika, "Anika"));
    assert!(opens(&iam, &issued));
}

#[test]
fn remove_user_rejects_a_user_with_credentials() {
    let (iam, clock, anika) = anika(Policy::default());
    let issued = iam
        .create_with_options(&anika, &codecommit(), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    assert!(matches!(iam.remove_user(&anika), Err(Error::UserHasCredentials { .. })));
    clock.advance(Duration::DAY);
    assert!(
        matches!(iam.remove_user(&anika), Err(Error::UserHasCredentials { .. })),
        "expired counts"
    );
    iam.delete(&anika, issued.id()).unwrap();
    iam.remove_user(&name("ANIKA")).unwrap();
    assert!(matches!(iam.user(&anika), Err(Error::NoSuchUser { .. })));
    assert_eq!(
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items,
        []
    );
}

#[test]
fn remove_user_with_credentials_removes_both() {
    let (iam, _, anika) = anika(Policy::default());
    let other = iam.register_user(&name("bo")).unwrap();
    let [password, inactive, kept] = ["anika", "anika", "bo"].map(|user| create(&iam, user));
    let key = iam.create(&anika, &bedrock()).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let held = iam.list(&anika).unwrap();
    let gone = iam.user(&anika).unwrap();
    assert_eq!(iam.remove_user_with_credentials(&anika).unwrap(), held);
    for issued in [&password, &inactive, &key] {
        assert_eq!(open(&iam, issued), Err(DenialReason::UnknownName));
    }
    assert_eq!(
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items,
        [other]
    );
    assert!(opens(&iam, &kept));

    let successor = iam.register_user(&anika).unwrap();
    assert_ne!(successor.id(), gone.id());
    assert_eq!(iam.list(&anika).unwrap(), []);
    assert_eq!(
        create(&iam, "anika").service_user_name(),
        password.service_user_name(),
        "names are used again"
    );
    assert_eq!(open(&iam, &password), Err(DenialReason::WrongSecret), "passwords are never reused");
    assert_eq!(iam.remove_user_with_credentials(&name("bo")).unwrap().len(), 1);
    iam.register_user(&name("bo")).unwrap();
    assert_eq!(iam.remove_user_with_credentials(&name("bo")).unwrap(), []);
}

#[test]
fn an_authenticator_authenticates_all_accounts() {
    let store = Arc::new(MemoryStore::new());
    let (one, clock) = manager(Arc::clone(&store), Policy::default());
    let two = one.for_account(name("000000000001"));
    let doors =
        [one.authenticator(), Authenticator::new(store, Policy::default(), Arc::clone(&clock))];
    let anika = name("anika");
    for iam in [&one, &two] {
        let user = iam.register_user(&anika).unwrap();
        let password = iam.create(&anika, &codecommit()).unwrap();
        let key = iam.create(&anika, &bedrock()).unwrap();
        assert_eq!(password.service_user_name().as_str(), format!("anika+1-at-{}", iam.account()));
        for authenticator in &doors {
            let [by_password, by_key] = [
                authenticator.authenticate(
                    &codecommit(),
                    password.service_user_name().as_str(),
                    password.secret().expose(),
                ),
                authenticator.authenticate_api_key(&bedrock(), key.secret().expose()),
            ]
            .map(Result::unwrap);
            for identity in [&by_password, &by_key] {
                assert_eq!((identity.account(), identity.user_id()), (iam.account(), user.id()));
            }
            assert_eq!(by_password.credential(), *password.credential());
            assert_eq!(by_key.credential(), *key.credential());
        }
    }
    let issued = one.reset(&anika, one.list(&anika).unwrap().first().unwrap().id()).unwrap();
    for presented in ["anika+1-at-000000000001", "anika+1-at-999999999999", "anika+1", "", "-"] {
        for authenticator in &doors {
            let rejected =
                authenticator.authenticate(&codecommit(), presented, issued.secret().expose());
            let reason = rejection(rejected.unwrap_err());
            let known = presented == "anika+1-at-000000000001";
            let expected =
                if known { DenialReason::WrongSecret } else { DenialReason::UnknownName };
            assert_eq!(reason, expected, "{presented}");
        }
    }
}

#[test]
fn accounts_are_isolated() {
    let (one, _, anika) = anika(Policy::default());
    let two = one.for_account(name::<AccountId>("000000000001"));
    let issued = create(&one, "anika");
    let rejected = two.authenticate(
        &codecommit(),
        issued.service_user_name().as_str(),
        issued.secret().expose(),
    );
    assert_eq!(rejection(rejected.unwrap_err()), DenialReason::UnknownName);
    assert!(matches!(two.list(&anika), Err(Error::NoSuchUser { .. })));
    two.register_user(&anika).unwrap();
    assert!(matches!(two.delete(&anika, issued.id()), Err(Error::NoSuchCredential { .. })));
    assert_eq!(two.list_page(&ListRequest::all_users()).unwrap().items, []);
    assert!(opens(&one, &issued));
}

#[test]
fn clones_share_one_store() {
    let (iam, _, anika) = anika(Policy::default());
    let issued = create(&iam.clone(), "anika");
    assert!(opens(&iam, &issued));
    assert_eq!(ids(&iam.clone().list(&anika).unwrap()), [issued.id()]);
}

#[test]
fn a_recheck_fails_once_the_credential_no_longer_authenticates() {
    let (iam, clock, anika) = anika(Policy::default());
    let cassandra = name(CASSANDRA);
    let authenticator = iam.authenticator();
    // With every front end that can recheck, twice in a row, because a recheck also returns an
    // identity.
    let recheck = |earlier: &Identity| {
        let once = iam.recheck(earlier);
        let rechecked =
            [once.and_then(|again| iam.recheck(&again)), authenticator.recheck(earlier)];
        let [first, second] = rechecked.map(|result| result.map_err(rejection));
        let of = |identity: &Identity| (identity.user_id(), identity.credential_id().clone());
        assert_eq!(first.as_ref().map(of), second.as_ref().map(of));
        first.map(|identity| identity.user_name().to_string())
    };
    let log_in = |issued: &IssuedCredential| {
        let (service, secret) = (issued.credential().service(), issued.secret().expose());
        match issued.kind() {
            CredentialKind::Password => {
                iam.authenticate(service, issued.service_user_name().as_str(), secret)
            }
            CredentialKind::ApiKey => iam.authenticate_api_key(service, secret),
        }
        .unwrap()
    };

    for service in [&cassandra, &bedrock()] {
        let issued = iam
            .create_with_options(&anika, service, &CreateOptions::new().lifetime(days(1)))
            .unwrap();
        let other = iam.create(&anika, service).unwrap();
        let (connected, other) = (log_in(&issued), log_in(&other));
        assert_eq!(recheck(&connected), Ok("anika".to_owned()));

        iam.set_status(&anika, issued.id(), Status::Inactive).unwrap();
        assert_eq!(recheck(&connected), Err(DenialReason::Inactive));
        iam.set_status(&anika, issued.id(), Status::Active).unwrap();
        iam.rename_user(&anika, &name("bo")).unwrap();
        assert_eq!(recheck(&connected), Ok("bo".to_owned()));
        iam.rename_user(&name("bo"), &anika).unwrap();

        let reset = iam.reset(&anika, issued.id()).unwrap();
        assert_eq!(recheck(&connected), Err(DenialReason::WrongSecret));
        let connected = log_in(&reset);
        assert_eq!(recheck(&connected), Ok("anika".to_owned()));

        clock.advance(Duration::DAY - MILLISECOND);
        assert_eq!(recheck(&connected), Ok("anika".to_owned()));
        clock.advance(MILLISECOND);
        assert_eq!(recheck(&connected), Err(DenialReason::Expired));

        iam.delete(&anika, issued.id()).unwrap();
        assert_eq!(recheck(&connected), Err(DenialReason::UnknownName));
        // Another credential takes the service user name, and is not the one that authenticated.
        let next = iam.create(&anika, service).unwrap();
        assert_eq!(next.service_user_name(), issued.service_user_name());
        assert_eq!(recheck(&connected), Err(DenialReason::UnknownName));
        assert_eq!(recheck(&other), Ok("anika".to_owned()));

        iam.remove_user_with_credentials(&anika).unwrap();
        iam.register_user(&anika).unwrap();
        assert_eq!(recheck(&other), Err(DenialReason::UnknownName));
    }
}

#[test]
fn a_recheck_respects_the_account_and_the_policy_of_its_manager() {
    let store = Arc::new(MemoryStore::new());
    let (iam, _) = manager(Arc::clone(&store), Policy::default());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let issued = iam.create(&anika, &codecommit()).unwrap();
    let (alias, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let connected = iam.authenticate(&codecommit(), alias, password).unwrap();
    let elsewhere = iam.for_account(name("000000000001"));
    elsewhere.register_user(&anika).unwrap();
    let foreign = elsewhere.recheck(&connected);
    assert_eq!(rejection(foreign.unwrap_err()), DenialReason::UnknownName);

    let without = Policy::builder().without_service(&codecommit()).build().unwrap();
    let without = CredentialManager::builder(iam.account(), store).policy(without).build();
    let unsupported = without.recheck(&connected);
    assert_eq!(rejection(unsupported.unwrap_err()), DenialReason::UnsupportedService);
}
