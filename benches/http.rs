//! Requests per second and latencies of the emulator over HTTP on the loopback interface:
//! keep-alive connections, with creates, resets and lists in turns. Server and load share the
//! machine's cores.
//!
//! The clients are threads that write whole requests and parse only what they need of a response,
//! to leave as much of the machine as possible to the server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use measure::{Figures, Target, at_once, rounds};

mod measure;
#[path = "../tests/common/server.rs"]
mod server;

const CONNECTIONS: [usize; 3] = [1, 8, 64];
const OPERATIONS: [&str; 3] = ["create", "reset", "list one user"];
/// The number of users per round of the other benchmarks, shared by all connections.
const USERS: usize = 1_600;

/// A keep-alive connection.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// A buffer for responses, of which `filled` bytes were received.
    response: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, request: Vec::new(), response: vec![0; 1 << 16], filled: 0 }
    }

    /// Posts a form. Returns the body of the response, which must be a success.
    fn post(&mut self, action: &str, parameters: std::fmt::Arguments<'_>) -> &[u8] {
        self.request.clear();
        // The placeholder has the width of the length that overwrites it.
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
                    Content-Length: 00000\r\n\r\n";
        write!(self.request, "{head}Action={action}&Version=2010-05-08{parameters}").unwrap();
        let length = format!("{:05}", self.request.len() - head.len());
        self.request[head.len() - 9..head.len() - 4].copy_from_slice(length.as_bytes());
        self.stream.write_all(&self.request).unwrap();
        self.filled = 0;
        loop {
            let read = self.stream.read(&mut self.response[self.filled..]).unwrap();
            assert!(read > 0, "the server closed the connection");
            self.filled += read;
            let received = &self.response[..self.filled];
            let Some(end) = find(received, b"\r\n\r\n") else { continue };
            let (head, body) = received.split_at(end + 4);
            let length = between(head, b"content-length: ", b'\r');
            if body.len() == length.parse::<usize>().unwrap() {
                assert!(
                    head.starts_with(b"HTTP/1.1 200 "),
                    "{}",
                    String::from_utf8_lossy(received)
                );
                break;
            }
        }
        let end = find(&self.response[..self.filled], b"\r\n\r\n").unwrap();
        &self.response[end + 4..self.filled]
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The text between two others.
fn between<'a>(bytes: &'a [u8], start: &[u8], end: u8) -> &'a str {
    let rest = &bytes[find(bytes, start).unwrap() + start.len()..];
    let end = rest.iter().position(|byte| *byte == end).unwrap();
    std::str::from_utf8(&rest[..end]).unwrap()
}

/// The durations of each of [`OPERATIONS`].
type Durations = [Vec<Duration>; OPERATIONS.len()];

/// Creates a credential for each of the users, resets it, and lists the user's.
fn work(connection: &mut Connection, users: &[String]) -> Durations {
    const SERVICE: &str = "codecommit.amazonaws.com";

    let mut durations = Durations::default();
    for user in users {
        let begun = Instant::now();
        let created = connection.post(
            "CreateServiceSpecificCredential",
            format_args!("&UserName={user}&ServiceName={SERVICE}"),
        );
        durations[0].push(begun.elapsed());
        let id = between(created, b"<ServiceSpecificCredentialId>", b'<').to_owned();
        let begun = Instant::now();
        connection.post(
            "ResetServiceSpecificCredential",
            format_args!("&UserName={user}&ServiceSpecificCredentialId={id}"),
        );
        durations[1].push(begun.elapsed());
        let begun = Instant::now();
        let listed =
            connection.post("ListServiceSpecificCredentials", format_args!("&UserName={user}"));
        durations[2].push(begun.elapsed());
        assert_eq!(between(listed, b"<ServiceSpecificCredentialId>", b'<'), id);
    }
    durations
}

/// Measures with this many connections.
fn load(figures: &mut Figures, address: SocketAddr, connections: usize) {
    let users = (rounds() * USERS).div_ceil(connections);
    let mut clients: Vec<(Connection, Vec<String>)> = (0..connections)
        .map(|place| {
            let name = |number| format!("user-{connections}-{place}-{number}");
            (Connection::new(address), (0..users).map(name).collect())
        })
        .collect();
    at_once(clients.iter_mut().map(|(connection, users)| {
        move || {
            for user in users.iter() {
                connection.post("CreateUser", format_args!("&UserName={user}"));
            }
        }
    }));
    let (all, elapsed) =
        at_once(clients.iter_mut().map(|(connection, users)| move || work(connection, users)));

    let mut durations = Durations::default();
    for (operation, durations) in durations.iter_mut().enumerate() {
        *durations = all.iter().flat_map(|own| own[operation].iter().copied()).collect();
    }
    let requests: usize = durations.iter().map(Vec::len).sum();
    for (operation, durations) in OPERATIONS.into_iter().zip(durations) {
        figures.latency(operation, connections, durations, elapsed);
    }
    let target = if connections == 8 { Target::AtLeast(20_000.0) } else { Target::None };
    figures.value(
        &format!("requests per second, {connections} connections"),
        (requests as f64 / elapsed.as_secs_f64()).round(),
        "",
        target,
    );
}

/// Builds the emulator in the profile of benchmarks. Returns its path.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // What `cargo bench` sets for this process would make build scripts run again.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    cargo.args(["build", "--quiet", "--message-format=json"]);
    cargo.args(["--example", "emulator", "--profile", "bench"]);
    let built = cargo.stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success());
    let messages = String::from_utf8(built.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut executables = messages.filter_map(|message: serde_json::Value| {
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executables.next().unwrap()
}

fn main() {
    let emulator = build();
    let server = server::Server::start(&emulator, &["--listen", "127.0.0.1:0"]);
    let mut figures = Figures::default();
    for connections in CONNECTIONS {
        load(&mut figures, server.address, connections);
    }
    server.signal("TERM");
    assert!(server.wait().success());
    figures.write("http");
}
