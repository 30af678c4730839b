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
