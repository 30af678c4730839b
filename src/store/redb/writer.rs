//! Group commit: one writes what many callers hand over.
//!
//! Whatever waits when nobody is writing becomes one batch: one transaction and one flush. Each
//! change is checked against what the batch has made of the database so far. Answers, refusals
//! included, are given after the flush, since a refusal may rest on a change of the same batch.
//!
//! A caller who blocks anyway writes on its own thread when nobody else is writing, which spares it
//! two switches of threads. All else, such as what came in meanwhile, is written by a thread of the
//! store's: no caller ever writes more than one batch, and one that goes away leaves nothing undone.

use std::{
    future::Future,
    mem,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    task::{Context, Poll, Waker},
    thread::{self, JoinHandle},
};

use redb::Database;

use super::{
    RedbError,
    database::{self, Snapshot, Tables},
};
use crate::store::{Change, Commit, StoreError};

/// The store's own thread, and what everybody shares with it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    queue: Mutex<Queue>,
    /// For the thread: something waits for it, or nothing more will.
    changed: Condvar,
    view: RwLock<View>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Job>,
    /// Somebody writes a batch.
    writing: bool,
    closed: bool,
}

/// What can be read.
#[derive(Clone, Debug)]
enum View {
    /// Everything that was acknowledged.
    Snapshot(Arc<Snapshot>),
    /// Nothing: a write failed, and what the file holds is not known until it is opened anew.
    Stopped(Arc<RedbError>),
}

impl Writer {
    pub(super) fn start(database: Database) -> Result<Self, RedbError> {
        let view = View::Snapshot(Arc::new(Snapshot::take(&database)?));
        let shared = Arc::new(Shared {
            database,
            queue: Mutex::default(),
            changed: Condvar::new(),
            view: RwLock::new(view),
        });
        let thread = thread::Builder::new()
            .name("credential store".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.write_what_waits()
            })
            .map_err(|error| RedbError::Database(redb::Error::Io(error)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands `change` over. It will be made whether or not anybody waits for the answer.
    pub(super) fn submit(&self, change: &Change) -> Answer {
        let (answer, queue) = self.shared.enqueue(change);
        let writing = queue.writing;
        drop(queue);
        if !writing {
            self.shared.changed.notify_one();
        }
        answer
    }

    /// Makes `change`, or waits until it is made.
    pub(super) fn commit(&self, change: &Change) -> Result<Commit, StoreError> {
        let (answer, mut queue) = self.shared.enqueue(change);
        let batch = queue.next_batch();
        drop(queue);
        if let Some(batch) = batch {
            self.shared.write(batch);
        }
        answer.wait()
    }

    /// Everything that was acknowledged by now.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, RedbError> {
        match self.shared.view() {
            View::Snapshot(snapshot) => Ok(snapshot),
            View::Stopped(cause) => Err(RedbError::Stopped(cause)),
        }
    }
}

/// Finishes what was handed over, and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_one();
        // The last handle may be dropped by what is woken, and so by the thread itself. It ends then, and
        // closes the file, once it has nothing more to write.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Puts `change` among what waits, and leaves it to the caller to have it written.
    fn enqueue(&self, change: &Change) -> (Answer, MutexGuard<'_, Queue>) {
        let reply = Arc::new(Reply::default());
        let job = Job { change: change.clone(), reply: Arc::clone(&reply) };
        let mut queue = lock(&self.queue);
        queue.waiting.push(job);
        (Answer(reply), queue)
    }

    /// The work of the thread.
    fn write_what_waits(&self) {
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

    /// Writes a batch and answers it. Those who are answered find the next batch not begun yet, and
    /// may still be in it. Code of others, which wakers are, runs when the next one may be written.
    fn write(&self, batch: Vec<Job>) {
        let answers = match self.view() {
            View::Snapshot(_) => self.commit(&batch),
            View::Stopped(cause) => {
                batch.iter().map(|_| Err(RedbError::Stopped(Arc::clone(&cause)))).collect()
            }
        };
        let answered = batch.into_iter().zip(answers);
        let wakers: Vec<_> = answered.filter_map(|(job, answer)| job.reply.give(answer)).collect();
        let mut queue = lock(&self.queue);
        queue.writing = false;
        let waits = !queue.waiting.is_empty();
        drop(queue);
        if waits {
            self.changed.notify_one();
        }
        for waker in wakers {
            // One that panics keeps nobody else from being woken.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Makes the changes of a batch. A database that fails is not written to again, and one that
    /// panics has failed.
    fn commit(&self, batch: &[Job]) -> Answers {
        let made = panic::catch_unwind(AssertUnwindSafe(|| commit(&self.database, batch)));
        let cause = match made {
            Ok(Ok((answers, snapshot))) => {
                if let Some(snapshot) = snapshot {
                    self.show(View::Snapshot(Arc::new(snapshot)));
                }
                return answers;
            }
            Ok(Err(error)) => Arc::new(RedbError::Database(error)),
            Err(_) => Arc::new(RedbError::Panicked),
        };
        self.show(View::Stopped(Arc::clone(&cause)));
        batch.iter().map(|_| Err(RedbError::Unknown(Arc::clone(&cause)))).collect()
    }
}

impl Queue {
    /// What waits, to be written by whoever takes it, if there is anything and nobody is writing.
    fn next_batch(&mut self) -> Option<Vec<Job>> {
        (!self.writing && !self.waiting.is_empty()).then(|| {
            self.writing = true;
            mem::take(&mut self.waiting)
        })
    }
}

type Answers = Vec<Result<Commit, RedbError>>;

/// Makes the changes of a batch in one transaction. Where none can be made, there is nothing to
/// flush, and nothing new to read.
fn commit(database: &Database, batch: &[Job]) -> Result<(Answers, Option<Snapshot>), redb::Error> {
    let transaction = database::begin(database)?;
    let mut tables = Tables::open(&transaction)?;
    let answers: Answers =
        batch.iter().map(|job| tables.apply(&job.change)).collect::<Result<_, _>>()?;
    drop(tables);
    if answers.iter().any(|answer| matches!(answer, Ok(Commit::Applied))) {
        transaction.commit()?;
        Ok((answers, Some(Snapshot::take(database)?)))
    } else {
        transaction.abort()?;
        Ok((answers, None))
    }
}

/// A change that was handed over.
#[derive(Debug)]
struct Job {
    change: Change,
    reply: Arc<Reply>,
}

/// Where an answer is left.
#[derive(Debug, Default)]
struct Reply {
    state: Mutex<ReplyState>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct ReplyState {
    answer: Option<Result<Commit, StoreError>>,
    waker: Option<Waker>,
}

impl Reply {
    /// Leaves the answer. Whoever blocks for it goes on; whoever is to be woken is returned.
    fn give(&self, answer: Result<Commit, RedbError>) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.answer = Some(answer.map_err(StoreError::new));
        let waker = state.waker.take();
        drop(state);
        self.given.notify_one();
        waker
    }
}

/// The answer to a change: to be waited for, or polled.
#[derive(Debug)]
pub(super) struct Answer(Arc<Reply>);

impl Answer {
    pub(super) fn wait(self) -> Result<Commit, StoreError> {
        let mut state = lock(&self.0.state);
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state = self.0.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Answer {
    type Output = Result<Commit, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
