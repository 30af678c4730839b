//! The traffic through the gateway to a Cassandra and back.
//!
//! Cassandra cannot be installed here. Two substitutes take its place: a second gateway, which
//! serves the requests of connecting drivers, and a server that follows a script and records every
//! byte.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use rand::{Rng as _, SeedableRng as _, rngs::ChaCha20Rng};

use crate::world::{
    AUTHENTICATE, BATCH, Client, Message, OPTIONS, OVERLOADED, PROTOCOL, QUERY, READY, RESULT,
    STARTUP, STREAM, SUPPORTED, World, envelope, query, startup, string,
};

/// The behaviour of the scripted server for a connection.
#[derive(Clone, Copy)]
enum Script {
    /// Accepts the gateway, up to this version of the protocol.
    Ready(u8),
    /// Requests a password.
    Authenticate,
    /// Fails.
    Error,
    /// Sends an unexpected message.
    Event,
    /// Closes the connection.
    Close,
}

/// A server that follows a script. It returns each accepted connection with its `STARTUP`.
struct Upstream {
    address: SocketAddr,
    script: Sender<Script>,
    ready: Receiver<(Message, Client<TcpStream>)>,
}

impl Upstream {
    /// Follows the first script for each connection, until another one is set.
    fn start(mut playing: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (script, scripts) = channel();
        let (done, ready) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                playing = scripts.try_iter().last().unwrap_or(playing);
                if let Some(connection) = play(playing, stream.unwrap())
                    && done.send(connection).is_err()
                {
                    return;
                }
            }
        });
        Self { address, script, ready }
    }

    /// The next connection after those that the gateway makes at its start.
    fn next(&self) -> (Message, Client<TcpStream>) {
        self.ready.recv().unwrap()
    }
}

fn play(script: Script, stream: TcpStream) -> Option<(Message, Client<TcpStream>)> {
    // Requests have no direction bit, and every response has one.
    let mut server = Client::new(stream, 0);
    let startup = server.receive()?;
    assert_eq!(startup.opcode, STARTUP);
    let version = startup.version;
    server.version = version | 0x80;
    let mut reply = |version: u8, opcode, body: &[u8]| {
        server.write(&envelope(version | 0x80, startup.stream, opcode, body));
    };
    match script {
        Script::Ready(highest) if version > highest => {
            let error = [&PROTOCOL.to_be_bytes()[..], &string("unsupported protocol version")];
            reply(highest, 0, &error.concat());
        }
        Script::Ready(_) => {
            reply(version, READY, b"");
            server.framed = version == 5;
            return Some((startup, server));
        }
        Script::Authenticate => reply(version, AUTHENTICATE, &string("a.b.PasswordAuthenticator")),
        Script::Error => {
            reply(version, 0, &[&0x1002_i32.to_be_bytes()[..], &string("bootstrapping")].concat());
        }
        Script::Event => reply(version, 0x0C, b""),
        Script::Close => {}
    }
    None
}

/// A gateway in front of a scripted server, and the name and password of a user.
fn in_front_of(
    script: Script,
    test: &str,
) -> (World, Upstream, crate::world::Gateway, [String; 2]) {
    let world = World::new(test);
    let issued = world.anika();
    let upstream = Upstream::start(script);
    let address = upstream.address.to_string();
    let gateway = world.serve(&["--upstream", &address, "--failed-logins", "1000"]);
    if matches!(script, Script::Ready(_)) {
        // The connection by which the gateway has checked that it is accepted.
        drop(upstream.next());
    }
    let login = [issued.service_user_name().as_str(), issued.secret().expose()].map(str::to_owned);
    (world, upstream, gateway, login)
}

#[test]
fn the_upstream_receives_the_startup_of_the_client_and_no_password() {
    let (_world, upstream, gateway, [user, password]) = in_front_of(Script::Ready(5), "startup");
    for version in 3..=5 {
        let options =
            startup(&[("CQL_VERSION", "3.4.5"), ("DRIVER_NAME", "\u{e9}"), ("X", "y"), ("X", "z")]);
        let mut client = gateway.connect(version);
        assert_eq!(client.ask(OPTIONS, b"").opcode, SUPPORTED);
        assert_eq!(client.ask(STARTUP, &options).opcode, AUTHENTICATE);
        client.framed = version == 5;
        client.authenticate(format!("\0{user}\0{password}").as_bytes()).unwrap();
        let (started, mut server) = upstream.next();
        assert_eq!((started.version, started.body), (version, options));

        // From here on both are connected.
        client.send(QUERY, &query("SELECT 1"));
        let request = server.receive().unwrap();
        let body = query("SELECT 1");
        assert_eq!(request, Message { version, stream: STREAM, opcode: QUERY, body });
        server.write(&envelope(version | 0x80, -1, 0x0C, b"event"));
        server.write(&envelope(version | 0x80, STREAM, RESULT, b"rows"));
        assert_eq!(client.receive().unwrap().body, b"event");
        assert_eq!(client.receive().unwrap().body, b"rows");
        // Bytes that are invalid before the login are forwarded after it.
        client.send(STARTUP, b"");
        assert_eq!(server.receive().unwrap().opcode, STARTUP);
        client.stream.write_all(b"no message at all").unwrap();
        let mut bytes = [0; 17];
        server.stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"no message at all");

        // Each end is notified when the other one closes.
        if version == 3 {
            drop(client);
            assert_eq!(server.receive(), None);
        } else {
            drop(server);
            assert_eq!(client.receive(), None);
        }
    }
}

/// A stream of bytes without repetition: a number every 4096 bytes, and noise.
struct Noise {
    block: Vec<u8>,
    next: u64,
}

impl Noise {
    fn new(seed: u64) -> Self {
        let mut block = vec![0; 64 * 1024 - 7];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut block);
        Self { block, next: 0 }
    }

    fn block(&mut self) -> &[u8] {
        for part in self.block.chunks_mut(4096) {
            part[..8].copy_from_slice(&self.next.to_be_bytes());
            self.next += 1;
        }
        &self.block
    }
}

/// The number of bytes in each direction.
const LENGTH: usize = 100_000_000;

fn send(mut to: TcpStream, seed: u64) {
    let mut noise = Noise::new(seed);
    let mut left = LENGTH;
    while left > 0 {
        let block = noise.block();
        let length = left.min(block.len());
        to.write_all(&block[..length]).unwrap();
        left -= length;
    }
    to.shutdown(std::net::Shutdown::Write).unwrap();
}

/// Compares every byte until the end.
fn check(mut from: impl Read, seed: u64) {
    let mut noise = Noise::new(seed);
    let mut left = LENGTH;
    let mut read = Vec::new();
    while left > 0 {
        let block = noise.block();
        let length = left.min(block.len());
        read.resize(length, 0);
        from.read_exact(&mut read).unwrap();
        assert!(read == block[..length], "the last {left} bytes differ");
        left -= length;
    }
    assert_eq!(from.read(&mut [0]).unwrap(), 0, "there are more bytes");
}

#[test]
fn a_hundred_megabytes_arrive_unchanged_in_both_directions_concurrently() {
    let (_world, upstream, gateway, [user, password]) = in_front_of(Script::Ready(5), "megabytes");
    for version in [4, 5] {
        let client = gateway.log_in(version, &user, &password).unwrap().stream;
        let server = upstream.next().1.stream;
        thread::scope(|scope| {
            let [client_writes, server_writes] =
                [&client, &server].map(|it| it.try_clone().unwrap());
            scope.spawn(move || send(client_writes, 1));
            scope.spawn(move || send(server_writes, 2));
            scope.spawn(|| check(&server, 1));
            scope.spawn(|| check(&client, 2));
        });
    }
}

#[test]
fn versions_that_the_upstream_does_not_support_are_not_offered() {
    for (highest, offered) in [(3, "(3/v3)"), (4, "(3/v3, 4/v4)")] {
        let (_world, upstream, gateway, [user, password]) =
            in_front_of(Script::Ready(highest), &format!("highest-{highest}"));
        for version in 3..=5 {
            if version <= highest {
                gateway.log_in(version, &user, &password).map(drop).unwrap();
                assert_eq!(upstream.next().0.version, version);
            } else {
                let mut client = gateway.connect(version);
                client.send(OPTIONS, b"");
                let (code, message) = client.receive().unwrap().error();
                assert_eq!(code, PROTOCOL);
                assert!(message.ends_with(offered), "{message}");
            }
        }
    }
}

#[test]
fn a_gateway_that_the_upstream_rejects_does_not_start() {
    let world = World::new("distrusted");
    drop(world.anika());
    for (script, expected) in [
        (Script::Authenticate, "it asks for a password, and --upstream-user is not given"),
        (Script::Error, "it failed with 0x1002, bootstrapping"),
        (Script::Event, "it sent message 12, which does not belong there"),
        (Script::Close, "no connection: unexpected end of file"),
    ] {
        let upstream = Upstream::start(script);
        let address = upstream.address.to_string();
        let complaint = world.fails(&["--upstream", &address]);
        assert_eq!(complaint, format!("cassandra_gateway: {address}: {expected}\n"));
    }
    // A port without a listener.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let complaint = world.fails(&["--upstream", &free]);
    assert!(complaint.contains("no connection: Connection refused"), "{complaint}");
}

#[test]
fn an_upstream_failure_is_not_a_denial() {
    let (world, upstream, gateway, [user, password]) = in_front_of(Script::Ready(5), "later");
    let unavailable = (OVERLOADED, "the database is unavailable, try again later".to_owned());
    let rejecting = (0, "the database rejects the gateway".to_owned());
    for (script, expected, log) in [
        (Script::Close, &unavailable, "no upstream: no connection"),
        (Script::Authenticate, &rejecting, "no upstream: it asks for a password"),
        (Script::Error, &rejecting, "no upstream: it failed with 0x1002, bootstrapping"),
        (Script::Event, &rejecting, "no upstream: it sent message 12"),
    ] {
        upstream.script.send(script).unwrap();
        for version in 3..=5 {
            let failed = gateway.log_in(version, &user, &password).map(drop).unwrap_err();
            assert_eq!(&failed, expected);
            // A wrong password is denied as before.
            let denied = gateway.log_in(version, &user, "wrong").map(drop).unwrap_err();
            assert_eq!(denied.1, crate::world::DENIED);
        }
        assert!(world.log().contains(log), "{}", world.log());
    }
    upstream.script.send(Script::Ready(5)).unwrap();
    gateway.log_in(5, &user, &password).map(drop).unwrap();
}

#[test]
fn clients_that_are_not_logged_in_do_not_reach_the_upstream() {
    let (_world, upstream, gateway, [user, password]) = in_front_of(Script::Ready(5), "unknown");
    for version in 3..=5 {
        gateway.connect(version).ask(OPTIONS, b"");
        gateway.connect(version).start();
        gateway.log_in(version, &user, "wrong").map(drop).unwrap_err();
        let mut client = gateway.connect(version);
        client.send(BATCH, b"");
        client.receive().unwrap().error();
        assert!(upstream.ready.try_recv().is_err());
    }
    gateway.log_in(4, &user, &password).map(drop).unwrap();
    upstream.next();
}

#[test]
fn the_gateway_logs_in_to_an_upstream_with_a_password() {
    let (first, second) = (World::new("first"), World::new("second"));
    let (user, gateway) = (first.anika(), second.anika());
    let upstream = second.serve(&[]);
    let address = upstream.address.to_string();
    let options =
        ["--upstream", &*address, "--upstream-user", gateway.service_user_name().as_str()];

    let complaint = first.fails(&options);
    assert!(complaint.contains("UPSTREAM_PASSWORD"), "{complaint}");
    let start = |password: &str| {
        let mut command = first.command();
        command.args(options).env("UPSTREAM_PASSWORD", password);
        command
    };
    let wrong = start("wrong").output().unwrap();
    assert!(!wrong.status.success());
    let complaint = String::from_utf8(wrong.stderr).unwrap();
    let expected = "it failed with 0x0100, the credential is not valid for this service";
    assert!(complaint.contains(expected), "{complaint}");

    let both = first.start(&mut start(gateway.secret().expose()));
    for version in 3..=5 {
        let mut client = both.log_in_as(version, &user).unwrap();
        assert!(client.works());
        // The gateway's credential authenticates no user, and a user's not the gateway.
        both.log_in_as(version, &gateway).map(drop).unwrap_err();
        upstream.log_in_as(version, &user).map(drop).unwrap_err();
    }
}
