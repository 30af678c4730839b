//! The open database, and reopening it after a failure.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use redb::Database;

use super::{
    error::{OpenError, RedbError},
    guard::Guarded,
    tables::Snapshot,
};

/// Opens the database. The database must be closed when this is called.
pub(super) type Connect = Box<dyn Fn() -> Result<Guarded<Database>, OpenError> + Send + Sync>;

/// The database and its state, open or closed.
pub(super) struct Connection {
    connect: Connect,
    database: Option<Guarded<Database>>,
    /// How many times the database was reopened.
    generation: u64,
    reopening: Limit,
    writing: Limit,
    /// The cause of the last failed write, if none has succeeded since.
    failed_write: Option<Arc<RedbError>>,
}

impl Connection {
    pub(super) fn new(connect: Connect, database: Guarded<Database>, interval: Duration) -> Self {
        let limit = Limit { interval, counted: false, last: None };
        Self {
            connect,
            database: Some(database),
            generation: 0,
            reopening: limit,
            writing: limit,
            failed_write: None,
        }
    }

    /// The cause of the last failed write, if none has succeeded since.
    pub(super) const fn failed_write(&self) -> Option<&Arc<RedbError>> {
        self.failed_write.as_ref()
    }

    /// Takes a snapshot of the committed state.
    pub(super) fn snapshot(&self) -> Result<Snapshot, RedbError> {
        let database = self.database.as_ref().ok_or(RedbError::Panicked)?;
        database.call(|database| Snapshot::take(database, self.generation))
    }

    /// Closes the database, reopens it, and returns a snapshot of the committed state. Returns
    /// `None` if it is too early for another attempt.
    pub(super) fn reopen(&mut self) -> Option<Result<Snapshot, RedbError>> {
        self.database = None;
        if !self.reopening.permits() {
            return None;
        }
        let reopened = (self.connect)()
            .map_err(|error| RedbError::Reopen(Box::new(error)))
            .and_then(|database| {
                self.database = Some(database);
                self.generation += 1;
                self.snapshot()
            });
        self.reopening.count();
        Some(reopened)
    }

    /// Runs `write`, which may change the database and returns whether it committed a change. If it
    /// did, a snapshot of the new committed state is returned too.
    ///
    /// After [`Unwritten::Failed`] the database must not be used before it is reopened.
    pub(super) fn write<T>(
        &mut self,
        write: impl FnOnce(&Database) -> Result<(T, bool), RedbError>,
    ) -> Result<(T, Option<Snapshot>), Unwritten> {
        if let Some(cause) = &self.failed_write
            && !self.writing.permits()
        {
            return Err(Unwritten::TooEarly(Arc::clone(cause)));
        }
        let database = self.database.as_ref().ok_or(RedbError::Panicked);
        let written = database.and_then(|database| {
            database.call(|database| {
                let (value, changed) = write(database)?;
                let snapshot = changed.then(|| Snapshot::take(database, self.generation));
                Ok((value, snapshot.transpose()?))
            })
        });
        match &written {
            Ok((_, None)) => {}
            Ok((_, Some(_))) => {
                self.reopening.reset();
                self.writing.reset();
                self.failed_write = None;
            }
            Err(_) => self.writing.count(),
        }
        written.map_err(|error| {
            let cause = Arc::new(error);
            self.failed_write = Some(Arc::clone(&cause));
            Unwritten::Failed(cause)
        })
    }

    /// Closes the database. After a failed write this changes nothing in the storage.
    pub(super) fn close(&mut self) {
        self.database = None;
    }
}

/// The reason why a write is not known to be durable.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Writing failed, and the outcome is unknown.
    Failed(Arc<RedbError>),
    /// Writing failed repeatedly, with this cause, and it is too early to try again.
    TooEarly(Arc<RedbError>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("database", &self.database).finish_non_exhaustive()
    }
}

/// Limits the rate of attempts that may fail repeatedly. The first two attempts are free, so that
/// nothing waits once the cause of a failure is gone. From then on, an interval passes between two
/// attempts, until one has succeeded.
#[derive(Clone, Copy, Debug)]
struct Limit {
    interval: Duration,
    counted: bool,
    /// The time of the last attempt, unless the next attempt is free.
    last: Option<Instant>,
}

impl Limit {
    fn permits(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= self.interval)
    }

    fn count(&mut self) {
        self.last = self.counted.then(Instant::now);
        self.counted = true;
    }

    const fn reset(&mut self) {
        (self.counted, self.last) = (false, None);
    }
}
