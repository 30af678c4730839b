//! What the emulator offers to the test suites of other projects: several accounts, repeatable
//! results, a health check, a log, and the calls that precede the deletion of a user.

#![cfg(unix)]

use std::{
    fs::File,
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
};

use service_specific_credentials::store::RedbStore;

use crate::{
    client::{Client, Response},
    common::{CODECOMMIT, Folder, example},
    server::Server,
};

static EMULATOR: LazyLock<PathBuf> = LazyLock::new(|| example("emulator"));

const CREATE: &str = "Action=CreateServiceSpecificCredential";

fn start(options: &[&str]) -> Server {
    Server::start(&EMULATOR, &[&["--listen", "127.0.0.1:0"], options].concat())
}

/// Posts a form that is signed with an access key id.
fn signed(client: &mut Client, key: &str, form: &str) -> Response {
    let form = format!("Version=2010-05-08&{form}");
    let authorization = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260131/us-east-1/iam/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=00"
    );
    let headers = ["Content-Type: application/x-www-form-urlencoded", &authorization];
    client.request("POST /", &headers, form.as_bytes())
}

#[test]
fn the_access_key_id_selects_the_account_if_it_is_twelve_digits() {
    let server = start(&["--account", "999999999999"]);
    let mut client = Client::new(server.address);
    for (key, account) in [
        ("111111111111", "111111111111"),
        ("222222222222", "222222222222"),
        // No account: the default one.
        ("AKIDEXAMPLE", "999999999999"),
        ("11111111111", "999999999999"),
        ("1111111111111", "999999999999"),
        ("11111111111x", "999999999999"),
        ("", "999999999999"),
    ] {
        let user = format!("of-{key}");
        let created = signed(&mut client, key, &format!("Action=CreateUser&UserName={user}"));
        assert_eq!(created.element("Arn"), format!("arn:aws:iam::{account}:user/{user}"));
    }
    let listed = |client: &mut Client, key| signed(client, key, "Action=ListUsers").body;
    let own = listed(&mut client, "111111111111");
    assert!(own.contains(">of-111111111111<") && !own.contains(">of-222222222222<"), "{own}");
    let form = "/?Action=ListUsers&Version=2010-05-08&X-Amz-Credential=222222222222%2F20260131";
    let presigned = client.get(form).body;
    assert!(presigned.contains(">of-222222222222<"), "{presigned}");
    assert!(!presigned.contains(">of-111111111111<"), "{presigned}");

    // A service user name contains its account, so every account authenticates.
    let form = format!("{CREATE}&UserName=of-222222222222&ServiceName={CODECOMMIT}");
    let issued = signed(&mut client, "222222222222", &form);
    let (name, password) = (issued.element("ServiceUserName"), issued.element("ServicePassword"));
    assert_eq!(name, "of-222222222222+1-at-222222222222");
    let basic = crate::emulator::basic(name, password);
    let path = format!("GET /authenticate/{CODECOMMIT}");
    assert_eq!(client.request(&path, &[&basic], b"").status, 200);
}

/// The ids, secrets and dates of a few calls.
fn history(options: &[&str]) -> Vec<String> {
    let server = start(options);
    let mut client = Client::new(server.address);
    let user = client.post("Action=CreateUser&UserName=anika");
    let form = format!("{CREATE}&UserName=anika&ServiceName={CODECOMMIT}");
    let issued = client.post(&form);
    let id = issued.element("ServiceSpecificCredentialId");
    let reset = client.post(&format!(
        "Action=ResetServiceSpecificCredential&ServiceSpecificCredentialId={id}&UserName=anika"
    ));
    let secrets = [&issued, &reset].map(|response| response.element("ServicePassword").to_owned());
    let dates = [&user, &issued].map(|response| response.element("CreateDate").to_owned());
    [&[user.element("UserId").to_owned(), id.to_owned()][..], &secrets, &dates].concat()
}

#[test]
fn a_seed_and_a_clock_make_results_repeatable() {
    let repeatable = ["--seed", "7", "--clock", "2026-01-31T12:00:00+01:00"];
    let first = history(&repeatable);
    assert_eq!(first, history(&repeatable));
    assert_eq!(first[4..], ["2026-01-31T11:00:00.000Z"; 2]);
    let other = history(&["--seed", "8", "--clock", "2026-01-31T12:00:00Z"]);
    let unseeded = [history(&[]), history(&[])];
    for values in [&other, &unseeded[0], &unseeded[1]] {
        assert!(first.iter().all(|value| !values.contains(value)), "{first:?} {values:?}");
    }
    assert!(unseeded[0][..4].iter().all(|value| !unseeded[1].contains(value)), "{unseeded:?}");
}

#[test]
fn predictable_secrets_are_announced() {
    for (options, expected) in [
        (&["--seed", "7"][..], "emulator: secrets are predictable, because of --seed\n"),
        (&["--clock", "2026-01-31T12:00:00Z"], ""),
    ] {
        let mut command = Command::new(&*EMULATOR);
        command.args(["--listen", "127.0.0.1:0"]).args(options).stderr(Stdio::piped());
        let folder = Folder::new("emulator-warning");
        let log = folder.file("log");
        let server = Server::run(command.stderr(File::create(&log).unwrap()));
        server.signal("TERM");
        assert!(server.wait().success());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected, "{options:?}");
    }
}

#[test]
fn health_is_that_of_the_store() {
    let folder = Folder::new("emulator-health");
    let file = folder.file("store.redb");
    let store = format!("redb:{}", file.display());
    drop(RedbStore::create(&file).unwrap());
    let blocks = file.metadata().unwrap().len() / 512;
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh"]).arg(&*EMULATOR);
    let server = Server::run(command.args(["--listen", "127.0.0.1:0", "--store", &store]));
    let mut client = Client::new(server.address);
    assert_eq!(client.get("/health").status, 200);
    let post = client.request("POST /health", &[], b"");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET")));

    // The file cannot grow; while another process holds it, it cannot be reopened either.
    let failed = (0..100_000)
        .map(|number| client.post(&format!("Action=CreateUser&UserName=user-{number}")))
        .find(|response| response.status != 200);
    assert!(failed.is_some());
    let other = RedbStore::open(&file).unwrap();
    assert_eq!(client.get("/health").status, 503);
    drop(other);
    // The lock of the file is released by then: dropping a store closes it.
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn the_log_has_one_line_per_request_and_no_secret() {
    let folder = Folder::new("emulator-log");
    let log = folder.file("log");
    let mut command = Command::new(&*EMULATOR);
    command.args(["--listen", "127.0.0.1:0", "--log"]).stderr(File::create(&log).unwrap());
    let server = Server::run(&mut command);
    let mut client = Client::new(server.address);
    client.post("Action=CreateUser&UserName=anika");
    let issued = client.post(&format!("{CREATE}&UserName=anika&ServiceName={CODECOMMIT}"));
    let password = issued.element("ServicePassword").to_owned();
    let encoded: String = form_urlencoded::byte_serialize(password.as_bytes()).collect();
    // People paste passwords into the wrong field.
    let pasted = client.post(&format!("Action=GetUser&UserName={encoded}"));
    // Invalid as a user name if it contains a slash, and otherwise unknown.
    assert!([400, 404].contains(&pasted.status), "{}", pasted.status);
    assert_eq!(client.post(&format!("Action={encoded}")).status, 400);
    assert_eq!(client.post("Action=ListGroupsForUser&UserName=anika").status, 200);
    server.signal("TERM");
    drop(client);
    assert!(server.wait().success());

    let mut lines = String::new();
    File::open(&log).unwrap().read_to_string(&mut lines).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    let expected = [
        ("action=\"CreateUser\"", "status=200"),
        ("action=\"CreateServiceSpecificCredential\"", "status=200"),
        ("account=123456789012", "status=40"),
        ("account=123456789012", "status=400"),
        ("action=\"ListGroupsForUser\"", "status=200"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (first, second)) in lines.iter().zip(expected) {
        assert!(line.contains(first) && line.contains(second), "{line}");
        assert!(!line.contains(&password[..12]) && !line.contains(&encoded[..12]), "{line}");
    }
    assert!(lines[1].contains(issued.element("RequestId")), "{lines:#?}");
}

/// The calls of Terraform before it deletes a user, in its order with `force_destroy`, and the list
/// that each returns.
const BEFORE_DELETION: [(&str, &str); 9] = [
    ("ListGroupsForUser", "Groups"),
    ("ListUserPolicies", "PolicyNames"),
    ("ListAttachedUserPolicies", "AttachedPolicies"),
    ("ListAccessKeys", "AccessKeyMetadata"),
    ("ListSSHPublicKeys", "SSHPublicKeys"),
    ("ListVirtualMFADevices", "VirtualMFADevices"),
    ("ListMFADevices", "MFADevices"),
    ("DeleteLoginProfile", ""),
    ("ListSigningCertificates", "Certificates"),
];

#[test]
fn calls_before_a_deletion_find_nothing_else_of_the_user() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    client.post("Action=CreateUser&UserName=anika");
    for (action, list) in BEFORE_DELETION {
        let about_user = action != "ListVirtualMFADevices";
        let user = if about_user { "&UserName=anika" } else { "&AssignmentStatus=Any" };
        let result = client.post(&format!("Action={action}{user}"));
        if list.is_empty() {
            assert_eq!(result.rejection(), (404, "NoSuchEntity"));
            let message = "Login Profile for User anika cannot be found.";
            assert_eq!(result.element("Message"), message);
        } else {
            assert_eq!(result.status, 200, "{action}: {}", result.body);
            assert_eq!(result.header("content-type"), Some("text/xml"));
            assert_eq!(result.element("IsTruncated"), "false");
            assert!(result.body.contains(&format!("<{list}/>")), "{}", result.body);
            assert!(result.body.starts_with(&format!("<{action}Response ")), "{}", result.body);
            let page = client.post(&format!("Action={action}{user}&MaxItems=10"));
            assert_eq!(page.status, 200, "{action}");
            let invalid = client.post(&format!("Action={action}{user}&MaxItems=0"));
            assert_eq!(invalid.rejection(), (400, "ValidationError"), "{action}");
            let foreign = client.post(&format!("Action={action}{user}&Marker=x"));
            assert_eq!(foreign.rejection(), (400, "ValidationError"), "{action}");
            assert_eq!(foreign.element("Message"), "Invalid Marker.");
        }
        if about_user {
            let unknown = client.post(&format!("Action={action}&UserName=bo"));
            assert_eq!(unknown.rejection(), (404, "NoSuchEntity"), "{action}");
            assert_eq!(unknown.element("Message"), "The user with name bo cannot be found.");
            let invalid = client.post(&format!("Action={action}&UserName=%C3%A9"));
            assert_eq!(invalid.rejection(), (400, "ValidationError"), "{action}");
            let repeated = format!("Action={action}&UserName=anika&UserName=anika");
            assert_eq!(client.post(&repeated).status, 400, "{action}");
        }
        // Of another version.
        let other = client.get(&format!("/?Action={action}&UserName=anika&Version=2010-05-09"));
        assert_eq!(other.rejection(), (400, "InvalidAction"), "{action}");
    }
    let wrong = client.post("Action=ListVirtualMFADevices&AssignmentStatus=any");
    assert_eq!(wrong.rejection(), (400, "ValidationError"));
    assert!(wrong.element("Message").contains("Value at 'assignmentStatus'"), "{}", wrong.body);
    for (prefix, status) in [("/", 200), ("/a/b.c/", 200), ("", 400), ("a/", 400), ("//", 400)] {
        let form = format!("Action=ListAttachedUserPolicies&UserName=anika&PathPrefix={prefix}");
        assert_eq!(client.post(&form).status, status, "{prefix}");
    }
    assert_eq!(client.post("Action=DeleteUser&UserName=anika").status, 200);
}

#[test]
fn a_call_without_a_user_name_is_about_the_caller_where_the_api_allows_it() {
    let server = start(&["--caller", "anika"]);
    let mut client = Client::new(server.address);
    client.post("Action=CreateUser&UserName=anika");
    for (action, status) in [
        ("ListAccessKeys", 200),
        ("ListMFADevices", 200),
        ("ListSSHPublicKeys", 200),
        ("ListSigningCertificates", 200),
        ("DeleteLoginProfile", 404),
        ("ListGroupsForUser", 400),
        ("ListUserPolicies", 400),
        ("ListAttachedUserPolicies", 400),
    ] {
        assert_eq!(client.post(&format!("Action={action}")).status, status, "{action}");
    }
}
