//! `examples/middleware.rs`, as a process, over HTTP.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

#[path = "../common/client.rs"]
mod client;

use self::client::{Client, Response};

/// The process. It is killed on drop.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its output at the start: a service user name, its password, and the address.
fn start() -> (Server, [String; 3]) {
    let mut command = Command::new(crate::common::example("middleware"));
    command.arg("127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Server(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.as_mut().unwrap()).lines();
    let printed =
        ["service user name  ", "password           ", "listening on http://"].map(|label| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(label).unwrap_or_else(|| panic!("{line:?}")).to_owned()
        });
    (server, printed)
}

#[test]
fn the_identity_reaches_the_handler_and_anonymous_requests_may_only_read() {
    let (mut server, [name, password, address]) = start();
    let mut client = Client::new(address.parse().unwrap());
    let basic = |name: &str, password: &str| {
        format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
    };
    let right = basic(&name, &password);
    let denied = "the credential is not valid for this service\n";
    for (method, headers, status, body) in [
        ("GET", &[][..], 200, "hello, anonymous client\n"),
        ("GET", &[&*right], 200, "hello, anika\n"),
        ("POST", &[&*right], 200, "anika wrote\n"),
        ("POST", &[], 401, "this service needs a credential\n"),
        // A client that tries to authenticate is not served as anonymous.
        ("GET", &[&*basic(&name, "wrong")], 401, denied),
        ("POST", &[&*basic(&name, "wrong")], 401, denied),
        ("GET", &[&*basic("nobody", &password)], 401, denied),
        ("GET", &["Authorization: Basic !"], 401, denied),
        ("GET", &[&*format!("Authorization: Bearer {password}")], 401, denied),
        ("GET", &[&*right, &*right], 401, denied),
    ] {
        let response: Response = client.request(&format!("{method} /"), headers, b"");
        assert_eq!((response.status, &*response.body), (status, body), "{method} {headers:?}");
        let challenge = r#"Basic realm="codecommit.amazonaws.com", charset="UTF-8""#;
        assert_eq!(response.header("www-authenticate"), (status == 401).then_some(challenge));
    }

    server.0.kill().unwrap();
    let mut log = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let reasons: Vec<_> = log.lines().collect();
    assert_eq!(
        reasons,
        [
            "POST /: missing-credentials",
            "GET /: wrong-secret",
            "POST /: wrong-secret",
            "GET /: unknown-name",
            "GET /: invalid-base64",
            "GET /: unsupported-service",
            "GET /: repeated-header",
        ]
    );
}
