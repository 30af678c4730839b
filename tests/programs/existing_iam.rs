//! `examples/existing_iam`, as a process, over HTTP: an emulator with its own users and policies.
//! `tests/clients` tests it with AWS clients.

#![cfg(unix)]
use std::{path::PathBuf, process::Command, sync::LazyLock};

use crate::client::{Client, Response};
use crate::common::{BEDROCK, CASSANDRA, CODECOMMIT, example};
use crate::server::Server;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("existing_iam"));

const CREATE: &str = "CreateServiceSpecificCredential";
const LIST: &str = "ListServiceSpecificCredentials";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const RESET: &str = "ResetServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";

struct World {
    _server: Server,
    client: Client,
}

impl World {
    fn new() -> Self {
        let server = Server::run(Command::new(&*PROGRAM).arg("127.0.0.1:0"));
        let client = Client::new(server.address);
        Self { _server: server, client }
    }

    fn ask(&mut self, access_key: &str, action: &str, parameters: &str) -> Response {
        let body = format!("Action={action}&Version=2010-05-08&{parameters}");
        let signature = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={access_key}/20161101/us-east-1/iam/\
             aws4_request, SignedHeaders=host, Signature=0"
        );
        let form = "Content-Type: application/x-www-form-urlencoded";
        self.client.request("POST /", &[form, &signature], body.as_bytes())
    }

    fn admin(&mut self, action: &str, parameters: &str) -> Response {
        self.ask("AKIAADMIN", action, parameters)
    }

    fn anika(&mut self, action: &str, parameters: &str) -> Response {
        self.ask("AKIAANIKA", action, parameters)
    }

    fn create(&mut self, user: &str, service: &str) -> String {
        let response = self.admin(CREATE, &format!("UserName={user}&ServiceName={service}"));
        response.element("ServiceSpecificCredentialId").to_owned()
    }
}

#[test]
fn the_policies_of_the_emulator_are_enforced() {
    let mut world = World::new();
    let codecommit = world.create("anika", CODECOMMIT);
    let cassandra = world.create("anika", CASSANDRA);
    let of_admin = world.create("admin", CODECOMMIT);
    let id = |id: &str| format!("ServiceSpecificCredentialId={id}");
    let create = |service: &str, days: &str| format!("ServiceName={service}{days}");
    let denied = (403, "AccessDenied");

    for (action, parameters) in [
        // A condition on the lifetime, one on the service, and one on the user.
        (CREATE, create(CODECOMMIT, "")),
        (CREATE, create(CODECOMMIT, "&CredentialAgeDays=91")),
        (CREATE, create(BEDROCK, "&CredentialAgeDays=90")),
        (CREATE, create(CODECOMMIT, "&CredentialAgeDays=90&UserName=admin")),
        (LIST, "UserName=admin".to_owned()),
        (LIST, "AllUsers=true".to_owned()),
        // The service of the credential is determined by its id.
        (RESET, id(&cassandra)),
        (DELETE, id(&cassandra)),
        (UPDATE, format!("Status=Inactive&{}", id(&cassandra))),
        // A credential of another user is not hers.
        (RESET, id(&of_admin)),
        (RESET, format!("UserName=admin&{}", id(&of_admin))),
        (DELETE, id("ACCA12345ABCDEXAMPLE")),
        ("CreateUser", "UserName=dora".to_owned()),
        ("DeleteUser", "UserName=admin".to_owned()),
    ] {
        let response = world.anika(action, &parameters);
        assert_eq!(response.rejection(), denied, "{action} {parameters}");
        let message = format!("User: anika is not authorized to perform: iam:{action}");
        assert_eq!(response.element("Message"), message);
    }
    for (action, parameters) in [
        (CREATE, create("CodeCommit.AmazonAWS.com", "&CredentialAgeDays=90")),
        (LIST, String::new()),
        // The name in another spelling is the same user with the same ARN.
        (LIST, "UserName=ANIKA".to_owned()),
        (LIST, "AllUsers=false&UserName=anika".to_owned()),
        (UPDATE, format!("Status=Inactive&{}", id(&codecommit))),
        (RESET, format!("UserName=Anika&{}", id(&codecommit))),
        (DELETE, id(&codecommit)),
    ] {
        let response = world.anika(action, &parameters);
        assert_eq!(response.status, 200, "{action} {parameters}: {}", response.body);
        assert!(response.body.starts_with(&format!("<{action}Response ")), "{}", response.body);
    }
    assert_eq!(world.admin(LIST, "AllUsers=true").status, 200);
    let response = world.admin(LIST, "UserName=anika");
    assert!(response.body.contains(&cassandra) && !response.body.contains(&codecommit));
}

#[test]
fn a_caller_without_a_known_access_key_is_rejected() {
    let mut world = World::new();
    let listed = "UserName=anika";
    for key in ["AKIANOBODY", "", "akiaadmin"] {
        let response = world.ask(key, LIST, listed);
        assert_eq!(response.rejection(), (403, "InvalidClientTokenId"));
    }
    assert_eq!(world.client.post(LIST).rejection(), (403, "InvalidClientTokenId"));
}

#[test]
fn the_emulator_and_the_manager_share_their_users() {
    let mut world = World::new();
    let unknown = world.admin(CREATE, &format!("UserName=dora&ServiceName={CODECOMMIT}"));
    assert_eq!(unknown.rejection(), (404, "NoSuchEntity"));
    assert_eq!(unknown.element("Message"), "The user with name dora cannot be found.");

    assert_eq!(world.admin("CreateUser", "UserName=Dora").status, 200);
    let again = world.admin("CreateUser", "UserName=dora");
    assert_eq!(again.rejection(), (409, "EntityAlreadyExists"));
    let id = world.create("dora", CODECOMMIT);
    let listed = world.admin(LIST, "UserName=dora");
    assert_eq!(listed.element("UserName"), "Dora");

    let kept = world.admin("DeleteUser", "UserName=dora");
    assert_eq!(kept.rejection(), (409, "DeleteConflict"));
    let delete = format!("UserName=dora&ServiceSpecificCredentialId={id}");
    assert_eq!(world.admin(DELETE, &delete).status, 200);
    assert_eq!(world.admin("DeleteUser", "UserName=DORA").status, 200);
    assert_eq!(world.admin(LIST, "UserName=dora").rejection(), (404, "NoSuchEntity"));
    assert_eq!(world.admin("CreateUser", "UserName=dora").status, 200);
}

#[test]
fn operations_that_are_not_plugged_in_stay_the_emulators() {
    let mut world = World::new();
    // The crate implements these, and the emulator does not expose them.
    for action in ["UpdateUser", "GetUser", "ListUsers"] {
        let response = world.admin(action, "UserName=anika&NewUserName=dora");
        assert_eq!(response.rejection(), (400, "InvalidAction"));
    }
    for (parameters, code) in [
        ("ServiceName=codecommit.amazonaws.com&UserName=a/b", "ValidationError"),
        ("UserName=anika", "ValidationError"),
        ("ServiceName=codecommit.amazonaws.com&CredentialAgeDays=x", "MalformedInput"),
    ] {
        assert_eq!(world.admin(CREATE, parameters).rejection(), (400, code), "{parameters}");
    }
    let response = world.admin("CreateUser", "UserName=a/b");
    assert_eq!(response.rejection(), (400, "ValidationError"));
}
