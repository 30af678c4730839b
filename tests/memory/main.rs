//! No secret stays in memory after it was returned: not even twelve bytes of it, as text or as the
//! encoded bytes.
//!
//! A child (this program) works on a `MemoryStore` and a `RedbStore`. Its memory is searched from
//! another process, through `/proc`, while it waits for the next line, so that the search does not
//! find itself. The emulator is searched in the same way. Optimization affects what stays on the
//! stack, so the test is most significant in a release build:
//!
//! ```console
//! $ cargo test --release --test memory
//! ```

#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "there is no `/proc`"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_stack_arrays,
    reason = "a test fails by panicking"
)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::io::ioctl_fionread;
use service_specific_credentials::{Entropy as _, SystemEntropy};

#[path = "../common/client.rs"]
mod client;
#[path = "../common/mod.rs"]
mod common;
mod scan;
#[path = "../common/server.rs"]
mod server;
mod subject;

use client::Client;
use common::{BEDROCK, CODECOMMIT, Folder, example};
use scan::{Needles, Part, WINDOW, summary};
use server::Server;

/// The prefix of API key secrets at [`BEDROCK`].
const PREFIX: &str = "ABSK";
/// A debug build is slow to search, and hides what this looks for.
const STEP: usize = if cfg!(debug_assertions) { 16 } else { 1 };

fn main() {
    if let (Some("subject"), Some(path)) =
        (std::env::args().nth(1).as_deref(), std::env::args().nth(2))
    {
        return subject::run(&path);
    }
    if !cfg!(target_os = "linux") {
        println!("skipped: there is no /proc");
        return;
    }
    let tests: [(&str, fn()); 6] = [
        ("planted secrets are found", planted_secrets_are_found),
        ("no record contains bytes of the stack", records),
        ("no secret stays in the memory of a program that uses the library", library),
        ("no secret stays in the memory of an emulator: memory", || emulator("memory")),
        ("no secret stays in the memory of an emulator: redb", || {
            let folder = Folder::new("memory-emulator");
            emulator(&format!("redb:{}", folder.file("store.redb").display()));
        }),
        ("a password is read into a single buffer", tool),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// The child and its pipes.
struct Subject {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _folder: Folder,
}

impl Subject {
    fn start(test: &str) -> Self {
        let folder = Folder::new(test);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["subject".as_ref(), folder.file("store.redb").as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output, _folder: folder }
    }

    /// Sends a line, and returns the response once the child waits for the next line.
    fn send(&mut self, line: &str) -> String {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut response = String::new();
        self.output.read_line(&mut response).unwrap();
        assert!(response.pop() == Some('\n'), "the child has ended at {line:?}");
        response
    }

    /// Checks that a part of its memory contains no secret.
    fn check(&self, needles: &Needles, part: Part, when: &str) {
        let hits = needles.search(self.process.id(), part);
        assert!(hits.is_empty(), "{when}: {} windows\n{}", hits.len(), summary(&hits));
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn planted_secrets_are_found() {
    let mut subject = Subject::start("memory-planted");
    for (place, form) in ["heap", "stack", "static"]
        .iter()
        .flat_map(|place| ["text", "decoded", "words", "fragment"].map(|form| (*place, form)))
        .chain([("freed", "text")])
    {
        let secret = random_secret();
        let mut needles = Needles::new();
        needles.add_password("it", &secret);
        subject.check(&needles, Part::All, "before it was there");
        subject.send(&format!("plant {place} {form} {secret}"));
        let hits = needles.search(subject.process.id(), Part::All);
        assert!(!hits.is_empty(), "{form} in {place} is not found");
        let on_stack = needles.search(subject.process.id(), Part::Stack);
        assert_eq!(!on_stack.is_empty(), place == "stack", "{form} in {place}");
    }
}

/// The uninitialized bytes of a record are copied from the stack, and stay as long as the record
/// does. So each operation runs where the stack has just been filled with a secret.
fn records() {
    let mut subject = Subject::start("memory-records");
    let secret = random_secret();
    let mut needles = Needles::new();
    needles.add_password("what was on the stack", &secret);
    for user in 0..if cfg!(debug_assertions) { 5 } else { 50 } {
        let mut over = |operation: &str| {
            subject.send(&format!("over {secret} memory 32 standard {operation}"))
        };
        over(&format!("register user-{user}"));
        let ids: Vec<String> = [CODECOMMIT, BEDROCK, CODECOMMIT][..user % 4]
            .iter()
            .map(|service| over(&format!("create user-{user} {service}")))
            .map(|issued| issued.split(' ').next().unwrap().to_owned())
            .collect();
        for id in &ids {
            over(&format!("reset user-{user} {id}"));
        }
        over(&format!("rename user-{user} renamed-user-{user}"));
        if let (3, Some(id)) = (user % 5, ids.first()) {
            over(&format!("delete renamed-user-{user} {id}"));
        }
    }
    subject.send("overwrite what is free");
    subject.check(&needles, Part::AllButStack, "in records");
}

fn random_secret() -> String {
    let mut bytes = [0; 33];
    SystemEntropy.fill(&mut bytes).unwrap();
    STANDARD.encode(bytes)
}

/// A user of the child, with one or two passwords and an API key.
struct User {
    /// The store, the number of random bytes and the alphabet of the user's secrets.
    kind: String,
    name: String,
    /// The prefix of operations that issue a secret.
    api: &'static str,
    /// Service, id, service user name and current secret of each credential.
    credentials: Vec<[String; 4]>,
}

impl User {
    /// Makes the child issue a secret, and adds it to the needles.
    fn issue(
        &self,
        subject: &mut Subject,
        needles: &mut Needles,
        operation: &str,
        service: &str,
        argument: &str,
    ) -> [String; 4] {
        let Self { kind, name, api, .. } = self;
        let issued = subject.send(&format!("{kind} {api}{operation} {name} {argument}"));
        let [id, login, secret] =
            issued.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        let label = format!("{kind}, {api}{operation} at {service}");
        match service {
            BEDROCK => needles.add_api_key(&label, &secret, PREFIX),
            _ => needles.add_password(&label, &secret),
        }
        subject.check(needles, Part::Stack, &label);
        [service.to_owned(), id, login, secret]
    }
}

fn library() {
    let mut subject = Subject::start("memory-library");
    let mut needles = Needles::new();
    let mut users = Vec::new();
    for store in ["memory", "redb"] {
        for alphabet in ["standard", "url-safe"] {
            for bytes in (16..=96).step_by(STEP) {
                for passwords in [1, 2] {
                    let kind = format!("{store} {bytes} {alphabet}");
                    let name = format!("user-{}", users.len());
                    subject.send(&format!("{kind} register {name}"));
                    // The Query API also issues secrets, in the bodies of its responses.
                    let api = if users.len() % 2 == 0 { "" } else { "api-" };
                    let mut user = User { kind, name, api, credentials: Vec::new() };
                    for service in [CODECOMMIT, BEDROCK, CODECOMMIT].iter().take(1 + passwords) {
                        let made =
                            user.issue(&mut subject, &mut needles, "create", service, service);
                        user.credentials.push(made);
                    }
                    users.push(user);
                }
            }
        }
    }
    subject.check(&needles, Part::All, "after create");
    for user in &mut users {
        for place in 0..user.credentials.len() {
            let [service, id, ..] = &user.credentials[place];
            let renewed = user.issue(&mut subject, &mut needles, "reset", service, id);
            user.credentials[place] = renewed;
        }
    }
    subject.check(&needles, Part::All, "after reset");
    for User { kind, credentials, .. } in &users {
        for [service, _, login, secret] in credentials {
            subject.send(&format!("{kind} authenticate {service} {login} {secret}"));
            subject.check(&needles, Part::Stack, &format!("{kind} authenticate at {service}"));
        }
    }
    subject.check(&needles, Part::All, "after authenticate");
    for User { kind, name, .. } in &mut users {
        let renamed = format!("{name}-renamed-to-a-name-that-is-long");
        subject.send(&format!("{kind} rename {name} {renamed}"));
        *name = renamed;
    }
    subject.check(&needles, Part::All, "after rename");
    for User { kind, name, credentials, .. } in &users {
        subject.send(&format!("{kind} delete {name} {}", credentials[0][1]));
    }
    subject.check(&needles, Part::All, "after delete");
    subject.send("drop");
    subject.check(&needles, Part::All, "after drop");
}

/// Makes an emulator issue secrets over a connection that stays in use, over idle ones, and over
/// closed ones, and searches it 200 requests later.
///
/// Secrets are also sent to it, but not over a connection that stays idle: the read buffer of the
/// HTTP server keeps what a client has sent until the connection is closed or enough is read
/// afterwards.
fn emulator(store: &str) {
    const USERS: usize = 30;
    const MORE: usize = 200;

    let server =
        Server::start(&example("emulator"), &["--listen", "127.0.0.1:0", "--store", store]);
    let connect = || Client::new(server.address);
    let (mut kept, mut presenting, mut idle) = (connect(), connect(), Vec::new());
    let mut needles = Needles::new();
    for number in 0..USERS {
        let mut own = connect();
        let maker = if number % 3 == 0 { &mut kept } else { &mut own };
        let user = format!("UserName=user-{number}");
        assert_eq!(maker.post(&format!("Action=CreateUser&{user}")).status, 200);
        for service in [CODECOMMIT, BEDROCK] {
            let form = format!("{user}&ServiceName={service}");
            let created = maker.post(&format!("Action=CreateServiceSpecificCredential&{form}"));
            let id = created.element("ServiceSpecificCredentialId");
            let form = format!("{user}&ServiceSpecificCredentialId={id}");
            let reset = maker.post(&format!("Action=ResetServiceSpecificCredential&{form}"));
            let authorization = if service == BEDROCK {
                let [old, new] =
                    [&created, &reset].map(|response| response.element("ServiceCredentialSecret"));
                needles.add_api_key("the secret of a new API key", old, PREFIX);
                needles.add_api_key("the secret of a reset API key", new, PREFIX);
                format!("Bearer {new}")
            } else {
                let [old, new] =
                    [&created, &reset].map(|response| response.element("ServicePassword"));
                let name = reset.element("ServiceUserName");
                needles.add_password("a new password", old);
                needles.add_password("a reset password", new);
                needles.add_basic("a presented password", name, new);
                format!("Basic {}", STANDARD.encode(format!("{name}:{new}")))
            };
            let client = if number % 2 == 0 { &mut presenting } else { &mut connect() };
            let header = format!("Authorization: {authorization}");
            let response = client.request(&format!("GET /authenticate/{service}"), &[&header], b"");
            assert_eq!(response.status, 200);
        }
        if number % 3 == 1 {
            idle.push(own);
        }
    }
    for number in 0..MORE {
        let form = format!("Action=GetUser&UserName=user-{}", number % USERS);
        let client = if number % 4 == 0 { &mut kept } else { &mut presenting };
        assert_eq!(client.post(&form).status, 200);
    }
    let hits = needles.search(server.id(), Part::All);
    assert!(hits.is_empty(), "{store}: {} windows\n{}", hits.len(), summary(&hits));
}

/// Makes the command-line tool read a password, and searches it before the line ends.
fn tool() {
    let folder = Folder::new("memory-tool");
    let store = format!("redb:{}", folder.file("store.redb").display());
    let program = example("credentials");
    let added = Command::new(&program).args(["--store", &store, "user", "add", "anika"]).output();
    assert!(added.unwrap().status.success());

    let mut process = Command::new(&program)
        .args(["--store", &store, "verify", "anika+1-at-123456789012"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let password: String = (0..3).map(|_| random_secret()).collect();
    let mut needles = Needles::new();
    needles.add_password("the password", &password);
    process.stdin.as_mut().unwrap().write_all(password.as_bytes()).unwrap();
    let windows = password.len() - WINDOW + 1;
    let hits = loop {
        assert!(process.try_wait().unwrap().is_none(), "the tool does not wait for a password");
        if ioctl_fionread(process.stdin.as_ref().unwrap()).unwrap() > 0 {
            continue;
        }
        let hits = needles.search(process.id(), Part::All);
        if hits.len() >= windows {
            break hits;
        }
    };
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(hits.len(), windows, "{}", summary(&hits));
}
