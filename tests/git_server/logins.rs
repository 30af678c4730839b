//! Authentication, denials, and the throttling of failed logins.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Resource, Rlimit, prlimit};
use service_specific_credentials::{
    CreateOptions, CredentialManager, Lifetime, Status, UserName, testing::FixedClock,
};

use crate::{
    common::{ACCOUNT, CASSANDRA, CODECOMMIT, dawn, name},
    world::{Server, World, basic, element, encoded, raw, read_response, status},
};

#[test]
fn a_request_is_attributed_to_the_user_of_its_credential() {
    let world = World::new("users");
    let iam = world.iam();
    let users = ["anika", "jane"].map(|user| {
        let user = iam.register_user(&name(user)).unwrap();
        let issued = iam.create(user.name(), &name(CODECOMMIT)).unwrap();
        (user, issued)
    });
    drop(iam);
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    let first = server.url_of(&users[0].1, "demo");
    world.run_git("work", &["push", &first, "main"]);
    // The hook records the user of each push.
    let seen = world.folder.file("seen");
    let script = format!("echo $REMOTE_USER $REMOTE_USER_ID >> {}", seen.display());
    world.hook("demo.git", "post-receive", &script);

    let mut expected = String::new();
    for (user, issued) in &users {
        world.commit("work", user.name().as_str(), b"hello");
        world.run_git("work", &["push", &server.url_of(issued, "demo"), "main"]);
        writeln!(expected, "{} {}", user.name(), user.id()).unwrap();
    }
    assert_eq!(fs::read_to_string(seen).unwrap(), expected);

    // The name of one user with the password of another is denied.
    let mixed =
        server.url(users[0].1.service_user_name().as_str(), users[1].1.secret().expose(), "demo");
    let complaint = world.git_fails("", &["clone", &mixed, "clone"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
}

#[test]
fn invalid_credentials_are_denied_with_a_basic_challenge() {
    let world = World::new("denied");
    let (anika, codecommit) = (name::<UserName>("anika"), name(CODECOMMIT));
    let iam = world.iam();
    iam.register_user(&anika).unwrap();
    let inactive = iam.create(&anika, &codecommit).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let reset = iam.create(&anika, &codecommit).unwrap();
    let valid = iam.reset(&anika, reset.id()).unwrap();
    let other_service = iam.create(&anika, &name(CASSANDRA)).unwrap();
    let jane = name("jane");
    iam.register_user(&jane).unwrap();
    let deleted = iam.create(&jane, &codecommit).unwrap();
    iam.delete(&jane, deleted.id()).unwrap();
    // A credential that expired long ago.
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(dawn()))
        .build();
    let options = CreateOptions::new().lifetime(Lifetime::days(1).unwrap());
    let expired = past.create_with_options(&jane, &codecommit, &options).unwrap();
    // A credential of a user with the same name in another account.
    let other = iam.for_account(name("210987654321"));
    other.register_user(&anika).unwrap();
    let other_account = other.create(&anika, &codecommit).unwrap();
    drop((iam, past, other));

    let server = world.serve(&["--create", "--failed-logins", "1000"]);
    world.create_work_tree("work");
    let path = "/demo/info/refs?service=git-receive-pack";
    for issued in [&inactive, &reset, &other_service, &deleted, &expired, &other_account] {
        let complaint = world.git_fails("work", &["push", &server.url_of(issued, "demo"), "main"]);
        assert!(complaint.contains("Authentication failed"), "{complaint}");
        assert_eq!(server.status("GET", path, issued), 401);
        assert!(!world.repository("demo.git").exists());
    }
    let password = valid.secret().expose();
    for header in [
        "X: no credential at all".to_owned(),
        basic(valid.service_user_name().as_str(), "wrong"),
        basic(valid.service_user_name().as_str(), ""),
        basic("", ""),
        basic("nobody", password),
        basic(valid.service_user_name().as_str(), &"x".repeat(5000)),
        "Authorization: Basic".to_owned(),
        "Authorization: Basic !".to_owned(),
        format!("Authorization: Basic {}", STANDARD.encode("no colon")),
        format!("Authorization: Basic {}", STANDARD.encode(b"\xff:\xff")),
        format!("Authorization: Bearer {password}"),
    ] {
        let close = "Connection: close";
        let response = raw(
            server.address,
            &format!("GET {path} HTTP/1.1\r\nHost: git\r\n{header}\r\n{close}\r\n\r\n"),
        );
        assert_eq!(status(&response), 401, "{header}");
        let challenge =
            "www-authenticate: Basic realm=\"codecommit.amazonaws.com\", charset=\"UTF-8\"";
        assert!(response.contains(challenge), "{response}");
        assert!(!world.repository("demo.git").exists());
    }
    // An unauthenticated client does not learn whether a repository exists.
    assert_eq!(server.status("GET", "/../../etc/passwd", &deleted), 401);
    assert_eq!(server.status("GET", path, &valid), 200);
}

#[test]
fn a_disabled_credential_is_denied_until_it_is_enabled() {
    let world = World::new("disabled");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    let set_status = |new| {
        let id = ("ServiceSpecificCredentialId", issued.id().as_str());
        let parameters = [("UserName", "anika"), id, ("Status", new)];
        let response = server.admin("UpdateServiceSpecificCredential", &parameters);
        assert_eq!(status(&response), 200, "{response}");
    };
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    let first = world.head("work", "HEAD");
    world.commit("work", "again", b"again");
    set_status("Inactive");
    let complaint = world.git_fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    assert_eq!(world.head(world.repository("demo.git"), "main"), first);
    // The log contains the reason of the denial.
    assert_eq!(world.log().matches("reason=\"inactive\"").count(), 1, "{}", world.log());
    set_status("Active");
    world.run_git("work", &["push", &url, "main"]);
    assert_eq!(world.head(world.repository("demo.git"), "main"), world.head("work", "HEAD"));
}

#[test]
fn only_the_new_password_works_after_a_reset() {
    let world = World::new("reset");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--url-safe"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    world.commit("work", "again", b"again");
    let id = ("ServiceSpecificCredentialId", issued.id().as_str());
    let response = server.admin("ResetServiceSpecificCredential", &[("UserName", "anika"), id]);
    let complaint = world.git_fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    // With `--url-safe`, a password contains only letters, digits, `-` and `_`.
    let (user, password) =
        (element(&response, "ServiceUserName"), element(&response, "ServicePassword"));
    assert_eq!(password, encoded(password).replace("%2D", "-").replace("%5F", "_"));
    let url = format!("http://{user}:{password}@{}/demo", server.address);
    world.run_git("work", &["push", &url, "main"]);
}

#[test]
fn a_store_failure_is_not_a_denial() {
    let world = World::new("unavailable");
    let issued = world.issue_credential();
    // The server ignores SIGXFSZ, so that a write above the limit fails with an error.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--create", "--admin", "127.0.0.1:0"]);
    let server = world.start(&mut command);
    // All writes to files fail, as on a full disk. The store is unusable after the first failure.
    let full = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(server.pid()), Resource::Fsize, full).unwrap();
    let response = server.admin("CreateUser", &[("UserName", "jane")]);
    assert_eq!((status(&response), element(&response, "Code")), (500, "ServiceFailure"));

    world.store_login(&server, issued.service_user_name().as_str(), issued.secret().expose());
    let stored = fs::read_to_string(world.login_file()).unwrap();
    world.create_work_tree("work");
    let complaint = world.git_fails("work", &["push", &server.bare_url("demo"), "main"]);
    assert!(complaint.contains("503"), "{complaint}");
    // Git keeps its stored password.
    assert_eq!(fs::read_to_string(world.login_file()).unwrap(), stored);
    drop(server);

    let server = world.serve(&["--create"]);
    world.store_login(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.run_git("work", &["push", &server.bare_url("demo"), "main"]);
}

#[test]
fn a_request_with_two_authorization_headers_is_denied() {
    let world = World::new("two");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--failed-logins", "1000"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let right = basic(issued.service_user_name().as_str(), issued.secret().expose());
    let wrong = basic(issued.service_user_name().as_str(), "wrong");
    let path = "/demo/info/refs?service=git-upload-pack";
    for (lines, expected) in [
        (vec![&*right], 200),
        (vec![&*right, &right], 401),
        (vec![&*right, &wrong], 401),
        (vec![&*wrong, &right], 401),
        (vec![&*right, "authorization: Bearer x"], 401),
        (vec!["AUTHORIZATION: Basic", &right], 401),
        (vec!["Authorization:", &right], 401),
    ] {
        let lines = lines.join("\r\n");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: git\r\n{lines}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&raw(server.address, &request)), expected, "{lines}");
    }
}

/// Sends a login from a loopback address, with further header lines. Returns the response.
fn login_from(
    source: [u8; 4],
    server: &Server,
    user: &str,
    password: &str,
    headers: &str,
) -> String {
    let domain = socket2::Domain::IPV4;
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let login = basic(user, password);
    let request = format!(
        "GET /demo/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: git\r\n{login}\r\n{headers}\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    read_response(&mut stream).0
}

#[test]
fn failed_logins_are_throttled_per_address() {
    let world = World::new("throttle");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--failed-logins", "3"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let login = |source, password: &str| status(&login_from(source, &server, user, password, ""));
    let (client, other_client) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    // A successful login is not counted, and does not reset the count.
    for expected in [401, 401, 401] {
        assert_eq!(login(client, password), 200);
        assert_eq!(login(client, "wrong"), expected);
    }
    // The name is now throttled at this address, even with the right password. Git keeps its stored
    // password.
    assert_eq!(login(client, "wrong"), 429);
    let response = login_from(client, &server, user, password, "");
    assert_eq!(status(&response), 429);
    let (_, delay) = response.split_once("\r\nretry-after: ").unwrap();
    let delay: u64 = delay.split("\r\n").next().unwrap().parse().unwrap();
    assert!((1..=20).contains(&delay), "{delay}");
    world.store_login(&server, user, password);
    let stored = fs::read_to_string(world.login_file()).unwrap();
    let complaint = world.git_fails("work", &["push", &server.bare_url("demo"), "main"]);
    assert!(complaint.contains("429"), "{complaint}");
    assert_eq!(fs::read_to_string(world.login_file()).unwrap(), stored);
    // The same name at another address and another name at this address are not throttled.
    assert_eq!(login(other_client, password), 200);
    assert_eq!(status(&login_from(client, &server, "other", "wrong", "")), 401);
    // After failures with many names, an address is throttled for every name.
    let guesses = (0..1000).map(|number| format!("guess-{number}"));
    let failed = guesses.map(|name| status(&login_from(client, &server, &name, "wrong", "")));
    let failed = failed.take_while(|status| *status == 401).count();
    assert!((26..999).contains(&failed), "{failed}");
    assert_eq!(status(&login_from(client, &server, "new", "wrong", "")), 429);
    assert_eq!(login(other_client, password), 200);
    // Without `--proxy`, `X-Forwarded-For` is ignored.
    let forged = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(status(&login_from(client, &server, user, password, forged)), 429);
}

#[test]
fn the_client_address_is_the_one_that_a_trusted_proxy_appends() {
    let world = World::new("forwarded");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--failed-logins", "1", "--proxy", "127.0.0.1"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let (proxy, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let login = |source, password: &str, forwarded: &str| {
        status(&login_from(source, &server, user, password, forwarded))
    };
    let throttled = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(login(proxy, "wrong", throttled), 401);
    assert_eq!(login(proxy, password, throttled), 429);
    for (forwarded, expected) in [
        ("", 200),
        ("X-Forwarded-For: 192.0.2.2\r\n", 200),
        // Only the last address is trusted. The client may have forged the others.
        ("X-Forwarded-For: 192.0.2.2, 192.0.2.1\r\n", 429),
        ("X-Forwarded-For: 192.0.2.2\r\nX-Forwarded-For: 192.0.2.1\r\n", 429),
        ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", 429),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", 200),
        ("X-Forwarded-For: 2001:db8::1\r\n", 200),
        ("X-Forwarded-For: unknown\r\n", 200),
    ] {
        assert_eq!(login(proxy, password, forwarded), expected, "{forwarded}");
    }
    // The header is ignored if the peer is not a trusted proxy.
    assert_eq!(login(other, password, throttled), 200);
    assert!(world.log().contains("client=192.0.2.1"), "{}", world.log());
    // Hooks receive the same address.
    let seen = world.folder.file("seen");
    world.hook("demo.git", "post-receive", &format!("echo $REMOTE_ADDR > {}", seen.display()));
    world.commit("work", "again", b"again");
    let header = "http.extraHeader=X-Forwarded-For: 192.0.2.9";
    world.run_git("work", &["-c", header, "push", "-q", &server.url_of(&issued, "demo"), "main"]);
    assert_eq!(fs::read_to_string(seen).unwrap(), "192.0.2.9\n");
}

#[test]
fn each_login_attempt_logs_one_event_without_untrusted_input() {
    let world = World::new("events");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--failed-logins", "1"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let client = [127, 0, 0, 1];
    let path = "/demo/info/refs?service=git-upload-pack";
    for (name, secret, outcome, reason) in [
        (user, password, "ok", ""),
        (user, "TYPED-wrong", "denied", "wrong-secret"),
        (user, password, "denied", "throttled"),
        ("TYPED-name", password, "denied", "unknown-name"),
        ("TYPED-name", "TYPED", "denied", "throttled"),
        ("TYPED-name-at-123456789012", "TYPED", "denied", "unknown-name"),
        ("TYPED\nname", "TYPED", "denied", "control-character"),
        (&"TYPED".repeat(200), "TYPED", "denied", "too-long"),
        ("", "", "denied", "repeated-header"),
    ] {
        let before = world.log();
        let twice = format!("{}\r\n", basic("TYPED", "TYPED"));
        let headers = if reason == "repeated-header" { &twice } else { "" };
        login_from(client, &server, name, secret, headers);
        let log = world.log();
        let added = log.strip_prefix(&before).unwrap();
        assert_eq!(added.lines().count(), 1, "{added}");
        assert!(added.contains("client=127.0.0.1"), "{added}");
        assert!(added.contains(&format!("outcome=\"{outcome}\"")), "{added}");
        assert_eq!(added.contains(&format!("reason=\"{reason}\"")), outcome == "denied", "{added}");
        assert_eq!(
            added.contains("user=anika"),
            outcome == "ok" || reason == "wrong-secret",
            "{added}"
        );
    }
    // A request without a credential, such as the first request of Git, logs no event.
    let before = world.log().lines().count();
    let request = format!("GET {path} HTTP/1.1\r\nHost: git\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&raw(server.address, &request)), 401);
    assert_eq!(world.log().lines().count(), before);
    assert!(!world.log().contains("TYPED") && !world.log().contains(password));
}
