//! What credentials are on the wire from the first to the last of their days, and what a store that
//! fails looks like from there.

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
fn what_a_client_was_given_opens_the_service_until_it_is_reset_or_disabled() {
    let world = World::new();
    let created = world.post(CREATE, "UserName=carl&ServiceName=codecommit.amazonaws.com");
    let service = name(&created.text("ServiceName"));
    let opens = |reply: &Reply| {
        let (user, password) = (reply.text("ServiceUserName"), reply.text("ServicePassword"));
        world.iam.authenticate(&service, &user, &password).is_ok()
    };
    assert!(opens(&created));
    let reset = world.post(RESET, &at(&id(&created)));
    assert!(opens(&reset) && !opens(&created));
    for status in ["Inactive", "Inactive", "Active", "Active"] {
        let update = format!("{}&Status={status}", at(&id(&created)));
        assert_eq!(world.post(UPDATE, &update).status, 200);
        assert_eq!(world.post(LIST, "UserName=carl").text("Status"), status);
        assert_eq!(opens(&reset), status == Status::Active.as_str());
    }
    assert_eq!(world.post(DELETE, &at(&id(&created))).status, 200);
    assert!(!opens(&reset));
    let (_, _, message) = world.refusal(&Call::post(DELETE, &at(&id(&created))));
    assert_eq!(message, format!("No such credential {} exists", id(&created)));
}

#[test]
fn a_credential_expires_on_its_date_and_can_then_be_deleted_alone() {
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
    world.refuses(RESET, &at(&id), "InvalidInput", &message);
    for status in ["Active", "Inactive"] {
        let update = format!("{}&Status={status}", at(&id));
        world.refuses(UPDATE, &update, "InvalidInput", &message);
    }
    let update = format!("{}&Status=Expired", at(&id));
    let unsupported = "Operation does not support status Expired";
    world.refuses(UPDATE, &update, "InvalidInput", unsupported);
    // It counts.
    assert_eq!(world.post(CREATE, both).status, 200);
    assert_eq!(world.refusal(&Call::post(CREATE, both)).1, "LimitExceeded");
    assert_eq!(world.post(DELETE, &at(&id)).status, 200);
    assert_eq!(world.post(CREATE, both).status, 200);
}

#[test]
fn users_come_change_their_names_and_go() {
    let world = World::new();
    let renamed = world.post("UpdateUser", "UserName=ANIKA&NewUserName=Anne");
    assert_eq!(renamed.elements(), ["UpdateUserResponse", "ResponseMetadata", "RequestId"]);
    let listed = world.post(LIST, "UserName=anne&MaxItems=1");
    assert_eq!(listed.text("UserName"), "Anne");
    assert_eq!(listed.text("ServiceUserName"), "anika+1-at-123456789012");
    assert_eq!(world.refusal(&Call::post("GetUser", "UserName=anika")).1, "NoSuchEntity");
    // The same name in another spelling, and no other name at all.
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
        let refusal = world.refusal(&Call::post(action, parameters));
        assert_eq!(refusal, (404, "NoSuchEntity".into(), message), "{action}");
    }
}

#[test]
fn a_store_that_fails_is_no_fault_of_the_client_and_says_nothing_of_itself() {
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
                let reply = world.ask(&Call::post(action, parameters).dialect(dialect));
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

/// A generator that is broken.
#[derive(Debug)]
struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("/dev/random is on fire"))
    }
}

#[test]
fn a_generator_that_fails_is_no_fault_of_the_client_either() {
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
fn a_service_that_the_policy_no_longer_names_is_told_as_it_is_kept() {
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
fn the_dialect_is_the_documented_one_unless_told_otherwise() {
    assert_eq!(Dialect::default(), Dialect::Documented);
}

#[test]
fn a_secret_is_not_to_be_kept_on_the_way() {
    let world = World::new();
    let both = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    for call in [Call::post(CREATE, both), Call::post(LIST, ""), Call::get("")] {
        assert_eq!(world.ask(&call).header("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_refusal_of_ones_own_is_written_as_the_others() {
    let refusal = ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "Throttling", "later");
    assert_eq!((refusal.status().as_u16(), refusal.code()), (503, "Throttling"));
    assert_eq!(refusal.message(), "later");
    let body = String::from_utf8(refusal.response(request_id()).into_body().into()).unwrap();
    assert_eq!(
        body,
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>\
         <Type>Receiver</Type><Code>Throttling</Code><Message>later</Message></Error>\
         <RequestId>01020304-0506-0708-090a-0b0c0d0e0f10</RequestId></ErrorResponse>"
    );
    // What the core refuses before there is a request.
    let invalid = "".parse::<UserName>().unwrap_err().into();
    let refusal = ErrorResponse::from_error(&invalid, Dialect::Documented);
    assert_eq!((refusal.status().as_u16(), refusal.code()), (400, "ValidationError"));
    assert_eq!(
        refusal.message(),
        "1 validation error detected: Value at 'userName' failed to satisfy constraint: Member \
         must have length greater than or equal to 1"
    );
}
