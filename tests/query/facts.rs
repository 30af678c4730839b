//! What is known of the real service beyond its documentation: one table of requests, responses and
//! sources. The policy and the dialect are the recorded ones.
//!
//! `Reply::of` checks what is reported of every response: its content type and its request id. What
//! is recorded of calls that only the emulator serves is in `tests/programs/emulator_for_tests.rs`.

use http::Method;
use service_specific_credentials::{Policy, query::Dialect};

use crate::world::{Call, World};

/// Where a fact is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Published recordings of the real service.
    Recorded,
    /// The service model of the API, issue threads, or other emulators.
    Reported,
}
use Source::{Recorded, Reported};

/// What the elements of a name have as their texts.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// These texts, in this order.
    Is(&'static [&'static str]),
    /// One text that starts so, of this many characters.
    Starts(&'static str, usize),
}
use Text::{Is, Starts};

/// The source; requests, each an action and a form, with a caller in front if there is one; the
/// status of the response to the last one, and its elements.
type Fact = (Source, &'static [&'static str], u16, &'static [(&'static str, Text)]);

const NO_USER: &str = "The user with name Nobody cannot be found.";
const QUOTA: &str = "Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: 2";
const UNSUPPORTED: &str =
    "No such service EC2.amazonaws.com is supported for Service Specific Credentials";
const OTHERS: &str = "User carl does not have a service specific credential with id {bo}";
const REFERRED: &str = "Cannot delete entity, must remove referenced objects first.";
const PATH: &str = "The specified value for path is invalid. It must begin and end with / and \
                    contain only alphanumeric characters and/or / characters.";
const ALL_AND_ONE: &str = "Cannot list credentials for all users if a username is given";
const NAMELESS: &str = "Must specify userName when calling with non-User credentials";
const CHARACTERS: &str = "The specified value for userName is invalid. It must contain only \
                          alphanumeric characters and/or the following: +=,.@_-";
const MAX_ITEMS: &str = "\
    1 validation error detected: Value at 'maxItems' failed to satisfy constraint: Member must \
    have value less than or equal to 1000";
const STATUS: &str = "\
    1 validation error detected: Value at 'status' failed to satisfy constraint: Member must \
    satisfy enum value set";
const ID_PATTERN: &str = "\
    1 validation error detected: Value at 'serviceSpecificCredentialId' failed to satisfy \
    constraint: Member must satisfy regular expression pattern: [\\w]+";
const SEVERAL: &str = "\
    2 validation errors detected: Value at 'serviceSpecificCredentialId' failed to satisfy \
    constraint: Member must have length greater than or equal to 20; Value at 'status' failed \
    to satisfy constraint: Member must satisfy enum value set";
const AGE: &str = "\
    1 validation error detected: Value at 'credentialAgeDays' failed to satisfy constraint: \
    Member must have value less than or equal to 36600";
const TAG_KEY: &str = "\
    1 validation error detected: Value at 'tags.1.member.key' failed to satisfy constraint: \
    Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+";
const REPEATED: &str = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";

const FIRST: &str =
    "CreateServiceSpecificCredential UserName=carl&ServiceName=codecommit.amazonaws.com";
const BEDROCK: &str =
    "CreateServiceSpecificCredential UserName=carl&ServiceName=bedrock.amazonaws.com";
const LIST: &str = "ListServiceSpecificCredentials UserName=carl";

const FACTS: &[Fact] = &[
    // Credentials that are created.
    (
        Recorded,
        &[FIRST],
        200,
        &[
            ("ServiceUserName", Is(&["carl-at-123456789012"])),
            ("ServiceSpecificCredentialId", Starts("ACCA", 21)),
            ("ServicePassword", Starts("", 60)),
            ("Status", Is(&["Active"])),
            ("ExpirationDate", Is(&[])),
        ],
    ),
    (Recorded, &[FIRST, FIRST], 200, &[("ServiceUserName", Is(&["carl+1-at-123456789012"]))]),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=CARL&ServiceName=CodeCommit.AmazonAWS.com"],
        200,
        &[
            ("UserName", Is(&["carl"])),
            ("ServiceName", Is(&["codecommit.amazonaws.com"])),
            ("ServiceUserName", Is(&["carl-at-123456789012"])),
        ],
    ),
    (
        Recorded,
        &[
            FIRST,
            "CreateServiceSpecificCredential UserName=carl&ServiceName=cassandra.amazonaws.com",
        ],
        200,
        &[("ServiceUserName", Is(&["carl-at-123456789012"]))],
    ),
    (
        Recorded,
        &[
            FIRST,
            "DeleteServiceSpecificCredential UserName=carl&ServiceSpecificCredentialId={id}",
            FIRST,
            "DeleteServiceSpecificCredential UserName=carl&ServiceSpecificCredentialId={id}",
            FIRST,
        ],
        200,
        &[("ServiceUserName", Is(&["carl-at-123456789012"]))],
    ),
    (
        Recorded,
        &[
            FIRST,
            "UpdateUser UserName=carl&NewUserName=charles",
            "CreateServiceSpecificCredential UserName=charles&ServiceName=codecommit.amazonaws.com",
        ],
        200,
        &[("ServiceUserName", Is(&["charles-at-123456789012"]))],
    ),
    (
        Recorded,
        &[FIRST, "UpdateUser UserName=carl&NewUserName=charles", "CreateUser UserName=carl", FIRST],
        200,
        &[("ServiceUserName", Is(&["carl+1-at-123456789012"]))],
    ),
    (
        Recorded,
        &[
            FIRST,
            "UpdateUser UserName=carl&NewUserName=charles",
            "ListServiceSpecificCredentials UserName=charles",
        ],
        200,
        &[("UserName", Is(&["charles"])), ("ServiceUserName", Is(&["carl-at-123456789012"]))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=codecommit.amazonaws.com\
         &CredentialAgeDays=1"],
        200,
        &[("ExpirationDate", Starts("20", 24))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=codecommit.amazonaws.com\
         &CredentialAgeDays=36600"],
        200,
        &[("ExpirationDate", Starts("21", 24))],
    ),
    (
        Recorded,
        &["carl: CreateServiceSpecificCredential ServiceName=codecommit.amazonaws.com"],
        200,
        &[("UserName", Is(&["carl"]))],
    ),
    // API keys. The secret is the prefix and 84 + 4 more characters for alias and password.
    (
        Recorded,
        &[BEDROCK],
        200,
        &[
            ("ServiceCredentialAlias", Is(&["carl-at-123456789012"])),
            ("ServiceCredentialSecret", Starts("ABSK", 112)),
            ("ServiceUserName", Is(&[])),
            ("ServicePassword", Is(&[])),
        ],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=logs.amazonaws.com"],
        200,
        &[("ServiceCredentialSecret", Starts("ACWL", 112))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=cloudwatch.amazonaws.com"],
        200,
        &[("ServiceCredentialSecret", Starts("APIAACWM", 116))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl\
         &ServiceName=aws-external-anthropic.amazonaws.com"],
        200,
        &[("ServiceCredentialSecret", Starts("AEAA", 112))],
    ),
    (
        Recorded,
        &[BEDROCK, "ResetServiceSpecificCredential UserName=carl&ServiceSpecificCredentialId={id}"],
        200,
        &[("ServiceCredentialSecret", Starts("ABSK", 112)), ("ServicePassword", Is(&[]))],
    ),
    // Reset.
    (
        Recorded,
        &["ResetServiceSpecificCredential UserName=anika&ServiceSpecificCredentialId={inactive}"],
        200,
        &[("Status", Is(&["Inactive"]))],
    ),
    (
        Recorded,
        &["ResetServiceSpecificCredential UserName=bo&ServiceSpecificCredentialId={bo}"],
        200,
        &[("ExpirationDate", Is(&["{expiration of bo}"]))],
    ),
    // Lists.
    (Recorded, &[LIST], 200, &[("IsTruncated", Is(&["false"])), ("Marker", Is(&[]))]),
    (
        Recorded,
        &[FIRST, "ListServiceSpecificCredentials UserName=carl&ServiceName="],
        200,
        &[("ServiceName", Is(&["codecommit.amazonaws.com"]))],
    ),
    (
        Recorded,
        &[FIRST, "ListServiceSpecificCredentials UserName=carl&AllUsers=false"],
        200,
        &[("UserName", Is(&["carl"]))],
    ),
    (
        Recorded,
        &[FIRST, "carl: ListServiceSpecificCredentials "],
        200,
        &[("UserName", Is(&["carl"]))],
    ),
    (
        Recorded,
        &[
            FIRST,
            FIRST,
            "ListServiceSpecificCredentials UserName=carl&MaxItems=1&AllUsers=false",
            "ListServiceSpecificCredentials UserName=carl&AllUsers=0&Marker={next}",
        ],
        200,
        &[("UserName", Is(&["carl"])), ("IsTruncated", Is(&["false"]))],
    ),
    (Recorded, &["ListServiceSpecificCredentials UserName=carl&MaxItems=%2B01"], 200, &[]),
    (Recorded, &["ListServiceSpecificCredentials UserName=carl&Unknown=1"], 200, &[]),
    // Errors, in the order of the checks.
    (Reported, &[" UserName=carl"], 400, &[("Code", Is(&["MissingAction"]))]),
    (
        Reported,
        &["ListGroups UserName=carl"],
        400,
        &[
            ("Code", Is(&["InvalidAction"])),
            ("Message", Is(&["Could not find operation ListGroups for version 2010-05-08"])),
        ],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&MaxItems=1.0"],
        400,
        &[("Code", Is(&["MalformedInput"]))],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&MaxItems=1e0"],
        400,
        &[("Code", Is(&["MalformedInput"]))],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&MaxItems=%201%20"],
        400,
        &[("Code", Is(&["MalformedInput"]))],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&MaxItems=2147483648"],
        400,
        &[("Code", Is(&["MalformedInput"]))],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&AllUsers=True"],
        400,
        &[("Code", Is(&["MalformedInput"]))],
    ),
    (
        Reported,
        &["ListServiceSpecificCredentials UserName=carl&MaxItems=1001"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[MAX_ITEMS]))],
    ),
    (
        Recorded,
        &["UpdateServiceSpecificCredential ServiceSpecificCredentialId={active}&Status=Invalid"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[STATUS]))],
    ),
    (
        Recorded,
        &["ResetServiceSpecificCredential UserName=carl\
         &ServiceSpecificCredentialId=totally-wrong-credential-id-with-hyphens"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[ID_PATTERN]))],
    ),
    (
        Reported,
        &["UpdateServiceSpecificCredential Status=A&ServiceSpecificCredentialId=A"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[SEVERAL]))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=codecommit.amazonaws.com\
         &CredentialAgeDays=36601"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[AGE]))],
    ),
    (
        Reported,
        &["ListServiceSpecificCredentials UserName=a%20b"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[CHARACTERS]))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=a%20b"],
        400,
        &[
            ("Code", Is(&["ValidationError"])),
            ("Message", Is(&["ServiceName must match [a-zA-Z0-9.-]*"])),
        ],
    ),
    (
        Recorded,
        &["ListServiceSpecificCredentials UserName=carl&AllUsers=true"],
        400,
        &[("Code", Is(&["InvalidInput"])), ("Message", Is(&[ALL_AND_ONE]))],
    ),
    (
        Reported,
        &["ListServiceSpecificCredentials "],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[NAMELESS]))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=Nobody&ServiceName=a.com"],
        404,
        &[("Code", Is(&["NoSuchEntity"])), ("Message", Is(&[NO_USER]))],
    ),
    (
        Recorded,
        &["CreateServiceSpecificCredential UserName=carl&ServiceName=EC2.amazonaws.com"],
        404,
        &[("Code", Is(&["NoSuchEntity"])), ("Message", Is(&[UNSUPPORTED]))],
    ),
    (
        Reported,
        &["ListServiceSpecificCredentials UserName=carl&Marker=none"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&["Invalid Marker."]))],
    ),
    (
        Recorded,
        &["DeleteServiceSpecificCredential UserName=carl\
         &ServiceSpecificCredentialId=satisfiesregexbutstillinvalid"],
        404,
        &[
            ("Code", Is(&["NoSuchEntity"])),
            ("Message", Is(&["No such credential satisfiesregexbutstillinvalid exists"])),
        ],
    ),
    (
        Recorded,
        &["ResetServiceSpecificCredential UserName=carl&ServiceSpecificCredentialId={bo}"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[OTHERS]))],
    ),
    (
        Recorded,
        &["UpdateServiceSpecificCredential UserName=anika&ServiceSpecificCredentialId={active}\
         &Status=Expired"],
        400,
        &[
            ("Code", Is(&["InvalidInput"])),
            ("Message", Is(&["Operation does not support status Expired"])),
        ],
    ),
    (
        Recorded,
        &[FIRST, FIRST, FIRST],
        409,
        &[("Code", Is(&["LimitExceeded"])), ("Message", Is(&[QUOTA]))],
    ),
    // Users.
    (
        Recorded,
        &["DeleteUser UserName=bo"],
        409,
        &[("Code", Is(&["DeleteConflict"])), ("Message", Is(&[REFERRED]))],
    ),
    (
        Reported,
        &["CreateUser UserName=Carl"],
        409,
        &[
            ("Code", Is(&["EntityAlreadyExists"])),
            ("Message", Is(&["User with name Carl already exists."])),
        ],
    ),
    (
        Recorded,
        &["CreateUser UserName=dora&Path=/a//b/"],
        200,
        &[("Path", Is(&["/a//b/"])), ("Arn", Is(&["arn:aws:iam::123456789012:user/a//b/dora"]))],
    ),
    (
        Recorded,
        &["CreateUser UserName=dora&Path=//"],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[PATH]))],
    ),
    (Recorded, &["CreateUser UserName=dora&Path=/team"], 400, &[("Message", Is(&[PATH]))]),
    (Recorded, &["CreateUser UserName=dora&Path=team/"], 400, &[("Message", Is(&[PATH]))]),
    (Recorded, &["CreateUser UserName=dora&Path=/%20a/"], 400, &[("Message", Is(&[PATH]))]),
    (
        Recorded,
        &["UpdateUser UserName=carl&NewPath=/team/", "ListUsers PathPrefix=/te"],
        200,
        &[("UserName", Is(&["carl"]))],
    ),
    // Tags.
    (
        Recorded,
        &[
            "TagUser UserName=carl&Tags.member.1.Key=team&Tags.member.1.Value=a",
            "TagUser UserName=carl&Tags.member.1.Key=Team&Tags.member.1.Value=b",
            "ListUserTags UserName=carl",
        ],
        200,
        &[("Key", Is(&["Team"])), ("Value", Is(&["b"])), ("IsTruncated", Is(&["false"]))],
    ),
    (
        Recorded,
        &["TagUser UserName=carl&Tags.member.1.Key=aws:a&Tags.member.1.Value="],
        400,
        &[("Code", Is(&["InvalidInput"]))],
    ),
    (
        Recorded,
        &["TagUser UserName=carl&Tags.member.1.Key=a&Tags.member.1.Value=&Tags.member.2.Key=A\
         &Tags.member.2.Value="],
        400,
        &[("Code", Is(&["InvalidInput"])), ("Message", Is(&[REPEATED]))],
    ),
    (Recorded, &["TagUser UserName=carl&Tags="], 400, &[("Code", Is(&["InvalidInput"]))]),
    (Recorded, &["TagUser UserName=carl{1 to 51}"], 400, &[("Code", Is(&["ValidationError"]))]),
    (
        Recorded,
        &[
            "TagUser UserName=carl{1 to 50}",
            "TagUser UserName=carl&Tags.member.1.Key=z&Tags.member.1.Value=",
        ],
        409,
        &[("Code", Is(&["LimitExceeded"]))],
    ),
    (Recorded, &["UntagUser UserName=carl&TagKeys.member.1=none"], 200, &[]),
    (
        Reported,
        &["CreateUser UserName=dora&Tags.member.1.Key=a&Tags.member.1.Value=1"],
        200,
        &[("Key", Is(&["a"])), ("Value", Is(&["1"]))],
    ),
    (Reported, &["GetUser UserName=carl"], 200, &[("Tags", Is(&[]))]),
    (
        Reported,
        &["TagUser UserName=carl&Tags.member.1.Key=a&Tags.member.1.Value=1", "ListUsers "],
        200,
        &[("Tags", Is(&[])), ("Key", Is(&[]))],
    ),
    (
        Reported,
        &["TagUser UserName=carl&Tags.member.1.Key=*&Tags.member.1.Value="],
        400,
        &[("Code", Is(&["ValidationError"])), ("Message", Is(&[TAG_KEY]))],
    ),
];

#[test]
fn every_fact_holds() {
    for (source, requests, status, elements) in FACTS {
        let world = World::by(Policy::recorded());
        let of_bo = world.post("ListServiceSpecificCredentials", "UserName=bo");
        let mut named = vec![("{expiration of bo}", of_bo.text("ExpirationDate"))];
        for last in [50, 51] {
            let tag = |key| format!("&Tags.member.{key}.Key=k{key}&Tags.member.{key}.Value=");
            let tags = (1..=last).map(tag).collect();
            named.push((if last == 50 { "{1 to 50}" } else { "{1 to 51}" }, tags));
        }
        let (last, earlier) = requests.split_last().unwrap();
        let send = |request: &str, named: &[(&str, String)]| {
            let text =
                named.iter().rfold(request.to_owned(), |text, (from, to)| text.replace(from, to));
            let (caller, text) = match text.split_once(": ") {
                Some(("carl", text)) => (Some("carl"), text.to_owned()),
                _ => (None, text),
            };
            let (action, parameters) = text.split_once(' ').unwrap();
            let call = match action {
                "" => Call::form(parameters),
                _ => Call::post(action, parameters),
            };
            assert_eq!(call.method, Method::POST);
            world.send(&Call { caller, ..call.dialect(Dialect::Recorded) })
        };
        for request in earlier {
            let reply = send(request, &named);
            assert_eq!(reply.status, 200, "{source:?} {requests:?}: {}", reply.body);
            // The latest one takes precedence.
            for (name, element) in [("{id}", "ServiceSpecificCredentialId"), ("{next}", "Marker")] {
                named.extend(reply.texts(element).pop().map(|text| (name, text)));
            }
        }
        let reply = send(last, &named);
        assert_eq!(reply.status, *status, "{source:?} {requests:?}: {}", reply.body);
        for (element, expected) in *elements {
            let texts = reply.texts(element);
            let context = format!("{source:?} {requests:?}: {element} in {}", reply.body);
            match expected {
                Is(expected) => {
                    let fill = |text: &&str| {
                        let text = named
                            .iter()
                            .rfold((*text).to_owned(), |text, (from, to)| text.replace(from, to));
                        world.fill(&text)
                    };
                    assert_eq!(texts, expected.iter().map(fill).collect::<Vec<_>>(), "{context}");
                }
                Starts(start, length) => {
                    assert_eq!(texts.len(), 1, "{context}");
                    assert!(texts[0].starts_with(start), "{context}");
                    assert_eq!(texts[0].chars().count(), *length, "{context}");
                }
            }
        }
    }
}
