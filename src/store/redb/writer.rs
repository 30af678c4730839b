//! Group commit: one thread writes what many callers hand it.
//!
//! Whatever waits when the thread is free becomes one batch: one transaction and one flush. Each
//! change is checked against what the batch has made of the database so far. Answers, refusals
//! included, are given after the flush, since a refusal may rest on a change of the same batch.

use std::{
    future::Future,
    mem,
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

/// The thread that writes, and what everybody shares with it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something waits, or nothing more will.
    changed: Condvar,
    view: RwLock<View>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Job>,
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
            queue: Mutex::default(),
            changed: Condvar::new(),
            view: RwLock::new(view),
        });
        let thread = thread::Builder::new()
            .name("credential store".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.write(&database)
            })
            .map_err(|error| RedbError::Database(redb::Error::Io(error)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands `change` over. It will be made whether or not anybody waits for the answer.
    pub(super) fn submit(&self, change: &Change) -> Answer {
        let reply = Arc::new(Reply::default());
        let job = Job { change: change.clone(), reply: Arc::clone(&reply) };
        let mut queue = lock(&self.shared.queue);
        if !queue.closed {
            queue.waiting.push(job);
            drop(queue);
            self.shared.changed.notify_one();
        }
        Answer(reply)
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
        if let Some(thread) = self.thread.take() {
            // One that panicked has answered by dropping its jobs.
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

    /// The work of the thread.
    fn write(&self, database: &Database) {
        let closing = Closing(self);
        while let Some(batch) = self.next_batch() {
            if let View::Stopped(cause) = self.view() {
                for job in batch {
                    job.answer(Err(RedbError::Stopped(Arc::clone(&cause))));
                }
                continue;
            }
            match commit(database, &batch) {
                Ok((answers, snapshot)) => {
                    if let Some(snapshot) = snapshot {
                        self.show(View::Snapshot(Arc::new(snapshot)));
                    }
                    for (job, answer) in batch.into_iter().zip(answers) {
                        job.answer(answer);
                    }
                }
                Err(error) => {
                    let cause = Arc::new(RedbError::Database(error));
                    self.show(View::Stopped(Arc::clone(&cause)));
                    for job in batch {
                        job.answer(Err(RedbError::Unknown(Arc::clone(&cause))));
                    }
                }
            }
        }
        drop(closing);
    }

    /// What waits, once something does. `None` once nothing will.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = lock(&self.queue);
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(mem::take(&mut queue.waiting))
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.show(View::Stopped(Arc::new(RedbError::Panicked)));
        }
        let mut queue = lock(&self.0.queue);
        queue.closed = true;
        queue.waiting.clear();
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

impl Job {
    fn answer(self, answer: Result<Commit, RedbError>) {
        self.reply.give(answer);
    }
}

/// A job that was dropped unanswered: the thread panicked.
impl Drop for Job {
    fn drop(&mut self) {
        self.reply.give(Err(RedbError::Unknown(Arc::new(RedbError::Panicked))));
    }
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
    taken: bool,
    waker: Option<Waker>,
}

impl Reply {
    /// Leaves the answer, unless there is one already.
    fn give(&self, answer: Result<Commit, RedbError>) {
        let mut state = lock(&self.state);
        if state.answer.is_none() && !state.taken {
            state.answer = Some(answer.map_err(StoreError::new));
            let waker = state.waker.take();
            drop(state);
            self.given.notify_one();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
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
                state.taken = true;
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
            state.taken = true;
            return Poll::Ready(answer);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
