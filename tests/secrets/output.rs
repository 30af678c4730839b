//! No secret, and no part of one, is printed or serialized.

use std::{
    error::Error as StdError,
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Response, header::AUTHORIZATION};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use redb::backends::InMemoryBackend;
use service_specific_credentials::{
    AuthenticationError, Authenticator, CreateOptions, CredentialManager, Entropy, EntropyError,
    Error, Lifetime, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Policy, RngEntropy,
    ServiceName, Status, SystemClock, SystemEntropy, Tags, UserName,
    http::{Credentials, DecodeBuffer, HttpAuthenticator},
    store::{CommitOutcome, CopyUsers, Key, RedbOptions, Store, StoreError},
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

use crate::hunt::Hunt;

use crate::common::{BEDROCK, CASSANDRA, CODECOMMIT, HookAction, HookedStore, StoreCall, name};

/// Appends every `Debug` form of a value.
fn append_debug(transcript: &mut String, value: &impl Debug) {
    writeln!(transcript, "{value:?}\n{value:#?}").unwrap();
}

fn append_error(transcript: &mut String, error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(transcript, "{error}\n{error:?}\n{error:#?}").unwrap();
        // It prints its causes, and therefore has no source.
        next = match error.downcast_ref::<StoreError>() {
            Some(error) => Some(error.get_ref()),
            None => error.source(),
        };
    }
}

fn manager<S: Store>(store: S) -> (CredentialManager<S>, Arc<FixedClock>) {
    crate::common::manager(store, Policy::default())
}

fn codecommit() -> ServiceName {
    name(CODECOMMIT)
}

fn bedrock() -> ServiceName {
    name(BEDROCK)
}

#[test]
fn the_search_finds_secrets_in_every_form() {
    let (iam, _) = manager(MemoryStore::new());
    iam.register_user(&name("anika")).unwrap();
    let issued = iam.create(&name("anika"), &codecommit()).unwrap();
    let mut hunt = Hunt::default();
    hunt.add(issued.secret());
    let secret = issued.secret().expose();
    for part in [0..44, 0..8, 10..18, 36..44].map(|part| secret.get(part).unwrap()) {
        assert!(hunt.found_in(part) && hunt.found_in(&format!("password=\"{part}\".")));
    }
    assert!(hunt.found_in(&format!("Secret({secret:?})")));
    let bytes = secret.as_bytes();
    assert!(hunt.found_in(&format!("{bytes:?}")) && hunt.found_in(&format!("{bytes:#?}")));
    let digits =
        bytes.iter().fold(String::from("'\\x"), |text, byte| text + &format!("{byte:02x}"));
    for text in [&digits, &digits.to_uppercase(), &digits.replace('x', "0"), &digits[21..37]] {
        assert!(hunt.found_in(text), "{text}");
    }
    assert!(hunt.found_in(&secret.to_lowercase()) && hunt.found_in(&secret.to_uppercase()));
    assert!(!hunt.found_in(secret.get(..7).unwrap()) && !hunt.found_in(""));
    assert!(!hunt.found_in(&format!("{issued:?}")));
}

/// The headers of a request with one `Authorization` header.
fn authorization(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
}

/// Requests with a name and a password, and with a token: valid, wrong and malformed.
fn requests(name: &str, secret: &str) -> Vec<HeaderMap> {
    let basic = |pair: String| authorization(&format!("Basic {}", STANDARD.encode(pair)));
    let mut twice = basic(format!("{name}:{secret}"));
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    vec![
        basic(format!("{name}:{secret}")),
        basic(format!("{name}:{secret}x")),
        basic(format!("{secret}:{name}")),
        basic(format!("{name} {secret}")),
        basic(format!("{name}:{secret}\n")),
        basic(format!("{name}:{}", secret.repeat(20))),
        authorization(&format!("Basic {name}:{secret}")),
        authorization(&format!("Bearer {secret}")),
        authorization(&format!("Bearer {secret}x")),
        authorization(&format!("Bearer {name}:{secret}")),
        authorization(&format!("Token {secret}")),
        authorization(secret),
        twice,
    ]
}

/// A manager whose store records every change, and the record.
fn recording_manager() -> (CredentialManager<impl Store>, Arc<Mutex<String>>) {
    let notes = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&notes);
    let store = HookedStore::new(move |asked: StoreCall<'_>| {
        if let StoreCall::Commit(change) = asked {
            let mut notes = written.lock().unwrap();
            append_debug(&mut notes, change);
            append_debug(&mut notes, &change.previous());
            append_debug(&mut notes, &change.record());
            for key in change.claimed().chain(change.released()) {
                append_debug(&mut notes, &key);
            }
        }
        HookAction::Proceed
    });
    (manager(store).0, notes)
}

#[test]
fn no_type_prints_a_secret() {
    let (iam, notes) = recording_manager();
    let anika: UserName = name("anika");
    let mut read = String::new();
    append_debug(&mut read, &iam.register_user(&anika).unwrap());
    let password = iam.create(&anika, &codecommit()).unwrap();
    let key = iam.create(&anika, &bedrock()).unwrap();
    let renewed = iam.reset(&anika, password.id()).unwrap();
    let mut hunt = Hunt::default();
    for issued in [&password, &key, &renewed] {
        hunt.add(issued.secret());
        append_debug(&mut read, issued);
        append_debug(&mut read, issued.secret());
        append_debug(&mut read, issued.credential());
    }
    let door = iam.authenticator();
    let (alias, secret) = (password.service_user_name().as_str(), renewed.secret().expose());
    append_debug(&mut read, &iam.authenticate(&codecommit(), alias, secret).unwrap());
    append_debug(&mut read, &iam.authenticate_api_key(&bedrock(), key.secret().expose()).unwrap());
    append_debug(&mut read, &iam.authenticate(&codecommit(), alias, password.secret().expose()));
    append_debug(&mut read, &iam.authenticate(&codecommit(), secret, secret));
    append_debug(&mut read, &door.authenticate(&codecommit(), alias, secret));
    append_debug(&mut read, &door);
    append_debug(
        &mut read,
        &Authenticator::new(MemoryStore::new(), Policy::default(), SystemClock),
    );
    append_debug(&mut read, &iam);
    append_debug(&mut read, iam.store());
    append_debug(&mut read, &MemoryStore::new());
    append_debug(&mut read, iam.policy());
    append_debug(&mut read, &iam.list(&anika));
    append_debug(&mut read, &iam.list_page(&ListRequest::all_users()));
    append_debug(
        &mut read,
        &iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())),
    );
    append_debug(&mut read, &CredentialManager::builder(iam.account(), MemoryStore::new()));
    for (service, issued) in [(codecommit(), &renewed), (bedrock(), &key)] {
        let http = HttpAuthenticator::new(&iam, service).unwrap();
        append_debug(&mut read, &http);
        for headers in requests(alias, issued.secret().expose()) {
            let mut buffer = DecodeBuffer::new();
            append_debug(&mut read, &Credentials::parse(&headers, &mut buffer));
            append_debug(&mut read, &buffer);
            append_debug(&mut read, &http.authenticate(&headers));
        }
    }
    let (credential, secret) = renewed.into_parts();
    append_debug(&mut read, &(credential, secret));
    append_debug(&mut read, &iam.remove_user_with_credentials(&anika).unwrap());
    let notes = notes.lock().unwrap();
    assert!(notes.contains("UserRecord") && notes.contains('[') && notes.contains("Sha256(..)"));
    assert!(read.contains("[REDACTED]") && read.contains("ACCA"));
    assert!(!hunt.found_in(&read) && !hunt.found_in(&notes));
}

/// What the implementations of `Debug` that are written by hand show.
#[test]
fn debug_output_identifies_the_value() {
    let (iam, _) = manager(MemoryStore::new());
    let anika: UserName = name("anika");
    iam.register_user(&anika).unwrap();
    let issued = iam.create(&anika, &codecommit()).unwrap();
    let alias = issued.service_user_name().as_str();
    let identity = iam.authenticate(&codecommit(), alias, issued.secret().expose()).unwrap();
    let key = Key::User { account: iam.account(), name: &anika };
    let record = iam.store().find(&key).unwrap().unwrap();
    let id = issued.id();
    let tags = Tags::from_pairs([("team", "a"), ("room", "b")]).unwrap();
    let items = iam.credentials(ListRequest::all_users());
    let redb = RedbOptions::new().create_with_backend(|| Ok(InMemoryBackend::new())).unwrap();
    for (shown, expected) in [
        (format!("{:?}", iam.account()), "AccountId(123456789012)".to_owned()),
        (format!("{:?}", MemoryStore::new()), "MemoryStore { .. }".to_owned()),
        (format!("{tags:?}"), r#"{"room": "b", "team": "a"}"#.to_owned()),
        (format!("{identity:?}"), format!("credential: Credential {{ id: {id:?}")),
        (format!("{identity:?}"), format!("user_id: {:?}", identity.user_id())),
        (format!("{record:?}"), format!("name: {alias:?}")),
        (format!("{items:?}"), "Items { pager: Pager { manager: ".to_owned()),
        (format!("{items:?}"), "is_finished: false".to_owned()),
        (format!("{redb:?}"), "Connection { database: Some(Guarded(..))".to_owned()),
        (format!("{:?}", CopyUsers::new([iam.account()])), "CopyUsers { accounts: ".to_owned()),
    ] {
        assert!(shown.contains(&expected), "{shown}");
    }
}

#[test]
fn no_generator_prints_its_output() {
    assert_eq!(format!("{SystemEntropy:?}"), "SystemEntropy");
    assert_eq!(format!("{:?}", SeededEntropy::new(7)), "SeededEntropy(RngEntropy(..))");
    let rng = RngEntropy::new(ChaCha20Rng::seed_from_u64(7));
    assert_eq!(format!("{rng:?} {rng:#?}"), "RngEntropy(..) RngEntropy(..)");
}

/// Entropy that always fails.
#[derive(Debug)]
struct FailingEntropy;

impl Entropy for FailingEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("drained"))
    }
}

#[expect(clippy::too_many_lines, reason = "one error of each kind")]
#[test]
fn no_error_contains_a_secret() {
    let does = Arc::new(Mutex::new(HookAction::Proceed));
    let next = Arc::clone(&does);
    let store =
        HookedStore::new(move |asked: StoreCall<'_>| match (asked, *next.lock().unwrap()) {
            (StoreCall::Find | StoreCall::Scan(_), does) if does != HookAction::Fail => {
                HookAction::Proceed
            }
            (_, does) => does,
        });
    let (iam, clock) = manager(&store);
    let order = |order| *does.lock().unwrap() = order;
    let [anika, bo] = ["anika", "bo"].map(name::<UserName>);
    iam.register_user(&anika).unwrap();
    iam.register_user(&bo).unwrap();
    let password = iam.create(&anika, &codecommit()).unwrap();
    let inactive = iam.create(&anika, &codecommit()).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let key = iam.create(&anika, &bedrock()).unwrap();
    let day = Lifetime::days(1).unwrap();
    let expired = iam
        .create_with_options(&anika, &name(CASSANDRA), &CreateOptions::new().lifetime(day))
        .unwrap();
    clock.advance(Duration::DAY);
    let mut hunt = Hunt::default();
    let issued = [&password, &inactive, &key, &expired];
    for issued in &issued {
        hunt.add(issued.secret());
    }

    let git: ServiceName = name("git.example.com");
    let drained = CredentialManager::builder(iam.account(), &store).entropy(FailingEntropy).build();
    let mut errors: Vec<Error> = vec![
        iam.create(&anika, &codecommit()).map(drop).unwrap_err(),
        iam.create(&anika, &git).map(drop).unwrap_err(),
        iam.create(&name("nobody"), &git).map(drop).unwrap_err(),
        iam.reset(&bo, password.id()).map(drop).unwrap_err(),
        iam.reset(&bo, &name("ACCA12345ABCDEXAMPLE")).map(drop).unwrap_err(),
        iam.reset(&anika, expired.id()).map(drop).unwrap_err(),
        iam.set_status(&anika, key.id(), Status::Expired).unwrap_err(),
        iam.remove_user(&anika).unwrap_err(),
        iam.rename_user(&bo, &anika).map(drop).unwrap_err(),
        iam.list_page(&ListRequest::of(name("nobody"))).map(drop).unwrap_err(),
        drained.create(&bo, &codecommit()).map(drop).unwrap_err(),
    ];
    for does in
        [HookAction::Fail, HookAction::FailAfterwards, HookAction::Return(CommitOutcome::Stale)]
    {
        order(does);
        errors.push(iam.reset(&anika, key.id()).map(drop).unwrap_err());
        errors.push(iam.create(&bo, &codecommit()).map(drop).unwrap_err());
    }
    order(HookAction::Proceed);
    // A secret in the wrong field.
    for issued in issued {
        let secret = issued.secret().expose();
        errors.extend([
            secret.parse::<ServiceName>().unwrap_err().into(),
            format!("{secret}/").parse::<UserName>().unwrap_err().into(),
            secret.parse::<Status>().unwrap_err().into(),
        ]);
    }
    let mut read = String::new();
    for error in &errors {
        append_error(&mut read, error);
    }
    let mut errors: Vec<AuthenticationError> = Vec::new();
    for issued in issued {
        let (alias, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        for service in [&codecommit(), &bedrock(), &name(CASSANDRA), &git] {
            errors.extend([
                iam.authenticate(service, secret, secret).unwrap_err(),
                iam.authenticate(service, alias, &format!("{secret}x")).unwrap_err(),
                iam.authenticate(service, alias, &secret.repeat(20)).unwrap_err(),
                iam.authenticate_api_key(service, &format!("{secret}x")).unwrap_err(),
                iam.authenticator().authenticate(service, secret, secret).unwrap_err(),
            ]);
        }
    }
    errors.extend([
        iam.authenticate(
            &codecommit(),
            inactive.service_user_name().as_str(),
            inactive.secret().expose(),
        )
        .unwrap_err(),
        iam.authenticate(
            &name(CASSANDRA),
            expired.service_user_name().as_str(),
            expired.secret().expose(),
        )
        .unwrap_err(),
    ]);
    let mut responses = Vec::new();
    for does in [HookAction::Proceed, HookAction::Fail] {
        order(does);
        for issued in issued {
            for service in [codecommit(), bedrock(), name(CASSANDRA)] {
                let http = HttpAuthenticator::new(&iam, service).unwrap();
                for headers in
                    requests(issued.service_user_name().as_str(), issued.secret().expose())
                {
                    let Err(rejection) = http.authenticate(&headers) else { continue };
                    append_error(&mut read, &rejection);
                    append_error(&mut read, rejection.reason());
                    responses.push(Response::<String>::from(rejection));
                }
            }
        }
    }
    append_debug(&mut read, &responses);
    assert!(responses.iter().all(|response| !response.body().contains("fire")));
    order(HookAction::Fail);
    errors.push(
        iam.authenticate(
            &codecommit(),
            password.service_user_name().as_str(),
            password.secret().expose(),
        )
        .unwrap_err(),
    );
    for error in &errors {
        append_error(&mut read, error);
    }
    assert!(read.contains("drained") && read.contains("the disk is on fire"));
    assert!(!hunt.found_in(&read));
}

#[test]
fn no_serialized_value_contains_a_secret() {
    let (iam, _) = manager(MemoryStore::new());
    let anika: UserName = name("anika");
    iam.register_user(&anika).unwrap();
    let mut hunt = Hunt::default();
    let issued = [codecommit(), bedrock()].map(|service| iam.create(&anika, &service).unwrap());
    for issued in &issued {
        hunt.add(issued.secret());
    }
    let request = ListRequest::all_users().max_items(MaxItems::new(1).unwrap());
    let page = iam.list_page(&request).unwrap();
    let mut written = serde_json::to_string(&page.next.unwrap()).unwrap();
    written += &serde_json::to_string(&iam.list(&anika).unwrap()).unwrap();
    for issued in &issued {
        written += &serde_json::to_string(issued.credential()).unwrap();
        let (service, secret) = (issued.credential().service(), issued.secret().expose());
        let who = match iam.authenticate_api_key(service, secret) {
            Ok(who) => who,
            Err(_) => {
                iam.authenticate(service, issued.service_user_name().as_str(), secret).unwrap()
            }
        };
        written += &serde_json::to_string(&who.credential()).unwrap();
    }
    written += &serde_json::to_string(iam.policy()).unwrap();
    assert!(written.contains("anika+1-at-123456789012") && written.contains("ABSK"));
    assert!(!hunt.found_in(&written));
}

#[test]
fn a_credential_is_serialized_as_documented() {
    let (iam, _) = manager(MemoryStore::new());
    let anika: UserName = name("anika");
    iam.register_user(&anika).unwrap();
    let age = Lifetime::days(1).unwrap();
    for (issued, kind, service, expires) in [
        (iam.create(&anika, &codecommit()), "password", CODECOMMIT, None),
        (
            iam.create_with_options(&anika, &bedrock(), &CreateOptions::new().lifetime(age)),
            "api-key",
            BEDROCK,
            Some("2016-11-02T17:47:22.382Z"),
        ),
    ] {
        let issued = issued.unwrap();
        let written = serde_json::to_value(issued.credential()).unwrap();
        let expected = serde_json::json!({
            "id": issued.id(),
            "service": service,
            "user_name": "anika",
            "service_user_name": "anika+1-at-123456789012",
            "kind": kind,
            "status": "Active",
            "created": "2016-11-01T17:47:22.382Z",
            "expires": expires,
            "secret_changed": "2016-11-01T17:47:22.382Z",
        });
        assert_eq!(written, expected);
        let read: service_specific_credentials::Credential =
            serde_json::from_value(written).unwrap();
        assert_eq!(read, *issued.credential());
    }
}
