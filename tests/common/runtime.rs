//! What the tests with servers of their own share: a runtime, waiting, and the end of a server.

use std::{
    future::Future,
    os::unix::process::CommandExt as _,
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use service_specific_credentials::store::{
    AsyncStore, Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord,
};
use tokio::runtime::{Builder, Runtime};

/// The limit of every wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(300);

/// The runtime of all tests.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().enable_all().build().unwrap())
}

/// Blocks on a future.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// Polls a condition until it is true, for events without a notification.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < TIMEOUT, "timed out waiting for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a shell that runs a script once this process has ended in any way. The id of a server is
/// the first argument of the script.
pub(crate) fn guard(server: u32, script: &str, arguments: &[&str]) -> ChildStdin {
    let mut guardian = Command::new("sh");
    let script = format!("trap '' INT HUP TERM; read -r _; {script}");
    guardian.args(["-c", &script, "guardian", &server.to_string()]).args(arguments);
    let quiet = guardian.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // In its own process group, so that a terminal's interrupt does not reach it.
    let mut guardian = quiet.process_group(0).spawn().unwrap();
    let stdin = guardian.stdin.take().unwrap();
    thread::spawn(move || guardian.wait());
    stdin
}

/// A store with a blocking interface.
#[derive(Debug)]
pub(crate) struct Blocking<S>(pub(crate) S);

impl<S: AsyncStore> Store for Blocking<S> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        wait(self.0.find(key))
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        wait(self.0.commit(change))
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        wait(self.0.scan(range))
    }
}
