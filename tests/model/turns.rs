//! Schedules threads.

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::{
        Barrier, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};

thread_local! {
    /// The number of this thread, if it is scheduled.
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// How threads proceed between pauses.
pub(crate) enum Pace {
    /// Concurrently, from a common start. Each pause is a few iterations of a loop.
    Free { start: Barrier, pauses: AtomicUsize },
    /// One at a time. At each pause a seeded generator picks the next thread.
    Turns { table: Box<Mutex<Table>>, moved: Condvar },
}

pub(crate) struct Table {
    rng: ChaCha20Rng,
    seated: Vec<usize>,
    next: usize,
}

/// A running thread.
pub(crate) struct RunningThread<'a>(&'a Pace, usize);

impl Pace {
    pub(crate) fn free(threads: usize) -> Self {
        Self::Free { start: Barrier::new(threads), pauses: AtomicUsize::new(0) }
    }

    pub(crate) fn turns(threads: usize, seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let mut table = Table { rng, seated: (0..threads).collect(), next: 0 };
        table.choose();
        Self::Turns { table: Box::new(Mutex::new(table)), moved: Condvar::new() }
    }

    /// Waits for the start.
    pub(crate) fn start(&self, thread: usize) -> RunningThread<'_> {
        THREAD.set(Some(thread));
        match self {
            Self::Free { start, .. } => drop(start.wait()),
            Self::Turns { table, moved } => drop(wait(table.lock().unwrap(), moved, thread)),
        }
        RunningThread(self, thread)
    }

    /// Lets other threads run. Only scheduled threads pause.
    pub(crate) fn pause(&self) {
        let Some(thread) = THREAD.get() else { return };
        match self {
            Self::Free { pauses, .. } => {
                (0..pauses.fetch_add(1, Relaxed) * 37 % 101).for_each(|_| spin_loop());
            }
            Self::Turns { table, moved } => {
                let mut table = table.lock().unwrap();
                table.choose();
                moved.notify_all();
                drop(wait(table, moved, thread));
            }
        }
    }
}

fn wait<'a>(table: MutexGuard<'a, Table>, moved: &Condvar, thread: usize) -> MutexGuard<'a, Table> {
    moved.wait_while(table, |table| table.next != thread).unwrap()
}

impl Table {
    fn choose(&mut self) {
        if !self.seated.is_empty() {
            self.next = self.seated[self.rng.random_range(0..self.seated.len())];
        }
    }
}

impl Drop for RunningThread<'_> {
    fn drop(&mut self) {
        THREAD.set(None);
        if let Pace::Turns { table, moved } = self.0 {
            let mut table = table.lock().unwrap();
            table.seated.retain(|&thread| thread != self.1);
            table.choose();
            moved.notify_all();
        }
    }
}
