//! The emulator as a process, over a socket: what it rejects, what it accepts, how it ends.
//! `tests/clients` tests its responses with AWS clients.

#![cfg(unix)]
use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Barrier, LazyLock},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    CreateOptions, Lifetime, Policy, query::MAX_BYTES, store::RedbStore,
};

use crate::client::{Client, Response};
use crate::common::{ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, Folder, example, name};
use crate::server::Server;

static EMULATOR: LazyLock<PathBuf> = LazyLock::new(|| example("emulator"));

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// An emulator on a free loopback port.
fn start(options: &[&str]) -> Server {
    Server::start(&EMULATOR, &[&["--listen", "127.0.0.1:0"], options].concat())
}

/// The error of an emulator that cannot start.
fn fails(options: &[&str]) -> String {
    let mut command = Command::new(&*EMULATOR);
    command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*line), (Some(1), ""));
    String::from_utf8(output.stderr).unwrap()
}

fn create_user(client: &mut Client, user: &str) {
    assert_eq!(client.post(&format!("Action=CreateUser&UserName={user}")).status, 200);
}

fn create(client: &mut Client, user: &str, service: &str) -> Response {
    let action = "Action=CreateServiceSpecificCredential";
    client.post(&format!("{action}&UserName={user}&ServiceName={service}"))
}

/// Registers `anika` with a credential. Returns its service user name and secret.
fn anika(client: &mut Client, service: &str) -> (String, String) {
    client.post("Action=CreateUser&UserName=anika");
    let issued = create(client, "anika", service);
    let [name, secret] = if service == BEDROCK {
        ["ServiceCredentialAlias", "ServiceCredentialSecret"]
    } else {
        ["ServiceUserName", "ServicePassword"]
    };
    (issued.element(name).to_owned(), issued.element(secret).to_owned())
}

#[test]
fn requests_of_web_pages_and_to_other_hosts_are_rejected() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let port = server.address.port();
    let list = "GET /?Action=ListUsers&Version=2010-05-08";

    for host in [
        &format!("127.0.0.1:{port}"),
        "127.0.0.1",
        "127.0.0.1:80",
        &format!("localhost:{port}"),
        "localhost",
        "LocalHost:1",
        &format!("[::1]:{port}"),
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
    ] {
        let response = client.request_without_host(list, &[&format!("Host: {host}")], b"");
        assert_eq!(response.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "127.0.0.2",
        "0.0.0.0",
        "192.168.0.1",
        "[::2]",
        "[::]",
        "127.1",
        "2130706433",
        "",
        " ",
        ":80",
        "localhost, evil.example",
    ] {
        let response = client.request_without_host(list, &[&format!("Host: {host}")], b"");
        assert_eq!(response.rejection(), (403, "AccessDenied"), "{host}");
    }
    for headers in [&[][..], &["Host: localhost", "Host: localhost"]] {
        let response = client.request_without_host(list, headers, b"");
        assert_eq!(response.rejection(), (403, "AccessDenied"));
    }
    // The host of an absolute request target counts too.
    let whole = |host: &str| format!("GET http://{host}/?Action=ListUsers&Version=2010-05-08");
    assert_eq!(client.request(&whole("localhost"), &[], b"").status, 200);
    let response = client.request(&whole("evil.example"), &[], b"");
    assert_eq!(response.rejection(), (403, "AccessDenied"));

    for origin in ["https://evil.example", "null", &format!("http://127.0.0.1:{port}"), ""] {
        let origin = format!("Origin: {origin}");
        let body = b"Action=CreateUser&Version=2010-05-08&UserName=eve";
        for (line, body) in [
            ("POST /", &body[..]),
            (list, b""),
            ("OPTIONS /", b""),
            ("GET /authenticate/codecommit.amazonaws.com", b""),
            ("GET /elsewhere", b""),
        ] {
            let response = client.request(line, &[FORM, &origin], body);
            assert_eq!(response.rejection(), (403, "AccessDenied"), "{line} {origin}");
        }
    }
    let users = client.get("/?Action=ListUsers&Version=2010-05-08");
    assert!(!users.body.contains("eve"));
}

#[test]
fn a_server_on_the_ipv6_loopback_address_accepts_it_as_host() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 on this machine");
        return;
    }
    let server = Server::start(&EMULATOR, &["--listen", "[::1]:0"]);
    assert!(server.address.is_ipv6());
    let list = "/?Action=ListUsers&Version=2010-05-08";
    assert_eq!(Client::new(server.address).get(list).status, 200);

    let server = Server::start(&EMULATOR, &["--listen", "127.0.0.9:0"]);
    let mut client = Client::new(server.address);
    assert_eq!(client.get(list).status, 200);
    let response = client.request_without_host(&format!("GET {list}"), &["Host: 127.0.0.8"], b"");
    assert_eq!(response.rejection(), (403, "AccessDenied"));
}

#[test]
fn only_an_insecure_emulator_listens_on_other_addresses() {
    let folder = Folder::new("emulator-insecure");
    let file = folder.file("store.redb");
    let store = format!("redb:{}", file.display());
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let message = fails(&["--listen", address, "--store", &store]);
        assert!(
            message.starts_with(&format!("emulator: cannot listen on {address}: ")),
            "{message}"
        );
        assert!(message.contains("loopback") && message.contains("`--insecure`"), "{message}");
        assert!(message.contains("`--host NAME`"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
    assert!(!file.exists());

    let server = Server::start(&EMULATOR, &["--listen", "0.0.0.0:0", "--insecure"]);
    assert!(server.address.ip().is_unspecified());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
    let list = "GET /?Action=ListUsers&Version=2010-05-08";
    let strange = ["Host: evil.example", "Origin: https://evil.example"];
    let response = Client::new(address).request_without_host(list, &strange, b"");
    assert_eq!(response.status, 200);
    // A page may read that, and ask whether it may send more.
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let asks = [
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: authorization,x-amz-date",
        "Access-Control-Request-Private-Network: true",
    ];
    let asks = [&strange[..], &asks].concat();
    for path in ["/", "/authenticate/codecommit.amazonaws.com"] {
        let line = format!("OPTIONS {path}");
        let response = Client::new(address).request_without_host(&line, &asks, b"");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("access-control-allow-methods"), Some("*"));
        let headers = response.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,x-amz-date"));
        assert_eq!(response.header("access-control-allow-private-network"), Some("true"));
    }
}

#[test]
fn hosts_that_are_named_are_served_and_web_pages_are_not() {
    let options = ["--listen", "0.0.0.0:0", "--host", "emulator", "--host", "iam.example"];
    let server = Server::start(&EMULATOR, &options);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
    let mut client = Client::new(address);
    let list = "GET /?Action=ListUsers&Version=2010-05-08";
    for host in ["emulator", "EMULATOR:4566", "iam.example", "localhost", "127.0.0.1:80"] {
        let response = client.request_without_host(list, &[&format!("Host: {host}")], b"");
        assert_eq!(response.status, 200, "{host}");
    }
    for (host, other) in [
        ("evil.example", "X: y"),
        ("evil.emulator", "X: y"),
        ("emulator.evil", "X: y"),
        ("example", "X: y"),
        ("emulator", "Origin: http://emulator"),
        ("emulator", "Referer: http://emulator/"),
        ("emulator", "Host: emulator"),
    ] {
        let headers = [&format!("Host: {host}"), other];
        let response = client.request_without_host(list, &headers, b"");
        assert_eq!(response.rejection(), (403, "AccessDenied"), "{host} {other}");
    }
    for wrong in ["", "emulator:4566", "user@emulator", "http://emulator", "a b"] {
        let output = Command::new(&*EMULATOR).args(["--host", wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_failure_to_start_is_reported_on_one_line() {
    let folder = Folder::new("emulator-start");
    let store = format!("redb:{}", folder.file("store.redb").display());
    let server = start(&["--store", &store]);

    let message = fails(&["--listen", "127.0.0.1:0", "--store", &store]);
    assert_eq!(message, format!("emulator: {store}: another process holds the file\n"));
    let message = fails(&["--listen", &server.address.to_string()]);
    assert!(message.starts_with(&format!("emulator: cannot listen on {}: ", server.address)));
    assert_eq!(message.lines().count(), 1);
    let folder = format!("redb:{}", folder.0.display());
    let message = fails(&["--listen", "127.0.0.1:0", "--store", &folder]);
    assert!(message.starts_with("emulator: ") && message.contains("is a folder"), "{message}");
    assert_eq!(message.lines().count(), 1);

    // Text that may contain a password is not repeated.
    for store in ["redb:", "disk", "postgre://anika:hunter2@localhost/anika"] {
        let message = fails(&["--listen", "127.0.0.1:0", "--store", store]);
        let why = "a store is `memory`, `redb:PATH`, `postgres:URL` or `dynamodb:TABLE`";
        assert_eq!(message, format!("emulator: --store: {why}\n"));
    }
    for wrong in [
        ["--account", "12345678901"],
        ["--dialect", "spoken"],
        ["--caller", "a b"],
        ["--listen", "4566"],
    ] {
        let output = Command::new(&*EMULATOR).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(wrong[0]) && message.contains(wrong[1]), "{message}");
    }
}

#[test]
fn the_readme_states_the_default_address() {
    let help = Command::new(&*EMULATOR).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for default in ["127.0.0.1:4566", ACCOUNT, "documented", "memory"] {
        assert!(help.contains(&format!("[default: {default}]")), "{help}");
    }
    assert!(include_str!("../../README.md").contains("--endpoint-url http://127.0.0.1:4566"));
}

#[test]
fn bodies_of_up_to_one_mebibyte_are_accepted() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let form = |length: usize| {
        let mut form = b"Action=ListUsers&Version=2010-05-08&Unknown=".to_vec();
        form.resize(length, b'a');
        form
    };
    let chunks = |body: &[u8]| {
        let mut chunked = Vec::new();
        for chunk in body.chunks(60_000) {
            chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            chunked.extend(chunk);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        chunked
    };
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\n");
    #[cfg(target_os = "linux")]
    let mut peak = 0;
    for (length, taken) in [
        (100, true),
        (MAX_BYTES - 1, true),
        (MAX_BYTES, true),
        (MAX_BYTES + 1, false),
        (2 * MAX_BYTES, false),
        (12 * MAX_BYTES, false),
    ] {
        let body = form(length);
        let declared = client.request("POST /", &[FORM], &body);
        client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
        client.send(chunks(&body));
        for response in [declared, client.response()] {
            if taken {
                assert_eq!(response.status, 200, "{length}");
            } else {
                assert_eq!(response.rejection(), (413, "MalformedInput"), "{length}");
                let message = "The request must not be longer than 1048576 bytes";
                assert_eq!(response.element("Message"), message);
            }
        }
        #[cfg(target_os = "linux")]
        if length == MAX_BYTES {
            peak = server.peak_kibibytes();
        }
    }

    // An endless body is cut off, and the server continues.
    let mut endless = Client::new(server.address);
    endless.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = [&b"1000\r\n"[..], &[b'a'; 0x1000], b"\r\n"].concat();
    let mut sent = 0..64 * MAX_BYTES / 0x1000;
    assert!(sent.any(|_| !endless.try_send(&chunk)), "an endless body is read without a limit");
    assert_eq!(client.request("POST /", &[FORM], &form(100)).status, 200);

    // A truncated body, and one with malformed chunks.
    let mut broken = Client::new(server.address);
    broken.send(format!("{head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"));
    assert_eq!(broken.response().rejection(), (400, "MalformedInput"));
    assert!(broken.is_closed());

    #[cfg(target_os = "linux")]
    {
        // A quarter of what was sent. The limit of one body and its buffers are about 4 MiB.
        let grown = server.peak_kibibytes().saturating_sub(peak);
        assert!(grown < 16 * 1024, "{grown} KiB");
    }
}

#[test]
fn a_body_that_is_not_a_form_is_rejected() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let form = b"Action=ListUsers&Version=2010-05-08";
    for headers in [
        &[][..],
        &["Content-Type:"],
        &["Content-Type: application/json"],
        &["Content-Type: text/plain"],
        &["Content-Type: multipart/form-data; boundary=x"],
        &["Content-Type: application/x-www-form-urlencoded-not"],
    ] {
        let response = client.request("POST /", headers, form);
        assert_eq!(response.rejection(), (400, "MalformedInput"), "{headers:?}");
    }
    for accepted in ["; charset=utf-8", ";charset=\"latin-1\"", " ;"] {
        let response = client.request("POST /", &[&format!("{FORM}{accepted}")], form);
        assert_eq!(response.status, 200, "{accepted}");
    }

    for broken in ["%", "%4", "%zz", "%4g", "%%41", "a%2"] {
        let broken = format!("Action=GetUser&Version=2010-05-08&UserName={broken}");
        let posted = client.request("POST /", &[FORM], broken.as_bytes());
        assert_eq!(posted.rejection(), (400, "MalformedInput"), "{broken}");
        let got = client.get(&format!("/?{broken}"));
        assert_eq!(got.rejection(), (400, "MalformedInput"), "{broken}");
        assert_eq!(got.element("Message"), "The request is not percent-encoded correctly");
    }

    // Bytes that are not UTF-8 become U+FFFD, which no name contains. Unknown parameters are
    // ignored.
    for bytes in [&b"%ff"[..], b"\xff", b"%c3", b"a\xc3", b"%ed%a0%80"] {
        let body = [b"Action=GetUser&Version=2010-05-08&UserName=", bytes].concat();
        let response = client.request("POST /", &[FORM], &body);
        assert_eq!(response.rejection(), (400, "ValidationError"));
        let body = [form, &b"&Unknown="[..], bytes].concat();
        assert_eq!(client.request("POST /", &[FORM], &body).status, 200);
    }
    let response = client.get("/?Version=2010-05-08&Action=%ff%00%26%3c]]%3e");
    assert_eq!(response.rejection(), (400, "InvalidAction"));
    let message = "Could not find operation \u{fffd}\u{fffd}&amp;&lt;]]&gt; for version 2010-05-08";
    assert_eq!(response.element("Message"), message);
}

#[test]
fn only_get_and_post_at_known_paths_are_served() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let query = "Action=ListUsers&Version=2010-05-08";
    assert_eq!(client.get(&format!("/?{query}")).status, 200);
    assert_eq!(client.request("POST /", &[FORM], query.as_bytes()).status, 200);
    // A GET is read from its query string only, a POST from its body only.
    let response = client.request("GET /", &[FORM], query.as_bytes());
    assert_eq!(response.rejection(), (400, "MissingAction"));
    let response = client.request(&format!("POST /?{query}"), &[FORM], b"Version=2010-05-08");
    assert_eq!(response.rejection(), (400, "MissingAction"));

    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let response = client.request(&format!("{method} /?{query}"), &[], b"");
        assert_eq!(response.rejection(), (405, "MethodNotAllowed"), "{method}");
        assert_eq!(response.header("allow"), Some("GET, POST"));
        let path = "/authenticate/codecommit.amazonaws.com";
        let response = client.request(&format!("{method} {path}"), &[], b"");
        assert_eq!(response.rejection(), (405, "MethodNotAllowed"), "{method}");
        assert_eq!(response.header("allow"), Some("GET"));
    }
    // Also with a body, and the connection stays open.
    for (line, rejection) in [
        ("PUT /", (405, "MethodNotAllowed")),
        ("POST /authenticate/codecommit.amazonaws.com", (405, "MethodNotAllowed")),
        ("POST /elsewhere", (404, "NotFound")),
    ] {
        let response = client.request(line, &[FORM], &[b'a'; 10_000]);
        assert_eq!(response.rejection(), rejection);
    }
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 405);

    for path in
        ["/x", "//", "/index.html?Action=ListUsers", "/authenticate", "/authenticate/", "/%ff"]
    {
        for method in ["GET", "POST", "PUT"] {
            let response = client.request(&format!("{method} {path}"), &[FORM], b"");
            assert_eq!(response.rejection(), (404, "NotFound"), "{method} {path}");
        }
    }
}

#[test]
fn a_connection_serves_several_requests() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    create_user(&mut client, "anika");
    for _ in 0..100 {
        let issued = create(&mut client, "anika", CODECOMMIT);
        assert_eq!(issued.status, 200);
        assert_eq!(issued.header("connection"), None);
        assert_eq!(issued.header("cache-control"), Some("no-store"));
        let id = issued.element("ServiceSpecificCredentialId");
        let delete = "Action=DeleteServiceSpecificCredential&UserName=anika";
        let response = client.post(&format!("{delete}&ServiceSpecificCredentialId={id}"));
        assert_eq!(response.status, 200);
    }
    // Also several pipelined requests.
    let list = "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(list.repeat(10));
    for _ in 0..10 {
        assert_eq!(client.response().element("UserName"), "anika");
    }
}

#[test]
fn concurrent_creations_over_http_stop_at_the_limit() {
    const CLIENTS: usize = 32;

    let folder = Folder::new("emulator-race");
    let store = format!("redb:{}", folder.file("store.redb").display());
    for store in ["memory", &store] {
        let server = start(&["--store", store]);
        let barrier = Barrier::new(CLIENTS);
        for round in 0..8 {
            let user = format!("anika-{round}");
            create_user(&mut Client::new(server.address), &user);
            let race = || {
                let mut client = Client::new(server.address);
                barrier.wait();
                create(&mut client, &user, CODECOMMIT)
            };
            let responses: Vec<Response> = thread::scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(race)).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            let (issued, rejected): (Vec<_>, Vec<_>) =
                responses.into_iter().partition(|response| response.status == 200);
            let mut names: Vec<&str> =
                issued.iter().map(|issued| issued.element("ServiceUserName")).collect();
            names.sort_unstable();
            let expected = [1, 2].map(|number| format!("{user}+{number}-at-{ACCOUNT}"));
            assert_eq!(names, expected, "{store}");
            for rejected in rejected {
                assert_eq!(rejected.rejection(), (409, "LimitExceeded"), "{store}");
            }
        }
    }
}

#[test]
fn a_signal_lets_accepted_requests_finish() {
    let folder = Folder::new("emulator-shutdown");
    let store = format!("redb:{}", folder.file("store.redb").display());
    for signal in ["TERM", "INT"] {
        let server = start(&["--store", &store]);
        let address = server.address;
        let mut idle = Client::new(address);
        let user = format!("anika-{signal}");
        create_user(&mut idle, &user);

        let mut busy = Client::new(address);
        let form = format!(
            "Action=CreateServiceSpecificCredential&Version=2010-05-08&UserName={user}\
             &ServiceName={CODECOMMIT}"
        );
        busy.send(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n\r\n",
            form.len()
        ));
        // It sends 100 when it waits for the body.
        assert_eq!(busy.head().status, 100);
        server.signal(signal);
        assert!(idle.is_closed());
        while TcpStream::connect(address).is_ok() {
            thread::yield_now();
        }
        busy.send(form);
        let issued = busy.response();
        assert_eq!(issued.status, 200);
        assert!(busy.is_closed());
        assert!(server.wait().success());

        // The request was completed.
        let server = start(&["--store", &store]);
        let secret = issued.element("ServicePassword");
        let header = basic(issued.element("ServiceUserName"), secret);
        let path = format!("GET /authenticate/{CODECOMMIT}");
        assert_eq!(Client::new(server.address).request(&path, &[&header], b"").status, 200);
    }
}

#[test]
fn a_second_signal_ends_the_emulator_at_once() {
    let server = start(&[]);
    let address = server.address;
    let mut busy = Client::new(address);
    busy.send(format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\n{FORM}\r\nExpect: 100-continue\r\n\
         Content-Length: 10\r\n\r\n"
    ));
    assert_eq!(busy.head().status, 100);
    server.signal("TERM");
    while TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    server.signal("INT");
    assert!(server.wait().success());
}

/// An `Authorization` header for a name and a password.
pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn authenticate(client: &mut Client, service: &str, headers: &[&str]) -> Response {
    client.request(&format!("GET /authenticate/{service}"), headers, b"")
}

#[test]
fn authenticate_returns_the_identity_of_a_password_or_api_key() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let (name, password) = anika(&mut client, CODECOMMIT);
    let (alias, key) = anika(&mut client, BEDROCK);

    for (service, header, kind, held) in [
        (CODECOMMIT, basic(&name, &password), "password", &name),
        (CODECOMMIT, basic(&name.to_uppercase(), &password), "password", &name),
        (CODECOMMIT, basic(&name, &password).replace("Basic", "bAsIc  "), "password", &name),
        ("CodeCommit.AmazonAWS.com", basic(&name, &password), "password", &name),
        (BEDROCK, format!("Authorization: Bearer {key}"), "api-key", &alias),
        (BEDROCK, format!("authorization: bearer   {key}"), "api-key", &alias),
    ] {
        let response = authenticate(&mut client, service, &[&header]);
        assert_eq!(response.status, 200, "{header}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let mut credential: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        let credential = credential.as_object_mut().unwrap();
        for (field, value) in [
            ("service", service.to_lowercase().as_str()),
            ("user_name", "anika"),
            ("service_user_name", held),
            ("kind", kind),
            ("status", "Active"),
        ] {
            assert_eq!(credential.remove(field).unwrap(), value, "{field}");
        }
        let id = credential.remove("id").unwrap();
        assert!(id.as_str().unwrap().starts_with("ACCA"));
        assert!(credential.remove("created").unwrap().as_str().unwrap().ends_with('Z'));
        assert!(credential.remove("expires").unwrap().is_null());
        let changed = credential.remove("secret_changed").unwrap();
        assert!(changed.as_str().unwrap().ends_with('Z'));
        assert!(credential.is_empty(), "{credential:?}");
    }
}

#[test]
fn every_invalid_credential_gets_the_same_401() {
    let server = start(&[]);
    let mut client = Client::new(server.address);
    let (name, password) = anika(&mut client, CODECOMMIT);
    let (alias, key) = anika(&mut client, BEDROCK);
    let right = basic(&name, &password);
    let encoded = |text: &[u8]| format!("Authorization: Basic {}", STANDARD.encode(text));

    let mut bodies = Vec::new();
    for (service, headers) in [
        (CODECOMMIT, &[][..]),
        (CODECOMMIT, &["Authorization:"]),
        (CODECOMMIT, &["Authorization: Basic"]),
        (CODECOMMIT, &["Authorization: Basic "]),
        (CODECOMMIT, &["Authorization: Basic !!!"]),
        (CODECOMMIT, &[&*right.replace("Basic ", "Basic")]),
        (CODECOMMIT, &[&*right.replace("Basic", "Digest")]),
        (CODECOMMIT, &[&*right.replace("Basic", "Bearer")]),
        (CODECOMMIT, &[&*right, &*right]),
        (CODECOMMIT, &[&*encoded(name.as_bytes())]),
        (CODECOMMIT, &[&*encoded(b"\xff:\xff")]),
        (CODECOMMIT, &[&*encoded(b":")]),
        (CODECOMMIT, &[&*basic(&name, "wrong")]),
        (CODECOMMIT, &[&*basic(&name, "")]),
        (CODECOMMIT, &[&*basic(&name, &format!("{password}:"))]),
        (CODECOMMIT, &[&*basic(&name, &format!("{password}{}", "a".repeat(10_000)))]),
        (CODECOMMIT, &[&*basic("nobody", &password)]),
        (CODECOMMIT, &[&*basic("", &password)]),
        (CASSANDRA, &[&*right]),
        (BEDROCK, &[&*right]),
        (BEDROCK, &[&*basic(&alias, &key)]),
        (BEDROCK, &["Authorization: Bearer"]),
        (BEDROCK, &["Authorization: Bearer "]),
        (BEDROCK, &["Authorization: Bearer ABSK"]),
        (BEDROCK, &[&*format!("Authorization: Bearer {key}A")]),
        (CODECOMMIT, &[&*format!("Authorization: Bearer {key}")]),
    ] {
        let response = authenticate(&mut client, service, headers);
        assert_eq!(response.rejection(), (401, "AccessDenied"), "{service} {headers:?}");
        let challenge = if service != BEDROCK {
            format!("Basic realm=\"{service}\", charset=\"UTF-8\"")
        } else if headers.iter().any(|header| header.starts_with("Authorization: Bearer")) {
            format!("Bearer realm=\"{service}\", error=\"invalid_token\"")
        } else {
            format!("Bearer realm=\"{service}\"")
        };
        assert_eq!(response.header("www-authenticate"), Some(&*challenge));
        bodies.push(response.body.replace(response.element("RequestId"), ""));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);

    // A service that is not supported is not a denial.
    let response = authenticate(&mut client, "nothing.amazonaws.com", &[&right]);
    assert_eq!(response.rejection(), (404, "NotSupportedService"));
    assert_eq!(response.header("www-authenticate"), None);
    for service in ["a%20b", "%ff", "a_b"] {
        let response = authenticate(&mut client, service, &[&right]);
        assert_eq!(response.rejection(), (404, "NotFound"), "{service}");
    }
}

/// A store in a file that cannot grow is closed at the first write that does not fit, and the next
/// request reopens it. While another process has the file open, the server cannot tell whether a
/// credential is valid.
#[test]
fn an_unavailable_store_is_not_a_denial() {
    let folder = Folder::new("emulator-full");
    let file = folder.file("store.redb");
    let store = format!("redb:{}", file.display());
    let server = start(&["--store", &store]);
    let mut client = Client::new(server.address);
    let (name, password) = anika(&mut client, CODECOMMIT);
    server.signal("TERM");
    drop(client);
    assert!(server.wait().success());

    let blocks = file.metadata().unwrap().len() / 512;
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh"]).arg(&*EMULATOR);
    let server = Server::run(command.args(["--listen", "127.0.0.1:0", "--store", &store]));
    let mut client = Client::new(server.address);
    let header = basic(&name, &password);
    assert_eq!(authenticate(&mut client, CODECOMMIT, &[&header]).status, 200);

    let failed = (0..100_000)
        .map(|number| client.post(&format!("Action=CreateUser&UserName=user-{number}")))
        .find(|response| response.status != 200)
        .unwrap();
    assert_eq!(failed.rejection(), (500, "ServiceFailure"));
    assert_eq!(failed.element("Message"), "the store failed, and the outcome is unknown");
    let other = RedbStore::open(&file).unwrap();
    let wrong = basic(&name, "wrong");
    for header in [&header, &wrong] {
        let response = authenticate(&mut client, CODECOMMIT, &[header]);
        assert_eq!(response.rejection(), (503, "ServiceFailure"));
        assert_eq!(response.header("retry-after"), Some("1"));
        assert_eq!(response.header("www-authenticate"), None);
    }
    assert_eq!(authenticate(&mut client, CODECOMMIT, &[]).status, 401);
    let response = client.get("/?Action=ListUsers&Version=2010-05-08");
    assert_eq!(response.rejection(), (500, "ServiceFailure"));

    drop(other);
    let start = Instant::now();
    while authenticate(&mut client, CODECOMMIT, &[&header]).status != 200 {
        assert!(start.elapsed() < Duration::from_secs(60), "the store was not reopened in time");
    }
    assert_eq!(authenticate(&mut client, CODECOMMIT, &[&wrong]).status, 401);
}

/// The wait for a credential to expire takes at least a day.
#[test]
#[ignore = "writes the file that tests/clients shows to AWS clients"]
fn write_a_store_with_an_expired_credential() {
    let path = std::env::var_os("SSC_EXPIRED_FILE").unwrap();
    let (iam, _) = crate::common::manager(RedbStore::create(path).unwrap(), Policy::default());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let issued = iam
        .create_with_options(
            &anika,
            &name(CODECOMMIT),
            &CreateOptions::new().lifetime(Lifetime::days(1).unwrap()),
        )
        .unwrap();
    assert_eq!(issued.service_user_name().as_str(), format!("anika+1-at-{ACCOUNT}"));
}
