//! No secret is ever printed, serialized or logged: neither whole nor in part.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests may fail as a test does"
)]

use std::{
    cell::RefCell,
    collections::HashSet,
    error::Error as StdError,
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, LazyLock, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Response, header::AUTHORIZATION};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AuthenticationError, Authenticator, CredentialAge, CredentialManager, Entropy, EntropyError,
    Error, IssuedCredential, ListRequest, MaxItems, MemoryStore, Policy, RngEntropy, Secret,
    ServiceName, Status, SystemClock, SystemEntropy, UserName,
    http::{Credentials, DecodeBuffer, HttpAuthenticator},
    store::{Commit, Store},
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

mod common;

use common::{Asked, BEDROCK, CASSANDRA, CODECOMMIT, Does, Told, name};

/// As many characters in a row as give a secret away.
const WINDOW: usize = 8;

/// Secrets to look for, in parts.
#[derive(Default)]
struct Hunt {
    parts: HashSet<Vec<u8>>,
}

impl Hunt {
    /// Looks for the secret, and for the password inside of an API key.
    fn add(&mut self, secret: &Secret) {
        let whole = secret.expose().as_bytes();
        self.parts.extend(whole.windows(WINDOW).map(<[u8]>::to_vec));
        if let Some(key) = secret.expose().strip_prefix("ABSK") {
            let inner = STANDARD.decode(key).unwrap();
            let colon = inner.iter().position(|byte| *byte == b':').unwrap();
            self.parts.extend(inner[colon + 1..].windows(WINDOW).map(<[u8]>::to_vec));
        }
    }

    fn found_in(&self, text: &str) -> bool {
        let listed = text
            .split(|it: char| !it.is_ascii_digit())
            .filter_map(|byte| byte.parse().ok())
            .collect::<Vec<u8>>();
        [text.as_bytes(), &listed]
            .into_iter()
            .flat_map(|text| text.windows(WINDOW))
            .any(|window| self.parts.contains(window))
    }
}

/// Everything there is to read about a value.
fn debugged(transcript: &mut String, value: &impl Debug) {
    writeln!(transcript, "{value:?}\n{value:#?}").unwrap();
}

fn told(transcript: &mut String, error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(transcript, "{error}\n{error:?}\n{error:#?}").unwrap();
        next = error.source();
    }
}

fn codecommit() -> ServiceName {
    name(CODECOMMIT)
}

fn bedrock() -> ServiceName {
    name(BEDROCK)
}

thread_local! {
    /// What this thread has logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads, there before the first event: an event that is met for the first
/// time while another thread comes with a subscriber of its own may be missed for good.
static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(|| Log)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
});

fn manager<S: Store>(store: S) -> (CredentialManager<S>, Arc<FixedClock>) {
    LazyLock::force(&SUBSCRIBER);
    common::manager(store, Policy::default())
}

/// What `operation` returns, and the lines that it logs, at every level.
fn logged<T>(operation: impl FnOnce() -> T) -> (T, Vec<String>) {
    LOG.take();
    let result = operation();
    let text = String::from_utf8(LOG.take()).unwrap();
    (result, text.lines().map(|line| line.trim().to_owned()).collect())
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
    assert!(!hunt.found_in(secret.get(..7).unwrap()) && !hunt.found_in(""));
    assert!(!hunt.found_in(&format!("{issued:?}")));
}

/// The headers of a request with one `Authorization`.
fn authorization(value: String) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
}

/// A name and a password, and then a token, of a request; right, wrong and unreadable.
fn requests(name: &str, secret: &str) -> Vec<HeaderMap> {
    let basic = |pair: String| authorization(format!("Basic {}", STANDARD.encode(pair)));
    let mut twice = basic(format!("{name}:{secret}"));
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    vec![
        basic(format!("{name}:{secret}")),
        basic(format!("{name}:{secret}x")),
        basic(format!("{secret}:{name}")),
        basic(format!("{name} {secret}")),
        basic(format!("{name}:{secret}\n")),
        basic(format!("{name}:{}", secret.repeat(20))),
        authorization(format!("Basic {name}:{secret}")),
        authorization(format!("Bearer {secret}")),
        authorization(format!("Bearer {secret}x")),
        authorization(format!("Bearer {name}:{secret}")),
        authorization(format!("Token {secret}")),
        authorization(secret.to_owned()),
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
            debugged(&mut notes, &change.before());
            debugged(&mut notes, &change.after());
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
    let (alias, secret) = (password.name().as_str(), renewed.secret().expose());
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
    debugged(&mut read, &iam.list_page(&ListRequest::new().all_users(true)));
    debugged(&mut read, &iam.users(None, MaxItems::default()));
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
    let day = CredentialAge::days(1).unwrap();
    let expired = iam.create_with(&anika, &name(CASSANDRA), day).unwrap();
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
        iam.list_page(&ListRequest::new()).map(drop).unwrap_err(),
        drained.create(&bo, &codecommit()).map(drop).unwrap_err(),
    ];
    for does in [Does::Fail, Does::FailAfterwards, Does::Nothing(Commit::Stale)] {
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
        let (alias, secret) = (issued.name().as_str(), issued.secret().expose());
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
        iam.authenticate(&codecommit(), inactive.name().as_str(), inactive.secret().expose())
            .unwrap_err(),
        iam.authenticate(&name(CASSANDRA), expired.name().as_str(), expired.secret().expose())
            .unwrap_err(),
    ]);
    let mut responses = Vec::new();
    for does in [Does::What, Does::Fail] {
        order(does);
        for issued in issued {
            for service in [codecommit(), bedrock(), name(CASSANDRA)] {
                let http = HttpAuthenticator::new(&iam, service).unwrap();
                for headers in requests(issued.name().as_str(), issued.secret().expose()) {
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
        iam.authenticate(&codecommit(), password.name().as_str(), password.secret().expose())
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
    let request = ListRequest::new().all_users(true).max_items(MaxItems::new(1).unwrap());
    let page = iam.list_page(&request).unwrap();
    let mut written = serde_json::to_string(&page.next.unwrap()).unwrap();
    written += &serde_json::to_string(&iam.list(&anika).unwrap()).unwrap();
    for issued in &issued {
        written += &serde_json::to_string(issued.credential()).unwrap();
        let (service, secret) = (issued.credential().service(), issued.secret().expose());
        let who = match iam.authenticate_api_key(service, secret) {
            Ok(who) => who,
            Err(_) => iam.authenticate(service, issued.name().as_str(), secret).unwrap(),
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
    let age = CredentialAge::days(1).unwrap();
    for (issued, kind, service, expires) in [
        (iam.create(&anika, &codecommit()), "password", CODECOMMIT, None),
        (
            iam.create_with(&anika, &bedrock(), age),
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
            "name": "anika+1-at-123456789012",
            "kind": kind,
            "status": "Active",
            "created": "2016-11-01T17:47:22.382Z",
            "expires": expires,
        });
        assert_eq!(written, expected);
        let read: service_specific_credentials::Credential =
            serde_json::from_value(written).unwrap();
        assert_eq!(read, *issued.credential());
    }
}

/// A manager of a store that does as is ordered, `anika`, and the order.
fn ordered() -> (CredentialManager<impl Store>, UserName, impl Fn(Does)) {
    let does = Arc::new(Mutex::new(Does::What));
    let next = Arc::clone(&does);
    let (iam, _) = manager(Told::new(move |_: Asked<'_>| *next.lock().unwrap()));
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    (iam, anika, move |order| *does.lock().unwrap() = order)
}

fn assert_logs<T>(line: &str, operation: impl FnOnce() -> T) {
    let (_, lines) = logged(operation);
    assert_eq!(lines, [line]);
}

#[test]
fn an_operation_logs_one_event_of_what_it_was_about() {
    let (iam, anika, order) = ordered();
    let [bo, nobody] = ["bo", "nobody"].map(name::<UserName>);
    let event = |operation: &str, rest: &str, outcome: &str| {
        let level = if outcome == "ServiceFailure" { "WARN" } else { "INFO" };
        let here = "account=123456789012";
        format!("{level} operation=\"{operation}\" {here}{rest} outcome=\"{outcome}\"")
    };
    let at = |user: &str| format!(" user={user} service=codecommit.amazonaws.com");
    let (issued, lines) = logged(|| iam.create(&anika, &codecommit()).unwrap());
    let id = issued.id();
    assert_eq!(lines, [event("create", &format!("{} id={id}", at("anika")), "ok")]);
    let of = |user: &str| format!(" user={user} id={id}");
    let found = format!("{} id={id}", at("anika"));
    let check = |operation: &str, rest: &str, outcome: &str, result: &dyn Fn() -> Option<Error>| {
        let line = event(operation, rest, outcome);
        let (error, lines) = logged(result);
        assert_eq!(lines, [line]);
        assert_eq!(error.map_or("ok", |error| error.code().as_str()), outcome);
    };

    check("register_user", " user=bo", "ok", &|| iam.register_user(&bo).err());
    let exists = "EntityAlreadyExists";
    check("register_user", " user=anika", exists, &|| iam.register_user(&anika).err());
    check("ensure_user", " user=bo", "ok", &|| iam.ensure_user(&bo).err());
    check("user", " user=nobody", "NoSuchEntity", &|| iam.user(&nobody).err());
    check("users", "", "ok", &|| iam.users(None, MaxItems::default()).err());
    let missing = || iam.create(&nobody, &codecommit()).err();
    check("create", &at("nobody"), "NoSuchEntity", &missing);
    check("reset", &of("bo"), "NoSuchEntity", &|| iam.reset(&bo, id).err());
    check("reset", &found, "ok", &|| iam.reset(&anika, id).err());
    let set = |status| iam.set_status(&anika, id, status).err();
    check("set_status", &found, "ok", &|| set(Status::Inactive));
    check("set_status", &of("anika"), "InvalidInput", &|| set(Status::Expired));
    check("list", " user=anika", "ok", &|| iam.list(&anika).err());
    let filtered = || iam.list_for_service(&anika, &codecommit()).err();
    check("list", &at("anika"), "ok", &filtered);
    let all = ListRequest::new().all_users(true);
    check("list_page", "", "ok", &|| iam.list_page(&all).err());
    let one = ListRequest::new().user(anika.clone()).service(codecommit());
    check("list_page", &at("anika"), "ok", &|| iam.list_page(&one).err());
    let renaming = " user=bo new_name=anika";
    check("rename_user", renaming, exists, &|| iam.rename_user(&bo, &anika).err());
    check("remove_user", " user=anika", "DeleteConflict", &|| iam.remove_user(&anika).err());
    order(Does::Fail);
    check("delete", &of("anika"), "ServiceFailure", &|| iam.delete(&anika, id).err());
    order(Does::What);
    check("delete", &found, "ok", &|| iam.delete(&anika, id).err());
    check("remove_user", " user=bo", "ok", &|| iam.remove_user(&bo).err());
    let remove = || iam.remove_user_with_credentials(&anika).err();
    check("remove_user_with_credentials", " user=anika", "ok", &remove);
}

#[test]
fn an_authentication_logs_one_event_without_what_was_presented() {
    let (iam, anika, order) = ordered();
    let issued = iam.create(&anika, &codecommit()).unwrap();
    let (alias, password) = (issued.name().as_str(), issued.secret().expose());
    let event = |account: &str, whose: &str, outcome: &str| {
        let service = "service=codecommit.amazonaws.com";
        let level = if outcome.contains("unavailable") { "WARN" } else { "INFO" };
        format!("{level} operation=\"authenticate\"{account}{whose}{outcome}")
            .replace("SERVICE", service)
    };
    let here = " account=123456789012";
    let known = format!(" user=anika SERVICE id={}", issued.id());
    let refused = |reason: &str| format!(" outcome=\"refused\" reason=\"{reason}\"");
    let authenticate = |name: &str, password: &str| iam.authenticate(&codecommit(), name, password);
    let door = iam.authenticator();
    let anywhere = |name: &str| door.authenticate(&codecommit(), name, password);

    let accepted = event(here, &known, " outcome=\"ok\"");
    assert_logs(&accepted, || authenticate(alias, password).unwrap());
    assert_logs(&accepted, || anywhere(alias).unwrap());
    let wrong = event(here, &known, &refused("wrong-secret"));
    assert_logs(&wrong, || authenticate(alias, "guess").unwrap_err());
    assert_logs(&wrong, || door.authenticate(&codecommit(), alias, "guess").unwrap_err());
    iam.set_status(&anika, issued.id(), Status::Inactive).unwrap();
    let inactive = event(here, &known, &refused("inactive"));
    assert_logs(&inactive, || authenticate(alias, password).unwrap_err());
    let unknown = |account, reason: &str| event(account, " SERVICE", &refused(reason));
    assert_logs(&unknown(here, "unknown-name"), || authenticate(password, password).unwrap_err());
    assert_logs(&unknown("", "unknown-name"), || anywhere(password).unwrap_err());
    assert_logs(&unknown(here, "too-long"), || authenticate(&"a".repeat(513), "").unwrap_err());
    assert_logs(&unknown(here, "unsupported-service"), || {
        iam.authenticate_api_key(&codecommit(), password).unwrap_err()
    });
    // A header that is invalid is an event too; none is no attempt.
    let http = HttpAuthenticator::new(&iam, codecommit()).unwrap();
    let http_anywhere = HttpAuthenticator::all_accounts(&door, codecommit()).unwrap();
    let digest = authorization(format!("Digest {password}"));
    let unsupported = "unsupported-scheme";
    assert_logs(&unknown(here, unsupported), || http.authenticate(&digest).unwrap_err());
    assert_logs(&unknown("", unsupported), || http_anywhere.authenticate(&digest).unwrap_err());
    let (_, lines) = logged(|| http.authenticate(&HeaderMap::new()).unwrap_err());
    assert!(lines.is_empty(), "{lines:?}");
    assert_logs(&wrong, || http.authenticate(&requests(alias, "guess")[0]).unwrap_err());
    order(Does::Fail);
    let unavailable = event(here, " SERVICE", " outcome=\"unavailable\"");
    assert_logs(&unavailable, || authenticate(alias, password).unwrap_err());
}

#[test]
fn a_create_whose_outcome_is_unknown_logs_the_id_to_look_for() {
    let does = Arc::new(Mutex::new(Does::What));
    let next = Arc::clone(&does);
    let store = Told::new(move |asked: Asked<'_>| match asked {
        Asked::Commit(_) => *next.lock().unwrap(),
        Asked::Find | Asked::Scan => Does::What,
    });
    let (iam, _) = manager(store);
    iam.register_user(&name("anika")).unwrap();
    *does.lock().unwrap() = Does::FailAfterwards;
    let (result, lines) = logged(|| iam.create(&name("anika"), &codecommit()));
    let Err(Error::OutcomeUnknown { id: Some(id), .. }) = result else { unreachable!() };
    assert!(lines.iter().any(|line| line.contains(id.as_str())), "{lines:?}");
}

#[test]
fn nothing_that_is_logged_holds_a_secret() {
    let (iam, clock) = manager(MemoryStore::new());
    let anika: UserName = name("anika");
    let mut hunt = Hunt::default();
    let (count, lines) = logged(|| {
        iam.register_user(&anika).unwrap();
        let age = CredentialAge::days(1).unwrap();
        let issued: Vec<IssuedCredential> = vec![
            iam.create_with(&anika, &codecommit(), age).unwrap(),
            iam.create(&anika, &codecommit()).unwrap(),
            iam.create_with(&anika, &bedrock(), age).unwrap(),
            iam.create(&anika, &bedrock()).unwrap(),
        ];
        let renewed: Vec<_> =
            issued.iter().map(|issued| iam.reset(&anika, issued.id()).unwrap()).collect();
        let mut presented = 0;
        let doors = (&iam, iam.authenticator());
        for round in 0..3 {
            for issued in issued.iter().chain(&renewed) {
                hunt.add(issued.secret());
                let (alias, secret) = (issued.name().as_str(), issued.secret().expose());
                let cut = secret.get(1..).unwrap();
                for service in [codecommit(), bedrock(), name(CASSANDRA), name("git.example.com")] {
                    // Among them secrets in the field of the name.
                    for (name, password) in [
                        (alias, secret),
                        (alias, cut),
                        (secret, secret),
                        (secret, alias),
                        (secret, ""),
                        (&secret.repeat(20), alias),
                    ] {
                        let _ = doors.0.authenticate(&service, name, password);
                        let _ = doors.1.authenticate(&service, name, password);
                        presented += 2;
                    }
                    for secret in [secret, cut, &secret.repeat(20)] {
                        let _ = doors.0.authenticate_api_key(&service, secret);
                        let _ = doors.1.authenticate_api_key(&service, secret);
                        presented += 2;
                    }
                }
            }
            match round {
                0 => {
                    for renewed in &renewed {
                        iam.set_status(&anika, renewed.id(), Status::Inactive).unwrap();
                    }
                }
                _ => clock.advance(Duration::DAY),
            }
        }
        iam.list(&anika).unwrap();
        iam.remove_user_with_credentials(&anika).unwrap();
        presented
    });
    let lines_of = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(lines_of("operation=\"authenticate\""), count);
    for outcome in [
        "\"ok\"",
        "reason=\"inactive\"",
        "reason=\"expired\"",
        "reason=\"wrong-secret\"",
        "reason=\"unknown-name\"",
        "reason=\"too-long\"",
        "reason=\"unsupported-service\"",
    ] {
        assert_ne!(lines_of(outcome), 0, "{outcome}");
    }
    assert!(!lines.iter().any(|line| hunt.found_in(line)));
}

#[test]
fn what_is_logged_is_read_by_the_hunt() {
    let (iam, _) = manager(MemoryStore::new());
    iam.register_user(&name("anika")).unwrap();
    let issued = iam.create(&name("anika"), &codecommit()).unwrap();
    let mut hunt = Hunt::default();
    hunt.add(issued.secret());
    let ((), lines) = logged(|| tracing::trace!(leak = issued.secret().expose().get(3..12)));
    assert!(lines.iter().any(|line| hunt.found_in(line)), "{lines:?}");
}
