//! PostgreSQL servers for tests.
//!
//! Each has a temporary folder, listens on a free loopback port, and trusts every role except
//! `scram_user`. A guardian shell stops it and removes its folder when this process ends in any
//! way.
//!
//! Without PostgreSQL, a test prints that it is skipped, and passes. With `SSC_REQUIRE_POSTGRES=1`
//! it fails.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests may fail as a test does")]

#[allow(clippy::duplicate_mod, reason = "one test file uses both kinds of servers")]
mod runtime;

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

pub(crate) use self::runtime::{Blocking, TIMEOUT, runtime, until, wait};
use service_specific_credentials::store::{Isolation, PostgresOptions, PostgresStore, UserRecord};
use tokio_postgres::{Client, NoTls};

/// The folder of PostgreSQL's programs, if there is one.
fn programs() -> Option<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&on_path).collect();
    // Debian's location, latest version first.
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    versions.append(&mut folders);
    versions.into_iter().find(|folder| folder.join("initdb").exists())
}

/// The name, user and group that the server runs as: PostgreSQL rejects root.
fn user() -> Option<(&'static str, u32, u32)> {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |wanted: &'static str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((wanted, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap())
}

/// A server.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
    /// The guardian shell waits until this closes.
    _guarded: ChildStdin,
}

/// The programs of PostgreSQL, which create and start servers.
pub(crate) struct Installation {
    programs: PathBuf,
    user: Option<(&'static str, u32, u32)>,
}

impl Installation {
    /// The installation on this machine. Without one, prints that the test is skipped.
    pub(crate) fn find() -> Option<Self> {
        let Some(programs) = programs() else {
            let required = env::var_os("SSC_REQUIRE_POSTGRES").is_some_and(|value| value != "0");
            assert!(!required, "there is no PostgreSQL, and SSC_REQUIRE_POSTGRES is set");
            // Bypasses the capture of the output of passing tests.
            let _ = io::stderr().write_all(b"SKIPPED: there is no PostgreSQL\n");
            return None;
        };
        Some(Self { programs, user: user() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // The tests wait for messages in English.
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        if let Some((_, user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// The user that a server must run as, if this process is root.
    pub(crate) fn user_name(&self) -> Option<&'static str> {
        self.user.map(|(name, _, _)| name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {error}");
    }

    /// A new folder that the server's user owns.
    pub(crate) fn folder(&self) -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let number = NEXT.fetch_add(1, Relaxed);
        let folder = parent.join(format!("ssc-postgres-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        if let Some((_, user, group)) = self.user {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        folder
    }

    /// Puts a file that only the server can read into its folder.
    pub(crate) fn put(&self, folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, mode).unwrap();
        if let Some((_, user, group)) = self.user {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        path
    }

    /// A new server. Its superuser is `postgres`. The role `scram_user` needs a password.
    pub(crate) fn server(&self, settings: &[&str]) -> Server {
        let folder = self.folder();
        let data = folder.join("data");
        self.run(
            "initdb",
            &[
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
                data.to_str().unwrap(),
            ],
        );
        let access = "\
            host all scram_user 127.0.0.1/32 scram-sha-256\n\
            host all all 127.0.0.1/32 trust\n\
            host replication all 127.0.0.1/32 trust\n";
        self.put(&data, "pg_hba.conf", access);
        self.start(folder, settings)
    }

    /// A new standby of `primary`, named `name` in its connection.
    pub(crate) fn standby(&self, primary: &Server, name: &str, settings: &[&str]) -> Server {
        let folder = self.folder();
        let data = folder.join("data");
        let from = primary.conninfo(name);
        self.run(
            "pg_basebackup",
            &[
                "--no-sync",
                "--checkpoint=fast",
                "--wal-method=stream",
                "--write-recovery-conf",
                "--dbname",
                &from,
                "--pgdata",
                data.to_str().unwrap(),
            ],
        );
        self.start(folder, settings)
    }

    fn start(&self, folder: PathBuf, settings: &[&str]) -> Server {
        let data = folder.join("data");
        // Another process may take the port first.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = self.command("postgres");
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            let own =
                ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
            for setting in own.iter().chain(settings) {
                command.args(["-c", setting]);
            }
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let log = Arc::new(Mutex::new(String::new()));
            if follow(&mut child, &log, "ready to accept") {
                let guarded = guard(&folder, child.id(), "QUIT");
                return Server { folder, port, child: Mutex::new(child), log, _guarded: guarded };
            }
            child.wait().unwrap();
            let log = log.lock().unwrap();
            assert!(log.contains("could not bind"), "{log}");
        }
        panic!("there is no free port");
    }
}

/// Reads the log of a server. Returns whether it reported that it is ready.
pub(crate) fn follow(
    child: &mut Child,
    log: &Arc<Mutex<String>>,
    ready_line: &'static str,
) -> bool {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (ready, is_ready) = mpsc::channel();
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains(ready_line) {
                let _ = ready.send(());
            }
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    // It ends or is ready.
    is_ready.recv_timeout(TIMEOUT).is_ok()
}

/// Stops the server by a signal and removes its folder once this process has ended.
pub(crate) fn guard(folder: &Path, server: u32, signal: &str) -> ChildStdin {
    const SCRIPT: &str = "kill -\"$3\" \"$1\" 2>/dev/null
        while kill -0 \"$1\" 2>/dev/null; do sleep 0.1; done; rm -rf \"$2\"";
    runtime::guard(server, SCRIPT, &[folder.to_str().unwrap(), signal])
}

/// The server that the tests of one file share. If it is `None`, the test is to be skipped.
pub(crate) fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let start = || Some(Installation::find()?.server(&["fsync=off", "synchronous_commit=off"]));
    SERVER.get_or_init(start).as_ref()
}

impl Server {
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The connection string of a standby of this server.
    pub(crate) fn conninfo(&self, name: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port)
    }

    /// The URL of the superuser's database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// A direct connection.
    pub(crate) async fn client(&self) -> Client {
        client(&self.url()).await
    }

    /// An empty schema for one test.
    pub(crate) async fn space(&self) -> Space {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("space_{}", NEXT.fetch_add(1, Relaxed));
        let client = self.client().await;
        client.batch_execute(&format!("CREATE SCHEMA {name}")).await.unwrap();
        Space { port: self.port, route: self.port, name, isolation: None }
    }

    /// Stops the server at once, as a crash would.
    pub(crate) fn crash(&self) {
        let mut child = self.child.lock().unwrap();
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-QUIT", &id]).status().unwrap().success());
        child.wait().unwrap();
    }
}

/// Does not run for a server in a static; the guardian stops that one.
impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Waits until `statements` statements wait for locks of `holder`. `holder` is inside of a
/// transaction, whose view of the statistics is cached, so another connection reads them.
pub(crate) async fn wait_for(space: &Space, holder: &Client, statements: i64) {
    let own = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    let own: i32 = own.get(0);
    let observer = space.client().await;
    until("statements to wait", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity AS waiting \
            WHERE $1 = ANY (pg_blocking_pids(waiting.pid))";
        observer.query_one(waiting, &[&own]).await.unwrap().get::<_, i64>(0) == statements
    })
    .await;
}

/// A schema on a server, with tables of its own.
#[derive(Clone)]
pub(crate) struct Space {
    port: u16,
    /// The port that stores connect to: the server's or a proxy's.
    route: u16,
    pub(crate) name: String,
    /// The default isolation level of transactions, if it is not the server's.
    isolation: Option<Isolation>,
}

impl Space {
    /// The same schema, for stores that connect to another port.
    pub(crate) fn via(&self, route: u16) -> Self {
        Self { route, ..self.clone() }
    }

    /// The same schema, for stores whose sessions have another default isolation level. Not for
    /// poolers, which do not accept such a setting.
    pub(crate) fn isolated(&self, level: Isolation) -> Self {
        Self { isolation: Some(level), ..self.clone() }
    }

    /// The port of the server.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub(crate) fn url_of(&self, user: &str) -> String {
        self.url_to(user, self.route)
    }

    fn url_to(&self, user: &str, port: u16) -> String {
        let name = &self.name;
        let isolation = match self.isolation {
            None => "",
            Some(Isolation::RepeatableRead) => r"repeatable\%20read",
            Some(Isolation::Serializable) => "serializable",
            Some(_) => r"read\%20committed",
        };
        let isolation = match isolation {
            "" => String::new(),
            level => format!("%20-cdefault_transaction_isolation%3D{level}"),
        };
        format!(
            "postgres://{user}@127.0.0.1:{port}/postgres?sslmode=disable\
             &options=-csearch_path%3D{name}{isolation}"
        )
    }

    /// A direct connection to the server.
    pub(crate) async fn client(&self) -> Client {
        client(&self.url_to("postgres", self.port)).await
    }

    /// A migrated store.
    pub(crate) async fn store(&self, options: &PostgresOptions) -> PostgresStore {
        let store = PostgresStore::connect_with(options, &self.url()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    /// Checks that the index contains exactly the keys of the records, and that the columns agree
    /// with the records. Returns the records.
    pub(crate) async fn check(&self) -> Vec<UserRecord> {
        check(&self.client().await).await
    }
}

pub(crate) async fn check(client: &Client) -> Vec<UserRecord> {
    let rows = client
        .query(
            "SELECT record, user_id, account, user_name, revision, credentials, \
             changed <= clock_timestamp(), \
             (SELECT array_agg(key ORDER BY key) FROM credential_keys AS k \
             WHERE k.user_id = u.user_id) \
             FROM credential_users AS u",
            &[],
        )
        .await
        .unwrap();
    let mut keys_seen = 0;
    let records: Vec<UserRecord> = rows
        .iter()
        .map(|row| {
            let record = UserRecord::decode(row.get(0)).unwrap();
            assert_eq!(row.get::<_, uuid::Uuid>(1).as_bytes(), record.id().as_bytes());
            assert_eq!(row.get::<_, &str>(2), record.account().to_string());
            assert_eq!(row.get::<_, &str>(3), record.name().as_str());
            assert_eq!(row.get::<_, i64>(4), i64::try_from(record.revision().count()).unwrap());
            assert_eq!(row.get::<_, i32>(5), i32::try_from(record.credential_count()).unwrap());
            assert!(row.get::<_, bool>(6));
            let mut keys: Vec<Vec<u8>> = record.keys().map(|key| key.encode()).collect();
            keys.sort();
            assert_eq!(row.get::<_, Vec<Vec<u8>>>(7), keys, "the keys of {}", record.name());
            keys_seen += keys.len();
            record
        })
        .collect();
    let all: i64 =
        client.query_one("SELECT count(*) FROM credential_keys", &[]).await.unwrap().get(0);
    assert_eq!(usize::try_from(all).unwrap(), keys_seen, "there are keys without a user");
    records
}
