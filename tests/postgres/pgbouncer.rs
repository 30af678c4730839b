//! `PgBouncer` processes for tests. Each listens on a free loopback port, and is stopped by the
//! test that started it.
//!
//! Session mode is tested with any `PgBouncer` on the `PATH` or in Debian's location. Transaction
//! mode requires tracking of prepared statements, which `PgBouncer` has from 1.21 on:
//! `SSC_PGBOUNCER` names such a program. Without one, a test prints that it is skipped, and passes.
//! If `SSC_PGBOUNCER` is set, it fails instead.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::database::{Installation, Server, follow, guard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Session,
    Transaction,
}

pub(crate) struct PgBouncer {
    folder: PathBuf,
    port: u16,
    child: Child,
    log: Arc<Mutex<String>>,
    /// The guardian shell waits until this closes.
    _guarded: ChildStdin,
}

/// A program and its major and minor version.
struct Program {
    path: PathBuf,
    version: (u32, u32),
}

impl Program {
    fn at(path: PathBuf) -> Option<Self> {
        let output = Command::new(&path).arg("--version").output().ok()?;
        // The output begins with a line such as `PgBouncer 1.24.1`.
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().nth(1).unwrap().split('.');
        let mut next = || numbers.next().unwrap().parse().unwrap();
        Some(Self { path, version: (next(), next()) })
    }

    /// The program to test a mode with. Prints that the test is skipped if there is none.
    fn find(mode: Mode) -> Option<Self> {
        let named = env::var_os("SSC_PGBOUNCER").map(PathBuf::from);
        let required = named.is_some();
        let installed = || {
            let on_path = env::var_os("PATH").unwrap_or_default();
            let mut folders: Vec<PathBuf> = env::split_paths(&on_path).collect();
            folders.push("/usr/sbin".into());
            folders.into_iter().map(|folder| folder.join("pgbouncer")).find(|path| path.exists())
        };
        let found = match mode {
            // Prefer the installed one, which is older.
            Mode::Session => installed().or(named),
            Mode::Transaction => named.or_else(installed),
        };
        let found = found.and_then(Self::at);
        let found = found.filter(|it| mode == Mode::Session || it.version >= (1, 21));
        if found.is_none() {
            assert!(!required, "there is no PgBouncer for {mode:?} mode");
            let _ = writeln!(io::stderr(), "SKIPPED: there is no PgBouncer for {mode:?} mode");
        }
        found
    }
}

impl PgBouncer {
    /// A pooler in front of `server`, with additional lines of configuration.
    pub(crate) fn start(server: &Server, mode: Mode, settings: &str) -> Option<Self> {
        let (installation, program) = (Installation::find()?, Program::find(mode)?);
        let folder = installation.folder();
        // It accepts known users without a password, as the server does.
        let users = ["postgres", "limited_one", "limited_two"];
        let users = users.map(|user| format!("\"{user}\" \"\"\n")).concat();
        let users = installation.put(&folder, "users.txt", &users);
        // Another process may take the port first.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let configuration = format!(
                "[databases]\n* = host=127.0.0.1 port={}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\npool_mode = {}\nserver_round_robin = 1\n\
                 default_pool_size = 40\n{settings}\n",
                server.port(),
                users.display(),
                match mode {
                    Mode::Session => "session",
                    Mode::Transaction => "transaction\nmax_prepared_statements = 100",
                },
            );
            let path = installation.put(&folder, "pgbouncer.ini", &configuration);
            let mut command = Command::new(&program.path);
            // It changes to that user itself, who may be unable to read the program's folder.
            if let Some(user) = installation.user_name() {
                command.args(["-u", user]);
            }
            command.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let log = Arc::new(Mutex::new(String::new()));
            if follow(&mut child, &log, "process up") {
                let guarded = guard(&folder, child.id(), "KILL");
                return Some(Self { folder, port, child, log, _guarded: guarded });
            }
            child.wait().unwrap();
            let log = log.lock().unwrap();
            assert!(log.contains("listen"), "{log}");
        }
        panic!("there is no free port");
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log.lock().unwrap());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(Path::new(&self.folder));
    }
}
