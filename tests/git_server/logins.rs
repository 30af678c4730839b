//! Which credentials are accepted, and what is told about the others.

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
    world::{Server, World, basic, element, encoded, raw, rest, status},
};

#[test]
fn users_are_told_apart() {
    let world = World::new("users");
    let iam = world.iam();
    let users = ["anika", "jane"].map(|user| {
        let user = iam.register_user(&name(user)).unwrap();
        let issued = iam.create(user.name(), &name(CODECOMMIT)).unwrap();
        (user, issued)
    });
    drop(iam);
    let server = world.serve(&["--create"]);
    world.work("work");
    let first = server.url_of(&users[0].1, "demo");
    world.does("work", &["push", &first, "main"]);
    // A hook sees who it is.
    let seen = world.folder.file("seen");
    let script = format!("echo $REMOTE_USER $REMOTE_USER_ID >> {}", seen.display());
    world.hook("demo.git", "post-receive", &script);

    let mut expected = String::new();
    for (user, issued) in &users {
        world.commit("work", user.name().as_str(), b"hello");
        world.does("work", &["push", &server.url_of(issued, "demo"), "main"]);
        writeln!(expected, "{} {}", user.name(), user.id()).unwrap();
    }
    assert_eq!(fs::read_to_string(seen).unwrap(), expected);

    // One's name with the other's password opens nothing.
    let mixed =
        server.url(users[0].1.service_user_name().as_str(), users[1].1.secret().expose(), "demo");
    let complaint = world.fails("", &["clone", &mixed, "clone"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
}

#[test]
fn a_credential_that_is_not_valid_is_denied_in_the_form_that_git_understands() {
    let world = World::new("denied");
    let (anika, codecommit) = (name::<UserName>("anika"), name(CODECOMMIT));
    let iam = world.iam();
    iam.register_user(&anika).unwrap();
    let inactive = iam.create(&anika, &codecommit).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let reset = iam.create(&anika, &codecommit).unwrap();
    let valid = iam.reset(&anika, reset.id()).unwrap();
    let elsewhere = iam.create(&anika, &name(CASSANDRA)).unwrap();
    let jane = name("jane");
    iam.register_user(&jane).unwrap();
    let deleted = iam.create(&jane, &codecommit).unwrap();
    iam.delete(&jane, deleted.id()).unwrap();
    // This one was made long ago.
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(dawn()))
        .build();
    let options = CreateOptions::new().lifetime(Lifetime::days(1).unwrap());
    let expired = past.create_with_options(&jane, &codecommit, &options).unwrap();
    // A user of the same name in another account.
    let other = iam.for_account(name("210987654321"));
    other.register_user(&anika).unwrap();
    let foreign = other.create(&anika, &codecommit).unwrap();
    drop((iam, past, other));

    let server = world.serve(&["--create", "--failed-logins", "1000"]);
    world.work("work");
    let path = "/demo/info/refs?service=git-receive-pack";
    for issued in [&inactive, &reset, &elsewhere, &deleted, &expired, &foreign] {
        let complaint = world.fails("work", &["push", &server.url_of(issued, "demo"), "main"]);
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
    // A client without a credential does not learn whether a repository exists.
    assert_eq!(server.status("GET", "/../../etc/passwd", &deleted), 401);
    assert_eq!(server.status("GET", path, &valid), 200);
}

#[test]
fn a_credential_that_is_disabled_between_two_pushes_is_denied_until_it_is_enabled() {
    let world = World::new("disabled");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    let set = |to| {
        let id = ("ServiceSpecificCredentialId", issued.id().as_str());
        let parameters = [("UserName", "anika"), id, ("Status", to)];
        let response = server.admin("UpdateServiceSpecificCredential", &parameters);
        assert_eq!(status(&response), 200, "{response}");
    };
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    let first = world.head("work", "HEAD");
    world.commit("work", "again", b"again");
    set("Inactive");
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    assert_eq!(world.head(world.repository("demo.git"), "main"), first);
    // The operator sees the reason, and no secret.
    assert_eq!(world.log().matches("reason=\"inactive\"").count(), 1, "{}", world.log());
    set("Active");
    world.does("work", &["push", &url, "main"]);
    assert_eq!(world.head(world.repository("demo.git"), "main"), world.head("work", "HEAD"));
}

#[test]
fn a_password_that_is_reset_between_two_pushes_is_denied_and_the_new_one_works() {
    let world = World::new("reset");
    let issued = world.anika();
    let server = world.serve(&["--create", "--url-safe"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.commit("work", "again", b"again");
    let id = ("ServiceSpecificCredentialId", issued.id().as_str());
    let response = server.admin("ResetServiceSpecificCredential", &[("UserName", "anika"), id]);
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    // As it is, since it is asked for in a form that can stand in a URL.
    let (user, password) =
        (element(&response, "ServiceUserName"), element(&response, "ServicePassword"));
    assert_eq!(password, encoded(password).replace("%2D", "-").replace("%5F", "_"));
    let url = format!("http://{user}:{password}@{}/demo", server.address);
    world.does("work", &["push", &url, "main"]);
}

#[test]
fn a_store_that_fails_is_no_rejection() {
    let world = World::new("unavailable");
    let issued = world.anika();
    // The signal that a file grows too large would end the server. It is told of it as an error.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--create", "--admin", "127.0.0.1:0"]);
    let server = world.start(&mut command);
    // Nothing can be written any more, as on a full disk. The store stops when it notices.
    let full = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(server.pid()), Resource::Fsize, full).unwrap();
    let response = server.admin("CreateUser", &[("UserName", "jane")]);
    assert_eq!((status(&response), element(&response, "Code")), (500, "ServiceFailure"));

    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    let remembered = fs::read_to_string(world.remembered()).unwrap();
    world.work("work");
    let complaint = world.fails("work", &["push", &server.bare_url("demo"), "main"]);
    assert!(complaint.contains("503"), "{complaint}");
    // Git keeps the password, which is right.
    assert_eq!(fs::read_to_string(world.remembered()).unwrap(), remembered);
    drop(server);

    let server = world.serve(&["--create"]);
    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.does("work", &["push", &server.bare_url("demo"), "main"]);
}

#[test]
fn a_request_with_two_authorization_headers_is_denied() {
    let world = World::new("two");
    let issued = world.anika();
    let server = world.serve(&["--create", "--failed-logins", "1000"]);
    world.work("work");
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
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

/// Sends a login from an address of this machine, with more header lines.
fn login_from(source: [u8; 4], server: &Server, user: &str, password: &str, more: &str) -> String {
    let domain = socket2::Domain::IPV4;
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let login = basic(user, password);
    let request = format!(
        "GET /demo/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: git\r\n{login}\r\n{more}\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream).0
}

#[test]
fn failed_logins_are_throttled_where_they_come_from() {
    let world = World::new("throttle");
    let issued = world.anika();
    let server = world.serve(&["--create", "--failed-logins", "3"]);
    world.work("work");
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let login = |source, password: &str| status(&login_from(source, &server, user, password, ""));
    let (near, far) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    // One that succeeds is no failure, nor does it undo one.
    for expected in [401, 401, 401] {
        assert_eq!(login(near, password), 200);
        assert_eq!(login(near, "wrong"), expected);
    }
    // Now this name waits at this address, whatever else is sent. Git keeps its password.
    assert_eq!(login(near, "wrong"), 429);
    let response = login_from(near, &server, user, password, "");
    assert_eq!(status(&response), 429);
    let (_, delay) = response.split_once("\r\nretry-after: ").unwrap();
    let delay: u64 = delay.split("\r\n").next().unwrap().parse().unwrap();
    assert!((1..=20).contains(&delay), "{delay}");
    world.remember(&server, user, password);
    let remembered = fs::read_to_string(world.remembered()).unwrap();
    let complaint = world.fails("work", &["push", &server.bare_url("demo"), "main"]);
    assert!(complaint.contains("429"), "{complaint}");
    assert_eq!(fs::read_to_string(world.remembered()).unwrap(), remembered);
    // From elsewhere, the right password works, and so does another name from here.
    assert_eq!(login(far, password), 200);
    assert_eq!(status(&login_from(near, &server, "other", "wrong", "")), 401);
    // An address that fails with many names waits with all of them.
    let guesses = (0..1000).map(|number| format!("guess-{number}"));
    let failed = guesses.map(|name| status(&login_from(near, &server, &name, "wrong", "")));
    let failed = failed.take_while(|status| *status == 401).count();
    assert!((26..999).contains(&failed), "{failed}");
    assert_eq!(status(&login_from(near, &server, "new", "wrong", "")), 429);
    assert_eq!(login(far, password), 200);
    // Without a header that is believed, it is the address of the connection that counts.
    let forged = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(status(&login_from(near, &server, user, password, forged)), 429);
}

#[test]
fn the_address_of_a_client_is_what_the_proxy_has_added() {
    let world = World::new("forwarded");
    let issued = world.anika();
    let server = world.serve(&["--create", "--failed-logins", "1", "--proxy", "127.0.0.1"]);
    world.work("work");
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let (proxy, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let login = |source, password: &str, forwarded: &str| {
        status(&login_from(source, &server, user, password, forwarded))
    };
    let one = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(login(proxy, "wrong", one), 401);
    assert_eq!(login(proxy, password, one), 429);
    for (forwarded, expected) in [
        ("", 200),
        ("X-Forwarded-For: 192.0.2.2\r\n", 200),
        // The client has sent the first of these.
        ("X-Forwarded-For: 192.0.2.2, 192.0.2.1\r\n", 429),
        ("X-Forwarded-For: 192.0.2.2\r\nX-Forwarded-For: 192.0.2.1\r\n", 429),
        ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", 429),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", 200),
        ("X-Forwarded-For: 2001:db8::1\r\n", 200),
        ("X-Forwarded-For: unknown\r\n", 200),
    ] {
        assert_eq!(login(proxy, password, forwarded), expected, "{forwarded}");
    }
    // This one is no proxy.
    assert_eq!(login(other, password, one), 200);
    assert!(world.log().contains("client=192.0.2.1"), "{}", world.log());
    // Hooks see the same address.
    let seen = world.folder.file("seen");
    world.hook("demo.git", "post-receive", &format!("echo $REMOTE_ADDR > {}", seen.display()));
    world.commit("work", "again", b"again");
    let header = "http.extraHeader=X-Forwarded-For: 192.0.2.9";
    world.does("work", &["-c", header, "push", "-q", &server.url_of(&issued, "demo"), "main"]);
    assert_eq!(fs::read_to_string(seen).unwrap(), "192.0.2.9\n");
}

#[test]
fn each_login_and_each_denial_is_one_event_without_what_was_typed() {
    let world = World::new("events");
    let issued = world.anika();
    let server = world.serve(&["--create", "--failed-logins", "1"]);
    world.work("work");
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);
    let (user, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let near = [127, 0, 0, 1];
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
        let more = if reason == "repeated-header" { &twice } else { "" };
        login_from(near, &server, name, secret, more);
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
    // Git asks without a credential first. That is no login.
    let before = world.log().lines().count();
    let request = format!("GET {path} HTTP/1.1\r\nHost: git\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&raw(server.address, &request)), 401);
    assert_eq!(world.log().lines().count(), before);
    assert!(!world.log().contains("TYPED") && !world.log().contains(password));
}
