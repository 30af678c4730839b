//! Requests per second that the emulator serves over HTTP on the loopback interface: 8 keep-alive
//! connections, with creates, resets and lists in turns. Server and load share the machine's cores.
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
    sync::Barrier,
    thread,
    time::Instant,
};

#[path = "../tests/common/server.rs"]
mod server;

const CONNECTIONS: usize = 8;
/// The number of requests per connection: one third each of creates, resets and lists.
const REQUESTS: usize = 15_000;
const ROUNDS: usize = 5;
const TARGET: u32 = 20_000;

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

/// Creates a credential for each of the connection's users, resets it, and lists the user's.
fn work(address: SocketAddr, round: usize, place: usize, ready: &Barrier) -> (Instant, Instant) {
    const SERVICE: &str = "codecommit.amazonaws.com";

    let mut connection = Connection::new(address);
    let user = |number: usize| format!("user-{round}-{place}-{number}");
    for number in 0..REQUESTS / 3 {
        connection.post("CreateUser", format_args!("&UserName={}", user(number)));
    }
    ready.wait();
    let begun = Instant::now();
    for number in 0..REQUESTS / 3 {
        let user = user(number);
        let created = connection.post(
            "CreateServiceSpecificCredential",
            format_args!("&UserName={user}&ServiceName={SERVICE}"),
        );
        let id = between(created, b"<ServiceSpecificCredentialId>", b'<').to_owned();
        connection.post(
            "ResetServiceSpecificCredential",
            format_args!("&UserName={user}&ServiceSpecificCredentialId={id}"),
        );
        let listed =
            connection.post("ListServiceSpecificCredentials", format_args!("&UserName={user}"));
        assert_eq!(between(listed, b"<ServiceSpecificCredentialId>", b'<'), id);
    }
    (begun, Instant::now())
}

/// Builds the emulator in the profile of benchmarks. Returns its path.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
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
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let (address, ready) = (server.address, Barrier::new(CONNECTIONS));
            let times: Vec<_> = thread::scope(|scope| {
                let ready = &ready;
                let clients: Vec<_> = (0..CONNECTIONS)
                    .map(|place| scope.spawn(move || work(address, round, place, ready)))
                    .collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            let begun = times.iter().map(|(begun, _)| *begun).min().unwrap();
            let ended = times.iter().map(|(_, ended)| *ended).max().unwrap();
            (CONNECTIONS * REQUESTS) as f64 / ended.duration_since(begun).as_secs_f64()
        })
        .collect();
    server.signal("TERM");
    assert!(server.wait().success());

    rates.sort_by(f64::total_cmp);
    let [lowest, .., highest] = &rates[..] else { return };
    println!("{CONNECTIONS} connections, creates, resets and lists in turns, {ROUNDS} rounds");
    println!("{:.0} requests a second (median; {lowest:.0} to {highest:.0})", rates[ROUNDS / 2]);
    println!("target: at least {TARGET}");
}
