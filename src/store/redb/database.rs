//! Opens and creates databases in any kind of storage.

use std::{io, ops::Bound};

use redb::{BackendError, Builder, Database, StorageBackend, backends::InMemoryBackend};

use super::{
    error::OpenError,
    guard::{self, Guarded},
    overlay::Overlay,
    tables,
};

/// Opens the store in `storage`.
pub(super) fn open(
    builder: &Builder,
    storage: impl StorageBackend,
) -> Result<Guarded<Database>, OpenError> {
    guard::call(|| Ok(Guarded::new(open_unguarded(builder, storage)?)))
}

/// Opens the store in `storage`. Leaves the storage unchanged if it is empty or contains something
/// else. The caller must catch a panic of redb.
pub(super) fn open_unguarded(
    builder: &Builder,
    storage: impl StorageBackend,
) -> Result<Database, OpenError> {
    // redb has one way to open a backend, and it creates a database if the backend is empty.
    if is_empty_or_unfinished(&storage)? {
        return Err(OpenError::NotAStore);
    }
    let database = builder.create_with_backend(storage)?;
    tables::check_format(&database)?;
    Ok(database)
}

/// Creates a store in empty storage. An interruption can leave storage that cannot be opened.
pub(super) fn create(
    builder: &Builder,
    storage: impl StorageBackend,
) -> Result<Guarded<Database>, OpenError> {
    guard::call(|| {
        let database = builder.create_with_backend(storage)?;
        tables::create(&database)?;
        Ok(Guarded::new(database))
    })
}

/// The first bytes of storage in which the creation of a store has begun and is not complete.
const UNFINISHED: &[u8; 64] = b"service-specific-credentials: the creation of this store began.\n";

/// Opens the store in `storage`, and creates it if the storage is empty or an earlier creation was
/// interrupted.
///
/// A new store is first created in memory. Its bytes replace a marker of ours at the start of the
/// storage last of all and in one write, when all others have been flushed. So an interruption
/// leaves a complete store or storage that is known to be unfinished, provided that the storage
/// writes the first 64 bytes entirely or not at all, as disks do.
pub(super) fn create_if_empty(
    builder: &Builder,
    storage: impl StorageBackend,
) -> Result<Guarded<Database>, OpenError> {
    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
    match storage.try_lock_range(start, end) {
        Ok(true) => {
            let written = write_if_empty(builder, &storage);
            storage.unlock_range(start, end).map_err(lock_error)?;
            written?;
        }
        Ok(false) => return Err(OpenError::Held),
        Err(BackendError::Unsupported) => write_if_empty(builder, &storage)?,
        Err(error) => return Err(lock_error(error)),
    }
    open(builder, storage)
}

fn lock_error(error: BackendError) -> OpenError {
    redb::Error::from(error).into()
}

fn write_if_empty(builder: &Builder, storage: &impl StorageBackend) -> Result<(), OpenError> {
    if !is_empty_or_unfinished(storage)? {
        return Ok(());
    }
    let image = empty_store(builder)?;
    let (start, rest) =
        image.split_first_chunk::<{ UNFINISHED.len() }>().ok_or(OpenError::NotAStore)?;
    let marker_len = UNFINISHED.len() as u64;
    storage.set_len(marker_len)?;
    storage.write(0, UNFINISHED)?;
    storage.sync_data()?;
    storage.set_len(image.len() as u64)?;
    storage.write(marker_len, rest)?;
    storage.sync_data()?;
    storage.write(0, start)?;
    storage.sync_data()?;
    Ok(())
}

fn is_empty_or_unfinished(storage: &impl StorageBackend) -> io::Result<bool> {
    let len = storage.len()?;
    let mut start = [0; UNFINISHED.len()];
    let visible = usize::try_from(len).unwrap_or(usize::MAX).min(start.len());
    let (visible, _) = start.split_at_mut(visible);
    if !visible.is_empty() {
        storage.read(0, visible)?;
    }
    // Before the marker was flushed, any of its bytes may be missing.
    let in_first_write = len <= UNFINISHED.len() as u64
        && start.iter().zip(UNFINISHED).all(|(&byte, &marker)| byte == 0 || byte == marker);
    Ok(in_first_write || start == *UNFINISHED)
}

/// The bytes of a store without users.
fn empty_store(builder: &Builder) -> Result<Vec<u8>, OpenError> {
    let memory = Overlay::new(InMemoryBackend::new())?;
    drop(create(builder, memory.clone())?);
    let len = usize::try_from(memory.len()?).map_err(io::Error::other)?;
    let mut image = vec![0; len];
    memory.read(0, &mut image)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(bytes: &[u8]) -> InMemoryBackend {
        let storage = InMemoryBackend::new();
        storage.set_len(bytes.len() as u64).unwrap();
        storage.write(0, bytes).unwrap();
        storage
    }

    fn is_unfinished(bytes: &[u8]) -> bool {
        is_empty_or_unfinished(&storage(bytes)).unwrap()
    }

    #[test]
    fn every_state_of_an_interrupted_creation_is_recognized() {
        for written in 0..=UNFINISHED.len() {
            // The storage ends where writing ended, or has its length already.
            let mut bytes = UNFINISHED.to_vec();
            assert!(is_unfinished(&bytes[..written]), "{written}");
            bytes[written..].fill(0);
            assert!(is_unfinished(&bytes), "{written}");
        }
        let whole = empty_store(&Database::builder()).unwrap();
        for written in (UNFINISHED.len()..whole.len()).step_by(1000) {
            let mut bytes = whole.clone();
            bytes[..UNFINISHED.len()].copy_from_slice(UNFINISHED);
            bytes[written..].fill(0);
            assert!(is_unfinished(&bytes), "{written}");
        }
        assert!(!is_unfinished(&whole));
    }

    #[test]
    fn storage_of_something_else_is_left_alone() {
        let mut text = UNFINISHED.to_vec();
        text[10] ^= 1;
        let mut other = vec![0; 40];
        other[39] = b'x';
        for bytes in [&[0; 100][..], &text, &other, b"notes", &[&text[..], &[0; 100]].concat()] {
            assert!(!is_unfinished(bytes), "{bytes:?}");
            let error = create_if_empty(&Database::builder(), storage(bytes)).unwrap_err();
            assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
        }
    }
}
