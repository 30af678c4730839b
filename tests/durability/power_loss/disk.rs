//! A simulated disk that loses unflushed writes, and fails on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use rand::{RngExt as _, rngs::ChaCha20Rng};
use redb::StorageBackend;

const SECTOR: usize = 512;
/// Stands for the length of the file among the numbers of sectors.
const END: u64 = u64::MAX;

type Sector = Arc<[u8; SECTOR]>;

/// A disk. Clones share it: one for the test, one for the database.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    gate: Mutex<Gate>,
    moved: Condvar,
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From some operation on, every operation fails.
    Power,
    /// From some operation on, every operation that changes the disk fails.
    Full,
    /// One operation fails.
    Once,
}

#[derive(Default)]
struct State {
    /// The written sectors as of the last flush. All others are zeros.
    durable: BTreeMap<u64, Sector>,
    durable_len: u64,
    /// The contents written to each sector since the last flush.
    written: BTreeMap<u64, Vec<Sector>>,
    lens: Vec<u64>,
    /// The sectors written since the last flush, even one that was ignored.
    touched: BTreeSet<u64>,
    /// The number of flushes of one sector.
    flushes_of_one: u64,
    lies: bool,
    /// The fault, and the number of operations before it.
    fault: Option<(Fault, u64)>,
}

/// Where flushes wait while they are blocked.
#[derive(Default)]
struct Gate {
    /// The number of flushes that pass before the next is blocked.
    pass: Option<u64>,
    waiting: u64,
    passed: u64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let (state, gate) = Default::default();
        Self(Arc::new(Inner { state, gate, moved: Condvar::new() }))
    }

    /// Ignores flushes from now on, but reports success.
    pub(crate) fn ignore_flushes(&self) {
        self.state().lies = true;
    }

    /// Fails after `after` more operations that change the disk.
    pub(crate) fn fail(&self, fault: Fault, after: u64) {
        self.state().fault = Some((fault, after));
    }

    /// Repairs the disk, with the contents that it reported.
    pub(crate) fn repair(&self) {
        self.state().fault = None;
    }

    /// Whether the fault has occurred.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.state().fault, Some((_, 0)))
    }

    /// Loses power, if it has not yet, and restores it.
    pub(crate) fn lose(&self, rng: &mut ChaCha20Rng) {
        let mut state = self.state();
        state.fault = None;
        state.touched.clear();
        // Some caches are usually written in time, some never.
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        for (number, versions) in std::mem::take(&mut state.written) {
            if rng.random_bool(kept) {
                let version = versions[rng.random_range(0..versions.len())].clone();
                state.durable.insert(number, version);
            }
        }
        let lens = std::mem::take(&mut state.lens);
        if rng.random_bool(kept) && !lens.is_empty() {
            state.durable_len = lens[rng.random_range(0..lens.len())];
        }
        let end = state.durable_len.div_ceil(SECTOR as u64);
        drop(state.durable.split_off(&end));
    }

    /// Blocks every flush after `after` more.
    pub(crate) fn hold(&self, after: u64) {
        self.gate().pass = Some(after);
        self.0.moved.notify_all();
    }

    /// Waits until a flush is blocked.
    pub(crate) fn held(&self) {
        drop(self.until(self.gate(), |gate| gate.waiting > 0 && gate.pass == Some(0)));
    }

    pub(crate) fn release(&self) {
        self.gate().pass = None;
        self.0.moved.notify_all();
    }

    /// The number of flushes.
    pub(crate) fn flushes(&self) -> u64 {
        self.gate().passed
    }

    /// The number of flushes that had one sector to write. A change that becomes visible by such a
    /// flush is atomic, provided that the disk writes a sector atomically: everything else that
    /// belongs to the change was flushed before.
    pub(crate) fn flushes_of_one(&self) -> u64 {
        self.state().flushes_of_one
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap()
    }

    /// Fails instead of hanging if it takes too long.
    fn until<'a>(
        &self,
        gate: MutexGuard<'a, Gate>,
        done: impl Fn(&Gate) -> bool,
    ) -> MutexGuard<'a, Gate> {
        let limit = Duration::from_secs(60);
        let (gate, waited) =
            self.0.moved.wait_timeout_while(gate, limit, |gate| !done(gate)).unwrap();
        assert!(!waited.timed_out(), "deadlock");
        gate
    }
}

impl State {
    fn len(&self) -> u64 {
        self.lens.last().copied().unwrap_or(self.durable_len)
    }

    fn sector(&self, number: u64) -> Option<&Sector> {
        self.written.get(&number).and_then(|versions| versions.last()).or(self.durable.get(&number))
    }

    /// Counts one more operation. Returns an error if it fails.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.fault {
            Some((Fault::Once, 0)) | None => Ok(()),
            Some((_, 0)) => Err(failure()),
            Some((_, left)) => {
                *left -= 1;
                if *left == 0 { Err(failure()) } else { Ok(()) }
            }
        }
    }

    /// Returns an error if the power is off.
    fn check_power(&self) -> io::Result<()> {
        if let Some((Fault::Power, 0)) = self.fault { Err(failure()) } else { Ok(()) }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = usize::try_from(offset).unwrap();
        let mut rest = data;
        while !rest.is_empty() {
            let (number, start) = ((at / SECTOR) as u64, at % SECTOR);
            let (now, later) = rest.split_at(rest.len().min(SECTOR - start));
            self.touched.insert(number);
            let mut sector = self.sector(number).map_or([0; SECTOR], |sector| **sector);
            sector[start..start + now.len()].copy_from_slice(now);
            self.written.entry(number).or_default().push(Arc::new(sector));
            (at, rest) = (at + now.len(), later);
        }
    }

    fn set_len(&mut self, len: u64) {
        let end = len.div_ceil(SECTOR as u64);
        let cut: Vec<_> = self.durable.range(end..).map(|(&number, _)| number).collect();
        let unwritten: Vec<_> = self.written.range(end..).map(|(&number, _)| number).collect();
        for number in cut.into_iter().chain(unwritten) {
            self.written.entry(number).or_default().push(Arc::new([0; SECTOR]));
        }
        self.lens.push(len);
        self.touched.insert(END);
    }

    fn flush(&mut self) {
        for (number, versions) in std::mem::take(&mut self.written) {
            self.durable.extend(versions.last().map(|last| (number, last.clone())));
        }
        self.durable_len = self.len();
        self.lens.clear();
    }
}

fn failure() -> io::Error {
    io::Error::other("the disk failed")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.check_power()?;
        if offset + out.len() as u64 > state.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (usize::try_from(offset).unwrap(), out);
        while !rest.is_empty() {
            let (number, start) = ((at / SECTOR) as u64, at % SECTOR);
            let size = rest.len().min(SECTOR - start);
            let (now, later) = rest.split_at_mut(size);
            match state.sector(number) {
                Some(sector) => now.copy_from_slice(&sector[start..start + size]),
                None => now.fill(0),
            }
            (at, rest) = (at + size, later);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut gate = self.gate();
        gate.waiting += 1;
        self.0.moved.notify_all();
        gate = self.until(gate, |gate| gate.pass != Some(0));
        gate.waiting -= 1;
        gate.passed += 1;
        gate.pass = gate.pass.map(|left| left - 1);
        drop(gate);
        let mut state = self.state();
        state.operate()?;
        let touched = std::mem::take(&mut state.touched);
        state.flushes_of_one += u64::from(touched.len() == 1);
        if !state.lies {
            state.flush();
        }
        Ok(())
    }

    /// A failed write may have written a part.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        let operated = state.operate();
        let part = if operated.is_ok() { data } else { &data[..data.len() / 2] };
        let len = state.len().max(offset + part.len() as u64);
        if len > state.len() {
            state.lens.push(len);
            state.touched.insert(END);
        }
        state.write(offset, part);
        operated
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk(..)")
    }
}
