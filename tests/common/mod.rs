//! Helpers that several test files share.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests may fail as a test does"
)]

use std::{
    fmt::{self, Debug},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    sync::Arc,
};

use serde_json::Value;
use service_specific_credentials::{
    AsyncCredentialManager, CredentialManager, MemoryStore, Policy,
    store::{AsyncStore, Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord},
    testing::{FixedClock, SeededEntropy},
};
use time::{Duration, OffsetDateTime};

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const CODECOMMIT: &str = "codecommit.amazonaws.com";
pub(crate) const CASSANDRA: &str = "cassandra.amazonaws.com";
pub(crate) const BEDROCK: &str = "bedrock.amazonaws.com";

/// The start time of every test: 2016-11-01T17:47:22.382Z.
pub(crate) fn dawn() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1_478_022_442_382)
}

/// Parses a name from valid text.
pub(crate) fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A temporary folder, removed on drop: in memory, if the system supports it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = parent.join(format!("ssc-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program of an example, built if necessary, with the profile and the store features of the
/// tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let artifact = |message: &Value| message["executable"].as_str().map(PathBuf::from);
    build(name).iter().filter(|it| it["target"]["name"] == name).find_map(artifact).unwrap()
}

/// The library, as the examples link it.
pub(crate) fn library() -> PathBuf {
    let is_library = |message: &&Value| message["target"]["name"] == "service_specific_credentials";
    let messages = build("quickstart");
    let files = messages.iter().find(is_library).unwrap()["filenames"].as_array().unwrap();
    let mut files = files.iter().map(|file| PathBuf::from(file.as_str().unwrap()));
    files.find(|file| file.extension() == Some("rlib".as_ref())).unwrap()
}

/// Builds an example. Returns Cargo's messages.
fn build(example: &str) -> Vec<Value> {
    let features: &[&str] =
        if cfg!(feature = "dynamodb") { &["--features", "dynamodb"] } else { &[] };
    let mut cargo = Command::new(env!("CARGO"));
    // `cargo test` sets these for a test. Build scripts that read them, such as that of `ring`, and
    // all their dependents would be rebuilt, now and the next time.
    let is_set_for_a_test =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_set_for_a_test) {
            cargo.env_remove(name);
        }
    }
    let built = cargo
        .args(["build", "--quiet", "--message-format=json", "--example", example])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .args(features)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the example does not build");
    let messages = str::from_utf8(&built.stdout).unwrap().lines();
    messages.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A manager of `store`, whose clock returns [`dawn`].
pub(crate) fn manager<S: Store>(
    store: S,
    policy: Policy,
) -> (CredentialManager<S>, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::new(dawn()));
    let iam = CredentialManager::builder(name(ACCOUNT), store)
        .policy(policy)
        .clock(Arc::clone(&clock))
        .entropy(SeededEntropy::new(7))
        .build();
    (iam, clock)
}

/// An async manager with the same clock and the same entropy.
pub(crate) fn async_manager<S: AsyncStore>(store: S, policy: Policy) -> AsyncCredentialManager<S> {
    AsyncCredentialManager::builder(name(ACCOUNT), store)
        .policy(policy)
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(7))
        .build_async()
}

/// A memory store that a hook controls.
pub(crate) struct HookedStore<F> {
    inner: MemoryStore,
    hook: F,
}

/// The operation that a store is called for.
#[derive(Clone, Copy)]
pub(crate) enum StoreCall<'a> {
    Find,
    Commit(&'a Change),
    Scan(&'a ScanRange<'a>),
}

/// What the store does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookAction {
    /// Performs the operation.
    Proceed,
    /// Returns this outcome of a commit, which is not applied.
    Return(CommitOutcome),
    /// Fails without any effect.
    Fail,
    /// Commits, and then fails.
    FailAfterwards,
}

impl<F: Fn(StoreCall<'_>) -> HookAction + Send + Sync> HookedStore<F> {
    pub(crate) fn new(hook: F) -> Self {
        Self { inner: MemoryStore::new(), hook }
    }

    fn read<T>(&self, call: StoreCall<'_>, read: impl FnOnce() -> T) -> Result<T, StoreError> {
        match (self.hook)(call) {
            HookAction::Proceed => Ok(read()),
            _ => Err(StoreError::new("the disk is on fire")),
        }
    }
}

impl<F: Fn(StoreCall<'_>) -> HookAction + Send + Sync> Store for HookedStore<F> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.read(StoreCall::Find, || self.inner.find(key).unwrap())
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        let failure = || Err(StoreError::new("the disk is on fire"));
        match (self.hook)(StoreCall::Commit(change)) {
            HookAction::Proceed => self.inner.commit(change),
            HookAction::Return(response) => Ok(response),
            HookAction::Fail => failure(),
            HookAction::FailAfterwards => self.inner.commit(change).and_then(|_| failure()),
        }
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.read(StoreCall::Scan(range), || self.inner.scan(range).unwrap())
    }
}

impl<F> Debug for HookedStore<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
