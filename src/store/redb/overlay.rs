//! Storage that keeps its changes in memory.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

/// Size of the blocks in which changes are kept.
const BLOCK: usize = 4096;

/// Reads from `base`, and keeps written bytes in memory. The base is never changed.
///
/// A lock of the overlay is a shared lock of the base: it permits other readers, but no writer.
/// Clones share everything.
#[derive(Debug)]
pub(super) struct Overlay<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    base: B,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    len: usize,
    /// How much of the base is still visible. It only decreases.
    base_len: usize,
    /// By number of the block.
    blocks: BTreeMap<usize, Box<[u8; BLOCK]>>,
}

impl<B> Clone for Overlay<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(base: B) -> io::Result<Self> {
        let len = position(base.len()?)?;
        let changes = Mutex::new(Changes { len, base_len: len, blocks: BTreeMap::new() });
        Ok(Self(Arc::new(Inner { base, changes })))
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Reads from the base, and zeros after its visible end.
    fn read_base(&self, base: &impl StorageBackend, at: usize, out: &mut [u8]) -> io::Result<()> {
        let visible = self.base_len.saturating_sub(at).min(out.len());
        let (inside, after) = out.split_at_mut(visible);
        after.fill(0);
        if inside.is_empty() { Ok(()) } else { base.read(at as u64, inside) }
    }

    /// The offset as an index, if the access ends within the storage.
    fn check_range(&self, offset: u64, len: usize) -> io::Result<usize> {
        let at = position(offset)?;
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(at),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    offset.try_into().map_err(io::Error::other)
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        let mut at = changes.check_range(offset, out.len())?;
        let mut rest = out;
        while !rest.is_empty() {
            let size = rest.len().min(BLOCK - at % BLOCK);
            let (part, after) = rest.split_at_mut(size);
            match changes.blocks.get(&(at / BLOCK)) {
                Some(block) => {
                    let from = block.iter().skip(at % BLOCK);
                    part.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
                None => changes.read_base(&self.0.base, at, part)?,
            }
            (at, rest) = (at + size, after);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = position(len)?;
        let mut changes = self.changes();
        changes.base_len = changes.base_len.min(len);
        drop(changes.blocks.split_off(&len.div_ceil(BLOCK)));
        if let Some(last) = changes.blocks.get_mut(&(len / BLOCK)) {
            last.iter_mut().skip(len % BLOCK).for_each(|byte| *byte = 0);
        }
        changes.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        let mut at = changes.check_range(offset, data.len())?;
        let mut rest = data;
        while !rest.is_empty() {
            let (number, start) = (at / BLOCK, at % BLOCK);
            if !changes.blocks.contains_key(&number) {
                let mut block = Box::new([0; BLOCK]);
                changes.read_base(&self.0.base, number * BLOCK, &mut block[..])?;
                changes.blocks.insert(number, block);
            }
            let (part, after) = rest.split_at(rest.len().min(BLOCK - start));
            if let Some(block) = changes.blocks.get_mut(&number) {
                let to = block.iter_mut().skip(start);
                to.zip(part).for_each(|(to, from)| *to = *from);
            }
            (at, rest) = (at + part.len(), after);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.base.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.base.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.base.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.base.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    /// Storage that records how it was locked and closed.
    #[derive(Debug, Default)]
    struct Recorder {
        storage: InMemoryBackend,
        calls: Mutex<Vec<&'static str>>,
        locked_by_another: bool,
    }

    impl Recorder {
        fn record(&self, call: &'static str) {
            self.calls.lock().unwrap().push(call);
        }
    }

    impl StorageBackend for Recorder {
        fn len(&self) -> io::Result<u64> {
            self.storage.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.storage.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.record("set_len");
            self.storage.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.record("sync_data");
            self.storage.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.record("write");
            self.storage.write(offset, data)
        }

        fn close(&self) -> io::Result<()> {
            self.record("close");
            self.storage.close()
        }

        fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
            self.record("lock");
            Ok(!self.locked_by_another)
        }

        fn try_lock_shared_range(
            &self,
            _: Bound<u64>,
            _: Bound<u64>,
        ) -> Result<bool, BackendError> {
            self.record("shared lock");
            Ok(!self.locked_by_another)
        }

        fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
            self.record("unlock");
            Ok(())
        }
    }

    #[test]
    fn the_base_is_locked_for_reading_and_closed() {
        let all = (Bound::Unbounded, Bound::Unbounded);
        for locked_by_another in [false, true] {
            let overlay =
                Overlay::new(Recorder { locked_by_another, ..Recorder::default() }).unwrap();
            assert_eq!(overlay.try_lock_range(all.0, all.1).unwrap(), !locked_by_another);
            assert_eq!(overlay.try_lock_shared_range(all.0, all.1).unwrap(), !locked_by_another);
            overlay.set_len(2).unwrap();
            overlay.write(0, b"ab").unwrap();
            overlay.sync_data().unwrap();
            overlay.unlock_range(all.0, all.1).unwrap();
            overlay.close().unwrap();
            let calls = overlay.0.base.calls.lock().unwrap();
            assert_eq!(*calls, ["shared lock", "shared lock", "unlock", "close"]);
        }
    }

    /// An overlay behaves like plain storage, and its base does not change.
    #[test]
    fn it_reads_as_storage_that_was_changed() {
        use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};

        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut original = vec![0; 3 * BLOCK + 100];
        rng.fill(&mut original[..]);
        let base = InMemoryBackend::new();
        base.set_len(original.len() as u64).unwrap();
        base.write(0, &original).unwrap();
        let mut expected = original.clone();
        let overlay = Overlay::new(base).unwrap();
        for _ in 0..300 {
            if rng.random_ratio(1, 10) {
                let len = rng.random_range(0..5 * BLOCK);
                overlay.set_len(len as u64).unwrap();
                expected.resize(len, 0);
            }
            let at = rng.random_range(0..=expected.len());
            let mut bytes = vec![0; rng.random_range(0..=expected.len() - at).min(2 * BLOCK)];
            rng.fill(&mut bytes[..]);
            overlay.write(at as u64, &bytes).unwrap();
            expected[at..at + bytes.len()].copy_from_slice(&bytes);
            for from in [0, at] {
                let mut read = vec![0; expected.len() - from];
                overlay.read(from as u64, &mut read).unwrap();
                assert!(read == expected[from..]);
            }
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
        }
        let after = expected.len() as u64;
        assert!(overlay.read(after, &mut [0]).is_err());
        assert!(overlay.write(after, &[0]).is_err());
        let mut base = vec![0; original.len()];
        overlay.0.base.read(0, &mut base).unwrap();
        assert!(base == original);
    }
}
