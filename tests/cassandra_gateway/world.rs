//! A running gateway, and a client that implements the protocol by its specification, byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests may fail as a test does"
)]

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use service_specific_credentials::{
    CredentialManager, IssuedCredential, Policy, UserName, store::RedbStore,
};

use crate::common::{ACCOUNT, CASSANDRA, Folder, example, name};

pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("cassandra_gateway"));

/// The limit of every wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The message of every denial.
pub(crate) const DENIED: &str = "the credential is not valid for this service";

/// The environment of one test: a store in a file and a log.
pub(crate) struct World {
    pub(crate) folder: Folder,
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

impl World {
    pub(crate) fn new(test: &str) -> Self {
        let folder = Folder::new(&format!("cassandra-{test}"));
        fs::write(folder.file("log"), "").unwrap();
        // A gateway opens the store, and does not create it.
        drop(RedbStore::create(folder.file("credentials.redb")).unwrap());
        Self { folder }
    }

    /// A manager, to use while no gateway has the store open.
    pub(crate) fn iam(&self) -> CredentialManager<RedbStore> {
        self.iam_by(Policy::default())
    }

    pub(crate) fn iam_by(&self, policy: Policy) -> CredentialManager<RedbStore> {
        let store = RedbStore::create(self.folder.file("credentials.redb")).unwrap();
        CredentialManager::builder(name(ACCOUNT), store).policy(policy).build()
    }

    /// Registers one user with one credential.
    pub(crate) fn anika(&self) -> IssuedCredential {
        let (iam, anika) = (self.iam(), name::<UserName>("anika"));
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &name(CASSANDRA)).unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&*PROGRAM);
        let store = format!("redb:{}", self.folder.file("credentials.redb").display());
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", &store]);
        command
    }

    pub(crate) fn serve(&self, options: &[&str]) -> Gateway {
        self.start(self.command().args(options))
    }

    pub(crate) fn start(&self, command: &mut Command) -> Gateway {
        let log = File::options().append(true).open(self.folder.file("log")).unwrap();
        Gateway::start(command.stderr(log))
    }

    /// Runs a gateway that cannot start. Returns its error.
    pub(crate) fn fails(&self, options: &[&str]) -> String {
        let output = self.command().args(options).output().unwrap();
        assert!(!output.status.success(), "{options:?} works");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The log of the gateways.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap()
    }

    /// Waits until the log has a line.
    pub(crate) fn wait_for_log(&self, line: &str) {
        let mut log = BufReader::new(File::open(self.folder.file("log")).unwrap());
        let mut text = String::new();
        while !text.contains(line) {
            if log.read_line(&mut text).unwrap() == 0 {
                thread::yield_now();
            }
        }
    }
}

/// A running gateway. It is killed on drop.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// Kept open so that the gateway can print.
    _output: BufReader<ChildStdout>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut address = |what| {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let address = line.trim_end().strip_prefix(what);
            address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let (address, admin) = (address("listening on "), address("admin on http://"));
        Self { child, address, admin, _output: output }
    }

    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Calls an action of the IAM Query API. Returns the response.
    pub(crate) fn admin(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = format!("Version=2010-05-08&Action={action}");
        for (name, value) in parameters {
            write!(form, "&{name}={}", value.replace('+', "%2B")).unwrap();
        }
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        response
    }

    pub(crate) fn connect(&self, version: u8) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Client::new(stream, version)
    }

    /// Logs in, or returns the code and the message of the error.
    pub(crate) fn log_in(
        &self,
        version: u8,
        name: &str,
        password: &str,
    ) -> Result<Client<TcpStream>, (i32, String)> {
        self.connect(version).log_in(name, password)
    }

    pub(crate) fn log_in_as(
        &self,
        version: u8,
        issued: &IssuedCredential,
    ) -> Result<Client<TcpStream>, (i32, String)> {
        self.log_in(version, issued.service_user_name().as_str(), issued.secret().expose())
    }
}

/// Writes a self-signed certificate for `localhost` and its key. Returns the paths.
pub(crate) fn write_certificate(folder: &Path, name: &str) -> [String; 2] {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = made.signing_key.serialize_pem();
    [("cert", made.cert.pem()), ("key", key)].map(|(what, pem)| {
        let file = folder.join(format!("{name}-{what}.pem"));
        fs::write(&file, pem).unwrap();
        file.display().to_string()
    })
}

/// The content of an element of a response.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = xml.split_once(&start).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&end).unwrap().0
}

pub(crate) const ERROR: u8 = 0x00;
pub(crate) const STARTUP: u8 = 0x01;
pub(crate) const READY: u8 = 0x02;
pub(crate) const AUTHENTICATE: u8 = 0x03;
pub(crate) const OPTIONS: u8 = 0x05;
pub(crate) const SUPPORTED: u8 = 0x06;
pub(crate) const QUERY: u8 = 0x07;
pub(crate) const RESULT: u8 = 0x08;
pub(crate) const PREPARE: u8 = 0x09;
pub(crate) const EXECUTE: u8 = 0x0A;
pub(crate) const REGISTER: u8 = 0x0B;
pub(crate) const BATCH: u8 = 0x0D;
pub(crate) const AUTH_RESPONSE: u8 = 0x0F;
pub(crate) const AUTH_SUCCESS: u8 = 0x10;

pub(crate) const PROTOCOL: i32 = 0x000A;
pub(crate) const BAD_CREDENTIALS: i32 = 0x0100;
pub(crate) const OVERLOADED: i32 = 0x1001;
pub(crate) const INVALID: i32 = 0x2200;

/// A received message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) version: u8,
    pub(crate) stream: i16,
    pub(crate) opcode: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The code and the message of an `ERROR`.
    pub(crate) fn error(&self) -> (i32, String) {
        assert_eq!(self.opcode, ERROR, "{self:?}");
        let code = i32::from_be_bytes(self.body[..4].try_into().unwrap());
        let length = u16::from_be_bytes(self.body[4..6].try_into().unwrap());
        let message = String::from_utf8(self.body[6..].to_vec()).unwrap();
        assert_eq!(message.len(), usize::from(length));
        (code, message)
    }
}

/// One end of a connection: a client's, unless it sends responses.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    pub(crate) version: u8,
    pub(crate) framed: bool,
}

impl<S: Read + Write> Client<S> {
    pub(crate) const fn new(stream: S, version: u8) -> Self {
        Self { stream, version, framed: false }
    }

    pub(crate) fn log_in(mut self, name: &str, password: &str) -> Result<Self, (i32, String)> {
        self.start();
        self.authenticate(format!("\0{name}\0{password}").as_bytes())?;
        Ok(self)
    }

    /// Sends `STARTUP` and receives the request for a password.
    pub(crate) fn start(&mut self) {
        let demand = self.ask(STARTUP, &startup(&[("CQL_VERSION", "3.0.0")]));
        assert_eq!(demand.opcode, AUTHENTICATE, "{demand:?}");
        assert_eq!(demand.body, string("org.apache.cassandra.auth.PasswordAuthenticator"));
        self.framed = self.version == 5;
    }

    /// Sends a token.
    pub(crate) fn authenticate(&mut self, token: &[u8]) -> Result<(), (i32, String)> {
        let response = self.ask(AUTH_RESPONSE, &bytes(token));
        if response.opcode == AUTH_SUCCESS {
            assert_eq!(response.body, (-1_i32).to_be_bytes());
            return Ok(());
        }
        let error = response.error();
        assert!(self.receive().is_none(), "the connection stays open after {error:?}");
        Err(error)
    }

    /// Sends a request and gets its response.
    pub(crate) fn ask(&mut self, opcode: u8, body: &[u8]) -> Message {
        self.send(opcode, body);
        let response = self.receive().unwrap_or_else(|| panic!("no response to {opcode}"));
        assert_eq!((response.version, response.stream), (self.version | 0x80, STREAM));
        response
    }

    /// Whether a query gets a result.
    pub(crate) fn works(&mut self) -> bool {
        let response = self.ask(QUERY, &query("SELECT release_version FROM system.local"));
        response.opcode == RESULT && response.body.ends_with(b"5.0.0")
    }

    pub(crate) fn send(&mut self, opcode: u8, body: &[u8]) {
        self.write(&envelope(self.version, STREAM, opcode, body));
    }

    /// Sends envelopes in the framing of the connection.
    pub(crate) fn write(&mut self, envelopes: &[u8]) {
        let framed = if self.framed { frame(envelopes) } else { envelopes.to_vec() };
        // The other end may have closed it.
        let _ = self.stream.write_all(&framed).and_then(|()| self.stream.flush());
    }

    /// The next message, or `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut header = [0; 9];
        if self.framed {
            let start: [u8; 6] = self.exactly()?;
            let [length0, length1, flags, crc @ ..] = start;
            assert_eq!(crc24(&start[..3]), crc, "of a frame's header");
            assert_eq!(flags & 0b10, 0b10, "a frame is not self-contained");
            let length = u32::from_le_bytes([length0, length1, flags & 1, 0]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).unwrap();
            assert_eq!(crc32(&payload), self.exactly().unwrap(), "of a frame's payload");
            header.copy_from_slice(&payload[..9]);
            return Some(message(header, payload[9..].to_vec()));
        }
        header = self.exactly()?;
        let length = u32::from_be_bytes(header[5..].try_into().unwrap());
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).unwrap();
        Some(message(header, body))
    }

    /// This many bytes, or `None` if the connection ends before the first one.
    fn exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        match self.stream.read(&mut bytes[..1]) {
            Ok(0) => return None,
            Ok(_) => self.stream.read_exact(&mut bytes[1..]).unwrap(),
            // Data that was in flight when the other end closed does not matter.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
        Some(bytes)
    }
}

/// The stream id of every request. A response must repeat it.
pub(crate) const STREAM: i16 = 0x1234;

fn message(header: [u8; 9], body: Vec<u8>) -> Message {
    let [version, _, stream0, stream1, opcode, length @ ..] = header;
    assert_eq!(u32::from_be_bytes(length) as usize, body.len());
    Message { version, stream: i16::from_be_bytes([stream0, stream1]), opcode, body }
}

/// One envelope.
pub(crate) fn envelope(version: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let [stream0, stream1] = stream.to_be_bytes();
    let mut bytes = vec![version, 0, stream0, stream1, opcode];
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// One self-contained frame of version 5.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    assert!(length < 1 << 17);
    let [start @ .., _] = (length | 1 << 17).to_le_bytes();
    [&start[..], &crc24(&start), payload, &crc32(payload)].concat()
}

/// The CRC-24 of the specification, the lowest byte first.
pub(crate) fn crc24(bytes: &[u8]) -> [u8; 3] {
    let mut crc = 0x87_5060_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 1 << 24 != 0 {
                crc ^= 0x197_4F0B;
            }
        }
    }
    let [crc @ .., _] = crc.to_le_bytes();
    crc
}

/// The CRC-32 of the specification, of four bytes and then the payload.
fn crc32(payload: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in [0xFA, 0x2D, 0x55, 0xCA].iter().chain(payload) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 };
        }
    }
    (!crc).to_le_bytes()
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// The body of `STARTUP`.
pub(crate) fn startup(options: &[(&str, &str)]) -> Vec<u8> {
    let mut body = u16::try_from(options.len()).unwrap().to_be_bytes().to_vec();
    for (name, value) in options {
        body.extend(string(name));
        body.extend(string(value));
    }
    body
}

/// The body of `QUERY`, with consistency ONE and no flags.
pub(crate) fn query(statement: &str) -> Vec<u8> {
    [&bytes(statement.as_bytes())[..], &[0, 1, 0, 0, 0, 0]].concat()
}
