//! Policies: their contents, their validation, and existing credentials after a change of the
//! policy.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::json;
use service_specific_credentials::{
    Alphabet, AuthenticationError, CreateOptions, Credential, CredentialKind, CredentialManager,
    DenialReason, Error, ErrorCode, Identity, InvalidPolicy, Lifetime, ListRequest, MemoryStore,
    Numbering, Policy, PolicyBuilder, ServiceName, Status, UserName,
};

use crate::common::{ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, manager, name};

type Shared = CredentialManager<Arc<MemoryStore>>;

fn reason(result: Result<Identity, AuthenticationError>) -> Option<DenialReason> {
    match result.err()? {
        AuthenticationError::Denied(rejection) => Some(rejection.reason()),
        AuthenticationError::Unavailable(_) => None,
    }
}

#[test]
fn the_presets_differ_only_in_numbering_and_password_bytes() {
    for (policy, numbering, bytes) in [
        (Policy::default(), Numbering::FromOne, 32),
        (Policy::recorded(), Numbering::BareFirst, 44),
    ] {
        let services: Vec<_> = policy
            .services()
            .map(|(service, kind)| (service.as_str(), kind, policy.api_key_prefix(service)))
            .collect();
        let expected = [
            ("aws-external-anthropic.amazonaws.com", CredentialKind::ApiKey, Some("AEAA")),
            ("bedrock.amazonaws.com", CredentialKind::ApiKey, Some("ABSK")),
            ("cassandra.amazonaws.com", CredentialKind::Password, None),
            ("cloudwatch.amazonaws.com", CredentialKind::ApiKey, Some("APIAACWM")),
            ("codecommit.amazonaws.com", CredentialKind::Password, None),
            ("logs.amazonaws.com", CredentialKind::ApiKey, Some("ACWL")),
        ];
        assert_eq!(services, expected);
        assert_eq!(policy.numbering(), numbering);
        assert_eq!(policy.password_bytes(), bytes);
        assert_eq!(policy.alphabet(), Alphabet::Standard);
        assert_eq!(policy.credentials_per_service(), 2);

        let recorded = Policy::recorded().to_builder();
        assert_eq!(recorded.numbering(numbering).password_bytes(bytes).build(), Ok(policy));
    }
    assert_eq!(Policy::builder().build(), Ok(Policy::default()));
    let unknown = name("git.example.com");
    assert_eq!(Policy::default().kind(&unknown), None);
    assert_eq!(Policy::default().api_key_prefix(&unknown), None);
}

#[test]
fn a_policy_outside_its_bounds_is_rejected() {
    let build = Policy::builder;
    let prefix = |prefix: &str| build().api_key_service(name("keys.example.com"), prefix);
    let services = |count: usize| {
        (0..count).fold(build().without_services(), |builder, number| {
            builder.password_service(name(&format!("s{number}.example.com")))
        })
    };
    let rejected_prefix = || Some(InvalidPolicy::ApiKeyPrefix(name("keys.example.com")));
    let limit = |limit| Some(InvalidPolicy::CredentialsPerService(limit));
    let bytes = |bytes| Some(InvalidPolicy::PasswordBytes(bytes));
    for (builder, rejection) in [
        (build().credentials_per_service(0), limit(0)),
        (build().credentials_per_service(1), None),
        (build().credentials_per_service(10), None),
        (build().credentials_per_service(11), limit(11)),
        (build().credentials_per_service(usize::MAX), limit(usize::MAX)),
        (build().password_bytes(0), bytes(0)),
        (build().password_bytes(15), bytes(15)),
        (build().password_bytes(16), None),
        (build().password_bytes(96), None),
        (build().password_bytes(97), bytes(97)),
        (services(0), None),
        (services(100), None),
        (services(101), Some(InvalidPolicy::Services(101))),
        (prefix(""), rejected_prefix()),
        (prefix("A"), None),
        (prefix("aZ09"), None),
        (prefix(&"A".repeat(32)), None),
        (prefix(&"A".repeat(33)), rejected_prefix()),
        (prefix("AB SK"), rejected_prefix()),
        (prefix("ABSK-"), rejected_prefix()),
        (prefix("ÄBSK"), rejected_prefix()),
    ] {
        let shown = format!("{builder:?}");
        assert_eq!(builder.build().err(), rejection, "{shown}");
    }
    assert_eq!(
        build().password_bytes(15).build().unwrap_err().to_string(),
        "password bytes must be between 16 and 96, not 15"
    );
}

const fn days(days: u32) -> Lifetime {
    Lifetime::from_static_days(days)
}

#[test]
fn the_default_lifetime_does_not_exceed_the_longest_one() {
    let (build, default) = (Policy::builder, Policy::default_lifetime);
    for (builder, expected) in [
        (build(), None),
        (build().default_lifetime(days(36_600)), Some(36_600)),
        (build().max_lifetime(days(1)), Some(1)),
        (build().max_lifetime(days(30)).default_lifetime(days(30)), Some(30)),
        (build().max_lifetime(days(30)).default_lifetime(days(1)), Some(1)),
    ] {
        let policy = builder.build().unwrap();
        assert_eq!(default(&policy), expected.map(days), "{policy:?}");
    }
    for builder in [
        build().max_lifetime(days(30)).default_lifetime(days(31)),
        build().default_lifetime(days(31)).max_lifetime(days(30)),
    ] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, InvalidPolicy::DefaultLifetime { .. }));
        assert_eq!(
            error.to_string(),
            "the default lifetime of 31 days must not exceed the maximum of 30 days"
        );
    }
}

#[test]
fn a_credential_has_the_lifetime_of_its_policy() {
    let policy = Policy::builder().max_lifetime(days(30)).default_lifetime(days(7));
    let ([limited, unlimited], anika) = under([policy, Policy::builder()]);
    let service = name(CODECOMMIT);
    let lifetime = |credential: &Credential| {
        credential.expires().map(|expires| (expires - credential.created()).whole_days())
    };
    let with = |days| CreateOptions::new().lifetime(days);
    for (options, expected) in
        [(CreateOptions::new(), 7), (with(days(1)), 1), (with(days(7)), 7), (with(days(30)), 30)]
    {
        let issued = limited.create_with_options(&anika, &service, &options).unwrap();
        assert_eq!(lifetime(issued.credential()), Some(expected));
        limited.delete(&anika, issued.id()).unwrap();
    }
    for too_long in [31, 36_600] {
        let error = limited.create_with_options(&anika, &service, &with(days(too_long)));
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::LifetimeTooLong { max, .. } if *max == days(30)));
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        assert_eq!(error.to_string(), "the lifetime must not exceed 30 days");
    }
    assert_eq!(limited.list(&anika).unwrap(), [], "nothing was created");

    // A reset does not move the expiration date, nor does a policy of later.
    let forever = unlimited.create(&anika, &service).unwrap();
    assert_eq!(lifetime(limited.reset(&anika, forever.id()).unwrap().credential()), None);
}

#[test]
fn a_lifetime_that_is_too_long_is_reported_after_the_service_and_before_the_limit() {
    let ([iam], anika) = under([Policy::builder().max_lifetime(days(30))]);
    let long = CreateOptions::new().lifetime(days(31));
    let create = |user: &str, service: &str| {
        iam.create_with_options(&name(user), &name(service), &long).unwrap_err()
    };
    assert!(matches!(create("nobody", "ec2.amazonaws.com"), Error::NoSuchUser { .. }));
    assert!(matches!(create("anika", "ec2.amazonaws.com"), Error::ServiceNotSupported { .. }));
    for _ in 0..2 {
        drop(iam.create(&anika, &name(CODECOMMIT)).unwrap());
    }
    assert!(matches!(create("anika", CODECOMMIT), Error::LifetimeTooLong { .. }));
}

#[test]
fn custom_services_work_end_to_end() {
    let (git, keys) = (name("git.example.com"), name("keys.example.com"));
    let policy = Policy::builder()
        .without_services()
        .password_service(git)
        .api_key_service(keys, "BLDK")
        .build()
        .unwrap();
    let (iam, _) = manager(MemoryStore::new(), policy);
    let anika = name("anika");
    iam.register_user(&anika).unwrap();

    let git = name("Git.Example.COM");
    let password = iam.create(&anika, &git).unwrap();
    assert_eq!(password.kind(), CredentialKind::Password);
    assert_eq!(password.credential().service().as_str(), "git.example.com");
    let identity =
        iam.authenticate(&git, password.service_user_name().as_str(), password.secret().expose());
    assert_eq!(identity.unwrap().credential(), *password.credential());

    let keys = name("KEYS.example.com");
    let key = iam.create(&anika, &keys).unwrap();
    assert_eq!(key.kind(), CredentialKind::ApiKey);
    assert!(key.secret().expose().starts_with("BLDK"));
    let identity = iam.authenticate_api_key(&keys, key.secret().expose());
    assert_eq!(identity.unwrap().credential(), *key.credential());

    let old = key.secret().expose();
    let renewed = iam.reset(&anika, key.id()).unwrap();
    iam.authenticate_api_key(&keys, renewed.secret().expose()).unwrap();
    assert_eq!(reason(iam.authenticate_api_key(&keys, old)), Some(DenialReason::WrongSecret));

    let codecommit = name(CODECOMMIT);
    let rejected = iam.create(&anika, &codecommit);
    assert!(
        matches!(rejected, Err(Error::ServiceNotSupported { service, .. }) if service == codecommit)
    );
}

#[test]
fn a_url_safe_password_needs_no_escaping_in_a_url() {
    let policy = Policy::builder().alphabet(Alphabet::UrlSafe).build().unwrap();
    let (iam, _) = manager(MemoryStore::new(), policy);
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let (mut seen, codecommit) = (String::new(), name(CODECOMMIT));
    let first = iam.create(&anika, &codecommit).unwrap();
    for _ in 0..20 {
        let issued = iam.reset(&anika, first.id()).unwrap();
        let password = issued.secret().expose();
        assert_eq!(password.len(), 43);
        assert_eq!(URL_SAFE_NO_PAD.decode(password).unwrap().len(), 32);
        iam.authenticate(&codecommit, issued.service_user_name().as_str(), password).unwrap();
        seen += password;
    }
    assert!(seen.contains('-') && seen.contains('_') && !seen.contains(['+', '/', '=']));

    let bedrock = name(BEDROCK);
    let key = iam.create(&anika, &bedrock).unwrap();
    let inner = STANDARD.decode(key.secret().expose().strip_prefix("ABSK").unwrap()).unwrap();
    let inner = String::from_utf8(inner).unwrap();
    let (alias, password) = inner.split_once(':').unwrap();
    assert_eq!((alias, password.len()), ("anika+1-at-123456789012", 43));
    assert_eq!(URL_SAFE_NO_PAD.decode(password).unwrap().len(), 32);
    iam.authenticate_api_key(&bedrock, key.secret().expose()).unwrap();
}

/// Managers of one store, one for each policy, and a user.
fn under<const N: usize>(policies: [PolicyBuilder; N]) -> ([Shared; N], UserName) {
    let store = Arc::new(MemoryStore::new());
    let managers = policies.map(|policy| {
        let builder = CredentialManager::builder(name(ACCOUNT), Arc::clone(&store));
        builder.policy(policy.build().unwrap()).build()
    });
    let anika = name("anika");
    managers.first().unwrap().register_user(&anika).unwrap();
    (managers, anika)
}

fn unsupported<T>(result: Result<T, Error>, expected: &ServiceName) -> bool {
    matches!(result, Err(Error::ServiceNotSupported { service, .. }) if service == *expected)
}

#[test]
fn credentials_of_a_removed_service_can_only_be_listed_set_and_deleted() {
    let (codecommit, bedrock) = (name(CODECOMMIT), name(BEDROCK));
    let ([before, after], anika) = under([Policy::builder(), Policy::builder().without_services()]);
    let password = before.create(&anika, &codecommit).unwrap();
    let key = before.create(&anika, &bedrock).unwrap();
    let listed = before.list(&anika).unwrap();

    let (alias, secret) = (password.service_user_name().as_str(), password.secret().expose());
    let rejections = [
        reason(after.authenticate(&codecommit, alias, secret)),
        reason(after.authenticate_api_key(&bedrock, key.secret().expose())),
        reason(after.authenticator().authenticate(&codecommit, alias, secret)),
        reason(after.authenticator().authenticate_api_key(&bedrock, key.secret().expose())),
    ];
    assert_eq!(rejections, [Some(DenialReason::UnsupportedService); 4]);
    for (issued, service) in [(&password, &codecommit), (&key, &bedrock)] {
        assert!(unsupported(after.create(&anika, service), service));
        assert!(unsupported(after.reset(&anika, issued.id()), service));
        assert!(unsupported(after.list_for_service(&anika, service), service));
        let filtered = ListRequest::of(anika.clone()).service(service.clone());
        assert!(unsupported(after.list_page(&filtered), service));
    }
    assert_eq!(before.list(&anika).unwrap(), listed, "a failed operation changed something");
    before.authenticate(&codecommit, alias, secret).unwrap();
    before.authenticate_api_key(&bedrock, key.secret().expose()).unwrap();

    assert_eq!(after.list(&anika).unwrap(), listed);
    assert_eq!(after.list_page(&ListRequest::all_users()).unwrap().items, listed);
    for issued in [&password, &key] {
        after.set_status(&anika, issued.id(), Status::Inactive).unwrap();
        after.set_status(&anika, issued.id(), Status::Active).unwrap();
    }
    before.authenticate(&codecommit, alias, secret).unwrap();
    after.delete(&anika, password.id()).unwrap();
    after.delete(&anika, key.id()).unwrap();
    assert_eq!(after.list(&anika).unwrap(), []);
}

#[test]
fn credentials_of_the_other_kind_can_neither_authenticate_nor_be_reset() {
    let service: ServiceName = name("x.example.com");
    let passwords = Policy::builder().password_service(service.clone());
    let keys = Policy::builder().api_key_service(service.clone(), "XKEY");
    let ([passwords, keys], anika) = under([passwords, keys]);

    let password = passwords.create(&anika, &service).unwrap();
    let key = keys.create(&anika, &service).unwrap();
    let inner = format!("{}:{}", password.service_user_name(), password.secret().expose());
    let wrapped = format!("XKEY{}", STANDARD.encode(inner));
    let rejections = [
        reason(keys.authenticate(
            &service,
            password.service_user_name().as_str(),
            password.secret().expose(),
        )),
        reason(keys.authenticate_api_key(&service, &wrapped)),
        reason(passwords.authenticate_api_key(&service, key.secret().expose())),
        reason(passwords.authenticate(
            &service,
            key.service_user_name().as_str(),
            key.secret().expose(),
        )),
    ];
    let expected = [
        DenialReason::UnsupportedService,
        DenialReason::WrongSecret,
        DenialReason::UnsupportedService,
        DenialReason::WrongSecret,
    ];
    assert_eq!(rejections, expected.map(Some));
    assert!(unsupported(keys.reset(&anika, password.id()), &service));
    assert!(unsupported(passwords.reset(&anika, key.id()), &service));

    let kinds: Vec<_> = keys.list(&anika).unwrap().iter().map(Credential::kind).collect();
    assert!(kinds.contains(&CredentialKind::Password) && kinds.contains(&CredentialKind::ApiKey));
    let third = keys.create(&anika, &service);
    assert!(
        matches!(third, Err(Error::LimitExceeded { limit: 2, .. })),
        "credentials of both kinds count toward the limit"
    );
    passwords
        .authenticate(&service, password.service_user_name().as_str(), password.secret().expose())
        .unwrap();
    keys.authenticate_api_key(&service, key.secret().expose()).unwrap();
    keys.set_status(&anika, password.id(), Status::Inactive).unwrap();
    keys.delete(&anika, password.id()).unwrap();
    passwords.delete(&anika, key.id()).unwrap();
}

#[test]
fn a_changed_prefix_invalidates_api_keys_until_they_are_reset() {
    let bedrock = name(BEDROCK);
    let other = Policy::builder().api_key_service(name(BEDROCK), "OTHER");
    let ([before, after], anika) = under([Policy::builder(), other]);
    let key = before.create(&anika, &bedrock).unwrap();
    let old = key.secret().expose();
    assert_eq!(reason(after.authenticate_api_key(&bedrock, old)), Some(DenialReason::UnknownName));
    let renewed = after.reset(&anika, key.id()).unwrap();
    assert!(renewed.secret().expose().starts_with("OTHER"));
    after.authenticate_api_key(&bedrock, renewed.secret().expose()).unwrap();
}

#[test]
fn a_lowered_limit_deletes_nothing_and_a_raised_one_permits_more() {
    let limit = |limit| Policy::builder().credentials_per_service(limit);
    let ([three, one, four], anika) = under([limit(3), limit(1), limit(4)]);
    let cassandra = name(CASSANDRA);
    let issued = [(); 3].map(|()| three.create(&anika, &cassandra).unwrap());
    assert!(matches!(three.create(&anika, &cassandra), Err(Error::LimitExceeded { limit: 3, .. })));
    assert_eq!(one.list(&anika).unwrap().len(), 3);
    for issued in &issued {
        one.authenticate(&cassandra, issued.service_user_name().as_str(), issued.secret().expose())
            .unwrap();
    }
    let [first, second, third] = &issued;
    for gone in [first, second, third] {
        let rejected = one.create(&anika, &cassandra);
        assert!(matches!(rejected, Err(Error::LimitExceeded { limit: 1, .. })));
        let _renewed = one.reset(&anika, gone.id()).unwrap();
        one.delete(&anika, gone.id()).unwrap();
    }
    for _ in 0..4 {
        let _issued = four.create(&anika, &cassandra).unwrap();
    }
}

#[test]
fn a_policy_survives_json() {
    let own = Policy::builder()
        .password_service(name("git.example.com"))
        .api_key_service(name("keys.example.com"), "BLDK")
        .without_service(&name(BEDROCK))
        .credentials_per_service(5)
        .numbering(Numbering::BareFirst)
        .password_bytes(16)
        .alphabet(Alphabet::UrlSafe)
        .default_lifetime(days(30))
        .max_lifetime(days(90))
        .build()
        .unwrap();
    for policy in [Policy::default(), Policy::recorded(), own] {
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy, "{text}");
    }
}

#[test]
fn a_policy_is_serialized_like_a_configuration_file() {
    let written = json!({
        "services": {
            "git.example.com": { "kind": "password" },
            "keys.example.com": { "kind": "api-key", "prefix": "BLDK" },
        },
        "credentials_per_service": 3,
        "numbering": "bare-first",
        "password_bytes": 24,
        "alphabet": "url-safe",
        "default_lifetime": 30,
        "max_lifetime": 90,
    });
    let policy: Policy = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(policy.api_key_prefix(&name("keys.example.com")), Some("BLDK"));
    assert_eq!(policy.services().count(), 2);
    assert_eq!(policy.credentials_per_service(), 3);
    assert_eq!(policy.numbering(), Numbering::BareFirst);
    assert_eq!(policy.password_bytes(), 24);
    assert_eq!(policy.alphabet(), Alphabet::UrlSafe);
    assert_eq!(policy.default_lifetime(), Some(days(30)));
    assert_eq!(policy.max_lifetime(), Some(days(90)));
    assert_eq!(serde_json::to_value(policy).unwrap(), written);

    let rest: Policy = serde_json::from_value(json!({ "numbering": "bare-first" })).unwrap();
    assert_eq!(Ok(rest), Policy::builder().numbering(Numbering::BareFirst).build());
}

#[test]
fn a_policy_that_cannot_be_built_is_not_deserialized() {
    for (written, complaint) in [
        (json!({ "credentials_per_service": 0 }), "between 1 and 10"),
        (json!({ "credentials_per_service": 11 }), "between 1 and 10"),
        (json!({ "password_bytes": 15 }), "between 16 and 96"),
        (json!({ "password_bytes": 97 }), "between 16 and 96"),
        (json!({ "password_bytes": -1 }), "invalid value"),
        (json!({ "pasword_bytes": 32 }), "unknown field"),
        (json!({ "default_lifetime": 0 }), "greater than or equal to 1"),
        (json!({ "max_lifetime": 36_601 }), "less than or equal to 36600"),
        (json!({ "default_lifetime": 2, "max_lifetime": 1 }), "must not exceed"),
        (json!({ "numbering": "FromOne" }), "unknown variant"),
        (json!({ "alphabet": "hex" }), "unknown variant"),
        (json!({ "services": { "git.example.com": { "kind": "token" } } }), "unknown variant"),
        (json!({ "services": { "git.example.com": { "kind": "api-key" } } }), "missing field"),
        (json!({ "services": { "git_example": { "kind": "password" } } }), "service name must"),
        (
            json!({ "services": { "k.example.com": { "kind": "api-key", "prefix": "A-B" } } }),
            "ASCII letters and digits",
        ),
    ] {
        let error = serde_json::from_value::<Policy>(written.clone()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{written}: {error}");
    }
}

#[test]
fn a_service_with_an_unknown_setting_is_not_deserialized() {
    for service in [
        json!({ "kind": "password", "prefix": "ABSK" }),
        json!({ "kind": "api-key", "prefix": "ABSK", "prefxi": "ABSK" }),
    ] {
        let written = json!({ "services": { "x.example.com": service } });
        let read = serde_json::from_value::<Policy>(written.clone());
        assert!(read.is_err(), "{written} is deserialized as {read:?}");
    }
}
