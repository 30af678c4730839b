//! Untrusted input before the login.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::IssuedCredential;

use crate::world::{
    AUTH_RESPONSE, BATCH, Client, ERROR, EXECUTE, Gateway, OPTIONS, PREPARE, PROTOCOL, QUERY,
    READY, REGISTER, STARTUP, STREAM, SUPPORTED, World, bytes, envelope, frame, query, startup,
    string,
};

/// A gateway, and a credential that it must still accept at the end.
struct Fixture {
    gateway: Gateway,
    issued: IssuedCredential,
    world: World,
}

impl Fixture {
    fn new(test: &str, options: &[&str]) -> Self {
        let world = World::new(test);
        let issued = world.anika();
        Self { gateway: world.serve(options), issued, world }
    }

    /// A client that has sent `STARTUP` and was asked for a password.
    fn started(&self, version: u8) -> Client<TcpStream> {
        let mut client = self.gateway.connect(version);
        client.start();
        client
    }

    fn still_works(self) {
        for version in 3..=5 {
            assert!(self.gateway.log_in_as(version, &self.issued).unwrap().works());
        }
        assert!(!self.world.log().contains("panicked"));
    }
}

/// Checks that a client receives one protocol error, and that the connection is closed afterwards.
/// Returns the message.
fn rejected(mut client: Client<TcpStream>, what: &str) -> String {
    let response = client.receive().unwrap_or_else(|| panic!("no response to {what}"));
    let (code, message) = response.error();
    assert_eq!(code, PROTOCOL, "{what}: {message}");
    assert_eq!(client.receive(), None, "the connection stays open after {what}");
    message
}

#[test]
fn only_options_and_login_messages_are_answered_before_the_login() {
    let attacked = Fixture::new("opcodes", &[]);
    for version in 3..=5 {
        for opcode in 0..=u8::MAX {
            let bodies = [Vec::new(), query("SELECT * FROM system.local"), bytes(b"\0a\0b")];
            for body in bodies {
                let body =
                    if opcode == STARTUP { startup(&[("CQL_VERSION", "3.0.0")]) } else { body };
                if opcode != OPTIONS && opcode != STARTUP {
                    let mut client = attacked.gateway.connect(version);
                    client.send(opcode, &body);
                    let message = rejected(client, &format!("message {opcode}"));
                    assert_eq!(message, format!("unexpected message {opcode} before login"));
                }
                if opcode != OPTIONS && opcode != AUTH_RESPONSE {
                    let mut client = attacked.started(version);
                    client.send(opcode, &body);
                    rejected(client, &format!("message {opcode} instead of a password"));
                }
                // All opcodes with one body, and the documented ones with the others.
                if opcode > 0x10 {
                    break;
                }
            }
        }
    }
    attacked.still_works();
}

#[test]
fn the_error_of_an_unsupported_version_lists_the_supported_ones() {
    let attacked = Fixture::new("version", &[]);
    for version in (0..=127).filter(|version| !(3..=5).contains(version)) {
        for opcode in [OPTIONS, STARTUP] {
            let mut client = attacked.gateway.connect(version);
            client.send(opcode, b"");
            let response = client.receive().unwrap();
            // In a version that the client presumably knows.
            assert_eq!((response.version, response.stream), (version.clamp(3, 5) | 0x80, STREAM));
            let (code, message) = response.error();
            let expected = "supported versions are (3/v3, 4/v4, 5/v5)";
            let expected =
                format!("Invalid or unsupported protocol version ({version}); {expected}");
            assert_eq!((code, message), (PROTOCOL, expected));
            assert_eq!(client.receive(), None);
        }
    }
    // The version must stay that of `STARTUP`.
    for version in 3..=5 {
        for other in (3..=5).filter(|other| *other != version) {
            let mut client = attacked.started(version);
            client.write(&envelope(other, STREAM, AUTH_RESPONSE, &bytes(b"\0a\0b")));
            let message = rejected(client, "another version");
            assert!(message.starts_with("Invalid or unsupported protocol version"), "{message}");
        }
    }
    attacked.still_works();
}

#[test]
fn an_unexpected_header_is_rejected() {
    let attacked = Fixture::new("header", &[]);
    for version in 3..=5 {
        for (first, flags) in [(version | 0x80, 0), (version, 0x01), (version, 0x04)] {
            for started in [false, true] {
                let mut client = attacked.gateway.connect(version);
                let opcode = if started { AUTH_RESPONSE } else { OPTIONS };
                if started {
                    client.start();
                }
                let mut message = envelope(first, STREAM, opcode, &bytes(b"\0a\0b"));
                message[1] = flags;
                client.write(&message);
                rejected(client, &format!("version {first:#x} and flags {flags:#x}"));
            }
        }
        // Drivers request tracing and betas, which have no effect.
        for flags in [0x02, 0x10, 0xE0] {
            let mut client = attacked.gateway.connect(version);
            let mut message = envelope(version, STREAM, OPTIONS, b"");
            message[1] = flags;
            client.write(&message);
            assert_eq!(client.receive().unwrap().opcode, SUPPORTED);
        }
    }
    attacked.still_works();
}

#[test]
fn a_message_before_the_login_is_limited_to_4_kib() {
    let attacked = Fixture::new("length", &[]);
    for version in 3..=5 {
        for length in [4097, 65_536, 1 << 28, i32::MAX, -1, i32::MIN] {
            for opcode in [STARTUP, OPTIONS, AUTH_RESPONSE, QUERY] {
                // The length alone suffices: the gateway does not wait for the body.
                let mut message = envelope(version, STREAM, opcode, b"");
                message[5..].copy_from_slice(&length.to_be_bytes());
                let mut client = attacked.gateway.connect(version);
                client.write(&message);
                let text = rejected(client, &format!("a length of {length}"));
                assert_eq!(text, "the message is longer than 4096 bytes");
                let mut client = attacked.started(version);
                client.write(&message);
                rejected(client, &format!("a length of {length} for a password"));
            }
        }
        // The error arrives even if the body was sent.
        let mut client = attacked.gateway.connect(version);
        client.send(STARTUP, &vec![0; 500_000]);
        rejected(client, "half a megabyte");

        let value = "x".repeat(4096 - 27);
        let longest = startup(&[("CQL_VERSION", "3.0.0"), ("X", &value)]);
        assert_eq!(longest.len(), 4096);
        let mut client = attacked.gateway.connect(version);
        client.ask(STARTUP, &longest);
    }
    attacked.still_works();
}

#[test]
fn startup_must_end_with_its_body() {
    let attacked = Fixture::new("startup", &[]);
    let version = string("CQL_VERSION");
    let cut = |body: &[&[u8]]| body.concat();
    for body in [
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 1],
        vec![0xFF, 0xFF],
        cut(&[&[0xFF, 0xFF], &version, &string("3.0.0")]),
        cut(&[&[0x80, 0x00], &version, &string("3.0.0")]),
        cut(&[&[0, 1], &version]),
        cut(&[&[0, 1], &version, &[0xFF, 0xFF]]),
        cut(&[&[0, 1], &version, &[0, 6], b"3.0.0"]),
        cut(&[&[0, 2], &version, &string("3.0.0")]),
        cut(&[&[0, 2], &version, &string("3.0.0"), &string("\u{e9}"), &[0, 1, 0xE9]]),
        startup(&[("DRIVER_NAME", "none")]),
        startup(&[("CQL_VERSION", "2.0.0")]),
        startup(&[("CQL_VERSION", "2.99.9")]),
        startup(&[("CQL_VERSION", "-4.0.0")]),
        startup(&[("CQL_VERSION", "4294967299.0.0")]),
        startup(&[("CQL_VERSION", "four.0.0")]),
        startup(&[("CQL_VERSION", "4")]),
        startup(&[("CQL_VERSION", "")]),
        startup(&[("CQL_VERSION", "3.0.0"), ("COMPRESSION", "lz4")]),
        startup(&[("COMPRESSION", "snappy"), ("CQL_VERSION", "3.0.0")]),
        startup(&[("CQL_VERSION", "3.0.0"), ("compression", "lz4")]),
        startup(&[("CQL_VERSION", "3.0.0"), ("COMPRESSION", "")]),
    ] {
        for version in 3..=5 {
            let mut client = attacked.gateway.connect(version);
            client.send(STARTUP, &body);
            let message = rejected(client, &format!("{body:?}"));
            let asks = body.windows(11).any(|part| part.eq_ignore_ascii_case(b"COMPRESSION"));
            assert_eq!(message == "compression is not supported", asks, "{message}");
        }
    }
    attacked.still_works();
}

#[test]
fn a_token_must_have_its_stated_length() {
    let attacked = Fixture::new("token", &[]);
    for version in 3..=5 {
        for body in [
            vec![],
            vec![0, 0, 0],
            [&[0, 0, 0, 9][..], b"\0anika\0x"].concat(),
            [&[0, 0, 0, 7][..], b"\0anika\0x"].concat(),
            [&[0x7F, 0xFF, 0xFF, 0xFF][..], b"\0anika\0x"].concat(),
            [&[0xFF, 0xFF, 0xFF, 0xFF][..], b"\0anika\0x"].concat(),
        ] {
            let mut client = attacked.started(version);
            client.send(AUTH_RESPONSE, &body);
            assert_eq!(rejected(client, &format!("{body:?}")), "the token is cut");
        }
    }
    attacked.still_works();
}

#[test]
fn a_damaged_frame_of_version_5_is_rejected() {
    let attacked = Fixture::new("frame", &[]);
    let issued = &attacked.issued;
    let token = format!("\0{}\0{}", issued.service_user_name(), issued.secret().expose());
    let login = envelope(5, STREAM, AUTH_RESPONSE, &bytes(token.as_bytes()));
    let whole = frame(&login);
    // One flipped bit anywhere: in the length, in either checksum, in the password.
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut client = attacked.started(5);
        client.stream.write_all(&damaged).unwrap();
        let message = rejected(client, &format!("bit {bit}"));
        assert!(message.starts_with("the CRC of a frame's "), "{message}");
    }

    let with_header = |length: u32, payload: &[u8]| {
        // A frame with correct checksums and another header.
        let mut bytes = frame(&vec![0; length as usize & 0x1_FFFF])[..6].to_vec();
        bytes.extend(&frame(payload)[6..]);
        bytes
    };
    for (bytes, message) in [
        (frame(b""), "a frame ends within a message"),
        (frame(&login[..8]), "a frame ends within a message"),
        (frame(&login[..login.len() - 1]), "a frame ends within a message"),
        (with_header(4096 + 10, b""), "a frame is too long"),
        (with_header(0x1_FFFF, b""), "a frame is too long"),
    ] {
        let mut client = attacked.started(5);
        client.stream.write_all(&bytes).unwrap();
        assert_eq!(rejected(client, message), message);
    }
    // An envelope that continues in another frame.
    let mut client = attacked.started(5);
    client.stream.write_all(&[0, 0, 0]).unwrap();
    client.stream.write_all(&crate::world::crc24(&[0, 0, 0])).unwrap();
    let message = rejected(client, "an incomplete envelope");
    assert_eq!(message, "a message in several frames is too long");
    // An unframed envelope where frames are required.
    let mut client = attacked.started(5);
    client.stream.write_all(&login).unwrap();
    rejected(client, "an envelope without a frame");
    attacked.still_works();
}

#[test]
fn requests_in_the_frame_of_the_password_are_answered_in_order() {
    let attacked = Fixture::new("pipelined", &[]);
    let token =
        format!("\0{}\0{}", attacked.issued.service_user_name(), attacked.issued.secret().expose());
    for version in 3..=5 {
        let mut client = attacked.started(version);
        let requests = [
            envelope(version, 1, OPTIONS, b""),
            envelope(version, 2, AUTH_RESPONSE, &bytes(token.as_bytes())),
            envelope(version, 3, REGISTER, b""),
            envelope(version, 4, OPTIONS, b""),
        ];
        client.write(&requests.concat());
        let mut responses = (1..=4).map(|stream| {
            let response = client.receive().unwrap();
            assert_eq!(response.stream, stream);
            response.opcode
        });
        assert!(responses.by_ref().eq([SUPPORTED, crate::world::AUTH_SUCCESS, READY, SUPPORTED]));
    }
    attacked.still_works();
}

#[test]
fn slow_and_idle_clients_are_disconnected() {
    let attacked = Fixture::new("slow", &["--login-timeout", "1"]);
    let hello = envelope(4, STREAM, STARTUP, &startup(&[("CQL_VERSION", "3.0.0")]));
    let starts: [(&str, &[u8]); 4] = [
        ("nothing", b""),
        ("half a header", &hello[..4]),
        ("a header", &hello[..9]),
        ("all but one byte", &hello[..hello.len() - 1]),
    ];
    thread::scope(|scope| {
        for (what, start) in starts {
            let attacked = &attacked;
            scope.spawn(move || {
                let mut client = attacked.gateway.connect(4);
                client.stream.write_all(start).unwrap();
                assert_eq!(client.receive(), None, "{what}");
            });
        }
        for version in 3..=5 {
            let attacked = &attacked;
            scope.spawn(move || {
                let mut client = attacked.started(version);
                client.stream.write_all(&[version]).unwrap();
                assert_eq!(client.receive(), None, "no password");
            });
        }
        // One byte at a time, or one complete request: both get a response, and the time limit
        // is the same.
        scope.spawn(|| {
            let mut client = attacked.gateway.connect(4);
            let mut responses = 0;
            let start = Instant::now();
            loop {
                client.send(OPTIONS, b"");
                match client.receive() {
                    Some(_) => responses += 1,
                    None => break,
                }
            }
            assert!(responses > 1 && start.elapsed() < Duration::from_secs(10));
        });
        scope.spawn(|| {
            let mut client = attacked.gateway.connect(4);
            client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let start = Instant::now();
            // Too slow for the message, but without a pause of more than 100 ms.
            let ended = hello.iter().take(hello.len() - 1).any(|byte| {
                let sent = client.stream.write_all(&[*byte]);
                sent.is_err() || matches!(client.stream.read(&mut [0; 512]), Ok(0))
            });
            assert!(ended && start.elapsed() < Duration::from_secs(10));
        });
    });
    // After the login, the limit applies only to a message that has begun.
    let mut idle = attacked.gateway.log_in_as(4, &attacked.issued).unwrap();
    let mut halting = attacked.gateway.log_in_as(4, &attacked.issued).unwrap();
    halting.stream.write_all(&envelope(4, STREAM, OPTIONS, b"")[..8]).unwrap();
    assert_eq!(halting.receive(), None);
    assert!(idle.works());
    attacked.still_works();
}

#[test]
fn idle_clients_free_their_connections_after_the_time_limit() {
    let attacked = Fixture::new("idle", &["--login-timeout", "2"]);
    let idle: Vec<_> = (0..300).map(|_| attacked.gateway.connect(4)).collect();
    assert!(attacked.gateway.log_in_as(4, &attacked.issued).unwrap().works());
    drop(idle);
    attacked.still_works();
}

#[test]
fn random_bytes_do_not_stop_the_gateway() {
    let attacked = Fixture::new("noise", &["--failed-logins", "10000"]);
    let mut random = ChaCha20Rng::seed_from_u64(9042);
    for round in 0..600 {
        let version = random.random_range(3..=5);
        let mut client = attacked.gateway.connect(version);
        let started = random.random();
        if started {
            client.start();
        }
        let mut noise = vec![0; random.random_range(0..300)];
        random.fill_bytes(&mut noise);
        // Half of the noise has a valid header, so that the noise is in its body.
        if random.random() {
            let opcodes = [STARTUP, OPTIONS, AUTH_RESPONSE, QUERY, PREPARE, EXECUTE, BATCH];
            let opcode = opcodes[random.random_range(0..opcodes.len())];
            client.send(opcode, &noise);
        } else {
            client.write(&noise);
        }
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while let Some(response) = client.receive() {
            assert!([ERROR, SUPPORTED].contains(&response.opcode), "{round}: {response:?}");
        }
    }
    attacked.still_works();
}

#[test]
fn a_statement_after_the_login_is_limited_without_an_upstream() {
    let attacked = Fixture::new("statement", &[]);
    for version in 3..=5 {
        let mut client = attacked.gateway.log_in_as(version, &attacked.issued).unwrap();
        let long = format!("SELECT {} FROM system.local", "x".repeat(120_000));
        client.ask(QUERY, &query(&long)).error();
        // The id of a prepared statement is the statement, up to the maximum length of an id.
        let spaces = format!("SELECT key FROM system.local{}", " ".repeat(65_535 - 28));
        let prepared = client.ask(PREPARE, &bytes(spaces.as_bytes()));
        assert_eq!(prepared.body[4..6], [0xFF, 0xFF]);
        assert!(client.works());
        let mut message = envelope(version, STREAM, QUERY, b"");
        message[5..].copy_from_slice(&(128 * 1024 + 1_i32).to_be_bytes());
        client.write(&message);
        rejected(client, "a long statement");
    }
    attacked.still_works();
}
