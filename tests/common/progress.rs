//! Runs of tests that can last for hours.
//!
//! A variable of the environment sets the number of steps of a long run. A long run uses all
//! processors. It prints its seed first, then its progress, and last a line of figures. Without the
//! variable, a run is short and silent, and uses one thread and the same seed each time.
//!
//! `SSC_SEED` sets the first seed. The seed of a case that failed repeats that case.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a helper of tests may fail as a test does")]

use std::{
    env,
    fmt::Display,
    io::{self, Write as _},
    num::NonZeroUsize,
    ops::AddAssign,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Time between two lines of progress if standard error is not a terminal.
const INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct Run {
    count: u64,
    seed: u64,
    /// What a step is, or `None` in a short run.
    what: Option<String>,
    bar: ProgressBar,
    start: Instant,
    reported: Mutex<Instant>,
}

impl Run {
    /// Starts a run of as many steps as `variable` says, or of `short` steps if it is not set.
    pub(crate) fn start(what: &str, variable: &str, short: u64) -> Self {
        let long = env::var(variable).ok().map(|count| count.replace([',', '_'], ""));
        let seed = env::var("SSC_SEED").ok().map(|seed| seed.parse().unwrap());
        let (count, seed, what, bar) = match long {
            None => (short, seed.unwrap_or(7), None, ProgressBar::hidden()),
            Some(count) => {
                let count = count.parse().unwrap();
                let seed = seed.unwrap_or_else(|| getrandom::u32().unwrap().into());
                print(&format!("{} {what}, seed {seed}", HumanCount(count)));
                let bar = ProgressBar::new(count).with_style(style());
                (count, seed, Some(what.to_owned()), bar)
            }
        };
        let start = Instant::now();
        Self { count, seed, what, bar, start, reported: Mutex::new(start) }
    }

    /// Whether a variable of the environment sets its length.
    pub(crate) const fn is_long(&self) -> bool {
        self.what.is_some()
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Calls `case` with one seed after another until the run is done. Each call has to advance the
    /// run. Returns the sum of the results. A case that panics ends the run.
    pub(crate) fn each_seed<T>(&self, case: impl Fn(u64) -> T + Sync) -> T
    where
        T: AddAssign + Default + Send,
    {
        let (next, sum) = (AtomicU64::new(self.seed), Mutex::new(T::default()));
        let failed = AtomicBool::new(false);
        let work = || {
            while !self.is_done() && !failed.load(Relaxed) {
                let seed = next.fetch_add(1, Relaxed);
                match panic::catch_unwind(AssertUnwindSafe(|| case(seed))) {
                    Ok(result) => *sum.lock().unwrap() += result,
                    Err(payload) => {
                        failed.store(true, Relaxed);
                        print(&format!("the case with seed {seed} failed"));
                        panic::resume_unwind(payload);
                    }
                }
            }
        };
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = if self.is_long() { processors } else { 1 };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        sum.into_inner().unwrap()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.bar.position() >= self.count
    }

    /// Counts `steps` more steps.
    pub(crate) fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        let Some(what) = &self.what else { return };
        // A bar is drawn only on a terminal.
        if !self.bar.is_hidden() {
            return;
        }
        let mut reported = self.reported.lock().unwrap();
        if reported.elapsed() >= INTERVAL {
            *reported = Instant::now();
            let (done, elapsed) = (HumanCount(self.bar.position()), minutes(self.start.elapsed()));
            print(&format!("{done} of {} {what} after {elapsed}", HumanCount(self.count)));
        }
    }

    /// Prints a line in a long run.
    pub(crate) fn report(&self, line: impl Display) {
        if self.is_long() {
            self.bar.suspend(|| print(&line.to_string()));
        }
    }

    /// Ends the run with a line of figures.
    pub(crate) fn finish(&self, figures: impl Display) {
        let (done, elapsed) = (self.bar.position(), self.start.elapsed());
        self.bar.finish_and_clear();
        let Some(what) = &self.what else { return };
        let (count, minutes, seed) = (HumanCount(done), minutes(elapsed), self.seed);
        #[expect(clippy::cast_precision_loss, reason = "one digit after the point is printed")]
        let rate = done as f64 / elapsed.as_secs_f64();
        print(&format!("{count} {what} in {minutes} ({rate:.1}/s), seed {seed}: {figures}"));
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {eta} left").unwrap()
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// Prints a line, bypassing the capture of test output.
fn print(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
