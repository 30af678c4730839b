//! Files of stores: exclusive creation, and checks of existing files.

use std::{fs::File, io, path::Path};

use redb::{Database, backends::FileBackend};

use super::{RedbOptions, database, error::OpenError, guard::Guarded};

/// Opens the existing file at `path`, for reading and writing. A symbolic link is followed.
pub(super) fn open(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::of_file(error, path);
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // The superuser may write to a read-only file. The store respects the file's mode regardless.
    if metadata.permissions().readonly() {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    if metadata.is_file() { Ok(file) } else { Err(OpenError::NotADatabase) }
}

/// Opens the existing file at `path` for reading alone. A symbolic link is followed.
pub(super) fn open_for_reading(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::of_file(error, path);
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(OpenError::Directory(path.to_owned()));
    }
    // Opening a pipe would block until its other end is opened.
    if !metadata.is_file() {
        return Err(OpenError::NotADatabase);
    }
    File::open(path).map_err(failed)
}

pub(super) fn backend(file: &File) -> Result<FileBackend, OpenError> {
    Ok(FileBackend::new(file.try_clone()?)?)
}

/// Creates a file at `path`, which must not exist, with a store that `fill` has written to.
///
/// The file is created exclusively, under a random name in the same folder, and gets its own name
/// once it is complete and flushed. On Unix its mode is 0600 before the first byte is written. A
/// file or a symbolic link that is at `path` by then is not replaced. A crash can leave the file
/// under its random name.
pub(super) fn create(
    options: &RedbOptions,
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), OpenError>,
) -> Result<(Guarded<Database>, File), OpenError> {
    let folder = folder(path);
    let failed = |error| OpenError::of_file(error, path);
    let (new, unfinished) = tempfile::Builder::new()
        .prefix(".new-store-")
        .suffix(".redb")
        .rand_bytes(12)
        .tempfile_in(folder)
        .map_err(failed)?
        .into_parts();
    let database = database::create(&options.builder(), backend(&new)?)?;
    database.call(fill)?;
    unfinished.persist_noclobber(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)?;
    Ok((database, new))
}

pub(super) fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes the name of a new file durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
