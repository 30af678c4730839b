//! No secret stays in memory once it is handed over: not whole, not twelve bytes of it, as text or
//! as the bytes that the text encodes.
//!
//! A child (this very program) works on a `MemoryStore` and a `RedbStore`. It is searched from
//! outside, through `/proc`, while it waits for the next line: so what is searched for is not in
//! what is searched. The same is done to the emulator. What an optimizer leaves on the stack
//! counts, so this is worth most in a release build:
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

/// What the secrets of API keys at [`BEDROCK`] begin with.
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
        println!("not run: there is no /proc");
        return;
    }
    let tests: [(&str, fn()); 6] = [
        ("what is left behind is found", planted_secrets_are_found),
        ("no record holds what was on the stack", records),
        ("no secret stays in the memory of a program that uses the library", library),
        ("no secret stays in the memory of an emulator: memory", || emulator("memory")),
        ("no secret stays in the memory of an emulator: redb", || {
            let folder = Folder::new("memory-emulator");
            emulator(&format!("redb:{}", folder.file("store.redb").display()));
        }),
        ("a password is read into one place", tool),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// The child, and the ends of its pipes.
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

    /// What it says to a line, once it waits for the next.
    fn tell(&mut self, line: &str) -> String {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(answer.pop() == Some('\n'), "the child has ended at {line:?}");
        answer
    }

    /// Checks that there is no secret in a part of its memory.
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
        subject.tell(&format!("plant {place} {form} {secret}"));
        let hits = needles.search(subject.process.id(), Part::All);
        assert!(!hits.is_empty(), "{form} in {place} is not found");
        let on_stack = needles.search(subject.process.id(), Part::Stack);
        assert_eq!(!on_stack.is_empty(), place == "stack", "{form} in {place}");
    }
}

/// What is not initialized in a record is what was on the stack where it was made, and stays as
/// long as the record does. So each operation is done where the stack has just been filled with a
/// secret.
fn records() {
    let mut subject = Subject::start("memory-records");
    let secret = random_secret();
    let mut needles = Needles::new();
    needles.add_password("what was on the stack", &secret);
    for user in 0..if cfg!(debug_assertions) { 5 } else { 50 } {
        let mut over = |operation: &str| {
            subject.tell(&format!("over {secret} memory 32 standard {operation}"))
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
    subject.tell("overwrite what is free");
    subject.check(&needles, Part::AllButStack, "in records");
}

fn random_secret() -> String {
    let mut bytes = [0; 33];
    SystemEntropy.fill(&mut bytes).unwrap();
    STANDARD.encode(bytes)
}

/// One user of the child, with one or two passwords and an API key.
struct User {
    /// The store, the number of random bytes and the alphabet of the user's secrets.
    kind: String,
    name: String,
    /// What stands before operations that issue a secret.
    api: &'static str,
    /// Service, id, service user name and present secret of each credential.
    credentials: Vec<[String; 4]>,
}

impl User {
    /// Has the subject make a secret, and adds it to the needles.
    fn issue(
        &self,
        subject: &mut Subject,
        needles: &mut Needles,
        operation: &str,
        service: &str,
        argument: &str,
    ) -> [String; 4] {
        let Self { kind, name, api, .. } = self;
        let issued = subject.tell(&format!("{kind} {api}{operation} {name} {argument}"));
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
                    subject.tell(&format!("{kind} register {name}"));
                    // The API issues secrets, too, in the bodies of its responses.
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
            subject.tell(&format!("{kind} authenticate {service} {login} {secret}"));
            subject.check(&needles, Part::Stack, &format!("{kind} authenticate at {service}"));
        }
    }
    subject.check(&needles, Part::All, "after authenticate");
    for User { kind, name, .. } in &mut users {
        let renamed = format!("{name}-renamed-to-a-name-that-is-long");
        subject.tell(&format!("{kind} rename {name} {renamed}"));
        *name = renamed;
    }
    subject.check(&needles, Part::All, "after rename");
    for User { kind, name, credentials, .. } in &users {
        subject.tell(&format!("{kind} delete {name} {}", credentials[0][1]));
    }
    subject.check(&needles, Part::All, "after delete");
    subject.tell("drop");
    subject.check(&needles, Part::All, "after drop");
}

/// Has an emulator make secrets, over a connection that stays in use, some that stay idle, and some
/// that are closed, and searches it 200 requests later.
///
/// Secrets are presented to it, too, but over no connection that stays idle: what a client has sent
/// is in the buffer that the HTTP server reads into, until the connection is closed or enough is
/// read after it.
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
                    [&created, &reset].map(|answer| answer.element("ServiceCredentialSecret"));
                needles.add_api_key("the secret of a new API key", old, PREFIX);
                needles.add_api_key("the secret of a reset API key", new, PREFIX);
                format!("Bearer {new}")
            } else {
                let [old, new] = [&created, &reset].map(|answer| answer.element("ServicePassword"));
                let name = reset.element("ServiceUserName");
                needles.add_password("a new password", old);
                needles.add_password("a reset password", new);
                needles.add_basic("a presented password", name, new);
                format!("Basic {}", STANDARD.encode(format!("{name}:{new}")))
            };
            let client = if number % 2 == 0 { &mut presenting } else { &mut connect() };
            let header = format!("Authorization: {authorization}");
            let answer = client.request(&format!("GET /authenticate/{service}"), &[&header], b"");
            assert_eq!(answer.status, 200);
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

/// Has the command-line tool read a password, and searches it before the line ends.
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
        assert!(process.try_wait().unwrap().is_none(), "it does not read a password");
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
