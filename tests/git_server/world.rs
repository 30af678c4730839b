//! Helpers that start the Git server, run `git`, and send raw HTTP requests.

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

/// The folder of one test: the home of Git, the store, and the repositories.
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

    /// A manager of the store. A running server locks the store, so this fails while one runs.
    pub(crate) fn iam(&self) -> CredentialManager<RedbStore> {
        self.iam_with_policy(Policy::default())
    }

    pub(crate) fn iam_with_policy(&self, policy: Policy) -> CredentialManager<RedbStore> {
        let store = RedbStore::create(self.folder.file("credentials.redb")).unwrap();
        CredentialManager::builder(name(ACCOUNT), store).policy(policy).build()
    }

    /// Creates the user `anika`, and a credential of `anika` for CodeCommit.
    pub(crate) fn issue_credential(&self) -> IssuedCredential {
        let (iam, anika) = (self.iam(), name::<UserName>("anika"));
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &name(CODECOMMIT)).unwrap()
    }

    /// Starts a server. Creates its store first, unless `options` name another store.
    pub(crate) fn serve(&self, options: &[&str]) -> Server {
        if !options.contains(&"--store") {
            // Fails if another server has locked the store.
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

    /// The log of all servers of this world.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&*PROGRAM);
        let store = format!("redb:{}", self.folder.file("credentials.redb").display());
        command.args(["--listen", "127.0.0.1:0", "--store", &store, "--repositories"]);
        command.arg(self.folder.file("repositories"));
        // `replace_git` writes a script to this folder.
        let mut path = self.folder.file("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        command.env("PATH", path);
        command
    }

    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        self.folder.file("repositories").join(name)
    }

    /// Installs a hook in a repository. Returns its path.
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
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Anika")
                .env(format!("GIT_{role}_EMAIL"), "anika@example.com")
                .env(format!("GIT_{role}_DATE"), "2016-11-01T17:47:22Z");
        }
        git.current_dir(self.folder.file("").join(folder)).args(arguments).stdin(Stdio::null());
        git
    }

    /// Starts `git` in its own process group, for [`kill`].
    pub(crate) fn spawn_git(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> Child {
        let mut git = self.git(folder, arguments);
        git.process_group(0).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Makes the servers of this world run a script instead of `git` if a shell condition holds.
    pub(crate) fn replace_git(&self, condition: &str, script: &str) {
        let path = std::env::var("PATH").unwrap();
        let program = self.folder.file("bin").join("git");
        let script = format!(
            "#!/bin/sh\nPATH='{path}'\nif {condition}; then {script}; else exec git \"$@\"; fi\n"
        );
        // A server may be running the old script, so it is replaced atomically.
        let new = self.folder.file("bin").join("new");
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, program).unwrap();
    }

    /// Runs `git`, which must succeed. Returns its standard output.
    pub(crate) fn run_git(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> String {
        let output = self.git(folder, arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `git`, which must fail. Returns its standard error.
    pub(crate) fn git_fails(&self, folder: impl AsRef<Path>, arguments: &[&str]) -> String {
        let output = self.git(folder, arguments).output().unwrap();
        assert!(!output.status.success(), "git {arguments:?} succeeds");
        err(&output)
    }

    /// Creates a work tree with one commit.
    pub(crate) fn create_work_tree(&self, folder: &str) {
        self.run_git("", &["init", "--quiet", "--initial-branch=main", folder]);
        self.commit(folder, "hello", b"hello");
    }

    pub(crate) fn commit(&self, folder: &str, file: &str, content: &[u8]) {
        fs::write(self.folder.file(folder).join(file), content).unwrap();
        self.run_git(folder, &["add", file]);
        self.run_git(folder, &["commit", "--quiet", "-m", file]);
    }

    /// Commits a file of incompressible bytes.
    pub(crate) fn commit_noise(&self, folder: &str, bytes: usize) {
        let mut noise = vec![0; bytes];
        ChaCha20Rng::seed_from_u64(7).fill_bytes(&mut noise);
        // Compression would only take time.
        self.run_git(folder, &["config", "core.compression", "0"]);
        self.commit(folder, "noise", &noise);
    }

    /// The body of a request that pushes `main` of a work tree to a new branch, in three parts: the
    /// command, the flush packet, and the pack.
    pub(crate) fn push_body(&self, folder: &str, branch: &str) -> [Vec<u8>; 3] {
        let new = self.head(folder, "main");
        let (old, new) = ("0".repeat(40), new.trim_end());
        let command = format!("{old} {new} refs/heads/{branch}\0report-status side-band-64k");
        let mut git = self.git(folder, &["pack-objects", "--revs", "--stdout", "--quiet"]);
        let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(b"main\n").unwrap();
        let pack = git.wait_with_output().unwrap().stdout;
        [packet(&command).into_bytes(), b"0000".to_vec(), pack]
    }

    /// The body of a request that clones `main` of a repository.
    pub(crate) fn fetch_body(&self, repository: &str) -> Vec<u8> {
        let want = self.head(self.repository(repository), "main");
        let want = packet(&format!("want {} side-band-64k", want.trim_end()));
        format!("{want}0000{}", packet("done")).into_bytes()
    }

    /// The id of the commit that a revision names, with a line feed.
    pub(crate) fn head(&self, folder: impl AsRef<Path>, revision: &str) -> String {
        self.run_git(folder, &["rev-parse", revision])
    }

    /// Configures Git's credential helper `store`, with a login for a server.
    pub(crate) fn store_login(&self, server: &Server, user: &str, password: &str) {
        let store = format!("credential.helper=store --file={}", self.login_file().display());
        let (key, value) = store.split_once('=').unwrap();
        self.run_git("", &["config", "--global", key, value]);
        fs::write(self.login_file(), server.url(user, password, "") + "\n").unwrap();
    }

    /// The file of the credential helper.
    pub(crate) fn login_file(&self) -> PathBuf {
        self.folder.file("logins")
    }
}

/// Kills a `git` that [`World::spawn_git`] has started, and its helpers, which would keep running.
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
    /// Kept open, so that the server can write to its standard output.
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
        let mut address = |prefix| {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let address = line.trim_end().strip_prefix(prefix);
            address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        };
        let (address, admin) = (address("listening on http://"), address("admin on http://"));
        Self { child, address, admin, _output: output }
    }

    /// Calls an action of the IAM Query API. Returns the response.
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

    /// A URL with a user and a password, percent-encoded.
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

    /// Sends a request with a credential. Returns the status of the response.
    pub(crate) fn status(&self, method: &str, path: &str, issued: &IssuedCredential) -> u16 {
        status(&raw(
            self.address,
            &request(method, path, issued, "Content-Length: 0\r\nConnection: close"),
        ))
    }

    /// Sends SIGTERM to the server and waits for its exit. Returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Sends the head of a POST request with a credential. Returns the connection.
    pub(crate) fn post(&self, path: &str, issued: &IssuedCredential, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let service = if path.ends_with("receive-pack") { "receive" } else { "upload" };
        let content =
            format!("Content-Type: application/x-git-{service}-pack-request\r\n{headers}");
        stream.write_all(request("POST", path, issued, &content).as_bytes()).unwrap();
        stream
    }

    /// Waits until all descendant processes of the server have ended.
    pub(crate) fn wait_until_idle(&self) {
        while !self.descendants().is_empty() {
            thread::yield_now();
        }
    }

    /// Waits until a request with this credential gets a slot. The server frees the slot of a
    /// process shortly after the process has ended.
    pub(crate) fn wait_for_a_slot(&self, issued: &IssuedCredential) {
        let path = "/demo/info/refs?service=git-upload-pack";
        while self.status("GET", path, issued) != 200 {
            thread::yield_now();
        }
    }

    /// Waits until the command line of a descendant process of the server matches. Returns the ids
    /// of all descendants.
    pub(crate) fn wait_for_process(&self, matches: impl Fn(&str) -> bool) -> Vec<u32> {
        loop {
            let descendants = self.descendants();
            if descendants.iter().any(|pid| matches(&command(*pid))) {
                return descendants;
            }
            thread::yield_now();
        }
    }

    /// The number of `git receive-pack` processes, each of which serves a push.
    pub(crate) fn receive_pack_count(&self) -> usize {
        let receives = |pid: &u32| command(*pid).contains("git receive-pack ");
        self.descendants().into_iter().filter(receives).count()
    }

    /// The ids of all descendant processes of the server.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        let (mut found, mut parents) = (Vec::new(), vec![self.child.id()]);
        while let Some(parent) = parents.pop() {
            for (child, _) in all_processes().filter(|(_, its_parent)| *its_parent == parent) {
                found.push(child);
                parents.push(child);
            }
        }
        found
    }
}

/// Waits until the processes have ended, even if they are orphans.
pub(crate) fn wait_for_exit(processes: &[u32]) {
    while all_processes().any(|(pid, _)| processes.contains(&pid)) {
        thread::yield_now();
    }
}

/// Waits until a server on this machine has read all bytes that the client has sent, or has closed
/// the connection.
pub(crate) fn wait_until_read(client: &TcpStream) {
    // The server's end of the connection: the port of the server, the port of the client, the state
    // (01: established), and the sizes of the queues.
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

/// The ids of all processes, except zombies, each with the id of its parent.
pub(crate) fn all_processes() -> impl Iterator<Item = (u32, u32)> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        // The process may have ended. Its name, in parentheses, may contain any characters.
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

/// A line of Git's protocol: a length of four hexadecimal digits, and the text.
pub(crate) fn packet(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

/// At least `bytes` bytes of push commands without a flush packet: Git waits for more.
pub(crate) fn unterminated_commands(bytes: usize) -> String {
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

/// Reads a response until the connection is closed, or fails. Returns what was read, and the error.
pub(crate) fn read_response(stream: &mut TcpStream) -> (String, std::io::Result<()>) {
    let mut response = Vec::new();
    let result = stream.read_to_end(&mut response).map(drop);
    (String::from_utf8_lossy(&response).into_owned(), result)
}

/// Sends a request verbatim. Returns the response.
pub(crate) fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// The content of an XML element.
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

/// Percent-encodes all characters except ASCII letters and digits.
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

/// The command line of a process; empty if it has ended.
pub(crate) fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
