use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{DatabaseError, StorageError};

use super::{file::folder, guard::Panicked};
use crate::record::codec::DecodeError;

/// A file or a storage backend could not be opened as a [`RedbStore`](super::RedbStore).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this process, has the file open.
    #[error("the file is open elsewhere")]
    Held,
    /// The file is no redb database.
    #[error("the file is no database")]
    NotADatabase,
    /// The file is a redb database, but damaged: for example, a part of it is missing.
    #[error("the file is damaged")]
    Damaged(#[source] RedbError),
    /// The file is empty, or a redb database of another kind.
    #[error("the file is not a credential store")]
    NotAStore,
    /// The file was created by a later release.
    #[error("the file has format {0}, which a later release created")]
    LaterFormat(u64),
    /// The file was created by an earlier release of redb.
    #[error("the file has the format of redb {0}, and needs to be upgraded")]
    EarlierRedb(u8),
    /// The path is the path of a folder.
    #[error("`{}` is a folder", .0.display())]
    Directory(PathBuf),
    /// The folder that should contain the file does not exist.
    #[error("there is no folder for `{}`", .0.display())]
    NoFolder(PathBuf),
    /// The file cannot be written.
    #[error("`{}` is read-only", .0.display())]
    ReadOnly(PathBuf),
    /// There is no file at the path.
    #[error("`{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// The path is a symbolic link to a file that does not exist. A new file is never created
    /// through a link.
    #[error("`{}` is a symbolic link to a file that does not exist", .0.display())]
    DanglingLink(PathBuf),
    /// A file that was to be created exists already.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    /// Any other error of the database or of the system.
    #[error("the file cannot be opened")]
    Other(#[source] RedbError),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Held,
            DatabaseError::UpgradeRequired(version) => Self::EarlierRedb(version),
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::InvalidData =>
            {
                Self::NotADatabase
            }
            error => redb::Error::from(error).into(),
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        RedbError::from(error).into()
    }
}

impl From<RedbError> for OpenError {
    fn from(error: RedbError) -> Self {
        if error.is_damage() { Self::Damaged(error) } else { Self::Other(error) }
    }
}

impl From<Panicked> for OpenError {
    fn from(panicked: Panicked) -> Self {
        RedbError::from(panicked).into()
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        redb::Error::Io(error).into()
    }
}

impl OpenError {
    /// Explains why the system did not open or create the file at `path`.
    pub(super) fn of_file(error: io::Error, path: &Path) -> Self {
        let path = path.to_owned();
        match error.kind() {
            _ if path.is_dir() && error.kind() != io::ErrorKind::AlreadyExists => {
                Self::Directory(path)
            }
            io::ErrorKind::NotFound if path.is_symlink() => Self::DanglingLink(path),
            io::ErrorKind::NotFound if folder(&path).is_dir() => Self::Missing(path),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NoFolder(path),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly(path)
            }
            io::ErrorKind::AlreadyExists => Self::Exists(path),
            _ => error.into(),
        }
    }
}

/// The error of a [`RedbStore`](super::RedbStore) inside a
/// [`StoreError`](crate::store::StoreError): use [`get_ref`](crate::store::StoreError::get_ref) and
/// `downcast_ref`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedbError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] redb::Error),
    /// A record in the file cannot be decoded: the file is damaged.
    #[error("a record in the file cannot be decoded")]
    Record(#[source] DecodeError),
    /// The index names a record that is not in the file: the file is damaged.
    #[error("the index refers to a record that does not exist")]
    Index,
    /// Writing the change, or another change of its batch, failed. Whether it was applied is not
    /// known. Once the store has been reopened, which the next call does, the change has been
    /// applied or never will be.
    #[error("writing failed, and it is not known whether the change was applied")]
    Unknown(#[source] Arc<Self>),
    /// The database failed earlier, and could not be reopened yet. The call read nothing and
    /// changed nothing. [`RedbStore`](super::RedbStore#failures) describes when the store works
    /// again.
    #[error("the database failed, and could not be reopened yet")]
    Stopped(#[source] Arc<Self>),
    /// The database could not be reopened after a failure.
    #[error("the database could not be reopened")]
    Reopen(#[source] Box<OpenError>),
    /// redb panicked: the file is damaged, or the storage backend panicked.
    #[error("the database panicked: the file may be damaged")]
    Panicked,
}

impl From<Panicked> for RedbError {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

impl RedbError {
    /// Whether the file does not contain what was written to it.
    fn is_damage(&self) -> bool {
        match self {
            Self::Database(redb::Error::Corrupted(_))
            | Self::Record(_)
            | Self::Index
            | Self::Panicked => true,
            Self::Database(redb::Error::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// Whether the open database must be closed after this error of a read.
    pub(super) const fn ends_database(&self) -> bool {
        match self {
            Self::Database(error) => !matches!(error, redb::Error::Corrupted(_)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_why_a_file_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        for (kind, path, expected) in [
            (io::ErrorKind::NotFound, &*path, "Missing("),
            (io::ErrorKind::NotFound, &path.join("below"), "NoFolder("),
            (io::ErrorKind::NotADirectory, &path, "NoFolder("),
            (io::ErrorKind::PermissionDenied, &path, "ReadOnly("),
            (io::ErrorKind::ReadOnlyFilesystem, &path, "ReadOnly("),
            (io::ErrorKind::AlreadyExists, &path, "Exists("),
            (io::ErrorKind::UnexpectedEof, &path, "Damaged("),
            (io::ErrorKind::StorageFull, &path, "Other("),
            (io::ErrorKind::AlreadyExists, folder.path(), "Exists("),
            (io::ErrorKind::PermissionDenied, folder.path(), "Directory("),
        ] {
            let error = format!("{:?}", OpenError::of_file(kind.into(), path));
            assert!(error.starts_with(expected), "{kind}: {error}");
        }
    }

    #[test]
    fn the_reason_why_redb_does_not_open_a_database_is_named() {
        let io = |kind: io::ErrorKind| DatabaseError::Storage(StorageError::Io(kind.into()));
        for (error, expected) in [
            (DatabaseError::DatabaseAlreadyOpen, "Held"),
            (DatabaseError::UpgradeRequired(2), "EarlierRedb(2)"),
            (io(io::ErrorKind::InvalidData), "NotADatabase"),
            (io(io::ErrorKind::UnexpectedEof), "Damaged("),
            (io(io::ErrorKind::StorageFull), "Other("),
            (DatabaseError::Storage(StorageError::Corrupted(String::new())), "Damaged("),
        ] {
            let error = format!("{:?}", OpenError::from(error));
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_error_that_redb_may_not_survive_ends_the_database() {
        let io = || io::Error::from(io::ErrorKind::StorageFull);
        for (error, ends) in [
            (RedbError::from(redb::Error::Io(io())), true),
            (RedbError::from(redb::Error::PreviousIo), true),
            (RedbError::from(redb::Error::Corrupted(String::new())), false),
            (RedbError::Panicked, false),
            (RedbError::Index, false),
        ] {
            assert_eq!(error.ends_database(), ends, "{error:?}");
        }
    }
}
