//! Group commit: the changes of many callers share a transaction and its flushes.
//!
//! All changes that arrive while a batch is being written form the next batch: one transaction.
//! Each change is checked against the database with the earlier changes of the batch. Every caller
//! gets its result after the flush, including *stale* and *key taken*, because these may depend on
//! a change of the same batch.
//!
//! A blocking caller writes the batch on its own thread if no batch is being written, which saves
//! two context switches. A thread of the store writes all other batches. So no caller writes more
//! than one batch, and no change depends on a caller that was dropped.
//!
//! After a failure the database is closed. The next batch reopens it first. A reader that finds the
//! database closed waits in the queue for that, so that all callers share one attempt.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, mpsc},
    thread::{self, JoinHandle},
};

use futures_channel::oneshot;
use redb::Database;

use super::{
    connection::{Connection, Unwritten},
    error::RedbError,
    health::RedbHealth,
    tables::{self, Snapshot, Tables},
};
use crate::store::change::{Change, CommitOutcome};

/// The store's own thread, and what it shares with all handles.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Used by the thread that writes a batch.
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
    /// Wakes the store's thread: a batch is waiting, or the store is being dropped.
    changed: Condvar,
    view: RwLock<View>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Batch,
    /// A thread is writing a batch.
    writing: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Batch {
    changes: Vec<(Change, Reply<CommitOutcome>)>,
    /// Callers that wait until the database is open.
    readers: Vec<Reply<()>>,
}

impl Batch {
    const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.readers.is_empty()
    }
}

/// What readers see.
#[derive(Clone, Debug)]
enum View {
    Open {
        /// The committed state.
        snapshot: Arc<Snapshot>,
        /// The cause of the last failed write, if none has succeeded since.
        failed_write: Option<Arc<RedbError>>,
    },
    /// The database failed and must be reopened.
    Closed(Arc<RedbError>),
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, RedbError> {
        let snapshot = Arc::new(connection.snapshot()?);
        let shared = Arc::new(Shared {
            connection: Mutex::new(connection),
            queue: Mutex::default(),
            changed: Condvar::new(),
            view: RwLock::new(View::Open { snapshot, failed_write: None }),
        });
        let thread = thread::Builder::new()
            .name("credential store".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })
            .map_err(|error| RedbError::Database(redb::Error::Io(error)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Applies `change` unless it conflicts, and blocks until the change is durable.
    pub(super) fn commit(&self, change: &Change) -> Result<CommitOutcome, RedbError> {
        let (reply, result) = Reply::to_thread();
        self.write_or_wait(|waiting| waiting.changes.push((change.clone(), reply)), &result)
    }

    /// As [`commit`](Self::commit), without blocking. Once the future was polled, the change is
    /// written even if the future is dropped.
    pub(super) async fn commit_async(&self, change: &Change) -> Result<CommitOutcome, RedbError> {
        let (reply, result) = Reply::to_task();
        self.submit(|waiting| waiting.changes.push((change.clone(), reply)));
        result.await.unwrap_or(Err(RedbError::Panicked))
    }

    /// Reads the committed state. Reopens the database first if it is closed.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&Arc<Snapshot>) -> Result<T, RedbError>,
    ) -> Result<T, RedbError> {
        if let Ok(result) = self.shared.read(&read) {
            return result;
        }
        let (reply, opened) = Reply::to_thread();
        self.write_or_wait(|waiting| waiting.readers.push(reply), &opened)?;
        self.shared.read(&read).unwrap_or_else(|closed| Err(RedbError::Stopped(closed)))
    }

    /// As [`read`](Self::read), without blocking on anything but the file.
    pub(super) async fn read_async<T>(
        &self,
        read: impl Fn(&Arc<Snapshot>) -> Result<T, RedbError>,
    ) -> Result<T, RedbError> {
        if let Ok(result) = self.shared.read(&read) {
            return result;
        }
        let (reply, opened) = Reply::to_task();
        self.submit(|waiting| waiting.readers.push(reply));
        opened.await.unwrap_or(Err(RedbError::Panicked))?;
        self.shared.read(&read).unwrap_or_else(|closed| Err(RedbError::Stopped(closed)))
    }

    pub(super) fn health(&self) -> RedbHealth {
        match self.shared.view() {
            View::Open { failed_write: None, .. } => RedbHealth::Ready,
            View::Open { failed_write: Some(cause), .. } => RedbHealth::WriteFailed(cause),
            View::Closed(cause) => RedbHealth::Closed(cause),
        }
    }

    /// Adds to the next batch, which the store's thread will write.
    fn submit(&self, add: impl FnOnce(&mut Batch)) {
        let mut queue = lock(&self.shared.queue);
        add(&mut queue.waiting);
        let writing = queue.writing;
        drop(queue);
        if !writing {
            self.shared.changed.notify_one();
        }
    }

    /// Writes the batch that `add` adds to, unless a batch is being written, and waits for the
    /// result.
    fn write_or_wait<T>(
        &self,
        add: impl FnOnce(&mut Batch),
        result: &mpsc::Receiver<Result<T, RedbError>>,
    ) -> Result<T, RedbError> {
        let mut queue = lock(&self.shared.queue);
        add(&mut queue.waiting);
        let batch = queue.next_batch();
        drop(queue);
        if let Some(batch) = batch {
            self.shared.write(batch);
        }
        result.recv().unwrap_or(Err(RedbError::Panicked))
    }
}

/// Writes the submitted changes and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_one();
        // A waker may drop the last handle on the store's own thread. That thread ends, and closes
        // the file, once it has nothing more to write.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, view: View) {
        let before =
            mem::replace(&mut *self.view.write().unwrap_or_else(PoisonError::into_inner), view);
        // After the lock is released: this may be the last reference to a snapshot.
        drop(before);
    }

    /// Reads the committed state. The outer error is the reason why the database is closed.
    fn read<T>(
        &self,
        read: impl Fn(&Arc<Snapshot>) -> Result<T, RedbError>,
    ) -> Result<Result<T, RedbError>, Arc<RedbError>> {
        let snapshot = match self.view() {
            View::Open { snapshot, .. } => snapshot,
            View::Closed(cause) => return Err(cause),
        };
        match read(&snapshot) {
            Err(error) if error.ends_database() => Err(self.close_after(&snapshot, error)),
            result => Ok(result),
        }
    }

    /// Closes the database after a failed read, unless it has been reopened since.
    fn close_after(&self, failed: &Snapshot, error: RedbError) -> Arc<RedbError> {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let cause = match &*view {
            View::Closed(cause) => return Arc::clone(cause),
            View::Open { .. } => Arc::new(error),
        };
        if let View::Open { snapshot, .. } = &*view
            && snapshot.generation() == failed.generation()
        {
            let before = mem::replace(&mut *view, View::Closed(Arc::clone(&cause)));
            drop(view);
            drop(before);
        }
        cause
    }

    /// The work of the store's thread.
    fn run(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(batch) = queue.next_batch() {
                drop(queue);
                self.write(batch);
                queue = lock(&self.queue);
            } else if queue.closed {
                return;
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Writes a batch and replies to its callers. The next batch begins after the blocking callers
    /// have their results, so that it can include their next changes.
    fn write(&self, batch: Batch) {
        let (changes, replies): (Vec<_>, Vec<_>) = batch.changes.into_iter().unzip();
        let mut connection = lock(&self.connection);
        let open = self.ensure_open(&mut connection);
        let results = match &open {
            Ok(()) => self.commit(&mut connection, &changes),
            Err(cause) => stopped(cause, changes.len()),
        };
        drop(connection);
        let readers = batch.readers.into_iter().map(|reader| {
            let open = open.as_ref().map_err(Arc::clone);
            (reader, open.copied().map_err(RedbError::Stopped))
        });
        let wakeups = (send(replies.into_iter().zip(results)), send(readers));
        let mut queue = lock(&self.queue);
        queue.writing = false;
        let waits = !queue.waiting.is_empty();
        drop(queue);
        if waits {
            self.changed.notify_one();
        }
        // Wakers are code of the caller, which may use this store.
        wakeups.0.into_iter().for_each(wake);
        wakeups.1.into_iter().for_each(wake);
    }

    fn ensure_open(&self, connection: &mut Connection) -> Result<(), Arc<RedbError>> {
        let View::Closed(cause) = self.view() else { return Ok(()) };
        match connection.reopen() {
            None => Err(cause),
            Some(Ok(snapshot)) => {
                let failed_write = connection.failed_write().map(Arc::clone);
                self.show(View::Open { snapshot: Arc::new(snapshot), failed_write });
                Ok(())
            }
            Some(Err(error)) => {
                let cause = Arc::new(error);
                self.show(View::Closed(Arc::clone(&cause)));
                Err(cause)
            }
        }
    }

    /// Applies the changes of a batch.
    fn commit(&self, connection: &mut Connection, changes: &[Change]) -> Results {
        if changes.is_empty() {
            return Results::new();
        }
        match connection.write(|database| commit(database, changes)) {
            Ok((results, snapshot)) => {
                if let Some(snapshot) = snapshot {
                    self.show(View::Open { snapshot: Arc::new(snapshot), failed_write: None });
                }
                results
            }
            Err(Unwritten::TooEarly(cause)) => stopped(&cause, changes.len()),
            Err(Unwritten::Failed(cause)) => {
                self.show(View::Closed(Arc::clone(&cause)));
                connection.close();
                changes.iter().map(|_| Err(RedbError::Unknown(Arc::clone(&cause)))).collect()
            }
        }
    }
}

impl Queue {
    /// Takes the waiting batch, for the caller to write, unless a batch is being written.
    fn next_batch(&mut self) -> Option<Batch> {
        (!self.writing && !self.waiting.is_empty()).then(|| {
            self.writing = true;
            mem::take(&mut self.waiting)
        })
    }
}

type Results = Vec<Result<CommitOutcome, RedbError>>;

fn stopped(cause: &Arc<RedbError>, count: usize) -> Results {
    std::iter::repeat_with(|| Err(RedbError::Stopped(Arc::clone(cause)))).take(count).collect()
}

/// Applies changes in one transaction, and returns whether it was committed. If no change was
/// applied, there is nothing to flush and no new state to read.
fn commit(database: &Database, changes: &[Change]) -> Result<(Results, bool), RedbError> {
    let transaction = tables::begin(database)?;
    let mut tables = Tables::open(&transaction)?;
    let results: Results =
        changes.iter().map(|change| tables.apply(change)).collect::<Result<_, _>>()?;
    drop(tables);
    let applied = results.iter().any(|result| matches!(result, Ok(CommitOutcome::Applied)));
    if applied {
        transaction.commit().map_err(redb::Error::from)?;
    } else {
        transaction.abort().map_err(redb::Error::from)?;
    }
    Ok((results, applied))
}

/// The receiver of a result.
#[derive(Debug)]
enum Reply<T> {
    Thread(mpsc::SyncSender<Result<T, RedbError>>),
    Task(oneshot::Sender<Result<T, RedbError>>),
}

impl<T> Reply<T> {
    fn to_thread() -> (Self, mpsc::Receiver<Result<T, RedbError>>) {
        let (sender, receiver) = mpsc::sync_channel(1);
        (Self::Thread(sender), receiver)
    }

    fn to_task() -> (Self, oneshot::Receiver<Result<T, RedbError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Task(sender), receiver)
    }
}

/// A result for a task that must be woken.
type Wakeup<T> = (oneshot::Sender<Result<T, RedbError>>, Result<T, RedbError>);

/// Sends results to threads. Returns the results for tasks.
fn send<T>(results: impl IntoIterator<Item = (Reply<T>, Result<T, RedbError>)>) -> Vec<Wakeup<T>> {
    let mut wakeups = Vec::new();
    for (reply, result) in results {
        match reply {
            // A thread that waits for its result still has the receiver.
            Reply::Thread(sender) => drop(sender.send(result)),
            Reply::Task(sender) => wakeups.push((sender, result)),
        }
    }
    wakeups
}

fn wake<T>((sender, result): Wakeup<T>) {
    // The task may be gone. A waker that panics must not prevent other tasks from being woken.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(sender.send(result))));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
