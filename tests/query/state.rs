//! The life cycle of credentials over the Query protocol, and the responses when a store fails.

use http::StatusCode;
use service_specific_credentials::{
    CredentialManager, Entropy, EntropyError, Policy, Status, UserName,
    query::{self, Dialect, ErrorResponse, RequestError, RequestId},
};
use time::Duration;

use crate::{
    common::name,
    world::{
        CREATE, Call, DELETE, FORM, Fault, LIST, RESET, Reply, UPDATE, World, form, request_id,
    },
};

const API_KEYS: [(&str, &str); 4] = [
    ("bedrock.amazonaws.com", "ABSK"),
    ("logs.amazonaws.com", "ACWL"),
    ("cloudwatch.amazonaws.com", "APIAACWM"),
    ("aws-external-anthropic.amazonaws.com", "AEAA"),
];

fn at(id: &str) -> String {
    format!("UserName=carl&ServiceSpecificCredentialId={id}")
}

fn id(reply: &Reply) -> String {
    reply.text("ServiceSpecificCredentialId")
}

#[test]
fn api_keys_have_an_alias_and_a_secret() {
    for (service, prefix) in API_KEYS {
        let world = World::new();
        let created = world.post(CREATE, &format!("UserName=carl&ServiceName={service}"));
        let reset = world.post(RESET, &at(&id(&created)));
        let mut last = None;
        for (reply, operation) in [(&created, CREATE), (&reset, RESET)] {
            let expected = [
                &format!("{operation}Response"),
                &format!("{operation}Result"),
                "ServiceSpecificCredential",
                "ServiceCredentialSecret",
                "ServiceName",
                "UserName",
                "ServiceCredentialAlias",
                "ServiceSpecificCredentialId",
                "Status",
                "CreateDate",
                "ResponseMetadata",
                "RequestId",
            ];
            assert_eq!(reply.elements(), expected);
            assert_eq!(reply.text("ServiceCredentialAlias"), "carl+1-at-123456789012");
            let secret = reply.text("ServiceCredentialSecret");
            assert!(secret.starts_with(prefix));
            assert_ne!(last.replace(secret), Some(reply.text("ServiceCredentialSecret")));
        }
        let listed = world.post(LIST, "UserName=carl");
        assert_eq!(listed.text("ServiceCredentialAlias"), "carl+1-at-123456789012");
        for absent in ["ServiceUserName", "ServicePassword", "ServiceCredentialSecret"] {
            assert_eq!(listed.texts(absent).len(), 0);
        }
    }
}

#[test]
fn a_password_authenticates_until_it_is_reset_or_disabled() {
    let world = World::new();
    let created = world.post(CREATE, "UserName=carl&ServiceName=codecommit.amazonaws.com");
    let service = name(&created.text("ServiceName"));
    let authenticates = |reply: &Reply| {
        let (user, password) = (reply.text("ServiceUserName"), reply.text("ServicePassword"));
        world.iam.authenticate(&service, &user, &password).is_ok()
    };
    assert!(authenticates(&created));
    let reset = world.post(RESET, &at(&id(&created)));
    assert!(authenticates(&reset) && !authenticates(&created));
    for status in ["Inactive", "Inactive", "Active", "Active"] {
        let update = format!("{}&Status={status}", at(&id(&created)));
        assert_eq!(world.post(UPDATE, &update).status, 200);
        assert_eq!(world.post(LIST, "UserName=carl").text("Status"), status);
        assert_eq!(authenticates(&reset), status == Status::Active.as_str());
    }
    assert_eq!(world.post(DELETE, &at(&id(&created))).status, 200);
    assert!(!authenticates(&reset));
    let (_, _, message) = world.rejection(&Call::post(DELETE, &at(&id(&created))));
    assert_eq!(message, format!("No such credential {} exists", id(&created)));
}

#[test]
fn an_expired_credential_can_only_be_deleted() {
    let world = World::new();
    let both = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    let created = world.post(CREATE, &format!("{both}&CredentialAgeDays=2"));
    assert_eq!(created.elements().last().unwrap(), "RequestId");
    assert_eq!(created.text("ExpirationDate"), "2016-11-04T17:47:22.385Z");
    let listed = || world.post(LIST, "UserName=carl");
    world.clock.advance(Duration::days(2) - Duration::MILLISECOND);
    assert_eq!(listed().text("Status"), "Active");
    let id = id(&created);
    let reset = world.post(RESET, &at(&id));
    assert_eq!(reset.text("ExpirationDate"), "2016-11-04T17:47:22.385Z");

    world.clock.advance(Duration::MILLISECOND);
    assert_eq!(listed().text("Status"), "Expired");
    assert_eq!(listed().text("ExpirationDate"), "2016-11-04T17:47:22.385Z");
    let message = format!("service specific credential {id} has expired");
    world.rejects(RESET, &at(&id), "InvalidInput", &message);
    for status in ["Active", "Inactive"] {
        let update = format!("{}&Status={status}", at(&id));
        world.rejects(UPDATE, &update, "InvalidInput", &message);
    }
    let update = format!("{}&Status=Expired", at(&id));
    let unsupported = "Operation does not support status Expired";
    world.rejects(UPDATE, &update, "InvalidInput", unsupported);
    // It counts toward the limit.
    assert_eq!(world.post(CREATE, both).status, 200);
    assert_eq!(world.rejection(&Call::post(CREATE, both)).1, "LimitExceeded");
    assert_eq!(world.post(DELETE, &at(&id)).status, 200);
    assert_eq!(world.post(CREATE, both).status, 200);
}

#[test]
fn users_are_created_renamed_and_deleted() {
    let world = World::new();
    let renamed = world.post("UpdateUser", "UserName=ANIKA&NewUserName=Anne");
    assert_eq!(renamed.elements(), ["UpdateUserResponse", "ResponseMetadata", "RequestId"]);
    let listed = world.post(LIST, "UserName=anne&MaxItems=1");
    assert_eq!(listed.text("UserName"), "Anne");
    assert_eq!(listed.text("ServiceUserName"), "anika+1-at-123456789012");
    assert_eq!(world.rejection(&Call::post("GetUser", "UserName=anika")).1, "NoSuchEntity");
    // The same name in another spelling, and the very same name.
    assert_eq!(world.post("UpdateUser", "UserName=anne&NewUserName=ANNE").status, 200);
    assert_eq!(world.post("UpdateUser", "UserName=anne").status, 200);
    assert_eq!(world.post("GetUser", "UserName=anne").text("UserName"), "ANNE");
    assert_eq!(world.post("DeleteUser", "UserName=Carl").status, 200);
    for (action, parameters) in [
        ("GetUser", "UserName=Carl"),
        ("UpdateUser", "UserName=Carl"),
        ("UpdateUser", "UserName=Carl&NewUserName=anne"),
        ("DeleteUser", "UserName=Carl"),
        (LIST, "UserName=Carl"),
        (CREATE, "UserName=Carl&ServiceName=ec2"),
        (RESET, "UserName=Carl&ServiceSpecificCredentialId={active}"),
    ] {
        let message = "The user with name Carl cannot be found.".to_owned();
        let rejection = world.rejection(&Call::post(action, parameters));
        assert_eq!(rejection, (404, "NoSuchEntity".into(), message), "{action}");
    }
}

#[test]
fn a_failing_store_is_a_500_without_details() {
    let of_carl = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    let of_active = "UserName=anika&ServiceSpecificCredentialId={active}";
    let update = format!("{of_active}&Status=Inactive");
    let calls = [
        (CREATE, of_carl),
        (UPDATE, &update),
        (RESET, of_active),
        (DELETE, of_active),
        ("CreateUser", "UserName=dora"),
        ("UpdateUser", "UserName=carl&NewUserName=Karl"),
        ("DeleteUser", "UserName=carl"),
        (LIST, "UserName=anika"),
        (LIST, "AllUsers=true"),
        ("GetUser", "UserName=anika"),
        ("ListUsers", ""),
    ];
    for (fault, message) in [
        (Fault::Read, "the store failed"),
        (Fault::Write, "the store failed, and the outcome is unknown"),
        (Fault::AfterWriting, "the store failed, and the outcome is unknown"),
    ] {
        for (action, parameters) in calls {
            let reads = action.starts_with("List") || action.starts_with("Get");
            if reads && fault != Fault::Read {
                continue;
            }
            for dialect in [Dialect::Documented, Dialect::Recorded] {
                let world = World::new();
                let before = world.dump();
                *world.fault.lock().unwrap() = fault;
                let reply = world.send(&Call::post(action, parameters).dialect(dialect));
                assert_eq!(reply.status, 500, "{action} {fault:?}");
                assert_eq!(reply.text("Code"), "ServiceFailure");
                assert_eq!(reply.text("Type"), "Receiver");
                assert_eq!(reply.text("Message"), message);
                assert!(!reply.body.contains("fire"), "{}", reply.body);
                assert_eq!(world.dump() != before, fault == Fault::AfterWriting);
            }
        }
    }
}

/// A generator that always fails.
#[derive(Debug)]
struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("/dev/random is on fire"))
    }
}

#[test]
fn failing_entropy_is_a_500_without_details() {
    let world = World::new();
    let before = world.dump();
    let iam = CredentialManager::builder(world.iam.account(), world.iam.store().clone())
        .entropy(Broken)
        .build();
    for form in [
        form(CREATE, "UserName=carl&ServiceName=codecommit.amazonaws.com"),
        form(RESET, "UserName=anika&ServiceSpecificCredentialId={active}"),
        form("CreateUser", "UserName=dora"),
    ] {
        let request = http::Request::get(format!("/?{}", world.fill(&form))).body("").unwrap();
        let response = query::handle(&iam, &request, None, Dialect::default(), request_id());
        assert_eq!(response.status(), 500);
        let body = String::from_utf8(response.into_body().into()).unwrap();
        assert!(body.contains("<Type>Receiver</Type><Code>ServiceFailure</Code>"), "{body}");
        assert!(!body.contains("fire"), "{body}");
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn errors_name_a_service_removed_from_the_policy_as_stored() {
    let without = Policy::builder().without_service(&name("codecommit.amazonaws.com"));
    let world = World::new();
    let iam = CredentialManager::builder(world.iam.account(), world.iam.store().clone())
        .policy(without.build().unwrap())
        .build();
    let reset =
        Call::post(RESET, &world.fill("UserName=anika&ServiceSpecificCredentialId={active}"));
    let request = http::Request::post("/").header("content-type", FORM).body(reset.body).unwrap();
    let response = query::handle(&iam, &request, None, Dialect::Recorded, request_id());
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = String::from_utf8(response.into_body().into()).unwrap();
    let message =
        "No such service codecommit.amazonaws.com is supported for Service Specific Credentials";
    assert!(body.contains(message) && body.contains("<Code>NoSuchEntity</Code>"), "{body}");
}

#[test]
fn request_ids_are_random_uuids() {
    let [one, other] = [RequestId::random(), RequestId::random()];
    assert_ne!(one, other);
    for id in [one, other] {
        let parts: Vec<_> = id.to_string().split('-').map(str::to_owned).collect();
        assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']));
        let response = ErrorResponse::from(RequestError::MissingAction).response(id);
        assert_eq!(response.headers()["x-amzn-requestid"], id.to_string());
    }
}

#[test]
fn the_default_dialect_is_documented() {
    assert_eq!(Dialect::default(), Dialect::Documented);
}

#[test]
fn responses_with_secrets_must_not_be_cached() {
    let world = World::new();
    let both = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    for call in [Call::post(CREATE, both), Call::post(LIST, ""), Call::get("")] {
        assert_eq!(world.send(&call).header("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_custom_error_has_the_form_of_other_errors() {
    let rejection = ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "Throttling", "later");
    assert_eq!((rejection.status().as_u16(), rejection.code()), (503, "Throttling"));
    assert_eq!(rejection.message(), "later");
    let body = String::from_utf8(rejection.response(request_id()).into_body().into()).unwrap();
    assert_eq!(
        body,
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>\
         <Type>Receiver</Type><Code>Throttling</Code><Message>later</Message></Error>\
         <RequestId>01020304-0506-0708-090a-0b0c0d0e0f10</RequestId></ErrorResponse>"
    );
    // Errors of the core before there is a request.
    let invalid = "".parse::<UserName>().unwrap_err().into();
    let rejection = ErrorResponse::from_error(&invalid, Dialect::Documented);
    assert_eq!((rejection.status().as_u16(), rejection.code()), (400, "ValidationError"));
    assert_eq!(
        rejection.message(),
        "1 validation error detected: Value at 'userName' failed to satisfy constraint: Member \
         must have length greater than or equal to 1"
    );
}
