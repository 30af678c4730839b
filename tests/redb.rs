//! A store in a file: what it keeps, what it refuses to open, and what is never in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    error::Error as _,
    fmt::Write as _,
    fs,
    future::Future as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use base64::{
    Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD,
};
use redb::{
    Database, ReadableTable as _, StorageBackend, TableDefinition, backends::InMemoryBackend,
};
use service_specific_credentials::{
    Alphabet, AsyncCredentialManager, AuthenticationError, CredentialKind, CredentialManager,
    Error, IssuedCredential, ListRequest, MaxItems, Policy, ServiceName, Status, UserName,
    store::{AsyncRedbStore, AsyncStore, Immediate, OpenError, RedbError, RedbOptions, RedbStore},
    testing::Suite,
};

mod common;

use common::{ACCOUNT, BEDROCK, CODECOMMIT, Folder, name};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn open(path: &Path) -> CredentialManager<RedbStore> {
    CredentialManager::new(name(ACCOUNT), RedbStore::open(path).unwrap())
}

/// Changes a file behind the store's back.
fn meddle(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// Why the file cannot be opened: by no way of opening it.
fn refused(path: &Path) -> OpenError {
    let message = RedbStore::open(path).unwrap_err().to_string();
    assert_eq!(RedbStore::compact(path).unwrap_err().to_string(), message);
    let error = RedbStore::check_integrity(path).unwrap_err();
    assert_eq!(error.to_string(), message);
    error
}

fn is_refused<T>(result: &Result<T, AuthenticationError>) -> bool {
    matches!(result, Err(AuthenticationError::Refused(_)))
}

#[test]
fn what_was_acknowledged_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new("reopen");
    let path = folder.file("store.redb");
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let issued = {
        let iam = open(&path);
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &codecommit).unwrap()
    };
    let iam = open(&path);
    let who =
        iam.authenticate(&codecommit, issued.name().as_str(), issued.secret().expose()).unwrap();
    assert_eq!(who.credential_id(), issued.id());
    drop(iam);
    assert!(RedbStore::check_integrity(&path).unwrap());
    assert_eq!(open(&path).list(&anika).unwrap(), [issued.credential().clone()]);
}

#[test]
fn old_passwords_are_refused_when_the_file_is_opened_again() {
    let folder = Folder::new("old-passwords");
    let path = folder.file("store.redb");
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let (first, renewed, deleted) = {
        let iam = open(&path);
        iam.register_user(&anika).unwrap();
        let first = iam.create(&anika, &codecommit).unwrap();
        let renewed = iam.reset(&anika, first.id()).unwrap();
        let deleted = iam.create(&anika, &codecommit).unwrap();
        iam.delete(&anika, deleted.id()).unwrap();
        (first, renewed, deleted)
    };
    let iam = open(&path);
    let presented = |issued: &IssuedCredential| {
        iam.authenticate(&codecommit, issued.name().as_str(), issued.secret().expose())
    };
    assert!(is_refused(&presented(&first)));
    assert!(is_refused(&presented(&deleted)));
    assert_eq!(presented(&renewed).unwrap().credential_id(), first.id());
}

/// What the child of the next test runs: it opens a file, says so, and keeps it open until its
/// input ends.
#[test]
fn child_that_holds_a_file() {
    let Some(path) = std::env::var_os("SSC_HOLD") else { return };
    let _store = RedbStore::open(path).unwrap();
    io::stdout().write_all(b"\nheld\n").unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_file_that_another_process_holds_is_refused() {
    let folder = Folder::new("held");
    let path = folder.file("store.redb");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_a_file", "--nocapture"])
        .env("SSC_HOLD", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let error = refused(&path);
    assert!(matches!(error, OpenError::Held), "{error:?}");
    assert_eq!(error.to_string(), "the file is open elsewhere");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_file_that_this_process_holds_is_refused() {
    let folder = Folder::new("held-here");
    let path = folder.file("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let clone = store.clone();
    drop(store);
    assert!(matches!(refused(&path), OpenError::Held));
    drop(clone);
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = Folder::new("no-database");
    let path = folder.file("notes");
    for bytes in [b"Dear diary".repeat(1000), b"x".to_vec(), vec![0; 1 << 20]] {
        fs::write(&path, &bytes).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
        assert_eq!(error.to_string(), "the file is no database");
        assert!(fs::read(&path).unwrap() == bytes);
    }
}

#[test]
fn a_file_that_lost_its_end_is_refused_as_damaged() {
    let folder = Folder::new("truncated");
    let path = folder.file("store.redb");
    drop(open(&path));
    let whole = fs::read(&path).unwrap();
    for length in [9, 100, 320, 4096, 8192, 10_000, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::Damaged(_)), "{length}: {error:?}");
        assert_eq!(error.to_string(), "the file is damaged");
        assert!(error.source().is_some());
    }
}

#[test]
fn what_a_crash_left_of_an_unfinished_file_is_overwritten() {
    let folder = Folder::new("unfinished");
    let (path, unfinished) = (folder.file("store.redb"), folder.file("store.redb.new"));
    fs::write(&unfinished, [0; 10_000]).unwrap();
    let store = RedbStore::open(&path).unwrap();
    assert!(!unfinished.exists());
    store.backup(folder.file("copy.redb")).unwrap();
    let files = fs::read_dir(&folder.0).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(files.collect::<HashSet<_>>(), ["store.redb", "copy.redb"].map(Into::into).into());
}

#[test]
fn of_many_that_make_the_same_file_at_once_one_has_it() {
    let folder = Folder::new("making");
    for round in 0..20 {
        let path = folder.file(&format!("{round}.redb"));
        let opened: Vec<_> = thread::scope(|scope| {
            let open = || scope.spawn(|| RedbStore::open(&path));
            let threads: Vec<_> = std::iter::repeat_with(open).take(8).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (mine, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(mine.len(), 1);
        assert!(others.iter().all(|other| matches!(other, Err(OpenError::Held))));
        open_again(mine, &path);
    }
}

/// What was written through the one that has the file is in it.
fn open_again(mine: Vec<Result<RedbStore, OpenError>>, path: &Path) {
    for store in mine {
        let iam = CredentialManager::new(name(ACCOUNT), store.unwrap());
        iam.register_user(&name("anika")).unwrap();
    }
    open(path).user(&name("anika")).unwrap();
}

#[test]
fn an_empty_file_becomes_a_store() {
    let folder = Folder::new("empty");
    let path = folder.file("store.redb");
    fs::write(&path, "").unwrap();
    open(&path).register_user(&name("anika")).unwrap();
    open(&path).user(&name("anika")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_new_file_and_a_backup_are_their_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new("mode");
    let (path, copy) = (folder.file("store.redb"), folder.file("copy.redb"));
    RedbStore::open(&path).unwrap().backup(&copy).unwrap();
    for path in [path, copy] {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_database_of_something_else_is_refused() {
    let folder = Folder::new("foreign");
    let (other, numbers, same) =
        (folder.file("other"), folder.file("numbers"), folder.file("same"));
    meddle(&other, |transaction| {
        transaction.open_table(TableDefinition::<&str, &str>::new("orders")).unwrap();
    });
    // Other things under the name of ours.
    meddle(&numbers, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("version", 1).unwrap();
    });
    meddle(&same, |transaction| {
        transaction.open_table(TableDefinition::<u32, &str>::new("meta")).unwrap();
    });
    for path in [other, numbers, same] {
        let error = refused(&path);
        assert!(matches!(error, OpenError::NotAStore), "{error:?}");
        assert_eq!(error.to_string(), "the database holds something other than credentials");
    }
}

#[test]
fn a_file_of_a_later_format_is_refused() {
    let folder = Folder::new("later");
    let path = folder.file("store.redb");
    drop(open(&path));
    meddle(&path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", 2).unwrap();
    });
    let error = refused(&path);
    assert!(matches!(error, OpenError::LaterFormat(2)), "{error:?}");
    assert_eq!(error.to_string(), "the file has format 2, which a later release made");
}

#[test]
fn a_folder_is_refused() {
    let folder = Folder::new("folder");
    let path = folder.file("store.redb");
    fs::create_dir(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(&error, OpenError::Directory(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("`{}` is a folder", path.display()));
}

#[test]
fn a_read_only_file_is_refused_even_where_the_system_would_let_it_be_written() {
    let folder = Folder::new("read-only");
    let path = folder.file("store.redb");
    drop(open(&path));
    let writable = fs::metadata(&path).unwrap().permissions();
    let mut permissions = writable.clone();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let error = refused(&path);
    assert!(matches!(&error, OpenError::ReadOnly(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("`{}` is read-only", path.display()));
    fs::set_permissions(&path, writable).unwrap();
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_missing_folder_is_not_made() {
    let folder = Folder::new("missing");
    let path = folder.file("none").join("store.redb");
    let error = refused(&path);
    assert!(matches!(&error, OpenError::NoFolder(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("there is no folder for `{}`", path.display()));
    let store = RedbStore::open(folder.file("store.redb")).unwrap();
    assert!(matches!(store.backup(&path), Err(OpenError::NoFolder(_))));
}

#[test]
fn a_backup_replaces_nothing() {
    let folder = Folder::new("backup-exists");
    let [path, notes, inner] = ["store.redb", "notes", "inner"].map(|name| folder.file(name));
    let iam = open(&path);
    fs::write(&notes, "Dear diary").unwrap();
    fs::create_dir(&inner).unwrap();
    for taken in [&path, &notes, &inner] {
        let error = iam.store().backup(taken).unwrap_err();
        assert!(matches!(&error, OpenError::Exists(named) if named == taken), "{error:?}");
        assert_eq!(error.to_string(), format!("`{}` exists already", taken.display()));
    }
    assert_eq!(fs::read(&notes).unwrap(), b"Dear diary");
    iam.register_user(&name("anika")).unwrap();
}

#[test]
fn a_backup_made_while_others_write_is_a_store_of_one_moment() {
    let folder = Folder::new("backup");
    let iam = open(&folder.file("store.redb"));
    let codecommit: ServiceName = name(CODECOMMIT);
    let done = AtomicBool::new(false);
    let (made, more) = mpsc::channel();
    thread::scope(|scope| {
        for writer in 0..4 {
            let (iam, codecommit, done, made) = (&iam, &codecommit, &done, made.clone());
            scope.spawn(move || {
                for number in 0.. {
                    let user: UserName = name(&format!("u{writer}-{number:06}"));
                    iam.register_user(&user).unwrap();
                    let issued = iam.create(&user, codecommit).unwrap();
                    made.send((writer, number, issued)).unwrap();
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let mut known = Vec::new();
        for copy in 0..5 {
            known.extend(more.iter().take(50));
            let path = folder.file(&format!("copy-{copy}"));
            iam.store().backup(&path).unwrap();
            assert!(RedbStore::check_integrity(&path).unwrap());
            let copy = open(&path);
            for (writer, number, issued) in &known {
                let (name, password) = (issued.name().as_str(), issued.secret().expose());
                copy.authenticate(&codecommit, name, password).unwrap();
                // Each writer's users are there without a gap: it is one moment.
                let user: UserName = common::name(&format!("u{writer}-{number:06}"));
                assert_eq!(copy.list(&user).unwrap(), [issued.credential().clone()]);
            }
            copy.register_user(&name("its-own")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(matches!(iam.user(&name("its-own")), Err(Error::NoSuchUser { .. })));
}

#[test]
fn a_record_and_an_index_that_disagree_are_found() {
    let folder = Folder::new("integrity");
    let path = folder.file("store.redb");
    let harm = |harm: fn(&redb::WriteTransaction)| {
        let _ = fs::remove_file(&path);
        let iam = open(&path);
        for user in ["anika", "berta"] {
            iam.register_user(&name(user)).unwrap();
            let _ = iam.create(&name(user), &name(CODECOMMIT)).unwrap();
        }
        drop(iam);
        assert!(RedbStore::check_integrity(&path).unwrap());
        meddle(&path, harm);
        assert!(!RedbStore::check_integrity(&path).unwrap());
    };
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        index.pop_first().unwrap();
    });
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        let key = index.last().unwrap().unwrap().0.value().to_owned();
        index.insert(&key[..], &[7; 16][..]).unwrap();
    });
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        index.insert(&b"nobody's"[..], &[7; 16][..]).unwrap();
    });
    harm(|transaction| {
        let mut records = transaction.open_table(RECORDS).unwrap();
        records.pop_first().unwrap();
    });
}

#[test]
fn compacting_gives_back_what_deletions_left() {
    let folder = Folder::new("compact");
    let path = folder.file("store.redb");
    let iam = open(&path);
    let users: Vec<UserName> = (0..1_200).map(|user| name(&format!("u{user:0>60}"))).collect();
    let each = |work: &(dyn Fn(&UserName) + Sync), users: &[UserName]| {
        thread::scope(|scope| {
            for users in users.chunks(users.len().div_ceil(16)) {
                scope.spawn(move || users.iter().for_each(work));
            }
        });
    };
    each(
        &|user| {
            iam.register_user(user).unwrap();
            let _ = iam.create(user, &name(CODECOMMIT)).unwrap();
        },
        &users,
    );
    // All of them are there at once before any goes.
    each(&|user| drop(iam.remove_user_with_credentials(user).unwrap()), &users[16..]);
    let left = iam.users(None, MaxItems::default()).unwrap();
    drop(iam);
    let before = fs::metadata(&path).unwrap().len();
    assert!(RedbStore::compact(&path).unwrap());
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} {after}");
    assert!(RedbStore::check_integrity(&path).unwrap());
    let kept = open(&path).users(None, MaxItems::default()).unwrap();
    assert_eq!(kept.items, left.items);
}

/// How long a piece of a secret is searched for.
const WINDOW: usize = 12;

/// Which of the texts the file has a piece of.
fn found<'t>(path: &Path, texts: &'t [Vec<u8>]) -> HashSet<&'t [u8]> {
    let pieces: HashSet<&[u8]> = texts.iter().flat_map(|text| text.windows(WINDOW)).collect();
    let bytes = fs::read(path).unwrap();
    let written = bytes.windows(WINDOW).filter(|window| window[0] != 0);
    written.filter_map(|window| pieces.get(window).copied()).collect()
}

/// A secret, the password in it and the bytes that were drawn for it, as they are and in hex.
fn forms(issued: &IssuedCredential) -> [Vec<u8>; 5] {
    let secret = issued.secret().expose();
    let password = match issued.kind() {
        CredentialKind::Password => secret.to_owned(),
        CredentialKind::ApiKey => {
            let inner = STANDARD.decode(secret.strip_prefix("ABSK").unwrap()).unwrap();
            std::str::from_utf8(&inner).unwrap().split_once(':').unwrap().1.to_owned()
        }
    };
    let raw = STANDARD.decode(&password).or_else(|_| URL_SAFE_NO_PAD.decode(&password)).unwrap();
    let mut hex = String::new();
    for byte in &raw {
        write!(hex, "{byte:02x}").unwrap();
    }
    let upper = hex.to_uppercase();
    [secret.into(), password.into(), raw, hex.into(), upper.into()]
}

#[test]
fn no_secret_is_ever_in_the_file() {
    let folder = Folder::new("secrets");
    let path = folder.file("store.redb");
    let mut issued = Vec::new();
    let url_safe = Policy::builder().alphabet(Alphabet::UrlSafe).build().unwrap();
    for (round, policy) in [Policy::default(), Policy::recorded(), url_safe].into_iter().enumerate()
    {
        let user = |number: usize| name(&format!("user-{round}-{number}"));
        let iam = CredentialManager::builder(name(ACCOUNT), RedbStore::open(&path).unwrap())
            .policy(policy)
            .build();
        for number in 0..10 {
            let user = user(number);
            iam.register_user(&user).unwrap();
            for service in [CODECOMMIT, BEDROCK] {
                let kept = iam.create(&user, &name(service)).unwrap();
                let gone = iam.create(&user, &name(service)).unwrap();
                issued.push(iam.reset(&user, kept.id()).unwrap());
                iam.delete(&user, gone.id()).unwrap();
                issued.extend([kept, gone]);
            }
        }
        let secrets: Vec<_> = issued.iter().flat_map(forms).collect();
        assert_eq!(found(&path, &secrets), HashSet::new(), "while it is open");
        for number in (0..10).step_by(2) {
            iam.remove_user_with_credentials(&user(number)).unwrap();
        }
        drop(iam);
        assert_eq!(found(&path, &secrets), HashSet::new(), "once it is closed");
    }
    // The same search finds what is there.
    let all = ListRequest::new().all_users(true);
    let kept = open(&path).list_page(&all).unwrap().items;
    let names: Vec<Vec<u8>> = kept.iter().map(|kept| kept.name().as_str().into()).collect();
    let pieces = found(&path, &names);
    assert!(names.iter().flat_map(|name| name.windows(WINDOW)).all(|piece| pieces.contains(piece)));
    assert!(!pieces.is_empty());
}

/// The whole life of a credential, for any store.
async fn live<S: AsyncStore>(iam: &AsyncCredentialManager<S>) -> Result<(), Error> {
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    iam.register_user(&anika).await?;
    let first = iam.create(&anika, &codecommit).await?;
    let presented = |issued: &IssuedCredential| {
        (issued.name().to_string(), issued.secret().expose().to_owned())
    };
    let (login, password) = presented(&first);
    iam.authenticate(&codecommit, &login, &password).await.unwrap();
    iam.set_status(&anika, first.id(), Status::Inactive).await?;
    assert!(is_refused(&iam.authenticate(&codecommit, &login, &password).await));
    iam.set_status(&anika, first.id(), Status::Active).await?;
    let renewed = presented(&iam.reset(&anika, first.id()).await?);
    assert!(is_refused(&iam.authenticate(&codecommit, &login, &password).await));
    iam.authenticate(&codecommit, &renewed.0, &renewed.1).await.unwrap();
    let key = iam.create(&anika, &name(BEDROCK)).await?;
    iam.authenticate_api_key(&name(BEDROCK), key.secret().expose()).await.unwrap();
    iam.rename_user(&anika, &name("berta")).await?;
    assert_eq!(iam.list(&name("berta")).await?.len(), 2);
    iam.delete(&name("berta"), first.id()).await?;
    assert!(is_refused(&iam.authenticate(&codecommit, &renewed.0, &renewed.1).await));
    assert_eq!(iam.remove_user_with_credentials(&name("berta")).await?.len(), 1);
    assert_eq!(iam.users(None, MaxItems::default()).await?.items, []);
    Ok(())
}

fn asynchronous(store: &RedbStore) -> AsyncCredentialManager<AsyncRedbStore> {
    AsyncCredentialManager::new(name(ACCOUNT), store.asynchronous())
}

fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_credential_lives_its_whole_life_on_an_executor_of_one_thread() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let folder = Folder::new("async");
    let store = RedbStore::open(folder.file("store.redb")).unwrap();
    executor().block_on(is_send(live(&asynchronous(&store)))).unwrap();
}

#[test]
fn of_the_tasks_that_create_at_once_two_succeed() {
    let folder = Folder::new("async-race");
    let store = RedbStore::open(folder.file("store.redb")).unwrap();
    executor().block_on(async {
        let iam = asynchronous(&store);
        iam.register_user(&name("anika")).await.unwrap();
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let iam = iam.clone();
                tokio::spawn(async move { iam.create(&name("anika"), &name(CODECOMMIT)).await })
            })
            .collect();
        let mut names = HashSet::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(issued) => assert!(names.insert(issued.name().to_string())),
                Err(Error::LimitExceeded { limit: 2, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(names, ["anika+1", "anika+2"].map(|name| format!("{name}-at-{ACCOUNT}")).into());
    });
}

/// How long to wait for what comes at once, if it comes.
const PATIENCE: Duration = Duration::from_secs(60);

fn opened(gate: &mpsc::Receiver<()>) {
    gate.recv_timeout(PATIENCE).unwrap();
}

/// Where a flush reports, and what it waits for.
type Doorkeeper = (mpsc::Sender<()>, mpsc::Receiver<()>);

/// Storage whose next flush waits, if it is told to. Clones are the same storage.
#[derive(Clone, Debug, Default)]
struct Gate {
    memory: Arc<InMemoryBackend>,
    closed: Arc<Mutex<Option<Doorkeeper>>>,
}

impl Gate {
    fn open_store(&self) -> RedbStore {
        RedbStore::open_backend(&RedbOptions::new(), self.clone()).unwrap()
    }

    /// Has the next flush report that it has begun, and wait. If it cannot go on any more, it
    /// panics.
    fn close(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((arrived, waits), (open, opened)) = (mpsc::channel(), mpsc::channel());
        *self.closed.lock().unwrap() = Some((arrived, opened));
        (waits, open)
    }
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((arrived, opened)) = closed {
            let _ = arrived.send(());
            opened.recv().expect("the flush fails as no storage should");
        }
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[test]
fn readers_go_on_while_a_commit_waits_for_its_flush() {
    let gate = Gate::default();
    let store = gate.open_store();
    executor().block_on(async {
        let iam = asynchronous(&store);
        let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
        iam.register_user(&anika).await.unwrap();
        let first = iam.create(&anika, &codecommit).await.unwrap();

        let (waits, open) = gate.close();
        let creating = tokio::spawn({
            let iam = iam.clone();
            async move { iam.create(&name("anika"), &name(CODECOMMIT)).await }
        });
        tokio::task::yield_now().await;
        waits.recv().unwrap();

        // The task has handed the executor's only thread back.
        let (login, password) = (first.name().as_str(), first.secret().expose());
        iam.authenticate(&codecommit, login, password).await.unwrap();
        assert_eq!(iam.list(&anika).await.unwrap(), [first.credential().clone()]);
        assert!(!creating.is_finished());

        open.send(()).unwrap();
        let second = creating.await.unwrap().unwrap();
        assert_eq!(iam.list(&anika).await.unwrap().len(), 2);
        let (login, password) = (second.name().as_str(), second.secret().expose());
        iam.authenticate(&codecommit, login, password).await.unwrap();
    });
}

#[test]
fn what_comes_in_while_a_caller_writes_is_written_though_nobody_waits_for_it() {
    let gate = Gate::default();
    let users = ["anika", "ben", "carla"].map(name::<UserName>);
    {
        let store = gate.open_store();
        let iam = CredentialManager::new(name(ACCOUNT), store.clone());
        let (waits, open) = gate.close();
        let [anika, ben, carla] = &users;
        thread::scope(|scope| {
            let writing = scope.spawn(|| iam.register_user(anika).unwrap());
            waits.recv().unwrap();
            let twin = asynchronous(&store);
            let mut given_up = Box::pin(twin.register_user(ben));
            let mut context = Context::from_waker(Waker::noop());
            assert!(given_up.as_mut().poll(&mut context).is_pending());
            drop(given_up);
            let patient = scope.spawn(|| iam.register_user(carla).unwrap());
            open.send(()).unwrap();
            writing.join().unwrap();
            patient.join().unwrap();
        });
    }
    let iam = CredentialManager::new(name(ACCOUNT), gate.open_store());
    for user in &users {
        assert_eq!(iam.user(user).unwrap().name(), user);
    }
}

/// What is done when a future is woken.
struct Woken<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Woken<F> {
    fn waker(done: F) -> Waker {
        Arc::new(Self(Mutex::new(Some(done)))).into()
    }
}

impl<F: FnOnce() + Send + 'static> Wake for Woken<F> {
    fn wake(self: Arc<Self>) {
        let done = self.0.lock().unwrap().take();
        done.unwrap()();
    }
}

/// Has a user registered by somebody who is woken to do something else, and gives up on it.
fn register_and_leave(store: &RedbStore, user: &UserName, woken: &Waker) {
    let iam = asynchronous(store);
    let mut registering = Box::pin(iam.register_user(user));
    assert!(registering.as_mut().poll(&mut Context::from_waker(woken)).is_pending());
}

#[test]
fn whoever_is_woken_may_write_at_once() {
    let store = Gate::default().open_store();
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let (done, waits) = mpsc::channel();
    let woken = Woken::waker({
        let iam = iam.clone();
        move || done.send(iam.register_user(&name("ben")).is_ok()).unwrap()
    });
    register_and_leave(&store, &name("anika"), &woken);
    assert!(waits.recv_timeout(PATIENCE).unwrap());
    iam.user(&name("anika")).unwrap();
}

#[test]
fn whoever_is_woken_may_drop_the_last_handle() {
    let gate = Gate::default();
    let store = gate.open_store();
    let (done, waits) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let last = store.clone();
    let woken = Woken::waker(move || {
        opened(&open);
        drop(last);
        done.send(()).unwrap();
    });
    register_and_leave(&store, &name("anika"), &woken);
    drop((woken, store));
    opener.send(()).unwrap();
    waits.recv_timeout(PATIENCE).unwrap();
    CredentialManager::new(name(ACCOUNT), gate.open_store()).user(&name("anika")).unwrap();
}

#[test]
fn a_database_that_panics_has_failed_and_takes_no_caller_with_it() {
    let gate = Gate::default();
    {
        let store = gate.open_store();
        let iam = CredentialManager::new(name(ACCOUNT), store.clone());
        iam.register_user(&name("anika")).unwrap();
        for asynchronously in [true, false] {
            drop(gate.close());
            let error = if asynchronously {
                let iam = asynchronous(&store);
                executor().block_on(iam.register_user(&name("ben"))).unwrap_err()
            } else {
                iam.register_user(&name("ben")).unwrap_err()
            };
            match (asynchronously, error) {
                (true, Error::OutcomeUnknown { id: None, source, .. }) => {
                    let source = source.get_ref().downcast_ref::<RedbError>();
                    assert!(matches!(source, Some(RedbError::Unknown(_))), "{source:?}");
                }
                (false, Error::Store(source)) => {
                    let source = source.get_ref().downcast_ref::<RedbError>();
                    assert!(matches!(source, Some(RedbError::Stopped(_))), "{source:?}");
                }
                (_, error) => panic!("{error:?}"),
            }
        }
    }
    gate.closed.lock().unwrap().take();
    let iam = CredentialManager::new(name(ACCOUNT), gate.open_store());
    iam.user(&name("anika")).unwrap();
    iam.ensure_user(&name("ben")).unwrap();
}

#[test]
fn a_caller_that_writes_survives_a_database_that_panics() {
    let gate = Gate::default();
    let iam = CredentialManager::new(name(ACCOUNT), gate.open_store());
    drop(gate.close());
    let error = iam.register_user(&name("anika")).unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { id: None, .. }), "{error:?}");
    let error = iam.user(&name("anika")).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
}

#[test]
fn the_example_finds_on_a_second_run_what_the_first_left() {
    let folder = Folder::new("example");
    let path = folder.file("store.redb");
    let run = || {
        let example = ["run", "--quiet", "--example", "durable", "--"];
        let run = Command::new(env!("CARGO")).args(example).arg(&path).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let first = run();
    assert!(first.contains("made "), "{first}");
    assert!(first.contains("credentials  0 of anika"), "{first}");
    assert!(first.contains("created      anika+1-at-123456789012"), "{first}");
    let noted = fs::read_to_string(folder.file("store.password")).unwrap();
    let password = noted.lines().last().unwrap();
    assert!(!first.contains(password));
    let second = run();
    assert!(second.contains("found "), "{second}");
    assert!(second.contains("credentials  1 of anika"), "{second}");
    assert!(second.contains("accepted     the password of an earlier run"), "{second}");
    fs::remove_file(folder.file("store.password")).unwrap();
    let third = run();
    assert!(third.contains("only its owner has it"), "{third}");
}

#[test]
fn it_passes_the_suite_of_stores_in_both_faces() {
    let open = |test: &str| {
        let folder = Folder::new(test);
        (RedbStore::open(folder.file("store.redb")).unwrap(), folder)
    };
    Suite::test_all(async || {
        let (store, folder) = open("suite");
        (Immediate::new(store), folder)
    });
    Suite::test_all(async || {
        let (store, folder) = open("async-suite");
        (store.asynchronous(), folder)
    });
}

#[test]
fn a_file_that_is_not_there_is_neither_compacted_nor_checked_nor_made() {
    let folder = Folder::new("absent");
    let path = folder.file("store.redb");
    assert!(matches!(RedbStore::compact(&path), Err(OpenError::Missing(_))));
    assert!(matches!(RedbStore::check_integrity(&path), Err(OpenError::Missing(_))));
    assert!(!path.exists());
}
