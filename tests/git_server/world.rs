//! A running Git server, a `git` without any configuration, and requests sent byte by byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests may fail as a test does")]

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::LazyLock,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{Rng as _, SeedableRng as _, rngs::ChaCha20Rng};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use service_specific_credentials::{
    CredentialManager, IssuedCredential, Policy, UserName, store::RedbStore,
};

use crate::common::{ACCOUNT, CODECOMMIT, Folder, example, name};

pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("git_server"));

/// Where one test happens: a home for git, a file of credentials, a folder of repositories.
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
        let git = Command::new("git").arg("--version").output();
        assert!(git.is_ok_and(|git| git.status.success()), "these tests need git: install it");
        Self::at(Folder::new(&format!("git-{test}")))
    }

    pub(crate) fn at(folder: Folder) -> Self {
        fs::create_dir_all(folder.file("home")).unwrap();
        fs::create_dir(folder.file("bin")).unwrap();
        fs::create_dir(folder.file("repositories")).unwrap();
        fs::write(folder.file("log"), "").unwrap();
        Self { folder }
    }

    /// What is done while no server holds the store.
    pub(crate) fn iam(&self) -> CredentialManager<RedbStore> {
        self.iam_by(Policy::default())
    }

    pub(crate) fn iam_by(&self, policy: Policy) -> CredentialManager<RedbStore> {
        let store = RedbStore::create(self.folder.file("credentials.redb")).unwrap();
        CredentialManager::builder(name(ACCOUNT), store).policy(policy).build()
    }

    /// One user with one credential for the server.
    pub(crate) fn anika(&self) -> IssuedCredential {
        let (iam, anika) = (self.iam(), name::<UserName>("anika"));
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &name(CODECOMMIT)).unwrap()
    }

    /// Starts a server, by default over a file that exists, as it must.
    pub(crate) fn serve(&self, options: &[&str]) -> Server {
        if !options.contains(&"--store") {
            // Another server may have it open.
            let _ = RedbStore::create(self.folder.file("credentials.redb"));
        }
        let mut command = self.command();
        command.args(["--admin", "127.0.0.1:0"]).args(options);
        self.start(&mut command)
    }

    pub(crate) fn start(&self, command: &mut Command) -> Server {
        let log = File::options().create(true).append(true).open(self.folder.file("log")).unwrap();
        Server::start(command.stderr(log))
    }

    /// What servers have written down.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&*PROGRAM);
        let store = format!("redb:{}", self.folder.file("credentials.redb").display());
        command.args(["--listen", "127.0.0.1:0", "--store", &store, "--repositories"]);
        command.arg(self.folder.file("repositories"));
        // Where `replace_git` puts another git.
        let mut path = self.folder.file("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        command.env("PATH", path);
        command
    }

    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.folder.file("repositories").join(name)
    }

    /// Has a repository run a script when something is pushed to it.
    pub(crate) fn hook(&self, repository: &str, name: &str, script: &str) -> PathBuf {
        let hook = self.repository(repository).join("hooks").join(name);
        fs::write(&hook, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        hook
    }

    /// `git` without any configuration of the user or the system.
    pub(crate) fn git(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.folder.file("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Anika")
                .env(format!("GIT_{who}_EMAIL"), "anika@example.com")
                .env(format!("GIT_{who}_DATE"), "2016-11-01T17:47:22Z");
        }
        git.current_dir(self.folder.file("").join(folder)).args(arguments).stdin(Stdio::null());
        git
    }

    /// Starts `git`, in a process group of its own, for [`kill`].
    pub(crate) fn begins(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> Child {
        let mut git = self.git(folder, arguments);
        git.process_group(0).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Has servers of this world run a script instead of `git`, where a condition of the shell
    /// holds.
    pub(crate) fn replace_git(&self, condition: &str, script: &str) {
        let path = std::env::var("PATH").unwrap();
        let program = self.folder.file("bin").join("git");
        let script = format!(
            "#!/bin/sh\nPATH='{path}'\nif {condition}; then {script}; else exec git \"$@\"; fi\n"
        );
        // Not while it is being run.
        let new = self.folder.file("bin").join("new");
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, program).unwrap();
    }

    /// Has git do something that works. Returns what it prints.
    pub(crate) fn does(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> String {
        let output = self.git(folder, arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Has git do something that does not work. Returns what it complains of.
    pub(crate) fn fails(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> String {
        let output = self.git(folder, arguments).output().unwrap();
        assert!(!output.status.success(), "git {arguments:?} works");
        err(&output)
    }

    /// A working folder with one file, committed.
    pub(crate) fn work(&self, folder: &str) {
        self.does("", &["init", "--quiet", "--initial-branch=main", folder]);
        self.commit(folder, "hello", b"hello");
    }

    pub(crate) fn commit(&self, folder: &str, file: &str, content: &[u8]) {
        fs::write(self.folder.file(folder).join(file), content).unwrap();
        self.does(folder, &["add", file]);
        self.does(folder, &["commit", "--quiet", "-m", file]);
    }

    /// So many bytes that cannot be compressed, pushed or not.
    pub(crate) fn commit_noise(&self, folder: &str, bytes: usize) {
        let mut noise = vec![0; bytes];
        ChaCha20Rng::seed_from_u64(7).fill_bytes(&mut noise);
        // There is nothing to gain by trying.
        self.does(folder, &["config", "core.compression", "0"]);
        self.commit(folder, "noise", &noise);
    }

    /// The body of a request that pushes `main` of a working folder to a new branch, in three
    /// parts: the command, the flush packet after it, and the pack.
    pub(crate) fn push_body(&self, folder: &str, branch: &str) -> [Vec<u8>; 3] {
        let new = self.head(folder, "main");
        let (old, new) = ("0".repeat(40), new.trim_end());
        let command = format!("{old} {new} refs/heads/{branch}\0report-status side-band-64k");
        let mut packing = self.git(folder, &["pack-objects", "--revs", "--stdout", "--quiet"]);
        let mut packing = packing.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        packing.stdin.take().unwrap().write_all(b"main\n").unwrap();
        let pack = packing.wait_with_output().unwrap().stdout;
        [packet(&command).into_bytes(), b"0000".to_vec(), pack]
    }

    /// The body of a request that clones `main` of a repository.
    pub(crate) fn fetch_body(&self, repository: &str) -> Vec<u8> {
        let want = self.head(self.repository(repository), "main");
        let want = packet(&format!("want {} side-band-64k", want.trim_end()));
        format!("{want}0000{}", packet("done")).into_bytes()
    }

    pub(crate) fn head(&self, folder: impl AsRef<Path>, of: &str) -> String {
        self.does(folder, &["rev-parse", of])
    }

    /// Makes Git read the login of a host from a file.
    pub(crate) fn remember(&self, server: &Server, user: &str, password: &str) {
        let store = format!("credential.helper=store --file={}", self.remembered().display());
        let (key, value) = store.split_once('=').unwrap();
        self.does("", &["config", "--global", key, value]);
        fs::write(self.remembered(), server.url(user, password, "") + "\n").unwrap();
    }

    pub(crate) fn remembered(&self) -> PathBuf {
        self.folder.file("remembered")
    }
}

/// Kills a `git` that [`World::begins`] has started, with its helpers: alone, they would go on.
pub(crate) fn kill(mut git: Child) {
    kill_process_group(Pid::from_child(&git), Signal::KILL).unwrap();
    git.wait().unwrap();
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running server. It is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Open until the end, so that the server may print.
    _output: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut address = |what| {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let address = line.trim_end().strip_prefix(what);
            address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let (address, admin) = (address("listening on http://"), address("admin on http://"));
        Self { child, address, admin, _output: output }
    }

    /// Does something by the IAM Query API. Returns the response.
    pub(crate) fn admin(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = format!("Version=2010-05-08&Action={action}");
        for (name, value) in parameters {
            write!(form, "&{name}={}", encoded(value)).unwrap();
        }
        self.admin_raw("POST", "/", "Host: localhost", &form)
    }

    pub(crate) fn admin_raw(&self, method: &str, path: &str, headers: &str, form: &str) -> String {
        let length = form.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{form}"
        );
        raw(self.admin, &request)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A URL with everything in it that git needs, percent-encoded.
    pub(crate) fn url(&self, user: &str, password: &str, repository: &str) -> String {
        let (user, password) = (encoded(user), encoded(password));
        format!("http://{user}:{password}@{}/{repository}", self.address)
    }

    pub(crate) fn url_of(&self, issued: &IssuedCredential, repository: &str) -> String {
        self.url(issued.service_user_name().as_str(), issued.secret().expose(), repository)
    }

    /// A URL without user and password.
    pub(crate) fn bare_url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// Asks for a path, with a credential.
    pub(crate) fn status(&self, method: &str, path: &str, issued: &IssuedCredential) -> u16 {
        status(&raw(
            self.address,
            &request(method, path, issued, "Content-Length: 0\r\nConnection: close"),
        ))
    }

    /// Asks it to end, and waits until it has. Returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Sends the head of a POST, with a credential.
    pub(crate) fn post(&self, path: &str, issued: &IssuedCredential, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let of = if path.ends_with("receive-pack") { "receive" } else { "upload" };
        let content = format!("Content-Type: application/x-git-{of}-pack-request\r\n{headers}");
        stream.write_all(request("POST", path, issued, &content).as_bytes()).unwrap();
        stream
    }

    /// Waits until no process of the server is left.
    pub(crate) fn wait_until_idle(&self) {
        while !self.descendants().is_empty() {
            thread::yield_now();
        }
    }

    /// Waits until a request of this user gets a slot: that of a process is free soon after its
    /// end.
    pub(crate) fn wait_for_a_slot(&self, issued: &IssuedCredential) {
        let path = "/demo/info/refs?service=git-upload-pack";
        while self.status("GET", path, issued) != 200 {
            thread::yield_now();
        }
    }

    /// Waits until one of the processes that the server has started is this one. Returns them all.
    pub(crate) fn wait_for(&self, is: impl Fn(&str) -> bool) -> Vec<u32> {
        loop {
            let descendants = self.descendants();
            if descendants.iter().any(|pid| is(&command(*pid))) {
                return descendants;
            }
            thread::yield_now();
        }
    }

    /// The number of `git receive-pack` processes, each of which serves a push.
    pub(crate) fn receiving(&self) -> usize {
        let is = |pid: &u32| command(*pid).contains("git receive-pack ");
        self.descendants().into_iter().filter(is).count()
    }

    /// Every process that descends from the server.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        let (mut found, mut parents) = (Vec::new(), vec![self.child.id()]);
        while let Some(parent) = parents.pop() {
            for (child, _) in running().filter(|(_, of)| *of == parent) {
                found.push(child);
                parents.push(child);
            }
        }
        found
    }
}

/// Waits until processes have ended, including orphans.
pub(crate) fn wait_for_the_end_of(processes: &[u32]) {
    while running().any(|(pid, _)| processes.contains(&pid)) {
        thread::yield_now();
    }
}

/// Waits until a server on this machine has read all that this client has sent to it, or has closed
/// the connection.
pub(crate) fn wait_until_read(client: &TcpStream) {
    // As the server sees it: its port, the client's, established, and sizes of queues.
    let end = |address: SocketAddr| format!(":{:04X} ", address.port());
    let (Ok(near), far) = (client.peer_addr(), client.local_addr().unwrap()) else { return };
    let (near, far) = (end(near), end(far));
    let unread = |line: &str| {
        line.split_once(&near)
            .and_then(|(_, rest)| rest.split_once(&far))
            .and_then(|(_, rest)| rest.strip_prefix("01 "))
            .is_some_and(|rest| !rest.starts_with("00000000:00000000 "))
    };
    while fs::read_to_string("/proc/net/tcp").unwrap().lines().any(unread) {
        thread::yield_now();
    }
}

/// All processes, each with its parent.
pub(crate) fn running() -> impl Iterator<Item = (u32, u32)> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        // It may have ended since. The name, in parentheses, may hold anything.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        (state != "Z").then_some((pid, parent))
    })
}

pub(crate) fn request(
    method: &str,
    path: &str,
    issued: &IssuedCredential,
    headers: &str,
) -> String {
    let authorization = basic(issued.service_user_name().as_str(), issued.secret().expose());
    format!("{method} {path} HTTP/1.1\r\nHost: git\r\n{authorization}\r\n{headers}\r\n\r\n")
}

/// A line of Git's protocol: four digits of length, and text.
pub(crate) fn packet(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

/// Commands of a push, in as many bytes at least, with no end: Git waits for more.
pub(crate) fn endless_commands(bytes: usize) -> String {
    let (old, new) = ("0".repeat(40), "1".repeat(40));
    let mut commands = packet(&format!("{old} {new} refs/heads/x\0report-status"));
    while commands.len() < bytes {
        commands += &packet(&format!("{old} {new} refs/heads/x{}", commands.len()));
    }
    commands
}

/// A chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reads a response until the connection ends, or breaks.
pub(crate) fn rest(stream: &mut TcpStream) -> (String, std::io::Result<()>) {
    let mut response = Vec::new();
    let result = stream.read_to_end(&mut response).map(drop);
    (String::from_utf8_lossy(&response).into_owned(), result)
}

/// Sends a request as it stands, and returns the whole response.
pub(crate) fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// The content of an element of a response.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = xml.split_once(&start).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&end).unwrap().0
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn status(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

pub(crate) fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
