//! What the benchmarks share: sizes, contenders in turns, percentiles, and the figures that
//! `benches/report` renders.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use serde::{Deserialize, Serialize};

/// Numbers of callers whose latencies are measured.
pub(crate) const CALLERS: [usize; 4] = [1, 4, 16, 64];

fn setting(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// The number of rounds of each comparison.
pub(crate) fn rounds() -> usize {
    setting("SSC_BENCH_ROUNDS").unwrap_or(25)
}

/// The duration of a measurement of latencies.
pub(crate) fn duration() -> Duration {
    Duration::from_millis(200) * u32::try_from(rounds()).unwrap()
}

/// The number of users to measure with: `users`, or `SSC_BENCH_USERS` if that is less.
pub(crate) fn at_most(users: usize) -> usize {
    setting("SSC_BENCH_USERS").map_or(users, |most| most.min(users)).max(1_000)
}

/// The numbers of users to measure with: powers of ten from 1,000 to [`at_most`] `largest`.
pub(crate) fn sizes(largest: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1_000), |size| Some(size * 10));
    powers.take_while(|size| *size <= at_most(largest)).collect()
}

/// The same permutation of the numbers below `count` with each call.
pub(crate) fn shuffled(count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for place in (1..count).rev() {
        numbers.swap(place, rng.random_range(0..=place));
    }
    numbers
}

/// The nanoseconds per operation of `work`, which performs `count` operations.
pub(crate) fn time(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count as f64
}

/// The median of figures, which are not empty.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures both contenders in turns. The order alternates, so that neither always runs after the
/// other.
pub(crate) fn in_turns(
    mut ours: impl FnMut() -> f64,
    mut floor: impl FnMut() -> f64,
) -> [Vec<f64>; 2] {
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..rounds() {
        for place in [round % 2, (round + 1) % 2] {
            figures[place].push(if place == 0 { ours() } else { floor() });
        }
    }
    figures
}

/// Runs these threads at once. Returns their results, and the time from the first start to the last
/// end.
pub(crate) fn at_once<T, F>(threads: impl IntoIterator<Item = F>) -> (Vec<T>, Duration)
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    let threads: Vec<F> = threads.into_iter().collect();
    let ready = &Barrier::new(threads.len());
    let results: Vec<(Instant, T, Instant)> = thread::scope(|scope| {
        let start = |work: F| {
            scope.spawn(move || {
                ready.wait();
                let start = Instant::now();
                (start, work(), Instant::now())
            })
        };
        let threads: Vec<_> = threads.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = results.iter().map(|(start, _, _)| *start).min().unwrap();
    let end = results.iter().map(|(_, _, end)| *end).max().unwrap();
    (results.into_iter().map(|(_, result, _)| result).collect(), end - start)
}

/// A number with separators.
pub(crate) fn grouped(number: usize) -> String {
    indicatif::HumanCount(u64::try_from(number).unwrap()).to_string()
}

/// The bound of a figure.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(crate) fn is_met(self, figure: f64) -> bool {
        match self {
            Self::None => true,
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
        }
    }
}

/// An operation beside its floor: medians, in nanoseconds per operation, and the median of the
/// ratios of all rounds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) operation: String,
    pub(crate) users: usize,
    pub(crate) callers: usize,
    pub(crate) ours: f64,
    pub(crate) floor: f64,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

/// Percentiles of the duration of an operation, in nanoseconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) operation: String,
    pub(crate) callers: usize,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

/// Any other figure.
#[derive(Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) unit: String,
    pub(crate) target: Target,
}

/// The figures of one benchmark.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Date, commit and machine.
    pub(crate) run: String,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) values: Vec<Value>,
}

impl Figures {
    /// Measures an operation and its floor in turns, each in nanoseconds per operation.
    pub(crate) fn compare(
        &mut self,
        operation: &str,
        (users, callers): (usize, usize),
        target: Target,
        ours: impl FnMut() -> f64,
        floor: impl FnMut() -> f64,
    ) {
        self.compared(operation, (users, callers), target, &in_turns(ours, floor));
    }

    /// Records what [`in_turns`] has measured.
    pub(crate) fn compared(
        &mut self,
        operation: &str,
        (users, callers): (usize, usize),
        target: Target,
        [ours, floor]: &[Vec<f64>; 2],
    ) {
        let ratio = median(ours.iter().zip(floor).map(|(ours, floor)| ours / floor));
        let [ours, floor] = [ours, floor].map(|times| median(times.iter().copied()));
        println!(
            "{operation:<40}{users:>9} users{callers:>4} callers{ours:>12.0} ns{floor:>12.0} ns\
             {ratio:>7.2}  {target}"
        );
        let operation = operation.to_owned();
        self.comparisons.push(Comparison { operation, users, callers, ours, floor, ratio, target });
    }

    /// Records the durations of operations, which are not empty, and the time that all of them
    /// took.
    pub(crate) fn latency(
        &mut self,
        operation: &str,
        callers: usize,
        mut durations: Vec<Duration>,
        elapsed: Duration,
    ) {
        durations.sort_unstable();
        // The nearest rank.
        let percentile = |per_mille: usize| {
            let rank = (durations.len() * per_mille).div_ceil(1_000);
            durations[rank - 1].as_nanos() as f64
        };
        let per_second = durations.len() as f64 / elapsed.as_secs_f64();
        let [p50, p99, p999] = [500, 990, 999].map(percentile);
        println!(
            "{operation:<40}{callers:>4} callers{per_second:>9.0} a second: p50 {:.1} us, \
             p99 {:.1} us, p99.9 {:.1} us",
            p50 / 1e3,
            p99 / 1e3,
            p999 / 1e3
        );
        let operation = operation.to_owned();
        self.latencies.push(Latency { operation, callers, per_second, p50, p99, p999 });
    }

    /// Records a figure.
    pub(crate) fn value(&mut self, what: &str, figure: f64, unit: &str, target: Target) {
        println!("{what:<60}{figure:>12.2} {unit}  {target}");
        let (what, unit) = (what.to_owned(), unit.to_owned());
        self.values.push(Value { what, figure, unit, target });
    }

    /// Writes the figures, if `benches/report` runs the benchmark.
    pub(crate) fn write(mut self, benchmark: &str) {
        let Ok(run) = std::env::var("SSC_BENCH_RUN") else { return };
        self.run = run;
        let json = serde_json::to_string_pretty(&self).unwrap();
        fs::write(path(benchmark), json + "\n").unwrap();
    }

    /// The figures of a benchmark, if it ever ran.
    pub(crate) fn read(benchmark: &str) -> Option<Self> {
        let json = fs::read(path(benchmark)).ok()?;
        Some(serde_json::from_slice(&json).unwrap())
    }
}

fn path(benchmark: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures");
    folder.join(benchmark).with_extension("json")
}
