//! `http`, from request headers to an identity or a response: over a sync and an async store, for
//! one account and for all. Unit tests of the header parser are in its module.

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use service_specific_credentials::{
    AsyncCredentialManager, CreateOptions, CredentialManager, DenialReason, Error, Identity,
    Lifetime, MemoryStore, Policy, ServiceName, Status, UserName,
    http::{
        AsyncHttpAuthenticator, HttpAuthenticator, InvalidAuthorization, InvalidRealm, Rejection,
        RejectionReason,
    },
    store::SyncAdapter,
    testing::FixedClock,
};
use time::Duration;

use crate::common::{
    ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, HookAction, HookedStore, StoreCall, name,
};

type Hook = Box<dyn Fn(StoreCall<'_>) -> HookAction + Send + Sync>;
type Store = Arc<HookedStore<Hook>>;

/// `anika` with an active, an inactive and an expired password and an API key.
struct World {
    iam: CredentialManager<Store>,
    clock: Arc<FixedClock>,
    does: Arc<Mutex<HookAction>>,
    active: (String, String),
    inactive: (String, String),
    expired: (String, String),
    key: (String, String),
}

impl World {
    fn new() -> Self {
        let does = Arc::new(Mutex::new(HookAction::Proceed));
        let hook_action = Arc::clone(&does);
        let hook: Hook = Box::new(move |_| *hook_action.lock().unwrap());
        let store = Arc::new(HookedStore::new(hook));
        let (iam, clock) = crate::common::manager(store, Policy::default());
        let anika: UserName = name("anika");
        iam.register_user(&anika).unwrap();
        let day = Lifetime::days(1).unwrap();
        let expired = iam
            .create_with_options(&anika, &name(CASSANDRA), &CreateOptions::new().lifetime(day))
            .unwrap();
        clock.advance(Duration::DAY);
        let active = iam.create(&anika, &name(CODECOMMIT)).unwrap();
        let inactive = iam.create(&anika, &name(CODECOMMIT)).unwrap();
        iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
        let key = iam.create(&anika, &name(BEDROCK)).unwrap();
        let [active, inactive, expired, key] = [active, inactive, expired, key].map(|issued| {
            (issued.service_user_name().to_string(), issued.secret().expose().to_owned())
        });
        Self { iam, clock, does, active, inactive, expired, key }
    }

    /// Authenticates in every way. All results are equal.
    fn authenticate(&self, service: &str, headers: &HeaderMap) -> Result<Identity, Rejection> {
        let service: ServiceName = name(service);
        let store = SyncAdapter::new(Arc::clone(self.iam.store()));
        let waiting = AsyncCredentialManager::builder(self.iam.account(), store);
        let waiting = waiting.clock(Arc::clone(&self.clock)).build_async();
        let one = HttpAuthenticator::new(&self.iam, service.clone()).unwrap();
        let all =
            HttpAuthenticator::all_accounts(&self.iam.authenticator(), service.clone()).unwrap();
        let async_one = AsyncHttpAuthenticator::new(&waiting, service.clone()).unwrap();
        let async_all =
            AsyncHttpAuthenticator::all_accounts(&waiting.authenticator(), service.clone())
                .unwrap();
        assert_eq!(one.service(), &service);
        assert_eq!(async_all.service(), &service);

        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = one.clone().authenticate(headers);
        for other in [
            all.clone().authenticate(headers),
            executor.block_on(async_one.clone().authenticate(headers)),
            executor.block_on(async_all.clone().authenticate(headers)),
        ] {
            match (&result, other) {
                (Ok(identity), Ok(other)) => {
                    assert_eq!(identity.user_id(), other.user_id());
                    assert_eq!(identity.credential_id(), other.credential_id());
                }
                (Err(rejection), Err(other)) => {
                    assert_eq!(rejection.reason().as_str(), other.reason().as_str());
                    assert_eq!(rejection.header(), other.header());
                }
                (result, other) => panic!("{result:?} {other:?}"),
            }
        }
        result
    }
}

fn value(text: &str) -> HeaderValue {
    text.parse().unwrap()
}

fn header(value: impl AsRef<[u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_ref()).unwrap());
    headers
}

fn basic((name, password): &(String, String)) -> HeaderMap {
    header(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
}

fn bearer(token: &str) -> HeaderMap {
    header(format!("Bearer {token}"))
}

#[test]
fn a_password_and_an_api_key_authenticate() {
    let world = World::new();
    let upper = (world.active.0.to_uppercase(), world.active.1.clone());
    for (service, headers, alias) in [
        (CODECOMMIT, basic(&world.active), &world.active.0),
        (CODECOMMIT, basic(&upper), &world.active.0),
        ("CODECOMMIT.amazonaws.com", basic(&world.active), &world.active.0),
        (BEDROCK, bearer(&world.key.1), &world.key.0),
    ] {
        let identity = world.authenticate(service, &headers).unwrap();
        assert_eq!(identity.user_name().as_str(), "anika");
        assert_eq!(identity.credential().service_user_name().as_str(), alias);
    }
}

#[test]
fn every_other_request_gets_the_same_rejection_and_logs_its_reason() {
    let world = World::new();
    let of = |(name, _): &(String, String), password: &str| basic(&(name.clone(), password.into()));
    let mut twice = basic(&world.active);
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    let forged = format!("ABSK{}", STANDARD.encode(format!("{}:wrong", world.key.0)));
    let (with_token, no_token) = (true, false);
    for (service, headers, reason, token) in [
        (CODECOMMIT, HeaderMap::new(), "missing-credentials", no_token),
        (BEDROCK, HeaderMap::new(), "missing-credentials", no_token),
        (CODECOMMIT, header(""), "unsupported-scheme", no_token),
        (CODECOMMIT, header("Negotiate YTpi"), "unsupported-scheme", no_token),
        (BEDROCK, header("Negotiate YTpi"), "unsupported-scheme", no_token),
        (CODECOMMIT, twice, "repeated-header", no_token),
        (CODECOMMIT, header("Basic YTpi="), "invalid-base64", no_token),
        (CODECOMMIT, header("Basic /zr/"), "invalid-utf-8", no_token),
        (CODECOMMIT, header("Basic YQ=="), "missing-colon", no_token),
        (CODECOMMIT, header("Basic YQA6Yg=="), "control-character", no_token),
        (CODECOMMIT, of(&world.active, &"a".repeat(513)), "too-long", no_token),
        (CODECOMMIT, of(&world.active, "wrong"), "wrong-secret", no_token),
        (CODECOMMIT, of(&world.active, ""), "wrong-secret", no_token),
        (CODECOMMIT, of(&world.active, &"a".repeat(512)), "wrong-secret", no_token),
        (CODECOMMIT, basic(&("nobody".into(), world.active.1.clone())), "unknown-name", no_token),
        (CODECOMMIT, basic(&world.inactive), "inactive", no_token),
        (CASSANDRA, basic(&world.expired), "expired", no_token),
        (CASSANDRA, basic(&world.active), "wrong-secret", no_token),
        (BEDROCK, basic(&world.active), "unsupported-service", no_token),
        // The request has a token.
        (CODECOMMIT, bearer(&world.key.1), "unsupported-service", no_token),
        (BEDROCK, bearer(&forged), "wrong-secret", with_token),
        (BEDROCK, bearer("mF_9.B5f-4.1JqM"), "unknown-name", with_token),
        (BEDROCK, bearer(""), "invalid-token", with_token),
        (BEDROCK, bearer("a b"), "invalid-token", with_token),
        (BEDROCK, bearer(&"a".repeat(513)), "invalid-token", with_token),
    ] {
        let rejection = world.authenticate(service, &headers).unwrap_err();
        assert_eq!(rejection.reason().as_str(), reason);
        let missing = reason == "missing-credentials";
        assert_eq!(rejection.is_missing_credentials(), missing);
        assert_eq!(rejection.status(), StatusCode::UNAUTHORIZED);

        let challenge = if service == BEDROCK {
            let error = if token { ", error=\"invalid_token\"" } else { "" };
            format!("Bearer realm=\"{service}\"{error}")
        } else {
            format!("Basic realm=\"{service}\", charset=\"UTF-8\"")
        };
        assert_eq!(rejection.header(), (WWW_AUTHENTICATE, &value(&challenge)), "{reason}");
        let response: Response<String> = rejection.into();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], challenge);
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers().len(), 2);
        let body = if missing {
            "this service needs a credential\n"
        } else {
            "the credential is not valid for this service\n"
        };
        assert_eq!(response.body(), body, "{reason}");
    }
}

#[test]
fn an_unavailable_store_is_503_and_never_401() {
    let world = World::new();
    *world.does.lock().unwrap() = HookAction::Fail;
    let wrong = (world.active.0.clone(), "wrong".to_owned());
    for (service, headers) in [
        (CODECOMMIT, basic(&world.active)),
        (CODECOMMIT, basic(&wrong)),
        (CODECOMMIT, basic(&world.inactive)),
        (BEDROCK, bearer(&world.key.1)),
    ] {
        let rejection = world.authenticate(service, &headers).unwrap_err();
        assert!(matches!(rejection.reason(), RejectionReason::Unavailable(_)));
        assert_eq!(rejection.reason().as_str(), "unavailable");
        assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(rejection.header(), (RETRY_AFTER, &value("1")));
        assert!(!rejection.is_missing_credentials());
        let response: Response<Vec<u8>> = rejection.into();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers().get("www-authenticate"), None);
        // The store's message is for the log only.
        let body = "the credential cannot be verified at the moment, try again later\n";
        assert_eq!(response.body(), body.as_bytes());
    }
    // A request that needs no store is still denied.
    let rejection = world.authenticate(CODECOMMIT, &HeaderMap::new()).unwrap_err();
    assert!(rejection.is_missing_credentials());

    // The store is available again.
    *world.does.lock().unwrap() = HookAction::Proceed;
    world.authenticate(CODECOMMIT, &basic(&world.active)).unwrap();
}

#[test]
fn a_rejection_has_its_causes_as_sources() {
    let world = World::new();
    let rejection = world.authenticate(CODECOMMIT, &HeaderMap::new()).unwrap_err();
    assert_eq!(rejection.to_string(), "the request has no Authorization header");
    assert!(rejection.source().is_none());

    let rejection = world.authenticate(CODECOMMIT, &header("Basic YQ==")).unwrap_err();
    assert_eq!(rejection.to_string(), "the Authorization header is invalid");
    let cause = rejection.source().unwrap().downcast_ref::<InvalidAuthorization>();
    assert_eq!(cause, Some(&InvalidAuthorization::MissingColon));

    let rejection = world.authenticate(CODECOMMIT, &basic(&world.inactive)).unwrap_err();
    assert_eq!(rejection.to_string(), "the credential is not valid for this service");
    let RejectionReason::Denied(denial) = rejection.reason() else { panic!("{rejection:?}") };
    assert_eq!(denial.reason(), DenialReason::Inactive);

    *world.does.lock().unwrap() = HookAction::Fail;
    let rejection = world.authenticate(CODECOMMIT, &basic(&world.active)).unwrap_err();
    assert_eq!(rejection.to_string(), "the store failed");
    assert_eq!(rejection.source().unwrap().to_string(), "the disk is on fire");
}

#[test]
fn an_unsupported_service_is_an_error_of_the_constructor() {
    let world = World::new();
    let service: ServiceName = name("git.example.com");
    for error in [
        HttpAuthenticator::new(&world.iam, service.clone()).unwrap_err(),
        HttpAuthenticator::all_accounts(&world.iam.authenticator(), service.clone()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::ServiceNotSupported { service: s, .. } if s == service));
    }
}

#[test]
fn the_policy_says_which_services_are_supported_and_how() {
    let git: ServiceName = name("git.example.com");
    let policy = Policy::builder().without_services().api_key_service(git.clone(), "GIT");
    let policy = policy.build().unwrap();
    let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
        .policy(policy.clone())
        .build();
    assert_eq!(*iam.authenticator().policy(), policy);
    let authenticators = |service: &ServiceName| {
        [
            HttpAuthenticator::new(&iam, service.clone()),
            HttpAuthenticator::all_accounts(&iam.authenticator(), service.clone()),
        ]
    };
    for authenticator in authenticators(&git) {
        let rejection = authenticator.unwrap().authenticate(&HeaderMap::new()).unwrap_err();
        assert_eq!(rejection.header().1, r#"Bearer realm="git.example.com""#);
    }
    for authenticator in authenticators(&name(CODECOMMIT)) {
        assert!(authenticator.is_err());
    }
}

#[test]
fn users_of_another_account_are_denied() {
    let world = World::new();
    let other = world.iam.for_account(name("210987654321"));
    let [one, all] = [
        HttpAuthenticator::new(&other, name(CODECOMMIT)),
        HttpAuthenticator::all_accounts(&other.authenticator(), name(CODECOMMIT)),
    ]
    .map(Result::unwrap);
    let headers = basic(&world.active);
    assert_eq!(one.authenticate(&headers).unwrap_err().reason().as_str(), "unknown-name");
    assert_eq!(all.authenticate(&headers).unwrap().account(), world.iam.account());
}

#[test]
fn the_realm_is_the_service_name_by_default() {
    let world = World::new();
    let authenticator = HttpAuthenticator::new(&world.iam, name(BEDROCK)).unwrap();
    for realm in ["é", "a\nb", "\u{7f}"] {
        assert_eq!(authenticator.clone().with_realm(realm).unwrap_err(), InvalidRealm);
    }
    let authenticator = authenticator.with_realm("The \"API\"").unwrap();
    let challenge =
        |headers: &HeaderMap| authenticator.authenticate(headers).unwrap_err().header().1.clone();
    assert_eq!(challenge(&HeaderMap::new()), r#"Bearer realm="The \"API\"""#);
    assert_eq!(challenge(&bearer("a")), r#"Bearer realm="The \"API\"", error="invalid_token""#);
    let authenticator = HttpAuthenticator::new(&world.iam, name(CODECOMMIT)).unwrap();
    let authenticator = authenticator.with_realm("Git").unwrap();
    let rejection = authenticator.authenticate(&HeaderMap::new()).unwrap_err();
    assert_eq!(rejection.header().1, r#"Basic realm="Git", charset="UTF-8""#);
}

/// The properties that servers need to keep a type, send it to tasks and insert it into requests.
#[test]
fn types_have_the_traits_that_a_middleware_needs() {
    fn middleware<T: Clone + Send + Sync + 'static>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    fn sendable<T: Send>(_: &T) {}
    middleware::<AsyncHttpAuthenticator<SyncAdapter<HookedStore<fn(StoreCall<'_>) -> HookAction>>>>(
    );
    middleware::<Identity>();
    error::<Rejection>();

    let world = World::new();
    let store = SyncAdapter::new(Arc::clone(world.iam.store()));
    let waiting = AsyncCredentialManager::new(world.iam.account(), store);
    let authenticator = AsyncHttpAuthenticator::new(&waiting, name(CODECOMMIT)).unwrap();
    sendable(&authenticator.authenticate(&HeaderMap::new()));
}

/// `?` in a handler of a web framework.
#[test]
fn the_question_mark_operator_converts_a_rejection() {
    #[expect(clippy::result_large_err, reason = "frameworks have handlers return responses")]
    fn handler(world: &World, headers: &HeaderMap) -> Result<String, Response<String>> {
        let authenticator = HttpAuthenticator::new(&world.iam, name(CODECOMMIT)).unwrap();
        let identity = authenticator.authenticate(headers)?;
        Ok(identity.user_name().to_string())
    }
    let world = World::new();
    assert_eq!(handler(&world, &basic(&world.active)).unwrap(), "anika");
    assert_eq!(handler(&world, &HeaderMap::new()).unwrap_err().status(), 401);
}
