//! Every operation and every error in both dialects, byte for byte.
//!
//! `SSC_WRITE_GOLDEN=1 cargo test --test query` rewrites the files. Review the differences
//! afterwards.

use std::{collections::BTreeSet, env, fs, path::Path};

use http::Method;
use roxmltree::Document;
use service_specific_credentials::{
    CredentialManager, MemoryStore, Policy,
    query::{self, Dialect, MAX_BYTES},
    testing::{FixedClock, SeededEntropy},
};

use crate::{
    common::{ACCOUNT, dawn, name},
    world::{
        CREATE, Call, DELETE, FORM, Fault, LIST, RESET, Reply, UPDATE, World, form, request_id,
    },
};

/// The name of the file, the fault of the store, and the expected response in each dialect.
struct Case {
    file: &'static str,
    call: Call,
    fault: Fault,
    documented: Expected,
    recorded: Expected,
}

/// The status, and the code of an error.
type Expected = (u16, Option<&'static str>);

const DONE: Expected = (200, None);

fn done(file: &'static str, action: &str, parameters: &str) -> Case {
    let call = Call::post(action, parameters);
    Case { file, call, fault: Fault::None, documented: DONE, recorded: DONE }
}

fn rejected(file: &'static str, status: u16, code: &'static str, call: Call) -> Case {
    let expected = (status, Some(code));
    Case { file, call, fault: Fault::None, documented: expected, recorded: expected }
}

impl Case {
    fn recorded(self, status: u16, code: &'static str) -> Self {
        Self { recorded: (status, Some(code)), ..self }
    }

    fn fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    fn caller(self, caller: &'static str) -> Self {
        Self { call: self.call.caller(caller), ..self }
    }
}

fn operations() -> Vec<Case> {
    vec![
        done("create-password", CREATE, "UserName=Carl&ServiceName=CodeCommit.amazonaws.com"),
        done("create-second", CREATE, "UserName=bo&ServiceName=codecommit.amazonaws.com"),
        done("create-api-key", CREATE, "UserName=carl&ServiceName=bedrock.amazonaws.com"),
        done(
            "create-password-that-expires",
            CREATE,
            "UserName=carl&ServiceName=codecommit.amazonaws.com&CredentialAgeDays=36600",
        ),
        done(
            "create-api-key-that-expires",
            CREATE,
            "UserName=carl&ServiceName=logs.amazonaws.com&CredentialAgeDays=1",
        ),
        done("create-of-caller", CREATE, "ServiceName=cassandra.amazonaws.com").caller("carl"),
        done("list-of-user", LIST, "UserName=anika"),
        done("list-of-caller", LIST, "").caller("bo"),
        done("list-of-service", LIST, "UserName=anika&ServiceName=codecommit.amazonaws.com"),
        done("list-empty", LIST, "UserName=carl"),
        done("list-first-page", LIST, "UserName=anika&MaxItems=3"),
        done("list-next-page", LIST, "UserName=anika&MaxItems=2&Marker={marker}"),
        done("list-last-page", LIST, "UserName=anika&Marker={marker}"),
        done("list-all-users", LIST, "AllUsers=true"),
        done("list-all-users-first-page", LIST, "AllUsers=1&MaxItems=1"),
        done(
            "update",
            UPDATE,
            "UserName=anika&ServiceSpecificCredentialId={active}&Status=Inactive",
        ),
        done("reset-password", RESET, "UserName=anika&ServiceSpecificCredentialId={active}"),
        done("reset-inactive", RESET, "UserName=anika&ServiceSpecificCredentialId={inactive}"),
        done("reset-api-key", RESET, "UserName=anika&ServiceSpecificCredentialId={key}"),
        done("reset-that-expires", RESET, "UserName=bo&ServiceSpecificCredentialId={bo}"),
        done("delete", DELETE, "UserName=anika&ServiceSpecificCredentialId={active}"),
        done("delete-expired", DELETE, "UserName=anika&ServiceSpecificCredentialId={expired}"),
        done("create-user", "CreateUser", "UserName=Dora"),
        done("get-user", "GetUser", "UserName=ANIKA"),
        done("update-user", "UpdateUser", "UserName=anika&NewUserName=Anne"),
        done("delete-user", "DeleteUser", "UserName=carl"),
        done("list-users", "ListUsers", ""),
        done("list-users-first-page", "ListUsers", "MaxItems=2"),
    ]
}

/// In the order of the table of errors.
fn rejections() -> Vec<Case> {
    let post = Call::post;
    let create = |parameters| post(CREATE, parameters);
    let list = |parameters| post(LIST, parameters);
    let of_bo = "UserName=Anika&ServiceSpecificCredentialId={bo}&Status=Active";
    let expired = "UserName=anika&ServiceSpecificCredentialId={expired}&Status=Active";
    let invalid = |file, call| rejected(file, 400, "ValidationError", call);
    let malformed = |file, call| rejected(file, 400, "MalformedInput", call);
    let failed = |file, fault, call| rejected(file, 500, "ServiceFailure", call).fault(fault);
    let to_carl = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    vec![
        rejected("no-such-user", 404, "NoSuchEntity", list("UserName=Nobody")),
        rejected(
            "service-not-supported",
            404,
            "NotSupportedService",
            create("UserName=anika&ServiceName=EC2.amazonaws.com"),
        )
        .recorded(404, "NoSuchEntity"),
        rejected(
            "service-not-supported-in-list",
            404,
            "NotSupportedService",
            list("UserName=anika&ServiceName=ec2.amazonaws.com"),
        )
        .recorded(404, "NoSuchEntity"),
        rejected(
            "no-such-credential",
            404,
            "NoSuchEntity",
            post(RESET, "UserName=anika&ServiceSpecificCredentialId={missing}"),
        ),
        rejected("credential-of-another-user-update", 404, "NoSuchEntity", post(UPDATE, of_bo))
            .recorded(400, "ValidationError"),
        rejected("credential-of-another-user-reset", 404, "NoSuchEntity", post(RESET, of_bo))
            .recorded(400, "ValidationError"),
        rejected("credential-of-another-user-delete", 404, "NoSuchEntity", post(DELETE, of_bo))
            .recorded(400, "ValidationError"),
        rejected(
            "limit-exceeded",
            409,
            "LimitExceeded",
            create("UserName=anika&ServiceName=codecommit.amazonaws.com"),
        ),
        rejected(
            "status-expired",
            400,
            "InvalidInput",
            post(UPDATE, "UserName=anika&ServiceSpecificCredentialId={active}&Status=Expired"),
        ),
        rejected("credential-expired-update", 400, "InvalidInput", post(UPDATE, expired)),
        rejected("credential-expired-reset", 400, "InvalidInput", post(RESET, expired)),
        rejected(
            "all-users-with-user-name",
            400,
            "InvalidInput",
            list("AllUsers=true&UserName=anika"),
        ),
        rejected(
            "user-has-credentials",
            409,
            "DeleteConflict",
            post("DeleteUser", "UserName=anika"),
        ),
        rejected("user-exists", 409, "EntityAlreadyExists", post("CreateUser", "UserName=Anika")),
        rejected(
            "user-exists-renamed",
            409,
            "EntityAlreadyExists",
            post("UpdateUser", "UserName=anika&NewUserName=BO"),
        ),
        invalid("shape-null", create("UserName=anika")),
        invalid("shape-of-several", create("UserName=&CredentialAgeDays=0")),
        invalid("user-name-characters", list("UserName=an+ika")),
        invalid("service-name-characters", create("UserName=anika&ServiceName=code_commit")),
        malformed("integer", list("UserName=anika&MaxItems=1.0")),
        malformed("boolean", list("AllUsers=True")),
        invalid("marker-of-another-query", list("UserName=bo&Marker={marker}")),
        invalid("no-user-name", list("")),
        malformed("parameter-given-twice", list("UserName=anika&UserName=anika")),
        malformed("percent-encoding", list("UserName=%zz")),
        malformed("content-type", list("UserName=anika").content_type(Some("text/plain"))),
        rejected("no-action", 400, "MissingAction", Call::form("Version=2010-05-08")),
        rejected("unknown-action", 400, "InvalidAction", post("List<Credentials>&", "")),
        rejected(
            "another-version",
            400,
            "InvalidAction",
            Call::form(format!("Action={LIST}&Version=2010-05-09")),
        ),
        rejected("body-over-1-mib", 413, "MalformedInput", Call::form(vec![b'a'; MAX_BYTES + 1])),
        rejected("method", 405, "MethodNotAllowed", list("").method(Method::PUT)),
        rejected("others-came-first", 409, "ConcurrentModification", create(to_carl))
            .fault(Fault::Stale),
        failed("store-failed-to-read", Fault::Read, list("UserName=anika")),
        failed("store-failed-to-write", Fault::Write, create(to_carl)),
    ]
}

const DIALECTS: [(&str, Dialect); 2] =
    [("documented", Dialect::Documented), ("recorded", Dialect::Recorded)];

fn policy(dialect: Dialect) -> Policy {
    match dialect {
        Dialect::Documented => Policy::default(),
        Dialect::Recorded => Policy::recorded(),
    }
}

/// The response of a new world. Both managers must return the same.
fn response(case: &Case, dialect: Dialect) -> Reply {
    let call = case.call.clone().dialect(dialect);
    let worlds = [World::by(policy(dialect)), World::by(policy(dialect))];
    let before = worlds[0].dump();
    for world in &worlds {
        *world.fault.lock().unwrap() = case.fault;
    }
    let [reply, waiting] = [worlds[0].send(&call), worlds[1].send_async(&call)];
    assert_eq!(reply.body, waiting.body, "{}", case.file);
    assert_eq!((reply.status, &reply.headers), (waiting.status, &waiting.headers));
    assert_eq!(worlds[0].dump(), worlds[1].dump(), "{}", case.file);
    if reply.status != 200 {
        assert_eq!(worlds[0].dump(), before, "{} changed something", case.file);
    }
    reply
}

#[test]
fn every_operation_and_error_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/query");
    let write = env::var_os("SSC_WRITE_GOLDEN").is_some();
    let cases: Vec<_> = operations().into_iter().chain(rejections()).collect();
    let mut others = Vec::new();
    for (part, dialect) in DIALECTS {
        let folder = folder.join(part);
        fs::create_dir_all(&folder).unwrap();
        for case in &cases {
            let reply = response(case, dialect);
            let expected = match dialect {
                Dialect::Documented => case.documented,
                Dialect::Recorded => case.recorded,
            };
            let code = reply.texts("Code");
            assert_eq!((reply.status, code.first().map(String::as_str)), expected, "{}", case.file);

            let file = folder.join(case.file).with_extension("xml");
            if write {
                fs::write(&file, &reply.body).unwrap();
            }
            let golden = fs::read_to_string(&file).unwrap_or_default();
            if golden != reply.body {
                others.push(format!("{}:\n- {golden}\n+ {}", file.display(), reply.body));
            }
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn every_golden_file_has_a_case() {
    let cases: Vec<_> = operations().into_iter().chain(rejections()).collect();
    let names: BTreeSet<_> = cases.iter().map(|case| format!("{}.xml", case.file)).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same file");
    for (part, _) in DIALECTS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/query").join(part);
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap());
        assert_eq!(files.collect::<BTreeSet<_>>(), names, "{part}");
    }
}

/// Removes whitespace between elements.
fn compact(xml: &str) -> String {
    xml.replace("> <", "><")
}

#[test]
fn the_documented_sample_has_the_same_elements_in_the_same_order() {
    let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(7))
        .build();
    iam.register_user(&name("anika")).unwrap();
    let sample = compact(include_str!("sample.xml"));
    let generated = ["ServicePassword", "ServiceSpecificCredentialId", "RequestId"];

    let query = "UserName=Anika&ServiceName=codecommit.amazonaws.com&Version=2010-05-08";
    let uri = format!("/?Action={CREATE}&{query}");
    let request = http::Request::get(uri).body("").unwrap();
    let response = query::handle(&iam, &request, None, Dialect::Documented, request_id());
    let mut ours = String::from_utf8(response.into_body().into()).unwrap();
    for element in generated {
        let [was, becomes] = [&ours, &sample].map(|xml| {
            let document = Document::parse(xml).unwrap();
            let mut nodes = document.descendants();
            let node = nodes.find(|node| node.tag_name().name() == element).unwrap();
            node.text().unwrap().to_owned()
        });
        assert_ne!(was, becomes);
        if element == "ServicePassword" {
            assert_eq!(was.len(), becomes.len(), "a password is as long as the sample's");
        }
        ours = ours.replace(&was, &becomes);
    }
    assert_eq!(ours, sample);
}

#[test]
fn the_request_of_the_sample_can_be_get_or_post() {
    let text = form(CREATE, "UserName=Carl&ServiceName=codecommit.amazonaws.com");
    let signed = format!("{text}&AWSAccessKeyId=AKIA&Signature=%2F%2B&SignatureVersion=2");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/query/documented/create-password.xml");
    let golden = fs::read_to_string(file).unwrap();
    for call in [
        Call::form(text.clone()),
        Call::get(text.clone()),
        Call::get(signed.clone()),
        Call::form(signed),
        Call::form(format!("&&{text}&")),
        Call { query: "Action=DeleteUser&UserName=carl".into(), ..Call::form(text.clone()) },
        Call { body: b"Action=DeleteUser&%%".to_vec(), ..Call::get(text.clone()) },
        Call::get(text.clone()).content_type(Some("text/plain")),
        Call::form(text).content_type(Some(FORM)),
    ] {
        assert_eq!(World::new().send(&call).body, golden, "{call:?}");
    }
}
