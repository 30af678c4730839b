//! Storage whose changes stay in memory.

use std::{
    collections::BTreeMap,
    io,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

/// Size of the blocks in which changes are kept.
const BLOCK: usize = 4096;

/// Reads from `base`, and keeps in memory what is written. The base is never changed.
///
/// A lock of the overlay is a shared lock of the base: other readers may use it, a writer may not.
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
    len: u64,
    /// How much of the base is still visible: it can only become less.
    base_len: u64,
    /// By number of the block.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl<B> Clone for Overlay<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(base: B) -> io::Result<Self> {
        let len = base.len()?;
        let changes = Mutex::new(Changes { len, base_len: len, blocks: BTreeMap::new() });
        Ok(Self(Arc::new(Inner { base, changes })))
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Reads from the base, and zeros after its visible end.
    fn read_base(&self, base: &impl StorageBackend, at: u64, out: &mut [u8]) -> io::Result<()> {
        let visible = usize::try_from(self.base_len.saturating_sub(at)).unwrap_or(usize::MAX);
        let (inside, after) = out.split_at_mut(visible.min(out.len()));
        after.fill(0);
        if inside.is_empty() { Ok(()) } else { base.read(at, inside) }
    }

    fn check_range(&self, at: u64, len: usize) -> io::Result<()> {
        match at.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The parts of `at..at + len` by block: the number of the block, the part of the block, and the
/// part of the whole.
fn parts(at: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = at + done as u64;
        let (number, start) = (position / BLOCK as u64, (position % BLOCK as u64) as usize);
        let size = (BLOCK - start).min(len - done);
        let part = (size > 0).then_some((number, start..start + size, done..done + size));
        done += size;
        part
    })
}

/// A range that lies within, as [`parts`] gives them.
fn slice(bytes: &[u8], range: Range<usize>) -> io::Result<&[u8]> {
    bytes.get(range).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn slice_mut(bytes: &mut [u8], range: Range<usize>) -> io::Result<&mut [u8]> {
    bytes.get_mut(range).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        changes.check_range(offset, out.len())?;
        for (number, inner, outer) in parts(offset, out.len()) {
            let at = number * BLOCK as u64 + inner.start as u64;
            let out = slice_mut(out, outer)?;
            match changes.blocks.get(&number) {
                Some(block) => out.copy_from_slice(slice(block, inner)?),
                None => changes.read_base(&self.0.base, at, out)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes();
        if len < changes.len {
            changes.base_len = changes.base_len.min(len);
            drop(changes.blocks.split_off(&len.div_ceil(BLOCK as u64)));
            let end = (len % BLOCK as u64) as usize;
            if let Some(last) = changes.blocks.get_mut(&(len / BLOCK as u64)) {
                slice_mut(last, end..BLOCK)?.fill(0);
            }
        }
        changes.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes();
        changes.check_range(offset, data.len())?;
        for (number, inner, outer) in parts(offset, data.len()) {
            let mut block = match changes.blocks.remove(&number) {
                Some(block) => block,
                None => {
                    let mut block = vec![0; BLOCK].into_boxed_slice();
                    changes.read_base(&self.0.base, number * BLOCK as u64, &mut block)?;
                    block
                }
            };
            slice_mut(&mut block, inner)?.copy_from_slice(slice(data, outer)?);
            changes.blocks.insert(number, block);
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

    /// An overlay does to its copy what plain storage does, and its base stays the same.
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
        for _ in 0..2_000 {
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
            let mut read = vec![0; expected.len()];
            overlay.read(0, &mut read).unwrap();
            assert!(read == expected);
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
