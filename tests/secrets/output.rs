//! No secret is ever printed or serialized: neither whole nor in part.

use std::{
    error::Error as StdError,
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Response, header::AUTHORIZATION};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AuthenticationError, Authenticator, CreateOptions, CredentialManager, Entropy, EntropyError,
    Error, Lifetime, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Policy, RngEntropy,
    ServiceName, Status, SystemClock, SystemEntropy, UserName,
    http::{Credentials, DecodeBuffer, HttpAuthenticator},
    store::{CommitOutcome, Store, StoreError},
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

use crate::hunt::Hunt;

use crate::common::{Asked, BEDROCK, CASSANDRA, CODECOMMIT, Does, Told, name};

/// Everything there is to read about a value.
fn debugged(transcript: &mut String, value: &impl Debug) {
    writeln!(transcript, "{value:?}\n{value:#?}").unwrap();
}

fn told(transcript: &mut String, error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(transcript, "{error}\n{error:?}\n{error:#?}").unwrap();
        // It prints its causes, and so names no source.
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
fn the_hunt_finds_what_it_is_for() {
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

/// The headers of a request with one `Authorization`.
fn authorization(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
}

/// A name and a password, and then a token, of a request; right, wrong and unreadable.
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

/// A manager whose store notes every change that it is asked for, and what it noted.
fn noting() -> (CredentialManager<impl Store>, Arc<Mutex<String>>) {
    let notes = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&notes);
    let store = Told::new(move |asked: Asked<'_>| {
        if let Asked::Commit(change) = asked {
            let mut notes = written.lock().unwrap();
            debugged(&mut notes, change);
            debugged(&mut notes, &change.previous());
            debugged(&mut notes, &change.record());
            for key in change.claimed().chain(change.released()) {
                debugged(&mut notes, &key);
            }
        }
        Does::What
    });
    (manager(store).0, notes)
}

#[test]
fn no_type_prints_a_secret() {
    let (iam, notes) = noting();
    let anika: UserName = name("anika");
    let mut read = String::new();
    debugged(&mut read, &iam.register_user(&anika).unwrap());
    let password = iam.create(&anika, &codecommit()).unwrap();
    let key = iam.create(&anika, &bedrock()).unwrap();
    let renewed = iam.reset(&anika, password.id()).unwrap();
    let mut hunt = Hunt::default();
    for issued in [&password, &key, &renewed] {
        hunt.add(issued.secret());
        debugged(&mut read, issued);
        debugged(&mut read, issued.secret());
        debugged(&mut read, issued.credential());
    }
    let door = iam.authenticator();
    let (alias, secret) = (password.service_user_name().as_str(), renewed.secret().expose());
    debugged(&mut read, &iam.authenticate(&codecommit(), alias, secret).unwrap());
    debugged(&mut read, &iam.authenticate_api_key(&bedrock(), key.secret().expose()).unwrap());
    debugged(&mut read, &iam.authenticate(&codecommit(), alias, password.secret().expose()));
    debugged(&mut read, &iam.authenticate(&codecommit(), secret, secret));
    debugged(&mut read, &door.authenticate(&codecommit(), alias, secret));
    debugged(&mut read, &door);
    debugged(&mut read, &Authenticator::new(MemoryStore::new(), Policy::default(), SystemClock));
    debugged(&mut read, &iam);
    debugged(&mut read, iam.store());
    debugged(&mut read, &MemoryStore::new());
    debugged(&mut read, iam.policy());
    debugged(&mut read, &iam.list(&anika));
    debugged(&mut read, &iam.list_page(&ListRequest::all_users()));
    debugged(
        &mut read,
        &iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())),
    );
    debugged(&mut read, &CredentialManager::builder(iam.account(), MemoryStore::new()));
    for (service, issued) in [(codecommit(), &renewed), (bedrock(), &key)] {
        let http = HttpAuthenticator::new(&iam, service).unwrap();
        debugged(&mut read, &http);
        for headers in requests(alias, issued.secret().expose()) {
            let mut buffer = DecodeBuffer::new();
            debugged(&mut read, &Credentials::parse(&headers, &mut buffer));
            debugged(&mut read, &buffer);
            debugged(&mut read, &http.authenticate(&headers));
        }
    }
    let (credential, secret) = renewed.into_parts();
    debugged(&mut read, &(credential, secret));
    debugged(&mut read, &iam.remove_user_with_credentials(&anika).unwrap());
    let notes = notes.lock().unwrap();
    assert!(notes.contains("UserRecord") && notes.contains('[') && notes.contains("Sha256(..)"));
    assert!(read.contains("[REDACTED]") && read.contains("ACCA"));
    assert!(!hunt.found_in(&read) && !hunt.found_in(&notes));
}

#[test]
fn no_generator_prints_what_it_yields() {
    assert_eq!(format!("{SystemEntropy:?}"), "SystemEntropy");
    assert_eq!(format!("{:?}", SeededEntropy::new(7)), "SeededEntropy(RngEntropy(..))");
    let rng = RngEntropy::new(ChaCha20Rng::seed_from_u64(7));
    assert_eq!(format!("{rng:?} {rng:#?}"), "RngEntropy(..) RngEntropy(..)");
}

/// Yields nothing.
#[derive(Debug)]
struct Drained;

impl Entropy for Drained {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("drained"))
    }
}

#[expect(clippy::too_many_lines, reason = "one error of each kind")]
#[test]
fn no_error_holds_a_secret() {
    let does = Arc::new(Mutex::new(Does::What));
    let next = Arc::clone(&does);
    let store = Told::new(move |asked: Asked<'_>| match (asked, *next.lock().unwrap()) {
        (Asked::Find | Asked::Scan, does) if does != Does::Fail => Does::What,
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
    let drained = CredentialManager::builder(iam.account(), &store).entropy(Drained).build();
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
    for does in [Does::Fail, Does::FailAfterwards, Does::Nothing(CommitOutcome::Stale)] {
        order(does);
        errors.push(iam.reset(&anika, key.id()).map(drop).unwrap_err());
        errors.push(iam.create(&bo, &codecommit()).map(drop).unwrap_err());
    }
    order(Does::What);
    // A secret in the wrong place.
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
        told(&mut read, error);
    }
    let mut refusals: Vec<AuthenticationError> = Vec::new();
    for issued in issued {
        let (alias, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        for service in [&codecommit(), &bedrock(), &name(CASSANDRA), &git] {
            refusals.extend([
                iam.authenticate(service, secret, secret).unwrap_err(),
                iam.authenticate(service, alias, &format!("{secret}x")).unwrap_err(),
                iam.authenticate(service, alias, &secret.repeat(20)).unwrap_err(),
                iam.authenticate_api_key(service, &format!("{secret}x")).unwrap_err(),
                iam.authenticator().authenticate(service, secret, secret).unwrap_err(),
            ]);
        }
    }
    refusals.extend([
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
    for does in [Does::What, Does::Fail] {
        order(does);
        for issued in issued {
            for service in [codecommit(), bedrock(), name(CASSANDRA)] {
                let http = HttpAuthenticator::new(&iam, service).unwrap();
                for headers in
                    requests(issued.service_user_name().as_str(), issued.secret().expose())
                {
                    let Err(rejection) = http.authenticate(&headers) else { continue };
                    told(&mut read, &rejection);
                    told(&mut read, rejection.reason());
                    responses.push(Response::<String>::from(rejection));
                }
            }
        }
    }
    debugged(&mut read, &responses);
    assert!(responses.iter().all(|response| !response.body().contains("fire")));
    order(Does::Fail);
    refusals.push(
        iam.authenticate(
            &codecommit(),
            password.service_user_name().as_str(),
            password.secret().expose(),
        )
        .unwrap_err(),
    );
    for refusal in &refusals {
        told(&mut read, refusal);
    }
    assert!(read.contains("drained") && read.contains("the disk is on fire"));
    assert!(!hunt.found_in(&read));
}

#[test]
fn nothing_that_is_serialized_holds_a_secret() {
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
fn a_credential_is_serialized_as_it_is_documented() {
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
